"""Kernels for runs: forked from a warmed process on Linux, ordinary ones elsewhere.

A `KernelHost` owns a private directory (0700) that holds the kernelspec, the sockets and
the connection files, so nothing is installed on the machine and nothing listens on a
network port. Each kernel uses one OpenMP and BLAS thread unless
`OMP_NUM_THREADS` or `OPENBLAS_NUM_THREADS` say otherwise: runs are what goes in parallel.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.provisioning.provisioner_base import KernelProvisionerBase
from traitlets import Unicode

import insight_lib
from insight_lib.runner import processes, zygote

if TYPE_CHECKING:
    from jupyter_client.manager import AsyncKernelManager

# Nothing else of the driver's environment reaches a kernel: secrets stay out of notebooks.
ALLOWED_VARIABLES = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "LD_LIBRARY_PATH",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
)
KERNEL_NAME = "insight"


class KernelStartFailed(RuntimeError):
    """A kernel, or the process that forks them, did not start."""


@dataclass(frozen=True)
class KernelEnd:
    """How a kernel process ended.

    Attributes:
        code: Exit code; negative is the signal, as in `subprocess.Popen.returncode`.
        peak_bytes: Largest resident memory, None if it is not known.
    """

    code: int
    peak_bytes: int | None = None


class Lease:
    """A forked kernel, held by the connection to the zygote: closing it kills the kernel."""

    def __init__(self, socket_path: str) -> None:
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.settimeout(120)
        try:
            self._connection.connect(socket_path)
        except OSError as error:
            self._connection.close()
            raise KernelStartFailed(f"the warmed process does not answer: {error}") from error
        self._received = b""
        self._lock = threading.Lock()
        self.pid = 0
        self.end: KernelEnd | None = None

    def start(self, request: Mapping[str, Any]) -> None:
        """Ask for a kernel and wait for its process id."""
        try:
            self._connection.sendall(json.dumps(request).encode() + b"\n")
            while b"\n" not in self._received:
                data = self._connection.recv(65536)
                if not data:
                    raise KernelStartFailed("the warmed process ended before it forked a kernel")
                self._received += data
        except OSError as error:
            raise KernelStartFailed(f"the warmed process does not answer: {error}") from error
        line, _, self._received = self._received.partition(b"\n")
        self.pid = json.loads(line)["pid"]
        self._connection.setblocking(False)

    def poll(self) -> KernelEnd | None:
        """How the kernel ended, or None while it runs."""
        with self._lock:
            if self.end is None:
                self._read()
            return self.end

    def _read(self) -> None:
        try:
            data = self._connection.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._received += data
        line, found, _ = self._received.partition(b"\n")
        if found:
            message = json.loads(line)
            self.end = KernelEnd(message["exit"], message["peak_bytes"])
        elif not data:  # the zygote died, and the kernel with it
            self.end = KernelEnd(-signal.SIGKILL)

    def send_signal(self, number: int) -> None:
        """Signal the kernel, unless it has ended; from any thread."""
        with self._lock, contextlib.suppress(OSError):
            if self.end is None:
                self._connection.sendall(json.dumps({"signal": number}).encode() + b"\n")

    def close(self) -> None:
        """Let go of the kernel; it is killed if it still runs."""
        self._connection.close()


class ForkProvisioner(KernelProvisionerBase):
    """A jupyter_client provisioner whose kernels are forked by a zygote (see `zygote`)."""

    socket_path: str = cast("str", Unicode(config=True))
    fresh: str = cast("str", Unicode("", config=True))
    lease: Lease | None = None

    @property
    def has_process(self) -> bool:
        return self.lease is not None

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        manager = cast("AsyncKernelManager", self.parent)
        manager.write_connection_file()
        self.connection_info = manager.get_connection_info()
        return await super().pre_launch(cmd=[], **kwargs)

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:  # noqa: ARG002
        manager = cast("AsyncKernelManager", self.parent)
        lease = Lease(self.socket_path)
        request = {
            "connection_file": manager.connection_file,
            "cwd": str(kwargs["cwd"]),
            "env": kwargs["env"],
            "log": str(Path(manager.connection_file).with_suffix(".log")),
            "fresh": bool(self.fresh),
        }
        try:
            await asyncio.to_thread(lease.start, request)
        except BaseException:
            lease.close()
            raise
        self.lease = lease
        return self.connection_info

    async def poll(self) -> int | None:
        end = self.lease.poll() if self.lease else KernelEnd(0)
        return end.code if end else None

    async def wait(self) -> int | None:
        while (code := await self.poll()) is None:
            await asyncio.sleep(0.01)
        if self.lease:
            self.lease.close()
            self.lease = None
        return code

    async def send_signal(self, signum: int) -> None:
        if self.lease:
            self.lease.send_signal(signum)

    async def kill(self, restart: bool = False) -> None:  # noqa: ARG002
        await self.send_signal(signal.SIGKILL)

    async def terminate(self, restart: bool = False) -> None:  # noqa: ARG002
        await self.send_signal(signal.SIGTERM)

    async def cleanup(self, restart: bool = False) -> None:  # noqa: ARG002
        if self.lease:
            self.lease.close()
            self.lease = None


class ReadyClient(AsyncKernelClient):
    """A client that is ready as soon as the kernel is: no fixed waits."""

    async def _async_wait_for_ready(self, timeout: float | None = None) -> None:
        """Wait for the kernel's answer on both channels; ask again what was not heard."""
        deadline = time.monotonic() + (timeout or float("inf"))
        while True:
            asked = self.kernel_info()
            try:
                while (await self.get_shell_msg(timeout=1))["parent_header"]["msg_id"] != asked:
                    pass
                while True:  # idle on iopub: it is connected, and nothing else is to come
                    message = await self.get_iopub_msg(timeout=0.05)
                    is_answer = message["parent_header"].get("msg_id") == asked
                    if is_answer and message["content"].get("execution_state") == "idle":
                        return
            except Empty:
                pass
            if not await self.is_alive():
                raise KernelStartFailed("the kernel died before it answered")
            if time.monotonic() > deadline:
                raise KernelStartFailed(f"the kernel did not answer within {timeout:.0f} seconds")

    wait_for_ready = _async_wait_for_ready


