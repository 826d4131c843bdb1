"""What a market knows of the world around it: exchange rates, calendar, population."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pyarrow as pa

from insight_demo.clock import public_holidays
from insight_demo.columns import canonical, stream
from insight_demo.worlds import World

# One euro at the start of 2023, and at purchasing power parity; rounded official levels.
FX_EPOCH = date(2023, 1, 1)
_PER_EURO = {
    "USD": (1.07, 1.45, 0.0045),
    "BRL": (5.65, 3.55, 0.0075),
    "JPY": (140.0, 142.0, 0.0055),
    "KES": (132.0, 62.0, 0.0060),
    "GBP": (0.885, 0.98, 0.0035),
}


def fx_table(world: World, seed: int) -> pa.Table:
    """Daily rates per euro and per dollar: one walk for all markets of a seed.

    Weekends repeat Friday's rate, as published series do.
    """
    n_days = (world.end - FX_EPOCH).days + 1
    days = np.datetime64(FX_EPOCH, "D") + np.arange(n_days)
    weekday = (np.arange(n_days) + FX_EPOCH.weekday()) % 7
    level = {"EUR": np.ones(n_days)}
    parity = {"EUR": 1.0}
    for quote, (start, parity_rate, volatility) in _PER_EURO.items():
        steps = stream(seed, "fx_rates", quote).normal(0, volatility, n_days)
        steps[(weekday >= 5) | (np.arange(n_days) == 0)] = 0.0
        level[quote] = np.round(start * np.exp(np.cumsum(steps)), 6)
        parity[quote] = parity_rate
    keep = days >= np.datetime64(world.start, "D")
    pairs = [(b, q) for b in ("EUR", "USD") for q in level if q != b]
    return canonical(
        "fx_rates",
        {
            "rate_date": np.tile(days[keep], len(pairs)),
            "base_currency": np.repeat([b for b, _ in pairs], keep.sum()).tolist(),
            "quote_currency": np.repeat([q for _, q in pairs], keep.sum()).tolist(),
            "rate": np.concatenate([np.round(level[q] / level[b], 6)[keep] for b, q in pairs]),
            "purchasing_power_rate": np.repeat(
                [parity[q] / parity[b] for b, q in pairs], keep.sum()
            ),
        },
    )


def calendar_table(world: World) -> pa.Table:
    """Holidays, school breaks, harvest, paydays and retail events, a year past the end."""
    n_days = world.days + world.future_days
    rows = [(day, name, "holiday") for day, name in public_holidays(world, n_days).items()]
    last = world.start + timedelta(days=n_days - 1)
    for year in range(world.start.year - 1, last.year + 1):
        for from_month, from_day, to_month, to_day in world.school_breaks:
            first = date(year, from_month, from_day)
            until = date(year + (to_month < from_month), to_month, to_day)
            span = range((until - first).days + 1)
            rows += [(first + timedelta(days=i), "school break", "school") for i in span]
        for month in range(1, 13):
            start_of_next = date(year + month // 12, month % 12 + 1, 1)
            paid = start_of_next - timedelta(days=1)
            rows.append((paid.replace(day=world.payday or paid.day), "payday", "payday"))
        if world.harvest is not None:
            first = date(year, world.harvest[0], 1)
            until = date(year, world.harvest[1], 28)
            span = range((until - first).days + 1)
            rows += [(first + timedelta(days=i), "harvest", "harvest") for i in span]
        for name, month, day, days_before, _ in world.season.events:
            until = date(year, month, day)
            rows += [
                (until - timedelta(days=i), f"{name} shopping", "retail")
                for i in range(days_before)
            ]
    kept = sorted({row for row in rows if world.start <= row[0] <= last})
    columns = zip(*kept, strict=True)
    names = ("calendar_date", "event", "event_type")
    return canonical("calendar", {n: list(c) for n, c in zip(names, columns, strict=True)})


def age_shares(world: World) -> np.ndarray:
    """True share of each age band: the segments' mixes, weighted by the segments."""
    segments = world.blended()
    shares = np.array([s.share for s in segments])
    mixes = np.array([s.age_mix for s in segments], dtype=float)
    mixes /= mixes.sum(axis=1, keepdims=True)
    found: np.ndarray = shares @ mixes / shares.sum()
    return found


def population_table(world: World) -> pa.Table:
    """Margins of the population that the customers are drawn from."""
    margins = [("subregion", name, share) for name, share in world.subregions]
    if world.business is not None:
        margins += [("size_band", s.name, s.share) for s in world.segments]
    else:
        margins += [
            ("age_band", name, share)
            for name, share in zip(world.age_bands, age_shares(world), strict=True)
        ]
    total = world.population_people
    return canonical(
        "population",
        {
            "variable": [variable for variable, _, _ in margins],
            "level": [level for _, level, _ in margins],
            "people": [round(share * total) for _, _, share in margins],
        },
    )
