"""Files as people have them: cut, corrected, moved away, half in another order, oddly named."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from insight_lib.lake.faults import shown
from insight_lib.lake.ingest import TableIngest, ingest_market
from insight_lib.lake.links import broken_links
from insight_lib.lake.store import Manifest, read_manifest
from tests.conftest import HEADER, TRANSACTIONS_YAML, ProjectFolder
from tests.lake.test_deliveries import CONSENTS, CONSENTS_YAML, lines_on, without_period
from tests.lake.test_ingest import GOOD, loaded, quarantine, table_of

SEVERAL_YAML = TRANSACTIONS_YAML.replace("raw/transactions.csv", "raw/orders*.csv")
CUSTOMERS_YAML = (
    "  customers:\n    location: raw/customers.csv\n    format: csv\n    licence: own-data\n"
    "    columns: {customer_id: id}\n"
)
TODAY = date(2025, 6, 1)


def ingest_on(folder: ProjectFolder, *, rebuild: bool = False) -> TableIngest:
    project = folder.load()
    assert not project.faults, project.faults
    market = project.markets["de-test"]
    return ingest_market(project.lake_dir, market, project.root, today=TODAY, rebuild=rebuild)[0]


def manifest_of(folder: ProjectFolder) -> Manifest:
    found = read_manifest(folder.root / "data", "eu", "de-test")
    assert found
    return found


def many(n: int, *, paid: str = "1.00", first: int = 0) -> str:
    return "".join(
        f"o{i},1,c{i % 7},2024-0{1 + i % 6}-{1 + i % 28:02d} 10:00,p1,1,{paid}\n"
        for i in range(first, first + n)
    )


@pytest.mark.case("41")
def test_a_cut_file_does_not_replace_a_whole_one(
    folder: ProjectFolder, write_lines: Callable
) -> None:
    write_lines(many(300))
    first = ingest_on(folder)
    write_lines(many(100))
    second = ingest_on(folder)
    assert "100 rows where 300 stood before; the last good table stays" in str(second.fault)
    assert second.entry == first.entry
    assert loaded(folder).num_rows == 300
    assert "100 rows where 300" in manifest_of(folder).refused["transactions"]
    assert ingest_on(folder, rebuild=True).fault is None  # a person says that it is the whole
    assert loaded(folder).num_rows == 100
    assert not manifest_of(folder).refused


@pytest.mark.case("42")
def test_a_delivery_that_is_mostly_refused_is_not_the_one_declared(
    folder: ProjectFolder, write_lines: Callable
) -> None:
    write_lines(many(20) + many(100, paid='"7,99"', first=20))
    result = ingest_on(folder)
    assert result.entry is None
    assert "100 of 120 rows could not be loaded: amount: not an amount (100)" in str(result.fault)
    assert len(quarantine(folder)) == 100  # to be looked at all the same


@pytest.mark.case("150", "158")
def test_a_file_that_is_moved_away_takes_no_row_with_it(folder: ProjectFolder) -> None:
    folder.market(sources=SEVERAL_YAML)
    folder.write("raw/orders-1.csv", HEADER + many(200))
    second = folder.write("raw/orders-2.csv", HEADER + many(10, first=200))
    assert ingest_on(folder).entry
    (folder.root / "raw/orders-1.csv").unlink()
    second.write_text(HEADER + many(12, first=200))
    result = ingest_on(folder)
    assert result.entry
    assert (result.entry.loaded, result.entry.kept) == (12, 200)
    assert loaded(folder).num_rows == 212
    assert any("orders-1.csv" in notice and "stay" in notice for notice in result.entry.notices)
    again = ingest_on(folder)  # and on the next morning, too
    assert again.entry
    assert again.entry.rows == 212


@pytest.mark.case("150")
def test_a_whole_delivery_ends_what_it_does_not_hold(folder: ProjectFolder) -> None:
    folder.market(sources=SEVERAL_YAML.replace("format: csv", "format: csv\n    delivery: full"))
    folder.write("raw/orders-1.csv", HEADER + many(100))
    folder.write("raw/orders-2.csv", HEADER + many(3, first=100))
    assert ingest_on(folder).entry
    (folder.root / "raw/orders-2.csv").unlink()
    result = ingest_on(folder)
    assert result.entry
    assert (result.entry.loaded, result.entry.kept) == (100, 0)


@pytest.mark.parametrize("delivery", ["changes", "window"])
def test_a_part_of_the_table_leaves_the_rest(folder: ProjectFolder, delivery: str) -> None:
    declared = f"format: csv\n    delivery: {delivery}"
    folder.market(sources=TRANSACTIONS_YAML.replace("format: csv", declared))
    folder.write("raw/transactions.csv", HEADER + many(100))
    assert ingest_on(folder).entry
    folder.write("raw/transactions.csv", HEADER + many(2, paid="5.00", first=99))
    result = ingest_on(folder)
    assert result.entry
    assert (result.entry.loaded, result.entry.kept) == (2, 99)
    amounts = {row["order_id"]: row["amount"] for row in loaded(folder).to_pylist()}
    assert amounts["o98"] == Decimal("1.00")
    assert amounts["o99"] == Decimal("5.00")  # the newer row of the key


@pytest.mark.case("150")
@pytest.mark.parametrize("delivery", ["", "\n    delivery: full"])
def test_a_refusal_once_known_stays_whatever_is_delivered(
    folder: ProjectFolder, delivery: str
) -> None:
    yaml = CONSENTS_YAML.replace("consents.csv", "consents*.csv")
    folder.market(sources=yaml.replace("format: csv", f"format: csv{delivery}"))
    first = folder.write("raw/consents-1.csv", CONSENTS)
    folder.write(
        "raw/consents-2.csv",
        "customer,purpose,decision,at\nc2,activation,granted,2024-05-01\n"
        "c3,activation,granted,2024-05-01\n",
    )
    assert ingest_on(folder).entry
    first.unlink()
    assert ingest_on(folder).entry
    rows = {row["customer_id"]: row["decision"] for row in table_of(folder, "consents").to_pylist()}
    assert rows["c1"] == "refused"
    assert ingest_on(folder, rebuild=True).entry
    assert "c1" in table_of(folder, "consents")["customer_id"].to_pylist()
    folder.market(sources=TRANSACTIONS_YAML)  # the source is taken out of the YAML
    folder.write("raw/transactions.csv", HEADER + GOOD)
    ingest_on(folder)
    assert "consents" in manifest_of(folder).tables


@pytest.mark.case("20", "145")
def test_the_newest_delivery_wins_and_is_counted(folder: ProjectFolder) -> None:
    folder.market(sources=SEVERAL_YAML)
    folder.write("raw/orders_b.csv", HEADER + many(30))
    assert ingest_on(folder).entry
    folder.write("raw/orders_a.csv", HEADER + many(5, paid="9.00", first=25))  # sorts before
    result = ingest_on(folder)
    assert result.entry
    assert result.entry.corrected == 5
    assert (result.entry.rows_in, result.entry.loaded, result.entry.superseded) == (35, 30, 5)
    amounts = {row["order_id"]: row["amount"] for row in loaded(folder).to_pylist()}
    assert amounts["o24"] == Decimal("1.00")
    assert amounts["o25"] == Decimal("9.00")


@pytest.mark.case("20")
def test_versions_that_come_together_are_asked_about(folder: ProjectFolder) -> None:
    folder.market(sources=SEVERAL_YAML)
    folder.write("raw/orders-1.csv", HEADER + many(30))
    folder.write("raw/orders-2.csv", HEADER + many(2, paid="9.00", first=28))
    result = ingest_on(folder)
    assert result.entry
    assert (result.entry.loaded, result.entry.quarantined) == (28, 4)
    assert all("other values, delivered together" in reason for reason in quarantine(folder))


@pytest.mark.case("20")
@pytest.mark.parametrize(
    "declared", [r"newest_file: 'orders-(\d+)'", "newest_by: note"], ids=["file", "column"]
)
def test_what_is_newer_can_be_declared(folder: ProjectFolder, declared: str) -> None:
    folder.market(sources=SEVERAL_YAML.replace("format: csv", f"format: csv\n    {declared}"))
    header = HEADER.replace("paid", "paid,note")
    for name, note, paid in (
        ("orders-1.csv", "2024-01-01", "1"),
        ("orders-2.csv", "2024-02-01", "9"),
    ):
        folder.write(f"raw/{name}", header + f"o1,1,c1,2024-05-01 10:00,p1,1,{paid},{note}\n")
    assert ingest_on(folder).entry
    assert loaded(folder)["amount"].to_pylist() == [Decimal("9")]


@pytest.mark.case("19")
def test_an_optional_column_that_does_not_fit_never_costs_the_row(folder: ProjectFolder) -> None:
    folder.market(
        sources=TRANSACTIONS_YAML.replace(
            "amount: paid", "amount: paid\n      discount_amount: off"
        )
    )
    header = HEADER.replace("paid", "paid,off")
    rows = "".join(
        f"o{i},1,c1,2024-05-01 10:00,p1,1,9.99,{off}\n" for i, off in enumerate(("-2.50", "2", "x"))
    )
    folder.write("raw/transactions.csv", header + rows)
    entry = ingest_on(folder).entry
    assert entry
    assert (entry.loaded, entry.quarantined) == (3, 0)
    assert entry.doubted == {
        "discount_amount: below 0": 1,
        "discount_amount: not an amount": 1,
    }
    assert loaded(folder)["discount_amount"].to_pylist() == [None, Decimal("2"), None]


@pytest.mark.case("19")
def test_a_sign_can_be_declared(folder: ProjectFolder) -> None:
    sign = "discount_amount: {from: off, sign: reversed}"
    folder.market(sources=TRANSACTIONS_YAML.replace("amount: paid", f"amount: paid\n      {sign}"))
    row = GOOD.replace("9.99", "9.99,-2.50")
    folder.write("raw/transactions.csv", HEADER.replace("paid", "paid,off") + row)
    assert ingest_on(folder).entry
    assert loaded(folder)["discount_amount"].to_pylist() == [Decimal("2.50")]


@pytest.mark.case("18")
def test_a_column_in_two_orders_of_day_and_month_is_refused(folder: ProjectFolder) -> None:
    folder.market(sources=TRANSACTIONS_YAML.replace("%Y-%m-%d %H:%M", "%d.%m.%Y"))
    days = ["31.01.2024", "01.02.2024", "02.28.2024", "05.05.2024", "02.03.2024"]
    rows = "".join(f"o{i},1,c1,{day},p1,1,1\n" for i, day in enumerate(days))
    folder.write("raw/transactions.csv", HEADER + rows)
    fault = str(ingest_on(folder).fault)
    assert "column 'at': 1 rows have day and month in the other order" in fault
    assert "and 2 more can be read in both" in fault


@pytest.mark.case("14", "144")
def test_what_is_dated_after_today_has_not_happened(
    folder: ProjectFolder, write_lines: Callable
) -> None:
    without_period(folder)
    write_lines(lines_on("2025-05-28", "2025-05-30", "2025-05-31", "2025-06-20"))
    entry = ingest_on(folder).entry
    assert entry
    assert entry.reasons == {"ordered_at: after today, 2025-06-01": 1}
    assert manifest_of(folder).as_of == date(2025, 5, 30)
    project = folder.load()
    market = project.markets["de-test"]
    later = ingest_market(project.lake_dir, market, project.root, today=date(2025, 6, 25))[0]
    assert later.entry
    assert later.entry.loaded == 4  # its day has come


@pytest.mark.case("14")
def test_stray_days_behind_a_gap_are_asked_about(
    folder: ProjectFolder, write_lines: Callable
) -> None:
    without_period(folder)
    days = [f"2024-03-{d:02d}" for d in range(1, 29)]
    write_lines(lines_on(*days, "2024-12-01", "2024-12-24"))
    assert ingest_on(folder).fault is None
    found = manifest_of(folder)
    assert found.as_of == date(2024, 3, 27)
    assert "2 rows of 2024-12-01 and later stand 248 days behind" in found.questions[0]


@pytest.mark.case("34")
def test_one_day_is_no_complete_day(folder: ProjectFolder, write_lines: Callable) -> None:
    without_period(folder)
    write_lines(lines_on("2024-03-01"))
    ingest_on(folder)
    assert manifest_of(folder).as_of == date(2024, 2, 29)  # known to be complete: nothing of it
    assert manifest_of(folder).questions == ("de-test: transactions: holds no complete day yet",)


@pytest.mark.case("17")
def test_parquet_files_of_different_types_keep_every_cent(folder: ProjectFolder) -> None:
    yaml = TRANSACTIONS_YAML.replace("transactions.csv", "orders*.parquet")
    yaml = yaml.replace("csv", "parquet").replace('{from: at, format: "%Y-%m-%d %H:%M"}', "at")
    folder.market(sources=yaml)
    instant = pa.array([1714557600000], pa.timestamp("ms", tz="UTC"))
    for name, paid, at in (
        ("orders-1", pa.array([12]), pa.array([date(2024, 5, 1)])),
        ("orders-2", pa.array([7.99]), instant),
    ):
        columns = {
            "order": [name],
            "line": ["1"],
            "customer": ["c1"],
            "at": at,
            "product": ["p1"],
            "pieces": [1.0],
            "paid": paid,
        }
        pq.write_table(pa.table(columns), folder.root / f"raw/{name}.parquet")
    assert ingest_on(folder).fault is None
    rows = {row["order_id"]: row for row in loaded(folder).to_pylist()}
    assert rows["orders-1"]["amount"] == Decimal("12")
    assert rows["orders-2"]["amount"] == Decimal("7.99")
    assert str(rows["orders-2"]["ordered_at"]) == "2024-05-01 10:00:00+00:00"
    assert str(rows["orders-1"]["ordered_at"]) == "2024-04-30 22:00:00+00:00"


@pytest.mark.case("46")
def test_brackets_in_a_name_are_brackets(folder: ProjectFolder) -> None:
    folder.market(sources=SEVERAL_YAML)
    folder.write("raw/orders1.csv", HEADER + many(3))
    folder.write("raw/orders[1].csv", HEADER + many(3, first=3))
    entry = ingest_on(folder).entry
    assert entry
    assert (entry.loaded, entry.quarantined) == (6, 0)
    folder.market(sources=TRANSACTIONS_YAML.replace("transactions.csv", "orders[1].csv"))
    other = ingest_on(folder).entry
    assert other
    assert other.loaded == 3


@pytest.mark.case("47")
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (gzip.compress((HEADER + GOOD).encode()), "a gzip file, declared as csv; unpack it"),
        (b"PK\x03\x04" + b"\0\x01" * 300, "a zip or Excel file, declared as csv"),
        (b"\0" * 5000, "not a text file"),
        (
            (HEADER + GOOD + 'o2,1,c1,2024-05-01 10:00,"p1,1,2\n' + many(50)).encode(),
            "line 3: a quote that is opened there is never closed",
        ),
    ],
    ids=["gzip", "zip", "zeros", "quote"],
)
def test_a_file_of_another_kind_is_one_printable_line(
    folder: ProjectFolder, content: bytes, words: str
) -> None:
    folder.write("raw/transactions.csv", content)
    fault = str(ingest_on(folder).fault)
    assert words in fault
    assert fault.isprintable()
    assert len(fault) < 300


@pytest.mark.case("49")
def test_a_sparse_file_and_an_endless_line_are_refused_unread(folder: ProjectFolder) -> None:
    path = folder.root / "raw/transactions.csv"
    with path.open("wb") as file:
        file.truncate(2**30)
    assert "not a text file" in str(ingest_on(folder).fault)
    path.write_bytes(b"a" * (2**20 + 10))
    assert "no line ends within a mebibyte" in str(ingest_on(folder).fault)


@pytest.mark.case("53")
def test_two_kinds_of_line_end_are_read(folder: ProjectFolder) -> None:
    rows = (HEADER + GOOD).encode() + many(3, first=5).replace("\n", "\r\n").encode()
    folder.write("raw/transactions.csv", rows)
    entry = ingest_on(folder).entry
    assert entry
    assert (entry.rows_in, entry.loaded) == (4, 4)


@pytest.mark.case("52")
def test_a_file_without_a_header_shows_nobody(folder: ProjectFolder) -> None:
    row = "anna@example.com,+49 30 1234567,Anna Muster,Weg 3,p1,1,2\n"
    folder.write("raw/transactions.csv", row * 3)
    fault = str(ingest_on(folder).fault)
    assert "none of the declared columns is there" in fault
    assert "is there a header line?" in fault
    for private in ("anna", "49 30", "Muster", "Weg"):
        assert private not in fault
    assert fault.count("\n") == 0


@pytest.mark.case("48")
def test_yes_is_not_one_euro_and_large_numbers_keep_their_digits(folder: ProjectFolder) -> None:
    yaml = TRANSACTIONS_YAML.replace("csv", "parquet")
    yaml = yaml.replace('{from: at, format: "%Y-%m-%d %H:%M"}', "at")
    folder.market(sources=yaml)
    columns = {
        "order": ["o1"],
        "line": ["1"],
        "customer": ["c1"],
        "at": ["2024-05-01"],
        "product": ["p1"],
        "pieces": [2**53 + 1],
        "paid": [True],
    }
    pq.write_table(pa.table(columns), folder.root / "raw/transactions.parquet")
    ingest_on(folder)
    assert "amount: not an amount" in quarantine(folder)
    pq.write_table(pa.table(columns | {"paid": [1.5]}), folder.root / "raw/transactions.parquet")
    ingest_on(folder)
    assert quarantine(folder) == ["quantity: not a number"]


@pytest.mark.case("54")
def test_other_content_of_the_same_size_and_time_is_read(
    folder: ProjectFolder, write_lines: Callable
) -> None:
    path = write_lines(GOOD)
    stat = path.stat()
    assert ingest_on(folder).was_read
    write_lines(GOOD.replace("9.99", "8.88"))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert ingest_on(folder).was_read
    assert loaded(folder)["amount"].to_pylist() == [Decimal("8.88")]
    os.utime(path)  # touched, and the same: nothing to do
    assert not ingest_on(folder).was_read


@pytest.mark.case("56")
def test_sizes_that_jump_by_a_thousand_are_asked_about(folder: ProjectFolder) -> None:
    comma = TRANSACTIONS_YAML.replace(
        "format: csv\n", "format: csv\n    delimiter: ';'\n    decimal: ','\n"
    )
    folder.market(sources=comma)
    rows = "".join(
        f"o{i};1;c1;2024-05-01 10:00;p1;1;{'1.234' if i % 5 == 0 else '1,23'}\n" for i in range(20)
    )
    folder.write("raw/transactions.csv", HEADER.replace(",", ";") + rows)
    entry = ingest_on(folder).entry
    assert entry
    assert "column paid: 4 values with a point are read as whole thousands" in entry.notices[0]


@pytest.mark.case("57")
def test_keys_that_differ_in_spelling_alone_are_asked_about(folder: ProjectFolder) -> None:
    """Seen: "P1" and "p1" counted as two products, without a word."""
    rows = GOOD + GOOD.replace("o1", "o2").replace("p1", "P1")
    folder.write("raw/transactions.csv", HEADER + rows + GOOD.replace("o1", "o3"))
    ingest_on(folder)
    question = (
        "de-test: transactions: 2 values of product_id are 1 where case and blanks around them "
        "do not count; they are kept apart: say whether they are the same, and have each written "
        "in one way"
    )
    wanted = (question,)
    assert manifest_of(folder).questions == wanted
    ingest_on(folder)  # nothing new: the question stays
    assert manifest_of(folder).questions == wanted
    folder.write(
        "raw/transactions.csv", HEADER + GOOD + GOOD.replace("o1", "o2").replace("p1", "p1 ")
    )
    asked = ingest_on(folder, rebuild=True).entry
    assert asked
    assert any("with and without blanks" in notice for notice in asked.notices)
    assert manifest_of(folder).questions == ()


@pytest.mark.case("57")
def test_fees_can_be_left_out(folder: ProjectFolder) -> None:
    exclude = "format: csv\n    exclude: {product: [POST, BANK]}"
    folder.market(sources=TRANSACTIONS_YAML.replace("format: csv", exclude))
    rows = GOOD + GOOD.replace("o1", "o2").replace("p1", "POST")
    folder.write("raw/transactions.csv", HEADER + rows)
    entry = ingest_on(folder).entry
    assert entry
    assert (entry.loaded, entry.out_of_scope) == (1, 1)


@pytest.mark.case("35", "36")
def test_an_end_before_its_beginning_is_set_aside(folder: ProjectFolder) -> None:
    folder.market(
        sources="  campaigns:\n    location: raw/campaigns.csv\n    format: csv\n"
        "    licence: own-data\n    columns: {campaign_id: id, campaign_type: kind, "
        "start_date: first, end_date: last}\n"
    )
    folder.write(
        "raw/campaigns.csv",
        "id,kind,first,last\nk1,mail,2024-05-01,2024-04-01\nk2,mail,2024-05-01,2024-05-01\n",
    )
    entry = ingest_on(folder).entry
    assert entry
    assert entry.reasons == {"end_date: before start_date": 1}


@pytest.mark.case("15")
@pytest.mark.parametrize("written", ["00{}", "{}.0", "c-{}"])
def test_keys_that_find_no_partner_are_counted_with_advice(
    folder: ProjectFolder, written: str
) -> None:
    folder.market(sources=TRANSACTIONS_YAML + CUSTOMERS_YAML)
    ids = range(100, 110)
    rows = "".join(f"o{i},1,{i},2024-05-01 10:00,p1,1,1\n" for i in ids)
    folder.write("raw/transactions.csv", HEADER + rows)
    folder.write("raw/customers.csv", "id\n" + "".join(f"{written.format(i)}\n" for i in ids))
    ingest_on(folder)
    (words,) = broken_links(manifest_of(folder))
    assert words.startswith("0 of 10 keys of transactions.customer_id are in customers")
    assert ("10 would be found" in words) is not written.startswith("c-")


@pytest.mark.case("148")
def test_a_full_disk_is_called_one(
    folder: ProjectFolder, write_lines: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    write_lines(GOOD)
    monkeypatch.setattr("insight_lib.lake.ingest.write_table", full)
    assert "the disk is full" in str(ingest_on(folder).fault)


@pytest.mark.case("49")
def test_nothing_outside_its_place_is_read(folder: ProjectFolder, tmp_path: Path) -> None:
    for location in (
        "",
        "/etc/passwd",
        "package://os//etc/passwd",
        "~/x.csv",
        "file:///etc/passwd",
    ):
        folder.market(sources=TRANSACTIONS_YAML.replace("raw/transactions.csv", f'"{location}"'))
        (fault,) = folder.load().faults["de-test"]
        assert "location" in fault.field
        assert "root:" not in str(fault)


def test_control_characters_are_made_visible() -> None:
    assert shown("a\x1b[2Jb") == "a\\x1b[2Jb"
