"""Orders against the parameters that made them."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from insight_demo import WORLDS, SimulatedMarket, World, quiet, simulate_market
from tests.demo.conftest import frame, truth
from tests.truth.helpers import assert_unbiased, over_seeds

PURE = quiet(WORLDS["de-fashion"])
BUYING = PURE.retail.buying


def orders_of(market: SimulatedMarket) -> pd.DataFrame:
    """One row per order, returns left out, with its value."""
    lines = frame(market, "transactions")
    sold = lines[lines.quantity > 0]
    grouped = sold.groupby(["customer_id", "order_id"], as_index=False)
    return grouped.agg(
        day=("ordered_local", lambda at: at.iloc[0].normalize()), amount=("amount", "sum")
    ).sort_values(["customer_id", "day"])


def exposure(market: SimulatedMarket) -> pd.DataFrame:
    """Per customer: weeks under observation while active, repeat orders, whether stopped."""
    known = truth(market, "customers").set_index("customer_id")
    first = pd.to_datetime(frame(market, "customers").set_index("customer_id").first_seen_date)
    stop = pd.to_datetime(known.stopped_date).fillna(
        pd.Timestamp(market.world.end) + pd.Timedelta(days=1)
    )
    counts = (
        frame(market, "transactions")
        .query("quantity > 0")
        .groupby("customer_id")
        .order_id.nunique()
    )
    return known.assign(
        weeks=(stop - first).dt.days / 7,
        repeats=counts.reindex(known.index) - 1,
        is_stopped=~known.is_alive,
    )


@pytest.fixture(scope="module")
def pure() -> SimulatedMarket:
    return simulate_market(PURE, seed=3, n_customers=8000)


def test_everyone_orders_on_the_first_day(pure: SimulatedMarket) -> None:
    first = orders_of(pure).groupby("customer_id").day.min()
    seen = pd.to_datetime(frame(pure, "customers").set_index("customer_id").first_seen_date)
    assert (first == seen.reindex(first.index)).all()
    assert len(first) == 8000


def test_latent_rates_and_dropout_have_the_planted_moments(pure: SimulatedMarket) -> None:
    known = truth(pure, "customers")
    mean_rate = np.average(
        [s.rate_per_week for s in PURE.segments], weights=[s.share for s in PURE.segments]
    )
    assert known.rate_per_week.mean() == pytest.approx(mean_rate, rel=0.04)
    assert known.rate_per_week.var() == pytest.approx(mean_rate**2 / BUYING.r, rel=0.12)
    a, b = BUYING.a, BUYING.b
    assert known.dropout_share.mean() == pytest.approx(a / (a + b), rel=0.05)


def test_realised_rate_and_dropout_are_the_parameters() -> None:
    """Occurrence over exposure: both ratios are one but for chance, over seeds."""

    def ratios(seed: int) -> tuple[float, float]:
        seen = exposure(simulate_market(PURE, seed=seed, n_customers=1500))
        by_rate = seen.repeats.sum() / (seen.rate_per_week * seen.weeks).sum()
        by_stop = seen.is_stopped.sum() / (seen.dropout_share * seen.repeats).sum()
        return by_rate, by_stop

    rates, stops = zip(*over_seeds(ratios, 15), strict=True)
    assert_unbiased(rates, 1.0, detectable=0.02, tolerance=0.005)
    assert_unbiased(stops, 1.0, detectable=0.05)


def test_the_year_after_is_bought_by_the_active_at_their_rate() -> None:
    def ratio(seed: int) -> float:
        known = truth(simulate_market(PURE, seed=seed, n_customers=1500), "customers")
        assert (known.future_orders[~known.is_alive] == 0).all()
        alive = known[known.is_alive]
        p, weeks = alive.dropout_share, PURE.future_days / 7
        # Expected orders while dropping out with chance p after each: (1 - exp(-p λ t)) / p.
        expected = (1 - np.exp(-p * alive.rate_per_week * weeks)) / p
        return float(alive.future_orders.sum() / expected.sum())

    assert_unbiased(over_seeds(ratio, 15), 1.0, detectable=0.03)


def gaps_of(world: World) -> pd.Series:
    """Gaps between orders in units of the customer's own mean gap, long ones only."""
    market = simulate_market(world, seed=4, n_customers=2000)
    known = truth(market, "customers").set_index("customer_id")
    orders = orders_of(market)
    gap = orders.groupby("customer_id").day.diff().dt.days
    rate = known.rate_per_week.reindex(orders.customer_id).to_numpy() / 7
    fast = rate > 1 / 20
    return (gap * rate)[fast].dropna()


def test_regular_buying_narrows_the_gaps() -> None:
    regular = replace(PURE, retail=replace(PURE.retail, buying=replace(BUYING, regularity=4)))
    poisson, erlang = gaps_of(PURE), gaps_of(regular)
    # Variance of a unit-mean Erlang gap is 1 / shape; long gaps are cut off by the end.
    assert poisson.var() == pytest.approx(1.0, abs=0.15)
    assert erlang.var() == pytest.approx(0.25, abs=0.05)


def test_gamma_gamma_orders_have_the_planted_value() -> None:
    world = replace(
        PURE, retail=replace(PURE.retail, buying=replace(BUYING, spend_model="gamma_gamma"))
    )
    market = simulate_market(world, seed=6)
    orders, known = orders_of(market), truth(market, "customers").set_index("customer_id")
    ratio = orders.amount / known.order_value_mean.reindex(orders.customer_id).to_numpy()
    assert ratio.mean() == pytest.approx(1, abs=0.01)
    assert ratio.var() == pytest.approx(1 / BUYING.spend_p, rel=0.05)
    # The mean value is p γ / ν with ν gamma of shape q: its mean is the segments' spend.
    spend = np.average(
        [s.spend_amount for s in PURE.segments], weights=[s.share for s in PURE.segments]
    )
    assert known.order_value_mean.mean() == pytest.approx(spend, rel=0.05)


