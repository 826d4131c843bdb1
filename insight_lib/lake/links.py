"""Joins, measured: the share of keys on each link between tables that finds its partner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from insight_lib.lake.contract import quoted
from insight_lib.lake.store import Manifest, TableEntry, table_files

if TYPE_CHECKING:
    import duckdb

# Column of other tables to the table whose key it names.
_OWNERS = {"customer_id": "customers", "product_id": "products", "campaign_id": "campaigns"}
# Price lists and stocks hold what nobody buys, so their keys tell nothing about a fault.
_LINKED = (
    "transactions",
    "assignments",
    "responses",
    "interactions",
    "contracts",
    "surveys",
    "consents",
    "payments",
)


@dataclass(frozen=True, kw_only=True)
class Link:
    """How many of a table's keys are found in the table that owns them.

    Attributes:
        advice: What the two ways of writing seem to be, where none or few are found.
    """

    table: str
    column: str
    owner: str
    keys: int
    found: int
    advice: str = ""

    @property
    def share(self) -> float:
        """Of the keys, those that were found; 1 where there is none to look for."""
        return self.found / self.keys if self.keys else 1.0

    @property
    def name(self) -> str:
        return f"{self.table}.{self.column}"


def measure_links(folder: Path, entries: Mapping[str, TableEntry]) -> tuple[Link, ...]:
    """Measure every link between loaded tables of a market."""
    import duckdb

    links = []
    with duckdb.connect() as connection:
        columns = {}
        for name in (*_LINKED, *_OWNERS.values()):
            if name in entries and entries[name].rows:
                files, _ = table_files(folder / name, entries[name].version)
                connection.execute(
                    f"CREATE OR REPLACE VIEW {quoted(name)} AS SELECT * FROM read_parquet("
                    f"{files!r})"
                )
                described = connection.execute(f"DESCRIBE {quoted(name)}").fetchall()
                columns[name] = {row[0] for row in described}
        for table in _LINKED:
            for column, owner in _OWNERS.items():
                if column in columns.get(table, ()) and column in columns.get(owner, ()):
                    links.append(_measure(connection, table, column, owner))
    return tuple(links)


def _measure(connection: object, table: str, column: str, owner: str) -> Link:
    key = quoted(column)
    plain = f"regexp_replace(ltrim(lower({key}), '0'), '\\.0+$|^[^0-9a-z]+|[^0-9a-z]+$', '', 'g')"
    query = (
        f"WITH mine AS (SELECT DISTINCT {key}, {plain} AS plain FROM {quoted(table)} "
        f"WHERE {key} IS NOT NULL), theirs AS (SELECT DISTINCT {key}, {plain} AS plain "
        f"FROM {quoted(owner)} WHERE {key} IS NOT NULL) "
        f"SELECT count(*), count(*) FILTER ({key} IN (SELECT {key} FROM theirs)), "
        f"count(*) FILTER (plain IN (SELECT plain FROM theirs)) FROM mine"
    )
    keys, found, alike = connection.execute(query).fetchone()  # type: ignore[attr-defined]
    advice = ""
    if alike > found:
        advice = (
            f"{alike:,} would be found but for leading zeros, a decimal point, case or "
            "punctuation: write the key the same way in both sources"
        )
    return Link(table=table, column=column, owner=owner, keys=keys, found=found, advice=advice)


# Ends every question on keys that differ by spelling alone.
_ALIKE = "say whether they are the same, and have each written in one way"


def alike_keys(
    folder: Path,
    entries: Mapping[str, TableEntry],
    market: str,
    *,
    known: Sequence[str] | None = None,
) -> tuple[str, ...]:
    """Keys of one table that differ only in case or by blanks around them, as questions.

    They stay apart, for two customers may be called so; nobody merges them in silence.

    Args:
        known: The questions of the ingest before, where no table has changed since.
    """
    import duckdb

    if known is not None:
        return tuple(question for question in known if question.endswith(_ALIKE))
    found = []
    with duckdb.connect() as connection:
        for name, entry in sorted(entries.items()):
            if name not in (*_LINKED, *_OWNERS.values()) or not entry.rows:
                continue
            files, _ = table_files(folder / name, entry.version)
            connection.execute(
                f"CREATE OR REPLACE VIEW held AS SELECT * FROM read_parquet({files!r})"
            )
            columns = {row[0] for row in connection.execute("DESCRIBE held").fetchall()}
            for column in sorted(columns & {*_OWNERS, "store_id", "order_id"}):
                n_keys, n_alike = _count_alike(connection, quoted(column))
                if n_keys:
                    found.append(
                        f"{market}: {name}: {n_alike:,} values of {column} are {n_keys:,} where "
                        f"case and blanks around them do not count; they are kept apart: {_ALIKE}"
                    )
    return tuple(found)


def _count_alike(connection: duckdb.DuckDBPyConnection, key: str) -> tuple[int, int]:
    """Keys that are written in more than one way, and their spellings."""
    row = connection.execute(
        f"SELECT count(*), coalesce(sum(n), 0) FROM (SELECT count(DISTINCT {key}) AS n FROM held "
        f"GROUP BY lower(trim({key})) HAVING n > 1)"
    ).fetchone()
    assert row
    return int(row[0]), int(row[1])


# With fewer keys that find their partner, and a way of writing by which more would, what joins
# two tables tells nothing. Few without one may be right: prospects are no customers yet.
_SMALLEST_SHARE = 0.5
# What a market is about: where a link from it is broken, the other table is set aside.
_MAIN = ("transactions", "contracts")


def is_broken(link: Link) -> bool:
    """Whether nothing that joins the two tables may be believed."""
    return bool(link.keys) and (
        link.found == 0 or (link.share < _SMALLEST_SHARE and bool(link.advice))
    )


def set_aside(manifest: Manifest) -> set[str]:
    """Tables that no stage may join, because the keys do not meet.

    Consents are never set aside: who refused must not become allowed.
    """
    broken = [link for entry in manifest.links if is_broken(link := Link(**entry))]
    found = {link.owner if link.table in _MAIN else link.table for link in broken}
    return found - {"consents"}


def broken_links(manifest: Manifest) -> list[str]:
    """Links of a market on which too few keys find their partner, in words."""
    links = [Link(**entry) for entry in manifest.links]
    return [
        f"{link.found:,} of {link.keys:,} keys of {link.name} are in {link.owner}"
        + (f"; {link.advice}" if link.advice else "; compare how the two sources write it")
        for link in links
        if is_broken(link)
    ]


def why_absent(manifest: Manifest | None, name: str) -> str | None:
    """Why a table that was delivered may not be read, in words; None where it was not delivered."""
    if manifest is None:
        return None
    if name in manifest.tables and name in set_aside(manifest):
        return "; ".join(broken_links(manifest))
    if name not in manifest.tables and name in manifest.refused:
        return f"the delivery was refused ({manifest.refused[name]})"
    return None
