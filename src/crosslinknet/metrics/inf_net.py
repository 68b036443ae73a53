"""The numbers that Inf-Net's evaluation tool prints: means over 256 thresholds of a grey map.

Each image's map is stretched to its own smallest and largest value first, and the lowest threshold
takes the whole image in. Where nothing is hit at a threshold, all of precision, recall, Dice and
specificity are 0, though every pixel of the background may be right. So its "Dice" is not the Dice
of a mask. For comparison with numbers made by that tool only. Decision D35.
Order: Sweep, sweep, then one function per metric.

Source: EvaluationTool of Inf-Net (Fan et al., IEEE TMI 39, 2020), read, not copied.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVELS = 256  # thresholds 0/255, 1/255, ..., 255/255


@dataclass(frozen=True)
class Sweep:
    """A map cut at each of LEVELS thresholds.

    Attributes:
        tp: (256,), target pixels at or above each threshold.
        fp: (256,), other pixels at or above it.
        target: pixels of the target.
        pixels: all of them.
        error: mean absolute difference of the stretched map and the target.
    """

    tp: NDArray[np.int64]
    fp: NDArray[np.int64]
    target: int
    pixels: int
    error: float


def sweep(probs: NDArray[Any], target: NDArray[np.bool_]) -> Sweep:
    """Cut a map at all thresholds at once, by its histogram.

    Args:
        probs: probabilities in [0, 1], (H, W) or (D, H, W), taken as 8-bit grey values, as the tool
            reads them; a mask stands for itself.
        target: reference mask, same shape.
    """
    grey = np.rint(np.asarray(probs, dtype=np.float64) * 255).astype(np.int64)
    low, high = int(grey.min()), int(grey.max())
    if low < high:
        # Threshold k/255 takes (g - low) / (high - low) >= k / 255: in whole numbers, no rounding.
        highest = (grey - low) * 255 // (high - low)  # the last k that takes a pixel
        stretched = (grey - low) / (high - low)
    else:  # a constant map stays as it is
        highest, stretched = grey, grey / 255
    hit, miss = (np.bincount(highest[m], minlength=LEVELS) for m in (target, ~target))
    tp, fp = (np.cumsum(numbers[::-1])[::-1] for numbers in (hit, miss))
    error = float(np.abs(stretched - target).mean())
    return Sweep(tp, fp, int(np.count_nonzero(target)), target.size, error)


def dice_sweep(cuts: Sweep) -> float:
    """Mean over the thresholds of Dice, in [0, 1]: the tool's meanDic."""
    return _mean(2 * cuts.tp, cuts.tp + cuts.fp + cuts.target)


def sensitivity_sweep(cuts: Sweep) -> float:
    """Mean over the thresholds of recall, in [0, 1]: the tool's meanSen."""
    return _mean(cuts.tp, np.full(LEVELS, cuts.target))


def specificity_sweep(cuts: Sweep) -> float:
    """Mean over the thresholds of specificity, 0 where nothing is hit: the tool's meanSpe."""
    background = cuts.pixels - cuts.target
    return _mean(
        np.where(cuts.tp > 0, background - cuts.fp, 0), np.full(LEVELS, max(background, 1))
    )


def mean_absolute_error(cuts: Sweep) -> float:
    """Mean absolute error of the stretched map, in [0, 1]: the tool's MAE."""
    return cuts.error


def _mean(numerators: NDArray[np.int64], denominators: NDArray[np.int64]) -> float:
    parts = np.zeros(LEVELS)
    np.divide(numerators, denominators, out=parts, where=denominators > 0)
    return float(parts.mean())
