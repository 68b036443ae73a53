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
Order: images, masks, the files of a path, pixels, then what is refused beforehand.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosslinknet.errors import DataError
from crosslinknet.geometry import Grid, SliceAxis
from crosslinknet.readers.dicom_series import (
    FRAMES_OF_NM,
    PLACED,
    REFUSED,
    SUFFIXES,
    Frame,
    Head,
    errors_named,
    has_magic,
    pydicom,
    read_head,
    series_of,
    stack,
)
from crosslinknet.readers.volumes import MOST_VOXELS, turn_volume

KINDS: tuple[Any, ...] = (np.uint8, np.int16, np.uint16, np.int32, np.uint32)  # the first that fits
GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT", "PALETTE COLOR")
BIG_ENDIAN = "1.2.840.10008.1.2.2"
J2K_START, JPEG_START = b"\xff\x4f\xff\x51", b"\xff\xd8"
WITHOUT_SIZE = (0xC4, 0xC8, 0xCC)  # markers among those of JPEG frames that are no frames


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
    if total > MOST_VOXELS:
        raise DataError(
            f"{path} stands for {len(heads)} files that claim {total:,} values, more than "
            f"{MOST_VOXELS:,}. Cut it into several series."
        )
    if not heads[0].is_placed:
        return _picture(heads[0])
    placed = stack(heads)
    pixels = _pixels(heads, placed.order)  # (Z, Y, X) or (Z, Y, X, 3)
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
        found = [p for p in path.parent.iterdir() if not p.name.startswith(".") and is_dicom(p)]
        if {p for p in found if read_head(p).is_image} <= {head.path for head in heads}:
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
    pixels = _pixels((head,), tuple((0, k) for k in range(len(head.frames))))
    pixels = pixels.reshape((*pixels.shape, 1)[:4]).transpose(0, 3, 1, 2)  # (D, C, H, W)
    (height, width), spacing = head.shape, head.frames[0].spacing
    one = spacing is not None and len(head.frames) == 1
    mm = (1.0, *spacing) if one and spacing else None
    return np.ascontiguousarray(pixels), Grid((len(head.frames), height, width), mm)


def _pixels(heads: Sequence[Head], order: Sequence[tuple[int, int]]) -> NDArray[Any]:
    """Values (Z, Y, X) or (Z, Y, X, 3) of all frames, in the given order."""
    place = {source: z for z, source in enumerate(order)}
    kind = _kind(heads)
    pixels: NDArray[Any] | None = None
    for i, head in enumerate(heads):
        with errors_named(head.path):
            for k, values in enumerate(_values(head)):
                if pixels is None:
                    grey = values.ndim == 2 and values.dtype.kind != "f"
                    own = kind if grey else values.dtype.newbyteorder("=")
                    pixels = np.empty((len(order), *values.shape), own)
                if values.shape != pixels.shape[1:]:
                    raise ValueError(f"a frame of {values.shape} beside {pixels.shape[1:]}")
                pixels[place[i, k]] = values
    assert pixels is not None  # every head has a frame
    return pixels


def _kind(heads: Sequence[Head]) -> Any:
    """The number type of a series: by its header alone, so that equal headers give equal types."""
    frames = [(head, frame) for head in heads for frame in head.frames]
    if not all(_is_whole(frame) for _, frame in frames):
        return np.float32
    lows, highs = [], []
    for head, frame in frames:
        bits = head.bits[1]
        low = -(2 ** (bits - 1)) if head.signed else 0
        lows.append(low + frame.intercept)
        highs.append(low + 2**bits - 1 + frame.intercept)
    for kind in KINDS:
        if np.iinfo(kind).min <= min(lows) and max(highs) <= np.iinfo(kind).max:
            return kind
    return np.float32


def _is_whole(frame: Frame) -> bool:
    return frame.slope == 1 and frame.intercept == int(frame.intercept)


