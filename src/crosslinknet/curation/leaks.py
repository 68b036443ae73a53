"""Findings about images that look alike, and about given splits; named in the dict LEAKS.

Order: the split as it is given, copies, near-duplicates, mirrored and turned ones, names; LEAKS.
"""

from collections.abc import Sequence

from crosslinknet.curation.alike import Twin
from crosslinknet.curation.findings import Facts, Kind, Seen, says
from crosslinknet.curation.result import Place
from crosslinknet.duplicates import augmentation_names
from crosslinknet.errors import DataError
from crosslinknet.report.markup import count
from crosslinknet.splits import Splits, make_splits

MOST_NAMED = 8  # cases that a cure names
NAMED = "named after"
SIGNS = {"copy": "=", "alike": "is like", "turned": "is, mirrored or turned, like"}


def split_refused(facts: Facts) -> Seen | None:
    """A given split that training would refuse."""
    try:
        _given_split(facts)
    except DataError as error:
        return Seen(f"The split is refused: {error}", cure="give another split.file, or none")
    return None


def split_leaks(facts: Facts) -> Seen | None:
    """Images in one part of a given split that show what those of another part show."""
    try:
        splits = _given_split(facts)
    except DataError:
        return None
    if splits is None:
        return None
    pairs = [(twin.first, twin.second, SIGNS[twin.how]) for twin in facts.twins]
    pairs += [(first, copy, NAMED) for first, *copies in _named_groups(facts) for copy in copies]
    leaking: dict[tuple[int, int, str], int] = {}  # pair: the first fold it leaks in
    for number, fold in enumerate(splits.folds):
        parts = [set(fold.train), set(fold.validation), set(fold.test)]
        for pair in pairs:
            ids = [facts.cases[place].files.id for place in pair[:2]]
            sides = [{i for i, part in enumerate(parts) if name in part} for name in ids]
            if sides[0] and sides[1] and sides[0] != sides[1]:
                leaking.setdefault(pair, number)
    if not leaking:
        return None
    places = [_place(facts, *pair, f" (fold {number})") for pair, number in leaking.items()]
    text = f"{_pairs(len(places), 'stand')} in two parts of a fold, though they show the same."
    return Seen(text, places, "give each such pair one subject, and split anew")


def _given_split(facts: Facts) -> Splits | None:
    """The folds that a file or a column states; None where training would draw them."""
    found, config = facts.found, facts.config.split
    by_column = any(case.fold is not None for case in found.cases)
    if not found.cases or not (config.file or found.splits or by_column):
        return None
    return make_splits(found, config)


def copies_differ(facts: Facts) -> Seen | None:
    """Equal images with different masks: one of them is wrong."""
    pairs = [twin for twin in facts.twins if twin.how == "copy" and _masks_differ(facts, twin)]
    if not pairs:
        return None
    return Seen(
        f"{says(len(pairs), 'image', 'equal')} another one to the last pixel and "
        f"{'has' if len(pairs) == 1 else 'have'} a different mask: training is told both.",
        [_place(facts, twin.first, twin.second, SIGNS["copy"], "") for twin in pairs],
        f"look which mask is right, and leave the other case out: "
        f"{_exclude(facts, [twin.second for twin in pairs])}",
    )


def copies_across(facts: Facts) -> Seen | None:
    """Equal images of two subjects."""
    places = _places(facts, "copy", across=True)
    if not places:
        return None
    return Seen(
        f"{says(len(places), 'image', 'equal')} another one to the last pixel, under another "
        "subject: they count twice, and the subjects are not what they seem.",
        places,
        f"keep one of each: {facts.fix('--drop-duplicates')}",
    )


def copies_within(facts: Facts) -> Seen | None:
    """Equal images of one subject."""
    places = _places(facts, "copy", across=False)
    if not places:
        return None
    return Seen(
        f"{says(len(places), 'image', 'equal')} another one of the same subject to the last pixel.",
        places,
        f"keep one of each: {facts.fix('--drop-duplicates')}",
    )


def alike_across(facts: Facts) -> Seen | None:
    """Nearly equal images of two subjects."""
    places = _places(facts, "alike", across=True)
    if not places:
        return None
    return Seen(
        f"{_pairs(len(places), 'look')} nearly the same, under two subjects: "
        "perhaps one person, whose slices must not be both trained on and tested.",
        places,
        "let data.subject, or the subject column of a manifest, hold them together",
    )


def turned_across(facts: Facts) -> Seen | None:
    """Images that are others, mirrored or turned, under another subject."""
    places = _places(facts, "turned", across=True)
    if not places:
        return None
    return Seen(
        f"{_pairs(len(places), 'look')} the same mirrored or turned, under two "
        "subjects: likely augmented offline. Training augments by itself, and copies in the test "
        "part make scores too good.",
        places,
        f"{_turned(facts, True)}, or let data.subject hold them with their original",
    )


