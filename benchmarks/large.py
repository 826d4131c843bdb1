"""A million customers on two cores: segments found, and a model trained and scored.

Both start from order lines in Parquet and aggregate them in the engine; each measurement is a
process of its own, so its peak memory is its own.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ibis.expr.types as ir

FIRST_DAY, AS_OF = date(2022, 1, 1), date(2024, 12, 30)
SETTINGS = "SET threads=2; SET memory_limit='2500MB'; SET TimeZone='UTC'"


def _tables(files: list[str], folder: Path) -> Mapping[str, ir.Table]:
    """Order lines and products as a market has them; departments and channels by hash."""
    import duckdb
    import ibis

    raw = duckdb.connect()
    raw.execute(f"{SETTINGS}; SET temp_directory='{folder}/spill'")
    connection = ibis.duckdb.from_connection(raw)
    raw.execute(
        "CREATE TEMP TABLE products AS SELECT i::VARCHAR AS product_id, "
        "'department ' || i % 8 AS department, "
        "['value', 'core', 'premium'][i % 3 + 1] AS price_tier FROM range(5000) AS r(i)"
    )
    lines = connection.read_parquet(files)
    channel = ibis.ifelse(lines.order_id.hash() % 3 == 0, "store", "web")
    lines = lines.mutate(quantity=ibis.literal(1.0), channel=channel)
    return {"transactions": lines, "products": connection.table("products")}


def segments(files: list[str], folder: Path) -> int:
    from insight_lib.orders import window
    from insight_lib.segments.inputs import behaviour, enough_orders, lines_between
    from insight_lib.segments.solution import estimate_segments

    tables = _tables(files, folder)
    lines = lines_between(tables["transactions"], window(AS_OF, 1095))
    inputs, _ = behaviour(lines, tables["products"], customers=enough_orders(lines, 2))
    found = estimate_segments(inputs.matrix, inputs.customer_id, seed=1)
    return len(found.table() if found.model else inputs.customer_id)


def prediction(files: list[str], folder: Path) -> int:
    from insight_lib.prediction.fit import fit, stack
    from insight_lib.prediction.history import Windows
    from insight_lib.prediction.scorer import score
    from insight_lib.prediction.snapshots import (
        choose_cuts,
        choose_targets,
        take_snapshots,
    )

    tables = _tables(files, folder)
    windows = Windows(horizon_days=91, history_days=728, active_days=728)
    cuts = choose_cuts(FIRST_DAY, AS_OF, windows, most=2)
    targets = choose_targets(tables, windows=windows, currency="EUR", as_of=AS_OF)[:1]
    args = {"as_of": AS_OF, "windows": windows, "targets": targets}
    taken = take_snapshots(tables, cuts, most_customers=50_000, **args)
    training = stack(taken[:-1], targets[0])
    document = fit("boosting", training, target=targets[0], as_of=AS_OF, seed=1)
    features = taken[-1].features
    return len(score(document, {c: features[c].to_numpy() for c in features}))


WAYS = {"segments": segments, "prediction": prediction}


def measure(way: str, files: list[str], folder: Path) -> dict[str, float]:
    """Run one way in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.large", way, str(folder), *files]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def report(files: list[str], folder: Path) -> str:
    """Seconds and peak memory of each way, as a table."""
    rows = ["| From order lines to | Customers | Seconds | Peak GiB |", "|---|---|---|---|"]
    for way in WAYS:
        result = measure(way, files, folder)
        rows.append(
            f"| {way} | {result['customers']:,.0f} | {result['seconds']:.0f} "
            f"| {result['peak_gib']:.2f} |"
        )
    return "\n".join(rows) + "\n"


def main() -> None:
    way, folder, *files = sys.argv[1:]
    started = time.perf_counter()
    customers = WAYS[way](files, Path(folder))
    print(
        json.dumps(
            {
                "seconds": time.perf_counter() - started,
                "customers": customers,
                "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
            }
        )
    )


if __name__ == "__main__":
    main()
