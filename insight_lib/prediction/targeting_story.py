"""Targeting and recommendations in words and figures."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date, timedelta

import pandas as pd

from insight_lib.charts import Caption, Chart, plot_bars
from insight_lib.findings import (
    Check,
    Finding,
    Measured,
    Prose,
    Table,
    Verdict,
    format_number,
)
from insight_lib.prediction.recommend import ANYWHERE, HitRate, Recommendations
from insight_lib.prediction.targeting import ChannelPlan, Eligibility, Targeting

_EVIDENCE = ("scores", "customer_features")
_RULE_WORDS = {
    "no consent": "has not agreed to be contacted",
    "contacted lately": "was contacted a short time ago",
    "contacted often enough": "was contacted often enough",
    "open complaint": "has an open complaint, or it is not known",
}


def describe_targeting(result: Targeting, *, margin_share: float | None = None) -> Finding:
    """Whom to contact, and what it is worth against simpler ways to use the hours."""
    value = result.value
    n_contacts = Measured(
        value=float(len(result.contacts)), unit="count", n=result.n_eligible, as_of=value.as_of
    )
    if not len(result.contacts):
        return Finding(
            id="decisions.targeting",
            rows=("C4.7",),
            statement=Prose("Contact no one: no contact is worth its cost."),
            verdict=Verdict.DOES_NOT_MATTER,
            owner="crm-lead",
            evidence=_EVIDENCE,
            value=n_contacts,
            so_what=Prose("Use the hours elsewhere, or offer something that is worth more."),
            weight=6,
        )
    is_sure = value.lower > 0
    return Finding(
        id="decisions.targeting",
        rows=("C4.7",),
        statement=Prose(
            "Contact {n} customers: worth about {value} of margin after the cost of contacts.",
            n=n_contacts,
            value=value,
        ),
        verdict=Verdict.MATTERS if is_sure else Verdict.CANNOT_TELL,
        owner="crm-lead",
        evidence=_EVIDENCE,
        value=value,
        good="up",
        so_what=Prose(
            "{advice} Likely {value:range}. The same hours by lot bring {lot}{recent}.{margin} All "
            "this holds if the value given is what a contact changes.",
            margin=Prose("")
            if margin_share is None
            else Prose(
                " Reckoned at a margin of {share} of what they spend who stay.",
                share=Measured(
                    value=margin_share, unit="share", n=result.n_eligible, as_of=value.as_of
                ),
            ),
            advice="Contact them in the order of the list."
            if is_sure
            else "Try it on part of the list first: chance alone could eat the gain.",
            value=value,
            lot=result.at_random,
            recent=Prose("; most recent buyers first, {amount}", amount=result.by_recency)
            if result.by_recency
            else Prose(""),
        ),
        due=value.as_of + timedelta(days=7),
        weight=6,
    )


def describe_hours(result: Targeting) -> Finding | None:
    """Where one more hour brings most; nothing if no channel is short of hours."""
    short = [p for p in result.channels if p.hour_worth is not None]
    if not short:
        return None
    top = max(short, key=lambda p: (_worth(p).value, p.channel.id))
    worth = _worth(top)
    is_worth = worth.value > 0
    title = top.channel.title
    return Finding(
        id="decisions.hours",
        rows=("C4.7",),
        statement=Prose(
            "One more hour of {channel} would bring {worth}.", channel=title, worth=worth
        )
        if is_worth
        else Prose("More hours would bring nothing: no one worth a contact is left waiting."),
        verdict=Verdict.MATTERS if is_worth else Verdict.DOES_NOT_MATTER,
        owner="commercial-director",
        evidence=_EVIDENCE,
        value=worth,
        good="up",
        so_what=Prose(
            "Add hours as long as one costs less; {n} customers are next on the waiting list.",
            n=Measured(
                value=float(len(top.waiting)),
                unit="count",
                n=result.n_eligible,
                as_of=worth.as_of,
            ),
        )
        if is_worth
        else Prose("Keep the hours as they are, or lower the cost of a contact."),
        weight=3,
    )


def _worth(plan: ChannelPlan) -> Measured:
    if plan.hour_worth is None:
        raise ValueError(f"channel {plan.channel.id!r} is not short of hours")
    return plan.hour_worth


def describe_rules(result: Eligibility, *, as_of: date) -> Finding:
    """Whom the contact rules leave, and which rule removes most."""
    n = result.n_all
    left = Measured(value=float(len(result.customers)), unit="count", n=n, as_of=as_of)
    top = max(result.rules, key=lambda r: (r.removed.value, r.rule))
    return Finding(
        id="decisions.rules",
        rows=("C4.7",),
        statement=Prose(
            "{left} of {all} customers may be contacted.",
            left=left,
            all=Measured(value=float(n), unit="count", n=n, as_of=as_of),
        ),
        verdict=Verdict.MATTERS if top.removed.value else Verdict.DOES_NOT_MATTER,
        owner="crm-lead",
        evidence=("consents", "assignments"),
        value=left,
        so_what=Prose(
            "{first}: {removed} customers; {alone} of them could be contacted but for this rule."
            "{silent}",
            first=f"Most removed: who {_RULE_WORDS[top.rule]}",
            removed=top.removed,
            alone=top.removed_alone,
            silent=_silent(result.not_recorded),
        )
        if top.removed.value
        else Prose(
            "No rule that can bite removes anyone.{silent}", silent=_silent(result.not_recorded)
        ),
        weight=2,
    )


_CONTACTS = ("contacted lately", "contacted often enough")


def _silent(rules: Collection[str]) -> str:
    """What is not on record, so that its rules cannot bite."""
    said = []
    if any(rule in rules for rule in _CONTACTS):
        said.append(" Contacts are not recorded, so the rest between two contacts cannot bite.")
    if "open complaint" in rules:
        said.append(" Complaints are not recorded, so nobody is spared for one.")
    return "".join(said)


def rules_table(result: Eligibility, *, minimum_cell_size: int) -> Table:
    """Customers that each rule removes; small counts are not shown."""

    def shown(count: Measured) -> str:
        if 0 < count.value < minimum_cell_size:
            return f"under {minimum_cell_size}"
        return format_number(count.value, "count")

    return Table(
        title="Whom the contact rules remove",
        columns=("Customer", "Removed", "Removed by this rule alone"),
        rows=tuple(
            (_RULE_WORDS[r.rule].capitalize(), shown(r.removed), shown(r.removed_alone))
            for r in result.rules
        )
        + tuple((_RULE_WORDS[r].capitalize(), "not recorded", "–") for r in result.not_recorded),
        note="A customer may be removed by several rules.",
    )


def channels_table(result: Targeting) -> Table:
    """Contacts, value and the worth of an hour per channel."""
    return Table(
        title="Contacts by channel",
        columns=("Channel", "Contacts", "Possible in the hours", "Value", "One more hour"),
        rows=tuple(
            (
                p.channel.title,
                format_number(p.n_contacts, "count"),
                format_number(p.n_possible, "count") if p.channel.hours is not None else "all",
                format_number(p.value.value, p.value.unit),
                format_number(p.hour_worth.value, p.hour_worth.unit) if p.hour_worth else "–",
            )
            for p in result.channels
        ),
        note="Expected value after the cost of the contacts.",
    )


def chart_plans(result: Targeting, *, market: str, source: str) -> Chart:
    """The plan against simpler uses of the same hours."""
    rows = [
        ("Best plan", result.value.value, result.value.lower, result.value.upper),
        *([] if result.by_recency is None else [_alone("Recent buyers first", result.by_recency)]),
        _alone("Drawn by lot", result.at_random),
    ]
    return plot_bars(
        pd.DataFrame(rows, columns=["label", "value", "lower", "upper"]),
        caption=Caption(
            id="plans",
            title=Prose(
                "The best plan brings {value}, the lot {lot}",
                value=result.value,
                lot=result.at_random,
            ),
            subtitle=f"Expected value of the same hours after cost, {market}",
            source=source,
            reading=Prose(
                "The range of the best plan holds chance and what is not known of the scores."
            ),
        ),
        label="label",
        value="value",
        lower="lower",
        upper="upper",
        unit=result.value.unit,
        highlight=["Best plan"],
    )


def _alone(label: str, amount: Measured) -> tuple[str, float, float, float]:
    return label, amount.value, amount.value, amount.value


def describe_recommendations(result: Recommendations, *, as_of: date) -> Finding:
    """How many customers get items in stock, and how many fewer than wanted."""
    items = result.items
    n = result.n_customers
    served = Measured(value=float(items["customer_id"].nunique()), unit="count", n=n, as_of=as_of)
    elsewhere = int((items.groupby("customer_id")["store_id"].first() == ANYWHERE).sum())
    return Finding(
        id="decisions.recommendations",
        rows=("M5.4",),
        statement=Prose(
            "{served} customers get offers, all of them in stock on {day}.",
            served=served,
            day=as_of,
        ),
        verdict=Verdict.MATTERS if served.value else Verdict.CANNOT_TELL,
        owner="category-manager",
        evidence=("transactions", "availability"),
        value=served,
        so_what=Prose(
            "{elsewhere} are offered what is in stock anywhere, because their store has too little "
            "or is not known; {new} get bestsellers for want of purchases; {short} get fewer items "
            "than wanted.",
            elsewhere=Measured(value=float(elsewhere), unit="count", n=n, as_of=as_of),
            new=result.without_history,
            short=result.short,
        ),
        weight=4,
    )


def describe_tiers(result: Recommendations) -> Check | None:
    """Whether offers keep to the customer's price levels; nothing without price tiers."""
    gap, beyond = result.tier_gap, result.beyond_tolerance
    if gap is None or beyond is None:
        return None
    tolerance = Measured(value=result.tier_tolerance, unit="share", n=gap.n, as_of=gap.as_of)
    is_within = beyond.value == 0
    return Check(
        id="decisions.tiers",
        rows=("M5.4",),
        statement=Prose(
            "Offers keep to the price levels customers buy, but for {gap} on average.", gap=gap
        ),
        verdict=Verdict.PASS if is_within else Verdict.REVIEW,
        owner="category-manager",
        evidence=("transactions", "products", "availability"),
        value=gap,
        so_what=Prose(
            "Whole items allow {tolerance}. {advice}",
            tolerance=tolerance,
            advice=Prose("Every customer is within it.")
            if is_within
            else Prose(
                "{beyond} customers are beyond it, because a price level is out of stock.",
                beyond=beyond,
            ),
        ),
    )


