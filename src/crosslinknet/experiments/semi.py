"""Training with images that have no masks: a network labels them, group by group, and learns on.

After the semi-supervised loop of Fan et al., Inf-Net, TMI 2020, for any network. Of one fold:
``labelled``: train on the cases with masks. ``group-001``, ...: label a few more images with the
network as it is, put them beside the cases, fine-tune. ``pool``: train a new network on all these.
At last the fold itself: fine-tune that network on the cases with masks. Decision D43.

Each stage is a small run of its own in ``fold_K/semi``, so that all of it goes on to the same bits
after a stop. Order: which images, train_semi, their labels, the stages, what is said and shown.
"""

import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from crosslinknet.cache import CachedCase, content_hash, write_array
from crosslinknet.config import SemiConfig
from crosslinknet.data import passages
from crosslinknet.datasets.found import listed
from crosslinknet.duplicates import augmentation_names
from crosslinknet.errors import DataError, UsageError
from crosslinknet.files import read_json, write_json
from crosslinknet.labels import decode, split_classes
from crosslinknet.lookalikes import find_lookalikes
from crosslinknet.plots import Labelled, pseudo_labels, save
from crosslinknet.predict import find_inputs, load, predict_batch, probability_scores
from crosslinknet.runs import Run, read_folds, write_run
from crosslinknet.train import Console, prepare_cpu, train_fold

MARK = "unlabelled."  # in front of names, which may be those of cases
BATCH = 8  # slices at a time that get labels; other numbers would change bits
RECORDED = ("seconds", "steps")  # of each stage
SHOWN = 12  # images in the picture of what was learnt from
STREAM = 4  # of random numbers under the run's seed; data.py has those before


def find_unlabelled(run: Run) -> list[CachedCase]:
    """The images of ``semi.unlabelled``, read to the last pixel; none where it is null.

    Where ``data.subject`` finds a subject in a name, the image is of that person, else of a person
    of its own.

    Raises:
        DataError: nothing there, or an image that does not fit the config.
    """
    where, pattern = run.config.semi.unlabelled, run.config.data.subject
    if where is None:
        return []
    cases = []
    for case in find_inputs(str(where), run.config.image.channels):
        name = f"{MARK}{case.id}"
        match = re.search(pattern, case.images[0].name) if pattern else None
        cases.append(run.opened(replace(case, id=name, subject=match[1] if match else name)))
    return cases


def apart_from_test(run: Run, fold: int, unlabelled: Sequence[CachedCase]) -> list[CachedCase]:
    """The images that show no slice, and nobody, whom the fold tests or watches.

    What tells: the pixels, endings of offline augmentation in the names, and ``data.subject``.

    Raises:
        DataError: none are left.
    """
    split, cases = run.splits.folds[fold], run.found.cases
    kept_out = {*split.test, *split.validation}
    people = {case.subject for case in cases if case.id in kept_out}
    seen = {case.files.id for case in unlabelled if case.files.subject in people}
    files = [*cases, *(case.files for case in unlabelled)]
    alike = find_lookalikes(files, run.config.image.slice_axis, run.cache).alike
    for one, other in (*alike, *(pair[::-1] for pair in alike)):
        seen |= {one} if other in kept_out else set()
    ids = {case.id for case in cases}
    bare = {case.files.id.removeprefix(MARK) for case in unlabelled} - ids
    for group in augmentation_names([*ids, *bare]):
        seen |= {f"{MARK}{name}" for name in group} if kept_out & set(group) else set()
    usable = [case for case in unlabelled if case.files.id not in seen]
    if not usable:
        raise DataError(
            f"every image of semi.unlabelled, {run.config.semi.unlabelled}, shows what fold {fold} "
            "tests or watches. Give images of other people."
        )
    return usable


