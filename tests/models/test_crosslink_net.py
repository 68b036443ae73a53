"""Crosslink-Net and its ablations: sizes, order, golden vectors, sharing.

The numbers come from the paper's Table III, from the published network and from independent
models; none was produced by the code under test.
"""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from crosslinknet.config import LossConfig
from crosslinknet.errors import ShapeError, UsageError
from crosslinknet.losses import SegmentationLoss
from crosslinknet.models import build_model, count_macs, count_parameters
from crosslinknet.models.crosslink_net import (
    COLUMN,
    LARGE,
    POINT,
    PRESETS,
    ROW,
    SQUARE,
    TALL,
    WIDE,
    CrosslinkNet,
    Table,
    crosslink_net,
)
from crosslinknet.models.layers import ConvBN, init_gaussian

NARROW = (4, 8, 8, 12, 16)
HALVED = (16, 32, 64, 128, 256)
ALL = (1, 2, 3, 4, 5)
NAMES = ["ver-crosslink", "hor-crosslink", "square-crosslink", "double2single", "unet5"]


def on_paper(name, **options):
    """A network that has shapes and no values: counting needs no memory."""
    with torch.device("meta"):
        return build_model(name, **options)


def narrow(preset="released", **options):
    torch.manual_seed(0)
    return crosslink_net(preset=preset, **{"widths": NARROW, **options})


def state_bytes(model):
    return sum(t.numel() * t.element_size() for t in [*model.parameters(), *model.buffers()])


def norms(model):
    return [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]


COUNTS = [
    # Sizes of the presets.
    ("crosslink-net", {}, 31_862_899),
    ("crosslink-net", {"preset": "released"}, 31_862_899),
    ("crosslink-net", {"preset": "paper"}, 37_627_059),
    ("crosslink-net", {"preset": "table1"}, 29_941_043),
    ("crosslink-net", {"preset": "released", "attention_blocks": ()}, 31_788_465),
    ("crosslink-net", {"preset": "paper", "attention_blocks": ()}, 37_552_625),
    ("crosslink-net", {"preset": "table1", "attention_blocks": ()}, 29_866_609),
    # Channels, classes, widths.
    ("crosslink-net", {"preset": "released", "in_channels": 3}, 31_865_907),
    ("crosslink-net", {"preset": "paper", "in_channels": 3}, 37_630_643),
    ("crosslink-net", {"preset": "released", "num_classes": 2}, 31_862_916),
    ("crosslink-net", {"preset": "paper", "num_classes": 2}, 37_627_076),
    ("crosslink-net", {"preset": "released", "num_classes": 3}, 31_862_933),
    ("crosslink-net", {"preset": "paper", "num_classes": 3}, 37_627_093),
    ("crosslink-net", {"preset": "released", "widths": HALVED}, 7_974_971),
    ("crosslink-net", {"preset": "paper", "widths": HALVED}, 9_417_819),
    # The block that feeds the attention loss.
    ("crosslink-net", {"preset": "released", "attention_blocks": (1,)}, 31_793_251),
    ("crosslink-net", {"preset": "released", "attention_blocks": (2,)}, 31_807_251),
    ("crosslink-net", {"preset": "released", "attention_blocks": (4,)}, 32_084_787),
    ("crosslink-net", {"preset": "released", "attention_blocks": (5,)}, 32_970_931),
    ("crosslink-net", {"preset": "released", "attention_blocks": ALL}, 31_788_465 + 1_576_794),
    ("crosslink-net", {"preset": "paper", "attention_blocks": (1,)}, 37_557_411),
    ("crosslink-net", {"preset": "paper", "attention_blocks": (2,)}, 37_571_411),
    ("crosslink-net", {"preset": "paper", "attention_blocks": (4,)}, 37_848_947),
    ("crosslink-net", {"preset": "paper", "attention_blocks": (5,)}, 38_735_091),
    ("crosslink-net", {"preset": "paper", "attention_blocks": ALL}, 37_552_625 + 1_576_794),
    # Ablations without and with a head.
    ("ver-crosslink", {"family": "table3"}, 15_811_121),
    ("hor-crosslink", {"family": "table3"}, 15_811_121),
    ("square-crosslink", {"family": "table3"}, 43_294_033),
    ("double2single", {"family": "table3"}, 46_720_785),
    ("ver-crosslink", {"family": "text"}, 20_349_649),
    ("hor-crosslink", {"family": "text"}, 20_349_649),
    ("square-crosslink", {"family": "text"}, 45_221_041),
    ("double2single", {"family": "text"}, 31_002_545),
    ("ver-crosslink", {"attention_blocks": (3,)}, 15_811_121 + 74_434),
    ("square-crosslink", {"attention_blocks": (3,)}, 43_294_033 + 74_434),
    ("double2single", {"attention_blocks": ALL}, 46_720_785 + 1_576_794),
]


