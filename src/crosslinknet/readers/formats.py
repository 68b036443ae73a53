"""The file formats by suffix, and what a name or the first bytes of a file tell.

A format is a module of this folder; READERS names it by suffix, and ``format_of`` weighs what a
file claims (``guard``) before it hands out its reader. Masks that are no pixels but outlines are
drawn on the grid of their image, by a module of DRAWN.
Order: what a format offers, the tables, names, the module for a file.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from crosslinknet.errors import DataError
from crosslinknet.geometry import Grid, SliceAxis
from crosslinknet.labels import LabelTable
from crosslinknet.readers import dicom, dicom_seg, guard, itk, matlab, nifti, polygons
from crosslinknet.readers import image as pictures
from crosslinknet.readers.guard import Claim


class Format(Protocol):
    """What a module of this folder offers; see ``readers.image`` for the meaning of each."""

    def claim(self, path: Path) -> Claim: ...

    def read_image(self, path: Path, slice_axis: SliceAxis) -> tuple[NDArray[Any], Grid]: ...

    def read_values(
        self, path: Path, slice_axis: SliceAxis, *, colour: bool, lossy: bool
    ) -> tuple[NDArray[Any], Grid]: ...

    def mask_suffix(self, path: Path) -> str: ...

    def write_values(
        self,
        path: Path,
        values: NDArray[np.integer],
        grid: Grid,
        like: Path | None,
        *,
        colour: bool,
    ) -> None: ...

    def write_probabilities(
        self,
        path: Path,
        probs: NDArray[np.float32],
        grid: Grid,
        like: Path | None,
        classes: Sequence[str],
    ) -> tuple[Path, ...]: ...


class Drawing(Protocol):
    """What a module offers whose masks are drawn on the grid of an image."""

    def draw(
        self, path: Path, image: Path, grid: Grid, table: LabelTable, overlap: str
    ) -> NDArray[np.integer]:
        """Mask values (D, H, W) on ``grid``, as ``table`` counts them.

        Args:
            path: the mask file, which may describe many images.
            image: the image whose mask is wanted.
            grid: where the image's pixels lie.
            table: what the values mean; with ``names``, value v is the label ``names[v - 1]``.
            overlap: ``error`` refuses pixels of two different labels, ``last`` gives them to the
                label that comes last in the file.

        Raises:
            DataError: not readable, says nothing of the image, another size, labels overlap.
            LabelError: labels of names that the table does not hold.
        """
        ...

    def count(self, path: Path, image: Path, grid: Grid) -> dict[int | str, int]:
        """Pixels of each label, 0 included; serves to propose a label map."""
        ...

    def own_grid(self, paths: Sequence[Path], slice_axis: SliceAxis) -> Grid:
        """A grid that holds all that these files mark, for masks whose image is not at hand.

        Raises:
            DataError: they do not say where their pixels lie, or lie on different grids.
        """
        ...


READERS: dict[str, Format] = {
    ".png": pictures,
    ".jpg": pictures,
    ".jpeg": pictures,
    ".bmp": pictures,
    ".tif": pictures,
    ".tiff": pictures,
    ".nii": nifti,
    ".nii.gz": nifti,
    ".mat": matlab,
    ".dcm": dicom,  # the path of one file stands for its series
    ".dicom": dicom,
    ".ima": dicom,
    ".mha": itk,
    ".mhd": itk,
    ".nrrd": itk,
    ".nhdr": itk,
}

DRAWN: dict[str, Drawing] = {
    ".json": polygons,
    ".mat": matlab,
    ".dcm": dicom_seg,
    ".dicom": dicom_seg,
    ".ima": dicom_seg,
}


def suffix_of(path: Path) -> str:
    """The suffix that names the format, in lower case; ``.nii.gz`` is one suffix.

    A file without suffix that begins as DICOM files do counts as ``.dcm``.

    >>> suffix_of(Path("case.0001.NII.GZ")), suffix_of(Path("slice.png"))
    ('.nii.gz', '.png')
    """
    if path.name.lower().endswith(".nii.gz"):
        return ".nii.gz"
    suffix = path.suffix.lower()
    return ".dcm" if suffix not in READERS and dicom.is_dicom(path) else suffix


def stem_of(path: Path) -> str:
    """The file name without that suffix.

    >>> stem_of(Path("data/case.0001.nii.gz"))
    'case.0001'
    """
    suffix = suffix_of(path)
    has_it = path.name.lower().endswith(suffix)
    return path.name[: len(path.name) - len(suffix)] if has_it else path.name


def is_image(path: Path) -> bool:
    """Whether the name is that of a file we read; hidden files are not."""
    return suffix_of(path) in READERS and not path.name.startswith(".")


def files_of(path: Path) -> tuple[Path, ...]:
    """All files whose bytes make up what a path stands for.

    One file of a DICOM series stands for the series; MHD and NHDR name a second file for their
    voxels; else it is the file itself.

    Raises:
        DataError: a header that cannot be read, or that of a file beside it.
    """
    reader = READERS.get(suffix_of(path))
    if reader is dicom:
        return dicom.files_of(path)
    return itk.data_files(path) if reader is itk else (path,)


def claimed_bytes(path: Path) -> int:
    """Bytes of the pixels that a file claims, unpacked; of a series, of all its files.

    Outlines claim none.

    Raises:
        DataError: no header that can be right, or no format that is known.
    """
    if path.suffix.lower() == ".json":
        return 0
    reader = writer_of(path)
    parts = dicom.files_of(path) if reader is dicom else (path,)
    return sum(reader.claim(part).bytes for part in parts)


def is_drawn(path: Path) -> bool:
    """Whether a mask file holds outlines or segments, drawn on the grid of their image."""
    return suffix_of(path) in DRAWN


def mask_suffix(path: Path) -> str:
    """The suffix of masks of an image: its own where the format can hold them.

    >>> mask_suffix(Path("a.png")), mask_suffix(Path("a.JPG")), mask_suffix(Path("a.mhd"))
    ('.png', '.png', '.mha')
    """
    return writer_of(path).mask_suffix(path)


def format_of(path: Path) -> Format:
    """The module that reads a file, after what can be told without decoding it."""
    if not path.is_file():
        raise DataError(f"{path} is no file. Check the path, and that the disk is connected.")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty (0 bytes). Copy it again or leave it out.")
    reader = writer_of(path)
    guard.check(path, reader.claim(path))
    return reader


def writer_of(path: Path) -> Format:
    """The module of a suffix, whether or not there is such a file."""
    suffix = suffix_of(path)
    if suffix not in READERS:
        raise DataError(
            f"{path} has the suffix {suffix!r}, of which no reader is known; known are "
            f"{', '.join(READERS)}."
        )
    return READERS[suffix]
