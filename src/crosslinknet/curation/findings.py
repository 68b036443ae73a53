"""The kinds of finding: each a plain function over what was collected, named in the dict KINDS.

A function gives ``Seen`` (a sentence, the files, the cure) or None; its severity stands in KINDS.
Order: Facts, pairs and files, geometry, values of masks, targets, images, subjects; then KINDS.
What looks alike, and who stands on both sides of a split: leaks.py.
"""

import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crosslinknet.config import Config
from crosslinknet.curation.alike import Twin
from crosslinknet.curation.facts import CaseFacts, ImageFacts, MaskFacts
from crosslinknet.curation.result import Finding, Place, Severity
from crosslinknet.datasets import Found
from crosslinknet.datasets.found import BEFORE_LAST, beginnings, listed
from crosslinknet.readers import suffix_of
from crosslinknet.report.markup import count

MOST_VALUES = 12  # masks with more values are asked about
BACKGROUND: frozenset[int | str] = frozenset((0, "#000000"))
LOSSY = (".jpg", ".jpeg")
PICTURES = (*LOSSY, ".png", ".bmp", ".tif", ".tiff")  # do not say how they lie
FRAMED = 0.75  # share of the border that is target: it may be the background
UNEVEN = 1.5  # spacings that differ by more


@dataclass(frozen=True)
class Facts:
    """All that is known of a set.

    Attributes:
        given: DATA as it was typed.
        found: cases and orphans.
        config: settings, or defaults.
        named: mask values that the label map names, background included; None: nobody stated it.
        cases: facts of each case.
        twins: pairs of cases that show the same.
    """

    given: str
    found: Found
    config: Config
    named: frozenset[int | str] | None
    cases: Sequence[CaseFacts]
    twins: Sequence[Twin]

    @property
    def masks(self) -> list[tuple[CaseFacts, MaskFacts]]:
        """Cases whose mask could be read."""
        return [(case, case.mask) for case in self.cases if case.mask is not None]

    @property
    def images(self) -> list[tuple[CaseFacts, ImageFacts]]:
        """Cases whose images could be read."""
        return [(case, case.image) for case in self.cases if case.image is not None]

    def name(self, path: Path | None) -> str:
        """A file below the root of the set, or its whole path."""
        root = self.config.data.root
        if path is None:
            return ""
        return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)

    def at_masks(self, cases: Iterable[CaseFacts]) -> list[Place]:
        """The masks of cases."""
        return [Place(file=self.name(case.files.mask)) for case in cases]

    def at_images(self, cases: Iterable[CaseFacts]) -> list[Place]:
        """The first images of cases."""
        return [Place(file=self.name(case.files.images[0])) for case in cases]

    def fix(self, options: str) -> str:
        """The command that writes a mended copy."""
        return f"xln data fix {shlex.quote(self.given)} -o CLEAN {options}"


@dataclass(frozen=True)
class Seen:
    """A finding without its name and severity."""

    text: str
    places: Sequence[Place] = ()
    cure: str = ""


# Pairs and files


def no_mask(facts: Facts) -> Seen | None:
    """Images without a mask, unless they are to be left out."""
    orphans = facts.found.unmasked
    if not orphans.files or (facts.config.data.unlabelled == "skip" and facts.found.cases):
        return None
    return Seen(
        f"{len(orphans.files)} of {count(orphans.total, 'image')} have no mask.",
        [Place(file=facts.name(path)) for path in orphans.files],
        "add the masks under the same names, or leave the images out: -s data.unlabelled=skip",
    )


def no_image(facts: Facts) -> Seen | None:
    """Masks without an image."""
    orphans = facts.found.unused
    if not orphans.files:
        return None
    return Seen(
        f"{len(orphans.files)} of {count(orphans.total, 'mask')} have no image.",
        [Place(file=facts.name(path)) for path in orphans.files],
        "add the images under the same names, or move these masks away",
    )


def unreadable(facts: Facts) -> Seen | None:
    """Files that no reader takes."""
    broken = [case for case in facts.cases if case.problems]
    if not broken:
        return None
    return Seen(
        f"{count(len(broken), 'case')} cannot be read.",
        [
            Place(file=facts.name(case.files.images[0]), detail=" ".join(case.problems))
            for case in broken
        ],
        "copy these files again, or leave them out",
    )


# Geometry


