"""What was not drawn by lot, in words."""

from __future__ import annotations

from datetime import date, timedelta

from insight_lib.findings import (
    Check,
    Estimate,
    Finding,
    Measured,
    Prose,
    Tile,
    Tiles,
    Verdict,
    change_phrase,
    judge,
)
from insight_lib.impact.counterfactual import EventStudy, SideBySide
from insight_lib.impact.inputs import Campaign
from insight_lib.impact.targeted import Targeted

_TEST = ("assignments", "campaigns", "transactions")


def describe_targeted(
    result: Targeted, campaign: Campaign, *, window_days: int, smallest_change: float
) -> Finding:
    """What a campaign sent by choice did, with the choice said aloud."""
    days = Measured(value=window_days, unit="days", n=1, as_of=result.adjusted.as_of)
    if not result.is_explained:
        verdict = Verdict.CANNOT_TELL
        statement = Prose(
            "What {campaign} brought cannot be told from why its customers were chosen.",
            campaign=campaign.name,
        )
        advice = Prose(
            "Among customers alike in past spend {adjusted} is left, but the same comparison finds "
            "{placebo:range} in an older window, when nothing was sent: the choice follows "
            "something that we do not see.",
            adjusted=result.adjusted,
            placebo=result.placebo,
        )
    else:
        verdict = judge(result.adjusted, smallest_change)
        statement = Prose(
            "{campaign}, spend per customer in {days}: {change}.",
            campaign=campaign.name,
            days=days,
            change=change_phrase(result.adjusted, smallest_change),
        )
        advice = Prose(
            "In an older window the same comparison finds no sure difference ({placebo:range}).",
            placebo=result.placebo,
        )
    return Finding(
        id="impact.targeted",
        rows=("M7.1",),
        statement=statement,
        verdict=verdict,
        owner="crm-lead",
        evidence=_TEST,
        value=result.adjusted,
        good="up",
        so_what=Prose(
            "Chosen customers spent {selection} more before anything was sent, so the plain "
            "difference of {naive} flatters. {advice} Next time leave some out by lot.",
            selection=result.selection,
            naive=result.naive,
            advice=advice,
        ),
        due=result.adjusted.as_of + timedelta(days=30),
        weight=4.5,
    )


def targeted_tiles(result: Targeted, campaign: Campaign) -> Tiles:
    """The plain difference beside what is left when the choice is taken out."""
    return Tiles(
        (
            Tile(
                label=f"Plain difference of chosen customers, {campaign.name}",
                value=result.naive,
                note=Prose("Holds why they were chosen: {gap} before", gap=result.selection),
            ),
            Tile(
                label="Among customers alike in past spend",
                value=result.adjusted,
                good="up",
                change=result.adjusted if result.is_explained else None,
            ),
        )
    )


def describe_programme(
    net: Estimate,
    treated: Estimate,
    others: Estimate,
    *,
    places: str,
    start: date,
    smallest_change_that_matters: float,
) -> Finding:
    """What a programme in some places did, the market's own movement taken out."""
    verdict = judge(net, smallest_change_that_matters)
    return Finding(
        id="impact.programme",
        rows=("M7.1",),
        statement=Prose(
            "The programme in {places} since {start}, spend of known customers: {change}.",
            places=places,
            start=start,
            change=change_phrase(net, smallest_change_that_matters),
        ),
        verdict=verdict,
        owner="commercial-director",
        evidence=("transactions", "customers"),
        value=net,
        good="up",
        so_what=Prose(
            "There it moved by {treated:signed}, elsewhere by {others:signed}. {advice}",
            treated=treated,
            others=others,
            advice={
                Verdict.MATTERS: "Extend it." if net.value > 0 else "End it.",
                Verdict.DOES_NOT_MATTER: "Do not extend it.",
                Verdict.CANNOT_TELL: "Extend it to one more place by lot before to all.",
            }[verdict],
        ),
        due=net.as_of + timedelta(days=30),
        weight=5.0,
    )


def describe_side_by_side(result: SideBySide, *, smallest_change_that_matters: float) -> Finding:
    """Do the ways to know the counterfactual agree."""
    trusted = result.trusted
    shown = [a.relative for a in (trusted or result.answers)]
    low = min(shown, key=lambda e: e.value)
    high = max(shown, key=lambda e: e.value)
    endings = {judge(e, smallest_change_that_matters) for e in shown}
    verdict = endings.pop() if len(endings) == 1 and trusted else Verdict.CANNOT_TELL
    failed = ", ".join(a.method for a in result.answers if a not in trusted)
    return Finding(
        id="impact.counterfactual",
        rows=("M7.7",),
        statement=Prose(
            "{agreement} between {low:signed} and {high:signed}.",
            agreement=(
                "Ways to guess what would have come without it agree:"
                if result.agree
                else "Ways to guess what would have come without it disagree:"
            ),
            low=low,
            high=high,
        ),
        verdict=verdict,
        owner="insight-lead",
        evidence=("transactions", "customers"),
        value=sorted(shown, key=lambda e: (e.upper - e.lower, e.method))[0],
        good="up",
        so_what=Prose(
            "{advice}",
            advice=(
                f"Not to be trusted here, as it finds an effect before the start: {failed}."
                if failed
                else (
                    "Each finds nothing where nothing was done. With few places to compare, "
                    "their ranges are wide: read the customers' comparison with them."
                )
            ),
        ),
        weight=3.5,
    )


def describe_event_study(result: EventStudy, *, n: int, as_of: date) -> Check:
    """Did treated and other places move alike before."""
    slope = Measured(value=result.slope, unit="index", n=n, as_of=as_of)
    return Check(
        id="impact.parallel",
        rows=("M7.1",),
        statement=(
            Prose("Before the start the places moved alike.")
            if result.is_parallel
            else Prose("The places drifted apart before the start.")
        ),
        verdict=Verdict.PASS if result.is_parallel else Verdict.FAIL,
        owner="analyst",
        evidence=("transactions", "customers"),
        so_what=Prose(
            "The gap moved by {slope} a week. {advice}",
            slope=slope,
            advice=(
                "Comparing places is fair."
                if result.is_parallel
                else "Do not read a plain comparison; read the weighted one."
            ),
        ),
    )
