"""Outlines to masks: which pixels lie inside a polygon.

The convention, everywhere in the package: pixel (r, c) is the point (y, x) = (r, c), its centre,
and belongs to the mask when that point is inside. A point on the outline is inside where the
polygon lies to its right or below, so that polygons that touch share no pixel. An outline that
crosses itself is filled by the even-odd rule; vertices keep their fractions.
"""

import numpy as np
from numpy.typing import NDArray

from crosslinknet.errors import ShapeError


def fill_polygon(points: NDArray[np.floating], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels inside a polygon.

    Args:
        points: (N, 2), vertices as (y, x) in pixels, N >= 3; the last is joined to the first. They
            may lie outside the image.
        shape: (H, W) of the image.

    Raises:
        ShapeError: fewer than three vertices, or coordinates that are not finite.

    >>> fill_polygon(np.array([[0.5, 0.5], [0.5, 3.5], [2.5, 3.5], [2.5, 0.5]]), (4, 5)).astype(int)
    array([[0, 0, 0, 0, 0],
           [0, 1, 1, 1, 0],
           [0, 1, 1, 1, 0],
           [0, 0, 0, 0, 0]])
    """
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1:] != (2,) or len(points) < 3:
        raise ShapeError(f"an outline has the shape {points.shape}; expected (N, 2) with N >= 3.")
    if not np.isfinite(points).all():
        raise ShapeError("an outline has coordinates that are NaN or infinite.")
    height, width = shape
    top, bottom = np.clip(np.ceil([points[:, 0].min(), points[:, 0].max()]), 0, height).astype(int)
    toggles = np.zeros((bottom - top, width + 1), dtype=np.uint8)  # pixels from here on change
    for (y0, x0), (y1, x1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if y0 > y1:  # an edge is crossed at the same place from both sides
            (y0, x0), (y1, x1) = (y1, x1), (y0, x0)
        first, end = (int(np.clip(np.ceil(y), 0, height)) for y in (y0, y1))
        rows = np.arange(first, end)  # y0 <= row < y1
        if rows.size:
            crossing = x0 + (rows - y0) * ((x1 - x0) / (y1 - y0))
            columns = np.clip(np.ceil(crossing), 0, width).astype(np.intp)
            toggles[rows - top, columns] += 1  # each row once; wraps, which keeps odd and even
    mask = np.zeros(shape, dtype=bool)
    mask[top:bottom] = toggles[:, :width].cumsum(axis=1, dtype=np.uint8) & 1
    return mask  # (H, W)
