"""From scores to tables: summary.json, its printed form and per_image.csv.

Order: Scores, check_settings, summarise, printed_table, write_rows.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from crosslinknet.config import EvaluateConfig
from crosslinknet.errors import DataError, UsageError
from crosslinknet.evaluate.pairs import listed
from crosslinknet.files import write_text
from crosslinknet.metrics.registry import METRICS, STATES, check_metrics
from crosslinknet.metrics.table import AVERAGE, Level, Row, aggregate
from crosslinknet.statistics.bootstrap import CONFIDENCE, SEED

SCHEMA = "crosslinknet/summary/1"
COLUMNS = (  # of per_image.csv, before one column per metric
    *("case", "subject", "fold", "slice", "class", "n_pixels", "target_fraction"),
    *("tp", "fp", "fn", "tn", "state"),
)

Unit = Literal["mm", "px"]


@dataclass(frozen=True)
class Scores:
    """Scores of any number of cases.

    Attributes:
        images: one row per slice and class.
        cases: one row per case and class, a volume scored in 3D; empty where level "case" is
            not asked for.
        unit: of the distances, px where no spacing is known.
    """

    images: tuple[Row, ...]
    cases: tuple[Row, ...]
    unit: Unit


def check_settings(config: EvaluateConfig, classes: Sequence[str]) -> None:
    """Refuse, before anything is read or trained, what could not be scored at the end.

    Raises:
        UsageError: unknown metric, no level, or a class named like the average.
    """
    check_metrics(config.metrics)
    if not config.levels:
        raise UsageError("evaluate.levels is empty; choose some of image, case, pooled.")
    if AVERAGE in classes and len(classes) > 1:
        raise UsageError(
            f"a class of data.label_map is called {AVERAGE!r}, which names the mean over the "
            "classes in every table; give the class another name."
        )


def summarise(
    scores: Sequence[Scores], classes: Sequence[str], config: EvaluateConfig
) -> dict[str, Any]:
    """Everything a results table needs, as ``summary.json`` holds it (docs/summary.schema.json).

    Args:
        scores: of all cases, in any number of parts, such as one per fold.
        classes: names, in the order of the tables.
        config: as the scores were made with.

    Raises:
        DataError: no scores, a case that was scored twice, or distances in mm and px.
    """
    check_settings(config, classes)
    merged = merge(scores, config)
    times = Counter((row.case, row.slice, row.class_name) for row in merged.images)
    twice = sorted({case for (case, _, _), number in times.items() if number > 1})
    if twice:
        raise DataError(f"scored twice, though each case counts once: {listed(twice)}.")
    folds = [
        {
            "fold": fold,
            "cases": len({row.case for row in merged.images if row.fold == fold}),
            "subjects": len({row.subject for row in merged.images if row.fold == fold}),
            "levels": _levels(_of_fold(merged, fold), classes, config),
        }
        for fold in sorted({row.fold for row in merged.images if row.fold is not None})
    ]
    return {
        "schema": SCHEMA,
        "policy": config.policy,
        "or_ur_norm": config.or_ur_norm,
        "distance_unit": merged.unit,
        "classes": list(classes),
        "interval": {
            "confidence": CONFIDENCE,
            "resamples": config.bootstrap,
            "seed": SEED,
            "unit": "subject",
            "subjects": len({row.subject for row in merged.images}),
        },
        "levels": _levels(merged, classes, config),
        "folds": folds,
        "fold_means": _fold_means(folds),
    }


@dataclass(frozen=True)
class PrintedTable:
    """A table as people read it: percent, two decimals, units and policy stated."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def printed_table(summary: dict[str, Any], level: Level) -> PrintedTable:
    """One level of a summary as text, one row per class and metric."""
    interval = summary["interval"]
    per = {"image": "mean over images", "case": "mean over cases", "pooled": "one pooled count"}
    caption = (
        f"{per[level]}; policy {summary['policy']}; OR and UR over {summary['or_ur_norm']}; "
        f"{interval['confidence']:.0%} interval from {interval['resamples']} resamples of "
        f"{interval['subjects']} subjects"
    )
    header = ("class", "metric", "mean", "std", "median", "interval", "n")
    rows = []
    for name, entry in summary["levels"][level].items():
        counts = entry["counts"]
        empty = tuple(str(counts[f"n_{state}"]) for state in STATES if state != "ok")
        for metric, cell in entry["metrics"].items():
            text = [_text(metric, cell[key]) for key in ("mean", "std", "median")]
            low, high = cell["interval"] or (None, None)
            between = "" if low is None else f"{_text(metric, low)} to {_text(metric, high)}"
            rows.append((name, _heading(metric, summary), *text, between, str(cell["n"]), *empty))
    return PrintedTable(caption, (*header, "both empty", "false alarms", "misses"), tuple(rows))


