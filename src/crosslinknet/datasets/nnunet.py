"""nnU-Net v2 raw datasets: ``dataset.json``, ``imagesTr/CASE_0000.ext``, ``labelsTr/CASE.ext``.

A ``splits_final.json`` beside them gives the folds; its "val" is what a fold is tested on. A
``subjects.csv`` with the columns case and subject says who is who, and spacing where pictures
cannot; ``xln data convert`` writes it.
Source: nnU-Net's documentation/dataset_format.md, version 2.
Order: matches, find, read_splits_final, then the parts of dataset.json and the files, subjects.
"""

import csv
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from crosslinknet.case import CaseFiles
from crosslinknet.config import DataConfig
from crosslinknet.datasets.found import (
    Found,
    Orphans,
    images_in,
    listed,
    names_by_number,
    subject_of,
    subject_rule,
)
from crosslinknet.datasets.manifest import parse_spacing
from crosslinknet.errors import DataError
from crosslinknet.files import read_json
from crosslinknet.readers import READERS, stem_of, suffix_of

LOOKED_FOR = "nnU-Net v2: dataset.json with 'file_ending', imagesTr, labelsTr"
CHANNELS = '{"0": "CT"} or {"0": "T1", "1": "T2"}'


def matches(data: DataConfig) -> bool:
    """Whether there is a dataset.json of version 2, which alone names a file ending."""
    path = data.root / "dataset.json"
    if data.images is not None or data.masks is not None or not path.is_file():
        return False
    content = read_json(path)
    return isinstance(content, dict) and "file_ending" in content


def find(data: DataConfig) -> Found:
    """Read dataset.json and collect its training cases.

    Raises:
        DataError: dataset.json incomplete, channels or names that do not fit it.
    """
    path = data.root / "dataset.json"
    if not path.is_file():
        raise DataError(f"{data.root} holds no dataset.json. Looked for {LOOKED_FOR}.")
    content = read_json(path)
    if not isinstance(content, dict) or content.get("file_ending") not in READERS:
        raise DataError(
            f"{path} is no dataset.json of nnU-Net v2 that we read: 'file_ending' must be one of "
            f"{', '.join(READERS)}. Convert the data set, or use data.layout: folders."
        )
    ending: str = content["file_ending"]
    channels = names_by_number(content, "channel_names", path, CHANNELS)
    values, notes = _labels(content, path)
    images = _channel_files(data.root / "imagesTr", ending, len(channels))
    labels = {
        stem_of(file): file
        for file in images_in(data.root / "labelsTr")
        if suffix_of(file) == ending
    }
    unmasked = tuple(images[case][0] for case in sorted(set(images) - set(labels)))
    unused = tuple(labels[case] for case in sorted(set(labels) - set(images)))
    stated = content.get("numTraining", len(images))
    if stated != len(images):
        notes.append(f"dataset.json states numTraining {stated}, imagesTr has {len(images)} cases")
    splits = data.root / "splits_final.json"
    table = data.root / "subjects.csv"
    stated_of = _subjects(table, sorted(set(images) & set(labels))) if table.is_file() else {}
    by_table = bool(stated_of) and data.subject is None
    return Found(
        layout="nnunet",
        cases=tuple(
            _case(case, files, labels[case], stated_of.get(case, {}), data)
            for case, files in sorted(images.items())
            if case in labels
        ),
        subject_rule="column 'subject' of subjects.csv" if by_table else subject_rule(data.subject),
        label_values=values,
        channels=channels,
        splits=read_splits_final(splits) if splits.is_file() else None,
        splits_file=splits if splits.is_file() else None,
        notes=(f"channels: {', '.join(channels)}", *notes),
        unmasked=Orphans(unmasked, len(images), str(data.root / "labelsTr")),
        unused=Orphans(unused, len(labels), str(data.root / "imagesTr")),
    )


