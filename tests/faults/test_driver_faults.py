"""Death, signals and rivals of the driver, a full disk, and kills while publishing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
from tiny_project import AS_OF, TinyStage, make_project, processes_of, run_driver, wait_for

from insight_lib.runner.drive import run
from insight_lib.runner.ledger import Cell, Ledger, RunState
from insight_lib.runner.publish import read_record

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs Linux")

CELL = Cell("aa-one", "first", "", AS_OF.isoformat())
STAGES = (TinyStage("first", 1),)
REPORT = """
for row in summary.rows:
    print(row.cell, row.state.value, row.error)
raise SystemExit(summary.exit_code)
"""
RUN = "project = make_project(root) if not (root / 'notebooks').exists() else None\n"
GO = """
project = TinyProject(root, {'first': TinyStage('first', 1)}, {'aa-one': TinyMarket('aa-one')})
summary = run(project, cold_kernels=COLD)
"""


def last_state(root: Path) -> RunState:
    with Ledger(root / "reports" / ".insight" / "ledger.sqlite") as ledger:
        return ledger.history(CELL)[-1].state


def is_in_cell(root: Path) -> bool:
    return any(root.glob("reports/.insight/runs/*/work/here"))


@pytest.mark.parametrize("cold", [True, False], ids=["cold", "warmed"])
@pytest.mark.parametrize(
    "cell",
    [
        (
            "import subprocess; subprocess.Popen(['sleep', '300'])\n"
            "open('here', 'w')\nsum(range(10**14))"
        ),
        (
            "import subprocess; subprocess.Popen(['sleep', '300'], start_new_session=True)\n"
            "open('here', 'w')\nimport time; time.sleep(600)"
        ),
    ],
    ids=["holds the lock", "sleeps"],
)
def test_the_driver_killed(tmp_path: Path, cold: bool, cell: str) -> None:
    """Nothing is left after 5 seconds; the next call knows, and does the work once."""
    project = make_project(tmp_path)
    project.write_notebook("first", cell)
    # Short, because the names of sockets are; its own, because other tests run beside.
    temporary = Path(tempfile.mkdtemp(prefix="t-"))
    driver = run_driver(tmp_path, GO.replace("COLD", str(cold)), temporary=temporary)
    assert wait_for(lambda: is_in_cell(tmp_path))
    assert list(temporary.glob("insight-*"))
    assert len(processes_of(driver.pid)) >= 3  # zygote, kernel, grandchild
    driver.kill()
    driver.wait()
    assert wait_for(lambda: processes_of(driver.pid) == [], seconds=5)
    assert not list(temporary.glob("insight-*"))
    temporary.rmdir()
    project.write_notebook("first", "x = 1")
    (row,) = run(project, cold_kernels=True).rows  # type: ignore[arg-type]
    assert row.state is RunState.PUBLISHED
    with Ledger(tmp_path / "reports" / ".insight" / "ledger.sqlite") as ledger:
        assert [r.state.value for r in ledger.history(CELL)] == ["killed", "published"]


def test_driver_and_forking_process_killed_at_once(tmp_path: Path) -> None:
    """The kernel dies with its parent; what it had started is found by the next call."""
    project = make_project(tmp_path)
    project.write_notebook(
        "first",
        "import subprocess; subprocess.Popen(['sleep', '300'], start_new_session=True)\n"
        "open('here', 'w')\nsum(range(10**14))",
    )
    driver = run_driver(tmp_path, GO.replace("COLD", "True"))
    assert wait_for(lambda: is_in_cell(tmp_path))
    zygote = next(
        pid
        for pid in processes_of(driver.pid)
        if b"runner.zygote" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )
    os.kill(driver.pid, signal.SIGSTOP)  # so that it cannot notice the first kill
    os.kill(zygote, signal.SIGKILL)
    driver.kill()
    driver.wait()
    assert wait_for(lambda: len(processes_of(driver.pid)) <= 1, seconds=5)
    project.write_notebook("first", "x = 1")
    run(project, cold_kernels=True)  # type: ignore[arg-type]
    assert processes_of(driver.pid) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_cancels_gracefully(tmp_path: Path, number: signal.Signals) -> None:
    project = make_project(tmp_path)
    project.write_notebook("first", "open('here', 'w')\nsum(range(10**14))")
    driver = run_driver(tmp_path, GO.replace("COLD", "True") + REPORT)
    assert wait_for(lambda: is_in_cell(tmp_path))
    driver.send_signal(number)
    output, _ = driver.communicate(timeout=10)
    assert driver.returncode == 130, output
    assert "cancelled" in output
    assert last_state(tmp_path) is RunState.CANCELLED
    assert processes_of(driver.pid) == []
    assert not project.folder("aa-one", "first").exists()


def test_two_drivers_at_once_run_it_once(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    project.write_notebook("first", "import time; time.sleep(1.5)")
    drivers = [run_driver(tmp_path, GO.replace("COLD", "True") + REPORT) for _ in range(3)]
    for driver in drivers:
        output, _ = driver.communicate(timeout=60)
        assert driver.returncode == 0, output
        assert "published" in output
    with Ledger(tmp_path / "reports" / ".insight" / "ledger.sqlite") as ledger:
        assert [row.state for row in ledger.history(CELL)] == [RunState.PUBLISHED]
    assert read_record(project.folder("aa-one", "first"), deep=True) is not None


def test_a_rival_that_dies_gives_way(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    project.write_notebook("first", "open('here', 'w')\nimport time; time.sleep(600)")
    rival = run_driver(tmp_path, GO.replace("COLD", "True"))
    assert wait_for(lambda: is_in_cell(tmp_path))
    waiting = run_driver(
        tmp_path,
        "import tiny_project\nproject = make_project(root)\n"
        + GO.replace("COLD", "True").splitlines()[-1]
        + REPORT,
    )
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.communicate(timeout=3)  # it waits for its rival
    rival.kill()
    rival.wait()
    output, _ = waiting.communicate(timeout=30)
    assert waiting.returncode == 0, output


def test_a_full_disk_keeps_the_last_good_report(tmp_path: Path) -> None:
    """On a real file system of one megabyte (needs root)."""
    mount = tmp_path / "small"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(mount)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("cannot mount a small file system here")
    try:
        project = make_project(mount)
        (row,) = run(project, cold_kernels=True).rows  # type: ignore[arg-type]
        assert row.error is None
        before = (project.folder("aa-one", "first") / "run.json").read_bytes()
        project.write_notebook("first", "print('x' * 1_500_000)")
        (row,) = run(project, cold_kernels=True).rows  # type: ignore[arg-type]
        assert row.state is RunState.FAILED
        assert "no room" in str(row.error)
        assert (project.folder("aa-one", "first") / "run.json").read_bytes() == before
        assert read_record(project.folder("aa-one", "first"), deep=True) is not None
        project.write_notebook("first", "x = 2")
        (row,) = run(project, cold_kernels=True).rows  # type: ignore[arg-type]
        assert row.state is RunState.PUBLISHED
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=False)


KILL_AT = """
import os, sys
from insight_lib.runner import publish as module
step = 0
def counted(name):
    real = getattr(os, name)
    def wrapper(*args, **kwargs):
        global step
        step += 1
        if step == KILL:
            if os.fork() == 0:
                os.kill(os.getppid(), 9)
                os._exit(0)
            os.wait()
            os.kill(os.getpid(), 9)
        return real(*args, **kwargs)
    return wrapper
