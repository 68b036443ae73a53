"""What every network of MODELS promises; a new row is tested without a new test."""

import pytest
import torch
from safetensors.torch import load_model, save_model

from crosslinknet.config import LossConfig
from crosslinknet.errors import UsageError
from crosslinknet.losses import SegmentationLoss
from crosslinknet.models import MODELS, Model, build_model, count_parameters

NARROW = (4, 8, 8, 12, 16)


def narrow(name, **options):
    torch.manual_seed(0)
    return build_model(name, **{"widths": NARROW, **options})


def boxes(size=64):
    """Two bright boxes on noise, and their masks: (2, 1, size, size) each."""
    torch.manual_seed(1)
    target = torch.zeros(2, 1, size, size)
    target[0, :, size // 8 : size // 2, size // 4 : size // 2] = 1.0
    target[1, :, size // 4 : size // 2, size // 8 : -size // 8] = 1.0
    return target + 0.2 * torch.randn_like(target), target


@pytest.fixture(params=list(MODELS))
def name(request):
    return request.param


@pytest.mark.parametrize("size", [(64, 64), (33, 47)])
def test_logits_keep_the_size_of_the_image(name, size):
    model = narrow(name, in_channels=2, num_classes=3).eval()
    assert model(torch.randn(2, 2, *size)).shape == (2, 3, *size)


def test_every_parameter_gets_a_gradient(name):
    model = narrow(name, attention_blocks=(1, 3)).train()
    image, target = boxes()
    loss = SegmentationLoss(LossConfig(form="pairwise", blocks=[1, 3]))
    loss(target, *model.forward_for_loss(image)).total.backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.abs().sum() > 0, parameter_name


def test_asking_for_maps_does_not_change_the_logits(name):
    model = narrow(name, attention_blocks=(1, 2, 3, 4, 5)).eval()
    image, _ = boxes()
    logits, _, maps, *_ = model.forward_for_loss(image)
    assert torch.equal(model(image), logits)
    assert len(maps) == 5
    for block, scores in enumerate(maps, start=1):
        assert {tuple(s.shape) for s in scores} == {(2, 1, 64 >> (block - 1), 64 >> (block - 1))}


def test_a_prediction_ignores_its_batch_mates(name):
    model = narrow(name).eval()
    image, _ = boxes()
    torch.testing.assert_close(model(image)[:1], model(image[:1]), atol=1e-5, rtol=1e-5)


def test_the_same_seed_gives_the_same_network(name):
    first, second = narrow(name), narrow(name)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_weights_survive_a_round_trip_through_a_file(name, tmp_path):
    model, other = narrow(name), narrow(name)
    image, _ = boxes()
    model.train()(image)  # statistics that are not those of a new network
    save_model(model, tmp_path / "model.safetensors")
    load_model(other, tmp_path / "model.safetensors")
    assert torch.equal(model.eval()(image), other.eval()(image))


def test_two_slices_can_be_learnt_by_heart(name):
    model = narrow(name, widths=(8,) * 5).train()
    image, target = boxes(32)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)
    loss = SegmentationLoss(LossConfig(bce=0.5, dice=0.5, attention=0))
    for _ in range(10):
        optimizer.zero_grad()
        loss(target, model(image)).total.backward()
        optimizer.step()
    pred = model(image) > 0
    dice = 2 * (pred & (target > 0)).sum() / (pred.sum() + target.sum())
    assert dice > 0.8


def test_the_memory_layout_does_not_change_the_logits(name):
    model = narrow(name).eval()
    image, _ = boxes()
    expected = model(image)
    model = model.to(memory_format=torch.channels_last)
    found = model(image.to(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_autocast_changes_the_logits_only_by_rounding(name):
    model = narrow(name).eval()
    image, _ = boxes()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(image).float()
    expected = model(image)
    assert (rounded - expected).abs().max() < 0.05 * expected.abs().max()


def test_a_network_says_where_it_comes_from(name):
    assert MODELS[name].dimensions == 2
    assert "Yu et al." in MODELS[name].source


def test_a_network_of_your_own_is_one_line(monkeypatch):
    def build(in_channels, num_classes, depth=1):
        return torch.nn.Sequential(
            *[torch.nn.Conv2d(in_channels, num_classes, 1) for _ in range(depth)]
        )

    monkeypatch.setitem(MODELS, "mine", Model(build, 2, "my thesis"))
    assert count_parameters(build_model("mine")) == 2
    assert count_parameters(build_model("mine", depth=3)) == 6
    with pytest.raises(UsageError, match="dpth is unknown; did you mean 'depth'"):
        build_model("mine", dpth=3)


def test_a_tensor_that_two_layers_share_is_counted_once():
    layer = torch.nn.Conv2d(1, 1, 3)
    assert count_parameters(torch.nn.Sequential(layer, layer)) == 10


@pytest.mark.parametrize("options", [{"in_channels": 0}, {"num_classes": 0}, {"num_classes": -1}])
def test_a_network_needs_a_channel_and_a_class(name, options):
    with pytest.raises(UsageError, match="at least one of each"):
        build_model(name, **options)


def test_an_unknown_name_is_an_error_that_suggests():
    with pytest.raises(UsageError, match="'crosslinknet' is unknown; did you mean 'crosslink-net'"):
        build_model("crosslinknet")
    with pytest.raises(UsageError, match="known are crosslink-net, double2single"):
        build_model("zzzzzz")
