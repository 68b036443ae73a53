"""The contact sheet: which cases are shown, and small pictures of them with outlined masks.

Only the chosen cases are read again. Order: Shown, choose, draw, then how a picture is made.
"""

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from crosslinknet.curation.facts import CaseFacts
from crosslinknet.curation.findings import BACKGROUND, Facts
from crosslinknet.curation.result import Finding
from crosslinknet.errors import DataError
from crosslinknet.plots import PREDICTION, REFERENCE
from crosslinknet.readers import RawMask, read_case_image, read_raw_mask

MOST = 60
OF_FINDING, OF_SIZE = 6, 6  # pictures of each finding, of the smallest and of the largest targets
SIDE = 256  # longest side of a picture
COLOURS = (REFERENCE, PREDICTION, "#3cc79f", "#d68abb", "#f08a4b", "#f0e442")  # of mask values
RIM = "#000000"


@dataclass(frozen=True)
class Shown:
    """A case on the sheet.

    Attributes:
        case: the case.
        slice: which one is shown.
        reason: why, for people.
        alarming: it is here for a finding.
        picture: a data URI; empty where the case cannot be drawn.
    """

    case: CaseFacts
    slice: int
    reason: str
    alarming: bool
    picture: str = ""


def choose(facts: Facts, findings: Sequence[Finding], most: int = MOST) -> list[Shown]:
    """Cases worth a look: those of the findings, extreme sizes, then an even spread."""
    kinds = {finding.kind for finding in findings}
    chosen: dict[int, str] = {}
    for place, reason in _candidates(facts, findings):
        if len(chosen) < most:
            chosen.setdefault(place, reason)
    return [
        Shown(facts.cases[place], _telling_slice(facts.cases[place]), reason, reason in kinds)
        for place, reason in chosen.items()
    ]


def _candidates(facts: Facts, findings: Sequence[Finding]) -> Iterator[tuple[int, str]]:
    """(place of the case, reason), the most telling first; a case may come more than once."""
    place_of = {}
    for place, case in enumerate(facts.cases):
        for path in (*case.files.images, case.files.mask):
            place_of[facts.name(path)] = place
    for finding in findings:
        concerned = [place_of[one.file] for one in finding.places if one.file in place_of]
        for place in concerned[:OF_FINDING]:
            yield place, finding.kind
    sizes = [
        (float(case.mask.fractions.max()), place)
        for place, case in enumerate(facts.cases)
        if case.mask is not None and case.mask.fractions.any()
    ]
    sizes.sort()
    if sizes and sizes[0][0] < sizes[-1][0]:
        for _, place in sizes[:OF_SIZE]:
            yield place, "among the smallest targets"
        for _, place in sizes[: -OF_SIZE - 1 : -1]:
            yield place, "among the largest targets"
    places = np.linspace(0, len(facts.cases) - 1, min(MOST, len(facts.cases))).astype(int)
    for place in places.tolist():
        yield place, ""


def _telling_slice(case: CaseFacts) -> int:
    """The slice with the largest target, else the middle one."""
    if case.mask is not None and case.mask.fractions.any():
        return int(case.mask.fractions.argmax())
    return case.image.shape[0] // 2 if case.image is not None else 0


def draw(shown: Shown, facts: Facts, colours: dict[int | str, str]) -> Shown:
    """The same with its picture; where it cannot be drawn, with none.

    Args:
        shown: what to draw.
        facts: of the set.
        colours: mask value: colour of its outline.
    """
    axis, data = facts.config.image.slice_axis, facts.config.data
    try:
        image, grid = read_case_image(shown.case.files, axis)
    except (DataError, OSError):
        return shown
    try:
        mask = read_raw_mask(shown.case.files, axis, threshold=data.threshold, overlap=data.overlap)
    except (DataError, OSError):
        mask = None
    _, dy, dx = grid.spacing or (1.0, 1.0, 1.0)
    picture = _greys(image[min(shown.slice, len(image) - 1)], dy / dx)  # (h, w, 3)
    if mask is not None:
        _outline(picture, mask, min(shown.slice, len(mask.values) - 1), colours)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=85, subsampling=0)
    data_uri = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return replace(shown, picture=data_uri)


def colours_of(facts: Facts) -> dict[int | str, str]:
    """A colour for each mask value, background aside; the last one serves all the rest."""
    pixels: dict[int | str, int] = {}
    for _, mask in facts.masks:
        for value, number in mask.values.items():
            pixels[value] = pixels.get(value, 0) + number
    values = sorted(set(pixels) - BACKGROUND, key=lambda value: -pixels[value])
    return {value: COLOURS[min(k, len(COLOURS) - 1)] for k, value in enumerate(values)}


def _greys(image: NDArray[np.generic], aspect: float) -> NDArray[np.uint8]:
    """A slice (C, H, W) as (h, w, 3), its longest side SIDE; aspect: pixel height over width."""
    planes = np.asarray(image if len(image) == 3 else image[:1], dtype=np.float32)
    low, high = np.percentile(planes, (0.5, 99.5))
    if high <= low:
        low, high = float(planes.min()), float(planes.max())
    bytes_ = (255 * ((planes - low) / max(float(high - low), 1e-12)).clip(0, 1)).astype(np.uint8)
    height, width = planes.shape[1] * aspect, float(planes.shape[2])
    factor = SIDE / max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    scaled = [Image.fromarray(plane).resize(size, Image.Resampling.BICUBIC) for plane in bytes_]
    stacked = np.stack([np.asarray(plane) for plane in scaled], axis=-1)  # (h, w, C)
    return np.broadcast_to(stacked, (*stacked.shape[:2], 3)).copy()


def _outline(
    picture: NDArray[np.uint8], mask: RawMask, number: int, colours: dict[int | str, str]
) -> None:
    """Draw the borders of a slice's values into a picture (h, w, 3), with a dark rim."""
    values = mask.values[number]  # (H, W)
    by_colour: dict[str, list[int]] = {}
    for value in np.unique(values).tolist():
        colour = colours.get(mask.name(value))
        if colour is not None:
            by_colour.setdefault(colour, []).append(value)
    areas = {
        colour: _scaled(np.isin(values, chosen), picture.shape[:2])
        for colour, chosen in by_colour.items()
    }
    for width, rim in ((3, True), (2, False)):
        for colour, area in areas.items():
            picture[_border(area, width)] = _rgb(RIM if rim else colour)


def _scaled(area: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """An area (H, W) at the size of the picture; what is too small stays a dot."""
    size = (shape[1], shape[0])
    if shape[0] >= area.shape[0]:
        resized = Image.fromarray(area).resize(size, Image.Resampling.NEAREST)
        return np.asarray(resized).astype(bool)
    grey = Image.fromarray(area.astype(np.uint8) * np.uint8(255))
    share = np.asarray(grey.resize(size, Image.Resampling.BOX))
    return share >= min(128, max(1, int(share.max())))


def _border(area: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """The pixels around an area, outside of it, and inside where it ends at the frame."""
    grown = Image.fromarray(area.astype(np.uint8)).filter(ImageFilter.MaxFilter(2 * width + 1))
    frame = np.ones_like(area)
    frame[width:-width, width:-width] = False
    border: NDArray[np.bool_] = np.asarray(grown).astype(bool) & ~area | frame & area
    return border


def _rgb(colour: str) -> tuple[int, int, int]:
    number = int(colour[1:], 16)
    return number >> 16, number >> 8 & 255, number & 255
