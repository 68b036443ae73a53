"""A training small enough for a test, and ways to stop it and to look at what it left."""

from pathlib import Path

import torch
from torch import nn

from crosslinknet.checkpoint import MODEL_FORMAT, STATE_FORMAT, part, read_checkpoint
from crosslinknet.config import Config, override, parse_config
from crosslinknet.data import SliceDataset
from crosslinknet.losses import SegmentationLoss
from crosslinknet.models import build_model
from crosslinknet.runs import open_run, plan_run
from crosslinknet.train import Console, train_fold
from crosslinknet.train.loop import Loop
from crosslinknet.train.setup import make_fabric, make_optimizer, model_spec, to_memory_format
from crosslinknet.train.state import Progress

TIMES = ("seconds", "total_seconds")  # of the progress: the only things that may differ


def tiny_config(data: Path, out: Path, *settings: str) -> Config:
    content = {
        "data": {
            "root": str(data),
            "label_map": {"ground_glass": [1], "consolidation": [2]},
            "subject": r"(subject_\d+)",
        },
        "image": {"size": [32, 32]},
        "split": {"folds": 2, "validation": 0.25},
        "model": {"name": "unet5", "options": {"widths": [4, 4, 8, 8, 16]}},
        "train": {
            "epochs": 2,
            "batch_size": 2,
            "precision": "32",
            "threads": 1,
            "workers": 0,
            "accelerator": "cpu",
            "checkpoint_minutes": 0,
        },
        "evaluate": {"bootstrap": 10},
        "output": {"dir": str(out), "name": "tiny"},
    }
    return parse_config(override(content, settings))


class Recorder(Console):
    """Keeps what was told."""

    def __init__(self):
        self.said, self.warned, self.losses, self.rows = [], [], [], []

    def say(self, text):
        self.said.append(text)

    def warn(self, text):
        self.warned.append(text)

    def step(self, progress, steps, total, loss):
        self.losses.append(loss)

    def row(self, row, epochs):
        self.rows.append(row)


class PlugPulled(Exception):
    """What no code of the package catches."""


class PullThePlug(Console):
    """Ends the training after some batches, as a crash would."""

    def __init__(self, batches: int):
        self.left = batches

    def step(self, progress, steps, total, loss):
        self.left -= 1
        if self.left == 0:
            raise PlugPulled


def train_tiny(config: Config, console: Console | None = None, resume: bool = False) -> Path:
    """Train fold 0; the fold's folder."""
    run = open_run(config, resume)
    train_fold(run, 0, resume, console)
    return run.fold_folder(0)


def make_loop(
    config: Config, model: nn.Module | None = None, console: Console | None = None
) -> Loop:
    """What ``train_fold`` sets up before its first step, with another network if given."""
    run = plan_run(config)
    training, watching = (
        SliceDataset(run.cached(ids), run.table, config)
        for ids in (run.splits.folds[0].train, run.splits.folds[0].validation)
    )
    fabric, loss = make_fabric(config), SegmentationLoss(config.loss)
    torch.manual_seed(config.train.seed)
    bare = model or build_model(**model_spec(run, loss, fold=0))
    wrapped, optimizer = fabric.setup(to_memory_format(bare, config), make_optimizer(bare, config))
    if hasattr(bare, "forward_for_loss"):
        wrapped.mark_forward_method("forward_for_loss")
    return Loop(
        fabric, wrapped, bare, optimizer, loss, training, watching, config, Progress(),
        console or Console(),
    )  # fmt: skip


def state_of(fold: Path) -> tuple[dict[str, torch.Tensor], dict]:
    """Tensors of the last state (weights, moments), and its progress."""
    tensors, info = read_checkpoint(fold / "checkpoints" / "last.safetensors", STATE_FORMAT)
    return tensors, info["progress"]


def weights_of(fold: Path) -> dict[str, torch.Tensor]:
    tensors, _ = read_checkpoint(fold / "checkpoints" / "model.safetensors", MODEL_FORMAT)
    return part("model", tensors)


def assert_equal_tensors(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def assert_same_bits(one: Path, other: Path) -> None:
    """Two folds agree in everything but time."""
    assert_equal_tensors(weights_of(one), weights_of(other))
    (tensors, progress), (others, other_progress) = state_of(one), state_of(other)
    assert_equal_tensors(tensors, others)
    assert {name.split(".")[0] for name in tensors} == {"model", "optimizer"}
    for record in (progress, other_progress):
        for row in record["log"]:
            row[9] = None  # seconds
        for name in TIMES:
            del record[name]
    assert progress == other_progress
    assert progress["finished"] is True
