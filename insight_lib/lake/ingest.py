"""Ingest: declared sources into canonical tables; every row is loaded or has a reason.

Rows in = loaded + quarantined + out of scope, counted independently of the engine that
loads them, or the ingest of that table stops before anything is committed.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import importlib.util
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from insight_lib.lake.contract import RAW, MappedColumn, literal, map_columns, quoted
from insight_lib.lake.store import (
    LakeError,
    Manifest,
    TableEntry,
    locked,
    market_root,
    read_manifest,
    write_manifest,
    write_table,
)
from insight_lib.market_model import MarketConfig, Source
from insight_lib.schema import TABLES, TableSchema, Type

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_MEMORY = "1GB"
_LONGEST_WAIT_SECONDS = 1800.0
# The reader wants a text that stands for "missing"; ours is decided later, column by column.
_NO_TEXT = "\x1fmissing\x1f"
_BATCH_ROWS = 100_000
_SCAN_BYTES = 16 * 2**20
# A last day so long after the one before it is a wrong date sooner than a pause.
_LONGEST_PAUSE_DAYS = 60
_REASONS_SHOWN = 3
# Raise when a change of this module changes what is loaded from the same source.
_CONTRACT_VERSION = 2


def quarantine_root(lake: Path, region: str, market: str) -> Path:
    """Folder of a market's quarantined rows, beside the markets of its region.

    A market's engine reads its own folder only, so it cannot read these raw rows.
    """
    return _quarantine(market_root(lake, region, market))


def _quarantine(folder: Path) -> Path:
    return folder.parent / "_quarantine" / folder.name


class SourceFault(Exception):
    """A source that cannot be read as declared; names file, field and next step."""


@dataclass(frozen=True)
class TableIngest:
    """What happened to one table: `entry` if it is current now, or the fault."""

    table: str
    was_read: bool
    entry: TableEntry | None
    fault: str | None = None


def ingest_market(
    lake: Path,
    market: MarketConfig,
    root: Path,
    *,
    force: bool = False,
    wait_seconds: float = _LONGEST_WAIT_SECONDS,
    report: Callable[[TableIngest], None] = lambda _: None,
) -> list[TableIngest]:
    """Bring a market's canonical tables up to date with its declared sources.

    A source whose files and declaration are unchanged is not read again. A fault in one
    source leaves its last good table in place and the other tables go on.

    Args:
        lake: The lake, `Project.lake_dir`.
        root: Folder that relative source locations start from.
        wait_seconds: How long to wait for another process that writes this market.
        report: Called after each table.

    Raises:
        LakeError: Another process is writing this market, the lake is torn, or the last
            complete day cannot be told from the data.
    """
    folder = market_root(lake, market.region, market.id)
    results = []
    with locked(folder, wait_seconds=wait_seconds):
        _sweep(folder)
        try:
            manifest = read_manifest(lake, market.region, market.id)
        except LakeError:
            if not force:
                raise
            manifest = None
        entries = dict(manifest.tables) if manifest else {}
        as_of = manifest.as_of if manifest else None
        for table in [name for name in entries if name not in market.sources]:
            del entries[table]
        for name, source in market.sources.items():
            try:
                files = _locate(source, folder, root)
                digest = _digest(source, market, files)
                current = entries.get(name)
                if current and current.source_digest == digest and not force:
                    result = TableIngest(name, False, current)
                else:
                    entry = _ingest_table(
                        TABLES[name], source, market, files, folder, digest, current
                    )
                    entries[name] = entry
                    result = TableIngest(name, True, entry)
                    write_manifest(folder, Manifest(as_of=as_of, tables=entries))
            except SourceFault as error:
                result = TableIngest(name, False, entries.get(name), str(error))
            except Exception as error:  # whatever it is, the other tables and markets go on
                words = f"{type(error).__name__}: {error}; see docs/how-to/when-a-run-fails.md"
                result = TableIngest(name, False, entries.get(name), words)
            results.append(result)
            report(result)
        as_of = _last_complete_day(folder, market, entries)
        write_manifest(folder, Manifest(as_of=as_of, tables=entries))
    return results


def _sweep(folder: Path) -> None:
    """Remove what a killed ingest left behind."""
    for stray in folder.glob(".staging-*"):
        shutil.rmtree(stray, ignore_errors=True)
    # Where quarantined rows stood before; raw rows must not stay in the market's reach.
    shutil.rmtree(folder / "_quarantine", ignore_errors=True)


def _locate(source: Source, folder: Path, root: Path) -> list[Path]:
    location = source.location
    if location.startswith("package://"):
        package, _, inside = location.removeprefix("package://").partition("/")
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise SourceFault(
                f"{location}: package {package} is not installed; "
                f"run `pip install {package.replace('_', '-')}`"
            )
        files = [Path(spec.origin).parent / inside]
    elif location.startswith("simulated://"):
        # Beside the regions, so that no market's engine can read what the simulation knows.
        simulated = folder.parent.parent / "_simulated"
        files = [simulated / f"{location.removeprefix('simulated://')}.parquet"]
    else:
        base = Path(location)
        files = sorted(root.glob(location)) if not base.is_absolute() else [base]
        if not base.is_absolute():
            outside = [f for f in files if root.resolve() not in f.resolve().parents]
            if outside:
                raise SourceFault(f"{outside[0]}: a link that leaves the project; copy the file")
    missing = [file for file in files if not file.is_file()]
    if missing or not files:
        raise SourceFault(
            f"{missing[0] if missing else location}: no such file; correct `location`"
        )
    if empty := [file for file in files if file.stat().st_size == 0]:
        raise SourceFault(f"{empty[0]}: the file is empty; deliver it again")
    return files


def _digest(source: Source, market: MarketConfig, files: list[Path]) -> str:
    period = market.period.model_dump(mode="json") if market.period else None
    content = [
        _CONTRACT_VERSION,
        source.model_dump(mode="json"),
        period,
        market.zone,
        market.currency,
        [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files],
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _ingest_table(
    schema: TableSchema,
    source: Source,
    market: MarketConfig,
    files: list[Path],
    folder: Path,
    digest: str,
    previous: TableEntry | None,
) -> TableEntry:
    import duckdb

    staging = Path(tempfile.mkdtemp(prefix=".staging-", dir=folder))
    try:
        with duckdb.connect(str(staging / "staging.duckdb")) as connection:
            connection.execute(f"SET memory_limit='{_MEMORY}'; SET TimeZone='UTC'")
            connection.execute(f"SET temp_directory={literal(str(staging))}")
            try:
                return _load(connection, schema, source, market, files, folder, digest, previous)
            except duckdb.Error as error:
                first_line = str(error).splitlines()[0]
                raise SourceFault(
                    f"{files[0].name}: {schema.name}: {first_line}; "
                    "compare the file with its declaration"
                ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _load(
    connection: duckdb.DuckDBPyConnection,
    schema: TableSchema,
    source: Source,
    market: MarketConfig,
    files: list[Path],
    folder: Path,
    digest: str,
    previous: TableEntry | None,
) -> TableEntry:
    if source.format == "parquet":
        rows_in, notices = _open_parquet(connection, source, files)
    else:
        rows_in, notices = _open_csv(connection, source, files)
    types = {name: str(type_) for name, type_ in _describe(connection, "raw")}
    mapped = map_columns(schema, source, market, types)
    scope = " AND ".join(
        f"CAST({quoted(RAW + column)} AS VARCHAR) = {literal(value)}"
        for column, value in source.filter.items()
    )
    _create_views(connection, schema, mapped, scope or "true")
    accounted = _count(connection, "FROM raw") + _count(connection, "FROM rejected")
    if accounted != rows_in:
        raise SourceFault(
            f"{files[0].name}: {schema.name}: the file holds {rows_in:,} rows and "
            f"{accounted:,} were read; check quote and delimiter"
        )
    in_scope = _count(connection, "FROM canonical")
    rejected = _count(connection, "FROM rejected")
    bad = _count(connection, "FROM bad")
    loaded = in_scope - bad
    reasons = _reasons(connection)
    _check_replaceable(
        f"{files[0].name}: {schema.name}",
        schema,
        rows_in,
        loaded,
        bad + rejected,
        reasons,
        previous,
    )
    columns = ", ".join(quoted(column.name) for column in mapped)
    good = f"SELECT {columns} FROM canonical ANTI JOIN bad USING (source_row)"
    version = write_table(
        folder / schema.name,
        _counted(connection.sql(good), loaded, schema.name),
        {"source_digest": digest},
    )
    write_table(
        _quarantine(folder) / schema.name,
        connection.sql(
            "SELECT source_row, reasons, raw FROM bad UNION ALL "
            "SELECT source_row, [reason], raw FROM rejected ORDER BY source_row"
        ).to_arrow_table(),
        {"source_digest": digest, "version": str(version)},
    )
    return TableEntry(
        version=version,
        rows_in=rows_in,
        loaded=loaded,
        quarantined=bad + rejected,
        out_of_scope=rows_in - rejected - in_scope,
        source_digest=digest,
        reasons=reasons,
        notices=tuple(notices),
    )


def _reasons(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Rows per reason, the most frequent first."""
    return dict(
        connection.sql(
            "SELECT reason, count(*) FROM (SELECT unnest(reasons) AS reason FROM bad "
            "UNION ALL SELECT reason FROM rejected) GROUP BY reason ORDER BY 2 DESC, 1"
        ).fetchall()
    )


