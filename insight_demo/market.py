"""A whole simulated market: canonical tables, the truth beside them, and their files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from insight_demo import business as firm
from insight_demo import campaigns, products, purchases, reference, signals, text, trust
from insight_demo.clock import dates, intensity, leading_series, rhythm
from insight_demo.columns import Array, stream, take
from insight_demo.markets import WORLDS
from insight_demo.people import (
    GENDERS,
    People,
    approval_shares,
    attributes_table,
    customers_table,
    draw_people,
)
from insight_demo.worlds import World

BLOCK = 10_000  # customers drawn together; whatever the chunk, the numbers are the same
TRUTH_FOLDER = "truth"


@dataclass(frozen=True)
class SimulatedMarket:
    """A market and what is true of it.

    Attributes:
        tables: Canonical tables by name, every column of the schema.
        truth: Frames by name, never to be ingested.
        scalars: Single true values: the world's parameters, dates, shares, counts.
    """

    world: World
    seed: int
    tables: Mapping[str, pa.Table]
    truth: Mapping[str, pa.Table]
    scalars: Mapping[str, Any]


def simulate_market(world: World, *, seed: int, n_customers: int | None = None) -> SimulatedMarket:
    """Simulate a market; the same world, seed and size give the same bytes.

    Args:
        world: What is true.
        seed: Seed of every stream; each table has its own, keyed by its name.
        n_customers: Customers, if not as many as the world says.

    Raises:
        ValueError: Fewer than one customer, or neither a shop nor contracts.
    """
    n = world.n_customers if n_customers is None else n_customers
    if n < 1:
        raise ValueError(f"n_customers is {n}; ask for at least 1")
    tables: dict[str, pa.Table] = {}
    truth: dict[str, Any] = {}
    scalars: dict[str, Any] = {"world": asdict(world), "seed": seed, "n_customers": n}
    if world.retail is not None:
        people, activity, orders = _shop(world, seed, n, tables, truth, scalars)
    elif world.business is not None:
        people, activity, orders = _firm(world, seed, n, tables, truth, scalars)
    else:
        raise ValueError(f"market {world.id!r} has neither a shop nor contracts")
    tables["customers"], complete = customers_table(world, seed, people)
    truth |= complete
    tables["interactions"], is_late = signals.interactions_table(world, seed, people, activity)
    tables["consents"], truth["consents"] = trust.consents_table(world, seed, people)
    tables["identities"], truth["identities"] = trust.identities_table(world, seed, people)
    tables["surveys"], truth["survey_answers"] = signals.surveys_table(world, seed, people)
    tables["crm_flags"], truth["crm_flags"] = signals.crm_table(world, seed, people, *orders)
    tables["feedback"], truth["feedback"] = signals.feedback_table(world, seed, people)
    tables["transcripts"], truth["transcripts"] = text.transcripts_table(world, seed, people)
    tables["provider_log"] = signals.provider_table(world, seed)
    tables["adoption"] = signals.adoption_table(world, seed)
    tables["population"] = reference.population_table(world)
    tables["fx_rates"] = reference.fx_table(world, seed)
    tables["calendar"] = reference.calendar_table(world)
    for name in ("transactions", "interactions"):
        tables[name], scalars[f"{name}_duplicates"] = _with_duplicates(
            tables[name], stream(seed, world.id, "duplicates", name), world.faults.duplicate_share
        )
    scalars["interactions_late"] = int(is_late.sum())
    scalars |= _common_scalars(world)
    frames = {k: v if isinstance(v, pa.Table) else pa.table(v) for k, v in sorted(truth.items())}
    return SimulatedMarket(
        world=world,
        seed=seed,
        tables=MappingProxyType(dict(sorted(tables.items()))),
        truth=MappingProxyType(frames),
        scalars=MappingProxyType(scalars),
    )


def stream_transactions(
    world: World, *, seed: int, n_customers: int, chunk_customers: int = BLOCK
) -> Iterator[pa.RecordBatch]:
    """The order lines of a shop, about `chunk_customers` customers at a time.

    The lines are those of `simulate_market`, without the planted duplicates: chunks only
    group blocks of customers that are drawn alike. Memory is bounded by the chunk.
    """
    blocks_per_chunk = max(1, chunk_customers // BLOCK)
    held: list[pa.Table] = []
    for block in _blocks(world, seed, n_customers):
        held.append(purchases.by_time(block.lines.table))
        if len(held) == blocks_per_chunk:
            yield from pa.concat_tables(held).combine_chunks().to_batches()
            held = []
    if held:
        yield from pa.concat_tables(held).combine_chunks().to_batches()


@dataclass(frozen=True)
class _Block:
    people: People
    process: purchases.Process
    orders: purchases.Orders  # of the history, campaigns' orders included
    assigned: campaigns.Assigned
    lines: purchases.Lines


def _blocks(world: World, seed: int, n: int) -> Iterator[_Block]:
    catalogue = products.draw_catalogue(world, seed)
    levels = intensity(world, seed)
    for number, first in enumerate(range(0, n, BLOCK)):
        # A whole block always, so that the first customers are the same whatever the size.
        people = draw_people(world, seed, block=number, first=first, count=BLOCK)
        people = _first_customers(people, n - first)
        process = purchases.draw_process(world, seed, people, levels, block=number)
        own = purchases.until(process.orders, world.days)
        assigned, extra = campaigns.draw_assignments(world, seed, people, own, block=number)
        orders = purchases.with_extra(own, extra)
        lines = purchases.draw_lines(world, seed, people, orders, catalogue, block=number)
        yield _Block(people, process, orders, assigned, lines)


def _first_customers(people: People, n: int) -> People:
    if n >= len(people):
        return people
    return People(**{k: v[:n] for k, v in vars(people).items()})


def _joined(parts: list[People]) -> People:
    if len(parts) == 1:
        return parts[0]
    columns = {}
    for name in vars(parts[0]):
        values = [getattr(part, name) for part in parts]
        columns[name] = pa.concat_arrays(values) if name == "ids" else np.concatenate(values)
    return People(**columns)


def _shop(
    world: World,
    seed: int,
    n: int,
    tables: dict[str, pa.Table],
    truth: dict[str, Any],
    scalars: dict[str, Any],
) -> tuple[People, signals.Activity, tuple[Array, Array]]:
    blocks = list(_blocks(world, seed, n))
    people = _joined([block.people for block in blocks])
    catalogue = products.draw_catalogue(world, seed)
    tables["transactions"] = purchases.by_time(
        pa.concat_tables([block.lines.table for block in blocks]).combine_chunks()
    )
    tables["products"] = products.products_table(world, catalogue)
    tables["prices"] = products.prices_table(world, seed, catalogue)
    tables |= products.stock_tables(world, seed, catalogue)
    tables["attributes"] = attributes_table(people)
    truth["approvals"] = {
        "customer_id": people.ids,
        "gender": take(GENDERS, people.gender),
        "merit": people.merit,
        "approval_share": approval_shares(world, people),
    }
    if world.shop.campaigns:
        tables["campaigns"] = campaigns.campaigns_table(world)
        tables["coupons"] = campaigns.coupons_table(world, catalogue)
        assignments, responses, extras = [], [], []
        for number, block in enumerate(blocks):
            table = campaigns.assignments_table(world, block.people, block.assigned)
            assignments.append(table)
            extras.append(
                table.select(["campaign_id", "customer_id", "arm"])
                .append_column("caused_order", pa.array(block.assigned.has_extra))
                .append_column("visited", pa.array(block.assigned.has_visit))
            )
            responses.append(
                campaigns.responses_table(
                    world,
                    seed,
                    block.people,
                    block.assigned,
                    block.orders,
                    block.lines,
                    block=number,
                )
            )
        tables["assignments"] = pa.concat_tables(assignments).combine_chunks()
        tables["responses"] = pa.concat_tables(responses).combine_chunks()
        truth["assignments"] = pa.concat_tables(extras).combine_chunks()
        truth["campaign_effects"] = campaigns.effects_truth(world)
    truth["customers"] = _customers_truth(world, people, blocks)
    truth["products"] = _products_truth(world, catalogue)
    truth["rhythm"] = _rhythm_truth(world, seed)
    truth["excluded_groups"] = signals.excluded_truth(world)
    truth["returns"] = {
        "department": [d.name for d in world.shop.departments],
        "return_share": [d.return_share for d in world.shop.departments],
        "lines_sold": sum(block.lines.n_sold for block in blocks),
        "lines_returned": sum(block.lines.n_returned for block in blocks),
    }
    stopped = np.concatenate([block.process.stopped_day for block in blocks])
    offsets = np.arange(len(blocks)) * BLOCK
    customer = np.concatenate(
        [b.orders.customer + offset for b, offset in zip(blocks, offsets, strict=True)]
    )
    day = np.concatenate([block.orders.day for block in blocks])
    scalars["orders"] = len(day)
    return people, signals.Activity(people.first_day, stopped), (customer, day)


def _customers_truth(world: World, people: People, blocks: list[_Block]) -> dict[str, Any]:
    """Latent parameters per customer, whether still active, and the orders of the year after."""
    stopped = np.concatenate([block.process.stopped_day for block in blocks])
    future = []
    for block in blocks:
        orders = block.process.orders
        late = orders.customer[orders.day >= world.days]
        future.append(np.bincount(late, minlength=len(block.people)))
    is_alive = stopped >= world.days
    stop_dates = dates(world, np.where(is_alive, 0, stopped))
    stop_dates[is_alive] = np.datetime64("NaT")
    return {
        "customer_id": people.ids,
        "segment": take([s.name for s in world.segments], people.segment),
        "rate_per_week": people.rate_per_week,
        "dropout_share": people.dropout,
        "order_value_mean": world.shop.buying.spend_p / people.spend_rate,
        "value_z": people.value_z,
        "is_alive": is_alive,
        "stopped_date": stop_dates,
        "future_orders": np.concatenate(future),
    }


def _products_truth(world: World, catalogue: products.Catalogue) -> dict[str, Any]:
    n = len(catalogue.tier)
    pricing = world.shop.pricing
    return {
        "product_id": catalogue.ids,
        "own_elasticity": catalogue.own_elasticity,
        "substitute_id": take(catalogue.ids, catalogue.substitute),
        "cross_elasticity": np.where(catalogue.substitute >= 0, pricing.cross, 0.0),
        "competitor_elasticity": np.full(n, pricing.competitor),
        "display_effect": np.full(n, pricing.display),
        "mailer_effect": np.full(n, pricing.mailer),
        "base_weight": catalogue.base_weight,
    }


def _rhythm_truth(world: World, seed: int) -> dict[str, Any]:
    """By day: the season's factor, and the latent series that drives us (standardised)."""
    lead = world.shop.lead_weeks
    weeks = np.arange(world.days) // 7
    series = leading_series(world, seed, int(weeks[-1]) + 1 + lead)
    return {
        "date": dates(world, np.arange(world.days)),
        "factor": rhythm(world, world.days),
        "driver": series[weeks],
        "competitor_signal": series[weeks + lead],
    }


