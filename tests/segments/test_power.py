"""Power by the textbook, and merges by hand."""

from __future__ import annotations

from datetime import date
from math import sqrt

import numpy as np
import pytest
from statsmodels.stats.power import NormalIndPower

from insight_lib.findings import TooFew
from insight_lib.segments.power import plan_by_power
from insight_lib.statistics import minimum_detectable_effect

AS_OF = date(2024, 12, 31)


@pytest.mark.row("M7.3")
def test_detectable_effect_is_the_textbooks() -> None:
    # (1.959964 + 0.841621) * sqrt(0.1 * 0.9) * sqrt(4 / 1000)
    effect = minimum_detectable_effect(1000, standard_deviation=sqrt(0.09))
    assert effect == pytest.approx(2.801585 * 0.3 * sqrt(4 / 1000), rel=1e-6)


@pytest.mark.row("M7.3")
@pytest.mark.parametrize(("n", "share", "power"), [(200, 0.5, 0.8), (5000, 0.2, 0.9)])
def test_detectable_effect_agrees_with_statsmodels(n: int, share: float, power: float) -> None:
    treated = n * share
    expected = NormalIndPower().solve_power(
        nobs1=treated, ratio=(n - treated) / treated, alpha=0.05, power=power
    )
    effect = minimum_detectable_effect(n, standard_deviation=1.0, treated_share=share, power=power)
    assert effect == pytest.approx(expected, rel=1e-3)


@pytest.mark.row("M7.3")
def test_a_segment_of_forty_is_merged_and_named() -> None:
    plan = plan_by_power(
        {"s1": 3000, "s2": 2500, "s3": 40},
        {"s1": np.array([0.0]), "s2": np.array([5.0]), "s3": np.array([4.0])},
        base_rate=0.1,
        smallest_effect_that_matters=0.05,
        as_of=AS_OF,
    )
    (merge,) = plan.merges
    assert (merge.segment, merge.into, merge.n_customers) == ("s3", "s2", 40)
    assert plan.merged == {"s1": "s1", "s2": "s2", "s3": "s2"}
    assert {p.segment: p.n_customers for p in plan.after} == {"s1": 3000, "s2": 2540}
    assert all(p.is_enough for p in plan.after)
    assert [p.is_enough for p in plan.before] == [True, True, False]


def test_merging_ends_with_one_segment_and_loses_nobody() -> None:
    plan = plan_by_power(
        {"a": 1, "b": 30, "c": 30},
        {n: np.array([float(i)]) for i, n in enumerate("abc")},
        base_rate=0.5,
        smallest_effect_that_matters=0.001,
        as_of=AS_OF,
    )
    (left,) = plan.after
    assert (left.n_customers, left.is_enough) == (61, False)
    assert set(plan.merged.values()) == {left.segment}


def test_one_customer_cannot_fill_two_arms() -> None:
    with pytest.raises(TooFew):
        minimum_detectable_effect(1, standard_deviation=1.0)
