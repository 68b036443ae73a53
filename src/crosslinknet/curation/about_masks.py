"""Findings about the values of masks; named in MASKS."""

from collections import Counter
from pathlib import Path

from crosslinknet.curation.facts import MOST_VALUES
from crosslinknet.curation.findings import BACKGROUND, LOSSY, Facts, Kind, Seen, says
from crosslinknet.curation.noise import SOLID
from crosslinknet.curation.result import Place
from crosslinknet.datasets.found import listed
from crosslinknet.readers import suffix_of
from crosslinknet.report.markup import count

SMALL, EIGHT_BIT = 64, 256  # consecutive numbers below are labels; below, if they lie in areas
FILLED = 0.8  # share of the numbers up to the largest that consecutive ones have


def noise(facts: Facts) -> Seen | None:
    """Values that compression scattered; JPG masks, whose values will be."""
    if facts.config.data.threshold is not None:
        return None
    jpgs = [(c, mask) for c, mask in facts.masks if suffix_of(c.files.mask or Path()) in LOSSY]
    noisy = [(case, mask.noise) for case, mask in facts.masks if mask.noise is not None]
    concerned = {case.files.id: case for case, _ in [*jpgs, *noisy]}
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
    best: int | None = 127
    if thresholds:
        best = thresholds.most_common(1)[0][0]
    elif any(isinstance(value, str) for _, mask in jpgs for value in mask.values):
        best = None  # colours
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


MASKS: dict[str, Kind] = {
    "noise": Kind("error", noise),
    "unnamed": Kind("error", unnamed),
    "two-codings": Kind("warning", two_codings),
    "many-values": Kind("warning", many_values),
    "absent": Kind("warning", absent),
    "coding": Kind("hint", other_coding),
}
