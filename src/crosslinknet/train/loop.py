"""One epoch of training, and its validation.

Order: Loop, train_epoch, forward, close_epoch, validate.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F

from crosslinknet.config import Config, PredictConfig
from crosslinknet.data import (
    NETWORK,
    Batch,
    EpochBatches,
    SliceDataset,
    make_loader,
    size_at,
    to_target,
)
from crosslinknet.errors import TrainingError
from crosslinknet.labels import decode
from crosslinknet.losses import Parts, SegmentationLoss
from crosslinknet.models import Outputs
from crosslinknet.predict import predict_batch, probability_scores
from crosslinknet.train.processes import mean_over_processes, ranks_that_say
from crosslinknet.train.setup import learning_rate
from crosslinknet.train.state import LOG_COLUMNS, Console, Progress

ALARM_AFTER = 3  # validations in a row without a single foreground pixel


@dataclass
class Loop:
    """What the loop works on."""

    fabric: Fabric
    model: Any  # Fabric's wrapper of the network
    bare: nn.Module  # the network itself
    optimizer: Any
    loss: SegmentationLoss
    dataset: SliceDataset
    watched: SliceDataset | None
    config: Config
    progress: Progress
    console: Console
    saved_at: float = field(default_factory=time.monotonic)

    def batches(self, epoch: int, start: int = 0) -> EpochBatches:
        """What this process sees in an epoch."""
        return EpochBatches(
            self.dataset, epoch, start, self.fabric.global_rank, self.fabric.world_size
        )

    def workers(self) -> int:
        """Loader processes."""
        if self.config.train.workers is not None:
            return self.config.train.workers
        cores = torch.multiprocessing.cpu_count() or 1
        return min(4, max(0, cores - 1)) if self.fabric.device.type == "cuda" else 0

    def save_is_due(self) -> bool:
        """Whether a checkpoint inside the epoch is wanted now."""
        if time.monotonic() - self.saved_at < 60 * self.config.train.checkpoint_minutes:
            return False
        self.saved_at = time.monotonic()
        return True


def train_epoch(loop: Loop) -> Iterator[None]:
    """One epoch from ``progress.batch`` on; yields after every optimizer step."""
    progress, train = loop.progress, loop.config.train
    per_epoch = len(loop.batches(progress.epoch))
    steps_per_epoch = -(-per_epoch // train.accumulate)
    loader = make_loader(loop.batches(progress.epoch, progress.batch), loop.dataset, loop.workers())
    loop.model.train()
    began, names = time.monotonic(), []  # names: of the group that makes a step
    for batch in loader:
        names += batch.names
        first_of_group = progress.batch - progress.batch % train.accumulate
        group = min(train.accumulate, per_epoch - first_of_group)
        ends_group = progress.batch + 1 == first_of_group + group
        with loop.fabric.no_backward_sync(loop.model, enabled=not ends_group):
            seed_batch(loop)
            parts = forward(loop, batch, scale_now(loop, per_epoch))
            losses = torch.stack([parts.total.detach(), parts.bce, parts.dice, parts.attention])
            means = finite_means("loss", [*losses.tolist(), parts.valid_images], loop, batch.names)
            loop.fabric.backward(parts.total / group)
        progress.batch += 1
        for i, mean in enumerate(means):
            progress.sums[i] += mean
        if ends_group:
            rate = learning_rate(progress.step, steps_per_epoch * train.epochs, loop.config)
            for parameters in loop.optimizer.param_groups:
                parameters["lr"] = rate * parameters["factor"]
            norm = clip_gradients(loop)
            if not getattr(loop.fabric.strategy.precision, "scaler", None):  # it skips such steps
                finite_means("gradient", [norm], loop, names)
            loop.optimizer.step()
            loop.optimizer.zero_grad()
            progress.step += 1
            progress.sums[5] += norm if math.isfinite(norm) else 0.0
            progress.seconds += time.monotonic() - began
            began, names = time.monotonic(), []
            yield
        loop.console.step(progress, per_epoch, per_epoch * train.epochs, means[0])


def seed_batch(loop: Loop) -> None:
    """Random numbers of a network follow from its place in the training, as those of the data do.

    So there is no state of generators to keep, in none of the processes.
    """
    progress = loop.progress
    place = (progress.epoch, progress.batch, loop.fabric.global_rank)
    seed = np.random.SeedSequence((loop.config.train.seed, NETWORK, *place))
    torch.manual_seed(int(seed.generate_state(1, np.uint64)[0]))


def forward(loop: Loop, batch: Batch, scale: float = 1.0) -> Parts:
    """Network and loss of one batch, resized by ``scale``."""
    device = loop.fabric.device
    layout = torch.channels_last if loop.config.train.channels_last else torch.contiguous_format
    image = batch.image.to(device, non_blocking=True, memory_format=layout)
    target = batch.target.to(device, non_blocking=True)
    image, target = rescaled(image, target, scale)
    with loop.fabric.autocast():  # on one device Fabric's wrapper does this for __call__ alone
        if hasattr(loop.bare, "forward_for_loss"):
            outputs = loop.model.forward_for_loss(image, target)
        else:
            outputs = Outputs(loop.model(image))
    return loop.loss(target, **outputs._asdict())


def scale_now(loop: Loop, per_epoch: int) -> float:
    """The scale whose turn it is (``train.scales``), of ``per_epoch`` batches in an epoch."""
    scales, progress = loop.config.train.scales or [1.0], loop.progress
    return scales[(progress.epoch * per_epoch + progress.batch) % len(scales)]


def scaled_size(size: Sequence[int], scale: float) -> list[int]:
    """Sides at a scale, as multiples of 32; at scale 1 as they are."""
    if scale == 1:
        return list(size)
    return [max(32, int(side * scale / 32 + 0.5) * 32) for side in size]


def rescaled(image: Tensor, target: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """A batch at a scale."""
    size = scaled_size(image.shape[2:], scale)
    if size == list(image.shape[2:]):
        return image, target
    image = F.interpolate(image, size=size, mode="bilinear", align_corners=True)
    return image, F.interpolate(target, size=size, mode="bilinear", align_corners=True)


def finite_means(what: str, values: list[float], loop: Loop, names: list[str]) -> list[float]:
    """Mean of each value over the processes.

    Raises:
        TrainingError: in every process, if a value of one of them is NaN or infinite; it has the
            ``names`` of that one.
    """
    means = mean_over_processes(loop.fabric, values)
    if all(map(math.isfinite, means)):
        return means
    bad = [value for value in values if not math.isfinite(value)]
    first, *_ = ranks_that_say(loop.fabric, bool(bad))
    text = (
        f"the {what} became {bad[0] if bad else ''} at epoch {loop.progress.epoch + 1}, step "
        f"{loop.progress.step + 1}, on the batch [{'; '.join(names)}]. The checkpoints are from "
        "before this step. Look at these images first; if they are fine, start anew with a lower "
        "train.lr or train.precision=32, under another name: -s output.name=NAME"
    )
    raise TrainingError(loop.fabric.broadcast(text, src=first))


def close_epoch(loop: Loop) -> bool:
    """Validate if it is time, write the epoch's row, move on to the next one.

    Returns:
        Whether this epoch has the best validation Dice so far.
    """
    progress, config = loop.progress, loop.config
    per_epoch = len(loop.batches(progress.epoch))
    steps = -(-per_epoch // config.train.accumulate)
    *means, valid, norm = progress.sums
    row: list[float | None] = [
        progress.epoch,
        progress.step,
        learning_rate(progress.step - 1, steps * config.train.epochs, config),
        *(value / per_epoch for value in means),
        valid * loop.fabric.world_size,
        norm / steps,
        round(progress.seconds, 3),
    ]
    due = (progress.epoch + 1) % config.train.validate_every == 0
    last_epoch = progress.epoch + 1 == config.train.epochs
    watched: tuple[float, float, float] | None = None
    better = False
    full_size = size_at(config, progress.epoch) == config.image.size
    if loop.watched is not None and (due or last_epoch):
        # Process 0 speaks for all, since running means of batch norm differ between processes.
        watched = validate(loop) if loop.fabric.is_global_zero else None
        watched = loop.fabric.broadcast(watched)
        assert watched is not None
        _, dice, foreground = watched
        if full_size:  # a network that has only seen smaller slices is neither best nor finished
            better = dice > progress.best_dice
            progress.best_dice = max(dice, progress.best_dice)
            progress.validations_without_gain += 1
            if better:
                progress.validations_without_gain = 0
        if foreground > 0:
            progress.validations_without_foreground = 0
        else:
            progress.validations_without_foreground += 1
            _sound_alarm(loop)
    progress.log.append(row + list(watched or (None, None, None)))
    loop.console.row(dict(zip(LOG_COLUMNS, progress.log[-1], strict=True)), config.train.epochs)
    progress.total_seconds += progress.seconds
    progress.epoch, progress.batch, progress.seconds = progress.epoch + 1, 0, 0.0
    progress.sums = [0.0] * 6
    return better


def clip_gradients(loop: Loop) -> float:
    """Scale the gradients down to ``train.clip``; returns their norm from before.

    ``train.clip_value`` then cuts off what is left of each of them alone.
    """
    train = loop.config.train
    norm = loop.fabric.clip_gradients(
        loop.model, loop.optimizer, max_norm=train.clip or math.inf, error_if_nonfinite=False
    )
    assert norm is not None
    if train.clip_value is not None:
        torch.nn.utils.clip_grad_value_(loop.bare.parameters(), train.clip_value)
    return float(norm)


@torch.no_grad()
def validate(loop: Loop) -> tuple[float, float, float]:
    """Loss, mean Dice and share of predicted foreground on the validation slices.

    Dice is the mean over slices on the network's own grid; slices that are empty in both masks
    are left out. It steers and warns; the reported scores come from evaluate.py. Settings of
    ``predict`` are not used: they may differ between a run and its continuation.
    """
    assert loop.watched is not None
    config = loop.config.model_copy(update={"predict": PredictConfig()})
    loop.bare.eval()
    losses, dices, marked, pixels = [], [], 0, 0
    table = loop.watched.table
    for case in loop.watched.cases:
        slices, codes = case.image, case.codes
        assert codes is not None
        for d in range(len(slices)):
            image = torch.from_numpy(np.array(slices[d : d + 1])).to(loop.fabric.device)
            target = to_target(np.array(codes[d : d + 1]), table)
            target = target.to(loop.fabric.device)
            with loop.fabric.autocast():
                probs = predict_batch([loop.bare], image, config)  # (1, K, H, W)
            found = decode(probability_scores(probs[0].cpu().numpy(), config), table)
            pred = to_target(found[None], table).to(target) > 0.5  # as it would be written
            losses.append(validation_loss(probs, target))
            marked, pixels = marked + int(pred.sum()), pixels + pred.numel()
            overlap = (pred * target).sum(dim=(0, 2, 3))
            area = pred.sum(dim=(0, 2, 3)) + target.sum(dim=(0, 2, 3))
            dices += (2 * overlap / area)[area > 0].tolist()
    loop.bare.train()
    return sum(losses) / len(losses), sum(dices) / max(1, len(dices)), marked / pixels


def validation_loss(probs: Tensor, target: Tensor) -> float:
    """Binary cross-entropy of probabilities, (1, K, H, W) each."""
    p = probs.clamp(1e-6, 1 - 1e-6)
    return float(-(target * p.log() + (1 - target) * (1 - p).log()).mean())


def _sound_alarm(loop: Loop) -> None:
    count = loop.progress.validations_without_foreground
    if count >= ALARM_AFTER and count % ALARM_AFTER == 0:
        alarm = (
            f"epoch {loop.progress.epoch + 1}: the last {count} validations found no foreground "
            "at all. Small targets often need more epochs, a larger train.foreground, a larger "
            "loss.dice, or a check of data.label_map and image.window."
        )
        loop.progress.alarms.append(alarm)
        loop.console.warn(alarm)
