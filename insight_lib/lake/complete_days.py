"""The last complete day of a market, read off what its customers did."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

from insight_lib.lake.contract import literal, quoted
from insight_lib.lake.store import LakeError, TableEntry, table_files
from insight_lib.market_model import MarketConfig
from insight_lib.schema import TABLES, TableSchema, Type

# Days without any activity that are more than a pause, unless the market's rhythm has such.
_LONGEST_PAUSE_DAYS = 60
_RHYTHM_FACTOR = 3
# What stands behind such a pause is a stray date, not a reopening, while it is so little.
_FEWEST_DAYS_AFTER = 10
_SMALLEST_SHARE_AFTER = 0.05


def last_complete_day(
    folder: Path, market: MarketConfig, entries: Mapping[str, TableEntry]
) -> tuple[date | None, tuple[str, ...]]:
    """The declared last day, or the day before the last one that the data touch.

    A few rows behind a long gap are dates to be asked about, not the end of the data: the last
    day comes before the gap, and the question is said.

    Returns:
        The day (the one before the first where no day is complete; None where no table tells
        of days), and the questions.
    """
    if market.period:
        return market.period.last_day, ()
    for name in ("transactions", "interactions", "contracts"):
        if name not in entries or not entries[name].rows:
            continue
        days = _active_days(folder, market, TABLES[name], entries[name].version)
        kept, questions = _without_strays(days, f"{market.id}: {name}")
        if len(kept) > 1:
            return kept[-1][0] - timedelta(days=1), questions
        if kept:  # known to be complete is only the time before it
            asked = f"{market.id}: {name}: holds no complete day yet"
            return kept[0][0] - timedelta(days=1), (*questions, asked)
    return None, ()


def _without_strays(
    days: list[tuple[date, int]], where: str
) -> tuple[list[tuple[date, int]], tuple[str, ...]]:
    questions: list[str] = []
    total = sum(n for _, n in days)
    gaps = [(b[0] - a[0]).days for a, b in pairwise(days)]
    # From the first suspicious gap on: several stray days may have gaps between them, too.
    for i, gap in enumerate(gaps):
        after = days[i + 1 :]
        rhythm = max(gaps[:i], default=0)
        rows = sum(n for _, n in after)
        if (
            gap > max(_LONGEST_PAUSE_DAYS, _RHYTHM_FACTOR * rhythm)
            and len(after) < _FEWEST_DAYS_AFTER
            and (len(after) < 3 or rows < _SMALLEST_SHARE_AFTER * total)
            and i > 0
        ):
            questions.append(
                f"{where}: {rows:,} rows of {after[0][0]} and later stand {gap} days behind the "
                f"day before them, {days[i][0]}, and are left out; correct them, or declare "
                "`period` in the market's YAML if they are right"
            )
            return days[: i + 1], tuple(questions)
    return days, ()


def _active_days(
    folder: Path, market: MarketConfig, schema: TableSchema, version: int
) -> list[tuple[date, int]]:
    """Days with rows of a table and how many, in order; returns are not activity."""
    import duckdb

    assert schema.time
    files, _ = table_files(folder / schema.name, version)
    column = quoted(schema.time)
    if schema.column(schema.time).type is Type.INSTANT:
        column = f"{column} AT TIME ZONE {literal(market.zone)}"
    active = "WHERE amount >= 0" if schema.name == "transactions" else ""
    query = (
        f"SELECT CAST({column} AS DATE) AS day, count(*) FROM read_parquet(?) {active} "
        "GROUP BY day HAVING day IS NOT NULL ORDER BY day"
    )
    try:
        with duckdb.connect() as connection:
            return [(d, int(n)) for d, n in connection.execute(query, [files]).fetchall()]
    except duckdb.Error as error:
        raise LakeError(
            f"{market.id}: {schema.name}: not readable ({str(error).splitlines()[0]}); "
            f"run `insight ingest --market {market.id} --force`"
        ) from error
