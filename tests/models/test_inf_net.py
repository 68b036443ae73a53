"""Inf-Net and its second stage: sizes of the sheet, the parts, and where gradients go."""

import copy
from functools import cache

import pytest
import torch
from torch.nn import functional as F

from crosslinknet.errors import ShapeError, UsageError
from crosslinknet.models import count_macs, count_parameters
from crosslinknet.models.backbones import load_backbone, vgg16
from crosslinknet.models.inf_net import InfNet, PartialDecoder, ReceptiveField, Reverse
from crosslinknet.models.inf_net_stage import MultiClassStage

ROWS = {  # parameters of three channels in, what one channel saves, costs by side
    "res2net50": (
        31_072_721,
        576,
        {256: 7_322_075_136, 352: 13_843_298_304, 512: 29_288_300_544},
    ),
    "resnet50": (
        30_911_401,
        6_272,
        {256: 6_792_282_112, 352: 12_841_658_368, 512: 27_169_128_448},
    ),
    "vgg16": (
        21_298_857,
        1_152,
        {256: 25_210_388_480, 352: 47_663_390_720, 512: 100_841_553_920},
    ),
}
GREY = {"res2net50": 29_250_551_808, "resnet50": 26_758_086_656, "vgg16": 100_539_564_032}


@cache
def on_paper(*arguments, kind=InfNet, **options):
    """Shapes without values, built once. Never change it."""
    with torch.device("meta"):
        return kind(*arguments, **options).eval()


def seeded(*arguments, kind=InfNet, **options):
    torch.manual_seed(0)
    return kind(*arguments, **options).eval()


def features():
    """As of VGG16 for an image of 32x32."""
    shapes = zip((128, 256, 512, 512), (16, 8, 4, 2), strict=True)
    return tuple(torch.randn(1, channels, side, side) for channels, side in shapes)


def sizes(outputs):
    return [tuple(o.shape) for o in (outputs.logits, *outputs.sides, outputs.edge)]


@pytest.fixture(params=list(ROWS))
def backbone(request):
    return request.param


@pytest.fixture(scope="module")
def vgg():
    """The network of VGG16, the quickest on small images. Never change it."""
    return seeded(backbone="vgg16")


def test_the_released_sizes_are_ours_and_what_is_never_used():
    assert ROWS["res2net50"][0] + 2048 * 1000 + 1000 == 33_121_721  # a classifier
    twin = 256 * 512 * 9 + 512 + 5 * (512 * 512 * 9 + 512)  # conv4 and conv5 once more
    assert twin == 12_979_200
    assert ROWS["vgg16"][0] + twin == 34_278_057


def test_its_parts_have_as_many_parameters_as_stated():
    model = on_paper(3, 1, "res2net50")
    assert [count_parameters(field) for field in model.fields] == [178_112, 260_032, 423_872]
    assert count_parameters(model.decoder) == 277_473
    assert count_parameters(model.guide) + count_parameters(model.edge) == 91_074
    assert count_parameters(model.reverse4) == 5_851_394
    assert count_parameters(model.reverse3) == 177_090
    assert count_parameters(model.reverse2) == 144_322
    assert count_parameters(model.backbone) == 23_669_352


def test_the_network_is_as_large_and_in_training_as_costly_as_stated(backbone):
    colour, grey = (on_paper(channels, 1, backbone) for channels in (3, 1))
    total, saved, costs = ROWS[backbone]
    assert count_parameters(colour) == total
    assert count_parameters(grey) == total - saved
    for side, expected in costs.items():
        assert count_macs(colour, (side, side), maps=True) == expected
    assert count_macs(grey, (512, 512), maps=True) == GREY[backbone]


def test_prediction_saves_the_one_layer_that_draws_the_edge():
    saved = 64 * 9 * 64 * 64  # at a quarter of 256
    cost = count_macs(on_paper(3, 1, "res2net50"), (256, 256))
    assert cost == ROWS["res2net50"][2][256] - saved


@pytest.mark.parametrize(("name", "size"), [("res2net50", (136, 133)), ("vgg16", (64, 96))])
def test_all_outputs_have_the_size_of_the_image(name, size):
    model = on_paper(1, 2, name)
    outputs = model.forward_for_loss(torch.empty(1, 1, *size, device="meta"))
    assert sizes(outputs) == [(1, 2, *size)] * 5


