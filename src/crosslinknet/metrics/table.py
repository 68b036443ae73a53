"""From scores of single images and cases to the means of a table, with intervals over subjects.

Order: Row (one line of per_image.csv), aggregate (one level of summary.json), its parts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from crosslinknet.config import EvaluateConfig
from crosslinknet.metrics.overlap import Counts, Floats
from crosslinknet.metrics.registry import METRICS, STATES, State
from crosslinknet.metrics.score import score_counts
from crosslinknet.statistics.bootstrap import bca_interval, left_out_sums, resampled_sums

Level = Literal["image", "case", "pooled"]
AVERAGE = "average"  # the entry beside the classes


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
        config: metrics, policy, average, or_ur_norm, number of resamples.
        level: "image" and "case" average the rows, "pooled" adds up their counts first.

    Returns:
        ``{class: {"counts": ..., "metrics": {name: {mean, std, median, n, interval}}}}``, and
        with several classes an entry "average". Numbers that do not exist are None, and those
        beyond all bounds "inf".
    """
    metrics = metrics_of(config, level)
    several = len(classes) > 1
    parts = [(row.subject, row.class_name, _amounts(row, metrics, level)) for row in rows]
    owners = list(classes)
    if several and config.average == "cases" and level != "pooled":
        averages = _over_classes(rows, metrics)
        parts += [(row.subject, AVERAGE, _amounts(row, metrics, level)) for row in averages]
        owners.append(AVERAGE)
    totals = _totals_by_subject(parts, owners)  # (S, K, X)
    means, drawn, left_out = _estimates(totals, metrics, config, level)  # (., K, M)

    result: dict[str, Any] = {}
    for k, name in enumerate(owners):
        own = averages if name == AVERAGE else [row for row in rows if row.class_name == name]
        cells = {}
        for m, metric in enumerate(metrics):
            estimate = means[k, m], drawn[:, k, m], left_out[:, k, m]
            if level == "pooled":
                cells[metric] = _cell(*estimate, len(own))
            else:
                values = _known([row.values[metric] for row in own])
                cells[metric] = _cell(*estimate, len(values), values)
        result[name] = {"counts": _tally(rows if name == AVERAGE else own), "metrics": cells}
    if several and AVERAGE not in result:
        cells = {}
        for m, metric in enumerate(metrics):
            columns = [part[..., m] for part in (means[None], drawn, left_out)]
            mean, draws, left = (_mean_of_classes(c, config.average) for c in columns)
            cells[metric] = _cell(float(mean[0]), draws, left, len(_known(means[:, m])))
        result[AVERAGE] = {"counts": _tally(rows), "metrics": cells}
    return result


def _amounts(row: Row, metrics: Sequence[str], level: Level) -> list[float]:
    """What a row adds to its subject: the four counts, or values and whether they are known."""
    if level == "pooled":
        return [row.tp, row.fp, row.fn, row.tn]
    values = [row.values[name] for name in metrics]
    return [*(0.0 if np.isnan(v) else v for v in values), *(float(not np.isnan(v)) for v in values)]


def _over_classes(rows: Sequence[Row], metrics: Sequence[str]) -> list[Row]:
    """One row per image or case: the mean over the classes that have a value there."""
    images: dict[tuple[str, int | None], list[Row]] = {}
    for row in rows:
        images.setdefault((row.case, row.slice), []).append(row)
    averages = []
    for own in images.values():
        values = {m: float(_mean_of_known(np.array([r.values[m] for r in own]))) for m in metrics}
        averages.append(replace(own[0], class_name=AVERAGE, values=values))
    return averages


def _totals_by_subject(
    parts: Sequence[tuple[str, str, list[float]]], owners: Sequence[str]
) -> Floats:
    """Add (subject, class, amounts) up per subject and class: (S, K, X)."""
    subjects = {name: i for i, name in enumerate(sorted({subject for subject, _, _ in parts}))}
    places = {name: k for k, name in enumerate(owners)}
    where = [subjects[subject] for subject, _, _ in parts], [places[name] for _, name, _ in parts]
    amounts = np.array([amount for _, _, amount in parts], dtype=np.float64)  # (N, X)
    totals = np.zeros((len(subjects), len(owners), amounts.shape[1]))
    np.add.at(totals, where, amounts)
    return totals


def _estimates(
    totals: Floats, metrics: Sequence[str], config: EvaluateConfig, level: Level
) -> tuple[Floats, Floats, Floats]:
    """Means (K, M), in each resample (R, K, M), and without each subject (S, K, M)."""
    means = _means(totals.sum(axis=0), metrics, config, level)
    shape = totals.shape[1:]
    resamples = config.bootstrap if len(totals) > 1 else 0  # one subject tells of no other
    # Nothing infinite goes into a product of matrices: its mean is infinite, with no interval.
    finite = np.where(np.isinf(totals), 0.0, totals).reshape(len(totals), -1)
    drawn, left_out = resampled_sums(finite, resamples), left_out_sums(finite)
    again = [_means(sums.reshape(-1, *shape), metrics, config, level) for sums in (drawn, left_out)]
    return means, again[0], again[1]


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


def _cell(
    mean: float, resampled: Floats, left_out: Floats, n: int, values: Floats | None = None
) -> dict[str, Any]:
    """One cell of a table; std (of a sample) and median only where there are single values."""
    values = np.empty(0) if values is None else values
    interval = None if np.isinf(mean) else bca_interval(mean, resampled, left_out)
    spread = len(values) > 1 and np.isfinite(values).all()
    return {
        "mean": _number(mean),
        "std": float(np.std(values, ddof=1)) if spread else None,
        "median": _number(np.median(values)) if len(values) else None,
        "n": n,
        "interval": None if interval is None else list(interval),
    }


def _number(value: float) -> float | Literal["inf"] | None:
    """As JSON can hold it."""
    if np.isnan(value):
        return None
    return "inf" if np.isinf(value) else float(value)


def _tally(rows: Sequence[Row]) -> dict[str, int]:
    """How many pairs there are, and how many with an empty side."""
    states = [row.state for row in rows]
    empty = {f"n_{name}": states.count(name) for name in STATES if name != "ok"}
    return {"n": len(rows), **empty}


def _known(values: Sequence[float] | Floats) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    return array[~np.isnan(array)]


def _mean_of_classes(values: Floats, rule: str) -> Floats:
    """Mean over the last axis, the classes; rule ``strict`` has none where one has none."""
    means = _mean_of_known(values)
    return np.where(np.isnan(values).any(axis=-1), np.nan, means) if rule == "strict" else means


def _mean_of_known(values: Floats) -> Floats:
    """Mean over the last axis of what is not nan; nan where nothing is."""
    known = ~np.isnan(values)
    result: Floats = np.full(values.shape[:-1], np.nan)
    numbers, sums = known.sum(axis=-1), np.where(known, values, 0.0).sum(axis=-1)
    np.divide(sums, numbers, out=result, where=numbers > 0)
    return result
