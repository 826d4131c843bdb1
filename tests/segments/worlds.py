"""Simulated customers with known groups, and simulated markets as the notebook sees them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import ibis
import numpy as np
import pandas as pd

from insight_demo import WORLDS, simulate_market
from insight_lib.segments.inputs import combine_blocks, mix_block, piece_counts


def planted(
    seed: int, *, k: int, n: int = 600, dimensions: int = 4, distance: float = 5.0
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Normal groups whose centres stand `distance` standard deviations apart, or further."""
    rng = np.random.default_rng(seed)
    corners = rng.permutation(
        np.array(np.meshgrid(*[[0, 1]] * dimensions)).reshape(dimensions, -1).T
    )
    truth = np.sort(rng.integers(0, k, n))
    points = corners[:k][truth] * distance + rng.normal(size=(n, dimensions))
    return points, truth, [f"c{i:05}" for i in range(n)]


def even_noise(seed: int, *, n: int = 400, dimensions: int = 4) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    return rng.uniform(size=(n, dimensions)), [f"c{i:05}" for i in range(n)]


def market(world: str, seed: int, *, n_customers: int, **changes: Any) -> Any:
    return simulate_market(replace(WORLDS[world], **changes), seed=seed, n_customers=n_customers)


def shop_inputs(simulated: Any, *, minimum_orders: int = 4, last_days: int = 365) -> Any:
    """What, at which price level, and where: the columns that the notebook uses."""
    lines = simulated.tables["transactions"]
    frame = lines.to_pandas()
    since = frame["ordered_at"].max() - pd.Timedelta(days=last_days)
    recent = frame[(frame["ordered_at"] > since) & frame["customer_id"].notna()]
    days = recent.groupby("customer_id")["ordered_at"].apply(lambda s: s.dt.date.nunique())
    customers = days[days >= minimum_orders].sort_index().index
    table = ibis.memtable(lines)
    table = table.filter(table.ordered_at > since)
    products = ibis.memtable(simulated.tables["products"])
    return combine_blocks(
        [
            mix_block(piece_counts(table, "department", products), customers, name="department"),
            mix_block(piece_counts(table, "price_tier", products), customers, name="price_tier"),
            mix_block(piece_counts(table, "channel"), customers, name="channel"),
        ]
    )


def again(points: np.ndarray, seed: int, *, noise: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """The same customers in two half years."""
    rng = np.random.default_rng(seed + 10_000)
    first, second = (points + rng.normal(size=points.shape) * noise for _ in range(2))
    return first, second


def order_lines(
    shares: dict[str, np.ndarray], seed: int, *, n_days: int = 364, orders: float = 12.0,
    pieces: float = 2.5, last_day: str = "2025-12-31", renamed_after: int | None = None,
) -> ibis.Table:  # fmt: skip
    """Order lines of customers who buy by the given shares, alike all year round.

    Args:
        shares: Column (`department`, …) to customers by levels `a`, `b`, ….
        renamed_after: Day from which every level goes by another name.
    """
    rng = np.random.default_rng(seed)
    n = len(next(iter(shares.values())))
    n_orders = np.maximum(rng.poisson(orders, n), 4)
    customer = np.repeat(np.arange(n), n_orders)
    day = rng.integers(0, n_days, len(customer))
    n_lines = np.maximum(rng.poisson(pieces, len(customer)), 1)
    order = np.repeat(np.arange(len(customer)), n_lines)
    frame = pd.DataFrame(
        {
            "customer_id": [f"c{c:05}" for c in customer[order]],
            "order_id": [f"o{o:07}" for o in order],
            "ordered_local": pd.Timestamp(last_day) - pd.to_timedelta(n_days - 1 - day[order], "D"),
            "quantity": 1.0,
            "amount": 10.0,
            "product_id": "p",
        }
    )
    for column, table in shares.items():
        edges = np.cumsum(table, axis=1)[customer[order]]
        level = (rng.random((len(order), 1)) * edges[:, -1:] > edges).sum(axis=1)
        names = np.array([chr(97 + i) for i in range(table.shape[1])])[level]
        if renamed_after is not None:
            names = np.where(day[order] >= renamed_after, np.char.add(names, " new"), names)
        frame[column] = names
    return ibis.memtable(frame)


def tastes(kind: str, seed: int, *, n: int = 500, n_levels: int = 6) -> np.ndarray:
    """Shares of customers by levels: alike, by degree (gradients), or of three kinds."""
    rng = np.random.default_rng(seed)
    base, one, other = (rng.normal(size=(1, n_levels)) * 0.5 for _ in range(3))
    power = np.repeat(base, n, axis=0)
    if kind == "one taste":
        power = power + rng.normal(size=(n, 1)) @ (1.6 * one)
    elif kind == "two tastes":
        power = power + rng.normal(size=(n, 1)) @ (1.6 * one) + rng.normal(size=(n, 1)) @ other
    elif kind == "between two mixes":
        t = rng.uniform(size=(n, 1))
        return np.asarray(t * _powers(3 * one) + (1 - t) * _powers(3 * other))
    elif kind == "three kinds":
        power = 2.5 * np.eye(3, n_levels)[rng.integers(0, 3, n)] + rng.normal(0, 0.3, (n, n_levels))
    elif kind == "three kinds, hardly apart":
        power = 0.5 * np.eye(3, n_levels)[rng.integers(0, 3, n)]
    elif kind != "alike":
        raise ValueError(kind)
    return _powers(power)


def _powers(power: np.ndarray) -> np.ndarray:
    share = np.exp(power)
    return np.asarray(share / share.sum(axis=1, keepdims=True))
