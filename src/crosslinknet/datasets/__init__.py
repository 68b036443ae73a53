"""Places on disk to cases: the layouts that are found by themselves, read in place.

A layout is a module with ``matches`` (is it here?), ``find`` (its cases) and LOOKED_FOR; the dict
LAYOUTS names it. ``auto`` takes the first that matches.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from crosslinknet.config import DataConfig
from crosslinknet.datasets import (
    bids,
    coco,
    covid19_i,
    covid19_volumes,
    decathlon,
    dicom,
    folders,
    kits19,
    labelme,
    manifest,
    nnunet,
    side_by_side,
    york_cardiac,
)
from crosslinknet.datasets.found import Found, Orphans, listed, without_mask
from crosslinknet.errors import DataError, UsageError

__all__ = ["LAYOUTS", "Found", "Layout", "Orphans", "find_cases", "survey"]


@dataclass(frozen=True)
class Layout:
    """A kind of place.

    Attributes:
        matches: whether ``data.root`` looks like it; quick, reads no pixels.
        find: collects the cases, and the files that lack their partner; or says in a DataError
            what is missing.
        looked_for: what ``matches`` wants to see, for people.
    """

    matches: Callable[[DataConfig], bool]
    find: Callable[[DataConfig], Found]
    looked_for: str


# Known sets come first, then what describes itself, last what is told by names alone.
LAYOUTS: dict[str, Layout] = {
    "kits19": Layout(kits19.matches, kits19.find, kits19.LOOKED_FOR),
    "covid19-i": Layout(covid19_i.matches, covid19_i.find, covid19_i.LOOKED_FOR),
    "york-cardiac": Layout(york_cardiac.matches, york_cardiac.find, york_cardiac.LOOKED_FOR),
    "covid19-volumes": Layout(
        covid19_volumes.matches, covid19_volumes.find, covid19_volumes.LOOKED_FOR
    ),
    "nnunet": Layout(nnunet.matches, nnunet.find, nnunet.LOOKED_FOR),
    "decathlon": Layout(decathlon.matches, decathlon.find, decathlon.LOOKED_FOR),
    "csv": Layout(manifest.matches, manifest.find, manifest.LOOKED_FOR),
    "coco": Layout(coco.matches, coco.find, coco.LOOKED_FOR),
    "labelme": Layout(labelme.matches, labelme.find, labelme.LOOKED_FOR),
    "bids": Layout(bids.matches, bids.find, bids.LOOKED_FOR),
    "folders": Layout(folders.matches, folders.find, folders.LOOKED_FOR),
    "dicom": Layout(dicom.matches, dicom.find, dicom.LOOKED_FOR),
    "side-by-side": Layout(side_by_side.matches, side_by_side.find, side_by_side.LOOKED_FOR),
}

# What xln data writes while it works, and what it writes when it has ended.
WORKS = {"convert_ledger.jsonl": "conversion.json", "fix_ledger.jsonl": "fix_log.json"}
TAKE_MASKS = ("folders", "coco", "bids", "dicom")  # layouts in which data.masks chooses


def find_cases(data: DataConfig) -> Found:
    """Find the cases of a data set, whose images and masks must be complete.

    Args:
        data: where to look; ``layout`` names the kind of place, or ``auto``. ``unlabelled`` says
            what happens to images without a mask.

    Raises:
        DataError: everything of ``survey``; masks without an image; images without a mask, if
            they are not to be left out, or if no case would be left.
        UsageError: as ``survey``.
    """
    found = survey(data)
    lonely, missing = found.unused, found.unmasked
    if lonely.files:
        raise DataError(
            f"{len(lonely.files)} of {lonely.total} masks have no image in {lonely.where}: "
            f"{listed(_below(data.root, lonely))}. Add the images under the same names, or remove "
            "these masks."
        )
    notes = without_mask(_below(data.root, missing), missing.total, missing.where, data)
    return replace(found, notes=(*found.notes, *notes))


def survey(data: DataConfig) -> Found:
    """Find the cases of a data set, and tell of the files that lack their partner.

    Raises:
        DataError: nothing there, no known layout, or one that is damaged; ``exclude`` names
            unknown cases, or all.
        UsageError: a mask folder stated for a layout that has its own.
    """
    try:
        there = data.root.exists()
    except OSError as error:
        raise DataError(f"{data.root} cannot be looked into ({error.strerror}).") from error
    if not there:
        raise DataError(f"{data.root} does not exist. Check data.root.")
    for begun, ended in WORKS.items():
        if (data.root / begun).is_file() and not (data.root / ended).is_file():
            raise DataError(
                f"{data.root} is unfinished: xln data was stopped while it wrote this folder. Run "
                "the same command again, it goes on where it was; or remove the folder."
            )
    if data.masks is not None and data.layout not in ("auto", *TAKE_MASKS):
        raise UsageError(
            f"data.masks is {data.masks}, but data.layout {data.layout!r} knows its masks by "
            f"itself. Remove data.masks, or use one of {', '.join(TAKE_MASKS)} as data.layout."
        )
    found = _layout(data).find(data)
    double = [name for name, count in Counter(c.id for c in found.cases).items() if count > 1]
    if double:
        raise DataError(
            f"{data.root}: names of cases are not unique, {len(double)} in all: {listed(double)}. "
            "Rename these files; results are stored under these names."
        )
    return _without_excluded(found, data)


def _without_excluded(found: Found, data: DataConfig) -> Found:
    """The cases and given folds without those of ``data.exclude``, and a note that says so."""
    if not data.exclude:
        return found
    out, ids = set(data.exclude), {case.id for case in found.cases}
    unknown = sorted(out - ids)
    if unknown:
        raise DataError(
            f"data.exclude names cases that {data.root} does not have, {len(unknown)} in all: "
            f"{listed(unknown)}. Its cases are named {listed(sorted(ids), 3)}."
        )
    if out == ids:
        raise DataError(f"data.exclude leaves none of the {len(ids)} cases of {data.root}.")
    splits = found.splits and tuple(
        (
            tuple(name for name in train if name not in out),
            tuple(name for name in test if name not in out),
        )
        for train, test in found.splits
    )
    note = f"{len(out)} of {len(ids)} cases are left out (data.exclude): {listed(sorted(out), 10)}"
    return replace(
        found,
        cases=tuple(case for case in found.cases if case.id not in out),
        splits=splits,
        notes=(*found.notes, note),
    )


def _below(root: Path, orphans: Orphans) -> list[str]:
    """Their names, with the folders between them and the root of the set."""
    return [
        path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
        for path in orphans.files
    ]


def _layout(data: DataConfig) -> Layout:
    if data.layout != "auto":
        return LAYOUTS[data.layout]
    for layout in LAYOUTS.values():
        if layout.matches(data):
            return layout
    raise _nothing_found(data)


def _nothing_found(data: DataConfig) -> DataError:
    """Say what is there, what would be read, and where it may be."""
    others = ", ".join(name for name in LAYOUTS if name not in ("folders", "side-by-side", "csv"))
    wanted = (
        "Expected a folder of images beside one of masks (images/ + masks/), masks beside their "
        "images (x.png + x_mask.png), a CSV file with the columns image and mask, or one of the "
        f"layouts {others}; stated as data.layout, each says what it looks for."
    )
    if not data.root.is_dir():
        return DataError(f"{data.root} is a file, and no CSV with the columns image and mask.")
    entries = sorted(path for path in data.root.iterdir() if not path.name.startswith("."))
    held = listed(f"{path.name}/" if path.is_dir() else path.name for path in entries)
    message = f"{data.root} is no known data set. It holds: {held or 'nothing'}. {wanted}"
    stated = {"images": data.images, "masks": data.masks}
    lost = [k for k, path in stated.items() if path is not None and not (data.root / path).exists()]
    inside = [path.name for path in entries if path.is_dir() and _is_known(path)]
    if lost:
        message += "".join(f" data.{k} is {stated[k]}, which does not exist there." for k in lost)
    elif inside:
        message += f" Data sets lie inside it: {listed(inside)}. Set data.root to one of them."
    else:
        message += " Rename the folders, or name them with data.images and data.masks."
    return DataError(message)


def _is_known(folder: Path) -> bool:
    try:
        return any(layout.matches(DataConfig(root=folder)) for layout in LAYOUTS.values())
    except DataError:
        return True  # damaged, but of a kind
