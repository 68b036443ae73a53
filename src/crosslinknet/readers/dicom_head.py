"""DICOM headers: what a file holds, as far as we need it; nothing here touches pixels.

Source: DICOM PS3.3, C.7.6.2 (Image Plane), C.7.6.16 (functional groups).
Order: kinds of objects, Frame and Head, pydicom and its errors, how a header is read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from crosslinknet.errors import DataError, SystemProblem
from crosslinknet.readers import failures

SUFFIXES = (".dcm", ".dicom", ".ima")
MAGIC = b"DICM"  # after a preamble of 128 bytes
SEGMENTATION = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
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

GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT", "PALETTE COLOR")

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


# Values that break a rule of DICOM are still values: warnings of pydicom mean nothing.
errors_named = partial(failures.errors_named, kind="DICOM", warnings_mean="nothing")


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
