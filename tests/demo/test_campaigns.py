from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from insight_demo import WORLDS, SimulatedMarket, simulate_market
from tests.demo.conftest import frame, truth
from tests.truth.helpers import (
    assert_coverage,
    assert_false_alarm_rate,
    assert_unbiased,
    over_seeds,
)

WORLD = WORLDS["de-fashion"]


def outcomes(market: SimulatedMarket, campaign_id: str) -> pd.DataFrame:
    """Per assigned customer: arm, orders in the window from the order lines, visit, truth."""
    assigned = frame(market, "assignments").query("campaign_id == @campaign_id")
    campaign = frame(market, "campaigns").set_index("campaign_id").loc[campaign_id]
    lines = frame(market, "transactions").query("quantity > 0")
    inside = lines.ordered_local.dt.date.between(campaign.start_date, campaign.end_date)
    orders = lines[inside].groupby("customer_id").order_id.nunique()
    visits = frame(market, "responses").query(
        "campaign_id == @campaign_id and response_type == 'visit'"
    )
    known = truth(market, "customers").set_index("customer_id").segment
    effects = truth(market, "campaign_effects").set_index(["campaign_id", "arm", "segment"])
    rows = assigned.assign(
        orders=orders.reindex(assigned.customer_id).fillna(0).to_numpy(),
        visit=assigned.customer_id.isin(visits.customer_id).to_numpy(),
        segment=known.reindex(assigned.customer_id).to_numpy(),
    )
    keys = [(campaign_id, arm, s) for arm, s in zip(rows.arm, rows.segment, strict=True)]
    for name in ("order_lift", "visit_lift"):
        rows[name] = effects[name].reindex(keys).fillna(0).to_numpy()
    return rows


def difference(rows: pd.DataFrame, column: str) -> tuple[float, float]:
    """Difference in means, treated against control, and its standard error."""
    treated, control = (
        rows.loc[mask, column].astype(float)
        for mask in (rows.arm != "control", rows.arm == "control")
    )
    error = np.sqrt(treated.var() / len(treated) + control.var() / len(control))
    return float(treated.mean() - control.mean()), float(error)


def test_lots_are_even_and_the_chosen_are_not_drawn(germany: SimulatedMarket) -> None:
    arms = (
        frame(germany, "assignments").groupby(["campaign_id", "is_randomised"]).arm.value_counts()
    )
    spring = arms["spring-2025", True]
    n = spring.sum()
    assert spring["control"] / n == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(n))
    assert spring["message_a"] / n == pytest.approx(0.25, abs=4 * 0.43 / np.sqrt(n))
    assert ("catalogue-2025", False) in arms.index
    assigned_at = frame(germany, "assignments").merge(frame(germany, "campaigns"), on="campaign_id")
    assert (assigned_at.assigned_at.dt.date < assigned_at.start_date).all()


@pytest.mark.slow
def test_lift_is_recovered_by_difference_in_means() -> None:
    def gaps(seed: int) -> tuple[float, float, tuple[float, float], float]:
        rows = outcomes(simulate_market(WORLD, seed=seed, n_customers=2500), "spring-2025")
        orders, error = difference(rows, "orders")
        visits, _ = difference(rows, "visit")
        treated = rows[rows.arm != "control"]
        bounds = (orders - 1.96 * error, orders + 1.96 * error)
        return (
            orders - treated.order_lift.mean(),
            visits - treated.visit_lift.mean(),
            bounds,
            treated.order_lift.mean(),
        )

    orders, visits, bounds, lifts = zip(*over_seeds(gaps, 40), strict=True)
    assert_unbiased(orders, 0.0, detectable=0.02)
    assert_unbiased(visits, 0.0, detectable=0.02)
    assert_coverage(bounds, lifts, 0.95)


@pytest.mark.slow
def test_without_a_lift_alarms_come_at_the_stated_rate() -> None:
    still = replace(WORLD, retail=replace(WORLD.retail, order_lift_scale=0.0))

    def is_alarm(seed: int) -> bool:
        rows = outcomes(simulate_market(still, seed=seed, n_customers=800), "spring-2025")
        gap, error = difference(rows, "visit")
        return abs(gap) > 1.96 * error

    assert_false_alarm_rate(over_seeds(is_alarm, 60), 0.05)


def test_segments_answer_differently(germany: SimulatedMarket) -> None:
    rows = pd.concat([outcomes(germany, name) for name in ("autumn-2024", "spring-2025")])
    for segment, part in rows.groupby("segment"):
        gap, error = difference(part, "visit")
        assert gap == pytest.approx(part[part.arm != "control"].visit_lift.mean(), abs=4 * error), (
            segment
        )


def test_the_targeted_campaign_flatters_itself() -> None:
    """Recent buyers are sent the catalogue: the naive difference is many times the truth."""

    def naive(seed: int) -> float:
        rows = outcomes(simulate_market(WORLD, seed=seed, n_customers=2000), "catalogue-2025")
        return difference(rows, "orders")[0] - rows[rows.arm != "control"].order_lift.mean()

    assert min(over_seeds(naive, 5)) > 0.15


def test_truth_frame_says_who_bought_because_of_it(germany: SimulatedMarket) -> None:
    known = truth(germany, "assignments")
    assert not known.caused_order[known.arm == "control"].any()
    redeemed = frame(germany, "responses").query("response_type == 'redemption'")
    coupon = known.query("campaign_id == 'coupon-2025' and caused_order")
    assert set(redeemed.customer_id) <= set(coupon.customer_id)
    assert len(redeemed) > 0.7 * len(coupon)
    assert redeemed.amount.gt(0).all()
    used = frame(germany, "transactions").query("coupon_amount > 0")
    assert set(used.customer_id) == set(coupon.customer_id)
