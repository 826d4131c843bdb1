"""Root cause: the planted cause leads, the parts add up, and nothing planted is no cause."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.special import expit

from insight_lib.findings import TooFew
from insight_lib.prediction.root_cause import CAUSES, RootCause, Score, estimate_root_cause
from tests.truth.helpers import assert_detection_rate, assert_false_alarm_rate, over_seeds

AS_OF = date(2024, 12, 31)
N = 2400
Side = tuple[pd.DataFrame, pd.Series]


def score(frame: pd.DataFrame) -> NDArray[np.float64]:
    """The relation that holds on the reference; a missing input counts as its mean."""
    x, z = frame["x"].fillna(0.0), frame["z"].fillna(0.0)
    return np.asarray(expit(-1.2 + 1.2 * x + 0.7 * z + 0.5 * (frame["channel"] == "web")))


def crude_score(frame: pd.DataFrame) -> NDArray[np.float64]:
    """A model that was never quite right: it knows one input, and too little of it."""
    return np.asarray(expit(-1.0 + 0.7 * frame["x"].fillna(0.0)))


def side(rng: np.random.Generator, customers: range, cause: str = "") -> Side:
    n = len(customers)
    # Other customers: those near even odds, who are the hardest to tell.
    x = rng.normal(1.1, 0.6, n) if cause == "mix" else rng.normal(size=n)
    frame = pd.DataFrame(
        {
            "x": x,
            "z": rng.normal(size=n),
            "channel": rng.choice(["web", "store"], n),
        },
        index=pd.Index([f"c{i:05}" for i in customers], name="customer_id"),
    )
    chance = score(frame)
    if cause == "behaviour":
        chance = expit(-0.95 - 0.4 * frame["x"] + 0.7 * frame["z"])
    if cause == "slice":
        chance = np.where(frame["channel"] == "web", expit(-0.95 - 0.6 * frame["x"]), chance)
    label = (rng.random(n) < chance).astype(float)
    if cause == "missingness":
        frame.loc[rng.random(n) < 0.6, "x"] = np.nan
    return frame, pd.Series(label, index=frame.index)


def planted(seed: int, cause: str = "", n: int = N, served: Score = score) -> RootCause:
    rng = np.random.default_rng(seed)
    before = side(rng, range(n))
    if cause == "base rate":
        # The outcome becomes more frequent; who has it looks as before.
        frame, label = side(rng, range(n // 2, n // 2 + 4 * n))
        odds = np.where(label == 1, 2.5, 1.0)
        rows = rng.choice(len(frame), n, replace=False, p=odds / odds.sum())
        now = (frame.iloc[rows], label.iloc[rows])
    else:
        now = side(rng, range(n // 2, n // 2 + n), cause)
    return estimate_root_cause(
        *before,
        *now,
        score=served,
        as_of=AS_OF,
        slice_columns=("channel", "z"),
        n_resamples=60,
        seed=seed,
    )


def is_led_by(result: RootCause, cause: str) -> bool:
    return result.leading is not None and result.leading.name == cause


@pytest.mark.row("M7.6")
@pytest.mark.parametrize("cause", CAUSES)
def test_the_planted_cause_leads(cause: str) -> None:
    result = planted(1, cause)
    assert is_led_by(result, cause)
    assert result.causes[0].share > 0.5


@pytest.mark.slow
@pytest.mark.row("M7.6")
@pytest.mark.parametrize("cause", CAUSES)
def test_the_planted_cause_leads_over_seeds(cause: str) -> None:
    assert_detection_rate(over_seeds(lambda s: is_led_by(planted(s, cause), cause), 60), 0.9)


@pytest.mark.slow
@pytest.mark.row("M7.6")
def test_nothing_planted_is_no_clear_cause() -> None:
    found = over_seeds(planted, 120)
    assert_false_alarm_rate([r.leading is not None for r in found], 0.05)
    assert_false_alarm_rate([any(s.is_clear for s in r.slices) for r in found], 0.05)


@pytest.mark.slow
@pytest.mark.row("M7.6")
def test_a_model_that_was_never_right_is_not_taken_for_changed_behaviour() -> None:
    quiet = over_seeds(lambda s: planted(s, served=crude_score), 80)
    assert_false_alarm_rate([r.leading is not None for r in quiet], 0.05)
    mixed = over_seeds(lambda s: is_led_by(planted(s, "mix", served=crude_score), "mix"), 40)
    assert_detection_rate(mixed, 0.9)


def test_the_slice_that_carries_it_is_named() -> None:
    result = planted(2, "slice")
    assert is_led_by(result, "behaviour")
    assert [(s.column, s.value) for s in result.slices if s.is_clear] == [("channel", "web")]
    assert not any(s.is_clear for s in planted(2).slices)


def test_the_parts_add_up_to_the_rise() -> None:
    result = planted(3, "behaviour")
    assert sum(c.rise.value for c in result.causes) == pytest.approx(result.rise.value)
    assert result.now - result.before == pytest.approx(result.rise.value)
    assert sum(c.share for c in result.causes) == pytest.approx(1.0)


def test_newly_missing_inputs_are_named() -> None:
    result = planted(4, "missingness")
    assert result.leading is not None
    assert result.leading.names == ("x",)


def test_pairs_in_the_wrong_order_can_be_split_instead() -> None:
    rng = np.random.default_rng(5)
    result = estimate_root_cause(
        *side(rng, range(N)),
        *side(rng, range(N), "behaviour"),
        score=score,
        as_of=AS_OF,
        metric="auc",
        n_resamples=30,
    )
    assert is_led_by(result, "behaviour")
    assert 0 < result.before < result.now < 1


def test_too_few_customers_are_said() -> None:
    with pytest.raises(TooFew, match="it takes 200"):
        planted(1, n=120)
