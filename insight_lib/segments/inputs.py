"""What customers are grouped by: amounts, mixes and traits, made comparable.

Amounts are skewed, so they go through a signed logarithm and are scaled by their middle;
the few beyond the limit are pulled to it and counted. Mixes (what is bought, where) rest
on pieces bought, not on returns; a customer with few pieces is drawn towards the market's
mix, so that one purchase makes nobody a specialist. Traits are indicators.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from insight_lib.findings import TooFew
from insight_lib.orders import sold

if TYPE_CHECKING:
    import ibis.expr.types as ir

Floats = NDArray[np.float64]

_SMALL_QUANTILE = 0.05
_OUTLIER_LIMIT = 4.0  # robust standard deviations
_PRIOR_PIECES = 5.0
_NORMAL_MAD = 1.4826  # median absolute deviation to standard deviation, normal data


@dataclass(frozen=True, kw_only=True)
class Block:
    """Columns of one kind, over customers (index); together they have a variance of one.

    Attributes:
        values: Scaled, complete.
        n_outliers: Values pulled to the limit.
        n_missing: Values that were missing and stand at the middle.
    """

    name: str
    values: pd.DataFrame
    n_outliers: int = 0
    n_missing: int = 0


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Customers by scaled columns, ordered by customer, with what was done to them."""

    values: pd.DataFrame
    blocks: tuple[str, ...]
    block_of: tuple[str, ...]
    n_outliers: int
    n_missing: int

    @property
    def matrix(self) -> Floats:
        return self.values.to_numpy(dtype=float)

    @property
    def customer_id(self) -> list[str]:
        return [str(c) for c in self.values.index]


def piece_counts(lines: ir.Table, column: str, products: ir.Table | None = None) -> pd.DataFrame:
    """Pieces bought per customer and level of a column; returns do not count.

    Args:
        lines: Order lines of the window, as in `schema.TABLES`.
        column: Of `lines`, or of `products` if that is given.

    Returns:
        Customers (index, sorted) by levels (sorted); a level without a name is "unknown".
    """
    bought = lines.filter(lines.customer_id.notnull() & (lines.quantity > 0))
    if products is None:
        named = bought.mutate(level=bought[column].cast("string").coalesce("unknown"))
        by_level = named.group_by(["customer_id", "level"]).agg(pieces=named.count())
    else:
        # A line is one choice; kilograms and pieces would not add up.
        by_product = bought.group_by(["customer_id", "product_id"]).agg(pieces=bought.count())
        named = by_product.left_join(products.select("product_id", level=column), "product_id")
        named = named.mutate(level=named.level.coalesce("unknown"))
        by_level = named.group_by(["customer_id", "level"]).agg(pieces=named.pieces.sum())
    long = by_level.order_by(["customer_id", "level"]).to_pandas()
    wide = long.pivot(index="customer_id", columns="level", values="pieces")
    return wide.fillna(0.0).astype(float)


def amounts_block(
    frame: pd.DataFrame, columns: Sequence[str], *, name: str = "how much"
) -> Block | None:
    """Skewed numbers on a signed log scale; constant columns are left out.

    Args:
        frame: Customers (index) with the columns; missing values go to the middle.

    Returns:
        The block, or nothing if no column varies.
    """
    raw = frame[list(columns)].astype(float)
    # In units of each column's own small values: groups do not hang on the currency's coin.
    unit = raw.abs().where(raw != 0).quantile(_SMALL_QUANTILE).fillna(1.0)
    logged = pd.DataFrame(np.sign(raw) * np.log1p(raw.abs() / unit))
    middle = logged.median()
    spread = (logged - middle).abs().median() * _NORMAL_MAD
    # A column with more than half its values alike has no middle spread; take the plain one.
    spread = spread.where(spread > 1e-9, logged.std(ddof=0))
    keep = [c for c in columns if np.isfinite(spread[c]) and spread[c] > 1e-9]
    if not keep:
        return None
    scaled = (logged[keep] - middle[keep]) / spread[keep]
    is_outlier = scaled.abs() > _OUTLIER_LIMIT
    missing = int(scaled.isna().to_numpy().sum())
    scaled = scaled.clip(-_OUTLIER_LIMIT, _OUTLIER_LIMIT).fillna(0.0)
    return Block(
        name=name,
        values=_unit_variance(scaled),
        n_outliers=int(is_outlier.to_numpy().sum()),
        n_missing=missing,
    )


def mix_block(counts: pd.DataFrame, customers: pd.Index, *, name: str) -> Block | None:
    """Shares of a whole as square roots (Hellinger, 1909), drawn towards the market's mix.

    Args:
        counts: As from `piece_counts`.
        customers: Who to describe; without pieces they stand at the market's mix.

    Returns:
        The block, or nothing if there is only one level.
    """
    known = counts.reindex(customers).fillna(0.0)
    total = known.to_numpy().sum()
    market = known.sum() / total if total else known.sum()
    # Levels that hardly anyone buys add noise, not difference.
    rare = market.index[market < 0.01]
    known = known.drop(columns=rare).assign(
        **({"other": known[rare].sum(axis=1)} if len(rare) else {})
    )
    market = known.sum() / total if total else known.sum()
    if known.shape[1] < 2:
        return None
    sums = known.sum(axis=1)
    shares = (known + _PRIOR_PIECES * market).div(sums + _PRIOR_PIECES, axis=0)
    return Block(name=name, values=_unit_variance(shares.pow(0.5)))


def _unit_variance(values: pd.DataFrame) -> pd.DataFrame:
    centred = values - values.mean()
    total = float(centred.var(ddof=0).sum())
    return centred / np.sqrt(total) if total > 0 else centred


