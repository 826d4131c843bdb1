"""Charts whose rows are named things: bars, deviations, dots and a waterfall."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from insight_lib.charts.theme import (
    ACCENT,
    BAD,
    GOOD,
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
    Mark,
    add_axes,
    column_title,
    fit_text,
    new_figure,
    render_chart,
    text_width,
)
from insight_lib.findings import Table, format_number

_BAR_HEIGHT = 20


@dataclass(frozen=True, kw_only=True)
class _Row:
    label: str
    start: float
    end: float
    text: str
    colour: str
    lower: float | None = None
    upper: float | None = None
    is_bold: bool = False

    @property
    def low(self) -> float:
        return min(v for v in (self.start, self.end, self.lower) if v is not None)

    @property
    def high(self) -> float:
        return max(v for v in (self.start, self.end, self.upper) if v is not None)


def plot_bars(
    frame: pd.DataFrame,
    *,
    caption: Caption,
    label: str,
    value: str,
    unit: str,
    lower: str | None = None,
    upper: str | None = None,
    n: str | None = None,
    highlight: Collection[str] = (),
    is_sorted: bool = True,
    reference: Mark | None = None,
) -> Chart:
    """Horizontal bars from zero, largest first, with the likely range at their end.

    Args:
        frame: One row per bar.
        caption: The words around it.
        label: Column of names.
        value: Column of lengths, in `unit` (see `findings.Measured`).
        unit: Unit of the values.
        lower: Column of lower bounds.
        upper: Column of upper bounds.
        n: Column of counts, for the table.
        highlight: Names drawn in the accent colour; all bars if none is named.
        is_sorted: Whether to sort; leave off for names with an order of their own.
        reference: A level to compare with.
    """
    if is_sorted:
        frame = _by_size(frame, value, label)
    rows = [
        _row(record, label, value, unit, lower, upper, ACCENT)
        if not highlight or record[label] in highlight
        else _row(record, label, value, unit, lower, upper, MARK)
        for record in frame.to_dict("records")
    ]
    rows = [_bold(row) if row.label in highlight else row for row in rows]
    table = _table(frame, caption, label, value, unit, lower, upper, n)
    return render_chart(
        lambda width: _draw(rows, width, reference=reference),
        caption=caption,
        table=table,
    )


def plot_deviations(
    frame: pd.DataFrame,
    *,
    caption: Caption,
    label: str,
    value: str,
    unit: str,
    target: str,
    good: Literal["up", "down"] = "up",
    lower: str | None = None,
    upper: str | None = None,
    n: str | None = None,
) -> Chart:
    """Bars to the left and right of a target; grey where the range still includes it.

    Args:
        frame: One row per bar; `value` is actual minus target.
        caption: The words around it.
        label: Column of names.
        value: Column of differences, in `unit`.
        unit: Unit of the differences.
        target: Words at the zero line, e.g. `target`.
        good: Side that is good news.
        lower: Column of lower bounds of the difference.
        upper: Column of upper bounds of the difference.
        n: Column of counts, for the table.
    """
    frame = _by_size(frame, value, label)
    rows = []
    for record in frame.to_dict("records"):
        is_good = (record[value] > 0) == (good == "up")
        is_open = bool(lower and upper) and record[lower] <= 0 <= record[upper]
        colour = MARK if is_open or record[value] == 0 else GOOD if is_good else BAD
        rows.append(_row(record, label, value, unit, lower, upper, colour, is_signed=True))
    reference = Mark(at=0.0, text=target)
    table = _table(frame, caption, label, value, unit, lower, upper, n)
    return render_chart(
        lambda width: _draw(rows, width, reference=reference),
        caption=caption,
        table=table,
    )


def plot_dots(
    frame: pd.DataFrame,
    *,
    caption: Caption,
    label: str,
    value: str,
    lower: str,
    upper: str,
    unit: str,
    n: str | None = None,
    highlight: Collection[str] = (),
    is_sorted: bool = True,
    reference: Mark | None = None,
) -> Chart:
    """Points with their likely ranges, for values whose zero is not of interest.

    Arguments as in `plot_bars`.
    """
    if is_sorted:
        frame = _by_size(frame, value, label)
    rows = []
    for record in frame.to_dict("records"):
        is_lit = record[label] in highlight
        colour = ACCENT if is_lit or not highlight else MARK
        row = _row(record, label, value, unit, lower, upper, colour, start=record[value])
        rows.append(_bold(row) if is_lit else row)
    table = _table(frame, caption, label, value, unit, lower, upper, n)
    return render_chart(
        lambda width: _draw(rows, width, reference=reference, is_dots=True),
        caption=caption,
        table=table,
    )


def plot_waterfall(
    changes: Sequence[tuple[str, float]],
    *,
    caption: Caption,
    start: tuple[str, float],
    end: str,
    unit: str,
    good: Literal["up", "down"] = "up",
) -> Chart:
    """From one total to another through the changes between them, top to bottom.

    Args:
        changes: Name and signed amount of each step, in order.
        caption: The words around it.
        start: Name and amount of the first total.
        end: Name of the last total, which is the start plus all changes.
        unit: Unit of all amounts.
        good: Direction that is good news.
    """
    level = start[1]
    rows = [_total(start[0], level, unit)]
    for name, change in changes:
        colour = MARK if change == 0 else GOOD if (change > 0) == (good == "up") else BAD
        text = ("+" if change > 0 else "") + format_number(change, unit)
        rows.append(_Row(label=name, start=level, end=level + change, text=text, colour=colour))
        level += change
    rows.append(_total(end, level, unit))
    table = Table(
        title=str(caption.title),
        columns=("Step", "Amount"),
        rows=tuple((row.label, row.text) for row in rows),
    )
    return render_chart(
        lambda width: _draw(rows, width, is_joined=True), caption=caption, table=table
    )


def _total(label: str, level: float, unit: str) -> _Row:
    text = format_number(level, unit)
    return _Row(label=label, start=0.0, end=level, text=text, colour=MARK, is_bold=True)


def _by_size(frame: pd.DataFrame, value: str, label: str) -> pd.DataFrame:
    return frame.sort_values([value, label], ascending=[False, True], kind="stable")


def _bold(row: _Row) -> _Row:
    return _Row(**(row.__dict__ | {"is_bold": True}))


def _row(
    record: Mapping[Any, Any],
    label: str,
    value: str,
    unit: str,
    lower: str | None,
    upper: str | None,
    colour: str,
    *,
    start: float = 0.0,
    is_signed: bool = False,
) -> _Row:
    end = float(record[value])
    return _Row(
        label=str(record[label]),
        start=start,
        end=end,
        text=("+" if is_signed and end > 0 else "") + format_number(end, unit),
        colour=colour,
        lower=float(record[lower]) if lower else None,
        upper=float(record[upper]) if upper else None,
    )


def _table(
    frame: pd.DataFrame,
    caption: Caption,
    label: str,
    value: str,
    unit: str,
    lower: str | None,
    upper: str | None,
    n: str | None,
) -> Table:
    columns = [column_title(label), column_title(value)]
    if lower and upper:
        columns.append("Likely range")
    if n:
        columns.append(column_title(n))
    rows = []
    for record in frame.to_dict("records"):
        cells = [str(record[label]), format_number(record[value], unit)]
        if lower and upper:
            bounds = (format_number(record[bound], unit) for bound in (lower, upper))
            cells.append(" to ".join(bounds))
        if n:
            cells.append(f"{record[n]:,}")
        rows.append(tuple(cells))
    return Table(title=str(caption.title), columns=tuple(columns), rows=tuple(rows))


def _draw(
    rows: Sequence[_Row],
    width: int,
    *,
    reference: Mark | None = None,
    is_dots: bool = False,
    is_joined: bool = False,
) -> Figure:
    is_narrow = width <= NARROW
    longest = max((text_width(row.label) for row in rows), default=0.0)
    label_width = width if is_narrow else min(longest, 200.0)
    names = [fit_text(row.label, label_width, lines=1 if is_narrow else 2) for row in rows]
    pitch = _BAR_HEIGHT + (30 if is_narrow else 18 if len(rows) <= 12 else 12)
    value_width = max((text_width(row.text, is_bold=True) for row in rows), default=0.0) + 12
    low = min((row.low for row in rows), default=0.0)
    high = max((row.high for row in rows), default=1.0)
    if reference is not None:
        low, high = min(low, float(reference.at)), max(high, float(reference.at))
    if not is_dots:
        low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    left = 6.0 if is_narrow else label_width + 14
    # A value stands to the left of a bar that points left; long bars need room for it.
    left += value_width if any(_points_far_left(row, low, high) for row in rows) else 0
    top = 24.0 if reference is not None else 4.0
    figure = new_figure(width, pitch * len(rows) + top + 4)
    axes = add_axes(figure, left=left, right=value_width, top=top, bottom=4)
    axes.set_axis_off()
    axes.set_xlim(low, high)
    axes.set_ylim(pitch * len(rows), 0)
    # Names and values stand on paper where the reference line would cross them.
    box = {"facecolor": PAPER, "linewidth": 0, "pad": 1.5} if reference is not None else None
    for i, row in enumerate(rows):
        middle = pitch * i + pitch / 2 + (9 if is_narrow else 0)
        weight = "bold" if row.is_bold else "normal"
        axes.annotate(
            names[i],
            (0, middle - (21 if is_narrow else 0)),
            xycoords=("figure fraction", "data"),
            va="center",
            fontsize=TEXT_SIZE,
            fontweight=weight,
            linespacing=1.15,
            bbox=box,
        )
        if is_dots:
            axes.plot([low, high], [middle, middle], color=LINE, linewidth=1)
            axes.plot([row.low, row.high], [middle, middle], color=row.colour, linewidth=3)
            axes.plot([row.end], [middle], "o", color=row.colour, markersize=9, clip_on=False)
        else:
            axes.barh(
                middle,
                row.end - row.start,
                left=row.start,
                height=_BAR_HEIGHT,
                color=row.colour,
            )
            if row.lower is not None and row.upper is not None:
                _whisker(axes, row.lower, row.upper, middle)
        if is_joined and i + 1 < len(rows):
            below = middle + pitch - _BAR_HEIGHT / 2
            axes.plot(
                [row.end] * 2,
                [middle + _BAR_HEIGHT / 2, below],
                color=SOFT,
                linewidth=1,
            )
        is_left = row.end < row.start
        axes.annotate(
            row.text,
            (row.low if is_left else row.high, middle),
            xytext=(-8 if is_left else 8, 0),
            textcoords="offset points",
            ha="right" if is_left else "left",
            va="center",
            fontsize=TEXT_SIZE,
            fontweight="bold",
            bbox=box,
        )
    if reference is not None:
        _reference(axes, reference, pitch * len(rows), width, left, value_width, low, high)
    return figure


def _points_far_left(row: _Row, low: float, high: float) -> bool:
    return row.end < row.start and row.low < low + 0.3 * (high - low)


def _whisker(axes: Axes, lower: float, upper: float, middle: float) -> None:
    for xs, ys in (
        ([lower, upper], [middle, middle]),
        ([lower, lower], [middle - 5, middle + 5]),
        ([upper, upper], [middle - 5, middle + 5]),
    ):
        axes.plot(xs, ys, color=INK, linewidth=1.5, solid_capstyle="butt")


def _reference(
    axes: Axes,
    reference: Mark,
    bottom: float,
    width: int,
    left: float,
    right: float,
    low: float,
    high: float,
) -> None:
    at = float(reference.at)
    axes.plot([at, at], [-4, bottom], color=INK, linewidth=1.2, dashes=(4, 3), zorder=1.5)
    place = left + (width - left - right) * (at - low) / (high - low)
    text = fit_text(reference.text, width * 0.7, lines=1, size=SMALL_SIZE)
    half = text_width(text, SMALL_SIZE) / 2
    align = "left" if place < half else "right" if place + half > width else "center"
    axes.annotate(
        text,
        (at, -8),
        ha=align,
        va="bottom",
        fontsize=SMALL_SIZE,
        color=SOFT,
        annotation_clip=False,
    )
