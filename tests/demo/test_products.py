from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from insight_demo import WORLDS, SimulatedMarket, simulate_market
from insight_demo.products import price_points
from tests.demo.conftest import frame, truth
from tests.truth.helpers import assert_detection_rate, assert_unbiased, over_seeds

WORLD = WORLDS["de-fashion"]


def test_price_points_are_those_of_a_shop() -> None:
    assert price_points(np.array([4.6, 12.3, 57.0, 212.0]), "point_90").tolist() == [
        490,
        1190,
        5490,
        20990,
    ]
    assert price_points(np.array([4333.0, 15800.0]), "point_yen").tolist() == [4290, 15900]
    assert price_points(np.array([3420.0]), "point_50").tolist() == [340000]


def test_prices_cover_every_product_week_and_seller(germany: SimulatedMarket) -> None:
    prices = frame(germany, "prices")
    weeks = pd.to_datetime(prices.week_start_date)
    assert (weeks.dt.day_of_week == 0).all()
    assert len(prices) == 2 * 120 * weeks.nunique()
    ends = (prices.price_amount * 100).round().astype(int) % 100
    assert set(ends) == {90}
    promoted = (prices.display != "none") | (prices.mailer != "none")
    assert not promoted[prices.seller != "us"].any()


def test_paid_is_the_shelf_price_less_the_coupon(germany: SimulatedMarket) -> None:
    lines = frame(germany, "transactions").query("quantity > 0")
    day = lines.ordered_local.dt.normalize()
    lines["week"] = day - pd.to_timedelta(day.dt.day_of_week, unit="D")
    ours = frame(germany, "prices").query("seller == 'us'")
    ours["week"] = pd.to_datetime(ours.week_start_date).astype(lines.week.dtype)
    both = lines.merge(ours[["product_id", "week", "price_amount"]], on=["product_id", "week"])
    assert len(both) == len(lines)
    assert np.allclose(both.amount + both.coupon_amount, both.price_amount * both.quantity)


def weekly(market: SimulatedMarket) -> pd.DataFrame:
    """Pieces per product and week with log prices, ours, the rival's and the substitute's."""
    lines = frame(market, "transactions").query("quantity > 0")
    day = lines.ordered_local.dt.normalize()
    lines["week"] = day - pd.to_timedelta(day.dt.day_of_week, unit="D")
    pieces = lines.groupby(["product_id", "week"]).size()
    prices = frame(market, "prices")
    prices["week"] = pd.to_datetime(prices.week_start_date).astype(lines.week.dtype)
    log = np.log(prices.set_index(["seller", "product_id", "week"]).price_amount)
    rows = prices[prices.seller == "us"].merge(truth(market, "products"), on="product_id")
    rows["pieces"] = (
        pieces.reindex(pd.MultiIndex.from_frame(rows[["product_id", "week"]])).fillna(0).to_numpy()
    )
    rows["own"] = (
        log.loc["us"].reindex(pd.MultiIndex.from_frame(rows[["product_id", "week"]])).to_numpy()
    )
    rows["rival"] = (
        log.loc[market.world.retail.competitor]
        .reindex(pd.MultiIndex.from_frame(rows[["product_id", "week"]]))
        .to_numpy()
    )
    other = log.loc["us"].reindex(pd.MultiIndex.from_frame(rows[["substitute_id", "week"]]))
    rows["other"] = other.fillna(0.0).to_numpy()
    return rows


def poisson(rows: pd.DataFrame, columns: dict[str, np.ndarray]) -> pd.Series:
    """Poisson regression with product and department-week effects taken out in turn."""
    x = np.column_stack(list(columns.values())).astype(float)
    y = rows.pieces.to_numpy()
    product = pd.factorize(rows.product_id)[0]
    week = pd.factorize(rows.department + rows.week.astype(str))[0]
    beta = np.zeros(x.shape[1])
    a, b = np.zeros(product.max() + 1), np.zeros(week.max() + 1)
    for _ in range(60):
        eta = x @ beta + a[product] + b[week]
        a += np.log(np.bincount(product, y) / np.bincount(product, np.exp(eta)))
        eta = x @ beta + a[product] + b[week]
        with np.errstate(divide="ignore"):
            b += np.maximum(np.log(np.bincount(week, y) / np.bincount(week, np.exp(eta))), -20)
        mu = np.exp(x @ beta + a[product] + b[week])
        centred = x.copy()
        for _ in range(8):
            for group in (product, week):
                total = np.bincount(group, mu)
                for j in range(x.shape[1]):
                    centred[:, j] -= (np.bincount(group, mu * centred[:, j]) / total)[group]
        step = np.linalg.solve((centred * mu[:, None]).T @ centred, centred.T @ (y - mu))
        beta = beta + step
        if np.abs(step).max() < 1e-6:
            break
    return pd.Series(beta, index=list(columns))


def estimated(market: SimulatedMarket) -> pd.Series:
    rows = weekly(market).merge(frame(market, "products"), on="product_id")
    columns = {t: rows.own * (rows.price_tier == t) for t in ("value", "core", "premium")}
    columns |= {"rival": rows.rival, "other": rows.other}
    columns |= {"display": rows.display != "none", "mailer": rows.mailer != "none"}
    return poisson(rows, columns)


@pytest.mark.slow
def test_elasticities_are_recovered_with_product_and_week_effects() -> None:
    found = pd.DataFrame(over_seeds(lambda seed: estimated(simulate_market(WORLD, seed=seed)), 6))
    pricing = WORLD.retail.pricing
    planted = dict(zip(("value", "core", "premium"), pricing.own, strict=True)) | {
        "rival": pricing.competitor,
        "other": pricing.cross,
        "display": pricing.display,
        "mailer": pricing.mailer,
    }
    for name, value in planted.items():
        assert_unbiased(found[name], value, detectable=0.35, tolerance=0.08)


def test_pooling_products_is_biased(germany: SimulatedMarket) -> None:
    rows = weekly(germany)
    slope = np.polyfit(rows.own, np.log1p(rows.pieces), 1)[0]
    assert slope > min(WORLD.retail.pricing.own) + 1


@pytest.mark.slow
def test_the_competitor_leads_by_the_planted_weeks() -> None:
    """The lag of the strongest correlation between its share and our deseasonalised orders."""
    world = replace(
        WORLD, retail=replace(WORLD.retail, campaigns=(), concept_date=None, programme=None)
    )

    def is_found(seed: int) -> bool:
        market = simulate_market(world, seed=seed)
        known = truth(market, "rhythm")
        lines = frame(market, "transactions").query("quantity > 0")
        start = pd.Timestamp(world.start)
        per_week = np.bincount((lines.ordered_local - start).dt.days // 7, minlength=157)[:156]
        expected = known.factor.groupby(np.arange(len(known)) // 7).sum()[:156]
        level = np.log(per_week / expected)
        level = level - level.rolling(53, center=True, min_periods=20).mean()
        share = (
            frame(market, "prices")
            .query("seller != 'us'")
            .groupby("week_start_date")
            .market_share.first()
        )
        signal = share.to_numpy()[:156]
        corr = [np.corrcoef(signal[: 156 - lag], level[lag:])[0, 1] for lag in range(20)]
        return abs(int(np.argmin(corr)) - world.retail.lead_weeks) <= 1

    assert_detection_rate(over_seeds(is_found, 12), 0.9)
