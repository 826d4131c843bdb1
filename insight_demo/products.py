"""The assortment: price points, weekly prices and promotions, stock, and what is chosen."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa

from insight_demo.clock import dates, leading_series, wave
from insight_demo.columns import Array, canonical, numbered, pick, stream, take
from insight_demo.worlds import World

TIERS = ("value", "core", "premium")
DISPLAYS = ("none", "front page")
MAILERS = ("none", "newsletter")
_TIER_PRICE = np.array([0.62, 1.0, 1.75])


def price_points(amounts: Array, style: str) -> Array:
    """Amounts of money at the nearest price that a shop would print.

    Args:
        amounts: Currency units.
        style: `point_90` (…4,90 and …9,90), `point_yen` (…90 below 10 000, else …900),
            `point_50` (multiples of 50).

    Returns:
        Minor units: hundredths for `point_90` and `point_50`, yen for `point_yen`.
    """
    amounts = np.asarray(amounts, dtype=float)
    if style == "point_90":
        found = np.where(
            amounts < 30, np.maximum(np.round(amounts), 2) * 100 - 10,
            np.maximum(np.round(amounts / 5), 1) * 500 - 10,
        )  # fmt: skip
    elif style == "point_yen":
        found = np.where(
            amounts < 10_000, np.maximum(np.round(amounts / 100), 3) * 100 - 10,
            np.round(amounts / 1000) * 1000 - 100,
        )  # fmt: skip
    else:
        found = np.maximum(np.round(amounts / 50), 2) * 5000
    whole: Array = found.astype(np.int64)
    return whole


@dataclass(frozen=True)
class Catalogue:
    """Products and their weeks; arrays over products, or products × weeks.

    Attributes:
        list_minor: List price, minor units; it steps about twice a year.
        price_minor: Shelf price, after promotion.
        rival_minor: The competitor's price.
        weight: Relative demand per week, prices and promotions included.
        is_available: Products × stores × weeks, over the weeks that stock is kept for.
        substitute: The product whose price moves this one's demand; -1 for none.
    """

    department: Array
    tier: Array
    brand: Array
    kind: Array
    colour: Array
    list_minor: Array
    price_minor: Array
    rival_minor: Array
    is_display: Array
    is_mailer: Array
    weight: Array
    base_weight: Array
    own_elasticity: Array
    substitute: Array
    is_available: Array
    first_stock_week: int

    @property
    def ids(self) -> pa.Array:
        return numbered("P", np.arange(len(self.tier)) + 1, 5)

    @property
    def n_weeks(self) -> int:
        return int(self.price_minor.shape[1])


def week_count(world: World) -> int:
    """Weeks that the history touches, counted in sevens from its first day."""
    return -(-world.days // 7)


@lru_cache(maxsize=8)
def draw_catalogue(world: World, seed: int) -> Catalogue:
    """Products, prices and demand weights of a shop; the same for every block of customers."""
    retail = world.shop
    pricing, n = retail.pricing, retail.pricing.n_products
    rng = stream(seed, world.id, "products")
    n_weeks = week_count(world)
    unit = 10**world.exponent
    department = np.arange(n) % len(retail.departments)
    tier = pick(rng, (0.35, 0.45, 0.20), n)
    middle = np.array([d.price_amount for d in retail.departments])[department]
    amount = middle * _TIER_PRICE[tier] * np.exp(rng.normal(0, 0.18, n))
    quality = rng.normal(size=n)
    # Better products cost more and are wanted more: pooled price regressions are biased.
    amount = amount * np.exp(0.12 * quality)
    base = np.exp(0.6 * quality + rng.normal(0, 0.35, n))

    rng = stream(seed, world.id, "prices")
    moves = rng.random((n, n_weeks)) < 1 / 26
    drift = np.cumsum(np.where(moves, rng.normal(0, 0.09, (n, n_weeks)), 0.0), axis=1)
    drift -= drift.mean(axis=1, keepdims=True)
    listed = amount[:, None] * np.exp(np.clip(drift, -0.3, 0.3))
    list_minor = price_points(listed, retail.price_style)
    is_promoted = rng.random((n, n_weeks)) < pricing.promotion_share
    depth = rng.choice([0.1, 0.2, 0.3, 0.4], size=(n, n_weeks), p=[0.35, 0.35, 0.2, 0.1])
    cut = price_points(list_minor / unit * (1 - depth), retail.price_style)
    price_minor = np.where(is_promoted, np.minimum(cut, list_minor), list_minor)
    # Promotion without a price cut happens too, so that the two can be told apart.
    is_display = rng.random((n, n_weeks)) < np.where(is_promoted, 0.5, 0.03)
    is_mailer = rng.random((n, n_weeks)) < np.where(is_promoted, 0.4, 0.02)
    wander = np.zeros((n, n_weeks))
    noise = rng.normal(0, 0.045, (n, n_weeks))
    for week in range(1, n_weeks):
        wander[:, week] = 0.85 * wander[:, week - 1] + noise[:, week]
    rival_minor = price_points(amount[:, None] * 1.02 * np.exp(wander), retail.price_style)

    own = np.array(pricing.own)[tier]
    substitute = _substitutes(department, tier)
    log_price = np.log(price_minor / list_minor.mean(axis=1, keepdims=True))
    log_rival = np.log(rival_minor / rival_minor.mean(axis=1, keepdims=True))
    response = own[:, None] * log_price + pricing.competitor * log_rival
    has = substitute >= 0
    response[has] += pricing.cross * log_price[substitute[has]]
    response += pricing.display * is_display + pricing.mailer * is_mailer
    seasons = np.array(
        [
            wave(world, 7 * n_weeks, amplitude=d.season, peak_day=d.peak_day)[3::7]
            for d in retail.departments
        ]
    )
    weight = base[:, None] * np.exp(response) * seasons[department]

    rng = stream(seed, world.id, "stock")
    kept = min(pricing.availability_weeks, n_weeks)
    n_stores = len(store_ids(world))
    is_available = rng.random((n, n_stores, kept)) >= pricing.out_of_stock_share
    rng = stream(seed, world.id, "looks")
    kinds = np.array([len(d.types) for d in retail.departments])[department]
    return Catalogue(
        department=department,
        tier=tier,
        brand=rng.integers(0, len(retail.brands), n),
        kind=rng.integers(0, 1 << 30, n) % kinds,
        colour=rng.integers(0, 6, n),
        list_minor=list_minor,
        price_minor=price_minor,
        rival_minor=rival_minor,
        is_display=is_display,
        is_mailer=is_mailer,
        weight=weight,
        base_weight=base,
        own_elasticity=own,
        substitute=substitute,
        is_available=is_available,
        first_stock_week=n_weeks - kept,
    )


def _substitutes(department: Array, tier: Array) -> Array:
    """Pairs within department and tier stand in for each other; an odd one out has none."""
    found = np.full(len(tier), -1)
    group = department * len(TIERS) + tier
    for members in (np.flatnonzero(group == g) for g in np.unique(group)):
        pairs = members[: len(members) // 2 * 2].reshape(-1, 2)
        found[pairs[:, 0]], found[pairs[:, 1]] = pairs[:, 1], pairs[:, 0]
    return found


def store_ids(world: World) -> tuple[str, ...]:
    """The web shop (app included) and one store per subregion."""
    return ("online", *(f"store-{name.lower().replace(' ', '-')}" for name, _ in world.subregions))


def choice_shares(world: World, catalogue: Catalogue) -> Array:
    """Shares of products by segment and week: rows `segment * weeks + week`."""
    segments = world.blended()
    departments = np.array([s.department_mix for s in segments])
    tiers = np.array([s.tier_mix for s in segments])
    taste = departments[:, catalogue.department] * tiers[:, catalogue.tier]
    table = taste[:, None, :] * catalogue.weight.T[None, :, :]
    table /= table.sum(axis=2, keepdims=True)
    rows: Array = table.reshape(-1, len(catalogue.tier))
    return rows


def products_table(world: World, catalogue: Catalogue) -> pa.Table:
    """The assortment in the local and the global taxonomy."""
    colours = ("black", "navy", "sand", "olive", "ivory", "rust")
    of = [world.shop.departments[number] for number in catalogue.department]
    looks = zip(of, catalogue.kind, catalogue.colour, strict=True)
    return canonical(
        "products",
        {
            "product_id": catalogue.ids,
            "department": [d.name for d in of],
            "category": [f"{d.name} {TIERS[t]}" for d, t in zip(of, catalogue.tier, strict=True)],
            "product_type": [f"{d.types[kind]}, {colours[colour]}" for d, kind, colour in looks],
            "global_category": [d.global_category for d in of],
            "brand": take(world.shop.brands, catalogue.brand),
            "manufacturer_id": numbered("M", catalogue.brand + 1, 3),
            "package_size": "1 piece",
            "price_tier": take(TIERS, catalogue.tier),
        },
    )


def prices_table(world: World, seed: int, catalogue: Catalogue) -> pa.Table:
    """Weekly prices, ours and the competitor's; its share shows the leading series."""
    retail = world.shop
    n, n_weeks = catalogue.price_minor.shape
    series = leading_series(world, seed, n_weeks + retail.lead_weeks)[retail.lead_weeks :]
    rival_share = np.clip(0.24 + 0.03 * series, 0.05, 0.6)
    week = np.tile(np.arange(n_weeks), 2 * n)
    minor = np.concatenate([catalogue.price_minor.ravel(), catalogue.rival_minor.ravel()])
    is_rival = np.repeat([0, 1], n * n_weeks)
    none = np.zeros(n * n_weeks, dtype=np.int64)
    share = np.where(is_rival == 1, rival_share[week], 0.9 - rival_share[week] - 0.4)
    return canonical(
        "prices",
        {
            "product_id": catalogue.ids.take(
                pa.array(np.tile(np.repeat(np.arange(n), n_weeks), 2))
            ),
            "store_id": "online",
            "week_start_date": dates(world, 7 * week),
            "seller": take(("us", retail.competitor), is_rival),
            "price_amount": minor,
            "currency": world.currency,
            "display": take(DISPLAYS, np.concatenate([catalogue.is_display.ravel(), none])),
            "mailer": take(MAILERS, np.concatenate([catalogue.is_mailer.ravel(), none])),
            "market_share": share,
        },
        exponent=world.exponent,
    )


