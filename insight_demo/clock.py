"""The market's own clock: seasons, weeks, holidays, hours, and the way to UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import holidays
import numpy as np
import pandas as pd

from insight_demo.columns import Array, pick, stream
from insight_demo.worlds import World

# Shares of the day's orders by hour of the local clock.
_HOURS = {
    "web": (
        8, 4, 2, 1, 1, 2, 5, 10, 16, 22, 27, 29,
        32, 30, 28, 28, 30, 34, 40, 50, 60, 58, 40, 20,
    ),
    "app": (
        12, 6, 3, 2, 1, 3, 12, 24, 26, 20, 20, 22,
        34, 30, 22, 20, 24, 36, 44, 52, 66, 74, 60, 32,
    ),
    "store": (
        0, 0, 0, 0, 0, 0, 0, 0, 0, 6, 20, 32,
        38, 36, 34, 38, 44, 48, 40, 14, 0, 0, 0, 0,
    ),
    "office": (
        1, 1, 1, 1, 1, 2, 4, 14, 40, 62, 66, 60,
        42, 54, 64, 62, 52, 34, 14, 8, 6, 5, 3, 2,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Instants:
    """The same moments on the market's clock and in UTC, datetime64[us]."""

    local: Array
    utc: Array


def dates(world: World, days: Array) -> Array:
    """Day numbers as local dates, datetime64[D]."""
    found: Array = np.datetime64(world.start, "D") + np.asarray(days).astype("timedelta64[D]")
    return found


def public_holidays(world: World, n_days: int) -> dict[date, str]:
    """The country's public holidays within `n_days` of the start, by local date."""
    last = world.start + timedelta(days=n_days - 1)
    found = holidays.country_holidays(
        world.country,
        years=range(world.start.year, last.year + 1),
        language=_holiday_language(world),
    )
    return {day: name for day, name in sorted(found.items()) if world.start <= day <= last}


def _holiday_language(world: World) -> str | None:
    known = holidays.list_localized_countries().get(world.country, [])
    wanted = world.language.replace("-", "_")
    return next((name for name in (wanted, wanted[:2]) if name in known), None)


def wave(world: World, n_days: int, *, amplitude: float, peak_day: int) -> Array:
    """A yearly wave of mean one; the southern year is half a year behind the northern."""
    day_of_year = pd.DatetimeIndex(dates(world, np.arange(n_days))).day_of_year.to_numpy() - 1
    peak = peak_day + (182.625 if world.is_southern else 0.0)
    found: Array = 1.0 + amplitude * np.cos(2 * np.pi * (day_of_year - peak) / 365.25)
    return found


def rhythm(world: World, n_days: int) -> Array:
    """Buying by day against an average day of the history: season, weekday, holidays."""
    season = world.season
    calendar = pd.DatetimeIndex(dates(world, np.arange(n_days)))
    level = wave(world, n_days, amplitude=season.amplitude, peak_day=season.peak_day)
    level = level * np.asarray(season.weekly)[calendar.day_of_week]
    for _, month, day, days_before, factor in season.events:
        for year in sorted(set(calendar.year)):
            last = world.day(date(year, month, day))
            level[max(last - days_before + 1, 0) : max(last + 1, 0)] *= factor
    for day_off in public_holidays(world, n_days):
        level[world.day(day_off)] *= season.holiday_factor
    found: Array = level / level[: world.days].mean()
    return found


def leading_series(world: World, seed: int, n_weeks: int) -> Array:
    """Standardised weekly AR(1) (0.85) that the competitor's share shows `lead_weeks` early."""
    rng = stream(seed, world.id, "leading_series")
    noise = rng.normal(size=n_weeks + 60)
    values = np.zeros(n_weeks + 60)
    for week in range(1, len(values)):
        values[week] = 0.85 * values[week - 1] + np.sqrt(1 - 0.85**2) * noise[week]
    return values[60:]


def intensity(world: World, seed: int) -> Array:
    """Order intensity against the mean, by group and day, past the end for the future.

    Returns:
        Rows `2 * segment + in programme`, one column per day of history and future.
    """
    n_days = world.days + world.future_days
    base = rhythm(world, n_days)
    segments = world.blended()
    groups = np.tile(base, (2 * len(segments), 1))
    retail = world.retail
    if retail is None:
        return groups
    weeks = np.arange(n_days) // 7
    series = leading_series(world, seed, int(weeks[-1]) + 1 + retail.lead_weeks)
    # series[w + lead] drives the competitor in week w, series[w] drives us in week w.
    groups *= np.exp(-retail.lead_effect * series[weeks])
    if retail.concept_date is not None:
        after = np.arange(n_days) >= world.day(retail.concept_date)
        for number, segment in enumerate(segments):
            groups[2 * number : 2 * number + 2, after] *= segment.concept_factor
    if retail.programme is not None:
        groups[1::2, max(world.day(retail.programme.start), 0) :] *= 1 + retail.programme.lift
    return groups


def at_hours(
    world: World, rng: np.random.Generator, days: Array, kinds: Array, names: tuple[str, ...]
) -> Instants:
    """Draw the local time of day and carry it to UTC, through daylight saving.

    A time that the clock skips in spring moves forward to the first one that exists; one
    that it shows twice in autumn is drawn as either.

    Args:
        days: Day numbers.
        kinds: Which profile of `names` each moment follows.
        names: Profiles: web, app, store, office.
    """
    hours = pick(rng, [_HOURS[name] for name in names], kinds)
    seconds = hours * 3600 + rng.integers(0, 3600, len(days))
    wall = dates(world, days).astype("datetime64[us]") + seconds.astype("timedelta64[s]")
    return to_utc(world, wall, rng.random(len(days)) < 0.5)


def to_utc(world: World, wall: Array, is_summer_when_twice: Array) -> Instants:
    """Wall-clock times of the market as instants; see `at_hours`."""
    index = pd.DatetimeIndex(wall).tz_localize(
        world.zone, ambiguous=is_summer_when_twice, nonexistent="shift_forward"
    )
    utc = index.tz_convert("UTC").tz_localize(None).to_numpy().astype("datetime64[us]")
    local = index.tz_localize(None).to_numpy().astype("datetime64[us]")
    return Instants(local=local, utc=utc)