def read_splits_final(path: Path) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
    """Read nnU-Net's folds as (train ids, test ids) pairs.

    Raises:
        DataError: not a list of {"train": [names], "val": [names]}.
    """
    content = read_json(path)
    good = isinstance(content, list) and all(
        isinstance(fold, dict)
        and all(
            isinstance(fold.get(part), list) and all(isinstance(name, str) for name in fold[part])
            for part in ("train", "val")
        )
        for fold in content
    )
    if not good or not content:
        raise DataError(
            f"{path} is no splits_final.json of nnU-Net: expected a list with one "
            '{"train": [names], "val": [names]} per fold.'
        )
    return tuple((tuple(fold["train"]), tuple(fold["val"])) for fold in content)


def _labels(content: dict[str, Any], path: Path) -> tuple[dict[str, list[int]], list[str]]:
    """Classes with their values, the background left out, and a note on what is not used."""
    labels = content.get("labels")
    if not isinstance(labels, dict) or not all(_is_label(value) for value in labels.values()):
        raise DataError(
            f"{path}: 'labels' is {labels!r}; expected values by name, as in "
            '{"background": 0, "tumour": 1, "organ with tumour": [1, 2]}.'
        )
    values = {
        name: value if isinstance(value, list) else [value]
        for name, value in labels.items()
        if value != 0 and name != "ignore"
    }
    notes = []
    if "ignore" in labels:
        notes.append(f"label {labels['ignore']} means 'ignore' there, which is not supported here")
    return values, notes


def _is_label(value: Any) -> bool:
    return isinstance(value, int) or (
        isinstance(value, list) and bool(value) and all(isinstance(v, int) for v in value)
    )


def _channel_files(folder: Path, ending: str, channels: int) -> dict[str, tuple[Path, ...]]:
    """The files of each case, in the order of the channels.

    A case has one file per channel, or a single one that holds them all (RGB pictures).
    """
    files: dict[str, dict[int, Path]] = defaultdict(dict)
    for path in images_in(folder):
        match = re.fullmatch(r"(.+)_(\d{4})", stem_of(path))
        if suffix_of(path) != ending or match is None:
            raise DataError(
                f"{path} is not named as nnU-Net names images, CASE_0000{ending} (four digits: "
                "the channel). Rename or remove it."
            )
        files[match[1]][int(match[2])] = path
    for case, found in files.items():
        if set(found) not in (set(range(channels)), {0}):
            names = listed(f"{case}_{i:04}{ending}" for i in range(channels))
            raise DataError(
                f"{folder}: case {case} has {listed(path.name for path in found.values())}, "
                f"expected {names} (dataset.json names {channels} channels). Add what is missing."
            )
    counts = {len(found) for found in files.values()}
    if len(counts) > 1:
        few = sorted(case for case, found in files.items() if len(found) == 1)
        raise DataError(
            f"{folder}: of {len(files)} cases these have channel 0000 only, others {max(counts)}: "
            f"{listed(few)}. Add the missing channels."
        )
    return {case: tuple(found[i] for i in sorted(found)) for case, found in files.items()}


def _case(
    case: str, images: tuple[Path, ...], label: Path, stated: dict[str, str], data: DataConfig
) -> CaseFiles:
    subject = stated.get("subject", case)
    if data.subject is not None:
        subject = subject_of(case, data.subject, images[0])
    spacing = parse_spacing(stated.get("spacing") or "", f"subjects.csv, case {case}")
    return CaseFiles(case, subject, images, label, spacing)


def _subjects(path: Path, cases: list[str]) -> dict[str, dict[str, str]]:
    """The row of each case."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, strict=True))
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a UTF-8 CSV file ({error}).") from error
    stated = {row.get("case") or "": row for row in rows}
    silent = [case for case in cases if not stated.get(case, {}).get("subject")]
    if silent or len(stated) < len(rows):
        raise DataError(
            f"{path} must name the subject of every case once, in the columns case and subject; it "
            f"has {len(rows)} rows and says nothing of {listed(silent) or 'none'}. Complete it, or "
            "remove it and state data.subject."
        )
    return stated
