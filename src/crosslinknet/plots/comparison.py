"""Methods against each other: values by subject, paired differences, ranks and their stability.

Order: values, differences, ranks, places.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from crosslinknet.plots.style import PALETTE, Values, chart, empty_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SHADES = ("#0b4a6f", "#2b7bac", "#7fb3d3", "#c3dcea", "#e6eef3")  # first place to later ones


def method_values(
    names: Sequence[str],
    values: Sequence[Values],
    means: Sequence[float],
    intervals: Sequence[tuple[float, float] | None],
    x_label: str,
) -> "Figure":
    """A row per method: a dot per subject, the mean as a diamond with its interval.

    Args:
        names: of the methods, from top to bottom.
        values: per method (S,), as shown.
        means: as shown.
        intervals: low and high, as shown; None where there is none.
        x_label: name and unit.
    """
    figure, axes = _rows(names)
    rng = np.random.default_rng(0)  # so that equal values stay apart, and figures stay equal
    for row, (own, mean, ends) in enumerate(zip(values, means, intervals, strict=True)):
        known = own[np.isfinite(own)]
        shift = rng.uniform(-0.16, 0.16, len(known))
        axes.scatter(known, row + shift, 13, PALETTE["blue"], linewidths=0, alpha=0.45)
        if ends is not None:
            axes.plot(ends, (row, row), color=PALETTE["ink"], linewidth=2.2)
        axes.plot([mean], [row], marker="D", markersize=6, color=PALETTE["ink"])
    axes.set_xlabel(f"{x_label}; dots: subjects, diamond: mean, line: 95 % interval")
    return figure


def differences(
    names: Sequence[str],
    means: Sequence[float],
    intervals: Sequence[tuple[float, float] | None],
    differ: Sequence[bool],
    x_label: str,
) -> "Figure":
    """A row per pair of methods: the mean difference with its interval, and a line at none.

    Args:
        names: of the pairs, from top to bottom.
        means: as shown.
        intervals: low and high, as shown; None where there is none.
        differ: whether the corrected test finds a difference: filled and orange, else hollow.
        x_label: what is subtracted, and its unit.
    """
    figure, axes = _rows(names)
    axes.axvline(0, color=PALETTE["muted"], linestyle="--", linewidth=1)
    for row, (mean, ends, found) in enumerate(zip(means, intervals, differ, strict=True)):
        colour = PALETTE["orange"] if found else PALETTE["blue"]
        if ends is not None:
            axes.plot(ends, (row, row), color=colour, linewidth=2)
        face = colour if found else "white"
        axes.plot([mean], [row], marker="o", markersize=7, markerfacecolor=face, color=colour)
    axes.set_xlabel(f"{x_label}; filled: Holm-corrected p below 0.05")
    return figure


def rank_axis(
    names: Sequence[str], mean_ranks: Sequence[float], groups: Sequence[Sequence[str]]
) -> "Figure":
    """Methods on an axis of mean ranks; bars join those of which no two differ.

    Args:
        names: of the methods.
        mean_ranks: 1 is best.
        groups: names that a bar joins.

    Source: the look of Demsar, JMLR 7 (2006), with pairwise tests in place of its critical
    difference, as Benavoli et al., JMLR 17 (2016), advise.
    """
    ink = PALETTE["ink"]
    count, order = len(names), [int(i) for i in np.argsort(mean_ranks, kind="stable")]
    bars = 0.28 * len(groups)
    half = (count + 1) // 2
    words = 0.085 * (max(map(len, names)) + 9)  # inches, at this size of letters
    width = max(6.4, 2 * words + 3.2)
    figure = empty_figure(width, 0.9 + bars + 0.3 * half)
    axes = figure.add_axes((0, 0.02, 1, 0.96))
    axes.set_axis_off()
    low, high = 1, max(count, 2)
    pad = (high - low) * (words / (width - 2 * words) + 0.07)
    bottom = -bars - 0.35 * half - 0.15
    axes.set(xlim=(low - pad, high + pad), ylim=(bottom, 0.75))
    axes.plot((low, high), (0, 0), color=ink, linewidth=1)
    for rank in range(low, high + 1):
        axes.plot((rank, rank), (0, 0.1), color=ink, linewidth=1)
        axes.text(rank, 0.16, str(rank), ha="center", va="bottom", fontsize=8.5, color=ink)
    axes.text(
        (low + high) / 2,
        0.52,
        "mean rank over subjects, 1 is best",
        ha="center",
        fontsize=9,
        color=ink,
    )
    for place, i in enumerate(order):
        left = place < half
        depth = -bars - 0.15 - 0.35 * (place if left else count - 1 - place) - 0.2
        end = low - 0.06 * (high - low) if left else high + 0.06 * (high - low)
        at = mean_ranks[i]
        axes.plot((at, at, end), (0, depth, depth), color=PALETTE["muted"], linewidth=0.9)
        axes.plot([at], [0], marker="o", markersize=4, color=ink)
        text = f"{names[i]}  {at:.2f}" if left else f"{at:.2f}  {names[i]}"
        axes.text(
            end, depth, f" {text} ", ha="right" if left else "left", va="center", fontsize=9,
            color=ink,
        )  # fmt: skip
    rank_of = dict(zip(names, mean_ranks, strict=True))
    for number, group in enumerate(groups):
        ends = [rank_of[name] for name in group]
        depth = -0.17 - 0.28 * number
        axes.plot(
            (min(ends) - 0.03, max(ends) + 0.03), (depth, depth), color=ink,
            linewidth=3.5, solid_capstyle="round",
        )  # fmt: skip
    return figure


def places(names: Sequence[str], shares: Sequence[Sequence[float]]) -> "Figure":
    """In which share of resamples each method takes each place.

    Args:
        names: of the methods, from top to bottom.
        shares: per method (K,), share of place 1, 2, ...
    """
    figure, axes = _rows(names)
    for row, own in enumerate(shares):
        left = 0.0
        for place, share in enumerate(own):
            shade = _SHADES[min(place, len(_SHADES) - 1)]
            axes.barh(row, share, left=left, color=shade, height=0.62, edgecolor="white")
            if share > 0.07:
                ink = "white" if place < 2 else PALETTE["ink"]
                axes.text(
                    left + share / 2, row, str(place + 1), ha="center", va="center", color=ink,
                    fontsize=8.5,
                )  # fmt: skip
            left += share
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of resamples of the subjects; the number is the place")
    return figure


def _rows(names: Sequence[str]) -> "tuple[Figure, Axes]":
    """Axes with a name per row, the first on top."""
    figure, axes = chart(6.4, 0.75 + 0.36 * max(len(names), 2))
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x", color=PALETTE["rule"], linewidth=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", labelcolor=PALETTE["ink"], labelsize=9, length=0)
    axes.set_ylim(len(names) - 0.5, -0.5)
    return figure, axes
