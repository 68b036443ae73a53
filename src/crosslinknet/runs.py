"""A run's folder: what is fixed before the first step, and checked before every later one.

``runs/NAME`` holds config.yaml, manifest.json and splits.json; each fold has its own folder.
Order: Run, plan_run, open_run, the manifest.
"""

import hashlib
import os
import platform
import subprocess
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from crosslinknet import __version__
from crosslinknet.cache import CachedCase, content_hash, open_case
from crosslinknet.case import CaseFiles
from crosslinknet.config import Config, load_config, to_dict, to_yaml
from crosslinknet.datasets import Found, find_cases
from crosslinknet.errors import DataError, UsageError
from crosslinknet.files import (
    read_json,
    sha256_of_json,
    write_json,
    write_text,
)
from crosslinknet.labels import LabelTable, label_table
from crosslinknet.lookalikes import find_lookalikes
from crosslinknet.splits import Splits, make_splits, read_splits, write_splits

PACKAGES = ("torch", "lightning", "monai", "numpy", "scipy", "nibabel", "pillow", "safetensors")

# What may differ between a run and its continuation without changing a trained bit.
FREE = ("evaluate", "predict", "output", "train.workers", "train.checkpoint_minutes", "data.root")


@dataclass(frozen=True)
class Run:
    """An experiment that is set up: its config, cases and folds, and where its slices are kept."""

    config: Config
    found: Found
    splits: Splits
    table: LabelTable
    cache: Path

    @property
    def folder(self) -> Path:
        """Where the run lives."""
        return self.config.run

    def fold_folder(self, fold: int) -> Path:
        """Where a fold lives."""
        return self.folder / f"fold_{fold}"

    def finished_folds(self) -> set[str]:
        """Numbers of the folds whose training has ended, as text."""
        facts = read_folds(self.folder)
        return {
            fold
            for fold, known in facts.items()
            if "weights_sha256" in known
            and (self.fold_folder(int(fold)) / "checkpoints" / "model.safetensors").exists()
        }

    def cases(self, ids: tuple[str, ...]) -> list[CaseFiles]:
        """Files of the named cases, in that order."""
        by_id = {case.id: case for case in self.found.cases}
        return [by_id[name] for name in ids]

    def cached(self, ids: tuple[str, ...]) -> list[CachedCase]:
        """The named cases, read, scaled and mapped into memory."""
        return [self.opened(case) for case in self.cases(ids)]

    def opened(self, case: CaseFiles) -> CachedCase:
        """A case, read, scaled and mapped into memory."""
        return open_case(case, self.config.data, self.config.image, self.cache)


def plan_run(config: Config, resume: bool = False) -> Run:
    """Find the cases and make the folds, or take those of an existing run; writes the cache only.

    New folds keep near-duplicates on one side; for that, every image is read once.

    Args:
        config: the experiment.
        resume: continue in a folder that exists.

    Raises:
        UsageError: the folder exists and ``resume`` is off, or it holds another experiment.
        DataError: the data or the folds are not usable, or changed since the run began.
    """
    folder = config.run
    exists = (folder / "manifest.json").exists()
    if exists and not resume:
        raise UsageError(
            f"{folder} holds a run already. Continue it with --resume, or give this one another "
            "name: -s output.name=NAME"
        )
    found = find_cases(config.data)
    table = label_table(config.data.label_map)
    cache = config.output.dir / ".cache"  # for all runs beside each other
    if exists:
        _refuse_other_config(config, load_config(folder / "config.yaml"), folder)
        splits = read_splits(folder / "splits.json")
        _refuse_other_cases(found, splits, folder)
        stored = read_json(folder / "manifest.json")["data"]["hash"]
        if stored != data_hash(found, splits, cache):
            raise DataError(
                f"the images or masks in {config.data.root} are not those {folder} was begun with: "
                "files were changed, added or given to other subjects. Put them back, or start a "
                "new run with -s output.name=NAME"
            )
    elif config.split.duplicates == "ignore":
        splits = make_splits(found, config.split)
    else:
        alike = find_lookalikes(found.cases, config.image.slice_axis, cache)
        splits = make_splits(found, config.split, alike.links)
        found = replace(found, notes=(*found.notes, *alike.notes))
    return Run(config, found, splits, table, cache)


def open_run(config: Config, resume: bool = False) -> Run:
    """As ``plan_run``, and write what is fixed from now on: config, folds, manifest.

    The config of a run that is continued is written anew where it differs in what may differ
    (``FREE``), so that it always says how the scores beside it came about.
    """
    run = plan_run(config, resume)
    write_run(run)
    return run