@pytest.mark.parametrize(("name", "options", "expected"), COUNTS)
def test_a_network_has_as_many_parameters_as_stated(name, options, expected):
    assert count_parameters(on_paper(name, **options)) == expected


def test_sharing_fuse_and_skip_is_one_word_of_the_table():
    with torch.device("meta"):
        assert count_parameters(CrosslinkNet(replace(PRESETS["paper"], shared=True))) == 36_401_427
        unshared = CrosslinkNet(replace(PRESETS["released"], shared=False))
    assert count_parameters(unshared) == 31_862_899 + 1_225_632


@pytest.mark.parametrize(
    ("name", "options", "mib", "size", "running", "layers"),
    [
        ("ver-crosslink", {}, 60, 63_324_460, 19_872, 61),
        ("hor-crosslink", {}, 60, 63_324_460, 19_872, 61),
        ("square-crosslink", {}, 165, 173_288_052, 27_808, 86),
        ("double2single", {}, 178, 187_042_836, 39_712, 106),
        ("unet5", {}, 135, 142_535_548, 16_928, 31),
        ("crosslink-net", {}, 121, 127_591_988, 34_882, 108),
        ("crosslink-net", {"preset": "paper"}, 143, 150_676_564, 41_826, 128),
    ],
)
def test_a_state_dict_is_as_large_as_table_iii_prints(name, options, mib, size, running, layers):
    model = on_paper(name, **options)
    assert len(norms(model)) == layers
    assert 2 * sum(norm.num_features for norm in norms(model)) == running
    assert state_bytes(model) == size == 4 * (count_parameters(model) + running) + 8 * layers
    assert size // 2**20 == mib


def test_the_released_network_has_109_convolutions_and_650_entries():
    model = on_paper("crosslink-net")
    assert sum(isinstance(m, nn.Conv2d) for m in model.modules()) == 109
    assert len(model.state_dict()) == 650
    assert len([k for k in model.state_dict() if not k.endswith("num_batches_tracked")]) == 542


PIECES = [  # per stage: 5x3 (= 3x5), 3x1 (= 1x3), 3x3, horizontal 1x1, fuse, skip
    (16_000, 3_328, 9_664, 96, 3_136, 96),
    (92_480, 18_752, 55_616, 2_176, 12_416, 2_176),
    (369_280, 74_368, 221_824, 8_448, 49_408, 8_448),
    (1_475_840, 296_192, 886_016, 33_280, 197_120, 33_280),
    (5_900_800, 1_182_208, 3_541_504, 132_096, 787_456, 132_096),
]


def test_every_piece_of_the_released_network_has_its_size():
    model = on_paper("crosslink-net")
    for stage, (tall, column, square, point, fuse, skip) in zip(model.stages, PIECES, strict=True):
        vertical, horizontal = stage.branches
        assert [count_parameters(path) for path in vertical] == [tall, column, square]
        assert [count_parameters(path) for path in horizontal] == [tall, column, point]
        assert [count_parameters(unit) for unit in stage.fuse] == [fuse]
        assert [count_parameters(unit) for unit in stage.skip] == [skip]
    assert count_parameters(model.centre) == 525_312
    decoder = [4_720_128, 1_180_416, 295_296, 73_920, 18_528]
    assert [count_parameters(block) for block in model.decoder] == decoder
    assert count_parameters(model.classifier) == 17
    assert [count_parameters(head) for head in model.heads] == [74_434]


@pytest.mark.parametrize(
    ("name", "options", "giga"),
    [
        ("crosslink-net", {"preset": "released"}, 30.34),
        ("crosslink-net", {"preset": "paper"}, 34.45),
        ("ver-crosslink", {}, 14.32),
        ("hor-crosslink", {}, 14.32),
        ("square-crosslink", {}, 39.78),
        ("double2single", {}, 43.17),
    ],
)
def test_the_cost_at_256_pixels_is_as_measured(name, options, giga):
    macs = count_macs(on_paper(name, **options), (256, 256), maps=True)
    assert round(macs / 1e9, 2) == giga


