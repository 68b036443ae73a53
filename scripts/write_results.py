"""Write the tables of docs/results.md from run folders: scores, command, hardware, time.

    python scripts/write_results.py runs/covid19-100 runs/small-eq1 ... --against small-pairwise

``--against`` adds a table of paired differences: of every run that tests the same cases in the same
folds after the same training, image by image.
Every run's config is compared with the committed one it came from (``--config`` or the file of
configs/ with the fewest differences), and the difference is printed as the ``-s`` options of the
command. Paths of data and of results are left out: they say nothing about the numbers.
"""

import argparse
import csv
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np

from crosslinknet.config import Config, load_config, to_dict
from crosslinknet.files import write_text
from crosslinknet.statistics.bootstrap import bca_interval, left_out_sums, resampled_sums

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "results.md"
BEGIN, END = "<!-- runs: begin -->", "<!-- runs: end -->"
METRICS = ("dice", "iou", "sensitivity", "precision", "over_rate", "under_rate", "hd95")
SIZES = (0.0, 0.5, 1.0, 5.0, 15.0)  # lower bounds of the target's share of the slice, in percent
LEFT_OUT = (  # of the command: what changes no score of the table
    *("data.root", "data.subject_is", "output.dir", "train.threads", "train.workers"),
    "evaluate.metrics",
)


