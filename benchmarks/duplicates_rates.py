"""How many changed copies are found as near-duplicates, and which other slices are called so.

XLN_TEST_DATA=FOLDER python benchmarks/duplicates_rates.py

Writes the tables of docs/decisions.md, D33. Every slice of a real set is changed in one way and
compared with itself; then all slices of the set are compared with each other.
"""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crosslinknet import duplicates
from crosslinknet.case import CaseFiles
from crosslinknet.config import DataConfig
from crosslinknet.datasets import find_cases
from crosslinknet.readers import read_case_image

SETS = {  # how its cases are found; None: a single volume
    "covid19_i_ct": {"masks": "masks"},
    "sunnybrook_lv": {"masks": "masks_endo", "subject": "^(.+)-IM-"},
    "kits19_slices": {"subject": r"^(case_\d+)_"},
    "msd_liver_256": {"subject": r"^(vol_\d+)_"},
    "kvasir_seg_100": {},
    "isbi2012_em": {},
    "msd_hippocampus": {"masks": "labels"},
    "io_volumes/nifti_ct_multiorgan": None,
    "io_volumes/nifti_mr_multiorgan": None,
}
MOST = 150  # slices of a set that are changed

Slice = NDArray[np.uint8]  # (H, W) or (H, W, 3)


def scaled(image: Slice, factor: float) -> Slice:
    """Resize as image programs do."""
    picture = Image.fromarray(image)
    size = (round(picture.width * factor), round(picture.height * factor))
    return np.asarray(picture.resize(size, Image.Resampling.BICUBIC))


def jpg(image: Slice) -> Slice:
    """Through a JPG file of quality 75."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=75)
    return np.asarray(Image.open(file))


def levels(image: Slice, gain: float, offset: float) -> Slice:
    """Other brightness and contrast, cut off at 0 and 255."""
    return np.rint(np.clip(image * gain + offset, 0, 255)).astype(np.uint8)


def window(image: NDArray[Any]) -> Slice:
    """8 bits between the percentiles 1 and 99 of the stored values."""
    low, high = np.percentile(image, (1, 99))
    return np.rint(np.clip((image - low) / max(high - low, 1e-9), 0, 1) * 255).astype(np.uint8)


def eight_bits(image: NDArray[Any]) -> Slice:
    """All values of a slice, as 8 bits."""
    if image.dtype == np.uint8:
        return image
    low, high = float(image.min()), float(image.max())
    return np.rint((image - low) / max(high - low, 1e-9) * 255).astype(np.uint8)


CHANGES: dict[str, Callable[[NDArray[Any]], Slice]] = {
    "JPG 75": lambda s: jpg(eight_bits(s)),
    "x 0.5": lambda s: scaled(eight_bits(s), 0.5),
    "x 2": lambda s: scaled(eight_bits(s), 2),
    "x 0.5, JPG 75": lambda s: jpg(scaled(eight_bits(s), 0.5)),
    "8-bit window": window,
    "x 1.1 + 5": lambda s: levels(eight_bits(s), 1.1, 5),
    "x 0.9 - 5": lambda s: levels(eight_bits(s), 0.9, -5),
    "gamma 0.9": lambda s: np.rint(255 * (eight_bits(s) / 255) ** 0.9).astype(np.uint8),
    "left-right": lambda s: np.ascontiguousarray(eight_bits(s)[:, ::-1]),
    "quarter turn": lambda s: np.ascontiguousarray(np.rot90(eight_bits(s))),
}


def main() -> None:
    """Print both tables in Markdown."""
    where = os.environ.get("XLN_TEST_DATA")
    if not where:
        print("XLN_TEST_DATA is not set: no real data to measure with")
        return
    print(f"Found with limit {duplicates.NEAR} / {duplicates.ALIKE}, in %\n")
    print("| set | slices | " + " | ".join(CHANGES) + " |\n" + "| --- " * (len(CHANGES) + 2) + "|")
    others = []
    for name in SETS:
        slices, subjects = load(Path(where) / name)
        some = slices[:: max(1, len(slices) // MOST)][:MOST]
        cells = [" / ".join(f"{100 * r:.0f}" for r in found(some, f)) for f in CHANGES.values()]
        print(f"| {name} | {len(some)} | {' | '.join(cells)} |", flush=True)
        others.append((name, len(slices), *strangers(slices, subjects)))
    print("\n| set | slices | flat | same subject | other subjects | nearest strangers |")
    print("| --- | --- | --- | --- | --- | --- |")
    for row in others:
        print("| " + " | ".join(map(str, row)) + " |")


def load(folder: Path) -> tuple[list[NDArray[Any]], list[str]]:
    """All slices of a set, (H, W) or (H, W, 3), and their subjects."""
    stated = SETS[folder.relative_to(os.environ["XLN_TEST_DATA"]).as_posix()]
    cases: tuple[CaseFiles, ...] = (CaseFiles("volume", "volume", (folder / "image.nii.gz",)),)
    if stated is not None:
        cases = find_cases(DataConfig(root=folder, **stated)).cases  # type: ignore[arg-type]
    slices, subjects = [], []
    for case in cases:
        image, _ = read_case_image(case, "axial")  # (D, C, H, W)
        slices += [
            s[0] if len(s) == 1 else np.ascontiguousarray(s.transpose(1, 2, 0)) for s in image
        ]
        subjects += [case.subject] * len(image)
    return slices, subjects


def prints_of(slices: list[NDArray[Any]]) -> duplicates.Fingerprints:
    """Fingerprints of slices of different sizes."""
    planes = (s[None] if s.ndim == 2 else s.transpose(2, 0, 1) for s in slices)
    return duplicates.join([duplicates.fingerprints(plane[None]) for plane in planes])


def found(slices: list[NDArray[Any]], change: Callable[[NDArray[Any]], Slice]) -> list[float]:
    """Share of slices that are called near their changed copy, for both limits."""
    count = len(slices)
    prints = prints_of([*slices, *(change(one) for one in slices)])
    pairs = duplicates.near_pairs(prints, limit=duplicates.ALIKE)
    own = [pair.difference for pair in pairs if pair.second == pair.first + count]
    return [sum(d <= limit for d in own) / count for limit in (duplicates.NEAR, duplicates.ALIKE)]


def strangers(slices: list[NDArray[Any]], subjects: list[str]) -> tuple[int, str, str, str]:
    """Flat slices; pairs within and between subjects, for both limits; the nearest strangers."""
    prints = prints_of(slices)
    numbers = np.unique(subjects, return_inverse=True)[1]
    pairs = duplicates.near_pairs(prints, limit=1.0)
    same = [bool(numbers[p.first] == numbers[p.second]) for p in pairs]
    counts = []
    for kind in (True, False):
        here = [p.difference for p, is_same in zip(pairs, same, strict=True) if is_same is kind]
        limits = (duplicates.NEAR, duplicates.ALIKE)
        counts.append(" / ".join(str(sum(d <= limit for d in here)) for limit in limits))
    nearest = ", ".join(f"{d:.3f}" for d in sorted(here)[:3] if d < 1) or "none"
    return int(prints.flat.sum()), counts[0], counts[1], nearest


if __name__ == "__main__":
    main()
