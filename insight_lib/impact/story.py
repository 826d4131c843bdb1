"""Results in words: what is measured nowhere, whom to contact, and what to fund."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date, timedelta

from insight_lib.findings import (
    Finding,
    Measured,
    Prose,
    Verdict,
)
from insight_lib.impact.arms import ArmResult, Release
from insight_lib.impact.experiment_story import finding_id, held_back, joined
from insight_lib.impact.returns import Advice, Return, Split, Use
from insight_lib.impact.uplift import ContactValue, TargetingRule, Uplift
from insight_lib.statistics import in_points

_TEST = ("assignments", "campaigns", "transactions")


def describe_uplift(best: Uplift, rule: TargetingRule | None, result: ArmResult) -> Finding:
    """Can we tell who answers because of the contact, and is choosing worth it."""
    better = best.better_than_random
    if not best.is_better:
        statement = Prose(
            "We cannot tell who answers because of {campaign}: choosing is no better than chance.",
            campaign=result.name,
        )
        advice = "Contact by the test as a whole; do not pay for a model that ranks customers."
        verdict = Verdict.CANNOT_TELL
    else:
        gain = best.curve["gain"].to_numpy()
        share = float(gain[len(gain) // 2] / gain[-1]) if gain[-1] > 0 else None
        statement = Prose(
            "We can tell who answers {campaign} better: choosing beats contacting by lot.",
            campaign=result.name,
        )
        if share is not None:
            # Above one where contact harms the other half: then less is more.
            statement = Prose(
                "The best half of customers brings {reached} times what contacting all of them by "
                "{campaign} brings.",
                campaign=result.name,
                reached=Measured(value=share, unit="ratio", n=better.n, as_of=better.as_of),
            )
        verdict = Verdict.MATTERS
        advice = "If it is repeated, contact the best first."
        if held := held_back(result):
            verdict, advice = Verdict.CANNOT_TELL, held
    extra = Prose("")
    if rule is not None and best.is_better:
        chosen = Measured(value=rule.share, unit="share", n=better.n, as_of=better.as_of)
        extra = (
            Prose(" Contacting only the {chosen} that pay beats all.", chosen=chosen)
            if rule.beats_all
            else Prose(" Leaving out those who do not pay is not surely better than all.")
        )
    return Finding(
        id=finding_id("uplift", result),
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


def describe_value(value: ContactValue, result: ArmResult) -> Finding:
    """What one contact brings after its cost; the advice follows what may be done with the arm."""
    per = value.per_contact
    cost = Measured(value=value.cost_amount, unit=per.unit, n=per.n, as_of=per.as_of)
    margin = Measured(value=value.margin_share, unit="share", n=per.n, as_of=per.as_of)
    spend = result.effect("revenue")
    is_open = (
        result.is_carried
        or result.provisional_until is not None
        or (spend is not None and not result.agrees(spend))
    )
    verdict = Verdict.CANNOT_TELL
    if is_open:
        advice = f"Not to be counted on: {'; '.join(result.holds)}."
    elif per.lower > 0:
        verdict, advice = Verdict.MATTERS, "It pays: keep it in the plan."
        if result.release is not Release.ROLL_OUT:
            held = held_back(result) or "No other gain is sure: do not scale it yet."
            advice = f"It pays. {held}"
    elif per.upper < 0:
        verdict, advice = Verdict.MATTERS, "It loses money: stop it, or contact fewer."
    else:
        advice = "Gain and loss are both open: do not scale it yet."
    return Finding(
        id=finding_id("value_per_contact", result),
        rows=("C8.2",),
        statement=Prose(
            "A contact of {name} leaves {per:full} after its cost.", name=result.name, per=per
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
    returns: Sequence[Return],
    *,
    as_of: date,
    released: Collection[str],
    name: str = "returns",
    what: str = "tests",
    are_parts: bool = False,
) -> Finding:
    """Which lines of spending pay, which do not, and which are open.

    Args:
        are_parts: The lines are parts of one test, so that one is favoured only if it is seen to
            differ; one part that stands and one that does not are no difference (Gelman and
            Stern, 2006).
        released: Lines that may be rolled out; of the others none is called an investment.
    """
    by = {a: sorted(r.line for r in returns if r.advice is a) for a in Advice}
    best = max(returns, key=lambda r: (r.roi.value, r.line))
    sure = Measured(
        value=len(by[Advice.INVEST]) + len(by[Advice.STOP]),
        unit="count",
        n=best.roi.n,
        as_of=as_of,
    )
    every = Measured(value=len(returns), unit="count", n=best.roi.n, as_of=as_of)
    invest = [line for line in by[Advice.INVEST] if line in released]
    waiting = [line for line in by[Advice.INVEST] if line not in released]
    parts = [
        f"{words} {', '.join(lines)}"
        for words, lines in (
            ("invest in", invest),
            ("pays, but may not be rolled out yet:", waiting),
            ("hold", by[Advice.HOLD]),
            ("stop", by[Advice.STOP]),
        )
        if lines
    ]
    is_sure = bool(invest or by[Advice.STOP])
    are_alike = (
        are_parts
        and len(returns) > 1
        and max(r.roi.lower for r in returns) <= min(r.roi.upper for r in returns)
    )
    if are_alike:
        parts = ["no group is seen to pay better than another: judge the campaign as a whole"]
    return Finding(
        id=f"impact.{name}",
        rows=("M7.2",),
        statement=Prose(
            "{sure} of {every} {what} surely pay or surely do not.{best}",
            sure=sure,
            every=every,
            what=what,
            best=Prose(" Best by its middle: {line}.", line=best.line)
            if len(returns) > 1 and best.roi.value > 0
            else Prose(""),
        ),
        verdict=Verdict.MATTERS if is_sure and not are_alike else Verdict.CANNOT_TELL,
        owner="commercial-director",
        evidence=_TEST,
        value=best.roi,
        good="up",
        so_what=Prose("{advice}.", advice=_first_upper("; ".join(parts))),
        due=as_of + timedelta(days=30),
        weight=3.2,
    )


def describe_split(split: Split, *, as_of: date) -> Finding:
    """How to divide the next budget: lines that won, the next test, and nothing."""
    kept = [a for a in split.parts if a.use is Use.KEEP and a.share > 0]
    tested = [a for a in split.parts if a.use is Use.TEST and a.share > 0]
    shares = {
        f"for {joined([a.line for a in kept])}": sum(a.share for a in kept),
        "for the next test": sum(a.share for a in tested),
        "unspent": split.nothing_share,
    }
    # Whole percents that add up: the last part takes what rounding leaves.
    whole = [round(share, 2) for share in shares.values()]
    whole[-1] = round(max(0.0, 1.0 - sum(whole[:-1])), 2)
    keep, test, _ = (Measured(value=value, unit="share", n=split.n, as_of=as_of) for value in whole)
    named = [
        str(Prose("{share} {use}", share=Measured(value=v, unit="share", n=split.n, as_of=as_of),
                  use=use))
        for use, v in zip(shares, whole, strict=True)
        if v > 0
    ]  # fmt: skip
    if not kept and not tested:
        statement = Prose("Spend nothing of the next budget: no line is seen to pay.")
    else:
        statement = Prose(
            "{start} the next budget: {parts}.",
            start="Divide" if kept else "No line has won yet. Divide",
            parts=joined(named),
        )
    left = joined(sorted(a.line for a in split.parts if a.share == 0)) or "none"
    return Finding(
        id="impact.split",
        rows=("C8.7",),
        statement=statement,
        verdict=Verdict.MATTERS if kept or not tested else Verdict.CANNOT_TELL,
        owner="commercial-director",
        evidence=_TEST,
        value=keep if kept else test,
        so_what=Prose(
            "To be tested again: {tested}. Nothing for: {left}. A line is kept only where its test "
            "may be rolled out and surely pays.",
            tested=joined([a.line for a in tested]) or "none",
            left=left,
        ),
        due=as_of + timedelta(days=60),
        weight=2.8,
    )


def _first_upper(text: str) -> str:
    """Names keep their letters; only the first is raised."""
    return text[:1].upper() + text[1:]
