"""Masks as they stand in their files, whatever their values mean: to look at unknown data.

Order: RawMask, how it is read, its values counted.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosslinknet.case import CaseFiles
from crosslinknet.errors import DataError
from crosslinknet.geometry import Grid, SliceAxis
from crosslinknet.labels import label_table
from crosslinknet.readers import image as pictures
from crosslinknet.readers.cases import joined, kept, kept_grid, mask_of
from crosslinknet.readers.formats import DRAWN, format_of, is_drawn, suffix_of
from crosslinknet.readers.single import read_image, whole_numbers


@dataclass(frozen=True)
class RawMask:
    """A mask as it stands in its file, whatever its values mean.

    Attributes:
        values: (D, H, W) integers.
        grid: where they lie.
        colour: the values are colours, 0xRRGGBB.
        names: of outlines: value v is the label ``names[v - 1]``; else empty.
    """

    values: NDArray[np.integer]
    grid: Grid
    colour: bool = False
    names: tuple[str, ...] = ()

    def name(self, value: int) -> int | str:
        """A value as ``data.label_map`` writes it."""
        if self.names and value:
            return self.names[value - 1]
        return f"#{value:06x}" if self.colour else value


def read_raw_mask(
    files: CaseFiles,
    slice_axis: SliceAxis,
    *,
    colour: bool | None = None,
    threshold: int | None = None,
    overlap: str = "error",
) -> RawMask:
    """Read the values of a case's mask, whatever they mean; serves to look at unknown data.

    Args:
        files: the case.
        slice_axis: as for the image.
        colour: pictures: read colours, or grey values; None reads colours where no grey is.
        threshold: pixels above it become 1, all others 0; None takes the values.
        overlap: of outlines, see ``data.overlap``.

    Raises:
        DataError: as ``read_mask``, but a JPG is read without threshold; a case without a mask.
    """
    path = mask_of(files)
    if is_drawn(path):
        _, grid = read_image(files.images[0], slice_axis)
        drawing = DRAWN[suffix_of(path)]
        counts = drawing.count(path, files.images[0], grid)
        names = tuple(sorted(name for name in counts if isinstance(name, str)))
        table = label_table({str(value): [name] for value, name in enumerate(names, start=1)})
        values = drawing.draw(path, files.images[0], grid, table, overlap)
        return RawMask(kept(values, files), kept_grid(grid, files), names=names)
    all_values: NDArray[Any] | None = None
    for path in files.masks:
        stored, grid, colour = _stored_values(path, slice_axis, colour)
        values = whole_numbers(stored if threshold is None else stored > threshold, path)
        if all_values is None:
            all_values, first = values, grid
        else:
            all_values = joined(all_values, first, values, grid, path, files, overlap)
    assert all_values is not None  # there is a mask
    return RawMask(kept(all_values, files), kept_grid(first, files), bool(colour))


def count_values(files: CaseFiles, slice_axis: SliceAxis = 0) -> dict[int | str, int]:
    """Count the pixels of each value of a case's mask, whatever it means; background included.

    RGB masks give colours, outlines the names of their labels. Serves to propose a label map.

    Raises:
        DataError: as ``read_mask``; a case without a mask.
    """
    path = mask_of(files)
    if is_drawn(path):
        _, grid = read_image(files.images[0], slice_axis)
        return DRAWN[suffix_of(path)].count(path, files.images[0], grid)
    mask = read_raw_mask(files, slice_axis)
    numbers, counts = np.unique(mask.values, return_counts=True)
    names = [mask.name(int(number)) for number in numbers]
    return dict(Counter(dict(zip(names, counts.tolist(), strict=True))).most_common())


def _stored_values(
    path: Path, slice_axis: SliceAxis, colour: bool | None
) -> tuple[NDArray[Any], Grid, bool]:
    """Values of a mask file (D, H, W), their grid, and whether they are colours."""
    reader = format_of(path)
    try:
        values, grid = reader.read_values(path, slice_axis, colour=colour is True, lossy=True)
        return values, grid, colour is True
    except DataError:
        if colour is not None or reader is not pictures:
            raise
    values, grid = reader.read_values(path, slice_axis, colour=True, lossy=True)
    return values, grid, True
