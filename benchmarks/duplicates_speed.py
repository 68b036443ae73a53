"""Near-duplicates among 45,000 slices, as many as KiTS19 has: processor seconds and memory.

python benchmarks/duplicates_speed.py [SLICES]

The slices are smooth made-up volumes around one common body, so that hashes crowd as those of
real slices do; neighbours blend into each other. 200 slices are stored twice, turned and noisy.
"""

import resource
import sys
import time

import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from crosslinknet import duplicates

SLICES, PER_VOLUME, PLANTED = 45_000, 215, 200


def main() -> None:
    """Print the time of each step for one set of slices, with and without subjects."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else SLICES
    rng = np.random.default_rng(0)
    thumbs = volumes(count - PLANTED, rng)
    sources = rng.choice(len(thumbs), PLANTED, replace=False)
    turned = [duplicates.turned(thumbs[s], k % 8) for k, s in enumerate(sources)]
    copies = np.stack(turned) + rng.normal(0, 1, (PLANTED, 32, 32)).astype(np.float32)
    began = time.process_time()
    parts = [duplicates.fingerprints(part[:, None]) for part in (thumbs, copies)]
    prints = duplicates.join(parts)
    print(f"{count} fingerprints of 32x32 slices: {time.process_time() - began:.0f} s")
    subjects = np.arange(count) // PER_VOLUME
    for name, groups in (("between volumes", subjects), ("all slices", None)):
        began = time.process_time()
        pairs = duplicates.near_pairs(prints, groups, duplicates.ALIKE)
        seconds = time.process_time() - began
        found = {(p.first, p.second) for p in pairs} & {
            (int(s), count - PLANTED + k) for k, s in enumerate(sources)
        }
        print(f"{name}: {len(pairs)} pairs, {len(found)} of {PLANTED} planted, {seconds:.0f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"largest memory of the process: {peak:.0f} MB, {thumbs.nbytes / 2**20:.0f} of it slices")
    slices = rng.integers(0, 256, (50, 1, 512, 512), dtype=np.uint8)
    began = time.process_time()
    duplicates.fingerprints(slices)
    print(f"{50 / (time.process_time() - began):.0f} slices of 512x512 fingerprinted a second")


def volumes(count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, 32, 32) grey values: a body that all share, and organs that drift along z."""
    y, x = np.mgrid[-1:1:32j, -1:1:32j]
    body = 600.0 * (x**2 + (1.4 * y) ** 2 < 0.8)
    made = np.empty((count, 32, 32), np.float32)
    for start in range(0, count, PER_VOLUME):
        person = gaussian_filter(rng.normal(size=(32, 32)), 3)
        organs = gaussian_filter(rng.normal(size=(PER_VOLUME, 32, 32)), (8, 1.5, 1.5))
        drift = gaussian_filter1d(rng.normal(size=PER_VOLUME), 12)[:, None, None]
        volume = body * (1 + 4 * person + 5 * organs + drift)
        made[start : start + PER_VOLUME] = volume[: count - start]
    return made


if __name__ == "__main__":
    main()
