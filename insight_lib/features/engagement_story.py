"""Engagement and model assumptions in words."""

from __future__ import annotations

from dataclasses import replace

from insight_lib.features.assumptions import Assumption, AssumptionTest
from insight_lib.features.contract_assumptions import ContractAssumptions
from insight_lib.features.engagement import Engagement
from insight_lib.findings import (
    Check,
    Finding,
    Gate,
    Measured,
    Need,
    Prose,
    Table,
    Verdict,
    format_number,
    format_range,
)

ENGAGEMENT_NEEDS = (Need(table="interactions", columns=("customer_id", "touchpoint")),)
_STABLE = 0.95
_CLAIMS: dict[Assumption, tuple[str, str, str]] = {
    "proportional_hazards": (
        "What drives leaving drives it equally early and late",
        "What drives leaving changes with the age of the contract: {names}",
        "Model early and late months apart, or let the effect change with time.",
    ),
    "calibration": (
        "Predicted chances come true as often as they say",
        "Predicted chances are off: {names}",
        "Recalibrate on recent outcomes before anyone acts on a chance.",
    ),
    "linearity": (
        "Risks rise or fall in a straight line",
        "Risks do not follow a straight line: {names}",
        "Use a curve (spline) or bands for these columns.",
    ),
    "positivity": (
        "Nearly everyone could have been in either group",
        "Some could hardly have been in the other group",
        "Compare only those who could have been in either group.",
    ),
}


def describe_engagement(result: Engagement) -> tuple[Finding, Check]:
    """Who is silent, how engagement is spread, and whether ranks hold under other weights."""
    silent = result.silent
    days = Measured(value=result.window_days, unit="days", n=silent.n, as_of=silent.as_of)
    bands = result.bands.sort_values(["silent_share", "band"], ascending=[False, True])
    is_clear = len(bands) > 1 and bands["lower"].iloc[0] > bands["upper"].iloc[-1]
    tail = (
        Prose(", most of all in band {band}", band=str(bands["band"].iloc[0]))
        if is_clear
        else Prose("")
    )
    contact = Finding(
        id="features.engagement",
        rows=("M3.6",),
        statement=Prose(
            "About {silent:in_hundred} customers had no contact with us in {days}{tail}.",
            silent=silent,
            days=days,
            tail=tail,
        ),
        verdict=Verdict.MATTERS if silent.lower > 0.05 else Verdict.DOES_NOT_MATTER,
        owner="crm-lead",
        evidence=("interactions", "customers"),
        value=silent,
        good="down",
        so_what=Prose(
            "The most engaged fifth holds {top} of all engagement (likely {top:range}); scores "
            "compare between bands, so pick by score and not by number of contacts.",
            top=result.top_share,
        )
        if result.is_ranked
        else Prose("All customers are engaged alike, so nobody is to be picked by score."),
        weight=2.1,
    )
    if not result.is_ranked:
        return contact, Check(
            id="features.engagement_weights",
            rows=("M3.6",),
            statement=Prose("All customers have the same score, so there is no ranking to test."),
            verdict=Verdict.NOT_MEASURABLE,
            owner="crm-lead",
            evidence=("interactions",),
            needs=ENGAGEMENT_NEEDS,
            so_what=Prose("It takes customers who differ in how often they are in contact."),
            weight=0.4,
        )
    change = Measured(value=result.weight_change, unit="share", n=silent.n, as_of=silent.as_of)
    is_stable = result.rank_correlation.value >= _STABLE and result.kept_share.value >= 0.8
    ignored = ", ".join(result.unweighted)
    check = Check(
        id="features.engagement_weights",
        rows=("M3.6",),
        statement=Prose(
            "With weights {change} higher or lower, at least {kept} of the most engaged fifth "
            "stay in it.",
            change=change,
            kept=result.kept_share,
        ),
        verdict=Verdict.PASS if is_stable else Verdict.REVIEW,
        owner="crm-lead",
        evidence=("interactions",),
        value=result.rank_correlation,
        good="up",
        so_what=Prose(
            "{advice} The weight of {name} moves ranks most.{ignored}",
            advice="The ranking does not hang on the exact weights."
            if is_stable
            else "The ranking hangs on the weights: agree on them before using it.",
            name=result.sensitive_to,
            ignored=f" Without weight, so not counted: {ignored}." if ignored else "",
        ),
        weight=0.9,
    )
    return contact, check


def _names(tests: list[AssumptionTest]) -> str:
    return ", ".join(test.subject.replace("_", " ") for test in tests)


