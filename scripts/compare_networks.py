"""Train every network on one fold with the same budget, and write the table into docs/results.md.

python scripts/compare_networks.py train --data DATA [--runs runs] [--jobs 2] [--only NAME ...]
python scripts/compare_networks.py table [--runs runs]

Trainings go on where they were stopped; those that failed are named in the table with the reason.
Each runs with one thread, --jobs of them side by side, the quickest networks first; a second stage
after its first.
"""

import argparse
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

from crosslinknet.config import load_config
from crosslinknet.evaluate.documents import Table, markdown_table
from crosslinknet.experiments.cost import Cost, counted
from crosslinknet.files import read_json, write_text
from crosslinknet.models import MODELS

ROOT = Path(__file__).resolve().parent.parent
CONFIG, PAGE = ROOT / "configs" / "covid19-networks.yaml", ROOT / "docs" / "results.md"
BEGIN, END = "<!-- networks: begin -->", "<!-- networks: end -->"
FOLD = 0
FIRST = {"inf-net-stage": "inf-net"}  # networks that look at what another one found
PAPER = {  # DSC on COVID19-I, Table V: 512x512, whole frames, random folds
    "crosslink-net": 73.40, "unet5": 62.09, "inf-net": 70.17, "crossover-net": 72.80,
}  # fmt: skip


def main() -> None:
    """Do what the first word says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["train", "table"])
    parser.add_argument("--data", type=Path, help="folder of the data set")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", nargs="*", default=list(MODELS), metavar="NAME")
    parser.add_argument("-s", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    asked = parser.parse_args()
    if asked.what == "train":
        if asked.data is None:
            parser.error("train needs --data")
        train_all(asked.only, asked.data, asked.runs, asked.jobs, asked.settings)
    else:
        write_table(asked.runs)


def train_all(names: list[str], data: Path, runs: Path, jobs: int, settings: list[str]) -> None:
    """One training after the other in each of the jobs; what fails does not stop the rest."""
    chosen = sorted(names, key=lambda name: (name in FIRST, cost_of(name).gmacs))
    with ThreadPoolExecutor(jobs) as pool:
        for name, seconds, problem in pool.map(
            lambda one: train(one, data, runs, settings), chosen
        ):
            took = timedelta(seconds=round(seconds))
            print(f"{name}: {problem or 'done'}, {took}", flush=True)


def train(name: str, data: Path, runs: Path, settings: list[str]) -> tuple[str, float, str]:
    """Train one network; gives its name, the seconds of this call and what went wrong."""
    folder, began = runs / run_name(name), time.monotonic()
    folder.parent.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-m", "crosslinknet", "train", str(CONFIG), "--fold", str(FOLD)]
    for setting in (
        f"data.root={data.resolve()}", f"model.name={name}", f"output.name={folder.name}",
        f"output.dir={runs}", "train.threads=1", *settings,
    ):  # fmt: skip
        words += ["-s", setting]
    if name in FIRST:
        words += ["-s", f"model.first={(runs / run_name(FIRST[name])).resolve()}"]
    resume = ["--resume"] if (folder / "manifest.json").exists() else []
    with folder.with_suffix(".log").open("a", encoding="utf-8") as log:
        done = subprocess.run([*words, *resume], stdout=log, stderr=subprocess.STDOUT)
    problem = ""
    if done.returncode:
        problem = folder.with_suffix(".log").read_text(encoding="utf-8").strip().splitlines()[-1]
    return name, time.monotonic() - began, problem


def run_name(name: str) -> str:
    """Name of the run of a network."""
    return f"networks-{name.replace('++', '-plus-plus')}"


def write_table(runs: Path) -> None:
    """Replace what stands between the markers of the page."""
    rows = sorted((row_of(name, runs) for name in MODELS), key=lambda row: -row[0])
    header = ("network", "DSC (%)", "95 % interval", "HD95 (px)", "the paper's DSC", "parameters")
    header += ("GMACs", "s per training image", "images seen", "note")
    table = markdown_table(Table("", header, tuple(tuple(cells) for _, cells in rows)))
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    write_text(PAGE, f"{before}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}")


def row_of(name: str, runs: Path) -> tuple[float, list[str]]:
    """The row of a network, and by what it is sorted: its Dice, or nothing."""
    cost, folder = cost_of(name), runs / run_name(name)
    paper = f"{PAPER[name]:.2f}" if name in PAPER else ""
    sizes = [f"{cost.parameters:,}", f"{cost.gmacs:.1f}"]
    if not (folder / "summary.json").exists():
        log = folder.with_suffix(".log")
        last = log.read_text(encoding="utf-8").strip().splitlines()[-1:] if log.exists() else []
        why = last[0] if last else "not trained yet"
        return -1.0, [name, "", "", "", paper, *sizes, "", "", why]
    summary: dict[str, Any] = read_json(folder / "summary.json")
    (entry,) = (v for k, v in summary["levels"]["image"].items() if k != "average")
    dice, hd95 = (entry["metrics"][metric] for metric in ("dice", "hd95"))
    fold = read_json(folder / "manifest.json")["folds"][str(FOLD)]
    batch = load_config(folder / "config.yaml").train.batch_size
    seen = fold["steps"] * batch
    low, high = (100 * end for end in dice["interval"])
    cells = [
        name, f"{100 * dice['mean']:.2f}", f"{low:.1f} to {high:.1f}", f"{hd95['mean']:.1f}", paper,
        *sizes, f"{fold['seconds'] / seen:.2f}", f"{seen:,}",
        f"behind {FIRST[name]}, both counted" if name in FIRST else "",
    ]  # fmt: skip
    return dice["mean"], cells


def cost_of(name: str) -> Cost:
    """Parameters and multiply-accumulates at 256x256 of what is trained: the first variant."""
    first = {"model": {"name": FIRST[name]}, "classes": "sigmoid"} if name in FIRST else None
    return counted(name, {"first": first} if first else {}, 256)


if __name__ == "__main__":
    main()
