"""What is collected of each case, streaming: numbers, hashes and thumbnails, never pixels.

Threads read and reduce; Pillow, zlib, the hashes and most of numpy let others work meanwhile. One
case per thread is in memory at a time, and about 2 KB of each slice stay.
Order: the records, collect, one case, its image, its mask, noise.
"""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosslinknet.case import CaseFiles
from crosslinknet.config import Config
from crosslinknet.duplicates import Fingerprints, fingerprints
from crosslinknet.errors import DataError
from crosslinknet.geometry import Grid, is_apart, shift_of
from crosslinknet.readers import RawMask, read_case_image, read_raw_mask

MOST_THREADS = 8
NEAR = 16  # grey values: noise around a peak lies closer
FAR = 32  # peaks lie further apart


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
class Noise:
    """Mask values that scatter around a few peaks, as compression leaves them.

    Attributes:
        values: number of distinct values.
        peaks: the values they scatter around, sorted.
    """

    values: int
    peaks: tuple[int, ...]

    @property
    def threshold(self) -> int | None:
        """What tells two peaks apart: pixels above it are foreground; None for more peaks."""
        return sum(self.peaks) // 2 if len(self.peaks) == 2 else None


@dataclass(frozen=True, slots=True)
class MaskFacts:
    """What matters of the mask of a case.

    Attributes:
        values: pixels of each value, background included.
        fractions: (D,) target area over slice area.
        border: share of the slices' border that is target, mean of the slices that have one.
        noise: see there; None in a clean mask.
        apart: ``shape``, ``place`` or ``format`` where it does not lie on the image's grid.
        how: in numbers.
    """

    values: dict[int | str, int]
    fractions: NDArray[np.float32]
    border: float
    noise: Noise | None
    apart: str = ""
    how: str = ""

    @property
    def full(self) -> bool:
        """One value everywhere, and not the background."""
        return len(self.values) == 1 and bool((self.fractions == 1).all())


@dataclass(frozen=True, slots=True)
class CaseFacts:
    """A case, its image and mask as far as they can be read, and why not."""

    files: CaseFiles
    image: ImageFacts | None
    mask: MaskFacts | None
    problems: tuple[str, ...]


def collect(
    cases: Sequence[CaseFiles],
    config: Config,
    named: frozenset[int | str] | None,
    done: Callable[[int], None] = lambda cases: None,
) -> list[CaseFacts]:
    """Look at every case; what cannot be read is told in its facts and stops nothing.

    Args:
        cases: images with masks.
        config: slice axis, threshold and overlap are taken from it.
        named: values that are target; None: all but the background.
        done: called with the number of cases that were finished.

    Raises:
        SystemProblem: a package is missing that reads such files.
    """
    facts: list[CaseFacts] = []

    def take(future: Future[list[CaseFacts]]) -> None:
        facts.extend(future.result())
        done(len(facts))

    threads = min(MOST_THREADS, _processors())
    waiting: deque[Future[list[CaseFacts]]] = deque()
    with ThreadPoolExecutor(threads, "check") as pool:
        try:
            for group in _by_file(cases):
                waiting.append(pool.submit(look_at, group, config, named))
                if len(waiting) > 2 * threads:
                    take(waiting.popleft())
            while waiting:
                take(waiting.popleft())
        except BaseException:  # Ctrl-C too: what waits is dropped, what runs ends soon
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return facts


def look_at(
    cases: Sequence[CaseFiles], config: Config, named: frozenset[int | str] | None
) -> list[CaseFacts]:
    """Facts of cases that lie in the same files, which are read once."""
    if len(cases) == 1:
        return [_facts_of(cases[0], _read(cases[0], config), named)]
    whole = _read(replace(cases[0], slices=None), config)
    parts = (whole.part(files) or _read(files, config) for files in cases)
    return [_facts_of(files, part, named) for files, part in zip(cases, parts, strict=True)]


@dataclass(frozen=True)
class _Pixels:
    """What could be read of a case."""

    image: NDArray[Any] | None  # (D, C, H, W)
    grid: Grid | None
    mask: RawMask | None
    problems: tuple[str, ...]

    def part(self, files: CaseFiles) -> "_Pixels | None":
        """The slices of one case; None where they are not there, or nothing could be read."""
        image, grid, mask, chosen = self.image, self.grid, self.mask, files.slices
        if image is None or grid is None or mask is None or chosen is None:
            return None
        if max(chosen) >= min(len(image), len(mask.values)):
            return None
        shape = (len(chosen), *grid.shape[1:])
        values = np.take(mask.values, chosen, axis=0)
        lower = Grid((len(chosen), *mask.grid.shape[1:]), mask.grid.spacing)
        return _Pixels(
            np.take(image, chosen, axis=0),
            Grid(shape, grid.spacing),
            replace(mask, values=values, grid=lower),
            (),
        )


