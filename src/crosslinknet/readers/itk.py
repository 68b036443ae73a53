"""MetaImage (.mha, .mhd) and NRRD (.nrrd, .nhdr) volumes through SimpleITK (extra ``io``).

ITK counts in LPS, this package in RAS; channels are the components of a voxel or a fourth axis.
What the text header says is read first, strictly, and ITK must agree with it before it decodes.
Order: what a header claims, images, masks, writing.
"""

from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosslinknet.errors import DataError, ShapeError, SystemProblem
from crosslinknet.files import atomic_path
from crosslinknet.geometry import PLANES, Grid, SliceAxis
from crosslinknet.readers.failures import errors_named
from crosslinknet.readers.guard import Claim
from crosslinknet.readers.itk_headers import Header, claim_of_itk, read_header, require_voxels
from crosslinknet.readers.volumes import (
    channels_last,
    image_of,
    refuse_colours,
    require_affine,
    stored_affine,
    turn_back,
    values_of,
)

MODULES = {
    ".mha": "MetaImageIO",
    ".mhd": "MetaImageIO",
    ".nrrd": "NrrdImageIO",
    ".nhdr": "NrrdImageIO",
}
WRITTEN = (".mha", ".nrrd")  # one file each
RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # from LPS, and back


def claim(path: Path) -> Claim:
    """What the header claims, for ``readers.guard``."""
    return claim_of_itk(path)


def data_files(path: Path) -> tuple[Path, ...]:
    """The file itself, and the one that holds its voxels where that is another."""
    header = read_header(path)
    return (path,) if header.data == path else (path, header.data)


def read_image(path: Path, slice_axis: SliceAxis) -> tuple[NDArray[Any], Grid]:
    """Read a volume as (D, C, H, W); components of a voxel, or a fourth axis, are channels.

    Integers keep their type, floats become float32.

    Raises:
        DataError: not readable, no usable place in space, not 2D to 4D.
        SystemProblem: SimpleITK is not installed.
    """
    return image_of(*_read(path, slice_axis), slice_axis)


def read_values(
    path: Path, slice_axis: SliceAxis, *, colour: bool, lossy: bool
) -> tuple[NDArray[Any], Grid]:
    """Read the values of a mask as (D, H, W), in the file's own type.

    Args:
        path: the volume.
        slice_axis: see ``read_image``.
        colour: colours are expected, which masks of volumes do not hold: an error.
        lossy: without meaning here.

    Raises:
        DataError: as in ``read_image``; colours expected; several channels.
    """
    refuse_colours(path, colour)
    return values_of(*_read(path, slice_axis), slice_axis, path)


def mask_suffix(path: Path) -> str:
    """Masks are one file, also those of MHD and NHDR."""
    return {".mhd": ".mha", ".nhdr": ".nrrd"}.get(path.suffix.lower(), path.suffix.lower())


def write_values(
    path: Path, values: NDArray[np.integer], grid: Grid, like: Path | None, *, colour: bool
) -> None:
    """Write mask values (D, H, W) with the axes, place and own entries of ``like``, atomically.

    Args:
        path: ``.mha`` or ``.nrrd``.
        values: integers.
        grid: where the values lie.
        like: the image they belong to; without it, or where it is another format, the header is
            made from the grid.
        colour: values are 0xRRGGBB; written as these numbers.

    Raises:
        DataError: ``.mhd`` and ``.nhdr``, which are two files.
    """
    _write(path, values, grid, like)


def write_probabilities(
    path: Path,
    probs: NDArray[np.float32],
    grid: Grid,
    like: Path | None,
    classes: Sequence[str],
) -> tuple[Path, ...]:
    """Write probabilities (K, D, H, W) as one float32 file, the classes as components."""
    _write(path, channels_last(probs).astype(np.float32, copy=False), grid, like)
    return (path,)


def _simpleitk() -> Any:
    try:
        import SimpleITK
    except ImportError as error:
        raise SystemProblem(
            "MHA, MHD, NRRD and NHDR files need the package SimpleITK, which is not installed: "
            "pip install 'crosslinknet[io]'"
        ) from error
    sitk: Any = SimpleITK
    sitk.ProcessObject_SetGlobalWarningDisplay(False)  # what matters is checked here
    return sitk


def _opened(path: Path) -> Any:
    """A reader that has looked at the header of a file."""
    sitk = _simpleitk()
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO(MODULES[path.suffix.lower()])  # no other format, whatever the content
    reader.ReadImageInformation()
    return reader


