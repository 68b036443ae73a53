"""Whole trainings of one fold: stopped and continued, refused, warned about, written down."""

import csv
import os
import random
import resource
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from crosslinknet import train
from crosslinknet.checkpoint import (
    MODEL_FORMAT,
    STATE_FORMAT,
    optimizer_tensors,
    prefixed,
    read_checkpoint,
    tensors_hash,
    write_checkpoint,
)
from crosslinknet.config import load_config, to_yaml
from crosslinknet.errors import DataError, SystemProblem, TrainingError, UsageError
from crosslinknet.files import read_json, sha256_of_file, write_text
from crosslinknet.models import build_model
from crosslinknet.predict import load
from crosslinknet.runs import open_run
from crosslinknet.train import Interrupted, loop, train_fold
from crosslinknet.train.loop import clip_gradients
from crosslinknet.train.state import LOG_COLUMNS, Console

from .tiny import (
    PlugPulled,
    PullThePlug,
    Recorder,
    assert_equal_tensors,
    assert_same_bits,
    state_of,
    tiny_config,
    train_tiny,
    weights_of,
)

# A tiny run has six training slices, hence three batches an epoch, and two epochs.
CROSSLINK = ("model.name=crosslink-net", "model.options.widths=[2, 4, 4, 8, 8]")
slow = partial(pytest.param, marks=pytest.mark.slow)
FORKS = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture(scope="module")
def uninterrupted(phantoms, tmp_path_factory):
    """The fold's folder of a training that nobody stopped; made once for each settings."""
    done: dict[tuple[str, ...], Path] = {}

    def fold(*settings: str) -> Path:
        if settings not in done:
            out = tmp_path_factory.mktemp("uninterrupted")
            done[settings] = train_tiny(tiny_config(phantoms, out, *settings))
        return done[settings]

    return fold


# Stopped at any moment, continued to the same bits.


@pytest.mark.parametrize("batches", [1, 3, 5])
def test_a_crash_after_any_batch_changes_no_bit(config, uninterrupted, batches):
    with pytest.raises(PlugPulled):
        train_tiny(config(), PullThePlug(batches))
    assert_same_bits(train_tiny(config(), resume=True), uninterrupted())


@FORKS
@pytest.mark.parametrize(
    ("settings", "batches"),
    [
        (("train.checkpoint_minutes=60",), 5),  # goes on from the end of the first epoch
        (("train.checkpoint_minutes=60",), 2),  # begins anew
        (("train.accumulate=2",), 4),  # one of two batches of a group is done, and done again
        (("train.optimizer=sgd", "train.schedule=poly"), 4),
        (CROSSLINK, 2),
        slow(("train.keep=best",), 4),
        slow(("train.recipe=paper", "train.epochs=2", "train.lr=0.01"), 4),
        slow(("train.precision=bf16", "train.channels_last=false"), 2),
        slow(("image.size=[64, 64]", "train.progressive=[[0.5, 0.5], [0.5, 1]]"), 4),
        slow(("image.fit=crop", "data.label_map={both: [1, 2]}"), 2),
        slow(("train.workers=2",), 4),
    ],
)
def test_a_crash_changes_no_bit_whatever_the_settings(config, uninterrupted, settings, batches):
    with pytest.raises(PlugPulled):
        train_tiny(config(*settings), PullThePlug(batches))
    assert_same_bits(train_tiny(config(*settings), resume=True), uninterrupted(*settings))


@pytest.mark.slow
def test_many_crashes_in_a_row_change_no_bit(config, uninterrupted):
    for batches in (2, 1, 1):
        with pytest.raises(PlugPulled):
            train_tiny(config(), PullThePlug(batches), resume=True)
    assert_same_bits(train_tiny(config(), resume=True), uninterrupted())


@FORKS
def test_loader_processes_change_no_bit_also_when_their_number_changes(config, uninterrupted):
    with pytest.raises(PlugPulled):
        train_tiny(config("train.workers=2"), PullThePlug(2))
    assert_same_bits(train_tiny(config("train.workers=1"), resume=True), uninterrupted())


