"""Contracts and pipeline in words."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from insight_lib.features.competing_risks import UNKNOWN_CAUSE, ChurnCauses, PaymentEvidence
from insight_lib.features.sales_cycle import SalesCycle
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
    judge,
)

CAUSE_NAMES = {
    "voluntary": "Cancelling",
    "non_renewal": "Not renewing",
    "payment": "Failed payment",
    UNKNOWN_CAUSE: "No reason on record",
}
_CAUSE_ADVICE = {
    "voluntary": "Ask those who cancel why, and call accounts whose use falls before they do.",
    "non_renewal": "Start the renewal talk a quarter before the term ends.",
    "payment": "Retry failed payments and ask for a new card: these accounts did not choose to go.",
    UNKNOWN_CAUSE: "Record a reason at every end; without it nobody can act on the right one.",
}
CONTRACT_NEEDS = (
    Need(table="contracts", columns=("start_date", "end_date", "end_reason")),
    Need(table="payments", columns=("contract_id", "due_date", "status")),
)
PIPELINE_NEEDS = (
    Need(table="opportunities", columns=("entered_date", "left_date", "outcome", "annual_amount")),
    Need(table="contracts", columns=("start_date", "end_date", "monthly_amount")),
)


def _months(result: ChurnCauses | SalesCycle, like: Estimate) -> Measured:
    return Measured(value=result.horizon_months, unit="months", n=like.n, as_of=like.as_of)


def points(share: Estimate) -> Estimate:
    """A difference of shares in percentage points."""
    return replace(
        share,
        value=100 * share.value,
        lower=100 * share.lower,
        upper=100 * share.upper,
        unit="points",
    )


def describe_churn_causes(
    result: ChurnCauses, *, smallest_change_that_matters: float
) -> tuple[Finding, Finding]:
    """How many contracts end, and which way of ending leads.

    Args:
        smallest_change_that_matters: Between two causes, as a share of contracts.
    """
    stay = result.in_force
    months = _months(result, stay)
    first, share = result.incidence[0]
    parts = Prose("{share} by {cause}", share=share, cause=CAUSE_NAMES.get(first, first).lower())
    for cause, other in result.incidence[1:]:
        parts = Prose(
            "{parts}, {other} by {cause}",
            parts=parts,
            other=other,
            cause=CAUSE_NAMES.get(cause, cause).lower(),
        )
    staying = Finding(
        id="features.contract_survival",
        rows=("M3.5",),
        statement=Prose(
            "About {stay:in_hundred} contracts are still in force after {months} "
            "(likely {stay:range}).",
            stay=stay,
            months=months,
        ),
        verdict=Verdict.MATTERS if stay.upper < 0.9 else Verdict.DOES_NOT_MATTER,
        owner="commercial-director",
        evidence=("contracts",),
        value=stay,
        good="up",
        so_what=Prose("The others end: {parts}.", parts=parts),
        weight=4.5,
    )
    if result.lead is None:
        statement, gap = Prose("All contracts that ended share one reason on record."), Prose("")
        verdict, value = Verdict.MATTERS, share
    else:
        second = CAUSE_NAMES.get(result.incidence[1][0], result.incidence[1][0]).lower()
        verdict, value = judge(result.lead, smallest_change_that_matters), result.lead
        lead = points(result.lead)
        template = {
            Verdict.MATTERS: "{first} ends most contracts, {lead:size} more than {second}.",
            Verdict.DOES_NOT_MATTER: "{first} and {second} end about equally many contracts "
            "(apart by {lead:range}).",
            Verdict.CANNOT_TELL: "{first} or {second}: we cannot yet tell which ends more "
            "contracts ({lead:range}).",
        }[verdict]
        statement = Prose(template, first=CAUSE_NAMES.get(first, first), second=second, lead=lead)
        gap = Prose(" The gap within {months} is likely {lead:range}.", months=months, lead=lead)
    advice = _CAUSE_ADVICE.get(first, "Find out what stands behind this reason.")
    if verdict is not Verdict.MATTERS:
        advice = f"Do not bet on one remedy yet. {advice}"
    leading = Finding(
        id="features.churn_cause",
        rows=("M3.5",),
        statement=statement,
        verdict=verdict,
        owner="crm-lead",
        evidence=("contracts",),
        value=value,
        good="down",
        so_what=Prose("{advice}{gap}", advice=advice, gap=gap),
        due=stay.as_of + timedelta(days=30),
        weight=4.4,
    )
    return staying, leading


def describe_payment_evidence(result: PaymentEvidence) -> Check:
    """Do recorded reasons agree with what the payments say."""
    is_wrong = result.voluntary.lower > 0.05
    is_unsure = result.voluntary.upper > 0.05 or result.unpaid.upper < 0.95
    verdict = Verdict.FAIL if is_wrong else Verdict.REVIEW if is_unsure else Verdict.PASS
    return Check(
        id="features.churn_reason_check",
        rows=("M3.5",),
        statement=Prose(
            "{wrong} of {voluntary:n} ends recorded as cancelling followed a failed payment.",
            wrong=result.n_voluntary,
            voluntary=result.voluntary,
        ),
        verdict=verdict,
        owner="data-engineer",
        evidence=("contracts", "payments"),
        value=result.voluntary,
        good="down",
        so_what=Prose(
            "{advice}",
            advice={
                Verdict.FAIL: "Correct the reasons: these accounts may not have chosen to go.",
                Verdict.REVIEW: "Look through the reasons of the last quarter by hand.",
                Verdict.PASS: "The recorded reasons can be trusted.",
            }[verdict],
        ),
        weight=0.8,
    )


def describe_sales_cycle(result: SalesCycle) -> tuple[Finding, Finding]:
    """What the open pipeline and a new deal are worth."""
    pipeline, deal = result.pipeline_value, result.deal_value
    as_of, n = pipeline.as_of, pipeline.n
    win, naive = result.win_share, result.naive_win_share
    missing = Measured(value=result.n_without_amount, unit="count", n=deal.n, as_of=as_of)
    note = (
        Prose(" {missing} deals state no amount and count with the mean.", missing=missing)
        if result.n_without_amount
        else Prose("")
    )
    is_off = not win.lower <= naive.value <= win.upper
    open_deals = Finding(
        id="features.pipeline_value",
        rows=("M3.4",),
        statement=Prose(
            "The {n} open deals are worth about {value} today (likely {value:range}).",
            n=Measured(value=n, unit="count", n=n, as_of=as_of),
            value=pipeline,
        ),
        verdict=Verdict.MATTERS if n else Verdict.DOES_NOT_MATTER,
        owner="commercial-director",
        evidence=("opportunities", "contracts"),
        value=pipeline,
        good="up",
        so_what=Prose(
            "Plan with this range, not with the amounts on the deals: it counts the chance to "
            "win, the wait and the first {months} of each contract.{note}",
            months=_months(result, pipeline),
            note=note,
        ),
        weight=4.2,
    )
    new_deal = Finding(
        id="features.deal_value",
        rows=("M3.4",),
        statement=Prose(
            "A new deal is worth {value} (likely {value:range}); {win:in_hundred} are won.",
            value=deal,
            win=win,
        ),
        verdict=Verdict.MATTERS,
        owner="commercial-director",
        evidence=("opportunities", "contracts"),
        value=deal,
        good="up",
        so_what=Prose(
            "Winning a deal takes {days} and may cost up to this much. {advice}",
            days=result.days_to_win,
            advice=Prose(
                "Closed deals alone say {naive}, outside the likely range: they leave out those "
                "still open.",
                naive=naive,
            )
            if is_off
            else Prose("Closed deals alone say {naive} are won.", naive=naive),
        ),
        weight=3.2,
    )
    return open_deals, new_deal


def describe_unresolved(result: SalesCycle, *, most: float = 0.05) -> Check:
    """Do deals stay open beyond what the data can resolve."""
    win = result.win_share
    share = Measured(value=result.unresolved_share, unit="share", n=win.n, as_of=win.as_of)
    is_fine = result.unresolved_share <= most
    return Check(
        id="features.pipeline_unresolved",
        rows=("M3.4",),
        statement=Prose(
            "At most {share} of the deals in any stage stay open past the end of the data.",
            share=share,
        ),
        verdict=Verdict.PASS if is_fine else Verdict.REVIEW,
        owner="analyst",
        evidence=("opportunities",),
        value=share,
        good="down",
        so_what=Prose(
            "{advice}",
            advice="No action."
            if is_fine
            else "Close deals that are dead: until then they count as if they may still be won.",
        ),
        weight=0.6,
    )


def contract_tiles(churn: ChurnCauses, cycle: SalesCycle) -> Tiles:
    """The numbers a sales director looks for first."""
    return Tiles(
        (
            Tile(label="Contracts still in force", value=churn.in_force, good="up"),
            Tile(label="Deals won", value=cycle.win_share, good="up"),
            Tile(label="Time to win", value=cycle.days_to_win, good="down"),
            Tile(label="Value of open deals", value=cycle.pipeline_value, good="up"),
        )
    )
