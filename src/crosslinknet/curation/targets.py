"""The layouts that can be written: folders, nifti, csv, coco; nnunet has a file of its own.

A target writes each case as soon as it is read, and what describes them all at the end: until
then the folder is not a data set that anything would take for complete.
Order: Work, Target, the manifest, folders and nifti, csv, coco.
"""

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosslinknet.case import CaseFiles
from crosslinknet.config import Config
from crosslinknet.curation.pair import (
    NIFTI,
    Pair,
    picture_suffix,
    read_pair,
    write_pair_image,
    write_pair_mask,
)
from crosslinknet.curation.work import Track, files_of, relative
from crosslinknet.datasets import Found
from crosslinknet.datasets.found import listed
from crosslinknet.errors import DataError
from crosslinknet.files import write_json, write_text
from crosslinknet.labels import LabelTable, label_table, merge_values
from crosslinknet.readers import is_image, read_case_mask

Folds = list[tuple[list[str], list[str]]]  # (train ids, test ids) of each
Abouts = Mapping[str, dict[str, Any]]  # what was written of each case, from the ledger


@dataclass(frozen=True)
class Work:
    """A conversion: what is read, where it goes, what its masks will hold.

    Attributes:
        out: folder of the results.
        found: the cases.
        config: data, image.slice_axis and split.
        table: the label map of the source.
        folds: those that are known, or None.
        channels: names of the image channels, or empty.
        number: (n + 1,) number written for each code; None: the source's own values are kept.
        label_map: what reads the result.
    """

    out: Path
    found: Found
    config: Config
    table: LabelTable
    folds: Folds | None
    channels: tuple[str, ...]
    number: NDArray[np.uint8] | None
    label_map: dict[str, list[int | str]]

    @property
    def written(self) -> LabelTable:
        """What the values in the written masks mean."""
        if self.number is None:
            return self.table
        return label_table({"any": list(range(1, int(self.number.max()) + 1))})


@dataclass(frozen=True)
class Target:
    """A layout that can be written.

    Attributes:
        settings: looks at the cases, refuses what cannot be held, and gives what has to be the
            same for all of them, JSON.
        wants: whether files are written for a case.
        write: reads a case and writes it; gives the files and what ``finish`` needs to know.
        finish: writes the files that describe all; gives their names and what to tell.
        renumbers: whether masks hold 1, 2, 3, ... whatever the source's values are.
    """

    settings: Callable[[Work, Track], dict[str, Any]]
    wants: Callable[[CaseFiles], bool]
    write: Callable[[CaseFiles, Work, dict[str, Any]], tuple[list[Path], dict[str, Any]]]
    finish: Callable[[Work, Abouts, dict[str, Any]], tuple[list[str], list[str]]]
    renumbers: Callable[[LabelTable], bool]


def write_manifest(work: Work, abouts: Abouts) -> tuple[list[str], list[str]]:
    """manifest.csv with the files, subjects, spacing and folds; gives file names and notes.

    Raises:
        DataError: paths that a manifest cannot name; spacing that is known for a part only.
    """
    cases = work.found.cases
    spacings = [_spacing(case, abouts.get(case.id, {})) for case in cases]
    lost = [abouts.get(c.id, {}).get("spacing_lost", False) for c in cases]
    if None in spacings and (any(lost) or any(case.spacing for case in cases)):
        without = [case.id for case, mm in zip(cases, spacings, strict=True) if mm is None]
        raise DataError(
            f"spacing is known for {len(cases) - len(without)} of {len(cases)} cases, and pictures "
            f"cannot hold it: {listed(without)} have none. State it for all in a manifest."
        )
    keep_spacing = any(lost) or any(case.spacing for case in cases)
    fold_of = _fold_column(work)
    names = ["id", "image", "mask", "subject"]
    names += ["spacing"] * keep_spacing + ["fold"] * bool(fold_of)
    text = io.StringIO()
    table = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    for case, mm in zip(cases, spacings, strict=True):
        about = abouts.get(case.id, {})
        images = about.get("images") or [relative(path, work.out) for path in case.images]
        mask = about.get("mask") or relative(case.mask or Path(), work.out)
        for path in (*images, mask):
            if "|" in path or path != path.strip() or "\n" in path:
                raise DataError(
                    f"{path!r} cannot stand in a manifest, where | joins files and spaces around "
                    "a path do not count. Rename the file."
                )
        table.writerow(
            {
                "id": case.id,
                "image": "|".join(images),
                "mask": mask,
                "subject": case.subject,
                "spacing": " ".join(repr(float(length)) for length in mm or ()),
                "fold": fold_of.get(case.id),
            }
        )
    write_text(work.out / "manifest.csv", text.getvalue())
    if work.folds is None or fold_of:
        return ["manifest.csv"], []
    write_splits_final(work.out / "splits_final.json", work.folds)
    return ["manifest.csv", "splits_final.json"], [
        "the folds do not test every case against all others, which a column cannot say: state "
        "split.file: splits_final.json"
    ]


