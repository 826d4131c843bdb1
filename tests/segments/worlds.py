"""Simulated customers with known groups, and simulated markets as the notebook sees them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import ibis
import numpy as np
import pandas as pd

from insight_lib.demo import WORLDS, simulate_market
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
