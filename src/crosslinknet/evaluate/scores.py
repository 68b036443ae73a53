"""Scores of cases in memory: every slice in 2D, and a volume as a whole in 3D.

Order: Scores, score_case, merge.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from crosslinknet.config import EvaluateConfig
from crosslinknet.errors import DataError, ShapeError
from crosslinknet.evaluate.pairs import Spacing
from crosslinknet.labels import LabelTable, split_classes
from crosslinknet.metrics.calibration import count_bins
from crosslinknet.metrics.registry import METRICS, STATES
from crosslinknet.metrics.score import score_pairs, states_of
from crosslinknet.metrics.table import Row

Unit = Literal["mm", "px"]
Bins = Mapping[tuple[str, str], NDArray[np.float64]]  # (class, subject): (4, B)


@dataclass(frozen=True)
class Scores:
    """Scores of any number of cases.

    Attributes:
        images: one row per slice and class.
        cases: one row per case and class, a volume scored in 3D; empty where level "case" is
            not asked for.
        unit: of the distances, px where no spacing is known.
        bins: pixels by their probability, where probabilities are known.
    """

    images: tuple[Row, ...]
    cases: tuple[Row, ...]
    unit: Unit
    bins: Bins = field(default_factory=dict)


def score_case(
    pred: NDArray[np.integer[Any]],
    target: NDArray[np.integer[Any]],
    table: LabelTable,
    spacing: Spacing | None,
    case_id: str,
    subject: str,
    fold: int | None,
    config: EvaluateConfig,
    probs: NDArray[np.float32] | None = None,
) -> Scores:
    """Score one case: every slice in 2D, and a volume as a whole in 3D.

    Args:
        pred: predicted codes, (D, H, W).
        target: reference codes, same shape.
        table: which codes belong to which class.
        spacing: (dz, dy, dx) in mm, or None.
        case_id: name of the case, for the rows.
        subject: whom it came from, for the rows.
        fold: number of the fold, None outside cross-validation.
        config: metrics, policy, levels, and what metrics need to know.
        probs: predicted probabilities (K, D, H, W), where they are known.

    Raises:
        ShapeError: the shapes differ.
        LabelError: probabilities that are none.
    """
    if pred.shape != target.shape:
        raise ShapeError(
            f"{case_id}: the prediction is {pred.shape}, the reference {target.shape} (slices, "
            "height, width). Both must lie on one grid; resample the prediction first."
        )
    preds, targets = split_classes(pred, table), split_classes(target, table)  # (K, D, H, W)
    classes, slices, h, w = preds.shape

    def rows(
        p: NDArray[np.bool_],
        t: NDArray[np.bool_],
        maps: NDArray[np.float32] | None,
        places: Sequence[int | None],
    ) -> list[Row]:
        """Score pairs of all classes, (K * len(places), ...), and label them."""
        step = None if spacing is None else spacing[-(p.ndim - 1) :]
        counts, values = score_pairs(p, t, step, config, maps)
        owners = [(name, place) for name in table.classes for place in places]
        pairs = zip(owners, counts.to_array().tolist(), states_of(counts), strict=True)
        made = []
        for i, ((name, place), (tp, fp, fn, tn), state) in enumerate(pairs):
            own = {metric: float(values[metric][i]) for metric in values}
            made.append(
                Row(case_id, subject, fold, place, name, tp, fp, fn, tn, STATES[state], own)
            )
        return made

    def flat(array: NDArray[Any]) -> NDArray[Any]:
        return array.reshape(classes * slices, h, w)

    maps = None if probs is None else flat(probs)
    images = rows(flat(preds), flat(targets), maps, range(slices))
    cases: list[Row] = []
    if "case" in config.levels:
        single = [replace(row, slice=None) for row in images]
        cases = single if slices == 1 else rows(preds, targets, probs, [None])
    bins = {}
    if probs is not None:
        each = zip(table.classes, probs, targets, strict=True)
        bins = {(name, subject): count_bins(own, mask) for name, own, mask in each}
    return Scores(tuple(images), tuple(cases), "px" if spacing is None else "mm", bins)


def merge(scores: Sequence[Scores], config: EvaluateConfig) -> Scores:
    """Put parts together; distances of one table must have one unit.

    Raises:
        DataError: no scores, or distances in mm and px.
    """
    if not any(part.images for part in scores):
        raise DataError("there is nothing to summarise: no case was scored.")
    named = {part.unit: part.images[0].case for part in reversed(scores) if part.images}
    if len(named) > 1 and any(METRICS[m].unit == "distance" for m in config.metrics):
        raise DataError(
            f"the spacing of {named['mm']} is known and that of {named['px']} is not, so their "
            "distances cannot be averaged. State the spacing of all cases, or leave the "
            "distances out of evaluate.metrics."
        )
    bins: dict[tuple[str, str], NDArray[np.float64]] = {}
    for part in scores:
        for key, counts in part.bins.items():
            bins[key] = bins[key] + counts if key in bins else counts
    return Scores(
        tuple(row for part in scores for row in part.images),
        tuple(row for part in scores for row in part.cases),
        "px" if "px" in named else "mm",
        bins,
    )
