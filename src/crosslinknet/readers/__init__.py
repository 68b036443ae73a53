"""File formats: a path in, arrays with their grid out, and back.

Read in this order: ``formats`` (which module reads what), ``guard`` (what stands before every
reader), ``single`` (one file), ``cases`` (images with their masks), ``raw_masks`` (masks whose
values nobody stated), then the formats: ``image``, ``nifti``, ``dicom``, ``itk``, ``matlab``, and
the masks that are drawn: ``polygons``, ``dicom_seg``.
"""

from crosslinknet.readers.cases import read_case, read_case_image, read_case_mask, read_drawn
from crosslinknet.readers.formats import (
    DRAWN,
    READERS,
    Drawing,
    Format,
    claimed_bytes,
    files_of,
    is_drawn,
    is_image,
    mask_suffix,
    stem_of,
    suffix_of,
)
from crosslinknet.readers.raw_masks import RawMask, count_values, read_raw_mask
from crosslinknet.readers.single import (
    read_image,
    read_mask,
    read_values,
    write_image,
    write_mask,
    write_probabilities,
    write_values,
)

__all__ = [
    "DRAWN",
    "READERS",
    "Drawing",
    "Format",
    "RawMask",
    "claimed_bytes",
    "count_values",
    "files_of",
    "is_drawn",
    "is_image",
    "mask_suffix",
    "read_case",
    "read_case_image",
    "read_case_mask",
    "read_drawn",
    "read_image",
    "read_mask",
    "read_raw_mask",
    "read_values",
    "stem_of",
    "suffix_of",
    "write_image",
    "write_mask",
    "write_probabilities",
    "write_values",
]
