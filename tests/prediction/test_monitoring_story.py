"""Sentences follow the results: verdict, advice and warning change with them."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from insight_lib.findings import Finding, Verdict
from insight_lib.prediction.cause_story import describe_root_cause, describe_slices
from insight_lib.prediction.drift import estimate_drift
from insight_lib.prediction.monitoring_charts import (
    chart_causes,
    chart_drift,
    chart_performance,
    drift_table,
    triggers_table,
)
from insight_lib.prediction.monitoring_story import (
    describe_amounts,
    describe_drift,
    describe_expected,
    describe_missing,
    describe_model,
    describe_performance,
    describe_scores,
    describe_surprise,
    describe_triggers,
    describe_unseen,
)
from insight_lib.prediction.performance import estimate_amount_performance
from insight_lib.prediction.snapshots import Target
from insight_lib.prediction.targeting import ContactRules, apply_contact_rules
from insight_lib.prediction.targeting_story import (
    channels_table,
    chart_plans,
    describe_hit_rate,
    describe_hours,
    describe_recommendations,
    describe_rules,
    describe_targeting,
    describe_tiers,
    offers_table,
    rules_table,
)
from tests.prediction import test_recommend as offers
from tests.prediction.test_drift import frames
from tests.prediction.test_performance import surprise
from tests.prediction.test_root_cause import planted
from tests.prediction.test_targeting import MAIL, PHONE, planned
from tests.prediction.test_triggers import LIMITS, triggers

AS_OF = date(2024, 12, 31)
LAPSE = Target(
    id="lapse",
    title="stop ordering",
    kind="binary",
    purpose="retention",
    horizon_days=28,
    unit="share",
)
LABELS = {"market": "Testland", "source": "transactions (snapshot 1)"}


def said(finding: Finding | None) -> str:
    assert finding is not None
    assert len(str(finding.statement)) <= 120
    return f"{finding.statement} {finding.so_what}"


def test_drift_names_what_moved_and_its_false_alarms() -> None:
    before, now = frames(1)
    quiet = estimate_drift(before, now, as_of=AS_OF, scores=("score",))
    assert describe_drift(quiet).verdict is not Verdict.MATTERS
    assert describe_missing(quiet) is None
    now["revenue_amount"] *= 3
    now["score"] = now["score"] ** 2
    now.loc[now.index[:200], "n_orders"] = np.nan
    loud = estimate_drift(before, now, as_of=AS_OF, scores=("score",))
    assert ": spend." in said(describe_drift(loud))
    assert "5% of runs" in said(describe_drift(loud))
    assert describe_scores(loud).verdict is Verdict.MATTERS
    missing = describe_missing(loud)
    assert "Number of orders is missing more often" in said(missing)
    assert missing is not None
    assert missing.owner == "data-engineer"
    words = {row[0]: row[-1] for row in drift_table(loud).rows}
    assert words["spend"] == "moved"
    chart = chart_drift(loud, **LABELS)
    assert chart is not None
    assert str(chart.title) == "Score moved most"


def test_a_small_market_does_not_claim_that_nothing_changed() -> None:
    quiet = estimate_drift(*frames(2, n=60, overlap=0.0), as_of=AS_OF)
    assert describe_drift(quiet).verdict is Verdict.CANNOT_TELL


@pytest.mark.row("M5.2")
def test_the_estimate_without_labels_always_says_what_it_cannot_see() -> None:
    quiet, changed = surprise(1), surprise(1, relation=-0.2)
    for result, was_surprised in ((quiet, False), (changed, True)):
        finding = describe_expected(
            result.expected, target=LAPSE, has_drifted=False, was_surprised=was_surprised
        )
        assert "a change of behaviour does not show here" in said(finding)
        assert (finding.verdict is Verdict.FAIL) == was_surprised
    assert "Do not trust" in said(
        describe_expected(changed.expected, target=LAPSE, has_drifted=True, was_surprised=True)
    )
    shifted = surprise(1, shift=2.5).expected
    finding = describe_expected(shifted, target=LAPSE, has_drifted=False, was_surprised=False)
    assert finding.verdict is Verdict.REVIEW
    assert describe_surprise(quiet, target=LAPSE).verdict is Verdict.PASS
    warned = describe_surprise(changed, target=LAPSE)
    assert warned.verdict is Verdict.FAIL
    assert "Warning" in said(warned)


@pytest.mark.parametrize(
    ("accepted", "verdict"),
    [(0.5, Verdict.PASS), (0.72, Verdict.CANNOT_TELL), (0.95, Verdict.FAIL)],
)
def test_performance_has_three_endings(accepted: float, verdict: Verdict) -> None:
    result = surprise(1).realised
    assert result.auc.lower < 0.72 < result.auc.upper
    finding = describe_performance(result, target=LAPSE, smallest_auc=accepted, largest_gap=0.05)
    assert finding.verdict is verdict
    chart = chart_performance([result, result], target=LAPSE, smallest_auc=accepted, **LABELS)
    assert "of pairs" in str(chart.title)


def test_a_model_that_ranks_well_at_the_wrong_level_is_for_review() -> None:
    result = replace(surprise(1).realised, gap=replace(surprise(1).realised.auc, lower=0.1))
    finding = describe_performance(result, target=LAPSE, smallest_auc=0.5, largest_gap=0.05)
    assert finding.verdict is Verdict.REVIEW
    assert "do not plan by its numbers" in said(finding)


def test_amounts_that_do_not_add_up_fail() -> None:
    rng = np.random.default_rng(1)
    actual = rng.gamma(2, 10, 500)
    for factor, verdict in ((1.0, Verdict.PASS), (2.0, Verdict.FAIL)):
        result = estimate_amount_performance(
            actual * factor, actual, range(500), unit="EUR", as_of=AS_OF
        )
        finding = describe_amounts(result, target=LAPSE, largest_gap=0.1)
        assert finding.verdict is verdict


def test_retraining_says_why() -> None:
    quiet = describe_triggers(triggers(), target=LAPSE, as_of=AS_OF)
    assert quiet.verdict is Verdict.DOES_NOT_MATTER
    loud = describe_triggers(triggers(shift=1.0, age_days=200), target=LAPSE, as_of=AS_OF)
    assert "customers have changed and it is too old" in said(loud)
    assert "gap days" in said(loud)
    assert loud.due == AS_OF + timedelta(days=14)
    table = triggers_table(triggers(age_days=200), LIMITS, target=LAPSE)
    assert [row[-1] for row in table.rows] == ["no", "no", "no", "yes"]


def test_the_cause_and_its_cure_are_named() -> None:
    lost = planted(4, "missingness")
    finding = describe_root_cause(lost, target=LAPSE)
    assert "inputs went missing (x)" in said(finding)
    assert finding.owner == "data-engineer"
    assert "Inputs went missing leads" in str(chart_causes(lost, target=LAPSE, **LABELS).title)
    quiet = describe_root_cause(planted(1), target=LAPSE)
    assert quiet.verdict is not Verdict.MATTERS
    by_slice = planted(2, "slice")
    assert "channel web" in said(describe_slices(by_slice.slices, target=LAPSE, as_of=AS_OF))
    assert describe_slices(planted(1).slices, target=LAPSE, as_of=AS_OF) is None


@pytest.mark.case("130i")
def test_no_superlative_of_one_and_no_change_from_nothing() -> None:
    """Seen: "errors grew most" where one group stood out; a rise over errors of nought."""
    slices = planted(2, "slice").slices
    alone = [replace(s, is_clear=s.is_clear and s.value == "web") for s in slices]
    assert "grew for" in said(describe_slices(alone, target=LAPSE, as_of=AS_OF))
    both = [replace(s, is_clear=True) for s in slices]
    assert "grew most for" in said(describe_slices(both, target=LAPSE, as_of=AS_OF))
    from_nothing = replace(planted(1), before=0.0)
    assert "no errors to compare with" in said(describe_root_cause(from_nothing, target=LAPSE))


@pytest.mark.case("9")
def test_of_a_stand_in_nothing_is_kept_or_stopped() -> None:
    result = surprise(1).realised
    limits = {"target": LAPSE, "smallest_auc": 0.6, "largest_gap": 0.05}
    stands_in = describe_performance(result, is_live=False, **limits)
    assert stands_in.verdict in (Verdict.DOES_NOT_MATTER, Verdict.CANNOT_TELL)
    assert "No model is in use" in said(stands_in)
    assert "Keep using" not in said(stands_in)


def test_the_model_watched_is_said() -> None:
    standing_in = describe_model(source="fitted", trained_until=AS_OF, n_trained=900, as_of=AS_OF)
    assert "stands in" in said(standing_in)
    live = describe_model(source="live", trained_until=AS_OF, n_trained=900, as_of=AS_OF)
    assert live.verdict is Verdict.PASS


def test_a_plan_is_told_with_its_comparisons() -> None:
    plan = planned(PHONE, MAIL, days_since_last_order=pd.Series(dtype=float))
    assert "by lot" in said(describe_targeting(plan))
    assert "One more hour of Phone" in said(describe_hours(plan))
    assert describe_hours(planned(MAIL)) is None
    assert [row[2] for row in channels_table(plan).rows] == ["all", "3"]
    assert "The best plan brings" in str(chart_plans(plan, **LABELS).title)
    customers = pd.DataFrame(
        {
            "has_consent": [True, False, True],
            "days_since_contact": [None, None, None],
            "n_contacts": [0, 0, 0],
            "has_open_complaint": [False, False, False],
        },
        index=list("abc"),
    )
    rules = apply_contact_rules(customers, ContactRules(rest_days=7, most_contacts=2), as_of=AS_OF)
    assert "2 of 3 customers may be contacted" in said(describe_rules(rules, as_of=AS_OF))
    assert rules_table(rules, minimum_cell_size=10).rows[0][1] == "under 10"


def test_offers_are_told_with_stock_tiers_and_hits() -> None:
    result = offers.made(1)
    assert "in stock on 31 December 2024" in said(describe_recommendations(result, as_of=AS_OF))
    tiers = describe_tiers(result)
    assert tiers is not None
    assert tiers.verdict is Verdict.PASS
    assert describe_tiers(offers.made(1, 0.1)) is not None
    table = offers_table(result, {"p00": "Scarf"}, minimum_cell_size=10)
    assert all(int(row[1]) >= 10 for row in table.rows)
    before, after = offers.purchases(1, n=300), offers.purchases(2, n=300)
    items = before[["customer_id", "product_id"]]
    same = offers.estimate_hit_rate(items, items, after, as_of=AS_OF)
    assert describe_hit_rate(same).verdict is Verdict.CANNOT_TELL


@pytest.mark.case("130b")
def test_a_model_whose_outcomes_have_not_come_says_so() -> None:
    told = describe_unseen(
        LAPSE, learned_until=date(2024, 11, 1), horizon_days=91, as_of=date(2024, 12, 1)
    )
    assert told.verdict is Verdict.NOT_MEASURABLE
    assert "cannot be measured before 31 January 2025" in str(told.statement)
