from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from insight_lib.runner.ledger import Cell, Ledger, RunState
from insight_lib.runner.processes import Process, identify, this_process

CELL = Cell("de-fashion", "features", "", "2024-06-30")


def test_a_run_goes_through_its_states(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l.sqlite") as ledger:
        ledger.queue("r1", CELL, "f1")
        assert ledger.latest()[CELL].state is RunState.QUEUED
        assert ledger.claim("r1", "f1") is None
        assert ledger.latest()[CELL].state is RunState.RUNNING
        ledger.end("r1", RunState.FAILED, seconds=1.5, cell_number=3, error="no", notebook="p")
        row = ledger.latest()[CELL]
    assert (row.state, row.seconds, row.cell_number) == (RunState.FAILED, 1.5, 3)
    assert (row.error, row.notebook, row.process) == ("no", "p", this_process())


def test_one_run_of_a_cell_at_a_time(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l.sqlite") as ledger:
        ledger.queue("r1", CELL, "f")
        ledger.queue("r2", CELL, "f")
        ledger.queue("other", Cell("fr-fashion", "features", "", "2024-06-30"), "f")
        assert ledger.claim("r1", "f") is None
        assert ledger.claim("r2", "f") == this_process()
        assert ledger.claim("other", "f") is None
        ledger.end("r1", RunState.SUCCEEDED)  # its report is being published
        assert ledger.claim("r2", "f") == this_process()
        ledger.end("r1", RunState.PUBLISHED)
        assert ledger.claim("r2", "f") is None


def test_many_claims_at_once_give_one_winner(tmp_path: Path) -> None:
    def claim(number: int) -> bool:
        with Ledger(tmp_path / "l.sqlite") as ledger:
            ledger.queue(f"r{number}", CELL, "f")
            return ledger.claim(f"r{number}", "f") is None

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(claim, range(16))) == 1


def dead_process(tmp_path: Path, code: str) -> None:
    """Run `code` on a ledger in a process that then ends without closing anything."""
    script = (
        "import os, sys\nfrom pathlib import Path\n"
        "from insight_lib.runner.ledger import *\n"
        f"ledger = Ledger(Path({str(tmp_path / 'l.sqlite')!r}))\n"
        f"cell = Cell{('de-fashion', 'features', '', '2024-06-30')!r}\n"
        f"{code}\nos._exit(9)"
    )
    subprocess.run([sys.executable, "-c", script], check=False)


def test_runs_of_a_dead_process_are_recorded_as_killed(tmp_path: Path) -> None:
    dead_process(
        tmp_path,
        "ledger.queue('r1', cell, 'f'); ledger.claim('r1', 'f')\n"
        "ledger.queue('r2', Cell('fr', 'features', '', 'd'), 'f')",
    )
    with Ledger(tmp_path / "l.sqlite") as ledger:
        dead = ledger.reconcile()
        assert {row.run_id for row in dead} == {"r1", "r2"}
        states = {row.run_id: row.state for row in ledger.latest().values()}
        assert states == {"r1": RunState.KILLED, "r2": RunState.CANCELLED}
        assert ledger.reconcile() == []


def test_a_claim_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    dead_process(tmp_path, "ledger.queue('r1', cell, 'f'); ledger.claim('r1', 'f')")
    with Ledger(tmp_path / "l.sqlite") as ledger:
        ledger.queue("r2", CELL, "f")
        assert ledger.claim("r2", "f") is None
        assert [row.state for row in ledger.history(CELL)] == [RunState.KILLED, RunState.RUNNING]


def test_a_reused_process_number_is_seen() -> None:
    me = this_process()
    assert me.is_alive
    assert not Process(me.pid, "another boot:1").is_alive


def test_a_zombie_is_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    process = identify(child.pid)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert process is None or not process.is_alive
    child.wait()


def test_notes_are_remembered(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l.sqlite") as ledger:
        assert ledger.note("site") is None
        ledger.set_note("site", "a")
        ledger.set_note("site", "b")
        assert ledger.note("site") == "b"


def test_many_may_open_a_new_ledger_at_once(tmp_path: Path) -> None:
    def start(number: int) -> None:
        with Ledger(tmp_path / "l.sqlite") as ledger:
            ledger.set_note(str(number), "here")

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(start, range(48)))
