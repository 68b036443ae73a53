"""The demo: made-up data, two folds, a report, no questions."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from crosslinknet.config import load_config, override, parse_config, to_dict
from crosslinknet.errors import UsageError
from crosslinknet.experiments import crossval
from crosslinknet.experiments import demo as module
from crosslinknet.experiments.demo import demo, demo_config
from crosslinknet.phantoms import PHANTOMS


@pytest.mark.parametrize("kind", PHANTOMS)
def test_every_kind_of_phantom_has_a_demo(kind: str, tmp_path: Path):
    config = demo_config(kind, tmp_path / "data", tmp_path)
    assert config.split.folds == 2
    values = {value for group in config.data.label_map.values() for value in group}
    drawn = {value for group in PHANTOMS[kind].label_map.values() for value in group}
    assert values == drawn


def test_an_unknown_kind_suggests_a_known_one(tmp_path: Path):
    with pytest.raises(UsageError, match="did you mean 'heart'"):
        demo(tmp_path, "hart")
    assert list(tmp_path.iterdir()) == []


def test_the_demo_leaves_data_a_config_that_can_be_run_and_a_report(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SIZE", (32, 32))
    monkeypatch.setattr(module, "SUBJECTS", 4)
    monkeypatch.setattr(module, "SLICES", 2)
    small = ("train.epochs=1", "model.options.widths=[2, 4, 8, 16, 32]", "evaluate.bootstrap=10")

    def quick(*arguments):
        return parse_config(override(to_dict(demo_config(*arguments)), small))

    def write(folder: Path) -> Path:  # the report has tests of its own, and takes seconds
        (folder / "report.html").write_text("<!doctype html>")
        return folder / "report.html"

    monkeypatch.setattr(module, "demo_config", quick)
    monkeypatch.setattr(crossval, "write_report", write)
    report = demo(str(tmp_path / "out"), "kidney")
    assert report.is_file()
    assert len(list((tmp_path / "out" / "kidney-data" / "images").iterdir())) == 8
    config = load_config(tmp_path / "out" / "kidney.yaml")
    assert config.run == report.parent
    before = (report.parent / "manifest.json").read_bytes()
    assert demo(tmp_path / "out", "kidney") == report  # goes on, finds all done
    assert (report.parent / "manifest.json").read_bytes() == before


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_demo_finds_the_infection(tmp_path: Path):
    command = [sys.executable, "-m", "crosslinknet", "demo", "-o", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    last = done.stdout.strip().splitlines()[-1]
    assert last.startswith("Report: ")
    assert Path(last.removeprefix("Report: ")).is_file()
    summary = json.loads((tmp_path / "runs" / "demo-lung" / "summary.json").read_text())
    assert summary["levels"]["image"]["infection"]["metrics"]["dice"]["mean"] > 0.6
