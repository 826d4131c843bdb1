"""Bad inputs at the data door: every row is loaded, or quarantined with its reason."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from insight_lib.lake.ingest import TableIngest, ingest_market, quarantine_root
from insight_lib.lake.store import LakeError, locked, read_manifest
from tests.conftest import HEADER, TRANSACTIONS_YAML, ProjectFolder

GOOD = "o1,1,c1,2024-05-01 10:00,p1,1,9.99\n"


def ingest(folder: ProjectFolder, *, force: bool = False) -> TableIngest:
    project = folder.load()
    assert not project.faults, project.faults
    market = project.markets["de-test"]
    result = ingest_market(project.lake_dir, market, project.root, force=force)[0]
    print(result)  # shown by pytest when the test fails
    return result


def table_of(folder: ProjectFolder, table: str) -> pa.Table:
    return DeltaTable(folder.root / "data/eu/de-test" / table).to_pyarrow_table()


def loaded(folder: ProjectFolder) -> pa.Table:
    return table_of(folder, "transactions")


def quarantined_rows(folder: ProjectFolder) -> list[list[str]]:
    path = quarantine_root(folder.root / "data", "eu", "de-test") / "transactions"
    return list(DeltaTable(path).to_pyarrow_table()["reasons"].to_pylist())


def quarantine(folder: ProjectFolder) -> list[str]:
    return [reason for reasons in quarantined_rows(folder) for reason in reasons]


def test_rows_in_are_loaded_or_quarantined(folder: ProjectFolder, write_lines: Callable) -> None:
    write_lines(GOOD + "o2,1,,2024-05-02 10:00,p1,2,4.50\n" + "o3,1,c1,yesterday,p1,1,1\n")
    entry = ingest(folder).entry
    assert entry
    assert (entry.rows_in, entry.loaded, entry.quarantined) == (3, 2, 1)
    table = loaded(folder)
    assert [str(a) for a in table["amount"].to_pylist()] == ["9.9900", "4.5000"]
    assert table["customer_id"].to_pylist() == ["c1", None]
    assert str(table["ordered_at"][0].as_py()) == "2024-05-01 08:00:00+00:00"
    assert str(table["ordered_local"][0].as_py()) == "2024-05-01 10:00:00"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("o2,1,c1,2024-05-01 10:00,p1,1\n", "line does not fit"),
        ("o2,1,c1,2024-05-01 10:00,p1,1,2,3\n", "line does not fit"),
        ("o2,1,c1,2024-05-01 10:00,p1,one,2\n", "quantity: not a number"),
        ('o2,1,c1,2024-05-01 10:00,p1,1,"1,5"\n', "amount: not an amount"),
        ("o2,1,c1,2024-05-01 10:00,p1,1,1_000\n", "amount: not an amount"),
        ("o2,1,c1,2024-05-01 10:00,p1,1,0x1F\n", "amount: not an amount"),
        ("o2,1,c1,2024-05-01 10:00,p1,1,NaN\n", "amount: not an amount"),
        ("o2,1,c1,2024-05-01 10:00,p1,inf,1\n", "quantity: not a number"),
        ("o2,1,c1,2024-05-01 10:00,p1,1e400,1\n", "quantity: not a number"),
        ("o2,1,c1,2024-05-01 10:00,p1,1,1e15\n", "amount: not an amount"),
        (",1,c1,2024-05-01 10:00,p1,1,2\n", "order_id: missing"),
        ("   ,1,c1,2024-05-01 10:00,p1,1,2\n", "order_id: missing"),
        ("o2,1,c1,,p1,1,2\n", "ordered_at: missing"),
        ("o2,1,c1,01/02/2024 10:00,p1,1,2\n", "ordered_at: not an instant"),
        ("o2,1,c1,2024-02-30 10:00,p1,1,2\n", "ordered_at: not an instant"),
        ("o2,1,c1,2024-03-31 02:30,p1,1,2\n", "ordered_at: not an instant"),
        ("o2,1,c1,1900-01-01 10:00,p1,1,2\n", "ordered_at: outside"),
        ("o2,1,c1,9999-01-01 10:00,p1,1,2\n", "ordered_at: outside"),
        ("o1,1,c1,2024-05-01 10:00,p1,1,9.99\n", "the same row again"),
        (f"o2,1,c1,2024-05-01 10:00,{'x' * 20_000},1,2\n", "product_id: longer than"),
    ],
)
@pytest.mark.parametrize("position", ["first", "last", "after many"])
def test_a_bad_row_costs_one_row_wherever_it_stands(
    folder: ProjectFolder, write_lines: Callable, line: str, reason: str, position: str
) -> None:
    filler = [f"x{i},1,c{i % 9},2024-06-01 12:00,p1,1,1.00\n" for i in range(2500)]
    rows = {
        "first": [GOOD, line, *filler[:3]],
        "last": [GOOD, *filler[:3], line],
        "after many": [GOOD, *filler, line],
    }[position]
    write_lines("".join(rows))
    entry = ingest(folder).entry
    assert entry
    assert (entry.rows_in, entry.loaded, entry.quarantined) == (len(rows), len(rows) - 1, 1)
    assert any(reason in r for r in quarantine(folder)), quarantine(folder)


@pytest.mark.parametrize(
    ("line", "column", "value"),
    [
        ("007,01,00123,2024-05-01 10:00,p1,1,2\n", "customer_id", "00123"),
        ("o,1,NA,2024-05-01 10:00,p1,1,2\n", "customer_id", "NA"),
        ("o,1,null,2024-05-01 10:00,p1,1,2\n", "customer_id", "null"),
        ("o,1,9007199254740993,2024-05-01 10:00,p1,1,2\n", "customer_id", "9007199254740993"),
        ("o,1,c1,2024-05-01 10:00,=cmd(),1,2\n", "product_id", "=cmd()"),
        ("o,1,c1,2024-05-01 10:00,<b>x</b>,1,2\n", "product_id", "<b>x</b>"),
        ("o,1,c1,2024-05-01 10:00,{{7*7}},1,2\n", "product_id", "{{7*7}}"),
        (
            "o,1,c1,2024-05-01 10:00,'; DROP TABLE raw; --,1,2\n",
            "product_id",
            "'; DROP TABLE raw; --",
        ),
        ('o,1,c1,2024-05-01 10:00,"a\nb",1,2\n', "product_id", "a\nb"),
        ('o,1,c1,2024-05-01 10:00,"say ""hi""",1,2\n', "product_id", 'say "hi"'),
        ("o,1,c1,2024-05-01 10:00,naïve ☕,1,2\n", "product_id", "naïve ☕"),
        ("o,1,c1,2024-05-01 10:00,p1,-1,-2\n", "quantity", -1.0),
        ("o,1,c1,2024-02-29 10:00,p1,1,2\n", "quantity", 1.0),
    ],
)
def test_values_come_through_unchanged(
    folder: ProjectFolder, write_lines: Callable, line: str, column: str, value: object
) -> None:
    write_lines(line)
    entry = ingest(folder).entry
    assert entry
    assert (entry.rows_in, entry.loaded) == (1, 1)
    assert loaded(folder)[column].to_pylist() == [value]


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "empty"),
        (HEADER.replace("paid", "piad").encode() + GOOD.encode(), "did you mean 'piad'"),
        (HEADER.replace("paid", "Paid").encode() + GOOD.encode(), "did you mean 'Paid'"),
        (HEADER.replace("line", "Order").encode() + GOOD.encode(), "but for case"),
        (HEADER.replace(",", ";").encode() + GOOD.encode(), "correct `delimiter`"),
        (HEADER.replace("\n", ",\n").encode() + GOOD.encode(), "column 8 has no name"),
        (HEADER.replace("line", " ").encode() + GOOD.encode(), "column 2 has no name"),
        (HEADER.encode("utf-16") + GOOD.encode("utf-16-le"), "none of the declared columns"),
    ],
)
def test_a_file_that_does_not_fit_its_declaration_is_named(
    folder: ProjectFolder, content: bytes, part: str
) -> None:
    folder.write("raw/transactions.csv", content)
    result = ingest(folder)
    assert result.entry is None
    assert "transactions.csv" in str(result.fault)
    assert part in str(result.fault)


