"""Candidates laid upon each other, and how well they agree there.

Angle and zoom come from the spectra, the place from correlation, and a few steps of least squares
give the affine map. What is alike then is told by the correlation of details within a disc; where
nothing moved, by the ranks themselves.
Source: Reddy and Chatterji 1996; Lucas and Kanade, Proc. IJCAI, 1981.
Order: Laid, laid_pairs, register, its steps, the part that no curve explains.
"""

import os
from collections.abc import Container, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosslinknet.duplicates.prints import WIDE, turned
from crosslinknet.duplicates.spectra import (
    ANGLES,
    INNER,
    OUTER,
    RADIUS,
    RINGS,
    VIEWS,
    Circles,
    Images,
    candidates,
    circles,
    details,
    grid,
    window,
)

PEAK = 0.45  # least correlation of two spectra
SECOND = 0.7  # of the higher peak: then it is tried whether or not the slice was mirrored
GLIMPSE = 0.35  # least correlation of two slices, about, before the place is known exactly
STEPS, HOPES = (2, 3), (0.55, 0.75)  # steps, and the least correlation before them
STRETCH = 3  # rings by which a zoom may differ from a view's
SHIFT = 8  # pixels by which a place may differ from a view's
SHAPE = (0.6, 1.6)  # by how much a map may shrink and stretch
OVERLAP = 0.5  # of the disc that must be in both
GREYS = 32  # steps of a curve of grey values
NOT_FAR = 2.0  # pixels by which slices lie apart that are compared by their ranks
BLOCK = 128  # pairs that are worked on at once: 60 MB

Maps = NDArray[np.float32]  # (n, 2, 2): where a step of rows and columns leads
Places = NDArray[np.float32]  # (n, 2): where the centre comes to


@dataclass(frozen=True)
class Laid:
    """n pairs of slices that were laid upon each other.

    Attributes:
        first, second: (n,) numbers of the slices, first < second.
        turn: (n,) the nearest position of TURNS that makes the first look like the second.
        likeness: (n,) correlation of their details, its sign left out.
        moved: (n,) pixels of 64 by which a point of the disc is moved at most, after the turn.
        unexplained: (n,) root of the part of the ranks that no curve explains; 1 where they moved.
    """

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    turn: NDArray[np.intp]
    likeness: NDArray[np.float32]
    moved: NDArray[np.float32]
    unexplained: NDArray[np.float64]


def laid_pairs(
    ranks: NDArray[np.uint8],
    groups: NDArray[np.integer] | None,
    known: Container[tuple[int, int]],
) -> Iterator[Laid]:
    """Candidates that can be laid upon each other, some at a time, by all cores.

    Args:
        ranks: (N, 64, 64).
        groups: (N,) numbers; slices of one number are not compared.
        known: pairs (first, second) that need not be looked at.
    """
    asking, asked, number = candidates(ranks, groups)
    pairs = zip(np.minimum(asking, asked).tolist(), np.maximum(asking, asked).tolist(), strict=True)
    new = np.flatnonzero([pair not in known for pair in pairs])

    def lay(begin: int) -> Laid:
        part = new[begin : begin + BLOCK]
        still = details(ranks[asked[part]])
        moving = np.empty_like(still)
        for seen in np.unique(number[part]):
            here = number[part] == seen
            moving[here] = details(ranks[asking[part[here]]], int(seen))
        pair, maps, places, likeness = register(moving, still)
        at = part[pair]
        through = VIEWS[number[at]]
        maps = maps / through[:, :1, None]
        places = places - (maps @ through[:, 1:, None])[:, :, 0]
        return _laid(ranks, asking[at], asked[at], maps, places, likeness)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(lay, range(0, len(new), BLOCK))


def _laid(
    ranks: NDArray[np.uint8],
    asking: NDArray[np.intp],
    asked: NDArray[np.intp],
    maps: Maps,
    places: Places,
    likeness: NDArray[np.float32],
) -> Laid:
    """The pairs as they are told to others."""
    turn, moved = _positions(maps, places)
    unexplained = np.ones(len(turn))
    for place in np.flatnonzero(moved < NOT_FAR):
        one = turned(ranks[asking[place]], int(turn[place]))
        unexplained[place] = _unexplained(one, ranks[asked[place]])
    swap = asking > asked
    quarter = (turn == 5) | (turn == 6)  # undone by the other of the two
    return Laid(
        np.where(swap, asked, asking),
        np.where(swap, asking, asked),
        np.where(swap & quarter, 11 - turn, turn),
        likeness,
        moved,
        unexplained,
    )


def _positions(maps: Maps, places: Places) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """The nearest of TURNS for each map, and what is left to move, in pixels."""
    swapped = np.abs(maps[:, 0, 1] * maps[:, 1, 0]) > np.abs(maps[:, 0, 0] * maps[:, 1, 1])
    rows = np.where(swapped, maps[:, 0, 1], maps[:, 0, 0])
    columns = np.where(swapped, maps[:, 1, 0], maps[:, 1, 1])
    turn = 4 * swapped + 2 * (rows < 0) + (columns < 0)
    whole = np.zeros_like(maps)
    at = np.arange(len(maps))
    whole[at, 0, swapped.astype(int)] = np.sign(rows)
    whole[at, 1, 1 - swapped.astype(int)] = np.sign(columns)
    bend = np.linalg.norm(maps - whole, 2, axis=(1, 2))
    return turn, np.asarray(bend * RADIUS + np.hypot(*places.T), np.float32)


