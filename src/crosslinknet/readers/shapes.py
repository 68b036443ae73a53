"""What is drawn in a file of outlines: shapes with a label, each of which gives its pixels.

COCO and labelme count coordinates from the edges of pixels: (0, 0) is the corner of the first pixel
and (0.5, 0.5) its centre, so that a square from 0 to 2 is two pixels wide. In ``outlines`` a pixel
is its centre at a whole number; half a pixel is taken off on the way.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosslinknet.errors import DataError
from crosslinknet.outlines import fill_polygon

Fill = Callable[[tuple[int, int]], NDArray[np.bool_]]


@dataclass(frozen=True)
class Shape:
    """One thing that is drawn.

    Attributes:
        where: which one of the file, for messages: ``annotation 7``.
        name: its label.
        number: number of the label, where the file numbers them (COCO's category id).
        fill: from (H, W) to its pixels; raises a DataError without the file's name.
    """

    where: str
    name: str
    number: int | None
    fill: Fill


@dataclass(frozen=True)
class Sheet:
    """What is drawn on one image.

    Attributes:
        size: (H, W) of the image as the file states it; None where it does not.
        shapes: in the order of the file.
    """

    size: tuple[int, int] | None
    shapes: tuple[Shape, ...]


def polygon(points: Any, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels (H, W) whose centres lie inside a polygon.

    Args:
        points: [[x, y], ...] from pixel edges, three at least.
        shape: (H, W).

    Raises:
        DataError: fewer points, or coordinates that are no numbers.

    >>> polygon([[1, 0], [3, 0], [3, 2], [1, 2]], (3, 4)).astype(int)
    array([[0, 1, 1, 0],
           [0, 1, 1, 0],
           [0, 0, 0, 0]])
    """
    return fill_polygon(coordinates(points, 3)[:, ::-1] - 0.5, shape)  # (y, x) of centres


def rectangle(points: Any, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels (H, W) between two opposite corners [[x, y], [x, y]]."""
    (x0, y0), (x1, y1) = coordinates(points, 2, 2)
    return polygon([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], shape)


def circle(points: Any, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels (H, W) inside a circle, given as its centre and a point on it."""
    (x, y), (xr, yr) = coordinates(points, 2, 2) - 0.5
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    inside: NDArray[np.bool_] = (rows - y) ** 2 + (columns - x) ** 2 < (yr - y) ** 2 + (xr - x) ** 2
    return inside


def coordinates(points: Any, least: int, most: int | None = None) -> NDArray[np.float64]:
    """Points as an array (N, 2), checked.

    Raises:
        DataError: not a list of pairs of numbers, too few, too many, not finite.
    """
    try:
        array = np.array(points, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        array = np.full(1, np.nan)
    if array.ndim != 2 or array.shape[1] != 2 or not np.isfinite(array).all():
        raise DataError("its points are no list of pairs of numbers x, y.")
    if len(array) < least or len(array) > (most or len(array)):
        number = f"{least}" if least == most else f"{least} or more"
        raise DataError(f"it has {len(array)} points, {number} are needed.")
    return array
