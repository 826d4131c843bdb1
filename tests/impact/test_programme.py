"""A programme in some places of a simulated market, whose lift is known."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from insight_lib.demo import WORLDS, simulate_market
from insight_lib.demo.worlds import Programme
from insight_lib.findings import TooFew, Verdict
from insight_lib.impact.counterfactual import estimate_customer_change
from insight_lib.impact.inputs import customer_windows, place_weeks
from insight_lib.impact.programme_story import describe_programme
from tests.truth.helpers import (
    assert_coverage,
    assert_detection_rate,
    assert_false_alarm_rate,
    assert_unbiased,
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


def windows(seed: int, lift: float) -> pd.DataFrame:
    orders, places = market_orders(seed, lift)
    return customer_windows(
        orders, places, treated=("West",), start=START, as_of=AS_OF, outcome="orders"
    )


def bounds(frame: pd.DataFrame) -> tuple[float, float, float]:
    estimate, *_ = estimate_customer_change(frame, as_of=AS_OF)
    return estimate.value, estimate.lower, estimate.upper


@pytest.mark.slow
@pytest.mark.row("M7.1")
def test_the_known_lift_is_recovered_and_none_is_not_found() -> None:
    """The lift is on how often customers order; who orders more often also stops sooner, so
    the truth is what the same markets sell with it against without it."""
    with_it = over_seeds(lambda seed: windows(seed, 0.5), 24)
    without = over_seeds(lambda seed: windows(seed, 0.0), 24)
    sold = [sum(f.loc[f["is_treated"], "after"].sum() for f in fs) for fs in (with_it, without)]
    truth = sold[0] / sold[1] - 1
    assert 0.3 < truth < 0.5
    lifted, none = ([bounds(f) for f in fs] for fs in (with_it, without))
    assert_coverage([r[1:] for r in lifted], truth, 0.95)
    assert_unbiased([r[0] for r in lifted], truth, detectable=0.12)
    assert_detection_rate([r[1] > 0 for r in lifted], 0.7)
    assert_false_alarm_rate([low > 0 or high < 0 for _, low, high in none], 0.05)
    assert_coverage([r[1:] for r in none], 0.0, 0.95)


@pytest.mark.row("M7.1")
def test_the_net_change_by_hand() -> None:
    """Treated went from 10 to 12, others from 20 to 18: (12 / 10) / (18 / 20) - 1 is a third."""
    spread = np.tile([-1.0, 1.0], 20)
    treated = pd.DataFrame({"is_treated": True, "before": 10 + spread, "after": 12 + spread})
    others = pd.DataFrame({"is_treated": False, "before": 20 + spread, "after": 18 + spread})
    found = estimate_customer_change(pd.concat([treated, others]), as_of=AS_OF)
    assert found[0].value == pytest.approx(1 / 3)
    assert found[1].value == pytest.approx(0.2)
    assert found[2].value == pytest.approx(-0.1)
    assert found[0].excludes(0)
    finding = describe_programme(
        *found, places="West", start=START, smallest_change_that_matters=0.05
    )
    assert finding.verdict is Verdict.MATTERS
    assert "33.3%" in str(finding.statement)


def test_weeks_and_windows_by_hand() -> None:
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
    weeks = place_weeks(orders, places, start=monday, as_of=monday + timedelta(days=13))
    table = weeks.pivot(index="week", columns="place", values="revenue")
    assert table["North"].tolist() == [1.0, 2.0, 8.0]
    assert table["South"].tolist() == [0.0, 0.0, 4.0]
    windows = customer_windows(
        orders, places, treated=("North",), start=monday, as_of=monday + timedelta(days=6)
    )
    assert windows.loc["a", ["before", "after"]].tolist() == [2.0, 8.0]
    assert list(windows.index) == ["a"]  # b was not known before
    with pytest.raises(TooFew, match="begin less than"):
        customer_windows(
            orders, places, treated=("North",), start=monday, as_of=monday + timedelta(days=60)
        )
