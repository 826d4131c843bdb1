"""Causes of churn: by hand, as identities, against statsmodels, and against the truth."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from functools import cache

import ibis
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.duration.survfunc import CumIncidenceRight, SurvfuncRight

from insight_demo import WORLDS, simulate_market
from insight_demo.business import CAUSES, incidence
from insight_lib import features
from insight_lib.features.competing_risks import (
    DAYS_PER_MONTH,
    ChurnCauses,
    contract_spells,
    cumulative_incidence,
    estimate_churn_causes,
    estimate_payment_evidence,
    life_table,
)
from insight_lib.features.contract_life import (
    churn_hazards,
    contract_survival,
    leading_cause,
    recorded_reasons,
)
from insight_lib.findings import TooFew, Verdict
from tests import cards
from tests.cards import told
from tests.truth.helpers import assert_coverage, assert_false_alarm_rate, assert_unbiased

AS_OF = date(2025, 12, 31)
WORLD = WORLDS["us-saas"]


def spells(leave: np.ndarray, cause: np.ndarray, entry: np.ndarray | None = None) -> pd.DataFrame:
    """One contract per account; cause "" while in force."""
    n = len(leave)
    return pd.DataFrame(
        {
            "contract_id": [f"k{i}" for i in range(n)],
            "customer_id": [f"a{i}" for i in range(n)],
            "entry_days": np.zeros(n, dtype=int) if entry is None else entry,
            "exit_days": leave,
            "cause": pd.Series(cause, dtype=object).replace("", None),
        }
    )


def drawn(seed: int, rates: dict[str, float], n: int = 400) -> pd.DataFrame:
    """Constant hazards per day, watched for 400 to 1,000 days."""
    rng = np.random.default_rng(seed)
    ends = np.stack([np.floor(rng.exponential(1 / rate, n)) for rate in rates.values()])
    watched = rng.integers(400, 1000, n)
    first = ends.min(axis=0)
    cause = np.array(list(rates))[ends.argmin(axis=0)]
    return spells(np.minimum(first, watched).astype(int), np.where(first <= watched, cause, ""))


@pytest.mark.row("M3.5")
def test_ten_contracts_by_hand() -> None:
    leave = np.array([1, 2, 2, 3, 4, 5, 5, 6, 7, 8])
    cause = np.array([0, 1, -1, 0, 2, -1, 0, 1, -1, 0])  # voluntary, not renewed, payment
    at_risk, ended = life_table(np.zeros(10, dtype=int), leave, cause, n_causes=3)
    assert at_risk.tolist() == [10, 10, 9, 7, 6, 5, 3, 2, 1]
    survival, shares = cumulative_incidence(at_risk, ended)
    assert survival[[1, 2, 3, 4, 5, 6, 8]] == pytest.approx(
        [9 / 10, 4 / 5, 24 / 35, 4 / 7, 16 / 35, 32 / 105, 0]
    )
    assert shares[[1, 3, 5, 8], 0] == pytest.approx([1 / 10, 3 / 14, 23 / 70, 19 / 30])
    assert shares[[2, 6], 1] == pytest.approx([1 / 10, 53 / 210])
    assert shares[8, 2] == pytest.approx(4 / 35)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(-1, 2)), min_size=1))
def test_shares_and_what_is_in_force_add_up_to_one(rows: list[tuple[int, int, int]]) -> None:
    entry, extra, cause = (np.array(column) for column in zip(*rows, strict=True))
    at_risk, ended = life_table(entry, entry + extra, cause, n_causes=3)
    survival, shares = cumulative_incidence(at_risk, ended)
    assert shares.sum(axis=1) + survival == pytest.approx(np.ones(len(survival)))
    assert (np.diff(shares, axis=0) >= 0).all()


@pytest.mark.row("M3.5")
def test_one_cause_is_the_complement_of_kaplan_meier_with_delayed_entry() -> None:
    rng = np.random.default_rng(1)
    entry = rng.integers(0, 60, 300)
    entry[:40] = 0
    leave = entry + rng.integers(1, 200, 300)
    cause = np.where(rng.random(300) < 0.6, 0, -1)
    at_risk, ended = life_table(entry, leave, cause, n_causes=1)
    _, shares = cumulative_incidence(at_risk, ended)
    # statsmodels counts a subject at risk after its entry, we from its entry day on.
    known = SurvfuncRight(leave.astype(float), (cause == 0).astype(int), entry=entry - 0.5)
    days = known.surv_times.astype(int)
    assert shares[days, 0] == pytest.approx(1 - known.surv_prob)


@pytest.mark.row("M3.5")
def test_shares_and_errors_agree_with_statsmodels() -> None:
    frame = drawn(3, {"voluntary": 1 / 900, "payment": 1 / 2500, "non_renewal": 1 / 1500}, 600)
    result = estimate_churn_causes(frame, as_of=AS_OF, horizon_months=20, minimum_at_risk=20)
    names = sorted(frame["cause"].dropna().unique())
    code = pd.Categorical(frame["cause"], categories=names).codes + 1
    known = CumIncidenceRight(frame["exit_days"].to_numpy(float), code)
    at = np.searchsorted(known.times, np.floor(20 * DAYS_PER_MONTH), side="right") - 1
    last = result.curve[result.curve["month"] == 20].set_index("cause")
    for k, name in enumerate(names):
        share, error = known.cinc[k][at], known.cinc_se[k][at]
        assert last.loc[name, "share"] == pytest.approx(share)
        width = (last.loc[name, "upper"] - last.loc[name, "lower"]) / (2 * 1.96)
        assert width == pytest.approx(error, rel=0.03)


def test_twin_contracts_of_one_account_add_no_certainty() -> None:
    frame = drawn(5, {"voluntary": 1 / 900, "payment": 1 / 2000})
    settings_ = {"as_of": AS_OF, "horizon_months": 20, "minimum_at_risk": 20}
    one = estimate_churn_causes(frame, **settings_)
    two = estimate_churn_causes(pd.concat([frame, frame]), **settings_)
    for (_, a), (_, b) in zip(one.incidence, two.incidence, strict=True):
        assert b.upper - b.lower == pytest.approx(a.upper - a.lower)


def test_taking_the_other_causes_for_lost_overstates_each() -> None:
    frame = drawn(7, {"voluntary": 1 / 500, "payment": 1 / 700}, 2000)
    both = dict(
        estimate_churn_causes(frame, as_of=AS_OF, horizon_months=24, minimum_at_risk=20).incidence
    )
    alone = frame.assign(cause=frame["cause"].where(frame["cause"] == "payment"))
    naive = estimate_churn_causes(alone, as_of=AS_OF, horizon_months=24, minimum_at_risk=20)
    assert naive.incidence[0][1].value > both["payment"].upper


def test_ignoring_delayed_entry_flatters() -> None:
    # Watched from day 200 on: who ended before is not in the data at all.
    frame = drawn(8, {"voluntary": 1 / 400}, 4000)
    late = frame.assign(entry_days=np.where(np.arange(len(frame)) % 2, 200, 0))
    late = late[late["exit_days"] >= late["entry_days"]]
    common = {"as_of": AS_OF, "horizon_months": 20, "minimum_at_risk": 20}
    truth = 1 - np.exp(-np.floor(20 * DAYS_PER_MONTH + 1) / 400)
    right = estimate_churn_causes(late, **common).incidence[0][1]
    wrong = estimate_churn_causes(late.assign(entry_days=0), **common).incidence[0][1]
    assert right.lower < truth < right.upper
    assert wrong.upper < truth


@cache
def small_accounts(seed: int) -> ChurnCauses:
    market = simulate_market(WORLD, seed=seed, n_customers=3000)
    tables = {n: ibis.memtable(market.tables[n]) for n in ("contracts", "customers")}
    frame = contract_spells(
        tables["contracts"],
        as_of=market.world.end,
        customers=tables["customers"],
        group="size_band",
    )
    return estimate_churn_causes(
        frame[frame["group"] == "small"],
        as_of=market.world.end,
        horizon_months=24,
        minimum_at_risk=20,
    )


@pytest.mark.slow
@pytest.mark.row("M3.5")
def test_the_truth_is_covered_over_seeds() -> None:
    results = [small_accounts(seed) for seed in range(1, 151)]
    known = incidence(WORLD, 0, months=24)
    for k, cause in enumerate(CAUSES):
        for month in (12, 24):
            rows = [
                r.curve[(r.curve["month"] == month) & (r.curve["cause"] == cause)].iloc[0]
                for r in results
            ]
            assert_coverage([(r["lower"], r["upper"]) for r in rows], known[month, k], 0.95)
            # The world ends contracts on whole days, the truth counts months.
            assert_unbiased(
                [r["share"] for r in rows], known[month, k], detectable=0.012, tolerance=0.002
            )
    stay = [(r.in_force.lower, r.in_force.upper) for r in results]
    assert_coverage(stay, 1 - known[24].sum(), 0.95)
    rates = [
        r.hazards.query("tenure == 'Year 1' and cause == 'voluntary'").iloc[0] for r in results
    ]
    truth = WORLD.business.voluntary_per_month * WORLD.business.hazard_factors[0]
    assert_coverage([(r["lower"], r["upper"]) for r in rates], truth, 0.95, may_be_wide=True)


@pytest.mark.slow
@pytest.mark.row("M3.5")
@pytest.mark.parametrize(("third", "at_most"), [(1 / 20_000, False), (1 / 1200, True)])
def test_equal_causes_rarely_look_unequal(third: float, at_most: bool) -> None:
    alarms = []
    for seed in range(500):
        rates = {"a": 1 / 1200, "b": 1 / 1200, "c": third}
        result = estimate_churn_causes(
            drawn(seed, rates), as_of=AS_OF, horizon_months=18, minimum_at_risk=20
        )
        alarms.append(result.lead.lower > 0)
    assert_false_alarm_rate(alarms, 0.05, at_most=at_most)


def test_the_leading_cause_is_named_and_found() -> None:
    frame = drawn(2, {"non_renewal": 1 / 500, "payment": 1 / 3000}, 800)
    result = estimate_churn_causes(frame, as_of=AS_OF, horizon_months=18, minimum_at_risk=20)
    staying = told(features, "contract_survival", contract_survival(result))
    leading = told(features, "churn_cause", leading_cause(result, 0.05))
    assert leading.verdict is Verdict.MATTERS
    assert str(leading.statement).startswith("Not renewing ends most contracts, ")
    assert "failed payment" in str(staying.so_what)
    unsure = told(features, "churn_cause", leading_cause(result, 0.9))
    assert unsure.verdict is Verdict.DOES_NOT_MATTER
    for chart in (
        cards.drawn(features, "churn_cause", leading_cause(result, 0.05)),
        cards.drawn(features, "churn_hazards", churn_hazards(result)),
    ):
        assert chart is not None
        assert "Not renewing" in str(chart.title)


def test_a_horizon_beyond_the_data_is_shortened_and_too_little_is_said() -> None:
    frame = drawn(4, {"voluntary": 1 / 900})
    result = estimate_churn_causes(frame, as_of=AS_OF, horizon_months=60, minimum_at_risk=20)
    assert 12 < result.horizon_months < 36
    assert int(result.curve["at_risk"].min()) >= 20
    with pytest.raises(TooFew, match="none of 400"):
        estimate_churn_causes(
            frame.assign(cause=None), as_of=AS_OF, horizon_months=12, minimum_at_risk=20
        )
    with pytest.raises(TooFew, match="it takes 500"):
        estimate_churn_causes(frame, as_of=AS_OF, horizon_months=12, minimum_at_risk=500)


def contracts(*rows: tuple[str, str, str | None, str | None]) -> ibis.Table:
    frame = pd.DataFrame(rows, columns=["contract_id", "start", "end", "end_reason"])
    raw = ibis.memtable(
        frame.assign(customer_id="a", opportunity_id="o", monthly_amount=10.0, seats=1),
        schema={
            "contract_id": "string",
            "start": "string",
            "end": "string",
            "end_reason": "string",
            "customer_id": "string",
            "opportunity_id": "string",
            "monthly_amount": "float64",
            "seats": "int64",
        },
    )
    return raw.mutate(start_date=raw.start.cast("date"), end_date=raw.end.cast("date"))


def test_spells_by_hand() -> None:
    table = contracts(
        ("k1", "2025-01-01", "2025-01-31", "voluntary"),
        ("k2", "2025-01-01", None, None),
        ("k3", "2025-01-01", "2026-02-01", "payment"),  # ends after the data: in force
        ("k4", "2024-01-01", "2025-03-01", None),  # no reason on record; began before the data
        ("k5", "2023-01-01", "2024-12-31", "payment"),  # ended before the data
        ("k6", "2026-01-01", None, None),  # begins after the data
    )
    found = contract_spells(table, as_of=AS_OF, observed_from=date(2025, 1, 1))
    assert found["contract_id"].tolist() == ["k1", "k2", "k3", "k4"]
    assert found["entry_days"].tolist() == [0, 0, 0, 366]
    assert found["exit_days"].tolist() == [30, 364, 364, 425]
    assert found["cause"].fillna("").tolist() == ["voluntary", "", "", "unknown"]


def test_a_contract_that_ends_before_it_starts_is_named() -> None:
    table = contracts(("k9", "2025-05-01", "2025-04-01", "payment"))
    with pytest.raises(ValueError, match=r"contracts.end_date: 1 .* k9"):
        contract_spells(table, as_of=AS_OF)


def test_payments_expose_a_wrong_reason() -> None:
    world = replace(WORLD, business=replace(WORLD.business, payment_per_month=0.02))
    market = simulate_market(world, seed=1, n_customers=2500)
    table = market.tables["contracts"].to_pandas()
    payments = ibis.memtable(market.tables["payments"])
    is_payment = (table["end_reason"] == "payment").to_numpy()
    right = estimate_payment_evidence(
        ibis.memtable(market.tables["contracts"]), payments, as_of=market.world.end
    )
    assert (right.n_voluntary.value, right.unpaid.value) == (0, 1)
    assert told(features, "churn_reasons", recorded_reasons(right)).verdict is Verdict.PASS
    wrong = table.assign(
        end_reason=table["end_reason"].where(
            ~is_payment | (np.arange(len(table)) % 2 == 0), "voluntary"
        )
    )
    found = estimate_payment_evidence(ibis.memtable(wrong), payments, as_of=market.world.end)
    assert found.n_voluntary.value == (is_payment & (np.arange(len(table)) % 2 == 1)).sum()
    assert told(features, "churn_reasons", recorded_reasons(found)).verdict is Verdict.FAIL
    with pytest.raises(TooFew):
        estimate_payment_evidence(
            ibis.memtable(table), payments, as_of=market.world.start - timedelta(days=1)
        )


def test_columns_that_a_market_does_not_have_are_missing_values() -> None:
    table = contracts(("k1", "2025-01-01", "2025-01-31", "payment")).drop(
        "end_reason", "opportunity_id", "seats"
    )
    customers = ibis.memtable(pd.DataFrame({"customer_id": ["a"]}))
    found = contract_spells(table, as_of=AS_OF, customers=customers, group="size_band")
    assert found["cause"].tolist() == ["unknown"]
    assert found["group"].tolist() == ["all"]
    assert found["seats"].isna().all()
