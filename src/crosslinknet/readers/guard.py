"""In front of every reader: what a file claims is weighed before its pixels are decoded.

A header costs its writer nothing: 200 bytes can claim 900 GB, and 2 MB of gzip unpack to 2 GiB.
So each format says from the header alone what it would take (``Claim``), and ``check`` refuses
what is more than any image has, or more than the file can hold. Nothing here allocates more than
a few MiB. Order: the limits, what a file is, claims, packed streams, parts of
headers.
"""

import os
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from crosslinknet.errors import DataError

MOST_PIXELS = 2**30  # of all pages, slices and channels of a file
MOST_PAGES = 10_000  # of a TIFF
MOST_HEADER = 2**22  # bytes before the pixels of a volume
DEFLATE = 1032  # bytes that one byte of zlib or gzip can unpack to, at most

# Empty masks pack well, but what fills the memory of a machine must not come from nearly nothing.
HUGE_BYTES, HUGE_FACTOR = 3 * 2**29, 500

BLOCK = 2**20  # bytes looked at in one go

KINDS: tuple[tuple[str, str], ...] = (  # a pattern that the first bytes match: what the file is
    (r"\x89PNG\r\n\x1a\n", "PNG"),
    (r"\xff\xd8\xff", "JPG"),
    (r"II[*+]\0|MM\0[*+]", "TIFF"),
    (r".{344}n\+1\0|.{4}n\+2\0\r\n\x1a\n", "NIfTI"),
    (r".{344}ni1\0|.{4}ni2\0\r\n\x1a\n", "half of a NIfTI pair (.hdr and .img)"),
    (r"NRRD\d{4}\r?\n", "NRRD"),
    (r"(ObjectType|NDims|Comment|ObjectSubType)\s*=", "MetaImage"),
    (r"\x1f\x8b", "gzip"),
    (r".{128}DICM", "DICOM"),
    (r"GIF8", "GIF"),
    (r"%PDF", "PDF"),
    (r"PK\x03\x04", "a ZIP archive"),
    (r"\x89HDF", "HDF5"),
    (r"RIFF....WEBP", "WebP"),
    (r"version https://git-lfs", "a Git LFS pointer, not the file itself (git lfs pull)"),
    (r"\s*(?i:<!doctype html|<html)", "a web page"),
    (r"BM", "BMP"),
)


@dataclass(frozen=True)
class Claim:
    """What a header says about the pixels behind it.

    Attributes:
        shape: in words, such as ``(512, 512, 90) voxels``.
        pixels: numbers in all, channels included where they are an axis.
        bytes: of all pixels, unpacked.
        stored: bytes of the file that can hold them.
        factor: bytes that one stored byte can unpack to: 1 where nothing is packed, None where
            the format knows no limit.
    """

    shape: str
    pixels: int
    bytes: int
    stored: int
    factor: int | None


def kind_of(head: bytes) -> str:
    """What a file is by its first 512 bytes, as a word for messages.

    >>> kind_of(b"GIF89a"), kind_of(b"hello"), kind_of(bytes(8))
    ('GIF', 'text', 'something unknown')
    """
    for pattern, kind in KINDS:
        if re.match(pattern.encode("latin-1"), head, re.DOTALL):
            return kind
    return "text" if head.isascii() and head.decode().isprintable() else "something unknown"


def require_kind(head: bytes, path: Path, expected: str, *kinds: str) -> str:
    """What a file is, if it is one of ``kinds``.

    Raises:
        DataError: it is something else, which is named.
    """
    kind = kind_of(head)
    if kind not in kinds:
        raise DataError(
            f"{path} cannot be read as {expected}: it holds {kind}. If its name ends wrongly, "
            "rename it; else copy it again or leave it out."
        )
    return kind


def check(path: Path, claim: Claim) -> None:
    """Refuse a file that claims more than images have, or more than it can hold.

    Raises:
        DataError: with the numbers.
    """
    if claim.pixels > MOST_PIXELS:
        raise DataError(
            f"{path} claims {claim.shape}, more than {MOST_PIXELS:,} in all. Cut it into several "
            "files."
        )
    if claim.factor is not None and claim.bytes > claim.stored * claim.factor:
        raise DataError(
            f"{path} claims {claim.shape}, which take {claim.bytes:,} bytes, but it holds "
            f"{claim.stored:,}"
            f"{f', which unpack to {claim.factor} times as many at most' * (claim.factor > 1)}. "
            "It may be truncated, or its header is wrong; copy it again or leave it out."
        )
    if claim.bytes > max(HUGE_BYTES, claim.stored * HUGE_FACTOR):
        raise DataError(
            f"{path} would unpack from {claim.stored:,} to {claim.bytes:,} bytes, as only nearly "
            f"empty files do, and those stay below {HUGE_BYTES:,}. Save it with a smaller type of "
            "number (8-bit labels), or cut it into several files."
        )


def unpack(file: BinaryIO, length: int, most: int, path: Path, alone: bool = True) -> int:
    """Unpack zlib or gzip piece by piece, keeping nothing; its checksum must fit.

    Args:
        file: at the first byte of the stream.
        length: bytes up to its end.
        most: bytes it may unpack to.
        path: for messages.
        alone: nothing may stand between the end of the stream and ``length``.

    Returns:
        How many bytes it unpacks to.

    Raises:
        DataError: damaged, cut short, larger than ``most``, or followed by something else.
    """
    unpacker, total = zlib.decompressobj(wbits=47), 0  # 47: zlib or gzip, as its header says
    left, piece, out = length, b"", b""
    try:
        while not unpacker.eof and total <= most:
            if not piece and len(out) < BLOCK:  # all that was given came out
                piece = file.read(min(BLOCK, left))
                left -= len(piece)
                if not piece:
                    break
            out = unpacker.decompress(piece, BLOCK)
            total, piece = total + len(out), unpacker.unconsumed_tail
    except zlib.error as error:
        raise _packed_wrong(path, f"does not unpack ({error})") from error
    if total > most:
        raise _packed_wrong(path, f"gives more than the {most:,} bytes its header claims")
    if not unpacker.eof:
        raise _packed_wrong(path, f"ends too early, after {total:,} bytes")
    if alone and (unpacker.unused_data or left):
        raise _packed_wrong(path, "is followed by something else")
    return total


def _packed_wrong(path: Path, what: str) -> DataError:
    return DataError(
        f"{path} is damaged: the packed stream of its pixels {what}. Copy it again or leave it out."
    )


def take(file: BinaryIO, place: int, length: int, path: Path) -> bytes:
    """Bytes of a header.

    Raises:
        DataError: more than MOST_HEADER, or the file ends before.
    """
    if length > MOST_HEADER or place + length > size_of(file):
        raise broken(path, f"its header claims {length:,} bytes at byte {place:,}")
    file.seek(place)
    return file.read(length)


def number(file: BinaryIO, place: int, form: str, path: Path) -> int:
    """One whole number of a header, such as ``<I``."""
    (value,) = struct.unpack(form, take(file, place, struct.calcsize(form), path))
    return int(value)


def size_of(file: BinaryIO) -> int:
    """Bytes of an open file."""
    return os.fstat(file.fileno()).st_size


def broken(path: Path, reason: str) -> DataError:
    """What is said of a file whose header cannot be right."""
    return DataError(
        f"{path} cannot be read: {reason}. It may be truncated or damaged; copy it again or leave "
        "it out."
    )
