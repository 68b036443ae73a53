import math

import numpy as np
import pytest
import torch
from torch import nn

from crosslinknet.data import collate
from crosslinknet.errors import TrainingError
from crosslinknet.losses import Parts
from crosslinknet.train import loop as loop_module
from crosslinknet.train.loop import (
    ALARM_AFTER,
    clip_gradients,
    close_epoch,
    forward,
    train_epoch,
    validate,
    validation_loss,
)
from crosslinknet.train.state import LOG_COLUMNS

from .tiny import Recorder, assert_equal_tensors, make_loop

BCE_ALONE = ("loss.bce=1", "loss.dice=0", "loss.attention=0")


@pytest.fixture
def toy(config):
    """A loop around one convolution without batch norm, with plain gradient descent in effect."""

    def make(*settings: str):
        torch.manual_seed(0)
        plain = ("train.schedule=constant", "augment.preset=none", "train.clip=null", *BCE_ALONE)
        return make_loop(config(*plain, *settings), nn.Conv2d(1, 2, 3, padding=1))

    return make


def exhaust(steps) -> int:
    return sum(1 for _ in steps)


# One epoch.


def test_an_epoch_makes_a_step_per_batch_and_yields_after_it(config):
    loop = make_loop(config())
    seen = [(loop.progress.batch, loop.progress.step) for _ in train_epoch(loop)]
    assert seen == [(1, 1), (2, 2), (3, 3)]


def test_an_epoch_goes_on_from_the_batch_where_it_stopped(config):
    loop = make_loop(config())
    loop.progress.batch = loop.progress.step = 2
    assert exhaust(train_epoch(loop)) == 1
    assert loop.progress.step == 3


def test_accumulated_batches_make_one_step_and_the_last_group_may_be_smaller(config):
    loop = make_loop(config("train.accumulate=2"))
    seen = [(loop.progress.batch, loop.progress.step) for _ in train_epoch(loop)]
    assert seen == [(2, 1), (3, 2)]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_two_batches_of_two_step_like_one_of_four(toy, optimizer):
    settings = (f"train.optimizer={optimizer}", "train.lr=0.1")
    one = toy("train.batch_size=4", *settings)
    two = toy("train.batch_size=2", "train.accumulate=2", *settings)
    before = one.bare.weight.detach().clone()
    for loop in (one, two):
        next(train_epoch(loop))
    assert not torch.equal(one.bare.weight, before)
    torch.testing.assert_close(one.bare.weight, two.bare.weight, rtol=0, atol=1e-6)
    torch.testing.assert_close(one.bare.bias, two.bare.bias, rtol=0, atol=1e-6)


def test_a_small_last_group_counts_as_a_mean_of_its_own(toy):
    """The third of three batches, alone in its group of two, is not halved."""
    grouped = toy("train.accumulate=2", "train.optimizer=sgd", "train.lr=1e-9")
    single = toy("train.optimizer=sgd", "train.lr=1e-9")
    norms = {}
    for name, loop in (("grouped", grouped), ("single", single)):
        totals = [loop.progress.sums[5] for _ in train_epoch(loop)]
        norms[name] = np.diff([0, *totals])
    assert norms["grouped"][-1] == pytest.approx(norms["single"][-1], rel=1e-4)


