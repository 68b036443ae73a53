import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from crosslinknet.errors import ShapeError
from crosslinknet.metrics.surface import (
    diagonal,
    hausdorff,
    hausdorff_95,
    surface,
    surface_distances,
)

from .strategies import SPACINGS, pairs, unhurried


def hd(pred, target, spacing):
    return hausdorff(surface_distances(pred, target, spacing))


def hd95(pred, target, spacing):
    return hausdorff_95(surface_distances(pred, target, spacing))


def brute_force(pred, target, spacing):
    """Sorted directed distances, point by point, from the definition."""

    def outline(mask):
        for point in np.argwhere(mask):
            for axis in range(mask.ndim):
                for step in (-1, 1):
                    near = point.copy()
                    near[axis] += step
                    inside = (near >= 0).all() and (near < mask.shape).all()
                    if not inside or not mask[tuple(near)]:
                        yield tuple(point)

    a, b = set(outline(pred)), set(outline(target))

    a, b = ([tuple(np.multiply(p, spacing)) for p in points] for points in (a, b))
    return (
        sorted(min(math.dist(p, q) for q in b) for p in a),
        sorted(min(math.dist(p, q) for p in a) for q in b),
    )


def random_pair(rng, shape):
    """Blobs, noise, single pixels and full masks."""
    kind = rng.integers(4)
    masks = rng.random((2, *shape)) < rng.uniform(0.02, 0.6)
    if kind == 0:
        smooth = [ndimage.gaussian_filter(rng.normal(size=shape), 1.5) for _ in range(2)]
        masks = np.array([s > np.quantile(s, 0.7) for s in smooth])
    elif kind == 1:
        masks[:] = False
    elif kind == 2:
        masks[rng.integers(2)] = True
    for mask in masks:
        if not mask.any():
            mask[tuple(rng.integers(n) for n in shape)] = True
    return masks[0], masks[1]


