"""What every shipped page said, kept through every change of the code.

`python -m tests.goldens.pages [MARKET …]` runs the shipped markets and writes what their
pages say now; the difference is for the changelog.
"""

from __future__ import annotations

import gzip
import json
import math
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import nbformat
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from insight_lib.findings import CHART_MIME, TABLE_MIME, TILES_MIME
from insight_lib.lake.store import table_files
from insight_lib.parameters import load_project
from insight_lib.simulation import refresh_simulation
from tests.conftest import ROOT
from tests.crucible.desk import go

TODAY = date(2026, 11, 27)
KEPT = Path(__file__).parent
MARKETS = sorted(path.stem for path in (ROOT / "parameters" / "markets").glob("*.yaml"))
# Machines add floats in another order; what a reader sees does not change by that.
_RELATIVE = 1e-6


def pages_of(market: str, root: Path) -> dict[str, Any]:
    """Run one shipped market in `root`, and read what its pages say, by stage."""
    for name in ("parameters", "notebooks"):
        shutil.copytree(ROOT / name, root / name)
    for path in (root / "parameters" / "markets").glob("*.yaml"):
        if path.stem != market:
            path.unlink()
    project = load_project(root)
    if simulation := project.market(market).simulation:
        refresh_simulation(
            project.lake_dir / "_simulated" / market,
            market,
            seed=simulation.seed,
            n_customers=simulation.customers,
        )
    outcome = go(root, today=TODAY)
    assert not outcome.ingest_faults, outcome.ingest_faults
    return {
        row.cell.stage: read_page(row.link.parent, root, market)
        for row in outcome.rows
        if row.link is not None and row.state.is_published
    }


def read_page(folder: Path, root: Path, market: str) -> dict[str, Any]:
    """Findings in their order, tables and charts as numbers, and what was published."""
    findings = json.loads((folder / "findings.json").read_text())["findings"]
    notebook = nbformat.read(folder / "notebook.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    shown: dict[str, list[Any]] = {TABLE_MIME: [], TILES_MIME: [], CHART_MIME: []}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            for kind, items in shown.items():
                if kind in output.get("data", {}):
                    items.append(output["data"][kind])
    record = json.loads((folder / "run.json").read_text())
    return {
        "findings": [
            {name: finding.get(name) for name in ("id", "kind", "verdict", "owner", "due")}
            | {"value": _bare(finding["value"]), "text": finding["statement"]["text"]}
            for finding in findings
        ],
        "tables": [[t["columns"], *t["rows"]] for t in shown[TABLE_MIME]],
        "tiles": [[(t["label"], t["value"]) for t in row["tiles"]] for row in shown[TILES_MIME]],
        "charts": [(c.get("table") or {}).get("rows") for c in shown[CHART_MIME]],
        "published": {
            name: _summary(_folder(root, market, name), entry["version"])
            for name, entry in sorted(record["published"].items())
        },
    }


def _bare(value: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if value is None:
        return None
    return {k: value[k] for k in ("value", "lower", "upper", "unit", "n") if k in value}


def _folder(root: Path, market: str, name: str) -> Path:
    project = load_project(root)
    return project.lake_dir / project.market(market).region / market / name


def _summary(folder: Path, version: int) -> dict[str, Any]:
    """Rows, and by column the sum of its numbers or how many values it has."""
    files, _ = table_files(folder, version)
    table = pa.concat_tables([pq.read_table(file) for file in files]) if files else pa.table({})
    found: dict[str, Any] = {"rows": table.num_rows}
    for name in table.column_names:
        column = table[name]
        if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
            found[name] = pc.sum(column.cast(pa.float64())).as_py()
        else:
            found[name] = pc.count_distinct(column).as_py()
    return found


def differences(before: Any, after: Any, at: str = "") -> Iterator[str]:
    """Where two pages differ, words of sentences left out."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in sorted(before.keys() | after.keys()):
            if name != "text":
                yield from differences(before.get(name), after.get(name), f"{at}/{name}")
    elif isinstance(before, list | tuple) and isinstance(after, list | tuple):
        if len(before) != len(after):
            yield f"{at}: {_short(before)} became {_short(after)}"
            return
        for index, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from differences(one, other, f"{at}/{index}")
    elif isinstance(before, float) and isinstance(after, int | float):
        if not math.isclose(before, after, rel_tol=_RELATIVE, abs_tol=1e-9):
            yield f"{at}: {before!r} became {after!r}"
    elif before != after:
        yield f"{at}: {_short(before)} became {_short(after)}"


def _short(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        value = [item.get("id") for item in value]
    return f"{value!r}"[:300]


def read(market: str) -> dict[str, Any]:
    """What the pages of a market said."""
    content: dict[str, Any] = json.loads(
        gzip.decompress((KEPT / f"{market}.json.gz").read_bytes()).decode()
    )
    return content


def keep(market: str, pages: Mapping[str, Any]) -> None:
    """Keep what the pages of a market say; the same bytes for the same pages."""
    text = json.dumps(pages, sort_keys=True, indent=1, ensure_ascii=False)
    (KEPT / f"{market}.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


if __name__ == "__main__":
    for name in sys.argv[1:] or MARKETS:
        with tempfile.TemporaryDirectory() as folder:
            now = json.loads(json.dumps(pages_of(name, Path(folder))))
        if (KEPT / f"{name}.json.gz").is_file():
            for line in differences(read(name), now):
                print(f"{name}{line}")
        keep(name, now)
