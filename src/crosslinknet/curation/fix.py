"""A mended copy of a data set: the same layout and names, and only what was asked is different.

What needs no change is copied byte for byte; every change is in fix_log.csv, with checksums of
source and result. The source is never touched, and a stopped work goes on by the same command.
Order: fix, what it refuses, duplicates, one file.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosslinknet.case import CaseFiles
from crosslinknet.curation.asked import Asked, check_asked
from crosslinknet.curation.fix_log import left_out, log_text, sentences, summarise
from crosslinknet.curation.ledger import Ledger, open_ledger
from crosslinknet.curation.mend_file import JPG, Change, mend_mask, mended_values
from crosslinknet.curation.sidecars import Changes, sidecars
from crosslinknet.curation.work import (
    Checksums,
    Track,
    copy_file,
    named,
    quietly,
    refuse_place,
    remove_all,
    stated_config,
)
from crosslinknet.datasets import WORKS, Found, find_cases
from crosslinknet.datasets.found import listed
from crosslinknet.errors import DataError
from crosslinknet.files import write_bytes, write_json, write_text
from crosslinknet.readers import is_drawn, read_case_image, read_image, suffix_of

LEDGER, LOG = "fix_ledger.jsonl", "fix_log.csv"
SUMMARY = WORKS[LEDGER]
BESIDE = "beside"  # the job that writes descriptions and tables


def fix(
    data: str | Path,
    out: str | Path,
    asked: Asked,
    settings: tuple[str, ...] = (),
    track: Track = quietly,
) -> list[str]:
    """Write a mended copy of a data set.

    Args:
        data: folder, or CSV manifest.
        out: folder of the copy; it may hold a part of it already.
        asked: what is to be mended.
        settings: ``key=value`` texts for the section data.
        track: draws a bar.

    Returns:
        What was done, a sentence each.

    Raises:
        UsageError: nothing is asked, or what contradicts itself; a folder that holds something
            else or lies in the source.
        DataError: what cannot be mended as asked; duplicates with different masks.
        SystemProblem: the disk refuses.
    """
    data, out = Path(data), Path(out)
    check_asked(asked)
    config, _ = stated_config(data, settings)
    root = config.data.root
    refuse_place(root, out)
    found = find_cases(config.data)
    _refuse_strange(found, root, asked)
    checksums = Checksums(root)
    kept_of = _duplicates(found, asked, track) if asked.drop_duplicates else {}
    jobs = _jobs([case for case in found.cases if case.id not in kept_of], root)
    _refuse_collisions(jobs)
    wanted = {"data": config.data.model_dump(mode="json"), **asked.as_json()}
    rows: list[dict[str, Any]] = []
    skipped = 0
    with open_ledger(out / LEDGER, wanted, [*jobs, BESIDE], (out / SUMMARY).is_file()) as ledger:
        for name, (path, image) in track(list(jobs.items()), "mending"):
            done = _one(name, path, image, asked, ledger, checksums)
            skipped += done[1]
            rows += done[0]
        renamed = {row["file"]: row["result"] for row in rows if row["file"] != row["result"]}
        dropped = tuple(case for case in found.cases if case.id in kept_of)
        labels = {} if asked.colour else asked.numbers
        beside = sidecars(found.layout, Changes(config.data, dropped, renamed, labels))
        for name, content in beside.items():
            write_bytes(out / name, content)
        ledger.record(BESIDE, {}, [out / name for name in beside], None)
        rows += _dropped_rows(dropped, kept_of, checksums)
        left = left_out(root, {*jobs, *beside, *(row["file"] for row in rows)})
        summary = summarise(asked, found, rows, len(jobs), left)
        write_text(out / LOG, log_text(rows))
        write_json(out / SUMMARY, summary)
    return sentences(summary, skipped)


def _refuse_strange(found: Found, root: Path, asked: Asked) -> None:
    """Refuse what a copy with the same names cannot hold, or what has no pixels to mend."""
    files = [path for case in found.cases for path in (*case.images, *case.masks)]
    outside = [path for path in files if named(path, root).startswith("../")]
    if outside:
        raise DataError(
            f"{len(outside)} files lie outside {root}: {listed(outside, 3)}. A copy with the same "
            "names has no place for them; fix the data there."
        )
    other = [path for path in files if path.is_dir() or is_drawn(path)]
    if other:
        raise DataError(
            f"{len(other)} files are outlines or series, {other[0]} for one, and not one picture "
            "or volume each. Write them as such first: xln data convert."
        )
    stacked = [case.id for case in found.cases if case.slices is not None]
    if stacked and asked.drop_duplicates:
        raise DataError(
            f"{stacked[0]} is a slice of a stack, which --drop-duplicates cannot leave out of it. "
            "Write the slices as files first: xln data convert --to folders."
        )


def _refuse_collisions(jobs: Mapping[str, tuple[Path, Path | None]]) -> None:
    for name, (path, image) in jobs.items():
        if image is not None and result_name(name) != name and result_name(name) in jobs:
            raise DataError(f"{path} would become {result_name(name)}, which is there. Rename it.")


def _jobs(cases: Sequence[CaseFiles], root: Path) -> dict[str, tuple[Path, Path | None]]:
    """Each file by its path below the root, and for a mask its image."""
    jobs: dict[str, tuple[Path, Path | None]] = {}
    for case in cases:
        pairs = [(path, None) for path in case.images] + [(p, case.images[0]) for p in case.masks]
        for path, image in pairs:
            jobs.setdefault(named(path, root), (path, image))
    return dict(sorted(jobs.items()))


def result_name(mask: str) -> str:
    """The name of a mask that is written anew: PNG for JPG, which holds no labels."""
    return str(Path(mask).with_suffix(".png")) if suffix_of(Path(mask)) in JPG else mask


def _duplicates(found: Found, asked: Asked, track: Track) -> dict[str, str]:
    """Cases to leave out, and the one that is kept in place of each.

    Raises:
        DataError: the same pixels with different masks.
    """
    same: dict[str, list[CaseFiles]] = {}
    for case in track(found.cases, "comparing"):
        pixels, _ = read_case_image(case, 0)
        same.setdefault(f"{pixels.dtype} {_fingerprint(pixels)}", []).append(case)
    kept_of: dict[str, str] = {}
    torn = []
    for cases in same.values():
        if len(cases) == 1:
            continue
        masks = {tuple(_fingerprint(_mask(path, asked)) for path in c.masks) for c in cases}
        if len(masks) > 1:
            torn.append(" = ".join(str(case.images[0]) for case in cases))
        kept_of |= {case.id: cases[0].id for case in cases[1:]}
    if torn:
        raise DataError(
            f"{len(torn)} images are there several times, with different masks: {listed(torn, 5)}. "
            "Somebody has to decide which mask is right; remove the other files."
        )
    return kept_of


def _fingerprint(pixels: NDArray[Any]) -> str:
    plain = pixels.astype(np.int64) if pixels.dtype.kind in "iu" else pixels
    head = f"{plain.dtype}{plain.shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(plain).tobytes()).hexdigest()


def _mask(path: Path, asked: Asked) -> NDArray[Any]:
    """The pixels of a mask as they will be."""
    return mended_values(path, asked)[0] if asked.values else read_image(path, 0)[0]


def _one(
    name: str, path: Path, image: Path | None, asked: Asked, ledger: Ledger, checksums: Checksums
) -> tuple[list[dict[str, Any]], bool]:
    """Copy or mend a file; gives the rows of the log, and whether it was there already."""
    sources = checksums.of([path, *([image] if image is not None and asked.masks else [])])
    entry = ledger.finished(name, sources)
    skipped = entry is not None
    if entry is None:
        remove_all(ledger.folder, (LOG, SUMMARY))  # while files are missing nothing says otherwise
        target = ledger.folder / name
        changes: list[Change] = []
        if image is not None and asked.masks:
            target = ledger.folder / result_name(name)
            changes = mend_mask(path, image, target, asked)
        if not changes:
            target = ledger.folder / name
            copy_file(path, target)
        entry = ledger.record(name, sources, [target], changes)
    ((result, digest),) = entry.results.items()
    facts = {"file": name, "result": result, "sha256_before": sources[name], "sha256_after": digest}
    return [facts | change for change in entry.about], skipped


def _dropped_rows(
    dropped: Sequence[CaseFiles], kept_of: Mapping[str, str], checksums: Checksums
) -> list[dict[str, Any]]:
    rows = []
    for case in dropped:
        for name, digest in checksums.of([*case.images, *case.masks]).items():
            what, before = "dropped", f"same pixels and mask as {kept_of[case.id]}"
            rows.append({"file": name, "what": what, "before": before, "sha256_before": digest})
    return rows
