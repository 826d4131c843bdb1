"""`python -m tests.crucible draws|shrink|relations|known|report`: resumed where it stood."""

from __future__ import annotations

import argparse
import multiprocessing
import sys


def seeds_of(text: str) -> list[int]:
    """`1-300` or `7` or `1,5,9`."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crucible", description=__doc__)
    parser.add_argument("what", choices=["draws", "shrink", "relations", "known", "report"])
    parser.add_argument("--seeds", type=seeds_of, default=seeds_of("1-300"))
    parser.add_argument("--only", default="", help="names of relations or worlds, with commas")
    parser.add_argument("--stages", default="", help="of known worlds; all that have a say")
    parser.add_argument("--jobs", type=int, default=2)
    chosen = parser.parse_args(arguments)
    if chosen.what == "report":
        from tests.crucible.report import write_report

        print(write_report())
        return 0
    from tests.crucible import known, relations, shrink, work

    only, stages = ([n for n in text.split(",") if n] for text in (chosen.only, chosen.stages))
    function, tasks = {
        "draws": (work.draw_once, chosen.seeds),
        "shrink": (shrink.shrink_draw, chosen.seeds),
        "relations": (relations.hold_once, relations.tasks(chosen.seeds, only)),
        "known": (known.try_once, known.tasks(chosen.seeds, only, stages)),
    }[chosen.what]
    n_faulty = 0
    context = multiprocessing.get_context("spawn")
    with context.Pool(chosen.jobs, initializer=work.be_quiet, maxtasksperchild=25) as pool:
        for task, faults, seconds in pool.imap_unordered(function, tasks):
            n_faulty += bool(faults)
            print(f"{task}: {len(faults)} faults, {seconds:.0f} s", *faults, sep="\n  ", flush=True)
    print(f"{len(tasks)} tried, {n_faulty} with faults")
    return 1 if n_faulty else 0


if __name__ == "__main__":
    sys.exit(main())
