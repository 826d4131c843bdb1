"""The year of a market: its season, its local days, and which categories are seasonal."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Literal, get_args

import pandas as pd

from insight_lib.charts import Caption, Chart, Mark, plot_bars, plot_dots, plot_line
from insight_lib.features.customers import category_level
from insight_lib.features.moves import judged
from insight_lib.features.record import Record
from insight_lib.features.revenue import readable
from insight_lib.features.seasonality import (
    YearRhythm,
    category_strengths,
    daily_revenue,
    estimate_year_rhythm,
    local_events,
)
from insight_lib.findings import Estimate
from insight_lib.prose import Name

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from insight_lib.market_view import MarketView
    from insight_lib.parameter_model import FeatureParameters
    from insight_lib.run import Run

_PREPARE_DAYS = 60
Month = Literal[
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_MONTHS: tuple[Month, ...] = get_args(Month)


def events(
    market: MarketView,
    record: Record,
    run: Run[FeatureParameters],
    calendar: ir.Table | None = None,
) -> pd.DataFrame:
    """Local days: calendar_date, event, event_type; public holidays where there is no calendar."""
    if calendar is not None:
        return calendar.select("calendar_date", "event", "event_type").to_pandas()
    country, first = market.config.country, record.held.first_day or run.as_of
    return local_events(country, first_day=first, last_day=run.as_of)


def year(
    buyers: pd.DataFrame,
    by_order: ir.Table,
    events: pd.DataFrame,
    record: Record,
    run: Run[FeatureParameters],
) -> YearRhythm:
    """The yearly season of daily revenue, apart from trend, week and local days.

    Raises:
        TooFew: Days are missing, or as `estimate_year_rhythm`.
    """
    first_day = record.held.first_day or run.as_of
    record.held.require((first_day, run.as_of))
    daily = daily_revenue(by_order, first_day=first_day, as_of=run.as_of)
    return estimate_year_rhythm(daily, events, n=len(buyers), seed=run.seed, **run.range)


def calendar_features(year: YearRhythm) -> pd.DataFrame:
    """Season, weekday and local days of each day, as in `YearRhythm.features`."""
    return year.features


@dataclass(frozen=True, kw_only=True)
class Season:
    """When the season peaks, and whether it is strong enough to plan by.

    Attributes:
        ready: By when to have stock and staff, the first time that leaves time for it.
        year: The one drawn.
        curve: day, season_factor, lower, upper; a point a week.
    """

    case: Literal["matters", "does not matter", "size not known", "not known"]
    swing: Estimate
    month: Month
    ready: date
    year: Name
    curve: pd.DataFrame

    def draw(self, caption: Caption) -> Chart:
        """Season factor by week of the year."""
        return plot_line(
            self.curve, caption=caption, x="day", y="season_factor", lower="lower",
            upper="upper", unit="index", reference=Mark(at=1.0, text=caption.reference),
            is_zero_based=False,
        )  # fmt: skip


def yearly_season(year: YearRhythm, run: Run[FeatureParameters]) -> Season:
    """The season's swing from low to peak."""
    return season_of(year, run.parameters.smallest_swing_that_matters)


def season_of(year: YearRhythm, smallest_swing_that_matters: float) -> Season:
    """The same, judged by the smallest swing that matters."""
    swing, as_of = year.swing, year.swing.as_of
    verdict = judged(swing, smallest_swing_that_matters)
    unsure: Literal["size not known", "not known"] = (
        "size not known" if swing.lower > 0 else "not known"
    )
    curve, drawn = year.curve.iloc[:365:7].copy(), str(as_of.year + 1)
    days = drawn + curve["calendar_day"].astype(str).str.zfill(3)
    return Season(
        case=unsure if verdict == "cannot tell yet" else verdict,
        swing=swing,
        month=_MONTHS[year.peak_date.month - 1],
        ready=_next_peak(year, as_of) - timedelta(days=_PREPARE_DAYS),
        year=Name(drawn),
        curve=curve.assign(day=pd.to_datetime(days, format="%Y%j")),
    )


