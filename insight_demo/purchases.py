"""Orders: when each customer buys and stops, what is in the basket, what comes back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from insight_demo.clock import at_hours, public_holidays
from insight_demo.columns import Array, canonical, numbered, pick, scrambled, stream, take
from insight_demo.people import People
from insight_demo.products import Catalogue, choice_shares, store_ids
from insight_demo.worlds import World

MAX_ORDERS = 4096  # of one customer; order numbers are laid out by it
_DOUBLE_SHARE = 0.06  # of pieces bought twice


@dataclass(frozen=True)
class Orders:
    """Orders of one block, by customer and time.

    Attributes:
        customer: Position within the block.
        day: Day number; at or past `world.days` lies the future.
        campaign: Campaign that caused the order, -1 if none.
    """

    customer: Array
    day: Array
    campaign: Array

    def __len__(self) -> int:
        return len(self.customer)


@dataclass(frozen=True)
class Process:
    """Orders up to the end of the future, and the day each customer stopped (or a huge one)."""

    orders: Orders
    stopped_day: Array


def draw_process(
    world: World, seed: int, people: People, intensity: Array, *, block: int
) -> Process:
    """Draw BG/NBD orders in the time of the market's own intensity.

    Gaps are exponential (or Erlang) in intensity time, where an average day has length one;
    with a flat intensity the process is BG/NBD itself. The first order is on the first day.
    """
    retail = world.shop
    rng = stream(seed, world.id, "orders", block)
    n, n_days = len(people), intensity.shape[1]
    treated = np.zeros(n, dtype=np.int64)
    if retail.programme is not None:
        inside = [name in retail.programme.subregions for name, _ in world.subregions]
        treated = np.array(inside, dtype=np.int64)[people.subregion]
    group = 2 * people.segment + treated
    elapsed = np.concatenate([np.zeros((len(intensity), 1)), np.cumsum(intensity, axis=1)], axis=1)
    rate_per_day = people.rate_per_week / 7
    clock = elapsed[group, people.first_day] + rng.random(n) * intensity[group, people.first_day]
    limit = elapsed[group, -1]
    stopped_at = np.full(n, np.inf)
    customers, clocks = [np.arange(n)], [clock.copy()]
    active = np.arange(n)
    shape = retail.buying.regularity
    for _ in range(MAX_ORDERS // 2):
        gaps = rng.gamma(shape, size=len(active)) / (shape * rate_per_day[active])
        clock[active] += gaps
        active = active[clock[active] < limit[active]]
        if not len(active):
            break
        customers.append(active)
        clocks.append(clock[active].copy())
        stops = rng.random(len(active)) < people.dropout[active]
        stopped_at[active[stops]] = clock[active[stops]]
        active = active[~stops]
    customer, times = np.concatenate(customers), np.concatenate(clocks)
    stopped_day = np.full(n, np.iinfo(np.int64).max)
    day = np.empty(len(times), dtype=np.int64)
    edges = np.arange(n_days + 1, dtype=float)
    for number, curve in enumerate(elapsed):
        mine = group[customer] == number
        day[mine] = np.interp(times[mine], curve, edges).astype(np.int64)
        left = (group == number) & np.isfinite(stopped_at)
        stopped_day[left] = np.interp(stopped_at[left], curve, edges).astype(np.int64)
    order = np.lexsort((times, customer))
    orders = Orders(
        customer=customer[order],
        day=np.minimum(day[order], n_days - 1),
        campaign=np.full(len(order), -1),
    )
    return Process(orders=orders, stopped_day=stopped_day)


def with_extra(orders: Orders, extra: Orders) -> Orders:
    """The orders and the extra ones, by customer and day."""
    customer = np.concatenate([orders.customer, extra.customer])
    day = np.concatenate([orders.day, extra.day])
    campaign = np.concatenate([orders.campaign, extra.campaign])
    order = np.lexsort((campaign, day, customer))
    return Orders(customer=customer[order], day=day[order], campaign=campaign[order])


def until(orders: Orders, day: int) -> Orders:
    """The orders before a day."""
    keep = orders.day < day
    return Orders(
        customer=orders.customer[keep], day=orders.day[keep], campaign=orders.campaign[keep]
    )


@dataclass(frozen=True)
class Lines:
    """Order lines of one block as a table, and the value of each order in minor units."""

    table: pa.Table
    order_minor: Array
    order_utc: Array
    n_returned: Array  # pieces by department
    n_sold: Array


def draw_lines(
    world: World, seed: int, people: People, orders: Orders, catalogue: Catalogue, *, block: int
) -> Lines:
    """Fill baskets for orders in the history, and send some pieces back."""
    retail = world.shop
    rng = stream(seed, world.id, "lines", block)
    buying, n_orders = retail.buying, len(orders)
    segment = people.segment[orders.customer]
    week = orders.day // 7
    channel = _channels(world, rng, segment, orders.day)
    is_closed = np.isin((orders.day + world.start.weekday()) % 7, retail.closed_weekdays)
    if retail.closed_weekdays:
        is_closed |= np.isin(orders.day, [world.day(d) for d in public_holidays(world, world.days)])
    channel = np.where((channel == retail.channels.index("store")) & is_closed, 0, channel)
    instants = at_hours(world, rng, orders.day, channel, retail.channels)
    unit = 10**world.exponent
    value = rng.gamma(buying.spend_p, size=n_orders) / people.spend_rate[orders.customer] * unit
    row = segment * catalogue.n_weeks + week
    store = np.where(
        channel == retail.channels.index("store"), people.subregion[orders.customer] + 1, 0
    )
    if buying.spend_model == "gamma_gamma":
        of_order = np.arange(n_orders)
        product = rng.integers(0, len(catalogue.tier), n_orders)
        quantity = np.ones(n_orders, dtype=np.int64)
        amount = np.maximum(np.round(value), 1).astype(np.int64)
        discount = np.zeros(n_orders, dtype=np.int64)
        coupon = discount
    else:
        shares = choice_shares(world, catalogue)
        of_segments = catalogue.price_minor.T[None, :, :].repeat(len(world.segments), axis=0)
        mean_price = (shares * of_segments.reshape(shares.shape)).sum(axis=1) * (1 + _DOUBLE_SHARE)
        pieces = 1 + rng.poisson(np.maximum(value / mean_price[row] - 1, 0))
        of_order = np.repeat(np.arange(n_orders), pieces)
        product = _choose(rng, shares, row, of_order, store, week, catalogue)
        quantity = 1 + (rng.random(len(of_order)) < _DOUBLE_SHARE)
        listed = catalogue.list_minor[product, week[of_order]] * quantity
        paid = catalogue.price_minor[product, week[of_order]] * quantity
        types = [c.campaign_type == "coupon" for c in retail.campaigns] + [False]
        has_coupon = np.array(types)[orders.campaign[of_order]]
        coupon = np.where(has_coupon, paid // 10, 0)
        amount, discount = paid - coupon, listed - paid + coupon
    line = np.arange(len(of_order)) - np.searchsorted(of_order, of_order) + 1
    customer = orders.customer[of_order]
    number = scrambled(_order_numbers(people, orders))[of_order]
    sold = {
        "order_id": numbered(f"{world.country}-", number, 13),
        "line_id": numbered("", line, 1),
        "customer_id": people.ids.take(pa.array(customer)),
        "ordered_at": instants.utc[of_order],
        "ordered_local": instants.local[of_order],
        "product_id": catalogue.ids.take(pa.array(product)),
        "store_id": take(store_ids(world), store[of_order]),
        "channel": take(retail.channels, channel[of_order]),
        "quantity": quantity.astype(float),
        "amount": amount,
        "discount_amount": discount,
        "coupon_amount": coupon,
        "currency": world.currency,
    }
    department = catalogue.department[product]
    shares_back = np.array([d.return_share for d in retail.departments])[department]
    gap_days = 2 + np.floor(rng.gamma(2.0, buying.return_days / 2.0, len(of_order))).astype(int)
    back_day = orders.day[of_order] + gap_days
    is_back = rng.random(len(of_order)) < shares_back
    shown = is_back & (back_day < world.days)
    back = np.flatnonzero(shown)
    back_at = at_hours(world, rng, back_day[back], np.zeros(len(back), dtype=int), ("web",))
    at = pa.array(back)
    returned = {name: _rows(column, at) for name, column in sold.items()} | {
        "order_id": numbered(f"{world.country}-R", number[back], 13),
        "ordered_at": back_at.utc,
        "ordered_local": back_at.local,
        "quantity": -quantity[back].astype(float),
        "amount": -amount[back],
        "discount_amount": np.zeros(len(back), dtype=np.int64),
        "coupon_amount": np.zeros(len(back), dtype=np.int64),
    }
    tables = [
        canonical("transactions", columns, exponent=world.exponent) for columns in (sold, returned)
    ]
    n_departments = len(retail.departments)
    return Lines(
        table=pa.concat_tables(tables).combine_chunks(),
        order_minor=np.bincount(of_order, weights=amount, minlength=n_orders).astype(np.int64),
        order_utc=instants.utc,
        n_returned=np.bincount(department[is_back], minlength=n_departments),
        n_sold=np.bincount(department, minlength=n_departments),
    )


def _rows(column: object, at: pa.Array) -> object:
    if isinstance(column, str):
        return column
    if isinstance(column, pa.Array):
        return column.take(at)
    return np.asarray(column)[at.to_numpy()]


def _order_numbers(people: People, orders: Orders) -> Array:
    """A number per order from customer and rank, so that blocks never share one."""
    starts = np.searchsorted(orders.customer, np.arange(len(people)))
    rank = np.arange(len(orders)) - starts[orders.customer]
    numbers: Array = people.number[orders.customer] * MAX_ORDERS + rank
    return numbers


def _channels(world: World, rng: np.random.Generator, segment: Array, day: Array) -> Array:
    """The channel of each order; from the drift date on the app takes over part of the web."""
    retail = world.shop
    mix = np.array([s.channel_mix for s in world.blended()])
    channel = pick(rng, mix, segment)
    shift = rng.random(len(day))
    if retail.drift_date is not None:
        web, app = retail.channels.index("web"), retail.channels.index("app")
        moves = (channel == web) & (day >= world.day(retail.drift_date))
        channel = np.where(moves & (shift < retail.drift_app_shift), app, channel)
    return channel


def _choose(
    rng: np.random.Generator,
    shares: Array,
    row: Array,
    of_order: Array,
    store: Array,
    week: Array,
    catalogue: Catalogue,
) -> Array:
    """A product per piece; what is out of stock is drawn again, so shares of the rest hold."""
    product = pick(rng, shares, row[of_order])
    kept_week = week[of_order] - catalogue.first_stock_week
    at = np.flatnonzero(kept_week >= 0)
    while len(at):
        missing = ~catalogue.is_available[product[at], store[of_order[at]], kept_week[at]]
        at = at[missing]
        if len(at):
            product[at] = pick(rng, shares, row[of_order[at]])
    return product


def by_time(table: pa.Table) -> pa.Table:
    """Order lines in the order of time, order and line."""
    keys = [("ordered_at", "ascending"), ("order_id", "ascending"), ("line_id", "ascending")]
    return table.take(pc.sort_indices(table, sort_keys=keys))