def write_run(run: Run) -> None:
    """Write what is fixed from now on, or bring it up to date."""
    manifest = run.folder / "manifest.json"
    if not manifest.exists():
        write_splits(run.folder / "splits.json", run.splits)
        write_text(run.folder / "config.yaml", to_yaml(run.config))
        write_json(manifest, _manifest(run))
    elif to_dict(load_config(run.folder / "config.yaml")) != to_dict(run.config):
        write_text(run.folder / "config.yaml", to_yaml(run.config))
        write_json(manifest, read_json(manifest) | {"config_hash": _config_hash(run.config)})


def record_fold(run: Run, fold: int, facts: dict[str, Any]) -> None:
    """Write what is known about a fold, fold_K/fold.json, and gather all folds in the manifest.

    Each fold has a file of its own, so that folds that train side by side lose nothing.
    """
    write_json(run.fold_folder(fold) / "fold.json", facts)
    gather_folds(run.folder)


def read_folds(folder: Path) -> dict[str, Any]:
    """What is known about each fold of a run, by its number as text."""
    files = sorted(folder.glob("fold_*/fold.json"))
    return {file.parent.name.removeprefix("fold_"): read_json(file) for file in files}


def gather_folds(folder: Path) -> None:
    """Bring the manifest up to what the folds say."""
    path = folder / "manifest.json"
    write_json(path, read_json(path) | {"folds": read_folds(folder)})


def hardware() -> dict[str, Any]:
    """What the run is computed on."""
    cuda = torch.cuda.is_available()
    return {
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        if cuda
        else [],
    }


def versions() -> dict[str, str]:
    """Versions of Python, this package and what its numbers depend on."""
    found = {"python": platform.python_version(), "crosslinknet": __version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _manifest(run: Run) -> dict[str, Any]:
    config, found, splits = run.config, run.found, run.splits
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "crosslinknet": __version__,
        "commit": _commit(),
        "versions": versions(),
        "hardware": hardware(),
        "seed": config.train.seed,
        "data": {
            "layout": found.layout,
            "cases": len(found.cases),
            "subjects": len({case.subject for case in found.cases}),
            "subject_rule": found.subject_rule,
            "notes": list(found.notes),
            "hash": data_hash(found, splits, run.cache),
        },
        "splits_hash": splits.hash,
        "config_hash": _config_hash(config),
        "folds": {},
    }


def data_hash(found: Found, splits: Splits, cache: Path) -> str:
    """One hash over names, subjects and the bytes of the images and masks that folds use."""
    used = {name for fold in splits.folds for name in (*fold.train, *fold.validation, *fold.test)}
    cases = sorted((c for c in found.cases if c.id in used), key=lambda case: case.id)
    return sha256_of_json([
        [case.id, case.subject, *(content_hash(p, cache) for p in (*case.images, *case.masks))]
        for case in cases
    ])  # fmt: skip


def _commit() -> str | None:
    """Commit of the checkout this file is tracked in; None where the package is installed."""
    here = Path(__file__)
    answer = ""
    try:
        for question in (["ls-files", "--error-unmatch", here.name], ["rev-parse", "HEAD"]):
            answer = subprocess.run(
                ["git", "-C", str(here.parent), *question],
                capture_output=True, text=True, timeout=10, check=True,
            ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return answer


def _config_hash(config: Config) -> str:
    return hashlib.sha256(to_yaml(config, comments=False).encode()).hexdigest()


def _refuse_other_config(config: Config, stored: Config, folder: Path) -> None:
    mine, theirs = _flat(to_dict(config)), _flat(to_dict(stored))
    changed = [
        f"{key} ({theirs.get(key)!r} there, {mine.get(key)!r} here)"
        for key in sorted(mine | theirs)
        if mine.get(key) != theirs.get(key)
        and not any(key == free or key.startswith(f"{free}.") for free in FREE)
    ]
    if changed:
        raise UsageError(
            f"{folder} was begun with another config: {'; '.join(changed)}. Give the same values "
            "to continue it, or start a new run with -s output.name=NAME"
        )


def _refuse_other_cases(found: Found, splits: Splits, folder: Path) -> None:
    here = {case.id for case in found.cases}
    missing = {i for f in splits.folds for i in (*f.train, *f.validation, *f.test)} - here
    if missing:
        raise DataError(
            f"{folder} was begun with {len(missing)} cases that are gone from the data, "
            f"{', '.join(sorted(missing)[:3])} among them. Put them back, or start a new run with "
            "-s output.name=NAME"
        )


def _flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(
            line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor() or "unknown"
