"""Experiments: hand-made tables, published answers, and promises kept over many seeds."""

from __future__ import annotations

import math
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from insight_lib.findings import TooFew, Verdict
from insight_lib.impact.design import (
    check_attrition,
    check_balance,
    check_sample_ratio,
    plan_next_test,
    plan_test,
    remaining_deviation,
)
from insight_lib.impact.effects import (
    Metric,
    bootstrap_difference,
    estimate_by_group,
    estimate_capped_effect,
    estimate_effect,
    estimate_effects,
)
from insight_lib.impact.sequential import (
    boundary,
    looks_while_customers_enter,
    looks_while_outcomes_arrive,
    monitor,
)
from tests.truth.helpers import (
    assert_coverage,
    assert_detection_rate,
    assert_false_alarm_rate,
    assert_unbiased,
    over_seeds,
)

DAY = date(2025, 6, 30)


def metric(kind: str = "mean", **kw: object) -> Metric:
    return Metric(
        column="value",
        name="spend",
        kind=kind,  # type: ignore[arg-type]
        unit="share" if kind == "share" else "EUR",
        smallest_change_that_matters=0.01,
        **kw,  # type: ignore[arg-type]
    )


def customers(seed: int, n: int = 400, lift: float = 0.0) -> pd.DataFrame:
    """Spend that follows the customer's own habit, so that the pre-period foretells it."""
    rng = np.random.default_rng(seed)
    habit = rng.gamma(2.0, 10.0, n)
    is_treated = rng.random(n) < 0.5
    return pd.DataFrame(
        {
            "is_treated": is_treated,
            "arm": np.where(is_treated, "mail", "control"),
            "before": habit + rng.normal(0, 6, n),
            "value": habit + rng.normal(0, 6, n) + lift * is_treated,
            "orders": rng.poisson(2, n) + 1,
            "group": rng.integers(0, 4, n),
        }
    )


@pytest.mark.row("C8.1")
def test_cookie_cats_gives_the_published_answer_and_the_warning(shared_data: Path) -> None:
    players = pd.read_csv(shared_data / "cookie_cats_ab.csv.gz")
    frame = pd.DataFrame(
        {
            "is_treated": players["test_version"] == "gate_30",
            "value": players["retention_7"].astype(float),
        }
    )
    effect = estimate_effect(frame, metric("share"), arm="gate_30", as_of=DAY, seed=1)
    assert effect.treated.value == pytest.approx(0.1902, abs=5e-5)
    assert effect.control.value == pytest.approx(0.1820, abs=5e-5)
    assert effect.p_value == pytest.approx(0.00155, abs=1e-5)
    assert stats.norm.isf(effect.p_value / 2) == pytest.approx(3.164, abs=1e-3)
    assert effect.change.excludes(0)
    ratio = check_sample_ratio(players["test_version"].value_counts().to_dict())
    assert ratio.counts == {"gate_30": 44_700, "gate_40": 45_489}
    assert ratio.p_value == pytest.approx(0.0086, abs=5e-5)
    assert ratio.is_warning
    assert not ratio.is_broken


def test_a_fair_lottery_raises_no_warning_and_a_leak_does() -> None:
    assert not check_sample_ratio({"control": 5_020, "mail": 4_980}).is_warning
    leak = check_sample_ratio({"control": 5_000, "mail": 4_600})
    assert leak.is_broken
    planned = {"control": 0.5, "a": 0.25, "b": 0.25}
    assert not check_sample_ratio({"control": 500, "a": 245, "b": 255}, planned).is_warning
    with pytest.raises(ValueError, match="do not fit the arms"):
        check_sample_ratio({"control": 10, "a": 10}, {"control": 1.0})


@pytest.mark.slow
@pytest.mark.row("C8.1")
def test_the_sample_ratio_warning_comes_as_rarely_as_it_says() -> None:
    def alarm(seed: int) -> bool:
        n = int(np.random.default_rng(seed).binomial(4_000, 0.5))
        return check_sample_ratio({"control": n, "mail": 4_000 - n}).is_warning

    assert_false_alarm_rate(over_seeds(alarm, 2_000), 0.01)


