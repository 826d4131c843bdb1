"""Reconciliation to the smallest unit, DST, zero-decimal currencies, purchasing power."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import ibis
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

from insight_lib import features
from insight_lib.features.money import ReportingMoney, convert_revenue, daily_rates
from insight_lib.features.reporting import money_reconciliation
from insight_lib.findings import Finding, TooFew, Verdict
from insight_lib.lake.ingest import ingest_market
from tests.cards import told
from tests.conftest import TRANSACTIONS_YAML, ProjectFolder

RATES = pd.DataFrame(
    [
        ("2024-01-01", "EUR", "JPY", 160.0, 100.0),
        ("2024-01-02", "EUR", "JPY", 150.0, 100.0),
        ("2024-01-05", "EUR", "JPY", 125.0, 100.0),
    ],
    columns=["rate_date", "base_currency", "quote_currency", "rate", "purchasing_power_rate"],
)


def by_order(rows: list[tuple[str, str, str]]) -> ibis.Table:
    customers, days, amounts = zip(*rows, strict=True)
    return ibis.memtable(
        pa.table(
            {
                "customer_id": list(customers),
                "order_date": pa.array([date.fromisoformat(d) for d in days], pa.date32()),
                "amount": pa.array([Decimal(a) for a in amounts], pa.decimal128(18, 4)),
            }
        )
    )


def rates(local: str, reporting: str, **options: str) -> pd.DataFrame:
    return daily_rates(
        RATES,
        local_currency=local,
        reporting_currency=reporting,
        first_day=date(2024, 1, 1),
        last_day=date(2024, 1, 6),
        **options,  # type: ignore[arg-type]
    )


@pytest.mark.row("M3.3")
def test_the_rate_is_that_of_the_order_date_and_never_of_its_future() -> None:
    frame = rates("JPY", "EUR").set_index("rate_date")
    assert frame["rate"][date(2024, 1, 1)] == Decimal("0.00625000")
    assert frame["rate"][date(2024, 1, 3)] == frame["rate"][date(2024, 1, 2)]
    assert frame["rate"][date(2024, 1, 5)] == Decimal("0.00800000")
    assert list(frame["is_stale"]) == [False, False, True, True, False, True]
    with pytest.raises(TooFew, match="no rate for 2023-12-31"):
        daily_rates(
            RATES,
            local_currency="JPY",
            reporting_currency="EUR",
            first_day=date(2023, 12, 31),
            last_day=date(2024, 1, 2),
        )
    with pytest.raises(TooFew, match="between JPY and BRL"):
        rates("JPY", "BRL")


@pytest.mark.row("M3.3")
def test_conversion_by_hand_and_to_the_cent() -> None:
    # 1,000 yen at 160 is 6.25; at 125 it is 8.00; 100 yen at 150 is two thirds of a euro.
    orders = by_order(
        [("a", "2024-01-01", "1000"), ("a", "2024-01-06", "1000"), ("b", "2024-01-03", "100")]
    )
    money = convert_revenue(
        orders, rates("JPY", "EUR"), local_currency="JPY", reporting_currency="EUR"
    )
    assert list(money.by_customer["revenue_reporting_amount"]) == [
        Decimal("14.25"),
        Decimal("0.67"),
    ]
    assert money.total == Decimal("14.92")
    assert money.local_total == 2100
    assert money.n_stale_days == 2


def added_up(money: ReportingMoney) -> Finding:
    return told(features, "money_reconciliation", money_reconciliation(money))


@pytest.mark.row("M3.3")
@pytest.mark.parametrize("fault", ["missing", "doubled"])
def test_a_rate_table_that_misses_or_doubles_a_day_fails_the_check(fault: str) -> None:
    orders = by_order([("a", "2024-01-01", "1000"), ("b", "2024-01-03", "100")])
    good = rates("JPY", "EUR")
    third = good["rate_date"] == date(2024, 1, 3)
    bad = good[~third] if fault == "missing" else pd.concat([good, good[third]])
    currencies = {"local_currency": "JPY", "reporting_currency": "EUR"}
    check = added_up(convert_revenue(orders, good, **currencies))
    assert check.verdict is Verdict.PASS
    money = convert_revenue(orders, bad, **currencies)
    assert money.local_total == 1100
    check = added_up(money)
    assert check.verdict is Verdict.FAIL
    assert "do not add up" in str(check.statement)


@pytest.mark.row("M3.3")
def test_one_currency_needs_no_rates() -> None:
    orders = by_order([("a", "2024-01-01", "10.005"), ("b", "2024-01-03", "1.50")])
    money = convert_revenue(
        orders, rates("EUR", "EUR"), local_currency="EUR", reporting_currency="EUR"
    )
    check = added_up(money)
    assert check.verdict is Verdict.PASS
    assert "currencies" not in str(check.statement)


@pytest.mark.row("M3.3")
def test_a_currency_without_decimals_stays_whole() -> None:
    orders = by_order([(c, "2024-01-01", "0.0050") for c in "abc"])
    money = convert_revenue(
        orders, rates("EUR", "JPY"), local_currency="EUR", reporting_currency="JPY"
    )
    # Three times 0.8 yen is 2.4: two yen in all, and whole ones.
    assert money.total == 2
    assert sorted(money.by_customer["revenue_reporting_amount"]) == [0, 1, 1]


@pytest.mark.row("M3.3")
@settings(max_examples=60, deadline=None)
@given(
    amounts=st.lists(st.integers(-100_000, 10_000_000), min_size=1, max_size=30),
    reporting=st.sampled_from(["EUR", "JPY"]),
)
def test_customers_add_up_to_the_total_both_ways(amounts: list[int], reporting: str) -> None:
    local = "JPY" if reporting == "EUR" else "EUR"
    rows = [
        (f"c{i:02}", f"2024-01-0{i % 6 + 1}", str(Decimal(a) / 100)) for i, a in enumerate(amounts)
    ]
    money = convert_revenue(
        by_order(rows), rates(local, reporting), local_currency=local, reporting_currency=reporting
    )
    unit = Decimal(1).scaleb(-money.digits)
    converted = money.by_customer["revenue_reporting_amount"]
    assert sum(converted) == money.total
    assert all(value == value.quantize(unit) for value in converted)
    assert abs(money.total - money.exact_total) <= unit / 2
    assert money.local_total == sum(Decimal(a) / 100 for a in amounts)


@pytest.mark.row("M3.3")
def test_purchasing_power_uses_its_own_rate() -> None:
    frame = rates("JPY", "EUR", conversion="purchasing_power")
    assert frame["rate"].iloc[0] == Decimal("0.01000000")


@pytest.mark.row("M3.3")
def test_local_time_follows_the_markets_clock_through_dst(folder: ProjectFolder) -> None:
    utc = [
        "2024-03-31T00:30:00",  # 01:30, winter time
        "2024-03-31T01:30:00",  # 03:30: the hour between does not exist
        "2024-10-27T00:30:00",  # 02:30, summer time
        "2024-10-27T01:30:00",  # 02:30 again, winter time
    ]
    folder.market(
        sources=TRANSACTIONS_YAML.replace("csv", "parquet").replace(
            '{from: at, format: "%Y-%m-%d %H:%M"}', "{from: at, zone: UTC}"
        )
    )
    table = pa.table(
        {
            "order": list("abcd"),
            "line": list("1111"),
            "customer": list("abcd"),
            "at": pa.array([pd.Timestamp(t) for t in utc], pa.timestamp("us")),
            "product": list("pppp"),
            "pieces": [1.0] * 4,
            "paid": [1.0] * 4,
        }
    )
    pq.write_table(table, folder.root / "raw/transactions.parquet")
    project = folder.load()
    ingest_market(project.lake_dir, project.markets["de-test"], project.root)
    loaded = DeltaTable(folder.root / "data/eu/de-test/transactions").to_pyarrow_table()
    frame = loaded.to_pandas().sort_values("order_id")
    assert [t.strftime("%H:%M") for t in frame["ordered_local"]] == [
        "01:30",
        "03:30",
        "02:30",
        "02:30",
    ]
    assert frame["ordered_at"].nunique() == 4


@pytest.mark.case("119c")
def test_both_directions_fill_each_other_and_nothing_is_cut() -> None:
    day = pd.date_range("2024-01-01", periods=20)
    inverse = pd.DataFrame(
        {"rate_date": day[1:], "base_currency": "EUR", "quote_currency": "LBP", "rate": 97_000.0}
    )
    direct = pd.DataFrame(
        {
            "rate_date": day[[0, 9]],
            "base_currency": "LBP",
            "quote_currency": "EUR",
            "rate": [1 / 97_000, 1 / 90_000],
        }
    )
    quotes = pd.concat([direct, inverse]).assign(purchasing_power_rate=None)
    span = {"first_day": day[0].date(), "last_day": day[-1].date()}
    pair = {"local_currency": "LBP", "reporting_currency": "EUR"}
    frame = daily_rates(quotes, **pair, **span)
    assert not frame["is_stale"].any()
    assert frame.loc[frame["is_doubted"], "rate_date"].tolist() == [day[9].date()]
    orders = by_order([("a", "2024-01-02", "97000000000"), ("b", "2024-01-10", "90000")])
    money = convert_revenue(orders, frame, **pair)
    # Cut to eight decimals, a million euros came out as 1,000,070.
    assert money.total == Decimal("1000001.00")
    check = added_up(money)
    assert check.verdict is Verdict.REVIEW
    assert "on 1 days the quotes of both directions contradict" in str(check.statement)
    back = daily_rates(quotes, local_currency="EUR", reporting_currency="LBP", **span)
    assert back["rate"].iloc[5] == 97_000
