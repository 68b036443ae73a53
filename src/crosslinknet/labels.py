"""What mask values mean: from the numbers of a file to codes, classes and back.

A label map names classes by mask values, and classes may overlap (infection: [1, 2], ggo: [1]).
Files hold values (any integers, or colours as 0xRRGGBB); the package works with codes: 0 is
background, c = 1..n stands for the c-th smallest value. Classes are what the network predicts.
Where a file names its labels (polygons), the names in alphabetical order are the values 1..n.
Order: LabelTable, values to codes (encode), codes to classes (split_classes), where they are
(shown_in), and back (decode, to_values), codes to consecutive numbers (merge_values).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crosslinknet.errors import LabelError, UsageError

MOST_VALUES = 255  # codes are uint8 and 0 is background
FEW = 8  # codes of a class that are compared one by one, faster than a table
UNKNOWN = 255  # among the codes of a mask of bytes: a value that is not named


@dataclass(frozen=True, eq=False)
class LabelTable:
    """A label map as arrays.

    Attributes:
        classes: K names, in the order of the logit maps.
        values: n distinct mask values, sorted; code c means ``values[c - 1]``.
        member: (n + 1, K); ``member[c, k]`` tells whether code c belongs to class k. Row 0,
            the background, is all False.
        colour: the values are colours, 0xRRGGBB.
        names: the label map holds names, and value v means ``names[v - 1]``; else empty.
    """

    classes: tuple[str, ...]
    values: tuple[int, ...]
    member: NDArray[np.bool_]
    colour: bool
    names: tuple[str, ...] = ()


def label_table(label_map: Mapping[str, Sequence[int | str]]) -> LabelTable:
    """Turn ``data.label_map`` into a table.

    Raises:
        UsageError: more than 255 distinct values.

    >>> table = label_table({"infection": [1, 2], "ggo": [1]})
    >>> table.values
    (1, 2)
    >>> table.member.astype(int).tolist()
    [[0, 0], [1, 1], [1, 0]]
    >>> label_table({"polyp": ["polyp", "adenoma"]}).names
    ('adenoma', 'polyp')
    """
    texts = {v for values in label_map.values() for v in values if isinstance(v, str)}
    colour = any(text.startswith("#") for text in texts)
    names = () if colour else tuple(sorted(texts))
    number: dict[int | str, int] = {name: value for value, name in enumerate(names, start=1)}
    named = {
        name: {number[v] if v in number else _number(v) for v in values}
        for name, values in label_map.items()
    }
    values = sorted(set().union(*named.values()))
    if len(values) > MOST_VALUES:
        raise UsageError(
            f"data.label_map names {len(values)} mask values, at most {MOST_VALUES} are possible. "
            "Leave out classes, or write the masks anew with fewer values."
        )
    member = np.zeros((len(values) + 1, len(named)), dtype=bool)
    for k, members in enumerate(named.values()):
        member[1:, k] = np.isin(values, list(members))
    return LabelTable(tuple(named), tuple(values), member, colour, names)


def encode(mask_values: NDArray[np.integer], table: LabelTable, name: str) -> NDArray[np.uint8]:
    """Turn the values of a mask file into codes.

    Args:
        mask_values: (D, H, W), any integers; colours as 0xRRGGBB.
        table: what the values mean.
        name: the file, for the error.

    Returns:
        (D, H, W) codes 0..n.

    Raises:
        LabelError: values that the label map does not name; all are listed with their pixels.
    """
    known = np.array((0, *table.values), dtype=np.int64)
    if table.values == tuple(range(1, len(known))):  # most masks: values are their own codes
        lowest, highest = mask_values.min(initial=0), mask_values.max(initial=0)
        if lowest >= 0 and highest < len(known):
            return mask_values.astype(np.uint8, copy=False)
    if mask_values.dtype == np.uint8 and len(known) <= UNKNOWN:
        every = np.arange(256)
        codes = np.searchsorted(known, every).clip(max=len(known) - 1)
        code_of = np.where(known[codes] == every, codes, UNKNOWN).astype(np.uint8)
        bytes_ = mask_values.tobytes().translate(code_of.tobytes())
        found = np.frombuffer(bytearray(bytes_), np.uint8).reshape(mask_values.shape)
        if found.max(initial=0) == UNKNOWN:
            raise _unknown(mask_values[found == UNKNOWN], table, name)
        return found  # (D, H, W)
    codes = np.searchsorted(known, mask_values).clip(max=len(known) - 1)
    coded = np.where(known[codes] == mask_values, codes, -1)
    if coded.min(initial=0) < 0:
        raise _unknown(mask_values[coded < 0], table, name)
    return coded.astype(np.uint8)  # (D, H, W)


def split_classes(codes: NDArray[np.integer], table: LabelTable) -> NDArray[np.bool_]:
    """Codes (...) to one mask per class (K, ...); classes may overlap.

    >>> split_classes(np.array([0, 1, 2]), label_table({"all": [1, 2], "ggo": [1]})).astype(int)
    array([[0, 1, 1],
           [0, 1, 0]])
    """
    masks = np.zeros((len(table.classes), *codes.shape), dtype=bool)
    for mask, members in zip(masks, table.member.T, strict=True):
        own = np.flatnonzero(members)
        if len(own) > FEW:
            np.take(members, codes, out=mask)
        for code in own if len(own) <= FEW else ():
            mask |= codes == code
    return masks


def shown_in(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where labels of a slice show a class, (H, W).

    Args:
        labels: codes (H, W), or soft labels (K, H, W), of which 255 is certainty: they show a class
            that is likelier than what all of them leave over.

    >>> shown_in(np.array([[[127, 128]]], np.uint8)).tolist()
    [[False, True]]
    >>> shown_in(np.array([[[100]], [[90]]], np.uint8)).tolist()  # 65 are left over
    [[True]]
    """
    if labels.ndim == 2:
        return labels > 0
    left = MOST_VALUES - labels.sum(axis=0, dtype=np.int64)
    return np.asarray(labels.max(axis=0) > left)


