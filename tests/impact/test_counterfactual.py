"""Counterfactuals: published answers, planted lifts, and placebos that find nothing."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from insight_lib.findings import TooFew
from insight_lib.impact.counterfactual import (
    estimate_all,
    estimate_counterfactual,
    estimate_event_study,
    estimate_structural,
    expect_parallel,
    expect_structural,
    expect_synthetic,
    solve_weights,
)
from insight_lib.impact.panel import Panel, make_panel
from insight_lib.impact.structural import fit_local_level, run_on
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
    assert mixed.leave_one_out[0] < mixed.effect.value < mixed.leave_one_out[1] < 0
    assert structural.effect.value < 0
    assert not structural.effect.excludes(-19.51)  # the published answer is within its range
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


def wandering(seed: int) -> Panel:
    """Places that share a market to a different degree and each go their own way besides."""
    rng = np.random.default_rng(seed)
    market = np.cumsum(rng.normal(0, 1, 60))
    own = np.cumsum(rng.normal(0, 0.5, (60, 12)), axis=0)
    data = rng.uniform(80, 120, 12) + market[:, None] * rng.uniform(0.5, 1.5, 12) + own
    data += rng.normal(0, 2, (60, 12))
    return Panel(pd.DataFrame(data, columns=[f"p{i:02d}" for i in range(12)]), ("p00",), 45)


@pytest.mark.slow
@pytest.mark.row("M7.7")
@pytest.mark.parametrize("make", ["places", "wandering"])
def test_the_structural_range_holds_the_truth(make: str) -> None:
    draw = {"places": places, "wandering": wandering}[make]

    def run(seed: int) -> tuple[tuple[float, float], tuple[float, float]]:
        found = estimate_structural(draw(seed), unit="count", as_of=DAY, seed=seed)
        return tuple((e.lower, e.upper) for e in (found.effect, found.earlier))  # type: ignore

    results = over_seeds(run, 300)
    assert_coverage([effect for effect, _ in results], 0.0, 0.95)
    assert_coverage([earlier for _, earlier in results], 0.0, 0.95)


@pytest.mark.row("M7.7")
def test_in_states_without_the_tax_the_range_holds_zero_and_the_models_own_would_not(
    shared_data: Path,
) -> None:
    """Each of 38 other states in turn, its range from the remaining ones."""
    panel = prop99(shared_data)
    n = panel.n_before
    gaps, own_errors = [], []
    for state in panel.controls:
        pretended = panel.pretend((state,))
        target = pretended.series(pretended.treated)
        gaps.append(float((target - expect_structural(pretended))[n:].mean()))
        # What the model itself says of its error: noise, level and the walk to come.
        control = pretended.series(pretended.controls)
        mixed = expect_synthetic(pretended, is_centred=True)
        model = fit_local_level(target[:n], np.column_stack([control, mixed])[:n])
        walk = model.level_variance * (panel.n_after + 1) * (2 * panel.n_after + 1)
        spread = (walk / 6 + model.noise_variance) / panel.n_after
        own_errors.append(spread**0.5)
    quantile = stats.t.ppf(0.975, len(gaps) - 2)
    rest = [np.delete(gaps, i) for i in range(len(gaps))]
    from_others = [
        abs(gap) <= quantile * np.sqrt(np.mean(np.square(others)))
        for gap, others in zip(gaps, rest, strict=True)
    ]
    from_itself = [abs(g) <= 1.96 * e for g, e in zip(gaps, own_errors, strict=True)]
    assert sum(from_others) >= 34
    assert sum(from_itself) <= 28


@pytest.mark.row("M7.7")
@pytest.mark.parametrize("level_deviation", [0.0, 0.3, 1.0])
def test_the_local_level_is_that_of_statsmodels(level_deviation: float) -> None:
    from statsmodels.tsa.statespace.structural import UnobservedComponents

    rng = np.random.default_rng(5)
    leads = rng.normal(size=(60, 2)).cumsum(axis=0)
    walk = np.cumsum(rng.normal(0, level_deviation, 60))
    target = 50 + leads @ np.array([1.0, 0.5]) + walk + rng.normal(0, 1, 60)
    ours = fit_local_level(target[:50], leads[:50])
    model = UnobservedComponents(target[:50], "llevel", exog=leads[:50])
    theirs = model.fit(disp=False, maxiter=500)
    assert ours.log_likelihood == pytest.approx(theirs.llf, abs=1e-3)
    assert ours.noise_variance == pytest.approx(theirs.params[0], rel=1e-2, abs=1e-3)
    assert ours.level_variance == pytest.approx(theirs.params[1], rel=1e-2, abs=1e-3)
    assert ours.slopes == pytest.approx(theirs.params[2:], rel=1e-3, abs=1e-3)
    ahead = theirs.get_forecast(10, exog=leads[50:]).predicted_mean
    assert run_on(target[:50], leads)[50:] == pytest.approx(ahead, abs=1e-2)


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