def other_size(facts: Facts) -> Seen | None:
    """Masks of another size than their image."""
    places = _apart(facts, "shape")
    if not places:
        return None
    volumes = any(m.apart == "shape" and _is_volume(case) for case, m in facts.masks)
    cure = "pair each image with its own mask"
    if volumes:
        cure = f"{facts.fix('--resample-labels')}, where the headers say how they lie"
    return Seen(f"{count(len(places), 'mask')} differ in size from their image.", places, cure)


def other_place(facts: Facts) -> Seen | None:
    """Masks of the image's size that lie elsewhere."""
    places = _apart(facts, "place")
    if not places:
        return None
    return Seen(
        f"{count(len(places), 'mask')} lie elsewhere than their image, by the headers.",
        places,
        f"where the voxels belong together and the mask's header is wrong: "
        f"{facts.fix('--copy-header')}; where the headers are right: "
        f"{facts.fix('--resample-labels')}",
    )


def other_format(facts: Facts) -> Seen | None:
    """A picture and a volume as a pair."""
    places = _apart(facts, "format")
    if not places:
        return None
    text = f"{count(len(places), 'pair')} mix a picture and a volume: how they lie is not known."
    return Seen(text, places, "save both in one format")


def _apart(facts: Facts, kind: str) -> list[Place]:
    return [
        Place(file=facts.name(case.files.mask), detail=mask.how)
        for case, mask in facts.masks
        if mask.apart == kind
    ]


def _is_volume(case: CaseFacts) -> bool:
    return suffix_of(case.files.images[0]) not in PICTURES


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
    cure = "several classes are mixed up by the compression: save the masks anew, as PNG"
    if best is not None:
        cure = f"-s data.threshold={best} (pixels above it are foreground), or "
        cure += facts.fix(f"--threshold {best}")
    text = f"{count(len(places), 'mask')} hold values scattered by JPG compression or scaling."
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
        f"{count(len(places), 'mask')} hold {count(many, 'value')} that data.label_map does not "
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
        f"{count(len(ones), 'mask')} hold the value 1 and {len(whites)} the value 255, none both: "
        f"likely two ways to write one thing. These hold {other}.",
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
    if len(values) <= MOST_VALUES:
        return None
    worst = sorted(clean, key=lambda pair: -len(pair[1].values))
    return Seen(
        f"The masks hold {len(values)} different values: {listed(sorted(values, key=str))}. Grey "
        "pictures or probabilities, perhaps.",
        [
            Place(file=facts.name(case.files.mask), detail=f"{len(mask.values)} values")
            for case, mask in worst
            if len(mask.values) > 2
        ],
        "where the target begins at a grey value: -s data.threshold=127; if they are labels, name "
        "them in data.label_map",
    )


def other_coding(facts: Facts) -> Seen | None:
    """One value that is not 1."""
    if facts.named is not None or any(mask.noise is not None for _, mask in facts.masks):
        return None
    values = {value for _, mask in facts.masks for value in mask.values} - BACKGROUND
    if len(values) != 1 or values == {1}:
        return None
    value = next(iter(values))
    cure = f"xln init writes data.label_map: {{foreground: [{value!r}]}}"
    if isinstance(value, int):
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
        f"{len(without)} of {count(len(facts.masks), 'mask')} are empty. Right where nothing is "
        "to be found; else the outline is missing.",
        facts.at_masks(without),
    )


def full(facts: Facts) -> Seen | None:
    """Masks of one value that is not the background."""
    whole = [case for case, mask in facts.masks if mask.full]
    if not whole:
        return None
    text = f"{count(len(whole), 'mask')} hold one value everywhere: the target is the whole image."
    return Seen(text, facts.at_masks(whole), "draw these masks anew, or leave the cases out")


def inverted(facts: Facts) -> Seen | None:
    """Masks whose target frames the image, as a background does."""
    framed = [case for case, m in facts.masks if m.border > FRAMED and not m.full]
    masked = sum(bool(mask.fractions.any()) for _, mask in facts.masks)
    if not framed:
        return None
    return Seen(
        f"In {len(framed)} of {count(masked, 'mask')} the target covers most of the image's "
        "border, as a background does. Inverted, perhaps.",
        facts.at_masks(framed),
    )


# Images


def constant(facts: Facts) -> Seen | None:
    """Images of one grey value."""
    flat = [case for case, image in facts.images if image.low == image.high]
    if not flat:
        return None
    text = f"{count(len(flat), 'image')} hold one grey value everywhere: there is nothing to see."
    return Seen(text, facts.at_images(flat), "export these images again, or leave the cases out")


