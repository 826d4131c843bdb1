"""From order lines to groups, their differences and their moves, on purchases kept apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from insight_lib.findings import Estimate, Measured, TooFew
from insight_lib.orders import window
from insight_lib.segments.identity import estimate_interval
from insight_lib.segments.inputs import (
    Block,
    amounts_block,
    enough_orders,
    lines_between,
    range_turnover,
)
from insight_lib.segments.purchases import (
    FIFTHS,
    Counts,
    Purchases,
    Recipe,
    covered_days,
    learn_recipe,
    one_cloud,
    read_purchases,
)
from insight_lib.segments.solution import (
    Fault,
    Solution,
    Thresholds,
    estimate_segments,
    nobody_differs,
)
from insight_lib.statistics import estimate_ratio, estimate_share

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from insight_lib.parameter_model import SegmentParameters
    from insight_lib.run import Run
    from insight_lib.segments.groups import Groups

_SMALLEST_HALF_DAYS = 28
_HALF_ORDER_DAYS = 2
_MOST_IN_CLOUD = 1000
_ENOUGH_POWER = 0.8

FoundCase = Literal[
    "groups", "not sure enough", "nothing differs", "by degree", "too few purchases"
]

Accounts = Callable[["ir.Table"], pd.DataFrame]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is looked at, and how.

    Attributes:
        history_days: Longest; what the data cover if they are shorter.
        minimum_order_days: Of a customer in the history, to be grouped.
    """

    history_days: int
    minimum_order_days: int
    most_segments: int
    thresholds: Thresholds
    n_chance: int
    n_resamples: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Found:
    """Groups with everything that they were made from.

    Attributes:
        values: Customers (index) by coordinates; no columns if nobody differs.
        days: Length of the history.
        n_in_both: Customers with enough orders in both halves of it.
    """

    purchases: Purchases
    recipe: Recipe
    values: pd.DataFrame
    solution: Solution
    days: int
    covered: int
    n_in_both: int
    as_of: date
    n_outliers: int = 0
    n_missing: int = 0

    @property
    def customers(self) -> pd.Index:
        return self.values.index

    @property
    def case(self) -> FoundCase:
        """Groups; seen and not sure enough; surely of degree; or hidden by few purchases."""
        if self.solution.chosen is not None:
            return "groups"
        if self.fault is not None:
            return "not sure enough"
        if not self.solution.candidates:
            return "nothing differs"
        is_powerful = (self.solution.power or 0.0) >= _ENOUGH_POWER
        return "by degree" if is_powerful else "too few purchases"

    @property
    def k(self) -> int:
        return self.solution.k

    @property
    def n(self) -> int:
        return len(self.solution.customer_id)

    @property
    def fault(self) -> Fault | None:
        """What the first grouping that chance alone does not explain falls short of."""
        none = (None, Fault.CHANCE, Fault.ONE_CLOUD)
        near = (c.fault for c in self.solution.candidates if c.fault not in none)
        return next(near, None)

    @property
    def chance_share(self) -> Measured:
        """Of chance data sets, those as distinct as the data."""
        share = self.solution.chance_share
        return Measured(value=share, unit="share", n=self.n, as_of=self.as_of)

    def groups(self, counts: Counts, customers: pd.Index) -> np.ndarray:
        """The published group of customers whom other purchases describe."""
        model = self.solution.model
        if model is None:
            raise TooFew("no groups are published")
        return model.assign(self.recipe(counts, customers).to_numpy(dtype=float))


