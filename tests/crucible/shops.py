"""Makers of worlds of which the truth is known: shops, contracts, places."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pandas as pd

from tests.crucible.world import World, said_of

LAST_DAY = date(2026, 5, 31)
RECENT_DAYS = 90
CAMPAIGN_DAYS = 28
TRAITS = {
    "age_band": ["18-24", "25-34", "35-59", "60+"],
    "acquisition_channel": ["search", "friend", "shop"],
}
EVENTS_PER_CUSTOMER = 5
# Lines of an order times the mean price times the mean of its lognormal factor.
ORDER_AMOUNT = (1 + 1 + 2 + 3) / 4 * (4 + 16 * 11.5 / 24) * float(np.exp(0.3**2 / 2))


@dataclass(frozen=True, kw_only=True)
class Plant:
    """What a shop is made with; as it stands, nothing is to be found.

    Attributes:
        rate_spread: Shape of the gamma of rates; None where all customers are alike.
        season: Swing of the year, as a share of the mean.
        weekday: Rise of Saturdays, as a share.
        level_noise: Spread of a level that wanders from week to week (AR 0.6), in logs.
        recent_rate: Factor on orders in the last 90 days.
        recent_amount: Factor on amounts in the last 90 days.
        recent_category: Factor on the demand for one department in the last 90 days.
        effect: Extra orders of those contacted during the campaign, as a share.
        kinds: Whether there are two kinds of customers.
        is_by_lot: Whether those contacted were drawn, or chosen among who orders often.
        place_noise: Spread of a level that wanders by itself in each place (AR 0.6), in logs.
        programme: Rise of orders in a quarter of the places in the last 90 days; None where no
            programme is declared.
    """

    n_customers: int = 600
    days: int = 800
    mean_rate: float = 0.02
    rate_spread: float | None = 1.5
    season: float = 0.0
    weekday: float = 0.0
    level_noise: float = 0.0
    recent_rate: float = 1.0
    recent_amount: float = 1.0
    recent_category: float = 1.0
    effect: float = 0.0
    kinds: bool = False
    is_by_lot: bool = True
    n_places: int = 4
    place_noise: float = 0.0
    programme: float | None = None


def make_shop(seed: int, plant: Plant) -> World:
    """A shop with a campaign by lot, and with traits that have to do with nothing."""
    draw = np.random.default_rng([seed, 31])
    n, days = plant.n_customers, plant.days
    first = pd.Timestamp(LAST_DAY - timedelta(days=days - 1))
    if plant.rate_spread is None:
        rates = np.full(n, plant.mean_rate)
    else:
        rates = draw.gamma(plant.rate_spread, plant.mean_rate / plant.rate_spread, n)
    kind = draw.random(n) < 0.5 if plant.kinds else np.zeros(n, bool)
    place = draw.integers(0, plant.n_places, n)
    rates = np.where(kind, 0.01, 0.06) * draw.lognormal(0, 0.1, n) if plant.kinds else rates
    start = days - RECENT_DAYS
    level = _level(draw, plant, first)
    customers, on_days = [], []
    for number in range(plant.n_places):
        here = level * _wander(draw, plant.place_noise, days)
        if plant.programme is not None and number < plant.n_places // 4:
            here = here * np.where(np.arange(days) >= start, 1 + plant.programme, 1.0)
        inside = np.flatnonzero(place == number)
        customers.append(np.repeat(inside, draw.poisson(rates[inside] * here.sum())))
        on_days.append(draw.choice(days, len(customers[-1]), p=here / here.sum()))
    customer, day = np.concatenate(customers), np.concatenate(on_days)
    liking = draw.permutation(n) if plant.is_by_lot else np.argsort(np.argsort(-rates))
    is_contacted = liking < n // 2
    extra = draw.poisson(rates * is_contacted * plant.effect * CAMPAIGN_DAYS)
    customer = np.r_[customer, np.repeat(np.arange(n), extra)]
    day = np.r_[day, start + draw.integers(0, CAMPAIGN_DAYS, extra.sum())]
    lines = _lines(draw, plant, customer, day, kind, first)
    people = [f"QX{i:05d}" for i in range(n)]
    traits = {name: draw.choice(levels, n) for name, levels in TRAITS.items()}
    traits["subregion"] = np.array([f"place {i + 1}" for i in range(plant.n_places)])[place]
    opening = first + pd.Timedelta(days=start)
    n_events = EVENTS_PER_CUSTOMER * n
    tables = {
        "transactions": lines,
        "products": _products(),
        "customers": pd.DataFrame({"customer_id": people, **traits}),
        "campaigns": pd.DataFrame(
            {
                "campaign_id": ["spring"],
                "campaign_type": ["offer"],
                "start_date": [opening],
                "end_date": [opening + pd.Timedelta(days=CAMPAIGN_DAYS - 1)],
                "cost_per_contact_amount": [0.01],
                "currency": ["EUR"],
            }
        ),
        "assignments": pd.DataFrame(
            {
                "campaign_id": "spring",
                "customer_id": people,
                "arm": np.where(is_contacted, "mailed", "control"),
                "is_randomised": True,
                "assigned_at": opening,
                "planned_share": 0.5,
            }
        ),
        "interactions": pd.DataFrame(
            {
                "event_id": [f"E{i:06d}" for i in range(n_events)],
                "customer_id": draw.choice(people, n_events),
                "occurred_at": first
                + pd.to_timedelta(draw.integers(0, 86_400 * days, n_events), "s"),
                "touchpoint": draw.choice(["app", "web", "email"], n_events),
                "event_type": "visit",
            }
        ),
    }
    said = said_of(
        "de-known",
        first_day=first.date(),
        last_day=LAST_DAY,
        parameters=_programme(plant, opening) if plant.programme is not None else None,
    )
    truth = _what_will_come(draw, rates, customer, day, days)
    return World(id="de-known", tables=tables, said=said, truth=truth)


def _programme(plant: Plant, opening: pd.Timestamp) -> dict[str, dict[str, object]]:
    treated = [f"place {i + 1}" for i in range(plant.n_places // 4)]
    return {"impact": {"programme_start": opening.date(), "programme_places": treated}}


def _what_will_come(
    draw: np.random.Generator,
    rates: np.ndarray,
    customer: np.ndarray,
    day: np.ndarray,
    days: int,
) -> dict[str, float]:
    """The year after, and what is true of customers; for shops in which nothing changes."""
    known = np.unique(customer)
    orders = draw.poisson(rates[known].sum() * 365)
    entered = np.unique(customer[(day >= days - 2 * 90) & (day < days - 90)])
    return {
        "next_year_amount": float(orders * ORDER_AMOUNT),
        "repeat_share": float(np.mean(1 - np.exp(-90 * rates[entered]))) if len(entered) else 0.0,
        "silent_share": float(np.exp(-EVENTS_PER_CUSTOMER * 90 / days)),
    }


def _level(draw: np.random.Generator, plant: Plant, first: pd.Timestamp) -> np.ndarray:
    """Demand of each day, 1.0 on an ordinary one."""
    number = np.arange(plant.days)
    days = first + pd.to_timedelta(number, "D")
    level = 1 + plant.season * np.sin(2 * np.pi * np.asarray(days.day_of_year) / 365.25)
    level = level * np.where(np.asarray(days.day_of_week) == 5, 1 + plant.weekday, 1.0)
    level = level * _wander(draw, plant.level_noise, plant.days)
    return level * np.where(number >= plant.days - RECENT_DAYS, plant.recent_rate, 1.0)


def _wander(draw: np.random.Generator, noise: float, days: int) -> np.ndarray:
    """A level that wanders from week to week around one."""
    weeks = np.zeros(days // 7 + 2)
    if noise:
        for i in range(1, len(weeks)):
            weeks[i] = 0.6 * weeks[i - 1] + draw.normal(0, noise * 0.8)
    return np.exp(weeks[np.arange(days) // 7])


def _products() -> pd.DataFrame:
    names = [f"P{i:03d}" for i in range(24)]
    return pd.DataFrame({"product_id": names, "department": [f"dep{i % 6}" for i in range(24)]})


def _lines(
    draw: np.random.Generator,
    plant: Plant,
    customer: np.ndarray,
    day: np.ndarray,
    kind: np.ndarray,
    first: pd.Timestamp,
) -> pd.DataFrame:
    n_lines = draw.choice([1, 1, 2, 3], len(customer))
    order = np.repeat(np.arange(len(customer)), n_lines)
    n = len(order)
    is_recent = day[order] >= plant.days - RECENT_DAYS
    seconds = draw.integers(8 * 3600, 20 * 3600, len(customer))
    at = first + pd.to_timedelta(day, "D") + pd.to_timedelta(seconds, "s")
    product = draw.integers(0, 24, n)
    if plant.recent_category != 1.0:  # some of the demand for the rest turns to one department
        share = plant.recent_category / 6
        turns = is_recent & (draw.random(n) < (share - 1 / 6) / (1 - 1 / 6))
        product = np.where(turns, 6 * draw.integers(0, 4, n), product)
    if plant.kinds:
        own = np.where(kind[customer[order]], 6 * draw.integers(0, 4, n), 1 + product // 6 * 6)
        product = np.where(draw.random(n) < 0.9, own, product)
    price = np.round(4 + 16 * ((np.arange(24) * 7) % 24) / 24, 2)
    amount = price[product] * draw.lognormal(0, 0.3, n)
    amount = amount * np.where(is_recent, plant.recent_amount, 1.0)
    amount = amount * np.where(kind[customer[order]], 5.0, 1.0)
    return pd.DataFrame(
        {
            "order_id": [f"O{i:06d}" for i in order],
            "line_id": [str(i) for i in range(n)],
            "customer_id": [f"QX{i:05d}" for i in customer[order]],
            "ordered_at": at[order],
            "product_id": [f"P{i:03d}" for i in product],
            "quantity": 1.0,
            "amount": np.round(amount, 2),
            "currency": "EUR",
        }
    )


@dataclass(frozen=True, kw_only=True)
class Contracts:
    """Contracts that end for two reasons; the first is `lead` times as frequent."""

    lead: float = 1.0


def make_contracts(seed: int, plant: Contracts) -> World:
    """Contracts of accounts that have nothing to do with how they end."""
    draw = np.random.default_rng([seed, 32])
    n, days = 900, 1100
    first = pd.Timestamp(LAST_DAY - timedelta(days=days - 1))
    start = draw.integers(0, days - 30, n)
    by_choice = draw.exponential(1500 / plant.lead, n)
    unpaid = draw.exponential(1500, n)
    life = np.minimum(by_choice, unpaid).astype(int) + 1
    is_over = start + life < days
    reason = np.where(by_choice < unpaid, "voluntary", "payment")
    size = draw.choice(["small", "large"], n)
    people = [f"QX{i:05d}" for i in range(n)]
    begin = first + pd.to_timedelta(start, "D")
    contracts = pd.DataFrame(
        {
            "contract_id": [f"K{i:05d}" for i in range(n)],
            "customer_id": people,
            "start_date": begin,
            "term_end_date": begin + pd.Timedelta(days=365),
            "end_date": pd.Series(first + pd.to_timedelta(start + life, "D")).where(is_over),
            "end_reason": pd.Series(reason, dtype=object).where(is_over),
            "monthly_amount": np.round(draw.lognormal(4, 0.5, n), 2),
            "currency": "EUR",
            "seats": draw.integers(1, 60, n),
            "plan": draw.choice(["basic", "plus"], n),
        }
    )
    tables = {
        "contracts": contracts,
        "customers": pd.DataFrame({"customer_id": people, "size_band": size}),
    }
    said = said_of("de-known", first_day=first.date(), last_day=LAST_DAY)
    truth = {"lives_24_months": float(np.exp(-(1 + plant.lead) * 730.5 / 1500))}
    return World(id="de-known", tables=tables, said=said, truth=truth)
