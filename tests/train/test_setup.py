import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from crosslinknet.checkpoint import MODEL_FORMAT, prefixed, write_checkpoint
from crosslinknet.config import RECIPES, Config, parse_config
from crosslinknet.errors import DataError, SystemProblem, UsageError
from crosslinknet.losses import SegmentationLoss
from crosslinknet.models import build_model
from crosslinknet.runs import open_run
from crosslinknet.train import has_bf16
from crosslinknet.train.setup import (
    learning_rate,
    make_fabric,
    make_optimizer,
    model_spec,
    start_weights,
    to_memory_format,
)

from ..models.test_released import NARROW as PUBLISHED_WIDTHS  # noqa: TID252
from ..models.test_released import published_state  # noqa: TID252

NARROW = {"widths": [2, 4, 4, 4, 4], "attention_blocks": [3]}


def config_of(**train) -> Config:
    return parse_config({"data": {"root": "data"}, "train": train})


# Learning rates: 100 steps of which 10 rise, up to 1.


def rates(schedule: str, warmup: float = 0.1, steps: int = 100) -> list[float]:
    config = config_of(schedule=schedule, warmup=warmup, lr=1.0)
    return [learning_rate(step, steps, config) for step in range(steps)]


def test_a_step_takes_a_tenth_from_half_of_the_steps_on():
    assert rates("step")[:50] == [1.0] * 50
    assert rates("step")[50:] == [0.1] * 50


def test_a_constant_rate_has_no_warm_up():
    assert rates("constant") == [1.0] * 100


@pytest.mark.parametrize(("schedule", "low"), [("one-cycle", 0.04), ("cosine", 0), ("poly", 0)])
def test_a_rate_rises_in_equal_steps_to_the_largest(schedule, low):
    rising = rates(schedule)[:10]
    assert rising == pytest.approx([low + (1 - low) * (i + 1) / 10 for i in range(10)])
    assert rising[-1] == pytest.approx(1)


@pytest.mark.parametrize("schedule", ["one-cycle", "cosine"])
def test_a_cosine_is_half_way_down_in_the_middle_and_ends_near_nothing(schedule):
    falling = rates(schedule)[10:]
    assert falling[0] == 1
    assert falling[45] == pytest.approx(0.5)
    assert falling[30] == pytest.approx(0.75)  # cos(60 degrees) = 1/2
    assert falling[89] == pytest.approx(0.5 * (1 - math.cos(math.pi / 90)))


def test_poly_falls_with_the_power_of_nnunet():
    falling = rates("poly")[10:]
    assert falling[0] == 1
    assert falling[45] == pytest.approx(0.5**0.9)
    assert falling[89] == pytest.approx((1 / 90) ** 0.9)


def test_without_warm_up_the_first_rate_is_the_largest():
    assert {rates(schedule, warmup=0)[0] for schedule in ("one-cycle", "cosine", "poly")} == {1.0}


def test_a_rate_never_becomes_nothing():
    assert rates("cosine", steps=10_000)[-1] == 1e-4


@given(
    st.sampled_from(["one-cycle", "cosine", "poly", "constant"]),
    st.floats(0, 0.99),
    st.integers(1, 500),
)
def test_rates_rise_to_the_largest_and_then_fall(schedule, warmup, steps):
    values = rates(schedule, warmup, steps)
    assert all(0 < rate <= 1 + 1e-12 for rate in values)
    top = values.index(max(values))
    assert values[:top] == sorted(values[:top])
    assert values[top:] == sorted(values[top:], reverse=True)


# The recipe of the paper: Section IV-B and the specification, section 6.


def test_the_paper_recipe_is_that_of_the_paper():
    train = config_of(recipe="paper").train
    assert (train.optimizer, train.lr, train.weight_decay) == ("adam", 0.5e-5, 0.005)
    assert (train.batch_size, train.epochs, train.schedule) == (2, 15, "constant")
    assert (train.init, train.clip, train.foreground) == ("gaussian", None, 0)
    assert train.progressive == []
    optimizer = make_optimizer(nn.Linear(2, 2), config_of(recipe="paper"))
    assert type(optimizer) is torch.optim.Adam
    group = optimizer.param_groups[0]
    assert (group["betas"], group["eps"]) == ((0.9, 0.999), 1e-8)
    assert (group["lr"], group["weight_decay"]) == (0.5e-5, 0.005)


def test_a_key_that_is_written_wins_over_the_recipe():
    train = config_of(recipe="paper", epochs=100, lr=1e-4).train
    assert (train.epochs, train.lr, train.batch_size) == (100, 1e-4, 2)
    assert set(RECIPES) == {"practical", "paper", "published"}


def test_adam_adds_the_decay_to_the_gradient_as_the_paper_does():
    weight = nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    holder = nn.ParameterList([weight])
    optimizer = make_optimizer(holder, config_of(recipe="paper", lr=0.1, weight_decay=0.5))
    m, v, expected = 0.0, 0.0, 2.0
    for t, gradient in enumerate((0.3, -4.0), start=1):
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        g = gradient + 0.5 * expected  # L2: part of the gradient, hence of both moments
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        expected -= 0.1 * (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.999**t)) + 1e-8)
        assert weight.item() == pytest.approx(expected, rel=1e-12)


