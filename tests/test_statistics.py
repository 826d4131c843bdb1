"""Hand cases, and coverage over many seeds against a truth that the simulation knows."""

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from insight_lib.findings import TooFew
from insight_lib.statistics import (
    benjamini_hochberg,
    estimate_ratio,
    estimate_ratio_change,
    estimate_share,
    estimate_top_share,
    rake,
)

DAY = date(2026, 6, 30)
SEEDS = 1000


def assert_covers(hits: int, runs: int, level: float = 0.95) -> None:
    low, high = stats.binom.interval(0.999, runs, level)
    # Intervals may be a little generous; they may not be too short.
    assert low <= hits <= max(high, runs * 0.985), f"{hits} of {runs} cover"


def test_wilson_interval_by_hand() -> None:
    # 15 of 148: Brown, Cai and DasGupta's textbook case, to four digits from R's prop.test.
    rate = estimate_share(15, 148, as_of=DAY)
    assert rate.lower == pytest.approx(0.0624, abs=5e-4)
    assert rate.upper == pytest.approx(0.1605, abs=5e-4)
    assert estimate_share(0, 10, as_of=DAY).lower == 0
    with pytest.raises(TooFew):
        estimate_share(0, 0, as_of=DAY)


def test_ratio_by_hand() -> None:
    # Two customers, 10 from 1 order and 30 from 3: the ratio is 10 and nothing varies.
    ratio = estimate_ratio([10, 30], [1, 3], unit="EUR", as_of=DAY)
    assert (ratio.value, ratio.lower, ratio.upper) == (10, 10, 10)


def test_ratio_of_means_covers_when_orders_cluster() -> None:
    hits = naive_hits = 0
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        n_orders = rng.geometric(0.2, 300)
        level = rng.gamma(4, 5, 300)  # each customer's own level: orders of one are alike
        spend = n_orders * level
        truth = 20.0
        ratio = estimate_ratio(spend, n_orders, unit="EUR", as_of=DAY)
        hits += ratio.lower <= truth <= ratio.upper
        per_order = np.repeat(level, n_orders)
        naive = 1.96 * per_order.std() / np.sqrt(len(per_order))
        naive_hits += abs(per_order.mean() - truth) <= naive
    assert_covers(hits, SEEDS)
    assert naive_hits < 0.85 * SEEDS  # treating orders as independent would not do


@pytest.mark.case("81", "130i")
def test_what_cannot_be_negative_has_no_range_below_nothing() -> None:
    """Seen: an order worth $170 (likely -$105 to $444) where nothing was ever sent back."""
    rng = np.random.default_rng(1)
    spend = np.append(rng.lognormal(2, 0.5, 500), 250_000.0)
    orders = np.ones(501)
    found = estimate_ratio(spend, orders, unit="USD", as_of=date(2024, 12, 31))
    assert 0 < found.lower < found.value < found.upper
    one_return = np.append(spend, -5.0)  # a little is taken back: still an amount
    assert estimate_ratio(one_return, np.ones(502), unit="USD", as_of=date(2024, 12, 31)).lower > 0


@pytest.mark.parametrize(("sigma", "least"), [(1.0, 0.92), (1.5, 0.9), (2.0, 0.84)])
def test_ranges_of_skewed_amounts_cover(sigma: float, least: float) -> None:
    """Means of a lognormal with sigma two are known to be under-covered by any such interval."""
    hits, truth = 0, np.exp(sigma**2 / 2)
    for seed in range(300):
        rng = np.random.default_rng(seed)
        n_orders = 1 + rng.poisson(3, 200)
        spend = [rng.lognormal(0, sigma, n).sum() for n in n_orders]
        found = estimate_ratio(spend, n_orders, unit="EUR", as_of=date(2024, 12, 31))
        hits += found.lower <= truth <= found.upper
    assert hits / 300 >= least


def test_change_of_a_ratio_covers_and_raises_no_false_alarms() -> None:
    hits = alarms = 0
    for seed in range(SEEDS):
        rng = np.random.default_rng(1000 + seed)
        level = rng.gamma(4, 5, 300)
        before, after = rng.poisson(5, 300), rng.poisson(5, 300)
        spend_before = before * level * rng.lognormal(0, 0.2, 300)
        spend_after = after * level * rng.lognormal(0, 0.2, 300)
        null = estimate_ratio_change(
            (spend_before, before), (spend_after, after), as_of=DAY, relative=True
        )
        alarms += null.excludes(0)
        moved = estimate_ratio_change(
            (spend_before, before), (spend_after * 1.1, after), as_of=DAY, relative=True
        )
        hits += not moved.excludes(0.1)
    assert_covers(hits, SEEDS)
    assert alarms <= stats.binom.ppf(0.999, SEEDS, 0.05)


