import json
import os
import resource
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from crosslinknet import files
from crosslinknet.checkpoint import (
    MODEL_FORMAT,
    STATE_FORMAT,
    load_optimizer,
    optimizer_tensors,
    part,
    prefixed,
    read_checkpoint,
    write_checkpoint,
)
from crosslinknet.errors import DataError, SystemProblem, TrainingError

INFO = {"format": STATE_FORMAT, "progress": {"epoch": 3}}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoints" / "last.safetensors"


def test_what_is_written_is_read_back(path):
    tensors = {"a": torch.randn(3, 4), "b": torch.arange(5), "c": torch.tensor(0.1)}
    write_checkpoint(path, tensors, INFO)
    back, info = read_checkpoint(path, STATE_FORMAT)
    assert info == INFO
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], tensors[name]) for name in tensors)


def test_tensors_in_another_memory_order_keep_their_values(path):
    tensor = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    write_checkpoint(path, {"a": tensor, "b": torch.randn(4, 6).T}, INFO)
    assert torch.equal(read_checkpoint(path, STATE_FORMAT)[0]["a"], tensor)


def test_a_checkpoint_is_plain_safetensors_and_no_pickle(path):
    write_checkpoint(path, {"a": torch.ones(2)}, INFO)
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    assert header["a"] == {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    assert json.loads(header["__metadata__"]["crosslinknet"]) == INFO
    assert len(content) == 8 + length + 8  # nothing but the header and two floats
    assert load_file(path)["a"].tolist() == [1, 1]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_nan_and_infinity_never_reach_a_checkpoint(path, bad):
    write_checkpoint(path, {"model.w": torch.ones(2)}, INFO)
    tensors = {"model.b": torch.ones(2), "model.w": torch.tensor([1.0, bad])}
    with pytest.raises(TrainingError, match=r"last\.safetensors was not written.*model\.w"):
        write_checkpoint(path, tensors, INFO)
    assert read_checkpoint(path, STATE_FORMAT)[0]["model.w"].tolist() == [1, 1]


# A reader sees the old file or the new one.


def old_survives(path: Path) -> bool:
    tensors, info = read_checkpoint(path, STATE_FORMAT)
    return tensors["a"].tolist() == [1] and info == INFO and [*path.parent.iterdir()] == [path]


def test_a_full_disk_leaves_the_old_checkpoint_and_nothing_else(path):
    write_checkpoint(path, {"a": torch.ones(1)}, INFO)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(SystemProblem, match=r"last\.safetensors .* untouched") as error:
            write_checkpoint(path, {"a": torch.zeros(10_000)}, INFO)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert error.value.exit_code == 4
    assert old_survives(path)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failure_at_any_stage_of_writing_leaves_the_old_checkpoint(path, monkeypatch, call):
    write_checkpoint(path, {"a": torch.ones(1)}, INFO)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*{"fsync": (os, "fsync"), "replace": (Path, "replace")}[call], full)
    with pytest.raises(SystemProblem, match="No space left on device"):
        write_checkpoint(path, {"a": torch.zeros(1)}, INFO)
    assert old_survives(path)


def test_a_crash_while_writing_leaves_the_old_checkpoint(path, monkeypatch):
    write_checkpoint(path, {"a": torch.ones(1)}, INFO)

    def crash(self, content):
        with self.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", crash)
    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(path, {"a": torch.zeros(1)}, INFO)
    assert old_survives(path)


def test_a_reader_beside_a_writer_never_sees_a_mixture(path, monkeypatch):
    write_checkpoint(path, {"a": torch.ones(1)}, INFO)
    read = Path.read_bytes

    def read_while_it_is_replaced(self):
        content = read(self)
        write_checkpoint(path, {"a": torch.zeros(100)}, INFO | {"longer": "header"})
        return content

    monkeypatch.setattr(Path, "read_bytes", read_while_it_is_replaced)
    assert read_checkpoint(path, STATE_FORMAT)[0]["a"].tolist() == [1]
    monkeypatch.undo()
    assert read_checkpoint(path, STATE_FORMAT)[0]["a"].shape == (100,)


