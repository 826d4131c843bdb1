"""Names inside parameter values: each has to be one that exists, or the rule is simply off."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from insight_lib.market_model import MarketConfig
from insight_lib.parameter_model import Parameters
from insight_lib.schema import TABLES

# What a market may want to foretell; `prediction.snapshots` makes them.
TARGETS = ("lapse", "repeat", "value", "category", "churn")
_CUSTOMER_COLUMNS = (
    ("features", "engagement_cohort"),
    ("features", "exclusion_required_columns"),
    ("features", "exclusion_traits"),
    ("value", "account_group"),
    ("transfer", "group"),
    ("impact", "programme_place_column"),
    ("learning", "forecast_group_column"),
)
# What `prediction.history` makes of a customer's past, beside the columns of customers.
FEATURES = (
    *("days_since_last_order", "days_to_renewal", "gap_ratio", "mean_gap_days", "tenure_days"),
    *("n_categories", "n_order_days", "n_orders", "n_orders_before", "n_orders_recent"),
    *("n_paid_late", "n_unpaid", "n_events_recent", "seat_amount", "monthly_amount"),
    *("revenue_amount", "revenue_before_amount", "revenue_recent_amount", "mean_order_amount"),
    *("discount_share", "coupon_share", "returned_share", "top_category_share", "weekend_share"),
    *TABLES["customers"].names,
)
_BY_TARGET = ("override_estimator", "monotone", "corrections", "high_stakes_targets")


def unknown_names(
    parameters: Parameters, market: MarketConfig
) -> Iterator[tuple[tuple[str | int, ...], str, Iterable[str]]]:
    """Names inside a market's parameters that nothing has.

    Returns:
        Path of the value, what stands there, and the names that would do.
    """
    customers = TABLES["customers"].names
    for section, name in _CUSTOMER_COLUMNS:
        value = getattr(getattr(parameters, section), name)
        for got in (value,) if isinstance(value, str) else value:
            if got not in customers:
                yield (section, name), got, customers
    prediction = parameters.prediction
    for name in _BY_TARGET:
        for got in getattr(prediction, name):
            if got not in TARGETS:
                yield ("prediction", name), got, TARGETS
    columns = sorted({column for table in market.sources for column in TABLES[table].names})
    for got in prediction.known_from:
        if got not in columns and not _is_feature(got):
            yield ("prediction", "known_from"), got, columns
    for target, features in prediction.monotone.items():
        for got in features:
            if not _is_feature(got):
                yield ("prediction", "monotone", target), got, FEATURES
    for got in parameters.value.sector_purposes:
        if got not in ("retention", "growth"):
            yield ("value", "sector_purposes"), got, ("retention", "growth")
    for got in parameters.value.sector_columns:
        if got not in columns and not _is_feature(got):
            yield ("value", "sector_columns"), got, (*columns, *FEATURES)


def _is_feature(name: str) -> bool:
    """Whether models may know a feature of this name; counts of touchpoints follow the data."""
    return name in FEATURES or (name.startswith("n_") and name.endswith("_recent"))
