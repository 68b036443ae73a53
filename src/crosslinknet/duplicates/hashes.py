"""Pairs that show the same pixels, in one of eight positions: hashes propose, thumbnails decide.

Order: same_pixels, candidates by hash, differences of thumbnails.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosslinknet.duplicates.prints import LOW, SIDE, TURNS, Fingerprints, turned

BLOCK = 2**18  # hashes that are compared at once: 2 MB
PAIRS = 2**10  # thumbnails that are compared at once: 60 MB
CORRELATION = 0.9  # below it no curve of grey values helps

Found = dict[tuple[int, int], tuple[float, int]]  # first, second: difference, turn


def same_pixels(
    prints: Fingerprints, groups: NDArray[np.integer] | None, limit: float, distance: int
) -> Found:
    """Pairs of slices whose difference is at most ``limit``, in their best position.

    No pair is lost between hash and thumbnail: two hashes that differ in at most ``distance``
    bits agree in one of ``distance + 1`` bands, and every two that share a band are compared.
    Memory does not grow with the number of pairs that are compared.
    """
    found: Found = {}
    for first, second, turn in _candidates(prints.hashes, groups, distance):
        differences = _differences(prints.thumbs, first, second, turn)
        for place in np.flatnonzero(differences <= limit):
            pair = (int(first[place]), int(second[place]))
            now = (float(differences[place]), int(turn[place]))
            found[pair] = min(now, found.get(pair, now))
    return found


def _candidates(
    hashes: NDArray[np.uint64], groups: NDArray[np.integer] | None, distance: int
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]]:
    """Pairs (first, second, turn of the first) with hashes at most ``distance`` bits apart.

    Each pair comes once. Slices are sorted by the bits of one band after the other; what shares
    a band stands side by side then.
    """
    plain, views = hashes[:, 0], hashes.reshape(-1)  # (N,), (8 N,): view v is of slice v // 8
    masks = _bands(plain, distance + 1) if len(plain) else []
    for number, mask in enumerate(masks):
        order = np.argsort(plain & mask, kind="stable")
        view_order = np.argsort(views & mask, kind="stable")
        sorted_views = views[view_order] & mask
        keys, starts = np.unique(plain[order] & mask, return_index=True)
        stops = np.append(starts[1:], len(order))
        asked = [np.searchsorted(sorted_views, keys, side) for side in ("left", "right")]
        for start, stop, low, high in np.stack([starts, stops, *asked], axis=1):
            seconds, asking = order[start:stop], view_order[low:high]  # both ascending
            step = max(1, BLOCK // len(seconds))
            for begin in range(0, len(asking), step):
                some = asking[begin : begin + step]
                later = seconds[np.searchsorted(seconds, some[0] // len(TURNS), "right") :]
                apart = views[some][:, None] ^ plain[later]  # (some, later)
                which, what = np.nonzero(np.bitwise_count(apart) <= distance)
                first, turn = np.divmod(some[which], len(TURNS))
                second, differing = later[what], apart[which, what]
                good = first < second
                if groups is not None:
                    good &= groups[first] != groups[second]
                for earlier in masks[:number]:
                    good &= (differing & earlier) != 0  # else it came with that band
                if good.any():
                    yield first[good], second[good], turn[good]


def _bands(hashes: NDArray[np.uint64], count: int) -> list[np.uint64]:
    """Masks that share the 64 bits out, the bits that tell most first, one to each band in turn.

    Any way to share them out keeps the promise; this one makes the bands about equally telling.
    """
    places = np.arange(LOW * LOW, dtype=np.uint64)
    ones = [float(np.count_nonzero(hashes >> place & np.uint64(1))) for place in places]
    order = np.argsort(np.abs(np.array(ones) - len(hashes) / 2), kind="stable")
    bits = np.uint64(1) << places[order]
    return [np.bitwise_or.reduce(bits[band::count]) for band in range(count)]


def _differences(
    thumbs: NDArray[np.uint8],
    first: NDArray[np.intp],
    second: NDArray[np.intp],
    turn: NDArray[np.intp],
) -> NDArray[np.float64]:
    """(n,) in [0, 1]: how much of a thumbnail no curve of the other's grey values explains.

    The curve lets brightness, contrast, gamma and a window pass. It goes from the first to the
    second or back, whichever explains more: what a window has clipped cannot be told from what
    is left.
    """
    differences = np.ones(len(first))
    for begin in range(0, len(first), PAIRS):
        part = slice(begin, begin + PAIRS)
        one = np.empty((len(first[part]), SIDE, SIDE), np.uint8)
        for position in range(len(TURNS)):
            here = turn[part] == position
            one[here] = turned(thumbs[first[part][here]], position)
        x, y = _standard(one), _standard(thumbs[second[part]])  # (n, 1024)
        hopeful = (x * y).mean(axis=1) > CORRELATION
        x, y = x[hopeful], y[hopeful]
        differences[begin + np.flatnonzero(hopeful)] = np.minimum(
            _unexplained(x, y), _unexplained(y, x)
        )
    return differences


def _standard(values: NDArray[Any]) -> NDArray[np.float64]:
    """(n, 1024) with mean 0 and mean square 1."""
    flat = values.reshape(len(values), SIDE * SIDE).astype(np.float64)
    flat -= flat.mean(axis=1, keepdims=True)
    flat /= np.maximum(flat.std(axis=1, keepdims=True), 1e-6)
    return flat


def _unexplained(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,): what is left of each y (n, p) after the best cubic curve of x; both standard."""
    powers = np.stack([x, x * x, x * x * x], axis=1)  # (n, 3, p)
    powers -= powers.mean(axis=2, keepdims=True)
    gram = powers @ powers.swapaxes(1, 2) / x.shape[1]  # (n, 3, 3)
    gram += 1e-9 * np.eye(3)  # slices of two grey values have no curve but a line
    across = powers @ y[:, :, None] / x.shape[1]  # (n, 3, 1)
    explained = (across * np.linalg.solve(gram, across)).sum(axis=(1, 2))
    return np.asarray(np.sqrt(np.clip(1 - explained, 0, 1)))
