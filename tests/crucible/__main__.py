"""`python -m tests.crucible draws|relations|known|report`: the crucible, resumed where it stood."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import traceback
import warnings
from pathlib import Path
from time import monotonic


def seeds_of(text: str) -> list[int]:
    """`1-300` or `7` or `1,5,9`."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def draw_once(seed: int) -> tuple[int, list[str], float]:
    """Put one drawn market through all its stale stages, and keep the result."""
    from tests.crucible import results
    from tests.crucible.desk import put_through
    from tests.crucible.draws import draw_world
    from tests.crucible.judge import judge

    started = monotonic()
    prints = results.fingerprints()
    stale = results.stale_stages("draws", seed, prints)
    if not stale:
        kept = results.read("draws", seed)
        return seed, kept.faults if kept else [], 0.0
    world = draw_world(seed)
    try:
        with tempfile.TemporaryDirectory() as folder:
            outcome = put_through(Path(folder), [world], stages=stale)
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


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crucible", description=__doc__)
    parser.add_argument("what", choices=["draws", "relations", "known", "report"])
    parser.add_argument("--seeds", type=seeds_of, default=seeds_of("1-300"))
    parser.add_argument("--only", default="", help="names of relations or worlds, with commas")
    parser.add_argument("--jobs", type=int, default=2)
    chosen = parser.parse_args(arguments)
    if chosen.what == "report":
        from tests.crucible.report import write_report

        print(write_report())
        return 0
    from tests.crucible import known, relations

    only = [name for name in chosen.only.split(",") if name]
    work, tasks = {
        "draws": (draw_once, chosen.seeds),
        "relations": (relations.hold_once, relations.tasks(chosen.seeds, only)),
        "known": (known.try_once, known.tasks(chosen.seeds, only)),
    }[chosen.what]
    n_faulty = 0
    context = multiprocessing.get_context("spawn")
    with context.Pool(chosen.jobs, initializer=_quiet, maxtasksperchild=25) as pool:
        for task, faults, seconds in pool.imap_unordered(work, tasks):
            n_faulty += bool(faults)
            print(f"{task}: {len(faults)} faults, {seconds:.0f} s", *faults, sep="\n  ", flush=True)
    print(f"{len(tasks)} tried, {n_faulty} with faults")
    return 1 if n_faulty else 0


def _quiet() -> None:
    warnings.filterwarnings("ignore")
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ[name] = "1"


if __name__ == "__main__":
    sys.exit(main())
