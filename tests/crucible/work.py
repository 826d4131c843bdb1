"""One piece of the crucible's work, in a process of its own."""

from __future__ import annotations

import os
import tempfile
import traceback
import warnings
from pathlib import Path
from time import monotonic


def draw_once(seed: int) -> tuple[int, list[str], float]:
    """Put one drawn market through all stages, unless its results are of this state of the code."""
    from tests.crucible import results
    from tests.crucible.desk import put_through
    from tests.crucible.draws import draw_world
    from tests.crucible.judge import judge

    started = monotonic()
    prints = results.fingerprints("draws.py")
    stale = results.stale_stages("draws", seed, prints)
    if not stale:
        kept = results.read("draws", seed)
        return seed, kept.faults if kept else [], 0.0
    world = draw_world(seed)
    try:
        with tempfile.TemporaryDirectory() as folder:
            outcome = put_through(Path(folder), [world], stages=results.to_run(stale, list(prints)))
            stages = judge(outcome, world, prints)
    except Exception as error:  # outside a stage: ingest, plan, publication
        trace = traceback.format_exc(limit=-3)
        stages = {
            name: results.StageResult(
                fingerprint=prints[name],
                state="crashed",
                error=str(error),
                seconds=0.0,
                faults=[f"{name}: crashed: {error!r}\n{trace}"] if name == stale[0] else [],
            )
            for name in stale
        }
    found = results.WorldResult(seed=seed, about=dict(world.truth), stages=stages)
    results.keep("draws", found)
    return seed, found.faults, monotonic() - started


def be_quiet() -> None:
    warnings.filterwarnings("ignore")
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ[name] = "1"
