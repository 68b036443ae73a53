"""nnU-Net v2 raw data: what its documentation asks of a data set, and of the folds beside it.

Source: nnU-Net's documentation/dataset_format.md, region_based_training.md, manual_data_splits.md.
Order: names and labels, what holds for the whole set, a case, what describes them all.
"""

import csv
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosslinknet.case import CaseFiles
from crosslinknet.curation.pair import NIFTI, read_pair, write_pair_image, write_pair_mask
from crosslinknet.curation.targets import Abouts, Target, Work, made_up_places, write_splits_final
from crosslinknet.curation.work import Track
from crosslinknet.errors import DataError, UsageError
from crosslinknet.files import write_json, write_text
from crosslinknet.labels import merge_values
from crosslinknet.readers import read_case_image

FOLDER = re.compile(r"Dataset\d{3}_.+")
TAKEN = ("background", "ignore")  # names that mean something to nnU-Net


def regions(labels: dict[str, list[int]]) -> tuple[dict[str, list[int]], list[int]]:
    """Order overlapping classes so that nnU-Net can turn them back into one map of labels.

    It writes one label per region, one region after the other, and later ones win: what holds
    others comes first.

    Args:
        labels: the labels of each class, 1, 2, 3, ...

    Returns:
        The classes in that order, and the label that each of them writes.

    Raises:
        UsageError: classes that overlap in part, which no order turns back.

    >>> regions({"core": [2], "whole": [1, 2]})
    ({'whole': [1, 2], 'core': [2]}, [1, 2])
    """
    names = sorted(labels, key=lambda name: -len(labels[name]))  # stable
    last = {label: name for name in names for label in labels[name]}
    own = {name: [label for label in labels[name] if last[label] == name] for name in names}
    lost = [name for name in names if len(own[name]) > 1]
    if lost:
        raise UsageError(
            f"the classes overlap in a way that nnU-Net cannot write back: {lost[0]} alone would "
            f"have to mean the labels {own[lost[0]]}. It knows classes that lie inside each other; "
            "choose others with -s 'data.label_map={...}'."
        )
    return {name: labels[name] for name in names}, [(own[n] or labels[n])[0] for n in names]


def _settings(work: Work, track: Track) -> dict[str, Any]:
    """The file ending and the channels, which are the same for all cases.

    Small pictures stay PNG, where all of them are 8-bit slices; everything else is NIfTI. One
    file may hold red, green and blue of a PNG; all other channels are files of their own.
    """
    if not FOLDER.fullmatch(work.out.name):
        raise UsageError(
            f"-o {work.out}: nnU-Net finds a data set by a folder name of three digits and a word. "
            f"Write to {work.out.parent / 'Dataset501_name'}, say; numbers to 10 are the "
            "Decathlon's."
        )
    taken = [name for name in work.table.classes if name in TAKEN]
    if taken:
        raise UsageError(f"nnU-Net gives the class name {taken[0]!r} a meaning. Choose another.")
    _, labels = merge_values(work.table)
    if any(len(numbers) > 1 for numbers in labels.values()):
        regions(labels)
    ending, channels, single = ".png", None, True
    for case in track(work.found.cases, "looking"):
        image, grid = read_case_image(case, work.config.image.slice_axis)
        channels = image.shape[1] if channels is None else channels
        single = single and len(case.images) == 1
        if len(image) > 1 or image.dtype != np.uint8 or grid.affine is not None:
            ending = NIFTI
            break
    assert channels is not None
    if work.channels and len(work.channels) != channels:
        raise UsageError(
            f"{len(work.channels)} channels are named ({', '.join(work.channels)}), the images "
            f"have {channels}. Name each of them."
        )
    colour = ending == ".png" and channels == 3 and single
    names = work.channels or tuple(work.found.channels)
    if len(names) != channels:
        names = ("R", "G", "B") if colour else tuple(f"channel_{i}" for i in range(channels))
    return {"ending": ending, "colour": colour, "channels": list(names)}


