"""Every parameter there is, by stage, and what a stage of the lifecycle declares."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import Field, model_validator

from insight_lib.registers import Id, Model, Purpose, Sentence


class GeneralParameters(Model):
    """What every stage uses."""

    minimum_cell_size: int = Field(ge=5, le=1000)
    interval_level: float = Field(gt=0.5, lt=1)
    minimum_customers: int = Field(ge=20)
    seed: int = Field(ge=0)
    reporting_currency: str = Field(pattern=r"^[A-Z]{3}$")
    conversion: Literal["market", "purchasing_power"]
    free_orders_count: bool


class FeatureParameters(Model):
    """Stage 03."""

    history_days: int = Field(ge=28, le=3660)
    repeat_window_days: int = Field(ge=7, le=730)
    recent_window_days: int = Field(ge=7, le=365)
    rfm_groups: int = Field(ge=2, le=10)
    smallest_swing_that_matters: float = Field(gt=0, lt=5)
    smallest_category_customers: int = Field(ge=10)
    engagement_window_days: int = Field(ge=7, le=730)
    engagement_cohort: str
    engagement_weights: dict[str, dict[str, Annotated[float, Field(ge=0, le=100)]]]
    exclusion_recency_days: tuple[int, ...]
    exclusion_minimum_orders: tuple[int, ...]
    exclusion_required_columns: tuple[str, ...]
    exclusion_traits: tuple[str, ...]
    smallest_exclusion_excess: float = Field(gt=0, lt=1)
    smallest_repeat_change_that_matters: float = Field(gt=0, lt=1)
    smallest_order_value_change_that_matters: float = Field(gt=0, lt=1)


class ValueParameters(Model):
    """Stage 03, customer value."""

    value_history_days: int = Field(ge=30)
    value_repeat_rate: float = Field(gt=0, lt=1)
    value_repeaters: int = Field(ge=50)
    behaviour_events: float = Field(gt=0)
    behaviour_customers: int = Field(ge=20)
    rfm_history_days: int = Field(ge=14)
    rfm_customers: int = Field(ge=20)
    holdout_days: int = Field(ge=28, le=1095)
    horizon_months: int = Field(ge=1, le=120)
    annual_discount_rate: float = Field(ge=0, lt=1)
    largest_forecast_bias: float = Field(gt=0, lt=1)
    account_group: str
    churn_horizon_months: int = Field(ge=1, le=120)
    contracts_observed_from: date | None
    minimum_contracts_at_risk: int = Field(ge=10)
    smallest_churn_gap_that_matters: float = Field(gt=0, lt=1)
    minimum_deals_per_stage: int = Field(ge=5)
    sector: str | None
    sector_columns: tuple[str, ...]
    sector_purposes: tuple[str, ...]


class TransferParameters(Model):
    """Stage 03, borrowing strength."""

    group: str
    smallest_mature_customers: int = Field(ge=100)


class SegmentParameters(Model):
    """Stage 04."""

    history_days: int = Field(ge=56, le=3660)
    minimum_order_days: int = Field(ge=1, le=50)
    most_segments: int = Field(ge=2, le=20)
    largest_chance_share: float = Field(gt=0, le=0.2)
    smallest_jaccard: float = Field(ge=0.5, le=1)
    answer_scale: tuple[float, float] | None
    smallest_kept_gain: float = Field(ge=0, le=1)
    smallest_segment_customers: int = Field(ge=10)
    chance_data_sets: int = Field(ge=19, le=999)
    resamples: int = Field(ge=10, le=1000)
    refresh_days: int = Field(ge=28, le=365)
    tolerated_moved_share: float = Field(gt=0, lt=1)
    smallest_effect_that_matters: float = Field(gt=0, lt=1)
    test_power: float = Field(ge=0.5, lt=1)
    activation_cost_revenue_share: float = Field(ge=0, lt=1)
    captured_share: float = Field(gt=0, le=1)
    channel_capacity: int = Field(ge=1, le=50)
    smallest_kept_share: float = Field(gt=0, le=1)


class Amount(Model):
    """Money as people declare it: an amount says nothing without its currency."""

    amount: float = Field(ge=0)
    currency: str = Field(pattern=r"^[A-Z]{3}$")


class ContactChannel(Model):
    """A way to reach a customer.

    Attributes:
        hours: Time there is for it in one round of contacts.
        cost_amount: Cost of one contact beside the time.
        kept_share: Of the customers who would have left, those whom one contact keeps.
    """

    title: Sentence
    hours: float = Field(ge=0)
    minutes_per_contact: float = Field(gt=0)
    cost_amount: Amount
    kept_share: float = Field(ge=0, le=1)


_Share = Annotated[float, Field(gt=0, lt=1)]
_Estimator = Literal["rule", "logistic", "additive", "boosting", "forest"]


class PredictionParameters(Model):
    """Stage 05."""

    horizon_days: int = Field(ge=7, le=366)
    history_days: int = Field(ge=28, le=1095)
    active_days: int = Field(ge=7, le=1095)
    most_snapshots: int = Field(ge=2, le=36)
    most_customers: int = Field(ge=1000)
    category: str | None
    board_folds: int = Field(ge=1, le=10)
    most_training_rows: int = Field(ge=500)
    capacity_share: _Share
    override_estimator: dict[str, _Estimator]
    monotone: dict[str, dict[str, Literal[-1, 1]]]
    known_from: dict[str, str]
    corrections: dict[str, Annotated[float, Field(gt=0.2, lt=5)]]
    suspicious_ranking: float = Field(gt=0.5, le=1)
    largest_auc_gap: _Share
    largest_calibration_error_share: _Share
    largest_total_gap_share: _Share
    smallest_auc: float = Field(ge=0.5, lt=1)
    watched_snapshots: int = Field(ge=1, le=12)
    false_alarm_rate: _Share
    smallest_psi: float = Field(gt=0)
    retrain_psi: float = Field(gt=0)
    smallest_missing_change: _Share
    largest_gap_share: _Share
    largest_amount_gap_share: _Share
    new_labelled_share: float = Field(gt=0)
    largest_age_days: int = Field(ge=7)
    smallest_rise_share: _Share
    smallest_training_customers: int = Field(ge=50)
    smallest_positives: int = Field(ge=20)
    smallest_pooled_markets: int = Field(ge=2)
    scores_made_again: int = Field(ge=1, le=1000)
    review_stakes_amount: Amount
    high_stakes_targets: tuple[str, ...]
    reviewers: Literal[1, 2]
    decision_tolerance_share: float = Field(ge=0, lt=1)
    decision_holds_days: int = Field(ge=0, le=366)
    smallest_kappa: _Share
    channels: dict[str, ContactChannel] = Field(min_length=1)
    contact_rest_days: int = Field(ge=0)
    contact_window_days: int = Field(ge=1)
    most_contacts: int = Field(ge=1)
    offered_items: int = Field(ge=1, le=20)
    offers_repeat: bool
    most_products: int = Field(ge=10, le=5000)
    affinity_customers: float = Field(ge=0)
    market_tier_weight: float = Field(ge=0, le=1)
    largest_stock_age_days: int = Field(ge=1)


class ImpactParameters(Model):
    """Stage 09."""

    smallest_share_change_that_matters: float = Field(gt=0, lt=1)
    smallest_relative_change_that_matters: float = Field(gt=0, lt=1)
    planned_control_share: float | None = Field(gt=0, lt=1)
    test_strata: tuple[str, ...]
    test_traits: tuple[str, ...]
    test_power: float = Field(gt=0.5, lt=1)
    longest_test_weeks: int = Field(ge=1, le=260)
    most_returns_rise: float = Field(gt=0, lt=1)
    most_discount_rise: float = Field(gt=0, lt=1)
    most_orders_fall: float = Field(gt=0, lt=1)
    most_refusals_rise: float = Field(gt=0, lt=1)
    carry_over_window_days: int = Field(ge=7, le=182)
    model_cost_amount: float = Field(gt=0)
    pre_period_days: int = Field(ge=7, le=730)
    gross_margin_share: float = Field(gt=0, le=1)
    next_budget_amount: float = Field(gt=0)
    targeted_window_days: int = Field(ge=7, le=182)
    targeted_windows: int = Field(ge=2, le=26)
    programme_start: date | None
    programme_places: tuple[str, ...]
    programme_place_column: str


class LearningParameters(Model):
    """Stage 09, what is learned and what is due."""

    smallest_forecast_bias_that_matters: float = Field(gt=0, lt=1)
    forecast_group_column: str
    contact_event_types: tuple[str, ...] = Field(min_length=1)
    smallest_reached_share: float = Field(gt=0, lt=1)
    largest_contaminated_share: float = Field(gt=0, lt=1)
    largest_outside_share: float = Field(gt=0, lt=1)
    largest_start_delay_days: int = Field(ge=0, le=60)
    largest_late_share: float = Field(gt=0, lt=1)
    late_after_days: int = Field(ge=1, le=60)
    largest_silent_share: float = Field(gt=0, lt=1)
    update_every_days: int = Field(ge=7, le=366)
    adoption_quarter_days: int = Field(ge=28, le=366)


class Parameters(Model):
    """Every parameter of a market's runs, by stage."""

    general: GeneralParameters
    features: FeatureParameters
    segments: SegmentParameters
    value: ValueParameters
    transfer: TransferParameters
    prediction: PredictionParameters
    impact: ImpactParameters
    learning: LearningParameters


