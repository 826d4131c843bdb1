"""Who buys: one row per customer, what of them may be said, and the table for later stages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pandas as pd

from insight_lib.features.customers import category_columns, category_level, reconcile
from insight_lib.features.customers import customer_features as describe_customers
from insight_lib.features.engagement import Engagement
from insight_lib.features.money import ReportingMoney
from insight_lib.features.record import Record
from insight_lib.findings import Measured, TooFew
from insight_lib.orders import dated, window, within

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from insight_lib.parameter_model import FeatureParameters
    from insight_lib.run import Run


def described(by_order: ir.Table, run: Run[FeatureParameters]) -> ir.Table:
    """One row per customer, as from `customers.customer_features`."""
    return describe_customers(
        by_order,
        as_of=run.as_of,
        history_days=run.parameters.history_days,
        recent_days=run.parameters.recent_window_days,
        rfm_groups=run.parameters.rfm_groups,
    )


def everyone(described: ir.Table) -> pd.DataFrame:
    """The same as a frame."""
    return described.to_pandas()


def buyers(
    transactions: ir.Table, record: Record, everyone: pd.DataFrame, run: Run[FeatureParameters]
) -> pd.DataFrame:
    """Customers of whom something may be said.

    Raises:
        TooFew: No complete day, or fewer customers than `general.minimum_customers`.
    """
    del transactions  # without orders there is nobody
    if record.held.first_day is None:
        raise TooFew(
            "the market holds no complete day of orders yet",
            takes="order lines that can be read, over more days than one",
        )
    run.require_customers(len(everyone))
    return everyone


def buyers_now(buyers: pd.DataFrame, record: Record, run: Run[FeatureParameters]) -> pd.DataFrame:
    """The same, where it is known who has been silent for how long.

    Raises:
        TooFew: The data do not hold every one of the latest days.
    """
    record.held.require(window(run.as_of, run.parameters.recent_window_days))
    return buyers


def people(customers: ir.Table, contracts: ir.Table | None = None) -> ir.Table:
    """The customer table; accounts that never signed are prospects, not silent customers."""
    return customers if contracts is None else customers.semi_join(contracts, "customer_id")


@dataclass(frozen=True, kw_only=True)
class AddedUp:
    """Whether the features add up to the order lines, to the smallest unit of money."""

    case: Literal["pass", "fail"]
    anonymous: int
    difference: Measured


def reconciliation(
    lines: ir.Table, everyone: pd.DataFrame, run: Run[FeatureParameters]
) -> AddedUp | None:
    """Revenue from the features, and straight from the lines; None without a customer."""
    if everyone.empty:
        return None
    days = window(run.as_of, run.parameters.history_days)
    free = run.general.free_orders_count
    result = reconcile(lines, everyone, days, free_orders_count=free)
    difference = result.features_amount - result.lines_amount
    return AddedUp(
        case="pass" if difference == 0 else "fail",
        anonymous=result.n_anonymous_lines,
        difference=Measured(
            value=float(difference), unit="count", n=result.n_customers, as_of=run.as_of
        ),
    )


def categories(
    lines: ir.Table, run: Run[FeatureParameters], products: ir.Table | None = None
) -> ir.Table | None:
    """Breadth and focus of each customer's baskets; None where products have no category."""
    level = category_level(products)
    if products is None or level is None:
        return None
    by_day = dated(lines)
    days = window(run.as_of, run.parameters.history_days)
    return category_columns(by_day.filter(within(by_day.order_date, days)), products, level=level)


def customer_features(
    described: ir.Table,
    categories: ir.Table | None,
    engaged: Engagement | None = None,
    reported: ReportingMoney | None = None,
) -> pd.DataFrame | ir.Table:
    """What later stages read of each customer; without a customer, the columns alone."""
    if categories is not None:
        described = described.left_join(categories, "customer_id").drop("customer_id_right")
    frame = described.to_pandas()
    if engaged is not None:
        scores = engaged.scores[["customer_id", "engagement_score"]]
        frame = frame.merge(scores, on="customer_id", how="left")
    if reported is not None:
        amounts = reported.by_customer[["customer_id", "revenue_reporting_amount"]]
        frame = frame.merge(amounts, on="customer_id", how="left")
    return frame.sort_values("customer_id") if len(frame) else described
