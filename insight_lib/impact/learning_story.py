"""What the company learns, and what is due, in words."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date

from insight_lib.findings import (
    Check,
    Estimate,
    Finding,
    Measured,
    Need,
    Prose,
    Tile,
    Tiles,
    Value,
    Verdict,
    counted,
    judge,
)
from insight_lib.impact.adoption import Adoption, Resistance, Use
from insight_lib.impact.agenda import Agenda, Meeting
from insight_lib.impact.calendar import Update
from insight_lib.impact.forecasts import Bias, ForecastRecord
from insight_lib.impact.gaps import Gap
from insight_lib.impact.inputs import with_arm
from insight_lib.impact.postmortem import Cause, PlanEnding, PostMortem

_PAST = ("past_scores",)
_TWO_YEARS_DAYS = 700
_TESTS = ("assignments", "campaigns", "transactions")

_TARGET_WORDS = {
    "lapse": "who stops ordering",
    "churn": "who ends a contract",
    "repeat": "who orders a second time",
    "category": "who starts in a new department",
    "value": "spend",
}


def target_words(target: str) -> str:
    """A target of the models as a reader says it; a segment's own model names the segment."""
    name, _, segment = target.partition("@")
    words = _TARGET_WORDS.get(name, name)
    return f"{words} in {segment}" if segment else words


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_") or "unnamed"


def _lean(bias: Estimate) -> tuple[Estimate, str]:
    """The bias without its sign, and the word for its direction."""
    if bias.value >= 0:
        return bias, "high"
    return replace(bias, value=-bias.value, lower=-bias.upper, upper=-bias.lower), "low"


def _verdict(bias: Bias, smallest: float) -> Verdict:
    verdict = judge(bias.bias, smallest)
    return Verdict.CANNOT_TELL if verdict is Verdict.MATTERS and not bias.stands else verdict


def forecast_tiles(records: Sequence[ForecastRecord], *, smallest: float) -> Tiles:
    """One tile per target: how far its forecasts lay off."""
    return Tiles(
        tuple(
            Tile(
                label=f"Forecasts of {target_words(r.target)} off by",
                value=r.total.bias,
                good="neither",
                change=r.total.bias,
                smallest_change_that_matters=smallest,
                note=Prose("On average; it swings from day to day.") if r.swings else None,
            )
            for r in records
        )
    )


def describe_forecast(
    record: ForecastRecord, *, smallest: float, applied: float | None = None
) -> Finding:
    """Did the forecasts of one target lean, and what the next ones should be multiplied by.

    Args:
        smallest: Smallest bias that would change a decision, as a share.
        applied: Correction that the parameters hold already, if any.
    """
    bias, as_of = record.total.bias, record.total.bias.as_of
    broke = record.broke
    is_open = record.swings or broke is not None
    verdict = Verdict.REVIEW if is_open else _verdict(record.total, smallest)
    lean, word = _lean(bias)
    if broke is not None:
        statement = Prose(
            "Forecasts of {target} broke between {last} and {first}: {before:signed} off until "
            "then, {after:signed} since (likely {after:range}).",
            target=target_words(record.target),
            last=broke.last,
            first=broke.first,
            before=broke.before,
            after=broke.after,
        )
    elif record.swings:
        biases = sorted((b for _, b in record.by_cut), key=lambda b: b.value)
        statement = Prose(
            "Forecasts of {target} swung between {lowest:signed} and {highest:signed} off.",
            target=target_words(record.target),
            lowest=biases[0],
            highest=biases[-1],
        )
    elif record.is_biased:
        statement = Prose(
            "Forecasts of {target} were {lean:size} too {word} (likely {lean:range}).",
            target=target_words(record.target),
            lean=lean,
            word=word,
        )
    elif bias.excludes(0):
        statement = Prose(
            "Forecasts of {target} may lean (likely {bias:range} off); among so many it may be "
            "chance.",
            target=target_words(record.target),
            bias=bias,
        )
    else:
        statement = Prose(
            "Forecasts of {target} leaned neither way for sure (likely {bias:range} off).",
            target=target_words(record.target),
            bias=bias,
        )
    correction = record.correction
    if broke is not None:
        so_what = Prose(
            "A break in the world or in the data, and no season: find out what changed on those "
            "days, and refit on what came since, before correcting anything.",
        )
    elif record.swings:
        days = (record.by_cut[-1][0] - record.by_cut[0][0]).days if record.by_cut else 0
        so_what = Prose(
            "No single correction helps: {why}. {advice}",
            why=record.why_not,
            advice="Look whether it follows the season, and teach it to the model."
            if days >= _TWO_YEARS_DAYS
            else "Whether it is a season takes forecasts of two years.",
        )
    elif verdict is Verdict.DOES_NOT_MATTER:
        so_what = Prose("Correct nothing: too small to change a plan.")
    elif correction is None and record.is_biased:
        so_what = Prose("Refit before correcting: {why}.", why=record.why_not)
    elif correction is None:
        so_what = Prose("Correct nothing: {why}.", why=record.why_not)
    else:
        before, after = (
            Measured(value=value, unit="share", n=bias.n, as_of=as_of)
            for value in (correction.miss_before, correction.miss_after)
        )
        verb = "Set" if verdict is Verdict.MATTERS else "It may be worth setting"
        if applied is not None and abs(applied - correction.factor) < 0.01:
            verb = "Keep"
        so_what = Prose(
            "{verb} {parameter}. Tried on {day}, it cut the miss of the total from {before} "
            "to {after}.",
            verb=verb,
            parameter=correction.parameter,
            day=correction.tried_on,
            before=before,
            after=after,
        )
    return Finding(
        id=f"learning.forecast.{_slug(record.target)}",
        rows=("C8.6",),
        statement=statement,
        verdict=verdict,
        owner="analyst",
        evidence=_PAST,
        value=bias,
        so_what=so_what,
        weight=4.0 if correction else 3.4 if broke else 2.8 if record.swings else 2.0,
    )


