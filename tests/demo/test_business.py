from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from insight_demo import WORLDS, SimulatedMarket, simulate_market
from insight_demo.business import CAUSES, MONTH_DAYS, expected_months, incidence
from tests.demo.conftest import frame, truth
from tests.truth.helpers import assert_unbiased, over_seeds

WORLD = WORLDS["us-saas"]


def spells(market: SimulatedMarket) -> pd.DataFrame:
    """Contracts with months in force by the end of the history and terms that ran out."""
    rows = frame(market, "contracts").merge(frame(market, "customers"), on="customer_id")
    start, term_end = pd.to_datetime(rows.start_date), pd.to_datetime(rows.term_end_date)
    last_day = pd.Timestamp(market.world.end)
    end = pd.to_datetime(rows.end_date).fillna(last_day)
    rows["months"] = ((end - start).dt.days + 0.5) / MONTH_DAYS
    begun = ((term_end - start).dt.days / 365.25).round()
    # The term in force has run out only if its last day was reached.
    rows["terms_over"] = begun - (end < term_end)
    return rows


def rates(market: SimulatedMarket, size_band: str) -> tuple[float, float, float]:
    """Exact occurrence over exposure for each cause of one size band."""
    rows = spells(market).query("size_band == @size_band")
    count = rows.end_reason.value_counts().reindex(
        ["voluntary", "payment", "non_renewal"], fill_value=0
    )
    return (
        count["voluntary"] / rows.months.sum(),
        count["payment"] / rows.months.sum(),
        count["non_renewal"] / rows.terms_over.sum(),
    )


def test_hazards_are_recovered_by_occurrence_over_exposure() -> None:
    found = over_seeds(
        lambda s: rates(simulate_market(WORLD, seed=s, n_customers=4000), "small"), 25
    )
    voluntary, payment, non_renewal = zip(*found, strict=True)
    business, factor = WORLD.business, WORLD.business.hazard_factors[0]
    assert_unbiased(
        voluntary, business.voluntary_per_month * factor, detectable=0.0015, tolerance=2e-4
    )
    assert_unbiased(payment, business.payment_per_month * factor, detectable=0.001, tolerance=2e-4)
    assert_unbiased(non_renewal, business.non_renewal_share * factor, detectable=0.02)


def test_hazard_truth_follows_the_world(software: SimulatedMarket) -> None:
    known = truth(software, "hazards").set_index("segment")
    assert known.voluntary_per_month.tolist() == pytest.approx([0.0128, 0.008, 0.004])
    ends = truth(software, "contracts").set_index("contract_id")
    rows = frame(software, "contracts").set_index("contract_id")
    over = rows.end_date.notna()
    days = (pd.to_datetime(rows.end_date) - pd.to_datetime(rows.start_date)).dt.days
    assert (days[over] == ends.days_to_end[over]).all()
    assert (rows.end_reason[over] == ends.cause[over]).all()


def test_true_incidences_add_up_and_are_seen_in_the_contracts() -> None:
    table = incidence(WORLD, 0, months=36)
    business, factor = WORLD.business, WORLD.business.hazard_factors[0]
    hazards = (business.voluntary_per_month + business.payment_per_month) * factor
    # By hand: in force after a year is surviving both hazards, then renewing.
    renewed = np.exp(-12 * hazards) * (1 - business.non_renewal_share * factor)
    assert 1 - table[12].sum() == pytest.approx(renewed)
    assert 1 - table[36].sum() == pytest.approx(renewed**3)
    market = simulate_market(WORLD, seed=8, n_customers=40_000)
    band = frame(market, "customers").set_index("customer_id").size_band
    ends = truth(market, "contracts")
    ends = ends[band.reindex(ends.customer_id).to_numpy() == "small"]
    for column, cause in enumerate(CAUSES):
        within = (ends.cause == cause) & (ends.days_to_end < 24 * MONTH_DAYS)
        share = table[24, column]
        assert within.mean() == pytest.approx(share, abs=4 * np.sqrt(share / len(ends)))
    months = ends.days_to_end.mean() / MONTH_DAYS
    assert expected_months(WORLD, 0) == pytest.approx(months, rel=0.03)


def test_discounting_lowers_the_expected_months() -> None:
    plain = expected_months(WORLD, 2, horizon_months=60)
    assert expected_months(WORLD, 2, horizon_months=60, annual_discount_rate=0.1) < plain < 60