def _firm(
    world: World,
    seed: int,
    n: int,
    tables: dict[str, pa.Table],
    truth: dict[str, Any],
    scalars: dict[str, Any],
) -> tuple[People, signals.Activity, tuple[Array, Array]]:
    people = draw_people(world, seed, block=0, first=0, count=n)
    pipeline = firm.draw_pipeline(world, seed, people)
    contracts = firm.draw_contracts(world, seed, people, pipeline)
    tables["opportunities"] = firm.opportunities_table(world, people, pipeline)
    tables["contracts"] = firm.contracts_table(world, people, contracts)
    tables |= firm.payments_tables(world, seed, people, contracts)
    invoiced = firm.due_days(world, contracts)
    tables["transactions"] = purchases.by_time(tables["transactions"])
    tables["products"] = firm.plans_table(world)
    truth["hazards"] = firm.hazards_truth(world)
    truth["incidence"] = firm.incidence_truth(world)
    truth["contracts"] = firm.contracts_truth(people, contracts)
    truth["pipeline"] = pa.Table.from_pylist([asdict(stage) for stage in world.firm.stages])
    first, last = firm.active_days(world, people, contracts)
    truth["customers"] = {
        "customer_id": people.ids,
        "segment": take([s.name for s in world.segments], people.segment),
        "value_z": people.value_z,
        "is_alive": last >= world.days,
    }
    scalars["contracts"] = len(contracts.start_day)
    return people, signals.Activity(first, last + 1), invoiced


