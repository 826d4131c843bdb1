"""Places: what each sold by week, gaps named, and what a programme in some of them changed.

The place is the unit that was treated, so the place is the unit of error: customers of one place
share its weather, its prices and its rivals, and a thousand of them are still one place (Moulton,
1990; Donald and Lang, 2007; Conley and Taber, 2011; MacKinnon and Webb, 2020).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pandas as pd
from scipy import stats

from insight_lib.findings import Estimate, TooFew
from insight_lib.statistics import estimate_ratio_change

_RARE = 1e-6  # a day without any order is a gap where chance would leave it empty more rarely
_FEWEST_CONTROLS = 3
_MOST_LOST_SHARE = 0.25  # a control that lacks more of its weeks is left out, not patched
_FEWEST_WEEKS = 4


@dataclass(frozen=True, kw_only=True)
class PlaceWeeks:
    """Revenue per place and whole week that every place kept in it has.

    Attributes:
        table: place, week (0 is the first from the start on), revenue; no week is missing.
        dropped_weeks: Weeks left out everywhere, as a place lacked data in them.
        dropped_places: Places left out for their gaps.
        closed_places: Places whose rows end before the data do.
    """

    table: pd.DataFrame
    dropped_weeks: tuple[int, ...]
    dropped_places: tuple[str, ...]
    closed_places: tuple[str, ...]


def place_weeks(
    orders: pd.DataFrame,
    places: pd.Series,
    *,
    start: date,
    as_of: date,
    treated: Sequence[str] = (),
) -> PlaceWeeks:
    """Revenue per place and whole week, weeks counted from the start day; `as_of` is complete.

    A day without any order in a place that would have many by its share of what the others sell
    that day is a gap in the feed or a closed place, and no day of nothing sold. A control
    with gaps in more than a quarter of its weeks, or that closed, is left out; weeks in which
    any other place has a gap are left out for all.

    Args:
        places: Place by customer_id; customers without one are left out.

    Raises:
        TooFew: A treated place closed, or no whole week is left.
    """
    age = (orders["day"] - pd.Timestamp(start)).dt.days
    week = age // 7
    first = math.ceil((orders["day"].min() - pd.Timestamp(start)).days / 7)
    last = ((as_of - start).days + 1) // 7
    whole = week.between(first, last - 1)
    inside = orders[whole].assign(
        place=orders.loc[whole, "customer_id"].map(places), week=week[whole], age=age[whole]
    )
    if first >= last or inside.empty:
        raise TooFew("no whole week of data")
    names = sorted(str(p) for p in places.dropna().unique())
    sums = inside.groupby(["place", "week"])["revenue"].sum()
    every = pd.MultiIndex.from_product([names, range(first, last)], names=["place", "week"])
    wide = sums.reindex(every, fill_value=0.0).unstack("place")
    gaps, closed = _gaps(inside, names, first=first, last=last)
    if bad := sorted(set(closed) & set(treated)):
        raise TooFew(f"{', '.join(bad)} has no orders any more before the data end")
    lost = gaps.mean()
    out = {p for p in names if p not in treated and lost[p] > _MOST_LOST_SHARE} | set(closed)
    kept = [p for p in names if p not in out]
    is_gap = gaps[kept].any(axis=1)
    table = wide.loc[~is_gap, kept]
    if table.empty:
        raise TooFew("every week lacks the data of some place")
    return PlaceWeeks(
        table=table.reset_index().melt(id_vars="week", var_name="place", value_name="revenue")[
            ["place", "week", "revenue"]
        ],
        dropped_weeks=tuple(int(w) for w in is_gap.index[is_gap]),
        dropped_places=tuple(sorted(out - set(closed))),
        closed_places=tuple(sorted(closed)),
    )  # fmt: skip


def _gaps(
    inside: pd.DataFrame, names: Sequence[str], *, first: int, last: int
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Weeks in which a place lacks data (weeks by places), and places that closed."""
    count = inside.groupby(["age", "place"])["orders"].sum()
    ages = range(first * 7, last * 7)
    daily = count.unstack("place").reindex(index=ages, columns=list(names)).fillna(0.0)
    weeks = np.asarray(daily.index) // 7
    gaps = (daily.eq(0) & (np.exp(-_expected(daily)) < _RARE)).groupby(weeks).any()
    weekly = daily.groupby(weeks).sum()
    # Places too small for a rule by day: whole weeks of nothing.
    is_empty_week = weekly.eq(0)
    gaps |= is_empty_week & (np.exp(-_expected(weekly)) < _RARE)
    closed = []
    for place in names:
        filled = np.flatnonzero(~is_empty_week[place].to_numpy())
        silent = len(weekly) - 1 - (int(filled.max()) if len(filled) else -1)
        rate = float(weekly[place].to_numpy()[filled].mean()) if len(filled) else 0.0
        if silent >= 2 and math.exp(-rate * silent) < _RARE:
            closed.append(place)
    return gaps, tuple(closed)


