"""The five-block U-Net: sizes, order, and what it refuses."""

import io
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from crosslinknet.errors import ShapeError, UsageError
from crosslinknet.models import build_model, count_macs, count_parameters
from crosslinknet.models.layers import ConvBN

NARROW = (4, 8, 8, 12, 16)


def on_paper(**options):
    with torch.device("meta"):
        return build_model("unet5", **options)


def narrow(**options):
    torch.manual_seed(0)
    return build_model("unet5", **{"widths": NARROW, **options})


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 35_616_897),
        ({"num_classes": 3}, 35_616_963),
        ({"family": "text"}, 38_760_545),
        ({"attention_blocks": (3,)}, 35_616_897 + 296_322),
    ],
)
def test_the_network_has_as_many_parameters_as_stated(options, expected):
    assert count_parameters(on_paper(**options)) == expected


def test_a_third_input_channel_adds_one_kernel_per_filter():
    assert count_parameters(on_paper(in_channels=3)) == 35_616_897 + 2 * 9 * 64


@pytest.mark.parametrize(
    ("family", "size", "expected"),
    [
        ("table3", 256, 32_117_882_880),
        ("table3", 512, 128_471_531_520),
        ("text", 512, 140_551_127_040),
    ],
)
def test_the_cost_is_as_counted(family, size, expected):
    assert count_macs(on_paper(family=family), (size, size)) == expected


def test_its_file_has_the_size_that_table_iii_prints():
    model = build_model("unet5")
    assert sum(buffer.numel() for buffer in model.buffers()) == 16_959
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    assert 135.9 < file.tell() / 2**20 < 136.0


def test_the_decoder_takes_the_unpooled_outputs_and_ends_in_half_the_first_width():
    model = narrow().eval()
    stages, units = [], []
    for stage in model.stages:
        stage.register_forward_hook(lambda _, i, o: stages.append((i[0], o)))
    for name, unit in model.named_modules():
        if isinstance(unit, ConvBN):
            unit.register_forward_hook(lambda _, i, o, name=name: units.append((name, i[0], o)))
    x = torch.randn(1, 1, 70, 53)
    logits = model(x)

    rconv = ["first", "second", "third"]
    expected = [f"stages.{i}.{unit}" for i in range(5) for unit in rconv] + ["centre"]
    expected += [f"decoder.{i}.conv.{unit}" for i in range(5) for unit in rconv]
    assert [name for name, _, _ in units] == expected
    assert stages[0][0] is x
    for (_, output), (given, _) in pairwise(stages):
        assert torch.equal(given, F.max_pool2d(output, 2))
    below = units[15][2]  # of the centre
    assert torch.equal(units[15][1], F.max_pool2d(stages[-1][1], 2))
    for i, (_, skip) in enumerate(reversed(stages)):
        _, given, first = units[16 + 3 * i]
        up = F.interpolate(below, skip.shape[2:], mode="bilinear", align_corners=False)
        assert torch.equal(given, torch.cat([skip, up], dim=1))
        below = first + units[18 + 3 * i][2]
    assert torch.equal(model.classifier(below), logits)
    assert below.shape == (1, 2, 70, 53)


def test_the_families_differ_in_the_decoders_middle_width():
    for family, middle in (("table3", [4, 3, 2, 2, 1]), ("text", [8, 6, 4, 4, 2])):
        decoder = narrow(family=family).decoder
        assert [block.conv.second.conv.out_channels for block in decoder] == middle
    for stage, width in zip(narrow().stages, NARROW, strict=True):
        assert stage.second.conv.out_channels == width // 2


@pytest.mark.parametrize("size", [(32, 32), (70, 53), (33, 47), (250, 250)])
def test_logits_have_the_size_of_the_image(size):
    model = narrow(in_channels=3, num_classes=2, attention_blocks=(1, 5)).eval()
    logits, _, maps, *_ = model.forward_for_loss(torch.randn(1, 3, *size))
    assert logits.shape == (1, 2, *size)
    assert [len(scores) for scores in maps] == [1, 1]  # one encoder
    assert maps[0][0].shape == (1, 1, *size)
    assert maps[1][0].shape == (1, 1, size[0] // 16, size[1] // 16)


def test_a_head_reads_the_output_of_its_own_block():
    model = narrow(attention_blocks=(4,)).eval()
    outputs = []
    model.stages[3].register_forward_hook(lambda _, i, o: outputs.append(o))
    [[scores]] = model.forward_for_loss(torch.randn(1, 1, 64, 64)).maps
    assert torch.equal(scores, model.heads[0](outputs[0]))


def test_only_the_classifier_has_a_bias():
    model = narrow()
    biased = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.bias is not None]
    assert biased == [model.classifier]


def test_what_it_cannot_take_is_refused():
    with pytest.raises(ShapeError, match="at least 32"):
        narrow()(torch.randn(1, 1, 64, 31))
    with pytest.raises(ShapeError, match="batch of two or more"):
        narrow().train()(torch.randn(1, 1, 32, 32))
    with pytest.raises(UsageError, match="did you mean 'table3'"):
        build_model("unet5", family="table1")
