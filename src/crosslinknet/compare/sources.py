"""What can be compared: folders of runs, folders of evaluations, summaries of nnU-Net.

Order: Method, read_methods, one kind of source after the other, methods with several seeds.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from crosslinknet.config import Config, load_config
from crosslinknet.errors import DataError, UsageError
from crosslinknet.evaluate.pairs import subject_of
from crosslinknet.evaluate.rows import read_rows
from crosslinknet.evaluate.scores import Unit
from crosslinknet.evaluate.summary import SETTINGS
from crosslinknet.files import read_json, sha256_of_json
from crosslinknet.metrics.registry import STATES, State
from crosslinknet.metrics.table import Level, Row
from crosslinknet.readers import stem_of

Kind = Literal["run", "evaluation", "nnunet"]
Compared = Literal["image", "case"]

SUMMARIES = "crosslinknet/summary/"
NNUNET = {"Dice": "dice", "IoU": "iou"}
SEED_ALONE = (
    "train.seed",
    "output.name",
    "output.dir",
)  # what two trainings of a method may differ in


@dataclass(frozen=True)
class Method:
    """Scores of one method on some images.

    Attributes:
        name: for tables.
        kind: of source.
        paths: where the scores stand, one per training.
        trainings: rows of each training, all on the same images.
        unit: of distances.
        settings: policy and the like, as far as the source says.
        recipe: equal for trainings that differ by their seed alone; empty where unknown.
        grouped: what counts as a subject is a group of images whose persons nobody knows.
    """

    name: str
    kind: Kind
    paths: tuple[Path, ...]
    trainings: tuple[tuple[Row, ...], ...]
    unit: Unit
    settings: Mapping[str, Any]
    recipe: str = ""
    grouped: bool = False

    @property
    def rows(self) -> tuple[Row, ...]:
        """Of the first training."""
        return self.trainings[0]


def read_methods(
    paths: Sequence[Path],
    names: Sequence[str],
    level: Level | None,
    subject: str | None,
    labels: Mapping[str, str],
) -> tuple[Compared, list[Method]]:
    """Read what is to be compared; trainings that differ by their seed alone become one method.

    Args:
        paths: folders of runs or evaluations, or summary.json files of nnU-Net.
        names: one per path, or none: the folders' own.
        level: image or case; None: what all of them have.
        subject: regular expression for the names of nnU-Net's cases; each is a subject else.
        labels: names of nnU-Net's labels.

    Returns:
        The level, and the methods.

    Raises:
        DataError: a path that holds no scores, or damaged ones.
        UsageError: fewer than two methods; names that do not fit.
    """
    if len(paths) < 2:
        raise UsageError(f"{len(paths)} source is given; comparing takes two or more.")
    if names and len(names) != len(paths):
        raise UsageError(f"{len(names)} names for {len(paths)} sources; give one for each.")
    chosen = list(names) or _own_names(paths)
    double = [name for name, number in Counter(chosen).items() if number > 1]
    if double:
        raise UsageError(f"two sources are called {double[0]!r}; give each a name with --name.")
    kinds = [_kind(path) for path in paths]
    if level == "image" and "nnunet" in kinds:
        raise UsageError("nnU-Net scores cases, not slices: compare with --level case.")
    if (labels or subject) and "nnunet" not in kinds:
        raise UsageError(
            "--label and --subject are for summary.json files of nnU-Net, and none is given: "
            "evaluations and runs know their classes and subjects."
        )
    compared: Compared = "case" if level == "case" or "nnunet" in kinds else "image"
    methods = [
        replace(_read(path, kind, compared, subject, labels), name=name)
        for path, kind, name in zip(paths, kinds, chosen, strict=True)
    ]
    merged = _by_recipe(methods)
    if len(merged) < 2:
        raise UsageError(
            "all sources are trainings of one method with different seeds; comparing takes another "
            "method."
        )
    return compared, merged


def _own_names(paths: Sequence[Path]) -> list[str]:
    """The folders' names, or with their parents where these are equal."""
    places = [path.parent if path.suffix == ".json" else path for path in paths]
    short = [place.resolve().name for place in places]
    if len(set(short)) == len(short):
        return short
    return ["/".join(place.resolve().parts[-2:]) for place in places]


def _kind(path: Path) -> Kind:
    summary = path if path.is_file() else path / "summary.json"
    if (path / "config.yaml").is_file():
        return "run"
    if not summary.is_file():
        raise DataError(
            f"{path} holds no scores. Give the folder of a run, one that xln evaluate wrote, or "
            "a summary.json of nnU-Net."
        )
    content = read_json(summary)
    if isinstance(content, dict) and "metric_per_case" in content:
        return "nnunet"
    return "evaluation"


def _read(
    path: Path, kind: Kind, level: Compared, subject: str | None, labels: Mapping[str, str]
) -> Method:
    if kind == "run":
        return _run(path, level)
    if kind == "evaluation":
        return _evaluation(path.parent if path.is_file() else path, level)
    return _nnunet(path if path.is_file() else path / "summary.json", subject, labels)


