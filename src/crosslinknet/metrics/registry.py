"""Every metric: what computes it, how tables print it, what it is worth on an empty mask.

Order: Metric, METRICS, check_metrics.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from crosslinknet.errors import UsageError, suggest
from crosslinknet.metrics import components, inf_net, overlap, position, surface

State = Literal["ok", "both_empty", "false_alarm", "missed"]
Rule = float | Literal["formula", "diagonal"]
Needs = Literal["counts", "distances", "masks", "components", "sweep"]

STATES: tuple[State, ...] = ("ok", "both_empty", "false_alarm", "missed")
OUT: Rule = float("nan")  # left out of every mean, and counted


@dataclass(frozen=True)
class Metric:
    """One column of the tables.

    Attributes:
        function: computes it, from what it ``needs`` and from ``options``.
        needs: "counts": Counts of N pairs at once; or of one pair "distances": between its
            surfaces, both ways; "masks": pred, target, spacing; "components": Matching; "sweep":
            Sweep.
        heading: how tables print it.
        unit: fractions are printed in percent, distances in mm, or px without a spacing.
        higher_is_better: False for rates of error and distances.
        worst: value under policy ``worst`` of a pair that is empty on both sides, of a false
            alarm (target empty) and of a miss (pred empty): a number, OUT, "formula" (what the
            function gives) or "diagonal" (of the image or volume).
        options: settings of EvaluateConfig that the function takes.
        tool: whose convention it is, where it is not meant for claims of one's own.
    """

    function: Callable[..., Any]
    needs: Needs
    heading: str
    unit: Literal["fraction", "distance"]
    higher_is_better: bool
    worst: tuple[Rule, Rule, Rule]
    options: tuple[str, ...] = ()
    tool: str = ""


FAR: tuple[Rule, Rule, Rule] = (OUT, "diagonal", "diagonal")
ALL: tuple[Rule, Rule, Rule] = ("formula", "formula", "formula")

# The last column is the policy table: both empty, false alarm, miss. Decision D11.
METRICS: dict[str, Metric] = {
    "dice": Metric(overlap.dice, "counts", "DSC", "fraction", True, (OUT, 0.0, 0.0)),
    "iou": Metric(overlap.iou, "counts", "IoU", "fraction", True, (OUT, 0.0, 0.0)),
    "sensitivity": Metric(overlap.sensitivity, "counts", "Sen.", "fraction", True, (OUT, OUT, 0.0)),
    "specificity": Metric(
        overlap.specificity, "counts", "Spe.", "fraction", True, (1.0, "formula", 1.0)
    ),
    "precision": Metric(overlap.precision, "counts", "Prec.", "fraction", True, (OUT, 0.0, 0.0)),
    "over_rate": Metric(
        overlap.over_rate, "counts", "OR", "fraction", False, (OUT, 1.0, 0.0), ("or_ur_norm",)
    ),
    "under_rate": Metric(
        overlap.under_rate, "counts", "UR", "fraction", False, (OUT, OUT, 1.0), ("or_ur_norm",)
    ),
    "volume_error": Metric(
        overlap.volume_error, "counts", "Vol. err.", "fraction", False, (OUT, 1.0, 1.0)
    ),
    "hd": Metric(surface.hausdorff, "distances", "HD", "distance", False, FAR),
    "hd95": Metric(
        surface.hausdorff_95, "distances", "HD95", "distance", False, FAR, ("hd95_mode",)
    ),
    "assd": Metric(surface.assd, "distances", "ASSD", "distance", False, FAR),
    "nsd": Metric(
        surface.nsd, "distances", "NSD", "fraction", True, (OUT, 0.0, 0.0), ("nsd_tolerance",)
    ),
    "centroid_distance": Metric(
        position.centroid_distance, "masks", "Centroid", "distance", False, FAR
    ),
    "lesion_precision": Metric(
        components.lesion_precision, "components", "Les. prec.", "fraction", True, (OUT, 0.0, 0.0)
    ),
    "lesion_recall": Metric(
        components.lesion_recall, "components", "Les. rec.", "fraction", True, (OUT, OUT, 0.0)
    ),
    "lesion_f1": Metric(
        components.lesion_f1, "components", "Les. F1", "fraction", True, (OUT, 0.0, 0.0)
    ),
    "lesion_dice": Metric(
        components.lesion_dice, "components", "Les. DSC", "fraction", True, (OUT, 0.0, 0.0)
    ),
    # What single tools print under the names Dice, Sen. and Spe.; not for claims of one's own.
    "asd": Metric(surface.asd, "distances", "ASD", "distance", False, FAR, tool="MONAI"),
    "dice_released": Metric(
        overlap.dice_released, "counts", "Dice+1", "fraction", True, ALL, tool="released code"
    ),
    "dice_sweep": Metric(
        inf_net.dice_sweep, "sweep", "meanDic", "fraction", True, ALL, tool="Inf-Net"
    ),
    "sensitivity_sweep": Metric(
        inf_net.sensitivity_sweep, "sweep", "meanSen", "fraction", True, ALL, tool="Inf-Net"
    ),
    "specificity_sweep": Metric(
        inf_net.specificity_sweep, "sweep", "meanSpe", "fraction", True, ALL, tool="Inf-Net"
    ),
    "mae": Metric(
        inf_net.mean_absolute_error, "sweep", "MAE", "fraction", False, ALL, tool="Inf-Net"
    ),
}


def check_metrics(names: Sequence[str]) -> None:
    """Refuse metrics that do not exist or that are asked for twice.

    Raises:
        UsageError: naming the metric, with the nearest that exists.
    """
    if not names:
        raise UsageError(f"evaluate.metrics is empty; choose some of {', '.join(METRICS)}.")
    for name in names:
        if name not in METRICS:
            raise UsageError(f"evaluate.metrics: unknown metric {name!r}{suggest(name, METRICS)}")
        if names.count(name) > 1:
            raise UsageError(f"evaluate.metrics: {name!r} is listed twice; once is enough.")
