"""The network that looks first (``model.first``): what must agree with it, and its weights.

Fold k of the second stage takes the network of fold k, so that nothing it is tested on was seen by
either. Order: check_first, first_spec, fill_first.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from crosslinknet.checkpoint import MODEL_FORMAT, part, read_checkpoint
from crosslinknet.config import Config, load_config
from crosslinknet.errors import DataError, UsageError
from crosslinknet.models import Staged
from crosslinknet.runs import Run
from crosslinknet.splits import read_splits


def check_first(run: Run, folds: Iterable[int]) -> None:
    """Refuse a first run that sees other images, has not ended, or knows what is tested here.

    Raises:
        UsageError: no run there; another section ``image``; a fold that is not trained.
        DataError: a test case of a fold was trained on by the first network of that fold.
    """
    first, config = run.config.model.first, run.config
    if first is None:
        return
    if not (first / "splits.json").is_file() or not (first / "config.yaml").is_file():
        raise UsageError(
            f"model.first is {first}, which is no folder of a run (config.yaml, splits.json). "
            "Train the first network with xln run, and name its folder."
        )
    ours, theirs = (c.image.model_dump() for c in (config, load_config(first / "config.yaml")))
    other = [f"image.{k} {theirs[k]}, here {ours[k]}" for k in ours if ours[k] != theirs[k]]
    if other:
        raise UsageError(
            f"model.first, {first}, sees other images than this run: {'; '.join(other)}. Both look "
            "at one input; give the same values."
        )
    known = read_splits(first / "splits.json").folds
    for fold in folds:
        if not _model_of(first, fold).is_file():
            raise UsageError(
                f"model.first, {first}, has no trained fold {fold}. Train it: xln run CONFIG "
                "--resume, with the config of that run."
            )
        seen = {*known[fold].train, *known[fold].validation}
        both = sorted(seen & set(run.splits.folds[fold].test))
        if both:
            raise DataError(
                f"fold {fold} tests {len(both)} cases, {', '.join(both[:3])} among them, that "
                f"fold {fold} of model.first, {first}, was trained on. Take its folds: "
                f"-s split.file={first / 'splits.json'}"
            )


def first_spec(config: Config, fold: int) -> dict[str, Any]:
    """What ``build_model`` needs for the first network of a fold: ``first``, or nothing.

    Raises:
        DataError: its file is missing or damaged.
    """
    if config.model.first is None:
        return {}
    _, info = read_checkpoint(_model_of(config.model.first, fold), MODEL_FORMAT)
    return {"first": {"model": info["model"], "classes": info["config"]["loss"]["classes"]}}


def fill_first(model: Staged, config: Config, fold: int) -> None:
    """Give the first network its weights."""
    assert config.model.first is not None
    path = _model_of(config.model.first, fold)
    tensors, _ = read_checkpoint(path, MODEL_FORMAT)
    try:
        model.first.load_state_dict(part("model", tensors))
    except RuntimeError as error:
        raise DataError(f"{path}: the weights do not fit their own model ({error}).") from error


def _model_of(run: Path, fold: int) -> Path:
    return run / f"fold_{fold}" / "checkpoints" / "model.safetensors"
