"""What a notebook can do to its kernel, and what is left and said afterwards."""

from __future__ import annotations

import os
import signal
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from tiny_project import AS_OF, TinyProject, make_project, processes_of, wait_for

from insight_lib.runner.execute import Executed, Execution, RunError, RunRequest
from insight_lib.runner.kernels import KernelHost
from insight_lib.runner.ledger import RunState
from insight_lib.runner.limits import Limits
from insight_lib.runner.processes import children

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs Linux")

MEBIBYTE = 2**20


@pytest.fixture(scope="module")
def warmed() -> Iterator[KernelHost]:
    with KernelHost() as found:
        yield found


@pytest.fixture(scope="module")
def cold() -> Iterator[KernelHost]:
    with KernelHost(cold=True) as found:
        yield found


@pytest.fixture
def host(warmed: KernelHost) -> KernelHost:
    return warmed


@pytest.fixture(params=["warmed", "cold"])
def each_host(request: pytest.FixtureRequest) -> KernelHost:
    """Where forked and fresh kernels could differ."""
    found: KernelHost = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def project(tmp_path: Path) -> TinyProject:
    return make_project(tmp_path)


def prepare(host: KernelHost, project: TinyProject, *cells: str, **limits: float) -> Execution:
    path = project.write_notebook("first", *cells)
    run_id = uuid.uuid4().hex
    return Execution(
        host=host,
        root=project.root,
        notebook_path=path,
        request=RunRequest(
            run_id=run_id,
            market="aa-one",
            stage="first",
            segment=None,
            as_of=AS_OF.isoformat(),
            today=AS_OF.isoformat(),
            overrides={},
            versions={"orders": 0},
            nonce=uuid.uuid4().hex,
        ),
        scratch=project.root / run_id,
        limits=Limits(**limits),  # type: ignore[arg-type]
    )


def execute(host: KernelHost, project: TinyProject, *cells: str, **limits: float) -> Executed:
    return prepare(host, project, *cells, **limits).run()


def fail(host: KernelHost, project: TinyProject, *cells: str, **limits: float) -> RunError:
    with pytest.raises(RunError) as caught:
        execute(host, project, *cells, **limits)
    return caught.value


def nothing_left(host: KernelHost) -> bool:
    """Only processes that fork kernels run."""

    def is_zygote(pid: int) -> bool:
        return b"runner.zygote" in Path(f"/proc/{pid}/cmdline").read_bytes()

    return wait_for(lambda: not children(host.zygote_pid or 0), seconds=5) and all(
        is_zygote(pid) for pid in processes_of(os.getpid())
    )


def test_a_good_run_succeeds(each_host: KernelHost, project: TinyProject) -> None:
    executed = execute(each_host, project, "x = 1")
    assert executed.used["tables"]["orders"]["rows"] == 3
    assert nothing_left(each_host)


@pytest.mark.parametrize("cell", [2, 3, 4])
def test_a_kernel_killed_in_any_cell(
    each_host: KernelHost, project: TinyProject, cell: int
) -> None:
    cells = ["x = 1", "x = 2", "x = 3"]
    cells[cell - 2] = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    error = fail(each_host, project, *cells)
    assert (error.state, error.cell) == (RunState.KILLED, cell + 1)
    assert "SIGKILL" in error.message
    assert error.notebook is not None
    notebook = nbformat.read(error.notebook, as_version=4)
    told = [
        c.metadata.papermill.status for c in notebook.cells if "injected" not in str(c.metadata)
    ]
    assert told == ["completed"] * cell + ["failed"] + ["pending"] * (5 - cell)
    assert nothing_left(each_host)


@pytest.mark.parametrize(
    "cell",
    [
        "import time; time.sleep(600)",
        (
            "import time\nwhile True:\n    try:\n        time.sleep(600)\n"
            "    except KeyboardInterrupt:\n        pass"
        ),
        "sum(range(10**14))",  # holds the interpreter's lock
        "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
    ],
    ids=["sleep", "swallows the interrupt", "holds the lock", "stopped"],
)
def test_a_cell_that_never_ends(host: KernelHost, project: TinyProject, cell: str) -> None:
    error = fail(host, project, cell, cell_seconds=1)
    assert (error.state, error.cell) == (RunState.TIMED_OUT, 3)
    assert "cell exceeded its limit of 1 s" in error.message
    assert nothing_left(host)


def test_a_run_that_never_ends(host: KernelHost, project: TinyProject) -> None:
    error = fail(host, project, "import time; time.sleep(0.1)", "sum(range(10**14))", run_seconds=2)
    assert (error.state, error.cell) == (RunState.TIMED_OUT, 4)
    assert "run exceeded its limit of 2 s" in error.message
    assert nothing_left(host)