def _read(files: CaseFiles, config: Config) -> _Pixels:
    image, grid, mask, problems = None, None, None, []
    axis, data = config.image.slice_axis, config.data
    colours = {isinstance(v, str) and v[0] == "#" for vs in data.label_map.values() for v in vs}
    try:
        image, grid = read_case_image(files, axis)
    except (DataError, OSError) as error:
        problems.append(str(error))
    try:
        mask = read_raw_mask(
            files,
            axis,
            colour=True if colours == {True} else None,
            threshold=data.threshold,
            overlap=data.overlap,
        )
    except (DataError, OSError) as error:
        if str(error) not in problems:  # outlines are drawn on the image, and fail with it
            problems.append(str(error))
    return _Pixels(image, grid, mask, tuple(problems))


def _facts_of(files: CaseFiles, read: _Pixels, named: frozenset[int | str] | None) -> CaseFacts:
    image = mask = None
    if read.image is not None and read.grid is not None:
        image = _image_facts(read.image, files.spacing or read.grid.spacing)
    if read.mask is not None:
        mask = _mask_facts(read.mask, named)
        if read.grid is not None:
            apart, how = _distance(read.grid, read.mask.grid)
            mask = replace(mask, apart=apart, how=how)
    return CaseFacts(files, image, mask, read.problems)


def _image_facts(
    image: NDArray[Any], spacing: tuple[float, float, float] | None
) -> ImageFacts:  # image: (D, C, H, W)
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


def _mask_facts(mask: RawMask, named: frozenset[int | str] | None) -> MaskFacts:
    counts: dict[int, int] = {}
    fractions = np.zeros(len(mask.values), np.float32)
    borders = []
    for number, values in enumerate(mask.values):  # (H, W)
        there = values != 0
        for value, pixels in _count(values[there]):
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
    return MaskFacts(
        values={mask.name(value): every[value] for value in sorted(every)},
        fractions=fractions,
        border=float(np.mean(borders)) if borders else 0.0,
        noise=None if mask.colour or mask.names else find_noise(every),
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


def _distance(image: Grid, mask: Grid) -> tuple[str, str]:
    """How a mask lies away from its image: what differs, and the numbers."""
    if image.shape != mask.shape:
        return "shape", f"{_by(mask.shape)} on an image of {_by(image.shape)}"
    if (image.affine is None) != (mask.affine is None):
        return "format", "one is a picture, the other a volume"
    if not is_apart(image, mask):
        return "", ""
    how = f"{shift_of(image, mask):.2f} mm away"
    if image.spacing and mask.spacing and not np.allclose(image.spacing, mask.spacing, rtol=1e-3):
        how += f", spacing {_by(mask.spacing)} on {_by(image.spacing)} mm"
    return "place", how


def find_noise(counts: dict[int, int]) -> Noise | None:
    """Find values that scatter around two to five peaks, as JPG or smooth scaling leaves them.

    Noise lies on both sides of an edge: every peak has at least two more values within NEAR, and
    they are few pixels. Labels that count 1, 2, 3 beside a 255 have none around the 255; labels
    in steps of 50 have none at all.

    Args:
        counts: pixels of each grey value.

    >>> find_noise({0: 900, 1: 20, 2: 9, 128: 3, 253: 4, 254: 8, 255: 300}).threshold
    127
    >>> find_noise({0: 900, 1: 50, 2: 40, 3: 30, 255: 20}) is None
    True
    """
    if len(counts) < 6:
        return None
    values = np.array(sorted(counts))
    pixels = np.array([counts[value] for value in values.tolist()])
    peaks: list[int] = []
    left, beyond = np.ones(len(values), dtype=bool), 0
    while left.any() and len(peaks) < 6:
        peak = int(values[np.argmax(np.where(left, pixels, 0))])
        around = left & (np.abs(values - peak) <= NEAR)
        mass = int(pixels[around].sum())
        if peaks and (mass < 0.1 * beyond or counts[peak] < 0.2 * mass):
            break  # a ramp between two peaks, as smooth scaling leaves it
        left &= ~around
        if not peaks:
            beyond = int(pixels[left].sum())
        peaks.append(peak)
    peaks.sort()
    beside = [np.count_nonzero(np.abs(values - peak) <= NEAR) - 1 for peak in peaks]
    off = pixels[~np.isin(values, peaks)].sum() / pixels.sum()
    spread = 2 <= len(peaks) <= 5 and min(beside) >= 2 and min(np.diff(peaks)) >= FAR
    return Noise(len(values), tuple(peaks)) if spread and off <= 0.2 else None


def _by_file(cases: Sequence[CaseFiles]) -> list[list[CaseFiles]]:
    """Cases that are slices of the same files together, all others alone."""

    def key(files: CaseFiles) -> tuple[str, ...]:
        if files.slices is None:
            return (files.id, "")
        return ("", *map(str, files.images), str(files.mask))

    return [list(group) for _, group in groupby(sorted(cases, key=key), key)]


def _by(numbers: Sequence[float]) -> str:
    return "x".join(f"{number:g}" for number in numbers)


def _processors() -> int:
    """Processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1
