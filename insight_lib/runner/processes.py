"""Who a process is, and how none is left behind, on Linux by the kernel's own means.

Every process that a run starts carries `MARKER` in its environment, naming the driver
that owns it. Orphans climb to the nearest ancestor that asked to be their reaper.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

MARKER = "INSIGHT_RUNNER"
IS_LINUX = sys.platform == "linux"

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """A process that cannot be mistaken for a later one with the same number.

    Attributes:
        started: Boot identity and start tick; empty where the system does not tell.
    """

    pid: int
    started: str

    @property
    def is_alive(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        current = identify(self.pid)
        return current is not None and (current.started == self.started or not self.started)


@dataclass(frozen=True)
class _Status:
    state: str
    parent: int
    session: int
    start_ticks: str


def _status(pid: int) -> _Status | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return _Status(fields[0], int(fields[1]), int(fields[3]), fields[19])


@cache
def _boot() -> str:
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def identify(pid: int) -> Process | None:
    """The process that has this number now, or None."""
    if not IS_LINUX:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass
        return Process(pid, "")
    status = _status(pid)
    if status is None or status.state in "ZX":
        return None
    return Process(pid, f"{_boot()}:{status.start_ticks}")


def this_process() -> Process:
    """The calling process."""
    found = identify(os.getpid())
    assert found is not None
    return found


def marker() -> str:
    """The value of `MARKER` for processes that this driver owns."""
    me = this_process()
    return f"{me.pid}={me.started}"


def _prctl(option: int, value: int) -> None:
    if IS_LINUX:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(option, value, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), f"prctl({option}, {value})")


def adopt_orphans(adopt: bool = True) -> None:
    """Make this process the parent of descendants whose own parent dies."""
    _prctl(_PR_SET_CHILD_SUBREAPER, int(adopt))


def die_with_parent(parent: int | None) -> None:
    """Ask for SIGKILL when the parent dies; None takes the wish back.

    Args:
        parent: Process id that the parent must still have; if it died meanwhile, so do we.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL if parent else 0)
    if parent and IS_LINUX and os.getppid() != parent:
        os._exit(70)


def _pids() -> Iterator[int]:
    for entry in _PROC.iterdir() if IS_LINUX else ():
        if entry.name.isdigit():
            yield int(entry.name)


def children(parent: int) -> list[int]:
    """Processes, zombies among them, whose parent is `parent`."""
    return [pid for pid in _pids() if (status := _status(pid)) and status.parent == parent]


def _owner(pid: int) -> str | None:
    """The marker in the environment of `pid`, if it can be read."""
    try:
        environment = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return None
    prefix = f"{MARKER}=".encode()
    for entry in environment.split(b"\0"):
        if entry.startswith(prefix):
            return entry[len(prefix) :].decode(errors="replace")
    return None


def kill_orphans(owner: str, *, sessions: Collection[int], spare: Collection[int]) -> int:
    """Kill and reap children of this process that runs of `owner` have left to it.

    Other children of the calling program are not touched: an orphan is known by the
    marker in its environment or by the session of a kernel.

    Returns:
        How many were killed; their own children come up on the next call.
    """
    killed = 0
    for pid in children(os.getpid()):
        status = _status(pid)
        if pid in spare or status is None:
            continue
        if status.session in sessions or _owner(pid) == owner:
            killed += status.state not in "ZX"
            end(pid)
    return killed


def end(pid: int) -> None:
    """Kill a child and wait for it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


def kill_abandoned() -> int:
    """Kill processes whose driver is gone, left when driver and zygote died at once."""
    killed = 0
    for pid in _pids():
        owner = _owner(pid)
        if owner is None or pid == os.getpid():
            continue
        number, _, started = owner.partition("=")
        if not (number.isdigit() and Process(int(number), started).is_alive):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
                killed += 1
    return killed
