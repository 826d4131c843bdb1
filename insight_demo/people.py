"""Who the customers are: latent segment, traits, value; and what is recorded of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from insight_demo.clock import dates
from insight_demo.columns import Array, blank, canonical, numbered, pick, stream, take
from insight_demo.worlds import World

INCOME_BANDS = ("low", "lower middle", "middle", "upper middle", "high")
HOUSEHOLD_SIZES = ("1", "2", "3", "4", "5+")
GENDERS = ("female", "male", "diverse")
INDUSTRIES = ("manufacturing", "retail", "health", "finance", "education", "logistics")
_INCOME_BY_TIER = ((5, 4, 3, 1, 0.4), (2, 3, 4, 3, 1), (0.6, 1.4, 3, 4, 3))
_HOUSEHOLD = ((5, 4, 1.2, 0.6, 0.2), (0.4, 1.2, 4, 4, 1.6))  # without and with children


@dataclass(frozen=True)
class People:
    """Customers of one block, as arrays over them; latent truth and recorded traits.

    Attributes:
        number: Position in the market, from 0.
        rate_per_week: Own order rate, gamma within the segment.
        dropout: Own chance to stop after a repeat order, beta.
        spend_rate: Own rate of the gamma order value; mean value is `spend_p / spend_rate`.
        value_z: Standardised log of yearly value, before dropout.
        merit: Standard normal, what an approval should rest on.
    """

    number: Array
    ids: pa.Array
    segment: Array
    age: Array
    subregion: Array
    acquisition: Array
    first_day: Array
    income: Array
    household: Array
    has_children: Array
    gender: Array
    is_disabled: Array
    industry: Array
    rate_per_week: Array
    dropout: Array
    spend_rate: Array
    value_z: Array
    merit: Array

    def __len__(self) -> int:
        return len(self.number)


def draw_people(world: World, seed: int, *, block: int, first: int, count: int) -> People:
    """The customers `first … first + count - 1`, from the block's own stream."""
    rng = stream(seed, world.id, "people", block)
    segments = world.blended()
    segment = pick(rng, [s.share for s in segments], count)
    age = pick(rng, [s.age_mix for s in segments], segment)
    subregion = pick(rng, [share for _, share in world.subregions], count)
    acquisition = pick(rng, [share for _, share in world.acquisition], count)
    first_day = np.floor(world.days * rng.random(count) ** 1.3).astype(np.int64)
    tier = pick(rng, [s.tier_mix for s in segments], segment)
    income = pick(rng, _INCOME_BY_TIER, tier)
    kids_share = np.array(
        [s.department_mix[6] if len(s.department_mix) > 6 else 0 for s in segments]
    )
    has_children = rng.random(count) < np.clip(0.12 + 0.08 * kids_share[segment], 0, 0.9)
    household = pick(rng, _HOUSEHOLD, has_children.astype(np.int64))
    gender = pick(rng, (0.50, 0.485, 0.015), count)
    is_disabled = rng.random(count) < 0.09
    industry = pick(rng, (4, 3, 3, 2, 2, 2), count)
    merit = rng.normal(size=count)

    mean_rate = np.array([s.rate_per_week for s in segments])[segment]
    if world.acquisition_pace:
        mean_rate = mean_rate * np.array(world.acquisition_pace)[acquisition]
    spend = np.array([s.spend_amount for s in segments])[segment]
    if world.retail is not None:
        buying = world.retail.buying
        rate = rng.gamma(buying.r, size=count) * mean_rate / buying.r
        dropout = rng.beta(buying.a, buying.b, count)
        scale = spend * (buying.spend_q - 1) / buying.spend_p
        spend_rate = rng.gamma(buying.spend_q, size=count) / scale
        value = np.log(rate + 1e-6) + np.log(buying.spend_p / spend_rate)
    else:
        rate = rng.gamma(2.0, size=count) * mean_rate / 2.0
        dropout = np.zeros(count)
        spend_rate = np.exp(rng.normal(0, 0.5, count)) / spend
        value = np.log(np.array([s.seats for s in segments])[segment]) - np.log(spend_rate)
    # Fixed moments of the world, not of this block, so that blocks agree.
    centre, width = _value_moments(world)
    return People(
        number=np.arange(first, first + count),
        ids=numbered("A" if world.business else "C", np.arange(first, first + count) + 1, 7),
        segment=segment,
        age=age,
        subregion=subregion,
        acquisition=acquisition,
        first_day=first_day,
        income=income,
        household=household,
        has_children=has_children,
        gender=gender,
        is_disabled=is_disabled,
        industry=industry,
        rate_per_week=rate,
        dropout=dropout,
        spend_rate=spend_rate,
        value_z=(value - centre) / width,
        merit=merit,
    )


