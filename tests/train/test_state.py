import csv
import os
import signal
from dataclasses import asdict
from threading import Thread

import pytest
import torch

from crosslinknet.checkpoint import STATE_FORMAT, read_checkpoint
from crosslinknet.errors import TrainingError
from crosslinknet.train.state import (
    LOG_COLUMNS,
    Console,
    Progress,
    load_state,
    save_state,
    stop_signal,
    write_log,
)

from .tiny import make_loop

PROGRESS = Progress(
    epoch=3,
    batch=2,
    step=17,
    sums=[0.1, 1 / 3, 0.0, 0.0, 2.0, 1e-9],
    seconds=1.5,
    best_dice=0.7,
    alarms=["nothing found"],
    log=[[0, 5, 1e-3, *[0.5] * 7, None, None, None]],
)


class Scaler:
    """Stands for Fabric's plugin of 16-bit floats, which a CPU does not have."""

    def __init__(self):
        self.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)

    def state_dict(self):
        return self.scaler.state_dict()

    def load_state_dict(self, state):
        self.scaler.load_state_dict(state)


@pytest.fixture
def parts(config):
    loop = make_loop(config())
    return loop.bare, loop.optimizer, loop.fabric.strategy.precision


def test_progress_comes_back_as_it_was(parts, tmp_path):
    model, optimizer, precision = parts
    save_state(tmp_path / "last.safetensors", model, optimizer, precision, PROGRESS)
    back = load_state(tmp_path / "last.safetensors", model, optimizer, precision)
    assert asdict(back) == asdict(PROGRESS)


def test_the_state_holds_weights_and_running_means(parts, tmp_path):
    model, optimizer, precision = parts
    save_state(tmp_path / "last.safetensors", model, optimizer, precision, PROGRESS)
    tensors, info = read_checkpoint(tmp_path / "last.safetensors", STATE_FORMAT)
    assert {f"model.{name}" for name in model.state_dict()} <= tensors.keys()
    assert any(name.endswith("running_var") for name in tensors)
    assert info["scaler"] == {}


def test_the_loss_scale_of_sixteen_bit_floats_survives(parts, tmp_path):
    model, optimizer, _ = parts
    scaled = Scaler()
    scaled.scaler.scale(torch.ones(1))  # makes its tensors
    scaled.scaler.update(new_scale=96.0)
    save_state(tmp_path / "last.safetensors", model, optimizer, scaled, PROGRESS)
    fresh = Scaler()
    load_state(tmp_path / "last.safetensors", model, optimizer, fresh)
    fresh.scaler.scale(torch.ones(1))
    assert fresh.scaler.get_scale() == 96
    assert fresh.state_dict() == scaled.state_dict()


def test_weights_that_are_not_finite_are_never_saved(parts, tmp_path):
    model, optimizer, precision = parts
    save_state(tmp_path / "last.safetensors", model, optimizer, precision, PROGRESS)
    before = (tmp_path / "last.safetensors").read_bytes()
    next(model.buffers()).fill_(torch.inf)
    with pytest.raises(TrainingError, match="running_mean"):
        save_state(tmp_path / "last.safetensors", model, optimizer, precision, PROGRESS)
    assert (tmp_path / "last.safetensors").read_bytes() == before


def test_the_log_has_a_row_per_epoch_and_empty_fields_where_nothing_was_validated(tmp_path):
    write_log(tmp_path / "log.csv", PROGRESS)
    (row,) = csv.DictReader((tmp_path / "log.csv").read_text().splitlines())
    assert tuple(row) == LOG_COLUMNS
    assert (row["epoch"], row["lr"], row["val_dice"]) == ("0", "0.001", "")


def test_a_console_that_says_nothing_takes_everything():
    console = Console()
    console.say("a")
    console.warn("b")
    console.step(PROGRESS, 1, 2, 0.5)
    console.row({}, 3)


# Being asked to stop.


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_and_does_not_break_off(signum):
    before = signal.getsignal(signum)
    with stop_signal() as stopped:
        assert not stopped()
        os.kill(os.getpid(), signum)
        assert stopped()
        os.kill(os.getpid(), signal.SIGTERM)  # as a parent process does after Ctrl-C
    assert signal.getsignal(signum) is before


def test_a_second_ctrl_c_stops_at_once():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), stop_signal():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_thread_can_train_though_it_hears_no_signals():
    heard = []

    def work():
        with stop_signal() as stopped:
            heard.append(stopped())

    thread = Thread(target=work)
    thread.start()
    thread.join()
    assert heard == [False]
