"""A roll-out names what was looked at, and what nobody could look at."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from insight_lib.findings import Verdict
from insight_lib.impact.arms import ArmResult, Release
from insight_lib.impact.experiment import Experiment
from insight_lib.impact.experiment_story import describe_effect, describe_release
from insight_lib.impact.guard_rails import USUAL, check_guard_rails, usual_guard_rails
from insight_lib.impact.integrity_story import describe_attrition, describe_balance
from tests.impact.worlds import AS_OF, START, assign, lay_out, results, shop_orders

MARGINS = {
    "most_returns_rise": 0.02,
    "most_discount_rise": 0.02,
    "most_orders_fall": 0.05,
    "most_refusals_rise": 0.01,
}


def with_guards(experiment: Experiment, orders: pd.DataFrame) -> ArmResult:
    """An arm with the guard-rails that its orders allow: orders per customer alone."""
    (result,) = results(experiment, orders)
    rails = usual_guard_rails(experiment.frame, **MARGINS)
    return replace(result, guards=check_guard_rails(experiment.frame, rails, as_of=AS_OF, seed=1))


@pytest.mark.case("23", "27", "87", "90")
def test_a_roll_out_says_which_checks_were_not_made() -> None:
    assigned = assign(2_000)
    orders = shop_orders(assigned, lift={"mail": 1.8})
    known = with_guards(lay_out(assigned, orders, plan_share=0.5), orders)
    told = describe_release(known)
    assert known.release is Release.ROLL_OUT
    assert "surely kept orders per customer within what we accept." in str(told.statement)
    assert "not checked" not in str(told.statement)
    for name in set(USUAL) - {"orders per customer"}:  # no word of harm where nobody looked
        assert name in str(told.so_what)
    unplanned = with_guards(lay_out(assigned, orders), orders)
    assert "not checked: its arms against planned shares" in str(
        describe_release(unplanned).statement
    )
    # Prospects by lot, as planned: nothing is known of them from before.
    far = pd.DataFrame(
        {"customer_id": ["old"], "day": [pd.Timestamp(START) - pd.Timedelta(days=200)]}
    ).assign(orders=1, revenue=5.0, moment=pd.Timestamp(START) - pd.Timedelta(days=200))
    first = pd.concat([orders[orders["day"] >= pd.Timestamp(START)], far], ignore_index=True)
    planned = with_guards(lay_out(assigned, first, plan_share=0.5), first)
    assert "not checked: whether its arms were alike before" in str(
        describe_release(planned).statement
    )
    # Neither: nothing speaks for the lottery, so nothing is rolled out.
    bare = with_guards(lay_out(assigned, first), first)
    assert bare.won
    assert bare.release is Release.WAIT
    told = describe_release(bare)
    assert told.verdict is Verdict.CANNOT_TELL
    assert "nothing could show whether its lottery was fair" in str(told.statement)
    assert "Repeat" not in str(describe_effect(bare.effects[0], bare).so_what)


@pytest.mark.case("87")
def test_nobody_is_said_to_be_followed_where_nothing_can_tell() -> None:
    assigned = assign(400)
    orders = shop_orders(assigned)
    without_list = lay_out(assigned, orders)
    check = describe_attrition(without_list, as_of=AS_OF)
    assert check.verdict is Verdict.NOT_MEASURABLE
    assert "was not checked" in str(check.statement)
    # A trait that lies alike over the arms is known from before, though nobody had ordered.
    old = pd.Timestamp(START) - pd.Timedelta(days=200)
    first = orders[orders["day"] >= pd.Timestamp(START)]
    first = pd.concat(
        [first, first.head(1).assign(customer_id="old", day=old, moment=old)], ignore_index=True
    )
    people = assigned[["customer_id"]].assign(
        subregion=["North", "South", "South", "North"] * (len(assigned) // 4)
    )
    test = lay_out(assigned, first, people=people, traits=["subregion"])
    assert test.integrity.attrition is None
    assert test.integrity.is_known_before
    assert describe_balance(test, as_of=AS_OF).verdict is Verdict.PASS
    crooked = describe_balance(test, as_of=AS_OF, uneven_groups=["middle spend"])
    assert crooked.verdict is Verdict.REVIEW
    assert 'alike in all before it began, but not within "middle spend"' in str(crooked.statement)
