"""Where pixels lie: grids with spacing in mm, orientation of volumes, pad and crop arithmetic.

Arrays are (D, H, W) everywhere in the package, a single slice has D = 1. A ``Grid`` remembers
how a file's own axes were turned into that order, so that a mask can be turned back.
Order: Grid, distance of two grids, Placement (how a slice is fitted to the network's size).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from crosslinknet.errors import ShapeError

SliceAxis = Literal["axial", "coronal", "sagittal", 0, 1, 2]
Fit = Literal["pad", "crop", "resize", "letterbox"]

# World directions of (D, H, W) for each plane, as a radiologist sees them: axial slices have
# rows from front to back and columns from the patient's right to left.
PLANES: dict[str, str] = {"axial": "SPL", "coronal": "PIL", "sagittal": "LIP"}


@dataclass(frozen=True)
class Grid:
    """Shape, spacing and position of an array in (D, H, W) order.

    Attributes:
        shape: (D, H, W).
        spacing: mm per voxel, (dz, dy, dx); None where the file does not say.
        affine: 4x4, voxel (d, h, w) to world mm (RAS+); None for plain pictures.
        turn: (3, 2) array, nibabel's orientation transform from the file's axes to the array's
            ones; None where the file was read as it is.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float] | None = None
    affine: NDArray[np.float64] | None = None
    turn: NDArray[np.float64] | None = None


def shift_of(one: Grid, other: Grid) -> float:
    """How far the corners of a volume lie apart by two grids of one shape.

    Returns:
        The largest distance in mm; 0 where a grid has no affine.

    >>> a = Grid((2, 2, 2), affine=np.eye(4))
    >>> b = Grid((2, 2, 2), affine=np.diag([1.0, 1.0, 3.0, 1.0]))
    >>> shift_of(a, b)
    2.0
    """
    if one.affine is None or other.affine is None:
        return 0.0
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in one.shape])).reshape(3, -1)
    points = np.vstack([corners, np.ones(corners.shape[1])])  # (4, 8)
    return float(np.linalg.norm(((one.affine - other.affine) @ points)[:3], axis=0).max())


def is_apart(one: Grid, other: Grid) -> bool:
    """Whether two grids of one shape lie more than 0.1 voxel apart."""
    return shift_of(one, other) > 0.1 * min(other.spacing or (1.0,))


@dataclass(frozen=True)
class Placement:
    """How a source slice (H, W) lies in a network's input: scaled, then shifted, then cut.

    A source pixel (y, x) lands at ``y * scale[0] + offset[0]`` (pixel edges, not centres).
    """

    source: tuple[int, int]
    size: tuple[int, int]
    scaled: tuple[int, int]  # (H, W) of the whole source after scaling
    offset: tuple[int, int]  # top left corner of the scaled source in the input; may be negative


def place(source: tuple[int, int], size: tuple[int, int], fit: Fit) -> Placement:
    """Fit a source slice to the input size.

    Args:
        source: (H, W) of the slice.
        size: (H, W) the network gets.
        fit: ``resize`` stretches to the size; ``letterbox`` scales with one factor and pads;
            ``pad`` keeps the scale and centres, larger sources are an error; ``crop`` keeps
            the scale and centres, larger sources are cut and smaller ones padded.

    Raises:
        ShapeError: ``pad`` with a source larger than the size.

    >>> place((100, 50), (64, 64), "letterbox")
    Placement(source=(100, 50), size=(64, 64), scaled=(64, 32), offset=(0, 16))
    """
    (h, w), (height, width) = source, size
    if fit == "resize":
        return Placement(source, size, size, (0, 0))
    scaled = source
    if fit == "letterbox":
        factor = min(height / h, width / w)
        scaled = (max(1, round(h * factor)), max(1, round(w * factor)))
    elif fit == "pad" and (h > height or w > width):
        raise ShapeError(
            f"a slice is {h}x{w}, larger than image.size {height}x{width}, and image.fit is "
            "'pad', which never cuts. Raise image.size, or choose fit: crop, resize or letterbox."
        )
    offset = ((height - scaled[0]) // 2, (width - scaled[1]) // 2)
    return Placement(source, size, scaled, offset)


def overlap(placement: Placement) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Slices of the scaled source and of the input that show the same pixels.

    >>> source, target = overlap(place((4, 4), (2, 6), "crop"))
    >>> source
    (slice(1, 3, None), slice(0, 4, None))
    >>> target
    (slice(0, 2, None), slice(1, 5, None))
    """
    source, target = [], []
    for length, room, start in zip(placement.scaled, placement.size, placement.offset, strict=True):
        low, high = max(0, -start), min(length, room - start)
        source.append(slice(low, high))
        target.append(slice(low + start, high + start))
    return (source[0], source[1]), (target[0], target[1])
