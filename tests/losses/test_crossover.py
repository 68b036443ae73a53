"""The crossover loss: which rows, values worked out by hand, the released slip, equal taps."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from crosslinknet.errors import ShapeError
from crosslinknet.losses.crossover import common_rows, crossover_loss, special_rows

# Two pixels, one feature, six rows; against zeros. Common rows are 1..4, special rows 0 and 5.
PAIR = torch.tensor([[[3.0, 0, 0, 0, 0, 0]], [[4.0, 1, 0, 0, 0, 2]]])


def against_zeros(vertical, **options):
    return crossover_loss(vertical, torch.zeros_like(vertical), **options).item()


@pytest.mark.parametrize(
    ("length", "common", "symmetric", "special"),
    [
        (19, range(7, 11), range(7, 12), [0, 1, 2, 16, 17, 18]),
        (35, range(15, 19), range(15, 20), [*range(7), *range(28, 35)]),
        (34, range(15, 19), range(15, 19), [*range(6), *range(28, 34)]),
        (6, range(1, 5), range(1, 5), [0, 5]),
    ],
)
def test_common_rows_lie_in_the_middle_and_special_rows_at_the_ends(
    length, common, symmetric, special
):
    assert common_rows(length) == common
    assert common_rows(length, symmetric=True) == symmetric
    assert sum(symmetric) / len(symmetric) == (length - 1) / 2
    assert special_rows(length) == special


@pytest.mark.parametrize("length", range(6, 60))
def test_no_row_is_both_common_and_special(length):
    rows = [*common_rows(length, symmetric=True), *special_rows(length)]
    assert len(set(rows)) == len(rows)
    assert set(rows) <= set(range(length))


@pytest.mark.parametrize("batch_mean", [True, False])
def test_the_loss_is_as_worked_out_by_hand(batch_mean):
    # Distances over the batch 5, 1, 0, 0, 0, 2 (root of sums); scaled 1, 0.2, 0, 0, 0, 0.4.
    assert against_zeros(PAIR, batch_mean=batch_mean) == pytest.approx(0.05 - 0.7, abs=1e-5)


def test_the_release_adds_up_what_lies_side_by_side():
    # Squares 9 0 | 0 0 | 0 0 | 16 1 | 0 0 | 0 4: distances 3, 0, 0, root of 17, 0, 2.
    expected = 0.25 - 2.5 / math.sqrt(17)
    assert against_zeros(PAIR, form="released") == pytest.approx(expected, abs=1e-5)


def test_the_release_is_right_for_one_pixel_only():
    torch.manual_seed(0)
    vertical, horizontal = torch.rand(2, 7, 64, 19)
    intended = crossover_loss(vertical, horizontal)
    assert not torch.isclose(crossover_loss(vertical, horizontal, form="released"), intended)
    one = (vertical[:1], horizontal[:1])
    assert torch.equal(crossover_loss(*one, form="released"), crossover_loss(*one))


def test_the_loss_agrees_with_the_formula_written_out():
    torch.manual_seed(0)
    v, h = torch.rand(2, 5, 3, 19, dtype=torch.float64)
    d = [[math.dist(v[:, c, i], h[:, c, i]) for i in range(19)] for c in range(3)]
    low, high = min(map(min, d)), max(map(max, d))
    scaled = [[(value - low) / (high - low) for value in row] for row in d]
    common = sum(row[i] for row in scaled for i in (7, 8, 9, 10)) / 12
    special = sum(row[i] for row in scaled for i in (0, 1, 2, 16, 17, 18)) / 18
    assert crossover_loss(v, h).item() == pytest.approx(common - special, abs=1e-5)


def test_symmetric_counts_row_11_too():
    vertical = torch.zeros(1, 1, 19)
    vertical[..., 11] = 1.0
    assert against_zeros(vertical) == 0.0
    assert against_zeros(vertical, form="symmetric") == pytest.approx(1 / 5, abs=1e-5)


def test_a_larger_batch_of_the_same_pixels_has_the_same_loss():
    # The factor between sum and mean, the root of the batch, is taken out by the scaling.
    torch.manual_seed(0)
    vertical, horizontal = torch.rand(2, 4, 8, 19)
    for batch_mean in (True, False):
        small = crossover_loss(vertical, horizontal, batch_mean=batch_mean)
        large = crossover_loss(
            vertical.repeat(50, 1, 1), horizontal.repeat(50, 1, 1), batch_mean=batch_mean
        )
        torch.testing.assert_close(large, small, atol=1e-5, rtol=0)
    by_mean, by_sum = (crossover_loss(vertical, horizontal, batch_mean=b) for b in (True, False))
    torch.testing.assert_close(by_mean, by_sum, atol=1e-5, rtol=0)


def test_the_published_sum_differs_from_the_mean_only_in_what_counts_as_no_distance():
    vertical = torch.zeros(100, 1, 19)
    vertical[..., 7:11] = 1e-6  # as small as TINY
    mean = (2**0.5 - 1) / 2**0.5
    assert against_zeros(vertical) == pytest.approx(mean, abs=1e-3)
    root = 101**0.5 - 1
    assert against_zeros(vertical, batch_mean=False) == pytest.approx(root / (root + 1), abs=1e-3)


def test_the_two_sides_are_alike():
    torch.manual_seed(0)
    vertical, horizontal = torch.rand(2, 4, 8, 19)
    assert torch.equal(crossover_loss(vertical, horizontal), crossover_loss(horizontal, vertical))


@pytest.mark.parametrize("form", ["paper", "symmetric", "released"])
@pytest.mark.parametrize("value", [0.0, 0.3], ids=["dead", "alive"])
def test_equal_taps_give_zero_with_zero_gradient(form, value):
    taps = [torch.full((4, 8, 19), value, requires_grad=True) for _ in range(2)]
    loss = crossover_loss(*taps, form=form)
    assert loss.item() == 0.0
    for grad in torch.autograd.grad(loss, taps):
        assert torch.equal(grad, torch.zeros_like(grad))


def test_taps_that_are_equal_in_some_rows_have_a_finite_gradient():
    torch.manual_seed(0)
    vertical = torch.rand(4, 8, 19, requires_grad=True)
    horizontal = vertical.detach().clone()
    horizontal[..., 3:9] += 0.1
    (grad,) = torch.autograd.grad(crossover_loss(vertical, horizontal), vertical)
    assert torch.isfinite(grad).all()
    assert grad[..., 7:9].any()


def test_a_step_downhill_joins_the_middle_and_parts_the_ends():
    torch.manual_seed(0)
    vertical = torch.rand(1, 8, 19, requires_grad=True)
    horizontal = torch.rand(1, 8, 19)
    (grad,) = torch.autograd.grad(crossover_loss(vertical, horizontal), vertical)
    before = (vertical - horizontal).abs().detach()
    after = (vertical - 0.1 * grad - horizontal).abs().detach()
    assert after[..., 7:11].sum() < before[..., 7:11].sum()
    assert after[..., special_rows(19)].sum() > before[..., special_rows(19)].sum()


def test_gradients_agree_with_finite_differences():
    torch.manual_seed(0)
    taps = [torch.rand(3, 2, 19, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    for form in ("paper", "symmetric", "released"):
        assert torch.autograd.gradcheck(lambda v, h, f=form: crossover_loss(v, h, f), taps)


@settings(max_examples=50, deadline=None)
@given(arrays("float32", (2, 3, 2, 7), elements=st.floats(-1000, 1000, width=32)))
def test_whatever_comes_the_loss_and_its_gradient_are_finite(taps):
    vertical, horizontal = (torch.from_numpy(tap.copy()).requires_grad_() for tap in taps)
    loss = crossover_loss(vertical, horizontal)
    assert -1 <= loss.item() <= 1
    for grad in torch.autograd.grad(loss, (vertical, horizontal)):
        assert torch.isfinite(grad).all()


@pytest.mark.parametrize("shape", [(2, 8, 18), (1, 8, 19), (2, 8, 19, 1)])
def test_taps_of_different_shapes_are_an_error_not_a_broadcast(shape):
    with pytest.raises(ShapeError, match=r"\(2, 8, 19\)"):
        crossover_loss(torch.zeros(2, 8, 19), torch.zeros(shape))


def test_a_tap_too_short_to_have_both_kinds_of_rows_is_refused():
    with pytest.raises(ShapeError, match="at least 6 rows"):
        crossover_loss(torch.zeros(2, 8, 5), torch.zeros(2, 8, 5))