def register(
    moving: Images, still: Images
) -> tuple[NDArray[np.intp], Maps, Places, NDArray[np.float32]]:
    """Lay each ``still`` upon its ``moving``.

    Returns:
        Of the pairs that are worth it: their numbers (m,), maps and places: a point p of the
        moving slice, counted from the centre, shows what the still one shows at map @ p + place;
        and likeness (m,).
    """
    pair, maps, places = _placed(moving, still, *_hypotheses(circles(moving), circles(still)))
    likeness = _likeness(moving[pair], still[pair], maps, places)
    for steps, hope in zip(STEPS, HOPES, strict=True):
        good = likeness > hope
        pair, maps, places = pair[good], maps[good], places[good]
        for _ in range(steps):
            maps, places = _step(moving[pair], still[pair], maps, places)
        likeness = _likeness(moving[pair], still[pair], maps, places)
    return pair, maps, places, likeness


def _hypotheses(moving: Circles, still: Circles) -> tuple[NDArray[np.intp], Maps]:
    """Pairs and one or two maps of each, mirrored or not; a half turn more fits as well."""
    moving, still = moving[:, 1:-1], still[:, 1:-1]  # (n, 31, RINGS)
    energy = [(np.abs(c) ** 2).sum(axis=(1, 2)) for c in (moving, still)]
    norm = np.sqrt(energy[0] * energy[1]) + 1e-6
    at = np.arange(len(moving))
    peaks, angles, zooms = np.zeros((3, 2, len(moving)))
    for mirrored in (0, 1):
        other = still.conj() if mirrored else still  # the other way round along the circles
        waves = np.zeros((len(moving), 2 * STRETCH + 1, ANGLES // 2 + 1), np.complex64)
        for number, ring in enumerate(range(-STRETCH, STRETCH + 1)):
            a = moving[:, :, max(0, -ring) : RINGS - max(0, ring)]
            b = other[:, :, max(0, ring) : RINGS - max(0, -ring)]
            waves[:, number, 1:-1] = (a.conj() * b).sum(axis=2) * (RINGS / a.shape[2])
        alike = np.fft.irfft(waves, ANGLES, axis=2) * (ANGLES / 2) / norm[:, None, None]
        number, angle = np.divmod(alike.reshape(len(alike), -1).argmax(axis=1), ANGLES)
        peak = alike[at, number, angle]
        left, right = (alike[at, number, (angle + d) % ANGLES] for d in (-1, 1))
        bend = np.maximum(2 * peak - left - right, 1e-6)  # of a parabola through the three
        peaks[mirrored] = peak
        angles[mirrored] = (angle + (right - left) / (2 * bend)) * (np.pi / ANGLES)
        zooms[mirrored] = (OUTER / INNER) ** ((STRETCH - number) / (RINGS - 1))
    flipped, pair = np.nonzero((peaks > PEAK) & (peaks > SECOND * peaks.max(axis=0)))
    angle, zoom = angles[flipped, pair], zooms[flipped, pair]
    angle = np.where(flipped == 1, -angle, angle)
    maps = zoom * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    maps[:, 1, flipped == 1] *= -1  # (2, 2, hypotheses)
    return pair, np.moveaxis(maps, 2, 0).astype(np.float32)


def _sampled(
    images: list[Images], maps: Maps, places: Places
) -> tuple[list[Images], NDArray[np.bool_]]:
    """Each image at map @ p + place, linear between pixels, and which p come to its disc."""
    rows, columns, _ = grid()
    middle = np.float32((WIDE - 1) / 2)
    row, column = (
        maps[:, axis, 0, None, None] * rows
        + maps[:, axis, 1, None, None] * columns
        + places[:, axis, None, None]
        for axis in (0, 1)
    )
    inside = np.hypot(row, column) <= RADIUS + 2
    row, column = (np.clip(line + middle, 0, WIDE - 1.001) for line in (row, column))
    low, left = row.astype(np.int32), column.astype(np.int32)
    up, right = row - low, column - left
    start = np.arange(len(maps), dtype=np.int32)[:, None, None] * WIDE**2
    place = start + low * WIDE + left
    sampled = []
    for image in images:
        flat = image.reshape(-1)
        lower = flat[place] * (1 - right) + flat[place + 1] * right
        upper = flat[place + WIDE] * (1 - right) + flat[place + WIDE + 1] * right
        sampled.append(lower + (upper - lower) * up)
    return sampled, inside


@cache
def _half_turn() -> NDArray[np.complex64]:
    """(64, 33): what the spectrum of a slice turned by half has more than the conjugate one."""
    down, across = np.arange(WIDE)[:, None], np.arange(WIDE // 2 + 1)
    return np.asarray(np.exp(2j * np.pi * (down + across) / WIDE), np.complex64)


def _placed(
    moving: Images, still: Images, pair: NDArray[np.intp], maps: Maps
) -> tuple[NDArray[np.intp], Maps, Places]:
    """The best map of each pair and its place to a pixel, by correlation of the slices."""
    (laid,), inside = _sampled([still[pair]], maps, np.zeros((len(maps), 2), np.float32))
    laid *= inside
    energy = ((moving**2) * window()).sum(axis=(1, 2))[pair] * ((laid**2) * window()).sum(
        axis=(1, 2)
    )
    asking = np.fft.rfft2(moving * window()).conj()[pair]
    asked = np.fft.rfft2(laid)
    near = np.r_[0 : SHIFT + 1, -SHIFT:0]
    peaks, places = [], []
    for spectrum in (asked, asked.conj() * _half_turn()):
        across = np.abs(np.fft.irfft2(asking * spectrum, (WIDE, WIDE)))
        across = across[:, near[:, None], near].reshape(len(maps), len(near) ** 2)
        row, column = np.divmod(across.argmax(axis=1), len(near))
        peaks.append(across.max(axis=1) / (np.sqrt(energy) + 1e-9))
        places.append(np.stack([near[row], near[column]], axis=1).astype(np.float32))
    maps = np.concatenate([maps, -maps])
    shift = (maps @ np.concatenate(places)[:, :, None])[:, :, 0]
    peak, pair = np.concatenate(peaks), np.concatenate([pair, pair])
    order = np.lexsort((-peak, pair))
    best = order[np.unique(pair[order], return_index=True)[1]]
    best = best[peak[best] > GLIMPSE]
    return pair[best], maps[best], shift[best]


def _centred(image: Images, weight: Images) -> Images:
    """Weighted values with sum 0."""
    total = np.maximum(weight.sum(axis=(1, 2), keepdims=True), 1)
    return np.asarray((image - (image * weight).sum(axis=(1, 2), keepdims=True) / total) * weight)


def _likeness(moving: Images, still: Images, maps: Maps, places: Places) -> NDArray[np.float32]:
    """(n,) correlation without sign in what both discs show; 0 for maps that are none."""
    (laid,), inside = _sampled([still], maps, places)
    disc = grid()[2] <= RADIUS
    weight = (disc & inside).astype(np.float32)
    a, b = _centred(moving, weight), _centred(laid, weight)
    norm = np.sqrt((a * a).sum(axis=(1, 2)) * (b * b).sum(axis=(1, 2)))
    stretch = np.linalg.svd(maps, compute_uv=False)
    good = (stretch[:, 0] < SHAPE[1]) & (stretch[:, 1] > SHAPE[0])
    good &= weight.sum(axis=(1, 2)) > OVERLAP * disc.sum()
    likeness = np.abs((a * b).sum(axis=(1, 2))) / np.maximum(norm, 1e-9)
    return np.asarray(np.where(good, likeness, 0), np.float32)


def _step(moving: Images, still: Images, maps: Maps, places: Places) -> tuple[Maps, Places]:
    """A step of least squares towards the affine map that makes the two most alike."""
    rows, columns, distance = grid()
    slopes = np.gradient(still, axis=(1, 2))
    (laid, down, right), inside = _sampled([still, *slopes], maps, places)
    weight = (inside & (distance <= RADIUS)).astype(np.float32)
    a, b = _centred(moving, weight), _centred(laid, weight)
    gain = (a * b).sum(axis=(1, 2)) / ((a * a).sum(axis=(1, 2)) + 1e-9)  # negative: inverted
    rest = (gain[:, None, None] * a - b).reshape(len(a), WIDE**2, 1)
    parts = [down * rows, down * columns, right * rows, right * columns, down, right]
    jacobian = (np.stack(parts, axis=1) * weight[:, None]).reshape(len(a), 6, WIDE**2)
    normal = jacobian @ jacobian.swapaxes(1, 2)  # (n, 6, 6)
    damping = 1e-3 * np.trace(normal, axis1=1, axis2=2) / 6 + 1e-9
    normal += damping[:, None, None] * np.eye(6, dtype=np.float32)
    change = np.linalg.solve(normal, jacobian @ rest)[:, :, 0]  # (n, 6)
    return maps + change[:, :4].reshape(-1, 2, 2), places + change[:, 4:]


def _unexplained(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Root of the part of the ranks of one that no curve of the other's explains, 0 to 1.

    The curve is the mean in each of 32 steps, from one to the other or back, whichever explains
    more: what a curve has made equal cannot be told apart again.
    """
    left = []
    for x, y in ((one.ravel(), other.ravel()), (other.ravel(), one.ravel())):
        steps = x.astype(np.intp) * GREYS // 256
        values = y - y.mean()
        counts = np.maximum(np.bincount(steps, minlength=GREYS), 1)
        explained = (np.bincount(steps, values, minlength=GREYS) ** 2 / counts).sum()
        left.append(1 - explained / max(float((values**2).sum()), 1e-9))
    return float(np.sqrt(np.clip(min(left), 0, 1)))
