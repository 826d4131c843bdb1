"""The judges themselves: right estimators pass, planted wrong ones fail."""

from __future__ import annotations

import numpy as np
import pytest

from tests.truth.helpers import (
    assert_coverage,
    assert_detection_rate,
    assert_false_alarm_rate,
    assert_unbiased,
    over_seeds,
)


def interval(seed: int, *, width: float = 1.96, shift: float = 0.0) -> tuple[float, float]:
    mean = np.random.default_rng(seed).normal(3.0, 1.0, 25).mean() + shift
    return float(mean - width / 5), float(mean + width / 5)


def test_a_right_interval_covers() -> None:
    assert_coverage(over_seeds(interval, 400), 3.0, 0.95)


def test_a_narrow_interval_fails() -> None:
    narrow = over_seeds(lambda seed: interval(seed, width=1.2), 400)
    with pytest.raises(AssertionError, match="promised 95%"):
        assert_coverage(narrow, 3.0, 0.95)


def test_a_shifted_interval_fails() -> None:
    with pytest.raises(AssertionError, match="promised 95%"):
        assert_coverage(over_seeds(lambda seed: interval(seed, shift=0.3), 400), 3.0, 0.95)


def test_a_wide_interval_fails_unless_allowed() -> None:
    wide = over_seeds(lambda seed: interval(seed, width=6.0), 400)
    with pytest.raises(AssertionError, match="wider"):
        assert_coverage(wide, 3.0, 0.95)
    assert_coverage(wide, 3.0, 0.95, may_be_wide=True)


def test_an_infinite_interval_fails() -> None:
    with pytest.raises(AssertionError, match="finite"):
        assert_coverage([(-np.inf, np.inf)], 3.0, 0.95)


def test_coverage_follows_a_truth_of_its_own_per_seed() -> None:
    assert_coverage([(0.0, 1.0), (1.0, 2.0)], [0.5, 1.5], 0.95)


def test_bias_is_found_and_its_absence_is_not_claimed_on_noise() -> None:
    draws = [float(np.random.default_rng(seed).normal(3.0, 1.0)) for seed in range(200)]
    assert_unbiased(draws, 3.0, detectable=0.3)
    with pytest.raises(AssertionError, match="mean error"):
        assert_unbiased([draw + 0.4 for draw in draws], 3.0, detectable=0.3)
    assert_unbiased([draw + 0.4 for draw in draws], 3.0, detectable=0.3, tolerance=0.4)
    with pytest.raises(AssertionError, match="more seeds"):
        assert_unbiased(draws[:8], 3.0, detectable=0.3)


def test_false_alarms_at_the_stated_rate_pass_and_more_fail() -> None:
    p_values = np.random.default_rng(1).random(500)
    assert_false_alarm_rate(list(p_values < 0.05), 0.05, at_most=False)
    with pytest.raises(AssertionError, match="false alarms"):
        assert_false_alarm_rate(list(p_values < 0.12), 0.05)
    with pytest.raises(AssertionError, match="only"):
        assert_false_alarm_rate([False] * 500, 0.05, at_most=False)
    assert_false_alarm_rate([False] * 500, 0.05)


def test_the_bound_is_the_exact_binomial() -> None:
    # P(X >= 6 | 20, 0.05) is 0.00033, P(X >= 5) is 0.0026: six alarms are too many, five not.
    assert_false_alarm_rate([True] * 5 + [False] * 15, 0.05)
    with pytest.raises(AssertionError, match="6 false alarms in 20"):
        assert_false_alarm_rate([True] * 6 + [False] * 14, 0.05)


def test_missed_plants_fail() -> None:
    assert_detection_rate([True] * 46 + [False] * 4, 0.9)
    with pytest.raises(AssertionError, match="found in 30 of 50"):
        assert_detection_rate([True] * 30 + [False] * 20, 0.9)


def test_no_seeds_prove_nothing() -> None:
    for judge in (assert_false_alarm_rate, assert_detection_rate):
        with pytest.raises(AssertionError, match="no seeds"):
            judge([], 0.05)
    with pytest.raises(AssertionError):
        assert_coverage([], 1.0, 0.95)
