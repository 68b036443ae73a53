"""Findings about the values of masks and about targets; named in MASKS."""

from collections import Counter
from pathlib import Path

from crosslinknet.curation.facts import MOST_VALUES, CaseFacts
from crosslinknet.curation.findings import BACKGROUND, LOSSY, Facts, Kind, Seen, says
from crosslinknet.curation.noise import SOLID
from crosslinknet.curation.result import Place
from crosslinknet.datasets.found import listed
from crosslinknet.readers import suffix_of
from crosslinknet.report.markup import count

SMALL, EIGHT_BIT = 64, 256  # consecutive numbers below are labels; below, if they lie in areas
FILLED = 0.8  # share of the numbers up to the largest that consecutive ones have
FRAMED = 0.75  # share of the border that is target: it may be the background


# Values of masks


def noise(facts: Facts) -> Seen | None:
    """Values that compression scattered; JPG masks, whose values will be."""
    if facts.config.data.threshold is not None:
        return None
    lossy = [c for c, _ in facts.masks if suffix_of(c.files.mask or Path()) in LOSSY]
    noisy = [(case, mask.noise) for case, mask in facts.masks if mask.noise is not None]
    concerned = {case.files.id: case for case in [*lossy, *(case for case, _ in noisy)]}
    if not concerned:
        return None
    about = {
        case.files.id: f"{one.values} values around {' and '.join(map(str, one.peaks))}"
        for case, one in noisy
    }
    places = [
        Place(file=facts.name(case.files.mask), detail=about.get(name, "JPG"))
        for name, case in concerned.items()
    ]
    thresholds = Counter(one.threshold for _, one in noisy)
    best = thresholds.most_common(1)[0][0] if thresholds else 127
    cure = "no threshold tells these values apart: save the masks anew from their source, as PNG"
    if best is not None:
        cure = f"-s data.threshold={best} (pixels above it are foreground), or "
        cure += facts.fix(f"--threshold {best}")
    text = f"{says(len(places), 'mask', 'hold')} values scattered by JPG compression or scaling."
    return Seen(text, places, cure)


def unnamed(facts: Facts) -> Seen | None:
    """Values that the stated label map does not name."""
    if facts.named is None:
        return None
    strangers: Counter[int | str] = Counter()
    places = []
    for case, mask in facts.masks:
        own = {v: n for v, n in mask.values.items() if v not in facts.named}
        if not own or mask.noise is not None:
            continue
        strangers.update(own)
        told = ", ".join(f"{value} ({pixels} px)" for value, pixels in list(own.items())[:4])
        places.append(Place(file=facts.name(case.files.mask), detail=told))
    if not places:
        return None
    values = listed(value for value, _ in strangers.most_common())
    first = strangers.most_common(1)[0][0]
    cure = "name them in data.label_map"
    if isinstance(first, int):
        cure += f", or write others: {facts.fix(f'--labels {first}=1')}"
    many = len(strangers)
    text = (
        f"{says(len(places), 'mask', 'hold')} {count(many, 'value')} that data.label_map does not "
        f"name: {values}."
    )
    return Seen(text, places, cure)


def absent(facts: Facts) -> Seen | None:
    """Classes of the stated label map that no mask holds."""
    if facts.named is None or not facts.masks:
        return None
    there = {value for _, mask in facts.masks for value in mask.values}
    lost = [k for k, values in facts.config.data.label_map.items() if not there & set(values)]
    if not lost:
        return None
    return Seen(f"No mask holds a pixel of {listed(lost)}.", cure="correct data.label_map")


def two_codings(facts: Facts) -> Seen | None:
    """Some masks say 1 where others say 255."""
    if facts.named is not None:
        return None
    ones = [case for case, mask in facts.masks if mask.noise is None and 1 in mask.values]
    whites = [case for case, mask in facts.masks if mask.noise is None and 255 in mask.values]
    both = {case.files.id for case in ones} & {case.files.id for case in whites}
    if not ones or not whites or both:
        return None
    few, other = (ones, 1) if len(ones) < len(whites) else (whites, 255)
    return Seen(
        f"{says(len(ones), 'mask', 'hold')} the value 1 and {len(whites)} the value 255, "
        f"none both: likely two ways to write one thing. These hold {other}.",
        facts.at_masks(few),
        f"{facts.fix('--labels 255=1')}, or both in one class: -s 'data.label_map={{foreground: "
        "[1, 255]}'",
    )


def many_values(facts: Facts) -> Seen | None:
    """More values than labels usually have."""
    if facts.named is not None:
        return None
    clean = [(case, mask) for case, mask in facts.masks if mask.noise is None]
    values = {value for _, mask in clean for value in mask.values} - BACKGROUND
    numbers = {value for value in values if isinstance(value, int)}
    if len(values) <= MOST_VALUES or numbers != values:  # names and colours are labels
        return None
    in_areas = all(mask.solidity >= SOLID for _, mask in clean)
    consecutive = len(numbers) >= FILLED * max(numbers)
    if consecutive and max(numbers) < (EIGHT_BIT if in_areas else SMALL):
        return None
    worst = sorted(clean, key=lambda pair: -len(pair[1].values))
    what = "Grey pictures or probabilities, perhaps."
    cure = (
        "where the target begins at a grey value: -s data.threshold=127; if they are labels, name "
    )
    if in_areas:
        what = "Numbers of single objects, perhaps."
        cure = (
            "where they number objects of one class: -s data.threshold=0; if they are labels, name "
        )
    return Seen(
        f"The masks hold {len(values)} different values: {listed(sorted(numbers))}. {what}",
        [
            Place(file=facts.name(case.files.mask), detail=f"{len(mask.values)} values")
            for case, mask in worst
            if len(mask.values) > 2
        ],
        f"{cure}them in data.label_map",
    )


