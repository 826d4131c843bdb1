"""Customer features: the library's expression against hand-written SQL for the same columns.

Each measurement is a process of its own, so its peak memory is its own.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import duckdb

AS_OF = date(2024, 12, 31)
HISTORY_DAYS, RECENT_DAYS, GROUPS = 1095, 90, 5
SETTINGS = "SET threads=2; SET memory_limit='2500MB'; SET TimeZone='UTC'"

HAND_WRITTEN = f"""
WITH orders AS (
  SELECT order_id, customer_id, min(ordered_local) AS clock, sum(amount) AS amount,
    sum(discount_amount) AS discount, sum(coupon_amount) AS coupon,
    sum(CASE WHEN amount < 0 THEN -amount ELSE 0 END) AS returned, count(*) AS n_lines
  FROM read_parquet(?) WHERE customer_id IS NOT NULL GROUP BY order_id, customer_id),
history AS (
  SELECT *, clock::DATE AS day FROM orders
  WHERE clock::DATE BETWEEN DATE '{AS_OF}' - {HISTORY_DAYS - 1} AND DATE '{AS_OF}'),
totals AS (
  SELECT customer_id, min(day) AS first_order_date, max(day) AS last_order_date,
    count(*) AS n_orders, count(DISTINCT day) AS n_order_days, sum(n_lines) AS n_lines,
    sum(amount) AS revenue_amount, sum(discount) AS discount, sum(coupon) AS coupon,
    sum(returned) AS returned_amount, avg((isodow(day) >= 6)::INT) AS weekend_share,
    avg((hour(clock) BETWEEN 17 AND 22)::INT) AS evening_share,
    count(*) FILTER (day > DATE '{AS_OF}' - {RECENT_DAYS}) AS n_orders_recent,
    coalesce(sum(amount) FILTER (day > DATE '{AS_OF}' - {RECENT_DAYS}), 0)
      AS revenue_recent_amount,
    count(*) FILTER (day BETWEEN DATE '{AS_OF}' - {2 * RECENT_DAYS - 1}
      AND DATE '{AS_OF}' - {RECENT_DAYS}) AS n_orders_before,
    coalesce(sum(amount) FILTER (day BETWEEN DATE '{AS_OF}' - {2 * RECENT_DAYS - 1}
      AND DATE '{AS_OF}' - {RECENT_DAYS}), 0) AS revenue_before_amount
  FROM history GROUP BY customer_id)
SELECT customer_id, first_order_date, last_order_date, n_orders, n_order_days, n_lines,
  revenue_amount, returned_amount, weekend_share, evening_share, n_orders_recent,
  revenue_recent_amount, n_orders_before, revenue_before_amount,
  date_diff('day', last_order_date, DATE '{AS_OF}') AS days_since_last_order,
  revenue_amount::DOUBLE / n_orders AS mean_order_amount,
  date_diff('day', first_order_date, last_order_date) / nullif(n_order_days - 1, 0)
    AS mean_gap_days,
  discount::DOUBLE / nullif(revenue_amount + discount, 0)::DOUBLE AS discount_share,
  coupon::DOUBLE / nullif(revenue_amount + discount, 0)::DOUBLE AS coupon_share,
  (rank() OVER (ORDER BY last_order_date) - 1) * {GROUPS} // count(*) OVER () + 1 AS recency_score,
  (rank() OVER (ORDER BY n_orders) - 1) * {GROUPS} // count(*) OVER () + 1 AS frequency_score,
  (rank() OVER (ORDER BY revenue_amount) - 1) * {GROUPS} // count(*) OVER () + 1 AS spend_score
FROM totals
"""


def _connect(folder: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute(SETTINGS)
    connection.execute(f"SET temp_directory='{folder}/spill'")
    return connection


def by_hand(files: list[str], folder: Path) -> int:
    with _connect(folder) as connection:
        return int(connection.execute(HAND_WRITTEN, [files]).to_arrow_table().num_rows)


def by_library(files: list[str], folder: Path) -> int:
    import ibis

    from insight_lib.features.customers import customer_features
    from insight_lib.orders import orders

    connection = ibis.duckdb.from_connection(_connect(folder))
    described = customer_features(
        orders(connection.read_parquet(files)),
        as_of=AS_OF,
        history_days=HISTORY_DAYS,
        recent_days=RECENT_DAYS,
        rfm_groups=GROUPS,
    )
    return int(described.to_pyarrow().num_rows)


def by_pandas(files: list[str], _: Path) -> int:
    """For reference: only recency, frequency and spend, all lines in memory."""
    import pandas as pd

    lines = pd.concat(
        pd.read_parquet(f, columns=["order_id", "customer_id", "ordered_local", "amount"])
        for f in files
    )
    lines["amount"] = lines["amount"].astype(float)
    grouped = lines.groupby("customer_id").agg(
        last=("ordered_local", "max"), orders=("order_id", "nunique"), spend=("amount", "sum")
    )
    return len(grouped)


WAYS = {"hand-written SQL": by_hand, "insight_lib": by_library, "pandas (RFM only)": by_pandas}


def measure(way: str, files: list[str], folder: Path) -> dict[str, float]:
    """Run one way in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.features", way, str(folder), *files]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def main() -> None:
    way, folder, *files = sys.argv[1:]
    started = time.perf_counter()
    rows = WAYS[way](files, Path(folder))
    print(
        json.dumps(
            {
                "seconds": time.perf_counter() - started,
                "rows": rows,
                "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
            }
        )
    )


if __name__ == "__main__":
    main()
