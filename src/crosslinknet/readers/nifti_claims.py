"""What the header of a NIfTI file claims, of a packed one too, of which no more is unpacked.

The numbers stand where NIfTI-1 and NIfTI-2 put them (nifti1.h, nifti2.h). What nibabel would
repair in silence, or read without a bound, is refused here. Order: the entry, the extensions.
"""

import gzip
import struct
import zlib
from io import BufferedReader
from math import prod
from pathlib import Path

from crosslinknet.readers.guard import DEFLATE, MOST_HEADER, Claim, broken, require_kind

VOXEL_BYTES = {  # by the number of a type
    **{2: 1, 4: 2, 8: 4, 16: 4, 32: 8, 64: 8, 128: 3, 256: 1, 512: 2, 768: 4},
    **{1024: 8, 1280: 8, 1536: 16, 1792: 16, 2048: 32, 2304: 4},
}
# By the size of a header: where dim, datatype, vox_offset, qform_code and sform_code stand.
FIELDS = {
    348: ((40, "8h"), (70, "h"), (108, "f"), (252, "h"), (254, "h")),
    540: ((16, "8q"), (12, "h"), (168, "q"), (344, "i"), (348, "i")),
}
CODES = range(6)  # of qform and sform; 0: not stated


def open_nifti(path: Path) -> BufferedReader | gzip.GzipFile:
    """The bytes of a file, unpacked where its name says that they are packed."""
    return gzip.GzipFile(path) if path.name.lower().endswith(".gz") else path.open("rb")


def claim_of_nifti(path: Path) -> Claim:
    """What a volume claims.

    Raises:
        DataError: no NIfTI; a header that cannot be right.
    """
    packed, size = path.name.lower().endswith(".gz"), path.stat().st_size
    with path.open("rb") as file:
        expected = "NIfTI packed by gzip" if packed else "NIfTI"
        require_kind(file.read(512), path, expected, "gzip" if packed else "NIfTI")
    try:
        with open_nifti(path) as stream:
            return _claim(stream, path, size, DEFLATE if packed else 1)
    except (OSError, EOFError, zlib.error) as error:
        raise broken(path, f"its header does not unpack ({error})") from error


def _claim(stream: BufferedReader | gzip.GzipFile, path: Path, size: int, factor: int) -> Claim:
    head = stream.read(352)
    require_kind(head, path, "NIfTI", "NIfTI")
    order = "<" if head[0] else ">"
    (length,) = struct.unpack_from(order + "i", head)
    head += stream.read(length + 4 - len(head)) if length == 540 else b""
    if length not in FIELDS or len(head) < length + 4:
        raise broken(path, f"its header claims to be {length} bytes long, not 348 or 540")
    (axes, *dim), (kind,), (begins,), (qform,), (sform,) = (
        struct.unpack_from(order + form, head, place) for place, form in FIELDS[length]
    )
    shape = tuple(dim[: max(0, axes)])
    if not 1 <= axes <= 7 or min(shape) < 1 or kind not in VOXEL_BYTES:
        raise broken(path, f"it claims {axes} axes of {shape} voxels of type {kind}")
    if qform not in CODES or sform not in CODES:
        raise broken(path, f"its qform_code {qform} or sform_code {sform} has no meaning")
    if not length + 4 <= begins <= MOST_HEADER:
        raise broken(path, f"its voxels begin at byte {begins:g}")
    _check_extensions(head[length:] + stream.read(int(begins) - len(head)), order, path)
    pixels = prod(shape)
    taken = pixels * VOXEL_BYTES[kind]
    stored = size if factor > 1 else max(0, size - int(begins))
    return Claim(f"{shape} voxels", pixels, taken, stored, factor)


def _check_extensions(content: bytes, order: str, path: Path) -> None:
    """Extensions follow one another up to the voxels, each with its own length first."""
    place = 4
    while content[:1] != b"\0" and place + 16 <= len(content):
        (length,) = struct.unpack_from(order + "i", content, place)
        place += length
        if length < 16 or length % 16 or place > len(content):
            raise broken(path, f"an extension of its header claims to be {length} bytes long")