def other_coding(facts: Facts) -> Seen | None:
    """One value that is not 1."""
    if facts.named is not None or any(mask.noise is not None for _, mask in facts.masks):
        return None
    values = {value for _, mask in facts.masks for value in mask.values} - BACKGROUND
    if len(values) != 1 or values == {1}:
        return None
    value = next(iter(values))
    if not isinstance(value, int):  # a name or a colour is never 1
        return None
    cure = f"xln init writes data.label_map: {{foreground: [{value}]}}"
    cure += f"; to have 1 in the files: {facts.fix(f'--labels {value}=1')}"
    return Seen(f"The masks write their target as {value}, not as 1.", cure=cure)


# Targets


def all_empty(facts: Facts) -> Seen | None:
    """No mask shows anything."""
    if not facts.masks or any(mask.fractions.any() for _, mask in facts.masks):
        return None
    return Seen(
        f"All {count(len(facts.masks), 'mask')} are empty: there is nothing to learn.",
        cure="check data.masks, data.label_map and data.threshold",
    )


def empty(facts: Facts) -> Seen | None:
    """Some masks show nothing."""
    without = [case for case, mask in facts.masks if not mask.fractions.any()]
    if not without or len(without) == len(facts.masks):
        return None
    return Seen(
        f"{says(len(without), 'mask', 'are', len(facts.masks))} empty. Right where nothing is "
        "to be found; else the outline is missing.",
        facts.at_masks(without),
    )


def full(facts: Facts) -> Seen | None:
    """Masks of one value that is not the background."""
    whole = [case for case, mask in facts.masks if mask.full]
    if not whole:
        return None
    text = (
        f"{says(len(whole), 'mask', 'hold')} one value everywhere: the target is the whole image."
    )
    return Seen(text, facts.at_masks(whole), "draw these masks anew, or leave the cases out")


def inverted(facts: Facts) -> Seen | None:
    """Masks whose target frames the image, as a background does, where others do not."""
    framed, masked = _framed(facts)
    if not framed or len(framed) > masked / 2:
        return None
    return Seen(
        f"In {len(framed)} of {count(masked, 'mask')} the target covers most of the image's "
        "border, as a background does. Inverted, perhaps.",
        facts.at_masks(framed),
        "draw these masks the other way round, or leave the cases out",
    )


def all_inverted(facts: Facts) -> Seen | None:
    """Most masks are such: tissue that fills the image, or all of them inverted."""
    framed, masked = _framed(facts)
    if len(framed) <= masked / 2:
        return None
    return Seen(
        f"In {len(framed)} of {count(masked, 'mask')} the target covers most of the image's "
        "border. Right where it fills the image; else the masks show the background.",
        facts.at_masks(framed),
    )


def _framed(facts: Facts) -> tuple[list[CaseFacts], int]:
    """Cases whose target covers most of the border, and the number of those with a target."""
    framed = [case for case, mask in facts.masks if mask.border > FRAMED and not mask.full]
    return framed, sum(bool(mask.fractions.any()) for _, mask in facts.masks)


def copied_across(facts: Facts) -> Seen | None:
    """One and the same mask under images of two subjects."""
    places = _copied(facts, across=True)
    if not places:
        return None
    return Seen(
        f"{says(len(places), 'mask', 'equal')} that of another subject's image to the last pixel, "
        "though the images differ: copied, perhaps.",
        places,
        "export the masks of these images again",
    )


def copied_within(facts: Facts) -> Seen | None:
    """One and the same mask under several images of a subject."""
    places = _copied(facts, across=False)
    if not places:
        return None
    return Seen(
        f"{says(len(places), 'mask', 'equal')} that of another image of the same subject to the "
        "last pixel. Right for one slice in several contrasts; else an outline was copied.",
        places,
    )


def _copied(facts: Facts, across: bool) -> list[Place]:
    """Masks that equal the first one of their kind, whose image is another."""
    first_of: dict[bytes, CaseFacts] = {}
    places = []
    for case, mask in facts.masks:
        if not mask.digest or mask.full or case.image is None:
            continue
        first = first_of.setdefault(mask.digest, case)
        assert first.image is not None  # only such are kept
        two = first.files.subject != case.files.subject
        if first.image.digest != case.image.digest and two == across:
            like = facts.name(first.files.mask)
            places.append(Place(file=facts.name(case.files.mask), detail=f"= {like}"))
    return places


MASKS: dict[str, Kind] = {
    "noise": Kind("error", noise),
    "unnamed": Kind("error", unnamed),
    "all-empty": Kind("error", all_empty),
    "full": Kind("warning", full),
    "two-codings": Kind("warning", two_codings),
    "many-values": Kind("warning", many_values),
    "absent": Kind("warning", absent),
    "copied-masks": Kind("warning", copied_across),
    "inverted": Kind("warning", inverted),
    "empty": Kind("hint", empty),
    "copied-masks-within": Kind("hint", copied_within),
    "inverted-all": Kind("hint", all_inverted),
    "coding": Kind("hint", other_coding),
}