def test_an_unclosed_quote_never_swallows_rows_silently(
    folder: ProjectFolder, write_lines: Callable
) -> None:
    write_lines(GOOD + 'o2,1,c1,2024-05-01 10:00,"p1,1,2\n' + "o3,1,c1,2024-05-01 10:00,p1,1,2\n")
    result = ingest(folder)
    assert result.fault or (result.entry and result.entry.quarantined)


@pytest.mark.parametrize(
    ("yaml", "content"),
    [
        ("format: csv\n    delimiter: ';'", (HEADER + GOOD).replace(",", ";").encode()),
        (
            "format: csv\n    encoding: latin-1",
            (HEADER + GOOD).replace("p1", "é").encode("latin-1"),
        ),
        ("format: csv\n    encoding: utf-16", (HEADER + GOOD).encode("utf-16")),
        ("format: csv", b"\xef\xbb\xbf" + (HEADER + GOOD).encode()),
        ("format: csv", (HEADER + GOOD).replace("\n", "\r\n").encode()),
        ("format: csv", (HEADER + GOOD).strip().encode()),
    ],
)
def test_declared_ways_of_writing_are_read(
    folder: ProjectFolder, yaml: str, content: bytes
) -> None:
    folder.market(sources=TRANSACTIONS_YAML.replace("format: csv", yaml))
    folder.write("raw/transactions.csv", content)
    result = ingest(folder)
    assert result.fault is None
    assert result.entry
    assert (result.entry.rows_in, result.entry.loaded) == (1, 1)


