"""What metrics, policies and levels mean, in the words of the page."""

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
}
NO_SCORES = Html('<p class="note">No fold has been tested yet.</p>')
NORMS = {"truth": "target area", "union": "union of both areas", "pred": "predicted area"}
POLICIES = {
    "worst": "A missed target and a false alarm count as Dice 0 % and as a distance of the whole "
    "diagonal, so that failing more never looks better. Where target and prediction are both "
    "empty there is nothing to compare: such images are left out of the means (except that of "
    "specificity), and counted."
}
LEVELS = {
    "image": "the mean over slices; each slice counts the same",
    "case": "the mean over cases; a volume is scored as a whole, in 3D",
    "pooled": "one count over all pixels; large targets weigh most, distances do not exist",
}


def name_of(metric: str) -> str:
    """How prose calls a metric; tables use the short heading of METRICS.

    >>> name_of("hd95")
    'Hausdorff 95 %'
    """
    return MEANING.get(metric, (metric, ""))[0]
