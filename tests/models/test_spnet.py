"""SPNet: sizes of the sheet, where strip pooling sits and what it does, the two heads."""

from functools import cache

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from crosslinknet.errors import DataError, ShapeError, UsageError
from crosslinknet.models import count_macs, count_parameters, spnet
from crosslinknet.models.backbones import load_backbone, resnet50s
from crosslinknet.models.backbones.base import deep_stem
from crosslinknet.models.backbones.resnet import ResNet
from crosslinknet.models.spnet import MixedPooling, SPNet, StripPooling

ROWS = [  # backbone, strip pooling, classes; parameters with and without the auxiliary head; costs
    ("resnet50", True, 1, 47_723_394, 45_363_329, {256: 43_595_857_920, 512: 172_071_321_600}),
    ("resnet50", True, 2, 47_724_164, 45_363_842, {256: 43_596_644_352, 512: 172_074_467_328}),
    ("resnet50", True, 150, 47_838_124, 45_439_766, {}),
    ("resnet50", False, 1, 41_606_338, 39_246_273, {256: 42_521_591_808, 512: 168_110_850_048}),
    ("resnet101", True, 1, 66_715_522, 64_355_457, {256: 62_990_319_616, 512: 249_649_168_384}),
    ("resnet101", False, 1, 60_598_466, 58_238_401, {256: 61_916_053_504, 512: 245_688_696_832}),
]


@cache
def on_paper(*arguments, **options):
    """Shapes without values, built once. Never change it."""
    with torch.device("meta"):
        return SPNet(*arguments, **options).eval()


@pytest.fixture
def small(monkeypatch):
    """A builder of SPNets with one block per layer, two of them with strip pooling."""

    def backbone(in_channels, gate, gated):
        return ResNet(
            deep_stem(in_channels, (8, 8, 16)),
            16,
            ([1], [1], [1], [4]),
            (1, 2, 1, 1),
            "",
            gate,
            gated,
        )

    monkeypatch.setitem(spnet.BACKBONES, "small", (backbone, ("layer1.0", "layer4.0")))

    def build(*arguments, **options):
        torch.manual_seed(0)
        return SPNet(*arguments, backbone="small", **options).eval()

    return build


@pytest.mark.parametrize(("backbone", "strips", "classes", "total", "without", "costs"), ROWS)
def test_the_network_is_as_large_and_in_training_as_costly_as_stated(
    backbone, strips, classes, total, without, costs
):
    model = on_paper(3, classes, backbone, strips)
    assert count_parameters(model) == total
    assert count_parameters(model) - count_parameters(model.auxiliary) == without
    for side, expected in costs.items():
        assert count_macs(model, (side, side), maps=True) == expected


def test_its_parts_have_as_many_parameters_as_stated():
    model = on_paper(3, 1, "resnet50", True)
    assert count_parameters(model.backbone) == 29_748_864
    assert count_parameters(on_paper(3, 1, "resnet50", False).backbone) == 23_631_808
    assert count_parameters(model.head) == 15_614_465
    assert count_parameters(model.auxiliary) == 2_360_065
    assert count_parameters(on_paper()) == 47_722_242
    gates = [count_parameters(StripPooling(width)) for width in (64, 128, 256, 512)]
    assert gates == [28_992, 115_328, 460_032, 1_837_568]
    assert count_parameters(MixedPooling(1024)) == 4_397_568


@pytest.mark.parametrize(
    ("backbone", "last"), [("resnet50", "layer3.5"), ("resnet101", "layer3.22")]
)
def test_strip_pooling_sits_in_the_last_block_of_three_layers_and_in_all_of_the_fourth(
    backbone, last
):
    model = on_paper(3, 1, backbone, True)
    gates = {
        name.removesuffix(".gate"): gate.fuse.in_channels
        for name, gate in model.backbone.named_modules()
        if isinstance(gate, StripPooling)
    }
    fourth = {f"layer4.{block}": 512 for block in range(3)}
    assert gates == {"layer1.2": 64, "layer2.3": 128, last: 256} | fourth
    without = on_paper(3, 1, backbone, False)
    assert not any(isinstance(module, StripPooling) for module in without.modules())


def test_a_gate_lies_between_zero_and_one_and_knows_its_row_and_its_column():
    torch.manual_seed(0)
    gate = StripPooling(4).eval()
    for conv in (gate.vertical[0], gate.horizontal[0], gate.fuse):
        nn.init.uniform_(conv.weight, 0.05, 0.2)  # so that no ReLU hides a pixel
    x = torch.rand(1, 4, 9, 8, requires_grad=True)
    y = gate(x)
    assert y.shape == x.shape
    assert y.min() > 0
    assert y.max() < 1
    y[0, :, 4, 5].sum().backward()
    rows, columns = x.grad[0, 0].nonzero().T.tolist()
    reached = set(zip(rows, columns, strict=True))
    assert reached == {
        (r, c) for r in range(9) for c in range(8) if abs(r - 4) < 2 or abs(c - 5) < 2
    }


def test_a_gate_of_a_constant_is_constant_away_from_the_borders():
    torch.manual_seed(0)
    gate = StripPooling(8).eval()
    x = torch.randn(1, 8, 1, 1).expand(1, 8, 10, 12)
    inner = gate(x)[..., 1:-1, 1:-1]
    torch.testing.assert_close(inner, inner[..., :1, :1].expand_as(inner))


