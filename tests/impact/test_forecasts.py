"""Past forecasts against what came: a planted bias is found, and nothing else."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest

from insight_lib.findings import TooFew
from insight_lib.impact.forecasts import ForecastRecord, reconcile_forecasts
from tests.truth.helpers import (
    assert_coverage,
    assert_detection_rate,
    assert_false_alarm_rate,
    over_seeds,
)

DAY = date(2025, 6, 30)
CUTS = (date(2024, 9, 30), date(2024, 12, 31), date(2025, 3, 31))


def past_scores(
    seed: int, *, bias: float, n: int = 2_000, kind: str = "amount", cuts: tuple[date, ...] = CUTS
) -> pd.DataFrame:
    """Customers with a lasting level of their own; forecasts too high by `bias`.

    What a customer does beyond the forecast is alike on every cut, so that rows of one
    customer are not independent.
    """
    rng = np.random.default_rng(seed)
    expected = rng.gamma(2.0, 20.0, n) if kind == "amount" else rng.beta(2, 6, n)
    lasting = rng.gamma(4.0, 0.25, n)  # mean one, kept over the cuts
    parts = []
    for cut in cuts:
        if kind == "amount":
            actual = expected * lasting * rng.gamma(2.0, 0.5, n)
        else:
            actual = (rng.random(n) < expected).astype(float)
        parts.append(
            pd.DataFrame(
                {
                    "customer_id": [f"c{i}" for i in range(n)],
                    "target": "value" if kind == "amount" else "repeat",
                    "kind": kind,
                    "cut": cut,
                    "forecast": expected * (1 + bias),
                    "actual": actual,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def judge(seed: int, *, bias: float, n: int = 2_000, kind: str = "amount") -> ForecastRecord:
    past = past_scores(seed, bias=bias, n=n, kind=kind)
    return reconcile_forecasts(past, as_of=DAY, minimum_cell_size=10)[0]


def test_bias_error_and_factor_by_hand() -> None:
    rows = pd.DataFrame(
        {
            "customer_id": [f"c{i}" for i in range(60)] * 2,
            "target": "value",
            "kind": "amount",
            "cut": [CUTS[0]] * 60 + [CUTS[1]] * 60,
            "forecast": [11.0, 22.0] * 60,
            "actual": [10.0, 20.0] * 60,
        }
    )
    record = reconcile_forecasts(rows, as_of=DAY, minimum_cell_size=10)[0]
    assert record.total.bias.value == pytest.approx(0.1)
    assert record.total.error == pytest.approx(np.sqrt(2.5) / 15)  # misses of 1 and 2
    assert record.slope.value == pytest.approx(1 / 1.1)
    assert [day for day, _ in record.by_cut] == list(CUTS[:2])
    assert not record.swings
    assert record.correction is not None
    assert record.correction.factor == pytest.approx(1 / 1.1)
    assert record.correction.parameter == "prediction.corrections: {value: 0.909}"
    assert record.correction.miss_before == pytest.approx(0.1)
    assert record.correction.miss_after == pytest.approx(0.0, abs=1e-9)
    with pytest.raises(TooFew, match="50 customers"):
        reconcile_forecasts(rows[:40], as_of=DAY, minimum_cell_size=10)


@pytest.mark.row("C8.6")
def test_a_planted_bias_is_found_and_its_correction_lowers_the_next_error() -> None:
    def run(seed: int) -> tuple[bool, bool]:
        record = judge(seed, bias=0.10)
        if record.correction is None:
            return record.total.stands, False
        following = past_scores(seed + 10_000, bias=0.10, n=8_000, cuts=CUTS[-1:])
        factor = record.correction.factor
        came = following["actual"].sum()
        before = abs(following["forecast"].sum() / came - 1)
        after = abs(factor * following["forecast"].sum() / came - 1)
        squared = np.square(following["forecast"] - following["actual"]).mean()
        corrected = np.square(factor * following["forecast"] - following["actual"]).mean()
        return record.total.stands, after < before and corrected < squared

    found = over_seeds(run, 40)
    assert_detection_rate([stands for stands, _ in found], 0.95)
    assert_detection_rate([is_better for _, is_better in found], 0.9)


@pytest.mark.row("C8.6")
@pytest.mark.parametrize("kind", ["amount", "binary"])
def test_an_unbiased_forecast_is_left_alone(kind: str) -> None:
    found = over_seeds(lambda seed: judge(seed, bias=0.0, n=600, kind=kind), 120)
    assert_false_alarm_rate([r.correction is not None for r in found], 0.05)
    assert_false_alarm_rate([r.total.stands for r in found], 0.05)
    assert_false_alarm_rate([r.swings for r in found], 0.05)


@pytest.mark.slow
@pytest.mark.row("C8.6")
@pytest.mark.parametrize("kind", ["amount", "binary"])
def test_the_range_of_a_bias_and_of_the_slope_hold_the_truth(kind: str) -> None:
    def judged(seed: int) -> ForecastRecord:
        past = past_scores(seed, bias=0.0, n=800, kind=kind)
        # Learned from as many other customers, once for all days.
        sample = past_scores(seed + 100_000, bias=0.0, n=800, kind=kind, cuts=CUTS[:1])
        line = np.polyfit(sample["forecast"], sample["actual"], 1)
        past["forecast"] = np.polyval(line, past["forecast"]).clip(min=0) * 1.1
        return reconcile_forecasts(past, as_of=DAY, minimum_cell_size=10)[0]

    found = over_seeds(judged, 300)
    assert_coverage([(r.total.bias.lower, r.total.bias.upper) for r in found], 0.1, 0.95)
    assert_coverage([(r.slope.lower, r.slope.upper) for r in found], 1 / 1.1, 0.95)


def test_rows_of_one_customer_are_not_taken_for_many_customers() -> None:
    past = past_scores(3, bias=0.0)
    once = reconcile_forecasts(past, as_of=DAY, minimum_cell_size=10)[0].total.bias
    twice = reconcile_forecasts(pd.concat([past, past]), as_of=DAY, minimum_cell_size=10)[
        0
    ].total.bias
    assert (twice.lower, twice.upper) == pytest.approx((once.lower, once.upper))
    assert twice.n == once.n == 2_000


@pytest.mark.row("C8.6")
def test_the_group_with_the_bias_is_named_and_a_small_one_is_hidden() -> None:
    past = past_scores(5, bias=0.0, n=3_000)
    number = past["customer_id"].str[1:].astype(int)
    past.loc[number < 1_000, "forecast"] *= 1.25
    past["group"] = np.select([number < 1_000, number < 2_960], ["s1", "s2"], "s3")
    record = reconcile_forecasts(past, as_of=DAY, minimum_cell_size=10)[0]
    by_name = {b.group: b for b in record.by_group}
    assert set(by_name) == {"s1", "s2"}  # forty customers of s3 are too few
    assert by_name["s1"].stands
    assert not by_name["s1"].bias.excludes(0.25)
    assert not by_name["s2"].stands
    assert (record.reliability["customers"] >= 10).all()


def test_a_bias_that_turned_round_is_not_corrected() -> None:
    past = past_scores(7, bias=0.30, n=4_000)
    past.loc[past["cut"] == CUTS[-1], "forecast"] *= 0.9 / 1.3
    record = reconcile_forecasts(past, as_of=DAY, minimum_cell_size=10)[0]
    assert record.total.stands
    assert record.swings  # its mean says nothing of the next day
    assert record.broke is not None
    assert record.broke.first == CUTS[-1]
    assert not record.is_biased
    assert record.correction is None
    past.loc[past["cut"] == CUTS[-1], "forecast"] *= 1.02 / 0.9
    record = reconcile_forecasts(past, as_of=DAY, minimum_cell_size=10)[0]
    assert record.is_biased
    assert record.correction is None
    assert "did not lower" in record.why_not


@pytest.mark.row("C8.6")
def test_a_season_that_forecasts_do_not_know_is_no_bias() -> None:
    def run(seed: int) -> ForecastRecord:
        past = past_scores(seed, bias=0.0)
        season = past["cut"].map(dict(zip(CUTS, (1.2, 0.8, 1.1), strict=True)))
        past["forecast"] *= season.astype(float)
        return reconcile_forecasts(past, as_of=DAY, minimum_cell_size=10)[0]

    found = over_seeds(run, 40)
    assert_detection_rate([r.swings for r in found], 0.9)
    assert not any(r.is_biased or r.correction for r in found)


def test_a_group_drawn_from_what_came_shows_a_bias_that_no_forecast_had() -> None:
    """Why groups have to be known on the cut: the trap that the page must not fall into."""
    past = past_scores(9, bias=0.0)
    past["group"] = np.where(past["actual"] < past["actual"].median(), "quiet", "lively")
    record = reconcile_forecasts(past, as_of=DAY, minimum_cell_size=10)[0]
    assert all(b.stands for b in record.by_group)
    assert not record.is_biased
    rng = np.random.default_rng(9)
    past["group"] = rng.choice(["quiet", "lively"], len(past))
    record = reconcile_forecasts(past, as_of=DAY, minimum_cell_size=10)[0]
    assert not any(b.stands for b in record.by_group)


def test_one_cut_tells_the_bias_and_tries_no_correction() -> None:
    past = past_scores(7, bias=0.30, cuts=CUTS[:1])
    record = reconcile_forecasts(past, as_of=DAY, minimum_cell_size=10)[0]
    assert record.total.stands
    assert record.correction is None
    assert "one day" in record.why_not


STEPS = tuple(date(2025, m, 1) for m in range(1, 6))


def stepped(seed: int, factors: tuple[float, ...]) -> ForecastRecord:
    past = past_scores(seed, bias=0.0, cuts=STEPS)
    past["forecast"] *= past["cut"].map(dict(zip(STEPS, factors, strict=True))).astype(float)
    return reconcile_forecasts(past, as_of=DAY, minimum_cell_size=10)[0]


@pytest.mark.case("130c")
def test_one_step_is_a_break_and_a_swing_is_none() -> None:
    broken = [stepped(seed, (1.0, 1.0, 1.0, 1.4, 1.4)) for seed in range(6)]
    assert sum(r.broke is not None and r.broke.first == STEPS[3] for r in broken) >= 5
    assert not any(r.correction for r in broken if r.broke)
    swinging = [stepped(seed, (1.3, 0.8, 1.3, 0.8, 1.3)) for seed in range(4)]
    assert sum(r.swings and r.broke is None for r in swinging) >= 3


@pytest.mark.slow
@pytest.mark.case("130c")
def test_a_steady_lean_is_rarely_called_a_break() -> None:
    steady = over_seeds(lambda s: stepped(s, (1.2,) * 5), 100)
    assert_false_alarm_rate([r.broke is not None for r in steady], 0.05)
