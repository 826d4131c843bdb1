"""Estimators that several stages share: each answers with an `Estimate`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from insight_lib.findings import UNIT_BOUNDS, Estimate, Measured, TooFew

Floats = NDArray[np.float64]
M = TypeVar("M", bound=Measured)


# Amounts of which so little is taken back are still amounts above zero.
_TAKEN_BACK = 0.1
_WIDEST = 1.0
_STRETCH = math.e - 1  # what the scale of logarithms makes of the width at `_WIDEST`


def _z(level: float) -> float:
    return float(stats.norm.ppf(0.5 + level / 2))


def estimate_share(successes: int, n: int, *, as_of: date, level: float = 0.95) -> Estimate:
    """A share with its Wilson score interval (Wilson, 1927).

    Args:
        successes: Of `n` independent customers, how many did it.

    Raises:
        TooFew: `n` is zero.
    """
    if n == 0:
        raise TooFew("no customers to take a share of")
    z = _z(level)
    rate = successes / n
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    return Estimate(
        value=rate,
        lower=max(0.0, min(centre - half, rate)),
        upper=min(1.0, max(centre + half, rate)),
        unit="share",
        n=n,
        as_of=as_of,
        level=level,
        method="Wilson score interval (Wilson, 1927)",
    )


def _ratio_parts(numerator: ArrayLike, denominator: ArrayLike) -> tuple[float, Floats, float]:
    """Ratio of totals, one residual per customer, and the degrees of freedom they have.

    A customer who holds much of the denominator pulls the ratio to itself; its residual is
    enlarged by its leverage (MacKinnon and White, 1985, HC3), and the degrees of freedom
    count such customers for what they are (Satterthwaite, 1946).
    """
    x = np.asarray(numerator, dtype=float)
    y = np.asarray(denominator, dtype=float)
    total = float(y.sum())
    if len(x) < 2:
        raise TooFew(f"{len(x)} customers, and a range takes at least two")
    if total <= 0:
        raise TooFew("nothing to divide by: the denominator adds up to zero")
    ratio = float(x.sum()) / total
    leverage = np.clip(y / total, 0.0, 0.99)
    residual = (x - ratio * y) / total / (1 - leverage)
    weight = np.square(y)
    return ratio, residual, float(weight.sum() ** 2 / np.square(weight).sum())


def on_log_scale(ratio: float, half: float) -> tuple[float, float]:
    """The interval of what cannot be negative, from half its width on the plain scale.

    Delta method for the logarithm: the error of log r is that of r over r (Oehlert, 1992). From
    `_WIDEST` on the linear step no longer holds and the upper end would be without meaning, so
    that the width above stays the plain one there.
    """
    if ratio <= 0:
        return ratio - half, ratio + half
    width = half / ratio
    upper = ratio * math.exp(width) if width <= _WIDEST else ratio + half * _STRETCH
    return ratio * math.exp(-width), upper


def _half_width(residual: Floats, freedom: float, level: float) -> float:
    quantile = float(stats.t.ppf(0.5 + level / 2, max(freedom, 1.0)))
    return quantile * math.sqrt(float(np.square(residual).sum()))


def estimate_ratio(
    numerator: ArrayLike,
    denominator: ArrayLike,
    *,
    unit: str,
    as_of: date,
    level: float = 0.95,
    is_plain: bool = False,
) -> Estimate:
    """A ratio of two totals, with customers as the independent units.

    Delta method on the linearised ratio (Deng, Knoblich and Lu, 2018, KDD): orders of one
    customer are alike, so the interval is built from one residual per customer. Of amounts that
    are not negative it is built for the logarithm and turned back (Zhou and Gao, 1997): their
    mean cannot be negative, and a few large ones make it surer from below than from above.

    Args:
        is_plain: Keep the plain scale, for estimates of which a difference is taken.
        numerator: One number per customer, e.g. spend.
        denominator: One number per customer, e.g. orders. Customers with none are not counted
            in `n`.

    Raises:
        TooFew: Fewer than two customers, or a denominator of zero.
    """
    ratio, residual, freedom = _ratio_parts(numerator, denominator)
    half = _half_width(residual, freedom, level)
    lowest, highest = UNIT_BOUNDS.get(unit, (-math.inf, math.inf))
    x = np.asarray(numerator, dtype=float)
    is_amount = (
        not is_plain and highest == math.inf and -x[x < 0].sum() <= _TAKEN_BACK * x[x > 0].sum()
    )
    lower, upper = on_log_scale(ratio, half) if is_amount else (ratio - half, ratio + half)
    return Estimate(
        value=ratio,
        lower=max(lower, lowest),
        upper=min(upper, highest),
        unit=unit,
        n=int(np.count_nonzero(np.asarray(denominator, dtype=float))),
        as_of=as_of,
        level=level,
        method="delta method over customers (Deng, Knoblich and Lu, 2018)",
    )


def estimate_ratio_change(
    before: tuple[ArrayLike, ArrayLike],
    after: tuple[ArrayLike, ArrayLike],
    *,
    as_of: date,
    relative: bool,
    unit: str | None = None,
    level: float = 0.95,
) -> Estimate:
    """The change of a ratio between two periods seen on the same customers.

    The two periods share customers, so their errors are not independent: each customer
    gives one residual for the difference (delta method, as in `estimate_ratio`).

    Args:
        before: Numerator and denominator per customer, same order as in `after`.
        relative: Change as a share of the ratio before (unit `change`), else in its own unit.
        unit: Of a change that is not relative; by default that of two shares (`difference`).

    Returns:
        The change; its `n` counts customers with a denominator in either period.

    Raises:
        TooFew: Fewer than two customers, nothing before to compare with, or less than nothing
            after (returns above sales), of which no relative change can be taken.
    """
    ratio_before, residual_before, freedom_before = _ratio_parts(*before)
    ratio_after, residual_after, freedom_after = _ratio_parts(*after)
    present = [np.asarray(pair[1], dtype=float) != 0 for pair in (before, after)]
    if relative:
        if ratio_before <= 0:
            raise TooFew("nothing before to compare with")
        change = ratio_after / ratio_before - 1
        residual = residual_after / ratio_before - residual_before * (ratio_after / ratio_before**2)
    else:
        change = ratio_after - ratio_before
        residual = residual_after - residual_before
    half = _half_width(residual, min(freedom_before, freedom_after), level)
    unit = "change" if relative else unit or "difference"
    lowest, highest = UNIT_BOUNDS.get(unit, (-math.inf, math.inf))
    if not lowest <= change <= highest:
        raise TooFew(f"a {unit} of {change:+.0%} has no meaning: less than nothing is left")
    return Estimate(
        value=change,
        lower=max(change - half, lowest),
        upper=min(change + half, highest),
        unit=unit,
        n=int((present[0] | present[1]).sum()),
        as_of=as_of,
        level=level,
        method="delta method over customers (Deng, Knoblich and Lu, 2018)",
    )


def estimate_top_share(
    values: ArrayLike, *, top: float, as_of: date, level: float = 0.95
) -> Estimate:
    """Share of the total that the largest `top` share of customers brings.

    Interval from the influence function of a Lorenz ordinate (Beach and Davidson, 1983).

    Args:
        values: One non-negative number per customer.
        top: Between 0 and 1, e.g. 0.2 for the best fifth.

    Raises:
        TooFew: Fewer than ten customers in the top group, or a total of zero.
    """
    x = np.sort(np.asarray(values, dtype=float))
    n = len(x)
    if n * top < 10 or x.sum() <= 0:
        raise TooFew(f"{n} customers with a total of {x.sum():g}; the top needs at least ten")
    mean = float(x.mean())
    quantile = float(np.quantile(x, 1 - top))
    count = round(n * top)
    tail = float(x[n - count :].sum()) / n
    share = tail / mean
    influence = np.where(x > quantile, x - quantile, 0.0) + quantile * top - tail
    influence = (influence - share * (x - mean)) / mean
    half = _z(level) * float(influence.std(ddof=1)) / math.sqrt(n)
    return Estimate(
        value=share,
        lower=max(0.0, share - half),
        upper=min(1.0, share + half),
        unit="share",
        n=n,
        as_of=as_of,
        level=level,
        method="Lorenz ordinate (Beach and Davidson, 1983)",
    )


def minimum_detectable_effect(
    n: int,
    *,
    standard_deviation: float,
    treated_share: float = 0.5,
    level: float = 0.95,
    power: float = 0.8,
) -> float:
    """Smallest difference of two means that a test of `n` customers shows (Cohen, 1988).

    `(z(1 - alpha / 2) + z(power)) * sd * sqrt(1 / n_treated + 1 / n_control)`.

    Raises:
        TooFew: One of the two arms would be empty.
    """
    treated = n * treated_share
    control = n - treated
    if treated < 1 or control < 1:
        raise TooFew(f"{n} customers cannot fill two arms")
    z = _z(level) + float(stats.norm.ppf(power))
    return z * standard_deviation * math.sqrt(1 / treated + 1 / control)


def customers_needed(
    effect: float,
    *,
    standard_deviation: float,
    treated_share: float = 0.5,
    level: float = 0.95,
    power: float = 0.8,
) -> int:
    """Customers, both arms together, whose test shows `effect`: the same formula turned round.

    Raises:
        TooFew: One of the two arms would be empty.
    """
    share = treated_share * (1 - treated_share)
    if share <= 0:
        raise TooFew(f"a treated share of {treated_share} leaves one arm empty")
    z = _z(level) + float(stats.norm.ppf(power))
    return math.ceil((z * standard_deviation / effect) ** 2 / share)


def benjamini_hochberg(p_values: Sequence[float], *, rate: float = 0.05) -> list[bool]:
    """Which of many tests stand, keeping the false discovery rate (Benjamini, Hochberg, 1995)."""
    if not p_values:
        return []
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    passing = p[order] <= rate * np.arange(1, len(p) + 1) / len(p)
    cut = int(np.flatnonzero(passing).max()) + 1 if passing.any() else 0
    kept = np.zeros(len(p), dtype=bool)
    kept[order[:cut]] = True
    return [bool(k) for k in kept]


def p_value(change: Estimate) -> float:
    """Two-sided p-value of no change, read off a normal interval."""
    half = (change.upper - change.lower) / 2
    if half == 0:
        return 0.0 if change.value else 1.0
    return float(2 * stats.norm.sf(abs(change.value) / (half / _z(change.level))))


def in_points(change: M) -> M:
    """A difference of shares as percentage points; anything else as it is."""
    if change.unit not in ("share", "difference"):
        return change
    numbers = ("value", "lower", "upper")
    scaled = {name: getattr(change, name) * 100 for name in numbers if hasattr(change, name)}
    return replace(change, unit="points", **scaled)


def rake(
    people: pd.DataFrame,
    margins: Mapping[str, Mapping[Any, float]],
    weights: ArrayLike,
    *,
    tolerance: float = 1e-9,
) -> Floats:
    """Weights that fit known margins, so that who did not answer is made up for.

    Iterative proportional fitting (Deming and Stephan, 1940): each variable in turn, until
    all fit. A level that nobody here has is passed over; its people cannot be stood for.

    Args:
        people: One row per respondent, one text column per variable of `margins`; missing is
            a level of its own and keeps its weight's share.
        margins: Variable to level to the number of people who have it.
        weights: Positive starting weights, e.g. design weights.

    Returns:
        One weight per respondent; they add up to the people of the first margin.

    Raises:
        TooFew: Nobody answered, or the margins contradict each other.
    """
    raked = np.array(weights, dtype=float)
    if not len(raked):
        raise TooFew("nobody answered")
    codes = {}
    for variable, levels in margins.items():
        column = (
            people[variable]
            .astype("object")
            .map({level: place for place, level in enumerate(levels)})
        )
        known = column.fillna(-1).to_numpy(dtype=int)
        target = np.array(list(levels.values()), dtype=float)
        present = np.bincount(known[known >= 0], minlength=len(target)) > 0
        codes[variable] = (known, np.where(present, target, 0.0))
    total = next((float(target.sum()) for _, target in codes.values()), float(raked.sum()))
    for _ in range(1_000):
        furthest = 0.0
        for known, target in codes.values():
            inside = known >= 0
            now = np.bincount(known[inside], raked[inside], minlength=len(target))
            share = float(raked[inside].sum() / raked.sum())
            wanted = target / target.sum() * total * share
            factor = np.divide(wanted, now, out=np.ones_like(now), where=now > 0)
            raked[inside] *= factor[known[inside]]
            raked[~inside] *= total * (1 - share) / max(float(raked[~inside].sum()), 1e-300)
            furthest = max(furthest, float(np.abs(factor[target > 0] - 1).max(initial=0.0)))
        if furthest < tolerance:
            return raked
    raise TooFew(f"the margins of {', '.join(margins)} do not fit these respondents together")
