"""Tests drawn by lot, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta

import pandas as pd

from insight_lib.findings import (
    Estimate,
    Finding,
    Measured,
    Prose,
    Table,
    Tile,
    Tiles,
    Value,
    Verdict,
    change_phrase,
    format_number,
    format_range,
)
from insight_lib.impact.arms import ArmResult, Release, smallest_in_unit
from insight_lib.impact.effects import Effect
from insight_lib.impact.experiment import Experiment
from insight_lib.impact.guard_rails import GuardResult
from insight_lib.impact.inputs import Campaign, slug
from insight_lib.impact.sequential import Monitoring
from insight_lib.statistics import in_points

_TEST = ("assignments", "campaigns", "transactions")


def finding_id(name: str, result: ArmResult) -> str:
    """Id of a finding of one arm: the test's name, and the arm's where there are several."""
    parts = ["impact", name, slug(result.experiment.campaign.id)]
    if len(result.experiment.arms) > 1:
        parts.append(slug(result.arm))
    return ".".join(parts)


def joined(parts: Sequence[str]) -> str:
    """Parts of a sentence: "a", "a and b", "a, b and c"."""
    return " and ".join([*([", ".join(parts[:-1])] if parts[:-1] else []), *parts[-1:]])


def held_back(result: ArmResult) -> str | None:
    """Why an arm may not be rolled out although it gained; None if nothing holds it back."""
    match result.release:
        case Release.STOP:
            return f"Do not roll out: {joined(result.lost)} fell."
        case Release.BROKEN:
            return "Do not roll out: a guard-rail is broken."
        case _ if result.holds:
            return f"Do not roll out yet: {'; '.join(result.holds)}."
    return None


def _advice(effect: Effect, result: ArmResult, verdict: Verdict) -> str:
    match verdict:
        case Verdict.MATTERS if effect.change.value > 0:
            return held_back(result) or "Repeat it."
        case Verdict.MATTERS:
            return "Stop it."
        case Verdict.DOES_NOT_MATTER:
            return "Spend the budget elsewhere; a larger test would not change this."
    if result.provisional_until is not None:
        return "Decide nothing on it yet."
    if not result.agrees(effect):
        return "It hangs on the arm in which customers of several arms are counted."
    if effect.metric.kind == "heavy" and result.is_carried:
        return "It hangs on a few customers: do not decide on it."
    return "Do not decide on this alone: test again with more customers."


def describe_effect(effect: Effect, result: ArmResult) -> Finding:
    """Did one arm of a test move a metric, in words with their ending."""
    change = in_points(effect.change)
    verdict = result.verdict(effect)
    follow, n_arms = result.experiment.follow_up, len(result.experiment.arms)
    n, as_of = change.n, change.as_of
    extra = Prose("")
    if result.provisional_until is not None:
        extra = Prose(
            " Provisional until {day}: what was bought may still come back.",
            day=result.provisional_until,
        )
    if follow.is_equal:
        extra = Prose(
            "{extra} Each customer is followed for {days} from the assignment.",
            extra=extra,
            days=Measured(value=follow.days, unit="days", n=n, as_of=as_of),
        )
    if n_arms > 1:
        extra = Prose(
            "{extra} Ranges are widened for {arms} arms.",
            extra=extra,
            arms=Measured(value=n_arms, unit="count", n=n, as_of=as_of),
        )
    return Finding(
        id=finding_id(effect.metric.column, result),
        rows=("C8.1", "C8.2"),
        statement=Prose(
            "{name}, {metric}: {change}.",
            name=result.name,
            metric=effect.metric.name,
            change=change_phrase(change, smallest_in_unit(effect)),
        ),
        verdict=verdict,
        owner="crm-lead",
        evidence=_TEST,
        value=change,
        good="up",
        so_what=Prose(
            "{advice} Contacted {treated}, left alone {control}.{extra}",
            advice=_advice(effect, result, verdict),
            treated=effect.treated,
            control=effect.control,
            extra=extra,
        ),
        due=change.as_of + timedelta(days=30),
        weight=4.0 if effect.stands else 2.0,
    )


def describe_withheld(experiment: Experiment, *, as_of: date) -> Finding:
    """A test that did not run fair: nothing of it is said but why."""
    campaign = experiment.campaign
    return Finding(
        id=f"impact.withheld.{slug(campaign.id)}",
        rows=("C8.1", "C8.2"),
        statement=Prose(
            "The result of {campaign} is withheld: {reasons}.",
            campaign=campaign.name,
            reasons="; ".join(experiment.faults),
        ),
        verdict=Verdict.REVIEW,
        owner="analyst",
        evidence=_TEST,
        so_what=Prose(
            "Find out what went wrong with the lottery or the log before anybody decides by this "
            "test; see the checks. If the lottery had shares of its own in parts of the market, "
            "name them in impact.test_strata."
        ),
        due=as_of + timedelta(days=30),
        weight=5.2,
    )


def describe_running(campaign: Campaign, assigned: pd.DataFrame, *, as_of: date) -> Finding:
    """A test that is not over: what it has seen so far, and no ending."""
    seen_days = (as_of - campaign.start).days + 1
    n = campaign.n_assigned

    def count(value: float, unit: str = "count") -> Measured:
        return Measured(value=value, unit=unit, n=n, as_of=as_of)

    sizes = assigned.groupby("arm")["customer_id"].nunique().sort_index()
    arms = [
        str(Prose("{n} in {arm}", n=count(size), arm=str(arm).replace("_", " ")))
        for arm, size in sizes.items()
    ]
    return Finding(
        id=f"impact.running.{slug(campaign.id)}",
        rows=("C8.1",),
        statement=Prose(
            "{campaign} runs until {end}; {seen} of {days} seen.",
            campaign=campaign.name,
            end=campaign.end,
            seen=count(seen_days),
            days=count(campaign.days, "days"),
        ),
        verdict=Verdict.CANNOT_TELL,
        owner="crm-lead",
        evidence=_TEST,
        so_what=Prose(
            "Assigned so far: {arms}. Let it run: its result is read when it is over.",
            arms=joined(arms),
        ),
        due=campaign.end + timedelta(days=1),
        weight=2.6,
    )


def effect_tiles(result: ArmResult) -> Tiles:
    """One tile per metric."""
    return Tiles(
        tuple(
            Tile(
                label=f"{effect.metric.name.capitalize()}, {result.name}",
                value=in_points(effect.change),
                good="up",
                change=in_points(effect.change),
                smallest_change_that_matters=smallest_in_unit(effect),
                note=Prose("Without contact {control}", control=effect.control),
            )
            for effect in result.effects
        )
    )


def describe_monitoring(result: Monitoring, arm: ArmResult) -> Finding:
    """When could we have known, looking every day; the words follow the range at the end.

    Orders are said per hundred customers, so that a rate of two in a hundred has digits enough.
    """
    last = result.looks[-1].change
    change = replace(last, value=last.value * 100, lower=last.lower * 100, upper=last.upper * 100)
    metric = "orders per hundred customers"
    day, is_sure = None, last.excludes(0)
    if result.stop and is_sure:
        day = result.stop.looked_on
        statement = "Looking every day, {name} was sure to change {metric} from {day} on."
    elif result.stop:
        day = result.stop.looked_on
        statement = (
            "On {day} {name} looked sure to change {metric}; by the end it is not sure any more."
        )
    elif result.peeking_stop:
        day = result.peeking_stop.looked_on
        statement = (
            "On {day} {name} looked like a change of {metric}; a daily look may not claim it."
        )
    else:
        statement = "No day of {name} showed a change of {metric}."
    fades = arm.fading is not None and arm.fading.is_fading
    advice = "Run tests to their end."
    if result.stop and is_sure and not fades and arm.release is Release.ROLL_OUT:
        advice = "The test could have stopped there."
    elif fades:
        advice = "Run tests to their end: this one faded after it looked sure."
    is_open = arm.provisional_until is not None
    if is_open:
        advice = "What was bought may still come back, so this is not the end of it."
    values: dict[str, Value] = {"name": arm.name, "metric": metric}
    return Finding(
        id=finding_id("monitoring", arm),
        rows=("C8.1",),
        statement=Prose(statement, **values, **({"day": day} if day else {})),
        verdict=result.verdict if is_sure and not fades and not is_open else Verdict.CANNOT_TELL,
        owner="analyst",
        evidence=_TEST,
        value=change,
        good="up",
        so_what=Prose(
            "{advice} At the end, safe for daily looks: {change:range} per hundred customers.",
            advice=advice,
            change=change,
        ),
        weight=1.5,
    )


def describe_fading(result: ArmResult) -> Finding | None:
    """A gain that fades, said before anything is rolled out; None where none is seen to."""
    fading = result.fading
    if fading is None or not fading.is_fading:
        return None
    as_of, n = fading.fall.as_of, fading.fall.n
    weeks = Measured(value=fading.n_early, unit="weeks", n=n, as_of=as_of)
    return Finding(
        id=finding_id("fading", result),
        rows=("C8.1",),
        statement=Prose(
            "The gain of {name} fades: orders per customer {early:signed} in the first {weeks}, "
            "{late:signed} in the last {weeks} (likely {late:range}).",
            name=result.name,
            early=fading.early,
            late=fading.late,
            weeks=weeks,
        ),
        verdict=Verdict.MATTERS,
        owner="crm-lead",
        evidence=_TEST,
        value=fading.fall,
        good="down",
        so_what=Prose(
            "Do not roll out on the whole test's gain: it may be novelty, or orders brought "
            "forward. From the first to the last weeks it fell by {fall:full} orders per customer.",
            fall=fading.fall,
        ),
        due=as_of + timedelta(days=30),
        weight=5.4,
    )


def week_table(result: ArmResult) -> Table | None:
    """The effect week by week; None where the test is too short for it."""
    if result.fading is None:
        return None
    return Table(
        title=f"{result.name}: change of orders per hundred customers by week",
        columns=("Week", "Change", "Likely"),
        rows=tuple(
            (
                f"{number}",
                format_number(week.value * 100, "ratio", 1),
                " to ".join(format_number(v * 100, "ratio", 1) for v in (week.lower, week.upper)),
            )
            for number, week in enumerate(result.fading.weeks, start=1)
        ),
        note="Weeks count from each customer's start; ranges are widened for the number of weeks.",
    )


def _not_guarded(result: ArmResult) -> str:
    """Harms that nobody could look for; empty where all usual ones were measured."""
    if not result.unguarded:
        return ""
    return f"Harm could not be measured in {joined(result.unguarded)}."


def describe_release(result: ArmResult) -> Finding:
    """Roll out or not: what was won, what it may have cost, and what holds it back."""
    name, won = result.name, joined(result.won) or "nothing"
    verdict, weight = Verdict.MATTERS, 5.5
    match result.release:
        case Release.STOP:
            statement = Prose(
                "Stop {name}: it lowered {lost}.", name=name, lost=joined(result.lost)
            )
            advice = "Do not repeat it as it is."
        case Release.BROKEN:
            statement = Prose(
                "Do not roll out {name}: worse than we accept in {names}.",
                name=name,
                names=joined(result.broken),
            )
            advice = "Change the offer, then test again."
        case Release.ROLL_OUT:
            unchecked = joined(result.experiment.integrity.unchecked)
            statement = Prose(
                "Roll out {name}: it won, and surely kept {kept} within what we accept{unchecked}.",
                name=name,
                kept=joined(result.kept),
                unchecked=f"; not checked: {unchecked}" if unchecked else "",
            )
            advice = _not_guarded(result) or "Every guard-rail was measured."
        case Release.WAIT:
            statement = Prose(
                "Do not roll out {name} yet: {reasons}.", name=name, reasons="; ".join(result.holds)
            )
            verdict, weight = Verdict.CANNOT_TELL, 3.6
            advice = "Clear that up, or test on, before money follows the gain."
        case Release.OPEN:
            statement = Prose("{name} is not ready to roll out: no gain is sure.", name=name)
            verdict, weight = Verdict.CANNOT_TELL, 3.6
            unclear = [r for r in result.holds if r.startswith("harm")]
            if unclear:
                advice = f"Also, {unclear[0]}."
            elif result.guards:
                advice = f"Surely kept within what we accept: {joined(result.kept)}."
                advice += f" {extra}" if (extra := _not_guarded(result)) else ""
            else:
                advice = "What it may harm could not be measured."
    if result.provisional_until is not None:
        statement = Prose(
            "{name} is provisional until {day}: what was bought may still come back.",
            name=name,
            day=result.provisional_until,
        )
        verdict, weight = Verdict.CANNOT_TELL, 3.6
        advice = "Read it again then."
    as_of = result.effects[0].change.as_of
    return Finding(
        id=finding_id("release", result),
        rows=("C8.1",),
        statement=statement,
        verdict=verdict,
        owner="crm-lead",
        evidence=_TEST,
        so_what=Prose("Won: {won}. {advice}", won=won, advice=advice),
        due=as_of + timedelta(days=30),
        weight=weight,
    )


def describe_responses(share: Estimate, campaign: Campaign) -> Finding:
    """Answers to a campaign that left nobody alone: a share, and no effect."""
    return Finding(
        id=f"impact.responses.{slug(campaign.id)}",
        rows=("C8.1",),
        statement=Prose(
            "{share} of the customers of {campaign} answered it (likely {share:range}).",
            share=share,
            campaign=campaign.name,
        ),
        verdict=Verdict.CANNOT_TELL,
        owner="crm-lead",
        evidence=("assignments", "campaigns", "responses"),
        value=share,
        so_what=Prose(
            "This describes who answered, and not what the campaign brought: nobody was left alone "
            "by lot to compare with. Next time leave some out by lot."
        ),
        weight=1.4,
    )


def response_table(shares: Sequence[tuple[Campaign, Estimate]]) -> Table | None:
    """Answers to all campaigns that left nobody alone; None where there is none."""
    if not shares:
        return None
    return Table(
        title="Who answered campaigns without a control group",
        columns=("Campaign", "Customers", "Answered", "Likely"),
        rows=tuple(
            (
                campaign.name,
                f"{share.n:,}",
                format_number(share.value, share.unit),
                format_range(share),
            )
            for campaign, share in shares
        ),
        note="Who answered, and not what a campaign brought.",
    )


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
