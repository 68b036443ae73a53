"""Eq. (2): the sum, the released form, several classes, and everything in float32."""

import math
import warnings

import pytest
import torch
from torch.nn import functional as F

from crosslinknet.config import LossConfig
from crosslinknet.errors import ShapeError, UsageError
from crosslinknet.losses import SegmentationLoss, attention_loss, bce, combined, soft_dice
from crosslinknet.losses.attention import pool_mask
from crosslinknet.losses.overlap import released_dice
from crosslinknet.models import build_model

FORMS = ["eq1", "pairwise", "released"]


def example(batch=2, classes=1, size=(64, 48), blocks=(3,)):
    """Logits, maps of two branches per block, and a target of boxes."""
    torch.manual_seed(0)
    logits = torch.randn(batch, classes, *size, requires_grad=True)
    target = torch.zeros(batch, classes, *size)
    for n in range(batch):
        for k in range(classes):
            target[n, k, 8 + 4 * n : 28, 8 * k + 8 : 8 * k + 30] = 1.0
    maps = []
    for block in blocks:
        shape = (batch, 1, size[0] >> (block - 1), size[1] >> (block - 1))
        maps.append([torch.randn(shape, requires_grad=True) for _ in range(2)])
    return logits, maps, target


def test_the_defaults_are_the_weights_of_table_ii():
    assert SegmentationLoss(LossConfig()).weights == (0.4, 0.1, 0.5)


@pytest.mark.parametrize("form", ["eq1", "pairwise"])
def test_the_loss_is_the_weighted_sum_of_its_three_parts(form):
    logits, maps, target = example()
    parts = SegmentationLoss(LossConfig(form=form))(target, logits, maps=maps)
    attention, _ = attention_loss(maps[0], pool_mask(target, 3), form)
    assert parts.bce.item() == pytest.approx(bce(logits, target).item())
    assert parts.dice.item() == pytest.approx(soft_dice(logits.sigmoid(), target).item())
    assert parts.attention.item() == pytest.approx(attention.item())
    expected = 0.4 * parts.bce + 0.1 * parts.dice + 0.5 * parts.attention
    assert parts.total.item() == pytest.approx(expected.item())
    assert parts.valid_images == 2
    assert parts.total.requires_grad
    assert not any(part.requires_grad for part in (parts.bce, parts.dice, parts.attention))


def test_several_blocks_count_by_their_mean():
    blocks = [1, 2, 3, 4, 5]
    logits, maps, target = example(blocks=blocks)
    parts = SegmentationLoss(LossConfig(form="eq1", blocks=blocks))(target, logits, maps=maps)
    each = [
        attention_loss(scores, pool_mask(target, block))[0].item()
        for block, scores in zip(blocks, maps, strict=True)
    ]
    assert parts.attention.item() == pytest.approx(sum(each) / 5)


def test_smoothing_of_dice_is_taken_from_the_configuration():
    logits, maps, target = example()
    target[1] = 0.0
    parts = SegmentationLoss(LossConfig(dice_smooth="both"))(target, logits, maps=maps)
    expected = soft_dice(logits.sigmoid(), target, smooth="both").item()
    assert parts.dice.item() == pytest.approx(expected)
    assert expected != pytest.approx(soft_dice(logits.sigmoid(), target).item(), abs=1e-6)


def test_without_attention_weight_no_maps_are_needed_and_none_are_looked_at():
    logits, _, target = example()
    loss = SegmentationLoss(LossConfig(bce=0.5, dice=0.5, attention=0))
    assert not loss.needs_maps
    parts = loss(target, logits)
    assert (parts.attention.item(), parts.valid_images) == (0.0, 0)
    assert parts.total.item() == pytest.approx((0.5 * parts.bce + 0.5 * parts.dice).item())
    assert SegmentationLoss(LossConfig()).needs_maps


def test_weights_that_do_not_sum_to_one_warn_and_go_on():
    with pytest.warns(UserWarning, match=r"\(1.0, 1.0, 0.0\) sum to 2"):
        loss = SegmentationLoss(LossConfig(bce=1, dice=1, attention=0))
    logits, _, target = example()
    parts = loss(target, logits)
    assert parts.total.item() == pytest.approx((parts.bce + parts.dice).item())


def test_weights_that_sum_to_one_up_to_rounding_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SegmentationLoss(LossConfig(bce=0.7, dice=0.1, attention=0.2))
        SegmentationLoss(LossConfig(bce=1, dice=1, attention=1, form="released"))  # has its own