def write_rows(path: Path, scores: Scores, config: EvaluateConfig) -> None:
    """Write ``per_image.csv``: one line per image and class; what does not exist stays empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    tail = {
        "distance_unit": scores.unit,
        "policy": config.policy,
        "or_ur_norm": config.or_ur_norm,
    }
    writer.writerow([*COLUMNS, *config.metrics, *tail])
    for row in scores.images:
        place = (row.case, row.subject, row.fold, row.slice, row.class_name)
        counts = (row.n_pixels, row.target_fraction, row.tp, row.fp, row.fn, row.tn, row.state)
        values = [None if np.isnan(row.values[m]) else row.values[m] for m in config.metrics]
        writer.writerow([*place, *counts, *values, *tail.values()])
    write_text(path, text.getvalue())


def merge(scores: Sequence[Scores], config: EvaluateConfig) -> Scores:
    """Put parts together; distances of one table must have one unit."""
    if not any(part.images for part in scores):
        raise DataError("there is nothing to summarise: no case was scored.")
    named = {part.unit: part.images[0].case for part in reversed(scores) if part.images}
    if len(named) > 1 and any(METRICS[m].unit == "distance" for m in config.metrics):
        raise DataError(
            f"the spacing of {named['mm']} is known and that of {named['px']} is not, so their "
            "distances cannot be averaged. State the spacing of all cases, or leave the "
            "distances out of evaluate.metrics."
        )
    return Scores(
        tuple(row for part in scores for row in part.images),
        tuple(row for part in scores for row in part.cases),
        "px" if "px" in named else "mm",
    )


def _of_fold(scores: Scores, fold: int) -> Scores:
    def keep(rows: Iterable[Row]) -> tuple[Row, ...]:
        return tuple(row for row in rows if row.fold == fold)

    return Scores(keep(scores.images), keep(scores.cases), scores.unit)


def _levels(scores: Scores, classes: Sequence[str], config: EvaluateConfig) -> dict[str, Any]:
    return {
        level: aggregate(scores.cases if level == "case" else scores.images, classes, config, level)
        for level in config.levels
    }


def _fold_means(folds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean and spread (of a sample) of the folds' means; None where a fold has no mean."""
    if not folds:
        return {}

    def spread(level: str, name: str, metric: str) -> dict[str, float | None]:
        means = [fold["levels"][level][name]["metrics"][metric]["mean"] for fold in folds]
        complete = None not in means
        return {
            "mean_of_folds": float(np.mean(means)) if complete else None,
            "std_of_folds": float(np.std(means, ddof=1)) if complete and len(means) > 1 else None,
        }

    return {
        level: {
            name: {metric: spread(level, name, metric) for metric in entry["metrics"]}
            for name, entry in entries.items()
        }
        for level, entries in folds[0]["levels"].items()
    }


def _heading(metric: str, summary: dict[str, Any]) -> str:
    """Name, norm and unit of a column: ``OR/truth (%)``, ``HD (mm)``."""
    record = METRICS[metric]
    norm = f"/{summary['or_ur_norm']}" if "or_ur_norm" in record.options else ""
    unit = "%" if record.unit == "fraction" else summary["distance_unit"]
    return f"{record.heading}{norm} ({unit})"


def _text(metric: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value * (100 if METRICS[metric].unit == 'fraction' else 1):.2f}"
