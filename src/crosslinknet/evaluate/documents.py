"""A summary as people read it: tables for the screen, Markdown and LaTeX; percent, two decimals.

Order: Table, the tables of a summary, Markdown, LaTeX, headings and numbers.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crosslinknet.metrics import METRICS, PRESETS
from crosslinknet.metrics.registry import STATES
from crosslinknet.metrics.table import AVERAGE, Level

PER = {"image": "mean over images", "case": "mean over cases", "pooled": "one pooled count"}
COUNTS = ("pairs", "both empty", "false alarms", "misses")
TELLING = ("dice", "sensitivity", "precision", "hd95")  # of parts of the images
STRATA = {"target_size": "By target size, of the slice", "slice_position": "By place of the slice"}


@dataclass(frozen=True)
class Table:
    """Cells as text, and what they are."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def settings_text(summary: Mapping[str, Any]) -> str:
    """How the numbers came about, in one line."""
    interval = summary["interval"]
    entries = next(iter(summary["levels"].values()))
    metrics = next(iter(entries.values()))["metrics"]
    options = {option for name in metrics for option in METRICS[name].options}
    tolerance = f"{summary['nsd_tolerance']:g} {summary['distance_unit']}"
    subjects = "1 subject" if interval["subjects"] == 1 else f"{interval['subjects']} subjects"
    resampled = f"interval from {interval['resamples']} resamples of {subjects}"
    preset = summary.get("preset")
    parts = [
        f"preset {preset}" if preset else "",
        f"policy {summary['policy']}",
        f"OR and UR over {summary['or_ur_norm']}" if "or_ur_norm" in options else "",
        f"NSD within {tolerance}" if preset and "nsd_tolerance" in options else "",
        f"{interval['confidence']:.0%} {resampled}"
        if interval["resamples"] and not preset
        else subjects,
    ]
    return "; ".join(part for part in parts if part)


def level_table(summary: Mapping[str, Any], level: Level) -> Table:
    """One level, one row per class and metric."""
    header = ("class", "metric", "mean", "std", "median", "interval", "n")
    rows = []
    for name, entry in summary["levels"][level].items():
        counts = entry["counts"]
        empty = tuple(str(counts[f"n_{state}"]) for state in STATES if state != "ok")
        for metric, cell in entry["metrics"].items():
            text = [number_text(metric, cell[key]) for key in ("mean", "std", "median")]
            between = interval_text(metric, cell["interval"], " to ")
            used = "" if name == AVERAGE else str(cell["n"])  # of classes, not of images
            rows.append((name, heading(metric, summary), *text, between, used, *empty))
    caption = f"{PER[level]}; {settings_text(summary)}"
    return Table(caption, (*header, *COUNTS[1:]), tuple(rows))


def preset_table(summary: Mapping[str, Any]) -> Table:
    """The columns that a tool prints, one row per class; only for summaries of a preset."""
    preset = PRESETS[summary["preset"]]
    first = preset.columns[0][2]
    header = ["class", *(f"{h} ({_unit(m, summary)})" for h, m, _ in preset.columns)]
    rows = []
    for name, entry in summary["levels"][first].items():
        levels = [summary["levels"][level][name]["metrics"][m] for _, m, level in preset.columns]
        means = [
            number_text(m, cell["mean"])
            for (_, m, _), cell in zip(preset.columns, levels, strict=True)
        ]
        rows.append((name, *means, *_counts(entry)))
    caption = f"preset {summary['preset']}: {preset.about}"
    return Table(caption, (*header, *COUNTS), tuple(rows))


def paper_table(summary: Mapping[str, Any], level: Level) -> Table:
    """One level as papers print it: a row per metric, mean and interval of each class."""
    entries = summary["levels"][level]
    metrics = list(next(iter(entries.values()))["metrics"])
    rows = [
        (heading(m, summary), *(_mean_and_interval(m, e["metrics"][m]) for e in entries.values()))
        for m in metrics
    ]
    counts = zip(COUNTS, *(_counts(entry) for entry in entries.values()), strict=True)
    return Table(f"Level {level}: {PER[level]}", ("", *entries), (*rows, *counts))


def levels_of(summary: Mapping[str, Any]) -> list[Level]:
    """The levels that say something of their own: cases that are slices are images."""
    levels: list[Level] = list(summary["levels"])
    if summary["levels"].get("case") == summary["levels"].get("image"):
        levels = [level for level in levels if level != "case"] or levels
    return levels


def stratum_tables(summary: Mapping[str, Any]) -> list[Table]:
    """Parts of the images, a table each, with a few of the metrics."""
    tables = []
    for stratum, classes in summary["strata"].items():
        several = len(classes) > 1
        known = [list(part["metrics"]) for parts in classes.values() for part in parts]
        if not known:
            continue
        metrics = [m for m in TELLING if m in known[0]] or known[0][: len(TELLING)]
        rows = [
            (
                *([name] * several),
                part["label"],
                *(_mean_and_interval(m, part["metrics"][m]) for m in metrics),
                *_counts(part),
            )
            for name, parts in classes.items()
            for part in parts
        ]
        header = (*(["class"] * several), "part", *(heading(m, summary) for m in metrics), *COUNTS)
        caption = STRATA.get(stratum, f"By {stratum}")
        tables.append(Table(f"{caption}; level image", header, tuple(rows)))
    return tables


def worst_table(summary: Mapping[str, Any]) -> Table:
    """The worst images of each class."""
    rows = [
        (
            name,
            one["case"],
            "" if one["slice"] is None else str(one["slice"]),
            number_text(one["metric"], one["value"]),
            one["state"],
            f"{100 * one['target_fraction']:.3g}",
        )
        for name, several in summary["worst"].items()
        for one in several
    ]
    metric = next((one["metric"] for several in summary["worst"].values() for one in several), "")
    name = heading(metric, summary) if metric else "value"
    header = ("class", "case", "slice", name, "state", "target (% of slice)")
    return Table("The worst images", header, tuple(rows))


