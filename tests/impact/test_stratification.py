"""Strata: the estimator by hand, unbiased, narrower where strata matter and no wider elsewhere."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from insight_lib.findings import TooFew, Verdict
from insight_lib.impact.effects import Metric, estimate_by_group
from insight_lib.impact.groups import answer_by_traits
from insight_lib.impact.integrity_story import describe_stratified
from insight_lib.impact.planning_story import describe_groups
from insight_lib.impact.stratification import (
    check_groups_differ,
    check_stratum_balance,
    estimate_stratified,
    value_bands,
)
from tests.impact.worlds import simple_result
from tests.truth.helpers import (
    assert_coverage,
    assert_detection_rate,
    assert_false_alarm_rate,
    assert_unbiased,
    over_seeds,
)

DAY = date(2025, 6, 30)
SPEND = Metric(
    column="value", name="spend", kind="mean", unit="EUR", smallest_change_that_matters=1.0
)


def test_the_weighted_difference_by_hand() -> None:
    # Stratum a: 40 + 20 customers, 12 against 10. Stratum b: 10 + 30 customers, 3 against 2.
    frame = pd.DataFrame(
        {
            "is_treated": [True] * 40 + [False] * 20 + [True] * 10 + [False] * 30,
            "band": ["a"] * 60 + ["b"] * 40,
            "value": [11.0, 13.0] * 20 + [9.0, 11.0] * 10 + [2.0, 4.0] * 5 + [1.0, 3.0] * 15,
        }
    )
    found = estimate_stratified(frame, SPEND, stratum="band", as_of=DAY)
    assert found.change.value == pytest.approx(0.6 * 2 + 0.4 * 1)
    variance = 0.36 * (40 / 39 / 40 + 20 / 19 / 20) + 0.16 * (10 / 9 / 10 + 30 / 29 / 30)
    half = (found.change.upper - found.change.lower) / 2
    assert half == pytest.approx(2.01 * variance**0.5, rel=0.01)  # t with 46 degrees
    # The plain difference is led astray: strata differ in level and in share contacted.
    treated = frame.loc[frame["is_treated"], "value"].mean()
    assert treated - frame.loc[~frame["is_treated"], "value"].mean() == pytest.approx(5.0)
    assert found.width_ratio < 0.5


def test_small_strata_are_put_together() -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "is_treated": rng.random(300) < 0.5,
            "band": ["a"] * 140 + ["b"] * 140 + ["c"] * 7 + ["d"] * 8 + [None] * 5,
            "value": rng.normal(size=300),
        }
    )
    found = estimate_stratified(frame, SPEND, stratum="band", as_of=DAY)
    assert found.table["stratum"].tolist()[:2] in (["a", "b"], ["b", "a"])
    assert found.table["customers"].sum() == 300
    with pytest.raises(TooFew, match="fewer than two groups"):
        estimate_stratified(frame.assign(band="x"), SPEND, stratum="band", as_of=DAY)
    ratio = Metric(
        column="value", name="r", kind="ratio", unit="EUR", per="n", smallest_change_that_matters=1
    )
    with pytest.raises(ValueError, match="no mean within strata"):
        estimate_stratified(frame, ratio, stratum="band", as_of=DAY)


def test_value_bands_by_hand() -> None:
    bands = value_bands([0.0, 5.0, 1.0, 3.0, 9.0, 2.0, 7.0, 0.0])
    assert bands.tolist() == [
        "no spend", "middle spend", "low spend", "middle spend",
        "high spend", "low spend", "high spend", "no spend",
    ]  # fmt: skip


def customers(seed: int, *, spread: float, lift: float = 3.0, n: int = 400) -> pd.DataFrame:
    """Four strata whose levels lie `spread` apart; the effect grows with the stratum."""
    rng = np.random.default_rng(seed)
    stratum = rng.integers(0, 4, n)
    is_treated = rng.random(n) < 0.5
    value = spread * stratum + lift * (0.5 + stratum / 3) * is_treated + rng.normal(0, 10, n)
    return pd.DataFrame(
        {
            "is_treated": is_treated,
            "stratum": stratum.astype(str),
            "value": value,
            "before": rng.normal(0, 1, n),
        }
    )


@pytest.mark.slow
@pytest.mark.row("C8.1")
def test_unbiased_covering_and_narrower_only_where_strata_matter() -> None:
    def run(seed: int, spread: float) -> tuple[float, float, float, float]:
        frame = customers(seed, spread=spread)
        found = estimate_stratified(frame, SPEND, stratum="stratum", as_of=DAY)
        return found.change.value, found.change.lower, found.change.upper, found.width_ratio

    apart = over_seeds(lambda seed: run(seed, 12.0), 400)
    alike = over_seeds(lambda seed: run(seed, 0.0), 400)
    for results in (apart, alike):  # the mean of 0.5 + stratum / 3 over strata is one
        assert_unbiased([v for v, *_ in results], 3.0, detectable=0.4)
        assert_coverage([(low, high) for _, low, high, _ in results], 3.0, 0.95)
    # Between strata lie 12**2 * 1.25 = 180 of 280: the range should be 0.6 as wide.
    assert np.mean([ratio for *_, ratio in apart]) == pytest.approx(0.6, abs=0.02)
    assert np.mean([ratio for *_, ratio in alike]) == pytest.approx(1.0, abs=0.01)
    assert max(ratio for *_, ratio in alike) < 1.05


@pytest.mark.slow
@pytest.mark.row("C8.1")
def test_a_lottery_that_fails_within_one_stratum_is_named() -> None:
    def named(seed: int, leak: float) -> tuple[str, ...]:
        frame = customers(seed, spread=12.0, n=2_000)
        rng = np.random.default_rng(seed)
        lost = (frame["stratum"] == "2") & frame["is_treated"] & (rng.random(2_000) < leak)
        return check_stratum_balance(frame[~lost], ["before"], stratum="stratum").unbalanced

    assert_false_alarm_rate([bool(n) for n in over_seeds(lambda s: named(s, 0.0), 300)], 0.05)
    found = over_seeds(lambda s: named(s, 0.4), 60)
    assert_detection_rate(["2" in names for names in found], 0.95)


@pytest.mark.slow
@pytest.mark.row("C8.2")
def test_groups_that_answer_alike_are_not_said_to_differ() -> None:
    def differ(seed: int, extra: float) -> bool:
        frame = customers(seed, spread=5.0, lift=0.0, n=800)
        best = (frame["stratum"] == "3") & frame["is_treated"]
        frame["value"] += 3.0 * frame["is_treated"] + extra * best
        effects = estimate_by_group(frame, SPEND, group="stratum", as_of=DAY, seed=1)
        return check_groups_differ(effects).is_clear

    assert_false_alarm_rate(over_seeds(lambda s: differ(s, 0.0), 500), 0.05)
    assert_detection_rate(over_seeds(lambda s: differ(s, 8.0), 60), 0.9)


def test_what_the_page_says_of_groups_and_strata() -> None:
    frame = customers(4, spread=5.0, lift=0.0, n=4_000)
    frame.loc[(frame["stratum"] == "2") & frame["is_treated"], "value"] += 9.0
    result = simple_result(frame, SPEND)
    (answers,) = answer_by_traits(frame, SPEND, {"stratum": "band"}, as_of=DAY, seed=1)
    finding = describe_groups(answers, result)
    assert str(finding.statement) == "spring surely raised spend among 2; groups by band differ."
    assert finding.verdict is Verdict.MATTERS
    alike = customers(4, spread=5.0, lift=0.0, n=4_000)
    (none,) = answer_by_traits(alike, SPEND, {"stratum": "band"}, as_of=DAY, seed=1)
    finding = describe_groups(none, simple_result(alike, SPEND))
    assert "No group of customers by band surely answers" in str(finding.statement)
    found = estimate_stratified(frame, SPEND, stratum="stratum", as_of=DAY)
    assert describe_stratified(found, found.change, result).verdict is Verdict.PASS
    with pytest.raises(TooFew, match="takes two to differ"):
        check_groups_differ({"a": answers.effects["0"]})


def test_two_groups_differ_as_their_difference_says() -> None:
    """With two groups Cochran's Q is the square of the difference over its error."""
    frame = customers(2, spread=5.0, lift=6.0, n=400)
    halves = frame.assign(half=np.where(frame["stratum"].isin(["0", "1"]), "a", "b"))
    effects = estimate_by_group(halves, SPEND, group="half", as_of=DAY, seed=1)
    changes = [effects[name].change for name in ("a", "b")]
    error = np.hypot(*[(c.upper - c.lower) / 2 / 1.959964 for c in changes])
    z = (changes[0].value - changes[1].value) / error
    assert check_groups_differ(effects).p_value == pytest.approx(2 * stats.norm.sf(abs(z)))
