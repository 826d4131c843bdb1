"""Sources as they are: found, looked at before they are read, and opened row by row.

Nothing is read outside the project or the package that a source names, and no file is read
further than its first mebibyte before it has been seen to be what it is declared to be.
"""

from __future__ import annotations

import csv
import difflib
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from insight_lib.lake.contract import RAW, literal, quoted
from insight_lib.lake.deliveries import FileSeen
from insight_lib.lake.faults import SourceFault, names_shown, shown
from insight_lib.lake.store import as_pattern
from insight_lib.market_model import Source

if TYPE_CHECKING:
    import duckdb

# The reader wants a text that stands for "missing"; ours is decided later, column by column.
_NO_TEXT = "\x1fmissing\x1f"
_SCAN_BYTES = 16 * 2**20
_LONGEST_LINE_BYTES = 16 * 2**20
_HEAD_BYTES = 2**20
# How other kinds of file begin; what a person declares by mistake for a table of text.
_MAGIC = (
    (b"\x1f\x8b", "gzip"),
    (b"PK\x03\x04", "zip or Excel"),
    (b"PAR1", "Parquet"),
    (b"\xd0\xcf\x11\xe0", "old Excel"),
    (b"SQLite format 3", "SQLite"),
    (b"%PDF", "PDF"),
)


@dataclass(frozen=True)
class Opened:
    """What was opened: one raw view per set of column types, rejects, and what to say.

    Attributes:
        views: View name to engine type of each of its columns; rows carry `source_row`
            (numbered through all files) and `newness` (later text is newer).
        rows: Records of all files, counted independently of the engine where it can be.
    """

    views: dict[str, dict[str, str]]
    rows: int
    notices: list[str]


def locate(source: Source, simulated: Path, root: Path) -> list[Path]:
    """The files of a source, in order of name.

    Args:
        simulated: Folder of this lake's simulated files.
        root: Project folder, which relative locations start from.

    Raises:
        SourceFault: No such file, an empty one, or one outside the project or the package.
    """
    location = source.location
    if location.startswith("package://"):
        package, _, inside = location.removeprefix("package://").partition("/")
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None or not spec.submodule_search_locations:
            raise SourceFault(
                f"{shown(location)}: package {shown(package)} is not installed; "
                f"run `pip install {shown(package.replace('_', '-'))}`"
            )
        base = Path(spec.origin).parent
        files = [base / inside.lstrip("/")]
    elif location.startswith("simulated://"):
        # Beside the regions, so that no market's engine can read what the simulation knows.
        base = simulated
        files = [simulated / f"{location.removeprefix('simulated://')}.parquet"]
    else:
        base = root
        # A name is a name, brackets and all; only * stands for others.
        pattern = re.sub(r"([\[\]?])", r"[\1]", location)
        files = sorted(root.glob(pattern))
    outside = [f for f in files if base.resolve() not in f.resolve().parents]
    if outside:
        raise SourceFault(
            f"{shown(outside[0].name)}: a link that leaves the project; copy the file"
        )
    missing = [file for file in files if not file.is_file()]
    if missing or not files:
        raise SourceFault(
            f"{shown(missing[0].name if missing else location)}: no such file; correct `location`"
        )
    if empty := [file for file in files if file.stat().st_size == 0]:
        raise SourceFault(f"{shown(empty[0].name)}: the file is empty; deliver it again")
    return files


def open_source(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    files: list[Path],
    seen: tuple[FileSeen, ...],
    staging: Path,
) -> Opened:
    """Open the files of a source as raw views, each row with its number and newness.

    Raises:
        SourceFault: A file is not what it is declared to be.
    """
    connection.execute("CREATE TABLE rejected (source_row BIGINT, reason VARCHAR, raw VARCHAR)")
    newness = [_newness(source, entry) for entry in seen]
    if source.format == "parquet":
        return _open_parquet(connection, source, files, newness)
    return _open_csv(connection, source, files, newness, staging)


def _newness(source: Source, seen: FileSeen) -> str:
    """SQL of the text by which rows of a file are newer than others of the same key."""
    if source.newest_by:
        return f"coalesce(CAST({quoted(source.newest_by)} AS VARCHAR), '')"
    if source.newest_file:
        found = re.search(source.newest_file, seen.name)
        if found is None:
            raise SourceFault(
                f"{shown(seen.name)}: `newest_file` {source.newest_file!r} does not match the "
                "name; correct the pattern or the name"
            )
        return literal(found[1] if found.groups() else found[0])
    return literal(f"{seen.delivery:012d}")


