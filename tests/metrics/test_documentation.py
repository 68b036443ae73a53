"""docs/metrics.md says what the code does."""

import re
from pathlib import Path

import numpy as np
import pytest

from crosslinknet.evaluate import COLUMNS
from crosslinknet.metrics import METRICS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "metrics.md").read_text("utf-8")


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
    assert list(rows) == list(METRICS)
    for name, metric in METRICS.items():
        assert rows[name][1] == metric.heading
        assert rows[name][3] == ("1" if metric.higher_is_better else "0")


def test_the_policy_table_is_the_one_of_the_code():
    header, *rows = table_after("## Empty masks")
    columns = [cell.split(", ") for cell in header[1:]]
    assert {name for names in columns for name in names} == set(METRICS)
    for position, row in enumerate(rows[:3]):
        for names, cell in zip(columns, row[1:], strict=True):
            for name in names:
                rule = METRICS[name].worst[position]
                text = rule if isinstance(rule, str) else "out" if np.isnan(rule) else f"{rule:g}"
                assert text == cell


def test_every_column_of_the_csv_is_described():
    described = re.findall(r"`(\w+)`", " ".join(row[0] for row in table_after("### `per_image")))
    assert described == [*COLUMNS, "distance_unit", "policy", "or_ur_norm"]
