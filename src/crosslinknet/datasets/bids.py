"""BIDS: images in ``sub-*/``, masks in ``derivatives/``, paired by the entities of their names.

A name is a chain of entities and a suffix, ``sub-01_ses-2_T1w``. The masks (``_mask``, ``_dseg``,
``_seg``) of an image have all of its entities, and maybe more (``label-lesion``). Of several kinds
of image ``data.images`` names the one that is meant by the end of its name (``T1w``), of several
masks ``data.masks`` (``label-lesion_mask``). The subject is the entity ``sub``, always: sessions
and runs of one person stay together.
Source: Brain Imaging Data Structure 1.10, "Common principles" and "Derivatives / Imaging".
Order: matches, find, then names, choices and label tables.
"""

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from crosslinknet.case import CaseFiles
from crosslinknet.config import DataConfig
from crosslinknet.datasets.found import Found, Orphans, listed, subject_of, subject_rule
from crosslinknet.errors import DataError
from crosslinknet.readers import is_image, stem_of

MASK_SUFFIXES = ("mask", "dseg", "seg")
NATIVE = (None, "orig", "individual")  # values of space that leave a mask on its image's grid

LOOKED_FOR = "BIDS: folders sub-*/ with images, and derivatives/ with masks (_mask, _dseg, _seg)"


@dataclass(frozen=True)
class Name:
    """A file with the parts of its name."""

    path: Path
    entities: dict[str, str]
    suffix: str

    def ends_with(self, end: str) -> bool:
        """Whether the name without file suffix ends with whole parts: ``T1w``, ``run-1_T1w``."""
        return f"_{stem_of(self.path)}".endswith(f"_{end}")


def matches(data: DataConfig) -> bool:
    """Whether there are folders sub-*/ and derivatives/."""
    root = data.root
    return (root / "derivatives").is_dir() and any(path.is_dir() for path in root.glob("sub-*"))


def find(data: DataConfig) -> Found:
    """Pair the images of one kind with their masks.

    Raises:
        DataError: no images, no masks, several kinds of image, several masks of an image.
    """
    images = _named(path for folder in data.root.glob("sub-*") for path in folder.rglob("*"))
    masks = [
        name
        for name in _named((data.root / "derivatives").rglob("sub-*"))
        if name.suffix in MASK_SUFFIXES
    ]
    if not images or not masks:
        lost = "masks in derivatives/" if images else "images in folders sub-*/"
        raise DataError(f"{data.root} has no {lost}. Looked for {LOOKED_FOR}.")
    masks = _chosen_masks(masks, data)
    unused = _unused(masks, images)
    images = _chosen_images(images, data)
    masks_of = _by_subject(masks)
    mask_of = {image.path: _mask_of(image, masks_of[image.entities["sub"]]) for image in images}
    unmasked = tuple(path for path, mask in mask_of.items() if mask is None)
    cases = [
        CaseFiles(stem_of(image.path), _subject(image, data), (image.path,), mask_of[image.path])
        for image in images
        if mask_of[image.path] is not None
    ]
    values, about_values = _label_values(data.root / "derivatives", masks)
    rule = "entity 'sub' of the file name" if data.subject is None else subject_rule(data.subject)
    kinds = Counter(mask.suffix for mask in masks)
    return Found(
        layout="bids",
        cases=tuple(sorted(cases, key=lambda case: case.id)),
        subject_rule=rule,
        label_values=values,
        notes=(
            f"images _{images[0].suffix}, masks {listed(f'_{k}' for k in kinds)}",
            *about_values,
        ),
        unmasked=Orphans(unmasked, len(images), str(data.root / "derivatives")),
        unused=Orphans(unused, len(masks), "folders sub-*/"),
    )


def _named(paths: Iterable[Path]) -> list[Name]:
    """Images among files, sorted, with the parts of their names."""
    names = []
    for path in sorted(paths):
        if is_image(path) and path.is_file() and path.name.startswith("sub-"):
            *parts, suffix = stem_of(path).split("_")
            entities = {key: value for key, _, value in (part.partition("-") for part in parts)}
            if "sub" in entities:
                names.append(Name(path, entities, suffix))
    return names


