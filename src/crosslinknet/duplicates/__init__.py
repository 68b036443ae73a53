"""Slices that show the same: stored again under another name, or changed by offline augmentation.

Two searches that know nothing of each other. ``hashes``: the same pixels, recompressed, resized,
windowed, flipped or turned by quarters. ``registration``: rotated, zoomed, cut or shifted, or with
grey values that follow another curve or run the other way. No image is needed after its
fingerprint. Decision D33.
Order of the files: prints, hashes, spectra, registration, names; here: Pair, near_pairs.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crosslinknet.duplicates.hashes import same_pixels
from crosslinknet.duplicates.names import augmentation_names, groups_of
from crosslinknet.duplicates.prints import (
    SIDE,
    TURNS,
    WIDE,
    Fingerprints,
    fingerprints,
    join,
    turned,
)
from crosslinknet.duplicates.registration import Laid, laid_pairs

__all__ = [
    "ALIKE",
    "NEAR",
    "SIDE",
    "TURNS",
    "WIDE",
    "Fingerprints",
    "Pair",
    "augmentation_names",
    "fingerprints",
    "groups_of",
    "join",
    "near_pairs",
    "turned",
]

NEAR = 0.04  # largest difference of the same slice stored twice: D33
ALIKE = 0.08  # the same between subjects, who otherwise differ by 0.4 and more: D33
DISTANCE = 7  # bits in which the hashes of a pair may differ

LIMITS = (0.0, NEAR, ALIKE, 1.0)  # what each row below means as a difference
IN_PLACE = (0.0, 0.05, 0.28, 1.0)  # part of the ranks that no curve explains
MOVED = (0.0, 0.05, 0.08, 1.0)  # 1 - likeness after a rotation, zoom, cut or shift
AS_IT_WAS = 1.5  # pixels of 64: what moves less may be a neighbour in the volume


@dataclass(frozen=True)
class Pair:
    """Two slices that show the same.

    Attributes:
        first, second: their numbers, first < second.
        turn: index into TURNS of what makes the first look like the second, or brings it nearest
            to it; 0: as it is.
        difference: share of the contrast in which they differ, 0 (same) to 1. Where a slice had
            to be laid upon the other, what is left is put on the same scale: it is NEAR and ALIKE
            where the slices of one subject and of two begin to be mistaken for copies.
    """

    first: int
    second: int
    turn: int
    difference: float


def near_pairs(
    prints: Fingerprints,
    groups: NDArray[np.integer] | None = None,
    limit: float = NEAR,
    distance: int = DISTANCE,
) -> list[Pair]:
    """All pairs of slices that show the same pixels, and what is found of the changed copies.

    Each pair comes once, in its best position, sorted by first and second.

    Args:
        prints: of N slices.
        groups: (N,) numbers; slices of one number, such as those of a volume, are not compared.
        limit: largest difference of a pair. NEAR tells a stored-again slice from its neighbour
            in the volume; ALIKE, which lets more changes pass, is made for slices of different
            subjects.
        distance: bits in which hashes may differ.
    """
    kept = np.flatnonzero(~prints.flat)
    numbers = None if groups is None else np.asarray(groups)[kept]
    shown = Fingerprints(
        prints.hashes[kept], prints.thumbs[kept], prints.ranks[kept], prints.flat[kept]
    )
    found = same_pixels(shown, numbers, limit, distance)
    for laid in laid_pairs(shown.ranks, numbers, set(found)):
        differences = _differences(laid)
        for place in np.flatnonzero(differences <= limit):
            pair = (int(laid.first[place]), int(laid.second[place]))
            now = (float(differences[place]), int(laid.turn[place]))
            found[pair] = min(now, found.get(pair, now))
    return [
        Pair(int(kept[first]), int(kept[second]), turn, difference)
        for (first, second), (difference, turn) in sorted(found.items())
    ]


def _differences(laid: Laid) -> NDArray[np.float64]:
    """(n,) on the scale of the limits.

    A neighbour in the volume lies where the slice lies; so what has not moved is the same slice,
    or merely alike, by what a curve of grey values leaves unexplained.
    """
    moved = np.interp(1 - laid.likeness, MOVED, LIMITS)
    in_place = np.interp(laid.unexplained, IN_PLACE, LIMITS)
    still = laid.moved < AS_IT_WAS
    barely = np.interp(1 - laid.likeness, MOVED, (NEAR + 1e-6, NEAR + 1e-6, ALIKE, 1.0))
    return np.where(still, np.minimum(in_place, barely), moved)