def test_a_block_weighs_its_activated_features_with_the_gate(small):
    block = small().backbone.layer1[0]
    seen = {}
    block.gate.register_forward_hook(lambda m, i, o: seen.update(x=i[0], gate=o))
    block.conv3.register_forward_pre_hook(lambda m, i: seen.update(weighed=i[0]))
    block(torch.randn(1, 16, 8, 8))
    assert seen["x"].min() >= 0
    assert torch.equal(seen["weighed"], seen["x"] * seen["gate"])


def test_mixed_pooling_is_what_the_sheet_writes_out():
    torch.manual_seed(0)
    m = MixedPooling(8).eval()
    x = torch.randn(2, 8, 7, 9)

    def up(y):
        return F.interpolate(y, (7, 9), mode="bilinear", align_corners=True)

    x1, x2 = m.short_in(x), m.long_in(x)
    a = m.short[0](x1)
    b, c = (up(m.short[i](F.adaptive_avg_pool2d(x1, side))) for i, side in ((1, 20), (2, 12)))
    d = up(m.horizontal(F.adaptive_avg_pool2d(x2, (1, None))))
    e = up(m.vertical(F.adaptive_avg_pool2d(x2, (None, 1))))
    s, long = m.short_out(torch.relu(a + b + c)), m.long_out(torch.relu(d + e))
    expected = torch.relu(x + m.fuse(torch.cat([s, long], dim=1)))
    torch.testing.assert_close(m(x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (65, 47)])
def test_logits_have_the_size_of_the_image(small, size):
    model = small(2, 3)
    outputs = model.forward_for_loss(torch.randn(1, 2, *size))
    assert outputs.logits.shape == (1, 3, *size)
    assert [side.shape for side in outputs.sides] == [(1, 3, *size)]


@pytest.mark.parametrize("size", [(250, 250), (352, 352), (64, 200)])
def test_logits_have_the_size_of_large_images_too(size):
    model = on_paper()
    outputs = model.forward_for_loss(torch.empty(1, 1, *size, device="meta"))
    assert outputs.logits.shape == outputs.sides[0].shape == (1, 1, *size)


def test_the_published_network_computes_on_a_small_image():
    torch.manual_seed(0)
    model = SPNet().eval()
    with torch.no_grad():
        logits = model(torch.randn(1, 1, 40, 33))
    assert logits.shape == (1, 1, 40, 33)
    assert logits.isfinite().all()


def test_the_auxiliary_head_runs_once_in_training_and_never_in_prediction(small):
    model, calls = small(), []
    model.auxiliary.register_forward_hook(lambda *_: calls.append(1))
    x = torch.randn(1, 1, 32, 32)
    logits = model(x)
    assert calls == []
    outputs = model.forward_for_loss(x, torch.zeros(1, 1, 32, 32))
    assert calls == [1]
    assert torch.equal(outputs.logits, logits)


def test_every_parameter_gets_a_gradient(small):
    model = small().train()
    outputs = model.forward_for_loss(torch.randn(2, 1, 32, 32))
    weights = torch.randn(2, 1, 32, 32)
    sum((o * weights).sum() for o in (outputs.logits, *outputs.sides)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_heads_and_own_parts_name_what_they_say():
    model = on_paper()
    with torch.device("meta"):
        public = resnet50s(1).state_dict()
    assert all(isinstance(getattr(model, head), nn.Module) for head in SPNet.backbone_heads)
    own = {
        name
        for name in model.backbone.state_dict()
        if any(part in name for part in model.backbone_own)
    }
    assert set(model.backbone.state_dict()) - own == set(public)
    assert on_paper(3, 1, "resnet50", False).backbone_own == ()


def test_a_public_file_fills_all_but_the_gates(tmp_path):
    model = on_paper(3, 1, "resnet50", True)
    with torch.device("meta"):
        tensors = resnet50s().state_dict() | {"fc.weight": torch.empty(1)}
    load_backbone(model.backbone, tensors, tmp_path / "r.pth", model.backbone_own)
    with pytest.raises(DataError, match=r"missing: layer1\.2\.gate\.vertical\.0\.weight"):
        load_backbone(model.backbone, tensors, tmp_path / "r.pth")


@pytest.mark.slow
def test_the_network_can_be_exported_for_any_batch(small):
    model = small()
    batch = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(model, (torch.randn(2, 1, 40, 33),), dynamic_shapes=batch)
    x = torch.randn(3, 1, 40, 33)
    torch.testing.assert_close(program.module()(x), model(x))


def test_what_it_cannot_take_is_refused(small):
    with pytest.raises(UsageError, match="did you mean 'resnet50'"):
        SPNet(backbone="resnet5")
    model = small()
    for shape in [(1, 1, 64, 31), (1, 3, 64, 64), (1, 64, 64)]:
        with pytest.raises(ShapeError, match="height and width"):
            model(torch.zeros(shape))
    assert model.train()(torch.randn(1, 1, 32, 32)).shape == (1, 1, 32, 32)  # 4x4 at the deepest
