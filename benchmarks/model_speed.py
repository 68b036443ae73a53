"""Seconds of one training step and of one prediction, every network beside Crosslink-Net.

python benchmarks/model_speed.py [size]
"""

import sys
import time

import torch

from crosslinknet.config import LossConfig
from crosslinknet.losses import SegmentationLoss
from crosslinknet.models import MODELS, build_model, count_macs

BATCH = 2


def main() -> None:
    """Print a line per network; ratios are against crosslink-net in the same run."""
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 128
    first: tuple[float, float] | None = None
    print(f"batch {BATCH}, {size}x{size}, {torch.get_num_threads()} threads")
    print(f"{'model':>18} {'GMACs':>7} {'train s':>8} {'ratio':>6} {'predict s':>9} {'ratio':>6}")
    for name in MODELS:
        train, predict = seconds(name, size)
        first = first or (train, predict)
        macs = count_macs(build_model(name), (size, size)) / 1e9
        print(
            f"{name:>18} {macs:7.2f} {train:8.3f} {train / first[0]:6.2f} "
            f"{predict:9.3f} {predict / first[1]:6.2f}"
        )


def seconds(name: str, size: int) -> tuple[float, float]:
    """Best of two, after a first round that is not counted."""
    model = build_model(name).to(memory_format=torch.channels_last)
    loss = SegmentationLoss(LossConfig(bce=0.5, dice=0.5, attention=0))
    image = torch.rand(BATCH, 1, size, size)
    target = (torch.rand(BATCH, 1, size, size) > 0.9).float()
    trained, predicted = [], []
    for _ in range(3):
        began = time.perf_counter()
        loss(model.train()(image), [], target).total.backward()
        trained.append(time.perf_counter() - began)
        began = time.perf_counter()
        with torch.inference_mode():
            model.eval()(image)
        predicted.append(time.perf_counter() - began)
    return min(trained[1:]), min(predicted[1:])


if __name__ == "__main__":
    main()
