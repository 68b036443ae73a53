"""What metrics, policies and levels mean, in the words of the page."""

from collections.abc import Mapping
from typing import Any

from crosslinknet.metrics.registry import METRICS
from crosslinknet.report.markup import Html

MEANING: dict[str, tuple[str, str]] = {
    "dice": ("Dice", "2 TP / (2 TP + FP + FN), the overlap: 100 % is identical, 0 % disjoint."),
    "iou": ("IoU", "TP / (TP + FP + FN), as Dice but stricter; also called Jaccard index."),
    "sensitivity": ("Sensitivity", "TP / (TP + FN), the share of the target that was found."),
    "specificity": (
        "Specificity",
        "TN / (TN + FP), the share of the background left alone; near 100 % for any small target.",
    ),
    "precision": ("Precision", "TP / (TP + FP), the share of the prediction that is right."),
    "over_rate": ("Over rate", "FP over the {norm}: what was marked too much."),
    "under_rate": ("Under rate", "FN over the {norm}: what was left out."),
    "hd": ("Hausdorff", "the largest distance from one outline to the other, in {unit}."),
    "hd95": ("Hausdorff 95 %", "as HD, with the farthest 5 % of the points let off, in {unit}."),
    "volume_error": ("Volume error", "difference of the sizes over the target's; no overlap."),
    "assd": ("Mean surface distance", "mean distance of both outlines to the other, in {unit}."),
    "asd": (
        "Surface distance, one way",
        "mean distance of the prediction's outline to the target's, in {unit}; what a prediction "
        "leaves out costs nothing.",
    ),
    "nsd": ("Surface Dice", "share of both outlines within {tolerance} of the other one."),
    "centroid_distance": ("Centroid distance", "between the centres of gravity, in {unit}."),
    "lesion_precision": ("Lesion precision", "share of predicted components that are one."),
    "lesion_recall": ("Lesion recall", "share of the target's components that were found."),
    "lesion_f1": ("Lesion F1", "2 matches over predicted and target components together."),
    "lesion_dice": ("Lesion Dice", "mean Dice of the components that match."),
    "dice_released": (
        "Dice of the released code",
        "smoothed upwards; two empty masks score 200 %.",
    ),
    "dice_sweep": ("Mean Dice of Inf-Net", "over 256 thresholds of the stretched map."),
    "sensitivity_sweep": ("Mean sensitivity of Inf-Net", "over 256 thresholds."),
    "specificity_sweep": ("Mean specificity of Inf-Net", "over 256 thresholds, 0 without a hit."),
    "mae": ("Mean absolute error", "of the stretched map."),
}
NO_SCORES = Html('<p class="note">No fold has been tested yet.</p>')
NORMS = {"truth": "target area", "union": "union of both areas", "pred": "predicted area"}
POLICIES = {
    "worst": "A missed target and a false alarm count as Dice 0 % and as a distance of the whole "
    "diagonal, so that failing more never looks better. Where target and prediction are both "
    "empty there is nothing to compare: such images are left out of the means (except that of "
    "specificity), and counted.",
    "drop": "What a formula does not define is left out: a missed target has no distance, and is "
    "not seen in its mean. Counts of what was left out stand beside every mean.",
    "one": "Two empty masks agree and score 100 %, with no distance; a missed target and a false "
    "alarm count as the worst.",
    "monai": "As MONAI's functions answer: without a target there is no Dice, whatever was "
    "predicted; with one empty side HD is infinite and HD95 is left out.",
}
LEVELS = {
    "image": "the mean over slices; each slice counts the same",
    "case": "the mean over cases; a volume is scored as a whole, in 3D",
    "pooled": "one count over all pixels; large targets weigh most, distances do not exist",
}


def meaning_of(metric: str, settings: Mapping[str, Any]) -> str:
    """What a metric measures, with the norm, unit and tolerance of a summary filled in."""
    units = {"mm": "millimetres", "px": "pixels, since the spacing is unknown"}
    unit = settings["distance_unit"]
    return MEANING.get(metric, (METRICS[metric].heading, ""))[1].format(
        norm=NORMS[settings["or_ur_norm"]],
        unit=units[unit],
        tolerance=f"{settings.get('nsd_tolerance', 0):g} {unit}",
    )


def name_of(metric: str) -> str:
    """How prose calls a metric; tables use the short heading of METRICS.

    >>> name_of("hd95")
    'Hausdorff 95 %'
    """
    return MEANING.get(metric, (metric, ""))[0]