def _expected(orders: pd.DataFrame) -> pd.DataFrame:
    """Orders that each place would have by its share and by what the others sell at the time.

    So a holiday, a season or a gap of all places alike is no gap of one.
    """
    share = orders.sum() / max(float(orders.to_numpy().sum()), 1.0)
    others = orders.rsub(orders.sum(axis=1), axis=0)
    return others.mul(share / (1 - share).clip(lower=1e-9), axis=1)


def around_the_start(
    orders: pd.DataFrame, places: pd.Series, *, start: date, as_of: date
) -> tuple[pd.DataFrame, int]:
    """Orders of customers with a place, in windows of equal length before and after the start.

    All who ordered in either window count: those chosen for having ordered in one of them would
    by that alone spend less in the other.

    Returns:
        The orders, and the days of each window: as many as have passed, at most 364.

    Raises:
        TooFew: The data do not reach back so far.
    """
    days = min((as_of - start).days + 1, 364)
    first = start - timedelta(days=days)
    if orders.empty or pd.Timestamp(first) < orders["day"].min():
        raise TooFew(f"the data begin less than {days} days before the start")
    last = start + timedelta(days=days - 1)
    is_inside = orders["day"].between(pd.Timestamp(first), pd.Timestamp(last))
    return orders[is_inside & orders["customer_id"].isin(places.dropna().index)], days


@dataclass(frozen=True, kw_only=True)
class PlaceChange:
    """What a programme changed, the market's own movement taken out, places as units.

    Attributes:
        net: Change of spend in treated places over that in the others.
        treated, others: Their changes from before to after, as shares.
        moves: How far untreated places move on their own: standard deviation, as a share.
        rank_p: Share of places, the treated among them, that moved as far from the rest.
        n_controls: Places to compare with.
        window_days: Days before and after that are compared.
        dropped_days: Days left out, as some place lacked data.
    """

    net: Estimate
    treated: float
    others: float
    moves: float
    rank_p: float
    n_controls: int
    window_days: int
    dropped_days: int = 0


