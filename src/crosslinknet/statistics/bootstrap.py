"""Bootstrap over subjects: how far a mean would move with other subjects.

Slices of one subject resemble each other, so whole subjects are drawn, with replacement, and a
resample keeps all their images. A mean is then a ratio of sums (of values, of numbers of values),
so that one product of matrices serves every metric, and pooled counts as well.
Order: resampled_sums, left_out_sums, bca_interval.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
SEED = 0
_BLOCK = 4_000_000  # draws held at a time, so that memory stays bounded


def resampled_sums(totals: Floats, resamples: int, seed: int = SEED) -> Floats:
    """Sum per-subject totals over resamples of the subjects.

    Args:
        totals: (S, M), M totals of each of S subjects.
        resamples: number of resamples, each S subjects drawn with replacement.
        seed: equal seeds draw equal subjects, whatever the totals are.

    Returns:
        (resamples, M).
    """
    subjects = len(totals)
    rng = np.random.default_rng(seed)
    step = max(1, _BLOCK // subjects)
    blocks = []
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(subjects, size=(rows, subjects))
        drawn += subjects * np.arange(rows)[:, None]  # one range of numbers per resample
        times = np.bincount(drawn.ravel(), minlength=rows * subjects).reshape(rows, subjects)
        blocks.append(times.astype(np.float64) @ totals)  # (rows, M)
    return np.concatenate(blocks) if blocks else np.empty((0, totals.shape[1]))


def left_out_sums(totals: Floats) -> Floats:
    """Sums (S, M) of per-subject totals (S, M) without each subject in turn: the jackknife."""
    sums: Floats = totals.sum(axis=0) - totals
    return sums


def bca_interval(
    estimate: float, resampled: Floats, left_out: Floats, confidence: float = CONFIDENCE
) -> tuple[float, float] | None:
    """Bias-corrected and accelerated interval of a number that was resampled.

    The ends are percentiles of the resamples, moved by how far the estimate lies from their
    median (bias) and by how its spread changes with its size (acceleration, from the jackknife).
    Where a subject alone decides, or all resamples are equal, nothing can be corrected and the
    plain percentiles are given.

    Args:
        estimate: the number itself.
        resampled: (R,), the number in each resample; nan where it does not exist is left out.
        left_out: (S,), the number without each subject; nan is left out.
        confidence: share of intervals that should hold the true number.

    Returns:
        Lower and upper end; None where no resample gave a number.

    Source: Efron, Better bootstrap confidence intervals, JASA 82 (1987), Section 2 to 4.

    >>> x = np.array([1.0, 2.0, 3.0, 10.0])
    >>> sums = resampled_sums(x[:, None], 2000)[:, 0]
    >>> low, high = bca_interval(16.0, sums, left_out_sums(x[:, None])[:, 0] * 4 / 3)
    >>> 4 <= low < 16 < high <= 40
    True
    """
    known = np.sort(resampled[~np.isnan(resampled)])
    if not known.size or np.isnan(estimate):
        return None
    tails = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    below = (np.mean(known < estimate) + np.mean(known <= estimate)) / 2  # ties count half
    if 0 < below < 1:
        bias = ndtri(below)
        shifted = bias + ndtri(tails)
        tails = ndtr(bias + shifted / (1 - _acceleration(left_out) * shifted))
    low, high = np.quantile(known, tails)
    return float(low), float(high)


def _acceleration(left_out: Floats) -> float:
    known = left_out[~np.isnan(left_out)]
    if not known.size:
        return 0.0
    offsets = known.mean() - known
    squares = (offsets**2).sum()
    if squares <= 1e-24 * max(1.0, known.mean() ** 2):  # equal but for rounding
        return 0.0
    return float((offsets**3).sum() / (6 * squares**1.5))
