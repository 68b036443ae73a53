"""Look at every case of a set, streaming: threads read, reduce and forget.

Pillow, zlib, the hashes and most of numpy let other threads work meanwhile. What bounds the memory:
cases are looked at together only while the pixels that their files claim, unpacked, stay below
MOST_BYTES; a case that claims more is looked at alone. Working copies come on top, about as much
again. Order: collect, what a case weighs, one group of cases, how it is read.
"""

import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosslinknet.case import CaseFiles
from crosslinknet.config import Config
from crosslinknet.curation.apart import distance, forms_apart
from crosslinknet.curation.facts import CaseFacts, image_facts, mask_facts
from crosslinknet.errors import DataError
from crosslinknet.geometry import Grid
from crosslinknet.readers import RawMask, claimed_bytes, read_case_image, read_raw_mask

MOST_THREADS = 8
MOST_BYTES = 2**30  # of the pixels that are looked at together


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
    waiting: deque[tuple[Future[list[CaseFacts]], int]] = deque()

    def take() -> None:
        facts.extend(waiting.popleft()[0].result())
        done(len(facts))

    threads = min(MOST_THREADS, _processors())
    with ThreadPoolExecutor(threads, "check") as pool:
        try:
            for group in _by_file(cases):
                weight = weight_of(group)
                _wait_for_room(waiting, weight)
                waiting.append((pool.submit(look_at, group, config, named), weight))
                if len(waiting) > 2 * threads:
                    take()
            while waiting:
                take()
        except BaseException:  # Ctrl-C too: what waits is dropped, what runs ends soon
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return facts


def _wait_for_room(waiting: Sequence[tuple[Future[Any], int]], weight: int) -> None:
    """Wait until a group may be looked at beside those that are not finished."""
    while True:
        busy = {future: bytes_ for future, bytes_ in waiting if not future.done()}
        if not busy or sum(busy.values()) + weight <= MOST_BYTES:
            return
        wait(busy, return_when=FIRST_COMPLETED)


def weight_of(cases: Sequence[CaseFiles]) -> int:
    """Bytes of all pixels that the files of a group claim; outlines and broken files count none."""
    paths = {path for files in cases for path in (*files.images, *files.masks)}
    return sum(map(_weight, paths))


def _weight(path: Path) -> int:
    try:
        return claimed_bytes(path)
    except (DataError, OSError):
        return 0  # looking at it tells why


def look_at(
    cases: Sequence[CaseFiles], config: Config, named: frozenset[int | str] | None
) -> list[CaseFacts]:
    """Facts of cases that lie in the same files, which are read once."""
    paths = dict.fromkeys(path for files in cases for path in (*files.images, *files.masks))
    forms = {path: how for path in paths if (how := forms_apart(path))}
    if len(cases) == 1:
        return [_facts_of(cases[0], _read(cases[0], config), named, forms)]
    whole = _read(replace(cases[0], slices=None), config)
    parts = (whole.part(files) or _read(files, config) for files in cases)
    pairs = zip(cases, parts, strict=True)
    return [_facts_of(files, part, named, forms) for files, part in pairs]


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


def _facts_of(
    files: CaseFiles,
    read: _Pixels,
    named: frozenset[int | str] | None,
    forms: Mapping[Path, str],
) -> CaseFacts:
    image = mask = None
    if read.image is not None and read.grid is not None:
        image = image_facts(read.image, files.spacing or read.grid.spacing)
    if read.mask is not None:
        mask = mask_facts(read.mask, named)
        if read.grid is not None:
            apart, how = distance(read.grid, read.mask.grid)
            mask = replace(mask, apart=apart, how=how)
    own = tuple((p, forms[p]) for p in (*files.images, *files.masks) if p in forms)
    return CaseFacts(files, image, mask, read.problems, own)


def _by_file(cases: Sequence[CaseFiles]) -> list[list[CaseFiles]]:
    """Cases that are slices of the same files together, all others alone."""

    def key(files: CaseFiles) -> tuple[str, ...]:
        if files.slices is None:
            return (files.id, "")
        return ("", *map(str, files.images), str(files.mask))

    return [list(group) for _, group in groupby(sorted(cases, key=key), key)]


def _processors() -> int:
    """Processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1
