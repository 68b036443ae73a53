"""What all figures share: colours, line styles, an empty chart, and how a figure becomes a file.

Every figure is a matplotlib ``Figure`` (object API, no pyplot, no global state). Colours are Okabe
and Ito's, safe for colour-blind readers, and a line style or a marker always says the same twice.
Order: the palette, ``svg``, ``save``, an empty chart.
"""

import base64
import io
import re
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crosslinknet.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Values = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]

# In an HTML page each colour can be changed by the CSS variable of the same name.
PALETTE: dict[str, str] = {
    "ink": "#1b2733",
    "muted": "#66727f",
    "rule": "#dfe5ea",
    "blue": "#0072b2",
    "orange": "#d55e00",
    "green": "#009e73",
    "purple": "#a8508c",
}
REFERENCE, PREDICTION = "#56b4e9", "#ffb000"  # on grey images, light enough with a dark rim
DPI, KINDS = 300, ("svg", "png")  # of figures for print

LINES: tuple[tuple[str, Any, float], ...] = (
    ("ink", "-", 1.8),
    ("blue", "--", 1.3),
    ("orange", "-.", 1.3),
    ("green", ":", 1.6),
    ("purple", (0, (6, 1, 1, 1, 1, 1)), 1.2),
)


def svg(figure: "Figure", name: str, label: str) -> str:
    """Draw a figure as an SVG element for use inside HTML.

    Text stays text, colours of ``PALETTE`` become CSS variables with the same names, and no
    width is fixed. Equal figures give equal strings.

    Args:
        figure: what to draw.
        name: prefix of all ids, unique on the page.
        label: what a screen reader says instead.
    """
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</defs>", "", text, flags=re.DOTALL)
    text = re.sub(r' (xmlns(:\w+)?|version)="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r' width="[\d.]+pt"| height="[\d.]+pt"', "", text, count=2)
    text = re.sub(r'(<image [^>]*?) id="[^"]*"', r"\1", text)  # equal pictures have equal ids
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), text)
    text = re.sub(r"(?<=base64,)[^\"]*", lambda data: _small_png(data[0]), text)
    for variable, colour in PALETTE.items():
        text = text.replace(colour, f"var(--{variable}, {colour})")
    start = f'<svg role="img" aria-label="{escape(label)}" stroke-linejoin="round"'
    return text.replace("<svg", start, 1)


def save(figures: "Mapping[str, Figure]", folder: Path, owner: str) -> list[Path]:
    """Write figures for print, each as NAME.svg and NAME.png, in one piece.

    What an earlier call for the same owner wrote into the folder and this one does not is removed;
    files of others stay, whatever they are called.

    Args:
        figures: by name.
        folder: is made where it is missing.
        owner: for whom, "evaluate" say; it is written into each file.

    Returns:
        The files written.

    Raises:
        SystemProblem: the disk refuses.
    """
    mark = f"crosslinknet {owner}"
    files = [
        _save(one, folder / name, kind, mark) for name, one in figures.items() for kind in KINDS
    ]
    for path in sorted(folder.glob("*")):
        if path.suffix[1:] in KINDS and path not in files and path.is_file():
            with path.open("rb") as file:
                ours = mark.encode() in file.read(2000)
            if ours:
                path.unlink()
    return files


def empty_figure(width: float, height: float) -> "Figure":
    """A figure of so many inches without axes."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def chart(width: float, height: float) -> "tuple[Figure, Axes]":
    """One pair of axes in the house style; sizes in inches."""
    figure = empty_figure(width, height)
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PALETTE["muted"])
    axes.tick_params(colors=PALETTE["muted"], labelsize=8.5, length=3)
    axes.grid(axis="y", color=PALETTE["rule"], linewidth=0.8)
    axes.set_axisbelow(True)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set(color=PALETTE["ink"], fontsize=9)
    return figure, axes


def legend(axes: "Axes", columns: int) -> None:
    """Name what was drawn, above the axes; nothing if nothing was."""
    if not axes.get_legend_handles_labels()[0]:
        return
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, frameon=False, fontsize=8,
        labelcolor=PALETTE["ink"], borderaxespad=0.2, handlelength=2.2, columnspacing=1.2,
    )  # fmt: skip


def _save(figure: "Figure", path: Path, kind: str, mark: str) -> Path:
    from matplotlib import rc_context

    buffer, target = io.BytesIO(), path.with_name(f"{path.name}.{kind}")
    about = {"Date": None, "Creator": mark} if kind == "svg" else {"Software": mark}
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": path.name}):
        figure.savefig(buffer, format=kind, dpi=DPI, facecolor="white", metadata=about)
    write_bytes(target, buffer.getvalue())
    return target


def _small_png(data: str) -> str:
    """The same picture (base64) with one byte per pixel where 256 colours are enough."""
    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(np.uint32)  # (H, W, 3)
        opaque = "A" not in picture.mode or picture.getchannel("A").getextrema() == (255, 255)
    packed = pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]
    colours, index = np.unique(packed, return_inverse=True)
    if len(colours) > 256 or not opaque:
        return data
    small = Image.fromarray(index.reshape(packed.shape).astype(np.uint8), mode="P")
    small.putpalette([int(c) >> shift & 255 for c in colours for shift in (16, 8, 0)])
    buffer = io.BytesIO()
    small.save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()
