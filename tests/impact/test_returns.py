"""Returns of tests, groups and models whose value and cost are planted."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insight_lib.findings import Estimate, TooFew
from insight_lib.impact.effects import Metric
from insight_lib.impact.returns import (
    Advice,
    estimate_return,
    return_of_model,
    returns_by_group,
    returns_of_tests,
)
from insight_lib.impact.uplift import evaluate_targeting
from tests.truth.helpers import (
    assert_coverage,
    assert_detection_rate,
    assert_false_alarm_rate,
    assert_unbiased,
    over_seeds,
)

DAY = date(2025, 6, 30)
SPEND = Metric(
    column="revenue",
    name="spend per customer",
    kind="heavy",
    unit="EUR",
    before="revenue_before",
    smallest_change_that_matters=1.0,
)
MARGIN = 0.4


def contacted(seed: int, *, lift: float, n: int = 1_200) -> pd.DataFrame:
    """Three in ten buy, with skewed spend; a contact adds `lift` euros, alike in both groups."""
    rng = np.random.default_rng(seed)
    habit = rng.gamma(2.0, 1.0, n)
    is_treated = rng.random(n) < 0.5
    buys = rng.random(n) < 0.3
    before, now = (np.round(habit * rng.lognormal(2.5, 0.7, n)) for _ in range(2))
    return pd.DataFrame(
        {
            "is_treated": is_treated,
            "group": np.where(rng.random(n) < 0.5, "new", "old"),
            "revenue_before": before,
            "revenue": now * buys + lift * is_treated,
            "habit": habit,
        }
    )


@pytest.mark.slow
@pytest.mark.row("M7.2")
@pytest.mark.parametrize(("lift", "cost"), [(10.0, 1.0), (2.5, 1.0), (0.0, 2.0)])
def test_planted_value_and_cost_are_held_by_the_range(lift: float, cost: float) -> None:
    truth = lift * MARGIN / cost - 1  # 3, 0 and -1

    def run(seed: int) -> tuple[tuple[float, float], Advice, float]:
        frames = {"mail": contacted(seed, lift=lift)}
        found = returns_of_tests(
            frames, {"mail": cost}, SPEND, margin_share=MARGIN, as_of=DAY, seed=seed
        )[0]
        return (found.roi.lower, found.roi.upper), found.advice, found.roi.value

    results = over_seeds(run, 200)
    assert_coverage([bounds for bounds, *_ in results], truth, 0.95)
    assert_unbiased([value for *_, value in results], truth, detectable=0.25)
    with pytest.raises(AssertionError):  # the cost left out would be found
        assert_coverage([bounds for bounds, *_ in results], truth + 1, 0.95)
    invest = [advice is Advice.INVEST for _, advice, _ in results]
    stop = [advice is Advice.STOP for _, advice, _ in results]
    if truth > 0:
        assert_detection_rate(invest, 0.8)
        assert not any(stop)
    if truth == 0:  # it just pays for itself: money is put in or taken out by mistake only
        assert_false_alarm_rate(invest, 0.025)
        assert_false_alarm_rate(stop, 0.025)
    if truth < 0:
        assert not any(invest)


finite = st.floats(-1e6, 1e6)


@pytest.mark.row("M7.2")
@given(middle=finite, half=st.floats(0, 1e6), cost=st.floats(0.01, 1e5), required=st.floats(0, 2))
@settings(max_examples=300, deadline=None)
def test_a_wide_range_is_never_a_reason_to_spend_or_to_stop(
    middle: float, half: float, cost: float, required: float
) -> None:
    value = Estimate(
        value=middle,
        lower=middle - half,
        upper=middle + half,
        unit="EUR",
        n=100,
        as_of=DAY,
        method="given",
    )
    found = estimate_return(value, line="a", cost_amount=cost, required=required)
    if found.roi.lower <= required <= found.roi.upper:
        assert found.advice is Advice.HOLD
    elif found.roi.lower > required:
        assert found.advice is Advice.INVEST
    else:
        assert found.advice is Advice.STOP
    wide = estimate_return(
        Estimate(
            value=middle,
            lower=middle - 1e9,
            upper=middle + 1e9,
            unit="EUR",
            n=100,
            as_of=DAY,
            method="given",
        ),
        line="a",
        cost_amount=cost,
        required=required,
    )
    assert wide.advice is Advice.HOLD


@pytest.mark.slow
@pytest.mark.row("M7.2")
def test_among_many_groups_that_just_pay_rarely_any_is_funded_or_stopped() -> None:
    def run(seed: int) -> list[tuple[float, float]]:
        frame = contacted(seed, lift=2.5)
        frame["group"] = np.random.default_rng(seed).integers(0, 4, len(frame)).astype(str)
        found = returns_by_group(
            frame, SPEND, group="group", cost_amount=1.0, margin_share=MARGIN, as_of=DAY, seed=seed
        )
        return [(r.roi.lower, r.roi.upper) for r in found]

    results = over_seeds(run, 200)
    wrong = [any(low > 0 or high < 0 for low, high in seed) for seed in results]
    assert_false_alarm_rate(wrong, 0.05)


def test_groups_are_told_apart_and_small_ones_left_out() -> None:
    frame = contacted(1, lift=0.0, n=3_000)
    frame.loc[frame["is_treated"] & (frame["group"] == "new"), "revenue"] += 20.0
    frame.loc[:9, "group"] = "few"
    common = {"group": "group", "margin_share": MARGIN, "as_of": DAY, "seed": 1}
    found = returns_by_group(frame, SPEND, cost_amount=1.5, **common)
    assert [r.line for r in found] == ["new", "old"]
    assert found[0].advice is Advice.INVEST
    assert found[1].advice is not Advice.INVEST
    assert not found[0].roi.excludes(20.0 * MARGIN / 1.5 - 1)
    assert found[0].roi.level == pytest.approx(0.975)
    with pytest.raises(TooFew, match="what a contact costs"):
        returns_by_group(frame, SPEND, cost_amount=0.0, **common)
    with pytest.raises(TooFew, match="no group has"):
        returns_by_group(frame[:20], SPEND, cost_amount=1.0, **common)


@pytest.mark.slow
@pytest.mark.row("M7.2")
def test_the_return_of_a_model_holds_what_leaving_out_the_idle_half_saves() -> None:
    """A contact costs 2 and only moves customers with a strong habit: not sending it to the
    others saves 2 for each, and the model is known to be perfect."""
    cost, n = 2.0, 1_200

    def run(seed: int) -> tuple[float, float]:
        frame = contacted(seed, lift=0.0, n=n)
        strong = (frame["habit"] > 1.678).to_numpy()  # the median of gamma(2)
        frame["revenue"] += 20.0 * (frame["is_treated"] & strong)
        rule = evaluate_targeting(
            frame,
            np.where(strong, 20.0, 0.0),
            revenue="revenue",
            cost_amount=cost,
            margin_share=MARGIN,
            unit="EUR",
            as_of=DAY,
        )
        found = return_of_model(
            rule.against_all, line="model", n_customers=10_000, cost_amount=4_000.0
        )
        return found.roi.lower, found.roi.upper

    results = over_seeds(run, 200)
    truth = 0.5 * cost * 10_000 / 4_000.0 - 1
    assert_coverage(results, truth, 0.95)
    with pytest.raises(AssertionError):
        assert_coverage(results, truth + 1.5, 0.95)
