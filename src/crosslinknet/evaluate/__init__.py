"""Predictions against references: masks on disk to scores, tables and summary.json.

What the numbers mean, the policy on empty masks and the files: docs/metrics.md.
Order: evaluate_fold and evaluate_folders; then pairs.py, reading.py, maps.py, scores.py,
summary.py, strata.py, rows.py, documents.py.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from crosslinknet.case import CaseFiles
from crosslinknet.config import Config, DataConfig, EvaluateConfig
from crosslinknet.errors import DataError, UsageError
from crosslinknet.evaluate.documents import Table, latex, level_table, markdown, preset_table
from crosslinknet.evaluate.maps import read_maps
from crosslinknet.evaluate.pairs import (
    checked_spacing,
    common_spacing,
    is_picture,
    listed,
    masks_in,
    pairs,
    subject_of,
)
from crosslinknet.evaluate.reading import EITHER, read_pair, refuse_both
from crosslinknet.evaluate.rows import COLUMNS, read_rows, write_rows
from crosslinknet.evaluate.scores import Scores, merge, score_case
from crosslinknet.evaluate.strata import read_groups
from crosslinknet.evaluate.summary import check_settings, summarise
from crosslinknet.files import write_json, write_text
from crosslinknet.geometry import SliceAxis
from crosslinknet.labels import label_table
from crosslinknet.readers import read_case_mask, read_mask

__all__ = [
    "COLUMNS",
    "Scores",
    "Table",
    "check_settings",
    "evaluate_fold",
    "evaluate_folders",
    "level_table",
    "preset_table",
    "read_rows",
    "score_case",
    "summarise",
    "write_rows",
]


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
    write_rows(out_csv, merged.images, merged.unit, config.evaluate)
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
    probabilities: Path | None = None,
    groups: Path | None = None,
    preset: str | None = None,
    numbers: Mapping[str, Sequence[int]] | None = None,
    done: Callable[[int], None] = lambda total: None,
) -> dict[str, Any]:
    """Score a folder of predicted masks against a folder of reference masks.

    Files belong together by name without suffix (``a.nii.gz`` and ``a.png``). Pairs are read and
    scored by as many threads as there are cores. Nothing is written unless every pair could be
    scored; ``summary.json`` is written last.

    Args:
        pred: folder of predictions.
        ref: folder of references.
        out: folder for ``per_image.csv``, ``per_case.csv``, ``summary.json``, ``.md`` and ``.tex``.
        data: ``label_map``, by default 1, or 255 in its place, is foreground; ``threshold`` for
            the references; ``subject``, a regular expression searched in the reference's file
            name, else each file is a subject.
        config: metrics, policy, levels, what metrics need to know, number of resamples.
        spacing: (dy, dx) or (dz, dy, dx) in mm; overrides what the files say.
        slice_axis: of volumes, as in ``image.slice_axis``.
        pred_threshold: grey predictions: pixels above it count as 1. Not the threshold of the
            references, since masks written by this package hold the values of the label map.
        probabilities: folder with the probabilities of the predictions, for their calibration.
        groups: CSV table with the column ``subject`` and a column per grouping, for the strata.
        preset: whose convention ``config`` holds, for the record.
        numbers: where ``data.label_map`` names labels of outlines or segments: what means each
            class in masks that hold numbers.
        done: called after each pair, with the number of all.

    Returns:
        The summary, as written.

    Raises:
        DataError: a missing or an extra prediction, masks that cannot be read, that hold
            unknown values (LabelError) or differ in grid (ShapeError).
        UsageError: unknown metric or an impossible spacing.
    """
    either = "label_map" not in data.model_fields_set and data.threshold is pred_threshold is None
    if either:
        data = data.model_copy(update={"label_map": EITHER})
    classes = list(data.label_map)
    check_settings(config, classes)
    if out.resolve() in (pred.resolve(), ref.resolve()):
        raise UsageError(f"{out} holds the masks themselves; give another folder for the scores.")
    stated = None if spacing is None else checked_spacing(spacing)
    table = label_table(data.label_map)
    maps = None if probabilities is None else masks_in(probabilities)

    def score(name: str, pred_file: Path, target_file: Path) -> Scores:
        subject = subject_of(target_file, data.subject)
        codes, target, step = read_pair(
            pred_file, target_file, table, data, slice_axis, pred_threshold, stated, numbers
        )
        if spacing is not None and len(spacing) == 2 and len(target) > 1:
            raise UsageError(
                f"{target_file} is a volume of {len(target)} slices and spacing {list(spacing)} "
                "has no distance of slices; give dz, dy, dx."
            )
        if spacing is not None and len(spacing) == 3 and is_picture(target_file, len(target)):
            raise UsageError(
                f"{target_file} is a picture and spacing {list(spacing)} has three numbers; give "
                "dy, dx."
            )
        if either:
            for file, found in ((pred_file, codes), (target_file, target)):
                refuse_both(found, file)
        probs = None
        if maps is not None:
            probs = read_maps(maps, name, classes, target.shape, slice_axis)
        return score_case(codes, target, table, step, name, subject, None, config, probs)

    jobs = [(name, *files) for name, files in pairs(pred, ref).items()]
    subjects = sorted({subject_of(target, data.subject) for _, _, target in jobs})
    known, left_out = ({}, []) if groups is None else read_groups(groups, subjects)
    scores = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        running = [pool.submit(score, *job) for job in jobs]
        try:
            for future in running:
                scores.append(future.result())
                done(len(jobs))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    merged = merge(scores, config)
    summary = summarise([merged], classes, config, preset, known)
    summary |= {"pred": str(pred), "ref": str(ref)}
    summary["warnings"] += left_out
    if preset == "infnet" and maps is None:
        summary["warnings"].append(
            "No probabilities were given, so hard masks were cut at all thresholds; Inf-Net's tool "
            "is given maps (--probabilities)."
        )
    texts = {"summary.md": markdown(f"{pred} against {ref}", summary)}
    texts["summary.tex"] = latex(summary)
    # From here on nothing can fail but the disk. What another evaluation left goes first, the
    # summary, by which the folder is known, before all else.
    for name in ("summary.json", "report.html", "per_case.csv"):
        (out / name).unlink(missing_ok=True)
    write_rows(out / "per_image.csv", merged.images, merged.unit, config)
    if merged.cases:
        write_rows(out / "per_case.csv", merged.cases, merged.unit, config)
    for name, text in texts.items():
        write_text(out / name, text)
    write_json(out / "summary.json", summary)
    return summary
