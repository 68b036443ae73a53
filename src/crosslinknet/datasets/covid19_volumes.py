"""CT volumes of COVID-19, as COVID19-II of the paper (private), and two public sets of that kind.

A folder per subject with one CT (NIfTI, or a DICOM series with all its files) and one label file,
told apart by its name; or the folders of zenodo record 3757476 (COVID-19-CT-Seg_20cases beside
Infection_Mask); or MedSeg's nine volumes (rp_im beside rp_msk).

Choices of the protocol: window lung; axial slices; the classes infection (all labels), ground-glass
and consolidation where the labels are 1 and 2; folds by subject, which is the folder or the file;
augmentation as in the paper. The paper's slice counts contradict each other and are not checked.
Source: paper, Section IV-A; zenodo.org/record/3757476; figshare 13521509.
Order: matches, find, the public sets, folders of subjects, what is proposed.
"""

import re
from pathlib import Path
from typing import Any

from crosslinknet.case import CaseFiles
from crosslinknet.config import DataConfig
from crosslinknet.datasets.found import (
    Found,
    Orphans,
    images_in,
    keys_of,
    listed,
    subject_of,
    subject_rule,
)
from crosslinknet.errors import DataError
from crosslinknet.readers import count_values, is_image, suffix_of

PUBLIC = {"COVID-19-CT-Seg_20cases": "Infection_Mask", "rp_im": "rp_msk"}  # images: masks
SCALED = "radiopaedia"  # beginning of the names in the zenodo set that hold 0..255, not HU
MASK = re.compile(r"(mask|label|seg|infection|lesion|annotation)", re.IGNORECASE)
OWN = re.compile(r"infection", re.IGNORECASE)  # a name that is found without being asked for
VOLUMES = (".nii", ".nii.gz")
SERIES = ".dcm"  # a series is many files, and one of them stands for it
LOOKED_FOR = (
    "COVID-19 CT: a folder per subject with one CT and one label file whose name holds "
    "'infection' (or mask, label, seg: state data.layout), COVID-19-CT-Seg_20cases/ + "
    "Infection_Mask/, or rp_im/ + rp_msk/"
)
PEEKED = 5  # masks that are opened to see which labels there are


def matches(data: DataConfig) -> bool:
    """Whether a public set is there, or subjects' folders with a file named as infection."""
    if data.images is not None or data.masks is not None or not data.root.is_dir():
        return False
    if _public(data.root) is not None:
        return True
    folders = _folders(data.root)
    return bool(folders) and all(
        any(OWN.search(path.name) and suffix_of(path) in VOLUMES for path in folder.iterdir())
        for folder in folders
    )


def find(data: DataConfig) -> Found:
    """Pair the CT of each subject with its labels.

    Raises:
        DataError: nothing of this kind, several CTs or label files of a subject, missing files.
    """
    public = _public(data.root) if data.root.is_dir() else None
    if public is not None:
        cases, unmasked, unused = _pairs(*public, data)
    else:
        (cases, unmasked), unused = _subjects(data), Orphans()
    proposed, reasons = _suggestions(cases, public)
    return Found(
        layout="covid19-volumes",
        cases=tuple(sorted(cases, key=lambda case: case.id)),
        subject_rule=subject_rule(data.subject) if data.subject else "a subject per CT",
        notes=tuple(reasons),
        suggestions=proposed,
        unmasked=unmasked,
        unused=unused,
    )


def _public(root: Path) -> tuple[Path, Path] | None:
    """Image folder and mask folder of a public set."""
    for images, masks in PUBLIC.items():
        if (root / images).is_dir() and (root / masks).is_dir():
            return root / images, root / masks
    return None


def _pairs(images: Path, masks: Path, data: DataConfig) -> tuple[list[CaseFiles], Orphans, Orphans]:
    """Cases of two folders with equal names; images without mask, masks without image."""
    image_of, mask_of = keys_of(images_in(images), images), keys_of(images_in(masks), masks)
    unmasked = tuple(image_of[key] for key in sorted(set(image_of) - set(mask_of)))
    unused = tuple(mask_of[key] for key in sorted(set(mask_of) - set(image_of)))
    keys = sorted(set(image_of) & set(mask_of))
    return (
        [_case(key.replace("/", "__"), image_of[key], mask_of[key], data) for key in keys],
        Orphans(unmasked, len(image_of), str(masks)),
        Orphans(unused, len(mask_of), str(images)),
    )


