"""Figures from plain arrays, as matplotlib figures; ``svg`` and ``save`` turn them into files.

Order: style.py, charts.py, slices.py, comparison.py.
"""

from crosslinknet.plots.charts import (
    SIZE_EDGES,
    SMALL_TARGET,
    SizeBin,
    curves,
    histogram,
    reliability,
    size_bars,
    size_bins,
    size_scatter,
)
from crosslinknet.plots.comparison import differences, method_values, places, rank_axis
from crosslinknet.plots.slices import (
    Labelled,
    attention_panel,
    overlay,
    pseudo_labels,
    region_of_interest,
)
from crosslinknet.plots.style import PALETTE, PREDICTION, REFERENCE, save, svg

__all__ = [
    "PALETTE",
    "PREDICTION",
    "REFERENCE",
    "SIZE_EDGES",
    "SMALL_TARGET",
    "Labelled",
    "SizeBin",
    "attention_panel",
    "curves",
    "differences",
    "histogram",
    "method_values",
    "overlay",
    "places",
    "pseudo_labels",
    "rank_axis",
    "region_of_interest",
    "reliability",
    "save",
    "size_bars",
    "size_bins",
    "size_scatter",
    "svg",
]
