"""Lesions: connected components that are found, missed or made up.

Components hang together by edges and corners (8 neighbours in a slice, 26 in a volume). A predicted
and a reference component match when their IoU reaches a limit; the largest IoU is matched first,
and each component once. Order: Matching, match_components, then one function per metric.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Matching:
    """Components of a pair of masks.

    Attributes:
        pred: number of predicted components.
        target: number of reference components.
        dices: Dice of each matched pair of components.
    """

    pred: int
    target: int
    dices: tuple[float, ...]


def match_components(pred: Mask, target: Mask, lesion_iou: float) -> Matching:
    """Label both masks and match their components.

    Args:
        pred: predicted mask, (H, W) or (D, H, W).
        target: reference mask, same shape.
        lesion_iou: least IoU of a match, above 0 and up to 1.

    >>> pred, target = np.zeros((2, 3, 9), dtype=bool)
    >>> target[0, 0:2] = target[0, 6] = True
    >>> pred[0, 0:3] = pred[2, 4] = True
    >>> match_components(pred, target, 0.1)
    Matching(pred=2, target=2, dices=(0.8,))
    """
    everywhere = np.ones((3,) * pred.ndim)
    label = ndimage.label  # type: ignore[attr-defined]
    (p, n_pred), (t, n_target) = (label(mask, structure=everywhere) for mask in (pred, target))
    both = pred & target
    pairs, shared = _overlaps(p[both].astype(np.int64) * (n_target + 1) + t[both], p.size)
    pairs = np.stack(np.divmod(pairs, n_target + 1))
    size_p = np.bincount(p.ravel(), minlength=n_pred + 1)[pairs[0]]
    size_t = np.bincount(t.ravel(), minlength=n_target + 1)[pairs[1]]
    ious = shared / (size_p + size_t - shared)
    free_p, free_t = np.ones(n_pred + 1, bool), np.ones(n_target + 1, bool)
    dices = []
    for i in np.argsort(-ious, kind="stable"):
        if ious[i] >= lesion_iou and free_p[pairs[0, i]] and free_t[pairs[1, i]]:
            free_p[pairs[0, i]] = free_t[pairs[1, i]] = False
            dices.append(float(2 * shared[i] / (size_p[i] + size_t[i])))
    return Matching(int(n_pred), int(n_target), tuple(dices))


def _overlaps(codes: NDArray[np.int64], pixels: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which numbers occur and how often; counted where they are small, sorted else."""
    if codes.size and int(codes.max()) <= 4 * pixels:
        counts = np.bincount(codes)
        found = np.flatnonzero(counts)
        return found, counts[found]
    return np.unique(codes, return_counts=True)


def lesion_precision(found: Matching) -> float:
    """Share of predicted components that match one of the reference, in [0, 1]."""
    return len(found.dices) / found.pred if found.pred else float("nan")


def lesion_recall(found: Matching) -> float:
    """Share of the reference's components that are found, in [0, 1]."""
    return len(found.dices) / found.target if found.target else float("nan")


def lesion_f1(found: Matching) -> float:
    """2 matches / (predicted + reference components), in [0, 1]."""
    every = found.pred + found.target
    return 2 * len(found.dices) / every if every else float("nan")


def lesion_dice(found: Matching) -> float:
    """Mean Dice of the matched components, in [0, 1]; 0 where none matches.

    It does not know of components that were missed or made up: read it beside lesion_f1.
    """
    if not (found.pred and found.target):
        return float("nan")
    return float(np.mean(found.dices)) if found.dices else 0.0
