"""Where a test worked, and what the next one takes, in words."""

from __future__ import annotations

from collections.abc import Sequence

from insight_lib.findings import Check, Finding, Measured, Prose, Table, Value, Verdict
from insight_lib.impact.arms import ArmResult, Release
from insight_lib.impact.design import NextTest
from insight_lib.impact.experiment_story import finding_id, joined
from insight_lib.impact.groups import GroupAnswers
from insight_lib.impact.inputs import slug
from insight_lib.statistics import in_points

_TEST = ("assignments", "campaigns", "transactions")


def describe_groups(answers: GroupAnswers, result: ArmResult) -> Finding:
    """Where a test worked, where it harmed, and whether groups of customers differ."""
    up = joined([n for n, e in answers.effects.items() if e.stands and e.change.value > 0])
    down = joined([n for n, e in answers.effects.items() if e.stands and e.change.value < 0])
    values: dict[str, Value] = {"name": result.name, "metric": answers.metric.name}
    moved = []
    if up:
        moved.append("raised {metric} among {up}")
        values["up"] = up
    if down:
        moved.append("lowered it among {down}" if up else "lowered {metric} among {down}")
        values["down"] = down
    if moved:
        # Until returns have had their time nothing is sure.
        values["surely"] = "surely" if result.provisional_until is None else "so far"
    may_contact = result.release not in (Release.STOP, Release.BROKEN)
    verdict, advice = Verdict.CANNOT_TELL, "Leave no group out for this alone."
    if answers.is_clear and moved:
        statement = "{name} {surely} " + " and ".join(moved) + "; groups by {trait} differ."
        verdict = Verdict.MATTERS
        if up and may_contact:
            first = "Contact where it works first"
            if result.release is not Release.ROLL_OUT:
                first = "If it is repeated, contact where it works first"
            advice = first + (", and leave the others alone." if down else ".")
        elif up:
            advice = "Do not contact by this: the test as a whole may not be rolled out."
        else:
            advice = "Contact none of them: it is seen to work nowhere."
    elif answers.is_clear:
        statement = (
            "Groups by {trait} answer {name} differently in {metric}, but none alone is sure."
        )
        advice = "Test again with more customers in each group."
    elif moved:
        statement = (
            "{name} {surely} " + " and ".join(moved) + "; no group by {trait} is seen to differ."
        )
        if not up:
            advice = "Contact no group: it is seen to work nowhere."
    else:
        statement = "No group of customers by {trait} surely answers {name} in {metric}."
        advice = "Judge the test as a whole, not by group."
    if result.provisional_until is not None:
        verdict, advice = Verdict.CANNOT_TELL, "What was bought may still come back: decide later."
    gap = in_points(answers.gap)
    tried = Measured(value=answers.n_traits, unit="count", n=gap.n, as_of=gap.as_of)
    return Finding(
        id=f"{finding_id('groups', result)}.{slug(answers.trait)}",
        rows=("C8.1", "C8.2"),
        statement=Prose(statement, trait=answers.trait, **values),
        verdict=verdict,
        owner="crm-lead",
        evidence=_TEST,
        value=gap,
        so_what=Prose(
            "{advice} {high} less {low}: {gap:full}, the widest of all pairs. Splits examined: "
            "{tried}, judged together.",
            advice=advice,
            high=answers.high.capitalize(),
            low=answers.low,
            gap=gap,
            tried=tried,
        ),
        weight=2.9 if answers.is_clear else 2.2,
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
