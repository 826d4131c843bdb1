"""Sentences follow the numbers: each verdict and its ending."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from insight_lib import segments
from insight_lib.findings import Estimate, Finding, Undefined, Verdict
from insight_lib.prose import Name
from insight_lib.segments.attitudes import SideBySide, weigh_uses
from insight_lib.segments.checks import stability
from insight_lib.segments.crosswalk import Crosswalk, estimate_crosswalk, redefine
from insight_lib.segments.find import Found, Moves, weigh_wear
from insight_lib.segments.granularity import estimate_granularity
from insight_lib.segments.groups import Groups, sizes
from insight_lib.segments.identity import match_segments, migration_by_name
from insight_lib.segments.naming import Difference, Lift, difference, names
from insight_lib.segments.power import plan_by_power, power_by_name
from insight_lib.segments.purchases import Purchases, Recipe
from insight_lib.segments.responsiveness import answers_by_name, estimate_responsiveness
from insight_lib.segments.solution import Candidate, Fault, Solution, Thresholds
from tests.cards import drawn, run_of, tabled, told

AS_OF = date(2024, 12, 31)
NAMES = {"s1": Name("Kids"), "s2": Name("Shoes")}
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
    fault=None,
)


def found(*candidates: Candidate, chosen: Candidate | None = None, power: float = 0.0) -> Found:
    return Found(
        purchases=Purchases(parts={}),
        recipe=Recipe(mixes={}),
        values=pd.DataFrame(index=["a", "b"]),
        solution=Solution(
            customer_id=("a", "b"),
            model=None,
            labels=np.zeros(0, dtype=np.int64),
            probability=np.zeros(0),
            chosen=chosen,
            candidates=candidates,
            chance_share=0.025,
            n_fitted=2,
            thresholds=Thresholds(),
            power=power,
        ),
        days=364,
        covered=364,
        n_in_both=0,
        as_of=AS_OF,
    )


def groups(*lifts: Lift, confirmed: Mapping[str, str] | None = None) -> Groups:
    ids = [f"c{i:03}" for i in range(100)]
    placed = pd.Series(["s1"] * 60 + ["s2"] * 40, index=ids)
    return Groups(
        ids={"s1": "s1", "s2": "s2"},
        member=placed,
        probability=pd.Series(1.0, index=ids),
        placed=placed,
        amount=pd.Series([0.5] * 60 + [1.75] * 40, index=ids),
        means=pd.DataFrame({"kids": [1.0, -1.0]}, index=["s1", "s2"]),
        lifts=lifts,
        suggested=NAMES,
        confirmed=confirmed or {},
    )


def lift(value: float, lower: float) -> Lift:
    ratio = Estimate(
        value=value, lower=lower, upper=value * 2, unit="ratio", n=80, as_of=AS_OF, method="m"
    )
    return Lift(segment="s1", kind="department", feature="Kids", ratio=ratio)


@pytest.mark.row("C3.2")
def test_the_answers_to_whether_there_are_segments() -> None:
    yes = told(segments, "found", found(CHOSEN, chosen=CHOSEN))
    assert yes.verdict is Verdict.MATTERS
    assert "into 2 real groups" in str(yes.statement)
    noise = replace(CHOSEN, fault=Fault.CHANCE)
    assert told(segments, "found", found(noise)).verdict is Verdict.CANNOT_TELL
    none = told(segments, "found", found(noise, power=0.9))
    assert none.verdict is Verdict.DOES_NOT_MATTER
    assert str(none.statement).startswith("No segments")
    unsure = told(segments, "found", found(noise, replace(CHOSEN, fault=Fault.SMALL_GROUP)))
    assert unsure.verdict is Verdict.CANNOT_TELL
    assert "a group is too small" in str(unsure.so_what)


@pytest.mark.case("7")
def test_stability_passes_only_what_was_compared() -> None:
    passed = stability(found(CHOSEN, chosen=CHOSEN))
    assert told(segments, "stability", passed).verdict is Verdict.PASS
    alone = replace(CHOSEN, kept=None)
    for result in (found(alone, chosen=alone), found()):
        assert told(segments, "stability", stability(result)).verdict is Verdict.REVIEW
    noise = replace(CHOSEN, fault=Fault.CHANCE)
    table = tabled(segments, "stability", stability(found(CHOSEN, noise, chosen=CHOSEN)))
    assert table is not None
    assert [row[-1] for row in table.rows] == ["chosen", "no more distinct than chance"]


@pytest.mark.case("119h")
def test_groups_that_are_not_published_serve_nothing() -> None:
    compared = SideBySide(
        criteria=(), winner={"retention": "behavioural"}, is_clear={"retention": True},
        unserved=("acquisition",), n_respondents=200,
    )  # fmt: skip
    absent = told(segments, "uses", weigh_uses(compared, published=(), as_of=AS_OF))
    assert absent.verdict is Verdict.CANNOT_TELL
    assert str(absent.statement).startswith("Nothing serves yet")
    served = weigh_uses(compared, published=("behavioural",), as_of=AS_OF)
    assert str(told(segments, "uses", served).statement) == (
        "Serve retention by behavioural groups."
    )


def clearest(*lifts: Lift) -> Difference:
    result = difference(groups(*lifts))
    assert result is not None
    return result


def test_a_difference_beyond_counting_is_said_in_words() -> None:
    one, alone = clearest(lift(3, 2)), clearest(lift(300, 2))
    assert "3 times" in str(told(segments, "difference", one).statement)
    assert "hardly any other" in str(told(segments, "difference", alone).statement)
    assert difference(groups(lift(1.1, 0.9))) is None
    assert drawn(segments, "difference", one) is not None
    with pytest.raises(Undefined, match="drawn"):
        drawn(segments, "difference", alone)


@pytest.mark.row("C3.4")
def test_names_are_unconfirmed_until_someone_confirms_them() -> None:
    run = run_of("segments")
    check = told(segments, "names", names(groups(confirmed={"s1": "Young families"}), run))
    assert check.verdict is Verdict.REVIEW
    assert str(check.statement) == "1 of 2 names are unconfirmed."
    both = names(groups(confirmed=NAMES), run)
    assert told(segments, "names", both).verdict is Verdict.PASS


def power(n_small: int, smallest: float) -> Finding:
    plan = plan_by_power(
        {"s1": 4000, "s2": n_small},
        {"s1": np.array([0.0]), "s2": np.array([1.0])},
        base_rate=0.1,
        smallest_effect_that_matters=smallest,
        as_of=AS_OF,
    )
    return told(segments, "power", power_by_name(plan, NAMES, as_of=AS_OF))


@pytest.mark.row("M7.3")
def test_the_segment_that_cannot_stand_alone_is_named() -> None:
    assert power(4000, 0.05).verdict is Verdict.DOES_NOT_MATTER
    merged = power(40, 0.05)
    assert str(merged.statement).startswith("Shoes are too small")
    assert str(merged.so_what) == "Test together: Shoes + Kids."
    assert str(power(40, 0.001).statement).startswith("Even all customers together")


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
            found=4,
            period_days=91,
        )
        finding = told(segments, "granularity", result)
        return f"{finding.statement} {finding.so_what}"

    assert "costs €" in words(1.0, 2)
    assert "No split pays" in words(1e6, 5)
    assert "4 groups pay best" in words(0.0, 5)


@pytest.mark.row("C3.5")
def test_moves_break_and_totals() -> None:
    ids = [f"c{i:03}" for i in range(200)]
    old = pd.DataFrame({"customer_id": ids, "segment": ["s1"] * 100 + ["s2"] * 100})
    new = old.assign(segment=["s1"] * 80 + ["s2"] * 120)
    refresh = match_segments(old, new, as_of=AS_OF)
    moved = refresh.moved
    moves = Moves(old=old, seemed=0.14, by_chance=0.04, moved=moved)

    def wear(moves: Moves) -> Finding:
        result = weigh_wear(
            moves, range_turnover_share=None, refresh_days=91, tolerated_moved_share=0.2
        )
        return told(segments, "moves", result)

    assert str(wear(moves).statement).startswith("10 in 100 customers changed group in 91 days")
    nobody = wear(replace(moves, moved=replace(moved, value=0.0, lower=0.0, upper=0.01)))
    assert str(nobody.statement).startswith("Nobody surely changed group")
    assert "nothing wears them out" in str(nobody.so_what)
    shares = migration_by_name(refresh, NAMES, minimum_cell_size=10)
    chart = drawn(segments, "migration", shares)
    assert chart is not None
    assert chart.table is not None
    assert ("Shoes", "", "100%") in chart.table.rows  # none of a few is shown
    figure = pd.Series([Decimal(1)] * 200, index=ids)
    pairs = [dict(zip(ids, f["segment"], strict=True)) for f in (old, new)]
    walk = estimate_crosswalk(figure, *pairs, as_of=AS_OF)
    kept = redefine(walk, NAMES, smallest_kept_share=0.8, currency="EUR")
    assert told(segments, "redefinition", kept).verdict is Verdict.DOES_NOT_MATTER
    lost = redefine(walk, NAMES, smallest_kept_share=0.95, currency="EUR")
    assert told(segments, "redefinition", lost).verdict is Verdict.MATTERS
    table = tabled(segments, "redefinition", kept)
    assert table is not None
    assert table.rows[0] == ("old: Kids", "100", "€100")


@pytest.mark.row("M7.5")
def test_restated_totals_are_equal_or_fail() -> None:
    equal = segments.restated_totals
    walk = estimate_crosswalk(
        pd.Series([Decimal(1)] * 4, index=list("abcd")),
        dict.fromkeys("abcd", "s1"),
        {"a": "s1", "b": "s2", "c": "s2"},
        as_of=AS_OF,
    )

    def verdict(walk: Crosswalk) -> Verdict:
        result = equal(redefine(walk, NAMES, smallest_kept_share=0.8, currency="EUR"))
        return told(segments, "restated_totals", result).verdict

    assert verdict(walk) is Verdict.PASS
    broken = replace(walk, totals={"old": Decimal(200), "new": Decimal(199)})
    assert verdict(broken) is Verdict.FAIL


@pytest.mark.row("C3.7")
def test_roll_out_is_said_by_segment() -> None:
    rng = np.random.default_rng(1)
    treated = np.tile([True, False], 4000)

    def verdict(lift_share: float) -> Verdict:
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
            unit="share",
            smallest_effect_that_matters=0.05,
            as_of=AS_OF,
        )
        answers = answers_by_name(result, NAMES)
        assert drawn(segments, "responsiveness", answers) is not None
        return told(segments, "responsiveness", answers).verdict

    assert verdict(0.15) is Verdict.MATTERS
    assert verdict(0.0) is Verdict.DOES_NOT_MATTER
    assert verdict(0.045) is Verdict.CANNOT_TELL


def test_sizes_chart_names_the_segment_with_most_revenue() -> None:
    chart = drawn(segments, "sizes", sizes(groups(), run_of("segments")))
    assert chart is not None
    assert str(chart.title) == "Shoes: 40% of customers, 70% of revenue"
