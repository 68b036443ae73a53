"""Volumes: stored axes to (D, H, W) on the way in, and back on the way out.

A plane's name (axial, coronal, sagittal) turns a volume to that plane's view by its affine
(``geometry.PLANES``); an axis number takes the axes as stored. ``Grid.turn`` remembers how. Every
format that places voxels in space uses these functions, so that all of them turn alike.
"""
# mypy: disable-error-code="no-untyped-call"
# nibabel's functions carry no types.

from typing import Any

import numpy as np
from nibabel import orientations
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray

from crosslinknet.geometry import PLANES, Grid, SliceAxis

MOST_VOXELS = 2**30  # of a file or a series


def turn_volume(
    voxels: NDArray[Any], affine: NDArray[np.float64], slice_axis: SliceAxis
) -> tuple[NDArray[Any], Grid]:
    """Bring the first three axes to (D, H, W); later axes stay.

    Args:
        voxels: (X, Y, Z, ...) as stored.
        affine: 4x4, voxel (x, y, z) to world mm (RAS+), not singular.
        slice_axis: a plane of the patient, or the stored axis that counts the slices.

    Returns:
        A view (D, H, W, ...) and the grid that says how it was turned.
    """
    if isinstance(slice_axis, str):
        ends = orientations.axcodes2ornt(tuple(PLANES[slice_axis]))
        turn = orientations.ornt_transform(orientations.io_orientation(affine), ends)
    else:
        order = [slice_axis, *(axis for axis in range(3) if axis != slice_axis)]
        turn = np.array([[order.index(axis), 1] for axis in range(3)], dtype=np.float64)
    turned = orientations.apply_orientation(voxels, turn)
    placed = affine @ orientations.inv_ornt_aff(turn, voxels.shape[:3])  # (d, h, w) to mm
    dz, dy, dx = (float(size) for size in voxel_sizes(placed))
    d, h, w = turned.shape[:3]
    return turned, Grid((d, h, w), (dz, dy, dx), placed, turn)


def turn_back(array: NDArray[Any], grid: Grid) -> NDArray[Any]:
    """Bring (D, H, W, ...) to the axes of the file it was read from: (X, Y, Z, ...)."""
    turn = stored_turn(grid)
    back = np.empty_like(turn)
    for axis, (place, flip) in enumerate(turn):
        back[int(place)] = axis, flip
    voxels: NDArray[Any] = orientations.apply_orientation(array, back)
    return voxels


def stored_affine(grid: Grid, shape: tuple[int, ...]) -> NDArray[np.float64] | None:
    """The affine of the stored axes, of which ``shape`` are the first three lengths."""
    if grid.affine is None:
        return None
    there = orientations.inv_ornt_aff(stored_turn(grid), shape)
    return np.asarray(grid.affine @ np.linalg.inv(there), dtype=np.float64)


def stored_turn(grid: Grid) -> NDArray[np.float64]:
    """The turn of a grid; of one that was not turned the turn that changes nothing."""
    return np.array([[0.0, 1], [1, 1], [2, 1]]) if grid.turn is None else grid.turn
