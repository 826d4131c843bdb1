"""When a market's model is due for retraining: enough new labels, drift, performance, age.

Each trigger stands on its own and says what it saw and where its limit lies. Values gone
missing are no trigger: a broken feed is to be repaired, not learned.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal

from insight_lib.findings import Estimate, Measured
from insight_lib.prediction.drift import Drift
from insight_lib.prediction.performance import Performance

TriggerName = Literal["volume", "drift", "performance", "age"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """From where on retraining is due.

    Attributes:
        new_labelled_share: New labelled customers as a share of those learned from.
        retrain_psi: Population stability index of any input or score.
        smallest_auc: Accepted level of the chance to rank a pair right.
        largest_gap_share: Accepted gap of realised and predicted share.
        largest_age_days: Since the last day that the model learned from.
    """

    new_labelled_share: float
    retrain_psi: float
    smallest_auc: float
    largest_gap_share: float
    largest_age_days: int


@dataclass(frozen=True, kw_only=True)
class Trigger:
    """One reason to retrain.

    Attributes:
        has_fired: None where it could not be looked at.
        names: What drove it: shifted inputs, or `auc` and `gap`.
    """

    name: TriggerName
    has_fired: bool | None
    value: Measured | None
    limit: Measured
    names: tuple[str, ...] = ()


def estimate_triggers(
    *,
    n_trained: int,
    n_new_labelled: int,
    trained_until: date,
    drift: Drift | None,
    performance: Performance | None,
    limits: Limits,
    as_of: date,
) -> tuple[Trigger, ...]:
    """Look at each trigger on its own.

    Args:
        n_trained: Customers that the model learned from, counted once per snapshot.
        n_new_labelled: Labelled since, counted alike.
        trained_until: Last day that the model knows.
        drift: Of the model's inputs and score; None where not measurable.
        performance: On the latest labels; None where there are none.
    """

    def measured(value: float, unit: str, n: int) -> Measured:
        return Measured(value=value, unit=unit, n=n, as_of=as_of)

    enough = limits.new_labelled_share * n_trained
    age_days = (as_of - trained_until).days
    return (
        _performance(performance, limits, measured(limits.smallest_auc, "index", 0)),
        _drift(drift, limits, as_of),
        Trigger(
            name="volume",
            has_fired=n_new_labelled >= enough,
            value=measured(n_new_labelled, "count", n_new_labelled),
            limit=measured(enough, "count", n_trained),
        ),
        Trigger(
            name="age",
            has_fired=age_days > limits.largest_age_days,
            value=measured(age_days, "days", n_trained),
            limit=measured(limits.largest_age_days, "days", n_trained),
        ),
    )


def _performance(found: Performance | None, limits: Limits, accepted: Measured) -> Trigger:
    if found is None:
        return Trigger(name="performance", has_fired=None, value=None, limit=accepted)
    names: list[str] = []
    if found.auc.upper < limits.smallest_auc:
        names.append("auc")
    if _is_beyond(found.gap, limits.largest_gap_share):
        names.append("gap")
    # Only a miscalibrated model is shown by its gap; otherwise the ranking leads.
    if names == ["gap"]:
        limit = Measured(
            value=limits.largest_gap_share, unit="share", n=found.gap.n, as_of=found.gap.as_of
        )
        return Trigger(
            name="performance", has_fired=True, value=found.gap, limit=limit, names=("gap",)
        )
    return Trigger(
        name="performance",
        has_fired=bool(names),
        value=found.auc,
        limit=accepted,
        names=tuple(names),
    )


def _is_beyond(gap: Estimate, limit: float) -> bool:
    return gap.lower > limit or gap.upper < -limit


def _drift(drift: Drift | None, limits: Limits, as_of: date) -> Trigger:
    limit = Measured(value=limits.retrain_psi, unit="index", n=0, as_of=as_of)
    if drift is None:
        return Trigger(name="drift", has_fired=None, value=None, limit=limit)
    far = [s for s in drift.shifts if s.has_moved and s.psi >= limits.retrain_psi]
    largest = max((s.psi for s in drift.shifts if not s.is_calendar), default=0.0)
    return Trigger(
        name="drift",
        has_fired=bool(far),
        value=Measured(value=largest, unit="index", n=drift.n_current, as_of=as_of),
        limit=limit,
        names=tuple(s.name for s in far),
    )
