"""The page of a check: facts, findings, sizes, and a contact sheet; one file without scripts.

It has the looks of a run's report. Structure and prose: sheet.html, in the frame of all pages.
Order: write_sheet, then the parts of the page from top to bottom.
"""

from collections.abc import Sequence
from pathlib import Path

from crosslinknet import __version__, plots
from crosslinknet.curation import screen
from crosslinknet.curation.findings import BACKGROUND, Facts
from crosslinknet.curation.pictures import Shown, choose, colours_of, draw
from crosslinknet.curation.result import Check, Finding, Place
from crosslinknet.files import write_text
from crosslinknet.report.markup import (
    Html,
    count,
    e,
    figure,
    fold_out,
    framed,
    join,
    table,
    tag,
    terms,
)

MOST_PLACES, MOST_LABELS = 500, 40  # that a page lists; --json has all of them


def write_sheet(path: Path, check: Check, facts: Facts) -> None:
    """Write the page; the same data give the same bytes.

    Raises:
        SystemProblem: it cannot be written.
    """
    colours = colours_of(facts)
    shown = [draw(one, facts, colours) for one in choose(facts, check.findings)]
    name = Path(check.root).name or check.root
    page = framed(
        "crosslinknet.curation",
        "sheet.html",
        ["sheet.css"],
        title=e(f"{name}: data check"),
        name=e(name),
        what=e(" · ".join([check.layout, *check.notes])),
        tiles=_tiles(check),
        findings=_findings(check.findings),
        facts=terms(screen.fact_lines(check), css="facts"),
        size=_size(check),
        labels=_labels(check),
        pictures=join([_key(colours), tag("div", join(map(_card, shown)), css="sheet")]),
        made=e(f"Written by crosslinknet {__version__}. This page loads nothing, runs no script."),
    )
    write_text(path, page)


def _tiles(check: Check) -> Html:
    """The numbers one looks for first."""
    severities = [finding.severity for finding in check.findings]
    small = "–" if check.target is None else f"{100 * check.target.small:.1f} %"
    return terms(
        [
            ("Errors", severities.count("error")),
            ("Warnings", severities.count("warning")),
            ("Hints", severities.count("hint")),
            ("Pairs", f"{check.pairs:,}"),
            ("Slices", f"{check.slices:,}"),
            ("Subjects", f"{check.subjects.count:,}"),
            ("Targets below 0.6 %", small),
        ],
        css="tiles",
    )


def _findings(findings: Sequence[Finding]) -> Html:
    if not findings:
        return tag("p", "None. Next: xln init, then xln run.")
    return join(_finding(finding) for finding in findings)


def _finding(finding: Finding) -> Html:
    parts = [tag("p", join([tag("span", finding.severity, css="how"), finding.text]))]
    if finding.cure:
        parts.append(tag("p", join(["Cure: ", tag("code", finding.cure)])))
    if finding.places:
        places = [_place(place) for place in finding.places[:MOST_PLACES]]
        left = len(finding.places) - MOST_PLACES
        if left > 0:
            places.append(tag("li", f"and {left:,} more, all of them in --json"))
        files = tag("ul", join(places))
        parts.append(fold_out(count(len(finding.places), "file"), files))
    return tag("div", join(parts), css=f"finding {finding.severity}")


def _place(place: Place) -> Html:
    detail = f": {place.detail}" if place.detail else ""
    return tag("li", join([tag("code", place.file), detail]))


def _size(check: Check) -> Html:
    """The chart, and what it says."""
    target = check.target
    if target is None:
        return tag("p", "No slice has a target.", css="note")
    drawing = plots.size_bars([one.slices for one in target.classes])
    words = "How many slices have a target of which size"
    svg = Html(plots.svg(drawing, "sizes", words))
    text = (
        f"{count(target.slices, 'slice')} with a target, of {screen.percent(target.low)} to "
        f"{screen.percent(target.high)} of the slice, mean {screen.percent(target.mean)}; "
        f"{100 * target.small:.1f} % of them below 0.6 %. {count(target.empty_slices, 'slice')} "
        f"and {count(target.empty_cases, 'whole case')} without a target."
    )
    chart = figure(svg, e(words), css="chart", above=True)
    return join([tag("div", chart, css="charts"), tag("p", text)])


def _labels(check: Check) -> Html:
    rows = [
        ("", [_meaning(label.value), f"{label.pixels:,}", f"{label.cases:,}"])
        for label in check.labels[:MOST_LABELS]
    ]
    left = len(check.labels) - MOST_LABELS
    more = tag("p", f"and {left:,} more values", css="note") if left > 0 else Html("")
    return join([table("Mask values", ["Value", "Pixels", "Cases"], rows), more])


def _meaning(value: int | str) -> str:
    return f"{value}, background" if value in BACKGROUND else str(value)


def _key(colours: dict[int | str, str]) -> Html:
    """Which colour is which mask value; of many values the first ones."""
    several = list(colours.items())[:6]
    keys = [
        tag("span", join([tag("i", "", style=f"background:{colour}"), f"value {value}"]), css="key")
        for value, colour in several
    ]
    return tag("p", join(keys), css="note")


def _card(shown: Shown) -> Html:
    """A picture with the case's name, the slice, its target and why it is here."""
    case, mask = shown.case, shown.case.mask
    about = []
    if case.image is not None and case.image.shape[0] > 1:
        about.append(f"slice {shown.slice + 1} of {case.image.shape[0]}")
    if mask is not None:
        share = float(mask.fractions[min(shown.slice, len(mask.fractions) - 1)])
        about.append(f"target {screen.percent(share)}" if share else "no target")
    look = "tag" if shown.alarming else "detail"
    badge = [" ", tag("span", shown.reason, css=look)] if shown.reason else []
    detail = tag("span", " · ".join(about), css="detail")
    if shown.picture:
        alt = f"Slice of {case.files.id} with its mask outlined"
        picture = Html(f'<img src="{shown.picture}" alt="{e(alt)}" loading="lazy">')
    else:
        picture = tag("div", " ".join(case.problems), css="gone")
    return figure(picture, join([case.files.id, *badge, detail]))
