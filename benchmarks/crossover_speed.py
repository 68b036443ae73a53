"""Crossover-Net: seconds of one slice, the dense pass beside the source's patch by patch.

python benchmarks/crossover_speed.py [size]

Patch by patch is timed on 1,000 pixels in batches of 200, the source's batch, and scaled to all
pixels of the slice: the whole of it would take many minutes.
"""

import sys
import time
from collections.abc import Callable

import torch

from crosslinknet.models.crossover_net import CrossoverNet

PIXELS = 1000
BATCH = 200
ROUNDS = 3


def main() -> None:
    """Print the seconds of a slice in each way, and the ratio."""
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 256
    torch.manual_seed(0)
    model = CrossoverNet().eval()
    image = torch.rand(1, 1, size, size)
    rows, columns = torch.randint(0, size, (2, 1, PIXELS)).unbind()

    def dense(strip: int) -> torch.Tensor:
        model.strip = strip
        return model(image)[0, 0, rows[0], columns[0]]

    def patches() -> torch.Tensor:
        batches = zip(rows.split(BATCH, 1), columns.split(BATCH, 1), strict=True)
        return torch.cat([model.patch_logits(image, r, c)[0][:, 0] for r, c in batches])

    strips = sorted({model.strip, size})
    times: dict[int, list[float]] = {strip: [] for strip in (0, *strips)}  # 0: patch by patch
    with torch.inference_mode():
        apart = (dense(size) - patches()).abs().max()  # also the round that is not counted
        for _ in range(ROUNDS):  # in turns, since a machine is not equally fast all the time
            times[0].append(seconds(patches) * size**2 / PIXELS)
            for strip in strips:
                times[strip].append(seconds(lambda strip=strip: dense(strip)))
    best = {way: min(rounds) for way, rounds in times.items()}
    print(f"{size}x{size}, float32, {torch.get_num_threads()} threads, best of {ROUNDS} rounds")
    print(f"largest difference of a logit: {apart:.1e}")
    print(f"patch by patch: {best[0]:.0f} s, from {PIXELS} pixels in batches of {BATCH}, scaled")
    for strip in strips:
        ratio = best[0] / best[strip]
        print(f"dense, strips of {strip} rows: {best[strip]:.2f} s, {ratio:.0f} times faster")


def seconds(work: Callable[[], object]) -> float:
    """Of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
