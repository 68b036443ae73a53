"""Predicted probabilities on disk, found by the names of the masks."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crosslinknet.errors import DataError, LabelError, ShapeError
from crosslinknet.geometry import SliceAxis
from crosslinknet.readers import read_image


def read_maps(
    files: Mapping[str, Path],
    name: str,
    classes: Sequence[str],
    shape: tuple[int, ...],
    slice_axis: SliceAxis,
) -> NDArray[np.float32]:
    """Probabilities (K, D, H, W) of a case, as ``xln predict --probabilities`` writes them.

    One file called as the case, with a channel per class, or one file per class, NAME.CLASS.
    Whole numbers of 8 or 16 bit stand for 0 to 1.

    Args:
        files: by name without suffix.
        name: of the case.
        classes: names, in the order of the label map.
        shape: (D, H, W) of the reference.
        slice_axis: of volumes, as for the masks.

    Raises:
        DataError: no file for the case or for one of its classes.
        LabelError: values that are no probabilities.
        ShapeError: another size or number of channels.
    """
    single = [f"{name}.{one}" for one in classes]
    names = [name] if name in files else single
    missing = [one for one in names if one not in files]
    if missing:
        raise DataError(
            f"there are no probabilities of {name}: expected a file {name}, or one for each class "
            f"({', '.join(single)})."
        )
    maps = np.concatenate([_read(files[one], slice_axis) for one in names], axis=1)  # (D, K, H, W)
    if maps.shape != (shape[0], len(classes), *shape[1:]):
        raise ShapeError(
            f"{files[names[0]]} holds {maps.shape[1]} maps of {maps.shape[0]}x{maps.shape[2]}x"
            f"{maps.shape[3]}, the reference has {len(classes)} classes and "
            f"{'x'.join(map(str, shape))} pixels. Write one map per class on the same grid."
        )
    return np.moveaxis(maps, 1, 0)


def _read(path: Path, slice_axis: SliceAxis) -> NDArray[np.float32]:
    """(D, C, H, W) in [0, 1]."""
    values, _ = read_image(path, slice_axis)
    if values.dtype.kind == "u" and values.dtype.itemsize <= 2:
        if values.max() == 1:
            raise LabelError(
                f"{path} holds 0 and 1 in {8 * values.dtype.itemsize} bits, which as grey values "
                "are next to nothing: a mask, perhaps. Give maps of probability."
            )
        return (values / np.float32(np.iinfo(values.dtype).max)).astype(np.float32)
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        raise LabelError(
            f"{path} holds {values.dtype} values from {np.nanmin(values):.4g} to "
            f"{np.nanmax(values):.4g}{', NaN too' if np.isnan(values).any() else ''}; expected "
            "probabilities from 0 to 1, or grey values of 8 or 16 bit. Write them after the "
            "sigmoid."
        )
    return values.astype(np.float32)
