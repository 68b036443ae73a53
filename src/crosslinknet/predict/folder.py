"""Masks of many cases, each under the name of its case; nothing is lost, no input touched.

Order: where a mask goes, the work, what is refused before it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from crosslinknet.case import CaseFiles
from crosslinknet.errors import UsageError
from crosslinknet.predict.predictor import Predictor
from crosslinknet.readers import (
    mask_suffix,
    stem_of,
    suffix_of,
    write_mask,
    write_probabilities,
)


def mask_path(files: CaseFiles, out: Path) -> Path:
    """Where the mask of a case is written.

    JPG and BMP images get PNG masks: JPG would blur the labels, BMP cannot hold all of them.
    DICOM series get NIfTI. Slices taken out of a stack, and DICOM pictures, get pictures: PNG, or
    TIFF where they are several.

    >>> mask_path(CaseFiles("a.1", "a", (Path("a.1.JPG"),)), Path("out")).as_posix()
    'out/a.1.png'
    """
    suffix = mask_suffix(files.images[0])
    if files.slices is not None:
        suffix = ".png" if len(files.slices) == 1 else ".tif"
    return out / f"{files.id}{suffix}"


def predict_to_folder(
    predictor: Predictor,
    cases: Sequence[CaseFiles],
    out: Path,
    done: Callable[[Path], None] = lambda path: None,
    existing: Literal["error", "keep", "replace"] = "error",
) -> list[Path]:
    """Segment cases and write each mask under the case's name, in its own format and grid.

    Args:
        predictor: the models.
        cases: what to segment.
        out: folder.
        done: called with every mask that is there in the end.
        existing: what happens to masks, and to their probabilities, that are there: an error
            before anything is computed, kept, so that a call that was stopped goes on, or
            written anew. An input is never overwritten.

    Returns:
        Paths of the masks.

    Raises:
        UsageError: a file would replace an input, or one that is there with ``existing`` error.
    """
    targets = [mask_path(files, out) for files in cases]
    classes = predictor.table.classes if predictor.config.predict.probabilities else ()
    _refuse_to_overwrite(cases, targets, classes, existing)
    for files, target in zip(cases, targets, strict=True):
        if existing != "keep" or not target.exists():
            prediction, grid = predictor.predict_files(files)
            like = files.images[0] if files.slices is None else None
            table = predictor.table
            if prediction.probs is not None:
                probs = _probabilities_of(target)
                write_probabilities(probs, prediction.probs, grid, like, table.classes)
            write_mask(target, prediction.codes, table, grid, like)  # last: all is there with it
        done(target)
    return targets


def _refuse_to_overwrite(
    cases: Sequence[CaseFiles], targets: Sequence[Path], classes: Sequence[str], existing: str
) -> None:
    """Look at every file that is going to be written, before anything is computed."""
    inputs = {image.resolve() for files in cases for image in files.images}
    for target in targets:
        written = [target]
        if classes:
            probs = _probabilities_of(target)
            own = [probs.with_name(f"{stem_of(probs)}.{k}{suffix_of(probs)}") for k in classes]
            written += [probs, *own]
        for path in written:
            if path.resolve() in inputs:
                raise UsageError(f"{path} is an input and would be overwritten; choose another -o.")
            if path.exists() and existing == "error":
                raise UsageError(
                    f"{path} exists. Choose another -o, go on with --resume, which keeps the masks "
                    "that are there, or replace them with --force."
                )


def _probabilities_of(mask: Path) -> Path:
    return mask.parent / "probabilities" / mask.name