def fix_unlabelled(run: Run, unlabelled: Sequence[CachedCase]) -> None:
    """Write down which images take part and how they get labels, or refuse to go on with others.

    Raises:
        UsageError: other images, or other settings that change labels, than at the start.
    """
    predict, path = run.config.predict, run.folder / "unlabelled.json"
    files = [case.files for case in unlabelled]
    what = {
        "images": {
            one.id.removeprefix(MARK): [content_hash(image, run.cache) for image in one.images]
            for one in files
        },
        "predict.flip": predict.flip,
        "predict.stretch": predict.stretch,
        "predict.threshold": predict.threshold if run.config.semi.binarise else None,
    }
    if not path.exists():
        write_json(path, what)
    changed = [key for key, before in read_json(path).items() if before != what[key]]
    if changed:
        names = ["the images of semi.unlabelled" if key == "images" else key for key in changed]
        raise UsageError(
            f"{run.folder} was begun with other labels for images without masks: "
            f"{', '.join(names)} changed since. Put them back, or start a new run with -s "
            "output.name=NAME"
        )


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
        DataError: every image shows what the fold tests.
    """
    place = run.fold_folder(fold) / "semi"
    if place.exists() and not resume:
        raise UsageError(f"{place} exists: fold {fold} was begun. Continue it with --resume.")
    prepare_cpu(run.config)
    usable = apart_from_test(run, fold, unlabelled)
    out = {case.files.id for case in unlabelled} - {case.files.id for case in usable}
    if out:
        console.warn(
            f"fold {fold}: {len(out)} of {len(unlabelled)} images without masks show what this "
            f"fold tests or watches, and are left out of it: "
            f"{listed(sorted(name.removeprefix(MARK) for name in out))}"
        )
    order = np.random.default_rng((run.config.train.seed, STREAM, fold)).permutation(len(usable))
    groups = [
        [usable[i] for i in order[start : start + run.config.semi.group]]
        for start in range(0, len(usable), run.config.semi.group)
    ]
    console.say(f"fold {fold}: {_plan(run, fold, groups)}")
    _same_threads(place / "threads.json", console)

    def stage(name: str, pool: Sequence[CachedCase], before: Path | None = None) -> Path:
        small = _stage(run, place, name, before)
        model = small.fold_folder(fold) / "checkpoints" / "model.safetensors"
        if str(fold) not in small.finished_folds():
            beside = f" and {len(pool)} images without masks" if pool else " alone"
            console.say(f"fold {fold}, stage {name}: the cases{beside}")
            write_run(small)
            train_fold(small, fold, resume=True, console=console, pseudo=pool)
        facts, known = read_folds(small.folder)[str(fold)], place / "stages.json"
        stages = read_json(known) if known.exists() else {}
        write_json(known, stages | {name: {key: facts[key] for key in RECORDED}})
        return model

    model, pool, done = stage("labelled", []), list[CachedCase](), _groups_done(place, fold)
    for number, group in enumerate(groups, start=1):
        pool += label(group, model, run, place / "maps")
        if number >= done:
            model = stage(f"group-{number:03}", pool, model)
            for earlier in range(1, number):
                shutil.rmtree(place / f"group-{earlier:03}", ignore_errors=True)
    save({"maps": pseudo_labels(_shown(pool, run), run.table.classes)}, place, "semi")
    model = stage("pool", pool)

    learnt = {
        "images": len(usable),
        "left_out": sorted(name.removeprefix(MARK) for name in out),
        "stages": read_json(place / "stages.json"),
    }
    console.say(f"fold {fold}, last stage: the cases alone")
    return train_fold(_from(run, model), fold, True, console, facts={"unlabelled": learnt})


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
        device, parts = next(models[0].parameters()).device, []
        for start in range(0, len(case.image), BATCH):
            image = torch.from_numpy(np.array(case.image[start : start + BATCH])).to(device)
            probs = predict_batch(models, image, run.config).cpu().numpy()  # (B, K, H', W')
            if run.config.semi.binarise:
                probs = _decided(probs, run).astype(np.float32)
            parts.append((255 * probs).round().astype(np.uint8))
        write_array(folder / f"{case.files.id}.npy", np.concatenate(parts))
    return [case.with_maps(folder / f"{case.files.id}.npy") for case in cases]


def _decided(probs: NDArray[np.float32], run: Run) -> NDArray[np.bool_]:
    """The masks that prediction would write, (D, K, H, W), from probabilities of that shape."""
    scores = probability_scores(np.moveaxis(probs, 1, 0), run.config)  # (K, D, H, W)
    return np.moveaxis(split_classes(decode(scores, run.table), run.table), 0, 1)


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


def _same_threads(path: Path, console: Console) -> None:
    """Say so if the fold goes on with another number of CPU threads: bits depend on it."""
    threads = torch.get_num_threads()
    if not path.exists():
        write_json(path, {"threads": threads})
    before = read_json(path)["threads"]
    if before != threads:
        console.warn(
            f"the fold was begun with {before} CPU threads and goes on with {threads}: it will not "
            f"end at the same bits. For these, give -s train.threads={before}"
        )


def _plan(run: Run, fold: int, groups: Sequence[Sequence[CachedCase]]) -> str:
    """What is ahead, in words."""
    train, semi = run.config.train, run.config.semi
    cases = sum(len(case.foreground) for case in run.cached(run.splits.folds[fold].train))
    added = np.cumsum([sum(len(case.foreground) for case in group) for group in groups]).tolist()

    def drawn(slices: int) -> int:
        return slices * passages(slices, train.draws)

    alone = train.epochs * drawn(cases)
    fine = sum(semi.epochs * drawn(cases + count) for count in added)
    whole = 2 * alone + fine + train.epochs * drawn(cases + added[-1])
    return (
        f"{sum(map(len, groups))} images without masks in {len(groups)} groups of up to "
        f"{semi.group}; {len(groups) + 3} trainings that see {whole / alone:.1f} times as many "
        "slices as one without them"
    )


def _shown(pool: Sequence[CachedCase], run: Run) -> list[Labelled]:
    """Name, image and labels of some of the pool, the fullest slice of each."""
    shown = []
    for case in pool[:: max(1, len(pool) // SHOWN)][:SHOWN]:
        assert case.labels is not None
        marked = _decided(np.divide(case.labels, 255, dtype=np.float32), run)  # (D, K, H', W')
        d = int(marked.sum(axis=(1, 2, 3)).argmax())
        name = case.files.id.removeprefix(MARK)
        probs = np.divide(case.labels[d], 255, dtype=np.float32)  # (K, H', W')
        shown.append(Labelled(name, np.array(case.image[d]).mean(axis=0), probs, marked[d]))
    return shown
