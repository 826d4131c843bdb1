"""What a delivery may replace, what a reader meets meanwhile, and the last complete day."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pytest

from insight_lib.lake.ingest import ingest_market
from insight_lib.lake.store import LakeError, read_manifest
from tests.conftest import ProjectFolder
from tests.lake.test_ingest import GOOD, ingest, loaded, quarantine, table_of

CONSENTS_YAML = """\
  consents:
    location: raw/consents.csv
    format: csv
    licence: own-data
    columns:
      customer_id: customer
      purpose: purpose
      decision: decision
      decided_at: at
"""
CONSENTS = "customer,purpose,decision,at\nc1,activation,refused,2019-05-01\n"


def test_a_refusal_from_before_the_period_counts(folder: ProjectFolder) -> None:
    folder.market(sources=CONSENTS_YAML)
    folder.write("raw/consents.csv", CONSENTS)
    assert ingest(folder).fault is None
    assert table_of(folder, "consents")["decision"].to_pylist() == ["refused"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("c2,activation,declined,2024-05-01", "decision: not one of"),
        ("c2,activation,refused,01/05/2024", "decided_at: not an instant"),
        (",activation,refused,2024-05-01", "customer_id: missing"),
        ("c2,activation", "line does not fit"),
    ],
)
def test_a_consent_that_cannot_be_read_stops_its_table(
    folder: ProjectFolder, row: str, reason: str
) -> None:
    folder.market(sources=CONSENTS_YAML)
    folder.write("raw/consents.csv", CONSENTS)
    first = ingest(folder)
    folder.write("raw/consents.csv", f"{CONSENTS}{row}\nc3,activation,granted,2024-05-01\n")
    second = ingest(folder)
    assert "consents.csv: consents: 1 of 3 rows could not be loaded" in str(second.fault)
    assert reason in str(second.fault)
    assert second.entry == first.entry
    assert table_of(folder, "consents").num_rows == 1
    folder.write("raw/consents.csv", CONSENTS + CONSENTS.splitlines(True)[1])
    assert ingest(folder).fault is None, "a refusal that came twice is not lost"
    assert table_of(folder, "consents").num_rows == 1


@pytest.mark.parametrize("content", ["", "o1,1,c1,yesterday,p1,1,1\n"], ids=["no row", "no good"])
def test_a_delivery_without_good_rows_keeps_the_last_good_table(
    folder: ProjectFolder, write_lines: Callable, content: str
) -> None:
    write_lines(GOOD)
    first = ingest(folder)
    write_lines(content)
    second = ingest(folder)
    words = "0 of 1 rows could be loaded" if content else "a header and no row"
    assert f"{words}; the last good table stays" in str(second.fault)
    assert second.entry == first.entry
    assert loaded(folder).num_rows == 1
    assert len(quarantine(folder)) == 0


def test_raw_rows_stand_outside_the_market_s_folder(
    folder: ProjectFolder, write_lines: Callable
) -> None:
    (folder.root / "data/eu/de-test/_quarantine/transactions").mkdir(parents=True)
    write_lines(GOOD + "o2,1,c1,yesterday,p1,1,1\n")
    ingest(folder)
    assert (folder.root / "data/eu/_quarantine/de-test/transactions").is_dir()
    assert not list((folder.root / "data/eu/de-test").glob("**/_quarantine"))


def without_period(folder: ProjectFolder) -> None:
    folder.market()
    path = folder.root / "parameters/markets/de-test.yaml"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("period")))


def as_of(folder: ProjectFolder) -> date | None:
    manifest = read_manifest(folder.root / "data", "eu", "de-test")
    return manifest.as_of if manifest else None


def lines_on(*days: str, paid: str = "1") -> str:
    return "".join(f"{day}{paid},1,c1,{day} 10:00,p1,1,{paid}\n" for day in days)


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        (lines_on("2024-05-01"), date(2024, 4, 30)),  # complete is only the time before it
        (lines_on("2024-01-01", "2024-05-01", "2024-05-02"), date(2024, 5, 1)),
        (lines_on("2024-05-01", "2024-06-30"), date(2024, 6, 29)),  # 60 days apart
        (
            lines_on("2024-05-01", "2024-05-02") + lines_on("2024-09-01", paid="-1"),
            date(2024, 5, 1),
        ),
    ],
    ids=["one day", "a pause before", "two months", "a late return"],
)
def test_the_last_complete_day_is_read_off_the_purchases(
    folder: ProjectFolder, write_lines: Callable, lines: str, wanted: date | None
) -> None:
    without_period(folder)
    write_lines(lines)
    ingest(folder)
    assert as_of(folder) == wanted


def test_one_purchase_far_in_the_future_is_not_the_last_day(
    folder: ProjectFolder, write_lines: Callable
) -> None:
    without_period(folder)
    write_lines(lines_on("2024-05-01", "2024-05-02"))
    ingest(folder)
    write_lines(lines_on("2024-05-01", "2024-05-02", "2024-11-03", "2042-05-03"))
    for _ in range(2):  # the second time only the row of 2042 is looked at again
        entry = ingest(folder).entry
        assert entry
        assert (entry.loaded, entry.quarantined) == (3, 1)
        assert next(iter(entry.reasons)).startswith("ordered_at: after today, ")
        manifest = read_manifest(folder.root / "data", "eu", "de-test")
        assert manifest
        assert manifest.as_of == date(2024, 5, 1)
        (question,) = manifest.questions
        assert "1 rows of 2024-11-03 and later" in question
        assert "declare `period`" in question


def test_a_torn_lake_file_says_how_to_rebuild(folder: ProjectFolder, write_lines: Callable) -> None:
    without_period(folder)
    write_lines(GOOD + lines_on("2024-05-02"))
    ingest(folder)
    for file in (folder.root / "data/eu/de-test/transactions").glob("*.parquet"):
        file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(LakeError, match="insight ingest --market de-test --force"):
        ingest(folder)
    assert ingest(folder, force=True).entry
    assert as_of(folder) == date(2024, 5, 1)


def test_a_reader_during_an_ingest_meets_the_previous_last_day(
    folder: ProjectFolder, write_lines: Callable
) -> None:
    without_period(folder)
    write_lines(GOOD + lines_on("2024-05-02"))
    ingest(folder)
    write_lines(GOOD + lines_on("2024-05-02", "2024-05-09"))
    project = folder.load()
    met: list[date | None] = []
    ingest_market(
        project.lake_dir,
        project.markets["de-test"],
        project.root,
        report=lambda _: met.append(as_of(folder)),
    )
    assert met == [date(2024, 5, 1)]
    assert as_of(folder) == date(2024, 5, 8)