class Kernel:
    """One kernel of a run, with its own private directory, environment and limits.

    Attributes:
        manager: For nbclient, which starts no second kernel when this one runs.
    """

    def __init__(self, host: KernelHost, *, cwd: Path, environment: Mapping[str, str]) -> None:
        from jupyter_client.kernelspec import KernelSpecManager
        from jupyter_client.manager import AsyncKernelManager

        self.directory = Path(tempfile.mkdtemp(dir=host.directory, prefix="k"))
        temporary = self.directory / "tmp"
        temporary.mkdir(mode=0o700)
        self._cwd = cwd
        self._environment = dict(environment) | {
            "TMPDIR": str(temporary),
            "IPYTHONDIR": str(self.directory / "ipython"),
        }
        specs = KernelSpecManager(kernel_dirs=[str(host.directory)], ensure_native_kernel=False)
        self.manager = AsyncKernelManager(
            kernel_name=KERNEL_NAME,
            kernel_spec_manager=specs,
            client_class=f"{__name__}.ReadyClient",
            transport="ipc",
            ip=str(self.directory / "s"),
            connection_file=str(self.directory / "c.json"),
        )
        self._lease: Lease | None = None

    def start(self) -> None:
        """Start the process (nbclient then waits until it answers).

        Raises:
            KernelStartFailed: The zygote is gone or did not answer.
        """
        from jupyter_core.utils import run_sync

        run_sync(self.manager.start_kernel)(env=self._environment, cwd=str(self._cwd))
        provisioner = self.manager.provisioner
        self._lease = provisioner.lease if isinstance(provisioner, ForkProvisioner) else None

    @property
    def pid(self) -> int | None:
        """Process id, once started."""
        return self._lease.pid if self._lease else getattr(self.manager.provisioner, "pid", None)

    def kill(self) -> None:
        """End the process now; safe from any thread and more than once."""
        if self._lease:
            self._lease.send_signal(signal.SIGKILL)
        elif process := getattr(self.manager.provisioner, "process", None):
            process.kill()

    def end(self, seconds: float = 5.0) -> KernelEnd | None:
        """How the process ended, waiting a little for it; None if it still runs."""
        deadline = time.monotonic() + seconds
        while True:
            if self._lease:
                found = self._lease.poll()
            else:
                process = getattr(self.manager.provisioner, "process", None)
                code = process.poll() if process else None
                found = None if code is None else KernelEnd(code)
            if found or time.monotonic() > deadline:
                return found
            time.sleep(0.01)

    def log(self) -> str:
        """The last that the process wrote outside its cells: start-up errors and crashes."""
        with contextlib.suppress(OSError):
            return (self.directory / "c.log").read_text(errors="replace")[-4000:]
        return ""

    def close(self) -> None:
        """Kill the process if it runs and remove its directory."""
        from jupyter_core.utils import run_sync

        self.kill()
        self.end()
        with contextlib.suppress(Exception):
            run_sync(self.manager.cleanup_resources)()
        shutil.rmtree(self.directory, ignore_errors=True)


