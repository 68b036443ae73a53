"""DICOM SEG: segments as labels, drawn on the grid of the series they belong to.

Each frame is placed by its own position, orientation and spacing, whatever its order; frames that
were left out because they are empty stay background. Nothing is interpolated: a frame whose pixels
do not coincide with those of the image is an error. Binary segments, fractional ones (at least half
of the largest value counts) and label maps. A value is the SegmentNumber; a label map of the config
that holds names means the SegmentLabels.
Source: DICOM PS3.3, A.51 (Segmentation IOD), C.8.20.2.
Order: draw, count and own_grid, then what is read, and where frames lie.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosslinknet.errors import DataError, LabelError
from crosslinknet.geometry import Grid, SliceAxis
from crosslinknet.labels import LabelTable
from crosslinknet.readers.dicom_head import (
    SEGMENTATION,
    Frame,
    errors_named,
    frames_of,
    has_magic,
    pydicom,
    read_head,
)
from crosslinknet.readers.dicom_series import PARALLEL, TOLERANCE
from crosslinknet.readers.guard import MOST_PIXELS
from crosslinknet.readers.volumes import turn_volume

TYPES = ("BINARY", "FRACTIONAL", "LABELMAP")


@dataclass(frozen=True)
class Segments:
    """A SEG without its pixels.

    Attributes:
        path: the file.
        series: SeriesInstanceUIDs it refers to; empty where it names none.
        reference: its frame of reference UID.
        labels: number: label of each segment, in the order of the file.
    """

    path: Path
    series: frozenset[str]
    reference: str
    labels: dict[int, str]

    def belongs_to(self, series: str, reference: str) -> bool:
        """Whether it describes this series: by name, or else by the frame of reference."""
        if self.reference and reference and self.reference != reference:
            return False
        return series in self.series if self.series else self.reference == reference != ""


def draw(
    path: Path, image: Path, grid: Grid, table: LabelTable, overlap: str
) -> NDArray[np.integer]:
    """Mask values (D, H, W) on the grid of the image; see ``readers.Drawing``.

    Raises:
        DataError: no readable SEG, of another series, not on the image's pixels, labels overlap.
        LabelError: labels of names that the table does not hold.
    """
    about = read_segments(path)
    _refuse_other_series(about, image)
    value_of = {number: number for number in about.labels}
    if table.names:
        _refuse_other_names(about, table)
        value_of = {n: table.names.index(label) + 1 for n, label in about.labels.items()}
    values = np.zeros(grid.shape, np.uint16)
    double: Counter[tuple[int, int]] = Counter()
    shared = np.zeros(grid.shape, bool)
    with errors_named(path):
        for number, pixels in _drawn(about, grid):
            before, value = values[pixels], value_of[number]  # (N,)
            clash = (before != 0) & (before != value)
            shared[tuple(axis[clash] for axis in pixels)] = True
            double.update((other, value) for other in before[clash].tolist())
            values[pixels] = value
    if double and overlap == "error":
        label = {value_of[n]: label for n, label in about.labels.items()}
        pairs = double.most_common(4)
        shown = ", ".join(f"{label[a]} and {label[b]} ({n} px)" for (a, b), n in pairs)
        raise DataError(
            f"{path} gives {int(shared.sum())} pixels to more than one label: {shown}. A pixel has "
            "one label here; let the last in the file win with data.overlap: last"
        )
    return values


def count(path: Path, image: Path, grid: Grid) -> dict[int | str, int]:
    """Pixels of each label by its name (by its number where names are missing or come twice).

    Pixels of several labels count for each of them; 0 counts those of none.
    """
    about = read_segments(path)
    _refuse_other_series(about, image)
    names = set(about.labels.values())
    named = len(names) == len(about.labels) and "" not in names
    covered = np.zeros(grid.shape, bool)
    counts: Counter[int | str] = Counter()
    with errors_named(path):
        for number, pixels in _drawn(about, grid):
            counts[about.labels[number] if named else number] += len(pixels[0])
            covered[pixels] = True
    background: dict[int | str, int] = {0: int((~covered).sum())}
    return background | dict(counts.most_common())


def own_grid(paths: Sequence[Path], slice_axis: SliceAxis) -> Grid:
    """The smallest grid that holds the frames of SEGs of one series, which is not at hand.

    Frames without a marked pixel may be left out of a SEG, so slices above and below the outermost
    frames are not known; those between them all are there.

    Raises:
        DataError: no SEG, frames without a place, or further apart than a series reaches.
    """
    heads = [read_head(read_segments(path).path) for path in paths]
    frames = [
        (*_plane(frame, head.path), head.shape, frame.distance)
        for head in heads
        for frame in head.frames
    ]
    origin, down, across, _, distance = frames[0]
    normal = np.cross(across, down)
    normal /= max(float(np.linalg.norm(normal)), 1e-9)
    heights = [float((position - origin) @ normal) for position, *_ in frames]  # mm
    axes = np.stack([across, down, normal * _distance(heights, distance)], axis=1)
    corners = [
        corner
        for position, d, a, (height, width), _ in frames
        for corner in (position, position + d * (height - 1) + a * (width - 1))
    ]
    with errors_named(paths[0]):  # directions that span no plane
        places = np.linalg.solve(axes, np.transpose(corners) - origin[:, None])  # (3, 2 * frames)
    low, high = np.rint(places.min(axis=1)), np.rint(places.max(axis=1))
    columns, rows, slices = (int(n) for n in high - low + 1)
    if columns * rows * slices > MOST_PIXELS:
        raise DataError(
            f"{' and '.join(map(str, paths))} would need a grid of {slices} x {rows} x {columns} "
            "voxels to lie on. Pair SEGs of one series."
        )
    lps = np.eye(4)
    lps[:3, :3], lps[:3, 3] = axes, origin + axes @ low
    nothing = np.broadcast_to(np.uint8(0), (columns, rows, slices))
    return turn_volume(nothing, np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps, slice_axis)[1]


def read_segments(path: Path) -> Segments:
    """Read what a SEG says of itself.

    Raises:
        DataError: not readable, or no SEG.
    """
    if read_head(path).kind not in SEGMENTATION:
        raise DataError(
            f"{path} is a DICOM file but no SEG, so it is not known which labels its pixels mean. "
            "Save the mask as DICOM SEG or NIfTI."
        )
    with errors_named(path):
        tags = ["ReferencedSeriesSequence", "FrameOfReferenceUID", "SegmentSequence"]
        data = pydicom().dcmread(path, stop_before_pixels=True, specific_tags=tags)
        listed = data.get("ReferencedSeriesSequence") or []
        described = data.get("SegmentSequence") or []
        segments = [s for s in described if int(s.SegmentNumber)]  # a label map may name 0 too
        labels = {int(s.SegmentNumber): str(s.get("SegmentLabel") or "").strip() for s in segments}
        if len(labels) < len(segments) or not labels or not 0 < min(labels) <= max(labels) < 2**16:
            raise DataError(
                f"{path} numbers its segments {[int(s.SegmentNumber) for s in described]}; "
                "expected different numbers from 1. Export it again."
            )
        return Segments(
            path=path,
            series=frozenset(str(s.SeriesInstanceUID) for s in listed if "SeriesInstanceUID" in s),
            reference=str(data.get("FrameOfReferenceUID") or ""),
            labels=labels,
        )


def _refuse_other_series(about: Segments, image: Path) -> None:
    if not has_magic(image):  # other formats name no series; their affine says where they lie
        return
    head = read_head(image)
    related = about.belongs_to(head.series, head.reference)
    if head.kind in SEGMENTATION:  # another SEG, in whose series both may lie
        related = about.reference == head.reference or not (about.reference and head.reference)
    if not related:
        raise DataError(
            f"{about.path} describes series {', '.join(sorted(about.series)) or 'unnamed'} in the "
            f"frame of reference {about.reference or 'unnamed'}, but {image} is of series "
            f"{head.series} in {head.reference or 'none'}. Pair the SEG with its own series."
        )


def _refuse_other_names(about: Segments, table: LabelTable) -> None:
    strange = [label for label in about.labels.values() if label not in table.names]
    if strange:
        raise LabelError(
            f"{about.path} has segments labelled {', '.join(map(repr, strange))}, which "
            f"data.label_map does not name; it names {', '.join(table.names)}. Add each of them to "
            "a class of data.label_map."
        )


def _drawn(about: Segments, grid: Grid) -> Iterator[tuple[int, tuple[NDArray[np.intp], ...]]]:
    """Segment number and pixels (d, h, w) of each frame, segments in the order of the file."""
    if grid.affine is None:
        raise DataError(
            f"{about.path} is placed in space, but its image is a picture without a place. Save "
            "the mask as a picture too."
        )
    from_lps = np.diag([-1.0, -1.0, 1.0, 1.0])
    to_grid: NDArray[Any] = np.linalg.inv(grid.affine) @ from_lps  # mm to (d, h, w)
    for number, frame, inside in _frames(about):
        yield number, _placed(frame, inside, to_grid, grid, about.path)


def _frames(about: Segments) -> Iterator[tuple[int, Frame, NDArray[np.bool_]]]:
    """Segment number, place and pixels (H, W) of each frame."""
    package, path = pydicom(), about.path
    data = package.dcmread(path)
    count, kind = int(data.get("NumberOfFrames") or 1), str(data.get("SegmentationType") or "")
    total = count * int(data.Rows) * int(data.Columns)
    if kind not in TYPES or not 0 < total <= MOST_PIXELS:
        raise DataError(
            f"{path} is a SEG of type {kind!r} with {count} frames of {data.Rows}x{data.Columns}; "
            f"expected {', '.join(TYPES)} and at most {MOST_PIXELS:,} pixels."
        )
    if "PixelData" not in data:
        raise DataError(f"{path} holds no pixel data. Copy it again or leave it out.")
    places, order, shown = frames_of(data, count), list(range(count)), {}
    if kind != "LABELMAP":
        rank = {number: i for i, number in enumerate(about.labels)}
        shown = {k: _segment_of(data, k, about) for k in order}
        order.sort(key=lambda k: rank[shown[k]])
    for k, pixels in zip(order, _planes(data, order), strict=True):
        if kind == "LABELMAP":
            for number in np.unique(pixels[pixels > 0]).tolist():
                yield _known(number, about), places[k], pixels == number
        elif kind == "FRACTIONAL":
            yield shown[k], places[k], 2.0 * pixels >= int(data.MaximumFractionalValue)
        else:
            yield shown[k], places[k], pixels > 0


def _planes(data: Any, order: Sequence[int]) -> Iterator[NDArray[Any]]:
    """Pixels (H, W) of the frames as stored, in the given order."""
    package, shape = pydicom(), (int(data.Rows), int(data.Columns))
    if data.BitsAllocated == 1 and not data.file_meta.TransferSyntaxUID.is_compressed:
        # Frames follow each other bit by bit, and may begin inside a byte.
        stored, size = np.frombuffer(data.PixelData, np.uint8), shape[0] * shape[1]
        if 8 * len(stored) < len(order) * size:
            raise DataError(f"{data.filename} is cut off: {len(order) * size} bits are expected.")
        for k in order:
            first, end = k * size, (k + 1) * size
            bits = np.unpackbits(stored[first // 8 : -(-end // 8)], bitorder="little")
            yield bits[first % 8 : first % 8 + size].reshape(shape)
    else:
        yield from package.pixels.iter_pixels(data, indices=order, raw=True)


def _segment_of(data: Any, k: int, about: Segments) -> int:
    """The segment that frame k shows: its own, or the one all frames share."""
    shared = (data.get("SharedFunctionalGroupsSequence") or [None])[0]
    for item in (data.PerFrameFunctionalGroupsSequence[k], shared):
        named = None if item is None else item.get("SegmentIdentificationSequence")
        if named:
            return _known(int(named[0].ReferencedSegmentNumber), about)
    raise DataError(f"{about.path}: frame {k + 1} does not say which segment it shows.")


def _known(number: int, about: Segments) -> int:
    if number not in about.labels:
        raise DataError(f"{about.path} has a frame of segment {number}, which it does not list.")
    return number


def _placed(
    frame: Frame,
    inside: NDArray[np.bool_],
    to_grid: NDArray[Any],
    grid: Grid,
    path: Path,
) -> tuple[NDArray[np.intp], ...]:
    """Pixels of a frame as pixels (d, h, w) of the grid."""
    position, down, across = _plane(frame, path)
    steps = to_grid[:3, :3] @ np.stack([down, across], axis=1)  # (3, 2): pixels per row, column
    whole = np.rint(steps)
    exact = np.abs(whole).sum(axis=0).tolist() == [1, 1] and not (whole[:, 0] * whole[:, 1]).any()
    reach = np.abs(steps - whole).max() * max(grid.shape)
    if not exact or reach > TOLERANCE + PARALLEL:
        raise DataError(
            f"{path} has pixels of {frame.spacing} mm, with steps of {down.tolist()} per row and "
            f"{across.tolist()} per column, which are not the pixels of its image. Resample it "
            "to the image."
        )
    first = to_grid[:3, :3] @ position + to_grid[:3, 3]
    off = np.abs(first - np.rint(first))
    if off.max() > TOLERANCE:
        raise DataError(
            f"{path} has a frame at {position.tolist()} mm, {off.max():.2f} pixels or slices "
            "off those of its image. Resample it to the image."
        )
    pixels = np.rint(first)[:, None] + whole @ np.stack(np.nonzero(inside))  # (3, N)
    if pixels.size and (pixels.min() < 0 or (pixels.max(axis=1) >= grid.shape).any()):
        raise DataError(
            f"{path} marks pixels outside its image of {grid.shape} (slices, height, width), in a "
            f"frame at {position.tolist()} mm. Slices of the series are missing, or the SEG is "
            "of another one."
        )
    d, h, w = pixels.astype(np.intp)
    return d, h, w


def _distance(heights: Sequence[float], alone: float) -> float:
    """The largest distance of slices of which all distances between frames are multiples, mm."""
    gaps = np.diff(np.sort(heights))
    gaps = gaps[gaps > 1e-3]
    if not len(gaps):
        return alone
    for part in range(1, 100):
        distance = float(gaps.min()) / part
        numbers = gaps / distance
        if np.abs(numbers - np.rint(numbers)).max() <= TOLERANCE:
            return distance
    return float(gaps.min())  # the frame that lies off is named when it is drawn


def _plane(frame: Frame, path: Path) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Centre of the first pixel, step per row and step per column of a frame, mm, LPS."""
    if frame.position is None or frame.orientation is None or frame.spacing is None:
        raise DataError(
            f"{path} has frames without position, orientation or spacing. Export it with plane "
            "positions (a slide of tiles has none)."
        )
    across = np.array(frame.orientation[:3]) * frame.spacing[1]
    down = np.array(frame.orientation[3:]) * frame.spacing[0]
    return np.array(frame.position), down, across
