"""What was not drawn by lot, in words."""

from __future__ import annotations

from datetime import date, timedelta

from insight_lib.findings import (
    Check,
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
from insight_lib.impact.experiment_story import joined
from insight_lib.impact.inputs import Campaign
from insight_lib.impact.places import PlaceChange, PlaceWeeks
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
        if verdict is Verdict.MATTERS:
            verdict = Verdict.CANNOT_TELL  # what an older window cannot see may be all of it
        statement = Prose(
            "{campaign}, spend per customer in {days}: {change}, if nothing but the campaign began "
            "for those chosen on its day.",
            campaign=campaign.name,
            days=days,
            change=change_phrase(result.adjusted, smallest_change),
        )
        advice = Prose(
            "In an older window the same comparison finds no sure difference ({placebo:range}); "
            "that shows lasting traits only, and none that began with the campaign.",
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
            "{choice} {advice} Next time leave some out by lot.",
            choice=_choice(result),
            advice=advice,
        ),
        due=result.adjusted.as_of + timedelta(days=30),
        weight=4.5,
    )


def _choice(result: Targeted) -> Prose:
    """What the choice does to the plain difference, in words that follow its sign."""
    gap = result.selection
    if not gap.excludes(0):
        return Prose(
            "Chosen customers spent neither surely more nor surely less before anything was sent "
            "({gap:range}); the plain difference is {naive}.",
            gap=gap,
            naive=result.naive,
        )
    more = gap.value > 0
    return Prose(
        "Chosen customers spent {gap:size} {word} before anything was sent, so the plain "
        "difference of {naive} {does}.",
        gap=gap,
        word="more" if more else "less",
        naive=result.naive,
        does="flatters" if more else "belittles what was sent",
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
                note=Prose("Not drawn by lot: what began with the campaign is in it"),
            ),
        )
    )


def describe_programme(
    change: PlaceChange,
    *,
    places: str,
    start: date,
    smallest_change_that_matters: float,
    is_parallel: bool = True,
) -> Finding:
    """What a programme in some places did, the market's own movement taken out.

    Args:
        is_parallel: Treated and other places moved alike before the start; if not, nothing that
            rests on it is claimed.
    """
    net = change.net

    def share(value: float) -> Measured:
        return Measured(value=value, unit=net.unit, n=net.n, as_of=net.as_of)

    verdict = judge(net, smallest_change_that_matters)
    statement = Prose(
        "The programme in {places} since {start}, spend there: {change}.",
        places=places,
        start=start,
        change=change_phrase(net, smallest_change_that_matters),
    )
    advice = {
        Verdict.MATTERS: "Extend it." if net.value > 0 else "End it.",
        Verdict.DOES_NOT_MATTER: "Do not extend it.",
        Verdict.CANNOT_TELL: "Extend it to one more place by lot before to all.",
    }[verdict]
    if not is_parallel:
        verdict = Verdict.CANNOT_TELL
        statement = Prose(
            "What the programme in {places} since {start} brought cannot be told: the places "
            "moved apart before it began.",
            places=places,
            start=start,
        )
        advice = "Decide nothing on this comparison; next time draw the places by lot."
    return Finding(
        id="impact.programme",
        rows=("M7.1",),
        statement=statement,
        verdict=verdict,
        owner="commercial-director",
        evidence=("transactions", "customers"),
        value=net,
        good="up",
        so_what=Prose(
            "There it moved by {treated:signed}, elsewhere by {others:signed}; a place moves by "
            "{moves} on its own, seen in {controls} places without it. {advice}",
            treated=share(change.treated),
            others=share(change.others),
            moves=share(change.moves),
            controls=Measured(value=change.n_controls, unit="count", n=net.n, as_of=net.as_of),
            advice=advice,
        ),
        due=net.as_of + timedelta(days=30),
        weight=5.0 if is_parallel else 3.0,
    )


def describe_place_gaps(weeks: PlaceWeeks, *, n: int, as_of: date) -> Check | None:
    """Places and weeks that were left out for missing data; None where nothing was."""
    if not (weeks.dropped_weeks or weeks.dropped_places or weeks.closed_places):
        return None
    parts = []
    if weeks.closed_places:
        parts.append(f"no orders any more in {joined(weeks.closed_places)}")
    if weeks.dropped_places:
        parts.append(f"too many gaps in {joined(weeks.dropped_places)}")
    dropped = Measured(value=len(weeks.dropped_weeks), unit="weeks", n=n, as_of=as_of)
    if weeks.dropped_weeks:
        parts.append(str(Prose("{dropped} in which some place has no data", dropped=dropped)))
    return Check(
        id="impact.place_gaps",
        rows=("M7.1",),
        statement=Prose("Left out of the comparison of places: {parts}.", parts=joined(parts)),
        verdict=Verdict.REVIEW,
        owner="data-engineer",
        evidence=("transactions", "customers"),
        so_what=Prose(
            "A gap in a feed is no fall in sales: load what is missing, or say that a place closed."
        ),
    )


def describe_side_by_side(
    result: SideBySide, *, smallest_change_that_matters: float, is_parallel: bool = True
) -> Finding:
    """Do the ways to know the counterfactual agree.

    Args:
        is_parallel: The places moved alike before; else no ending is claimed.
    """
    trusted = result.trusted
    shown = [a.relative for a in (trusted or result.answers)]
    low = min(shown, key=lambda e: e.value)
    high = max(shown, key=lambda e: e.value)
    endings = {judge(e, smallest_change_that_matters) for e in shown}
    is_one = len(endings) == 1 and bool(trusted) and is_parallel
    verdict = endings.pop() if is_one else Verdict.CANNOT_TELL
    failed = ", ".join(a.method for a in result.answers if a not in trusted)
    statement = Prose(
        "Of the ways to guess what would have come without it one is left, and finds {low:full}.",
        low=low,
    )
    if len(shown) > 1:
        statement = Prose(
            "Ways to guess what would have come without it {agree}: between {low:signed} and "
            "{high:signed}.",
            agree="agree" if result.agree else "disagree",
            low=low,
            high=high,
        )
    return Finding(
        id="impact.counterfactual",
        rows=("M7.7",),
        statement=statement,
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
                    "their ranges are wide."
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
                else "No claim about the programme rests on them."
            ),
        ),
    )
