"""COVID19-I of the paper: 100 axial slices of more than 40 people, in either of two packages.

MedSeg's stack: ``tr_im.nii.gz`` and ``tr_mask.nii.gz``, slices on the last stored axis. Inf-Net's
COVID-SemiSeg: ``N.jpg`` in Imgs/ and ``N.png`` in GT/ of TrainingSet and TestingSet, where N is the
slice of the stack; 98 of the 100, cropped to the lungs, no pleural effusion. Every slice is a case
of its own, ``slice_007``.

Choices of the protocol: all labels are one infection; a stored axis counts the slices, so that
image and mask are turned alike; window lung; the slice without labels is named and kept (D11);
augmentation as in the paper. No key to the patients is public: a ``groups.csv`` (slice, group)
beside the files is honoured, else ten neighbouring slices are one group. Decisions D26 and D30.
Source: medicalsegmentation.com; DengPingFan/Inf-Net, README and Dataset/.
Order: matches, find, the stack, the pictures, groups.
"""

import csv
from pathlib import Path
from typing import Any, Literal

import numpy as np

from crosslinknet.case import CaseFiles
from crosslinknet.config import DataConfig
from crosslinknet.datasets.found import (
    Found,
    Orphans,
    images_in,
    listed,
    subject_of,
    subject_rule,
)
from crosslinknet.errors import DataError, ShapeError
from crosslinknet.readers import nifti, stem_of

IMAGES, MASKS, GROUPS = "tr_im.nii.gz", "tr_mask.nii.gz", "groups.csv"
LOOKED_FOR = f"COVID19-I: {IMAGES} and {MASKS}, or TrainingSet/ and TestingSet/ of COVID-SemiSeg"
AXIS: Literal[2] = 2  # counts the slices of the stack
RUN = 10  # neighbouring slices that count as one group

# The parts of COVID-SemiSeg, and the mask values of its infection. Both hold the same images.
PARTS = {
    ("MultiClassInfection-Train", "MultiClassInfection-Test"): [1, 2],
    ("LungInfection-Train/Doctor-label", "LungInfection-Test"): [255],
}


def matches(data: DataConfig) -> bool:
    """Whether the stack or the folders of COVID-SemiSeg are there."""
    if data.images is not None or data.masks is not None or not data.root.is_dir():
        return False
    return (data.root / IMAGES).is_file() or bool(_folders(data.root)[0])


def find(data: DataConfig) -> Found:
    """Make a case of every slice.

    Raises:
        DataError: neither package is there, or it is not complete; groups that do not fit.
        ShapeError: image and mask of the stack differ.
    """
    if (data.root / IMAGES).is_file():
        return _stack(data)
    folders, values = _folders(data.root)
    if not folders:
        raise DataError(f"{data.root} does not hold COVID19-I. Looked for {LOOKED_FOR}.")
    return _pictures(folders, values, data)


def _stack(data: DataConfig) -> Found:
    """MedSeg's package."""
    image, mask = data.root / IMAGES, data.root / MASKS
    if not mask.is_file():
        raise DataError(f"{image} is there, but {mask} is not. Copy both files of the package.")
    one, other = nifti.read_header(image), nifti.read_header(mask)
    if one.shape != other.shape or len(one.shape) != 3:
        raise ShapeError(
            f"{image} has the shape {one.shape}, {mask} {other.shape}; expected one shape of three "
            "axes, the slices on the last. Copy both files again."
        )
    values, _ = nifti.read_values(mask, AXIS, colour=False, lossy=False)  # (D, H, W)
    empty = np.flatnonzero(~values.any(axis=(1, 2))).tolist()
    subjects, rule = _subjects(list(range(one.shape[AXIS])), data)
    notes = [
        "slices lie on the last axis: image.slice_axis 2; image and mask come out transposed alike",
        "the values were made from JPG pictures, so HU are approximate, and so are mm",
        "infection is any label: 1 ground-glass, 2 consolidation, 3 pleural effusion",
        "augmentation as in the paper: augment.preset covid-paper",
    ]
    if empty:
        notes.append(
            f"{len(empty)} of {len(values)} slices have no label: {listed(map(_name, empty))}; "
            "kept, as the scores say what was found there (leave out with data.exclude)"
        )
    image_section: dict[str, Any] = {"slice_axis": AXIS, "window": "lung"}
    return Found(
        layout="covid19-i",
        cases=tuple(
            CaseFiles(_name(index), subject, (image,), mask, slices=(index,))
            for index, subject in subjects.items()
        ),
        subject_rule=rule,
        notes=tuple(notes),
        suggestions=_suggestions([1, 2, 3], data) | {"image": image_section},
    )


