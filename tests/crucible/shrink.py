"""A market that brought out a fault, made as small as it can be with the fault still there."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd

from insight_lib.schema import TABLES
from tests.crucible import results
from tests.crucible.desk import go, make_project, put_through
from tests.crucible.draws import draw_world
from tests.crucible.judge import judge
from tests.crucible.world import Shape, World

CASES = Path(__file__).parent / "cases"
MOST_TRIES = 120
Faults = Callable[[World], set[str]]


def shrink(world: World, faults_of: Faults, *, most_tries: int = MOST_TRIES) -> World:
    """The smallest market found that still shows one of its faults (Zeller and Hildebrandt, 2002).

    Tables, then columns, then customers and rows are left out as long as a fault stays.

    Raises:
        ValueError: The market shows no fault.
    """
    wanted = faults_of(world)
    if not wanted:
        raise ValueError(f"{world.id} shows no fault")
    tries, is_smaller = 0, True
    while is_smaller and tries < most_tries:
        is_smaller = False
        for smaller in _smaller(world):
            tries += 1
            if faults_of(smaller) & wanted:
                world, is_smaller = smaller, True
                break
            if tries >= most_tries:
                break
    return world


def _smaller(world: World) -> Iterator[World]:
    """Markets with one thing less, the largest things first."""
    if len(world.tables) > 1:
        for name in world.tables:
            yield replace(world, tables={k: v for k, v in world.tables.items() if k != name})
    if any(world.shape(name) != Shape() for name in world.tables):
        yield replace(world, shapes={})
    yield from _fewer_customers(world)
    for name, frame in sorted(world.tables.items(), key=lambda item: -len(item[1])):
        if len(frame) > 1:
            half = len(frame) // 2
            for part in (frame.iloc[:half], frame.iloc[half:]):
                yield _with(world, name, part.reset_index(drop=True))
    for name, frame in world.tables.items():
        schema = TABLES[name]
        needed = {column.name for column in schema.columns if column.required} | set(schema.key)
        for column in frame.columns:
            if column not in needed:
                yield _with(world, name, frame.drop(columns=column))


def _with(world: World, name: str, frame: pd.DataFrame) -> World:
    return replace(world, tables={**world.tables, name: frame})


def _fewer_customers(world: World) -> Iterator[World]:
    """Half of the customers, in every table that names them."""
    named = [f["customer_id"].dropna() for f in world.tables.values() if "customer_id" in f]
    people = sorted(set(pd.concat(named).astype(str))) if named else []
    if len(people) < 2:
        return
    for part in (people[: len(people) // 2], people[len(people) // 2 :]):
        kept = set(part)
        yield replace(
            world,
            tables={
                name: frame[frame["customer_id"].isin(kept)].reset_index(drop=True)
                if "customer_id" in frame
                else frame
                for name, frame in world.tables.items()
            },
        )


def kinds_of(world: World) -> set[str]:
    """The faults of a market, put through every stage, without what is its own in them."""
    prints = results.fingerprints("draws.py")
    with tempfile.TemporaryDirectory() as folder:
        stages = judge(put_through(Path(folder), [world]), world, prints)
    faults = [fault for stage in stages.values() for fault in stage.faults]
    return {re.sub(r"\d+(\.\d+)?", "#", fault.splitlines()[0])[:160] for fault in faults}


def keep_case(world: World, folder: Path = CASES) -> Path:
    """Write a market's files and YAML where the tests put every case through the stages."""
    place = folder / world.id
    world.write(place)
    return place


def case_faults(place: Path, root: Path) -> list[str]:
    """What is wrong on the pages of a kept market, put through every stage."""
    make_project(root, [])
    shutil.copytree(place, root, dirs_exist_ok=True)
    market = World(id=place.name, tables={}, said={})
    stages = judge(go(root), market, results.fingerprints("draws.py"))
    assert stages, f"{place} holds no market of its own name"
    return [fault for stage in stages.values() for fault in stage.faults]


def shrink_draw(seed: int) -> tuple[int, list[str], float]:
    """Shrink a drawn market and keep it as a case."""
    smaller = shrink(draw_world(seed), kinds_of)
    place = keep_case(smaller)
    sizes = ", ".join(f"{name} {len(frame)}" for name, frame in smaller.tables.items())
    return seed, [f"kept in {place}: {sizes}", *sorted(kinds_of(smaller))], 0.0