def decode(scores: NDArray[np.floating], table: LabelTable) -> NDArray[np.uint8]:
    """Find the codes that fit the scores of the classes best.

    The code with the largest sum of its classes' scores wins; background has 0 and ties go to
    the lower code. So one class is present where its score is above 0, and exclusive classes
    are an argmax against 0. Of values that belong to the same classes the lowest is written.

    Args:
        scores: (K, ...), above 0 where a class is more likely present than not: the logit
            minus the logit of the threshold.
        table: which code belongs to which classes.

    Returns:
        (...) codes 0..n.

    >>> table = label_table({"all": [1, 2], "ggo": [1]})
    >>> decode(np.array([[3.0, 3.0, -1.0], [2.0, -2.0, -1.0]]), table)
    array([1, 2, 0], dtype=uint8)
    """
    best = np.zeros(scores.shape[1:], dtype=scores.dtype)
    codes = np.zeros(scores.shape[1:], dtype=np.uint8)
    seen = set()
    for code, member in enumerate(table.member):
        if code == 0 or member.tobytes() in seen:
            continue
        seen.add(member.tobytes())
        total = scores[member].sum(axis=0)
        better = total > best
        np.copyto(best, total, where=better)
        np.copyto(codes, np.uint8(code), where=better)
    return codes


def to_values(codes: NDArray[np.integer], table: LabelTable) -> NDArray[np.integer]:
    """Codes to the mask values of the label map: uint8 or uint16, int32 for colours.

    >>> to_values(np.array([0, 1, 2]), label_table({"edge": [255], "core": [128]}))
    array([  0, 128, 255], dtype=uint8)
    """
    kind = np.int32 if table.colour else np.uint8 if table.values[-1] <= 255 else np.uint16
    value_of = np.array((0, *table.values), dtype=kind)
    return np.take(value_of, codes)


def merge_values(table: LabelTable) -> tuple[NDArray[np.uint8], dict[str, list[int]]]:
    """Number the codes anew, 1, 2, 3, ..., one number for all codes of the same classes.

    Returns:
        (n + 1,) the number of each code, and the numbers of each class.

    >>> merge_values(label_table({"infection": [1, 7], "nodule": [9]}))
    (array([0, 1, 1, 2], dtype=uint8), {'infection': [1], 'nodule': [2]})
    """
    groups: dict[bytes, int] = {}
    number = [0] + [groups.setdefault(m.tobytes(), len(groups) + 1) for m in table.member[1:]]
    new = np.array(number, dtype=np.uint8)
    members = zip(table.classes, table.member.T, strict=True)
    return new, {name: np.unique(new[codes]).tolist() for name, codes in members}


def numbers_of_names(label_map: Mapping[str, Sequence[int | str]]) -> dict[str, list[int]]:
    """Which values of written masks mean a class of a label map that holds names; else nothing.

    >>> numbers_of_names({"polyp": ["polyp"], "any": ["polyp", "adenoma"]})
    {'polyp': [2], 'any': [1, 2]}
    """
    table = label_table(label_map)
    if not table.names:
        return {}
    members = zip(table.classes, table.member[1:].T, strict=True)
    return {name: [table.values[i] for i in np.flatnonzero(own)] for name, own in members}


def value_name(value: int, colour: bool) -> str:
    """A mask value as people write it: ``7`` or ``#ff0000``."""
    return f"#{value:06x}" if colour else str(value)


def _number(value: int | str) -> int:
    return int(value.removeprefix("#"), 16) if isinstance(value, str) else int(value)


def _unknown(strangers: NDArray[np.integer], table: LabelTable, name: str) -> LabelError:
    """Say which values a mask holds that nobody named; the most frequent come first."""
    values, counts = np.unique(strangers, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    shown = [f"{value_name(int(values[i]), table.colour)} ({counts[i]} px)" for i in order[:10]]
    more = f" and {len(values) - 10} more values" if len(values) > 10 else ""
    meant = [
        f"{value_name(value, table.colour)} "
        f"{'+'.join(np.array(table.classes)[table.member[code]].tolist())}"
        for code, value in enumerate(table.values, start=1)
    ]
    cure = "Add each of them to a class of data.label_map"
    if not table.colour:
        cure += ", or turn a grey mask into 0 and 1 with data.threshold"
    return LabelError(
        f"{name} holds {', '.join(shown)}{more}, which data.label_map does not name; it names "
        f"{value_name(0, table.colour)} background, {', '.join(meant)}. {cure}."
    )
