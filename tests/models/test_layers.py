"""The shared units: sizes, order of operations, reach, and what they refuse."""

import math

import pytest
import torch
from torch.nn import functional as F

from crosslinknet.errors import ShapeError, UsageError
from crosslinknet.models.layers import (
    AttentionHead,
    ConvBN,
    DecoderBlock,
    RConv,
    check_blocks,
    check_input,
    check_widths,
    init_gaussian,
)

KERNELS = [(5, 3), (3, 5), (3, 1), (1, 3), (3, 3), (5, 5), (1, 1)]


def parameters(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_unit_keeps_the_size_and_has_weights_and_two_numbers_per_channel(kernel):
    unit = ConvBN(3, 7, kernel)
    assert parameters(unit) == 3 * 7 * kernel[0] * kernel[1] + 2 * 7
    assert unit.conv.bias is None
    assert unit.conv.padding == (kernel[0] // 2, kernel[1] // 2)
    assert (unit.bn.eps, unit.bn.momentum) == (1e-4, 0.1)
    assert unit(torch.randn(2, 3, 9, 12)).shape == (2, 7, 9, 12)


def test_a_unit_is_convolution_then_batch_norm_then_relu_if_asked():
    x = torch.randn(2, 3, 6, 5)
    for relu in (True, False):
        unit = ConvBN(3, 4, (3, 1), relu=relu).eval()
        unit.bn.running_mean.normal_()
        unit.bn.running_var.uniform_(0.5, 2.0)
        scale = (unit.bn.running_var + 1e-4).rsqrt()
        y = F.conv2d(x, unit.conv.weight, padding=(1, 0)) - unit.bn.running_mean[:, None, None]
        y = y * scale[:, None, None]
        torch.testing.assert_close(unit(x), y.clamp_min(0) if relu else y)
        assert bool((unit(x) < 0).any()) is not relu


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("mid", [4, 8])
def test_an_rconv_has_three_convolutions_of_one_kernel(kernel, mid):
    kh, kw = kernel
    assert parameters(RConv(3, 8, kernel, mid)) == kh * kw * (3 * 8 + 2 * 8 * mid) + 2 * (16 + mid)


def test_the_inner_skip_of_an_rconv_starts_after_its_first_convolution():
    block = RConv(2, 6, (3, 3), 3).eval()
    x = torch.randn(1, 2, 8, 8)
    u = block.first(x)
    torch.testing.assert_close(block(x), u + block.third(block.second(u)))
    for weight in block.third.parameters():
        weight.data.zero_()
    torch.testing.assert_close(block(x), block.first(x))


@pytest.mark.parametrize(
    ("kernel", "rows", "columns"),
    [((5, 3), 13, 7), ((3, 5), 7, 13), ((3, 1), 7, 1), ((1, 3), 1, 7), ((3, 3), 7, 7)],
)
def test_a_five_by_three_kernel_reaches_further_down_than_across(kernel, rows, columns):
    block = RConv(1, 4, kernel, 2).eval()
    for weight in block.parameters():
        weight.data.abs_()  # so that no ReLU hides a pixel
    x = torch.ones(1, 1, 31, 31, requires_grad=True)
    block(x)[0, :, 15, 15].sum().backward()
    y, x = x.grad[0, 0].nonzero().T
    assert (len(y.unique()), len(x.unique())) == (rows, columns)


def test_a_decoder_block_takes_the_size_of_its_skips_and_puts_x_after_the_first():
    block = DecoderBlock((3, 3), 4, 2, (3, 3), 2).eval()
    vertical, horizontal = torch.randn(1, 3, 9, 7), torch.randn(1, 3, 9, 7)
    x = torch.randn(1, 4, 4, 3)
    up = F.interpolate(x, (9, 7), mode="bilinear", align_corners=False)
    expected = block.conv(torch.cat([vertical, up, horizontal], dim=1))
    assert torch.equal(block(x, [vertical, horizontal]), expected)
    assert expected.shape == (1, 2, 9, 7)


def test_a_decoder_block_upsamples_between_pixel_centres():
    block = DecoderBlock((1,), 1, 1, (1, 1), 1)
    block.conv = torch.nn.Identity()
    skip = torch.zeros(1, 1, 1, 4)
    up = block(torch.tensor([[[[0.0, 4.0]]]]), [skip])[0, 1, 0]
    assert up.tolist() == [0.0, 1.0, 3.0, 4.0]  # corner-aligned would be 0, 4/3, 8/3, 4


@pytest.mark.parametrize(
    ("channels", "expected"),
    [(32, 4_786), (64, 18_786), (128, 74_434), (256, 296_322), (512, 1_182_466)],
)
def test_an_attention_head_halves_the_channels_and_ends_in_one_map_without_relu(channels, expected):
    with torch.device("meta"):
        assert parameters(AttentionHead(channels)) == expected
    first, last = AttentionHead(8)
    assert (first.conv.out_channels, last.conv.out_channels) == (4, 1)
    assert hasattr(first, "relu")
    assert not hasattr(last, "relu")


@pytest.mark.parametrize("shape", [(1, 1, 31, 64), (1, 1, 64, 31), (1, 3, 64, 64), (1, 64, 64)])
def test_an_input_of_another_size_is_refused_with_its_shape(shape):
    with pytest.raises(ShapeError) as error:
        check_input(torch.zeros(shape), 1, training=False)
    assert str(shape) in str(error.value)
    assert "at least 32" in str(error.value)


@pytest.mark.parametrize("size", [(32, 32), (63, 63), (32, 63)])
def test_one_small_slice_cannot_train_because_batch_norm_would_see_one_value(size):
    x = torch.zeros(1, 1, *size)
    check_input(x, 1, training=False)
    check_input(torch.zeros(2, 1, *size), 1, training=True)
    with pytest.raises(ShapeError, match="nothing to normalise"):
        check_input(x, 1, training=True)


def test_one_slice_of_64_pixels_in_one_direction_can_train():
    check_input(torch.zeros(1, 1, 64, 32), 1, training=True)
    check_input(torch.zeros(1, 1, 32, 64), 1, training=True)


@pytest.mark.parametrize("blocks", [(3, 3), (0,), (6,), (1, 2, 3, 4, 5, 6), ("3",)])
def test_blocks_are_different_numbers_of_one_to_five(blocks):
    assert check_blocks([5, 1]) == (1, 5)
    assert check_blocks(()) == ()
    with pytest.raises(UsageError, match=r"different numbers of 1\.\.5"):
        check_blocks(blocks)


@pytest.mark.parametrize("widths", [(8, 16), (8, 16, 32, 64, 127), (0, 2, 2, 2, 2), (8.0,) * 5])
def test_widths_are_five_even_numbers(widths):
    assert check_widths([2, 4, 6, 8, 10]) == (2, 4, 6, 8, 10)
    with pytest.raises(UsageError, match="five even numbers"):
        check_widths(widths)


def test_gaussian_initialisation_has_the_variance_of_each_layers_fan_in():
    torch.manual_seed(0)
    block = torch.nn.Sequential(RConv(16, 64, (5, 3), 32), torch.nn.Conv2d(64, 64, 1))
    for module in block.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.weight)
            torch.nn.init.normal_(module.bias)
    init_gaussian(block)
    for module in block.modules():
        if isinstance(module, torch.nn.Conv2d):
            fan_in = module.weight[0].numel()
            assert module.weight.std().item() == pytest.approx(math.sqrt(2 / fan_in), rel=0.05)
            assert module.weight.mean().item() == pytest.approx(0.0, abs=0.01)
            assert module.bias is None or not module.bias.any()
        if isinstance(module, torch.nn.BatchNorm2d):
            assert torch.equal(module.weight, torch.ones_like(module.weight))
            assert not module.bias.any()


def test_gaussian_initialisation_takes_a_stated_deviation():
    torch.manual_seed(0)
    unit = ConvBN(64, 64, (3, 3))
    init_gaussian(unit, std=0.01)
    assert unit.conv.weight.std().item() == pytest.approx(0.01, rel=0.05)
