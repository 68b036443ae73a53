"""docs/dicom.md: what it says of real files is what happens to them, and nothing crashes."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "write_dicom_table.py"))
PAGE = SCRIPT["PAGE"].read_text(encoding="utf-8")


def test_the_table_names_every_file_of_the_packages_once():
    names = [name for package in SCRIPT["PACKAGES"] for name, _ in SCRIPT["files"](package)]
    assert re.findall(r"(?m)^\| `(.+?)` \|", PAGE) == names
    assert len(names) > 150


@pytest.mark.parametrize(
    "name",
    ["CT_small.dcm", "rtdose.dcm", "liver.dcm", "badVR.dcm", "dicomdirtests/98892001/CT5N/2062"],
)
def test_a_row_says_what_becomes_of_its_file(name):
    paths = {n: path for package in SCRIPT["PACKAGES"] for n, path in SCRIPT["files"](package)}
    assert f"{SCRIPT['row'](name, paths[name])}\n" in PAGE


@pytest.mark.slow
def test_the_table_is_what_the_script_writes():
    assert SCRIPT["table"]() in PAGE