def test_design_equals_the_textbook_and_its_test_has_the_promised_power() -> None:
    # Two proportions around 10 %, 2 points apart: 3,532 customers an arm (Cohen's formula).
    plan = plan_test(
        standard_deviation=0.3,
        n_customers=2_000,
        smallest_effect_that_matters=0.02,
        unit="share",
        as_of=DAY,
        customers_per_week=1_000,
    )
    by_hand = 2 * (1.959964 + 0.841621) ** 2 * 0.09 / 0.02**2
    assert plan.n_needed == math.ceil(2 * by_hand)
    assert plan.weeks_needed == 8
    assert not plan.is_enough
    assert plan.detectable.value == pytest.approx(2.801585 * 0.3 * math.sqrt(2 / 1_000), rel=1e-6)
    with pytest.raises(TooFew):
        plan_test(
            standard_deviation=1,
            n_customers=0,
            smallest_effect_that_matters=1,
            unit="EUR",
            as_of=DAY,
        )


@pytest.mark.slow
@pytest.mark.row("C8.1")
def test_the_promised_power_is_reached() -> None:
    plan = plan_test(
        standard_deviation=math.sqrt(200 + 36),
        n_customers=600,
        smallest_effect_that_matters=1.0,
        unit="EUR",
        as_of=DAY,
    )

    def found(seed: int) -> bool:
        frame = customers(seed, 600, lift=plan.detectable.value)
        return estimate_effect(frame, metric(), arm="mail", as_of=DAY, seed=1).change.excludes(0)

    hits = over_seeds(found, 400)
    assert_detection_rate(hits, 0.8)
    assert_false_alarm_rate(hits, 0.8)  # and not more: the size is not overstated


def test_a_mean_difference_by_hand() -> None:
    frame = pd.DataFrame({"is_treated": [True] * 40 + [False] * 40})
    frame["value"] = [3.0, 5.0] * 20 + [1.0, 3.0] * 20
    effect = estimate_effect(frame, metric(), arm="a", as_of=DAY, seed=1)
    assert effect.change.value == pytest.approx(2.0)
    welch = stats.ttest_ind(frame["value"][:40], frame["value"][40:], equal_var=False)
    bounds = welch.confidence_interval()
    assert effect.change.lower == pytest.approx(bounds.low, abs=0.02)
    assert effect.change.upper == pytest.approx(bounds.high, abs=0.02)
    with pytest.raises(TooFew):
        estimate_effect(frame[20:], metric(), arm="a", as_of=DAY, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["share", "mean", "ratio", "cuped", "heavy"])
@pytest.mark.row("C8.1")
def test_a_test_of_nothing_gives_uniform_p_values_and_true_ranges(kind: str) -> None:
    """Two halves that were treated alike: every p-value is as likely as every other."""

    def run(seed: int) -> tuple[float, float, float]:
        frame = customers(seed)
        m = metric("mean" if kind == "cuped" else kind)
        if kind == "share":
            frame["value"] = (frame["value"] > 20).astype(float)
        if kind == "ratio":
            frame["value"] = frame["value"] * frame["orders"]
            m = metric("ratio", per="orders")
        if kind == "cuped":
            m = metric("mean", before="before")
        if kind == "heavy":
            rng = np.random.default_rng(seed + 10_000)
            frame["value"] = np.round(rng.pareto(2.5, len(frame)) * 20) * (
                rng.random(len(frame)) < 0.4
            )
        effect = estimate_effect(frame, m, arm="mail", as_of=DAY, seed=seed)
        return effect.p_value, effect.change.lower, effect.change.upper

    results = over_seeds(run, 400)
    ps = [p for p, *_ in results]
    if kind == "share":  # a share takes few values, so its p-values come in steps
        ps = [p + 1e-3 * math.sin(i) for i, p in enumerate(ps)]
    if kind != "heavy":
        assert stats.kstest(ps, "uniform").pvalue > 0.01
    assert_coverage([(low, high) for _, low, high in results], 0.0, 0.95)
    broken = [p / 2 for p in ps]  # the check can fail
    assert stats.kstest(broken, "uniform").pvalue < 0.001


