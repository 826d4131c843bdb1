"""The ledger: what every run was and how it ended, and who runs what right now.

SQLite in WAL mode. A run holds its cell (market, stage, segment, as_of) from `running`
until it has published, which a unique index enforces across processes; a holder that died
is known by its process id and start time and is recorded as `killed` by whoever looks next.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from insight_lib.runner.processes import Process, this_process

_BUSY_SECONDS = 15.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    run_id TEXT PRIMARY KEY,
    market TEXT NOT NULL,
    stage TEXT NOT NULL,
    segment TEXT NOT NULL,
    as_of TEXT NOT NULL,
    state TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    pid INTEGER NOT NULL,
    process_started TEXT NOT NULL,
    queued_at TEXT NOT NULL,
    ended_at TEXT,
    seconds REAL,
    cell INTEGER,
    error TEXT,
    notebook TEXT
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS one_at_a_time
    ON runs (market, stage, segment, as_of) WHERE state IN ('running', 'succeeded');
CREATE INDEX IF NOT EXISTS by_cell ON runs (market, stage, segment, as_of, queued_at);
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
"""


class RunState(StrEnum):
    """Where a run stands."""

    QUEUED = "queued"
    RUNNING = "running"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    KILLED = "killed"
    OUT_OF_MEMORY = "out_of_memory"
    CANCELLED = "cancelled"
    SUCCEEDED = "succeeded"
    PUBLISHED = "published"
    GATE = "gate"
    BLOCKED = "blocked"

    @property
    def is_published(self) -> bool:
        """Whether there is a page to read."""
        return self in (RunState.PUBLISHED, RunState.GATE)


_OPEN = (RunState.QUEUED, RunState.RUNNING, RunState.SUCCEEDED)


@dataclass(frozen=True, order=True)
class Cell:
    """One place in the matrix of reports.

    Attributes:
        segment: Empty for all customers.
        as_of: ISO date.
    """

    market: str
    stage: str
    segment: str
    as_of: str

    def __str__(self) -> str:
        return f"{self.market} {self.stage}{f'@{self.segment}' if self.segment else ''}"


@dataclass(frozen=True, kw_only=True)
class LedgerRow:
    """One run as recorded."""

    run_id: str
    cell: Cell
    state: RunState
    fingerprint: str
    process: Process
    queued_at: str
    ended_at: str | None
    seconds: float | None
    cell_number: int | None
    error: str | None
    notebook: str | None


