"""What a value may be: numbers, amounts, instants, ids and currencies, as declared."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from insight_lib.lake.ingest import ingest_market
from tests.conftest import HEADER, TRANSACTIONS_YAML, ProjectFolder
from tests.lake.test_ingest import GOOD, ingest, loaded, quarantine, table_of

COMMA_YAML = TRANSACTIONS_YAML.replace(
    "format: csv\n", "format: csv\n    delimiter: ';'\n    decimal: ','\n"
)
ISO_YAML = TRANSACTIONS_YAML.replace('{from: at, format: "%Y-%m-%d %H:%M"}', "at")
SUM_YAML = TRANSACTIONS_YAML.replace("amount: paid", "amount: {sum: [paid, extra]}")
PRODUCT_YAML = TRANSACTIONS_YAML.replace("amount: paid", "amount: {multiply: [paid, extra]}")
PARQUET_YAML = ISO_YAML.replace("csv", "parquet")


def amounts(folder: ProjectFolder) -> list[Decimal]:
    return loaded(folder)["amount"].to_pylist()


def write_parquet(folder: ProjectFolder, **columns: object) -> None:
    cells = {
        "order": ["o1"],
        "line": ["1"],
        "customer": ["c1"],
        "at": ["2024-05-01"],
        "product": ["p1"],
        "pieces": [1.0],
        "paid": [2.5],
    }
    pq.write_table(pa.table(cells | columns), folder.root / "raw/transactions.parquet")


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1.234,56", "1234.56"),
        ("-1.234.567,8", "-1234567.8"),
        ("1234,5", "1234.5"),
        ("12,50", "12.50"),
        ("1.234", "1234"),
        ("12.50", None),
        ("1.23", None),
        ("1234.567,8", None),
        ("1,2,3", None),
        ("1.2345", None),
    ],
)
@pytest.mark.parametrize(("column", "kind"), [("paid", "an amount"), ("pieces", "a number")])
def test_a_decimal_comma_leaves_points_to_thousands(
    folder: ProjectFolder, text: str, amount: str | None, column: str, kind: str
) -> None:
    folder.market(sources=COMMA_YAML)
    cells = {"pieces": "1", "paid": "1", column: text}
    line = f"o1;1;c1;2024-05-01 10:00;p1;{cells['pieces']};{cells['paid']}\n"
    folder.write("raw/transactions.csv", HEADER.replace(",", ";") + line)
    ingest(folder)
    if amount is None:
        assert quarantine(folder)[0].endswith(f": not {kind}")
    else:
        name = {"paid": "amount", "pieces": "quantity"}[column]
        assert float(loaded(folder)[name][0].as_py()) == float(amount)


@pytest.mark.parametrize(
    ("yaml", "cells", "wanted"),
    [
        (SUM_YAML, "1.10,2.05", "3.15"),
        (SUM_YAML, "1.10,", "1.10"),
        (SUM_YAML, ",", "0"),
        (SUM_YAML, "1.10,two", "amount: not an amount"),
        (SUM_YAML, "1.10,NaN", "amount: not an amount"),
        (SUM_YAML, "inf,1", "amount: not an amount"),
        (SUM_YAML, "1.10,1_000", "amount: not an amount"),
        (SUM_YAML, "90000000000000,90000000000000", "amount: not an amount"),
        (SUM_YAML, "1,0.00001", "amount: more than four decimals"),
        (PRODUCT_YAML, "1000,0.00125", "1.25"),
        (PRODUCT_YAML, "3,0.1", "0.3"),
        (PRODUCT_YAML, "3,", "amount: missing"),
        (PRODUCT_YAML, ",", "amount: missing"),
        (PRODUCT_YAML, "3,two", "amount: not an amount"),
        (PRODUCT_YAML, "3,NaN", "amount: not an amount"),
        (PRODUCT_YAML, "1e300,1e300", "amount: not an amount"),
        (PRODUCT_YAML, "1,0.00125", "amount: more than four decimals"),
    ],
)
def test_sums_and_products_keep_the_rules_of_numbers(
    folder: ProjectFolder, yaml: str, cells: str, wanted: str
) -> None:
    folder.market(sources=yaml)
    lines = f"o1,1,c1,2024-05-01 10:00,p1,1,{cells}\n"
    folder.write("raw/transactions.csv", HEADER.replace("paid", "paid,extra") + lines)
    assert (ingest(folder).fault is None) is not wanted.startswith("amount")
    if wanted.startswith("amount"):
        assert quarantine(folder) == [wanted]
    else:
        assert amounts(folder) == [Decimal(wanted)]


@pytest.mark.parametrize(
    ("yaml", "wanted"), [(SUM_YAML, "1236.56"), (PRODUCT_YAML, "2469.12")], ids=["sum", "product"]
)
def test_sums_and_products_read_a_decimal_comma(
    folder: ProjectFolder, yaml: str, wanted: str
) -> None:
    folder.market(
        sources=yaml.replace("format: csv\n", "format: csv\n    delimiter: ';'\n    decimal: ','\n")
    )
    header = HEADER.replace("paid", "paid,extra").replace(",", ";")
    lines = (
        "o1;1;c1;2024-05-01 10:00;p1;1;1.234,56;2,00\no2;1;c1;2024-05-01 10:00;p1;1;12.50;2,00\n"
    )
    folder.write("raw/transactions.csv", header + lines)
    ingest(folder)
    assert amounts(folder) == [Decimal(wanted)]
    assert quarantine(folder) == ["amount: not an amount"]


@pytest.mark.parametrize("extra", [float("nan"), float("inf")])
@pytest.mark.parametrize("yaml", [SUM_YAML, PRODUCT_YAML], ids=["sum", "product"])
def test_sums_and_products_of_what_is_no_number(
    folder: ProjectFolder, yaml: str, extra: float
) -> None:
    folder.market(sources=yaml.replace("csv", "parquet"))
    write_parquet(folder, at=["2024-05-01 10:00"], extra=[extra])
    ingest(folder)
    assert quarantine(folder) == ["amount: not an amount"]


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2024-05-01T10:00:00", "2024-05-01 08:00:00+00:00"),
        ("2024-05-01T10:00:00.25", "2024-05-01 08:00:00.250000+00:00"),
        ("2024-05-01 10:00:00.25", "2024-05-01 08:00:00.250000+00:00"),
        ("2024-05-01T10:00", "2024-05-01 08:00:00+00:00"),
        ("2024-05-01 10:00", "2024-05-01 08:00:00+00:00"),
        ("2024-05-01", "2024-04-30 22:00:00+00:00"),
        ("2024-05-01T10:00:00Z", "2024-05-01 10:00:00+00:00"),
        ("2024-05-01T10:00:00.5+05:30", "2024-05-01 04:30:00.500000+00:00"),
        ("2024-05-01T10:00:00-0500", "2024-05-01 15:00:00+00:00"),
    ],
)
def test_iso_instants_are_read_in_their_zone_or_the_market_s(
    folder: ProjectFolder, write_lines: Callable, text: str, instant: str
) -> None:
    folder.market(sources=ISO_YAML)
    write_lines(GOOD.replace("2024-05-01 10:00", text))
    ingest(folder)
    assert [str(v) for v in loaded(folder)["ordered_at"].to_pylist()] == [instant]


def test_an_iso_instant_is_read_in_the_declared_zone(
    folder: ProjectFolder, write_lines: Callable
) -> None:
    folder.market(sources=ISO_YAML.replace("ordered_at: at", "ordered_at: {from: at, zone: UTC}"))
    write_lines(GOOD.replace("2024-05-01 10:00", "2024-05-01T10:00:00"))
    ingest(folder)
    assert str(loaded(folder)["ordered_at"][0].as_py()) == "2024-05-01 10:00:00+00:00"


@pytest.mark.parametrize(
    ("text", "is_good"),
    [("1.23456", False), ("1e-5", False), ("1.23450", True), ("1.2345", True), ("1.5e2", True)],
)
def test_an_amount_of_text_has_four_decimals(
    folder: ProjectFolder, write_lines: Callable, text: str, is_good: bool
) -> None:
    write_lines(GOOD.replace("9.99", text))
    ingest(folder)
    assert quarantine(folder) == ([] if is_good else ["amount: more than four decimals"])


@pytest.mark.parametrize(
    ("paid", "is_good"),
    [
        (pa.array([0.1]), True),
        (pa.array([0.1 + 0.2]), True),
        (pa.array([123456789.1]), True),
        (pa.array([0.1 + 0.2 - 0.3]), True),
        (pa.array([9.99], pa.float32()), True),
        (pa.array([0.00005]), False),
        (pa.array([1.23456]), False),
        (pa.array([Decimal("1.23456")]), False),
        (pa.array([Decimal("1.50000")]), True),
        (pa.array([Decimal("1.5")], pa.decimal128(38, 30)), True),
        (pa.array([7]), True),
    ],
)
def test_an_amount_of_a_number_has_four_decimals_but_for_noise(
    folder: ProjectFolder, paid: pa.Array, is_good: bool
) -> None:
    folder.market(sources=PARQUET_YAML)
    write_parquet(folder, paid=paid)
    ingest(folder)
    assert quarantine(folder) == ([] if is_good else ["amount: more than four decimals"])


CUSTOMERS_YAML = """\
  customers:
    location: raw/customers.parquet
    format: parquet
    licence: own-data
    columns:
      customer_id: customer
      first_seen_date: seen
