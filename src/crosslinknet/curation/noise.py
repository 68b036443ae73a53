"""Mask values that compression or smooth scaling scattered, and how labels differ from them.

Counts propose, pixels decide: noise lies as single pixels along edges, labels lie in areas.
Order: Noise, grey values, colours, solidity.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NEAR = 16  # grey values: noise around a peak lies closer
FAR = 32  # peaks lie further apart
MOST_PEAKS = 5
MOST_OFF, MOST_OFF_COLOUR = 0.2, 0.5  # share of all pixels that may lie beside the peaks
MANY_COLOURS = 24
SOLID = 0.3  # solidity of labels; noise has less


@dataclass(frozen=True)
class Noise:
    """Mask values that scatter around a few peaks, as compression leaves them.

    Attributes:
        values: number of distinct values.
        peaks: the values they scatter around, sorted; colours as ``#rrggbb``.
    """

    values: int
    peaks: tuple[int | str, ...]

    @property
    def threshold(self) -> int | None:
        """What tells two peaks apart: pixels above it are foreground.

        None for more peaks, and for colours, which no threshold tells apart.
        """
        greys = [peak for peak in self.peaks if isinstance(peak, int)]
        return sum(greys) // 2 if len(greys) == 2 else None


def find_noise(values: NDArray[np.integer], counts: dict[int, int]) -> Noise | None:
    """Find grey values that scatter around two to five peaks, as JPG or smooth scaling leaves them.

    Noise lies on both sides of an edge: every peak has at least one more value within NEAR. They
    are few pixels, and lie scattered. Labels that count 1, 2, 3 beside a 255 have none around the
    255, labels in steps of 50 have none at all, and labels with close numbers lie in areas.

    Args:
        values: of a mask, (D, H, W).
        counts: pixels of each value.

    >>> mask = np.repeat([0, 1, 254, 255], [40, 1, 1, 38]).reshape(1, 1, 80)
    >>> find_noise(mask, {0: 40, 1: 1, 254: 1, 255: 38}).threshold
    127
    >>> mask = np.repeat([0, 1, 254, 255], [40, 5, 5, 30]).reshape(1, 1, 80)
    >>> find_noise(mask, {0: 40, 1: 5, 254: 5, 255: 30}) is None
    True
    """
    if len(counts) < 4:
        return None
    numbers = np.array(sorted(counts))
    pixels = np.array([counts[number] for number in numbers.tolist()])
    peaks = _peaks(numbers, pixels)
    beside = [np.count_nonzero(np.abs(numbers - peak) <= NEAR) - 1 for peak in peaks]
    if not 2 <= len(peaks) <= MOST_PEAKS or min(beside) < 1 or min(np.diff(peaks)) < FAR:
        return None
    strays = ~np.isin(numbers, peaks)
    if pixels[strays].sum() > MOST_OFF * pixels.sum():
        return None
    if solidity(values, numbers[strays].tolist()) >= SOLID:
        return None
    return Noise(len(numbers), tuple(peaks))


def _peaks(numbers: NDArray[np.integer], pixels: NDArray[np.integer]) -> list[int]:
    """The most frequent values (N,) that are not near a more frequent one, sorted."""
    peaks: list[int] = []
    left, beyond = np.ones(len(numbers), dtype=bool), 0
    while left.any() and len(peaks) <= MOST_PEAKS:
        place = int(np.argmax(np.where(left, pixels, 0)))
        around = left & (np.abs(numbers - numbers[place]) <= NEAR)
        mass = int(pixels[around].sum())
        if peaks and (mass < 0.1 * beyond or pixels[place] < 0.2 * mass):
            break  # a ramp between two peaks, as smooth scaling leaves it
        left &= ~around
        if not peaks:
            beyond = int(pixels[left].sum())
        peaks.append(int(numbers[place]))
    return sorted(peaks)


def find_colour_noise(values: NDArray[np.integer], counts: dict[int, int]) -> Noise | None:
    """Find colours that scatter around a few, as JPG leaves them: many, single pixels, no areas.

    JPG stores colours at half the size, so that whole rims have colours of their own, and a small
    target has no pixel of its colour left: the peaks that are named are those with 1 % of the
    pixels.

    Args:
        values: 0xRRGGBB, (D, H, W).
        counts: pixels of each colour.
    """
    if len(counts) < MANY_COLOURS:
        return None
    order = sorted(counts, key=lambda colour: -counts[colour])
    least, peaks = 0.01 * values.size, order[:1]
    for colour in order[1:]:
        if counts[colour] < least:
            break
        if all(max(np.abs(_rgb(colour) - _rgb(peak))) >= FAR for peak in peaks):
            peaks.append(colour)
    strays = [colour for colour in order if colour not in peaks]
    if sum(counts[colour] for colour in strays) > MOST_OFF_COLOUR * values.size:
        return None
    if solidity(values, strays) >= SOLID:
        return None
    return Noise(len(counts), tuple(f"#{peak:06x}" for peak in sorted(peaks)))


def _rgb(colour: int) -> NDArray[np.integer]:
    return np.array([colour >> 16, colour >> 8 & 255, colour & 255])


def solidity(values: NDArray[Any], numbers: Collection[int]) -> float:
    """Share of the pixels of some values whose four neighbours have their very value.

    What lies beyond the border of the slice counts as equal. Areas have much of it, lines,
    speckles and slopes of grey next to nothing.

    Args:
        values: (D, H, W).
        numbers: the values that are asked about.

    >>> square = np.pad(np.full((1, 4, 4), 7), ((0, 0), (1, 1), (1, 1)))  # 4 of 16 lie inside
    >>> solidity(square, [7])
    0.25
    """
    inside = total = 0
    for plane in values:  # (H, W)
        asked = np.isin(plane, list(numbers))
        if not asked.any():
            continue
        total += int(np.count_nonzero(asked))
        right, down = plane[:, 1:] == plane[:, :-1], plane[1:] == plane[:-1]
        asked[:, :-1] &= right
        asked[:, 1:] &= right
        asked[:-1] &= down
        asked[1:] &= down
        inside += int(np.count_nonzero(asked))
    return inside / total if total else 0.0
