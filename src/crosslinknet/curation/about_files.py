"""Findings about layouts, pairs, broken files, geometry and subjects; named in FILES."""

from crosslinknet.curation.apart import by
from crosslinknet.curation.facts import CaseFacts
from crosslinknet.curation.findings import LOSSY, Facts, Kind, Seen, says, told_and_cure
from crosslinknet.curation.result import Place
from crosslinknet.datasets.found import likely_subjects, subject_rule
from crosslinknet.readers import suffix_of
from crosslinknet.report.markup import count

PICTURES = (*LOSSY, ".png", ".bmp", ".tif", ".tiff")  # do not say how they lie
LARGE, TINY = 50.0, 0.01  # mm of a voxel that no image has
MOST_CURES = 3


# Pairs and files


def layout(facts: Facts) -> Seen | None:
    """A set whose cases cannot be told."""
    if not facts.refused:
        return None
    text, cure = told_and_cure(facts.refused)
    return Seen(text, cure=cure)


def no_mask(facts: Facts) -> Seen | None:
    """Images without a mask, unless they are to be left out."""
    orphans = facts.found.unmasked
    if not orphans.files or (facts.config.data.unlabelled == "skip" and facts.found.cases):
        return None
    return Seen(
        f"{says(len(orphans.files), 'image', 'have', orphans.total)} no mask.",
        [Place(file=facts.name(path)) for path in orphans.files],
        "add the masks under the same names, or leave the images out: -s data.unlabelled=skip",
    )


def no_image(facts: Facts) -> Seen | None:
    """Masks without an image."""
    orphans = facts.found.unused
    if not orphans.files:
        return None
    return Seen(
        f"{says(len(orphans.files), 'mask', 'have', orphans.total)} no image.",
        [Place(file=facts.name(path)) for path in orphans.files],
        "add the images under the same names, or move these masks away",
    )


def unreadable(facts: Facts) -> Seen | None:
    """Files that no reader takes."""
    broken = [case for case in facts.cases if case.problems]
    if not broken:
        return None
    reasons = dict.fromkeys(problem for case in broken for problem in case.problems)
    cures = list(dict.fromkeys(told_and_cure(reason)[1] for reason in reasons))
    cure = "see the reason of each"
    if "" not in cures and len(cures) <= MOST_CURES:
        cure = " ".join(cures)
    return Seen(
        f"{count(len(broken), 'case')} cannot be read.",
        [
            Place(file=facts.name(case.files.images[0]), detail=" ".join(case.problems))
            for case in broken
        ],
        f"{cure} Or leave the cases out by their names, in data.exclude.",
    )


# Geometry


def other_size(facts: Facts) -> Seen | None:
    """Masks of another size than their image."""
    places = _apart(facts, "shape")
    if not places:
        return None
    volumes = any(m.apart == "shape" and _is_volume(case) for case, m in facts.masks)
    cure = "pair each image with its own mask"
    if any(mask.how.startswith("transposed") for _, mask in facts.masks):
        cure += ", and turn those that are transposed"
    if volumes:
        cure = f"{facts.fix('--resample-labels')}, where the headers say how they lie"
    return Seen(f"{says(len(places), 'mask', 'differ')} in size from the image.", places, cure)


def other_place(facts: Facts) -> Seen | None:
    """Masks of the image's size that lie elsewhere."""
    places = _apart(facts, "place")
    if not places:
        return None
    return Seen(
        f"{says(len(places), 'mask', 'lie')} elsewhere than the image, by the headers.",
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
    text = f"{says(len(places), 'pair', 'mix')} a picture and a volume: how they lie is not known."
    return Seen(text, places, "save both in one format")


def two_forms(facts: Facts) -> Seen | None:
    """NIfTI headers that say twice where the volume lies, and do not agree."""
    forms = {path: how for case in facts.cases for path, how in case.forms}
    if not forms:
        return None
    return Seen(
        f"{says(len(forms), 'header', 'contradict')} itself: sform and qform lie apart. The sform "
        "counts here; programs built on ITK read the qform, and see another place.",
        [Place(file=facts.name(path), detail=how) for path, how in forms.items()],
        "where the sform is right, write it over the qform: fslorient -copysform2qform FILE, or "
        "image.set_qform(image.affine) in nibabel",
    )


def voxels(facts: Facts) -> Seen | None:
    """Voxels of a size that no scanner gives."""
    strange = [
        (case, image.spacing)
        for case, image in facts.images
        if image.spacing and (max(image.spacing) > LARGE or min(image.spacing) < TINY)
    ]
    if not strange:
        return None
    places = [
        Place(file=facts.name(case.files.images[0]), detail=f"{by(spacing)} mm")
        for case, spacing in strange
    ]
    return Seen(
        f"{says(len(strange), 'image', 'state')} voxels larger than {LARGE:g} mm or smaller than "
        f"{TINY:g} mm (slices, rows, columns): another unit, perhaps.",
        places,
        "write the spacing in mm into the headers, or into the column spacing of a manifest (CSV)",
    )


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
    if facts.found.subject_rule != subject_rule(None):  # somebody stated who is who
        return None
    likely = likely_subjects([files.id for files in facts.found.cases])
    if likely is None:
        return None
    pattern, groups = likely
    return Seen(
        f"Every image counts as a subject of its own, but the names have {len(groups)} beginnings "
        f"such as {min(groups)}. If these are persons, say so, or scores come out too good.",
        cure=f"-s 'data.subject={pattern}'; where each image is a person: -s 'data.subject=^(.+)$'",
    )


FILES: dict[str, Kind] = {
    "layout": Kind("error", layout),
    "no-mask": Kind("error", no_mask),
    "no-image": Kind("error", no_image),
    "unreadable": Kind("error", unreadable),
    "size": Kind("error", other_size),
    "place": Kind("error", other_place),
    "format": Kind("error", other_format),
    "forms": Kind("warning", two_forms),
    "voxels": Kind("warning", voxels),
    "subjects": Kind("warning", subjects),
}
