"""The result of a check on one screen: facts, sizes of the targets as bars, findings.

Order: facts, bars, findings, each a table of rich. Numbers of lines are kept small on purpose; all
of it is in ``--json`` and on the page of ``--report``.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from crosslinknet.curation.result import Check, Place
from crosslinknet.report.markup import count

if TYPE_CHECKING:
    from rich.table import Table

MOST_LABELS, MOST_SIZES, MOST_FINDINGS = 5, 3, 6
BAR = 30  # characters of the longest bar
COLOURS = {"error": "bold red", "warning": "yellow", "hint": "cyan"}


def tables(check: Check) -> "list[Table]":
    """What is printed, in this order."""
    return [facts(check), *([bars(check)] if check.target else []), findings(check)]


def facts(check: Check) -> "Table":
    """A line for each kind of fact."""
    from rich.table import Table

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, text in fact_lines(check):
        table.add_row(name, text)
    return table


def fact_lines(check: Check) -> Iterator[tuple[str, str]]:
    """Names and texts of the facts; those that are not known are left out."""
    yield "layout", "; ".join([check.layout, *check.notes])
    lost = [
        f"{count(len(files), kind)} without {other}"
        for kind, other, files in (
            ("image", "mask", check.images_without_mask),
            ("mask", "image", check.masks_without_image),
        )
        if files
    ]
    broken = [f"{check.unreadable:,} unreadable"] if check.unreadable else []
    yield "pairs", ", ".join([f"{check.pairs:,}", *lost, *broken])
    if check.pairs:
        yield "subjects", f"{check.subjects.count:,}, by {check.subjects.rule}"
    if check.sizes:
        yield "slices", f"{check.slices:,}{_depth(check)} of {_sizes(check)}"
    if check.spacing:
        yield "spacing", _spacing(check)
    if check.intensity:
        low, high = check.intensity.low, check.intensity.high
        yield "pixels", f"{pixel_kinds(check)}; {low:g} to {high:g}"
    if check.labels:
        shown = [
            f"{label.value}: {label.pixels:,} px in {label.cases:,}"
            for label in check.labels[:MOST_LABELS]
        ]
        yield "mask values", "; ".join([*shown, *_more(check.labels, MOST_LABELS)])
    if check.target:
        target = check.target
        yield (
            "target",
            f"{percent(target.low)} to {percent(target.high)} of a slice, mean "
            f"{percent(target.mean)}; {100 * target.small:.1f} % of them below 0.6 %; "
            f"{count(target.empty_slices, 'empty slice')}",
        )


def bars(check: Check) -> "Table":
    """How many slices have a target of which size, on a scale of half decades."""
    from rich.table import Table

    assert check.target is not None
    classes = check.target.classes
    while len(classes) > 1 and not classes[0].slices:
        classes = classes[1:]
    while len(classes) > 1 and not classes[-1].slices:
        classes = classes[:-1]
    most = max(one.slices for one in classes)
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for one in classes:
        bar = "█" * max(round(BAR * one.slices / most), bool(one.slices))
        table.add_row(f"{100 * one.low:>5g} to {100 * one.high:g} %", f"{bar} {one.slices:,}")
    return table


def findings(check: Check) -> "Table":
    """The worst findings, each with a few files and its cure."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    if not check.findings:
        table.add_row("No finding. Next: xln init, then xln run.")
    for finding in check.findings[:MOST_FINDINGS]:
        style = COLOURS[finding.severity]
        table.add_row(Text(finding.severity, style), Text(finding.text))
        for line in (few(finding.places), f"cure: {finding.cure}" if finding.cure else ""):
            if line:
                table.add_row("", Text(line, "dim"))
    for line in _more(check.findings, MOST_FINDINGS):
        table.add_row("", f"{line}: --json and --report tell all of them")
    return table


def few(places: Sequence[Place], most: int = 2, longest: int = 110) -> str:
    """The first files of a finding and how many more there are."""
    texts = [f"{place.file} ({place.detail})" if place.detail else place.file for place in places]
    cut = [text if len(text) <= longest else f"{text[:longest]}..." for text in texts[:most]]
    return "; ".join([*cut, *_more(places, most)])


def summary(check: Check) -> str:
    """Number of findings of each severity, for people."""
    numbers = {
        severity: sum(finding.severity == severity for finding in check.findings)
        for severity in ("error", "warning", "hint")
    }
    return ", ".join(count(number, severity) for severity, number in numbers.items())


def percent(share: float) -> str:
    """A share with two digits that count, as ``0.015 %``."""
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"


def pixel_kinds(check: Check) -> str:
    """Number types and channels of the images, for people."""
    several = len(check.pixels) > 1
    return ", ".join(
        f"{one.type}, {count(one.channels, 'channel')}" + (f" ({one.cases:,})" if several else "")
        for one in check.pixels
    )


def _depth(check: Check) -> str:
    if check.depth is None or check.depth == (1, 1):
        return ""
    low, high = check.depth
    return f", {low} to {high} a case," if low < high else f", {low} a case,"


def _sizes(check: Check) -> str:
    sizes = check.sizes
    if len(sizes) <= MOST_SIZES:
        return ", ".join(
            f"{one.height}x{one.width}" + (f" ({one.slices:,})" if len(sizes) > 1 else "")
            for one in sizes
        )
    low = f"{min(one.height for one in sizes)}x{min(one.width for one in sizes)}"
    high = f"{max(one.height for one in sizes)}x{max(one.width for one in sizes)}"
    return f"{len(sizes)} sizes, height and width {low} to {high}"


def _spacing(check: Check) -> str:
    assert check.spacing is not None
    low, high = (
        " x ".join(f"{mm:.3g}" for mm in ends) for ends in (check.spacing.low, check.spacing.high)
    )
    text = low if low == high else f"{low} to {high}"
    stated = "" if check.spacing.cases == check.pairs else f", stated by {check.spacing.cases:,}"
    return f"{text} mm (slices, rows, columns){stated}"


def _more(things: Sequence[object], most: int) -> list[str]:
    return [f"{len(things) - most:,} more"] if len(things) > most else []
