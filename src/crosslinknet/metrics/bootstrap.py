"""Bootstrap over subjects: how far a mean would move with other subjects.

Slices of one subject resemble each other, so whole subjects are drawn, with replacement, and a
resample keeps all their images. A mean is then a ratio of sums (of values, of numbers of values),
so that one product of matrices serves every metric, and pooled counts as well.
Order: resampled_sums, percentile_interval.
"""

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
SEED = 0
_BLOCK = 4_000_000  # draws held at a time, so that memory stays bounded


def resampled_sums(
    totals: NDArray[np.float64], resamples: int, seed: int = SEED
) -> NDArray[np.float64]:
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


def percentile_interval(
    values: NDArray[np.float64], confidence: float = CONFIDENCE
) -> tuple[float, float] | None:
    """Middle share of resampled values (R,); nan is left out; None where nothing remains."""
    values = values[~np.isnan(values)]
    if not values.size:
        return None
    tail = 50 * (1 - confidence)
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)
