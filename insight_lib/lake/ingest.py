"""Ingest: declared sources into canonical tables; every row is loaded or has a reason.

Rows in = loaded + quarantined + out of scope + superseded, counted independently of the engine
that loads them, or the ingest of that table stops before anything is committed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from insight_lib.lake.columns import ask_about_blanks, ask_about_sizes, check_days
from insight_lib.lake.complete_days import last_complete_day
from insight_lib.lake.contract import (
    AFTER_TODAY,
    RAW,
    MappedColumn,
    literal,
    map_columns,
    quoted,
)
from insight_lib.lake.deliveries import COPY, FileSeen, check_replaceable, look_at
from insight_lib.lake.faults import SourceFault as SourceFault
from insight_lib.lake.faults import shown
from insight_lib.lake.links import alike_keys, measure_links
from insight_lib.lake.sources import Opened, check_quotes, locate, open_source
from insight_lib.lake.store import (
    LakeError,
    Manifest,
    TableEntry,
    locked,
    market_root,
    read_manifest,
    table_files,
    write_manifest,
    write_table,
)
from insight_lib.market_model import MarketConfig, Source
from insight_lib.schema import TABLES, TableSchema
from insight_lib.today import read_today

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_MEMORY = "1GB"
_LONGEST_WAIT_SECONDS = 1800.0
_BATCH_ROWS = 100_000
# Raise when a change of this module changes what is loaded from the same source.
_CONTRACT_VERSION = 3


def quarantine_root(lake: Path, region: str, market: str) -> Path:
    """Folder of a market's quarantined rows, beside the markets of its region.

    A market's engine reads its own folder only, so it cannot read these raw rows.
    """
    return _quarantine(market_root(lake, region, market))


def _quarantine(folder: Path) -> Path:
    return folder.parent / "_quarantine" / folder.name


@dataclass(frozen=True)
class TableIngest:
    """What happened to one table: `entry` if it is current now, or the fault."""

    table: str
    was_read: bool
    entry: TableEntry | None
    fault: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Delivery:
    """One reading of one source: what it takes to load it."""

    schema: TableSchema
    source: Source
    market: MarketConfig
    files: list[Path]
    seen: tuple[FileSeen, ...]
    folder: Path
    digest: str
    declaration: str
    previous: TableEntry | None
    today: date
    rebuild: bool

    @property
    def where(self) -> str:
        return f"{self.files[0].name}: {self.schema.name}"

    @property
    def gone(self) -> list[str]:
        """Files that were loaded and are no longer there."""
        names = {file.name for file in self.seen}
        before = self.previous.files if self.previous else ()
        return [entry["name"] for entry in before if entry["name"] not in names]

    @property
    def may_lose(self) -> bool:
        """Whether fewer rows than before may be meant: declared anew, or said by a person."""
        return (
            self.rebuild
            or self.source.location.startswith("simulated://")
            or (self.previous is not None and self.previous.declaration != self.declaration)
        )


def ingest_market(
    lake: Path,
    market: MarketConfig,
    root: Path,
    *,
    force: bool = False,
    rebuild: bool = False,
    today: date | None = None,
    wait_seconds: float = _LONGEST_WAIT_SECONDS,
    report: Callable[[TableIngest], None] = lambda _: None,
) -> list[TableIngest]:
    """Bring a market's canonical tables up to date with its declared sources.

    A source whose files and declaration are unchanged is not read again. A fault in one
    source leaves its last good table in place and the other tables go on.

    Args:
        lake: The lake, `Project.lake_dir`.
        root: Folder that relative source locations start from.
        rebuild: Take the files as the whole truth: rows that they no longer hold have ended.
            Refusals of consent stay all the same.
        today: Nothing can have happened later; the day of the clock if not given.
        wait_seconds: How long to wait for another process that writes this market.
        report: Called after each table.

    Raises:
        LakeError: Another process is writing this market, or the lake is torn.
    """
    folder = market_root(lake, market.region, market.id)
    today = today or read_today()
    results = []
    with locked(folder, wait_seconds=wait_seconds):
        _sweep(folder)
        try:
            manifest = read_manifest(lake, market.region, market.id)
        except LakeError:
            if not force:
                raise
            manifest = None
        manifest = manifest or Manifest(as_of=None, tables={})
        before = manifest.tables
        entries, refused = dict(before), dict(manifest.refused)
        for table in [name for name in entries if name not in market.sources]:
            if table != "consents":  # what was refused stays refused
                del entries[table]
        refused = {name: why for name, why in refused.items() if name in market.sources}
        for name, source in market.sources.items():
            previous = entries.get(name)
            try:
                delivery = _look(
                    TABLES[name], source, market, folder, root, previous, today, rebuild
                )
                is_same = previous is not None and previous.source_digest == delivery.digest
                if is_same and previous and not (force or rebuild or _waits_for_its_day(previous)):
                    result = TableIngest(name, False, previous)
                else:
                    entries[name] = _ingest_table(delivery)
                    result = TableIngest(name, True, entries[name])
                refused.pop(name, None)
            except SourceFault as error:
                result = TableIngest(name, False, previous, str(error))
            except Exception as error:  # whatever it is, the other tables and markets go on
                result = TableIngest(name, False, previous, _unforeseen(error))
            if result.fault:
                refused[name] = result.fault
            if result.was_read or result.fault:
                now = replace(manifest, tables=entries, refused=refused)
                write_manifest(folder, now)
            results.append(result)
            report(result)
        as_of, questions = last_complete_day(folder, market, entries)
        if as_of is None and (entries or refused):  # pages stand, and say what they lack
            as_of = today - timedelta(days=1)
        links, is_same = manifest.links, before == entries
        if not is_same or not links:
            links = tuple(asdict(link) for link in measure_links(folder, entries))
        questions += alike_keys(
            folder, entries, market.id, known=manifest.questions if is_same else None
        )
        write_manifest(
            folder,
            Manifest(
                as_of=as_of, tables=entries, refused=refused, questions=questions, links=links
            ),
        )
    return results


def _unforeseen(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full; free some space and run again"
    return f"{type(error).__name__}: {error}; see docs/how-to/when-a-run-fails.md"


def _waits_for_its_day(entry: TableEntry) -> bool:
    """Whether rows were set aside only because their day had not come."""
    return any(AFTER_TODAY in reason for reason in entry.reasons)


def _sweep(folder: Path) -> None:
    """Remove what a killed ingest left behind."""
    for stray in folder.glob(".staging-*"):
        shutil.rmtree(stray, ignore_errors=True)
    # Where quarantined rows stood before; raw rows must not stay in the market's reach.
    shutil.rmtree(folder / "_quarantine", ignore_errors=True)


def _look(
    schema: TableSchema,
    source: Source,
    market: MarketConfig,
    folder: Path,
    root: Path,
    previous: TableEntry | None,
    today: date,
    rebuild: bool,
) -> _Delivery:
    """Find the files of a source and tell whether they are those of the last ingest."""
    files = locate(source, folder.parent.parent / "_simulated", root)
    seen = look_at(files, previous.files if previous else ())
    period = market.period.model_dump(mode="json") if market.period else None
    declared = [
        _CONTRACT_VERSION,
        source.model_dump(mode="json"),
        period,
        market.zone,
        market.currency,
    ]
    declaration = _sha(declared)
    return _Delivery(
        schema=schema,
        source=source,
        market=market,
        files=files,
        seen=seen,
        folder=folder,
        digest=_sha([declaration, [(f.name, f.sha256, f.delivery) for f in seen]]),
        declaration=declaration,
        previous=previous,
        today=today,
        rebuild=rebuild,
    )


def _sha(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _ingest_table(delivery: _Delivery) -> TableEntry:
    import duckdb

    staging = Path(tempfile.mkdtemp(prefix=".staging-", dir=delivery.folder))
    try:
        with duckdb.connect(str(staging / "staging.duckdb")) as connection:
            connection.execute(f"SET memory_limit='{_MEMORY}'; SET TimeZone='UTC'")
            connection.execute(f"SET temp_directory={literal(str(staging))}")
            try:
                return _load(connection, delivery, staging)
            except duckdb.Error as error:
                first_line = str(error).splitlines()[0]
                if "No space left" in str(error):
                    raise SourceFault(_unforeseen(OSError(errno.ENOSPC, ""))) from error
                raise SourceFault(
                    f"{delivery.where}: {shown(first_line)}; compare the file with its declaration"
                ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _load(connection: duckdb.DuckDBPyConnection, delivery: _Delivery, staging: Path) -> TableEntry:
    schema, source, previous = delivery.schema, delivery.source, delivery.previous
    opened = open_source(connection, source, delivery.files, delivery.seen, staging)
    mapped = _create_views(connection, delivery, opened)
    accounted = sum(_count(connection, f"FROM {view}") for view in opened.views)
    accounted += (rejected := _count(connection, "FROM rejected"))
    if accounted != opened.rows:
        check_quotes(source, delivery.files)
        raise SourceFault(
            f"{delivery.where}: the file holds {opened.rows:,} rows and "
            f"{accounted:,} were read; check quote and delimiter"
        )
    check_days(connection, schema, source, opened, delivery.where)
    in_scope = _count(connection, "FROM step")
    bad, superseded = _count(connection, "FROM bad"), _count(connection, "FROM superseded")
    loaded = in_scope - bad - superseded
    reasons = _reasons(connection)
    columns = [column.name for column in mapped]
    good = (
        f"SELECT {', '.join(map(quoted, columns))} FROM canonical "
        "ANTI JOIN bad USING (source_row) ANTI JOIN superseded USING (source_row)"
    )
    kept_query, notices = _kept(connection, delivery, columns, good)
    kept = _count(connection, f"FROM ({kept_query})") if kept_query else 0
    if previous is None:  # a first delivery that is refused can still be looked at
        _write_quarantine(connection, delivery)
    check_replaceable(
        delivery.where,
        schema,
        rows_in=opened.rows,
        in_scope=in_scope + rejected,
        loaded=loaded + kept,
        quarantined=bad + rejected,
        reasons=reasons,
        rows_before=previous.rows if previous else None,
        may_lose=delivery.may_lose,
    )
    everything = f"{good} UNION ALL {kept_query}" if kept_query else good
    version = write_table(
        delivery.folder / schema.name,
        _counted(connection.sql(everything), loaded + kept, schema.name),
        {"source_digest": delivery.digest},
    )
    if previous is not None:
        _write_quarantine(connection, delivery)
    return TableEntry(
        version=version,
        rows_in=opened.rows,
        loaded=loaded,
        quarantined=bad + rejected,
        out_of_scope=opened.rows - rejected - in_scope,
        superseded=superseded,
        corrected=_count(
            connection, "FROM (SELECT DISTINCT key_hash FROM superseded WHERE is_other)"
        ),
        kept=kept,
        doubted=_doubted(connection),
        source_digest=delivery.digest,
        declaration=delivery.declaration,
        files=tuple(file.to_json() for file in delivery.seen),
        reasons=reasons,
        notices=(
            *opened.notices,
            *notices,
            *ask_about_sizes(connection, source, opened),
            *ask_about_blanks(connection, source, opened),
        ),
    )


def _write_quarantine(connection: duckdb.DuckDBPyConnection, delivery: _Delivery) -> None:
    write_table(
        _quarantine(delivery.folder) / delivery.schema.name,
        connection.sql(
            "SELECT source_row, reasons, raw FROM bad UNION ALL "
            "SELECT source_row, [reason], raw FROM rejected ORDER BY source_row"
        ).to_arrow_table(),
        {"source_digest": delivery.digest},
    )


def _kept(
    connection: duckdb.DuckDBPyConnection, delivery: _Delivery, columns: list[str], good: str
) -> tuple[str, list[str]]:
    """The rows of earlier deliveries that stay although no file holds them now, as a query.

    Rows of a file that is gone stay unless every delivery is declared to be the whole table;
    a refusal of consent stays always, until a newer decision of the same person.
    """
    schema, source, previous = delivery.schema, delivery.source, delivery.previous
    if previous is None or not previous.rows:
        return "", []
    only = ""
    is_whole = delivery.rebuild or source.delivery == "full"
    if schema.name == "consents" and (is_whole or not delivery.gone):
        only = "WHERE decision = 'refused'"
    elif is_whole or (source.delivery is None and not delivery.gone):
        return "", []
    gone = ", ".join(shown(name) for name in delivery.gone[:3])
    if any(source.columns[k].row_number for k in schema.key if k in source.columns):
        if not delivery.gone:
            return "", []
        raise SourceFault(
            f"{gone}: {schema.name}: was loaded and is no longer there, and its rows have no key "
            "to keep them by; put it back, or declare `delivery: full`"
        )
    files, _ = table_files(delivery.folder / schema.name, previous.version)
    connection.execute(f"CREATE VIEW earlier AS SELECT * FROM read_parquet({files!r})")
    there = {name for name, *_ in connection.execute("DESCRIBE earlier").fetchall()}
    connection.execute(f"CREATE VIEW fresh AS {good}")
    types = {n: t for n, t, *_ in connection.execute("DESCRIBE fresh").fetchall()}
    chosen = ", ".join(
        f"CAST({quoted(n) if n in there else 'NULL'} AS {types[n]}) AS {quoted(n)}" for n in columns
    )
    key = ", ".join(map(quoted, schema.key))
    query = (
        f"SELECT {chosen} FROM (SELECT * FROM earlier {only}) AS earlier "
        f"ANTI JOIN (SELECT {key} FROM canonical) AS now USING ({key})"
    )
    if not delivery.gone:
        return query, []
    words = (
        f"{gone}: {schema.name}: was loaded and is no longer there; its rows stay. Put it back, "
        "declare `delivery`, or run `insight ingest --rebuild` if they are really gone"
    )
    return query, [words]


def _reasons(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Rows per reason, the most frequent first."""
    return dict(
        connection.sql(
            "SELECT reason, count(*) FROM (SELECT unnest(reasons) AS reason FROM bad "
            "UNION ALL SELECT reason FROM rejected) GROUP BY reason ORDER BY 2 DESC, 1"
        ).fetchall()
    )


