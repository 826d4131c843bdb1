from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest

from insight_demo import WORLDS, SimulatedMarket, quiet, simulate_market
from insight_demo.clock import intensity, rhythm, to_utc, wave
from tests.demo.conftest import frame

BERLIN = WORLDS["de-fashion"]


def moments(*texts: str) -> np.ndarray:
    return np.array(texts, dtype="datetime64[us]")


def test_the_hour_that_spring_skips_moves_on() -> None:
    found = to_utc(
        BERLIN, moments("2024-03-31T01:59:00", "2024-03-31T02:30:00"), np.array([1, 1]) > 0
    )
    assert found.local.tolist() == moments("2024-03-31T01:59:00", "2024-03-31T03:00:00").tolist()
    assert found.utc.tolist() == moments("2024-03-31T00:59:00", "2024-03-31T01:00:00").tolist()


def test_the_hour_that_autumn_repeats_is_either() -> None:
    twice = moments("2024-10-27T02:30:00", "2024-10-27T02:30:00")
    found = to_utc(BERLIN, twice, np.array([True, False]))
    assert found.local.tolist() == twice.tolist()
    assert found.utc.tolist() == moments("2024-10-27T00:30:00", "2024-10-27T01:30:00").tolist()


def test_local_and_utc_agree_through_the_year(market: SimulatedMarket) -> None:
    lines = frame(market, "transactions")
    local = lines.ordered_at.dt.tz_convert(market.world.zone).dt.tz_localize(None)
    assert (local == lines.ordered_local).all()


def test_a_spring_day_in_berlin_has_no_third_hour(germany: SimulatedMarket) -> None:
    lines = frame(germany, "transactions")
    spring = lines[
        lines.ordered_local.dt.date.isin([date(2023, 3, 26), date(2024, 3, 31), date(2025, 3, 30)])
    ]
    assert len(spring)
    assert not (spring.ordered_local.dt.hour == 2).any()
    offsets = (lines.ordered_local - lines.ordered_at.dt.tz_localize(None)).unique()
    assert set(offsets) == {pd.Timedelta(hours=1), pd.Timedelta(hours=2)}


def test_the_southern_year_is_mirrored() -> None:
    north, south = WORLDS["de-fashion"], WORLDS["br-fashion"]
    peaks = [np.argmax(wave(world, 365, amplitude=0.5, peak_day=330)) for world in (north, south)]
    assert abs(abs(peaks[0] - peaks[1]) - 182.6) < 1
    same = replace(south, is_southern=False)
    two = [wave(w, 1096, amplitude=0.5, peak_day=330) for w in (same, south)]
    assert np.corrcoef(two)[0, 1] == pytest.approx(-1, abs=0.01)


@pytest.mark.parametrize(
    ("market_id", "cold"), [("de-fashion", (11, 12, 1)), ("br-fashion", (5, 6, 7))]
)
def test_coats_sell_in_the_market_s_own_winter(market_id: str, cold: tuple[int, ...]) -> None:
    market = simulate_market(WORLDS[market_id], seed=2)
    lines = frame(market, "transactions").merge(frame(market, "products"), on="product_id")
    coats = lines.department.eq("Outerwear") & (lines.quantity > 0)
    share = coats.groupby(lines.ordered_local.dt.month).mean()
    warm = [(month + 5) % 12 + 1 for month in cold]
    assert share[list(cold)].min() > 2 * share[warm].max()


def test_rhythm_is_flat_when_switched_off_and_has_mean_one_when_not() -> None:
    world = quiet(BERLIN)
    assert (rhythm(world, world.days + 100) == 1).all()
    assert (intensity(world, 1) == 1).all()
    assert rhythm(BERLIN, BERLIN.days).mean() == pytest.approx(1)


def test_weekdays_and_hours_look_like_a_shop(germany: SimulatedMarket) -> None:
    lines = frame(germany, "transactions")
    sold = lines[lines.quantity > 0]
    days = sold.ordered_local.dt.day_of_week.value_counts(normalize=True)
    assert days.idxmax() == 5
    hours = sold.ordered_local.dt.hour.value_counts(normalize=True)
    assert hours[[2, 3, 4]].sum() < 0.01 < 0.05 < hours[20]
    store = sold[sold.channel == "store"]
    assert store.ordered_local.dt.hour.between(9, 19).all()
    assert not (store.ordered_local.dt.day_of_week == 6).any()
    assert not (store.ordered_local.dt.date == date(2024, 10, 3)).any()


def test_programme_and_concept_change_move_their_groups_alone() -> None:
    level, plain = (
        intensity(BERLIN, 1),
        intensity(
            replace(BERLIN, retail=replace(BERLIN.retail, programme=None, concept_date=None)), 1
        ),
    )
    ratio = level / plain
    start, change = (
        BERLIN.day(BERLIN.retail.programme.start),
        BERLIN.day(BERLIN.retail.concept_date),
    )
    assert (ratio[:, :start] == 1).all()
    assert ratio[0::2, start:change] == pytest.approx(1)
    assert ratio[1::2, start:change] == pytest.approx(1 + BERLIN.retail.programme.lift)
    factors = [segment.concept_factor for segment in BERLIN.segments]
    assert ratio[0::2, -1] == pytest.approx(factors)
