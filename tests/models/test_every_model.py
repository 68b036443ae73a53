"""What every network of MODELS promises; a new row is tested without a new test.

Networks are narrow where they have such an option; SPNet and Inf-Net are tested whole.
"""

import warnings

import pytest
import torch
from safetensors.torch import load_model, save_model

from crosslinknet.config import ATTENTIVE, LossConfig
from crosslinknet.errors import ShapeError, UsageError
from crosslinknet.losses import SegmentationLoss
from crosslinknet.models import (
    MODELS,
    VARIANTS,
    Model,
    Outputs,
    build_model,
    count_macs,
    count_parameters,
)

NARROW = {
    **{name: {"widths": (4, 8, 8, 12, 16)} for name in ATTENTIVE},
    "unet": {"widths": (4, 8, 8, 12, 16)},
    "dense-unet": {"width": 8},
    "gridnet": {"base_channels": 4, "contour": True},
    "inf-net": {"backbone": "vgg16"},
    "crossover-net": {"pixels": 60},
    "attention-unet": {"widths": (4, 8, 8, 12, 16)},
    "unet++": {"widths": (4, 4, 8, 8, 12, 4), "deep_supervision": True},
    "swin-unetr": {"feature_size": 12},
    "dynunet": {"base_channels": 4, "deep_supervision": True},
}
SIZES = [(64, 64), (32, 32), (33, 47), (95, 40), (50, 101)]

# Parameters without a gradient, but for rounding: biases in front of a batch norm, which takes them
# out again. So MONAI builds its units, and so DARTS was published.
DEAD = {
    "attention-unet": (".conv.bias",),
    "dense-unet": ("conv.bias", *(f"convs.{n}.bias" for n in range(4))),
}


def narrow(name, **options):
    torch.manual_seed(0)
    return build_model(name, **{**NARROW.get(name, {}), **options})


