"""Charts over time or over a measure: line, tracking, fan and histogram."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import matplotlib.dates as mdates
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from insight_lib.charts.theme import (
    ACCENT,
    INK,
    LINE,
    MARK,
    NARROW,
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
    tick_labels,
)
from insight_lib.findings import Table, format_number, format_value

_SHORT_SPAN_DAYS = 70  # up to here ticks are days, then months and years
_STOREY = 16  # pixels from one label above the plot to the next


def plot_line(
    frame: pd.DataFrame,
    *,
    caption: Caption,
    x: str,
    y: str,
    unit: str,
    series: str | None = None,
    lower: str | None = None,
    upper: str | None = None,
    highlight: str | None = None,
    events: Sequence[Mark] = (),
    reference: Mark | None = None,
    x_title: str = "",
    is_zero_based: bool = True,
) -> Chart:
    """Lines over dates or numbers, named at their ends; missing values break the line.

    Args:
        frame: One row per point.
        caption: The words around it.
        x: Column of dates or numbers.
        y: Column of values in `unit`.
        unit: Unit of the values.
        series: Column that names the line; at most about four lines read well.
        lower: Column of lower bounds, drawn as a band.
        upper: Column of upper bounds.
        highlight: The series in the accent colour; the only one, if there is one.
        events: Labelled moments, drawn as vertical lines.
        reference: A labelled level.
        x_title: What the x axis counts, if it is not time.
        is_zero_based: Whether the y axis starts at zero.
    """
    named = series or "_series"
    data = frame.assign(_series="") if series is None else frame
    data = data.sort_values([named, x], kind="stable")
    groups = [(str(name), group) for name, group in data.groupby(named, sort=True)]

    def draw(width: int) -> Figure:
        names = [name for name, _ in groups]
        figure, axes = _frame(width, names, len(events))
        bounds = [data[column] for column in (y, lower, upper) if column]
        extra = [float(reference.at)] if reference else []
        lead = _y_axis(axes, _finite(bounds) + extra, unit, is_zero_based=is_zero_based)
        ends: list[tuple[float, str, str, bool]] = []
        for name, group in groups:
            is_lit = len(groups) == 1 or name == highlight
            colour = ACCENT if is_lit else MARK
            if lower and upper:
                _band(
                    axes,
                    group[x],
                    group[lower],
                    group[upper],
                    ACCENT if is_lit else MARK,
                )
            axes.plot(group[x], group[y], color=colour, zorder=3 if is_lit else 2)
            if not (known := group[y].dropna()).empty:
                ends.append((float(known.iloc[-1]), name, colour, is_lit))
        _finish(figure, axes, lead, data[x], x_title, events, reference, ends, width)
        return figure

    return render_chart(
        draw,
        caption=caption,
        table=_table(data, caption, x, y, unit, series, lower, upper),
    )


def plot_tracking(
    frame: pd.DataFrame,
    *,
    caption: Caption,
    x: str,
    actual: str,
    expected: str,
    unit: str,
    lower: str | None = None,
    upper: str | None = None,
    events: Sequence[Mark] = (),
    x_title: str = "",
) -> Chart:
    """Actual against expected, e.g. cumulative orders; a band shows what chance allows.

    Args:
        frame: One row per moment.
        caption: The words around it.
        x: Column of dates or numbers.
        actual: Column of what happened; missing where it has not happened yet.
        expected: Column of what was expected.
        unit: Unit of both.
        lower: Column of lower bounds of the expectation.
        upper: Column of upper bounds.
        events: Labelled moments, e.g. the end of the fitting period.
        x_title: What the x axis counts, if it is not time.
    """
    bands = ((lower, upper),) if lower and upper else ()
    return plot_fan(
        frame,
        caption=caption,
        x=x,
        actual=actual,
        expected=expected,
        bands=bands,
        unit=unit,
        events=events,
        x_title=x_title,
        is_zero_based=True,
    )


def plot_fan(
    frame: pd.DataFrame,
    *,
    caption: Caption,
    x: str,
    actual: str,
    expected: str,
    bands: Sequence[tuple[str, str]],
    unit: str,
    events: Sequence[Mark] = (),
    x_title: str = "",
    is_zero_based: bool = False,
) -> Chart:
    """What happened, what is expected, and bands around it, widest first.

    Args:
        frame: One row per moment; `actual` is missing in the future.
        caption: The words around it.
        x: Column of dates or numbers.
        actual: Column of what happened.
        expected: Column of the forecast; missing where there is none.
        bands: Pairs of columns (lower, upper), widest first.
        unit: Unit of all values.
        events: Labelled moments.
        x_title: What the x axis counts, if it is not time.
        is_zero_based: Whether the y axis starts at zero.
    """
    data = frame.sort_values(x, kind="stable")
    names = [column_title(actual), column_title(expected)]

    def draw(width: int) -> Figure:
        figure, axes = _frame(width, names, len(events))
        columns = [data[c] for c in (actual, expected, *(c for pair in bands for c in pair))]
        lead = _y_axis(axes, _finite(columns), unit, is_zero_based=is_zero_based)
        for low, high in bands:
            _band(axes, data[x], data[low], data[high], ACCENT)
        axes.plot(data[x], data[expected], color=ACCENT, linewidth=1.8, dashes=(4, 2.5))
        axes.plot(data[x], data[actual], color=INK, linewidth=2)
        ends = [
            (float(known.iloc[-1]), name, colour, colour == INK)
            for column, name, colour in zip((actual, expected), names, (INK, ACCENT), strict=True)
            if not (known := data[column].dropna()).empty
        ]
        _finish(figure, axes, lead, data[x], x_title, events, None, ends, width)
        return figure

    low, high = bands[0] if bands else (None, None)
    table = _fan_table(data, caption, x, actual, expected, low, high, unit)
    return render_chart(draw, caption=caption, table=table)


def plot_histogram(
    counts: Sequence[float],
    edges: Sequence[float],
    *,
    caption: Caption,
    unit: str,
    x_title: str,
    count_title: str = "Customers",
    marks: Sequence[Mark] = (),
    highlight: tuple[float, float] | None = None,
) -> Chart:
    """Counts per bin, as `numpy.histogram` returns them.

    Args:
        counts: Count of each bin.
        edges: Bounds of the bins in `unit`, one more than `counts`.
        caption: The words around it.
        unit: Unit of the edges.
        x_title: What the x axis measures.
        count_title: What is counted.
        marks: Labelled positions, e.g. the median.
        highlight: Bins that start in this range take the accent colour.

    Raises:
        ValueError: There is not one edge more than there are counts.
    """
    heights, bounds = np.asarray(counts, dtype=float), np.asarray(edges, dtype=float)
    if len(bounds) != len(heights) + 1:
        raise ValueError(f"histogram: {len(heights)} counts need {len(heights) + 1} edges")
    low, high = highlight or (-np.inf, np.inf)
    colours = [ACCENT if low <= edge < high else MARK for edge in bounds[:-1]]

    def draw(width: int) -> Figure:
        figure, axes = _frame(width, [], len(marks))
        lead = _y_axis(axes, [0.0, float(heights.max(initial=1.0))], "count", is_zero_based=True)
        gap = (bounds[-1] - bounds[0]) / width
        axes.bar(
            bounds[:-1] + gap / 2,
            heights,
            width=np.diff(bounds) - gap,
            align="edge",
            color=colours,
        )
        _finish(figure, axes, lead, pd.Series(bounds), x_title, marks, None, [], width)
        return figure

    texts = [format_number(edge, unit, 0 if _is_whole(bounds) else 2) for edge in bounds]
    table = Table(
        title=str(caption.title),
        columns=(column_title(x_title), count_title),
        rows=tuple(
            (f"{texts[i]} to {texts[i + 1]}", format_number(count, "count"))
            for i, count in enumerate(heights)
        ),
    )
    return render_chart(draw, caption=caption, table=table)


def _is_whole(values: Any) -> bool:
    return bool(np.all(np.mod(values, 1) == 0))


def _finite(columns: Sequence[pd.Series]) -> list[float]:
    values = np.concatenate([column.to_numpy(dtype=float, na_value=np.nan) for column in columns])
    return [float(v) for v in values[np.isfinite(values)]]


def _frame(width: int, names: Sequence[str], n_events: int) -> tuple[Figure, Axes]:
    is_narrow = width <= NARROW
    room = 96.0 if is_narrow else 150.0
    right = min(max((text_width(name) for name in names), default=0.0) + 14, room)
    height = (220 if is_narrow else 290) + _STOREY * n_events
    figure = new_figure(width, height)
    return figure, add_axes(figure, left=4, right=right, top=12 + _STOREY * n_events, bottom=40)


def _y_axis(axes: Axes, values: Sequence[float], unit: str, *, is_zero_based: bool) -> float:
    """Draw the grid with its labels on the lines; return the room that the labels take."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if is_zero_based:
        low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        low, high = low - abs(low or 1) / 2, high + abs(high or 1) / 2
    nice = np.asarray(MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high))
    bottom = low if is_zero_based else min(low, float(nice[0]))
    ticks = nice[(nice >= bottom) & (nice <= high)].tolist()
    axes.set_ylim(bottom, high + (high - bottom) / 20)
    axes.set_yticks([])
    texts = tick_labels(ticks, unit)
    for tick, text in zip(ticks, texts, strict=True):
        axes.axhline(tick, color=SOFT if tick == 0 else LINE, linewidth=1, zorder=0)
        axes.annotate(
            text,
            (0, tick),
            xycoords=("axes fraction", "data"),
            xytext=(0, 4),
            textcoords="offset points",
            color=SOFT,
            zorder=4,
        )
    return max((text_width(text, SMALL_SIZE) for text in texts), default=0.0) + 10


