"""Predictions against references: masks on disk to per_image.csv and summary.json.

What the numbers mean, the policy on empty masks and the files: docs/metrics.md.
Order: score_case (one case in memory), evaluate_fold and evaluate_folders (files); then
pairs.py and tables.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosslinknet.case import CaseFiles
from crosslinknet.config import Config, DataConfig, EvaluateConfig
from crosslinknet.errors import DataError, ShapeError, UsageError
from crosslinknet.evaluate.pairs import (
    Spacing,
    checked_spacing,
    common_spacing,
    listed,
    masks_in,
    pairs,
    read_prediction,
    subject_of,
)
from crosslinknet.evaluate.tables import (
    COLUMNS,
    Scores,
    check_settings,
    merge,
    printed_table,
    summarise,
    write_rows,
)
from crosslinknet.files import write_json
from crosslinknet.geometry import SliceAxis
from crosslinknet.labels import LabelTable, label_table, split_classes
from crosslinknet.metrics.registry import STATES
from crosslinknet.metrics.score import score_pairs, states_of
from crosslinknet.metrics.table import Row
from crosslinknet.readers import read_case_mask, read_mask

__all__ = [
    "COLUMNS",
    "Scores",
    "check_settings",
    "evaluate_fold",
    "evaluate_folders",
    "printed_table",
    "score_case",
    "summarise",
    "write_rows",
]


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
    found = masks_in(predictions)
    missing = [case.id for case in cases if case.id not in found]
    if missing:
        raise DataError(
            f"{predictions} has no prediction of {listed(missing)}; predict the whole fold first."
        )
    axis, scores = config.image.slice_axis, []
    for case in cases:
        if case.mask is None:
            raise DataError(f"{case.id} has no mask, so its prediction cannot be scored.")
        pred, pred_grid = read_mask(found[case.id], axis, table, None)
        target, grid = read_case_mask(case, config.data, axis)
        step = common_spacing(found[case.id], pred_grid, case.mask, grid, case.spacing)
        scores.append(
            score_case(pred, target, table, step, case.id, case.subject, fold, config.evaluate)
        )
    merged = merge(scores, config.evaluate)
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
    stated = None if spacing is None else checked_spacing(spacing)
    table = label_table(data.label_map)
    scores = []
    for name, (pred_file, target_file) in pairs(pred, ref).items():
        subject = subject_of(target_file, data.subject)
        target, target_grid = read_mask(target_file, slice_axis, table, data.threshold)
        codes, pred_grid = read_prediction(pred_file, slice_axis, table, pred_threshold)
        if spacing is not None and len(spacing) == 2 and target_grid.shape[0] > 1:
            raise UsageError(
                f"{target_file} is a volume of {target_grid.shape[0]} slices and spacing "
                f"{list(spacing)} has no distance of slices; give dz, dy, dx."
            )
        step = common_spacing(pred_file, pred_grid, target_file, target_grid, stated)
        scores.append(score_case(codes, target, table, step, name, subject, None, config))
        done(name)
    merged = merge(scores, config)
    summary = summarise([merged], classes, config)
    write_rows(out / "per_image.csv", merged, config)
    write_json(out / "summary.json", summary)
    return summary
