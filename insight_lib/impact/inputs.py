"""From canonical tables to one row per customer of a campaign, or per place and week."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from insight_lib.findings import TooFew
from insight_lib.orders import dated
from insight_lib.orders import orders as purchase_orders
from insight_lib.prose import Name

if TYPE_CHECKING:
    import ibis.expr.types as ir


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """One campaign: its window, its arms and what a contact costs.

    Attributes:
        is_randomised: All of it was drawn by lot, with a control group and somebody contacted.
        is_over: Its last day lies in the data.
        arms: Names as they are written, in order.
    """

    id: str
    kind: str
    start: date
    end: date
    cost_amount: float | None
    is_randomised: bool
    n_assigned: int
    is_over: bool = True
    arms: tuple[str, ...] = ()
    is_by_lot: bool = False

    @property
    def name(self) -> str:
        """As it stands in a sentence: a bare number says what it is."""
        return f"Campaign {self.id}" if self.id.isdigit() else self.id

    @property
    def days(self) -> int:
        return (self.end - self.start).days + 1


def load_orders(lines: ir.Table, *, free_orders_count: bool = False) -> pd.DataFrame:
    """One row per customer and moment of an order: customer_id, day, moment, orders, revenue.

    Lines without a customer are left out. What was taken back is off the order that it belongs
    to, on that order's day; a purchase of which nothing is left counts no more.

    Args:
        free_orders_count: Whether an order of nothing is an order, as in `orders.sold`.
    """
    by_order = purchase_orders(lines, free_orders_count=free_orders_count)
    amount = by_order.amount.cast("float64")
    is_kept = by_order.is_purchase & ((amount > 0) | (by_order.returned_amount == 0))
    moments = by_order.group_by(
        customer_id=by_order.customer_id, moment=by_order.ordered_local
    ).agg(orders=is_kept.cast("int64").sum(), revenue=amount.sum())
    frame = moments.order_by(["customer_id", "moment"]).to_pandas()
    moment = pd.to_datetime(frame["moment"])
    return frame.assign(moment=moment, day=moment.dt.normalize())


def slug(text: str) -> str:
    """A name as part of a finding's id."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_") or "unnamed"


_TARGETS = {
    "lapse": "who stops ordering",
    "churn": "who ends a contract",
    "repeat": "who orders a second time",
    "category": "who starts in a new department",
    "value": "spend",
}


def target_name(target: str) -> Name:
    """What a model foretells, as a reader calls it; a segment's own model names the segment."""
    name, _, segment = target.partition("@")
    words = _TARGETS.get(name, name)
    return Name(f"{words} in {segment}" if segment else words)


def with_arm(campaign: str, arm: str | None) -> str:
    """A campaign, and which of its arms, as it stands in a sentence."""
    return campaign if arm is None else f"{campaign} ({arm.replace('_', ' ')})"


def list_campaigns(
    campaigns: pd.DataFrame, assignments: pd.DataFrame, *, as_of: date
) -> tuple[Campaign, ...]:
    """Campaigns that somebody was assigned to, running ones too, latest first; ties by name.

    A campaign that ends before it starts has no window and is left out.
    """
    found = []
    for row in campaigns.to_dict("records"):
        mine = assignments[assignments["campaign_id"] == row["campaign_id"]]
        start, end = (pd.Timestamp(row[name]).date() for name in ("start_date", "end_date"))
        if mine.empty or end < start or start > as_of:
            continue
        cost = row.get("cost_per_contact_amount")
        by_lot = bool(mine["is_randomised"].astype(bool).all())
        arms = tuple(sorted(str(arm) for arm in mine["arm"].unique()))
        found.append(
            Campaign(
                id=str(row["campaign_id"]),
                kind=str(row["campaign_type"]),
                start=start,
                end=end,
                cost_amount=None if cost is None or pd.isna(cost) else float(cost),
                is_randomised=by_lot and "control" in arms and len(arms) > 1,
                n_assigned=int(mine["customer_id"].nunique()),
                is_over=end <= as_of,
                arms=arms,
                is_by_lot=by_lot,
            )
        )
    return tuple(sorted(found, key=lambda c: (-c.start.toordinal(), c.id)))


def why_no_test(campaigns: tuple[Campaign, ...]) -> str:
    """The reason why no campaign can be compared, with the arms that were found."""
    by_lot = [c for c in campaigns if c.is_by_lot]
    if not campaigns:
        return "no campaign has customers assigned to it and days that are in the data"
    if not by_lot:
        return "no campaign was drawn by lot"
    latest = by_lot[0]
    arms = ", ".join(latest.arms)
    return f"{latest.name} was drawn by lot, and none of its arms is called control ({arms})"


def window_sums(orders: pd.DataFrame, *, first: date, last: date) -> pd.DataFrame:
    """orders and revenue per customer between two days, both counted."""
    inside = orders[orders["day"].between(pd.Timestamp(first), pd.Timestamp(last))]
    return inside.groupby("customer_id")[["orders", "revenue"]].sum()


def with_age(orders: pd.DataFrame, entries: pd.Series) -> pd.DataFrame:
    """Orders of the customers in `entries`, with `age`: days since the customer's entry.

    Args:
        entries: Moment from which each customer counts, by customer_id.
    """
    mine = orders[orders["customer_id"].isin(entries.index)]
    moment = pd.to_datetime(mine["moment"] if "moment" in mine else mine["day"])
    entry = pd.to_datetime(entries.reindex(mine["customer_id"])).set_axis(mine.index)
    return mine.assign(age=(moment - entry).dt.total_seconds() / 86_400)


