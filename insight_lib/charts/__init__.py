"""The few chart forms that stages share; each returns a `Chart` with its words and numbers."""

from insight_lib.charts.grids import plot_heatmap, plot_panels
from insight_lib.charts.lines import plot_fan, plot_histogram, plot_line, plot_tracking
from insight_lib.charts.rows import (
    plot_bars,
    plot_deviations,
    plot_dots,
    plot_waterfall,
)
from insight_lib.charts.theme import Caption, Chart, Mark, source_line

__all__ = [
    "Caption",
    "Chart",
    "Mark",
    "plot_bars",
    "plot_deviations",
    "plot_dots",
    "plot_fan",
    "plot_heatmap",
    "plot_histogram",
    "plot_line",
    "plot_panels",
    "plot_tracking",
    "plot_waterfall",
    "source_line",
]
