"""Looking every day without fooling oneself: always-valid ranges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from insight_lib.findings import Estimate, TooFew, Verdict, judge

_FEWEST_PER_ARM = 30


@dataclass(frozen=True, kw_only=True)
class Look:
    """One look at a running test.

    Attributes:
        change: Effect so far; its interval holds at this and all other looks together.
        fixed: The interval that a single look would have.
        p_value: Always-valid: never rises with further looks.
    """

    looked_on: date
    change: Estimate
    fixed: Estimate
    p_value: float


@dataclass(frozen=True, kw_only=True)
class Monitoring:
    """All looks, and the first at which the answer was sure.

    Attributes:
        stop: First look whose range excludes no effect; None if there is none.
        peeking_stop: First look at which a plain test would have claimed an effect.
    """

    looks: tuple[Look, ...]
    stop: Look | None
    peeking_stop: Look | None
    verdict: Verdict


def boundary(information: float, *, level: float = 0.95) -> float:
    """How many standard errors an effect must exceed to stand at any look.

    Mixture sequential probability ratio test with a normal mixture (Robbins, 1970; Johari,
    Koomen, Pekelis and Walsh, 2022, Operations Research), tuned to be narrowest at the
    planned end (Howard, Ramdas, McAuliffe and Sekhon, 2021, eq. 14).

    Args:
        information: Gathered so far, 1 at the planned end; it may run beyond.
    """
    alpha = 1 - level
    tuned = 1 / (2 * math.log(1 / alpha) + math.log(1 + 2 * math.log(1 / alpha)))
    return math.sqrt(
        (information + tuned) / information * math.log((information + tuned) / (tuned * alpha**2))
    )


def _always_valid_p(z: float, information: float) -> float:
    """Smallest alpha whose boundary, tuned for 0.05, is passed."""
    alpha = 0.05
    tuned = 1 / (2 * math.log(1 / alpha) + math.log(1 + 2 * math.log(1 / alpha)))
    exponent = z * z * information / (information + tuned)
    return min(1.0, math.sqrt((information + tuned) / tuned) * math.exp(-exponent / 2))


def monitor(
    effects: Sequence[tuple[date, float, float, float, int]],
    *,
    unit: str,
    smallest_change_that_matters: float,
    level: float = 0.95,
) -> Monitoring:
    """Turn a running effect into looks that may be taken at any time.

    Args:
        effects: (day, effect so far, standard error, information gathered, customers), in
            order of time; information is 1 at the planned end.

    Raises:
        TooFew: No look has a standard error yet.
    """
    z = float(stats.norm.ppf(0.5 + level / 2))
    looks: list[Look] = []
    best = 1.0
    for day, value, error, information, n in effects:
        if error <= 0 or information <= 0:
            continue
        half = boundary(information, level=level) * error
        best = min(best, _always_valid_p(value / error, information))
        change = Estimate(
            value=value,
            lower=value - half,
            upper=value + half,
            unit=unit,
            n=n,
            as_of=day,
            level=level,
            method="always-valid range (Johari et al., 2022; Howard et al., 2021)",
        )
        fixed = replace(
            change, lower=value - z * error, upper=value + z * error, method="single look"
        )
        looks.append(Look(looked_on=day, change=change, fixed=fixed, p_value=best))
    if not looks:
        raise TooFew("no look has anything to compare yet")
    return Monitoring(
        looks=tuple(looks),
        stop=next((k for k in looks if k.change.excludes(0)), None),
        peeking_stop=next((k for k in looks if k.fixed.excludes(0)), None),
        verdict=judge(looks[-1].change, smallest_change_that_matters),
    )


def looks_while_outcomes_arrive(
    frame: pd.DataFrame,
    *,
    n_treated: int,
    n_control: int,
    days: Sequence[date],
    planned_variance: float,
) -> list[tuple[date, float, float, float, int]]:
    """Daily effects of a test that everyone entered at once, outcomes arriving by day.

    The total so far moves like a walk whose clock is its variance, so information is the
    variance so far over that of the planned window. Customers who keep to their habits make
    looks more alike than the walk's, which errs on the safe side (Slepian, 1962).

    Args:
        frame: One row per outcome: customer_id, is_treated, day, value.
        planned_variance: Of a customer's total over the planned window, known beforehand,
            e.g. from the window before.

    Raises:
        TooFew: Customers did not differ in the window before, so that nothing says how much
            information a day brings.
    """
    if not planned_variance > 0:
        raise TooFew("nothing is known of how much these customers order from the time before")
    totals = pd.Series(0.0, index=pd.Index(sorted(set(frame["customer_id"]))))
    treated_ids = frame.groupby("customer_id")["is_treated"].first().reindex(totals.index)
    is_treated = treated_ids.to_numpy(dtype=bool)
    by_day = dict(list(frame.groupby("day")))
    looks = []
    for day in days:
        if day in by_day:
            totals = totals.add(by_day[day].groupby("customer_id")["value"].sum(), fill_value=0.0)
        values = totals.to_numpy()
        parts = [
            _moments(values[is_treated], n_treated),
            _moments(values[~is_treated], n_control),
        ]
        (mean_t, var_t), (mean_c, var_c) = parts
        n = n_treated + n_control
        variance = (var_t * n_treated + var_c * n_control) / n
        error = math.sqrt(var_t / n_treated + var_c / n_control)
        looks.append((day, mean_t - mean_c, error, variance / planned_variance, n))
    return looks


def _moments(values: np.ndarray[tuple[int], np.dtype[np.float64]], n: int) -> tuple[float, float]:
    """Mean and variance over `n` customers, those without an outcome counting as zero."""
    mean = float(values.sum()) / n
    return mean, float(np.square(values).sum()) / n - mean**2


def looks_while_customers_enter(
    frame: pd.DataFrame, *, planned_customers: int
) -> list[tuple[date, float, float, float, int]]:
    """Daily effects of a test that customers enter day by day, each with one outcome.

    Args:
        frame: One row per customer: day, is_treated, value.
    """
    daily: Any = (
        frame.assign(square=np.square(frame["value"].astype(float)), one=1.0)
        .groupby(["day", "is_treated"])[["one", "value", "square"]]
        .sum()
        .unstack("is_treated", fill_value=0.0)
        .sort_index()
        .cumsum()
    )
    arms = [
        np.column_stack([daily[(name, arm)] for name in ("one", "value", "square")])
        for arm in (True, False)
    ]
    looks = []
    for day, treated, control in zip(daily.index, *arms, strict=True):
        n_t, n_c = float(treated[0]), float(control[0])
        if min(n_t, n_c) < _FEWEST_PER_ARM:
            continue
        (mean_t, var_t), (mean_c, var_c) = (
            (part[1] / part[0], part[2] / part[0] - (part[1] / part[0]) ** 2)
            for part in (treated, control)
        )
        error = math.sqrt(var_t / n_t + var_c / n_c)
        information = 4 * n_t * n_c / (n_t + n_c) / planned_customers
        looks.append((day, float(mean_t - mean_c), error, information, int(n_t + n_c)))
    return looks
