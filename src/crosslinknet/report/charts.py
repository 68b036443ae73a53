"""The pictures of the report: score against target size, cases, attention maps, curves."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from crosslinknet import plots
from crosslinknet.report.markup import (
    Html,
    count,
    e,
    figure,
    fold_out,
    join,
    number,
    table,
    tag,
)
from crosslinknet.report.material import Material
from crosslinknet.report.pictures import AttentionPicture, Picked
from crosslinknet.report.words import NO_SCORES, name_of

CAPTION = {"worst": "Worst", "middle": "Middle: around the median", "best": "Best"}


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