def _write(
    files: CaseFiles, work: Work, settings: dict[str, Any]
) -> tuple[list[Path], dict[str, Any]]:
    """imagesTr/CASE_0000.*, one per channel, and labelsTr/CASE.*."""
    pair = read_pair(files, work.config)
    ending, channels = settings["ending"], len(settings["channels"])
    if pair.case.image.shape[1] != channels:
        raise DataError(
            f"{files.images[0]} has {pair.case.image.shape[1]} channels, other images have "
            f"{channels}. nnU-Net wants the same for all; convert grey pictures to colour or leave "
            "them out."
        )
    images = []
    for channel in range(1 if settings["colour"] else channels):
        images.append(work.out / "imagesTr" / f"{files.id}_{channel:04}{ending}")
        write_pair_image(images[-1], pair, None if channels == 1 or settings["colour"] else channel)
    mask = work.out / "labelsTr" / f"{files.id}{ending}"
    write_pair_mask(mask, pair, work.written, work.number)
    in_file = ending == NIFTI and pair.in_space
    spacing = files.spacing if in_file else pair.case.grid.spacing
    return [*images, mask], {
        "spacing": None if spacing is None else list(spacing),
        "oblique": pair.in_space and not _is_square(pair.placed.affine),
        "made_up": not pair.in_space and ending == NIFTI,
    }


def _is_square(affine: NDArray[np.float64] | None) -> bool:
    """Whether the axes of an affine stand at right angles, without which ITK reads no file."""
    assert affine is not None
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return np.allclose(axes.T @ axes, np.eye(3), rtol=0, atol=1e-4)


def _finish(work: Work, abouts: Abouts, settings: dict[str, Any]) -> tuple[list[str], list[str]]:
    """splits_final.json where subjects or folds are known, subjects.csv, and dataset.json last."""
    names, told = ["subjects.csv", "dataset.json"], []
    if work.folds is not None:
        write_splits_final(work.out / "splits_final.json", work.folds)
        names.append("splits_final.json")
        told.append(
            f"splits_final.json divides no subject and nothing that looks the same, in "
            f"{len(work.folds)} folds: copy it to "
            f"nnUNet_preprocessed/{work.out.name}/ after planning, or nnU-Net draws its own"
        )
    write_text(work.out / "subjects.csv", _subjects(work, abouts))
    _, labels = merge_values(work.table)
    about: dict[str, Any] = {
        "channel_names": {str(i): name for i, name in enumerate(settings["channels"])},
        "labels": {"background": 0} | {name: numbers[0] for name, numbers in labels.items()},
        "numTraining": len(work.found.cases),
        "file_ending": settings["ending"],
    }
    if any(len(numbers) > 1 for numbers in labels.values()):
        ordered, order = regions(labels)
        about["labels"] = {"background": 0} | ordered
        about["regions_class_order"] = order
    if any(entry["oblique"] for entry in abouts.values()):
        about["overwrite_image_reader_writer"] = "NibabelIO"
        told.append("some volumes have slanted axes, which SimpleITK does not read: NibabelIO")
    write_json(work.out / "dataset.json", about)
    told.append(
        f"channels {', '.join(settings['channels'])}: nnU-Net scales a channel named CT by the "
        "whole set, others by the image; --channel names them"
    )
    return names, told + made_up_places(abouts)


def _subjects(work: Work, abouts: Abouts) -> str:
    """What nnU-Net has no place for: who a case is of, and the spacing of pictures."""
    text = io.StringIO()
    spacings = {case.id: abouts[case.id]["spacing"] for case in work.found.cases}
    names = ["case", "subject", *["spacing"] * any(spacings.values())]
    table = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    for case in work.found.cases:
        mm = " ".join(repr(float(length)) for length in spacings[case.id] or ())
        table.writerow({"case": case.id, "subject": case.subject, "spacing": mm})
    return text.getvalue()


NNUNET = Target(_settings, lambda files: True, _write, _finish, lambda table: True)
