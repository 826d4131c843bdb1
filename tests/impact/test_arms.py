"""What each arm brought, and that every sentence follows what may be done with it."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta

import ibis
import numpy as np
import pandas as pd
import pytest

from insight_lib.findings import TooFew, Verdict
from insight_lib.impact.arms import Release
from insight_lib.impact.design import plan_test, pooled_deviation
from insight_lib.impact.effects import Metric, estimate_effect
from insight_lib.impact.experiment_story import (
    describe_effect,
    describe_fading,
    describe_monitoring,
    describe_release,
)
from insight_lib.impact.fading import estimate_fading
from insight_lib.impact.groups import answer_by_traits, worth_telling
from insight_lib.impact.guard_rails import check_guard_rails, usual_guard_rails
from insight_lib.impact.influence import Hold, measure_influence
from insight_lib.impact.inputs import guard_sums, load_orders, refused_between
from insight_lib.impact.planning_story import describe_groups
from insight_lib.impact.returns import Use, estimate_return, split_budget
from insight_lib.impact.sequential import looks_while_outcomes_arrive, monitor
from insight_lib.impact.story import describe_returns, describe_split, describe_value
from insight_lib.impact.uplift import value_per_contact
from tests.impact.worlds import AS_OF, assign, lay_out, results, shop_orders, simple_result
from tests.truth.helpers import assert_detection_rate, assert_false_alarm_rate, over_seeds

ORDERED = Metric(
    column="value",
    name="share who ordered",
    kind="share",
    unit="share",
    smallest_change_that_matters=0.01,
)
SPEND = replace(ORDERED, name="spend per customer", kind="heavy", unit="EUR",
                smallest_change_that_matters=1.0)  # fmt: skip


def shares(ordered: int, of: int, control: int, of_control: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "is_treated": [True] * of + [False] * of_control,
            "value": [1.0] * ordered + [0.0] * (of - ordered)
            + [1.0] * control + [0.0] * (of_control - control),
        }
    )  # fmt: skip


@pytest.mark.case("21", "22", "35")
def test_shares_are_compared_by_newcombe_and_hold_at_nothing() -> None:
    """Newcombe's published example (1998): 56 of 70 against 48 of 80 is 5.2 to 33.4 points."""
    effect = estimate_effect(shares(56, 70, 48, 80), ORDERED, arm="mail", as_of=AS_OF, seed=1)
    assert effect.change.lower == pytest.approx(0.0524, abs=1e-4)
    assert effect.change.upper == pytest.approx(0.3339, abs=1e-4)
    none = estimate_effect(shares(0, 317, 0, 283), ORDERED, arm="mail", as_of=AS_OF, seed=1)
    assert (none.change.lower, none.change.upper) == pytest.approx((-0.0134, 0.0120), abs=5e-5)
    with pytest.raises(TooFew, match="the same for every customer"):
        estimate_effect(shares(0, 317, 0, 283), SPEND, arm="mail", as_of=AS_OF, seed=1)


@pytest.mark.case("22", "85")
def test_what_a_test_can_show_is_never_nothing() -> None:
    values = shares(52, 300, 0, 300)["value"].to_numpy()
    design = plan_test(
        standard_deviation=pooled_deviation(values), n_customers=600,
        smallest_effect_that_matters=0.01, unit="share", as_of=AS_OF,
    )  # fmt: skip
    assert design.detectable.value == pytest.approx(0.064, abs=5e-4)
    assert design.n_needed > 600
    assert pooled_deviation(np.zeros(600)) > 0.05  # nothing of 600 may still be .6 %
    with pytest.raises(TooFew):
        plan_test(standard_deviation=0.0, n_customers=600, smallest_effect_that_matters=0.01,
                  unit="share", as_of=AS_OF)  # fmt: skip
    with pytest.raises(TooFew, match="3 customers would not even show that all of them change"):
        plan_test(standard_deviation=0.5, n_customers=3, smallest_effect_that_matters=0.01,
                  unit="share", as_of=AS_OF)  # fmt: skip


@pytest.mark.case("84")
def test_each_arm_has_its_own_answer() -> None:
    assigned = assign(3_000, arms=("control", "good", "idle", "bad"))
    orders = shop_orders(assigned, lift={"good": 1.6, "bad": 0.4})
    found = {r.arm: r for r in results(lay_out(assigned, orders), orders)}
    assert found["good"].won
    assert not found["good"].lost
    assert found["bad"].release is Release.STOP
    assert found["idle"].release is Release.OPEN
    assert "up" in str(describe_effect(found["good"].effects[0], found["good"]).statement)
    bad = describe_effect(found["bad"].effects[0], found["bad"])
    assert "spring (bad), share who ordered: down" in str(bad.statement)
    assert "Stop it." in str(bad.so_what)
    assert "widened for 3 arms" in str(bad.so_what)
    assert "Stop spring (bad)" in str(describe_release(found["bad"]).statement)
    assert bad.id == "impact.has_ordered.spring.bad"


