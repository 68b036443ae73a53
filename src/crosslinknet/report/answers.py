"""What the record of a run answers of the items in reporting.py; "" where it does not tell.

Order: that of the items.
"""
# ruff: noqa: D103
# Each function answers the item that names it there.

from collections.abc import Callable

import numpy as np

from crosslinknet import __version__
from crosslinknet.metrics import METRICS
from crosslinknet.plots import SMALL_TARGET
from crosslinknet.report.markup import count, duration, number, span
from crosslinknet.report.material import Material
from crosslinknet.report.words import name_of

Answer = Callable[[Material], str]


def unknown(material: Material) -> str:
    return ""


def study(material: Material) -> str:
    config = material.config
    return (
        f"deep learning: {network(material)}, which segments {', '.join(config.classes)}; "
        f"{len(material.tested)} of {len(material.folds)} folds of a cross-validation"
    )


def network(material: Material) -> str:
    model = material.config.model
    options = ", ".join(f"{k} {v}" for k, v in model.options.items())
    behind = f" behind the network of the run {model.first.name}" if model.first else ""
    return f"{model.name}{f' ({options})' if options else ''}{behind}"


def sources(material: Material) -> str:
    data = material.manifest.get("data", {})
    if not data:
        return ""
    return (
        f"{data['cases']} cases of {data['subjects']} "
        f"{'groups' if material.config.data.subject_is == 'group' else 'subjects'}, layout "
        f"{data['layout']}, sha256 {data['hash'][:12]}...; where and when they were acquired is "
        "for the author"
    )


def exclusion(material: Material) -> str:
    data = material.config.data
    left = list(data.exclude or ())
    parts = [f"left out by name: {', '.join(left)}"] if left else ["no case was left out by name"]
    if data.unlabelled == "skip":
        parts.append("images without a mask were left out")
    return "; ".join(parts) + "; clinical criteria are for the author"


def preprocessing(material: Material) -> str:
    image, augment = material.config.image, material.config.augment
    return (
        f"grey values by window {image.window}, {image.channels} channel(s), slices along "
        f"{image.slice_axis}, {image.fit} to {image.size[0]}x{image.size[1]}; no resampling to a "
        f"common spacing; augmentation in training: {augment.preset}"
    )


def missing(material: Material) -> str:
    if material.config.data.unlabelled == "skip":
        return "images without a mask were left out (data.unlabelled: skip)"
    return "none allowed: an image without a mask is an error (data.unlabelled: error)"


def partitions(material: Material) -> str:
    return material.splits.rule if material.splits else ""


def disjoint(material: Material) -> str:
    rule = material.manifest.get("data", {}).get("subject_rule", "")
    if not rule:
        return ""
    level = (
        "group of images, not person" if material.config.data.subject_is == "group" else "subject"
    )
    duplicates = material.config.split.duplicates
    looked = (
        "near-duplicates were kept on one side"
        if duplicates == "join"
        else "near-duplicates were not looked for"
    )
    return f"{level}, by {rule}; {looked}"


def model(material: Material) -> str:
    loss = material.config.loss
    structure = f" + {loss.structure} structure ({loss.structure_form})" if loss.structure else ""
    return (
        f"{network(material)}, input {material.config.image.size}; loss "
        f"{loss.bce} BCE + {loss.dice} Dice + {loss.attention} attention ({loss.form}){structure}, "
        f"{loss.classes}; architecture: docs/paper.md, docs/models.md"
    )


def software(material: Material) -> str:
    versions = material.manifest.get("versions", {})
    commit = material.manifest.get("commit")
    text = ", ".join(f"{name} {version}" for name, version in versions.items())
    return text + (f"; commit {commit}" if commit and text else "")


def first_weights(material: Material) -> str:
    train, weights = material.config.train, material.config.model.weights
    drawn = f"{train.init}, seed {train.seed}"
    if weights is None:
        return f"{drawn}; no pretraining"
    return f"from the file {weights.name}, what it lacks {drawn}; its training is for the author"


def training(material: Material) -> str:
    train = material.config.train
    folds = material.manifest.get("folds", {}).values()
    seconds = sum(fold.get("seconds", 0) for fold in folds)
    learnt = [fold["unlabelled"] for fold in folds if "unlabelled" in fold]
    seconds += sum(stage["seconds"] for one in learnt for stage in one["stages"].values())
    text = (
        f"recipe {train.recipe}: {train.optimizer}, rate {train.lr} ({train.schedule}), batch "
        f"{train.batch_size}, {train.epochs} epochs, precision {train.precision}"
    )
    hardware = material.manifest.get("hardware", {}).get("processor", "")
    where = f"; {duration(seconds)} of training on {hardware or 'unknown hardware'}"
    if learnt:
        counts = sorted({one["images"] for one in learnt})
        text += (
            f"; {' to '.join(map(str, (counts[0], *counts[1:][-1:])))} images without masks in a "
            f"fold, labelled by the network itself, {material.config.semi.group} at a time"
        )
    return text + (where if seconds else "")


def selection(material: Material) -> str:
    train = material.config.train
    which = "the last epoch" if train.keep == "last" else "the epoch with the best validation Dice"
    return f"{which}; validation part of the training subjects {material.config.split.validation}"


def ensemble(material: Material) -> str:
    flip = "; averaged with the mirrored slice" if material.config.predict.flip else ""
    return f"scores: none, each case by the one model of its fold{flip}"


def metrics(material: Material) -> str:
    names = ", ".join(name_of(name) for name in material.config.evaluate.metrics)
    return f"{names}; empty masks by policy {material.config.evaluate.policy}; docs/metrics.md"


