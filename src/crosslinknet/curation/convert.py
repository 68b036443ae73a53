"""Another layout: any data set that is read, written as nnU-Net v2, folders, COCO, CSV or NIfTI.

Nothing is lost on the way, or the case is refused with the reason: pixels and their type, masks,
place in space, subjects and folds. The work may be stopped at any moment and goes on by the same
command. Order: TARGETS, convert, what is known before it, its folds, the record.
"""

from pathlib import Path
from typing import Any

from crosslinknet.config import Config
from crosslinknet.curation.ledger import open_ledger
from crosslinknet.curation.nnunet import NNUNET
from crosslinknet.curation.targets import (
    COCO,
    CSV,
    FOLDERS,
    NIFTIS,
    Folds,
    Target,
    Work,
    category_numbers,
)
from crosslinknet.curation.work import (
    Checksums,
    Track,
    files_of,
    quietly,
    refuse_place,
    remove_all,
    stated_config,
)
from crosslinknet.datasets import WORKS, Found, find_cases
from crosslinknet.datasets.proposal import look_at_masks, refuse_jpg_masks
from crosslinknet.duplicates import fingerprints, groups_of
from crosslinknet.errors import DataError, UsageError, suggest
from crosslinknet.files import write_json
from crosslinknet.labels import label_table, merge_values
from crosslinknet.lookalikes import Links, compare_cases
from crosslinknet.readers import read_case_image
from crosslinknet.report.markup import count
from crosslinknet.splits import make_splits

TARGETS: dict[str, Target] = {
    "nnunet": NNUNET,
    "folders": FOLDERS,
    "coco": COCO,
    "csv": CSV,
    "nifti": NIFTIS,
}
LEDGER = "convert_ledger.jsonl"
RECORD = WORKS[LEDGER]
SCHEMA = "crosslinknet/conversion/1"
LAST = (  # files that describe all cases
    *("dataset.json", "subjects.csv", "splits_final.json", "manifest.csv", "annotations.json"),
    RECORD,
)
NNUNET_FOLDS = 5  # as many as nnU-Net draws by itself


def convert(
    data: str | Path,
    out: str | Path,
    to: str,
    settings: tuple[str, ...] = (),
    config: Path | None = None,
    channels: tuple[str, ...] = (),
    track: Track = quietly,
) -> list[str]:
    """Write a data set in another layout.

    Args:
        data: folder, or CSV manifest.
        out: folder of the result; it may hold a part of it already.
        to: a key of TARGETS.
        settings: ``key=value`` texts for the sections data, image and split.
        config: a config file that says these things.
        channels: names of the image channels, for nnU-Net.
        track: draws a bar.

    Returns:
        What was done, a sentence each.

    Raises:
        UsageError: an unknown target, an impossible setting, a folder that holds something else.
        DataError: data that cannot be read, or that the target cannot hold.
        SystemProblem: the disk refuses.
    """
    data, out = Path(data), Path(out)
    if to not in TARGETS:
        raise UsageError(f"--to {to!r} is no known layout{suggest(to, TARGETS)}")
    if channels and to != "nnunet":
        raise UsageError(f"--channel names channels for nnU-Net; --to {to} keeps no names.")
    target = TARGETS[to]
    work, told = _plan(data, out, to, settings, config, channels, track)
    root, cases = work.config.data.root, work.found.cases
    same = target.settings(work, track)
    jobs = [case for case in cases if target.wants(case)]
    fixed = {
        "to": to,
        "data": work.config.data.model_dump(mode="json"),
        "slice_axis": work.config.image.slice_axis,
        **same,
    }
    checksums, abouts, skipped = Checksums(root), dict[str, dict[str, Any]](), 0
    ids, ended = [case.id for case in jobs], (out / RECORD).is_file()
    with open_ledger(out / LEDGER, fixed, ids, ended) as ledger:
        for case in track(jobs, "converting"):
            sources = checksums.of(files_of(case))
            entry = ledger.finished(case.id, sources)
            if entry is None:
                remove_all(out, LAST)  # while cases are missing nothing says otherwise
                results, about = target.write(case, work, same)
                entry = ledger.record(case.id, sources, results, about)
            else:
                skipped += 1
            abouts[case.id] = entry.about
        names, notes = target.finish(work, abouts, same)
        remove_all(out, LAST, keep={*names, RECORD})
        write_json(out / RECORD, _record(to, work))
    if skipped:
        told.append(f"{skipped} of {len(jobs)} cases were there already, verified by checksum")
    if work.config.data.threshold is not None and to == "csv":
        notes.append(
            f"the masks stay as they are: keep data.threshold={work.config.data.threshold}"
        )
    return [*told, *notes, f"read it with data.label_map: {_shown(work.label_map)}"]


