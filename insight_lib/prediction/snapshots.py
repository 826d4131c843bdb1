"""Customers as they were known on a day, and what they did after it.

A snapshot's features come from rows that had arrived by its cut; its labels from the days
after. All cuts are taken in one pass of the engine, and no order line leaves it. A return
counts on the day it came back, so an order before the cut is not told about a later return.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Literal

import ibis
import pandas as pd

from insight_lib.findings import TooFew

if TYPE_CHECKING:
    import ibis.expr.types as ir

_WEEKEND = (5, 6)  # ibis: Monday is 0
_MOST_TOUCHPOINTS = 6
# What is said of a customer, not what names one.
_TRAITS = (
    "acquisition_channel",
    "age_band",
    "income_band",
    "household_size",
    "household_type",
    "children",
    "home_ownership",
    "marital_status",
    "subregion",
    "industry",
    "size_band",
)


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is predicted: for whom, how far ahead, in which unit.

    Attributes:
        id: `lapse`, `churn`, `repeat`, `category` or `value`.
        title: Fits "customers who …".
        purpose: `retention` or `growth`; a regulated sector allows some of them.
        category: Department that a `category` target is about.
    """

    id: str
    title: str
    kind: Literal["binary", "amount"]
    purpose: Literal["retention", "growth"]
    horizon_days: int
    unit: str
    category: str | None = None


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Days: looked ahead, looked back, and within which a customer counts as active."""

    horizon_days: int
    history_days: int
    active_days: int


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Customers at the end of `cut`.

    Attributes:
        features: Customers (index, sorted) by numbers (float, missing as NaN) and texts
            (object, missing as None).
        labels: The same customers by target id: 0 or 1, or an amount; missing where the
            target does not apply. No columns where the horizon ends after the data do.
    """

    cut: date
    features: pd.DataFrame
    labels: pd.DataFrame

    @property
    def has_labels(self) -> bool:
        return bool(len(self.labels.columns))


