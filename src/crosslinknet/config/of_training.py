"""Sections about what is trained: model, loss, augment, train, semi.

Defaults are those of the recipe ``practical``. Order: as a run goes through them.
"""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from crosslinknet.config.recipes import RECIPES
from crosslinknet.config.section import Section

DECIDED_ELSEWHERE = {  # options of a network that follow from other keys
    "name": "model.name",
    "in_channels": "image.channels",
    "num_classes": "data.label_map and loss.classes",
    "attention_blocks": "loss.blocks and loss.attention",
    "classes": "loss.classes",
    "first": "model.first",
}

EXCLUSIVE = ("softmax", "one-vs-rest")  # kinds of classes of which a pixel has one


class ModelConfig(Section):
    """Which network."""

    name: str = Field("crosslink-net", description="see xln models")
    options: dict[str, Any] = Field(
        {}, description="for the model: preset (released, paper, table1), widths, family, ..."
    )
    weights: Path | None = Field(
        None,
        description="start from these weights: a file (.safetensors, .pth), or a run's folder, "
        "fold by fold",
    )
    first: Path | None = Field(
        None,
        description="folder of a finished run with these folds: its networks look first, and what "
        "they find is a second input of this one (inf-net-stage)",
    )
    first_map: Literal["mask", "probability"] = Field(
        "mask",
        description="what the first hands on: mask, as in training, or probability, as published",
    )

    @field_validator("options")
    @classmethod
    def _options(cls, options: dict[str, Any]) -> dict[str, Any]:
        for key in options.keys() & DECIDED_ELSEWHERE.keys():
            raise ValueError(f"{key!r} is decided by {DECIDED_ELSEWHERE[key]}; remove it here")
        return options


class LossConfig(Section):
    """Weights of Eq. (2), and of what single networks give beyond logits."""

    bce: float = Field(0.4, ge=0, description="weight of binary cross-entropy, Eq. (3)")
    dice: float = Field(0.1, ge=0, description="weight of the soft Dice loss, Eq. (4)")
    attention: float = Field(0.5, ge=0, description="weight of the attention loss, Eq. (1)")
    structure: float = Field(
        0.0,
        ge=0,
        description="weight of Inf-Net's loss: cross-entropy and IoU, contours count more",
    )
    sides: float = Field(
        1.0, ge=0, description="factor on the auxiliary outputs' own weights (spnet, inf-net, ...)"
    )
    edge: float = Field(1.0, ge=0, description="weight of the contour's cross-entropy (inf-net)")
    crossover: float = Field(1.0, ge=0, description="weight of Crossover-Net's loss of patch pairs")
    structure_form: Literal["weighted", "released"] = Field(
        "weighted",
        description="cross-entropy of structure: weighted, as printed, or its plain mean, which "
        "the released code takes",
    )
    crossover_form: Literal["paper", "symmetric", "released"] = Field(
        "paper",
        description="crossover: as printed, with common rows around the centre, or with the "
        "released code's reshape",
    )
    form: Literal["eq1", "pairwise", "released"] = Field(
        "pairwise",
        description="attention loss: eq1 (the paper), pairwise (mean of three correlations), "
        "released (value of the authors' code, which trains on 0.2 x BCE alone)",
    )
    blocks: list[int] = Field(
        [3], description="encoder blocks that feed the attention loss, any of 1..5"
    )
    dice_smooth: Literal["denominator", "both"] = Field(
        "denominator", description="Eq. (4) as printed, or smoothed above and below the line"
    )
    classes: Literal["auto", "sigmoid", "softmax", "one-vs-rest"] = Field(
        "auto",
        description="sigmoid: one map per class; softmax: exclusive classes; one-vs-rest: too, "
        "but a sigmoid for each and for the background, the largest wins; auto: sigmoid",
    )

    @field_validator("blocks")
    @classmethod
    def _blocks(cls, blocks: list[int]) -> list[int]:
        if sorted(set(blocks)) != sorted(blocks) or not set(blocks) <= {1, 2, 3, 4, 5}:
            raise ValueError(f"blocks {blocks} must be different numbers of 1..5")
        return sorted(blocks)

    @model_validator(mode="after")
    def _some_weight(self) -> Self:
        if self.form != "released" and self.bce + self.dice + self.structure == 0:
            raise ValueError("bce, dice and structure are 0: nothing would train the output")
        return self

    @property
    def exclusive(self) -> bool:
        """Whether a pixel has one class; then a map of the background stands before the classes."""
        return self.classes in EXCLUSIVE


class AugmentConfig(Section):
    """Random changes of training slices, drawn anew each time."""

    preset: Literal["none", "light", "covid-paper", "cardiac-paper"] = Field(
        "light", description="none, light, covid-paper, cardiac-paper (paper, Section IV-B)"
    )
    probability: float = Field(0.5, ge=0, le=1, description="of each kind of change")