def _plan(
    data: Path,
    out: Path,
    to: str,
    settings: tuple[str, ...],
    config: Path | None,
    channels: tuple[str, ...],
    track: Track,
) -> tuple[Work, list[str]]:
    """Everything that is known before the first case is written, and what to tell of it."""
    chosen, stated = stated_config(data, settings, config)
    refuse_place(chosen.data.root, out)
    found = find_cases(chosen.data)
    _refuse_names(found)
    refuse_jpg_masks(found.cases, chosen.data)
    told = [f"{count(len(found.cases), 'case')}, layout {found.layout}", *found.notes]
    if "label_map" not in stated["data"]:
        labels, sentence = look_at_masks(found, found.cases, chosen.data)
        section = chosen.data.model_copy(update={"label_map": labels})
        chosen = chosen.model_copy(update={"data": section})
        told.append(sentence)
    table = label_table(chosen.data.label_map)
    folds, sentences = _folds(found, chosen, "folds" in stated.get("split", {}), to, track)
    subjects = len({case.subject for case in found.cases})
    told += [f"{count(subjects, 'subject')}, by {found.subject_rule}", *sentences]
    numbers = merge_values(table)[0] if TARGETS[to].renumbers(table) else None
    work = Work(out, found, chosen, table, folds, channels, numbers, {})
    return Work(out, found, chosen, table, folds, channels, numbers, _label_map(work, to)), told


def _refuse_names(found: Found) -> None:
    hidden = [case.id for case in found.cases if case.id.startswith(".")]
    if hidden:
        raise DataError(f"{hidden[0]!r} begins with a dot, as hidden files do. Rename the case.")


def _folds(
    found: Found, config: Config, counted: bool, to: str, track: Track
) -> tuple[Folds | None, list[str]]:
    """Folds that are given; for nnU-Net, which knows no subjects, also folds by subject.

    Near-duplicates are looked for as a training does, which reads every image once: nothing that
    shows the same is divided, and given folds that divide it are refused.
    """
    split = config.split
    given = split.file is not None or found.splits is not None
    given = given or any(case.fold is not None for case in found.cases)
    if not given and to != "nnunet":
        return None, []
    links, notes = _lookalikes(found, config, track)
    subject_of = {case.id: case.subject for case in found.cases}
    groups = set(groups_of(subject_of, links).values())
    if not given and len(groups) == len(found.cases):
        return None, notes  # every image is alone: nnU-Net may draw what it likes
    if not given and len(groups) < 2:
        return None, [*notes, "one subject cannot be split: the folds that nnU-Net draws will leak"]
    count = split.folds if counted else min(NNUNET_FOLDS, len(groups))
    chosen = split.model_copy(update={"validation": 0.0, "folds": count})
    splits = make_splits(found, chosen, links)
    folds = [([*f.train, *f.validation], list(f.test)) for f in splits.folds]
    return folds, [*notes, f"folds: {splits.rule}"]


def _lookalikes(found: Found, config: Config, track: Track) -> tuple[Links, list[str]]:
    if config.split.duplicates == "ignore":
        return (), []
    axis = config.image.slice_axis
    every = track(found.cases, "comparing")
    alike = compare_cases(found.cases, (fingerprints(read_case_image(c, axis)[0]) for c in every))
    return alike.links, list(alike.notes)


def _label_map(work: Work, to: str) -> dict[str, list[int | str]]:
    """The label map that reads the result."""
    table = work.table
    if to == "coco":
        _, numbers = merge_values(table)
        named = {number: name for name, number in category_numbers(work).items()}
        return {name: [named[n] for n in members] for name, members in numbers.items()}
    if work.number is not None:
        return {name: list(members) for name, members in merge_values(table)[1].items()}
    if table.names:
        values = dict(zip(table.names, table.values, strict=True))
        stated = work.config.data.label_map
        return {name: [values[str(label)] for label in labels] for name, labels in stated.items()}
    return work.config.data.label_map


def _record(to: str, work: Work) -> dict[str, Any]:
    """What a reader of the folder should know; no times, no places."""
    return {
        "schema": SCHEMA,
        "to": to,
        "from": work.found.layout,
        "cases": len(work.found.cases),
        "subjects": len({case.subject for case in work.found.cases}),
        "subject_rule": work.found.subject_rule,
        "label_map": work.label_map,
    }


def _shown(label_map: dict[str, list[int | str]]) -> str:
    return "{" + ", ".join(f"{k}: [{', '.join(map(str, v))}]" for k, v in label_map.items()) + "}"
