"""Sections about what comes out: evaluate, predict, output. Order: as a run goes through them."""

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from crosslinknet.config.section import Section


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
    stretch: bool = Field(
        False,
        description="stretch the probabilities of each slice and class to 0..1, as Inf-Net was "
        "tested: every slice then shows something",
    )


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