@pytest.mark.slow
@pytest.mark.case("84")
def test_arms_without_effect_are_rarely_said_to_have_one() -> None:
    def claims(seed: int) -> bool:
        assigned = assign(800, seed=seed, arms=("control", "a", "b", "c"))
        orders = shop_orders(assigned, seed=seed)
        found = results(lay_out(assigned, orders), orders)
        return any(r.won or r.lost for r in found)

    assert_false_alarm_rate(over_seeds(claims, 60), 0.05)


@pytest.mark.case("81", "101")
def test_sizes_are_compared_and_not_signs() -> None:
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({"is_treated": np.arange(1_000) < 500})
    frame["value"] = rng.gamma(1.0, 16.0, 1_000)

    def hold(values: pd.DataFrame) -> Hold:
        return measure_influence(values, SPEND, arm="mail", as_of=AS_OF, seed=1).hold

    assert hold(frame) is Hold.STEADY
    whale = frame.copy()
    whale.loc[0, "value"] = 250_000.0  # not sure, and yet no change of 500 a customer
    assert hold(whale) is Hold.CARRIED
    three = frame.assign(value=0.0)
    three.loc[[0, 1, 2], "value"] = 100.0
    assert hold(three) is Hold.CARRIED
    halved = frame.copy()  # sure with and without, and most of it from a few
    halved.loc[frame["is_treated"], "value"] += 4.0
    halved.loc[[1, 2, 3, 4, 5, 6, 7, 8], "value"] += 1_200.0
    assert hold(halved) is Hold.CARRIED
    noisy = frame.copy()  # a real change for all, and a few large ones in both arms
    noisy.loc[frame["is_treated"], "value"] += 5.0
    noisy.loc[[1, 501, 502], "value"] = 6_000.0
    assert hold(noisy) in (Hold.NOISE, Hold.CARRIED)
    even = frame.copy()
    even.loc[frame["is_treated"], "value"] += 6.0
    even.loc[[1, 2, 501, 502], "value"] = 3_000.0
    assert hold(even) is Hold.NOISE
    result = simple_result(whale, SPEND)
    # Spend is judged, and it hangs on one customer: no ending.
    assert result.verdict(result.effects[0]) is Verdict.CANNOT_TELL


@pytest.mark.case("94")
def test_a_fading_gain_is_said_before_a_roll_out() -> None:
    assigned = assign(3_000)
    orders = shop_orders(assigned, weekly={"mail": (2.2, 1.2, 0.85, 0.85)})
    (result,) = results(lay_out(assigned, orders), orders)
    assert result.fading is not None
    assert result.fading.is_fading
    told = describe_fading(result)
    assert told is not None
    assert "The gain of spring fades" in str(told.statement)
    assert "the gain fades within the test" in result.holds
    assert result.release is not Release.ROLL_OUT
    steady = shop_orders(assigned, weekly={"mail": (1.4, 1.4, 1.4, 1.4)})
    (result,) = results(lay_out(assigned, steady), steady)
    assert describe_fading(result) is None
    with pytest.raises(TooFew, match="takes 3"):
        estimate_fading(np.zeros((100, 2)), np.arange(100) < 50, as_of=AS_OF)


@pytest.mark.slow
@pytest.mark.case("94")
def test_a_lasting_gain_is_rarely_said_to_fade() -> None:
    def fades(seed: int, weekly: tuple[float, ...]) -> bool:
        assigned = assign(1_500, seed=seed)
        orders = shop_orders(assigned, seed=seed, weekly={"mail": weekly})
        (result,) = results(lay_out(assigned, orders), orders)
        return result.fading is not None and result.fading.is_fading

    lasting = over_seeds(lambda s: fades(s, (1.3, 1.3, 1.3, 1.3)), 50)
    assert_false_alarm_rate(lasting, 0.05)
    assert_detection_rate(over_seeds(lambda s: fades(s, (2.2, 1.2, 0.8, 0.8)), 30), 0.8)


def by_region(seed: int, lifts: dict[str, float], n: int = 3_000) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    region = rng.choice(sorted(lifts), n)
    treated = rng.random(n) < 0.5
    rate = 0.3 * np.where(treated, pd.Series(region).map(lifts), 1.0)
    return pd.DataFrame(
        {
            "is_treated": treated,
            "value": (rng.random(n) < rate).astype(float),
            "trait_subregion": region,
            "group": rng.choice(["low spend", "high spend"], n),
        }
    )


