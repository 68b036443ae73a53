"""HD and HD95 of one mask pair, ours beside MONAI's two calls in one run, as ratios.

python benchmarks/metrics_speed.py
"""

import time
from collections.abc import Callable

import numpy as np
import torch
from monai.metrics import compute_hausdorff_distance
from scipy import ndimage

from crosslinknet import metrics

ROUNDS = 3


def main() -> None:
    """Print the seconds of both and their ratio, for a slice and for a volume."""
    print(f"{'masks':>14} {'ours s':>9} {'MONAI s':>9} {'ratio':>7}")
    for shape in ((512, 512), (40, 256, 256)):
        pred, target = blobs(shape, seed=1), blobs(shape, seed=2)
        spacing = (1.0,) * len(shape)
        a, b = (torch.from_numpy(m)[None, None] for m in (pred, target))
        ours = best(lambda p=pred, t=target, s=spacing: metrics.evaluate(p, t, s, ["hd", "hd95"]))
        theirs = best(
            lambda a=a, b=b, s=spacing: [
                compute_hausdorff_distance(a, b, percentile=q, spacing=list(s)) for q in (None, 95)
            ]
        )
        name = "x".join(map(str, shape))
        print(f"{name:>14} {ours:9.4f} {theirs:9.4f} {theirs / ours:7.1f}")


def blobs(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """A smooth random mask that covers a few percent."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 8)
    return noise > np.quantile(noise, 0.95)


def best(work: Callable[[], object]) -> float:
    """Seconds of the fastest of a few rounds."""
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


if __name__ == "__main__":
    main()
