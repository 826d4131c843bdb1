"""Answers to campaigns: by an outside reference, by truth, and on the published experiment."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from insight_lib.findings import TooFew
from insight_lib.segments.responsiveness import (
    Decision,
    campaign_frame,
    choose_campaign,
    estimate_responsiveness,
)
from tests.segments.worlds import market
from tests.truth.helpers import assert_coverage, assert_false_alarm_rate, over_seeds

AS_OF = date(2024, 12, 31)


def estimate(frame: pd.DataFrame, smallest: float = 0.02):
    return estimate_responsiveness(
        frame,
        campaign_id="test",
        unit="share",
        smallest_effect_that_matters=smallest,
        as_of=AS_OF,
    )


def drawn(seed: int, effects: dict[str, float], *, n: int = 2000, base: float = 0.1):
    rng = np.random.default_rng(seed)
    parts = []
    for name, effect in effects.items():
        treated = rng.random(n) < 0.5
        parts.append(
            pd.DataFrame(
                {
                    "segment": name,
                    "is_treated": treated,
                    "value": (rng.random(n) < base + effect * treated).astype(float),
                }
            )
        )
    return pd.concat(parts)


def test_effect_and_interval_agree_with_scipy() -> None:
    frame = drawn(1, {"a": 0.05})
    (answer,) = estimate(frame).responses
    treated, control = (frame.loc[frame["is_treated"] == t, "value"] for t in (True, False))
    expected = stats.ttest_ind(treated, control, equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert (answer.effect.lower, answer.effect.upper) == pytest.approx(tuple(interval))
    assert answer.p_value == pytest.approx(expected.pvalue)


@pytest.mark.row("C3.7")
def test_go_no_go_and_keep_testing() -> None:
    frame = pd.concat(
        [
            drawn(2, {"strong": 0.10, "none": 0.0}, n=8000),
            drawn(3, {"unsure": 0.02}, n=400),
            drawn(4, {"tiny": 0.1}, n=20),
        ]
    )
    found = estimate(frame)
    assert {r.segment: r.decision for r in found.responses} == {
        "strong": Decision.GO,
        "none": Decision.NO_GO,
        "unsure": Decision.KEEP_TESTING,
    }
    assert found.left_out == ("tiny",)
    (unsure,) = [r for r in found.responses if r.segment == "unsure"]
    assert unsure.n_needed > 400


@pytest.mark.row("C3.7")
def test_hillstrom_by_history_segment(shared_data: Path) -> None:
    raw = pd.read_csv(shared_data / "hillstrom_email.csv.gz")
    raw = raw[raw["segment"] != "Womens E-Mail"]
    frame = pd.DataFrame(
        {
            "segment": raw["history_segment"],
            "is_treated": raw["segment"] == "Mens E-Mail",
            "value": raw["visit"],
        }
    )
    found = estimate(frame)
    assert len(found.responses) == 7
    # Published: men's mail lifts visits by 7.66 points over all.
    n = np.array([r.effect.n for r in found.responses])
    overall = np.average([r.effect.value for r in found.responses], weights=n)
    assert overall == pytest.approx(0.0766, abs=0.001)
    for answer in found.responses:
        assert answer.effect.lower < 0.0766 + 0.02
        assert answer.effect.lower > 0
        assert answer.decision is Decision.GO


@pytest.mark.slow
@pytest.mark.row("C3.7")
def test_no_effect_is_rarely_a_go_over_seeds() -> None:
    nothing = {f"s{i}": 0.0 for i in range(6)}
    alarms = over_seeds(
        lambda seed: any(r.is_clear for r in estimate(drawn(seed, nothing)).responses), 300
    )
    assert_false_alarm_rate(alarms, 0.05)


@pytest.mark.slow
@pytest.mark.row("C3.7")
def test_intervals_hold_the_planted_effect_over_seeds() -> None:
    def interval(seed: int) -> tuple[float, float]:
        (answer,) = estimate(drawn(seed, {"a": 0.04}, n=800)).responses
        return answer.effect.lower, answer.effect.upper

    assert_coverage(over_seeds(interval, 400), 0.04, 0.95)


@pytest.mark.slow
@pytest.mark.row("C3.7")
def test_the_planted_lifts_of_a_simulated_campaign_are_held() -> None:
    intervals, truths = [], []
    for seed in (1, 2, 3):
        simulated = market("de-fashion", seed, n_customers=6000)
        effects = simulated.truth["campaign_effects"].to_pandas()
        effects = effects[effects["campaign_id"] == "coupon-2025"].set_index("segment")
        people = simulated.truth["customers"].to_pandas()
        frame = campaign_frame(
            simulated.tables["assignments"].to_pandas(),
            simulated.tables["responses"].to_pandas(),
            people,
            campaign_id="coupon-2025",
            response_type="visit",
        )
        for answer in estimate(frame).responses:
            intervals.append((answer.effect.lower, answer.effect.upper))
            truths.append(effects.loc[answer.segment, "visit_lift"])
    assert_coverage(intervals, truths, 0.95, may_be_wide=True)


def test_a_campaign_by_choice_is_refused() -> None:
    assignments = pd.DataFrame(
        {"campaign_id": "x", "customer_id": ["a", "b"], "arm": "mail", "is_randomised": False}
    )
    responses = pd.DataFrame({"campaign_id": [], "customer_id": [], "response_type": []})
    segments = pd.DataFrame({"customer_id": ["a", "b"], "segment": "s1"})
    kinds = {"campaign_id": "x", "response_type": "visit"}
    with pytest.raises(TooFew, match="not drawn by lot"):
        campaign_frame(assignments, responses, segments, **kinds)
    with pytest.raises(TooFew, match="called control"):
        campaign_frame(assignments.assign(is_randomised=True), responses, segments, **kinds)


@pytest.mark.case("16")
def test_another_spelling_of_the_control_arm_is_asked_for_by_name() -> None:
    """Seen: "no campaign was drawn by lot with a control group" where the arm is "Control"."""
    rows = pd.DataFrame(
        {"campaign_id": "K1", "customer_id": ["a", "b"], "arm": ["Control", "mail"]}
    ).assign(is_randomised=True)
    with pytest.raises(TooFew, match="arms: Control, mail") as asked:
        choose_campaign(rows)
    assert asked.value.takes == "the arm that was left alone to be called control"