def test_the_seed_decides_every_bit(config, uninterrupted):
    assert_same_bits(train_tiny(config()), uninterrupted())
    one, other = weights_of(uninterrupted()), weights_of(uninterrupted("train.seed=1"))
    assert not torch.equal(one["classifier.weight"], other["classifier.weight"])


@pytest.mark.parametrize("keep", ["last", "best"])
def test_a_crash_between_the_last_epoch_and_the_end_changes_no_bit(
    config, uninterrupted, monkeypatch, keep
):
    """The second epoch is the worse one, so that a mistaken choice of weights shows."""
    dices = {1: 0.9, 2: 0.1}
    monkeypatch.setattr(loop, "validate", lambda it: (0.5, dices[it.progress.epoch + 1], 0.1))
    whole = train_tiny(config(f"train.keep={keep}", out="whole"))
    record = train.record_fold

    def crash(*_):
        raise PlugPulled

    for name, stand_in in (("record_fold", crash), ("record_fold", record)):
        monkeypatch.setattr(train, name, stand_in)
        try:
            fold = train_tiny(config(f"train.keep={keep}"), resume=True)
        except PlugPulled:
            continue
    assert_same_bits(fold, whole)
    assert not (fold / "checkpoints" / "best.safetensors").exists()


class Signals(Console):
    """Sends this process signals after some batches, as Ctrl-C and service managers do."""

    def __init__(self, batches: int, *signals: int):
        self.left, self.signals = batches, signals

    def step(self, progress, steps, total, loss):
        self.left -= 1
        if self.left == 0:
            self.send()

    def send(self):
        for signum in self.signals:
            os.kill(os.getpid(), signum)


@pytest.mark.parametrize(("batches", "signum"), [(1, signal.SIGINT), (3, signal.SIGTERM)])
def test_a_signal_stops_after_a_step_and_saves(config, uninterrupted, batches, signum):
    settings = ("train.checkpoint_minutes=60",)  # so that only the signal makes it save
    with pytest.raises(Interrupted):
        train_tiny(config(*settings), Signals(batches, signum))
    _, progress = state_of(config().run / "fold_0")
    assert (progress["epoch"], progress["batch"]) == {1: (0, 2), 3: (1, 0)}[batches]
    assert_same_bits(train_tiny(config(*settings), resume=True), uninterrupted(*settings))


class SignalsAtTheEnd(Signals):
    def row(self, row, epochs):
        if row["epoch"] + 1 == epochs:
            self.send()


def test_a_signal_in_the_last_validation_is_not_swallowed(config, uninterrupted):
    with pytest.raises(Interrupted):
        train_tiny(config(), SignalsAtTheEnd(0, signal.SIGINT))
    assert_same_bits(train_tiny(config(), resume=True), uninterrupted())


def test_a_second_ctrl_c_stops_at_once_and_the_last_checkpoint_counts(config, uninterrupted):
    with pytest.raises(KeyboardInterrupt) as stop:
        train_tiny(config(), Signals(2, signal.SIGINT, signal.SIGINT))
    assert not isinstance(stop.value, Interrupted)
    assert_same_bits(train_tiny(config(), resume=True), uninterrupted())


# A real process, killed.


