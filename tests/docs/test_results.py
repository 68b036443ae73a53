"""The script that writes docs/results.md says what a run found, and how to repeat it."""

import csv
import json
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import write_results  # noqa: E402


def test_the_table_holds_the_scores_of_the_summary(finished_run: Path) -> None:
    run = finished_run / "runs" / "exp"
    summary = json.loads((run / "summary.json").read_text())
    dice = summary["levels"]["image"]["average"]["metrics"]["dice"]["mean"]
    line = write_results.table([run]).splitlines()[-1]
    assert f"| {100 * dice:.2f} |" in line
    assert "| 2 of 2 |" in line


def test_differences_are_paired_by_image(finished_run: Path, tmp_path: Path) -> None:
    base, other = tmp_path / "base", tmp_path / "other"
    for run in (base, other):
        shutil.copytree(finished_run / "runs" / "exp", run)
    scores = write_results.dice_of(base)
    for path in other.glob("fold_*/metrics.csv"):  # every Dice ten points lower, one untouched
        rows = list(csv.DictReader(path.read_text().splitlines()))
        for line in rows:
            if line["dice"] and path.parent.name == "fold_0":
                line["dice"] = str(float(line["dice"]) - 0.1)
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    changed = sum(
        a != b for a, b in zip(scores.values(), write_results.dice_of(other).values(), strict=True)
    )
    cells = write_results.paired([base, other], "base").splitlines()[-1].split(" | ")
    assert cells[0] == "| other"
    assert float(cells[1]) == pytest.approx(-10 * changed / len(scores), abs=0.006)
    assert cells[3:5] == ["0", str(changed)]
    assert 0 < changed < len(scores)


def test_the_command_names_what_differs_from_the_committed_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crosslinknet.config import load_config

    base = ROOT / "configs" / "covid19-100-small.yaml"
    config = load_config(base, ("loss.form=eq1", "output.name=small-eq1", "data.root=elsewhere"))
    assert write_results.command(config, ["0"], 3) == (
        "xln train configs/covid19-100-small.yaml --fold 0 -s loss.form=eq1 "
        "-s output.name=small-eq1"
    )


def test_the_page_is_replaced_between_its_markers_only(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "results.md"
    page.write_text(f"before\n{write_results.BEGIN}\nyesterday\n{write_results.END}\nafter\n")
    monkeypatch.setattr(write_results, "PAGE", page)
    monkeypatch.setattr(sys, "argv", ["write_results.py", str(finished_run / "runs" / "exp")])
    write_results.main()
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "yesterday" not in text
    assert "**exp**" in text