def choose_cuts(first_day: date, as_of: date, windows: Windows, *, most: int) -> list[date]:
    """Cuts one horizon apart, oldest first; the last is `as_of`, which has no labels.

    Raises:
        TooFew: The data do not reach back one history and two horizons.
    """
    steps = (as_of - first_day).days - windows.history_days
    n_labelled = min(steps // windows.horizon_days, most)
    if n_labelled < 2:
        takes = windows.history_days + 2 * windows.horizon_days
        raise TooFew(f"{(as_of - first_day).days} days of data, and it takes {takes}")
    return [as_of - timedelta(days=windows.horizon_days * k) for k in range(n_labelled, -1, -1)]


def choose_targets(
    tables: Mapping[str, ir.Table],
    *,
    windows: Windows,
    currency: str,
    as_of: date,
    category: str | None = None,
    purposes: Sequence[str] = (),
) -> tuple[Target, ...]:
    """What can be predicted from the tables there are.

    Args:
        category: Department of the `category` target; without one, the best-selling of those
            that less than half of the customers buy.
        purposes: Those that a regulated sector allows; empty means all.
    """

    def target(name: str, title: str, purpose: Literal["retention", "growth"]) -> Target:
        is_amount = name == "value"
        return Target(
            id=name,
            title=title,
            kind="amount" if is_amount else "binary",
            purpose=purpose,
            horizon_days=windows.horizon_days,
            unit=currency if is_amount else "share",
        )

    if "contracts" in tables:
        found = [target("churn", "end their contract", "retention")]
    else:
        found = [
            target("lapse", "stop ordering", "retention"),
            target("repeat", "order again after their first order", "growth"),
            target("value", "spend", "growth"),
        ]
        chosen = category or _open_category(tables, windows, as_of)
        if chosen:
            found.append(
                Target(
                    id="category",
                    title=f"start to buy {chosen}",
                    kind="binary",
                    purpose="growth",
                    horizon_days=windows.horizon_days,
                    unit="share",
                    category=chosen,
                )
            )
    return tuple(t for t in found if not purposes or t.purpose in purposes)


def _open_category(tables: Mapping[str, ir.Table], windows: Windows, as_of: date) -> str | None:
    """The department with most sales of those that under half of the customers buy."""
    products = tables.get("products")
    if products is None or "department" not in products.columns:
        return None
    since = as_of - timedelta(days=windows.history_days)
    parts = _department_days(tables["transactions"], products, since=since)
    recent = parts.filter(parts.has_bought)
    total = recent.customer_id.nunique().execute()
    by_department = recent.group_by("department").agg(
        amount=recent.amount.sum(), n=recent.customer_id.nunique()
    )
    open_ = by_department.filter((by_department.n < total / 2) & by_department.department.notnull())
    best = open_.order_by([ibis.desc("amount"), "department"]).limit(1).to_pandas()
    return str(best["department"].iloc[0]) if len(best) else None


def take_snapshots(
    tables: Mapping[str, ir.Table],
    cuts: Sequence[date],
    *,
    as_of: date,
    windows: Windows,
    targets: Sequence[Target],
    columns: Sequence[str] = (),
    most_customers: int | None = None,
) -> list[Snapshot]:
    """Features of all cuts, and labels of those whose horizon ends by `as_of`.

    Args:
        tables: `transactions` or `contracts`, and of `products`, `customers`, `interactions`
            and `payments` those that there are.
        cuts: Oldest first.
        columns: Features that a regulated sector allows; empty means all.
        most_customers: About so many customers in the cuts with labels, which models learn
            from; all customers in those without, which are scored.

    Returns:
        One snapshot per cut. Its customers have ordered within the history, or have a
        contract in force.
    """
    labelled = [c for c in cuts if c + timedelta(days=windows.horizon_days) <= as_of]
    known = _sample(tables, most_customers) if most_customers else tables
    # Events that begin later than the first cut looks back would read as silence before.
    reach = cuts[0] - timedelta(days=2 * windows.horizon_days)
    with_events = "interactions" in tables and _first_event_day(tables["interactions"]) <= reach
    parts, label_parts = [], []
    for own, chosen in ((known, labelled), (tables, [c for c in cuts if c not in labelled])):
        if chosen:
            days = ibis.memtable(pd.DataFrame({"cut": pd.to_datetime(chosen)}))
            days = days.mutate(cut=days.cut.cast("date"))
            base = _features(own, days, windows, with_events=with_events)
            parts.append(base)
            is_past = chosen is labelled
            label_parts.append(_labels(own, base, days, windows, targets if is_past else ()))
    base = pd.concat(parts, ignore_index=True)
    labels = pd.concat(label_parts, ignore_index=True)
    names = [c for c in base.columns if c not in ("cut", "customer_id")]
    names = [c for c in names if (not columns or c in columns) and base[c].notna().any()]
    found = []
    for cut in cuts:
        mine = base["cut"] == pd.Timestamp(cut)
        features = _typed(base[mine].set_index("customer_id")[names])
        own_labels = labels[mine] if cut in labelled else labels.loc[mine, []]
        found.append(
            Snapshot(cut=cut, features=features, labels=own_labels.set_axis(features.index))
        )
    return found


def _features(
    tables: Mapping[str, ir.Table], days: ir.Table, windows: Windows, *, with_events: bool
) -> pd.DataFrame:
    """Customers of each cut with all that is known of them, by cut and customer."""
    parts = (
        [_contract_features(tables, days)]
        if "contracts" in tables
        else _order_features(tables, days, windows)
    )
    if with_events:
        parts.append(_event_features(tables["interactions"], days, windows))
    base = _pulled(parts[0])
    for part in parts[1:]:
        base = base.merge(_pulled(part), on=["cut", "customer_id"], how="left")
    counts = [c for c in base.columns if c.startswith("n_")]
    base[counts] = base[counts].fillna(0)
    if "customers" in tables:
        traits = [c for c in _TRAITS if c in tables["customers"].columns]
        people = tables["customers"].select("customer_id", *traits).to_pandas()
        base = base.merge(people, on="customer_id", how="left")
    return base.sort_values(["cut", "customer_id"], ignore_index=True)


def _pulled(part: ir.Table) -> pd.DataFrame:
    frame: pd.DataFrame = part.to_pandas()
    return frame.assign(cut=pd.to_datetime(frame["cut"]))


def _sample(tables: Mapping[str, ir.Table], most_customers: int) -> Mapping[str, ir.Table]:
    """The tables of about so many customers, the same ones every time, by a hash of the id."""
    main = tables["contracts" if "contracts" in tables else "transactions"]
    ids = main.select("customer_id").distinct()
    n = int(ids.count().execute())
    if n <= most_customers:
        return tables
    below = f"{int(most_customers / n * 16**6):06x}"
    chosen = ids.filter(ids.customer_id.hexdigest("md5")[:6] < below).to_pandas()
    kept = ibis.memtable(chosen)
    return {
        name: table.semi_join(kept, "customer_id") if "customer_id" in table.columns else table
        for name, table in tables.items()
    }


def _typed(features: pd.DataFrame) -> pd.DataFrame:
    """Numbers as float64, texts as objects with None where missing."""
    typed = {
        name: column.astype("float64")
        if pd.api.types.is_numeric_dtype(column) or _is_decimal(column)
        else column.astype("object").where(column.notna(), None)
        for name, column in features.items()
    }
    return pd.DataFrame(typed, index=features.index)


def _is_decimal(column: pd.Series) -> bool:
    first = column.dropna()
    return bool(len(first)) and type(first.iloc[0]).__name__ == "Decimal"


def _days_of(lines: ir.Table) -> ir.Table:
    """Order lines of known customers, with their local `day` and money as floats."""
    known = lines.filter(lines.customer_id.notnull())
    known = known.mutate(day=known.ordered_local.date())
    for name in ("amount", "discount_amount", "coupon_amount"):
        given = known[name] if name in known.columns else ibis.literal(0.0)
        known = known.mutate(**{name: given.cast("float64").fill_null(0.0)})
    return known


def _parts(lines: ir.Table) -> ir.Table:
    """Order lines as parts: one row per customer, order and day on which lines came.

    Returns:
        customer_id, order_id, day, amount, discount_amount, coupon_amount, returned_amount
        (float), has_bought.
    """
    known = _days_of(lines)
    return known.group_by(["customer_id", "order_id", "day"]).agg(
        amount=known.amount.sum(),
        discount_amount=known.discount_amount.sum(),
        coupon_amount=known.coupon_amount.sum(),
        returned_amount=ibis.ifelse(known.amount < 0, -known.amount, 0.0).sum(),
        has_bought=(known.quantity > 0).any(),
    )


def _department_days(lines: ir.Table, products: ir.Table, *, since: date) -> ir.Table:
    """Order lines after a day as one row per customer, day and department of the product."""
    known = _days_of(lines)
    known = known.filter(known.day > ibis.date(since.isoformat()))
    named = known.left_join(
        products.select("product_id", "department"), "product_id", rname="of_{name}"
    )
    return named.group_by(["customer_id", "day", "department"]).agg(
        amount=named.amount.sum(), has_bought=(named.quantity > 0).any()
    )


def _at_cuts(rows: ir.Table, days: ir.Table, *, history_days: int, day: str = "day") -> ir.Table:
    """Rows of the `history_days` up to each cut, once for every cut that they belong to."""
    first = days.cut - ibis.interval(days=history_days)
    return rows.join(days.mutate(first=first), [rows[day] <= days.cut, rows[day] > first])


def _order_features(
    tables: Mapping[str, ir.Table], days: ir.Table, windows: Windows
) -> list[ir.Table]:
    lines = tables["transactions"]
    parts = _parts(lines)
    began = (
        parts.filter(parts.has_bought).group_by("customer_id").agg(first_day=lambda t: t.day.min())
    )
    at = _at_cuts(parts, days, history_days=windows.history_days)
    step = ibis.interval(days=windows.horizon_days)
    recent = at.day > at.cut - step
    before = ~recent & (at.day > at.cut - step - step)
    bought = at.has_bought
    totals = at.group_by(["cut", "customer_id"]).agg(
        last=at.day.max(where=bought),
        first=at.day.min(where=bought),
        n_orders=at.order_id.nunique(where=bought),
        n_order_days=at.day.nunique(where=bought),
        revenue_amount=at.amount.sum(),
        discount=at.discount_amount.sum(),
        coupon=at.coupon_amount.sum(),
        returned=at.returned_amount.sum(),
        weekend_share=at.day.day_of_week.index().isin(_WEEKEND).cast("float64").mean(where=bought),
        n_orders_recent=at.order_id.nunique(where=bought & recent),
        n_orders_before=at.order_id.nunique(where=bought & before),
        revenue_recent_amount=ibis.ifelse(recent, at.amount, 0.0).sum(),
        revenue_before_amount=ibis.ifelse(before, at.amount, 0.0).sum(),
    )
    totals = totals.filter(totals.n_orders > 0).left_join(began, "customer_id")
    since = totals.cut.delta(totals["last"], unit="day")
    gap = totals["last"].delta(totals["first"], unit="day") / (totals.n_order_days - 1).nullif(0)
    gross = (totals.revenue_amount + totals.discount + totals.returned).nullif(0)
    tenure = totals.cut.delta(totals.first_day, unit="day")
    customers = totals.select(
        "cut",
        "customer_id",
        "n_orders",
        "n_order_days",
        "revenue_amount",
        "weekend_share",
        "n_orders_recent",
        "n_orders_before",
        "revenue_recent_amount",
        "revenue_before_amount",
        days_since_last_order=since,
        mean_gap_days=gap,
        gap_ratio=since / gap,
        mean_order_amount=totals.revenue_amount / totals.n_orders,
        discount_share=totals.discount / gross,
        coupon_share=totals.coupon / gross,
        returned_share=totals.returned / gross,
        # Older than the history is old: otherwise the age of the data would stand here.
        tenure_days=ibis.least(tenure, windows.history_days),
        is_new=(tenure < windows.horizon_days).cast("float64"),
    )
    products = tables.get("products")
    if products is None or "department" not in products.columns:
        return [customers]
    first = pd.Timestamp(days.cut.min().execute()).date()
    since = first - timedelta(days=windows.history_days)
    by_department = _department_days(lines, products, since=since)
    at = _at_cuts(by_department, days, history_days=windows.history_days)
    spend = at.group_by(["cut", "customer_id", "department"]).agg(amount=at.amount.sum())
    spend = spend.filter((spend.amount > 0) & spend.department.notnull())
    place = ibis.row_number().over(
        ibis.window(
            group_by=["cut", "customer_id"], order_by=[spend.amount.desc(), spend.department]
        )
    )
    ranked = spend.mutate(place=place)
    top = ranked.place == 0
    baskets = ranked.group_by(["cut", "customer_id"]).agg(
        n_categories=ranked.count(),
        top_category=ranked.department.max(where=top),
        top_category_share=ranked.amount.max(where=top) / ranked.amount.sum(),
    )
    return [customers, baskets]


def _first_event_day(events: ir.Table) -> date:
    first = events.occurred_local.min().execute()
    return date.max if pd.isna(first) else pd.Timestamp(first).date()


def _event_features(events: ir.Table, days: ir.Table, windows: Windows) -> ir.Table:
    """Touchpoint events that had reached us by the cut, by the day they happened."""
    known = events.filter(events.customer_id.notnull())
    happened = known.occurred_local.date()
    arrived = known.received_at.date() if "received_at" in known.columns else happened
    known = known.mutate(day=happened, arrived_day=arrived.fill_null(happened))
    at = _at_cuts(known, days, history_days=2 * windows.horizon_days)
    at = at.filter(at.arrived_day <= at.cut)
    recent = at.day > at.cut - ibis.interval(days=windows.horizon_days)
    counts = known.group_by("touchpoint").agg(n=known.count())
    names = counts.order_by([ibis.desc("n"), "touchpoint"]).limit(_MOST_TOUCHPOINTS)
    by_touchpoint = {
        f"n_{re.sub('[^a-z0-9]+', '_', name.lower())}_recent": (
            recent & (at.touchpoint == name)
        ).sum()
        for name in sorted(names.touchpoint.to_pandas())
    }
    return at.group_by(["cut", "customer_id"]).agg(
        n_events_recent=recent.sum(), n_events_before=(~recent).sum(), **by_touchpoint
    )


def _in_force(contracts: ir.Table, days: ir.Table) -> ir.Table:
    """Contracts once for every cut at which they were in force."""
    runs = contracts.end_date.isnull() | (contracts.end_date > days.cut)
    return contracts.join(days, [contracts.start_date <= days.cut, runs])


def _contract_features(tables: Mapping[str, ir.Table], days: ir.Table) -> ir.Table:
    contracts = tables["contracts"]
    at = _in_force(contracts, days)
    latest = ibis.row_number().over(
        ibis.window(
            group_by=["cut", "customer_id"], order_by=[at.start_date.desc(), at.contract_id]
        )
    )
    began = contracts.group_by("customer_id").agg(first_day=contracts.start_date.min())
    current = at.mutate(place=latest)
    current = current.filter(current.place == 0).left_join(began, "customer_id")
    # A term that is over has been renewed year by year.
    years = (-current.term_end_date.delta(current.cut, unit="day") / 365).floor() + 1
    over = current.cut > current.term_end_date
    term_end = current.term_end_date.delta(current.cut, unit="day") + ibis.ifelse(
        over, years * 365, 0
    )
    amount = current.monthly_amount.cast("float64")
    accounts = current.select(
        "cut",
        "customer_id",
        "plan",
        seats=current.seats.cast("float64"),
        monthly_amount=amount,
        seat_amount=amount / current.seats.cast("float64").nullif(0),
        tenure_days=current.cut.delta(current.first_day, unit="day"),
        days_to_term_end=term_end,
    )
    if "payments" not in tables:
        return accounts
    due = _at_cuts(tables["payments"], days, history_days=182, day="due_date")
    paid = due.paid_date.notnull() & (due.paid_date <= due.cut)
    owed = due.group_by(["cut", "customer_id"]).agg(
        n_unpaid=(~paid).sum(),
        n_paid_late=(paid & (due.paid_date > due.due_date)).sum(),
    )
    joined = accounts.left_join(owed, ["cut", "customer_id"], rname="of_{name}")
    return joined.drop("of_cut", "of_customer_id")


def _labels(
    tables: Mapping[str, ir.Table],
    base: pd.DataFrame,
    days: ir.Table,
    windows: Windows,
    targets: Sequence[Target],
) -> pd.DataFrame:
    """One column per target on the index of `base`."""
    names = {t.id: t for t in targets}
    labels = pd.DataFrame(index=base.index)

    def look_up(table: ir.Table, name: str) -> pd.Series:
        keys = base[["cut", "customer_id"]]
        joined = keys.merge(_pulled(table), on=["cut", "customer_id"], how="left")
        return joined[name].set_axis(base.index).astype("float64")

    ahead = functools.partial(_ahead, days=days, horizon_days=windows.horizon_days)
    if "churn" in names:
        end = days.mutate(now=days.cut).mutate(cut=days.cut + _days(windows.horizon_days))
        end = end.mutate(cut=end.cut.cast("date"), now=end.now.cast("date"))
        still = _in_force(tables["contracts"], end)
        still = still.group_by(["now", "customer_id"]).agg(n=still.count()).rename(cut="now")
        labels["churn"] = look_up(still, "n").isna().astype(float)
    if {"lapse", "repeat", "value"} & set(names):
        parts = ahead(_parts(tables["transactions"]))
        after = parts.group_by(["cut", "customer_id"]).agg(
            n_after=parts.has_bought.sum(), amount_after=parts.amount.sum()
        )
        orders_after = look_up(after, "n_after").fillna(0.0)
        is_active = base["days_since_last_order"] < windows.active_days
        if "lapse" in names:
            labels["lapse"] = (orders_after == 0).astype(float).where(is_active)
        if "repeat" in names:
            first_only = (base["is_new"] == 1) & (base["n_order_days"] == 1)
            labels["repeat"] = (orders_after > 0).astype(float).where(first_only)
        if "value" in names:
            labels["value"] = look_up(after, "amount_after").fillna(0.0)
    if "category" in names:
        since = base["cut"].min().date() - timedelta(days=windows.history_days)
        wanted = _department_days(tables["transactions"], tables["products"], since=since)
        wanted = wanted.filter(
            (wanted.department == names["category"].category) & wanted.has_bought
        )
        past = _at_cuts(wanted, days, history_days=windows.history_days)
        past = past.group_by(["cut", "customer_id"]).agg(n_past=past.count())
        after = ahead(wanted)
        after = after.group_by(["cut", "customer_id"]).agg(n_after=after.count())
        starts = look_up(after, "n_after").notna().astype(float)
        is_open = look_up(past, "n_past").isna() & (
            base["days_since_last_order"] < windows.active_days
        )
        labels["category"] = starts.where(is_open)
    return labels


def _ahead(rows: ir.Table, *, days: ir.Table, horizon_days: int) -> ir.Table:
    """Rows of the horizon after each cut."""
    last = days.cut + _days(horizon_days)
    return rows.join(days, [rows.day > days.cut, rows.day <= last])


def _days(n: int) -> ir.IntervalScalar:
    return ibis.interval(days=n)
