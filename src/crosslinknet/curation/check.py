"""Look at a data set before anything is trained: what is in it, and what is wrong with it.

Order: check_data, its settings and cases, then the facts of the set as the result tells them.
"""

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosslinknet.config import Config, DataConfig, data_at, load_config, override, parse_config
from crosslinknet.curation.about_files import FILES
from crosslinknet.curation.about_images import IMAGES
from crosslinknet.curation.about_masks import MASKS
from crosslinknet.curation.about_targets import TARGETS
from crosslinknet.curation.alike import twins
from crosslinknet.curation.collect import collect
from crosslinknet.curation.findings import BACKGROUND, Facts, Kind, look_for
from crosslinknet.curation.leaks import LEAKS
from crosslinknet.curation.result import (
    Check,
    Label,
    Pixels,
    Range,
    Size,
    SizeClass,
    Spacing,
    Subjects,
    Target,
)
from crosslinknet.datasets import LAYOUTS, Found, survey
from crosslinknet.errors import DataError, UsageError
from crosslinknet.plots import SIZE_EDGES, SMALL_TARGET
from crosslinknet.readers import suffix_of
from crosslinknet.report.markup import count

CONFIGS = (".yaml", ".yml")

KINDS: dict[str, Kind] = FILES | MASKS | TARGETS | IMAGES | LEAKS  # of findings


def check_data(
    data: str | Path,
    settings: tuple[str, ...] = (),
    *,
    report: str | Path | None = None,
    done: Callable[[int, int], None] = lambda cases, total: None,
) -> Check:
    """Look at every file of a data set and say what is there and what is wrong.

    Every pixel is read once, and none is kept: a set may be larger than memory. Without a config
    or a setting that states ``data.label_map``, every value but the background is target.

    Args:
        data: folder, CSV manifest, or a config (YAML) whose data are meant.
        settings: ``key=value`` texts, as ``data.subject=^(p[0-9]+)_``.
        report: HTML page to write, with pictures of the cases worth a look; ``.html``.
        done: called with the number of cases that were looked at, and of all.

    Returns:
        Facts and findings; ``clean`` says whether there is an error or a warning.

    Raises:
        DataError: nothing is there. A set whose cases cannot be told is a finding.
        UsageError: an impossible setting; a report that is no ``.html``.
        SystemProblem: a package that reads such files is missing; the report cannot be written.
    """
    page = None if report is None else Path(report)
    if page is not None and page.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--report {page}: the report is a page; name it .html.")
    config, named = _settings(Path(data), settings)
    found, refused = _survey(config.data)
    total = len(found.cases)
    cases = collect(found.cases, config, named, lambda number: done(number, total))
    facts = Facts(str(data), found, config, named, cases, twins(cases), refused)
    check = describe(facts)
    if page is not None:
        from crosslinknet.curation.sheet import write_sheet

        write_sheet(page, check, facts)
    return check


def _settings(data: Path, settings: tuple[str, ...]) -> tuple[Config, frozenset[int | str] | None]:
    """The config, and the mask values that it names; None where nobody stated them."""
    if data.suffix.lower() in CONFIGS and data.is_file():
        config, stated = load_config(data, settings), True
    else:
        content = override({"data": data_at(data)}, settings)
        config = parse_config(content, "xln data check")
        stated = "label_map" in content["data"]
    if not stated and config.data.threshold is None:
        return config, None
    named = {value for values in config.data.label_map.values() for value in values}
    return config, BACKGROUND | named


def _survey(data: DataConfig) -> tuple[Found, str]:
    """The cases of a set, or none and why they cannot be told."""
    try:
        return survey(data), ""
    except DataError as error:
        if isinstance(error.__cause__, OSError) or not data.root.exists():
            raise
        return Found(_layout(data), (), "file name", notes=(_held(data.root),)), str(error)


