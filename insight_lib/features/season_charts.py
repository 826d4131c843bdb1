"""The year's rhythm as figures."""

from __future__ import annotations

import pandas as pd

from insight_lib.charts import Caption, Chart, Mark, plot_bars, plot_dots, plot_line
from insight_lib.features.seasonality import YearRhythm
from insight_lib.features.story import readable
from insight_lib.findings import Estimate, Prose, Verdict, judge


def chart_year(
    result: YearRhythm, *, smallest_swing_that_matters: float, market: str, source: str
) -> Chart:
    """Season factor by week of the year; the title says no more than the finding."""
    title = {
        Verdict.MATTERS: "The season swings by {swing} from low to peak",
        Verdict.DOES_NOT_MATTER: "No season worth planning by (likely {swing:range})",
    }.get(
        judge(result.swing, smallest_swing_that_matters),
        "How strong the season is we cannot tell yet (likely {swing:range})",
    )
    curve = result.curve.iloc[:365:7].copy()
    year = str(result.swing.as_of.year + 1)
    curve["day"] = pd.to_datetime(
        year + curve["calendar_day"].astype(str).str.zfill(3), format="%Y%j"
    )
    return plot_line(
        curve,
        caption=Caption(
            id="year",
            title=Prose(title, swing=result.swing),
            subtitle=f"Expected sales in {year} against an average day, {market}",
            source=source,
            reading=Prose(
                "The line is what the time of the year does to sales once growth, weekday and "
                "local days are set apart; the band is its likely range. It assumes that the "
                "season is the same every year."
            ),
        ),
        x="day",
        y="season_factor",
        lower="lower",
        upper="upper",
        unit="index",
        reference=Mark(at=1.0, text="average day"),
        is_zero_based=False,
    )


def chart_events(result: YearRhythm, *, market: str, source: str) -> Chart:
    """Effect of each kind of local day."""
    events = result.events.assign(event_type=result.events["event_type"].map(str.capitalize))
    return plot_dots(
        events,
        caption=Caption(
            id="local-days",
            title=Prose("What local days do to sales"),
            subtitle=f"Sales against like days without, {market}",
            source=source,
            reading=Prose(
                "Each point compares days of one kind with days of the same weekday and season. "
                "Where the range crosses the line, the effect may be chance."
            ),
        ),
        label="event_type",
        value="effect",
        lower="lower",
        upper="upper",
        unit="share",
        n="days",
        reference=Mark(at=0.0, text="like any other day"),
    )


def chart_category_seasons(
    strengths: pd.DataFrame,
    *,
    swing: Estimate,
    smallest_swing_that_matters: float,
    market: str,
    source: str,
) -> Chart:
    """How seasonal each category is; none is named unless the market's own season is clear.

    Args:
        strengths: As from `seasonality.category_strengths`.
        swing: Of the whole market, from `YearRhythm`.
    """
    is_clear = judge(swing, smallest_swing_that_matters) is Verdict.MATTERS
    frame = strengths.assign(category=strengths["category"].map(readable))
    top = frame.sort_values(["strength", "category"], ascending=[False, True]).iloc[0]
    return plot_bars(
        frame,
        caption=Caption(
            id="category-seasons",
            title=Prose("{name} is the most seasonal category", name=str(top["category"]))
            if is_clear
            else Prose("Which categories are seasonal we cannot tell yet"),
            subtitle=f"Strength of the yearly season, from none to all of the movement, {market}",
            source=source,
            reading=Prose(
                "How much of the weekly ups and downs the season explains once the trend is "
                "taken out. High means: last year's calendar is a good guide."
            ),
        ),
        label="category",
        value="strength",
        unit="share",
        n="customers",
        highlight=[str(top["category"])] if is_clear else [],
    )