"""


def test_the_day_of_an_instant_is_the_market_s_day(folder: ProjectFolder) -> None:
    folder.market(sources=CUSTOMERS_YAML)
    seen = pa.array([1714604400_000_000], pa.timestamp("us", "UTC"))  # 1 May 2024, 23:00 UTC
    pq.write_table(
        pa.table({"customer": ["c1"], "seen": seen}), folder.root / "raw/customers.parquet"
    )
    ingest(folder)
    assert table_of(folder, "customers")["first_seen_date"].to_pylist() == [date(2024, 5, 2)]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("EUR", None),
        ("USD", "currency: not the market's currency EUR"),
        ("XTS", "currency: not an ISO 4217 code"),
        ("XXX", "currency: not an ISO 4217 code"),
    ],
)
def test_one_market_has_one_currency(
    folder: ProjectFolder, write_lines: Callable, code: str, reason: str | None
) -> None:
    folder.market(sources=TRANSACTIONS_YAML.replace("constant: EUR", f"constant: {code}"))
    write_lines(GOOD)
    ingest(folder)
    assert quarantine(folder) == ([reason] if reason else [])


def test_exchange_rates_have_other_currencies(folder: ProjectFolder) -> None:
    folder.market(
        sources="  fx_rates:\n    location: raw/fx.csv\n    format: csv\n    licence: own-data\n"
        "    columns: {rate_date: day, base_currency: base, quote_currency: quote, rate: rate}\n"
    )
    folder.write("raw/fx.csv", "day,base,quote,rate\n2024-05-01,EUR,USD,1.07123\n")
    entry = ingest(folder).entry
    assert entry
    assert (entry.loaded, entry.quarantined) == (1, 0)


def test_the_currency_of_the_market_is_part_of_the_declaration(
    folder: ProjectFolder, write_lines: Callable
) -> None:
    write_lines(GOOD)
    first = ingest(folder)
    path = folder.root / "parameters/markets/de-test.yaml"
    path.write_text(path.read_text().replace("currency: EUR", "currency: USD"))
    project = folder.load()
    again = ingest_market(project.lake_dir, project.markets["de-test"], project.root)[0]
    assert "0 of 1 rows could be loaded" in str(again.fault)
    assert again.entry == first.entry


def test_joined_parts_do_not_run_into_each_other(folder: ProjectFolder) -> None:
    yaml = TRANSACTIONS_YAML.replace("line_id: line", "line_id: {join: [line, product]}")
    folder.market(sources=yaml)
    rows = (
        "o1,1-2,c1,2024-05-01 10:00,3,1,1\n"
        "o1,1,c1,2024-05-01 10:00,2-3,1,1\n"
        "o1,,c1,2024-05-01 10:00,7,1,1\n"
    )
    folder.write("raw/transactions.csv", HEADER + rows)
    ingest(folder)
    assert quarantine(folder) == []
    assert sorted(loaded(folder)["line_id"].to_pylist()) == ["1\x1f2-3", "1-2\x1f3", "7"]


@pytest.mark.parametrize(
    ("ids", "wanted"),
    [
        (pa.array([7.0]), "7"),
        (pa.array([7.5]), "7.5"),
        (pa.array([7.0], pa.float32()), "7"),
        (pa.array([Decimal("7.00")]), "7"),
        (pa.array([Decimal("7.50")]), "7.50"),
        (pa.array([1e18]), "1000000000000000000"),
        (pa.array([9.5e18]), "9500000000000000000"),
        (pa.array([float("nan")]), None),
    ],
)
def test_numbers_as_ids(folder: ProjectFolder, ids: pa.Array, wanted: str | None) -> None:
    folder.market(sources=PARQUET_YAML)
    write_parquet(folder, customer=ids)
    result = ingest(folder)
    assert result.fault is None
    assert loaded(folder)["customer_id"].to_pylist() == [wanted]


@pytest.mark.parametrize("number", [1e19, 1e300, float("inf"), float("-inf")])
def test_a_number_too_large_for_an_id_costs_its_row(folder: ProjectFolder, number: float) -> None:
    folder.market(sources=PARQUET_YAML)
    write_parquet(folder, order=[number])
    ingest(folder)
    assert quarantine(folder) == ["order_id: not text"]


@pytest.mark.parametrize(
    "blank", [" ", "\t", "\xa0", "\u2003", "\u3000", "\u200b", "\ufeff", "\x1f", "\x85"]
)
def test_blanks_of_any_kind_around_an_id_are_no_part_of_it(
    folder: ProjectFolder, write_lines: Callable, blank: str
) -> None:
    write_lines(
        GOOD.replace("c1", f"{blank}c {blank}1{blank}")
        + GOOD.replace("o1", "o2").replace("c1", blank * 2)
    )
    ingest(folder)
    assert set(loaded(folder)["customer_id"].to_pylist()) == {f"c {blank}1", None}
