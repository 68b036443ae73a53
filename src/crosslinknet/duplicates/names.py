"""What belongs together by its name, and what follows from pairs of cases that do.

Order: augmentation_names, groups_of.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

ENDING = re.compile(  # what programs add to the name of an augmented copy
    r"[_.-](?:[hv]?flip(?:lr|ud|h|v|x|y)?|fliplr|mirror(?:ed)?|ro-?\d+|rot(?:ate|ated|ation)?[_-]?-?\d+"
    r"|(?:aug|augmented|augmentation)[_-]?\d*|\d+to\d+|(?:zoom|scaled?|shift|shear)[_-]?-?[\d.]+"
    r"|blur(?:red)?|nois[ey]|elastic|gamma[_-]?[\d.]+|bright(?:er|ness)?[_-]?[\d.]*)$",
    re.IGNORECASE,
)


def augmentation_names(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Groups of names that differ only by endings of offline augmentation.

    Copies that are changed too much to be found by their pixels are found so.

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