def write_splits_final(path: Path, folds: Folds) -> None:
    """The folds as nnU-Net writes them; its "val" is what a fold is tested on."""
    write_json(path, [{"train": train, "val": test} for train, test in folds])


def _spacing(case: CaseFiles, about: dict[str, Any]) -> tuple[float, ...] | None:
    stated = about.get("spacing")
    return case.spacing if stated is None else tuple(stated)


def _fold_column(work: Work) -> dict[str, int]:
    """The test fold of each case; empty where no column can say what the folds are."""
    ids = {case.id for case in work.found.cases}
    fold_of: dict[str, int] = {}
    for number, (train, test) in enumerate(work.folds or []):
        if set(train) | set(test) != ids or fold_of.keys() & set(test):
            return {}
        fold_of |= dict.fromkeys(test, number)
    return fold_of if fold_of.keys() == ids else {}


def _about(pair: Pair, images: list[str], mask: str | None) -> dict[str, Any]:
    spacing = pair.case.grid.spacing
    return {
        "images": images,
        "mask": mask,
        "spacing": None if spacing is None else list(spacing),
        "spacing_lost": spacing is not None and not images[0].endswith(NIFTI),
        "made_up": not pair.in_space and images[0].endswith(NIFTI),
    }


def _write_beside(
    files: CaseFiles, work: Work, suffix: str | None, masks: str
) -> tuple[list[Path], dict[str, Any]]:
    """``images/ID.*`` and ``MASKS/ID.*``."""
    pair = read_pair(files, work.config)
    if suffix is None:
        suffix = NIFTI if pair.in_space else picture_suffix(pair, files)
    mask_suffix = ".png" if suffix != NIFTI and len(pair.case.image) == 1 else suffix
    image = work.out / "images" / f"{files.id}{suffix}"
    mask = work.out / masks / f"{files.id}{mask_suffix}"
    write_pair_image(image, pair)
    write_pair_mask(mask, pair, work.written, work.number)
    names = [path.relative_to(work.out).as_posix() for path in (image, mask)]
    return [image, mask], _about(pair, names[:1], names[1])


def _nothing(work: Work, track: Track) -> dict[str, Any]:
    return {}


def _every(files: CaseFiles) -> bool:
    return True


def _finish_beside(
    work: Work, abouts: Abouts, settings: dict[str, Any]
) -> tuple[list[str], list[str]]:
    names, told = write_manifest(work, abouts)
    return names, told + made_up_places(abouts)


def made_up_places(abouts: Abouts) -> list[str]:
    """Tell how many pictures had to be put somewhere."""
    made_up = [about for about in abouts.values() if about["made_up"]]
    if not made_up:
        return []
    unknown = sum(about["spacing"] is None for about in made_up)
    sizes = f"; {unknown} of them voxels of 1 without unit, their size is unknown"
    return [
        f"{len(made_up)} pictures got a place in space that nobody measured: axial, rows to the "
        f"back, columns to the left{sizes if unknown else ''}"
    ]


