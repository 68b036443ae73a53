"""docs/paper.md: every part of the paper has a row, and every file it names exists."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CODE, TESTS = ROOT / "src" / "crosslinknet", ROOT / "tests"

ROWS = [  # (part of the paper, what it says, code, test)
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs" / "paper.md").read_text(encoding="utf-8").splitlines()
    if line.startswith(("| Section", "| Eq.", "| Table", "| Fig."))
]

ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII")
PARTS = {
    *(f"Section {n}" for n in ROMAN[:5]),
    *(f"Section III-{letter}" for letter in "ABC"),
    *(f"Section IV-{part}" for part in ("A", "B", "C1", "C2", "C3", "D", "E", "F")),
    *(f"Eq. {n}" for n in range(1, 5)),
    *(f"Table {n}" for n in ROMAN),
    *(f"Fig. {n}" for n in range(1, 13)),
}


def files_in(cell: str) -> list[str]:
    return re.findall(r"`([\w/]+\.\w+)`", cell)


def test_every_section_equation_table_and_figure_has_a_row():
    assert {row[0].partition(",")[0] for row in ROWS} == PARTS


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_row_names_files_that_exist_or_says_later(row: list[str]):
    _, _, code, test = row
    missing = [name for name in files_in(code) if not (CODE / name).is_file()]
    missing += [name for name in files_in(test) if not (TESTS / name).is_file()]
    assert missing == []
    for cell in (code, test):
        assert files_in(cell) or cell == "-" or cell.startswith("later")


def test_the_citation_file_cites_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    paper = citation["preferred-citation"]
    assert paper["doi"] == "10.1109/TIP.2022.3203223"
    assert {"type": "other", "value": "arXiv:2107.11517"}.items() <= paper["identifiers"][0].items()
    assert [author["family-names"] for author in paper["authors"]][:2] == ["Yu", "Qi"]


def test_the_citation_file_has_the_version_of_the_package():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{citation["version"]}"' in project
