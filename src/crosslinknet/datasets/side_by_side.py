"""Images and masks in one folder, told apart by an ending: ``x.png`` beside ``x_mask.png``.

Folders inside are followed, each for itself; suffixes may differ (``x.jpg``, ``x_mask.png``), and
images may have an ending too (``x_image.png``). Masks of several objects, one file each, are joined
where they are numbered after a first one, as in the breast ultrasound set BUSI: ``x_mask.png``,
``x_mask_1.png``, ``x_mask_2.png``. Pixels that two of them mark are an error (see ``overlap``), and
so are numbered masks alone, ``x_mask_1.png`` and ``x_mask_2.png``: they may be several readers.
Order: matches, find, then names and masks.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from crosslinknet.case import CaseFiles
from crosslinknet.config import DataConfig
from crosslinknet.datasets.folders import ENDINGS
from crosslinknet.datasets.found import (
    Found,
    Orphans,
    case_ids,
    folder_hint,
    images_in,
    listed,
    subject_of,
    subject_rule,
)
from crosslinknet.errors import DataError
from crosslinknet.readers import is_image, stem_of

IMAGE_ENDINGS = ("_image", "_img")

LOOKED_FOR = f"images beside masks that add {', '.join(ENDINGS[:3])} or the like to the name"

MASK_NAME = re.compile(f"(.+)({'|'.join(ENDINGS)})(?:_([0-9]+))?")


@dataclass
class Group:
    """Files of one folder that belong to one name."""

    images: list[Path] = field(default_factory=list)
    masks: dict[str, list[Path]] = field(default_factory=dict)  # by number, "" without


def matches(data: DataConfig) -> bool:
    """Whether the folder, or one in it, holds an image and its mask."""
    folder = _folder(data)
    if data.masks is not None or not folder.is_dir():
        return False
    near = (path for pattern in ("*", "*/*") for path in folder.glob(pattern))
    groups = _groups(path for path in near if is_image(path))
    return any(group.images and group.masks for group in groups.values())


def find(data: DataConfig) -> Found:
    """Pair the files of each folder by their names.

    Raises:
        DataError: no mask at all, several images or masks of one name.
    """
    folder = _folder(data)
    there = any(is_image(path) for path in folder.rglob("*"))
    groups = _groups(images_in(folder)) if there else {}
    if not any(group.masks for group in groups.values()):
        raise DataError(f"{folder} holds no image with a mask beside it. Looked for {LOOKED_FOR}.")
    masks = sum(len(_all_masks(group)) for group in groups.values())
    unused = tuple(path for g in groups.values() if not g.images for path in _all_masks(g))
    groups = {key: group for key, group in groups.items() if group.images}
    for group in groups.values():
        _check(group)
    images, notes = len(groups), []
    unmasked = tuple(group.images[0] for group in groups.values() if not group.masks)
    groups = {key: group for key, group in groups.items() if group.masks}
    keys = [key.relative_to(folder).as_posix() for key in groups]
    cases = [
        _case(name, group, data)
        for name, group in zip(case_ids(keys), groups.values(), strict=True)
    ]
    joined = [case.images[0].name for case in cases if case.more_masks]
    if joined:
        notes.append(
            "several numbered masks of an image are joined, in "
            f"{len(joined)} of {len(cases)} cases: {listed(joined)}"
        )
    return Found(
        layout="side-by-side",
        cases=tuple(sorted(cases, key=lambda case: case.id)),
        subject_rule=subject_rule(data.subject),
        notes=("masks lie beside their images", *notes, *folder_hint(keys, data)),
        unmasked=Orphans(unmasked, images, "their folder"),
        unused=Orphans(unused, masks, "their folder"),
    )


def _folder(data: DataConfig) -> Path:
    return data.root if data.images is None else data.root / data.images


def _groups(paths: Iterable[Path]) -> dict[Path, Group]:
    """Files by their folder and the name that image and mask share."""
    groups: dict[Path, Group] = defaultdict(Group)
    for path in paths:
        stem = stem_of(path)
        match = MASK_NAME.fullmatch(stem)
        if match:
            numbered = groups[path.with_name(match[1])].masks
            numbered.setdefault(match[3] or "", []).append(path)
        else:
            ending = next((end for end in IMAGE_ENDINGS if stem.endswith(end)), "")
            groups[path.with_name(stem.removesuffix(ending) or stem)].images.append(path)
    return groups


def _all_masks(group: Group) -> list[Path]:
    """Masks in the order of their numbers, the one without number first."""
    order = sorted(group.masks, key=lambda number: int(number or -1))
    return [path for number in order for path in group.masks[number]]


def _check(group: Group) -> None:
    """One image, and at most one mask of each number, one of them without."""
    if len(group.images) > 1:
        raise DataError(
            f"{listed(group.images)} have one name, so it is not known which one counts. Keep one."
        )
    double = [paths for paths in group.masks.values() if len(paths) > 1]
    if double:
        raise DataError(
            f"{listed(double[0])} are all masks of {group.images[0].name}. Keep one of them."
        )
    if len(group.masks) > 1 and "" not in group.masks:
        masks = _all_masks(group)
        raise DataError(
            f"{group.images[0]} has {len(masks)} masks that are all numbered: "
            f"{listed(path.name for path in masks)}. If they are of several readers, keep one; if "
            "they are several objects, name the first one without a number, and they are joined."
        )


def _case(name: str, group: Group, data: DataConfig) -> CaseFiles:
    image, (mask, *more) = group.images[0], _all_masks(group)
    subject = name
    if data.subject is not None:
        subject = subject_of(image.relative_to(_folder(data)).as_posix(), data.subject, image)
    return CaseFiles(name, subject, (image,), mask, more_masks=tuple(more))
