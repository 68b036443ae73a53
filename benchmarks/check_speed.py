"""Slices a second that ``xln data check`` looks at, and the memory it takes, on a set made here.

python benchmarks/check_speed.py [slices]
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from crosslinknet.curation.check import check_data

SIZE = 512


def main() -> None:
    """Write a set of PNG pairs, look at it once, and print what that took."""
    slices = int(sys.argv[1]) if len(sys.argv) > 1 else 600
    with tempfile.TemporaryDirectory() as folder:
        write_set(Path(folder), slices)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.perf_counter()
        found = check_data(Path(folder), ("data.subject=^(.+)_",))
        seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{slices} slices of {SIZE}x{SIZE}: {slices / seconds:.0f} a second, {seconds:.1f} s")
    print(f"peak memory {peak / 1024:.0f} MiB, {(peak - before) / 1024:.0f} MiB more than before")
    print(f"findings: {', '.join(sorted(f.kind for f in found.findings)) or 'none'}")


def write_set(folder: Path, slices: int) -> None:
    """Smooth shapes with noise, as a CT slice compresses; every person has an own outline."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIZE, :SIZE] / SIZE
    for part in ("images", "masks"):
        (folder / part).mkdir()
    for number in range(slices):
        y, x, radius = rng.uniform((0.3, 0.3, 0.02), (0.7, 0.7, 0.1))
        waves = sum(
            np.sin(2 * np.pi * (a * rows + b * columns) + c)
            for a, b, c in rng.uniform((-4, -4, 0), (4, 4, 6), size=(4, 3))
        )
        if number % 20 == 0:  # the next person
            tall, wide, up, left, turn = rng.uniform(
                (0.26, 0.34, 0.45, 0.45, -0.2), (0.42, 0.48, 0.55, 0.55, 0.2)
            )
            down, across = (rows - up) + turn * (columns - left), (columns - left)
            inside = np.hypot(down / tall, across / wide) < 1
        body = inside * (120 + 20 * waves)
        image = np.clip(body + rng.normal(0, 6, body.shape), 0, 255).astype(np.uint8)
        mask = (np.hypot(rows - y, columns - x) < radius).astype(np.uint8)
        name = f"person{number // 20:04}_{number % 20:02}.png"
        Image.fromarray(image).save(folder / "images" / name)
        Image.fromarray(mask).save(folder / "masks" / name)


if __name__ == "__main__":
    main()
