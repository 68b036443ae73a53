"""The training of one fold on Lightning Fabric.

A run may be stopped at any moment, by Ctrl-C or by pulling the plug, and goes on to the same bits:
the state that is saved (weights, moments, place in the epoch, sums of the log) together with the
config determines every later number.
Order: this file, then setup.py, earlier.py, loop.py, estimate.py, state.py, processes.py.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric

from crosslinknet.cache import CachedCase, require_foreground
from crosslinknet.checkpoint import MODEL_FORMAT, read_checkpoint, tensors_hash
from crosslinknet.config import Config
from crosslinknet.data import SliceDataset
from crosslinknet.errors import UsageError
from crosslinknet.files import write_bytes
from crosslinknet.losses import SegmentationLoss
from crosslinknet.models import build_model
from crosslinknet.runs import Run, hardware, record_fold
from crosslinknet.train.estimate import forecast
from crosslinknet.train.loop import Loop, close_epoch, train_epoch
from crosslinknet.train.processes import launch, ranks_that_say
from crosslinknet.train.setup import (
    has_bf16,
    make_fabric,
    make_optimizer,
    model_spec,
    prepare_cpu,
    start_weights,
    to_memory_format,
)
from crosslinknet.train.state import (
    Console,
    Interrupted,
    Progress,
    load_state,
    save_state,
    stop_signal,
    write_log,
    write_model,
)

__all__ = ["Console", "Interrupted", "has_bf16", "prepare_cpu", "train_fold"]


def train_fold(
    run: Run,
    fold: int,
    resume: bool = False,
    console: Console | None = None,
    pseudo: Sequence[CachedCase] = (),
    facts: dict[str, Any] | None = None,
) -> Path:
    """Train one fold to its end, or from where it was stopped.

    Args:
        run: see ``runs.open_run``.
        fold: 0, 1, ...
        resume: go on from the last checkpoint; without one the fold starts from the beginning.
        console: hears what happens.
        pseudo: further cases to train on, whose labels are not from a file of the data set.
        facts: what is known beforehand and recorded with the fold.

    Returns:
        Path of the trained ``model.safetensors``.

    Raises:
        UsageError: no such fold, or it was begun and ``resume`` is off.
        TrainingError: the loss became NaN or infinite; no checkpoint holds it.
        Interrupted: Ctrl-C or SIGTERM; saved after the current step.
    """
    config = run.config
    if not 0 <= fold < len(run.splits.folds):
        raise UsageError(
            f"fold {fold} does not exist; this run has 0..{len(run.splits.folds) - 1}."
        )
    folder = run.fold_folder(fold) / "checkpoints"
    last = folder / "last.safetensors"
    if str(fold) in run.finished_folds():
        if not resume:
            raise UsageError(
                f"fold {fold} of {run.folder} is trained already. Score it again with --resume, or "
                "train under another name: -s output.name=NAME"
            )
        return folder / "model.safetensors"
    if last.exists() and not resume:
        raise UsageError(f"{last} exists: fold {fold} was begun. Continue it with --resume.")
    for leftover in folder.glob(".tmp-*"):  # of a process that was killed while it wrote
        leftover.unlink()

    fabric = make_fabric(config)
    split = run.splits.folds[fold]
    training = [*run.cached(split.train), *pseudo]
    watching = run.cached(split.validation)
    require_foreground(training)
    console = console or Console()
    vanished = sum(case.vanished for case in training)
    if vanished:
        console.warn(
            f"{vanished} training slices have a target so small that nothing of it is left at "
            "image.size; they train as empty. Raise image.size, or set image.fit: crop."
        )
    processes = config.train.devices
    launch(_train, fabric, processes, console, run, fold, training, watching, facts or {})
    return folder / "model.safetensors"


def _train(
    fabric: Fabric,
    console: Console,
    run: Run,
    fold: int,
    training: list[CachedCase],
    watching: list[CachedCase],
    facts: dict[str, Any],
) -> None:
    """The work of one process; the first one also writes."""
    config = run.config
    folder = run.fold_folder(fold) / "checkpoints"
    last, best, final = (folder / f"{name}.safetensors" for name in ("last", "best", "model"))

    prepare_cpu(config)
    torch.manual_seed(config.train.seed)
    dataset = SliceDataset(training, run.table, config)
    watched = SliceDataset(watching, run.table, config) if watching else None
    loss = SegmentationLoss(config.loss)
    spec = model_spec(run, loss, fold)
    bare = build_model(**spec)
    if not last.exists():
        left = start_weights(bare, config, fold)
        if left:
            console.warn(
                f"{config.model.weights} leaves these as they were drawn: {', '.join(left)}"
            )
    model, optimizer = fabric.setup(to_memory_format(bare, config), make_optimizer(bare, config))
    if hasattr(bare, "forward_for_loss"):
        model.mark_forward_method("forward_for_loss")

    progress = Progress()
    if last.exists():
        progress = load_state(last, bare, optimizer, fabric.strategy.precision)
        if progress.finished:
            return
        console.say(f"fold {fold}: going on at epoch {progress.epoch + 1}, step {progress.step}")
        if progress.threads not in (0, torch.get_num_threads()):
            console.warn(
                f"the run was begun with {progress.threads} CPU threads and goes on with "
                f"{torch.get_num_threads()}: it will not end at the same bits. For these, give "
                f"-s train.threads={progress.threads}"
            )
    progress.threads = torch.get_num_threads()

    loop = Loop(fabric, model, bare, optimizer, loss, dataset, watched, config, progress, console)
    console.say(f"fold {fold} of {len(run.splits.folds)}: {forecast(loop)}")

    def save() -> None:
        if fabric.is_global_zero:
            save_state(last, bare, optimizer, fabric.strategy.precision, progress)

    with stop_signal() as stopped:
        while progress.epoch < config.train.epochs and not stopping_early(config, progress):
            for _ in train_epoch(loop):
                stop = ranks_that_say(fabric, stopped())
                if stop or loop.save_is_due():
                    save()
                if stop:
                    raise Interrupted
            better = close_epoch(loop)
            if fabric.is_global_zero:
                if config.train.keep == "best" and better:
                    write_model(best, bare, spec, config, fold)
                write_log(run.fold_folder(fold) / "log.csv", progress)
            save()
            if ranks_that_say(fabric, stopped()):
                raise Interrupted

    if fabric.is_global_zero:
        if best.exists():
            write_bytes(final, best.read_bytes())
        else:
            write_model(final, bare, spec, config, fold)
        record_fold(run, fold, {
            "hardware": hardware(),
            "seconds": round(progress.total_seconds, 1),
            "epochs": progress.epoch,
            "steps": progress.step,
            "alarms": progress.alarms,
            "weights_sha256": tensors_hash(read_checkpoint(final, MODEL_FORMAT)[0]),
            **facts,
        })  # fmt: skip
        progress.finished = True
        save()
        best.unlink(missing_ok=True)  # not earlier: a resumed run would take the last epoch's


def stopping_early(config: Config, progress: Progress) -> bool:
    """Whether the validation Dice has not risen for as long as the config allows."""
    patience = config.train.early_stopping
    return patience is not None and progress.validations_without_gain >= patience
