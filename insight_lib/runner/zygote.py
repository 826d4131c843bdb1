"""A warmed process that forks kernels: started by the driver, dies with it.

It imports and then only waits: no connection to data, no BLAS or OpenMP call, no thread
of ours before a fork (jemalloc, inside some libraries, restarts its own after one). Each
kernel hangs on the connection that asked for it: when that closes, the kernel is killed,
and with it whatever it started, because orphans climb to this process.

One JSON object per line. Request: `{"connection_file", "cwd", "env", "log", "fresh"}`,
then any number of `{"signal": n}`. Answers: `{"pid": n}`, at the end
`{"exit": code, "peak_bytes": n}` with code as in `subprocess.Popen.returncode`.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import selectors
import shutil
import signal
import socket
import sys
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from insight_lib.runner.processes import adopt_orphans, children, die_with_parent, end

WARM_MODULES = (
    "numpy",
    "pandas",
    "pyarrow.parquet",
    "duckdb",
    "ibis.backends.duckdb",
    "deltalake",
    "matplotlib.pyplot",
    "ipykernel.kernelapp",
    "ipykernel.zmqshell",
    "ipykernel.debugger",
    "matplotlib_inline.config",
    "insight_lib.runner.kernel_process",
)


@dataclass(eq=False)
class _Lease:
    """One connection and the kernel that hangs on it."""

    connection: socket.socket
    received: bytes = b""
    pid: int | None = None
    has_ended: bool = False

    def answer(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            self.connection.sendall(json.dumps(message).encode() + b"\n")


@dataclass
class _Zygote:
    driver: int
    listener: socket.socket
    selector: selectors.BaseSelector
    wakeup: socket.socket
    leases: dict[int, _Lease] = field(default_factory=dict)  # by kernel process id
    connections: set[_Lease] = field(default_factory=set)
    is_open: bool = True

    def run(self) -> None:
        """Serve until the driver goes away, then leave nothing behind."""
        while self.is_open:
            for key, _ in self.selector.select(timeout=1.0):
                key.data(key.fileobj)
            self.is_open = self.is_open and os.getppid() == self.driver
            self.reap()
        for pid in self.leases:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        while remaining := children(os.getpid()):
            for pid in remaining:
                end(pid)

    def driver_spoke(self, _: Any) -> None:
        if not os.read(0, 4096):
            self.is_open = False

    def woken(self, _: Any) -> None:
        with contextlib.suppress(BlockingIOError):
            while self.wakeup.recv(4096):
                pass

    def connected(self, _: Any) -> None:
        connection, _address = self.listener.accept()
        lease = _Lease(connection)
        self.connections.add(lease)
        self.selector.register(connection, selectors.EVENT_READ, lambda _: self.heard(lease))

    def heard(self, lease: _Lease) -> None:
        try:
            data = lease.connection.recv(65536)
        except OSError:
            data = b""
        if not data:
            self.selector.unregister(lease.connection)
            lease.connection.close()
            self.connections.discard(lease)
            self.send_signal(lease, signal.SIGKILL)
            return
        *lines, lease.received = (lease.received + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "signal" in message:
                self.send_signal(lease, message["signal"])
            elif lease.pid is None:
                self.fork(lease, message)

    def send_signal(self, lease: _Lease, number: int) -> None:
        if lease.pid is not None and not lease.has_ended:
            with contextlib.suppress(ProcessLookupError):
                os.kill(lease.pid, number)

    def fork(self, lease: _Lease, request: dict[str, Any]) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                self.become_kernel(parent, request)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(70)
        lease.pid = pid
        self.leases[pid] = lease
        lease.answer({"pid": pid})

    def become_kernel(self, parent: int, request: dict[str, Any]) -> None:
        """In the child: let go of everything that is the zygote's, then be a kernel."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        die_with_parent(parent)
        for lease in self.connections:
            lease.connection.close()
        self.selector.close()
        self.listener.close()
        self.wakeup.close()
        for target, path, flags in (
            (0, os.devnull, os.O_RDONLY),
            (1, request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND),
            (2, request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND),
        ):
            opened = os.open(path, flags, 0o600)
            os.dup2(opened, target)
            os.close(opened)
        os.environ.clear()
        os.environ.update(request["env"])
        os.chdir(request["cwd"])
        if request["fresh"]:
            module = "insight_lib.runner.kernel_process"
            argv = [sys.executable, "-P", "-m", module, request["connection_file"]]
            os.execv(sys.executable, argv)  # noqa: S606
        _serve_warm(request["connection_file"])

    def reap(self) -> None:
        """Collect ended kernels; kill what they left to us, one generation after another."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            lease = self.leases.pop(pid, None)
            if lease is not None:
                lease.has_ended = True
                self.kill_orphans()
                code = os.waitstatus_to_exitcode(status)
                lease.answer({"exit": code, "peak_bytes": usage.ru_maxrss * 1024})
        self.kill_orphans()

    def kill_orphans(self) -> None:
        while orphans := [pid for pid in children(os.getpid()) if pid not in self.leases]:
            for pid in orphans:
                end(pid)


def _serve_warm(connection_file: str) -> None:
    import random
    import tempfile

    import numpy as np
    import threadpoolctl

    from insight_lib.runner.kernel_process import serve

    tempfile.tempdir = None
    random.seed()
    np.random.seed()
    threads = os.environ.get("OPENBLAS_NUM_THREADS")
    threadpoolctl.ThreadpoolController().limit(limits=int(threads or os.cpu_count() or 1))
    serve(connection_file)


def main(socket_path: str, driver: int, modules: list[str]) -> None:
    """Import `modules`, then fork kernels for whoever connects to `socket_path`."""
    die_with_parent(driver)
    adopt_orphans()
    listener = socket.socket(socket.AF_UNIX)
    # The driver waits for the name: it may only be there once somebody listens.
    unheard = Path(f"{socket_path}.n")
    listener.bind(str(unheard))
    unheard.chmod(0o600)
    listener.listen(256)
    unheard.rename(socket_path)
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception as error:  # the notebook that needs it will say so
            print(f"not warmed: {name}: {error}", file=sys.stderr)
    gc.collect()
    gc.freeze()  # what is warm stays shared: a collection in a kernel does not touch its pages
    selector = selectors.DefaultSelector()
    wakeup, waker = socket.socketpair()
    for end_point in (wakeup, waker):
        end_point.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    zygote = _Zygote(driver, listener, selector, wakeup)
    selector.register(0, selectors.EVENT_READ, zygote.driver_spoke)
    selector.register(wakeup, selectors.EVENT_READ, zygote.woken)
    selector.register(listener, selectors.EVENT_READ, zygote.connected)
    die_with_parent(None)  # from here on the driver's death is noticed, and orphans killed first
    zygote.run()
    shutil.rmtree(Path(socket_path).parent, ignore_errors=True)  # a killed driver cannot


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
