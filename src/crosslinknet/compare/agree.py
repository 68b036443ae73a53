"""What must agree before methods are compared: rules, images, references, units.

Order: settings, images, metrics and units, warnings.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from crosslinknet.compare.sources import Method
from crosslinknet.errors import DataError, UsageError, suggest
from crosslinknet.metrics.registry import METRICS
from crosslinknet.metrics.table import Row

USUAL = ("dice", "hd95")
Key = tuple[str, int | None, str]  # case, slice, class


def refuse_settings(methods: Sequence[Method]) -> None:
    """Refuse scores that were made by different rules."""
    first = methods[0]
    for other in methods[1:]:
        shared = first.settings.keys() & other.settings.keys()
        differs = [
            f"{key} is {first.settings[key]} in {first.name} and {other.settings[key]} in "
            f"{other.name}"
            for key in sorted(shared)
            if first.settings[key] != other.settings[key]
        ]
        if differs:
            raise DataError(
                f"the scores were made by different rules: {'; '.join(differs)}. Score all of them "
                "alike with xln evaluate, and compare these folders."
            )


def same_images(methods: Sequence[Method], common: bool) -> list[Method]:
    """The methods on the same images with the same references."""
    tables = [_by_key(rows, m.name) for m in methods for rows in m.trainings]
    shared = set.intersection(*(set(table) for table in tables))
    every = set.union(*(set(table) for table in tables))
    if shared != every and not common:
        lonely = sorted(every - shared, key=str)
        raise DataError(
            f"{len(lonely)} of {len(every)} scores are not there for every method, such as "
            f"{'; '.join(_key_text(key) for key in lonely[:3])}. Score all methods on the same "
            "images, or compare those that all have with --common."
        )
    if not shared:
        raise DataError(
            "no image is scored by every method under the same name and class; names of cases and "
            "of classes must be equal."
        )
    first = tables[0]
    for table in tables[1:]:
        for key in sorted(shared, key=str):
            one, other = first[key], table[key]
            if one.tp + one.fn != other.tp + other.fn or one.n_pixels != other.n_pixels:
                raise DataError(
                    f"the reference of {_key_text(key)} has {one.tp + one.fn} of {one.n_pixels} "
                    f"pixels for one method and {other.tp + other.fn} of {other.n_pixels} for "
                    "another. They were scored against different references."
                )
    kept = [
        _with_rows(
            method, lambda row: row if (row.case, row.slice, row.class_name) in shared else None
        )
        for method in methods
    ]
    subject_of = _subjects(kept)
    return [_with_rows(one, lambda row: replace(row, subject=subject_of[row.case])) for one in kept]


def _with_rows(method: Method, change: Callable[[Row], Row | None]) -> Method:
    """The method with each row changed, or left out."""
    trainings = tuple(
        tuple(new for new in map(change, rows) if new is not None) for rows in method.trainings
    )
    return replace(method, trainings=trainings)


def _subjects(methods: Sequence[Method]) -> dict[str, str]:
    """Who is who, from the sources that know it, in whatever order they are given.

    Where every case is a subject of its own, nobody has said who is who: nnU-Net, for one.

    Raises:
        DataError: two sources that know it differ.
    """
    known: dict[str, str] = {}
    told_by = ""
    for method in methods:
        for rows in method.trainings:
            mine = {row.case: row.subject for row in rows}
            if len(set(mine.values())) == len(mine):
                known = known or mine
                continue
            if told_by and _sides(mine) != _sides(known):
                raise DataError(
                    f"{told_by} and {method.name} do not agree on which cases are of one subject. "
                    "Score them with the same data.subject or --subject."
                )
            known, told_by = mine, told_by or method.name
    return known


def _sides(subject_of: Mapping[str, str]) -> set[frozenset[str]]:
    sides: dict[str, set[str]] = {}
    for case, subject in subject_of.items():
        sides.setdefault(subject, set()).add(case)
    return {frozenset(cases) for cases in sides.values()}


def _by_key(rows: Sequence[Row], name: str) -> dict[Key, Row]:
    table: dict[Key, Row] = {}
    for row in rows:
        key = (row.case, row.slice, row.class_name)
        if key in table:
            raise DataError(f"{name} has two scores of {_key_text(key)}; each image counts once.")
        table[key] = row
    return table


def _key_text(key: Key) -> str:
    case, number, name = key
    return f"{name} of {case}{'' if number is None else f' slice {number}'}"


def shared_metrics(methods: Sequence[Method], asked: Sequence[str]) -> list[str]:
    """The metrics to compare: those that are asked for, or the usual ones that all have."""
    known = [set(row.values) for method in methods for row in method.rows[:1]]
    shared = [name for name in METRICS if all(name in names for names in known)]
    for name in asked:
        if name not in METRICS:
            raise UsageError(f"--metric {name!r} is unknown{suggest(name, METRICS)}")
        if name not in shared:
            raise UsageError(f"--metric {name}: not every method has it; all have {shared}.")
    if not shared:
        raise DataError("the methods have no metric in common. Score them alike, xln evaluate.")
    return list(asked) or [name for name in USUAL if name in shared] or shared[:1]


def refuse_units(methods: Sequence[Method], metrics: Sequence[str]) -> None:
    """Refuse distances in mm and in pixels."""
    units = {method.unit for method in methods}
    if len(units) > 1 and any(METRICS[name].unit == "distance" for name in metrics):
        raise DataError(
            "distances are in mm for some methods and in pixels for others. Score all of them with "
            "one spacing, or leave distances out with --metric dice."
        )


def more_warnings(methods: Sequence[Method]) -> list[str]:
    """What one fold, or one training, cannot carry, a sentence each."""
    return [*_grouped(methods), *_one_fold(methods), *_one_seed(methods)]


def _grouped(methods: Sequence[Method]) -> list[str]:
    if any(method.grouped for method in methods):
        return [
            "a subject here is a group of images, since nobody knows whose they are: images of one "
            "person may stand in several groups, and tests and intervals promise too much."
        ]
    return []


def _one_fold(methods: Sequence[Method]) -> list[str]:
    folds = {row.fold for method in methods for row in method.rows}
    if len(folds) == 1 and None not in folds:
        return ["one fold only: how much the choice of the test cases matters is not known."]
    return []


def _one_seed(methods: Sequence[Method]) -> list[str]:
    if any(len(method.trainings) > 1 for method in methods):
        return []
    known = all(method.kind == "run" for method in methods)
    return [
        f"{'one training of each method' if known else 'trainings are not known by their seeds'}: "
        "how much another seed changes them is not known, and a difference may be luck of the "
        "training."
    ]
