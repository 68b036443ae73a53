"""What a reader must know before quoting a number of the report.

Order: warnings, then one function per kind.
"""

from itertools import pairwise

import numpy as np

from crosslinknet.report.markup import Html, count, e, join, tag
from crosslinknet.report.material import FoldFiles, Material

FEW_SUBJECTS = 20  # below this, a bootstrap interval over subjects tends to be too narrow
BLIND = 3  # validations in a row without a predicted pixel that count as an alarm


def warnings(material: Material) -> dict[str, Html]:
    """What a reader must know before quoting a number; hidden where there is nothing."""
    found = [*_about_subjects(material), *material.missing]
    found += [*_about_classes(material), *_about_blindness(material)]
    listed = tag("ul", join(tag("li", text) for text in found))
    return {"warnings": listed, "warnings_class": e("some" if found else "none")}


def _about_subjects(material: Material) -> list[str]:
    subjects = {row.subject for row in material.rows}
    cases = {row.case for row in material.rows}
    found, kind = [], "subject"
    if material.config.data.subject_is == "group":
        kind = "group"
        rule = material.manifest.get("data", {}).get("subject_rule", "unknown")
        found.append(
            f"Folds are by group, not by person (rule: {rule}): nobody knows which slices come "
            "from one person, so a person may be in training and test at once, and these scores "
            "may be too good."
        )
    elif 1 < len(cases) == len(subjects) and all((row.slice or 0) == 0 for row in material.rows):
        rule = material.manifest.get("data", {}).get("subject_rule", "every file for itself")
        found.append(
            f"Folds are by slice: every case counts as a subject of its own (rule: {rule}). If "
            "several slices come from one person, that person is in training and test at once, "
            "and these scores are too good. State who is who with data.subject or a manifest."
        )
    if 0 < len(subjects) < FEW_SUBJECTS:
        found.append(
            f"Only {count(len(subjects), kind)}: intervals from so few tend to be too "
            "narrow, and one unusual subject moves the mean."
        )
    return found


def _about_classes(material: Material) -> list[str]:
    seen = {row.class_name for row in material.rows if row.tp + row.fn}
    return [
        f"No test image has a target of class {name}: its scores say little, and the average "
        "leaves it out where it has none. Check data.label_map."
        for name in material.config.classes
        if material.rows and name not in seen
    ]


def _about_blindness(material: Material) -> list[str]:
    found = []
    for fold in material.folds:
        wanted = {row.class_name for row in fold.rows if row.tp + row.fn}
        never = wanted - {row.class_name for row in fold.rows if row.tp + row.fp}
        if never and never == wanted:
            found.append(f"Fold {fold.number} predicts background only, in every test image.")
        elif never:
            names = ", ".join(sorted(never))
            found.append(f"Fold {fold.number} never predicts {names}, in any test image.")
        blind = _longest_blind(fold)
        if blind is not None:
            first, last, length, recovered = blind
            found.append(
                f"Fold {fold.number}: {length} validations in a row (epochs {first} to {last}) "
                "found no foreground at all; "
                + ("later ones did." if recovered else "the training ended like this.")
            )
    return found


def _longest_blind(fold: FoldFiles) -> tuple[int, int, int, bool] | None:
    """First and last epoch and length of the longest run of validations without foreground."""
    column = "val_foreground" if "val_foreground" in fold.log else "val_dice"
    if column not in fold.log:
        return None
    known = np.isfinite(fold.log[column])
    epochs, seen = fold.log["epoch"][known], fold.log[column][known] > 0
    edges = [-1, *np.flatnonzero(seen).tolist(), len(seen)]
    start, stop = max(pairwise(edges), key=lambda pair: pair[1] - pair[0])
    length = stop - start - 1
    if length < BLIND:
        return None
    return int(epochs[start + 1]), int(epochs[stop - 1]), length, stop < len(seen)