def _band(axes: Axes, x: pd.Series, low: pd.Series, high: pd.Series, colour: str) -> None:
    axes.fill_between(
        x,
        low.astype(float),
        high.astype(float),
        color=colour,
        alpha=0.18,
        linewidth=0,
        zorder=1,
    )


def _finish(
    figure: Figure,
    axes: Axes,
    lead: float,
    x: pd.Series,
    x_title: str,
    events: Sequence[Mark],
    reference: Mark | None,
    ends: Sequence[tuple[float, str, str, bool]],
    width: int,
) -> None:
    is_narrow = width <= NARROW
    if isinstance(x.iloc[0], date) or pd.api.types.is_datetime64_any_dtype(x):
        numbers = mdates.date2num(pd.to_datetime(x).to_numpy())
        _date_axis(axes, float(numbers.min()), float(numbers.max()), is_narrow=is_narrow)
    else:
        numbers = x.to_numpy(dtype=float)
        ticks = MaxNLocator(nbins=5 if is_narrow else 9, integer=_is_whole(numbers)).tick_values(
            numbers.min(), numbers.max()
        )
        ticks = [float(t) for t in ticks if numbers.min() <= t <= numbers.max()]
        axes.set_xticks(ticks, tick_labels(ticks, "count"))
    first, last = float(numbers.min()), float(numbers.max())
    inner = axes.get_window_extent().width * 72 / axes.figure.dpi
    span = (last - first) or 1.0
    axes.set_xlim(first - span * lead / (inner - lead), last)
    if x_title:
        axes.set_xlabel(
            fit_text(x_title, width, lines=1, size=SMALL_SIZE),
            loc="right",
            color=SOFT,
            labelpad=3,
        )
    _events(axes, figure, events, width)
    if reference is not None:
        axes.axhline(float(reference.at), color=INK, linewidth=1.2, dashes=(4, 3))
        axes.annotate(
            fit_text(reference.text, width * 0.6, lines=1, size=SMALL_SIZE),
            (1, float(reference.at)),
            xycoords=("axes fraction", "data"),
            xytext=(-2, 4),
            textcoords="offset points",
            ha="right",
            color=INK,
        )
    _name_ends(axes, [end for end in ends if end[1]], 90 if is_narrow else 140)


