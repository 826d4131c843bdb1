"""Results as figures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from insight_lib.charts import (
    Caption,
    Chart,
    Mark,
    plot_bars,
    plot_dots,
    plot_histogram,
    plot_waterfall,
)
from insight_lib.features.customers import Comparison
from insight_lib.features.rhythm import GAP_BIN_DAYS, OrderGaps, WeekRhythm
from insight_lib.features.story import readable
from insight_lib.features.value import CategoryMoves, Concentration, RevenueChange, RfmGroups
from insight_lib.findings import Measured, Prose, Table, format_number, format_value

_MOST_LEFT_OUT = 0.1


def chart_drivers(result: RevenueChange, *, market: str, source: str) -> Chart | None:
    """Revenue before to revenue after, by driver; none where the split is not defined."""
    if not result.drivers:
        return None
    name, effect = max(result.drivers, key=lambda pair: (abs(pair[1]), pair[0]))
    revenue = result.revenue
    moved = Measured(value=effect, unit=revenue.unit, n=revenue.n, as_of=revenue.as_of)
    return plot_waterfall(
        list(result.drivers),
        caption=Caption(
            id="drivers",
            title=Prose("{name} moved revenue most: {moved:signed}", name=name, moved=moved)
            if result.change.excludes(0)
            else Prose("What added to revenue, and what took from it"),
            subtitle=f"Revenue, {market}, {_against(result.comparison)}",
            source=source,
            reading=Prose(
                "Read from top to bottom: the first bar is revenue before, the steps are what each "
                "driver added or took, the last bar is revenue now. The steps add up exactly. "
                "It says which driver moved, not why."
            ),
        ),
        start=("Before", result.revenue_before.value),
        end="Now",
        unit=revenue.unit,
    )


def chart_concentration(result: Concentration, *, market: str, source: str) -> Chart:
    """Revenue share by tenth of customers."""
    return plot_bars(
        result.curve,
        caption=Caption(
            id="concentration",
            title=Prose(
                "The best {top} of customers bring {share} of revenue",
                top=result.top,
                share=result.share,
            ),
            subtitle=f"Share of revenue by tenth of customers, {market}",
            source=source,
            reading=Prose(
                "Customers are put in a row by spend and cut into ten equal groups. If all spent "
                "alike, every bar would be as long as every other."
            ),
        ),
        label="group",
        value="revenue_share",
        unit="share",
        n="customers",
        highlight=list(result.curve["group"][:2]),
        is_sorted=False,
    )


def chart_gaps(result: OrderGaps, *, market: str, source: str) -> Chart | None:
    """Histogram of gaps between order days.

    A bin with fewer customers than the minimum cell size is left blank, and bins are the
    narrowest that leave out a tenth of the gaps at most. None if no bin is left.
    """
    minimum = result.minimum.value
    for width in GAP_BIN_DAYS:
        bins = result.bins[result.bins["width_days"] == width]
        is_shown = bins["n_customers"] >= minimum
        left_out = 1 - float(bins["n_gaps"][is_shown].sum() / bins["n_gaps"].sum())
        if left_out <= _MOST_LEFT_OUT:
            break
    shown = bins[is_shown]
    if shown.empty:
        return None
    end = int(shown["first_day"].max()) + width
    first_days = np.arange(1, end, width)
    counts = shown.set_index("first_day")["n_gaps"].reindex(first_days, fill_value=0)
    marks = ((result.median_days.value, "half"), (result.most_days.value, "nine in ten"))
    chart = plot_histogram(
        [float(count) for count in counts],
        [float(day) - 0.5 for day in (*first_days, end)],
        caption=Caption(
            id="gaps",
            title=Prose(
                "Half of all next orders come within {median}, nine in ten within {most}",
                median=result.median_days,
                most=result.most_days,
            ),
            subtitle=f"Days from one order day to the next, {market}",
            source=source,
            reading=Prose(
                "Each bar counts gaps of one length; the customers who order often give many. "
                "Lengths of fewer than {minimum} customers are left blank: {left_out} of the gaps.",
                minimum=result.minimum,
                left_out=replace(result.median_days, value=left_out, unit="share"),
            ),
        ),
        unit="days",
        x_title="Days to the next order day",
        count_title="Gaps",
        marks=[Mark(at=at, text=text) for at, text in marks if at < end],
    )
    blank = f"fewer than {format_value(result.minimum)} customers"
    rows = tuple(
        (_days_in_words(day, width), format_number(count, "count") if count else blank)
        for day, count in zip(first_days.tolist(), counts.tolist(), strict=True)
    )
    table = Table(title=str(chart.title), columns=("Days to the next order day", "Gaps"), rows=rows)
    return replace(chart, table=table)


def _days_in_words(first_day: int, width: int) -> str:
    last_day = format_number(first_day + width - 1, "days")
    return last_day if width == 1 else f"{first_day} to {last_day}"


def chart_week(result: WeekRhythm, *, market: str, source: str) -> Chart:
    """Index by day of the week."""
    return plot_dots(
        result.by_day,
        caption=Caption(
            id="week",
            title=Prose(
                "{busiest} is the strongest day, {quietest} the weakest",
                busiest=result.busiest,
                quietest=result.quietest,
            )
            if result.is_clear
            else Prose("No day of the week stands out"),
            subtitle=f"Revenue against an average day, {market}, local time",
            source=source,
            reading=Prose(
                "The middle line is an average day. The line through each point is the range the "
                "true figure very likely lies in, judged by how much whole weeks differ."
            ),
        ),
        label="weekday",
        value="index",
        lower="lower",
        upper="upper",
        unit="index",
        n="n_weeks",
        highlight=[result.busiest] if result.is_clear else [],
        is_sorted=False,
        reference=Mark(at=1.0, text="average day"),
    )


def chart_categories(
    result: CategoryMoves, comparison: Comparison, *, market: str, source: str
) -> Chart:
    """Moves of revenue share, largest first."""
    moves = result.moves.assign(category=result.moves["category"].map(readable))
    strongest = readable(result.strongest[0]) if result.strongest else ""
    return plot_dots(
        moves,
        caption=Caption(
            id="categories",
            title=(
                Prose(
                    "{name} moved most: {value:signed} of revenue share",
                    name=strongest,
                    value=result.strongest[1],
                )
                if result.strongest
                else Prose("No category moved beyond chance")
            ),
            subtitle=f"Change of revenue share in percentage points, {market}, "
            f"{_against(comparison)}",
            source=source,
            reading=Prose(
                "Right of the line: a larger share than before. Where the range crosses the line, "
                "the move may be chance. Shares add up to the whole, so one gain is another's loss."
            ),
        ),
        label="category",
        value="change_points",
        lower="lower",
        upper="upper",
        unit="points",
        n="customers",
        highlight=[strongest] if strongest else (),
        reference=Mark(at=0.0, text="no change"),
    )


def chart_rfm(result: RfmGroups, *, market: str, source: str) -> Chart:
    """Revenue share by RFM group."""
    best = result.groups.sort_values(["revenue_share", "group"]).iloc[-1]
    return plot_bars(
        result.groups,
        caption=Caption(
            id="rfm",
            title=Prose(
                "{group}: {customers} customers with {share} of revenue",
                group=str(best["group"]),
                customers=Measured(
                    value=float(best["customers"]),
                    unit="count",
                    n=int(best["customers"]),
                    as_of=result.minimum.as_of,
                ),
                share=Measured(
                    value=float(best["revenue_share"]),
                    unit="share",
                    n=int(best["customers"]),
                    as_of=result.minimum.as_of,
                ),
            ),
            subtitle=f"Share of revenue by recency, frequency and spend, {market}",
            source=source,
            reading=Prose(
                "Good means the upper part by orders and by spend; slipping means good but less "
                "recent than most. The groups cover every customer once."
            ),
        ),
        label="group",
        value="revenue_share",
        unit="share",
        n="customers",
        highlight=[str(best["group"])],
    )


def _against(comparison: Comparison) -> str:
    last = comparison.after[1]
    recent = (
        f"{comparison.days} days to {last.day} {last:%B %Y}"
        if comparison.settling_days
        else f"last {comparison.days} days"
    )
    if comparison.is_year_before:
        return f"{recent} against the same a year before"
    return f"{recent} against the {comparison.days} before"
