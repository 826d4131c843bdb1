"""Sentences follow the numbers: each verdict and its ending."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from insight_lib.findings import Estimate, Verdict
from insight_lib.segments.attitudes import SideBySide
from insight_lib.segments.charts import (
    chart_lifts,
    chart_migration,
    chart_responses,
    chart_sizes,
)
from insight_lib.segments.crosswalk import estimate_crosswalk
from insight_lib.segments.find import Moves
from insight_lib.segments.granularity import estimate_granularity
from insight_lib.segments.identity import estimate_interval, match_segments
from insight_lib.segments.naming import Lift
from insight_lib.segments.power import plan_by_power
from insight_lib.segments.responsiveness import estimate_responsiveness
from insight_lib.segments.solution import (
    NO_MORE_THAN_CHANCE,
    Candidate,
    Solution,
    Thresholds,
)
from insight_lib.segments.story import (
    describe_crosswalk,
    describe_difference,
    describe_granularity,
    describe_interval,
    describe_names,
    describe_power,
    describe_responsiveness,
    describe_solution,
    describe_stability,
    describe_totals,
    describe_uses,
)
from insight_lib.segments.tables import candidates_table, restated_table

AS_OF = date(2024, 12, 31)
NAMES = {"s1": "Kids", "s2": "Shoes"}
LABELS = {"market": "Testland", "source": "transactions (snapshot 0)"}
CHOSEN = Candidate(
    method="k-means",
    k=2,
    silhouette=0.4,
    chance_silhouette=0.2,
    is_distinct=True,
    jaccard=(0.9, 0.8),
    valley=1.4,
    kept=Estimate(value=0.8, lower=0.7, upper=0.9, unit="ratio", n=90, as_of=AS_OF, method="m"),
    smallest_customers=60,
    fault="",
)


def solution(*candidates: Candidate, chosen: Candidate | None = None) -> Solution:
    return Solution(
        customer_id=("a", "b"),
        model=None,
        labels=np.zeros(0, dtype=np.int64),
        probability=np.zeros(0),
        chosen=chosen,
        candidates=candidates,
        chance_share=0.025,
        n_fitted=2,
        thresholds=Thresholds(),
    )


def lift(value: float, lower: float) -> Lift:
    ratio = Estimate(
        value=value, lower=lower, upper=value * 2, unit="ratio", n=80, as_of=AS_OF, method="m"
    )
    return Lift(segment="s1", kind="department", feature="Kids", ratio=ratio)


@pytest.mark.row("C3.2")
def test_the_three_answers_to_whether_there_are_segments() -> None:
    found = describe_solution(solution(CHOSEN, chosen=CHOSEN), as_of=AS_OF)
    assert found.verdict is Verdict.MATTERS
    assert "into 2 real groups" in str(found.statement)
    noise = replace(CHOSEN, fault=NO_MORE_THAN_CHANCE)
    hidden = describe_solution(solution(noise), as_of=AS_OF)
    assert hidden.verdict is Verdict.CANNOT_TELL
    none = describe_solution(replace(solution(noise), power=0.9), as_of=AS_OF)
    assert none.verdict is Verdict.DOES_NOT_MATTER
    assert str(none.statement).startswith("No segments")
    small = replace(CHOSEN, fault="a group is too small")
    unsure = describe_solution(solution(noise, small), as_of=AS_OF)
    assert unsure.verdict is Verdict.CANNOT_TELL
    assert "a group is too small" in str(unsure.so_what)


@pytest.mark.case("7")
def test_stability_passes_only_what_was_compared() -> None:
    assert describe_stability(solution(CHOSEN, chosen=CHOSEN), as_of=AS_OF).verdict is Verdict.PASS
    alone = replace(CHOSEN, kept=None)
    assert describe_stability(solution(alone, chosen=alone), as_of=AS_OF).verdict is Verdict.REVIEW
    assert describe_stability(solution(), as_of=AS_OF).verdict is Verdict.REVIEW
    assert candidates_table(solution(CHOSEN, chosen=CHOSEN)).rows[0][-1] == "chosen"


@pytest.mark.case("119h")
def test_groups_that_are_not_published_serve_nothing() -> None:
    compared = SideBySide(
        criteria=(), winner={"retention": "behavioural"}, is_clear={"retention": True},
        unserved=("acquisition",), n_respondents=200,
    )  # fmt: skip
    told = describe_uses(compared, published=(), as_of=AS_OF)
    assert told.verdict is Verdict.CANNOT_TELL
    assert str(told.statement).startswith("Nothing serves yet")
    served = describe_uses(compared, published=("behavioural",), as_of=AS_OF)
    assert str(served.statement) == "Serve retention by behavioural groups."


def test_a_difference_beyond_counting_is_said_in_words() -> None:
    assert "3 times" in str(describe_difference([lift(3, 2)], NAMES).statement)
    assert "hardly any other" in str(describe_difference([lift(300, 2)], NAMES).statement)
    assert describe_difference([lift(1.1, 0.9)], NAMES) is None
    assert chart_lifts([lift(3, 2)], NAMES, **LABELS) is not None
    assert chart_lifts([lift(300, 2)], NAMES, **LABELS) is None


@pytest.mark.row("C3.4")
def test_names_are_unconfirmed_until_someone_confirms_them() -> None:
    check = describe_names(NAMES, {"s1": "Young families"}, as_of=AS_OF)
    assert check.verdict is Verdict.REVIEW
    assert str(check.statement) == "1 of 2 names are unconfirmed."
    assert describe_names(NAMES, NAMES, as_of=AS_OF).verdict is Verdict.PASS


def power(n_small: int, smallest: float):
    return plan_by_power(
        {"s1": 4000, "s2": n_small},
        {"s1": np.array([0.0]), "s2": np.array([1.0])},
        base_rate=0.1,
        smallest_effect_that_matters=smallest,
        as_of=AS_OF,
    )


@pytest.mark.row("M7.3")
def test_the_segment_that_cannot_stand_alone_is_named() -> None:
    assert describe_power(power(4000, 0.05), NAMES, as_of=AS_OF).verdict is Verdict.DOES_NOT_MATTER
    merged = describe_power(power(40, 0.05), NAMES, as_of=AS_OF)
    assert str(merged.statement).startswith("Shoes are too small")
    assert str(merged.so_what) == "Test together: Shoes with Kids."
    hopeless = describe_power(power(40, 0.001), NAMES, as_of=AS_OF)
    assert str(hopeless.statement).startswith("Even all customers together")


@pytest.mark.row("C3.3")
def test_the_chosen_number_is_explained() -> None:
    value = np.repeat([1.0, 2, 3, 9], 100)
    labels = {k: np.arange(400) * k // 400 for k in (2, 3, 4)}

    def words(cost: float, capacity: int) -> str:
        result = estimate_granularity(
            value,
            labels,
            activation_cost_amount=cost,
            channel_capacity=capacity,
            captured_share=0.5,
            currency="EUR",
            as_of=AS_OF,
        )
        found = describe_granularity(result, n_found=4, period_days=91, as_of=AS_OF)
        return f"{found.statement} {found.so_what}"

    assert "costs €" in words(1.0, 2)
    assert "No split pays" in words(1e6, 5)
    assert "4 groups pay best" in words(0.0, 5)


@pytest.mark.row("C3.5")
def test_moves_break_and_totals() -> None:
    ids = [f"c{i:03}" for i in range(200)]
    old = pd.DataFrame({"customer_id": ids, "segment": ["s1"] * 100 + ["s2"] * 100})
    new = old.assign(segment=["s1"] * 80 + ["s2"] * 120)
    refresh = match_segments(old, new, as_of=AS_OF)
    interval = estimate_interval([0.1], days_between=91, tolerated_share=0.2, as_of=AS_OF, n=200)
    moved = refresh.moved
    moves = Moves(old=old, seemed=0.14, by_chance=0.04, moved=moved)
    told = describe_interval(moves, interval, days_between=91)
    assert str(told.statement).startswith("10 in 100 customers changed group in 91 days")
    nobody = replace(moves, moved=replace(moved, value=0.0, lower=0.0, upper=0.01))
    still = estimate_interval([0.0], days_between=91, tolerated_share=0.2, as_of=AS_OF, n=200)
    told = describe_interval(nobody, still, days_between=91)
    assert str(told.statement).startswith("Nobody surely changed group")
    assert "nothing wears them out" in str(told.so_what)
    chart = chart_migration(refresh, NAMES, minimum_cell_size=10, **LABELS)
    assert ("Shoes", "", "100%") in chart.table.rows  # none of a few is shown
    figure = pd.Series([Decimal(1)] * 200, index=ids)
    pairs = [dict(zip(ids, f["segment"], strict=True)) for f in (old, new)]
    walk = estimate_crosswalk(figure, *pairs, as_of=AS_OF)
    assert describe_crosswalk(walk, smallest_kept_share=0.8).verdict is Verdict.DOES_NOT_MATTER
    assert describe_crosswalk(walk, smallest_kept_share=0.95).verdict is Verdict.MATTERS
    assert describe_totals(walk, as_of=AS_OF).verdict is Verdict.PASS
    broken = replace(walk, totals={"old": Decimal(200), "new": Decimal(199)})
    assert describe_totals(broken, as_of=AS_OF).verdict is Verdict.FAIL
    assert restated_table(walk, NAMES, currency="EUR").rows[0] == ("old: Kids", "100", "€100")


@pytest.mark.row("C3.7")
def test_roll_out_is_said_by_segment() -> None:
    rng = np.random.default_rng(1)
    treated = np.tile([True, False], 4000)

    def told(lift_share: float) -> Verdict:
        chance = 0.1 + lift_share * treated
        frame = pd.DataFrame(
            {
                "segment": np.repeat(["s1", "s2"], 4000),
                "is_treated": treated,
                "value": (rng.random(8000) < chance).astype(float),
            }
        )
        result = estimate_responsiveness(
            frame,
            campaign_id="spring",
            outcome="visits",
            unit="share",
            smallest_effect_that_matters=0.05,
            as_of=AS_OF,
        )
        assert chart_responses(result, NAMES, **LABELS).table is not None
        return describe_responsiveness(result, NAMES, as_of=AS_OF).verdict

    assert told(0.15) is Verdict.MATTERS
    assert told(0.0) is Verdict.DOES_NOT_MATTER
    assert told(0.045) is Verdict.CANNOT_TELL


def test_sizes_chart_names_the_segment_with_most_revenue() -> None:
    frame = pd.DataFrame(
        {
            "name": ["Kids", "Shoes"],
            "customers": [60, 40],
            "customer_share": [0.6, 0.4],
            "revenue_share": [0.3, 0.7],
        }
    )
    chart = chart_sizes(frame, as_of=AS_OF, **LABELS)
    assert str(chart.title) == "Shoes: 40% of customers, 70% of revenue"
