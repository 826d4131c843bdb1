"""What a page stands on: the checks of rows and keys that every page of counts shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from insight_lib.data_checks import describe_data
from insight_lib.findings import Gate, Verdict
from insight_lib.lake.ingest import ingest_market
from insight_lib.market import Market, open_market
from tests.conftest import HEADER, TRANSACTIONS_YAML, ProjectFolder
from tests.lake.test_anybodys_files import CUSTOMERS_YAML
from tests.lake.test_deliveries import CONSENTS_YAML


def opened(folder: ProjectFolder) -> Market:
    project = folder.load()
    assert not project.faults, project.faults
    ingest_market(project.lake_dir, project.markets["de-test"], project.root)
    return open_market("de-test", stage="features", root=Path(folder.root))


def orders(n: int, *, bad: int = 0) -> str:
    days = [f"2024-05-{1 + i % 28:02d} 10:00" for i in range(n)]
    rows = [f"o{i},1,{100 + i % 10},{day},p1,1,1.00\n" for i, day in enumerate(days)]
    wrong = [f"b{i},1,100,2024-05-01 10:00,p1,1,x\n" for i in range(bad)]
    return HEADER + "".join(rows + wrong)


@pytest.mark.case("18")
@pytest.mark.parametrize(("bad", "verdict"), [(1, Verdict.PASS), (11, Verdict.REVIEW)])
def test_rows_in_quarantine_stand_on_the_page(
    folder: ProjectFolder, bad: int, verdict: Verdict
) -> None:
    folder.write("raw/transactions.csv", orders(99, bad=bad))
    (check,) = describe_data(opened(folder))
    assert check.verdict is verdict
    assert f"{bad} of {99 + bad} rows of transactions" in str(check.statement)


@pytest.mark.parametrize(("copies", "verdict"), [(1, Verdict.PASS), (11, Verdict.REVIEW)])
def test_a_row_that_came_twice_is_in_the_total_once_and_nothing_is_lost(
    folder: ProjectFolder, copies: int, verdict: Verdict
) -> None:
    """Rows twice said "could not be loaded", and totals were no longer called whole."""
    once = orders(99)
    folder.write("raw/transactions.csv", once + "".join(once.splitlines(True)[1 : 1 + copies]))
    market = opened(folder)
    (check,) = describe_data(market)
    assert check.verdict is verdict
    assert str(check.statement).startswith(f"{copies} rows of transactions came more than once")
    assert check.value is not None
    assert check.value.value == 0
    assert market.unread("transactions") == (0, 99 + copies)


@pytest.mark.case("15")
def test_keys_that_do_not_meet_set_the_other_table_aside(folder: ProjectFolder) -> None:
    folder.market(sources=TRANSACTIONS_YAML + CUSTOMERS_YAML)
    folder.write("raw/transactions.csv", orders(50))
    folder.write("raw/customers.csv", "id\n" + "".join(f"00{i}\n" for i in range(100, 110)))
    market = opened(folder)
    assert not market.has("customers")
    (check,) = describe_data(market)
    assert check.verdict is Verdict.FAIL
    assert (
        str(check.statement) == "0 of 10 customers of transactions are in the table of customers."
    )
    assert "10 would be found but for leading zeros" in str(check.so_what)


@pytest.mark.case("15")
def test_keys_that_meet_say_nothing(folder: ProjectFolder) -> None:
    folder.market(sources=TRANSACTIONS_YAML + CUSTOMERS_YAML)
    folder.write("raw/transactions.csv", orders(50))
    folder.write("raw/customers.csv", "id\n" + "".join(f"{i}\n" for i in range(100, 110)))
    market = opened(folder)
    assert market.has("customers")
    assert describe_data(market) == []


@pytest.mark.case("15")
def test_refusals_that_name_nobody_close_the_gate_to_contacts(folder: ProjectFolder) -> None:
    folder.market(sources=TRANSACTIONS_YAML + CUSTOMERS_YAML + CONSENTS_YAML)
    folder.write("raw/transactions.csv", orders(50))
    folder.write("raw/customers.csv", "id\n" + "".join(f"{i}\n" for i in range(100, 110)))
    rows = "".join(f"{i}.0,activation,refused,2024-05-01\n" for i in range(100, 105))
    folder.write("raw/consents.csv", "customer,purpose,decision,at\n" + rows)
    (gate,) = describe_data(opened(folder))
    assert isinstance(gate, Gate)
    assert gate.verdict is Verdict.FAIL
    assert gate.blocks == ("decisions",)
