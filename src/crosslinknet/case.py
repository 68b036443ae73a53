"""The two records that flow through everything: CaseFiles (paths) and Case (pixels)."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from crosslinknet.errors import ShapeError
from crosslinknet.geometry import Grid


@dataclass(frozen=True)
class CaseFiles:
    """One image with its mask on disk, and the person it came from.

    Attributes:
        id: unique name of the case, used for every file written about it.
        subject: key that folds never divide.
        images: one file per channel group, most often a single one.
        mask: label file, None where only prediction is wanted.
        spacing: (dz, dy, dx) in mm, stated by a manifest; overrides the file's own.
        fold: test fold stated by a manifest, or None.
        slices: which slices of the files are this case, along the axis that counts them; None:
            all. A stack of slices of many people is a case for each of them.
        more_masks: further label files of the same image, one per object; the mask is their union.
    """

    id: str
    subject: str
    images: tuple[Path, ...]
    mask: Path | None = None
    spacing: tuple[float, float, float] | None = None
    fold: int | None = None
    slices: tuple[int, ...] | None = None
    more_masks: tuple[Path, ...] = ()

    @property
    def masks(self) -> tuple[Path, ...]:
        """All label files: none, one, or one per object."""
        return () if self.mask is None else (self.mask, *self.more_masks)


@dataclass(frozen=True)
class Case:
    """A case, read: pixels with their grid.

    Attributes:
        id, subject: as in CaseFiles.
        image: (D, C, H, W), in the file's own dtype as read, float32 after preprocessing.
        mask: (D, H, W) integer labels, 0 is background; None where there is none.
        grid: shape, spacing and position.
    """

    id: str
    subject: str
    image: NDArray[Any]
    mask: NDArray[np.integer[Any]] | None
    grid: Grid

    def __post_init__(self) -> None:
        d, _, h, w = self.image.shape
        if self.grid.shape != (d, h, w):
            raise ShapeError(f"{self.id}: the image is {(d, h, w)}, its grid {self.grid.shape}.")
        if self.mask is not None and self.mask.shape != (d, h, w):
            raise ShapeError(
                f"{self.id}: the image is {(d, h, w)} (slices, height, width), the mask "
                f"{self.mask.shape}. Both must lie on one grid; resample the mask first."
            )

    def with_mask(self, mask: NDArray[np.integer[Any]]) -> Self:
        """The same case with another mask (D, H, W)."""
        return replace(self, mask=mask)
