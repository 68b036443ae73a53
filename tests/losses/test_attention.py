"""Eq. (1) and its pairwise form: closed forms, facts about their optimum, and bad maps."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from crosslinknet.errors import ShapeError
from crosslinknet.losses.attention import TAU, attention_loss, pool_mask

FORMS = ["eq1", "pairwise"]


def disc(pixels_on, side=64, batch=1):
    """Masks with a stated number of pixels, at random places."""
    mask = torch.zeros(batch, side * side)
    for row in mask:
        row[torch.randperm(side * side)[:pixels_on]] = 1.0
    return mask.view(batch, 1, side, side)


def rho(maps, mask, form="eq1"):
    """The score that the loss negates, of attention maps in [0, 1] (not of scores)."""
    loss, _ = attention_loss([torch.logit(m.double()) for m in maps], mask.double(), form)
    return -loss.item()


def rho_by_numpy(maps, mask):
    """Eq. (1), written out for one image."""
    centred = [np.ravel(x) - np.mean(x) for x in (*maps, mask)]
    return np.prod(centred, axis=0).sum() / np.prod([np.linalg.norm(c) for c in centred])


def correlation(a, b):
    return np.corrcoef(a.detach().flatten().numpy(), b.detach().flatten().numpy())[0, 1]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


# The pooled mask.


def test_a_mask_is_averaged_over_blocks_and_not_made_binary_again():
    mask = torch.zeros(1, 1, 4, 8)
    mask[0, 0, 0, 0] = 1.0
    mask[0, 0, :2, 4:] = 1.0
    assert pool_mask(mask, 3).tolist() == [[[[1 / 16, 8 / 16]]]]
    assert pool_mask(mask, 1) is mask


@pytest.mark.parametrize("size", [(64, 64), (70, 53), (33, 47)])
@pytest.mark.parametrize("block", [1, 2, 3, 4, 5])
def test_a_pooled_mask_has_the_size_of_the_blocks_maps(size, block):
    pooled = pool_mask((torch.rand(2, 1, *size) > 0.5).float(), block)
    assert pooled.shape == (2, 1, size[0] // 2 ** (block - 1), size[1] // 2 ** (block - 1))
    steps = pooled * 4 ** (block - 1)
    assert torch.equal(steps, steps.round())


def test_pooling_leaves_out_the_rows_that_do_not_fill_a_window():
    mask = torch.zeros(1, 1, 7, 4)
    mask[..., 4:, :] = 1.0  # rows 4 and 5 fill half of the second window, row 6 none
    assert pool_mask(mask, 2)[0, 0, :, 0].tolist() == [0.0, 0.0, 1.0]
    assert pool_mask(mask, 3)[0, 0, :, 0].tolist() == [0.0]


# Closed forms of Eq. (1).


@pytest.mark.parametrize(
    ("side", "on", "printed"),
    [
        (64, 1, 0.99963),
        (64, 10, 0.31507),
        (64, 100, 0.09630),
        (64, 1024, 0.01804),
        (64, 2048, 0.0),
        (64, 3072, -0.01804),
        (128, 164, 0.07691),
        (128, 1638, 0.02084),
    ],
)
def test_perfect_maps_score_less_the_larger_the_target_and_negative_above_one_half(
    side, on, printed
):
    mask = disc(on, side)
    perfect = 0.1 + 0.8 * mask  # any two levels: Eq. (1) ignores offset and scale
    p, q = side**2, on / side**2
    assert rho([perfect, perfect], mask) == pytest.approx(printed, abs=5e-6)
    closed = (1 - 2 * q) / math.sqrt(p * q * (1 - q))
    assert rho([perfect, perfect], mask) == pytest.approx(closed, abs=1e-12)


def test_the_score_of_perfect_maps_is_the_skewness_over_the_root_of_the_pixels():
    mask = 0.05 + 0.9 * torch.rand(1, 1, 32, 32) ** 3
    m = mask.double() - mask.double().mean()
    skewness = (m**3).mean() / (m**2).mean() ** 1.5
    assert rho([mask, mask], mask) == pytest.approx(skewness.item() / 32, rel=1e-6)


def test_the_largest_score_is_that_of_one_single_pixel():
    for side in (8, 64, 128):
        p = side * side
        mask = disc(1, side)
        one = 0.1 + 0.8 * mask
        assert rho([one, one], mask) == pytest.approx((p - 2) / math.sqrt(p * (p - 1)), abs=1e-12)
    assert round((p - 2) / math.sqrt(p * (p - 1)), 5) == 0.99991


@pytest.mark.parametrize("on", [10, 100, 1000])
def test_a_map_that_varies_inside_the_target_beats_the_target_itself(on):
    mask = disc(on)
    wavy = torch.full_like(mask, 0.4)
    inside = mask.flatten().nonzero().flatten()
    wavy.view(-1)[inside[::2]] = 0.6
    wavy.view(-1)[inside[1::2]] = 0.2
    bound = math.sqrt((1 - on / 4096) / on)
    assert rho([wavy, wavy], mask) == pytest.approx(bound, rel=1e-6)
    assert rho([wavy, wavy], mask) > rho([0.1 + 0.8 * mask] * 2, mask)
    assert correlation(wavy, mask) == pytest.approx(0.0, abs=1e-6)


def test_the_bound_for_a_binary_mask_is_an_eigenvalue():
    for on in (2, 5, 20):
        mask = disc(on, 8).numpy().ravel().astype(np.float64)
        m = (mask - mask.mean()) / np.linalg.norm(mask - mask.mean())
        centre = np.eye(64) - 1 / 64
        eigenvalues = np.linalg.eigvalsh(centre @ np.diag(m) @ centre)
        assert eigenvalues.max() == pytest.approx(math.sqrt((1 - on / 64) / on))


def ascend(start, mask, form, steps):
    scores = [s.clone().requires_grad_() for s in start]
    optimizer = torch.optim.Adam(scores, lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        loss, _ = attention_loss(scores, mask, form)
        loss.backward()
        optimizer.step()
    return -loss.item(), [s.sigmoid() for s in scores]


@pytest.mark.parametrize("offset", [0.0, 1.0, -1.0], ids=["random", "aligned", "inverted"])
def test_free_maps_climb_to_the_bound_where_they_do_not_resemble_the_target(offset):
    mask = disc(100)
    start = [torch.randn_like(mask) + offset * (mask - 0.5) for _ in range(2)]
    score, (vertical, horizontal) = ascend(start, mask, "eq1", steps=800)
    assert score == pytest.approx(0.0988, abs=1e-4)
    assert correlation(vertical, mask) == pytest.approx(0.0, abs=0.05)
    assert correlation(vertical, horizontal) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("offset", [0.0, -2.0], ids=["random", "inverted"])
def test_free_maps_become_the_target_under_the_pairwise_form(offset):
    mask = disc(100)
    start = [torch.randn_like(mask) + offset * (mask - 0.5) for _ in range(2)]
    score, maps = ascend(start, mask, "pairwise", steps=200)
    assert score > 0.99
    assert min(correlation(m, mask) for m in maps) > 0.99


def test_inverting_both_maps_changes_nothing_and_inverting_one_flips_the_sign():
    mask = disc(100)
    a, b = 0.1 + 0.8 * torch.rand_like(mask), 0.1 + 0.8 * torch.rand_like(mask)
    score = rho([a, b], mask)
    assert rho([1 - a, 1 - b], mask) == pytest.approx(score, rel=1e-6)
    assert rho([1 - a, b], mask) == pytest.approx(-score, rel=1e-6)
    perfect = 0.1 + 0.8 * mask
    assert rho([1 - perfect] * 2, mask) == pytest.approx(rho([perfect] * 2, mask), rel=1e-6)


def test_the_pairwise_form_tells_a_map_from_its_inverse():
    for on in (10, 100, 3072):  # whatever the size of the target
        mask = disc(on)
        perfect = 0.1 + 0.8 * mask
        assert rho([perfect, perfect], mask, "pairwise") == pytest.approx(1.0)
        assert rho([1 - perfect, 1 - perfect], mask, "pairwise") == pytest.approx(-1 / 3)
        assert rho([perfect, 1 - perfect], mask, "pairwise") == pytest.approx(-1 / 3)


def test_random_maps_score_zero_with_a_deviation_of_one_over_the_pixels():
    mask = disc(100, 32)
    scores = torch.randn(1000, 2, 1, 1, 32, 32)
    each = torch.stack([attention_loss(list(pair), mask)[0] for pair in scores])
    assert each.mean().item() == pytest.approx(0.0, abs=4 / 1024 / math.sqrt(1000))
    assert each.std().item() == pytest.approx(1 / 1024, rel=0.1)


# Gradients: how strong, and where.


def gradients(scores, mask, form):
    scores = [s.clone().requires_grad_() for s in scores]
    attention_loss(scores, mask, form)[0].backward()
    return [s.grad for s in scores]


@pytest.mark.parametrize("on", [164, 1638, 8192])
def test_eq_1_starts_sixty_times_below_the_pairwise_form(on):
    mask = disc(on, 128)
    scores = [torch.randn_like(mask) for _ in range(2)]
    assert gradients(scores, mask, "eq1")[0].norm().item() == pytest.approx(6e-5, rel=0.1)
    assert gradients(scores, mask, "pairwise")[0].norm().item() == pytest.approx(4e-3, rel=0.1)
    aligned = [s + 2 * mask - 1 for s in scores]
    assert gradients(aligned, mask, "eq1")[0].norm() < 2e-4


@pytest.mark.parametrize("on", [164, 819, 1638])
def test_for_small_targets_the_gradient_of_eq_1_lies_on_the_target(on):
    mask = disc(on, 128)
    for grad in gradients([torch.randn_like(mask) for _ in range(2)], mask, "eq1"):
        share = grad[mask > 0].square().sum() / grad.square().sum()
        assert share.item() == pytest.approx(1 - on / 128**2, abs=0.02)


@pytest.mark.parametrize("on", [164, 819, 1638])
def test_from_inverted_maps_eq_1_pushes_few_target_pixels_up(on):
    mask = disc(on, 128)
    inverted = [torch.randn_like(mask) - (2 * mask - 1) for _ in range(2)]
    for form, least, most in (("eq1", 0.0, 0.15), ("pairwise", 0.85, 1.0)):
        for grad in gradients(inverted, mask, form):
            assert least <= (grad[mask > 0] < 0).float().mean() <= most


def test_the_gradient_towards_a_map_is_bounded():
    mask = disc(50, 32)
    scores = [torch.randn_like(mask) for _ in range(2)]
    maps = [s.sigmoid() for s in scores]
    slope = [m * (1 - m) for m in maps]
    m = mask - mask.mean()
    for grad, a, s in zip(gradients(scores, mask, "eq1"), maps, slope, strict=True):
        bound = m.abs().max() / (m.norm() * (a - a.mean()).norm())
        assert (grad / s).norm() <= bound


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("branches", [1, 2, 3])
def test_gradients_agree_with_finite_differences(form, branches):
    mask = disc(5, 4, batch=3).double()
    mask[1] = 0.0
    scores = [torch.randn(3, 1, 4, 4, dtype=torch.float64, requires_grad=True)] * branches
    scores = [s.detach().clone().requires_grad_() for s in scores]
    assert torch.autograd.gradcheck(lambda *s: attention_loss(s, mask, form)[0], scores)


# Against other implementations.


def test_eq_1_agrees_with_numpy_on_every_image_of_a_batch():
    mask = torch.rand(4, 1, 12, 9)
    scores = [torch.randn(4, 1, 12, 9, dtype=torch.float64) for _ in range(2)]
    loss, valid = attention_loss(scores, mask.double())
    maps = [1 / (1 + np.exp(-s.numpy())) for s in scores]
    images = zip(*maps, mask.double().numpy(), strict=True)
    expected = [rho_by_numpy([a, b], m) for a, b, m in images]
    assert loss.item() == pytest.approx(-np.mean(expected), rel=1e-9)
    assert valid == 4


def test_the_pairwise_form_is_the_mean_of_numpys_correlations():
    mask = torch.rand(1, 1, 12, 9)
    scores = [torch.randn(1, 1, 12, 9, dtype=torch.float64) for _ in range(2)]
    loss, _ = attention_loss(scores, mask.double(), "pairwise")
    rows = [s.sigmoid().numpy().ravel() for s in scores] + [mask.double().numpy().ravel()]
    c = np.corrcoef(rows)
    assert loss.item() == pytest.approx(-(c[0, 1] + c[0, 2] + c[1, 2]) / 3, rel=1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_with_one_encoder_both_forms_are_the_correlation_with_the_mask(form):
    mask = torch.rand(1, 1, 12, 9).double()
    score = torch.randn(1, 1, 12, 9, dtype=torch.float64)
    loss, _ = attention_loss([score], mask, form)
    assert loss.item() == pytest.approx(-correlation(score.sigmoid(), mask), rel=1e-9)


pictures = arrays(np.float32, (2, 1, 5, 7), elements=st.floats(-20, 20, width=32))
masks = arrays(np.float32, (2, 1, 5, 7), elements=st.sampled_from([0.0, 1 / 16, 0.5, 1.0]))


@settings(max_examples=60, deadline=None)
@given(a=pictures, b=pictures, mask=masks)
def test_whatever_comes_the_loss_is_finite_and_within_its_bounds(a, b, mask):
    scores = [torch.from_numpy(x.copy()).requires_grad_() for x in (a, b)]
    most = 33 / math.sqrt(35 * 34)  # (P - 2) / sqrt(P (P - 1)), P = 5 x 7
    for form, lowest, highest in (("eq1", -most, most), ("pairwise", -1.0, 0.5)):
        loss, valid = attention_loss(scores, torch.from_numpy(mask), form)
        assert lowest - 1e-4 <= loss.item() <= highest + 1e-4
        assert 0 <= valid <= 2
        for grad in torch.autograd.grad(loss, scores):
            assert torch.isfinite(grad).all()


# Bad maps and masks.


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("value", [0.0, 1.0, 0.3], ids=["empty", "full", "constant"])
def test_a_constant_mask_counts_zero_with_zero_gradient(form, value):
    scores = [torch.randn(3, 1, 16, 16, requires_grad=True) for _ in range(2)]
    loss, valid = attention_loss(scores, torch.full((3, 1, 16, 16), value), form)
    assert (loss.item(), valid) == (0.0, 0)
    for grad in torch.autograd.grad(loss, scores):  # connected to the graph
        assert not grad.any()


@pytest.mark.parametrize("form", FORMS)
def test_an_empty_slice_halves_the_mean_and_does_not_touch_its_neighbour(form):
    mask = disc(30, 16, batch=2)
    mask[1] = 0.0
    scores = [torch.randn(2, 1, 16, 16, requires_grad=True) for _ in range(2)]
    both, valid = attention_loss(scores, mask, form)
    alone, _ = attention_loss([s[:1] for s in scores], mask[:1], form)
    assert valid == 1
    assert both.item() == pytest.approx(alone.item() / 2)
    for mixed, single in zip(
        torch.autograd.grad(both, scores), torch.autograd.grad(alone, scores), strict=True
    ):
        torch.testing.assert_close(mixed[0], single[0] / 2)
        assert not mixed[1].any()


def test_one_sixteenth_of_a_pixel_is_a_target():
    mask = torch.zeros(1, 1, 64, 64)
    mask[0, 0, 0, 0] = 1 / 16
    _, valid = attention_loss([torch.randn(1, 1, 64, 64)] * 2, mask)
    assert valid == 1


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("score", [0.0, -0.8473, 30.0, -200.0])
def test_a_constant_map_gives_a_small_finite_loss_and_gradient(form, score):
    mask = disc(100)
    flat = torch.full_like(mask, score).requires_grad_()
    other = torch.randn_like(mask).requires_grad_()
    for scores in ([flat, flat], [flat, other]):
        loss, _ = attention_loss(scores, mask, form)
        assert abs(loss.item()) < (1e-5 if form == "eq1" else 0.4)
        flat_grad = torch.autograd.grad(loss, flat)[0]
        # At most 1 / (tau sqrt(P)) per factor; a plain division gave 2.1e3.
        assert flat_grad.norm() <= 2 / (TAU * 64)


def test_maps_of_usual_contrast_give_exactly_eq_1_and_flatter_ones_fade():
    mask = disc(100)
    wave = torch.randn_like(mask).double()
    wave = (wave - wave.mean()) / wave.std(correction=0)
    full = rho([0.5 + 0.1 * wave] * 2, mask)
    assert rho([0.5 + 1.001e-3 * wave] * 2, mask) == pytest.approx(full, rel=1e-9)
    assert rho([0.5 + 0.5e-3 * wave] * 2, mask) == pytest.approx(full / 4, rel=1e-6)
    assert rho([0.5 + 1e-5 * wave] * 2, mask) == pytest.approx(full * 1e-4, rel=1e-6)


@pytest.mark.parametrize("shape", [(2, 1, 16, 15), (2, 1, 1, 16), (1, 1, 16, 16), (2, 2, 16, 16)])
def test_maps_and_mask_of_different_sizes_are_an_error_not_a_broadcast(shape):
    with pytest.raises(ShapeError) as error:
        attention_loss([torch.zeros(shape)], torch.zeros(2, 1, 16, 16))
    assert str(shape) in str(error.value)
    assert "pool_mask" in str(error.value)


def test_maps_need_not_be_square():
    mask = torch.zeros(1, 1, 16, 64)
    mask[..., 4:8, 10:20] = 1.0
    perfect = 0.1 + 0.8 * mask
    turned = rho([perfect.mT] * 2, mask.mT)
    assert rho([perfect] * 2, mask) == pytest.approx(turned)