@pytest.mark.parametrize(
    "cell",
    ["import sys; sys.exit(0)", "sys = __import__('sys'); sys.exit()", "import os; os._exit(0)"],
)
def test_leaving_early_is_no_success(host: KernelHost, project: TinyProject, cell: str) -> None:
    error = fail(host, project, cell)
    assert (error.state, error.cell) == (RunState.FAILED, 3)
    assert error.message.startswith("ended early")
    assert nothing_left(host)


def test_quit_is_no_success(host: KernelHost, project: TinyProject) -> None:
    error = fail(host, project, "quit()", "import time; time.sleep(1)")
    assert error.state is RunState.FAILED
    assert error.message.startswith("ended early")
    assert nothing_left(host)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (
            "import threading\nthreading.Thread(target=lambda: 1 / 0, name='loader').start()",
            "thread 'loader': ZeroDivisionError",
        ),
        (
            (
                "import threading, time\n"
                "threading.Thread(target=lambda: (time.sleep(0.5), 1 / 0)).start()"
            ),
            "ZeroDivisionError",  # it ends after the last cell
        ),
        (
            (
                "import asyncio\nasync def bad():\n    raise OSError('lost')\n"
                "task = asyncio.ensure_future(bad())\nawait asyncio.sleep(0.05)\ndel task"
            ),
            "asynchronous task: OSError: lost",
        ),
        ("!false", "CalledProcessError"),
        ("!cp /nonexistent /tmp", "CalledProcessError"),
        ("listing = !ls /nonexistent", "CalledProcessError"),
        ("%%bash\nfalse", "CalledProcessError"),
    ],
)
def test_a_hidden_failure_fails_the_run(
    host: KernelHost, project: TinyProject, cell: str, expected: str
) -> None:
    error = fail(host, project, cell)
    assert error.state is RunState.FAILED
    assert expected in error.message


def test_a_failing_command_may_be_declared(host: KernelHost, project: TinyProject) -> None:
    execute(host, project, "!false || true")


@pytest.mark.parametrize(
    "cell",
    [
        "data = bytearray(3 * 2**30)",
        "import numpy as np; data = np.ones(3 * 2**27)",
        "chunks = []\nwhile True:\n    chunks.append(bytearray(2**26))",
    ],
)
def test_memory_has_a_limit(each_host: KernelHost, project: TinyProject, cell: str) -> None:
    error = fail(each_host, project, cell, memory_bytes=1024 * MEBIBYTE)
    assert (error.state, error.cell) == (RunState.OUT_OF_MEMORY, 3)
    assert "Memory" in error.message
    assert nothing_left(each_host)


def test_a_kernel_killed_near_its_memory_limit_was_out_of_memory(
    host: KernelHost, project: TinyProject
) -> None:
    cell = "data = b'x' * (450 * 2**20)\nimport os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    error = fail(host, project, cell, memory_bytes=512 * MEBIBYTE)
    assert error.state is RunState.OUT_OF_MEMORY
    assert "peak" in error.message


def memory_kib(field: str) -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0])


@pytest.mark.parametrize(
    "cell",
    [
        "for _ in range(200): print('x' * 10**6)",
        "for i in range(2_000_000): print('x' * 99)",
        "import os, sys\nfor _ in range(200): os.write(2, b'y' * 10**6)",
    ],
    ids=["few large", "many small", "from C code"],
)
def test_200_megabytes_of_output(host: KernelHost, project: TinyProject, cell: str) -> None:
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before_kib = memory_kib("VmRSS")
    executed = execute(host, project, cell)
    size = len(nbformat.writes(executed.notebook))
    assert 9_000_000 < size < 12_000_000
    assert "output limit of this run reached" in nbformat.writes(executed.notebook)
    assert memory_kib("VmHWM") - before_kib < 300 * 1024


def test_displayed_output_has_a_limit(host: KernelHost, project: TinyProject) -> None:
    cell = (
        "from IPython.display import HTML, display\nfor _ in range(9): display(HTML('x' * 10**6))"
    )
    error = fail(host, project, cell, display_bytes=5_000_000)
    assert "OutputTooLarge" in error.message