def find_segments(
    lines: ir.Table,
    products: ir.Table | None,
    *,
    plan: Plan,
    as_of: date,
    accounts: Accounts | None = None,
) -> Found:
    """Find the groups of customers in the history that the data cover.

    Args:
        lines, products: As in `schema.TABLES`.
        accounts: From the lines of the history to what customers contracted, by customer.

    Raises:
        TooFew: No or too few customers with enough orders, or nothing that differs.
    """
    covered = covered_days(lines, as_of=as_of, most=10 * plan.history_days)
    days = min(plan.history_days, covered)
    chosen = lines_between(lines, window(as_of, days))
    customers = enough_orders(chosen, plan.minimum_order_days)
    need = 2 * plan.thresholds.smallest_customers
    if len(customers) < need:
        raise TooFew(
            f"{len(customers):,} customers ordered on {plan.minimum_order_days} days or more in "
            f"the last {days} days, and two groups take {need:,}",
            takes="more customers who order often",
        )
    purchases = read_purchases(chosen, products)
    fixed = _accounts_block(accounts(chosen), customers) if accounts is not None else None
    recipe, reliability = learn_recipe(purchases, customers, fixed=fixed)
    found = Found(
        purchases=purchases,
        recipe=recipe,
        values=pd.DataFrame(index=customers),
        solution=nobody_differs([str(c) for c in customers], thresholds=plan.thresholds),
        days=days,
        covered=covered,
        n_in_both=0,
        as_of=as_of,
    )
    if not reliability:
        return found
    counts = purchases.counts()
    values = recipe(counts, customers)
    periods, n_in_both = _halves(lines, products, purchases, recipe, customers, plan, as_of, days)
    rng = np.random.default_rng(plan.seed)
    some = customers[np.sort(rng.permutation(len(customers))[:_MOST_IN_CLOUD])]
    solution = estimate_segments(
        values.to_numpy(dtype=float),
        [str(c) for c in customers],
        other_periods=periods,
        one_cloud=one_cloud(recipe, counts, some),
        reliability=reliability,
        k_range=(2, plan.most_segments),
        thresholds=plan.thresholds,
        n_chance=plan.n_chance,
        n_resamples=plan.n_resamples,
        seed=plan.seed,
        as_of=as_of,
    )
    return replace(
        found,
        values=values,
        solution=solution,
        n_in_both=n_in_both,
        n_outliers=fixed.n_outliers if fixed else 0,
        n_missing=fixed.n_missing if fixed else 0,
    )


def _accounts_block(table: pd.DataFrame, customers: pd.Index) -> Block | None:
    return amounts_block(table.reindex(customers), list(table.columns), name="contract")


def _halves(
    lines: ir.Table,
    products: ir.Table | None,
    purchases: Purchases,
    recipe: Recipe,
    customers: pd.Index,
    plan: Plan,
    as_of: date,
    days: int,
) -> tuple[tuple[np.ndarray, np.ndarray] | None, int]:
    """The customers with orders in both halves of the history, described by each."""
    half = days // 2
    if half < _SMALLEST_HALF_DAYS:
        return None, 0
    parts = [
        lines_between(lines, window(as_of, half, ago=half)),
        lines_between(lines, window(as_of, half)),
    ]
    both = customers
    for part in parts:
        both = both.intersection(enough_orders(part, _HALF_ORDER_DAYS))
    both = both.sort_values()
    if len(both) < 2 * plan.thresholds.smallest_customers:
        return None, len(both)
    first, second = (
        recipe(read_purchases(part, products, names=purchases.names).counts(), both).to_numpy(
            dtype=float
        )
        for part in parts
    )
    return (first, second), len(both)


def kept_apart(found: Found, ids: dict[str, str]) -> list[tuple[Counts, pd.Series]]:
    """Each fifth of the purchases, with the groups that the other four put customers into.

    Args:
        ids: `s1`, … to the id that a group is published under.
    """
    parts: list[tuple[Counts, pd.Series]] = []
    for fifth in range(FIFTHS):
        others = found.purchases.counts([f for f in range(FIFTHS) if f != fifth])
        label = found.groups(others, found.customers)
        names = [ids[f"s{g + 1}"] for g in label]
        parts.append((found.purchases.counts((fifth,)), pd.Series(names, index=found.customers)))
    return parts


@dataclass(frozen=True, kw_only=True)
class Moves:
    """Customers then and now in the published groups.

    Attributes:
        old: customer_id, segment one refresh ago.
        seemed: Share that stands in another group.
        by_chance: Share that would, if nobody changed what they buy.
        moved: `seemed` less `by_chance`, not below zero.
    """

    old: pd.DataFrame
    seemed: float
    by_chance: float
    moved: Estimate


def earlier_window(found: Found, *, refresh_days: int, as_of: date) -> tuple[date, date]:
    """The history as it was one refresh ago.

    Raises:
        TooFew: The data do not reach back so far.
    """
    takes = found.days + refresh_days
    if found.covered < takes:
        raise TooFew(
            f"the orders reach back {found.covered} days, and it takes {takes}",
            takes="a longer history",
        )
    return window(as_of, found.days, ago=refresh_days)


