"""Where tables stand, which version of each is current, and how a version is written.

`<lake>/<region>/<market>/<table>` is a Delta table. `_manifest.json` beside them says
which version of each canonical table an ingest finished; a version that no manifest
names was never finished and is never read.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from insight_lib.lake.deliveries import COPY

if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST = "_manifest.json"
_LOCK_POLL_SECONDS = 0.1


class LakeError(Exception):
    """A table, version or folder is not as it has to be; the message says what to do."""


@dataclass(frozen=True, kw_only=True)
class TableEntry:
    """What the last finished ingest of a table did.

    `rows_in` is loaded + quarantined + out of scope + superseded, always.

    Attributes:
        superseded: Rows whose key came again in a newer delivery.
        corrected: Keys that the newer delivery gave other values.
        kept: Rows of earlier deliveries that are no longer in any file.
        doubted: Reason to number of values of optional columns that were set aside.
        files: What was read, as `deliveries.FileSeen`.
        declaration: Digest of how the source is declared.
    """

    version: int
    rows_in: int
    loaded: int
    quarantined: int
    out_of_scope: int
    source_digest: str
    superseded: int = 0
    corrected: int = 0
    kept: int = 0
    doubted: Mapping[str, int] = field(default_factory=dict)
    files: tuple[Mapping[str, Any], ...] = ()
    declaration: str = ""
    reasons: Mapping[str, int] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Rows that the table holds."""
        return self.loaded + self.kept

    @property
    def in_scope(self) -> int:
        return self.loaded + self.quarantined + self.superseded

    @property
    def copies(self) -> int:
        """Of the quarantined rows, those that repeat a row which was loaded: nothing is lost."""
        return sum(n for reason, n in self.reasons.items() if reason.endswith(COPY))

    @property
    def lost(self) -> int:
        """Rows in scope that are in no total."""
        return self.quarantined - self.copies


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The finished canonical tables of one market, and its last complete day.

    Attributes:
        refused: Table to why its latest delivery was refused; the last good one stands.
        questions: What a person has to say about the data.
        links: Joins between the tables, measured, as `links.Link`.
    """

    as_of: date | None
    tables: Mapping[str, TableEntry]
    refused: Mapping[str, str] = field(default_factory=dict)
    questions: tuple[str, ...] = ()
    links: tuple[Mapping[str, Any], ...] = ()

    @property
    def versions(self) -> dict[str, int]:
        return {name: entry.version for name, entry in self.tables.items()}

    @property
    def states(self) -> dict[str, str]:
        """What each table holds: its version, and the source it was made from.

        A lake that was removed and made again starts at version 0 with other content.
        """
        return {n: f"{entry.version} {entry.source_digest}" for n, entry in self.tables.items()}

    @property
    def rows(self) -> dict[str, int]:
        return {name: entry.rows for name, entry in self.tables.items()}


def market_root(lake: Path, region: str, market: str) -> Path:
    """The folder of one market; refuses a name that would leave the region's root."""
    region_root = (lake / region).resolve()
    root = (region_root / market).resolve()
    if root.parent != region_root:
        raise LakeError(f"market {market!r} is not a plain folder name below {region_root}")
    return root


