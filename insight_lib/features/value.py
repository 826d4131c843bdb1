"""What customers are worth: revenue and its drivers, concentration, and RFM groups."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from insight_lib.charts import Caption, Chart, plot_bars
from insight_lib.features.customers import Comparison, category_spend
from insight_lib.findings import Estimate, Measured, TooFew
from insight_lib.orders import dated, within
from insight_lib.prose import Name
from insight_lib.statistics import (
    benjamini_hochberg,
    estimate_ratio,
    estimate_ratio_change,
    estimate_top_share,
    in_points,
    on_log_scale,
    p_value,
)

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from insight_lib.features.rhythm import OrderGaps
    from insight_lib.parameter_model import FeatureParameters
    from insight_lib.run import Run

Driver = Literal["Active customers", "Orders per customer", "Spend per order"]


@dataclass(frozen=True, kw_only=True)
class RevenueChange:
    """Revenue of the recent window against the one it is compared with, and what drove it.

    Attributes:
        revenue: Of the recent window, less what was taken back.
        change: Relative, as if these customers were drawn from many alike; in money where one
            of the two revenues is not above zero, so that there is no share to speak of.
        drivers: Effect in money of customers, orders per customer and spend per order;
            they add up to the change exactly (logarithmic mean Divisia index, Ang, 2004).
            Empty where a revenue is not above zero: the split has no logarithm then.
        order_amount: Spend per order, recent window.
        order_amount_change: Relative; None where it is not defined.
    """

    revenue: Measured
    revenue_before: Measured
    change: Estimate
    drivers: tuple[tuple[Driver, float], ...]
    order_amount: Estimate
    order_amount_change: Estimate | None
    comparison: Comparison


def estimate_revenue_change(
    totals: pd.DataFrame,
    comparison: Comparison,
    *,
    as_of: date,
    currency: str,
    level: float = 0.95,
) -> RevenueChange:
    """Compare two windows customer by customer.

    Args:
        totals: As from `customers.window_totals`.

    Raises:
        TooFew: No orders in one of the windows.
    """
    after = totals["revenue_after_amount"].astype(float)
    before = totals["revenue_before_amount"].astype(float)
    n_after, n_before = totals["n_orders_after"], totals["n_orders_before"]
    if min(n_after.sum(), n_before.sum()) == 0:
        raise TooFew("one of the two windows holds no orders", takes="orders in both windows")
    sums = (float(before.sum()), float(after.sum()))
    is_defined = min(sums) > 0
    share = np.full(len(totals), 1.0 if is_defined else 1 / len(totals))
    change = estimate_ratio_change(
        (before, share),
        (after, share),
        as_of=as_of,
        relative=is_defined,
        unit=currency,
        level=level,
    )
    order_change = (
        _at_least_nothing(
            estimate_ratio_change(
                (before, n_before), (after, n_after), as_of=as_of, relative=True, level=level
            )
        )
        if is_defined
        else None
    )
    active = (int((n_before > 0).sum()), int((n_after > 0).sum()))
    return RevenueChange(
        revenue=Measured(value=sums[1], unit=currency, n=active[1], as_of=as_of),
        revenue_before=Measured(value=sums[0], unit=currency, n=active[0], as_of=as_of),
        change=_at_least_nothing(change) if is_defined else change,
        drivers=_drivers(sums, (int(n_before.sum()), int(n_after.sum())), active)
        if is_defined
        else (),
        order_amount=estimate_ratio(after, n_after, unit=currency, as_of=as_of, level=level),
        order_amount_change=order_change,
        comparison=comparison,
    )


def _at_least_nothing(change: Estimate) -> Estimate:
    """What is above zero before and after cannot fall by more than all of it."""
    lower, upper = on_log_scale(1 + change.value, change.upper - change.value)
    return replace(change, lower=max(lower - 1, -1.0), upper=upper - 1)


def _drivers(
    sums: tuple[float, float], orders: tuple[int, int], active: tuple[int, int]
) -> tuple[tuple[Driver, float], ...]:
    factors: tuple[tuple[Driver, float, float], ...] = (
        ("Active customers", active[0], active[1]),
        ("Orders per customer", orders[0] / active[0], orders[1] / active[1]),
        ("Spend per order", sums[0] / orders[0], sums[1] / orders[1]),
    )
    mean = _logarithmic_mean(*sums)
    return tuple((name, mean * math.log(new / old)) for name, old, new in factors)


def _logarithmic_mean(a: float, b: float) -> float:
    return a if math.isclose(a, b, rel_tol=1e-12) else (b - a) / math.log(b / a)


@dataclass(frozen=True, kw_only=True)
class Concentration:
    """How much of the revenue the best customers bring."""

    share: Estimate
    top: Measured
    curve: pd.DataFrame

    @property
    def case(self) -> Literal["matters", "does not matter"]:
        """Whether a small group carries the market."""
        return "does not matter" if self.share.lower <= 2 * self.top.value else "matters"

    def draw(self, caption: Caption) -> Chart:
        """Revenue share by tenth of customers."""
        return plot_bars(
            self.curve, caption=caption, label="group", value="revenue_share", unit="share",
            n="customers", highlight=list(self.curve["group"][:2]), is_sorted=False,
        )  # fmt: skip


def estimate_concentration(
    features: pd.DataFrame, *, as_of: date, top: float = 0.2, level: float = 0.95
) -> Concentration:
    """Revenue share of the best `top` of customers, and the curve by tenth.

    Raises:
        TooFew: Fewer than ten customers in the top group, or a total that is not above zero:
            there is nothing to have a share of.
    """
    spent = features["revenue_amount"].astype(float)
    if spent.sum() <= 0:
        raise TooFew("as much money was taken back as came in")
    revenue = spent.clip(lower=0).to_numpy()
    share = estimate_top_share(revenue, top=top, as_of=as_of, level=level)
    ordered = np.sort(revenue)[::-1]
    tenths = np.array_split(ordered, 10)
    curve = pd.DataFrame(
        {
            "group": [_TENTHS[i] for i in range(10)],
            "revenue_share": [float(part.sum() / ordered.sum()) for part in tenths],
            "customers": [len(part) for part in tenths],
        }
    )
    return Concentration(
        share=share,
        top=Measured(value=top, unit="share", n=len(revenue), as_of=as_of),
        curve=curve,
    )


_TENTHS = (
    "Best tenth",
    *(f"{word} tenth" for word in ["2nd", "3rd", "4th", "5th", "6th", "7th", "8th", "9th"]),
    "Last tenth",
)

RFM_NAMES = {
    "champions": "Best, and here",
    "slipping": "Good, but slipping",
    "new": "Recent, still small",
    "steady": "Steady middle",
    "asleep": "Small and asleep",
}


@dataclass(frozen=True, kw_only=True)
class RfmGroups:
    """Customers by recency, frequency and spend.

    Attributes:
        groups: group, customers, revenue_amount, revenue_share, mean_days_since_last_order.
        slipping: Good customers (upper two fifths by orders and by spend) who are in the
            lower two fifths by recency; None below `minimum`, and so is `slipping_revenue`.
        slipping_revenue: What they spent in the history window.
        minimum: Fewest customers that may be told of.
    """

    groups: pd.DataFrame
    slipping: Measured | None
    slipping_revenue: Measured | None
    minimum: Measured

    @property
    def case(self) -> Literal["some", "few"]:
        return "few" if self.slipping is None else "some"

    @property
    def best(self) -> Name:
        """The group that brings most."""
        return Name(str(self._best["group"]))

    @property
    def customers(self) -> Measured:
        """In that group."""
        return replace(self.minimum, value=float(self._best["customers"]))

    @property
    def share(self) -> Measured:
        """Of revenue, that it brings."""
        return replace(self.minimum, value=float(self._best["revenue_share"]), unit="share")

    @property
    def _best(self) -> pd.Series[Any]:
        return self.groups.sort_values(["revenue_share", "group"]).iloc[-1]

    def draw(self, caption: Caption) -> Chart:
        """Revenue share by group."""
        return plot_bars(
            self.groups, caption=caption, label="group", value="revenue_share", unit="share",
            n="customers", highlight=[self.best],
        )  # fmt: skip


def describe_rfm(
    features: pd.DataFrame, *, as_of: date, rfm_groups: int, currency: str, minimum_cell_size: int
) -> RfmGroups:
    """Group customers by their three scores; every customer is in one group.

    Groups under the minimum size are merged into the steady middle, with the next smallest
    one where that is still too small.

    Raises:
        TooFew: All customers are alike, or no two groups are large enough.
    """
    upper, lower = 0.6 * rfm_groups, 0.4 * rfm_groups
    recent = features["recency_score"] > upper
    gone = features["recency_score"] <= lower
    good = (features["frequency_score"] > upper) & (features["spend_score"] > upper)
    small = (features["frequency_score"] <= lower) & (features["spend_score"] <= lower)
    group = np.select(
        [good & ~gone, good & gone, small & recent, small & gone],
        ["champions", "slipping", "new", "asleep"],
        default="steady",
    )
    if len(np.unique(group)) < 2:
        raise TooFew("the customers are too alike to group")
    is_slipping = group == "slipping"
    group = _merge_small(group, minimum_cell_size)
    if len(np.unique(group)) < 2:
        raise TooFew(f"no two groups have {minimum_cell_size} customers")
    # Customers who took back more than they bought bring nothing, and no group more than all.
    revenue = features["revenue_amount"].astype(float).clip(lower=0)
    if revenue.sum() <= 0:
        raise TooFew("no customer has brought money that was not taken back")
    frame = pd.DataFrame(
        {"group": group, "revenue": revenue, "days": features["days_since_last_order"]}
    )
    summary = (
        frame.groupby("group")
        .agg(
            customers=("revenue", "size"),
            revenue_amount=("revenue", "sum"),
            mean_days_since_last_order=("days", "mean"),
        )
        .reset_index()
    )
    summary["revenue_share"] = summary["revenue_amount"] / revenue.sum()
    slipping = frame[is_slipping]
    n, enough = len(features), len(slipping) >= minimum_cell_size
    return RfmGroups(
        groups=summary.assign(group=summary["group"].map(RFM_NAMES)),
        slipping=Measured(value=len(slipping), unit="count", n=n, as_of=as_of) if enough else None,
        slipping_revenue=Measured(
            value=float(slipping["revenue"].sum()), unit=currency, n=len(slipping), as_of=as_of
        )
        if enough
        else None,
        minimum=Measured(value=minimum_cell_size, unit="count", n=n, as_of=as_of),
    )


def _merge_small(group: np.ndarray, minimum: int) -> np.ndarray:
    names, counts = np.unique(group, return_counts=True)
    sizes = {str(name): int(count) for name, count in zip(names, counts, strict=True)}
    merged = {name for name, size in sizes.items() if size < minimum}
    if merged:
        merged.add("steady")
        # The slipping ones are told of by name, so they would give the others away.
        others = sorted(sizes.keys() - merged, key=lambda g: (g == "slipping", sizes[g], g))
        if sum(sizes.get(name, 0) for name in merged) < minimum:
            merged.update(others[:1])
    return np.where(np.isin(group, list(merged)), "steady", group)


@dataclass(frozen=True, kw_only=True)
class CategoryMoves:
    """How categories' shares of revenue moved between the two windows.

    Attributes:
        moves: category, revenue_share, change_points, lower, upper (percentage points),
            customers, is_clear (false discovery rate of 5 % over all categories).
        strongest: The clear move that is largest, if there is one.
    """

    moves: pd.DataFrame
    strongest: tuple[str, Estimate] | None
    comparison: Comparison


def estimate_category_moves(
    lines: ir.Table,
    products: ir.Table,
    comparison: Comparison,
    *,
    level_column: str,
    as_of: date,
    minimum_customers: int,
    level: float = 0.95,
) -> CategoryMoves:
    """Change of each category's share of revenue, with customers as independent units.

    Args:
        lines: `transactions`; a line counts on the day its order began, as in revenue.
        products: `products`.
        level_column: Column of `products` to compare by.
        minimum_customers: Categories bought by fewer in either window are left out.

    Raises:
        TooFew: Fewer than two categories can be compared.
    """
    by_day = dated(lines, returned_within_days=comparison.settling_days or None)

    def spend(days: tuple[date, date]) -> pd.DataFrame:
        chosen = by_day.filter(within(by_day.order_date, days))
        return category_spend(chosen, products, level=level_column).to_pandas()

    after, before = spend(comparison.after), spend(comparison.before)
    totals = [
        frame.groupby("customer_id")["amount"].sum().astype(float) for frame in (before, after)
    ]
    everyone = totals[0].index.union(totals[1].index)
    total_before, total_after = (t.reindex(everyone, fill_value=0.0) for t in totals)
    if min(total_before.sum(), total_after.sum()) <= 0:
        raise TooFew(
            "in one of the two windows more money was taken back than came in",
            takes="windows in which more is sold than taken back",
        )
    rows, estimates = [], []
    for category in sorted(set(before["category"]) & set(after["category"])):
        parts = [
            frame[frame["category"] == category].set_index("customer_id")["amount"].astype(float)
            for frame in (before, after)
        ]
        if min(len(p) for p in parts) < minimum_customers:
            continue
        old, new = (p.reindex(everyone, fill_value=0.0) for p in parts)
        change = estimate_ratio_change(
            (old, total_before), (new, total_after), as_of=as_of, relative=False, level=level
        )
        estimates.append(in_points(change))
        rows.append((category, new.sum() / total_after.sum(), len(parts[1])))
    if len(rows) < 2:
        raise TooFew(
            f"{'only one category has' if rows else 'no category has'} {minimum_customers} "
            "customers in both windows, and it takes two",
            takes="more customers, or categories that more of them buy",
        )
    moves = pd.DataFrame(rows, columns=["category", "revenue_share", "customers"])
    moves["change_points"] = [e.value for e in estimates]
    moves["lower"] = [e.lower for e in estimates]
    moves["upper"] = [e.upper for e in estimates]
    moves["is_clear"] = benjamini_hochberg([p_value(e) for e in estimates], rate=1 - level)
    clear = [i for i in range(len(moves)) if moves["is_clear"].iloc[i]]
    best = max(clear, key=lambda i: abs(estimates[i].value), default=None)
    strongest = (str(moves["category"].iloc[best]), estimates[best]) if best is not None else None
    return CategoryMoves(moves=moves, strongest=strongest, comparison=comparison)


def concentration(buyers: pd.DataFrame, run: Run[FeatureParameters]) -> Concentration:
    """The revenue share of the best customers.

    Raises:
        TooFew: As `estimate_concentration`.
    """
    return estimate_concentration(buyers, **run.range)


@dataclass(frozen=True, kw_only=True)
class BestFifth:
    """The share of the best customers, with how many regulars are late."""

    share: Estimate
    late: Literal["some", "few", "not known"]
    n_late: Measured | None
    minimum: Measured | None


def best_fifth(concentration: Concentration, late_customers: OrderGaps | None = None) -> BestFifth:
    """The two numbers of one tile."""
    gaps = late_customers
    return BestFifth(
        share=concentration.share,
        late="not known" if gaps is None else "few" if gaps.n_late is None else "some",
        n_late=None if gaps is None else gaps.n_late,
        minimum=None if gaps is None else gaps.minimum,
    )


def slipping(buyers_now: pd.DataFrame, run: Run[FeatureParameters]) -> RfmGroups:
    """Customers by recency, frequency and spend, and the good ones who have become less recent.

    Raises:
        TooFew: As `describe_rfm`.
    """
    return describe_rfm(
        buyers_now,
        as_of=run.as_of,
        rfm_groups=run.parameters.rfm_groups,
        currency=run.currency,
        minimum_cell_size=run.smallest_cell,
    )
