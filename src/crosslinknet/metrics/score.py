"""Scores of pairs of masks: every metric once per pair, the empty-mask policy applied.

Order: states_of, score_counts, score_pairs, what one pair is asked for.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosslinknet.config import EvaluateConfig
from crosslinknet.metrics import surface
from crosslinknet.metrics.components import match_components
from crosslinknet.metrics.inf_net import sweep
from crosslinknet.metrics.overlap import Counts, Floats, count
from crosslinknet.metrics.policies import POLICIES
from crosslinknet.metrics.registry import METRICS, STATES, Metric, Needs

Mask = NDArray[np.bool_]


def states_of(counts: Counts) -> NDArray[np.intp]:
    """Which side of each pair is empty, as a position in STATES."""
    no_pred, no_target = counts.pred == 0, counts.target == 0
    return np.where(no_target, np.where(no_pred, 1, 2), np.where(no_pred, 3, 0))


def score_counts(counts: Counts, config: EvaluateConfig) -> dict[str, Floats]:
    """The metrics that need counts only, of any number of pairs, policy applied."""
    states = states_of(counts)
    values = {}
    for name in config.metrics:
        metric = METRICS[name]
        if metric.needs == "counts":
            raw = metric.function(counts, **_options(metric, config))
            values[name] = _with_policy(raw, states, name, config)
    return values


def score_pairs(
    pred: Mask,
    target: Mask,
    spacing: Sequence[float] | None,
    config: EvaluateConfig,
    probs: NDArray[np.floating[Any]] | None = None,
) -> tuple[Counts, dict[str, Floats]]:
    """Score N pairs of masks that lie on one grid.

    Args:
        pred: predicted masks, (N, H, W) or (N, D, H, W).
        target: reference masks, same shape.
        spacing: mm per pixel, (dy, dx) or (dz, dy, dx); None measures in pixels.
        config: metrics, policy and what they need to know.
        probs: predicted probabilities, same shape, for the metrics that sweep thresholds; None
            lets the masks stand for them.

    Returns:
        Counts (N,) and per metric its values (N,), in the order of ``config.metrics``; nan is
        a value that does not exist or that the policy leaves out.

    Raises:
        ShapeError: the masks differ in shape, or spacing has another number of axes.
    """
    counts = count(pred, target)
    values = score_counts(counts, config)
    single = [name for name in config.metrics if name not in values]
    if single:
        shape, states = pred.shape[1:], states_of(counts)
        step = (1.0,) * len(shape) if spacing is None else tuple(spacing)
        raw = {name: np.full(len(pred), np.nan) for name in single}
        maps = pred if probs is None else probs
        for i in range(len(pred)):
            _score_one(i, pred[i], target[i], maps[i], step, config, states[i] == 0, raw)
        far = surface.diagonal(shape, step)
        values |= {n: _with_policy(raw[n], states, n, config, far) for n in single}
    return counts, {name: values[name] for name in config.metrics}


def _score_one(
    i: int,
    pred: Mask,
    target: Mask,
    probs: NDArray[Any],
    step: tuple[float, ...],
    config: EvaluateConfig,
    filled: bool,
    raw: dict[str, Floats],
) -> None:
    """Put the values of pair i into ``raw``; what several metrics need is computed once.

    Surfaces, centres and components are those of the pair's own bounding box.
    """
    needed = {METRICS[name].needs for name in raw}
    inputs: dict[Needs, tuple[Any, ...]] = {}
    if filled and needed - {"sweep"}:
        box = surface.bounding_box(pred | target)
        pred_box, target_box = pred[box], target[box]
        inputs["masks"] = (pred_box, target_box, step)
        if "distances" in needed:
            inputs["distances"] = (surface.surface_distances(pred_box, target_box, step),)
        if "components" in needed:
            inputs["components"] = (match_components(pred_box, target_box, config.lesion_iou),)
    if "sweep" in needed:
        inputs["sweep"] = (sweep(probs, target),)
    for name in raw:
        metric = METRICS[name]
        if metric.needs in inputs:
            raw[name][i] = metric.function(*inputs[metric.needs], **_options(metric, config))


def _options(metric: Metric, config: EvaluateConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in metric.options}


def _with_policy(
    raw: Floats,
    states: NDArray[np.intp],
    name: str,
    config: EvaluateConfig,
    diagonal: float = float("nan"),
) -> Floats:
    """Replace the values of pairs with an empty side by what the policy says."""
    values = np.array(raw, dtype=np.float64)
    if not states.any():  # both masks are there, always: every policy takes the formula
        return values
    for position, state in enumerate(STATES):
        rule = POLICIES[config.policy](name, state)
        if rule != "formula":
            values[states == position] = diagonal if rule == "diagonal" else rule
    return values