def test_the_cost_grows_with_the_area_and_counting_leaves_the_model_alone():
    model = narrow(num_classes=2).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    small = count_macs(model, (64, 64))
    assert count_macs(model, (128, 256)) == 8 * small
    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(not module._forward_hooks for module in model.modules())


def test_the_heads_cost_two_convolutions_per_branch():
    model = narrow(attention_blocks=(3,))
    head = 9 * (8 * 4 + 4 * 1) * 16 * 16  # block 3 of a 64 x 64 image has 16 x 16 pixels
    assert count_macs(model, (64, 64), maps=True) - count_macs(model, (64, 64)) == 2 * head


_D = {
    "ver": ((TALL, COLUMN, SQUARE),),
    "hor": ((WIDE, ROW, SQUARE),),
    "d2s": ((TALL, COLUMN, WIDE, ROW, SQUARE, POINT),),
    "square": ((LARGE, SQUARE, POINT),) * 2,
    "ours": ((TALL, COLUMN, SQUARE), (WIDE, ROW, SQUARE)),
}
_B = _D | {"hor": ((WIDE, ROW, POINT),), "ours": PRESETS["released"].branches}


@pytest.mark.parametrize(
    ("branches", "options", "printed"),
    [
        (_B, {"shared": True}, (77.8, 60.5, 118.5, 168.1, 121.8)),
        (_B, {}, (77.8, 60.5, 118.5, 172.8, 126.5)),
        (_D, {}, (77.8, 77.8, 118.5, 172.8, 143.8)),
        (_D, {"shared": True}, (77.8, 77.8, 118.5, 168.1, 139.1)),
        (_D, {"middle_divisor": 1}, (113.8, 113.8, 178.5, 263.4, 215.8)),
        (_D, {"decoder_kernel": (1, 1)}, (61.8, 61.8, 102.5, 151.4, 122.5)),
    ],
)
def test_no_single_rule_gives_the_sizes_of_table_iii(branches, options, printed):
    """The readings that were searched, in MiB; a file adds 0.03 to 0.13 to the tensors."""
    for name, expected in zip(("ver", "hor", "d2s", "square", "ours"), printed, strict=True):
        heads = (3,) if name == "ours" else ()
        with torch.device("meta"):
            model = CrosslinkNet(Table(branches[name], **options), attention_blocks=heads)
        assert expected - 0.19 < state_bytes(model) / 2**20 < expected + 0.05, name


# Golden vectors: weights and image from sines, float64; "released" was computed with the
# authors' network, "paper" with an independent model.


def filled_with_sines(preset):
    with torch.device("meta"):
        model = crosslink_net(preset=preset).double()
    model.to_empty(device="cpu")
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            weight = module.weight.data
            k = torch.arange(1, weight.numel() + 1, dtype=torch.float64)
            values = 2.0 / math.sqrt(weight[0].numel()) * torch.sin(k + 0.001 * k * k)
            weight.copy_(values.view_as(weight))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
    return model.eval()


def sine_image():
    t = torch.arange(64 * 64, dtype=torch.float64)
    return torch.sin(0.05 * t**1.1).view(1, 1, 64, 64)


GOLDEN = {
    "released": [
        1.151256534e01,
        1.148552983e01,
        -6.658754750e-02,
        1.854948028e01,
        -5.303524373e00,
        0.891051807,
        0.964965825,
        0.682405843,
        0.572045118,
    ],
    "paper": [
        1.762037364e01,
        1.368666524e01,
        9.966189532e-01,
        2.516961915e01,
        -3.003384740e00,
        0.891051807,
        0.964965825,
        0.873513523,
        0.998149599,
    ],
}


@torch.inference_mode()
@pytest.mark.parametrize("preset", ["released", "paper"])
def test_sines_in_every_weight_give_the_golden_vector(preset):
    model = filled_with_sines(preset)
    logits, _, [[vertical, horizontal]], *_ = model.forward_for_loss(sine_image())
    z, v, h = logits[0, 0], vertical.sigmoid()[0, 0], horizontal.sigmoid()[0, 0]
    found = [z.mean(), z.std(correction=0), z[0, 0], z[31, 17], z[63, 63]]
    found += [v.mean(), v[3, 5], h.mean(), h[3, 5]]
    assert [x.item() for x in found] == pytest.approx(GOLDEN[preset], rel=1e-4)

    if preset == "released":  # the vector notices a wrong order of paths
        paths = model.stages[4].branches[0]
        paths[0], paths[1] = paths[1], paths[0]
        assert model(sine_image()).mean().item() == pytest.approx(10.2155, abs=1e-4)