class Process:
    """``python -m crosslinknet train`` in a process of its own."""

    def __init__(self, file: Path, fold: Path, *more: str):
        self.state = fold / "checkpoints" / "last.safetensors"
        command = [sys.executable, "-m", "crosslinknet", "train", str(file), "--fold", "0", *more]
        self.before = self.step()
        self.process = subprocess.Popen(
            command, cwd=file.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def step(self) -> int:
        if not self.state.exists():
            return 0
        _, info = read_checkpoint(self.state, STATE_FORMAT)
        return int(info["progress"]["step"])

    def stop(self, signum: int, steps: int, delay: float) -> tuple[int, str]:
        """Let it make some steps and a moment more; returns exit code and what it wrote."""
        give_up = time.monotonic() + 120
        while self.step() < self.before + steps:
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < give_up
            time.sleep(0.01)
        time.sleep(delay)
        self.process.send_signal(signum)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out + err


def kill_and_resume(phantoms: Path, folder: Path, signals: list[int], *settings: str) -> None:
    """Stop a process at random moments, let it end, compare with a training in this process."""
    seed = random.randrange(10**6)
    draw = random.Random(seed)
    write_text(folder / "exp.yaml", to_yaml(tiny_config(phantoms, folder / "runs", *settings)))
    config = load_config(folder / "exp.yaml")
    fold, more = config.run / "fold_0", []
    for signum in signals:
        process = Process(folder / "exp.yaml", fold, *more)
        code, text = process.stop(signum, steps=draw.randint(1, 4), delay=draw.uniform(0, 0.2))
        assert code == {signal.SIGKILL: -9, signal.SIGINT: 130}[signum], (seed, text)
        assert "Traceback" not in text
        if signum == signal.SIGINT:
            assert "continue with --resume" in text
        assert state_of(fold)[1]["finished"] is False, f"seed {seed}: too late to be of use"
        more = ["--resume"]
    process = Process(folder / "exp.yaml", fold, "--resume")
    out, err = process.process.communicate(timeout=120)
    assert process.process.returncode == 0, (seed, err)
    assert "Report: " in out
    assert not list((fold / "checkpoints").glob(".tmp-*"))
    whole = load_config(folder / "exp.yaml", ("output.name=whole",))
    assert_same_bits(fold, train_tiny(whole))


def test_a_process_that_is_killed_goes_on_to_the_same_bits(phantoms, tmp_path):
    kill_and_resume(phantoms, tmp_path, [signal.SIGKILL, signal.SIGINT], "train.epochs=10")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("workers", [0, 2])
def test_a_process_that_is_killed_many_times_goes_on_to_the_same_bits(phantoms, tmp_path, workers):
    signals = [signal.SIGKILL] * 4 + [signal.SIGINT, signal.SIGKILL]
    settings = (*CROSSLINK, "train.epochs=20", "train.accumulate=2", f"train.workers={workers}")
    kill_and_resume(phantoms, tmp_path, signals, *settings)


def test_what_a_killed_process_left_half_written_is_removed(config, uninterrupted):
    with pytest.raises(PlugPulled):
        train_tiny(config(), PullThePlug(2))
    leftover = config().run / "fold_0" / "checkpoints" / ".tmp-x.safetensors"
    leftover.write_bytes(b"half")
    fold = train_tiny(config(), resume=True)
    assert sorted(path.name for path in (fold / "checkpoints").iterdir()) == [
        "last.safetensors",
        "model.safetensors",
    ]
    assert_same_bits(fold, uninterrupted())


# Refused.


def test_a_fold_that_was_begun_is_not_begun_again_by_accident(config):
    with pytest.raises(PlugPulled):
        train_tiny(config(), PullThePlug(1))
    run = open_run(config(), resume=True)
    with pytest.raises(UsageError, match=r"last\.safetensors exists.*--resume"):
        train_fold(run, 0)


@pytest.mark.parametrize("fold", [-1, 2])
def test_a_fold_that_does_not_exist_is_refused(config, fold):
    with pytest.raises(UsageError, match=r"does not exist; this run has 0\.\.1"):
        train_fold(open_run(config()), fold)


def test_a_finished_fold_is_not_trained_again(config):
    fold = train_tiny(config())
    before = sha256_of_file(fold / "checkpoints" / "model.safetensors")
    console = Recorder()
    train_tiny(config(), console, resume=True)
    assert console.said == []
    assert sha256_of_file(fold / "checkpoints" / "model.safetensors") == before


def test_masks_that_are_all_empty_are_refused_before_the_training(tmp_path):
    for i in range(8):
        for part in ("images", "masks"):
            (tmp_path / "data" / part).mkdir(parents=True, exist_ok=True)
            pixels = np.full((32, 32), 9 if part == "images" else 0, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / part / f"subject_{i}.png")
    config = tiny_config(tmp_path / "data", tmp_path / "runs")
    with pytest.raises(DataError, match=r"all masks of .* cases in .*masks are empty"):
        train_tiny(config)
    assert not (config.run / "fold_0").exists()


@pytest.mark.parametrize("length", [0, 1000, -1])
def test_a_damaged_checkpoint_is_refused_by_name(config, length):
    with pytest.raises(PlugPulled):
        train_tiny(config(), PullThePlug(1))
    last = config().run / "fold_0" / "checkpoints" / "last.safetensors"
    last.write_bytes(last.read_bytes()[:length])
    with pytest.raises(DataError, match=r"fold_0/checkpoints/last\.safetensors is not a readable"):
        train_tiny(config(), resume=True)


# Not a number, no foreground, no room.


def test_a_loss_that_explodes_stops_with_the_files_and_no_bad_checkpoint(config, phantoms):
    settings = ("train.lr=1e30", "train.schedule=constant", "train.epochs=5")
    with pytest.raises(TrainingError) as error:
        train_tiny(config(*settings))
    assert error.value.exit_code == 1
    assert "became nan" in str(error.value) or "became inf" in str(error.value)
    assert f"{phantoms}/images/subject_" in str(error.value)
    tensors, _ = state_of(config().run / "fold_0")
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
    assert not (config().run / "fold_0" / "checkpoints" / "model.safetensors").exists()


def test_weights_that_overflow_under_a_finite_loss_never_reach_a_checkpoint(config, monkeypatch):
    """A step may end in infinity though its loss and its gradient were fine."""
    with pytest.raises(PlugPulled):
        train_tiny(config(), PullThePlug(2))
    before, _ = state_of(config().run / "fold_0")

    def overflow(loop_):
        next(loop_.bare.buffers()).fill_(torch.inf)
        return clip_gradients(loop_)

    monkeypatch.setattr(loop, "clip_gradients", overflow)
    with pytest.raises(TrainingError, match=r"last\.safetensors was not written.*running_mean"):
        train_tiny(config(), resume=True)
    after, _ = state_of(config().run / "fold_0")
    assert_equal_tensors(after, before)


def test_a_model_that_finds_nothing_sounds_the_alarm_and_the_manifest_tells(config, monkeypatch):
    monkeypatch.setattr(loop, "validate", lambda _: (0.5, 0.0, 0.0))
    console = Recorder()
    fold = train_tiny(config("train.epochs=4"), console)
    assert len(console.warned) == 1
    assert "the last 3 validations found no foreground at all" in console.warned[0]
    assert read_json(fold.parent / "manifest.json")["folds"]["0"]["alarms"] == console.warned


def test_a_full_disk_stops_and_the_training_goes_on_when_there_is_room(config, uninterrupted):
    with pytest.raises(PlugPulled):
        train_tiny(config(), PullThePlug(2))
    checkpoints = config().run / "fold_0" / "checkpoints"
    before = (checkpoints / "last.safetensors").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # of the 500 kB of a state
    try:
        with pytest.raises(SystemProblem, match=r"last\.safetensors could not be written") as error:
            train_tiny(config(), resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert error.value.exit_code == 4
    assert [path.name for path in checkpoints.iterdir()] == ["last.safetensors"]
    assert (checkpoints / "last.safetensors").read_bytes() == before
    assert_same_bits(train_tiny(config(), resume=True), uninterrupted())


# Which weights are kept, and when it ends.


class Epochs(Recorder):
    """Remembers the weights after every epoch."""

    def __init__(self, fold: Path):
        super().__init__()
        self.fold, self.weights = fold, []

    def step(self, progress, steps, total, loss):
        if progress.batch == steps:
            tensors, _ = state_of(self.fold)
            self.weights.append({n: t for n, t in tensors.items() if n.startswith("model.")})


@pytest.mark.parametrize(
    ("keep", "every", "dices", "kept"),
    [
        ("last", 1, [0.1, 0.9, 0.5, 0.2], 3),
        ("best", 1, [0.1, 0.9, 0.5, 0.2], 1),
        ("best", 2, [0.9, 0.5], 1),  # the epoch after a validation is not the one that was best
        ("best", 1, [0.0, 0.0, 0.0, 0.0], 0),
    ],
)
def test_the_weights_that_are_kept_are_those_of_the_epoch(
    config, monkeypatch, keep, every, dices, kept
):
    values = iter(dices)
    monkeypatch.setattr(loop, "validate", lambda _: (0.5, next(values), 0.1))
    made = config("train.epochs=4", f"train.keep={keep}", f"train.validate_every={every}")
    console = Epochs(made.run / "fold_0")
    fold = train_tiny(made, console)
    assert len(console.weights) == 4
    assert_equal_tensors(prefixed("model", weights_of(fold)), console.weights[kept])
    assert not (fold / "checkpoints" / "best.safetensors").exists()


def test_without_validation_cases_the_last_epoch_is_kept(config):
    fold = train_tiny(config("split.validation=0"))
    tensors, progress = state_of(fold)
    kept = prefixed("model", weights_of(fold))
    assert_equal_tensors(kept, {name: tensors[name] for name in kept})
    assert progress["log"][-1][-2] is None


@pytest.mark.parametrize("setting", ["train.keep=best", "train.early_stopping=3"])
def test_what_needs_validation_cases_is_refused_without_them(config, setting):
    key = setting.partition("=")[0]
    with pytest.raises(UsageError, match=f"{key}.* needs validation cases"):
        config(setting, "split.validation=0")


def test_other_threads_than_before_are_warned_about(config, monkeypatch):
    made = config("train.threads=null")
    with pytest.raises(PlugPulled):
        train_tiny(made, PullThePlug(3))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    console = Recorder()
    train_tiny(made, console, resume=True)
    assert any("begun with" in text and "goes on with 7" in text for text in console.warned)


def test_early_stopping_ends_after_its_patience(config, monkeypatch):
    values = iter([0.5, 0.6, 0.6, 0.3, 0.9])
    monkeypatch.setattr(loop, "validate", lambda _: (0.5, next(values), 0.1))
    console = Recorder()
    fold = train_tiny(config("train.epochs=9", "train.early_stopping=2"), console)
    assert [row["val_dice"] for row in console.rows] == [0.5, 0.6, 0.6, 0.3]
    assert read_json(fold.parent / "manifest.json")["folds"]["0"]["epochs"] == 4
    assert state_of(fold)[1]["finished"] is True


# What is written down.


def test_log_csv_has_a_row_per_epoch(uninterrupted):
    rows = list(csv.DictReader((uninterrupted() / "log.csv").read_text().splitlines()))
    assert [tuple(row) for row in rows] == [LOG_COLUMNS] * 2
    assert [(row["epoch"], row["step"]) for row in rows] == [("0", "3"), ("1", "6")]
    assert all(float(row["loss"]) and float(row["grad_norm"]) > 0 for row in rows)


def test_the_manifest_says_what_the_training_was(uninterrupted):
    fold = uninterrupted()
    facts = read_json(fold.parent / "manifest.json")["folds"]["0"]
    tensors, _ = read_checkpoint(fold / "checkpoints" / "model.safetensors", MODEL_FORMAT)
    assert facts["weights_sha256"] == tensors_hash(tensors)
    assert (facts["epochs"], facts["steps"], facts["alarms"]) == (2, 6, [])
    assert facts["seconds"] > 0


def test_the_trained_model_can_be_applied(uninterrupted, phantoms):
    predictor = load(uninterrupted())
    image = np.asarray(Image.open(next((phantoms / "images").iterdir())))
    assert predictor.predict(image).shape == image.shape


def test_a_state_can_be_opened_by_any_reader_of_safetensors(uninterrupted):
    content = (uninterrupted() / "checkpoints" / "last.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    assert content[8:9] == b"{"
    assert content[8 : 8 + length].rstrip().endswith(b"}")


def test_bars_hear_of_every_batch_and_the_forecast_comes_first(config):
    console = Recorder()
    train_tiny(config(), console)
    assert len(console.losses) == 6
    assert [row["epoch"] for row in console.rows] == [0, 1]
    assert console.said[0].startswith(
        "fold 0 of 2: 6 training slices; one batch of 2 at 32x32 took"
    )


# Weights to start from.


def test_a_training_starts_from_given_weights(config, uninterrupted, tmp_path):
    source = uninterrupted() / "checkpoints" / "model.safetensors"
    settings = (f"model.weights={source}", "train.lr=1e-12", "train.epochs=1")
    fold = train_tiny(config(*settings))
    start, end = weights_of(uninterrupted()), weights_of(fold)
    torch.testing.assert_close(end["classifier.weight"], start["classifier.weight"])


def test_a_training_goes_on_though_the_weights_it_started_from_are_gone(config, uninterrupted):
    source = uninterrupted() / "checkpoints" / "model.safetensors"
    copy = config().output.dir.parent / "start.safetensors"
    copy.write_bytes(source.read_bytes())
    settings = (f"model.weights={copy}",)
    with pytest.raises(PlugPulled):
        train_tiny(config(*settings), PullThePlug(2))
    copy.unlink()
    train_tiny(config(*settings), resume=True)


def test_classes_that_the_weights_do_not_know_are_warned_about(config, uninterrupted):
    source = uninterrupted() / "checkpoints" / "model.safetensors"
    console = Recorder()
    settings = (f"model.weights={source}", "train.epochs=1")
    train_tiny(config("data.label_map={both: [1, 2]}", *settings), console)
    assert "classifier.weight" in console.warned[0]


def test_weights_of_a_run_with_another_loss_may_lack_the_heads(config, phantoms, tmp_path):
    model = build_model("unet5", num_classes=2, widths=[4, 4, 8, 8, 16])
    path = tmp_path / "plain.safetensors"
    info = {"format": MODEL_FORMAT, "model": {"name": "unet5", "num_classes": 2}}
    write_checkpoint(path, prefixed("model", model.state_dict()), info)
    console = Recorder()
    train_tiny(config(f"model.weights={path}", "train.epochs=1"), console)
    assert "heads.0.0.conv.weight" in console.warned[0]


def test_moments_are_part_of_the_state(uninterrupted):
    tensors, _ = state_of(uninterrupted())
    moments = {name for name in tensors if name.startswith("optimizer.")}
    weight = torch.nn.Parameter(torch.ones(1))
    adam = torch.optim.AdamW([weight])
    weight.grad = torch.ones(1)
    adam.step()
    expected = {name.split(".")[1] for name in optimizer_tensors(adam)}
    assert {name.split(".")[2] for name in moments} == expected == {"step", "exp_avg", "exp_avg_sq"}


# Several processes.

SCRIPT = """
import hashlib
import sys
from pathlib import Path

from crosslinknet import train
from crosslinknet.config import load_config
from crosslinknet.errors import CrosslinkError
from crosslinknet.runs import open_run
from crosslinknet.train import loop

config = load_config(Path(sys.argv[1]))
close_epoch, forward = train.close_epoch, loop.forward

def close_and_tell(it):
    better = close_epoch(it)
    values = b"".join(p.detach().contiguous().numpy().tobytes() for p in it.bare.parameters())
    (config.run / f"rank{it.fabric.global_rank}").write_text(hashlib.sha256(values).hexdigest())
    return better

def spoil(it, batch, scale):
    parts = forward(it, batch, scale)
    if it.fabric.global_rank == 1 and it.progress.step == 1:
        parts.total.data.fill_(float("nan"))
        (config.run / "spoiled").write_text(batch.names[0])
    return parts

train.close_epoch = close_and_tell
if "spoil" in sys.argv:
    loop.forward = spoil

if __name__ == "__main__":
    try:
        print("trained", train.train_fold(open_run(config), 0))
    except CrosslinkError as error:
        print(type(error).__name__, error)
"""


def run_script(phantoms: Path, folder: Path, *words: str, settings: tuple[str, ...] = ()):
    shared = ("train.devices=2", "train.batch_size=1", "image.size=[64, 64]")
    config = tiny_config(phantoms, folder / "runs", *shared, *settings)
    write_text(folder / "exp.yaml", to_yaml(config))
    write_text(folder / "two.py", SCRIPT)
    command = [sys.executable, str(folder / "two.py"), str(folder / "exp.yaml"), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return config.run, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("form", ["pairwise", "released"])
def test_two_processes_end_with_equal_weights(phantoms, tmp_path, form):
    settings = ("train.accumulate=2", f"loss.form={form}")
    run, text = run_script(phantoms, tmp_path, settings=settings)
    assert text.count("trained") == 1
    assert (run / "rank0").read_text() == (run / "rank1").read_text()
    assert state_of(run / "fold_0")[1]["step"] == 4  # 3 batches in groups of 2, 2 epochs


@pytest.mark.slow
def test_a_number_that_is_none_in_the_other_process_is_named_and_stops_both(phantoms, tmp_path):
    run, text = run_script(phantoms, tmp_path, "spoil")
    assert text.startswith("TrainingError the loss became nan at epoch 1, step 2")
    assert (run / "spoiled").read_text() in text
    assert state_of(run / "fold_0")[1]["step"] == 1


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("network", [(), ("model.name=crossover-net", "model.options.pixels=4")])
def test_two_processes_report_once_and_go_on_after_ctrl_c(phantoms, tmp_path, network):
    """As the console script does it; Ctrl-C reaches every process of a terminal.

    Crossover-Net draws pixels, others in each process.
    """
    settings = ("train.devices=2", "train.batch_size=1", "image.size=[64, 64]", "train.epochs=12")
    settings += network
    write_text(tmp_path / "exp.yaml", to_yaml(tiny_config(phantoms, tmp_path / "runs", *settings)))
    fold = tmp_path / "runs" / "tiny" / "fold_0"
    last = fold / "checkpoints" / "last.safetensors"
    command = [
        str(Path(sys.executable).with_name("xln")), "train", str(tmp_path / "exp.yaml"),
        "--fold", "0",
    ]  # fmt: skip
    stops = {
        "Ctrl-C": (lambda pid: os.killpg(pid, signal.SIGINT), 130),
        "a signal to the first process": (lambda pid: os.kill(pid, signal.SIGINT), 130),
        "its sudden death": (lambda pid: os.kill(pid, signal.SIGKILL), -9),
        "nothing": (None, 0),
    }
    texts, step = [], 0
    for stop, code in stops.values():
        more = ["--resume"] if step else []
        process = subprocess.Popen(
            [*command, *more], cwd=tmp_path, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        if stop:
            while not last.exists() or state_of(fold)[1]["step"] <= step:
                assert process.poll() is None, process.communicate()
                time.sleep(0.02)
            stop(process.pid)
        texts.append(process.communicate(timeout=120)[0])  # returns when every process is gone
        assert process.returncode == code, texts
        assert "Traceback" not in texts[-1]
        assert texts[-1].count("going on at epoch") == len(more)
        assert ("continue with --resume" in texts[-1]) == (code == 130)
        step = state_of(fold)[1]["step"]
    assert texts[-1].count("Report: ") == 1
    assert texts[-1].count("epoch 12/12: loss") == 1
    whole = tiny_config(phantoms, tmp_path / "whole", *settings)
    write_text(tmp_path / "whole.yaml", to_yaml(whole))
    command[2] = str(tmp_path / "whole.yaml")
    subprocess.run(command, check=True, capture_output=True, timeout=240)
    assert_same_bits(fold, whole.run / "fold_0")
