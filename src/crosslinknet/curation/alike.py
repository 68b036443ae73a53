"""Images that look alike: copies, near-duplicates, mirrored and turned ones.

Between subjects the rule is that of the splits (``lookalikes.py``): one slice is enough.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crosslinknet.curation.facts import CaseFacts
from crosslinknet.duplicates import ALIKE, NEAR, join, near_pairs

SHARED = 0.5  # of the slices of the smaller case, for two volumes of one subject to be alike


@dataclass(frozen=True)
class Twin:
    """Two cases that show the same.

    Attributes:
        first, second: places in the list of cases.
        how: ``copy`` (equal pixels), ``alike``, or ``turned`` (mirrored or turned).
        slices: how many pairs of slices show the same; 0 for whole copies.
    """

    first: int
    second: int
    how: str
    slices: int = 0


def twins(cases: Sequence[CaseFacts]) -> list[Twin]:
    """Find the pairs of cases that show the same; slices of one case are never compared.

    Of many equal images each is paired with the first, and only that one with what is merely
    alike. Images of one grey value take no part. Volumes of two subjects are alike where one slice
    of each is, since it leaks; those of one subject where half of the smaller one's slices are.
    Slices of one subject, which neighbours may be, must be closer.
    """
    groups: dict[bytes, list[int]] = defaultdict(list)
    owners: list[int] = []
    prints = []
    for place, case in enumerate(cases):
        if case.image is None:
            continue
        prints.append(case.image.prints)
        owners += [place] * case.image.shape[0]
        if case.image.low < case.image.high:
            groups[case.image.digest].append(place)
    found = [Twin(first, other, "copy") for first, *rest in groups.values() for other in rest]
    if not prints:
        return found
    first_of = {place: group[0] for group in groups.values() for place in group}
    shared: dict[tuple[int, int], Counter[bool]] = defaultdict(Counter)
    for pair in near_pairs(join(prints), np.array(owners), ALIKE):
        one, other = (first_of.get(owners[at], owners[at]) for at in (pair.first, pair.second))
        related = cases[one].files.subject == cases[other].files.subject
        if one != other and (not related or pair.difference <= NEAR):
            shared[min(one, other), max(one, other)][pair.turn > 0] += 1
    for (one, other), slices in sorted(shared.items()):
        depths = [cases[place].image.shape[0] for place in (one, other)]  # type: ignore[union-attr]
        related = cases[one].files.subject == cases[other].files.subject
        turned = slices[True] > slices[False]
        if slices[turned] >= (SHARED * min(depths) if related else 1):
            found.append(Twin(one, other, "turned" if turned else "alike", slices[turned]))
    return found
