"""The board against marks by hand, against outside code, and against planted truths."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score

from insight_lib.findings import TooFew
from insight_lib.prediction.board import (
    compare_estimators,
    estimate_ranking,
    fit_chosen,
    rank_right,
    reliability,
    split_in_time,
)
from insight_lib.prediction.document import digest
from insight_lib.prediction.fit import fit, stack
from insight_lib.prediction.scorer import score
from insight_lib.prediction.snapshots import Snapshot, Target
from tests.truth.helpers import assert_coverage

FIRST = date(2024, 1, 1)
AS_OF = date(2024, 12, 31)
TARGET = Target(
    id="lapse",
    title="stop ordering",
    kind="binary",
    purpose="retention",
    horizon_days=28,
    unit="share",
)
AMOUNT = replace(TARGET, id="value", title="spend", kind="amount", unit="EUR")


def snapshots(seed, truth="linear", *, n=500, n_cuts=4, step=28, n_features=5):
    """The same customers at several cuts; features change, the truth does not."""
    rng = np.random.default_rng(seed)
    index = pd.Index([f"c{i:05d}" for i in range(n)], name="customer_id")
    found = []
    for k in range(n_cuts):
        x = pd.DataFrame(rng.normal(size=(n, n_features)), index=index)
        x.columns = [f"x{i}" for i in range(n_features)]
        eta = {
            "linear": x["x0"] + 0.8 * x["x1"] - 0.6 * x["x2"] - 0.5,
            "interaction": 2.2 * x["x0"] * x["x1"] - 0.5,
            "none": 0 * x["x0"] - 0.5,
        }[truth]
        labels = pd.DataFrame(
            {
                "lapse": (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(float),
                "value": np.exp(0.5 * eta + 0.3 * rng.normal(size=n)) * (rng.random(n) < 0.8),
            },
            index=index,
        )
        cut = FIRST + timedelta(days=step * k)
        found.append(Snapshot(cut=cut, features=x, applies=labels.notna(), labels=labels))
    return found


OPTIONS = {"as_of": AS_OF, "seed": 0, "capacity_share": 0.1}


@pytest.fixture(scope="module")
def board():
    return compare_estimators(snapshots(1), TARGET, **OPTIONS)


@pytest.mark.row("C4.3")
def test_label_windows_never_overlap_the_test_cut():
    for step in (28, 14, 7):
        made = snapshots(0, n=20, n_cuts=8, step=step)
        folds = split_in_time(made, TARGET, most_folds=3)
        assert len(folds) == 3
        for earlier, test in folds:
            assert all(s.cut + timedelta(days=28) <= test.cut for s in earlier)
        assert folds[-1][1].cut == made[-1].cut
    with pytest.raises(TooFew, match="a horizon apart"):
        split_in_time(snapshots(0, n=20, n_cuts=3, step=7), TARGET, most_folds=3)


@pytest.mark.row("C4.3")
def test_a_model_of_a_fold_knows_nothing_after_its_cut(board):
    made = snapshots(1)
    later = [
        replace(s, labels=1 - s.labels)
        if s.cut >= date.fromisoformat(board.folds[-1].test_cut)
        else s
        for s in made
    ]
    changed = compare_estimators(later, TARGET, **OPTIONS)
    for name, document in board.documents.items():
        assert digest(document) == digest(changed.documents[name])
        assert max(document["trained"]["cuts"]) < board.folds[-1].test_cut


def test_marks_are_those_of_outside_code(board):
    last, name = board.tested, "logistic"
    scores = board.scores[name]
    by_fold = []
    for earlier, test in split_in_time(snapshots(1), TARGET, most_folds=3):
        rows = stack([test], TARGET)
        document = fit(name, stack(earlier, TARGET), target=TARGET, as_of=test.cut, seed=0)
        by_fold.append((rows.label, score(document, rows.features)))
    mark = board.contender(name)
    assert mark.ranking.value == pytest.approx(np.mean([roc_auc_score(y, s) for y, s in by_fold]))
    assert mark.spread == pytest.approx(np.std([roc_auc_score(y, s) for y, s in by_fold], ddof=1))
    y, s = (np.concatenate([pair[i] for pair in by_fold]) for i in (0, 1))
    assert mark.squared_error == pytest.approx(brier_score_loss(y, s))
    assert mark.total_ratio == pytest.approx(s.sum() / y.sum())
    best = np.mean([y[np.argsort(-s)][:50].sum() / y.sum() for y, s in by_fold])
    assert mark.captured.value == pytest.approx(best)
    assert np.array_equal(scores, by_fold[-1][1])
    assert len(last) == 500


def test_ranking_by_hand():
    # Pairs (did, did not): 3>1, 3>2, 2=2, 2>1 of four: three and a half.
    assert rank_right(np.array([3.0, 2.0, 2.0, 1.0]), np.array([1.0, 1.0, 0.0, 0.0])) == 3.5 / 4
    amounts = np.array([0.0, 1.0, 5.0, 20.0])
    assert rank_right(amounts * 3, amounts, kind="amount") == pytest.approx(1)
    assert rank_right(-amounts, amounts, kind="amount") == pytest.approx(-1)
    assert rank_right(np.ones(4), amounts, kind="amount") == pytest.approx(0)


def test_ranking_interval_covers_the_truth():
    intervals = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        label = np.repeat([0.0, 1.0], [120, 60])
        found = estimate_ranking(label + rng.normal(size=180), label, as_of=AS_OF)
        intervals.append((found.lower, found.upper))
    assert_coverage(intervals, 0.7602, level=0.95)  # Phi(1/sqrt 2)


def test_calibration_groups_add_up():
    scores, label = np.linspace(0, 1, 1000), np.repeat([0.0, 1.0], 500)
    curve = reliability(scores, label, kind="binary", as_of=AS_OF)
    assert curve["n"].sum() == 1000
    assert (curve["n"] * curve["observed"]).sum() == pytest.approx(500)
    assert (curve["lower"] <= curve["observed"]).all()


@pytest.mark.row("C4.1")
@pytest.mark.slow
def test_a_linear_truth_is_won_by_a_simple_model():
    """In at least nine of ten seeds, and chosen by the rule of one standard error."""
    wins, whys = 0, []
    for seed in range(30):
        found = compare_estimators(snapshots(seed), TARGET, most_folds=2, **OPTIONS)
        wins += found.chosen in ("rule", "logistic")
        gap = found.contender(found.chosen)
        assert gap.is_within_error
        assert (found.why == "best") == (found.chosen == found.best)
        whys.append(found.why)
    assert wins >= 27
    assert "simplest" in whys  # chance puts another one first now and then


@pytest.mark.row("C4.1")
@pytest.mark.slow
def test_an_interaction_is_not_won_by_a_simple_model():
    for seed in range(15):
        made = snapshots(seed, "interaction")
        found = compare_estimators(made, TARGET, most_folds=2, **OPTIONS)
        assert found.chosen not in ("rule", "logistic")


@pytest.mark.row("C4.1")
def test_the_rule_wins_where_there_is_nothing_to_know():
    found = compare_estimators(snapshots(3, "none"), TARGET, **OPTIONS)
    mark = found.contender(found.chosen)
    assert found.chosen == "rule" or mark.ranking.lower < 0.5


def test_an_override_is_taken_and_said(board):
    assert board.chosen in ("rule", "logistic")
    forced = compare_estimators(snapshots(1), TARGET, override="forest", **OPTIONS)
    assert (forced.chosen, forced.why) == ("forest", "override")
    with pytest.raises(ValueError, match="use one of rule"):
        compare_estimators(snapshots(1), TARGET, override="oracle", **OPTIONS)


def test_amounts_have_a_board_too():
    found = compare_estimators(snapshots(2, n=800), AMOUNT, **OPTIONS)
    assert found.chosen in ("logistic", "additive")
    mark = found.contender("logistic")
    assert 0.2 < mark.ranking.value < 1
    assert mark.total_ratio == pytest.approx(1, abs=0.1)
    assert mark.calibration_slope == pytest.approx(1, abs=0.25)


def test_the_same_run_gives_the_same_board(board):
    again = compare_estimators(snapshots(1), TARGET, **OPTIONS)
    assert again.contenders == board.contenders
    assert {n: digest(d) for n, d in again.documents.items()} == {
        n: digest(d) for n, d in board.documents.items()
    }


def test_the_final_model_learns_from_every_cut(board):
    made = snapshots(1)
    document = fit_chosen(board, made, as_of=AS_OF, seed=0)
    assert document["trained"]["cuts"] == [s.cut.isoformat() for s in made]
    assert document["estimator"] == board.chosen


def test_too_few_is_said():
    made = snapshots(0)
    for s in made:
        s.labels["lapse"] = 0.0
    with pytest.raises(TooFew, match="0 of 500 customers did it"):
        compare_estimators(made, TARGET, **OPTIONS)


@pytest.mark.row("C8.6")
@pytest.mark.parametrize("target", [TARGET, AMOUNT], ids=lambda t: t.kind)
def test_a_correction_moves_the_total_and_no_place(target):
    """Forecasts were 12 % too high, so the next ones add up to that much less."""
    taken = snapshots(4)
    board = compare_estimators(
        taken, target, as_of=AS_OF, seed=1, capacity_share=0.1, estimators=["rule", "logistic"]
    )
    options = {"as_of": AS_OF, "seed": 1}
    plain = fit_chosen(board, taken, **options)
    moved = fit_chosen(board, taken, **options, correction=1 / 1.12)
    features = stack(taken, target).features
    before, after = (score(d, features) for d in (plain, moved))
    assert after.sum() == pytest.approx(before.sum() / 1.12, rel=1e-4)
    assert (np.argsort(before, kind="stable") == np.argsort(after, kind="stable")).all()