@pytest.mark.row("C8.1")
def test_the_pre_period_narrows_the_range_and_leaves_the_effect() -> None:
    frame = customers(3, 2_000, lift=4.0)
    plain = estimate_effect(frame, metric(), arm="mail", as_of=DAY, seed=1)
    cuped = estimate_effect(frame, metric(before="before"), arm="mail", as_of=DAY, seed=1)
    # Habit has variance 200, noise 36: the pre-period explains (200 / 236) squared.
    assert cuped.variance_removed == pytest.approx((200 / 236) ** 2, abs=0.04)
    width = (cuped.change.upper - cuped.change.lower) / (plain.change.upper - plain.change.lower)
    assert width == pytest.approx(math.sqrt(1 - cuped.variance_removed), abs=0.03)
    assert not cuped.change.excludes(4.0)
    assert cuped.raw_change == plain.change


@pytest.mark.slow
@pytest.mark.row("C8.1")
def test_the_pre_period_does_not_bend_the_effect() -> None:
    def value(seed: int) -> tuple[float, tuple[float, float]]:
        frame = customers(seed, lift=4.0)
        e = estimate_effect(frame, metric(before="before"), arm="mail", as_of=DAY, seed=1)
        return e.change.value, (e.change.lower, e.change.upper)

    results = over_seeds(value, 300)
    assert_unbiased([v for v, _ in results], 4.0, detectable=0.25)
    assert_coverage([b for _, b in results], 4.0, 0.95)


@pytest.mark.slow
@pytest.mark.row("C8.1")
def test_many_metrics_of_nothing_rarely_claim_anything() -> None:
    metrics = [
        Metric(
            column=f"m{i}", name=f"m{i}", kind="mean", unit="EUR", smallest_change_that_matters=1
        )
        for i in range(8)
    ]

    def claims(seed: int) -> tuple[bool, bool]:
        frame = customers(seed, 300)
        noise = np.random.default_rng(seed).normal(size=(300, 8))
        frame = frame.assign(**{f"m{i}": noise[:, i] for i in range(8)})
        effects = estimate_effects(frame, metrics, as_of=DAY, seed=1)
        return any(e.stands for e in effects), any(e.p_value < 0.05 for e in effects)

    results = over_seeds(claims, 300)
    assert_false_alarm_rate([stood for stood, _ in results], 0.05)
    with pytest.raises(AssertionError):  # one by one they would claim far too often
        assert_false_alarm_rate([one for _, one in results], 0.05)


def test_the_group_that_answers_is_found_among_those_that_do_not() -> None:
    frame = customers(5, 4_000)
    frame.loc[(frame["group"] == 2) & frame["is_treated"], "value"] += 5.0
    found = estimate_by_group(frame, metric(), group="group", as_of=DAY, seed=1)
    assert [name for name, e in found.items() if e.stands] == ["2"]


def test_balance_and_attrition_name_what_is_wrong() -> None:
    frame = customers(8, 2_000)
    assert check_balance(frame, ["before", "orders"]).unbalanced == ()
    crooked = frame.assign(before=frame["before"] + 4.0 * frame["is_treated"])
    assert check_balance(crooked, ["before", "orders"]).unbalanced == ("before",)
    kept = frame.assign(is_followed=True)
    assert not check_attrition(kept).is_warning
    rng = np.random.default_rng(1)
    lost = frame.assign(is_followed=~(frame["is_treated"] & (rng.random(2_000) < 0.1)))
    attrition = check_attrition(lost)
    assert attrition.is_warning
    assert attrition.shares["control"] == 0.0
    assert attrition.shares["mail"] == pytest.approx(0.1, abs=0.03)


def pareto_spend(rng: np.random.Generator, n: int, buyers: float) -> np.ndarray:
    """A few buy, and what they spend has a Pareto tail of 2.2: mean 20 * 2.2 / 1.2 a buyer."""
    return 20 * (rng.pareto(2.2, n) + 1) * (rng.random(n) < buyers)


