"""Slices with outlines, and attention maps.

Order: overlay, attention, labels of a network, the part of interest, then how pictures and
outlines are drawn.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from crosslinknet.plots.style import (
    PALETTE,
    PREDICTION,
    REFERENCE,
    Mask,
    Values,
    empty_figure,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.path import Path

_BEHIND = "#0d1216"  # beside pictures that are no squares
_LOOSE = (0, (2.6, 2.0))  # dashes that show a solid line beneath
_MOST_PIXELS = 256  # side of an embedded picture


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
    figure = empty_figure(4.04, 2.0)
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
    figure = empty_figure(1.5 * panels, 1.5 * image.shape[0] / image.shape[1] + 0.22)
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


class Labelled(NamedTuple):
    """A slice that a network labelled.

    Attributes:
        name: of the image.
        image: (H, W) grey, in 0..1.
        probs: (K, H, W), what the network is how sure of.
        masks: (K, H, W), what it would decide.
    """

    name: str
    image: Values
    probs: Values
    masks: Mask


def pseudo_labels(slices: Sequence[Labelled], classes: Sequence[str]) -> "Figure":
    """A row per slice: the image, and for each class its probability and its outline."""
    height, width = slices[0].image.shape
    panel = 1.5 * height / width
    figure = empty_figure(1.5 * (1 + len(classes)), (panel + 0.2) * len(slices) + 0.2)
    rows = figure.subplots(len(slices), 1 + len(classes), squeeze=False)
    top = 1 - 0.4 / figure.get_figheight()
    figure.subplots_adjust(left=0, right=1, bottom=0, top=top, wspace=0.03, hspace=0.2 / panel)
    for row, one in zip(rows, slices, strict=True):
        every = (slice(0, one.image.shape[0]), slice(0, one.image.shape[1]))
        _show(row[0], one.image, every)
        row[0].set_title(one.name, fontsize=6, color=PALETTE["muted"], pad=2)
        for number, axes in enumerate(row[1:]):
            _picture(axes, _shrunk(one.probs[number]), every, cmap="magma", limits=(0, 1))
            _outline(axes, one.masks[number], REFERENCE, "solid", 1.0, f"pred-{number}")
    for axes, name in zip(rows[0][1:], classes, strict=True):
        axes.set_title(f"{name}, dark 0, bright 1", fontsize=7, color=PALETTE["ink"], pad=2)
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


def _show(axes: "Axes", image: Values, part: tuple[slice, slice]) -> None:
    """Show a part of an image in the pixel coordinates of the whole."""
    _picture(axes, _shrunk(image[part]), part, cmap="gray")


def _picture(
    axes: "Axes",
    pixels: Values,
    part: tuple[slice, slice],
    cmap: str,
    limits: tuple[float, float] | None = None,
) -> None:
    """Show pixels in the coordinates of the whole; ``limits`` of the colours, null: their own."""
    rows, columns = part
    extent = (columns.start - 0.5, columns.stop - 0.5, rows.stop - 0.5, rows.start - 0.5)
    own = (0, 1) if cmap == "gray" else (float(pixels.min()), float(pixels.max()))
    scale = limits or own
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