def test_maps_come_at_the_strides_of_the_sheet(backbone):
    model = on_paper(1, 1, backbone)
    features = model.backbone(torch.empty(1, 1, 128, 128, device="meta"))
    strides = [128 // m.shape[2] for m in model._decode(features)]  # s2, s3, s4, S_g, guide
    assert strides == ([4, 8, 16, 4, 2] if backbone == "vgg16" else [8, 16, 32, 8, 4])


def test_a_prediction_is_the_first_output_of_training(vgg):
    x = torch.randn(1, 1, 32, 40)
    with torch.no_grad():
        outputs = vgg.forward_for_loss(x, torch.zeros(1, 1, 32, 40))
        assert torch.equal(vgg(x), outputs.logits)
    assert len(outputs.sides) == 3
    assert outputs.maps == []


@pytest.mark.parametrize("size", [(45, 33), (20, 7)])
def test_an_odd_image_is_padded_below_and_to_the_right_and_cut_back(vgg, size):
    h, w = size
    x = torch.randn(1, 1, h, w)
    whole = F.pad(
        x, (0, (48 if w > 32 else 32) - w, 0, (48 if h > 32 else 32) - h), mode="replicate"
    )
    with torch.no_grad():
        found, expected = vgg.forward_for_loss(x), vgg.forward_for_loss(whole)
    for a, b in zip([found.logits, found.edge], [expected.logits, expected.edge], strict=True):
        assert torch.equal(a, b[..., :h, :w])


def test_res2net_computes_on_a_small_odd_image():
    model = seeded()
    with torch.no_grad():
        logits = model(torch.randn(1, 1, 33, 40))
    assert logits.shape == (1, 1, 33, 40)
    assert logits.isfinite().all()


def test_a_receptive_field_adds_its_shortcut_and_ends_in_relu():
    torch.manual_seed(0)
    field = ReceptiveField(6, 4).eval()
    x = torch.randn(1, 6, 20, 20)
    paths = torch.cat([path(x) for path in field.paths], dim=1)
    assert paths.min() < 0  # units have no activation
    assert torch.equal(field(x), torch.relu(field.join(paths) + field.shortcut(x)))


def test_the_paths_of_a_receptive_field_reach_ever_further():
    field = ReceptiveField(1, 1).eval()
    for parameter in field.parameters():
        parameter.data.abs_()
    reach = []
    for path in field.paths:
        x = torch.ones(1, 1, 31, 31, requires_grad=True)
        path(x)[0, 0, 15, 15].backward()
        rows, columns = x.grad[0, 0].nonzero().T
        reach.append((int(rows.max()) - 15, int(columns.max()) - 15))
    assert reach == [(0, 0), (4, 4), (7, 7), (10, 10)]  # k // 2 and the dilation k


def test_the_partial_decoder_is_what_the_sheet_writes_out():
    torch.manual_seed(0)
    d = PartialDecoder(4, 2).eval()
    r2, r3, r4 = (torch.randn(1, 4, 3 * side, 4 * side) for side in (4, 2, 1))

    def up(x):
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)

    u3 = d.r4_on_r3(up(r4)) * r3
    u2 = d.r4_on_r2(up(up(r4))) * d.r3_on_r2(up(r3)) * r2
    c3 = d.join3(torch.cat([u3, d.r4_beside(up(r4))], dim=1))
    c2 = d.join2(torch.cat([u2, d.c3_beside(up(c3))], dim=1))
    assert torch.equal(d(r2, r3, r4), d.score(d.last(c2)))
    units = [d.r4_on_r3, d.r4_on_r2, d.r3_on_r2, d.r4_beside, d.c3_beside]
    assert len({id(unit[0].weight) for unit in units}) == 5  # none is shared


def test_a_level_changes_the_deeper_map_and_looks_away_from_it(vgg):
    torch.manual_seed(0)
    x1, x2, x3, x4 = features()
    with torch.no_grad():
        s2, s3, s4, s_g, guide = vgg._decode((x1, x2, x3, x4))
        for x, level, deeper, found in (
            (x4, vgg.reverse4, s_g, s4),
            (x3, vgg.reverse3, s4, s3),
            (x2, vgg.reverse2, s3, s2),
        ):
            g = F.interpolate(deeper, x.shape[2:], mode="bilinear", align_corners=False)
            expected = g + level(x, 1 - torch.sigmoid(g), guide)
            torch.testing.assert_close(found, expected)


def test_where_the_deeper_map_is_sure_the_features_are_not_looked_at():
    torch.manual_seed(0)
    level = Reverse(8, 16, 1, (3, 3)).eval()
    guide, sure = torch.randn(1, 64, 8, 8), torch.zeros(1, 1, 4, 4)
    first, second = (level(torch.randn(1, 8, 4, 4), sure, guide) for _ in range(2))
    assert torch.equal(first, second)


def test_several_classes_look_away_from_the_most_probable_in_front():
    logits = torch.tensor([2.0, -1.0, 0.5]).reshape(1, 3, 1, 1)
    one, many = on_paper(1, 1, "vgg16"), on_paper(1, 3, "vgg16")
    exclusive = on_paper(1, 3, "vgg16", classes="softmax")
    torch.testing.assert_close(one._away(logits[:, :1]), 1 - logits[:, :1].sigmoid())
    torch.testing.assert_close(many._away(logits), 1 - logits[:, :1].sigmoid())
    torch.testing.assert_close(exclusive._away(logits), 1 - logits.softmax(dim=1)[:, 2:])