def boxes(size=64):
    """Two bright boxes on noise, and their masks: (2, 1, size, size) each."""
    torch.manual_seed(1)
    target = torch.zeros(2, 1, size, size)
    target[0, :, size // 8 : size // 2, size // 4 : size // 2] = 1.0
    target[1, :, size // 4 : size // 2, size // 8 : -size // 8] = 1.0
    return target + 0.2 * torch.randn_like(target), target


def outputs_of(model, image, target):
    """What training sees."""
    if hasattr(model, "forward_for_loss"):
        return model.forward_for_loss(image, target)
    return Outputs(model(image))


def loss_of(name, **more):
    """The common loss, with attention where the network has heads for it."""
    weights = {"attention": 0.5 if name in ATTENTIVE else 0.0, "blocks": [1, 3], **more}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the weights sum to another number than 1
        return SegmentationLoss(LossConfig(**weights))


@pytest.fixture(params=list(MODELS))
def name(request):
    return request.param


def test_logits_keep_the_size_of_the_image(name):
    model = narrow(name, in_channels=2, num_classes=3).eval()
    with torch.inference_mode():
        for size in SIZES:
            assert model(torch.randn(1, 2, *size)).shape == (1, 3, *size)


def test_every_parameter_gets_a_gradient(name):
    more = {"attention_blocks": (1, 3)} if name in ATTENTIVE else {}
    model = narrow(name, **more).train()
    image, target = boxes()
    loss_of(name)(target, *outputs_of(model, image, target)).total.backward()
    dead = [
        n
        for n, p in model.named_parameters()
        if p.requires_grad and (p.grad is None or p.grad.abs().sum() == 0)
    ]
    known = DEAD.get(name, ())
    assert [n for n in dead if not n.endswith(known)] == []


@pytest.mark.parametrize("name", [name for name in MODELS if name != "crossover-net"])
def test_what_training_sees_has_the_same_logits(name):  # crossover-net draws pixels of them
    model = narrow(name).eval()
    image, target = boxes()
    with torch.inference_mode():
        assert torch.equal(outputs_of(model, image, target).logits, model(image))


@pytest.mark.parametrize("name", ATTENTIVE)
def test_attention_maps_have_the_size_of_their_block(name):
    model = narrow(name, attention_blocks=(1, 2, 3, 4, 5)).eval()
    image, target = boxes()
    maps = model.forward_for_loss(image, target).maps
    assert len(maps) == 5
    for block, scores in enumerate(maps, start=1):
        assert {tuple(s.shape) for s in scores} == {(2, 1, 64 >> (block - 1), 64 >> (block - 1))}


def test_a_prediction_ignores_its_batch_mates(name):
    model = narrow(name).eval()
    image, _ = boxes()
    with torch.inference_mode():
        torch.testing.assert_close(model(image)[:1], model(image[:1]), atol=1e-4, rtol=1e-4)


def test_the_same_seed_gives_the_same_bits_after_a_step(name):
    image, target = boxes(32)
    weights = []
    for _ in range(2):
        model = narrow(name, attention_blocks=(1, 3)) if name in ATTENTIVE else narrow(name)
        optimizer = torch.optim.SGD(model.train().parameters(), lr=0.01)
        loss_of(name)(target, *outputs_of(model, image, target)).total.backward()
        optimizer.step()
        weights.append(list(model.state_dict().values()))
    for a, b in zip(*weights, strict=True):
        assert torch.equal(a, b)


def test_weights_survive_a_round_trip_through_a_file(name, tmp_path):
    model, other = narrow(name), narrow(name)
    image, target = boxes(32)
    outputs_of(model.train(), image, target)  # statistics that are not those of a new network
    save_model(model, tmp_path / "model.safetensors")
    load_model(other, tmp_path / "model.safetensors")
    with torch.inference_mode():
        assert torch.equal(model.eval()(image), other.eval()(image))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_slice_can_be_learnt_by_heart(name):
    rate = {"crossover-net": 1e-3, "spnet": 1e-4, "inf-net": 1e-3, "swin-unetr": 5e-3}
    model = narrow(name).train()
    side = 128 if name == "spnet" else 64  # its logits have an eighth of the side
    image, target = (one[1:] for one in boxes(side))
    optimizer = torch.optim.Adam(model.parameters(), lr=rate.get(name, 2e-2))
    loss = loss_of(name, bce=0.5, dice=0.5, attention=0.0)
    dice = 0.0
    for step in range(300):
        optimizer.zero_grad()
        loss(target, *outputs_of(model, image, target)).total.backward()
        optimizer.step()
        if step % 20 == 19:
            model.eval()
            with torch.inference_mode():
                pred = model(image) > 0
            model.train()
            dice = 2 * (pred & (target > 0)).sum() / (pred.sum() + target.sum())
            if dice > 0.95:
                break
    assert dice > 0.95


def test_the_memory_layout_does_not_change_the_logits(name):
    model = narrow(name).eval()
    image, _ = boxes()
    with torch.inference_mode():
        expected = model(image)
        model = model.to(memory_format=torch.channels_last)
        found = model(image.to(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


def test_bfloat16_changes_the_logits_only_by_rounding(name):
    model = narrow(name).eval()
    image, _ = boxes(32)
    with torch.inference_mode():
        with torch.autocast("cpu", torch.bfloat16):
            rounded = model(image).float()
        expected = model(image)
    assert (rounded - expected).norm() < 0.1 * expected.norm()


@pytest.mark.slow
def test_a_network_can_be_exported(name):
    model = narrow(name).eval()
    image = boxes()[0][:, :, :40, :33]
    program = torch.export.export(model, (image,))
    torch.testing.assert_close(program.module()(image), model(image), atol=1e-4, rtol=1e-4)


def test_a_batch_of_one_at_32x32_is_trained_or_refused_with_a_reason(name):
    model = narrow(name).train()
    image, target = boxes(32)
    if name in ATTENTIVE:  # five poolings leave a single pixel
        with pytest.raises(ShapeError, match=r"a single value per channel .* Use a batch of two"):
            outputs_of(model, image[:1], target[:1])
    else:
        assert outputs_of(model, image[:1], target[:1]).logits.isfinite().all()


def test_an_image_with_other_channels_is_refused(name):
    with pytest.raises(ShapeError, match=r"it takes \(batch, 1, height, width\)"):
        narrow(name).eval()(torch.zeros(1, 3, 64, 64))


def test_a_network_says_where_it_comes_from_and_what_it_costs(name):
    assert MODELS[name].dimensions == 2
    assert len(MODELS[name].source) > 10
    for options in VARIANTS.get(name, [{}]):
        with torch.device("meta"):
            model = build_model(name, **options)
        assert count_macs(model, (64, 64)) > count_parameters(model) / 100


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
    with pytest.raises(UsageError, match="known are attention-unet, crosslink-net"):
        build_model("zzzzzz")
