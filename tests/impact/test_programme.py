"""A programme in some places: places are the units, gaps are gaps, and what is known is found."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from insight_demo import WORLDS, simulate_market
from insight_demo.worlds import Programme
from insight_lib.findings import TooFew, Verdict
from insight_lib.impact.places import PlaceChange, estimate_place_change, place_weeks
from insight_lib.impact.programme_story import describe_place_gaps, describe_programme
from tests.truth.helpers import (
    assert_coverage,
    assert_detection_rate,
    assert_false_alarm_rate,
    over_seeds,
)

START, AS_OF = date(2025, 4, 1), date(2025, 12, 30)


def market_orders(seed: int, lift: float) -> tuple[pd.DataFrame, pd.Series]:
    world = WORLDS["de-fashion"]
    programme = Programme(start=START, subregions=("West",), lift=lift)
    shop = replace(world.shop, campaigns=(), programme=programme)
    market = simulate_market(replace(world, retail=shop), seed=seed, n_customers=2_000)
    lines = market.tables["transactions"].to_pandas()
    lines = lines[lines["quantity"] > 0].drop_duplicates(["order_id", "line_id"])
    orders = lines.assign(
        day=lines["ordered_local"].dt.normalize(), revenue=lines["amount"].astype(float)
    )
    orders = orders.groupby(["customer_id", "day"], as_index=False).agg(
        orders=("order_id", "nunique"), revenue=("revenue", "sum")
    )
    customers = market.tables["customers"].to_pandas()
    return orders, customers.set_index("customer_id")["subregion"]


def change_of(seed: int, lift: float) -> PlaceChange:
    orders, places = market_orders(seed, lift)
    return estimate_place_change(orders, places, treated=("West",), start=START, as_of=AS_OF)


@pytest.mark.slow
@pytest.mark.row("M7.1")
def test_a_known_lift_of_a_market_with_few_places_lies_in_the_range() -> None:
    """Four places to compare with know little of how far a place moves: the range says so."""
    lifted = over_seeds(lambda seed: change_of(seed, 0.5), 20)
    none = over_seeds(lambda seed: change_of(seed, 0.0), 20)
    assert np.mean([c.net.value for c in lifted]) > 0.25
    assert_coverage([(c.net.lower, c.net.upper) for c in none], 0.0, 0.95, may_be_wide=True)
    assert_false_alarm_rate([c.net.excludes(0) for c in none], 0.05)


def world_of_places(
    seed: int,
    *,
    n_controls: int,
    lift: float = 0.0,
    moves: float = 0.08,
    n_customers: int = 120,
    days: int = 56,
    n_treated: int = 1,
) -> tuple[pd.DataFrame, pd.Series]:
    """Places that move on their own from before to after, each by a log-normal step."""
    rng = np.random.default_rng(seed)
    names = [f"p{i:02d}" for i in range(n_controls + n_treated)]
    place = np.repeat(names, n_customers)
    ids = np.array([f"c{i}" for i in range(len(place))])
    step = np.exp(rng.normal(0.0, moves, len(names)))
    step[:n_treated] *= 1 + lift
    habit = rng.gamma(4.0, 0.25, len(ids))
    parts = []
    for is_after in (False, True):
        factor = np.repeat(step, n_customers) if is_after else 1.0
        counts = rng.poisson(habit * factor * 4.0)
        who = np.repeat(np.arange(len(ids)), counts)
        offset = rng.integers(0, days, len(who)) + (0 if is_after else -days)
        parts.append((ids[who], offset))
    who, offset = (np.concatenate([p[i] for p in parts]) for i in (0, 1))
    orders = pd.DataFrame(
        {
            "customer_id": who,
            "day": pd.Timestamp(START) + pd.to_timedelta(offset, unit="D"),
            "orders": 1,
            "revenue": rng.gamma(4.0, 5.0, len(who)),
        }
    )
    first = orders.iloc[[0]].assign(day=pd.Timestamp(START) - pd.Timedelta(days=days))
    return pd.concat([orders, first]), pd.Series(place, index=ids)


def change_in(seed: int, **kw: object) -> PlaceChange:
    days = 56
    orders, places = world_of_places(seed, days=days, **kw)  # type: ignore[arg-type]
    return estimate_place_change(
        orders, places, treated=["p00"], start=START, as_of=START + timedelta(days=days - 1)
    )


@pytest.mark.case("98")
def test_the_place_is_the_unit_of_error() -> None:
    """Customers taken as independent would claim an effect in 19 to 62 of 100 such worlds."""
    found = [change_in(seed, n_controls=12, n_customers=400) for seed in range(40)]
    assert sum(c.net.excludes(0) for c in found) <= 5
    assert np.mean([c.moves for c in found]) == pytest.approx(0.09, abs=0.03)


@pytest.mark.slow
@pytest.mark.case("98")
@pytest.mark.parametrize("n_customers", [60, 200])
def test_where_nothing_was_done_hardly_any_place_is_said_to_have_moved(n_customers: int) -> None:
    found = over_seeds(lambda s: change_in(s, n_controls=12, n_customers=n_customers), 200)
    assert_false_alarm_rate([c.net.excludes(0) for c in found], 0.05)
    assert_coverage([(c.net.lower, c.net.upper) for c in found], 0.0, 0.95)


@pytest.mark.slow
@pytest.mark.case("98")
def test_a_planted_fifth_is_found_with_forty_places_to_compare_with() -> None:
    """With places that move by 5 % on their own and sell enough not to add much noise of theirs.
    By 8 % no comparison of one place can promise it: the step itself then has a standard error
    of 8 %, a fifth is 2.3 of them, and six of ten are found."""
    found = over_seeds(
        lambda s: change_in(s, n_controls=40, lift=0.2, n_customers=800, moves=0.05), 25
    )
    assert_detection_rate([c.net.lower > 0 for c in found], 0.8)
    assert_coverage([(c.net.lower, c.net.upper) for c in found], 0.2, 0.95)


@pytest.mark.row("M7.1")
def test_the_net_change_by_hand() -> None:
    """Treated went from 10 to 12; others from 20 to 18 each: (12 / 10) / (18 / 20) - 1."""
    rows = []
    for place, before, after in (("West", 10, 12), ("a", 20, 18), ("b", 20, 18), ("c", 20, 18)):
        for k in range(4):
            who, part = f"{place}{k}", 1 + 0.1 * (-1) ** k
            rows.append((who, START - timedelta(days=14), before * part))
            rows.append((who, START + timedelta(days=3), after * part))
    orders = pd.DataFrame(rows, columns=["customer_id", "day", "revenue"]).assign(orders=1)
    orders["day"] = pd.to_datetime(orders["day"])
    ids = sorted(set(orders["customer_id"]))
    places = pd.Series([i[:-1] for i in ids], index=ids)
    found = estimate_place_change(
        orders, places, treated=["West"], start=START, as_of=START + timedelta(days=13)
    )
    assert found.net.value == pytest.approx(1 / 3)
    assert found.treated == pytest.approx(0.2)
    assert found.others == pytest.approx(-0.1)
    assert found.n_controls == 3
    told = {"places": "West", "start": START, "smallest_change_that_matters": 0.05}
    finding = describe_programme(found, **told)  # type: ignore[arg-type]
    assert finding.verdict is Verdict.MATTERS
    assert "33.3%" in str(finding.statement)
    # Where the places drifted apart before, nothing that rests on them is claimed.
    held = describe_programme(found, is_parallel=False, **told)  # type: ignore[arg-type]
    assert held.verdict is Verdict.CANNOT_TELL
    assert "cannot be told" in str(held.statement)
    assert "Extend" not in str(held.so_what)
    few = places[~places.isin(["c"])]
    with pytest.raises(TooFew, match="2 places to compare with"):
        estimate_place_change(
            orders, few, treated=["West"], start=START, as_of=START + timedelta(days=13)
        )


@pytest.mark.case("99")
def test_weeks_by_hand_and_the_last_day_is_complete() -> None:
    monday = date(2025, 4, 7)
    days = [monday + timedelta(days=d) for d in (-14, -7, 0, 6, 7)]
    orders = pd.DataFrame(
        {
            "customer_id": ["a", "a", "b", "a", "b"],
            "day": pd.to_datetime(days),
            "orders": 1,
            "revenue": [1.0, 2.0, 4.0, 8.0, 16.0],
        }
    )
    places = pd.Series({"a": "North", "b": "South"})
    weeks = place_weeks(orders, places, start=monday, as_of=monday + timedelta(days=13)).table
    table = weeks.pivot(index="week", columns="place", values="revenue")
    # Monday to Sunday twice: both weeks are whole, the second one too.
    assert table["North"].tolist() == [1.0, 2.0, 8.0, 0.0]
    assert table["South"].tolist() == [0.0, 0.0, 4.0, 16.0]
    short = place_weeks(orders, places, start=monday, as_of=monday + timedelta(days=12)).table
    assert short["week"].max() == 0


def busy(places: int = 6, weeks: int = 16, per_day: int = 12) -> tuple[pd.DataFrame, pd.Series]:
    days = pd.date_range(START - timedelta(weeks=weeks // 2), periods=weeks * 7)
    names = [f"p{i}" for i in range(places)]
    rows = [(f"{p}-{k}", d) for p in names for d in days for k in range(per_day)]
    orders = pd.DataFrame(rows, columns=["customer_id", "day"]).assign(orders=1, revenue=10.0)
    ids = sorted(set(orders["customer_id"]))
    return orders, pd.Series([i.split("-")[0] for i in ids], index=ids)


@pytest.mark.case("100")
def test_a_gap_is_a_gap_and_no_fall() -> None:
    orders, places = busy()
    as_of = orders["day"].max().date()
    week = orders["day"].between(
        pd.Timestamp(START) + pd.Timedelta(days=7), pd.Timestamp(START) + pd.Timedelta(days=13)
    )
    treated = orders["customer_id"].str.startswith("p0")
    gap = orders[~(treated & week)]
    weeks = place_weeks(gap, places, start=START, as_of=as_of, treated=["p0"])
    assert weeks.dropped_weeks == (1,)
    assert 1 not in set(weeks.table["week"])
    change = estimate_place_change(
        gap, places, treated=["p0"], start=START, as_of=as_of, skip_weeks=weeks.dropped_weeks
    )
    assert change.net.value == pytest.approx(0.0, abs=1e-9)
    check = describe_place_gaps(weeks, n=6, as_of=as_of)
    assert check is not None
    assert "1 week in which some place has no data" in str(check.statement)
    naive = estimate_place_change(gap, places, treated=["p0"], start=START, as_of=as_of)
    assert naive.net.value == pytest.approx(-0.125, abs=0.01)  # what a gap filled with 0 makes
    # A control that closed is named and left out; a day without orders everywhere is a holiday.
    closed = orders[~(orders["customer_id"].str.startswith("p3") & (orders["day"] >= "2025-05-01"))]
    weeks = place_weeks(closed, places, start=START, as_of=as_of, treated=["p0"])
    assert weeks.closed_places == ("p3",)
    assert weeks.dropped_weeks == ()
    with pytest.raises(TooFew, match="p3 has no orders any more"):
        place_weeks(closed, places, start=START, as_of=as_of, treated=["p3"])
    holiday = orders[orders["day"] != pd.Timestamp(START) + pd.Timedelta(days=2)]
    weeks = place_weeks(holiday, places, start=START, as_of=as_of, treated=["p0"])
    assert weeks.dropped_weeks == ()
    assert describe_place_gaps(weeks, n=6, as_of=as_of) is None
    thin, thin_places = busy(per_day=1)
    some = thin[np.random.default_rng(1).random(len(thin)) < 0.1]
    weeks = place_weeks(some, thin_places, start=START, as_of=as_of, treated=["p0"])
    assert weeks.dropped_weeks == ()  # few orders: a week of nothing sold is just that
