"""What other markets know: coefficients on scale-free inputs, put together for a young market.

Each market fits the same small logistic regression on its own standardised inputs and gives
coefficients, standard errors and number of customers; nothing else leaves it. The mean over
markets weighs by precision and leaves room for markets that differ (DerSimonian and Laird,
1986). A market that uses it needs no labels of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from insight_lib.findings import TooFew
from insight_lib.prediction.scorer import FORMAT, score, signed_log

Floats = NDArray[np.float64]

BASE_RATE = "(base rate)"
_USUAL_SPREAD = 0.5  # of log odds between markets; rates of 12 and 18% are so far apart
POOLED_INPUTS = (
    "days_since_last_order",
    "n_orders",
    "gap_ratio",
    "revenue_amount",
    "discount_share",
    "n_categories",
    "tenure_days",
    "days_to_renewal",
    "monthly_amount",
    "seats",
)
"""Numbers that mean the same in every market once each is measured in its own spread."""
_TAIL = 0.01
_RIDGE = 1.0
_MOST_STEPS = 50
_TOLERANCE = 1e-9


@dataclass(frozen=True, kw_only=True)
class PooledCoefficient:
    """One coefficient over markets; `between` is the variance of markets about the mean."""

    input: str
    mean: float
    standard_error: float
    between: float
    n_markets: int
    n: int


def pooled_rows(
    features: pd.DataFrame,
    label: pd.Series,
    *,
    target: str,
    horizon_days: int,
    smallest_positives: int,
    inputs: Sequence[str] = POOLED_INPUTS,
) -> pd.DataFrame:
    """What this market gives to others about a target.

    Logistic regression on standardised inputs with a ridge of one; standard errors count
    customers, not snapshots (sandwich over customers; Liang and Zeger, 1986).

    Args:
        features: Customers (index, may repeat over snapshots) by numbers.
        label: 0 or 1 in the same order; missing where the target does not apply.

    Returns:
        target, horizon_days, input, coefficient, standard_error, n (customers).

    Raises:
        TooFew: Too few customers of one of the two outcomes.
    """
    applies = label.notna().to_numpy()
    y = label.to_numpy(dtype=float)[applies]
    frame = features[applies]
    fewest = int(min(y.sum(), len(y) - y.sum()))
    if fewest < smallest_positives:
        raise TooFew(f"{fewest} customers of the rarer outcome, and it takes {smallest_positives}")
    used = [c for c in inputs if c in frame and _spread(frame[c]) is not None]
    if not used:
        raise TooFew("no input that means the same in every market")
    z = np.column_stack([_standardised(frame[c]) for c in used])
    x = np.column_stack([np.ones(len(y)), z])
    beta, information = _fit_logistic(x, y)
    person, _ = pd.factorize(frame.index)
    residual = y - _probability(x @ beta)
    covariance = _sandwich(x * residual[:, None], information, person)
    n = int(person.max()) + 1
    rate = float(y.mean())
    shifted = np.bincount(person, weights=y - rate)
    rate_error = math.sqrt(float(np.square(shifted).sum())) / len(y) / (rate * (1 - rate))
    rows = [(BASE_RATE, math.log(rate / (1 - rate)), rate_error)]
    rows += [
        (name, float(beta[j]), float(math.sqrt(covariance[j, j])))
        for j, name in enumerate(used, start=1)
    ]
    found = pd.DataFrame(rows, columns=["input", "coefficient", "standard_error"])
    found.insert(0, "target", target)
    found.insert(1, "horizon_days", horizon_days)
    return found.assign(n=n)


def pool_coefficients(rows: pd.DataFrame, *, smallest_markets: int) -> list[PooledCoefficient]:
    """Mean over markets by input, with the variance between them (DerSimonian, Laird, 1986).

    Args:
        rows: market, input, coefficient, standard_error, n; of one target.
        smallest_markets: Inputs that fewer markets gave are left out.
    """
    found = []
    for name, mine in rows.groupby("input", sort=True):
        y = mine["coefficient"].to_numpy(dtype=float)
        variance = np.square(mine["standard_error"].to_numpy(dtype=float))
        if mine["market"].nunique() < smallest_markets or not (variance > 0).all():
            continue
        w = 1 / variance
        centre = float((w * y).sum() / w.sum())
        q = float((w * np.square(y - centre)).sum())
        room = float(w.sum() - np.square(w).sum() / w.sum())
        between = max(0.0, (q - (len(y) - 1)) / room) if room > 0 else 0.0
        w = 1 / (variance + between)
        found.append(
            PooledCoefficient(
                input=str(name),
                mean=float((w * y).sum() / w.sum()),
                standard_error=float(1 / math.sqrt(w.sum())),
                between=between,
                n_markets=len(y),
                n=int(mine["n"].sum()),
            )
        )
    return found


def pooled_document(
    rows: pd.DataFrame,
    features: pd.DataFrame,
    label: pd.Series | None = None,
    *,
    target: str,
    horizon_days: int,
    as_of: date,
    smallest_markets: int,
) -> dict[str, Any]:
    """The document of a market that scores by what other markets know.

    Inputs are standardised in this market. The base rate is that of other markets, drawn
    towards this market's own as far as its labels carry (normal-normal, on log odds).

    Args:
        rows: From `Market.aggregates`: market, target, horizon_days, input, coefficient,
            standard_error, n.
        features: Customers of this market to be scored.
        label: Outcomes of this market, as many as there are; 0, 1 or missing.

    Raises:
        TooFew: No, or too few, markets gave what this one has; says how many.
    """
    if rows.empty:
        raise TooFew("no other market gave coefficients")
    mine = rows[(rows["target"] == target) & (rows["horizon_days"] == horizon_days)]
    n_markets = int(mine["market"].nunique())
    if n_markets < smallest_markets:
        raise TooFew(
            f"other markets that gave coefficients: {n_markets}, and it takes {smallest_markets}"
        )
    pooled = {c.input: c for c in pool_coefficients(mine, smallest_markets=smallest_markets)}
    names = [c for c in pooled if c in features and _spread(features[c]) is not None]
    if BASE_RATE not in pooled or not names:
        raise TooFew("no input that enough other markets share with this one")
    document: dict[str, Any] = {
        "format": FORMAT,
        "target": target,
        "kind": "binary",
        "horizon_days": horizon_days,
        "estimator": "logistic",
        "inputs": [],
        "model": {"intercept": 0.0, "terms": []},
        "calibration": {"intercept": 0.0, "slope": 1.0},
        "trained": {
            "cuts": [],
            "n": int(mine.groupby("market")["n"].max().sum()),
            "as_of": as_of.isoformat(),
            "markets": sorted(mine["market"].unique().tolist()),
        },
    }
    for name in names:
        centre, spread, lower, upper = _spread(features[name]) or (0.0, 1.0, 0.0, 0.0)
        document["inputs"].append(
            {
                "name": name,
                "type": "number",
                "fill": float(np.sign(centre) * np.expm1(abs(centre))),
                "has_indicator": False,
            }
        )
        document["model"]["terms"].append(
            {
                "transform": "signed_log",
                "coefficient": pooled[name].mean / spread,
                "centre": centre,
                "lower": lower,
                "upper": upper,
            }
        )
    rate = _local_rate(pooled[BASE_RATE], label)
    document["model"]["intercept"] = _intercept(document, features, rate)
    return document


def _local_rate(pooled: PooledCoefficient, label: pd.Series | None) -> float:
    """Base rate of this market: the others', drawn towards its own by precision.

    A few markets that happen to be alike do not say that the next one is: what a new market
    may differ by is the prediction interval of so many markets (Higgins, Thompson and
    Spiegelhalter, 2009), with as few degrees of freedom as there are markets beyond one, and at
    least the spread that markets of one kind usually have. Where the own outcomes surely differ
    from it, they speak alone.
    """
    logit = pooled.mean
    own = label.dropna().to_numpy(dtype=float) if label is not None else np.array([])
    if not len(own):
        return 1 / (1 + math.exp(-logit))
    yes, no = own.sum() + 0.5, len(own) - own.sum() + 0.5  # Haldane (1956)
    own_logit, own_variance = math.log(yes / no), 1 / yes + 1 / no
    between = max(pooled.between, _USUAL_SPREAD**2)
    factor = float(stats.t.ppf(0.975, max(pooled.n_markets - 1, 1)) / stats.norm.ppf(0.975))
    variance = (between + pooled.standard_error**2) * factor**2
    distance = abs(own_logit - logit)
    if distance > float(stats.norm.ppf(0.975)) * math.sqrt(own_variance + pooled.standard_error**2):
        return 1 / (1 + math.exp(-own_logit))
    weight = variance / (variance + own_variance)
    return 1 / (1 + math.exp(-(logit + weight * (own_logit - logit))))


def _intercept(document: dict[str, Any], features: pd.DataFrame, rate: float) -> float:
    """The intercept at which the mean score is the base rate, by bisection."""
    columns = {e["name"]: features[e["name"]].to_numpy() for e in document["inputs"]}
    raw = score(document, columns)
    link = np.log(raw / (1 - raw))
    low, high = -50.0, 50.0
    while high - low > _TOLERANCE:
        middle = (low + high) / 2
        if float(_probability(link + middle).mean()) < rate:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _spread(column: pd.Series) -> tuple[float, float, float, float] | None:
    """Centre and spread on the log scale, and limits; None where nothing varies."""
    if not pd.api.types.is_numeric_dtype(column):
        return None
    x = column.to_numpy(dtype=float)
    x = x[np.isfinite(x)]
    if len(x) < len(column) / 2:
        return None
    lower, upper = (float(q) for q in np.quantile(x, [_TAIL, 1 - _TAIL]))
    logged = signed_log(np.clip(x, lower, upper), 1.0)
    spread = float(logged.std())
    if spread <= 1e-9:
        return None
    return float(logged.mean()), spread, lower, upper


def _standardised(column: pd.Series) -> Floats:
    """Log scale, mean zero, spread one; missing values stand at the mean."""
    centre, spread, lower, upper = _spread(column) or (0.0, 1.0, 0.0, 0.0)
    x = column.to_numpy(dtype=float)
    z = (signed_log(np.clip(x, lower, upper), 1.0) - centre) / spread
    return np.asarray(np.where(np.isfinite(x), z, 0.0))


def _probability(x: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -500, 500))))


def _fit_logistic(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Coefficients and the information matrix, by Newton steps; the intercept is free."""
    ridge = np.full(x.shape[1], _RIDGE)
    ridge[0] = 0.0
    beta = np.zeros(x.shape[1])
    beta[0] = math.log(y.mean() / (1 - y.mean()))
    for _ in range(_MOST_STEPS):
        p = _probability(x @ beta)
        information = (x * (p * (1 - p))[:, None]).T @ x + np.diag(ridge)
        step = np.linalg.solve(information, x.T @ (y - p) - ridge * beta)
        beta = beta + step
        if float(np.abs(step).max()) < _TOLERANCE:
            break
    p = _probability(x @ beta)
    return beta, (x * (p * (1 - p))[:, None]).T @ x + np.diag(ridge)


def _sandwich(scores: Floats, information: Floats, person: NDArray[np.int64]) -> Floats:
    """Covariance with customers as the independent units."""
    by_person = np.zeros((int(person.max()) + 1, scores.shape[1]))
    np.add.at(by_person, person, scores)
    inverse = np.linalg.inv(information)
    return np.asarray(inverse @ (by_person.T @ by_person) @ inverse)
