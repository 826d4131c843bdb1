"""What must hold between two runs of one market that differ in something that means nothing.

After metamorphic testing (Chen, Cheung and Yiu, 1998): where no answer is known, two answers
must still agree.
"""

from __future__ import annotations

import math
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pandas as pd

from insight_lib.schema import TABLES, Type
from tests.crucible import results
from tests.crucible.desk import TODAY, put_through
from tests.crucible.draws import draw_world
from tests.crucible.results import reduced
from tests.crucible.world import Shape, World

# Where folds and draws follow the order of customers, two runs differ as two draws do.
NEAR_SHARE = 0.25  # of the width of the range; of the number, where it has none
MOST_TURNED_SHARE = 0.05
WEEKS_DAYS = 364
MONEY_FACTOR = 100
Findings = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True, kw_only=True)
class Relation:
    """One change that must not matter.

    Attributes:
        change: The other market.
        is_exact: Whether every number is the same; else ranges may move as two draws do.
        money_factor: What amounts are multiplied by.
        moves: Parts of ids of findings that are about what was changed.
    """

    change: Callable[[World, np.random.Generator], World]
    is_exact: bool = True
    money_factor: float = 1.0
    moves: tuple[str, ...] = ()
    days_later: int = 0
    beside: bool = False
    may_turn: bool = False


def rows_in_another_order(world: World, draw: np.random.Generator) -> World:
    tables = {
        name: frame.iloc[draw.permutation(len(frame))].reset_index(drop=True)
        for name, frame in world.tables.items()
    }
    return replace(world, tables=tables)


def in_several_files(world: World, draw: np.random.Generator) -> World:
    return _shaped(world, lambda shape: replace(shape, parts=3))


def in_another_format(world: World, draw: np.random.Generator) -> World:
    def turned(shape: Shape) -> Shape:
        if shape.format == "parquet":
            return replace(shape, format="csv")
        return Shape(format="parquet", parts=shape.parts)

    return _shaped(world, turned)


def _shaped(world: World, change: Callable[[Shape], Shape]) -> World:
    return replace(world, shapes={name: change(world.shape(name)) for name in world.tables})


def ids_renamed(world: World, draw: np.random.Generator) -> World:
    """Customers and orders under other names, in another order."""
    tables = dict(world.tables)
    for column in ("customer_id", "order_id", "respondent_id"):
        names = pd.unique(
            pd.concat([f[column] for f in tables.values() if column in f] or [pd.Series(dtype=str)])
        )
        names = [name for name in names if isinstance(name, str)]
        new = dict(zip(names, draw.permutation(len(names)), strict=True))
        for table, frame in tables.items():
            if column in frame:
                renamed = [f"QX{new[v]:05d}" if v in new else v for v in frame[column]]
                tables[table] = frame.assign(**{column: pd.Series(renamed, dtype=object)})
    return replace(world, tables=tables)


def whole_weeks_later(world: World, draw: np.random.Generator) -> World:
    """All days moved by the same number of whole weeks."""
    tables = {}
    for name, frame in world.tables.items():
        kinds = {c.name: c.type for c in TABLES[name].columns}
        days = [c for c in frame if kinds.get(c) in (Type.DATE, Type.INSTANT, Type.LOCAL)]
        later = {c: pd.to_datetime(frame[c]) + pd.Timedelta(days=WEEKS_DAYS) for c in days}
        tables[name] = frame.assign(**later)
    said = dict(world.said)
    if period := said.get("period"):
        said["period"] = {k: day + timedelta(days=WEEKS_DAYS) for k, day in period.items()}
    return replace(world, tables=tables, said=said)


def money_a_hundredfold(world: World, draw: np.random.Generator) -> World:
    """All money, that of the parameters too."""
    tables = {}
    for name, frame in world.tables.items():
        kinds = {c.name: c.type for c in TABLES[name].columns}
        more = {c: frame[c] * MONEY_FACTOR for c in frame if kinds.get(c) is Type.MONEY}
        tables[name] = frame.assign(**more)
    said = dict(world.said)
    said["parameters"] = _times(said["parameters"], MONEY_FACTOR)
    return replace(world, tables=tables, said=said)


def _times(values: Any, factor: float) -> Any:
    if not isinstance(values, Mapping):
        return values
    if "amount" in values:
        return dict(values) | {"amount": values["amount"] * factor}
    return {
        key: value * factor
        if key.endswith("_amount") and isinstance(value, int | float)
        else _times(value, factor)
        for key, value in values.items()
    }


