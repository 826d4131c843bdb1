"""Logs of the trade, texts, and the world around a market."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from insight_demo import WORLDS, SimulatedMarket, simulate_market
from tests.demo.conftest import frame, truth


def test_providers_deliver_as_planted(germany: SimulatedMarket) -> None:
    log = frame(germany, "provider_log")
    for provider in germany.world.providers:
        rows = log[log.provider == provider.name]
        hours = (rows.delivered_at - rows.covers_to).dt.total_seconds() / 3600
        spread = provider.latency_hours / np.sqrt(provider.latency_shape * len(rows))
        assert hours.mean() == pytest.approx(provider.latency_hours, abs=4 * spread)
        n = rows.records.sum()
        for column, share in (
            ("matched_records", provider.coverage),
            ("revised_records", provider.revision_share),
        ):
            assert rows[column].sum() / n == pytest.approx(share, abs=4 * np.sqrt(share / n))


def test_one_unit_opens_and_never_acts(market: SimulatedMarket) -> None:
    log = frame(market, "adoption")
    acted = log.groupby(["business_unit", "action"]).size().unstack(fill_value=0)
    assert list(acted.index[acted.acted == 0]) == [market.scalars["unit_without_actions"]]
    assert (acted.opened > 50).all()


def test_the_new_topic_emerges_in_its_week(market: SimulatedMarket) -> None:
    rows = frame(market, "transcripts").merge(truth(market, "transcripts"), on="document_id")
    emerging = rows.topic == market.scalars["emerging_topic"]
    local = rows.occurred_at.dt.tz_convert(market.world.zone).dt.date
    start = market.scalars["emerging_from"]
    assert not emerging[local < start].any()
    late = local >= start
    n = late.sum()
    assert emerging[late].mean() == pytest.approx(0.25 * 0.96, abs=4 * np.sqrt(0.19 / n))


def test_the_planted_person_is_in_the_documents_named_and_no_other(market: SimulatedMarket) -> None:
    rows = frame(market, "transcripts").merge(truth(market, "transcripts"), on="document_id")
    for secret in (market.scalars["planted_name"], market.scalars["planted_phone"]):
        assert (rows.body.str.contains(secret, regex=False) == rows.holds_planted_person).all()
    assert rows.holds_planted_person.sum() == 5
    assert (rows.language.isna() == rows.is_unknown_language).all()
    assert rows.is_unknown_language.any()


def test_rates_are_one_walk_for_all_markets_of_a_seed() -> None:
    rates = [
        frame(simulate_market(WORLDS[name], seed=9, n_customers=50), "fx_rates").set_index(
            ["rate_date", "base_currency", "quote_currency"]
        )
        for name in ("de-fashion", "ke-fashion")
    ]
    both = rates[0].join(rates[1], suffixes=("", "_other"), how="inner")
    assert len(both) == len(rates[1])
    assert (both.rate == both.rate_other).all()


def test_rates_are_consistent_and_rest_at_weekends(germany: SimulatedMarket) -> None:
    rows = frame(germany, "fx_rates")
    wide = rows.pivot_table(
        index="rate_date", columns=["base_currency", "quote_currency"], values="rate"
    )
    assert (wide["EUR", "JPY"] / wide["EUR", "USD"]).to_numpy() == pytest.approx(
        wide["USD", "JPY"].to_numpy(), rel=1e-5
    )
    weekday = pd.DatetimeIndex(wide.index).day_of_week
    steps = wide["EUR", "USD"].diff()
    assert (steps[weekday >= 5].dropna() == 0).all()
    assert (steps[weekday < 5].dropna() != 0).mean() > 0.95


def test_calendars_know_the_country(market: SimulatedMarket) -> None:
    rows = frame(market, "calendar")
    assert {"holiday", "school", "harvest", "payday"} <= set(rows.event_type)
    holidays = rows[rows.event_type == "holiday"].set_index("calendar_date").event
    expected = {"DE": "10-03", "BR": "09-07", "JP": "05-03", "KE": "12-12", "US": "07-04"}
    days = {day.strftime("%m-%d") for day in holidays.index}
    assert expected[market.world.country] in days
    assert rows.calendar_date.max() > market.world.end


def test_population_margins_add_up(market: SimulatedMarket) -> None:
    totals = frame(market, "population").groupby("variable").people.sum()
    assert (totals / market.world.population_people).to_numpy() == pytest.approx(1, abs=1e-6)