# The order of the layers, seen by hooks.


def record(model, kind=nn.Module):
    """Names in the order of the calls, with their inputs and outputs, of one forward pass."""
    calls = []
    for name, module in model.named_modules():
        if isinstance(module, kind):
            module.register_forward_hook(
                lambda _, inputs, output, name=name: calls.append((name, inputs, output))
            )
    return calls


def test_units_are_called_branch_by_branch_then_centre_decoder_classifier_and_heads():
    model = narrow()
    calls = record(model, ConvBN)
    model.forward_for_loss(torch.randn(2, 1, 64, 64))

    rconv = ["first", "second", "third"]
    expected = []
    for i in range(5):
        stage = f"stages.{i}"
        for branch, paths in ((0, (0, 1, 2)), (1, (0, 1))):
            expected += [f"{stage}.branches.{branch}.{p}.{unit}" for p in paths for unit in rconv]
            expected += [f"{stage}.branches.1.2"] if branch else []  # the plain 1x1 path
            expected += [f"{stage}.fuse.0", f"{stage}.skip.0"]
    expected += ["heads.0.0", "heads.0.1"] * 2  # vertical, then horizontal
    expected += ["centre"] + [f"decoder.{i}.conv.{unit}" for i in range(5) for unit in rconv]
    assert [name for name, _, _ in calls] == expected


def test_kernels_stand_in_the_order_of_table_i():
    stage = narrow("paper").stages[2]
    kernels = [[path.first.conv.kernel_size for path in paths] for paths in stage.branches]
    assert kernels == [[(5, 3), (3, 1), (3, 3)], [(3, 5), (1, 3), (3, 3)]]
    released = narrow("released").stages[2].branches[1][2]
    assert released.conv.kernel_size == (1, 1)
    assert not hasattr(released, "relu")
    for block in narrow("table1").decoder:
        assert {unit.conv.kernel_size for unit in block.conv.children()} == {(1, 1)}


@pytest.mark.parametrize("preset", ["released", "paper"])
def test_a_stage_concatenates_fuses_adds_the_shortcut_and_rectifies(preset):
    model = narrow(preset).eval()
    stage = model.stages[1]
    calls = record(stage, ConvBN)
    inputs = [torch.randn(1, 4, 9, 7), torch.randn(1, 4, 9, 7)]
    vertical, horizontal = stage(inputs)
    both = zip(inputs, (vertical, horizontal), stage.branches, strict=True)
    for branch, (x, y, paths) in enumerate(both):
        owner = 0 if preset == "released" else branch
        features = torch.cat([path(x) for path in paths], dim=1)
        expected = F.relu(stage.fuse[owner](features) + stage.skip[owner](x))
        torch.testing.assert_close(y, expected)
    fused = [name for name, _, _ in calls if name.startswith("fuse")][:2]
    assert fused == (["fuse.0", "fuse.0"] if preset == "released" else ["fuse.0", "fuse.1"])


def test_table_one_adds_its_paths():
    stage = narrow("table1").eval().stages[1]
    x = torch.randn(1, 4, 9, 7)
    paths = stage.branches[0]
    expected = F.relu(paths[0](x) + paths[1](x) + paths[2](x) + stage.skip[0](x))
    torch.testing.assert_close(stage([x, x])[0], expected)
    assert len(stage.fuse) == 0


