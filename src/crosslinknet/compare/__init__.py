"""Methods against each other on the same subjects: differences, tests, ranks, a table for a paper.

Every number is counted by subject: a subject's value is the mean over its images, and over the
seeds where a method was trained several times. What is compared must have been scored alike, on
the same images with the same references; anything else is refused.
Order: compare_methods; then sources.py, agree.py, panels.py, result.py, page.py.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from crosslinknet.compare.agree import (
    more_warnings,
    refuse_settings,
    refuse_units,
    same_images,
    shared_metrics,
)
from crosslinknet.compare.page import write_documents
from crosslinknet.compare.panels import panels_of
from crosslinknet.compare.result import Comparison, Panel, Source
from crosslinknet.compare.sources import Compared, read_methods
from crosslinknet.evaluate.documents import heading
from crosslinknet.statistics.paired import warnings_for

__all__ = ["Comparison", "compare_methods"]

RESAMPLES = 2000


def compare_methods(
    paths: Sequence[Path],
    out: Path,
    *,
    names: Sequence[str] = (),
    metrics: Sequence[str] = (),
    level: Compared | None = None,
    subject: str | None = None,
    labels: Mapping[str, str] | None = None,
    common: bool = False,
    resamples: int = RESAMPLES,
) -> Comparison:
    """Compare methods and write comparison.json, .md, .tex, .html and figures.

    Args:
        paths: folders of runs or evaluations, or summary.json files of nnU-Net.
        out: folder for the results.
        names: of the methods, one per path; else those of the folders.
        metrics: to compare; else Dice and HD95, as far as all have them.
        level: image or case; None: case where nnU-Net is one of them, else image.
        subject: regular expression that finds the subject in the names of nnU-Net's cases.
        labels: names of nnU-Net's labels, as {"1": "kidney"}; else they are called by their number.
        common: compare the images that all have, where some have more.
        resamples: of the subjects.

    Raises:
        DataError: scores that cannot be read, or that are not of the same images, references,
            policy or unit.
        UsageError: fewer than two methods, unknown metrics, names that do not fit.
        SystemProblem: the disk refuses.
    """
    chosen_level, methods = read_methods(paths, names, level, subject, labels or {})
    refuse_settings(methods)
    methods = same_images(methods, common)
    chosen = shared_metrics(methods, metrics)
    refuse_units(methods, chosen)
    settings = dict(methods[0].settings)
    unit = methods[0].unit
    rows = methods[0].rows
    classes = list(dict.fromkeys(row.class_name for row in rows))
    subjects = sorted({row.subject for row in rows})
    about = {**settings, "distance_unit": unit}
    found = [
        part
        for metric in chosen
        for part in panels_of(methods, classes, subjects, metric, heading(metric, about), resamples)
    ]
    result = Comparison(
        level=chosen_level,
        settings=settings,
        distance_unit=unit,
        classes=classes,
        images=len({(row.case, row.slice) for row in rows}),
        subjects=len(subjects),
        resamples=resamples,
        sources=[Source(name=m.name, kind=m.kind, paths=list(map(str, m.paths))) for m in methods],
        warnings=[
            *warnings_for(len(subjects)),
            *_left_out([panel for panel, _ in found], classes, chosen, len(subjects)),
            *more_warnings(methods),
        ],
        panels=[panel for panel, _ in found],
    )
    write_documents(result, [values for _, values in found], out)
    return result


def _left_out(
    panels: Sequence[Panel], classes: Sequence[str], metrics: Sequence[str], subjects: int
) -> list[str]:
    """Subjects and whole classes that cannot be compared, since a method has no value for them."""
    there = {(panel.class_name, panel.metric): panel for panel in panels}
    told = []
    for metric in metrics:
        for name in classes:
            panel = there.get((name, metric))
            if panel is None:
                told.append(
                    f"{name}, {metric}: not compared, since no subject has a value for every "
                    "method. See the misses of each."
                )
            elif panel.subjects < subjects:
                told.append(
                    f"{name}, {metric}: {subjects - panel.subjects} of {subjects} subjects are "
                    "left out, since a method has no value for them; with policy worst a miss "
                    "counts."
                )
                told += warnings_for(panel.subjects, f"{name}, {metric}")
    return told
