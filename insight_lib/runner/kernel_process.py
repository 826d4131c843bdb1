"""What runs inside a kernel: an ordinary IPython kernel that cannot hide a failure.

Loaded in the kernel only. A failing `!command`, an exception in a thread or in an
asynchronous task fails the run; text output has a limit; so has memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
import threading
from pathlib import Path
from typing import Any

from ipykernel.iostream import OutStream
from ipykernel.kernelapp import IPKernelApp

from insight_lib.runner.limits import Limits
from insight_lib.runner.processes import IS_LINUX, adopt_orphans
from insight_lib.runner.template import SENTINEL_MIME

_problems: list[str] = []


class BackgroundFailure(RuntimeError):
    """Something failed outside the cells: in a thread or an asynchronous task."""


class OutputTooLarge(RuntimeError):
    """The displayed outputs of the run exceed their limit."""


class _Budget:
    """Bytes that may still be written in this run."""

    text = 0
    display = 0
    note = "\n[output limit of this run reached; rest dropped]\n"

    def set(self, limits: Limits) -> None:
        self.text, self.display = limits.text_bytes, limits.display_bytes

    def take_note(self) -> str:
        """The note that output was dropped, once."""
        note, self.note = self.note, ""
        return note


_budget = _Budget()


class CappedStream(OutStream):
    """A kernel's stdout or stderr that stops with a note at the run's limit."""

    def write(self, string: str) -> int | None:  # type: ignore[override]
        size = len(string)
        if size > _budget.text:
            string = string[: _budget.text] + _budget.take_note()
            _budget.text = 0
        else:
            _budget.text -= size
        if string:
            super().write(string)
        return size


def _count_display(message: dict[str, Any]) -> dict[str, Any]:
    data = message.get("content", {}).get("data", {})
    _budget.display -= sum(len(str(value)) for value in data.values())
    if _budget.display < 0:
        raise OutputTooLarge("displayed outputs exceed the limit of this run; show less per cell")
    return message


def _limit_memory(allowance: int) -> None:
    """Let this process allocate `allowance` bytes more than it has now; zero for no limit."""
    if not (allowance and IS_LINUX):
        return
    import resource

    with Path("/proc/self/status").open() as lines:
        used = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData"))
    resource.setrlimit(resource.RLIMIT_DATA, (used + allowance, used + allowance))


def _thread_failed(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is not SystemExit:
        name = args.thread.name if args.thread else "unknown"
        _problems.append(f"thread {name!r}: {args.exc_type.__name__}: {args.exc_value}")
        threading.__excepthook__(args)


def _task_failed(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    if error is not None and ("task" in context or "future" in context):
        _problems.append(f"asynchronous task: {type(error).__name__}: {error}")
    loop.default_exception_handler(context)


def _watch(app: IPKernelApp) -> None:
    """Install the hooks that make failures count."""
    shell: Any = app.shell
    shell.system_raise_on_error = True
    shell.display_pub.register_hook(_count_display)
    shell.displayhook.register_hook(_count_display)
    threading.excepthook = _thread_failed
    asyncio.get_event_loop().set_exception_handler(_task_failed)
    if "matplotlib" in sys.modules:  # warmed with Agg; now as in any other kernel
        shell.enable_matplotlib("inline")


def serve(connection_file: str) -> None:
    """Run a kernel until it is shut down or killed."""
    adopt_orphans()
    limits = Limits.from_environment(os.environ)
    _budget.set(limits)
    app: Any = IPKernelApp.instance()
    app.outstream_class = f"{__name__}.CappedStream"
    app.initialize(["-f", connection_file, "--HistoryManager.enabled=False"])
    _watch(app)
    for stream in (sys.stdout, sys.stderr):  # echoes what C code writes; nobody reads it
        copy = getattr(stream, "_original_stdstream_copy", None)
        if copy is not None:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, copy)
            os.close(nowhere)
    _limit_memory(limits.memory_bytes)
    app.start()
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(0)


def finish(nonce: str) -> None:
    """The last cell of every run: fail on hidden failures, else show the nonce.

    Raises:
        BackgroundFailure: A thread or an asynchronous task failed during the run.
    """
    from IPython.display import display

    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    gc.collect()  # a lost task reports its exception when it is collected
    if _problems:
        raise BackgroundFailure("; ".join(_problems))
    display({SENTINEL_MIME: {"nonce": nonce}, "text/plain": ""}, raw=True)


if __name__ == "__main__":
    from insight_lib.runner.kernel_process import serve as _serve

    _serve(sys.argv[1])
