"""Totals over customers with their ranges: parameters that may differ, customers who may."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date

import numpy as np
import pandas as pd
from scipy import stats

from insight_lib.features.clv_models import (
    Floats,
    PurchaseFit,
    draw_purchases,
    expected_purchases,
)
from insight_lib.findings import Estimate, TooFew

DRAWN_CUSTOMERS = 50_000  # of which the noise of single customers is drawn
TOTAL_METHOD = "observed information, delta method and simulated purchases"
_WIDEST = 3.0  # half a range, in the logarithm: twenty times up and down
_STEP = 1e-3  # of a numeric derivative in a parameter's logarithm


def slopes(totals: Callable[[Floats], Floats], parameters: Floats) -> Floats:
    """Derivatives of totals in the logarithms of the parameters: totals × parameters."""
    columns = []
    for i in range(len(parameters)):
        step = np.ones(len(parameters))
        step[i] = math.exp(_STEP)
        columns.append((totals(parameters * step) - totals(parameters / step)) / (2 * _STEP))
    return np.stack(columns, axis=1)


def total_estimate(
    value: float, variance: float, *, unit: str, n: int, as_of: date, level: float
) -> Estimate:
    """A positive total with a range that is symmetric in its logarithm.

    Raises:
        TooFew: The data do not pin the model down, so the total has no range.
    """
    if not (value > 0 and math.isfinite(value) and math.isfinite(variance) and variance >= 0):
        raise TooFew("too few second purchases for a forecast with a range")
    z = float(stats.norm.ppf(0.5 + level / 2))
    half = z * math.sqrt(variance) / value
    if half > _WIDEST:
        raise TooFew("too few second purchases: the forecast could be anything")
    return Estimate(
        value=value,
        lower=value * math.exp(-half),
        upper=value * math.exp(half),
        unit=unit,
        n=n,
        as_of=as_of,
        level=level,
        method=TOTAL_METHOD,
    )


def expected_total(
    fit: PurchaseFit,
    counts: pd.DataFrame,
    *,
    horizon: float,
    as_of: date,
    level: float = 0.95,
    seed: int = 1,
) -> Estimate:
    """Purchases of all customers over the next `horizon` units, with a prediction range.

    Args:
        counts: Histories that the forecast starts from, as from `purchases.purchase_counts`.
    """
    x = counts["frequency"].to_numpy(dtype=np.int64)
    tx, t = counts["recency"].to_numpy(dtype=float), counts["age"].to_numpy(dtype=float)
    weight = counts["customers"].to_numpy(dtype=float)
    parameters = np.asarray(fit.parameters)

    def total(point: Floats) -> Floats:
        return np.array([float(weight @ expected_purchases(fit.model, point, x, tx, t, horizon))])

    slope = slopes(total, parameters)[0]
    mean = expected_purchases(fit.model, parameters, x, tx, t, horizon)
    rng = np.random.default_rng(seed)
    drawn = rng.choice(len(x), size=DRAWN_CUSTOMERS, p=weight / weight.sum())
    future = draw_purchases(fit.model, parameters, x[drawn], tx[drawn], t[drawn], horizon, rng)
    noise = float(weight.sum() * np.square(future - mean[drawn]).mean())
    return total_estimate(
        float(weight @ mean),
        float(slope @ fit.covariance @ slope) + noise,
        unit="count",
        n=int(weight.sum()),
        as_of=as_of,
        level=level,
    )


def range_label(first: int, last: int | None) -> str:
    """Words for a range of counts: `3`, `3 to 5`, `3 or more`."""
    if last is None:
        return f"{first} or more"
    return str(first) if first == last else f"{first} to {last}"
