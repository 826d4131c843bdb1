"""Whether a test can be believed, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from insight_lib.findings import Check, Estimate, Measured, Need, Prose, Verdict
from insight_lib.impact.arms import ArmResult
from insight_lib.impact.carry_over import CarryOver, longest_washout
from insight_lib.impact.design import Design
from insight_lib.impact.effects import difference
from insight_lib.impact.experiment import SURE, Experiment
from insight_lib.impact.experiment_story import finding_id, joined
from insight_lib.impact.influence import Hold, carries_all
from insight_lib.impact.inputs import Campaign, slug
from insight_lib.impact.stratification import Stratified
from insight_lib.statistics import estimate_share, in_points

_TEST = ("assignments", "campaigns", "transactions")


def describe_design(design: Design, experiment: Experiment, *, metric: str) -> Check:
    """Was the test large enough for the change that would matter."""
    as_of, n = design.detectable.as_of, design.n_customers
    needed = Measured(value=design.n_needed, unit="count", n=n, as_of=as_of)
    had = Measured(value=n, unit="count", n=n, as_of=as_of)
    return Check(
        id=f"impact.design.{metric}.{slug(experiment.campaign.id)}",
        rows=("C8.1",),
        statement=Prose(
            "With {had} customers {campaign} could show changes from {detectable} on.",
            had=had,
            campaign=experiment.campaign.name,
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


def describe_sample_ratio(experiment: Experiment, *, as_of: date) -> Check:
    """Are the arms as large as planned; without a plan on record nobody can say so."""
    campaign, integrity = experiment.campaign, experiment.integrity
    name = f"impact.sample_ratio.{slug(campaign.id)}"
    result = integrity.ratio
    if result is None and experiment.stratum is not None:
        return Check(
            id=name,
            rows=("C8.1",),
            statement=Prose(
                "{campaign} was drawn with shares of its own by stratum.", campaign=campaign.name
            ),
            verdict=Verdict.REVIEW,
            owner="analyst",
            evidence=("assignments",),
            so_what=Prose(
                "No one planned share fits all of it; arms are compared within the strata."
            ),
        )
    if result is None:
        is_uneven = integrity.uneven_p < SURE
        return Check(
            id=name,
            rows=("C8.1",),
            statement=Prose(
                "No planned shares of {campaign} are on record{uneven}.",
                campaign=campaign.name,
                uneven=", and its arms are not equal" if is_uneven else "",
            ),
            verdict=Verdict.NOT_MEASURABLE,
            owner="crm-lead",
            evidence=("assignments",),
            needs=(Need(table="assignments", columns=("planned_share",)),),
            so_what=Prose(
                "Whether customers went missing from an arm was not checked. It takes a planned "
                "share per arm beside the assignments, or a plan in the register of plans."
            ),
        )
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
        id=name,
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


def describe_balance(
    experiment: Experiment, *, as_of: date, uneven_groups: Sequence[str] = ()
) -> Check:
    """Did the arms look alike before, in all and within groups of like customers.

    Args:
        uneven_groups: Groups within which the arms differed though they may be alike in all.
    """
    campaign, result = experiment.campaign, experiment.integrity.balance
    n = len(experiment.frame)
    largest = Measured(value=float(result.table["gap"].abs().max()), unit="ratio", n=n, as_of=as_of)
    sure = experiment.integrity.unbalanced
    bad = sure or tuple(c.replace("_", " ") for c in result.unbalanced)
    within_groups = joined([f'"{name}"' for name in uneven_groups])
    nothing_known = not experiment.integrity.is_known_before
    if bad:
        statement = Prose(
            "The arms of {campaign} differed before it began, in {bad}.",
            campaign=campaign.name,
            bad=joined(bad),
        )
    elif uneven_groups:
        statement = Prose(
            "The arms of {campaign} were alike in all before it began, but not within {groups}.",
            campaign=campaign.name,
            groups=within_groups,
        )
    elif nothing_known:
        statement = Prose(
            "Nothing is known of the customers of {campaign} before it began.",
            campaign=campaign.name,
        )
    else:
        statement = Prose(
            "The arms of {campaign} were alike before it began.", campaign=campaign.name
        )
    if sure:
        advice = "Do not read the result: this is not chance, so look at the lottery."
    elif bad or uneven_groups:
        advice = "Chance does that at times; check the lottery."
    elif nothing_known:
        advice = "So whether the arms were alike was not checked."
    else:
        advice = "Nothing to correct."
    return Check(
        id=f"impact.balance.{slug(campaign.id)}",
        rows=("C8.1",),
        statement=statement,
        verdict=Verdict.FAIL
        if sure
        else Verdict.REVIEW
        if bad or uneven_groups or nothing_known
        else Verdict.PASS,
        owner="analyst",
        evidence=_TEST,
        so_what=Prose("{advice}", advice=advice)
        if nothing_known
        else Prose(
            "The largest gap is {largest} of the customers' own spread{within}. {advice}",
            largest=largest,
            within=", within strata" if experiment.stratum else "",
            advice=advice,
        ),
    )


def describe_attrition(experiment: Experiment, *, as_of: date) -> Check:
    """Could as many of each arm be followed to the end."""
    result, campaign = experiment.integrity.attrition, experiment.campaign
    if result is None:
        return Check(
            id=f"impact.attrition.{slug(campaign.id)}",
            rows=("C8.1",),
            statement=Prose(
                "Whether customers of {campaign} went missing from an arm was not checked.",
                campaign=campaign.name,
            ),
            verdict=Verdict.NOT_MEASURABLE,
            owner="data-engineer",
            evidence=("assignments", "transactions"),
            needs=(Need(table="customers"),),
            so_what=Prose(
                "It takes a table of customers, and customers who had ordered before it began."
            ),
        )
    worst = max(result.shares, key=lambda arm: (result.shares[arm], arm))
    lost = Measured(value=result.shares[worst], unit="share", n=len(experiment.frame), as_of=as_of)
    return Check(
        id=f"impact.attrition.{slug(campaign.id)}",
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


def describe_follow_up(experiment: Experiment, *, as_of: date) -> list[Check]:
    """Assignments after the end, unequal entry, and the result to the campaign's end."""
    follow, campaign = experiment.follow_up, experiment.campaign
    if not follow.is_equal:
        return []

    def count(value: float, unit: str = "count") -> Measured:
        return Measured(value=value, unit=unit, n=follow.n_assigned, as_of=as_of)

    is_bad = any("assigned after" in f or "different days" in f for f in experiment.faults)
    checks = [
        Check(
            id=f"impact.follow_up.{slug(campaign.id)}",
            rows=("C8.1",),
            statement=Prose(
                "Customers of {campaign} entered on days of their own; each is followed for "
                "{days} from the assignment.",
                campaign=campaign.name,
                days=count(follow.days, "days"),
            ),
            verdict=Verdict.FAIL if is_bad else Verdict.REVIEW if follow.n_late else Verdict.PASS,
            owner="analyst",
            evidence=("assignments",),
            so_what=Prose(
                "Left out: {late} of {all} assigned after its end, {short} whose days are not "
                "over yet.{entry}",
                late=count(follow.n_late),
                all=count(follow.n_assigned),
                short=count(follow.n_short),
                entry=" The arms were filled on different days, which no lottery does."
                if "the arms were filled on different days" in experiment.faults
                else "",
            ),
        )
    ]
    if experiment.to_the_end is not None and not experiment.faults:
        checks += [_to_the_end(experiment, arm, as_of=as_of) for arm in experiment.arms]
    return checks


