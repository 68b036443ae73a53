"""Run lengths of masks, as COCO writes them: pixels column by column, background first.

A mask is a list of counts, of 0s, of 1s, of 0s, ... that add up to H * W; COCO packs such a list
into a short text as well. Both are without loss. Source: COCO, "Data format", and the description
of the text in its mask API: from the fourth on, counts are differences to the count two places
before; each number is cut into groups of 5 bits, lowest first, with a bit that says that more
follow, and the character 48 above the 6 bits.
Order: masks to counts and back, counts to text and back.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crosslinknet.errors import DataError

MOST_GROUPS = 7  # of 5 bits: counts up to 2**34, more than any picture has pixels


def mask_to_counts(mask: NDArray[np.bool_]) -> list[int]:
    """Run lengths of a mask (H, W).

    >>> mask_to_counts(np.array([[0, 1, 1], [0, 0, 1]], dtype=bool))  # columns 00, 10, 11
    [2, 1, 1, 2]
    """
    flat = np.concatenate([[False], mask.ravel(order="F")])  # begins with background
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    lengths: list[int] = np.diff(changes, prepend=0, append=mask.size).tolist()
    return lengths


def counts_to_mask(counts: Sequence[int], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Mask (H, W) of run lengths.

    Raises:
        DataError: counts that are no whole numbers from 0, or do not add up to H * W.

    >>> counts_to_mask([2, 1, 1, 2], (2, 3)).astype(int)
    array([[0, 1, 1],
           [0, 0, 1]])
    """
    if not all(type(count) is int and count >= 0 for count in counts):
        raise DataError("its run lengths are not all whole numbers from 0 on.")
    if sum(counts) != shape[0] * shape[1]:
        raise DataError(
            f"its run lengths add up to {sum(counts)} pixels, not {shape[0]}x{shape[1]}."
        )
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, np.asarray(counts, dtype=np.int64)).reshape(shape, order="F")


def counts_to_text(counts: Sequence[int]) -> str:
    """Pack run lengths into COCO's text.

    >>> counts_to_text([2, 1, 1, 2])  # the fourth is written as 2 - 1
    '2111'
    >>> counts_to_text([16, 40])  # 16 = 10000 binary: the highest bit of a last group is the sign
    '`0X1'
    """
    text = []
    for place, count in enumerate(counts):
        number = count - counts[place - 2] if place > 2 else count
        while True:
            group = number & 0x1F
            number >>= 5
            last = number == (-1 if group & 0x10 else 0)
            text.append(chr(48 + (group if last else group | 0x20)))
            if last:
                break
    return "".join(text)


def text_to_counts(text: str) -> list[int]:
    """Unpack COCO's text to run lengths.

    Raises:
        DataError: characters that the text cannot hold, or a number that does not end.

    >>> text_to_counts("2111"), text_to_counts("`0X1")
    ([2, 1, 1, 2], [16, 40])
    """
    counts: list[int] = []
    number = groups = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or groups == MOST_GROUPS:
            raise DataError(f"its run lengths are no text of COCO's kind (at {character!r}).")
        number |= (bits & 0x1F) << 5 * groups
        groups += 1
        if bits & 0x20:
            continue
        if bits & 0x10:
            number -= 1 << 5 * groups
        counts.append(number + counts[-2] if len(counts) > 2 else number)
        number = groups = 0
    if groups:
        raise DataError("its run lengths end in the middle of a number.")
    return counts