def _check_replaceable(
    where: str,
    schema: TableSchema,
    rows_in: int,
    loaded: int,
    quarantined: int,
    reasons: Mapping[str, int],
    previous: TableEntry | None,
) -> None:
    """Keep the last good table from a delivery that would lose a refusal, or everything."""
    first = "; ".join(f"{reason} ({n:,})" for reason, n in list(reasons.items())[:_REASONS_SHOWN])
    if schema.name == "consents" and quarantined:
        raise SourceFault(
            f"{where}: {quarantined:,} of {rows_in:,} rows could not be loaded: {first}; "
            "a lost refusal leaves a person opted in, so none is loaded; correct the rows"
        )
    if previous and previous.loaded and not loaded:
        raise SourceFault(
            f"{where}: 0 of {rows_in:,} rows could be loaded; the last good table stays; "
            f"{first or 'no row is in scope'}; deliver it again, or correct its declaration"
        )


def _describe(connection: duckdb.DuckDBPyConnection, view: str) -> list[tuple[str, str]]:
    return [(row[0], row[1]) for row in connection.execute(f"DESCRIBE {view}").fetchall()]


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


_NO_REJECTS = "CREATE TABLE rejected (source_row BIGINT, reason VARCHAR, raw VARCHAR)"


def _open_parquet(
    connection: duckdb.DuckDBPyConnection, source: Source, files: list[Path]
) -> tuple[int, list[str]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = 0
    for file in files:
        try:
            parquet = pq.ParquetFile(file)
        except (pa.ArrowInvalid, OSError) as error:
            raise SourceFault(
                f"{file}: not a whole Parquet file ({error}); deliver it again"
            ) from error
        _check_header(file, parquet.schema_arrow.names, source)
        rows += parquet.metadata.num_rows
    extra = sorted(set(parquet.schema_arrow.names) - set(source.used) - set(source.unused))
    columns = _raw_columns(source)
    paths = ", ".join(literal(str(file)) for file in files)
    # With several files the row number of each starts anew: number them through.
    row = "file_row_number" if len(files) == 1 else "row_number() OVER () - 1"
    connection.execute(
        f"CREATE VIEW raw AS SELECT {row} AS source_row, {columns} "
        f"FROM read_parquet([{paths}], file_row_number={len(files) == 1})"
    )
    connection.execute(_NO_REJECTS)
    return rows, [f"column {name} is not declared" for name in extra]


def _raw_columns(source: Source) -> str:
    """The source's columns under names that no canonical column has."""
    return ", ".join(f"{quoted(name)} AS {quoted(RAW + name)}" for name in source.used)


def _check_header(file: Path, header: list[str], source: Source) -> None:
    faults = []
    folded: dict[str, str] = {}
    for position, name in enumerate(header, start=1):
        if not name.strip():
            faults.append(
                f"header: column {position} has no name; name it, or remove the delimiter after it"
            )
            continue
        if name.casefold() in folded:
            twin = folded[name.casefold()]
            faults.append(f"header: {twin!r} and {name!r} are the same but for case")
        folded.setdefault(name.casefold(), name)
    for name in source.used:
        if name not in header:
            close = difflib.get_close_matches(name, header, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]!r}?" if close else f"the file has {', '.join(header)}"
            faults.append(f"column {name!r} is missing; {hint}")
    if faults:
        raise SourceFault("\n".join(f"{file.name}: {fault}" for fault in faults))


