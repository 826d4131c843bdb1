"""Parameters of impact and learning."""

from __future__ import annotations

from datetime import date

from insight_lib.parameter_model.declared import declared
from insight_lib.registers import Model


class ImpactParameters(Model):
    """Stage 09."""

    smallest_share_change_that_matters: float = declared(
        0.01,
        "share",
        "Smallest change of a share of customers, such as who orders, that would change a "
        "decision.",
        gt=0,
        lt=1,
    )
    smallest_relative_change_that_matters: float = declared(
        0.03, "share", "Smallest relative change of spend that would change a decision.", gt=0, lt=1
    )
    planned_control_share: float | None = declared(
        None,
        "share",
        "Share left alone that this market plans in every test of two arms, if it has such a "
        "rule; a test's own planned_share or plan goes first.",
        gt=0,
        lt=1,
    )
    test_strata: tuple[str, ...] = declared(
        (),
        "columns of customers",
        "Columns within which the lottery was drawn with shares of its own; arms are then "
        "compared within them.",
    )
    test_traits: tuple[str, ...] = declared(
        ("subregion", "acquisition_channel", "age_band"),
        "columns of customers",
        "Traits by which it is examined whether groups of customers answer a test differently.",
    )
    test_power: float = declared(
        0.8,
        "share",
        "Chance that a test shows the smallest change that matters, if it is there.",
        gt=0.5,
        lt=1,
    )
    longest_test_weeks: int = declared(
        26,
        "weeks",
        "Longest that a test may take, from its first customer to its last outcome.",
        ge=1,
        le=260,
    )
    most_returns_rise: float = declared(
        0.02,
        "share",
        "Largest rise of the share of sales returned that a test may cost.",
        gt=0,
        lt=1,
    )
    most_discount_rise: float = declared(
        0.02,
        "share",
        "Largest rise of the share taken off the list price that a test may cost.",
        gt=0,
        lt=1,
    )
    most_orders_fall: float = declared(
        0.05,
        "share",
        "Largest relative fall of orders per customer that a test may cost.",
        gt=0,
        lt=1,
    )
    most_refusals_rise: float = declared(
        0.01,
        "share",
        "Largest rise of the share of customers who refuse contact that a test may cost.",
        gt=0,
        lt=1,
    )
    carry_over_window_days: int = declared(
        28,
        "days",
        "Window before a test, and step after an earlier one, in which its effect is looked for.",
        ge=7,
        le=182,
    )
    model_cost_amount: float = declared(
        500.0,
        "currency of the market",
        "Cost of building and running the model that chooses whom to contact, for one campaign.",
        gt=0,
    )
    pre_period_days: int = declared(
        84,
        "days",
        "How far before a test customers' habits are looked up, to be taken out of the result.",
        ge=7,
        le=730,
    )
    gross_margin_share: float = declared(
        0.4, "share", "Share of revenue left after the cost of goods.", gt=0, le=1
    )
    next_budget_amount: float = declared(
        10000.0, "currency of the market", "Budget for contacts to be divided next.", gt=0
    )
    targeted_window_days: int = declared(
        28,
        "days",
        "Window after a campaign sent by choice, and of each one before it.",
        ge=7,
        le=182,
    )
    targeted_windows: int = declared(
        7,
        "windows",
        "Windows before a campaign sent by choice; the oldest is where nothing may be found.",
        ge=2,
        le=26,
    )
    programme_start: date | None = declared(
        None, "date", "First day of a programme in some places, if any."
    )
    programme_places: tuple[str, ...] = declared(
        (), "places", "Places in which the programme runs."
    )
    programme_place_column: str = declared(
        "subregion", "column of customers", "Column that says where a customer lives."
    )


class LearningParameters(Model):
    """Stage 09, what is learned and what is due."""

    smallest_forecast_bias_that_matters: float = declared(
        0.03,
        "share",
        "Smallest lean of forecasts, over what came, that would change a plan.",
        gt=0,
        lt=1,
    )
    forecast_group_column: str = declared(
        "acquisition_channel",
        "column of customers",
        "Groups by which forecasts are judged; a trait that does not follow from what customers "
        "do later.",
    )
    contact_event_types: tuple[str, ...] = declared(
        ("sent", "delivered", "contacted"),
        "response or event types",
        "Types of responses, or of interactions, that record a contact the company made.",
        min_length=1,
    )
    smallest_reached_share: float = declared(
        0.9,
        "share",
        "Of the customers to contact, those who have to be reached for a campaign to count as run.",
        gt=0,
        lt=1,
    )
    largest_contaminated_share: float = declared(
        0.05,
        "share",
        "Of the customers to leave alone, those who may have been contacted all the same.",
        gt=0,
        lt=1,
    )
    largest_outside_share: float = declared(
        0.05, "share", "Share of first contacts that may lie outside a campaign's days.", gt=0, lt=1
    )
    largest_start_delay_days: int = declared(
        2, "days", "Days by which a campaign may begin after its planned day.", ge=0, le=60
    )
    largest_late_share: float = declared(
        0.05,
        "share",
        "Share of a feed's records that may come late before results cannot be trusted.",
        gt=0,
        lt=1,
    )
    late_after_days: int = declared(
        7,
        "days",
        "A record is late when it comes more than this long after its event.",
        ge=1,
        le=60,
    )
    largest_silent_share: float = declared(
        0.2, "share", "Share of a campaign's days that may be without any response.", gt=0, lt=1
    )
    update_every_days: int = declared(
        91,
        "days",
        "A model is refitted this long after the last day it learned from, if nothing comes first.",
        ge=7,
        le=366,
    )
    adoption_quarter_days: int = declared(
        91,
        "days",
        "Length of the quarter in which use of the reports is counted, and of the one before.",
        ge=28,
        le=366,
    )
