"""What the pages of a TIFF claim: its chain of tables, walked with bounds, no pixel decoded.

The chain may come back to itself, thousands of pages may share one strip, and one tag may claim
millions of values: all tables together must fit into the file once, which bounds the walk.
libtiff does not always look at the checksum of a strip packed by deflate; it is verified here.
Order: the entry, the table of one page, its packed strips.
"""

import struct
from pathlib import Path
from typing import BinaryIO

from crosslinknet.errors import DataError
from crosslinknet.readers.guard import (
    DEFLATE,
    MOST_PAGES,
    MOST_PIXELS,
    Claim,
    broken,
    number,
    size_of,
    take,
    unpack,
)

WHOLE = {1: "B", 3: "H", 4: "I", 16: "Q"}  # types of whole numbers
WIDTH, HEIGHT, BITS, PACKING, CHANNELS, PLANAR = 256, 257, 258, 259, 277, 284
ROWS, STRIPS, STRIP_BYTES = 278, 273, 279
TILE_WIDTH, TILE_HEIGHT, TILES, TILE_BYTES = 322, 323, 324, 325
KNOWN = (
    *(WIDTH, HEIGHT, BITS, PACKING, CHANNELS, PLANAR, ROWS, STRIPS, STRIP_BYTES),
    *(TILE_WIDTH, TILE_HEIGHT, TILES, TILE_BYTES),
)
LISTS = (BITS, STRIPS, STRIP_BYTES, TILES, TILE_BYTES)  # all others are one number
FACTORS = {1: 1, 8: DEFLATE, 32946: DEFLATE, 32773: 128}  # of packings; others know no limit
SMALL_TILE = 2**22  # pixels of a tile that may be larger than its page

Tags = dict[int, tuple[int, ...]]


def claim_of_tiff(file: BinaryIO, path: Path) -> Claim:
    """What all pages of a TIFF claim together.

    Raises:
        DataError: pages in a ring, too many of them, tables larger than the file, damaged strips.
    """
    size, head = size_of(file), take(file, 0, 4, path)
    order, word = "<" if head[:2] == b"II" else ">", "Q" if 43 in head[2:] else "I"
    place = number(file, 8 if word == "Q" else 4, order + word, path)
    seen: set[int] = set()
    room, pixels, taken, shape = size, 0, 0, "no page"
    strips: set[int] = set()
    factors: set[int | None] = set()
    while place:
        if place in seen or len(seen) == MOST_PAGES:
            what = "come back to one another" if place in seen else f"are more than {MOST_PAGES:,}"
            raise DataError(f"{path} is a TIFF whose pages {what}. Save it anew, or cut it.")
        seen.add(place)
        tags, place, read = _table(file, place, order, word, room, path)
        room -= read
        own = tags.get(STRIPS, ()) + tags.get(TILES, ())
        if not own:
            raise broken(path, f"page {len(seen)} does not say where its pixels are")
        if not strips.isdisjoint(own):
            raise broken(path, f"page {len(seen)} shows the pixels of a page before it")
        strips.update(own)
        height, width = tags.get(HEIGHT, (0,))[0], tags.get(WIDTH, (0,))[0]
        bits = tags.get(BITS, (1,))[0] * tags.get(CHANNELS, (1,))[0]
        pixels, taken = pixels + height * width, taken + height * ((width * bits + 7) // 8)
        shape = f"{len(seen)} page{'s' * (len(seen) > 1)} of {height}x{width} pixels"
        packing = tags.get(PACKING, (1,))[0]
        factors.add(FACTORS.get(packing))
        tile = tags.get(TILE_WIDTH, (0,))[0] * tags.get(TILE_HEIGHT, (0,))[0]
        if tile > max(height * width, SMALL_TILE):
            raise broken(path, f"a tile of {tile:,} pixels is larger than its page")
        if FACTORS.get(packing) == DEFLATE and pixels <= MOST_PIXELS:
            _verify(file, tags, path)
    factor = None if None in factors else max((f for f in factors if f is not None), default=1)
    return Claim(shape, pixels, taken, size, factor)


def _table(
    file: BinaryIO, place: int, order: str, word: str, room: int, path: Path
) -> tuple[Tags, int, int]:
    """The KNOWN tags of a page, the place of the next page, and the bytes that were looked at."""
    counter, entry = ("Q", f"{order}HHQ8s") if word == "Q" else ("H", f"{order}HHI4s")
    count = number(file, place, order + counter, path)
    start, read = place + struct.calcsize(order + counter), count * struct.calcsize(entry)
    if read > room:
        raise broken(path, f"its tables have {count:,} tags, more than it can hold")
    tags: Tags = {}
    for tag, kind, values, value in struct.iter_unpack(entry, take(file, start, read, path)):
        if tag == 0:
            raise broken(path, "it has a tag 0, which there is not")
        if tag not in KNOWN:
            continue
        if kind not in WHOLE or tag in tags or (values != 1 and tag not in LISTS) or values == 0:
            raise broken(path, f"its tag {tag} is no whole number, or stands there twice")
        length = values * struct.calcsize(order + WHOLE[kind])
        if length > len(value):
            (where,) = struct.unpack(order + word, value)
            read += length
            if read > room:
                raise broken(path, f"its tag {tag} has {values:,} values, more than it can hold")
            value = take(file, where, length, path)
        tags[tag] = struct.unpack(f"{order}{values}{WHOLE[kind]}", value[:length])
    if tags.get(PLANAR, (1,))[0] not in (1, 2):
        raise broken(path, f"its channels lie in an unknown way ({tags[PLANAR][0]})")
    after = start + count * struct.calcsize(entry)
    return tags, number(file, after, order + word, path), read


def _verify(file: BinaryIO, tags: Tags, path: Path) -> None:
    """Unpack the strips or tiles of a page, keeping nothing: their checksums must fit."""
    height, width = tags.get(HEIGHT, (0,))[0], tags.get(WIDTH, (0,))[0]
    bits = tags.get(BITS, (1,))[0]
    planes = tags.get(CHANNELS, (1,))[0]
    if tags.get(PLANAR, (1,))[0] == 1:  # else each channel has strips of its own
        bits, planes = bits * planes, 1
    if TILES in tags:
        rows, columns = tags.get(TILE_HEIGHT, (1,))[0], tags.get(TILE_WIDTH, (1,))[0]
        across = -(-width // max(1, columns))
        places, lengths = tags[TILES], tags.get(TILE_BYTES, ())
    else:
        rows, columns, across = min(height, tags.get(ROWS, (height,))[0]), width, 1
        places, lengths = tags.get(STRIPS, ()), tags.get(STRIP_BYTES, ())
    expected = planes * across * -(-height // max(1, rows))
    if not len(places) == len(lengths) == expected:
        raise broken(path, f"a page has {len(places)} strips or tiles; its size needs {expected}")
    for place, length in zip(places, lengths, strict=True):
        if place + length > size_of(file):
            raise broken(path, f"it ends inside a strip of {length:,} bytes at byte {place:,}")
        file.seek(place)
        unpack(file, length, rows * ((columns * bits + 7) // 8), path, alone=False)
