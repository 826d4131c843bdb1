"""Sentences follow from results: change the result, and the sentence changes with it."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from insight_lib.findings import Check, Estimate, Gate, Measured, Verdict
from insight_lib.prediction.board import compare_estimators
from insight_lib.prediction.explain import estimate_drivers
from insight_lib.prediction.headline import describe_prediction, prediction_tile
from insight_lib.prediction.identifiers import Refused
from insight_lib.prediction.leakage import Leak
from insight_lib.prediction.missing import Mechanism, Routes, Shift
from insight_lib.prediction.model_charts import chart_board, chart_calibration, chart_drivers
from insight_lib.prediction.model_story import (
    board_table,
    describe_calibration,
    describe_choice,
    describe_driver,
    describe_gaps,
    describe_identifiers,
    describe_leakage,
    is_better_than_guessing,
    is_good_enough,
    sensitivity_table,
)
from tests.prediction.test_board import AMOUNT, AS_OF, OPTIONS, TARGET, snapshots

LABELS = {"market": "Testland", "source": "transactions"}


@pytest.fixture(scope="module")
def board():
    return compare_estimators(snapshots(1), TARGET, **OPTIONS)


def with_mark(board, **changes):
    """The board with other marks for the chosen model."""
    contenders = tuple(
        replace(c, **changes) if c.estimator == board.chosen else c for c in board.contenders
    )
    return replace(board, contenders=contenders)


def estimate(value, half=0.01, unit="share"):
    return Estimate(
        value=value,
        lower=value - half,
        upper=value + half,
        unit=unit,
        n=500,
        as_of=AS_OF,
        method="by hand",
    )


def test_a_good_model_is_acted_on(board):
    good = with_mark(board, ranking=estimate(0.78), captured=estimate(0.3))
    found = describe_prediction(good, smallest_auc=0.6)
    assert str(found.statement) == (
        "We can tell who will stop ordering: 78 in 100 pairs ranked right."
    )
    assert str(found.so_what).startswith(
        "Start with the 10% of customers with the highest scores: they hold 30% (likely 29"
    )
    assert found.verdict is Verdict.MATTERS
    assert prediction_tile(good).value.value == 0.78


def test_a_model_no_better_than_guessing_is_not(board):
    found = describe_prediction(with_mark(board, ranking=estimate(0.52, 0.05)), smallest_auc=0.6)
    assert str(found.statement) == "We cannot yet tell who will stop ordering."
    assert found.verdict is Verdict.CANNOT_TELL
    assert "guessing is within that range" in str(found.so_what)


@pytest.mark.case("9")
def test_a_model_that_ranks_like_a_lottery_is_not_used(board):
    weak = replace(with_mark(board, ranking=estimate(0.54)), latest=estimate(0.54))
    found = describe_prediction(weak, smallest_auc=0.6)
    assert found.verdict is Verdict.DOES_NOT_MATTER
    assert "hardly tell" in str(found.statement)
    assert "none goes live" in str(found.so_what)
    assert not is_good_enough(weak, smallest_auc=0.6)
    assert is_good_enough(board, smallest_auc=0.6)


@pytest.mark.case("9", "130a")
def test_a_model_that_is_kept_out_is_headlined_by_why(board):
    """Seen: "We can tell: 87 in 100 … Start with" beside "the new one stays out"."""
    good = replace(with_mark(board, ranking=estimate(0.87)), latest=estimate(0.84))
    found = describe_prediction(good, smallest_auc=0.6, why_not="it learned from too few")
    assert found.verdict is Verdict.CANNOT_TELL
    assert "put to use: it learned from too few" in str(found.statement)
    assert "Do not pick customers" in str(found.so_what)
    assert "84%" in str(found.so_what)
    limits = {"largest_error_share": 1.0, "largest_total_gap_share": 1.0}
    assert "not in use" in str(describe_calibration(good, is_used=False, **limits).so_what)
    assert "would take" in str(describe_choice(good, is_used=False).statement)


@pytest.mark.case("125")
def test_capacity_that_holds_no_more_than_a_lottery_is_not_advised(board):
    lottery = with_mark(board, ranking=estimate(0.7), captured=estimate(0.096, 0.03))
    told = str(describe_prediction(lottery, smallest_auc=0.6).so_what)
    assert not told.startswith("Start with")
    assert "drawn by lot hold as much" in told


@pytest.mark.case("130a")
def test_the_latest_period_decides(board):
    """A mean of .68 over old periods and a broken one is no reason to go live."""
    broken = replace(with_mark(board, ranking=estimate(0.68)), latest=estimate(0.5, 0.04))
    assert not is_better_than_guessing(broken)
    found = describe_prediction(broken, smallest_auc=0.6)
    assert found.verdict is Verdict.CANNOT_TELL
    assert "no longer tell" in str(found.statement)
    assert "latest period" in str(found.so_what)


def test_an_amount_is_told_in_its_own_words(board):
    good = replace(with_mark(board, ranking=estimate(0.6)), target=AMOUNT)
    assert str(describe_prediction(good, smallest_auc=0.6).statement) == (
        "We can tell who will spend most: 60% of the way from guess to certainty."
    )


@pytest.mark.row("C4.1")
def test_the_reason_follows_from_the_board(board):
    simplest = replace(
        with_mark(board, behind=estimate(0.004, unit="change")), best="boosting", why="simplest"
    )
    assert str(describe_choice(simplest).so_what) == (
        "It gives up 0.4% against the boosted trees, which is within chance (likely −0.6% to "
        "1.4%), and is easier to explain and to run."
    )
    best = replace(with_mark(board, behind=None), best=board.chosen, why="best")
    assert "It is the best on later days" in str(describe_choice(best).so_what)
    asked = replace(with_mark(board, behind=estimate(0.05)), best="boosting", why="override")
    assert str(describe_choice(asked).so_what) == (
        "It was asked for; it gives up 5% against the boosted trees."
    )
    assert describe_choice(asked).verdict is Verdict.REVIEW
    rule = replace(best, chosen="rule", best="rule")
    rule = with_mark(rule, behind=None)
    assert "simplest, and nothing beats it" in str(describe_choice(rule).so_what)


def test_calibration_passes_on_both_limits(board):
    limits = {"largest_error_share": 0.05, "largest_total_gap_share": 0.1}
    for error, total, verdict in (
        (0.04, 1.05, Verdict.PASS),
        (0.06, 1.05, Verdict.REVIEW),
        (0.04, 1.15, Verdict.REVIEW),
        (0.04, 0.85, Verdict.REVIEW),
    ):
        made = with_mark(board, calibration_error=error, total_ratio=total)
        assert describe_calibration(made, **limits).verdict is verdict


def test_amounts_may_be_off_by_more_than_their_mean(board):
    amounts = replace(board, target=replace(board.target, kind="amount"))
    made = with_mark(amounts, calibration_error=1.11)
    told = describe_calibration(made, largest_error_share=0.05, largest_total_gap_share=0.1)
    assert "are 111% off on average" in str(told.statement)
    assert told.verdict is Verdict.REVIEW
    chart = chart_calibration(made, minimum_cell_size=1, market="test", source="test")
    assert chart is not None


def test_drivers_are_named(board):
    drivers = estimate_drivers(board.documents["logistic"], board.tested.features, as_of=AS_OF)
    found = describe_driver(board, drivers)
    assert str(found.statement).endswith("of what moves the score is x0.")
    assert str(found.so_what).startswith("More of it, higher score. Next: x1 and x2.")


@pytest.mark.row("C4.3")
def test_a_leak_closes_the_gate():
    proof = Leak(where="duration", kind="declared", size=1.0, is_proof=True)
    hint = Leak(where="status", kind="alone", size=0.2, is_proof=False)
    options = {"n_models": 5, "n_features": 20, "as_of": AS_OF}
    (gate,) = describe_leakage({"calls": [proof]}, **options)
    assert isinstance(gate, Gate)
    assert (gate.verdict, gate.blocks) == (Verdict.FAIL, ("monitoring", "decisions"))
    assert str(gate.so_what) == "Take out or date: duration is known only later (calls)."
    gate, check = describe_leakage({"calls": [hint]}, **options)
    assert gate.verdict is Verdict.PASS
    assert isinstance(check, Check)
    assert check.verdict is Verdict.REVIEW
    (gate,) = describe_leakage({"calls": []}, **options)
    assert str(gate.statement) == "No model knows the future: 5 tested on shuffled answers."


@pytest.mark.row("C4.2")
def test_gaps_are_told_by_what_they_would_do():
    share = Measured(value=0.4, unit="share", n=500, as_of=AS_OF)
    mechanism = Mechanism(
        column="income_band",
        missing_share=share,
        foretold=estimate(0.9),
        kind="explained",
        because="age band",
        label_gap=estimate(0.1),
    )
    shifts = [
        Shift(spreads=s, mean_score=0.1, ranking=0.8, same_list_share=1 - abs(s) / 10)
        for s in (-1.0, 0.0, 1.0)
    ]
    bent = Routes(
        complete_share=share,
        observed=share,
        dropped=estimate(-0.12, unit="difference"),
        kept=estimate(0.004, unit="difference"),
    )
    found = describe_gaps(TARGET, [mechanism], bent, shifts, largest_error_share=0.05)
    assert str(found.statement) == (
        "Dropping customers with gaps would understate how many stop ordering by 12 points."
    )
    assert "Most gaps are in income band (40%), and they go with age band." in str(found.so_what)
    assert "90% of the first customers would stay" in str(found.so_what)
    harmless = replace(bent, dropped=estimate(0.005, unit="difference"))
    found = describe_gaps(TARGET, [], harmless, None, largest_error_share=0.05)
    assert found.verdict is Verdict.DOES_NOT_MATTER
    assert str(found.statement) == "Missing values do not bend our view of who will stop ordering."
    unsure = replace(bent, dropped=estimate(0.005, 0.1, unit="difference"))
    found = describe_gaps(TARGET, [], unsure, None, largest_error_share=0.05)
    assert found.verdict is Verdict.CANNOT_TELL
    assert len(sensitivity_table(shifts, TARGET).rows) == 3


@pytest.mark.row("C4.6")
def test_refused_columns_are_named_without_a_value():
    refused = [Refused(column="mail", kind="e-mail", words="its values look like e-mail")]
    found = describe_identifiers(refused, n_features=20, as_of=AS_OF)
    assert found.verdict is Verdict.REVIEW
    assert str(found.so_what) == (
        "Take them out of the features: mail: its values look like e-mail."
    )
    assert describe_identifiers([], n_features=20, as_of=AS_OF).verdict is Verdict.PASS


def test_charts_and_tables_hold_every_model(board):
    table = board_table(board)
    assert [row[0] for row in table.rows] == [
        "Rule of thumb",
        "Weighted score",
        "Score with curves",
        "Boosted trees",
        "Forest of trees",
    ]
    assert "<svg" in chart_board(board, **LABELS).svg
    curve = chart_calibration(board, minimum_cell_size=10, **LABELS)
    assert curve is not None
    assert chart_calibration(board, minimum_cell_size=10_000, **LABELS) is None
    document = board.documents["logistic"]
    drivers = estimate_drivers(document, board.tested.features, as_of=date(2024, 12, 31))
    assert chart_drivers(board, drivers, **LABELS) is not None
    assert chart_drivers(board, drivers[:1], **LABELS) is None