def uncertainty(material: Material) -> str:
    interval = material.summary.get("interval")
    if not interval or not interval["resamples"]:
        return ""
    several = len(material.tested) > 1
    return (
        f"95 % intervals over subjects by {interval.get('method', 'percentile bootstrap')}, "
        f"{interval['resamples']} resamples; "
        + ("spread of the folds' means beside them; " if several else "one fold, no spread; ")
        + "one training per fold, so that the spread over seeds is unknown"
    )


def explain(material: Material) -> str:
    drawn = any((fold.folder / "attention").is_dir() for fold in material.folds)
    return "attention maps of both branches of test cases (report.html)" if drawn else ""


def internal(material: Material) -> str:
    tested = material.tested
    if not tested:
        return ""
    cases = len({row.case for row in material.rows})
    every = material.manifest.get("data", {}).get("cases", cases)
    begun = material.config.model.weights is not None
    return (
        f"{len(tested)} of {len(material.folds)} folds tested, {cases} of {every} cases once each, "
        "by the model that did not see their subjects"
        + ("; what its first weights saw is for the author" if begun else "")
    )


def numbers(material: Material) -> str:
    if not material.rows:
        return ""
    subjects = len({row.subject for row in material.rows})
    cases = len({row.case for row in material.rows})
    images = len({(row.case, row.slice) for row in material.rows})
    return (
        f"tested: {count(images, 'image')}, {count(cases, 'case')}, {count(subjects, 'subject')}; "
        "flow of exclusions before is for the author"
    )


def performance(material: Material) -> str:
    if not material.rows:
        return ""
    parts = []
    for name in material.classes:
        for metric in material.config.evaluate.metrics:
            if metric in ("dice", "hd95", "nsd"):
                cell, unit = material.cell(name, metric), material.unit(metric)
                if cell:
                    ends = span(cell["interval"], unit)
                    parts.append(
                        f"{name} {METRICS[metric].heading} {number(cell['mean'], unit)} {unit} "
                        f"({ends})"
                    )
    return f"level {material.level}: {'; '.join(parts)}; all in summary.json"


def failures(material: Material) -> str:
    rows = material.rows
    if not rows:
        return ""
    states = [row.state for row in rows]
    return (
        f"{states.count('missed')} missed targets and {states.count('false_alarm')} false alarms "
        f"of {len(rows)} pairs; worst cases with pictures and scores by target size in report.html"
    )


def limits(material: Material) -> str:
    parts = [f"{len({row.subject for row in material.rows})} subjects"] if material.rows else []
    if material.config.data.subject_is == "group":
        parts.append("persons unknown, so that scores may be too good")
    return f"from the record: {', '.join([*parts, 'one seed', 'no external test'])}"


def availability(material: Material) -> str:
    weights = [
        f.get("weights_sha256", "")[:12] for f in material.manifest.get("folds", {}).values()
    ]
    text = f"software: crosslinknet {__version__}, Apache-2.0"
    known = ", ".join(f"{one}..." for one in weights if one)
    return text + (f"; weights sha256 {known}" if known else "")


def category(material: Material) -> str:
    lesions = [m for m in material.config.evaluate.metrics if METRICS[m].needs == "components"]
    more = f"; lesions are matched as well ({', '.join(lesions)})" if lesions else ""
    return f"semantic segmentation, every pixel a class{more}"


def has(*names: str) -> Answer:
    def answer(material: Material) -> str:
        found = [name_of(m) for m in material.config.evaluate.metrics if m in names]
        return f"scored by {', '.join(found)}" if found else ""

    return answer


def both(material: Material) -> str:
    needs = {METRICS[name].needs for name in material.config.evaluate.metrics}
    return metrics(material) if {"counts", "distances"} <= needs else ""


def overlapping(material: Material) -> str:
    loss = material.config.loss
    return "classes exclude each other" if loss.exclusive else "classes may overlap (sigmoid)"


def sizes(material: Material) -> str:
    fractions = [row.target_fraction for row in material.rows if row.tp + row.fn]
    if not fractions:
        return ""
    low, middle, high = np.percentile(fractions, [5, 50, 95])
    small = np.mean(np.array(fractions) < SMALL_TARGET)
    return (
        f"targets cover {100 * low:.2g} to {100 * high:.2g} % of the slice (5th to 95th "
        f"percentile, median {100 * middle:.2g} %); {100 * small:.0f} % of them below 0.6 %"
    )


def imbalance(material: Material) -> str:
    pixels = sum(row.n_pixels for row in material.rows)
    target = sum(row.tp + row.fn for row in material.rows)
    return f"{100 * target / pixels:.2g} % of the pixels are target" if pixels else ""


def empties(material: Material) -> str:
    rows = material.rows
    if not rows:
        return ""
    states = [row.state for row in rows]
    without = states.count("both_empty") + states.count("false_alarm")
    return (
        f"{without} references and {states.count('both_empty') + states.count('missed')} "
        f"predictions of {len(rows)} are empty; policy {material.config.evaluate.policy}"
    )


def nested(material: Material) -> str:
    if not material.rows:
        return ""
    images = len({(row.case, row.slice) for row in material.rows})
    subjects = len({row.subject for row in material.rows})
    return (
        f"{images} images of {subjects} subjects: means over {material.level}s, intervals resample "
        "subjects"
    )


def resolution(material: Material) -> str:
    unit = material.summary["distance_unit"]
    known = "distances in mm by the files' spacing" if unit == "mm" else "spacing unknown: pixels"
    return f"{known}; scored on the images' own grid"