# The released form.


def test_the_released_value_is_that_of_the_authors_weights_and_terms():
    logits, maps, target = example()
    parts = SegmentationLoss(LossConfig(form="released"))(target, logits, maps=maps)
    attention, _ = attention_loss(maps[0], pool_mask(target, 3), "eq1")
    cross = F.binary_cross_entropy(logits.sigmoid(), target)  # on probabilities, as they do
    dice = released_dice(logits.sigmoid(), target)
    expected = 0.2 * cross + 0.3 * dice + 0.5 * attention
    assert parts.total.item() == pytest.approx(expected.item(), rel=1e-5)
    assert parts.attention.item() == pytest.approx(attention.item())


def test_undecided_logits_have_the_released_closed_forms():
    _, maps, target = example(batch=1)
    on, pixels = int(target.sum()), target.numel()
    parts = SegmentationLoss(LossConfig(form="released"))(
        target, torch.zeros_like(target), maps=maps
    )
    assert parts.bce.item() == pytest.approx(math.log(2))
    assert parts.dice.item() == pytest.approx(1 - 2 * (on + 1) / (pixels + on + 1))


def test_the_released_gradient_is_exactly_a_fifth_of_that_of_bce():
    torch.manual_seed(0)
    model = build_model("crosslink-net", widths=(4, 8, 8, 12, 16)).train()
    _, _, target = example(size=(64, 64))
    image = target + 0.3 * torch.randn_like(target)

    logits, _, maps, *_ = model.forward_for_loss(image)
    total = SegmentationLoss(LossConfig(form="released"))(target, logits, maps=maps).total
    found = torch.autograd.grad(
        total, list(model.parameters()), retain_graph=True, allow_unused=True
    )
    expected = torch.autograd.grad(
        0.2 * bce(logits, target), list(model.parameters()), allow_unused=True
    )
    for (name, _), a, b in zip(model.named_parameters(), found, expected, strict=True):
        if name.startswith("heads."):
            assert a is None, name
        else:
            assert a.abs().sum() > 0, name
            assert torch.equal(a, b), name


def test_adam_leaves_the_head_as_it_was_under_the_released_form():
    torch.manual_seed(0)
    model = build_model("crosslink-net", widths=(4, 8, 8, 12, 16)).train()
    before = [p.detach().clone() for p in model.heads.parameters()]
    assert len(before) == 6
    centre = model.centre.conv.weight.detach().clone()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=0.005)
    _, _, target = example(size=(64, 64))
    SegmentationLoss(LossConfig(form="released"))(
        target, *model.forward_for_loss(target)
    ).total.backward()
    optimizer.step()
    for old, new in zip(before, model.heads.parameters(), strict=True):
        assert torch.equal(old, new)
    assert not torch.equal(centre, model.centre.conv.weight)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_an_empty_or_full_mask_counts_zero_in_the_released_attention_term(value):
    logits, maps, target = example()
    parts = SegmentationLoss(LossConfig(form="released"))(
        torch.full_like(target, value), logits, maps=maps
    )
    assert (parts.attention.item(), parts.valid_images) == (0.0, 0)
    assert torch.isfinite(parts.total)


# Several classes.


def test_classes_with_a_map_each_are_averaged_and_share_the_union_as_attention_mask():
    logits, maps, target = example(classes=3)
    parts = SegmentationLoss(LossConfig(form="eq1"))(target, logits, maps=maps)
    one = [
        SegmentationLoss(LossConfig(bce=1, dice=0, attention=0))(
            target[:, k : k + 1], logits[:, k : k + 1]
        )
        for k in range(3)
    ]
    assert parts.bce.item() == pytest.approx(sum(p.bce.item() for p in one) / 3)
    assert parts.dice.item() == pytest.approx(sum(p.dice.item() for p in one) / 3)
    union = (target.sum(dim=1, keepdim=True) > 0).float()
    expected, _ = attention_loss(maps[0], pool_mask(union, 3))
    assert parts.attention.item() == pytest.approx(expected.item())


def test_exclusive_classes_use_softmax_and_attend_to_what_is_not_background():
    _, maps, target = example(classes=2)
    target[:, 1] *= 1 - target[:, 0]  # exclusive
    torch.manual_seed(1)
    logits = torch.randn(2, 3, 64, 48)
    parts = SegmentationLoss(LossConfig(form="eq1", classes="softmax"))(target, logits, maps=maps)
    codes = target[:, 0] + 2 * target[:, 1]
    assert parts.bce.item() == pytest.approx(F.cross_entropy(logits, codes.long()).item())
    assert parts.dice.item() == pytest.approx(soft_dice(logits.softmax(1)[:, 1:], target).item())
    expected, _ = attention_loss(maps[0], pool_mask((codes > 0).float()[:, None], 3))
    assert parts.attention.item() == pytest.approx(expected.item())


