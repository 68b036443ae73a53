"""One file: the pixels of an image, the values or codes of a mask, and the way back to disk.

What holds for all formats stands here: numbers that are none, values that are no whole numbers, a
threshold. Order: images, masks, writing.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosslinknet.errors import DataError, UsageError
from crosslinknet.geometry import Grid, SliceAxis
from crosslinknet.labels import LabelTable, encode, to_values
from crosslinknet.readers import image as pictures
from crosslinknet.readers import nifti
from crosslinknet.readers.formats import format_of, suffix_of, writer_of

ROUNDING = 1e-3  # of whole numbers that were stored as scaled floats


def read_image(path: Path, slice_axis: SliceAxis) -> tuple[NDArray[Any], Grid]:
    """Read an image as (D, C, H, W), in the file's own number type.

    Args:
        path: a file with a suffix of READERS.
        slice_axis: which axis of a volume counts the slices; pictures ignore it.

    Raises:
        DataError: missing, empty, unreadable, or with pixels that are NaN or infinite.
    """
    image, grid = format_of(path).read_image(path, slice_axis)
    if image.dtype.kind == "f":
        bad = int(np.count_nonzero(~np.isfinite(image)))
        if bad:
            raise DataError(
                f"{path}: {bad} of {image.size} pixels are NaN or infinite. Replace them, by the "
                "lowest value of the image for example."
            )
    return image, grid


def read_mask(
    path: Path, slice_axis: SliceAxis, table: LabelTable, threshold: int | None
) -> tuple[NDArray[np.uint8], Grid]:
    """Read a mask as codes (D, H, W).

    Args:
        path: a file with a suffix of READERS.
        slice_axis: as for the image.
        table: what the mask values mean.
        threshold: pixels above it count as value 1, all others as 0; None takes the values.

    Raises:
        DataError: as for an image; a JPG without threshold; values that are no whole numbers.
        LabelError: values that the label map does not name.
        UsageError: a threshold with a label map that is not made for it.
    """
    if threshold is not None and (table.colour or table.values != (1,)):
        raise UsageError(
            f"data.threshold is {threshold}, which leaves the mask values 0 and 1, but "
            "data.label_map names others. Write it as {NAME: [1]}, or remove the threshold."
        )
    values, grid = read_values(path, slice_axis, colour=table.colour, threshold=threshold)
    return encode(values, table, str(path)), grid


def read_values(
    path: Path, slice_axis: SliceAxis, *, colour: bool = False, threshold: int | None = None
) -> tuple[NDArray[np.integer], Grid]:
    """Read the values of a mask file (D, H, W), whatever they mean, and its grid.

    Args:
        path: a file with a suffix of READERS.
        slice_axis: as for the image.
        colour: values are colours, 0xRRGGBB.
        threshold: pixels above it count as value 1, all others as 0; None takes the values.

    Raises:
        DataError: as for an image; a JPG without threshold; values that are no whole numbers.
    """
    values, grid = format_of(path).read_values(
        path, slice_axis, colour=colour, lossy=threshold is not None
    )
    if threshold is not None:
        values = (values > threshold).astype(np.uint8)
    return whole_numbers(values, path), grid


def whole_numbers(values: NDArray[Any], path: Path) -> NDArray[np.integer]:
    """Mask values as integers; floats are accepted where they are whole, but for rounding."""
    if values.dtype.kind in "iu":
        return values
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        whole = (np.abs(values - np.rint(values)) <= ROUNDING) & (np.abs(values) < 2**31)
    if not whole.all():
        examples = ", ".join(f"{value:g}" for value in np.unique(values[~whole])[:5])
        raise DataError(
            f"{path} is a mask with {np.count_nonzero(~whole)} pixels that are no whole numbers "
            f"({examples}). Write labels, not probabilities, or state data.threshold."
        )
    rounded: NDArray[np.int64] = np.rint(values).astype(np.int64)
    return rounded


def write_image(path: Path, image: NDArray[Any], grid: Grid, like: Path | None = None) -> None:
    """Write an image (D, C, H, W) so that reading it gives the same array.

    Args:
        path: NIfTI, or a picture with the suffix that ``image.suffix_for`` names.
        image: in the number type in which it is to be stored.
        grid: where the pixels lie; pictures keep nothing of it.
        like: a file whose header and axes a NIfTI result gets.

    Raises:
        DataError: a format that cannot hold the image.
        SystemProblem: the disk refuses.
    """
    if suffix_of(path) in (".nii", ".nii.gz"):
        nifti.write_image(path, image, grid, like)
        return
    suits = pictures.suffix_for(image)
    if suits is None or (suffix_of(path) != suits and suffix_of(path) not in (".tif", ".tiff")):
        depth, channels = image.shape[:2]
        raise DataError(
            f"{path.name} cannot hold {depth} slices of {channels} channels of type {image.dtype}; "
            f"write {suits or '.nii.gz'}."
        )
    pictures.write_image(path, image, grid, like)


def write_mask(
    path: Path, codes: NDArray[np.integer], table: LabelTable, grid: Grid, like: Path | None
) -> None:
    """Write codes (D, H, W) as mask values, on the grid and with the header of ``like``.

    Args:
        path: its suffix chooses the format: PNG, BMP, TIFF, NIfTI, MHA, NRRD.
        codes: 0..n.
        table: what the codes mean.
        grid: of the image, as it was read.
        like: the image file; a volume gets its axes and header.

    Raises:
        DataError: a format that cannot hold the values.
        SystemProblem: the disk refuses.
    """
    write_values(path, to_values(codes, table), grid, like, colour=table.colour)


def write_values(
    path: Path,
    values: NDArray[np.integer],
    grid: Grid,
    like: Path | None,
    *,
    colour: bool = False,
) -> None:
    """Write mask values (D, H, W), uint8 or uint16, or colours; the rest as ``write_mask``."""
    writer_of(path).write_values(path, values, grid, like, colour=colour)


def write_probabilities(
    path: Path,
    probs: NDArray[np.float32],
    grid: Grid,
    like: Path | None,
    classes: Sequence[str] | None = None,
) -> tuple[Path, ...]:
    """Write probabilities (K, D, H, W) in [0, 1]; gives the files written.

    Volumes: one float32 file, the classes last if K > 1. PNG and TIFF: 16-bit grey, 65535 = 1;
    several classes become files ``NAME.CLASS.png`` (numbers 1..K where no names are given).

    Raises:
        DataError: a format that cannot hold them.
        SystemProblem: the disk refuses.
    """
    names = [str(k + 1) for k in range(len(probs))] if classes is None else list(classes)
    return writer_of(path).write_probabilities(path, probs, grid, like, names)
