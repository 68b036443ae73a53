"""From cached cases to training batches, the same ones for any number of loader processes.

Nothing here has state: which slices an epoch draws follows from (seed, epoch), and how a slice
is augmented from (seed, epoch, place in the epoch). A run can therefore go on in the middle of
an epoch by skipping what was drawn, and worker processes do not change a single number.
Order: what is drawn, the dataset, batches, the loader.
"""

import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from crosslinknet.augment import augment
from crosslinknet.cache import CachedCase
from crosslinknet.config import Config
from crosslinknet.errors import UsageError
from crosslinknet.labels import LabelTable, shown_in

ORDER, AUGMENT, CROP, NETWORK = 0, 1, 2, 3  # streams of random numbers under one seed


@dataclass(frozen=True)
class Draw:
    """One slice to be seen: which, how it is seeded, and at what size."""

    index: int  # into SliceDataset.slices
    epoch: int
    place: int  # in the epoch, over all processes
    size: tuple[int, int]  # (H, W)


@dataclass(frozen=True)
class Batch:
    """Slices side by side.

    Attributes:
        image: (B, C, H, W) float32 in [0, 1].
        target: (B, K, H, W) float32, 0 or 1 per class; of soft labels between.
        names: "file, slice" of each, for messages.
    """

    image: Tensor
    target: Tensor
    names: list[str]

    def pin_memory(self) -> "Batch":
        """The same in memory that a GPU can fetch by itself; torch's loader calls this."""
        return replace(self, image=self.image.pin_memory(), target=self.target.pin_memory())


