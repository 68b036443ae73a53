"""The head of the report and its tables: the headline, fold by fold, class by class.

Functions that fill one place of page.html give HTML, those that fill several a dictionary.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from crosslinknet import __version__
from crosslinknet.metrics import METRICS
from crosslinknet.report.markup import (
    Html,
    count,
    duration,
    e,
    fold_out,
    join,
    moment,
    number,
    span,
    table,
    tag,
    terms,
)
from crosslinknet.report.material import Material
from crosslinknet.report.words import LEVELS, MEANING, NO_SCORES, NORMS, name_of

PAIRS = tag("abbr", "n", title="pairs of target and prediction, empty ones included")


def header(material: Material) -> dict[str, Html]:
    """Title, what was done, and the headline score with its interval, folds and counts."""
    config = material.config
    preset = config.model.options.get("preset", "")
    parts = [
        f"{', '.join(config.classes)} in {config.data.root.absolute().name}",
        f"{config.model.name} {preset}".strip(),
        f"behind {config.model.first.name}" if config.model.first else "",
        f"from {config.model.weights.name}" if config.model.weights else "",
        "with images without masks" if config.semi.unlabelled else "",
        f"{len(material.folds)}-fold cross-validation",
        moment(material.manifest["created"]) if "created" in material.manifest else "",
    ]
    return {
        "title": e(f"{config.output.name}: segmentation report"),
        "name": e(config.output.name),
        "what": join([part for part in parts if part], " · "),
        "headline": join([_headline(material), _tiles(material)]) if material.rows else NO_SCORES,
        "made": e(
            f"Written by crosslinknet {__version__}. This page loads nothing and runs no script."
        ),
    }


def _headline(material: Material) -> Html:
    name, metric, unit = material.classes[-1], material.metric, material.unit(material.metric)
    summary, cell = material.summary, material.cell(name, metric)
    big = join([number(cell["mean"], unit), tag("span", f"{unit} {name_of(metric)}", css="unit")])
    several = len(material.config.classes) > 1
    counts = summary["levels"][material.level][material.config.classes[0]]["counts"]
    amount = count(counts["n"], "case" if material.level == "case" else "image")
    subjects = count(len({row.subject for row in material.rows}), "subject")
    out = 0 if several or material.level == "pooled" else counts["n_both_empty"]
    less = f", less {out:,} that are empty in target and prediction" if out else ""
    text: list[object] = [
        f"Mean{' of the classes’ means' if several else ''} over {amount} of {subjects}{less}, "
        "each scored by the model of the fold that did not train on it. "
    ]
    if cell["interval"]:
        interval = tag("span", f"{span(cell['interval'], unit)} {unit}", css="keep")
        draws = f"{summary['interval']['resamples']:,} resamples of the subjects"
        text += ["95 % interval ", interval, f", from {draws}. "]
    else:
        text.append("No interval: it takes scores of two subjects and evaluate.bootstrap above 0. ")
    text.append(f"Empty masks: policy “{summary['policy']}”.")
    left = join([tag("div", big, css="number"), tag("p", join(text), css="under")])
    return tag("div", join([tag("div", left), _scales(material)]), css="headline")


def _scales(material: Material) -> Html:
    """Lines from 0 to 100 % with mean, interval and folds: the classes, or a few metrics."""
    fractions = [m for m in material.config.evaluate.metrics if METRICS[m].unit == "fraction"]
    if not fractions:
        return Html("")
    if len(material.config.classes) > 1:
        metric = material.metric if material.metric in fractions else fractions[0]
        lines = [(name, name, metric) for name in material.classes]
    else:
        usual = [m for m in ("dice", "sensitivity", "precision") if m in fractions]
        lines = [(name_of(m), material.classes[0], m) for m in usual or fractions[:3]]
    parts: list[Html] = []
    for label, name, metric in lines:
        cell = material.cell(name, metric)
        means = [material.fold_mean(fold, name, metric) for fold in material.tested]
        marks = [_mark("fold", m, f"fold {f}") for f, m in zip(material.tested, means, strict=True)]
        if cell["interval"]:
            low, high = (min(100.0, 100 * end) for end in cell["interval"])
            style = f"left:{low:.2f}%;width:{high - low:.2f}%"
            marks.insert(0, tag("i", "", css="band", style=style))
        marks.append(_mark("mean", cell["mean"], "mean"))
        about = (
            f"{label}: mean {number(cell['mean'], '%')} %, interval {span(cell['interval'], '%')}"
        )
        scale = tag("div", join(marks), css="scale", role="img", aria_label=about)
        parts += [tag("span", label), scale, tag("strong", number(cell["mean"], "%"))]
    parts.append(tag("span", join([tag("span", "0"), tag("span", "100 %")]), css="ends"))
    key = "Bar: mean. Band: 95 % interval. Circles: the folds."
    return tag("div", join([*parts, tag("p", key, css="key")]), css="scales")


def _mark(css: str, at: float | None, title: str) -> Html:
    if at is None:
        return Html("")
    text = f"{title}: {number(at, '%')} %"
    return tag("i", "", css=css, style=f"left:{min(100.0, 100 * at):.2f}%", title=text)


def _tiles(material: Material) -> Html:
    rows = material.rows
    states = [row.state for row in rows]
    facts = material.manifest.get("folds", {}).values()
    seconds = sum(fold.get("seconds", 0) for fold in facts)
    without = len(states) - _with_target(states)
    cell = material.cell(material.classes[0], material.metric)
    images = len({(row.case, row.slice) for row in rows})
    cases = len({row.case for row in rows})
    unit = material.unit(material.metric)
    tiles: list[tuple[str, object, str]] = [
        ("Images", f"{images:,}", f"in {count(cases, 'case')}" if cases != images else ""),
        ("Subjects", len({row.subject for row in rows}), ""),
        ("Folds tested", len(material.tested), f"of {len(material.folds)}"),
        ("Missed targets", states.count("missed"), f"of {_with_target(states)}"),
        ("False alarms", states.count("false_alarm"), f"of {without}" if without else ""),
    ]
    if len(material.config.classes) == 1:
        tiles.insert(0, (f"Median {name_of(material.metric)}", number(cell["median"], unit), unit))
    if seconds:
        tiles.append(("Training", duration(seconds), ""))
    each = (
        (label, join([value, tag("small", f" {small}" if small else "")]))
        for label, value, small in tiles
    )
    return terms(each, css="tiles")


def _with_target(states: Sequence[str]) -> int:
    return sum(state in ("ok", "missed") for state in states)


def folds(material: Material) -> Html:
    """One table per class: a line per fold, mean and spread of folds, and all images together."""
    if not material.rows:
        return NO_SCORES
    first = material.classes[-1]
    rest = [name for name in material.classes if name != first]
    head = tag("h3", f"{first} · level {material.level}")
    others = [fold_out(f"Folds of {name}", _fold_table(material, name)) for name in rest]
    return join([head, _fold_table(material, first), *others])


def _fold_table(material: Material, name: str) -> Html:
    summary, level = material.summary, material.level
    metrics = _metrics(material, level)
    rows: list[tuple[str, Sequence[object]]] = []
    for entry in summary["folds"]:
        own = entry["levels"][level][name]
        amounts = [own["counts"]["n"], entry["cases"], entry["subjects"]]
        rows.append(("", [f"Fold {entry['fold']}", *_values(material, own["metrics"]), *amounts]))
    if len(rows) > 1:
        spread = summary["fold_means"][level][name]
        for css, label, key in (
            ("sum", "Mean of folds", "mean_of_folds"),
            ("", "Std. of folds", "std_of_folds"),
        ):
            rows.append((css, [label, *_values(material, spread, key)]))
    own = summary["levels"][level][name]
    every = [len({getattr(row, key) for row in material.rows}) for key in ("case", "subject")]
    means = _values(material, own["metrics"])
    rows.append(("sum total", ["All together", *means, own["counts"]["n"], *every]))
    rows.append(("quiet total", ["95 % interval", *_values(material, own["metrics"], "interval")]))
    return table(
        f"Folds of {name}", ["Fold", *_heads(material, metrics), PAIRS, "Cases", "Subjects"], rows
    )


def scores(material: Material) -> dict[str, Html]:
    """A table per level: mean, interval, median and deviation of every class and metric."""
    if not material.rows:
        return {"scores_lead": Html(""), "scores": NO_SCORES}
    levels = dict(material.summary["levels"])
    lead = (
        "The level says what is averaged; arrows show which way is better. Policy "
        f"“{material.summary['policy']}”, over and under rate relative to the "
        f"{NORMS[material.summary['or_ur_norm']]}."
    )
    if "case" in levels and levels["case"] == levels.get("image"):
        del levels["case"]
        lead += " Every case is a single slice, so level case equals level image."
    parts = []
    for level in levels:
        words = tag("p", f"This is {LEVELS[level]}.", css="note")
        parts += [tag("h3", f"Level {level}"), words, _level_table(material, level)]
    return {"scores_lead": e(lead), "scores": join(parts)}


def _level_table(material: Material, level: str) -> Html:
    rows: list[tuple[str, Sequence[object]]] = []
    for name in material.classes:
        own = material.summary["levels"][level][name]
        amounts = [own["counts"][k] for k in ("n", "n_both_empty", "n_false_alarm", "n_missed")]
        means = [tag("strong", mean) for mean in _values(material, own["metrics"])]
        rows.append(("", [name, *means, *amounts]))
        for label, key in (("95 % interval", "interval"), ("median", "median"), ("std.", "std")):
            if any(cell[key] is not None for cell in own["metrics"].values()):
                rows.append(("quiet", [label, *_values(material, own["metrics"], key)]))
    heads = _heads(material, _metrics(material, level))
    return table(
        f"Level {level}", ["Class", *heads, PAIRS, "Both empty", "False alarms", "Missed"], rows
    )


def _metrics(material: Material, level: str) -> list[str]:
    first = next(iter(material.summary["levels"][level].values()))
    return [m for m in material.config.evaluate.metrics if m in first["metrics"]]


def _values(material: Material, cells: Mapping[str, Any], key: str = "mean") -> list[str]:
    """One entry of each metric's cell, as tables show it."""
    show = span if key == "interval" else number
    return [show(cell[key], material.unit(metric)) for metric, cell in cells.items()]


def _heads(material: Material, metrics: Sequence[str]) -> list[Html]:
    """Column headings: short name with its meaning as a hint, unit, direction."""
    heads = []
    for metric in metrics:
        record = METRICS[metric]
        arrow = "↑" if record.higher_is_better else "↓"
        hint = MEANING.get(metric, (metric, ""))[0]
        short = tag("abbr", record.heading, title=hint)
        heads.append(join([short, tag("small", f"{material.unit(metric)} {arrow}")]))
    return heads