TRAITS = {"group": "spend before the test", "trait_subregion": "subregion"}


@pytest.mark.case("88", "95", "103")
def test_groups_are_told_with_their_signs_and_their_difference() -> None:
    frame = by_region(1, {"North": 1.5, "South": 0.5})
    answers = answer_by_traits(frame, ORDERED, TRAITS, as_of=AS_OF, seed=1)
    told = worth_telling(answers)
    assert [a.trait for a in told] == ["subregion"]
    assert (told[0].high, told[0].low) == ("North", "South")
    assert told[0].gap.lower > 0
    result = simple_result(frame, ORDERED)
    finding = describe_groups(told[0], result)
    assert "raised share who ordered among North and lowered it among South" in str(
        finding.statement
    )
    assert "leave the others alone" in str(finding.so_what)
    harm = by_region(2, {"North": 0.5, "South": 0.55})
    answers = answer_by_traits(harm, ORDERED, TRAITS, as_of=AS_OF, seed=1)
    finding = describe_groups(answers[0], simple_result(harm, ORDERED))
    assert "lowered" in str(finding.statement)
    assert "raised" not in str(finding.statement)
    assert "work nowhere" in str(finding.so_what)
    assert "Contact where" not in str(finding.so_what)


@pytest.mark.slow
@pytest.mark.case("95", "103")
def test_splits_by_many_traits_rarely_alarm() -> None:
    def clear(seed: int) -> bool:
        frame = by_region(seed, {"North": 1.2, "South": 1.2, "West": 1.2}, 1_200)
        rng = np.random.default_rng(seed + 5_000)
        for name in ("a", "b"):
            frame[f"trait_{name}"] = rng.choice(["x", "y"], len(frame))
        traits = TRAITS | {"trait_a": "a", "trait_b": "b"}
        found = answer_by_traits(frame, ORDERED, traits, as_of=AS_OF, seed=1)
        return any(a.is_clear for a in found)

    assert_false_alarm_rate(over_seeds(clear, 100), 0.05)

    def covered(seed: int) -> bool:
        frame = by_region(seed, {"North": 1.5, "South": 1.0}, 1_200)
        found = answer_by_traits(frame, ORDERED, {"trait_subregion": "r"}, as_of=AS_OF, seed=1)
        gap = found[0].gap
        truth = 0.15 if found[0].high == "North" else -0.15
        return gap.lower <= truth <= gap.upper

    assert_detection_rate(over_seeds(covered, 80), 0.91)


@pytest.mark.case("102")
def test_words_about_daily_looks_follow_the_range_at_the_end() -> None:
    frame = shares(60, 3_000, 40, 3_000)
    result = simple_result(frame, ORDERED)
    first, last = AS_OF - timedelta(days=9), AS_OF

    def said(*looks: tuple[date, float, float, float, int]) -> str:
        found = monitor(looks, unit="ratio", smallest_change_that_matters=0.001)
        finding = describe_monitoring(found, result)
        return f"{finding.statement} {finding.so_what}"

    early, late = (first, 0.012, 0.0025, 0.4, 6_000), (last, 0.004, 0.004, 1.0, 6_000)
    text = said(early, late)
    assert "by the end it is not sure any more" in text
    assert "could" not in text
    text = said((first, 0.006, 0.001, 0.4, 6_000), (last, 0.007, 0.001, 1.0, 6_000))
    assert "was sure to change" in text
    assert "0.40 to 1.00 per hundred" in text  # per hundred customers: digits enough for a low rate
    with pytest.raises(TooFew, match="nothing is known"):
        looks_while_outcomes_arrive(
            pd.DataFrame({"customer_id": [], "is_treated": [], "day": [], "value": []}),
            n_treated=10, n_control=10, days=[AS_OF], planned_variance=0.0,
        )  # fmt: skip