def named_alike(facts: Facts) -> Seen | None:
    """Names that offline augmentation leaves, under several subjects."""
    groups = [
        group
        for group in _named_groups(facts)
        if len({facts.cases[place].files.subject for place in group}) > 1
    ]
    if not groups:
        return None
    places = [
        Place(
            file=facts.name(facts.cases[place].files.images[0]),
            detail=f"{NAMED} {facts.cases[group[0]].files.id}",
        )
        for group in groups
        for place in group[1:]
    ]
    return Seen(
        f"{says(len(places), 'image', 'are')} named like augmented copies of others, under other "
        "subjects. Training augments by itself, and copies in the test part make scores too good.",
        places,
        f"leave them out: {_exclude(facts, [at for group in groups for at in group[1:]])}, or let "
        "data.subject hold them with their original",
    )


def _named_groups(facts: Facts) -> list[list[int]]:
    """Places of cases whose names differ by endings of augmentation only."""
    places = {case.files.id: place for place, case in enumerate(facts.cases)}
    return [[places[name] for name in group] for group in augmentation_names(places)]


def alike_within(facts: Facts) -> Seen | None:
    """Nearly equal images of one subject, as neighbouring slices are."""
    places = _places(facts, "alike", across=False)
    if not places:
        return None
    return Seen(
        f"{_pairs(len(places), 'look')} nearly the same within one subject, as "
        "neighbouring slices do. Folds keep them together.",
        places,
    )


def turned_within(facts: Facts) -> Seen | None:
    """Images of one subject that are others, mirrored or turned."""
    places = _places(facts, "turned", across=False)
    if not places:
        return None
    return Seen(
        f"{_pairs(len(places), 'look')} the same mirrored or turned within one subject: "
        "likely augmented offline. Training augments by itself.",
        places,
        _turned(facts, False),
    )


def _places(facts: Facts, how: str, across: bool) -> list[Place]:
    """Pairs of one kind, of two subjects or of one; copies with equal masks alone."""
    return [
        _place(facts, twin.first, twin.second, SIGNS[how], _share(facts, twin))
        for twin in facts.twins
        if twin.how == how
        and across == _are_two(facts, twin)
        and not (how == "copy" and _masks_differ(facts, twin))
    ]


def _exclude(facts: Facts, places: Sequence[int]) -> str:
    """The setting that leaves cases out, of many the first ones."""
    names = sorted({facts.cases[place].files.id for place in places})
    more = ", ..." if len(names) > MOST_NAMED else ""
    return f"-s 'data.exclude=[{', '.join(names[:MOST_NAMED])}{more}]'"


def _turned(facts: Facts, across: bool) -> str:
    """What to do about mirrored and turned images."""
    places = [t.second for t in facts.twins if t.how == "turned" and across == _are_two(facts, t)]
    return f"leave the augmented ones out: {_exclude(facts, places)}"


def _pairs(amount: int, verb: str) -> str:
    """Pairs of images, and what they do.

    >>> _pairs(1, "look"), _pairs(2, "look")
    ('1 pair of images looks', '2 pairs of images look')
    """
    return f"{count(amount, 'pair')} of images {verb}{'s' * (amount == 1)}"


def _masks_differ(facts: Facts, twin: Twin) -> bool:
    one, other = (facts.cases[at].mask for at in (twin.first, twin.second))
    return one is not None and other is not None and one.digest != other.digest


def _are_two(facts: Facts, twin: Twin) -> bool:
    one, other = (facts.cases[at].files.subject for at in (twin.first, twin.second))
    return one != other


def _share(facts: Facts, twin: Twin) -> str:
    """How much of a volume; nothing for single slices and for whole copies."""
    image = facts.cases[twin.second].image
    if image is None or image.shape[0] == 1 or not twin.slices:
        return ""
    return f", in {twin.slices} of {image.shape[0]} slices"


def _place(facts: Facts, first: int, second: int, sign: str, more: str) -> Place:
    """The second image, and what it is to the first."""
    one, other = (facts.name(facts.cases[at].files.images[0]) for at in (first, second))
    return Place(file=other, detail=f"{sign} {one}{more}")


LEAKS: dict[str, Kind] = {
    "split": Kind("error", split_refused),
    "split-leak": Kind("error", split_leaks),
    "copies-differ": Kind("error", copies_differ),
    "copies": Kind("warning", copies_across),
    "alike": Kind("warning", alike_across),
    "turned": Kind("warning", turned_across),
    "augmented-names": Kind("warning", named_alike),
    "copies-within": Kind("warning", copies_within),
    "alike-within": Kind("hint", alike_within),
    "turned-within": Kind("hint", turned_within),
}