def entry_sums(
    orders: pd.DataFrame, entries: pd.Series, *, first: float, last: float
) -> pd.DataFrame:
    """orders and revenue per customer from `first` to before `last` days after the entry."""
    mine = with_age(orders, entries)
    inside = mine[(mine["age"] >= first) & (mine["age"] < last)]
    return inside.groupby("customer_id")[["orders", "revenue"]].sum()


def campaign_frame(
    campaign: Campaign,
    assignments: pd.DataFrame,
    orders: pd.DataFrame,
    responses: pd.DataFrame | None,
    *,
    pre_period_days: int,
    entries: pd.Series | None = None,
    days: float | None = None,
) -> pd.DataFrame:
    """One row per customer assigned: arm, outcomes, and what was known before.

    Whoever is assigned and never ordered counts as nothing ordered. Columns: customer_id, arm,
    is_treated, revenue, orders, has_ordered, has_visited (with responses), and before the
    entry: revenue_before, orders_before, has_ordered_before, days_silent, revenue_long_before.

    Args:
        assignments: One row per customer of the campaign.
        entries: Moment from which a customer counts, by customer_id; the campaign's start
            without it.
        days: Length of the follow-up; the campaign's length without it.

    Raises:
        TooFew: The data do not reach back far enough before the campaign.
    """
    known_from = campaign.start - timedelta(days=pre_period_days)
    if orders.empty or orders["day"].min() > pd.Timestamp(known_from):
        raise TooFew(f"the data begin less than {pre_period_days} days before {campaign.id}")
    frame = assignments.loc[
        assignments["campaign_id"] == campaign.id, ["customer_id", "arm"]
    ].sort_values("customer_id", kind="stable", ignore_index=True)
    frame["is_treated"] = frame["arm"] != "control"
    if entries is None:
        entries = pd.Series(pd.Timestamp(campaign.start), index=frame["customer_id"])
    length = float(campaign.days if days is None else days)
    windows = {"": (0.0, length), "_before": (-float(pre_period_days), 0.0)}
    windows["_long_before"] = (-np.inf, 0.0)
    for name, (first, last) in windows.items():
        sums = entry_sums(orders, entries, first=first, last=last)
        for column in ("orders", "revenue"):
            frame[column + name] = frame["customer_id"].map(sums[column]).fillna(0.0).astype(float)
        frame["has_ordered" + name] = (frame["orders" + name] > 0).astype(float)
    entry = pd.to_datetime(entries.reindex(frame["customer_id"])).set_axis(frame.index)
    aged = with_age(orders, entries)
    earlier = aged[aged["age"] < 0]
    last_day = earlier.groupby("customer_id")["day"].max().astype("datetime64[ns]")
    last_day = last_day.reindex(frame["customer_id"]).set_axis(frame.index)
    silent = (entry.dt.normalize() - last_day).dt.days - 1
    frame["days_silent"] = silent.clip(lower=0).fillna(9_999).astype(float)
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


def guard_sums(lines: ir.Table, *, first: date, last: date) -> pd.DataFrame:
    """Sold, returned, taken off and list price per customer between two days, both counted.

    Columns: customer_id, sold_amount, returned_amount, discount_amount, list_amount. What comes
    back counts with its order. List price counts only lines that say what was taken off; where
    no column says it, both are nothing.
    """
    line = dated(lines.filter(lines.customer_id.notnull()))
    known = line.filter(line.order_date >= first, line.order_date <= last)
    amount = known.amount.cast("float64")
    off = amount.nullif(amount)  # not recorded is not nothing
    if "discount_amount" in known.columns:
        off = known.discount_amount.cast("float64")
        if "coupon_amount" in known.columns:
            off = off + known.coupon_amount.cast("float64").fill_null(0.0)
    sums = known.group_by(customer_id=known.customer_id).agg(
        sold_amount=amount.sum(where=amount > 0),
        returned_amount=(-amount).sum(where=amount < 0),
        discount_amount=off.sum(where=amount > 0),
        list_amount=(amount + off).sum(where=amount > 0),
    )
    return sums.order_by("customer_id").to_pandas().fillna(0.0)


def refused_between(consents: ir.Table, *, first: date, last: date, zone: str = "UTC") -> set[str]:
    """Customers who refused to be contacted between two days of the market, both counted."""
    refused = consents.filter(consents.purpose == "activation", consents.decision == "refused")
    rows = refused.select("customer_id", "decided_at").to_pandas()
    day = local_days(rows["decided_at"], zone)
    return set(rows.loc[day.between(pd.Timestamp(first), pd.Timestamp(last)), "customer_id"])


def local_days(moments: pd.Series, zone: str) -> pd.Series:
    """The day of each instant (UTC) on the market's clock."""
    return local_moments(moments, zone).dt.normalize()


def local_moments(moments: pd.Series, zone: str) -> pd.Series:
    """Each instant (UTC) on the market's clock, without a zone."""
    return pd.to_datetime(moments, utc=True).dt.tz_convert(zone).dt.tz_localize(None)


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
