"""When a market's model is due for retraining: enough new labels, drift, performance, age.

Each trigger stands on its own and says what it saw and where its limit lies. Values gone
missing are no trigger: a broken feed is to be repaired, not learned.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Literal

from insight_lib.analyses import Missing
from insight_lib.findings import Estimate, Measured, counted
from insight_lib.prediction.drift import Drift
from insight_lib.prediction.explain import Named, named
from insight_lib.prediction.marks import Held
from insight_lib.prediction.performance import Performance
from insight_lib.prediction.shifts import Shifts
from insight_lib.prose import Name

if TYPE_CHECKING:
    from insight_lib.parameter_model import PredictionParameters
    from insight_lib.prediction.watch import Watched
    from insight_lib.run import Run

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


@dataclass(frozen=True, kw_only=True)
class TriggerRow:
    """One reason to retrain: what was seen, and from where on it counts."""

    reason: TriggerName
    seen: Measured | None
    limit: Measured
    retrain: Literal["yes", "no", "not known"]


@dataclass(frozen=True, kw_only=True)
class Retrain(Named):
    """Whether a model is due for retraining, and why.

    Attributes:
        title: Fits "who will …".
        since: Day since which a stand-in is watched, where no model is in use yet.
        due_for: Reasons that hold.
        names: Inputs that changed most, where that is a reason.
        new_share: New records count once they are this share of those learned from.
        value: How many reasons hold.
    """

    key: str
    title: Name
    case: Literal["would be due", "would still do", "due", "as far as seen", "no reason"]
    since: date | None
    due_for: tuple[TriggerName, ...]
    new_share: Measured
    value: Measured
    table: tuple[TriggerRow, ...]

    @property
    def has_names(self) -> bool:
        return bool(self.names)


def retrain(
    watched: tuple[Watched, ...],
    performance: tuple[Held | Missing, ...],
    run: Run[PredictionParameters],
    shifted: Shifts | None = None,
) -> tuple[Retrain, ...]:
    """Whether each model that ranks is due, on all that was seen of it."""
    p = run.parameters
    limits = Limits(
        new_labelled_share=p.new_labelled_share,
        retrain_psi=p.retrain_psi,
        smallest_auc=p.smallest_auc,
        largest_gap_share=p.largest_gap_share,
        largest_age_days=p.largest_age_days,
    )
    marks = {one.key: one.latest for one in performance if isinstance(one, Held)}
    found = []
    for one in watched:
        if one.is_binary:
            triggers = estimate_triggers(
                n_trained=one.n_trained,
                n_new_labelled=sum(int(r["label"].notna().sum()) for r in one.seen.values()),
                trained_until=one.learned_until,
                drift=shifted.inputs if shifted else None,
                performance=marks.get(one.key),
                limits=limits,
                as_of=run.as_of,
            )
            since = None if one.version else one.learned_until
            found.append(due(one.key, one.title, triggers, limits, as_of=run.as_of, since=since))
    return tuple(found)


def due(
    key: str,
    title: Name,
    triggers: tuple[Trigger, ...],
    limits: Limits,
    *,
    as_of: date,
    since: date | None = None,
) -> Retrain:
    """What the triggers of one model come to.

    Args:
        since: Day since which a stand-in is watched, where no model is in use yet.
    """
    fired = [t for t in triggers if t.has_fired]
    is_blind = any(t.has_fired is None for t in triggers)
    case: Literal["would be due", "would still do", "due", "as far as seen", "no reason"]
    if since is not None:
        case = "would be due" if fired else "would still do"
    else:
        case = "due" if fired else "as far as seen" if is_blind else "no reason"
    share = limits.new_labelled_share
    return Retrain(
        **named([name for t in fired if t.name == "drift" for name in t.names]),
        key=key,
        title=title,
        case=case,
        since=since,
        due_for=tuple(t.name for t in fired),
        new_share=Measured(value=share, unit="share", n=len(triggers), as_of=as_of),
        value=counted(len(fired), len(triggers), as_of),
        table=tuple(_row(t) for t in triggers),
    )


def _row(trigger: Trigger) -> TriggerRow:
    words: dict[bool | None, Literal["yes", "no", "not known"]] = {
        True: "yes",
        False: "no",
        None: "not known",
    }
    return TriggerRow(
        reason=trigger.name,
        seen=trigger.value,
        limit=trigger.limit,
        retrain=words[trigger.has_fired],
    )


def reasons(retrain: tuple[Retrain, ...]) -> tuple[Retrain, ...]:
    """Every reason to retrain with what it saw and where its limit lies."""
    return retrain
