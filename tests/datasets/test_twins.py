"""Twins: whole or not at all, never over something, each with the traps of its set.

What is in the files is tested where the set's reader is.
"""

import hashlib
from pathlib import Path

import pytest

from crosslinknet.config import DataConfig
from crosslinknet.datasets import LAYOUTS, find_cases, twins
from crosslinknet.datasets.twins import TWINS, make_twin
from crosslinknet.errors import SystemProblem, UsageError


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_every_recipe_has_a_twin_that_is_found_as_its_own(twin):
    layouts = {find_cases(DataConfig(root=twin(name))).layout for name in TWINS}
    assert layouts == {"covid19-i", "covid19-volumes", "kits19", "york-cardiac"}
    assert layouts <= set(LAYOUTS)


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_has_three_folds_of_subjects_and_no_files_of_groups_or_spacing(twin, name):
    assert len({case.subject for case in find_cases(DataConfig(root=twin(name))).cases}) >= 3
    assert not list(twin(name).rglob("*.csv"))
    assert not list(twin(name).rglob(".*"))


def test_number_of_subjects_and_seed_count(tmp_path):
    for name, subjects, seed in (("a", 3, 0), ("b", 3, 1), ("c", 4, 0)):
        make_twin("covid19-volumes", tmp_path / name, subjects, seed)
    a, b, c = (contents(tmp_path / name) for name in "abc")
    assert set(a) == set(b)
    assert a != b
    assert len(c) == 8
    assert set(a) < set(c)


@pytest.mark.parametrize("name", ["covid19-i-infnet", "york-cardiac"])
def test_the_same_call_gives_the_same_pixels(twin, tmp_path, name):
    make_twin(name, tmp_path / "again")
    first, again = contents(twin(name)), contents(tmp_path / "again")
    assert set(first) == set(again)
    if name == "covid19-i-infnet":  # MATLAB files hold the time they were written at
        assert first == again


def test_nothing_is_replaced(tmp_path):
    (tmp_path / "empty").mkdir()
    make_twin("covid19-volumes", tmp_path / "empty", subjects=3)
    before = contents(tmp_path / "empty")
    (tmp_path / "file").write_text("mine")
    for taken in ("empty", "file"):
        with pytest.raises(UsageError, match=rf"{taken} exists and is not empty"):
            make_twin("kits19", tmp_path / taken)
    assert contents(tmp_path / "empty") == before
    assert (tmp_path / "file").read_text() == "mine"


def test_a_twin_that_cannot_be_finished_leaves_nothing(tmp_path, monkeypatch):
    def fail(folder, subjects, seed):
        (folder / "half").write_text("x")
        raise SystemProblem("the disk is full")

    monkeypatch.setitem(twins.TWINS, "kits19", fail)
    with pytest.raises(SystemProblem, match="full"):
        make_twin("kits19", tmp_path / "new")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(SystemProblem, match=r"twin cannot be made \("):
        make_twin("kits19", tmp_path / "file" / "twin")


@pytest.mark.parametrize(
    ("name", "subjects", "seed", "reason"),
    [
        ("kits91", 6, 0, "did you mean 'kits19'"),
        ("kits19", 2, 0, "3 subjects or more"),
        ("kits19", 6, -1, "a seed is 0 or more"),
    ],
)
def test_wrong_calls_say_what_is_possible(tmp_path, name, subjects, seed, reason):
    with pytest.raises(UsageError, match=reason):
        make_twin(name, tmp_path / "new", subjects, seed)
    assert not list(tmp_path.iterdir())
