"""The MATLAB files of the York cardiac set: images (y, x, z, t) and outlines in cells (z, t).

``sol_yxzt`` holds the images of a subject; slice d = t * Z + z of what is read is slice z of frame
t. ``manual_seg_32points`` holds a cell for each image: 65 x 2 numbers, the endocardium in rows 1
to 32, a row of zeros, the epicardium in rows 34 to 65; or -99999 where nothing was drawn. Columns
are x and y and count from 1, as MATLAB does: here 1 is subtracted, and pixels whose centres lie
inside are filled (``outlines``). Mask values: 1 the ring between both outlines, 2 the cavity (D31).

A file is taken apart here before scipy reads anything: version 5 only, the wanted variable only,
sizes bounded, numbers or one level of cells with numbers. Objects, structures, functions and nested
cells never reach it. Source: MathWorks, MAT-File Format, Level 5.
Order: images, outlines, what files of this kind are not made for, then the file's elements.
"""

import io
import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crosslinknet.errors import DataError, LabelError, ShapeError
from crosslinknet.geometry import Grid, SliceAxis
from crosslinknet.labels import LabelTable
from crosslinknet.outlines import fill_polygon
from crosslinknet.readers.failures import errors_named
from crosslinknet.readers.guard import DEFLATE, Claim

IMAGES, OUTLINES = "sol_yxzt", "manual_seg_32points"
RING, CAVITY = 1, 2

MOST_BYTES = 2**28  # of a variable, unpacked; the largest of the set has 168 MB
START = 4096  # bytes of a variable that tell its class, size and name
HEADER = 128  # bytes in front of the first element
MATRIX, COMPRESSED = 14, 15  # kinds of elements
CELL, NUMBERS = 1, range(6, 16)  # classes of matrices
COMPLEX = 0x800  # flag beside the class


def claim(path: Path) -> Claim:
    """What the header claims, for ``readers.guard``; each variable is bounded again at reading."""
    with errors_named(path, "a MATLAB file"):
        for order, _, plain in _elements(path, START):
            about = _about(plain, order)
            if about.name in (IMAGES, OUTLINES):
                pixels, stored = math.prod(about.shape), path.stat().st_size
                return Claim(f"{about.shape} pixels", pixels, pixels, stored, DEFLATE)
    raise _missing(path, IMAGES)


def read_image(path: Path, slice_axis: SliceAxis) -> tuple[NDArray[Any], Grid]:
    """Read the images of a subject as (T * Z, 1, H, W), frame after frame; no spacing is stored.

    Args:
        path: a file with the variable ``sol_yxzt``.
        slice_axis: without meaning here, the file says which axis counts the slices.

    Raises:
        DataError: no MATLAB 5 file, damaged, too large, or without that variable of numbers.
    """
    yxzt = _load(path, IMAGES)
    if yxzt.dtype.kind not in "iuf" or not 2 <= yxzt.ndim <= 4 or yxzt.size == 0:
        raise DataError(
            f"{path}: {IMAGES} has the shape {yxzt.shape} and the type {yxzt.dtype}; expected real "
            "numbers (y, x, z, t)."
        )
    yxzt = yxzt.reshape((*yxzt.shape, 1, 1)[:4])  # MATLAB drops last axes of length 1
    height, width, depth, frames = yxzt.shape
    slices = yxzt.transpose(3, 2, 0, 1).reshape(frames * depth, 1, height, width)
    kind = np.float32 if slices.dtype.kind == "f" else slices.dtype
    with np.errstate(over="ignore"):  # infinity is found and named by the caller
        slices = np.ascontiguousarray(slices, dtype=kind)
    return slices, Grid((frames * depth, height, width))


def image_shape(path: Path) -> tuple[int, int]:
    """Frames and slices (T, Z) of a file of images, without reading them.

    Raises:
        DataError: as ``read_image``.
    """
    with errors_named(path, "a MATLAB file"):
        for order, _, plain in _elements(path, START):
            about = _about(plain, order)
            if about.name == IMAGES:
                _, _, depth, frames = (*about.shape, 1, 1)[:4]
                return frames, depth
    raise _missing(path, IMAGES)


class Outlines(NamedTuple):
    """Both borders of an image: (N, 2) each, points (y, x) that count from 0."""

    endo: NDArray[np.float64]
    epi: NDArray[np.float64]


def read_outlines(path: Path) -> list[list[Outlines | None]]:
    """Read the outlines of a subject, by frame and slice ``[t][z]``; None where none was drawn.

    Raises:
        DataError: no MATLAB 5 file, damaged, without the variable ``manual_seg_32points`` of
            cells, or outlines of another form.
    """
    cells = _load(path, OUTLINES)
    if cells.dtype != object or cells.ndim != 2:
        raise DataError(
            f"{path}: {OUTLINES} has the shape {cells.shape} and the type {cells.dtype}; expected "
            "cells (z, t)."
        )
    depth, frames = cells.shape
    return [
        [_outlines(cells[z, t], f"{path}, cell {{{z + 1}, {t + 1}}}") for z in range(depth)]
        for t in range(frames)
    ]


