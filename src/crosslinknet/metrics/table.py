"""From pairs of masks to the rows and means of a table: metrics, the empty-mask policy, levels.

Order: METRICS (every metric and what it is worth on an empty mask), POLICIES, scoring pairs,
Row (one line of per_image.csv), aggregate (one level of summary.json).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from crosslinknet.config import EvaluateConfig
from crosslinknet.errors import UsageError, suggest
from crosslinknet.metrics import overlap, surface
from crosslinknet.metrics.bootstrap import percentile_interval, resampled_sums
from crosslinknet.metrics.overlap import Counts, Floats, count

State = Literal["ok", "both_empty", "false_alarm", "missed"]
Level = Literal["image", "case", "pooled"]
Rule = float | Literal["formula", "diagonal"]

STATES: tuple[State, ...] = ("ok", "both_empty", "false_alarm", "missed")
OUT: Rule = float("nan")  # left out of every mean, and counted


@dataclass(frozen=True)
class Metric:
    """One column of the tables.

    Attributes:
        function: gets Counts (N,), or the surface distances of one pair; and ``options``.
        needs: which of the two.
        heading: how tables print it.
        unit: fractions are printed in percent, distances in mm, or px without a spacing.
        higher_is_better: False for rates of error and distances.
        worst: value under policy ``worst`` of a pair that is empty on both sides, of a false
            alarm (target empty) and of a miss (pred empty): a number, OUT, "formula" (what the
            function gives) or "diagonal" (of the image or volume).
        options: settings of EvaluateConfig that the function takes.
    """

    function: Callable[..., Any]
    needs: Literal["counts", "distances"]
    heading: str
    unit: Literal["fraction", "distance"]
    higher_is_better: bool
    worst: tuple[Rule, Rule, Rule]
    options: tuple[str, ...] = ()


# The last column is the policy table: both empty, false alarm, miss. Decision D11.
METRICS: dict[str, Metric] = {
    "dice": Metric(overlap.dice, "counts", "DSC", "fraction", True, (OUT, 0.0, 0.0)),
    "iou": Metric(overlap.iou, "counts", "IoU", "fraction", True, (OUT, 0.0, 0.0)),
    "sensitivity": Metric(overlap.sensitivity, "counts", "Sen.", "fraction", True, (OUT, OUT, 0.0)),
    "specificity": Metric(
        overlap.specificity, "counts", "Spe.", "fraction", True, (1.0, "formula", 1.0)
    ),
    "precision": Metric(overlap.precision, "counts", "Prec.", "fraction", True, (OUT, 0.0, 0.0)),
    "over_rate": Metric(
        overlap.over_rate, "counts", "OR", "fraction", False, (OUT, 1.0, 0.0), ("or_ur_norm",)
    ),
    "under_rate": Metric(
        overlap.under_rate, "counts", "UR", "fraction", False, (OUT, OUT, 1.0), ("or_ur_norm",)
    ),
    "hd": Metric(
        surface.hausdorff, "distances", "HD", "distance", False, (OUT, "diagonal", "diagonal")
    ),
    "hd95": Metric(
        surface.hausdorff_95, "distances", "HD95", "distance", False, (OUT, "diagonal", "diagonal")
    ),
}


def worst(metric: Metric, state: State) -> Rule:
    """A miss and a false alarm get the worst value that an overlap, a rate or a distance has.

    Only over_rate knows no worst value: a false alarm counts as 1, a bad overlap can reach more.
    """
    return "formula" if state == "ok" else metric.worst[STATES.index(state) - 1]


POLICIES: dict[str, Callable[[Metric, State], Rule]] = {"worst": worst}


def check_metrics(names: Sequence[str]) -> None:
    """Refuse metrics that do not exist or that are asked for twice.

    Raises:
        UsageError: naming the metric, with the nearest that exists.
    """
    if not names:
        raise UsageError(f"evaluate.metrics is empty; choose some of {', '.join(METRICS)}.")
    for name in names:
        if name not in METRICS:
            raise UsageError(f"evaluate.metrics: unknown metric {name!r}{suggest(name, METRICS)}")
        if names.count(name) > 1:
            raise UsageError(f"evaluate.metrics: {name!r} is listed twice; once is enough.")


def states_of(counts: Counts) -> NDArray[np.intp]:
    """Which side of each pair is empty, as a position in STATES."""
    no_pred, no_target = counts.pred == 0, counts.target == 0
    return np.select([no_pred & no_target, no_target, no_pred], [1, 2, 3], default=0)


def score_counts(counts: Counts, config: EvaluateConfig) -> dict[str, Floats]:
    """The metrics that need counts only, of any number of pairs, policy applied."""
    states = states_of(counts)
    values = {}
    for name in metrics_of(config, "pooled"):
        metric = METRICS[name]
        raw = metric.function(counts, **_options(metric, config))
        values[name] = _with_policy(raw, states, metric, config)
    return values


def score_pairs(
    pred: NDArray[np.bool_],
    target: NDArray[np.bool_],
    spacing: Sequence[float] | None,
    config: EvaluateConfig,
) -> tuple[Counts, dict[str, Floats]]:
    """Score N pairs of masks that lie on one grid.

    Args:
        pred: predicted masks, (N, H, W) or (N, D, H, W).
        target: reference masks, same shape.
        spacing: mm per pixel, (dy, dx) or (dz, dy, dx); None measures in pixels.
        config: metrics, policy, or_ur_norm.

    Returns:
        Counts (N,) and per metric its values (N,), in the order of ``config.metrics``; nan is
        a value that does not exist or that the policy leaves out.

    Raises:
        ShapeError: the masks differ in shape, or spacing has another number of axes.
    """
    counts = count(pred, target)
    values = score_counts(counts, config)
    if len(values) < len(config.metrics):
        values |= _score_distances(pred, target, spacing, states_of(counts), config)
    return counts, {name: values[name] for name in config.metrics}


def _score_distances(
    pred: NDArray[np.bool_],
    target: NDArray[np.bool_],
    spacing: Sequence[float] | None,
    states: NDArray[np.intp],
    config: EvaluateConfig,
) -> dict[str, Floats]:
    """The metrics that need surface distances, which are computed once per pair."""
    shape = pred.shape[1:]
    step = (1.0,) * len(shape) if spacing is None else tuple(spacing)
    names = [name for name in config.metrics if METRICS[name].needs == "distances"]
    raw = {name: np.full(len(pred), np.nan) for name in names}
    for i in np.flatnonzero(states == 0):
        distances = surface.surface_distances(pred[i], target[i], step)
        for name in names:
            metric = METRICS[name]
            raw[name][i] = metric.function(distances, **_options(metric, config))
    largest = surface.diagonal(shape, step)
    return {name: _with_policy(raw[name], states, METRICS[name], config, largest) for name in names}


def _options(metric: Metric, config: EvaluateConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in metric.options}


def _with_policy(
    raw: Floats,
    states: NDArray[np.intp],
    metric: Metric,
    config: EvaluateConfig,
    diagonal: float = float("nan"),
) -> Floats:
    """Replace the values of pairs with an empty side by what the policy says."""
    values = np.array(raw, dtype=np.float64)
    for position, state in enumerate(STATES):
        rule = POLICIES[config.policy](metric, state)
        if rule != "formula":
            values[states == position] = diagonal if rule == "diagonal" else rule
    return values


@dataclass(frozen=True)
class Row:
    """One class of one slice (or, with slice None, of one whole case)."""

    case: str
    subject: str
    fold: int | None  # None outside cross-validation
    slice: int | None
    class_name: str
    tp: int
    fp: int
    fn: int
    tn: int
    state: State
    values: Mapping[str, float]  # metric: value, nan where there is none

    @property
    def n_pixels(self) -> int:
        return self.tp + self.fp + self.fn + self.tn

    @property
    def target_fraction(self) -> float:
        return (self.tp + self.fn) / self.n_pixels


def metrics_of(config: EvaluateConfig, level: Level) -> list[str]:
    """Metrics of a level: one count over everything has no distances."""
    return [name for name in config.metrics if level != "pooled" or METRICS[name].needs == "counts"]


def aggregate(
    rows: Sequence[Row], classes: Sequence[str], config: EvaluateConfig, level: Level
) -> dict[str, Any]:
    """Average rows to one level of ``summary.json``. Decisions D23 and D24.

    Args:
        rows: one per slice and class (levels image and pooled) or per case and class (case).
        classes: names, in the order of the table.
        config: metrics, policy, or_ur_norm, number of resamples.
        level: "image" and "case" average the rows, "pooled" adds up their counts first.

    Returns:
        ``{class: {"counts": ..., "metrics": {name: {mean, std, median, n, interval}}}}``, and
        with several classes an entry "average", the mean of their means. Numbers that do not
        exist are None.
    """
    metrics = metrics_of(config, level)
    totals = _totals_by_subject(rows, classes, metrics, level)  # (S, K, X)
    resamples = config.bootstrap if len(totals) > 1 else 0  # one subject tells of no other
    drawn = resampled_sums(totals.reshape(len(totals), -1), resamples)
    drawn = drawn.reshape(resamples, *totals.shape[1:])  # (R, K, X)
    means, resampled = (_means(t, metrics, config, level) for t in (totals.sum(axis=0), drawn))

    result: dict[str, Any] = {}
    for k, name in enumerate(classes):  # means (K, M), resampled (R, K, M)
        own = [row for row in rows if row.class_name == name]
        cells = {}
        for m, metric in enumerate(metrics):
            mean, draws = means[k, m], resampled[:, k, m]
            if level == "pooled":
                cells[metric] = _cell(mean, draws, len(own))
            else:
                values = _known([row.values[metric] for row in own])
                cells[metric] = _cell(mean, draws, len(values), values)
        result[name] = {"counts": _tally(own), "metrics": cells}
    if len(classes) > 1:
        cells = {}
        for m, metric in enumerate(metrics):
            mean, draws = _mean_of_known(means[:, m]), _mean_of_known(resampled[:, :, m])
            cells[metric] = _cell(float(mean), draws, len(_known(means[:, m])))
        result["average"] = {"counts": _tally(rows), "metrics": cells}
    return result


def _totals_by_subject(
    rows: Sequence[Row], classes: Sequence[str], metrics: Sequence[str], level: Level
) -> Floats:
    """Add rows up per subject and class, (S, K, X): the four counts, or sums and numbers."""
    subjects = {name: i for i, name in enumerate(sorted({row.subject for row in rows}))}
    where = (
        [subjects[row.subject] for row in rows],
        [list(classes).index(row.class_name) for row in rows],
    )
    if level == "pooled":
        amounts = np.array([(row.tp, row.fp, row.fn, row.tn) for row in rows], dtype=np.float64)
    else:
        values = np.array([[row.values[name] for name in metrics] for row in rows])  # (N, M)
        amounts = np.concatenate([np.nan_to_num(values), ~np.isnan(values)], axis=1)  # (N, 2M)
    totals = np.zeros((len(subjects), len(classes), amounts.shape[1]))
    np.add.at(totals, where, amounts)
    return totals


def _means(totals: Floats, metrics: Sequence[str], config: EvaluateConfig, level: Level) -> Floats:
    """What a table prints for totals (..., K, X) of some subjects: (..., K, M)."""
    result: Floats = np.full((*totals.shape[:-1], len(metrics)), np.nan)
    if level == "pooled":
        scores = score_counts(Counts.from_array(totals.astype(np.int64)), config)
        for m, name in enumerate(metrics):
            result[..., m] = scores[name]
    else:
        sums, numbers = np.split(totals, 2, axis=-1)  # (..., K, M) each
        np.divide(sums, numbers, out=result, where=numbers > 0)
    return result


def _cell(mean: float, resampled: Floats, n: int, values: Floats | None = None) -> dict[str, Any]:
    """One cell of a table; std (of a sample) and median only where there are single values."""
    values = np.empty(0) if values is None else values
    interval = percentile_interval(resampled)
    return {
        "mean": None if np.isnan(mean) else float(mean),
        "std": float(np.std(values, ddof=1)) if len(values) > 1 else None,
        "median": float(np.median(values)) if len(values) else None,
        "n": n,
        "interval": None if interval is None else list(interval),
    }


def _tally(rows: Sequence[Row]) -> dict[str, int]:
    """How many pairs there are, and how many with an empty side."""
    states = [row.state for row in rows]
    empty = {f"n_{name}": states.count(name) for name in STATES if name != "ok"}
    return {"n": len(rows), **empty}


def _known(values: Sequence[float] | Floats) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    return array[~np.isnan(array)]


def _mean_of_known(values: Floats) -> Floats:
    """Mean over the last axis of what is not nan; nan where nothing is."""
    numbers = (~np.isnan(values)).sum(axis=-1)
    sums = np.nan_to_num(values).sum(axis=-1)
    result: Floats = np.full(np.shape(sums), np.nan)
    np.divide(sums, numbers, out=result, where=numbers > 0)
    return result
