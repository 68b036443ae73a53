"""Small pieces of HTML: escaping first, then tables, numbers as people read them.

Whatever is no ``Html`` is escaped on its way into the page, so forgetting is harmless.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape
from importlib.resources import files
from string import Template


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def e(value: object) -> Html:
    """Escape a value, unless it is HTML already.

    >>> e("a<b & 'c'")
    'a&lt;b &amp; &#x27;c&#x27;'
    >>> e(Html("<b>"))
    '<b>'
    """
    return value if isinstance(value, Html) else Html(escape(str(value)))


def join(parts: Iterable[object], between: str = "") -> Html:
    """Escaped parts, one after the other."""
    return Html(between.join(e(part) for part in parts))


def tag(name: str, content: object, css: str = "", **attributes: object) -> Html:
    """An element around an escaped content; an underscore in an attribute stands for a hyphen.

    >>> tag("p", "1 < 2", css="note", aria_label="x")
    '<p class="note" aria-label="x">1 &lt; 2</p>'
    """
    given = ({"class": css} if css else {}) | attributes
    text = "".join(f' {key.replace("_", "-")}="{e(value)}"' for key, value in given.items())
    return Html(f"<{name}{text}>{e(content)}</{name}>")


def table(label: str, head: Sequence[object], rows: Iterable[tuple[str, Sequence[object]]]) -> Html:
    """A table that scrolls inside its box.

    Args:
        label: what a screen reader calls it.
        head: headings of the columns.
        rows: (CSS class, cells); the first cell of a row is its heading, missing ones are empty.
    """
    body = []
    for css, (first, *rest) in rows:
        cells = join(tag("td", cell) for cell in rest + [""] * (len(head) - 1 - len(rest)))
        body.append(tag("tr", join([tag("th", first, scope="row"), cells]), css=css))
    top = tag("thead", tag("tr", join(tag("th", cell, scope="col") for cell in head)))
    inner = tag("table", join([top, tag("tbody", join(body))]))
    return tag("div", inner, css="scroll", tabindex=0, role="region", aria_label=label)


def terms(pairs: Iterable[tuple[object, object]], css: str) -> Html:
    """A list of terms and what they mean."""
    each = (join([tag("dt", term), tag("dd", text)]) for term, text in pairs)
    return tag("dl", join(tag("div", pair) for pair in each), css=css)


def figure(content: Html, caption: Html, css: str = "", above: bool = False) -> Html:
    """A picture or chart with its caption below it, or above."""
    words = tag("figcaption", caption)
    return tag("figure", join([words, content] if above else [content, words]), css=css)


def fold_out(title: object, content: Html) -> Html:
    """Content that is shown on a click, and always in print."""
    return tag("details", join([tag("summary", title), content]))


def framed(package: str, template: str, styles: Sequence[str], **parts: object) -> str:
    """A whole page: the frame of every page, which loads nothing and runs no script.

    Args:
        package: whose file ``template`` is, and ``styles`` are, beside the looks of all pages.
        template: structure and prose between header and footer.
        styles: of this page alone.
        parts: of the template; of the frame: ``title`` and ``made``.
    """

    def text(owner: str, name: str) -> str:
        return files(owner).joinpath(name).read_text(encoding="utf-8")

    css = "".join([text(__package__, "page.css"), *(text(package, name) for name in styles)])
    body = Template(text(package, template)).substitute(parts)
    frame = Template(text(__package__, "frame.html"))
    return frame.substitute(title=parts["title"], made=parts["made"], css=css, body=body)


def number(value: float | None, unit: str, digits: int = 1) -> str:
    """A score as tables show it: fractions in percent, distances as they are.

    >>> number(0.7349, "%"), number(3.14159, "mm"), number(None, "%")
    ('73.5', '3.1', '–')
    """
    if value is None or value != value:
        return "–"
    return f"{100 * value if unit == '%' else value:.{digits}f}"


def span(interval: Sequence[float] | None, unit: str) -> str:
    """An interval as tables show it.

    >>> span([0.701, 0.763], "%"), span(None, "%")
    ('70.1–76.3', '–')
    """
    return "–" if interval is None else "–".join(number(end, unit) for end in interval)


def count(amount: int, thing: str) -> str:
    """A number of things.

    >>> count(1, "image"), count(1200, "case")
    ('1 image', '1,200 cases')
    """
    return f"{amount:,} {thing}{'' if amount == 1 else 's'}"


def duration(seconds: float) -> str:
    """A time span as people say it.

    >>> duration(42), duration(750), duration(7300)
    ('42 s', '12.5 min', '2 h 2 min')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.1f} min"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min"


def moment(text: str) -> str:
    """A time stamp as people write it; anything else stays as it is.

    >>> moment("2026-03-05T14:02:31+00:00")
    '5 March 2026, 14:02 UTC'
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{at.day} {at:%B %Y, %H:%M} {at.tzname() or ''}".strip()
