"""One mask file, mended and written, with what changed in words and numbers.

Order: values, mend_mask, place in space, how things are called in the log.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosslinknet.curation.asked import Asked
from crosslinknet.curation.mend import map_values, resample_nearest
from crosslinknet.errors import DataError, ShapeError
from crosslinknet.geometry import Grid, is_apart, shift_of
from crosslinknet.readers import read_image, read_values, suffix_of, write_values

JPG = (".jpg", ".jpeg")
SAME_MM = 1e-3  # headers that put every voxel this near to each other are one

# what, before, after, as words; emptied: there were labels, and are none; held: old values of
# --labels that were there
Change = dict[str, Any]


def mended_values(path: Path, asked: Asked) -> tuple[NDArray[np.integer[Any]], Grid]:
    """Mask values (D, H, W) with threshold and labels applied, and their grid.

    Raises:
        DataError: a JPG without a threshold; values that cannot be mapped.
    """
    if suffix_of(path) in JPG and asked.threshold is None:
        raise DataError(
            f"{path} is a JPG, whose compression changes mask values near every edge. State where "
            "the target begins, as in --threshold 127: pixels above it become 1."
        )
    values, grid = read_values(path, 0, colour=asked.colour, threshold=asked.threshold)
    if asked.labels:
        values = map_values(values, asked.numbers, asked.colour, str(path))
    return values, grid


def mend_mask(path: Path, image: Path, target: Path, asked: Asked) -> list[Change]:
    """Write a mask anew where it has to be other than it is.

    Args:
        path: the mask.
        image: its image, whose grid may be wanted.
        target: file to write; nothing is written where nothing changes.
        asked: what is to be mended.

    Returns:
        What changed, with its state before and after; empty where nothing did.

    Raises:
        DataError: what cannot be mended as asked.
    """
    changes: list[Change] = []
    mended, grid = mended_values(path, asked)
    like, onto = path, grid
    if asked.values:
        raw, _ = _raw(path, asked)
        if suffix_of(path) in JPG or not np.array_equal(raw, mended):
            what = "threshold" if asked.threshold is not None else "labels"
            what = "threshold and labels" if asked.threshold is not None and asked.labels else what
            changes.append(
                {
                    "what": what,
                    "before": _counts(raw, asked.colour),
                    "after": _counts(mended),
                    "emptied": bool(raw.any() and not mended.any()),
                    "held": _held(raw, asked),
                }
            )
    if asked.copy_header or asked.resample_labels:
        _, wanted = read_image(image, 0)
        if (grid.affine is None) != (wanted.affine is None):
            raise DataError(
                f"{path} and {image} are a picture and a volume; neither fits the other."
            )
        if grid.affine is None and grid.shape != wanted.shape:
            raise ShapeError(
                f"{path} is {_size(grid)}, its image {_size(wanted)}, and pictures do not say "
                "where they lie. Scale the mask by hand, or pair the right files."
            )
        if grid.affine is None:
            moved = None
        elif asked.copy_header:
            moved = _copy_header(path, image, grid, wanted)
        else:
            moved, mended = _resample(path, mended, grid, wanted)
        if moved is not None:
            like, onto = image, wanted
            changes.append(moved)
    if changes:
        mended = map_values(mended, {}, False, str(path))  # the smallest type that holds them
        write_values(target, mended, onto, like)
    return changes


def _raw(path: Path, asked: Asked) -> tuple[NDArray[np.integer[Any]], Grid]:
    if suffix_of(path) in JPG:  # every grey value, for the log alone
        pixels, grid = read_image(path, 0)
        return pixels[:, 0], grid
    return read_values(path, 0, colour=asked.colour)


def _held(raw: NDArray[np.integer[Any]], asked: Asked) -> list[str]:
    values = set(np.unique(raw if asked.threshold is None else raw > asked.threshold).tolist())
    numbers = zip(asked.labels, asked.numbers, strict=True)
    return [str(old) for old, number in numbers if number in values]


def _copy_header(path: Path, image: Path, grid: Grid, wanted: Grid) -> Change | None:
    """Nothing where the header is that of the image, else what is moved."""
    if grid.shape != wanted.shape:
        raise ShapeError(
            f"{path} is {_size(grid)}, {image} {_size(wanted)} (axes as stored). A header fits "
            "voxels of one shape only; use --resample-labels, or pair the right files."
        )
    distance = shift_of(grid, wanted)
    if distance <= SAME_MM:
        return None
    what = f"header copied: moves by up to {distance:.2f} mm"
    return {"what": what, "before": _affine(grid), "after": _affine(wanted)}


def _resample(
    path: Path, values: NDArray[np.integer[Any]], grid: Grid, wanted: Grid
) -> tuple[Change | None, NDArray[np.integer[Any]]]:
    if grid.shape == wanted.shape and not is_apart(grid, wanted):
        return None, values
    result, facts = resample_nearest(values, grid, wanted, str(path))
    what = (
        f"resampled: centres {facts['centres_mm']:.2f} mm apart, labels "
        f"{facts['ml_before']:.2f} ml before and {facts['ml_after']:.2f} ml after, "
        f"{100 * facts['outside']:.1f} % of them outside the image"
    )
    return {"what": what, "before": _place(grid), "after": _place(wanted)}, result


def _counts(values: NDArray[np.integer[Any]], colour: bool = False) -> str:
    """Pixels of each value, at most the twelve most frequent."""
    numbers, counts = np.unique(values, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:12]
    names = [f"#{numbers[i]:06x}" if colour else str(numbers[i]) for i in order]
    more = f"; and {len(numbers) - 12} more values" if len(numbers) > 12 else ""
    return "; ".join(f"{n}: {counts[i]} px" for n, i in zip(names, order, strict=True)) + more


def _size(grid: Grid) -> str:
    return "x".join(map(str, grid.shape))


def _affine(grid: Grid) -> str:
    assert grid.affine is not None
    return json.dumps(grid.affine[:3].round(4).tolist())


def _place(grid: Grid) -> str:
    mm = " x ".join(f"{length:.4g}" for length in grid.spacing or ())
    return f"{_size(grid)} voxels of {mm} mm, affine {_affine(grid)}"