@pytest.mark.parametrize("what", ["edge", "s2", "s3", "s4"])
def test_the_edge_branch_is_taught_by_the_edge_and_by_every_reverse_level(vgg, what):
    torch.manual_seed(0)
    x1, x2, x3, x4 = features()
    x1.requires_grad_()  # alone: what reaches it comes through the edge branch
    s2, s3, s4, s_g, guide = vgg._decode((x1, x2, x3, x4))
    assert torch.autograd.grad(s_g.sum(), x1, allow_unused=True, retain_graph=True) == (None,)
    output = {"edge": vgg.edge(guide), "s2": s2, "s3": s3, "s4": s4}[what]
    (gradient,) = torch.autograd.grad(output.square().sum(), x1)
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize("name", ["res2net50", "vgg16"])
def test_every_parameter_gets_a_gradient(name):
    model = seeded(2, 3, name).train()
    outputs = model.forward_for_loss(torch.randn(2, 2, 64, 64))
    weights = torch.randn(2, 3, 64, 64)
    sum((o * weights).sum() for o in (outputs.logits, *outputs.sides, outputs.edge)).backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.abs().sum() > 0, parameter_name


def test_weights_of_a_public_file_fit_the_backbone(tmp_path):
    model = seeded(backbone="vgg16")
    source = vgg16(3)
    tensors = source.state_dict() | {"classifier.0.weight": torch.ones(1)}
    load_backbone(model.backbone, tensors, tmp_path / "vgg16.pth", model.backbone_own)
    expected = source.features[0].weight.sum(dim=1, keepdim=True)
    assert torch.equal(model.backbone.features[0].weight, expected)
    assert torch.equal(model.backbone.features[28].bias, source.features[28].bias)


@pytest.mark.slow
def test_the_network_can_be_exported_for_any_batch():
    model = seeded(backbone="vgg16")
    batch = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(model, (torch.randn(2, 1, 32, 40),), dynamic_shapes=batch)
    x = torch.randn(3, 1, 32, 40)
    torch.testing.assert_close(program.module()(x), model(x))


def test_what_it_cannot_take_is_refused():
    with pytest.raises(UsageError, match="did you mean 'res2net50'"):
        InfNet(backbone="res2net")
    with pytest.raises(UsageError, match="two maps or more"):
        InfNet(classes="one-vs-rest")
    model = copy.deepcopy(on_paper(1, 1, "res2net50")).train()
    for shape in [(1, 3, 64, 64), (1, 64, 64)]:
        with pytest.raises(ShapeError, match=r"takes \(batch, 1, height, width\)"):
            model(torch.empty(shape, device="meta"))
    with pytest.raises(ShapeError, match="batch of two or more"):
        model(torch.empty(1, 1, 32, 32, device="meta"))


def test_the_second_stage_is_as_large_and_as_costly_as_stated():
    model = on_paper(kind=MultiClassStage)
    assert count_parameters(model) == 17_269_251
    costs = [count_macs(model, (side, side)) for side in (256, 352, 512)]
    assert costs == [40_101_740_544, 75_817_353_216, 160_406_962_176]


@pytest.mark.parametrize("size", [(16, 16), (45, 33)])
def test_the_second_stage_takes_any_size(size):
    model = seeded(kind=MultiClassStage)
    with torch.no_grad():
        assert model(torch.randn(1, 6, *size)).shape == (1, 3, *size)
    with pytest.raises(ShapeError, match=r"it takes \(batch, 6, height, width\)"):
        model(torch.randn(1, 3, *size))


def test_the_second_stage_joins_the_skip_first_and_halves_the_channels_in_the_middle():
    model = on_paper(kind=MultiClassStage)
    widths = [(b[0].in_channels, b[0].out_channels, b[3].out_channels) for b in model.up]
    assert widths == [(1024, 512, 256), (512, 256, 128), (256, 128, 64), (128, 64, 64)]
    model = seeded(kind=MultiClassStage)
    seen = {}
    model.down[3].register_forward_hook(lambda m, i, o: seen.update(skip=o))
    model.down[4].register_forward_hook(lambda m, i, o: seen.update(deeper=o))
    model.up[0].register_forward_pre_hook(lambda m, i: seen.update(joined=i[0]))
    with torch.no_grad():
        model(torch.randn(1, 6, 48, 32))
    up = F.interpolate(seen["deeper"], scale_factor=2, mode="bilinear", align_corners=True)
    assert torch.equal(seen["joined"], torch.cat([seen["skip"], up], dim=1))
