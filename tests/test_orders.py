"""What an order, a purchase, a return and a covered day are."""

from __future__ import annotations

from datetime import date, timedelta

import ibis
import numpy as np
import pandas as pd
import pytest

from insight_lib.findings import TooFew
from insight_lib.orders import (
    Coverage,
    coverage,
    dated,
    orders,
    purchases,
    settling_days,
    sold,
    window,
)

COLUMNS = ["order_id", "line_id", "customer_id", "at", "product_id", "quantity", "amount"]


def table(rows: list[tuple]) -> ibis.Table:
    raw = ibis.duckdb.connect().create_table("raw", pd.DataFrame(rows, columns=COLUMNS))
    return raw.select(
        "order_id",
        "line_id",
        "product_id",
        "quantity",
        customer_id=raw.customer_id.cast("string"),
        ordered_local=raw["at"].cast("timestamp"),
        amount=raw.amount.cast("decimal(18, 4)"),
    )


def read(rows: list[tuple], **options) -> pd.DataFrame:
    frame = orders(table(rows), **options).to_pandas().set_index("order_id").sort_index()
    return frame.astype({"amount": float, "returned_amount": float})


GIFT = [
    ("o1", "1", "ann", "2024-03-02 10:00", "milk", 1, 10.0),
    ("g1", "1", "ann", "2024-03-09 10:00", "sample", 1, 0.0),
    ("g2", "1", "bob", "2024-03-09 10:00", "sample", 1, 0.0),
    ("b1", "1", "bob", "2024-03-10 10:00", "sample", -1, 0.0),
]


@pytest.mark.case("11", "12")
def test_an_order_of_nothing_is_an_order_only_where_the_market_says_so() -> None:
    assert list(purchases(orders(table(GIFT))).order_id.to_pandas()) == ["o1"]
    declared = read(GIFT, free_orders_count=True)
    # A gift that is sent back is none in any market.
    assert list(declared.index[declared["is_purchase"]]) == ["g1", "g2", "o1"]
    assert list(table(GIFT).mutate(s=sold(table(GIFT))).s.to_pandas()) == [True] + [False] * 3


SALES = [
    ("o1", "1", "ann", "2024-03-02 10:00", "wine", 1, 30.0),
    ("o1", "2", "ann", "2024-03-02 10:00", "milk", 1, 5.0),
    ("o2", "1", "ann", "2024-03-20 10:00", "wine", 1, 20.0),
    ("o2", "2", "ann", "2024-03-20 10:00", "bread", 1, 4.0),
    ("o3", "1", "bob", "2024-03-20 10:00", "wine", 1, 99.0),
]


@pytest.mark.case("13")
@pytest.mark.parametrize(
    ("credit", "belongs_to"),
    [
        (("wine", -20.0), "o2"),  # the latest sale of the product
        (("wine", -30.0), "o1"),  # the latest one that cost as much
        (("milk", -5.0), "o1"),  # the product, though another order is later
        (("credit", -18.0), "o2"),  # a note without a product: the latest order that fits
        (("credit", -500.0), "c1"),  # more than any sale: nobody's
    ],
)
def test_money_taken_back_belongs_to_its_sale_whatever_number_it_carries(
    credit: tuple[str, float], belongs_to: str
) -> None:
    product, amount = credit
    own_number = read([*SALES, ("c1", "1", "ann", "2024-04-08 09:00", product, -1, amount)])
    assert float(own_number.loc[belongs_to, "returned_amount"]) == -amount
    assert own_number["returned_amount"].sum() == -amount
    assert not own_number.loc[own_number.index == "c1", "is_purchase"].any()
    if belongs_to != "c1":
        same_number = read(
            [*SALES, (belongs_to, "9", "ann", "2024-04-08 09:00", product, -1, amount)]
        )
        pd.testing.assert_frame_equal(own_number, same_number)


def test_a_credit_note_before_any_sale_or_of_somebody_unknown_stays_where_it_is() -> None:
    rows = [
        *SALES,
        ("c1", "1", "ann", "2024-03-01 09:00", "wine", -1, -20.0),
        ("c2", "1", None, "2024-04-01 09:00", "wine", -1, -20.0),
    ]
    assert not read(rows).loc["c1", "is_purchase"]
    kept = dated(table(rows)).to_pandas().set_index("order_id")
    assert len(kept) == len(rows)
    assert str(kept.loc["c2", "order_date"])[:10] == "2024-04-01"


