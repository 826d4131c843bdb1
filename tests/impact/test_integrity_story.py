"""The sentences of checks follow their results."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest

from insight_lib.findings import Verdict
from insight_lib.impact.design import check_attrition, plan_next_test
from insight_lib.impact.effects import Metric, estimate_capped_effect, estimate_effect
from insight_lib.impact.experiment_story import describe_next_test, next_test_table
from insight_lib.impact.inputs import Campaign
from insight_lib.impact.integrity_story import describe_attrition, describe_capped

DAY = date(2025, 6, 30)
CAMPAIGN = Campaign(
    id="spring",
    kind="mail",
    start=date(2025, 6, 1),
    end=DAY,
    cost_amount=1.0,
    is_randomised=True,
    n_assigned=0,
)


@pytest.mark.row("C8.1")
def test_customers_who_go_missing_from_one_arm_are_named() -> None:
    frame = pd.DataFrame({"arm": ["control"] * 500 + ["mail"] * 500, "is_followed": True})
    fair = describe_attrition(check_attrition(frame), CAMPAIGN, n=1_000, as_of=DAY)
    assert fair.verdict is Verdict.PASS
    frame.loc[frame.index[-50:], "is_followed"] = False
    lost = describe_attrition(check_attrition(frame), CAMPAIGN, n=1_000, as_of=DAY)
    assert lost.verdict is Verdict.REVIEW
    assert "At most 10% of an arm is missing, in mail." in str(lost.so_what)


@pytest.mark.row("C8.1")
def test_a_result_that_hangs_on_a_few_is_said_to() -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"is_treated": np.arange(600) < 300, "spend": rng.gamma(2.0, 5.0, 600)})
    spend = Metric(
        column="spend", name="spend", kind="mean", unit="EUR", smallest_change_that_matters=1.0
    )

    def check(values: pd.DataFrame) -> Verdict:
        plain, capped = (
            make(values, spend, arm="mail", as_of=DAY, seed=1)
            for make in (estimate_effect, estimate_capped_effect)
        )
        return describe_capped(plain, capped, CAMPAIGN).verdict

    assert check(frame) is Verdict.PASS
    few = frame.copy()
    few.loc[[0, 1, 2, 3, 4], "spend"] = 2_500.0
    assert check(few) is Verdict.REVIEW


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
