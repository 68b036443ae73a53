"""DICOM pixels: from the bytes of a file to the values that its header means.

Memory is bounded by the header, which is checked before; a compressed frame that would unpack to
another size is refused beforehand too.
Order: the values of a series, of a frame, palettes, then codestreams.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosslinknet.errors import DataError
from crosslinknet.readers.dicom_head import GREY, Frame, Head, errors_named, pydicom

KINDS: tuple[Any, ...] = (np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64)
BIG_ENDIAN = "1.2.840.10008.1.2.2"
J2K_START, JPEG_START = b"\xff\x4f\xff\x51", b"\xff\xd8"
WITHOUT_SIZE = (0xC4, 0xC8, 0xCC)  # markers among those of JPEG frames that are no frames


def read_pixels(heads: Sequence[Head], order: Sequence[tuple[int, int]]) -> NDArray[Any]:
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
                alike = (values.dtype.kind == "f") <= (pixels.dtype.kind == "f")
                if values.shape != pixels.shape[1:] or not alike:
                    raise ValueError(
                        f"a frame of {values.shape} {values.dtype} in a series of "
                        f"{pixels.shape[1:]} {pixels.dtype}"
                    )
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
