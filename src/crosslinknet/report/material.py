"""What a run's folder holds, read for the report; nothing here looks at pictures.

Order: FoldFiles, Material (with the questions the sections ask), read_material.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from crosslinknet.config import Config, parse_config
from crosslinknet.errors import DataError
from crosslinknet.evaluate import Scores, read_rows, summarise
from crosslinknet.files import read_json
from crosslinknet.metrics import METRICS
from crosslinknet.metrics.table import Row
from crosslinknet.splits import Splits, read_splits


@dataclass(frozen=True)
class FoldFiles:
    """What one fold left on disk.

    Attributes:
        number: 0, 1, ...
        folder: fold_K.
        log: column -> (E,), nan where a field is empty; {} without log.csv.
        rows: lines of metrics.csv; [] without it.
        unit: of its distances, mm or px.
    """

    number: int
    folder: Path
    log: Mapping[str, NDArray[np.float64]]
    rows: Sequence[Row]
    unit: str


@dataclass(frozen=True)
class Material:
    """Everything the page is made of, except the pictures."""

    folder: Path
    config: Config
    config_text: str
    manifest: Mapping[str, Any]
    splits: Splits | None
    folds: tuple[FoldFiles, ...]
    summary: Mapping[str, Any]  # as summary.json, or the same made from the rows at hand
    missing: tuple[str, ...]  # sentences

    @property
    def rows(self) -> list[Row]:
        """Lines of all folds."""
        return [row for fold in self.folds for row in fold.rows]

    @property
    def tested(self) -> list[int]:
        """Numbers of the folds that have scores."""
        return [fold.number for fold in self.folds if fold.rows]

    @property
    def level(self) -> str:
        """Level of the headline: the first one that evaluate.levels names."""
        levels = list(self.summary["levels"])
        return next((one for one in self.config.evaluate.levels if one in levels), levels[0])

    @property
    def metric(self) -> str:
        """Metric of the headline, the charts and the order of the cases."""
        names = self.config.evaluate.metrics
        return "dice" if "dice" in names else names[0]

    @property
    def classes(self) -> list[str]:
        """Rows of the tables: the classes, and their average where there are several."""
        names = self.config.classes
        return [*names, "average"] if len(names) > 1 else names

    def unit(self, metric: str) -> str:
        """What stands behind a number of this metric."""
        return "%" if METRICS[metric].unit == "fraction" else self.summary["distance_unit"]

    def cell(self, name: str, metric: str, level: str | None = None) -> Mapping[str, Any]:
        """Mean, std, median, n and interval over all folds; {} where there is none."""
        return _cell(self.summary["levels"], level or self.level, name, metric)

    def fold_mean(self, fold: int, name: str, metric: str) -> float | None:
        """Mean of one fold at the level of the headline."""
        for entry in self.summary["folds"]:
            if entry["fold"] == fold:
                return _cell(entry["levels"], self.level, name, metric).get("mean")
        return None


def read_material(run: Path) -> Material:
    """Read a run's folder; what is missing is listed, not an error.

    Raises:
        DataError: no config.yaml, or a damaged file.
    """
    path = run / "config.yaml"
    if not path.is_file():
        raise DataError(
            f"{run} is not the folder of a run: it has no config.yaml. Give a folder that xln run "
            "or xln train wrote, such as runs/experiment."
        )
    text = path.read_text(encoding="utf-8")
    config = _parsed(text, path)
    missing = []
    manifest, splits = {}, None
    if (run / "manifest.json").is_file():
        manifest = read_json(run / "manifest.json")
    else:
        missing.append("There is no manifest.json: hardware, versions and times are unknown.")
    if (run / "splits.json").is_file():
        splits = read_splits(run / "splits.json")
    else:
        missing.append("There is no splits.json: who was tested in which fold is unknown.")

    folds = tuple(
        _read_fold(number, run / f"fold_{number}", config.evaluate.metrics)
        for number in range(len(splits.folds) if splits else config.split.folds)
    )
    missing += chain.from_iterable(_missing_of(fold) for fold in folds)
    if (run / "summary.json").is_file():
        summary = read_json(run / "summary.json")
        summed = [entry["fold"] for entry in summary["folds"]]
        late = [fold.number for fold in folds if fold.rows and fold.number not in summed]
        if late:
            missing.append(f"summary.json is older than the scores of fold {late[0]}.")
    else:
        rows = [row for fold in folds for row in fold.rows]
        unit = next((fold.unit for fold in folds if fold.rows), "px")
        summary = _summary_so_far(rows, unit, config)
        if rows:
            missing.append("There is no summary.json: the scores are those of the tested folds.")
    return Material(run, config, text, manifest, splits, folds, summary, tuple(missing))


def _parsed(text: str, path: Path) -> Config:
    """The config of a run; its paths start where the run was started, not at the file."""
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DataError(f"{path} is not valid YAML ({error}).") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no configuration; it was damaged after the run began.")
    return parse_config(content, source=str(path))


def _read_fold(number: int, folder: Path, metrics: Sequence[str]) -> FoldFiles:
    log = _read_csv(folder / "log.csv")
    rows: list[Row] = []
    unit = "px"
    if (folder / "metrics.csv").is_file():
        rows, unit = read_rows(folder / "metrics.csv", metrics)
    return FoldFiles(number, folder, _log_columns(log, folder / "log.csv"), rows, unit)


def _missing_of(fold: FoldFiles) -> list[str]:
    if not fold.log and not fold.rows:
        return [f"Fold {fold.number} has not been run."]
    if not fold.rows:
        return [f"Fold {fold.number} has been trained, at least in part, but not tested."]
    return [] if fold.log else [f"Fold {fold.number} has scores, but no log.csv of its training."]


def _log_columns(lines: list[dict[str, str]], path: Path) -> dict[str, NDArray[np.float64]]:
    names = lines[0] if lines else ()
    try:
        return {name: np.array([float(line[name] or "nan") for line in lines]) for name in names}
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} holds a field that is no number ({error}).") from error


def _read_csv(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _summary_so_far(rows: Sequence[Row], unit: str, config: Config) -> dict[str, Any]:
    """As summary.json, of the folds at hand; level case needs volumes and is left out."""
    levels = [level for level in config.evaluate.levels if level != "case"] or ["image"]
    if not rows:
        return {"distance_unit": unit, "levels": {level: {} for level in levels}, "folds": []}
    scores = Scores(tuple(rows), (), "mm" if unit == "mm" else "px")
    settings = config.evaluate.model_copy(update={"levels": levels})
    return summarise([scores], config.classes, settings)


def _cell(levels: Mapping[str, Any], level: str, name: str, metric: str) -> Mapping[str, Any]:
    cell: Mapping[str, Any] = levels.get(level, {}).get(name, {}).get("metrics", {}).get(metric, {})
    return cell
