"""Who is best, and would it be another one with other subjects?

Order: Ranking, rank_methods, kendall, groups.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from crosslinknet.errors import ShapeError
from crosslinknet.statistics.bootstrap import SEED

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Ranking:
    """Ranks of K methods on S subjects, 1 is best.

    Attributes:
        mean_ranks: (K,), mean over subjects of the rank that each gives; ties share a mean rank.
        places: (K,), order of the mean values, 1 is best.
        shares: (K, K), share of resamples of the subjects in which a method takes a place.
        friedman_p: chance of mean ranks as far apart, were the methods equal; nan for two methods.
        tau: mean Kendall correlation of the resamples' order with the order; 1 is stable.
    """

    mean_ranks: Floats
    places: Floats
    shares: Floats
    friedman_p: float
    tau: float


def rank_methods(
    values: Floats, higher_is_better: bool, resamples: int, seed: int = SEED
) -> Ranking:
    """Rank methods by their values (K, S) on subjects that all of them have a value for.

    Args:
        values: (K, S), a row per method; subjects with a nan are left out.
        higher_is_better: direction.
        resamples: of the subjects, for the stability.
        seed: equal seeds draw equal subjects.

    Raises:
        ShapeError: fewer than two methods, or no subject has all values.
    """
    if values.ndim != 2 or len(values) < 2:
        raise ShapeError(f"values are {values.shape}; expected two methods or more, by subjects.")
    known = ~np.isnan(values).any(axis=0)
    scores = np.round(values[:, known], 12) * (1 if higher_is_better else -1)  # (K, S)
    methods, subjects = scores.shape
    if not subjects:
        raise ShapeError("no subject has a value for all methods, so they cannot be ranked.")
    places = stats.rankdata(-np.round(scores.mean(axis=1), 12))
    drawn = np.random.default_rng(seed).integers(subjects, size=(resamples, subjects))
    means = np.round(np.stack([row[drawn].mean(axis=1) for row in scores], axis=1), 12)  # (R, K)
    orders = stats.rankdata(-means, axis=1)
    shares = np.zeros((methods, methods))
    for place in range(methods):  # a shared place counts half for each of two
        within = np.clip(1 - np.abs(orders - (place + 1)), 0, 1)
        shares[:, place] = within.mean(axis=0) if resamples else np.nan
    taus = kendall(orders, places)
    stable = taus[~np.isnan(taus)]
    friedman = stats.friedmanchisquare(*scores).pvalue if _may_differ(scores) else np.nan
    return Ranking(
        stats.rankdata(-scores, axis=0).mean(axis=1),
        places,
        shares,
        float(friedman),
        float(stable.mean()) if stable.size else float("nan"),
    )


def kendall(orders: Floats, places: Floats) -> Floats:
    """Kendall's tau-b (R,) of many orders (R, K) with one (K,); nan where all are tied.

    >>> kendall(np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]), np.array([1.0, 2.0, 3.0])).tolist()
    [1.0, -1.0]
    """
    first, second = np.triu_indices(orders.shape[1], 1)
    ours = np.sign(orders[:, first] - orders[:, second])  # (R, pairs)
    theirs = np.sign(places[first] - places[second])  # (pairs,)
    scale = np.sqrt((ours**2).sum(axis=1) * (theirs**2).sum())
    taus: Floats = np.full(len(orders), np.nan)
    np.divide(ours @ theirs, scale, out=taus, where=scale > 0)
    return taus


def _may_differ(scores: Floats) -> bool:
    return len(scores) > 2 and scores.shape[1] > 1 and bool((np.ptp(scores, axis=0) > 0).any())


def groups(
    mean_ranks: Sequence[float], p_values: Mapping[tuple[int, int], float], level: float = 0.05
) -> list[tuple[int, ...]]:
    """Largest runs of methods, neighbours by rank, of which no two differ: the bars of a figure.

    Args:
        mean_ranks: (K,).
        p_values: corrected p of each pair of positions, the smaller position first; a pair
            without a test (nan) does not differ.
        level: below it two methods differ.

    >>> groups([1.2, 2.0, 2.8], {(0, 1): 0.2, (0, 2): 0.01, (1, 2): 0.6})
    [(0, 1), (1, 2)]
    """
    order = [int(i) for i in np.argsort(mean_ranks, kind="stable")]
    found: list[tuple[int, ...]] = []
    for start in range(len(order)):
        end = start
        while end + 1 < len(order) and all(
            not p_values[min(i, order[end + 1]), max(i, order[end + 1])] < level
            for i in order[start : end + 1]
        ):
            end += 1
        if end > start and not (found and order[end] in found[-1]):
            found.append(tuple(order[start : end + 1]))
    return found
