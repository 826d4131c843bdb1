"""`run`: plan, execute what is not up to date, judge, publish, and tell what happened.

One driver with a pool of threads; the kernels are processes of their own. A failure
stops what depends on it in its market only. Killed anywhere, the next call continues.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from insight_lib.runner import processes, publish
from insight_lib.runner.fingerprint import CodeIndex, package_versions
from insight_lib.runner.harvest import HarvestFault, failed_gates, harvest, render_findings
from insight_lib.runner.ledger import Cell, Ledger, RunState
from insight_lib.runner.limits import Limits, share_of_memory
from insight_lib.runner.plan import (
    Node,
    Overridden,
    Plan,
    Selection,
    code_path,
    make_plan,
    output_folder,
    published_state,
    record_gates,
)
from insight_lib.runner.progress import Progress
from insight_lib.runner.template import remove_traces

if TYPE_CHECKING:
    from insight_lib.parameters import Project
    from insight_lib.runner.execute import Executed, Execution
    from insight_lib.runner.kernels import KernelHost

_POLL_SECONDS = 0.2
_LIMIT_STATES = (RunState.TIMED_OUT, RunState.KILLED, RunState.OUT_OF_MEMORY)


@dataclass(frozen=True, kw_only=True)
class SummaryRow:
    """How one cell of the plan came out.

    Attributes:
        was_run: False if it was up to date, blocked or cancelled before it started.
        link: The published page, or the partial notebook of a run that failed.
        cell_number: Cell of the notebook that failed.
    """

    cell: Cell
    state: RunState
    was_run: bool = False
    seconds: float = 0.0
    n_findings: int = 0
    gates: tuple[str, ...] = ()
    error: str | None = None
    cell_number: int | None = None
    link: Path | None = None


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """How everything that was planned came out, in the order of the plan."""

    rows: tuple[SummaryRow, ...]
    seconds: float
    index: Path | None = None

    @property
    def exit_code(self) -> int:
        """0 all published, 1 a run failed, 3 a gate stops, 4 killed or over a limit,
        130 cancelled."""
        states = {row.state for row in self.rows}
        if RunState.CANCELLED in states:
            return 130
        if RunState.FAILED in states:
            return 1
        if states & set(_LIMIT_STATES):
            return 4
        return 3 if states & {RunState.GATE, RunState.BLOCKED} else 0


@dataclass
class _Drive:
    """The state of one call of `run`, shared by its threads."""

    project: Project
    plan: Plan
    ledger: Ledger
    limits: Limits
    overridden: Overridden
    overrides: Mapping[str, Any]
    progress: Progress
    code_revision: str | None
    cancelled: threading.Event
    host: KernelHost | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)
    active: dict[Cell, Execution] = field(default_factory=dict)
    rows: dict[Cell, SummaryRow] = field(default_factory=dict)
    records: dict[Cell, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.project.reports_dir / ".insight"


def run(
    project: Project,
    selection: Selection | None = None,
    *,
    jobs: int = 2,
    force: bool = False,
    as_of: date | None = None,
    overridden: Overridden | None = None,
    cold_kernels: bool = False,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> RunSummary:
    """Bring the selected reports up to date.

    Args:
        jobs: Runs at the same time.
        force: Run the selected stages even if they are up to date.
        as_of: Last day that counts; by default each market's last complete day.
        overridden: Market id to its overridden gates and why; the register's by default.
        cold_kernels: Start a fresh interpreter per run instead of forking a warmed one.
        limits: By default each run may take its share of four fifths of the memory.

    Raises:
        SelectionFault: Unknown market or stage; nothing was run.
    """
    started = time.monotonic()
    selection = selection or Selection()
    overridden = overridden or (
        lambda market: project.registers.overridden(market, as_of=project.today)
    )
    code = CodeIndex(kept=code_path(project))
    with ExitStack() as stack:
        ledger = stack.enter_context(Ledger(project.reports_dir / ".insight" / "ledger.sqlite"))
        _clean_up(project.reports_dir, ledger)
        plan = make_plan(project, selection, as_of=as_of, code=code)
        drive = _Drive(
            project=project,
            plan=plan,
            ledger=ledger,
            limits=limits or Limits(memory_bytes=share_of_memory(jobs)),
            overridden=overridden,
            overrides=selection.overrides,
            progress=stack.enter_context(progress or Progress()),
            code_revision=_code_revision(project.root),
            cancelled=threading.Event(),
        )
        stack.enter_context(_signals(drive.cancelled))
        asked = set(selection.stages or project.stages) if force else set()
        to_run = [n for n in plan.nodes if n.cell.stage in asked or not n.is_up_to_date]
        drive.progress.planned(len(to_run), len(plan.nodes) - len(to_run))
        if to_run:
            from insight_lib.runner.kernels import KernelHost

            modules = sorted({m for n in to_run if not n.fault for m in code.modules(n.notebook)})
            drive.host = stack.enter_context(KernelHost(cold=cold_kernels, modules=modules))
        _run_all(drive, {node.cell for node in to_run}, jobs)
        rows = tuple(drive.rows[node.cell] for node in plan.nodes)
        from insight_lib.runner.status import write_site

        index = write_site(project, ledger, overridden, code=code)
    return RunSummary(rows=rows, seconds=time.monotonic() - started, index=index)


def _run_all(drive: _Drive, to_run: set[Cell], jobs: int) -> None:
    waiting = list(drive.plan.nodes)
    running: dict[Future[SummaryRow], Node] = {}
    with ThreadPoolExecutor(max_workers=max(1, jobs), thread_name_prefix="run") as pool:
        while waiting or running:
            if drive.cancelled.is_set():
                _cancel(drive, waiting)
                waiting = []
            for node in list(waiting):
                if any(cell not in drive.rows for cell in (*node.needs, *node.after)):
                    continue
                blocked_by = _blocked_by(drive, node)
                if blocked_by is None and node.cell in to_run and node.fault is None:
                    if len(running) >= jobs:
                        continue
                    running[pool.submit(_run_node, drive, node)] = node
                else:
                    _settle(drive, node, blocked_by, is_stale=node.cell in to_run)
                waiting.remove(node)
            done, _ = wait(running, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
            for future in done:
                node = running.pop(future)
                drive.rows[node.cell] = future.result()


def _blocked_by(drive: _Drive, node: Node) -> str | None:
    """Why `node` may not run: a need that is not there, or a gate upstream."""
    for need in node.needs:
        row = drive.rows[need]
        if not row.state.is_published:
            return f"{need.stage} is {row.state.value}"
    gate = drive.plan.closed_gate(node, drive.records, drive.overridden(node.cell.market))
    return f"gate {gate} failed" if gate else None


def _settle(drive: _Drive, node: Node, blocked_by: str | None, *, is_stale: bool) -> None:
    """Give a node its row without a run: up to date, blocked, or impossible."""
    cell = node.cell
    if blocked_by is None and not is_stale:
        assert node.record is not None
        drive.records[cell] = node.record
        drive.rows[cell] = SummaryRow(
            cell=cell,
            state=published_state(node.record, drive.overridden(cell.market)),
            n_findings=node.record.get("n_findings", 0),
            gates=tuple(gate.id for gate in record_gates(node.record)),
            link=node.folder / "index.html",
        )
        return
    state = RunState.BLOCKED if blocked_by else RunState.FAILED
    error = blocked_by or node.fault
    run_id = _new_run_id()
    drive.ledger.queue(run_id, cell, node.fingerprint)
    drive.ledger.end(run_id, state, error=error)
    drive.rows[cell] = SummaryRow(cell=cell, state=state, error=error)
    if is_stale:
        drive.progress.ended(cell, state, 0.0)


def _cancel(drive: _Drive, waiting: Sequence[Node]) -> None:
    for node in waiting:
        drive.rows[node.cell] = SummaryRow(cell=node.cell, state=RunState.CANCELLED)
    with drive.lock:
        active = list(drive.active.values())
    for execution in active:
        execution.cancel()


def _run_node(drive: _Drive, node: Node) -> SummaryRow:
    """One run in a worker thread; whatever goes wrong ends in its row and in the ledger."""
    from insight_lib.runner.execute import RunError

    run_id = _new_run_id()
    started = time.monotonic()
    drive.ledger.queue(run_id, node.cell, node.fingerprint)
    try:
        if not _claim(drive, node, run_id):
            return drive.rows[node.cell]
        drive.progress.started(node.cell)
        row = _execute_and_publish(drive, node, run_id)
        drive.ledger.end(run_id, row.state, seconds=row.seconds)
    except Exception as error:
        problem = error if isinstance(error, RunError) else _explain(error)
        seconds = time.monotonic() - started
        drive.ledger.end(
            run_id,
            problem.state,
            seconds=seconds,
            cell_number=problem.cell,
            error=problem.message,
            notebook=str(problem.notebook) if problem.notebook else None,
        )
        row = SummaryRow(
            cell=node.cell,
            state=problem.state,
            was_run=True,
            seconds=seconds,
            error=problem.message,
            cell_number=problem.cell,
            link=problem.notebook,
        )
    drive.progress.ended(node.cell, row.state, row.seconds)
    return row


def _explain(error: Exception) -> Any:
    """What went wrong outside the notebook, as a `RunError`."""
    from insight_lib.runner.execute import RunError

    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        message = f"no room to write the report ({error.strerror}); the last good one is kept"
    elif isinstance(error, OSError):
        message = f"cannot write the report: {error}; the last good one is kept"
    elif isinstance(error, HarvestFault):
        message = str(error)
    else:
        message = f"{type(error).__name__}: {error}"
    return RunError(RunState.FAILED, message)


def _claim(drive: _Drive, node: Node, run_id: str) -> bool:
    """Get the cell for this run, waiting for another process that has it.

    Returns:
        False if the other process, or a cancellation, made this run unnecessary.
    """
    from insight_lib.runner.execute import RunError

    deadline = time.monotonic() + drive.limits.run_seconds
    while (holder := drive.ledger.claim(run_id, node.fingerprint)) is not None:
        if drive.cancelled.wait(_POLL_SECONDS):
            raise RunError(RunState.CANCELLED, "cancelled while another run had the same report")
        if time.monotonic() > deadline:
            message = f"process {holder.pid} still runs the same report; end it or wait"
            raise RunError(RunState.FAILED, message)
    record = publish.read_record(node.folder)
    planned_on = node.record["run_id"] if node.record else None
    if record is None or record["run_id"] == planned_on:
        return True
    if record.get("fingerprint") != node.fingerprint:
        return True
    drive.ledger.forget(run_id)
    _settle(drive, replace(node, record=record), None, is_stale=False)
    drive.progress.ended(node.cell, drive.rows[node.cell].state, 0.0)
    return False


def _execute_and_publish(drive: _Drive, node: Node, run_id: str) -> SummaryRow:
    from insight_lib.runner.execute import Execution, RunError, RunRequest

    assert drive.host is not None
    scratch = drive.home / "runs" / run_id
    scratch.mkdir(mode=0o700, parents=True)
    cell = node.cell
    execution = Execution(
        host=drive.host,
        root=drive.project.root,
        notebook_path=node.notebook,
        request=RunRequest(
            run_id=run_id,
            market=cell.market,
            stage=cell.stage,
            segment=cell.segment or None,
            as_of=cell.as_of,
            today=drive.project.today.isoformat(),
            overrides=drive.overrides,
            versions=_pinned_versions(drive, node),
            nonce=uuid.uuid4().hex,
        ),
        scratch=scratch,
        publishes=node.stage.publishes,
        limits=drive.limits,
        on_cell=lambda number: drive.progress.reached(cell, number),
    )
    with drive.lock:
        drive.active[cell] = execution
    try:
        if drive.cancelled.is_set():
            raise RunError(RunState.CANCELLED, "cancelled")
        executed = execution.run()
    finally:
        with drive.lock:
            del drive.active[cell]
        shutil.rmtree(scratch / "work", ignore_errors=True)
    drive.ledger.end(run_id, RunState.SUCCEEDED, seconds=executed.seconds)
    try:
        record = _publish(drive, node, run_id, executed)
    except Exception as error:
        problem = _explain(error)
        problem.notebook = _keep_notebook(executed, scratch)
        raise problem from error
    shutil.rmtree(scratch, ignore_errors=True)
    drive.records[cell] = record
    return SummaryRow(
        cell=cell,
        state=published_state(record, drive.overridden(cell.market)),
        was_run=True,
        seconds=executed.seconds,
        n_findings=record["n_findings"],
        gates=tuple(gate.id for gate in record_gates(record)),
        link=node.folder / "index.html",
    )


def _pinned_versions(drive: _Drive, node: Node) -> dict[str, int]:
    """Canonical versions of the plan, and the tables that the runs upstream published."""
    versions = dict(node.versions)
    own = [replace(node.cell, stage=name, segment="") for name in node.stage.after]
    for cell in (*own, *drive.plan.upstream(node)):
        # A stage that it comes after and that is not planned counts as it was published.
        folder = output_folder(drive.project, cell)
        record = drive.records.get(cell) or publish.read_record(folder) or {}
        for name, table in record.get("published", {}).items():
            versions[name] = table["version"]
    return versions


def _publish(drive: _Drive, node: Node, run_id: str, executed: Executed) -> dict[str, Any]:
    """Harvest, render and publish; returns the record."""
    import nbformat

    from insight_lib.report.page import render_pages

    cell = node.cell
    findings = harvest(executed.notebook)
    gates = failed_gates(findings)
    overridden = drive.overridden(cell.market)
    in_force = {gate.id: overridden[gate.id] for gate in gates if gate.id in overridden}
    record: dict[str, Any] = {
        "run_id": run_id,
        "market": _market_head(drive.project, cell.market),
        "stage": {
            "id": node.stage.id,
            "number": node.stage.number,
            "title": node.stage.title,
            "question": node.stage.question,
        },
        "segment": cell.segment or None,
        "as_of": cell.as_of,
        "today": drive.project.today.isoformat(),
        "overrides": dict(drive.overrides),
        "fingerprint": node.fingerprint,
        "started_at": _stamp(executed.started_at),
        "ended_at": _stamp(executed.ended_at),
        "seconds": round(executed.seconds, 3),
        "tables": executed.used["tables"],
        "published": executed.used["published"],
        "parameters": executed.used["parameters"],
        "code_revision": drive.code_revision,
        "packages": dict(package_versions()),
        "n_findings": len(findings),
        "failed_gates": [gate.to_json() for gate in gates],
        "overridden_gates": in_force,
    }
    record["state"] = published_state(record, overridden).value
    pages = render_pages(executed.notebook, run=record, findings=findings)
    remove_traces(executed.notebook)
    files = {
        "index.html": pages.stakeholder.encode("utf-8"),
        "analyst.html": pages.analyst.encode("utf-8"),
        "notebook.ipynb": nbformat.writes(executed.notebook).encode("utf-8"),
        "findings.json": render_findings(
            findings,
            market=cell.market,
            stage=cell.stage,
            segment=cell.segment or None,
            as_of=cell.as_of,
        ),
    }
    staged = drive.home / "staged" / run_id
    return publish.publish(node.folder, staged=staged, files=files, record=record)


def _market_head(project: Project, market_id: str) -> dict[str, Any]:
    market = project.markets[market_id]
    names = (
        "id",
        "title",
        "kind",
        "region",
        "jurisdiction",
        "currency",
        "zone",
        "country",
        "language",
        "note",
    )
    return {name: getattr(market, name) for name in names}


def _keep_notebook(executed: Executed, scratch: Path) -> Path | None:
    """The notebook of a run whose report could not be published."""
    import nbformat

    path = scratch / "partial.ipynb"
    try:
        path.write_text(nbformat.writes(executed.notebook), encoding="utf-8")
    except OSError:
        return None
    return path


def _clean_up(reports: Path, ledger: Ledger) -> None:
    """After whatever happened before: no process, half-finished run or stray file stays."""
    processes.kill_abandoned()
    ledger.reconcile()
    publish.recover(reports)
    keep = ledger.open_run_ids()
    shown = {Path(row.notebook).parent.name for row in ledger.latest().values() if row.notebook}
    for folder, kept in (("staged", keep), ("runs", keep | shown)):
        for stray in (reports / ".insight" / folder).glob("*"):
            if stray.name not in kept:
                shutil.rmtree(stray, ignore_errors=True)
    for stray in reports.glob(".*.partial"):
        pid = stray.name.split(".")[-2].partition("-")[0]
        if not (pid.isdigit() and processes.identify(int(pid))):
            stray.unlink(missing_ok=True)


@contextmanager
def _signals(cancelled: threading.Event) -> Iterator[None]:
    """Let the usual stop signals end the runs gracefully, in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP"):
        numbers.append(signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        signal.signal(number, lambda *_: cancelled.set())
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _code_revision(root: Path) -> str | None:
    try:
        found = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],  # noqa: S607 - the git on the path
            cwd=root,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None if found.returncode == 0 else None


def _new_run_id() -> str:
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def _stamp(instant: datetime) -> str:
    return instant.isoformat(timespec="seconds").replace("+00:00", "Z")
