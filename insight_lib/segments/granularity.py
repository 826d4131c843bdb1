"""How many segments are worth having: the value of finer ones against what they cost.

A finer solution is worth something only if its segments differ in what they will bring,
beyond what a split by chance would show: with a budget for contact spread by expected value,
the gain of knowing segments is the spread of their means (between-segment variance, corrected
for noise). Running a segment costs money, and there are only so many channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from insight_lib.findings import Measured, TooFew

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


@dataclass(frozen=True, kw_only=True)
class Granularity:
    """The number of segments to run, and what the limit on channels costs."""

    splits: tuple[Split, ...]
    chosen: Split
    unlimited: Split
    channel_capacity: int
    lost: Measured

    @property
    def is_limited(self) -> bool:
        return self.unlimited.k > self.channel_capacity


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
        channel_capacity=channel_capacity,
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
