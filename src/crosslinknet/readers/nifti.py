"""NIfTI volumes: slices along a stated axis on the way in, the file's own axes on the way out.

How the axes are turned is told in ``readers.volumes``.
Order: images, masks, writing, the header alone, then what a header must say.
"""
# mypy: disable-error-code="no-untyped-call"
# nibabel's functions carry no types.

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from nibabel import orientations
from numpy.typing import NDArray

from crosslinknet.errors import DataError, ShapeError
from crosslinknet.files import atomic_path
from crosslinknet.geometry import PLANES, Grid, SliceAxis
from crosslinknet.readers.volumes import MOST_VOXELS, stored_affine, turn_back, turn_volume


def read_image(path: Path, slice_axis: SliceAxis) -> tuple[NDArray[Any], Grid]:
    """Read a volume as (D, C, H, W); a fourth axis of the file is taken as channels.

    Integers keep their type, scaled values and floats become float32.

    Raises:
        DataError: not readable, no usable affine, not 2D to 4D.
    """
    voxels, affine = _read(path, slice_axis)  # (X, Y, Z, C)
    if voxels.dtype.kind == "f" and voxels.dtype.itemsize > 4:
        with np.errstate(over="ignore"):  # infinity is found and named by the caller
            voxels = voxels.astype(np.float32)
    turned, grid = turn_volume(voxels, affine, slice_axis)  # (D, H, W, C)
    return np.ascontiguousarray(turned.transpose(0, 3, 1, 2)), grid  # (D, C, H, W)


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
    if colour:
        raise DataError(
            f"{path} is a NIfTI volume, but data.label_map names colours. State the numbers it "
            "holds, as in {lesion: [1]}."
        )
    voxels, affine = _read(path, slice_axis)  # (X, Y, Z, C)
    if voxels.shape[3] != 1:
        raise DataError(
            f"{path} holds {voxels.shape[3]} volumes (shape {voxels.shape}), a mask is one. "
            "Merge them into one volume of labels."
        )
    turned, grid = turn_volume(voxels[..., 0], affine, slice_axis)
    return np.ascontiguousarray(turned), grid  # (D, H, W)


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
    voxels = image[:, 0] if image.shape[1] == 1 else np.moveaxis(image, 1, -1)  # (D, H, W[, C])
    _write(path, voxels, grid, like)


def write_probabilities(
    path: Path,
    probs: NDArray[np.float32],
    grid: Grid,
    like: Path | None,
    classes: Sequence[str],
) -> tuple[Path, ...]:
    """Write probabilities (K, D, H, W) as one float32 file, the classes on a fourth axis."""
    voxels = probs[0] if len(probs) == 1 else np.moveaxis(probs, 0, -1)  # (D, H, W[, K])
    _write(path, voxels.astype(np.float32, copy=False), grid, like)
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
    with _errors_named(path):
        file: Any = _open(path)
        _check_header(file, path, 0)
        ends = orientations.aff2axcodes(file.affine)
        spacing = tuple(float(size) for size in file.header.get_zooms()[:3])
    return Header(tuple(file.shape), spacing, ends)


def _read(path: Path, slice_axis: SliceAxis) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Voxels (X, Y, Z, C) as stored, and the affine, both checked."""
    with _errors_named(path):
        file: Any = _open(path)
        _check_header(file, path, slice_axis)
        voxels = np.asanyarray(file.dataobj)
    voxels = voxels.astype(voxels.dtype.newbyteorder("="), copy=False)
    voxels = voxels.reshape((*voxels.shape, 1, 1)[: max(4, voxels.ndim)])  # (X, Y, Z, C)
    return voxels, np.asarray(file.affine, dtype=np.float64)


def _open(path: Path) -> Any:
    file = nib.load(path, mmap=False)
    if not isinstance(file, nib.Nifti1Image):
        raise nib.filebasedimages.ImageFileError(f"a file of type {type(file).__name__}")
    return file


@contextmanager
def _errors_named(path: Path) -> Iterator[None]:
    """Make every exception of nibabel a DataError that names the file."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # nibabel raises nearly every built-in type for broken files
        raise DataError(
            f"{path} cannot be read as NIfTI ({error or type(error).__name__}). It may be "
            "truncated or of another kind; copy it again or leave it out."
        ) from error


def _check_header(file: Any, path: Path, slice_axis: SliceAxis) -> None:
    """Refuse what cannot be placed in space, before the voxels are read."""
    shape, kind, header = file.shape, file.get_data_dtype(), file.header
    if not 2 <= len(shape) <= 4:
        raise DataError(f"{path} has shape {shape}; expected 2 or 3 axes, or 4 with channels last.")
    if min(shape) < 1:
        raise DataError(f"{path} has no voxels: its shape is {shape}. Write it anew.")
    if int(np.prod(shape, dtype=object)) > MOST_VOXELS:
        raise DataError(
            f"{path} claims {shape} voxels, more than {MOST_VOXELS:,}. Cut it into several files."
        )
    if kind.fields is not None or kind.kind not in "iuf":
        raise DataError(f"{path} holds values of type {kind}; expected integers or real numbers.")
    affine = file.affine
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise DataError(
            f"{path} has an affine that places no voxel (not finite, or singular): "
            f"{np.array2string(affine, separator=', ')}. Repair its header."
        )
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