def _open_csv(
    connection: duckdb.DuckDBPyConnection, source: Source, files: list[Path]
) -> tuple[int, list[str]]:
    notices: list[str] = []
    rows = 0
    connection.execute(_NO_REJECTS)
    for number, file in enumerate(files):
        header = _csv_header(file, source)
        _check_header(file, header, source)
        extra = sorted(set(header) - set(source.used) - set(source.unused))
        notices += [f"{file.name}: column {name} is not declared" for name in extra]
        declared = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in header)
        chosen = _raw_columns(source)
        select = (
            f"SELECT {rows} + row_number() OVER () - 1 AS source_row, {chosen} FROM read_csv("
            f"{literal(str(file))}, columns={{{declared}}}, auto_detect=false, header=true, "
            f"delim={literal(source.delimiter)}, quote={literal(source.quote)}, "
            f"escape={literal(source.quote)}, encoding={literal(source.encoding)}, "
            f"strict_mode=true, nullstr={literal(_NO_TEXT)}, max_line_size=16777216, "
            f"store_rejects=true, rejects_table='rejects_{number}', rejects_scan='scan_{number}')"
        )
        connection.execute(
            f"CREATE TABLE raw AS {select}" if number == 0 else f"INSERT INTO raw {select}"
        )
        connection.execute(
            f"INSERT INTO rejected SELECT {rows} + line - 2, "
            f"'line does not fit: ' || min(lower(replace(error_type, '_', ' '))), "
            f"any_value(csv_line) FROM rejects_{number} GROUP BY line"
        )
        rows += _count_csv_records(file, source) - 1
    return rows, notices


