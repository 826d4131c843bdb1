"""Results in words: the only place of this stage with sentences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, timedelta

from insight_lib.findings import (
    Check,
    Estimate,
    Finding,
    Measured,
    Need,
    Prose,
    Tile,
    Tiles,
    Verdict,
    change_phrase,
    judge,
)
from insight_lib.impact.counterfactual import EventStudy, SideBySide
from insight_lib.impact.design import Balance, Design, SampleRatio
from insight_lib.impact.effects import Effect
from insight_lib.impact.inputs import Campaign
from insight_lib.impact.returns import Advice, Allocation, Return
from insight_lib.impact.sequential import Monitoring
from insight_lib.impact.targeted import Targeted
from insight_lib.impact.uplift import ContactValue, TargetingRule, Uplift
from insight_lib.statistics import in_points

_TEST = ("assignments", "campaigns", "transactions")


def not_measurable(
    name: str, what: str, *, rows: tuple[str, ...], needs: tuple[Need, ...], takes: str
) -> Callable[[str], Finding]:
    """A maker of the finding that says what a measurement lacks, given the reason."""

    def make(reason: str) -> Finding:
        return Finding(
            id=f"impact.{name}",
            rows=rows,
            statement=Prose("{what} cannot be measured yet: {reason}.", what=what, reason=reason),
            verdict=Verdict.NOT_MEASURABLE,
            owner="insight-lead",
            evidence=(),
            so_what=Prose("It would take {takes}.", takes=takes),
            weight=0.5,
            needs=needs,
        )

    return make


def describe_effect(effect: Effect, campaign: Campaign) -> Finding:
    """Did a campaign drawn by lot move a metric, in words with their ending."""
    change = in_points(effect.change)
    smallest = effect.metric.smallest_change_that_matters
    smallest = smallest * 100 if effect.change.unit == "share" else smallest
    verdict = judge(change, smallest)
    if verdict is Verdict.MATTERS and not effect.stands:
        verdict = Verdict.CANNOT_TELL
    advice = {
        Verdict.MATTERS: "Repeat it." if change.value > 0 else "Stop it.",
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


def describe_value(value: ContactValue, campaign: Campaign) -> Finding:
    """What one contact brings after its cost."""
    per = value.per_contact
    cost = Measured(value=value.cost_amount, unit=per.unit, n=per.n, as_of=per.as_of)
    margin = Measured(value=value.margin_share, unit="share", n=per.n, as_of=per.as_of)
    if per.lower > 0:
        verdict, advice = Verdict.MATTERS, "It pays: keep it in the plan."
    elif per.upper < 0:
        verdict, advice = Verdict.MATTERS, "It loses money: stop it, or contact fewer."
    else:
        verdict, advice = Verdict.CANNOT_TELL, "Gain and loss are both open: do not scale it yet."
    return Finding(
        id="impact.value_per_contact",
        rows=("C8.2",),
        statement=Prose(
            "A contact of {campaign} leaves {per:full} after its cost.",
            campaign=campaign.name,
            per=per,
        ),
        verdict=verdict,
        owner="crm-lead",
        evidence=_TEST,
        value=per,
        good="up",
        so_what=Prose(
            "{advice} Extra revenue {lift:full} at a margin of {margin}, less {cost} a contact.",
            advice=advice,
            lift=value.lift,
            margin=margin,
            cost=cost,
        ),
        due=per.as_of + timedelta(days=30),
        weight=5.0,
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


def describe_design(design: Design, *, metric: str) -> Check:
    """Was the test large enough for the change that would matter."""
    as_of, n = design.detectable.as_of, design.n_customers
    in_share = design.detectable.unit == "share"
    detectable = replace(design.detectable, value=design.detectable.value * 100, unit="points")
    needed = Measured(value=design.n_needed, unit="count", n=n, as_of=as_of)
    had = Measured(value=n, unit="count", n=n, as_of=as_of)
    return Check(
        id=f"impact.design.{metric}",
        rows=("C8.1",),
        statement=Prose(
            "With {had} customers the test could show changes from {detectable} on.",
            had=had,
            detectable=detectable if in_share else design.detectable,
        ),
        verdict=Verdict.PASS if design.is_enough else Verdict.REVIEW,
        owner="analyst",
        evidence=_TEST,
        so_what=Prose(
            "{advice} The smallest change that matters takes {needed} customers.",
            advice="Large enough." if design.is_enough else "Too small for the question.",
            needed=needed,
        ),
    )


def describe_sample_ratio(result: SampleRatio, campaign: Campaign, *, as_of: date) -> Check:
    """Are the arms as large as planned."""
    n = sum(result.counts.values())
    worst = max(result.counts, key=lambda a: (abs(result.counts[a] / n - result.planned[a]), a))
    seen = Measured(value=result.counts[worst] / n, unit="share", n=n, as_of=as_of)
    planned = Measured(value=result.planned[worst], unit="share", n=n, as_of=as_of)
    if result.is_broken:
        verdict, advice = Verdict.FAIL, "Do not read the result: find out who went missing."
    elif result.is_warning:
        verdict, advice = Verdict.REVIEW, "Rarely chance: check the lottery and the log first."
    else:
        verdict, advice = Verdict.PASS, "The lottery and the log agree with the plan."
    return Check(
        id="impact.sample_ratio",
        rows=("C8.1",),
        statement=Prose(
            "{arm} of {campaign} holds {seen} of customers, planned {planned}.",
            arm=worst.replace("_", " ").capitalize(),
            campaign=campaign.name,
            seen=seen,
            planned=planned,
        ),
        verdict=verdict,
        owner="analyst",
        evidence=("assignments",),
        so_what=Prose("{advice}", advice=advice),
    )


def describe_balance(result: Balance, campaign: Campaign, *, n: int, as_of: date) -> Check:
    """Did the arms look alike before."""
    largest = Measured(value=float(result.table["gap"].abs().max()), unit="ratio", n=n, as_of=as_of)
    bad = ", ".join(result.unbalanced).replace("_", " ")
    return Check(
        id="impact.balance",
        rows=("C8.1",),
        statement=(
            Prose(
                "The arms of {campaign} differed before it began, in {bad}.",
                campaign=campaign.name,
                bad=bad,
            )
            if bad
            else Prose("The arms of {campaign} were alike before it began.", campaign=campaign.name)
        ),
        verdict=Verdict.REVIEW if bad else Verdict.PASS,
        owner="analyst",
        evidence=_TEST,
        so_what=Prose(
            "The largest gap is {largest} of the customers' own spread. {advice}",
            largest=largest,
            advice=(
                "Read the result with the pre-period taken out, and check the lottery."
                if bad
                else "Nothing to correct."
            ),
        ),
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


def describe_uplift(best: Uplift, rule: TargetingRule | None, campaign: Campaign) -> Finding:
    """Can we tell who answers because of the contact, and is choosing worth it."""
    better = best.better_than_random
    if not best.is_better:
        statement = Prose(
            "We cannot tell who answers because of {campaign}: choosing is no better than chance.",
            campaign=campaign.name,
        )
        advice = "Contact all or none; do not pay for a model that ranks customers."
        verdict = Verdict.CANNOT_TELL
    else:
        gain = best.curve["gain"].to_numpy()
        share = float(gain[len(gain) // 2] / gain[-1])
        reached = Measured(value=share, unit="share", n=better.n, as_of=better.as_of)
        statement = Prose(
            "The best half of customers brings {reached} of what {campaign} brings.",
            campaign=campaign.name,
            reached=reached,
        )
        advice = "Contact the best first."
        verdict = Verdict.MATTERS
    extra = Prose("")
    if rule is not None and best.is_better:
        chosen = Measured(value=rule.share, unit="share", n=better.n, as_of=better.as_of)
        extra = (
            Prose(" Contacting only the {chosen} that pay beats all.", chosen=chosen)
            if rule.beats_all
            else Prose(" Leaving out those who do not pay is not surely better than all.")
        )
    return Finding(
        id="impact.uplift",
        rows=("C8.2",),
        statement=statement,
        verdict=verdict,
        owner="crm-lead",
        evidence=_TEST,
        value=in_points(better),
        good="up",
        so_what=Prose("{advice}{extra}", advice=advice, extra=extra),
        weight=3.0,
    )


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


def describe_returns(returns: Sequence[Return], *, as_of: date) -> Finding:
    """Which lines of spending pay, which do not, and which are open."""
    by = {a: sorted(r.line for r in returns if r.advice is a) for a in Advice}
    best = max(returns, key=lambda r: (r.roi.value, r.line))
    sure = Measured(
        value=len(by[Advice.INVEST]) + len(by[Advice.STOP]),
        unit="count",
        n=best.roi.n,
        as_of=as_of,
    )
    every = Measured(value=len(returns), unit="count", n=best.roi.n, as_of=as_of)
    parts = [f"{advice.value} {', '.join(lines)}" for advice, lines in by.items() if lines]
    return Finding(
        id="impact.returns",
        rows=("M7.2",),
        statement=Prose(
            "{sure} of {every} tests surely pay or surely do not; best by its middle: {line}.",
            sure=sure,
            every=every,
            line=best.line,
        ),
        verdict=Verdict.MATTERS if sure.value else Verdict.CANNOT_TELL,
        owner="commercial-director",
        evidence=_TEST,
        value=best.roi,
        good="up",
        so_what=Prose("{advice}.", advice="; ".join(parts).capitalize()),
        due=as_of + timedelta(days=30),
        weight=3.2,
    )


def describe_split(
    parts: Sequence[Allocation], returns: Sequence[Return], *, as_of: date
) -> Finding:
    """How to divide the next budget between what is known and what is to be learnt."""
    leader = max(parts, key=lambda a: (not a.is_exploring, a.share, a.line))
    n = returns[0].roi.n
    is_sure = any(r.advice is Advice.INVEST for r in returns if r.line == leader.line)
    explore = sum(a.share for a in parts if a.is_exploring)
    share = Measured(value=explore, unit="share", n=n, as_of=as_of)
    left = ", ".join(sorted(a.line for a in parts if a.share == 0)) or "none"
    return Finding(
        id="impact.split",
        rows=("C8.7",),
        statement=Prose(
            "Keep {keep} of the next budget for {leader}, spend {share} to learn about the rest.",
            keep=Measured(value=leader.share, unit="share", n=n, as_of=as_of),
            leader=leader.line,
            share=share,
        ),
        verdict=Verdict.MATTERS if is_sure else Verdict.CANNOT_TELL,
        owner="commercial-director",
        evidence=_TEST,
        value=share,
        so_what=Prose("Nothing for lines that another surely beats: {left}.", left=left),
        due=as_of + timedelta(days=60),
        weight=2.8,
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