def describe_groups(record: ForecastRecord, *, smallest: float) -> Finding | None:
    """The group whose forecasts leaned most, where a lean stands; None where none does."""
    standing = [b for b in record.by_group if b.stands]
    if not standing:
        return None
    worst = max(standing, key=lambda b: (abs(b.bias.value), b.group))
    lean, word = _lean(worst.bias)
    return Finding(
        id=f"learning.forecast_groups.{_slug(record.target)}",
        rows=("C8.6",),
        statement=Prose(
            "Forecasts of {target} for {group} were {lean:size} too {word} (likely {lean:range}).",
            target=target_words(record.target),
            group=worst.group,
            lean=lean,
            word=word,
        ),
        verdict=_verdict(worst, smallest),
        owner="analyst",
        evidence=(*_PAST, "customers"),
        value=worst.bias,
        so_what=Prose(
            "Plan this group by what came, not by the forecast, until the model has learned it."
        ),
        weight=2.5,
    )


_LARGEST_SLOPE_GAP = 0.5
_OFF_SLOPE = {
    True: "High forecasts are too high and low ones too low.",
    False: "Customers differ more than the forecasts say.",
}


def check_slope(record: ForecastRecord) -> Check:
    """Are forecasts as far apart as what came."""
    slope = record.slope
    if slope is None:
        return Check(
            id=f"learning.slope.{_slug(record.target)}",
            rows=("C8.6",),
            statement=Prose(
                "Whether high forecasts of {target} mean more cannot be told: all of a day are the "
                "same.",
                target=target_words(record.target),
            ),
            verdict=Verdict.REVIEW,
            owner="analyst",
            evidence=_PAST,
            so_what=Prose("Do not rank customers by it."),
        )
    if not slope.excludes(0.0):
        verdict = Verdict.REVIEW
        advice = "Whether high forecasts mean more cannot be told: the range holds nothing."
    elif max(1 - slope.lower, slope.upper - 1) > _LARGEST_SLOPE_GAP:
        verdict = Verdict.REVIEW
        advice = (
            "Too little came to tell whether high and low forecasts hold; wait for more of them."
            if not slope.excludes(1.0)
            else _OFF_SLOPE[slope.value < 1]
        )
    elif not slope.excludes(1.0):
        verdict, advice = Verdict.PASS, "High and low forecasts may be taken at their word."
    else:
        verdict, advice = Verdict.REVIEW, _OFF_SLOPE[slope.value < 1]
    return Check(
        id=f"learning.slope.{_slug(record.target)}",
        rows=("C8.6",),
        statement=Prose(
            "Of each unit of difference forecast in {target}, {slope:full} came.",
            target=target_words(record.target),
            slope=slope,
        ),
        verdict=verdict,
        owner="analyst",
        evidence=_PAST,
        value=slope,
        so_what=Prose("{advice}", advice=advice),
    )


