"""Predictions against references: masks on disk to per_image.csv and summary.json.

What the numbers mean, the policy on empty masks and the files: docs/metrics.md.
Order: Scores, score_case (one case in memory), evaluate_fold and evaluate_folders (files),
summarise, printed_table, write_rows.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from crosslinknet.case import CaseFiles
from crosslinknet.config import Config, DataConfig, EvaluateConfig
from crosslinknet.errors import CrosslinkError, DataError, ShapeError, UsageError
from crosslinknet.files import write_json, write_text
from crosslinknet.geometry import Grid, SliceAxis
from crosslinknet.labels import LabelTable, label_table, split_classes
from crosslinknet.metrics.bootstrap import CONFIDENCE, SEED
from crosslinknet.metrics.table import (
    METRICS,
    STATES,
    Level,
    Row,
    aggregate,
    check_metrics,
    score_pairs,
    states_of,
)
from crosslinknet.readers import is_image, read_mask, stem_of

SCHEMA = "crosslinknet/summary/1"
SHIFT = 0.1  # largest distance between the grids of a pair, in voxels
AVERAGE = "average"  # the entry beside the classes
COLUMNS = (  # of per_image.csv, before one column per metric
    *("case", "subject", "fold", "slice", "class", "n_pixels", "target_fraction"),
    *("tp", "fp", "fn", "tn", "state"),
)

Spacing = tuple[float, float, float]
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


def score_case(
    pred: NDArray[np.integer[Any]],
    target: NDArray[np.integer[Any]],
    table: LabelTable,
    spacing: Spacing | None,
    case_id: str,
    subject: str,
    fold: int | None,
    config: EvaluateConfig,
) -> Scores:
    """Score one case: every slice in 2D, and a volume as a whole in 3D.

    Args:
        pred: predicted codes, (D, H, W).
        target: reference codes, same shape.
        table: which codes belong to which class.
        spacing: (dz, dy, dx) in mm, or None.
        case_id: name of the case, for the rows.
        subject: whom it came from, for the rows.
        fold: number of the fold, None outside cross-validation.
        config: metrics, policy, levels, or_ur_norm.

    Raises:
        ShapeError: the shapes differ.
    """
    if pred.shape != target.shape:
        raise ShapeError(
            f"{case_id}: the prediction is {pred.shape}, the reference {target.shape} (slices, "
            "height, width). Both must lie on one grid; resample the prediction first."
        )
    preds, targets = split_classes(pred, table), split_classes(target, table)  # (K, D, H, W)
    classes, slices, h, w = preds.shape

    def rows(p: NDArray[np.bool_], t: NDArray[np.bool_], places: Sequence[int | None]) -> list[Row]:
        """Score pairs of all classes, (K * len(places), ...), and label them."""
        step = None if spacing is None else spacing[-(p.ndim - 1) :]
        counts, values = score_pairs(p, t, step, config)
        owners = [(name, place) for name in table.classes for place in places]
        pairs = zip(owners, counts.to_array().tolist(), states_of(counts), strict=True)
        rows = []
        for i, ((name, place), (tp, fp, fn, tn), state) in enumerate(pairs):
            own = {metric: float(values[metric][i]) for metric in values}
            rows.append(
                Row(case_id, subject, fold, place, name, tp, fp, fn, tn, STATES[state], own)
            )
        return rows

    flat = (classes * slices, h, w)
    images = rows(preds.reshape(flat), targets.reshape(flat), range(slices))
    cases: list[Row] = []
    if "case" in config.levels:
        single = [replace(row, slice=None) for row in images]
        cases = single if slices == 1 else rows(preds, targets, [None])
    return Scores(tuple(images), tuple(cases), "px" if spacing is None else "mm")


def evaluate_fold(
    cases: Sequence[CaseFiles], predictions: Path, config: Config, fold: int, out_csv: Path
) -> Scores:
    """Score the test cases of a fold against their masks and write one row per image and class.

    Args:
        cases: test cases, with masks.
        predictions: folder with a mask per case, named by its id, values of ``data.label_map``.
        config: of the run.
        fold: number of the fold.
        out_csv: where the rows go.

    Raises:
        DataError: a case has no mask or no prediction, or the two do not fit together.
    """
    check_settings(config.evaluate, config.classes)
    table = label_table(config.data.label_map)
    found = _masks_in(predictions)
    missing = [case.id for case in cases if case.id not in found]
    if missing:
        raise DataError(
            f"{predictions} has no prediction of {_listed(missing)}; predict the whole fold first."
        )
    axis, scores = config.image.slice_axis, []
    for case in cases:
        if case.mask is None:
            raise DataError(f"{case.id} has no mask, so its prediction cannot be scored.")
        pred, pred_grid = read_mask(found[case.id], axis, table, None)
        target, grid = read_mask(case.mask, axis, table, config.data.threshold)
        step = _common_spacing(found[case.id], pred_grid, case.mask, grid, case.spacing)
        scores.append(
            score_case(pred, target, table, step, case.id, case.subject, fold, config.evaluate)
        )
    merged = _merge(scores, config.evaluate)
    write_rows(out_csv, merged, config.evaluate)
    return merged


def evaluate_folders(
    pred: Path,
    ref: Path,
    out: Path,
    *,
    data: DataConfig,
    config: EvaluateConfig,
    spacing: Sequence[float] | None = None,
    slice_axis: SliceAxis = "axial",
    pred_threshold: int | None = None,
    done: Callable[[str], None] = lambda name: None,
) -> dict[str, Any]:
    """Score a folder of predicted masks against a folder of reference masks.

    Files belong together by name without suffix (``a.nii.gz`` and ``a.png``). Nothing is
    written unless every pair could be scored.

    Args:
        pred: folder of predictions.
        ref: folder of references.
        out: folder for ``per_image.csv`` and ``summary.json``.
        data: ``label_map``; ``threshold`` for the references; ``subject``, a regular
            expression searched in the reference's file name, else each file is a subject.
        config: metrics, policy, levels, or_ur_norm, number of resamples.
        spacing: (dy, dx) or (dz, dy, dx) in mm; overrides what the files say.
        slice_axis: of volumes, as in ``image.slice_axis``.
        pred_threshold: grey predictions: pixels above it count as 1. Not the threshold of the
            references, since masks written by this package hold the values of the label map.
        done: called with each name that was scored.

    Returns:
        The summary, as written.

    Raises:
        DataError: a missing or an extra prediction, masks that cannot be read, that hold
            unknown values (LabelError) or differ in grid (ShapeError).
        UsageError: unknown metric or an impossible spacing.
    """
    classes = list(data.label_map)
    check_settings(config, classes)
    stated = None if spacing is None else _checked_spacing(spacing)
    table = label_table(data.label_map)
    scores = []
    for name, (pred_file, target_file) in _pairs(pred, ref).items():
        subject = _subject(target_file, data.subject)
        target, target_grid = read_mask(target_file, slice_axis, table, data.threshold)
        codes, pred_grid = _read_prediction(pred_file, slice_axis, table, pred_threshold)
        if spacing is not None and len(spacing) == 2 and target_grid.shape[0] > 1:
            raise UsageError(
                f"{target_file} is a volume of {target_grid.shape[0]} slices and spacing "
                f"{list(spacing)} has no distance of slices; give dz, dy, dx."
            )
        step = _common_spacing(pred_file, pred_grid, target_file, target_grid, stated)
        scores.append(score_case(codes, target, table, step, name, subject, None, config))
        done(name)
    merged = _merge(scores, config)
    summary = summarise([merged], classes, config)
    write_rows(out / "per_image.csv", merged, config)
    write_json(out / "summary.json", summary)
    return summary


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
    merged = _merge(scores, config)
    times = Counter((row.case, row.slice, row.class_name) for row in merged.images)
    twice = sorted({case for (case, _, _), number in times.items() if number > 1})
    if twice:
        raise DataError(f"scored twice, though each case counts once: {_listed(twice)}.")
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


def _masks_in(folder: Path) -> dict[str, Path]:
    """Mask files of a folder by name without suffix; files of other kinds are passed over."""
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; give a folder of masks, one file per case.")
    files = sorted(path for path in folder.iterdir() if path.is_file() and is_image(path))
    masks: dict[str, Path] = {}
    for path in files:
        name = stem_of(path)
        if name in masks:
            raise DataError(
                f"{masks[name]} and {path} have the same name without suffix, so it is not clear "
                "which one is meant; move one of them away."
            )
        masks[name] = path
    if not masks:
        raise DataError(
            f"{folder} holds no mask that can be read (PNG, TIFF, BMP, JPG or NIfTI); give the "
            "folder that holds the mask files themselves."
        )
    return masks


def _pairs(pred: Path, ref: Path) -> dict[str, tuple[Path, Path]]:
    """Files of two folders, prediction first, matched by name without suffix."""
    preds, refs = _masks_in(pred), _masks_in(ref)
    missing, extra = sorted(refs.keys() - preds.keys()), sorted(preds.keys() - refs.keys())
    if missing or extra:
        problems = []
        if missing:
            problems.append(f"{len(missing)} in {ref} without prediction: {_listed(missing)}")
        if extra:
            problems.append(f"{len(extra)} in {pred} without reference: {_listed(extra)}")
        raise DataError(
            f"the masks do not match by name without suffix: {'; '.join(problems)}. Leaving some "
            "out would make the scores look better or worse than they are, so nothing was "
            "scored; complete the folders, or move away what does not belong."
        )
    return {name: (preds[name], refs[name]) for name in refs}


def _read_prediction(
    path: Path, slice_axis: SliceAxis, table: LabelTable, threshold: int | None
) -> tuple[NDArray[np.uint8], Grid]:
    """As ``read_mask``; errors name the setting that holds for predictions."""
    try:
        return read_mask(path, slice_axis, table, threshold)
    except CrosslinkError as error:
        raise type(error)(str(error).replace("data.threshold", "pred_threshold")) from error


def _common_spacing(
    pred: Path, pred_grid: Grid, target: Path, target_grid: Grid, stated: Spacing | None
) -> Spacing | None:
    """Check that two masks show the same points; their spacing, or the stated one.

    A spacing that the user states means that the files' geometry is not to be trusted, so
    that shapes alone are compared.
    """
    if pred_grid.shape != target_grid.shape:
        raise ShapeError(
            f"{pred} is {_size(pred_grid)}, {target} is {_size(target_grid)} (slices x height x "
            "width). Scores need both on one grid; write the prediction on the reference's grid."
        )
    if stated is not None:
        return stated
    a, b = pred_grid.spacing, target_grid.spacing
    if a is not None and b is not None and not np.allclose(a, b, rtol=1e-3, atol=0):
        raise ShapeError(
            f"{pred} has a spacing of {_mm(a)}, {target} of {_mm(b)} (slices, rows, columns). "
            "Scores need both on one grid; correct the wrong header, or state the spacing."
        )
    if (pred_grid.affine is None) != (target_grid.affine is None):
        raise DataError(
            f"{pred} and {target} are a picture and a NIfTI volume, so it is not known how one "
            "lies on the other. Save both in one format, or state the spacing to compare them "
            "pixel by pixel."
        )
    if pred_grid.affine is not None and target_grid.affine is not None:
        shift = _largest_shift(pred_grid, target_grid.affine)
        if shift > SHIFT * min(b or (1.0,)):
            raise ShapeError(
                f"{pred} and {target} lie up to {shift:.3g} mm apart in the patient by their "
                "headers, though their sizes agree. Correct the wrong header, or state the "
                "spacing to compare voxel by voxel."
            )
    return b


def _largest_shift(grid: Grid, other: NDArray[np.float64]) -> float:
    """How far the corners of a volume move from one affine to another, in mm."""
    assert grid.affine is not None
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in grid.shape])).reshape(3, -1)
    points = np.vstack([corners, np.ones(corners.shape[1])])  # (4, 8)
    return float(np.linalg.norm(((grid.affine - other) @ points)[:3], axis=0).max())


def _checked_spacing(spacing: Sequence[float]) -> Spacing:
    """(dz, dy, dx) of a stated spacing; the dz of pictures is never used."""
    step = tuple(float(s) for s in spacing)
    if len(step) not in (2, 3) or not all(0 < s < float("inf") for s in step):
        raise UsageError(
            f"spacing {list(spacing)} must be positive millimetres: dy, dx of pictures or "
            "dz, dy, dx of volumes."
        )
    return (step[0], step[1], step[2]) if len(step) == 3 else (1.0, step[0], step[1])


def _subject(path: Path, pattern: str | None) -> str:
    if pattern is None:
        return stem_of(path)
    match = re.search(pattern, path.name)
    if match is None or not match[1]:
        raise DataError(
            f"{path}: data.subject {pattern!r} finds no subject in this name. Correct the "
            "expression, or leave it out to make every file a subject of its own."
        )
    return match[1]


def _merge(scores: Sequence[Scores], config: EvaluateConfig) -> Scores:
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


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if names[10:] else "")


def _size(grid: Grid) -> str:
    return "x".join(str(n) for n in grid.shape)


def _mm(spacing: Spacing) -> str:
    return " x ".join(f"{s:g}" for s in spacing) + " mm"