def _pictures(folders: list[Path], values: list[int], data: DataConfig) -> Found:
    """Inf-Net's package: the folders of training and test together."""
    images: dict[int, Path] = {}
    masks: dict[int, Path] = {}
    for folder in folders:
        for part, known in (("Imgs", images), ("GT", masks)):
            for path in images_in(folder / part):
                name = stem_of(path)
                if not (name.isascii() and name.isdigit()) or int(name) in known:
                    raise DataError(
                        f"{path} is not named as COVID-SemiSeg names its files, by the number of a "
                        "slice, each once. Rename or remove it."
                    )
                known[int(name)] = path
    unused = tuple(masks[index] for index in sorted(set(masks) - set(images)))
    unmasked = tuple(images[index] for index in sorted(set(images) - set(masks)))
    subjects, rule = _subjects(sorted(set(images) & set(masks)), data)
    return Found(
        layout="covid19-i",
        cases=tuple(
            CaseFiles(_name(index), subject, (images[index],), masks[index])
            for index, subject in subjects.items()
        ),
        subject_rule=rule,
        notes=(
            f"COVID-SemiSeg of Inf-Net, {' and '.join(folder.name for folder in folders)} together:"
            " its own split is not used, and its published numbers are not those of three folds",
            "the pictures are cropped to the lungs and stored lying on their side, the masks alike",
            "augmentation as in the paper: augment.preset covid-paper",
        ),
        suggestions=_suggestions(values, data),
        unmasked=Orphans(unmasked, len(images), f"GT/ of {data.root}"),
        unused=Orphans(unused, len(masks), f"Imgs/ of {data.root}"),
    )


def _folders(root: Path) -> tuple[list[Path], list[int]]:
    """Folders with Imgs/ and GT/ of the first part that is there, and its mask values."""
    top = root / "Dataset" if (root / "Dataset").is_dir() else root
    for (train, test), values in PARTS.items():
        folders = [top / "TrainingSet" / train, top / "TestingSet" / test]
        there = [folder for folder in folders if (folder / "Imgs").is_dir()]
        if there and all((folder / "GT").is_dir() for folder in there):
            return there, values
    return [], []


def _suggestions(values: list[int], data: DataConfig) -> dict[str, dict[str, Any]]:
    persons = data.subject is not None or (data.root / GROUPS).is_file()  # somebody says who
    return {
        "data": {
            "label_map": {"infection": values},
            "subject_is": data.subject_is if persons else "group",
        },
        "augment": {"preset": "covid-paper"},
    }


def _name(index: int) -> str:
    return f"slice_{index:03d}"


def _subjects(indices: list[int], data: DataConfig) -> tuple[dict[int, str], str]:
    """Slice to group, in order, and the rule for people."""
    if data.subject is not None:
        names = {i: subject_of(_name(i), data.subject, Path(_name(i))) for i in indices}
        return names, subject_rule(data.subject)
    path = data.root / GROUPS
    if path.is_file():
        return _groups(path, indices), f"column 'group' of {GROUPS}"
    runs = {i: f"{_name(i // RUN * RUN)}_to_{i // RUN * RUN + RUN - 1:03d}" for i in indices}
    return runs, (
        f"runs of {RUN} neighbouring slices, since no key to the patients is public: these are "
        "folds by slice, not by patient"
    )


def _groups(path: Path, indices: list[int]) -> dict[int, str]:
    """The group of every slice, as a file says."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a UTF-8 CSV file ({error}).") from error
    groups: dict[int, str] = {}
    for number, row in enumerate(rows, start=2):
        index, group = ((row.get(column) or "").strip() for column in ("slice", "group"))
        if not (index.isascii() and index.isdigit()) or not group or int(index) in groups:
            raise DataError(
                f"{path}, line {number}: slice {index!r}, group {group!r}. Expected the columns "
                "slice (0, 1, ..., each once) and group, both filled."
            )
        groups[int(index)] = group
    missing = [index for index in indices if index not in groups]
    if missing:
        raise DataError(
            f"{path} names no group for {len(missing)} of {len(indices)} slices: "
            f"{listed(missing)}. Add them, or remove the file."
        )
    return {index: groups[index] for index in indices}