def _with_duplicates(
    table: pa.Table, rng: np.random.Generator, share: float
) -> tuple[pa.Table, int]:
    """The table with exact copies of some rows right behind them, and how many."""
    copies = np.where(rng.random(len(table)) < share, 2, 1)
    rows = np.repeat(np.arange(len(table)), copies)
    return (table.take(pa.array(rows)) if share else table), int(copies.sum() - len(table))


def _common_scalars(world: World) -> dict[str, Any]:
    retail = world.retail
    name, phone, _ = text.PLANTED[world.country]
    found: dict[str, Any] = {
        "emerging_topic": text.topic_names(world)[-1],
        "emerging_from": dates(world, np.array([world.days - 7 * text.EMERGING_WEEKS]))[0].item(),
        "planted_name": name,
        "planted_phone": phone,
        "misclassifying_rule": f"acquisition_channel = {signals.MISCLASSIFYING_CHANNEL}",
        "unit_without_actions": next(unit for unit, _, _, acted in signals.ADOPTION if not acted),
        "consent_wording_changed": trust.WORDING_CHANGED,
        "voice_slope": signals.VOICE_SLOPE,
    }
    if retail is not None:
        found |= {
            "approval_gap": world.approval_gap,
            "noise_columns": ["home_ownership", "marital_status"],
            "drift_date": retail.drift_date,
            "concept_date": retail.concept_date,
            "lead_weeks": retail.lead_weeks,
        }
    return found


