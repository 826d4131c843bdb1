"""The effect of a test week by week, and whether it fades."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from insight_lib.findings import Estimate, TooFew
from insight_lib.impact.effects import FEWEST_PER_ARM, difference
from insight_lib.impact.inputs import with_age
from insight_lib.statistics import estimate_ratio

Floats = NDArray[np.float64]
_FEWEST_WEEKS = 3


@dataclass(frozen=True, kw_only=True)
class Fading:
    """Orders per customer, contacted less left alone, by week since the start.

    Attributes:
        weeks: The change of each week, its range widened for the number of weeks.
        early, late: The change in the first and in the last half of the weeks, per customer.
        fall: Early less late, each customer against itself; its own interval.
        n_early, n_late: Weeks in each half; the middle one of an odd number is in neither.
    """

    weeks: tuple[Estimate, ...]
    early: Estimate
    late: Estimate
    fall: Estimate
    n_early: int
    n_late: int

    @property
    def is_fading(self) -> bool:
        """A gain that is surely smaller later, and not sure any more."""
        return self.early.lower > 0 and self.fall.lower > 0 and not self.late.lower > 0

    @property
    def is_reversed(self) -> bool:
        return self.is_fading and self.late.upper < 0


def orders_by_week(
    frame: pd.DataFrame, orders: pd.DataFrame, entries: pd.Series, *, days: int
) -> Floats:
    """Orders of each customer of the frame in each whole week of the follow-up.

    Returns:
        One row per row of `frame`, one column per week.
    """
    n_weeks = days // 7
    mine = with_age(orders, entries[entries.index.isin(frame["customer_id"])])
    week = mine["age"] // 7
    inside = mine.assign(week=week)[week.between(0, n_weeks - 1)]
    place = pd.Series(np.arange(len(frame)), index=frame["customer_id"])
    counts = np.zeros((len(frame), max(n_weeks, 0)))
    np.add.at(
        counts,
        (inside["customer_id"].map(place).to_numpy(dtype=int), inside["week"].to_numpy(dtype=int)),
        inside["orders"].to_numpy(dtype=float),
    )
    return counts


def estimate_fading(
    counts: Floats,
    is_treated: Sequence[bool] | NDArray[np.bool_],
    *,
    as_of: date,
    level: float = 0.95,
) -> Fading:
    """Does the gain of the first weeks last into the later ones.

    One half of the weeks surely gaining and the other not is no difference yet (Gelman and
    Stern, 2006, The American Statistician): each customer's early less late orders are compared
    between the arms, which has a range of its own.

    Args:
        counts: One row per customer, one column per week.

    Raises:
        TooFew: Fewer than three weeks, or an arm has fewer than thirty customers.
    """
    n_weeks = counts.shape[1]
    treated = np.asarray(is_treated, dtype=bool)
    if n_weeks < _FEWEST_WEEKS:
        raise TooFew(f"{n_weeks} whole weeks of follow-up; it takes {_FEWEST_WEEKS}")
    if min(int(treated.sum()), int((~treated).sum())) < FEWEST_PER_ARM:
        raise TooFew(f"an arm has fewer than {FEWEST_PER_ARM} customers")
    half = n_weeks // 2

    def change(values: Floats, level: float) -> Estimate:
        parts = [
            estimate_ratio(part, np.ones(len(part)), unit="ratio", as_of=as_of, level=level)
            for part in (values[treated], values[~treated])
        ]
        return difference(*parts)

    early, late = counts[:, :half].sum(axis=1), counts[:, n_weeks - half :].sum(axis=1)
    strict = 1 - (1 - level) / n_weeks
    return Fading(
        weeks=tuple(change(counts[:, week], strict) for week in range(n_weeks)),
        early=change(early, level),
        late=change(late, level),
        fall=change(early - late, level),
        n_early=half,
        n_late=half,
    )
