"""A prediction and its reference as codes on one grid, whatever formats they have.

Order: read_pair, numbers that stand for names, 1 or 255 as foreground.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crosslinknet.config import DataConfig
from crosslinknet.errors import CrosslinkError, DataError, LabelError
from crosslinknet.evaluate.pairs import Spacing, common_spacing
from crosslinknet.geometry import Grid, SliceAxis
from crosslinknet.labels import LabelTable, label_table
from crosslinknet.readers import DRAWN, is_drawn, read_drawn, read_mask, suffix_of

Codes = NDArray[np.uint8]
Numbers = Mapping[str, Sequence[int]]  # class: numbers
EITHER: dict[str, list[int | str]] = {"foreground": [1, 255]}  # where no label map is stated


def read_pair(
    pred: Path,
    target: Path,
    table: LabelTable,
    data: DataConfig,
    slice_axis: SliceAxis,
    pred_threshold: int | None,
    stated: Spacing | None,
    numbers: Numbers | None = None,
) -> tuple[Codes, Codes, Spacing | None]:
    """Read a prediction and its reference as codes (D, H, W) on one grid.

    Segments and outlines (DICOM SEG, labelme) are drawn on the grid of the other mask; where both
    are such, on the smallest grid that holds the two.

    Args:
        pred: the prediction.
        target: the reference.
        table: what values mean, of ``data.label_map``.
        data: the threshold of references, and how outlines are drawn.
        slice_axis: of volumes.
        pred_threshold: in the place of ``data.threshold``, for predictions.
        stated: (dz, dy, dx) by the user, else None.
        numbers: what means a class in masks of pixels, where ``data.label_map`` holds names.

    Returns:
        Codes of both, and (dz, dy, dx) in mm, None where it is not known.

    Raises:
        DataError: not readable, or not on one grid (ShapeError).
    """
    theirs = data.model_copy(update={"threshold": pred_threshold})

    def of_pixels(path: Path, threshold: int | None) -> tuple[Codes, Grid]:
        if not table.names:
            return read_mask(path, slice_axis, table, threshold)
        return _read_numbers(path, slice_axis, table, numbers or {}, threshold)

    drawn = is_drawn(pred), is_drawn(target)
    if drawn == (False, False):
        targets, grid = of_pixels(target, data.threshold)
        with _prediction_named():
            preds, own = of_pixels(pred, pred_threshold)
        return preds, targets, common_spacing(pred, own, target, grid, stated)
    if drawn == (True, False):
        targets, grid = of_pixels(target, data.threshold)
    elif drawn == (False, True):
        with _prediction_named():
            preds, grid = of_pixels(pred, pred_threshold)
    else:
        grid = _grid_of_both(pred, target, slice_axis)
    if drawn[0]:
        with _prediction_named():
            preds = read_drawn(pred, target, grid, theirs)
    if drawn[1]:
        targets = read_drawn(target, pred, grid, data)
    return preds, targets, stated or grid.spacing


def _read_numbers(
    path: Path,
    slice_axis: SliceAxis,
    table: LabelTable,
    numbers: Numbers,
    threshold: int | None,
) -> tuple[Codes, Grid]:
    """A mask of pixels as codes of a label map of names, for which numbers stand.

    Raises:
        LabelError: it is not known which numbers mean the names.
    """
    known = {name: list(values) for name, values in numbers.items() if values}
    if missing := [name for name in table.classes if name not in known]:
        first = table.names[
            int(np.flatnonzero(table.member[1:, table.classes.index(missing[0])])[0])
        ]
        order = ", ".join(f"{value} {name}" for value, name in enumerate(table.names, start=1))
        raise LabelError(
            f"{path} holds numbers, but {', '.join(missing)} is given by names of labels alone. "
            f"Give the number beside the name, as --label {missing[0]}={first},1 (masks of xln "
            f"predict number names in alphabetical order: {order})."
        )
    of_numbers = label_table(known)
    code_of = [_code_like(members, table, known) for members in of_numbers.member]
    codes, grid = read_mask(path, slice_axis, of_numbers, threshold)
    return np.take(np.array(code_of, np.uint8), codes), grid


def _code_like(members: NDArray[np.bool_], table: LabelTable, known: Numbers) -> int:
    """The code that belongs to the same classes."""
    same = np.flatnonzero((table.member == members).all(axis=1))
    if not len(same):
        classes = " and ".join(np.array(table.classes)[members].tolist())
        raise LabelError(
            f"of the numbers {dict(known)} one means {classes} together, which no name does."
        )
    return int(same[0])


def refuse_both(codes: Codes, path: Path) -> None:
    """Without a label map 1 or 255 is foreground; a file with both means two things by them.

    Raises:
        LabelError: both occur.
    """
    if codes.max(initial=0) == len(EITHER["foreground"]) and (codes == 1).any():
        raise LabelError(
            f"{path} holds 1 and 255, so it is not clear what is foreground. State a label map: "
            "{foreground: [1], other: [255]}, say."
        )


@contextmanager
def _prediction_named() -> Iterator[None]:
    """Errors name the setting that holds for predictions."""
    try:
        yield
    except CrosslinkError as error:
        raise type(error)(str(error).replace("data.threshold", "pred_threshold")) from error


def _grid_of_both(pred: Path, target: Path, slice_axis: SliceAxis) -> Grid:
    drawing = DRAWN[suffix_of(pred)]
    if drawing is not DRAWN[suffix_of(target)]:
        raise DataError(
            f"{pred} and {target} hold outlines or segments of different kinds, which have no "
            "pixels in common to lie on. Give one of them as pixels, as NIfTI or PNG."
        )
    return drawing.own_grid((pred, target), slice_axis)
