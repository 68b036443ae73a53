"""reporting.md: what a journal will ask, answered from the record of a run where it can be.

Two lists, in our words: the items of CLAIM 2024 (Tejani et al., Radiology: Artificial Intelligence
6, 2024) by their numbers, and what Metrics Reloaded (Maier-Hein, Reinke et al., Nature Methods 21,
2024) asks of the choice and use of metrics. An answer says only what the record says; what it
cannot know stays a question for the author.
Order: Item, write_reporting, the items of CLAIM, those of Metrics Reloaded; answers.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crosslinknet.files import write_text
from crosslinknet.report import answers
from crosslinknet.report.answers import Answer
from crosslinknet.report.material import read_material


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


# CLAIM 2024

CLAIM: Sequence[Item] = (
    Item("1", "the kind of AI, in the title or abstract", answers.study),
    Item("2", "a structured abstract", answers.unknown),
    Item("3", "background, intended use and clinical role", answers.unknown),
    Item("4", "aims and hypotheses", answers.unknown),
    Item("5", "prospective or retrospective", answers.unknown),
    Item("6", "goal of the study", answers.unknown),
    Item("7", "sources of the data", answers.sources),
    Item("8", "inclusion and exclusion", answers.exclusion),
    Item("9", "preprocessing", answers.preprocessing),
    Item("10", "subsets of the data that were selected", answers.unknown),
    Item("11", "de-identification", answers.unknown),
    Item("12", "missing data", answers.missing),
    Item("13", "acquisition protocol", answers.unknown),
    Item("14", "how the reference was defined", answers.unknown),
    Item("15", "why this reference", answers.unknown),
    Item("16", "who annotated, with which qualification", answers.unknown),
    Item("17", "annotation of the test set", answers.unknown),
    Item("18", "variability between and within readers", answers.unknown),
    Item("19", "how cases were assigned to partitions", answers.partitions),
    Item("20", "level at which partitions are disjoint", answers.disjoint),
    Item("21", "intended sample size", answers.unknown),
    Item("22", "the model in detail", answers.model),
    Item("23", "software and versions", answers.software),
    Item("24", "first weights", answers.first_weights),
    Item("25", "training in detail", answers.training),
    Item("26", "how the final model was selected", answers.selection),
    Item("27", "ensembling", answers.ensemble),
    Item("28", "metrics", answers.metrics),
    Item("29", "uncertainty and significance", answers.uncertainty),
    Item("30", "robustness and sensitivity analyses", answers.unknown),
    Item("31", "explainability", answers.explain),
    Item("32", "evaluation on internal data", answers.internal),
    Item("33", "testing on external data", answers.unknown),
    Item("34", "registration of a trial", answers.unknown),
    Item("35", "numbers included and excluded", answers.numbers),
    Item("36", "demographics by partition", answers.unknown),
    Item("37", "performance with uncertainty", answers.performance),
    Item("38", "diagnostic performance and its precision", answers.unknown),
    Item("39", "analysis of failures", answers.failures),
    Item("40", "limitations", answers.limits),
    Item("41", "implications for practice", answers.unknown),
    Item(
        "42", "protocol and technical details", lambda m: "config.yaml and splits.json of the run"
    ),
    Item("43", "availability of software, model and data", answers.availability),
    Item("44", "funding", answers.unknown),
)


# Metrics Reloaded


RELOADED: Sequence[Item] = (
    Item("FP1", "category of the problem", answers.category),
    Item("FP2.1", "do boundaries matter in particular", answers.unknown),
    Item("FP2.2", "does the volume matter", answers.unknown),
    Item("FP2.3", "does the centre or centreline matter", answers.unknown),
    Item("FP2.5", "are errors of unequal weight", answers.unknown),
    Item("FP2.7", "is calibration wanted", answers.unknown),
    Item("FP3.1-3.3", "small structures, and sizes that vary", answers.sizes),
    Item("FP3.4", "complex shapes", answers.unknown),
    Item("FP4.1", "class imbalance", answers.imbalance),
    Item("FP4.2", "do prevalences reflect the population", answers.unknown),
    Item("FP4.3", "how uncertain is the reference", answers.unknown),
    Item("FP4.5", "nested data: images of one subject", answers.nested),
    Item("FP4.6", "references without a target", answers.empties),
    Item("FP5", "predictions that may overlap", answers.overlapping),
    Item("metrics", "an overlap and a boundary metric, per class", answers.both),
    Item(
        "boundary", "boundary metrics that were computed", answers.has("hd", "hd95", "assd", "nsd")
    ),
    Item("volume", "volume metrics that were computed", answers.has("volume_error", "over_rate")),
    Item("centre", "metrics of the centre that were computed", answers.has("centroid_distance")),
    Item("aggregation", "level of averaging and spread", answers.uncertainty),
    Item("resolution", "spacing and grid of the scores", answers.resolution),
    Item("single cases", "values of every case published", lambda m: "fold_K/metrics.csv"),
)
