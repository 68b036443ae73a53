"""Charts: curves, score against target size, histograms, reliability of probabilities.

Order: curves, target size, histogram, reliability.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from crosslinknet.plots.style import LINES, PALETTE, Mask, Values, chart, legend

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Half decades around the paper's limit of a small target (Section IV-D, Fig. 9).
SMALL_TARGET = 0.006
SIZE_EDGES: tuple[float, ...] = (0.0, 2e-4, 6e-4, 2e-3, 6e-3, 2e-2, 6e-2, 0.2, 0.6, 1.0)
_MOST_DOTS = 1500  # beyond this many, dots become one picture, not one shape each


class SizeBin(NamedTuple):
    """Images whose target covers ``low`` to ``high`` of the slice, and their mean score."""

    low: float
    high: float
    images: int
    mean: float


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

    figure, axes = chart(3.7, 2.4)
    for (name, values), (colour, dash, width) in zip(lines.items(), LINES, strict=False):
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
        legend(axes, 3)
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
    figure, axes = chart(4.8, 3.4)
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
    legend(axes, 3)
    return figure


def size_bars(images: Sequence[int]) -> "Figure":
    """How many images have a target of which size, in the classes of ``SIZE_EDGES``.

    The dashed line is the paper's limit of a small target, 0.6 %.

    Args:
        images: one number per class.
    """
    from matplotlib.ticker import MaxNLocator

    figure, axes = chart(6.4, 2.9)
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

    figure, axes = chart(4.8, 3.4)
    known = scores[np.isfinite(scores)]
    axes.hist(known, bins=20, range=limits, color=PALETTE["blue"], alpha=0.75, rwidth=0.9)
    for (name, at), (colour, dash, _) in zip(marks.items(), LINES, strict=False):
        axes.axvline(at, color=PALETTE[colour], linestyle=dash, linewidth=1.6, label=name)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(x_label)
    axes.set_ylabel("images")
    legend(axes, 3)
    return figure


def reliability(bins: Sequence[Mapping[str, float]]) -> "Figure":
    """How often pixels of a predicted probability are target, and how many there are.

    Args:
        bins: entries with confidence (mean probability), frequency (share of target) in 0..1 and
            pixels.
    """
    figure, axes = chart(4.8, 3.8)
    x = np.array([one["confidence"] for one in bins])
    y = np.array([one["frequency"] for one in bins])
    pixels = np.array([one["pixels"] for one in bins], dtype=float)
    axes.plot([0, 1], [0, 1], color=PALETTE["muted"], linestyle="--", linewidth=1, label="ideal")
    axes.plot(x, y, color=PALETTE["blue"], linewidth=1.6, label="observed")
    size = 12 + 60 * np.log1p(pixels) / max(np.log1p(pixels).max(), 1e-9)
    axes.scatter(x, y, size, PALETTE["blue"], linewidths=0, alpha=0.7)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.set_aspect("equal")
    axes.set_xlabel("predicted probability")
    axes.set_ylabel("share of target pixels")
    legend(axes, 2)
    return figure


def _size_range(fractions: Values) -> tuple[float, float]:
    """Ends of the size axis: whole half decades, the limit of a small target always among them."""
    least, most = (SMALL_TARGET, SMALL_TARGET)
    if len(fractions):
        least, most = min(least, float(fractions.min())), max(most, float(fractions.max()))
    low = max((edge for edge in SIZE_EDGES[1:] if edge < least), default=least / 2)
    return low, min((edge for edge in SIZE_EDGES if edge > most), default=1.0)
