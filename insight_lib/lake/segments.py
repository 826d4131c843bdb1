"""Which segments a market has published, for a command that names one."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from insight_lib.lake.store import latest_usual_version, table_files


def published_segments(root: Path) -> list[str]:
    """Segments of the latest published table below a market's folder; none before the first."""
    import duckdb

    version = latest_usual_version(root / "segments", as_of=date.max)
    if version is None:
        return []
    files, _ = table_files(root / "segments", version)
    with duckdb.connect() as connection:
        rows = connection.execute(
            "SELECT DISTINCT segment FROM read_parquet(?) WHERE segment IS NOT NULL ORDER BY 1",
            [files],
        ).fetchall()
    return [str(row[0]) for row in rows]
