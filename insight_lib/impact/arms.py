"""What one contacted arm of a test brought, what it may have harmed, and what may be done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum

import pandas as pd

from insight_lib.findings import TooFew, Verdict, judge
from insight_lib.impact.effects import Effect, Metric, estimate_effects
from insight_lib.impact.experiment import Experiment
from insight_lib.impact.fading import Fading, estimate_fading, orders_by_week
from insight_lib.impact.guard_rails import USUAL, GuardResult
from insight_lib.impact.influence import Hold, Influence, measure_influence
from insight_lib.impact.stratification import estimate_stratified
from insight_lib.statistics import in_points


class Release(StrEnum):
    """What may be done with an arm; every sentence of the page follows it."""

    ROLL_OUT = "roll out"
    WAIT = "not yet"
    OPEN = "no gain is sure"
    STOP = "stop"
    BROKEN = "a guard-rail is broken"


@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """One arm against those left alone.

    Attributes:
        guards: Guard-rails that could be judged; empty where none could.
        influence: Of spend; None where it could not be measured.
        agrees: Whether the effect of each metric points the same way, and is as sure, with
            customers of several arms counted; by column of the metric.
        provisional_until: Day until which returns may still change the result.
    """

    experiment: Experiment
    arm: str
    effects: tuple[Effect, ...]
    guards: tuple[GuardResult, ...] = ()
    fading: Fading | None = None
    influence: Influence | None = None
    other_ways: tuple[tuple[Effect, ...], ...] = ()
    provisional_until: date | None = None

    @property
    def name(self) -> str:
        return self.experiment.name(self.arm)

    @property
    def n_contacted(self) -> int:
        return int((self.experiment.frame["arm"] == self.arm).sum())

    def effect(self, column: str) -> Effect | None:
        return next((e for e in self.effects if e.metric.column == column), None)

    def agrees(self, effect: Effect) -> bool:
        """Whether counting customers of several arms leaves the effect's ending as it is."""
        endings = {_sign(effect)}
        for way in self.other_ways:
            endings |= {_sign(e) for e in way if e.metric.column == effect.metric.column}
        return len(endings) == 1

    def verdict(self, effect: Effect) -> Verdict:
        """The ending of one metric, with all that rests on doubt taken into account."""
        verdict = judge(in_points(effect.change), smallest_in_unit(effect))
        is_open = (
            (verdict is Verdict.MATTERS and not effect.stands)
            or not self.agrees(effect)
            or (effect.metric.kind == "heavy" and self.is_carried)
            or self.provisional_until is not None
        )
        return Verdict.CANNOT_TELL if is_open else verdict

    @property
    def is_carried(self) -> bool:
        return self.influence is not None and self.influence.hold is Hold.CARRIED

    @property
    def won(self) -> tuple[str, ...]:
        """Metrics that surely rose by enough."""
        return tuple(
            e.metric.name
            for e in self.effects
            if self.verdict(e) is Verdict.MATTERS and e.change.value > 0
        )

    @property
    def lost(self) -> tuple[str, ...]:
        """Metrics that surely fell by enough."""
        return tuple(
            e.metric.name
            for e in self.effects
            if self.verdict(e) is Verdict.MATTERS and e.change.value < 0
        )

    @property
    def holds(self) -> tuple[str, ...]:
        """Why a gain may not be rolled out yet; empty where nothing holds it back."""
        found = list(self.experiment.integrity.doubts)
        if self.provisional_until is not None:
            found.append("what was bought may still come back")
        if self.fading is not None and self.fading.is_fading:
            found.append("the gain fades within the test")
        if self.is_carried:
            found.append("the gain in spend hangs on a few customers")
        if not self.guards:
            found.append("what it may harm could not be measured")
        if unclear := [g.rail.metric.name for g in self.guards if g.verdict is Verdict.CANNOT_TELL]:
            found.append(f"harm is not ruled out in {', '.join(unclear)}")
        return tuple(found)

    @property
    def kept(self) -> tuple[str, ...]:
        """Guard-rails that were measured and are surely kept."""
        return tuple(g.rail.metric.name for g in self.guards if g.verdict is Verdict.PASS)

    @property
    def unguarded(self) -> tuple[str, ...]:
        """Usual guard-rails that could not be measured: of these no harm is ruled out."""
        measured = {g.rail.metric.name for g in self.guards}
        return tuple(name for name in USUAL if name not in measured)

    @property
    def broken(self) -> tuple[str, ...]:
        return tuple(g.rail.metric.name for g in self.guards if g.verdict is Verdict.FAIL)

    @property
    def release(self) -> Release:
        if self.lost:
            return Release.STOP
        if self.broken:
            return Release.BROKEN
        if not self.won:
            return Release.OPEN
        return Release.WAIT if self.holds else Release.ROLL_OUT


