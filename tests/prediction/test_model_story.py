"""Sentences follow from results: change the result, and the sentence changes with it."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from insight_lib import prediction
from insight_lib.analyses import Missing
from insight_lib.findings import Check, Estimate, Finding, Gate, Measured, Verdict
from insight_lib.prediction.board import Board, compare_estimators
from insight_lib.prediction.boards import calibration_of, choice_of, headline_of
from insight_lib.prediction.checked import Leaks, gaps_of, identifiers_of, moves
from insight_lib.prediction.explain import estimate_drivers
from insight_lib.prediction.identifiers import Refused
from insight_lib.prediction.leakage import Leak
from insight_lib.prediction.missing import Mechanism, Routes, Shift
from insight_lib.prediction.promotion import is_better_than_guessing, is_good_enough
from insight_lib.prose import Name
from insight_lib.words import read_words
from tests.cards import drawn, run_of, tabled, told
from tests.prediction.test_board import AMOUNT, AS_OF, OPTIONS, TARGET, snapshots

LIMITS = {"largest_error_share": 0.05, "largest_total_gap_share": 0.1}


def head(board: Board, why_not: str = "") -> Finding:
    return told(prediction, "headline", headline_of(board, smallest_auc=0.6, why_not=why_not))


def choice(board: Board, *, is_used: bool = True) -> Finding:
    return told(prediction, "choice", choice_of(board, is_used=is_used))


def calibration(board: Board, *, is_used: bool = True) -> Finding:
    result = calibration_of(board, is_used=is_used, **LIMITS)
    return told(prediction, "calibration", result)


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
    found = head(good)
    assert str(found.statement) == (
        "We can tell who will stop ordering: 78 in 100 pairs ranked right."
    )
    assert str(found.so_what).startswith(
        "Start with the 10% of customers with the highest scores: they hold 30% (likely 29"
    )
    assert found.verdict is Verdict.MATTERS
    result = headline_of(good, smallest_auc=0.6)
    tile = read_words(prediction).tile("ranking", result, run_of("prediction"))
    assert tile.value.value == 0.78
    assert tile.label == "Who will stop ordering"
    assert str(tile.note).startswith("of pairs of customers ranked right; ")
    (used,) = prediction.ranking((result, Missing("too few", key="value")), (good,))
    assert used == result


def test_a_model_no_better_than_guessing_is_not(board):
    found = head(with_mark(board, ranking=estimate(0.52, 0.05)))
    assert str(found.statement) == "We cannot yet tell who will stop ordering."
    assert found.verdict is Verdict.CANNOT_TELL
    assert "guessing is within that range" in str(found.so_what)


@pytest.mark.case("9")
def test_a_model_that_ranks_like_a_lottery_is_not_used(board):
    weak = replace(with_mark(board, ranking=estimate(0.54)), latest=estimate(0.54))
    found = head(weak)
    assert found.verdict is Verdict.DOES_NOT_MATTER
    assert "hardly tell" in str(found.statement)
    assert "none goes live" in str(found.so_what)
    assert not is_good_enough(weak, smallest_auc=0.6)
    assert is_good_enough(board, smallest_auc=0.6)


@pytest.mark.case("9", "130a")
def test_a_model_that_is_kept_out_is_headlined_by_why(board):
    """Seen: "We can tell: 87 in 100 … Start with" beside "the new one stays out"."""
    good = replace(with_mark(board, ranking=estimate(0.87)), latest=estimate(0.84))
    found = head(good, why_not="it learned from too few")
    assert found.verdict is Verdict.CANNOT_TELL
    assert "put to use: it learned from too few" in str(found.statement)
    assert "Do not pick customers" in str(found.so_what)
    assert "84%" in str(found.so_what)
    assert "not in use" in str(calibration(good, is_used=False).so_what)
    assert "would take" in str(choice(good, is_used=False).statement)


def test_a_target_that_nobody_can_learn_is_named_with_the_reason(board):
    absent = Missing("12 rows, and it takes 100", key="value", known={"title": Name("spend")})
    told_, missing = prediction.headline(run_of("prediction"), (absent, board), None)
    assert told_.why_not == "there is too little to learn it from"
    said = read_words(prediction).missing("headline", missing, run_of("prediction"), ())
    assert said.id == "prediction.value"
    assert str(said.statement) == (
        "Who will spend cannot be measured here: 12 rows, and it takes 100."
    )
    assert prediction.headline(run_of("prediction")) == ()


@pytest.mark.case("125")
def test_capacity_that_holds_no_more_than_a_lottery_is_not_advised(board):
    lottery = with_mark(board, ranking=estimate(0.7), captured=estimate(0.096, 0.03))
    advice = str(head(lottery).so_what)
    assert not advice.startswith("Start with")
    assert "drawn by lot hold as much" in advice


@pytest.mark.case("130a")
def test_the_latest_period_decides(board):
    """A mean of .68 over old periods and a broken one is no reason to go live."""
    broken = replace(with_mark(board, ranking=estimate(0.68)), latest=estimate(0.5, 0.04))
    assert not is_better_than_guessing(broken)
    found = head(broken)
    assert found.verdict is Verdict.CANNOT_TELL
    assert "no longer tell" in str(found.statement)
    assert "latest period" in str(found.so_what)


def test_an_amount_is_told_in_its_own_words(board):
    good = replace(with_mark(board, ranking=estimate(0.6)), target=AMOUNT)
    assert str(head(good).statement) == (
        "We can tell who will spend most: 60% of the way from guess to certainty."
    )


@pytest.mark.row("C4.1")
def test_the_reason_follows_from_the_board(board):
    simplest = replace(
        with_mark(board, behind=estimate(0.004, unit="change")), best="boosting", why="simplest"
    )
    assert str(choice(simplest).so_what) == (
        "It gives up 0.4% against the boosted trees, which is within chance (likely −0.6% to "
        "1.4%), and is easier to explain and to run."
    )
    best = replace(with_mark(board, behind=None), best=board.chosen, why="best")
    assert "It is the best on later days" in str(choice(best).so_what)
    asked = replace(with_mark(board, behind=estimate(0.05)), best="boosting", why="override")
    assert str(choice(asked).so_what) == (
        "It was asked for; it gives up 5% against the boosted trees."
    )
    assert choice(asked).verdict is Verdict.REVIEW
    rule = replace(best, chosen="rule", best="rule")
    rule = with_mark(rule, behind=None)
    assert "simplest, and nothing beats it" in str(choice(rule).so_what)


def test_calibration_passes_on_both_limits(board):
    for error, total, verdict in (
        (0.04, 1.05, Verdict.PASS),
        (0.06, 1.05, Verdict.REVIEW),
        (0.04, 1.15, Verdict.REVIEW),
        (0.04, 0.85, Verdict.REVIEW),
    ):
        made = with_mark(board, calibration_error=error, total_ratio=total)
        assert calibration(made).verdict is verdict


def test_amounts_may_be_off_by_more_than_their_mean(board):
    amounts = replace(board, target=replace(board.target, kind="amount"))
    made = with_mark(amounts, calibration_error=1.11)
    said = calibration(made)
    assert "are 111% off on average" in str(said.statement)
    assert said.verdict is Verdict.REVIEW
    assert drawn(prediction, "calibration", calibration_of(made, **LIMITS)) is not None


def test_drivers_are_named(board):
    drivers = estimate_drivers(board.documents["logistic"], board.tested.features, as_of=AS_OF)
    found = told(prediction, "driver", moves(board, drivers))
    assert str(found.statement).endswith("of what moves the score is x0.")
    assert str(found.so_what).startswith("More of it, higher score. Next: x1 and x2.")


def leaks(*found: Leak, of: str = "calls") -> Leaks:
    return Leaks(of_features=(), by_target={of: found}, n_models=5, n_features=20, undated=())


@pytest.mark.row("C4.3")
def test_a_leak_closes_the_gate():
    proof = Leak(where="duration", kind="declared", size=1.0, is_proof=True)
    hint = Leak(where="status", kind="alone", size=0.2, is_proof=False)
    run = run_of("prediction")
    closed = prediction.leakage(leaks(proof), run)
    gate = told(prediction, "leakage", closed)
    assert isinstance(gate, Gate)
    assert (gate.verdict, gate.blocks) == (Verdict.FAIL, ("monitoring", "decisions"))
    assert str(gate.statement) == "1 feature or model lets the future in; no score may leave."
    assert str(gate.so_what) == "Take out or date: duration."
    table = tabled(prediction, "leakage", closed)
    assert table is not None
    assert table.rows == (("duration", "is known only later", "calls"),)
    assert prediction.strong_feature(leaks(proof), run) is None
    assert told(prediction, "leakage", prediction.leakage(leaks(hint), run)).verdict is Verdict.PASS
    check = told(prediction, "strong_feature", prediction.strong_feature(leaks(hint), run))
    assert isinstance(check, Check)
    assert check.verdict is Verdict.REVIEW
    assert check.id == "prediction.leakage.strong_feature"
    gate = told(prediction, "leakage", prediction.leakage(leaks(), run))
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

    def gaps(why: list[Mechanism], routes: Routes, shifts: list[Shift]) -> Finding:
        result = gaps_of(TARGET, why, routes, shifts, largest_error_share=0.05)
        assert len(result.table) == len(shifts)
        return told(prediction, "gaps", result)

    found = gaps([mechanism], bent, shifts)
    assert str(found.statement) == (
        "Dropping customers with gaps would understate how many stop ordering by 12 points."
    )
    assert "Most gaps are in income band (40%), and they go with age band." in str(found.so_what)
    assert "90% of the first customers would stay" in str(found.so_what)
    harmless = replace(bent, dropped=estimate(0.005, unit="difference"))
    found = gaps([], harmless, [])
    assert found.verdict is Verdict.DOES_NOT_MATTER
    assert str(found.statement) == "Missing values do not bend our view of who will stop ordering."
    unsure = replace(bent, dropped=estimate(0.005, 0.1, unit="difference"))
    found = gaps([], unsure, [])
    assert found.verdict is Verdict.CANNOT_TELL
    result = gaps_of(TARGET, [mechanism], bent, shifts, largest_error_share=0.05)
    table = tabled(prediction, "gaps", result)
    assert table is not None
    assert len(table.rows) == 3


@pytest.mark.row("C4.6")
def test_refused_columns_are_named_without_a_value():
    refused = [Refused(column="mail", kind="e-mail", words="its values look like e-mail")]
    found = told(prediction, "identifiers", identifiers_of(refused, n_features=20))
    assert found.verdict is Verdict.REVIEW
    assert str(found.so_what) == (
        "Take them out of the features: mail: its values look like e-mail."
    )
    fine = told(prediction, "identifiers", identifiers_of([], n_features=20))
    assert fine.verdict is Verdict.PASS


def test_charts_and_tables_hold_every_model(board):
    result = choice_of(board)
    table, chart = tabled(prediction, "choice", result), drawn(prediction, "choice", result)
    assert table is not None
    assert chart is not None
    assert [row[0] for row in table.rows] == [
        "Rule of thumb",
        "Weighted score",
        "Score with curves",
        "Boosted trees",
        "Forest of trees",
    ]
    assert table.columns[1:3] == ("Pairs ranked right", "Likely")
    assert "<svg" in chart.svg

    def curve(smallest: int) -> bool:
        found = calibration_of(board, smallest=smallest, **LIMITS)
        return drawn(prediction, "calibration", found) is not None

    assert curve(10)
    assert not curve(10_000)
    document = board.documents["logistic"]
    drivers = estimate_drivers(document, board.tested.features, as_of=date(2024, 12, 31))
    assert drawn(prediction, "driver", moves(board, drivers)) is not None
    assert drawn(prediction, "driver", moves(board, drivers[:1])) is None