class TrainConfig(Section):
    """The training of one fold."""

    recipe: Literal["practical", "paper", "published"] = Field(
        "practical",
        description="values of the keys that are not written here: practical, paper (Section "
        "IV-B), or published with the network; -s train.recipe=paper takes the recipe's values for "
        "written keys too",
    )
    epochs: int = Field(60, ge=1, description="passes over the training slices")
    draws: int = Field(
        0, ge=0, description="least slices drawn per epoch; a small set is gone through repeatedly"
    )
    batch_size: int = Field(4, ge=1, description="slices per step and process")
    accumulate: int = Field(1, ge=1, description="batches per optimizer step")
    optimizer: Literal["adamw", "adam", "sgd"] = Field(
        "adamw", description="adamw, adam (L2 in the gradient, as the paper), sgd"
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd")
    nesterov: bool = Field(True, description="sgd looks ahead by its momentum")
    lr: float = Field(1e-3, gt=0, description="largest learning rate")
    head_lr: float = Field(
        1.0, gt=0, description="factor on the rate of a network's heads behind its backbone (spnet)"
    )
    weight_decay: float = Field(0.01, ge=0, description="decay of adamw, L2 of adam and sgd")
    schedule: Literal["one-cycle", "cosine", "poly", "step", "constant"] = Field(
        "one-cycle",
        description="one-cycle, cosine, poly, per step and with warm-up; step: a tenth of the rate "
        "from half of the steps on; or constant",
    )
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps with a rising rate")
    init: Literal["gaussian", "xavier", "framework"] = Field(
        "framework",
        description="gaussian (paper; std sqrt(2/fan_in)), xavier (normal), framework (PyTorch)",
    )
    clip: float | None = Field(1.0, gt=0, description="largest gradient norm; null: no clipping")
    clip_value: float | None = Field(
        None, gt=0, description="largest single gradient; null: no such clipping"
    )
    scales: list[float] = Field(
        [],
        description="batches are resized by these in turn, to multiples of 32, by 1 not at all; [] "
        "leaves them",
    )
    progressive: list[tuple[float, float]] = Field(
        [],
        description="[[share of the epochs, share of the size], ...]: start on smaller slices; "
        "[] trains at full size",
    )
    foreground: float = Field(
        0.33, ge=0, le=1, description="least share of slices with foreground in what is drawn"
    )
    early_stopping: int | None = Field(
        None, ge=1, description="stop after this many validations without a better Dice"
    )
    keep: Literal["last", "best"] = Field(
        "last", description="weights of a fold: last epoch, or best validation Dice"
    )
    validate_every: int = Field(1, ge=1, description="epochs between validations")
    checkpoint_minutes: float = Field(
        5.0, ge=0, description="also save inside an epoch after this long; 0: every step"
    )
    seed: int = Field(0, ge=0, description="seed of weights, order and augmentation")
    precision: Literal["auto", "32", "bf16", "16"] = Field(
        "auto", description="auto: bf16 where the hardware computes it, else 32"
    )
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="device kind")
    devices: int = Field(1, ge=1, description="processes, one device each")
    deterministic: bool = Field(
        True, description="equal bits on a GPU too, at some cost of speed; a CPU has them anyway"
    )
    channels_last: bool = Field(True, description="memory order that convolutions like")
    workers: int | None = Field(
        None, ge=0, description="loader processes; null: 0 on a CPU, up to 4 beside a GPU"
    )
    threads: int | None = Field(
        None, ge=1, description="CPU threads; null: all; equal bits need an equal number"
    )

    @model_validator(mode="before")
    @classmethod
    def _recipe(cls, given: Any) -> Any:
        if isinstance(given, dict):
            return RECIPES.get(given.get("recipe", "practical"), {}).get("train", {}) | given
        return given

    @field_validator("scales")
    @classmethod
    def _scales(cls, scales: list[float]) -> list[float]:
        if any(not 0.25 <= scale <= 4 for scale in scales):
            raise ValueError(f"{scales} must lie in 0.25..4")
        return scales

    @field_validator("precision", mode="before")
    @classmethod
    def _precision(cls, precision: Any) -> Any:
        return str(precision) if type(precision) is int else precision  # YAML reads 32 as a number

    @field_validator("progressive")
    @classmethod
    def _progressive(cls, stages: list[tuple[float, float]]) -> list[tuple[float, float]]:
        if stages and (
            abs(sum(share for share, _ in stages) - 1) > 1e-6
            or any(not (0 < share <= 1 and 0.25 <= size <= 1) for share, size in stages)
            or stages[-1][1] != 1
        ):
            raise ValueError(
                f"{stages}: the shares of the epochs must sum to 1, sizes lie in 0.25..1, "
                "and the last stage must have size 1"
            )
        return stages


class SemiConfig(Section):
    """Images without masks that take part in the training; see docs/training.md."""

    unlabelled: Path | None = Field(
        None, description="folder, file or pattern of images without masks; null: none take part"
    )
    group: int = Field(5, ge=1, description="images that get maps before the next fine-tuning")
    epochs: int = Field(9, ge=1, description="epochs of the fine-tuning after each group")
    lr: float = Field(3e-4, gt=0, description="constant learning rate of that fine-tuning")
    batch_size: int | None = Field(
        None, ge=1, description="slices per step of it; null: train.batch_size"
    )
    binarise: bool = Field(
        False, description="learn from masks; false: from maps of probabilities in 256 steps"
    )
