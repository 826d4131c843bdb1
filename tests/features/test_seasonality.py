"""The yearly season: by a known curve over seeds, mirrored in the south, and refused when short."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest

from insight_demo import WORLDS, simulate_market
from insight_lib import features
from insight_lib.features.season import season_of, seasonal_categories
from insight_lib.features.seasonality import estimate_year_rhythm, local_events
from insight_lib.findings import TooFew, Verdict
from tests.cards import drawn, told
from tests.truth.helpers import assert_coverage, assert_false_alarm_rate

FIRST, LAST = date(2022, 1, 1), date(2024, 12, 31)
NOTHING = pd.DataFrame({"calendar_date": [], "event_type": []})


def daily(seed: int, *, peak_day: float = 320, height: float = 0.3, holiday: float = 0.6):
    rng = np.random.default_rng(seed)
    days = pd.date_range(FIRST, LAST, name="calendar_date")
    season = height * np.cos(2 * np.pi * (np.asarray(days.day_of_year) - peak_day) / 365.25)
    events = local_events("DE", first_day=FIRST, last_day=LAST)
    is_holiday = days.isin(pd.to_datetime(events["calendar_date"]))
    week = np.where(np.asarray(days.day_of_week) == 5, 1.4, 1.0)
    trend = np.exp(0.1 * np.arange(len(days)) / 365)
    mean = 200 * np.exp(season) * week * trend * np.where(is_holiday, holiday, 1.0)
    noise = np.zeros(len(days))
    for i in range(1, len(days)):  # days are alike to their neighbours
        noise[i] = 0.6 * noise[i - 1] + rng.normal(0, 0.08)
    amount = mean * np.exp(noise) * rng.gamma(50, 1 / 50, len(days))
    return pd.DataFrame({"calendar_date": days, "amount": amount}), events


@pytest.mark.row("M3.2")
def test_season_and_holiday_are_found() -> None:
    frame, events = daily(0)
    rhythm = estimate_year_rhythm(frame, events, as_of=LAST, n=1000)
    assert not rhythm.peak_day.excludes(320)
    assert not rhythm.swing.excludes(np.expm1(0.6))
    holiday = rhythm.events.set_index("event_type").loc["holiday"]
    assert holiday["lower"] <= -0.4 <= holiday["upper"]
    assert rhythm.strength > 0.6
    assert np.log(rhythm.features["season_factor"]).mean() == pytest.approx(0, abs=1e-9)
    flat, _ = daily(0, height=0.0)
    assert estimate_year_rhythm(flat, events, as_of=LAST, n=1000).strength < rhythm.strength - 0.2


@pytest.mark.row("M3.2")
@pytest.mark.slow
def test_ranges_hold_the_truth_at_their_rate() -> None:
    peaks, swings, holidays = [], [], []
    for seed in range(60):
        frame, events = daily(seed)
        rhythm = estimate_year_rhythm(frame, events, as_of=LAST, n=1000)
        peaks.append((rhythm.peak_day.lower, rhythm.peak_day.upper))
        swings.append((rhythm.swing.lower, rhythm.swing.upper))
        row = rhythm.events.set_index("event_type").loc["holiday"]
        holidays.append((row["lower"], row["upper"]))
    assert_coverage(peaks, 320, 0.95, may_be_wide=True)
    assert_coverage(holidays, -0.4, 0.95, may_be_wide=True)
    # The swing is the largest difference of a fitted curve, so it leans upward a little.
    assert_coverage(swings, float(np.expm1(0.6)), 0.85, may_be_wide=True)


def market_peak(market: str) -> float:
    world = WORLDS[market]
    lines = simulate_market(world, seed=1, n_customers=4000).tables["transactions"].to_pandas()
    amount = lines["amount"].astype(float).groupby(lines["ordered_local"].dt.normalize()).sum()
    days = pd.date_range(world.start, world.end, name="calendar_date")
    frame = amount.reindex(days, fill_value=0.0).rename("amount").reset_index()
    events = local_events(world.country, first_day=world.start, last_day=world.end)
    rhythm = estimate_year_rhythm(frame, events, as_of=world.end, n=4000)
    return rhythm.peak_day.value


@pytest.mark.row("M3.2")
def test_the_southern_market_has_the_mirrored_season() -> None:
    apart = abs(market_peak("de-fashion") - market_peak("br-fashion"))
    assert 365.25 / 2 - 50 <= apart <= 365.25 / 2 + 50


@pytest.mark.row("M3.2")
def test_less_than_two_years_is_not_a_season() -> None:
    frame, events = daily(0)
    with pytest.raises(TooFew, match="seen twice"):
        estimate_year_rhythm(frame.iloc[:500], events, as_of=LAST, n=10)


def test_holidays_are_local() -> None:
    german = local_events("DE", first_day=FIRST, last_day=LAST)
    japanese = local_events("JP", first_day=FIRST, last_day=LAST)
    assert pd.Timestamp("2023-10-03") in set(german["calendar_date"])
    assert pd.Timestamp("2023-10-03") not in set(japanese["calendar_date"])


@pytest.mark.row("M3.2")
@pytest.mark.parametrize(
    ("smallest", "verdict", "year_title", "category_title"),
    [
        (0.1, Verdict.MATTERS, "The season swings by", "Wine is the most seasonal"),
        (0.82, Verdict.CANNOT_TELL, "we cannot tell yet", "we cannot tell yet"),
        (5.0, Verdict.DOES_NOT_MATTER, "No season worth", "we cannot tell yet"),
    ],
)
def test_charts_say_no_more_than_the_finding(
    smallest: float, verdict: Verdict, year_title: str, category_title: str
) -> None:
    frame, events = daily(0)  # a swing of 82 %
    rhythm = estimate_year_rhythm(frame, events, as_of=LAST, n=1000)
    strengths = pd.DataFrame(
        {"category": ["Milk", "Wine"], "strength": [0.1, 0.8], "customers": [100, 90]}
    )
    season = season_of(rhythm, smallest)
    assert told(features, "yearly_season", season).verdict is verdict
    year = drawn(features, "yearly_season", season)
    assert year is not None
    assert year_title in str(year.title)
    categories = seasonal_categories(strengths, rhythm, smallest)
    chart = drawn(features, "category_seasons", categories)
    assert chart is not None
    assert category_title in str(chart.title)


def without_season(kind: str, days: int, seed: int, *, season: float = 0.0) -> pd.DataFrame:
    """Poisson sales: flat, with noise that lasts for weeks, a step, or one wave of customers."""
    rng = np.random.default_rng(seed)
    dates = pd.date_range("2022-01-01", periods=days, name="calendar_date")
    angle = 2 * np.pi * (np.asarray(dates.day_of_year) - 320) / 365.25
    mean = 200 * np.exp(season * np.cos(angle))
    if kind == "lasting":
        noise = np.zeros(days // 7 + 2)
        for i in range(1, len(noise)):
            noise[i] = 0.6 * noise[i - 1] + rng.normal(0, 0.12)
        mean = mean * np.exp(noise[np.arange(days) // 7])
    elif kind == "step":
        mean[rng.integers(100, days - 100) :] *= 1.5
    elif kind == "cohort":
        since = np.arange(days)[:, None] - rng.integers(0, 90, 400)[None, :]
        mean = np.where(since >= 0, 0.6 * np.exp(-since / 400), 0.0).sum(axis=1)
    return pd.DataFrame({"calendar_date": dates, "amount": rng.poisson(mean).astype(float)})


def is_seasonal(frame: pd.DataFrame) -> bool:
    last = frame["calendar_date"].iloc[-1].date()
    try:
        rhythm = estimate_year_rhythm(frame, NOTHING, as_of=last, n=400)
    except TooFew:
        return False
    words = str(told(features, "yearly_season", season_of(rhythm, 0.1)).statement)
    return "peaks" in words or "likely, its size" in words


@pytest.mark.slow
@pytest.mark.case("119")
@pytest.mark.parametrize(
    ("kind", "days"),
    [
        ("flat", 750),
        ("flat", 1096),
        ("lasting", 750),
        ("lasting", 1096),
        ("step", 750),
        ("step", 1096),
    ],
)
def test_what_is_no_season_is_rarely_called_one(kind: str, days: int) -> None:
    alarms = [is_seasonal(without_season(kind, days, seed)) for seed in range(40)]
    assert_false_alarm_rate(alarms, 0.05)


@pytest.mark.slow
@pytest.mark.case("119")
def test_a_season_is_found_in_lasting_noise() -> None:
    found = [is_seasonal(without_season("lasting", 1096, s, season=0.25)) for s in range(30)]
    assert sum(found) >= 24


@pytest.mark.case("30")
@pytest.mark.parametrize("seed", [0, 1])
def test_one_wave_of_customers_is_no_season(seed: int) -> None:
    frame = without_season("cohort", 750, seed)
    with pytest.raises(TooFew, match="do not run alike"):
        estimate_year_rhythm(frame, NOTHING, as_of=frame["calendar_date"].iloc[-1].date(), n=400)


@pytest.mark.case("119")
def test_a_step_and_flat_sales_have_no_peak() -> None:
    for kind in ("flat", "step", "lasting"):
        assert not is_seasonal(without_season(kind, 750, 3))
    assert is_seasonal(without_season("flat", 750, 3, season=0.1))
