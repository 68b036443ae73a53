from types import SimpleNamespace

import pytest

from crosslinknet.train import estimate
from crosslinknet.train.estimate import duration, forecast, moments_to_come

from .tiny import assert_equal_tensors, make_loop


def test_the_forecast_names_time_and_memory(config):
    text = forecast(make_loop(config("train.epochs=7")))
    assert text.startswith("6 training slices; one batch of 2 at 32x32 took 0.")
    assert "GiB of memory on cpu" in text
    assert "expect " in text


def test_the_forecast_counts_smaller_slices_as_cheaper(config, monkeypatch):
    seconds = iter([0.0, 9.0, 9.0, 10.0])  # the batch takes one second, the one before it nine
    loop = make_loop(
        config("image.size=[64, 64]", "train.epochs=20", "train.progressive=[[0.5, 0.5], [0.5, 1]]")
    )
    loop.progress.epoch = 10
    clock = SimpleNamespace(monotonic=lambda: next(seconds))
    monkeypatch.setattr(estimate, "time", clock)
    assert "at 64x64 took 1.00 s; expect 30 s" in forecast(loop)  # 10 epochs of 3 batches
    seconds, loop.progress.epoch = iter([0.0, 9.0, 9.0, 10.0]), 0
    assert "at 32x32 took 1.00 s; expect 2 min" in forecast(loop)  # 30 + 4 x 30 s


def test_the_forecast_measures_the_largest_scale_and_counts_all(config, monkeypatch):
    seconds = iter([0.0, 9.0, 9.0, 13.0])  # a batch at 128x128 takes four seconds
    loop = make_loop(
        config("image.size=[64, 64]", "train.epochs=20", "train.scales=[0.5, 1.0, 2.0]")
    )
    clock = SimpleNamespace(monotonic=lambda: next(seconds))
    monkeypatch.setattr(estimate, "time", clock)
    # 60 batches, a third of them each at 1/16, 1/4 and all of the measured pixels: 105 s
    assert "at 128x128 took 4.00 s; expect 2 min" in forecast(loop)


def test_memory_that_an_earlier_fold_has_used_is_not_counted_again(config):
    """The peak of a process never falls; after a fold it holds an optimizer's moments."""
    loop = make_loop(config())
    weights = 4 * sum(p.numel() for p in loop.bare.parameters())
    assert moments_to_come(loop, rose=True) == 2 * weights  # AdamW has two
    assert moments_to_come(loop, rose=False) == 0
    loop.progress.step = 1
    assert moments_to_come(loop, rose=True) == 0
    assert moments_to_come(make_loop(config("train.optimizer=sgd")), rose=True) == weights


def test_the_forecast_leaves_no_trace(config):
    loop = make_loop(config())
    before = {name: value.clone() for name, value in loop.bare.state_dict().items()}
    forecast(loop)
    assert_equal_tensors(loop.bare.state_dict(), before)
    assert all(p.grad is None for p in loop.bare.parameters())
    assert not loop.optimizer.optimizer.state
    assert loop.progress.step == loop.progress.batch == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s"),
        (99.4, "99 s"),
        (100, "2 min"),
        (5940, "99 min"),
        (6000, "1 h 40 min"),
        (7199, "2 h 0 min"),
    ],
)
def test_durations_are_said_as_people_say_them(seconds, text):
    assert duration(seconds) == text
