"""Whom features leave out, in words."""

from __future__ import annotations

from datetime import date

from insight_lib.features.exclusion import Exclusions, GroupExclusion
from insight_lib.findings import (
    Finding,
    Measured,
    Prose,
    Table,
    Verdict,
    format_range,
    format_value,
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
