"""Who is scored by what, what waits for a person, where a model may run: in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import pandas as pd

from insight_lib.findings import (
    Check,
    Finding,
    Measured,
    Prose,
    Table,
    Tile,
    Tiles,
    Verdict,
    counted,
    format_number,
)
from insight_lib.prediction.chain import Rung, Scored, WhyAnswer
from insight_lib.prediction.deployment import Deployment
from insight_lib.prediction.registry import Decided, Event, LiveModel
from insight_lib.prediction.review import Agreement, Split, Stakes

_FEATURES = ("customer_features", "transactions")
_RUNG_WORDS = {
    "local": "the market's own model",
    "pooled": "what other markets know",
    "rule": "a rule of thumb",
}
_KINDS = {"on_premise": "on our own machines", "hybrid": "in part with us", "cloud": "cloud"}


def describe_rungs(scored: Sequence[Scored], titles: Mapping[str, str], *, as_of: date) -> Check:
    """Which rung scores customers, over all targets."""
    n = sum(len(one.log) for one in scored)
    local = sum(one.counts.get("local", 0) for one in scored)
    share = Measured(value=local / n if n else 0.0, unit="share", n=n, as_of=as_of)
    lower = [one for one in scored if one.first_rung.name != "local"]
    if lower:
        worst = lower[0]
        advice = Prose(
            "{title}: {reason}. Treat these scores as a first guess until the own model is back.",
            title=titles[worst.target].capitalize(),
            reason=worst.rungs[0].reason,
        )
    else:
        advice = Prose("Every score says in the log which model gave it, and why that one.")
    return Check(
        id="decisions.rungs",
        rows=("M5.5",),
        statement=Prose("{share} of scores come from the market's own models.", share=share),
        verdict=Verdict.REVIEW if lower else Verdict.PASS,
        owner="analyst",
        evidence=_FEATURES,
        value=share,
        so_what=advice,
        weight=3,
    )


def rungs_table(
    scored: Sequence[Scored], titles: Mapping[str, str], *, minimum_cell_size: int
) -> Table:
    """Customers by question and rung, with the reason of the first rung that scores."""

    def cell(count: int) -> str:
        return f"under {minimum_cell_size}" if 0 < count < minimum_cell_size else f"{count:,}"

    return Table(
        title="Who is scored by what",
        columns=("Customers who", *(w.capitalize() for w in _RUNG_WORDS.values()), "Why"),
        rows=tuple(
            (
                titles[one.target],
                *(cell(one.counts.get(rung, 0)) for rung in _RUNG_WORDS),
                "; ".join(dict.fromkeys(r.reason for r in _tried(one))),
            )
            for one in scored
        ),
        note="A rung scores only whom the rungs before it cannot.",
    )


def _tried(one: Scored) -> list[Rung]:
    """The rungs down to the first that scores."""
    stop = one.rungs.index(one.first_rung)
    return list(one.rungs[: stop + 1])


def describe_log(log: pd.DataFrame, answers: Sequence[WhyAnswer], *, as_of: date) -> Check:
    """Whether every score is logged with its reason, and can be made again from the log."""
    n = len(log)
    silent = int((log["reason"].str.strip() == "").sum())
    wrong = [answer for answer in answers if answer.faults]
    tried = counted(len(answers), n, as_of)
    if wrong:
        statement = Prose(
            "{wrong} of {tried} logged scores cannot be made again.",
            wrong=counted(len(wrong), n, as_of),
            tried=tried,
        )
        advice = Prose("Do not use this page's scores: {fault}.", fault=wrong[0].faults[0])
    else:
        statement = Prose(
            "All {n} scores are logged with their reason; {tried} tried again came out the same.",
            n=counted(n, n, as_of),
            tried=tried,
        )
        advice = Prose("Ask why a customer was scored so on a day, and the log answers.")
    return Check(
        id="decisions.log",
        rows=("M5.8",),
        statement=statement,
        verdict=Verdict.FAIL if wrong or silent else Verdict.PASS,
        owner="analyst",
        evidence=_FEATURES,
        so_what=advice,
    )


def describe_review(split: Split, *, stakes: Stakes, currency: str, as_of: date) -> Finding:
    """What waits for a person, and that nothing of it has left."""
    n = len(split.released) + len(split.queue) + len(split.rejected)
    waiting = len(split.queue)
    amount = Measured(
        value=float(split.queue["stakes_amount"].abs().sum()), unit=currency, n=waiting, as_of=as_of
    )
    if not waiting:
        return Finding(
            id="decisions.review",
            rows=("M5.6",),
            statement=Prose(
                "No score waits for a person; {n} may leave.",
                n=counted(len(split.released), n, as_of),
            ),
            verdict=Verdict.DOES_NOT_MATTER,
            owner="crm-lead",
            evidence=_FEATURES,
            value=counted(0, n, as_of),
            so_what=Prose(
                "{reviewed} of them were released by a person, {rejected} were rejected and stay.",
                reviewed=counted(split.n_reviewed, n, as_of),
                rejected=counted(len(split.rejected), n, as_of),
            ),
            weight=2,
        )
    return Finding(
        id="decisions.review",
        rows=("M5.6",),
        statement=Prose(
            "{waiting} scores wait for a person; {amount} is at stake in them.",
            waiting=counted(waiting, n, as_of),
            amount=amount,
        ),
        verdict=Verdict.MATTERS,
        owner="crm-lead",
        evidence=_FEATURES,
        value=counted(waiting, n, as_of),
        good="down",
        so_what=Prose(
            "Decide on them, the largest first: from {limit} at stake a score does not leave "
            "before a person releases it.",
            limit=Measured(value=stakes.smallest_amount, unit=currency, n=n, as_of=as_of),
        )
        if stakes.smallest_amount is not None
        else Prose(
            "Declare the amount from which on a person decides in {currency}, or exchange rates: "
            "until then every score waits.",
            currency=currency,
        ),
        weight=5,
    )


def review_tiles(split: Split, *, as_of: date) -> Tiles:
    """Customers all of whose scores may leave, of whom one waits, and of whom one is rejected."""
    waiting, rejected = set(split.queue["customer_id"]), set(split.rejected["customer_id"])
    everyone = {*split.released["customer_id"], *waiting, *rejected}
    n = len(everyone)
    parts = {
        "All scores may leave": n - len(waiting | rejected),
        "A score waits for a person": len(waiting),
        "A score was rejected": len(rejected),
    }
    return Tiles(
        tuple(
            Tile(
                label=label,
                value=Measured(value=k / n if n else 0.0, unit="share", n=n, as_of=as_of),
            )
            for label, k in parts.items()
        )
    )


def describe_agreement(result: Agreement, *, smallest_kappa: float) -> Check:
    """How people and the model get on."""
    kappa = result.kappa
    if kappa.lower >= smallest_kappa:
        verdict, advice = Verdict.PASS, "People and model see the same; a sample would do."
    elif kappa.upper < smallest_kappa:
        verdict = Verdict.FAIL
        advice = "Read the reasons that people gave: the model misses what they know."
    else:
        verdict, advice = Verdict.REVIEW, "Decide on more scores, then it shows."
    return Check(
        id="decisions.agreement",
        rows=("M5.6",),
        statement=Prose(
            "People and model agree on {agreed} of reviewed scores (likely {agreed:range}).",
            agreed=result.agreed,
        ),
        verdict=verdict,
        owner="insight-lead",
        evidence=_FEATURES,
        value=kappa,
        target=Measured(value=smallest_kappa, unit="index", n=kappa.n, as_of=kappa.as_of),
        good="up",
        so_what=Prose(
            "{advice} Beyond chance the agreement is {kappa} (likely {kappa:range}).",
            advice=advice,
            kappa=kappa,
        ),
    )


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
