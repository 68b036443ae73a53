"""labelme files: one JSON per image, with polygons, rectangles and circles.

Source: labelme's label file (``shapes``, ``imageHeight``, ``imageWidth``); the picture that it
may hold in ``imageData`` is not looked at.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosslinknet.errors import DataError
from crosslinknet.readers.shapes import Shape, Sheet, circle, polygon, rectangle

KINDS = {"polygon": polygon, "rectangle": rectangle, "circle": circle}


@dataclass(frozen=True, eq=False)
class Labelme:
    """A labelme file, parsed."""

    drawn: Sheet

    def sheet(self, image: Path) -> Sheet:
        """What is drawn on the image that the file lies beside."""
        return self.drawn


def parse(content: dict[str, Any], path: Path) -> Labelme:
    """Check a labelme file.

    Raises:
        DataError: shapes without a label, or a size that is none.
    """
    shapes = content["shapes"]
    if not isinstance(shapes, list) or not all(
        isinstance(shape, dict) and isinstance(shape.get("label"), str) and shape["label"]
        for shape in shapes
    ):
        raise DataError(f"{path} is no labelme file that we read: a shape has no label. Add it.")
    size = content.get("imageHeight"), content.get("imageWidth")
    if size != (None, None) and not all(type(length) is int and length > 0 for length in size):
        raise DataError(f"{path}: imageHeight and imageWidth are {size}. Correct them.")
    drawn = tuple(_shape(shape, place) for place, shape in enumerate(shapes, start=1))
    return Labelme(Sheet(None if size == (None, None) else size, drawn))  # type: ignore[arg-type]


def _shape(shape: dict[str, Any], place: int) -> Shape:
    kind, points = shape.get("shape_type") or "polygon", shape.get("points")
    where = f"shape {place} ({shape['label']})"
    return Shape(where, shape["label"], None, partial(_fill, kind, points))


def _fill(kind: Any, points: Any, shape: tuple[int, int]) -> NDArray[np.bool_]:
    if kind not in KINDS:
        raise DataError(
            f"it is of the kind {kind!r}, which encloses no pixels that we know; read are "
            f"{', '.join(KINDS)}. Draw it anew as a polygon."
        )
    return KINDS[kind](points, shape)
