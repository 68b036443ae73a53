"""Where images and masks lie, and what contradicts: mask and image, two forms of one header.

Order: a mask on its image, the sform and qform of a NIfTI, numbers in words.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosslinknet.errors import DataError
from crosslinknet.geometry import Grid, is_apart, shift_of
from crosslinknet.readers import suffix_of
from crosslinknet.readers.nifti import read_forms


def distance(image: Grid, mask: Grid) -> tuple[str, str]:
    """How a mask lies away from its image.

    Returns:
        What differs: ``shape``, ``format``, ``place`` or nothing; and the numbers, for people.
    """
    if image.shape != mask.shape:
        how = f"{by(mask.shape)} on an image of {by(image.shape)}"
        turned = sorted(image.shape) == sorted(mask.shape)
        return "shape", f"transposed: {how}" if turned else how
    if (image.affine is None) != (mask.affine is None):
        return "format", "one is a picture, the other a volume"
    if not is_apart(image, mask):
        return "", ""
    how = f"{shift_of(image, mask):.2f} mm away"
    if image.spacing and mask.spacing and not np.allclose(image.spacing, mask.spacing, rtol=1e-3):
        how += f", spacing {by(mask.spacing)} on {by(image.spacing)} mm"
    return "place", how


def forms_apart(path: Path) -> str:
    """How far the sform and the qform of a NIfTI file lie apart, for people; empty: they agree.

    They agree where no corner of the volume lies more than 0.1 voxel away by the other one.
    """
    if suffix_of(path) not in (".nii", ".nii.gz"):
        return ""
    try:
        forms = read_forms(path)
    except (DataError, OSError):
        return ""  # looking at the voxels tells why
    if forms is None:
        return ""
    one, other = (Grid(forms.shape, forms.spacing, affine) for affine in (forms.sform, forms.qform))
    if not is_apart(one, other):
        return ""
    mm = f"{shift_of(one, other):.2f} mm"
    mirrored, degrees = _turn(forms.sform, forms.qform)
    if mirrored:
        return f"mirrored, {mm} apart"
    return f"turned by {degrees:.0f} degrees, {mm} apart" if degrees >= 0.5 else f"{mm} apart"


def _turn(one: NDArray[Any], other: NDArray[Any]) -> tuple[bool, float]:
    """Whether one affine mirrors the other, and the angle between their axes in degrees."""
    axes = []
    for affine in (one, other):
        left, _, right = np.linalg.svd(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0))
        axes.append(left @ right)  # the nearest rotation
    turn = axes[0] @ axes[1].T
    cosine = (np.trace(turn) - 1) / 2
    return bool(np.linalg.det(turn) < 0), float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def by(numbers: Sequence[float]) -> str:
    """Numbers along the axes, for people.

    >>> by((4, 0.5, 0.5))
    '4x0.5x0.5'
    """
    return "x".join(f"{number:g}" for number in numbers)
