"""Slices that show the same pixels: copies, recompressed, resized, windowed, flipped or turned.

A slice is remembered by a thumbnail and, for each of its eight flips and quarter turns, a hash of
64 bits: the signs of the lowest frequencies. Hashes only propose pairs, since medical slices
all look alike; thumbnails decide. No image is needed after its fingerprint. Decision D33.
Order: fingerprints, near_pairs, candidates by hash, differences of thumbnails, names, groups.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE = 32  # rows and columns of a thumbnail
LOW = 8  # frequencies in each direction that the hash looks at
NEAR = 0.04  # largest difference of the same slice stored twice: D33
ALIKE = 0.08  # the same between subjects, who otherwise differ by 0.4 and more: D33
DISTANCE = 7  # bits in which the hashes of a pair may differ
BLOCK = 2**18  # hashes that are compared at once: 2 MB
PAIRS = 2**10  # thumbnails that are compared at once: 60 MB

SAMPLE = 128  # rows and columns that the percentiles are taken from
CLIPPED = (1.0, 99.0)  # percentiles of a slice that become black and white
SHOWN = 64  # pixels of a thumbnail that must stand out, or the slice shows too little
CORRELATION = 0.9  # below it no curve of grey values helps

TURNS = (  # bit 0: left-right, bit 1: up-down, both after bit 2: rows and columns swapped
    *("as it is", "left-right", "up-down", "half turn"),
    *("transposed", "quarter turn right", "quarter turn left", "transposed the other way"),
)
ENDING = re.compile(  # what programs add to the name of an augmented copy
    r"[_.-](?:[hv]?flip(?:lr|ud|h|v|x|y)?|fliplr|mirror(?:ed)?|ro-?\d+|rot(?:ate|ated|ation)?[_-]?-?\d+"
    r"|(?:aug|augmented|augmentation)[_-]?\d*|\d+to\d+|(?:zoom|scaled?|shift|shear)[_-]?-?[\d.]+"
    r"|blur(?:red)?|nois[ey]|elastic|gamma[_-]?[\d.]+|bright(?:er|ness)?[_-]?[\d.]*)$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Fingerprints:
    """What is remembered of D slices: 1 KB each.

    Attributes:
        hashes: (D, 8) uint64, of the slice in each position of TURNS.
        thumbs: (D, 32, 32) uint8, averaged over areas, contrast stretched to 0..255.
        flat: (D,), slices without contrast or with next to nothing on them; they are never
            called a duplicate of anything.
    """

    hashes: NDArray[np.uint64]
    thumbs: NDArray[np.uint8]
    flat: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.flat)


@dataclass(frozen=True)
class Pair:
    """Two slices that show the same.

    Attributes:
        first, second: their numbers, first < second.
        turn: index into TURNS of what makes the first look like the second; 0: as it is.
        difference: share of the contrast in which they differ, 0 (same) to 1.
    """

    first: int
    second: int
    turn: int
    difference: float


def fingerprints(images: NDArray[Any]) -> Fingerprints:
    """Remember slices.

    Args:
        images: (D, C, H, W) finite numbers of any type, 1x1 or larger; channels are averaged.
    """
    weights = [_area_weights(length) for length in images.shape[2:]]
    thumbs = np.zeros((len(images), SIDE, SIDE), np.uint8)
    for thumb, image in zip(thumbs, images, strict=True):
        grey = image.mean(axis=0, dtype=np.float32) if len(image) > 1 else image[0]  # (H, W)
        thumb[...] = _thumbnail(grey.astype(np.float32), weights)
    flat = thumbs.reshape(len(thumbs), SIDE * SIDE)
    middle = np.median(flat, axis=1, keepdims=True)
    shown = (np.abs(flat - middle) > 16).sum(axis=1)
    return Fingerprints(_hashes(thumbs), thumbs, shown < SHOWN)


def join(prints: Sequence[Fingerprints]) -> Fingerprints:
    """Fingerprints of several sets as one, in that order."""
    if not prints:
        return fingerprints(np.zeros((0, 1, 1, 1), np.uint8))
    return Fingerprints(
        np.concatenate([part.hashes for part in prints]),
        np.concatenate([part.thumbs for part in prints]),
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


def near_pairs(
    prints: Fingerprints,
    groups: NDArray[np.integer] | None = None,
    limit: float = NEAR,
    distance: int = DISTANCE,
) -> list[Pair]:
    """All pairs of slices that show the same, in one of eight positions; best position each.

    No pair is lost between hash and thumbnail: two hashes that differ in at most ``distance``
    bits agree in one of ``distance + 1`` bands, and every two that share a band are compared.
    Memory does not grow with the number of pairs that are compared.

    Args:
        prints: of N slices.
        groups: (N,) numbers; slices of one number, such as those of a volume, are not compared.
        limit: largest difference of a pair. NEAR tells a stored-again slice from its neighbour
            in the volume; ALIKE, which lets more changes of grey values pass, is made for slices
            of different subjects.
        distance: bits in which hashes may differ.
    """
    kept = np.flatnonzero(~prints.flat)
    numbers = None if groups is None else np.asarray(groups)[kept]
    best: dict[tuple[int, int], Pair] = {}
    for first, second, turn in _candidates(prints.hashes[kept], numbers, distance):
        one, other = kept[first], kept[second]
        differences = _differences(prints.thumbs, one, other, turn)
        for place in np.flatnonzero(differences <= limit):
            pair = Pair(
                int(one[place]), int(other[place]), int(turn[place]), float(differences[place])
            )
            key = (pair.first, pair.second)
            if key not in best or (pair.difference, pair.turn) < (
                best[key].difference,
                best[key].turn,
            ):
                best[key] = pair
    return [best[key] for key in sorted(best)]


def augmentation_names(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Groups of names that differ only by endings of offline augmentation.

    Rotated, zoomed and cut copies look too different to be found by their pixels.

    Args:
        names: of cases, without suffix.

    Returns:
        Groups of two names or more, sorted.

    >>> augmentation_names(["img_01_1024to512_ro-20_fliplr", "img_01", "img_02"])
    [('img_01', 'img_01_1024to512_ro-20_fliplr')]
    """
    of_stem: dict[str, set[str]] = defaultdict(set)
    for name in names:
        stem = name
        while (shorter := ENDING.sub("", stem)) not in (stem, ""):
            stem = shorter
        of_stem[stem].add(name)
    return sorted(tuple(sorted(group)) for group in of_stem.values() if len(group) > 1)


