"""Counterfactuals: published answers, planted lifts, and placebos that find nothing."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from insight_lib.findings import TooFew
from insight_lib.impact.counterfactual import (
    estimate_all,
    estimate_counterfactual,
    estimate_event_study,
    expect_parallel,
    expect_synthetic,
    solve_weights,
)
from insight_lib.impact.panel import Panel, make_panel
from tests.truth.helpers import (
    assert_coverage,
    assert_detection_rate,
    assert_false_alarm_rate,
    over_seeds,
)

DAY = date(2025, 6, 30)


def prop99(shared_data: Path) -> Panel:
    return make_panel(
        pd.read_csv(shared_data / "california_prop99.csv.gz"),
        place="state",
        period="year",
        outcome="cigarette_packs_per_capita",
        treated=("California",),
        start=1989,
    )


def geolift(shared_data: Path) -> Panel:
    return make_panel(
        pd.read_csv(shared_data / "geolift_test.csv.gz"),
        place="location",
        period="date",
        outcome="Y",
        treated=("chicago", "portland"),
        start="2021-04-01",
    )


@pytest.mark.row("M7.1")
@pytest.mark.row("M7.7")
def test_proposition_99_gives_the_published_answers(shared_data: Path) -> None:
    panel = prop99(shared_data)
    both = estimate_all(panel, unit="count", as_of=DAY, seed=1, is_centred=False)
    parallel, mixed, structural = both.answers
    assert parallel.effect.value == pytest.approx(-27.35, abs=0.005)
    assert mixed.effect.value == pytest.approx(-19.51, abs=0.02)
    actual = panel.series(panel.treated)
    assert actual[-1] - mixed.expected.iloc[-1] == pytest.approx(-26.6, abs=0.05)
    assert mixed.weights is not None
    assert mixed.weights.sum() == pytest.approx(1.0)
    assert mixed.weights.min() >= 0
    assert mixed.weights.index[0] == "Utah"
    assert mixed.placebo_p is not None
    assert mixed.placebo_p <= 0.1
    assert mixed.leave_one_out is not None
    assert mixed.leave_one_out[0] < mixed.effect.value < mixed.leave_one_out[1] < 0
    assert structural.effect.value < 0
    study = estimate_event_study(panel, seed=1)
    assert study.slope < 0  # California fell away before the tax: why the first method overstates
    assert study.table["gap"][study.table["is_before"]].mean() == pytest.approx(0.0, abs=1e-9)


@pytest.mark.row("M7.1")
@pytest.mark.row("M7.7")
def test_geolift_gives_the_published_lift(shared_data: Path) -> None:
    panel = geolift(shared_data)
    mixed = estimate_counterfactual(
        panel,
        lambda p: expect_synthetic(p, is_centred=True),
        method="synthetic control",
        unit="count",
        as_of=DAY,
        seed=1,
    )
    assert mixed.effect.value == pytest.approx(155.556, abs=0.02)
    assert mixed.relative.value == pytest.approx(0.054, abs=5e-4)
    assert mixed.effect.value * 2 * panel.n_after == pytest.approx(4_667, abs=1)
    # Shifts in time tell it from chance; pairs of the other cities alone do not.
    assert mixed.time_p == pytest.approx(5 / 105)
    assert mixed.placebo_p is not None
    assert mixed.placebo_p > 0.1
    assert mixed.passes_placebo


def test_weights_by_hand() -> None:
    controls = np.array([[1.0, 5.0, 9.0], [2.0, 4.0, 1.0], [3.0, 3.0, 4.0], [4.0, 6.0, 2.0]])
    target = controls @ np.array([0.3, 0.7, 0.0])
    assert solve_weights(target, controls) == pytest.approx([0.3, 0.7, 0.0], abs=1e-4)


@pytest.mark.row("M7.1")
def test_difference_in_differences_by_hand() -> None:
    years = list(range(10))
    outcome = pd.DataFrame(
        {
            "north": [10.0] * 8 + [15.0] * 2,
            "south": [20.0] * 8 + [22.0] * 2,
            "east": [30.0] * 8 + [31.0] * 2,
            "west": [5.0] * 8 + [8.0] * 2,
        },
        index=years,
    )
    panel = Panel(outcome, ("north",), 8)
    result = estimate_counterfactual(
        panel, expect_parallel, method="did", unit="count", as_of=DAY, seed=1
    )
    assert result.effect.value == pytest.approx(5.0 - (2 + 1 + 3) / 3)
    # Left out one by one, the controls' rise is 2, 2.5 or 1.5.
    assert result.leave_one_out == pytest.approx((2.5, 3.5))


def places(seed: int, *, lift: float = 0.0, drift: float = 0.0, n: int = 12) -> Panel:
    """Places that share a season and a market walk, with their own noise; the first is treated."""
    rng = np.random.default_rng(seed)
    weeks = np.arange(60)
    market = np.cumsum(rng.normal(0, 1, 60)) + 8 * np.sin(weeks / 8)
    level = rng.uniform(80, 120, n)
    data = level + market[:, None] * rng.uniform(0.9, 1.1, n) + rng.normal(0, 3, (60, n))
    data[:, 0] += drift * weeks
    data[45:, 0] += lift
    frame = pd.DataFrame(data, columns=[f"p{i:02d}" for i in range(n)], index=weeks)
    return Panel(frame, ("p00",), 45)


@pytest.mark.slow
@pytest.mark.row("M7.1")
@pytest.mark.row("M7.7")
def test_nothing_is_found_where_nothing_was_done_and_a_lift_is() -> None:
    def run(seed: int, lift: float) -> list[tuple[float, float]]:
        both = estimate_all(places(seed, lift=lift), unit="count", as_of=DAY, seed=seed)
        return [(a.effect.lower, a.effect.upper) for a in both.answers]

    nothing = over_seeds(lambda seed: run(seed, 0.0), 40)
    lifted = over_seeds(lambda seed: run(seed, 6.0), 20)
    for method in range(3):
        ranges = [seed[method] for seed in nothing]
        assert_false_alarm_rate([low > 0 or high < 0 for low, high in ranges], 0.05)
        planted = [seed[method] for seed in lifted]
        assert_coverage(planted, 6.0, 0.95, may_be_wide=True)
        assert_detection_rate([low > 0 for low, _ in planted], 0.8)


@pytest.mark.slow
@pytest.mark.row("M7.1")
def test_a_trend_before_the_start_is_seen_and_a_parallel_one_is_left_alone() -> None:
    def alarm(seed: int, drift: float) -> bool:
        return not estimate_event_study(places(seed, drift=drift), seed=1).is_parallel

    assert_false_alarm_rate(over_seeds(lambda s: alarm(s, 0.0), 200), 0.1)
    assert_detection_rate(over_seeds(lambda s: alarm(s, 0.3), 50), 0.9)


@pytest.mark.row("M7.7")
def test_disagreement_and_an_effect_before_its_cause_are_said() -> None:
    crooked = estimate_all(places(4, drift=0.6), unit="count", as_of=DAY, seed=1)
    parallel = crooked.answers[0]
    assert not parallel.passes_placebo
    assert parallel not in crooked.trusted
    assert not crooked.agree
    straight = estimate_all(places(4, lift=6.0), unit="count", as_of=DAY, seed=1)
    assert straight.agree
    assert len(straight.trusted) == 3


def test_too_little_says_what_it_takes() -> None:
    frame = places(1).outcome.stack().rename_axis(["week", "place"]).rename("y").reset_index()
    common = {"place": "place", "period": "week", "outcome": "y"}
    with pytest.raises(TooFew, match="no data for mars"):
        make_panel(frame, treated=("mars",), start=45, **common)
    with pytest.raises(TooFew, match="3 periods before"):
        make_panel(frame, treated=("p00",), start=3, **common)
    with pytest.raises(TooFew, match="no period after"):
        make_panel(frame, treated=("p00",), start=99, **common)
    gap = frame[~((frame["week"] == 5) & (frame["place"] == "p01"))]
    with pytest.raises(ValueError, match="p01 has no y in 5"):
        make_panel(gap, treated=("p00",), start=45, **common)
    few = Panel(places(1).outcome[["p00", "p01", "p02"]], ("p00",), 45)
    with pytest.raises(TooFew, match="it takes 3"):
        estimate_counterfactual(few, expect_parallel, method="did", unit="count", as_of=DAY, seed=1)
