"""What must hold before a model is allowed in a regulated sector, and whether it does.

Each test answers with a p-value and the size of the departure. A departure fails when it is
beyond chance, all tests taken together (Holm, 1979), and large enough to matter.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize, special, stats

from insight_lib.findings import Estimate, TooFew
from insight_lib.statistics import estimate_share

Assumption = Literal["proportional_hazards", "calibration", "positivity", "linearity"]
Scale = Literal["average", "spread", "distance", "out of reach", "hazard ratio"]
_EVENTS_PER_TERM = 10
_KNOTS = (0.05, 0.35, 0.65, 0.95)  # Harrell, 2015, table 2.3
_STEPS = 50
_RIDGE = 1e-9

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class AssumptionTest:
    """One test of one assumption.

    Attributes:
        assumption: Which assumption.
        subject: What it was tested on, e.g. the column.
        p_value: Chance of such a departure if the assumption holds; 0 or 1 for positivity, which
            is a rule and not a test.
        departure: Size of the departure, with its interval; its unit is in `scale`.
        scale: What the size measures.
        tolerance: Departures up to this size are harmless.
    """

    assumption: Assumption
    subject: str
    p_value: float
    departure: Estimate
    scale: Scale
    tolerance: float


def standardised(covariates: pd.DataFrame) -> pd.DataFrame:
    """Numbers at standard deviation 1; columns that do not vary are left out."""
    numbers = covariates.astype(float)
    if numbers.isna().any(axis=None):
        missing = ", ".join(numbers.columns[numbers.isna().any()])
        raise ValueError(f"covariates {missing} have missing values; fill or drop them first")
    spread = numbers.std(ddof=0)
    kept = numbers.loc[:, spread > 0]
    return (kept - kept.mean()) / spread[spread > 0]


def check_enough(n_events: int, n_terms: int, what: str) -> None:
    """Raise `TooFew` unless there are ten events per term (Peduzzi and others, 1996)."""
    if n_terms == 0:
        raise TooFew(f"{what}: no covariate varies")
    if n_events < _EVENTS_PER_TERM * n_terms:
        raise TooFew(
            f"{what}: {n_events:,} events for {n_terms} terms; it takes "
            f"{_EVENTS_PER_TERM * n_terms:,}"
        )


# --- calibration and linearity -----------------------------------------------------------------


def _logistic(x: Floats, y: Floats) -> tuple[Floats, Floats, float]:
    """Coefficients, covariance and log-likelihood of a logistic regression."""
    beta = np.zeros(x.shape[1])
    for _ in range(_STEPS):
        p = special.expit(x @ beta)
        information = (x * (p * (1 - p))[:, None]).T @ x
        # A trace of ridge keeps separated data finite.
        information += _RIDGE * np.eye(len(beta))
        step = np.clip(np.linalg.solve(information, x.T @ (y - p)), -4, 4)
        beta = beta + step
        if np.abs(step).max() < 1e-9:
            break
    return beta, np.linalg.inv(information), _log_likelihood(x @ beta, y)


def _log_likelihood(index: Floats, y: Floats) -> float:
    return float((y * index - np.logaddexp(0, index)).sum())


def check_calibration(
    outcome: NDArray[np.bool_],
    predicted: Floats,
    *,
    as_of: date,
    tolerance: float = 0.1,
    level: float = 0.95,
) -> tuple[AssumptionTest, ...]:
    """Do predicted chances come true as often as they say?

    Logistic recalibration (Cox, 1958): slope 1 means chances are as spread as they should be,
    intercept 0 (at slope 1) that they are right on average. Chances must come from a model
    that has not seen these outcomes.

    Args:
        outcome: What happened.
        predicted: Chance said before, between 0 and 1 (both excluded).

    Raises:
        TooFew: Fewer than 100 events or non-events (Van Calster and others, 2016).
        ValueError: A chance is not between 0 and 1.
    """
    p = np.asarray(predicted, dtype=float)
    y = np.asarray(outcome, dtype=float)
    if not ((p > 0) & (p < 1)).all():
        raise ValueError("predicted chances must lie between 0 and 1; clip or refit the model")
    if min(y.sum(), (1 - y).sum()) < 100:
        raise TooFew(
            f"calibration: {int(y.sum()):,} events among {len(y):,}; it takes 100 of each kind"
        )
    index = np.log(p / (1 - p))
    z = float(stats.norm.ppf(0.5 + level / 2))
    # Intercept with the slope held at 1: one Newton run on an offset.
    shift = 0.0
    for _ in range(_STEPS):
        now = special.expit(index + shift)
        information = float((now * (1 - now)).sum())
        shift += float((y - now).sum()) / information
    beta, covariance, free = _logistic(np.column_stack([np.ones_like(index), index]), y)
    error = float(np.sqrt(covariance[1, 1]))
    average = _log_likelihood(index + shift, y)
    rows: tuple[tuple[Literal["average", "spread"], float, float, float], ...] = (
        ("average", shift, information**-0.5, 2 * (average - _log_likelihood(index, y))),
        ("spread", float(beta[1]) - 1, error, 2 * (free - average)),
    )
    return tuple(
        AssumptionTest(
            assumption="calibration",
            subject=subject,
            p_value=float(stats.chi2.sf(max(ratio, 0.0), 1)),
            departure=Estimate(
                value=value,
                lower=value - z * spread,
                upper=value + z * spread,
                unit="ratio",
                n=len(y),
                as_of=as_of,
                level=level,
                method="logistic recalibration (Cox, 1958)",
            ),
            scale=subject,
            tolerance=tolerance,
        )
        for subject, value, spread, ratio in rows
    )


def calibration_table(
    outcome: NDArray[np.bool_],
    predicted: Floats,
    *,
    as_of: date,
    minimum_cell_size: int,
    n_groups: int = 10,
    level: float = 0.95,
) -> pd.DataFrame:
    """Said and seen by equal groups of predicted chance.

    Returns:
        group, customers, predicted_share, observed_share, lower, upper; fewer groups if they
        would be smaller than `minimum_cell_size`.
    """
    order = np.argsort(predicted, kind="stable")
    parts = np.array_split(order, max(1, min(n_groups, len(order) // minimum_cell_size)))
    rows = []
    for number, part in enumerate(parts):
        seen = estimate_share(int(outcome[part].sum()), len(part), as_of=as_of, level=level)
        said = float(predicted[part].mean())
        rows.append((f"Group {number + 1}", len(part), said, seen.value, seen.lower, seen.upper))
    columns = ["group", "customers", "predicted_share", "observed_share", "lower", "upper"]
    return pd.DataFrame(rows, columns=columns)


def cross_fitted(
    outcome: NDArray[np.bool_], covariates: pd.DataFrame, *, seed: int, n_folds: int = 10
) -> Floats:
    """Chances from a logistic regression, each from a fit that left the subject out.

    Raises:
        TooFew: Fewer than ten events per covariate.
    """
    x = standardised(covariates)
    y = np.asarray(outcome, dtype=float)
    check_enough(int(min(y.sum(), (1 - y).sum())), x.shape[1], "prediction")
    matrix = np.column_stack([np.ones(len(x)), x.to_numpy()])
    fold = np.random.default_rng(seed).permutation(len(y)) % n_folds
    chance = np.empty(len(y))
    for number in range(n_folds):
        mine = fold == number
        beta, _, _ = _logistic(matrix[~mine], y[~mine])
        chance[mine] = special.expit(matrix[mine] @ beta)
    return np.clip(chance, 1e-6, 1 - 1e-6)


def _spline(values: Floats) -> Floats:
    """Curved part of a restricted cubic spline, at fixed quantiles (Harrell, 2015, 2.4.5)."""
    knots = np.unique(np.quantile(values, _KNOTS))
    if len(knots) < 3:
        return np.empty((len(values), 0))
    last, before, scale = knots[-1], knots[-2], (knots[-1] - knots[0]) ** 2

    def cube(knot: float) -> Floats:
        return np.clip(values - knot, 0, None) ** 3

    columns = [
        (
            cube(knot)
            - cube(before) * (last - knot) / (last - before)
            + cube(last) * (before - knot) / (last - before)
        )
        / scale
        for knot in knots[:-2]
    ]
    return np.stack(columns, axis=1)


def check_linearity(
    outcome: NDArray[np.bool_],
    covariates: pd.DataFrame,
    *,
    as_of: date,
    tolerance: float = 0.1,
    level: float = 0.95,
) -> tuple[AssumptionTest, ...]:
    """Does each number act in a straight line on the log odds?

    Likelihood ratio of a restricted cubic spline against a line (Harrell, 2015), one test per
    covariate with enough different values. The departure is the typical distance (root mean
    square) of curve and line in log odds, with the part that chance alone would bring removed.

    Raises:
        TooFew: Fewer than ten events per term, or no covariate has a curve to test.
    """
    x = standardised(covariates)
    y = np.asarray(outcome, dtype=float)
    curves = {str(name): _spline(x[name].to_numpy()) for name in x.columns}
    curves = {name: curve for name, curve in curves.items() if curve.shape[1]}
    if not curves:
        raise TooFew("linearity: no covariate has enough different values")
    check_enough(int(min(y.sum(), (1 - y).sum())), x.shape[1] + 2, "linearity")
    matrix = np.column_stack([np.ones(len(x)), x.to_numpy()])
    _, _, straight = _logistic(matrix, y)
    found = []
    for name, curve in curves.items():
        # The curved part beyond what the straight terms can say, as columns of unit size.
        bent = curve - matrix @ np.linalg.lstsq(matrix, curve, rcond=None)[0]
        shape, extent, _ = np.linalg.svd(bent, full_matrices=False)
        shape = shape[:, extent > 1e-8 * np.linalg.norm(curve)] * np.sqrt(len(y))
        if not shape.shape[1]:
            continue  # the other covariates say it all already
        beta, covariance, free = _logistic(np.column_stack([matrix, shape]), y)
        part = slice(matrix.shape[1], None)
        square = float(np.square(beta[part]).sum())
        noise = float(np.trace(covariance[part, part]))
        freedom = shape.shape[1]
        size = float(np.sqrt(max(square - noise, 0.0)))
        low, high = _norm_bounds(square, noise, freedom, level)
        found.append(
            AssumptionTest(
                assumption="linearity",
                subject=name,
                p_value=float(stats.chi2.sf(max(2 * (free - straight), 0.0), freedom)),
                departure=Estimate(
                    value=size,
                    lower=min(low, size),
                    upper=max(high, size),
                    unit="ratio",
                    n=len(y),
                    as_of=as_of,
                    level=level,
                    method="restricted cubic spline, likelihood ratio (Harrell, 2015)",
                ),
                scale="distance",
                tolerance=tolerance,
            )
        )
    if not found:
        raise TooFew("linearity: no covariate has a curve of its own")
    return tuple(found)


def _norm_bounds(square: float, noise: float, freedom: int, level: float) -> tuple[float, float]:
    """Bounds of a root mean square from a noncentral chi-squared (directions taken as alike)."""
    unit = noise / freedom
    statistic = square / unit
    tail = (1 - level) / 2

    def solve(target: float) -> float:
        if stats.chi2.cdf(statistic, freedom) <= target:
            return 0.0
        top = 10 * (statistic + 10)
        return float(
            optimize.brentq(lambda nc: stats.ncx2.cdf(statistic, freedom, nc) - target, 1e-12, top)
        )

    return float(np.sqrt(solve(1 - tail) * unit)), float(np.sqrt(solve(tail) * unit))


# --- positivity --------------------------------------------------------------------------------


def check_positivity(
    is_exposed: NDArray[np.bool_],
    covariates: pd.DataFrame,
    *,
    as_of: date,
    limit: float = 0.05,
    tolerance: float = 0.05,
    level: float = 0.95,
) -> tuple[AssumptionTest, ...]:
    """Could everyone have been in either group, given what is known of them?

    Share of subjects whose propensity lies outside `limit` to 1 - `limit` (Rosenbaum and Rubin,
    1983; overlap rule of Crump and others, 2009), from a logistic regression. It is a rule on a
    share, judged by its whole interval: fails when surely more than `tolerance` are outside.

    Raises:
        TooFew: Fewer than ten exposed, or unexposed, per covariate.
    """
    x = standardised(covariates)
    exposed = np.asarray(is_exposed, dtype=float)
    check_enough(int(min(exposed.sum(), (1 - exposed).sum())), x.shape[1], "positivity")
    matrix = np.column_stack([np.ones(len(x)), x.to_numpy()])
    beta, _, _ = _logistic(matrix, exposed)
    propensity = special.expit(matrix @ beta)
    outside = int(((propensity < limit) | (propensity > 1 - limit)).sum())
    share = estimate_share(outside, len(x), as_of=as_of, level=level)
    return (
        AssumptionTest(
            assumption="positivity",
            subject="exposure",
            p_value=0.0 if share.lower > tolerance else 1.0,
            departure=share,
            scale="out of reach",
            tolerance=tolerance,
        ),
    )


# --- data handling and the verdict --------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Restrictions:
    """What a regulated sector allows: columns a model may read, and purposes it may serve."""

    sector: str
    allowed_columns: frozenset[str]
    allowed_purposes: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Handling:
    """What a model would use beyond what the sector allows."""

    sector: str
    purpose: str
    is_purpose_allowed: bool
    forbidden_columns: tuple[str, ...]
    n_columns: int

    @property
    def is_allowed(self) -> bool:
        return self.is_purpose_allowed and not self.forbidden_columns


def check_handling(
    columns: Collection[str], *, purpose: str, restrictions: Restrictions
) -> Handling:
    """Hold the columns and the purpose of a model against the sector's restrictions."""
    return Handling(
        sector=restrictions.sector,
        purpose=purpose,
        is_purpose_allowed=purpose in restrictions.allowed_purposes,
        forbidden_columns=tuple(sorted(set(columns) - restrictions.allowed_columns)),
        n_columns=len(set(columns)),
    )