def test_baskets_follow_the_customer_s_value(germany: SimulatedMarket) -> None:
    orders, known = orders_of(germany), truth(germany, "customers").set_index("customer_id")
    means = orders.groupby("customer_id").amount.agg(["mean", "size"])
    often = means[means["size"] >= 20]["mean"]
    wanted = known.order_value_mean.reindex(often.index)
    assert np.corrcoef(np.log(often), np.log(wanted))[0, 1] > 0.85


def test_segments_differ_unless_separation_is_off(germany: SimulatedMarket) -> None:
    rates = truth(germany, "customers").groupby("segment").rate_per_week.mean()
    assert rates.max() > 5 * rates.min()
    one = simulate_market(replace(germany.world, segment_separation=0.0), seed=1)
    rates = truth(one, "customers").groupby("segment").rate_per_week.mean()
    assert rates.max() < 1.25 * rates.min()


@pytest.mark.parametrize("market_id", ["de-fashion", "jp-fashion"])
def test_money_adds_up_to_the_smallest_unit(market_id: str) -> None:
    market = simulate_market(WORLDS[market_id], seed=7, n_customers=500)
    lines = market.tables["transactions"].to_pandas()
    smallest = Decimal(1).scaleb(-market.world.exponent)
    for column in ("amount", "discount_amount", "coupon_amount"):
        assert all(value % smallest == 0 for value in lines[column]), column
    assert (lines.coupon_amount <= lines.discount_amount).all()
    if market_id == "jp-fashion":
        paid = lines[(lines.coupon_amount == 0) & (lines.quantity == 1)].amount
        assert {int(value) % 100 for value in paid} <= {0, 90}


def test_returns_come_weeks_after_and_at_the_department_s_rate(germany: SimulatedMarket) -> None:
    lines = frame(germany, "transactions").merge(frame(germany, "products"), on="product_id")
    back = lines[lines.quantity < 0]
    number = back.order_id.str.replace("-R", "-")
    sold = lines[lines.quantity > 0].set_index(["order_id", "line_id"])
    origin = sold.reindex(pd.MultiIndex.from_arrays([number, back.line_id]))
    assert (origin.amount.to_numpy() == -back.amount.to_numpy()).all()
    assert (origin.customer_id.to_numpy() == back.customer_id.to_numpy()).all()
    days = (
        back.ordered_local.dt.normalize().to_numpy()
        - origin.ordered_local.dt.normalize().to_numpy()
    ) / np.timedelta64(1, "D")
    assert days.min() >= 2
    assert np.mean(days) == pytest.approx(BUYING.return_days + 1.5, abs=0.5)
    known = truth(germany, "returns")
    share = known.lines_returned / known.lines_sold
    bound = 4 * np.sqrt(known.return_share * (1 - known.return_share) / known.lines_sold)
    assert ((share - known.return_share).abs() < bound).all()


def test_the_app_takes_over_at_the_drift_date(germany: SimulatedMarket) -> None:
    lines = frame(germany, "transactions").query("quantity > 0 and channel != 'store'")
    after = lines.ordered_local.dt.date >= germany.scalars["drift_date"]
    share = (lines.channel == "app").groupby(after).mean()
    web_before = 1 - share[False]
    assert share[True] - share[False] == pytest.approx(0.5 * web_before, abs=0.05)


def test_what_is_out_of_stock_is_not_sold(germany: SimulatedMarket) -> None:
    lines = frame(germany, "transactions").query("quantity > 0")
    lines["available_date"] = lines.ordered_local.dt.date
    seen = lines.merge(
        frame(germany, "availability"), on=["product_id", "store_id", "available_date"]
    )
    assert len(seen) > 5000
    assert seen.is_available.all()
    stock = frame(germany, "inventory")
    weeks = stock.merge(
        frame(germany, "availability"),
        left_on=["product_id", "store_id", "stock_date"],
        right_on=["product_id", "store_id", "available_date"],
    )
    assert ((weeks.units_on_hand > 0) == weeks.is_available).all()
    assert (~weeks.is_available).mean() == pytest.approx(0.03, abs=0.01)


@pytest.mark.slow
def test_the_programme_lifts_its_subregion() -> None:
    """Difference in differences of log orders, lead and season shared by all subregions."""
    world = WORLDS["de-fashion"]
    start = pd.Timestamp(world.retail.programme.start)

    def lift(seed: int) -> float:
        market = simulate_market(
            replace(world, retail=replace(world.retail, campaigns=(), concept_date=None)), seed=seed
        )
        known = frame(market, "customers")[["customer_id", "subregion", "first_seen_date"]]
        old = known[pd.to_datetime(known.first_seen_date) < start - pd.Timedelta(days=275)]
        orders = orders_of(market).merge(old, on="customer_id")
        orders = orders[orders.day >= start - pd.Timedelta(days=275)]
        counts = orders.groupby([orders.subregion == "Nord", orders.day >= start]).size()
        change = np.log(counts[True, True] / counts[True, False]) - np.log(
            counts[False, True] / counts[False, False]
        )
        return float(np.exp(change) - 1)

    # People who buy more also drop out sooner, so a lift of intensity gives a little less.
    assert_unbiased(
        over_seeds(lift, 12), world.retail.programme.lift, detectable=0.08, tolerance=0.03
    )
