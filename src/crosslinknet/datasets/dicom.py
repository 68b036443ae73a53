"""DICOM as scanners and archives leave it: folders of series, each with a mask.

A series is a case. Its mask is a DICOM SEG that refers to it, anywhere below ``data.root``, or a
NIfTI file called labels, mask or the like in the folder of the series or in the one above.
``data.masks`` (a name, ``*`` allowed) chooses among several. Objects that are no images are left
alone.
Order: matches, find, then series, masks, names and subjects.
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from crosslinknet.case import CaseFiles
from crosslinknet.config import DataConfig
from crosslinknet.datasets.found import (
    Found,
    Orphans,
    case_ids,
    listed,
    subject_of,
)
from crosslinknet.errors import DataError
from crosslinknet.readers import is_image, stem_of, suffix_of
from crosslinknet.readers.dicom import first_files, is_dicom, place_of
from crosslinknet.readers.dicom_head import SEGMENTATION, Head, read_head
from crosslinknet.readers.dicom_seg import Segments, read_segments

MODALITIES = {  # by the class of the object; others have no name of their own
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.2.1": "CT",  # enhanced
    "1.2.840.10008.5.1.4.1.1.4": "MR",
    "1.2.840.10008.5.1.4.1.1.4.1": "MR",
}
MASKS = ("labels", "label", "masks", "mask", "segmentation", "seg")

LOOKED_FOR = (
    f"folders of DICOM series, each with a DICOM SEG or a NIfTI file called {', '.join(MASKS)}"
)


@dataclass(frozen=True)
class Series:
    """An image on disk.

    Attributes:
        head: of its first file.
        key: its folder below ``data.root`` (and its file where others lie there too).
    """

    head: Head
    key: str

    @property
    def folder(self) -> Path:
        """Where its files lie."""
        return self.head.path.parent


def matches(data: DataConfig) -> bool:
    """Whether the first image below the root that is no NIfTI file is DICOM."""
    if data.images is not None or not data.root.is_dir():
        return False
    images = (path for path in _files(data.root) if is_image(path))
    kinds = ("dicom" if is_dicom(path) else suffix_of(path) for path in images)
    return next((kind for kind in kinds if not kind.startswith(".nii")), None) == "dicom"


def find(data: DataConfig) -> Found:
    """Collect the series below the root with their masks.

    Raises:
        DataError: no series, files that cannot be read, series with several masks.
    """
    files = [path for path in _files(data.root) if is_image(path)]
    dicom = [path for path in files if is_dicom(path)]
    series = [Series(read_head(path), _key(path, data.root)) for path in first_files(dicom)]
    if not series:
        raise DataError(f"{data.root} holds no DICOM image. Looked for {LOOKED_FOR}.")
    segments = [read_segments(path) for path in dicom if read_head(path).kind in SEGMENTATION]
    mask_of = _masks(series, segments, [path for path in files if not is_dicom(path)], data)
    unmasked = tuple(place_of(one.head.path) for one in series if one.key not in mask_of)
    kept = [one for one in series if one.key in mask_of]
    subjects, rule = _subjects(kept, data)
    cases = [
        CaseFiles(name, subject, (one.head.path,), mask_of[one.key])
        for name, subject, one in zip(case_ids([s.key for s in kept]), subjects, kept, strict=True)
    ]
    notes = []
    others = len({path for path in dicom if not read_head(path).is_image}) - len(segments)
    if others:
        notes.append(f"{others} DICOM files are neither images nor SEG; they are left alone")
    return Found(
        layout="dicom",
        cases=tuple(sorted(cases, key=lambda case: case.id)),
        subject_rule=rule,
        notes=(f"{len(series)} DICOM images, {len(segments)} DICOM SEG", *notes),
        unmasked=Orphans(unmasked, len(series), str(data.root)),
        channels=_modality(kept),
    )


def _modality(series: Sequence[Series]) -> tuple[str, ...]:
    """The name of the one channel, where all images are of one kind."""
    kinds = {MODALITIES.get(one.head.kind) for one in series if one.head.samples == 1}
    name = kinds.pop() if len(kinds) == 1 else None
    return (name,) if name else ()


def _files(root: Path) -> Iterator[Path]:
    """Files below a folder in the order of their names, hidden ones left out."""
    for where, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(where, name) for name in sorted(names) if not name.startswith("."))


def _key(path: Path, root: Path) -> str:
    place = place_of(path).relative_to(root).as_posix()
    return root.resolve().name if place == "." else place


def _masks(
    series: Sequence[Series], segments: Sequence[Segments], files: Sequence[Path], data: DataConfig
) -> dict[str, Path]:
    """The mask of each series that has one, by its key."""
    near: dict[Path, list[Series]] = defaultdict(list)  # the series a file of this folder is for
    for one in series:
        near[one.folder].append(one)
        if one.folder != data.root:
            near[one.folder.parent].append(one)
    found: dict[str, list[Path]] = defaultdict(list)
    for seg in segments:
        if _is_meant(seg.path, data):
            for one in series:
                if seg.belongs_to(one.head.series, one.head.reference):
                    found[one.key].append(seg.path)
    for path in files:
        if not suffix_of(path).startswith(".nii") or not _is_meant(path, data):
            continue
        owners = near.get(path.parent, [])
        if len(owners) > 1:
            raise DataError(
                f"{path} lies beside {len(owners)} series, {listed(one.key for one in owners)}, "
                "and does not say whose mask it is. Move it into the folder of its series."
            )
        for one in owners:
            found[one.key].append(path)
    for key, paths in found.items():
        if len(paths) > 1:
            raise DataError(
                f"{data.root}: series {key} has {len(paths)} masks, {listed(paths)}. Choose one by "
                f"its name: data.masks: {paths[0].name}"
            )
    return {key: paths[0] for key, paths in found.items()}


def _is_meant(path: Path, data: DataConfig) -> bool:
    """Whether a file that can be a mask is one by its name."""
    if data.masks is not None:
        return fnmatch(path.name, str(data.masks))
    return is_dicom(path) or stem_of(path).lower() in MASKS


def _subjects(series: Sequence[Series], data: DataConfig) -> tuple[list[str], str]:
    """The subject of each series, and the rule for people.

    Folders count where they agree with PatientID, so that nobody's number is shown; where one
    patient lies in several folders, PatientID counts, shown as the beginning of its hash.
    """
    if data.subject is not None:
        names = [subject_of(one.key, data.subject, one.folder) for one in series]
        return names, f"regular expression '{data.subject}' on the folder of the series"
    tops = [one.key.partition("/")[0] for one in series]
    patients = [one.head.patient for one in series]
    pairs = {(top, patient) for top, patient in zip(tops, patients, strict=True) if patient}
    if len(pairs) == len({top for top, _ in pairs}) == len({patient for _, patient in pairs}):
        return tops, "folder below data.root, which agrees with PatientID where that is stated"
    hashed = [hashlib.sha256(patient.encode()).hexdigest()[:10] for patient in patients]
    names = [h if p else top for top, p, h in zip(tops, patients, hashed, strict=True)]
    return names, "PatientID, shown as a hash (folder where it is not stated)"