def draw(path: Path, image: Path, grid: Grid, table: LabelTable, overlap: str) -> NDArray[np.uint8]:
    """Fill the outlines on the grid of their images: (T * Z, H, W), 1 ring, 2 cavity, else 0.

    Args:
        path: outlines.
        image: the images, for messages.
        grid: of the images.
        table: must name numbers.
        overlap: without meaning here, the cavity lies inside by definition.

    Raises:
        LabelError: the label map holds names.
        ShapeError: another number of slices than the images.
        DataError: as ``read_outlines``.
    """
    if table.names:
        raise LabelError(
            f"{path} holds outlines, which become the values {RING} (ring) and {CAVITY} (cavity); "
            "data.label_map names others. Write it as {epicardium: [1, 2], cavity: [2], ring: [1]}."
        )
    drawn = [outlines for frame in read_outlines(path) for outlines in frame]
    if len(drawn) != grid.shape[0]:
        raise ShapeError(
            f"{path} has cells for {len(drawn)} images, {image} holds {grid.shape[0]}. Both must "
            "be files of one subject."
        )
    mask = np.zeros(grid.shape, np.uint8)
    for plane, outlines in zip(mask, drawn, strict=True):
        if outlines is not None:
            plane[fill_polygon(outlines.epi, plane.shape)] = RING
            plane[fill_polygon(outlines.endo, plane.shape)] = CAVITY
    return mask


def count(path: Path, image: Path, grid: Grid) -> dict[int | str, int]:
    """Pixels of background, ring and cavity; errors as ``draw``."""
    nothing = LabelTable((), (), np.zeros((1, 0), dtype=bool), colour=False)
    pixels = np.bincount(draw(path, image, grid, nothing, "error").ravel(), minlength=3)
    return {value: int(number) for value, number in enumerate(pixels) if number}


def own_grid(paths: Sequence[Path], slice_axis: SliceAxis) -> Grid:
    """Refuse: the outlines do not state the size of their images."""
    raise DataError(
        f"{paths[0]} holds outlines that do not state the size of their images. Give one of the "
        "masks as pixels, as TIFF or NIfTI."
    )


def read_values(
    path: Path, slice_axis: SliceAxis, *, colour: bool, lossy: bool
) -> tuple[NDArray[Any], Grid]:
    """Refuse: outlines are no mask until they are drawn on their images (``draw``)."""
    raise DataError(
        f"{path} is a MATLAB file, which is read as outlines of its images and not as a mask of "
        "its own. Give the mask as TIFF or NIfTI."
    )


def mask_suffix(path: Path) -> str:
    """TIFF, which holds several slices."""
    return ".tif"


def write_values(
    path: Path, values: NDArray[np.integer], grid: Grid, like: Path | None, *, colour: bool
) -> None:
    """Refuse: masks of MATLAB images are written as TIFF."""
    raise _not_written(path)


def write_probabilities(
    path: Path,
    probs: NDArray[np.float32],
    grid: Grid,
    like: Path | None,
    classes: Sequence[str],
) -> tuple[Path, ...]:
    """Refuse, as ``write_values``."""
    raise _not_written(path)


def _not_written(path: Path) -> DataError:
    return DataError(f"{path.name} cannot be written: MATLAB files are only read. Use .tif.")


def _outlines(cell: Any, where: str) -> Outlines | None:
    """The two borders in a cell, checked."""
    if len(cell) <= 1:  # -99999, or an empty cell
        return None
    rows = len(cell)
    if cell.ndim != 2 or cell.shape[1] != 2 or rows % 2 == 0 or rows < 7:
        raise DataError(
            f"{where} has the shape {cell.shape}; expected 65 x 2: points (x, y) of the "
            "endocardium, a row of zeros, as many points of the epicardium."
        )
    half = (rows - 1) // 2
    if not np.isfinite(cell).all() or cell[half].any():
        raise DataError(
            f"{where}: row {half + 1} is {cell[half].tolist()} and must be the zeros between the "
            "two outlines, and all numbers must be finite. The file is damaged or of another kind."
        )
    points = cell[:, ::-1].astype(np.float64) - 1  # (x, y) from 1 to (y, x) from 0
    endo, epi = points[:half], points[half + 1 :]
    areas = _area(endo), _area(epi)
    if not areas[1] > areas[0]:
        raise DataError(
            f"{where}: the first outline encloses {areas[0]:.1f} pixels, the second "
            f"{areas[1]:.1f}. The endocardium must come first and be the smaller one; their order "
            "may be swapped."
        )
    return Outlines(endo, epi)


def _area(points: NDArray[np.float64]) -> float:
    """Area inside a polygon (N, 2), in pixels."""
    (y, x), (y1, x1) = points.T, np.roll(points, -1, axis=0).T
    return abs(float((y * x1 - y1 * x).sum())) / 2


class _About(NamedTuple):
    """The beginning of a matrix: its class, shape and name, and where its contents begin.

    The class of complex numbers is 0 here, which MATLAB does not use.
    """

    kind: int
    shape: tuple[int, ...]
    name: str
    contents: int


