"""The published groups: who is in which, what each is called, and how large it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from insight_lib.charts import Caption, Chart, plot_bars
from insight_lib.findings import Measured, TooFew
from insight_lib.orders import sold
from insight_lib.prose import Name
from insight_lib.segments.find import Found, Plan, find_segments, kept_apart
from insight_lib.segments.identity import (
    Profile,
    match_profiles,
    profile_means,
    stable_ids,
)
from insight_lib.segments.inputs import account_amounts
from insight_lib.segments.naming import Lift, estimate_lifts, suggest_names
from insight_lib.segments.solution import Thresholds

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from insight_lib.parameter_model import SegmentParameters
    from insight_lib.registers import SegmentName
    from insight_lib.run import Run

FEW_ORDERS = "few-orders"
_MOST_TILES = 4


def bought(transactions: ir.Table, run: Run[SegmentParameters]) -> ir.Table:
    """Order lines of purchases; what came back, and orders without a price, are not."""
    free = run.general.free_orders_count
    return transactions.filter(sold(transactions, free_orders_count=free))


def described(customer_features: ir.Table) -> pd.DataFrame:
    """Customers (index, sorted) by what stage features says of them.

    Raises:
        TooFew: There are none.
    """
    frame = customer_features.to_pandas().set_index("customer_id").sort_index()
    if frame.empty:
        raise TooFew("no order is known by a complete day", takes="orders of complete days")
    return frame


def people(described: pd.DataFrame, customers: ir.Table | None = None) -> pd.DataFrame:
    """Customers (index, sorted) by what is known of them beside their orders."""
    if customers is None:
        return pd.DataFrame(index=described.index)
    return customers.to_pandas().set_index("customer_id").sort_index()


def found(
    bought: ir.Table,
    described: pd.DataFrame,
    run: Run[SegmentParameters],
    products: ir.Table | None = None,
    contracts: ir.Table | None = None,
) -> Found:
    """Whether there are groups of customers, and which.

    Raises:
        TooFew: Fewer customers than `general.minimum_customers`, or as `find_segments`.
    """
    run.require_customers(len(described))
    p = run.parameters
    terms = None if contracts is None else contracts.to_pandas()
    plan = Plan(
        history_days=p.history_days,
        minimum_order_days=p.minimum_order_days,
        most_segments=p.most_segments,
        thresholds=Thresholds(
            chance_share=p.largest_chance_share,
            smallest_jaccard=p.smallest_jaccard,
            smallest_kept=p.smallest_kept_gain,
            smallest_customers=p.smallest_segment_customers,
        ),
        n_chance=p.chance_data_sets,
        n_resamples=p.resamples,
        seed=run.seed,
    )
    return find_segments(
        bought,
        products,
        plan=plan,
        as_of=run.as_of,
        accounts=None if terms is None else lambda chosen: account_amounts(chosen, terms),
    )


@dataclass(frozen=True, kw_only=True)
class Groups:
    """Groups that may be published, under the ids and names that they keep.

    Attributes:
        ids: `s1`, … as found to the id that a group is published under.
        member: Group of each customer with enough orders.
        probability: Share of resamples that put the customer into the same group.
        placed: Group of every customer, `few-orders` among them.
        amount: Revenue of every customer, to the cent.
        means: Groups by scaled columns, as the register keeps them.
        suggested, confirmed: Names by group; a confirmed one is a person's.
    """

    ids: Mapping[str, str]
    member: pd.Series[str]
    probability: pd.Series[float]
    placed: pd.Series[str]
    amount: pd.Series[Any]
    means: pd.DataFrame
    lifts: tuple[Lift, ...]
    suggested: Mapping[str, str]
    confirmed: Mapping[str, str]

    @property
    def names(self) -> dict[str, Name]:
        """What each group is called."""
        return {group: Name(name) for group, name in {**self.suggested, **self.confirmed}.items()}

    @property
    def shown(self) -> dict[str, Name]:
        """The same, with the customers of few orders."""
        return self.names | {FEW_ORDERS: Name("Few orders")}

    @property
    def sizes(self) -> dict[str, int]:
        return {str(group): int(n) for group, n in self.placed.value_counts().items()}

    def table(self) -> pd.DataFrame:
        """customer_id, segment, of those with enough orders."""
        return self.member.rename("segment").rename_axis("customer_id").reset_index()


def groups(
    found: Found,
    described: pd.DataFrame,
    segment_names: tuple[SegmentName, ...],
    run: Run[SegmentParameters],
) -> Groups:
    """The groups that were found, matched with those whose names people confirmed.

    Raises:
        TooFew: There are none.
    """
    if found.solution.model is None:
        raise TooFew("there are no segments", takes="segments that pass the checks below")
    fitted = found.solution.table()
    means = profile_means(found.values, list(fitted["segment"]))
    confirmed = [Profile(segment=n.segment, name=n.name, means=n.profile) for n in segment_names]
    known = match_profiles(means, confirmed)
    ids = stable_ids(list(means.index), known, confirmed)
    means = means.rename(index=ids).sort_index()
    fitted = fitted.assign(segment=fitted["segment"].map(ids)).set_index("customer_id")
    lifts = estimate_lifts(kept_apart(found, ids), minimum_cell_size=run.smallest_cell, **run.range)
    return Groups(
        ids=ids,
        member=fitted["segment"],
        probability=fitted["probability"],
        placed=fitted["segment"].reindex(described.index).fillna(FEW_ORDERS),
        amount=described["revenue_amount"],
        means=means,
        lifts=tuple(lifts),
        suggested=suggest_names(lifts, list(means.index)),
        confirmed={ids[today]: profile.name for today, profile in known.items()},
    )


@dataclass(frozen=True, kw_only=True)
class GroupSize:
    """How many customers a group has, and what each brings."""

    name: Name
    share: Measured
    each: Measured


def largest(groups: Groups, run: Run[SegmentParameters]) -> tuple[GroupSize, ...]:
    """The largest groups, as shares of the customers with enough orders."""
    sizes = {group: groups.sizes[group] for group in groups.names}
    amount = groups.amount.astype(float).groupby(groups.placed).sum()
    return tuple(
        GroupSize(
            name=groups.names[group],
            share=Measured(value=n / sum(sizes.values()), unit="share", n=n, as_of=run.as_of),
            each=Measured(value=float(amount[group]) / n, unit=run.currency, n=n, as_of=run.as_of),
        )
        for group, n in sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[:_MOST_TILES]
    )


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Customers and revenue by group, and the group that brings most.

    Attributes:
        frame: name, customers, customer_share, revenue_share.
    """

    frame: pd.DataFrame
    name: Name
    customers: Measured
    revenue: Measured

    def draw(self, caption: Caption) -> Chart:
        """Share of revenue by group."""
        return plot_bars(
            self.frame, caption=caption, label="name", value="revenue_share", unit="share",
            n="customers", highlight=[self.name],
        )  # fmt: skip