def test_adamw_shrinks_the_weight_apart_from_the_gradient():
    weight = nn.Parameter(torch.tensor([2.0]))
    optimizer = make_optimizer(nn.ParameterList([weight]), config_of(lr=0.1, weight_decay=0.5))
    weight.grad = torch.tensor([3.0])
    optimizer.step()
    assert weight.item() == pytest.approx(2 * (1 - 0.1 * 0.5) - 0.1)  # the first step is lr long


def test_sgd_has_nesterov_momentum():
    weight = nn.Parameter(torch.tensor([1.0]))
    config = config_of(optimizer="sgd", lr=0.1, weight_decay=0.0)
    optimizer = make_optimizer(nn.ParameterList([weight]), config)
    weight.grad = torch.tensor([1.0])
    optimizer.step()
    assert weight.item() == pytest.approx(1 - 0.1 * (1 + 0.9))


def test_momentum_and_its_look_ahead_are_settings():
    weight = nn.Parameter(torch.tensor([1.0]))
    config = config_of(optimizer="sgd", lr=0.1, weight_decay=0.0, momentum=0.5, nesterov=False)
    optimizer = make_optimizer(nn.ParameterList([weight]), config)
    for _ in range(2):
        weight.grad = torch.tensor([1.0])
        optimizer.step()
    assert weight.item() == pytest.approx(1 - 0.1 - 0.1 * 1.5)


def test_heads_behind_a_backbone_have_a_rate_of_their_own():
    with torch.device("meta"):
        model = build_model("spnet")
    backbone, heads = make_optimizer(model, config_of(head_lr=10.0)).param_groups
    assert (backbone["factor"], heads["factor"]) == (1.0, 10.0)
    own = {id(p) for name in ("head", "auxiliary") for p in getattr(model, name).parameters()}
    assert {id(p) for p in heads["params"]} == own
    (every,) = make_optimizer(model, config_of()).param_groups
    assert len(every["params"]) == len(list(model.parameters()))


def test_every_parameter_is_optimised_batch_norm_included():
    model = build_model("crosslink-net", **NARROW)
    for name in ("adamw", "adam", "sgd"):
        groups = make_optimizer(model, config_of(optimizer=name)).param_groups
        assert sum(p.numel() for group in groups for p in group["params"]) == sum(
            p.numel() for p in model.parameters()
        )


def test_gaussian_weights_have_the_deviation_of_their_fan_in():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(8, 500, (5, 3)), nn.BatchNorm2d(500), nn.Conv2d(500, 50, 1))
    start_weights(model, config_of(recipe="paper"), 0)
    for conv, fan_in in ((model[0], 8 * 15), (model[2], 500)):
        assert conv.weight.std().item() == pytest.approx(math.sqrt(2 / fan_in), rel=0.02)
        assert conv.weight.mean().item() == pytest.approx(0, abs=0.002)
        assert conv.bias.abs().max() == 0
    kurtosis = ((model[0].weight / model[0].weight.std()) ** 4).mean().item()
    assert kurtosis == pytest.approx(3, rel=0.05)  # a uniform distribution has 1.8


def test_the_weights_of_the_framework_stay_as_they_are():
    model = nn.Conv2d(3, 4, 3)
    before = model.weight.clone()
    assert start_weights(model, config_of(), 0) == []
    assert torch.equal(model.weight, before)


# Weights to start from.


def with_weights(path, classes: int = 1) -> Config:
    labels = {f"class_{k}": [k] for k in range(1, classes + 1)}
    data = {"root": "data", "label_map": labels}
    return parse_config({"data": data, "model": {"weights": str(path)}})


def write_weights(path, model: nn.Module, classes: int = 1) -> None:
    info = {"format": MODEL_FORMAT, "model": {"num_classes": classes}}
    write_checkpoint(path, prefixed("model", model.state_dict()), info)


def test_a_training_starts_from_the_weights_of_another(tmp_path):
    source, model = (build_model("crosslink-net", **NARROW) for _ in range(2))
    write_weights(tmp_path / "model.safetensors", source)
    assert start_weights(model, with_weights(tmp_path / "model.safetensors"), 0) == []
    for name, value in source.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)


def test_weights_that_do_not_fit_are_named(tmp_path):
    source = build_model("crosslink-net", **NARROW)
    model = build_model("crosslink-net", num_classes=3, **NARROW)
    drawn = model.classifier.weight.clone()
    write_weights(tmp_path / "model.safetensors", source)
    left = start_weights(model, with_weights(tmp_path / "model.safetensors", classes=3), 0)
    assert left == ["classifier.weight", "classifier.bias"]
    assert torch.equal(model.classifier.weight, drawn)
    assert torch.equal(model.centre.conv.weight, source.centre.conv.weight)