_NEXT_STEPS = {
    Cause.DATA: "Mend the data before judging the campaign: what they say cannot be trusted.",
    Cause.EXECUTION: "Run it again as planned before giving up the idea.",
    Cause.STRATEGY: "It ran as planned and was measured well: change the idea, not the execution.",
    Cause.CHANCE: "Change nothing on this alone: the plan lies within what chance allows.",
    Cause.UNRECORDED: "Write down who was contacted, and when; until then neither the idea nor its "
    "execution can be blamed.",
}


def describe_post_mortem(result: PostMortem) -> Finding:
    """Why one campaign fell short."""
    effect = result.effect
    values: dict[str, Value] = {"campaign": result.name, "effect": effect, "plan": result.plan}
    fell = "{campaign} brought {effect:full}, planned {plan}"
    match result.cause:
        case Cause.DATA | Cause.EXECUTION:
            statement = Prose(
                fell + ". {cause}: {faults}.",
                **values,
                cause=str(result.cause).capitalize(),
                faults="; ".join(fault.name for fault in result.faults),
            )
        case Cause.STRATEGY:
            statement = Prose(fell + ", though data and execution were sound.", **values)
        case Cause.CHANCE:
            statement = Prose(fell + "; that may be chance.", **values)
        case Cause.UNRECORDED:
            statement = Prose(fell + "; nobody wrote down who was contacted.", **values)
    advice = _NEXT_STEPS[result.cause]
    so_what = Prose("{advice}", advice=advice)
    if result.cause is Cause.EXECUTION and result.if_executed:
        so_what = Prose(
            "{advice} Had everyone been reached as planned, likely {reached:range}.",
            advice=advice,
            reached=result.if_executed,
        )
    may_be_met = effect.upper >= result.plan.value
    if may_be_met and result.cause in (Cause.DATA, Cause.EXECUTION):
        statement = Prose("{statement} Whether it fell short is not sure.", statement=statement)
    is_open = may_be_met or result.cause in (Cause.CHANCE, Cause.UNRECORDED)
    return Finding(
        id=f"learning.post_mortem.{_slug(with_arm(result.campaign.id, result.arm))}",
        rows=("C8.3",),
        statement=statement,
        verdict=Verdict.CANNOT_TELL if is_open else Verdict.MATTERS,
        owner="data-engineer" if result.cause is Cause.DATA else "crm-lead",
        evidence=_TESTS,
        value=effect,
        target=result.plan,
        good="up",
        so_what=so_what,
        weight=1.5 if is_open else 4.5,
    )


def describe_plans_met(
    endings: Mapping[PlanEnding, Sequence[str]], *, n: int, as_of: date
) -> Finding:
    """How many plans of campaigns, or of their arms, were surely met, surely not, or may be."""
    judged = sum(len(names) for names in endings.values())
    parts = []
    for ending, words in (
        (PlanEnding.MET, "surely reached"),
        (PlanEnding.UNSURE, "cannot be told yet"),
        (PlanEnding.MISSED, "surely not reached"),
    ):
        if names := endings.get(ending, ()):
            count = counted(len(names), n, as_of)
            parts.append(str(Prose("{count} {words}", count=count, words=words)))
    missed, met = endings.get(PlanEnding.MISSED, ()), endings.get(PlanEnding.MET, ())
    named = [
        f"{words}: {', '.join(names)}."
        for words, names in (
            ("Reached", met),
            ("Not reached", missed),
            ("Open", endings.get(PlanEnding.UNSURE, ())),
        )
        if names
    ]
    verdict = Verdict.CANNOT_TELL
    if missed:
        verdict = Verdict.REVIEW
    elif len(met) == judged:
        verdict = Verdict.PASS
    return Finding(
        id="learning.plans",
        rows=("C8.3",),
        statement=Prose(
            "Of {judged} campaign plans {parts}."
            if judged > 1
            else "Of {judged} campaign plan {parts}.",
            judged=counted(judged, n, as_of),
            parts=", ".join(parts),
        ),
        verdict=verdict,
        owner="crm-lead",
        evidence=_TESTS,
        value=counted(len(met), n, as_of),
        so_what=Prose("{advice}", advice=" ".join(named)),
        weight=1.2,
    )


