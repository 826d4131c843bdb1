"""Repeat purchases per customer, counted in the engine, as purchase models take them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import ibis
import numpy as np
import pandas as pd
from scipy import stats

from insight_lib.findings import Estimate, TooFew

if TYPE_CHECKING:
    import ibis.expr.types as ir


def purchase_days(by_order: ir.Table, *, as_of: date, since: date | None = None) -> ir.Table:
    """One row per customer and day with a purchase; money taken back alone is none.

    Args:
        by_order: customer_id, order_date, amount, returned_amount, is_purchase, as from
            `orders.orders`.
        as_of: Last day counted.
        since: First day counted, if not all.

    Returns:
        customer_id, order_date, amount (of the day, before anything was taken back).
    """
    chosen = by_order.filter(by_order.order_date <= ibis.date(as_of.isoformat()))
    if since is not None:
        chosen = chosen.filter(chosen.order_date >= ibis.date(since.isoformat()))
    chosen = chosen.filter(chosen.is_purchase)
    bought = chosen.amount + chosen.returned_amount
    return chosen.group_by(["customer_id", "order_date"]).agg(amount=bought.sum().cast("float64"))


def purchase_summary(
    by_order: ir.Table, *, as_of: date, unit_days: int = 7, settling_days: int = 0
) -> ir.Table:
    """What the purchase models need to know of each customer.

    Args:
        by_order: As in `purchase_days`.
        as_of: Last complete day; later orders are not read.
        unit_days: Length of the unit of time.
        settling_days: As from `orders.settling_days`; younger orders say nothing yet about
            what is taken back.

    Returns:
        One row per customer: customer_id, frequency (purchase days after the first),
        recency (first to last purchase day, in units; zero without a repeat), age (first
        purchase day to `as_of`, in units), repeat_amount (mean of the repeat purchase days,
        missing without a repeat), first_amount (of the first purchase day), settled_amount and
        settled_back_amount (bought, and taken back of it, in settled orders).
    """
    days = purchase_days(by_order, as_of=as_of)
    first = days.order_date.min().over(ibis.window(group_by="customer_id"))
    marked = days.mutate(first_date=first)
    totals = marked.group_by("customer_id").agg(
        frequency=marked.count() - 1,
        first_date=marked.first_date.min(),
        last_date=marked.order_date.max(),
        first_amount=marked.amount.sum(where=marked.order_date == marked.first_date),
        later_amount=marked.amount.sum(where=marked.order_date > marked.first_date),
    )
    until = ibis.date((as_of - timedelta(days=settling_days)).isoformat())
    settled = by_order.filter(by_order.order_date <= until)
    money = settled.group_by("customer_id").agg(
        settled_amount=(settled.amount + settled.returned_amount).sum().cast("float64"),
        settled_back_amount=settled.returned_amount.sum().cast("float64"),
    )
    totals = totals.left_join(money, "customer_id")
    unit = float(unit_days)
    return totals.select(
        "customer_id",
        frequency=totals.frequency.cast("int64"),
        recency=totals.last_date.delta(totals.first_date, unit="day") / unit,
        age=ibis.date(as_of.isoformat()).delta(totals.first_date, unit="day") / unit,
        repeat_amount=totals.later_amount / totals.frequency.nullif(0),
        first_amount=totals.first_amount,
        settled_amount=totals.settled_amount.coalesce(0.0),
        settled_back_amount=totals.settled_back_amount.coalesce(0.0),
    )


def purchase_counts(summary: ir.Table) -> pd.DataFrame:
    """Customers with the same frequency, recency and age, counted in the engine.

    Returns:
        frequency, recency, age, customers; sorted, so that sums repeat to the last digit.
    """
    keys = ["frequency", "recency", "age"]
    counted = summary.group_by(keys).agg(customers=summary.count())
    return counted.order_by(keys).to_pandas()


@dataclass(frozen=True, kw_only=True)
class Regularity:
    """How regular the gaps between purchases are.

    Attributes:
        shape: Erlang shape of the gaps: one is random buying, as the purchase models assume;
            larger is more regular, smaller comes in bursts.
    """

    shape: Estimate


def estimate_regularity(by_order: ir.Table, *, as_of: date, level: float = 0.95) -> Regularity:
    """Compare each customer's first gap with the second (Wheat and Morrison, 1990).

    Under random buying the first gap's share of both is uniform, whatever the customer's
    rate and wherever observation ends; under Erlang buying it is beta. Whole days are
    treated as cells: gap less half a day over the sum less one.

    Raises:
        TooFew: Fewer than thirty customers with two gaps of more than two days together.
    """
    days = purchase_days(by_order, as_of=as_of)
    ordered = ibis.window(group_by="customer_id", order_by="order_date")
    ranked = days.mutate(
        rank=ibis.row_number().over(ordered),
        first_gap=days.order_date.delta(days.order_date.lag().over(ordered), unit="day"),
        second_gap=days.order_date.lead().over(ordered).delta(days.order_date, unit="day"),
    )
    pairs = ranked.filter((ranked["rank"] == 1) & ranked.second_gap.notnull())
    cells = (pairs.first_gap + pairs.second_gap - 1).cast("float64")
    squares = ((pairs.first_gap - 0.5) / cells - 0.5) ** 2 + 1 / (12 * cells**2)
    pairs = pairs.mutate(cells=cells, squares=squares).filter(cells > 1)
    sums = pairs.agg(
        n=pairs.count(), mean=pairs.squares.mean(), squared=(pairs.squares**2).mean()
    ).to_pandas()
    n = int(sums["n"][0])
    if n < 30:
        raise TooFew(f"{n} customers with three purchase days, and it takes at least thirty")
    variance = float(sums["mean"][0])
    error = float(np.sqrt(max(float(sums["squared"][0]) - variance**2, 0.0) / n))
    half = float(stats.norm.ppf(0.5 + level / 2)) * error

    def shape(spread: float) -> float:
        return (1 / spread - 4) / 8

    return Regularity(
        shape=Estimate(
            value=shape(variance),
            lower=shape(min(variance + half, 0.25)),
            upper=shape(max(variance - half, 1e-6)),
            unit="ratio",
            n=n,
            as_of=as_of,
            level=level,
            method="shares of two successive gaps (Wheat and Morrison, 1990)",
        )
    )


@dataclass(frozen=True, kw_only=True)
class LaterPurchases:
    """Purchases after a cut, counted in the engine.

    Attributes:
        by_day: days_after_cut, purchases of customers known at the cut.
        by_frequency: frequency at the cut, customers, purchases after the cut.
        new_customers: First seen after the cut.
        new_purchases: Their purchase days, the first included.
    """

    by_day: pd.DataFrame
    by_frequency: pd.DataFrame
    new_customers: int
    new_purchases: int


def later_purchases(by_order: ir.Table, *, cut: date, as_of: date) -> LaterPurchases:
    """Count what happened after the cut, customers first seen later apart.

    Args:
        cut: Last day that the model may see.
        as_of: Last complete day.
    """
    known = purchase_summary(by_order, as_of=cut).select("frequency", known_id="customer_id")
    later = purchase_days(by_order, as_of=as_of, since=cut + timedelta(days=1))
    after = later.order_date.delta(ibis.date(cut.isoformat()), unit="day")
    later = later.mutate(days_after_cut=after)
    joined = later.left_join(known, later.customer_id == known.known_id)
    old = joined.filter(joined.known_id.notnull())
    by_day = old.group_by("days_after_cut").agg(purchases=old.count())
    per_customer = old.group_by("known_id").agg(purchases=old.count())
    counted = known.left_join(per_customer, "known_id")
    by_frequency = counted.group_by("frequency").agg(
        customers=counted.count(), purchases=counted.purchases.coalesce(0).sum()
    )
    new = joined.filter(joined.known_id.isnull())
    totals = new.agg(customers=new.customer_id.nunique(), purchases=new.count()).to_pandas()
    return LaterPurchases(
        by_day=by_day.order_by("days_after_cut").to_pandas(),
        by_frequency=by_frequency.order_by("frequency").to_pandas(),
        new_customers=int(totals["customers"][0]),
        new_purchases=int(totals["purchases"][0]),
    )
