"""What a pair of masks with an empty side is worth: named rules, ours and those of other tools.

Order: the rules, POLICIES.
"""

from collections.abc import Callable

from crosslinknet.metrics.registry import METRICS, OUT, STATES, Rule, State

# MONAI 1.6.1, default arguments: both empty, false alarm, miss. The percentile of infinite
# distances is not a number there, so its HD95 leaves out what its HD calls infinite.
MONAI: dict[str, tuple[Rule, Rule, Rule]] = {
    "dice": (OUT, OUT, 0.0),
    "iou": (OUT, OUT, 0.0),
    "hd": (OUT, float("inf"), float("inf")),
    "hd95": (OUT, OUT, OUT),
    "asd": (OUT, float("inf"), float("inf")),
    "assd": (OUT, float("inf"), float("inf")),
    "nsd": (OUT, 0.0, 0.0),
}


def worst(name: str, state: State) -> Rule:
    """A miss and a false alarm get the worst value that an overlap, a rate or a distance has.

    Only over_rate and volume_error know no worst value: a false alarm counts as 1, and a bad
    overlap can reach more.
    """
    return "formula" if state == "ok" else METRICS[name].worst[STATES.index(state) - 1]


def drop(name: str, state: State) -> Rule:
    """What the formula gives; what it does not define is left out. nnU-Net's rule."""
    return "formula" if state == "ok" or METRICS[name].needs in ("counts", "sweep") else OUT


def one(name: str, state: State) -> Rule:
    """Two empty masks agree: 1, or no distance and no error; all else as ``worst``."""
    if METRICS[name].tool and METRICS[name].needs != "distances":
        return "formula"  # a tool's number stays what the tool says
    if state == "both_empty":
        return 1.0 if METRICS[name].higher_is_better else 0.0
    return worst(name, state)


def monai(name: str, state: State) -> Rule:
    """As MONAI's functions answer by default; its confusion matrix metrics by their formulas."""
    if state == "ok" or name not in MONAI:
        return drop(name, state)
    return MONAI[name][STATES.index(state) - 1]


POLICIES: dict[str, Callable[[str, State], Rule]] = {
    "worst": worst,
    "drop": drop,
    "one": one,
    "monai": monai,
}
