"""Where the scores come from: by size of the target, place of the slice, group of the subject.

Order: the strata, the worst cases, read_groups.
"""

import csv
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from crosslinknet.config import EvaluateConfig
from crosslinknet.errors import DataError
from crosslinknet.evaluate.pairs import listed
from crosslinknet.metrics.registry import METRICS
from crosslinknet.metrics.table import Row, aggregate

SIZES = (0.0, 0.002, 0.006, 0.02, 0.06, 1.0)  # of the slice; 0.6 % is the paper's small target
BUILT_IN = ("target_size", "slice_position")
MOST_GROUPS = 12  # values of a column that make rows of a table
WORST = 10  # cases that are listed per class
Groups = Mapping[str, Mapping[str, str]]  # column: {subject: group}


def strata(
    rows: Sequence[Row], classes: Sequence[str], config: EvaluateConfig, groups: Groups
) -> dict[str, Any]:
    """Scores of parts of the images, class by class.

    Returns:
        ``{stratum: {class: [{"label", "counts", "metrics"}, ...]}}`` with what ``aggregate`` says
        of the images of each part; parts without images are left out. ``target_size`` is there
        always, ``slice_position`` where there are volumes, and one for each column of groups.

    Source: the paper's Fig. 9 for the target size.
    """
    rules: dict[str, tuple[list[str], Callable[[Row], str | None]]] = {
        "target_size": ([_size_label(*ends) for ends in pairwise(SIZES)], _size_of)
    }
    if any((row.slice or 0) >= 2 for row in rows):
        thirds = _thirds(rows)
        rules["slice_position"] = (
            ["first third", "middle third", "last third", "without target"],
            lambda row: thirds[row.case, row.class_name, row.slice],
        )
    for column, group_of in groups.items():
        names = sorted(set(group_of.values()))
        rules[column] = (names, lambda row, known=group_of: known.get(row.subject))  # type: ignore[misc]
    return {
        stratum: {
            name: _parts([r for r in rows if r.class_name == name], name, labels, of, config)
            for name in classes
        }
        for stratum, (labels, of) in rules.items()
    }


def _parts(
    rows: Sequence[Row],
    name: str,
    labels: Sequence[str],
    label_of: Callable[[Row], str | None],
    config: EvaluateConfig,
) -> list[dict[str, Any]]:
    found: dict[str, list[Row]] = {label: [] for label in labels}
    for row in rows:
        label = label_of(row)
        if label is not None:
            found[label].append(row)
    return [
        {"label": label, **aggregate(own, [name], config, "image")[name]}
        for label, own in found.items()
        if own
    ]


def _size_label(low: float, high: float) -> str:
    return f"{100 * low:g} to {100 * high:g} %"


def _size_of(row: Row) -> str | None:
    if not row.target_fraction:
        return None
    place = int(np.searchsorted(SIZES, row.target_fraction, side="right")) - 1
    place = min(place, len(SIZES) - 2)
    return _size_label(SIZES[place], SIZES[place + 1])


def _thirds(rows: Sequence[Row]) -> dict[tuple[str, str, int | None], str]:
    """Where each slice lies among those of its case that hold a target."""
    with_target: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        if row.tp + row.fn:
            with_target.setdefault((row.case, row.class_name), []).append(row.slice or 0)
    names = {}
    for row in rows:
        inside = sorted(with_target.get((row.case, row.class_name), []))
        label = "without target"
        if row.tp + row.fn:
            third = 3 * inside.index(row.slice or 0) // len(inside)
            label = ("first third", "middle third", "last third")[third]
        names[row.case, row.class_name, row.slice] = label
    return names


def worst_images(
    rows: Sequence[Row], classes: Sequence[str], config: EvaluateConfig
) -> dict[str, list[dict[str, Any]]]:
    """The images with the worst values of the first metric, per class, worst first."""
    metric = config.metrics[0]
    sign = 1 if METRICS[metric].higher_is_better else -1
    listing = {}
    for name in classes:
        known = [r for r in rows if r.class_name == name and not np.isnan(r.values[metric])]
        known.sort(key=lambda row: (sign * row.values[metric], row.case, row.slice or 0))
        listing[name] = [
            {
                "case": row.case,
                "slice": row.slice,
                "subject": row.subject,
                "state": row.state,
                "target_fraction": row.target_fraction,
                "metric": metric,
                "value": row.values[metric] if np.isfinite(row.values[metric]) else "inf",
            }
            for row in known[:WORST]
        ]
    return listing


def read_groups(path: Path, subjects: Sequence[str]) -> tuple[Groups, list[str]]:
    """A CSV table with a column ``subject`` and a column per grouping.

    Returns:
        The groupings, and a warning for each column that has too many values to be one, an age say.

    Raises:
        DataError: no such file, no such columns, a subject twice, or subjects that are missing.
    """
    if not path.is_file():
        raise DataError(f"{path} is not there; expected a CSV table with subjects and groups.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path} cannot be read as a CSV table in UTF-8 ({error}). Save it as one."
        ) from error
    columns = [name for name in (lines[0] if lines else ()) if name and name != "subject"]
    if not lines or "subject" not in lines[0] or not columns:
        raise DataError(
            f"{path} needs a line of headings with the column subject and at least one more, "
            "such as subject,scanner."
        )
    taken = [name for name in columns if name in BUILT_IN]
    if taken:
        raise DataError(f"{path}: {taken[0]!r} is a stratum of its own. Rename the column.")
    names = [line["subject"] for line in lines]
    twice = sorted({name for name in names if names.count(name) > 1})
    missing = sorted(set(subjects) - set(names))
    if twice or missing:
        wrong = [f"{listed(twice)} twice"] * bool(twice) + [f"{listed(missing)} not at all"] * bool(
            missing
        )
        raise DataError(f"{path} names {' and '.join(wrong)}; expected every subject once.")
    groups, left_out = {}, []
    for column in columns:
        group_of = {line["subject"]: line[column] or "unknown" for line in lines if line["subject"]}
        values = len(set(group_of.values()))
        if values > MOST_GROUPS:
            left_out.append(
                f"column {column} of {path.name} has {values} values, too many for groups, and is "
                "left out. Write groups into it, such as 60 to 80."
            )
        else:
            groups[column] = group_of
    return groups, left_out