class Ledger:
    """The run ledger of one project; safe from many threads and processes."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(
            path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        self._connection.row_factory = sqlite3.Row
        self._set_up()
        self._me = this_process()

    def _set_up(self) -> None:
        """Make the file what it has to be; several processes may do so at once."""
        deadline = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = NORMAL")
                self._connection.executescript(_SCHEMA)
                return
            except sqlite3.OperationalError as error:  # a change of mode does not wait by itself
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
            time.sleep(0.02)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def queue(self, run_id: str, cell: Cell, fingerprint: str) -> None:
        """Record that a run is going to happen."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO runs (run_id, market, stage, segment, as_of, state, fingerprint,"
                " pid, process_started, queued_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    run_id,
                    cell.market,
                    cell.stage,
                    cell.segment,
                    cell.as_of,
                    RunState.QUEUED,
                    fingerprint,
                    self._me.pid,
                    self._me.started,
                    _now(),
                ),
            )

    def claim(self, run_id: str, fingerprint: str) -> Process | None:
        """Move a queued run to `running` if nobody else runs its cell.

        Returns:
            None if the claim is ours, else the living process that holds it.
        """
        while True:
            try:
                with self._transaction() as connection:
                    connection.execute(
                        "UPDATE runs SET state = ?, fingerprint = ? WHERE run_id = ?",
                        (RunState.RUNNING, fingerprint, run_id),
                    )
                return None
            except sqlite3.IntegrityError:
                pass
            holder = self._holder(run_id)
            if holder is not None and holder.process.is_alive:
                return holder.process
            if holder is not None:
                self._bury(holder)

    def _holder(self, run_id: str) -> LedgerRow | None:
        rows = self._rows(
            "SELECT other.* FROM runs AS mine JOIN runs AS other"
            " USING (market, stage, segment, as_of)"
            " WHERE mine.run_id = ? AND other.state IN ('running', 'succeeded')",
            (run_id,),
        )
        return rows[0] if rows else None

    def end(
        self,
        run_id: str,
        state: RunState,
        *,
        seconds: float | None = None,
        cell_number: int | None = None,
        error: str | None = None,
        notebook: str | None = None,
    ) -> None:
        """Record how a run ended (`succeeded` while its outputs are being published)."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE runs SET state = ?, ended_at = ?, seconds = ?, cell = ?, error = ?,"
                " notebook = ? WHERE run_id = ?",
                (state, _now(), seconds, cell_number, error, notebook, run_id),
            )

    def forget(self, run_id: str) -> None:
        """Remove a run that turned out not to be needed."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM runs WHERE run_id = ?", (run_id,))

    def reconcile(self) -> list[LedgerRow]:
        """Bring runs whose process died into an end state.

        Returns:
            The runs that were found dead, as they were recorded.
        """
        places = ", ".join("?" for _ in _OPEN)
        rows = self._rows(f"SELECT * FROM runs WHERE state IN ({places})", _OPEN)
        dead = [row for row in rows if not row.process.is_alive]
        for row in dead:
            self._bury(row)
        return dead

    def _bury(self, row: LedgerRow) -> None:
        # A run that was only queued has done nothing: it was cancelled, not killed.
        state = RunState.CANCELLED if row.state is RunState.QUEUED else RunState.KILLED
        with self._transaction() as connection:
            connection.execute(
                "UPDATE runs SET state = ?, ended_at = ?, error = ? WHERE run_id = ? AND state = ?",
                (state, _now(), "the process that ran it ended", row.run_id, row.state),
            )

    def latest(self) -> dict[Cell, LedgerRow]:
        """The newest run of every cell."""
        rows = self._rows("SELECT * FROM runs ORDER BY queued_at, rowid", ())
        return {row.cell: row for row in rows}

    def history(self, cell: Cell) -> list[LedgerRow]:
        """All runs of a cell, oldest first."""
        return self._rows(
            "SELECT * FROM runs WHERE market = ? AND stage = ? AND segment = ? AND as_of = ?"
            " ORDER BY queued_at, rowid",
            (cell.market, cell.stage, cell.segment, cell.as_of),
        )

    def open_run_ids(self) -> set[str]:
        """Runs that have not ended."""
        places = ", ".join("?" for _ in _OPEN)
        return {
            row.run_id for row in self._rows(f"SELECT * FROM runs WHERE state IN ({places})", _OPEN)
        }

    def note(self, name: str) -> str | None:
        """A remembered value."""
        with self._lock:
            row = self._connection.execute(
                "SELECT value FROM notes WHERE name = ?", (name,)
            ).fetchone()
        return row["value"] if row else None

    def set_note(self, name: str, value: str) -> None:
        """Remember a value under a name."""
        with self._transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, value))

    def _rows(self, statement: str, values: tuple[Any, ...]) -> list[LedgerRow]:
        with self._lock:
            found = self._connection.execute(statement, values).fetchall()
        return [
            LedgerRow(
                run_id=row["run_id"],
                cell=Cell(row["market"], row["stage"], row["segment"], row["as_of"]),
                state=RunState(row["state"]),
                fingerprint=row["fingerprint"],
                process=Process(row["pid"], row["process_started"]),
                queued_at=row["queued_at"],
                ended_at=row["ended_at"],
                seconds=row["seconds"],
                cell_number=row["cell"],
                error=row["error"],
                notebook=row["notebook"],
            )
            for row in found
        ]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
