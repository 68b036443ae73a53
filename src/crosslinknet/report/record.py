"""The fine print of the report: what the numbers mean, the facts of the run, its config."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from crosslinknet.metrics import METRICS
from crosslinknet.report.markup import (
    Html,
    count,
    duration,
    e,
    join,
    moment,
    table,
    tag,
    terms,
)
from crosslinknet.report.material import Material
from crosslinknet.report.words import LEVELS, POLICIES, meaning_of, name_of


def meaning(material: Material) -> Html:
    """Definitions in the words of the page, and the policy with its counts."""
    summary = material.summary
    settings = material.config.evaluate.model_dump()
    settings |= {"distance_unit": summary["distance_unit"]}
    pairs: list[tuple[object, object]] = [
        ("TP, FP, FN, TN", "pixels: found, marked wrongly, overlooked, rightly left alone."),
    ]
    for metric in material.config.evaluate.metrics:
        name, short = name_of(metric), METRICS[metric].heading
        title = name if short == name else f"{name} ({short})"
        pairs.append((title, meaning_of(metric, settings)))
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
