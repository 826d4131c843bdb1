"""What to offer each customer: alike with what they buy, in stock, at price levels they buy.

Order lines are counted in the engine, per customer and product, for the products that most
customers buy. Products are alike if the same customers buy them (cosine; Sarwar, Karypis,
Konstan and Riedl, 2001), drawn towards nothing where few do. The mix of price tiers follows
the customer's own, drawn towards the market's (calibrated recommendations; Steck, 2018), to
the nearest whole item (largest remainders; Hamilton, 1792).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import ibis
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from insight_lib.findings import Estimate, Measured, TooFew
from insight_lib.statistics import estimate_ratio_change, estimate_share

if TYPE_CHECKING:
    import ibis.expr.types as ir

Floats = NDArray[np.float64]

ANYWHERE = "anywhere"
_FEWEST = 50
_CHUNK = 20_000


@dataclass(frozen=True, kw_only=True)
class Affinity:
    """Which products the same customers buy.

    Attributes:
        products: Ids, sorted.
        likeness: Product by product, 0-1, zero with itself.
        popularity: Share of customers who buy the product.
    """

    products: tuple[str, ...]
    likeness: Floats
    popularity: Floats


@dataclass(frozen=True, kw_only=True)
class Offer:
    """How many items, and how their price tiers are chosen.

    Attributes:
        market_weight: Purchases' worth of the market's tier mix added to the customer's own.
        with_bought: Whether products that the customer already bought may come again.
    """

    n_items: int
    market_weight: float
    with_bought: bool


@dataclass(frozen=True, kw_only=True)
class Recommendations:
    """Items per customer, and how they keep to stock and tiers.

    Attributes:
        items: customer_id, place (1 = first), product_id, store_id (where it is in stock, or
            `anywhere`), reason (`alike` or `popular`).
        without_history: Customers without purchases; they get what is popular.
        short: Customers for whom too few products were in stock.
        tier_gap: Mean over customers of the largest gap between their target tier mix and
            that of their items, a share; None without price tiers.
        tier_tolerance: Largest gap that whole items allow: one item.
        beyond_tolerance: Customers whose gap is larger, because a tier was out of stock.
    """

    items: pd.DataFrame
    n_customers: int
    without_history: Measured
    short: Measured
    tier_gap: Measured | None
    tier_tolerance: float
    beyond_tolerance: Measured | None


@dataclass(frozen=True, kw_only=True)
class HitRate:
    """Customers who bought an offered item in the next period, against offering bestsellers."""

    rate: Estimate
    popular_rate: float
    difference: Estimate


def customer_products(
    lines: ir.Table, *, since: date, until: date, most_products: int
) -> pd.DataFrame:
    """Orders per customer and product, for the products that most customers buy.

    Args:
        lines: Order lines as in `schema.transactions`; returns do not count.
        since, until: First and last local day.

    Returns:
        customer_id, product_id, n_orders; sorted.
    """
    bought = _bought(lines, since, until)
    counts = bought.group_by(["customer_id", "product_id"]).agg(n_orders=bought.order_id.nunique())
    buyers = counts.group_by("product_id").agg(n_customers=counts.count())
    top = buyers.order_by([ibis.desc("n_customers"), "product_id"]).limit(most_products)
    frame = counts.semi_join(top, "product_id").order_by(["customer_id", "product_id"]).to_pandas()
    return frame.astype({"n_orders": "float64"})


def usual_stores(lines: ir.Table, *, since: date, until: date) -> pd.Series:
    """The store with most orders of each customer; of equals, the first by name."""
    bought = _bought(lines, since, until)
    counts = (
        bought.filter(bought.store_id.notnull())
        .group_by(["customer_id", "store_id"])
        .agg(n_orders=lambda t: t.order_id.nunique())
    )
    place = ibis.row_number().over(
        ibis.window(group_by="customer_id", order_by=[ibis.desc("n_orders"), "store_id"])
    )
    ranked = counts.mutate(place=place)
    frame = ranked.filter(ranked.place == 0).order_by("customer_id").to_pandas()
    return frame.set_index("customer_id")["store_id"]


def _bought(lines: ir.Table, since: date, until: date) -> ir.Table:
    moment = lines.ordered_local if "ordered_local" in lines.columns else lines.ordered_at
    day = moment.date()
    return lines.filter(
        lines.customer_id.notnull()
        & (lines.quantity > 0)
        & (day >= ibis.date(since.isoformat()))
        & (day <= ibis.date(until.isoformat()))
    )


def available_products(
    availability: ir.Table, *, as_of: date, largest_age_days: int
) -> pd.DataFrame:
    """What is in stock by the latest word per product and store.

    Args:
        availability: product_id, store_id, available_date, is_available.
        as_of: Later words are not read.
        largest_age_days: An older word counts for nothing: the product is not offered.

    Returns:
        product_id, store_id; sorted.
    """
    known = availability.filter(
        (availability.available_date <= ibis.date(as_of.isoformat()))
        & (
            availability.available_date
            > ibis.date((as_of - timedelta(days=largest_age_days)).isoformat())
        )
    )
    # Two words of one day that differ: it is not sure, so it is not offered.
    place = ibis.row_number().over(
        ibis.window(
            group_by=["product_id", "store_id"],
            order_by=[ibis.desc("available_date"), "is_available"],
        )
    )
    latest = known.mutate(place=place)
    latest = latest.filter((latest.place == 0) & latest.is_available)
    return latest.select("product_id", "store_id").order_by(["product_id", "store_id"]).to_pandas()


def estimate_affinity(counts: pd.DataFrame, *, shrinkage: float) -> Affinity:
    """Likeness of products by the customers who buy both.

    Args:
        counts: As from `customer_products`.
        shrinkage: Common customers at which half of the likeness is believed.

    Raises:
        TooFew: Fewer than fifty customers, or two products.
    """
    products = tuple(sorted(counts["product_id"].unique()))
    n_customers = counts["customer_id"].nunique()
    if n_customers < _FEWEST or len(products) < 2:
        raise TooFew(
            f"{n_customers} customers and {len(products)} products, and it takes {_FEWEST} and 2"
        )
    both = np.zeros((len(products), len(products)))
    for part in _parts(sorted(counts["customer_id"].unique())):
        matrix = _matrix(counts, part, products) > 0
        both += matrix.T.astype(float) @ matrix
    buyers = np.diag(both).copy()
    likeness = both / np.sqrt(np.outer(buyers, buyers)) * both / (both + shrinkage)
    np.fill_diagonal(likeness, 0.0)
    return Affinity(products=products, likeness=likeness, popularity=buyers / n_customers)


def _parts(customers: Sequence[str]) -> list[list[str]]:
    return [list(customers[k : k + _CHUNK]) for k in range(0, len(customers), _CHUNK)]


def _matrix(counts: pd.DataFrame, customers: Sequence[str], products: Sequence[str]) -> Floats:
    """Orders of customers (rows) by products (columns)."""
    row = pd.Index(customers).get_indexer(pd.Index(counts["customer_id"]))
    column = pd.Index(products).get_indexer(pd.Index(counts["product_id"]))
    kept = (row >= 0) & (column >= 0)
    matrix = np.zeros((len(customers), len(products)))
    np.add.at(matrix, (row[kept], column[kept]), counts["n_orders"].to_numpy(dtype=float)[kept])
    return matrix


def recommend(
    affinity: Affinity,
    counts: pd.DataFrame,
    *,
    customers: Sequence[str],
    available: pd.DataFrame,
    stores: Mapping[str, str] | pd.Series,
    tiers: Mapping[str, str] | None,
    offer: Offer,
    as_of: date,
) -> Recommendations:
    """Items for each customer that are in stock at their usual store, or else anywhere.

    Args:
        counts: Purchases of the customers, as from `customer_products`.
        available: As from `available_products`.
        stores: Usual store per customer; customers without one are served from anywhere.
        tiers: Price tier per product; None where the market has none.
    """
    products = affinity.products
    in_store = {
        str(store): pd.Index(products).isin(group["product_id"])
        for store, group in available.groupby("store_id")
    }
    anywhere = (
        np.any(list(in_store.values()), axis=0) if in_store else np.zeros(len(products), bool)
    )
    tier_of = [(tiers or {}).get(p) for p in products]
    names = sorted({t for t in tier_of if t})
    member = np.zeros((len(names), len(products)))
    for k, name in enumerate(names):
        member[k] = [t == name for t in tier_of]
    sold = np.array([counts.loc[counts["product_id"] == p, "n_orders"].sum() for p in products])
    market = member @ sold
    usual = dict(stores)
    rows: list[tuple[str, int, str, str, str]] = []
    gaps: list[float] = []
    n_new = n_short = 0
    for part in _parts(sorted(customers)):
        own = _matrix(counts, part, products)
        alike = np.minimum(own, 1.0) @ affinity.likeness
        for i, customer in enumerate(part):
            store = usual.get(customer)
            stock, place = in_store.get(str(store)), str(store)
            if stock is None or stock.sum() < offer.n_items:
                stock, place = anywhere, ANYWHERE
            is_new = not own[i].any()
            n_new += is_new
            open_ = stock & (offer.with_bought | (own[i] == 0))
            score = affinity.popularity if is_new else alike[i] + 1e-6 * affinity.popularity
            # Repeat purchases count for themselves where they may come again.
            if offer.with_bought and not is_new:
                score = score + own[i] / own[i].sum() * alike[i].max()
            target = _target(member @ own[i], market, offer.market_weight)
            picked = _pick(score, open_, member, target, offer.n_items)
            n_short += len(picked) < offer.n_items
            if target is not None and picked:
                gaps.append(
                    float(np.abs(member[:, picked].sum(axis=1) / len(picked) - target).max())
                )
            for position, p in enumerate(picked):
                reason = "popular" if is_new or alike[i][p] == 0 else "alike"
                rows.append((customer, position + 1, products[p], place, reason))

    def counted(value: float) -> Measured:
        return Measured(value=float(value), unit="count", n=len(customers), as_of=as_of)

    tolerance = 1 / offer.n_items
    return Recommendations(
        items=pd.DataFrame(
            rows, columns=["customer_id", "place", "product_id", "store_id", "reason"]
        ),
        n_customers=len(customers),
        without_history=counted(n_new),
        short=counted(n_short),
        tier_gap=Measured(value=float(np.mean(gaps)), unit="share", n=len(gaps), as_of=as_of)
        if gaps
        else None,
        tier_tolerance=tolerance,
        beyond_tolerance=counted(sum(g > tolerance + 1e-9 for g in gaps)) if gaps else None,
    )


def _target(own: Floats, market: Floats, weight: float) -> Floats | None:
    """The customer's tier mix, drawn towards the market's."""
    if not len(market) or market.sum() <= 0:
        return None
    mixed = own + weight * market / market.sum()
    return (
        np.asarray(mixed / mixed.sum(), dtype=float) if mixed.sum() > 0 else market / market.sum()
    )


def whole_items(target: Floats, n_items: int) -> NDArray[np.int64]:
    """Items per tier: shares rounded so that they add up (largest remainders)."""
    exact = target * n_items
    counts = np.floor(exact + 1e-9).astype(np.int64)
    rest = np.argsort(-(exact - counts), kind="stable")[: n_items - int(counts.sum())]
    counts[rest] += 1
    return counts


def _pick(
    score: Floats,
    open_: NDArray[np.bool_],
    member: Floats,
    target: Floats | None,
    n_items: int,
) -> list[int]:
    """Best products first, so many of each tier; what a tier lacks is filled from the others."""
    ranked = [int(p) for p in np.argsort(-score, kind="stable") if open_[p]]
    if target is None:
        return ranked[:n_items]
    left = whole_items(target, n_items)
    picked, others = [], []
    for p in ranked:
        tier = np.flatnonzero(member[:, p])
        if len(tier) and left[tier[0]] > 0:
            left[tier[0]] -= 1
            picked.append(p)
        else:
            others.append(p)
    picked += others[: n_items - len(picked)]
    return sorted(picked, key=ranked.index)


def estimate_hit_rate(
    recommended: pd.DataFrame,
    popular: pd.DataFrame,
    bought: pd.DataFrame,
    *,
    as_of: date,
    level: float = 0.95,
) -> HitRate:
    """Among customers who bought in the next period, how many bought an offered item.

    Args:
        recommended: customer_id, product_id, made from the period before.
        popular: The same offers made from bestsellers alone.
        bought: customer_id, product_id of the next period.

    Raises:
        TooFew: Fewer than fifty of the customers bought.
    """
    customers = sorted(set(recommended["customer_id"]) & set(bought["customer_id"]))
    if len(customers) < _FEWEST:
        raise TooFew(f"{len(customers)} customers bought again, and it takes {_FEWEST}")
    hits = []
    for offered in (popular, recommended):
        both = offered[["customer_id", "product_id"]].merge(
            bought[["customer_id", "product_id"]].drop_duplicates()
        )
        hits.append(pd.Index(customers).isin(both["customer_id"]).astype(float))
    ones = np.ones(len(customers))
    return HitRate(
        rate=estimate_share(int(hits[1].sum()), len(customers), as_of=as_of, level=level),
        popular_rate=float(hits[0].mean()),
        difference=estimate_ratio_change(
            (hits[0], ones), (hits[1], ones), as_of=as_of, relative=False, level=level
        ),
    )


def popular_only(affinity: Affinity) -> Affinity:
    """The same products with nothing known of their likeness: everyone is offered bestsellers."""
    return Affinity(
        products=affinity.products,
        likeness=np.zeros_like(affinity.likeness),
        popularity=affinity.popularity,
    )