def sizes(groups: Groups, run: Run[SegmentParameters]) -> Sizes:
    """Share of customers and of revenue, few orders among them; small groups are left out."""
    by_group = groups.amount.astype(float).groupby(groups.placed).agg(["sum", "size"])
    frame = pd.DataFrame(
        {
            "name": [groups.shown[str(group)] for group in by_group.index],
            "customers": by_group["size"].to_numpy(),
            "customer_share": (by_group["size"] / len(groups.placed)).to_numpy(),
            "revenue_share": (by_group["sum"] / by_group["sum"].sum()).to_numpy(),
        }
    )
    frame = frame[frame["customers"] >= run.smallest_cell]
    if frame.empty:
        raise TooFew("no group is large enough to be shown")
    top = frame.sort_values(["revenue_share", "name"]).iloc[-1]

    def share(column: str) -> Measured:
        n = int(top["customers"])
        return Measured(value=float(top[column]), unit="share", n=n, as_of=run.as_of)

    return Sizes(
        frame=frame,
        name=Name(str(top["name"])),
        customers=share("customer_share"),
        revenue=share("revenue_share"),
    )


def segments(groups: Groups) -> pd.DataFrame:
    """Every customer with the own group: customer_id, segment, probability.

    `probability` is missing for customers with few orders.
    """
    return pd.DataFrame(
        {
            "customer_id": groups.placed.index,
            "segment": groups.placed.to_numpy(),
            "probability": groups.probability.reindex(groups.placed.index).to_numpy(
                dtype=np.float64
            ),
        }
    )
