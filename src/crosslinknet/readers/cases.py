"""Cases: images stacked as channels, with their masks, on one grid.

Slices of a stack, several masks of an image, outlines that are drawn on it: all of it ends as one
``Case``. Order: what is remembered, the three ways to read, images, masks, slices, common grids.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from crosslinknet.case import Case, CaseFiles
from crosslinknet.config import DataConfig, ImageConfig
from crosslinknet.errors import DataError, LabelError, ShapeError, UsageError
from crosslinknet.geometry import Grid, SliceAxis, is_apart, shift_of
from crosslinknet.labels import encode, label_table
from crosslinknet.readers.formats import DRAWN, is_drawn, suffix_of
from crosslinknet.readers.single import read_image, read_mask

T = TypeVar("T")

SMALLEST = 32  # five poolings need 32 rows and columns


class Remembered(Generic[T]):
    """The last thing that was read: a stack that is asked for case by case is read once.

    Files that were changed meanwhile, by size or time, are read again.
    """

    def __init__(self) -> None:
        self._last: tuple[Any, T] | None = None

    def get(self, paths: Sequence[Path], settings: Any, read: Callable[[], T]) -> T:
        """What ``read`` gives for these files and settings, now or the last time."""
        key = None
        if all(path.is_file() for path in paths):
            key = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
        last = self._last
        if key is not None and last is not None and last[0] == (key, settings):
            return last[1]
        self._last = last = None  # its memory is free before the next one is read
        value = read()
        self._last = (key, settings), value
        return value


_image_stack: Remembered[tuple[NDArray[Any], Grid]] = Remembered()
_mask_stack: Remembered[tuple[NDArray[np.uint8], Grid]] = Remembered()


def read_case_image(files: CaseFiles, slice_axis: SliceAxis) -> tuple[NDArray[Any], Grid]:
    """Read the images of a case, stacked as channels: (D, C, H, W) and their grid.

    Raises:
        ShapeError: they differ in size, or do not have the slices that are wanted.
        DataError: they lie elsewhere in space; and everything of ``read_image``.
    """
    pixels, grid = _whole_image(files, slice_axis)
    return kept(pixels, files), kept_grid(grid, files)


def read_case_mask(
    files: CaseFiles, data: DataConfig, slice_axis: SliceAxis
) -> tuple[NDArray[np.uint8], Grid]:
    """Read the mask of a case as codes (D, H, W), with the grid it is stored on.

    Raises:
        LabelError: values or names that ``data.label_map`` does not hold.
        DataError: there is no mask, and everything of ``read_mask`` and of ``Drawing.draw``.
    """
    codes, grid = _whole_mask(files, data, slice_axis)
    return kept(codes, files), kept_grid(grid, files)


def read_case(files: CaseFiles, data: DataConfig, image: ImageConfig) -> Case:
    """Read a case: its images, stacked as channels, and its mask, on one grid.

    Small slices are welcome where ``image.fit`` brings them to the network's size; with ``crop``
    they keep their own, and must have 32 rows and columns.

    Raises:
        ShapeError: images or mask differ in size; smaller than 32x32 with fit crop.
        DataError: they lie elsewhere in space; and everything of ``read_image``, ``read_mask``.
    """
    pixels, grid = _whole_image(files, image.slice_axis)
    if image.fit == "crop" and min(grid.shape[1:]) < SMALLEST:
        raise ShapeError(
            f"{files.images[0]} has slices of {grid.shape[1]}x{grid.shape[2]} pixels; "
            f"image.fit 'crop' keeps that size, and the network needs {SMALLEST}x{SMALLEST}. "
            "Choose fit: letterbox, resize or pad, which take any size."
        )
    codes = None
    if files.mask is not None:
        codes, mask_grid = _whole_mask(files, data, image.slice_axis)
        _check_same_grid(files.images[0], grid, files.mask, mask_grid)
        codes = kept(codes, files)
    if files.spacing is not None:
        grid = replace(grid, spacing=files.spacing)
    return Case(files.id, files.subject, kept(pixels, files), codes, kept_grid(grid, files))


def _whole_image(files: CaseFiles, slice_axis: SliceAxis) -> tuple[NDArray[Any], Grid]:
    """All slices of the images of a case (D, C, H, W), and their grid; stacks are remembered."""
    if files.slices is None:
        return _read_images(files, slice_axis)
    return _image_stack.get(files.images, slice_axis, lambda: _read_images(files, slice_axis))


def _read_images(files: CaseFiles, slice_axis: SliceAxis) -> tuple[NDArray[Any], Grid]:
    read = [read_image(path, slice_axis) for path in files.images]
    arrays, grids = [array for array, _ in read], [grid for _, grid in read]
    for path, grid in zip(files.images[1:], grids[1:], strict=True):
        _check_same_grid(files.images[0], grids[0], path, grid)
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=1), grids[0]


def _whole_mask(
    files: CaseFiles, data: DataConfig, slice_axis: SliceAxis
) -> tuple[NDArray[np.uint8], Grid]:
    """All slices of the mask of a case as codes (D, H, W), and their grid; as for images."""
    path = mask_of(files)
    if files.slices is None:
        return _read_codes(path, files, data, slice_axis)
    return _mask_stack.get(
        (path, *files.images),
        (data.label_map, data.threshold, data.overlap, slice_axis),
        lambda: _read_codes(path, files, data, slice_axis),
    )


def _read_codes(
    path: Path, files: CaseFiles, data: DataConfig, slice_axis: SliceAxis
) -> tuple[NDArray[np.uint8], Grid]:
    if is_drawn(path):
        _, grid = read_image(files.images[0], slice_axis)
        return read_drawn(path, files.images[0], grid, data), grid
    table = label_table(data.label_map)
    if table.names:
        raise LabelError(
            f"{path} holds numbers, but data.label_map names labels: {', '.join(table.names)}. "
            "Write the mask values that mean them, as in {lesion: [1]}."
        )
    codes, grid = read_mask(path, slice_axis, table, data.threshold)
    for further in files.more_masks:
        others, other_grid = read_mask(further, slice_axis, table, data.threshold)
        codes = joined(codes, grid, others, other_grid, further, files, data.overlap)
    return codes, grid


def read_drawn(path: Path, image: Path, grid: Grid, data: DataConfig) -> NDArray[np.uint8]:
    """Draw outlines or segments on the grid of their image: codes (D, H, W).

    Raises:
        UsageError: ``data.threshold``, which is for grey values.
        LabelError: labels that ``data.label_map`` does not hold.
        DataError: everything of ``Drawing.draw``.
    """
    if data.threshold is not None:
        raise UsageError(
            f"data.threshold is {data.threshold}, but {path} holds outlines, not grey values. "
            "Remove it, and name the labels in data.label_map."
        )
    table = label_table(data.label_map)
    values = DRAWN[suffix_of(path)].draw(path, image, grid, table, data.overlap)
    return encode(values, table, f"{path} ({image.name})")


def joined(
    values: NDArray[Any],
    grid: Grid,
    others: NDArray[Any],
    other_grid: Grid,
    further: Path,
    files: CaseFiles,
    overlap: str,
) -> NDArray[Any]:
    """A mask of an image with a further one of it (D, H, W), which must not share pixels."""
    _check_same_grid(files.masks[0], grid, further, other_grid)
    shared = int(np.count_nonzero((values > 0) & (others > 0)))
    if shared and overlap == "error":
        raise DataError(
            f"{further} marks {shared} pixels that another mask of {files.images[0].name} marks "
            "too. If the masks are of several readers, keep one of them; if they are objects that "
            "touch, data.overlap: last joins them."
        )
    return np.where(others > 0, others, values)


def mask_of(files: CaseFiles) -> Path:
    """The mask of a case, or its first one; a DataError where there is none."""
    if files.mask is None:
        raise DataError(f"{files.images[0]} has no mask. Add it, or leave the image out.")
    return files.mask


def kept(array: NDArray[Any], files: CaseFiles) -> NDArray[Any]:
    """The slices of an array (D, ...) that are this case."""
    if files.slices is None:
        return array
    if max(files.slices) >= len(array):
        raise ShapeError(
            f"{files.images[0]} has {len(array)} slices, but slice {max(files.slices)} is wanted "
            f"for {files.id} (the first is 0). The file was replaced, or it is cut along another "
            "axis: see image.slice_axis."
        )
    return np.take(array, files.slices, axis=0)


def kept_grid(grid: Grid, files: CaseFiles) -> Grid:
    """The grid of those slices: of pictures with a spacing, without a place in space."""
    if files.slices is None:
        return grid
    return Grid((len(files.slices), *grid.shape[1:]), grid.spacing)


def _check_same_grid(first: Path, one: Grid, second: Path, other: Grid) -> None:
    """Two files of a case must show the same pixels of the patient."""
    if one.shape != other.shape:
        raise ShapeError(
            f"{second} is {_size(other)}, but {first} is {_size(one)} (slices, height, width). "
            "Files of one case must lie on one grid; resample the mask, or pair the right files."
        )
    if (one.affine is None) != (other.affine is None):
        raise DataError(
            f"{first} and {second} are a picture and a volume with a place in space, so it is not "
            "known how one lies on the other. Save both in one format."
        )
    if is_apart(one, other):
        raise DataError(
            f"{first} and {second} have one shape but lie up to {shift_of(one, other):.2f} mm "
            "apart in space (affine). Resample one to the other's grid, or repair the header "
            "that is wrong."
        )


def _size(grid: Grid) -> str:
    return "x".join(str(length) for length in grid.shape)