def test_decimal_comma_is_read_as_declared(folder: ProjectFolder) -> None:
    sources = TRANSACTIONS_YAML.replace(
        "format: csv", "format: csv\n    delimiter: ';'\n    decimal: ','"
    )
    folder.market(sources=sources)
    line = "o1;1;c1;2024-05-01 10:00;p1;1;1.234,56\n"
    folder.write("raw/transactions.csv", HEADER.replace(",", ";") + line)
    assert ingest(folder).fault is None
    assert str(loaded(folder)["amount"][0].as_py()) == "1234.5600"


def test_header_only_and_reordered_and_extra_columns(folder: ProjectFolder) -> None:
    folder.write("raw/transactions.csv", HEADER)
    assert "a header and no row; deliver it again" in str(ingest(folder).fault)
    swapped = (
        "paid,note,order,line,customer,at,product,pieces\n3.00,x,o1,1,c1,2024-05-01 10:00,p,1\n"
    )
    folder.write("raw/transactions.csv", swapped)
    entry = ingest(folder).entry
    assert entry
    assert entry.loaded == 1
    assert entry.notices == ("transactions.csv: column note is not declared",)


def test_a_currency_without_decimals_takes_no_fraction(folder: ProjectFolder) -> None:
    folder.market(sources=TRANSACTIONS_YAML.replace("EUR", "JPY"))
    path = folder.root / "parameters/markets/de-test.yaml"
    path.write_text(path.read_text().replace("currency: EUR", "currency: JPY"))
    folder.write(
        "raw/transactions.csv", HEADER + GOOD + GOOD.replace("o1", "o2").replace("9.99", "998")
    )
    entry = ingest(folder).entry
    assert entry
    assert (entry.loaded, entry.quarantined) == (1, 1)
    assert "fraction of a currency without decimals" in quarantine(folder)[0]


@pytest.mark.parametrize("content", [b"PAR1", b"PAR1" + b"\0" * 100 + b"PAR1", b"hello"])
def test_a_torn_parquet_file_is_named(folder: ProjectFolder, content: bytes) -> None:
    sources = TRANSACTIONS_YAML.replace("csv", "parquet")
    folder.market(sources=sources)
    folder.write("raw/transactions.parquet", content)
    result = ingest(folder)
    assert "not a whole Parquet file" in str(result.fault)


