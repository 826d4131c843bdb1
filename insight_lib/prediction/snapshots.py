"""Customers as they were known on a day, and what they did after it.

A snapshot's features come from rows that had arrived by its cut; its labels from the days
after. All cuts are taken in one pass of the engine, and no order line leaves it. A return
counts on the day it came back, so an order before the cut is not told about a later return.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Literal

import ibis
import pandas as pd

from insight_lib.findings import TooFew
from insight_lib.prediction.history import (
    Windows,
    ahead_of,
    at_cuts,
    contract_features,
    department_days,
    event_features,
    first_event_day,
    in_force,
    order_features,
    order_parts,
    usual_touchpoints,
)

if TYPE_CHECKING:
    import ibis.expr.types as ir


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
class Snapshot:
    """Customers at the end of `cut`.

    Attributes:
        features: Customers (index, sorted) by numbers (float, missing as NaN) and texts
            (object, missing as None).
        applies: The same customers by target id: whether the question can be asked of them.
            Who stopped long ago cannot stop, and who buys it already cannot start to.
        labels: The same customers by target id: 0 or 1, or an amount; missing where the
            target does not apply. No columns where the horizon ends after the data do.
    """

    cut: date
    features: pd.DataFrame
    applies: pd.DataFrame
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
        raise TooFew(
            f"{(as_of - first_day).days} days of data, and it takes {takes}",
            takes="more days of data",
        )
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
    parts = department_days(
        tables["transactions"], products, since=since, free_orders_count=windows.free_orders_count
    )
    recent = parts.filter(parts.has_bought)
    total = recent.customer_id.nunique().execute()
    by_department = recent.group_by("department").agg(
        amount=recent.amount.sum(), n=recent.customer_id.nunique()
    )
    open_ = by_department.filter((by_department.n < total / 2) & by_department.department.notnull())
    best = open_.order_by([ibis.desc("amount"), "department"]).limit(1).to_pandas()
    return str(best["department"].iloc[0]) if len(best) else None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Which snapshots a market takes; the same for training, watching and scoring.

    Attributes:
        most_snapshots: With labels.
        most_customers: As in `take_snapshots`.
        category, purposes: As in `choose_targets`.
        columns: As in `take_snapshots`.
    """

    windows: Windows
    most_snapshots: int = 7
    most_customers: int | None = None
    category: str | None = None
    purposes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()

    @classmethod
    def of(cls, parameters: Any) -> Plan:
        """The plan in a market's parameters: `prediction`, within what `value.sector` allows."""
        own, sector = parameters.prediction, parameters.value
        return cls(
            windows=Windows(
                horizon_days=own.horizon_days,
                history_days=own.history_days,
                active_days=own.active_days,
                free_orders_count=parameters.general.free_orders_count,
            ),
            most_snapshots=own.most_snapshots,
            most_customers=own.most_customers,
            category=own.category,
            purposes=tuple(sector.sector_purposes),
            columns=tuple(sector.sector_columns),
        )

    def targets(
        self, tables: Mapping[str, ir.Table], *, as_of: date, currency: str
    ) -> tuple[Target, ...]:
        """What can be predicted here; see `choose_targets`."""
        return choose_targets(
            tables,
            windows=self.windows,
            currency=currency,
            as_of=as_of,
            category=self.category,
            purposes=self.purposes,
        )

    def take(
        self, tables: Mapping[str, ir.Table], targets: Sequence[Target], *, as_of: date
    ) -> list[Snapshot]:
        """Snapshots one horizon apart up to `as_of`, oldest first; the last has no labels.

        Raises:
            TooFew: The data do not reach back far enough.
        """
        if "contracts" in tables:
            day = tables["contracts"].start_date.min()
        else:
            day = tables["transactions"].ordered_local.min()
        first_day = pd.Timestamp(day.execute())
        if pd.isna(first_day):
            raise TooFew(
                "no order and no contract is known by a complete day",
                takes="orders or contracts that can be read, over more days",
            )
        cuts = choose_cuts(first_day.date(), as_of, self.windows, most=self.most_snapshots)
        return self.at(tables, cuts, targets, as_of=as_of)

    def at(
        self,
        tables: Mapping[str, ir.Table],
        cuts: Sequence[date],
        targets: Sequence[Target],
        *,
        as_of: date,
    ) -> list[Snapshot]:
        """Snapshots at some cuts; see `take_snapshots`."""
        return take_snapshots(
            tables,
            cuts,
            as_of=as_of,
            windows=self.windows,
            targets=targets,
            columns=self.columns,
            most_customers=self.most_customers,
        )


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
    events = tables.get("interactions")
    touchpoints = (
        usual_touchpoints(events, cuts[0])
        if events is not None and first_event_day(events) <= reach
        else None
    )
    parts, apply_parts, label_parts = [], [], []
    for own, chosen in ((known, labelled), (tables, [c for c in cuts if c not in labelled])):
        if chosen:
            days = ibis.memtable(pd.DataFrame({"cut": pd.to_datetime(chosen)}))
            days = days.mutate(cut=days.cut.cast("date"))
            base = _features(own, days, windows, touchpoints=touchpoints)
            parts.append(base)
            applies = _applies(own, base, days, windows, targets)
            apply_parts.append(applies)
            if chosen is labelled:
                labels = _outcomes(own, base, days, windows, targets)
                label_parts.append(labels.where(applies))
            else:
                label_parts.append(pd.DataFrame(index=base.index))
    base = pd.concat(parts, ignore_index=True)
    applies = pd.concat(apply_parts, ignore_index=True)
    labels = pd.concat(label_parts, ignore_index=True)
    names = [c for c in base.columns if c not in ("cut", "customer_id")]
    names = [c for c in names if (not columns or c in columns) and base[c].notna().any()]
    found = []
    for cut in cuts:
        mine = base["cut"] == pd.Timestamp(cut)
        features = _typed(base[mine].set_index("customer_id")[names])
        own_labels = labels[mine] if cut in labelled else labels.loc[mine, []]
        found.append(
            Snapshot(
                cut=cut,
                features=features,
                applies=applies[mine].set_axis(features.index),
                labels=own_labels.set_axis(features.index),
            )
        )
    return found