@pytest.mark.parametrize(
    "cell",
    [
        "import subprocess; subprocess.Popen(['sleep', '300'])",
        "import subprocess; subprocess.Popen(['sleep', '300'], start_new_session=True)",
        "import subprocess; subprocess.Popen('setsid sleep 300 >/dev/null 2>&1 &', shell=True)",
        (
            "import os\nif os.fork() == 0:\n    os.setsid()\n    if os.fork(): os._exit(0)\n"
            "    import time; time.sleep(300); os._exit(0)"
        ),
    ],
    ids=["child", "session", "daemon", "double fork"],
)
@pytest.mark.parametrize("end", ["x = 1", "os = __import__('os'); os.kill(os.getpid(), 9)"])
def test_no_grandchild_outlives_the_run(
    each_host: KernelHost, project: TinyProject, cell: str, end: str
) -> None:
    execution = prepare(each_host, project, cell, end)
    if end == "x = 1":
        execution.run()
    else:
        with pytest.raises(RunError):
            execution.run()
    assert nothing_left(each_host)


def test_a_daemon_of_the_notebook_lives_as_long_as_the_kernel(
    host: KernelHost, project: TinyProject
) -> None:
    start = "import subprocess, time\nsubprocess.run('sleep 300 & echo $! > pid', shell=True)"
    check = "time.sleep(1.5)\nimport os\nos.kill(int(open('pid').read()), 0)"
    execute(host, project, start, check)
    assert nothing_left(host)


def test_cancel_stops_at_once(host: KernelHost, project: TinyProject) -> None:
    execution = prepare(host, project, "import time; time.sleep(600)")
    threading.Timer(2, execution.cancel).start()
    with pytest.raises(RunError) as caught:
        execution.run()
    assert caught.value.state is RunState.CANCELLED
    assert nothing_left(host)


def test_the_forking_process_killed(tmp_path: Path, project: TinyProject) -> None:
    """Kernel and grandchild go with it; the next run gets a new one."""
    with KernelHost(cold=True) as own:
        first = own.zygote_pid
        assert first is not None
        execution = prepare(
            own,
            project,
            "import subprocess; subprocess.Popen(['sleep', '300'])\nsum(range(10**14))",
        )
        threading.Timer(2.5, os.kill, [first, signal.SIGKILL]).start()
        with pytest.raises(RunError) as caught:
            execution.run()
        assert caught.value.state is RunState.KILLED
        own.sweep()
        assert wait_for(lambda: processes_of(os.getpid()) == [], seconds=5)
        execute(own, project, "x = 1")
        assert own.zygote_pid != first


def test_eight_at_once_do_not_meet(host: KernelHost, tmp_path: Path) -> None:
    """Folder, parameters and environment of every kernel are its own."""
    cell = (
        "import os, time, pathlib\nhere = pathlib.Path.cwd()\n"
        "assert list(here.iterdir()) == [], 'not empty'\n"
        "assert str(here) == str(request_path.parent / 'work'), here\n"
        "pathlib.Path('mine').write_text(request['run_id'])\ntime.sleep(0.5)\n"
        "assert [p.read_text() for p in here.iterdir()] == [request['run_id']]\n"
        "assert pathlib.Path(os.environ['TMPDIR']).stat().st_mode & 0o777 == 0o700"
    )
    before = Path.cwd()
    errors: list[str] = []

    def one(number: int) -> None:
        try:
            for round_ in range(2):
                own = make_project(tmp_path / f"{number}-{round_}")
                execute(host, own, cell)
        except Exception as error:
            errors.append(f"{number}: {error}")

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert Path.cwd() == before
    assert nothing_left(host)


def test_the_kernel_sees_no_secret_and_no_foreign_code(
    each_host: KernelHost, project: TinyProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD", "canary")
    (project.root / "json.py").write_text("raise SystemExit('foreign code')")
    monkeypatch.chdir(project.root)
    cell = (
        "import os, sys\nassert 'DATABASE_PASSWORD' not in os.environ\n"
        "assert 'canary' not in str(dict(os.environ))\n"
        "open('pandas.py', 'w').write('raise RuntimeError')\nimport pandas\n"
        "assert '' not in sys.path and os.getcwd() not in sys.path\n"
        "assert os.environ['IPYTHONDIR'].startswith(os.environ['TMPDIR'][:-4])"
    )
    execute(each_host, project, cell)


def test_kernels_listen_on_no_network_port_for_their_channels(
    host: KernelHost, project: TinyProject
) -> None:
    cell = (
        "from ipykernel.kernelapp import IPKernelApp\napp = IPKernelApp.instance()\n"
        "assert app.transport == 'ipc', app.transport\n"
        "import os, pathlib\nfolder = pathlib.Path(app.ip).parent\n"
        "assert folder.stat().st_mode & 0o777 == 0o700"
    )
    execute(host, project, cell)
