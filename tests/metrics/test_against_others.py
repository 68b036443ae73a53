"""Every metric on thousands of random pairs: against brute force, SciPy and MONAI.

Half of the shapes are volumes, most spacings unequal; masks are blobs, noise, single pixels, bars
at the border, two classes of one label image, and empty. Where a tool differs from the
definitions, ``test_presets.py`` names it and shows the rule that it follows.
"""

import warnings

import numpy as np
import pytest
import torch
from monai.metrics import (
    compute_average_surface_distance,
    compute_confusion_matrix_metric,
    compute_dice,
    compute_hausdorff_distance,
    compute_iou,
    compute_surface_dice,
    get_confusion_matrix,
)
from scipy import ndimage
from scipy.spatial.distance import cdist, directed_hausdorff

from crosslinknet.metrics import METRICS, evaluate

OWN = [name for name, metric in METRICS.items() if not metric.tool]
SIZES = [pytest.param(400, id="400"), pytest.param(10_000, id="10000", marks=pytest.mark.slow)]
TOLERANCE = 1.3  # no distance of these grids, where rounding would decide


def random_mask(rng, shape):
    """One of the kinds of masks that go wrong in different ways."""
    kind = rng.integers(6)
    if kind == 0:  # blob
        noise = ndimage.gaussian_filter(rng.normal(size=shape), 1.5)
        return noise > np.quantile(noise, rng.uniform(0.3, 0.95))
    if kind == 1:  # noise
        return rng.random(shape) < rng.uniform(0.05, 0.7)
    mask = np.zeros(shape, dtype=bool)
    if kind == 2:  # single pixel
        mask[tuple(rng.integers(n) for n in shape)] = True
    elif kind == 3:  # bar that touches the border
        start = rng.integers(shape[-1])
        mask[..., : shape[-2] // 2 + 1, start:] = True
    elif kind == 4:  # one of two touching classes of a label image
        labels = rng.integers(0, 3, size=tuple(-(-n // 3) for n in shape))
        labels = np.kron(labels, np.ones((3,) * len(shape), int))[tuple(slice(n) for n in shape)]
        mask = labels == rng.integers(1, 3)
    return mask  # kind 5: empty


def random_pairs(number, seed):
    rng = np.random.default_rng(seed)
    for i in range(number):
        dims = 2 + i % 2
        shape = tuple(int(n) for n in rng.integers(2, 15 if dims == 2 else 8, size=dims))
        spacing = tuple(float(s) for s in rng.choice([0.4, 0.7031, 1.0, 1.5, 5.0], size=dims))
        target = random_mask(rng, shape)
        same = rng.random() < 0.3  # a prediction near the target, as a good network makes it
        pred = target ^ (rng.random(shape) < 0.05) if same else random_mask(rng, shape)
        yield pred, target, spacing


def surface_points(mask, spacing):
    inner = ndimage.binary_erosion(mask)  # outside the image is outside the mask
    return np.argwhere(mask & ~inner) * spacing


def brute(pred, target, spacing):
    """The definitions of docs/metrics.md, written out for two masks that are not empty."""
    p, t = (set(map(tuple, np.argwhere(mask))) for mask in (pred, target))
    background = pred.size - len(t)
    a, b = surface_points(pred, spacing), surface_points(target, spacing)
    every = cdist(a, b)
    there, back = every.min(axis=1), every.min(axis=0)
    both = np.concatenate([there, back])
    centres = (np.array(ndimage.center_of_mass(m)) * spacing for m in (pred, target))
    return {
        "dice": 2 * len(p & t) / (len(p) + len(t)),
        "iou": len(p & t) / len(p | t),
        "sensitivity": len(p & t) / len(t),
        "specificity": (pred.size - len(p | t)) / background if background else np.nan,
        "precision": len(p & t) / len(p),
        "over_rate": len(p - t) / len(t),
        "under_rate": len(t - p) / len(t),
        "volume_error": abs(len(p) - len(t)) / len(t),
        "hd": max(directed_hausdorff(a, b)[0], directed_hausdorff(b, a)[0]),
        "hd95": max(np.percentile(there, 95), np.percentile(back, 95)),
        "assd": both.mean(),
        "nsd": (both <= TOLERANCE).mean(),
        "centroid_distance": np.linalg.norm(np.subtract(*centres)),
        **brute_lesions(pred, target),
    }


def brute_lesions(pred, target):
    connected = np.ones((3,) * pred.ndim)
    p, n_p = ndimage.label(pred, connected)
    t, n_t = ndimage.label(target, connected)
    table = np.array(
        [
            [np.sum((p == i) & (t == j)) / np.sum((p == i) | (t == j)) for j in range(1, n_t + 1)]
            for i in range(1, n_p + 1)
        ]
    )
    ious = []
    while table.size and table.max() >= 0.1:
        i, j = np.unravel_index(table.argmax(), table.shape)
        ious.append(table[i, j])
        table[i], table[:, j] = 0, 0
    dices = [2 * iou / (1 + iou) for iou in ious]
    return {
        "lesion_precision": len(ious) / n_p,
        "lesion_recall": len(ious) / n_t,
        "lesion_f1": 2 * len(ious) / (n_p + n_t),
        "lesion_dice": np.mean(dices) if dices else 0.0,
    }


@pytest.mark.parametrize("number", SIZES)
def test_every_metric_is_what_brute_force_gives(number):
    compared = 0
    for pred, target, spacing in random_pairs(number, seed=0):
        if pred.any() and target.any():
            found = evaluate(pred, target, spacing, nsd_tolerance=TOLERANCE)
            expected = brute(pred, target, spacing)
            assert list(expected) == OWN
            for name in OWN:
                assert found[name] == pytest.approx(expected[name], abs=1e-9, nan_ok=True), name
            compared += 1
    assert compared > 0.6 * number


def by_monai(pred, target, spacing):
    p, t = (torch.from_numpy(mask)[None, None].float() for mask in (pred, target))
    step = list(spacing)
    matrix = get_confusion_matrix(p, t)
    names = ("sensitivity", "specificity", "precision")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of every empty mask
        tensors = {
            "dice": compute_dice(p, t),
            "iou": compute_iou(p, t),
            **{name: compute_confusion_matrix_metric(name, matrix) for name in names},
            "hd": compute_hausdorff_distance(p, t, spacing=step),
            "hd95": compute_hausdorff_distance(p, t, spacing=step, percentile=95),
            "assd": compute_average_surface_distance(p, t, spacing=step, symmetric=True),
            "nsd": compute_surface_dice(p, t, [TOLERANCE], spacing=step),
        }
    return {name: tensor.item() for name, tensor in tensors.items()}


@pytest.mark.parametrize("number", SIZES)
def test_metrics_that_monai_has_agree_with_it_empty_masks_included(number):
    """By policy ``monai``: what is out, 0 or infinite there is out, 0 or infinite here."""
    states = set()
    for pred, target, spacing in random_pairs(number, seed=1):
        expected = by_monai(pred, target, spacing)
        names = list(expected)
        found = evaluate(pred, target, spacing, names, "monai", nsd_tolerance=TOLERANCE)
        for name in names:
            bound = 2e-5 if name == "hd95" else 1e-6  # MONAI interpolates in 32 bits
            near = pytest.approx(expected[name], rel=bound, abs=bound, nan_ok=True)
            assert found[name] == near, (name, pred, target)
        states.add((bool(pred.any()), bool(target.any())))
    assert len(states) == 4