def _value_moments(world: World) -> tuple[float, float]:
    """Centre and width of log value across the segments' means; a scale, not an estimate."""
    segments = world.blended()
    weights = np.array([s.share for s in segments])
    means = np.log([max(s.rate_per_week, s.seats) * s.spend_amount for s in segments])
    centre = float(np.average(means, weights=weights))
    spread = float(np.average((means - centre) ** 2, weights=weights))
    return centre, float(np.sqrt(spread + 1.0))


def customers_table(
    world: World, seed: int, people: People
) -> tuple[pa.Table, dict[str, pa.Table]]:
    """The customers as recorded, and the same without anything missing."""
    rng = stream(seed, world.id, "customers")
    n = len(people)
    columns = {
        "customer_id": people.ids,
        "first_seen_date": dates(world, people.first_day),
        "acquisition_channel": take([name for name, _ in world.acquisition], people.acquisition),
        "subregion": take([name for name, _ in world.subregions], people.subregion),
    }
    if world.business is not None:
        columns["industry"] = take(INDUSTRIES, people.industry)
        columns["size_band"] = take([s.name for s in world.segments], people.segment)
        return canonical("customers", columns), {}
    columns |= {
        "age_band": take(world.age_bands, people.age),
        "income_band": take(INCOME_BANDS, people.income),
        "household_size": take(HOUSEHOLD_SIZES, people.household),
        "household_type": take(
            ("single", "adults", "with children"),
            np.where(people.has_children, 2, np.minimum(people.household, 1)),
        ),
        "children": take(("none", "1+"), people.has_children.astype(np.int64)),
        # Noise by construction: nothing that anyone does depends on these two.
        "home_ownership": take(("owner", "renter"), rng.integers(0, 2, n)),
        "marital_status": take(("single", "married", "widowed"), pick(rng, (4, 5, 1), n)),
    }
    complete = canonical("customers", columns)
    faults = world.faults
    top = people.income == len(INCOME_BANDS) - 1
    last_channel = people.acquisition == len(world.acquisition) - 1
    missing = {
        "household_size": rng.random(n) < faults.household_missing,
        "age_band": rng.random(n) < faults.age_missing_by_channel * last_channel,
        "income_band": rng.random(n)
        < np.where(top, faults.income_missing_top, 0.02 * (faults.income_missing_top > 0)),
    }
    recorded = columns | {name: blank(columns[name], mask) for name, mask in missing.items()}
    return canonical("customers", recorded), {"customers_complete": complete}


def attributes_table(people: People) -> pa.Table:
    """Sensitive attributes, one row per customer and attribute."""
    n = len(people)
    return canonical(
        "attributes",
        {
            "customer_id": pa.concat_arrays([people.ids, people.ids]),
            "attribute": take(("gender", "disability"), np.repeat([0, 1], n)),
            "attribute_value": pa.concat_arrays(
                [
                    take(GENDERS, people.gender),
                    take(("no", "yes"), people.is_disabled.astype(np.int64)),
                ]
            ),
        },
    )


def approval_shares(world: World, people: People) -> Array:
    """Chance of an instalment approval: merit, and a gap for women that merit does not explain."""
    base = np.log(world.approval_share / (1 - world.approval_share))
    by_merit = 1 / (1 + np.exp(-(base + 0.8 * people.merit)))
    found: Array = np.clip(by_merit + world.approval_gap * (people.gender == 0), 0.01, 0.99)
    return found