def main() -> None:
    """Replace what stands between the markers of the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, help="run folders")
    parser.add_argument("--against", help="name of the run that others are compared with")
    given = parser.parse_args()
    runs = sorted(given.runs, key=lambda path: path.name)
    body = "\n\n".join([table(runs), facts(runs), by_fold(runs), by_size(runs)])
    if given.against:
        body += f"\n\n{paired(runs, given.against)}"
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    write_text(PAGE, f"{before}{BEGIN}\n{body}\n{END}{after}")


def table(runs: list[Path]) -> str:
    """Scores: mean over images in percent, with the interval of Dice."""
    head = [
        "run",
        "class",
        "folds",
        "images",
        *METRICS[:1],
        "95 % interval",
        "median",
        *METRICS[1:],
    ]
    lines = [row(head), row(["---"] * len(head))]
    for run in runs:
        summary = read(run / "summary.json")
        for name, entry in summary["levels"]["image"].items():
            dice = entry["metrics"]["dice"]
            low, high = dice["interval"] or (None, None)
            lines.append(
                row([
                    run.name,
                    name,
                    f"{len(summary['folds'])} of {len(read(run / 'splits.json')['folds'])}",
                    str(entry["counts"]["n"]),
                    percent(dice["mean"]),
                    f"{percent(low)} to {percent(high)}",
                    percent(dice["median"]),
                    *(value(entry, metric, summary) for metric in METRICS[1:]),
                ])
            )  # fmt: skip
    return "\n".join(lines)


def by_fold(runs: list[Path]) -> str:
    """Mean Dice of each fold, of runs with several."""
    lines = [row(["run", "class", "Dice of each fold"]), row(["---"] * 3)]
    for run in runs:
        summary = read(run / "summary.json")
        for name in summary["levels"]["image"] if len(summary["folds"]) > 1 else ():
            means = [
                percent(fold["levels"]["image"][name]["metrics"]["dice"]["mean"])
                for fold in summary["folds"]
            ]
            lines.append(row([run.name, name, ", ".join(means)]))
    return "\n".join(lines)


def by_size(runs: list[Path]) -> str:
    """Mean Dice and misses by the share of the slice that the target covers, one class alone."""
    bounds = list(zip(SIZES, [*SIZES[1:], 100.0], strict=True))
    names = [f"{low:g} to {high:g} %" for low, high in bounds]
    lines = [row(["run: Dice (slices, missed)", *names]), row(["---"] * (len(names) + 1))]
    for run in runs:
        rows = [one for one in scored(run) if one["dice"] and float(one["target_fraction"]) > 0]
        cells = []
        for low, high in bounds:
            there = [one for one in rows if low <= 100 * float(one["target_fraction"]) < high]
            missed = sum(one["state"] == "missed" for one in there)
            mean = np.mean([float(one["dice"]) for one in there]) if there else None
            cells.append(f"{percent(mean)} ({len(there)}, {missed})" if there else "-")
        lines.append(row([run.name, *cells]))
    return "\n".join(lines)


def paired(runs: list[Path], name: str) -> str:
    """Dice of each run minus that of run ``name`` on the same images, in points.

    The interval is the BCa bootstrap over subjects (or groups), 2,000 resamples.
    """
    base = next(run for run in runs if run.name == name)
    theirs, folds = dice_of(base), read(base / "splits.json")["hash"]
    head = ["run", f"Dice minus {name}", "95 % interval", "images better", "worse", "groups"]
    lines = [row(head), row(["---"] * len(head))]
    for run in runs:
        if run == base or read(run / "splits.json")["hash"] != folds or budget(run) != budget(base):
            continue
        mine = dice_of(run)
        subjects = sorted({subject for _, subject, _ in mine})
        totals = np.zeros((len(subjects), 2))  # sum of differences, number of images
        changes = {key: 100 * (mine[key] - theirs[key]) for key in mine.keys() & theirs.keys()}
        for (_, subject, _), change in changes.items():
            totals[subjects.index(subject)] += change, 1
        mean = sum(changes.values()) / len(changes)
        drawn, left = (
            t[:, 0] / t[:, 1] for t in (resampled_sums(totals, 2000), left_out_sums(totals))
        )
        low, high = bca_interval(mean, drawn, left) or (np.nan, np.nan)
        better = sum(change > 0 for change in changes.values())
        worse = sum(change < 0 for change in changes.values())
        cells = [run.name, f"{mean:+.2f}", f"{low:+.2f} to {high:+.2f}"]
        lines.append(row([*cells, str(better), str(worse), str(len(subjects))]))
    return "\n".join(lines)


def budget(run: Path) -> tuple[Any, Any]:
    """What must be equal for a comparison besides the folds: size of the images, training."""
    config = load_config(run / "config.yaml")
    return config.image, config.train


def dice_of(run: Path) -> dict[tuple[str, str, str], float]:
    """(image, subject, class): Dice, from the metrics.csv of all folds."""
    return {
        (f"{line['case']}:{line['slice']}", line["subject"], line["class"]): float(line["dice"])
        for line in scored(run)
        if line["dice"]
    }


def scored(run: Path) -> list[dict[str, str]]:
    """The rows of the metrics.csv of all folds."""
    rows: list[dict[str, str]] = []
    for path in sorted(run.glob("fold_*/metrics.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            rows += csv.DictReader(file)
    return rows


def facts(runs: list[Path]) -> str:
    """Command, date, commit, hardware and time of each run."""
    lines = []
    for run in runs:
        manifest, config = read(run / "manifest.json"), load_config(run / "config.yaml")
        folds = manifest["folds"]
        minutes = ", ".join(f"{folds[k]['seconds'] / 60:.0f}" for k in sorted(folds))
        hardware = folds[min(folds)]["hardware"]
        gpus = hardware["gpus"] if config.train.accelerator != "cpu" else []
        device = ", ".join(gpus) or (
            f"{hardware['processor']}, {hardware['cores']} cores, {hardware['threads']} threads"
        )
        typed = command(config, sorted(folds), len(read(run / "splits.json")["folds"]))
        commit = (manifest.get("commit") or "unknown")[:9]
        lines.append(
            f"- **{run.name}**: `{typed}`; {manifest['created'][:10]}, commit {commit}; {device}, "
            f"torch {manifest['versions']['torch']}; {minutes} min per fold"
        )
    return "\n".join(lines)


def command(config: Config, folds: list[str], all_folds: int) -> str:
    """The command that repeats a run, from the committed config it is nearest to."""
    mine = flat(to_dict(config))
    recipe = (f"train.recipe={config.train.recipe}",)
    base, settings = min(
        (
            (path, [*given, *(f"{key}={text(mine[key])}" for key in differences(mine, theirs))])
            for path in configs()
            for given in ((), recipe)
            for theirs in [flat(to_dict(load_config(path, given)))]
        ),
        key=lambda pair: len(pair[1]),
    )
    options = "".join(f" -s {shlex.quote(setting)}" for setting in settings)
    if len(folds) < all_folds:
        return "; ".join(f"xln train configs/{base.name} --fold {k}{options}" for k in folds)
    return f"xln run configs/{base.name}{options}"


def configs() -> list[Path]:
    """The committed configs."""
    return sorted((ROOT / "configs").glob("*.yaml"))


def differences(mine: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Keys whose values differ."""
    return [k for k in mine if k not in LEFT_OUT and mine[k] != theirs.get(k)]


def flat(content: dict[str, Any]) -> dict[str, Any]:
    """Section.key: value, for two levels; data paths are reduced to their last part."""
    result = {f"{s}.{k}": v for s, values in content.items() for k, v in values.items()}
    for key in ("data.images", "data.masks"):
        result[key] = result[key] and Path(result[key]).name
    return result


def text(value: Any) -> str:
    """A value as it is typed after ``-s``."""
    return value if isinstance(value, str) else json.dumps(value).replace(" ", "")


def value(entry: dict[str, Any], metric: str, summary: dict[str, Any]) -> str:
    """Percent, or a distance in the unit of the run."""
    mean = entry["metrics"][metric]["mean"]
    if metric.startswith("hd"):
        return "-" if mean is None else f"{mean:.2f} {summary['distance_unit']}"
    return percent(mean)


def percent(fraction: float | None) -> str:
    """Two decimals."""
    return "-" if fraction is None else f"{100 * fraction:.2f}"


def row(cells: list[str]) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def read(path: Path) -> Any:
    """A JSON file of ours."""
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
