"""Inf-Net's structure loss against a plain rewriting, and the contour."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from crosslinknet.config import LossConfig
from crosslinknet.errors import UsageError
from crosslinknet.losses import SegmentationLoss
from crosslinknet.losses.structure import contour, structure_loss


def example():
    torch.manual_seed(0)
    target = torch.zeros(2, 1, 40, 48)
    target[0, 0, 5:20, 8:30] = 1
    target[1, 0, :4, :4] = 1
    return torch.randn(2, 1, 40, 48), target


def by_hand(logits, target, weighted=True):
    """One image in NumPy: logits and target (H, W)."""
    around = ndimage.uniform_filter(np.pad(target, 15), 31, mode="constant")[15:-15, 15:-15]
    weight = 1 + 5 * np.abs(around - target)
    p = 1 / (1 + np.exp(-logits))
    cross = -(target * np.log(p) + (1 - target) * np.log(1 - p))
    mean = (weight * cross).sum() / weight.sum() if weighted else cross.mean()
    inside, both = (weight * p * target).sum(), (weight * (p + target)).sum()
    return mean + 1 - (inside + 1) / (both - inside + 1)


@pytest.mark.parametrize("weighted", [True, False])
def test_the_loss_is_the_mean_over_images_of_the_formula(weighted):
    logits, target = example()
    expected = np.mean(
        [by_hand(*(t[i, 0].double().numpy() for t in (logits, target)), weighted) for i in (0, 1)]
    )
    found = structure_loss(logits, target, weighted=weighted)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_an_empty_mask_weighs_all_pixels_alike():
    logits, target = example()
    empty = torch.zeros_like(target)
    plain = structure_loss(logits, empty, weighted=False)
    torch.testing.assert_close(structure_loss(logits, empty), plain)


def test_a_contour_is_the_mask_without_its_erosion():
    _, target = example()
    for mask, found in zip(target[:, 0].numpy(), contour(target)[:, 0].numpy(), strict=True):
        inner = ndimage.binary_erosion(mask, np.ones((3, 3)), border_value=1)
        np.testing.assert_array_equal(found, mask - inner)


def test_sides_and_the_edge_are_weighed_beside_the_logits():
    logits, target = example()
    config = LossConfig(bce=1, dice=0, attention=0, sides=0.5, edge=2)
    loss = SegmentationLoss(config)
    alone = loss(target, logits).total
    twice = loss(target, logits, sides=(logits, logits), side_weights=(1.0, 0.4)).total
    assert twice.item() == pytest.approx(alone.item() * (1 + 0.5 * 1.4), rel=1e-6)
    assert loss(target, logits, sides=(logits,)).total.item() == pytest.approx(1.5 * alone.item())
    edge = loss(target, logits, edge=logits).total
    of_edge = SegmentationLoss(config)(contour(target), logits).total
    assert edge.item() == pytest.approx((alone + 2 * of_edge).item(), rel=1e-6)
    off = SegmentationLoss(LossConfig(bce=1, dice=0, attention=0, sides=0, edge=0))
    assert torch.equal(off(target, logits, sides=(logits,), edge=logits).total, alone)


def test_pixels_that_the_network_chose_are_the_target_in_the_place_of_the_mask():
    _, mask = example()
    chosen, target = torch.randn(2, 1, 9, 1), torch.ones(2, 1, 9, 1)
    loss = SegmentationLoss(LossConfig(bce=1, dice=0, attention=0))
    expected = torch.nn.functional.softplus(-chosen).mean()
    assert loss(mask, chosen, target).total.item() == pytest.approx(expected.item(), rel=1e-6)


def test_the_structure_loss_can_be_asked_for_and_not_with_softmax():
    logits, target = example()
    config = LossConfig(bce=0, dice=0, attention=0, structure=1)
    total = SegmentationLoss(config)(target, logits).total
    assert torch.equal(total, structure_loss(logits, target))
    with pytest.raises(UsageError, match=r"loss\.structure weighs pixels of single maps"):
        SegmentationLoss(config.model_copy(update={"classes": "softmax"}))
    released = config.model_copy(update={"structure_form": "released"})
    total = SegmentationLoss(released)(target, logits).total
    assert torch.equal(total, structure_loss(logits, target, weighted=False))


def test_the_structure_loss_needs_neighbours():
    _, mask = example()
    loss = SegmentationLoss(LossConfig(bce=0, dice=0, attention=0, structure=1))
    with pytest.raises(UsageError, match="looks at the neighbourhood of pixels"):
        loss(mask, torch.zeros(2, 1, 9, 1), torch.ones(2, 1, 9, 1))