def describe_unjudged(plan: str, why: str) -> Finding:
    """A campaign with a plan that cannot be judged, and the reason; the others are all the same."""
    return Finding(
        id=f"learning.post_mortem.{_slug(plan)}",
        rows=("C8.3",),
        statement=Prose(
            "Whether {plan} reached its plan cannot be measured here: {why}.", plan=plan, why=why
        ),
        verdict=Verdict.NOT_MEASURABLE,
        owner="crm-lead",
        evidence=_TESTS,
        needs=tuple(Need(table=table) for table in _TESTS),
        so_what=Prose("The other campaigns with a plan are judged all the same."),
        weight=0.6,
    )


def describe_updates(updates: Sequence[Update], *, as_of: date) -> Finding:
    """Which model is due next, and whether one is late."""
    late = [u for u in updates if u.is_overdue]
    first = updates[0]
    if late:
        statement = Prose(
            "{late} of {every} models are late for their update, {target} since {day}.",
            late=counted(len(late), len(updates), as_of),
            every=counted(len(updates), len(updates), as_of),
            target=target_words(first.target),
            day=first.due,
        )
    else:
        statement = Prose(
            "The model of {target} is due next, on {day}.",
            target=target_words(first.target),
            day=first.due,
        )
    reason = {
        "schedule": "It is due by the calendar.",
        "launch": f"The launch of {first.reason} moved the day.",
        "trigger": f"A trigger moved the day: {first.reason}.",
    }[first.because]
    return Finding(
        id="learning.updates",
        rows=("C8.4",),
        statement=statement,
        verdict=Verdict.REVIEW if late or first.because == "trigger" else Verdict.PASS,
        owner="analyst",
        evidence=("model_states",),
        so_what=Prose("Refit and release. {reason}", reason=reason),
        due=first.due,
        weight=2.0 if late else 1.0,
    )


def describe_review(meeting: Meeting, agenda: Agenda) -> Finding:
    """When a strategy review is due, and how much there is to talk about."""
    as_of = agenda.as_of
    items = counted(len(meeting.items), len(meeting.items), as_of)
    if not meeting.was_held:
        statement = Prose("Review “{topic}” has never been held.", topic=meeting.topic)
    elif meeting.is_overdue:
        statement = Prose(
            "Review “{topic}” is late; it was due on {day}.",
            topic=meeting.topic,
            day=meeting.due,
        )
    else:
        statement = Prose("Review “{topic}” is due on {day}.", topic=meeting.topic, day=meeting.due)
    thing = "item" if len(meeting.items) == 1 else "items"
    if agenda.compared_with is None:
        so_what = Prose(
            "Nothing earlier to compare with, so the agenda is what stands open: {items} {thing}.",
            items=items,
            thing=thing,
        )
    elif meeting.items:
        so_what = Prose(
            "The agenda: {items} {thing} changed since {day}.",
            items=items,
            thing=thing,
            day=agenda.compared_with,
        )
    else:
        so_what = Prose("Nothing changed since {day}: keep it short.", day=agenda.compared_with)
    return Finding(
        id=f"learning.review.{_slug(meeting.topic)}",
        rows=("M7.8",),
        statement=statement,
        verdict=Verdict.REVIEW if meeting.is_overdue else Verdict.PASS,
        owner=meeting.owner,
        evidence=(),
        so_what=so_what,
        due=meeting.due,
        weight=1.8 if meeting.is_overdue else 1.0,
    )