class Stage(Model):
    """One stage of the lifecycle, as registered in `lifecycle.yaml`.

    Attributes:
        publishes: Tables that every run has to publish.
        may_publish: Tables that it publishes where the market's data allow.
        publishes_aggregates: Aggregates that it gives to other markets; no row among them.
        reads_aggregates: Aggregates of other markets that it reads.
        after: Stages that it reads where they have run, and does without where they failed.
        keeps: Folders in the market's region that outlive its runs, such as `models`.
        reads_decisions: What people decided and it reads, such as `models` or `reviews`.
        own_tables: Of what it publishes, the tables that no other stage may read.
        used_for: Of what it publishes, the tables made for a purpose of their own; who does not
            agree to it is not in them for any reader.
        package: Of `insight_lib`, that holds its analyses and words; its own id where left out.
        parameters: The section of `defaults.yaml` that it reads; its own id where left out.
    """

    id: Id
    number: int = Field(ge=1, le=12)
    title: Sentence
    question: Sentence
    notebook: str = Field(pattern=r"^notebooks/(own/)?[0-9]{2}_[a-z_]+\.ipynb$")
    purpose: Purpose
    needs: tuple[Id, ...] = ()
    audiences: tuple[Id, ...] = ()
    per_segment: bool = False
    publishes: tuple[Id, ...] = ()
    may_publish: tuple[Id, ...] = ()
    publishes_aggregates: tuple[Id, ...] = ()
    reads_aggregates: tuple[Id, ...] = ()
    after: tuple[Id, ...] = ()
    keeps: tuple[Id, ...] = ()
    reads_decisions: tuple[Id, ...] = ()
    own_tables: tuple[Id, ...] = ()
    used_for: dict[Id, Purpose] = {}
    package: Id | None = None
    parameters: Id | None = None


class OwnStages(Model):
    """Stages of a team's own, beside those of the lifecycle; an upgrade does not touch them."""

    stages: tuple[Stage, ...] = ()


class Lifecycle(Model):
    """All stages, in order."""

    stages: tuple[Stage, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _one_of_each(self) -> Lifecycle:
        ids = [stage.id for stage in self.stages]
        if twice := sorted({name for name in ids if ids.count(name) > 1}):
            raise ValueError(f"stage {', '.join(twice)}: there are two of this id")
        return self

    @model_validator(mode="after")
    def _ends_read_across(self) -> Lifecycle:
        """What reads across is an end: markets would wait for each other otherwise."""
        known = {stage.id for stage in self.stages}
        needed = {need for stage in self.stages for need in stage.needs}
        named = needed | {name for stage in self.stages for name in stage.after}
        if unknown := sorted(named - known):
            raise ValueError(f"needs {', '.join(unknown)}: there is no such stage")
        for stage in self.stages:
            is_end = bool(stage.reads_aggregates or stage.after)
            if is_end and (stage.id in needed or stage.publishes_aggregates):
                raise ValueError(
                    f"stage {stage.id} reads aggregates or comes after others, so no stage may "
                    "need it and it gives no aggregates"
                )
        return self
