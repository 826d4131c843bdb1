"""Small worlds of tests whose truth is planted: who was assigned when, and what each ordered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from insight_lib.impact.arms import ArmResult, estimate_test
from insight_lib.impact.effects import Metric, usual_metrics
from insight_lib.impact.experiment import Experiment, build_experiment
from insight_lib.impact.guard_rails import GuardResult
from insight_lib.impact.inputs import Campaign

START, END, AS_OF = date(2025, 6, 2), date(2025, 6, 29), date(2025, 7, 31)
PRE_DAYS = 84
CAMPAIGN = Campaign(
    id="spring",
    kind="mail",
    start=START,
    end=END,
    cost_amount=1.0,
    is_randomised=True,
    n_assigned=0,
    arms=("control", "mail"),
    is_by_lot=True,
)


def assign(n: int, *, seed: int = 1, arms: tuple[str, ...] = ("control", "mail")) -> pd.DataFrame:
    """Arms as equal as can be, in an order by lot."""
    arm = np.resize(np.array(arms), n)
    np.random.default_rng(seed).shuffle(arm)
    return pd.DataFrame(
        {"campaign_id": "spring", "customer_id": [f"c{i:05d}" for i in range(n)], "arm": arm}
    )


def shop_orders(
    assigned: pd.DataFrame,
    *,
    seed: int = 1,
    rate: float = 0.02,
    lift: Mapping[str, float] | None = None,
    weekly: Mapping[str, tuple[float, ...]] | None = None,
    amount: float = 20.0,
) -> pd.DataFrame:
    """Poisson orders a day, from the pre-period to `AS_OF`; a lift multiplies the test's days.

    Args:
        lift: By arm, what the rate is multiplied with in the campaign's days.
        weekly: By arm, the same week by week.
    """
    rng = np.random.default_rng(seed + 1_000)
    days = pd.date_range(pd.Timestamp(START) - pd.Timedelta(days=PRE_DAYS + 7), AS_OF)
    habit = rng.gamma(4.0, 0.25, len(assigned))
    during = np.asarray((days >= pd.Timestamp(START)) & (days <= pd.Timestamp(END)))
    week = np.clip(np.asarray((days - pd.Timestamp(START)).days) // 7, 0, 3)
    factor = np.ones((len(assigned), len(days)))
    for arm, value in (lift or {}).items():
        factor[np.ix_(assigned["arm"] == arm, during)] *= value
    for arm, values in (weekly or {}).items():
        steps = np.array(values)[week[during]]
        factor[np.ix_(assigned["arm"] == arm, during)] *= steps
    counts = rng.poisson(rate * habit[:, None] * factor)
    who, when = np.nonzero(counts)
    spend = rng.gamma(2.0, amount / 2, len(who))
    return pd.DataFrame(
        {
            "customer_id": assigned["customer_id"].to_numpy()[who],
            "day": days[when],
            "moment": days[when] + pd.Timedelta(hours=15),
            "orders": counts[who, when],
            "revenue": spend,
        }
    )


def lay_out(
    assigned: pd.DataFrame, orders: pd.DataFrame, *, people: pd.DataFrame | None = None, **kw: Any
) -> Experiment:
    campaign = kw.pop("campaign", CAMPAIGN)
    return build_experiment(
        campaign,
        assigned,
        orders,
        None,
        people=people,
        pre_period_days=PRE_DAYS,
        zone="UTC",
        as_of=AS_OF,
        **kw,
    )


def metrics(frame: pd.DataFrame) -> list[Metric]:
    return usual_metrics(
        frame, currency="EUR", smallest_share_change=0.01, smallest_relative_change=0.03
    )


def results(experiment: Experiment, orders: pd.DataFrame, **kw: Any) -> tuple[ArmResult, ...]:
    return estimate_test(experiment, metrics(experiment.frame), orders, as_of=AS_OF, seed=1, **kw)


def simple_result(
    frame: pd.DataFrame, metric: Metric, *, guards: tuple[GuardResult, ...] = (), **kw: Any
) -> ArmResult:
    """A test whose frame is given, of one arm, with what it moved."""
    n = len(frame)
    given = frame.assign(
        customer_id=[f"c{i}" for i in range(n)],
        arm=np.where(frame["is_treated"], "mail", "control"),
    )
    bare = lay_out(assign(200), shop_orders(assign(200)))
    experiment = replace(bare, frame=given)
    (result,) = estimate_test(
        experiment, [metric], pd.DataFrame(columns=["customer_id", "day", "orders"]),
        as_of=AS_OF, seed=1, **kw,
    )  # fmt: skip
    return replace(result, guards=guards)
