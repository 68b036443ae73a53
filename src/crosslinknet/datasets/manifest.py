"""A CSV manifest: one row per case with the columns image and mask, and optionally more.

Columns: ``image`` (several files joined by ``|`` become channels), ``mask``, ``id``, ``subject``,
``spacing`` ("dz dy dx" in mm), ``fold`` (test fold, 0, 1, ...). Others are ignored. Paths start
at the CSV's folder. Comma, semicolon or tab separate.
Order: matches, find, then the table and its cells.
"""

import csv
import io
import math
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from crosslinknet.case import CaseFiles
from crosslinknet.config import DataConfig
from crosslinknet.datasets.found import (
    Found,
    Orphans,
    case_ids,
    check_files,
    listed,
    subject_of,
    subject_rule,
)
from crosslinknet.errors import DataError
from crosslinknet.readers import stem_of

LOOKED_FOR = "a CSV file with the columns image and mask"


@dataclass(frozen=True)
class Row:
    """A line of the table: cells by lower-case column name."""

    line: int
    cells: dict[str, str]


def matches(data: DataConfig) -> bool:
    """Whether a CSV file has the columns image and mask; other CSV files do not count."""
    return data.masks is None and bool(_candidates(data))


def find(data: DataConfig) -> Found:
    """Read the manifest.

    Raises:
        DataError: no such file or several, missing files, images twice, cells that make no sense.
    """
    path = manifest_path(data)
    rows = _table(path)
    for column in ("image", "id", "spacing", "fold", "subject"):
        empty = [row.line for row in rows if not row.cells.get(column)]
        if empty and (len(empty) < len(rows) or column == "image"):
            raise DataError(
                f"{path}: column {column!r} is empty in {len(empty)} of {len(rows)} rows (line "
                f"{listed(empty)}). Fill it everywhere or remove the column."
            )
    masked = [row for row in rows if row.cells["mask"]]
    names = _ids(masked, path)
    cases = [_case(name, row, path, data) for name, row in zip(names, masked, strict=True)]
    check_files(cases, path)
    unmasked = tuple(_images(row, path)[0] for row in rows if not row.cells["mask"])
    by_column = data.subject is None and bool(rows[0].cells.get("subject"))
    rule = f"column 'subject' of {path.name}" if by_column else subject_rule(data.subject)
    return Found(
        layout="csv",
        cases=tuple(sorted(cases, key=lambda case: case.id)),
        subject_rule=rule,
        notes=(f"cases listed in {path.name}",),
        unmasked=Orphans(unmasked, len(rows), f"column 'mask' of {path}"),
    )


def _candidates(data: DataConfig) -> list[Path]:
    """CSV files that qualify: the stated one, data.root itself, manifest.csv, or any beside it."""
    if data.images is not None:
        stated = data.root / data.images
        return [stated] if stated.is_file() else []
    if data.root.is_file():
        return [data.root]
    usual = data.root / "manifest.csv"
    if usual.is_file() and _has_columns(usual):
        return [usual]
    return [path for path in sorted(data.root.glob("*.csv")) if _has_columns(path)]


def manifest_path(data: DataConfig) -> Path:
    """The CSV file of a data set.

    Raises:
        DataError: there is none, or several that it could be.
    """
    candidates = _candidates(data)
    if not candidates:
        raise DataError(
            f"{data.root if data.images is None else data.root / data.images}: looked for "
            f"{LOOKED_FOR}, and found none. State the file with data.images: FILE.csv"
        )
    if len(candidates) > 1:
        raise DataError(
            f"{data.root} holds several manifests: {listed(path.name for path in candidates)}. "
            f"Choose one with data.images: {candidates[0].name}"
        )
    return candidates[0]


def _has_columns(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            header = file.readline(100_000)
    except OSError:
        return False
    return {"image", "mask"} <= set(_columns(header))


def _columns(header: str) -> list[str]:
    names = next(csv.reader([header.strip("\r\n")], delimiter=_separator(header)), [])
    return [name.strip().lower() for name in names]


def _separator(header: str) -> str:
    return max(",;\t", key=header.count)


def _table(path: Path) -> list[Row]:
    """All rows that are not blank."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a UTF-8 CSV file ({error}).") from error
    header = text.partition("\n")[0]
    columns = _columns(header)
    if not {"image", "mask"} <= set(columns):
        raise DataError(f"{path} has the columns {columns}; image and mask are needed.")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(header), strict=True)
    rows = []
    try:
        next(reader)
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(columns):
                raise DataError(
                    f"{path}, line {reader.line_num}: {len(cells)} cells, the header has "
                    f"{len(columns)}. Quote cells that hold a separator."
                )
            stripped = (cell.strip() for cell in cells)
            rows.append(Row(reader.line_num, dict(zip(columns, stripped, strict=True))))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}.") from error
    if not rows:
        raise DataError(f"{path} has a header but no rows. List one case per line.")
    return rows


def _ids(rows: list[Row], path: Path) -> list[str]:
    """The column id, else names made from the image paths."""
    if all(row.cells.get("id") for row in rows):
        ids = [row.cells["id"] for row in rows]
    else:
        images = [Path(row.cells["image"].partition("|")[0].strip()) for row in rows]
        ids = case_ids([(image.parent / stem_of(image)).as_posix() for image in images])
    for row, name in zip(rows, ids, strict=True):
        if re.search(r"[/\\\0]", name) or name in (".", ".."):
            raise DataError(
                f"{path}, line {row.line}: id {name!r} is no file name; use no slashes."
            )
    double = [name for name, count in Counter(ids).items() if count > 1]
    if double:
        raise DataError(
            f"{path} lists cases more than once, {len(double)} in all: {listed(double)}. A case in "
            "two rows could be trained on and tested; keep one."
        )
    return ids


def _case(name: str, row: Row, path: Path, data: DataConfig) -> CaseFiles:
    cells, where = row.cells, f"{path}, line {row.line}"
    images = _images(row, path)
    subject = cells.get("subject") or name
    if data.subject is not None:
        text = cells["image"]  # as it is written, or else the file name alone
        text = text if re.search(data.subject, text) else images[0].name
        subject = subject_of(text, data.subject, images[0])
    return CaseFiles(
        id=name,
        subject=subject,
        images=images,
        mask=path.parent / cells["mask"],
        spacing=parse_spacing(cells.get("spacing", ""), where),
        fold=_fold(cells.get("fold", ""), where),
    )


def _images(row: Row, path: Path) -> tuple[Path, ...]:
    return tuple(path.parent / part.strip() for part in row.cells["image"].split("|"))


def parse_spacing(text: str, where: str) -> tuple[float, float, float] | None:
    """Three lengths in mm, ``dz dy dx``; None for an empty text.

    Raises:
        DataError: not three numbers above 0.
    """
    if not text:
        return None
    try:
        dz, dy, dx = (float(part) for part in re.split(r"[\s,;x]+", text.strip("[]() ")))
    except ValueError:
        dz = dy = dx = math.nan
    if not all(0 < size < math.inf for size in (dz, dy, dx)):
        raise DataError(
            f"{where}: spacing {text!r} is not understood. Write dz dy dx in mm, as in "
            '"5 0.7 0.7"; for single pictures dz has no effect.'
        )
    return dz, dy, dx


def _fold(text: str, where: str) -> int | None:
    if text and not (text.isascii() and text.isdigit()):
        raise DataError(f"{where}: fold {text!r} is not understood. Write 0, 1, 2, ...")
    return int(text) if text else None
