"""How sure a yearly season is: lasting noise, a pair of days that was picked, a single year.

The season moves slowly, and so does noise that lasts; the range of the one has to know the
other. Neighbouring weeks are taken as autoregressive of order one, with a coefficient that is
unbiased in the median (Andrews, 1993), because the usual one is too small in short series.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import linalg, stats

Floats = NDArray[np.float64]

_GRID = np.linspace(0.0, 0.96, 25)
_DRAWS = 400
_PAIR_DRAWS = 4000
_CAUTION = 0.85  # share of series with a smaller coefficient than the one taken


def weekly(daily: Floats) -> Floats:
    """Means over whole weeks of seven days from the start; an incomplete last week is dropped."""
    n = len(daily) // 7
    return daily[: n * 7].reshape(n, 7, *daily.shape[1:]).mean(axis=1)


def lasting(residual: Floats, design: Floats, rng: np.random.Generator) -> float:
    """Autoregressive coefficient of weekly noise behind residuals of a regression.

    Args:
        residual: Weekly residuals, shape (n,).
        design: Weekly regressors that they are left by, shape (n, k).
    """
    maker = np.eye(len(residual)) - design @ np.linalg.pinv(design)
    seen = _first_correlation(residual)
    shocks = rng.normal(size=(_DRAWS, len(residual)))
    usual = np.empty(len(_GRID))
    for place, phi in enumerate(_GRID):
        series = shocks @ np.linalg.cholesky(_correlation(phi, len(residual))).T
        usual[place] = np.quantile(_first_correlation(series @ maker), 1 - _CAUTION)
    return float(np.interp(seen, np.maximum.accumulate(usual), _GRID))


def _first_correlation(series: Floats) -> Floats:
    found: Floats = (series[..., 1:] * series[..., :-1]).sum(axis=-1) / np.maximum(
        np.square(series).sum(axis=-1), 1e-300
    )
    return found


def _correlation(phi: float, n: int) -> Floats:
    found: Floats = linalg.toeplitz(phi ** np.arange(n))
    return found


def covariance(residual: Floats, design: Floats, *, seed: int) -> tuple[Floats, float]:
    """Covariance of least-squares coefficients under lasting noise, and its degrees of freedom.

    Args:
        residual: Weekly, in logarithms; shape (n,).
        design: Weekly regressors; shape (n, k).
    """
    phi = lasting(residual, design, np.random.default_rng(seed))
    correlation = _correlation(phi, len(residual))
    bread = np.linalg.pinv(design)
    maker = np.eye(len(residual)) - design @ bread
    spread = maker @ correlation @ maker
    expected = float(np.trace(spread))  # of the sum of squares, per unit of variance
    freedom = expected**2 / float(np.square(spread).sum())
    variance = float(residual @ residual) / max(expected, 1e-12)
    return variance * bread @ correlation @ bread.T, freedom


def widest_pair_quantile(
    basis: Floats, spread: Floats, freedom: float, *, level: float, seed: int
) -> float:
    """How many standard errors the widest pair of days of a flat curve lies apart by chance.

    Peak and trough are picked because they are far apart; a range for two days named beforehand
    would be too narrow. The largest of all pairs' differences is drawn instead.

    Args:
        basis: Regressors of the curve on a grid of days; shape (days, k).
        spread: Covariance of the k coefficients.
    """
    rng = np.random.default_rng(seed)
    draws = rng.multivariate_normal(np.zeros(len(spread)), spread, _PAIR_DRAWS, method="eigh")
    draws *= np.sqrt(freedom / rng.chisquare(freedom, (_PAIR_DRAWS, 1)))
    curves = draws @ basis.T
    between = basis @ spread @ basis.T
    own = np.diag(between)
    error = np.sqrt(np.maximum(own[:, None] + own[None, :] - 2 * between, 1e-300))
    largest = np.zeros(_PAIR_DRAWS)
    for day in range(len(basis)):
        apart = np.abs(curves - curves[:, [day]]) / error[day]
        apart[:, day] = 0.0
        largest = np.maximum(largest, apart.max(axis=1))
    return float(np.quantile(largest, level))


def is_one_year(
    residual: Floats,
    design: Floats,
    season: Floats,
    coefficients: Floats,
    *,
    level: float,
    seed: int,
) -> bool:
    """Whether the years run so unlike that what happened once would pass for a season.

    The season's coefficients are let drift from year to year; that drift is tested jointly
    (Wald) and has to be at least half of the season itself.

    Args:
        residual: Weekly residuals of the model with one season; shape (n,).
        design: Weekly regressors of that model; shape (n, k).
        season: Those of them that are the season; shape (n, h).
        coefficients: Of the season.
    """
    time = np.linspace(-1.0, 1.0, len(season))[:, None]
    wider = np.column_stack([design, season * time])
    h = season.shape[1]
    drift = (np.linalg.pinv(wider) @ residual)[-h:]
    left = residual - wider @ (np.linalg.pinv(wider) @ residual)
    spread, freedom = covariance(left, wider, seed=seed)
    own = spread[-h:, -h:]
    statistic = float(drift @ np.linalg.solve(own, drift)) / h
    is_sure = stats.f.sf(statistic, h, freedom) < 1 - level
    moved = np.abs(season @ drift).max()
    return bool(is_sure and moved >= 0.5 * np.abs(season @ coefficients).max())


def weekly_parts(
    amount: Floats, fitted: Floats, design: pd.DataFrame
) -> tuple[Floats, Floats, Floats]:
    """Weekly relative residuals, regressors, and which of those are constant within the sample.

    Weekdays are left out: over whole weeks they are the same.
    """
    columns = [c for c in design.columns if not c.startswith("weekday")]
    left = (weekly(amount) - weekly(fitted)) / np.maximum(weekly(fitted), 1e-12)
    regressors = weekly(design[columns].to_numpy())
    return left, regressors, np.array([c.startswith("season") for c in columns])