def _csv_header(file: Path, source: Source) -> list[str]:
    encoding = "utf-8-sig" if source.encoding == "utf-8" else source.encoding
    with file.open(encoding=encoding, newline="", errors="replace") as handle:
        header = next(csv.reader(handle, delimiter=source.delimiter, quotechar=source.quote), [])
    if not header:
        raise SourceFault(f"{file.name}: no header line; the first line must name the columns")
    if len(header) == 1 and len(source.used) > 1:
        raise SourceFault(
            f"{file.name}: the header is one field {header[0][:60]!r} with delimiter "
            f"{source.delimiter!r}; correct `delimiter`"
        )
    return header


def _count_csv_records(file: Path, source: Source) -> int:
    """Records of a CSV file, header included, counted from its bytes alone.

    A line break inside quotes does not end a record. Blank lines are not records.
    """
    import numpy as np

    records, quotes, before = 0, 0, ord("\n")
    quote = ord(source.quote)
    with file.open("rb") as handle:
        while chunk := handle.read(_SCAN_BYTES):
            if source.encoding == "utf-16":  # its line breaks and quotes are two bytes each
                chunk = chunk.replace(b"\0", b"").removeprefix(b"\xff\xfe")
            data = np.frombuffer(chunk, dtype=np.uint8)
            # A carriage return alone ends a line too; before a line feed it is part of it.
            previous = np.concatenate([[before], data[:-1]])
            ends = (data == ord("\n")) | (data == ord("\r"))
            blank = (previous == ord("\n")) | (previous == ord("\r"))
            inside = (quotes + np.cumsum(data == quote)) % 2 == 1
            records += int(np.count_nonzero(ends & ~blank & ~inside))
            quotes += int(np.count_nonzero(data == quote))
            before = int(data[-1])
    return records + (0 if before in (ord("\n"), ord("\r")) else 1)


