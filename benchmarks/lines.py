"""Order lines by the hundred million, written by the engine: every benchmark reads the same."""

from __future__ import annotations

from pathlib import Path

import duckdb

_PART_LINES = 10_000_000


def write_lines(folder: Path, *, n_lines: int, n_customers: int) -> list[str]:
    """Write about four lines per order and twenty lines per customer over three years.

    Heavy-tailed customers, four-digit products; reproducible, because every value is a hash
    of its row number.

    Returns:
        Paths of the Parquet files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for part, start in enumerate(range(0, n_lines, _PART_LINES)):
        end = min(start + _PART_LINES, n_lines)
        file = folder / f"lines-{n_lines}-{part:03}.parquet"
        files.append(str(file))
        if file.exists():
            continue
        beside = file.with_suffix(".part")
        with duckdb.connect() as connection:
            connection.execute("SET threads=2; SET memory_limit='1GB'")
            connection.execute(
                f"""COPY (
                WITH numbered AS (SELECT i, i // 4 AS o FROM range({start}, {end}) AS r(i)),
                drawn AS (
                  SELECT i, o, hash(o) % 1000000000 / 1e9 AS u, hash(o, 1) % 94608000 AS second,
                    hash(i, 2) AS h FROM numbered)
                SELECT o::VARCHAR AS order_id, i::VARCHAR AS line_id,
                  -- squaring a uniform number gives few customers most of the orders
                  floor(u * u * {n_customers})::BIGINT::VARCHAR AS customer_id,
                  TIMESTAMP '2022-01-01' + to_seconds(second) AS ordered_local,
                  (h % 5000)::VARCHAR AS product_id,
                  ((h >> 16) % 5000 / 100 + 0.5)::DECIMAL(18,4) AS amount,
                  ((h >> 32) % 200 / 100)::DECIMAL(18,4) AS discount_amount,
                  CASE WHEN h % 50 = 0 THEN 0.5 ELSE 0 END::DECIMAL(18,4) AS coupon_amount
                FROM drawn) TO '{beside}' (FORMAT parquet, COMPRESSION zstd)"""
            )
        beside.rename(file)
    return files
