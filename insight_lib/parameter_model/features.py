"""Parameters of features, value and transfer."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from pydantic import Field

from insight_lib.parameter_model.declared import declared
from insight_lib.registers import Model


class FeatureParameters(Model):
    """Stage 03."""

    history_days: int = declared(
        365, "days", "How far back features look from the data date.", ge=28, le=3660
    )
    repeat_window_days: int = declared(
        90,
        "days",
        "A customer repeats when the next order comes within this many days.",
        ge=7,
        le=730,
    )
    recent_window_days: int = declared(
        90,
        "days",
        "Recent behaviour; compared with the window of the same length before it.",
        ge=7,
        le=365,
    )
    rfm_groups: int = declared(
        5,
        "groups",
        "Groups that recency, frequency and spend are cut into; equal customers stay together.",
        ge=2,
        le=10,
    )
    smallest_swing_that_matters: float = declared(
        0.1,
        "share",
        "Smallest difference between high and low season worth planning by.",
        gt=0,
        lt=5,
    )
    smallest_category_customers: int = declared(
        50, "customers", "Categories bought by fewer customers in a window are not compared.", ge=10
    )
    engagement_window_days: int = declared(
        90, "days", "How far back touchpoint events count towards engagement.", ge=7, le=730
    )
    engagement_cohort: str = declared(
        "age_band",
        "column of customers",
        "Cohorts that have their own weights and are made comparable.",
    )
    engagement_weights: dict[str, dict[str, Annotated[float, Field(ge=0, le=100)]]] = declared(
        {
            "all": {"app": 1.0, "web": 1.0, "email": 0.5, "store": 2.0, "call": 1.0},
            "18-24": {"app": 1.5},
            "25-34": {"app": 1.25},
            "60+": {"store": 2.5, "call": 1.5},
        },
        "points per event",
        "What one event of a touchpoint counts, for all cohorts and where one differs.",
    )
    exclusion_recency_days: tuple[int, ...] = declared(
        (365,), "days", "Recency windows whose effect on groups of customers is examined."
    )
    exclusion_minimum_orders: tuple[int, ...] = declared(
        (2, 3),
        "orders",
        "Minimum numbers of orders whose effect on groups of customers is examined.",
    )
    exclusion_required_columns: tuple[str, ...] = declared(
        ("age_band", "income_band"),
        "columns of customers",
        "Columns whose missing values may leave customers out.",
    )
    exclusion_traits: tuple[str, ...] = declared(
        ("age_band", "acquisition_channel"),
        "columns of customers",
        "Groups that are compared for being left out.",
    )
    smallest_exclusion_excess: float = declared(
        0.05,
        "share",
        "Smallest excess of a group over the rest that would change the choice of variables.",
        gt=0,
        lt=1,
    )
    smallest_repeat_change_that_matters: float = declared(
        0.02,
        "share",
        "Smallest change of the repeat rate that would change a decision.",
        gt=0,
        lt=1,
    )
    smallest_order_value_change_that_matters: float = declared(
        0.03,
        "share",
        "Smallest relative change of spend per order that would change a decision.",
        gt=0,
        lt=1,
    )


class ValueParameters(Model):
    """Stage 03, customer value."""

    value_history_days: int = declared(365, "days", "History that customer value takes.", ge=30)
    value_repeat_rate: float = declared(
        0.2,
        "share",
        "Share of customers with a second purchase day that customer value takes.",
        gt=0,
        lt=1,
    )
    value_repeaters: int = declared(
        100, "customers", "Customers with a second purchase day that customer value takes.", ge=50
    )
    behaviour_events: float = declared(
        3.0, "events", "Events per customer and quarter that behavioural features take.", gt=0
    )
    behaviour_customers: int = declared(
        100, "customers", "Customers with any event that behavioural features take.", ge=20
    )
    rfm_history_days: int = declared(
        90, "days", "History that recency, frequency and spend take.", ge=14
    )
    rfm_customers: int = declared(
        100, "customers", "Customers that recency, frequency and spend take.", ge=20
    )
    holdout_days: int = declared(
        364,
        "days",
        "Length of the test forecast; half of the history where that is shorter.",
        ge=28,
        le=1095,
    )
    horizon_months: int = declared(
        12, "months", "How far ahead customer value and contract value look.", ge=1, le=120
    )
    annual_discount_rate: float = declared(
        0.1, "share a year", "What money later is worth less.", ge=0, lt=1
    )
    largest_forecast_bias: float = declared(
        0.1,
        "share",
        "A test forecast that misses by more than this is not to be planned with.",
        gt=0,
        lt=1,
    )
    account_group: str = declared(
        "size_band", "column of customers", "Accounts that differ in value and churn, kept apart."
    )
    churn_horizon_months: int = declared(
        24, "months", "How far contracts are followed.", ge=1, le=120
    )
    contracts_observed_from: date | None = declared(
        None,
        "day",
        "First day from which every end of a contract is on record; read off the ends if not "
        "given.",
    )
    minimum_contracts_at_risk: int = declared(
        30, "contracts", "A month of tenure with fewer contracts still running is not shown.", ge=10
    )
    smallest_churn_gap_that_matters: float = declared(
        0.03,
        "share",
        "Smallest lead of one cause over the next that would change what we do.",
        gt=0,
        lt=1,
    )
    minimum_deals_per_stage: int = declared(
        10, "deals", "A pipeline stage with fewer deals is not estimated on its own.", ge=5
    )
    sector: str | None = declared(
        None, "name", "Regulated sector, if any; then assumptions are a gate before prediction."
    )
    sector_columns: tuple[str, ...] = declared(
        (), "columns", "Columns that the sector allows a model to read."
    )
    sector_purposes: tuple[str, ...] = declared(
        (), "purposes", "Purposes that the sector allows a model to serve."
    )


class TransferParameters(Model):
    """Stage 03, borrowing strength."""

    group: str = declared(
        "acquisition_channel",
        "column of customers",
        "Groups that markets share and that strength is borrowed by.",
    )
    smallest_mature_customers: int = declared(
        1000, "customers", "A market with fewer customers does not lend strength.", ge=100
    )
