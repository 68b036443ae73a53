"""Cross-entropy from logits, binary and for exclusive classes."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch.nn import functional as F

from crosslinknet.losses.cross_entropy import bce, softmax_cross_entropy


def test_undecided_logits_cost_ln_2_whatever_the_target():
    z = torch.zeros(2, 3, 4, 5)
    assert bce(z, torch.rand_like(z)).item() == pytest.approx(math.log(2))


def test_bce_is_softplus_minus_the_product_averaged_over_all_pixels():
    z = torch.tensor([[[[2.0, -1.0]]]])
    g = torch.tensor([[[[1.0, 0.25]]]])
    expected = (math.log1p(math.exp(2)) - 2 + math.log1p(math.exp(-1)) + 0.25) / 2
    assert bce(z, g).item() == pytest.approx(expected)


def test_bce_of_moderate_logits_is_that_of_probabilities():
    torch.manual_seed(0)
    z, g = 3 * torch.randn(2, 2, 8, 8), torch.rand(2, 2, 8, 8)
    assert bce(z, g).item() == pytest.approx(F.binary_cross_entropy(z.sigmoid(), g).item())


def test_bce_stays_finite_for_huge_logits():
    z = torch.tensor([[[[1e4, -1e4, 1e4, -1e4]]]], requires_grad=True)
    loss = bce(z, torch.tensor([[[[1.0, 0.0, 0.0, 1.0]]]]))
    loss.backward()
    assert loss.item() == 5000.0
    assert z.grad.flatten().tolist() == [0.0, 0.0, 0.25, -0.25]


def test_the_gradient_of_bce_is_the_error_over_the_pixels():
    z = torch.randn(2, 1, 5, 7, requires_grad=True)
    g = torch.rand(2, 1, 5, 7)
    bce(z, g).backward()
    torch.testing.assert_close(z.grad, (z.detach().sigmoid() - g) / z.numel())


def test_on_512_pixels_the_gradient_of_bce_starts_at_a_thousandth():
    torch.manual_seed(0)
    z = torch.randn(1, 1, 512, 512, requires_grad=True)
    bce(z, (torch.rand_like(z) < 0.05).float()).backward()
    assert z.grad.norm().item() == pytest.approx(1e-3, rel=0.15)


logits = arrays(np.float32, (1, 2, 3, 4), elements=st.floats(-100, 100, width=32))
targets = arrays(np.float32, (1, 2, 3, 4), elements=st.floats(0, 1, width=32))


@settings(max_examples=100, deadline=None)
@given(z=logits, g=targets)
def test_bce_agrees_with_numpy_and_is_never_negative(z, g):
    expected = np.mean(np.logaddexp(0, z.astype(np.float64)) - z.astype(np.float64) * g)
    found = bce(torch.from_numpy(z), torch.from_numpy(g)).item()
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert found >= 0


def test_softmax_over_two_maps_is_bce_of_their_difference():
    torch.manual_seed(0)
    z = torch.randn(2, 2, 6, 5)
    g = (torch.rand(2, 1, 6, 5) > 0.5).float()
    expected = bce(z[:, 1:] - z[:, :1], g).item()
    assert softmax_cross_entropy(z, torch.cat([1 - g, g], dim=1)).item() == pytest.approx(expected)


def test_undecided_logits_of_four_exclusive_maps_cost_ln_4():
    target = F.one_hot(torch.randint(0, 4, (2, 3, 5)), 4).permute(0, 3, 1, 2).float()
    assert softmax_cross_entropy(torch.zeros(2, 4, 3, 5), target).item() == pytest.approx(
        math.log(4)
    )