def estimate_place_change(
    orders: pd.DataFrame,
    places: pd.Series,
    *,
    treated: Sequence[str],
    start: date,
    as_of: date,
    skip_weeks: Sequence[int] = (),
    leave_out: Sequence[str] = (),
    level: float = 0.95,
) -> PlaceChange:
    """Difference-in-differences of places: what treated places did beyond the others.

    Each place gives one number, the log of what its customers spent after the start over
    before. The controls' own spread says how far a place moves when nothing is done; the range
    is that of a new place drawn from them, with a t distribution for their number (Donald and
    Lang, 2007; Conley and Taber, 2011). Where treated places have fewer customers than the
    others, their larger noise is added (Ferman and Pinto, 2019).

    Args:
        places: Place by customer_id.
        skip_weeks: Weeks from the start in which some place lacks data.
        leave_out: Places not to compare with.

    Raises:
        TooFew: Fewer than three places to compare with, a place without spend, or too short data.
    """
    inside, days = around_the_start(orders, places, start=start, as_of=as_of)
    age = (inside["day"] - pd.Timestamp(start)).dt.days
    # Windows of whole weeks where there are some, so that weekdays count alike.
    length = days // 7 * 7 if days >= 7 * _FEWEST_WEEKS else days
    is_kept = age.between(-length, length - 1) & ~(age // 7).isin(list(skip_weeks))
    weights = _covered(length, skip_weeks)
    mine = inside[is_kept].assign(is_after=age[is_kept] >= 0)
    sums = (
        mine.groupby(["customer_id", "is_after"])["revenue"].sum().unstack(fill_value=0)
        .reindex(columns=[False, True], fill_value=0.0)
    )  # fmt: skip
    sums.columns = pd.Index(["before", "after"])
    sums = sums.div(pd.Series(weights, index=["before", "after"]))
    sums["place"] = places.reindex(sums.index).astype(str)
    logs, noise = {}, {}
    for place, part in sums.groupby("place"):
        if place in leave_out:
            continue
        ones = np.ones(len(part))
        if len(part) < 2 or part["before"].sum() <= 0 or part["after"].sum() <= 0:
            if place in treated:
                raise TooFew(f"{place} has no spend before or after the start")
            continue
        change = estimate_ratio_change(
            (part["before"], ones), (part["after"], ones), as_of=as_of, relative=True, level=level
        )
        z = float(stats.norm.ppf(0.5 + level / 2))
        logs[str(place)] = math.log(1 + change.value)
        noise[str(place)] = ((change.upper - change.lower) / 2 / z / (1 + change.value)) ** 2
    if missing := sorted(set(treated) - set(logs)):
        raise TooFew(f"no data for {', '.join(missing)}")
    controls = [p for p in sorted(logs) if p not in treated]
    if len(controls) < _FEWEST_CONTROLS:
        raise TooFew(
            f"{len(controls)} places to compare with; it takes {_FEWEST_CONTROLS} to know how far "
            "a place moves on its own"
        )
    return _compared(logs, noise, controls, treated, as_of=as_of, level=level, days=length,
                     n=len(sums), dropped=7 * len(set(skip_weeks)))  # fmt: skip


def _covered(length: int, skip_weeks: Sequence[int]) -> tuple[float, float]:
    """Days before and after that are left when weeks with gaps are out."""
    skipped = set(skip_weeks)
    days = np.arange(-length, length)
    kept = ~np.isin(days // 7, list(skipped))
    before, after = int(kept[days < 0].sum()), int(kept[days >= 0].sum())
    if min(before, after) < 1:
        raise TooFew("every week before or after the start lacks the data of some place")
    return float(before), float(after)


def _compared(
    logs: Mapping[str, float],
    noise: Mapping[str, float],
    controls: Sequence[str],
    treated: Sequence[str],
    *,
    as_of: date,
    level: float,
    days: int,
    n: int,
    dropped: int,
) -> PlaceChange:
    theirs = np.array([logs[p] for p in controls])
    ours = np.array([logs[p] for p in treated])
    n_c, n_t = len(theirs), len(ours)
    variance = float(theirs.var(ddof=1))
    more_noise = float(np.mean([noise[p] for p in treated]) - np.mean([noise[p] for p in controls]))
    error = math.sqrt(variance / n_c + (variance + max(0.0, more_noise)) / n_t)
    net = float(ours.mean() - theirs.mean())
    half = float(stats.t.ppf(0.5 + level / 2, n_c - 1)) * error
    everyone = np.append(theirs, ours.mean())
    away = np.abs(everyone - (everyone.sum() - everyone) / n_c)
    return PlaceChange(
        net=Estimate(
            value=math.expm1(net),
            lower=math.expm1(net - half),
            upper=math.expm1(net + half),
            unit="change",
            n=n,
            as_of=as_of,
            level=level,
            method="difference-in-differences with places as units (Donald and Lang, 2007; "
            "Conley and Taber, 2011)",
        ),
        treated=math.expm1(float(ours.mean())),
        others=math.expm1(float(theirs.mean())),
        moves=math.expm1(math.sqrt(variance)),
        rank_p=float(np.mean(away >= away[-1] - 1e-12)),
        n_controls=n_c,
        window_days=days,
        dropped_days=dropped,
    )
