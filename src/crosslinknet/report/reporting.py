"""reporting.md: what a journal will ask, answered from the record of a run where it can be.

Two lists, in our words: the items of CLAIM 2024 (Tejani et al., Radiology: Artificial Intelligence
6, 2024) by their numbers, and what Metrics Reloaded (Maier-Hein, Reinke et al., Nature Methods 21,
2024) asks of the choice and use of metrics. An answer says only what the record says; what it
cannot know stays a question for the author.
Order: Item, write_reporting, the items of CLAIM, those of Metrics Reloaded, their answers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crosslinknet import __version__
from crosslinknet.files import write_text
from crosslinknet.metrics import METRICS
from crosslinknet.report.markup import count, duration, number, span
from crosslinknet.report.material import Material, read_material
from crosslinknet.report.words import name_of

Answer = Callable[[Material], str]
SMALL = 0.006  # of the slice: the paper's small target


@dataclass(frozen=True)
class Item:
    """One thing that is asked.

    Attributes:
        key: its number.
        asks: what it is about.
        answer: says it from the record, or "" where the record does not tell.
    """

    key: str
    asks: str
    answer: Answer


def write_reporting(run: Path) -> Path:
    """Write ``reporting.md`` into a run's folder and return its path.

    Raises:
        DataError: the folder holds no run, or a file of it is damaged.
        SystemProblem: the file cannot be written.
    """
    material = read_material(Path(run))
    parts = [
        f"# Reporting sheet of {material.config.output.name}",
        "Filled from the run's own record; every answer is to be checked by the author, and what "
        "the record cannot know is a question. Not a medical device.",
    ]
    for title, items in (("CLAIM 2024", CLAIM), ("Metrics Reloaded", RELOADED)):
        rows = [(item, item.answer(material)) for item in items]
        answered = sum(bool(text) for _, text in rows)
        lines = [
            f"| {item.key} | {item.asks} | {_cell(text) or '**?** for the author'} |"
            for item, text in rows
        ]
        head = ["| item | what is asked | the record says |", "| --- | --- | --- |"]
        parts += [
            f"## {title}",
            f"{answered} of {len(items)} items are answered, {len(items) - answered} remain.",
            "\n".join([*head, *lines]),
        ]
    path = material.folder / "reporting.md"
    write_text(path, "\n\n".join(parts) + "\n")
    return path


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _unknown(material: Material) -> str:
    return ""


def _study(material: Material) -> str:
    config = material.config
    return (
        f"deep learning: {_network(material)}, which segments {', '.join(config.classes)}; "
        f"{len(material.tested)} of {len(material.folds)} folds of a cross-validation"
    )


def _network(material: Material) -> str:
    options = ", ".join(f"{k} {v}" for k, v in material.config.model.options.items())
    return f"{material.config.model.name}{f' ({options})' if options else ''}"


def _sources(material: Material) -> str:
    data = material.manifest.get("data", {})
    if not data:
        return ""
    return (
        f"{data['cases']} cases of {data['subjects']} "
        f"{'groups' if material.config.data.subject_is == 'group' else 'subjects'}, layout "
        f"{data['layout']}, sha256 {data['hash'][:12]}...; where and when they were acquired is "
        "for the author"
    )


def _exclusion(material: Material) -> str:
    data = material.config.data
    left = list(data.exclude or ())
    parts = [f"left out by name: {', '.join(left)}"] if left else ["no case was left out by name"]
    if data.unlabelled == "skip":
        parts.append("images without a mask were left out")
    return "; ".join(parts) + "; clinical criteria are for the author"


def _preprocessing(material: Material) -> str:
    image, augment = material.config.image, material.config.augment
    return (
        f"grey values by window {image.window}, {image.channels} channel(s), slices along "
        f"{image.slice_axis}, {image.fit} to {image.size[0]}x{image.size[1]}; no resampling to a "
        f"common spacing; augmentation in training: {augment.preset}"
    )


def _missing(material: Material) -> str:
    if material.config.data.unlabelled == "skip":
        return "images without a mask were left out (data.unlabelled: skip)"
    return "none allowed: an image without a mask is an error (data.unlabelled: error)"


def _partitions(material: Material) -> str:
    return material.splits.rule if material.splits else ""


def _disjoint(material: Material) -> str:
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


def _model(material: Material) -> str:
    loss = material.config.loss
    return (
        f"{_network(material)}, input {material.config.image.size}; loss "
        f"{loss.bce} BCE + {loss.dice} Dice + {loss.attention} attention ({loss.form}), "
        f"{loss.classes}; architecture: docs/paper.md"
    )


def _software(material: Material) -> str:
    versions = material.manifest.get("versions", {})
    commit = material.manifest.get("commit")
    text = ", ".join(f"{name} {version}" for name, version in versions.items())
    return text + (f"; commit {commit}" if commit and text else "")


def _first_weights(material: Material) -> str:
    return f"{material.config.train.init}, seed {material.config.train.seed}; no pretraining"


def _training(material: Material) -> str:
    train = material.config.train
    seconds = sum(f.get("seconds", 0) for f in material.manifest.get("folds", {}).values())
    text = (
        f"recipe {train.recipe}: {train.optimizer}, rate {train.lr} ({train.schedule}), batch "
        f"{train.batch_size}, {train.epochs} epochs, precision {train.precision}"
    )
    hardware = material.manifest.get("hardware", {}).get("processor", "")
    where = f"; {duration(seconds)} of training on {hardware or 'unknown hardware'}"
    return text + (where if seconds else "")


def _selection(material: Material) -> str:
    train = material.config.train
    which = "the last epoch" if train.keep == "last" else "the epoch with the best validation Dice"
    return f"{which}; validation part of the training subjects {material.config.split.validation}"


def _ensemble(material: Material) -> str:
    flip = "; averaged with the mirrored slice" if material.config.predict.flip else ""
    return f"scores: none, each case by the one model of its fold{flip}"


def _metrics(material: Material) -> str:
    names = ", ".join(name_of(name) for name in material.config.evaluate.metrics)
    return f"{names}; empty masks by policy {material.config.evaluate.policy}; docs/metrics.md"


def _uncertainty(material: Material) -> str:
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


def _explain(material: Material) -> str:
    drawn = any((fold.folder / "attention").is_dir() for fold in material.folds)
    return "attention maps of both branches of test cases (report.html)" if drawn else ""


def _internal(material: Material) -> str:
    tested = material.tested
    if not tested:
        return ""
    cases = len({row.case for row in material.rows})
    every = material.manifest.get("data", {}).get("cases", cases)
    return (
        f"{len(tested)} of {len(material.folds)} folds tested, {cases} of {every} cases once each, "
        "by the model that did not see their subjects"
    )


def _numbers(material: Material) -> str:
    if not material.rows:
        return ""
    subjects = len({row.subject for row in material.rows})
    cases = len({row.case for row in material.rows})
    images = len({(row.case, row.slice) for row in material.rows})
    return (
        f"tested: {count(images, 'image')}, {count(cases, 'case')}, {count(subjects, 'subject')}; "
        "flow of exclusions before is for the author"
    )


def _performance(material: Material) -> str:
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


def _failures(material: Material) -> str:
    rows = material.rows
    if not rows:
        return ""
    states = [row.state for row in rows]
    return (
        f"{states.count('missed')} missed targets and {states.count('false_alarm')} false alarms "
        f"of {len(rows)} pairs; worst cases with pictures and scores by target size in report.html"
    )


def _limits(material: Material) -> str:
    parts = [f"{len({row.subject for row in material.rows})} subjects"] if material.rows else []
    if material.config.data.subject_is == "group":
        parts.append("persons unknown, so that scores may be too good")
    return f"from the record: {', '.join([*parts, 'one seed', 'no external test'])}"


def _availability(material: Material) -> str:
    weights = [
        f.get("weights_sha256", "")[:12] for f in material.manifest.get("folds", {}).values()
    ]
    text = f"software: crosslinknet {__version__}, Apache-2.0"
    known = ", ".join(f"{one}..." for one in weights if one)
    return text + (f"; weights sha256 {known}" if known else "")


# CLAIM 2024

CLAIM: Sequence[Item] = (
    Item("1", "the kind of AI, in the title or abstract", _study),
    Item("2", "a structured abstract", _unknown),
    Item("3", "background, intended use and clinical role", _unknown),
    Item("4", "aims and hypotheses", _unknown),
    Item("5", "prospective or retrospective", _unknown),
    Item("6", "goal of the study", _unknown),
    Item("7", "sources of the data", _sources),
    Item("8", "inclusion and exclusion", _exclusion),
    Item("9", "preprocessing", _preprocessing),
    Item("10", "subsets of the data that were selected", _unknown),
    Item("11", "de-identification", _unknown),
    Item("12", "missing data", _missing),
    Item("13", "acquisition protocol", _unknown),
    Item("14", "how the reference was defined", _unknown),
    Item("15", "why this reference", _unknown),
    Item("16", "who annotated, with which qualification", _unknown),
    Item("17", "annotation of the test set", _unknown),
    Item("18", "variability between and within readers", _unknown),
    Item("19", "how cases were assigned to partitions", _partitions),
    Item("20", "level at which partitions are disjoint", _disjoint),
    Item("21", "intended sample size", _unknown),
    Item("22", "the model in detail", _model),
    Item("23", "software and versions", _software),
    Item("24", "first weights", _first_weights),
    Item("25", "training in detail", _training),
    Item("26", "how the final model was selected", _selection),
    Item("27", "ensembling", _ensemble),
    Item("28", "metrics", _metrics),
    Item("29", "uncertainty and significance", _uncertainty),
    Item("30", "robustness and sensitivity analyses", _unknown),
    Item("31", "explainability", _explain),
    Item("32", "evaluation on internal data", _internal),
    Item("33", "testing on external data", _unknown),
    Item("34", "registration of a trial", _unknown),
    Item("35", "numbers included and excluded", _numbers),
    Item("36", "demographics by partition", _unknown),
    Item("37", "performance with uncertainty", _performance),
    Item("38", "diagnostic performance and its precision", _unknown),
    Item("39", "analysis of failures", _failures),
    Item("40", "limitations", _limits),
    Item("41", "implications for practice", _unknown),
    Item(
        "42", "protocol and technical details", lambda m: "config.yaml and splits.json of the run"
    ),
    Item("43", "availability of software, model and data", _availability),
    Item("44", "funding", _unknown),
)


# Metrics Reloaded


def _category(material: Material) -> str:
    lesions = [m for m in material.config.evaluate.metrics if METRICS[m].needs == "components"]
    more = f"; lesions are matched as well ({', '.join(lesions)})" if lesions else ""
    return f"semantic segmentation, every pixel a class{more}"


def _has(*names: str) -> Answer:
    def answer(material: Material) -> str:
        found = [name_of(m) for m in material.config.evaluate.metrics if m in names]
        return f"scored by {', '.join(found)}" if found else ""

    return answer


def _both(material: Material) -> str:
    needs = {METRICS[name].needs for name in material.config.evaluate.metrics}
    return _metrics(material) if {"counts", "distances"} <= needs else ""


def _overlapping(material: Material) -> str:
    exclusive = material.config.loss.classes == "softmax"
    return "classes exclude each other" if exclusive else "classes may overlap (sigmoid)"


def _sizes(material: Material) -> str:
    fractions = [row.target_fraction for row in material.rows if row.tp + row.fn]
    if not fractions:
        return ""
    low, middle, high = np.percentile(fractions, [5, 50, 95])
    small = np.mean(np.array(fractions) < SMALL)
    return (
        f"targets cover {100 * low:.2g} to {100 * high:.2g} % of the slice (5th to 95th "
        f"percentile, median {100 * middle:.2g} %); {100 * small:.0f} % of them below 0.6 %"
    )


def _imbalance(material: Material) -> str:
    pixels = sum(row.n_pixels for row in material.rows)
    target = sum(row.tp + row.fn for row in material.rows)
    return f"{100 * target / pixels:.2g} % of the pixels are target" if pixels else ""


def _empties(material: Material) -> str:
    rows = material.rows
    if not rows:
        return ""
    states = [row.state for row in rows]
    without = states.count("both_empty") + states.count("false_alarm")
    return (
        f"{without} references and {states.count('both_empty') + states.count('missed')} "
        f"predictions of {len(rows)} are empty; policy {material.config.evaluate.policy}"
    )


def _nested(material: Material) -> str:
    if not material.rows:
        return ""
    images = len({(row.case, row.slice) for row in material.rows})
    subjects = len({row.subject for row in material.rows})
    return (
        f"{images} images of {subjects} subjects: means over {material.level}s, intervals resample "
        "subjects"
    )


def _resolution(material: Material) -> str:
    unit = material.summary["distance_unit"]
    known = "distances in mm by the files' spacing" if unit == "mm" else "spacing unknown: pixels"
    return f"{known}; scored on the images' own grid"


RELOADED: Sequence[Item] = (
    Item("FP1", "category of the problem", _category),
    Item("FP2.1", "do boundaries matter in particular", _unknown),
    Item("FP2.2", "does the volume matter", _unknown),
    Item("FP2.3", "does the centre or centreline matter", _unknown),
    Item("FP2.5", "are errors of unequal weight", _unknown),
    Item("FP2.7", "is calibration wanted", _unknown),
    Item("FP3.1-3.3", "small structures, and sizes that vary", _sizes),
    Item("FP3.4", "complex shapes", _unknown),
    Item("FP4.1", "class imbalance", _imbalance),
    Item("FP4.2", "do prevalences reflect the population", _unknown),
    Item("FP4.3", "how uncertain is the reference", _unknown),
    Item("FP4.5", "nested data: images of one subject", _nested),
    Item("FP4.6", "references without a target", _empties),
    Item("FP5", "predictions that may overlap", _overlapping),
    Item("metrics", "an overlap and a boundary metric, per class", _both),
    Item("boundary", "boundary metrics that were computed", _has("hd", "hd95", "assd", "nsd")),
    Item("volume", "volume metrics that were computed", _has("volume_error", "over_rate")),
    Item("centre", "metrics of the centre that were computed", _has("centroid_distance")),
    Item("aggregation", "level of averaging and spread", _uncertainty),
    Item("resolution", "spacing and grid of the scores", _resolution),
    Item("single cases", "values of every case published", lambda m: "fold_K/metrics.csv"),
)
