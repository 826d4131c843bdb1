"""What is asked of a model before it scores, and what the page says where it may not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from insight_lib.prediction.board import compare_estimators
from insight_lib.prediction.chain import Conditions
from insight_lib.prediction.promotion import decide_promotion
from insight_lib.prediction.registry import Registry
from tests.prediction.test_board import AS_OF, OPTIONS, TARGET, snapshots

ENOUGH = Conditions(smallest_training_customers=10, smallest_positives=5)


@pytest.fixture(scope="module")
def board():
    return compare_estimators(snapshots(1), TARGET, **OPTIONS)


def standing(board, tmp_path, **changes):
    known = [s for s in snapshots(1) if s.has_labels]
    options = {
        "name": TARGET.id,
        "market": "de-test",
        "as_of": AS_OF,
        "conditions": ENOUGH,
        "smallest_auc": 0.6,
        "has_leaks": False,
        "has_overrides": False,
        "seed": 1,
        "most_rows": 20_000,
    }
    registry = Registry(tmp_path, b"k" * 32, [])
    return decide_promotion(registry, board, known, **(options | changes))


def test_a_model_that_passes_is_used(board, tmp_path):
    made = standing(board, tmp_path)
    assert made.is_used
    assert made.why_not == ""
    assert standing(board, tmp_path).is_used  # the same run again says the same


@pytest.mark.case("9", "130a")
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"conditions": Conditions(smallest_training_customers=10**6, smallest_positives=5)},
         "customers to learn from, and it takes 1,000,000"),
        ({"has_leaks": True}, "knows the future"),
        ({"has_overrides": True}, "trial with other parameters"),
        ({"smallest_auc": 0.999}, "ranks too few customers right"),
    ],
)  # fmt: skip
def test_a_model_that_is_kept_out_says_why_in_words(board, tmp_path, changes, words):
    made = standing(board, tmp_path, **changes)
    assert not made.is_used
    assert words in made.why_not
    assert "gate" not in made.why_not


@pytest.mark.case("130a")
def test_the_latest_period_alone_keeps_a_model_out(board, tmp_path):
    guessing = replace(board.latest, value=0.5, lower=0.45, upper=0.55)
    made = standing(replace(board, latest=guessing), tmp_path)
    assert not made.is_used
    assert "not surely better than guessing" in made.why_not
