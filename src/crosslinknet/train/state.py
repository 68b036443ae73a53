"""Where a training stands, and how that survives: state, log, stop signals.

Order: Progress, Console (who hears of it), state on disk, the log, stopping.
"""

import csv
import io
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from torch import nn

from crosslinknet.checkpoint import (
    MODEL_FORMAT,
    STATE_FORMAT,
    load_optimizer,
    optimizer_tensors,
    part,
    prefixed,
    read_checkpoint,
    write_checkpoint,
)
from crosslinknet.config import Config, to_dict
from crosslinknet.files import write_text

LOG_COLUMNS = (
    "epoch", "step", "lr", "loss", "bce", "dice", "attention", "valid_images",
    "grad_norm", "seconds", "val_loss", "val_dice", "val_foreground",
)  # fmt: skip


class Interrupted(KeyboardInterrupt):
    """Stopped by the user after a complete step; the state is saved."""


@dataclass
class Progress:
    """Where a training stands: all of its state that is not a tensor."""

    epoch: int = 0
    batch: int = 0  # batches of this epoch that are done, per process
    step: int = 0  # optimizer steps
    sums: list[float] = field(default_factory=lambda: [0.0] * 6)  # of this epoch's log row
    seconds: float = 0.0  # of this epoch so far
    total_seconds: float = 0.0
    best_dice: float = -1.0
    validations_without_gain: int = 0
    validations_without_foreground: int = 0
    alarms: list[str] = field(default_factory=list)
    log: list[list[float | None]] = field(default_factory=list)
    threads: int = 0  # of the process that saved it; equal bits need an equal number
    finished: bool = False


class Console:
    """What a training tells; the command line gives one that draws bars."""

    def say(self, text: str) -> None:
        """A line of information."""

    def warn(self, text: str) -> None:
        """A line that must not be missed."""

    def step(self, progress: Progress, steps: int, total: int, loss: float) -> None:
        """Called after every batch: batches done of this epoch, batches of the whole training."""

    def row(self, row: dict[str, float | None], epochs: int) -> None:
        """Called after every epoch with its row of the log."""


def save_state(
    path: Path, model: nn.Module, optimizer: Any, precision: Any, progress: Progress
) -> None:
    """Everything that later steps depend on, in one atomic file.

    Args:
        path: of the file.
        model: the network itself.
        optimizer: Fabric's wrapper.
        precision: Fabric's plugin; with 16-bit floats it has a loss scale.
        progress: where the training stands.

    Raises:
        TrainingError: a weight or moment is NaN or infinite.
        SystemProblem: the disk is full or not writable.
    """
    tensors = prefixed("model", model.state_dict()) | prefixed(
        "optimizer", optimizer_tensors(optimizer.optimizer)
    )
    info = {
        "format": STATE_FORMAT,
        "progress": asdict(progress),
        "scaler": precision.state_dict(),
    }
    write_checkpoint(path, tensors, info)


def load_state(path: Path, model: nn.Module, optimizer: Any, precision: Any) -> Progress:
    """Put a saved state back; returns where the training stood."""
    tensors, info = read_checkpoint(path, STATE_FORMAT)
    model.load_state_dict(part("model", tensors))
    load_optimizer(optimizer.optimizer, part("optimizer", tensors))
    precision.load_state_dict(info["scaler"])
    return Progress(**info["progress"])


def write_model(
    path: Path, model: nn.Module, spec: dict[str, Any], config: Config, fold: int
) -> None:
    """The weights with all that is needed to apply them, and no path of this machine."""
    plain = to_dict(config)
    plain["data"] |= {"root": ".", "images": None, "masks": None}
    plain["split"]["file"] = plain["model"]["weights"] = plain["semi"]["unlabelled"] = None
    first = config.model.first
    plain["model"]["first"] = None if first is None else first.name
    plain["output"]["dir"] = "runs"
    info = {"format": MODEL_FORMAT, "model": spec, "config": plain, "fold": fold}
    write_checkpoint(path, prefixed("model", model.state_dict()), info)


def write_log(path: Path, progress: Progress) -> None:
    """log.csv: one row per finished epoch; written whole, so it always fits the checkpoint."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(LOG_COLUMNS)
    for row in progress.log:
        writer.writerow("" if v is None else f"{v:.6g}" if isinstance(v, float) else v for v in row)
    write_text(path, text.getvalue())


@contextmanager
def stop_signal() -> Iterator[Any]:
    """Within the block, Ctrl-C and SIGTERM ask for a stop after the current step.

    A second Ctrl-C stops at once. Yields a function that tells whether a stop was asked for.
    """
    heard: list[int] = []

    def ask(signum: int) -> None:
        if signum in heard and signum == signal.SIGINT:
            raise KeyboardInterrupt
        heard.append(signum)

    with on_stop_signals(ask):
        yield lambda: bool(heard)


@contextmanager
def on_stop_signals(react: Callable[[int], None]) -> Iterator[None]:
    """Within the block, Ctrl-C and SIGTERM call ``react``; only a main thread hears signals."""

    def handler(signum: int, frame: FrameType | None) -> None:
        react(signum)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {s: signal.signal(s, handler) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for signum, earlier in before.items():
            signal.signal(signum, earlier)
