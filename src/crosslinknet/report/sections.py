"""The sections of the report, in the order of the page; each gives what page.html asks for.

Functions that fill one place give HTML, those that fill several a dictionary of them.
Order: header to configuration, then what several of them use.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from crosslinknet import __version__, plots
from crosslinknet.metrics.table import METRICS
from crosslinknet.report.markup import (
    Html,
    count,
    duration,
    e,
    figure,
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
from crosslinknet.report.pictures import AttentionPicture, Picked
from crosslinknet.report.words import LEVELS, MEANING, NORMS, POLICIES, name_of

CAPTION = {"worst": "Worst", "middle": "Middle: around the median", "best": "Best"}
PAIRS = tag("abbr", "n", title="pairs of target and prediction, empty ones included")
NO_SCORES = Html('<p class="note">No fold has been tested yet.</p>')


def header(material: Material) -> dict[str, Html]:
    """Title, what was done, and the headline score with its interval, folds and counts."""
    config = material.config
    preset = config.model.options.get("preset", "")
    parts = [
        f"{', '.join(config.classes)} in {config.data.root.absolute().name}",
        f"{config.model.name} {preset}".strip(),
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


def size(material: Material) -> Html:
    """Dots, class means and a histogram per class."""
    if not material.rows:
        return NO_SCORES
    parts = []
    for k, name in enumerate(material.config.classes):
        if len(material.config.classes) > 1:
            parts.append(tag("h3", name))
        parts.append(_size_of(material, name, k))
    return join(parts)


def _size_of(material: Material, name: str, k: int) -> Html:
    metric, unit = material.metric, material.unit(material.metric)
    rows = [row for row in material.rows if row.class_name == name]
    factor = 100 if unit == "%" else 1
    fractions = np.array([row.target_fraction for row in rows])
    values = np.array([factor * row.values[metric] for row in rows])
    missed = np.array([row.state == "missed" for row in rows])
    if not np.isfinite(values).any():
        return tag("p", f"No image has a target or a prediction of {name}.", css="note")
    limits = (-2.0, 102.0) if unit == "%" else None
    label = f"{name_of(metric)}, {unit}"
    scatter = plots.size_scatter(fractions, values, missed, label, limits)
    cell = material.cell(name, metric, "image") or {"mean": None, "median": None}
    marks = {f"{key} {number(cell[key], unit)}": factor * cell[key]
             for key in ("mean", "median") if cell[key] is not None}  # fmt: skip
    bars = plots.histogram(values, label, (0.0, 100.0) if unit == "%" else None, marks)
    charts = [
        (scatter, f"size{k}", f"{name_of(metric)} of each image against the size of its target"),
        (bars, f"spread{k}", f"How many images have which {name_of(metric)}"),
    ]
    drawn = [
        figure(Html(plots.svg(drawing, key, text)), e(text), css="chart", above=True)
        for drawing, key, text in charts
    ]
    return join([
        tag("div", join(drawn), css="charts"),
        tag("p", _small_and_large(fractions, values, name_of(metric), unit)),
        fold_out("The means as a table", _bin_table(fractions, values, label)),
    ])  # fmt: skip


def _small_and_large(fractions: Any, values: Any, what: str, unit: str) -> str:
    known = np.isfinite(values)
    parts = [
        (known & (fractions > 0) & (fractions < plots.SMALL_TARGET), "below 0.6 %"),
        (known & (fractions >= plots.SMALL_TARGET), "of 0.6 % or more"),
    ]
    texts = [
        f"{count(int(here.sum()), 'target')} {which} of the slice: mean {what} "
        f"{values[here].mean():.1f} {unit}"
        for here, which in parts
        if here.any()
    ]
    alarms = int((known & (fractions == 0)).sum())
    if alarms:
        texts.append(f"{count(alarms, 'false alarm')} without a target cannot be drawn above")
    return f"{'; '.join(texts)}."


def _bin_table(fractions: Any, values: Any, label: str) -> Html:
    bins = plots.size_bins(fractions, values)
    rows = [
        ("", [f"{100 * one.low:g} to {100 * one.high:g} %", one.images, f"{one.mean:.1f}"])
        for one in bins
    ]
    return table("Means", ["Target area of the slice", "Images", f"Mean {label}"], rows)


def cases(material: Material, picked: Sequence[Picked]) -> dict[str, Html]:
    """Cards of the worst, middle and best slices."""
    lead = (
        f"Slices in the order of their {name_of(material.metric)}, of different subjects where "
        "possible. Left the whole slice as it is, right the framed part with both outlines."
    )
    if not picked:
        none = tag("p", "No slice has a score.", css="note") if material.rows else NO_SCORES
        return {"cases_lead": e(lead), "cases": none}
    parts: list[object] = []
    if any(one.picture for one in picked):
        parts.append(_legend(material))
    else:
        parts.append(tag("p", f"No pictures here: {picked[0].reason}", css="note"))
    for group, title in CAPTION.items():
        cards = [_card(material, one) for one in picked if one.group == group]
        if cards:
            parts += [tag("h3", title), tag("div", join(cards), css="pictures")]
    return {"cases_lead": e(lead), "cases": join(parts)}


def _legend(material: Material) -> Html:
    """What the outlines mean; its boxes hide them where the browser knows the CSS :has."""
    labels = []
    for key, words, colour, dash in (
        ("target", "reference (solid)", plots.REFERENCE, "none"),
        ("pred", "prediction (dashed)", plots.PREDICTION, "6 4"),
    ):
        line = tag("path", "", d="M2 5 H38", stroke=colour, stroke_width=2.5, stroke_dasharray=dash)
        sample = tag("svg", line, viewBox="0 0 40 10", aria_hidden="true")
        box = Html(f'<input type="checkbox" id="show-{key}" checked>')
        labels.append(tag("label", join([box, sample, words])))
    classes = material.config.classes
    if len(classes) > 1:
        labels.append(tag("span", f"thickest to thinnest line: {', '.join(classes)}", css="note"))
    return tag("div", join(labels), css="legend")


def _card(material: Material, one: Picked) -> Html:
    row, unit = one.rows[0], material.unit(material.metric)
    states = {"missed": "missed", "false_alarm": "false alarm"}
    several = len(material.config.classes) > 1
    tags = [
        tag("span", f"{r.class_name} {states[r.state]}" if several else states[r.state], css="tag")
        for r in one.rows
        if r.state in states
    ]
    score = tag("strong", f"{name_of(material.metric)} {number(one.score, unit)} {unit}")
    details = [f"fold {row.fold}", f"subject {row.subject}" if row.subject != row.case else ""]
    if any((r.slice or 0) > 0 for r in material.rows):
        details.insert(0, f"slice {row.slice}")
    for r in one.rows:
        of = f"{r.class_name}: " if several else ""
        value = f"{number(r.values[material.metric], unit)} {unit}, " if len(one.rows) > 1 else ""
        details.append(f"{of}{value}target {100 * r.target_fraction:.2g} % of the slice")
    detail = tag("span", " · ".join(filter(None, details)), css="detail")
    caption = join([score, " ", join(tags, " "), " ", row.case, detail])
    gone = tag("div", one.reason, css="gone") if one.reason else Html("")
    return figure(one.picture or gone, caption)


def attention(material: Material, pictures: Sequence[AttentionPicture]) -> dict[str, Html]:
    """Input slices with the maps that each branch weighs its features by."""
    lead = (
        "What each branch of the network looks at: the vertical one has tall kernels, the "
        "horizontal one wide kernels. Bright is high; every map is scaled to its own range, so "
        "compare shapes, not brightness. The outline is the reference. r is the correlation of "
        "map and target."
    )
    if material.config.loss.form == "eq1":
        lead += (
            " This run used the attention loss of Eq. (1), which does not fix the sign of a map: "
            "dark on the target can mean the same as bright."
        )
    if not pictures:
        text = "This run stored no attention maps; networks with one branch have none to compare."
        return {"attention_lead": Html(""), "attention": tag("p", text, css="note")}
    cards = []
    for one in pictures:
        words = [f"{b} r = {r:.2f}" for b, r in one.agreement.items() if np.isfinite(r)]
        detail = tag("span", " · ".join([f"fold {one.fold}", *words]), css="detail")
        cards.append(figure(one.picture, join([tag("strong", one.case), detail])))
    return {"attention_lead": e(lead), "attention": tag("div", join(cards), css="pictures wide")}


def training(material: Material) -> dict[str, Html]:
    """Loss parts and validation Dice of every fold, on common scales."""
    weights = material.config.loss
    lead = (
        "Each fold is a training of its own. Loss parts are shown before they are weighted "
        f"(BCE {weights.bce:g}, Dice {weights.dice:g}, attention {weights.attention:g}). "
        "Validation Dice is measured on cases kept out of the training set, at the size of the "
        "network's input; it steers and warns, the scores above come from the test cases."
    )
    logs = {fold.number: fold.log for fold in material.folds if fold.log}
    if not logs:
        return {
            "training_lead": Html(""),
            "training": tag("p", "No log.csv was found.", css="note"),
        }
    names = {"loss": "loss", "bce": "BCE", "dice": "Dice loss", "attention": "attention",
             "val_loss": "val. BCE"}  # fmt: skip
    kept = [n for n in names if any(np.isfinite(log[n]).any() for log in logs.values() if n in log)]
    every = np.concatenate([log[n] for log in logs.values() for n in kept if n in log])
    low, high = float(np.nanmin(every)), float(np.nanmax(every))
    room = 0.05 * (high - low or 1.0)
    losses, dices = [], []
    for fold, log in logs.items():
        lines = {names[n]: log[n] for n in kept if n in log}
        drawing = plots.curves(log["epoch"], lines, "loss", (low - room, high + room))
        losses.append(_curve(drawing, f"loss{fold}", f"Fold {fold}"))
        dice = 100 * log.get("val_dice", np.empty(0))
        if np.isfinite(dice).any():
            drawing = plots.curves(log["epoch"], {"Dice": dice}, "validation Dice, %", (0.0, 100.0))
            words = f"Fold {fold}: best {np.nanmax(dice):.1f} %, last {dice[-1]:.1f} %"
            dices.append(_curve(drawing, f"dice{fold}", words))
    parts = [tag("h3", "Loss"), tag("div", join(losses), css="charts small")]
    if dices:
        parts += [tag("h3", "Validation Dice"), tag("div", join(dices), css="charts small")]
    return {"training_lead": e(lead), "training": join(parts)}


def _curve(drawing: Any, name: str, words: str) -> Html:
    return figure(Html(plots.svg(drawing, name, words)), e(words), css="chart", above=True)


def meaning(material: Material) -> Html:
    """Definitions in the words of the page, and the policy with its counts."""
    summary = material.summary
    norm = NORMS[material.config.evaluate.or_ur_norm]
    unit = {"mm": "millimetres", "px": "pixels, since the spacing is unknown"}
    pairs: list[tuple[object, object]] = [
        ("TP, FP, FN, TN", "pixels: found, marked wrongly, overlooked, rightly left alone."),
    ]
    for metric in material.config.evaluate.metrics:
        name, text = MEANING.get(metric, (METRICS[metric].heading, ""))
        short = METRICS[metric].heading
        filled = text.format(norm=norm, unit=unit[summary["distance_unit"]])
        pairs.append((name if short == name else f"{name} ({short})", filled))
    policy = material.config.evaluate.policy
    states = [row.state for row in material.rows]
    tally = (
        f" Here: {states.count('missed')} missed, {states.count('false_alarm')} false alarms, "
        f"{states.count('both_empty')} empty on both sides, of {len(states):,} pairs."
    )
    pairs += [
        (f"Policy “{policy}”", POLICIES[policy] + tally),
        *((f"Level {level}", f"{text}.") for level, text in LEVELS.items()),
        (
            "95 % interval",
            "subjects are drawn anew, with replacement, and the mean is computed each time; the "
            "middle 95 % of these means are the interval. Slices of one subject stay together, "
            "since they resemble each other.",
        ),
        (
            "Spread of folds",
            "the standard deviation of the folds' means. It mixes luck of the split and of the "
            "training, and is no interval.",
        ),
    ]
    inner = join(join([tag("dt", term), tag("dd", text)]) for term, text in pairs)
    return tag("dl", inner, css="meaning")


def facts(material: Material) -> Html:
    """Hardware, versions, seeds and hashes, and a line per fold."""
    manifest, splits = material.manifest, material.splits
    data = manifest.get("data", {})
    pairs: list[tuple[object, object]] = [
        ("Started", moment(manifest.get("created", "unknown"))),
        ("Data", _data_words(data)),
        ("Subject rule", data.get("subject_rule", "unknown")),
        ("Folds", splits.rule if splits else "unknown"),
        ("Seeds", f"training {manifest.get('seed', '?')}, folds {splits.seed if splits else '?'}"),
        ("Hardware", _listed(manifest.get("hardware", {}))),
        ("Versions", _listed(manifest.get("versions", {}))),
        ("Hash of the data", _hash(data.get("hash"))),
        ("Hash of the folds", _hash(manifest.get("splits_hash"))),
        ("Hash of the configuration", _hash(manifest.get("config_hash"))),
        *(("Note", note) for note in data.get("notes", [])),
    ]
    return join([terms(pairs, css="facts"), tag("h3", "What each fold was"), _fold_facts(material)])


def _fold_facts(material: Material) -> Html:
    known = material.manifest.get("folds", {})
    rows: list[tuple[str, Sequence[object]]] = []
    for fold in material.folds:
        entry = known.get(str(fold.number), {})
        parts = material.splits.folds[fold.number] if material.splits else None
        sizes = [len(parts.train), len(parts.validation), len(parts.test)] if parts else ["–"] * 3
        seconds = duration(entry["seconds"]) if "seconds" in entry else "–"
        weights = _hash(entry.get("weights_sha256"))
        epochs = entry.get("epochs", len(fold.log.get("epoch", ())) or "–")
        rows.append(("", [f"Fold {fold.number}", *sizes, epochs, seconds, weights]))
    head = ["Fold", "Training cases", "Validation cases", "Test cases", "Epochs", "Time", "Weights"]
    return table("Folds", head, rows)


def config(material: Material) -> Html:
    """The text of config.yaml, its comments set back."""
    lines = e(material.config_text.rstrip())
    return Html(re.sub(r"((?:^|  )# .*)$", r'<span class="comment">\1</span>', lines, flags=re.M))


def _data_words(data: Mapping[str, Any]) -> str:
    if not data:
        return "unknown"
    sizes = f"{count(data['cases'], 'case')} of {count(data['subjects'], 'subject')}"
    return f"{sizes}, layout {data['layout']}"


def _listed(values: Mapping[str, Any]) -> str:
    texts = [
        f"{key} {', '.join(map(str, value)) or 'none' if isinstance(value, list) else value}"
        for key, value in values.items()
    ]
    return ", ".join(texts) or "unknown"


def _hash(digest: str | None) -> Html:
    """A digest that is shortened for the eye and whole when copied."""
    return tag("code", digest, css="hash", title=digest) if digest else e("–")


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
