"""Training with images that have no masks: a network labels them, group by group, and learns on.

After the semi-supervised loop of Fan et al., Inf-Net, TMI 2020, for any network. Of one fold:
``labelled``: train on the cases with masks. ``group-001``, ...: label a few more images with the
network as it is, put them beside the cases, fine-tune. ``pool``: train a new network on all these.
At last the fold itself: fine-tune that network on the cases with masks. Decision D43.

Each stage is a small run of its own in ``fold_K/semi``, so that all of it goes on to the same bits
after a stop. Order: find_unlabelled, train_semi, which images, their labels, the stages, what is
said and shown.
"""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from crosslinknet.cache import CachedCase, content_hash, write_array
from crosslinknet.config import SemiConfig
from crosslinknet.errors import DataError, UsageError
from crosslinknet.files import read_json, write_json
from crosslinknet.lookalikes import find_lookalikes
from crosslinknet.plots import pseudo_labels, save
from crosslinknet.predict import find_inputs, load, predict_batch
from crosslinknet.runs import Run, read_folds, record_fold, write_run
from crosslinknet.train import Console, train_fold

HALF = 127  # of 255
RECORDED = ("seconds", "steps")  # of each stage
SHOWN = 12  # images in the picture of what was learnt from
STREAM = 4  # of random numbers under the run's seed; data.py has those before


def find_unlabelled(run: Run) -> list[CachedCase]:
    """The images of ``semi.unlabelled``, read to the last pixel; none where it is null.

    Raises:
        DataError: nothing there, or an image that does not fit the config.
    """
    pattern = run.config.semi.unlabelled
    if pattern is None:
        return []
    found = find_inputs(str(pattern), run.config.image.channels)
    return [run.opened(replace(case, id=f"unlabelled.{case.id}")) for case in found]


def train_semi(
    run: Run, fold: int, unlabelled: Sequence[CachedCase], resume: bool, console: Console
) -> Path:
    """Train one fold to its end, or from where it was stopped; as ``train.train_fold``.

    Args:
        run: the experiment.
        fold: 0, 1, ...
        unlabelled: of ``find_unlabelled``.
        resume: go on where it was stopped.
        console: hears what happens.

    Raises:
        UsageError: the fold was begun and ``resume`` is off.
        DataError: every image looks like one that the fold tests; other images than at the start.
    """
    place = run.fold_folder(fold) / "semi"
    if "unlabelled" in read_folds(run.folder).get(str(fold), {}):  # written last
        return train_fold(run, fold, resume, console)
    if place.exists() and not resume:
        raise UsageError(f"{place} exists: fold {fold} was begun. Continue it with --resume.")
    semi = run.config.semi
    usable = apart_from_test(run, fold, unlabelled, console)
    order = np.random.default_rng((run.config.train.seed, STREAM, fold)).permutation(len(usable))
    groups = [
        [usable[i] for i in order[start : start + semi.group]]
        for start in range(0, len(usable), semi.group)
    ]
    _same_as_before(place / "groups.json", groups, run)
    console.say(f"fold {fold}: {_plan(run, fold, groups)}")

    def stage(name: str, pool: Sequence[CachedCase], before: Path | None = None) -> Path:
        console.say(f"fold {fold}, stage {name}: {len(pool)} images without masks")
        small = _stage(run, place, name, before)
        write_run(small)
        trained = train_fold(small, fold, resume=True, console=console, pseudo=pool)
        facts = read_folds(small.folder)[str(fold)]
        known = read_json(place / "stages.json") if (place / "stages.json").exists() else {}
        write_json(place / "stages.json", known | {name: {k: facts[k] for k in RECORDED}})
        return trained

    model, pool, done = stage("labelled", []), list[CachedCase](), _groups_done(place, fold)
    for number, group in enumerate(groups, start=1):
        pool += label(group, model, run, place / "maps")
        if number >= done:
            model = stage(f"group-{number:03}", pool, model)
            for earlier in range(1, number):
                shutil.rmtree(place / f"group-{earlier:03}", ignore_errors=True)
    save({"maps": pseudo_labels(*_shown(pool))}, place, "semi")
    model = stage("pool", pool)

    trained = train_fold(_from(run, model), fold, resume=True, console=console)
    learnt = {
        "images": len(usable),
        "left_out": len(unlabelled) - len(usable),
        "stages": read_json(place / "stages.json"),
    }
    record_fold(run, fold, read_folds(run.folder)[str(fold)] | {"unlabelled": learnt})
    return trained


def apart_from_test(
    run: Run, fold: int, unlabelled: Sequence[CachedCase], console: Console
) -> list[CachedCase]:
    """The images that show no slice which the fold tests or watches.

    Raises:
        DataError: none are left.
    """
    axis, split = run.config.image.slice_axis, run.splits.folds[fold]
    files = [case.files for case in unlabelled]
    links = find_lookalikes([*run.found.cases, *files], axis, run.cache).links
    kept_out = {*split.test, *split.validation}
    seen = {a for pair in links for a, b in (pair, pair[::-1]) if b in kept_out}
    usable = [case for case in unlabelled if case.files.id not in seen]
    if len(usable) < len(unlabelled):
        console.warn(
            f"fold {fold}: {len(unlabelled) - len(usable)} of {len(unlabelled)} images without "
            "masks look like cases that this fold tests or watches, and are left out of it"
        )
    if not usable:
        raise DataError(
            f"every image of semi.unlabelled, {run.config.semi.unlabelled}, looks like a case that "
            f"fold {fold} tests or watches. Give images of other people."
        )
    return usable


