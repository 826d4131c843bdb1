"""Chosen customers: the choice is seen, taken out, and called out where it cannot be."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest

from insight_demo import WORLDS, simulate_market
from insight_lib.findings import Estimate, TooFew, Verdict
from insight_lib.impact.experiment_story import describe_responses
from insight_lib.impact.programme_story import describe_targeted
from insight_lib.impact.targeted import Targeted, estimate_targeted, overlap_weights
from insight_lib.statistics import estimate_share
from tests.impact.worlds import CAMPAIGN
from tests.truth.helpers import (
    assert_coverage,
    assert_detection_rate,
    assert_false_alarm_rate,
    over_seeds,
)

DAY = date(2025, 6, 30)
HISTORY = ["h1", "h2", "h3"]


def run(
    seed: int, *, effect: float = 0.0, by_secret: float = 0.0, n: int = 1_500, scale: float = 10.0
) -> Targeted:
    """The retailer picks those who spent most in the last windows; or by a lasting secret."""
    rng = np.random.default_rng(seed)
    habit = rng.gamma(3.0, scale, n)
    secret = rng.random(n) < 0.3
    pace = habit + by_secret * secret
    windows = {w: rng.poisson(pace) for w in (*HISTORY, "before")}
    seen = np.mean([windows["before"], windows["h1"], windows["h2"]], axis=0)
    chance = 1 / (1 + np.exp(-(0.8 * (seen / scale - 3) + 3 * secret * (by_secret > 0))))
    chosen = rng.random(n) < chance
    after = rng.poisson(pace) + effect * chosen
    frame = pd.DataFrame(windows | {"is_chosen": chosen, "after": after})
    return estimate_targeted(frame, history=HISTORY, unit="EUR", as_of=DAY)


@pytest.mark.slow
@pytest.mark.row("M7.1")
def test_the_choice_is_taken_out_and_the_effect_stays() -> None:
    found = over_seeds(lambda seed: run(seed, effect=3.0), 80)
    assert all(t.naive.lower > 3.0 for t in found)  # the plain comparison flatters, every time
    assert all(t.selection.lower > 0 for t in found)
    assert_coverage([(t.adjusted.lower, t.adjusted.upper) for t in found], 3.0, 0.95)
    assert_false_alarm_rate([not t.is_explained for t in found], 0.06)


@pytest.mark.slow
@pytest.mark.row("M7.1")
def test_a_choice_by_what_we_do_not_see_is_called_out() -> None:
    found = over_seeds(lambda seed: run(seed, by_secret=2.0, scale=1.0), 40)
    flattered = [t.adjusted.value for t in found]
    assert np.mean(flattered) > 0.2  # and there is no effect
    assert np.mean([t.placebo.value for t in found]) == pytest.approx(np.mean(flattered), abs=0.1)
    assert_detection_rate([not t.is_explained for t in found], 0.7)


@pytest.mark.slow
@pytest.mark.row("M7.1")
def test_the_catalogue_of_a_simulated_market() -> None:
    """Sent to recent buyers; the truth is the extra orders that it caused."""
    start, days = date(2025, 10, 6), 60

    def gap(seed: int) -> tuple[float, float, tuple[float, float]]:
        world = WORLDS["de-fashion"]
        shop = world.shop
        big = tuple(replace(c, days=days) for c in shop.campaigns if c.targeting)
        world = replace(world, retail=replace(shop, campaigns=big, order_lift_scale=4.0))
        market = simulate_market(world, seed=seed, n_customers=1_500)
        lines = market.tables["transactions"].to_pandas()
        lines = lines[lines["quantity"] > 0].drop_duplicates("order_id")
        sent = market.tables["assignments"].to_pandas().set_index("customer_id")
        age = (lines["ordered_local"].dt.normalize() - pd.Timestamp(start)).dt.days // days
        counts = pd.crosstab(lines["customer_id"], age).reindex(sent.index, fill_value=0)
        columns = dict(zip([0, -1, -2, -3, -4], ["after", "before", *HISTORY], strict=True))
        frame = counts[list(columns)].rename(columns=columns)
        frame["is_chosen"] = sent["arm"] != "control"
        result = estimate_targeted(frame, history=HISTORY, unit="count", as_of=DAY)
        truth = market.truth["assignments"].to_pandas()
        caused = float(truth.loc[truth["arm"] != "control", "caused_order"].mean())
        return (
            result.naive.value - caused,
            result.adjusted.value - caused,
            (
                result.adjusted.lower - caused,
                result.adjusted.upper - caused,
            ),
        )

    found = over_seeds(gap, 15)
    naive, adjusted = (float(np.mean([f[i] for f in found])) for i in (0, 1))
    assert naive > 5 * abs(adjusted)
    assert_coverage([f[2] for f in found], 0.0, 0.95, may_be_wide=True)


def test_weights_make_both_groups_alike() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2_000, 3))
    chosen = (rng.random(2_000) < 1 / (1 + np.exp(-x @ [1.0, 0.5, 0.0]))).astype(float)
    _, weights = overlap_weights(x, chosen)
    for column in x.T:
        means = [np.average(column[chosen == g], weights=weights[chosen == g]) for g in (0, 1)]
        assert means[0] == pytest.approx(means[1], abs=0.002)
    assert abs(x[chosen == 1, 0].mean() - x[chosen == 0, 0].mean()) > 0.5


def test_too_few_of_either() -> None:
    with pytest.raises(TooFew, match="it takes 50 of each"):
        run(1, n=60)


def euros(value: float, half: float) -> Estimate:
    return Estimate(
        value=value, lower=value - half, upper=value + half, unit="EUR", n=900, as_of=DAY,
        method="given",
    )  # fmt: skip


@pytest.mark.case("91")
def test_words_about_a_choice_follow_its_sign_and_say_what_the_placebo_cannot_see() -> None:
    result = Targeted(
        naive=euros(9.0, 1.0), selection=euros(-4.0, 1.0), adjusted=euros(11.38, 2.0),
        placebo=euros(0.2, 1.0), overlap_share=0.9, n_chosen=400, n_other=500,
    )  # fmt: skip

    def told(found: Targeted) -> str:
        finding = describe_targeted(found, CAMPAIGN, window_days=28, smallest_change=1.0)
        assert finding.verdict is not Verdict.MATTERS  # nobody was left alone by lot
        return f"{finding.statement} {finding.so_what}"

    text = told(result)
    assert "€4.00 less before" in text
    assert "belittles" in text
    assert "flatters" not in text
    assert "if nothing but the campaign began for those chosen on its day" in text
    assert "none that began with the campaign" in text
    assert "flatters" in told(replace(result, selection=euros(4.0, 1.0)))
    even = told(replace(result, selection=euros(0.5, 1.0)))
    assert "neither surely more nor surely less" in even


@pytest.mark.case("29")
def test_answers_without_a_control_group_are_a_share_and_no_effect() -> None:
    finding = describe_responses(estimate_share(0, 56, as_of=DAY), CAMPAIGN)
    assert "0% of the customers of spring answered it (likely 0.0% to 6.4%)" in str(
        finding.statement
    )
    assert "not what the campaign brought" in str(finding.so_what)
    assert finding.verdict is Verdict.CANNOT_TELL
