"""From scores to summary.json: levels, folds, parts of the images, calibration, worst cases.

Order: check_settings, summarise, its parts.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from crosslinknet.config import EvaluateConfig
from crosslinknet.errors import DataError, UsageError
from crosslinknet.evaluate.pairs import listed
from crosslinknet.evaluate.scores import Scores, merge
from crosslinknet.evaluate.strata import Groups, strata, worst_images
from crosslinknet.metrics.calibration import calibrate
from crosslinknet.metrics.registry import check_metrics
from crosslinknet.metrics.table import AVERAGE, Row, aggregate
from crosslinknet.statistics.bootstrap import CONFIDENCE, SEED
from crosslinknet.statistics.paired import warnings_for

SCHEMA = "crosslinknet/summary/2"
SETTINGS = ("policy", "average", "or_ur_norm", "hd95_mode", "nsd_tolerance", "lesion_iou")


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
    scores: Sequence[Scores],
    classes: Sequence[str],
    config: EvaluateConfig,
    preset: str | None = None,
    groups: Groups | None = None,
) -> dict[str, Any]:
    """Everything a results table needs, as ``summary.json`` holds it (docs/summary.schema.json).

    Args:
        scores: of all cases, in any number of parts, such as one per fold.
        classes: names, in the order of the tables.
        config: as the scores were made with.
        preset: whose convention this is, for the record.
        groups: of the subjects, for the strata.

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
    subjects = len({row.subject for row in merged.images})
    return {
        "schema": SCHEMA,
        "preset": preset,
        "pred": None,
        "ref": None,
        **{name: getattr(config, name) for name in SETTINGS},
        "distance_unit": merged.unit,
        "classes": list(classes),
        "interval": {
            "confidence": CONFIDENCE,
            "method": "BCa bootstrap",
            "resamples": config.bootstrap,
            "seed": SEED,
            "unit": "subject",
            "subjects": subjects,
        },
        "warnings": [*warnings_for(subjects), *_of_classes(merged.images, classes, subjects)],
        "levels": _levels(merged, classes, config),
        "folds": folds,
        "fold_means": _fold_means(folds),
        "strata": strata(merged.images, classes, config, groups or {}),
        "worst": worst_images(merged.images, classes, config),
        "calibration": _calibration(merged, classes, config),
    }


def _of_classes(rows: Sequence[Row], classes: Sequence[str], subjects: int) -> list[str]:
    """Classes that fewer subjects have than there are."""
    found = []
    for name in classes:
        own = {row.subject for row in rows if row.class_name == name and row.tp + row.fn}
        if len(own) < subjects:
            found += warnings_for(len(own), f"{name}, subjects with a target")
    return found


def _of_fold(scores: Scores, fold: int) -> Scores:
    def keep(rows: Sequence[Row]) -> tuple[Row, ...]:
        return tuple(row for row in rows if row.fold == fold)

    return Scores(keep(scores.images), keep(scores.cases), scores.unit)


def _levels(scores: Scores, classes: Sequence[str], config: EvaluateConfig) -> dict[str, Any]:
    return {
        level: aggregate(scores.cases if level == "case" else scores.images, classes, config, level)
        for level in config.levels
    }


def _fold_means(folds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and spread (of a sample) of the folds' means; None where a fold has no mean."""
    if not folds:
        return {}

    def spread(level: str, name: str, metric: str) -> dict[str, float | None]:
        means = [fold["levels"][level][name]["metrics"][metric]["mean"] for fold in folds]
        complete = None not in means and "inf" not in means
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


def _calibration(
    scores: Scores, classes: Sequence[str], config: EvaluateConfig
) -> dict[str, Any] | None:
    """By class; None where no probabilities were given."""
    if not scores.bins:
        return None
    of_class = {name: {s: b for (c, s), b in scores.bins.items() if c == name} for name in classes}
    return {name: calibrate(bins, config.bootstrap) for name, bins in of_class.items()}
