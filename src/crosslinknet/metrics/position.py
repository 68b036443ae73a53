"""Where masks lie: the distance of their centroids."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def centroid_distance(pred: Mask, target: Mask, spacing: Sequence[float]) -> float:
    """Distance of the centres of gravity of two masks that are not empty, in the spacing's unit.

    Args:
        pred: predicted mask, (H, W) or (D, H, W).
        target: reference mask, same shape.
        spacing: size of a pixel along each axis, in the array's order.

    >>> a, b = np.zeros((2, 8, 8), dtype=bool)
    >>> a[0, 0:3] = b[3, 5] = True
    >>> centroid_distance(a, b, spacing=(1.0, 1.0))
    5.0
    """
    offsets = [
        (_centre(p) - _centre(t)) * step
        for p, t, step in zip(_shadows(pred), _shadows(target), spacing, strict=True)
    ]
    return float(np.linalg.norm(offsets))


def _shadows(mask: Mask) -> list[NDArray[np.int64]]:
    """Pixels of the mask at each place of each axis."""
    axes = range(mask.ndim)
    return [np.count_nonzero(mask, axis=tuple(a for a in axes if a != axis)) for axis in axes]


def _centre(numbers: NDArray[np.int64]) -> float:
    return float((np.arange(len(numbers)) * numbers).sum() / numbers.sum())
