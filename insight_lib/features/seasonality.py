"""The year's rhythm: when demand peaks, how strong the season is, what local days do to it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import ibis
import numpy as np
import pandas as pd
from scipy import stats

from insight_lib.features.season_noise import covariance as season_covariance
from insight_lib.features.season_noise import is_one_year, weekly_parts, widest_pair_quantile
from insight_lib.findings import Estimate, TooFew
from insight_lib.orders import dated, within

if TYPE_CHECKING:
    import ibis.expr.types as ir

_YEAR_DAYS = 365.25
_FEWEST_YEARS = 2.0
_HARMONICS = 2
_TREND_PIECES_PER_YEAR = 1.0
_LAG_DAYS = 21
_FEWEST_EVENT_DAYS = 6
_WEEKS_PER_YEAR = 52


@dataclass(frozen=True, kw_only=True)
class YearRhythm:
    """The yearly season of a market, apart from trend and week.

    Attributes:
        curve: calendar_day (1-366), season_factor (1 is the average day), lower, upper.
        peak_day: Day of the year on which the season peaks.
        swing: Peak over trough, as a relative difference (0.5: the peak is half as much again).
        strength: Share of the variance of weekly log revenue left by the trend that the
            season explains (Hyndman and Athanasopoulos, 2021, section 4.3; STL of Cleveland
            and others, 1990). A description of these weeks, so without a range.
        events: event_type, days, effect (relative to a like day without it), lower, upper.
        features: calendar_date, season_factor, weekday_factor, and one is_… column per event
            type, for models.
    """

    curve: pd.DataFrame
    peak_day: Estimate
    swing: Estimate
    strength: float
    events: pd.DataFrame
    features: pd.DataFrame

    @property
    def peak_date(self) -> date:
        """The peak in a year without a leap day, to name its month."""
        return date(2023, 1, 1) + pd.Timedelta(days=round(self.peak_day.value - 1))


def daily_revenue(by_order: ir.Table, *, first_day: date, as_of: date) -> pd.DataFrame:
    """Revenue per local day, days without an order included: calendar_date, amount, n_orders."""
    chosen = by_order.filter(within(by_order.order_date, (first_day, as_of)))
    frame = (
        chosen.group_by("order_date")
        .agg(amount=chosen.amount.sum().cast("float64"), n_orders=ibis._.count())
        .to_pandas()
    )
    days = pd.date_range(first_day, as_of, name="calendar_date")
    index = pd.to_datetime(frame["order_date"])
    return (
        frame.drop(columns="order_date").set_index(index).reindex(days, fill_value=0).reset_index()
    )


def local_events(country: str, *, first_day: date, last_day: date) -> pd.DataFrame:
    """Public holidays of a country: calendar_date, event, event_type."""
    import holidays

    days = holidays.country_holidays(country, years=range(first_day.year, last_day.year + 1))
    rows = [
        (pd.Timestamp(day), name, "holiday")
        for day, name in sorted(days.items())
        if first_day <= day <= last_day
    ]
    return pd.DataFrame(rows, columns=["calendar_date", "event", "event_type"])


def estimate_year_rhythm(
    daily: pd.DataFrame,
    events: pd.DataFrame,
    *,
    as_of: date,
    n: int,
    seed: int = 1,
    level: float = 0.95,
) -> YearRhythm:
    """Fit season, trend, weekday and local events to daily revenue at once.

    Poisson pseudo-likelihood with log link, so effects are factors and days without sales
    stay in (Gourieroux, Monfort and Trognon, 1984); two yearly harmonics, a piecewise linear
    trend with a knot a year, weekday and event factors. Effects of local days hold under
    correlation of neighbouring days (Newey and West, 1987, three weeks). The season's ranges know
    noise that lasts for weeks, and that peak and trough were picked: see `season_noise`.

    Args:
        daily: As from `daily_revenue`.
        events: calendar_date, event_type; types on fewer than six days are left out.
        n: Customers behind the figures.
        seed: Of the drawn curves.

    Raises:
        TooFew: Less than two whole years, no sales, or years that do not run alike.
    """
    days = pd.DatetimeIndex(daily["calendar_date"])
    years = len(days) / _YEAR_DAYS
    if years < _FEWEST_YEARS - 0.01:
        raise TooFew(
            f"the data span {len(days):,} days, and the same month has to be seen twice",
            takes="orders of two whole years",
        )
    if daily["amount"].sum() <= 0:
        raise TooFew("there are no sales in the history", takes="sales above what is taken back")
    flags = _event_flags(days, events)
    design = _design(days, flags)
    fitted = _fit(daily["amount"].to_numpy(dtype=float), design)
    harmonics = [c for c in design.columns if c.startswith("season")]
    coefficients = pd.Series(fitted.params, index=design.columns)
    left, regressors, is_season = weekly_parts(
        daily["amount"].to_numpy(dtype=float) / daily["amount"].mean(), fitted.mu, design
    )
    if is_one_year(
        left,
        regressors,
        regressors[:, is_season],
        coefficients[harmonics].to_numpy(),
        level=level,
        seed=seed,
    ):
        raise TooFew(
            "the years do not run alike, so what happened once (a start, a step, a wave of new "
            "customers) cannot be told from a season",
            takes="two years that run alike, once the start or step lies behind them",
        )
    spread, freedom = season_covariance(left, regressors, seed=seed)
    own = pd.DataFrame(spread[np.ix_(is_season, is_season)], index=harmonics, columns=harmonics)
    curve, peak, swing = _curve(
        coefficients[harmonics], own, freedom=freedom, level=level, seed=seed
    )
    common: dict[str, Any] = {
        "n": n,
        "as_of": as_of,
        "level": level,
        "method": "Poisson pseudo-likelihood, autoregressive weeks (Andrews, 1993)",
    }
    effects = _effects(fitted, design, flags, level=level)
    weekdays = [c for c in design.columns if c.startswith("weekday")]
    features = pd.DataFrame(
        {
            "calendar_date": days.date,
            "season_factor": np.exp(_centred(design[harmonics] @ coefficients[harmonics])),
            "weekday_factor": np.exp(_centred(design[weekdays] @ coefficients[weekdays])),
        }
    )
    for name, flag in flags.items():
        features[f"is_{name}"] = flag.astype(bool)
    return YearRhythm(
        curve=curve,
        peak_day=Estimate(value=peak[0], lower=peak[1], upper=peak[2], unit="days", **common),
        swing=Estimate(value=swing[0], lower=swing[1], upper=swing[2], unit="change", **common),
        strength=_strength(daily),
        events=effects,
        features=features,
    )


def _effects(
    fitted: Any, design: pd.DataFrame, flags: dict[str, np.ndarray], *, level: float
) -> pd.DataFrame:
    """Effect of each kind of day, all kinds judged together.

    A factor that is on for a few days fits their noise, so the sandwich is too narrow: residuals
    are grown by their leverage (HC3 of MacKinnon and White, 1985), the days of a kind less one
    are the degrees of freedom (Imbens and Kolesar, 2016), and kinds share the level (Bonferroni).
    """
    x, mean = design.to_numpy(dtype=float), np.asarray(fitted.mu, dtype=float)
    bread = np.linalg.pinv(x.T @ (x * mean[:, None]))
    leverage = mean * np.einsum("ij,jk,ik->i", x, bread, x)
    grown = np.asarray(fitted.resid_response) / np.clip(1 - leverage, 1e-6, None)
    apart = bread @ (x.T @ (x * np.square(grown)[:, None])) @ bread
    rows = []
    for name, flag in flags.items():
        place = design.columns.get_loc(name)
        effect, days = float(fitted.params[place]), int(flag.sum())
        variance = max(float(fitted.cov_params()[place, place]), float(apart[place, place]))
        half = float(stats.t.ppf(1 - (1 - level) / 2 / len(flags), days - 1)) * math.sqrt(variance)
        ends = (math.expm1(effect), math.expm1(effect - half), math.expm1(effect + half))
        rows.append((name, days, *ends))
    return pd.DataFrame(rows, columns=["event_type", "days", "effect", "lower", "upper"])


def _event_flags(days: pd.DatetimeIndex, events: pd.DataFrame) -> dict[str, np.ndarray]:
    dates = pd.to_datetime(events["calendar_date"])
    flags: dict[str, np.ndarray] = {}
    for name in sorted(map(str, events["event_type"].unique())):
        flag = days.isin(dates[events["event_type"] == name])
        # A type that is almost never, or almost always, on has nothing to compare with.
        if _FEWEST_EVENT_DAYS <= flag.sum() <= len(days) - _FEWEST_EVENT_DAYS:
            flags[name] = flag.astype(float)
    return flags


def _design(days: pd.DatetimeIndex, flags: dict[str, np.ndarray]) -> pd.DataFrame:
    day_of_year = np.asarray(days.day_of_year, dtype=float)
    columns: dict[str, Any] = {"constant": np.ones(len(days))}
    time = np.arange(len(days)) / _YEAR_DAYS
    columns["trend0"] = time - time.mean()
    for i in range(1, int(time[-1] * _TREND_PIECES_PER_YEAR) + 1):
        columns[f"trend{i}"] = np.clip(time - i / _TREND_PIECES_PER_YEAR, 0, None)
    for h in range(1, _HARMONICS + 1):
        angle = 2 * np.pi * h * day_of_year / _YEAR_DAYS
        columns[f"season_cos{h}"] = np.cos(angle)
        columns[f"season_sin{h}"] = np.sin(angle)
    for weekday in range(1, 7):
        columns[f"weekday{weekday}"] = (np.asarray(days.day_of_week) == weekday).astype(float)
    return pd.DataFrame(columns | flags)


def _fit(amount: np.ndarray, design: pd.DataFrame) -> Any:
    import statsmodels.api as sm

    scaled = amount / amount.mean()
    model = sm.GLM(scaled, design.to_numpy(), family=sm.families.Poisson())
    return model.fit(cov_type="HAC", cov_kwds={"maxlags": _LAG_DAYS})


def _curve(
    coefficients: pd.Series, covariance: pd.DataFrame, *, freedom: float, level: float, seed: int
) -> tuple[pd.DataFrame, tuple[float, float, float], tuple[float, float, float]]:
    z = float(stats.t.ppf(0.5 + level / 2, freedom))
    grid = np.arange(1.0, 367.0)
    basis = np.column_stack(
        [
            wave(2 * np.pi * h * grid / _YEAR_DAYS)
            for h in range(1, _HARMONICS + 1)
            for wave in (np.cos, np.sin)
        ]
    )
    log_season = basis @ coefficients.to_numpy()
    error = np.sqrt(np.einsum("ij,jk,ik->i", basis, covariance.to_numpy(), basis))
    curve = pd.DataFrame(
        {
            "calendar_day": grid.astype(int),
            "season_factor": np.exp(log_season),
            "lower": np.exp(log_season - z * error),
            "upper": np.exp(log_season + z * error),
        }
    )
    high, low = int(log_season.argmax()), int(log_season.argmin())
    # The peak moves by slope over curvature: delta method on the root of the derivative.
    slope = _derivative(basis_order=1, at=grid[high])
    bend = float(_derivative(basis_order=2, at=grid[high]) @ coefficients.to_numpy())
    peak_error = math.sqrt(float(slope @ covariance.to_numpy() @ slope)) / max(abs(bend), 1e-12)
    difference = basis[high] - basis[low]
    width = math.sqrt(float(difference @ covariance.to_numpy() @ difference))
    pair = widest_pair_quantile(basis[::7], covariance.to_numpy(), freedom, level=level, seed=seed)
    height = float(log_season[high] - log_season[low])
    day = float(grid[high])
    peak = (day, day - z * peak_error, day + z * peak_error)
    swing = (
        math.expm1(height),
        math.expm1(max(height - pair * width, 0.0)),
        math.expm1(height + pair * width),
    )
    return curve, peak, swing


def _derivative(*, basis_order: int, at: float) -> np.ndarray:
    values = []
    for h in range(1, _HARMONICS + 1):
        pace = 2 * np.pi * h / _YEAR_DAYS
        angle = pace * at
        if basis_order == 1:
            values += [-pace * np.sin(angle), pace * np.cos(angle)]
        else:
            values += [-(pace**2) * np.cos(angle), -(pace**2) * np.sin(angle)]
    return np.array(values)


def _centred(values: pd.Series) -> pd.Series:
    return values - values.mean()


def _strength(daily: pd.DataFrame) -> float:
    from statsmodels.tsa.seasonal import STL

    weekly = daily.set_index("calendar_date")["amount"].resample("W").sum().iloc[1:-1]
    smallest = weekly[weekly > 0].min()
    parts = STL(np.log(weekly.clip(lower=smallest)), period=_WEEKS_PER_YEAR, robust=True).fit()
    left = float(np.var(parts.resid))
    return max(0.0, 1 - left / float(np.var(parts.seasonal + parts.resid)))


def category_strengths(
    lines: ir.Table,
    products: ir.Table,
    *,
    level_column: str,
    first_day: date,
    as_of: date,
    minimum_customers: int,
) -> pd.DataFrame:
    """Strength of the yearly season by category: category, strength, peak_month, customers.

    Categories bought by fewer than `minimum_customers` are left out.
    """
    by_day = dated(lines)
    chosen = by_day.filter(
        within(by_day.order_date, (first_day, as_of)) & by_day.customer_id.notnull()
    )
    named = chosen.mutate(calendar_date=chosen.order_date).left_join(
        products.select("product_id", category=level_column), "product_id"
    )
    daily = (
        named.group_by(["category", "calendar_date"])
        .agg(amount=named.amount.sum().cast("float64"))
        .to_pandas()
    )
    customers = named.group_by("category").agg(customers=named.customer_id.nunique()).to_pandas()
    days = pd.date_range(first_day, as_of, name="calendar_date")
    rows = []
    for category, count in sorted(zip(customers["category"], customers["customers"], strict=True)):
        if category is None or count < minimum_customers:
            continue
        part = daily[daily["category"] == category]
        series = part.set_index(pd.to_datetime(part["calendar_date"]))["amount"]
        filled = series.reindex(days, fill_value=0.0)
        by_month = filled.groupby(filled.index.month).mean()
        rows.append((category, _strength(filled.reset_index()), int(by_month.idxmax()), count))
    return pd.DataFrame(rows, columns=["category", "strength", "peak_month", "customers"])
