"""A work that is stopped at any moment goes on, and leaves the bytes of one that was not."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from crosslinknet.config import DataConfig
from crosslinknet.curation.asked import Asked
from crosslinknet.curation.convert import convert
from crosslinknet.curation.fix import fix
from crosslinknet.datasets import find_cases
from crosslinknet.errors import DataError, SystemProblem
from tests.curation.sets import save, tree

CASES = 40


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise that takes a moment to compress."""
    root = tmp_path_factory.mktemp("stops") / "data"
    rng = np.random.default_rng(0)
    for number in range(CASES):
        name = f"case_{number:02}.png"
        save(root / "images" / name, rng.integers(0, 256, (300, 300), dtype=np.uint8))
        save(root / "masks" / name, 255 * rng.integers(0, 2, (300, 300)).astype(np.uint8))
    return root


WORKS = {
    "fix": (
        ["fix", "--labels", "255=1"],
        lambda source, out: fix(source, out, Asked({255: 1})),
        "fix_ledger.jsonl",
    ),
    "convert": (
        ["convert", "--to", "nnunet", "-s", "data.label_map={a: [255]}"],
        lambda source, out: convert(source, out, "nnunet", ("data.label_map={a: [255]}",)),
        "convert_ledger.jsonl",
    ),
}


def begin(words: list[str], source: Path, out: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "crosslinknet", "data", words[0], source, "-o", out]
    return subprocess.Popen(
        [*map(str, command), *words[1:]], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def wait_for_lines(process: subprocess.Popen, ledger: Path, lines: int) -> None:
    while process.poll() is None:
        if ledger.is_file() and ledger.read_bytes().count(b"\n") >= lines:
            return
        time.sleep(0.001)
    raise AssertionError(process.communicate())


@pytest.mark.parametrize("name", WORKS)
def test_a_work_killed_at_random_moments_ends_as_if_it_had_not_been(source, tmp_path, name):
    words, in_one_go, ledger = WORKS[name]
    out, whole = tmp_path / "a" / "Dataset501_x", tmp_path / "b" / "Dataset501_x"
    in_one_go(source, whole)
    expected = tree(whole)
    rng = np.random.default_rng()
    moments = sorted(rng.choice(np.arange(1, CASES // 2), 2, replace=False).tolist())
    for moment in moments:
        process = begin(words, source, out)
        wait_for_lines(process, out / ledger, moment)
        time.sleep(rng.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, moments
        process.communicate()
        assert not {"dataset.json", "fix_log.csv"} & set(tree(out)), moments
        for path, content in tree(out).items():  # no partial file has a final name
            if ".tmp-" not in path and path != ledger:
                assert content == expected[path], (path, moments)
    in_one_go(source, out)
    assert tree(out) == expected, moments


def test_ctrl_c_is_code_130_and_says_how_to_go_on(source, tmp_path):
    words, in_one_go, ledger = WORKS["fix"]
    for attempt in range(5):  # a busy machine may let the work end before the signal arrives
        out = tmp_path / f"out{attempt}"
        process = begin(words, source, out)
        wait_for_lines(process, out / ledger, 3)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
        if process.returncode != 0:
            break
    assert process.returncode == 130
    said = b"xln: Stopped. Finished files are kept; the same command goes on.\n"
    assert errors == said
    told = in_one_go(source, out)
    assert not list(out.rglob(".tmp-*"))  # also what the stop may have left
    assert "files there already, verified by checksum" in told[1]


@pytest.mark.parametrize("name", WORKS)
def test_a_full_disk_leaves_nothing_half_written(source, tmp_path, name):
    _, in_one_go, ledger = WORKS[name]
    out, whole = tmp_path / "a" / "Dataset501_x", tmp_path / "b" / "Dataset501_x"
    in_one_go(source, whole)
    expected = tree(whole)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))  # an image is larger
    try:
        with pytest.raises(SystemProblem, match=r"could not be written \(File too large\)"):
            in_one_go(source, out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path for path in tree(out)} == {ledger}
    in_one_go(source, out)
    assert tree(out) == expected


@pytest.mark.parametrize("name", WORKS)
def test_a_rename_that_fails_leaves_nothing_half_written(source, tmp_path, name, monkeypatch):
    _, in_one_go, _ = WORKS[name]
    out = tmp_path / "Dataset501_x"
    rename, count = Path.replace, iter(range(100))

    def full(self, target):
        if next(count) == 5:
            raise OSError(28, os.strerror(28))
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(SystemProblem, match=r"No space left on device"):
        in_one_go(source, out)
    monkeypatch.undo()
    assert not list(out.rglob(".tmp-*"))
    in_one_go(source, out)
    in_one_go(source, tmp_path / "whole" / "Dataset501_x")
    assert tree(out) == tree(tmp_path / "whole" / "Dataset501_x")


def test_unfinished_files_of_a_kill_are_cleaned_by_the_next_call(source, tmp_path):
    _, in_one_go, _ = WORKS["fix"]
    in_one_go(source, tmp_path / "out")
    (tmp_path / "out" / "images" / ".tmp-half.png").write_bytes(b"half")
    in_one_go(source, tmp_path / "out")
    assert not list((tmp_path / "out").rglob(".tmp-*"))


@pytest.mark.parametrize("name", WORKS)
def test_a_stopped_work_is_not_taken_for_a_data_set(source, tmp_path, name):
    out = tmp_path / "Dataset501_x"

    def stopped(items, description):
        for number, item in enumerate(items):
            if number == 5 and description in ("mending", "converting"):
                raise KeyboardInterrupt
            yield item

    def begin():
        if name == "fix":
            return fix(source, out, Asked({255: 1}), track=stopped)
        return convert(source, out, "nifti", ("data.label_map={a: [255]}",), track=stopped)

    with pytest.raises(KeyboardInterrupt):
        begin()
    assert len(list(out.rglob("case_*"))) >= 5
    with pytest.raises(DataError, match="is unfinished: xln data was stopped"):
        find_cases(DataConfig(root=out))