def _read(path: Path, slice_axis: SliceAxis) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Voxels (X, Y, Z, C) as stored, and the affine, both checked."""
    header = read_header(path)
    require_voxels(header, path)
    with errors_named(path, "MetaImage or NRRD"):
        reader = _opened(path)
        affine = _affine(reader)
        _check_header(reader, header, affine, path, slice_axis)
        stored: NDArray[Any] = _simpleitk().GetArrayFromImage(reader.Execute())
    if reader.GetNumberOfComponents() == 1:
        stored = stored[..., None]  # ([T,] [Z,] Y, X, C)
    voxels = np.moveaxis(stored, -1, 0).T  # (X, Y[, Z[, T]], C)
    x, y, *others, channels = voxels.shape
    depth, times = (*others, 1, 1)[:2]
    return voxels.reshape(x, y, depth, times * channels), affine


def _affine(reader: Any) -> NDArray[np.float64]:
    """Voxel (x, y, z) to world mm in RAS; a plane lies in the world's first two axes."""
    n = reader.GetDimension()
    place = np.eye(4)
    m = min(n, 3)
    with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is refused
        directions = np.reshape(reader.GetDirection(), (n, n)) * reader.GetSpacing()
        place[:m, :m] = directions[:m, :m]
        place[:m, 3] = reader.GetOrigin()[:m]
        affine: NDArray[np.float64] = RAS @ place
    return affine


def _check_header(
    reader: Any, header: Header, affine: NDArray[np.float64], path: Path, slice_axis: SliceAxis
) -> None:
    """Refuse what cannot be placed in space, before the voxels are read."""
    shape, channels = reader.GetSize(), reader.GetNumberOfComponents()
    kind = _simpleitk().GetPixelIDValueAsString(reader.GetPixelID())
    if not 2 <= len(shape) <= 4 or (len(shape) == 4 and channels > 1):
        raise DataError(
            f"{path} has shape {shape} with {channels} components; expected 2 or 3 axes, or 4 with "
            "channels last."
        )
    agrees = (len(shape), prod(shape) * channels) == (header.placed_axes, prod(header.sizes))
    if not agrees or "complex" in kind:
        raise DataError(
            f"{path} is read by ITK as {channels} x {shape} of type {kind}, by its header as "
            f"{header.sizes}; expected integers or real numbers. Write it anew."
        )
    require_affine(affine, path)
    if slice_axis in PLANES and not header.placed:
        raise DataError(
            f"{path} does not say how the patient lies (MetaImage: TransformMatrix and Offset; "
            f"NRRD: space, space directions and space origin), which image.slice_axis "
            f"{slice_axis!r} needs. Repair its header, or choose the slices by the stored axis: "
            "image.slice_axis: 0, 1 or 2."
        )


def _write(path: Path, array: NDArray[Any], grid: Grid, like: Path | None) -> None:
    """Turn (D, H, W[, K]) back to the file's axes and save it."""
    if path.suffix.lower() not in WRITTEN:
        raise DataError(f"{path.name} would be two files; masks are written as .mha or .nrrd.")
    sitk = _simpleitk()
    voxels = turn_back(array, grid)  # (X, Y, Z[, K])
    shape = voxels.shape[:3]
    stored = np.ascontiguousarray(voxels.swapaxes(0, 2))  # (Z, Y, X[, K])
    reference = None
    if like is not None and like.suffix.lower() in MODULES:
        reference = _opened(like)
        sizes = reference.GetSize()
        if (*sizes, 1)[:3] != shape:
            raise ShapeError(
                f"{like} has shape {sizes}, the result {shape}; the image was replaced after it "
                "was read. Predict it again."
            )
        if len(sizes) == 2:
            stored = stored[0]  # a 2D file stays 2D
    image = sitk.GetImageFromArray(stored, isVector=voxels.ndim == 4)
    if reference is not None:
        _copy_header(reference, image)
    elif (affine := stored_affine(grid, shape)) is not None:
        place = RAS @ affine
        spacing = np.linalg.norm(place[:3, :3], axis=0)
        image.SetSpacing(spacing.tolist())
        image.SetDirection((place[:3, :3] / spacing).ravel().tolist())
        image.SetOrigin(place[:3, 3].tolist())
    elif grid.spacing is not None:
        image.SetSpacing(grid.spacing)
    with atomic_path(path) as temporary:
        sitk.WriteImage(image, str(temporary), useCompression=True)


def _copy_header(reference: Any, image: Any) -> None:
    """Give an image the place of another, and its own entries (not those that ITK adds)."""
    n, dimension = image.GetDimension(), reference.GetDimension()
    image.SetSpacing(reference.GetSpacing()[:n])
    image.SetOrigin(reference.GetOrigin()[:n])
    directions = np.reshape(reference.GetDirection(), (dimension, dimension))[:n, :n]
    image.SetDirection(directions.ravel().tolist())
    for key in reference.GetMetaDataKeys():
        if not key.startswith(("ITK_", "NRRD_")):
            image.SetMetaData(key, reference.GetMetaData(key))
