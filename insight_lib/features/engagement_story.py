"""Engagement in words."""

from __future__ import annotations

from insight_lib.features.engagement import Engagement
from insight_lib.findings import (
    Check,
    Finding,
    Measured,
    Need,
    Prose,
    Verdict,
)

ENGAGEMENT_NEEDS = (Need(table="interactions", columns=("customer_id", "touchpoint")),)
_STABLE = 0.95


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