def sent_back(*, lag_days: int, share: float, own_number: bool, seed: int = 1) -> ibis.Table:
    rng = np.random.default_rng(seed)
    first, rows = date(2024, 1, 1), []
    for number in range(2_000):
        day = int(rng.integers(0, 360))
        at, product = first + timedelta(days=day), f"p{number % 50}"
        customer = f"c{number % 300}"
        rows.append((f"o{number}", "1", customer, f"{at} 10:00", product, 1, 20.0))
        if rng.random() < share and day + lag_days < 360:
            back = at + timedelta(days=lag_days)
            name = f"r{number}" if own_number else f"o{number}"
            rows.append((name, "2", customer, f"{back} 11:00", product, -1, -20.0))
    return table(rows)


@pytest.mark.case("26")
@pytest.mark.parametrize("own_number", [False, True])
def test_the_time_until_returns_have_come_is_read_off_the_data(own_number: bool) -> None:
    assert settling_days(sent_back(lag_days=28, share=0.4, own_number=own_number)) == 28
    assert settling_days(sent_back(lag_days=28, share=0.0, own_number=own_number)) == 0


def sales_on(days: list[date], per_day: int = 5) -> ibis.Table:
    return table(
        [
            (f"o{day}-{i}", "1", f"c{i}", f"{day} 10:00", "milk", 1, 10.0)
            for day in days
            for i in range(per_day)
        ]
    )


def every_day(first: date, last: date) -> list[date]:
    return [first + timedelta(days=i) for i in range((last - first).days + 1)]


@pytest.mark.case("1")
def test_a_window_that_the_data_hold_in_part_says_how_many_days_it_has() -> None:
    first, as_of = date(2025, 3, 1), date(2025, 6, 29)
    held = coverage(sales_on(every_day(first, as_of)), as_of=as_of)
    assert held.covered(window(as_of, 90)) == 90
    assert held.covered(window(as_of, 90, ago=90)) == 31
    with pytest.raises(TooFew, match="31 of 90 days are covered"):
        held.require(window(as_of, 90), window(as_of, 90, ago=90))


@pytest.mark.case("1", "14")
def test_a_silence_that_is_not_the_shops_rhythm_is_not_covered() -> None:
    first, as_of = date(2024, 1, 1), date(2025, 6, 29)
    days = every_day(first, as_of)
    feed_gap = (date(2025, 6, 10), date(2025, 6, 15))
    held = coverage(sales_on([d for d in days if not feed_gap[0] <= d <= feed_gap[1]]), as_of=as_of)
    assert held.gaps == (feed_gap,)
    assert held.covered(window(as_of, 90)) == 84
    # Silent at the end: two lines dated ten months ahead moved the data date.
    ahead = coverage(sales_on([*days[:-300], days[-1]]), as_of=as_of)
    assert ahead.covered(window(as_of, 90)) == 1
    # Declared to begin earlier than it does.
    early = coverage(sales_on(days), as_of=as_of, period=(date(2023, 1, 1), date(2025, 6, 29)))
    assert early.covered((date(2023, 1, 1), as_of)) == len(days)


def test_closed_sundays_and_a_feast_are_the_rhythm_and_so_is_a_small_shop() -> None:
    first, as_of = date(2024, 1, 1), date(2025, 6, 29)
    days = every_day(first, as_of)
    feast = {date(2024, 12, d) for d in (24, 25, 26)}
    held = coverage(
        sales_on([d for d in days if d.weekday() < 6 and d not in feast], 200), as_of=as_of
    )
    assert held.gaps == ()
    assert held.is_full((first, date(2025, 6, 28)))
    false_gaps = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        per_day = rng.poisson(0.4, len(days))
        some = [d for d, n in zip(days, per_day, strict=True) if n]
        false_gaps += len(coverage(sales_on(some, 1), as_of=as_of).gaps) > 0
    assert false_gaps <= 5


def test_no_row_no_day() -> None:
    empty = coverage(sales_on([date(2025, 1, 2)]), as_of=date(2025, 1, 1))
    assert empty == Coverage(first_day=None, last_day=None)
    assert empty.covered(window(date(2025, 1, 1), 90)) == 0
