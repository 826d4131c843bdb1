"""BG/NBD, MBG/NBD and Pareto/NBD: how often customers buy, and whether they still do.

Customers buy at random at their own rate (gamma over customers) and stop for good: with a
chance after each purchase (BG/NBD: Fader, Hardie and Lee, 2005; MBG/NBD, also at the first:
Batislam, Denizel and Filiztekin, 2007) or at any moment (Pareto/NBD: Schmittlein, Morrison
and Colombo, 1987). For a customer with `frequency` repeats, the last at `recency`, seen for
`age`, the likelihood is a part for "still here" plus a part for "gone"; all else follows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize, special, stats

from insight_lib.findings import TooFew

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(24)
_NODES, _WEIGHTS = (_NODES + 1) / 2, _WEIGHTS / 2  # on 0 to 1
_BOUND = 9.0  # of the parameters' logarithms; beyond, the customers are all alike
_CHUNK = 20_000  # rows of a quadrature at once, so that it stays in the cache


class PurchaseModel(StrEnum):
    """The models that are compared; each has four parameters."""

    BG_NBD = "BG/NBD"
    MBG_NBD = "MBG/NBD"
    PARETO_NBD = "Pareto/NBD"

    @property
    def names(self) -> tuple[str, str, str, str]:
        """Of the parameters, as in the papers."""
        if self is PurchaseModel.PARETO_NBD:
            return ("r", "alpha", "s", "beta")
        return ("r", "alpha", "a", "b")


@dataclass(frozen=True, kw_only=True)
class PurchaseFit:
    """A fitted purchase model.

    Attributes:
        parameters: As `model.names`; `alpha` and `beta` in units of time.
        log_likelihood: Over all customers, constants of the data left out as in the papers.
        covariance: Of the parameters' logarithms, from the observed information.
        is_identified: Whether the data pin all four parameters down.
        n_customers, n_repeats: What it was fitted on.
    """

    model: PurchaseModel
    parameters: tuple[float, float, float, float]
    log_likelihood: float
    covariance: Floats
    is_identified: bool
    n_customers: int
    n_repeats: int

    @property
    def aic(self) -> float:
        """Akaike's information criterion; smaller is better."""
        return 2 * len(self.parameters) - 2 * self.log_likelihood


def log_parts(
    model: PurchaseModel, parameters: Floats, frequency: Counts, recency: Floats, age: Floats
) -> tuple[Floats, Floats]:
    """Logarithms of the two parts of the likelihood: still here, and gone."""
    r, alpha, third, fourth = (float(p) for p in parameters)
    if model is PurchaseModel.PARETO_NBD:
        shape = r + frequency
        alive = -shape * np.log(alpha + age) - third * np.log1p(age / fourth)
        return alive, _pareto_gone(r, alpha, third, fourth, frequency, recency, age)
    first = 0 if model is PurchaseModel.BG_NBD else 1  # may leave after the first purchase too
    chances = np.arange(int(frequency.max(initial=0)) + 1, dtype=float) + first
    stay = special.betaln(third, fourth + chances) - special.betaln(third, fourth)
    with np.errstate(divide="ignore", invalid="ignore"):
        leave = np.where(
            chances > 0,
            special.betaln(third + 1, fourth + np.maximum(chances, 1) - 1)
            - special.betaln(third, fourth),
            -np.inf,
        )
    shape = r + frequency
    return (
        stay[frequency] - shape * np.log(alpha + age),
        leave[frequency] - shape * np.log(alpha + recency),
    )


def _pareto_gone(
    r: float,
    alpha: float,
    s: float,
    beta: float,
    frequency: Counts,
    recency: Floats,
    age: Floats,
) -> Floats:
    """Integral over the moment of leaving, between the last purchase and now.

    In `y = ((alpha + t) / (alpha + recency)) ** -(r + s + frequency)` the integrand is smooth
    and bounded, so a Gauss-Legendre rule replaces the hypergeometric functions of the papers.
    """
    power = r + s + frequency
    far = -power * (np.log(alpha + age) - np.log(alpha + recency))
    integral = np.empty(len(power))
    for start in range(0, len(power), _CHUNK):
        part = slice(start, start + _CHUNK)
        y = np.exp(far[part, None])
        y = y + (1 - y) * _NODES
        reached = (alpha + recency[part, None]) * np.exp(-np.log(y) / power[part, None])
        smooth = np.exp(-(s + 1) * np.log1p((beta - alpha) / reached))
        integral[part] = smooth @ _WEIGHTS
    with np.errstate(divide="ignore"):
        width, height = np.log(-np.expm1(far)), np.log(integral)
    return (
        np.log(s)
        + s * np.log(beta)
        - np.log(power)
        - power * np.log(alpha + recency)
        + width
        + height
    )


