"""From canonical tables to one row per customer of a campaign, or per place and week."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from insight_lib.findings import TooFew

if TYPE_CHECKING:
    import ibis.expr.types as ir


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """One campaign that is over: its window, its arms and what a contact costs."""

    id: str
    kind: str
    start: date
    end: date
    cost_amount: float | None
    is_randomised: bool
    n_assigned: int

    @property
    def name(self) -> str:
        """As it stands in a sentence: a bare number says what it is."""
        return f"Campaign {self.id}" if self.id.isdigit() else self.id

    @property
    def days(self) -> int:
        return (self.end - self.start).days + 1


def load_orders(lines: ir.Table) -> pd.DataFrame:
    """One row per customer and day with an order: customer_id, day, orders, revenue.

    Lines without a customer are left out; a return counts on the day it came back.
    """
    known = lines.filter(lines.customer_id.notnull())
    daily = known.group_by(customer_id=known.customer_id, day=known.ordered_local.date()).agg(
        orders=known.order_id.nunique(where=known.quantity > 0),
        revenue=known.amount.cast("float64").sum(),
    )
    frame = daily.order_by(["customer_id", "day"]).to_pandas()
    return frame.assign(day=pd.to_datetime(frame["day"]))


def list_campaigns(
    campaigns: pd.DataFrame, assignments: pd.DataFrame, *, as_of: date
) -> tuple[Campaign, ...]:
    """Campaigns whose window is over on `as_of`, latest first; ties by name."""
    found = []
    for row in campaigns.to_dict("records"):
        mine = assignments[assignments["campaign_id"] == row["campaign_id"]]
        end = pd.Timestamp(row["end_date"]).date()
        if mine.empty or end > as_of:
            continue
        cost = row.get("cost_per_contact_amount")
        found.append(
            Campaign(
                id=str(row["campaign_id"]),
                kind=str(row["campaign_type"]),
                start=pd.Timestamp(row["start_date"]).date(),
                end=end,
                cost_amount=None if cost is None or pd.isna(cost) else float(cost),
                is_randomised=bool(mine["is_randomised"].astype(bool).all())
                and bool((mine["arm"] == "control").any())
                and bool((mine["arm"] != "control").any()),
                n_assigned=len(mine),
            )
        )
    return tuple(sorted(found, key=lambda c: (-c.start.toordinal(), c.id)))


def window_sums(orders: pd.DataFrame, *, first: date, last: date) -> pd.DataFrame:
    """orders and revenue per customer between two days, both counted."""
    inside = orders[orders["day"].between(pd.Timestamp(first), pd.Timestamp(last))]
    return inside.groupby("customer_id")[["orders", "revenue"]].sum()


def campaign_frame(
    campaign: Campaign,
    assignments: pd.DataFrame,
    orders: pd.DataFrame,
    responses: pd.DataFrame | None,
    *,
    pre_period_days: int,
) -> pd.DataFrame:
    """One row per customer assigned: arm, outcomes in the window, and what was known before.

    Columns: customer_id, arm, is_treated, revenue, orders, has_ordered, has_visited (with
    responses), and before the start: revenue_before, orders_before, has_ordered_before,
    days_silent, revenue_long_before.

    Raises:
        TooFew: The data do not reach back far enough before the campaign.
    """
    eve = campaign.start - timedelta(days=1)
    known_from = campaign.start - timedelta(days=pre_period_days)
    if orders.empty or orders["day"].min() > pd.Timestamp(known_from):
        raise TooFew(f"the data begin less than {pre_period_days} days before {campaign.id}")
    frame = assignments.loc[
        assignments["campaign_id"] == campaign.id, ["customer_id", "arm"]
    ].sort_values("customer_id", kind="stable", ignore_index=True)
    frame["is_treated"] = frame["arm"] != "control"
    during = window_sums(orders, first=campaign.start, last=campaign.end)
    before = window_sums(orders, first=known_from, last=eve)
    long_before = window_sums(orders, first=date(1970, 1, 1), last=eve)
    for name, sums in (("", during), ("_before", before), ("_long_before", long_before)):
        for column in ("orders", "revenue"):
            frame[column + name] = frame["customer_id"].map(sums[column]).fillna(0.0).astype(float)
        frame["has_ordered" + name] = (frame["orders" + name] > 0).astype(float)
    last = orders[orders["day"] <= pd.Timestamp(eve)].groupby("customer_id")["day"].max()
    silent = (pd.Timestamp(eve) - frame["customer_id"].map(last)).dt.days
    frame["days_silent"] = silent.fillna(9_999).astype(float)
    if responses is not None:
        visited = responses[
            (responses["campaign_id"] == campaign.id) & (responses["response_type"] == "visit")
        ]
        if len(visited):
            frame["has_visited"] = frame["customer_id"].isin(set(visited["customer_id"]))
            frame["has_visited"] = frame["has_visited"].astype(float)
    return frame


PRE_PERIOD_COLUMNS = (
    "revenue_before",
    "orders_before",
    "days_silent",
    "revenue_long_before",
    "orders_long_before",
)


def choose_targeted(
    campaigns: tuple[Campaign, ...],
    *,
    first_day: date,
    as_of: date,
    window_days: int,
    n_windows: int,
) -> Campaign:
    """The campaign sent by choice that reached most, with room before and after it.

    Raises:
        TooFew: None has `n_windows` windows before its start and one after.
    """
    room = [
        c
        for c in campaigns
        if not c.is_randomised
        and c.start - timedelta(days=n_windows * window_days) >= first_day
        and c.start + timedelta(days=window_days - 1) <= as_of
    ]
    if not room:
        raise TooFew(
            f"no campaign sent by choice has {n_windows * window_days} days of data before "
            f"its start and {window_days} after"
        )
    return min(room, key=lambda c: (-c.n_assigned, c.id))


def targeted_frame(
    campaign: Campaign,
    assignments: pd.DataFrame,
    orders: pd.DataFrame,
    *,
    window_days: int,
    n_windows: int,
) -> pd.DataFrame:
    """One row per customer who bought in the windows before: is_chosen, revenue by window.

    Columns `after`, `before`, then `h1`, `h2`, … back in time: revenue per window.
    """
    start = pd.Timestamp(campaign.start)
    window = (orders["day"] - start).dt.days // window_days
    inside = orders[window.between(-n_windows, 0)].assign(window=window)
    wide = inside.pivot_table(
        index="customer_id", columns="window", values="revenue", aggfunc="sum", fill_value=0.0
    ).reindex(columns=range(-n_windows, 1), fill_value=0.0)
    history = [f"h{age}" for age in range(n_windows - 1, 0, -1)]
    wide.columns = pd.Index([*history, "before", "after"])
    wide = wide[(wide[["before", *history]] != 0).any(axis=1)]
    mine = assignments[assignments["campaign_id"] == campaign.id]
    chosen = set(mine.loc[mine["arm"] != "control", "customer_id"])
    return wide.assign(is_chosen=wide.index.isin(chosen)).reset_index()


def place_weeks(
    orders: pd.DataFrame, places: pd.Series, *, start: date, as_of: date
) -> pd.DataFrame:
    """Revenue per place and whole week, weeks counted from the start day; place, week, revenue.

    Args:
        places: Place by customer_id; customers without one are left out.
    """
    week = (orders["day"] - pd.Timestamp(start)).dt.days // 7
    first = int(np.ceil((orders["day"].min() - pd.Timestamp(start)).days / 7))
    last = (as_of - start).days // 7
    whole = week.between(first, last - 1)
    joined = orders[whole].assign(
        place=orders.loc[whole, "customer_id"].map(places), week=week[whole]
    )
    sums = joined.groupby(["place", "week"])["revenue"].sum()
    every = pd.MultiIndex.from_product(
        [sorted(places.dropna().unique()), range(first, last)], names=["place", "week"]
    )
    return sums.reindex(every, fill_value=0.0).reset_index()


def customer_windows(
    orders: pd.DataFrame,
    places: pd.Series,
    *,
    treated: tuple[str, ...],
    start: date,
    as_of: date,
    outcome: str = "revenue",
) -> pd.DataFrame:
    """Customers known at the start, in windows of equal length before and after it.

    Season moves treated and other places alike, so it cancels between them. Columns:
    is_treated, before, after.

    Raises:
        TooFew: The data do not reach back so far.
    """
    days = min((as_of - start).days + 1, 364)
    first = start - timedelta(days=days)
    if pd.Timestamp(first) < orders["day"].min():
        raise TooFew(f"the data begin less than {days} days before the start")
    before = window_sums(orders, first=first, last=start - timedelta(days=1))
    after = window_sums(orders, first=start, last=start + timedelta(days=days - 1))
    frame = pd.DataFrame({"place": places.reindex(before.index)}).dropna()
    frame["is_treated"] = frame["place"].isin(treated)
    for name, sums in (("before", before), ("after", after)):
        frame[name] = sums[outcome].reindex(frame.index).fillna(0.0).astype(float)
    return frame


def guard_sums(lines: ir.Table, *, first: date, last: date) -> pd.DataFrame:
    """Sold, returned, taken off and list price per customer between two days, both counted.

    Columns: customer_id, sold_amount, returned_amount, discount_amount, list_amount. List price
    counts only lines that say what was taken off.
    """
    day = lines.ordered_local.date()
    known = lines.filter(lines.customer_id.notnull(), day >= first, day <= last)
    amount = known.amount.cast("float64")
    off = known.discount_amount.cast("float64") + known.coupon_amount.cast("float64").fill_null(0.0)
    is_sold = known.quantity > 0
    sums = known.group_by(customer_id=known.customer_id).agg(
        sold_amount=amount.sum(where=is_sold),
        returned_amount=(-amount).sum(where=~is_sold),
        discount_amount=off.sum(where=is_sold),
        list_amount=(amount + off).sum(where=is_sold),
    )
    return sums.order_by("customer_id").to_pandas().fillna(0.0)


def refused_between(consents: ir.Table, *, first: date, last: date) -> set[str]:
    """Customers who refused to be contacted between two days, both counted."""
    day = consents.decided_at.date()
    refused = consents.filter(
        consents.purpose == "activation", consents.decision == "refused", day >= first, day <= last
    )
    return set(refused.customer_id.to_pandas())


def planning_frame(
    orders: pd.DataFrame, *, as_of: date, window_days: int, pre_period_days: int
) -> pd.DataFrame:
    """Customers of the last year, as a test that had just ended would have seen them.

    Columns: has_ordered, revenue in the last `window_days`, and both in the pre-period before
    (`_before`). Whoever had not ordered in the year before the window is left out.

    Raises:
        TooFew: The data begin after the pre-period does.
    """
    start = as_of - timedelta(days=window_days - 1)
    eve = start - timedelta(days=1)
    known_from = start - timedelta(days=pre_period_days)
    if orders.empty or orders["day"].min() > pd.Timestamp(known_from):
        raise TooFew(f"the data begin less than {window_days + pre_period_days} days ago")
    alive = window_sums(orders, first=eve - timedelta(days=364), last=eve)
    windows = {"": (start, as_of), "_before": (known_from, eve)}
    frame = pd.DataFrame(index=alive.index[alive["orders"] > 0])
    for name, (first, last) in windows.items():
        sums = window_sums(orders, first=first, last=last).reindex(frame.index).fillna(0.0)
        frame["has_ordered" + name] = (sums["orders"] > 0).astype(float)
        frame["revenue" + name] = sums["revenue"].astype(float)
    return frame.reset_index()


def weekly_arrivals(orders: pd.DataFrame, *, as_of: date, n_weeks: int = 26) -> float:
    """New customers a week: first orders of the last `n_weeks` weeks.

    Raises:
        TooFew: The data do not begin as long again before, so that a first order seen would
            often not be the first.
    """
    since = pd.Timestamp(as_of) - pd.Timedelta(weeks=n_weeks)
    if orders.empty or orders["day"].min() > since - pd.Timedelta(weeks=n_weeks):
        raise TooFew(f"the data begin less than {2 * n_weeks} weeks ago")
    first_days = orders[orders["orders"] > 0].groupby("customer_id")["day"].min()
    return float((first_days > since).sum()) / n_weeks
