"""The York cardiac set: ``sol_yxzt_pat1.mat`` with ``manual_seg_32points_pat1.mat``, and so on.

Short-axis cine MR of 33 subjects, 20 frames each. A case is a frame of a subject, cut to the slices
in which somebody drew: ``pat1_frame_01`` counts as the files do. The masks are drawn from outlines
(``readers.matlab``): 1 the ring, 2 the cavity.

Choices of the protocol: only drawn images are trained on and scored; the three structures cavity,
filled epicardium and ring (D28); folds by subject; augmentation as in the paper; values scaled per
case, as MR has no fixed range. The files state no spacing: a ``spacing.csv`` (subject, dy, dx, dz)
beside them does, else distances are in pixels. Decision D31.
Source: Andreopoulos and Tsotsos, Medical Image Analysis 2008, and the readme of the set.
Order: matches, find, files by number, cases of a subject, spacing.csv.
"""

import csv
import math
import re
from pathlib import Path

from crosslinknet.case import CaseFiles
from crosslinknet.config import DataConfig
from crosslinknet.datasets.found import Found, Orphans, listed, subject_of, subject_rule
from crosslinknet.errors import DataError, ShapeError
from crosslinknet.readers import matlab

IMAGES, OUTLINES, SPACING = "sol_yxzt_pat", "manual_seg_32points_pat", "spacing.csv"
LOOKED_FOR = f"York cardiac MR: {IMAGES}1.mat with {OUTLINES}1.mat, here or one folder below"
COLUMNS = ("subject", "dy", "dx", "dz")

Spacing = tuple[float, float, float]


def matches(data: DataConfig) -> bool:
    """Whether a file of images with that name is there."""
    if data.images is not None or data.masks is not None:
        return False
    return bool(_files(data.root, IMAGES))


def find(data: DataConfig) -> Found:
    """Make a case of every frame in which something is drawn.

    Raises:
        DataError: no such files, nothing drawn, a
            damaged file, or a spacing.csv that does not fit.
        ShapeError: images and outlines differ in frames or slices.
    """
    images, outlines = _files(data.root, IMAGES), _files(data.root, OUTLINES)
    if not images:
        raise DataError(f"{data.root} does not hold the York set. Looked for {LOOKED_FOR}.")
    unused = tuple(outlines[number] for number in sorted(set(outlines) - set(images)))
    unmasked = tuple(images[number] for number in sorted(set(images) - set(outlines)))
    numbers = sorted(set(images) & set(outlines))
    spacing = _spacing(data.root / SPACING, numbers)
    cases: list[CaseFiles] = []
    total = 0
    for number in numbers:
        found, slices = _cases(number, images[number], outlines[number], spacing, data)
        cases += found
        total += slices
    drawn = sum(len(case.slices or ()) for case in cases)
    if not drawn:
        raise DataError(
            f"in none of the {total} images in {data.root} is anything drawn. Check that the files "
            f"{OUTLINES}N.mat are complete."
        )
    return Found(
        layout="york-cardiac",
        cases=tuple(sorted(cases, key=lambda case: case.id)),
        subject_rule=subject_rule(data.subject) if data.subject else "number of the file",
        notes=(
            f"{drawn} of {total} images of {len(numbers)} subjects are drawn, and only these are "
            "used; a case is the drawn slices of one frame",
            "three structures: the epicardium with all inside (1 and 2), the cavity (2), the ring "
            "between them (1)",
            f"spacing from {SPACING}" if spacing else f"no {SPACING}: distances are in pixels",
            "augmentation as in the paper: augment.preset cardiac-paper; window percentile, as MR "
            "has no fixed range",
        ),
        unmasked=Orphans(unmasked, len(images), f"{OUTLINES}N.mat"),
        unused=Orphans(unused, len(outlines), f"{IMAGES}N.mat"),
        suggestions={
            "data": {"label_map": {"epicardium": [1, 2], "cavity": [2], "ring": [1]}},
            "image": {"window": "percentile"},
            "augment": {"preset": "cardiac-paper"},
        },
    )


def _files(root: Path, beginning: str) -> dict[int, Path]:
    """Files by their number, in the root and in its folders."""
    files: dict[int, Path] = {}
    name = re.compile(rf"{beginning}(\d+)\.mat")
    for path in sorted([*root.glob(f"{beginning}*.mat"), *root.glob(f"*/{beginning}*.mat")]):
        match = name.fullmatch(path.name)
        if match is None:
            continue
        number = int(match[1])
        if number in files:
            raise DataError(f"{files[number]} and {path} have one number. Keep one of them.")
        files[number] = path
    return files


def _cases(
    number: int, images: Path, outlines: Path, spacing: dict[int, Spacing], data: DataConfig
) -> tuple[list[CaseFiles], int]:
    """The cases of a subject, and how many images it has in all."""
    frames, depth = matlab.image_shape(images)
    drawn = matlab.read_outlines(outlines)  # [t][z]
    if (len(drawn), len(drawn[0]) if drawn else 0) != (frames, depth):
        raise ShapeError(
            f"{outlines} has cells for {len(drawn)} frames of {len(drawn[0]) if drawn else 0} "
            f"slices, {images} holds {frames} frames of {depth}. Both must be of one subject."
        )
    cases = []
    for t, frame in enumerate(drawn):
        slices = tuple(t * depth + z for z, both in enumerate(frame) if both is not None)
        name = f"pat{number}_frame_{t + 1:02d}"
        subject = f"pat{number}"
        if data.subject is not None:
            subject = subject_of(name, data.subject, images)
        if slices:
            mm = spacing.get(number)
            files = CaseFiles(name, subject, (images,), outlines, spacing=mm, slices=slices)
            cases.append(files)
    return cases, frames * depth


def _spacing(path: Path, numbers: list[int]) -> dict[int, Spacing]:
    """(dz, dy, dx) in mm of every subject; empty without the file."""
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a UTF-8 CSV file ({error}).") from error
    spacing: dict[int, Spacing] = {}
    for line, row in enumerate(rows, start=2):
        cells = [(row.get(column) or "").strip() for column in COLUMNS]
        match = re.fullmatch(r"(?:pat)?(\d+)", cells[0])
        try:
            dy, dx, dz = (float(cell) for cell in cells[1:])
        except ValueError:
            dy = dx = dz = math.nan
        if match is None or int(match[1]) in spacing or not all(0 < s < 100 for s in (dy, dx, dz)):
            raise DataError(
                f"{path}, line {line}: {', '.join(cells)}. Expected the columns "
                f"{', '.join(COLUMNS)}: a file number such as 7 or pat7, each once, and mm."
            )
        spacing[int(match[1])] = dz, dy, dx
    missing = [f"pat{number}" for number in numbers if number not in spacing]
    if missing:
        raise DataError(
            f"{path} has no row for {len(missing)} of {len(numbers)} subjects: {listed(missing)}. "
            "Add them, or remove the file to measure in pixels."
        )
    return spacing
