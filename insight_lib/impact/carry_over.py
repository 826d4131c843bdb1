"""Do earlier tests still move customers, and how long to wait before the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd

from insight_lib.findings import Estimate, TooFew
from insight_lib.impact.effects import FEWEST_PER_ARM, difference
from insight_lib.impact.inputs import Campaign, window_sums
from insight_lib.statistics import benjamini_hochberg, estimate_ratio, p_value


@dataclass(frozen=True, kw_only=True)
class CarryOver:
    """One earlier test, seen from the present one.

    Attributes:
        gap_days: Days between its last day and the present test's first.
        lasting: What contact in the earlier test still did just before the present one began.
        interaction: How much larger the present effect is among those contacted earlier.
        is_lasting, is_mixed: Whether either stands when all earlier tests are judged together.
        washout_days: Days after its end up to which its effect is seen; at least the gap where
            it still lasts.
    """

    earlier: str
    gap_days: int
    lasting: Estimate
    interaction: Estimate
    washout_days: int
    is_lasting: bool = False
    is_mixed: bool = False


def earlier_tests(present: Campaign, tests: tuple[Campaign, ...]) -> tuple[Campaign, ...]:
    """Tests drawn by lot that were over before the present one began, latest first."""
    return tuple(t for t in tests if t.is_randomised and t.end < present.start)


def check_carry_over(
    present: Campaign,
    earlier: tuple[Campaign, ...],
    assignments: pd.DataFrame,
    orders: pd.DataFrame,
    *,
    window_days: int,
    as_of: date,
    level: float = 0.95,
) -> tuple[CarryOver, ...]:
    """Earlier arms against orders just before the present test, and against its effect.

    Earlier arms were drawn by lot too, so a difference between them is their doing; two-stage
    use of the same customers is the crossover problem (Jones and Kenward, 2014; Kohavi et al.,
    2012, KDD, for tests online). All comparisons are judged together (Benjamini, Hochberg,
    1995), so that a quiet history raises an alarm in at most one of twenty tests.

    Args:
        window_days: Longest window before the present test, and the step of the washout.

    Raises:
        TooFew: No earlier test shares enough customers with this one.
    """
    common: dict[str, Any] = {"as_of": as_of, "level": level}
    mine = assignments[assignments["campaign_id"] == present.id]
    now = _outcomes(mine, orders, first=present.start, last=present.end)
    found = []
    for test in earlier:
        then = assignments[assignments["campaign_id"] == test.id]
        was_contacted = then.set_index("customer_id")["arm"] != "control"
        both = now[now["customer_id"].isin(was_contacted.index)]
        both = both.assign(was_contacted=both["customer_id"].map(was_contacted).astype(bool))
        cells = both.groupby(["is_treated", "was_contacted"]).size()
        if len(cells) < 4 or cells.min() < FEWEST_PER_ARM:
            continue
        gap_days = (present.start - test.end).days - 1
        eve = present.start - timedelta(days=1)
        first = max(test.end + timedelta(days=1), present.start - timedelta(days=window_days))
        if first > eve:
            continue
        just_before = _outcomes(then, orders, first=first, last=eve)
        effects = {
            earlier_arm: _change(both[both["was_contacted"] == earlier_arm], **common)
            for earlier_arm in (True, False)
        }
        found.append(
            CarryOver(
                earlier=test.name,
                gap_days=gap_days,
                lasting=_change(just_before, **common),
                interaction=difference(effects[True], effects[False]),
                washout_days=_days_seen(
                    test, then, orders, until=eve, step_days=window_days, **common
                ),
            )
        )
    if not found:
        raise TooFew("no earlier test drawn by lot shares enough customers with this one")
    ps = [p_value(c.lasting) for c in found] + [p_value(c.interaction) for c in found]
    stands = benjamini_hochberg(ps, rate=1 - level)
    return tuple(
        replace(
            carried,
            is_lasting=lasts,
            is_mixed=mixes,
            washout_days=max(carried.washout_days, carried.gap_days)
            if lasts
            else carried.washout_days,
        )
        for carried, lasts, mixes in zip(
            found, stands[: len(found)], stands[len(found) :], strict=True
        )
    )


def _outcomes(
    assigned: pd.DataFrame, orders: pd.DataFrame, *, first: date, last: date
) -> pd.DataFrame:
    sums = window_sums(orders, first=first, last=last)["orders"]
    return pd.DataFrame(
        {
            "customer_id": assigned["customer_id"].to_numpy(),
            "is_treated": (assigned["arm"] != "control").to_numpy(),
            "orders": assigned["customer_id"].map(sums).fillna(0.0).to_numpy(dtype=float),
        }
    )


def _change(frame: pd.DataFrame, *, as_of: date, level: float) -> Estimate:
    """Orders per customer, contacted less left alone."""
    arms = (frame.loc[frame["is_treated"] == arm, "orders"] for arm in (True, False))
    levels = [
        estimate_ratio(arm, np.ones(len(arm)), unit="ratio", as_of=as_of, level=level)
        for arm in arms
    ]
    return difference(*levels)


def _days_seen(
    test: Campaign,
    assigned: pd.DataFrame,
    orders: pd.DataFrame,
    *,
    until: date,
    step_days: int,
    as_of: date,
    level: float,
) -> int:
    """Days after the test's end in which its effect is seen, window by window.

    Windows are tested in order and testing stops at the first that shows nothing, which keeps
    the error of the whole row at that of one test (fixed sequence; Maurer et al., 1995).
    """
    days, first = 0, test.end + timedelta(days=1)
    while first + timedelta(days=step_days - 1) <= until:
        last = first + timedelta(days=step_days - 1)
        window = _outcomes(assigned, orders, first=first, last=last)
        if not _change(window, as_of=as_of, level=level).excludes(0):
            break
        days, first = days + step_days, last + timedelta(days=1)
    return days


def longest_washout(carried: Sequence[CarryOver]) -> int:
    """Days to wait after a test before the next begins: the longest that was seen."""
    return max((c.washout_days for c in carried), default=0)