def test_content_is_on_the_disk_before_it_takes_the_name(path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(files.os, "fsync", lambda fd: (calls.append("fsync"), fsync(fd)))
    monkeypatch.setattr(Path, "replace", lambda a, b: (calls.append("rename"), replace(a, b)))
    write_checkpoint(path, {"a": torch.ones(1)}, INFO)
    assert calls == ["fsync", "rename", "fsync"]  # file, name, folder


# Files that are something else.


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.safetensors is not a readable checkpoint"):
        read_checkpoint(tmp_path / "gone.safetensors", MODEL_FORMAT)


@pytest.mark.parametrize("length", [0, 4, 100, -1])
def test_a_truncated_checkpoint_is_refused(path, length):
    write_checkpoint(path, {"a": torch.randn(100)}, INFO)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DataError, match=r"last\.safetensors is not a readable checkpoint"):
        read_checkpoint(path, STATE_FORMAT)


def test_a_state_is_no_model(path):
    write_checkpoint(path, {"a": torch.ones(1)}, INFO)
    with pytest.raises(DataError, match=r"crosslinknet/state/1'.*expected 'crosslinknet/model/1'"):
        read_checkpoint(path, MODEL_FORMAT)


def test_a_file_of_another_program_is_refused(path):
    path.parent.mkdir()
    save_file({"a": torch.ones(1)}, path)
    with pytest.raises(DataError, match="of another program"):
        read_checkpoint(path, MODEL_FORMAT)


def test_a_pickle_is_refused_and_not_run(path, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "exploded",))

    path.parent.mkdir()
    torch.save({"a": Bomb()}, path)
    with pytest.raises(DataError, match="not a readable checkpoint"):
        read_checkpoint(path, STATE_FORMAT)
    assert not (tmp_path / "exploded").exists()


# Names, moments.


def test_prefixes_come_off_as_they_went_on():
    weights = {"stages.0.w": torch.ones(1), "b": torch.zeros(1)}
    tensors = prefixed("model", weights) | prefixed("models", {"x": torch.ones(1)})
    assert list(tensors) == ["model.stages.0.w", "model.b", "models.x"]
    assert part("model", tensors).keys() == weights.keys()


@pytest.mark.parametrize(
    "kind",
    [
        lambda p: torch.optim.AdamW(p, 1e-2, weight_decay=0.1),
        lambda p: torch.optim.Adam(p, 1e-2),
        lambda p: torch.optim.SGD(p, 1e-2, momentum=0.9, nesterov=True),
    ],
)
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_a_restored_optimizer_goes_on_to_the_same_bits(path, kind, memory):
    torch.manual_seed(0)
    start = [torch.randn(4, 3, 3, 3), torch.randn(4)]
    grads = [[torch.randn_like(t) for t in start] for _ in range(4)]

    def fresh():
        weights = [
            torch.nn.Parameter(t.clone(memory_format=memory) if t.ndim == 4 else t.clone())
            for t in start
        ]
        return weights, kind(weights)

    def step(weights, optimizer, values):
        for weight, grad in zip(weights, values, strict=True):
            weight.grad = torch.empty_like(weight).copy_(
                grad
            )  # in the order of the weight, as autograd
        optimizer.step()

    weights, optimizer = fresh()
    others, restored = fresh()
    step(weights, optimizer, grads[0])
    step(weights, optimizer, grads[1])
    write_checkpoint(path, optimizer_tensors(optimizer), INFO)
    for other, weight in zip(others, weights, strict=True):
        other.data.copy_(weight.data)
    load_optimizer(restored, read_checkpoint(path, STATE_FORMAT)[0])
    for values in grads[2:]:
        step(weights, optimizer, values)
        step(others, restored, values)
    assert all(torch.equal(a, b) for a, b in zip(weights, others, strict=True))
    for weight, other in zip(weights, others, strict=True):
        a, b = optimizer.state[weight], restored.state[other]
        assert a.keys() == b.keys()
        assert all(a[name].stride() == b[name].stride() for name in a)


def test_an_optimizer_before_its_first_step_has_nothing_to_save():
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], 0.1, momentum=0.9)
    assert optimizer_tensors(optimizer) == {}
    load_optimizer(optimizer, {})
