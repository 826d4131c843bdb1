"""Three solutions side by side: what is planted wins the use that it serves."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest

from insight_lib.findings import TooFew
from insight_lib.segments.attitudes import (
    SideBySide,
    compare_solutions,
    survey_answers,
    within_scale,
)

AS_OF = date(2024, 12, 31)


def side_by_side(
    seed: int, *, has_surveys: bool = True, signal: bool = True, n: int = 600
) -> SideBySide:
    """Attitudes follow age, and behaviour follows its own groups and tells the next orders."""
    rng = np.random.default_rng(seed)
    attitude, habit = rng.integers(0, 3, n), rng.integers(0, 3, n)
    index = pd.Index([f"c{i:04}" for i in range(n)], name="customer_id")
    corners = np.array([[0.0, 0, 0], [4, 0, 0], [0, 4, 4]])
    behaviour = corners[habit] + rng.normal(size=(n, 3))
    answers = corners[attitude] + rng.normal(size=(n, 3))
    age = np.where(rng.random(n) < 0.8, attitude, rng.integers(0, 3, n))
    orders = rng.poisson(np.array([1.0, 5.0, 15.0])[habit])
    if not signal:
        age, orders = rng.integers(0, 3, n), rng.poisson(5, n)
    return compare_solutions(
        pd.DataFrame(behaviour, index=index),
        pd.DataFrame(answers, index=index) if has_surveys else None,
        traits=pd.DataFrame({"age_band": np.array(["young", "middle", "old"])[age]}, index=index),
        next_orders=pd.Series(orders, index=index, dtype=float),
        weights=pd.Series(rng.uniform(0.5, 2, n), index=index),
        as_of=AS_OF,
    )


@pytest.mark.row("C3.1")
@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_what_is_planted_wins_its_use(seed: int) -> None:
    found = side_by_side(seed)
    assert found.winner["acquisition"] in ("attitudinal", "hybrid")
    assert found.winner["retention"] == "behavioural"
    table = {c.solution: c for c in found.criteria}
    assert table["attitudinal"].targetable.lower > table["behavioural"].targetable.upper
    assert table["behavioural"].predictive.lower > table["attitudinal"].predictive.upper
    assert found.unserved == ()


@pytest.mark.row("C3.1")
def test_without_surveys_acquisition_is_left_unserved() -> None:
    found = side_by_side(1, has_surveys=False)
    assert found.unserved == ("acquisition",)
    assert found.winner == {"retention": "behavioural"}
    assert [c.solution for c in found.criteria] == ["behavioural"]


@pytest.mark.row("C3.1")
def test_without_signal_no_solution_serves() -> None:
    found = side_by_side(5, signal=False)
    assert found.winner == {}
    assert found.unserved == ("acquisition", "retention")


def test_too_few_respondents() -> None:
    with pytest.raises(TooFew, match="it takes 100"):
        side_by_side(1, n=90)


def test_latest_complete_answers_and_weights() -> None:
    rows = [
        ("a", "q1", 1.0, 2.0, "2024-01-01"),
        ("a", "q2", 2.0, 2.0, "2024-01-01"),
        ("a", "q1", 5.0, 3.0, "2024-06-01"),
        ("b", "q1", 4.0, 1.0, "2024-01-01"),
        ("c", "q1", None, 1.0, "2024-01-01"),
    ]
    columns = ["customer_id", "question", "answer", "design_weight", "asked_at"]
    answers, weights = survey_answers(pd.DataFrame(rows, columns=columns))
    assert answers.to_dict("index") == {"a": {"q1": 5.0, "q2": 2.0}}
    assert weights.to_dict() == {"a": 3.0}


@pytest.mark.case("115", "116")
def test_waves_with_other_questions_and_without_weights() -> None:
    rows = [(f"c{i:03}", q, 1.0 + i % 5) for i in range(163) for q in ("price", "range")]
    rows += [(f"d{i:03}", q, 3.0) for i in range(40) for q in ("app", "store")]
    rows += [(f"c{i:03}", q, 2.0) for i in range(19) for q in ("app", "store")]
    surveys = pd.DataFrame(rows, columns=["customer_id", "question", "answer"])
    answers, weights = survey_answers(surveys.assign(asked_at=pd.Timestamp("2025-01-01")))
    assert list(answers.columns) == ["price", "range"]
    assert (len(answers), set(weights)) == (163, {1.0})


@pytest.mark.case("32")
def test_without_any_trait_acquisition_is_unserved() -> None:
    rng = np.random.default_rng(1)
    index = pd.Index([f"c{i:03}" for i in range(200)])
    behaviour = pd.DataFrame(rng.normal(size=(200, 3)), index=index)
    found = compare_solutions(
        behaviour, None, traits=pd.DataFrame(index=index),
        next_orders=pd.Series(rng.poisson(3.0, 200), index=index), weights=None,
        as_of=date(2025, 1, 1),
    )  # fmt: skip
    assert "acquisition" in found.unserved


@pytest.mark.case("116")
def test_codes_of_no_answer_are_no_answers() -> None:
    answers = [1.0, 2.0, 5.0, 99.0, 99.0, None]
    surveys = pd.DataFrame({"question": "q", "answer": answers})
    kept, n_off = within_scale(surveys, None)
    assert (kept["answer"].max(), n_off) == (5.0, 2)
    assert within_scale(surveys, (1, 4))[1] == 3
    assert within_scale(surveys.assign(answer=[0.0, 9.0, 8.0, 7.0, 10.0, 5.0]), None)[1] == 0
    # `answer` is optional: a survey without it has no answers, and takes no page with it.
    assert within_scale(surveys.drop(columns="answer"), None)[0]["answer"].isna().all()