def test_one_exclusive_class_is_the_binary_loss_of_the_difference():
    _, maps, target = example()
    torch.manual_seed(1)
    logits = torch.randn(2, 2, 64, 48)
    exclusive = SegmentationLoss(LossConfig(classes="softmax"))(target, logits, maps=maps)
    binary = SegmentationLoss(LossConfig())(target, logits[:, 1:] - logits[:, :1], maps=maps)
    assert exclusive.total.item() == pytest.approx(binary.total.item(), rel=1e-5)


def test_one_against_the_rest_has_a_sigmoid_for_the_background_too():
    _, maps, target = example(classes=2)
    target[:, 1] *= 1 - target[:, 0]  # exclusive
    torch.manual_seed(1)
    logits = torch.randn(2, 3, 64, 48)
    config = LossConfig(form="eq1", classes="one-vs-rest")
    parts = SegmentationLoss(config)(target, logits, maps=maps)
    codes = (target[:, 0] + 2 * target[:, 1]).long()
    one_hot = F.one_hot(codes, 3).movedim(-1, 1).float()  # the background first
    expected = F.binary_cross_entropy_with_logits(logits, one_hot)
    assert parts.bce.item() == pytest.approx(expected.item())
    assert parts.dice.item() == pytest.approx(soft_dice(logits.sigmoid()[:, 1:], target).item())


# Safe on every mask and map.


def gradients(form, logits, maps, target):
    parts = SegmentationLoss(LossConfig(form=form))(target, logits, maps=maps)
    inputs = [logits, *maps[0]]
    return parts, torch.autograd.grad(parts.total, inputs, allow_unused=True)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["empty", "full", "mixed", "constant map", "saturated"])
def test_every_batch_gives_a_finite_loss_and_finite_gradients(form, kind):
    logits, maps, target = example(batch=3)
    if kind == "empty":
        target = torch.zeros_like(target)
    if kind == "full":
        target = torch.ones_like(target)
    if kind == "mixed":
        target[0], target[1] = 0.0, 1.0
    if kind == "constant map":
        maps = [[torch.full_like(maps[0][0], -0.85).requires_grad_(), maps[0][1]]]
    if kind == "saturated":
        logits = (1e4 * logits.detach()).requires_grad_()
        maps = [[(1e4 * s.detach()).requires_grad_() for s in maps[0]]]
    parts, grads = gradients(form, logits, maps, target)
    valid = {"empty": 0, "full": 0, "mixed": 1}.get(kind, 3)
    assert parts.valid_images == valid
    for value in (parts.total, parts.bce, parts.dice, parts.attention):
        assert torch.isfinite(value)
    for grad in grads:
        assert grad is None or torch.isfinite(grad).all()
    if form != "released" and valid == 0:
        assert not any(grad.any() for grad in grads[1:])


def test_an_empty_slice_moves_the_logits_by_bce_alone():
    logits, maps, target = example()
    target = torch.zeros_like(target)
    _, (grad, *_) = gradients("eq1", logits, maps, target)
    torch.testing.assert_close(grad, 0.4 * logits.detach().sigmoid() / logits.numel())


# Float32, whatever comes in.


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_inputs_give_the_loss_of_float32(form, dtype):
    logits, maps, target = example(size=(256, 256))
    loss = SegmentationLoss(LossConfig(form=form))
    expected = loss(target, logits, maps=maps)
    logits, target = logits.to(dtype), target.to(dtype)
    maps = [[s.to(dtype) for s in scores] for scores in maps]
    found = loss(target, logits, maps=maps)
    rounded = [[s.float() for s in scores] for scores in maps]
    assert torch.equal(found.total, loss(target.float(), logits.float(), maps=rounded).total)
    assert found.total.dtype == torch.float32
    tolerance = 1e-3 if dtype == torch.float16 else 1e-2
    for part in ("total", "bce", "dice", "attention"):
        a, b = getattr(found, part).item(), getattr(expected, part).item()
        assert a == pytest.approx(b, rel=tolerance, abs=1e-6)


