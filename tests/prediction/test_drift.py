"""Drift: silence without it at every size, the planted shift named, bank data as published."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from insight_lib.findings import TooFew
from insight_lib.prediction.drift import Drift, estimate_drift
from tests.truth.helpers import assert_detection_rate, assert_false_alarm_rate, over_seeds

AS_OF = date(2024, 12, 31)


def frames(
    seed: int, *, n: int = 400, repeats: int = 1, overlap: float = 0.8
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Skewed, tied, text and gappy columns; most customers stand in both groups."""
    rng = np.random.default_rng(seed)
    n_people = int(n * (2 - overlap))
    lasting = rng.normal(size=n_people)

    def look(customers: np.ndarray) -> pd.DataFrame:
        own = lasting[customers] + 0.5 * rng.normal(size=len(customers))
        frame = pd.DataFrame(
            {
                "revenue_amount": np.exp(2 * own),
                "n_orders": rng.poisson(np.exp(0.3 * own)).astype(float),
                "is_new": (own > 1.5).astype(float),
                "channel": np.where(own > 0.4, "web", np.where(own > -2.2, "store", "fair")),
                "gap_days": np.where(own < -0.8, np.nan, rng.gamma(2, 10, len(customers))),
                "score": 1 / (1 + np.exp(-own)),
            },
            index=pd.Index([f"c{i:05}" for i in customers], name="customer_id"),
        )
        return frame.sort_index()

    before = pd.concat([look(np.arange(n)) for _ in range(repeats)])
    return before, look(np.arange(n_people - n, n_people))


def drift(before: pd.DataFrame, now: pd.DataFrame, **options: float) -> Drift:
    return estimate_drift(before, now, as_of=AS_OF, scores=("score",), **options)


@pytest.mark.row("C4.4", "M5.2")
@pytest.mark.parametrize(
    ("n", "repeats", "overlap"),
    [(60, 1, 0.0), (60, 1, 0.8), (150, 3, 0.9), (200, 6, 0.0), (400, 4, 0.8)],
)
def test_no_drift_raises_an_alarm_in_at_most_one_run_of_twenty(
    n: int, repeats: int, overlap: float
) -> None:
    # Any shift at all may count, so that chance alone is on trial.
    def is_alarm(seed: int) -> bool:
        pair = frames(seed, n=n, repeats=repeats, overlap=overlap)
        return bool(drift(*pair, smallest_psi=1e-9, smallest_missing_change=1e-9).alarms)

    assert_false_alarm_rate(over_seeds(is_alarm, 200), 0.05)


@pytest.mark.row("C4.4", "M5.2")
def test_the_planted_shift_is_found_and_named_first() -> None:
    def is_found(seed: int) -> bool:
        before, now = frames(seed)
        now["revenue_amount"] *= 3
        found = drift(before, now)
        return found.shifts[0].name == "revenue_amount" and len(found.alarms) == 1

    assert_detection_rate(over_seeds(is_found, 40), 0.9)


def test_values_gone_missing_are_a_shift_of_their_own() -> None:
    before, now = frames(1)
    lost = np.random.default_rng(5).random(len(now)) < 0.3
    now.loc[lost, "n_orders"] = np.nan
    shift = drift(before, now).shifts[0]
    assert (shift.name, shift.has_more_missing, shift.has_moved) == ("n_orders", True, False)
    assert shift.missing_change.lower < 0.3 < shift.missing_change.upper


def test_a_large_market_does_not_cry_wolf() -> None:
    rng = np.random.default_rng(3)
    before = pd.DataFrame({"x": rng.normal(size=60_000)}, index=range(60_000))
    now = pd.DataFrame({"x": rng.normal(0.05, 1, 60_000)}, index=range(60_000, 120_000))
    shift = drift(before, now).shifts[0]
    assert shift.p_value < 0.001
    assert not shift.has_moved


def test_an_age_that_grows_with_the_calendar_is_no_alarm() -> None:
    rng = np.random.default_rng(3)
    days = rng.integers(0, 900, 500).astype(float)
    before = pd.DataFrame({"tenure_days": days}, index=range(500))
    shift = drift(before, before + 280).shifts[0]
    assert shift.is_calendar
    assert not shift.has_moved
    # The same step of an amount is no calendar: something is wrong with the feed.
    amounts = pd.DataFrame({"revenue_amount": days}, index=range(500))
    assert drift(amounts, amounts + 280).alarms


def test_index_and_distance_by_hand() -> None:
    # Half and half before, nine to one now: (0.9-0.5)ln(0.9/0.5) + (0.1-0.5)ln(0.1/0.5) = 0.879.
    before = pd.DataFrame({"channel": ["web", "store"] * 5000}, index=range(10_000))
    now = pd.DataFrame({"channel": (["web"] * 9 + ["store"]) * 1000}, index=range(10_000, 20_000))
    shift = drift(before, now).shifts[0]
    assert shift.psi == pytest.approx(0.879, abs=0.002)
    assert shift.distance == pytest.approx(0.3829, abs=1e-3)
    numbers = drift(
        pd.DataFrame({"x": np.arange(100.0)}, index=range(100)),
        pd.DataFrame({"x": np.arange(100.0) + 25}, index=range(100, 200)),
    )
    assert numbers.shifts[0].distance == pytest.approx(0.25)


def test_what_is_called_detectable_is_found_in_four_of_five() -> None:
    rng = np.random.default_rng(0)
    quiet = pd.DataFrame({"channel": rng.choice(["web", "store"], 500)}, index=range(500))
    other = pd.DataFrame({"channel": rng.choice(["web", "store"], 500)}, index=range(500, 1000))
    size = drift(quiet, other).shifts[0].detectable_psi

    def is_found(seed: int) -> bool:
        draw = np.random.default_rng(seed)
        step = np.sqrt(size) / 2  # PSI of a half-half split moved by step is about (2 step)^2.
        now = draw.choice(["web", "store"], 500, p=[0.5 + step, 0.5 - step])
        before = draw.choice(["web", "store"], 500)
        pair = (pd.DataFrame({"channel": v}) for v in (before, now))
        left, right = pair
        found = drift(left, right.set_index(right.index + 500), smallest_psi=1e-9)
        return found.shifts[0].has_moved

    share = float(np.mean(over_seeds(is_found, 300)))
    assert 0.72 < share < 0.88


def test_too_few_and_absent_columns_are_said() -> None:
    before, now = frames(1)
    with pytest.raises(TooFew, match="takes 30"):
        drift(before, now.head(10))
    with pytest.raises(KeyError, match="n_orders"):
        drift(before, now.drop(columns="n_orders"))


@pytest.mark.row("C4.4")
def test_bank_campaign_has_drifted_as_published(shared_data: Path) -> None:
    bank = pd.read_csv(shared_data / "bank_marketing_pt.csv.gz").sort_values("row_in_time_order")
    bank = bank.drop(columns=["row_in_time_order", "y", "duration"])
    cut = int(0.6 * len(bank))
    found = drift(bank.iloc[:cut], bank.iloc[cut:])
    named = {s.name for s in found.alarms}
    assert {"euribor3m", "nr.employed"} <= named
    assert not {"housing", "loan", "day_of_week"} & named