def _features(
    tables: Mapping[str, ir.Table],
    days: ir.Table,
    windows: Windows,
    *,
    touchpoints: Sequence[str] | None,
) -> pd.DataFrame:
    """Customers of each cut with all that is known of them, by cut and customer."""
    parts = (
        [contract_features(tables, days)]
        if "contracts" in tables
        else order_features(tables, days, windows)
    )
    if touchpoints is not None:
        events = tables["interactions"]
        parts.append(event_features(events, days, windows, touchpoints=touchpoints))
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


def undated_traits(columns: Sequence[str]) -> list[str]:
    """Features that the customer table holds as they are now, without a day."""
    return [name for name in columns if name in _TRAITS]


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
        if pd.api.types.is_numeric_dtype(column)
        else column.astype("object").where(column.notna(), None)
        for name, column in features.items()
    }
    return pd.DataFrame(typed, index=features.index)


def _looked_up(base: pd.DataFrame, table: ir.Table, name: str) -> pd.Series:
    """A column of a table by cut and customer, in the order of `base`; missing as NaN."""
    keys = base[["cut", "customer_id"]]
    joined = keys.merge(_pulled(table), on=["cut", "customer_id"], how="left")
    return joined[name].set_axis(base.index).astype("float64")


def _bought_in(
    tables: Mapping[str, ir.Table], base: pd.DataFrame, windows: Windows, category: str | None
) -> ir.Table:
    """Days on which customers bought in a department, from the first history on."""
    since = base["cut"].min().date() - timedelta(days=windows.history_days)
    days = department_days(
        tables["transactions"],
        tables["products"],
        since=since,
        free_orders_count=windows.free_orders_count,
    )
    return days.filter((days.department == category) & days.has_bought)


def _applies(
    tables: Mapping[str, ir.Table],
    base: pd.DataFrame,
    days: ir.Table,
    windows: Windows,
    targets: Sequence[Target],
) -> pd.DataFrame:
    """Of whom each target can be asked, on the index of `base`."""
    found = pd.DataFrame(index=base.index)
    for target in targets:
        if target.id in ("lapse", "category"):
            found[target.id] = base["days_since_last_order"] < windows.active_days
        elif target.id == "repeat":
            found[target.id] = (base["is_new"] == 1) & (base["n_order_days"] == 1)
        else:
            found[target.id] = True
        if target.id == "category":
            wanted = _bought_in(tables, base, windows, target.category)
            past = at_cuts(wanted, days, history_days=windows.history_days)
            past = past.group_by(["cut", "customer_id"]).agg(n_past=past.count())
            found[target.id] &= _looked_up(base, past, "n_past").isna()
    return found


def _outcomes(
    tables: Mapping[str, ir.Table],
    base: pd.DataFrame,
    days: ir.Table,
    windows: Windows,
    targets: Sequence[Target],
) -> pd.DataFrame:
    """What came in the horizon, one column per target on the index of `base`."""
    names = {t.id: t for t in targets}
    found = pd.DataFrame(index=base.index)
    ahead = functools.partial(ahead_of, days=days, horizon_days=windows.horizon_days)
    if "churn" in names:
        end = days.mutate(now=days.cut).mutate(
            cut=days.cut + ibis.interval(days=windows.horizon_days)
        )
        end = end.mutate(cut=end.cut.cast("date"), now=end.now.cast("date"))
        still = in_force(tables["contracts"], end)
        still = still.group_by(["now", "customer_id"]).agg(n=still.count()).rename(cut="now")
        found["churn"] = _looked_up(base, still, "n").isna().astype(float)
    if {"lapse", "repeat", "value"} & set(names):
        parts = ahead(
            order_parts(tables["transactions"], free_orders_count=windows.free_orders_count)
        )
        after = parts.group_by(["cut", "customer_id"]).agg(
            n_after=parts.has_bought.sum(), amount_after=parts.amount.sum().cast("float64")
        )
        orders_after = _looked_up(base, after, "n_after").fillna(0.0)
        if "lapse" in names:
            found["lapse"] = (orders_after == 0).astype(float)
        if "repeat" in names:
            found["repeat"] = (orders_after > 0).astype(float)
        if "value" in names:
            found["value"] = _looked_up(base, after, "amount_after").fillna(0.0)
    if "category" in names:
        after = ahead(_bought_in(tables, base, windows, names["category"].category))
        after = after.group_by(["cut", "customer_id"]).agg(n_after=after.count())
        found["category"] = _looked_up(base, after, "n_after").notna().astype(float)
    return found[list(names)]
