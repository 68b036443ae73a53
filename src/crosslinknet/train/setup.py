"""What a training is made of: devices, first weights, optimizer, learning rate.

Order: what is checked before a run's folder is made, then the parts.
"""

import math
import os
from collections.abc import Iterable
from typing import Any

import torch
from lightning.fabric import Fabric
from lightning.fabric.strategies.ddp import DDPStrategy
from torch import nn

from crosslinknet.cache import require_foreground
from crosslinknet.checkpoint import MODEL_FORMAT, is_checkpoint, part, read_checkpoint
from crosslinknet.config import ATTENTIVE, Config
from crosslinknet.data import EpochBatches, SliceDataset
from crosslinknet.errors import SystemProblem, UsageError
from crosslinknet.labels import label_table
from crosslinknet.losses import SegmentationLoss
from crosslinknet.models import MODELS, Staged, build_model, takes
from crosslinknet.models.layers import init_gaussian
from crosslinknet.models.weights import load_trained, load_weights
from crosslinknet.predict import pick_device
from crosslinknet.runs import Run
from crosslinknet.splits import Fold
from crosslinknet.train.earlier import (
    check_first,
    check_weights,
    fill_first,
    first_spec,
    weights_of,
)


def check_network(run: Run, folds: Iterable[int]) -> None:
    """Refuse a device that is not there, a network that cannot be built, weights that do not fit.

    Args:
        run: the experiment.
        folds: that are going to be trained.

    Raises:
        UsageError: an impossible option or precision.
        SystemProblem: no such device.
        DataError: ``model.weights`` cannot be read or is of another network; it or ``model.first``
            was trained on what is tested here.
    """
    config = run.config
    make_fabric(config)
    check_first(run, folds)
    check_weights(run, folds)
    fold = min(folds)
    spec = model_spec(run, SegmentationLoss(config.loss), fold)
    if config.model.weights is None and config.model.first is None and config.model.name in MODELS:
        with torch.device("meta"):  # shapes only, no memory
            model = build_model(**spec)
    else:  # networks of one's own may read values while they are built
        model = build_model(**spec)
        start_weights(model, config, fold)
    if config.train.head_lr != 1.0 and not hasattr(model, "backbone_heads"):
        raise UsageError(
            f"train.head_lr is {config.train.head_lr:g}, but {config.model.name} names no heads "
            "behind a backbone. Leave it at 1."
        )


def check_training(run: Run, split: Fold) -> None:
    """Refuse training slices without any target, or fewer than there are processes.

    Raises:
        DataError: all masks of the training cases are empty.
        UsageError: ``train.devices`` is too large.
    """
    training = run.cached(split.train)
    require_foreground(training)
    dataset = SliceDataset(training, run.table, run.config)
    EpochBatches(dataset, epoch=0, world=run.config.train.devices)


def make_fabric(config: Config) -> Fabric:
    """Devices and precision, not launched yet; bf16 only where the hardware computes it.

    Raises:
        UsageError: 16-bit floats on a CPU.
        SystemProblem: a device is not there.
    """
    train = config.train
    kind = pick_device(train.accelerator).type
    there = {"cuda": torch.cuda.device_count(), "mps": 1}.get(kind, train.devices)
    if train.devices > there:
        raise SystemProblem(f"train.devices is {train.devices}, but there is {there} x {kind}.")
    precision = train.precision
    if precision == "16" and kind == "cpu":
        raise UsageError("train.precision=16 needs a GPU; a CPU trains with bf16 or 32.")
    if precision == "auto":
        precision = "bf16" if has_bf16(train.accelerator) else "32"
    names = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}
    if kind == "cuda" and train.deterministic:
        # cuBLAS reads this when it starts; the program sets it, so that users need not.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False
    spawned = DDPStrategy(
        start_method="spawn",
        # Heads whose term has no weight get no gradient, nor do those of the released loss.
        find_unused_parameters=config.loss.form == "released"
        or not (config.loss.sides and config.loss.edge and config.loss.crossover),
    )
    return Fabric(
        accelerator=train.accelerator,
        devices=train.devices,
        strategy="auto" if train.devices == 1 else spawned,
        precision=names[precision],  # type: ignore[arg-type]
    )


def prepare_cpu(config: Config) -> None:
    """What the bits of a CPU's results depend on: number of threads, numbers close to 0."""
    if config.train.threads is not None:
        torch.set_num_threads(config.train.threads)
    torch.set_flush_denormal(True)


