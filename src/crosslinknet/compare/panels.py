"""One class and metric: values by subject, differences, tests, ranks.

Order: panels_of, values by subject, what is said of a method and of a pair.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from crosslinknet.compare.result import MethodScore, PairScore, Panel
from crosslinknet.compare.sources import Method, fold_spread
from crosslinknet.errors import DataError
from crosslinknet.metrics.overlap import Floats
from crosslinknet.metrics.registry import METRICS
from crosslinknet.statistics.bootstrap import bca_interval, left_out_sums, resampled_sums
from crosslinknet.statistics.paired import Comparison as Paired
from crosslinknet.statistics.paired import adjust_holm, compare_pair
from crosslinknet.statistics.ranks import Ranking, groups, rank_methods


def panels_of(
    methods: Sequence[Method],
    classes: Sequence[str],
    subjects: Sequence[str],
    metric: str,
    title: str,
    resamples: int,
) -> list[tuple[Panel, Floats]]:
    """A panel for each class; p values are corrected over all of them.

    Returns:
        The panel, and the values that it compares, (M, S); nan where a subject has none.

    Raises:
        DataError: no subject has a value for every method; infinite values.
    """
    values = {name: _values(methods, name, subjects, metric) for name in classes}  # (M, S, seeds)
    pairs = list(combinations(range(len(methods)), 2))
    known = [name for name in classes if _comparable(values[name])]
    if not known:
        raise DataError(
            f"no subject has a value of {metric} for every method, in any class: nothing can be "
            "compared. See n, misses and false alarms of each summary."
        )
    # What is compared, and printed, is what every method has a value for.
    values = {name: _shared(values[name]) for name in known}
    means = {name: np.array([_over_seeds(v) for v in values[name]]) for name in known}  # (M, S)
    tested = adjust_holm(
        [compare_pair(means[n][a], means[n][b], resamples) for n in known for a, b in pairs]
    )
    panels = []
    for k, name in enumerate(known):
        own = tested[k * len(pairs) : (k + 1) * len(pairs)]
        ranking = rank_methods(means[name], METRICS[metric].higher_is_better, resamples)
        bars = groups(ranking.mean_ranks.tolist(), _p_values(pairs, own))
        scores = [
            _score(method, values[name][m], name, metric, ranking, m, resamples)
            for m, method in enumerate(methods)
        ]
        panel = Panel(
            class_name=name,
            metric=metric,
            heading=title,
            unit="%" if METRICS[metric].unit == "fraction" else methods[0].unit,
            higher_is_better=METRICS[metric].higher_is_better,
            subjects=means[name].shape[1],
            methods=scores,
            pairs=[
                _pair(methods[a].name, methods[b].name, found)
                for (a, b), found in zip(pairs, own, strict=True)
            ],
            friedman_p=_known(ranking.friedman_p),
            rank_stability=_known(ranking.tau),
            groups=[[methods[i].name for i in bar] for bar in bars],
        )
        panels.append((panel, means[name]))
    return panels


def _values(
    methods: Sequence[Method], name: str, subjects: Sequence[str], metric: str
) -> list[Floats]:
    """Per method (seeds, S): mean over the images of each subject; nan where it has no value."""
    places = {subject: i for i, subject in enumerate(subjects)}
    tables = []
    for method in methods:
        table = np.full((len(method.trainings), len(subjects)), np.nan)
        for t, rows in enumerate(method.trainings):
            sums, numbers = np.zeros((2, len(subjects)))
            for row in rows:
                value = row.values[metric]
                if row.class_name == name and not np.isnan(value):
                    sums[places[row.subject]] += value
                    numbers[places[row.subject]] += 1
            np.divide(sums, numbers, out=table[t], where=numbers > 0)
        if np.isinf(table).any():
            raise DataError(
                f"{method.name} has infinite values of {metric}, which have no mean difference. "
                "Compare scores of policy worst, where a miss costs the diagonal of the image."
            )
        tables.append(table)
    return tables


def _over_seeds(values: Floats) -> Floats:
    """(S,): mean over the seeds, nan where one has no value."""
    return np.asarray(values.mean(axis=0))


def _comparable(values: Sequence[Floats]) -> bool:
    """Whether a subject has a value for every method."""
    return bool((~np.isnan(np.array([_over_seeds(v) for v in values])).any(axis=0)).any())


def _shared(values: Sequence[Floats]) -> list[Floats]:
    """The same (seeds, S) for the subjects that every method has a value for."""
    have = ~np.isnan(np.array([_over_seeds(v) for v in values])).any(axis=0)
    return [table[:, have] for table in values]


def _p_values(
    pairs: Sequence[tuple[int, int]], found: Sequence[Paired]
) -> dict[tuple[int, int], float]:
    return {pair: one.p_holm for pair, one in zip(pairs, found, strict=True)}


def _score(
    method: Method,
    values: Floats,
    name: str,
    metric: str,
    ranking: Ranking,
    place: int,
    resamples: int,
) -> MethodScore:
    own = _over_seeds(values)
    states = [row.state for row in method.rows if row.class_name == name]
    interval = None
    if len(own) > 1 and resamples:
        sums = own[:, None]
        drawn = resampled_sums(sums, resamples)[:, 0] / len(own)
        interval = bca_interval(
            float(own.mean()), drawn, left_out_sums(sums)[:, 0] / (len(own) - 1)
        )
    by_seed = [float(v.mean()) for v in values]
    spreads = [
        fold_spread([row for row in rows if row.class_name == name], metric)
        for rows in method.trainings
    ]
    known = [spread for spread in spreads if spread is not None]
    return MethodScore(
        name=method.name,
        mean=float(own.mean()),
        interval=interval,
        median=float(np.median(own)),
        std=float(own.std(ddof=1)) if len(own) > 1 else None,
        fold_std=float(np.mean(known)) if known else None,
        seeds=len(values) if method.kind == "run" else None,
        seed_std=float(np.std(by_seed, ddof=1)) if len(values) > 1 else None,
        mean_rank=float(ranking.mean_ranks[place]),
        place=float(ranking.places[place]),
        place_shares=[float(s) for s in ranking.shares[place]] if resamples else [],
        n_missed=states.count("missed"),
        n_false_alarm=states.count("false_alarm"),
        n_both_empty=states.count("both_empty"),
    )


def _pair(first: str, second: str, found: Paired) -> PairScore:
    return PairScore(
        first=first,
        second=second,
        n=found.n,
        mean=found.mean,
        interval=found.interval,
        median=found.median,
        p=_known(found.p),
        p_holm=_known(found.p_holm),
        effect=found.effect,
        larger=found.larger,
        smaller=found.smaller,
        ties=found.ties,
    )


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