def random_pairs(number, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(number):
        shape = tuple(rng.integers(4, 24, size=rng.integers(2, 4)))
        yield (*random_pair(rng, shape), tuple(rng.uniform(0.4, 5.0, size=len(shape))))


@pytest.mark.parametrize(("spacing", "distance"), [((1.0, 1.0), 5.0), ((0.9, 1.6), 8.0)])
def test_two_squares_that_differ_by_five_columns_and_two_rows(spacing, distance):
    pred, target = np.zeros((2, 40, 40), dtype=bool)
    target[10:20, 10:20] = True
    pred[12:20, 10:25] = True
    assert hd(pred, target, spacing) == distance


def test_hd95_is_the_larger_directed_percentile_and_not_the_pooled_one():
    target, pred = np.zeros((2, 1, 30), dtype=bool)
    target[0, :20] = True  # 20 points, all surface, 19 of them shared
    pred[0, 1:20] = pred[0, 23] = True  # 20 points, one of them 4 away
    to_target, to_pred = surface_distances(pred, target, (1.0, 1.0))
    assert sorted(to_target) == [0.0] * 19 + [4.0]
    assert sorted(to_pred) == [0.0] * 19 + [1.0]
    # The 95th percentile of 20 values lies 0.05 of the way from the 19th to the 20th.
    assert hausdorff_95((to_target, to_pred)) == pytest.approx(0.05 * 4)
    # Of all 40 together: 0.05 of the way from the 38th, 0, to the 39th, 1.
    pooled = np.percentile(np.concatenate([to_target, to_pred]), 95)
    assert pooled == pytest.approx(0.05)


def test_pixels_at_the_border_of_the_image_are_surface():
    full = np.ones((5, 6), dtype=bool)
    assert surface(full).sum() == 18
    assert surface(np.ones((3, 3, 3), dtype=bool)).sum() == 26


def test_masks_that_fill_the_image_measure_from_its_border():
    full, middle = np.ones((5, 5), dtype=bool), np.zeros((5, 5), dtype=bool)
    middle[2, 2] = True
    assert hd(full, middle, (1.0, 1.0)) == math.hypot(2, 2)


def test_single_pixels_in_opposite_corners_are_almost_a_diagonal_apart():
    a, b = np.zeros((2, 4, 5, 7), dtype=bool)
    a[0, 0, 0] = b[-1, -1, -1] = True
    spacing = (5.0, 0.7, 0.8)
    assert hd(a, b, spacing) == pytest.approx(math.hypot(3 * 5.0, 4 * 0.7, 6 * 0.8))
    assert hd(a, b, spacing) < diagonal(a.shape, spacing)


def test_spacing_follows_the_order_of_the_axes():
    a, b = np.zeros((2, 9, 9), dtype=bool)
    a[0, 0] = b[3, 0] = True
    assert hd(a, b, (2.0, 7.0)) == 6.0
    assert hd(a.T, b.T, (7.0, 2.0)) == 6.0


@pytest.mark.parametrize("empty", ["pred", "target"])
def test_an_empty_mask_has_no_surface(empty):
    full, none = np.ones((3, 3), dtype=bool), np.zeros((3, 3), dtype=bool)
    pair = (none, full) if empty == "pred" else (full, none)
    with pytest.raises(ShapeError, match="is empty"):
        surface_distances(*pair, (1.0, 1.0))


def test_a_spacing_of_the_wrong_length_is_refused():
    mask = np.ones((3, 3), dtype=bool)
    with pytest.raises(ShapeError, match="one spacing per axis"):
        surface_distances(mask, mask, (1.0, 1.0, 1.0))


@unhurried
@given(pairs(empty=False))
def test_surface_agrees_with_an_erosion_of_scipy(pair):
    mask = pair[0]
    eroded = ndimage.binary_erosion(mask, border_value=0)
    assert np.array_equal(surface(mask), mask & ~eroded)


@unhurried
@given(pairs(empty=False))
def test_distances_agree_with_brute_force(pair):
    pred, target, spacing = pair
    for ours, theirs in zip(
        surface_distances(*pair), brute_force(pred, target, spacing), strict=True
    ):
        assert sorted(ours) == pytest.approx(theirs, abs=1e-9)


def test_distances_agree_with_a_distance_transform():
    for pred, target, spacing in random_pairs(300):
        edges = [mask & ~ndimage.binary_erosion(mask, border_value=0) for mask in (pred, target)]
        far = [ndimage.distance_transform_edt(~edge, sampling=spacing) for edge in edges]
        to_target, to_pred = surface_distances(pred, target, spacing)
        assert np.allclose(sorted(to_target), sorted(far[1][edges[0]]), rtol=0, atol=1e-9)
        assert np.allclose(sorted(to_pred), sorted(far[0][edges[1]]), rtol=0, atol=1e-9)


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")  # MONAI's own
def test_hd_and_hd95_agree_with_monai():
    from monai.metrics import compute_hausdorff_distance

    torch.set_num_threads(1)
    for pred, target, spacing in random_pairs(100, seed=1):
        p, t = (torch.from_numpy(mask[None, None]) for mask in (pred, target))
        for percentile, ours in ((None, hd), (95, hd95)):
            theirs = compute_hausdorff_distance(
                p, t, include_background=True, percentile=percentile, spacing=list(spacing)
            )
            assert ours(pred, target, spacing) == pytest.approx(theirs.item(), rel=1e-5, abs=1e-5)


@unhurried
@given(pairs(empty=False))
def test_distances_are_symmetric_bounded_and_zero_for_equal_masks(pair):
    pred, target, spacing = pair
    assert hd(pred, target, spacing) == hd(target, pred, spacing)
    assert hd95(pred, target, spacing) == hd95(target, pred, spacing)
    assert 0 <= hd95(pred, target, spacing) <= hd(pred, target, spacing)
    assert hd(pred, target, spacing) < diagonal(pred.shape, spacing)
    assert hd(pred, pred, spacing) == hd95(target, target, spacing) == 0


@unhurried
@given(pairs(empty=False), SPACINGS, st.sampled_from((0.1, 3.0, 7.5)))
def test_distances_scale_with_an_isotropic_spacing(pair, step, factor):
    pred, target, _ = pair
    one = surface_distances(pred, target, (step,) * pred.ndim)
    other = surface_distances(pred, target, (step * factor,) * pred.ndim)
    assert hausdorff(other) == pytest.approx(factor * hausdorff(one))
    assert hausdorff_95(other) == pytest.approx(factor * hausdorff_95(one))


@unhurried
@given(pairs(empty=False), st.integers(0, 3), st.integers(0, 3))
def test_moving_both_masks_or_mirroring_them_changes_nothing(pair, before, behind):
    pred, target, spacing = pair
    moved = [np.pad(mask, (before, behind)) for mask in (pred, target)]
    mirrored = [np.flip(mask) for mask in (pred, target)]
    assert hd(*moved, spacing) == hd(pred, target, spacing)
    assert hd(*mirrored, spacing) == hd(pred, target, spacing)
