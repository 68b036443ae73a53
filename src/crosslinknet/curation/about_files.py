"""Findings about pairs, files that cannot be read, geometry and subjects; named in FILES."""

from crosslinknet.curation.facts import CaseFacts
from crosslinknet.curation.findings import LOSSY, Facts, Kind, Seen
from crosslinknet.curation.result import Place
from crosslinknet.datasets.found import BEFORE_LAST, beginnings
from crosslinknet.readers import suffix_of
from crosslinknet.report.markup import count

PICTURES = (*LOSSY, ".png", ".bmp", ".tif", ".tiff")  # do not say how they lie


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


FILES: dict[str, Kind] = {
    "no-mask": Kind("error", no_mask),
    "no-image": Kind("error", no_image),
    "unreadable": Kind("error", unreadable),
    "size": Kind("error", other_size),
    "place": Kind("error", other_place),
    "format": Kind("error", other_format),
    "subjects": Kind("hint", subjects),
}