def has_bf16(accelerator: str) -> bool:
    """Whether bf16 is computed in hardware: CUDA of compute capability 8, CPUs with AVX512-BF16."""
    if accelerator in ("auto", "cuda") and torch.cuda.is_available():
        return torch.cuda.get_device_capability()[0] >= 8
    if accelerator == "mps" or (accelerator == "auto" and torch.backends.mps.is_available()):
        return False
    return bool(torch.cpu._is_avx512_bf16_supported())


def model_spec(run: Run, loss: SegmentationLoss, fold: int) -> dict[str, Any]:
    """Arguments of ``build_model`` for a fold of this run; heads only where the loss uses them."""
    config = run.config
    attention: dict[str, Any] = {}
    if config.model.name in ATTENTIVE:
        attention = {"attention_blocks": config.loss.blocks if loss.needs_maps else []}
    return {
        "name": config.model.name,
        "in_channels": config.image.channels,
        "num_classes": len(run.table.classes) + loss.exclusive,
        **attention,
        **({"classes": config.loss.classes} if takes(config.model.name, "classes") else {}),
        **config.model.options,
        **first_spec(config, fold),
    }


def start_weights(model: nn.Module, config: Config, fold: int) -> list[str]:
    """Draw the first weights, or take those of ``model.weights``; of two stages the second's.

    The first stage gets those of its own run.

    Returns:
        Names of the tensors that ``model.weights`` could not fill; they keep their drawn values.

    Raises:
        DataError: the file is damaged or of another network.
    """
    if isinstance(model, Staged):
        fill_first(model, config, fold)
        model = model.second
    if config.train.init == "gaussian":
        init_gaussian(model)
    if config.train.init == "xavier":
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                nn.init.xavier_normal_(module.weight)
    path = weights_of(config, fold)
    if path is None:
        return []
    if is_checkpoint(path):
        tensors, info = read_checkpoint(path, MODEL_FORMAT)
        trained = part("model.second" if "first" in info["model"] else "model", tensors)
        maps = len(label_table(config.data.label_map).classes) + config.loss.exclusive
        return load_trained(model, trained, (maps, info["model"]["num_classes"]), path)
    return load_weights(model, path)


def make_optimizer(model: nn.Module, config: Config) -> torch.optim.Optimizer:
    """The optimizer over all parameters, batch norm included (paper; Decision D12)."""
    train = config.train
    heads = tuple(f"{name}." for name in getattr(model, "backbone_heads", ()))
    named = [(name.startswith(heads), p) for name, p in model.named_parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for of_head, p in named if of_head is wanted], "factor": factor}
        for wanted, factor in ((False, 1.0), (True, train.head_lr))
    ]
    if train.head_lr == 1.0 or not heads:  # in the order of the network
        groups = [{"params": [p for _, p in named], "factor": 1.0}]
    if train.optimizer == "sgd":
        nesterov = train.nesterov and train.momentum > 0
        return torch.optim.SGD(
            groups, train.lr, train.momentum, weight_decay=train.weight_decay, nesterov=nesterov
        )
    kind = torch.optim.AdamW if train.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, train.lr, weight_decay=train.weight_decay)


def to_memory_format(model: nn.Module, config: Config) -> nn.Module:
    """Channels last where asked: the memory order in which convolutions run fastest."""
    if config.train.channels_last:
        for parameter in model.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return model


def learning_rate(step: int, steps: int, config: Config) -> float:
    """Rate of an optimizer step: a pure function, so there is no scheduler state to lose.

    Args:
        step: 0 .. steps - 1.
        steps: of the whole training.
        config: lr is the largest rate, warmup the share of rising steps.
    """
    train = config.train
    rising = round(train.warmup * steps)
    if train.schedule == "constant":
        return train.lr
    if train.schedule == "step":
        return train.lr if 2 * step < steps else 0.1 * train.lr
    if step < rising:
        low = 0.04 if train.schedule == "one-cycle" else 0.0
        return train.lr * (low + (1 - low) * (step + 1) / rising)
    done = (step - rising) / max(1, steps - rising)  # 0 .. 1
    if train.schedule == "poly":
        return float(train.lr * (1 - done) ** 0.9)
    return train.lr * max(1e-4, 0.5 * (1 + math.cos(math.pi * done)))
