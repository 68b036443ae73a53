"""What the headers of PNG, JPG and BMP claim, read without decoding a pixel.

Pillow does not look at the checksums of a PNG's pixels, so they are verified here. A JPG may paint
its pixels anew in every scan. Order: the entry, then one function per format; TIFF has a file of
its own.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from crosslinknet.errors import DataError
from crosslinknet.readers.guard import (
    BLOCK,
    DEFLATE,
    MOST_PIXELS,
    Claim,
    broken,
    number,
    require_kind,
    size_of,
    take,
)
from crosslinknet.readers.tiff_claims import claim_of_tiff

EXPECTED = "PNG, JPG, BMP or TIFF"
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # numbers per pixel of a PNG, by its kind of colour
MOST_CHUNKS = 2**18  # of a PNG
MOST_SEGMENTS = 2**14  # of a JPG before its pixels
JPG_FACTOR = 2048  # a block of 8x8 pixels in four channels takes at least a bit


def claim_of_picture(path: Path) -> Claim:
    """What a picture claims.

    Raises:
        DataError: no picture; a header that cannot be right; a checksum that does not fit.
    """
    with path.open("rb") as file:
        kind = require_kind(file.read(512), path, EXPECTED, *CLAIMS)
        return CLAIMS[kind](file, path)


def _png(file: BinaryIO, path: Path) -> Claim:
    """Size from the first chunk; every chunk is verified by its checksum."""
    size, place, packed = size_of(file), 8, 0
    kind, width, height, bits, colour = struct.unpack(">4sIIBB", take(file, 12, 14, path))
    if kind != b"IHDR" or colour not in SAMPLES or bits not in (1, 2, 4, 8, 16):
        raise broken(path, "its first chunk describes no PNG")
    for _ in range(MOST_CHUNKS):
        length, kind = struct.unpack(">I4s", take(file, place, 8, path))
        place += 12 + length
        if place > size:
            raise broken(path, f"it ends inside a chunk of {length:,} bytes")
        checksum, left = zlib.crc32(kind), length
        while left:
            piece = file.read(min(left, BLOCK))
            checksum, left = zlib.crc32(piece, checksum), left - len(piece)
        if checksum != int.from_bytes(file.read(4), "big"):
            raise broken(path, f"the checksum of its {kind.decode('latin-1')} chunk is wrong")
        packed += length if kind == b"IDAT" else 0
        if kind == b"IEND":
            break
    else:
        raise broken(path, f"it has more than {MOST_CHUNKS:,} chunks")
    row = 1 + (width * bits * SAMPLES[colour] + 7) // 8
    shape = f"a picture of {height}x{width} pixels"
    return Claim(shape, height * width, height * row, packed, DEFLATE)


def _jpg(file: BinaryIO, path: Path) -> Claim:
    """Size from the last frame before the first scan; every scan may paint all pixels."""
    place, frame = 2, None
    for _ in range(MOST_SEGMENTS):
        start, marker = take(file, place, 2, path)
        if start != 0xFF:
            raise broken(path, "no segment begins where its header says")
        if marker == 0xFF:  # padding
            place += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            frame = struct.unpack(">HHB", take(file, place + 5, 5, path))
        if marker == 0xDA:
            break  # pixels begin
        stands_alone = marker == 0x01 or 0xD0 <= marker <= 0xD9
        place += 2 if stands_alone else 2 + number(file, place + 2, ">H", path)
    else:
        raise broken(path, f"it has more than {MOST_SEGMENTS:,} segments before its pixels")
    if frame is None:
        raise broken(path, "its pixels begin before their number is told")
    height, width, channels = frame
    scans = sum(1 for _ in _scans(file, place))
    if scans > 1 and scans * height * width > MOST_PIXELS:
        raise DataError(
            f"{path} paints its {height}x{width} pixels {scans} times, more than {MOST_PIXELS:,} "
            "in all. Save it without progressive scans, or cut it into tiles."
        )
    pixels, shape = height * width, f"a picture of {height}x{width} pixels"
    return Claim(shape, pixels, pixels * channels, size_of(file), JPG_FACTOR)


def _scans(file: BinaryIO, place: int) -> Iterator[re.Match[bytes]]:
    """Where scans begin: among packed pixels FF is followed by 00, or begins a segment."""
    file.seek(place)
    last = b""
    while piece := file.read(BLOCK):
        yield from re.finditer(rb"\xff\xda", last + piece)
        last = piece[-1:]


def _bmp(file: BinaryIO, path: Path) -> Claim:
    """Size from the header; pixels are packed only in runs of 4 or 8 bits."""
    begins, header = struct.unpack("<II", take(file, 10, 8, path))
    if header == 12:
        width, height, _, bits = struct.unpack("<HHHH", take(file, 18, 8, path))
        packing = 0
    else:
        width, height, _, bits, packing = struct.unpack("<iiHHI", take(file, 18, 16, path))
    if width < 0:
        raise broken(path, f"it is {width} pixels wide")
    height = abs(height)  # negative: from top to bottom
    taken = height * ((width * bits + 31) // 32 * 4)
    stored = max(0, size_of(file) - begins)
    factor = None if packing in (1, 2) else 1
    return Claim(f"a picture of {height}x{width} pixels", height * width, taken, stored, factor)


CLAIMS = {"PNG": _png, "JPG": _jpg, "BMP": _bmp, "TIFF": claim_of_tiff}