def test_every_stage_is_followed_by_pooling_and_the_decoder_returns_to_the_skips_sizes():
    model = narrow().eval()
    stages = record(model.stages, nn.ModuleList)
    for name, module in model.named_modules():
        if name.startswith("stages.") and name.count(".") == 1:
            module.register_forward_hook(lambda _, i, o: stages.append((i[0], o)))
    decoder, centre = [], []
    for block in model.decoder:
        block.register_forward_hook(lambda _, i, o: decoder.append((*i, o)))
    model.centre.register_forward_hook(lambda _, i, o: centre.append((i[0], o)))
    x = torch.randn(1, 1, 70, 53)
    model(x)

    assert all(torch.equal(given, x) for given in stages[0][0])  # both branches read the image
    for (_, outputs), (inputs, _) in pairwise(stages):
        for output, given in zip(outputs, inputs, strict=True):
            assert torch.equal(given, F.max_pool2d(output, 2, stride=2))
    sizes = [tuple(outputs[0].shape[2:]) for _, outputs in stages]
    assert sizes == [(70, 53), (35, 26), (17, 13), (8, 6), (4, 3)]

    pooled = [F.max_pool2d(output, 2) for output in stages[-1][1]]
    [(given, deepest)] = centre
    assert torch.equal(given, torch.cat(pooled, dim=1))
    assert deepest.shape == (1, 16, 2, 1)
    below = deepest
    for (x, skips, y), (_, outputs) in zip(decoder, reversed(stages), strict=True):
        assert x is below
        assert all(a is b for a, b in zip(skips, outputs, strict=True))
        assert y.shape[2:] == outputs[0].shape[2:]
        below = y
    assert [y.shape[1] for _, _, y in decoder] == [8, 6, 4, 4, 2]  # half of each width


def test_a_shared_batch_norm_sees_vertical_then_horizontal_in_every_step():
    model = narrow().train()
    seen = {}
    shared = [f"stages.{i}.{part}.0.bn" for i in range(5) for part in ("fuse", "skip")]
    shared += ["heads.0.0.bn", "heads.0.1.bn"]
    for name in shared:
        seen[name] = []
        model.get_submodule(name).register_forward_pre_hook(
            lambda _, i, name=name: seen[name].append(i[0].mean(dim=(0, 2, 3)))
        )
    given, of_stage = [], []
    model.heads[0].register_forward_pre_hook(lambda _, i: given.append(i[0]))
    model.stages[2].register_forward_hook(lambda _, i, o: of_stage.extend(o))
    model.forward_for_loss(torch.randn(2, 1, 64, 64))
    assert all(a is b for a, b in zip(given, of_stage, strict=True))  # vertical comes first
    for name in shared:
        norm = model.get_submodule(name)
        vertical, horizontal = seen[name]
        expected = 0.9 * (0.1 * vertical) + 0.1 * horizontal  # the later call weighs more
        torch.testing.assert_close(norm.running_mean, expected)
    for name, norm in model.named_modules():
        if isinstance(norm, nn.BatchNorm2d):
            assert norm.num_batches_tracked == (2 if name in shared else 1), name


def test_without_maps_the_head_is_not_called():
    model = narrow().train()
    logits = model(torch.randn(2, 1, 64, 64))
    assert all(norm.num_batches_tracked == 0 for norm in norms(model.heads))
    logits.sum().backward()
    assert all(p.grad is None for p in model.heads.parameters())


def test_separate_encoders_share_nothing_but_the_head():
    for norm in norms(narrow("paper").train().stages):
        assert norm.num_batches_tracked == 0
    model = narrow("paper").train()
    model.forward_for_loss(torch.randn(2, 1, 64, 64))
    assert {int(n.num_batches_tracked) for n in norms(model.stages)} == {1}
    assert {int(n.num_batches_tracked) for n in norms(model.heads)} == {2}


def test_mixed_statistics_of_shared_layers_widen_the_gap_between_training_and_inference():
    gaps = {}
    for shared in (True, False):
        torch.manual_seed(0)
        model = CrosslinkNet(replace(PRESETS["released"], shared=shared, widths=NARROW))
        init_gaussian(model)
        for norm in norms(model):
            norm.momentum = None  # plain averages: one step is enough
        x = torch.randn(2, 1, 64, 64)
        with torch.no_grad():
            training = model.train()(x)
            inference = model.eval()(x)
        gaps[shared] = ((training - inference).square().mean().sqrt() / training.std()).item()
    assert gaps[False] < 0.3 < gaps[True]


# What a user may ask for.


