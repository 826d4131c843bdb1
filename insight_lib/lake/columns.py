"""Columns looked at as a whole: what no single value of them can show to be wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from insight_lib.lake.contract import RAW, ambiguous_days, literal, quoted, swapped
from insight_lib.lake.faults import SourceFault
from insight_lib.lake.sources import Opened
from insight_lib.market_model import Source
from insight_lib.schema import TableSchema

if TYPE_CHECKING:
    import duckdb

_TEXT = "VARCHAR"


def check_days(
    connection: duckdb.DuckDBPyConnection,
    schema: TableSchema,
    source: Source,
    opened: Opened,
    where: str,
) -> None:
    """Refuse a column that holds both orders of day and month: half of it reads wrong."""
    if source.format != "csv":
        return
    for name, column in ambiguous_days(schema, source):
        declared = source.columns[name].format or ""
        other = swapped(declared) or ""
        given = quoted(RAW + column)
        raw = " UNION ALL ".join(f"SELECT {given} FROM {view}" for view in opened.views)
        row = connection.execute(
            f"SELECT count(*) FILTER (mine IS NULL AND theirs IS NOT NULL), "
            f"count(*) FILTER (mine IS NOT NULL AND theirs IS NOT NULL AND mine <> theirs) FROM ("
            f"SELECT try_strptime(trim({given}), {literal(declared)}) AS mine, "
            f"try_strptime(trim({given}), {literal(other)}) AS theirs FROM ({raw}))"
        ).fetchone()
        unread, either = row or (0, 0)
        if unread:
            raise SourceFault(
                f"{where}: column {column!r}: {unread:,} rows have day and month in the "
                f"other order than {declared!r}, and {either:,} more can be read in both; no day "
                "of this column can be trusted; have it written in one order"
            )


def ask_about_sizes(
    connection: duckdb.DuckDBPyConnection, source: Source, opened: Opened
) -> list[str]:
    """Ask about amounts whose point may be a decimal one although a comma is declared."""
    if source.format != "csv" or source.decimal != ",":
        return []
    asked = []
    for name, origin in source.columns.items():
        if not origin.from_ or not name.endswith("amount"):
            continue
        given = f"trim({quoted(RAW + origin.from_)})"
        raw = " UNION ALL ".join(f"SELECT {given} AS g FROM {view}" for view in opened.views)
        n, large, usual = connection.execute(
            "SELECT count(*) FILTER (p), median(abs(v)) FILTER (p), median(abs(v)) FILTER (NOT p) "
            "FROM (SELECT regexp_full_match(g, '[+-]?[0-9]{1,3}\\.[0-9]{3}') AS p, "
            "TRY_CAST(replace(replace(g, '.', ''), ',', '.') AS DOUBLE) AS v "
            f"FROM ({raw}))"
        ).fetchone() or (0, None, None)
        if n and usual and large and large > 100 * usual:
            asked.append(
                f"column {origin.from_}: {n:,} values with a point are read as whole thousands, "
                f"{large / usual:,.0f} times the usual size; is the point a decimal one there?"
            )
    return asked


def ask_about_blanks(
    connection: duckdb.DuckDBPyConnection, source: Source, opened: Opened
) -> list[str]:
    """Ask about keys that are one only because blanks around them are taken off."""
    asked = []
    for name, origin in source.columns.items():
        if not origin.from_ or not name.endswith("_id"):
            continue
        column = quoted(RAW + origin.from_)
        views = [view for view, types in opened.views.items() if types[RAW + origin.from_] == _TEXT]
        if not views:
            continue
        raw = " UNION ALL ".join(f"SELECT {column} AS g FROM {view}" for view in views)
        (n,) = connection.execute(
            f"SELECT count(*) FROM (SELECT trim(g) AS t FROM ({raw}) WHERE g IS NOT NULL "
            "GROUP BY t HAVING count(DISTINCT g) > 1)"
        ).fetchone() or (0,)
        if n:
            asked.append(
                f"column {origin.from_}: {n:,} values come with and without blanks around them "
                "and are read as the same; is that right?"
            )
    return asked