@torch.inference_mode()
def label(cases: Sequence[CachedCase], model: Path, run: Run, folder: Path) -> list[CachedCase]:
    """Give cases soft labels from a trained network; those that are there stay as they are.

    Args:
        cases: without masks.
        model: weights of the network.
        run: ``semi.binarise``, ``predict.flip``, ``predict.stretch``, ``predict.threshold`` count.
        folder: gets ID.npy of each, (D, K, H', W') uint8, on the grid of the network's input.
    """
    todo = [case for case in cases if not (folder / f"{case.files.id}.npy").exists()]
    models = load(model, run.config.train.accelerator).models if todo else []
    for case in todo:
        device, step = next(models[0].parameters()).device, run.config.predict.batch_size
        parts: list[NDArray[np.uint8]] = []
        for start in range(0, len(case.image), step):
            image = torch.from_numpy(np.array(case.image[start : start + step])).to(device)
            probs = predict_batch(models, image, run.config)  # (B, K, H', W')
            if run.config.semi.binarise:
                probs = (probs > run.config.predict.threshold).float()
            parts.append((255 * probs).round().byte().cpu().numpy())
        write_array(folder / f"{case.files.id}.npy", np.concatenate(parts))
    return [case.with_maps(folder / f"{case.files.id}.npy") for case in cases]


def _stage(run: Run, place: Path, name: str, before: Path | None) -> Run:
    """A small run in ``place``: a fine-tuning of ``before``, or the run's own training."""
    config, semi = run.config, run.config.semi
    output = config.output.model_copy(update={"dir": place, "name": name})
    small = config.model_copy(update={"output": output, "semi": SemiConfig()})
    if before is not None:
        fine = config.train.model_copy(
            update={
                "epochs": semi.epochs,
                "lr": semi.lr,
                "batch_size": semi.batch_size or config.train.batch_size,
                "schedule": "constant",
                "progressive": [],
            }
        )
        small = small.model_copy(update={"train": fine})
    return _from(replace(run, config=small), before)


def _from(run: Run, weights: Path | None) -> Run:
    """The same run with other weights to start from; None: those of its config."""
    if weights is None:
        return run
    model = run.config.model.model_copy(update={"weights": weights})
    return replace(run, config=run.config.model_copy(update={"model": model}))


def _groups_done(place: Path, fold: int) -> int:
    """Number of the last group after which the fine-tuning has ended; earlier ones are removed."""
    weights = place.glob(f"group-*/fold_{fold}/checkpoints/model.safetensors")
    return max((int(path.parts[-4].removeprefix("group-")) for path in weights), default=0)


def _same_as_before(path: Path, groups: Sequence[Sequence[CachedCase]], run: Run) -> None:
    """Refuse to go on with other images, or other ways to label them, than at the start."""
    predict = run.config.predict
    what = {
        "images": [
            [[content_hash(image, run.cache) for image in case.files.images] for case in group]
            for group in groups
        ],
        "predict": {key: getattr(predict, key) for key in ("threshold", "flip", "stretch")},
    }
    if not path.exists():
        write_json(path, what)
    for key, before in read_json(path).items():
        if before != what[key]:
            changed = "the images" if key == "images" else "predict.threshold, flip or stretch"
            raise DataError(
                f"{path.parent} was begun with other values: {changed} of semi.unlabelled changed "
                "since. Put them back, or start a new run with -s output.name=NAME"
            )


def _plan(run: Run, fold: int, groups: Sequence[Sequence[CachedCase]]) -> str:
    """What is ahead, in words."""
    epochs, semi = run.config.train.epochs, run.config.semi
    cases = sum(len(case.foreground) for case in run.cached(run.splits.folds[fold].train))
    added = np.cumsum([sum(len(case.foreground) for case in group) for group in groups])
    fine = sum(int(cases + count) * semi.epochs for count in added)
    seen = epochs * (3 * cases + int(added[-1])) + fine
    return (
        f"{sum(map(len, groups))} images without masks in {len(groups)} groups of up to "
        f"{semi.group}; {len(groups) + 3} trainings that see {seen / (epochs * cases):.1f} times "
        "as many slices as one without them"
    )


def _shown(pool: Sequence[CachedCase]) -> tuple[list[NDArray[Any]], list[NDArray[np.bool_]]]:
    """Images (H, W) and masks (K, H, W) of some of the pool, the fullest slice of each."""
    images, masks = [], []
    for case in pool[:: max(1, len(pool) // SHOWN)][:SHOWN]:
        labels = case.labels
        assert labels is not None
        marked = labels > HALF  # (D, K, H', W')
        d = int(marked.sum(axis=(1, 2, 3)).argmax())
        images.append(np.array(case.image[d]).mean(axis=0))
        masks.append(marked[d])
    return images, masks
