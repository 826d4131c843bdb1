"""Charts in a grid: heat map of two dimensions, and small multiples."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from insight_lib.charts.theme import (
    ACCENT,
    INK,
    LINE,
    MARK,
    NARROW,
    PAPER,
    SMALL_SIZE,
    SOFT,
    TEXT_SIZE,
    Caption,
    Chart,
    add_axes,
    column_title,
    fit_text,
    new_figure,
    render_chart,
    text_width,
    tick_labels,
)
from insight_lib.findings import Table, format_number

_CELL_HEIGHT = 24
_DARK_CELL = 0.78  # share of full colour from which text turns to paper


def plot_heatmap(
    frame: pd.DataFrame, *, caption: Caption, unit: str, decimals: int | None = None
) -> Chart:
    """A wide frame as shaded cells, e.g. cohort by month; missing cells stay empty.

    Args:
        frame: Values in `unit`; the index names the rows, the columns the columns.
        caption: The words around it.
        unit: Unit of the values.
        decimals: Decimals in the cells; the unit's own if left out.
    """
    values = frame.to_numpy(dtype=float, na_value=np.nan)
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    spread = (high - low) or 1.0
    texts = [
        ["" if math.isnan(v) else format_number(v, unit, decimals) for v in row] for row in values
    ]
    names = [_name(name) for name in frame.index]
    heads = [_name(name) for name in frame.columns]

    def draw(width: int) -> Figure:
        room = min(
            max((text_width(name) for name in names), default=0.0) + 10,
            100.0 if width <= NARROW else 190.0,
        )
        cell = (width - room) / max(len(heads), 1)
        longest = max((text_width(t, SMALL_SIZE) for row in texts for t in row), default=0.0)
        head_width = max((text_width(head, SMALL_SIZE) for head in heads), default=0.0)
        every = max(math.ceil((min(head_width, 70) + 6) / cell), 1)
        figure = new_figure(width, _CELL_HEIGHT * len(names) + 36)
        axes = add_axes(figure, left=room, right=0, top=36, bottom=0)
        axes.set_axis_off()
        axes.set_xlim(0, len(heads))
        axes.set_ylim(len(names), 0)
        for j, head in enumerate(heads):
            if j % every == 0:
                axes.text(
                    j + 0.5 if every == 1 else j + 0.1,
                    -0.3,
                    fit_text(head, cell * every, size=SMALL_SIZE),
                    ha="center" if every == 1 else "left",
                    va="bottom",
                    color=SOFT,
                    linespacing=1.1,
                )
        for i, name in enumerate(names):
            axes.annotate(
                fit_text(name, room - 8, lines=1),
                (0, i + 0.5),
                xycoords=("figure fraction", "data"),
                va="center",
                fontsize=TEXT_SIZE,
            )
            for j, value in enumerate(values[i]):
                if math.isnan(value):
                    continue
                shade = 0.08 + 0.92 * (value - low) / spread
                size = (1 - 2 / cell, 1 - 2 / _CELL_HEIGHT)
                axes.add_patch(
                    Rectangle(
                        (j, i),
                        *size,
                        facecolor=ACCENT,
                        alpha=round(shade, 2),
                        linewidth=0,
                    )
                )
                if longest + 7 <= cell:
                    colour = PAPER if shade > _DARK_CELL else INK
                    axes.text(
                        j + 0.5,
                        i + 0.48,
                        texts[i][j],
                        ha="center",
                        va="center",
                        color=colour,
                    )
        return figure

    corner = column_title(str(frame.index.name or ""))
    table = Table(
        title=str(caption.title),
        columns=(corner, *heads),
        rows=tuple((name, *row) for name, row in zip(names, texts, strict=True)),
    )
    return render_chart(draw, caption=caption, table=table)


def plot_panels(
    frame: pd.DataFrame,
    *,
    caption: Caption,
    panel: str,
    x: str,
    y: str,
    unit: str,
    highlight: str | None = None,
) -> Chart:
    """Small multiples: one line per panel on shared axes from zero, all others in grey behind.

    Args:
        frame: One row per panel and point.
        caption: The words around it.
        panel: Column that names the panel.
        x: Column of dates or numbers.
        y: Column of values in `unit`.
        unit: Unit of the values.
        highlight: The panel whose name is bold.
    """
    data = frame.sort_values([panel, x], kind="stable")
    groups = [(str(name), group) for name, group in data.groupby(panel, sort=True)]
    values = data[y].to_numpy(dtype=float, na_value=np.nan)
    high, low = float(np.nanmax(values)), min(float(np.nanmin(values)), 0.0)
    ticks = [low, high] if low < high else [low, low + 1.0]

    def draw(width: int) -> Figure:
        per_row = 2 if width <= NARROW else 4 if len(groups) % 4 == 0 or len(groups) > 6 else 3
        n_rows = math.ceil(len(groups) / per_row)
        gap, panel_height = 18.0, 118.0
        panel_width = (width - gap * (per_row - 1)) / per_row
        figure = new_figure(width, panel_height * n_rows)
        for k, (name, group) in enumerate(groups):
            row, column = divmod(k, per_row)
            left = column * (panel_width + gap)
            axes = add_axes(
                figure,
                left=left,
                right=width - left - panel_width,
                top=row * panel_height + 24,
                bottom=(n_rows - 1 - row) * panel_height + 22,
            )
            axes.set_ylim(ticks[0], ticks[1])
            for other, points in groups:
                if other != name:
                    axes.plot(points[x], points[y], color=LINE, linewidth=1.2, zorder=1)
            axes.plot(group[x], group[y], color=ACCENT if _lit(name, highlight) else MARK)
            axes.axhline(0, color=SOFT, linewidth=1, zorder=0)
            axes.set_xlim(data[x].min(), data[x].max())
            axes.set_xticks([])
            axes.set_yticks([])
            axes.annotate(
                fit_text(name, panel_width, lines=1),
                (0, 1),
                xycoords="axes fraction",
                xytext=(0, 9),
                textcoords="offset points",
                fontsize=TEXT_SIZE,
                fontweight="bold" if name == highlight else "normal",
            )
            if column == 0:
                axes.annotate(
                    tick_labels(ticks, unit)[1], (0, 1), xycoords="axes fraction", color=SOFT,
                    xytext=(0, -5), textcoords="offset points", va="center",
                )  # fmt: skip
            for place, moment, align in (
                (0, data[x].min(), "left"),
                (1, data[x].max(), "right"),
            ):
                axes.annotate(
                    _name(moment), (place, 0), xycoords="axes fraction", color=SOFT, ha=align,
                    xytext=(0, -14), textcoords="offset points",
                )  # fmt: skip
        return figure

    table = Table(
        title=str(caption.title),
        columns=tuple(column_title(column) for column in (panel, x, y)),
        rows=tuple(
            (str(record[panel]), _name(record[x]), format_number(record[y], unit))
            for record in data.to_dict("records")
        ),
    )
    return render_chart(draw, caption=caption, table=table)


def _lit(name: str, highlight: str | None) -> bool:
    return highlight is None or name == highlight


def _name(value: object) -> str:
    if isinstance(value, pd.Timestamp):
        return f"{value:%b %Y}"
    return str(value)
