"""docs/decisions.md: the numbers hold together, and the settings it names are real."""

import re
from pathlib import Path

import pytest

from crosslinknet.config import override, parse_config
from crosslinknet.config.recipes import GIVES

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "decisions.md").read_text(encoding="utf-8")
ENTRIES = dict(re.findall(r"(?ms)^### (D\d+)\. (.*?)(?=^##|\Z)", TEXT))
SETTINGS = re.findall(r"`([a-z]+\.[a-z_.]+=[^`]+)`", TEXT)


def files_that_cite() -> list[Path]:
    code = [p for top in ("src", "tests", "configs", "benchmarks") for p in (ROOT / top).rglob("*")]
    docs = [*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md")]
    return [p for p in [*code, *docs] if p.suffix in {".py", ".yaml", ".md"}]


def test_decisions_are_numbered_from_one_without_gaps():
    assert list(ENTRIES) == [f"D{n}" for n in range(1, len(ENTRIES) + 1)]


def test_every_decision_that_a_file_cites_exists():
    cited = {
        (number, path.relative_to(ROOT).as_posix())
        for path in files_that_cite()
        for number in re.findall(r"\bD[1-9]\d?\b", path.read_text(encoding="utf-8"))
    }
    assert cited, "no file cites a decision: is the pattern still right?"
    assert {(number, path) for number, path in cited if number not in ENTRIES} == set()


@pytest.mark.parametrize("number", ENTRIES)
def test_a_decision_says_what_the_sources_say_what_we_do_and_how_to_switch(number: str):
    labels = re.findall(r"(?m)^- \*\*(\w+)\*\*:", ENTRIES[number])
    needed = ["Paper", "Code", "Choice", "Switch"]
    assert [label for label in labels if label in needed] == needed
    assert len(ENTRIES[number].splitlines()) <= 18


@pytest.mark.parametrize("setting", dict.fromkeys(SETTINGS))
def test_a_setting_that_decisions_name_is_one_the_config_takes(setting: str):
    term = setting.partition("=")[0].removeprefix("loss.")
    network = GIVES.get(term, ("crosslink-net",))[0]
    parse_config(override({"data": {"root": "."}, "model": {"name": network}}, (setting,)))