def _subjects(data: DataConfig) -> tuple[list[CaseFiles], Orphans]:
    """Cases of a folder per subject; folders without a mask."""
    folders = _folders(data.root)
    if not folders:
        raise DataError(f"{data.root} holds no CT volumes of subjects. Looked for {LOOKED_FOR}.")
    cases, missing = [], []
    for folder in folders:
        files = images_in(folder)
        masks = [path for path in files if _is_mask(path, folder)]
        cts = _without_series(path for path in files if path not in masks)
        if len(cts) != 1 or len(masks) > 1:
            raise DataError(
                f"{folder} holds {_shown(cts, 'CT')} and {_shown(masks, 'label file')}; expected "
                "one CT and one label file, whose name holds mask, label, seg or infection. Move "
                "other files away."
            )
        if masks:
            cases.append(_case(folder.name, cts[0], masks[0], data))
        else:
            missing.append(folder)
    return cases, Orphans(tuple(missing), len(folders), "the folders of the subjects")


def _folders(root: Path) -> list[Path]:
    """Folders in which a volume or a series lies; other folders do not count."""
    if not root.is_dir():
        return []
    return sorted(
        folder
        for folder in root.iterdir()
        if folder.is_dir()
        and not folder.name.startswith(".")
        and any(
            is_image(path) and suffix_of(path) in (*VOLUMES, SERIES) for path in folder.rglob("*")
        )
    )


def _is_mask(path: Path, folder: Path) -> bool:
    """Whether a file is named as labels are; a series is a CT, whatever its name."""
    return suffix_of(path) != SERIES and bool(MASK.search(path.relative_to(folder).as_posix()))


def _without_series(paths: Any) -> list[Path]:
    """The files, but one alone for all files of a series, those of one folder."""
    kept: dict[tuple[Path, bool | str], Path] = {}
    for path in paths:
        kept.setdefault((path.parent, suffix_of(path) == SERIES or path.name), path)
    return list(kept.values())


def _shown(paths: list[Path], what: str) -> str:
    if not paths:
        return f"no {what}"
    names = listed(path.name for path in paths)
    return f"{len(paths)} {what}{'s' if len(paths) > 1 else ''} ({names})"


def _case(name: str, image: Path, mask: Path, data: DataConfig) -> CaseFiles:
    subject = name if data.subject is None else subject_of(name, data.subject, image)
    return CaseFiles(name, subject, (image,), mask)


def _suggestions(
    cases: list[CaseFiles], public: tuple[Path, Path] | None
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """What is proposed, and why."""
    about: dict[str, Any] = {}
    reasons = ["window lung (-1250 to 250 HU), axial slices, augmentation as in the paper"]
    values: set[int | str] = set()
    for case in cases[:: max(1, len(cases) // PEEKED)][:PEEKED]:
        values |= set(count_values(case)) - {0}
    if values == {1}:
        about["label_map"] = {"infection": [1]}
    elif values in ({1, 2}, {1, 2, 3}):
        about["label_map"] = {
            "infection": sorted(int(value) for value in values),
            "ground_glass": [1],
            "consolidation": [2],
        }
        reasons.append(
            "infection is any label, 1 is taken for ground-glass and 2 for consolidation; change "
            "data.label_map if these labels mean something else"
        )
    scaled = [case.id for case in cases if case.id.startswith(SCALED)]
    if public is not None and 0 < len(scaled) < len(cases):
        about["exclude"] = scaled
        reasons.append(
            f"the {len(scaled)} volumes named {SCALED}... hold 0 to 255, not HU, and no window "
            "fits both: they are proposed for data.exclude"
        )
    return {
        "data": about,
        "image": {"slice_axis": "axial", "window": "lung"},
        "augment": {"preset": "covid-paper"},
    }, reasons
