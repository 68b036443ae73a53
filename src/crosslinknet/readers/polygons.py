"""Masks that are outlines in a JSON file, of COCO or labelme, drawn on the grid of their image.

Order: draw, count and own_grid, which ``readers.DRAWN`` asks for; then the file, labels, pixels.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crosslinknet.errors import DataError, LabelError, ShapeError, suggest
from crosslinknet.files import read_json
from crosslinknet.geometry import Grid, SliceAxis
from crosslinknet.labels import LabelTable, value_name
from crosslinknet.readers import coco, labelme
from crosslinknet.readers.coco import Coco
from crosslinknet.readers.labelme import Labelme
from crosslinknet.readers.shapes import Shape

HEAD = 2**16  # bytes that tell what kind of JSON a file is


def draw(
    path: Path, image: Path, grid: Grid, table: LabelTable, overlap: str
) -> NDArray[np.integer]:
    """Mask values (1, H, W) of an image; see ``readers.Drawing``.

    Raises:
        DataError: not readable, does not list the image, a shape that cannot be drawn, labels
            that overlap and must not.
        ShapeError: the file states another size; the image is a volume.
        LabelError: labels that the table does not hold.
    """
    values = np.zeros(grid.shape[1:], dtype=np.int32)
    shared: Counter[tuple[int, int]] = Counter()
    shapes = _shapes(path, image, grid)
    value_of = _values(shapes, table, path, image)
    for shape, pixels in _filled(shapes, path, image, grid):
        value = value_of[shape.name]
        others = values[pixels]
        for other in np.unique(others[(others > 0) & (others != value)]).tolist():
            shared[other, value] += int(np.count_nonzero(others == other))
        values[pixels] = value
    if shared and overlap == "error":
        names = {value: name for name, value in value_of.items()}
        pairs = [
            f"{names[one]} and {names[two]} ({count} px)"
            for (one, two), count in shared.most_common(5)
        ]
        raise DataError(
            f"{path}: on {image.name} labels overlap: {', '.join(pairs)}. Give these pixels to the "
            "one that comes last in the file with data.overlap: last, or correct the outlines."
        )
    return values[None]


def count(path: Path, image: Path, grid: Grid) -> dict[int | str, int]:
    """Pixels of each label by name, and of the background, 0; the most frequent come first."""
    counts: Counter[int | str] = Counter()
    covered: dict[str, NDArray[np.bool_]] = {}
    for shape, pixels in _filled(_shapes(path, image, grid), path, image, grid):
        covered[shape.name] = covered.get(shape.name, np.zeros_like(pixels)) | pixels
    for name, pixels in covered.items():
        counts[name] = int(np.count_nonzero(pixels))
    some = np.logical_or.reduce([np.zeros(grid.shape[1:], dtype=bool), *covered.values()])
    counts[0] = int(np.count_nonzero(~some))
    return dict(counts.most_common())


def own_grid(paths: Sequence[Path], slice_axis: SliceAxis) -> Grid:
    """The size (1, H, W) that labelme files of one image state.

    Raises:
        DataError: none or different sizes; a file that describes many images.
    """
    sizes = set()
    for path in paths:
        content = document(path)
        sizes.add(content.drawn.size if isinstance(content, Labelme) else None)
    size = sizes.pop()
    if size is None or sizes:
        raise DataError(
            f"{', '.join(map(str, paths))} do not state one size of their image (imageHeight, "
            "imageWidth), so the outlines cannot be drawn. Give one of the masks as pixels, as PNG."
        )
    return Grid((1, *size))


def document(path: Path) -> Coco | Labelme:
    """A JSON file of outlines, parsed; the last few are remembered while they do not change.

    Raises:
        DataError: no such file, not readable, or of another kind.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}). Check the path.") from error
    return _parsed(path, status.st_size, status.st_mtime_ns)


def looks_like(path: Path, *keys: str) -> bool:
    """Whether one of the keys stands near the beginning of a file; quick, parses nothing."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError:
        return False
    return any(f'"{key}"'.encode() in head for key in keys)


@lru_cache(maxsize=4)
def _parsed(path: Path, size: int, mtime_ns: int) -> Coco | Labelme:
    content = read_json(path)
    if isinstance(content, dict) and "shapes" in content:
        return labelme.parse(content, path)
    if isinstance(content, dict) and "images" in content:
        return coco.parse(content, path)
    raise DataError(
        f"{path} holds no outlines that we read: it has neither the 'images' of COCO nor the "
        "'shapes' of labelme. Export it anew as one of the two."
    )


def _shapes(path: Path, image: Path, grid: Grid) -> tuple[Shape, ...]:
    """What is drawn on an image, after a look at its size."""
    sheet = document(path).sheet(image)
    if grid.shape[0] != 1:
        raise ShapeError(
            f"{image} has {grid.shape[0]} slices, {path} holds outlines of a single one. Save the "
            "slices as pictures of their own."
        )
    if sheet.size is not None and sheet.size != grid.shape[1:]:
        (h, w), (height, width) = sheet.size, grid.shape[1:]
        raise ShapeError(
            f"{path} was drawn on an image of {h}x{w} (height, width), but {image} is "
            f"{height}x{width}. Use the image that was drawn on, or scale the outlines with it."
        )
    return sheet.shapes


def _values(
    shapes: tuple[Shape, ...], table: LabelTable, path: Path, image: Path
) -> dict[str, int]:
    """Mask value of each label of these shapes, by name."""
    if table.names:
        known = {name: value for value, name in enumerate(table.names, start=1)}
        values = {shape.name: known.get(shape.name) for shape in shapes}
    else:
        values = {shape.name: shape.number for shape in shapes}
        values = {n: v for n, v in values.items() if v in table.values and not table.colour}
    wrong = [shape for shape in shapes if values.get(shape.name) is None]
    if wrong:
        raise _unknown(wrong, table, path, image)
    return {name: value for name, value in values.items() if value is not None}


def _unknown(shapes: list[Shape], table: LabelTable, path: Path, image: Path) -> LabelError:
    """Say which labels nobody named; the most frequent come first."""
    counts = Counter(shape.name for shape in shapes)
    number_of = {shape.name: shape.number for shape in shapes}
    ids = {n: "" if number is None else f"category {number}, " for n, number in number_of.items()}
    common = counts.most_common(10)
    held = ", ".join(f"{name!r} ({ids[name]}{count} outlines)" for name, count in common)
    more = f" and {len(counts) - 10} more labels" if len(counts) > 10 else ""
    first = common[0][0]
    known = "; it names " + ", ".join(value_name(value, table.colour) for value in table.values)
    return LabelError(
        f"{path} ({image.name}) holds {held}{more}, which data.label_map does not name"
        f"{suggest(first, table.names) if table.names else known}. Add each of them to a class by "
        f"its name, as in {{lesion: [{first!r}]}}."
    )


def _filled(
    shapes: tuple[Shape, ...], path: Path, image: Path, grid: Grid
) -> Iterator[tuple[Shape, NDArray[np.bool_]]]:
    """Shapes with their pixels (H, W); errors name the file, the image and the shape."""
    for shape in shapes:
        try:
            pixels = shape.fill((grid.shape[1], grid.shape[2]))
        except DataError as error:
            raise type(error)(f"{path}, {shape.where} of {image.name}: {error}") from error
        yield shape, pixels
