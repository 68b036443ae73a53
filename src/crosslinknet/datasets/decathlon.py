"""Medical Segmentation Decathlon: ``dataset.json`` that lists pairs of image and label.

Images of four axes hold their channels on the last one. nnU-Net v1 wrote the same file, but one
image file per channel, NAME_0000, NAME_0001, ...; these are found too.
Source: the dataset.json of the ten tasks, http://medicaldecathlon.com.
Order: matches, find, then the entries and what they name.
"""

from pathlib import Path
from typing import Any

from crosslinknet.case import CaseFiles
from crosslinknet.config import DataConfig
from crosslinknet.datasets.found import (
    Found,
    Orphans,
    below,
    check_files,
    names_by_number,
    subject_of,
    subject_rule,
)
from crosslinknet.errors import DataError
from crosslinknet.files import read_json
from crosslinknet.readers import stem_of, suffix_of

LOOKED_FOR = "Decathlon: dataset.json with 'training', a list of image and label"
CHANNELS = '{"0": "CT"} or {"0": "T2", "1": "ADC"}'


def matches(data: DataConfig) -> bool:
    """Whether a dataset.json lists training cases."""
    path = data.root / "dataset.json"
    if data.images is not None or data.masks is not None or not path.is_file():
        return False
    content = read_json(path)
    return isinstance(content, dict) and isinstance(content.get("training"), list)


def find(data: DataConfig) -> Found:
    """Read dataset.json and collect its training cases.

    Raises:
        DataError: dataset.json incomplete, paths that leave the folder, files that are missing,
            listed twice or of a kind that is not read.
    """
    path = data.root / "dataset.json"
    if not path.is_file():
        raise DataError(f"{data.root} holds no dataset.json. Looked for {LOOKED_FOR}.")
    content = read_json(path)
    entries = content.get("training") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries or not all(map(_is_entry, entries)):
        raise DataError(
            f"{path} is no dataset.json of the Decathlon: 'training' must be a list such as "
            '[{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}].'
        )
    channels, values = names_by_number(content, "modality", path, CHANNELS), _labels(content, path)
    unmasked = tuple(data.root / entry["image"] for entry in entries if not entry.get("label"))
    cases = [_case(entry, len(channels), data) for entry in entries if entry.get("label")]
    check_files(cases, path)
    stated, notes = content.get("numTraining", len(entries)), []
    if stated != len(entries):
        notes.append(f"dataset.json states numTraining {stated}, 'training' lists {len(entries)}")
    return Found(
        layout="decathlon",
        cases=tuple(sorted(cases, key=lambda case: case.id)),
        subject_rule=subject_rule(data.subject),
        label_values=values,
        channels=channels,
        notes=(f"channels: {', '.join(channels)}", *notes),
        unmasked=Orphans(unmasked, len(entries), f"'training' of {path}"),
    )


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("image"), str)


def _labels(content: dict[str, Any], path: Path) -> dict[str, list[int]]:
    """Classes with their values, the background left out."""
    labels = content.get("labels")
    if not isinstance(labels, dict) or not all(
        value.isascii() and value.isdigit() and isinstance(name, str) and name
        for value, name in labels.items()
    ):
        raise DataError(
            f"{path}: 'labels' is {labels!r}; expected names by value, as in "
            '{"0": "background", "1": "liver"}.'
        )
    values: dict[str, list[int]] = {}
    for value, name in sorted(labels.items(), key=lambda item: int(item[0])):
        if int(value) != 0:
            values.setdefault(name, []).append(int(value))
    return values


def _case(entry: dict[str, Any], channels: int, data: DataConfig) -> CaseFiles:
    source = data.root / "dataset.json"
    image, label = (below(data.root, entry[key], source) for key in ("image", "label"))
    name, suffix = stem_of(image), suffix_of(image)
    files = tuple(image.with_name(f"{name}_{i:04}{suffix}") for i in range(channels))
    if image.is_file() or not files[0].is_file():
        files = (image,)
    subject = name if data.subject is None else subject_of(name, data.subject, image)
    return CaseFiles(name, subject, files, label)
