"""What all three stages of this package start from: order lines, orders, purchase histories."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from insight_lib.features.purchases import purchase_summary
from insight_lib.orders import orders, settling_days

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from insight_lib.market_view import MarketView
    from insight_lib.run import Run


def lines(market: MarketView, transactions: ir.Table | None = None) -> ir.Table:
    """Order lines, or a table without rows where the market has none."""
    return market.rows("transactions") if transactions is None else transactions


def by_order(lines: ir.Table, run: Run[Any]) -> ir.Table:
    """One row per order of a known customer, as from `orders.orders`."""
    return orders(lines, free_orders_count=run.general.free_orders_count)


def settled_after(lines: ir.Table) -> int:
    """Days after which nearly all money that comes back has come back."""
    return settling_days(lines)


def summary(by_order: ir.Table, settled_after: int, run: Run[Any]) -> ir.Table:
    """What the purchase models need to know of each customer, one row each."""
    return purchase_summary(by_order, as_of=run.as_of, settling_days=settled_after)
