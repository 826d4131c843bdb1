"""Sentences follow the results: verdict, advice and warning change with them."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest

from insight_lib import prediction
from insight_lib.analyses import Missing
from insight_lib.findings import Finding, Verdict, counted
from insight_lib.prediction.causes import Why, why, worst
from insight_lib.prediction.drift import estimate_drift
from insight_lib.prediction.marks import Held, Surprised, held, total, trusted
from insight_lib.prediction.performance import (
    ExpectedPerformance,
    Performance,
    Surprise,
    estimate_amount_performance,
)
from insight_lib.prediction.registry import Decided
from insight_lib.prediction.root_cause import RootCause
from insight_lib.prediction.shifts import Shifts, inputs_missing, inputs_moved, scores_moved
from insight_lib.prediction.snapshots import Target
from insight_lib.prediction.triggers import Retrain, Trigger, due
from insight_lib.prediction.watch import Learned, Watched, rolled_back
from insight_lib.prose import Name
from insight_lib.words import read_words
from tests.cards import drawn, run_of, tabled, told
from tests.prediction.test_drift import frames
from tests.prediction.test_performance import surprise
from tests.prediction.test_root_cause import planted
from tests.prediction.test_triggers import LIMITS, triggers

AS_OF = date(2024, 12, 31)
TITLE = Name("stop ordering")
LABELS = {"market": "Testland", "source": "transactions (snapshot 1)"}


def said(finding: Finding | None) -> str:
    assert finding is not None
    assert len(str(finding.statement)) <= 120
    return f"{finding.statement} {finding.so_what}"


def test_drift_names_what_moved_and_its_false_alarms() -> None:
    before, now = frames(1)
    quiet = estimate_drift(before, now, as_of=AS_OF, scores=("score",))
    assert told(prediction, "drift", inputs_moved(quiet)).verdict is not Verdict.MATTERS
    assert inputs_missing(quiet) is None
    now["revenue_amount"] *= 3
    now["score"] = now["score"] ** 2
    now.loc[now.index[:200], "n_orders"] = np.nan
    loud = estimate_drift(before, now, as_of=AS_OF, scores=("score",))
    moved = inputs_moved(loud)
    assert ": spend." in said(told(prediction, "drift", moved))
    assert "5% of runs" in said(told(prediction, "drift", moved))
    assert told(prediction, "score_shift", scores_moved(loud)).verdict is Verdict.MATTERS
    missing = told(prediction, "gone_missing", inputs_missing(loud))
    assert "Number of orders is missing more often" in said(missing)
    assert missing.owner == "data-engineer"
    table = tabled(prediction, "drift", moved)
    assert table is not None
    words = {row[0]: row[-1] for row in table.rows}
    assert words["spend"] == "moved"
    chart = drawn(prediction, "drift", moved)
    assert chart is not None
    assert str(chart.title) == "Score moved most"
    both = Shifts(inputs=loud, scores=loud)
    assert both.has_moved
    assert prediction.drift(both) == moved
    assert prediction.drift(None) is None
    assert prediction.gone_missing(None) is None
    assert prediction.score_shift(None) is None


def test_a_small_market_does_not_claim_that_nothing_changed() -> None:
    quiet = estimate_drift(*frames(2, n=60, overlap=0.0), as_of=AS_OF)
    assert told(prediction, "drift", inputs_moved(quiet)).verdict is Verdict.CANNOT_TELL


def expected(
    found: ExpectedPerformance, *, has_drifted: bool = False, was_surprised: bool = False
) -> Finding:
    result = trusted("lapse", TITLE, found, has_drifted=has_drifted, was_surprised=was_surprised)
    return told(prediction, "expected", result)


def surprised(found: Surprise) -> Finding:
    return told(prediction, "surprise", Surprised(key="lapse", title=TITLE, found=found))


@pytest.mark.row("M5.2")
def test_the_estimate_without_labels_always_says_what_it_cannot_see() -> None:
    quiet, changed = surprise(1), surprise(1, relation=-0.2)
    for result, was_surprised in ((quiet, False), (changed, True)):
        finding = expected(result.expected, was_surprised=was_surprised)
        assert "a change of behaviour does not show here" in said(finding)
        assert (finding.verdict is Verdict.FAIL) == was_surprised
    assert "Do not trust" in said(expected(changed.expected, has_drifted=True, was_surprised=True))
    shifted = surprise(1, shift=2.5).expected
    assert expected(shifted).verdict is Verdict.REVIEW
    assert surprised(quiet).verdict is Verdict.PASS
    warned = surprised(changed)
    assert warned.verdict is Verdict.FAIL
    assert "Warning" in said(warned)


def marked(*days: Performance, accepted: float, is_live: bool = True) -> Held:
    return held("lapse", TITLE, days, smallest_auc=accepted, largest_gap=0.05, is_live=is_live)


@pytest.mark.parametrize(
    ("accepted", "verdict"),
    [(0.5, Verdict.PASS), (0.72, Verdict.CANNOT_TELL), (0.95, Verdict.FAIL)],
)
def test_performance_has_three_endings(accepted: float, verdict: Verdict) -> None:
    result = surprise(1).realised
    assert result.auc.lower < 0.72 < result.auc.upper
    assert told(prediction, "performance", marked(result, accepted=accepted)).verdict is verdict
    chart = drawn(prediction, "performance", marked(result, result, accepted=accepted))
    assert chart is not None
    assert "of pairs" in str(chart.title)
    assert drawn(prediction, "performance", marked(result, accepted=accepted)) is None


def test_a_model_that_ranks_well_at_the_wrong_level_is_for_review() -> None:
    result = replace(surprise(1).realised, gap=replace(surprise(1).realised.auc, lower=0.1))
    finding = told(prediction, "performance", marked(result, accepted=0.5))
    assert finding.verdict is Verdict.REVIEW
    assert "do not plan by its numbers" in said(finding)


def test_amounts_that_do_not_add_up_fail() -> None:
    rng = np.random.default_rng(1)
    actual = rng.gamma(2, 10, 500)
    for factor, verdict in ((1.0, Verdict.PASS), (2.0, Verdict.FAIL)):
        result = estimate_amount_performance(
            actual * factor, actual, range(500), unit="EUR", as_of=AS_OF
        )
        finding = told(prediction, "amounts", total("value", result, largest_gap=0.1))
        assert finding.verdict is verdict


def retrain(found: tuple[Trigger, ...], since: date | None = None) -> Retrain:
    return due("lapse", TITLE, found, LIMITS, as_of=AS_OF, since=since)


def test_retraining_says_why() -> None:
    quiet = told(prediction, "retrain", retrain(triggers()))
    assert quiet.verdict is Verdict.DOES_NOT_MATTER
    loud = told(prediction, "retrain", retrain(triggers(shift=1.0, age_days=200)))
    assert "customers have changed and it is too old" in said(loud)
    assert "gap days" in said(loud)
    assert loud.due == AS_OF + timedelta(days=14)
    (reasons,) = prediction.reasons((retrain(triggers(age_days=200)),))
    table = tabled(prediction, "reasons", reasons)
    assert table is not None
    assert [row[-1] for row in table.rows] == ["no", "no", "no", "yes"]
    stands_in = told(prediction, "retrain", retrain(triggers(age_days=200), since=AS_OF))
    assert "would be due: it is too old" in said(stands_in)
    assert stands_in.due is None
    blind = replace(triggers()[0], has_fired=None, value=None)
    assert "as far as can be seen" in said(told(prediction, "retrain", retrain((blind,))))


def cause(found: RootCause) -> Why:
    return why("lapse", TITLE, found)


def test_the_cause_and_its_cure_are_named() -> None:
    lost = planted(4, "missingness")
    finding = told(prediction, "cause", cause(lost))
    assert "inputs went missing (x)" in said(finding)
    assert finding.owner == "data-engineer"
    chart = drawn(prediction, "cause", cause(lost))
    assert chart is not None
    assert "Inputs went missing leads" in str(chart.title)
    quiet = told(prediction, "cause", cause(planted(1)))
    assert quiet.verdict is not Verdict.MATTERS
    by_slice = worst("lapse", planted(2, "slice"))
    assert "channel web" in said(told(prediction, "slices", by_slice))
    assert prediction.slices((cause(planted(1)), Missing("too few", key="value"))) == ()


@pytest.mark.case("130i")
def test_no_superlative_of_one_and_no_change_from_nothing() -> None:
    """Seen: "errors grew most" where one group stood out; a rise over errors of nought."""
    found = planted(2, "slice")

    def slices(*clear: str) -> str:
        marked = tuple(replace(s, is_clear=s.value in clear) for s in found.slices)
        return said(told(prediction, "slices", worst("lapse", replace(found, slices=marked))))

    assert "grew for" in slices("web")
    assert "grew most for" in slices(*(s.value for s in found.slices))
    from_nothing = replace(planted(1), before=0.0)
    assert "no errors to compare with" in said(told(prediction, "cause", cause(from_nothing)))


@pytest.mark.case("9")
def test_of_a_stand_in_nothing_is_kept_or_stopped() -> None:
    result = surprise(1).realised
    stands_in = told(prediction, "performance", marked(result, accepted=0.6, is_live=False))
    assert stands_in.verdict in (Verdict.DOES_NOT_MATTER, Verdict.CANNOT_TELL)
    assert "No model is in use" in said(stands_in)
    assert "Keep using" not in said(stands_in)


def test_the_model_watched_is_said() -> None:
    standing_in = told(prediction, "model", Learned(case="stands in", n=900, day=AS_OF))
    assert "stands in" in said(standing_in)
    live = told(prediction, "model", Learned(case="in use", n=900, day=AS_OF))
    assert live.verdict is Verdict.PASS
    assert prediction.model(()) is None


def test_a_model_taken_out_of_use_is_said_with_what_scores_instead() -> None:
    def rollback(live: str | None, *, is_done: bool) -> Finding:
        decided = Decided(target="lapse", version="b" * 16, live_version=live, is_done=is_done)
        return told(prediction, "rollback", rolled_back(decided, "lapse", counted(9, 9, AS_OF)))

    assert "Model aaaaaa scores again" in said(rollback("a" * 16, is_done=True))
    assert "the rule scores until" in said(rollback(None, is_done=True))
    assert rollback("b" * 16, is_done=False).verdict is Verdict.PASS


@pytest.mark.case("130b")
def test_a_model_whose_outcomes_have_not_come_says_so() -> None:
    target = Target(
        id="lapse",
        title="stop ordering",
        kind="binary",
        purpose="retention",
        horizon_days=91,
        unit="share",
    )
    document = {"trained": {"as_of": "2024-11-01", "n": 900}}
    unseen = Watched(target=target, document=document, version="a" * 16, seen={})
    (found,) = prediction.performance((unseen,), run_of("prediction"))
    assert isinstance(found, Missing)
    finding = read_words(prediction).missing(
        "performance", found, run_of("prediction"), ("transactions",)
    )
    assert finding.id == "prediction.performance.lapse"
    assert finding.verdict is Verdict.NOT_MEASURABLE
    assert "first outcomes come on 31 January 2025" in str(finding.statement)
    assert "every 91 days" in str(finding.so_what)
