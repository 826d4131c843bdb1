"""How many segments are worth having: the value of finer ones against what they cost.

A finer solution is worth something only if its segments differ in what they will bring,
beyond what a split by chance would show: with a budget for contact spread by expected value,
the gain of knowing segments is the spread of their means (between-segment variance, corrected
for noise). Running a segment costs money, and there are only so many channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from insight_lib.findings import Measured, TooFew
from insight_lib.orders import window
from insight_lib.segments.find import Found, earlier_window
from insight_lib.segments.inputs import enough_orders, lines_between
from insight_lib.segments.purchases import read_purchases
from insight_lib.segments.solution import fit_model

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from insight_lib.parameter_model import SegmentParameters
    from insight_lib.run import Run
    from insight_lib.segments.groups import Groups

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Split:
    """One number of segments: gain, cost and what is left, in the currency.

    Attributes:
        explained_share: Share of the variance of value between segments, noise taken off.
    """

    k: int
    explained_share: float
    gain_amount: float
    cost_amount: float

    @property
    def net_amount(self) -> float:
        return self.gain_amount - self.cost_amount


GranularityCase = Literal[
    "none pays", "none pays at capacity", "limited", "fewer than found", "as many as pay"
]


@dataclass(frozen=True, kw_only=True)
class Granularity:
    """The number of segments to run, and what the limit on channels costs.

    Attributes:
        found: Segments that there are.
        period: Over which values were counted.
    """

    splits: tuple[Split, ...]
    chosen: Split
    unlimited: Split
    capacity: int
    lost: Measured
    found: int
    period: Measured

    @property
    def is_limited(self) -> bool:
        return self.unlimited.k > self.capacity

    @property
    def case(self) -> GranularityCase:
        if self.is_limited:
            return "none pays at capacity" if self.k == 1 else "limited"
        if self.k == 1:
            return "none pays"
        return "fewer than found" if self.k < self.found else "as many as pay"

    @property
    def k(self) -> int:
        return self.chosen.k

    @property
    def n(self) -> int:
        return self.lost.n

    @property
    def gain(self) -> Measured:
        return replace(self.lost, value=self.chosen.net_amount)


def explained_share(value: Floats, labels: Labels) -> float:
    """Omega squared: share of variance between groups less what chance brings (Hays, 1963)."""
    groups, which = np.unique(labels, return_inverse=True)
    n, k = len(value), len(groups)
    if k < 2 or n <= k:
        return 0.0
    means = np.bincount(which, value) / np.bincount(which)
    within = float(np.square(value - means[which]).sum()) / (n - k)
    total = float(np.square(value - value.mean()).sum())
    if total <= 0:
        return 0.0
    return max(0.0, (total - within * (n - 1)) / (total + within))


def estimate_granularity(
    value: Floats,
    solutions: Mapping[int, Labels],
    *,
    activation_cost_amount: float,
    channel_capacity: int,
    captured_share: float,
    currency: str,
    as_of: date,
    found: int,
    period_days: int,
) -> Granularity:
    """Weigh numbers of segments against each other.

    The gain of k segments is `captured_share` of the spread of segment means around the
    overall mean, over all customers: what contact by segment can move at most, times the
    part of it that campaigns capture. One segment gains and costs nothing.

    Args:
        value: Future value per customer, in the currency.
        solutions: Labels per customer for each number of segments.
        activation_cost_amount: A year of running one more segment.
        channel_capacity: Segments that can be served at once.
        captured_share: Part of the spread that campaigns capture, 0-1.
        found: Segments that were found, of whatever worth.
        period_days: Over which `value` was counted.

    Raises:
        TooFew: Nobody has a value.
    """
    value = np.asarray(value, dtype=float)
    if not len(value):
        raise TooFew("no customers with a value")
    spread = float(value.std())
    splits = [Split(k=1, explained_share=0.0, gain_amount=0.0, cost_amount=0.0)]
    for k in sorted(solutions):
        share = explained_share(value, solutions[k])
        splits.append(
            Split(
                k=k,
                explained_share=share,
                gain_amount=captured_share * np.sqrt(share) * spread * len(value),
                cost_amount=activation_cost_amount * (k - 1),
            )
        )
    allowed = [s for s in splits if s.k <= max(channel_capacity, 1)]
    chosen, unlimited = _best(allowed), _best(splits)
    return Granularity(
        splits=tuple(splits),
        chosen=chosen,
        unlimited=unlimited,
        capacity=channel_capacity,
        found=found,
        period=Measured(value=float(period_days), unit="days", n=len(value), as_of=as_of),
        lost=Measured(
            value=unlimited.net_amount - chosen.net_amount,
            unit=currency,
            n=len(value),
            as_of=as_of,
        ),
    )


def _best(splits: Sequence[Split]) -> Split:
    """The largest net value; ties to fewer segments, so a higher cost never raises k."""
    return min(splits, key=lambda s: (-s.net_amount, s.k))


def next_period(lines: ir.Table, run: Run[SegmentParameters], column: str) -> pd.Series[float]:
    """By customer (index), the `amount` or number of `orders` since the last refresh."""
    chosen = lines_between(lines, window(run.as_of, run.parameters.refresh_days))
    chosen = chosen.filter(chosen.customer_id.notnull())
    value = chosen.amount.sum().cast("float64") if column == "amount" else chosen.order_id.nunique()
    frame = chosen.group_by("customer_id").agg(value=value).to_pandas()
    return frame.set_index("customer_id")["value"].astype(float)


def granularity(
    found: Found,
    groups: Groups,
    bought: ir.Table,
    transactions: ir.Table,
    run: Run[SegmentParameters],
    products: ir.Table | None = None,
) -> Granularity:
    """How many segments pay, by what customers spent after they were put into them."""
    p = run.parameters
    days = earlier_window(found, refresh_days=p.refresh_days, as_of=run.as_of)
    chosen = lines_between(bought, days)
    customers = enough_orders(chosen, p.minimum_order_days)
    counts = read_purchases(chosen, products, names=found.purchases.names).counts()
    before = found.recipe(counts, customers).to_numpy(dtype=float)
    spent = next_period(transactions, run, "amount").reindex(customers).fillna(0.0)
    value: Floats = np.asarray(spent, dtype=np.float64)
    return estimate_granularity(
        value,
        {
            k: fit_model(before, k, seed=run.seed).assign(before)
            for k in range(2, p.most_segments + 1)
        },
        activation_cost_amount=p.activation_cost_revenue_share * float(value.sum()),
        channel_capacity=p.channel_capacity,
        captured_share=p.captured_share,
        currency=run.currency,
        as_of=run.as_of,
        found=len(groups.names),
        period_days=p.refresh_days,
    )
