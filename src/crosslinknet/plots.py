"""Figures from plain arrays: curves, score against target size, outlines on a slice, attention.

Every function gives a matplotlib ``Figure`` (object API, no pyplot, no global state); ``svg``
turns one into a string that can stand inside an HTML page. Colours are Okabe and Ito's, safe
for colour-blind readers, and a line style or a marker always says the same thing twice.
Order: the palette, ``svg``, charts, pictures.
"""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.path import Path

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
_BEHIND = "#0d1216"  # beside pictures that are no squares

# Half decades around the paper's limit of a small target (Section IV-D, Fig. 9).
SMALL_TARGET = 0.006
SIZE_EDGES: tuple[float, ...] = (0.0, 2e-4, 6e-4, 2e-3, 6e-3, 2e-2, 6e-2, 0.2, 0.6, 1.0)

_LINES: tuple[tuple[str, Any, float], ...] = (
    ("ink", "-", 1.8),
    ("blue", "--", 1.3),
    ("orange", "-.", 1.3),
    ("green", ":", 1.6),
    ("purple", (0, (6, 1, 1, 1, 1, 1)), 1.2),
)
_LOOSE = (0, (2.6, 2.0))  # dashes that show a solid line beneath
_MOST_DOTS = 1500  # beyond this many, dots become one picture, not one shape each
_MOST_PIXELS = 256  # side of an embedded picture


class SizeBin(NamedTuple):
    """Images whose target covers ``low`` to ``high`` of the slice, and their mean score."""

    low: float
    high: float
    images: int
    mean: float


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


