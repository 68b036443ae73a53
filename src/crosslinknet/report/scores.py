"""The page of ``xln evaluate``: one file without scripts, made from the tables beside it.

Its charts are written for print as well. Structure and prose: scores.html. Order: write_scores,
the charts, then the page from top to bottom.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crosslinknet import __version__, plots
from crosslinknet.evaluate import documents
from crosslinknet.evaluate.rows import read_rows
from crosslinknet.files import read_json, write_text
from crosslinknet.metrics.registry import METRICS
from crosslinknet.metrics.table import Row
from crosslinknet.report.markup import Html, count, e, figure, framed, join, table, tag, terms
from crosslinknet.report.words import LEVELS, POLICIES, meaning_of, name_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Summary = Mapping[str, Any]
Chart = tuple["Figure", str, str]  # what is drawn, name of its file, caption


def write_scores(folder: Path) -> Path:
    """Write ``report.html`` and ``figures/`` into a folder of ``xln evaluate``; gives the page.

    Raises:
        DataError: the folder holds no scores, or damaged ones.
        SystemProblem: the page cannot be written.
    """
    summary = read_json(folder / "summary.json")
    rows, _ = read_rows(folder / "per_image.csv")
    by_size, reliable = _size_charts(summary, rows), _reliability_charts(summary)
    figures = {key: drawing for drawing, key, _ in (*by_size, *reliable)}
    plots.save(figures, folder / "figures", "evaluate")
    warnings = [tag("li", text) for text in summary["warnings"]]
    page = framed(
        "crosslinknet.report",
        "scores.html",
        [],
        title=e(f"{folder.name}: scores"),
        name=e(folder.name),
        what=e(f"{summary['pred']} against {summary['ref']}; {documents.settings_text(summary)}"),
        tiles=_tiles(rows),
        warnings=tag("ul", join(warnings)),
        warnings_class="" if warnings else "none",
        scores=_scores(summary),
        size=_drawn(by_size, "size") if by_size else tag("p", "No image has a value.", css="note"),
        parts=join(_table(one) for one in documents.stratum_tables(summary)),
        calibration=_calibration(summary, reliable),
        worst=_table(documents.worst_table(summary)),
        meaning=_meaning(summary),
        made=e(f"Written by crosslinknet {__version__}. This page loads nothing, runs no script."),
    )
    path = folder / "report.html"
    write_text(path, page)
    return path


def _tiles(rows: Sequence[Row]) -> Html:
    states = [row.state for row in rows]
    return terms(
        [
            ("Images", f"{len({(row.case, row.slice) for row in rows}):,}"),
            ("Cases", f"{len({row.case for row in rows}):,}"),
            ("Subjects", f"{len({row.subject for row in rows}):,}"),
            ("Missed", f"{states.count('missed'):,}"),
            ("False alarms", f"{states.count('false_alarm'):,}"),
            ("Both empty", f"{states.count('both_empty'):,}"),
        ],
        css="tiles",
    )


def _table(content: documents.Table) -> Html:
    rows = [("", row) for row in content.rows]
    return join([tag("h3", content.caption), table(content.caption, content.header, rows)])


def _scores(summary: Summary) -> Html:
    parts = [_table(documents.preset_table(summary))] if summary["preset"] else []
    for level in documents.levels_of(summary):
        content = documents.level_table(summary, level)
        parts.append(_table(replace(content, caption=f"Level {level}: {LEVELS[level]}")))
    return join(parts)


def _size_charts(summary: Summary, rows: Sequence[Row]) -> list[Chart]:
    """The first metric of every class against the size of the target."""
    metric = next(iter(rows[0].values))
    percent = METRICS[metric].unit == "fraction"
    unit = "%" if percent else summary["distance_unit"]
    label, factor = f"{name_of(metric)}, {unit}", 100 if percent else 1
    charts: list[Chart] = []
    for name in summary["classes"]:
        own = [row for row in rows if row.class_name == name]
        values = np.array([factor * row.values[metric] for row in own])
        if not np.isfinite(values).any():
            continue
        fractions = np.array([row.target_fraction for row in own])
        missed = np.array([row.state == "missed" for row in own])
        limits = (-2.0, 102.0) if percent else None
        charts += [
            (
                plots.size_scatter(fractions, values, missed, label, limits),
                f"{metric}_{name}_size",
                f"{name}: {name_of(metric)} of each image against the size of its target",
            ),
            (
                plots.histogram(values, label, (0.0, 100.0) if percent else None, {}),
                f"{metric}_{name}_spread",
                f"{name}: how many images have which {name_of(metric)}",
            ),
        ]
    return charts


def _reliability_charts(summary: Summary) -> list[Chart]:
    return [
        (
            plots.reliability(entry["bins"]),
            f"reliability_{name}",
            f"{name}: how often pixels of a predicted probability are target",
        )
        for name, entry in (summary["calibration"] or {}).items()
    ]


def _drawn(charts: Sequence[Chart], prefix: str) -> Html:
    drawn = [
        figure(Html(plots.svg(drawing, f"{prefix}{k}", text)), e(text), css="chart", above=True)
        for k, (drawing, _, text) in enumerate(charts)
    ]
    return tag("div", join(drawn), css="charts")


def _calibration(summary: Summary, charts: Sequence[Chart]) -> Html:
    content = documents.calibration_table(summary)
    if content is None:
        text = "Not known: no probabilities were given (--probabilities FOLDER)."
        return tag("p", text, css="note")
    words = (
        "Most pixels are background that the model is sure of, which makes the error of all pixels "
        "small; the second number counts the pixels to which it gives 1 % or more. Larger dots "
        "stand for more pixels."
    )
    return join([_table(content), tag("p", words), _drawn(charts, "reliability")])


def _meaning(summary: Summary) -> Html:
    levels = {level: entries for level, entries in summary["levels"].items()}
    metrics = list(next(iter(next(iter(levels.values())).values()))["metrics"])
    pairs = [(name_of(metric), meaning_of(metric, summary)) for metric in metrics]
    pairs += [
        (f"Policy “{summary['policy']}”", POLICIES[summary["policy"]]),
        *((f"Level {level}", f"{LEVELS[level]}.") for level in levels),
        (
            "95 % interval",
            f"subjects are drawn anew, with replacement, {summary['interval']['resamples']:,} "
            f"times, and the mean is computed each time (BCa). {_subjects(summary)}",
        ),
    ]
    inner = join(join([tag("dt", term), tag("dd", text)]) for term, text in pairs)
    return tag("dl", inner, css="meaning")


def _subjects(summary: Summary) -> str:
    return f"Here: {count(summary['interval']['subjects'], 'subject')}."
