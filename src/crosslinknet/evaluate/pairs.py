"""Which two mask files belong together, and whether they lie on one grid.

Order: files by name, reading, the common grid and spacing, subjects, lists in messages.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crosslinknet.config import DataConfig
from crosslinknet.datasets.folders import ENDINGS
from crosslinknet.errors import CrosslinkError, DataError, LabelError, ShapeError, UsageError
from crosslinknet.geometry import Grid, SliceAxis, is_apart, shift_of
from crosslinknet.labels import LabelTable, label_table
from crosslinknet.readers import (
    DRAWN,
    is_drawn,
    is_image,
    read_drawn,
    read_mask,
    stem_of,
    suffix_of,
)
from crosslinknet.readers.polygons import looks_like

Codes = NDArray[np.uint8]
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".json")
Numbers = Mapping[str, Sequence[int]]  # class: numbers
EITHER: dict[str, list[int | str]] = {"foreground": [1, 255]}  # where no label map is stated
Spacing = tuple[float, float, float]


def masks_in(folder: Path) -> dict[str, Path]:
    """Mask files of a folder by name without suffix; files of other kinds are passed over."""
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; give a folder of masks, one file per case.")
    files = sorted(path for path in folder.iterdir() if path.is_file() and _is_mask(path))
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
            f"{folder} holds no mask that can be read (PNG, TIFF, BMP, JPG, NIfTI, MHA, NRRD, "
            "DICOM SEG or labelme); give the folder that holds the mask files themselves."
        )
    return masks


def pairs(pred: Path, ref: Path) -> dict[str, tuple[Path, Path]]:
    """Files of two folders, prediction first, matched by name without suffix.

    Where only references are called as masks beside their images are, ``x_mask``, or only
    predictions are, that ending does not count.

    Raises:
        DataError: a missing or an extra prediction, or a folder without masks.
    """
    preds, refs = masks_in(pred), masks_in(ref)
    if preds.keys() != refs.keys():
        plain_preds, plain_refs = _without_ending(preds), _without_ending(refs)
        for one, other in ((preds, plain_refs), (plain_preds, refs), (plain_preds, plain_refs)):
            if one.keys() == other.keys():
                return {name: (one[name], other[name]) for name in other}
    missing, extra = sorted(refs.keys() - preds.keys()), sorted(preds.keys() - refs.keys())
    if missing or extra:
        problems = []
        if missing:
            problems.append(f"{len(missing)} in {ref} without prediction: {listed(missing)}")
        if extra:
            problems.append(f"{len(extra)} in {pred} without reference: {listed(extra)}")
        raise DataError(
            f"the masks do not match by name without suffix: {'; '.join(problems)}. Leaving some "
            "out would make the scores look better or worse than they are, so nothing was "
            "scored; complete the folders, or move away what does not belong."
        )
    return {name: (preds[name], refs[name]) for name in refs}


def _without_ending(files: Mapping[str, Path]) -> dict[str, Path]:
    """The same files by their names without an ending for masks; {} where two become one."""
    plain = {re.sub(f"({'|'.join(ENDINGS)})$", "", name): path for name, path in files.items()}
    return plain if len(plain) == len(files) else {}


def _is_mask(path: Path) -> bool:
    """Files of pixels and labelme files; other JSON lies beside many predictions."""
    return is_image(path) or (path.suffix.lower() == ".json" and looks_like(path, "shapes"))


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


def common_spacing(
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
            f"{pred} and {target} are a picture and a volume with a place in space, so it is not "
            "known how one lies on the other. Save both in one format, or state the spacing to "
            "compare them pixel by pixel."
        )
    if is_apart(pred_grid, target_grid):
        raise ShapeError(
            f"{pred} and {target} lie up to {shift_of(pred_grid, target_grid):.3g} mm apart in the "
            "patient by their headers, though their sizes agree. Correct the wrong header, or "
            "state the spacing to compare voxel by voxel."
        )
    return b


def is_picture(path: Path, slices: int) -> bool:
    """Whether a mask is one plane without a place in space, which has no third axis."""
    return slices == 1 and suffix_of(path) in PICTURES


def checked_spacing(spacing: Sequence[float]) -> Spacing:
    """(dz, dy, dx) of a stated spacing; the dz of pictures is never used."""
    step = tuple(float(s) for s in spacing)
    if len(step) not in (2, 3) or not all(0 < s < float("inf") for s in step):
        raise UsageError(
            f"spacing {list(spacing)} must be positive millimetres: dy, dx of pictures or "
            "dz, dy, dx of volumes."
        )
    return (step[0], step[1], step[2]) if len(step) == 3 else (1.0, step[0], step[1])


def subject_of(path: Path, pattern: str | None) -> str:
    """Group of a regular expression in the file name; the name itself without one."""
    if pattern is None:
        return stem_of(path)
    match = re.search(pattern, path.name)
    if match is None or not match[1]:
        raise DataError(
            f"{path}: data.subject {pattern!r} finds no subject in this name. Correct the "
            "expression, or leave it out to make every file a subject of its own."
        )
    return match[1]


def listed(names: Sequence[str]) -> str:
    """The first ten of a list, for a message."""
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if names[10:] else "")


def _size(grid: Grid) -> str:
    return "x".join(str(n) for n in grid.shape)


def _mm(spacing: Spacing) -> str:
    return " x ".join(f"{s:g}" for s in spacing) + " mm"
