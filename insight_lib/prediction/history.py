"""What was known of customers on a day, as expressions of the engine.

Each function answers for several cuts at once. Money stays an exact decimal until it is added
up, so that the same data give the same numbers whatever the order of the parts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import ibis
import pandas as pd

from insight_lib.market_view import optional
from insight_lib.orders import sold

if TYPE_CHECKING:
    import ibis.expr.types as ir

_YEAR_DAYS = 365
_WEEKEND = (5, 6)  # ibis: Monday is 0
_MOST_TOUCHPOINTS = 6
_MONEY = "decimal(18, 4)"
_NOTHING = ibis.literal(0, type=_MONEY)


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Days: looked ahead, looked back, and within which a customer counts as active.

    Attributes:
        free_orders_count: Whether an order of nothing is an order, as in `orders.sold`.
    """

    horizon_days: int
    history_days: int
    active_days: int
    free_orders_count: bool = False


def known_lines(lines: ir.Table) -> ir.Table:
    """Order lines of known customers, with their local `day` and money as exact decimals."""
    known = lines.filter(lines.customer_id.notnull())
    known = known.mutate(day=known.ordered_local.date())
    for name in ("amount", "discount_amount", "coupon_amount"):
        given = known[name] if name in known.columns else _NOTHING
        known = known.mutate(**{name: given.cast(_MONEY).fill_null(_NOTHING)})
    return known


def order_parts(lines: ir.Table, *, free_orders_count: bool = False) -> ir.Table:
    """Order lines as parts: one row per customer, order and day on which lines came.

    Returns:
        customer_id, order_id, day, amount, discount_amount, coupon_amount, returned_amount,
        has_bought.
    """
    known = known_lines(lines)
    return known.group_by(["customer_id", "order_id", "day"]).agg(
        amount=known.amount.sum(),
        discount_amount=known.discount_amount.sum(),
        coupon_amount=known.coupon_amount.sum(),
        returned_amount=ibis.ifelse(known.amount < 0, -known.amount, _NOTHING).sum(),
        has_bought=sold(known, free_orders_count=free_orders_count).any(),
    )


def department_days(
    lines: ir.Table, products: ir.Table, *, since: date, free_orders_count: bool = False
) -> ir.Table:
    """Order lines after a day as one row per customer, day and department of the product."""
    known = known_lines(lines)
    known = known.filter(known.day > ibis.date(since.isoformat()))
    named = known.left_join(
        products.select("product_id", "department"), "product_id", rname="of_{name}"
    )
    return named.group_by(["customer_id", "day", "department"]).agg(
        amount=named.amount.sum(),
        has_bought=sold(named, free_orders_count=free_orders_count).any(),
    )


def at_cuts(rows: ir.Table, days: ir.Table, *, history_days: int, day: str = "day") -> ir.Table:
    """Rows of the `history_days` up to each cut, once for every cut that they belong to."""
    first = days.cut - ibis.interval(days=history_days)
    return rows.join(days.mutate(first=first), [rows[day] <= days.cut, rows[day] > first])


