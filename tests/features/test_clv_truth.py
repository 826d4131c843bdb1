"""Customer value against simulated markets that know the truth, over many seeds."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import duckdb
import ibis
import numpy as np
import pytest

from insight_demo import WORLDS, quiet, simulate_market
from insight_lib.features.clv import estimate_customer_value
from insight_lib.features.clv_holdout import estimate_holdout
from insight_lib.features.clv_models import PurchaseModel, fit_purchases
from insight_lib.features.purchases import purchase_counts, purchase_days, purchase_summary
from tests.truth.helpers import assert_coverage, assert_unbiased, over_seeds

BASE = quiet(WORLDS["de-fashion"])
YEAR = timedelta(days=364)


def market_orders(seed: int, *, regularity: int = 1, n: int = 2500) -> ibis.Table:
    """Orders of a pure BG/NBD market with gamma-gamma spend, without returns."""
    buying = replace(BASE.shop.buying, spend_model="gamma_gamma", regularity=regularity)
    departments = tuple(replace(d, return_share=0.0) for d in BASE.shop.departments)
    world = replace(BASE, retail=replace(BASE.shop, buying=buying, departments=departments))
    lines = simulate_market(world, seed=seed, n_customers=n).tables["transactions"]
    columns = lines.select(["customer_id", "ordered_local", "amount"])
    raw = ibis.duckdb.from_connection(duckdb.connect()).create_table("lines", columns)
    return raw.select(
        "customer_id",
        order_date=raw.ordered_local.date(),
        amount=raw.amount.cast("decimal(18, 4)"),
        returned_amount=ibis.literal(0, type="decimal(18, 4)"),
        is_purchase=raw.amount > 0,
    )


@pytest.mark.slow
@pytest.mark.row("CLV")
def test_parameters_of_the_market_are_recovered() -> None:
    buying = BASE.shop.buying
    rate = sum(s.share * s.rate_per_week for s in BASE.segments)
    truth = np.log([buying.r, buying.r / rate, buying.a, buying.b])

    def fitted(seed: int) -> tuple[np.ndarray, np.ndarray]:
        summary = purchase_summary(market_orders(seed), as_of=BASE.end)
        fit = fit_purchases(purchase_counts(summary), model=PurchaseModel.BG_NBD)
        return np.log(fit.parameters), np.sqrt(np.diag(fit.covariance))

    fits = over_seeds(fitted, 24)
    for i in range(4):
        bounds = [(p[i] - 1.96 * e[i], p[i] + 1.96 * e[i]) for p, e in fits]
        # Purchases of one day count once, so the rate comes out a hair lower than planted.
        assert_coverage(bounds, truth[i], 0.93, may_be_wide=True)


@pytest.mark.slow
@pytest.mark.row("CLV")
def test_the_range_of_the_total_holds_what_came() -> None:
    cut = BASE.end - YEAR

    def forecast(seed: int) -> tuple[tuple[float, float], float, tuple[float, float], float, float]:
        orders = market_orders(seed)
        holdout = estimate_holdout(
            orders, as_of=BASE.end, holdout_days=YEAR.days, minimum_cell_size=10
        )
        value = estimate_customer_value(
            purchase_summary(orders, as_of=cut),
            as_of=cut,
            horizon_months=12,
            annual_discount_rate=0.0,
            currency="EUR",
        ).value
        known = purchase_summary(orders, as_of=cut).select("customer_id")
        later = purchase_days(orders, as_of=BASE.end, since=cut + timedelta(days=1))
        spent = float(later.semi_join(known, "customer_id").amount.sum().to_pandas())
        return (
            (holdout.expected.lower, holdout.expected.upper),
            float(holdout.actual.value),
            (value.lower, value.upper),
            spent,
            value.value / spent - 1,
        )

    found = over_seeds(forecast, 30)
    assert_coverage([f[0] for f in found], [f[1] for f in found], 0.95)
    assert_coverage([f[2] for f in found], [f[3] for f in found], 0.95)
    assert_unbiased([f[4] for f in found], 0.0, detectable=0.05, tolerance=0.01)


@pytest.mark.slow
@pytest.mark.row("CLV")
def test_regular_buying_biases_the_forecast_and_the_holdout_says_so() -> None:
    def regular(seed: int) -> tuple[float, float]:
        holdout = estimate_holdout(
            market_orders(seed, regularity=4),
            as_of=date.fromisoformat(BASE.end.isoformat()),
            holdout_days=YEAR.days,
            minimum_cell_size=10,
        )
        assert holdout.regularity is not None
        return holdout.bias.value, holdout.regularity.shape.lower

    found = over_seeds(regular, 6)
    assert all(lower > 1.5 for _, lower in found)
    assert abs(np.mean([bias for bias, _ in found])) > 0.02
