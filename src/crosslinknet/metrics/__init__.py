"""Scores of binary masks: ``evaluate`` for one pair, METRICS and POLICIES behind it.

Definitions, the policy on empty masks and the levels of averaging: docs/metrics.md.
"""

from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crosslinknet.config import EvaluateConfig
from crosslinknet.errors import LabelError, ShapeError, UsageError, suggest
from crosslinknet.metrics.overlap import Norm
from crosslinknet.metrics.policies import POLICIES
from crosslinknet.metrics.presets import PRESETS, Preset
from crosslinknet.metrics.registry import METRICS, Metric, check_metrics
from crosslinknet.metrics.score import score_pairs
from crosslinknet.metrics.surface import Mode

__all__ = ["METRICS", "POLICIES", "PRESETS", "Metric", "Preset", "evaluate"]


def evaluate(
    pred: ArrayLike,
    target: ArrayLike,
    spacing: Sequence[float] | None = None,
    metrics: Sequence[str] | None = None,
    policy: str = "worst",
    or_ur_norm: Norm = "truth",
    hd95_mode: Mode = "directed",
    nsd_tolerance: float = 2.0,
    lesion_iou: float = 0.1,
) -> dict[str, float]:
    """Score one predicted mask against its reference.

    Args:
        pred: predicted mask, (H, W) or (D, H, W), boolean or integers 0 and 1. A volume is
            scored in 3D; (1, H, W) is a slice and is scored in 2D.
        target: reference mask, same shape.
        spacing: mm per pixel, one number per axis in the array's order; None gives distances
            in pixels.
        metrics: names of METRICS; None takes all but those of single tools.
        policy: what a pair with an empty mask is worth, a name of POLICIES.
        or_ur_norm: area that over_rate and under_rate are divided by.
        hd95_mode: the larger of two percentiles, or one of both directions.
        nsd_tolerance: how far a surface may be off for nsd, in the unit of ``spacing``.
        lesion_iou: least IoU of components that match.

    Returns:
        Metric: value. Fractions, distances in the unit of ``spacing``; nan where the value
        does not exist or the policy leaves the pair out.

    Raises:
        LabelError: a mask holds probabilities or labels other than 0 and 1.
        ShapeError: the masks differ in shape, or spacing does not fit it.
        UsageError: unknown metric, policy, norm or mode; a tolerance or IoU out of its range.

    >>> pred, target = np.zeros((2, 8, 8), dtype=bool)
    >>> pred[0:2, 0:4] = target[0:2, 0:2] = True
    >>> evaluate(pred, target, spacing=(1.0, 0.5), metrics=["dice", "hd"])
    {'dice': 0.6666666666666666, 'hd': 1.0}
    """
    own = [name for name, metric in METRICS.items() if not metric.tool]
    names = own if metrics is None else list(metrics)
    check_metrics(names)
    choices = {"policy": (policy, POLICIES), "or_ur_norm": (or_ur_norm, get_args(Norm))}
    for key, (name, known) in (choices | {"hd95_mode": (hd95_mode, get_args(Mode))}).items():
        if name not in known:
            raise UsageError(f"unknown {key} {name!r}{suggest(name, known)}")
    if not (nsd_tolerance >= 0 and 0 < lesion_iou <= 1):
        raise UsageError(
            f"nsd_tolerance is {nsd_tolerance}, lesion_iou {lesion_iou}; expected a distance of 0 "
            "or more, and a share above 0 and up to 1."
        )
    config = EvaluateConfig(
        metrics=names, policy=policy, or_ur_norm=or_ur_norm, hd95_mode=hd95_mode,
        nsd_tolerance=nsd_tolerance, lesion_iou=lesion_iou,
    )  # fmt: skip

    masks = _binary(pred, "pred"), _binary(target, "target")
    shape = masks[0].shape
    if shape != masks[1].shape or len(shape) not in (2, 3) or 0 in shape:
        raise ShapeError(
            f"pred is {shape}, target is {masks[1].shape}; expected two masks of one shape, "
            "(H, W) or (D, H, W), with at least one pixel."
        )
    step = None if spacing is None else _checked_spacing(spacing, shape)
    if len(shape) == 3 and shape[0] == 1:  # a slice: its two faces are no surface
        masks = masks[0][0], masks[1][0]
        step = None if step is None else step[1:]
    _, values = score_pairs(masks[0][None], masks[1][None], step, config)
    return {name: float(value[0]) for name, value in values.items()}


def _binary(mask: ArrayLike, name: str) -> NDArray[np.bool_]:
    """A mask as booleans; nothing is rounded and no threshold is guessed."""
    array: NDArray[Any] = np.asarray(mask)
    if array.dtype.kind not in "bui":
        raise LabelError(
            f"{name} holds {array.dtype} numbers, expected a mask (boolean, or integers 0 and "
            "1). Turn probabilities into a mask first, as in pred > 0.5."
        )
    if array.dtype.kind != "b" and array.size and (array.min() < 0 or array.max() > 1):
        raise LabelError(
            f"{name} holds labels from {array.min()} to {array.max()}, expected 0 and 1: one "
            "class is scored at a time, as in evaluate(pred == 2, target == 2)."
        )
    return array.astype(np.bool_, copy=False)


def _checked_spacing(spacing: Sequence[float], shape: tuple[int, ...]) -> tuple[float, ...]:
    step = tuple(float(s) for s in spacing)
    if len(step) != len(shape) or not all(0 < s < float("inf") for s in step):
        raise ShapeError(
            f"spacing is {step}, the masks are {shape}; expected one positive number per axis, "
            "in the array's order (rows before columns)."
        )
    return step