def read_manifest(lake: Path, region: str, market: str) -> Manifest | None:
    """The manifest of one market, or None before its first ingest.

    Raises:
        LakeError: The file is torn; says how to rebuild it.
    """
    path = market_root(lake, region, market) / MANIFEST
    try:
        data = json.loads(path.read_text())
        return Manifest(
            as_of=date.fromisoformat(data["as_of"]) if data["as_of"] else None,
            tables={
                name: TableEntry(
                    **entry | {n: tuple(entry[n]) for n in ("notices", "files") if n in entry}
                )
                for name, entry in data["tables"].items()
            },
            refused=data.get("refused", {}),
            questions=tuple(data.get("questions", ())),
            links=tuple(data.get("links", ())),
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise LakeError(
            f"{path}: not readable ({error}); run `insight ingest --market {market} --force`"
        ) from error


def write_manifest(root: Path, manifest: Manifest) -> None:
    """Write the manifest so that a reader sees the old one or the new one, never half."""
    tables = {name: asdict(entry) for name, entry in sorted(manifest.tables.items())}
    as_of = manifest.as_of.isoformat() if manifest.as_of else None
    content = {
        "as_of": as_of,
        "tables": tables,
        "refused": dict(manifest.refused),
        "questions": manifest.questions,
        "links": manifest.links,
    }
    write_atomically(root / MANIFEST, json.dumps(content, indent=1))


def write_atomically(path: Path, text: str) -> None:
    """Write a file beside its name, flush it to disk, and rename it into place."""
    beside = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        with beside.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def locked(root: Path, *, wait_seconds: float) -> Iterator[None]:
    """Hold the market's write lock; it goes with the process, so a kill leaves none behind.

    Raises:
        LakeError: Another process is still writing this market after `wait_seconds`.
    """
    import fcntl

    root.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + wait_seconds
    with (root / "_lock").open("w") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise LakeError(
                        f"{root.name}: another process has been writing this market for "
                        f"{wait_seconds:.0f} s; wait for it to end, or stop it"
                    ) from None
                time.sleep(_LOCK_POLL_SECONDS)
        yield


def write_table(
    path: Path, data: pa.RecordBatchReader | pa.Table, metadata: Mapping[str, str]
) -> int:
    """Replace the content of a Delta table in one commit and return the new version."""
    from deltalake import CommitProperties, DeltaTable, write_deltalake

    write_deltalake(
        path,
        data,
        mode="overwrite",
        schema_mode="overwrite",
        commit_properties=CommitProperties(custom_metadata=dict(metadata)),
    )
    return int(DeltaTable(path).version())


def table_files(path: Path, version: int) -> tuple[list[str], int]:
    """Files of one version of a Delta table, as the engine reads them, and its number of rows.

    Raises:
        LakeError: The table or the version does not exist, or has no readable files.
    """
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError, TableNotFoundError

    try:
        table = DeltaTable(path, version=version)
    except TableNotFoundError:
        raise LakeError(f"{path.name}: no table; run `insight ingest`") from None
    except DeltaError as error:
        raise LakeError(f"{path.name} version {version}: {error}") from error
    actions: Any = table.get_add_actions(flatten=True)
    rows = sum(value or 0 for value in actions["num_records"].to_pylist())
    paths = sorted(unquote(urlparse(uri).path) for uri in table.file_uris())
    return [as_pattern(path) for path in paths], rows


def as_pattern(path: str) -> str:
    """A path as the engine reads it: to it, brackets and stars stand for other names."""
    return re.sub(r"([\[*?])", r"[\1]", path)


def empty_table(path: Path, version: int) -> pa.Table:
    """The columns of one version of a Delta table, without rows."""
    import pyarrow as pa
    from deltalake import DeltaTable

    schema = pa.schema(DeltaTable(path, version=version).schema().to_arrow())
    # Columns of which nothing was ever known have no type, and the engine takes none such.
    typed = [f.with_type(pa.float64()) if pa.types.is_null(f.type) else f for f in schema]
    return pa.schema(typed).empty_table()


def read_commit(path: Path, version: int) -> Mapping[str, Any]:
    """What a derived table says of itself: `stage`, `as_of`, `inputs` and `sources` (JSON).

    `sources` are the canonical tables that it was made from, through others too.

    Raises:
        LakeError: There is no such version.
    """
    for commit in _commits(path):
        if commit["version"] == version:
            return commit
    raise LakeError(f"{path.name} version {version}: no such version; run the stage again")


def latest_usual_version(path: Path, *, as_of: date) -> int | None:
    """The version made with the usual parameters for the latest day up to `as_of`, if any.

    A run for an earlier day, or with parameters of its own, does not become what others read.
    """
    usual = [
        (commit.get("as_of", as_of.isoformat()), int(commit["version"]))
        for commit in _commits(path)
        if json.loads(commit.get("is_usual", "true"))
    ]
    return max((c for c in usual if c[0] <= as_of.isoformat()), default=(None, None))[1]


def _commits(path: Path) -> list[dict[str, Any]]:
    """Commits of a Delta table, newest first; none if there is no table."""
    from deltalake import DeltaTable

    if not DeltaTable.is_deltatable(str(path)):
        return []
    return sorted(DeltaTable(path).history(), key=lambda commit: -commit["version"])
