"""A test before its result: follow-up, arms against the plan, joins, and what may not be read."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest

from insight_lib.findings import TooFew, Verdict
from insight_lib.impact.experiment import (
    overlaps,
    planned_shares,
    provisional_until,
)
from insight_lib.impact.experiment_story import (
    describe_release,
    describe_running,
    describe_withheld,
)
from insight_lib.impact.inputs import list_campaigns, why_no_test
from insight_lib.impact.integrity_story import (
    describe_balance,
    describe_both_arms,
    describe_follow_up,
    describe_sample_ratio,
)
from tests.impact.worlds import AS_OF, CAMPAIGN, END, START, assign, lay_out, results, shop_orders
from tests.truth.helpers import assert_false_alarm_rate, over_seeds


@pytest.mark.case("82")
def test_outcomes_count_from_each_customers_assignment_for_the_same_days() -> None:
    assigned = assign(4)
    assigned["arm"] = ["control", "mail", "mail", "control"]
    noon = [pd.Timestamp(START) + pd.Timedelta(days=d, hours=12) for d in (0, 10, 10, 10)]
    assigned["assigned_at"] = pd.to_datetime(noon, utc=True)
    entered = pd.Series(noon, index=assigned["customer_id"])
    far = pd.Timestamp(START) - pd.Timedelta(days=120)
    rows = [("c00000", far)]
    rows += [("c00001", entered["c00001"] - pd.Timedelta(hours=1))]  # before: not the mail's doing
    rows += [("c00002", entered["c00002"] + pd.Timedelta(hours=1))]
    rows += [("c00003", entered["c00003"] + pd.Timedelta(days=27, hours=23))]  # after the end
    orders = pd.DataFrame(rows, columns=["customer_id", "moment"]).assign(orders=1, revenue=10.0)
    orders["day"] = orders["moment"].dt.normalize()
    test = lay_out(assigned, orders)
    ordered = test.frame.set_index("customer_id")["has_ordered"]
    assert test.follow_up.is_equal
    assert test.follow_up.days == 28
    assert ordered.to_dict() == {"c00000": 0, "c00001": 0, "c00002": 1, "c00003": 1}
    assert test.frame.set_index("customer_id").loc["c00001", "orders_before"] == 1
    assert test.to_the_end is not None
    assert test.to_the_end.set_index("customer_id").loc["c00003", "has_ordered"] == 0


@pytest.mark.case("82")
def test_assignments_after_the_end_are_a_fault() -> None:
    assigned = assign(200)
    late = pd.Timestamp(END) + pd.Timedelta(days=16)
    assigned["assigned_at"] = pd.to_datetime([late] * 200, utc=True)
    orders = shop_orders(assigned)
    with pytest.raises(TooFew):  # nobody is left who was assigned in time
        lay_out(assigned, orders)
    assigned.loc[:150, "assigned_at"] = pd.Timestamp(START, tz="UTC")
    test = lay_out(assigned, orders)
    assert "customers were assigned after its end" in test.faults
    assert describe_follow_up(test, as_of=AS_OF)[0].verdict is Verdict.FAIL


@pytest.mark.case("27")
def test_a_failed_lottery_withholds_and_a_missing_plan_never_passes() -> None:
    assigned = assign(600)
    control = assigned.index[assigned["arm"] == "control"]
    lost = assigned.drop(control[:105]).reset_index(drop=True)  # 195 against 300
    orders = shop_orders(lost)
    broken = lay_out(lost.assign(planned_share=0.5), orders)
    assert broken.faults == ("its arms are not as large as planned",)
    assert describe_sample_ratio(broken, as_of=AS_OF).verdict is Verdict.FAIL
    assert "is withheld" in str(describe_withheld(broken, as_of=AS_OF).statement)
    assert lay_out(lost, orders, plan_share=0.5).faults == broken.faults
    unknown = lay_out(lost, orders)
    check = describe_sample_ratio(unknown, as_of=AS_OF)
    assert check.verdict is Verdict.NOT_MEASURABLE
    assert "No planned shares of spring are on record" in str(check.statement)
    assert any("no planned shares" in d for d in unknown.integrity.doubts)
    right = lost.assign(planned_share=np.where(lost["arm"] == "control", 0.394, 0.606))
    assert not lay_out(right, orders).faults


@pytest.mark.case("27")
def test_the_plan_belongs_to_the_campaign() -> None:
    two, three = assign(300), assign(300, arms=("control", "a", "b"))
    assert planned_shares(two, plan_share=None, market_share=None) is None
    assert planned_shares(two, plan_share=None, market_share=0.2) == {"control": 0.2, "mail": 0.8}
    assert planned_shares(two, plan_share=0.5, market_share=0.2) == {"control": 0.5, "mail": 0.5}
    # A market's rule for two arms says nothing of three.
    assert planned_shares(three, plan_share=None, market_share=0.5) is None
    own = three.assign(planned_share=three["arm"].map({"control": 20.0, "a": 40.0, "b": 40.0}))
    halves = planned_shares(three, plan_share=0.5, market_share=None)
    assert halves == {"control": 0.5, "all contacted": 0.5}
    half = assign(600, arms=("control", "control", "a", "b"))
    test = lay_out(half, shop_orders(half), plan_share=0.5)
    assert test.integrity.ratio is not None
    assert not test.faults
    assert not lay_out(half, shop_orders(half)).integrity.doubts  # half left alone is usual
    shares = planned_shares(own, plan_share=None, market_share=0.5)
    assert shares == {"control": 0.2, "a": 0.4, "b": 0.4}


@pytest.mark.case("23")
def test_customers_in_both_arms_are_counted_both_ways() -> None:
    assigned = assign(600)
    orders = shop_orders(assigned, rate=0.01, lift={"mail": 4.0})
    control = assigned[assigned["arm"] == "control"].head(60)
    both = pd.concat([assigned, control.assign(arm="mail")], ignore_index=True)
    test = lay_out(both, orders, plan_share=0.5)
    assert test.integrity.n_both == 60
    assert len(test.frame) == 540
    assert not test.faults  # as first assigned the arms are as planned
    (result,) = results(test, orders)
    effect = result.effect("has_ordered")
    assert effect is not None
    assert len(result.other_ways) == 2  # which arm came first is not known
    assert result.agrees(effect)
    check = describe_both_arms(result, as_of=AS_OF)
    assert check is not None
    assert check.verdict is Verdict.REVIEW
    assert "60 of 600 customers of spring" in str(check.statement)
    # Where counting them in one arm or the other changes the ending, nothing is claimed.
    weak = shop_orders(assigned, rate=0.01, lift={"mail": 1.45})
    test = lay_out(pd.concat([assigned, control.assign(arm="mail")]), weak)
    (result,) = results(test, weak)
    endings = [result.verdict(e) for e in result.effects if not result.agrees(e)]
    assert set(endings) <= {Verdict.CANNOT_TELL}


@pytest.mark.case("90")
def test_arms_that_differed_before_are_withheld_unless_strata_are_declared() -> None:
    rng = np.random.default_rng(3)
    n = 2_000
    region = rng.choice(["North", "South"], n)
    mail = rng.random(n) < np.where(region == "North", 0.8, 0.2)
    assigned = assign(n).assign(arm=np.where(mail, "mail", "control"))
    orders = shop_orders(assigned)
    rich = dict(zip(assigned["customer_id"], np.where(region == "North", 3.0, 1.0), strict=True))
    orders["revenue"] *= orders["customer_id"].map(rich)
    people = assigned[["customer_id"]].assign(subregion=region)
    test = lay_out(assigned, orders, people=people, traits=["subregion"])
    assert "revenue before" in test.integrity.unbalanced
    assert "subregion" in test.integrity.unbalanced
    assert "the arms differed before it began" in test.faults[0]
    assert describe_balance(test, as_of=AS_OF).verdict is Verdict.FAIL
    declared = lay_out(assigned, orders, people=people, traits=[], strata=["subregion"])
    assert not declared.faults
    (result,) = results(declared, orders)
    spend = result.effect("revenue")
    assert spend is not None
    assert not spend.change.excludes(0)  # there is no effect; the plain difference sees one
    assert spend.raw_change.excludes(0)


@pytest.mark.slow
@pytest.mark.case("90")
def test_a_fair_lottery_is_hardly_ever_withheld() -> None:
    def withheld(seed: int) -> bool:
        assigned = assign(400, seed=seed)
        people = assigned[["customer_id"]].assign(
            subregion=np.random.default_rng(seed).choice(["a", "b", "c"], 400)
        )
        orders = shop_orders(assigned, seed=seed)
        test = lay_out(assigned, orders, people=people, traits=["subregion"], plan_share=0.5)
        return bool(test.faults)

    assert_false_alarm_rate(over_seeds(withheld, 300), 0.01)


@pytest.mark.case("87", "96")
def test_an_assigned_customer_without_an_order_counts_as_none() -> None:
    assigned = assign(4_000)
    orders = shop_orders(assigned, rate=0.005)
    orders = orders[orders["day"] >= pd.Timestamp(START)]
    first = pd.DataFrame(
        {"customer_id": ["old"], "day": [pd.Timestamp(START) - pd.Timedelta(days=200)]}
    ).assign(orders=1, revenue=5.0, moment=pd.Timestamp(START) - pd.Timedelta(days=200))
    orders = pd.concat([orders, first])
    test = lay_out(assigned, orders)
    assert len(test.frame) == 4_000
    (result,) = results(test, orders)
    assert result.effects[0].treated.n == 2_000
    assert describe_balance(test, as_of=AS_OF).verdict is Verdict.REVIEW  # nothing is known before


@pytest.mark.case("15")
def test_ids_written_differently_are_said_and_nothing_is_compared() -> None:
    assigned = assign(200)
    orders = shop_orders(assigned)
    known = assigned["customer_id"].str.removeprefix("c").astype(int).astype(str)
    orders["customer_id"] = orders["customer_id"].str.removeprefix("c").astype(int).astype(str)
    numbered = assigned.assign(customer_id=assigned["customer_id"].str.removeprefix("c"))
    with pytest.raises(TooFew, match="leading zeros"):
        lay_out(numbered, orders)
    assert lay_out(assigned.assign(customer_id=known), orders).frame.shape[0] == 200


@pytest.mark.case("16", "35", "93")
def test_campaigns_are_over_running_or_impossible() -> None:
    table = pd.DataFrame(
        {
            "campaign_id": ["over", "runs", "turned", "later"],
            "campaign_type": "mail",
            "start_date": [date(2025, 6, 1), date(2025, 7, 1), date(2025, 6, 9), date(2025, 9, 1)],
            "end_date": [date(2025, 6, 9), date(2025, 9, 14), date(2025, 6, 1), date(2025, 9, 9)],
        }
    )
    assigned = pd.concat(
        [assign(40).assign(campaign_id=c, is_randomised=True) for c in table["campaign_id"]]
    )
    found = {c.id: c for c in list_campaigns(table, assigned, as_of=AS_OF)}
    assert set(found) == {"over", "runs"}
    assert found["over"].is_over
    assert not found["runs"].is_over
    running = describe_running(found["runs"], assigned[assigned["campaign_id"] == "runs"],
                               as_of=AS_OF)  # fmt: skip
    assert "runs until 14 September 2025; 31 of 76 days seen." in str(running.statement)
    assert running.verdict is Verdict.CANNOT_TELL
    capital = assigned.assign(arm=assigned["arm"].str.capitalize())
    (campaign, _) = list_campaigns(table, capital, as_of=AS_OF)
    assert not campaign.is_randomised
    assert "none of its arms is called control (Control, Mail)" in why_no_test((campaign,))


@pytest.mark.case("83")
def test_a_result_is_provisional_until_returns_have_had_their_time() -> None:
    assigned = assign(600)
    orders = shop_orders(assigned, rate=0.01, lift={"mail": 4.0})
    test = lay_out(assigned, orders)
    soon = date(2025, 7, 10)
    assert provisional_until(test, return_days=28, as_of=soon) == date(2025, 7, 27)
    assert provisional_until(test, return_days=28, as_of=AS_OF) is None
    (open_result,) = results(test, orders, provisional_until=date(2025, 7, 27))
    assert open_result.won == ()
    told = describe_release(open_result)
    assert "provisional until 27 July 2025" in str(told.statement)
    assert told.verdict is Verdict.CANNOT_TELL
    (result,) = results(test, orders)
    assert result.won


@pytest.mark.case("92")
def test_tests_on_the_same_customers_and_days_are_counted() -> None:
    assigned = assign(300)
    orders = shop_orders(assigned)
    one = lay_out(assigned, orders)
    other = lay_out(
        assigned.head(120).assign(campaign_id="summer"),
        orders,
        campaign=replace(CAMPAIGN, id="summer"),
    )
    assert overlaps(one, [one, other]) == {"summer": 120}
    later = replace(CAMPAIGN, id="late", start=date(2025, 7, 1), end=date(2025, 7, 9))
    after = lay_out(assigned.assign(campaign_id="late"), orders, campaign=later)
    assert overlaps(one, [one, after]) == {}