def epoch_order(
    foreground: NDArray[np.bool_], share: float, seed: int, epoch: int, passage: int = 0
) -> NDArray[np.int64]:
    """Slices of one passage through the set, as many as there are.

    Args:
        foreground: (N,) whether each slice shows a target.
        share: least share of slices with foreground. Where the data have it anyway, every slice
            is drawn exactly once; else foreground slices repeat in place of empty ones.
        seed: of the run.
        epoch: counts from 0.
        passage: counts from 0 in the epoch; the random numbers follow from all three.

    Returns:
        (N,) indices.

    >>> epoch_order(np.array([True, False, False, False]), 0.5, seed=0, epoch=0).size
    4
    """
    rng = np.random.default_rng((seed, ORDER, epoch, passage))
    count = len(foreground)
    shown, empty = np.flatnonzero(foreground), np.flatnonzero(~foreground)
    wanted = int(np.ceil(share * count))
    if len(shown) in (0, count) or len(shown) >= wanted:
        return rng.permutation(count)
    repeats = -(-wanted // len(shown))
    drawn = np.concatenate([rng.permutation(shown) for _ in range(repeats)])[:wanted]
    return rng.permutation(np.concatenate([drawn, rng.permutation(empty)[: count - wanted]]))


def size_at(config: Config, epoch: int) -> tuple[int, int]:
    """Size of the slices in an epoch: config.image.size, or smaller by config.train.progressive.

    The last epoch has the full size, however few there are.
    """
    height, width = config.image.size
    end = 0.0
    for share, size in config.train.progressive:
        end += share * config.train.epochs
        if size < 1 and epoch < min(round(end), config.train.epochs - 1):
            return _multiple_of_32(height * size), _multiple_of_32(width * size)
    return height, width


class SliceDataset(Dataset[dict[str, Any]]):
    """Training slices by ``Draw``.

    Args:
        cases: cached cases with masks.
        table: what the codes of the masks mean.
        config: the experiment.
    """

    def __init__(self, cases: Sequence[CachedCase], table: LabelTable, config: Config) -> None:
        self.cases = cases
        self.table = table
        self.config = config
        self.slices = [(i, d) for i, case in enumerate(cases) for d in range(len(case.foreground))]
        self.foreground = np.concatenate([case.foreground for case in cases])  # (N,)

    def __len__(self) -> int:
        return len(self.slices)

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        case, d = self.slices[draw.index]
        source = self.cases[case]
        assert source.labels is not None
        image = np.array(source.image[d])  # (C, H, W)
        labels = np.array(source.labels[d])  # (H, W), or soft (K, H, W)
        seed = self.config.train.seed
        if self.config.image.fit == "crop":
            rng = np.random.default_rng((seed, CROP, draw.epoch, draw.place))
            image, labels = random_crop(image, labels, draw.size, self.config.train.foreground, rng)
        image, labels = augment(
            image,
            labels,
            self.config.augment.preset,
            self.config.augment.probability,
            (seed, AUGMENT, draw.epoch, draw.place),
        )
        x = torch.from_numpy(image)
        soft = labels.ndim == 3
        target = torch.from_numpy(labels).float() / 255 if soft else to_target(labels, self.table)
        if x.shape[1:] != draw.size:  # progressive sizes
            x = F.interpolate(x[None], draw.size, mode="bilinear", antialias=True)[0]
            target = F.interpolate(target[None], draw.size, mode="nearest-exact")[0]
        return {"image": x, "target": target, "name": f"{source.files.images[0]}, slice {d}"}


def to_target(codes: NDArray[np.uint8], table: LabelTable) -> Tensor:
    """Codes (..., H, W) to one map of 0 and 1 per class (..., K, H, W), float32."""
    member = torch.from_numpy(table.member.astype(np.float32))  # (n + 1, K)
    return member[torch.from_numpy(codes.astype(np.int64))].movedim(-1, -3).contiguous()


def random_crop(
    image: NDArray[np.float32],
    labels: NDArray[np.uint8],
    size: tuple[int, int],
    foreground: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """A window of the slice, with probability ``foreground`` around a pixel of the target.

    Args:
        image: (C, H, W).
        labels: codes (H, W), or soft labels (K, H, W).
        size: (H', W') of the window; smaller slices are padded with 0.
        foreground: in [0, 1].
        rng: source of the position.
    """
    lack = [max(0, room - have) for room, have in zip(size, image.shape[1:], strict=True)]
    edges = [(n // 2, n - n // 2) for n in lack]
    image = np.pad(image, [(0, 0), *edges])
    labels = np.pad(labels, [(0, 0)] * (labels.ndim - 2) + edges)
    shown = shown_in(labels)  # (H, W)
    centre_draw, pick, *corner_draws = rng.random(4)
    corner = [
        int(u * (have - room + 1))
        for u, have, room in zip(corner_draws, shown.shape, size, strict=True)
    ]
    if centre_draw < foreground and shown.any():
        points = np.argwhere(shown)  # (P, 2)
        point = points[int(pick * len(points))]
        corner = [
            int(np.clip(p - int(u * room), 0, have - room))
            for p, u, room, have in zip(point, corner_draws, size, shown.shape, strict=True)
        ]
    rows, columns = (slice(c, c + room) for c, room in zip(corner, size, strict=True))
    return image[..., rows, columns], labels[..., rows, columns]


def passages(slices: int, draws: int) -> int:
    """How often an epoch goes through a set, so that at least ``draws`` slices are drawn."""
    return max(1, -(-draws // max(1, slices)))


class EpochBatches:
    """Batches of draws of one epoch, for one process, from any place on.

    Args:
        dataset: the slices.
        epoch: counts from 0.
        start: batches of this process to skip, done before an interruption.
        rank, world: this process and how many there are.

    Raises:
        UsageError: there are fewer slices than processes.
    """

    def __init__(
        self, dataset: SliceDataset, epoch: int, start: int = 0, rank: int = 0, world: int = 1
    ) -> None:
        config, train = dataset.config, dataset.config.train
        order = np.concatenate([
            epoch_order(dataset.foreground, train.foreground, train.seed, epoch, passage)
            for passage in range(passages(len(dataset), train.draws))
        ])  # fmt: skip
        size = size_at(config, epoch)
        draws = [Draw(int(index), epoch, place, size) for place, index in enumerate(order)]
        length = len(draws) // world
        if not length:
            raise UsageError(
                f"{len(draws)} training slices cannot be shared by {world} processes. "
                "Lower train.devices."
            )
        mine = draws[rank : length * world : world]
        b = train.batch_size
        full = max(1, len(mine) // b)  # the last, smaller batch is left out
        self.batches = [mine[i * b : (i + 1) * b] for i in range(full)][start:]

    def __iter__(self) -> Iterator[list[Draw]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def make_loader(batches: EpochBatches, dataset: SliceDataset, workers: int) -> DataLoader[Batch]:
    """A torch loader over the batches; ``workers`` processes prepare them."""
    return DataLoader(
        dataset,  # type: ignore[arg-type]
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=partial(_begin_worker, os.getpid()),
        generator=torch.Generator(),  # else every new loader draws from the state that is saved
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=2 if workers else None,
    )


def collate(items: list[dict[str, Any]]) -> Batch:
    """Stack what the dataset gave."""
    return Batch(
        image=torch.stack([item["image"] for item in items]),
        target=torch.stack([item["target"] for item in items]),
        names=[item["name"] for item in items],
    )


def _begin_worker(main: int, worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the main process to answer
    if os.getppid() != main:  # killed by now; torch's own watch starts too late to notice that
        os._exit(1)


def _multiple_of_32(length: float) -> int:
    return max(32, round(length / 32) * 32)
