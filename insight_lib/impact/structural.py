"""A structural time series of the treated places, led by the controls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize

Floats = NDArray[np.float64]
# Variance of the level's steps against that of the noise: from a level that never moves to
# a plain random walk.
_LOG_RATIO = (-16.0, 10.0)


@dataclass(frozen=True, kw_only=True)
class LocalLevel:
    """A level that walks, plus what the leads foretell, plus noise.

    Attributes:
        slopes: Worth of each lead.
        noise_variance, level_variance: Of the noise, and of one step of the level.
        last_level: The level after the last period.
        log_likelihood: Of the differences, which is that of a level without a prior.
        fitted: One period ahead each, from what came before; the first is the level found.
    """

    slopes: Floats
    noise_variance: float
    level_variance: float
    last_level: float
    log_likelihood: float
    fitted: Floats


def fit_local_level(target: Floats, leads: Floats) -> LocalLevel:
    """Maximum likelihood of a local level with regression (Harvey, 1989, ch. 2 and 7).

    Differences of the series have the covariance of a moving average, a matrix with three
    diagonals; given the ratio of the two variances all else has a closed form, so one number
    is searched for.

    Args:
        target: One number per period.
        leads: One column per lead, same periods.
    """
    change, lead_change = np.diff(target), np.diff(leads, axis=0)
    n = len(change)

    def solve(log_ratio: float) -> tuple[float, Floats, float]:
        ratio = float(np.exp(log_ratio))
        banded = np.vstack([np.full(n, -1.0), np.full(n, 2.0 + ratio)])
        root = linalg.cholesky_banded(banded)
        both = linalg.cho_solve_banded((root, False), np.column_stack([change, lead_change]))
        slopes = np.linalg.lstsq(lead_change.T @ both[:, 1:], lead_change.T @ both[:, 0])[0]
        rest = change - lead_change @ slopes
        variance = float(rest @ (both[:, 0] - both[:, 1:] @ slopes)) / n
        half_log_determinant = float(np.log(root[1]).sum())
        log_likelihood = (
            -n / 2 * (np.log(2 * np.pi * max(variance, 1e-300)) + 1) - half_log_determinant
        )
        return float(log_likelihood), slopes, variance

    # The likelihood may have two tops, one at either end: a grid finds the higher.
    grid = np.linspace(*_LOG_RATIO, 14)
    top = int(np.argmax([solve(x)[0] for x in grid]))
    found = optimize.minimize_scalar(
        lambda x: -solve(x)[0],
        bounds=(grid[max(top - 1, 0)], grid[min(top + 1, len(grid) - 1)]),
        method="bounded",
        options={"xatol": 1e-4},
    )
    log_likelihood, slopes, variance = solve(float(found.x))
    ratio = float(np.exp(found.x))
    rest = target - leads @ slopes
    level, spread = rest[0], 1.0  # in units of the noise variance, after the first period
    ahead = [level]
    for value in rest[1:]:
        ahead.append(level)
        gain = (spread + ratio) / (spread + ratio + 1)
        level, spread = level + gain * (value - level), gain
    return LocalLevel(
        slopes=slopes,
        noise_variance=variance,
        level_variance=variance * ratio,
        last_level=float(level),
        log_likelihood=log_likelihood,
        fitted=leads @ slopes + np.array(ahead),
    )


def run_on(target: Floats, leads: Floats) -> Floats:
    """The series as expected: fitted on the first `len(target)` periods, then led alone.

    Args:
        target: One number per period before the start.
        leads: One column per lead, all periods.
    """
    n = len(target)
    model = fit_local_level(target, leads[:n])
    return np.concatenate([model.fitted, model.last_level + leads[n:] @ model.slopes])