def _run(path: Path, level: Compared) -> Method:
    config = load_config(path / "config.yaml")
    rows: list[Row] = []
    units: set[Unit] = set()
    for table in sorted(path.glob("fold_*/metrics.csv")):
        own, unit = read_rows(table, config.evaluate.metrics)
        rows += own
        units.add(unit)
    if not rows:
        raise DataError(f"{path} has no fold with scores yet. Finish it: xln run --resume.")
    if level == "case" and any(row.slice for row in rows):
        raise DataError(
            f"{path} keeps scores by slice. Score its predictions as volumes with xln evaluate, "
            "and compare the folders of that."
        )
    if level == "case":  # every case is a slice
        rows = [replace(row, slice=None) for row in rows]
    settings = {name: getattr(config.evaluate, name) for name in SETTINGS}
    settings["preset"] = None
    recipe = sha256_of_json(_without_seed(config))
    grouped = config.data.subject_is == "group"
    return Method("", "run", (path,), (tuple(rows),), min(units), settings, recipe, grouped)


def _without_seed(config: Config) -> dict[str, Any]:
    content = config.model_dump(mode="json")
    for key in SEED_ALONE:
        section, name = key.split(".")
        del content[section][name]
    return content


def _evaluation(path: Path, level: Compared) -> Method:
    summary = read_json(path / "summary.json")
    if not isinstance(summary, dict) or not str(summary.get("schema", "")).startswith(SUMMARIES):
        raise DataError(
            f"{path / 'summary.json'} is of no kind that is compared: neither of xln evaluate "
            "(schema crosslinknet/summary) nor of nnU-Net 2 (metric_per_case)."
        )
    if level == "case" and "case" not in summary.get("levels", {}):
        raise DataError(
            f"{path} was not scored by case. Score it anew with case in evaluate.levels."
        )
    name = "per_case.csv" if level == "case" else "per_image.csv"
    rows, unit = read_rows(path / name)
    settings = {key: summary.get(key) for key in (*SETTINGS, "preset")}
    return Method("", "evaluation", (path,), (tuple(rows),), unit, settings)


def _nnunet(path: Path, subject: str | None, labels: Mapping[str, str]) -> Method:
    """nnU-Net counts voxels of cases; classes without a name are called by their numbers."""
    try:
        cases = read_json(path)["metric_per_case"]
        rows = [
            _nnunet_row(case, labels.get(label, label), counts, subject)
            for case in cases
            for label, counts in case["metrics"].items()
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is no summary.json of nnU-Net that can be read ({error!r}); expected "
            "metric_per_case with reference_file and metrics of each case."
        ) from error
    if not rows:
        raise DataError(f"{path} has no case in metric_per_case.")
    strange = sorted(set(labels) - {label for case in cases for label in case["metrics"]})
    if strange:
        raise UsageError(
            f"--label names {', '.join(strange)}, which {path} does not hold; it has "
            f"{', '.join(cases[0]['metrics'])}."
        )
    return Method("", "nnunet", (path,), (tuple(rows),), "px", {"policy": "drop"})


def _nnunet_row(
    case: Mapping[str, Any], label: str, counts: Mapping[str, Any], subject: str | None
) -> Row:
    file = Path(str(case["reference_file"]))
    tp, fp, fn, tn = (int(counts[key]) for key in ("TP", "FP", "FN", "TN"))
    values = {ours: _number(counts[theirs]) for theirs, ours in NNUNET.items()}
    person = subject_of(file, subject)
    return Row(stem_of(file), person, None, None, label, tp, fp, fn, tn, _state(tp, fp, fn), values)


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _state(tp: int, fp: int, fn: int) -> State:
    no_target, no_pred = tp + fn == 0, tp + fp == 0
    return STATES[1 if no_target and no_pred else 2 if no_target else 3 if no_pred else 0]


def _by_recipe(methods: Sequence[Method]) -> list[Method]:
    """Join trainings of one recipe, under the name of the first."""
    merged: dict[str, Method] = {}
    for method in methods:
        key = method.recipe or method.name
        known = merged.get(key)
        if known is None:
            merged[key] = method
        else:
            merged[key] = replace(
                known,
                paths=known.paths + method.paths,
                trainings=known.trainings + method.trainings,
            )
    return list(merged.values())


def fold_spread(rows: Sequence[Row], metric: str) -> float | None:
    """Standard deviation of the folds' means of one class's rows; None outside of folds."""
    folds: dict[int, list[float]] = {}
    for row in rows:
        if row.fold is not None and not np.isnan(row.values[metric]):
            folds.setdefault(row.fold, []).append(row.values[metric])
    means = [float(np.mean(values)) for values in folds.values()]
    return float(np.std(means, ddof=1)) if len(means) > 1 else None
