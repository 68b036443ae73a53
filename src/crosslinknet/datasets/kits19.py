"""KiTS19: ``case_00000/imaging.nii.gz`` with ``segmentation.nii.gz``, and ``kits.json``.

210 cases have labels, 0 background, 1 kidney, 2 tumour; 90 test cases have none. Slices lie on the
first stored axis (orientation I, P, L). One case has another width, which fit letterbox takes.

Choices of the protocol: window kidney; classes nested as the challenge scores them, "kidney" being
kidney and tumour; half of what is drawn in training shows a target, all slices are tested; known
label errors are named and kept. Decision D32.
Source: neheller/kits19, README, issues and data/kits.json.
Order: the known errors, matches, find, then headers, label errors and kits.json.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from crosslinknet.case import CaseFiles
from crosslinknet.config import DataConfig
from crosslinknet.datasets.found import Found, listed, subject_of, subject_rule
from crosslinknet.errors import DataError, ShapeError
from crosslinknet.files import read_json, sha256_of_file
from crosslinknet.readers import nifti

IMAGE, MASK = "imaging.nii.gz", "segmentation.nii.gz"
LOOKED_FOR = f"KiTS19: case_00000/{IMAGE} with {MASK}, here or in data/"
TOLERANCE = 0.01  # of spacings in kits.json and headers, relative


class LabelProblem(NamedTuple):
    """What is known to be wrong with the labels of some cases."""

    cases: tuple[int, ...]
    problem: str
    source: str


KITS19_LABEL_PROBLEMS = (
    LabelProblem(
        (15, 25, 61, 117),
        "a second contrast phase with kidneys that are not labelled (amended in April 2019)",
        "kits19 issue 6",
    ),
    LabelProblem((15,), "fluid in the spleen labelled as kidney", "kits19 issue 21"),
    LabelProblem(
        (155, 166),
        "parapelvic cyst as background, ureter as cyst (amended in April 2019)",
        "kits19 issues 10, 11",
    ),
    LabelProblem((42, 114), "holes in large tumours (amended in April 2019)", "kits19 issue 12"),
    LabelProblem(
        (15, 23, 37, 125),
        "labels changed in December 2019; Dice of old and new: kidney of 15 0.616, tumour of 23 "
        "and 125 0.0, of 37 0.028",
        "MIC-DKFZ/nnUNet issue 112",
    ),
    LabelProblem(
        (15, 23, 37, 68, 125, 133),
        "left out or repaired by the winners of the challenge, and by nnDetection",
        "motokimura/kits19_3d_segmentation, nnDetection",
    ),
    LabelProblem((205,), "an angiomyolipoma, once taken for a cyst", "kits21 issue 58"),
    LabelProblem((160,), "slices of 512x796 pixels, all others of 512x512", "kits19 issue 6"),
)

# Cases that others leave out, and the SHA-256 of their labels as they are since December 2019.
KITS19_SUSPECT_CASES = {
    15: "97cfef4f09e95ea6903862be6c7a11b8ecbffc87fd56e7143278c873e5e4d0fb",
    23: "8179e4c0753b61d00d74019f3e9ac305bd08861e62123cf8b1d101e0ebe1106f",
    37: "3879c34f533029a81dee3510bda6044a84044dbc83571d7aa0b63d8ab26c2dc1",
    68: "50f2357d19c8aa8775b0ca327b5c9dea9e586dccf3fe98725b30ec56b32524ce",
    125: "4472af57d6af10c1d6d9ed967bc01fb3a13006706e3067a6a3f9c0494b1782eb",
    133: "679e05b32263e4ae91a2a7bbde07d6414d55b252e46b1b3c321d5d70b2a643e8",
}


def matches(data: DataConfig) -> bool:
    """Whether a folder of a case is there, in the root or in its folder data/."""
    if data.images is not None or data.masks is not None:
        return False
    return bool(_folders(data.root))


def find(data: DataConfig) -> Found:
    """Collect the cases that have labels.

    Raises:
        DataError: no such folders, labels without images, or no labels at all.
        ShapeError: image and labels of a case differ in size.
    """
    folders = _folders(data.root)
    if not folders:
        raise DataError(f"{data.root} does not hold KiTS19. Looked for {LOOKED_FOR}.")
    lonely = [folder.name for folder in folders if not (folder / IMAGE).is_file()]
    if lonely:
        raise DataError(
            f"{len(lonely)} of {len(folders)} cases in {data.root} have {MASK} but no {IMAGE}: "
            f"{listed(lonely)}. Fetch the images (python3 -m starter_code.get_imaging in the "
            "kits19 repository), or remove these folders."
        )
    labelled = [folder for folder in folders if (folder / MASK).is_file()]
    tests = [folder.name for folder in folders if folder not in labelled]
    if not labelled:
        raise DataError(
            f"none of the {len(folders)} cases in {data.root} has a {MASK}. The test cases of the "
            "challenge come without; get those with labels, case_00000 to case_00209."
        )
    headers = {folder.name: _header(folder) for folder in labelled}
    odd = [name for name, header in headers.items() if header.ends[0] not in ("I", "S")]
    axis: int | str = "axial" if odd else 0
    notes = [
        f"image.window kidney and image.fit letterbox (one case is wider); image.slice_axis {axis}",
        "kidney is kidney with tumour, as the challenge scores it: mask values 1 and 2",
        "in training at least half of the slices drawn show a target: train.foreground 0.5",
    ]
    if odd:
        notes.append(
            f"the slices of {listed(odd)} do not lie on the first axis, as those of the original "
            "do; so the patient's axes decide, and not the stored ones"
        )
    if tests:
        notes.append(f"{len(tests)} test cases without labels are left out: {listed(tests)}")
    notes += _about_labels({_number(folder): folder for folder in labelled}, data)
    notes += _compare(labelled[0].parent / "kits.json", headers)
    image: dict[str, Any] = {"slice_axis": axis, "window": "kidney", "fit": "letterbox"}
    return Found(
        layout="kits19",
        cases=tuple(CaseFiles(f.name, _subject(f, data), (f / IMAGE,), f / MASK) for f in labelled),
        subject_rule=subject_rule(data.subject) if data.subject else "case: one person each",
        notes=tuple(notes),
        suggestions={
            "data": {"label_map": {"kidney": [1, 2], "tumour": [2]}},
            "image": image,
            "train": {"foreground": 0.5},
        },
    )


def _folders(root: Path) -> list[Path]:
    """Folders of cases that hold one of the two files, in the order of their numbers."""
    for top in (root, root / "data"):
        if top.is_dir():
            found = sorted(
                path
                for path in top.iterdir()
                if re.fullmatch(r"case_\d{5}", path.name)
                and ((path / IMAGE).is_file() or (path / MASK).is_file())
            )
            if found:
                return found
    return []


def _number(folder: Path) -> int:
    return int(folder.name.removeprefix("case_"))


def _subject(folder: Path, data: DataConfig) -> str:
    name = folder.name
    return name if data.subject is None else subject_of(name, data.subject, folder / IMAGE)


def _header(folder: Path) -> nifti.Header:
    """What the image's header says; that of the labels must have the same shape."""
    image, mask = nifti.read_header(folder / IMAGE), nifti.read_header(folder / MASK)
    if image.shape != mask.shape:
        raise ShapeError(
            f"{folder / IMAGE} has the shape {image.shape}, {MASK} beside it {mask.shape}. Fetch "
            "both anew; later editions of the challenge use the same case numbers for other files."
        )
    return image


