"""Whether a test can be believed, in words."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from insight_lib.findings import Check, Estimate, Measured, Prose, Verdict
from insight_lib.impact.carry_over import CarryOver, longest_washout
from insight_lib.impact.design import Attrition, Balance, Design, SampleRatio
from insight_lib.impact.effects import Effect
from insight_lib.impact.inputs import Campaign
from insight_lib.impact.stratification import Stratified, StratumBalance
from insight_lib.statistics import in_points

_TEST = ("assignments", "campaigns", "transactions")


def describe_design(design: Design, *, metric: str) -> Check:
    """Was the test large enough for the change that would matter."""
    as_of, n = design.detectable.as_of, design.n_customers
    needed = Measured(value=design.n_needed, unit="count", n=n, as_of=as_of)
    had = Measured(value=n, unit="count", n=n, as_of=as_of)
    return Check(
        id=f"impact.design.{metric}",
        rows=("C8.1",),
        statement=Prose(
            "With {had} customers the test could show changes from {detectable} on.",
            had=had,
            detectable=in_points(design.detectable),
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


def describe_attrition(result: Attrition, campaign: Campaign, *, n: int, as_of: date) -> Check:
    """Could as many of each arm be followed to the end."""
    worst = max(result.shares, key=lambda arm: (result.shares[arm], arm))
    lost = Measured(value=result.shares[worst], unit="share", n=n, as_of=as_of)
    return Check(
        id="impact.attrition",
        rows=("C8.1",),
        statement=(
            Prose(
                "Customers of {campaign} went missing from one arm more than from others.",
                campaign=campaign.name,
            )
            if result.is_warning
            else Prose(
                "Customers of {campaign} could be followed alike in every arm.",
                campaign=campaign.name,
            )
        ),
        verdict=Verdict.REVIEW if result.is_warning else Verdict.PASS,
        owner="analyst",
        evidence=("assignments", "transactions"),
        so_what=Prose(
            "At most {lost} of an arm is missing, in {arm}. {advice}",
            lost=lost,
            arm=worst.replace("_", " "),
            advice=(
                "Find out who left and why before reading the result."
                if result.is_warning
                else "Nothing to correct."
            ),
        ),
    )


def describe_stratified(result: Stratified, balance: StratumBalance, plain: Estimate) -> Check:
    """Does comparing like with like tell the same, and was the lottery fair within strata."""
    change = in_points(result.change)
    is_same = not result.change.excludes(plain.value)
    bad = ", ".join(balance.unbalanced)
    ratio = Measured(
        value=result.width_ratio, unit="change", n=result.change.n, as_of=result.change.as_of
    )
    groups = Measured(
        value=len(result.table), unit="count", n=result.change.n, as_of=result.change.as_of
    )
    if bad:
        advice = f"Arms were not alike within {bad}: look at the lottery there."
    elif is_same:
        advice = "The lottery was as fair within each group as in all."
    else:
        advice = "This differs from the plain comparison: believe this one."
    return Check(
        id="impact.stratified",
        rows=("C8.1",),
        statement=Prose(
            "Within {groups} groups of like customers {metric} changes by {change:full}.",
            groups=groups,
            metric=result.metric.name,
            change=change,
        ),
        verdict=Verdict.REVIEW if bad or not is_same else Verdict.PASS,
        owner="analyst",
        evidence=_TEST,
        so_what=Prose(
            "The range is {ratio} as wide as without groups. {advice}", ratio=ratio, advice=advice
        ),
    )


def describe_capped(plain: Effect, capped: Effect, campaign: Campaign) -> Check:
    """Does the result hang on a few large spenders."""
    signs = [_sign(effect.change) for effect in (plain, capped)]
    is_same = signs[0] == signs[1]
    return Check(
        id="impact.capped",
        rows=("C8.1",),
        statement=(
            Prose("{campaign}: no few customers carry the result in spend.", campaign=campaign.name)
            if is_same
            else Prose(
                "{campaign}: the result in spend hangs on a few customers.", campaign=campaign.name
            )
        ),
        verdict=Verdict.PASS if is_same else Verdict.REVIEW,
        owner="analyst",
        evidence=_TEST,
        so_what=Prose(
            "With the largest spenders cut to a cap the change is {capped:full}; as it stands it "
            "is {plain:full}.",
            capped=capped.change,
            plain=plain.change,
        ),
    )


def _sign(change: Estimate) -> int:
    return int(change.lower > 0) - int(change.upper < 0)


def describe_carry_over(carried: Sequence[CarryOver], campaign: Campaign, *, as_of: date) -> Check:
    """Do earlier tests still move the customers of this one."""
    lasting = ", ".join(c.earlier for c in carried if c.is_lasting)
    mixed = ", ".join(c.earlier for c in carried if c.is_mixed)
    largest = max(carried, key=lambda c: (abs(c.lasting.value), c.earlier))
    wait = Measured(value=longest_washout(carried), unit="days", n=largest.lasting.n, as_of=as_of)
    if lasting:
        statement = Prose(
            "{names} still moved customers when {campaign} began.",
            names=lasting,
            campaign=campaign.name,
        )
        advice = Prose(
            "Arms drawn by lot share it evenly, but read levels with care. Wait more than {wait} "
            "after such a test.",
            wait=wait,
        )
    elif mixed:
        statement = Prose(
            "{campaign} worked differently on customers contacted in {names}.",
            names=mixed,
            campaign=campaign.name,
        )
        advice = Prose("Read the result by earlier contact before repeating it.")
    else:
        statement = Prose(
            "No earlier test is seen to move customers when {campaign} began.",
            campaign=campaign.name,
        )
        advice = (
            Prose("The longest that one was seen is {wait} after its end: wait so long.", wait=wait)
            if wait.value
            else Prose("No wait between such tests is called for.")
        )
    return Check(
        id="impact.carry_over",
        rows=("C8.1",),
        statement=statement,
        verdict=Verdict.REVIEW if lasting or mixed else Verdict.PASS,
        owner="analyst",
        evidence=_TEST,
        so_what=Prose(
            "Largest: {earlier}, {change:full} orders per customer just before. {advice}",
            earlier=largest.earlier,
            change=largest.lasting,
            advice=advice,
        ),
    )