def _columns(source: Source) -> str:
    """The source's columns under names that no canonical column has."""
    return ", ".join(f"{quoted(name)} AS {quoted(RAW + name)}" for name in source.used)


def _open_parquet(
    connection: duckdb.DuckDBPyConnection, source: Source, files: list[Path], newness: list[str]
) -> Opened:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows, notices = 0, []
    by_types: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for file, rank in zip(files, newness, strict=True):
        _check_kind(file, "parquet")
        try:
            parquet = pq.ParquetFile(file)
        except (pa.ArrowInvalid, OSError) as error:
            raise SourceFault(
                f"{file.name}: not a whole Parquet file ({shown(error)}); deliver it again"
            ) from error
        _check_header(file, parquet.schema_arrow.names, source)
        extra = sorted(set(parquet.schema_arrow.names) - set(source.used) - set(source.unused))
        notices += [f"{file.name}: column {shown(name)} is not declared" for name in extra]
        select = (
            f"SELECT {rows} + file_row_number AS source_row, {rank} AS newness, "
            f"{_columns(source)} FROM read_parquet({literal(as_pattern(str(file)))}, "
            "file_row_number=true)"
        )
        rows += parquet.metadata.num_rows
        types = tuple(
            (name, kind) for name, kind, *_ in connection.execute(f"DESCRIBE {select}").fetchall()
        )
        by_types.setdefault(types, []).append(select)
    views = {}
    # Files of different types meet in the contract, not in one engine type that would round.
    for number, (types, selects) in enumerate(by_types.items()):
        connection.execute(f"CREATE VIEW raw_{number} AS {' UNION ALL '.join(selects)}")
        views[f"raw_{number}"] = dict(types)
    return Opened(views, rows, notices)


def _open_csv(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    files: list[Path],
    newness: list[str],
    staging: Path,
) -> Opened:
    notices: list[str] = []
    rows = 0
    for number, (given, rank) in enumerate(zip(files, newness, strict=True)):
        _check_kind(given, "csv")
        header = _csv_header(given, source)
        _check_header(given, header, source)
        file = _one_line_end(given, staging / f"lines-{number}.csv")
        extra = sorted(set(header) - set(source.used) - set(source.unused))
        notices += [f"{given.name}: column {shown(name)} is not declared" for name in extra]
        declared = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in header)
        select = (
            f"SELECT {rows} + row_number() OVER () - 1 AS source_row, {rank} AS newness, "
            f"{_columns(source)} FROM read_csv({literal(as_pattern(str(file)))}, "
            f"columns={{{declared}}}, auto_detect=false, header=true, "
            f"delim={literal(source.delimiter)}, quote={literal(source.quote)}, "
            f"escape={literal(source.quote)}, encoding={literal(source.encoding)}, "
            f"strict_mode=true, nullstr={literal(_NO_TEXT)}, "
            f"max_line_size={_LONGEST_LINE_BYTES}, "
            f"store_rejects=true, rejects_table='rejects_{number}', rejects_scan='scan_{number}')"
        )
        _execute(
            connection,
            f"CREATE TABLE raw_0 AS {select}" if number == 0 else f"INSERT INTO raw_0 {select}",
            given,
            source,
        )
        connection.execute(
            f"INSERT INTO rejected SELECT {rows} + line - 2, "
            f"'line does not fit: ' || min(lower(replace(error_type, '_', ' '))), "
            f"any_value(csv_line) FROM rejects_{number} GROUP BY line"
        )
        rows += _count_csv_records(file, source) - 1
    types = {name: kind for name, kind, *_ in connection.execute("DESCRIBE raw_0").fetchall()}
    return Opened({"raw_0": types}, rows, notices)


def _execute(connection: duckdb.DuckDBPyConnection, query: str, file: Path, source: Source) -> None:
    """Run a read; the engine's own words name a place in its buffer, ours the line."""
    import duckdb

    try:
        connection.execute(query)
    except duckdb.Error as error:
        check_quotes(source, [file])
        reason = next((p for p in str(error).splitlines() if p.strip()), "not readable")
        where = re.search(r"Line: (\d+)", str(error))
        raise SourceFault(
            f"{file.name}: {f'line {where[1]}: ' if where else ''}{_plain(reason)}; compare the "
            "file with its declaration (delimiter, quote, encoding)"
        ) from error


