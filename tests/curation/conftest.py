"""Sets made up on disk: pairs of PNG that are clean until a test spoils them."""

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

Save = Callable[..., Path]


def scene(seed: int, height: int = 64, width: int = 80) -> np.ndarray:
    """A smooth random picture (H, W), 8 bit, unlike that of every other seed."""
    noise = np.random.default_rng(seed).normal(size=(height, width))
    smooth = ndimage.gaussian_filter(noise, 5)
    return np.rint(255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)


def target(rows: int = 8, columns: int = 10, value: int = 1, at: tuple[int, int] = (20, 30)):
    """A mask of 64x80 with one rectangle."""
    mask = np.zeros((64, 80), np.uint8)
    mask[at[0] : at[0] + rows, at[1] : at[1] + columns] = value
    return mask


def write(path: Path, pixels: np.ndarray, affine: np.ndarray | None = None) -> Path:
    """PNG, JPG or TIFF from (H, W), NIfTI from (X, Y, Z)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith(".nii.gz"):
        nib.save(nib.Nifti1Image(pixels, np.eye(4) if affine is None else affine), path)
    else:
        Image.fromarray(pixels).save(path)
    return path


def clean_pairs(root: Path) -> Path:
    """Four pairs of 64x80 pixels, named by a word each; targets of 80 pixels, 1.5625 %."""
    for seed, name in enumerate(("amber", "birch", "cedar", "dusk")):
        write(root / "images" / f"{name}.png", scene(seed))
        write(root / "masks" / f"{name}.png", target(at=(10 * seed, 5 * seed + 1)))
    return root


def clean_volumes(root: Path) -> Path:
    """Three pairs of NIfTI volumes, 40x48 pixels in 3 slices of 4 mm."""
    affine = np.diag([0.5, 0.5, 4.0, 1.0])
    for seed, name in enumerate(("amber", "birch", "cedar")):
        image = np.stack([scene(3 * seed + d, 40, 48) for d in range(3)], axis=2).astype(np.int16)
        mask = np.zeros((40, 48, 3), np.uint8)
        mask[5 + seed : 15 + seed, 6:16, 1] = 1
        write(root / "images" / f"{name}.nii.gz", image, affine)
        write(root / "masks" / f"{name}.nii.gz", mask, affine)
    return root


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    """See ``clean_pairs``."""
    return clean_pairs(tmp_path / "data")


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    """See ``clean_volumes``."""
    return clean_volumes(tmp_path / "data")
