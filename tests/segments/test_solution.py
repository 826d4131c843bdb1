"""Groups: planted ones are found, noise has none, and the same input gives the same groups."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from insight_lib.findings import Estimate, TooFew
from insight_lib.segments import solution
from insight_lib.segments.solution import (
    Candidate,
    Fault,
    Thresholds,
    _choose,
    _fault,
    estimate_segments,
    fit_model,
)
from tests.segments.worlds import again, even_noise, market, planted, shop_inputs
from tests.truth.helpers import assert_detection_rate, assert_false_alarm_rate, over_seeds

SMALL = Thresholds(smallest_customers=30)
QUICK = {"thresholds": SMALL, "k_range": (2, 6), "n_chance": 19, "n_resamples": 15}


@pytest.mark.row("C3.2")
@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_planted_groups_are_found(k: int) -> None:
    points, truth, ids = planted(k, k=k)
    found = estimate_segments(points, ids, other_periods=again(points, k), **QUICK)
    assert found.k == k
    assert adjusted_rand_score(truth, found.labels) > 0.9
    assert min(found.chosen.jaccard) > 0.75
    assert found.chosen.is_distinct
    if k == 2:  # six groups of two are no more distinct than six groups of none
        assert not all(c.is_distinct for c in found.candidates)


@pytest.mark.row("C3.2")
def test_noise_has_no_groups() -> None:
    points, ids = even_noise(1)
    found = estimate_segments(points, ids, **QUICK)
    assert found.model is None
    assert len(found.table()) == 0
    assert {c.fault for c in found.candidates} == {Fault.CHANCE}


@pytest.mark.slow
@pytest.mark.row("C3.2")
def test_noise_rarely_has_groups_over_seeds() -> None:
    def alarm(seed: int) -> bool:
        points, ids = even_noise(seed, n=300)
        return estimate_segments(points, ids, **QUICK | {"k_range": (2, 5)}).k > 0

    assert_false_alarm_rate(over_seeds(alarm, 60), 0.05)


@pytest.mark.slow
@pytest.mark.row("C3.2")
def test_one_normal_group_is_not_split_over_seeds() -> None:
    def alarm(seed: int) -> bool:
        rng = np.random.default_rng(seed)
        points = rng.normal(size=(300, 4)) @ rng.normal(size=(4, 4))
        ids = [f"c{i:04}" for i in range(300)]
        return estimate_segments(points, ids, **QUICK | {"k_range": (2, 5)}).k > 0

    assert_false_alarm_rate(over_seeds(alarm, 40), 0.05)


@pytest.mark.slow
@pytest.mark.row("C3.2")
def test_planted_groups_are_found_over_seeds() -> None:
    def is_found(seed: int) -> bool:
        points, truth, ids = planted(seed, k=4, n=400)
        found = estimate_segments(points, ids, other_periods=again(points, seed), **QUICK)
        return found.k == 4 and adjusted_rand_score(truth, found.labels) > 0.9

    assert_detection_rate(over_seeds(is_found, 30), 0.95)


@pytest.mark.row("C3.2")
def test_the_segments_of_a_simulated_market_are_found() -> None:
    simulated = market("de-fashion", 1, n_customers=3000, segment_separation=1.15)
    inputs = shop_inputs(simulated)
    halves = again(inputs.matrix, 1, noise=0.05)
    found = estimate_segments(inputs.matrix, inputs.customer_id, other_periods=halves)
    people = simulated.truth["customers"].to_pandas().set_index("customer_id")
    truth = people.loc[inputs.customer_id, "segment"]
    # One of the five hardly ever buys, so it is not among those with enough orders.
    assert found.k == (truth.value_counts() >= 50).sum()
    assert adjusted_rand_score(truth, found.labels) > 0.75


@pytest.mark.row("C3.2")
def test_a_market_of_one_kind_has_no_segments() -> None:
    simulated = market("de-fashion", 2, n_customers=2500, segment_separation=0.0)
    inputs = shop_inputs(simulated)
    found = estimate_segments(inputs.matrix, inputs.customer_id)
    assert found.k == 0
    assert found.chance_share > 0.05


def test_the_same_customers_in_another_order_give_the_same_groups() -> None:
    points, _, ids = planted(3, k=3)
    order = np.random.default_rng(0).permutation(len(ids))
    first, second = again(points, 3)
    one = estimate_segments(points, ids, other_periods=(first, second), **QUICK)
    moved = (first[order], second[order])
    other = estimate_segments(points[order], [ids[i] for i in order], other_periods=moved, **QUICK)
    assert one.k == 3
    assert one.table().equals(other.table())
    assert one.candidates == other.candidates


def test_customers_beyond_the_sample_are_assigned() -> None:
    points, truth, ids = planted(4, k=3, n=900)
    found = estimate_segments(points, ids, n_fit=300, other_periods=again(points, 4), **QUICK)
    assert found.n_fitted == 300
    assert len(found.labels) == 900
    assert adjusted_rand_score(truth, found.labels) > 0.9


@pytest.mark.row("C3.2")
def test_groups_that_two_periods_do_not_agree_on_are_not_published() -> None:
    points, _, ids = planted(5, k=3)
    once_more = points + np.random.default_rng(1).normal(size=points.shape) * 0.3
    other, _, _ = planted(6, k=3)
    other = other[np.random.default_rng(2).permutation(len(other))]
    agreed = estimate_segments(points, ids, other_periods=(points, once_more), **QUICK)
    split = estimate_segments(points, ids, other_periods=(points, other), **QUICK)
    alone = estimate_segments(points, ids, **QUICK)
    assert agreed.k == 3
    assert agreed.chosen.kept.lower > 0.9
    assert split.k == alone.k == 0
    assert Fault.DOES_NOT_LAST in {c.fault for c in split.candidates}
    assert Fault.ONE_PERIOD in {c.fault for c in alone.candidates}


def kept(lower: float) -> Estimate:
    return Estimate(
        value=lower + 0.1, lower=lower, upper=lower + 0.2, unit="ratio", n=90,
        as_of=date.min, method="m",
    )  # fmt: skip


def candidate(**changes: object) -> Candidate:
    given = {
        "method": "k-means",
        "k": 3,
        "silhouette": 0.3,
        "chance_silhouette": 0.1,
        "is_distinct": True,
        "jaccard": (0.9, 0.8, 0.76),
        "valley": 1.5,
        "kept": kept(0.7),
        "smallest_customers": 60,
        "fault": None,
    }
    return Candidate(**given | changes)


@pytest.mark.row("C3.2")
@pytest.mark.parametrize(
    ("changes", "share", "fault"),
    [
        ({}, 0.02, None),
        ({}, 0.2, Fault.CHANCE),
        ({"is_distinct": False}, 0.02, Fault.CHANCE),
        ({"jaccard": (0.9, 0.74)}, 0.02, Fault.DOES_NOT_COME_BACK),
        ({"valley": 0.9}, 0.02, Fault.ONE_CLOUD),
        ({"kept": kept(0.29)}, 0.02, Fault.DOES_NOT_LAST),
        (
            {"kept": kept(0.4)},
            0.02,
            Fault.MAY_NOT_LAST,
        ),
        (
            {"kept": None},
            0.02,
            Fault.ONE_PERIOD,
        ),
        ({"smallest_customers": 49}, 0.02, Fault.SMALL_GROUP),
    ],
)
def test_each_threshold_by_hand(changes: dict, share: float, fault: Fault | None) -> None:
    assert _fault(candidate(**changes), share, Thresholds()) == fault


def test_ties_go_to_fewer_groups_and_the_simpler_method() -> None:
    tied = [
        candidate(k=4),
        candidate(k=3, method="mixture"),
        candidate(k=3),
        candidate(k=2, fault=Fault.SMALL_GROUP),
    ]
    assert _choose(tied) == tied[2]
    assert _choose(tied[3:]) is None


def test_jaccard_of_a_resample_by_hand() -> None:
    left = np.array([0, 0, 0, 1, 1, 1])
    right = np.array([0, 0, 1, 1, 1, 1])
    table = solution._overlap(left, right, 2)
    assert table.tolist() == [[2, 1], [0, 3]]
    union = table.sum(axis=1)[:, None] + table.sum(axis=0)[None, :] - table
    assert (table / union).max(axis=1) == pytest.approx([2 / 3, 3 / 4])


def test_the_largest_group_comes_first() -> None:
    points, _, _ = planted(7, k=3)
    points = np.vstack([points, points[-50:]])
    sizes = np.bincount(fit_model(points, 3).assign(points))
    assert list(sizes) == sorted(sizes, reverse=True)


def test_too_few_customers() -> None:
    points, _, ids = planted(8, k=2, n=50)
    with pytest.raises(TooFew, match="two groups take 60"):
        estimate_segments(points, ids, thresholds=SMALL)
