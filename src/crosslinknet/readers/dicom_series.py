"""DICOM series: which files make a volume, and where its slices lie.

The path of one file stands for its whole series: all files of its folder with its
SeriesInstanceUID (its FrameOfReferenceUID where anonymisation took that away), since scanners write
a volume as a file per slice. A file whose pixels have no place in the patient (photographs,
ultrasound, radiographs) stands for itself. Slices are ordered by their position along the normal of
the image plane; file names and instance numbers count for nothing.
Source: DICOM PS3.3, C.7.6.2 (Image Plane).
Order: the files of a series, then Stack: its order and its affine.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosslinknet.errors import DataError, ShapeError
from crosslinknet.readers.dicom_head import PLACED, SUFFIXES, Frame, Head, has_magic, read_head

TOLERANCE = 0.1  # of a voxel: how far a slice may lie from its place in an even stack
PARALLEL = 1e-3  # how far direction cosines may differ


def heads_in(folder: Path) -> list[Head]:
    """Headers of all DICOM files of a folder, not of the folders in it, by file name.

    Raises:
        DataError: a file is named as DICOM, or begins as one, and cannot be read: it could be a
            slice that is missing elsewhere.
    """
    files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    named = [path for path in files if path.suffix.lower() in SUFFIXES or has_magic(path)]
    return [read_head(path) for path in named if path.is_file()]


def series_of(path: Path) -> tuple[Head, ...]:
    """The headers of all files that make up the image a path stands for, by file name.

    Raises:
        DataError: everything of ``read_head`` and ``heads_in``.
    """
    head = read_head(path)
    if not (head.is_image and head.is_placed):
        return (head,)
    images = [h for h in heads_in(path.parent) if h.is_image and h.volume == head.volume]
    return tuple(h for h in images if h.is_placed or h.kind in PLACED)


@dataclass(frozen=True)
class Stack:
    """A series in space.

    Attributes:
        heads: its files.
        order: (file, frame) of each slice, from the first to the last along the normal.
        affine: 4x4, voxel (column, row, slice) to world mm, RAS+.
    """

    heads: tuple[Head, ...]
    order: tuple[tuple[int, int], ...]
    affine: NDArray[np.float64]


def stack(heads: tuple[Head, ...]) -> Stack:
    """Put the slices of a series in order and find their affine.

    Raises:
        ShapeError: slices of different sizes.
        DataError: no pixel spacing, several orientations, positions that come twice, distances
            that differ.
    """
    path = heads[0].path
    _refuse_mixture(heads)
    places = [(i, k) for i, head in enumerate(heads) for k in range(len(head.frames))]
    frames = [heads[i].frames[k] for i, k in places]
    across, down = _directions(frames, path)
    spacing = frames[0].spacing
    if spacing is None:
        raise DataError(f"{path} does not state its PixelSpacing, so no length is known.")
    normal = np.cross(across, down)
    positions = np.array([frame.position for frame in frames], dtype=np.float64)  # (N, 3)
    sequence = np.argsort(positions @ normal, kind="stable")
    positions = positions[sequence]
    step = normal * frames[0].distance
    if len(frames) > 1:
        step = _even_step(positions, normal, min(spacing), heads)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = across * spacing[1], down * spacing[0]
    affine[:3, 2], affine[:3, 3] = step, positions[0]
    to_ras = np.diag([-1.0, -1.0, 1.0, 1.0])
    return Stack(heads, tuple(places[i] for i in sequence), to_ras @ affine)


def _refuse_mixture(heads: tuple[Head, ...]) -> None:
    """Files of one volume must be of one size and one kind of pixels."""
    sizes = Counter(head.shape for head in heads)
    if len(sizes) > 1:
        shown = ", ".join(f"{n} times {h}x{w}" for (h, w), n in sizes.most_common(4))
        raise ShapeError(
            f"the series of {heads[0].path} mixes sizes: {shown} pixels. A volume has one; move "
            "the files of other images to a folder of their own."
        )
    kinds = Counter(f"{head.samples} x {head.photometric}" for head in heads)
    spacings = Counter(
        " x ".join(f"{mm:.4g}" for mm in frame.spacing or ()) or "none"
        for head in heads
        for frame in head.frames
    )
    for name, found in (("kinds of pixels", kinds), ("pixel spacings", spacings)):
        if len(found) > 1:
            shown = ", ".join(f"{n} times {kind}" for kind, n in found.most_common(4))
            raise DataError(
                f"the series of {heads[0].path} mixes {name}: {shown}. A volume has one; move the "
                "files of other images to a folder of their own."
            )


def _directions(frames: Sequence[Frame], path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """Unit vectors along the columns' and the rows' index, the same for all frames."""
    cosines = np.array([frame.orientation for frame in frames], dtype=np.float64)  # (N, 6)
    apart = np.abs(cosines - cosines[0]).max(axis=1) > PARALLEL
    if apart.any():
        shown = Counter(tuple(np.round(row, 3).tolist()) for row in cosines).most_common(3)
        text = "; ".join(f"{n} times {list(row)}" for row, n in shown)
        raise DataError(
            f"the series of {path} has slices of several orientations: {text}. It may be a "
            "localiser; leave it out, or move each orientation to a folder of its own."
        )
    across, down = cosines[0, :3], cosines[0, 3:]
    lengths = np.linalg.norm(across), np.linalg.norm(down)
    if max(abs(1 - n) for n in lengths) > PARALLEL or abs(across @ down) > PARALLEL:
        raise DataError(
            f"{path} has an ImageOrientationPatient of no two unit vectors at right angles: "
            f"{cosines[0].tolist()}. Repair its header."
        )
    return across / lengths[0], down / lengths[1]


def _even_step(
    positions: NDArray[np.float64],
    normal: NDArray[np.float64],
    pixel: float,
    heads: tuple[Head, ...],
) -> NDArray[np.float64]:
    """The vector from slice to slice; sheared by a tilted gantry, it still is one vector."""
    where = f"the series of {heads[0].path}"
    along = positions @ normal
    gaps = np.diff(along)
    usual = float(np.median(gaps))
    twice = int((gaps < max(1e-3, TOLERANCE * usual)).sum())
    if twice:
        raise DataError(
            f"{where} has {len(positions)} slices at {len(positions) - twice} positions: several "
            "phases, time points or echoes, or copies of files. Move each to a folder of its own."
        )
    step: NDArray[np.float64] = (positions[-1] - positions[0]) / (len(positions) - 1)
    even = positions[0] + np.arange(len(positions))[:, None] * step  # (N, 3)
    off = positions - even
    distance = float(step @ normal)
    if np.abs(off @ normal).max() > TOLERANCE * distance:
        counts = Counter(np.round(gaps, 2).tolist()).most_common()
        shown = ", ".join(f"{n} times {gap:g} mm" for gap, n in counts[:5])
        more = f" and {len(counts) - 5} others" if len(counts) > 5 else ""
        raise DataError(
            f"{where} has slices at uneven distances: {shown}{more}. Slices may be missing; each "
            f"must lie within {TOLERANCE:g} slice distances of its place. Copy the series again, "
            "or resample it."
        )
    sideways = np.linalg.norm(off - np.outer(off @ normal, normal), axis=1).max()
    if sideways > TOLERANCE * pixel:
        raise DataError(
            f"{where} has slices that lie up to {sideways:.2f} mm beside each other within the "
            f"plane, more than {TOLERANCE:g} pixels. They are no volume; leave the series out."
        )
    return step