def _date_axis(axes: Axes, first: float, last: float, *, is_narrow: bool) -> None:
    """Ticks on round dates, with the year where it changes."""
    span = last - first
    most = 4 if is_narrow else 8
    if span <= _SHORT_SPAN_DAYS:
        ticks = np.arange(np.ceil(first), last + 1, max(int(np.ceil(span / most / 7)) * 7, 1))
        texts = [f"{d.day} {d:%b}" for d in mdates.num2date(ticks)]
    else:
        months = max(span / 30.4 / most, 1)
        step = next((s for s in (1, 2, 3, 6, 12, 24, 60) if s >= months), 120)
        start = mdates.num2date(first)
        days = [
            date(start.year + m // 12, m % 12 + 1, 1) for m in range(0, int(span / 30) + 24, step)
        ]
        ticks = np.array([t for t in mdates.date2num(days) if first - span / 50 <= t <= last])
        moments = mdates.num2date(ticks)
        texts = [
            f"{d:%Y}" if step >= 12 else f"{d:%b}\n{d:%Y}" if i == 0 or d.month == 1 else f"{d:%b}"
            for i, d in enumerate(moments)
        ]
    axes.set_xticks(ticks, texts)


def _events(axes: Axes, figure: Figure, events: Sequence[Mark], width: int) -> None:
    """Labels above the plot, in as many storeys as keep neighbours apart."""
    ends: list[float] = []
    for event in sorted(events, key=lambda e: mdates.date2num(e.at) if _is_date(e) else e.at):
        at = mdates.date2num(event.at) if _is_date(event) else float(event.at)
        axes.axvline(at, color=INK, linewidth=1.2, dashes=(4, 3), zorder=1)
        place = axes.transData.transform((at, 0))[0] * 72 / axes.figure.dpi
        text = fit_text(event.text, width * 0.6, lines=1, size=SMALL_SIZE)
        size = text_width(text, SMALL_SIZE)
        is_right = place + size > width
        begin = place - size if is_right else place
        storey = next((i for i, end in enumerate(ends) if begin > end + 6), len(ends))
        ends[storey : storey + 1] = [begin + size]
        axes.annotate(
            text,
            (at, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 6 + _STOREY * storey),
            textcoords="offset points",
            ha="right" if is_right else "left",
            color=INK,
        )
    _trim_top(axes, figure, _STOREY * (len(events) - len(ends)))


def _trim_top(axes: Axes, figure: Figure, pixels: float) -> None:
    """Take room above the plot away that no label needed; the plot keeps its size."""
    width, height = figure.get_size_inches() * 72
    place = axes.get_position()
    scale = height / (height - pixels)
    figure.set_size_inches(width / 72, (height - pixels) / 72)
    axes.set_position((place.x0, place.y0 * scale, place.width, place.height * scale))


def _is_date(mark: Mark) -> bool:
    return isinstance(mark.at, date)


def _name_ends(axes: Axes, ends: Sequence[tuple[float, str, str, bool]], room: float) -> None:
    """Names at the line ends, pushed apart until none touches another."""
    low, high = axes.get_ylim()
    height = axes.get_window_extent().height * 72 / axes.figure.dpi
    named = sorted(
        ((value - low) / (high - low) * height, fit_text(name, room), colour, is_lit)
        for value, name, colour, is_lit in ends
    )
    previous, previous_lines = -np.inf, 1
    for place, text, colour, is_lit in named:
        lines = text.count("\n") + 1
        place = max(place, previous + 7.5 * (lines + previous_lines))
        previous, previous_lines = place, lines
        axes.annotate(
            text,
            (1, 0),
            xycoords="axes fraction",
            xytext=(7, place),
            textcoords="offset points",
            va="center",
            color=INK if colour == MARK else colour,
            fontsize=TEXT_SIZE,
            fontweight="bold" if is_lit else "normal",
            linespacing=1.1,
        )


def _x_text(value: Any) -> str:
    if isinstance(value, date):
        return format_value(pd.Timestamp(value).date())
    return format_number(float(value), "count", 0 if float(value).is_integer() else 2)


def _cell(value: Any, unit: str) -> str:
    return "" if pd.isna(value) else format_number(float(value), unit)


def _table(
    data: pd.DataFrame,
    caption: Caption,
    x: str,
    y: str,
    unit: str,
    series: str | None,
    lower: str | None,
    upper: str | None,
) -> Table:
    columns = [
        column_title(x),
        *([column_title(series)] if series else []),
        column_title(y),
    ]
    if lower and upper:
        columns.append("Likely range")
    rows = []
    for record in data.to_dict("records"):
        cells = [_x_text(record[x]), *([str(record[series])] if series else [])]
        cells.append(_cell(record[y], unit))
        if lower and upper:
            cells.append(f"{_cell(record[lower], unit)} to {_cell(record[upper], unit)}")
        rows.append(tuple(cells))
    return Table(title=str(caption.title), columns=tuple(columns), rows=tuple(rows))


def _fan_table(
    data: pd.DataFrame,
    caption: Caption,
    x: str,
    actual: str,
    expected: str,
    lower: str | None,
    upper: str | None,
    unit: str,
) -> Table:
    columns = [column_title(column) for column in (x, actual, expected)]
    if lower and upper:
        columns.append("Likely range")
    rows = []
    for record in data.to_dict("records"):
        cells = [
            _x_text(record[x]),
            _cell(record[actual], unit),
            _cell(record[expected], unit),
        ]
        if lower and upper:
            bounds = [_cell(record[bound], unit) for bound in (lower, upper)]
            cells.append(" to ".join(bounds) if all(bounds) else "")
        rows.append(tuple(cells))
    return Table(title=str(caption.title), columns=tuple(columns), rows=tuple(rows))