@pytest.mark.slow
@pytest.mark.row("C8.1")
@pytest.mark.parametrize(("n_treated", "n_control"), [(850, 850), (1_600, 400), (400, 1_600)])
def test_heavy_tails_are_covered_at_least_as_often_as_the_docs_say(
    n_treated: int, n_control: int
) -> None:
    def run(seed: int) -> tuple[tuple[float, float], tuple[float, float]]:
        rng = np.random.default_rng(seed)
        treated = pareto_spend(rng, n_treated, 0.225)
        control = pareto_spend(rng, n_control, 0.15)
        bounds = bootstrap_difference(treated, control, level=0.95, seed=seed, n_draws=500)
        error = math.sqrt(treated.var() / n_treated + control.var() / n_control)
        gap = float(treated.mean() - control.mean())
        return bounds, (gap - 1.5 * error, gap + 1.5 * error)

    results = over_seeds(run, 300)
    truth = 0.075 * 20 * 2.2 / 1.2
    assert_coverage([bounds for bounds, _ in results], truth, 0.94, may_be_wide=True)
    with pytest.raises(AssertionError):
        assert_coverage([narrow for _, narrow in results], truth, 0.94, may_be_wide=True)


def test_a_range_around_heavy_tails_is_even_and_repeatable() -> None:
    rng = np.random.default_rng(2)
    treated = pareto_spend(rng, 3_000, 0.05)
    control = pareto_spend(rng, 3_000, 0.05)
    low, high = bootstrap_difference(treated, control, level=0.95, seed=1)
    middle = treated.mean() - control.mean()
    assert high - middle == pytest.approx(middle - low)
    assert (low, high) == bootstrap_difference(treated, control, level=0.95, seed=1)
    assert bootstrap_difference(np.ones(40), np.ones(40), level=0.95, seed=1) == (0.0, 0.0)


def test_one_customer_who_carries_the_result_is_seen_when_capped() -> None:
    frame = customers(3, 400).assign(value=lambda f: f["value"].clip(lower=0))
    heavy = metric("heavy")
    first = frame.index[frame["is_treated"]][0]
    frame.loc[first, "value"] = 20_000.0
    plain = estimate_effect(frame, heavy, arm="mail", as_of=DAY, seed=1)
    capped = estimate_capped_effect(frame, heavy, arm="mail", as_of=DAY, seed=1)
    assert plain.change.value > 90
    assert abs(capped.change.value) < 5
    assert capped.change.upper - capped.change.lower < 10
    assert frame["value"].max() == 20_000.0  # the frame itself is left alone
    whole = customers(3, 400)
    one = estimate_capped_effect(whole, metric(), arm="mail", as_of=DAY, seed=1, top=0.0)
    assert one.change == estimate_effect(whole, metric(), arm="mail", as_of=DAY, seed=1).change


def test_the_next_test_by_hand() -> None:
    """3,532 an arm take 7,064 customers: 5,000 there, 2,064 to come at 100 a week, 3 weeks."""
    common = {
        "metric_name": "share who ordered",
        "standard_deviation": 0.3,
        "smallest_effect_that_matters": 0.02,
        "unit": "share",
        "as_of": DAY,
        "window_days": 21,
    }
    plan = plan_next_test(n_available=5_000, customers_per_week=100, longest_weeks=26, **common)
    assert plan.design.n_needed == 7_064
    assert plan.weeks == 21 + 3
    assert plan.n_in_time == 5_000 + 23 * 100
    there = plan_next_test(n_available=8_000, customers_per_week=0, longest_weeks=26, **common)
    assert there.weeks == 3
    late = plan_next_test(n_available=5_000, customers_per_week=100, longest_weeks=20, **common)
    assert late.weeks is None
    assert late.design.detectable.value > 0.02
    never = plan_next_test(n_available=5_000, customers_per_week=0, longest_weeks=20, **common)
    assert never.weeks is None
    habit = np.tile([0.0, 1.0, 2.0, 3.0], 100)
    noise = np.tile([1.0, 1.0, -1.0, -1.0, -1.0, -1.0, 1.0, 1.0], 50)
    left = remaining_deviation(habit + noise, habit)
    assert left == pytest.approx(noise.std(ddof=1), rel=1e-6)
    assert remaining_deviation(habit, np.zeros(400)) == habit.std(ddof=1)


# --- looking every day ---


