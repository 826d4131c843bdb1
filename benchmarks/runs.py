"""The same notebooks and markets: a plain papermill loop with nbconvert, and `insight run`.

Both read the same lake; the plain loop starts a kernel a run and renders with nbconvert's lab
template, which is what a team has before it has this.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent

PLAIN = """
import sys, pathlib
import papermill, nbconvert
root, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
out.mkdir(parents=True, exist_ok=True)
for market in sys.argv[3:]:
    for notebook in sorted((root / "notebooks").glob("*.ipynb")):
        target = out / f"{market}-{notebook.stem}.ipynb"
        papermill.execute_notebook(
            notebook, target, parameters={"market": market}, progress_bar=False
        )
        html, _ = nbconvert.HTMLExporter(exclude_input=True).from_filename(str(target))
        target.with_suffix(".html").write_text(html)
"""


def prepare(root: Path, *, n_markets: int) -> list[str]:
    """A project with simulated markets only, ingested."""
    shutil.copytree(ROOT / "parameters", root / "parameters")
    shutil.copytree(ROOT / "notebooks", root / "notebooks")
    folder = root / "parameters" / "markets"
    worlds = sorted(p.stem for p in folder.glob("*-fashion.yaml"))
    for path in folder.glob("*.yaml"):
        if path.stem not in worlds:
            path.unlink()
    markets = worlds[:n_markets]
    _insight(root, "ingest", *(part for m in markets for part in ("--market", m)))
    return markets


def _insight(root: Path, *arguments: str) -> float:
    started = time.perf_counter()
    command = [sys.executable, "-m", "insight_lib.cli", *arguments, "--root", str(root)]
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def compute_seconds(root: Path) -> float:
    """What the cells themselves took in the plain loop, without the one that only imports."""
    total = 0.0
    for path in (root / "plain").glob("*.ipynb"):
        for cell in json.loads(path.read_text())["cells"]:
            if "import" not in "".join(cell["source"])[:200]:
                total += cell["metadata"].get("papermill", {}).get("duration") or 0.0
    return total


def report(root: Path, *, n_markets: int) -> str:
    markets = prepare(root, n_markets=n_markets)
    started = time.perf_counter()
    environment = os.environ | {"INSIGHT_ROOT": str(root)}
    subprocess.run(
        [sys.executable, "-c", PLAIN, str(root), str(root / "plain"), *markets],
        check=True,
        capture_output=True,
        env=environment,
        cwd=root,
    )
    plain = time.perf_counter() - started
    chosen = [part for m in markets for part in ("--market", m)]
    ours = _insight(root, "run", "--skip-ingest", "--jobs", str(os.cpu_count() or 2), *chosen)
    again = _insight(root, "run", "--skip-ingest", *chosen)
    cells = compute_seconds(root)
    cores = os.cpu_count() or 2
    n_runs = len(list(root.glob("reports/*/*/*/run.json")))
    return (
        f"{n_runs} runs ({len(markets)} markets):\n\n"
        "| Way | Seconds | Ratio |\n|---|---|---|\n"
        f"| papermill loop + nbconvert | {plain:.1f} | 1 |\n"
        f"| `insight run`, cold | {ours:.1f} | {plain / ours:.1f} times faster |\n"
        f"| the cells' own compute on {cores} cores | {cells / cores:.1f} "
        f"| `insight run` takes {ours / (cells / cores):.2f} of it |\n"
        f"| `insight run`, nothing changed | {again:.2f} | |\n"
    )
