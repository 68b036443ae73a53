"""A whole experiment: its sections, what a recipe fills in, and what must agree between them."""

from pathlib import Path
from typing import Any, Self

from pydantic import model_validator

from crosslinknet.config.of_data import DataConfig, ImageConfig, SplitConfig
from crosslinknet.config.of_results import EvaluateConfig, OutputConfig, PredictConfig
from crosslinknet.config.of_training import (
    AugmentConfig,
    LossConfig,
    ModelConfig,
    SemiConfig,
    TrainConfig,
)
from crosslinknet.config.recipes import (
    ATTENTIVE,
    DEEP,
    GIVES,
    PUBLISHED,
    SECOND_STAGES,
    defaults_of,
)
from crosslinknet.config.section import Section


class Config(Section):
    """A whole experiment."""

    data: DataConfig
    image: ImageConfig = ImageConfig()
    split: SplitConfig = SplitConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    augment: AugmentConfig = AugmentConfig()
    train: TrainConfig = TrainConfig()
    semi: SemiConfig = SemiConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    predict: PredictConfig = PredictConfig()
    output: OutputConfig = OutputConfig()

    @model_validator(mode="before")
    @classmethod
    def _recipe(cls, given: Any) -> Any:
        """Fill in what the recipe sets for the network; what is written wins."""
        if not isinstance(given, dict):
            return given
        written = {
            key: value.model_dump(exclude_unset=True) if isinstance(value, Section) else value
            for key, value in given.items()
        }
        model, train = (
            {} if written.get(key) is None else written[key] for key in ("model", "train")
        )
        if not (isinstance(model, dict) and isinstance(train, dict)):
            return written  # refused by the section itself
        network, recipe = model.get("name", "crosslink-net"), train.get("recipe", "practical")
        for section, values in defaults_of(str(network), str(recipe)).items():
            own = {} if written.get(section) is None else written[section]
            if isinstance(own, dict):
                written[section] = values | own
                if isinstance(own.get("options"), dict):
                    written[section]["options"] = values.get("options", {}) | own["options"]
        return written

    @model_validator(mode="after")
    def _recipe_is_known(self) -> Self:
        if self.train.recipe == "published" and self.model.name not in PUBLISHED:
            raise ValueError(
                f"train.recipe is published, and nothing is known of {self.model.name}; choose "
                "practical or paper, and write what differs"
            )
        return self

    @model_validator(mode="after")
    def _attention_has_heads(self) -> Self:
        if self.loss.form == "released" and self.model.name not in ATTENTIVE:
            raise ValueError(
                f"loss.form is released, which needs attention heads, and {self.model.name} has "
                "none; choose eq1 or pairwise"
            )
        if self.loss.attention > 0 and self.model.name not in ATTENTIVE:
            raise ValueError(
                f"loss.attention is {self.loss.attention:g}, but {self.model.name} has no "
                f"attention heads; {', '.join(ATTENTIVE)} have. Set loss.attention to 0"
            )
        return self

    @model_validator(mode="after")
    def _terms_have_outputs(self) -> Self:
        """A weight other than the usual must weigh something; none weighs nothing anywhere."""
        for term, networks in GIVES.items():
            weight = getattr(self.loss, term)
            name, deep = self.model.name, self.model.options.get("deep_supervision", False)
            gives = name in networks and (deep or name not in DEEP)
            if weight not in (0.0, 1.0) and name in PUBLISHED and not gives:
                needed = " (with model.options.deep_supervision)" if name in networks else ""
                raise ValueError(
                    f"loss.{term} is {weight:g}, but {name} gives nothing that it would weigh; "
                    f"only {', '.join(networks)} can{needed}. Leave it at 1"
                )
        return self

    @model_validator(mode="after")
    def _second_stages_have_a_first(self) -> Self:
        if self.model.name in SECOND_STAGES and self.model.first is None:
            raise ValueError(
                f"{self.model.name} looks at an image and at what another network found in it; "
                "train that one first, inf-net say, and name its run: model.first=runs/NAME"
            )
        return self

    @model_validator(mode="after")
    def _one_method_at_a_time(self) -> Self:
        if self.model.first is not None and self.semi.unlabelled is not None:
            raise ValueError(
                "model.first shows the second network true masks in training, and images of "
                "semi.unlabelled have none. Train the first run with semi.unlabelled, the second "
                "without"
            )
        if self.predict.stretch and self.loss.exclusive:
            raise ValueError(
                f"predict.stretch stretches each class by itself, and loss.classes is "
                f"{self.loss.classes}, whose shares must sum to 1. Set it to false"
            )
        return self

    @model_validator(mode="after")
    def _somebody_watches(self) -> Self:
        watching = {
            "train.keep: best": self.train.keep == "best",
            "train.early_stopping": self.train.early_stopping is not None,
        }
        asked = [key for key, on in watching.items() if on]
        if asked and self.split.validation == 0 and self.split.file is None:
            raise ValueError(
                f"{' and '.join(asked)} needs validation cases, but split.validation is 0; set "
                "it to 0.1, say"
            )
        return self

    @property
    def classes(self) -> list[str]:
        """Names of the foreground classes, in the order of the logit maps."""
        return list(self.data.label_map)

    @property
    def run(self) -> Path:
        """Folder of the run."""
        return self.output.dir / self.output.name
