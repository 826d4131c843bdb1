"""A software firm's customers: pipeline, contracts that end for competing reasons, payments."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from insight_demo.clock import at_hours, dates
from insight_demo.columns import Array, canonical, numbered, stream, take
from insight_demo.people import People
from insight_demo.worlds import World

YEAR_DAYS = 365.25
MONTH_DAYS = YEAR_DAYS / 12
CAUSES = ("voluntary", "non_renewal", "payment")
_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Pipeline:
    """Opportunities: arrays over them, and over them × stages."""

    customer: Array
    start_day: Array
    seats: Array
    seat_minor: Array
    left_day: Array  # opportunities × stages, without regard to the end of the history
    reached: Array  # whether the stage was ever entered, likewise
    won: Array

    @property
    def won_day(self) -> Array:
        day: Array = self.left_day[:, -1]
        return day


def draw_pipeline(world: World, seed: int, people: People) -> Pipeline:
    """One opportunity per account and now and then more, each through gamma stage times."""
    business = world.firm
    rng = stream(seed, world.id, "opportunities")
    count = 1 + rng.poisson(0.4, len(people))
    customer = np.repeat(np.arange(len(people)), count)
    is_first = np.r_[True, customer[1:] != customer[:-1]]
    wait = np.where(
        is_first, rng.integers(0, 10, len(customer)), rng.integers(60, 720, len(customer))
    )
    start = people.first_day[customer] + wait
    segment = people.segment[customer]
    mean_seats = np.array([s.seats for s in world.blended()])[segment]
    seats = np.maximum(
        1, np.round(mean_seats * np.exp(rng.normal(-0.18, 0.6, len(customer))))
    ).astype(np.int64)
    seat_minor = np.maximum(5, np.round(1 / people.spend_rate[customer])).astype(np.int64) * 100
    mean = np.array([s.mean_days for s in business.stages])
    shape = np.array([s.shape for s in business.stages])
    days = np.maximum(1, np.round(rng.gamma(shape, mean / shape, (len(customer), len(mean)))))
    advances = rng.random(days.shape) < np.array([s.conversion for s in business.stages])
    reached = np.cumprod(np.c_[np.ones(len(customer), dtype=bool), advances[:, :-1]], axis=1) > 0
    return Pipeline(
        customer=customer,
        start_day=start,
        seats=seats,
        seat_minor=seat_minor,
        left_day=start[:, None] + np.cumsum(days, axis=1).astype(np.int64),
        reached=reached,
        won=reached[:, -1] & advances[:, -1],
    )


def opportunities_table(world: World, people: People, pipeline: Pipeline) -> pa.Table:
    """One row per stage entered by the end; open stages have neither end nor outcome."""
    stages = world.firm.stages
    entered = np.c_[pipeline.start_day, pipeline.left_day[:, :-1]]
    row, stage = np.nonzero(pipeline.reached & (entered < world.days))
    left = pipeline.left_day[row, stage]
    is_open = left >= world.days
    is_last = stage == len(stages) - 1
    advanced = np.where(
        is_last, pipeline.won[row], np.c_[pipeline.reached[:, 1:], pipeline.won][row, stage]
    )
    outcome = np.where(is_open, -1, np.where(advanced, np.where(is_last, 2, 0), 1))
    left_dates = dates(world, left)
    left_dates[is_open] = np.datetime64("NaT")
    return canonical(
        "opportunities",
        {
            "opportunity_id": numbered("OP-", row + 1, 6),
            "customer_id": people.ids.take(pa.array(pipeline.customer[row])),
            "pipeline_stage": take([s.name for s in stages], stage),
            "stage_number": stage + 1,
            "entered_date": dates(world, entered[row, stage]),
            "left_date": left_dates,
            "outcome": take(("advanced", "lost", "won"), outcome),
            "annual_amount": 12 * (pipeline.seats * pipeline.seat_minor)[row],
            "currency": world.currency,
        },
        exponent=world.exponent,
    )


@dataclass(frozen=True)
class Contracts:
    """Contracts begun in the history; `end_day` may lie past it, cause −1 if it never ends."""

    opportunity: Array
    customer: Array
    start_day: Array
    end_day: Array
    cause: Array
    monthly_minor: Array
    seats: Array
    terms: Array  # terms begun by the end or the end of the history


def months_on(world: World, day: Array, months: Array | int) -> Array:
    """The day number of the same day of the month, `months` later."""
    start = dates(world, day)
    month = start.astype("datetime64[M]")
    later = (month + np.asarray(months).astype("timedelta64[M]")).astype("datetime64[D]")
    found: Array = (later + (start - month.astype("datetime64[D]"))) - np.datetime64(
        world.start, "D"
    )
    return found.astype(np.int64)


def draw_contracts(world: World, seed: int, people: People, pipeline: Pipeline) -> Contracts:
    """Contracts of the deals won, ended by whichever cause comes first.

    Voluntary and payment ends have constant hazards; non-renewal can only happen on the last
    day of a term.
    """
    business = world.firm
    rng = stream(seed, world.id, "contracts")
    at = np.flatnonzero(pipeline.won & (pipeline.won_day + 3 < world.days))
    start = pipeline.won_day[at] + 3
    customer = pipeline.customer[at]
    factor = np.array(business.hazard_factors)[people.segment[customer]]

    late = np.array(business.late_factors)[people.segment[customer]]

    def arrivals(per_month: float, late_factor: Array | float) -> Array:
        hazard = np.maximum(per_month * factor / MONTH_DAYS, 1e-12)
        days = rng.exponential(1.0, len(at)) / hazard
        days = np.where(days > YEAR_DAYS, YEAR_DAYS + (days - YEAR_DAYS) / late_factor, days)
        found: Array = start + np.minimum(np.floor(days), 1e6).astype(np.int64)
        return found

    voluntary = arrivals(business.voluntary_per_month, late)
    payment = arrivals(business.payment_per_month, 1.0)
    share = np.clip(business.non_renewal_share * factor, 1e-9, 1)
    renewals = np.minimum(rng.geometric(share), 400)
    non_renewal = months_on(world, start, renewals * business.term_months) - 1
    every = np.stack([voluntary, non_renewal, payment])
    end = every.min(axis=0)
    seen = np.minimum(end, world.days - 1)
    terms = np.ones(len(at), dtype=np.int64)
    for k in range(1, 200):
        begun = months_on(world, start, k * business.term_months) <= seen
        if not begun.any():
            break
        terms += begun
    return Contracts(
        opportunity=at,
        customer=customer,
        start_day=start,
        end_day=end,
        cause=every.argmin(axis=0),
        monthly_minor=(pipeline.seats * pipeline.seat_minor)[at],
        seats=pipeline.seats[at],
        terms=terms,
    )


def contracts_table(world: World, people: People, contracts: Contracts) -> pa.Table:
    """Contracts with end and reason where they ended in the history."""
    business = world.firm
    is_over = contracts.end_day < world.days
    end = dates(world, np.minimum(contracts.end_day, world.days))
    end[~is_over] = np.datetime64("NaT")
    term_end = months_on(world, contracts.start_day, contracts.terms * business.term_months) - 1
    return canonical(
        "contracts",
        {
            "contract_id": contract_ids(contracts),
            "customer_id": people.ids.take(pa.array(contracts.customer)),
            "opportunity_id": numbered("OP-", contracts.opportunity + 1, 6),
            "start_date": dates(world, contracts.start_day),
            "term_end_date": dates(world, term_end),
            "end_date": end,
            "end_reason": take(CAUSES, np.where(is_over, contracts.cause, -1)),
            "monthly_amount": contracts.monthly_minor,
            "currency": world.currency,
            "seats": contracts.seats,
            "plan": take(business.plans, people.segment[contracts.customer]),
        },
        exponent=world.exponent,
    )


def contract_ids(contracts: Contracts) -> pa.Array:
    """Identifiers in the order of the contracts."""
    return numbered("K-", np.arange(len(contracts.start_day)) + 1, 6)


def payments_tables(
    world: World, seed: int, people: People, contracts: Contracts
) -> dict[str, pa.Table]:
    """Monthly payments, and the paid ones as order lines of the plan.

    Two failed payments stand before each end by payment. A payment not yet made by the end
    of the history is late without a day if it is overdue, and absent otherwise.
    """
    business = world.firm
    rng = stream(seed, world.id, "payments")
    last = np.minimum(contracts.end_day, world.days - 1)
    of, number, months, due = _schedule(world, contracts)
    is_failing = (contracts.cause[of] == 2) & (contracts.end_day[of] < world.days)
    is_failed = is_failing & (number >= months[of] - 2)
    is_late = ~is_failed & (rng.random(len(of)) < business.late_share)
    delay = np.where(is_late, rng.integers(6, 41, len(of)), rng.integers(0, 6, len(of)))
    paid = due + delay
    is_unpaid = is_failed | (paid >= world.days)
    keep = (due <= last[of]) & ~(is_unpaid & ~is_failed & ~is_late)
    of, due, paid, is_failed, is_late, is_unpaid = (
        column[keep] for column in (of, due, paid, is_failed, is_late, is_unpaid)
    )
    paid_dates = dates(world, paid)
    paid_dates[is_unpaid] = np.datetime64("NaT")
    who = contracts.customer[of]
    payments = canonical(
        "payments",
        {
            "payment_id": numbered("PAY-", np.arange(len(of)) + 1, 7),
            "contract_id": contract_ids(contracts).take(pa.array(of)),
            "customer_id": people.ids.take(pa.array(who)),
            "due_date": dates(world, due),
            "paid_date": paid_dates,
            "amount": contracts.monthly_minor[of],
            "currency": world.currency,
            "status": take(("paid", "late", "failed"), np.where(is_failed, 2, is_late)),
        },
        exponent=world.exponent,
    )
    at = np.flatnonzero(~is_unpaid)
    moments = at_hours(world, rng, paid[at], np.zeros(len(at), dtype=int), ("office",))
    transactions = canonical(
        "transactions",
        {
            "order_id": numbered("INV-", at + 1, 7),
            "line_id": "1",
            "customer_id": people.ids.take(pa.array(who[at])),
            "ordered_at": moments.utc,
            "ordered_local": moments.local,
            "product_id": numbered("PLAN-", people.segment[who[at]] + 1, 1),
            "store_id": "online",
            "channel": "invoice",
            "quantity": contracts.seats[of[at]].astype(float),
            "amount": contracts.monthly_minor[of[at]],
            "discount_amount": np.zeros(len(at), dtype=np.int64),
            "coupon_amount": np.zeros(len(at), dtype=np.int64),
            "currency": world.currency,
        },
        exponent=world.exponent,
    )
    return {"payments": payments, "transactions": transactions}


def _schedule(world: World, contracts: Contracts) -> tuple[Array, Array, Array, Array]:
    """Payments due: contract, number within it, how many it has, and day."""
    last = np.minimum(contracts.end_day, world.days - 1)
    months = np.maximum(1, np.ceil((last - contracts.start_day + 1) / MONTH_DAYS)).astype(np.int64)
    of = np.repeat(np.arange(len(months)), months)
    number = np.arange(len(of)) - np.repeat(np.cumsum(months) - months, months)
    return of, number, months, months_on(world, contracts.start_day[of], number)


def due_days(world: World, contracts: Contracts) -> tuple[Array, Array]:
    """Customer and day of every payment due in the history."""
    of, _, _, due = _schedule(world, contracts)
    last = np.minimum(contracts.end_day, world.days - 1)
    is_due = due <= last[of]
    return contracts.customer[of[is_due]], due[is_due]


def plans_table(world: World) -> pa.Table:
    """The plans as products."""
    plans = world.firm.plans
    return canonical(
        "products",
        {
            "product_id": numbered("PLAN-", np.arange(len(plans)) + 1, 1),
            "department": "Subscriptions",
            "category": list(plans),
            "product_type": [f"{plan} plan, seat and month" for plan in plans],
            "global_category": "software.subscription",
            "price_tier": ["value", "core", "premium"],
        },
    )


def hazards_truth(world: World) -> dict[str, list[object]]:
    """True hazards, non-renewal shares, chance to win a deal and months in force by segment."""
    business = world.firm
    win_share = float(np.prod([stage.conversion for stage in business.stages]))
    rows = [
        (
            segment.name,
            business.voluntary_per_month * factor,
            business.payment_per_month * factor,
            business.non_renewal_share * factor,
            win_share,
            expected_months(world, number),
        )
        for number, (segment, factor) in enumerate(
            zip(world.segments, business.hazard_factors, strict=True)
        )
    ]
    names = (
        "segment",
        "voluntary_per_month",
        "payment_per_month",
        "non_renewal_share",
        "win_share",
        "expected_months",
    )
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}


def incidence(world: World, segment: int, *, months: int) -> Array:
    """True cumulative incidence by cause, from the hazards alone.

    Returns:
        Shares of contracts ended by each of `CAUSES` within 0 … `months` months: months + 1
        rows. Non-renewals count at the end of the term.
    """
    business = world.firm
    factor = business.hazard_factors[segment]
    payment = business.payment_per_month * factor
    ended = np.zeros((months + 1, len(CAUSES)))
    in_force = 1.0
    for month in range(1, months + 1):
        late = business.late_factors[segment] if month > 12 else 1.0
        voluntary = business.voluntary_per_month * factor * late
        left = in_force * -np.expm1(-(voluntary + payment))
        both = max(voluntary + payment, 1e-300)
        in_force -= left
        lapsed = in_force * business.non_renewal_share * factor
        lapsed *= month % business.term_months == 0
        in_force -= lapsed
        ended[month] = ended[month - 1] + (left * voluntary / both, lapsed, left * payment / both)
    return ended


def expected_months(
    world: World, segment: int, *, horizon_months: int = 600, annual_discount_rate: float = 0.0
) -> float:
    """True mean months in force of a contract, each discounted from its middle."""
    in_force = 1 - incidence(world, segment, months=horizon_months).sum(axis=1)
    middle = (np.arange(horizon_months) + 0.5) / 12
    # Within a month only the constant hazards act; a lapse falls on its last day.
    business = world.firm
    late = np.where(np.arange(horizon_months) >= 12, business.late_factors[segment], 1.0)
    hazard = business.hazard_factors[segment] * (
        business.voluntary_per_month * late + business.payment_per_month
    )
    within = np.where(hazard > 0, -np.expm1(-hazard) / np.maximum(hazard, 1e-300), 1.0)
    return float((in_force[:-1] * within / (1 + annual_discount_rate) ** middle).sum())


def incidence_truth(world: World, *, months: int = 36) -> dict[str, list[object]]:
    """True cumulative incidences of every segment, month and cause."""
    rows = [
        (segment.name, month, cause, float(table[month, column]))
        for number, segment in enumerate(world.segments)
        for table in [incidence(world, number, months=months)]
        for month in range(months + 1)
        for column, cause in enumerate(CAUSES)
    ]
    names = ("segment", "month", "cause", "incidence_share")
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}


def contracts_truth(people: People, contracts: Contracts) -> dict[str, object]:
    """When and why each contract ends, also past the end of the history."""
    return {
        "contract_id": contract_ids(contracts),
        "customer_id": people.ids.take(pa.array(contracts.customer)),
        "days_to_end": contracts.end_day - contracts.start_day,
        "cause": take(CAUSES, contracts.cause),
    }


def active_days(world: World, people: People, contracts: Contracts) -> tuple[Array, Array]:
    """First and last day of service per account; an empty span without a contract."""
    first = np.full(len(people), _NEVER)
    last = np.full(len(people), -1)
    np.minimum.at(first, contracts.customer, contracts.start_day)
    np.maximum.at(last, contracts.customer, contracts.end_day)
    return np.minimum(first, world.days), last
