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
from scipy.ndimage import affine_transform

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
MOST = 40  # slices of a set that are changed

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


def curve(image: Slice, gamma: float) -> Slice:
    """Grey values to a power, rounded to 8 bits again."""
    return np.rint(255 * (image / 255) ** gamma).astype(np.uint8)


def equalised(image: Slice) -> Slice:
    """Every grey value by the share of darker ones."""
    shares = np.cumsum(np.bincount(image.ravel(), minlength=256)) / image.size
    return np.rint(255 * shares[image]).astype(np.uint8)


def mapped(image: Slice, angle: float = 0.0, zoom: float = 1.0, shift: float = 0.0) -> Slice:
    """Rotated, zoomed, and moved by a share of the slice right and up; black comes in."""
    middle = (np.array(image.shape[:2]) - 1) / 2
    sine, cosine = np.sin(np.radians(angle)), np.cos(np.radians(angle))
    back = np.array([[cosine, sine], [-sine, cosine]]) / zoom
    place = middle - back @ (middle + shift * np.array(image.shape[:2]) * (-1, 1))
    planes = image[..., None] if image.ndim == 2 else image
    moved = [affine_transform(p, back, place, order=1) for p in np.moveaxis(planes, 2, 0)]
    return np.stack(moved, axis=2).reshape(image.shape)


def cut(image: Slice, share: float) -> Slice:
    """Without a share of the rows and columns at each side."""
    rows, columns = (round(length * share) for length in image.shape[:2])
    return np.ascontiguousarray(image[rows:-rows, columns:-columns])


CHANGES: dict[str, Callable[[NDArray[Any]], Slice]] = {
    "JPG 75": lambda s: jpg(eight_bits(s)),
    "x 0.5": lambda s: scaled(eight_bits(s), 0.5),
    "x 2": lambda s: scaled(eight_bits(s), 2),
    "x 0.5, JPG 75": lambda s: jpg(scaled(eight_bits(s), 0.5)),
    "8-bit window": window,
    "x 1.1 + 5": lambda s: levels(eight_bits(s), 1.1, 5),
    "x 0.9 - 5": lambda s: levels(eight_bits(s), 0.9, -5),
    "mirrored": lambda s: np.ascontiguousarray(eight_bits(s)[:, ::-1]),
    "quarter turn": lambda s: np.ascontiguousarray(np.rot90(eight_bits(s))),
}
AUGMENTED: dict[str, Callable[[NDArray[Any]], Slice]] = {
    "gamma 0.5": lambda s: curve(eight_bits(s), 0.5),
    "gamma 0.7": lambda s: curve(eight_bits(s), 0.7),
    "gamma 1.5": lambda s: curve(eight_bits(s), 1.5),
    "gamma 2": lambda s: curve(eight_bits(s), 2),
    "equalised": lambda s: equalised(eight_bits(s)),
    "inverted": lambda s: 255 - eight_bits(s),
    "2°": lambda s: mapped(eight_bits(s), 2),
    "5°": lambda s: mapped(eight_bits(s), 5),
    "-10°": lambda s: mapped(eight_bits(s), -10),
    "30°": lambda s: mapped(eight_bits(s), 30),
    "zoom 0.8": lambda s: mapped(eight_bits(s), zoom=0.8),
    "zoom 1.1": lambda s: mapped(eight_bits(s), zoom=1.1),
    "zoom 1.25": lambda s: mapped(eight_bits(s), zoom=1.25),
    "cut 5 %": lambda s: cut(eight_bits(s), 0.05),
    "shift 5 %": lambda s: mapped(eight_bits(s), shift=0.05),
    "shift 10 %": lambda s: mapped(eight_bits(s), shift=0.1),
    "mirrored, 12°, zoom 1.12, gamma 1.5": lambda s: curve(
        mapped(np.ascontiguousarray(eight_bits(s)[:, ::-1]), 12, 1.12), 1.5
    ),
    "quarter turn, -7°, shift 5 %, inverted": lambda s: (
        255 - mapped(np.ascontiguousarray(np.rot90(eight_bits(s))), -7, shift=0.05)
    ),
}


def main() -> None:
    """Print both tables in Markdown."""
    where = os.environ.get("XLN_TEST_DATA")
    if not where:
        print("XLN_TEST_DATA is not set: no real data to measure with")
        return
    print(f"Found with limit {duplicates.NEAR} / {duplicates.ALIKE}, in %\n")
    sets = {name: load(Path(where) / name) for name in SETS}
    for changes in (CHANGES, AUGMENTED):
        print("| set | slices | " + " | ".join(changes) + " |")
        print("| --- " * (len(changes) + 2) + "|")
        for name, (slices, _) in sets.items():
            some = slices[:: max(1, len(slices) // MOST)][:MOST]
            cells = [shown(found(some, change)) for change in changes.values()]
            print(f"| {name} | {len(some)} | {' | '.join(cells)} |", flush=True)
        print()
    others = [(name, len(s[0]), *strangers(*s)) for name, s in sets.items()]
    print("| set | slices | flat | same subject | other subjects | nearest strangers |")
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


def shown(shares: list[float]) -> str:
    """Two shares as one cell."""
    near, alike = (f"{100 * share:.0f}" for share in shares)
    return near if near == alike else f"{near} / {alike}"


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