def test_unequal_late_factors_break_proportional_hazards() -> None:
    world = replace(WORLD, business=replace(WORLD.business, late_factors=(0.1, 1.0, 8.0)))
    market = simulate_market(world, seed=1, n_customers=20_000)
    rows = spells(market)
    quit_early = (rows.end_reason == "voluntary") & (rows.months < 12)
    quit_late = (rows.end_reason == "voluntary") & (rows.months >= 12)
    for band, is_rising in (("small", False), ("enterprise", True)):
        mine = rows.size_band == band
        early = quit_early[mine].sum() / rows.months[mine].clip(upper=12).sum()
        late = quit_late[mine].sum() / (rows.months[mine] - 12).clip(lower=0).sum()
        assert (late > 3 * early) if is_rising else (late < early / 3)


def test_a_cause_can_be_switched_off() -> None:
    world = replace(WORLD, business=replace(WORLD.business, payment_per_month=0.0))
    reasons = frame(simulate_market(world, seed=1), "contracts").end_reason
    assert set(reasons.dropna()) == {"voluntary", "non_renewal"}


def test_non_renewals_end_with_their_term_and_others_before(software: SimulatedMarket) -> None:
    rows = frame(software, "contracts")
    lapsed = rows.end_reason == "non_renewal"
    assert (rows.end_date[lapsed] == rows.term_end_date[lapsed]).all()
    left = rows.end_reason.isin(["voluntary", "payment"])
    assert (rows.end_date[left] <= rows.term_end_date[left]).all()
    in_force = rows.end_date.isna()
    assert (rows.term_end_date[in_force] >= software.world.end).all()


def test_payment_ends_follow_failed_payments(software: SimulatedMarket) -> None:
    contracts, payments = frame(software, "contracts"), frame(software, "payments")
    failed = set(payments[payments.status == "failed"].contract_id)
    assert failed == set(contracts[contracts.end_reason == "payment"].contract_id)
    assert payments.paid_date[payments.status == "failed"].isna().all()
    assert payments.paid_date[payments.status == "paid"].notna().all()
    known = contracts.set_index("contract_id").monthly_amount.reindex(payments.contract_id)
    assert (known.to_numpy() == payments.amount.to_numpy()).all()
    paid = payments[payments.paid_date.notna()].amount.sum()
    assert frame(software, "transactions").amount.sum() == pytest.approx(paid)


def test_stage_conversion_and_durations_are_recovered() -> None:
    def shares(seed: int) -> tuple[np.ndarray, np.ndarray]:
        market = simulate_market(WORLD, seed=seed)
        rows = frame(market, "opportunities")
        # Stages entered long before the end, so that none is still open.
        old = rows[
            pd.to_datetime(rows.entered_date)
            < pd.Timestamp(market.world.end) - pd.Timedelta(days=250)
        ]
        assert old.outcome.notna().all()
        by_stage = old.assign(
            is_on=old.outcome != "lost",
            days=(pd.to_datetime(old.left_date) - pd.to_datetime(old.entered_date)).dt.days,
        ).groupby("stage_number")
        return by_stage.is_on.mean().to_numpy(), by_stage.days.mean().to_numpy()

    conversion, days = zip(*over_seeds(shares, 12), strict=True)
    for number, stage in enumerate(WORLD.business.stages):
        assert_unbiased([c[number] for c in conversion], stage.conversion, detectable=0.025)
        assert_unbiased([d[number] for d in days], stage.mean_days, detectable=1.5, tolerance=0.1)


def test_open_deals_are_censored(software: SimulatedMarket) -> None:
    rows = frame(software, "opportunities")
    is_open = rows.outcome.isna()
    assert 20 < is_open.sum() < 0.1 * len(rows)
    assert rows.left_date[is_open].isna().all()
    assert (rows.left_date[~is_open] <= software.world.end).all()
    last = rows.sort_values("stage_number").groupby("opportunity_id").tail(1)
    assert (last.outcome != "advanced").all()
    won = set(rows[rows.outcome == "won"].opportunity_id)
    assert set(frame(software, "contracts").opportunity_id) <= won


def test_usage_falls_silent_after_the_end(software: SimulatedMarket) -> None:
    events = frame(software, "interactions")
    alive = truth(software, "customers").set_index("customer_id").is_alive
    served = frame(software, "contracts").customer_id.unique()
    per_account = events.groupby("customer_id").size().reindex(served, fill_value=0)
    assert per_account[alive[served]].mean() > 2 * per_account[~alive[served]].mean()
