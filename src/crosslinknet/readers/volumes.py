"""What all formats of volumes share: a file's own axes turned to (D, H, W), and back.

A plane's name (axial, coronal, sagittal) turns the volume to that plane's view by its affine
(``geometry.PLANES``); an axis number takes the axes as stored. ``Grid.turn`` remembers how.
Order: the way in, images and masks, the way out, then what an affine must be.
"""
# mypy: disable-error-code="no-untyped-call"
# nibabel's functions carry no types.

from pathlib import Path
from typing import Any

import numpy as np
from nibabel import orientations
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray

from crosslinknet.errors import DataError
from crosslinknet.geometry import PLANES, Grid, SliceAxis

SIZES = (1e-7, 1e5)  # mm per voxel, from a tenth of a nanometre to a hundred metres


def turn_volume(
    voxels: NDArray[Any], affine: NDArray[np.float64], slice_axis: SliceAxis
) -> tuple[NDArray[Any], Grid]:
    """Bring the first three axes to (D, H, W); later axes stay.

    Args:
        voxels: (X, Y, Z, ...), as stored.
        affine: 4x4, voxel (x, y, z) to world mm (RAS+).
        slice_axis: which axis counts the slices.

    Returns:
        A view (D, H, W, ...), and where it lies.
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


def image_of(
    voxels: NDArray[Any], affine: NDArray[np.float64], slice_axis: SliceAxis
) -> tuple[NDArray[Any], Grid]:
    """Voxels (X, Y, Z, C) as an image (D, C, H, W); integers keep their type, reals are float32."""
    if voxels.dtype.kind == "f" and voxels.dtype.itemsize > 4:
        with np.errstate(over="ignore"):  # infinity is found and named by the caller
            voxels = voxels.astype(np.float32)
    turned, grid = turn_volume(voxels, affine, slice_axis)  # (D, H, W, C)
    return np.ascontiguousarray(turned.transpose(0, 3, 1, 2)), grid  # (D, C, H, W)


def values_of(
    voxels: NDArray[Any], affine: NDArray[np.float64], slice_axis: SliceAxis, path: Path
) -> tuple[NDArray[Any], Grid]:
    """Voxels (X, Y, Z, 1) as the values of a mask (D, H, W), in the file's own type.

    Raises:
        DataError: several channels.
    """
    if voxels.shape[3] != 1:
        raise DataError(
            f"{path} holds {voxels.shape[3]} channels (shape {voxels.shape}), a mask has one. "
            "Merge them into one volume of labels."
        )
    turned, grid = turn_volume(voxels[..., 0], affine, slice_axis)
    return np.ascontiguousarray(turned), grid  # (D, H, W)


def refuse_colours(path: Path, colour: bool) -> None:
    """Volumes hold numbers.

    Raises:
        DataError: ``data.label_map`` names colours.
    """
    if colour:
        raise DataError(
            f"{path} is a volume, but data.label_map names colours. State the numbers it holds, as "
            "in {lesion: [1]}."
        )


def channels_last(image: NDArray[Any]) -> NDArray[Any]:
    """(C, D, H, W) to (D, H, W, C), and to (D, H, W) where there is one channel."""
    return image[0] if len(image) == 1 else np.moveaxis(image, 0, -1)


def turn_back(array: NDArray[Any], grid: Grid) -> NDArray[Any]:
    """Bring (D, H, W, ...) back to the axes of the file: (X, Y, Z, ...).

    A grid that was turned by nothing gives the array's own axes.
    """
    turn = stored_turn(grid)
    back = np.empty_like(turn)
    for axis, (place, flip) in enumerate(turn):
        back[int(place)] = axis, flip
    voxels: NDArray[Any] = orientations.apply_orientation(array, back)
    return voxels


def stored_affine(grid: Grid, shape: tuple[int, ...]) -> NDArray[np.float64] | None:
    """The affine of the file's own axes, of shape (X, Y, Z); None where the grid has none."""
    if grid.affine is None:
        return None
    there = orientations.inv_ornt_aff(stored_turn(grid), shape)
    return np.asarray(grid.affine @ np.linalg.inv(there), dtype=np.float64)


def require_affine(affine: NDArray[np.float64], path: Path) -> None:
    """Refuse an affine that gives voxels no place, or a size that no image has.

    Raises:
        DataError: not finite; singular; voxels smaller or larger than SIZES.
    """
    sizes = np.full(3, np.nan)
    if np.isfinite(affine).all() and np.abs(affine).max() < 1e30:
        sizes = np.asarray(voxel_sizes(affine))
        singular = abs(np.linalg.det(affine[:3, :3])) < 1e-6 * np.prod(sizes)
        if not singular and (SIZES[0] <= sizes).all() and (sizes <= SIZES[1]).all():
            return
    raise DataError(
        f"{path} has an affine that places no voxel (not finite, singular, or of an impossible "
        f"size): {np.array2string(affine, separator=', ')}. Repair its header."
    )


def stored_turn(grid: Grid) -> NDArray[np.float64]:
    """The turn of a grid; of one that was not turned the turn that changes nothing."""
    return np.array([[0.0, 1], [1, 1], [2, 1]]) if grid.turn is None else grid.turn
