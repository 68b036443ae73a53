"""What a run can be told, section by section: frozen pydantic models, data only.

Defaults are those of the recipe ``practical``. Order: one section per step of a run, Config.
"""

import re
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from crosslinknet.config.recipes import ATTENTIVE, PUBLISHED, RECIPES, defaults_of
from crosslinknet.errors import suggest
from crosslinknet.geometry import Fit, SliceAxis

WINDOWS: dict[str, tuple[float, float]] = {  # low and high in HU
    "lung": (-1250.0, 250.0),  # width 1500, level -500: paper, Section IV-A
    "kidney": (-160.0, 240.0),  # paper, Section IV-A
}


class Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        """YAML reads yes, on and true as truth values; as a number they would silently be 1."""
        kind = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, bool) and kind is not bool:
            raise ValueError(f"is {str(value).lower()}, a truth value, where another type belongs")
        return value


class DataConfig(Section):
    """Where the images and masks are and what the mask values mean."""

    root: Path = Field(description="folder with the data; relative paths start at this file")
    layout: Literal[
        "auto",
        "folders",
        "side-by-side",
        "nnunet",
        "decathlon",
        "csv",
        "coco",
        "labelme",
        "bids",
        "dicom",
        "covid19-i",
        "covid19-volumes",
        "kits19",
        "york-cardiac",
    ] = Field(
        "auto",
        description="auto finds it; folders (images/ + masks/), side-by-side (x.png + x_mask.png), "
        "nnunet, decathlon, csv, coco, labelme, bids, dicom (series); the paper's sets: covid19-i, "
        "covid19-volumes, kits19, york-cardiac",
    )
    images: Path | None = Field(
        None,
        description="folders, coco, labelme, side-by-side: the image folder; csv: the manifest; "
        "bids: the end of the image names, as T1w; null finds it",
    )
    masks: Path | None = Field(
        None,
        description="folders: the mask folder; coco: the JSON file; bids: the end of the mask "
        "names, as label-lesion_mask; dicom: a name of mask files (seg_*.dcm) where a series has "
        "several; null finds it",
    )
    label_map: dict[str, list[int | str]] = Field(
        {"foreground": [1]},
        description="class: mask values that mean it (grey values, '#rrggbb' of RGB masks, or "
        "names of polygons); 0 or '#000000' is background; a value that is not named is an error",
    )
    threshold: int | None = Field(
        None,
        ge=0,
        description="grey masks only: pixels above it count as 1, the rest as 0; needed for JPG",
    )
    subject: str | None = Field(
        None,
        description="regular expression with one group, searched in the file name, that gives "
        "the subject; null: the CSV's subject column if there is one, else the file name",
    )
    subject_is: Literal["person", "group"] = Field(
        "person",
        description="what a subject stands for: a person, or a group of slices because nobody "
        "knows the persons; reports then say that folds are not by person",
    )
    overlap: Literal["error", "last"] = Field(
        "error",
        description="drawn masks (polygons, DICOM SEG), several masks of one image: pixels of two "
        "labels or masks are an error, or belong to the last one",
    )
    unlabelled: Literal["error", "skip"] = Field(
        "error", description="images without a mask: error, or skip (leave them out, and say so)"
    )
    exclude: list[str] = Field(
        [], description="ids of cases to leave out, wrongly labelled ones say; they must be there"
    )

    @field_validator("label_map")
    @classmethod
    def _labels(cls, labels: dict[str, list[int | str]]) -> dict[str, list[int | str]]:
        if not labels:
            raise ValueError("at least one class is needed, such as {lesion: [1]}")
        for name, values in labels.items():
            if not re.fullmatch(r"[\w.+-]+", name):
                raise ValueError(f"class name {name!r} may hold letters, digits and _ . + - only")
            if not values:
                raise ValueError(f"class {name!r} names no mask value")
            for value in values:
                if isinstance(value, str) and not re.fullmatch(r"#[0-9a-fA-F]{6}|[^#].*", value):
                    raise ValueError(f"{value!r} of class {name!r} is no colour like '#ff0000'")
                if isinstance(value, bool):
                    raise ValueError(f"{value} of class {name!r} is a truth value, not a label")
                if isinstance(value, int) and not 1 <= value <= 65535:
                    raise ValueError(
                        f"{value} of class {name!r} is outside 1..65535; 0 is the background"
                    )
        kinds = {
            value[0] == "#" if isinstance(value, str) else None
            for values in labels.values()
            for value in values
        }
        if len(kinds) > 1:
            raise ValueError("grey values, colours and names cannot be mixed in one label_map")
        return {name: [_lower(v) for v in values] for name, values in labels.items()}

    @field_validator("subject")
    @classmethod
    def _subject(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                groups = re.compile(pattern).groups
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression ({error})") from error
            if groups != 1:
                raise ValueError(f"{pattern!r} needs exactly one (group), it has {groups}")
        return pattern


class ImageConfig(Section):
    """How a slice becomes the network's input."""

    size: tuple[int, int] = Field((256, 256), description="height and width of the input, >= 32")
    fit: Fit = Field(
        "letterbox",
        description="letterbox (one scale, then padding), resize (stretch), pad (never scales, "
        "never cuts), crop (random crops in training, sliding window in prediction)",
    )
    channels: int = Field(1, ge=1, description="1 grey, 3 colour; nnU-Net sets: their channels")
    window: str | tuple[float, float] = Field(
        "dtype",
        description="what becomes 0 and 1: dtype (0 and the largest value of 8 or 16 bit), "
        "percentile (0.5 and 99.5 of each case), minmax (of each case), lung, kidney, or [lo, hi]",
    )
    slice_axis: SliceAxis = Field(
        "axial",
        description="volumes: axial, coronal, sagittal (of the patient), or axis 0, 1, 2 as stored",
    )

    @field_validator("size")
    @classmethod
    def _size(cls, size: tuple[int, int]) -> tuple[int, int]:
        if min(size) < 32:
            raise ValueError(f"{list(size)} is too small: five poolings need at least [32, 32]")
        return size

    @field_validator("window")
    @classmethod
    def _window(cls, window: str | tuple[float, float]) -> str | tuple[float, float]:
        if isinstance(window, str):
            names = ("dtype", "percentile", "minmax", *WINDOWS)
            if window not in names:
                raise ValueError(f"window {window!r} is unknown{suggest(window, names)}")
        elif not window[0] < window[1]:
            raise ValueError(f"window {list(window)} must be [low, high] with low < high")
        return window


class SplitConfig(Section):
    """Which subjects are tested in which fold."""

    folds: int = Field(3, ge=2, description="number of folds; every case is tested once")
    seed: int = Field(0, ge=0, description="seed of the assignment of subjects to folds")
    file: Path | None = Field(
        None, description="a splits.json or nnU-Net splits_final.json to use as given"
    )
    validation: float = Field(
        0.1,
        ge=0,
        lt=0.5,
        description="share of the training subjects kept out to watch the training; 0: none",
    )
    duplicates: Literal["join", "ignore"] = Field(
        "join",
        description="subjects with near-duplicate slices: join (keep them on one side; given "
        "folds that divide them are refused), or ignore (look for none)",
    )


DECIDED_ELSEWHERE = {  # options of a network that follow from other keys
    "name": "model.name",
    "in_channels": "image.channels",
    "num_classes": "data.label_map and loss.classes",
    "attention_blocks": "loss.blocks and loss.attention",
    "exclusive": "loss.classes",
}


class ModelConfig(Section):
    """Which network."""

    name: str = Field("crosslink-net", description="see xln models")
    options: dict[str, Any] = Field(
        {}, description="for the model: preset (released, paper, table1), widths, family, ..."
    )
    weights: Path | None = Field(
        None, description="start from these weights (.safetensors, or released .pth)"
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
    classes: Literal["auto", "sigmoid", "softmax"] = Field(
        "auto", description="sigmoid: one map per class; softmax: exclusive classes; auto: sigmoid"
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
        [], description="batches are resized by these in turn, to multiples of 32; [] leaves them"
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


class EvaluateConfig(Section):
    """How predictions are scored; see docs/metrics.md."""

    metrics: list[str] = Field(
        [
            "dice",
            "iou",
            "sensitivity",
            "specificity",
            "precision",
            "over_rate",
            "under_rate",
            "hd",
            "hd95",
            "assd",
            "nsd",
        ],
        description="columns of the tables",
    )
    policy: Literal["worst", "drop", "one", "monai"] = Field(
        "worst", description="what a pair with an empty mask is worth; worst: misses count"
    )
    average: Literal["classes", "strict", "cases"] = Field(
        "classes",
        description="over classes: mean of class means; strict: none if one has none; cases: of "
        "each image or case first",
    )
    levels: list[Literal["image", "case", "pooled"]] = Field(
        ["image", "case", "pooled"], description="averages over slices, over cases, one count"
    )
    or_ur_norm: Literal["truth", "union", "pred"] = Field(
        "truth", description="area that over_rate and under_rate are divided by"
    )
    hd95_mode: Literal["directed", "pooled"] = Field(
        "directed", description="hd95: larger of two percentiles, or one of both directions"
    )
    nsd_tolerance: float = Field(
        2.0, ge=0, description="nsd: how far a surface may be off, in mm, or px without a spacing"
    )
    lesion_iou: float = Field(
        0.1, gt=0, le=1, description="lesion metrics: least IoU of components that match"
    )
    bootstrap: int = Field(2000, ge=0, description="resamples of subjects for the 95 % interval")


class PredictConfig(Section):
    """How a trained model is applied."""

    threshold: float = Field(0.5, gt=0, lt=1, description="probability that counts as foreground")
    batch_size: int = Field(8, ge=1, description="slices at a time")
    flip: bool = Field(False, description="average with the mirrored slice; doubles the time")
    probabilities: bool = Field(False, description="also write probabilities")


class OutputConfig(Section):
    """Where results go: DIR/NAME."""

    dir: Path = Field(Path("runs"), description="folder of all runs")
    name: str = Field("experiment", description="folder of this run")

    @field_validator("name")
    @classmethod
    def _name(cls, name: str) -> str:
        if not re.fullmatch(r"[\w.+-]+", name) or name in (".", ".."):
            raise ValueError(f"{name!r} is no folder name; use letters, digits and _ . + -")
        return name


class Config(Section):
    """A whole experiment."""

    data: DataConfig
    image: ImageConfig = ImageConfig()
    split: SplitConfig = SplitConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    augment: AugmentConfig = AugmentConfig()
    train: TrainConfig = TrainConfig()
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


def _lower(value: int | str) -> int | str:
    return value.lower() if isinstance(value, str) and value[0] == "#" else value
