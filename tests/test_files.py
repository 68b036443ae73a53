"""files: old content or new content, never a mixture; and hashes."""

import errno
import hashlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosslinknet import files
from crosslinknet.errors import DataError, SystemProblem
from crosslinknet.files import (
    atomic_path,
    read_json,
    sha256_of_file,
    sha256_of_json,
    write_bytes,
    write_json,
    write_text,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)  # fmt: skip


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_with_its_folders(tmp_path: Path):
    write_text(tmp_path / "a" / "b" / "c.txt", "grün")
    assert (tmp_path / "a" / "b" / "c.txt").read_bytes() == "grün".encode()
    assert entries(tmp_path / "a" / "b") == ["c.txt"]


def test_writing_again_replaces_the_content(tmp_path: Path):
    for content in (b"long old content", b"new"):
        write_bytes(tmp_path / "file", content)
    assert (tmp_path / "file").read_bytes() == b"new"


def test_the_final_name_appears_only_when_all_is_written(tmp_path: Path):
    path = tmp_path / "mask.nii.gz"
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"half")
        assert not path.exists()
        assert temporary.parent == path.parent
        assert temporary.name.startswith(".")
        assert temporary.name.endswith(".nii.gz")
    assert path.read_bytes() == b"half"


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_path(path) as temporary:  # noqa: PT012
        temporary.write_text("half of the n")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert entries(tmp_path) == ["file.txt"]


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_says_so(tmp_path, monkeypatch, step):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    where = {
        "write": (Path, "write_bytes"),
        "fsync": (os, "fsync"),
        "replace": (Path, "replace"),
    }
    monkeypatch.setattr(*where[step], full)
    with pytest.raises(SystemProblem) as caught:
        write_text(path, "new")
    monkeypatch.undo()
    for part in (str(path), "No space left on device", "Free some space", "before is untouched"):
        assert part in str(caught.value)
    assert path.read_text() == "old"
    assert entries(tmp_path) == ["file.txt"]


def test_a_file_in_the_place_of_a_folder_is_no_matter_of_space(tmp_path: Path):
    (tmp_path / "taken").write_text("precious")
    with pytest.raises(SystemProblem, match="Look at the folder and the rights to it") as caught:
        write_text(tmp_path / "taken" / "file.txt", "new")
    assert "Free some space" not in str(caught.value)
    assert (tmp_path / "taken").read_text() == "precious"


def test_a_disk_that_is_really_full_is_told(tmp_path: Path):
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(SystemProblem, match="No space left"), atomic_path(tmp_path / "x"):
        full.write_bytes(b"1")


def test_a_file_in_place_of_a_folder_is_told(tmp_path: Path):
    (tmp_path / "runs").write_text("not a folder")
    with pytest.raises(SystemProblem, match=r"runs.* could not be written"):
        write_text(tmp_path / "runs" / "config.yaml", "x")


def test_a_file_system_that_cannot_sync_folders_is_no_error(tmp_path, monkeypatch):
    sync = os.fsync

    def files_only(handle: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{handle}"):  # noqa: PTH112
            raise OSError(errno.EINVAL, "cannot sync folders")
        sync(handle)

    monkeypatch.setattr(os, "fsync", files_only)
    write_text(tmp_path / "file", "x")
    assert (tmp_path / "file").read_text() == "x"


def test_results_get_the_rights_that_the_user_wants(tmp_path: Path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "file", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_a_killed_writer_leaves_a_whole_file(tmp_path: Path):
    path = tmp_path / "file"
    write_bytes(path, bytes(1_000_000))
    code = (
        "import sys; from pathlib import Path; from crosslinknet.files import write_bytes\n"
        "while True:\n"
        "    for value in range(256): write_bytes(Path(sys.argv[1]), bytes([value]) * 1_000_000)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(path)])
    began = time.monotonic()
    while path.read_bytes()[0] == 0 and time.monotonic() - began < 30:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    content = path.read_bytes()
    assert content == content[:1] * 1_000_000


@given(JSON)
def test_json_comes_back_as_it_went(tmp_path_factory: pytest.TempPathFactory, content):
    path = tmp_path_factory.getbasetemp() / "round-trip.json"
    write_json(path, content)
    assert read_json(path) == content


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_numbers_that_json_does_not_know_are_refused_and_nothing_is_written(tmp_path, number):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "file.json", {"mean": number})
    assert entries(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b'{"a": ', b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_json_file_is_a_data_error_that_names_it(tmp_path: Path, content: bytes):
    (tmp_path / "summary.json").write_bytes(content)
    with pytest.raises(DataError, match=r"summary\.json is not a readable JSON file"):
        read_json(tmp_path / "summary.json")


def test_a_json_file_that_is_too_large_is_refused(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(files, "MOST_JSON", 1 << 20)
    path = tmp_path / "all.json"
    path.write_bytes(b'"' + b"x" * ((1 << 20) - 2) + b'"')
    assert len(read_json(path)) == (1 << 20) - 2
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(DataError, match=r"all\.json is a JSON file of more than 1 MiB"):
        read_json(path)


def test_a_json_file_with_a_mark_of_its_encoding_is_read(tmp_path: Path):
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf[1]")
    assert read_json(tmp_path / "a.json") == [1]


def test_a_missing_json_file_is_a_data_error(tmp_path: Path):
    with pytest.raises(DataError, match=r"nowhere\.json"):
        read_json(tmp_path / "nowhere.json")


def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path: Path):
    content = os.urandom(300_000)
    (tmp_path / "file").write_bytes(content)
    assert sha256_of_file(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_the_hash_of_json_ignores_the_order_of_keys_and_sees_that_of_lists():
    assert sha256_of_json({"a": 1, "b": [1, 2]}) == sha256_of_json({"b": [1, 2], "a": 1})
    assert sha256_of_json([1, 2]) != sha256_of_json([2, 1])
    assert sha256_of_json({"b": 1}) == hashlib.sha256(b'{"b":1}').hexdigest()
    assert json.loads('{"b":1}') == {"b": 1}