def _to_the_end(experiment: Experiment, arm: str, *, as_of: date) -> Check:
    assert experiment.to_the_end is not None
    pair = experiment.pair(arm, experiment.to_the_end)
    treated, control = (
        estimate_share(int(part["has_ordered"].sum()), len(part), as_of=as_of)
        for part in (pair[pair["is_treated"]], pair[~pair["is_treated"]])
    )
    return Check(
        id=f"impact.to_the_end.{slug(experiment.campaign.id)}.{slug(arm)}",
        rows=("C8.1",),
        statement=Prose(
            "From the assignment to the end of {name}, {treated} ordered against {control} of "
            "those left alone.",
            name=experiment.name(arm),
            treated=treated,
            control=control,
        ),
        verdict=Verdict.REVIEW,
        owner="analyst",
        evidence=_TEST,
        so_what=Prose(
            "The change is {change:full}. Who entered early was seen longer, so the equal "
            "follow-up goes first.",
            change=in_points(difference(treated, control)),
        ),
    )


def describe_both_arms(result: ArmResult, *, as_of: date) -> Check | None:
    """Customers in several arms, and whether the answer hangs on how they are counted."""
    experiment = result.experiment
    n_both = experiment.integrity.n_both
    effect = result.effect("has_ordered")
    if not n_both or effect is None:
        return None
    others = [e for way in result.other_ways for e in way if e.metric.column == "has_ordered"]
    low = min((in_points(e.change) for e in others), key=lambda c: c.value)
    high = max((in_points(e.change) for e in others), key=lambda c: c.value)
    n = n_both + len(experiment.frame)
    ways = "as assigned first" if len(result.other_ways) == 1 else "in the one arm or the other"
    return Check(
        id=finding_id("both_arms", result),
        rows=("C8.1",),
        statement=Prose(
            "{both} of {all} customers of {campaign} stand in more than one arm.",
            both=Measured(value=n_both, unit="count", n=n, as_of=as_of),
            all=Measured(value=n, unit="count", n=n, as_of=as_of),
            campaign=experiment.campaign.name,
        ),
        verdict=Verdict.REVIEW,
        owner="analyst",
        evidence=("assignments",),
        so_what=Prose(
            "Share who ordered, with them left out: {change:full}; counted {ways}: {counted}. "
            "{advice}",
            change=in_points(effect.change),
            ways=ways,
            counted=Prose("{low:full}", low=low)
            if low is high
            else Prose("{low:full} and {high:full}", low=low, high=high),
            advice="Both ways end alike."
            if result.agrees(effect)
            else "The endings differ, so nothing is claimed.",
        ),
    )