def test_one_bad_source_keeps_its_last_good_table(
    folder: ProjectFolder, write_lines: Callable
) -> None:
    write_lines(GOOD)
    first = ingest(folder)
    folder.write("raw/transactions.csv", b"")
    second = ingest(folder)
    assert second.fault
    assert second.entry == first.entry
    assert loaded(folder).num_rows == 1


def test_unchanged_sources_are_not_read_again(folder: ProjectFolder, write_lines: Callable) -> None:
    write_lines(GOOD)
    assert ingest(folder).was_read
    again = ingest(folder)
    assert not again.was_read
    assert again.entry
    assert again.entry.version == 0
    write_lines(GOOD + GOOD.replace("o1", "o2"))
    changed = ingest(folder)
    assert changed.was_read
    assert changed.entry
    assert changed.entry.version == 1


def test_rows_of_another_scope_are_counted_apart(folder: ProjectFolder) -> None:
    folder.market(
        sources=TRANSACTIONS_YAML.replace("licence:", "filter: {product: p1}\n    licence:")
    )
    folder.write("raw/transactions.csv", HEADER + GOOD + GOOD.replace("p1", "p2"))
    entry = ingest(folder).entry
    assert entry
    assert (entry.rows_in, entry.loaded, entry.quarantined, entry.out_of_scope) == (2, 1, 0, 1)


def test_a_link_out_of_the_project_is_refused(
    folder: ProjectFolder, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "transactions.csv"
    outside.write_text(HEADER + GOOD)
    (folder.root / "raw/transactions.csv").symlink_to(outside)
    assert "leaves the project" in str(ingest(folder).fault)


def test_two_writers_of_one_market_do_not_meet(
    folder: ProjectFolder, write_lines: Callable
) -> None:
    write_lines(GOOD)
    project = folder.load()
    arguments = (project.lake_dir, project.markets["de-test"], project.root)
    with (
        locked(folder.root / "data/eu/de-test", wait_seconds=0),
        pytest.raises(LakeError, match="another process"),
    ):
        ingest_market(*arguments, wait_seconds=0.2)
    assert ingest(folder).entry


def test_the_second_writer_waits_and_finds_nothing_to_do(
    folder: ProjectFolder, write_lines: Callable
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    write_lines(GOOD)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: ingest(folder), range(4)))
    assert sorted(result.was_read for result in results) == [False, False, False, True]
    assert not any(result.fault for result in results)


def test_a_torn_manifest_says_how_to_rebuild(folder: ProjectFolder, write_lines: Callable) -> None:
    write_lines(GOOD)
    ingest(folder)
    manifest = folder.root / "data/eu/de-test/_manifest.json"
    manifest.write_text(manifest.read_text()[:40])
    with pytest.raises(LakeError, match="--force"):
        ingest(folder)
    assert ingest(folder, force=True).entry


_KILLED = """
import sys
from pathlib import Path
from insight_lib.parameters import load_project
from insight_lib.lake.ingest import ingest_market
project = load_project(Path(sys.argv[1]))
print("go", flush=True)
ingest_market(project.lake_dir, project.markets["de-test"], project.root)
"""


@pytest.mark.parametrize("wait_seconds", [0.05, 0.3, 0.6, 0.9, 1.2])
def test_kill_9_leaves_the_old_or_the_new_table(
    folder: ProjectFolder, write_lines: Callable, wait_seconds: float
) -> None:
    write_lines(GOOD)
    ingest(folder)
    many = "".join(f"n{i},1,c{i % 97},2024-06-01 12:00,p1,1,1.00\n" for i in range(60_000))
    write_lines(many)
    process = subprocess.Popen(
        [sys.executable, "-c", _KILLED, str(folder.root)], stdout=subprocess.PIPE
    )
    assert process.stdout
    process.stdout.readline()
    time.sleep(wait_seconds)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    manifest = read_manifest(folder.root / "data", "eu", "de-test")
    assert manifest
    entry = manifest.tables["transactions"]
    assert entry.loaded in (1, 60_000)
    table = DeltaTable(folder.root / "data/eu/de-test/transactions", version=entry.version)
    assert table.to_pyarrow_table().num_rows == entry.loaded
    result = ingest(folder)
    assert result.entry
    assert result.entry.loaded == 60_000
    assert not list((folder.root / "data/eu/de-test").glob(".staging-*"))