def describe_use(use: Use, adoption: Adoption) -> Finding:
    """One business unit's use; the one that opens and never acts is named."""
    who = use.unit
    opened = counted(use.opened, use.acted_share.n, adoption.as_of)
    if use.never_acts:
        chance = use.chance_of_silence
        is_sure = chance is not None and chance < 1 - use.acted_share.level
        most = Measured(
            value=use.acted_share.upper, unit="share", n=use.opened, as_of=adoption.as_of
        )
        statement = Prose("{who} opened {opened} reports and never acted.", who=who, opened=opened)
        odds = "Chance hardly explains it" if is_sure else "This may still be chance"
        so_what = Prose(
            "{odds}: it acts on at most {most} of what it reads. Ask what is missing.",
            odds=odds,
            most=most,
        )
        verdict = Verdict.MATTERS if is_sure else Verdict.CANNOT_TELL
        weight = 3.5 if is_sure else 1.5
    else:
        statement = Prose(
            "{who} acts on {share:in_hundred} reports that it reads (likely {share:range}).",
            who=who,
            share=use.acted_share,
        )
        change = use.acted_change
        if change and change.excludes(0):
            word = "more" if change.value > 0 else "less"
            so_what = Prose("It acts {word} often than the quarter before.", word=word)
            verdict = Verdict.MATTERS
        else:
            so_what = Prose("No sure change against the quarter before.")
            verdict = Verdict.CANNOT_TELL
        weight = 0.8
    return Finding(
        id=f"learning.adoption.{_slug(use.unit)}.{_slug(use.role)}",
        rows=("C8.5",),
        statement=Prose("{statement}", statement=_capitalised(statement)),
        verdict=verdict,
        owner="insight-lead",
        evidence=("adoption",),
        value=use.acted_share,
        good="up",
        so_what=so_what,
        weight=weight,
    )


def _capitalised(statement: Prose) -> str:
    text = str(statement)
    return text[0].upper() + text[1:]


def describe_resistance(resistance: Sequence[Resistance]) -> Finding:
    """Which advice is set aside most."""
    if not resistance:
        return Finding(
            id="learning.resistance",
            rows=("C8.5",),
            statement=Prose("No advice is known to be set aside."),
            verdict=Verdict.CANNOT_TELL,
            owner="insight-lead",
            evidence=("adoption",),
            so_what=Prose("Ask readers to note it when they decide against a finding."),
            weight=0.4,
        )
    worst = resistance[0]
    return Finding(
        id="learning.resistance",
        rows=("C8.5",),
        statement=Prose(
            "“{finding}” is set aside{most}: {share:in_hundred} times (likely {share:range}).",
            finding=worst.finding_id,
            most=" most" if len(resistance) > 1 else "",
            share=worst.share,
        ),
        verdict=Verdict.MATTERS,
        owner="insight-lead",
        evidence=("adoption",),
        value=worst.share,
        good="down",
        so_what=Prose("Ask those who set it aside why: the finding or its advice may be wrong."),
        weight=2.2,
    )


def describe_gaps(
    gaps: Sequence[Gap], *, present: Collection[str], looked_at: int, as_of: date
) -> Finding:
    """What cannot be measured, and which table would help most.

    Args:
        present: Tables that the market has: of these it takes more rows or columns.
        looked_at: Findings there are.
    """
    blocked = {(b.stage, b.id) for gap in gaps for b in gap.blocks}
    if not gaps:
        return Finding(
            id="learning.gaps",
            rows=("M7.4",),
            statement=Prose("Nothing waits for data."),
            verdict=Verdict.PASS,
            owner="data-engineer",
            evidence=(),
            so_what=Prose("No new data are needed for what the pages ask today."),
        )
    first = gaps[0]
    return Finding(
        id="learning.gaps",
        rows=("M7.4",),
        statement=Prose(
            "{blocked} {questions} for data; {table} would help with {most}.",
            blocked=counted(len(blocked), looked_at, as_of),
            questions="question waits" if len(blocked) == 1 else "questions wait",
            table=f"more of {first.table}" if first.table in present else first.table,
            most=counted(len(first.blocks), looked_at, as_of),
        ),
        verdict=Verdict.MATTERS,
        owner="data-engineer",
        evidence=(),
        so_what=Prose(
            "Start there: {alone} of them {wait} for nothing else.",
            alone=counted(first.alone, looked_at, as_of),
            wait="waits" if first.alone == 1 else "wait",
        )
        if first.alone
        else Prose("Each of them waits for other data too: see the table."),
        weight=3.0,
    )
