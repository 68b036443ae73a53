"""Soft Dice as Eq. (4) prints it, and the thresholded one of the released code."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from crosslinknet.losses.overlap import released_dice, soft_dice


def picture(*values):
    """One image of one row."""
    return torch.tensor(values, dtype=torch.float32).view(1, 1, 1, -1)


def test_soft_dice_of_a_worked_case():
    probs, target = picture(0.5, 1.0, 0.0, 0.5), picture(1.0, 1.0, 0.0, 0.0)
    # intersection 1.5, areas 2 + 2, smoothing 1 below the line only
    assert soft_dice(probs, target).item() == pytest.approx(1 - 3 / 5)
    assert soft_dice(probs, target, smooth="both").item() == pytest.approx(1 - 4 / 5)
    assert soft_dice(probs, target, eps=0.5).item() == pytest.approx(1 - 3 / 4.5)


def test_soft_dice_is_taken_per_image_and_class_then_averaged():
    rng = np.random.default_rng(0)
    p, g = rng.random((3, 2, 5, 4)), rng.random((3, 2, 5, 4)) > 0.5
    each = [
        1 - 2 * (p[n, k] * g[n, k]).sum() / (p[n, k].sum() + g[n, k].sum() + 1)
        for n in range(3)
        for k in range(2)
    ]
    found = soft_dice(torch.from_numpy(p), torch.from_numpy(g).double())
    assert found.item() == pytest.approx(np.mean(each))


def test_an_empty_mask_costs_one_and_moves_nothing():
    probs = torch.full((1, 1, 4, 4), 0.3, requires_grad=True)
    loss = soft_dice(probs, torch.zeros(1, 1, 4, 4))
    loss.backward()
    assert loss.item() == 1.0
    assert not probs.grad.any()


def test_smoothing_above_the_line_gives_an_empty_mask_a_gradient():
    probs = torch.full((1, 1, 4, 4), 0.3, requires_grad=True)
    loss = soft_dice(probs, torch.zeros(1, 1, 4, 4), smooth="both")
    loss.backward()
    assert loss.item() == pytest.approx(1 - 1 / 5.8)
    assert (probs.grad > 0).all()  # towards background
    assert soft_dice(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4), smooth="both") == 0.0


def test_a_perfect_prediction_approaches_zero_as_the_target_grows():
    for side in (1, 10, 100):
        g = torch.ones(1, 1, side, side)
        assert soft_dice(g, g).item() == pytest.approx(1 / (2 * side**2 + 1), rel=1e-3, abs=1e-7)


def test_gradients_agree_with_finite_differences():
    probs = torch.rand(2, 2, 4, 3, dtype=torch.float64, requires_grad=True)
    target = (torch.rand(2, 2, 4, 3) > 0.5).double()
    for smooth in ("denominator", "both"):
        assert torch.autograd.gradcheck(lambda p, s=smooth: soft_dice(p, target, smooth=s), probs)


unit = arrays(np.float32, (2, 2, 3, 4), elements=st.floats(0, 1, width=32))


@settings(max_examples=100, deadline=None)
@given(p=unit, g=unit)
def test_soft_dice_lies_between_zero_and_one_and_does_not_tell_pred_from_target(p, g):
    p, g = torch.from_numpy(p), torch.from_numpy(g)
    for smooth in ("denominator", "both"):
        loss = soft_dice(p, g, smooth=smooth).item()
        assert -1e-6 <= loss <= 1.0
        assert loss == pytest.approx(soft_dice(g, p, smooth=smooth).item(), abs=1e-6)


# The released form: 1 - 2 (I + 1) / (S + G + 1) on predictions above 0.4.


def test_released_dice_counts_pixels_above_0_4():
    probs, target = picture(0.39, 0.41, 0.9, 0.4), picture(1.0, 1.0, 0.0, 0.0)
    assert released_dice(probs, target).item() == pytest.approx(1 - 2 * 2 / (2 + 2 + 1))


@pytest.mark.parametrize("on", [1, 10, 1000])
def test_a_perfect_released_dice_is_negative(on):
    g = torch.zeros(1, 1, 64, 64)
    g.view(-1)[:on] = 1.0
    expected = 1 - 2 * (on + 1) / (2 * on + 1)
    assert released_dice(g, g).item() == pytest.approx(expected, abs=1e-6)
    assert expected < 0


def test_released_dice_of_two_empty_masks_is_minus_one():
    empty = torch.zeros(1, 1, 8, 8)
    assert released_dice(empty, empty).item() == -1.0


@pytest.mark.parametrize("on", [0, 7, 64, 256])
def test_undecided_predictions_count_as_foreground_in_released_dice(on):
    g = torch.zeros(1, 1, 16, 16)
    g.view(-1)[:on] = 1.0
    expected = 1 - 2 * (on + 1) / (256 + on + 1)
    assert released_dice(torch.full_like(g, 0.5), g).item() == pytest.approx(expected, abs=1e-6)


def test_released_dice_has_no_gradient():
    probs = torch.rand(1, 1, 8, 8, requires_grad=True)
    assert not released_dice(probs, torch.ones(1, 1, 8, 8)).requires_grad


def test_released_dice_averages_images_and_classes():
    rng = np.random.default_rng(1)
    p, g = rng.random((3, 2, 5, 4)), rng.random((3, 2, 5, 4)) > 0.5
    s = p > 0.4
    each = [
        1 - 2 * ((s & g)[n, k].sum() + 1) / (s[n, k].sum() + g[n, k].sum() + 1)
        for n in range(3)
        for k in range(2)
    ]
    found = released_dice(torch.from_numpy(p), torch.from_numpy(g).double())
    assert found.item() == pytest.approx(np.mean(each))