def _layout(data: DataConfig) -> str:
    """The layout that a set is meant to have."""
    if data.layout != "auto":
        return data.layout
    for name, layout in LAYOUTS.items():
        try:
            if layout.matches(data):
                return name
        except DataError:
            return name  # damaged, but of this kind
    return "unknown"


def _held(root: Path) -> str:
    """How many files of which kinds lie there, for people."""
    if root.is_file():
        return "a file"
    below = [path.relative_to(root) for path in root.rglob("*") if path.is_file()]
    kinds = Counter(
        suffix_of(root / path) or "without suffix"
        for path in below
        if not any(part.startswith(".") for part in path.parts)
    )
    shown = ", ".join(f"{number:,} {kind}" for kind, number in kinds.most_common(5))
    return f"{count(kinds.total(), 'file')}{f': {shown}' if shown else ''}"


def describe(facts: Facts) -> Check:
    """The facts of a set, and its findings."""
    found, images = facts.found, [image for _, image in facts.images]
    shapes = Counter(image.shape[1:] for image in images for _ in range(image.shape[0]))
    types = Counter((image.kind, image.channels) for image in images)
    depths = [image.shape[0] for image in images]
    intensity = None
    if images:
        low, high = min(image.low for image in images), max(image.high for image in images)
        intensity = Range(low=low, high=high)
    return Check(
        root=str(facts.config.data.root),
        layout=found.layout,
        notes=list(found.notes),
        pairs=len(found.cases),
        images_without_mask=[facts.name(path) for path in found.unmasked.files],
        masks_without_image=[facts.name(path) for path in found.unused.files],
        unreadable=sum(bool(case.problems) for case in facts.cases),
        slices=sum(depths),
        subjects=Subjects(
            count=len({files.subject for files in found.cases}), rule=found.subject_rule
        ),
        depth=(min(depths), max(depths)) if depths else None,
        sizes=[
            Size(height=height, width=width, slices=number)
            for (height, width), number in shapes.most_common()
        ],
        spacing=_spacing([image.spacing for image in images if image.spacing is not None]),
        pixels=[
            Pixels(type=kind, channels=channels, cases=number)
            for (kind, channels), number in types.most_common()
        ],
        intensity=intensity,
        labels=_labels([mask.values for _, mask in facts.masks]),
        target=_target([mask.fractions for _, mask in facts.masks]),
        findings=look_for(KINDS, facts),
    )


def _spacing(known: list[tuple[float, float, float]]) -> Spacing | None:
    if not known:
        return None
    low, high = np.min(known, axis=0).tolist(), np.max(known, axis=0).tolist()
    return Spacing(cases=len(known), low=low, high=high)


def _labels(masks: list[dict[int | str, int]]) -> list[Label]:
    """Every value, sorted; values of noise are many, and all of them are told."""
    pixels: Counter[int | str] = Counter()
    cases: Counter[int | str] = Counter()
    for values in masks:
        pixels.update(values)
        cases.update(values.keys())
    order = sorted(pixels, key=lambda value: (isinstance(value, str), value))
    return [Label(value=value, pixels=pixels[value], cases=cases[value]) for value in order]


def _target(masks: list[NDArray[Any]]) -> Target | None:
    """Sizes of the targets of all slices that have one."""
    fractions = np.concatenate([*masks, np.zeros(0)])
    sizes = fractions[fractions > 0]
    if not sizes.size:
        return None
    numbers = np.histogram(sizes, SIZE_EDGES)[0].tolist()
    return Target(
        slices=sizes.size,
        empty_slices=fractions.size - sizes.size,
        empty_cases=sum(not mask.any() for mask in masks),
        low=float(sizes.min()),
        mean=float(sizes.mean()),
        high=float(sizes.max()),
        small=float((sizes < SMALL_TARGET).mean()),
        classes=[
            SizeClass(low=low, high=high, slices=number)
            for (low, high), number in zip(pairwise(SIZE_EDGES), numbers, strict=True)
        ],
    )
