"""The gamma-gamma model of spend per purchase (Fader and Hardie, 2013)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special, stats

from insight_lib.features.clv_models import Counts, Floats, maximise
from insight_lib.findings import TooFew

_ALIKE = 1e-9  # relative; sums of the same price in another order differ by less


@dataclass(frozen=True, kw_only=True)
class SpendFit:
    """Spend per purchase: gamma within a customer, gamma again across customers.

    Attributes:
        parameters: p, q, gamma (gamma in money).
        covariance: Of the parameters' logarithms.
        correlation: Between frequency and mean spend; the model takes it for zero. None where
            all buy equally often or spend alike, so that there is none to speak of.
        n_customers: With a repeat purchase and spend above zero.
    """

    parameters: tuple[float, float, float]
    log_likelihood: float
    covariance: Floats
    is_identified: bool
    correlation: float | None
    n_customers: int

    @property
    def mean_amount(self) -> float:
        """Mean spend per purchase over customers."""
        p, q, gamma = self.parameters
        return p * gamma / (q - 1)


def fit_spend(summary: pd.DataFrame) -> SpendFit:
    """Fit by maximum likelihood on customers with a repeat purchase and spend above zero.

    Args:
        summary: frequency, repeat_amount, as from `purchases.purchase_summary`.

    Raises:
        TooFew: Fewer than thirty such customers, or spend so uneven that it has no mean.
    """
    chosen = summary[(summary["frequency"] > 0) & (summary["repeat_amount"] > 0)]
    if len(chosen) < 30:
        raise TooFew(f"{len(chosen)} customers with repeat spend, and it takes at least thirty")
    x = chosen["frequency"].to_numpy(dtype=np.int64)
    z = chosen["repeat_amount"].to_numpy(dtype=float)
    scale = float(np.median(z))
    counts = np.arange(int(x.max()) + 1)
    log_x, log_z = np.log(x), np.log(z / scale)

    def log_likelihood(parameters: Floats) -> float:
        p, q, gamma = parameters
        terms = special.gammaln(p * counts[1:] + q) - special.gammaln(p * counts[1:])
        per_customer = (
            np.concatenate([[0.0], terms])[x]
            - special.gammaln(q)
            + q * np.log(gamma)
            + (p * x - 1) * log_z
            + p * x * log_x
            - (p * x + q) * np.log(gamma + x * z / scale)
        )
        return float(per_customer.sum())

    point, value, covariance, is_identified = maximise(log_likelihood, np.array([3.0, 3.0, 3.0]))
    p, q, gamma = (float(v) for v in point)
    if q <= 1:
        raise TooFew("spend is so uneven across customers that it has no mean")
    differ = x.max() > x.min() and float(np.ptp(z)) > _ALIKE * float(z.mean())
    correlation = float(stats.pearsonr(x, z).statistic) if differ else None
    return SpendFit(
        parameters=(p, q, gamma * scale),
        log_likelihood=value - len(x) * float(np.log(scale)),
        covariance=covariance,
        is_identified=is_identified,
        correlation=correlation,
        n_customers=len(x),
    )


def expected_amount(parameters: Floats, frequency: Counts, repeat_amount: Floats) -> Floats:
    """Mean spend per future purchase of each customer; the market's mean without a repeat."""
    p, q, gamma = (float(v) for v in parameters)
    known = np.where(np.isfinite(repeat_amount) & (repeat_amount > 0), frequency, 0)
    total = known * np.where(known > 0, repeat_amount, 0.0)
    found: Floats = p * (gamma + total) / (p * known + q - 1)
    return found


def draw_amount(
    parameters: Floats,
    frequency: Counts,
    repeat_amount: Floats,
    purchases: Counts,
    rng: np.random.Generator,
) -> Floats:
    """Draw each customer's spend on that many future purchases, given the history."""
    p, q, gamma = (float(v) for v in parameters)
    known = np.where(np.isfinite(repeat_amount) & (repeat_amount > 0), frequency, 0)
    total = known * np.where(known > 0, repeat_amount, 0.0)
    rate = rng.gamma(p * known + q) / (gamma + total)
    found: Floats = np.where(purchases > 0, rng.gamma(np.maximum(p * purchases, 1e-9)) / rate, 0.0)
    return found