def smallest_in_unit(effect: Effect) -> float:
    """The smallest change that matters, in the unit in which the change is said."""
    smallest = effect.metric.smallest_change_that_matters
    return smallest * 100 if in_points(effect.change).unit == "points" else smallest


def _sign(effect: Effect) -> int:
    return int(effect.change.lower > 0) - int(effect.change.upper < 0)


def estimate_test(
    experiment: Experiment,
    metrics: Sequence[Metric],
    orders: pd.DataFrame,
    *,
    provisional_until: date | None = None,
    as_of: date,
    seed: int,
    level: float = 0.95,
) -> tuple[ArmResult, ...]:
    """Every arm of a test on every metric, each with its own answer, all judged together.

    Raises:
        TooFew: An arm has fewer than thirty customers, or nothing can be told of any metric.
    """
    effects = _effects(experiment, experiment.frame, metrics, as_of=as_of, seed=seed, level=level)
    ways = [
        _effects(experiment, way, metrics, as_of=as_of, seed=seed, level=level)
        for way in experiment.both_ways
    ]
    heavy = next((m for m in metrics if m.kind == "heavy"), None)
    # As wide as the effects of several arms, so that no number has two ranges on a page.
    strict = experiment.level_of_each(level)
    found = []
    for arm in experiment.arms:
        pair = experiment.pair(arm)
        influence = fading = None
        has_whole_arms = experiment.stratum is None  # else whole arms are not to be compared
        if heavy is not None and has_whole_arms:
            try:
                influence = measure_influence(
                    pair, heavy, arm=arm, as_of=as_of, seed=seed, level=strict
                )
            except TooFew:
                influence = None
        try:
            if not has_whole_arms:
                raise TooFew("arms are compared within strata")
            counts = orders_by_week(
                pair, orders, experiment.entries, days=experiment.follow_up.days
            )
            fading = estimate_fading(
                counts, pair["is_treated"].to_numpy(dtype=bool), as_of=as_of, level=level
            )
        except TooFew:
            fading = None
        found.append(
            ArmResult(
                experiment=experiment,
                arm=arm,
                effects=tuple(e for e in effects if e.arm == arm),
                fading=fading,
                influence=influence,
                other_ways=tuple(tuple(e for e in way if e.arm == arm) for way in ways),
                provisional_until=provisional_until,
            )
        )
    return tuple(found)


def _effects(
    experiment: Experiment,
    frame: pd.DataFrame,
    metrics: Sequence[Metric],
    *,
    as_of: date,
    seed: int,
    level: float,
) -> tuple[Effect, ...]:
    """Arms against control; within strata where the lottery had shares of their own there."""
    effects = estimate_effects(frame, metrics, as_of=as_of, seed=seed, level=level)
    if experiment.stratum is None:
        return effects
    strict = experiment.level_of_each(level)
    within = []
    for effect in effects:
        if effect.metric.kind == "ratio":
            within.append(effect)
            continue
        change = estimate_stratified(
            experiment.pair(effect.arm, frame),
            effect.metric,
            stratum=experiment.stratum,
            as_of=as_of,
            level=strict,
        ).change
        within.append(
            replace(
                effect, change=replace(change, unit=effect.change.unit), stands=change.excludes(0)
            )
        )
    return tuple(within)