def write_market(simulated: SimulatedMarket, folder: Path) -> None:
    """Write one Parquet file per table, and the truth into a folder of its own beside them.

    The bytes depend on the market alone. Files are written beside and renamed.
    """
    frames = [(folder / f"{name}.parquet", table) for name, table in simulated.tables.items()]
    frames += [
        (folder / TRUTH_FOLDER / f"{name}.parquet", table)
        for name, table in simulated.truth.items()
    ]
    (folder / TRUTH_FOLDER).mkdir(parents=True, exist_ok=True)
    for path, table in frames:
        beside = path.with_suffix(".part")
        pq.write_table(table, beside, compression="zstd")
        beside.replace(path)
    beside = folder / TRUTH_FOLDER / "scalars.part"
    beside.write_text(
        json.dumps(dict(simulated.scalars), indent=1, sort_keys=True, default=_as_text) + "\n",
        encoding="utf-8",
    )
    beside.replace(beside.with_suffix(".json"))


def _as_text(value: object) -> str:
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"a truth of type {type(value).__name__} cannot be written as JSON")


def simulate_to(folder: Path, market_id: str, seed: int, *, n_customers: int | None = None) -> None:
    """Simulate a shipped market into a folder.

    Raises:
        KeyError: No such market; the message names those there are.
    """
    if market_id not in WORLDS:
        raise KeyError(f"no simulated market {market_id!r}; there are {', '.join(WORLDS)}")
    write_market(simulate_market(WORLDS[market_id], seed=seed, n_customers=n_customers), folder)