def combine_blocks(
    blocks: Sequence[Block | None],
    *,
    weights: Mapping[str, float] | None = None,
) -> Inputs:
    """Put blocks side by side; each weighs one unless `weights` says otherwise.

    Raises:
        TooFew: No block varies.
    """
    given = [b for b in blocks if b is not None]
    if not given:
        raise TooFew("nothing differs between customers")
    parts, block_of = [], []
    for block in given:
        weight = (weights or {}).get(block.name, 1.0)
        parts.append(block.values.add_prefix(f"{block.name}: ") * np.sqrt(weight))
        block_of += [block.name] * block.values.shape[1]
    values = pd.concat(parts, axis=1).sort_index()
    if values.isna().to_numpy().any():
        raise ValueError("blocks do not cover the same customers")
    return Inputs(
        values=values,
        blocks=tuple(b.name for b in given),
        block_of=tuple(block_of),
        n_outliers=sum(b.n_outliers for b in given),
        n_missing=sum(b.n_missing for b in given),
    )


BEHAVIOUR = ("department", "price_tier", "channel")


def lines_between(lines: ir.Table, days: tuple[date, date]) -> ir.Table:
    """Order lines of the local days, both ends included."""
    first, last = (day.isoformat() for day in days)
    return lines.filter(lines.ordered_local.date().between(first, last))


def enough_orders(lines: ir.Table, minimum_order_days: int) -> pd.Index:
    """Customers with orders on enough days, by customer_id."""
    known = lines.filter(lines.customer_id.notnull() & sold(lines, free_orders_count=True))
    days = known.group_by("customer_id").agg(n=known.ordered_local.date().nunique())
    chosen = days.filter(days.n >= minimum_order_days).order_by("customer_id")
    return pd.Index(chosen.customer_id.to_pandas(), name="customer_id")


def behaviour(
    lines: ir.Table,
    products: ir.Table | None,
    *,
    customers: pd.Index,
    accounts: pd.DataFrame | None = None,
    amounts: pd.DataFrame | None = None,
) -> tuple[Inputs, dict[str, pd.DataFrame]]:
    """What customers do: what they buy, at which price level, and where.

    How much and how often stays out unless `amounts` is given: it differs by degree and
    changes soon. Accounts with contracts are also told by what they contracted.

    Args:
        lines: Order lines of the period.
        customers: Who to describe, as from `enough_orders`.
        accounts: Customers (index) by contract amounts, as from `account_amounts`.
        amounts: Customers (index) by amounts to add as a block of their own.

    Returns:
        The inputs, and pieces per customer and level for each kind that entered.

    Raises:
        TooFew: Nothing differs between customers.
    """
    if not len(customers):
        raise TooFew("no customer has ordered on enough days")
    counts = {
        column: piece_counts(lines, column, products if column in of_products else None)
        for of_products in [() if products is None else tuple(products.columns)]
        for column in BEHAVIOUR
        if column in of_products or column in lines.columns
    }
    blocks = {name: mix_block(table, customers, name=name) for name, table in counts.items()}
    used = {name: counts[name] for name, block in blocks.items() if block is not None}
    parts = [block for block in blocks.values() if block is not None]
    for name, table in (("contract", accounts), ("how much", amounts)):
        if table is not None:
            block = amounts_block(table.reindex(customers), list(table.columns), name=name)
            parts += [block] if block is not None else []
    # How much weighs as much as all that is bought and where taken together.
    return combine_blocks(parts, weights={"how much": max(len(used), 1)}), used


def order_amounts(lines: ir.Table) -> pd.DataFrame:
    """How often and how much: customers (index) by n_orders, mean_order_amount."""
    known = lines.filter(lines.customer_id.notnull())
    by_customer = known.group_by("customer_id").agg(
        amount=known.amount.sum().cast("float64"), n_orders=known.order_id.nunique()
    )
    frame = by_customer.order_by("customer_id").to_pandas().set_index("customer_id")
    return pd.DataFrame(
        {
            "n_orders": frame["n_orders"].astype(float),
            "mean_order_amount": frame["amount"] / frame["n_orders"],
        }
    )


def account_amounts(lines: ir.Table, contracts: pd.DataFrame) -> pd.DataFrame:
    """What an account is: its mean order, its seats, and the price of a seat.

    Args:
        contracts: As in `schema.TABLES`, of the same market.

    Returns:
        Customers (index) by mean_order_amount, seats, seat_amount; by monthly_amount where
        seats are not recorded.
    """
    latest = contracts.sort_values(["customer_id", "start_date", "contract_id"])
    latest = latest.groupby("customer_id").last()
    monthly = latest["monthly_amount"].astype(float)
    found = {"mean_order_amount": order_amounts(lines)["mean_order_amount"]}
    if "seats" in latest:
        seats = latest["seats"].astype(float)
        found |= {"seats": seats, "seat_amount": monthly / seats.where(seats > 0)}
    else:
        found["monthly_amount"] = monthly
    return pd.DataFrame(found)


def range_turnover(lines: ir.Table, earlier: ir.Table) -> float | None:
    """Share of sales in the later period from products that the earlier one did not sell."""
    sold = lines.filter(lines.amount > 0)
    by_product = sold.group_by("product_id").agg(amount=sold.amount.sum().cast("float64"))
    new = by_product.anti_join(earlier.select("product_id").distinct(), "product_id")
    total, fresh = by_product.amount.sum().execute(), new.amount.sum().execute()
    return float(fresh or 0.0) / float(total) if total else None
