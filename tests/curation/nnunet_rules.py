"""The rules of nnU-Net v2's documentation/dataset_format.md, checked on files alone.

One assertion per sentence of the documentation; nothing of ours and nothing of nnU-Net reads the
files here.
"""

import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

LOSSLESS = (".png", ".nii.gz")  # those of the documented endings that we write
REQUIRED = {"channel_names", "labels", "numTraining", "file_ending"}
OPTIONAL = {"overwrite_image_reader_writer", "regions_class_order"}


def pixels(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    if path.name.endswith(".nii.gz"):
        file = nib.load(path)
        return np.asanyarray(file.dataobj), file.affine
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.mode in ("L", "RGB"), "as skimage reads it: no palette, no alpha"
        return np.asarray(picture), None


def check_nnunet(folder: Path) -> None:
    """Assert every documented rule of a raw data set."""
    assert re.fullmatch(r"Dataset\d{3}_[^/]+", folder.name), "a three digit integer and a name"
    about = json.loads((folder / "dataset.json").read_text())
    assert set(about) >= REQUIRED
    assert set(about) <= REQUIRED | OPTIONAL
    ending, channels, labels = about["file_ending"], about["channel_names"], about["labels"]
    assert ending in LOSSLESS, "only lossless formats"
    assert list(channels) == [str(i) for i in range(len(channels))]
    assert all(isinstance(name, str) for name in channels.values())

    assert labels["background"] == 0, "the background must be 0"
    values = [
        v for value in labels.values() for v in (value if isinstance(value, list) else [value])
    ]
    assert sorted(set(values)) == list(range(max(values) + 1)), "consecutive integers"
    regions = any(isinstance(value, list) for value in labels.values())
    assert regions == ("regions_class_order" in about)
    if regions:
        check_regions(labels, about["regions_class_order"])

    images = sorted(path.name for path in (folder / "imagesTr").iterdir())
    masks = sorted(path.name for path in (folder / "labelsTr").iterdir())
    assert all(name.endswith(ending) for name in images + masks), "one format for a data set"
    cases = [name.removesuffix(ending) for name in masks]
    assert about["numTraining"] == len(cases)
    found: dict[str, list[str]] = {}
    for name in images:
        match = re.fullmatch(r"(.+)_(\d{4})", name.removesuffix(ending))
        assert match, "case_identifier_XXXX.SUFFIX"
        found.setdefault(match[1], []).append(match[2])
    assert sorted(found) == sorted(cases), "each image has its segmentation"
    for case in cases:
        numbers = found[case]
        stack = [pixels(folder / "imagesTr" / f"{case}_{n}{ending}") for n in numbers]
        mask, affine = pixels(folder / "labelsTr" / f"{case}{ending}")
        colour = ending == ".png" and stack[0][0].ndim == 3
        if colour:
            assert numbers == ["0000"], "RGB natural images are the sole exception"
            assert len(channels) == 3
        else:
            assert numbers == [f"{i:04}" for i in range(len(channels))], "all channels, in order"
        for image, where in stack:
            assert image.shape[: mask.ndim] == mask.shape, "all geometries match"
            assert mask.ndim == (2 if ending == ".png" else 3)
            assert not np.isnan(image.astype(float)).any()
            if affine is not None:
                np.testing.assert_allclose(where, affine, atol=1e-5)
        assert mask.dtype.kind in "iu", "integer maps"
        assert set(np.unique(mask).tolist()) <= set(values)
    splits = folder / "splits_final.json"
    if splits.is_file():
        for fold in json.loads(splits.read_text()):
            assert set(fold) == {"train", "val"}
            assert set(fold["train"]) | set(fold["val"]) <= set(cases)
            assert not set(fold["train"]) & set(fold["val"])


def check_regions(labels: dict, order: list[int]) -> None:
    """What nnU-Net writes region after region is the label it began with."""
    regions = {name: value for name, value in labels.items() if value != 0}
    members = [value if isinstance(value, list) else [value] for value in regions.values()]
    assert len(order) == len(members), "one label per region, without the background"
    for label in {value for values in members for value in values}:
        written = 0
        for values, number in zip(members, order, strict=True):
            if label in values:
                written = number
        assert written == label