def _create_views(
    connection: duckdb.DuckDBPyConnection,
    schema: TableSchema,
    mapped: list[MappedColumn],
    scope: str,
) -> None:
    """`canonical` (every row in scope) and `bad` (those with a reason, and repeated keys)."""
    # Local columns are read off canonical ones, so they come a step later.
    direct = [c for c in mapped if c.reasons]
    later = [c for c in mapped if not c.reasons]
    connection.execute(
        "CREATE VIEW step AS SELECT *, "
        + ", ".join(f"{c.value} AS {quoted(c.name)}" for c in direct)
        + f" FROM raw WHERE {scope}"
    )
    columns = ["source_row", *(quoted(c.name) for c in direct)]
    columns += [f"{c.value} AS {quoted(c.name)}" for c in later]
    connection.execute(f"CREATE VIEW canonical AS SELECT {', '.join(columns)} FROM step")
    raw = ", ".join(
        f"{literal(name.removeprefix(RAW))}: {quoted(name)}"
        for name, _ in _describe(connection, "raw")
        if name.startswith(RAW)
    )
    as_json = f"CAST(to_json({{{raw}}}) AS VARCHAR) AS raw"
    reasons = ", ".join(reason for column in direct for reason in column.reasons)
    connection.execute(
        "CREATE TABLE bad AS SELECT * FROM ("
        f"SELECT source_row, list_filter([{reasons}], lambda r: r IS NOT NULL) AS reasons, "
        f"{as_json} FROM step) WHERE len(reasons) > 0"
    )
    if any(c.value == "source_row" for c in direct if c.name in schema.key):
        return
    key = ", ".join(quoted(name) for name in schema.key)
    values = ", ".join(quoted(c.name) for c in direct)
    connection.execute(
        f"CREATE TABLE repeated AS SELECT hash({key}) AS key_hash FROM step "
        "GROUP BY key_hash HAVING count(*) > 1"
    )
    words = ", ".join(schema.key)
    connection.execute(
        f"INSERT INTO bad SELECT source_row, "
        f"[CASE variants WHEN 1 THEN '{words}: the same row again' "
        f"ELSE '{words}: the same key with other values' END], raw FROM ("
        f"SELECT source_row, {as_json}, "
        f"row_number() OVER (PARTITION BY {key} ORDER BY source_row) AS nth, "
        f"count(DISTINCT hash({values})) OVER (PARTITION BY {key}) AS variants "
        f"FROM step ANTI JOIN bad USING (source_row) "
        f"WHERE hash({key}) IN (SELECT key_hash FROM repeated)) WHERE nth > 1"
    )


def _last_complete_day(
    folder: Path, market: MarketConfig, entries: Mapping[str, TableEntry]
) -> date | None:
    """The declared last day, or the day before the last one that the data touch."""
    if market.period:
        return market.period.last_day
    for name in ("transactions", "interactions", "contracts"):
        if name not in entries or not entries[name].loaded:
            continue
        days = _last_active_days(folder, market, TABLES[name], entries[name].version)
        if len(days) == 2 and (days[0] - days[1]).days > _LONGEST_PAUSE_DAYS:
            raise LakeError(
                f"{market.id}: {name}: the last active day {days[0]} is "
                f"{(days[0] - days[1]).days} days after the one before it, {days[1]}; declare "
                "`period` in the market's YAML, or correct the source"
            )
        if days:
            return days[0] - timedelta(days=1)
    return None


def _last_active_days(
    folder: Path, market: MarketConfig, schema: TableSchema, version: int
) -> list[date]:
    """The last two days with rows of a table, the later first; returns are not activity."""
    import duckdb

    from insight_lib.lake.store import table_files

    assert schema.time
    files, _ = table_files(folder / schema.name, version)
    column = quoted(schema.time)
    if schema.column(schema.time).type is Type.INSTANT:
        column = f"{column} AT TIME ZONE {literal(market.zone)}"
    active = "WHERE amount >= 0" if schema.name == "transactions" else ""
    query = (
        f"SELECT DISTINCT CAST({column} AS DATE) AS day FROM read_parquet(?) {active} "
        "ORDER BY day DESC NULLS LAST LIMIT 2"
    )
    try:
        with duckdb.connect() as connection:
            rows = connection.execute(query, [files]).fetchall()
    except duckdb.Error as error:
        raise LakeError(
            f"{market.id}: {schema.name}: not readable ({str(error).splitlines()[0]}); "
            f"run `insight ingest --market {market.id} --force`"
        ) from error
    return [row[0] for row in rows if row[0]]
