"""Why a campaign fell short: a planted cause of each kind is named, and none where none is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from insight_lib.findings import Estimate
from insight_lib.impact.effects import Metric, estimate_effect
from insight_lib.impact.inputs import Campaign
from insight_lib.impact.postmortem import (
    Cause,
    Limits,
    PostMortem,
    Records,
    contacts_on_record,
    failed_data_checks,
    hold_post_mortem,
)
from tests.truth.helpers import assert_detection_rate, assert_false_alarm_rate, over_seeds

START = date(2025, 3, 3)
DAY = date(2025, 6, 30)
CAMPAIGN = Campaign(
    id="spring",
    kind="offer",
    start=START,
    end=START + timedelta(days=13),
    cost_amount=0.5,
    is_randomised=True,
    n_assigned=4_000,
)
LIMITS = Limits(
    smallest_reached_share=0.9,
    largest_contaminated_share=0.05,
    largest_outside_share=0.05,
    largest_start_delay_days=2,
    largest_late_share=0.05,
    late_after_days=7,
    largest_silent_share=0.2,
)
ORDERED = Metric(
    column="has_ordered",
    name="share who ordered",
    kind="share",
    unit="share",
    smallest_change_that_matters=0.01,
)
CUSTOMERS = np.array([f"c{i}" for i in range(4_000)])


@dataclass(frozen=True, kw_only=True)
class SpringPlan:
    arm: str | None = None
    campaign: str = "spring"
    metric: str = "has_ordered"
    expected_lift: float = 0.08
    planned_contacts: int = 2_000
    planned_start: date = START
    planned_control_share: float = 0.5


@dataclass
class World:
    """What happened, and what of it is on record."""

    frame: pd.DataFrame
    records: Records


def world(
    seed: int,
    *,
    lift: float = 0.08,
    n: int = 4_000,
    reached: float = 0.97,
    contaminated: float = 0.01,
    delay_days: int = 0,
) -> World:
    """A test drawn by lot; only who is contacted answers to it."""
    rng = np.random.default_rng(seed)
    is_treated = rng.random(n) < 0.5
    is_contacted = rng.random(n) < np.where(is_treated, reached, contaminated)
    ordered = rng.random(n) < 0.20 + lift * is_contacted
    customers = CUSTOMERS[:n]
    frame = pd.DataFrame(
        {"customer_id": customers, "is_treated": is_treated, "has_ordered": ordered.astype(float)}
    )
    day = pd.Timestamp(START) + pd.to_timedelta(delay_days + rng.integers(0, 3, n), unit="D")
    contacts = pd.DataFrame({"customer_id": customers[is_contacted], "day": day[is_contacted]})
    answered = pd.Timestamp(START) + pd.to_timedelta(rng.integers(0, 14, n)[ordered], unit="D")
    lags = pd.Series(np.where(rng.random(3_000) < 0.02, 10.0, 0.1))
    records = Records(
        arms=frame[["customer_id", "is_treated"]].assign(is_followed=rng.random(n) < 0.98),
        responses=pd.Series(answered),
        lags_days={"interactions": lags},
        contacts=contacts,
    )
    return World(frame, records)


def judge(made: World, plan: SpringPlan | None = None) -> PostMortem | None:
    effect = estimate_effect(made.frame, ORDERED, arm="contacted", as_of=DAY, seed=1).change
    return hold_post_mortem(plan or SpringPlan(), CAMPAIGN, effect, made.records, limits=LIMITS)


def lose_controls(seed: int) -> World:
    """A fifth of those left alone never reached the log."""
    made = world(seed, lift=0.03)
    rng = np.random.default_rng(seed + 50_000)
    kept = made.frame["is_treated"] | (rng.random(len(made.frame)) > 0.2)
    arms = made.records.arms[kept]
    return World(made.frame[kept], replace(made.records, arms=arms))


def lose_buyers(seed: int) -> World:
    made = world(seed, lift=0.03)
    arms = made.records.arms.copy()
    lost = arms["is_treated"] & (np.random.default_rng(seed).random(len(arms)) < 0.10)
    arms["is_followed"] &= ~lost
    return World(made.frame, replace(made.records, arms=arms))


def stop_the_feed(seed: int) -> World:
    made = world(seed, lift=0.03)
    assert made.records.responses is not None
    days = made.records.responses
    return World(
        made.frame,
        replace(made.records, responses=days[days < pd.Timestamp(START + timedelta(days=8))]),
    )


def delay_the_feed(seed: int) -> World:
    made = world(seed, lift=0.03)
    lags = pd.Series(np.where(np.random.default_rng(seed).random(3_000) < 0.15, 12.0, 0.1))
    return World(made.frame, replace(made.records, lags_days={"interactions": lags}))


def fail_a_check(seed: int) -> World:
    made = world(seed, lift=0.03)
    return World(made.frame, replace(made.records, failed_checks=("sources.completeness",)))


def reach_few(seed: int) -> World:
    return world(seed, reached=0.45)


def contact_controls(seed: int) -> World:
    return world(seed, contaminated=0.6)


def start_late(seed: int) -> World:
    return world(seed, lift=0.03, delay_days=6)


def contact_after_the_end(seed: int) -> World:
    made = world(seed, lift=0.03)
    assert made.records.contacts is not None
    contacts = made.records.contacts.copy()
    late = np.random.default_rng(seed).random(len(contacts)) < 0.3
    contacts.loc[late, "day"] += pd.Timedelta(days=20)
    return World(made.frame, replace(made.records, contacts=contacts))


def bring_little(seed: int) -> World:
    return world(seed, lift=0.02)


@pytest.mark.row("C8.3")
@pytest.mark.parametrize(
    ("plant", "cause", "named"),
    [
        (lose_controls, Cause.DATA, "share of customers left alone"),
        (lose_buyers, Cause.DATA, "customers lost from the data, contacted less left alone"),
        (stop_the_feed, Cause.DATA, "days without any response"),
        (delay_the_feed, Cause.DATA, "interactions: records that came late"),
        (fail_a_check, Cause.DATA, "failed checks of the sources"),
        (reach_few, Cause.EXECUTION, "customers to contact who were reached"),
        (contact_controls, Cause.EXECUTION, "customers to leave alone who were contacted"),
        (start_late, Cause.EXECUTION, "start after the planned day"),
        (contact_after_the_end, Cause.EXECUTION, "first contacts outside the campaign's days"),
        (bring_little, Cause.STRATEGY, None),
    ],
)
def test_a_planted_cause_is_named(
    plant: Callable[[int], World], cause: Cause, named: str | None
) -> None:
    def run(seed: int) -> bool:
        found = judge(plant(seed))
        if found is None or found.cause is not cause:
            return False
        return named is None or named in [fault.name for fault in found.faults]

    assert_detection_rate(over_seeds(run, 40), 0.9)


@pytest.mark.row("C8.3")
def test_where_nothing_was_planted_hardly_any_cause_is_named() -> None:
    def run(seed: int) -> tuple[bool, bool]:
        found = judge(world(seed, lift=0.08 / 0.96))  # as planned, among those assigned
        return found is not None, found is not None and found.cause is not Cause.CHANCE

    found = over_seeds(run, 200)
    assert_false_alarm_rate([named for _, named in found], 0.05)
    assert any(short for short, _ in found)  # a campaign as planned falls short half the time


def test_a_plan_that_was_met_has_no_post_mortem() -> None:
    assert judge(world(1), SpringPlan(expected_lift=0.01)) is None


@pytest.mark.row("C8.3")
def test_without_a_record_of_contacts_the_idea_is_not_blamed() -> None:
    made = bring_little(1)
    found = judge(World(made.frame, replace(made.records, contacts=None)))
    assert found is not None
    assert found.cause is Cause.UNRECORDED
    assert found.faults == ()
    assert found.if_executed is None


def test_the_effect_had_everyone_been_reached_holds_the_truth() -> None:
    inside = []
    for seed in range(1, 61):
        found = judge(reach_few(seed))
        assert found is not None
        assert found.if_executed is not None
        inside.append(not found.if_executed.excludes(0.08))
    assert_detection_rate(inside, 0.95)


def test_evidence_by_hand() -> None:
    arms = pd.DataFrame(
        {
            "customer_id": [f"c{i}" for i in range(200)],
            "is_treated": [True] * 100 + [False] * 100,
            "is_followed": True,
        }
    )
    contacts = pd.DataFrame(
        {
            "customer_id": [f"c{i}" for i in range(80)] + ["c150", "c151", "c150"],
            "day": pd.Timestamp(START),
        }
    )
    records = Records(arms=arms, responses=None, lags_days={}, contacts=contacts)
    effect = Estimate(
        value=0.0, lower=-0.1, upper=0.1, unit="difference", n=200, as_of=DAY, method="given"
    )
    plan = SpringPlan(planned_contacts=100)
    found = hold_post_mortem(plan, CAMPAIGN, effect, records, limits=LIMITS)
    assert found is not None
    seen = {e.name: e.seen.value for e in found.evidence}
    assert seen["customers to contact who were reached"] == 0.8
    assert seen["customers to leave alone who were contacted"] == 0.02
    assert seen["contacted, as a share of the plan"] == 0.8
    assert seen["first contacts outside the campaign's days"] == 0
    assert seen["start after the planned day"] == 0
    assert found.if_executed is not None
    assert found.if_executed.upper == pytest.approx(0.1 / 0.78)
    assert found.cause is Cause.EXECUTION


def test_contacts_come_from_responses_of_the_campaign_or_else_from_its_channel() -> None:
    late_evening = pd.Timestamp("2025-03-02T23:30Z")  # the third of March in Berlin
    responses = pd.DataFrame(
        {
            "campaign_id": ["spring", "spring", "other"],
            "customer_id": ["a", "b", "c"],
            "response_type": ["sent", "visit", "sent"],
            "responded_at": late_evening,
        }
    )
    interactions = pd.DataFrame(
        {
            "customer_id": ["d", None, "e", "f"],
            "touchpoint": ["email", "email", "call", "email"],
            "event_type": ["sent", "sent", "sent", "open"],
            "occurred_at": late_evening,
        }
    )
    given = {"channel": "email", "event_types": ("sent",), "zone": "Europe/Berlin"}
    found = contacts_on_record(CAMPAIGN, responses, interactions, **given)
    assert found is not None
    assert found["customer_id"].tolist() == ["a"]
    assert found["day"].tolist() == [pd.Timestamp(START)]
    found = contacts_on_record(CAMPAIGN, responses[1:], interactions, **given)
    assert found is not None
    assert found["customer_id"].tolist() == ["d"]
    assert contacts_on_record(CAMPAIGN, responses[1:], interactions[2:], **given) is None


def test_only_failed_checks_of_the_sources_speak_of_the_data() -> None:
    def check(name: str, verdict: str, row: str) -> dict[str, object]:
        return {"kind": "check", "id": name, "verdict": verdict, "rows": [row]}

    found = failed_data_checks(
        [
            check("sources.complete", "fail", "C2.1"),
            check("sources.margins", "pass", "C2.5"),
            check("prediction.calibration", "fail", "C4.2"),
        ]
    )
    assert found == ("sources.complete",)