def calibration_table(summary: Mapping[str, Any]) -> Table | None:
    """Errors of the probabilities, where they are known."""
    if not summary["calibration"]:
        return None
    names = {"ece": "ECE", "ece_possible": "ECE, p of 1 % or more", "brier": "Brier"}
    rows = []
    for name, entry in summary["calibration"].items():
        texts = []
        for key in names:
            value, ends = entry[key]["value"], entry[key]["interval"]
            ends_text = f" ({ends[0]:.4f} to {ends[1]:.4f})" if ends else ""
            texts.append("" if value is None else f"{value:.4f}{ends_text}")
        rows.append((name, *texts, f"{entry['pixels']:,}"))
    return Table("Calibration, over pixels", ("class", *names.values(), "pixels"), tuple(rows))


def all_tables(summary: Mapping[str, Any]) -> list[Table]:
    """Every table of a summary, in the order of a document."""
    tables = [preset_table(summary)] if summary.get("preset") else []
    tables += [level_table(summary, level) for level in levels_of(summary)]
    calibration = calibration_table(summary)
    tables += [calibration] if calibration else []
    return [*tables, *stratum_tables(summary), worst_table(summary)]


def markdown(title: str, summary: Mapping[str, Any]) -> str:
    """The whole summary as a Markdown page."""
    parts = [f"# {title}", f"Settings: {settings_text(summary)}."]
    parts += [f"- **{warning}**" for warning in summary["warnings"]]
    for table in all_tables(summary):
        parts += [f"## {table.caption}", markdown_table(table)]
    return "\n\n".join(parts) + "\n"


def markdown_table(table: Table) -> str:
    """The lines of a table, without its caption."""
    lines = [table.header, ["---"] * len(table.header), *table.rows]
    return "\n".join(f"| {' | '.join(_markdown_cell(cell) for cell in line)} |" for line in lines)


def _markdown_cell(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def latex(summary: Mapping[str, Any]) -> str:
    """A table for each level, or that of the preset, for a paper (package booktabs)."""
    if summary.get("preset"):
        tables = [preset_table(summary)]
    else:
        tables = [paper_table(summary, level) for level in levels_of(summary)]
    warnings = "".join(f" {warning[0].upper()}{warning[1:]}" for warning in summary["warnings"])
    return "\n".join(
        latex_table(table, f"{table.caption}; {settings_text(summary)}.{warnings}")
        for table in tables
    )


def latex_table(table: Table, note: str, texts: int = 1) -> str:
    """A table with booktabs' rules and the settings below it; ``texts`` columns are words."""
    header, *rows = [[latex_cells(cell) for cell in row] for row in (table.header, *table.rows)]
    return booktabs(header, rows, note, texts)


def booktabs(
    header: Sequence[str], rows: Sequence[Sequence[str]], note: str, texts: int = 1
) -> str:
    """A table of cells that are LaTeX already, with a plain note below that wraps to the page."""
    first, *lines = [" & ".join(row) + r" \\" for row in (header, *rows)]
    return "\n".join(
        [
            "% needs \\usepackage{booktabs}",
            r"\begin{tabular}{" + "l" * texts + "r" * (len(header) - texts) + "}",
            r"\toprule",
            first,
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\par\smallskip{\footnotesize " + latex_cells(note).replace("<", "$<$") + "}",
            "",
        ]
    )


def heading(metric: str, summary: Mapping[str, Any]) -> str:
    """Name, setting and unit of a column: ``OR/truth (%)``, ``HD (mm)``, ``NSD@2mm (%)``."""
    record, unit = METRICS[metric], summary["distance_unit"]
    extra = ""
    if "or_ur_norm" in record.options:
        extra = f"/{summary['or_ur_norm']}"
    elif "nsd_tolerance" in record.options and "nsd_tolerance" in summary:
        extra = f"@{summary['nsd_tolerance']:g}{unit}"
    elif summary.get("hd95_mode") == "pooled" and "hd95_mode" in record.options:
        extra = "/pooled"
    return f"{record.heading}{extra} ({_unit(metric, summary)})"


def number_text(metric: str, value: float | str | None) -> str:
    """A value of a metric; fractions in percent.

    >>> number_text("dice", 0.7349), number_text("hd", "inf"), number_text("hd", None)
    ('73.49', 'inf', '')
    """
    if value is None:
        return ""
    return f"{float(value) * (100 if METRICS[metric].unit == 'fraction' else 1):.2f}"


def interval_text(metric: str, ends: Sequence[float] | None, between: str) -> str:
    """Both ends of an interval; empty where there is none."""
    return "" if ends is None else between.join(number_text(metric, end) for end in ends)


def _unit(metric: str, summary: Mapping[str, Any]) -> str:
    return "%" if METRICS[metric].unit == "fraction" else str(summary["distance_unit"])


def _mean_and_interval(metric: str, cell: Mapping[str, Any]) -> str:
    ends = interval_text(metric, cell["interval"], " to ")
    return number_text(metric, cell["mean"]) + (f" ({ends})" if ends else "")


def _counts(entry: Mapping[str, Any]) -> tuple[str, ...]:
    counts = entry["counts"]
    return tuple(str(counts[key]) for key in ("n", "n_both_empty", "n_false_alarm", "n_missed"))


def latex_cells(text: str) -> str:
    """Text with everything escaped that LaTeX would read, and intervals with a dash."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    escaped = "".join(special.get(c, f"\\{c}" if c in "&%$#_{}" else c) for c in text)
    return re.sub(r"(?<=\d) to (?=[-+\d])", "--", escaped)
