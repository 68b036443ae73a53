"""One case from any layout to files: read with its mask, written where a target wants it.

Pictures stay pictures as long as a format holds every value, everything else becomes NIfTI.
Order: Pair, read_pair, where a picture is put in space, the writers.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes

from crosslinknet.case import Case, CaseFiles
from crosslinknet.config import Config
from crosslinknet.curation.work import copy_file
from crosslinknet.errors import DataError
from crosslinknet.geometry import Grid
from crosslinknet.labels import LabelTable
from crosslinknet.readers import READERS, read_case, suffix_of, write_image, write_mask
from crosslinknet.readers import image as pictures

NIFTI = ".nii.gz"

# Pictures as axial slices: file axes are columns (to the patient's left), rows (to the back) and
# slices (to the head), which is what other programs make of a picture too.
AXES = np.array([[2, 1], [1, 1], [0, 1]], dtype=np.float64)  # Grid.turn


@dataclass(frozen=True)
class Pair:
    """A case, read, with the grid that NIfTI files of it get.

    Attributes:
        case: image (D, C, H, W) and mask codes (D, H, W).
        placed: the grid with an affine, made up where the files have none.
        like: the source whose header is right for the result, or None.
        whole: ``like`` is, byte for byte, what the NIfTI file of the image would hold.
    """

    case: Case
    placed: Grid
    like: Path | None
    whole: bool

    @property
    def in_space(self) -> bool:
        """The files say where the image lies."""
        return self.case.grid.affine is not None


def read_pair(files: CaseFiles, config: Config) -> Pair:
    """Read a case for writing it elsewhere.

    Raises:
        DataError: everything of ``readers.read_case``.
    """
    case = read_case(files, config.data, config.image.model_copy(update={"fit": "pad"}))
    placed, same = _placed(case.grid)
    source = files.images[0]
    nifti = same and files.slices is None and suffix_of(source) in (".nii", NIFTI)
    plain = nifti and nib.load(source).ndim == 3  # type: ignore[attr-defined]
    like = source if plain and len(files.images) == 1 else None
    return Pair(case, placed, like, like is not None and suffix_of(source) == NIFTI)


def _placed(grid: Grid) -> tuple[Grid, bool]:
    """The grid with an affine of the stated spacing, and whether that is the file's own."""
    if grid.affine is None:
        dz, dy, dx = grid.spacing or (1.0, 1.0, 1.0)
        affine = np.zeros((4, 4))
        affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = dz, -dy, -dx, 1.0
        return replace(grid, affine=affine, turn=AXES), False
    sizes = voxel_sizes(grid.affine)  # type: ignore[no-untyped-call]
    factor = np.array(grid.spacing or sizes) / sizes
    if np.allclose(factor, 1.0, rtol=0, atol=1e-5):
        return grid, True
    affine = grid.affine.copy()
    affine[:3, :3] *= factor
    return replace(grid, affine=affine), False


def picture_suffix(pair: Pair, files: CaseFiles) -> str:
    """The suffix of a picture that keeps the image; NIfTI where the source was no picture.

    Raises:
        DataError: no picture does.
    """
    image = pair.case.image
    suffix = pictures.suffix_for(image)
    if suffix is None and READERS[suffix_of(files.images[0])] is pictures:
        raise DataError(
            f"{files.id} has {image.shape[1]} channels of type {image.dtype}; pictures hold 8- to "
            "32-bit grey or 8-bit RGB. Use --to nifti or --to nnunet, which hold any."
        )
    return suffix or NIFTI


def write_pair_image(path: Path, pair: Pair, channel: int | None = None) -> None:
    """Write the image, or one channel of it; the suffix chooses the format."""
    image = pair.case.image if channel is None else pair.case.image[:, channel : channel + 1]
    if suffix_of(path) == NIFTI and pair.whole and pair.like is not None:
        copy_file(pair.like, path)
    else:
        write_image(path, image, pair.placed, pair.like)


def write_pair_mask(path: Path, pair: Pair, table: LabelTable, number: np.ndarray | None) -> None:
    """Write the mask on the image's grid.

    Args:
        path: the suffix chooses the format.
        pair: the case.
        table: what the numbers that are written mean.
        number: (n + 1,) the code of ``table`` for each code of the case; None: they are the same.
    """
    assert pair.case.mask is not None
    codes = pair.case.mask if number is None else number[pair.case.mask]
    write_mask(path, codes, table, pair.placed, pair.like)
