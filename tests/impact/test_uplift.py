"""Uplift: published lifts, planted answers found, and nothing claimed where there is nothing."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from insight_lib.findings import Estimate, TooFew
from insight_lib.impact.effects import Metric, estimate_effects
from insight_lib.impact.uplift import (
    estimate_uplift,
    evaluate_targeting,
    value_per_contact,
)
from tests.truth.helpers import (
    assert_coverage,
    assert_detection_rate,
    assert_false_alarm_rate,
    over_seeds,
)

DAY = date(2025, 6, 30)


@pytest.mark.row("C8.2")
def test_hillstrom_gives_the_published_lifts(shared_data: Path) -> None:
    mails = pd.read_csv(shared_data / "hillstrom_email.csv.gz")
    arms = {"No E-Mail": "control", "Mens E-Mail": "men", "Womens E-Mail": "women"}
    frame = mails.assign(arm=mails["segment"].map(arms))
    metrics = [
        Metric(
            column="visit",
            name="visits",
            kind="share",
            unit="share",
            smallest_change_that_matters=0.01,
        ),
        Metric(
            column="spend",
            name="spend",
            kind="heavy",
            unit="USD",
            smallest_change_that_matters=0.1,
        ),
    ]
    effects = {
        (e.arm, e.metric.column): e for e in estimate_effects(frame, metrics, as_of=DAY, seed=1)
    }
    assert effects["men", "visit"].change.value == pytest.approx(0.0766, abs=5e-5)
    assert effects["women", "visit"].change.value == pytest.approx(0.0452, abs=5e-5)
    assert effects["men", "spend"].change.value == pytest.approx(0.770, abs=5e-4)
    assert effects["women", "spend"].change.value == pytest.approx(0.424, abs=5e-4)
    assert all(e.stands for e in effects.values())
    men = effects["men", "spend"].change
    # The symmetric bootstrap-t has equal sides; that one was longer was the last digit's doing.
    assert men.upper - men.value == pytest.approx(men.value - men.lower)


@pytest.mark.slow
@pytest.mark.row("C8.2")
def test_hillstrom_women_can_be_ranked(shared_data: Path) -> None:
    mails = pd.read_csv(shared_data / "hillstrom_email.csv.gz")
    frame = mails[mails["segment"] != "Mens E-Mail"].reset_index(drop=True)
    frame["is_treated"] = frame["segment"] == "Womens E-Mail"
    features = ["recency", "history", "mens", "womens", "newbie"]
    best, other = estimate_uplift(
        frame, features, outcome="visit", unit="share", as_of=DAY, seed=1, n_draws=100
    )
    assert best.is_better
    assert other.is_better
    assert best.curve["gain"].iloc[-1] == pytest.approx(0.0452, abs=5e-5)


def planted(seed: int, n: int = 3_000, effect: float = 10.0) -> pd.DataFrame:
    """Customers with a high x answer by `effect` (others lose as much); y follows z as well."""
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=(2, n))
    is_treated = rng.random(n) < 0.5
    y = 20 + 5 * z + effect * np.where(x > 0, 1, -1) * is_treated + rng.normal(0, 10, n)
    return pd.DataFrame({"x": x, "z": z, "is_treated": is_treated, "y": y})


def run(seed: int, effect: float) -> tuple[bool, ...]:
    found = estimate_uplift(
        planted(seed, 1_500, effect), ["x", "z"], outcome="y", unit="EUR", as_of=DAY,
        seed=seed, n_draws=60,
    )  # fmt: skip
    return tuple(u.is_better for u in found)


@pytest.mark.slow
@pytest.mark.row("C8.2")
def test_never_better_than_random_when_there_is_nothing() -> None:
    nothing = over_seeds(lambda seed: any(run(seed, 0.0)), 50)
    assert_false_alarm_rate(nothing, 0.05)
    something = over_seeds(lambda seed: all(run(seed, 5.0)), 10)
    assert_detection_rate(something, 0.9)


@pytest.mark.row("C8.2")
def test_the_curve_ends_at_the_average_effect_and_starts_at_nothing() -> None:
    frame = planted(1)
    best, _ = estimate_uplift(
        frame, ["x", "z"], outcome="y", unit="EUR", as_of=DAY, seed=1, n_draws=50
    )
    means = frame.groupby("is_treated")["y"].mean()
    assert best.curve["gain"].iloc[0] == 0.0
    assert best.curve["gain"].iloc[-1] == pytest.approx(means[True] - means[False])
    # Half the customers gain ten each: contacting the better half brings five a customer.
    assert best.curve["gain"].iloc[10] == pytest.approx(5.0, abs=1.0)
    again = estimate_uplift(
        frame, ["x", "z"], outcome="y", unit="EUR", as_of=DAY, seed=1, n_draws=50
    )
    assert again[0].better_than_random == best.better_than_random
    with pytest.raises(TooFew):
        estimate_uplift(
            frame[:300], ["x", "z"], outcome="y", unit="EUR", as_of=DAY, seed=1, n_draws=50
        )


def test_value_per_contact_by_hand() -> None:
    lift = Estimate(value=0.77, lower=0.5, upper=1.0, unit="USD", n=100, as_of=DAY, method="given")
    value = value_per_contact(lift, arm="men", n_contacts=1_000, cost_amount=0.1, margin_share=0.4)
    assert value.per_contact.value == pytest.approx(0.77 * 0.4 - 0.1)
    assert value.per_contact.lower == pytest.approx(0.1)
    assert value.total.upper == pytest.approx(300.0)


@pytest.mark.slow
@pytest.mark.row("C8.2")
def test_the_targeting_rule_is_valued_honestly() -> None:
    """Truth: half the customers bring 10 of margin each when contacted, the rest lose 10."""

    def ranges(seed: int) -> tuple[tuple[float, float], tuple[float, float]]:
        frame = planted(seed)
        scores = np.where(frame["x"] > 0, 10.0, -10.0)
        rule = evaluate_targeting(
            frame, scores, revenue="y", cost_amount=2.0, margin_share=1.0, unit="EUR", as_of=DAY
        )
        return (
            (rule.value.lower, rule.value.upper),
            (rule.against_all.lower, rule.against_all.upper),
        )

    found = over_seeds(ranges, 200)
    assert_coverage([value for value, _ in found], 0.5 * 8.0, 0.95, may_be_wide=True)
    assert_coverage([against for _, against in found], 0.5 * 12.0, 0.95, may_be_wide=True)


@pytest.mark.row("C8.2")
def test_a_contact_that_costs_more_than_it_brings_reaches_no_one() -> None:
    frame = planted(2)
    scores = np.where(frame["x"] > 0, 10.0, -10.0)
    rule = evaluate_targeting(
        frame, scores, revenue="y", cost_amount=50.0, margin_share=1.0, unit="EUR", as_of=DAY
    )
    assert rule.share == 0.0
    assert not rule.pays
    assert rule.beats_all  # against contacting everyone at a loss
