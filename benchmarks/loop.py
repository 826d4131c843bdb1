"""The analyst's loop: a cell has changed, the stage of one market runs again.

Against the same notebook under plain papermill in a kernel of its own, in the same run.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

STAGES = {"segments": "04_segments", "transfer": "03_transfer"}
PLAIN = (
    "import sys, papermill; papermill.execute_notebook(sys.argv[1], sys.argv[2], "
    "parameters={'market': sys.argv[3]}, progress_bar=False)"
)


def seconds(command: list[str], root: Path) -> float:
    """Wall time of a whole process."""
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, cwd=root)
    return time.perf_counter() - started


def change_a_cell(path: Path, number: int) -> None:
    """Another last line in the first cell of code."""
    content = json.loads(path.read_text())
    cell = next(c for c in content["cells"] if "open_market" in "".join(c["source"]))
    cell["source"] = [*cell["source"], f"\n# {number}"]
    path.write_text(json.dumps(content))


def report(root: Path, market: str, *, times: int = 3) -> str:
    """A project that was ingested, as `runs.prepare` makes it."""
    lines = [
        "| Stage | plain papermill | `insight run` after a changed cell | more |",
        "|---|---|---|---|",
    ]
    for stage, name in STAGES.items():
        path = root / "notebooks" / f"{name}.ipynb"
        run = [sys.executable, "-m", "insight_lib.cli", "run", "--market", market, "--stage", stage]
        seconds(run, root)
        bare, ours = [], []
        for number in range(times):
            change_a_cell(path, number)
            plain = [sys.executable, "-c", PLAIN, str(path), str(root / "plain.ipynb"), market]
            bare.append(seconds(plain, root))
            ours.append(seconds(run, root))
        one, other = min(bare), min(ours)
        lines.append(f"| {stage} | {one:.1f} s | {other:.1f} s | {other - one:+.1f} s |")
    return "\n".join([*lines, ""])
