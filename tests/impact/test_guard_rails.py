"""Guard-rails: bounds by hand, and a wrong release no likelier than stated, however many."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest

from insight_lib.findings import TooFew, Verdict
from insight_lib.impact.effects import Effect, Metric, estimate_effects
from insight_lib.impact.experiment_story import (
    describe_effect,
    describe_release,
    guard_table,
    held_back,
)
from insight_lib.impact.guard_rails import (
    GuardRail,
    add_guard_columns,
    check_guard_rail,
    check_guard_rails,
    judge_release,
    usual_guard_rails,
)
from tests.impact.worlds import simple_result
from tests.truth.helpers import assert_detection_rate, assert_false_alarm_rate, over_seeds

DAY = date(2025, 6, 30)


def rail(column: str, margin: float, *, worse: str = "up", kind: str = "mean") -> GuardRail:
    return GuardRail(
        metric=Metric(
            column=column,
            name=column,
            kind=kind,  # type: ignore[arg-type]
            unit="share" if kind == "share" else "ratio",
            smallest_change_that_matters=margin,
        ),
        worse=worse,  # type: ignore[arg-type]
    )


def two_arms(treated: tuple[float, float], control: tuple[float, float]) -> pd.DataFrame:
    """Fifty times each of two values per arm."""
    return pd.DataFrame(
        {
            "is_treated": [True] * 100 + [False] * 100,
            "y": [*treated] * 50 + [*control] * 50,
        }
    )


@pytest.mark.row("C8.1")
def test_the_one_sided_bound_by_hand_and_its_three_endings() -> None:
    # Means 3 and 2, variance 1 each, 100 each: error about 0.142, bound 1 +- 1.66 * 0.142.
    frame = two_arms((2.0, 4.0), (1.0, 3.0))
    tight = check_guard_rail(frame, rail("y", 1.30), as_of=DAY, seed=1)
    assert tight.harm.value == pytest.approx(1.0)
    assert tight.harm.upper == pytest.approx(1.0 + 1.66 * 0.1421, abs=0.01)
    assert tight.harm.level == pytest.approx(0.90)
    assert tight.verdict is Verdict.PASS
    assert check_guard_rail(frame, rail("y", 1.1), as_of=DAY, seed=1).verdict is Verdict.CANNOT_TELL
    assert check_guard_rail(frame, rail("y", 0.5), as_of=DAY, seed=1).verdict is Verdict.FAIL
    # Where less is worse, this rise is no harm at all.
    turned = check_guard_rail(frame, rail("y", 0.1, worse="down"), as_of=DAY, seed=1)
    assert turned.harm.value == pytest.approx(-1.0)
    assert turned.verdict is Verdict.PASS


def shop(seed: int, *, harm: float = 0.0, n: int = 2_000) -> pd.DataFrame:
    """Visits that the offer surely lifts; three things it may harm, the first by `harm`."""
    rng = np.random.default_rng(seed)
    is_treated = rng.random(n) < 0.5
    return pd.DataFrame(
        {
            "is_treated": is_treated,
            "arm": np.where(is_treated, "offer", "control"),
            "visits": (rng.random(n) < 0.2 + 0.15 * is_treated).astype(float),
            "refused": (rng.random(n) < 0.1 + harm * is_treated).astype(float),
            "calls": rng.poisson(0.5, n).astype(float),
            "orders": rng.poisson(1.0, n).astype(float),
        }
    )


RAILS = (
    rail("refused", 0.03, kind="share"),
    rail("calls", 0.15),
    rail("orders", 0.2, worse="down"),
)


def ending(seed: int, *, harm: float, rails: tuple[GuardRail, ...] = RAILS) -> Verdict:
    guards = check_guard_rails(shop(seed, harm=harm), rails, as_of=DAY, seed=1)
    return judge_release(True, guards)


@pytest.mark.slow
@pytest.mark.row("C8.1")
def test_at_the_margin_a_wrong_release_is_no_likelier_with_many_rails() -> None:
    at_margin = over_seeds(lambda seed: ending(seed, harm=0.03), 600)
    assert_false_alarm_rate([e is Verdict.PASS for e in at_margin], 0.05)
    one = over_seeds(lambda seed: ending(seed, harm=0.03, rails=RAILS[:1]), 600)
    assert_false_alarm_rate([e is Verdict.PASS for e in one], 0.05, at_most=False)
    assert_false_alarm_rate([e is Verdict.FAIL for e in one], 0.05, at_most=False)
    harmless = over_seeds(lambda seed: ending(seed, harm=-0.03), 100)
    assert_detection_rate([e is Verdict.PASS for e in harmless], 0.8)
    harmful = over_seeds(lambda seed: ending(seed, harm=0.1), 100)
    assert_detection_rate([e is Verdict.FAIL for e in harmful], 0.9)
    # A plain "no sure harm" would have released far more often: the check can fail.
    with pytest.raises(AssertionError):
        assert_false_alarm_rate([e is not Verdict.FAIL for e in at_margin], 0.05)


def visits(frame: pd.DataFrame) -> tuple[Effect, ...]:
    metric = Metric(
        column="visits",
        name="share who visited",
        kind="share",
        unit="share",
        smallest_change_that_matters=0.01,
    )
    return estimate_effects(frame, [metric], as_of=DAY, seed=1)


@pytest.mark.row("C8.1")
def test_a_test_that_wins_but_breaks_a_guard_rail_is_not_rolled_out() -> None:
    frame = shop(3, harm=0.1)
    guards = check_guard_rails(frame, RAILS, as_of=DAY, seed=1)
    result = simple_result(frame, visits(frame)[0].metric, guards=guards)
    finding = describe_release(result)
    assert "Do not roll out spring: worse than we accept in refused." in str(finding.statement)
    assert "Won: share who visited" in str(finding.so_what)
    advised = describe_effect(result.effects[0], result)
    assert "Do not roll out: a guard-rail is broken." in str(advised.so_what)
    assert "Repeat" not in str(advised.so_what)
    assert guard_table(guards).rows[0][-1] == "surely broken"


def test_the_other_endings_in_words() -> None:
    fair = shop(5, harm=-0.04)
    metric = visits(fair)[0].metric
    guards = check_guard_rails(fair, RAILS, as_of=DAY, seed=1)
    result = simple_result(fair, metric, guards=guards)
    assert "Roll out spring" in str(describe_release(result).statement)
    assert "Repeat it." in str(describe_effect(result.effects[0], result).so_what)
    assert held_back(result) is None
    unguarded = simple_result(fair, metric)
    assert "could not be measured" in str(held_back(unguarded))  # nobody looked: not yet
    unsure = check_guard_rails(fair, [rail("calls", 0.001)], as_of=DAY, seed=1)
    finding = describe_release(simple_result(fair, metric, guards=unsure))
    assert "yet: harm is not ruled out in calls" in str(finding.statement)
    assert finding.verdict is Verdict.CANNOT_TELL
    idle = fair.assign(**{metric.column: np.tile([0.0, 1.0], len(fair) // 2)})
    nothing = describe_release(simple_result(idle, metric, guards=guards))
    assert "no gain is sure" in str(nothing.statement)
    assert judge_release(False, guards) is Verdict.CANNOT_TELL


def test_rails_follow_what_is_recorded() -> None:
    frame = shop(1).assign(customer_id=range(2_000), orders_before=1.0)
    sums = pd.DataFrame(
        {
            "customer_id": [0, 1],
            "sold_amount": [50.0, 100.0],
            "returned_amount": [0.0, 20.0],
            "discount_amount": [0.0, 0.0],
            "list_amount": [0.0, 0.0],
        }
    )
    margins = {
        "most_returns_rise": 0.02,
        "most_discount_rise": 0.02,
        "most_orders_fall": 0.05,
        "most_refusals_rise": 0.01,
    }
    watched = add_guard_columns(frame, sums)
    assert watched["sold_amount"].sum() == 150.0
    rails = usual_guard_rails(watched, **margins)
    assert [r.metric.column for r in rails] == ["returned_amount", "orders"]
    control = frame.loc[~frame["is_treated"], "orders"].mean()
    assert rails[1].margin == pytest.approx(0.05 * control)
    refused = usual_guard_rails(watched.assign(has_refused=0.0), **margins)
    assert refused[-1].metric.column == "has_refused"
    with pytest.raises(TooFew, match="no guard-rail is declared"):
        check_guard_rails(frame, [], as_of=DAY, seed=1)
    tiny = pd.concat([frame[frame["is_treated"]][:20], frame[~frame["is_treated"]][:40]])
    with pytest.raises(TooFew, match="refused: 20 customers in an arm"):
        check_guard_rails(tiny, RAILS[:1], as_of=DAY, seed=1)
