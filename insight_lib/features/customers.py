"""One row per customer, aggregated in the engine; no order line leaves it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import ibis
import pandas as pd

from insight_lib.orders import Coverage, dated, sold, window, within

if TYPE_CHECKING:
    import ibis.expr.types as ir

_YEAR_DAYS = 364
_WEEKEND = (5, 6)  # ibis: Monday is 0
_EVENING_HOURS = (17, 22)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two windows of equal length: the recent one, and the one that it is compared with.

    Attributes:
        settling_days: The recent window ends so many days before the data do, and in both only
            what came back within as many days of its order counts, so that both are of one age.
    """

    after: tuple[date, date]
    before: tuple[date, date]
    days: int
    is_year_before: bool
    settling_days: int = 0


def choose_comparison(
    as_of: date, *, days: int, held: Coverage, settling_days: int = 0
) -> Comparison:
    """The same window a year before where the data hold all of it, else the one before it.

    A year is taken as 52 weeks, so that both windows hold the same weekdays. The first four
    weeks of the data do not count: a market that has just begun is no year to compare with.

    Args:
        held: Which days the data hold.
        settling_days: As from `orders.settling_days`.

    Raises:
        TooFew: The recent window, or both that it could be compared with, have days that the
            data do not hold.
    """
    after = window(as_of, days, ago=settling_days)
    year_before = window(as_of, days, ago=settling_days + _YEAR_DAYS)
    begins_in_time = (
        held.first_day is not None and held.first_day + timedelta(days=28) <= year_before[0]
    )
    is_year_before = begins_in_time and held.is_full(year_before)
    before = year_before if is_year_before else window(as_of, days, ago=settling_days + days)
    held.require(after, before)
    return Comparison(
        after=after,
        before=before,
        days=days,
        is_year_before=is_year_before,
        settling_days=settling_days,
    )


def window_totals(by_order: ir.Table, comparison: Comparison) -> pd.DataFrame:
    """Revenue and orders of each customer in both windows.

    Returns:
        customer_id, revenue_after_amount, n_orders_after, revenue_before_amount,
        n_orders_before; customers with an order in either window, by customer_id.
    """
    after = within(by_order.order_date, comparison.after)
    before = within(by_order.order_date, comparison.before)
    chosen = by_order.filter(after | before)
    zero = ibis.literal(0, type="decimal(18, 4)")
    return (
        chosen.group_by("customer_id")
        .agg(
            revenue_after_amount=ibis.ifelse(after, chosen.amount, zero).sum(),
            n_orders_after=(after & chosen.is_purchase).sum(),
            revenue_before_amount=ibis.ifelse(before, chosen.amount, zero).sum(),
            n_orders_before=(before & chosen.is_purchase).sum(),
        )
        .order_by("customer_id")
        .to_pandas()
    )


def customer_features(
    by_order: ir.Table, *, as_of: date, history_days: int, recent_days: int, rfm_groups: int
) -> ir.Table:
    """Recency, frequency, spend, gaps, discounts, rhythm and recent change per customer.

    Args:
        by_order: As from `orders`.
        as_of: Last complete day.
        history_days: How far back to look; customers without an order in it are left out,
            those who only returned something among them.
        recent_days: Length of the recent window and of the one before it.
        rfm_groups: Groups for the three scores, largest is best.

    Returns:
        One row per customer: customer_id, first_order_date, last_order_date,
        days_since_last_order, n_orders, n_order_days, n_lines, revenue_amount,
        mean_order_amount, mean_gap_days (missing after one order day), discount_share,
        coupon_share, returned_amount, weekend_share, evening_share, n_orders_recent,
        revenue_recent_amount, n_orders_before, revenue_before_amount, recency_score,
        frequency_score, spend_score. Customers who are alike score alike, the lowest score of
        their places, so groups are of equal size only where there are no ties.
    """
    history = by_order.filter(within(by_order.order_date, window(as_of, history_days)))
    recent = within(history.order_date, window(as_of, recent_days))
    before = within(history.order_date, window(as_of, recent_days, ago=recent_days))
    zero = ibis.literal(0, type="decimal(18, 4)")
    weekend = history.order_date.day_of_week.index().isin(_WEEKEND)
    evening = history.ordered_local.hour().between(*_EVENING_HOURS)
    bought = history.is_purchase
    totals = history.group_by("customer_id").agg(
        first_order_date=history.order_date.min(where=bought),
        last_order_date=history.order_date.max(where=bought),
        n_orders=bought.sum(),
        n_order_days=history.order_date.nunique(where=bought),
        n_lines=history.n_lines.sum(),
        revenue_amount=history.amount.sum(),
        discount_amount=history.discount_amount.sum(),
        coupon_amount=history.coupon_amount.sum(),
        returned_amount=history.returned_amount.sum(),
        weekend_share=weekend.cast("float64").mean(where=bought),
        evening_share=evening.cast("float64").mean(where=bought),
        n_orders_recent=(recent & bought).sum(),
        revenue_recent_amount=ibis.ifelse(recent, history.amount, zero).sum(),
        n_orders_before=(before & bought).sum(),
        revenue_before_amount=ibis.ifelse(before, history.amount, zero).sum(),
    )
    totals = totals.filter(totals.n_orders > 0)
    span_days = totals.last_order_date.delta(totals.first_order_date, unit="day")
    gross = (totals.revenue_amount + totals.discount_amount).cast("float64")
    described = totals.mutate(
        days_since_last_order=ibis.date(as_of.isoformat()).delta(
            totals.last_order_date, unit="day"
        ),
        mean_order_amount=totals.revenue_amount.cast("float64") / totals.n_orders,
        mean_gap_days=span_days / (totals.n_order_days - 1).nullif(0),
        discount_share=totals.discount_amount.cast("float64") / gross.nullif(0),
        coupon_share=totals.coupon_amount.cast("float64") / gross.nullif(0),
    ).drop("discount_amount", "coupon_amount")

    def score(value: ir.Value) -> ir.IntegerValue:
        customers_below = ibis.rank().over(ibis.window(order_by=value))
        return customers_below * rfm_groups // described.count().over(ibis.window()) + 1

    return described.mutate(
        recency_score=score(-described.days_since_last_order),
        frequency_score=score(described.n_orders),
        spend_score=score(described.revenue_amount),
    )


