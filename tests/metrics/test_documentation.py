"""docs/metrics.md says what the code does."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from crosslinknet.evaluate import COLUMNS
from crosslinknet.metrics import METRICS, POLICIES, PRESETS

PAGE_AT = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
PAGE = PAGE_AT.read_text("utf-8")
OWN = [name for name, metric in METRICS.items() if not metric.tool]


def table_after(text):
    """Cells of the first table behind a text, header first."""
    lines = PAGE[PAGE.index(text) :].split("\n\n")
    block = next(part for part in lines if part.startswith("|"))
    cells = [re.split(r"(?<!\\)\|", line.strip())[1:-1] for line in block.splitlines()]
    return [[cell.strip() for cell in row] for row in cells if not row[0].startswith(" ---")]


def test_the_example_gives_the_numbers_that_are_printed_beside_it():
    code = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]
    names = {}
    exec(code, names)
    last = code.strip().splitlines()[-1]
    found = eval(last, names)
    stated = {name: float(number) for name, number in re.findall(r"(dice|hd) ([\d.]+)", last)}
    assert found == pytest.approx(stated, abs=5e-4)


def test_every_metric_is_defined_with_its_heading_and_best_value():
    rows = {row[0].strip("`"): row for row in table_after("## Definitions")[1:]}
    assert list(rows) == OWN
    for name in OWN:
        metric = METRICS[name]
        assert rows[name][1] == metric.heading
        assert rows[name][3] == ("1" if metric.higher_is_better else "0")


def test_the_policy_table_is_the_one_of_the_code():
    header, *rows = table_after("## Empty masks")
    columns = [cell.split(", ") for cell in header[1:]]
    assert {name for names in columns for name in names} == set(OWN)
    for position, row in enumerate(rows[:3]):
        for names, cell in zip(columns, row[1:], strict=True):
            for name in names:
                rule = METRICS[name].worst[position]
                text = rule if isinstance(rule, str) else "out" if np.isnan(rule) else f"{rule:g}"
                assert text == cell


def test_presets_and_their_metrics_are_described():
    rows = {row[0].strip("`") for row in table_after("## As other tools score")[1:]}
    assert rows == set(PRESETS)
    for name in METRICS.keys() - set(OWN):
        assert f"`{name}`" in PAGE


def test_every_policy_is_named():
    for name in POLICIES:
        assert f"`{name}`" in PAGE


def test_every_key_of_a_summary_is_named():
    schema = json.loads((PAGE_AT.parent / "summary.schema.json").read_text("utf-8"))
    block = PAGE[PAGE.index("### `summary.json`") :].split("```")[1]
    for key in schema["required"]:
        assert re.search(rf"\b{key}\b", block), key


def test_every_column_of_the_csv_is_described():
    described = re.findall(r"`(\w+)`", " ".join(row[0] for row in table_after("### `per_image")))
    assert described == [*COLUMNS, "distance_unit", "policy", "or_ur_norm"]