def test_the_rate_of_every_step_is_that_of_the_schedule(config):
    loop = make_loop(config("train.warmup=0.5", "train.lr=1.0", "train.schedule=cosine"))
    rates = []
    for _ in train_epoch(loop):
        rates.append(loop.optimizer.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([1 / 3, 2 / 3, 1])  # six steps, three of them rising


@pytest.mark.parametrize("most", [0.01, 1.0])
def test_clipping_bounds_the_norm_and_keeps_the_direction(toy, most):
    loop = toy(f"train.clip={most}")
    loop.bare.weight.grad = torch.full_like(loop.bare.weight, 3.0)
    loop.bare.bias.grad = torch.full_like(loop.bare.bias, -4.0)
    before = math.sqrt(18 * 9 + 2 * 16)
    assert clip_gradients(loop) == pytest.approx(before)
    grads = torch.cat([p.grad.flatten() for p in loop.bare.parameters()])
    assert grads.norm().item() == pytest.approx(most, rel=1e-4)
    assert (grads[0] / grads[-1]).item() == pytest.approx(-3 / 4)


def test_single_gradients_are_cut_after_the_norm_was_measured(toy):
    loop = toy("train.clip=null", "train.clip_value=0.5")
    for parameter in loop.bare.parameters():
        parameter.grad = torch.full_like(parameter, -3.0)
    count = sum(p.numel() for p in loop.bare.parameters())
    assert loop_module.clip_gradients(loop) == pytest.approx(3 * math.sqrt(count))
    assert all((p.grad == -0.5).all() for p in loop.bare.parameters())


def test_scales_take_turns_over_epochs_too(config):
    loop = make_loop(config("train.scales=[0.5, 1.0, 1.5]"))
    per_epoch = len(loop.batches(0))
    image, target = torch.zeros(1, 1, 64, 64), torch.zeros(1, 1, 64, 64)
    sizes = []
    for turn in range(6):
        loop.progress.epoch, loop.progress.batch = divmod(turn, per_epoch)
        resized, mask = loop_module.rescaled(image, target, loop_module.scale_now(loop, per_epoch))
        assert resized.shape == mask.shape
        sizes.append(resized.shape[2])
    assert sizes == [32, 64, 96, 32, 64, 96]


def test_small_gradients_and_those_without_a_bound_are_left_alone(toy):
    for settings, value in (("train.clip=1.0", 0.01), ("train.clip=null", 1000.0)):
        loop = toy(settings)
        for p in loop.bare.parameters():
            p.grad = torch.full_like(p, value)
        clip_gradients(loop)
        assert all((p.grad == value).all() for p in loop.bare.parameters())


def test_what_a_network_draws_follows_from_its_place_in_the_training(config):
    loop = make_loop(config())

    def draws(epoch: int, batch: int) -> list[float]:
        loop.progress.epoch, loop.progress.batch = epoch, batch
        loop_module.seed_batch(loop)
        return torch.rand(3).tolist()

    places = [(0, 0), (0, 1), (1, 0)]
    once = [draws(*place) for place in places]
    torch.rand(7)
    assert [draws(*place) for place in reversed(places)] == once[::-1]
    assert once[0] != once[1] != once[2] != once[0]
    other = make_loop(config("train.seed=1"))
    loop_module.seed_batch(other)
    assert torch.rand(3).tolist() != once[0]


def test_training_lowers_the_loss(config):
    console = Recorder()
    loop = make_loop(config("train.epochs=8", "train.lr=0.01"), console=console)
    for _ in range(8):
        exhaust(train_epoch(loop))
        close_epoch(loop)
    assert console.rows[-1]["loss"] < 0.8 * console.rows[0]["loss"]


def test_bf16_on_a_processor_gives_finite_losses_close_to_those_of_32_bits(config):
    losses = {}
    for precision in ("32", "bf16"):
        console = Recorder()
        loop = make_loop(config(f"train.precision={precision}"), console=console)
        exhaust(train_epoch(loop))
        losses[precision] = console.losses
        assert {p.dtype for p in loop.bare.parameters()} == {torch.float32}
    assert all(map(math.isfinite, losses["bf16"]))
    assert losses["bf16"] != losses["32"]
    assert losses["bf16"] == pytest.approx(losses["32"], rel=0.05)


def test_the_memory_order_of_channels_changes_no_result(config):
    logits = {}
    for last in ("true", "false"):
        loop = make_loop(config(f"train.channels_last={last}", "train.optimizer=sgd"))
        exhaust(train_epoch(loop))
        loop.bare.eval()
        logits[last] = loop.bare(torch.linspace(0, 1, 2048).reshape(2, 1, 32, 32))
    torch.testing.assert_close(logits["true"], logits["false"], rtol=1e-3, atol=1e-4)


def test_the_loss_sees_maps_only_where_it_needs_them(config):
    loop = make_loop(config(*BCE_ALONE))
    batch = collate([loop.dataset[draw] for draw in next(iter(loop.batches(0)))])
    parts = forward(loop, batch)
    assert parts.valid_images == 0
    assert parts.total.item() == pytest.approx(parts.bce.item())
    assert forward(make_loop(config()), batch).valid_images == 2


# Not a number.


def poison(loop, monkeypatch, change):
    """Change the loss of the second batch."""
    calls = []

    def poisoned(*args):
        calls.append(1)
        parts = forward(*args)
        return change(parts, loop) if len(calls) == 2 else parts

    monkeypatch.setattr(loop_module, "forward", poisoned)


def with_total(parts: Parts, total: torch.Tensor) -> Parts:
    return Parts(total, parts.bce, parts.dice, parts.attention, parts.valid_images)


def nan_loss(parts, _):
    return with_total(parts, parts.total * float("nan"))


def nan_part(parts, _):
    return Parts(parts.total, parts.bce, parts.dice * float("inf"), parts.attention, 0)


def nan_gradient(parts, loop):
    hidden = sum((p * 0).sum() for p in loop.bare.parameters()).sqrt()  # 0, its slope infinite
    return with_total(parts, parts.total + hidden)


@pytest.mark.parametrize(
    ("change", "what"),
    [(nan_loss, "loss became nan"), (nan_part, "loss became inf"), (nan_gradient, "gradient bec")],
)
def test_a_number_that_is_none_names_the_batch_and_stops_before_the_step(
    config, monkeypatch, change, what
):
    loop = make_loop(config())
    poison(loop, monkeypatch, change)
    steps = train_epoch(loop)
    next(steps)
    before = {name: value.clone() for name, value in loop.bare.named_parameters()}
    with pytest.raises(TrainingError, match=what) as error:
        next(steps)
    batch = list(loop.batches(0))[1]
    for draw in batch:
        file = loop.dataset.cases[loop.dataset.slices[draw.index][0]].files.images[0]
        assert f"{file}, slice 0" in str(error.value)
    assert "epoch 1, step 2" in str(error.value)
    assert error.value.exit_code == 1
    assert_equal_tensors(dict(loop.bare.named_parameters()), before)
    assert loop.progress.step == 1


def test_a_loss_scale_skips_steps_whose_gradient_overflows(config, monkeypatch):
    """A stand-in for 16-bit floats, which a CPU does not compute."""
    loop = make_loop(config("train.lr=1.0"))
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    loop.fabric.strategy.precision.scaler = scaler
    monkeypatch.setattr(
        loop.fabric.strategy.precision, "optimizer_step", lambda o, **k: None, raising=True
    )
    poison(loop, monkeypatch, nan_gradient)
    assert exhaust(train_epoch(loop)) == 3
    assert math.isfinite(loop.progress.sums[5])


# The end of an epoch.


def validated(monkeypatch, *dices: float, foreground: float = 0.1):
    values = iter(dices)
    monkeypatch.setattr(loop_module, "validate", lambda _: (0.5, next(values), foreground))


def test_the_row_of_an_epoch_holds_means_per_batch(config):
    console = Recorder()
    loop = make_loop(config(), console=console)
    exhaust(train_epoch(loop))
    close_epoch(loop)
    (row,) = console.rows
    assert tuple(row) == LOG_COLUMNS
    assert row["loss"] == pytest.approx(np.mean(console.losses))
    weighted = 0.4 * row["bce"] + 0.1 * row["dice"] + 0.5 * row["attention"]
    assert row["loss"] == pytest.approx(weighted, abs=1e-5)
    assert (row["epoch"], row["step"], row["valid_images"]) == (0, 3, 6)
    assert 0 <= row["val_dice"] <= 1
    assert (loop.progress.epoch, loop.progress.batch, loop.progress.sums) == (1, 0, [0.0] * 6)


def test_the_row_names_the_last_rate_though_the_optimizer_was_restored(config):
    loop = make_loop(config("train.lr=1.0", "train.schedule=constant"))
    exhaust(train_epoch(loop))
    loop.optimizer.optimizer.param_groups[0]["lr"] = 77.0
    close_epoch(loop)
    assert loop.progress.log[0][2] == 1.0


def test_epochs_between_validations_have_empty_columns_and_the_last_one_is_validated(
    config, monkeypatch
):
    validated(monkeypatch, 0.2, 0.3)
    loop = make_loop(config("train.epochs=3", "train.validate_every=2"))
    gains = [close_epoch(loop) for _ in range(3)]
    assert [row[-2] for row in loop.progress.log] == [None, 0.2, 0.3]
    assert gains == [False, True, True]


def test_only_a_higher_dice_is_a_gain(config, monkeypatch):
    validated(monkeypatch, 0.0, 0.5, 0.5, 0.4, 0.6)
    loop = make_loop(config("train.epochs=5"))
    gains, waits = [], []
    for _ in range(5):
        gains.append(close_epoch(loop))
        waits.append(loop.progress.validations_without_gain)
    assert gains == [True, True, False, False, True]
    assert waits == [0, 0, 1, 2, 0]
    assert loop.progress.best_dice == 0.6


def test_validations_without_any_foreground_sound_the_alarm(config, monkeypatch):
    validated(monkeypatch, *[0.0] * 7, foreground=0.0)
    console = Recorder()
    loop = make_loop(config("train.epochs=9"), console=console)
    counts = []
    for _ in range(2 * ALARM_AFTER):
        close_epoch(loop)
        counts.append(len(console.warned))
    assert counts == [0, 0, 1, 1, 1, 2]
    assert "epoch 3: the last 3 validations found no foreground" in console.warned[0]
    assert loop.progress.alarms == console.warned


def test_one_pixel_of_foreground_ends_the_count(config, monkeypatch):
    console = Recorder()
    loop = make_loop(config("train.epochs=9"), console=console)
    for foreground in (0.0, 0.0, 1e-6, 0.0, 0.0):
        validated(monkeypatch, 0.0, foreground=foreground)
        close_epoch(loop)
    assert console.warned == []
    assert loop.progress.validations_without_foreground == 2


# Validation.


class Fixed(nn.Module):
    """Says the same everywhere."""

    def __init__(self, logit: float):
        super().__init__()
        self.logit = nn.Parameter(torch.tensor([logit, -50.0])[None, :, None, None])

    def forward(self, x):
        return self.logit.expand(len(x), 2, *x.shape[2:])


def test_validation_measures_loss_dice_and_share_of_foreground(config):
    loop = make_loop(config(*BCE_ALONE), Fixed(0.5))
    loss, dice, foreground = validate(loop)
    p = 1 / (1 + math.exp(-0.5))
    scores, losses = [], []
    for case in loop.watched.cases:
        first, second = case.codes[0] == 1, case.codes[0] == 2
        scores.append(2 * first.sum() / (first.sum() + first.size))
        scores += [0.0] if second.any() else []  # empty on both sides: left out
        hit, rest = -math.log(p), -math.log(1 - p)
        wrong = -math.log(1e-6)  # probabilities are cut there
        losses.append(
            0.5 * (first.mean() * hit + (1 - first.mean()) * rest + second.mean() * wrong)
        )
    assert dice == pytest.approx(np.mean(scores))
    assert loss == pytest.approx(np.mean(losses), rel=1e-3)
    assert foreground == 0.5  # one of two classes, everywhere


def test_validation_leaves_weights_and_running_means_alone(config):
    loop = make_loop(config())
    loop.bare.train()
    before = {name: value.clone() for name, value in loop.bare.state_dict().items()}
    validate(loop)
    assert_equal_tensors(loop.bare.state_dict(), before)
    assert loop.bare.training
    assert all(p.grad is None for p in loop.bare.parameters())


def test_settings_of_prediction_do_not_steer_the_training(config):
    """They may change between a run and its continuation."""
    one, other = (
        validate(make_loop(config(*settings)))
        for settings in ((), ("predict.threshold=0.9", "predict.flip=true"))
    )
    assert one == other


def test_sure_and_wrong_costs_no_infinite_validation_loss():
    assert validation_loss(torch.zeros(1), torch.ones(1)) == pytest.approx(
        -math.log(1e-6), rel=1e-3
    )
    assert validation_loss(torch.tensor([0.5]), torch.ones(1)) == pytest.approx(math.log(2))
