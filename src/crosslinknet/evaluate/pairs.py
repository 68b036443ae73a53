"""Which two mask files belong together, and whether they lie on one grid.

Order: files by name, the common grid and spacing, subjects, lists in messages.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from crosslinknet.datasets.folders import ENDINGS
from crosslinknet.errors import DataError, ShapeError, UsageError
from crosslinknet.geometry import Grid, is_apart, shift_of
from crosslinknet.readers import (
    is_image,
    stem_of,
    suffix_of,
)
from crosslinknet.readers.polygons import looks_like

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".json")
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
