"""What was not loaded, corrected or refused is said where rows are counted."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from insight_lib.data_checks import describe_data
from insight_lib.features.value import estimate_concentration
from insight_lib.findings import TooFew
from insight_lib.lake.links import why_absent
from insight_lib.lake.store import Manifest, TableEntry, write_manifest

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
UNMATCHED = {"table": "transactions", "column": "customer_id", "owner": "customers"} | {
    "keys": 160,
    "found": 0,
    "advice": "160 would be found but for leading zeros",
}


def entry(**counts: int) -> TableEntry:
    return TableEntry(version=0, source_digest="", rows_in=0, out_of_scope=0, **counts)


def manifest() -> Manifest:
    return Manifest(
        as_of=date(2024, 3, 12),
        tables={
            "transactions": entry(loaded=1_579, quarantined=505, corrected=33),
            "customers": entry(loaded=160, quarantined=0),
        },
        refused={"campaigns": "end_date before start_date"},
        links=(UNMATCHED,),
    )


@pytest.mark.case("15", "18", "20", "35")
def test_what_is_wrong_with_the_data_is_said_on_the_page(tmp_path: Path) -> None:
    root = tmp_path / "eu" / "de-test"
    root.mkdir(parents=True)
    write_manifest(root, manifest())
    market = SimpleNamespace(
        root=root,
        id="de-test",
        as_of=date(2024, 3, 12),
        versions={"transactions": 0},
        request=SimpleNamespace(stage="features"),
    )
    said = " ".join(str(f.statement) for f in describe_data(market))  # type: ignore[arg-type]
    assert "505 of 2,084 rows of transactions (24.2%) could not be loaded" in said
    assert "33 rows of transactions were corrected by a newer delivery" in said
    assert "The latest delivery of campaigns was refused: end_date before start_date." in said
    assert "0 of 160 customers of transactions are in the table of customers." in said
    less = describe_data(market, said=("transactions",))  # type: ignore[arg-type]
    assert "could not be loaded" not in " ".join(str(f.statement) for f in less)


@pytest.mark.case("15", "18")
@pytest.mark.parametrize("name", ["03_features", "03_value", "04_segments", "09_impact"])
def test_pages_that_count_rows_show_it(name: str) -> None:
    text = (NOTEBOOKS / f"{name}.ipynb").read_text()
    assert "*m.data_checks(" in text or "show(describe_data(m" in text


@pytest.mark.case("8", "15")
def test_the_reason_for_a_missing_table_is_the_true_one() -> None:
    assert "0 of 160 keys" in str(why_absent(manifest(), "customers"))
    assert "refused (end_date before start_date)" in str(why_absent(manifest(), "campaigns"))
    assert why_absent(manifest(), "products") is None


@pytest.mark.case("33")
def test_there_is_no_share_of_a_revenue_below_zero() -> None:
    spent = pd.DataFrame({"revenue_amount": [10.0] * 199 + [-5_000.0]})
    with pytest.raises(TooFew, match="as much money was taken back"):
        estimate_concentration(spent, as_of=date(2024, 3, 12))
