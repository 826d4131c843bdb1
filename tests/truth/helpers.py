"""Judge an estimator over many seeds: coverage, bias, false alarms, detections.

Every assertion fails only when what was seen is rarer than `error` for an estimator that
keeps its promise, by the exact binomial (or t) distribution; so a red test means a wrong
estimator, not an unlucky seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from scipy import stats

Result = TypeVar("Result")
ERROR = 1e-3


def over_seeds(estimate: Callable[[int], Result], n_seeds: int, *, first: int = 1) -> list[Result]:
    """The estimate of each seed `first … first + n_seeds - 1`."""
    return [estimate(seed) for seed in range(first, first + n_seeds)]


def assert_coverage(
    intervals: Sequence[tuple[float, float]],
    truth: float | Sequence[float],
    level: float,
    *,
    may_be_wide: bool = False,
    error: float = ERROR,
) -> None:
    """Intervals hold the truth as often as their level says, neither rarer nor more often.

    Args:
        intervals: (lower, upper) per seed.
        truth: The true value, or one per seed.
        level: Promised coverage, 0-1.
        may_be_wide: Allow more coverage than promised (conservative methods).
    """
    bounds = np.asarray(intervals, dtype=float)
    if bounds.ndim != 2 or bounds.shape[1] != 2 or not len(bounds):
        raise AssertionError(f"intervals must be (lower, upper) pairs, not {bounds.shape}")
    if not np.isfinite(bounds).all():
        raise AssertionError("an interval is not finite")
    values = np.broadcast_to(np.asarray(truth, dtype=float), len(bounds))
    n_covered = int(((bounds[:, 0] <= values) & (values <= bounds[:, 1])).sum())
    n = len(bounds)
    if stats.binom.cdf(n_covered, n, level) < error:
        raise AssertionError(f"{n_covered} of {n} intervals hold the truth; promised {level:.0%}")
    if not may_be_wide and stats.binom.sf(n_covered - 1, n, level) < error:
        raise AssertionError(
            f"{n_covered} of {n} intervals hold the truth: wider than the promised {level:.0%}"
        )


def assert_unbiased(
    estimates: Sequence[float],
    truth: float | Sequence[float],
    *,
    detectable: float,
    tolerance: float = 0.0,
    error: float = ERROR,
) -> None:
    """The mean estimate is the truth but for chance (and `tolerance`).

    Args:
        estimates: One per seed.
        truth: The true value, or one per seed.
        detectable: Smallest bias that the seeds must be able to show; too few or too noisy
            seeds fail, so that the check cannot pass for want of data.
        tolerance: Bias allowed.
    """
    gaps = np.asarray(estimates, dtype=float) - np.asarray(truth, dtype=float)
    if len(gaps) < 3 or not np.isfinite(gaps).all():
        raise AssertionError(f"{len(gaps)} finite estimates are needed, at least 3")
    margin = float(stats.t.isf(error / 2, len(gaps) - 1) * gaps.std(ddof=1) / np.sqrt(len(gaps)))
    if margin > detectable:
        raise AssertionError(
            f"{len(gaps)} seeds show a bias from {margin:.4g} on, not {detectable:.4g}: more seeds"
        )
    if abs(gaps.mean()) > tolerance + margin:
        raise AssertionError(f"mean error {gaps.mean():+.4g}, by chance at most {margin:.4g}")


def assert_false_alarm_rate(
    alarms: Sequence[bool], rate: float, *, at_most: bool = True, error: float = ERROR
) -> None:
    """Alarms without a cause come at most as often as stated (or just as often).

    Args:
        alarms: Whether each seed, without anything planted, raised the alarm.
        rate: Stated rate, 0-1.
        at_most: Allow fewer alarms than stated.
    """
    n, n_alarms = len(alarms), int(np.sum(alarms))
    if not n:
        raise AssertionError("no seeds")
    if stats.binom.sf(n_alarms - 1, n, rate) < error:
        raise AssertionError(f"{n_alarms} false alarms in {n} seeds; stated {rate:.1%}")
    if not at_most and stats.binom.cdf(n_alarms, n, rate) < error:
        raise AssertionError(f"only {n_alarms} alarms in {n} seeds; stated {rate:.1%}")


def assert_detection_rate(found: Sequence[bool], at_least: float, *, error: float = ERROR) -> None:
    """What is planted is found at least as often as stated."""
    n, n_found = len(found), int(np.sum(found))
    if not n:
        raise AssertionError("no seeds")
    if stats.binom.cdf(n_found, n, at_least) < error:
        raise AssertionError(f"found in {n_found} of {n} seeds; stated at least {at_least:.0%}")
