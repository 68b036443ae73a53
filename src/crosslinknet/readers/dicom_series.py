"""DICOM headers: what a file holds, which files make a series, and where its slices lie.

The path of one file stands for its whole series: all files of its folder with its
SeriesInstanceUID (its FrameOfReferenceUID where anonymisation took that away), since scanners write
a volume as a file per slice. A file whose pixels have no place in the patient (photographs,
ultrasound, radiographs) stands for itself. Slices are ordered by their position along the normal of
the image plane; file names and instance numbers count for nothing. Nothing here touches pixels.
Source: DICOM PS3.3, C.7.6.2 (Image Plane), C.7.6.16 (functional groups).
Order: Head and how it is read, series, then Stack: the geometry of a series.
"""

import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosslinknet.errors import CrosslinkError, DataError, ShapeError, SystemProblem

SUFFIXES = (".dcm", ".dicom", ".ima")
MAGIC = b"DICM"  # after a preamble of 128 bytes
SEGMENTATION = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
TOLERANCE = 0.1  # of a voxel: how far a slice may lie from its place in an even stack
PARALLEL = 1e-3  # how far direction cosines may differ
_STORAGE = "1.2.840.10008.5.1.4.1.1."

# Objects whose pixels lie in the patient by definition: without a position they are incomplete.
PLACED = {
    _STORAGE + end: name
    for end, name in {
        "2": "CT", "2.1": "enhanced CT", "2.2": "legacy enhanced CT",
        "4": "MR", "4.1": "enhanced MR", "4.4": "legacy enhanced MR",
        "128": "PET", "130": "enhanced PET", "128.1": "legacy enhanced PET",
    }.items()
}  # fmt: skip

# Objects whose frames are no slices as they stand; each would be wrong in silence.
REFUSED = {
    "1.2.840.10008.1.3.10": "a DICOMDIR, the index of a disc; give the files it lists",
    _STORAGE + "481.2": "a radiotherapy dose; only images are read",
    _STORAGE + "30": "a parametric map; only images are read",
    _STORAGE + "77.1.6": "a whole slide whose frames are tiles; export the region as a picture",
    _STORAGE + "6.2": "an ultrasound volume in the probe's own coordinates; export it as NIfTI",
} | {uid: "a DICOM SEG, which is a mask and no image" for uid in SEGMENTATION}

FRAMES_OF_NM = _STORAGE + "20"  # frames are views, phases or energies, told by vectors of indices

_HEADER = (
    *("SOPClassUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PatientID", "Rows", "Columns"),
    *("SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", "NumberOfFrames", "ImageOrientationPatient", "PixelSpacing"),
    *("ImagePositionPatient", "SpacingBetweenSlices", "SliceThickness", "RescaleSlope"),
    *("RescaleIntercept", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)


@dataclass(frozen=True)
class Frame:
    """One plane of pixels: where it lies and what its numbers mean; None where not stated.

    Attributes:
        position: of the centre of the first pixel, mm, LPS.
        orientation: direction of growing column index, then of growing row index, LPS.
        spacing: (dy, dx) in mm.
        distance: to the next slice by the header, mm; only for a slice that stands alone.
        slope, intercept: stored value * slope + intercept is the value.
    """

    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, float] | None
    distance: float
    slope: float
    intercept: float


@dataclass(frozen=True)
class Head:
    """What the header of a DICOM file says, as far as we need it."""

    path: Path
    kind: str  # SOP class UID
    syntax: str  # transfer syntax UID
    series: str
    reference: str  # frame of reference UID
    patient: str
    shape: tuple[int, int]  # (H, W); (0, 0) where there are no pixels
    samples: int
    photometric: str
    bits: tuple[int, int, int]  # allocated, stored, high bit
    signed: bool
    frames: tuple[Frame, ...]

    @property
    def volume(self) -> str:
        """What the files of a volume have in common: anonymised files may lack the series' UID."""
        return self.series or self.reference

    @property
    def is_image(self) -> bool:
        """Whether there are pixels, and not those of a mask."""
        return min(self.shape) > 0 and self.kind not in REFUSED

    @property
    def is_placed(self) -> bool:
        """Whether every frame says where it lies in the patient."""
        return all(f.position is not None and f.orientation is not None for f in self.frames)


def pydicom() -> Any:
    """The package, which is loaded by the first DICOM file.

    Raises:
        SystemProblem: it is not installed.
    """
    try:
        import pydicom
        import pydicom.pixels
    except ImportError as error:
        raise SystemProblem(
            f"DICOM files need a package that is not there ({error.name}). Install it: "
            "pip install 'crosslinknet[dicom]'"
        ) from error
    return pydicom


