"""Forecasts judged and corrected; returns, advice and the split of a budget."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest

from insight_lib.findings import Estimate, TooFew
from insight_lib.impact.forecasts import corrected, reconcile_forecasts
from insight_lib.impact.returns import Advice, Return, estimate_return, split_budget
from tests.truth.helpers import (
    assert_coverage,
    assert_detection_rate,
    assert_false_alarm_rate,
    over_seeds,
)

DAY = date(2025, 6, 30)


def forecasts(seed: int, *, bias: float, n: int = 26) -> pd.DataFrame:
    """Weekly forecasts of two groups, one biased, with an honest range around them."""
    rng = np.random.default_rng(seed)
    parts = []
    for group, shift in (("north", bias), ("south", 0.0)):
        actual = 1_000 + 200 * np.sin(np.arange(n) / 4) + rng.normal(0, 60, n)
        forecast = (1_000 + 200 * np.sin(np.arange(n) / 4)) * (1 + shift)
        parts.append(
            pd.DataFrame(
                {
                    "group": group,
                    "forecast": forecast,
                    "actual": actual,
                    "lower": forecast - 117.6,
                    "upper": forecast + 117.6,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


@pytest.mark.row("C8.6")
def test_a_planted_bias_is_found_and_its_correction_lowers_the_next_error() -> None:
    past = forecasts(1, bias=0.10)
    records = reconcile_forecasts(past, as_of=DAY)
    north, south = records["north"], records["south"]
    assert north.is_biased
    assert not north.bias.excludes(0.10)
    assert north.factor == pytest.approx(1 / 1.1, abs=0.02)
    assert not south.is_biased
    assert south.factor == 1.0
    assert north.held is not None
    assert south.held is not None
    assert north.held.value < south.held.value
    assert south.held.value > 0.85
    following = forecasts(2, bias=0.10)
    better = following.assign(forecast=corrected(following, records))
    after = reconcile_forecasts(better, as_of=DAY)
    before = reconcile_forecasts(following, as_of=DAY)
    assert after["north"].error < 0.7 * before["north"].error
    assert after["south"].error == before["south"].error


@pytest.mark.slow
@pytest.mark.row("C8.6")
def test_an_unbiased_forecast_is_left_alone() -> None:
    def touched(seed: int) -> bool:
        records = reconcile_forecasts(forecasts(seed, bias=0.0), as_of=DAY)
        return any(r.factor != 1.0 for r in records.values())

    assert_false_alarm_rate(over_seeds(touched, 300), 0.05)
    found = over_seeds(
        lambda seed: reconcile_forecasts(forecasts(seed, bias=0.1), as_of=DAY)["north"], 60
    )
    assert_detection_rate([r.is_biased for r in found], 0.95)
    assert_coverage([(r.bias.lower, r.bias.upper) for r in found], 0.1, 0.95, may_be_wide=True)


def test_bias_by_hand_and_too_few_periods() -> None:
    rows = pd.DataFrame({"group": "a", "forecast": [11.0, 22.0] * 4, "actual": [10.0, 20.0] * 4})
    record = reconcile_forecasts(rows, as_of=DAY)["a"]
    assert record.bias.value == pytest.approx(0.1)
    assert record.error == pytest.approx(0.1)
    assert record.factor == pytest.approx(1 / 1.1)
    assert record.held is None
    with pytest.raises(TooFew, match="8 periods"):
        reconcile_forecasts(rows[:7], as_of=DAY)


def margin(value: float, half: float) -> Estimate:
    return Estimate(
        value=value,
        lower=value - half,
        upper=value + half,
        unit="EUR",
        n=1_000,
        as_of=DAY,
        method="given",
    )


def line(name: str, value: float, half: float) -> Return:
    return estimate_return(margin(value, half), line=name, cost_amount=100.0)


@pytest.mark.row("M7.2")
def test_invest_hold_and_stop() -> None:
    sure, open_end, bad = line("a", 150, 20), line("b", 300, 250), line("c", 60, 20)
    assert sure.roi.value == pytest.approx(0.5)
    assert (sure.roi.lower, sure.roi.upper) == pytest.approx((0.3, 0.7))
    assert sure.advice is Advice.INVEST
    assert open_end.advice is Advice.HOLD  # it may bring much, and may not pay for itself
    assert bad.advice is Advice.STOP
    picky = estimate_return(margin(150, 20), line="a", cost_amount=100.0, required=0.4)
    assert picky.advice is Advice.HOLD
    with pytest.raises(TooFew, match="no cost"):
        estimate_return(margin(1, 1), line="a", cost_amount=0.0)


@pytest.mark.slow
@pytest.mark.row("M7.2")
def test_the_range_of_a_return_holds_the_truth() -> None:
    def run(seed: int) -> tuple[float, float]:
        drawn = float(np.random.default_rng(seed).normal(130, 10))
        roi = line("a", drawn, 19.6).roi
        return roi.lower, roi.upper

    assert_coverage(over_seeds(run, 400), 0.3, 0.95)


@pytest.mark.row("C8.7")
def test_the_split_follows_uncertainty_and_gives_nothing_to_a_dominated_line() -> None:
    equal = split_budget(
        [line("a", 150, 10), line("b", 150, 40), line("c", 150, 40)], budget_amount=900, seed=1
    )
    shares = {a.line: a.share for a in equal}
    assert shares["b"] == pytest.approx(shares["c"], abs=0.02)
    assert shares["b"] > shares["a"]  # equal middles: what is known least is learnt most
    assert sum(a.amount for a in equal) == pytest.approx(900)
    mixed = split_budget(
        [line("best", 200, 10), line("dominated", 170, 18), line("unknown", 190, 80)],
        budget_amount=900,
        seed=1,
    )
    by_line = {a.line: a for a in mixed}
    assert by_line["dominated"].amount == 0.0
    assert not by_line["best"].is_exploring
    assert by_line["unknown"].is_exploring
    assert sum(a.amount for a in mixed) == pytest.approx(900)
    with pytest.raises(TooFew, match="worth going on"):
        split_budget([line("bad", 50, 10)], budget_amount=900, seed=1)
