"""Orders and windows of days, in the engine: what several stages build on."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

import ibis

if TYPE_CHECKING:
    import ibis.expr.types as ir


def orders(lines: ir.Table) -> ir.Table:
    """One row per order of a known customer.

    Args:
        lines: `transactions` as in `schema.TABLES`; lines without a customer are left out.

    Returns:
        order_id, customer_id, order_date (local), ordered_local, amount and
        discount_amount (in the lines' currency), coupon_amount, returned_amount
        (positive), n_lines, is_return (every line is taken back: money, but not an order).
    """
    known = lines.filter(lines.customer_id.notnull())
    zero = ibis.literal(0, type="decimal(18, 4)")

    deductions = {
        name: known[name].coalesce(zero) if name in known.columns else zero
        for name in ("discount_amount", "coupon_amount")
    }
    known = known.mutate(**deductions)
    by_order = known.group_by(["order_id", "customer_id"]).agg(
        ordered_local=known.ordered_local.min(),
        amount=known.amount.sum(),
        discount_amount=known.discount_amount.sum(),
        coupon_amount=known.coupon_amount.sum(),
        returned_amount=ibis.ifelse(known.amount < 0, -known.amount, zero).sum(),
        n_lines=known.count(),
        is_return=known.amount.max() < 0,
    )
    return by_order.mutate(order_date=by_order.ordered_local.date())


def dated(lines: ir.Table) -> ir.Table:
    """Order lines with `order_date`, the local day their order began, as in `orders`.

    So a line that follows after midnight, or is taken back later, counts with its order.
    """
    began = lines.ordered_local.min().over(ibis.window(group_by=["order_id", "customer_id"]))
    return lines.mutate(order_date=began.date())


def purchases(by_order: ir.Table) -> ir.Table:
    """The orders that are not returns."""
    return by_order.filter(~by_order.is_return)


def window(as_of: date, days: int, *, ago: int = 0) -> tuple[date, date]:
    """First and last day of a window of `days` that ends `ago` days before `as_of`."""
    last = as_of - timedelta(days=ago)
    return last - timedelta(days=days - 1), last


def within(column: ir.Value, days: tuple[date, date]) -> ir.BooleanValue:
    """Whether a date lies in a window, both ends included."""
    first, last = (ibis.date(day.isoformat()) for day in days)
    return column.between(first, last)
