"""Parameters of prediction, monitoring and decisions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from insight_lib.parameter_model.declared import declared
from insight_lib.registers import Model, Sentence


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

    horizon_days: int = declared(
        91, "days", "How far ahead is predicted, and how far apart the snapshots are.", ge=7, le=366
    )
    history_days: int = declared(
        364, "days", "How far back a customer is looked at.", ge=28, le=1095
    )
    active_days: int = declared(
        182,
        "days",
        "A customer who ordered within this time can still stop ordering.",
        ge=7,
        le=1095,
    )
    most_snapshots: int = declared(
        7, "snapshots", "Past days from which models learn and are tested.", ge=2, le=36
    )
    most_customers: int = declared(
        50000,
        "customers",
        "Customers per past day whom models learn from; more are drawn from.",
        ge=1000,
    )
    category: str | None = declared(
        None,
        "department",
        "Department to be opened up to new customers; by default the largest that most do not buy.",
    )
    board_folds: int = declared(
        3, "snapshots", "Later days on which every model is tested.", ge=1, le=10
    )
    most_training_rows: int = declared(
        20000, "customers", "Most rows that one model is fitted to.", ge=500
    )
    capacity_share: _Share = declared(
        0.1, "share", "Share of customers that can be acted on, for which models are compared."
    )
    override_estimator: dict[str, _Estimator] = declared(
        {}, "target to estimator", "Model to use although the rule would choose another."
    )
    monotone: dict[str, dict[str, Literal[-1, 1]]] = declared(
        {"lapse": {"gap_ratio": 1}},
        "target to feature to 1 or -1",
        "Features with which a score may only rise (1) or fall (-1).",
    )
    known_from: dict[str, str] = declared(
        {},
        "feature to reason",
        "Features that are known only after what they predict, beside those of the tables.",
    )
    corrections: dict[str, Annotated[float, Field(gt=0.2, lt=5)]] = declared(
        {},
        "target to factor",
        "Factor on the scores of the next models, where past forecasts leaned; see the learning "
        "page.",
    )
    suspicious_ranking: float = declared(
        0.95,
        "index",
        "A single feature that ranks customers better than this looks like the answer.",
        gt=0.5,
        le=1,
    )
    largest_auc_gap: _Share = declared(
        0.15,
        "index",
        "A feature that ranks so much worse later on than when learned looks like the answer.",
    )
    largest_calibration_error_share: _Share = declared(
        0.05, "share", "Scores may miss what happens by this much on average."
    )
    largest_total_gap_share: _Share = declared(
        0.1, "share", "Predicted totals may miss by this much."
    )
    smallest_auc: float = declared(
        0.6,
        "index",
        "Models that rank worse than this are not used, and rolled back if in use.",
        ge=0.5,
        lt=1,
    )
    watched_snapshots: int = declared(
        3, "snapshots", "Latest days kept for watching where no model is in use yet.", ge=1, le=12
    )
    false_alarm_rate: _Share = declared(
        0.05, "share", "Share of runs without any change that may raise an alarm."
    )
    smallest_psi: float = declared(
        0.1, "index", "Smallest shift of a feature that matters (population stability index).", gt=0
    )
    retrain_psi: float = declared(
        0.25, "index", "Shift of a feature from which a model is trained again.", gt=0
    )
    smallest_missing_change: _Share = declared(
        0.05, "share", "Smallest change of missing values that matters."
    )
    largest_gap_share: _Share = declared(
        0.05, "share", "Accepted gap between what was predicted and what happened."
    )
    largest_amount_gap_share: _Share = declared(
        0.1, "share", "The same for predicted amounts, of the total."
    )
    new_labelled_share: float = declared(
        1.0,
        "share",
        "New outcomes, against those learned from, at which a model is trained again.",
        gt=0,
    )
    largest_age_days: int = declared(182, "days", "Age at which a model is trained again.", ge=7)
    smallest_rise_share: _Share = declared(
        0.05, "share", "Smallest rise of errors whose cause is looked for."
    )
    smallest_training_customers: int = declared(
        300, "customers", "A market's own model needs so many customers to learn from.", ge=50
    )
    smallest_positives: int = declared(
        50, "customers", "And so many of those who did it, and of those who did not.", ge=20
    )
    smallest_pooled_markets: int = declared(
        2, "markets", "Other markets that a pooled model takes.", ge=2
    )
    scores_made_again: int = declared(
        25, "scores", "Logged scores that every run computes again from the log.", ge=1, le=1000
    )
    review_stakes_amount: Amount = declared(
        Amount(amount=400.0, currency="EUR"),
        "amount and currency",
        "Scores with more at stake than this wait for a person.",
    )
    high_stakes_targets: tuple[str, ...] = declared(
        (), "targets", "Targets of which every score waits for a person."
    )
    reviewers: Literal[1, 2] = declared(
        1, "people", "People who have to agree on a score with high stakes."
    )
    decision_tolerance_share: float = declared(
        0.1,
        "share",
        "A decision on a score holds for later scores of the customer that differ by at most this "
        "much.",
        ge=0,
        lt=1,
    )
    decision_holds_days: int = declared(
        28, "days", "And for so long; within it a rejection holds whatever the score.", ge=0, le=366
    )
    smallest_kappa: _Share = declared(
        0.4,
        "index",
        "Agreement of people and model below which scores are looked into (Cohen's kappa).",
    )
    channels: dict[str, ContactChannel] = declared(
        {
            "call": ContactChannel(
                title="phone call",
                hours=40.0,
                minutes_per_contact=12.0,
                cost_amount=Amount(amount=2.0, currency="EUR"),
                kept_share=0.15,
            ),
            "email": ContactChannel(
                title="e-mail",
                hours=8.0,
                minutes_per_contact=1.0,
                cost_amount=Amount(amount=0.1, currency="EUR"),
                kept_share=0.02,
            ),
        },
        "hours and minutes; cost with its currency; share kept",
        "Ways to reach customers, what they take, and the share of leavers whom one contact keeps.",
        min_length=1,
    )
    contact_rest_days: int = declared(
        14, "days", "Nobody is contacted again within this time.", ge=0
    )
    contact_window_days: int = declared(91, "days", "Window over which contacts are counted.", ge=1)
    most_contacts: int = declared(
        3, "contacts", "Most contacts of a customer within the window.", ge=1
    )
    offered_items: int = declared(5, "products", "Products offered to a customer.", ge=1, le=20)
    offers_repeat: bool = declared(
        False, "yes or no", "Whether products that the customer bought are offered again."
    )
    most_products: int = declared(
        400, "products", "Best-selling products that offers are chosen from.", ge=10, le=5000
    )
    affinity_customers: float = declared(
        20.0,
        "customers",
        "Likeness of two products is drawn towards none by so many customers.",
        ge=0,
    )
    market_tier_weight: float = declared(
        0.2,
        "share",
        "How far a customer's mix of price tiers is drawn towards the market's.",
        ge=0,
        le=1,
    )
    largest_stock_age_days: int = declared(
        7, "days", "Older word on stock counts as out of stock.", ge=1
    )
