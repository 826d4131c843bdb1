"""How well a model does today: with labels, and by its own scores before there are any.

Without labels, the expected figures come from the scores alone (confidence-based
estimation; Bialek, Kuberski, Perrakis and Bifet, 2024, arXiv 2407.08649). This assumes that a
score means today what it meant on the reference: customers may be others than then, but
those alike must behave alike. When behaviour itself has changed, the estimate is wrong and
cannot know it; only labels show that (`compare_performance`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.special import expit, logit

from insight_lib.findings import Estimate, TooFew
from insight_lib.statistics import estimate_ratio

Floats = NDArray[np.float64]
Figure = Literal["auc", "brier", "share"]

_FEWEST_OF_EACH = 10
_SMALLEST_SCORE = 1e-6
_OUTER = 0.005
_LARGEST_SLOPE_ERROR = 0.5


@dataclass(frozen=True, kw_only=True)
class Performance:
    """A binary model against what happened.

    Attributes:
        auc: Chance that a customer who did it scored above one who did not (0.5 = a coin).
        brier: Mean squared gap between score and outcome (0 = perfect).
        gap: Realised share less mean score.
        slope: How much outcomes spread along the scores; 1 = as the scores say, below 1 the
            scores are too extreme (Cox, 1958).
        realised, predicted: Share that did it, and mean score.
    """

    auc: Estimate
    brier: Estimate
    gap: Estimate
    slope: Estimate
    realised: float
    predicted: float


@dataclass(frozen=True, kw_only=True)
class AmountPerformance:
    """A model of amounts: total realised over predicted, and mean absolute error."""

    ratio: Estimate
    error: Estimate


@dataclass(frozen=True, kw_only=True)
class Recalibration:
    """What a score meant on the reference: logit(share) = intercept + slope * logit(score)."""

    intercept: float
    slope: float
    covariance: tuple[tuple[float, float], tuple[float, float]]
    usual_range: tuple[float, float]
    n: int

    def share(self, scores: ArrayLike) -> Floats:
        """Probability that a score stands for."""
        return np.asarray(expit(self.intercept + self.slope * _logit(scores)), dtype=float)

    def drawn(self, rng: np.random.Generator) -> Recalibration:
        """One that the reference would also allow."""
        intercept, slope = rng.multivariate_normal(
            (self.intercept, self.slope), np.asarray(self.covariance), method="cholesky"
        )
        return Recalibration(
            intercept=float(intercept),
            slope=float(slope),
            covariance=self.covariance,
            usual_range=self.usual_range,
            n=self.n,
        )


@dataclass(frozen=True, kw_only=True)
class ExpectedPerformance:
    """What the scores lead to expect; intervals hold what these customers will show.

    Attributes:
        outside_share: Customers whose score lies outside nearly all (99 %) of the reference's.
    """

    auc: Estimate
    brier: Estimate
    share: Estimate
    outside_share: float


@dataclass(frozen=True, kw_only=True)
class Surprise:
    """Realised against expected on customers whose labels have come.

    Attributes:
        missed: Figures outside the expected interval; intervals are widened so that all three
            hold together.
    """

    expected: ExpectedPerformance
    realised: Performance
    missed: tuple[Figure, ...]


def _logit(scores: ArrayLike) -> Floats:
    p = np.clip(np.asarray(scores, dtype=float), _SMALLEST_SCORE, 1 - _SMALLEST_SCORE)
    return np.asarray(logit(p), dtype=float)


def area_under_curve(
    scores: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None
) -> float:
    """Share of pairs in the right order; ties count half (Mann and Whitney, 1947)."""
    s, y = np.asarray(scores, dtype=float), np.asarray(labels, dtype=float)
    w = np.ones(len(s)) if weights is None else np.asarray(weights, dtype=float)
    positive, negative = _below(s, w * y), _below(s, w * (1 - y))
    total = positive[1] * negative[1]
    return float((w * y * negative[0]).sum() / total) if total > 0 else float("nan")


def _below(scores: Floats, weights: Floats) -> tuple[Floats, float]:
    """Weight below each score, ties half, and the whole weight."""
    _, place = np.unique(scores, return_inverse=True)
    mass = np.bincount(place, weights=weights)
    return (np.cumsum(mass) - mass / 2)[place], float(mass.sum())


def _check(
    scores: ArrayLike, labels: ArrayLike, customers: Sequence[str] | pd.Index
) -> tuple[Floats, Floats, NDArray[np.int64]]:
    s, y = np.asarray(scores, dtype=float), np.asarray(labels, dtype=float)
    kept = ~np.isnan(y)
    s, y = s[kept], y[kept]
    fewest = int(min(y.sum(), (1 - y).sum()))
    if fewest < _FEWEST_OF_EACH:
        raise TooFew(f"{fewest} customers of the rarer outcome, and it takes {_FEWEST_OF_EACH}")
    return s, y, pd.factorize(np.asarray(customers, dtype=object)[kept])[0].astype(np.int64)


def _by_customer(values: Floats, codes: NDArray[np.int64]) -> Floats:
    return np.asarray(np.bincount(codes, weights=values), dtype=float)


def estimate_performance(
    scores: ArrayLike,
    labels: ArrayLike,
    customers: Sequence[str] | pd.Index,
    *,
    as_of: date,
    level: float = 0.95,
) -> Performance:
    """Discrimination and calibration with intervals over customers.

    Args:
        scores: Probabilities, 0-1.
        labels: 0 or 1; missing rows are left out.
        customers: Id per row; a customer may have several rows (snapshots).

    Raises:
        TooFew: Fewer than ten rows with either outcome.
    """
    s, y, codes = _check(scores, labels, customers)
    n_customers = int(codes.max()) + 1
    z = float(stats.t.ppf(0.5 + level / 2, n_customers - 1))

    def made(value: float, lower: float, upper: float, unit: str, method: str) -> Estimate:
        return Estimate(
            value=value,
            lower=min(lower, value),
            upper=max(upper, value),
            unit=unit,
            n=n_customers,
            as_of=as_of,
            level=level,
            method=method,
        )

    def mean_of(values: Floats, unit: str, method: str) -> Estimate:
        mean = float(values.mean())
        error = float(np.sqrt(np.square(_by_customer(values - mean, codes)).sum())) / len(values)
        return made(mean, mean - z * error, mean + z * error, unit, method)

    auc = area_under_curve(s, y)
    negatives, n_negative = _below(s, 1 - y)
    positives, n_positive = _below(s, y)
    each = np.where(
        y == 1,
        (negatives / n_negative - auc) / n_positive,
        (1 - positives / n_positive - auc) / n_negative,
    )
    error = float(np.sqrt(np.square(_by_customer(each, codes)).sum()))
    inner = float(np.clip(auc, 1e-4, 1 - 1e-4))
    half = z * error / (inner * (1 - inner))
    recalibration = estimate_recalibration(scores, labels, customers)
    slope_error = float(np.sqrt(recalibration.covariance[1][1]))
    return Performance(
        auc=made(
            auc,
            float(expit(logit(inner) - half)),
            float(expit(logit(inner) + half)),
            "index",
            "placement values over customers (DeLong, 1988; Obuchowski, 1997)",
        ),
        brier=mean_of(np.square(s - y), "score", "mean over customers (Brier, 1950)"),
        gap=mean_of(y - s, "difference", "mean over customers"),
        slope=made(
            recalibration.slope,
            recalibration.slope - z * slope_error,
            recalibration.slope + z * slope_error,
            "ratio",
            "logistic recalibration (Cox, 1958)",
        ),
        realised=float(y.mean()),
        predicted=float(s.mean()),
    )


def estimate_amount_performance(
    predicted: ArrayLike,
    actual: ArrayLike,
    customers: Sequence[str] | pd.Index,
    *,
    unit: str,
    as_of: date,
    level: float = 0.95,
) -> AmountPerformance:
    """Totals and errors of predicted amounts; rows without an actual amount are left out.

    Raises:
        TooFew: Fewer than two customers, or nothing predicted.
    """
    p, y = np.asarray(predicted, dtype=float), np.asarray(actual, dtype=float)
    kept = ~np.isnan(y)
    codes = pd.factorize(np.asarray(customers, dtype=object)[kept])[0]
    p, y = p[kept], y[kept]
    totals = [_by_customer(v, codes) for v in (y, p, np.abs(y - p), np.ones(len(y)))]
    return AmountPerformance(
        ratio=estimate_ratio(totals[0], totals[1], unit="ratio", as_of=as_of, level=level),
        error=estimate_ratio(totals[2], totals[3], unit=unit, as_of=as_of, level=level),
    )


def estimate_recalibration(
    scores: ArrayLike, labels: ArrayLike, customers: Sequence[str] | pd.Index
) -> Recalibration:
    """What the scores meant where labels are known (Cox, 1958), with customers as units.

    Args:
        scores: Probabilities for customers that the model did not learn from.
        labels: 0 or 1; missing rows are left out.

    Raises:
        TooFew: Fewer than ten rows with either outcome.
    """
    s, y, codes = _check(scores, labels, customers)
    design = np.column_stack([np.ones(len(s)), _logit(s)])
    if np.ptp(design[:, 1]) < 1e-9:
        raise TooFew("all scores are the same")
    beta = np.array([0.0, 1.0])
    for _ in range(50):
        p = expit(design @ beta)
        information = (design * (p * (1 - p))[:, None]).T @ design + 1e-9 * np.eye(2)
        step = np.linalg.solve(information, design.T @ (y - p))
        beta = beta + np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-8:
            break
    residual = design * (y - expit(design @ beta))[:, None]
    by_customer = np.column_stack([_by_customer(residual[:, k], codes) for k in (0, 1)])
    bread = np.linalg.inv(information)
    spread = bread @ (by_customer.T @ by_customer) @ bread
    low, high = np.quantile(s, [_OUTER, 1 - _OUTER])
    return Recalibration(
        intercept=float(beta[0]),
        slope=float(beta[1]),
        covariance=(
            (float(spread[0, 0]), float(spread[0, 1])),
            (float(spread[0, 1]), float(spread[1, 1])),
        ),
        usual_range=(float(low), float(high)),
        n=int(codes.max()) + 1,
    )


def estimate_expected_performance(
    scores: ArrayLike,
    *,
    recalibration: Recalibration,
    as_of: date,
    n_draws: int = 400,
    seed: int = 0,
    level: float = 0.95,
) -> ExpectedPerformance:
    """What the scores of one snapshot lead to expect, before its labels come.

    Outcomes are drawn from the recalibrated scores, and the recalibration from what the
    reference allows; so the interval holds chance and what is not known of the scores.

    Args:
        scores: One probability per customer.
        recalibration: From out-of-sample scores of the reference.

    Raises:
        TooFew: So few customers that outcomes of one kind would be too rare, or a reference
            that hardly says what a score means.
    """
    if recalibration.covariance[1][1] > _LARGEST_SLOPE_ERROR**2:
        raise TooFew("too few outcomes are known to say what a score means")
    s = np.asarray(scores, dtype=float)
    middle = recalibration.share(s)
    rare = min(float(middle.sum()), float((1 - middle).sum()))
    if rare < _FEWEST_OF_EACH:
        raise TooFew(
            f"{rare:.0f} customers of the rarer outcome expected, and it takes {_FEWEST_OF_EACH}"
        )
    rng = np.random.default_rng(seed)
    rank = stats.rankdata(s)
    squares = np.square(s)

    def metrics(y: Floats) -> tuple[float, float, float]:
        n_positive = float(y.sum())
        n_negative = len(y) - n_positive
        pairs = n_positive * n_negative
        auc = float(y @ rank) - n_positive * (n_positive + 1) / 2
        brier = float((squares + y * (1 - 2 * s)).mean())
        return (auc / pairs if pairs else 0.5), brier, n_positive / len(y)

    draws = np.array(
        [
            metrics((rng.random(len(s)) < recalibration.drawn(rng).share(s)).astype(float))
            for _ in range(n_draws)
        ]
    )
    # Expected pairs leave out a customer with itself.
    own = float((middle * (1 - middle)).sum())
    n_positive, n_negative = float(middle.sum()), float((1 - middle).sum())
    pairs = n_positive * n_negative - own
    below, _ = _below(s, 1 - middle)
    auc = (float((middle * below).sum()) - own / 2) / pairs
    centres = (auc, float((squares + middle * (1 - 2 * s)).mean()), float(middle.mean()))
    spread = draws.std(axis=0, ddof=1) * float(stats.norm.ppf(0.5 + level / 2))

    def made(position: int, unit: str) -> Estimate:
        centre, half = centres[position], float(spread[position])
        return Estimate(
            value=centre,
            lower=max(0.0, centre - half),
            upper=min(1.0, centre + half),
            unit=unit,
            n=len(s),
            as_of=as_of,
            level=level,
            method="confidence-based estimation (Bialek et al., 2024)",
        )

    low, high = recalibration.usual_range
    return ExpectedPerformance(
        auc=made(0, "index"),
        brier=made(1, "score"),
        share=made(2, "share"),
        outside_share=float(((s < low) | (s > high)).mean()),
    )


def compare_performance(
    scores: ArrayLike,
    labels: ArrayLike,
    customers: Sequence[str] | pd.Index,
    *,
    recalibration: Recalibration,
    as_of: date,
    seed: int = 0,
    level: float = 0.95,
) -> Surprise:
    """Whether what happened is what the scores led to expect, on one snapshot.

    Arguments as in `estimate_performance` and `estimate_expected_performance`.
    """
    y = np.asarray(labels, dtype=float)
    kept = ~np.isnan(y)
    named: dict[Figure, Callable[[Performance], float]] = {
        "auc": lambda r: r.auc.value,
        "brier": lambda r: r.brier.value,
        "share": lambda r: r.realised,
    }
    expected = estimate_expected_performance(
        np.asarray(scores, dtype=float)[kept],
        recalibration=recalibration,
        as_of=as_of,
        seed=seed,
        level=1 - (1 - level) / len(named),
    )
    realised = estimate_performance(scores, labels, customers, as_of=as_of, level=level)
    ranges: dict[Figure, Estimate] = {
        "auc": expected.auc,
        "brier": expected.brier,
        "share": expected.share,
    }
    return Surprise(
        expected=expected,
        realised=realised,
        missed=tuple(k for k, of in named.items() if ranges[k].excludes(of(realised))),
    )
