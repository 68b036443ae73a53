"""Backbones: names and sizes of the public files, strides, and what a file of weights must hold."""

import io
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from crosslinknet.errors import DataError
from crosslinknet.models.backbones import (
    load_backbone,
    res2net50,
    resnet50,
    resnet50s,
    resnet101s,
    vgg16,
)
from crosslinknet.models.backbones.res2net import Block

EVERY = {  # parameters, tensors of the file without its classifier
    resnet50: (23_508_032, 318),
    resnet50s: (23_631_808, 330),
    resnet101s: (42_623_936, 636),
    res2net50: (23_669_352, 522),
    vgg16: (14_714_688, 26),
}
STRIDES = {
    resnet50: (4, 8, 16, 32),
    resnet50s: (4, 8, 8, 8),
    resnet101s: (4, 8, 8, 8),
    res2net50: (4, 8, 16, 32),
    vgg16: (2, 4, 8, 16),
}


def on_paper(build, *arguments):
    with torch.device("meta"):
        return build(*arguments)


def settled(model):
    """Batch norm as after a training: no scale is 1, no mean 0."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, 0.0, 0.1)
            module.running_mean.normal_(0.0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model.eval()


def import_timm():
    """Timm, or a skip: it is no dependency, and fails with a torchvision of another torch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import timm
        except (ImportError, RuntimeError) as error:
            pytest.skip(f"timm cannot be imported ({error}): nothing to compare with")
    return timm


@pytest.fixture(params=EVERY, ids=lambda build: build.__name__)
def build(request):
    return request.param


def test_it_has_as_many_parameters_and_tensors_as_the_public_file(build):
    model = on_paper(build)
    state = model.state_dict()
    assert (sum(p.numel() for p in model.parameters()), len(state)) == EVERY[build]


@pytest.mark.parametrize(
    ("build", "less"), [(resnet50, 6_272), (resnet50s, 1_152), (res2net50, 576), (vgg16, 1_152)]
)
def test_a_grey_stem_has_two_thirds_less(build, less):
    grey, colour = (
        sum(p.numel() for p in on_paper(build, channels).parameters()) for channels in (1, 3)
    )
    assert colour - grey == less