class KernelHost:
    """Starts kernels and sees that none outlives it; a context manager.

    Args:
        cold: Start a fresh interpreter for every kernel instead of forking a warmed one.
        modules: Further modules to import before the first fork.
    """

    def __init__(self, *, cold: bool = False, modules: Sequence[str] = ()) -> None:
        self._cold = cold
        self._modules = () if cold else (*zygote.WARM_MODULES, *modules)
        self._lock = threading.Lock()
        self._zygote: subprocess.Popen[bytes] | None = None
        self._sessions: set[int] = set()

    def __enter__(self) -> Self:
        # Socket paths have 108 bytes; a long TMPDIR would not leave enough.
        parent = tempfile.gettempdir() if len(tempfile.gettempdir()) < 40 else "/tmp"  # noqa: S108
        self.directory = Path(tempfile.mkdtemp(prefix="insight-", dir=parent))
        processes.adopt_orphans()
        if processes.IS_LINUX:
            self._start_zygote()
        else:
            self._write_kernelspec({})
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._zygote is not None:
            assert self._zygote.stdin
            self._zygote.stdin.close()
            try:
                self._zygote.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self._zygote.kill()
                self._zygote.wait()
        self.sweep()
        processes.adopt_orphans(False)
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def zygote_pid(self) -> int | None:
        """Process id of the process that forks kernels, on Linux."""
        return self._zygote.pid if self._zygote else None

    def start_kernel(self, *, cwd: Path, environment: Mapping[str, str]) -> Kernel:
        """Start a kernel in `cwd` that sees `environment` and the allowed variables only."""
        with self._lock:
            if self._zygote is not None and self._zygote.poll() is not None:
                self.sweep()
                self._start_zygote()
        kernel = Kernel(self, cwd=cwd, environment=self._base_environment() | dict(environment))
        try:
            kernel.start()
        except BaseException:
            kernel.close()
            raise
        if kernel.pid:
            self._sessions.add(kernel.pid)
        return kernel

    def sweep(self) -> None:
        """Kill whatever a dead zygote left to this process."""
        spare = {self._zygote.pid} if self._zygote and self._zygote.poll() is None else set()
        while processes.kill_orphans(
            processes.marker(), sessions=frozenset(self._sessions), spare=spare
        ):
            pass

    def _base_environment(self) -> dict[str, str]:
        # Runs are what is done in parallel: threads of several runs would fight for the same
        # cores, and sums of doubles would depend on how many there are.
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        kept = {name: os.environ[name] for name in ALLOWED_VARIABLES if name in os.environ}
        return (
            threads
            | kept
            | {
                processes.MARKER: processes.marker(),
                "PYTHONSAFEPATH": "1",
                # The same code as the driver's, whatever else is installed.
                "PYTHONPATH": str(Path(insight_lib.__file__).parents[1]),
                "PYTHONHASHSEED": "0",
                "MPLBACKEND": "module://matplotlib_inline.backend_inline",
            }
        )

    def _start_zygote(self) -> None:
        path = str(self.directory / f"z{uuid.uuid4().hex[:8]}")
        module = "insight_lib.runner.zygote"
        command = [sys.executable, "-P", "-m", module, path, str(os.getpid()), *self._modules]
        environment = self._base_environment() | {"MPLBACKEND": "agg"}
        with (self.directory / "zygote.log").open("ab") as log:
            self._zygote = subprocess.Popen(  # noqa: S603 - our own module
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env=environment,
                start_new_session=True,
            )
        while not Path(path).exists():
            if self._zygote.poll() is not None:
                text = (self.directory / "zygote.log").read_text(errors="replace")[-2000:]
                raise KernelStartFailed(f"the warmed process did not start: {text}")
            time.sleep(0.01)
        self._write_kernelspec(
            {
                "provisioner_name": "insight-fork",
                "config": {"socket_path": path, "fresh": "yes" if self._cold else ""},
            }
        )

    def _write_kernelspec(self, provisioner: Mapping[str, Any]) -> None:
        module = "insight_lib.runner.kernel_process"
        spec = {
            "argv": [sys.executable, "-P", "-m", module, "{connection_file}"],
            "display_name": "Insight",
            "language": "python",
            "metadata": {"kernel_provisioner": provisioner} if provisioner else {},
        }
        directory = self.directory / KERNEL_NAME
        directory.mkdir(exist_ok=True)
        partial = directory / f"kernel.json.{uuid.uuid4().hex}"
        partial.write_text(json.dumps(spec))
        partial.replace(directory / "kernel.json")
