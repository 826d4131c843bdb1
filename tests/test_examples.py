"""The example of own data: known totals reproduced, traps handled."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from insight_lib.lake.ingest import ingest_market
from insight_lib.market import open_market
from insight_lib.parameters import load_project
from tests.conftest import ROOT
from tests.test_end_to_end import insight

LICENCE = """
online-retail:
  licensor: D. Chen, UCI Machine Learning Repository (CC BY 4.0)
  uses: [analytics, modelling]
  clause: Creative Commons Attribution 4.0
  may_redistribute: true
  territories: [all]
"""


@pytest.fixture(scope="module")
def gifts(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Path:
    root = tmp_path_factory.mktemp("gifts")
    shutil.copytree(ROOT / "parameters", root / "parameters")
    shutil.copytree(ROOT / "notebooks", root / "notebooks")
    shutil.rmtree(root / "parameters/markets")
    shutil.copytree(ROOT / "docs/examples", root / "parameters/markets")
    (root / "raw").mkdir()
    shutil.copy(shared_data / "online_retail_2010_2011.parquet", root / "raw")
    licences = root / "parameters/registers/licences.yaml"
    licences.write_text(licences.read_text() + LICENCE)
    return root


def test_the_instructions_name_the_licence_that_the_examples_need() -> None:
    text = (ROOT / "docs/examples/README.md").read_text()
    for line in LICENCE.strip().splitlines():
        assert line.strip() in text


@pytest.mark.parametrize(
    ("market", "n_lines", "n_customers", "amount"),
    [
        # Computed from the file by an independent implementation; UK lines are published.
        ("gb-gifts", 495_478, 3950, 8_187_806.36),
        ("de-gifts", 9_495, 95, 221_698.21),
        ("fr-gifts", 8_557, 87, 197_403.90),
        ("ie-gifts", 8_196, 3, 263_276.82),
    ],
)
def test_known_totals(
    gifts: Path, market: str, n_lines: int, n_customers: int, amount: float
) -> None:
    import duckdb

    project = load_project(gifts)
    assert not project.faults
    results = ingest_market(project.lake_dir, project.markets[market], project.root)
    entry = results[0].entry
    assert entry, results[0].fault
    assert entry.rows_in == 541_909
    assert entry.rows_in - entry.out_of_scope == n_lines
    lines = open_market(market, stage="features", root=gifts).table("transactions")
    loaded = float(lines.amount.sum().execute())
    folder = gifts / "data/gb/_quarantine" / market / "transactions"
    from deltalake import DeltaTable

    quarantined = DeltaTable(folder).to_pyarrow_table()
    raw = [json.loads(row) for row in quarantined["raw"].to_pylist()]
    set_aside = sum(row["Quantity"] * row["UnitPrice"] for row in raw)
    assert loaded + set_aside == pytest.approx(amount, abs=0.01)
    country = project.markets[market].sources["transactions"].filter["Country"]
    file = gifts / "raw/online_retail_2010_2011.parquet"
    known = duckdb.execute(
        "SELECT count(DISTINCT CustomerID) FROM read_parquet(?) WHERE Country = ?",
        [str(file), country],
    ).fetchone()
    assert known == (n_customers,)


def test_copies_are_set_aside_and_counted(gifts: Path) -> None:
    project = load_project(gifts)
    copies = 0
    for market in project.markets.values():
        entry = ingest_market(project.lake_dir, market, project.root)[0].entry
        assert entry
        copies += sum(n for reason, n in entry.reasons.items() if "the same row again" in reason)
    import duckdb

    file = gifts / "raw/online_retail_2010_2011.parquet"
    wanted = duckdb.execute(
        """SELECT count(*) - count(DISTINCT hash(COLUMNS(*))) FROM (SELECT * FROM read_parquet(?)
        WHERE Country IN ('United Kingdom', 'Germany', 'France', 'EIRE')
        AND InvoiceDate < TIMESTAMP '2011-12-09')""".replace(
            "hash(COLUMNS(*))",
            "hash(InvoiceNo, StockCode, Description, Quantity, InvoiceDate, UnitPrice, CustomerID)",
        ),
        [str(file)],
    ).fetchone()
    assert wanted == (copies,)


def test_the_pages_say_what_a_small_country_lacks(gifts: Path) -> None:
    done = insight(gifts, "run", "--market", "de-gifts", "--market", "ie-gifts")
    assert done.returncode == 0, done.stdout + done.stderr
    irish = next((gifts / "reports/ie-gifts").rglob("features/findings.json"))
    findings = json.loads(irish.read_text())["findings"]
    assert findings
    answered = [f["id"] for f in findings if f["verdict"] != "not measurable" and f["value"]]
    about_the_data = ("features.reconciliation", "features.unread_lines", "features.data.")
    assert not [name for name in answered if not name.startswith(about_the_data)]
    assert "3 customers, and it takes" in irish.read_text()
