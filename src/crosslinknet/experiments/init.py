"""A first config, filled from the data: what the files say goes in, what they cannot say is asked.

Nothing is guessed in silence: every choice is told with its reason, and the config can be
read and changed before anything is trained.
Order: init, then what it looks at: a part of the cases, images, subjects and folds.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crosslinknet.case import CaseFiles
from crosslinknet.config import WINDOWS, data_at, override, parse_config, to_yaml
from crosslinknet.datasets import Found, find_cases
from crosslinknet.datasets.found import likely_subjects
from crosslinknet.datasets.proposal import look_at_masks, refuse_jpg_masks
from crosslinknet.errors import DataError, UsageError
from crosslinknet.files import write_text
from crosslinknet.geometry import SliceAxis
from crosslinknet.readers import files_of, read_image

MOST_CASES, MOST_BYTES, LEAST_CASES = 1000, 2**28, 10  # that are opened, spread over the set
LARGEST_SIDE = 512  # larger slices are proposed to be scaled down
THICK = 1.5  # voxels this much longer in one direction: slices are cut across it
HOUNSFIELD = -500  # values below are air in CT
LEAST_DRAWS = 100  # slices an epoch has at least; with fewer, sixty epochs are too few steps


def init(
    data: str | Path, out: str | Path, settings: tuple[str, ...] = (), force: bool = False
) -> list[str]:
    """Look at a data set and write a commented config.

    Args:
        data: folder, or CSV manifest.
        out: config file to write.
        settings: ``key=value`` texts that win over what is proposed.
        force: replace an existing file.

    Returns:
        What was found and chosen, a sentence each.

    Raises:
        UsageError: ``out`` exists and ``force`` is off; an impossible setting.
        DataError: nothing there that can be read as a data set; JPG masks without
            ``data.threshold``; masks that are all empty, or no labels.
    """
    data, out = Path(data), Path(out)
    if out.exists() and not force:
        raise UsageError(f"{out} exists. Choose another -o, or replace it with --force.")
    stated = override({"data": data_at(data)}, settings)
    wanted = parse_config(stated, "xln init")
    found = find_cases(wanted.data)
    known = found.suggestions
    if "exclude" in known.get("data", {}) and "exclude" not in stated["data"]:
        data_section = stated["data"] | {"exclude": known["data"]["exclude"]}
        wanted = parse_config(stated | {"data": data_section}, "xln init")
        found = find_cases(wanted.data)
    cases = some_cases(found.cases)

    axis = known.get("image", {}).get("slice_axis")
    if "slice_axis" in stated.get("image", {}):
        axis = wanted.image.slice_axis
    image, about_images = look_at_images(cases, axis, known.get("image", {}))
    refuse_jpg_masks(cases, wanted.data)
    labels, about_masks = wanted.data.label_map, "data.label_map as stated"
    if "label_map" not in stated["data"]:
        labels, about_masks = look_at_masks(found, cases, wanted.data)
    folds, about_subjects = look_at_subjects(found)
    proposal = known | {
        "data": known.get("data", {})
        | stated["data"]
        | {"layout": found.layout, "label_map": labels},
        "image": image,
        "split": {"folds": folds},
        "train": {"draws": LEAST_DRAWS} | known.get("train", {}),
        "output": {"name": re.sub(r"[^\w.+-]", "_", out.stem)},
    }
    write_text(out, to_yaml(parse_config(override(proposal, settings), "xln init")))
    return [
        f"{len(found.cases)} cases, layout {found.layout}, {len(cases)} of them opened",
        *found.notes,
        *about_images,
        about_masks,
        *about_subjects,
    ]


def some_cases(cases: Sequence[CaseFiles]) -> list[CaseFiles]:
    """The cases that are opened: all of a small set, else some, evenly spread over it."""
    paths = {path for case in cases for path in (*case.images, *case.masks)}
    files = {file for path in paths for file in files_of(path)}
    room = MOST_BYTES / max(1, sum(file.stat().st_size for file in files))
    count = min(len(cases), MOST_CASES, max(LEAST_CASES, int(room * len(cases))))
    places = np.linspace(0, len(cases) - 1, count).astype(int)
    return [cases[place] for place in sorted(set(places.tolist()))]


@dataclass(frozen=True)
class Look:
    """What matters of the images of a case: numbers, no pixels."""

    shape: tuple[int, int, int]  # (D, H, W)
    spacing: tuple[float, float, float] | None
    volume: bool  # placed in space, so that it can be cut along another axis
    channels: int
    kinds: frozenset[str]  # number types
    low: float
    high: float


def look(paths: tuple[Path, ...], axis: SliceAxis) -> Look:
    """Open the images of a case; grey pictures that are stored as colour count as grey."""
    read = [read_image(path, axis) for path in paths]
    images, grid = [image for image, _ in read], read[0][1]  # (D, C, H, W) each
    grey = [i.shape[1] == 3 and bool((i == i[:, :1]).all()) for i in images]
    return Look(
        shape=grid.shape,
        spacing=grid.spacing,
        volume=grid.affine is not None,
        channels=sum(1 if g else i.shape[1] for i, g in zip(images, grey, strict=True)),
        kinds=frozenset(str(image.dtype) for image in images),
        low=min(float(image.min()) for image in images),
        high=max(float(image.max()) for image in images),
    )


def look_at_images(
    cases: Sequence[CaseFiles], axis: SliceAxis | None, known: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Slices, size, channels and intensities: the ``image`` section and why.

    Args:
        cases: whose images are opened; a stack that many cases share is opened once.
        axis: that counts the slices, or None: it is chosen by the spacing.
        known: what the recipe of a known set proposes for the section.
    """
    images = list(dict.fromkeys(case.images for case in cases))
    looks = [look(paths, "axial" if axis is None else axis) for paths in images]
    told = []
    volumes = any(one.volume for one in looks)
    if volumes and axis is None:
        axis, sentence = _plane(looks)
        told.append(sentence)
        if axis != "axial":
            looks = [look(paths, axis) for paths in images]
    channels = _channels(looks)
    size, fit, sentence = _size(looks, volumes)
    fit = known.get("fit", fit)
    told.append(f"{sentence}: image.size {size[0]}x{size[1]}, image.fit {fit}")

    kinds = frozenset[str]().union(*(one.kinds for one in looks))
    low, high = min(one.low for one in looks), max(one.high for one in looks)
    window: Any = known.get("window", "dtype" if kinds == {"uint8"} else "percentile")
    cut = window in WINDOWS and low >= 0 and high <= 255
    if cut:
        window = [0, 255]
    told.append(
        f"{channels} channel{'s' if channels > 1 else ''} of {' and '.join(sorted(kinds))}, "
        f"{low:g} to {high:g}: image.window {window}"
        + (", as a window in HU was applied to them before" if cut else "")
    )
    if low < HOUNSFIELD and "window" not in known:
        told.append(
            "These look like Hounsfield units (CT). A window of the organ sees more: "
            "image.window lung, kidney or [low, high]"
        )
    section = dict(known) | {"size": size, "fit": fit, "channels": channels, "window": window}
    return section | ({} if axis is None else {"slice_axis": axis}), told


