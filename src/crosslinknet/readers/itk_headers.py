"""The text headers of MetaImage (.mha, .mhd) and NRRD (.nrrd, .nhdr), read strictly.

ITK takes what it does not find as 1 or 0 and what it cannot unpack as nothing, in silence. So the
lines that say how voxels lie must all be there, once, and the bytes behind them must fit exactly.
Only one file of voxels, beside the header or below its folder, may be named.
Sources: the MetaIO documentation of ITK; http://teem.sourceforge.net/nrrd/format.html.
Order: Header, the entry and the claim, MetaImage, NRRD, what both share.
"""

import re
from dataclasses import dataclass
from math import prod
from pathlib import Path, PurePosixPath

from crosslinknet.errors import DataError
from crosslinknet.readers.guard import (
    DEFLATE,
    MOST_HEADER,
    Claim,
    broken,
    require_kind,
    unpack,
)

META_BYTES = {
    **{"MET_CHAR": 1, "MET_UCHAR": 1, "MET_SHORT": 2, "MET_USHORT": 2, "MET_INT": 4},
    **{"MET_UINT": 4, "MET_LONG_LONG": 8, "MET_ULONG_LONG": 8, "MET_FLOAT": 4, "MET_DOUBLE": 8},
}
WORDS = {  # lines of MetaImage that know few words
    "ObjectType": ("Image",),
    "BinaryData": ("True",),
    "CompressedData": ("True", "False"),
    "BinaryDataByteOrderMSB": ("True", "False"),
    "ElementByteOrderMSB": ("True", "False"),
}
COUNTED = (  # lines whose count of numbers NDims tells
    *("DimSize", "ElementSpacing", "ElementSize", "Offset", "Position", "Origin"),
    *("TransformMatrix", "Rotation", "Orientation"),
)
NRRD_TYPES = {  # bytes per voxel: names of the type
    1: "signed char, int8, int8_t, uchar, unsigned char, uint8, uint8_t",
    2: "short, short int, signed short, signed short int, int16, int16_t, ushort, "
    "unsigned short, unsigned short int, uint16, uint16_t",
    4: "int, signed int, int32, int32_t, uint, unsigned int, uint32, uint32_t, float",
    8: "longlong, long long, long long int, signed long long, signed long long int, int64, "
    "int64_t, ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t, double",
}
NRRD_BYTES = {name: size for size, names in NRRD_TYPES.items() for name in names.split(", ")}
LARGEST = 1e30  # mm
PATIENT = (  # the spaces of NRRD that say how the patient lies
    *("right-anterior-superior", "left-anterior-superior", "left-posterior-superior"),
    *("ras", "las", "lps"),
)


@dataclass(frozen=True)
class Header:
    """What a header says of the voxels.

    Attributes:
        sizes: of all axes, channels included, in no stated order.
        placed_axes: how many of them have a spacing, as axes of channels have not.
        voxel_bytes: of one number.
        data: the file that holds the voxels, which may be the header's own.
        start: where they begin in it; -1: they are its last bytes.
        packed: by zlib or gzip.
        placed: it says how the patient lies.
    """

    sizes: tuple[int, ...]
    placed_axes: int
    voxel_bytes: int
    data: Path
    start: int
    packed: bool
    placed: bool


