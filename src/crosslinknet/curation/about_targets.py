"""Findings about targets: empty, full, inverted and copied masks; named in TARGETS."""

from crosslinknet.curation.facts import CaseFacts
from crosslinknet.curation.findings import Facts, Kind, Seen, says
from crosslinknet.curation.result import Place
from crosslinknet.datasets.found import listed
from crosslinknet.report.markup import count

FRAMED = 0.75  # share of the border that is target: it may be the background


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
            detail = f"= {facts.name(first.files.mask)}{_slice(first)}"
            if case.files.slices is not None:
                detail = f"{_slice(case).removeprefix(', ')} {detail}"
            places.append(Place(file=facts.name(case.files.mask), detail=detail))
    return places


def _slice(case: CaseFacts) -> str:
    """Which slices of a stack a case is, for people; empty where it is all of a file."""
    return "" if case.files.slices is None else f", slice {listed(case.files.slices)}"


TARGETS: dict[str, Kind] = {
    "all-empty": Kind("error", all_empty),
    "full": Kind("warning", full),
    "copied-masks": Kind("warning", copied_across),
    "inverted": Kind("warning", inverted),
    "empty": Kind("hint", empty),
    "copied-masks-within": Kind("hint", copied_within),
    "inverted-all": Kind("hint", all_inverted),
}