def test_change_is_of_the_same_customers() -> None:
    # Same customers, same behaviour: however much they differ, the change is exactly none.
    spend, orders = [1.0, 100.0, 5000.0], [1, 2, 3]
    change = estimate_ratio_change((spend, orders), (spend, orders), as_of=DAY, relative=False)
    assert (change.value, change.lower, change.upper) == (0, 0, 0)


def test_top_share_by_hand_and_over_seeds() -> None:
    # 50 customers with 1, 12 with 10: the top fifth (12 of 62) brings 120 of 170.
    share = estimate_top_share([1.0] * 50 + [10.0] * 12, top=12 / 62, as_of=DAY)
    assert share.value == pytest.approx(120 / 170)
    # Exponential spend: the top fifth holds p(1 - ln p), p = 0.2.
    truth = 0.2 * (1 - np.log(0.2))
    hits = 0
    for seed in range(SEEDS):
        spend = np.random.default_rng(seed).exponential(30, 800)
        estimate = estimate_top_share(spend, top=0.2, as_of=DAY)
        hits += not estimate.excludes(truth)
    assert_covers(hits, SEEDS)
    with pytest.raises(TooFew):
        estimate_top_share([1.0] * 20, top=0.2, as_of=DAY)


def test_benjamini_hochberg_by_hand() -> None:
    # Benjamini and Hochberg (1995), their example: the first four of fifteen stand.
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240]
    p += [0.4262, 0.5719, 0.6528, 0.7590, 1.0]
    assert benjamini_hochberg(p) == [True] * 4 + [False] * 11
    assert benjamini_hochberg([]) == []


def schools(shared_data: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(shared_data / f"survey_api_{name}.csv.gz")


@pytest.mark.row("C3.1")
def test_raking_gives_the_published_means_of_the_school_survey(shared_data: Path) -> None:
    """R survey 4.1, as in the data's README: 662.21, 3,688,152 and a design effect of 1.1864."""
    sample, everyone = schools(shared_data, "stratified"), schools(shared_data, "population")
    margins = {c: everyone[c].value_counts().to_dict() for c in ("stype", "sch.wide")}
    weights = rake(sample, margins, sample["pw"])
    assert np.average(sample["api00"], weights=weights) == pytest.approx(662.21, abs=0.005)
    # R stops once the margins are within one school; ours fit to a millionth.
    assert weights @ sample["enroll"] == pytest.approx(3_688_152, rel=1e-5)
    equal = rake(sample, margins, np.ones(len(sample)))
    assert np.average(sample["api00"], weights=equal) == pytest.approx(662.211, abs=0.001)
    kish = len(equal) * np.square(equal).sum() / equal.sum() ** 2
    assert kish == pytest.approx(1.1864, abs=0.00005)
    assert sample["api00"].mean() == pytest.approx(652.82, abs=0.005)


def test_raked_weights_fit_every_margin_and_missing_keeps_its_share() -> None:
    people = pd.DataFrame({"age": ["a", "a", "b", None], "town": ["x", "y", "y", "x"]})
    margins = {"age": {"a": 10, "b": 30, "nobody": 5}, "town": {"x": 15, "y": 25}}
    weights = rake(people, margins, [1.0, 1.0, 1.0, 1.0])
    assert weights.sum() == pytest.approx(40)
    assert weights[people["town"] == "x"].sum() == pytest.approx(15)
    known = people["age"].notna().to_numpy()
    assert weights[people["age"] == "a"].sum() / weights[known].sum() == pytest.approx(0.25)


def test_raking_makes_up_for_who_did_not_answer() -> None:
    """Older people answer more and like us more: the plain mean leans, the raked one does not."""
    rng = np.random.default_rng(1)
    plain, raked = [], []
    for _ in range(60):
        old = rng.random(4000) < 0.5
        likes = 3 + old + rng.normal(size=4000)
        answered = rng.random(4000) < np.where(old, 0.6, 0.2)
        people = pd.DataFrame({"age": np.where(old[answered], "old", "young")})
        weights = rake(people, {"age": {"old": 2000, "young": 2000}}, np.ones(len(people)))
        plain.append(likes[answered].mean() - 3.5)
        raked.append(np.average(likes[answered], weights=weights) - 3.5)
    assert np.mean(plain) > 0.2
    assert abs(np.mean(raked)) < 3 * np.std(raked) / np.sqrt(60)


def test_margins_that_cannot_be_met_together_are_refused() -> None:
    people = pd.DataFrame({"age": ["a", "b"], "town": ["x", "y"]})
    with pytest.raises(TooFew, match="age, town"):
        rake(people, {"age": {"a": 10, "b": 30}, "town": {"x": 30, "y": 10}}, [1.0, 1.0])
