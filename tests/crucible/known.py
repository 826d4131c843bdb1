"""Worlds of which the truth is known: nothing is to be found, or something of a stated size.

Every finding that could claim something in a world is judged there: how often it claims what is
not so, how often its range holds what is so, how often it finds what was planted.
"""

from __future__ import annotations

import inspect
import re
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Any

from tests.crucible import results
from tests.crucible.desk import put_through
from tests.crucible.judge import judge
from tests.crucible.shops import ORDER_AMOUNT, Contracts, Plant, make_contracts, make_shop
from tests.crucible.sisters import Sisters, make_sisters
from tests.crucible.world import World


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What would be said if a kind of finding spoke.

    Attributes:
        ids: Pattern of the ids of its findings.
        says: Verdicts with which it claims something.
        direction: 1 or -1 where only a claim in this direction counts as found.
        beyond: The number that its range leaves out where it is claimed.
        is_rare: Whether it stands on a page only where it claims something.
    """

    stage: str
    ids: str
    says: tuple[str, ...] = ("matters",)
    direction: int = 0
    beyond: float | None = None
    is_rare: bool = False

    def made(self, findings: Sequence[Mapping[str, Any]]) -> bool | None:
        """Whether it is claimed; None where the page says that it cannot be measured."""
        mine = [f for f in findings if re.fullmatch(self.ids, f["id"])]
        if self.is_rare and findings and not mine:
            return False
        mine = [f for f in mine if f["verdict"] != "not measurable"]
        if not mine:
            return None
        return any(
            f["verdict"] in self.says
            and (not self.direction or (f["value"] or 0) * self.direction > 0)
            and (self.beyond is None or _leaves_out(f, self.beyond))
            for f in mine
        )


def _leaves_out(finding: Mapping[str, Any], number: float) -> bool:
    low, high = finding["lower"], finding["upper"]
    return low is not None and not low <= number <= high


@dataclass(frozen=True, kw_only=True)
class KnownWorld:
    """A kind of world.

    Attributes:
        make: Seed and plant to market, or to several of which the first is judged.
        plant: What it is made with.
        title: What is true of it, for readers.
        false: Claims that would be false there, by name.
        true: Claims that are true there, by name.
        numbers: Patterns of ids to the value that the simulator knows, or its name.
        stages: The stages that have a say.
    """

    make: Callable[[int, Any], World | list[World]]
    plant: Any
    title: str
    stages: tuple[str, ...]
    false: Mapping[str, Claim] = field(default_factory=dict)
    true: Mapping[str, Claim] = field(default_factory=dict)
    numbers: Mapping[str, float | str] = field(default_factory=dict)


def _claims(stage: str, says: tuple[str, ...], *ids: str, **more: Any) -> dict[str, Claim]:
    return {i: Claim(stage=stage, ids=i, says=says, **more) for i in ids}


_TEST = r"impact\.{}\.spring(\..*)?"
MOVES = _claims(
    "features",
    ("matters",),
    r"features\.revenue",
    r"features\.order_amount",
    r"features\.repeat_rate",
    r"features\.category_moves",
)
SEASONS = _claims(
    "features",
    ("matters",),
    r"features\.yearly_season",
    r"features\.week_rhythm",
    r"features\.local_days",
)
GROUPS_LEFT_OUT = _claims("features", ("review",), r"features\.excluded_groups")
SEGMENTS = _claims(
    "segments",
    ("matters",),
    r"segments\.found",
    r"segments\.difference",
    r"segments\.responsiveness",
    r"segments\.uses",
)
TRAIT_GAPS = _claims("prediction", ("matters",), r"prediction\.\w+\.gaps")
LEAKS = _claims("prediction", ("fail",), r"prediction\.leakage")
RANKINGS = _claims("prediction", ("matters",), r"prediction\.(lapse|repeat|category|value)")
WATCH = {
    **_claims(
        "monitoring",
        ("matters",),
        r"monitoring\.drift",
        r"monitoring\.scores",
        r"monitoring\.cause\.\w+",
    ),
    **_claims(
        "monitoring", ("fail",), r"monitoring\.surprise\.\w+", r"monitoring\.performance\.\w+"
    ),
    **_claims("monitoring", ("matters",), r"monitoring\.slice\.\w+", is_rare=True),
}
EFFECTS = _claims(
    "impact",
    ("matters",),
    _TEST.format("has_ordered"),
    _TEST.format("revenue"),
    _TEST.format("release"),
    _TEST.format("fading"),
    _TEST.format("groups"),
    _TEST.format("uplift"),
    _TEST.format("monitoring"),
    _TEST.format("value_per_contact"),
    r"impact\.split",
)
LOTTERY_CHECKS = _claims(
    "impact",
    ("fail", "review"),
    _TEST.format("sample_ratio"),
    _TEST.format("balance"),
    _TEST.format("attrition"),
    _TEST.format("carry_over"),
)
PROGRAMME = _claims("impact", ("matters",), r"impact\.programme", r"impact\.counterfactual")
BORROWED = _claims("transfer", ("matters",), r"features\.borrowed_\w+", direction=1)
LEANS = {
    **_claims("learning", ("review", "matters"), r"learning\.forecast\.\w+"),
    **_claims("learning", ("review",), r"learning\.slope\.\w+", beyond=1.0),
    **_claims("learning", ("matters",), r"learning\.forecast_groups\.\w+", is_rare=True),
}

ALL = (
    "features",
    "value",
    "segments",
    "prediction",
    "monitoring",
    "decisions",
    "impact",
    "learning",
)
# Ids of findings to the truth: a number, or the name of one that the maker of the world knows.
KNOWN_NUMBERS: Mapping[str, float | str] = {
    r"features\.order_amount": ORDER_AMOUNT,
    r"features\.repeat_rate": "repeat_share",
    r"features\.engagement": "silent_share",
    r"features\.week_rhythm": 1.0,
    r"features\.customer_value": "next_year_amount",
    r"monitoring\.cause\.\w+": 0.0,
    r"decisions\.stakes": 1.0,
    r"learning\.forecast\.\w+": 0.0,
    r"learning\.slope\.\w+": 1.0,
    r"impact\.has_ordered\.spring": 0.0,
    r"impact\.revenue\.spring": 0.0,
    r"impact\.value_per_contact\.spring": -0.01,
    r"impact\.groups\.spring\.\w+": 0.0,
    r"impact\.monitoring\.spring": 0.0,
    r"impact\.uplift\.spring": 0.0,
    r"impact\.returns": -1.0,
}


def _planted(claims: Mapping[str, Claim], name: str, direction: int = 0) -> dict[str, Claim]:
    old = claims[name]
    return {name: Claim(stage=old.stage, ids=old.ids, says=old.says, direction=direction)}


WORLDS: Mapping[str, KnownWorld] = {
    "flat_shop": KnownWorld(
        make=make_shop,
        plant=Plant(),
        title="A shop in which nothing changes: customers differ in how often they order, their "
        "traits have to do with nothing, and a campaign drawn by lot changed nothing",
        stages=ALL,
        false={
            **MOVES,
            **SEASONS,
            **GROUPS_LEFT_OUT,
            **_claims("features", ("matters",), r"features\.late_customers"),
            **SEGMENTS,
            **LEAKS,
            **WATCH,
            **EFFECTS,
            **LOTTERY_CHECKS,
            **LEANS,
        },
        numbers=KNOWN_NUMBERS,
    ),
    "short_history": KnownWorld(
        make=make_shop,
        plant=Plant(days=122),
        title="The shop in which nothing changes, of which 122 days are there: a window of 90 days "
        "has only 32 before it",
        stages=("features", "value", "impact"),
        false={**MOVES, **SEASONS, **EFFECTS, **LOTTERY_CHECKS},
    ),
    "a_broken_lottery": KnownWorld(
        make=make_shop,
        plant=Plant(is_by_lot=False),
        title="The same shop; those contacted were chosen for ordering often, which the records "
        "call a lottery, and the contact changed nothing",
        stages=("impact",),
        false={**EFFECTS},
        true={**_claims("impact", ("fail",), _TEST.format("balance"))},
    ),
    "moving_places": KnownWorld(
        make=make_shop,
        plant=Plant(n_customers=1600, days=560, n_places=16, place_noise=0.05, programme=0.0),
        title="Sales of sixteen places wander by themselves, and a programme in four of them "
        "changed nothing",
        stages=("impact",),
        false={**PROGRAMME, **_claims("impact", ("fail",), r"impact\.parallel")},
        numbers={r"impact\.programme": 0.0, r"impact\.counterfactual": 0.0},
    ),
    "a_programme": KnownWorld(
        make=make_shop,
        plant=Plant(n_customers=1600, days=560, n_places=16, place_noise=0.05, programme=0.3),
        title="The same, and the programme brought 30 % more orders where it ran",
        stages=("impact",),
        true={
            **_planted(PROGRAMME, r"impact\.programme", 1),
            **_planted(PROGRAMME, r"impact\.counterfactual", 1),
        },
        numbers={r"impact\.programme": 0.3, r"impact\.counterfactual": 0.3},
    ),
    "alike_customers": KnownWorld(
        make=make_shop,
        plant=Plant(rate_spread=None),
        title="The same, and every customer orders at the same rate: nobody can be told from "
        "anybody else",
        stages=("features", "segments", "prediction", "monitoring"),
        false={**SEGMENTS, **RANKINGS, **TRAIT_GAPS, **LEAKS, **WATCH},
    ),
    "wandering_level": KnownWorld(
        make=make_shop,
        plant=Plant(days=1100, level_noise=0.12),
        title="Sales wander from week to week without any season",
        stages=("features",),
        false={**SEASONS},
    ),
    "equal_causes": KnownWorld(
        make=make_contracts,
        plant=Contracts(),
        title="Contracts end for two reasons that are equally frequent, whatever the account",
        stages=("features", "value", "prediction"),
        false={
            **_claims("value", ("matters",), r"features\.churn_cause"),
            **_claims("prediction", ("matters",), r"prediction\.churn"),
            **LEAKS,
        },
        numbers={
            r"features\.contract_survival": "lives_24_months",
            r"features\.churn_cause": 0.0,
        },
    ),
    "a_rise": KnownWorld(
        make=make_shop,
        plant=Plant(recent_rate=1.3, recent_amount=1.25, recent_category=1.8),
        title="In the last 90 days orders are up by 30 %, amounts by 25 %, and one department of "
        "six is asked for 1.8 times as often",
        stages=("features",),
        true={
            **_planted(MOVES, r"features\.revenue", 1),
            **_planted(MOVES, r"features\.order_amount", 1),
            **_planted(MOVES, r"features\.category_moves"),
        },
    ),
    "a_season": KnownWorld(
        make=make_shop,
        plant=Plant(days=1100, season=0.4, weekday=1.0),
        title="The year swings by 40 % to both sides, and Saturdays sell twice as much",
        stages=("features",),
        true={
            **_planted(SEASONS, r"features\.yearly_season"),
            **_planted(SEASONS, r"features\.week_rhythm"),
        },
    ),
    "two_kinds": KnownWorld(
        make=make_shop,
        plant=Plant(kinds=True),
        title="Two kinds of customers: often, small and in one department; seldom, large and in "
        "another",
        stages=("features", "segments"),
        true={**_planted(SEGMENTS, r"segments\.found")},
        false={**_claims("segments", ("matters",), r"segments\.moves")},
        numbers={r"segments\.moves": 0.0},
    ),
    "an_effect": KnownWorld(
        make=make_shop,
        plant=Plant(n_customers=2000, effect=0.5),
        title="Those contacted order half as much again during the campaign",
        stages=("impact",),
        true={
            **_planted(EFFECTS, _TEST.format("has_ordered"), 1),
            **_planted(EFFECTS, _TEST.format("revenue"), 1),
        },
        false={**LOTTERY_CHECKS},
    ),
    "a_strange_young_market": KnownWorld(
        make=make_sisters,
        plant=Sisters(is_alike=False),
        title="In two mature markets 15 to 75 % of the customers of a channel come back; in a "
        "young one of 150 customers it is the other way round",
        stages=("features", "value", "transfer"),
        false={**BORROWED},
    ),
    "a_young_sister": KnownWorld(
        make=make_sisters,
        plant=Sisters(),
        title="The same, and the young market's channels are like those of the mature ones: it is "
        "to lean on them, whether or not the gain is sure",
        stages=("features", "value", "transfer"),
        true={name: replace(c, says=(*c.says, "cannot tell yet")) for name, c in BORROWED.items()},
    ),
    "a_leading_cause": KnownWorld(
        make=make_contracts,
        plant=Contracts(lead=2.5),
        title="Contracts end by choice 2.5 times as often as for want of payment",
        stages=("features", "value"),
        true={**_claims("value", ("matters",), r"features\.churn_cause")},
        numbers={r"features\.contract_survival": "lives_24_months"},
    ),
}


def prints_of(known: KnownWorld) -> dict[str, str]:
    """The state of the code of each stage, and of what makes the world."""
    maker = Path(inspect.getfile(known.make)).name
    return results.fingerprints(*{"shops.py", maker}, also=repr(known.plant))


def tasks(
    seeds: Sequence[int], only: Sequence[str], stages: Sequence[str] = ()
) -> list[tuple[str, int, tuple[str, ...]]]:
    """One task a world and seed; of these stages alone, if any are named."""
    names = [name for name in WORLDS if not only or name in only]
    return [(name, seed, tuple(stages)) for seed in seeds for name in names]


def try_once(task: tuple[str, int, tuple[str, ...]]) -> tuple[str, list[str], float]:
    """Put one world through the stages that have a say; its faults are crashes alone."""
    name, seed, named = task
    started = monotonic()
    campaign = f"known/{name}"
    known = WORLDS[name]
    prints = prints_of(known)
    wanted = [stage for stage in known.stages if not named or stage in named]
    own = {stage: prints[stage] for stage in wanted}
    stale = results.stale_stages(campaign, seed, own)
    if not stale:
        return f"{name} {seed}", [], 0.0
    made = known.make(seed, known.plant)
    worlds = made if isinstance(made, list) else [made]
    world = worlds[0]
    try:
        with tempfile.TemporaryDirectory() as folder:
            outcome = put_through(Path(folder), worlds, stages=results.to_run(stale, known.stages))
            stages = judge(outcome, world, prints)
    except Exception as error:
        return f"{name} {seed}", [f"{error!r} {traceback.format_exc(limit=-3)}"], 0.0
    found = results.WorldResult(seed=seed, about=dict(world.truth), stages=stages)
    results.keep(campaign, found)
    return f"{name} {seed}", found.faults, monotonic() - started
