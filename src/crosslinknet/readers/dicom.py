"""DICOM images: a series of slices, an enhanced multi-frame file, or a picture.

Stored axes are (column, row, slice), as in NIfTI, slices in the order of their positions; see
``readers.dicom_series``. Values are those that the header means: rescale slope and intercept (or
the modality lookup table) are applied, bits that do not belong to the pixels are dropped. Integers
stay integers where the slope is 1 and the intercept whole, else float32.
- MONOCHROME1 (0 is white) is inverted where values have no unit, so that bright is high as shown;
  rescaled values are measurements and stay.
- YBR becomes RGB, a palette its colours; planes of colour are put side by side. Windows for display
  (VOI) are not applied. PixelPaddingValue stays what it is: a number outside the patient.
- A picture (no position: photograph, ultrasound, radiograph) is taken as shown, its frames as
  slices; PixelSpacing counts where it has one frame.
Masks are read by ``readers.dicom_seg``, and written in other formats (``mask_suffix``).
Order: images, masks, the files of a path, pictures, then what is refused beforehand.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosslinknet.errors import DataError
from crosslinknet.geometry import Grid, SliceAxis
from crosslinknet.readers.dicom_head import (
    COLOUR,
    FRAMES_OF_NM,
    GREY,
    PLACED,
    REFUSED,
    SUFFIXES,
    Head,
    errors_named,
    has_magic,
    pydicom,
    read_head,
)
from crosslinknet.readers.dicom_pixels import read_pixels
from crosslinknet.readers.dicom_series import series_of, stack
from crosslinknet.readers.guard import MOST_PIXELS, Claim
from crosslinknet.readers.volumes import turn_volume


def claim(path: Path) -> Claim:
    """What the header of this one file claims, for ``readers.guard``; a series is weighed later."""
    head = read_head(path)
    (height, width), frames = head.shape, len(head.frames)
    pixels = frames * height * width * head.samples
    return Claim(
        shape=f"{frames} x {height} x {width} pixels",
        pixels=pixels,
        bytes=pixels * head.bits[0] // 8,
        stored=path.stat().st_size,
        factor=None,
    )


def read_image(path: Path, slice_axis: SliceAxis) -> tuple[NDArray[Any], Grid]:
    """Read a series, or a picture, as (D, C, H, W), C = 1 or 3.

    Args:
        path: one file of the series; all that belong to it are read.
        slice_axis: which axis counts the slices; 0 is the column's, 1 the row's, 2 the slice's.
            Pictures ignore it.

    Raises:
        DataError: not readable, no image, no place in space where there must be one, slices that
            make no volume (see ``dicom_series.stack``), a compression without decoder.
        ShapeError: slices of different sizes.
        SystemProblem: pydicom is not installed.
    """
    heads = series_of(path)
    for head in heads:
        with errors_named(head.path):
            _refuse(head)
    total = sum(len(head.frames) * head.shape[0] * head.shape[1] * head.samples for head in heads)
    if total > MOST_PIXELS:
        raise DataError(
            f"{path} stands for {len(heads)} files that claim {total:,} values, more than "
            f"{MOST_PIXELS:,}. Cut it into several series."
        )
    if not heads[0].is_placed:
        return _picture(heads[0])
    placed = stack(heads)
    pixels = read_pixels(heads, placed.order)  # (Z, Y, X) or (Z, Y, X, 3)
    voxels = np.moveaxis(pixels, (0, 1, 2), (2, 1, 0))  # (X, Y, Z[, 3])
    voxels = voxels.reshape((*voxels.shape, 1)[:4])  # (X, Y, Z, C)
    turned, grid = turn_volume(voxels, placed.affine, slice_axis)  # (D, H, W, C)
    return np.ascontiguousarray(turned.transpose(0, 3, 1, 2)), grid  # (D, C, H, W)


def read_values(
    path: Path, slice_axis: SliceAxis, *, colour: bool, lossy: bool
) -> tuple[NDArray[Any], Grid]:
    """Refuse: a DICOM mask is a SEG, which is drawn on the grid of its series.

    Raises:
        DataError: always.
    """
    raise DataError(
        f"{path} is a DICOM file, which is a mask only as DICOM SEG and with the series it belongs "
        "to. Give masks as NIfTI here."
    )


def write_values(
    path: Path, values: NDArray[np.integer], grid: Grid, like: Path | None, *, colour: bool
) -> None:
    """Refuse: masks are written in other formats, see ``mask_suffix``.

    Raises:
        DataError: always.
    """
    raise _unwritten(path)


def write_probabilities(
    path: Path,
    probs: NDArray[np.float32],
    grid: Grid,
    like: Path | None,
    classes: Sequence[str],
) -> tuple[Path, ...]:
    """Refuse, as ``write_values``.

    Raises:
        DataError: always.
    """
    raise _unwritten(path)


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its suffix, or by its first bytes where it has none.

    Names that are identifiers, 1.2.840.113619.2.5 for one, end in a number and no suffix.
    """
    suffix = path.suffix.lower()
    return suffix in SUFFIXES or ((suffix[1:].isdigit() or not suffix) and has_magic(path))


