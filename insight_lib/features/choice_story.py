"""Which features to use, whom they leave out, and what was borrowed, in words."""

from __future__ import annotations

from datetime import date

from insight_lib.features.exclusion import Exclusions, GroupExclusion
from insight_lib.features.maturity import Approach, Maturity
from insight_lib.findings import (
    Finding,
    Measured,
    Prose,
    Table,
    Verdict,
    format_range,
    format_value,
)

_NO_VALUE = "History and customers are there; what stands above says why there is no value yet."
_RANK_ONLY = "Rank customers by expected value; what stands above sets no budget yet."
_USE = {
    Approach.CUSTOMER_VALUE: "Rank and budget customers by expected value.",
    Approach.BEHAVIOUR: "Describe customers by what they do on site and in the app; come back to "
    "values when more have bought again.",
    Approach.RFM: "Describe customers by recency, frequency and spend; forecast nobody yet.",
    Approach.NONE: "Describe the market as a whole; collect more history first.",
}


def describe_maturity(result: Maturity, *, carries_budgets: bool | None = True) -> Finding:
    """Which way to describe customers the data are ripe for, by which rule, and what is next.

    Args:
        carries_budgets: Whether the page's own forecast may set budgets; None where it has none.
    """
    use = _USE[result.approach]
    if result.approach is Approach.CUSTOMER_VALUE and not carries_budgets:
        use = _NO_VALUE if carries_budgets is None else _RANK_ONLY
    if result.missing:
        lacking = result.missing[0]
        after = Prose(
            " {approach} would need {needed} ({name}); there are {measured}.",
            approach=lacking.approach.value.capitalize(),
            name=lacking.name,
            needed=lacking.needed,
            measured=lacking.measured,
        )
    else:
        after = Prose("")
    close = (
        " A fact lies so near its threshold that the choice could tip." if result.is_close else ""
    )
    name = (
        "nothing finer than totals" if result.approach is Approach.NONE else result.approach.value
    )
    return Finding(
        id="features.maturity",
        rows=("M3.1",),
        statement=Prose(
            "The data are ripe for {name}: {rule}.",
            name=name,
            rule=result.rule,
        ),
        verdict=Verdict.CANNOT_TELL
        if result.is_close or carries_budgets is None
        else Verdict.MATTERS,
        owner="insight-lead",
        evidence=("transactions", "interactions"),
        value=result.facts[0].measured,
        so_what=Prose("{use}{close}{after}", use=use, close=close, after=after),
        weight=2.4,
    )


def why_unripe(result: Maturity | Finding) -> str | None:
    """Why customers are not to be forecast one by one, or None where they may be."""
    if isinstance(result, Finding):
        return "there are too few customers"
    if result.approach is Approach.CUSTOMER_VALUE:
        return None
    unmet = [f for f in result.facts if f.approach is Approach.CUSTOMER_VALUE and not f.is_met]
    return "; ".join(
        f"{fact.name}: {format_value(fact.measured)}, and it takes {format_value(fact.needed)}"
        for fact in unmet
    )


def table_maturity(result: Maturity) -> Table:
    """Every fact against its threshold."""
    return Table(
        title="What the data hold, and what each description takes",
        columns=("For", "Fact", "There is", "It takes", "Met"),
        rows=tuple(
            (
                fact.approach.value,
                fact.name,
                format_value(fact.measured),
                format_value(fact.needed),
                "close" if fact.is_close else "yes" if fact.is_met else "no",
            )
            for fact in result.facts
        ),
        note="The first description whose facts are all met is used.",
    )


def describe_exclusions(result: Exclusions) -> Finding:
    """Which customers the choice of variables leaves out, and is a group hit harder."""
    n = max(e.n for e in result.overall.values())
    as_of = next(iter(result.overall.values())).as_of
    tests = Measured(value=result.n_tests, unit="count", n=n, as_of=as_of)
    if not result.flagged:
        rule, share = max(result.overall.items(), key=lambda item: (item[1].value, item[0]))
        return Finding(
            id="features.excluded_groups",
            rows=("C3.6",),
            statement=Prose(
                "No group is left out clearly more often than the rest ({tests} comparisons)."
                " The rule that leaves out most is “{rule}”: {share} of all customers.",
                tests=tests,
                rule=rule,
                share=share,
            ),
            verdict=Verdict.PASS,
            owner="insight-lead",
            evidence=("customers", "transactions"),
            value=share,
            good="down",
            so_what=Prose("Choose variables by what they explain."),
            weight=1.3,
        )
    worst = result.flagged[0]
    return Finding(
        id="features.excluded_groups",
        rows=("C3.6",),
        statement=Prose(
            "“{rule}” leaves out {rate} of {trait} {group}, against {rest} of the rest.",
            rule=worst.rule,
            rate=worst.rate,
            trait=worst.trait.replace("_", " "),
            group=_name(worst),
            rest=worst.rest_rate,
        ),
        verdict=Verdict.REVIEW,
        owner="insight-lead",
        evidence=("customers", "transactions"),
        value=worst.rate,
        good="down",
        so_what=Prose(
            "{flagged} of {tests} comparisons stand out. Use a wider window or a second "
            "description for such groups, or say on the page that they are not in it.",
            flagged=Measured(value=len(result.flagged), unit="count", n=n, as_of=as_of),
            tests=tests,
        ),
        weight=2.6,
    )


def _name(group: GroupExclusion) -> str:
    return f"“{group.group}”"


def table_exclusions(result: Exclusions, *, most: int = 12) -> Table:
    """The comparisons, the flagged first."""
    return Table(
        title="Who is left out by which choice",
        columns=(
            "Choice",
            "Trait",
            "Group",
            "Left out",
            "Likely",
            "Rest",
            "Times the rest",
            "Flag",
        ),
        rows=tuple(
            (
                g.rule,
                g.trait.replace("_", " "),
                g.group,
                format_value(g.rate),
                format_range(g.rate),
                format_value(g.rest_rate),
                format_value(g.ratio),
                "left out more" if g.is_flagged else "",
            )
            for g in result.groups[: max(most, len(result.flagged))]
        ),
        note="Groups under the smallest size that may be shown are left out of this table.",
    )


def describe_consent(n_allowed: int, n_customers: int, *, as_of: date) -> Finding:
    """Of how many customers the figures speak, where some have not agreed to be in them."""
    n = Measured(value=n_customers, unit="count", n=n_customers, as_of=as_of)
    missing = Measured(
        value=1 - n_allowed / max(n_customers, 1), unit="share", n=n_customers, as_of=as_of
    )
    return Finding(
        id="features.consent_coverage",
        rows=("C2.1",),
        statement=Prose(
            "These figures speak of {allowed} of {n} customers: those who may be counted.",
            allowed=Measured(value=n_allowed, unit="count", n=n_customers, as_of=as_of),
            n=n,
        ),
        verdict=Verdict.REVIEW,
        owner="insight-lead",
        evidence=("transactions", "consents"),
        value=missing,
        good="down",
        so_what=Prose(
            "Sums are theirs alone and not the market's: {missing} have not agreed or have "
            "refused. Shares and rates hold as far as they buy like the others.",
            missing=missing,
        ),
        weight=2.9,
    )