def order_features(
    tables: Mapping[str, ir.Table], days: ir.Table, windows: Windows
) -> list[ir.Table]:
    """What customers with an order in the history had bought by each cut.

    Args:
        tables: `transactions`, and `products` where there are any.
        days: One row per `cut`.

    Returns:
        Tables by cut and customer_id: recency, frequency, spend, discounts and recent change;
        and, with departments of products, breadth and focus of the baskets.
    """
    lines = tables["transactions"]
    parts = order_parts(lines, free_orders_count=windows.free_orders_count)
    began = (
        parts.filter(parts.has_bought).group_by("customer_id").agg(first_day=lambda t: t.day.min())
    )
    at = at_cuts(parts, days, history_days=windows.history_days)
    step = ibis.interval(days=windows.horizon_days)
    recent = at.day > at.cut - step
    before = ~recent & (at.day > at.cut - step - step)
    bought = at.has_bought
    totals = at.group_by(["cut", "customer_id"]).agg(
        last=at.day.max(where=bought),
        first=at.day.min(where=bought),
        n_orders=at.order_id.nunique(where=bought),
        n_order_days=at.day.nunique(where=bought),
        revenue_amount=at.amount.sum(),
        discount=at.discount_amount.sum(),
        coupon=at.coupon_amount.sum(),
        returned=at.returned_amount.sum(),
        weekend_share=at.day.day_of_week.index().isin(_WEEKEND).cast("float64").mean(where=bought),
        n_orders_recent=at.order_id.nunique(where=bought & recent),
        n_orders_before=at.order_id.nunique(where=bought & before),
        revenue_recent_amount=ibis.ifelse(recent, at.amount, _NOTHING).sum(),
        revenue_before_amount=ibis.ifelse(before, at.amount, _NOTHING).sum(),
    )
    # Decimals add up alike in any order; they become floats once they are added up.
    money = [name for name, kind in totals.schema().items() if kind.is_decimal()]
    totals = totals.mutate(**{name: totals[name].cast("float64") for name in money})
    totals = totals.filter(totals.n_orders > 0).left_join(began, "customer_id")
    totals = _with_first_sight(totals, tables.get("customers"))
    since = totals.cut.delta(totals["last"], unit="day")
    gap = totals["last"].delta(totals["first"], unit="day") / (totals.n_order_days - 1).nullif(0)
    gross = (totals.revenue_amount + totals.discount + totals.returned).nullif(0)
    age = totals.cut.delta(totals.first_day, unit="day")
    tenure = totals.cut.delta(totals.known_since, unit="day")
    customers = totals.select(
        "cut",
        "customer_id",
        "n_orders",
        "n_order_days",
        "revenue_amount",
        "weekend_share",
        "n_orders_recent",
        "n_orders_before",
        "revenue_recent_amount",
        "revenue_before_amount",
        days_since_last_order=since,
        mean_gap_days=gap,
        gap_ratio=since / gap,
        mean_order_amount=totals.revenue_amount / totals.n_orders,
        discount_share=totals.discount / gross,
        coupon_share=totals.coupon / gross,
        returned_share=totals.returned / gross,
        # Older than the history is old: otherwise the age of the data would stand here.
        tenure_days=ibis.least(tenure, windows.history_days),
        is_new=(age < windows.horizon_days).cast("float64"),
    )
    products = tables.get("products")
    if products is None or "department" not in products.columns:
        return [customers]
    first = pd.Timestamp(days.cut.min().execute()).date()
    since = first - timedelta(days=windows.history_days)
    by_department = department_days(
        lines, products, since=since, free_orders_count=windows.free_orders_count
    )
    at = at_cuts(by_department, days, history_days=windows.history_days)
    spend = at.group_by(["cut", "customer_id", "department"]).agg(amount=at.amount.sum())
    spend = spend.filter((spend.amount > 0) & spend.department.notnull())
    place = ibis.row_number().over(
        ibis.window(
            group_by=["cut", "customer_id"], order_by=[spend.amount.desc(), spend.department]
        )
    )
    ranked = spend.mutate(place=place)
    top = ranked.place == 0
    baskets = ranked.group_by(["cut", "customer_id"]).agg(
        n_categories=ranked.count(),
        top_category=ranked.department.max(where=top),
        top_category_share=ranked.amount.max(where=top).cast("float64")
        / ranked.amount.sum().cast("float64"),
    )
    return [customers, baskets]


def _with_first_sight(totals: ir.Table, customers: ir.Table | None) -> ir.Table:
    """The day since which a customer is known: as recorded, else the first order looked back to.

    Every cut looks back equally far. The start of the file, which is nearer to early cuts,
    would otherwise make customers of later ones look older than they are.
    """
    if customers is None or "first_seen_date" not in customers.columns:
        return totals.mutate(known_since=totals["first"])
    seen = customers.select("customer_id", seen=customers.first_seen_date.cast("date"))
    joined = totals.left_join(seen, "customer_id", rname="of_{name}")
    earlier = joined.seen.notnull() & (joined.seen < joined["first"])
    return joined.mutate(known_since=ibis.ifelse(earlier, joined.seen, joined["first"]))


def first_event_day(events: ir.Table) -> date:
    """The local day of the first event; the last day there is, if there is none."""
    first = events.occurred_local.min().execute()
    return date.max if pd.isna(first) else pd.Timestamp(first).date()


def arrived_events(events: ir.Table) -> ir.Table:
    """Events of known customers with their local `day` and the local day they reached us."""
    known = events.filter(events.customer_id.notnull())
    happened = known.occurred_local
    arrived = happened
    if "received_at" in known.columns:
        took = known.received_at.epoch_seconds() - known.occurred_at.epoch_seconds()
        arrived = happened + took.fill_null(0).as_interval("s")
    return known.mutate(day=happened.date(), arrived_day=arrived.date())


