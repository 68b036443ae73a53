"""Which cases the report shows, and their pictures: outlines and attention maps.

Order: pick_cases (worst, middle, best), case_pictures, attention_pictures.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from crosslinknet import plots
from crosslinknet.case import Case, CaseFiles
from crosslinknet.config import Config
from crosslinknet.datasets import find_cases
from crosslinknet.errors import CrosslinkError, ShapeError
from crosslinknet.labels import label_table, split_classes
from crosslinknet.metrics import METRICS
from crosslinknet.metrics.table import Row
from crosslinknet.preprocess import normalise
from crosslinknet.readers import read_case, read_mask, stem_of
from crosslinknet.report.markup import Html
from crosslinknet.report.material import Material

EACH = 3  # pictures of the worst, the middle and the best cases
MOST_ATTENTION = 6

Key = tuple[str, int | None]  # case and slice; every case is tested in one fold only


@dataclass(frozen=True)
class Picked:
    """A slice worth a look.

    Attributes:
        group: worst, middle or best.
        score: mean of the metric over the slice's classes.
        rows: its line of metrics.csv per class.
        picture: SVG, or None.
        reason: why there is no picture.
    """

    group: str
    score: float
    rows: tuple[Row, ...]
    picture: Html | None = None
    reason: str = ""

    @property
    def key(self) -> Key:
        """Which slice this is."""
        return self.rows[0].case, self.rows[0].slice


@dataclass(frozen=True)
class AttentionPicture:
    """Attention maps of one slice.

    Attributes:
        agreement: branch -> correlation of its map with the target, nan where there is none.
        picture: SVG.
    """

    case: str
    fold: int
    agreement: dict[str, float]
    picture: Html


def pick_cases(rows: Iterable[Row], metric: str, each: int = EACH) -> list[Picked]:
    """Find the worst, middle and best slices, where possible of different subjects.

    Slices without a score (empty in target and prediction) take no part. Of equal scores the
    larger target comes first: missing it is worse, and finding it shows more.

    Args:
        rows: of all folds.
        metric: what decides; a mean over the classes of the slice.
        each: slices per group, fewer where there are few.
    """
    slices: dict[Key, list[Row]] = {}
    for row in rows:
        if not np.isnan(row.values[metric]):
            slices.setdefault((row.case, row.slice), []).append(row)
    sign = 1 if METRICS[metric].higher_is_better else -1
    scored = [Picked("", float(np.mean([r.values[metric] for r in s])), tuple(s))
              for s in slices.values()]  # fmt: skip
    rising = sorted(scored, key=lambda p: (sign * p.score, -_area(p), p.rows[0].case))
    falling = sorted(scored, key=lambda p: (-sign * p.score, -_area(p), p.rows[0].case))
    centre = rising[len(rising) // 2].score if rising else 0.0
    around = sorted(rising, key=lambda p: (abs(p.score - centre), -_area(p), p.rows[0].case))

    room = min(each, max(1, len(scored) // 3))
    taken: set[Key] = set()
    picked = []
    for group, order in (("worst", rising), ("best", falling), ("middle", around)):
        free = [p for p in order if p.key not in taken]
        for one in _of_different_subjects(free, room):
            taken.add(one.key)
            picked.append(Picked(group, one.score, one.rows))
    return picked


def case_pictures(material: Material) -> list[Picked]:
    """Pick cases and draw them; a case that cannot be drawn says why."""
    picked = pick_cases(material.rows, material.metric)
    try:
        found = {files.id: files for files in find_cases(material.config.data).cases}
    except (CrosslinkError, OSError) as error:
        return [_with_reason(one, f"The source images were not found. {error}") for one in picked]
    folders = {fold.number: fold.folder / "predictions" for fold in material.folds}
    drawn = []
    for number, one in enumerate(picked):
        row = one.rows[0]
        try:
            case, codes = _read(row.case, found, folders[row.fold or 0], material.config)
            picture = _outlines(case, codes, row.slice or 0, material.config, f"case{number}")
            drawn.append(Picked(one.group, one.score, one.rows, picture))
        except (CrosslinkError, OSError) as error:
            drawn.append(_with_reason(one, str(error)))
    return drawn


def attention_pictures(material: Material) -> list[AttentionPicture]:
    """Draw stored attention maps, a few of every fold; damaged files are passed over."""
    by_fold = [
        [(fold.number, path) for path in sorted((fold.folder / "attention").glob("*.npz"))]
        for fold in material.folds
    ]
    in_turn = [pair for pair in chain(*zip_longest(*by_fold)) if pair is not None]
    pictures = []
    for number, (fold, path) in enumerate(in_turn[:MOST_ATTENTION]):
        try:
            with np.load(path, allow_pickle=False) as arrays:
                image, mask = arrays["image"], arrays["mask"] > 0
                maps = {b: arrays[b] for b in ("vertical", "horizontal") if b in arrays}
        except (OSError, ValueError, KeyError, BadZipFile):
            continue
        drawing = plots.attention_panel(image, mask, maps)
        label = f"Input slice and attention maps of {path.stem}"
        picture = Html(plots.svg(drawing, f"attention{number}", label))
        agreement = {branch: _agreement(values, mask) for branch, values in maps.items()}
        pictures.append(AttentionPicture(path.stem, fold, agreement, picture))
    return pictures


def _read(
    case_id: str, found: dict[str, CaseFiles], predictions: Path, config: Config
) -> tuple[Case, NDArray[np.uint8]]:
    """The case, its image in 0..1, and the predicted codes (D, H, W)."""
    if case_id not in found:
        raise CrosslinkError("This case is no longer among the source images.")
    prediction = _prediction_of(case_id, predictions)
    case = normalise(read_case(found[case_id], config.data, config.image), config.image)
    table = label_table(config.data.label_map)
    codes, _ = read_mask(prediction, config.image.slice_axis, table, threshold=None)
    if case.mask is None or case.mask.shape != codes.shape:
        raise ShapeError(f"{prediction.name} does not lie on the grid of the reference mask.")
    return case, codes


def _prediction_of(case_id: str, folder: Path) -> Path:
    for path in sorted(folder.glob("*")):
        if stem_of(path) == case_id:
            return path
    raise CrosslinkError(f"There is no prediction of this case in {folder.name}.")


def _outlines(case: Case, codes: NDArray[np.uint8], number: int, config: Config, name: str) -> Html:
    table = label_table(config.data.label_map)
    channels = case.image[number]  # (C, H, W)
    image = np.moveaxis(channels, 0, 2) if len(channels) == 3 else channels[0]
    assert case.mask is not None
    _, height, width = case.grid.spacing or (1.0, 1.0, 1.0)
    drawing = plots.overlay(
        image,
        split_classes(codes[number], table),
        split_classes(case.mask[number], table),
        aspect=height / width,
    )
    label = f"Slice of {case.id} with the outlines of reference and prediction"
    return Html(plots.svg(drawing, name, label))


def _of_different_subjects(order: Sequence[Picked], most: int) -> list[Picked]:
    """The first ones of different subjects, filled up with what comes next."""
    first: dict[str, Picked] = {}
    for one in order:
        if len(first) < most:
            first.setdefault(one.rows[0].subject, one)
    places = {one.key: place for place, one in enumerate(order)}
    rest = [one for one in order[:most] if one is not first.get(one.rows[0].subject)]
    return sorted([*first.values(), *rest][:most], key=lambda one: places[one.key])


def _area(picked: Picked) -> float:
    return max(row.target_fraction for row in picked.rows)


def _with_reason(one: Picked, reason: str) -> Picked:
    return Picked(one.group, one.score, one.rows, reason=reason)


def _agreement(values: NDArray[np.floating], mask: NDArray[np.bool_]) -> float:
    """Pearson correlation of a map (h, w) with the target, averaged to the map's grid."""
    rows, columns = (
        np.arange(length) * small // length
        for length, small in zip(mask.shape, values.shape, strict=True)
    )
    sums = np.zeros(values.shape)
    np.add.at(sums, (rows[:, None], columns[None, :]), mask)
    pooled = sums / np.outer(np.bincount(rows), np.bincount(columns))
    if pooled.std() == 0 or values.std() == 0:
        return float("nan")
    return float(np.corrcoef(pooled.ravel(), values.ravel())[0, 1])
