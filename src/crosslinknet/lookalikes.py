"""Cases of different subjects that show the same slice, so that no split divides them.

Within a subject nothing can leak, so only pairs between subjects count. Two volumes are linked by
one pair of slices. What was found is kept in the cache, named by the bytes of all images.
Order: Lookalikes, find_lookalikes, compare_cases, its parts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crosslinknet.cache import case_fingerprints, fingerprints_key
from crosslinknet.case import CaseFiles
from crosslinknet.duplicates import ALIKE, Fingerprints, augmentation_names, join, near_pairs
from crosslinknet.files import read_json, sha256_of_json, write_json
from crosslinknet.geometry import SliceAxis

FORMAT = 3  # raise it when other pairs would be found

Links = tuple[tuple[str, str], ...]  # pairs of case ids


@dataclass(frozen=True)
class Lookalikes:
    """Links between cases of different subjects.

    Attributes:
        alike: pairs with near-duplicate slices, the most alike first.
        named: pairs whose names differ by endings of offline augmentation only.
    """

    alike: Links
    named: Links

    @property
    def links(self) -> Links:
        """All pairs."""
        return self.alike + self.named

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know, one sentence each."""
        found = []
        if self.alike:
            found.append(
                f"{_pairs(self.alike, 'look')} alike ({_shown(self.alike)}); their subjects are "
                "kept together"
            )
        if self.named:
            found.append(
                f"{_pairs(self.named, 'have')} names that differ by an ending of augmentation only "
                f"({_shown(self.named)}); their subjects are kept together"
            )
        return tuple(found)


def find_lookalikes(cases: Sequence[CaseFiles], slice_axis: SliceAxis, folder: Path) -> Lookalikes:
    """Find the cases of different subjects that must stay on one side.

    Every image is read once; the next call with the same files reads none.

    Args:
        cases: of a data set.
        slice_axis: how volumes are cut into slices.
        folder: of the cache.

    Raises:
        DataError: an image cannot be read.
        SystemProblem: the disk refuses.
    """
    keys = [[case.id, case.subject, fingerprints_key(case, slice_axis, folder)] for case in cases]
    memory = folder / "lookalikes" / f"{sha256_of_json([FORMAT, keys])[:40]}.json"
    if not memory.is_file():
        found = compare_cases(cases, (case_fingerprints(c, slice_axis, folder) for c in cases))
        write_json(memory, {"alike": found.alike, "named": found.named})
    known = read_json(memory)
    return Lookalikes(*(tuple((a, b) for a, b in known[kind]) for kind in ("alike", "named")))


def compare_cases(cases: Sequence[CaseFiles], prints: Iterable[Fingerprints]) -> Lookalikes:
    """Find the cases of different subjects that must stay on one side, by their fingerprints.

    Args:
        cases: of a data set.
        prints: of the slices of each case, in the same order.
    """
    return Lookalikes(_alike(cases, list(prints)), _named(cases))


def _alike(cases: Sequence[CaseFiles], prints: Sequence[Fingerprints]) -> Links:
    """Pairs of cases with near-duplicate slices, the most alike first."""
    case_of = np.repeat(np.arange(len(cases)), [len(one) for one in prints])  # (slices,)
    subjects = np.unique([case.subject for case in cases], return_inverse=True)[1]
    nearest: dict[tuple[str, str], float] = {}
    for pair in near_pairs(join(prints), subjects[case_of], ALIKE):
        ids = (cases[case_of[pair.first]].id, cases[case_of[pair.second]].id)
        nearest[ids] = min(pair.difference, nearest.get(ids, 1.0))
    return tuple(sorted(nearest, key=lambda ids: (nearest[ids], ids)))


def _named(cases: Sequence[CaseFiles]) -> Links:
    """Pairs of cases by their names: each copy with the first name of its group."""
    subject_of = {case.id: case.subject for case in cases}
    return tuple(
        (group[0], name)
        for group in augmentation_names(subject_of)
        for name in group[1:]
        if subject_of[name] != subject_of[group[0]]
    )


def _pairs(links: Links, verb: str) -> str:
    one = {"look": "looks", "have": "has"}
    return (
        f"1 pair of cases {one[verb]}" if len(links) == 1 else f"{len(links)} pairs of cases {verb}"
    )


def _shown(links: Links) -> str:
    more = f" and {len(links) - 3} more" if len(links) > 3 else ""
    return "; ".join(f"{a} and {b}" for a, b in links[:3]) + more
