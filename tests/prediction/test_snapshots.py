"""Snapshots know what was known on their day and nothing after it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insight_demo import WORLDS, simulate_market
from insight_lib.findings import TooFew
from insight_lib.prediction.history import Windows
from insight_lib.prediction.snapshots import (
    Snapshot,
    choose_cuts,
    choose_targets,
    take_snapshots,
)

WINDOWS = Windows(horizon_days=10, history_days=30, active_days=20)
CUT, AS_OF = date(2025, 1, 31), date(2025, 2, 10)


def line(customer: str, order: str, day: str, amount: float, product: str = "p1") -> dict:
    return {
        "customer_id": customer,
        "order_id": order,
        "ordered_local": pd.Timestamp(f"{day} 12:00"),
        "product_id": product,
        "quantity": 1.0 if amount > 0 else -1.0,
        "amount": amount,
        "discount_amount": 0.0,
    }


LINES = [
    line("a", "1", "2024-12-20", 5.0),  # before the history, but the first order
    line("a", "2", "2025-01-10", 30.0),
    line("a", "3", "2025-01-30", 10.0),
    line("a", "3", "2025-02-02", -10.0),  # sent back after the cut
    line("b", "4", "2025-01-31", 20.0, "p2"),
    line("b", "5", "2025-02-01", 7.0),
    line("c", "6", "2025-01-05", 8.0),
    line("d", "7", "2025-02-05", 9.0),  # not yet a customer
]
PRODUCTS = pd.DataFrame({"product_id": ["p1", "p2"], "department": ["bread", "wine"]})


def tables(lines: list[dict] = LINES) -> dict[str, ir.Table]:
    return {
        "transactions": ibis.memtable(pd.DataFrame(lines)),
        "products": ibis.memtable(PRODUCTS),
    }


def snapshot(lines: list[dict] = LINES, as_of: date = AS_OF) -> Snapshot:
    targets = choose_targets(
        tables(lines), windows=WINDOWS, currency="EUR", as_of=as_of, category="wine"
    )
    return take_snapshots(tables(lines), [CUT], as_of=as_of, windows=WINDOWS, targets=targets)[0]


def test_features_by_hand() -> None:
    features = snapshot().features
    assert list(features.index) == ["a", "b", "c"]
    a = features.loc["a"]
    assert a["n_orders"] == 2
    assert a["revenue_amount"] == 40  # the return came after the cut
    assert a["days_since_last_order"] == 1
    assert a["mean_gap_days"] == 20
    assert a["gap_ratio"] == pytest.approx(1 / 20)
    assert a["tenure_days"] == 21  # since the first order looked back to, however long the file
    assert a["n_orders_recent"] == 1
    assert a["n_orders_before"] == 0
    assert features.loc["b", "top_category"] == "wine"
    assert features.loc["c", "days_since_last_order"] == 26
    assert pd.isna(features.loc["c", "mean_gap_days"])


def test_labels_by_hand() -> None:
    labels = snapshot().labels
    assert labels["lapse"].to_dict() == pytest.approx(
        {"a": 1.0, "b": 0.0, "c": float("nan")}, nan_ok=True
    )  # c was not active any more
    assert labels["value"].to_dict() == {"a": -10.0, "b": 7.0, "c": 0.0}
    assert labels["repeat"].to_dict() == pytest.approx(
        {"a": float("nan"), "b": 1.0, "c": float("nan")}, nan_ok=True
    )
    assert labels["category"].to_dict() == pytest.approx(
        {"a": 0.0, "b": float("nan"), "c": float("nan")}, nan_ok=True
    )  # b buys wine already


def test_no_labels_before_the_horizon_is_over() -> None:
    assert not snapshot(as_of=AS_OF - timedelta(days=1)).has_labels


DAYS = st.sampled_from([0, 30, 45, 50, 51, 52, 58]).map(
    lambda n: (date(2024, 12, 12) + timedelta(days=n)).isoformat()
)
ANY_LINES = st.lists(
    st.builds(
        line,
        st.sampled_from("abcd"),
        st.sampled_from("123456"),
        DAYS,
        st.sampled_from([-5.0, 4.0, 12.5]),
        st.sampled_from(["p1", "p2", "p3"]),
    ),
    min_size=1,
    max_size=25,
)


@pytest.mark.row("C4.3")
@settings(max_examples=40, deadline=None)
@given(lines=ANY_LINES)
def test_the_future_changes_no_feature(lines: list[dict]) -> None:
    lines = [{**row, "order_id": row["customer_id"] + row["order_id"]} for row in lines]
    past = [row for row in lines if row["ordered_local"].date() <= CUT]
    if not past:
        return
    known = take_snapshots(tables(lines), [CUT], as_of=AS_OF, windows=WINDOWS, targets=[])[0]
    then = take_snapshots(tables(past), [CUT], as_of=CUT, windows=WINDOWS, targets=[])[0]
    pd.testing.assert_frame_equal(known.features, then.features)


def test_cuts_are_a_horizon_apart_and_end_today() -> None:
    cuts = choose_cuts(date(2025, 1, 1), date(2025, 3, 2), WINDOWS, most=7)
    assert cuts == [date(2025, 1, 31), date(2025, 2, 10), date(2025, 2, 20), date(2025, 3, 2)]
    assert len(choose_cuts(date(2020, 1, 1), date(2025, 3, 2), WINDOWS, most=2)) == 3
    with pytest.raises(TooFew, match="it takes 50"):
        choose_cuts(date(2025, 2, 1), date(2025, 3, 2), WINDOWS, most=7)


def test_the_open_category_is_the_best_seller_that_most_do_not_buy() -> None:
    targets = choose_targets(tables(), windows=WINDOWS, currency="EUR", as_of=AS_OF)
    assert {t.id: t.category for t in targets}["category"] == "wine"
    allowed = choose_targets(
        tables(), windows=WINDOWS, currency="EUR", as_of=AS_OF, purposes=["retention"]
    )
    assert [t.id for t in allowed] == ["lapse"]


def business() -> Mapping[str, ir.Table]:
    contracts = pd.DataFrame(
        {
            "contract_id": ["k1", "k2", "k3", "k4"],
            "customer_id": ["a", "b", "b", "c"],
            "start_date": pd.to_datetime(["2023-01-01", "2024-06-01", "2025-02-05", "2025-02-01"]),
            "term_end_date": pd.to_datetime(
                ["2023-12-31", "2025-02-04", "2026-02-04", "2026-01-31"]
            ),
            "end_date": pd.to_datetime(["2025-02-08", "2025-02-04", None, None]),
            "monthly_amount": [100.0, 50.0, 60.0, 70.0],
            "seats": [10, 5, 6, 7],
            "plan": ["pro", "team", "team", "pro"],
        }
    )
    for column in ("start_date", "term_end_date", "end_date"):
        contracts[column] = contracts[column].dt.date
    payments = pd.DataFrame(
        {
            "customer_id": ["a", "a", "b"],
            "due_date": [date(2025, 1, 1), date(2025, 1, 31), date(2025, 1, 5)],
            "paid_date": [date(2025, 1, 9), date(2025, 2, 3), date(2025, 1, 5)],
        }
    )
    return {
        "contracts": ibis.memtable(
            contracts,
            schema={
                "contract_id": "string",
                "customer_id": "string",
                "start_date": "date",
                "term_end_date": "date",
                "end_date": "date",
                "monthly_amount": "float64",
                "seats": "int64",
                "plan": "string",
            },
        ),
        "payments": ibis.memtable(
            payments,
            schema={
                "customer_id": "string",
                "due_date": "date",
                "paid_date": "date",
            },
        ),
    }


def test_contracts_by_hand() -> None:
    targets = choose_targets(business(), windows=WINDOWS, currency="EUR", as_of=AS_OF)
    assert [t.id for t in targets] == ["churn"]
    found = take_snapshots(business(), [CUT], as_of=AS_OF, windows=WINDOWS, targets=targets)[0]
    assert list(found.features.index) == ["a", "b"]
    assert found.labels["churn"].to_dict() == {"a": 1.0, "b": 0.0}  # b renewed
    a = found.features.loc["a"]
    assert a["n_unpaid"] == 1  # paid later, which nobody knew then
    assert a["n_paid_late"] == 1
    assert a["days_to_renewal"] == (date(2025, 12, 30) - CUT).days  # renewed year by year
    assert found.features.loc["b", "days_to_renewal"] == 4


def test_a_sector_reads_only_what_it_allows() -> None:
    found = take_snapshots(
        business(), [CUT], as_of=AS_OF, windows=WINDOWS, targets=[], columns=["seats", "plan"]
    )[0]
    assert sorted(found.features.columns) == ["plan", "seats"]


def test_a_simulated_market_opened_as_of_the_cut_gives_the_same_features() -> None:
    market = simulate_market(WORLDS["de-fashion"], seed=3, n_customers=300)
    lines = ibis.memtable(market.tables["transactions"])
    products = ibis.memtable(market.tables["products"])
    windows = Windows(horizon_days=91, history_days=364, active_days=182)
    cut, as_of = date(2025, 6, 30), date(2025, 12, 30)
    all_ = {"transactions": lines, "products": products}
    cut_off = lines.filter(lines.ordered_local.date() <= ibis.date(cut.isoformat()))
    then = {"transactions": cut_off, "products": products}
    args = {"as_of": as_of, "windows": windows, "targets": []}
    known = take_snapshots(all_, [cut], **args)[0].features
    pd.testing.assert_frame_equal(known, take_snapshots(then, [cut], **args)[0].features)
    assert len(known) > 50


def test_models_learn_from_a_sample_and_everyone_is_scored() -> None:
    market = simulate_market(WORLDS["de-fashion"], seed=3, n_customers=400)
    tables_ = {"transactions": ibis.memtable(market.tables["transactions"])}
    windows = Windows(horizon_days=91, history_days=364, active_days=182)
    cuts = [date(2025, 6, 30), date(2025, 9, 29), date(2025, 12, 29)]
    targets = choose_targets(tables_, windows=windows, currency="EUR", as_of=cuts[-1])
    args = {"as_of": cuts[-1], "windows": windows, "targets": targets}
    full = take_snapshots(tables_, cuts, **args)
    some = take_snapshots(tables_, cuts, **args, most_customers=100)
    for all_, few in zip(full[:2], some[:2], strict=True):
        assert 0.1 < len(few.features) / len(all_.features) < 0.5
        pd.testing.assert_frame_equal(few.features, all_.features.loc[few.features.index])
        pd.testing.assert_frame_equal(few.labels, all_.labels.loc[few.labels.index])
    pd.testing.assert_frame_equal(some[2].features, full[2].features)
    assert not some[2].has_labels


def test_an_event_counts_once_it_has_reached_us_on_the_markets_clock() -> None:
    """Tokyo: what came in at eight in the morning local is still the day before in London."""
    cut = pd.Timestamp(CUT)
    happened = [cut - pd.Timedelta(days=3)] * 3 + [cut - pd.Timedelta(days=60)]
    late = [pd.Timedelta(0), pd.Timedelta(days=3, hours=12), pd.Timedelta(days=4, hours=8)]
    events = pd.DataFrame(
        {
            "customer_id": ["a"] * 4,
            "occurred_local": happened,
            "occurred_at": [d - pd.Timedelta(hours=9) for d in happened],
            "touchpoint": ["app", "web", "store", "app"],
        }
    )
    lateness = [*late, pd.Timedelta(0)]
    events["received_at"] = [o + x for o, x in zip(events["occurred_at"], lateness, strict=True)]
    given = {**tables(), "interactions": ibis.memtable(events)}
    features = take_snapshots(given, [CUT], as_of=CUT, windows=WINDOWS, targets=[])[0].features
    assert features.loc["a", "n_events_recent"] == 2
    assert features.loc["a", "n_web_recent"] == 1
    assert "n_store_recent" not in features  # nobody had heard of it by the cut
    assert features.loc["b", "n_events_recent"] == 0


@pytest.mark.case("121")
def test_the_start_of_a_file_makes_nobody_older() -> None:
    """A shop older than its data, at a constant rate: customers of all cuts are as old."""
    rng = np.random.default_rng(1)
    days = pd.date_range("2023-01-01", "2025-12-31")
    rows = [
        {"customer_id": f"c{c:03}", "order_id": f"o{c}-{d:%j%y}", "day": d}
        for c in range(300)
        for d in days[rng.random(len(days)) < 1 / 60]
    ]
    frame = pd.DataFrame(rows).assign(product_id="p", quantity=1.0, amount=10.0)
    frame["ordered_local"] = frame.pop("day")
    given = {"transactions": ibis.memtable(frame)}
    windows = Windows(horizon_days=91, history_days=364, active_days=182)
    cuts = [date(2024, 1, 1), date(2025, 9, 30)]
    early, late = (
        s.features["tenure_days"]
        for s in take_snapshots(given, cuts, as_of=date(2025, 12, 31), windows=windows, targets=())
    )
    assert abs(early.mean() - late.mean()) < 10
    seen = pd.DataFrame({"customer_id": ["c000"], "first_seen_date": [date(2020, 1, 1)]})
    told = take_snapshots(
        given | {"customers": ibis.memtable(seen)}, cuts, as_of=date(2025, 12, 31),
        windows=windows, targets=(),
    )[0].features["tenure_days"]  # fmt: skip
    assert told["c000"] == 364  # recorded, and longer than the history
    assert told["c001"] == early["c001"]