def _next_peak(year: YearRhythm, as_of: date) -> date:
    """The first peak that leaves time to prepare."""
    after = timedelta(days=round(year.peak_day.value) - 1)
    peak = date(as_of.year, 1, 1) + after
    while peak - timedelta(days=_PREPARE_DAYS) <= as_of:
        peak = date(peak.year + 1, 1, 1) + after
    return peak


@dataclass(frozen=True, kw_only=True)
class LocalDays:
    """Which kind of local day moves sales most, with the week and the season set apart.

    Attributes:
        name, effect: The kind that moves them most, None where none does beyond chance.
        n_clear, n_kinds: Kinds that do, and all kinds.
        rows: As `YearRhythm.events`, with names as they stand at the start of a line.
    """

    case: Literal["clear", "none"]
    name: Name | None
    effect: Estimate | None
    n_clear: int
    n_kinds: int
    rows: pd.DataFrame

    @property
    def direction(self) -> Literal["more", "less"] | None:
        if self.effect is None:
            return None
        return "more" if self.effect.value > 0 else "less"

    def draw(self, caption: Caption) -> Chart:
        """Effect of each kind of local day."""
        return plot_dots(
            self.rows, caption=caption, label="event_type", value="effect", lower="lower",
            upper="upper", unit="share", n="days",
            reference=Mark(at=0.0, text=caption.reference),
        )  # fmt: skip


def local_days(year: YearRhythm) -> LocalDays:
    """What local days do to sales."""
    kinds = year.events
    clear = kinds[(kinds["lower"] > 0) | (kinds["upper"] < 0)].to_dict("records")
    top = max(clear, key=lambda row: abs(row["effect"]), default=None)
    swing = year.swing
    return LocalDays(
        case="none" if top is None else "clear",
        name=None if top is None else Name(str(top["event_type"]).capitalize()),
        effect=None
        if top is None
        else Estimate(
            value=float(top["effect"]),
            lower=float(top["lower"]),
            upper=float(top["upper"]),
            unit="change",
            n=swing.n,
            as_of=swing.as_of,
            level=swing.level,
            method=swing.method,
        ),
        n_clear=len(clear),
        n_kinds=len(kinds),
        rows=kinds.assign(event_type=kinds["event_type"].map(str.capitalize)),
    )


@dataclass(frozen=True, kw_only=True)
class SeasonalCategories:
    """How seasonal each category is; none is named unless the market's own season is clear.

    Attributes:
        rows: As from `seasonality.category_strengths`.
    """

    is_clear: bool
    name: Name
    rows: pd.DataFrame

    def draw(self, caption: Caption) -> Chart:
        """Strength of the yearly season by category."""
        return plot_bars(
            self.rows, caption=caption, label="category", value="strength", unit="share",
            n="customers", highlight=[self.name] if self.is_clear else [],
        )  # fmt: skip


def category_seasons(
    year: YearRhythm,
    lines: ir.Table,
    record: Record,
    run: Run[FeatureParameters],
    products: ir.Table | None = None,
) -> SeasonalCategories | None:
    """The strength of the season by category; None with fewer than two."""
    level = category_level(products)
    if products is None or level is None:
        return None
    strengths = category_strengths(
        lines,
        products,
        level_column=level,
        first_day=record.held.first_day or run.as_of,
        as_of=run.as_of,
        minimum_customers=run.parameters.smallest_category_customers,
    )
    if len(strengths) < 2:
        return None
    return seasonal_categories(strengths, year, run.parameters.smallest_swing_that_matters)


def seasonal_categories(
    strengths: pd.DataFrame, year: YearRhythm, smallest_swing_that_matters: float
) -> SeasonalCategories:
    """The most seasonal category, named if the market's season is clear."""
    rows = strengths.assign(category=strengths["category"].map(readable))
    top = rows.sort_values(["strength", "category"], ascending=[False, True]).iloc[0]
    return SeasonalCategories(
        is_clear=judged(year.swing, smallest_swing_that_matters) == "matters",
        name=Name(str(top["category"])),
        rows=rows,
    )
