"""A forecast made some time ago, held against what came: the honest error of the model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import stats

from insight_lib.features.clv import CustomerValue, ModelChoice, choose_model
from insight_lib.features.clv_models import (
    PurchaseFit,
    PurchaseModel,
    expected_purchases,
    merge_histories,
)
from insight_lib.features.clv_totals import TOTAL_METHOD, expected_total, range_label
from insight_lib.features.purchases import (
    Regularity,
    estimate_regularity,
    later_purchases,
    purchase_counts,
    purchase_summary,
)
from insight_lib.findings import Estimate, Measured, TooFew

if TYPE_CHECKING:
    import ibis.expr.types as ir


_DAYS_PER_MONTH = 365.25 / 12


@dataclass(frozen=True, kw_only=True)
class Holdout:
    """A forecast made as of the cut, against what came after it.

    Attributes:
        cut: Last day that the model saw.
        days: Length of the test.
        choice: Models fitted up to the cut, best first.
        expected, actual: Purchase days of customers known at the cut, from cut to `as_of`.
        bias: Expected against actual, relative; above zero the forecast was too high.
        tracking: date, actual, expected, lower, upper; cumulative since the cut.
        by_frequency: repeats (label), customers, actual, expected (mean per customer).
        new_customers, new_purchases: First seen after the cut, and their purchase days; the
            forecast does not speak of them.
        new_share: Of all purchase days after the cut.
        regularity: Of gaps up to the cut; none if too few customers have two gaps.
    """

    cut: date
    days: int
    choice: ModelChoice
    expected: Estimate
    actual: Measured
    bias: Estimate
    tracking: pd.DataFrame
    by_frequency: pd.DataFrame
    new_customers: Measured
    new_purchases: Measured
    new_share: Measured
    regularity: Regularity | None


def estimate_holdout(
    by_order: ir.Table,
    *,
    as_of: date,
    holdout_days: int,
    minimum_cell_size: int,
    unit_days: int = 7,
    models: Sequence[PurchaseModel] = tuple(PurchaseModel),
    level: float = 0.95,
    seed: int = 1,
) -> Holdout:
    """Fit on what was known `holdout_days` ago and compare with what came.

    Args:
        by_order: customer_id, order_date, amount, as from `customers.orders`.
        minimum_cell_size: Smallest group of customers shown.
        models: The model whose forecast is tested; give the one in use.

    Raises:
        TooFew: No repeat purchase before the cut, or no purchase after it.
    """
    cut = as_of - timedelta(days=holdout_days)
    counts = merge_histories(
        purchase_counts(purchase_summary(by_order, as_of=cut, unit_days=unit_days))
    )
    if counts.empty:
        raise TooFew("no customer is known before the holdout period")
    choice = choose_model(counts, models=models)
    later = later_purchases(by_order, cut=cut, as_of=as_of)
    n = choice.best.n_customers
    n_actual = int(later.by_day["purchases"].sum())
    if n_actual == 0:
        raise TooFew("no known customer bought in the holdout period")
    moments = sorted({holdout_days, *np.linspace(0, holdout_days, 14).astype(int)[1:].tolist()})
    expectations = [
        expected_total(
            choice.best,
            counts,
            horizon=days / unit_days,
            as_of=as_of,
            level=level,
            seed=seed,
        )
        for days in moments
    ]
    after = later.by_day["days_after_cut"].to_numpy()
    purchases = later.by_day["purchases"].to_numpy()
    tracking = pd.DataFrame(
        {
            "date": [cut + timedelta(days=days) for days in moments],
            "actual": [int(purchases[after <= days].sum()) for days in moments],
            "expected": [e.value for e in expectations],
            "lower": [e.lower for e in expectations],
            "upper": [e.upper for e in expectations],
        }
    )
    expected = expectations[-1]
    new_share = later.new_purchases / (later.new_purchases + n_actual)
    try:
        regularity = estimate_regularity(by_order, as_of=cut, level=level)
    except TooFew:
        regularity = None
    return Holdout(
        cut=cut,
        days=holdout_days,
        choice=choice,
        expected=expected,
        actual=Measured(value=n_actual, unit="count", n=n, as_of=as_of),
        bias=Estimate(
            value=expected.value / n_actual - 1,
            lower=expected.lower / n_actual - 1,
            upper=expected.upper / n_actual - 1,
            unit="change",
            n=n,
            as_of=as_of,
            level=level,
            method=TOTAL_METHOD,
        ),
        tracking=tracking,
        by_frequency=_by_frequency(
            counts, later.by_frequency, choice.best, holdout_days / unit_days, minimum_cell_size
        ),
        new_customers=Measured(
            value=later.new_customers, unit="count", n=later.new_customers, as_of=as_of
        ),
        new_purchases=Measured(
            value=later.new_purchases, unit="count", n=later.new_customers, as_of=as_of
        ),
        new_share=Measured(value=new_share, unit="share", n=later.new_customers, as_of=as_of),
        regularity=regularity,
    )


_AS_LONG = 0.95  # of the horizon; a shorter test says less than is promised


def reaches_the_horizon(holdout: Holdout, *, horizon_months: int) -> bool:
    """Whether the test forecast reached as far as the forecast that it stands for."""
    return holdout.days >= _AS_LONG * horizon_months * _DAYS_PER_MONTH


def widened(value: CustomerValue, holdout: Holdout) -> CustomerValue:
    """The forecast with the error that its own test has shown.

    A test over the whole horizon that refutes its range adds its miss, on the log scale; a
    shorter one adds its miss whatever its range, grown with the horizon, because what the model
    lacks (season, growth) adds up over time.
    """
    miss = abs(math.log1p(holdout.bias.value)) if holdout.bias.value > -1 else math.inf
    if reaches_the_horizon(holdout, horizon_months=value.horizon_months):
        miss = miss if holdout.bias.excludes(0) else 0.0
    else:
        miss *= value.horizon_months * _DAYS_PER_MONTH / holdout.days
    factor = float(stats.norm.ppf(0.5 + value.value.level / 2)) * miss

    def wide(estimate: Estimate) -> Estimate:
        below, above = (
            math.hypot(math.log(estimate.value / bound), factor)
            for bound in (estimate.lower, estimate.upper)
        )
        return replace(
            estimate,
            lower=estimate.value * math.exp(-below),
            upper=estimate.value * math.exp(above),
            method=f"{estimate.method}, and the miss of the test forecast",
        )

    if factor == 0:
        return value
    return replace(
        value,
        value=wide(value.value),
        mean_value=wide(value.mean_value),
        purchases=wide(value.purchases),
    )


def _by_frequency(
    counts: pd.DataFrame,
    later: pd.DataFrame,
    fit: PurchaseFit,
    horizon: float,
    minimum_cell_size: int,
    most: int = 7,
) -> pd.DataFrame:
    """Mean purchases after the cut by purchases before it, the last groups taken together."""
    expected = expected_purchases(
        fit.model,
        np.asarray(fit.parameters),
        counts["frequency"].to_numpy(dtype=np.int64),
        counts["recency"].to_numpy(dtype=float),
        counts["age"].to_numpy(dtype=float),
        horizon,
    )
    meant = (counts["customers"] * expected).groupby(counts["frequency"]).sum()
    rows: list[tuple[str, int, float, float]] = []
    customers, actual, total, first = 0, 0.0, 0.0, 0
    remaining = int(later["customers"].sum())
    for x, count, purchases in zip(
        later["frequency"], later["customers"], later["purchases"], strict=True
    ):
        customers += int(count)
        remaining -= int(count)
        actual += float(purchases)
        total += float(meant[x])
        is_full = customers >= minimum_cell_size <= remaining and len(rows) < most
        if is_full or remaining == 0:
            label = range_label(first, int(x) if remaining else None)
            rows.append((label, customers, actual / customers, total / customers))
            customers, actual, total, first = 0, 0.0, 0.0, int(x) + 1
    return pd.DataFrame(rows, columns=["repeats", "customers", "actual", "expected"])
