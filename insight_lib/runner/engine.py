"""The papermill engine of a run: hands the notebook out while it runs, saves nothing itself."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from nbformat import NotebookNode
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines
from papermill.execute import ERROR_MARKER_TAG
from papermill.execute import execute_notebook as _execute_notebook
from papermill.log import logger

ENGINE_NAME = "insight"


class _Engine(NBClientEngine):  # type: ignore[misc]
    @classmethod
    def execute_managed_notebook(
        cls, nb_man: NotebookExecutionManager, kernel_name: str, **kwargs: Any
    ) -> None:
        kwargs["on_notebook"](nb_man.nb)
        client = PapermillNotebookClient(
            nb_man,
            km=kwargs["km"],
            kernel_name=kernel_name,
            log=logger,
            timeout=kwargs["execution_timeout"],
            startup_timeout=kwargs["start_timeout"],
            iopub_timeout=60,  # a stalled channel is no failure; the run's own limit ends it
            shell_timeout_interval=1,
            record_timing=False,
            on_cell_start=kwargs["on_cell_start"],
        )
        try:
            client.execute()
        finally:
            if client.kc is not None:  # nbclient leaves it open, with its context and threads
                client.kc.stop_channels()


papermill_engines.register(ENGINE_NAME, _Engine)
logger.addHandler(logging.NullHandler())
logger.propagate = False  # what goes wrong is told by RunError, once


def execute_notebook(
    notebook: NotebookNode,
    *,
    parameters: dict[str, Any],
    manager: Any,
    kernel_name: str,
    cell_seconds: float,
    start_seconds: float,
    on_notebook: Callable[[NotebookNode], None],
    on_cell: Callable[[int], None],
) -> None:
    """Execute `notebook` with papermill in the kernel of `manager`.

    `cwd=` is never passed: papermill would change the folder of the whole process.

    Args:
        on_notebook: Receives the notebook whose cells fill while they run.
        on_cell: Receives the index of each cell as it starts.

    Raises:
        PapermillExecutionError: A cell raised.
        CellTimeoutError, DeadKernelError, RuntimeError: From nbclient.
    """

    def cell_started(**event: Any) -> None:
        on_cell(event["cell_index"])

    _execute_notebook(
        notebook,
        None,
        parameters=parameters,
        engine_name=ENGINE_NAME,
        kernel_name=kernel_name,
        language="python",
        progress_bar=False,
        request_save_on_cell_execute=False,
        autosave_cell_every=0,
        start_timeout=start_seconds,
        execution_timeout=cell_seconds,
        km=manager,
        on_notebook=on_notebook,
        on_cell_start=cell_started,
    )


def remove_markers(notebook: NotebookNode) -> None:
    """Take papermill's error banners out of `notebook`."""
    notebook.cells = [
        cell for cell in notebook.cells if ERROR_MARKER_TAG not in cell.metadata.get("tags", [])
    ]
