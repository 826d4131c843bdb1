"""Which model is in use, and where it may run: in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from insight_lib.findings import (
    Check,
    Finding,
    Measured,
    Prose,
    Table,
    Verdict,
    counted,
    format_number,
)
from insight_lib.prediction.deployment import Deployment
from insight_lib.prediction.registry import Decided, Event, LiveModel

_FEATURES = ("customer_features", "transactions")
_KINDS = {"on_premise": "on our own machines", "hybrid": "in part with us", "cloud": "cloud"}


def describe_promotion(
    decided: Decided,
    champion: LiveModel | None,
    *,
    title: str,
    n: int,
    as_of: date,
    why_not: str = "",
) -> Check:
    """Which version scores a target from now on, and why not the new one where it does not.

    Args:
        why_not: The reasons in words; those of the registry if not given.
    """
    if decided.live_version is None:
        statement = Prose("No own model scores customers who {title}.", title=title)
    elif decided.is_done and (champion is None or champion.version != decided.version):
        statement = Prose(
            "Model {version} now scores customers who {title}.",
            version=decided.version[:6],
            title=title,
        )
    else:
        statement = Prose(
            "Model {version} still scores customers who {title}.",
            version=decided.live_version[:6],
            title=title,
        )
    before = (
        Prose("Model {old} was live since {day}", old=champion.version[:6], day=champion.since)
        if champion is not None
        else Prose("There was none before")
    )
    if decided.reasons:
        advice = Prose(
            "{before}. The new one stays out: {reasons}.",
            before=before,
            reasons=why_not or "; ".join(decided.reasons),
        )
    else:
        advice = Prose("{before}. One command rolls it back.", before=before)
    return Check(
        id=f"prediction.live_{decided.target.replace('@', '_').replace('-', '_')}",
        rows=("C4.5",),
        statement=statement,
        verdict=Verdict.PASS if decided.is_done else Verdict.REVIEW,
        owner="analyst",
        evidence=_FEATURES,
        value=counted(n, n, as_of),
        so_what=advice,
    )


def describe_deployment(result: Deployment, *, currency: str, n: int, as_of: date) -> Finding:
    """Where the model may run, and where it should."""
    if result.advised is None:
        return Finding(
            id="prediction.deployment",
            rows=("M5.1",),
            statement=Prose("The model may not run at any of our sites."),
            verdict=Verdict.MATTERS,
            owner="data-engineer",
            evidence=_FEATURES,
            so_what=Prose("It takes {takes}.", takes=result.takes),
            weight=4,
        )
    cost = Measured(value=result.advised.monthly_cost_amount, unit=currency, n=n, as_of=as_of)
    forbidden = [r for r in result.refused if r.is_forbidden]
    return Finding(
        id="prediction.deployment",
        rows=("M5.1",),
        statement=Prose(
            "Run the model at {site}: {cost} a month.", site=result.advised.title, cost=cost
        ),
        verdict=Verdict.MATTERS if forbidden else Verdict.DOES_NOT_MATTER,
        owner="data-engineer",
        evidence=_FEATURES,
        value=cost,
        so_what=Prose(
            "{forbidden} of {all} sites are out, because personal data may not go there; of the "
            "others this is the cheapest that is large enough.",
            forbidden=counted(len(forbidden), n, as_of),
            all=counted(len(result.refused) + len(result.allowed), n, as_of),
        ),
        weight=1,
    )


def deployment_table(result: Deployment, *, currency: str) -> Table:
    """All sites: may the model run there, at what cost, and if not, why."""
    rows = [
        (
            site.title,
            _KINDS[site.kind],
            "advised" if site == result.advised else "allowed",
            format_number(site.monthly_cost_amount, currency),
            "",
        )
        for site in result.allowed
    ]
    rows += [
        (
            refusal.site.title,
            _KINDS[refusal.site.kind],
            "forbidden" if refusal.is_forbidden else "too small",
            format_number(refusal.site.monthly_cost_amount, currency),
            "; ".join(refusal.reasons),
        )
        for refusal in result.refused
    ]
    return Table(
        title="Where the model may run",
        columns=("Site", "Kind", "Verdict", "Cost a month", "Why not"),
        rows=tuple(rows),
        note="From the register of sites and the law of the market; not legal advice.",
    )


def history_table(events: Sequence[Event]) -> Table:
    """What runs and people decided on the models of a market, newest first."""
    return Table(
        title="Models promoted and rolled back",
        columns=("Day", "Target", "What", "Model", "By", "Why"),
        rows=tuple(
            (
                f"{e.day:%Y-%m-%d}",
                e.target,
                "promoted" if e.action == "promote" else "rolled back",
                e.version[:6],
                e.by,
                e.why,
            )
            for e in sorted(events, key=lambda e: e.day, reverse=True)
        ),
    )
