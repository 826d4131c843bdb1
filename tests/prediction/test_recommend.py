"""Recommendations: in stock always, tiers to the nearest item, better than bestsellers."""

from __future__ import annotations

from datetime import date, timedelta

import ibis
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insight_demo.market import simulate_market
from insight_demo.markets import WORLDS
from insight_lib.findings import TooFew
from insight_lib.prediction.recommend import (
    ANYWHERE,
    Affinity,
    Offer,
    Recommendations,
    available_products,
    customer_products,
    estimate_affinity,
    estimate_hit_rate,
    popular_only,
    recommend,
    usual_stores,
    whole_items,
)

AS_OF = date(2024, 12, 31)
OFFER = Offer(n_items=4, market_weight=2.0, with_bought=False)


def purchases(seed: int, *, n: int = 120, n_products: int = 24) -> pd.DataFrame:
    """Customers of two tastes: even products and odd ones."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        taste = np.where(np.arange(n_products) % 2 == i % 2, 6.0, 1.0)
        chosen = rng.choice(n_products, 5, replace=False, p=taste / taste.sum())
        rows += [(f"c{i:03}", f"p{p:02}", 1.0) for p in chosen]
    return pd.DataFrame(rows, columns=["customer_id", "product_id", "n_orders"])


def stock(seed: int, share: float, n_products: int = 24) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [
        (f"p{p:02}", store)
        for p in range(n_products)
        for store in ("north", "south")
        if rng.random() < share
    ]
    return pd.DataFrame(rows, columns=["product_id", "store_id"])


TIERS = {f"p{p:02}": ("value", "core", "premium")[p % 3] for p in range(24)}


def made(seed: int, share: float = 1.0, offer: Offer = OFFER) -> Recommendations:
    counts = purchases(seed)
    customers = [*counts["customer_id"].unique(), "new"]
    return recommend(
        estimate_affinity(counts, shrinkage=5),
        counts,
        customers=customers,
        available=stock(seed, share),
        stores=dict.fromkeys(customers[::2], "north"),
        tiers=TIERS,
        offer=offer,
        as_of=AS_OF,
    )


@pytest.mark.row("M5.4")
@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.1, 0.4, 0.9]))
def test_nothing_out_of_stock_is_ever_recommended(seed: int, share: float) -> None:
    items, there = made(seed, share).items, stock(seed, share)
    at_store = items[items["store_id"] != ANYWHERE]
    assert len(at_store.merge(there)) == len(at_store)
    assert items["product_id"].isin(there["product_id"]).all()
    assert not items.duplicated(["customer_id", "product_id"]).any()
    bought = purchases(seed)
    assert items.merge(bought, on=["customer_id", "product_id"]).empty


@pytest.mark.row("M5.4")
def test_tier_mix_is_within_one_item_where_all_is_in_stock() -> None:
    result = made(1)
    assert result.tier_tolerance == 0.25
    assert result.beyond_tolerance is not None
    assert result.beyond_tolerance.value == 0
    # By hand for one customer: own tiers plus two purchases' worth of the market's.
    counts = purchases(1)
    tier = counts["product_id"].map(TIERS)
    market = tier.value_counts(normalize=True)
    mine = tier[counts["customer_id"] == "c003"].value_counts()
    target = mine.reindex(market.index, fill_value=0) + 2 * market
    target /= target.sum()
    items = result.items[result.items["customer_id"] == "c003"]["product_id"].map(TIERS)
    got = items.value_counts().reindex(market.index, fill_value=0) / 4
    assert (got - target).abs().max() < 0.25


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=4), st.integers(1, 12))
def test_whole_items_add_up_and_stay_within_one(weights: list[float], n_items: int) -> None:
    target = np.array(weights) / sum(weights)
    counts = whole_items(target, n_items)
    assert counts.sum() == n_items
    assert (np.abs(counts - target * n_items) < 1).all()


def test_a_customer_without_history_gets_bestsellers() -> None:
    result = made(1)
    assert result.without_history.value == 1
    assert set(result.items.loc[result.items["customer_id"] == "new", "reason"]) == {"popular"}


def test_likeness_by_hand() -> None:
    # Fifty customers buy a and b, fifty others c; a and b have 50 buyers in common of 50 each.
    rows = [(f"x{i}", p, 1.0) for i in range(50) for p in "ab"]
    rows += [(f"y{i}", "c", 1.0) for i in range(50)]
    counts = pd.DataFrame(rows, columns=["customer_id", "product_id", "n_orders"])
    affinity = estimate_affinity(counts, shrinkage=50)
    assert affinity.likeness[0, 1] == pytest.approx(1.0 * 50 / 100)
    assert affinity.likeness[0, 2] == 0
    assert list(affinity.popularity) == [0.5, 0.5, 0.5]
    with pytest.raises(TooFew, match="takes 50"):
        estimate_affinity(counts.head(20), shrinkage=5)


def test_the_latest_word_up_to_the_day_counts() -> None:
    rows = [
        ("p1", "s", AS_OF - timedelta(days=2), True),
        ("p1", "s", AS_OF, False),
        ("p2", "s", AS_OF - timedelta(days=2), False),
        ("p2", "s", AS_OF - timedelta(days=1), True),
        ("p2", "s", AS_OF + timedelta(days=1), False),
        ("p3", "s", AS_OF - timedelta(days=40), True),
    ]
    table = ibis.memtable(
        pd.DataFrame(rows, columns=["product_id", "store_id", "available_date", "is_available"])
    )
    found = available_products(table, as_of=AS_OF, largest_age_days=14)
    assert found.to_numpy().tolist() == [["p2", "s"]]


def test_hits_by_hand() -> None:
    customers = [f"c{i}" for i in range(100)]
    offered = pd.DataFrame({"customer_id": customers, "product_id": "a"})
    popular = pd.DataFrame({"customer_id": customers, "product_id": "b"})
    bought = pd.DataFrame({"customer_id": customers[:80], "product_id": ["a"] * 40 + ["b"] * 40})
    found = estimate_hit_rate(offered, popular, bought, as_of=AS_OF)
    assert (found.rate.value, found.popular_rate, found.difference.value) == (0.5, 0.5, 0.0)


@pytest.mark.row("M5.4")
def test_a_simulated_market_end_to_end() -> None:
    tables = simulate_market(WORLDS["de-fashion"], seed=1, n_customers=400).tables
    lines, products = ibis.memtable(tables["transactions"]), tables["products"].to_pandas()
    until = date(2025, 11, 30)
    since = until - timedelta(days=364)
    counts = customer_products(lines, since=since, until=until, most_products=100)
    assert counts["product_id"].nunique() <= 100
    stores = usual_stores(lines, since=since, until=until)
    available = available_products(
        ibis.memtable(tables["availability"]), as_of=until, largest_age_days=14
    )
    affinity = estimate_affinity(counts, shrinkage=10)
    tiers = dict(zip(products["product_id"], products["price_tier"], strict=True))

    def offered(by: Affinity) -> Recommendations:
        return recommend(
            by,
            counts,
            customers=list(stores.index),
            available=available,
            stores=stores,
            tiers=tiers,
            offer=Offer(n_items=5, market_weight=3, with_bought=True),
            as_of=until,
        )

    result = offered(affinity)
    assert len(result.items) == 5 * len(stores)
    after = customer_products(
        lines, since=until + timedelta(days=1), until=until + timedelta(days=31), most_products=100
    )
    found = estimate_hit_rate(
        result.items, offered(popular_only(affinity)).items, after, as_of=until
    )
    assert 0 < found.rate.value < 1
    assert found.difference.lower < found.difference.upper


@pytest.mark.row("M5.4")
def test_taste_beats_bestsellers_where_there_is_taste() -> None:
    before, after = purchases(1, n=600), purchases(2, n=600)
    affinity = estimate_affinity(before, shrinkage=5)

    def offered(by: Affinity) -> pd.DataFrame:
        return recommend(
            by,
            before,
            customers=sorted(before["customer_id"].unique()),
            available=stock(1, 1.0),
            stores={},
            tiers=None,
            offer=OFFER,
            as_of=AS_OF,
        ).items

    found = estimate_hit_rate(
        offered(affinity), offered(popular_only(affinity)), after, as_of=AS_OF
    )
    assert found.difference.lower > 0.05
