"""What is shown while runs go on."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from insight_lib.runner.ledger import Cell, RunState

if TYPE_CHECKING:
    from rich.console import Console


class Progress:
    """Receives what happens; this one shows nothing. Called from several threads."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def planned(self, n_to_run: int, n_up_to_date: int) -> None:
        """The plan is made."""

    def started(self, cell: Cell) -> None:
        """A run has started."""

    def reached(self, cell: Cell, number: int) -> None:
        """A run has started cell `number` of its notebook."""

    def ended(self, cell: Cell, state: RunState, seconds: float) -> None:
        """A run has ended, or will not happen."""


class RichProgress(Progress):
    """A line for each run under way and a bar for all of them."""

    def __init__(self, console: Console | None = None) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._lock = threading.Lock()
        self._tasks: dict[Cell, Any] = {}
        self._all: Any = None

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def planned(self, n_to_run: int, n_up_to_date: int) -> None:
        if n_up_to_date:
            self._bars.console.print(f"{n_up_to_date} up to date", style="dim")
        self._all = self._bars.add_task("runs", total=n_to_run)

    def started(self, cell: Cell) -> None:
        with self._lock:
            self._tasks[cell] = self._bars.add_task(f"  {cell}", total=None)

    def reached(self, cell: Cell, number: int) -> None:
        with self._lock:
            if cell in self._tasks:
                self._bars.update(self._tasks[cell], description=f"  {cell} · cell {number}")

    def ended(self, cell: Cell, state: RunState, seconds: float) -> None:
        with self._lock:
            if cell in self._tasks:
                self._bars.remove_task(self._tasks.pop(cell))
        self._bars.advance(self._all)
        style = (
            "green" if state is RunState.PUBLISHED else "yellow" if state.is_published else "red"
        )
        self._bars.console.print(f"[{style}]{state.value:>13}[/] {cell} · {seconds:.1f} s")
