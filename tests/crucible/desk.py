"""Runs a project as `insight run` does, without a kernel for each notebook.

Plan, ingest, judgement, pages and publication are the product's own; only the kernel is
replaced by one warmed interpreter, so that hundreds of markets can be put through.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from time import monotonic
from typing import Any
from unittest import mock

import yaml

from insight_lib.lake.ingest import ingest_market
from insight_lib.parameters import load_project
from insight_lib.runner import execute, kernels
from insight_lib.runner.drive import RunSummary, SummaryRow, run
from insight_lib.runner.ledger import RunState
from insight_lib.runner.plan import Selection
from insight_lib.runner.template import INJECTED_TAG
from tests.conftest import ROOT
from tests.crucible.world import LICENCE, World

TODAY = date(2026, 6, 30)


class _NoKernels:
    """Stands for the host of kernels."""

    def __init__(self, **_: Any) -> None:
        pass

    def __enter__(self) -> _NoKernels:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class _Here(execute.Execution):
    """An execution whose cells run in this process."""

    def _execute(
        self,
        notebook: Any,
        parameters: dict[str, Any],
        work: Path,
        request_path: Path,
    ) -> None:
        from papermill.parameterize import parameterize_notebook

        self._started_at, self._started = datetime.now(UTC), monotonic()
        notebook.metadata.setdefault("papermill", {})
        for cell in notebook.cells:
            cell.metadata.setdefault("tags", [])
        notebook = parameterize_notebook(
            notebook, parameters, kernel_name="python3", language="python"
        )
        self._notebook = notebook
        environment = {
            "INSIGHT_ROOT": str(self.root.resolve()),
            "INSIGHT_RUN": str(request_path.resolve()),
            "INSIGHT_TODAY": self.request.today,
        }
        with mock.patch.dict(os.environ, environment):
            for index, cell in enumerate(notebook.cells[:-1]):  # the last is the runner's own
                if cell.cell_type == "code":
                    self._cell_started(index)
                    self._run_cell(cell, index)

    def _run_cell(self, cell: Any, index: int) -> None:
        from IPython.core.interactiveshell import InteractiveShell
        from IPython.utils.capture import capture_output
        from nbformat.v4 import new_output

        shell: Any = InteractiveShell.instance()
        if INJECTED_TAG in cell.metadata.get("tags", []) or index == 0:
            shell.reset(new_session=True)
        with capture_output() as captured:
            result = shell.run_cell(cell.source, store_history=False)
        cell.execution_count = index + 1
        cell.outputs = [
            new_output("display_data", data=output.data, metadata=output.metadata or {})
            for output in captured.outputs
        ]
        if result.error_before_exec or result.error_in_exec:
            error = result.error_before_exec or result.error_in_exec
            raise self._error(RunState.FAILED, f"{type(error).__name__}: {error}") from error

    def _judge(self) -> dict[str, Any]:
        return self._read_used()


@contextmanager
def without_kernels() -> Iterator[None]:
    """Let `run` execute notebooks in this process."""
    main = sys.modules["__main__"]  # a shell puts its own in the place, which starts no process
    try:
        with (
            mock.patch.object(execute, "Execution", _Here),
            mock.patch.object(kernels, "KernelHost", _NoKernels),
        ):
            yield
    finally:
        sys.modules["__main__"] = main


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came out of one project.

    Attributes:
        ingest_faults: Market and table to why it was not loaded.
    """

    root: Path
    rows: tuple[SummaryRow, ...]
    ingest_faults: Mapping[tuple[str, str], str]

    def findings(self, market: str) -> dict[str, list[dict[str, Any]]]:
        """Findings of a market by stage, of the stages that have a page."""
        found = {}
        for row in self.rows:
            path = (row.link or Path("/nowhere")).with_name("findings.json")
            if row.cell.market == market and row.state.is_published and path.is_file():
                found[row.cell.stage] = json.loads(path.read_text())["findings"]
        return found

    @cached_property
    def states(self) -> dict[tuple[str, str], tuple[str, str | None]]:
        """Market and stage to state and error."""
        return {
            (row.cell.market, row.cell.stage): (row.state.value, row.error) for row in self.rows
        }


def make_project(root: Path, worlds: Sequence[World]) -> None:
    """A project of these markets alone, with the parameters and notebooks that are shipped."""
    for name in ("parameters", "notebooks"):
        shutil.copytree(ROOT / name, root / name)
    shutil.rmtree(root / "parameters" / "markets")
    path = root / "parameters" / "registers" / "licences.yaml"
    path.write_text(path.read_text() + yaml.safe_dump(LICENCE))
    for world in worlds:
        world.write(root)


def put_through(
    root: Path,
    worlds: Sequence[World],
    *,
    stages: Sequence[str] = (),
    today: date = TODAY,
    with_kernels: bool = False,
) -> Outcome:
    """YAML and files to findings: make the project, ingest, run every stage, or some."""
    make_project(root, worlds)
    return go(root, stages=stages, today=today, with_kernels=with_kernels)


def go(
    root: Path, *, stages: Sequence[str] = (), today: date = TODAY, with_kernels: bool = False
) -> Outcome:
    """Ingest and run a project that stands.

    Args:
        with_kernels: The whole way, a kernel for each notebook, as `insight run` goes.
    """
    with mock.patch.dict(os.environ, {"INSIGHT_TODAY": today.isoformat()}):
        project = load_project(root)
        assert not project.faults, project.faults
        faults = {}
        for market in sorted(project.markets):
            config = project.market(market)
            for table in ingest_market(project.lake_dir, config, root, today=today):
                if table.fault:
                    faults[market, table.table] = table.fault
        with nullcontext() if with_kernels else without_kernels():
            summary: RunSummary = run(project, Selection(stages=tuple(stages)), jobs=1)
    gc.collect()
    return Outcome(root=root, rows=summary.rows, ingest_faults=faults)
