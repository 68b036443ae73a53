"""Networks of earlier runs: one to start from (``model.weights``), one to look first (``first``).

Fold k takes the network of fold k, so that nothing it is tested on was seen before. Order:
check_weights, check_first, what a network has seen, weights_of, first_spec, fill_first.
"""

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from crosslinknet.cache import content_hash
from crosslinknet.case import CaseFiles
from crosslinknet.checkpoint import MODEL_FORMAT, read_checkpoint
from crosslinknet.config import Config, load_config
from crosslinknet.datasets import find_cases
from crosslinknet.errors import DataError, UsageError
from crosslinknet.files import read_json
from crosslinknet.models import Staged
from crosslinknet.predict import load
from crosslinknet.runs import Run
from crosslinknet.splits import read_splits

Picture = tuple[str, tuple[int, ...] | None]  # hash of a file, slices of it; None: all


def check_weights(run: Run, folds: Iterable[int]) -> None:
    """Refuse weights to start from that were trained on what is tested here.

    A file outside the folder of its run does not tell; the report then leaves that to the author.

    Raises:
        UsageError, DataError: as ``check_unseen``.
    """
    for fold in folds:
        path = weights_of(run.config, fold)
        if path is not None and in_run(path):
            check_unseen(run, fold, path, "model.weights")


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
    of_first = load_config(first / "config.yaml")
    ours, theirs = config.image.model_dump(), of_first.image.model_dump()
    other = [f"image.{k} {theirs[k]}, here {ours[k]}" for k in ours if ours[k] != theirs[k]]
    if other:
        raise UsageError(
            f"model.first, {first}, sees other images than this run: {'; '.join(other)}. Both look "
            "at one input; give the same values."
        )
    for fold in folds:
        check_unseen(run, fold, model_of(first, fold), "model.first")


def check_unseen(run: Run, fold: int, model: Path, key: str) -> None:
    """Refuse a trained network that knows what a fold tests.

    Args:
        run: with that fold.
        fold: of it.
        model: RUN/fold_K/checkpoints/model.safetensors.
        key: of the config that names it.

    Raises:
        UsageError: there is no such network.
        DataError: it was trained on, or watched, a test case of the fold.
    """
    theirs = model.parents[2]
    if not model.is_file():
        raise UsageError(
            f"{key}, {theirs}, has no trained {model.parents[1].name}. Train it: xln run CONFIG "
            "--resume, with the config of that run."
        )
    number = int(model.parents[1].name.removeprefix("fold_"))
    their_fold = read_splits(theirs / "splits.json").folds[number]
    known = {*their_fold.train, *their_fold.validation}
    tested = run.cases(run.splits.folds[fold].test)
    data = load_config(theirs / "config.yaml").data
    if data.root.exists():
        cases = [case for case in find_cases(data).cases if case.id in known]
        seen = learnt_unlabelled(theirs, number)
        seen = seen.union(*(pictures(case, run) for case in cases))
        both = [case.id for case in tested if seen & pictures(case, run)]
    else:
        both = [case.id for case in tested if case.id in known]
        warnings.warn(
            f"{key}, {theirs}, was trained on {data.root}, which is not there: whether it knows "
            "what is tested here could be told by names of cases alone.",
            stacklevel=2,
        )
    if both:
        raise DataError(
            f"fold {fold} tests {len(both)} cases, {', '.join(both[:3])} among them, on which "
            f"{model.parents[1].name} of {key}, {theirs}, was trained. Name that run and its "
            f"folds, so that each fold takes its own network: -s {key}={theirs} -s "
            f"split.file={theirs / 'splits.json'}"
        )


def pictures(case: CaseFiles, run: Run) -> set[Picture]:
    """What a case shows, whatever it is called: the bytes of its files, and which slices."""
    return {(content_hash(image, run.cache), case.slices) for image in case.images}


def learnt_unlabelled(run: Path, fold: int) -> set[Picture]:
    """Images without masks (``semi``) that a fold of a finished run learnt from."""
    record, facts = run / "unlabelled.json", run / f"fold_{fold}" / "fold.json"
    if not record.is_file():
        return set()
    left_out = read_json(facts)["unlabelled"]["left_out"]
    images = read_json(record)["images"]
    return {(one, None) for name in images.keys() - set(left_out) for one in images[name]}


def in_run(path: Path) -> bool:
    """Whether a file lies where a run keeps the weights of a fold."""
    place = path.match("fold_*/checkpoints/model.safetensors")
    return place and (path.parents[2] / "splits.json").is_file()


def weights_of(config: Config, fold: int) -> Path | None:
    """The file of ``model.weights`` for a fold: itself, or that of the fold where it is a run."""
    path = config.model.weights
    return path if path is None or not path.is_dir() else model_of(path, fold)


def first_spec(config: Config, fold: int) -> dict[str, Any]:
    """What ``build_model`` needs for the first network of a fold: ``first``, or nothing.

    Raises:
        DataError: its file is missing or damaged.
    """
    if config.model.first is None:
        return {}
    _, info = read_checkpoint(model_of(config.model.first, fold), MODEL_FORMAT)
    classes, soft = info["config"]["loss"]["classes"], config.model.first_map == "probability"
    return {"first": {"model": info["model"], "classes": classes, "soft": soft}}


def fill_first(model: Staged, config: Config, fold: int) -> None:
    """Give the first network its weights."""
    assert config.model.first is not None
    (trained,) = load(model_of(config.model.first, fold), "cpu").models
    model.first.load_state_dict(trained.state_dict())


def model_of(run: Path, fold: int) -> Path:
    """The trained weights of a fold."""
    return run / f"fold_{fold}" / "checkpoints" / "model.safetensors"
