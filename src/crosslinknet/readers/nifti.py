"""NIfTI volumes: slices along a stated axis on the way in, the file's own axes on the way out.

How axes are turned stands in ``readers.volumes``. A packed file is read to its last byte, since
only there its checksum stands.
Order: what a header claims, images, masks, writing, the header alone, its two forms.
"""
# mypy: disable-error-code="no-untyped-call"
# nibabel's functions carry no types.

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from nibabel import imageglobals, orientations
from numpy.typing import NDArray

from crosslinknet.errors import DataError, ShapeError
from crosslinknet.files import atomic_path
from crosslinknet.geometry import PLANES, Grid, SliceAxis
from crosslinknet.readers.failures import Shared, errors_named
from crosslinknet.readers.guard import Claim
from crosslinknet.readers.nifti_claims import claim_of_nifti, open_nifti
from crosslinknet.readers.volumes import (
    channels_last,
    image_of,
    refuse_colours,
    require_affine,
    stored_affine,
    turn_back,
    values_of,
)

NO_SIZE = b"voxel size unknown"  # description of volumes made from pictures of which nobody said it
SEVERE = 35  # of nibabel's levels: what it would repair by a guess, such as negative spacing


@contextmanager
def _without_repairs() -> Iterator[None]:
    """Nothing is repaired by a guess, and nothing is printed."""
    logger = imageglobals.logger
    was_disabled, logger.disabled = logger.disabled, True
    try:
        with imageglobals.ErrorLevel(SEVERE):
            yield
    finally:
        logger.disabled = was_disabled


_strict = Shared(_without_repairs)  # nibabel keeps both for the whole process


def claim(path: Path) -> Claim:
    """What the header claims, for ``readers.guard``."""
    return claim_of_nifti(path)


def read_image(path: Path, slice_axis: SliceAxis) -> tuple[NDArray[Any], Grid]:
    """Read a volume as (D, C, H, W); a fourth axis of the file is taken as channels.

    Integers keep their type, scaled values and floats become float32.

    Raises:
        DataError: not readable, no usable affine, not 2D to 4D.
    """
    voxels, affine, sized = _read(path, slice_axis)
    image, grid = image_of(voxels, affine, slice_axis)
    return image, grid if sized else replace(grid, spacing=None)


def read_values(
    path: Path, slice_axis: SliceAxis, *, colour: bool, lossy: bool
) -> tuple[NDArray[Any], Grid]:
    """Read the values of a mask as (D, H, W), in the file's own type.

    Args:
        path: the volume.
        slice_axis: see ``read_image``.
        colour: colours are expected, which NIfTI masks do not hold: an error.
        lossy: without meaning here.

    Raises:
        DataError: as in ``read_image``; colours expected; several channels.
    """
    refuse_colours(path, colour)
    voxels, affine, sized = _read(path, slice_axis)
    values, grid = values_of(voxels, affine, slice_axis, path)
    return values, grid if sized else replace(grid, spacing=None)


def mask_suffix(path: Path) -> str:
    """Masks are stored as their images are."""
    return ".nii.gz" if path.name.lower().endswith(".gz") else ".nii"


def write_values(
    path: Path, values: NDArray[np.integer], grid: Grid, like: Path | None, *, colour: bool
) -> None:
    """Write mask values (D, H, W) with the axes, affine and header of ``like``, atomically.

    Args:
        path: ``.nii`` or ``.nii.gz``.
        values: integers.
        grid: where the values lie.
        like: the image they belong to; without it, or where it is no NIfTI file, the header is
            made from the grid.
        colour: values are 0xRRGGBB; written as these numbers.
    """
    _write(path, values, grid, like)


def write_image(path: Path, image: NDArray[Any], grid: Grid, like: Path | None) -> None:
    """Write an image (D, C, H, W) in its own number type; several channels are a fourth axis.

    Args:
        path: ``.nii`` or ``.nii.gz``.
        image: integers or real numbers.
        grid: where the voxels lie.
        like: as in ``write_values``.
    """
    _write(path, channels_last(image.swapaxes(0, 1)), grid, like)  # (D, H, W[, C])


def write_probabilities(
    path: Path,
    probs: NDArray[np.float32],
    grid: Grid,
    like: Path | None,
    classes: Sequence[str],
) -> tuple[Path, ...]:
    """Write probabilities (K, D, H, W) as one float32 file, the classes on a fourth axis."""
    _write(path, channels_last(probs).astype(np.float32, copy=False), grid, like)
    return (path,)


class Header(NamedTuple):
    """What the header of a volume says, along the axes as stored.

    Attributes:
        shape: of the array.
        spacing: mm per voxel along the first three axes.
        ends: where the first three axes point to, as in ``("I", "P", "L")``.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    ends: tuple[str, ...]


def read_header(path: Path) -> Header:
    """Read the header alone, no voxels.

    Raises:
        DataError: not readable, no usable affine, not 2D to 4D.
    """
    with errors_named(path, "NIfTI"), _strict, _opened(path) as (file, _):
        _check_header(file, path, 0)
        ends = orientations.aff2axcodes(file.affine)
        spacing = tuple(float(size) for size in file.header.get_zooms()[:3])
    return Header(tuple(file.shape), spacing, ends)


class Forms(NamedTuple):
    """The two places in space that a header states, along the axes as stored.

    Attributes:
        shape: of the first three axes.
        spacing: mm per voxel along them.
        sform, qform: 4x4, voxel to world mm (RAS+); the first one counts when voxels are read.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    sform: NDArray[np.float64]
    qform: NDArray[np.float64]