FOLDERS = Target(
    _nothing,
    _every,
    lambda files, work, settings: _write_beside(files, work, None, "masks"),
    _finish_beside,
    lambda table: False,
)
NIFTIS = Target(
    _nothing,
    _every,
    lambda files, work, settings: _write_beside(files, work, NIFTI, "labels"),
    _finish_beside,
    lambda table: table.colour,
)


def _write_csv(
    files: CaseFiles, work: Work, settings: dict[str, Any]
) -> tuple[list[Path], dict[str, Any]]:
    """What cannot be pointed at: the mask alone, where it is drawn on an image that can."""
    if files.slices is not None or not all(map(_can_be_named, files.images)):
        return FOLDERS.write(files, work, settings)
    pair = read_pair(files, work.config)
    suffix = NIFTI if pair.in_space else ".png" if len(pair.case.image) == 1 else ".tif"
    mask = work.out / "masks" / f"{files.id}{suffix}"
    write_pair_mask(mask, pair, work.written, work.number)
    images = [relative(path, work.out) for path in files.images]
    about = _about(pair, images, mask.relative_to(work.out).as_posix())
    return [mask], about | {"spacing": files.spacing, "spacing_lost": False, "made_up": False}


def _can_be_named(path: Path) -> bool:
    return path.is_file() and is_image(path)


CSV = Target(
    _nothing,
    lambda files: (
        files.slices is not None
        or len(files.masks) > 1
        or not all(map(_can_be_named, files_of(files)))
    ),
    _write_csv,
    _finish_beside,
    lambda table: False,
)


def _write_coco(
    files: CaseFiles, work: Work, settings: dict[str, Any]
) -> tuple[list[Path], dict[str, Any]]:
    pair = read_pair(files, work.config)
    slices = len(pair.case.image)
    if slices > 1 or pair.in_space:
        raise DataError(
            f"{files.images[0]} is a volume of {slices} slices"
            f"{' with a place in space' if pair.in_space else ''}; COCO describes single pictures. "
            "Use --to nifti or --to nnunet."
        )
    suffix = picture_suffix(pair, files)
    if suffix == NIFTI:
        raise DataError(
            f"{files.id} is of type {pair.case.image.dtype}, which no picture holds. Use "
            "--to nifti or --to nnunet."
        )
    image = work.out / "images" / f"{files.id}{suffix}"
    write_pair_image(image, pair)
    return [image], _about(pair, [image.relative_to(work.out).as_posix()], "annotations.json")


def _finish_coco(
    work: Work, abouts: Abouts, settings: dict[str, Any]
) -> tuple[list[str], list[str]]:
    """The masks are read once more, so that no more than one is held at a time."""
    from crosslinknet.readers.coco_writer import coco_document

    assert work.number is not None
    number, axis = work.number, work.config.image.slice_axis
    masks = (
        (
            Path(abouts[case.id]["images"][0]).name,
            number[read_case_mask(case, work.config.data, axis)[0][0]],  # (H, W)
        )
        for case in work.found.cases
    )
    document = coco_document(masks, category_numbers(work))
    write_json(work.out / "annotations.json", document)
    names, told = write_manifest(work, abouts)
    return ["annotations.json", *names], told


def category_numbers(work: Work) -> dict[str, int]:
    """Name and number of each category: the class, or those it belongs to, joined by +."""
    _, numbers = merge_values(work.table)
    top = max(n for members in numbers.values() for n in members)
    names = [
        "+".join(c for c, members in numbers.items() if n in members) for n in range(1, top + 1)
    ]
    return {name: n for n, name in enumerate(names, start=1)}


COCO = Target(_nothing, _every, _write_coco, _finish_coco, lambda table: True)