def _by_subject(names: Sequence[Name]) -> dict[str, list[Name]]:
    of_subject: dict[str, list[Name]] = defaultdict(list)
    for name in names:
        of_subject[name.entities["sub"]].append(name)
    return of_subject


def _chosen_images(images: Sequence[Name], data: DataConfig) -> list[Name]:
    """Images of one kind: the only one, or that of ``data.images``."""
    if data.images is not None:
        chosen = [image for image in images if image.ends_with(str(data.images))]
        if not chosen:
            raise DataError(
                f"{data.root} has no image whose name ends with {data.images} (data.images); there "
                f"are {_kinds(images)}."
            )
        return chosen
    if len({image.suffix for image in images}) > 1:
        raise DataError(
            f"{data.root} has several kinds of image: {_kinds(images)}. Choose one by the end of "
            f"its name, as in data.images: {images[0].suffix}"
        )
    return list(images)


def _chosen_masks(masks: Sequence[Name], data: DataConfig) -> list[Name]:
    """All masks, or those of ``data.masks``."""
    if data.masks is None:
        return list(masks)
    chosen = [mask for mask in masks if mask.ends_with(str(data.masks))]
    if not chosen:
        raise DataError(
            f"{data.root / 'derivatives'} has no mask whose name ends with {data.masks} "
            f"(data.masks); there are {_kinds(masks)}."
        )
    return chosen


def _kinds(names: Sequence[Name]) -> str:
    return listed(f"{n} _{kind}" for kind, n in Counter(name.suffix for name in names).items())


def _belongs(mask: Name, image: Name) -> bool:
    """Whether a mask has all entities of an image, and lies in its space."""
    return image.entities.items() <= mask.entities.items() and (
        "space" in image.entities or mask.entities.get("space") in (*NATIVE, image.suffix)
    )


def _mask_of(image: Name, masks: Sequence[Name]) -> Path | None:
    """The only mask that belongs to an image, or None."""
    found = [mask.path for mask in masks if _belongs(mask, image)]
    if len(found) > 1:
        raise DataError(
            f"{image.path} has {len(found)} masks: {listed(path.name for path in found)}. Choose "
            "those of all images by the end of their names, as in data.masks: "
            f"{stem_of(found[0]).rsplit('_', 2)[-2]}_{stem_of(found[0]).rsplit('_', 1)[-1]}"
        )
    return found[0] if found else None


def _unused(masks: Sequence[Name], images: Sequence[Name]) -> tuple[Path, ...]:
    """Masks in the space of their image that have none: all its entities stand in their names."""
    images_of = _by_subject(images)
    return tuple(
        mask.path
        for mask in masks
        if mask.entities.get("space") in NATIVE
        and not any(_belongs(mask, image) for image in images_of[mask.entities["sub"]])
    )


def _subject(image: Name, data: DataConfig) -> str:
    if data.subject is None:
        return f"sub-{image.entities['sub']}"
    return subject_of(image.path.relative_to(data.root).as_posix(), data.subject, image.path)


def _label_values(folder: Path, masks: Sequence[Name]) -> tuple[dict[str, list[int]], list[str]]:
    """Classes of the tables ``dseg.tsv`` (columns index and name), where all agree."""
    if any(mask.suffix == "mask" for mask in masks):
        return {}, []  # 0 and 1, says BIDS; there is nothing to name
    tables = sorted(folder.rglob("*dseg.tsv"))
    read = [_table(path) for path in tables]
    if not read:
        return {}, []
    if any(values != read[0] for values in read):
        return {}, [f"the {len(read)} tables dseg.tsv differ, so names are not taken from them"]
    return read[0], [f"label names from {tables[0].relative_to(folder.parent)}"]


def _table(path: Path) -> dict[str, list[int]]:
    """Class: mask values; the background is left out."""
    values: dict[str, list[int]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                if not row["name"]:
                    raise ValueError(f"index {row['index']} has no name")
                if int(row["index"]) != 0:
                    values.setdefault(row["name"], []).append(int(row["index"]))
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise DataError(
            f"{path} is no table of labels ({error!r}); expected the columns index and name, "
            "separated by tabs."
        ) from error
    return values