def describe_overlap(experiment: Experiment, shared: Mapping[str, int], *, as_of: date) -> Check:
    """Other tests that ran on the same customers on the same days."""
    n = len(experiment.frame)
    parts = [
        str(Prose("{n} in {name}", n=Measured(value=v, unit="count", n=n, as_of=as_of), name=k))
        for k, v in sorted(shared.items())
    ]
    return Check(
        id=f"impact.overlap.{slug(experiment.campaign.id)}",
        rows=("C8.1",),
        statement=Prose(
            "Customers of {campaign} were in another test on the same days: {parts}.",
            campaign=experiment.campaign.name,
            parts=joined(parts),
        ),
        verdict=Verdict.REVIEW,
        owner="analyst",
        evidence=("assignments", "campaigns"),
        so_what=Prose(
            "Arms drawn by lot share the other test evenly; the result holds for customers who "
            "get the other one too, and may not hold for it alone."
        ),
    )


def describe_stratified(result: Stratified, plain: Estimate, arm: ArmResult) -> Check:
    """Does comparing like with like tell the same."""
    change = in_points(result.change)
    is_same = not result.change.excludes(plain.value)
    ratio = Measured(
        value=result.width_ratio, unit="change", n=result.change.n, as_of=result.change.as_of
    )
    groups = Measured(
        value=len(result.table), unit="count", n=result.change.n, as_of=result.change.as_of
    )
    if is_same:
        advice = "It tells the same as comparing all with all."
    else:
        advice = "This differs from the plain comparison: believe this one."
    return Check(
        id=finding_id("stratified", arm),
        rows=("C8.1",),
        statement=Prose(
            "{name}: within {groups} groups of like customers {metric} changes by {change:full}.",
            name=arm.name,
            groups=groups,
            metric=result.metric.name,
            change=change,
        ),
        verdict=Verdict.PASS if is_same else Verdict.REVIEW,
        owner="analyst",
        evidence=_TEST,
        so_what=Prose(
            "The range is {ratio} as wide as without groups. {advice}", ratio=ratio, advice=advice
        ),
    )


def describe_capped(result: ArmResult) -> Check | None:
    """Does the result in spend hang on a few large spenders, or do they bring its noise."""
    influence = result.influence
    if influence is None:
        return None
    change = influence.plain.change
    cut = Measured(value=influence.n_cut, unit="count", n=change.n, as_of=change.as_of)
    match influence.hold:
        case Hold.CARRIED:
            statement = Prose("{name}: the result in spend hangs on a few customers.",
                              name=result.name)  # fmt: skip
        case Hold.NOISE:
            statement = Prose("{name}: a few customers bring the noise in spend.", name=result.name)
        case Hold.STEADY:
            statement = Prose("{name}: no few customers carry the result in spend.",
                              name=result.name)  # fmt: skip
    so_what = (
        Prose("All of it comes from {cut} customers.", cut=cut)
        if carries_all(influence)
        else Prose("The largest spenders spent alike, so none of them stands out.")
        if not influence.n_cut
        else Prose(
            "With the {cut} largest spenders cut to a cap the change is {capped:full}; as it "
            "stands it is {plain:full}.",
            cut=cut,
            capped=influence.capped.change,
            plain=change,
        )
    )
    return Check(
        id=finding_id("capped", result),
        rows=("C8.1",),
        statement=statement,
        verdict=Verdict.PASS if influence.hold is Hold.STEADY else Verdict.REVIEW,
        owner="analyst",
        evidence=_TEST,
        so_what=so_what,
    )


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
        id=f"impact.carry_over.{slug(campaign.id)}",
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
