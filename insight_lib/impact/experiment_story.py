"""Tests drawn by lot, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from insight_lib.findings import (
    Check,
    Finding,
    Measured,
    Prose,
    Table,
    Tile,
    Tiles,
    Verdict,
    change_phrase,
    judge,
)
from insight_lib.impact.design import NextTest
from insight_lib.impact.effects import Effect
from insight_lib.impact.guard_rails import GuardResult, judge_release
from insight_lib.impact.inputs import Campaign
from insight_lib.impact.sequential import Monitoring
from insight_lib.impact.stratification import Difference
from insight_lib.statistics import in_points

_TEST = ("assignments", "campaigns", "transactions")


def is_winning(effect: Effect) -> bool:
    """Whether a metric surely rose by enough, all metrics of the test judged together."""
    smallest = effect.metric.smallest_change_that_matters
    return effect.stands and effect.change.lower >= smallest


def held_back(guards: Sequence[GuardResult]) -> str | None:
    """Why a test may not be rolled out even if it wins; None if every guard-rail is kept."""
    if judge_release(True, guards) is Verdict.PASS or not guards:
        return None
    is_broken = any(g.verdict is Verdict.FAIL for g in guards)
    return (
        "Do not roll out: a guard-rail is broken."
        if is_broken
        else "Do not roll out yet: harm to a guard-rail is not ruled out."
    )


def describe_effect(
    effect: Effect, campaign: Campaign, *, guards: Sequence[GuardResult] = ()
) -> Finding:
    """Did a campaign drawn by lot move a metric, in words with their ending."""
    change = in_points(effect.change)
    smallest = effect.metric.smallest_change_that_matters
    smallest = smallest * 100 if effect.change.unit == "share" else smallest
    verdict = judge(change, smallest)
    if verdict is Verdict.MATTERS and not effect.stands:
        verdict = Verdict.CANNOT_TELL
    advice = {
        Verdict.MATTERS: (held_back(guards) or "Repeat it.") if change.value > 0 else "Stop it.",
        Verdict.DOES_NOT_MATTER: "Spend the budget elsewhere; a larger test would not change this.",
        Verdict.CANNOT_TELL: "Do not decide on this alone: test again with more customers.",
    }[verdict]
    return Finding(
        id=f"impact.{effect.metric.column}",
        rows=("C8.1", "C8.2"),
        statement=Prose(
            "{campaign}, {metric}: {change}.",
            campaign=campaign.name,
            metric=effect.metric.name,
            change=change_phrase(change, smallest),
        ),
        verdict=verdict,
        owner="crm-lead",
        evidence=_TEST,
        value=change,
        good="up",
        so_what=Prose(
            "{advice} Contacted {treated}, left alone {control}.",
            advice=advice,
            treated=effect.treated,
            control=effect.control,
        ),
        due=change.as_of + timedelta(days=30),
        weight=4.0 if effect.stands else 2.0,
    )


def effect_tiles(effects: Sequence[Effect], campaign: Campaign) -> Tiles:
    """One tile per metric."""
    return Tiles(
        tuple(
            Tile(
                label=f"{effect.metric.name.capitalize()}, {campaign.name}",
                value=in_points(effect.change),
                good="up",
                change=effect.change,
                note=Prose("Without contact {control}", control=effect.control),
            )
            for effect in effects
        )
    )


def describe_monitoring(result: Monitoring, campaign: Campaign, *, metric: str) -> Finding:
    """When could we have known, looking every day."""
    change = in_points(result.looks[-1].change)
    if result.stop:
        statement = Prose(
            "Looking every day, {campaign} was sure to change {metric} from {day} on.",
            campaign=campaign.name,
            metric=metric,
            day=result.stop.looked_on,
        )
    elif result.peeking_stop:
        statement = Prose(
            "On {day} {campaign} looked like a change of {metric}; a daily look may not claim it.",
            day=result.peeking_stop.looked_on,
            campaign=campaign.name,
            metric=metric,
        )
    else:
        statement = Prose(
            "No day of {campaign} showed a change of {metric}.",
            campaign=campaign.name,
            metric=metric,
        )
    return Finding(
        id="impact.monitoring",
        rows=("C8.1",),
        statement=statement,
        verdict=result.verdict,
        owner="analyst",
        evidence=_TEST,
        value=change,
        good="up",
        so_what=Prose(
            "{advice} At the end, safe for daily looks: {change:range}.",
            advice="The test could stop there." if result.stop else "Run tests to their end.",
            change=change,
        ),
        weight=1.5,
    )


def describe_release(
    effects: Sequence[Effect], guards: Sequence[GuardResult], campaign: Campaign
) -> Finding:
    """Roll out or not: what was won, and what it may have cost."""
    won = [effect.metric.name for effect in effects if is_winning(effect)]
    broken = _names(guards, Verdict.FAIL)
    unclear = _names(guards, Verdict.CANNOT_TELL)
    ending = judge_release(bool(won), guards)
    verdict = Verdict.CANNOT_TELL if ending is Verdict.CANNOT_TELL else Verdict.MATTERS
    if broken:
        statement = Prose(
            "Do not roll out {campaign}: worse than we accept in {names}.",
            campaign=campaign.name,
            names=broken,
        )
        advice = "Change the offer, then test again."
    elif ending is Verdict.PASS:
        statement = Prose(
            "Roll out {campaign}: it won, and harmed nothing.", campaign=campaign.name
        )
        advice = "Every guard-rail is surely kept."
    elif won:
        statement = Prose(
            "Do not roll out {campaign} yet: harm is not ruled out in {names}.",
            campaign=campaign.name,
            names=unclear,
        )
        advice = "Test on with more customers until each guard-rail is surely kept."
    else:
        statement = Prose(
            "{campaign} is not ready to roll out: no gain is sure.", campaign=campaign.name
        )
        advice = (
            f"Harm is not ruled out in {unclear}."
            if unclear
            else "It harmed nothing that we guard: testing on is safe."
        )
    first = guards[0].harm
    return Finding(
        id="impact.release",
        rows=("C8.1",),
        statement=statement,
        verdict=verdict,
        owner="crm-lead",
        evidence=_TEST,
        so_what=Prose("Won: {won}. {advice}", won=", ".join(won) or "nothing", advice=advice),
        due=first.as_of + timedelta(days=30),
        weight=5.5 if broken or ending is Verdict.PASS else 3.6,
    )


def _names(guards: Sequence[GuardResult], verdict: Verdict) -> str:
    return ", ".join(g.rail.metric.name for g in guards if g.verdict is verdict)


def guard_table(guards: Sequence[GuardResult]) -> Table:
    """Each guard-rail: both arms, the harm, what is accepted, and the ending."""
    words = {
        Verdict.PASS: "surely kept",
        Verdict.FAIL: "surely broken",
        Verdict.CANNOT_TELL: "cannot tell yet",
    }

    def row(g: GuardResult) -> tuple[str, ...]:
        harm = in_points(g.harm)
        margin = in_points(
            Measured(value=g.rail.margin, unit=g.harm.unit, n=g.harm.n, as_of=g.harm.as_of)
        )
        return (
            g.rail.metric.name.capitalize(),
            str(Prose("{v}", v=g.effect.treated)),
            str(Prose("{v}", v=g.effect.control)),
            str(Prose("{v:range}", v=harm)),
            str(Prose("{v}", v=margin)),
            words[g.verdict],
        )

    return Table(
        title="What the test may not cost",
        columns=("Guard-rail", "Contacted", "Left alone", "Harm, likely", "Accepted", "Ending"),
        rows=tuple(row(g) for g in guards),
        note=(
            "Harm is the change for the worse; its upper end is exceeded in one test of twenty. "
            "Each guard-rail must be kept, so a wrong release is no likelier with many."
        ),
    )


def describe_groups(
    effects: Mapping[str, Effect], differ: Difference, campaign: Campaign
) -> Finding:
    """Where a test worked, and whether groups of customers answer differently."""
    standing = ", ".join(name for name, effect in effects.items() if effect.stands)
    widest = max(effects.values(), key=lambda e: (e.change.upper - e.change.lower, e.arm))
    metric = widest.metric.name
    if differ.is_clear and standing:
        statement = Prose(
            "{campaign} surely moved {metric} among {names}; groups differ.",
            campaign=campaign.name,
            metric=metric,
            names=standing,
        )
        verdict, advice = Verdict.MATTERS, "Contact where it works first."
    elif differ.is_clear:
        statement = Prose(
            "Groups answer {campaign} differently, but none alone is sure.", campaign=campaign.name
        )
        verdict, advice = Verdict.CANNOT_TELL, "Test again with more customers in each group."
    elif standing:
        statement = Prose(
            "{campaign} surely moved {metric} among {names}; no group is seen to differ.",
            campaign=campaign.name,
            metric=metric,
            names=standing,
        )
        verdict, advice = Verdict.CANNOT_TELL, "Leave no group out for this alone."
    else:
        statement = Prose(
            "No group of customers surely answers {campaign} in {metric}.",
            campaign=campaign.name,
            metric=metric,
        )
        verdict, advice = Verdict.CANNOT_TELL, "Judge the test as a whole, not by group."
    best = max(effects.items(), key=lambda item: (item[1].change.value, item[0]))
    return Finding(
        id="impact.groups",
        rows=("C8.1", "C8.2"),
        statement=statement,
        verdict=verdict,
        owner="crm-lead",
        evidence=_TEST,
        value=in_points(best[1].change),
        good="up",
        so_what=Prose(
            "{advice} Groups go by spend before the test. Highest by its middle: {name}, "
            "{change:full}.",
            advice=advice,
            name=best[0],
            change=in_points(best[1].change),
        ),
        weight=2.2,
    )


def describe_next_test(plans: Sequence[NextTest]) -> Check:
    """How long the next test takes in this market, by the metric that takes least."""
    best = min(plans, key=lambda p: (p.weeks is None, p.weeks or 0, p.design.n_needed))
    detectable = best.design.detectable

    def counted(value: float, unit: str = "count") -> Measured:
        return Measured(value=value, unit=unit, n=best.n_available, as_of=detectable.as_of)

    smallest = in_points(counted(best.design.smallest_effect_that_matters, detectable.unit))
    if best.weeks is None:
        statement = Prose(
            "No test within {weeks} shows the change that matters.",
            weeks=counted(best.longest_weeks, "weeks"),
        )
        advice = Prose(
            "Of {metric}, all {n} customers by then show changes from {detectable} on, not "
            "{smallest}. Test a bolder offer, or decide that smaller changes do not matter.",
            metric=best.metric_name,
            n=counted(best.n_in_time),
            detectable=in_points(detectable),
            smallest=smallest,
        )
    else:
        statement = Prose(
            "The next test takes {weeks} and {needed} customers.",
            weeks=counted(best.weeks, "weeks"),
            needed=counted(best.design.n_needed),
        )
        advice = Prose(
            "It then shows a change of {metric} by {smallest}. {available} could enter today, and "
            "{arriving} more a week.",
            metric=best.metric_name,
            smallest=smallest,
            available=counted(best.n_available),
            arriving=counted(round(best.customers_per_week)),
        )
    return Check(
        id="impact.next_test",
        rows=("C8.1",),
        statement=statement,
        verdict=Verdict.REVIEW if best.weeks is None else Verdict.PASS,
        owner="analyst",
        evidence=("transactions",),
        so_what=advice,
    )


def next_test_table(plans: Sequence[NextTest]) -> Table:
    """Customers and weeks that the next test takes, by metric."""

    def row(plan: NextTest) -> tuple[str, ...]:
        detectable = plan.design.detectable

        def text(value: float, unit: str) -> str:
            number = Measured(value=value, unit=unit, n=plan.n_available, as_of=detectable.as_of)
            return str(Prose("{v}", v=in_points(number)))

        return (
            plan.metric_name.capitalize(),
            text(plan.design.smallest_effect_that_matters, detectable.unit),
            text(plan.design.n_needed, "count"),
            text(plan.n_available, "count"),
            text(round(plan.customers_per_week), "count"),
            "too long" if plan.weeks is None else text(plan.weeks, "weeks"),
            text(detectable.value, detectable.unit),
        )

    return Table(
        title="What the next test takes",
        columns=(
            "Measure",
            "Change that matters",
            "Customers needed",
            "There today",
            "New a week",
            "Takes",
            f"Shown in {plans[0].longest_weeks} weeks",
        ),
        rows=tuple(row(plan) for plan in plans),
        note=(
            "Half are contacted; habits before are taken out. Weeks count the time to gather "
            "customers and the window in which each is watched."
        ),
    )