def _log_likelihood(
    model: PurchaseModel,
    parameters: Floats,
    frequency: Counts,
    recency: Floats,
    age: Floats,
    weight: Floats,
) -> float:
    r, alpha = float(parameters[0]), float(parameters[1])
    alive, gone = log_parts(model, parameters, frequency, recency, age)
    counts = np.arange(int(frequency.max(initial=0)) + 1)
    constant = special.gammaln(r + counts) - special.gammaln(r) + r * np.log(alpha)
    return float(weight @ (constant[frequency] + np.logaddexp(alive, gone)))


def maximise(
    log_likelihood: Callable[[Floats], float], start: Floats
) -> tuple[Floats, float, Floats, bool]:
    """Maximise over positive parameters, in their logarithms.

    Returns:
        Parameters, log-likelihood, covariance of the parameters' logarithms from the observed
        information, and whether all of them are pinned down (interior and curved).
    """

    def loss(log_parameters: Floats) -> float:
        value = log_likelihood(np.exp(log_parameters))
        return -value if np.isfinite(value) else 1e300

    scale = max(abs(loss(np.log(start))), 1.0)
    bounds = [(-_BOUND, _BOUND)] * len(start)
    best = optimize.minimize(
        lambda p: loss(p) / scale,
        np.log(start),
        method="L-BFGS-B",
        jac="3-point",
        bounds=bounds,
        options={"ftol": 1e-13, "gtol": 1e-9, "maxiter": 500},
    )
    point = np.asarray(best.x, dtype=float)
    information = _hessian(loss, point)
    values, vectors = np.linalg.eigh(information)
    is_inside = bool((np.abs(point) < _BOUND - 1e-6).all())
    is_curved = bool(values.min() > 1e-6 * values.max())
    kept = np.where(values > 1e-6 * values.max(), values, np.inf)
    covariance = (vectors / kept) @ vectors.T
    return np.exp(point), -loss(point), covariance, is_inside and is_curved


def _hessian(loss: Callable[[Floats], float], point: Floats, step: float = 1e-3) -> Floats:
    n = len(point)
    result = np.empty((n, n))
    steps = np.eye(n) * step
    for i in range(n):
        for j in range(i, n):
            up, down = steps[i] + steps[j], steps[i] - steps[j]
            total = loss(point + up) - loss(point + down) - loss(point - down) + loss(point - up)
            result[i, j] = result[j, i] = total / (4 * step * step)
    return result


def merge_histories(counts: pd.DataFrame, *, most_rows: int = 100_000) -> pd.DataFrame:
    """Merge nearly equal histories until there are at most `most_rows`, for speed.

    Cells of equal frequency and of recency and age within a step are put at their mean, so
    the likelihood changes only to second order; with few rows nothing is merged. Columns
    beside recency and age are added up.
    """
    merged, step = counts, 0.25
    while len(merged) > most_rows and step < counts["age"].max():
        step *= 2
        weight = counts["customers"]
        frame = counts.assign(
            recency=counts["recency"] * weight,
            age=counts["age"] * weight,
            recency_cell=np.floor(counts["recency"] / step),
            age_cell=np.floor(counts["age"] / step),
        )
        cells = frame.groupby(["frequency", "recency_cell", "age_cell"], as_index=False)
        merged = cells.sum()
        merged["recency"] /= merged["customers"]
        merged["age"] /= merged["customers"]
    return merged[list(counts.columns)]


def fit_purchases(counts: pd.DataFrame, *, model: PurchaseModel) -> PurchaseFit:
    """Fit by maximum likelihood on customers counted by equal history.

    Args:
        counts: frequency, recency, age, customers, as from `purchases.purchase_counts`.

    Raises:
        TooFew: No customer has bought again.
    """
    frequency, recency, age, weight = _columns(counts)
    n_repeats = int(weight @ frequency)
    if n_repeats == 0:
        raise TooFew("no customer has bought again")
    mean_age = float(weight @ age / weight.sum())
    fourth = mean_age if model is PurchaseModel.PARETO_NBD else 2.0
    start = np.array([0.7, 0.7 * mean_age * weight.sum() / n_repeats, 0.7, fourth])
    point, value, covariance, is_identified = maximise(
        lambda p: _log_likelihood(model, p, frequency, recency, age, weight), start
    )
    r, alpha, third, last = (float(p) for p in point)
    return PurchaseFit(
        model=model,
        parameters=(r, alpha, third, last),
        log_likelihood=value,
        covariance=covariance,
        is_identified=is_identified,
        n_customers=int(weight.sum()),
        n_repeats=n_repeats,
    )