def usual_touchpoints(events: ir.Table, until: date) -> list[str]:
    """The touchpoints with most events that had reached us by a day, by name.

    Those that came later would tell an early cut what it cannot know.
    """
    known = arrived_events(events)
    known = known.filter(known.arrived_day <= ibis.date(until.isoformat()))
    counts = known.group_by("touchpoint").agg(n=known.count())
    chosen = counts.order_by([ibis.desc("n"), "touchpoint"]).limit(_MOST_TOUCHPOINTS)
    return sorted(chosen.touchpoint.to_pandas())


def _slug(name: str) -> str:
    """A touchpoint as part of a column's name, with every letter of every script."""
    return re.sub(r"\W+", "_", name.lower()).strip("_")


def event_features(
    events: ir.Table, days: ir.Table, windows: Windows, *, touchpoints: Sequence[str]
) -> ir.Table:
    """Touchpoint events that had reached us by the cut, by the day they happened."""
    at = at_cuts(arrived_events(events), days, history_days=2 * windows.horizon_days)
    at = at.filter(at.arrived_day <= at.cut)
    recent = at.day > at.cut - ibis.interval(days=windows.horizon_days)
    by_touchpoint = {
        f"n_{_slug(name)}_recent": (recent & (at.touchpoint == name)).sum() for name in touchpoints
    }
    return at.group_by(["cut", "customer_id"]).agg(
        n_events_recent=recent.sum(), n_events_before=(~recent).sum(), **by_touchpoint
    )


def in_force(contracts: ir.Table, days: ir.Table) -> ir.Table:
    """Contracts once for every cut at which they were in force."""
    end_date = optional(contracts, "end_date", "date")
    runs = end_date.isnull() | (end_date > days.cut)
    return contracts.join(days, [contracts.start_date <= days.cut, runs])


def contract_features(tables: Mapping[str, ir.Table], days: ir.Table) -> ir.Table:
    """What accounts with a contract in force had agreed and paid by each cut.

    Args:
        tables: `contracts`, and `payments` where there are any.
        days: One row per `cut`.

    Returns:
        By cut and customer_id: plan, seats, prices, tenure, days to the yearly renewal, and
        payments of the last half year that were late or open.
    """
    contracts = tables["contracts"]
    at = in_force(contracts, days)
    latest = ibis.row_number().over(
        ibis.window(
            group_by=["cut", "customer_id"], order_by=[at.start_date.desc(), at.contract_id]
        )
    )
    began = contracts.group_by("customer_id").agg(first_day=contracts.start_date.min())
    current = at.mutate(place=latest)
    current = current.filter(current.place == 0).left_join(began, "customer_id")
    # A renewal writes a later end over the one that stood there, so only its day of the year
    # was surely known at an earlier cut.
    to_end = current.term_end_date.delta(current.cut, unit="day")
    amount = current.monthly_amount.cast("float64")
    seats = optional(current, "seats", "float64")
    accounts = current.select(
        "cut",
        "customer_id",
        plan=optional(current, "plan", "string"),
        seats=seats,
        monthly_amount=amount,
        seat_amount=amount / seats.nullif(0),
        tenure_days=current.cut.delta(current.first_day, unit="day"),
        days_to_renewal=(to_end % _YEAR_DAYS + _YEAR_DAYS) % _YEAR_DAYS,
    )
    if "payments" not in tables:
        return accounts
    due = at_cuts(tables["payments"], days, history_days=182, day="due_date")
    paid_date = optional(due, "paid_date", "date")
    paid = paid_date.notnull() & (paid_date <= due.cut)
    owed = due.group_by(["cut", "customer_id"]).agg(
        n_unpaid=(~paid).sum(),
        n_paid_late=(paid & (paid_date > due.due_date)).sum(),
    )
    joined = accounts.left_join(owed, ["cut", "customer_id"], rname="of_{name}")
    return joined.drop("of_cut", "of_customer_id")


def ahead_of(rows: ir.Table, *, days: ir.Table, horizon_days: int) -> ir.Table:
    """Rows of the horizon after each cut."""
    last = days.cut + ibis.interval(days=horizon_days)
    return rows.join(days, [rows.day > days.cut, rows.day <= last])