def stock_tables(world: World, seed: int, catalogue: Catalogue) -> dict[str, pa.Table]:
    """Availability by day and weekly stock, over the weeks that stock is kept for."""
    stores = store_ids(world)
    n, n_stores, kept = catalogue.is_available.shape
    first_day = 7 * catalogue.first_stock_week
    days = np.arange(first_day, world.days)
    by_day = catalogue.is_available[:, :, days // 7 - catalogue.first_stock_week]
    product, store, day = (grid.ravel() for grid in np.indices(by_day.shape))
    ids = catalogue.ids
    availability = {
        "product_id": ids.take(pa.array(product)),
        "store_id": take(stores, store),
        "available_date": dates(world, days[day]),
        "is_available": by_day.ravel(),
    }
    rng = stream(seed, world.id, "inventory")
    units = rng.poisson(18 * np.exp(rng.normal(0, 0.5, (n, 1, 1))), (n, n_stores, kept)) + 1
    lead_time = np.round(np.array([21.0, 14.0, 35.0])[catalogue.tier] + rng.normal(0, 2, n))
    product, store, week = (grid.ravel() for grid in np.indices((n, n_stores, kept)))
    inventory = {
        "product_id": ids.take(pa.array(product)),
        "store_id": take(stores, store),
        "stock_date": dates(world, first_day + 7 * week),
        "units_on_hand": (units * catalogue.is_available).ravel().astype(float),
        "lead_time_days": np.maximum(lead_time, 3.0)[product],
    }
    return {
        "availability": canonical("availability", availability),
        "inventory": canonical("inventory", inventory),
    }