def estimate_moves(
    lines: ir.Table,
    products: ir.Table | None,
    found: Found,
    *,
    ids: dict[str, str],
    refresh_days: int,
    minimum_order_days: int,
    as_of: date,
    level: float,
) -> Moves:
    """How many customers changed group since the last refresh, beyond what chance shows.

    Both states are put into the same groups, so that only customers can move. Chance: were
    nobody to change, the orders that left and those that came would be any of the customer's
    orders. So the orders of both periods together are split by a hash, as many are left out
    on either side as the refresh exchanged, and who stands in two groups is counted.

    Raises:
        TooFew: The data do not reach back so far, or nobody is in both states.
    """
    days = earlier_window(found, refresh_days=refresh_days, as_of=as_of)
    before = lines_between(lines, days)
    both = enough_orders(before, minimum_order_days).intersection(found.customers).sort_values()
    if not len(both):
        raise TooFew("no customer is in both states of the segmentation")
    names = found.purchases.names
    then = found.groups(read_purchases(before, products, names=names).counts(), both)
    now = found.groups(found.purchases.counts(), both)
    union = lines_between(lines, window(as_of, found.days + refresh_days))
    together = read_purchases(union, products, names=names)
    n_out = max(1, round(FIFTHS * refresh_days / (found.days + refresh_days)))
    n_out = min(n_out, FIFTHS // 2)
    left_out = list(combinations(range(FIFTHS), n_out))
    drawn = {
        out: found.groups(together.counts([f for f in range(FIFTHS) if f not in out]), both)
        for out in left_out
    }
    pairs = [(a, b) for a, b in combinations(left_out, 2) if not set(a) & set(b)]
    chance = np.mean([drawn[a] != drawn[b] for a, b in pairs], axis=0)
    seemed = (then != now).astype(float)
    excess = estimate_ratio(
        seemed - chance, np.ones(len(both)), unit="difference", as_of=as_of, level=level
    )
    # Nobody seen to move is not nobody: what so many customers cannot rule out (Wilson, 1927).
    unseen = estimate_share(0, len(both), as_of=as_of, level=level).upper
    return Moves(
        old=pd.DataFrame(
            {"customer_id": both.astype(str), "segment": [ids[f"s{g + 1}"] for g in then]}
        ),
        seemed=float(seemed.mean()),
        by_chance=float(chance.mean()),
        moved=Estimate(
            value=max(excess.value, 0.0),
            lower=max(excess.lower, 0.0),
            upper=max(excess.upper, unseen),
            unit="share",
            n=len(both),
            as_of=as_of,
            level=level,
            method="changes less those of random parts of the same orders",
        ),
    )


@dataclass(frozen=True, kw_only=True)
class Wear:
    """How fast customers change group, and when to remake the groups.

    Attributes:
        period: Between the two states that are compared.
        again: Days after which the groups are to be remade.
        driver: What wears the groups out first.
    """

    case: Literal["sure", "nobody"]
    driver: Literal["customers", "products", "nothing"]
    moved: Estimate
    by_chance: Measured
    period: Measured
    again: Measured
    moves: Moves

    @property
    def some_by_chance(self) -> bool:
        return self.by_chance.value > 0


def moves(
    found: Found,
    groups: Groups,
    bought: ir.Table,
    transactions: ir.Table,
    run: Run[SegmentParameters],
    products: ir.Table | None = None,
) -> Wear:
    """Who changed group since the last refresh, and how long the groups will hold."""
    p = run.parameters
    made = estimate_moves(
        bought,
        products,
        found,
        ids=dict(groups.ids),
        refresh_days=p.refresh_days,
        minimum_order_days=p.minimum_order_days,
        **run.range,
    )
    earlier = earlier_window(found, refresh_days=p.refresh_days, as_of=run.as_of)
    now = window(run.as_of, p.refresh_days)
    return weigh_wear(
        made,
        range_turnover_share=range_turnover(
            lines_between(transactions, now), lines_between(transactions, earlier)
        ),
        refresh_days=p.refresh_days,
        tolerated_moved_share=p.tolerated_moved_share,
    )


def weigh_wear(
    made: Moves,
    *,
    range_turnover_share: float | None,
    refresh_days: int,
    tolerated_moved_share: float,
) -> Wear:
    """What moves since the last refresh come to; a share that may be none wears nothing out."""
    moved = made.moved
    interval = estimate_interval(
        [moved.value if moved.lower > 0 else 0.0],
        days_between=refresh_days,
        tolerated_share=tolerated_moved_share,
        as_of=moved.as_of,
        n=moved.n,
        range_turnover_share=range_turnover_share,
    )
    is_worn = any(rate > 0 for rate in interval.wear_per_year.values())
    return Wear(
        case="sure" if moved.lower > 0 else "nobody",
        driver=interval.driver if is_worn else "nothing",
        moved=moved,
        by_chance=Measured(value=made.by_chance, unit="share", n=moved.n, as_of=moved.as_of),
        period=Measured(value=refresh_days, unit="days", n=1, as_of=moved.as_of),
        again=interval.days,
        moves=made,
    )
