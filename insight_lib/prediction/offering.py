"""What to offer whom: items in stock, like what the customer buys, at the customer's prices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Literal

import pandas as pd

from insight_lib.findings import Estimate, Measured, TooFew, counted
from insight_lib.orders import window
from insight_lib.prediction.contacting import may_be_contacted
from insight_lib.prediction.loaded import Keeper
from insight_lib.prediction.recommend import (
    ANYWHERE,
    HitRate,
    Offer,
    Recommendations,
    available_products,
    customer_products,
    estimate_affinity,
    estimate_hit_rate,
    popular_only,
    recommend,
    usual_stores,
)
from insight_lib.prediction.scoring import Scoring
from insight_lib.prose import Name

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from insight_lib.parameter_model import PredictionParameters
    from insight_lib.run import Run

_MOST_PRODUCTS = 10


def ordering(trade: dict[str, ir.Table]) -> ir.Table:
    """Order lines of a market that sells a range.

    Raises:
        TooFew: It sells contracts.
    """
    if "contracts" in trade:
        raise TooFew("the market has contracts, not a range")
    return trade["transactions"]


def in_stock(
    ordering: ir.Table,  # noqa: ARG001 - contracts are not in stock
    availability: ir.Table,
    run: Run[PredictionParameters],
) -> pd.DataFrame:
    """What is in stock, as `available_products`."""
    age = run.parameters.largest_stock_age_days
    return available_products(availability, as_of=run.as_of, largest_age_days=age)


@dataclass(frozen=True, kw_only=True)
class Offering:
    """What offers are made from.

    Attributes:
        customers: Who may be contacted.
        names, tiers: What a product is called, and its price level, by product.
    """

    lines: ir.Table
    in_stock: pd.DataFrame
    names: Mapping[str, str]
    tiers: Mapping[str, str] | None
    customers: list[str]
    run: Run[PredictionParameters]

    @property
    def since(self) -> date:
        return window(self.run.as_of, self.run.parameters.history_days)[0]

    def bought(self, since: date, until: date) -> pd.DataFrame:
        """Orders per customer and product, as `customer_products`."""
        most = self.run.parameters.most_products
        return customer_products(self.lines, since=since, until=until, most_products=most)

    def made(self, until: date, *, bestsellers: bool = False) -> Recommendations:
        """Offers by what was bought up to a day, or of bestsellers alone."""
        p = self.run.parameters
        bought = self.bought(self.since, until)
        likeness = estimate_affinity(bought, shrinkage=p.affinity_customers)
        return recommend(
            popular_only(likeness) if bestsellers else likeness,
            bought,
            customers=self.customers,
            available=self.in_stock,
            stores=usual_stores(self.lines, since=self.since, until=self.run.as_of),
            tiers=self.tiers,
            offer=Offer(
                n_items=p.offered_items,
                market_weight=p.market_tier_weight,
                with_bought=p.offers_repeat,
            ),
            as_of=self.run.as_of,
        )


def offering(
    ordering: ir.Table,
    in_stock: pd.DataFrame,
    products: ir.Table,
    scoring: Scoring,
    market: Keeper,
    run: Run[PredictionParameters],
) -> Offering:
    """Orders, stock, products, and who may be contacted.

    Raises:
        TooFew: As `may_be_contacted`.
    """
    names = products.to_pandas().set_index("product_id")
    tiers = names["price_tier"].dropna().to_dict() if "price_tier" in names else {}
    return Offering(
        lines=ordering,
        in_stock=in_stock,
        names=names["product_type"].dropna().to_dict(),
        tiers=tiers or None,
        customers=may_be_contacted(market, scoring.today.features.index),
        run=run,
    )


@dataclass(frozen=True, kw_only=True)
class OfferRow:
    """To how many customers a product is offered."""

    product: Name
    customers: int


@dataclass(frozen=True, kw_only=True)
class Offers:
    """How many customers get items in stock, and how many fewer than wanted.

    Attributes:
        elsewhere: Customers who are offered what is in stock anywhere.
        new, short: Customers without purchases, and with fewer items than wanted.
        smallest: Customers to whom a product is offered that is shown.
    """

    case: Literal["some", "none"]
    value: Measured
    elsewhere: Measured
    new: Measured
    short: Measured
    smallest: int
    table: tuple[OfferRow, ...]
    found: Recommendations


def offers(offering: Offering, run: Run[PredictionParameters]) -> Offers:
    """Offers of today.

    Raises:
        TooFew: As `customer_products` and `recommend`.
    """
    found = offering.made(run.as_of)
    return offers_of(found, offering.names, smallest=run.smallest_cell, as_of=run.as_of)


def offers_of(
    found: Recommendations, names: Mapping[str, str], *, smallest: int, as_of: date
) -> Offers:
    """What recommendations come to; products offered to few are not shown."""
    items, n = found.items, found.n_customers
    served = int(items["customer_id"].nunique())
    elsewhere = int((items.groupby("customer_id")["store_id"].first() == ANYWHERE).sum())
    counts = items["product_id"].value_counts()
    counts = counts[counts >= smallest]
    ranked = sorted(counts.index, key=lambda p: (-counts[p], p))[:_MOST_PRODUCTS]
    return Offers(
        case="some" if served else "none",
        value=counted(served, n, as_of),
        elsewhere=counted(elsewhere, n, as_of),
        new=found.without_history,
        short=found.short,
        smallest=smallest,
        table=tuple(
            OfferRow(product=Name(names.get(p, p)), customers=int(counts[p])) for p in ranked
        ),
        found=found,
    )


@dataclass(frozen=True, kw_only=True)
class Tiers:
    """Whether offers keep to the customer's price levels."""

    case: Literal["within", "beyond"]
    gap: Measured
    tolerance: Measured
    beyond: Measured


def tiers(offers: Offers) -> Tiers | None:
    """How far offers are from the price levels that customers buy; nothing without levels."""
    found = offers.found
    gap, beyond = found.tier_gap, found.beyond_tolerance
    if gap is None or beyond is None:
        return None
    return Tiers(
        case="within" if beyond.value == 0 else "beyond",
        gap=gap,
        tolerance=Measured(value=found.tier_tolerance, unit="share", n=gap.n, as_of=gap.as_of),
        beyond=beyond,
    )


@dataclass(frozen=True, kw_only=True)
class Hits:
    """Whether offers beat bestsellers on a period that they did not know."""

    case: Literal["better", "worse", "cannot tell"]
    rate: Estimate
    popular: Measured
    difference: Estimate


def hits(run: Run[PredictionParameters], offering: Offering | None = None) -> Hits | None:
    """Offers as they would have been a horizon ago, against what was bought since.

    Raises:
        TooFew: As `estimate_hit_rate`.
    """
    if offering is None:
        return None
    then = run.as_of - timedelta(days=run.parameters.horizon_days)
    mine, best = (offering.made(then, bestsellers=b).items for b in (False, True))
    after = offering.bought(then + timedelta(days=1), run.as_of)
    return hits_of(estimate_hit_rate(mine, best, after, **run.range))


def hits_of(found: HitRate) -> Hits:
    """What a trial of offers comes to."""
    difference, rate = found.difference, found.rate
    is_better, is_worse = difference.lower > 0, difference.upper < 0
    return Hits(
        case="better" if is_better else "worse" if is_worse else "cannot tell",
        rate=rate,
        popular=Measured(value=found.popular_rate, unit="share", n=rate.n, as_of=rate.as_of),
        difference=difference,
    )


def recommendations(offers: Offers) -> pd.DataFrame:
    """Items per customer, as `recommend.Recommendations` has them."""
    return offers.found.items