def describe_hit_rate(result: HitRate) -> Finding:
    """Whether offers beat bestsellers on a period that they did not know."""
    difference = result.difference
    if difference.lower > 0:
        verdict, words = Verdict.MATTERS, "beat bestsellers"
        advice = "Use them."
    elif difference.upper < 0:
        verdict, words = Verdict.MATTERS, "do worse than bestsellers"
        advice = "Offer bestsellers instead."
    else:
        verdict, words = Verdict.CANNOT_TELL, "are not surely better than bestsellers"
        advice = "Try them against bestsellers on part of the customers."
    return Finding(
        id="decisions.hits",
        rows=("M5.4",),
        statement=Prose(
            "Offers {words}: {rate} of buyers bought one, against {popular}.",
            words=words,
            rate=result.rate,
            popular=Measured(
                value=result.popular_rate,
                unit="share",
                n=result.rate.n,
                as_of=result.rate.as_of,
            ),
        ),
        verdict=verdict,
        owner="category-manager",
        evidence=("transactions",),
        value=difference,
        good="up",
        so_what=Prose(
            "{advice} The gap is likely {difference:range}. Seen without anyone being shown an "
            "offer, so it says what fits, not what an offer would change.",
            advice=advice,
            difference=difference,
        ),
        weight=3,
    )


def offers_table(
    result: Recommendations, names: Mapping[str, str], *, minimum_cell_size: int, most: int = 10
) -> Table:
    """The products offered most; those offered to few are not shown."""
    counts = result.items["product_id"].value_counts()
    counts = counts[counts >= minimum_cell_size]
    ranked = sorted(counts.index, key=lambda p: (-counts[p], p))[:most]
    return Table(
        title="Products offered most",
        columns=("Product", "Customers"),
        rows=tuple((names.get(p, p), format_number(float(counts[p]), "count")) for p in ranked),
        note=f"Products offered to fewer than {minimum_cell_size} customers are left out.",
    )
