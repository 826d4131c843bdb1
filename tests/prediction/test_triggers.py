"""Triggers: each fires alone by its own planted cause, and none without one."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from insight_lib.findings import Estimate
from insight_lib.prediction.drift import estimate_drift
from insight_lib.prediction.performance import estimate_performance
from insight_lib.prediction.triggers import Limits, Trigger, estimate_triggers
from tests.truth.helpers import assert_false_alarm_rate, over_seeds

AS_OF = date(2024, 12, 31)
LIMITS = Limits(
    new_labelled_share=0.5,
    retrain_psi=0.25,
    smallest_auc=0.72,
    largest_gap_share=0.05,
    largest_age_days=180,
)


def triggers(
    seed: int = 1,
    *,
    shift: float = 0.0,
    relation: float = 1.0,
    more: float = 0.0,
    n_new: int = 400,
    age_days: int = 84,
) -> tuple[Trigger, ...]:
    rng = np.random.default_rng(seed)

    def people(first: int, shift: float) -> pd.DataFrame:
        frame = pd.DataFrame({"x": rng.normal(size=800), "gap_days": rng.gamma(2, 10, 800)})
        frame["gap_days"] *= 1 + shift
        frame["score"] = expit(-0.5 + 1.5 * frame["x"])
        return frame.set_index(pd.Index(range(first, first + 800)))

    before, now = people(0, 0.0), people(200, shift)
    chance = expit(-0.5 + more + 1.5 * relation * now["x"])
    return estimate_triggers(
        n_trained=1600,
        n_new_labelled=n_new,
        trained_until=AS_OF - timedelta(days=age_days),
        drift=estimate_drift(before, now, as_of=AS_OF, scores=("score",)),
        performance=estimate_performance(
            now["score"], rng.random(800) < chance, now.index, as_of=AS_OF
        ),
        limits=LIMITS,
        as_of=AS_OF,
    )


def fired(found: tuple[Trigger, ...]) -> list[str]:
    return [t.name for t in found if t.has_fired]


@pytest.mark.row("M5.7")
def test_each_trigger_fires_alone() -> None:
    assert fired(triggers()) == []
    assert fired(triggers(n_new=800)) == ["volume"]
    assert fired(triggers(age_days=200)) == ["age"]
    assert fired(triggers(shift=1.0)) == ["drift"]
    assert fired(triggers(relation=0.4)) == ["performance"]


def test_a_range_that_holds_the_accepted_level_is_no_trigger() -> None:
    performance = triggers(relation=0.62)[0]
    assert isinstance(performance.value, Estimate)
    assert performance.value.lower < LIMITS.smallest_auc < performance.value.upper
    assert not performance.has_fired


def test_what_drove_a_trigger_is_named() -> None:
    assert {t.names for t in triggers(shift=1.0) if t.has_fired} == {("gap_days",)}
    (gap,) = (t for t in triggers(more=0.8) if t.has_fired)
    assert gap.names == ("gap",)
    assert gap.value is not None
    assert gap.value.value > gap.limit.value


@pytest.mark.slow
@pytest.mark.row("M5.7")
def test_nothing_planted_fires_nothing() -> None:
    assert_false_alarm_rate(over_seeds(lambda s: bool(fired(triggers(s))), 100), 0.05)


def test_what_could_not_be_looked_at_is_neither_fired_nor_quiet() -> None:
    found = estimate_triggers(
        n_trained=100,
        n_new_labelled=0,
        trained_until=AS_OF,
        drift=None,
        performance=None,
        limits=LIMITS,
        as_of=AS_OF,
    )
    assert [(t.name, t.has_fired) for t in found] == [
        ("performance", None),
        ("drift", None),
        ("volume", False),
        ("age", False),
    ]