def a_column_more(world: World, draw: np.random.Generator) -> World:
    """A column that nothing reads, declared unused."""
    tables = {
        name: frame.assign(clerk=draw.choice(["a", "b"], len(frame)))
        for name, frame in world.tables.items()
    }
    return replace(world, tables=tables)


def rows_twice(world: World, draw: np.random.Generator) -> World:
    """A tenth of all rows again."""
    tables = {
        name: pd.concat([frame, frame[draw.random(len(frame)) < 0.1]], ignore_index=True)
        for name, frame in world.tables.items()
    }
    return replace(world, tables=tables)


def far_end_cut(world: World, draw: np.random.Generator) -> World:
    """The oldest tenth of the days is not there."""
    lines = world.tables["transactions"]
    first, last = lines["ordered_at"].min(), lines["ordered_at"].max()
    cut = (first + (last - first) * 0.1).normalize()
    tables = dict(world.tables)
    tables["transactions"] = lines[lines["ordered_at"] >= cut].reset_index(drop=True)
    said = dict(world.said)
    said["period"] = dict(said["period"]) | {"first_day": cut.date()}
    return replace(world, tables=tables, said=said)


def unchanged(world: World, draw: np.random.Generator) -> World:
    return world


RELATIONS: Mapping[str, Relation] = {
    "rows_in_another_order": Relation(change=rows_in_another_order),
    "in_several_files": Relation(change=in_several_files),
    "in_another_format": Relation(change=in_another_format),
    "ids_renamed": Relation(change=ids_renamed, is_exact=False),
    "whole_weeks_later": Relation(
        change=whole_weeks_later, days_later=WEEKS_DAYS, moves=("yearly_season",)
    ),
    "money_a_hundredfold": Relation(
        change=money_a_hundredfold, is_exact=False, money_factor=MONEY_FACTOR
    ),
    "a_column_more": Relation(change=a_column_more),
    "rows_twice": Relation(change=rows_twice, moves=(".data.", "unread")),
    "far_end_cut": Relation(change=far_end_cut, is_exact=False, may_turn=True),
    "another_market_beside": Relation(change=unchanged, beside=True),
}


def relation_world(seed: int) -> World:
    """A market of a shop, whole enough that every stage has something to say."""
    draw = np.random.default_rng([seed, 21])
    return draw_world(
        seed,
        market="de-base",
        kind="shop",
        size=int(draw.choice([150, 350])),
        days=int(draw.choice([420, 800])),
        zone="Europe/Berlin",
        n_disorders=int(draw.integers(0, 3)),
        has_period=True,
        parameters=MONEY_PARAMETERS,
    )


MONEY_PARAMETERS = {
    "prediction": {
        "review_stakes_amount": {"amount": 400.0, "currency": "EUR"},
        "channels": {
            "call": {
                "title": "phone call",
                "hours": 40.0,
                "minutes_per_contact": 12.0,
                "cost_amount": {"amount": 2.0, "currency": "EUR"},
                "kept_share": 0.15,
            }
        },
    },
    "impact": {"model_cost_amount": 500.0, "next_budget_amount": 10000.0},
}


def tasks(seeds: Sequence[int], only: Sequence[str]) -> list[tuple[str, int]]:
    """One task a relation and seed."""
    names = [name for name in RELATIONS if not only or name in only]
    return [(name, seed) for seed in seeds for name in names]


def hold_once(task: tuple[str, int]) -> tuple[str, list[str], float]:
    """Run both markets of a relation, and say where they part."""
    name, seed = task
    started = monotonic()
    campaign = f"relations/{name}"
    prints = results.fingerprints("draws.py", "relations.py")
    if not results.stale_stages(campaign, seed, prints):
        kept = results.read(campaign, seed)
        return f"{name} {seed}", kept.faults if kept else [], 0.0
    relation, world = RELATIONS[name], relation_world(seed)
    draw = np.random.default_rng([seed, 22])
    try:
        base = _base_findings(seed, world, prints)
        others = [relation.change(world, draw)]
        if relation.beside:
            others.append(draw_world(seed + 5000, market="us-other", kind="shop", size=120))
        later = TODAY + timedelta(days=relation.days_later)
        other = _run(others, later)
        parted, counts = compare(base, other, relation)
    except Exception as error:
        parted = {next(iter(prints)): [f"crashed: {error!r} {traceback.format_exc(limit=-3)}"]}
        counts = {}
    stages = {
        stage: results.StageResult(
            fingerprint=prints[stage],
            state="published",
            error=None,
            seconds=0.0,
            faults=[f"{name}: {stage}: {fault}" for fault in parted.get(stage, [])],
        )
        for stage in prints
    }
    found = results.WorldResult(seed=seed, about=dict(world.truth), stages=stages, extra=counts)
    results.keep(campaign, found)
    return f"{name} {seed}", found.faults, monotonic() - started