def _plane(looks: Sequence[Look]) -> tuple[SliceAxis, str]:
    """The plane of the patient that the thin sides of the voxels lie in."""
    spacings = [one.spacing for one in looks if one.spacing is not None]
    mm = np.median(spacings, axis=0) if spacings else np.ones(3)  # of axial (D, H, W)
    planes: tuple[SliceAxis, ...] = ("axial", "coronal", "sagittal")  # across dz, dy, dx
    plane, why = planes[int(np.argmax(mm))], "their longest side lies across these slices"
    if mm.max() < THICK * np.median(mm):
        plane, why = "axial", "no side is much longer than the others"
    sizes = " x ".join(f"{length:.3g}" for length in mm)
    return plane, f"volumes with voxels of {sizes} mm, {why}: image.slice_axis {plane}"


def _size(looks: Sequence[Look], volumes: bool) -> tuple[list[int], str, str]:
    """Input size, fit, and what they follow from.

    Slices of one size are padded to multiples of 32. So are those of volumes with one
    spacing, since scaling would change what a millimetre is. Other pictures are scaled to a
    common size near the middle one.
    """
    sizes = Counter(one.shape[1:] for one in looks)
    shown = [f"{h}x{w}" for (h, w), _ in sizes.most_common(3)]
    more = f" and {len(sizes) - 3} other sizes" if len(sizes) > 3 else ""
    text = f"slices of {', '.join(shown)}{more}"
    largest = np.max(list(sizes), axis=0)  # (H, W)
    steps = [one.spacing[1:] for one in looks if one.spacing is not None]
    one_scale = volumes and bool(steps) and np.ptp(steps, axis=0).max() <= 0.1 * np.min(steps)
    if largest.max() <= LARGEST_SIDE and (len(sizes) == 1 or one_scale):
        return _multiples_of_32(largest), "pad", text
    middle = np.median([one.shape[1:] for one in looks], axis=0)
    factor = min(1.0, LARGEST_SIDE / middle.max())
    return _multiples_of_32(middle * factor), "letterbox", text


def _multiples_of_32(size: Any) -> list[int]:
    return [max(32, 32 * int(np.ceil(length / 32))) for length in size]


def _channels(looks: Sequence[Look]) -> int:
    counts = Counter(one.channels for one in looks)
    if len(counts) > 1 and set(counts) != {1, 3}:  # grey beside colour is repeated
        text = ", ".join(f"{number} in {cases} cases" for number, cases in counts.most_common())
        raise DataError(
            f"the images have different numbers of channels: {text}. Convert them to one kind."
        )
    return max(counts)


def look_at_subjects(found: Found) -> tuple[int, list[str]]:
    """Number of folds, and who counts as a subject."""
    cases, subjects = len(found.cases), len({case.subject for case in found.cases})
    told = [f"{subjects} subjects, by {found.subject_rule}"]
    if subjects == cases and not found.suggestions:  # a known set knows its subjects
        told.append(
            "If one person has several images, data.subject must say how to tell, or scores come "
            f"out too good.{_subject_hint(found.cases)}"
        )
    if found.splits is not None:
        return len(found.splits), [*told, f"folds are given by {found.splits_file}"]
    stated = {case.fold for case in found.cases} - {None}
    if stated:
        return max(2, len(stated)), [*told, "folds are given by the manifest"]
    return min(3, max(2, subjects)), told


def _subject_hint(cases: Sequence[CaseFiles]) -> str:
    """A pattern by which the names fall into fewer groups than there are cases."""
    likely = likely_subjects([case.id for case in cases])
    if likely is None:
        return ""
    pattern, groups = likely
    return (
        f" The names have {len(groups)} beginnings such as {min(groups)}; if these are persons: -s "
        f"'data.subject={pattern}'"
    )
