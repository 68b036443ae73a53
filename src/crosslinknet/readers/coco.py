"""COCO files: one JSON for many images, with polygons or run lengths per object.

Source: COCO, "Data format", object detection and stuff segmentation. Several polygons of one
annotation are one object (their union). A crowd (``iscrowd``) is as much its category as a single
object: both are pixels. An image without annotations is an image on which nothing is to be found.
Order: Coco, parse, then images by name and segmentations.
"""

from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosslinknet.errors import DataError, ShapeError
from crosslinknet.readers.rle import counts_to_mask, text_to_counts
from crosslinknet.readers.shapes import Shape, Sheet, polygon

Parts = tuple[str, ...]  # of a file name: folders and name


@dataclass(frozen=True, eq=False)
class Coco:
    """A COCO file, parsed; annotations stay as they are until their image is drawn.

    Attributes:
        path: the file.
        files: parts of ``file_name`` of each image: its size (H, W) if stated, and its id.
        by_name: the same file names by their last part.
        categories: name of each category id.
        annotations: of each image id, in the order of the file.
        strays: number of annotations of images that the file does not list.
    """

    path: Path
    files: dict[Parts, tuple[tuple[int, int] | None, int | str]]
    by_name: dict[str, list[Parts]]
    categories: dict[int, str]
    annotations: dict[int | str, list[dict[str, Any]]]
    strays: int

    def sheet(self, image: Path) -> Sheet:
        """What is drawn on an image, known by the end of its path.

        Raises:
            DataError: the file does not list the image, or several that it could be.
        """
        named = self.by_name.get(image.name, [])
        parts = image.absolute().parts
        fitting = [name for name in named if parts[-len(name) :] == name] or named
        if len(fitting) != 1:
            held = ", ".join("/".join(name) for name in fitting[:3] or list(self.files)[:3])
            raise DataError(
                f"{self.path} lists {len(fitting) or 'no'} images that could be {image}; it has "
                f"{held}{', ...' if len(fitting or self.files) > 3 else ''} ('file_name'). "
                "Correct the names there, each of which must belong to one image."
            )
        size, number = self.files[fitting[0]]
        return Sheet(size, tuple(self._shape(found) for found in self.annotations.get(number, [])))

    def used(self) -> list[str]:
        """Names of the categories that annotations have, in the order of their ids."""
        ids = {found["category_id"] for some in self.annotations.values() for found in some}
        return [self.categories[number] for number in sorted(ids)]

    def _shape(self, annotation: dict[str, Any]) -> Shape:
        number, segmentation = annotation["category_id"], annotation.get("segmentation")
        where = f"annotation {annotation.get('id')}"
        return Shape(where, self.categories[number], number, partial(segment, segmentation))


def parse(content: dict[str, Any], path: Path) -> Coco:
    """Check what all of a COCO file's images share.

    Raises:
        DataError: lists or ids that are missing, used twice or of another kind.
    """
    categories = _categories(content, path)
    files: dict[Parts, tuple[tuple[int, int] | None, int | str]] = {}
    by_name: dict[str, list[Parts]] = defaultdict(list)
    for number, record in _by_id(content, "images", path).items():
        parts = name_parts(record.get("file_name"), path)
        if parts in files:
            raise DataError(f"{path} lists the image {'/'.join(parts)} twice. Keep one of them.")
        files[parts] = (_size(record, path), number)
        by_name[parts[-1]].append(parts)
    known = {number for _, number in files.values()}
    annotations: dict[int | str, list[dict[str, Any]]] = defaultdict(list)
    strays = 0
    for record in _records(content, "annotations", path):
        if record.get("category_id") not in categories:
            raise DataError(
                f"{path}: annotation {record.get('id')} has the category_id "
                f"{record.get('category_id')!r}, which 'categories' does not list; it has "
                f"{', '.join(map(str, sorted(categories)))}. Add it."
            )
        if record.get("image_id") in known:
            annotations[record["image_id"]].append(record)
        else:
            strays += 1
    return Coco(path, files, dict(by_name), categories, dict(annotations), strays)


def name_parts(name: Any, path: Path) -> Parts:
    """Folders and name of a ``file_name``, which may be written on another system.

    Raises:
        DataError: no name, or one that leaves its folder.
    """
    text = name.replace("\\", "/") if isinstance(name, str) else ""
    parts = tuple(part for part in text.split("/") if part not in ("", "."))
    if not parts or ".." in parts or "\0" in text:
        raise DataError(f"{path}: {name!r} is no file_name of an image below a folder. Correct it.")
    return parts


def segment(segmentation: Any, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels (H, W) of a ``segmentation``: polygons, run lengths, or run lengths as text.

    Raises:
        DataError: none, or one that cannot be drawn.
    """
    if isinstance(segmentation, dict):
        counts, size = segmentation.get("counts"), segmentation.get("size")
        if size != list(shape):
            raise ShapeError(f"its run lengths have the size {size}, the image is {list(shape)}.")
        if isinstance(counts, str):
            counts = text_to_counts(counts)
        if not isinstance(counts, list):
            raise DataError("its run lengths have no 'counts'.")
        return counts_to_mask(counts, shape)
    if not isinstance(segmentation, list) or not segmentation:
        raise DataError("it has no segmentation; a bounding box alone gives no mask.")
    mask = np.zeros(shape, dtype=bool)
    for numbers in segmentation:
        if not isinstance(numbers, list) or len(numbers) % 2:
            raise DataError("a polygon of it is no list of x, y, x, y, ...")
        mask |= polygon([numbers[i : i + 2] for i in range(0, len(numbers), 2)], shape)
    return mask


def _records(content: dict[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    records = content.get(key)
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise DataError(f"{path} is no COCO file that we read: {key!r} is no list of records.")
    return records


def _by_id(content: dict[str, Any], key: str, path: Path) -> dict[int | str, dict[str, Any]]:
    by_id: dict[int | str, dict[str, Any]] = {}
    for record in _records(content, key, path):
        number = record.get("id")
        if not isinstance(number, int | str) or number in by_id:
            raise DataError(
                f"{path}: a record of {key!r} has the id {number!r}, which is none or is used "
                "twice. Give each its own."
            )
        by_id[number] = record
    return by_id


def _categories(content: dict[str, Any], path: Path) -> dict[int, str]:
    """Name of each category id."""
    categories: dict[int, str] = {}
    for number, record in _by_id(content, "categories", path).items():
        name = record.get("name")
        if not isinstance(number, int) or not isinstance(name, str) or not name:
            raise DataError(
                f"{path}: category {number!r} has the name {name!r}; expected a whole number and a "
                "text. Correct it."
            )
        if name in categories.values():
            raise DataError(f"{path} has several categories named {name!r}. Rename one of them.")
        categories[number] = name
    return categories


def _size(record: dict[str, Any], path: Path) -> tuple[int, int] | None:
    size = record.get("height"), record.get("width")
    if size == (None, None):
        return None
    if not all(type(length) is int and length > 0 for length in size):
        raise DataError(f"{path}: image {record.get('file_name')} has the size {size}. Correct it.")
    return size  # type: ignore[return-value]