def check_quotes(source: Source, files: list[Path]) -> None:
    """Name the line of a quote that is never closed, which swallows all that follows.

    Raises:
        SourceFault: There is one.
    """
    for file in files if source.format == "csv" else ():
        line = _unclosed_quote_line(file, source)
        if line is not None:
            raise SourceFault(
                f"{file.name}: line {line}: a quote that is opened there is never closed; "
                "correct the line, or `quote`"
            )


def _plain(reason: str) -> str:
    """The engine's reason without its own names and without what stands in the file."""
    text = re.sub(r"^[A-Za-z ]*Error: ", "", reason)
    text = re.sub(r"(Original Line|CSV Error on Line).*", "", text)
    return shown(re.sub(r'"[^"]*"', "…", text)) or "not readable"


def _unclosed_quote_line(file: Path, source: Source) -> int | None:
    """The line on which the last quote is opened that is never closed, if there is one."""
    line, opened, is_open = 1, 1, False
    quote = source.quote.encode()
    with file.open("rb") as handle:
        while chunk := handle.read(_SCAN_BYTES):
            for part in re.findall(rb"\n|" + re.escape(quote), chunk):
                if part == b"\n":
                    line += 1
                else:
                    is_open = not is_open
                    opened = line if is_open else opened
    return opened if is_open else None


def _check_kind(file: Path, declared: str) -> None:
    """Refuse a file that begins as another kind of file does, before it is read."""
    with file.open("rb") as handle:
        head = handle.read(_HEAD_BYTES)
    kind = next((name for magic, name in _MAGIC if head.startswith(magic)), None)
    if declared == "parquet":
        if kind not in (None, "Parquet"):
            raise SourceFault(f"{file.name}: a {kind} file, declared as parquet; correct `format`")
        return
    if kind is not None:
        raise SourceFault(
            f"{file.name}: a {kind} file, declared as csv; unpack it, or correct `format`"
        )
    is_utf16 = head[:2] in (b"\xff\xfe", b"\xfe\xff")
    is_wide = is_utf16 or re.match(rb"(?:[^\0]\0){2}|(?:\0[^\0]){2}", head)
    if not is_wide and head.count(b"\0") > len(head) // 4:
        raise SourceFault(f"{file.name}: not a text file; deliver it again")
    if len(head) == _HEAD_BYTES and b"\n" not in head and b"\r" not in head:
        raise SourceFault(f"{file.name}: no line ends within a mebibyte; deliver it again")


def _one_line_end(file: Path, copy: Path) -> Path:
    """The file, or a copy of it with one kind of line end where two systems have appended."""
    crlf = lf = 0
    with file.open("rb") as handle:
        while chunk := handle.read(_SCAN_BYTES):
            if chunk.endswith(b"\r"):
                chunk += handle.read(1)
            crlf += (pairs := chunk.count(b"\r\n"))
            lf += chunk.count(b"\n") - pairs
    if not (crlf and lf):
        return file
    with file.open("rb") as source, copy.open("wb") as target:
        while chunk := source.read(_SCAN_BYTES):
            if chunk.endswith(b"\r"):
                chunk += source.read(1)
            target.write(chunk.replace(b"\r\n", b"\n"))
    return copy


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
    missing = [name for name in source.used if name not in header]
    if len(missing) == len(source.used) and len(missing) > 1:
        faults.append(f"none of the declared columns is there; the file has {names_shown(header)}")
        missing = []
    for name in missing:
        close = difflib.get_close_matches(name, header, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}?" if close else f"the file has {names_shown(header)}"
        faults.append(f"column {name!r} is missing; {hint}")
    if faults:
        raise SourceFault("\n".join(f"{file.name}: {fault}" for fault in faults))


def _csv_header(file: Path, source: Source) -> list[str]:
    encoding = "utf-8-sig" if source.encoding == "utf-8" else source.encoding
    with file.open(encoding=encoding, newline="", errors="replace") as handle:
        header = next(csv.reader(handle, delimiter=source.delimiter, quotechar=source.quote), [])
    if not header:
        raise SourceFault(f"{file.name}: no header line; the first line must name the columns")
    if len(header) == 1 and len(source.used) > 1:
        raise SourceFault(
            f"{file.name}: the header is one field ({names_shown(header)}) with delimiter "
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
