"""Contracts and pipeline in words."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

from insight_lib.features.competing_risks import UNKNOWN_CAUSE, ChurnCauses, PaymentEvidence
from insight_lib.features.contract_records import Contracts
from insight_lib.features.pipeline_paths import Deals
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
    counted,
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
_MOST_UNRESOLVED = 0.05  # of a stage's deals; beyond it, what they are worth is not sure
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
    is_cut = result.horizon_months < result.asked_months
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
            "(likely {stay:range}){cut}.",
            stay=stay,
            months=months,
            cut=Prose(
                "; what becomes of them up to {asked} cannot be said, as too few were watched so "
                "long",
                asked=replace(months, value=result.asked_months),
            )
            if is_cut
            else "",
        ),
        verdict=Verdict.MATTERS
        if stay.upper < 0.9
        else Verdict.CANNOT_TELL
        if is_cut or stay.lower < 0.9
        else Verdict.DOES_NOT_MATTER,
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
    win = result.win_share
    missing = Measured(value=result.n_without_amount, unit="count", n=deal.n, as_of=as_of)
    note = (
        Prose(" {missing} deals state no amount and count with the mean.", missing=missing)
        if result.n_without_amount
        else Prose("")
    )
    pooled = (
        Prose(" Too small to stand alone, so taken as one: {g}.", g=", ".join(result.pooled_groups))
        if result.pooled_groups
        else Prose("")
    )
    old = result.old_win_share
    disagrees = old is not None and (old.lower > win.upper or old.upper < win.lower)
    is_sure = not disagrees and result.unresolved_share <= _MOST_UNRESOLVED
    open_deals = Finding(
        id="features.pipeline_value",
        rows=("M3.4",),
        statement=Prose(
            "The {n} open deals are worth about {value} today (likely {value:range}).",
            n=Measured(value=n, unit="count", n=n, as_of=as_of),
            value=pipeline,
        ),
        verdict=Verdict.DOES_NOT_MATTER
        if not n
        else Verdict.MATTERS
        if is_sure
        else Verdict.CANNOT_TELL,
        owner="commercial-director",
        evidence=("opportunities", "contracts"),
        value=pipeline,
        good="up",
        so_what=Prose(
            "Plan with this range, not with the amounts on the deals: it counts the chance to "
            "win, the wait and the first {months} of each contract.{note}{pooled}",
            months=_months(result, pipeline),
            note=note,
            pooled=pooled,
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
        verdict=Verdict.MATTERS if is_sure else Verdict.CANNOT_TELL,
        owner="commercial-director",
        evidence=("opportunities", "contracts"),
        value=deal,
        good="up",
        so_what=Prose(
            "Winning a deal takes {days} and may cost up to this much. {advice}",
            days=result.days_to_win,
            advice=_held_against(result, disagrees=disagrees),
        ),
        weight=3.2,
    )
    return open_deals, new_deal


def _held_against(result: SalesCycle, *, disagrees: bool) -> Prose:
    """The modelled chance to win beside a plain count of old deals, which no model is in."""
    old = result.old_win_share
    if old is None:
        return Prose("Of the deals closed so far {naive} were won.", naive=result.naive_win_share)
    if disagrees:
        return Prose(
            "But of the deals that began long ago {old} were won (likely {old:range}): the two do "
            "not agree, so look at how stages are recorded before planning with either.",
            old=old,
        )
    return Prose(
        "Of the deals that began long ago {old} were won (likely {old:range}), in line with it.",
        old=old,
    )


def describe_contract_records(result: Contracts, *, as_of: date) -> Check | None:
    """What was done to the contracts' records before anything was counted; None if nothing."""
    n = result.n_rows
    parts = []
    if result.n_joined:
        parts.append(
            Prose(
                "{k} contracts go on with an earlier one of their account and count with it",
                k=counted(result.n_joined, n, as_of),
            )
        )
    if result.observed_from is not None:
        parts.append(
            Prose(
                "ends are on record from {day} on, so older contracts are watched from then",
                day=result.observed_from,
            )
        )
    if result.n_day_unknown:
        parts.append(
            Prose(
                "{k} ended on a day that is not on record and count to their agreed term",
                k=counted(result.n_day_unknown, n, as_of),
            )
        )
    if result.n_set_aside:
        parts.append(
            Prose(
                "{k} end before they start and are left out",
                k=counted(result.n_set_aside, n, as_of),
            )
        )
    if not parts:
        return None
    said = parts[0]
    for part in parts[1:]:
        said = Prose("{said}; {part}", said=said, part=part)
    is_faulty = bool(result.n_day_unknown or result.n_set_aside)
    return Check(
        id="features.contract_records",
        rows=("M3.5",),
        statement=Prose("Of {n} contracts: {said}.", n=counted(n, n, as_of), said=said),
        verdict=Verdict.REVIEW if is_faulty or result.observed_from is not None else Verdict.PASS,
        owner="data-engineer",
        evidence=("contracts",),
        so_what=Prose(
            "{advice}",
            advice="Write down the day of every end."
            if is_faulty
            else "Declare the first day of full records (contracts_observed_from)."
            if result.observed_from is not None
            else "No action.",
        ),
        weight=0.8,
    )


def describe_deal_records(deals: Deals, *, as_of: date) -> Check | None:
    """Deals whose days on record cannot be, or lack; nothing where all are whole."""
    n = int(deals.spells["opportunity_id"].nunique()) + deals.n_set_aside
    if not deals.n_set_aside and not deals.n_day_unknown:
        return None
    return Check(
        id="features.pipeline_records",
        rows=("M3.4",),
        statement=Prose(
            "{aside} of {n} deals are left out, because a stage ends before it begins or closes "
            "without an outcome; {unknown} are closed on a day that is not on record and count "
            "with the usual time.",
            aside=counted(deals.n_set_aside, n, as_of),
            n=counted(n, n, as_of),
            unknown=counted(deals.n_day_unknown, n, as_of),
        ),
        verdict=Verdict.REVIEW,
        owner="data-engineer",
        evidence=("opportunities",),
        so_what=Prose("Correct entered_date, left_date and outcome of these deals."),
        weight=0.9,
    )


def describe_unresolved(result: SalesCycle, *, most: float = _MOST_UNRESOLVED) -> Check:
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
