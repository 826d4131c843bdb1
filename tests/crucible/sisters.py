"""A young market beside two mature ones: what they know helps it, or does not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pandas as pd

from tests.crucible.shops import LAST_DAY
from tests.crucible.world import World, said_of

CHANNELS = ("search", "friend", "shop", "fair", "post")
REPEAT_SHARES = np.array([0.15, 0.3, 0.45, 0.6, 0.75])
DAYS = 500


@dataclass(frozen=True, kw_only=True)
class Sisters:
    """How many customers the young market has, and whether its channels are those of the others.

    Attributes:
        is_alike: Whether the share who come back by channel is the mature markets', or reversed.
    """

    n_young: int = 150
    n_mature: int = 1500
    is_alike: bool = True


def make_sisters(seed: int, plant: Sisters) -> list[World]:
    """The young market first."""
    draw = np.random.default_rng([seed, 33])
    young = REPEAT_SHARES if plant.is_alike else REPEAT_SHARES[::-1]
    return [
        _market(draw, "de-known", plant.n_young, young),
        *(_market(draw, f"{c}-mature", plant.n_mature, REPEAT_SHARES) for c in ("fr", "at")),
    ]


def _market(draw: np.random.Generator, name: str, n: int, repeat_shares: np.ndarray) -> World:
    """Each customer orders once, and again a while later if at all."""
    channel = draw.integers(0, len(CHANNELS), n)
    comes_back = draw.random(n) < repeat_shares[channel]
    first_order = draw.integers(0, DAYS - 120, n)
    customer = np.r_[np.arange(n), np.flatnonzero(comes_back)]
    day = np.r_[first_order, first_order[comes_back] + draw.integers(10, 110, comes_back.sum())]
    first = pd.Timestamp(LAST_DAY - timedelta(days=DAYS - 1))
    at = first + pd.to_timedelta(day, "D") + pd.to_timedelta(12, "h")
    people = [f"QX{i:05d}" for i in range(n)]
    lines = pd.DataFrame(
        {
            "order_id": [f"O{i:06d}" for i in range(len(customer))],
            "line_id": "1",
            "customer_id": np.array(people)[customer],
            "ordered_at": at,
            "product_id": [f"P{i:03d}" for i in draw.integers(0, 20, len(customer))],
            "quantity": 1.0,
            "amount": np.round(draw.lognormal(3, 0.4, len(customer)), 2),
            "currency": "EUR",
        }
    )
    customers = pd.DataFrame(
        {"customer_id": people, "acquisition_channel": np.array(CHANNELS)[channel]}
    )
    return World(
        id=name,
        tables={"transactions": lines, "customers": customers},
        said=said_of(name, first_day=first.date(), last_day=LAST_DAY, country=name[:2].upper()),
    )
