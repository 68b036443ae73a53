"""Sections about what is read: data, image, split. Order: as a run goes through them."""

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from crosslinknet.config.section import Section
from crosslinknet.errors import suggest
from crosslinknet.geometry import Fit, SliceAxis

WINDOWS: dict[str, tuple[float, float]] = {  # low and high in HU
    "lung": (-1250.0, 250.0),  # width 1500, level -500: paper, Section IV-A
    "kidney": (-160.0, 240.0),  # paper, Section IV-A
}


class DataConfig(Section):
    """Where the images and masks are and what the mask values mean."""

    root: Path = Field(description="folder with the data; relative paths start at this file")
    layout: Literal[
        "auto",
        "folders",
        "side-by-side",
        "nnunet",
        "decathlon",
        "csv",
        "coco",
        "labelme",
        "bids",
        "dicom",
        "covid19-i",
        "covid19-volumes",
        "kits19",
        "york-cardiac",
    ] = Field(
        "auto",
        description="auto finds it; folders (images/ + masks/), side-by-side (x.png + x_mask.png), "
        "nnunet, decathlon, csv, coco, labelme, bids, dicom (series); the paper's sets: covid19-i, "
        "covid19-volumes, kits19, york-cardiac",
    )
    images: Path | None = Field(
        None,
        description="folders, coco, labelme, side-by-side: the image folder; csv: the manifest; "
        "bids: the end of the image names, as T1w; null finds it",
    )
    masks: Path | None = Field(
        None,
        description="folders: the mask folder; coco: the JSON file; bids: the end of the mask "
        "names, as label-lesion_mask; dicom: a name of mask files (seg_*.dcm) where a series has "
        "several; null finds it",
    )
    label_map: dict[str, list[int | str]] = Field(
        {"foreground": [1]},
        description="class: mask values that mean it (grey values, '#rrggbb' of RGB masks, or "
        "names of polygons); 0 or '#000000' is background; a value that is not named is an error",
    )
    threshold: int | None = Field(
        None,
        ge=0,
        description="grey masks only: pixels above it count as 1, the rest as 0; needed for JPG",
    )
    subject: str | None = Field(
        None,
        description="regular expression with one group, searched in the file name, that gives "
        "the subject; null: the CSV's subject column if there is one, else the file name",
    )
    subject_is: Literal["person", "group"] = Field(
        "person",
        description="what a subject stands for: a person, or a group of slices because nobody "
        "knows the persons; reports then say that folds are not by person",
    )
    overlap: Literal["error", "last"] = Field(
        "error",
        description="drawn masks (polygons, DICOM SEG), several masks of one image: pixels of two "
        "labels or masks are an error, or belong to the last one",
    )
    unlabelled: Literal["error", "skip"] = Field(
        "error", description="images without a mask: error, or skip (leave them out, and say so)"
    )
    exclude: list[str] = Field(
        [], description="ids of cases to leave out, wrongly labelled ones say; they must be there"
    )

    @field_validator("label_map")
    @classmethod
    def _labels(cls, labels: dict[str, list[int | str]]) -> dict[str, list[int | str]]:
        if not labels:
            raise ValueError("at least one class is needed, such as {lesion: [1]}")
        for name, values in labels.items():
            if not re.fullmatch(r"[\w.+-]+", name):
                raise ValueError(f"class name {name!r} may hold letters, digits and _ . + - only")
            if not values:
                raise ValueError(f"class {name!r} names no mask value")
            for value in values:
                if isinstance(value, str) and not re.fullmatch(r"#[0-9a-fA-F]{6}|[^#].*", value):
                    raise ValueError(f"{value!r} of class {name!r} is no colour like '#ff0000'")
                if isinstance(value, bool):
                    raise ValueError(f"{value} of class {name!r} is a truth value, not a label")
                if isinstance(value, int) and not 1 <= value <= 65535:
                    raise ValueError(
                        f"{value} of class {name!r} is outside 1..65535; 0 is the background"
                    )
        kinds = {
            value[0] == "#" if isinstance(value, str) else None
            for values in labels.values()
            for value in values
        }
        if len(kinds) > 1:
            raise ValueError("grey values, colours and names cannot be mixed in one label_map")
        return {name: [_lower(v) for v in values] for name, values in labels.items()}

    @field_validator("subject")
    @classmethod
    def _subject(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                groups = re.compile(pattern).groups
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression ({error})") from error
            if groups != 1:
                raise ValueError(f"{pattern!r} needs exactly one (group), it has {groups}")
        return pattern


class ImageConfig(Section):
    """How a slice becomes the network's input."""

    size: tuple[int, int] = Field((256, 256), description="height and width of the input, >= 32")
    fit: Fit = Field(
        "letterbox",
        description="letterbox (one scale, then padding), resize (stretch), pad (never scales, "
        "never cuts), crop (random crops in training, sliding window in prediction)",
    )
    channels: int = Field(1, ge=1, description="1 grey, 3 colour; nnU-Net sets: their channels")
    window: str | tuple[float, float] = Field(
        "dtype",
        description="what becomes 0 and 1: dtype (0 and the largest value of 8 or 16 bit), "
        "percentile (0.5 and 99.5 of each case), minmax (of each case), lung, kidney, or [lo, hi]",
    )
    slice_axis: SliceAxis = Field(
        "axial",
        description="volumes: axial, coronal, sagittal (of the patient), or axis 0, 1, 2 as stored",
    )

    @field_validator("size")
    @classmethod
    def _size(cls, size: tuple[int, int]) -> tuple[int, int]:
        if min(size) < 32:
            raise ValueError(f"{list(size)} is too small: five poolings need at least [32, 32]")
        return size

    @field_validator("window")
    @classmethod
    def _window(cls, window: str | tuple[float, float]) -> str | tuple[float, float]:
        if isinstance(window, str):
            names = ("dtype", "percentile", "minmax", *WINDOWS)
            if window not in names:
                raise ValueError(f"window {window!r} is unknown{suggest(window, names)}")
        elif not window[0] < window[1]:
            raise ValueError(f"window {list(window)} must be [low, high] with low < high")
        return window


class SplitConfig(Section):
    """Which subjects are tested in which fold."""

    folds: int = Field(3, ge=2, description="number of folds; every case is tested once")
    seed: int = Field(0, ge=0, description="seed of the assignment of subjects to folds")
    file: Path | None = Field(
        None, description="a splits.json or nnU-Net splits_final.json to use as given"
    )
    validation: float = Field(
        0.1,
        ge=0,
        lt=0.5,
        description="share of the training subjects kept out to watch the training; 0: none",
    )
    duplicates: Literal["join", "ignore"] = Field(
        "join",
        description="subjects with near-duplicate slices: join (keep them on one side; given "
        "folds that divide them are refused), or ignore (look for none)",
    )


def _lower(value: int | str) -> int | str:
    return value.lower() if isinstance(value, str) and value[0] == "#" else value
