"""Finished jobs stay finished as long as sources and results are what they were."""

import errno
import json
import os

import pytest

from crosslinknet.curation.ledger import open_ledger
from crosslinknet.errors import DataError, SystemProblem, UsageError

JOBS = ["a", "b", "c"]


def work(folder, text="result", jobs=JOBS, settings=None, fail_at=None, ended=True):
    """Write one file per job; gives the jobs that had to be done."""
    done = []
    settings = {"value": 1} if settings is None else settings
    with open_ledger(folder / "ledger.jsonl", settings, jobs, ended) as ledger:
        for job in jobs:
            if job == fail_at:
                raise KeyboardInterrupt
            if ledger.finished(job, {job: text}) is None:
                (folder / f"{job}.txt").write_text(f"{text} {job}")
                ledger.record(job, {job: text}, [folder / f"{job}.txt"], {"number": len(done)})
                done.append(job)
    return done


def test_a_second_run_finds_everything_done(tmp_path):
    assert work(tmp_path / "out") == JOBS
    before = (tmp_path / "out" / "ledger.jsonl").read_bytes()
    assert work(tmp_path / "out") == []
    assert (tmp_path / "out" / "ledger.jsonl").read_bytes() == before


def test_a_stopped_run_goes_on(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        work(tmp_path / "out", fail_at="c")
    assert work(tmp_path / "out") == ["c"]


def test_a_damaged_or_lost_result_is_made_anew(tmp_path):
    work(tmp_path / "out")
    (tmp_path / "out" / "a.txt").write_text("changed by hand")
    (tmp_path / "out" / "c.txt").unlink()
    assert work(tmp_path / "out") == ["a", "c"]


def test_a_changed_source_is_done_again_and_its_old_result_goes(tmp_path):
    work(tmp_path)
    with open_ledger(tmp_path / "ledger.jsonl", {"value": 1}, JOBS, True) as ledger:
        assert ledger.finished("a", {"a": "other"}) is None
        (tmp_path / "new.txt").write_text("new")
        ledger.record("a", {"a": "other"}, [tmp_path / "new.txt"], None)
    assert sorted(path.name for path in tmp_path.glob("*.txt")) == ["b.txt", "c.txt", "new.txt"]


def test_results_of_jobs_that_are_gone_are_removed_unless_changed(tmp_path):
    work(tmp_path)
    (tmp_path / "b.txt").write_text("mine now")
    assert work(tmp_path, jobs=["a"]) == []
    assert sorted(path.name for path in tmp_path.glob("*.txt")) == ["a.txt", "b.txt"]


def test_a_line_that_was_cut_off_counts_as_not_written(tmp_path):
    work(tmp_path)
    ledger = tmp_path / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes()[:-20])
    assert work(tmp_path) == ["c"]


def test_leftovers_of_a_killed_run_are_removed(tmp_path):
    work(tmp_path)
    (tmp_path / "deep").mkdir()
    for name in (".tmp-x.png", "deep/.tmp-y.nii.gz"):
        (tmp_path / name).write_text("half")
    work(tmp_path)
    assert not list(tmp_path.rglob(".tmp-*"))


def test_a_run_killed_before_its_first_file_leaves_nothing_in_the_way(tmp_path):
    (tmp_path / ".tmp-x.jsonl").write_text("half")
    assert work(tmp_path) == JOBS
    assert not list(tmp_path.glob(".tmp-*"))


def test_other_settings_are_refused_with_the_difference(tmp_path):
    work(tmp_path)
    with pytest.raises(UsageError, match=r"other settings: value was 1, now 2\. Choose another -o"):
        work(tmp_path, settings={"value": 2})


def test_a_stopped_work_may_become_another_one_which_begins_anew(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        work(tmp_path / "out", fail_at="c")
    (tmp_path / "out" / "a.txt").write_text("changed by hand")
    assert work(tmp_path / "out", jobs=["c"], settings={"value": 2}, ended=False) == ["c"]
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["a.txt", "c.txt", "ledger.jsonl"]  # what was changed since is not ours


def test_a_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.docx").write_text("precious")
    with pytest.raises(UsageError, match="exists and holds something else, which stays"):
        work(tmp_path)
    with pytest.raises(UsageError, match="exists and holds something else"):
        work(tmp_path / "thesis.docx")
    assert (tmp_path / "thesis.docx").read_text() == "precious"


@pytest.mark.parametrize("text", ["", "{}\n", "[1]\n", '{"schema": "other", "settings": {}}\n'])
def test_a_file_that_is_no_ledger_is_refused(tmp_path, text):
    (tmp_path / "ledger.jsonl").write_text(text)
    with pytest.raises(DataError, match=r"ledger\.jsonl is no ledger that can be read"):
        work(tmp_path)


def test_a_forged_ledger_removes_nothing_outside_its_folder(tmp_path):
    work(tmp_path / "out")
    ledger = tmp_path / "out" / "ledger.jsonl"
    (tmp_path / "victim.txt").write_text("result a")
    lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    lines[1]["results"] = {"../victim.txt": lines[1]["results"]["a.txt"]}
    ledger.write_text("".join(json.dumps(line) + "\n" for line in lines))
    work(tmp_path / "out", jobs=["b"])
    assert (tmp_path / "victim.txt").exists()


@pytest.mark.parametrize("short", [True, False])
def test_a_full_disk_at_the_ledger_is_an_error_and_nothing_is_lost(tmp_path, short):
    class Full:
        name = "ledger.jsonl"

        def write(self, line):
            if short:
                return len(line) - 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with open_ledger(tmp_path / "ledger.jsonl", {"value": 1}, JOBS, True) as ledger:
        (tmp_path / "a.txt").write_text("result a")
        file, ledger.file = ledger.file, Full()
        with pytest.raises(SystemProblem, match=r"could not be written \(No space left"):
            ledger.record("a", {"a": "result"}, [tmp_path / "a.txt"], None)
        ledger.file = file
        assert ledger.finished("a", {"a": "result"}) is None
    assert work(tmp_path) == JOBS
