"""Results in words: what is measured nowhere, whom to contact, and what to fund."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

from insight_lib.findings import (
    Finding,
    Measured,
    Prose,
    Verdict,
)
from insight_lib.impact.inputs import Campaign
from insight_lib.impact.returns import Advice, Allocation, Return
from insight_lib.impact.uplift import ContactValue, TargetingRule, Uplift
from insight_lib.statistics import in_points

_TEST = ("assignments", "campaigns", "transactions")


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


def describe_value(
    value: ContactValue, campaign: Campaign, *, held_back: str | None = None
) -> Finding:
    """What one contact brings after its cost.

    Args:
        held_back: Why it may not be rolled out whatever it brings, from the guard-rails.
    """
    per = value.per_contact
    cost = Measured(value=value.cost_amount, unit=per.unit, n=per.n, as_of=per.as_of)
    margin = Measured(value=value.margin_share, unit="share", n=per.n, as_of=per.as_of)
    if per.lower > 0:
        verdict = Verdict.MATTERS
        advice = f"It pays. {held_back}" if held_back else "It pays: keep it in the plan."
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


def describe_returns(
    returns: Sequence[Return], *, as_of: date, name: str = "returns", what: str = "tests"
) -> Finding:
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
        id=f"impact.{name}",
        rows=("M7.2",),
        statement=Prose(
            "{sure} of {every} {what} surely pay or surely do not; best by its middle: {line}.",
            sure=sure,
            every=every,
            what=what,
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