@pytest.mark.case("86")
def test_the_budget_may_be_spent_on_a_test_or_on_nothing() -> None:
    effect = estimate_effect(
        shares(60, 300, 30, 300), replace(ORDERED, kind="mean", unit="EUR"), arm="mail",
        as_of=AS_OF, seed=1,
    )  # fmt: skip

    def line(name: str, value: float, half: float) -> object:
        margin = replace(effect.change, value=value, lower=value - half, upper=value + half)
        return estimate_return(margin, line=name, cost_amount=100.0)

    open_line = line("spring", 105, 60)
    split = split_budget([open_line], budget_amount=1_000, seed=1)  # type: ignore[list-item]
    assert split.parts[0].use is Use.TEST
    assert split.nothing_share > 0.3
    said = describe_split(split, as_of=AS_OF)
    assert "No line has won yet" in str(said.statement)
    assert "unspent" in str(said.statement)
    paying = line("spring", 200, 20)
    held = split_budget([paying], budget_amount=1_000, seed=1)  # type: ignore[list-item]
    assert held.parts[0].use is Use.TEST  # it pays, and may not be rolled out
    told = describe_returns([paying], as_of=AS_OF, released=())  # type: ignore[list-item]
    assert "may not be rolled out yet" in str(told.so_what)
    assert told.verdict is Verdict.CANNOT_TELL
    kept = split_budget([paying], budget_amount=1_000, seed=1, released=["spring"])  # type: ignore[list-item]
    assert kept.parts[0].use is Use.KEEP
    assert "100% for spring" in str(describe_split(kept, as_of=AS_OF).statement)
    bad = split_budget([line("bad", 20, 10)], budget_amount=1_000, seed=1)  # type: ignore[list-item]
    assert bad.nothing_share == 1.0
    assert "Spend nothing" in str(describe_split(bad, as_of=AS_OF).statement)


@pytest.mark.case("86", "119h")
def test_value_follows_what_may_be_done_with_the_arm() -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"is_treated": np.arange(2_000) < 1_000})
    frame["value"] = rng.gamma(2.0, 10.0, 2_000) + 10.0 * frame["is_treated"]
    frame["orders"] = rng.poisson(1.0, 2_000) * np.where(frame["is_treated"], 0.6, 1.0)
    spend = replace(SPEND, column="value")
    rails = usual_guard_rails(
        frame.assign(orders_before=1.0), most_returns_rise=0.02, most_discount_rise=0.02,
        most_orders_fall=0.05, most_refusals_rise=0.01,
    )  # fmt: skip
    guards = check_guard_rails(frame.assign(orders_before=1.0), rails, as_of=AS_OF, seed=1)
    result = simple_result(frame, spend, guards=guards)
    assert result.release is Release.BROKEN
    value = value_per_contact(
        result.effects[0].change, arm="mail", n_contacts=1_000, cost_amount=1.0, margin_share=0.4
    )
    told = str(describe_value(value, result).so_what)
    assert "Do not roll out: a guard-rail is broken." in told
    assert "keep it in the plan" not in told


def lines(rows: list[tuple[str, str, datetime, float]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["order_id", "customer_id", "ordered_local", "amount"])
    frame["product_id"] = "p"
    return frame.assign(quantity=np.sign(frame["amount"]).where(frame["amount"] != 0, 1.0))


@pytest.mark.case("12", "83")
def test_gifts_and_what_came_back_are_no_orders() -> None:
    day = datetime(2025, 6, 5, 12)
    table = lines(
        [
            ("o1", "a", day, 30.0),
            ("o2", "b", day, 0.0),  # a gift by post
            ("o3", "c", day, 40.0),
            ("o3", "c", day + timedelta(days=30), -40.0),  # all of it came back, a month later
            ("o4", "d", day, 50.0),
            ("note", "d", day + timedelta(days=30), -50.0),  # under a number of its own
        ]
    )
    orders = load_orders(ibis.memtable(table)).set_index("customer_id")
    assert orders["orders"].to_dict() == {"a": 1, "c": 0, "d": 0}
    assert orders["revenue"].to_dict() == {"a": 30.0, "c": 0.0, "d": 0.0}
    assert orders.loc["c", "day"] == pd.Timestamp(2025, 6, 5)


@pytest.mark.case("31", "83")
def test_optional_columns_are_optional_and_returns_belong_to_their_sale() -> None:
    day = datetime(2025, 6, 5, 12)
    table = lines([("o3", "c", day, 40.0), ("o3", "c", day + timedelta(days=30), -40.0)])
    sums = guard_sums(ibis.memtable(table), first=date(2025, 6, 1), last=date(2025, 6, 9))
    row = sums.set_index("customer_id").loc["c"]
    assert row["sold_amount"] == 40.0
    assert row["returned_amount"] == 40.0
    assert row["list_amount"] == 0.0  # what was taken off is not recorded


@pytest.mark.case("89")
def test_the_last_evening_of_a_test_belongs_to_it() -> None:
    consents = pd.DataFrame(
        {
            "customer_id": ["a", "b"],
            "purpose": "activation",
            "decision": "refused",
            "decided_at": pd.to_datetime(
                ["2025-06-30 01:30", "2025-06-30 05:00"], utc=True
            ),  # 21:30 and 1:00 in New York
        }
    )
    table = ibis.memtable(consents)
    window = {"first": date(2025, 6, 2), "last": date(2025, 6, 29)}
    assert refused_between(table, zone="America/New_York", **window) == {"a"}
    assert refused_between(table, zone="UTC", **window) == set()
