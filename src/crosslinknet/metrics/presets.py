"""The conventions of other tools, each as a bundle of settings and the columns that it prints.

A preset is for comparing with numbers that a tool made, never for a claim: the same masks score
differently in each. What each does, and where it is proven: docs/metrics.md, decision D35.
Order: Preset, PRESETS.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crosslinknet.metrics.table import Level


@dataclass(frozen=True)
class Preset:
    """The convention of a tool.

    Attributes:
        settings: keys of ``evaluate`` and their values.
        columns: heading, metric and level of each column, as the tool prints them.
        about: what is peculiar to it, a sentence.
        label_map: what the tool takes the mask values for, where it fixes them.
    """

    settings: Mapping[str, Any]
    columns: tuple[tuple[str, str, Level], ...]
    about: str
    label_map: Mapping[str, list[int | str]] | None = None


PRESETS: dict[str, Preset] = {
    "nnunet": Preset(
        {"metrics": ["dice", "iou"], "policy": "drop", "levels": ["case"], "average": "strict"},
        (("Dice", "dice", "case"), ("IoU", "iou", "case")),
        "a case that is empty on both sides is left out without a count; there is no distance",
    ),
    "monai": Preset(
        {
            "metrics": ["dice", "iou", "hd", "hd95", "asd", "nsd"],
            "policy": "monai",
            "levels": ["case"],
            "average": "cases",
        },
        (
            ("Dice", "dice", "case"),
            ("IoU", "iou", "case"),
            ("HD", "hd", "case"),
            ("HD95", "hd95", "case"),
            ("ASD", "asd", "case"),
            ("NSD", "nsd", "case"),
        ),
        "false alarms are left out of Dice; a miss or a false alarm makes HD infinite and is left "
        "out of HD95",
    ),
    "kits19": Preset(
        {"metrics": ["dice"], "policy": "drop", "levels": ["case"], "average": "strict"},
        (("Dice", "dice", "case"),),
        "kidney is kidney with tumour; the average is the challenge's composite score",
        {"kidney": [1, 2], "tumour": [2]},
    ),
    "infnet": Preset(
        {
            "metrics": ["dice_sweep", "sensitivity_sweep", "specificity_sweep", "mae"],
            "policy": "drop",
            "levels": ["image"],
        },
        (
            ("meanDic", "dice_sweep", "image"),
            ("meanSen", "sensitivity_sweep", "image"),
            ("meanSpe", "specificity_sweep", "image"),
            ("MAE", "mae", "image"),
        ),
        "means over 256 thresholds of each map, stretched to its own range",
    ),
    "released": Preset(
        {"metrics": ["dice_released"], "policy": "drop", "levels": ["image"]},
        (("Dice", "dice_released", "image"),),
        "two empty masks score 2.0 and any hit scores more than it should: the mean can pass 100 %",
    ),
    "paper-guess": Preset(
        {
            "metrics": ["dice", "over_rate", "under_rate", "sensitivity", "precision", "hd"],
            "policy": "drop",
            "levels": ["image", "pooled"],
        },
        (
            ("DSC", "dice", "image"),
            ("OR/truth", "over_rate", "image"),
            ("UR/truth", "under_rate", "image"),
            ("Sen. (pooled)", "sensitivity", "pooled"),
            ("Spe.* (pooled precision)", "precision", "pooled"),
            ("HD", "hd", "image"),
        ),
        "what the paper's tables fit best, which it does not define (D20, D21)",
    ),
}
