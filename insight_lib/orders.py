"""What an order, a purchase, a return and a covered day are: defined here once, for all stages.

- A line is **sold** if money was paid for it; of nothing only where the market declares it.
- An order with a sold line is a **purchase**; its day is the day on which it began.
- Money taken back belongs to the sale that it takes back, whatever number it carries, so that
  spend is net of it and falls on the sale's day. Where no sale fits it stands on its own day.
- A day is **covered** if the data are known to hold it: see `Coverage`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import ibis
import numpy as np
import pandas as pd

from insight_lib.findings import TooFew

if TYPE_CHECKING:
    import ibis.expr.types as ir

_ZERO = ibis.literal(0, type="decimal(18, 4)")
_CREDIT = ["order_id", "customer_id", "product_id", "amount", "ordered_local"]
_SETTLED_SHARE = 0.98  # of the money that comes back has come back after so many days
_LONGEST_SETTLING_DAYS = 92
_SMALLEST_RETURNED_SHARE = 0.005  # of sales; less moves no comparison
_FEWEST_RETURNED_LINES = 20
_GAP_OPEN_DAYS = 4  # a long feast is shorter
_OPEN_SHARE = 0.2  # of the best weekday's orders; a weekday with less is closed as a rule
_AROUND_DAYS = 42
_GAP_EXPECTED_ORDERS = 12.0  # by chance alone such a gap comes once in exp(12) such spans


def sold(lines: ir.Table, *, free_orders_count: bool = False) -> ir.BooleanValue:
    """Whether each order line was bought: money was paid for it.

    Args:
        lines: With `amount`, and `quantity` where there is one.
        free_orders_count: Whether the market declares that an order of nothing is an order
            (parameter `general.free_orders_count`).
    """
    if not free_orders_count:
        return lines.amount > 0
    if "quantity" in lines.columns:
        return (lines.amount > 0) | ((lines.amount == 0) & (lines.quantity >= 0))
    return lines.amount >= 0


def dated(lines: ir.Table, *, returned_within_days: int | None = None) -> ir.Table:
    """Order lines of the order that they belong to, with `order_date`, the day it began.

    So a line that follows after midnight, or is taken back later, counts with its order. Money
    taken back under a number of its own (a credit note) gets the `order_id` of the customer's
    earlier sale of the same product that cost as much, or at least as much, else of an earlier
    sale of another product that did; the latest of several. Without one it keeps its own.

    Args:
        returned_within_days: Leave out what was taken back later than so many days after the
            order began, so that orders of different age compare.
    """
    if "product_id" in lines.columns:
        lines = _credits_rejoined(lines)
    began = lines.ordered_local.min().over(ibis.window(group_by=["order_id", "customer_id"]))
    lines = lines.mutate(order_date=began.date())
    if returned_within_days is None:
        return lines
    age_days = lines.ordered_local.date().delta(lines.order_date, unit="day")
    return lines.filter((lines.amount >= 0) | (age_days <= returned_within_days))


def _credits_rejoined(lines: ir.Table) -> ir.Table:
    back = lines.filter((lines.amount < 0) & lines.customer_id.notnull())
    if not back.count().execute():  # most markets record none, and the rest costs time
        return lines
    bought = lines.filter((lines.amount > 0) & lines.customer_id.notnull())
    notes = back.anti_join(bought, ["order_id", "customer_id"]).select(_CREDIT).distinct()
    sales = bought.semi_join(notes, "customer_id").select(
        "customer_id",
        sale_id=bought.order_id,
        sale_product=bought.product_id,
        sale_amount=bought.amount,
        sold_at=bought.ordered_local,
    )
    pairs = notes.join(
        sales,
        [
            notes.customer_id == sales.customer_id,
            sales.sold_at <= notes.ordered_local,
            sales.sale_amount >= -notes.amount,
        ],
        rname="sale_{name}",
    )
    best = ibis.window(
        group_by=[pairs[name] for name in _CREDIT],
        order_by=[
            (pairs.sale_product == pairs.product_id).desc(),
            (pairs.sale_amount == -pairs.amount).desc(),
            pairs.sold_at.desc(),
            pairs.sale_id,
        ],
    )
    ranked = pairs.mutate(place=ibis.row_number().over(best))
    found = ranked.filter(ranked.place == 0).select(*_CREDIT, "sale_id")
    joined = lines.left_join(found, _CREDIT, rname="credit_{name}")
    joined = joined.mutate(order_id=joined.sale_id.coalesce(joined.order_id))
    return joined.select(lines.columns)


def orders(
    lines: ir.Table, *, free_orders_count: bool = False, returned_within_days: int | None = None
) -> ir.Table:
    """One row per order of a known customer.

    Args:
        lines: `transactions` as in `schema.TABLES`; lines without a customer are left out.
        free_orders_count: Whether an order of nothing is an order, as in `sold`.
        returned_within_days: As in `dated`.

    Returns:
        order_id, customer_id, order_date (local), ordered_local, amount (less what was taken
        back), discount_amount and coupon_amount (missing where the market does not record
        them), returned_amount (positive; all in the lines' currency), n_lines, is_purchase
        (something was bought; the others are money taken back without a sale). What is neither
        a purchase nor money is left out.
    """
    known = lines.filter(lines.customer_id.notnull())
    known = dated(known, returned_within_days=returned_within_days)
    not_recorded = ibis.null("decimal(18, 4)")
    deductions = {
        name: known[name].coalesce(_ZERO) if name in known.columns else not_recorded
        for name in ("discount_amount", "coupon_amount")
    }
    known = known.mutate(**deductions)
    found = known.group_by(["order_id", "customer_id"]).agg(
        ordered_local=known.ordered_local.min(),
        order_date=known.order_date.min(),
        amount=known.amount.sum(),
        discount_amount=known.discount_amount.sum(),
        coupon_amount=known.coupon_amount.sum(),
        returned_amount=ibis.ifelse(known.amount < 0, -known.amount, _ZERO).sum(),
        n_lines=known.count(),
        is_purchase=sold(known, free_orders_count=free_orders_count).any(),
    )
    return found.filter(found.is_purchase | (found.amount != 0))


def purchases(by_order: ir.Table) -> ir.Table:
    """The orders in which something was bought."""
    return by_order.filter(by_order.is_purchase)


def settling_days(lines: ir.Table) -> int:
    """Days after which nearly all money that comes back has come back; 0 where little does.

    Orders younger than this look worth more than they will be, so a comparison of windows ends
    this long before the data do and counts, in both, only what came back within as many days.
    """
    back_by = dated(lines.filter(lines.customer_id.notnull()))
    age = back_by.ordered_local.date().delta(back_by.order_date, unit="day")
    marked = back_by.mutate(age_days=age)
    sales = marked.amount.sum(where=marked.amount > 0).execute()
    returned = marked.filter(marked.amount < 0)
    by_age = (
        returned.group_by("age_days")
        .agg(amount=(-returned.amount).sum().cast("float64"), n_lines=returned.count())
        .order_by("age_days")
        .to_pandas()
    )
    pending = by_age[by_age["age_days"] > 0]
    if pending.empty or not sales or pending["n_lines"].sum() < _FEWEST_RETURNED_LINES:
        return 0
    if pending["amount"].sum() < _SMALLEST_RETURNED_SHARE * float(sales):
        return 0
    cumulated = pending["amount"].cumsum() / pending["amount"].sum()
    place = int(np.searchsorted(cumulated.to_numpy(), _SETTLED_SHARE))
    last = pending["age_days"].iloc[min(place, len(pending) - 1)]
    return min(int(last), _LONGEST_SETTLING_DAYS)


def window(as_of: date, days: int, *, ago: int = 0) -> tuple[date, date]:
    """First and last day of a window of `days` that ends `ago` days before `as_of`."""
    last = as_of - timedelta(days=ago)
    return last - timedelta(days=days - 1), last


def within(column: ir.Value, days: tuple[date, date]) -> ir.BooleanValue:
    """Whether a date lies in a window, both ends included."""
    first, last = (ibis.date(day.isoformat()) for day in days)
    return column.between(first, last)


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Which days the data hold.

    Attributes:
        first_day, last_day: From the first day with a row, or the declared one, to `as_of`;
            None without a row.
        gaps: First and last day of each silence that is not the shop's rhythm.
    """

    first_day: date | None
    last_day: date | None
    gaps: tuple[tuple[date, date], ...] = ()

    def covered(self, days: tuple[date, date]) -> int:
        """How many days of a window, both ends included, the data hold."""
        if self.first_day is None or self.last_day is None:
            return 0
        first, last = max(days[0], self.first_day), min(days[1], self.last_day)
        missing = sum(
            max(0, (min(last, end) - max(first, begin)).days + 1) for begin, end in self.gaps
        )
        return max(0, (last - first).days + 1 - missing)

    def is_full(self, days: tuple[date, date]) -> bool:
        """Whether the data hold every day of a window."""
        return self.covered(days) == (days[1] - days[0]).days + 1

    def require(self, *windows: tuple[date, date]) -> None:
        """Check that every window is held in full.

        Raises:
            TooFew: A window is not; says how many of its days the data hold.
        """
        for days in windows:
            if not self.is_full(days):
                length = (days[1] - days[0]).days + 1
                raise TooFew(
                    f"{self.covered(days)} of {length} days are covered by the data, from "
                    f"{_written(days[0])} to {_written(days[1])}",
                    takes="the days that are missing, or a shorter window",
                )


def _written(day: date) -> str:
    return f"{day.day} {day:%B %Y}"


def coverage(lines: ir.Table, *, as_of: date, period: tuple[date, date] | None = None) -> Coverage:
    """The days that the data hold, from the days on which they have rows.

    A silence is a gap in the data, and not the shop's rhythm, if it takes in at least four of
    the weekdays on which the shop usually sells and if a shop with its orders of the weeks
    around would as good as never be silent so long by chance (Poisson). A silence at the end
    or, with a declared period, at the start counts alike.

    Args:
        lines: Order lines (`ordered_local`), customers known or not.
        as_of: Last complete day.
        period: Declared first and last complete day, if the market declares one.
    """
    days = lines.select("order_id", order_date=lines.ordered_local.date()).filter(
        lambda t: t.order_date <= ibis.date(as_of.isoformat())
    )
    counted = days.group_by("order_date").agg(n=days.order_id.nunique()).to_pandas()
    if counted.empty:
        return Coverage(first_day=None, last_day=None)
    index = pd.to_datetime(counted["order_date"])
    first_day = index.min().date()
    if period is not None:
        first_day = min(first_day, period[0])
    per_day = pd.Series(counted["n"].to_numpy(dtype=float), index=index)
    per_day = per_day.reindex(pd.date_range(first_day, as_of), fill_value=0.0)
    gaps = _gaps(per_day)
    if gaps and gaps[0][0] == first_day:  # declared, and yet silent
        first_day, gaps = gaps[0][1] + timedelta(days=1), gaps[1:]
    return Coverage(first_day=first_day, last_day=as_of, gaps=gaps)


def _gaps(per_day: pd.Series) -> tuple[tuple[date, date], ...]:
    silent = per_day.to_numpy() == 0
    edges = np.flatnonzero(np.diff(np.concatenate([[False], silent, [False]]).astype(int)))
    runs = list(zip(edges[::2], edges[1::2], strict=True))  # first, and one past the last
    # The rhythm is judged without the long silences, or a long gap would pass for the rhythm.
    longest = max(_GAP_OPEN_DAYS, int(np.median([b - a for a, b in runs])) if runs else 0)
    used = np.ones(len(per_day), dtype=bool)
    for begin, end in runs:
        if end - begin > max(7, longest):
            used[begin:end] = False
    weekday = np.asarray(pd.DatetimeIndex(per_day.index).day_of_week)
    mine = [per_day.to_numpy()[used & (weekday == day)] for day in range(7)]
    usual = np.array([float(part.mean()) if len(part) else 0.0 for part in mine])
    is_open = usual >= _OPEN_SHARE * usual.max()
    found = []
    stamps, seen = pd.DatetimeIndex(per_day.index), per_day.to_numpy()
    for begin, end in runs:
        inside = weekday[begin:end]
        around = np.arange(max(0, begin - _AROUND_DAYS), min(len(seen), end + _AROUND_DAYS))
        around = around[used[around] & ((around < begin) | (around >= end))]
        common = float(usual[weekday[around]].sum())
        # A shop that grows or shrinks is judged by the weeks around, not by its mean.
        pace = float(seen[around].sum()) / common if common > 0 else 0.0
        expected = pace * float(usual[inside].sum())
        if is_open[inside].sum() >= _GAP_OPEN_DAYS and expected >= _GAP_EXPECTED_ORDERS:
            found.append((stamps[begin].date(), stamps[end - 1].date()))
    return tuple(found)