def describe_assumptions(result: ContractAssumptions) -> tuple[Check, ...]:
    """One check per assumption, and one for the handling of data."""
    judged = result.judged
    checks = []
    for assumption, (holds, broken, advice) in _CLAIMS.items():
        failed = [t for t in judged.failed if t.assumption == assumption]
        small = [t for t in judged.small if t.assumption == assumption]
        passed = [t for t in judged.passed if t.assumption == assumption]
        reason = next((u.reason for u in judged.unmeasured if u.assumption == assumption), None)
        shown = failed or small or passed
        if reason is not None:
            statement = Prose("{holds}: cannot be tested, {why}.", holds=holds, why=reason)
            verdict, advice = Verdict.FAIL, "An assumption that nobody tested does not hold yet."
        elif failed:
            statement = Prose("{claim}.", claim=broken.format(names=_names(failed)))
            verdict = Verdict.FAIL
        elif small:
            statement = Prose("{holds}, but for a departure too small to act on.", holds=holds)
            verdict, advice = Verdict.REVIEW, "Watch it at the next fit."
        else:
            statement = Prose("{holds}, as far as the data can tell.", holds=holds)
            verdict, advice = Verdict.PASS, "No action."
        checks.append(
            Check(
                id=f"features.assumption_{assumption}",
                rows=("M3.8",),
                statement=statement,
                verdict=verdict,
                owner="analyst",
                evidence=("contracts",),
                value=max(shown, key=lambda t: abs(t.departure.value)).departure if shown else None,
                so_what=Prose("{advice}", advice=advice),
                weight=1.0,
            )
        )
    handling = judged.handling
    columns = Measured(
        value=handling.n_columns, unit="count", n=result.n_contracts, as_of=result.as_of
    )
    if handling.is_allowed:
        statement = Prose(
            "All {columns} columns and the purpose are allowed in {sector}.",
            columns=columns,
            sector=handling.sector,
        )
    else:
        faults = [f"the columns {', '.join(handling.forbidden_columns)}"] * bool(
            handling.forbidden_columns
        ) + [f"the purpose {handling.purpose}"] * (not handling.is_purpose_allowed)
        statement = Prose(
            "{sector} does not allow {faults}.",
            sector=handling.sector.capitalize(),
            faults=" and ".join(faults),
        )
    checks.append(
        Check(
            id="features.assumption_handling",
            rows=("M3.8",),
            statement=statement,
            verdict=Verdict.PASS if handling.is_allowed else Verdict.FAIL,
            owner="insight-lead",
            evidence=("contracts",),
            so_what=Prose(
                "{advice}",
                advice="No action."
                if handling.is_allowed
                else "Take it out of the model, or have the permission put on record.",
            ),
            weight=1.0,
        )
    )
    return tuple(checks)


def gate_assumptions(result: ContractAssumptions) -> Gate:
    """Stops prediction while an assumption is broken, untested, or data handling is not allowed."""
    judged = result.judged
    n_broken = len({t.assumption for t in judged.failed}) + len(judged.unmeasured)
    n_broken += not judged.handling.is_allowed
    broken = Measured(value=n_broken, unit="count", n=result.n_contracts, as_of=result.as_of)
    is_allowed = judged.is_allowed
    return Gate(
        id="features.assumptions",
        rows=("M3.8",),
        statement=Prose("What a churn model assumes holds; it may be built.")
        if is_allowed
        else Prose(
            "A churn model may not be built yet; conditions not met: {broken} of {all}.",
            broken=broken,
            all=replace(broken, value=len(_CLAIMS) + 1),
        ),
        verdict=Verdict.PASS if is_allowed else Verdict.FAIL,
        owner="insight-lead",
        evidence=("contracts",),
        value=broken,
        good="down",
        so_what=Prose(
            "{advice}",
            advice="Test again with every new fit."
            if is_allowed
            else "See the checks: each says what to change.",
        ),
        blocks=("prediction",),
        weight=5.0,
    )


def assumption_table(result: ContractAssumptions) -> Table:
    """Every test with its size, range and verdict."""
    judged = result.judged
    rows = [
        (
            test.assumption.replace("_", " ").capitalize(),
            test.subject.replace("_", " "),
            format_number(test.departure.value, test.departure.unit),
            format_range(test.departure),
            test.scale,
            word,
        )
        for word, tests in (
            ("fails", judged.failed),
            ("small", judged.small),
            ("holds", judged.passed),
        )
        for test in tests
    ]
    return Table(
        title="Assumptions of a churn model, one test a row",
        columns=("Assumption", "Tested on", "Departure", "Likely range", "Measured as", "Verdict"),
        rows=tuple(sorted(rows)),
        note="All tests are judged together; a departure fails when it is beyond chance and large "
        "enough to matter.",
    )
