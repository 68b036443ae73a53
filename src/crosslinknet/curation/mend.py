"""What can be mended of one mask, as functions on arrays and grids; files come in ``fix``.

Order: values, then place in space: moved, resampled.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from crosslinknet.errors import DataError
from crosslinknet.geometry import Grid

LARGEST = 65535  # of a mask value


def map_values(
    values: NDArray[np.integer], labels: Mapping[int, int], colour: bool, name: str
) -> NDArray[np.integer]:
    """Replace mask values, all at once, so that values can be swapped.

    Args:
        values: (D, H, W).
        labels: new value of each old one; others stay, but for colours, which must all be named.
        colour: the old values are colours, 0xRRGGBB.
        name: the file, for the error.

    Returns:
        (D, H, W) uint8, or uint16 where it is needed.

    Raises:
        DataError: a colour without a new value, or values outside 0 to 65535.

    >>> map_values(np.array([0, 1, 255]), {255: 1, 1: 2}, False, "a.png")
    array([0, 2, 1], dtype=uint8)
    """
    old = np.unique(values).tolist()
    strangers = [f"#{value:06x}" for value in old if colour and value and value not in labels]
    if strangers:
        raise DataError(
            f"{name} holds the colours {', '.join(strangers[:8])}, of which --labels says nothing. "
            "Give each of them a number, as in --labels '#ff0000=1'; 0 is background."
        )
    new = [labels.get(value, value) for value in old]
    outside = [value for value in new if not 0 <= value <= LARGEST]
    if outside:
        raise DataError(
            f"{name} holds the values {', '.join(map(str, outside[:8]))}; masks hold 0 to "
            f"{LARGEST}. Map them too, as in --labels {outside[0]}=0."
        )
    kind = np.uint8 if max(new, default=0) <= 255 else np.uint16
    return np.take(np.array(new, dtype=kind), np.searchsorted(old, values))


def resample_nearest(
    values: NDArray[np.integer], grid: Grid, onto: Grid, name: str
) -> tuple[NDArray[np.integer], dict[str, float]]:
    """Bring mask values to another grid: each voxel takes the value nearest to its centre.

    A point half-way between two voxels takes the one of the higher index. Outside is background.

    Args:
        values: (D, H, W) on ``grid``.
        grid: has an affine.
        onto: the grid that is wanted, with an affine too.
        name: the file, for the error.

    Returns:
        (D', H', W') of the same type; and the ml of labels before and after, the share of
        labelled voxels outside the new grid, and the distance of the centres of the two in mm.

    Raises:
        DataError: the two do not overlap.
    """
    assert grid.affine is not None
    assert onto.affine is not None
    step = np.linalg.inv(grid.affine) @ onto.affine  # voxels of onto to voxels of grid
    limits = np.array(values.shape).reshape(3, 1, 1)
    rows, columns = np.indices(onto.shape[1:])  # (H', W')
    result = np.zeros(onto.shape, values.dtype)
    inside = 0
    for d in range(onto.shape[0]):
        place = np.stack([np.full_like(rows, d), rows, columns]).astype(np.float64)
        place = np.tensordot(step[:3, :3], place, axes=1) + step[:3, 3].reshape(3, 1, 1)
        nearest = np.floor(place.round(6) + 0.5).astype(np.int64)  # (3, H', W')
        there = ((nearest >= 0) & (nearest < limits)).all(axis=0)  # (H', W')
        inside += int(there.sum())
        result[d][there] = values[tuple(nearest[:, there])]
    if inside == 0:
        raise DataError(
            f"{name} covers {_box(grid)}, its image {_box(onto)}: they do not overlap, so one of "
            "the headers is wrong. If both show the same voxels, use --copy-header."
        )
    points = np.argwhere(values > 0)  # (n, 3)
    back = points @ np.linalg.inv(step)[:3, :3].T + np.linalg.inv(step)[:3, 3]
    kept = ((back >= -0.5) & (back < np.array(onto.shape) - 0.5)).all(axis=1)
    facts = {
        "ml_before": len(points) * _ml(grid),
        "ml_after": int(np.count_nonzero(result)) * _ml(onto),
        "outside": float(1 - kept.mean()) if len(points) else 0.0,
        "centres_mm": float(np.linalg.norm(_centre(grid) - _centre(onto))),
    }
    return result, facts


def _ml(grid: Grid) -> float:
    assert grid.affine is not None
    return float(abs(np.linalg.det(grid.affine[:3, :3]))) / 1000


def _centre(grid: Grid) -> NDArray[np.float64]:
    assert grid.affine is not None
    middle = np.append((np.array(grid.shape) - 1) / 2, 1)
    return np.asarray(grid.affine @ middle, dtype=np.float64)[:3]


def _box(grid: Grid) -> str:
    """The space a volume fills, in words."""
    assert grid.affine is not None
    corners = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in grid.shape])).reshape(3, -1)
    points = grid.affine[:3, :3] @ corners + grid.affine[:3, 3:]  # (3, 8) in mm
    ends = zip("xyz", points.min(axis=1), points.max(axis=1), strict=True)
    return ", ".join(f"{axis} {low:.1f} to {high:.1f} mm" for axis, low, high in ends)
