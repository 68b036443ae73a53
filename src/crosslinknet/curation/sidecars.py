"""Files that a layout keeps beside its images: carried over, without what was left out.

Order: SIDECARS, then one function per kind of file.
"""

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crosslinknet.case import CaseFiles
from crosslinknet.config import DataConfig
from crosslinknet.datasets.manifest import manifest_path
from crosslinknet.errors import DataError
from crosslinknet.files import read_json


@dataclass(frozen=True)
class Changes:
    """What of a data set is different in its copy.

    Attributes:
        data: where the source is.
        dropped: cases that were left out.
        renamed: new path of files that got another suffix, both below the root.
        labels: new value of each mask value that was mapped; empty for colours.
    """

    data: DataConfig
    dropped: tuple[CaseFiles, ...]
    renamed: Mapping[str, str]
    labels: Mapping[int, int]

    @property
    def dropped_ids(self) -> set[str]:
        """Ids of the cases that were left out."""
        return {case.id for case in self.dropped}


def sidecars(layout: str, changes: Changes) -> dict[str, bytes]:
    """The content of each file that the copy needs beside images and masks, by path.

    Raises:
        DataError: a file that cannot be rewritten to fit.
    """
    return SIDECARS.get(layout, _none)(changes)


def _none(changes: Changes) -> dict[str, bytes]:
    return {}


def _nnunet(changes: Changes) -> dict[str, bytes]:
    """dataset.json, splits_final.json and subjects.csv."""
    root, gone = changes.data.root, changes.dropped_ids
    about = read_json(root / "dataset.json")
    labels = {name: _mapped(value, changes) for name, value in about["labels"].items()}
    _refuse_merged(about["labels"], labels, root / "dataset.json")
    changed = about | {"labels": labels}
    if gone:
        changed["numTraining"] = int(about.get("numTraining", 0)) - len(gone)
    files = {"dataset.json": _json(root / "dataset.json", about, changed)}
    splits = root / "splits_final.json"
    if splits.is_file():
        folds = read_json(splits)
        left = [{p: [n for n in names if n not in gone] for p, names in f.items()} for f in folds]
        files["splits_final.json"] = _json(splits, folds, left)
    subjects = root / "subjects.csv"
    if subjects.is_file():
        files["subjects.csv"] = _rows(subjects, lambda row: row.get("case") not in gone)
    return files


def _decathlon(changes: Changes) -> dict[str, bytes]:
    """dataset.json without the cases that were left out."""
    path = changes.data.root / "dataset.json"
    about = read_json(path)
    gone = {case.masks[0].resolve() for case in changes.dropped}
    training = [
        entry
        for entry in about["training"]
        if not entry.get("label") or (path.parent / entry["label"]).resolve() not in gone
    ]
    labels = {str(_mapped(int(value), changes)): name for value, name in about["labels"].items()}
    if len(labels) < len(about["labels"]):
        raise DataError(f"{path} would name a label twice after --labels. Edit it first.")
    changed = about | {"training": training, "labels": labels}
    if len(training) < len(about["training"]):
        changed["numTraining"] = len(training)
    return {"dataset.json": _json(path, about, changed)}


def _manifest(changes: Changes) -> dict[str, bytes]:
    """The table, without rows that were left out, and with the new names of masks."""
    path = manifest_path(changes.data)
    gone = {case.images[0].resolve() for case in changes.dropped}

    def stays(row: dict[str, str]) -> bool:
        first = row["image"].partition("|")[0].strip()
        return (path.parent / first).resolve() not in gone

    return {path.name: _rows(path, stays, changes.renamed)}


def _as_they_are(*patterns: str) -> Callable[[Changes], dict[str, bytes]]:
    """Descriptions and tables that hold for the copy, too, wherever they lie."""

    def copied(changes: Changes) -> dict[str, bytes]:
        root = changes.data.root
        paths = sorted(path for pattern in patterns for path in root.rglob(pattern))
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}

    return copied


SIDECARS: dict[str, Callable[[Changes], dict[str, bytes]]] = {
    "nnunet": _nnunet,
    "decathlon": _decathlon,
    "csv": _manifest,
    "bids": _as_they_are("*.json", "*.tsv"),
    "covid19-i": _as_they_are("groups.csv"),  # who is who
    "kits19": _as_they_are("kits.json"),
    "york-cardiac": _as_they_are("spacing.csv"),
}


def _mapped(value: Any, changes: Changes) -> Any:
    """A label that was mapped away takes its name along."""
    if isinstance(value, list):
        return sorted({_mapped(part, changes) for part in value})
    return changes.labels.get(value, value)


def _refuse_merged(before: dict[str, Any], after: dict[str, Any], path: Path) -> None:
    single = [value for value in after.values() if not isinstance(value, list)]
    if len(set(single)) < len(single) and before != after:
        raise DataError(
            f"{path} would give several names to one label after --labels: {after}. Edit its "
            "'labels' first, so that each name that is to stay has a value of its own."
        )


def _json(path: Path, before: Any, after: Any) -> bytes:
    """The file's own bytes where nothing changed."""
    return path.read_bytes() if before == after else (json.dumps(after, indent=2) + "\n").encode()


def _rows(
    path: Path,
    stays: Callable[[dict[str, str]], bool],
    renamed: Mapping[str, str] | None = None,
) -> bytes:
    """A table without some rows, and with other names of mask files."""
    text = path.read_text(encoding="utf-8-sig")
    separator = max(",;\t", key=text.partition("\n")[0].count)
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    header = [name.strip().lower() for name in rows[0]]
    kept = [rows[0]]
    for cells in rows[1:]:
        row = dict(zip(header, cells, strict=False))
        if any(cells) and not stays(row):
            continue
        if renamed and row.get("mask", "").strip() in renamed:
            place = header.index("mask")
            cells = [*cells[:place], renamed[row["mask"].strip()], *cells[place + 1 :]]
        kept.append(cells)
    if kept == rows:
        return path.read_bytes()
    written = io.StringIO()
    csv.writer(written, delimiter=separator, lineterminator="\n").writerows(kept)
    return written.getvalue().encode()