@dataclass(frozen=True)
class Unmeasured:
    """An assumption that the data cannot test, and why."""

    assumption: Assumption
    reason: str


def attempt_check(
    assumption: Assumption, check: Callable[[], tuple[AssumptionTest, ...]]
) -> tuple[AssumptionTest, ...] | Unmeasured:
    """The result of a check, or what it lacks."""
    try:
        return check()
    except TooFew as error:
        return Unmeasured(assumption, str(error))


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Every test with its verdict, taken together.

    Attributes:
        failed: Beyond chance and large enough to matter.
        small: Beyond chance, but harmless in size.
        passed: Not beyond chance.
        unmeasured: Assumptions that could not be tested; none of them counts as met.
        handling: Data handling, held against the sector.
        error_rate: Chance that any test fails when every assumption holds.
    """

    failed: tuple[AssumptionTest, ...]
    small: tuple[AssumptionTest, ...]
    passed: tuple[AssumptionTest, ...]
    unmeasured: tuple[Unmeasured, ...]
    handling: Handling
    error_rate: float

    @property
    def is_allowed(self) -> bool:
        return self.handling.is_allowed and not self.failed and not self.unmeasured


def judge_assumptions(
    results: Sequence[tuple[AssumptionTest, ...] | Unmeasured],
    handling: Handling,
    *,
    error_rate: float = 0.05,
) -> Judged:
    """Judge all tests together, so that many tests do not raise false alarms (Holm, 1979).

    Args:
        results: What each check gave, as from `attempt_check`.
    """
    unmeasured = tuple(result for result in results if isinstance(result, Unmeasured))
    made = [t for result in results if not isinstance(result, Unmeasured) for t in result]
    chance = [test for test in made if test.assumption != "positivity"]
    ranked = sorted(range(len(chance)), key=lambda i: (chance[i].p_value, i))
    beyond: set[int] = set()
    for place, i in enumerate(ranked):
        if chance[i].p_value > error_rate / (len(ranked) - place):
            break
        beyond.add(id(chance[i]))
    beyond |= {id(t) for t in made if t.assumption == "positivity" and t.p_value == 0}
    seen = [test for test in made if id(test) in beyond]
    return Judged(
        failed=tuple(t for t in seen if abs(t.departure.value) > t.tolerance),
        small=tuple(t for t in seen if abs(t.departure.value) <= t.tolerance),
        passed=tuple(t for t in made if id(t) not in beyond),
        unmeasured=unmeasured,
        handling=handling,
        error_rate=error_rate,
    )