def read_header(path: Path) -> Header:
    """Read the header of a MetaImage or NRRD file.

    Raises:
        DataError: another kind of file; a line that is missing, doubled or without meaning; voxels
            in several files, or in one that does not lie beside or below the header.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_HEADER)
    except OSError as error:
        raise broken(path, error.strerror or str(error)) from error
    is_meta = path.suffix.lower() in (".mha", ".mhd")
    kind = "MetaImage" if is_meta else "NRRD"
    require_kind(content[:512], path, kind, kind)
    return _meta(content, path) if is_meta else _nrrd(content, path)


def claim_of_itk(path: Path) -> Claim:
    """What a volume claims.

    Raises:
        DataError: everything of ``read_header``; no such data file.
    """
    header = read_header(path)
    if not header.data.is_file():
        raise DataError(
            f"{path} names {header.data.name} as the file of its voxels, which is not there. Copy "
            "both, or save them as one file: .mha or .nrrd."
        )
    pixels, stored = prod(header.sizes), header.data.stat().st_size - max(0, header.start)
    shape, factor = f"{header.sizes} voxels", DEFLATE if header.packed else 1
    return Claim(shape, pixels, pixels * header.voxel_bytes, max(0, stored), factor)


def require_voxels(header: Header, path: Path) -> None:
    """Refuse voxels that are damaged, or more or fewer than the header claims.

    Raises:
        DataError: a checksum that does not fit, or the two numbers.
    """
    taken, stored = prod(header.sizes) * header.voxel_bytes, header.data.stat().st_size
    if header.packed:
        with header.data.open("rb") as file:
            file.seek(header.start)
            stored = unpack(file, stored - header.start, taken, path)
    elif header.start >= 0:
        stored -= header.start
    else:
        stored = min(stored, taken)
    if stored != taken:
        raise broken(path, f"its header claims {taken:,} bytes of voxels, but {stored:,} are there")


def _meta(content: bytes, path: Path) -> Header:
    end = re.search(rb"^ElementDataFile\s*=[^\n]*(\n|\Z)", content, re.MULTILINE)
    if end is None:
        raise broken(path, "no line ElementDataFile ends its header")
    lines = _text(content[: end.end()], path)
    fields = _fields(lines, r"\s*([^=:\s][^=:]*?)\s*=\s*(.*?)\s*", path)
    names = list(fields)
    if "NDims" in names[min(map(names.index, {*COUNTED} & {*names}), default=0) :]:
        raise broken(path, "its header states NDims only behind what depends on it")
    for name, known in WORDS.items():
        if fields.get(name, known[0]) not in known:
            raise broken(path, f"its {name} is {fields[name]!r}; expected {' or '.join(known)}")
    axes = _whole(_one_of(fields, ("NDims",), path), path, 1)[0]
    if not 2 <= axes <= 4:
        raise broken(path, f"it has {axes} axes; expected 2, 3, or 4 with channels last")
    sizes = _whole(_one_of(fields, ("DimSize",), path), path, axes)
    (channels,) = _whole(fields.get("ElementNumberOfChannels", "1"), path, 1)
    kind = _one_of(fields, ("ElementType",), path)
    if kind not in META_BYTES:
        raise broken(path, f"its ElementType {kind} is none of {', '.join(META_BYTES)}")
    spacing = _one_of(fields, ("ElementSpacing", "ElementSize"), path)
    if min(_real(spacing, path, axes)) <= 0:
        raise broken(path, f"its ElementSpacing is {spacing}")
    origin = _one_of(fields, ("Offset", "Position", "Origin"), path, "")
    turned = _one_of(fields, ("TransformMatrix", "Rotation", "Orientation"), path, "")
    placed = bool(origin and turned)
    _real(origin, path, axes if origin else 0)
    _real(turned, path, axes**2 if turned else 0)
    packed = fields.get("CompressedData", "False") == "True"
    name, skipped = fields["ElementDataFile"], _skipped(fields.get("HeaderSize", "0"), path)
    data, start = (path, end.end()) if name == "LOCAL" else (_beside(path, name), skipped)
    if skipped and (packed or name == "LOCAL"):
        raise DataError(f"{path} has a HeaderSize of {skipped}. Save it as one .mha file.")
    if packed and data.is_file():
        stated = _one_of(fields, ("CompressedDataSize",), path)
        stored = data.stat().st_size - start
        if stated != str(stored):
            raise broken(path, f"its CompressedDataSize is {stated}, but {stored:,} bytes follow")
    return Header((*sizes, channels), axes, META_BYTES[kind], data, start, packed, placed)


def _nrrd(content: bytes, path: Path) -> Header:
    end = re.search(rb"\r?\n\r?\n", content)
    lines = _text(content[: end.end()] if end else content, path)[1:]
    lines = [line for line in lines if line and not line.startswith("#") and ":=" not in line]
    lines = [re.sub("^[^:]*", _plain_name, line) for line in lines]
    fields = _fields(lines, r"([a-z]+):\s*(.*?)\s*", path)
    axes = _whole(_one_of(fields, ("dimension",), path), path, 1)[0]
    if not 2 <= axes <= 5:
        raise broken(path, f"it has {axes} axes; expected 2, 3, or 4 with channels")
    sizes = _whole(_one_of(fields, ("sizes",), path), path, axes)
    kind, encoding = _one_of(fields, ("type",), path), _one_of(fields, ("encoding",), path)
    if kind not in NRRD_BYTES:
        raise broken(path, f"its type {kind!r} is no type of integers or real numbers")
    if encoding not in ("raw", "gzip", "gz"):
        raise DataError(f"{path} has the encoding {encoding!r}. Save it as raw or gzip.")
    steps = _steps(_one_of(fields, ("spacings", "spacedirections"), path), path)
    if len(steps) != axes:
        raise broken(path, f"it states {len(steps)} spacings or directions for {axes} axes")
    if fields.get("lineskip", "0") != "0":
        raise DataError(f"{path} skips lines of its data file. Save it as one .nrrd file.")
    packed, name = encoding != "raw", fields.get("datafile")
    start = _skipped(fields.get("byteskip", "0"), path)
    if packed and start:
        raise DataError(f"{path} skips bytes of packed voxels. Save it as one .nrrd file.")
    data = path
    if name is not None:
        data = _beside(path, name)
    elif end is None:
        raise broken(path, "no empty line ends its header")
    else:
        start = start if start < 0 else end.end() + start
    placed = fields.get("space", "").lower() in PATIENT and (
        "spacedirections" in fields and _steps(fields.get("spaceorigin", "none"), path) != [None]
    )
    return Header(sizes, axes - steps.count(None), NRRD_BYTES[kind], data, start, packed, placed)


def _steps(text: str, path: Path) -> list[tuple[float, ...] | None]:
    """Spacings or vectors of NRRD; None where an axis has none, as those of channels."""
    steps: list[tuple[float, ...] | None] = []
    for word in re.findall(r"\([^()]*\)|[^\s()]+", text):
        numbers = word.strip("()").replace(",", " ")
        is_none = numbers.lower() in ("none", "nan")
        steps.append(None if is_none else _real(numbers, path, max(1, len(numbers.split()))))
    return steps


def _plain_name(match: re.Match[str]) -> str:
    """NRRD writes ``space directions`` and, as it likes, ``Data File`` or ``datafile``."""
    return match[0].lower().replace(" ", "")


def _text(content: bytes, path: Path) -> list[str]:
    """The lines of a header."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise broken(path, f"its header is no text ({error})") from error
    if odd := re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", text):
        raise broken(path, f"its header holds the byte {odd[0]!r}")
    return re.split(r"\r?\n", text)