def files_of(path: Path) -> tuple[Path, ...]:
    """The files of a series, by name; of a picture or a SEG the file itself.

    Raises:
        DataError: a file that cannot be read, see ``dicom_series.series_of``.
    """
    return tuple(head.path for head in series_of(path))


def place_of(path: Path) -> Path:
    """What an image is called by: the folder of a series that lies alone in it, else its file.

    The suffix is left out, where there is one.
    """
    heads = series_of(path)
    first = heads[0].path
    if len(heads) > 1:
        files = [p for p in path.parent.iterdir() if p.is_file() and not p.name.startswith(".")]
        if {p for p in files if is_dicom(p) and read_head(p).is_image} <= {
            head.path for head in heads
        }:
            return path.parent
    return first.with_suffix("") if first.suffix.lower() in SUFFIXES else first


def mask_suffix(path: Path) -> str:
    """The format of masks of an image: NIfTI in space, PNG of a picture, TIFF of several frames."""
    head = read_head(path)
    if head.is_placed:
        return ".nii.gz"
    return ".png" if len(head.frames) == 1 else ".tif"


def first_files(paths: Sequence[Path]) -> list[Path]:
    """Of each series its first file, of other kinds of files all; what shows no image is left out.

    Args:
        paths: files of any format, as found in a folder.
    """
    kept: dict[tuple[Path, str], Path] = {}
    for path in paths:
        if not is_dicom(path):
            kept[path, ""] = path
            continue
        head = read_head(path)
        if head.is_image:
            together = (path.parent, head.volume) if head.is_placed else (path, "")
            kept.setdefault(together, path)
    return list(kept.values())


def _unwritten(path: Path) -> DataError:
    return DataError(
        f"{path} cannot be written: masks and probabilities of DICOM series are saved as NIfTI "
        "(.nii.gz), those of DICOM pictures as PNG or TIFF."
    )


def _picture(head: Head) -> tuple[NDArray[Any], Grid]:
    """Frames as shown (D, C, H, W); nothing is known of the patient."""
    pixels = read_pixels((head,), tuple((0, k) for k in range(len(head.frames))))
    pixels = pixels.reshape((*pixels.shape, 1)[:4]).transpose(0, 3, 1, 2)  # (D, C, H, W)
    (height, width), spacing = head.shape, head.frames[0].spacing
    one = spacing is not None and len(head.frames) == 1
    mm = (1.0, *spacing) if one and spacing else None
    return np.ascontiguousarray(pixels), Grid((len(head.frames), height, width), mm)


def _refuse(head: Head) -> None:
    """Refuse by the header what would come out wrong, or not at all."""
    path, package = head.path, pydicom()
    if head.kind in REFUSED:
        raise DataError(f"{path} is {REFUSED[head.kind]}.")
    if not head.is_image:
        name = package.uid.UID(head.kind).name or "of unknown kind"
        raise DataError(f"{path} ({name}) shows no image: it has no rows and columns of pixels.")
    if head.kind in PLACED and not head.is_placed:
        raise DataError(
            f"{path} ({PLACED[head.kind]}) does not say where it lies in the patient "
            "(ImagePositionPatient, ImageOrientationPatient). Export it again, or save it as PNG."
        )
    if head.kind == FRAMES_OF_NM and len(head.frames) > 1:
        raise DataError(
            f"{path} is a nuclear medicine file whose {len(head.frames)} frames are views or "
            "phases, not slices in space. Export it as a series of slices."
        )
    if head.photometric in GREY and any(frame.slope == 0 for frame in head.frames):
        raise DataError(
            f"{path} has a RescaleSlope of 0, which makes every pixel the same value. Repair its "
            "header: 1 where the stored values count."
        )
    allocated, stored, high = head.bits
    if allocated not in (1, 8, 16, 32) or not 0 < stored <= allocated or high != stored - 1:
        raise DataError(
            f"{path} stores pixels in an unusual way: BitsAllocated {allocated}, BitsStored "
            f"{stored}, HighBit {high}. Convert it to 8 or 16 bits."
        )
    channels = {name: 1 for name in (*GREY, "PALETTE COLOR")} | {name: 3 for name in COLOUR[:-1]}
    if channels.get(head.photometric) != head.samples:
        raise DataError(
            f"{path} has pixels of kind {head.photometric!r} with {head.samples} values each; "
            f"{', '.join(GREY + COLOUR)} are read. Convert it to one of these."
        )
    syntax = package.uid.UID(head.syntax)
    if head.syntax == "" or not _has_decoder(syntax):
        raise DataError(
            f"{path} is compressed as {syntax.name or 'nothing that is stated'}, for which no "
            "decoder is installed. Install one: pip install 'crosslinknet[dicom]' has JPEG 2000, "
            "JPEG-LS and RLE; JPEG Lossless is decoded by python-gdcm (Apache licence) and by "
            "pylibjpeg-libjpeg (GPL, version 3). Or store the series uncompressed."
        )


def _has_decoder(syntax: Any) -> bool:
    try:
        decoder = pydicom().pixels.get_decoder(syntax)
    except NotImplementedError:
        return False
    return bool(decoder.is_available)
