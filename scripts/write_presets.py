"""Write what the same predictions score by every convention into docs/results.md.

python scripts/write_presets.py RUN [RUN ...]      needs the runs' data

The KiTS19 scorer's Dice is applied to the classes at hand. Masks are those of the runs' test
cases; their probabilities are predicted again, each case by the model of its fold, for the
convention that sweeps thresholds.
"""

import argparse
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from crosslinknet.config import Config, EvaluateConfig, load_config
from crosslinknet.datasets import find_cases
from crosslinknet.evaluate import Scores, score_case, summarise
from crosslinknet.evaluate.documents import Table, level_table, markdown_table, preset_table
from crosslinknet.evaluate.pairs import common_spacing, masks_in
from crosslinknet.files import read_json, write_text
from crosslinknet.labels import label_table
from crosslinknet.metrics import PRESETS
from crosslinknet.predict import load
from crosslinknet.readers import read_case_mask, read_mask
from crosslinknet.splits import read_splits

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "results.md"
BEGIN, END = "<!-- presets: begin -->", "<!-- presets: end -->"
OURS = {  # our own metrics by each of our policies
    policy: EvaluateConfig(metrics=["dice", "hd95", "hd"], levels=["image"], policy=policy)
    for policy in ("worst", "drop", "one")
}


class Pair(NamedTuple):
    """What is scored of a test case."""

    case: str
    subject: str
    pred: np.ndarray  # (D, H, W) codes
    target: np.ndarray
    probs: np.ndarray  # (K, D, H, W)
    spacing: Any


def main() -> None:
    """Replace the sections of these runs between the markers of the page; others stay."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, help="run folders")
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    old, after = rest.split(END)
    sections = {part.partition(":")[0]: part.strip() for part in old.split("### ")[1:]}
    for run in parser.parse_args().runs:
        sections[run.name] = "\n\n".join(tables(run))
    text = "\n\n".join(f"### {part}" for part in sections.values())
    write_text(PAGE, f"{before}{BEGIN}\n{text}\n{END}{after}")


def tables(run: Path) -> list[str]:
    """The heading's text, the overview, and a table for each preset."""
    config = load_config(run / "config.yaml")
    pairs = read_pairs(run, config)
    classes = list(config.data.label_map)
    ours = {name: scored(pairs, config, one, classes, None) for name, one in OURS.items()}
    theirs = {
        name: scored(pairs, config, EvaluateConfig(**preset.settings), classes, name)
        for name, preset in PRESETS.items()
    }
    states = next(iter(ours.values()))["levels"]["image"][classes[-1]]["counts"]
    parts = [
        f"{run.name}: {states['n']} test images; {classes[-1]}: {states['n_missed']} missed, "
        f"{states['n_false_alarm']} false alarms, {states['n_both_empty']} empty on both sides",
        markdown_table(overview(ours, theirs, classes[-1])),
    ]
    for name, summary in ours.items():
        shown = level_table(summary, "image")
        parts += [f"Our metrics, policy `{name}`:", markdown_table(shown)]
    for name, summary in theirs.items():
        parts += [f"Preset `{name}`, {PRESETS[name].about}:", markdown_table(preset_table(summary))]
    return parts


def overview(ours: dict[str, Any], theirs: dict[str, Any], name: str) -> Table:
    """The first number that each convention calls Dice, and its HD95 or HD."""
    rows = []
    for policy, summary in ours.items():
        cells = summary["levels"]["image"][name]["metrics"]
        numbers = [shown(cells[m]["mean"], 100 if m == "dice" else 1) for m in ("dice", "hd95")]
        rows.append((f"ours, policy {policy}", *numbers, shown(cells["hd"]["mean"], 1)))
    for preset, summary in theirs.items():
        found = {
            metric: summary["levels"][level][name]["metrics"][metric]["mean"]
            for _, metric, level in PRESETS[preset].columns
        }
        first = PRESETS[preset].columns[0][1]
        rows.append(
            (
                f"preset {preset}",
                shown(found[first], 100),
                *(shown(found.get(metric, "-"), 1) for metric in ("hd95", "hd")),
            )
        )
    unit = next(iter(ours.values()))["distance_unit"]
    header = ("convention", "Dice (%)", f"HD95 ({unit})", f"HD ({unit})")
    return Table("", header, tuple(rows))


def shown(value: Any, factor: float) -> str:
    """Two decimals; a dash where a convention has no such number."""
    return value if value == "-" else f"{factor * float(value):.2f}" if value is not None else "-"


def read_pairs(run: Path, config: Config) -> list[Pair]:
    """The test cases of all finished folds."""
    cases = {case.id: case for case in find_cases(config.data).cases}
    table, axis = label_table(config.data.label_map), config.image.slice_axis
    pairs = []
    for number in sorted(read_json(run / "manifest.json")["folds"]):
        folder = run / f"fold_{number}"
        masks = masks_in(folder / "predictions")
        predictor = load(folder)
        section = predictor.config.predict.model_copy(update={"probabilities": True})
        predictor.config = predictor.config.model_copy(update={"predict": section})
        for name in read_splits(run / "splits.json").folds[int(number)].test:
            case = cases[name]
            pred, grid = read_mask(masks[name], axis, table, None)
            target, own = read_case_mask(case, config.data, axis)
            step = common_spacing(masks[name], grid, case.images[0], own, case.spacing)
            probs = predictor.predict_files(case)[0].probs
            pairs.append(Pair(name, case.subject, pred, target, probs, step))
    return pairs


def scored(
    pairs: list[Pair], config: Config, how: EvaluateConfig, classes: list[str], preset: str | None
) -> dict[str, Any]:
    """The summary of one convention."""
    table = label_table(config.data.label_map)

    def one(pair: Pair) -> Scores:
        return score_case(
            pair.pred, pair.target, table, pair.spacing, pair.case, pair.subject, None, how,
            pair.probs,
        )  # fmt: skip

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return summarise(list(pool.map(one, pairs)), classes, how, preset)


if __name__ == "__main__":
    main()
