"""What was mended, as a table of every change and a summary.

Order: what is no part of the data, the summary, the table, sentences.
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crosslinknet.curation.asked import Asked
from crosslinknet.datasets import Found
from crosslinknet.datasets.found import listed
from crosslinknet.report.markup import count

SCHEMA = "crosslinknet/fix/1"
COLUMNS = ("file", "result", "what", "before", "after", "sha256_before", "sha256_after")


def left_out(root: Path, known: set[str]) -> list[str]:
    """Files below the root that are not known, as no part of the data set."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    names = [path.relative_to(root).as_posix() for path in files]
    return [name for name in names if name not in known]


def summarise(
    asked: Asked, found: Found, rows: Sequence[dict[str, Any]], files: int, left: list[str]
) -> dict[str, Any]:
    """What was done, as numbers and names of files.

    Args:
        asked: what was to be mended.
        found: the source.
        rows: of the log.
        files: number of images and masks in the copy.
        left: files of the source that are not in the copy.
    """
    dropped = [row["file"] for row in rows if row["what"] == "dropped"]
    changed = sorted({row["file"] for row in rows} - set(dropped))
    emptied = [row["file"] for row in rows if row.get("emptied")]
    held = set().union(*(row.get("held", ()) for row in rows))
    meant = [str(old) for old, new in asked.labels.items() if old != new]
    unused = [old for old in meant if old not in held]
    return {
        "schema": SCHEMA,
        "asked": asked.as_json(),
        "layout": found.layout,
        "files": files,
        "changed": changed,
        "copied": files - len(changed),
        "dropped": dropped,
        "emptied": emptied,
        "unused": unused,
        "left_out": left,
    }


def log_text(rows: Sequence[dict[str, Any]]) -> str:
    """The table as CSV, sorted by file."""
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    table.writerows(sorted(rows, key=lambda row: (row["file"], row["what"])))
    return text.getvalue()


def sentences(summary: dict[str, Any], skipped: int) -> list[str]:
    """The summary for people; ``skipped`` files were finished by an earlier call."""
    changed = len(summary["changed"])
    told = [f"{count(changed, 'file')} changed, {summary['copied']} copied as they are"]
    if skipped:
        told.append(f"{count(skipped, 'file')} there already, verified by checksum")
    if summary["dropped"]:
        dropped = summary["dropped"]
        told.append(f"{count(len(dropped), 'file')} dropped: {listed(dropped)}")
    if summary["unused"]:
        named = ", ".join(summary["unused"])
        told.append(f"no mask holds {named}: --labels changed nothing there; look for a slip")
    if summary["emptied"]:
        names = listed(summary["emptied"])
        emptied = count(len(summary["emptied"]), "mask")
        told.append(f"{emptied} empty now and not before: {names}")
    if summary["left_out"]:
        names = listed(summary["left_out"])
        left = count(len(summary["left_out"]), "file")
        told.append(f"{left} left out, no part of the data: {names}")
    return told