for name in ("fsync", "open", "rename", "rmdir", "unlink"):
    setattr(os, name, counted(name))
swap = module.exchange
def exchange(one, other):
    global step
    step += 1
    if step == KILL: os.kill(os.getpid(), 9)
    done = swap(one, other) if EXCHANGE else False
    step += 1
    if step == KILL: os.kill(os.getpid(), 9)
    return done
module.exchange = exchange
reports = root / "reports"
target = reports / "aa" / "2024-06-30" / "first"
files = {name: b"new" * 1000 for name in ("index.html", "analyst.html", "findings.json")}
module.publish(target, staged=reports / ".insight" / "staged" / "r", files=files,
               record={"fingerprint": "new"})
print("steps", step)
"""


@pytest.mark.parametrize("can_exchange", [True, False], ids=["exchange", "two renames"])
def test_a_kill_at_every_step_of_publishing(tmp_path: Path, can_exchange: bool) -> None:
    """Old or new, whole, never mixed; and the next call can publish."""
    from insight_lib.runner.publish import publish, recover

    seen = set()
    step = 0
    while True:
        step += 1
        root = tmp_path / str(step)
        target = root / "reports" / "aa" / "2024-06-30" / "first"
        names = ("index.html", "analyst.html", "findings.json")
        publish(
            target,
            staged=root / "s",
            files=dict.fromkeys(names, b"old" * 1000),
            record={"fingerprint": "old"},
        )
        body = f"KILL, EXCHANGE = {step}, {can_exchange}\n" + KILL_AT
        script = run_publisher(root, body)
        recover(root / "reports")
        record = read_record(target, deep=True)
        assert record is not None, step
        texts = {(target / name).read_bytes()[:3].decode() for name in names}
        assert texts == {record["fingerprint"]}, step
        seen.add(record["fingerprint"])
        if script.returncode == 0:
            break
        assert script.returncode == -signal.SIGKILL, script.stderr
    assert seen == {"old", "new"}
    assert step > 15


def run_publisher(root: Path, body: str) -> subprocess.CompletedProcess[str]:
    import sys

    script = f"from pathlib import Path\nroot = Path({str(root)!r})\n{body}"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)


def test_a_torn_report_is_made_again(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    run(project, cold_kernels=True)  # type: ignore[arg-type]
    folder = project.folder("aa-one", "first")
    (folder / "index.html").write_bytes((folder / "index.html").read_bytes()[:100])
    (row,) = run(project, cold_kernels=True).rows  # type: ignore[arg-type]
    assert row.was_run
    assert json.loads((folder / "run.json").read_text())["state"] == "published"


def test_strays_of_dead_runs_are_swept(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    home = tmp_path / "reports" / ".insight"
    for name in ("staged/dead", "runs/dead"):
        (home / name).mkdir(parents=True)
        (home / name / "index.html").write_text("half")
    (tmp_path / "reports" / ".index.html.999999999.partial").write_text("half")
    run(project, cold_kernels=True)  # type: ignore[arg-type]
    assert list(home.glob("staged/*")) == list(home.glob("runs/*")) == []
    assert list((tmp_path / "reports").glob(".*.partial")) == []
