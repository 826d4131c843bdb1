"""Keep a simulated market's files in step with its seed, its size and the simulator's code."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

_STAMP = "made-from.txt"


def refresh_simulation(folder: Path, market_id: str, *, seed: int, n_customers: int) -> bool:
    """Simulate a market into `folder` unless it stands there already, made from the same.

    Args:
        folder: Its Parquet files; `truth/` beside them holds what the simulation knows.
        market_id: One of `WORLDS`.

    Returns:
        Whether it was simulated.

    Raises:
        KeyError: There is no such world.
    """
    code = hashlib.sha256()
    here = Path(__file__).parent
    for path in (*sorted((here / "demo").glob("*.py")), here / "schema.py"):
        code.update(path.read_bytes())
    made_from = f"{market_id} seed={seed} customers={n_customers} code={code.hexdigest()}\n"
    stamp = folder / _STAMP
    if stamp.is_file() and stamp.read_text() == made_from:
        return False
    from insight_lib.demo.market import simulate_to

    shutil.rmtree(folder, ignore_errors=True)
    simulate_to(folder, market_id, seed, n_customers=n_customers)
    stamp.write_text(made_from)
    return True