def _columns(counts: pd.DataFrame) -> tuple[Counts, Floats, Floats, Floats]:
    return (
        counts["frequency"].to_numpy(dtype=np.int64),
        counts["recency"].to_numpy(dtype=float),
        counts["age"].to_numpy(dtype=float),
        counts["customers"].to_numpy(dtype=float),
    )


def alive_share(
    model: PurchaseModel, parameters: Floats, frequency: Counts, recency: Floats, age: Floats
) -> Floats:
    """Chance that each customer is still a customer."""
    alive, gone = log_parts(model, parameters, frequency, recency, age)
    found: Floats = special.expit(alive - gone)
    return found


def expected_if_alive(
    model: PurchaseModel, parameters: Floats, frequency: Counts, age: Floats, horizon: float
) -> Floats:
    """Mean purchases over the next `horizon` units of a customer who is still here."""
    r, alpha, third, fourth = (float(p) for p in parameters)
    shape = r + frequency
    # At exactly one both formulas are a limit; a hair beside it they are a number.
    less = third - 1 if abs(third - 1) > 1e-7 else 1e-7
    if model is PurchaseModel.PARETO_NBD:
        passed = np.log1p(horizon / (fourth + age))
        return shape * (fourth + age) / (alpha + age) * -np.expm1(-less * passed) / less
    stay = fourth + frequency + (model is PurchaseModel.MBG_NBD)
    z = horizon / (alpha + age + horizon)
    # Euler's transformation of the published form: no overflow for many purchases.
    series = special.hyp2f1(less, less + stay - shape, less + stay, z)
    found: Floats = (less + stay) / less * (1 - np.exp(less * np.log1p(-z)) * series)
    return found


def expected_purchases(
    model: PurchaseModel,
    parameters: Floats,
    frequency: Counts,
    recency: Floats,
    age: Floats,
    horizon: float,
) -> Floats:
    """Mean purchases over the next `horizon` units, given each customer's history."""
    here = alive_share(model, parameters, frequency, recency, age)
    return here * expected_if_alive(model, parameters, frequency, age, horizon)


def frequency_shares(model: PurchaseModel, parameters: Floats, *, age: float, most: int) -> Floats:
    """Chances of 0, 1, … `most` repeat purchases of a new customer within `age` units."""
    r, alpha, third, fourth = (float(p) for p in parameters)
    x = np.arange(most + 1)
    if model is PurchaseModel.PARETO_NBD:
        stays = (fourth / (fourth + age)) ** third
        left = stays + (1 - stays) * _NODES  # share still here when the customer leaves
        times = fourth * (left ** (-1 / third) - 1)
        gone = stats.nbinom.pmf(x[:, None], r, alpha / (alpha + times)) @ _WEIGHTS
        shares: Floats = stays * stats.nbinom.pmf(x, r, alpha / (alpha + age)) + (1 - stays) * gone
        return shares
    first = 0 if model is PurchaseModel.BG_NBD else 1
    base = special.betaln(third, fourth)
    stay = np.exp(special.betaln(third, fourth + x + first) - base)
    leave = np.where(
        x + first > 0,
        np.exp(special.betaln(third + 1, fourth + np.maximum(x + first, 1) - 1) - base),
        0.0,
    )
    random = stats.nbinom(r, alpha / (alpha + age))
    found: Floats = stay * random.pmf(x) + leave * random.sf(x - 1)
    return found


def draw_purchases(
    model: PurchaseModel,
    parameters: Floats,
    frequency: Counts,
    recency: Floats,
    age: Floats,
    horizon: float,
    rng: np.random.Generator,
) -> Counts:
    """Draw each customer's purchases over the next `horizon` units, given the history."""
    r, alpha, third, fourth = (float(p) for p in parameters)
    n = len(frequency)
    here = rng.random(n) < alive_share(model, parameters, frequency, recency, age)
    rate = rng.gamma(r + frequency) / (alpha + age)
    if model is PurchaseModel.PARETO_NBD:
        leaving = rng.gamma(third, size=n) / (fourth + age)
        stays = np.minimum(rng.exponential(size=n) / np.maximum(leaving, 1e-300), horizon)
        return np.where(here, rng.poisson(rate * stays), 0)
    chance = rng.beta(third, fourth + frequency + (model is PurchaseModel.MBG_NBD))
    until = rng.geometric(np.clip(chance, 1e-12, 1.0))
    return np.where(here, np.minimum(rng.poisson(rate * horizon), until), 0)
