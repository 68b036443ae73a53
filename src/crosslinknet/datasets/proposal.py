"""What a data set itself says of its config: what its mask values may mean.

Order: refuse_jpg_masks, look_at_masks.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from crosslinknet.case import CaseFiles
from crosslinknet.config import DataConfig
from crosslinknet.datasets.found import Found
from crosslinknet.errors import DataError
from crosslinknet.readers import count_values, is_drawn, suffix_of

MOST_VALUES = 12  # masks with more values are asked about
JPG = (".jpg", ".jpeg")


def refuse_jpg_masks(cases: Sequence[CaseFiles], data: DataConfig) -> None:
    """Ask for ``data.threshold``, which alone makes labels of JPG masks."""
    masks = [path for case in cases for path in case.masks]
    lossy = [path for path in masks if suffix_of(path) in JPG]
    if lossy and data.threshold is None:
        raise DataError(
            f"{len(lossy)} of {len(masks)} masks are JPG, {lossy[0]} for one, whose compression "
            "changes values near every edge. State where the target begins, as in "
            "-s data.threshold=127 (pixels above it are foreground), or save the masks as PNG."
        )


def look_at_masks(
    found: Found, cases: Sequence[CaseFiles], data: DataConfig
) -> tuple[dict[str, list[int | str]], str]:
    """Values of the masks: the label_map and why."""
    if data.threshold is not None:
        return {"foreground": [1]}, f"pixels above {data.threshold} of the masks are foreground"
    if "label_map" in found.suggestions.get("data", {}):
        proposed = found.suggestions["data"]["label_map"]
        return proposed, f"data.label_map {proposed}, as the recipe {found.layout} proposes"
    if found.label_values:
        stated = _named(found.label_values)
        return stated, f"data.label_map {stated}, as the data set states"
    masks = [path for case in cases for path in case.masks]
    counts: Counter[int | str] = Counter()
    kinds: dict[bool, Path] = {}  # colours or names, or not: a mask of that kind
    for case in (case for case in cases if case.masks):
        held = count_values(case)
        counts.update(held)
        kinds.setdefault(any(isinstance(value, str) for value in held), case.masks[0])
    if len(kinds) > 1:
        raise DataError(
            f"{kinds[True]} is a mask of colours or names, {kinds[False]} one of grey values. Save "
            "all masks as one kind."
        )
    values = sorted((v for v in counts if v not in (0, "#000000")), key=lambda v: (str(type(v)), v))
    drawn = any(is_drawn(path) for path in masks)
    if not values:
        raise DataError(
            f"the {len(masks)} masks that were opened, {masks[0]} for one, are all empty (value 0 "
            "only). Check that these are the masks; choose others with -s data.masks=FOLDER"
        )
    if len(values) > MOST_VALUES and not drawn:
        raise DataError(
            f"the masks, {masks[0]} for one, hold {len(values)} different values: "
            f"{', '.join(map(str, values[:8]))}, ... If they are grey pictures, state where the "
            "target begins, as in -s data.threshold=127; if they are labels, name them all, as in "
            "-s 'data.label_map={liver: [1], kidneys: [2, 3]}'"
        )
    pixels = ", ".join(f"{value} ({number} px)" for value, number in counts.most_common())
    if drawn:
        labels = _named({str(value): [value] for value in values})
        return (
            labels,
            f"outlines hold {pixels}: data.label_map {labels}, by the names of the labels",
        )
    names = ["foreground"] if len(values) == 1 else [f"class_{v}".replace("#", "") for v in values]
    labels = {name: [value] for name, value in zip(names, values, strict=True)}
    hint = ", or join values, as in {all: [1, 2]}" if len(values) > 1 else ""
    return labels, f"masks hold {pixels}: data.label_map {labels}; give better names{hint}"


def _named(values: Mapping[str, Sequence[int | str]]) -> dict[str, list[int | str]]:
    """A label map with class names that may be written: letters, digits and _ . + - alone."""
    labels: dict[str, list[int | str]] = {}
    for name, members in values.items():
        plain = re.sub(r"[^\w.+-]+", "_", name)
        while plain in labels:
            plain += "_"
        labels[plain] = list(members)
    return labels