def _run(worlds: Sequence[World], today: date) -> dict[str, list[dict[str, Any]]]:
    with tempfile.TemporaryDirectory() as folder:
        outcome = put_through(Path(folder), worlds, today=today)
        shown = outcome.findings(worlds[0].id)
        return {stage: [reduced(f) for f in found] for stage, found in shown.items()}


def _base_findings(seed: int, world: World, prints: Mapping[str, str]) -> Findings:
    """The market as it is, run once for all relations."""
    kept = results.read("relations/base", seed)
    if kept is None or results.stale_stages("relations/base", seed, prints):
        stages = {
            stage: results.StageResult(
                fingerprint=prints[stage],
                state="published" if findings else "absent",
                error=None,
                seconds=0.0,
                findings=findings,
            )
            for stage, findings in ({s: [] for s in prints} | _run([world], TODAY)).items()
        }
        kept = results.WorldResult(seed=seed, about=dict(world.truth), stages=stages)
        results.keep("relations/base", kept)
    return {stage: result.findings for stage, result in kept.stages.items() if result.findings}


def compare(
    base: Findings, other: Findings, relation: Relation
) -> tuple[dict[str, list[str]], dict[str, int]]:
    """Where two runs part, by stage; and how many claims there were and turned round."""
    parted: dict[str, list[str]] = {}
    n_claims = n_turned = 0
    for stage in sorted(set(base) | set(other)):
        if (stage in base) != (stage in other):
            parted[stage] = [f"a page in {'one' if stage in base else 'the other'} run alone"]
            continue
        before = {f["id"]: f for f in base[stage] if not _is_about(f, relation)}
        after = {f["id"]: f for f in other[stage] if not _is_about(f, relation)}
        n_claims += sum(_is_claim(f) for f in before.values())
        turned = [n for n in before.keys() & after.keys() if _turned(before[n], after[n])]
        n_turned += len(turned)
        if relation.may_turn:
            continue
        faults = [f"{name}: in one run alone" for name in sorted(before.keys() ^ after.keys())]
        for name in sorted(before.keys() & after.keys()):
            faults += _parts(before[name], after[name], relation)
        if faults:
            parted[stage] = faults
    if relation.may_turn and n_turned > max(1, MOST_TURNED_SHARE * n_claims):
        parted.setdefault("features", []).append(f"{n_turned} of {n_claims} claims turned round")
    return parted, {"n_claims": n_claims, "n_turned": n_turned}


def _is_about(finding: Mapping[str, Any], relation: Relation) -> bool:
    return any(part in finding["id"] for part in relation.moves)


def _is_claim(finding: Mapping[str, Any]) -> bool:
    return finding["verdict"] in ("matters", "does not matter", "pass", "fail")


def _turned(one: Mapping[str, Any], two: Mapping[str, Any]) -> bool:
    """Whether a claim became its opposite; into "cannot tell" it may fall."""
    pair = {one["verdict"], two["verdict"]}
    if pair in ({"matters", "does not matter"}, {"pass", "fail"}):
        return True
    is_signed = one["unit"] in ("change", "difference")
    signs = [math.copysign(1, f["value"]) for f in (one, two) if f["value"]]
    return pair == {"matters"} and is_signed and len(set(signs)) > 1


def _parts(one: Mapping[str, Any], two: Mapping[str, Any], relation: Relation) -> Iterator[str]:
    name = one["id"]
    if one["owner"] != two["owner"]:
        yield f"{name}: owner {one['owner']} and {two['owner']}"
    is_turned = _turned(one, two)
    if is_turned or (relation.is_exact and one["verdict"] != two["verdict"]):
        yield f"{name}: verdict {one['verdict']} and {two['verdict']}"
    factor = relation.money_factor if (one["unit"] or "").isupper() else 1.0
    for part in ("value", "lower", "upper"):
        first, second = one[part], two[part]
        if first is None or second is None:
            if first is not second and not (first is None and second is None):
                yield f"{name}: {part} {first} and {second}"
            continue
        slack = 1e-6 * max(1.0, abs(first * factor))
        if not relation.is_exact and one["lower"] is not None:
            slack += NEAR_SHARE * abs(one["upper"] - one["lower"]) * factor
        elif not relation.is_exact:
            slack += NEAR_SHARE * abs(first * factor)
        if abs(first * factor - second) > slack:
            yield f"{name}: {part} {first * factor:g} and {second:g}"