def _doubted(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Values of optional columns that were set aside, per reason."""
    return dict(
        connection.sql(
            "SELECT doubt, count(*) FROM (SELECT unnest(doubts) AS doubt FROM step) "
            "GROUP BY doubt ORDER BY 2 DESC, 1"
        ).fetchall()
    )


def _count(connection: duckdb.DuckDBPyConnection, rest: str) -> int:
    row = connection.execute(f"SELECT count(*) {rest}").fetchone()
    return int(row[0]) if row else 0


def _counted(relation: Any, expected: int, table: str) -> pa.RecordBatchReader:
    """A reader that stops the commit if it does not carry exactly the expected rows."""
    import pyarrow as pa

    reader = relation.to_arrow_reader(_BATCH_ROWS)

    def batches() -> Iterator[pa.RecordBatch]:
        seen = 0
        for batch in reader:
            seen += batch.num_rows
            yield batch
        if seen != expected:
            raise SourceFault(f"{table}: {expected:,} rows to load but {seen:,} came; not loaded")

    return pa.RecordBatchReader.from_batches(reader.schema, batches())


def _create_views(
    connection: duckdb.DuckDBPyConnection, delivery: _Delivery, opened: Opened
) -> list[MappedColumn]:
    """`step` and `canonical` (rows in scope), `bad` (with reasons) and `superseded`."""
    schema, source = delivery.schema, delivery.source
    mapped: list[MappedColumn] = []
    steps = []
    for view, types in opened.views.items():
        mapped = map_columns(schema, source, delivery.market, types, delivery.today)
        steps.append(_step(connection, view, types, mapped, _scope(source)))
    direct = [c for c in mapped if not c.is_derived]
    later = [c for c in mapped if c.is_derived]
    connection.execute(f"CREATE VIEW step AS {' UNION ALL '.join(steps)}")
    # Local columns are read off canonical ones, so they come a step later.
    columns = ["source_row", *(quoted(c.name) for c in direct)]
    columns += [f"{c.value} AS {quoted(c.name)}" for c in later]
    connection.execute(f"CREATE VIEW canonical AS SELECT {', '.join(columns)} FROM step")
    connection.execute(
        "CREATE TABLE bad AS SELECT source_row, reasons, raw FROM step WHERE len(reasons) > 0"
    )
    connection.execute(
        "CREATE TABLE superseded (source_row BIGINT, key_hash UBIGINT, is_other BOOLEAN)"
    )
    by_row_number = any(
        source.columns[name].row_number for name in schema.key if name in source.columns
    )
    if not by_row_number:
        _set_aside_versions(connection, schema, [quoted(c.name) for c in direct])
    return mapped


def _scope(source: Source) -> str:
    kept = [
        f"CAST({quoted(RAW + column)} AS VARCHAR) = {literal(value)}"
        for column, value in source.filter.items()
    ]
    kept += [
        f"coalesce(CAST({quoted(RAW + column)} AS VARCHAR), '') NOT IN "
        f"({', '.join(literal(value) for value in values)})"
        for column, values in source.exclude.items()
    ]
    return " AND ".join(kept) or "true"


def _step(
    connection: duckdb.DuckDBPyConnection,
    view: str,
    types: Mapping[str, str],
    mapped: list[MappedColumn],
    scope: str,
) -> str:
    """Rows of one raw view in canonical columns, with reasons and doubts, as a query."""
    direct = [c for c in mapped if not c.is_derived]
    raw = ", ".join(
        f"{literal(name.removeprefix(RAW))}: {quoted(name)}"
        for name in types
        if name.startswith(RAW)
    )
    values = ", ".join(f"{c.value} AS {quoted(c.name)}" for c in direct)
    connection.execute(f"CREATE VIEW {view}_values AS SELECT *, {values} FROM {view} WHERE {scope}")
    kept = ", ".join(
        quoted(c.name)
        if c.doubt == "NULL"
        else f"CASE WHEN ({c.doubt}) IS NULL THEN {quoted(c.name)} END AS {quoted(c.name)}"
        for c in direct
    )
    reasons = ", ".join(c.reason for c in direct)
    doubts = ", ".join(c.doubt for c in direct if c.doubt != "NULL") or "NULL"
    present = "lambda r: r IS NOT NULL"
    return (
        f"SELECT source_row, newness, CAST(to_json({{{raw}}}) AS VARCHAR) AS raw, "
        f"list_filter([{reasons}]::VARCHAR[], {present}) AS reasons, "
        f"list_filter([{doubts}]::VARCHAR[], {present}) AS doubts, {kept} FROM {view}_values"
    )


def _set_aside_versions(
    connection: duckdb.DuckDBPyConnection, schema: TableSchema, columns: list[str]
) -> None:
    """Of several rows with one key the newest delivery's stays.

    The same row again is set aside; versions that came together are all set aside, because
    nothing says which of them holds.
    """
    key = ", ".join(quoted(name) for name in schema.key)
    connection.execute(
        f"CREATE TABLE repeated AS SELECT hash({key}) AS key_hash FROM step "
        "ANTI JOIN bad USING (source_row) GROUP BY key_hash HAVING count(*) > 1"
    )
    words = ", ".join(schema.key)
    connection.execute(
        "CREATE TABLE versions AS SELECT source_row, raw, key_hash, newest, newness, content, "
        f"count(DISTINCT content) FILTER (newness = newest) OVER (PARTITION BY {key}) AS variants,"
        f" any_value(content) FILTER (newness = newest) OVER (PARTITION BY {key}) AS winner, "
        f"row_number() OVER (PARTITION BY {key}, newness ORDER BY source_row) AS nth FROM ("
        f"SELECT *, hash({key}) AS key_hash, hash({', '.join(columns)}) AS content, "
        f"max(newness) OVER (PARTITION BY {key}) AS newest FROM step "
        f"ANTI JOIN bad USING (source_row) "
        f"WHERE hash({key}) IN (SELECT key_hash FROM repeated))"
    )
    connection.execute(
        "INSERT INTO superseded SELECT source_row, key_hash, content <> winner FROM versions "
        "WHERE newness < newest"
    )
    connection.execute(
        f"INSERT INTO bad SELECT source_row, [CASE variants WHEN 1 "
        f"THEN '{words}{COPY}' ELSE '{words}: the same key with other values, "
        "delivered together' END], raw FROM versions "
        "WHERE newness = newest AND (variants > 1 OR nth > 1)"
    )
