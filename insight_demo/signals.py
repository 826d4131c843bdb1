"""What else is recorded of customers: touchpoints, CRM flags, surveys, and the trade's logs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from insight_demo.clock import at_hours, dates, rhythm
from insight_demo.columns import Array, canonical, numbered, scrambled, stream, take
from insight_demo.people import People, approval_shares
from insight_demo.worlds import ATTITUDES, World

# touchpoint, share of a customer's events, event types, hours
_SHOP = (
    ("web", 0.42, ("view", "cart"), "web"),
    ("app", 0.24, ("open", "view"), "app"),
    ("email", 0.20, ("open", "click"), "app"),
    ("store", 0.06, ("visit",), "store"),
    ("call", 0.02, ("contact",), "office"),
    ("voice", 0.03, ("query",), "web"),
    ("iot", 0.03, ("reading",), "web"),
)
_SOFTWARE = (
    ("app", 0.70, ("session", "export"), "office"),
    ("web", 0.14, ("view", "docs"), "office"),
    ("email", 0.10, ("open", "click"), "office"),
    ("call", 0.06, ("contact", "ticket"), "office"),
)
SILENT_FACTOR = 0.10  # activity after a customer stopped, against before
VOICE_SLOPE = 0.6  # of log voice events in the standardised value; iot has none


@dataclass(frozen=True)
class Activity:
    """From which day to which (excluded) a customer is active."""

    first_day: Array
    stop_day: Array


def interaction_rates(world: World, people: People) -> Array:
    """True events per year while active: customers × touchpoints."""
    points = _SOFTWARE if world.business else _SHOP
    pace = np.sqrt(people.rate_per_week / np.mean([s.rate_per_week for s in world.segments]))
    rates = world.interactions_per_year * pace[:, None] * np.array([p[1] for p in points])
    for number, (name, *_) in enumerate(points):
        if name == "app":
            rates[:, number] *= np.array(world.app_use_by_age)[people.age]
        if name == "voice":
            rates[:, number] = 0.8 * np.exp(VOICE_SLOPE * people.value_z)
        if name == "iot":
            rates[:, number] = 0.8
    return rates


def interactions_table(
    world: World, seed: int, people: People, activity: Activity
) -> tuple[pa.Table, Array]:
    """Events of the last year, some of them days late; and which are late."""
    rng = stream(seed, world.id, "interactions")
    points = _SOFTWARE if world.business else _SHOP
    first = max(world.days - world.interaction_days, 0)
    curve = np.concatenate([[0.0], np.cumsum(rhythm(world, world.days))])
    begin = np.clip(activity.first_day, first, world.days)
    stop = np.clip(np.minimum(activity.stop_day, world.days), begin, world.days)
    lively = curve[stop] - curve[begin]
    silent = (curve[world.days] - curve[stop]) * SILENT_FACTOR
    count = rng.poisson(interaction_rates(world, people) * ((lively + silent) / 365)[:, None])
    kind = np.tile(np.arange(len(points)), len(people))
    point = np.repeat(kind, count.ravel())
    who = np.repeat(np.arange(len(people)), count.sum(axis=1))
    position = rng.random(len(who)) * (lively + silent)[who]
    beyond = np.maximum(position - lively[who], 0) / SILENT_FACTOR
    at = curve[begin][who] + np.minimum(position, lively[who]) + beyond
    day = np.interp(at, curve, np.arange(world.days + 1)).astype(np.int64)
    day = np.minimum(day, world.days - 1)
    profile = {"web": 0, "app": 1, "store": 2, "office": 3}
    hours = np.array([profile[p[3]] for p in points])[point]
    moments = at_hours(world, rng, day, hours, tuple(profile))
    is_late = rng.random(len(who)) < world.faults.late_share
    lag = rng.exponential(20.0, len(who))  # seconds
    lag = np.where(is_late, 86_400 * (1 + rng.exponential(world.faults.late_days, len(who))), lag)
    received = moments.utc + (lag * 1e6).astype("timedelta64[us]")
    types = sorted({name for p in points for name in p[2]})
    n_types = np.array([len(p[2]) for p in points])[point]
    which = np.floor(rng.random(len(who)) ** 2 * n_types).astype(np.int64)
    lookup = np.array(
        [[types.index(p[2][min(i, len(p[2]) - 1)]) for i in range(2)] for p in points]
    )
    order = np.lexsort((who, moments.utc))
    session = scrambled(people.number[who] * 4096 + day)
    columns = {
        "customer_id": people.ids.take(pa.array(who[order])),
        "occurred_at": moments.utc[order],
        "received_at": received[order],
        "occurred_local": moments.local[order],
        "touchpoint": take([p[0] for p in points], point[order]),
        "event_type": take(types, lookup[point, which][order]),
        "session_id": numbered("S", session[order], 13),
        "event_id": numbered("E", np.arange(len(order)) + 1, 9),
    }
    return canonical("interactions", columns), is_late[order]


def crm_table(
    world: World, seed: int, people: People, order_customer: Array, order_day: Array
) -> tuple[pa.Table, dict[str, object]]:
    """A noisy, late activity flag at the last quarter ends, and instalment approvals.

    `active_buyer` is whether the customer bought in the 90 days before `crm_lag_days` ago,
    turned over with chance `crm_noise`.
    """
    rng = stream(seed, world.id, "crm_flags")
    faults, n = world.faults, len(people)

    def bought(day: int) -> Array:
        inside = (order_day >= day - 90) & (order_day < day)
        found: Array = np.bincount(order_customer[inside], minlength=n) > 0
        return found

    quarters = [q for q in (world.days - 1 - 91 * k for k in range(4)) if q > 120]
    who, day, now, lagged, flipped = [], [], [], [], []
    for quarter in quarters:
        known = np.flatnonzero(people.first_day < quarter)
        who.append(known)
        day.append(np.full(len(known), quarter))
        now.append(bought(quarter)[known])
        lagged.append(bought(quarter - faults.crm_lag_days)[known])
        flipped.append(rng.random(len(known)) < faults.crm_noise)
    customer, at, is_active, was_active, is_wrong = (
        np.concatenate(x) for x in (who, day, now, lagged, flipped)
    )
    approved = rng.random(n) < approval_shares(world, people)
    has_approval = world.retail is not None
    extra = np.arange(n if has_approval else 0)
    rows = np.concatenate([customer, extra])
    flagged = np.concatenate([at, np.minimum(people.first_day[extra] + 1, world.days - 1)])
    value = np.concatenate([was_active ^ is_wrong, approved[extra]])
    ids = people.ids.take(pa.array(customer))
    moments = dates(world, flagged).astype("datetime64[s]") + np.timedelta64(5, "h")
    table = canonical(
        "crm_flags",
        {
            "customer_id": people.ids.take(pa.array(rows)),
            "flag": take(
                ("active_buyer", "instalment_approved"),
                np.repeat([0, 1], [len(customer), len(extra)]),
            ),
            "flag_value": value,
            "flagged_at": moments,
        },
    )
    truth = {
        "customer_id": ids,
        "flagged_at": pa.array(moments[: len(customer)]),
        "is_active": is_active,
        "was_active": was_active,
        "is_wrong": is_wrong,
    }
    return table, truth


def surveys_table(world: World, seed: int, people: People) -> tuple[pa.Table, dict[str, object]]:
    """Two waves, young people oversampled and answering less; and everyone's true answers.

    Who answers depends on the age band alone, so weighting to the known margins of age
    removes the bias.
    """
    rng = stream(seed, world.id, "surveys")
    segments, n = world.blended(), len(people)
    n_bands = len(world.age_bands)
    means = np.array([s.attitudes for s in segments])[people.segment]
    slope = world.survey_age_slope * (people.age - (n_bands - 1) / 2)
    latent = means + rng.normal(0, 1, means.shape) * np.array([1.2, 0.7, 0.7, 0.7])
    latent[:, 0] += slope
    top = np.array([10.0, 5.0, 5.0, 5.0])
    low = np.array([0.0, 1.0, 1.0, 1.0])
    answers = np.clip(np.floor(latent + rng.random(means.shape)), low, top)
    parts = []
    for number, before in ((1, 240), (2, 45)):
        asked_day = world.days - before
        known = people.first_day < asked_day
        sampling = np.linspace(0.5, 0.2, n_bands)[people.age] if n_bands > 1 else np.full(n, 0.4)
        asked = np.flatnonzero(known & (rng.random(n) < sampling))
        replied = rng.random(len(asked)) < np.array(world.survey_response)[people.age[asked]]
        parts.append(
            (
                np.full(len(asked), number),
                asked,
                np.full(len(asked), asked_day),
                replied,
                1 / sampling[asked],
            )
        )
    wave, who, day, replied, weight = (np.concatenate(c) for c in zip(*parts, strict=True))
    question = np.tile(np.arange(len(ATTITUDES)), len(who))
    row = np.repeat(np.arange(len(who)), len(ATTITUDES))
    given = np.where(replied[row], answers[who[row], question], np.nan)
    table = canonical(
        "surveys",
        {
            "survey_id": take(("wave-1", "wave-2"), wave[row] - 1),
            "respondent_id": people.ids.take(pa.array(who[row])),
            "customer_id": people.ids.take(pa.array(who[row])),
            "asked_at": (dates(world, day).astype("datetime64[s]") + np.timedelta64(8, "h"))[row],
            "question": take(ATTITUDES, question),
            "answer": pa.array(given, from_pandas=True),
            "stratum": take(world.age_bands, people.age[who[row]]),
            "design_weight": weight[row],
        },
    )
    truth: dict[str, object] = {"customer_id": people.ids}
    truth |= {name: answers[:, i] for i, name in enumerate(ATTITUDES)}
    return table, truth


def provider_table(world: World, seed: int) -> pa.Table:
    """A year of deliveries: gamma latency, binomial matches and revisions."""
    parts = []
    for provider in world.providers:
        rng = stream(seed, world.id, "provider_log", provider.name)
        first = max(world.days - 365, 0)
        ends = np.arange(first + provider.every_days, world.days + 1, provider.every_days)
        shape = provider.latency_shape
        hours = rng.gamma(shape, provider.latency_hours / shape, len(ends))
        covers_to = dates(world, ends).astype("datetime64[us]")
        records = rng.poisson(0.4 * world.n_customers * provider.every_days**0.5, len(ends))
        parts.append(
            {
                "provider": np.full(len(ends), provider.name),
                "delivery_id": [f"{provider.name}-{k:04d}" for k in range(1, len(ends) + 1)],
                "covers_from": covers_to - np.timedelta64(provider.every_days, "D"),
                "covers_to": covers_to,
                "delivered_at": covers_to + (hours * 3.6e9).astype("timedelta64[us]"),
                "records": records,
                "revised_records": rng.binomial(records, provider.revision_share),
                "matched_records": rng.binomial(records, provider.coverage),
            }
        )
    return pa.concat_tables([canonical("provider_log", part) for part in parts]).combine_chunks()


MISCLASSIFYING_CHANNEL = "marketplace"
AUDITED = 800


def feedback_table(world: World, seed: int, people: People) -> tuple[pa.Table, dict[str, object]]:
    """Customer service on segment membership: one channel's rule puts people wrong.

    The published segment is the latent one, but for customers that came by the marketplace:
    enough of them stand one segment further for `misclassified_share` of all to be wrong.
    """
    rng = stream(seed, world.id, "feedback")
    names = [s.name for s in world.segments]
    channels = [name for name, _ in world.acquisition]
    of_channel = dict(world.acquisition)[MISCLASSIFYING_CHANNEL]
    chance = min(world.faults.misclassified_share / of_channel, 1.0)
    by_rule = people.acquisition == channels.index(MISCLASSIFYING_CHANNEL)
    is_wrong = by_rule & (rng.random(len(people)) < chance)
    published = np.where(is_wrong, (people.segment + 1) % len(names), people.segment)
    who = np.sort(rng.permutation(len(people))[: min(AUDITED, len(people))])
    day = world.days - 1 - rng.integers(0, 60, len(who))
    moments = at_hours(world, rng, day, np.zeros(len(who), dtype=int), ("office",))
    table = canonical(
        "feedback",
        {
            "feedback_id": numbered("F", np.arange(len(who)) + 1, 5),
            "given_at": moments.utc,
            "role": "customer service",
            "subject": take([f"segment:{name}" for name in names], published[who]),
            "customer_id": people.ids.take(pa.array(who)),
            "verdict": take(("agree", "misclassified"), is_wrong[who].astype(int)),
            "proposed_segment": take(names, np.where(is_wrong, people.segment, -1)[who]),
        },
    )
    truth = {
        "customer_id": people.ids,
        "true_segment": take(names, people.segment),
        "published_segment": take(names, published),
        "is_misclassified": is_wrong,
    }
    return table, truth


# business unit, role, opens a week, share of opens acted on
ADOPTION = (
    ("marketing", "marketing", 9.0, 0.35),
    ("e-commerce", "product", 6.0, 0.22),
    ("regional sales", "sales", 4.0, 0.12),
    ("merchandising", "product", 5.0, 0.0),  # opens, never acts
)
_STAGES = ("objectives", "features", "segments", "prediction", "activation", "impact")


def adoption_table(world: World, seed: int) -> pa.Table:
    """Half a year of report opens and actions by business unit."""
    rng = stream(seed, world.id, "adoption")
    days = 182
    opens = [rng.poisson(rate * days / 7) for _, _, rate, _ in ADOPTION]
    unit = np.repeat(np.arange(len(ADOPTION)), opens)
    acted = rng.random(len(unit)) < np.array([share for *_, share in ADOPTION])[unit]
    stage = rng.integers(0, len(_STAGES), len(unit))
    day = world.days - 1 - rng.integers(0, days, len(unit))
    moments = at_hours(world, rng, day, np.zeros(len(unit), dtype=int), ("office",))
    later = moments.utc + np.timedelta64(3, "h")
    unit, stage = (np.concatenate([x, x[acted]]) for x in (unit, stage))
    return canonical(
        "adoption",
        {
            "event_id": numbered("AD", np.arange(len(unit)) + 1, 5),
            "occurred_at": np.concatenate([moments.utc, later[acted]]),
            "role": take([row[1] for row in ADOPTION], unit),
            "business_unit": take([row[0] for row in ADOPTION], unit),
            "stage": take(_STAGES, stage),
            "action": take(("opened", "acted"), np.repeat([0, 1], [len(acted), acted.sum()])),
        },
    )


def excluded_truth(world: World) -> dict[str, object]:
    """Chance of no order within a year by age band, from the segments' rates alone.

    The seasonal segment buys a few times a year and is mostly in the oldest band, so a rule
    on recency or frequency leaves that band out.
    """
    segments = world.blended()
    shares = np.array([s.share for s in segments])
    mixes = np.array([s.age_mix for s in segments], dtype=float)
    mixes /= mixes.sum(axis=1, keepdims=True)
    joint = shares[:, None] * mixes
    r = world.shop.buying.r
    none = np.array([(r / (r + s.rate_per_week * 365 / 7)) ** r for s in segments])
    return {
        "age_band": list(world.age_bands),
        "share": joint.sum(axis=0) / joint.sum(),
        "no_order_in_year_share": none @ joint / joint.sum(axis=0),
    }