def read_forms(path: Path) -> Forms | None:
    """Read where a header says that the volume lies, if it says so twice; no voxels.

    Other programs, ITK among them, may take the qform where this package takes the sform.

    Raises:
        DataError: as ``read_header``.
    """
    with errors_named(path, "NIfTI"), _strict, _opened(path) as (file, _):
        _check_header(file, path, 0)
        sform, qform = file.get_sform(coded=True)[0], file.get_qform(coded=True)[0]
        if sform is None or qform is None:
            return None
        dx, dy, dz = (*map(float, file.header.get_zooms()), 1.0)[:3]
    return Forms((*file.shape, 1)[:3], (dx, dy, dz), sform, qform)


def _read(path: Path, slice_axis: SliceAxis) -> tuple[NDArray[Any], NDArray[np.float64], bool]:
    """Voxels (X, Y, Z, C) as stored, the affine, both checked, and whether voxels have a size."""
    with errors_named(path, "NIfTI"), _strict, _opened(path) as (file, stream):
        _check_header(file, path, slice_axis)
        voxels = np.asanyarray(file.dataobj)
        if stream.read(1):  # at the end of a packed stream its checksum is compared
            raise DataError(
                f"{path} goes on behind the voxels that its header claims ({file.shape}). The "
                "header is wrong, or another file was appended; write it anew."
            )
    voxels = voxels.astype(voxels.dtype.newbyteorder("="), copy=False)
    voxels = voxels.reshape((*voxels.shape, 1, 1)[: max(4, voxels.ndim)])  # (X, Y, Z, C)
    sized = file.header["descrip"].item().rstrip(b"\0 ") != NO_SIZE
    return voxels, np.asarray(file.affine, dtype=np.float64), sized


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """The file as nibabel sees it, nothing of its voxels read, and the stream they come from."""
    with open_nifti(path) as stream:
        head = stream.read(8)
        stream.seek(0)
        kind = nib.Nifti2Image if head[4:7] == b"n+2" else nib.Nifti1Image
        yield kind.from_file_map({"image": nib.FileHolder(fileobj=stream)}, mmap=False), stream


def _check_header(file: Any, path: Path, slice_axis: SliceAxis) -> None:
    """Refuse what cannot be placed in space, before the voxels are read."""
    shape, kind, header = file.shape, file.get_data_dtype(), file.header
    if not 2 <= len(shape) <= 4:
        raise DataError(f"{path} has shape {shape}; expected 2 or 3 axes, or 4 with channels last.")
    if kind.fields is not None or kind.kind not in "iuf":
        raise DataError(f"{path} holds values of type {kind}; expected integers or real numbers.")
    require_affine(file.affine, path)
    if slice_axis in PLANES and not (header["qform_code"] or header["sform_code"]):
        raise DataError(
            f"{path} does not say how the patient lies (qform_code and sform_code are 0), which "
            f"image.slice_axis {slice_axis!r} needs. Repair its header, or choose the slices by "
            "the stored axis: image.slice_axis: 0, 1 or 2."
        )
    unit = header.get_xyzt_units()[0]
    if unit not in ("mm", "unknown"):
        raise DataError(f"{path} measures in {unit}; expected mm. Convert its header.")


def _write(path: Path, array: NDArray[Any], grid: Grid, like: Path | None) -> None:
    """Turn (D, H, W[, K]) back to the file's axes and save it."""
    voxels = turn_back(array, grid)  # (X, Y, Z[, K])
    if like is not None and like.name.lower().endswith((".nii", ".nii.gz")):
        file = _like(voxels, like)
    else:
        affine = stored_affine(grid, voxels.shape[:3])
        file = nib.Nifti1Image(voxels, affine, dtype=voxels.dtype)
        if grid.affine is None and grid.spacing is not None:
            file.header.set_zooms((*grid.spacing, 1.0)[: voxels.ndim])
        file.header.set_xyzt_units("unknown" if grid.spacing is None else "mm")
        if grid.spacing is None:
            file.header["descrip"] = NO_SIZE
    with atomic_path(path) as temporary:
        nib.save(file, temporary)


def _like(voxels: NDArray[Any], like: Path) -> Any:
    """An image with these voxels and everything else of the file ``like``."""
    reference: Any = nib.load(like)
    stored = reference.shape[:3]
    if (*stored, 1)[:3] != voxels.shape[:3]:
        raise ShapeError(
            f"{like} has shape {stored}, the result {voxels.shape[:3]}; the image was replaced "
            "after it was read. Predict it again."
        )
    header = reference.header.copy()
    header.set_data_dtype(voxels.dtype)
    header["cal_min"] = header["cal_max"] = 0  # the grey range of the image, not of a mask
    if voxels.ndim == 3:
        voxels = voxels.reshape(stored)  # a 2D file stays 2D
    kind = nib.Nifti2Image if isinstance(reference, nib.Nifti2Image) else nib.Nifti1Image
    return kind(voxels, reference.affine, header, dtype=voxels.dtype)
