"""Scores, ours beside other tools in one run, as ratios; and a folder beside reading it alone.

python benchmarks/metrics_speed.py            MedPy takes part where it is installed
python benchmarks/metrics_speed.py --folder   1,000 pairs of slices, all metrics, on disk
"""

import argparse
import importlib.util
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from monai.metrics import compute_dice, compute_hausdorff_distance
from PIL import Image
from scipy import ndimage

from crosslinknet import metrics
from crosslinknet.config import DataConfig, EvaluateConfig
from crosslinknet.evaluate import evaluate_folders
from crosslinknet.metrics.overlap import count, dice
from crosslinknet.readers import read_image

ROUNDS = 3
SLICES = 1000


def main() -> None:
    """Print the tables that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", action="store_true", help="time a folder of slices instead")
    folder() if parser.parse_args().folder else masks()


def masks() -> None:
    """HD with HD95, and Dice with counts, of one pair."""
    medpy = None
    if importlib.util.find_spec("medpy"):
        from medpy.metric import binary as medpy
    else:
        print("MedPy is not installed; its column stays empty.")
    print(f"{'HD + HD95':>26} {'ours s':>9} {'MONAI s':>9} {'x':>6} {'MedPy s':>9} {'x':>6}")
    pairs = {
        "organ 512x512": (organ((512, 512), 0.12), organ((512, 512), 0.13)),
        "organ 100x512x512": (organ((100, 512, 512), 0.12), organ((100, 512, 512), 0.13)),
        "scattered 40x256x256": (scattered((40, 256, 256), 1), scattered((40, 256, 256), 2)),
    }
    for name, (pred, target) in pairs.items():
        spacing = (0.8,) * 2 if pred.ndim == 2 else (2.5, 0.8, 0.8)
        a, b = (torch.from_numpy(m)[None, None] for m in (pred, target))

        def ours(p=pred, t=target, s=spacing):
            return metrics.evaluate(p, t, s, ["hd", "hd95"])

        def theirs(a=a, b=b, s=spacing):
            return [
                compute_hausdorff_distance(a, b, percentile=q, spacing=list(s)) for q in (None, 95)
            ]

        seconds = [best(ours), best(theirs)]
        line = f"{name:>26} {seconds[0]:9.4f} {seconds[1]:9.4f} {seconds[1] / seconds[0]:6.1f}"
        if medpy is not None:

            def medpys(p=pred, t=target, s=spacing):
                return medpy.hd(p, t, s), medpy.hd95(p, t, s)

            other = best(medpys, 1)
            line += f" {other:9.2f} {other / seconds[0]:6.0f}"
        print(line)
    pred, target = pairs["organ 512x512"]
    a, b = (torch.from_numpy(m)[None, None] for m in (pred, target))
    ours = best(lambda: dice(count(pred[None], target[None])), 50)
    theirs = best(lambda: compute_dice(a, b), 50)
    print(f"Dice and counts of a 512x512 slice: {1000 * ours:.3f} ms; MONAI {1000 * theirs:.3f} ms")


def folder() -> None:
    """All metrics of a folder of slices, beside reading the same files by as many threads."""
    with tempfile.TemporaryDirectory() as where:
        root = Path(where)
        rng = np.random.default_rng(0)
        for side in ("pred", "ref"):
            (root / side).mkdir()
        for number in range(SLICES):
            target = organ((512, 512), rng.uniform(0.02, 0.2))
            pred = np.roll(target, rng.integers(-6, 7, 2), (0, 1))
            for side, mask in (("pred", pred), ("ref", target)):
                Image.fromarray(mask.astype(np.uint8)).save(root / side / f"s{number:04}.png")
        files = sorted(root.glob("*/*.png"))
        names = [n for n, m in metrics.METRICS.items() if not m.tool]
        data = DataConfig(root=root / "ref", label_map={"organ": [1]})
        config = EvaluateConfig(metrics=names)

        def reading():
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                return list(pool.map(lambda path: read_image(path, 0)[0].any(), files))

        def scoring():
            out = Path(tempfile.mkdtemp(dir=root))
            return evaluate_folders(root / "pred", root / "ref", out, data=data, config=config)

        read, scored = best(reading, 2), best(scoring, 2)
    print(
        f"{SLICES} pairs of 512x512, {len(names)} metrics: {scored:.1f} s, "
        f"{SLICES / scored:.0f} pairs a second; reading alone {read:.1f} s"
    )


def organ(shape: tuple[int, ...], radius: float) -> np.ndarray:
    """An ellipsoid off the centre with a wavy surface; radius: share of the shape."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij", sparse=True)
    far = sum((axis - 0.2) ** 2 for axis in axes)
    waves = 0.15 * sum(np.sin(9 * axis) for axis in axes)
    return np.asarray(far < (2 * radius * (1 + waves)) ** 2)


def scattered(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Smooth random islands all over that cover a twentieth."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 8)
    return noise > np.quantile(noise, 0.95)


def best(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Seconds of the fastest of a few rounds."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


if __name__ == "__main__":
    main()