def channels(facts: Facts) -> Seen | None:
    """Numbers of channels that do not go together."""
    numbers = Counter(image.channels for _, image in facts.images)
    if len(numbers) < 2 or set(numbers) == {1, 3}:  # grey beside colour is repeated
        return None
    usual = numbers.most_common(1)[0][0]
    text = ", ".join(f"{number} in {cases}" for number, cases in numbers.most_common())
    return Seen(
        f"The images have different numbers of channels: {text}.",
        facts.at_images(case for case, image in facts.images if image.channels != usual),
        "convert them to one kind",
    )


def kinds(facts: Facts) -> Seen | None:
    """Number types that do not go together."""
    types = Counter(image.kind for _, image in facts.images)
    if len(types) < 2:
        return None
    text = ", ".join(f"{kind} in {cases}" for kind, cases in types.most_common())
    usual = types.most_common(1)[0][0]
    return Seen(
        f"The images have different number types: {text}.",
        facts.at_images(case for case, image in facts.images if image.kind != usual),
        "a window that fits all of them: -s image.window=percentile, or [low, high]",
    )


def dark(facts: Facts) -> Seen | None:
    """16-bit images that use little of their range."""
    deep = [image for _, image in facts.images if image.kind == "uint16"]
    if not deep or len(deep) < len(facts.images) or facts.config.image.window != "dtype":
        return None
    high = max(image.high for image in deep)
    if high >= 2**13:
        return None
    return Seen(
        f"The images are 16-bit files whose largest value is {high:g}: with image.window dtype, "
        "which makes 65535 white, they would be nearly black.",
        cure=f"xln init chooses percentile; or -s 'image.window=[0, {high:g}]'",
    )


def spacings(facts: Facts) -> Seen | None:
    """Pixels of very different sizes."""
    steps = [image.spacing[1:] for _, image in facts.images if image.spacing is not None]
    if not steps or not (np.max(steps, axis=0) > UNEVEN * np.min(steps, axis=0)).any():
        return None
    low, high = np.min(steps), np.max(steps)
    return Seen(
        f"Pixels measure {low:.3g} to {high:.3g} mm. Slices are not resampled: the network sees "
        "the same organ at different sizes.",
        cure="resample first, or let augmentation cover the range",
    )


# Subjects


def subjects(facts: Facts) -> Seen | None:
    """Every image a subject of its own, though the names have common beginnings."""
    ids = [files.id for files in facts.found.cases]
    if len({files.subject for files in facts.found.cases}) < len(ids):
        return None
    groups = beginnings(ids)
    if not 1 < len(groups) < len(ids):
        return None
    return Seen(
        f"Every image counts as a subject of its own, but the names have {len(groups)} beginnings "
        f"such as {min(groups)}. If these are persons, say so, or scores come out too good.",
        cure=f"-s 'data.subject={BEFORE_LAST}'",
    )


@dataclass(frozen=True)
class Kind:
    """A kind of finding: how bad it is, and the function that looks for it."""

    severity: Severity
    look: Callable[[Facts], Seen | None]


KINDS: dict[str, Kind] = {
    "no-mask": Kind("error", no_mask),
    "no-image": Kind("error", no_image),
    "unreadable": Kind("error", unreadable),
    "size": Kind("error", other_size),
    "place": Kind("error", other_place),
    "format": Kind("error", other_format),
    "noise": Kind("error", noise),
    "unnamed": Kind("error", unnamed),
    "channels": Kind("error", channels),
    "all-empty": Kind("error", all_empty),
    "full": Kind("warning", full),
    "constant": Kind("warning", constant),
    "two-codings": Kind("warning", two_codings),
    "many-values": Kind("warning", many_values),
    "absent": Kind("warning", absent),
    "empty": Kind("hint", empty),
    "inverted": Kind("hint", inverted),
    "coding": Kind("hint", other_coding),
    "kinds": Kind("hint", kinds),
    "dark": Kind("hint", dark),
    "spacing": Kind("hint", spacings),
    "subjects": Kind("hint", subjects),
}


def look_for(kinds: dict[str, Kind], facts: Facts) -> list[Finding]:
    """What the kinds find, errors first."""
    order: list[Severity] = ["error", "warning", "hint"]
    findings = []
    for name, kind in kinds.items():
        seen = kind.look(facts)
        if seen is not None:
            findings.append(
                Finding(
                    kind=name,
                    severity=kind.severity,
                    text=seen.text,
                    places=list(seen.places),
                    cure=seen.cure,
                )
            )
    return sorted(findings, key=lambda finding: order.index(finding.severity))
