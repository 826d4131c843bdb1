"""How long the command line takes to answer."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent


def seconds(command: list[str], *, times: int = 5) -> float:
    """Median of several runs of a whole process, after one to warm the disk."""
    taken = []
    for _ in range(times + 1):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[1:])


def report() -> str:
    insight = [sys.executable, "-m", "insight_lib.cli"]
    bare = seconds([sys.executable, "-c", "pass"])
    help_, status = seconds([*insight, "--help"]), seconds([*insight, "status"])
    return (
        "| Command | Seconds |\n|---|---|\n"
        f"| `python -c pass` | {bare:.2f} |\n"
        f"| `insight --help` | {help_:.2f} |\n"
        f"| `insight status` | {status:.2f} |\n"
    )
