"""Two methods on the same subjects: how large is the difference, and could it be chance?

Order: Comparison, compare_pair, signed ranks, adjust_holm, sentences of warning.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import ndtr

from crosslinknet.errors import ShapeError
from crosslinknet.statistics.bootstrap import bca_interval, left_out_sums, resampled_sums

Floats = NDArray[np.float64]
FEW = 6  # below it no exact two-sided test of signs and ranks can reach 0.05
EXACT = 50  # differing subjects up to which every pattern of signs is counted
MANY = 20  # below it bootstrap intervals tend to be too narrow


@dataclass(frozen=True)
class Comparison:
    """A minus B over subjects that both have a value for.

    Attributes:
        n: subjects compared.
        mean: mean difference.
        interval: 95 % BCa interval of it over subjects; None with one subject.
        median: median difference.
        p: two-sided Wilcoxon signed-rank test; nan where there is none (no difference at all).
        p_holm: the same after Holm's correction for all comparisons of the table; nan before.
        effect: matched-pairs rank-biserial correlation, from -1 (B larger everywhere) to 1.
        larger: subjects with the larger value for A.
        smaller: for B.
        ties: equal for both.
    """

    n: int
    mean: float
    interval: tuple[float, float] | None
    median: float
    p: float
    p_holm: float
    effect: float
    larger: int
    smaller: int
    ties: int


def compare_pair(a: Floats, b: Floats, resamples: int) -> Comparison:
    """Compare two methods by the subjects' values (S,); pairs with a nan are left out.

    The test: ranks of absolute differences, zeros ranked and then dropped (Pratt); exact, ties
    included, where at most 50 subjects differ, else by the normal approximation.

    Args:
        a: value of each subject for A.
        b: the same for B, in the same order.
        resamples: of the interval.

    Raises:
        ShapeError: the two differ in length, or no subject has both values.

    >>> found = compare_pair(np.array([3.0, 5.0, 4.0]), np.array([1.0, 2.0, 4.0]), 100)
    >>> found.mean.__round__(3), found.larger, found.smaller, found.ties, found.effect
    (1.667, 2, 0, 1, 1.0)
    """
    if a.shape != b.shape or a.ndim != 1:
        raise ShapeError(f"A has {a.shape} values and B {b.shape}; expected one per subject each.")
    both = ~(np.isnan(a) | np.isnan(b))
    differences = np.round(a[both] - b[both], 12)  # what rounding alone makes differ is a tie
    n = len(differences)
    if not n:
        raise ShapeError("no subject has a value for both; there is nothing to compare.")
    mean = float(differences.mean())
    interval = None
    if n > 1 and resamples:
        sums = differences[:, None]
        drawn = resampled_sums(sums, resamples)[:, 0] / n
        interval = bca_interval(mean, drawn, left_out_sums(sums)[:, 0] / (n - 1))
    p, effect = _signed_ranks(differences)
    signs = np.sign(differences)
    larger, smaller, ties = (int((signs == s).sum()) for s in (1, -1, 0))
    median = float(np.median(differences))
    return Comparison(n, mean, interval, median, p, np.nan, effect, larger, smaller, ties)


def _signed_ranks(differences: Floats) -> tuple[float, float]:
    """Two-sided p and rank-biserial correlation; nan and 0 where nothing differs."""
    changed = differences != 0
    if not changed.any():
        return float("nan"), 0.0
    ranks = stats.rankdata(np.abs(differences))[changed]  # zeros hold the lowest ranks, then go
    signs = np.sign(differences[changed])
    effect = float((signs * ranks).sum() / ranks.sum())
    return _p_of_signs(signs, ranks), effect


def _p_of_signs(signs: Floats, ranks: Floats) -> float:
    """Chance of a rank sum as far from 0, were each sign a toss of a coin."""
    observed = abs((signs * ranks).sum())
    doubled = np.rint(2 * ranks).astype(np.int64)  # ties make halves
    if len(ranks) <= EXACT:
        # Number of ways to reach each sum of positive ranks: exact, with ties and zeros as well.
        ways = np.zeros(doubled.sum() + 1)
        ways[0] = 1.0
        for step in doubled:
            ways[step:] += ways[: len(ways) - step].copy()
        sums = np.abs(np.arange(len(ways)) * 2 - doubled.sum()) / 2  # |positive - negative|
        return float(min(1.0, ways[sums >= observed - 1e-9].sum() / ways.sum()))
    z = observed / np.sqrt((ranks**2).sum())
    return float(2 * ndtr(-z))


def adjust_holm(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Holm's step-down correction over all comparisons of a table; nan is no test.

    Source: Holm, Scandinavian Journal of Statistics 6 (1979).
    """
    p = np.array([c.p for c in comparisons])
    tested = np.flatnonzero(~np.isnan(p))
    adjusted = np.full(len(p), np.nan)
    worst = 0.0
    for position, i in enumerate(tested[np.argsort(p[tested], kind="stable")]):
        worst = max(worst, min(1.0, (len(tested) - position) * p[i]))
        adjusted[i] = worst
    return [replace(c, p_holm=float(q)) for c, q in zip(comparisons, adjusted, strict=True)]


def warnings_for(subjects: int, what: str = "") -> list[str]:
    """What a number of subjects cannot carry, a sentence each; ``what`` they are counted for."""
    about = f"{what}: " if what else ""
    if subjects < 2:
        text = f"{subjects} subject says nothing of others: there is no interval and no test."
        return [about + text]
    if subjects < FEW:
        least = 2.0 ** (1 - subjects)
        return [
            f"{about}{subjects} subjects are too few for a claim: even if all of them agree, the "
            f"smallest p of the signed-rank test is {least:.3g}; their intervals are too narrow."
        ]
    if subjects < MANY:
        return [f"{about}{subjects} subjects: bootstrap intervals of so few tend to be too narrow."]
    return []