def test_weights_of_another_network_are_refused(tmp_path):
    write_weights(tmp_path / "model.safetensors", build_model("unet5", widths=[4, 4, 4, 4, 4]))
    model = build_model("crosslink-net", **NARROW)
    with pytest.raises(
        DataError,
        match=r"model\.safetensors is of another network than this one \(missing: stages\.",
    ):
        start_weights(model, with_weights(tmp_path / "model.safetensors"), 0)


def test_weights_that_fit_by_half_are_refused(tmp_path):
    """Another width: every name is there, few of the shapes are."""
    write_weights(tmp_path / "model.safetensors", build_model("crosslink-net", **NARROW))
    model = build_model("crosslink-net", widths=[2, 4, 4, 4, 8], attention_blocks=[3])
    with pytest.raises(DataError, match=r"of another shape: stages\.4\.\S+ \(4, 4, 5, 3\) instead"):
        start_weights(model, with_weights(tmp_path / "model.safetensors"), 0)


def test_heads_of_classes_are_drawn_anew_wherever_they_are(tmp_path):
    source, model = (build_model("inf-net", num_classes=k, width=4) for k in (1, 2))
    write_weights(tmp_path / "model.safetensors", source)
    left = start_weights(model, with_weights(tmp_path / "model.safetensors", classes=2), 0)
    assert {name.split(".")[0] for name in left} == {
        "decoder", "edge", "reverse4", "reverse3", "reverse2",
    }  # fmt: skip
    assert torch.equal(model.guide[0][0].weight, source.guide[0][0].weight)


def test_a_training_starts_from_a_released_checkpoint(tmp_path):
    state = published_state()
    torch.save(state, tmp_path / "net.pth")
    model = build_model("crosslink-net", widths=list(PUBLISHED_WIDTHS), attention_blocks=[3])
    assert start_weights(model, with_weights(tmp_path / "net.pth"), 0) == []
    assert torch.equal(model.centre.conv.weight, state["center.conv.weight"])
    assert torch.equal(model.classifier.bias, state["classify.bias"])


def test_a_released_checkpoint_is_taken_by_its_own_rules(tmp_path):
    torch.save({"center.conv.weight": torch.ones(1)}, tmp_path / "net.pth")
    with pytest.raises(DataError, match=r"net\.pth has no batch norm entries"):
        start_weights(build_model("crosslink-net", **NARROW), with_weights(tmp_path / "net.pth"), 0)


# Network, memory order, devices.


def test_attention_heads_are_built_where_the_loss_uses_them(config):
    run = open_run(config())
    assert model_spec(run, SegmentationLoss(run.config.loss), 0) == {
        "name": "unet5",
        "in_channels": 1,
        "num_classes": 2,
        "attention_blocks": [3],
        "widths": [4, 4, 8, 8, 16],
    }
    plain = config("loss.attention=0", "loss.bce=0.8", "loss.dice=0.2", out="plain")
    spec = model_spec(open_run(plain), SegmentationLoss(plain.loss), 0)
    assert spec["attention_blocks"] == []


def test_exclusive_classes_get_a_map_of_the_background(config):
    for classes, maps in (("sigmoid", 2), ("softmax", 3), ("one-vs-rest", 3)):
        run = open_run(config(f"loss.classes={classes}", out=classes))
        assert model_spec(run, SegmentationLoss(run.config.loss), 0)["num_classes"] == maps


def test_channels_last_changes_the_order_in_memory_and_no_value():
    model = build_model("crosslink-net", **NARROW)
    before = {name: p.clone() for name, p in model.named_parameters()}
    to_memory_format(model, config_of())
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert all(c.weight.is_contiguous(memory_format=torch.channels_last) for c in convs)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


@pytest.mark.parametrize(
    ("precision", "expected"), [("32", "32-true"), ("bf16", "bf16-mixed"), (32, "32-true")]
)
def test_precision_is_as_asked_for(precision, expected):
    fabric = make_fabric(config_of(precision=precision, accelerator="cpu"))
    assert fabric.strategy.precision.precision == expected


@pytest.mark.parametrize(("hardware", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_auto_takes_bf16_only_where_the_processor_computes_it(monkeypatch, hardware, expected):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: hardware)
    assert has_bf16("cpu") is hardware
    fabric = make_fabric(config_of(accelerator="cpu"))
    assert fabric.strategy.precision.precision == expected


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), False), ((8, 0), True)])
def test_a_gpu_computes_bf16_from_ampere_on(monkeypatch, capability, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert has_bf16("auto") is has_bf16("cuda") is expected


def test_sixteen_bit_floats_on_a_processor_are_refused():
    with pytest.raises(UsageError, match=r"train\.precision=16 needs a GPU.*bf16 or 32"):
        make_fabric(config_of(precision="16", accelerator="cpu"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_there_is_named():
    with pytest.raises(SystemProblem, match="'cuda' does not answer here; ready are cpu"):
        make_fabric(config_of(accelerator="cuda"))


def test_more_devices_than_there_are_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(SystemProblem, match=r"train\.devices is 2, but there is 1 x cuda"):
        make_fabric(config_of(accelerator="cuda", devices=2))