@pytest.mark.parametrize("preset", ["released", "paper", "table1"])
@pytest.mark.parametrize("size", [(70, 53), (33, 47), (32, 32)])
def test_odd_and_oblong_images_keep_their_size(preset, size):
    model = narrow(preset, in_channels=3, num_classes=2, attention_blocks=ALL).eval()
    logits, _, maps, *_ = model.forward_for_loss(torch.randn(1, 3, *size))
    assert logits.shape == (1, 2, *size)
    for block, scores in zip(ALL, maps, strict=True):
        expected = (1, 1, size[0] // 2 ** (block - 1), size[1] // 2 ** (block - 1))
        assert [tuple(score.shape) for score in scores] == [expected, expected]


def test_an_image_of_250_pixels_keeps_its_size():
    assert narrow().eval()(torch.randn(1, 1, 250, 250)).shape == (1, 1, 250, 250)


@pytest.mark.parametrize("form", ["eq1", "pairwise"])
@pytest.mark.parametrize("preset", ["released", "paper", "table1"])
def test_the_loss_sends_gradients_to_every_parameter(preset, form):
    model = narrow(preset, attention_blocks=ALL).train()
    logits, _, maps, *_ = model.forward_for_loss(torch.randn(2, 1, 64, 64))
    target = torch.zeros(2, 1, 64, 64)
    target[:, :, 20:40, 10:50] = 1.0
    SegmentationLoss(LossConfig(form=form, blocks=list(ALL)))(
        target, logits, maps=maps
    ).total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_heads_stand_in_ascending_order_of_their_blocks():
    model = narrow(attention_blocks=(5, 2))
    assert model.attention_blocks == (2, 5)
    maps = model.eval().forward_for_loss(torch.randn(1, 1, 64, 64)).maps
    assert [scores[0].shape[2] for scores in maps] == [32, 4]


def test_the_horizontal_network_is_the_vertical_one_turned():
    options = {"widths": NARROW}
    vertical = build_model("ver-crosslink", **options).eval()
    horizontal = build_model("hor-crosslink", **options).eval()
    turned = {k: v.mT if v.ndim == 4 else v for k, v in vertical.state_dict().items()}
    horizontal.load_state_dict(turned)
    x = torch.randn(1, 1, 70, 53)
    torch.testing.assert_close(horizontal(x.mT), vertical(x).mT, atol=1e-5, rtol=1e-4)


def test_a_table_of_three_encoders_is_a_network_too():
    table = Table(((TALL,), (WIDE, ROW), (SQUARE, POINT)), widths=NARROW)
    logits, _, [scores], *_ = CrosslinkNet(table).forward_for_loss(torch.randn(2, 1, 64, 64))
    assert logits.shape == (2, 1, 64, 64)
    assert len(scores) == 3


def test_one_slice_of_32_pixels_predicts_but_does_not_train():
    model = narrow()
    assert model.eval()(torch.randn(1, 1, 32, 32)).shape == (1, 1, 32, 32)
    with pytest.raises(ShapeError, match=r"\(1, 1, 32, 32\).*batch of two or more"):
        model.train()(torch.randn(1, 1, 32, 32))
    assert model(torch.randn(2, 1, 32, 32)).shape == (2, 1, 32, 32)


def test_small_images_and_other_channels_are_refused():
    with pytest.raises(ShapeError, match=r"\(1, 1, 31, 64\).*at least 32"):
        narrow()(torch.randn(1, 1, 31, 64))
    with pytest.raises(ShapeError, match=r"\(2, 3, 64, 64\).*\(batch, 1, height, width\)"):
        narrow()(torch.randn(2, 3, 64, 64))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("crosslink-net", {"preset": "papr"}, "preset 'papr' is unknown; did you mean 'paper'"),
        ("crosslink-net", {"preset": "x"}, "preset 'x' is unknown; known are paper, released"),
        ("crosslink-net", {"presett": "paper"}, "presett is unknown; did you mean 'preset'"),
        ("crosslink-net", {"attention_blocks": (0,)}, "attention_blocks"),
        ("crosslink-net", {"widths": (8, 16)}, "five even numbers"),
        ("crosslink-net", {"widths": 8}, "widths 8 must be five even numbers"),
        ("hor-crosslink", {"family": "table1"}, "did you mean 'table3'"),
        ("ver-crosslink", {"preset": "paper"}, "preset is unknown"),
        ("unet5", {"family": "txt"}, "did you mean 'text'"),
        ("unet5", {"attention_blocks": (7,)}, "attention_blocks"),
        ("unet5", {"widths": (3, 6, 12, 24, 48)}, "five even numbers"),
    ],
)
def test_a_wrong_option_is_an_error_that_suggests(name, options, message):
    with pytest.raises(UsageError) as error:
        build_model(name, **options)
    assert message in str(error.value)
