"""One run of one notebook: prepare, execute, and judge by what really happened.

The executed notebook is not trusted to tell: papermill marks cells of a killed kernel
`completed`. A run succeeded if its kernel never ended early, every cell ran, the last
cell of our own showed the run's nonce, and the record of what was used is complete.
"""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from insight_lib.runner import template
from insight_lib.runner.ledger import RunState
from insight_lib.runner.limits import Limits
from insight_lib.runner.template import TemplateFault

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from insight_lib.runner.kernels import Kernel, KernelEnd, KernelHost

OUT_OF_MEMORY_ERRORS = frozenset(
    {"MemoryError", "_ArrayMemoryError", "ArrowMemoryError", "OutOfMemoryException"}
)
_ERROR_CHARACTERS = 2000


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What `open_market` reads in the kernel (see `INSIGHT_RUN`)."""

    run_id: str
    market: str
    stage: str
    segment: str | None
    as_of: str
    today: str
    overrides: Mapping[str, Any]
    versions: Mapping[str, int]
    nonce: str
    role: str = "analyst"

    @property
    def name(self) -> str:
        """How messages call the run."""
        segment = f"@{self.segment}" if self.segment else ""
        return f"{self.market} {self.stage}{segment}"


class RunError(Exception):
    """A run did not succeed.

    Attributes:
        state: The end state.
        cell: Number of the cell in the stage's notebook, if one is to blame.
        notebook: The partial notebook, if the run got that far.
    """

    def __init__(
        self,
        state: RunState,
        message: str,
        *,
        cell: int | None = None,
        notebook: Path | None = None,
    ) -> None:
        super().__init__(message)
        self.state = state
        self.message = message[:_ERROR_CHARACTERS]
        self.cell = cell
        self.notebook = notebook


@dataclass(frozen=True, kw_only=True)
class Executed:
    """A run that succeeded: the notebook without our own last cell, and what it used."""

    notebook: NotebookNode
    used: Mapping[str, Any]
    started_at: datetime
    ended_at: datetime
    seconds: float


@dataclass(kw_only=True)
class Execution:
    """One run; `cancel` may be called from any thread.

    Attributes:
        scratch: Private folder of the run, made here.
        publishes: Tables that the notebook must have published.
        on_cell: Receives the number of each cell as it starts, for progress.
    """

    host: KernelHost
    root: Path
    notebook_path: Path
    request: RunRequest
    scratch: Path
    publishes: Sequence[str] = ()
    limits: Limits = field(default_factory=Limits)
    on_cell: Callable[[int], None] = lambda _: None

    _stopped: RunState | None = field(default=None, init=False)
    _kernel: Kernel | None = field(default=None, init=False)
    _notebook: NotebookNode | None = field(default=None, init=False)
    _index: int = field(default=-1, init=False)
    _started_at: datetime = field(default=datetime.max, init=False)
    _started: float = field(default=0.0, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def cancel(self) -> None:
        """Stop the run; `run` then raises with state `cancelled`."""
        self._stop(RunState.CANCELLED)

    def _stop(self, state: RunState) -> None:
        with self._lock:
            self._stopped = self._stopped or state
            if self._kernel is not None:
                self._kernel.kill()

    def run(self) -> Executed:
        """Execute the notebook and judge it.

        Raises:
            RunError: The run did not succeed; the partial notebook is kept in `scratch`.
        """
        try:
            notebook = template.load_template(self.notebook_path)
            parameters = {
                "market": self.request.market,
                "as_of": self.request.as_of,
                "segment": self.request.segment,
                "overrides": dict(self.request.overrides),
            }
            template.check_parameters(self.notebook_path, notebook, parameters)
        except TemplateFault as error:
            raise RunError(RunState.FAILED, str(error)) from error
        template.add_sentinel(notebook, self.request.nonce)
        work = self.scratch / "work"
        work.mkdir(mode=0o700, parents=True)
        request_path = self.scratch / "request.json"
        request_path.write_text(json.dumps(asdict(self.request), indent=1, allow_nan=False))
        try:
            self._execute(notebook, parameters, work, request_path)
            used = self._judge()
        except RunError as error:
            error.notebook = self._write_partial()
            raise
        assert self._notebook is not None
        template.remove_sentinel(self._notebook)
        return Executed(
            notebook=self._notebook,
            used=used,
            started_at=self._started_at,
            ended_at=datetime.now(UTC),
            seconds=time.monotonic() - self._started,
        )

    def _execute(
        self, notebook: NotebookNode, parameters: dict[str, Any], work: Path, request_path: Path
    ) -> None:
        from nbclient.exceptions import CellTimeoutError, DeadKernelError
        from papermill.exceptions import PapermillExecutionError

        from insight_lib.runner.engine import execute_notebook
        from insight_lib.runner.kernels import KERNEL_NAME, KernelStartFailed

        environment = {
            "INSIGHT_ROOT": str(self.root.resolve()),
            "INSIGHT_RUN": str(request_path.resolve()),
            "INSIGHT_TODAY": self.request.today,
            **self.limits.to_environment(),
        }
        oom_kills = _oom_kills()
        kernel: Kernel | None = None
        watchdog = threading.Timer(self.limits.run_seconds, self._stop, [RunState.TIMED_OUT])
        watchdog.daemon = True
        watchdog.start()
        try:
            kernel = self.host.start_kernel(cwd=work, environment=environment)
            self._started_at, self._started = datetime.now(UTC), time.monotonic()
            with self._lock:
                self._kernel = kernel
            if self._stopped:
                raise DeadKernelError("stopped before the first cell")
            execute_notebook(
                notebook,
                parameters=parameters,
                manager=kernel.manager,
                kernel_name=KERNEL_NAME,
                cell_seconds=self.limits.cell_seconds,
                start_seconds=self.limits.start_seconds,
                on_notebook=self._hold,
                on_cell=self._cell_started,
            )
        except CellTimeoutError as error:
            limit = f"cell exceeded its limit of {self.limits.cell_seconds:.0f} s"
            raise self._error(self._stopped or RunState.TIMED_OUT, limit) from error
        except PapermillExecutionError as error:
            self._index = error.cell_index
            is_memory = error.ename in OUT_OF_MEMORY_ERRORS
            state = RunState.OUT_OF_MEMORY if is_memory else RunState.FAILED
            message = f"{error.ename}: {error.evalue}"
            raise self._error(self._stopped or state, message) from error
        except KernelStartFailed as error:
            raise self._error(self._stopped or RunState.FAILED, str(error)) from error
        except (DeadKernelError, RuntimeError) as error:
            end = kernel.end() if kernel else None
            text = kernel.log() if kernel else ""
            raise self._died(end, text, str(error), _oom_kills() > oom_kills) from error
        finally:
            watchdog.cancel()
            with self._lock:
                self._kernel = None
            if kernel is not None:
                kernel.close()

    def _hold(self, notebook: NotebookNode) -> None:
        self._notebook = notebook

    def _cell_started(self, index: int) -> None:
        self._index = index
        assert self._notebook is not None
        self.on_cell(template.cell_number(self._notebook, index))

    def _error(self, state: RunState, message: str) -> RunError:
        if state is RunState.CANCELLED:
            message = "cancelled"
        elif state is RunState.TIMED_OUT and self._stopped:
            message = f"run exceeded its limit of {self.limits.run_seconds:.0f} s"
        cell = None
        if self._notebook is not None and self._index >= 0:
            blamed = self._notebook.cells[self._index]
            if template.SENTINEL_TAG not in template.tags(blamed):
                cell = template.cell_number(self._notebook, self._index)
        return RunError(state, message, cell=cell)

    def _died(self, end: KernelEnd | None, log: str, cause: str, by_system: bool) -> RunError:
        """Why the kernel is gone, from its exit code, its log and its memory."""
        if self._stopped:
            return self._error(self._stopped, "")
        if end is None:
            return self._error(RunState.FAILED, cause)
        peak = end.peak_bytes or 0
        near_limit = 0 < 0.8 * self.limits.memory_bytes < peak
        if end.code < 0 and (by_system or near_limit or "bad_alloc" in log):
            message = f"out of memory; the kernel's peak was {peak / 2**20:,.0f} MiB"
            return self._error(RunState.OUT_OF_MEMORY, message)
        if end.code < 0:
            name = signal.Signals(-end.code).name
            return self._error(RunState.KILLED, f"the kernel was ended by {name}")
        if self._index < 0:
            return self._error(RunState.FAILED, f"the kernel did not start: {log or cause}")
        return self._error(
            RunState.FAILED, f"ended early: the kernel exited with code {end.code} in this cell"
        )

    def _judge(self) -> dict[str, Any]:
        """What the run used; raises unless everything that makes a success is there."""
        notebook = self._notebook
        assert notebook is not None
        for index, cell in enumerate(notebook.cells):
            outputs = cell.get("outputs", [])
            if any(output.get("ename") == "SystemExit" for output in outputs):
                self._index = index
                raise self._error(RunState.FAILED, "ended early: the cell called sys.exit")
            is_skipped = "skip-execution" in template.tags(cell) or not cell.source.strip()
            if cell.cell_type == "code" and cell.execution_count is None and not is_skipped:
                self._index = index
                raise self._error(RunState.FAILED, "ended early: this cell did not run")
        shown = [
            output.data[template.SENTINEL_MIME].get("nonce")
            for output in notebook.cells[-1].outputs
            if template.SENTINEL_MIME in output.get("data", {})
        ]
        if shown != [self.request.nonce]:
            raise self._error(RunState.FAILED, "ended early: the run's last cell did not run")
        return self._read_used()

    def _read_used(self) -> dict[str, Any]:
        path = self.scratch / "used.json"
        try:
            used: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            published = set(used["published"])
            used["tables"], used["parameters"]
        except FileNotFoundError:
            message = "the notebook never opened its market; call open_market after the parameters"
            raise RunError(RunState.FAILED, message) from None
        except (ValueError, KeyError, TypeError) as error:
            message = f"the record of used tables is damaged: {error!r}"
            raise RunError(RunState.FAILED, message) from error
        if missing := sorted(set(self.publishes) - published):
            message = f"the notebook did not publish {', '.join(missing)}; lifecycle.yaml says so"
            raise RunError(RunState.FAILED, message)
        return used

    def _write_partial(self) -> Path | None:
        """Keep what there is of the notebook, with the truth about its cells."""
        import nbformat

        from insight_lib.runner.engine import remove_markers

        notebook = self._notebook
        if notebook is None:
            return None
        remove_markers(notebook)
        template.remove_sentinel(notebook)
        notebook.metadata.papermill["exception"] = True
        for index, cell in enumerate(notebook.cells):
            status = cell.metadata.get("papermill", {})
            if index >= self._index >= 0:
                status["status"] = "failed" if index == self._index else "pending"
                status["exception"] = index == self._index
        path = self.scratch / "partial.ipynb"
        try:
            nbformat.write(notebook, path)
        except OSError:
            return None
        return path


def _oom_kills() -> int:
    """How many processes this system has killed for memory since it started."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
