"""Worlds of which the truth is known: nothing is to be found, or something of a stated size.

Every finding that could claim something in a world is judged there: how often it claims what is
not so, how often its range holds what is so, how often it finds what was planted.
"""

from __future__ import annotations

import re
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pandas as pd

from tests.crucible import results
from tests.crucible.desk import put_through
from tests.crucible.judge import judge
from tests.crucible.world import World, said_of

LAST_DAY = date(2026, 5, 31)
RECENT_DAYS = 90
CAMPAIGN_DAYS = 28
TRAITS = {
    "age_band": ["18-24", "25-34", "35-59", "60+"],
    "acquisition_channel": ["search", "friend", "shop"],
    "subregion": ["north", "south", "east", "west"],
}


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What would be said if a kind of finding spoke.

    Attributes:
        ids: Pattern of the ids of its findings.
        says: Verdicts with which it claims something.
        direction: 1 or -1 where only a claim in this direction counts as found.
    """

    stage: str
    ids: str
    says: tuple[str, ...] = ("matters",)
    direction: int = 0

    def made(self, findings: Sequence[Mapping[str, Any]]) -> bool | None:
        """Whether it is claimed; None where the page says that it cannot be measured."""
        mine = [f for f in findings if re.fullmatch(self.ids, f["id"])]
        mine = [f for f in mine if f["verdict"] != "not measurable"]
        if not mine:
            return None
        return any(
            f["verdict"] in self.says
            and (not self.direction or (f["value"] or 0) * self.direction > 0)
            for f in mine
        )


@dataclass(frozen=True, kw_only=True)
class KnownWorld:
    """A kind of world.

    Attributes:
        make: Seed to market.
        title: What is true of it, for readers.
        false: Claims that would be false there, by name.
        true: Claims that are true there, by name.
        numbers: Ids of findings to the value that the simulator knows.
        stages: The stages that have a say.
    """

    make: Callable[[int], World]
    title: str
    stages: tuple[str, ...]
    false: Mapping[str, Claim] = field(default_factory=dict)
    true: Mapping[str, Claim] = field(default_factory=dict)
    numbers: Mapping[str, float] = field(default_factory=dict)


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
    rates = np.where(kind, 0.01, 0.06) * draw.lognormal(0, 0.1, n) if plant.kinds else rates
    level = _level(draw, plant, first)
    counts = draw.poisson(rates * level.sum())
    customer = np.repeat(np.arange(n), counts)
    day = draw.choice(days, len(customer), p=level / level.sum())
    start = days - RECENT_DAYS
    is_contacted = draw.permutation(n) < n // 2
    extra = draw.poisson(rates * is_contacted * plant.effect * CAMPAIGN_DAYS)
    customer = np.r_[customer, np.repeat(np.arange(n), extra)]
    day = np.r_[day, start + draw.integers(0, CAMPAIGN_DAYS, extra.sum())]
    lines = _lines(draw, plant, customer, day, kind, first)
    people = [f"QX{i:05d}" for i in range(n)]
    traits = {name: draw.choice(levels, n) for name, levels in TRAITS.items()}
    opening = first + pd.Timedelta(days=start)
    n_events = 5 * n
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
    said = said_of("de-known", first_day=first.date(), last_day=LAST_DAY)
    return World(id="de-known", tables=tables, said=said, truth={"effect": plant.effect})


def _level(draw: np.random.Generator, plant: Plant, first: pd.Timestamp) -> np.ndarray:
    """Demand of each day, 1.0 on an ordinary one."""
    number = np.arange(plant.days)
    days = first + pd.to_timedelta(number, "D")
    level = 1 + plant.season * np.sin(2 * np.pi * np.asarray(days.dayofyear) / 365.25)
    level = level * np.where(np.asarray(days.dayofweek) == 5, 1 + plant.weekday, 1.0)
    if plant.level_noise:
        weeks = np.zeros(plant.days // 7 + 2)
        for i in range(1, len(weeks)):
            weeks[i] = 0.6 * weeks[i - 1] + draw.normal(0, plant.level_noise * 0.8)
        level = level * np.exp(weeks[number // 7])
    return level * np.where(number >= plant.days - RECENT_DAYS, plant.recent_rate, 1.0)


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


def make_contracts(seed: int, *, lead: float = 1.0) -> World:
    """Contracts that end for two reasons; the first is `lead` times as frequent."""
    draw = np.random.default_rng([seed, 32])
    n, days = 900, 1100
    first = pd.Timestamp(LAST_DAY - timedelta(days=days - 1))
    start = draw.integers(0, days - 30, n)
    by_choice = draw.exponential(1500 / lead, n)
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
    return World(id="de-known", tables=tables, said=said)


def _claims(stage: str, says: tuple[str, ...], *ids: str) -> dict[str, Claim]:
    return {i: Claim(stage=stage, ids=i, says=says) for i in ids}


_TEST = r"impact\.{}\.spring(\..*)?"
MOVES = _claims(
    "features",
    ("matters",),
    r"features\.revenue",
    r"features\.order_amount",
    r"features\.repeat_rate",
    r"features\.category_moves",
)
SEASONS = _claims("features", ("matters",), r"features\.yearly_season", r"features\.week_rhythm")
GROUPS_LEFT_OUT = _claims("features", ("review",), r"features\.excluded_groups")
SEGMENTS = _claims(
    "segments",
    ("matters",),
    r"segments\.found",
    r"segments\.difference",
    r"segments\.responsiveness",
    r"segments\.uses",
)
TRAIT_GAPS = _claims("prediction", ("matters",), r"prediction\.\w+\.gaps")
LEAKS = _claims("prediction", ("fail",), r"prediction\.leakage")
RANKINGS = _claims("prediction", ("matters",), r"prediction\.(lapse|repeat|category|value)")
WATCH = {
    **_claims("monitoring", ("matters",), r"monitoring\.drift", r"monitoring\.cause\.\w+"),
    **_claims(
        "monitoring", ("fail",), r"monitoring\.surprise\.\w+", r"monitoring\.performance\.\w+"
    ),
}
EFFECTS = _claims(
    "impact",
    ("matters",),
    _TEST.format("has_ordered"),
    _TEST.format("revenue"),
    _TEST.format("release"),
    _TEST.format("fading"),
    _TEST.format("groups"),
    _TEST.format("uplift"),
    _TEST.format("monitoring"),
    _TEST.format("value_per_contact"),
    r"impact\.split",
)
LOTTERY_CHECKS = _claims(
    "impact",
    ("fail", "review"),
    _TEST.format("sample_ratio"),
    _TEST.format("balance"),
    _TEST.format("attrition"),
    _TEST.format("carry_over"),
)
LEANS = _claims("learning", ("review",), r"learning\.slope\.\w+", r"learning\.forecast\.\w+")

ALL = (
    "features",
    "value",
    "segments",
    "prediction",
    "monitoring",
    "decisions",
    "impact",
    "learning",
)
# Lines of an order times the mean price times the mean of its lognormal factor.
ORDER_AMOUNT = (1 + 1 + 2 + 3) / 4 * (4 + 16 * 11.5 / 24) * float(np.exp(0.3**2 / 2))
KNOWN_NUMBERS = {
    "features.order_amount": ORDER_AMOUNT,
    "impact.has_ordered.spring": 0.0,
    "impact.revenue.spring": 0.0,
}


def _planted(claims: Mapping[str, Claim], name: str, direction: int = 0) -> dict[str, Claim]:
    old = claims[name]
    return {name: Claim(stage=old.stage, ids=old.ids, says=old.says, direction=direction)}


WORLDS: Mapping[str, KnownWorld] = {
    "flat_shop": KnownWorld(
        make=lambda seed: make_shop(seed, Plant()),
        title="A shop in which nothing changes: customers differ in how often they order, their "
        "traits have to do with nothing, and a campaign drawn by lot changed nothing",
        stages=ALL,
        false={
            **MOVES,
            **SEASONS,
            **GROUPS_LEFT_OUT,
            **SEGMENTS,
            **TRAIT_GAPS,
            **LEAKS,
            **WATCH,
            **EFFECTS,
            **LOTTERY_CHECKS,
            **LEANS,
        },
        numbers=KNOWN_NUMBERS,
    ),
    "alike_customers": KnownWorld(
        make=lambda seed: make_shop(seed, Plant(rate_spread=None)),
        title="The same, and every customer orders at the same rate: nobody can be told from "
        "anybody else",
        stages=("features", "segments", "prediction", "monitoring"),
        false={**SEGMENTS, **RANKINGS, **TRAIT_GAPS, **LEAKS, **WATCH},
    ),
    "wandering_level": KnownWorld(
        make=lambda seed: make_shop(seed, Plant(days=1100, level_noise=0.12)),
        title="Sales wander from week to week without any season",
        stages=("features",),
        false={**SEASONS},
    ),
    "equal_causes": KnownWorld(
        make=make_contracts,
        title="Contracts end for two reasons that are equally frequent, whatever the account",
        stages=("features", "value", "prediction"),
        false={
            **_claims("value", ("matters",), r"features\.churn_cause"),
            **_claims("prediction", ("matters",), r"prediction\.churn"),
            **LEAKS,
        },
    ),
    "a_rise": KnownWorld(
        make=lambda seed: make_shop(
            seed, Plant(recent_rate=1.3, recent_amount=1.12, recent_category=1.8)
        ),
        title="In the last 90 days orders are up by 30 %, amounts by 12 %, and one department of "
        "six is asked for 1.8 times as often",
        stages=("features",),
        true={
            **_planted(MOVES, r"features\.revenue", 1),
            **_planted(MOVES, r"features\.order_amount", 1),
            **_planted(MOVES, r"features\.category_moves"),
        },
    ),
    "a_season": KnownWorld(
        make=lambda seed: make_shop(seed, Plant(days=1100, season=0.4, weekday=1.0)),
        title="The year swings by 40 % to both sides, and Saturdays sell twice as much",
        stages=("features",),
        true={**SEASONS},
    ),
    "two_kinds": KnownWorld(
        make=lambda seed: make_shop(seed, Plant(kinds=True)),
        title="Two kinds of customers: often, small and in one department; seldom, large and in "
        "another",
        stages=("features", "segments"),
        true={**_planted(SEGMENTS, r"segments\.found")},
    ),
    "an_effect": KnownWorld(
        make=lambda seed: make_shop(seed, Plant(n_customers=2000, effect=0.5)),
        title="Those contacted order half as much again during the campaign",
        stages=("impact",),
        true={
            **_planted(EFFECTS, _TEST.format("has_ordered"), 1),
            **_planted(EFFECTS, _TEST.format("revenue"), 1),
        },
        false={**LOTTERY_CHECKS},
    ),
    "a_leading_cause": KnownWorld(
        make=lambda seed: make_contracts(seed, lead=2.5),
        title="Contracts end by choice 2.5 times as often as for want of payment",
        stages=("features", "value"),
        true={**_claims("value", ("matters",), r"features\.churn_cause")},
    ),
}


def tasks(seeds: Sequence[int], only: Sequence[str]) -> list[tuple[str, int]]:
    """One task a world and seed."""
    names = [name for name in WORLDS if not only or name in only]
    return [(name, seed) for seed in seeds for name in names]


def try_once(task: tuple[str, int]) -> tuple[str, list[str], float]:
    """Put one world through the stages that have a say; its faults are crashes alone."""
    name, seed = task
    started = monotonic()
    campaign = f"known/{name}"
    known = WORLDS[name]
    prints = {s: p for s, p in results.fingerprints().items() if s in known.stages}
    stale = results.stale_stages(campaign, seed, prints)
    if not stale:
        return f"{name} {seed}", [], 0.0
    world = known.make(seed)
    try:
        with tempfile.TemporaryDirectory() as folder:
            outcome = put_through(Path(folder), [world], stages=stale)
            stages = judge(outcome, world, results.fingerprints())
    except Exception as error:
        return f"{name} {seed}", [f"{error!r} {traceback.format_exc(limit=-3)}"], 0.0
    found = results.WorldResult(seed=seed, about=dict(world.truth), stages=stages)
    results.keep(campaign, found)
    return f"{name} {seed}", found.faults, monotonic() - started
