"""Whole markets: the contract, the same bytes again, streams of their own, files."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from insight_demo import (
    WORLDS,
    SimulatedMarket,
    columns,
    products,
    simulate_market,
    simulate_to,
    stream_transactions,
)
from insight_demo.worlds import Campaign
from insight_lib.schema import TABLES, Type
from insight_lib.simulation import NoSimulator, refresh_simulation
from tests.demo.conftest import truth

ARROW = {
    Type.TEXT: pa.string(),
    Type.INTEGER: pa.int64(),
    Type.NUMBER: pa.float64(),
    Type.MONEY: pa.decimal128(18, 4),
    Type.BOOLEAN: pa.bool_(),
    Type.DATE: pa.date32(),
    Type.INSTANT: pa.timestamp("us", tz="UTC"),
    Type.LOCAL: pa.timestamp("us"),
}
SHOP = set(TABLES) - {"contracts", "opportunities", "payments"}
FIRM = set(TABLES) - {
    "assignments", "attributes", "availability", "campaigns", "coupons", "inventory", "prices",
    "responses",
}  # fmt: skip


def test_a_market_has_its_tables(market: SimulatedMarket) -> None:
    assert set(market.tables) == (FIRM if market.world.business else SHOP)
    assert all(table.num_rows for table in market.tables.values())


def test_every_canonical_table_is_simulated_somewhere() -> None:
    assert set(TABLES) == SHOP | FIRM


def test_columns_and_types_are_the_schema_s(market: SimulatedMarket) -> None:
    for name, table in market.tables.items():
        expected = [(c.name, ARROW[c.type]) for c in TABLES[name].columns]
        assert [(field.name, field.type) for field in table.schema] == expected, name


def test_rows_keep_the_contract(market: SimulatedMarket) -> None:
    for name, table in market.tables.items():
        for column in TABLES[name].columns:
            values = table[column.name]
            where = f"{name}.{column.name}"
            assert not (column.required and values.null_count), where
            if column.allowed:
                assert set(values.drop_null().unique().to_pylist()) <= set(column.allowed), where
            if column.minimum is not None and values.null_count < len(values):
                assert float(pc.min(values).as_py()) >= column.minimum, where
            if column.maximum is not None and values.null_count < len(values):
                assert float(pc.max(values).as_py()) <= column.maximum, where


def test_keys_are_unique_but_for_the_planted_copies(market: SimulatedMarket) -> None:
    for name, table in market.tables.items():
        keys = table.group_by(list(TABLES[name].key)).aggregate([])
        planted = market.scalars.get(f"{name}_duplicates", 0)
        assert table.num_rows - keys.num_rows == planted, name
        whole = table.group_by(table.column_names).aggregate([])
        assert whole.num_rows == keys.num_rows, f"{name}: a copy differs from its original"
    n = market.tables["transactions"].num_rows
    share = market.world.faults.duplicate_share
    expected = n * share
    planted = market.scalars["transactions_duplicates"]
    assert abs(planted - expected) < 5 * np.sqrt(expected) + 1


def test_customers_referred_to_exist(market: SimulatedMarket) -> None:
    known = set(market.tables["customers"]["customer_id"].to_pylist())
    for name, table in market.tables.items():
        if TABLES[name].customer:
            assert set(table["customer_id"].drop_null().unique().to_pylist()) <= known, name


def test_nothing_happens_after_the_end(market: SimulatedMarket) -> None:
    end = market.world.end
    local = market.tables["transactions"]["ordered_local"]
    assert pc.min(local).as_py().date() >= market.world.start
    assert pc.max(local).as_py().date() <= end
    for name in ("interactions", "transcripts", "feedback", "consents", "crm_flags"):
        last = pc.max(market.tables[name][TABLES[name].time]).as_py().date()
        assert last <= end + timedelta(days=1), name


def test_the_truth_is_no_table(market: SimulatedMarket) -> None:
    customers = truth(market, "customers")
    assert len(customers) == market.world.n_customers
    shares = customers.segment.value_counts(normalize=True)
    for segment in market.world.segments:
        bound = 4 * np.sqrt(segment.share * (1 - segment.share) / len(customers))
        assert shares[segment.name] == pytest.approx(segment.share, abs=bound)
    for table in market.tables.values():
        assert "segment" not in table.column_names


def test_same_seed_same_bytes_other_seed_other_market(tmp_path: Path) -> None:
    for run in ("a", "b"):
        simulate_to(tmp_path / run, "ke-fashion", 3)
    simulate_to(tmp_path / "c", "ke-fashion", 4)
    names = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.*"))
    assert {str(n.parent) for n in names} == {".", "truth"}
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    one, other = (tmp_path / run / "transactions.parquet" for run in ("a", "c"))
    assert one.read_bytes() != other.read_bytes()


def test_files_hold_the_market(tmp_path: Path) -> None:
    simulate_to(tmp_path, "us-saas", 3, n_customers=200)
    again = simulate_market(WORLDS["us-saas"], seed=3, n_customers=200)
    assert {p.stem for p in tmp_path.glob("*.parquet")} == set(again.tables)
    for name, table in again.tables.items():
        assert pa.parquet.read_table(tmp_path / f"{name}.parquet").equals(table), name
    scalars = json.loads((tmp_path / "truth" / "scalars.json").read_text())
    assert scalars["world"]["business"]["non_renewal_share"] == 0.14
    assert scalars["n_customers"] == 200


def test_an_unknown_market_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="there are de-fashion"):
        simulate_to(tmp_path, "fr-fashion", 1)


def test_no_customers_is_an_error() -> None:
    with pytest.raises(ValueError, match="n_customers is 0"):
        simulate_market(WORLDS["de-fashion"], seed=1, n_customers=0)


@pytest.mark.parametrize("chunk_customers", [1, 10_000, 20_000])
def test_the_stream_is_the_market_whatever_the_chunk(chunk_customers: int) -> None:
    world = replace(
        WORLDS["ke-fashion"], faults=replace(WORLDS["ke-fashion"].faults, duplicate_share=0)
    )
    whole = simulate_market(world, seed=5, n_customers=21_000).tables["transactions"]
    batches = list(
        stream_transactions(world, seed=5, n_customers=21_000, chunk_customers=chunk_customers)
    )
    assert len(batches) == (2 if chunk_customers == 20_000 else 3)
    keys = ["ordered_at", "order_id", "line_id"]
    streamed = pa.Table.from_batches(batches).sort_by([(key, "ascending") for key in keys])
    assert streamed.equals(whole.combine_chunks())


def test_a_larger_market_begins_with_the_same_people() -> None:
    few, many = (
        truth(simulate_market(WORLDS["ke-fashion"], seed=1, n_customers=n), "customers")
        for n in (100, 300)
    )
    latent = ["customer_id", "segment", "rate_per_week", "dropout_share", "order_value_mean"]
    assert few[latent].equals(many[latent].head(100))


def changed_tables(market: SimulatedMarket, **changes: object) -> set[str]:
    other = simulate_market(replace(market.world, **changes), seed=market.seed)
    return {name for name, table in market.tables.items() if not table.equals(other.tables[name])}


def test_a_change_of_one_stream_moves_no_other(germany: SimulatedMarket) -> None:
    faults = germany.world.faults
    assert changed_tables(germany, faults=replace(faults, typo_share=0.3)) == {"identities"}
    assert changed_tables(germany, faults=replace(faults, crm_noise=0.4)) == {"crm_flags"}
    assert changed_tables(germany, faults=replace(faults, income_missing_top=0.9)) == {"customers"}
    assert changed_tables(germany, survey_response=(0.5,) * 5) == {"surveys"}
    assert changed_tables(germany, providers=germany.world.providers[:1]) == {"provider_log"}


def test_one_campaign_more_leaves_the_others_as_they_were(germany: SimulatedMarket) -> None:
    retail = germany.world.retail
    assert retail is not None
    more = Campaign(
        name="late", campaign_type="newsletter", channel="email", start=retail.campaigns[-1].start
    )
    world = replace(germany.world, retail=replace(retail, campaigns=(*retail.campaigns, more)))
    other = simulate_market(world, seed=germany.seed)
    before = germany.tables["assignments"]
    assert other.tables["assignments"].slice(0, before.num_rows).equals(before)


def test_no_two_places_draw_from_the_same_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shared stream would tie two tables together without either looking wrong."""
    places: dict[tuple[object, ...], set[str]] = {}

    def recorded(seed: int, *names: str | int) -> np.random.Generator:
        caller = sys._getframe(1)
        place = f"{caller.f_globals['__name__']}.{caller.f_code.co_name}"
        if caller.f_code.co_name == "simulate_market":
            place += f":{caller.f_lineno}"
        places.setdefault(names, set()).add(place)
        return columns.stream(seed, *names)

    modules = ("business", "campaigns", "clock", "market", "people", "products", "purchases")
    for module in (*modules, "reference", "signals", "text", "trust"):
        monkeypatch.setattr(f"insight_demo.{module}.stream", recorded, raising=False)
    products.draw_catalogue.cache_clear()
    for name in WORLDS:
        simulate_market(WORLDS[name], seed=1, n_customers=40)
    assert len(places) > 60
    assert {names: where for names, where in places.items() if len(where) > 1} == {}


def test_a_simulated_market_is_made_once_and_a_world_that_is_not_there_is_said(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "ke-fashion"
    given = {"seed": 1, "n_customers": 40}
    assert refresh_simulation(folder, "ke-fashion", **given)
    assert (folder / "transactions.parquet").is_file()
    assert not refresh_simulation(folder, "ke-fashion", **given)
    assert refresh_simulation(folder, "ke-fashion", **given | {"seed": 2})
    with pytest.raises(NoSimulator, match="de-fashion"):
        refresh_simulation(tmp_path / "xx", "xx-fashion", **given)