def _about_labels(folders: dict[int, Path], data: DataConfig) -> list[str]:
    """Notes about known label errors in the cases that are there and not left out."""
    there = {n: f for n, f in folders.items() if f.name not in data.exclude}
    suspects = [there[number].name for number in KITS19_SUSPECT_CASES if number in there]
    if not suspects:
        return []
    notes = [
        f"cases with doubtful labels are kept, {len(suspects)} in all: {listed(suspects, 6)}. "
        f"Others leave them out: data.exclude: [{', '.join(suspects)}]"
    ]
    old = [
        there[number].name
        for number, digest in KITS19_SUSPECT_CASES.items()
        if number in there and sha256_of_file(there[number] / MASK) != digest
    ]
    if old:
        notes.append(
            f"the labels of {listed(old, 6)} are not those of December 2019, which mended errors; "
            "take the present state of the repository, or leave these cases out"
        )
    return notes


def _compare(path: Path, headers: dict[str, nifti.Header]) -> list[str]:
    """A note about spacings in kits.json that differ from those of the headers."""
    if not path.is_file():
        return []
    try:
        stated = {
            str(record["case_id"]): [float(record["voxel_spacing"][f"{a}_spacing"]) for a in "zyx"]
            for record in read_json(path)
        }
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} is not the kits.json of KiTS19: expected records with case_id and "
            f"voxel_spacing ({error!r}). Get the original, or remove it."
        ) from error
    other = [
        name
        for name, header in headers.items()
        if name in stated
        and not np.allclose(sorted(stated[name]), sorted(header.spacing), rtol=TOLERANCE, atol=0)
    ]
    if not other:
        return []
    return [f"kits.json states another spacing than the headers of {listed(other)}; these count"]