def groups_of(subject_of: Mapping[str, str], links: Iterable[tuple[str, str]]) -> dict[str, str]:
    """What must stay on one side of a split: subjects, joined by links between their cases.

    Args:
        subject_of: case: its subject.
        links: pairs of cases that show the same.

    Returns:
        case: its group, which has the name of its first subject in the alphabet; without links
        that is the subject.

    >>> groups_of({"a": "anna", "b": "bert", "c": "carl"}, [("c", "b")])
    {'a': 'anna', 'b': 'bert', 'c': 'bert'}
    """
    leader = {subject: subject for subject in subject_of.values()}

    def lead(subject: str) -> str:
        while leader[subject] != subject:
            leader[subject] = leader[leader[subject]]  # halves the way for the next call
            subject = leader[subject]
        return subject

    for one, other in links:
        first, second = sorted((lead(subject_of[one]), lead(subject_of[other])))
        leader[second] = first
    return {case: lead(subject) for case, subject in subject_of.items()}


def _area_weights(length: int) -> NDArray[np.float32]:
    """(32, length): share of each pixel in each of 32 areas; smaller images are magnified."""
    edges = np.arange(SIDE + 1) * length / SIDE
    pixels = np.arange(length)
    low, high = edges[:-1, None], edges[1:, None]
    shares = np.clip(np.minimum(high, pixels + 1) - np.maximum(low, pixels), 0, None)
    return np.asarray(shares * SIDE / length, np.float32)


def _thumbnail(grey: NDArray[np.float32], weights: list[NDArray[np.float32]]) -> NDArray[np.uint8]:
    """(32, 32) in 0..255; zeros where there is no contrast.

    What a few bright pixels do to the stretch is clipped before, as an 8-bit window would.
    """
    rows, columns = (max(1, length // SAMPLE) for length in grey.shape)
    low, high = np.percentile(grey[::rows, ::columns], CLIPPED)
    if high - low <= 1e-6 * max(abs(low), abs(high)):
        return np.zeros((SIDE, SIDE), np.uint8)
    small = weights[0] @ np.clip(grey, low, high) @ weights[1].T  # (32, 32)
    small -= small.min()
    stretch = 255 / max(float(small.max()), 1e-6 * (high - low))
    return np.asarray(np.rint(small * stretch), np.uint8)


def _hashes(thumbs: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """(D, 8): signs of the low cosine frequencies, without the mean, in every position.

    A flip changes the sign of the odd frequencies, a transposition swaps them, so one transform
    serves all positions.
    """
    places, waves = np.arange(SIDE) + 0.5, np.arange(LOW)
    cosine = np.cos(np.pi / SIDE * waves[:, None] * places)  # (8, 32)
    low = cosine @ thumbs.astype(np.float64) @ cosine.T  # (D, 8, 8)
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
