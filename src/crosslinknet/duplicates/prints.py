"""What is remembered of a slice: a thumbnail, hashes of it, and the ranks of its grey values.

Nothing here calls BLAS, whose threads would fight where several slices are read at once.
Order: Fingerprints, fingerprints, join, turned, areas, thumbnails, ranks, hashes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE = 32  # rows and columns of a thumbnail
WIDE = 64  # rows and columns of the ranks; twice SIDE
LEAST = 24  # rows and columns below which chance alone lays one slice upon another: no ranks
LOW = 8  # frequencies in each direction that the hash looks at
LEVELS = 4096  # grey values that ranks tell apart

SAMPLE = 128  # rows and columns that the percentiles are taken from
CLIPPED = (1.0, 99.0)  # percentiles of a slice that become black and white
SHOWN = 64  # pixels of a thumbnail that must stand out, or the slice shows too little

TURNS = (  # bit 0: left-right, bit 1: up-down, both after bit 2: rows and columns swapped
    *("as it is", "left-right", "up-down", "half turn"),
    *("transposed", "quarter turn right", "quarter turn left", "transposed the other way"),
)


@dataclass(frozen=True)
class Fingerprints:
    """What is remembered of D slices: 5 KB each.

    Attributes:
        hashes: (D, 8) uint64, of the slice in each position of TURNS.
        thumbs: (D, 32, 32) uint8, averaged over areas, contrast stretched to 0..255.
        ranks: (D, 64, 64) uint8, averaged over areas, share of darker pixels as 0..255; zeros of
            slices smaller than LEAST.
        flat: (D,), slices without contrast or with next to nothing on them; they are never
            called a duplicate of anything.
    """

    hashes: NDArray[np.uint64]
    thumbs: NDArray[np.uint8]
    ranks: NDArray[np.uint8]
    flat: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.flat)


def fingerprints(images: NDArray[Any]) -> Fingerprints:
    """Remember slices.

    Args:
        images: (D, C, H, W) finite numbers of any type, 1x1 or larger; channels are averaged.
    """
    thumbs = np.zeros((len(images), SIDE, SIDE), np.uint8)
    ranks = np.zeros((len(images), WIDE, WIDE), np.uint8)
    for number, image in enumerate(images):
        grey = image.mean(axis=0, dtype=np.float32) if len(image) > 1 else image[0]  # (H, W)
        small = _averaged(grey)  # (64, 64) or None
        if small is not None:
            thumbs[number] = _thumbnail(small)
            if min(grey.shape) >= LEAST:
                ranks[number] = _ranks(small)
    flat = thumbs.reshape(len(thumbs), SIDE * SIDE)
    middle = np.median(flat, axis=1, keepdims=True)
    shown = (np.abs(flat - middle) > 16).sum(axis=1)
    return Fingerprints(_hashes(thumbs), thumbs, ranks, shown < SHOWN)


def join(prints: Sequence[Fingerprints]) -> Fingerprints:
    """Fingerprints of several sets as one, in that order."""
    if not prints:
        return fingerprints(np.zeros((0, 1, 1, 1), np.uint8))
    return Fingerprints(
        np.concatenate([part.hashes for part in prints]),
        np.concatenate([part.thumbs for part in prints]),
        np.concatenate([part.ranks for part in prints]),
        np.concatenate([part.flat for part in prints]),
    )


def turned(images: NDArray[Any], turn: int) -> NDArray[Any]:
    """Images (..., H, W) in another position, see TURNS.

    >>> turned(np.array([[1, 2], [3, 4]]), 5).tolist()
    [[3, 1], [4, 2]]
    """
    if turn & 4:
        images = images.swapaxes(-1, -2)
    return images[..., :: -1 if turn & 2 else 1, :: -1 if turn & 1 else 1]


def _averaged(grey: NDArray[Any]) -> NDArray[np.float32] | None:
    """(64, 64) means of areas; None where there is no contrast.

    What a few bright pixels do to the stretch is clipped before, as an 8-bit window would.
    """
    rows, columns = (max(1, length // SAMPLE) for length in grey.shape)
    some = grey[::rows, ::columns].astype(np.float32)
    low, high = np.percentile(some, CLIPPED).astype(np.float32)
    if high - low <= 1e-6 * max(abs(low), abs(high)):
        return None
    lower = _areas(grey, low, high)  # (64, W)
    small = _areas(np.ascontiguousarray(lower.T), low, high).T  # (64, 64)
    return np.ascontiguousarray(small) if np.ptp(small) > 1e-6 * (high - low) else None


def _areas(image: NDArray[Any], low: np.float32, high: np.float32) -> NDArray[np.float32]:
    """(64, columns): clipped means over 64 areas of the rows of (rows, columns).

    A row that lies in two areas counts by its shares; fewer rows than areas are magnified. One
    row of every area is added at a time: no copy of the whole image is made, which would take
    longer than all the rest.
    """
    length = len(image)
    edges = np.arange(WIDE + 1) * length / WIDE
    top, bottom = edges[:-1], edges[1:]
    first = np.floor(top).astype(np.intp)
    means = np.zeros((WIDE, image.shape[1]), np.float32)
    for row in (first + step for step in range(-(-length // WIDE) + 1)):
        share = np.clip(np.minimum(bottom, row + 1) - np.maximum(top, row), 0, None)
        if share.any():
            values = image[np.minimum(row, length - 1)].astype(np.float32)
            np.clip(values, low, high, out=values)
            values *= (share * (WIDE / length)).astype(np.float32)[:, None]
            means += values
    return means


def _thumbnail(small: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(32, 32) in 0..255."""
    half = small.reshape(SIDE, 2, SIDE, 2).mean(axis=(1, 3))
    half -= half.min()
    return np.asarray(np.rint(half * (255 / max(float(half.max()), 1e-30))), np.uint8)


