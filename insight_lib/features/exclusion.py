"""Whom a choice of variables leaves out: rules on recency, frequency and missing values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import ibis
import numpy as np
import pandas as pd
from scipy import stats

from insight_lib.findings import Estimate, Measured, TooFew
from insight_lib.orders import window, within
from insight_lib.statistics import benjamini_hochberg, estimate_share

if TYPE_CHECKING:
    import ibis.expr.types as ir

UNKNOWN = "not known"


def exclusion_rules(
    customers: ir.Table,
    by_order: ir.Table,
    *,
    as_of: date,
    recency_days: Sequence[int],
    minimum_orders: Sequence[int],
    required_columns: Sequence[str],
) -> ir.Table:
    """One row per customer, one yes-or-no column per rule: does the rule leave them out.

    Args:
        customers: The customer table; those who never ordered are in it too.
        by_order: As from `customers.orders`.
        recency_days: A rule each: no order within so many days.
        minimum_orders: A rule each: fewer orders than that, ever.
        required_columns: A rule each: the column of `customers` is missing.

    Returns:
        The columns of `customers`, and `excluded_by_…` columns.
    """
    bought = by_order.filter(
        (by_order.order_date <= ibis.date(as_of.isoformat())) & by_order.is_purchase
    )
    recent = {
        f"excluded_by_recency_{days}": within(bought.order_date, window(as_of, days)).sum()
        for days in recency_days
    }
    totals = bought.group_by("customer_id").agg(orders_ever=bought.order_id.nunique(), **recent)
    joined = customers.left_join(totals, "customer_id").drop("customer_id_right")
    rules = {name: joined[name].coalesce(0) == 0 for name in recent}
    rules |= {
        f"excluded_by_orders_{orders}": joined.orders_ever.coalesce(0) < orders
        for orders in minimum_orders
    }
    rules |= {f"excluded_by_missing_{name}": joined[name].isnull() for name in required_columns}
    return joined.mutate(**rules).drop("orders_ever")


@dataclass(frozen=True, kw_only=True)
class GroupExclusion:
    """One rule, one group against all others of the same trait.

    Attributes:
        rule: `no_order_365`, `fewer_orders_3` or `…_missing`.
        trait, group: E.g. age band, 65+.
        rate: Share of the group that is left out.
        rest_rate: Share of all others.
        ratio: Of the two.
        excess_points: Difference in percentage points.
        is_flagged: Left out clearly more often than the rest.
    """

    rule: str
    trait: str
    group: str
    rate: Estimate
    rest_rate: Measured
    ratio: Estimate
    excess_points: float
    is_flagged: bool


@dataclass(frozen=True, kw_only=True)
class Exclusions:
    """Every rule against every group.

    Attributes:
        overall: Share left out by each rule.
        groups: All comparisons, the flagged ones first, then by excess.
        n_hidden: Groups under the minimum cell size, not shown.
        n_tests: Comparisons made together.
    """

    overall: Mapping[str, Estimate]
    groups: tuple[GroupExclusion, ...]
    n_hidden: int
    n_tests: int

    @property
    def flagged(self) -> tuple[GroupExclusion, ...]:
        """Comparisons that stand after all were tested together."""
        return tuple(g for g in self.groups if g.is_flagged)


def estimate_exclusions(
    rules: ir.Table,
    *,
    traits: Sequence[str],
    as_of: date,
    minimum_cell_size: int,
    smallest_excess: float = 0.05,
    level: float = 0.95,
) -> Exclusions:
    """Compare each group with the rest, rule by rule, counted in the engine.

    A group is flagged when a Fisher test stands after all comparisons are tested together
    (Benjamini and Hochberg, 1995) and the excess is large enough to matter. A rule on a
    missing column is not compared by that column itself.

    Args:
        rules: As from `exclusion_rules`.
        traits: Columns of `rules` that make groups; a missing value is a group of its own.
        minimum_cell_size: Groups, and rests, of fewer customers are not shown.
        smallest_excess: Smallest excess over the rest that matters, share.
        level: Of the ranges; one less it is the false discovery rate.

    Raises:
        TooFew: No group can be compared.
    """
    names = [name for name in rules.columns if name.startswith("excluded_by_")]
    overall: dict[str, Estimate] = {}
    found: list[tuple[GroupExclusion, float]] = []
    n_hidden = 0
    for trait in traits:
        labelled = rules.mutate(group=rules[trait].cast("string").coalesce(UNKNOWN))
        counts = (
            labelled.group_by("group")
            .agg(n=labelled.count(), **{name: labelled[name].sum() for name in names})
            .order_by("group")
            .to_pandas()
        )
        total = int(counts["n"].sum())
        if total == 0:
            raise TooFew("no customers to compare")
        for name in names:
            out = int(counts[name].sum())
            overall[_rule_name(name)] = estimate_share(out, total, as_of=as_of, level=level)
        is_shown = (counts["n"] >= minimum_cell_size) & (total - counts["n"] >= minimum_cell_size)
        n_hidden += int((~is_shown).sum())
        found += [
            _compare(
                name,
                trait,
                str(row["group"]),
                (int(row[name]), int(row["n"])),
                (int(counts[name].sum()) - int(row[name]), total - int(row["n"])),
                as_of=as_of,
                level=level,
            )
            for row in counts[is_shown].to_dict("records")
            for name in names
            if name != f"excluded_by_missing_{trait}"
        ]
    if not found:
        raise TooFew(
            f"no group and its rest hold {minimum_cell_size} customers each",
            takes="traits that are known of more customers",
        )
    kept = benjamini_hochberg([p for _, p in found], rate=1 - level)
    groups = [
        _flag(group, is_clear and group.excess_points >= 100 * smallest_excess)
        for (group, _), is_clear in zip(found, kept, strict=True)
    ]
    groups.sort(key=lambda g: (not g.is_flagged, -g.excess_points, g.rule, g.trait, g.group))
    return Exclusions(overall=overall, groups=tuple(groups), n_hidden=n_hidden, n_tests=len(found))


def _flag(group: GroupExclusion, is_flagged: bool) -> GroupExclusion:
    return GroupExclusion(**{**vars(group), "is_flagged": is_flagged})


def _compare(
    name: str,
    trait: str,
    group: str,
    inside: tuple[int, int],
    outside: tuple[int, int],
    *,
    as_of: date,
    level: float,
) -> tuple[GroupExclusion, float]:
    (out, n), (rest_out, rest_n) = inside, outside
    p_value = float(stats.fisher_exact([[out, n - out], [rest_out, rest_n - rest_out]]).pvalue)
    rate = estimate_share(out, n, as_of=as_of, level=level)
    rest = rest_out / rest_n
    # Katz et al. (1978), half a customer added to each cell so that zero has a range too.
    ratio = ((out + 0.5) / (n + 0.5)) / ((rest_out + 0.5) / (rest_n + 0.5))
    error = math.sqrt(
        max(1 / (out + 0.5) - 1 / (n + 0.5) + 1 / (rest_out + 0.5) - 1 / (rest_n + 0.5), 0.0)
    )
    half = float(stats.norm.ppf(0.5 + level / 2)) * error
    comparison = GroupExclusion(
        rule=_rule_name(name),
        trait=trait,
        group=group,
        rate=rate,
        rest_rate=Measured(value=rest, unit="share", n=rest_n, as_of=as_of),
        ratio=Estimate(
            value=ratio,
            lower=ratio * math.exp(-half),
            upper=ratio * math.exp(half),
            unit="ratio",
            n=n,
            as_of=as_of,
            level=level,
            method="ratio of two shares (Katz et al., 1978)",
        ),
        excess_points=100 * (rate.value - rest),
        is_flagged=False,
    )
    return comparison, p_value


def _rule_name(column: str) -> str:
    kind, _, detail = column.removeprefix("excluded_by_").partition("_")
    match kind:
        case "recency":
            return f"no_order_{detail}"
        case "orders":
            return f"fewer_orders_{detail}"
    return f"{detail}_missing"


def exclusion_frame(result: Exclusions) -> pd.DataFrame:
    """The comparisons as rows: rule, trait, group, rate, lower, upper, rest_rate, ratio, n."""
    return pd.DataFrame(
        {
            "rule": [g.rule for g in result.groups],
            "trait": [g.trait for g in result.groups],
            "group": [g.group for g in result.groups],
            "rate": [g.rate.value for g in result.groups],
            "lower": [g.rate.lower for g in result.groups],
            "upper": [g.rate.upper for g in result.groups],
            "rest_rate": [g.rest_rate.value for g in result.groups],
            "ratio": [g.ratio.value for g in result.groups],
            "n": [g.rate.n for g in result.groups],
            "is_flagged": np.array([g.is_flagged for g in result.groups], dtype=bool),
        }
    )