def _fields(lines: list[str], pattern: str, path: Path) -> dict[str, str]:
    """What each line states, by its name."""
    fields: dict[str, str] = {}
    for line in filter(str.strip, lines):
        match = re.fullmatch(pattern, line)
        if match is None:
            raise broken(path, f"its header has the line {line[:60]!r}")
        if match[1] in fields:
            raise broken(path, f"its header states {match[1]} twice")
        fields[match[1]] = match[2]
    return fields


def _one_of(
    fields: dict[str, str], names: tuple[str, ...], path: Path, default: str | None = None
) -> str:
    """The value that stands under one of several names for the same."""
    stated = [fields[name] for name in names if name in fields]
    if len(stated) > 1 or (not stated and default is None):
        raise broken(
            path, f"its header must state {' or '.join(names)} once; it does {len(stated)}x"
        )
    return stated[0] if stated else str(default)


def _whole(text: str, path: Path, count: int) -> tuple[int, ...]:
    """Whole numbers from 1 on."""
    words = text.split()
    if len(words) != count or not all(re.fullmatch(r"[1-9]\d{0,17}", word) for word in words):
        raise broken(path, f"its header says {text[:60]!r}; expected {count} whole numbers from 1")
    return tuple(map(int, words))


def _real(text: str, path: Path, count: int) -> tuple[float, ...]:
    """Numbers that a place can have; for larger ones, too, ITK would take 1 in silence."""
    try:
        numbers = tuple(map(float, text.split()))
    except ValueError:
        numbers = ()
    if len(numbers) != count or not all(abs(number) < LARGEST for number in numbers):
        raise broken(path, f"its header says {text[:60]!r}; expected {count} finite numbers")
    return numbers


def _skipped(text: str, path: Path) -> int:
    """Bytes before the voxels; -1: the voxels are the last bytes."""
    if not re.fullmatch(r"-1|\d{1,18}", text):
        raise broken(path, f"it skips {text[:60]!r} bytes; expected a number")
    return int(text)


def _beside(path: Path, name: str) -> Path:
    """The one data file that a header names; it must lie beside the header or below its folder."""
    parts = PurePosixPath(name).parts
    leads_away = name.startswith("/") or ".." in parts or re.search(r"[\\:\0]", name)
    if leads_away or not parts or "%" in name or parts[0].split()[0] == "LIST":
        raise DataError(
            f"{path} names {name!r} as the file of its voxels; expected one file beside it or "
            "below its folder. Save image and header as one file: .mha or .nrrd."
        )
    return path.parent.joinpath(*parts)
