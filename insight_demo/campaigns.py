"""Campaigns: who is sent what, by lot or by choice, and what it causes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pyarrow as pa

from insight_demo.clock import at_hours, dates
from insight_demo.columns import Array, blank, canonical, money, numbered, pick, stream, take
from insight_demo.people import People
from insight_demo.products import Catalogue
from insight_demo.purchases import Lines, Orders
from insight_demo.worlds import Campaign, World


@dataclass(frozen=True)
class Assigned:
    """Assignments of one block: arrays over (campaign, customer) pairs.

    Attributes:
        arm: 0 is control, then the campaign's arms in their order.
        has_extra: Whether the campaign caused an order: the truth nobody sees.
        has_visit: Whether the customer visited in the window.
    """

    campaign: Array
    customer: Array
    arm: Array
    has_extra: Array
    has_visit: Array


def effect(world: World, campaign: Campaign, segment: int, arm: str) -> tuple[float, float]:
    """True extra orders per treated customer and rise of the visit share, of one arm."""
    if arm == "control":
        return 0.0, 0.0
    who = world.blended()[segment]
    factor = dict(campaign.arms)[arm] * world.shop.order_lift_scale
    return who.order_lift * factor, who.visit_lift * factor


def draw_assignments(
    world: World, seed: int, people: People, orders: Orders, *, block: int
) -> tuple[Assigned, Orders]:
    """Assign the customers of a block, and draw the orders that the campaigns cause.

    A campaign with `targeting` treats a customer with a chance that is logistic in the
    orders of the 180 days before; it reaches everyone, and its arms are not drawn by lot.
    """
    parts: list[tuple[Array, ...]] = []
    extra_customer, extra_day, extra_campaign = [], [], []
    for number, campaign in enumerate(world.shop.campaigns):
        rng = stream(seed, world.id, "assignments", number, block)
        start = world.day(campaign.start)
        u = rng.random((4, len(people)))
        recent = orders.customer[(orders.day < start) & (orders.day >= start - 180)]
        past = np.bincount(recent, minlength=len(people))
        if campaign.targeting:
            share = 1 / (1 + np.exp(-campaign.targeting * (past - 2.0)))
            is_in = people.first_day < start
        else:
            share = np.full(len(people), campaign.treated_share)
            is_in = (people.first_day < start) & (u[0] < campaign.reach)
        arm = np.where(u[1] < share, 1 + pick(rng, np.ones(len(campaign.arms)), len(people)), 0)
        names = ("control", *(name for name, _ in campaign.arms))
        table = np.array(
            [[effect(world, campaign, s, a) for a in names] for s in range(len(world.segments))]
        )
        order_lift, visit_lift = table[people.segment, arm].T
        has_extra = u[2] < order_lift
        has_visit = u[3] < campaign.visit_share + visit_lift
        day = start + rng.integers(0, campaign.days, len(people))
        at = np.flatnonzero(is_in)
        parts.append((np.full(len(at), number), at, arm[at], has_extra[at], has_visit[at]))
        caused = np.flatnonzero(is_in & has_extra)
        extra_customer.append(caused)
        extra_day.append(day[caused])
        extra_campaign.append(np.full(len(caused), number))
    if not parts:
        none = np.zeros(0, dtype=np.int64)
        return Assigned(none, none, none, none > 0, none > 0), Orders(none, none, none)
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    extra = (np.concatenate(x) for x in (extra_customer, extra_day, extra_campaign))
    return Assigned(*columns), Orders(*extra)


def campaigns_table(world: World) -> pa.Table:
    """The campaigns, with cost per contact."""
    every = world.shop.campaigns
    unit = 10**world.exponent
    return canonical(
        "campaigns",
        {
            "campaign_id": [c.name for c in every],
            "campaign_type": [c.campaign_type for c in every],
            "channel": [c.channel for c in every],
            "start_date": [c.start for c in every],
            "end_date": [c.start + timedelta(days=c.days - 1) for c in every],
            "cost_per_contact_amount": np.array(
                [round(c.cost_amount * unit) for c in every], dtype=np.int64
            ),
            "currency": world.currency,
        },
        exponent=world.exponent,
    )


def assignments_table(world: World, people: People, assigned: Assigned) -> pa.Table:
    """Who was in which arm, assigned the morning before the start."""
    every = world.shop.campaigns
    arms = [f"{c.name}\t{a}" for c in every for a in ("control", *(n for n, _ in c.arms))]
    first = np.cumsum([0] + [1 + len(c.arms) for c in every])
    position = first[assigned.campaign] + assigned.arm
    start = np.array([world.day(c.start) for c in every])[assigned.campaign]
    return canonical(
        "assignments",
        {
            "campaign_id": take([c.name for c in every], assigned.campaign),
            "customer_id": people.ids.take(pa.array(assigned.customer)),
            "arm": take([name.split("\t")[1] for name in arms], position),
            "is_randomised": np.array([not c.targeting for c in every])[assigned.campaign],
            "assigned_at": dates(world, start - 1).astype("datetime64[s]") + np.timedelta64(9, "h"),
        },
    )


def responses_table(
    world: World,
    seed: int,
    people: People,
    assigned: Assigned,
    orders: Orders,
    lines: Lines,
    *,
    block: int,
) -> pa.Table:
    """Visits, conversions and redemptions of everyone assigned, control included.

    A conversion is the first order in the window, whether the campaign caused it or not;
    it is a redemption if the campaign was a coupon's and caused it.
    """
    every = world.shop.campaigns
    rng = stream(seed, world.id, "responses", block)
    start = np.array([world.day(c.start) for c in every])
    length = np.array([c.days for c in every])
    at = np.flatnonzero(assigned.has_visit)
    day = start[assigned.campaign[at]] + np.floor(
        rng.random(len(at)) * length[assigned.campaign[at]]
    ).astype(np.int64)
    visits = at_hours(world, rng, day, np.zeros(len(at), dtype=int), ("app",))
    pairs, which = [], []
    for number in range(len(every)):
        mine = np.flatnonzero(assigned.campaign == number)
        inside = (orders.day >= start[number]) & (orders.day < start[number] + length[number])
        in_window = np.flatnonzero(inside)
        who, first = np.unique(orders.customer[in_window], return_index=True)
        _, left, right = np.intersect1d(
            assigned.customer[mine], who, assume_unique=True, return_indices=True
        )
        pairs.append(mine[left])
        which.append(in_window[first[right]])
    pair, order = np.concatenate(pairs), np.concatenate(which)
    is_coupon = np.array([c.campaign_type == "coupon" for c in every])
    redeemed = is_coupon[assigned.campaign[pair]] & (
        orders.campaign[order] == assigned.campaign[pair]
    )
    row = np.concatenate([at, pair])
    n = len(row)
    minor = np.concatenate([np.zeros(len(at), dtype=np.int64), lines.order_minor[order]])
    kind = np.concatenate([np.zeros(len(at), dtype=int), 1 + redeemed])
    return canonical(
        "responses",
        {
            "response_id": numbered(f"R{block:03d}-", np.arange(n), 7),
            "campaign_id": take([c.name for c in every], assigned.campaign[row]),
            "customer_id": people.ids.take(pa.array(assigned.customer[row])),
            "responded_at": np.concatenate([visits.utc, lines.order_utc[order]]),
            "response_type": take(("visit", "conversion", "redemption"), kind),
            "coupon_id": take(("TEN-OFF",), np.where(kind == 2, 0, -1)),
            "amount": blank(money(minor, world.exponent), kind == 0),
            "currency": world.currency,
        },
    )


def coupons_table(world: World, catalogue: Catalogue) -> pa.Table:
    """The coupon of each coupon campaign is good for every product."""
    every = [c for c in world.shop.campaigns if c.campaign_type == "coupon"]
    n = len(catalogue.tier)
    return canonical(
        "coupons",
        {
            "coupon_id": take(("TEN-OFF",), np.zeros(n * len(every), dtype=int)),
            "product_id": pa.concat_arrays(
                [catalogue.ids for _ in every] or [pa.array([], pa.string())]
            ),
            "campaign_id": take([c.name for c in every], np.repeat(np.arange(len(every)), n)),
        },
    )


def effects_truth(world: World) -> dict[str, list[object]]:
    """True effect per campaign, arm and segment."""
    rows = [
        (c.name, arm, segment.name, not c.targeting, *effect(world, c, number, arm))
        for c in world.shop.campaigns
        for arm, _ in c.arms
        for number, segment in enumerate(world.segments)
    ]
    names = ("campaign_id", "arm", "segment", "is_randomised", "order_lift", "visit_lift")
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}
