"""The reporting sheet answers from the record what the record knows, and asks for the rest."""

import re
import shutil

import pytest

from crosslinknet.errors import DataError
from crosslinknet.report import write_report, write_reporting
from crosslinknet.report.reporting import CLAIM, RELOADED


@pytest.fixture
def sheet(finished_run, tmp_path):
    run = shutil.copytree(finished_run / "runs" / "exp", tmp_path / "exp")
    return write_reporting(run).read_text("utf-8")


def answer(sheet, key):
    (line,) = [one for one in sheet.splitlines() if one.startswith(f"| {key} |")]
    return re.split(r"(?<!\\)\|", line)[3].strip()


def test_all_44_items_of_claim_are_there_in_their_order():
    assert [item.key for item in CLAIM] == [str(n) for n in range(1, 45)]
    assert len({item.asks for item in CLAIM}) == 44


def test_what_the_record_knows_is_answered(sheet):
    assert "4 subjects" in answer(sheet, "7")
    assert "2 folds of whole subjects" in answer(sheet, "19")
    assert answer(sheet, "20").startswith("subject, by regular expression")
    assert "near-duplicates were kept on one side" in answer(sheet, "20")
    assert "torch" in answer(sheet, "23")
    assert "seed 0" in answer(sheet, "24")
    assert "adamw, rate 0.001" in answer(sheet, "25")
    assert "policy worst" in answer(sheet, "28")
    assert "BCa bootstrap, 20 resamples" in answer(sheet, "29")
    assert "2 of 2 folds tested, 8 of 8 cases once each" in answer(sheet, "32")
    assert re.search(r"glass DSC [\d.]+ %", answer(sheet, "37"))
    assert "Apache-2.0" in answer(sheet, "43")


def test_what_no_record_knows_stays_a_question(sheet):
    for key in ("2", "5", "11", "16", "33", "44"):
        assert answer(sheet, key) == "**?** for the author"


def test_the_numbers_of_answers_are_those_of_the_lines(sheet):
    for title, items in (("CLAIM 2024", CLAIM), ("Metrics Reloaded", RELOADED)):
        part = sheet[sheet.index(f"## {title}") :].split("\n## ")[0]
        asked = part.count("**?** for the author")
        assert f"{len(items) - asked} of {len(items)} items are answered, {asked} remain." in part


def test_metrics_that_were_not_asked_for_answer_nothing(sheet):
    assert "Hausdorff" in answer(sheet, "boundary")
    assert answer(sheet, "centre") == "**?** for the author"
    for judgement in ("FP2.1", "FP2.2", "FP2.3"):
        assert answer(sheet, judgement) == "**?** for the author"


def test_a_run_without_manifest_and_scores_leaves_more_questions(finished_run, tmp_path):
    run = shutil.copytree(finished_run / "runs" / "exp", tmp_path / "exp")
    (run / "manifest.json").unlink()
    (run / "summary.json").unlink()
    for table in run.glob("fold_*/metrics.csv"):
        table.unlink()
    text = write_reporting(run).read_text("utf-8")
    for key in ("7", "20", "35", "37", "FP4.1", "FP4.6"):
        assert answer(text, key) == "**?** for the author"


def test_the_sheet_is_written_with_the_report_and_the_same_each_time(finished_run, tmp_path):
    run = shutil.copytree(finished_run / "runs" / "exp", tmp_path / "exp")
    write_report(run)
    first = (run / "reporting.md").read_bytes()
    write_report(run)
    assert (run / "reporting.md").read_bytes() == first


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(DataError, match="is not the folder of a run"):
        write_reporting(tmp_path)


def test_first_weights_of_a_file_and_a_first_network_are_told(finished_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished_run / "runs" / "exp", folder)
    text = (folder / "config.yaml").read_text(encoding="utf-8")
    for key, value in (("weights", "imagenet.pth"), ("first", "runs/infection")):
        assert f"  {key}: null" in text
        text = text.replace(f"  {key}: null", f"  {key}: {value}", 1)
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    sheet = write_report(folder).with_name("reporting.md").read_text(encoding="utf-8")
    assert "from the file imagenet.pth, what it lacks framework, seed" in sheet
    assert "behind the network of the run infection" in sheet