def test_the_boundary_is_wider_than_one_look_and_narrowest_for_its_time() -> None:
    assert boundary(1.0) == pytest.approx(3.03, abs=0.01)
    assert boundary(1.0) > 1.96
    # Ranges in the effect's own scale shrink as information grows.
    widths = [boundary(t) / math.sqrt(t) for t in (0.1, 0.3, 1.0, 3.0)]
    assert widths == sorted(widths, reverse=True)


def entering(seed: int, lift: float = 0.0, days: int = 60, per_day: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    n = days * per_day
    is_treated = rng.random(n) < 0.5
    return pd.DataFrame(
        {
            "day": [DAY + timedelta(days=i // per_day) for i in range(n)],
            "is_treated": is_treated,
            "value": (rng.random(n) < 0.2 + lift * is_treated).astype(float),
        }
    )


def run_entering(seed: int, lift: float = 0.0) -> tuple[bool, bool, bool]:
    result = monitor(
        looks_while_customers_enter(entering(seed, lift), planned_customers=2_400),
        unit="difference",
        smallest_change_that_matters=0.02,
    )
    last = result.looks[-1].change
    holds = all(not k.change.excludes(lift) for k in result.looks)
    assert (result.looks[-1].p_value < 0.05) == (result.stop is not None)
    assert last.lower <= last.value <= last.upper
    return result.stop is not None, result.peeking_stop is not None, holds


@pytest.mark.slow
@pytest.mark.row("C8.1")
def test_peeking_daily_keeps_the_error_and_plain_peeking_does_not() -> None:
    results = over_seeds(run_entering, 200)
    assert_false_alarm_rate([stop for stop, *_ in results], 0.05)
    with pytest.raises(AssertionError):
        assert_false_alarm_rate([peeked for _, peeked, _ in results], 0.05)
    planted = over_seeds(lambda seed: run_entering(seed, 0.08), 60)
    assert_detection_rate([stop for stop, *_ in planted], 0.9)
    assert_coverage(
        [(0.0, 1.0) if holds else (2.0, 3.0) for *_, holds in planted], 0.5, 0.95, may_be_wide=True
    )


def arriving(seed: int, lift: float = 0.0) -> bool:
    """All enter at once; customers keep their own pace over six weeks of outcomes."""
    rng = np.random.default_rng(seed)
    n, days = 600, 42
    is_treated = rng.random(n) < 0.5
    pace = rng.gamma(0.8, 0.05, n) * (1 + lift * is_treated)
    counts = rng.poisson(pace[:, None], (n, days))
    who, day = np.nonzero(counts)
    frame = pd.DataFrame(
        {
            "customer_id": who,
            "is_treated": is_treated[who],
            "day": [DAY + timedelta(days=int(d)) for d in day],
            "value": counts[who, day].astype(float),
        }
    )
    looks = looks_while_outcomes_arrive(
        frame,
        n_treated=int(is_treated.sum()),
        n_control=int((~is_treated).sum()),
        days=[DAY + timedelta(days=d) for d in range(days)],
        planned_variance=42 * 0.04 + 42**2 * 0.8 * 0.05**2,
    )
    return monitor(looks, unit="count", smallest_change_that_matters=0.1).stop is not None


@pytest.mark.slow
@pytest.mark.row("C8.1")
def test_peeking_at_arriving_outcomes_keeps_the_error_too() -> None:
    assert_false_alarm_rate(over_seeds(arriving, 150), 0.05)
    assert_detection_rate(over_seeds(lambda seed: arriving(seed, 0.8), 30), 0.8)


def test_a_monitored_test_ends_in_words() -> None:
    looks = [(DAY, 0.10, 0.01, 1.0, 1_000)]
    sure = monitor(looks, unit="difference", smallest_change_that_matters=0.02)
    assert sure.verdict is Verdict.MATTERS
    assert sure.stop is not None
    open_end = monitor(
        [(DAY, 0.02, 0.01, 1.0, 1_000)], unit="difference", smallest_change_that_matters=0.02
    )
    assert open_end.verdict is Verdict.CANNOT_TELL
    assert open_end.stop is None
    assert open_end.peeking_stop is not None
    with pytest.raises(TooFew):
        monitor([], unit="difference", smallest_change_that_matters=0.02)
