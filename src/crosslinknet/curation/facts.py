"""What is kept of each case: numbers, hashes and thumbnails, never pixels.

About 6 KB of each slice stay. Order: the records, how an image is reduced, how a mask is.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosslinknet.case import CaseFiles
from crosslinknet.curation.noise import Noise, find_colour_noise, find_noise, solidity
from crosslinknet.duplicates import Fingerprints, fingerprints
from crosslinknet.readers import RawMask

MOST_VALUES = 12  # masks with more are asked whether their values are labels


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What matters of the images of a case.

    Attributes:
        shape: (D, H, W).
        spacing: (dz, dy, dx) in mm, stated by a manifest or the file; None: unknown.
        channels: grey that is stored as colour counts as one.
        kind: number type, as ``uint8``.
        low, high: of all pixels.
        digest: hash of all pixels.
        prints: of each slice, to find what looks alike.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float] | None
    channels: int
    kind: str
    low: float
    high: float
    digest: bytes
    prints: Fingerprints


@dataclass(frozen=True, slots=True)
class MaskFacts:
    """What matters of the mask of a case.

    Attributes:
        values: pixels of each value, background included.
        fractions: (D,) target area over slice area.
        border: share of the slices' border that is target, mean of the slices that have one.
        noise: see there; None in a clean mask.
        solidity: of all values but the background, see ``noise.solidity``; asked only of masks
            with more than MOST_VALUES values, else 1.
        digest: hash of the pixels and their values; empty in an empty mask.
        apart: ``shape``, ``place`` or ``format`` where it does not lie on the image's grid.
        how: in numbers.
    """

    values: dict[int | str, int]
    fractions: NDArray[np.float32]
    border: float
    noise: Noise | None
    solidity: float
    digest: bytes
    apart: str = ""
    how: str = ""

    @property
    def full(self) -> bool:
        """One value everywhere, and not the background."""
        return len(self.values) == 1 and bool((self.fractions == 1).all())


@dataclass(frozen=True, slots=True)
class CaseFacts:
    """A case, its image and mask as far as they can be read, and why not.

    Attributes:
        files: the case.
        image, mask: None where they cannot be read.
        problems: why not, one paragraph each.
        forms: files whose header contradicts itself, and how.
    """

    files: CaseFiles
    image: ImageFacts | None
    mask: MaskFacts | None
    problems: tuple[str, ...]
    forms: tuple[tuple[Path, str], ...] = ()


def image_facts(image: NDArray[Any], spacing: tuple[float, float, float] | None) -> ImageFacts:
    """Reduce an image (D, C, H, W); the spacing is the stated one, in mm."""
    depth, channels, height, width = image.shape
    grey = channels == 3 and bool((image[:, :1] == image[:, 1:]).all())
    digest = hashlib.blake2b(f"{image.dtype} {image.shape}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image).data)
    return ImageFacts(
        shape=(depth, height, width),
        spacing=spacing,
        channels=1 if grey else channels,
        kind=str(image.dtype),
        low=float(image.min()),
        high=float(image.max()),
        digest=digest.digest(),
        prints=fingerprints(image),
    )


def mask_facts(mask: RawMask, named: frozenset[int | str] | None) -> MaskFacts:
    """Reduce a mask; ``named`` are the values that are target, None: all but the background."""
    counts: dict[int, int] = {}
    fractions = np.zeros(len(mask.values), np.float32)
    borders = []
    digest = hashlib.blake2b(str(mask.values.shape).encode(), digest_size=16)
    for number, values in enumerate(mask.values):  # (H, W)
        there = values != 0
        marked = values[there]
        digest.update(np.packbits(there).data)
        digest.update(marked.astype(np.int64).data)
        for value, pixels in _count(marked):
            counts[value] = counts.get(value, 0) + pixels
        target = there
        if named is not None:
            strangers = [value for value in counts if mask.name(value) not in named]
            target = there & ~np.isin(values, strangers) if strangers else there
        fractions[number] = np.count_nonzero(target) / target.size
        if fractions[number]:
            edges = (target[0], target[-1], target[:, 0], target[:, -1])
            borders.append(float(np.mean([edge.mean() for edge in edges])))
    background = mask.values.size - sum(counts.values())
    every = ({0: background} if background else {}) | counts
    noise = None
    if not mask.names:
        noise = (find_colour_noise if mask.colour else find_noise)(mask.values, every)
    return MaskFacts(
        values={mask.name(value): every[value] for value in sorted(every)},
        fractions=fractions,
        border=float(np.mean(borders)) if borders else 0.0,
        noise=noise,
        solidity=solidity(mask.values, counts) if len(counts) > MOST_VALUES else 1.0,
        digest=digest.digest() if counts else b"",
    )


def _count(values: NDArray[np.integer]) -> list[tuple[int, int]]:
    """(value, pixels) of values (N,)."""
    if not values.size:
        return []
    low, high = int(values.min()), int(values.max())
    if high - low < 2**16:
        counts = np.bincount(values.astype(np.int64) - low)
        numbers = np.flatnonzero(counts)
        return list(zip((numbers + low).tolist(), counts[numbers].tolist(), strict=True))
    numbers, counts = np.unique(values, return_counts=True)
    return list(zip(numbers.tolist(), counts.tolist(), strict=True))
