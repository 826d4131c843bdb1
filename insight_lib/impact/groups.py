"""Whether groups of customers answer a test differently, for any trait known before it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import combinations

import pandas as pd

from insight_lib.findings import UNIT_BOUNDS, Estimate, TooFew, unit_of_difference
from insight_lib.impact.effects import Effect, Metric, estimate_by_group
from insight_lib.impact.stratification import check_groups_differ
from insight_lib.statistics import benjamini_hochberg

_CLEAR = 0.05
SPEND_BANDS = "spend before the test"


@dataclass(frozen=True, kw_only=True)
class GroupAnswers:
    """One metric's effect by one trait.

    Attributes:
        p_value: Of Cochran's Q, that all groups answer alike.
        high, low: The two groups whose effects lie furthest apart.
        gap: Effect in `high` less that in `low`; its range holds for all pairs of all traits.
        n_traits: Traits that were examined, this one among them.
        is_clear: The groups differ, all traits judged together.
    """

    trait: str
    metric: Metric
    effects: Mapping[str, Effect]
    p_value: float
    high: str
    low: str
    gap: Estimate
    n_traits: int = 1
    is_clear: bool = False


def answer_by_traits(
    frame: pd.DataFrame,
    metric: Metric,
    traits: Mapping[str, str],
    *,
    as_of: date,
    seed: int,
    level: float = 0.95,
) -> tuple[GroupAnswers, ...]:
    """The effect by each trait, the clearest first, all traits judged together (Bonferroni).

    One group sure and another not is no difference (Gelman and Stern, 2006): the groups are held
    against each other, and the widest gap has a range wide enough for every pair of every trait.

    Args:
        frame: One row per customer of one arm and the control group.
        traits: Words for a trait, by its column; known before the assignment.

    Raises:
        TooFew: No trait has two groups with thirty customers in each arm.
    """
    tried: list[tuple[str, pd.DataFrame, Mapping[str, Effect], float]] = []
    for column in traits:
        if column not in frame:
            continue
        named = frame.assign(
            **{column: frame[column].astype(object).fillna("not known").astype(str)}
        )
        effects = estimate_by_group(
            named, metric, group=column, as_of=as_of, seed=seed, level=level
        )
        try:
            tried.append((column, named, effects, check_groups_differ(effects).p_value))
        except TooFew:
            continue
    every = [effect for _, _, effects, _ in tried for effect in effects.values()]
    stands = iter(benjamini_hochberg([e.p_value for e in every], rate=1 - level))
    found = []
    for column, named, alone, p in tried:
        effects = {name: replace(e, stands=next(stands)) for name, e in alone.items()}
        names = sorted(effects, key=lambda n: (effects[n].change.value, n))
        pairs = len(list(combinations(names, 2)))
        strict = estimate_by_group(
            named[named[column].isin([names[0], names[-1]])],
            metric,
            group=column,
            as_of=as_of,
            seed=seed,
            level=1 - (1 - level) / pairs / len(tried),
        )
        gap = _apart(strict[names[-1]].change, strict[names[0]].change)
        found.append(
            GroupAnswers(
                trait=traits[column],
                metric=metric,
                effects=effects,
                p_value=p,
                high=names[-1],
                low=names[0],
                gap=gap,
            )
        )
    if not found:
        raise TooFew("no trait has two groups with enough customers in both arms")
    clear = _CLEAR / len(found)
    judged = [replace(a, n_traits=len(found), is_clear=a.p_value < clear) for a in found]
    return tuple(sorted(judged, key=lambda a: (a.p_value, a.trait)))


def _apart(high: Estimate, low: Estimate) -> Estimate:
    """Difference of two effects; cut where its unit ends, as one of shares can pass that."""
    first, last = UNIT_BOUNDS.get(unit_of_difference(high.unit), (-math.inf, math.inf))
    value = high.value - low.value
    below = math.hypot(high.value - high.lower, low.upper - low.value)
    above = math.hypot(high.upper - high.value, low.value - low.lower)
    return replace(
        high,
        value=min(max(value, first), last),
        lower=max(value - below, first),
        upper=min(max(value + above, first), last),
        unit=unit_of_difference(high.unit),
        n=high.n + low.n,
        method=f"difference of two effects (Zou and Donner, 2008); {high.method}",
    )


def worth_telling(answers: Sequence[GroupAnswers]) -> tuple[GroupAnswers, ...]:
    """Every split whose groups differ; the clearest where none does."""
    clear = tuple(a for a in answers if a.is_clear)
    return clear or tuple(answers[:1])
