"""Keep a simulated market's files in step with its seed, its size and the simulator's code.

The simulator is a package of its own, `insight_demo`; it is run, and never imported here.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

SIMULATOR = "insight_demo"
_STAMP = "made-from.txt"


class NoSimulator(RuntimeError):
    """A market is to be simulated and the simulator is not installed, or it failed."""


def refresh_simulation(folder: Path, market_id: str, *, seed: int, n_customers: int) -> bool:
    """Simulate a market into `folder` unless it stands there already, made from the same.

    Args:
        folder: Its Parquet files; `truth/` beside them holds what the simulation knows.
        market_id: One of the simulator's worlds.

    Returns:
        Whether it was simulated.

    Raises:
        NoSimulator: It is not installed, or knows no such world.
    """
    made_from = f"{market_id} seed={seed} customers={n_customers} code={_code()}\n"
    stamp = folder / _STAMP
    if stamp.is_file() and stamp.read_text() == made_from:
        return False
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", SIMULATOR, str(folder), market_id]
    done = subprocess.run(  # noqa: S603 - our own module, and names that were checked
        [*command, "--seed", str(seed), "--customers", str(n_customers)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        raise NoSimulator(f"{market_id} could not be simulated: {last}")
    stamp.write_text(made_from)
    return True


def _code() -> str:
    """Digest of the simulator's code and of the schema that it fills."""
    found = importlib.util.find_spec(SIMULATOR)
    if found is None or found.origin is None:
        raise NoSimulator(f"a simulated market needs {SIMULATOR}, and it is not installed")
    code = hashlib.sha256()
    schema = Path(__file__).with_name("schema.py")
    for path in (*sorted(Path(found.origin).parent.glob("*.py")), schema):
        code.update(path.read_bytes())
    return code.hexdigest()