def curves(
    epochs: Values,
    lines: Mapping[str, Values],
    y_label: str,
    limits: tuple[float, float] | None = None,
) -> "Figure":
    """Lines over epochs; at most five, the first one is drawn strongest.

    Args:
        epochs: (E,).
        lines: name -> (E,); nan where an epoch has no value (no validation, say).
        y_label: what the values are.
        limits: lowest and highest value shown; None fits the lines.
    """
    from matplotlib.ticker import MaxNLocator

    figure, axes = _chart(3.7, 2.4)
    for (name, values), (colour, dash, width) in zip(lines.items(), _LINES, strict=False):
        known = np.isfinite(values)
        marker = "o" if known.sum() < 15 else ""
        style: dict[str, Any] = {"color": PALETTE[colour], "linestyle": dash, "linewidth": width}
        axes.plot(epochs[known], values[known], marker=marker, markersize=3, label=name, **style)
    axes.set_xlabel("epoch")
    axes.set_ylabel(y_label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if limits is not None:
        axes.set_ylim(*limits)
    if len(lines) > 1:
        _legend(axes, 3)
    return figure


def size_bins(fractions: Values, scores: Values) -> list[SizeBin]:
    """Mean score of the images of each class of target size; empty classes are left out.

    Args:
        fractions: (N,) target area over slice area, in 0..1; zeros (no target) are ignored.
        scores: (N,) any score; nan is ignored.

    Source: the idea of Fig. 9.

    >>> size_bins(np.array([0.003, 0.005]), np.array([0.4, 0.6]))
    [SizeBin(low=0.002, high=0.006, images=2, mean=0.5)]
    """
    bins = []
    for low, high in pairwise(SIZE_EDGES):
        here = (fractions > 0) & (fractions >= low) & (fractions < high) & np.isfinite(scores)
        if high == 1.0:
            here |= (fractions >= 1.0) & np.isfinite(scores)
        if here.any():
            bins.append(SizeBin(low, high, int(here.sum()), float(scores[here].mean())))
    return bins


def size_scatter(
    fractions: Values,
    scores: Values,
    missed: Mask,
    y_label: str,
    limits: tuple[float, float] | None,
) -> "Figure":
    """Score of every image against the size of its target, with means of half decades.

    The line of a mean is thin where it stands for fewer than five images.

    Args:
        fractions: (N,) target area over slice area; images without a target are not drawn.
        scores: (N,) as shown, in the unit of ``y_label``.
        missed: (N,) the prediction is empty; such dots are crosses.
        y_label: name and unit of the score.
        limits: lowest and highest score shown; None fits the dots.

    Source: Fig. 9; its limit of a small target, 0.6 %, is the dashed line.
    """
    figure, axes = _chart(4.8, 3.4)
    drawn = (fractions > 0) & np.isfinite(scores)
    many = int(drawn.sum()) > _MOST_DOTS
    for marker, colour, kind, size in (("o", "blue", ~missed, 14), ("x", "orange", missed, 26)):
        here = drawn & kind
        name = "one image" if marker == "o" else "missed"
        look: dict[str, Any] = {"linewidths": 0} if marker == "o" else {"linewidths": 1.3}
        if here.any():
            axes.scatter(
                fractions[here], scores[here], size, PALETTE[colour], marker=marker,
                alpha=0.55 if marker == "o" else 1, label=name, rasterized=many, **look,
            )  # fmt: skip
    axes.set_xscale("log")
    low, high = _size_range(fractions[drawn])
    axes.set_xlim(low, high)
    bins = size_bins(fractions[drawn], scores[drawn])
    for one in bins:
        ends = (max(one.low, low), min(one.high, high))
        width = 2.2 if one.images >= 5 else 0.9
        axes.plot(ends, (one.mean, one.mean), color=PALETTE["ink"], linewidth=width)
    if bins:
        axes.plot([], [], color=PALETTE["ink"], linewidth=2.2, label="mean of a size class")
    axes.axvline(SMALL_TARGET, color=PALETTE["muted"], linestyle="--", linewidth=1)
    if limits is not None:
        axes.set_ylim(*limits)
    axes.annotate(
        "0.6 %", (SMALL_TARGET, 1), (3, -10), xycoords=("data", "axes fraction"),
        textcoords="offset points", color=PALETTE["muted"], fontsize=8,
    )  # fmt: skip
    ticks = [edge for edge in SIZE_EDGES if low <= edge <= high]
    axes.set_xticks(ticks, [f"{100 * edge:g}" for edge in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("target area, % of the slice")
    axes.set_ylabel(y_label)
    _legend(axes, 3)
    return figure


def size_bars(images: Sequence[int]) -> "Figure":
    """How many images have a target of which size, in the classes of ``SIZE_EDGES``.

    The dashed line is the paper's limit of a small target, 0.6 %.

    Args:
        images: one number per class.
    """
    from matplotlib.ticker import MaxNLocator

    figure, axes = _chart(6.4, 2.9)
    places = np.arange(len(images))
    bars = axes.bar(places + 0.5, images, width=0.9, color=PALETTE["blue"], alpha=0.75)
    labels = [f"{number:,}" if number else "" for number in images]
    axes.bar_label(bars, labels, color=PALETTE["ink"], fontsize=8.5, padding=2)
    axes.axvline(
        SIZE_EDGES.index(SMALL_TARGET), color=PALETTE["muted"], linestyle="--", linewidth=1
    )
    axes.set_xticks(range(len(SIZE_EDGES)), [f"{100 * edge:g}" for edge in SIZE_EDGES])
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("target area, % of the slice")
    axes.set_ylabel("slices")
    return figure


def histogram(
    scores: Values,
    x_label: str,
    limits: tuple[float, float] | None,
    marks: Mapping[str, float],
) -> "Figure":
    """How many images have which score.

    Args:
        scores: (N,) as shown; nan is ignored.
        x_label: name and unit of the score.
        limits: range of the 20 bars; None fits the scores.
        marks: name -> score of vertical lines (mean, median); at most five.
    """
    from matplotlib.ticker import MaxNLocator

    figure, axes = _chart(4.8, 3.4)
    known = scores[np.isfinite(scores)]
    axes.hist(known, bins=20, range=limits, color=PALETTE["blue"], alpha=0.75, rwidth=0.9)
    for (name, at), (colour, dash, _) in zip(marks.items(), _LINES, strict=False):
        axes.axvline(at, color=PALETTE[colour], linestyle=dash, linewidth=1.6, label=name)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(x_label)
    axes.set_ylabel("images")
    _legend(axes, 3)
    return figure


def overlay(
    image: Values,
    pred: Mask,
    target: Mask,
    aspect: float = 1.0,
) -> "Figure":
    """A slice, bare, and its part of interest with the outlines of prediction and reference.

    Reference: solid, light blue. Prediction: dashed, amber. Classes differ by line width, the
    first one is the thickest. The outlines have the gids ``target`` and ``pred``.

    Args:
        image: (H, W) grey or (H, W, 3) colour, in 0..1.
        pred: (K, H, W), one mask per class.
        target: (K, H, W).
        aspect: height of a pixel over its width.
    """
    figure = _figure(4.04, 2.0)
    for left in (0, 2.04 / 4.04):  # both panels are squares, whatever the shape of the slice
        figure.add_artist(_rectangle(figure, left, 2 / 4.04))
    whole = figure.add_axes((0, 0, 2 / 4.04, 1))
    close = figure.add_axes((2.04 / 4.04, 0, 2 / 4.04, 1))
    rows, columns = region_of_interest(np.any(pred | target, axis=0))
    _show(whole, image, (slice(0, image.shape[0]), slice(0, image.shape[1])))
    _show(close, image, (rows, columns))
    for axes in (whole, close):
        axes.set_aspect(aspect)
    if rows.stop - rows.start < image.shape[0] or columns.stop - columns.start < image.shape[1]:
        x, y = [columns.start - 0.5, columns.stop - 0.5], [rows.start - 0.5, rows.stop - 0.5]
        corners = ([x[0], x[1], x[1], x[0], x[0]], [y[0], y[0], y[1], y[1], y[0]])
        whole.plot(*corners, color="white", linewidth=0.8)
    for number, mask in enumerate(target):
        _outline(close, mask, REFERENCE, "solid", _widths(number), f"target-{number}")
    for number, mask in enumerate(pred):
        _outline(close, mask, PREDICTION, _LOOSE, _widths(number), f"pred-{number}")
    return figure


def attention_panel(
    image: Values,
    mask: Mask,
    maps: Mapping[str, Values],
) -> "Figure":
    """An input slice with the outline of its target, and the attention maps beside it.

    Args:
        image: (H, W) grey.
        mask: (H, W) target.
        maps: title -> (h, w); each is scaled to its own range.
    """
    panels = 1 + len(maps)
    figure = _figure(1.5 * panels, 1.5 * image.shape[0] / image.shape[1] + 0.22)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    figure.subplots_adjust(left=0, right=1, bottom=0, top=1 - 0.22 / figure.get_figheight())
    figure.subplots_adjust(wspace=0.03)
    every = (slice(0, image.shape[0]), slice(0, image.shape[1]))
    low, high = float(image.min()), float(image.max())
    _show(axes[0], (image - low) / max(high - low, 1e-12), every)
    axes[0].set_title("input", fontsize=8, color=PALETTE["ink"], pad=4)
    for here, (title, values) in zip(axes[1:], maps.items(), strict=True):
        smooth = _scaled(values, _MOST_PIXELS / max(values.shape))
        _picture(here, smooth, every, cmap="magma")
        here.set_title(title, fontsize=8, color=PALETTE["ink"], pad=4)
    for number, here in enumerate(axes):
        _outline(here, mask, REFERENCE, "solid", 1.1, f"target-{number}")
    return figure


def region_of_interest(mask: Mask) -> tuple[slice, slice]:
    """Square around a mask, half as large again and never tiny; all of it if it is empty.

    Args:
        mask: (H, W).

    >>> mask = np.zeros((100, 100), dtype=bool); mask[40:60, 45:55] = True
    >>> region_of_interest(mask)
    (slice(30, 70, None), slice(30, 70, None))
    """
    if not mask.any():
        return slice(0, mask.shape[0]), slice(0, mask.shape[1])
    ends = [np.flatnonzero(mask.any(axis=1 - axis))[[0, -1]] + (0, 1) for axis in (0, 1)]
    extent = max(int(high - low) for low, high in ends)
    side = max(round(1.5 * extent), round(0.4 * min(mask.shape)), 24)
    parts = []
    for (low, high), length in zip(ends, mask.shape, strict=True):
        start = min(max(0, (int(low) + int(high) - side) // 2), max(0, length - side))
        parts.append(slice(start, min(start + side, length)))
    return parts[0], parts[1]


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def _chart(width: float, height: float) -> "tuple[Figure, Axes]":
    """One pair of axes in the house style; sizes in inches."""
    figure = _figure(width, height)
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


def _legend(axes: "Axes", columns: int) -> None:
    """Name what was drawn, above the axes; nothing if nothing was."""
    if not axes.get_legend_handles_labels()[0]:
        return
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, frameon=False, fontsize=8,
        labelcolor=PALETTE["ink"], borderaxespad=0.2, handlelength=2.2, columnspacing=1.2,
    )  # fmt: skip


def _size_range(fractions: Values) -> tuple[float, float]:
    """Ends of the size axis: whole half decades, the limit of a small target always among them."""
    least, most = (SMALL_TARGET, SMALL_TARGET)
    if len(fractions):
        least, most = min(least, float(fractions.min())), max(most, float(fractions.max()))
    low = max((edge for edge in SIZE_EDGES[1:] if edge < least), default=least / 2)
    return low, min((edge for edge in SIZE_EDGES if edge > most), default=1.0)


def _show(axes: "Axes", image: Values, part: tuple[slice, slice]) -> None:
    """Show a part of an image in the pixel coordinates of the whole."""
    _picture(axes, _shrunk(image[part]), part, cmap="gray")


def _picture(axes: "Axes", pixels: Values, part: tuple[slice, slice], cmap: str) -> None:
    rows, columns = part
    extent = (columns.start - 0.5, columns.stop - 0.5, rows.stop - 0.5, rows.start - 0.5)
    scale = (0, 1) if cmap == "gray" else (float(pixels.min()), float(pixels.max()))
    axes.imshow(
        pixels, cmap=cmap, vmin=scale[0], vmax=scale[1], extent=extent, interpolation="none"
    )
    axes.set_axis_off()


def _outline(axes: "Axes", mask: Mask, colour: str, dash: Any, width: float, gid: str) -> None:
    """Draw the border of a mask (H, W) with a dark rim; nothing if it is empty."""
    if not mask.any():
        return
    from matplotlib.patheffects import withStroke

    padded = np.pad(mask, 1).astype(np.float32)  # closed lines, also at the edge of the slice
    y, x = (np.arange(length) - 1 for length in padded.shape)
    limits = axes.get_xlim(), axes.get_ylim()
    lines = axes.contour(x, y, padded, [0.5], colors=[colour], linewidths=width, linestyles=[dash])
    lines.set_paths([_without_straight_points(path) for path in lines.get_paths()])
    lines.set_path_effects([withStroke(linewidth=width + 1.2, foreground="#000000", alpha=0.55)])
    lines.set_gid(gid)
    axes.set(xlim=limits[0], ylim=limits[1])


def _widths(number: int) -> float:
    """Line width of a class, in points."""
    return max(0.8, 1.7 - 0.5 * number)


def _without_straight_points(path: "Path") -> "Path":
    """The same outline with fewer points: none in the middle of a straight line."""
    from matplotlib.path import Path

    points, codes = np.asarray(path.vertices), np.asarray(path.codes)
    if len(points) < 3:
        return path
    steps = np.diff(points, axis=0)
    turns = steps[:-1, 0] * steps[1:, 1] - steps[:-1, 1] * steps[1:, 0]
    keep = np.ones(len(points), dtype=bool)
    keep[1:-1] = (np.abs(turns) > 1e-9) | (codes[1:-1] != Path.LINETO) | (codes[2:] == Path.MOVETO)
    return Path(points[keep], codes[keep])


def _rectangle(figure: "Figure", left: float, width: float) -> "Artist":
    from matplotlib.patches import Rectangle

    return Rectangle((left, 0), width, 1, transform=figure.transFigure, color=_BEHIND, zorder=-1)


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


def _shrunk(pixels: Values) -> Values:
    """The picture (H, W) or (H, W, 3) itself, or a smaller one where it has too many pixels."""
    factor = min(1.0, _MOST_PIXELS / max(pixels.shape[:2]))
    return pixels if factor == 1 else _scaled(pixels, factor)


def _scaled(pixels: Values, factor: float) -> Values:
    """Change the number of pixels, smoothly; (H, W) or (H, W, 3)."""
    if pixels.ndim == 3:
        return np.stack([_scaled(channel, factor) for channel in np.moveaxis(pixels, 2, 0)], 2)
    size = [max(1, round(length * factor)) for length in pixels.shape]
    picture = Image.fromarray(np.ascontiguousarray(pixels, dtype=np.float32))
    resized = np.asarray(picture.resize((size[1], size[0]), Image.Resampling.BICUBIC))
    return resized.clip(pixels.min(), pixels.max())  # bicubic curves swing beyond the values
