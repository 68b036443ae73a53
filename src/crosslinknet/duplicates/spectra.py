"""Which slices may be rotated, zoomed, cut or shifted copies: a few candidates for each.

Ranks of grey values forget every rising curve. The magnitude of a spectrum forgets where a slice
lies and whether it is inverted; the magnitude of waves along its circles forgets how it is turned
and mirrored. Zooms and shifts change what is seen through a window; therefore a slice asks with
several parts of itself, and all are asked with their middle.
Source: Reddy and Chatterji, IEEE Trans. Image Processing 5 (8), 1996, after Fourier and Mellin.
Order: details of a view, circles of a spectrum, descriptions, candidates.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
from numpy.typing import NDArray

from crosslinknet.duplicates.prints import WIDE

RADIUS = 28.0  # pixels around the centre that are looked at; a rotation leaves no corners there
VIEWS = np.array(  # zoom, row and column of the parts of a slice that ask for others
    [[1, 0, 0], [0.9, 0, 0], [0.8, 0, 0], [1, -4, -4], [1, -4, 4], [1, 4, -4], [1, 4, 4]],
    np.float32,
)
FINE, COARSE = 0.8, 5.0  # pixels: sigmas of the blurs between which details lie
ANGLES, RINGS = 64, 32  # of a spectrum, over half a turn and between the next two numbers
INNER, OUTER = 2.0, 20.0  # periods in 64 pixels
WAVES = 9  # along the angles that a description holds, their mean left out
NUMBERS = 32  # of a description
NEAREST, FEWEST = 6, 4  # candidates of a slice, in small sets and in large ones
FAR = 0.75  # of the mean square of descriptions: a square distance that hardly a copy has, D33
MANY = 500  # slices from which on far ones are left out; a few are no measure of what is far
ASKED = 6000  # candidates of all slices from which on each has fewer
SAMPLE = 4096  # slices that say which numbers tell most
BLOCK = 128  # slices that are worked on at once: 60 MB with 45,000 slices

Images = NDArray[np.float32]  # (n, 64, 64)
Circles = NDArray[np.complex64]  # (n, 33, 32)


@cache
def grid() -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Rows and columns from the centre, distance to it, each (64, 64)."""
    rows, columns = (np.mgrid[:WIDE, :WIDE] - (WIDE - 1) / 2).astype(np.float32)
    return rows, columns, np.hypot(rows, columns)


@cache
def window() -> NDArray[np.float32]:
    """(64, 64): 1 in the middle, smoothly to 0 at RADIUS."""
    return np.asarray(0.5 + 0.5 * np.cos(np.pi * np.minimum(grid()[2] / RADIUS, 1)), np.float32)


@cache
def _rows(number: int, sigma: float) -> NDArray[np.float32]:
    """(2, 64, 64): what makes rows and columns of a view, blurred, from those of a slice."""
    zoom, *places = VIEWS[number].tolist()
    pixels, middle = np.arange(WIDE), (WIDE - 1) / 2
    blur = np.exp(-0.5 * ((pixels[:, None] - pixels) / sigma) ** 2)
    blur /= blur.sum(axis=1, keepdims=True)
    source = [np.clip((pixels - middle) * zoom + middle + place, 0, WIDE - 1) for place in places]
    seen = [np.maximum(0, 1 - np.abs(one[:, None] - pixels)) for one in source]  # linear between
    return np.asarray(blur @ np.stack(seen), np.float32)


def details(ranks: NDArray[np.uint8], number: int = 0) -> Images:
    """A view of slices without noise and without the slow change from light to dark."""
    values = ranks.astype(np.float32) / 255
    fine, coarse = (_rows(number, sigma) for sigma in (FINE, COARSE))
    return np.asarray(fine[0] @ values @ fine[1].T - coarse[0] @ values @ coarse[1].T)