def test_large_maps_in_float16_do_not_overflow_to_a_silent_zero():
    target = torch.zeros(1, 1, 512, 512)
    target[..., :256, :384] = 1.0
    score = (8 * (pool_mask(target, 3) - 0.5)).half()  # squared norms far beyond 65504 together
    loss = SegmentationLoss(LossConfig(form="pairwise"))
    parts = loss(target.half(), torch.zeros_like(target).half(), maps=[[score, score]])
    assert parts.attention.item() == pytest.approx(-1.0, abs=1e-3)


@pytest.mark.parametrize("form", FORMS)
def test_autocast_does_not_reach_into_the_loss(form, monkeypatch):
    logits, maps, target = example()
    loss = SegmentationLoss(LossConfig(form=form))
    expected = loss(target, logits, maps=maps)
    inside = []

    def watched(z, g):
        inside.append(torch.is_autocast_enabled("cpu"))
        return bce(z, g)

    monkeypatch.setattr(combined, "bce", watched)
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(target, logits, maps=maps)
    assert inside == [False]
    assert found.total.dtype == torch.float32
    assert torch.equal(found.total, expected.total)


def test_gradients_come_back_in_the_type_of_the_inputs():
    logits, maps, target = example()
    half = logits.detach().half().requires_grad_()
    SegmentationLoss(LossConfig())(target, half, maps=maps).total.backward()
    assert half.grad.dtype == torch.float16
    assert torch.isfinite(half.grad).all()


# What does not fit together.


@pytest.mark.parametrize("shape", [(2, 2, 64, 48), (2, 1, 64, 47), (1, 1, 64, 48)])
def test_logits_and_target_of_different_sizes_are_an_error(shape):
    _, maps, target = example()
    with pytest.raises(ShapeError) as error:
        SegmentationLoss(LossConfig())(target, torch.zeros(shape), maps=maps)
    assert str(shape) in str(error.value)


def test_softmax_asks_for_a_map_of_the_background():
    _, maps, target = example(classes=2)
    with pytest.raises(ShapeError, match="num_classes=3"):
        SegmentationLoss(LossConfig(classes="softmax"))(
            target, torch.zeros(2, 2, 64, 48), maps=maps
        )


def test_maps_of_another_block_or_of_none_are_an_error_that_says_what_to_do():
    logits, maps, target = example()
    with pytest.raises(ShapeError, match="pool_mask"):
        SegmentationLoss(LossConfig(blocks=[2]))(target, logits, maps=maps)
    with pytest.raises(ShapeError, match=r"attention_blocks equal to loss\.blocks"):
        SegmentationLoss(LossConfig())(target, logits)
    with pytest.raises(ShapeError, match=r"\[1, 3\], but maps of 1 blocks"):
        SegmentationLoss(LossConfig(blocks=[1, 3]))(target, logits, maps=maps)


def test_an_attention_weight_without_a_block_is_an_error():
    with pytest.raises(UsageError, match=r"loss\.blocks is empty"):
        SegmentationLoss(LossConfig(blocks=[]))


# In training.


@pytest.mark.slow
@pytest.mark.parametrize("form", ["pairwise", "eq1"])
def test_in_training_the_pairwise_form_keeps_maps_on_the_target_and_eq_1_leads_them_away(form):
    """The optimum of Eq. (1) is not the mask, and training finds it; both forms segment well."""
    torch.manual_seed(0)
    model = build_model("crosslink-net", widths=(8, 8, 16, 16, 16)).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    loss = SegmentationLoss(LossConfig(form=form))
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    for _ in range(150):
        drawn = 16 * torch.rand(4, 4) + torch.tensor([24, 24, 6, 6])  # centres and radii
        cy, cx, ry, rx = drawn.T[..., None, None]
        target = ((((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2) < 1).float()[:, None]
        logits, _, maps, *_ = model.forward_for_loss(target + 0.3 * torch.randn_like(target))
        optimizer.zero_grad()
        loss(target, logits, maps=maps).total.backward()
        optimizer.step()
    pred, mask = logits > 0, pool_mask(target, 3).flatten()
    assert 2 * (pred * target).sum() / (pred.sum() + target.sum()) > 0.9
    vertical, horizontal = (
        torch.corrcoef(torch.stack([score.sigmoid().flatten(), mask]))[0, 1].item()
        for score in maps[0]
    )
    if form == "pairwise":
        assert min(vertical, horizontal) > 0.95
    else:
        assert max(abs(vertical), abs(horizontal)) < 0.4
