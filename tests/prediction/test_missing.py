"""Gaps whose cause was planted: found, and not allowed to bend the answer."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest

from insight_lib.findings import TooFew
from insight_lib.prediction.fit import Training, fit
from insight_lib.prediction.missing import (
    compare_routes,
    describe_missingness,
    estimate_sensitivity,
)
from insight_lib.prediction.snapshots import Target
from tests.truth.helpers import assert_false_alarm_rate, assert_unbiased

DAY = date(2024, 6, 30)
TARGET = Target(
    id="lapse",
    title="stop ordering",
    kind="binary",
    purpose="retention",
    horizon_days=28,
    unit="share",
)


def population(seed, *, n=3000, mechanism="explained", slope=1.0):
    """Lapse depends on lateness and income; income has gaps, by lateness or by lot."""
    rng = np.random.default_rng(seed)
    lateness, income = rng.normal(size=n), rng.normal(size=n)
    eta = -0.5 + lateness + slope * income
    p_gap = 1 / (1 + np.exp(-2 * lateness)) if mechanism == "explained" else np.full(n, 0.4)
    if mechanism == "unseen":
        p_gap = 1 / (1 + np.exp(-2 * income))
    features = pd.DataFrame(
        {
            "lateness": lateness,
            "income": np.where(rng.random(n) < p_gap, np.nan, income),
            "noise": rng.normal(size=n),
        }
    )
    return Training(
        features=features,
        label=(rng.random(n) < 1 / (1 + np.exp(-eta))).astype(float),
        customer_id=np.array([f"{seed}-{i}" for i in range(n)], dtype=object),
        cut=np.repeat("2024-01-01", n),
    )


OPTIONS = {"target": TARGET, "as_of": DAY, "seed": 0}


@pytest.mark.row("C4.2")
def test_dropping_is_biased_and_the_chosen_route_is_not():
    found = [
        compare_routes(
            population(seed), population(seed + 1000, n=6000), estimator="logistic", **OPTIONS
        )
        for seed in range(40)
    ]
    assert_unbiased([r.kept.value for r in found], 0.0, detectable=0.006)
    with pytest.raises(AssertionError, match="mean error"):
        assert_unbiased([r.dropped.value for r in found], 0.0, detectable=0.01, tolerance=0.05)
    assert np.mean([r.kept.excludes(0) for r in found]) <= 0.2
    assert np.mean([r.dropped.excludes(0) for r in found]) == 1


@pytest.mark.row("C4.2")
def test_the_cause_of_gaps_is_found():
    (found,) = describe_missingness(population(1), **OPTIONS)
    assert (found.column, found.kind, found.because) == ("income", "explained", "lateness")
    assert found.missing_share.value == pytest.approx(0.5, abs=0.03)
    assert found.label_gap.lower > 0  # the late have gaps, and lapse


@pytest.mark.row("C4.2")
@pytest.mark.slow
def test_gaps_by_lot_are_called_chance():
    alarms = []
    for seed in range(100):
        (found,) = describe_missingness(population(seed, n=1500, mechanism="chance"), **OPTIONS)
        alarms.append(found.kind != "chance")
    assert_false_alarm_rate(alarms, 0.05)


@pytest.mark.row("C4.2")
def test_fills_come_from_training_rows_alone():
    data = population(2)
    early, late = data.take(np.arange(1500)), data.take(np.arange(1500, 3000))
    late.features["income"] += 100  # a fold that looked at the test would see this
    document = fit("logistic", early, **OPTIONS)
    (income,) = (e for e in document["inputs"] if e["name"] == "income")
    assert income["fill"] == float(early.features["income"].median())
    assert income["has_indicator"]


@pytest.mark.row("C4.2")
def test_what_hangs_on_the_guess_is_told():
    def moved(slope):
        data, later = (population(s, slope=slope, mechanism="unseen") for s in (3, 4))
        shifts = estimate_sensitivity(
            data, later, estimator="logistic", capacity_share=0.2, **OPTIONS
        )
        assert [s.spreads for s in shifts] == [-1.0, -0.5, 0.0, 0.5, 1.0]
        assert shifts[2].same_list_share == 1
        return min(s.same_list_share for s in shifts)

    assert moved(slope=3.0) < 0.9
    assert moved(slope=0.0) > 0.9


def test_nothing_missing_is_said():
    data = population(0)
    whole = data.take(~data.features["income"].isna().to_numpy())
    assert describe_missingness(whole, **OPTIONS) == []
    with pytest.raises(TooFew, match="no gap"):
        compare_routes(whole, whole, estimator="logistic", **OPTIONS)
    with pytest.raises(TooFew, match="no number has a gap"):
        estimate_sensitivity(whole, whole, estimator="logistic", capacity_share=0.1, **OPTIONS)


def test_columns_that_are_empty_together_do_not_foretell_each_other():
    data = population(5, mechanism="chance")
    twin = data.features["income"] * 2
    data.features["income_twin"] = twin
    assert {m.kind for m in describe_missingness(data, **OPTIONS)} == {"chance"}