@cache
def _polar() -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """(4, 2048) places in a half spectrum (64, 33) and their weights, for half circles."""
    angle = np.arange(ANGLES)[:, None] * np.pi / ANGLES
    radius = INNER * (OUTER / INNER) ** (np.arange(RINGS) / (RINGS - 1))
    row, column = (radius * np.sin(angle)).ravel(), (radius * np.cos(angle)).ravel()
    row, column = np.where(column < 0, -row, row), np.abs(column)  # the other half is the same
    low, left = np.floor(row).astype(np.intp), np.floor(column).astype(np.intp)
    up, right = row - low, column - left
    places = [(low + i) % WIDE * (WIDE // 2 + 1) + left + j for i in (0, 1) for j in (0, 1)]
    weights = [(1 - up) * (1 - right), (1 - up) * right, up * (1 - right), up * right]
    return np.array(places), np.array(weights, np.float32)


def circles(images: Images) -> Circles:
    """Waves along half circles of a spectrum's logarithm: axis 1 waves, axis 2 radius."""
    soft = images * window()
    soft -= window() * (soft.sum(axis=(1, 2)) / window().sum())[:, None, None]
    soft /= np.sqrt((soft * soft).mean(axis=(1, 2), keepdims=True)) + 1e-6
    spectrum = np.log(np.abs(np.fft.rfft2(soft)) / WIDE + 0.3).reshape(len(images), -1)
    places, weights = _polar()
    round_about = sum(
        spectrum[:, place] * weight for place, weight in zip(places, weights, strict=True)
    )  # (n, 2048)
    return np.asarray(np.fft.rfft(np.reshape(round_about, (-1, ANGLES, RINGS)), axis=1))


def _description(images: Images) -> NDArray[np.float32]:
    """(n, 256): what no rotation, flip or shift changes."""
    waves = np.abs(circles(images)[:, 1:WAVES]) * np.float32(2 / ANGLES)
    return np.asarray(np.sqrt(waves).reshape(len(images), -1))


def _descriptions(ranks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(7, N, 32): of each view of each slice, in the numbers that tell these slices apart."""
    count = len(ranks)
    sample = np.unique(np.linspace(0, count - 1, min(count, SAMPLE)).astype(np.intp))
    parts = np.array_split(sample, 1 + len(sample) // BLOCK)
    plain = np.concatenate([_description(details(ranks[part])) for part in parts])
    power, axes = np.linalg.eigh(np.cov(plain, rowvar=False))
    power = np.maximum(power[-NUMBERS:], max(0.01 * power[-1], 1e-9))
    basis = (axes[:, -NUMBERS:] / power**0.25).astype(np.float32)  # half way to equal power
    made = np.empty((len(VIEWS), count, NUMBERS), np.float32)
    mean = plain.mean(axis=0)

    def describe(begin: int) -> None:
        here = slice(begin, begin + BLOCK)
        for number in range(len(VIEWS)):
            made[number, here] = (_description(details(ranks[here], number)) - mean) @ basis

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(describe, range(0, count, BLOCK)))
    return made


def candidates(
    ranks: NDArray[np.uint8], groups: NDArray[np.integer] | None
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """The slices nearest to each: (n,) who asks, who is asked, by which view.

    A pair comes twice where each is near to the other: what came in from outside, such as the
    black beside a shifted slice, is seen by one of the two ways less. Slices of one group are not
    paired.

    Args:
        ranks: (N, 64, 64).
        groups: (N,) numbers or None.
    """
    count = len(ranks)
    none = np.zeros(0, np.intp)
    if count < 2:
        return none, none, none
    described = _descriptions(ranks)
    squares = (described**2).sum(axis=2)  # (7, N)
    least = -FAR * squares[0].mean() / 2 if count >= MANY else np.finfo(np.float32).min
    found = []
    for begin in range(0, count, BLOCK):
        rows = np.arange(begin, min(begin + BLOCK, count))
        near = np.full((len(rows), count), -np.inf, np.float32)  # minus half the square distance
        for number in range(len(VIEWS)):
            product = described[number, rows] @ described[0].T
            product -= squares[number, rows, None] / 2
            np.maximum(near, product, out=near)
        near -= squares[0] / 2
        near[np.arange(len(rows)), rows] = -np.inf
        if groups is not None:
            near[groups[rows, None] == groups] = -np.inf
        most = min(max(FEWEST, min(NEAREST, ASKED // count)), count - 1)
        chosen = np.argpartition(near, count - most, axis=1)[:, count - most :]
        row, place = np.nonzero(np.take_along_axis(near, chosen, axis=1) >= least)
        one, other = rows[row], chosen[row, place]
        apart = ((described[:, one] - described[0, other]) ** 2).sum(axis=2)  # (7, n)
        found.append((one, other, apart.argmin(axis=0)))
    one, other, seen = (np.concatenate(part) for part in zip(*found, strict=True))
    return one, other, seen