def _load(path: Path, name: str) -> NDArray[Any]:
    """A variable as MATLAB shows it: numbers, or an object array of cells with numbers."""
    import scipy.io

    with errors_named(path, "a MATLAB file"):
        for order, _, start in _elements(path, START):
            if _about(start, order).name == name:
                break
        else:
            raise _missing(path, name)
        claimed = 8 + int(struct.unpack_from(f"{order}I", start, 4)[0])
        if claimed > MOST_BYTES:
            raise DataError(
                f"{path}: {name} claims {claimed:,} bytes, more than the {MOST_BYTES:,} that the "
                "set's files stay below. It is damaged or of another kind."
            )
        header, whole = next(
            (header, plain)
            for _, header, plain in _elements(path, claimed + 1)
            if _about(plain, order).name == name
        )
        if len(whole) != claimed:
            raise DataError(f"{path}: {name} is not as long as it claims. Copy the file again.")
        _check_classes(whole, order, path, name)
        # mat_dtype: whole doubles are packed as small integers, of another type in every file
        file = io.BytesIO(header + whole)
        read: dict[str, Any] = scipy.io.loadmat(  # type: ignore[no-untyped-call, attr-defined]
            file, variable_names=[name], mat_dtype=True
        )
        array: NDArray[Any] = read[name]
    return array


def _missing(path: Path, name: str) -> DataError:
    names = [_about(plain, order).name for order, _, plain in _elements(path, START)]
    return DataError(
        f"{path} has no variable {name}; it holds {', '.join(names) or 'nothing'}. Of MATLAB "
        "files, those of the York cardiac set are read."
    )


def _elements(path: Path, most: int) -> Iterator[tuple[str, bytes, bytes]]:
    """Byte order, file header and each top-level matrix, unpacked, cut after ``most`` bytes."""
    size = path.stat().st_size
    with path.open("rb") as file:
        header = file.read(HEADER)
        order = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}.get(header[124:])
        if order is None:
            later = header[124:] == b"\x00\x02IM" or header.startswith(b"\x89HDF")
            raise DataError(
                f"{path} is {'a MATLAB 7.3 (HDF5) file' if later else 'no MATLAB 5 file'}; the "
                "York set has MATLAB 5. Save it in MATLAB with save(..., '-v7'), or get the "
                "original."
            )
        while tag := file.read(8):
            kind, length = struct.unpack(f"{order}II", tag)
            start = file.tell()
            if start + length > size:
                raise DataError(f"{path} ends too early. Copy it again.")
            if kind == COMPRESSED:  # packing makes a matrix at most a thousandth longer
                packed = file.read(min(length, most + most // 1000 + START))
                yield order, header, zlib.decompressobj().decompress(packed, most)
            elif kind == MATRIX:
                yield order, header, tag + file.read(min(length, most - len(tag)))
            file.seek(start + length)


def _about(plain: bytes, order: str, at: int = 0) -> _About:
    """Read the beginning of the matrix at a place."""
    kind, first, _ = _tag(plain, order, at)
    if kind != MATRIX:
        raise ValueError(f"an element of kind {kind} stands where a matrix must be")
    _, start, after = _tag(plain, order, first)
    flags = struct.unpack_from(f"{order}I", plain, start)[0]
    number = 0 if flags & COMPLEX else flags & 0xFF
    _, start, after_shape = _tag(plain, order, after)
    count = struct.unpack_from(f"{order}I", plain, after + 4)[0] // 4
    shape = struct.unpack_from(f"{order}{min(count, 32)}i", plain, start)
    kind, start, contents = _tag(plain, order, after_shape)
    length = struct.unpack_from(f"{order}I", plain, after_shape + 4)[0]
    if start == after_shape + 4:  # a name of up to four letters stands in the tag itself
        length = struct.unpack_from(f"{order}I", plain, after_shape)[0] >> 16
    return _About(number, shape, plain[start : start + length].decode("latin-1"), contents)


def _tag(plain: bytes, order: str, at: int) -> tuple[int, int, int]:
    """Kind of the element at a place, where its data begin and where the next element begins."""
    kind, length = struct.unpack_from(f"{order}II", plain, at)
    if kind >> 16:  # small: up to four bytes of data inside the tag
        return kind & 0xFFFF, at + 4, at + 8
    return kind, at + 8, at + 8 + length + -length % 8


def _check_classes(plain: bytes, order: str, path: Path, name: str) -> None:
    """Let numbers and cells of numbers through, nothing else."""
    about = _about(plain, order)
    classes = {about.kind}
    if about.kind == CELL:
        classes, at = set(), about.contents
        while at < len(plain):
            classes.add(_about(plain, order, at).kind)
            at = _tag(plain, order, at)[2]
    if not classes <= set(NUMBERS):
        raise DataError(
            f"{path}: {name} holds more than real numbers (MATLAB's classes {sorted(classes)}), "
            "such as structures, objects or cells in cells, which are not read."
        )