fields = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(st.lists(fields, min_size=7, max_size=7), max_size=12))
def test_whatever_the_cells_hold_every_row_is_accounted_for(
    rows: list[list[str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    import csv
    import io

    folder = ProjectFolder(tmp_path_factory.mktemp("any"))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(HEADER.strip().split(","))
    writer.writerows(rows)
    folder.write("raw/transactions.csv", text.getvalue())
    entry = ingest(folder).entry
    if entry is None:  # nothing could be loaded, and every row says why
        assert not rows or len(quarantined_rows(folder)) == len(rows)
        return
    assert entry.rows_in == len(rows)
    assert entry.loaded + entry.quarantined == len(rows)


def test_several_files_of_one_shape_are_one_source(folder: ProjectFolder) -> None:
    folder.market(sources=TRANSACTIONS_YAML.replace("raw/transactions.csv", "raw/part-*.csv"))
    folder.write("raw/part-1.csv", HEADER + GOOD)
    folder.write("raw/part-2.csv", HEADER + GOOD.replace("o1", "o2") + "bad\n")
    entry = ingest(folder).entry
    assert entry
    assert (entry.rows_in, entry.loaded, entry.quarantined) == (3, 2, 1)


def test_parquet_types_keep_their_meaning(folder: ProjectFolder) -> None:
    folder.market(
        sources=TRANSACTIONS_YAML.replace("csv", "parquet").replace(
            ', format: "%Y-%m-%d %H:%M"', ", zone: UTC"
        )
    )
    table = pa.table(
        {
            "order": [7.0, 8.0],
            "line": [1, 2],
            "customer": pa.array([9007199254740993, None], pa.int64()),
            "at": pa.array([1714557600000000, 1714557600000000], pa.timestamp("us")),
            "product": ["p", "q"],
            "pieces": [1.0, float("nan")],
            "paid": [0.1, 0.2],
        }
    )
    pq.write_table(table, folder.root / "raw/transactions.parquet")
    entry = ingest(folder).entry
    assert entry
    assert (entry.loaded, entry.quarantined) == (1, 1)
    row = loaded(folder).to_pylist()[0]
    assert (row["order_id"], row["customer_id"]) == ("7", "9007199254740993")
    assert str(row["amount"]) == "0.1000"
    assert str(row["ordered_local"]) == "2024-05-01 12:00:00"


def test_file_left_where_it_was(folder: ProjectFolder, write_lines: Callable) -> None:
    path: Path = write_lines(GOOD)
    before = path.read_bytes()
    ingest(folder)
    assert path.read_bytes() == before


FLAGGED_YAML = TRANSACTIONS_YAML.replace("currency: {constant: EUR}", "currency: money")
FLAGGED_HEADER = HEADER.replace("paid", "paid,money")


@pytest.mark.parametrize(
    ("code", "is_good"), [("EUR", True), ("EUX", False), ("", False), ("eur", False)]
)
def test_a_currency_has_to_be_a_currency(folder: ProjectFolder, code: str, is_good: bool) -> None:
    folder.market(sources=FLAGGED_YAML)
    folder.write("raw/transactions.csv", FLAGGED_HEADER + GOOD.replace("\n", f",{code}\n"))
    entry = ingest(folder).entry
    assert (entry is not None) is is_good
    assert len(quarantine(folder)) == (0 if is_good else 1)


@pytest.mark.parametrize(
    "content",
    [
        HEADER.encode()
        + GOOD.encode()
        + GOOD.replace("o1", "o2").encode("latin-1").replace(b"p1", b"\xe9"),
        HEADER.encode() + GOOD.encode() + b"o2,1,c1,2024-05-01 10:00,p\x00x,1,2\n",
        (HEADER + GOOD + GOOD.replace("o1", "o2")).replace("\n", "\r").encode(),
        (HEADER + GOOD + GOOD.replace("o1", "o2").replace("p1", "a\u2028b")).encode(),
        (HEADER + GOOD).encode() + b"o2,1,c1,2024-05-01 10:00," + b"x" * 10_000_000 + b",1,2\n",
        (HEADER + GOOD).encode() + b"\n\n" + GOOD.replace("o1", "o2").encode() + b"\n",
        (HEADER + GOOD).encode() + b"o2,1,c1,2024-05-01 10:00,p1,99999999999999999999999,2\n",
    ],
    ids=["wrong byte", "NUL", "CR only", "U+2028", "10 MB cell", "blank lines", "large number"],
)
def test_odd_bytes_lose_no_row_silently(folder: ProjectFolder, content: bytes) -> None:
    folder.write("raw/transactions.csv", content)
    result = ingest(folder)
    if result.fault:
        assert "transactions.csv" in result.fault
    else:
        assert result.entry
        assert result.entry.rows_in == 2
        assert result.entry.loaded + result.entry.quarantined == 2


def test_five_thousand_columns_are_not_a_problem(folder: ProjectFolder) -> None:
    extra = [f"x{i}" for i in range(5000)]
    header = HEADER.strip() + "," + ",".join(extra) + "\n"
    folder.write("raw/transactions.csv", header + GOOD.strip() + ",1" * 5000 + "\n")
    entry = ingest(folder).entry
    assert entry
    assert entry.loaded == 1
    assert len(entry.notices) == 5000


def test_a_month_of_another_shape_is_named(folder: ProjectFolder) -> None:
    folder.market(sources=TRANSACTIONS_YAML.replace("raw/transactions.csv", "raw/part-*.csv"))
    folder.write("raw/part-1.csv", HEADER + GOOD)
    folder.write("raw/part-2.csv", HEADER.replace("paid", "amount") + GOOD.replace("o1", "o2"))
    assert "part-2.csv: column 'paid' is missing" in str(ingest(folder).fault)


FLAGS_YAML = """\
  crm_flags:
    location: raw/flags.csv
    format: csv
    licence: own-data
    columns:
      customer_id: customer
      flag: flag
      flag_value: value
      flagged_at: {from: at, format: "%d.%m.%Y"}
"""


@pytest.mark.parametrize(
    ("word", "is_good"),
    [
        ("true", True),
        ("false", True),
        ("yes", False),
        ("1", False),
        ("oui", False),
        ("TRUE", False),
    ],
)
def test_only_true_and_false_are_booleans(folder: ProjectFolder, word: str, is_good: bool) -> None:
    folder.market(sources=FLAGS_YAML)
    rows = f"c,active,{word},01.02.2024\nd,active,true,01.02.2024\n"
    folder.write("raw/flags.csv", f"customer,flag,value,at\n{rows}")
    entry = ingest(folder).entry
    assert entry
    assert (entry.loaded, entry.quarantined) == ((2, 0) if is_good else (1, 1))


def test_day_and_month_are_read_as_declared(folder: ProjectFolder) -> None:
    folder.market(sources=FLAGS_YAML)
    rows = "c,active,true,01.02.2024\nd,active,true,13.02.2024\ne,active,true,32.02.2024\n"
    folder.write("raw/flags.csv", "customer,flag,value,at\n" + rows)
    entry = ingest(folder).entry
    assert entry
    assert (entry.loaded, entry.quarantined) == (2, 1)
    table = DeltaTable(folder.root / "data/eu/de-test/crm_flags").to_pyarrow_table().to_pandas()
    assert sorted(t.strftime("%m-%d") for t in table["flagged_at"]) == ["01-31", "02-12"]  # UTC
