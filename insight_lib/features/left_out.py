"""Whom a choice of variables leaves out, and whether a group is hit harder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from insight_lib.charts import Caption, Chart, Mark, plot_dots
from insight_lib.features.exclusion import (
    Exclusions,
    GroupExclusion,
    estimate_exclusions,
    exclusion_frame,
    exclusion_rules,
)
from insight_lib.findings import Estimate, Measured
from insight_lib.prose import Name

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from insight_lib.parameter_model import FeatureParameters
    from insight_lib.run import Run

_MOST_ROWS = 12


def excluded(
    people: ir.Table, by_order: ir.Table, buyers_now: pd.DataFrame, run: Run[FeatureParameters]
) -> Exclusions:
    """Every rule against every group of each trait that the market knows.

    Raises:
        TooFew: As `estimate_exclusions`.
    """
    del buyers_now  # of too few, or without the latest days, nothing is said
    p, known = run.parameters, set(people.columns)
    rules = exclusion_rules(
        people,
        by_order,
        as_of=run.as_of,
        recency_days=p.exclusion_recency_days,
        minimum_orders=p.exclusion_minimum_orders,
        required_columns=[c for c in p.exclusion_required_columns if c in known],
    )
    return estimate_exclusions(
        rules,
        traits=[c for c in p.exclusion_traits if c in known],
        minimum_cell_size=run.smallest_cell,
        smallest_excess=p.smallest_exclusion_excess,
        **run.range,
    )


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule, with what it asks for in the field of its kind.

    Attributes:
        days: No order within so many.
        orders: Fewer than so many.
        column: It is missing.
    """

    rule: Literal["recency", "orders", "missing"]
    days: Measured | None
    orders: Measured | None
    column: Name | None


def _rule(name: str, like: Measured) -> dict[str, Any]:
    """The fields of `Rule` from a rule's name, as in `GroupExclusion`."""
    fields: dict[str, Any] = {"rule": "missing", "days": None, "orders": None, "column": None}
    if name.endswith("_missing"):
        return fields | {"column": _words(name.removesuffix("_missing"))}
    kind, _, number = name.rpartition("_")
    is_recency = kind == "no_order"
    unit = "days" if is_recency else "count"
    asked = Measured(value=int(number), unit=unit, n=like.n, as_of=like.as_of)
    if is_recency:
        return fields | {"rule": "recency", "days": asked}
    return fields | {"rule": "orders", "orders": asked}


@dataclass(frozen=True, kw_only=True)
class LeftOut(Rule):
    """Whether a group is left out clearly more often than the rest.

    Attributes:
        trait, group, rate, rest: Of the comparison that stands out most, None where none does.
        share: Of all customers, that the rule leaves out.
        flagged, tests: Comparisons that stand out, and all that were made together.
    """

    case: Literal["review", "pass"]
    trait: Name | None
    group: Name | None
    rate: Measured
    rest: Measured | None
    share: Measured
    flagged: int
    tests: int


def excluded_groups(excluded: Exclusions) -> LeftOut:
    """The rule that leaves a group out most, or else the one that leaves out most of all."""
    if excluded.flagged:
        worst: GroupExclusion | None = excluded.flagged[0]
        name, share = excluded.flagged[0].rule, excluded.overall[excluded.flagged[0].rule]
    else:
        worst = None
        name, share = max(excluded.overall.items(), key=lambda item: (item[1].value, item[0]))
    return LeftOut(
        case="pass" if worst is None else "review",
        trait=None if worst is None else _words(worst.trait),
        group=None if worst is None else Name(worst.group),
        rate=share if worst is None else worst.rate,
        rest=None if worst is None else worst.rest_rate,
        share=share,
        flagged=len(excluded.flagged),
        tests=excluded.n_tests,
        **_rule(name, share),
    )


def _words(trait: str) -> Name:
    return Name(trait.replace("_", " "))


@dataclass(frozen=True, kw_only=True)
class Comparison(Rule):
    """One rule, one group against all others of the same trait."""

    trait: Name
    group: Name
    rate: Estimate
    rest: Measured
    ratio: Estimate
    is_flagged: bool


@dataclass(frozen=True, kw_only=True)
class ExclusionRates(Comparison):
    """The comparison that stands out most, drawn with the other groups of its trait.

    Attributes:
        table: The comparisons, the flagged first.
        rows, highlight: Groups under this rule, and those that stand out.
        overall: Share of all customers that the rule leaves out.
    """

    table: tuple[Comparison, ...]
    rows: pd.DataFrame
    highlight: tuple[str, ...]
    overall: float

    @property
    def title(self) -> bool:
        """Whether the chart names the group."""
        return self.is_flagged

    def draw(self, caption: Caption) -> Chart:
        """Share left out by group."""
        return plot_dots(
            self.rows, caption=caption, label="group", value="rate", lower="lower",
            upper="upper", unit="share", n="n", highlight=list(self.highlight),
            reference=Mark(at=self.overall, text=caption.reference),
        )  # fmt: skip


def _compared(group: GroupExclusion) -> dict[str, Any]:
    return {
        "trait": _words(group.trait),
        "group": Name(group.group),
        "rate": group.rate,
        "rest": group.rest_rate,
        "ratio": group.ratio,
        "is_flagged": group.is_flagged,
        **_rule(group.rule, group.rate),
    }


def exclusion_rates(excluded: Exclusions) -> ExclusionRates:
    """Share left out by group, for the rule and trait that stand out most."""
    worst, frame = excluded.groups[0], exclusion_frame(excluded)
    shown = excluded.groups[: max(_MOST_ROWS, len(excluded.flagged))]
    frame = frame[(frame["rule"] == worst.rule) & (frame["trait"] == worst.trait)]
    return ExclusionRates(
        table=tuple(Comparison(**_compared(group)) for group in shown),
        rows=frame.sort_values("group"),
        highlight=tuple(
            g.group for g in excluded.flagged if (g.rule, g.trait) == (worst.rule, worst.trait)
        ),
        overall=excluded.overall[worst.rule].value,
        **_compared(worst),
    )
