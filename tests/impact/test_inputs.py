"""From tables to frames, on tables small enough to read."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import ibis
import numpy as np
import pandas as pd
import pytest

from insight_lib.findings import TooFew
from insight_lib.impact.inputs import (
    guard_sums,
    planning_frame,
    refused_between,
    weekly_arrivals,
)

DAY = date(2025, 6, 30)


def test_what_is_sold_returned_and_taken_off_by_hand() -> None:
    lines = pd.DataFrame(
        {
            "order_id": ["1", "2", "2", "3", "4", "5"],
            "customer_id": ["a", "a", "a", "b", None, "b"],
            "ordered_local": [datetime(2025, 6, d, 12) for d in (1, 2, 3, 3, 3, 9)],
            "quantity": [1, 2, -1, 1, 1, 1],
            "amount": [90.0, 40.0, -40.0, 50.0, 7.0, 500.0],
            "discount_amount": [10.0, 0.0, 0.0, None, 1.0, 0.0],
            "coupon_amount": [None, 5.0, 0.0, None, None, 0.0],
        }
    )
    sums = guard_sums(ibis.memtable(lines), first=date(2025, 6, 1), last=date(2025, 6, 3))
    assert sums.set_index("customer_id").loc["a"].to_dict() == {
        "sold_amount": 130.0,
        "returned_amount": 40.0,
        "discount_amount": 15.0,
        "list_amount": 145.0,
    }
    # What was taken off is not known for b: it has no list price.
    assert sums.set_index("customer_id").loc["b"].tolist() == [50.0, 0.0, 0.0, 0.0]


def test_refusals_count_for_contact_and_within_the_days_alone() -> None:
    consents = pd.DataFrame(
        {
            "customer_id": ["a", "b", "c", "d"],
            "purpose": ["activation", "analytics", "activation", "activation"],
            "decision": ["refused", "refused", "granted", "refused"],
            "decided_at": [datetime(2025, 6, d) for d in (2, 2, 2, 9)],
        }
    )
    table = ibis.memtable(consents)
    assert refused_between(table, first=date(2025, 6, 1), last=date(2025, 6, 3)) == {"a"}


def orders_of(days_ago: dict[str, list[int]]) -> pd.DataFrame:
    rows = [(who, DAY - timedelta(days=ago)) for who, agos in days_ago.items() for ago in agos]
    frame = pd.DataFrame(rows, columns=["customer_id", "day"])
    return frame.assign(day=pd.to_datetime(frame["day"]), orders=1, revenue=10.0)


def test_the_planning_frame_holds_the_last_window_of_the_years_customers() -> None:
    orders = orders_of({"a": [0, 5, 30], "b": [20], "new": [3], "gone": [500]})
    frame = planning_frame(orders, as_of=DAY, window_days=14, pre_period_days=84)
    assert frame["customer_id"].tolist() == ["a", "b"]
    assert frame["has_ordered"].tolist() == [1.0, 0.0]
    assert frame["revenue"].tolist() == [20.0, 0.0]
    assert frame["revenue_before"].tolist() == [10.0, 10.0]
    with pytest.raises(TooFew, match="less than 98 days ago"):
        planning_frame(orders[orders["customer_id"] == "b"], as_of=DAY, window_days=14,
                       pre_period_days=84)  # fmt: skip


def test_arrivals_are_first_orders() -> None:
    orders = orders_of({"old": [400, 3], **{f"n{i}": [i, max(i - 3, 0)] for i in range(1, 53)}})
    assert weekly_arrivals(orders, as_of=DAY) == pytest.approx(52 / 26)
    young = orders[orders["customer_id"] != "old"]
    with pytest.raises(TooFew, match="less than 52 weeks ago"):
        weekly_arrivals(young, as_of=DAY)
    assert np.isclose(weekly_arrivals(orders, as_of=DAY, n_weeks=4), 27 / 4)