def _ranks(small: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(64, 64): share of pixels that are darker, and half of those that are equal, as 0..255."""
    low = float(small.min())
    scaled = np.rint((small - low) * ((LEVELS - 1) / (float(small.max()) - low)))
    values = scaled.astype(np.int64).reshape(-1)
    counts: NDArray[np.intp] = np.bincount(values, minlength=LEVELS)
    shares = (np.cumsum(counts) - counts / 2) * (255 / small.size)
    return np.asarray(np.rint(shares).astype(np.uint8)[values].reshape(WIDE, WIDE))


def _hashes(thumbs: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """(D, 8): signs of the low cosine frequencies, without the mean, in every position.

    A flip changes the sign of the odd frequencies, a transposition swaps them, so one transform
    serves all positions.
    """
    places, waves = np.arange(SIDE) + 0.5, np.arange(LOW)
    cosine = np.cos(np.pi / SIDE * waves[:, None] * places)  # (8, 32)
    rows = np.einsum("ai,dij->daj", cosine, thumbs.astype(np.float64))  # (D, 8, 32)
    low = np.einsum("daj,bj->dab", rows, cosine)  # (D, 8, 8)
    odd = np.where(waves % 2 == 1, -1.0, 1.0)
    bits = np.uint64(1) << np.arange(LOW * LOW, dtype=np.uint64)
    bits[0] = 0  # the mean
    hashes = np.zeros((len(thumbs), len(TURNS)), np.uint64)
    for turn in range(len(TURNS)):
        view = low.swapaxes(1, 2) if turn & 4 else low
        view = view * (odd[:, None] if turn & 2 else 1) * (odd if turn & 1 else 1)
        set_bits = (view > 1e-3).reshape(
            len(thumbs), LOW * LOW
        )  # 0 in a symmetric slice, not noise
        hashes[:, turn] = np.where(set_bits, bits, np.uint64(0)).sum(axis=1, dtype=np.uint64)
    return hashes