def test_its_maps_have_the_stated_channels_and_strides(build):
    model = on_paper(build).eval()
    maps = model(torch.empty(1, 3, 64, 96, device="meta"))
    assert tuple(m.shape[1] for m in maps) == model.channels
    assert tuple(64 // m.shape[2] for m in maps) == STRIDES[build]
    assert tuple(96 // m.shape[3] for m in maps) == STRIDES[build]
    assert model.stride == STRIDES[build][-1]


def test_resnet_has_the_names_of_torchvision():
    state = on_paper(resnet50).state_dict()
    shapes = {
        "conv1.weight": (64, 3, 7, 7),
        "bn1.running_var": (64,),
        "layer1.0.conv1.weight": (64, 64, 1, 1),
        "layer1.0.downsample.0.weight": (256, 64, 1, 1),
        "layer1.0.downsample.1.bias": (256,),
        "layer3.5.conv2.weight": (256, 256, 3, 3),
        "layer4.2.bn3.num_batches_tracked": (),
    }
    assert {name: tuple(state[name].shape) for name in shapes} == shapes


@pytest.mark.parametrize("build", [resnet50s, resnet101s])
def test_a_deep_stem_has_the_names_of_timm(build):
    state = on_paper(build).state_dict()
    shapes = {
        "conv1.0.weight": (64, 3, 3, 3),
        "conv1.1.weight": (64,),
        "conv1.3.weight": (64, 64, 3, 3),
        "conv1.4.bias": (64,),
        "conv1.6.weight": (128, 64, 3, 3),
        "bn1.weight": (128,),
        "layer1.0.conv1.weight": (64, 128, 1, 1),
        "layer4.0.downsample.0.weight": (2048, 1024, 1, 1),
    }
    assert {name: tuple(state[name].shape) for name in shapes} == shapes


def test_res2net_has_the_names_of_timm():
    state = on_paper(res2net50).state_dict()
    shapes = {
        "conv1.6.weight": (64, 32, 3, 3),
        "layer1.0.conv1.weight": (104, 64, 1, 1),
        "layer1.0.convs.2.weight": (26, 26, 3, 3),
        "layer1.0.bns.0.bias": (26,),
        "layer2.0.downsample.1.weight": (512, 256, 1, 1),
        "layer2.0.downsample.2.weight": (512,),
        "layer4.2.conv3.weight": (2048, 832, 1, 1),
    }
    assert {name: tuple(state[name].shape) for name in shapes} == shapes
    assert "layer1.0.convs.3.weight" not in state


def test_vgg_has_the_names_of_torchvision_and_averages_where_torchvision_takes_the_largest():
    features = on_paper(vgg16).features
    convs = [i for i, layer in enumerate(features) if isinstance(layer, nn.Conv2d)]
    pools = [i for i, layer in enumerate(features) if isinstance(layer, nn.AvgPool2d)]
    assert convs == [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
    assert pools == [4, 9, 16, 23]
    assert len(features) == 30  # the pooling after relu5_3 is not used


def test_vgg_gives_relu2_2_to_relu5_3_untouched_by_what_follows():
    torch.manual_seed(0)
    model = vgg16(1).eval()
    x = torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        maps = model(x)
        for place, found in zip((8, 15, 22, 29), maps, strict=True):
            assert torch.equal(found, model.features[: place + 1](x))
            assert found.min() >= 0


@pytest.mark.parametrize("build", [resnet50s, resnet101s])
def test_the_dilations_grow_in_layer4_and_begin_with_one_in_layer3(build):
    model = on_paper(build)
    layers = [model.layer1, model.layer2, model.layer3, model.layer4]
    for layer in layers:
        for block in layer:
            assert block.conv2.padding == block.conv2.dilation
    found = [[block.conv2.dilation[0] for block in layer] for layer in layers]
    assert found == [[1] * 3, [1] * 4, [1] + [2] * (len(model.layer3) - 1), [4, 8, 16]]
    assert [layer[0].conv2.stride[0] for layer in layers] == [1, 2, 1, 1]


@pytest.mark.parametrize("first", [True, False])
def test_a_block_of_res2net_chains_its_scales_except_where_they_change_size(first):
    torch.manual_seed(0)
    block = Block(8, 2, 8, stride=2 if first else 1, first=first).eval()
    block.conv1 = nn.Identity()
    for conv in block.convs:
        nn.init.uniform_(conv.weight, 0.1, 1.0)  # so that no ReLU hides a path
    seen = {}
    block.conv3.register_forward_pre_hook(lambda m, i: seen.update(joined=i[0]))
    start = torch.rand(1, 8, 8, 8, requires_grad=True)
    block(start)
    reached = []
    for scale in seen["joined"].chunk(4, dim=1):
        (gradient,) = torch.autograd.grad(scale.sum(), start, retain_graph=True)
        reached.append([bool(g.abs().sum() > 0) for g in gradient.chunk(4, dim=1)])
    apart = [[i == j for j in range(4)] for i in range(4)]
    chained = [[j <= i for j in range(4)] for i in range(3)] + [[False, False, False, True]]
    assert reached == (apart if first else chained)


@pytest.mark.parametrize("build", [resnet50, resnet50s, res2net50, vgg16])
def test_a_file_of_three_channels_gives_a_grey_network_the_same_output(build, tmp_path):
    torch.manual_seed(0)
    colour = settled(build(3))
    file = io.BytesIO()
    torch.save({**colour.state_dict(), "fc.weight": torch.ones(2), "fc.bias": torch.ones(1)}, file)
    file.seek(0)
    grey = build(1)
    load_backbone(grey, torch.load(file, weights_only=True), tmp_path / "public.pth")
    grey.eval()
    x = torch.randn(1, 1, 40, 33)
    with torch.no_grad():
        for found, expected in zip(grey(x), colour(x.expand(1, 3, 40, 33)), strict=True):
            scale = expected.abs().max()
            torch.testing.assert_close(found / scale, expected / scale, atol=1e-5, rtol=0)


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone."])
def test_a_prefix_of_all_names_is_cut_off_and_the_classifier_dropped(prefix, tmp_path):
    torch.manual_seed(0)
    source, model = vgg16(1), vgg16(1)
    tensors = {**source.state_dict(), "classifier.6.weight": torch.ones(2)}
    load_backbone(model, {prefix + name: t for name, t in tensors.items()}, tmp_path / "v.pth")
    for found, expected in zip(model.parameters(), source.parameters(), strict=True):
        assert torch.equal(found, expected)


def test_names_that_all_begin_with_features_are_no_prefix(tmp_path):
    model = on_paper(vgg16)
    load_backbone(model, model.state_dict(), tmp_path / "v.pth")


def test_counters_of_batches_and_own_parts_may_be_missing(tmp_path):
    model = on_paper(resnet50s, 3, lambda c: nn.Conv2d(c, c, 1), ("layer4.2",))
    tensors = on_paper(resnet50s).state_dict()
    tensors = {n: t for n, t in tensors.items() if not n.endswith("num_batches_tracked")}
    load_backbone(model, tensors, tmp_path / "r.pth", own=(".gate.",))
    with pytest.raises(DataError, match=r"\(missing: layer4.2.gate.weight, layer4.2.gate.bias\)"):
        load_backbone(model, tensors, tmp_path / "r.pth")


def test_a_file_of_another_stem_is_refused_and_names_what_would_fit(tmp_path):
    path = tmp_path / "resnet50-19c8e357.pth"
    with pytest.raises(DataError) as caught:
        load_backbone(on_paper(resnet50s), on_paper(resnet50).state_dict(), path)
    message = str(caught.value)
    assert str(path) in message
    assert "missing: conv1.0.weight, conv1.1.weight, conv1.1.bias" in message
    assert "unexpected: conv1.weight" in message
    assert "bn1.weight (64,) instead of (128,)" in message
    assert "torchvision's 7x7 stem does not fit" in message


def test_a_message_lists_five_names_and_counts_the_rest(tmp_path):
    with pytest.raises(DataError, match=r"missing: (\S+, ){4}\S+ and 21 more; unexpected: odd\)"):
        load_backbone(on_paper(vgg16), {"odd": torch.ones(1)}, tmp_path / "v.pth")


def test_an_empty_file_and_a_wrong_depth_are_refused(tmp_path):
    with pytest.raises(DataError, match="and 260 more"):
        load_backbone(on_paper(resnet50), {}, tmp_path / "r.pth")
    with pytest.raises(DataError, match=r"unexpected: layer3\.6\.conv1\.weight"):
        load_backbone(on_paper(resnet50s), on_paper(resnet101s).state_dict(), tmp_path / "r.pth")


def test_a_refused_file_leaves_the_backbone_as_it_was(tmp_path):
    model = vgg16(1)
    before = model.features[0].weight.clone()
    tensors = {n: torch.zeros_like(t) for n, t in model.state_dict().items()}
    del tensors["features.28.bias"]
    with pytest.raises(DataError, match=r"features\.28\.bias"):
        load_backbone(model, tensors, tmp_path / "v.pth")
    assert torch.equal(model.features[0].weight, before)


def test_colour_weights_do_not_fit_two_channels(tmp_path):
    tensors = on_paper(vgg16).state_dict()
    with pytest.raises(DataError, match=r"3 channels, and the network takes 2\."):
        load_backbone(on_paper(vgg16, 2), tensors, tmp_path / "v.pth")


def test_grey_weights_do_not_fit_three_channels(tmp_path):
    with pytest.raises(DataError, match=r"features\.0\.weight \(64, 1, 3, 3\) instead of"):
        load_backbone(on_paper(vgg16, 3), on_paper(vgg16, 1).state_dict(), tmp_path / "v.pth")


@pytest.mark.parametrize(
    ("build", "name", "options"),
    [
        (resnet50, "resnet50", {}),
        (resnet50s, "resnet50s", {"output_stride": 8}),
        (resnet101s, "resnet101s", {"output_stride": 8}),
        (res2net50, "res2net50d", {}),
    ],
)
def test_it_equals_timm_with_the_same_weights(build, name, options):
    theirs = import_timm().create_model(name, num_classes=0, **options).eval()
    if options:  # the one difference: timm dilates layer4 by 2, 4, 4
        for block, dilation in zip(theirs.layer4, (4, 8, 16), strict=True):
            block.conv2.dilation = block.conv2.padding = (dilation, dilation)
    torch.manual_seed(0)
    ours = settled(build())
    theirs.load_state_dict(ours.state_dict())  # strict: the same names
    x = torch.randn(1, 3, 49, 64)
    with torch.no_grad():
        assert torch.equal(ours(x)[-1], theirs.forward_features(x))


def test_vgg_equals_timm_with_averages_for_its_poolings():
    theirs = import_timm().create_model("vgg16", num_classes=0).features.eval()
    for place in (4, 9, 16, 23):
        assert isinstance(theirs[place], nn.MaxPool2d)
        theirs[place] = nn.AvgPool2d(2)
    torch.manual_seed(0)
    ours = vgg16().eval()
    theirs.load_state_dict(ours.features.state_dict())
    x = torch.randn(1, 3, 48, 64)
    with torch.no_grad():
        assert torch.equal(F.max_pool2d(ours(x)[-1], 2), theirs(x))
