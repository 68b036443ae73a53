"""What a file name, a folder or a pattern means: cases to be segmented, and their names."""

import glob
import re
from collections.abc import Sequence
from pathlib import Path

from crosslinknet.case import CaseFiles
from crosslinknet.datasets.found import case_ids
from crosslinknet.errors import DataError
from crosslinknet.readers import (
    is_image,
    read_image,
    stem_of,
)
from crosslinknet.readers.dicom import first_files, is_dicom, place_of

CHANNEL = re.compile(r"(.+)_(\d{4})")  # nnU-Net's names of images: CASE_0000, CASE_0001, ...


def find_inputs(pattern: str, channels: int) -> list[CaseFiles]:
    """Files meant by a file name, a folder or a glob pattern, one case each.

    Of a DICOM series one file is enough; a folder of folders is searched for series. Where all
    names are nnU-Net's, CASE_0000 to the last channel of the model, the files of one channel each
    are the channels of CASE.

    Args:
        pattern: as typed.
        channels: of the model.

    Raises:
        DataError: nothing there that can be read, two files would get one result, or a channel
            is missing.
    """
    groups: dict[str, list[Path]] = {}
    found = _files(pattern)
    numbered = _are_channels(found, channels)
    for file, name in zip(found, _names(found, Path(pattern)), strict=True):
        match = CHANNEL.fullmatch(name) if numbered else None
        groups.setdefault(match[1] if match else name, []).append(file)
    for name, files in groups.items():
        together = ", ".join(str(file) for file in files)
        if not numbered and len(files) > 1:
            raise DataError(
                f"{together} would all be written as {name}. Rename them, or segment one folder at "
                "a time."
            )
        if numbered and len(files) != channels:
            raise DataError(
                f"case {name} has {len(files)} of {channels} channels ({together}). Give all of "
                f"{name}_0000 to {name}_{channels - 1:04}, as a folder or a pattern."
            )
    return [CaseFiles(name, name, tuple(files)) for name, files in sorted(groups.items())]


def _files(pattern: str) -> list[Path]:
    path = Path(pattern)
    if path.is_dir():
        here = first_files(sorted(p for p in path.iterdir() if is_image(p)))
        below = (p for p in path.rglob("*") if is_image(p) and is_dicom(p) and p.is_file())
        found = here or first_files(sorted(below))
    elif path.is_file():
        found = [path]
    else:
        names = glob.glob(pattern, recursive=True)  # noqa: PTH207
        found = first_files(sorted(Path(name) for name in names if is_image(Path(name))))
    if not found:
        raise DataError(
            f"{pattern} matches no image that can be read (PNG, JPG, BMP, TIFF, NIfTI, DICOM, MHA, "
            "NRRD). Give a file, a folder of files, or a pattern in quotes such as "
            "'scans/*.nii.gz'; folders in folders are searched with 'scans/**/*.nii.gz'."
        )
    return found


def _names(files: Sequence[Path], root: Path) -> list[str]:
    """Names of the results: the files' stems; of DICOM series their folders' names.

    Series that lie below a folder may have folders of one name; the folders above are added then.
    """
    if not root.is_dir() or not all(map(is_dicom, files)):
        return [
            place_of(file).resolve().name if is_dicom(file) else stem_of(file) for file in files
        ]
    places = [place_of(file).relative_to(root).as_posix() for file in files]
    return case_ids([root.resolve().name if place == "." else place for place in places])


def _are_channels(files: Sequence[Path], channels: int) -> bool:
    """Whether all names end in the number of a channel, and the files hold one channel each."""
    matches = [CHANNEL.fullmatch(stem_of(file)) for file in files]
    if any(map(is_dicom, files)) or not all(
        match and int(match[2]) < channels for match in matches
    ):
        return False
    return channels == 1 or read_image(files[0], 0)[0].shape[1] == 1  # (D, C, H, W)
