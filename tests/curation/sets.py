"""Small made-up sets on disk, and what is the same about two folders."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image

from crosslinknet.config import DataConfig, ImageConfig
from crosslinknet.datasets import find_cases
from crosslinknet.files import read_json
from crosslinknet.labels import label_table, split_classes
from crosslinknet.readers import read_case


def save(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    """A picture (H, W[, 3]), a TIFF of pages (D, H, W), or a NIfTI volume as stored (X, Y, Z)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith((".nii", ".nii.gz")):
        nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    elif array.ndim == 3 and array.shape[-1] != 3:
        first, *others = [Image.fromarray(page) for page in array]
        first.save(path, save_all=True, append_images=others)
    else:
        Image.fromarray(array).save(path)
    return path


def voxels(path: Path) -> np.ndarray:
    """A file's values as stored."""
    if path.name.endswith((".nii", ".nii.gz")):
        return np.asanyarray(nib.load(path).dataobj)
    return np.asarray(Image.open(path))


def pictures(root: Path, names: str = "abc", values: tuple[int, ...] = (0, 255)) -> Path:
    """images/ and masks/ of PNG, 12x10, each with every one of the mask values."""
    rng = np.random.default_rng(len(names))
    for name in names:
        save(root / "images" / f"{name}.png", rng.integers(0, 256, (12, 10), dtype=np.uint8))
        mask = rng.choice(np.array(values, np.uint8), (12, 10))
        mask[0, : len(values)] = values
        save(root / "masks" / f"{name}.png", mask)
    return root


def manifest(root: Path, rows: list[dict[str, Any]]) -> Path:
    with (root / "manifest.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return root


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def cases_of(root: Path, **data: Any) -> Iterator[dict[str, Any]]:
    """What a set says of each case: pixels, classes, place, subject, fold."""
    record = root / "conversion.json"
    if record.is_file() and "label_map" not in data:
        data["label_map"] = read_json(record)["label_map"]
    config = DataConfig(root=root, **data)
    table = label_table(config.label_map)
    found = find_cases(config)
    test_of = {name: k for k, (_, test) in enumerate(found.splits or ()) for name in test}
    for files in found.cases:
        case = read_case(files, config, ImageConfig(fit="pad"))
        assert case.mask is not None
        yield {
            "id": case.id,
            "subject": case.subject,
            "fold": test_of.get(case.id, files.fold),
            "image": case.image,
            "classes": split_classes(case.mask, table),  # (K, D, H, W)
            "names": table.classes,
            "spacing": case.grid.spacing,
            "affine": case.grid.affine,
        }
