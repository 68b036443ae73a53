"""A comparison as people read it: Markdown, a LaTeX table, figures for print, a page.

Order: write_documents, the tables, LaTeX, figures, the page.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from crosslinknet import __version__, plots
from crosslinknet.compare.result import Comparison, Interval, MethodScore, PairScore, Panel
from crosslinknet.evaluate.documents import Table, booktabs, latex_cells, markdown_table
from crosslinknet.files import write_json, write_text
from crosslinknet.metrics.overlap import Floats
from crosslinknet.report.markup import Html, count, e, figure, framed, join, table, tag

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEVEL = 0.05
MEANING = (
    ("Mean", "over subjects; a subject's value is the mean over its images, and over the seeds."),
    ("Difference", "of the paired values of the same subjects; the interval (BCa) resamples them."),
    (
        "p",
        "Wilcoxon signed-rank test on subjects, two-sided, exact up to 50 of them, zeros by Pratt; "
        "beside it Holm's correction for all pairs and classes of the metric.",
    ),
    (
        "Effect",
        "matched-pairs rank-biserial correlation: 1 if the first is larger in every subject, -1 if "
        "the second is, 0 if they balance.",
    ),
    (
        "Rank",
        "of a method within each subject, averaged; bars join methods of which no two differ at "
        "0.05. Places say how often the order by means changes with other subjects.",
    ),
    ("Spread of folds, of seeds", "standard deviations of their means. They are no intervals."),
)


def write_documents(result: Comparison, values: Sequence[Floats], out: Path) -> None:
    """Write comparison.json, .md, .tex, .html and figures/*.svg and *.png.

    Args:
        result: what was found.
        values: per panel (M, S), the subjects' values.
        out: a folder.

    Raises:
        SystemProblem: the disk refuses.
    """
    drawn = [figures_of(p, own) for p, own in zip(result.panels, values, strict=True)]
    figures = {
        f"{panel.metric}_{panel.class_name}_{name}": one
        for panel, several in zip(result.panels, drawn, strict=True)
        for name, (one, _) in several.items()
    }
    plots.save(figures, out / "figures", "compare")
    write_text(out / "comparison.md", _markdown(result))
    write_text(out / "comparison.tex", _latex(result))
    write_text(out / "comparison.html", _page(result, drawn, out.resolve().name))
    write_json(out / "comparison.json", result.model_dump(mode="json"))


# Tables


def methods_table(panel: Panel) -> Table:
    """A row per method."""
    header = (
        *("method", "mean", "95 % interval", "median", "std", "folds", "seeds", "mean rank", "n"),
        *("misses", "false alarms", "both empty"),
    )
    rows = [
        (
            one.name,
            _text(panel, one.mean),
            _ends(panel, one.interval),
            _text(panel, one.median),
            _text(panel, one.std),
            _text(panel, one.fold_std),
            _seeds(panel, one),
            f"{one.mean_rank:.2f}",
            *map(str, (panel.subjects, one.n_missed, one.n_false_alarm, one.n_both_empty)),
        )
        for one in sorted(panel.methods, key=lambda one: one.place)
    ]
    return Table(f"{panel.class_name}: {panel.heading}", header, tuple(rows))


def pairs_table(panel: Panel) -> Table:
    """A row per pair of methods."""
    header = (
        *("first - second", "difference", "95 % interval", "median", "p", "p, Holm", "effect"),
        *("larger", "smaller", "ties", "n"),
    )
    rows = [
        (
            f"{one.first} - {one.second}",
            _text(panel, one.mean, sign=True),
            _ends(panel, one.interval, sign=True),
            _text(panel, one.median, sign=True),
            _p(one.p),
            _p(one.p_holm),
            f"{one.effect:+.2f}",
            *map(str, (one.larger, one.smaller, one.ties, one.n)),
        )
        for one in panel.pairs
    ]
    return Table(f"{panel.class_name}: differences of {panel.heading}", header, tuple(rows))


def places_table(panel: Panel) -> Table:
    """In how many resamples each method takes each place."""
    ordered = sorted(panel.methods, key=lambda one: one.place)
    header = ("method", *(f"place {n + 1}" for n in range(len(ordered))))
    rows = [(one.name, *(f"{100 * share:.0f} %" for share in one.place_shares)) for one in ordered]
    return Table(f"{panel.class_name}: places by {panel.heading} in resamples", header, tuple(rows))


def sentence(panel: Panel) -> str:
    """What a panel says, in one sentence."""
    found = [one for one in panel.pairs if _differs(one)]
    higher = panel.higher_is_better
    best, *equal = _best(panel)
    names = " and ".join(one.name for one in (best, *equal))
    verb = "share" if equal else "has"
    text = f"{names} {verb} the best mean ({_text(panel, best.mean)} {panel.unit})"
    if equal:
        return f"{text}."
    rivals = [
        one.second if one.first == best.name else one.first
        for one in panel.pairs
        if best.name in (one.first, one.second) and not _differs(one)
    ]
    if not found:
        return f"{text}; no difference holds up at 0.05 after correction."
    if rivals:
        return f"{text}; it cannot be told from {', '.join(rivals)} at 0.05 after correction."
    wide = [
        one.second if one.first == best.name else one.first
        for one in found
        if best.name in (one.first, one.second)
        and one.interval is not None
        and one.interval[0] <= 0 <= one.interval[1]
    ]
    text += ", and differs from all others at 0.05 after correction"
    text += "" if higher else "; smaller is better"
    if wide:
        text += (
            f". Beware: the interval of the mean difference to {', '.join(wide)} includes 0; most "
            "subjects agree, and a few large differences the other way decide the mean"
        )
    return f"{text}."


def _seeds(panel: Panel, one: MethodScore) -> str:
    if one.seeds is None:
        return "not known"
    return f"{_text(panel, one.seed_std)} ({one.seeds})" if one.seeds > 1 else "1 seed"


def _best(panel: Panel) -> list[MethodScore]:
    """The methods with the best mean; several where they are equal."""
    first = min(one.place for one in panel.methods)
    return [one for one in panel.methods if one.place == first]


def tests_sentence(panel: Panel) -> str:
    """What all methods together say, where there are several."""
    parts = []
    if panel.friedman_p is not None:
        parts.append(f"Friedman's test over all methods: p {_p(panel.friedman_p)}")
    if panel.rank_stability is not None:
        parts.append(
            f"Resampled orders correlate with this one by {panel.rank_stability:.2f} (Kendall)"
        )
    return f"{'. '.join(parts)}." if parts else ""


def _differs(pair: PairScore) -> bool:
    return pair.p_holm is not None and pair.p_holm < LEVEL


def _text(panel: Panel, value: float | None, sign: bool = False) -> str:
    if value is None:
        return ""
    shown = value * (100 if panel.unit == "%" else 1)
    return f"{shown:+.2f}" if sign else f"{shown:.2f}"


def _ends(panel: Panel, ends: Interval | None, sign: bool = False) -> str:
    return "" if ends is None else " to ".join(_text(panel, end, sign) for end in ends)


def _p(value: float | None) -> str:
    if value is None:
        return ""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _markdown(result: Comparison) -> str:
    parts = ["# Comparison", f"{_about(result)}."]
    parts += [f"- **{warning}**" for warning in result.warnings]
    for panel in result.panels:
        parts += [f"## {panel.class_name}: {panel.heading}", sentence(panel), tests_sentence(panel)]
        for one in _tables(panel):
            parts += [f"{one.caption}:", markdown_table(one)]
    parts += ["## What the numbers mean", *(f"- {term}: {text}" for term, text in MEANING)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _tables(panel: Panel) -> list[Table]:
    placed = [places_table(panel)] if panel.methods[0].place_shares else []
    return [methods_table(panel), pairs_table(panel), *placed]


def _about(result: Comparison) -> str:
    policy = result.settings.get("policy")
    images = count(result.images, "case" if result.level == "case" else "image")
    again = f"; {result.resamples} resamples of the subjects" if result.resamples else ""
    return (
        f"{len(result.sources)} methods, {count(result.subjects, 'subject')}, {images}; policy "
        f"{policy}{again}"
    )


# LaTeX


def _latex(result: Comparison) -> str:
    """Methods by panels; the best is bold, those that differ from it bear a dagger."""
    header = ["", *(f"{panel.class_name}, {panel.heading}" for panel in result.panels)]
    rows = [
        [latex_cells(one.name), *(_latex_cell(panel, one.name) for panel in result.panels)]
        for one in result.panels[0].methods
    ]
    rows.append(["subjects", *(str(panel.subjects) for panel in result.panels)])
    interval = " with 95 % interval (BCa)" if result.resamples else ""
    note = (
        f"{_about(result)}. Mean over subjects{interval}. Bold: best mean. Dagger: differs from "
        "the best, Wilcoxon signed-rank on subjects, Holm-corrected p < 0.05."
    )
    return booktabs([latex_cells(cell) for cell in header], rows, note)


def _latex_cell(panel: Panel, name: str) -> str:
    one = next(method for method in panel.methods if method.name == name)
    best = _best(panel)
    pair = next((p for p in panel.pairs if {p.first, p.second} == {name, best[0].name}), None)
    mean = _text(panel, one.mean)
    mean = rf"\textbf{{{mean}}}" if one in best else mean
    mark = r"$^\dagger$" if pair is not None and _differs(pair) else ""
    ends = _ends(panel, one.interval).replace(" to ", "--")
    return f"{mean}{mark}" + (f" ({ends})" if ends else "")


# Figures


def figures_of(panel: Panel, values: Floats) -> "dict[str, tuple[Figure, str]]":
    """Each figure by its name, with a caption.

    Args:
        panel: what was found.
        values: (M, S), the subjects' values.
    """
    factor = 100 if panel.unit == "%" else 1
    order = sorted(range(len(panel.methods)), key=lambda i: panel.methods[i].place)
    methods = [panel.methods[i] for i in order]
    names = [one.name for one in methods]
    title = f"{panel.class_name}: {panel.heading}"
    drawn = {
        "values": (
            plots.method_values(
                names,
                [factor * values[i] for i in order],
                [factor * one.mean for one in methods],
                [_scaled(one.interval, factor) for one in methods],
                panel.heading,
            ),
            f"{title} of each subject",
        ),
        "differences": (
            plots.differences(
                [f"{one.first} - {one.second}" for one in panel.pairs],
                [factor * one.mean for one in panel.pairs],
                [_scaled(one.interval, factor) for one in panel.pairs],
                [_differs(one) for one in panel.pairs],
                f"difference of {panel.heading}",
            ),
            f"{title}, differences of the same subjects",
        ),
    }
    if len(methods) > 2:
        ranks = [one.mean_rank for one in methods]
        drawn["ranks"] = (
            plots.rank_axis(names, ranks, panel.groups),
            f"{title}, mean ranks; bars join methods of which no two differ",
        )
    if methods[0].place_shares:
        drawn["places"] = (
            plots.places(names, [one.place_shares for one in methods]),
            f"{title}, places in resamples of the subjects",
        )
    return drawn


def _scaled(ends: Interval | None, factor: float) -> Interval | None:
    return None if ends is None else (factor * ends[0], factor * ends[1])


# The page


def _page(result: Comparison, drawn: "Sequence[dict[str, tuple[Figure, str]]]", name: str) -> str:
    warnings = [tag("li", text) for text in result.warnings]
    inner = join(join([tag("dt", term), tag("dd", text)]) for term, text in MEANING)
    return framed(
        "crosslinknet.compare",
        "compare.html",
        ["compare.css"],
        title=e(f"{name}: comparison"),
        name=e(name),
        what=e(_about(result)),
        warnings=tag("ul", join(warnings)),
        warnings_class="" if warnings else "none",
        panels=join(
            _section(panel, several, number)
            for number, (panel, several) in enumerate(zip(result.panels, drawn, strict=True))
        ),
        meaning=tag("dl", inner, css="meaning"),
        made=e(f"Written by crosslinknet {__version__}. This page loads nothing, runs no script."),
    )


def _section(panel: Panel, drawn: "dict[str, tuple[Figure, str]]", number: int) -> Html:
    charts = [
        figure(Html(plots.svg(one, f"p{number}{name}", text)), e(text), css="chart", above=True)
        for name, (one, text) in drawn.items()
    ]
    parts = [
        tag("h2", f"{panel.class_name}: {panel.heading}"),
        tag("p", f"{sentence(panel)} {tests_sentence(panel)}", css="lead"),
        tag("div", join(charts), css="charts wide"),
        *map(_html, _tables(panel)),
    ]
    return tag("section", join(parts))


def _html(content: Table) -> Html:
    rows = [("", row) for row in content.rows]
    return join([tag("h3", content.caption), table(content.caption, content.header, rows)])
