"""Performance: by hand, covered with labels and without, and blind where it says it is."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from insight_lib.findings import TooFew
from insight_lib.prediction.performance import (
    Surprise,
    area_under_curve,
    compare_performance,
    estimate_amount_performance,
    estimate_expected_performance,
    estimate_performance,
    estimate_recalibration,
)
from tests.truth.helpers import (
    assert_coverage,
    assert_detection_rate,
    assert_false_alarm_rate,
    over_seeds,
)

AS_OF = date(2024, 12, 31)
Floats = NDArray[np.float64]


def drawn(
    rng: np.random.Generator, n: int, *, shift: float = 0.0, relation: float = 1.0
) -> tuple[Floats, Floats]:
    """Scores of a model that knows the relation of the reference, and labels of today's."""
    x = rng.normal(shift, 1, n)
    return expit(-0.8 + x), (rng.random(n) < expit(-0.8 + relation * x)).astype(float)


def surprise(seed: int, *, shift: float = 0.0, relation: float = 1.0) -> Surprise:
    rng = np.random.default_rng(seed)
    meant = estimate_recalibration(*drawn(rng, 1500), range(1500))
    scores, labels = drawn(rng, 800, shift=shift, relation=relation)
    return compare_performance(
        scores, labels, range(800), recalibration=meant, as_of=AS_OF, seed=seed
    )


def test_area_by_hand_and_by_another_library() -> None:
    # Of the four pairs two are right, one is tied, one is wrong: 2.5 / 4.
    assert area_under_curve([0.9, 0.4, 0.4, 0.6], [1, 1, 0, 0]) == 0.625
    rng = np.random.default_rng(1)
    scores, labels, weights = rng.random(200).round(1), rng.integers(0, 2, 200), rng.random(200)
    assert area_under_curve(scores, labels, weights) == pytest.approx(
        roc_auc_score(labels, scores, sample_weight=weights)
    )


@pytest.mark.row("M5.2")
def test_intervals_hold_the_truth_with_repeated_customers() -> None:
    rng = np.random.default_rng(0)
    scores, labels = drawn(rng, 400_000)
    truth = (roc_auc_score(labels, scores), float(np.square(scores - labels).mean()), 0.0, 1.0)

    def intervals(seed: int) -> list[tuple[float, float]]:
        draw = np.random.default_rng(seed)
        scores, labels = drawn(draw, 300)
        # Each customer stands twice: the interval must not take this for twice the customers.
        found = estimate_performance(
            np.tile(scores, 2), np.tile(labels, 2), np.tile(np.arange(300), 2), as_of=AS_OF
        )
        return [(e.lower, e.upper) for e in (found.auc, found.brier, found.gap, found.slope)]

    seen = over_seeds(intervals, 400)
    for position, value in enumerate(truth):
        assert_coverage([s[position] for s in seen], value, 0.95)


@pytest.mark.row("M5.2")
@pytest.mark.parametrize("shift", [0.0, 0.8])
def test_other_customers_alone_are_no_surprise(shift: float) -> None:
    found = over_seeds(lambda seed: surprise(seed, shift=shift), 150)
    assert_false_alarm_rate([bool(s.missed) for s in found], 0.05)
    # The Brier score does change with the customers, and the estimate follows it.
    gaps = [s.expected.brier.value - s.realised.brier.value for s in found]
    assert abs(np.mean(gaps)) < 0.003


@pytest.mark.slow
@pytest.mark.row("M5.2")
def test_expected_interval_holds_at_its_own_level() -> None:
    found = over_seeds(lambda seed: surprise(seed, shift=0.8), 300, first=1000)
    level = found[0].expected.auc.level
    assert_coverage(
        [(s.expected.auc.lower, s.expected.auc.upper) for s in found],
        [s.realised.auc.value for s in found],
        level,
    )


@pytest.mark.row("M5.2")
def test_changed_behaviour_is_invisible_before_the_labels_and_plain_after() -> None:
    quiet, changed = surprise(1), surprise(1, relation=-0.2)
    # Same scores: the estimate cannot see it.
    assert changed.expected.auc.value == quiet.expected.auc.value
    assert_detection_rate(
        over_seeds(lambda seed: "auc" in surprise(seed, relation=-0.2).missed, 60), 0.95
    )


def test_scores_outside_the_reference_are_counted() -> None:
    assert surprise(1).expected.outside_share < 0.03
    assert surprise(1, shift=2.5).expected.outside_share > 0.3


def test_a_reference_that_says_nothing_of_scores_gives_no_estimate() -> None:
    rng = np.random.default_rng(1)
    scores = rng.uniform(0.1, 0.12, 200)
    meant = estimate_recalibration(scores, rng.random(200) < scores, range(200))
    with pytest.raises(TooFew, match="what a score means"):
        estimate_expected_performance(rng.random(500), recalibration=meant, as_of=AS_OF)


def test_amounts_by_hand() -> None:
    found = estimate_amount_performance(
        [10, 20, 30, 40], [12, 18, np.nan, 40], list("abca"), unit="EUR", as_of=AS_OF
    )
    assert found.ratio.value == pytest.approx(70 / 70)
    assert found.error.value == pytest.approx(4 / 3)
    assert found.error.n == 2


def test_too_few_of_one_outcome_are_said() -> None:
    with pytest.raises(TooFew, match="3 customers of the rarer outcome"):
        estimate_performance(np.full(50, 0.5), [1.0] * 3 + [0.0] * 47, range(50), as_of=AS_OF)