@dataclass(frozen=True, kw_only=True)
class Reconciliation:
    """Revenue added up twice: from the features, and straight from the order lines.

    Attributes:
        lines_amount: Of customers with an order; `returns_only_amount` is set apart.
    """

    features_amount: Decimal
    lines_amount: Decimal
    returns_only_amount: Decimal
    n_anonymous_lines: int
    n_customers: int


def reconcile(
    lines: ir.Table,
    features: pd.DataFrame,
    days: tuple[date, date],
    *,
    free_orders_count: bool = False,
) -> Reconciliation:
    """Add revenue up both ways over the same days; amounts are exact decimals."""
    by_day = dated(lines)
    chosen = by_day.filter(within(by_day.order_date, days))
    by_customer = chosen.group_by("customer_id").agg(
        amount=chosen.amount.sum(),
        n_lines=chosen.count(),
        has_bought=sold(chosen, free_orders_count=free_orders_count).any(),
    )
    known, has_bought = by_customer.customer_id.notnull(), by_customer.has_bought
    totals = by_customer.agg(
        amount=by_customer.amount.sum(where=known & has_bought),
        returns=by_customer.amount.sum(where=known & ~has_bought),
        anonymous=by_customer.n_lines.sum(where=~known),
    ).to_pyarrow()
    return Reconciliation(
        features_amount=sum(features["revenue_amount"], Decimal(0)),
        lines_amount=totals["amount"][0].as_py() or Decimal(0),
        returns_only_amount=totals["returns"][0].as_py() or Decimal(0),
        n_anonymous_lines=totals["anonymous"][0].as_py() or 0,
        n_customers=len(features),
    )


def category_columns(lines: ir.Table, products: ir.Table, *, level: str) -> ir.Table:
    """Breadth and focus of each customer's baskets.

    Args:
        lines: Order lines of the history window, by the `order_date` of `dated`.
        products: `products`; lines without a product there count as "unknown".
        level: Column of `products` to group by, e.g. `department`.

    Returns:
        customer_id, n_categories, top_category (largest spend; ties by name),
        top_category_share of the customer's spend.
    """
    spend = category_spend(lines, products, level=level)
    spend = spend.filter(spend.amount > 0)
    rank = ibis.row_number().over(
        ibis.window(group_by="customer_id", order_by=[spend.amount.desc(), spend.category])
    )
    ranked = spend.mutate(rank=rank)
    by_customer = ranked.group_by("customer_id").agg(
        n_categories=ranked.count(),
        top_category=ranked.category.max(where=ranked["rank"] == 0),
        top_amount=ranked.amount.max(),
        total=ranked.amount.sum(),
    )
    return by_customer.mutate(
        top_category_share=by_customer.top_amount.cast("float64")
        / by_customer.total.cast("float64")
    ).drop("top_amount", "total")


LEVELS = ("department", "category", "product_type", "global_category")


def category_level(products: ir.Table | None) -> str | None:
    """The coarsest level of the taxonomy that the market's products have, if any."""
    return next(
        (name for name in LEVELS if products is not None and name in products.columns), None
    )


def category_spend(lines: ir.Table, products: ir.Table, *, level: str) -> ir.Table:
    """Spend per customer and category: customer_id, category, amount."""
    known = lines.filter(lines.customer_id.notnull())
    # Lines shrink to customer x product before the join, so the join stays small.
    by_product = known.group_by(["customer_id", "product_id"]).agg(amount=known.amount.sum())
    named = by_product.left_join(products.select("product_id", category=level), "product_id")
    named = named.mutate(category=named.category.coalesce("unknown"))
    return named.group_by(["customer_id", "category"]).agg(amount=named.amount.sum())
