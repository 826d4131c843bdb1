"""Returns, advice and the split of a budget."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from insight_lib.findings import Estimate, TooFew
from insight_lib.impact.returns import Advice, Return, Use, estimate_return, split_budget
from tests.truth.helpers import (
    assert_coverage,
    over_seeds,
)

DAY = date(2025, 6, 30)


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
    shares = {a.line: a.share for a in equal.parts}
    assert shares["b"] == pytest.approx(shares["c"], abs=0.02)
    assert shares["b"] > shares["a"]  # equal middles: what is known least is learnt most
    assert sum(a.amount for a in equal.parts) == pytest.approx(900)
    mixed = split_budget(
        [line("best", 200, 10), line("dominated", 170, 18), line("unknown", 190, 80)],
        budget_amount=900,
        seed=1,
        released=["best"],
    )
    by_line = {a.line: a for a in mixed.parts}
    assert by_line["dominated"].amount == 0.0
    assert by_line["best"].use is Use.KEEP
    assert by_line["unknown"].use is Use.TEST
    assert sum(a.amount for a in mixed.parts) == pytest.approx(900)
    assert split_budget([line("bad", 50, 10)], budget_amount=900, seed=1).nothing_share == 1.0
    with pytest.raises(TooFew, match="no line"):
        split_budget([], budget_amount=900, seed=1)
