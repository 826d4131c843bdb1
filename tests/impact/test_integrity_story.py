"""The sentences of checks follow their results."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest

from insight_lib.findings import Check, Verdict
from insight_lib.impact.design import plan_next_test
from insight_lib.impact.effects import Metric
from insight_lib.impact.integrity_story import describe_attrition, describe_capped
from insight_lib.impact.planning_story import describe_next_test, next_test_table
from tests.impact.worlds import assign, lay_out, shop_orders, simple_result

DAY = date(2025, 6, 30)


@pytest.mark.row("C8.1")
def test_customers_who_go_missing_from_one_arm_are_named() -> None:
    assigned = assign(1_000)
    orders = shop_orders(assigned)
    people = assigned[["customer_id"]]
    fair = lay_out(assigned, orders, people=people)
    assert describe_attrition(fair, as_of=DAY).verdict is Verdict.PASS
    old = set(orders.loc[orders["day"] < pd.Timestamp(fair.campaign.start), "customer_id"])
    mail = assigned[(assigned["arm"] == "mail") & assigned["customer_id"].isin(old)]
    gone = people[~people["customer_id"].isin(set(mail["customer_id"].head(50)))]
    lost = lay_out(assigned, orders, people=gone)
    check = describe_attrition(lost, as_of=DAY)
    assert check.verdict is Verdict.REVIEW
    assert "At most 10% of an arm is missing, in mail." in str(check.so_what)
    assert "customers went missing from one arm more than from others" in lost.faults


@pytest.mark.row("C8.1")
def test_a_result_that_hangs_on_a_few_is_said_to() -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"is_treated": np.arange(600) < 300, "spend": rng.gamma(2.0, 5.0, 600)})
    spend = Metric(
        column="spend", name="spend", kind="heavy", unit="EUR", smallest_change_that_matters=1.0
    )

    def check(values: pd.DataFrame) -> Check:
        found = describe_capped(simple_result(values, spend))
        assert found is not None
        return found

    assert check(frame).verdict is Verdict.PASS
    few = frame.copy()
    few.loc[[0, 1, 2, 3, 4], "spend"] = 2_500.0
    assert check(few).verdict is Verdict.REVIEW
    assert "hangs on a few" in str(check(few).statement)


@pytest.mark.row("C8.1")
def test_the_next_test_is_said_in_customers_and_weeks() -> None:
    common = {
        "metric_name": "share who ordered",
        "standard_deviation": 0.3,
        "smallest_effect_that_matters": 0.02,
        "unit": "share",
        "as_of": DAY,
        "n_available": 5_000,
        "customers_per_week": 100.0,
        "window_days": 21,
    }
    plan = plan_next_test(longest_weeks=26, **common)
    late = plan_next_test(longest_weeks=8, **common)
    check = describe_next_test([late, plan])
    assert str(check.statement) == "The next test takes 24 weeks and 7,064 customers."
    assert "share who ordered by 2 points" in str(check.so_what)
    assert check.verdict is Verdict.PASS
    never = describe_next_test([late])
    assert str(never.statement) == "No test within 8 weeks shows the change that matters."
    assert never.verdict is Verdict.REVIEW
    rows = next_test_table([plan, late]).rows
    assert [row[5] for row in rows] == ["24 weeks", "too long"]
    assert rows[0][:4] == ("Share who ordered", "2 points", "7,064", "5,000")
