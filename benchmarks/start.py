"""How long the command line takes to answer."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent


def seconds(command: list[str], *, times: int = 5) -> float:
    """Median of several runs of a whole process, after one to warm the disk.

    `insight status` ends with one where something is not up to date, as on a fresh checkout.
    """
    taken = []
    for _ in range(times + 1):
        started = time.perf_counter()
        subprocess.run(command, check=False, capture_output=True, cwd=ROOT)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[1:])


def report() -> str:
    """Seconds of a command, and how often as long as importing what it needs alone."""
    insight = [sys.executable, "-m", "insight_lib.cli"]
    needed = "insight_lib.cli, insight_lib.parameters, insight_lib.runner.status"
    bare = {
        "--help": seconds([sys.executable, "-c", "import typer"]),
        "status": seconds([sys.executable, "-c", f"import {needed}"]),
    }
    lines = ["| Command | Seconds | Imports alone | Ratio |", "|---|---|---|---|"]
    for name, alone in bare.items():
        taken = seconds([*insight, name])
        lines.append(f"| `insight {name}` | {taken:.2f} | {alone:.2f} | {taken / alone:.1f} |")
    return "\n".join([*lines, ""])