@contextmanager
def errors_named(path: Path) -> Iterator[None]:
    """Make every exception of pydicom a DataError that names the file; mute its warnings."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # values that break a rule of DICOM are still values
            yield
    except CrosslinkError:
        raise
    except Exception as error:  # pydicom and its decoders raise nearly every built-in type
        reason = re.sub(r"\s+", " ", str(error)).strip() or type(error).__name__
        raise DataError(
            f"{path} cannot be read as DICOM ({reason[:300]}). It may be truncated or of another "
            "kind; copy it again or leave it out."
        ) from error


def has_magic(path: Path) -> bool:
    """Whether a file begins as DICOM files do, whatever its name."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == MAGIC
    except OSError:
        return False


def read_head(path: Path) -> Head:
    """Read the header of a file; remembered while its size and time of change stay.

    Raises:
        DataError: not readable as DICOM.
        SystemProblem: pydicom is not installed.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}). Check the path.") from error
    return _read_head(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=2**15)
def _read_head(path: Path, size: int, changed: int) -> Head:
    package = pydicom()
    if not has_magic(path):
        raise DataError(
            f"{path} is no DICOM file: it does not begin with 128 bytes and the letters DICM. Copy "
            "it again or leave it out."
        )
    with errors_named(path):
        refuse_deflated(path)
        data = package.dcmread(path, stop_before_pixels=True, specific_tags=list(_HEADER))
        count = int(data.get("NumberOfFrames") or 1)
        if not 1 <= count <= 2**20:
            raise DataError(f"{path} claims {count} frames; expected 1 to {2**20:,}.")
        allocated = int(data.get("BitsAllocated") or 0)
        stored = int(data.get("BitsStored") or allocated)
        kind = str(data.get("SOPClassUID") or data.file_meta.get("MediaStorageSOPClassUID", ""))
        if not kind and "Rows" not in data:
            raise ValueError("neither a SOP class nor pixels")
        return Head(
            path=path,
            kind=kind,
            syntax=str(data.file_meta.get("TransferSyntaxUID", "")),
            series=str(data.get("SeriesInstanceUID") or ""),
            reference=str(data.get("FrameOfReferenceUID") or ""),
            patient=str(data.get("PatientID") or "").strip(),
            shape=(int(data.get("Rows") or 0), int(data.get("Columns") or 0)),
            samples=int(data.get("SamplesPerPixel") or 1),
            photometric=str(data.get("PhotometricInterpretation") or "").strip(),
            bits=(allocated, stored, int(data.get("HighBit") or stored - 1)),
            signed=bool(data.get("PixelRepresentation") or 0),
            frames=frames_of(data, count),
        )


def refuse_deflated(path: Path) -> None:
    """A data set that is compressed as a whole has no header that tells its size beforehand."""
    meta = pydicom().filereader.read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") == "1.2.840.10008.1.2.1.99":
        raise DataError(
            f"{path} is stored deflated, so that its size is not known before all of it is "
            "unpacked. Write it in another transfer syntax, as Explicit VR Little Endian."
        )


def frames_of(data: Any, count: int) -> tuple[Frame, ...]:
    """The frames of a data set: from its functional groups, where it has them."""
    shared = (data.get("SharedFunctionalGroupsSequence") or [None])[0]
    own = data.get("PerFrameFunctionalGroupsSequence") or []
    if shared is None and not own:
        return (_frame([data]),) * count
    if len(own) != count:
        raise DataError(
            f"{data.filename} has {count} frames, but says of {len(own)} where they lie "
            "(PerFrameFunctionalGroupsSequence). Export it again."
        )
    return tuple(_frame([*_groups(group), *_groups(shared), data]) for group in own)


def _groups(item: Any) -> list[Any]:
    """The first item of each functional group of a frame."""
    names = ("PlanePosition", "PlaneOrientation", "PixelMeasures", "PixelValueTransformation")
    found = [] if item is None else [item.get(f"{name}Sequence") for name in names]
    return [sequence[0] for sequence in found if sequence]


def _frame(places: Sequence[Any]) -> Frame:
    """A frame, each value from the first place that states it."""

    def stated(name: str, length: int) -> tuple[float, ...] | None:
        for place in places:
            value = place.get(name)
            if value is not None and value != "":
                numbers = tuple(float(v) for v in (value if length > 1 else [value]))
                if len(numbers) != length or not np.isfinite(numbers).all():
                    raise ValueError(f"{name} is {value}, expected {length} finite numbers")
                return numbers
        return None

    spacing = stated("PixelSpacing", 2)
    distance = stated("SpacingBetweenSlices", 1) or stated("SliceThickness", 1) or (0.0,)
    return Frame(
        position=stated("ImagePositionPatient", 3),
        orientation=stated("ImageOrientationPatient", 6),
        spacing=(spacing[0], spacing[1]) if spacing and min(spacing) > 0 else None,
        distance=abs(distance[0]) or 1.0,
        slope=(stated("RescaleSlope", 1) or (1.0,))[0],
        intercept=(stated("RescaleIntercept", 1) or (0.0,))[0],
    )


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
    images = [other for other in heads_in(path.parent) if other.is_image and other.is_placed]
    return tuple(other for other in images if other.volume == head.volume)


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