def _values(head: Head) -> Iterator[NDArray[Any]]:
    """What the pixels of each frame of a file mean, (H, W) or (H, W, 3)."""
    package = pydicom()
    data = package.dcmread(head.path)
    if "PixelData" not in data:
        raise DataError(f"{head.path} holds no pixel data. Copy it again or leave it out.")
    if package.uid.UID(head.syntax).is_compressed:
        _check_codestreams(data, head)
    found = iter(package.pixels.iter_pixels(data, raw=False))
    for k, frame in enumerate(head.frames):
        stored = next(found, None)
        if stored is None:
            raise DataError(f"{head.path} holds {k} of {len(head.frames)} frames. Copy it again.")
        if head.photometric == "PALETTE COLOR":
            yield _coloured(stored, data, head.syntax == BIG_ENDIAN)
        elif head.photometric not in GREY:
            yield stored
        elif "ModalityLUTSequence" in data:
            yield package.pixels.apply_modality_lut(stored, data).astype(np.float32)
        else:
            yield _meant(stored, head, frame)


def _meant(stored: NDArray[Any], head: Head, frame: Frame) -> NDArray[Any]:
    """Stored values (H, W) rescaled, or made bright where high."""
    if not _is_whole(frame):
        return (stored * np.float64(frame.slope) + frame.intercept).astype(np.float32)
    if frame.intercept:
        return stored.astype(np.int64) + int(frame.intercept)
    if head.photometric == "MONOCHROME1":
        top = -1 if head.signed else 2 ** head.bits[1] - 1
        return top - stored.astype(np.int64)
    return stored


def _coloured(stored: NDArray[Any], data: Any, big_endian: bool) -> NDArray[Any]:
    """Colours (H, W, 3) of palette indices (H, W); 8 or 16 bits, as the palette has."""
    if "SegmentedRedPaletteColorLookupTableData" in data:
        colours: NDArray[Any] = pydicom().pixels.apply_color_lut(stored, data)
        return colours[..., :3]
    entries, first, _ = data.RedPaletteColorLookupTableDescriptor
    entries = entries or 2**16
    index = np.clip(stored.astype(np.int64) - first, 0, entries - 1)
    tables = []
    for name in ("Red", "Green", "Blue"):
        content = data[f"{name}PaletteColorLookupTableData"].value
        table = np.frombuffer(content, ">u2" if big_endian else "<u2")
        if len(table) < entries:  # two entries in a word, the first in its lower byte
            table = table.astype("<u2").view(np.uint8)
        tables.append(table[:entries])
    return np.stack([table[index] for table in tables], axis=-1)


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
            "decoder is installed. Install one (pip install 'crosslinknet[dicom]' has JPEG 2000, "
            "JPEG-LS and RLE, python-gdcm has JPEG Lossless), or store the series uncompressed."
        )


def _has_decoder(syntax: Any) -> bool:
    try:
        decoder = pydicom().pixels.get_decoder(syntax)
    except NotImplementedError:
        return False
    return bool(decoder.is_available)


def _check_codestreams(data: Any, head: Head) -> None:
    """A compressed frame that unpacks to more pixels than the header says is refused beforehand."""
    frames = pydicom().encaps.generate_frames(data.PixelData, number_of_frames=len(head.frames))
    for frame in frames:
        size = _codestream_size(frame)
        if size is not None and size != head.shape:
            raise DataError(
                f"{head.path} claims {head.shape[0]}x{head.shape[1]} pixels, but its compressed "
                f"data hold {size[0]}x{size[1]}. It is damaged; copy it again."
            )


def _codestream_size(frame: bytes) -> tuple[int, int] | None:
    """(H, W) by a JPEG 2000, JPEG or JPEG-LS codestream itself; None for other kinds.

    >>> _codestream_size(bytes.fromhex("ffd8 ffc0 000b 08 0002 0003 01 011100"))
    (2, 3)
    """
    start = frame.find(J2K_START, 0, 4096)
    if start >= 0 and not frame.startswith(JPEG_START):
        width, height, left, top = np.frombuffer(frame, ">u4", 4, start + 8).tolist()
        return height - top, width - left
    if not frame.startswith(JPEG_START):
        return None
    place = 2
    while place + 9 < len(frame) and frame[place] == 0xFF:
        marker, length = frame[place + 1], int.from_bytes(frame[place + 2 : place + 4], "big")
        is_frame = 0xC0 <= marker <= 0xCF and marker not in WITHOUT_SIZE
        if is_frame or marker == 0xF7:  # F7: a frame of JPEG-LS
            height, width = np.frombuffer(frame, ">u2", 2, place + 5).tolist()
            return height, width
        place += 2 + length
    return None
