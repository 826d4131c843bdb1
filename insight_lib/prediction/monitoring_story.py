"""Monitoring in words: whether the models still hold, and what to do if not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np

from insight_lib.findings import (
    Check,
    Estimate,
    Finding,
    Measured,
    Need,
    Prose,
    Verdict,
    counted,
)
from insight_lib.prediction.drift import Drift, Shift
from insight_lib.prediction.explain import in_words
from insight_lib.prediction.performance import (
    AmountPerformance,
    ExpectedPerformance,
    Performance,
    Surprise,
)
from insight_lib.prediction.registry import Decided
from insight_lib.prediction.snapshots import Target
from insight_lib.prediction.triggers import Trigger, TriggerName
from insight_lib.statistics import in_points

_EVIDENCE = ("transactions", "customers")
_MOST_NAMES = 3
_LARGEST_OUTSIDE_SHARE = 0.05
_COIN = 0.5

_TRIGGER_WORDS: dict[TriggerName, str] = {
    "performance": "it predicts too badly",
    "drift": "customers have changed",
    "volume": "enough is new to learn from",
    "age": "it is too old",
}


def listed(names: Sequence[str]) -> str:
    """Names as they stand in a sentence; after a few, how many more."""
    shown = [in_words(n) for n in names[:_MOST_NAMES]]
    if rest := len(names) - len(shown):
        shown.append(f"{rest} more")
    *first, last = shown
    return f"{', '.join(first)} and {last}" if first else last


def describe_model(*, source: str, trained_until: date, n_trained: int, as_of: date) -> Check:
    """Which model is watched, and what it learned from."""
    is_live = source == "live"
    return Check(
        id="monitoring.model",
        rows=("C4.4",),
        statement=Prose(
            "{which}",
            which="The model in use is watched."
            if is_live
            else "No model is in use yet; one fitted on the earliest months stands in.",
        ),
        verdict=Verdict.PASS if is_live else Verdict.REVIEW,
        owner="analyst",
        evidence=("transactions",),
        so_what=Prose(
            "It learned from {n} customer records up to {day}. {advice}",
            n=counted(n_trained, n_trained, as_of),
            day=trained_until,
            advice="A promotion changes the model watched from the next run on."
            if is_live
            else "As soon as one passes its gates on the page before, it is watched here.",
        ),
    )


def describe_unseen(
    target: Target, *, learned_until: date, horizon_days: int, as_of: date
) -> Check:
    """A model of which no outcome has come yet: retrained more often than outcomes come.

    Its performance is not known, and no word on it must not read as none being needed.
    """
    ready = learned_until + timedelta(days=horizon_days)
    return Check(
        id=f"monitoring.performance.{target.id}",
        rows=("M5.2",),
        statement=Prose(
            "Whether the model still tells who will {title} cannot be measured before {day}.",
            title=target.title,
            day=ready,
        ),
        verdict=Verdict.NOT_MEASURABLE,
        owner="analyst",
        evidence=("transactions",),
        needs=(Need(table="transactions"),),
        so_what=Prose(
            "It learned up to {learned}, and its outcomes take {days}. Retrain no more often than "
            "that, or it is never watched.",
            learned=learned_until,
            days=Measured(value=horizon_days, unit="days", n=1, as_of=as_of),
        ),
    )


def describe_rollback(decided: Decided, *, target: Target, n: int, as_of: date) -> Check:
    """Whether the model in use was taken out of use, because it surely got too weak."""
    left = decided.live_version
    return Check(
        id=f"monitoring.rollback.{target.id}",
        rows=("C4.5",),
        statement=Prose(
            "Model {version} is out of use: {why}.",
            version=decided.version[:6],
            why="it got too weak",
        )
        if decided.is_done
        else Prose("Model {version} stays in use.", version=decided.version[:6]),
        verdict=Verdict.FAIL if decided.is_done else Verdict.PASS,
        owner="insight-lead",
        evidence=("past_scores",),
        value=counted(n, n, as_of),
        so_what=Prose(
            "{advice}",
            advice=(
                f"Model {left[:6]} scores again; find out why before another is promoted."
                if left
                else "The pooled model or the rule scores until a new one passes its gates."
            )
            if decided.is_done
            else "Its mark on new outcomes is not surely below what is accepted.",
        ),
    )


def describe_drift(drift: Drift) -> Finding:
    """Whether customers look different from those the model learned from."""
    moved = [s for s in drift.shifts if s.has_moved and s.kind != "score"]
    inputs = [s for s in drift.shifts if s.kind != "score"]
    n = drift.n_current
    share = Measured(value=drift.false_alarm_rate, unit="share", n=n, as_of=drift.as_of)
    if moved:
        statement = Prose(
            "Customers look different from those the model learned from: {names}.",
            names=listed([s.name for s in moved]),
        )
        so_what = Prose(
            "Look first at {name}{change}. Without any change, {share} of runs would say so.",
            name=in_words(moved[0].name),
            change=_medians(moved[0], n, drift.as_of),
            share=share,
        )
        verdict = Verdict.MATTERS
    else:
        seen = all(s.detectable_psi <= drift.smallest_psi for s in inputs)
        statement = Prose(
            "{answer}",
            answer="Customers look like those the model learned from."
            if seen
            else "No change of customers shows, but a small one could hide in so few.",
        )
        so_what = Prose(
            "No action. All {count} inputs were looked at together; without any change, "
            "{share} of runs would raise an alarm.",
            count=counted(len(inputs), n, drift.as_of),
            share=share,
        )
        verdict = Verdict.DOES_NOT_MATTER if seen else Verdict.CANNOT_TELL
    return Finding(
        id="monitoring.drift",
        rows=("C4.4", "M5.2"),
        statement=statement,
        verdict=verdict,
        owner="analyst",
        evidence=_EVIDENCE,
        value=counted(len(moved), n, drift.as_of),
        so_what=so_what,
        good="down",
        weight=4,
    )


def _medians(shift: Shift, n: int, as_of: date) -> Prose:
    """The middle value before and now, where it moved."""
    medians = (shift.median_before, shift.median_now)
    if shift.kind == "text" or medians[0] == medians[1] or not np.isfinite(medians).all():
        return Prose("")
    before, now = (Measured(value=v, unit="score", n=n, as_of=as_of) for v in medians)
    return Prose(", whose middle value went from {before} to {now}", before=before, now=now)


def describe_missing(drift: Drift) -> Finding | None:
    """Inputs that are missing more often; nothing if none is."""
    changed = sorted(
        (s for s in drift.shifts if s.has_more_missing and s.missing_change.value > 0),
        key=lambda s: (-s.missing_change.value, s.name),
    )
    if not changed:
        return None
    top = changed[0]
    change = in_points(top.missing_change)
    return Finding(
        id="monitoring.missing",
        rows=("C4.4",),
        statement=Prose(
            "{name} is missing more often than before: {change:signed} (likely {change:range}).",
            name=in_words(top.name).capitalize(),
            change=change,
        ),
        verdict=Verdict.MATTERS,
        owner="data-engineer",
        evidence=_EVIDENCE,
        value=change,
        good="down",
        so_what=Prose(
            "Find out why {names} changed before anyone retrains: a broken feed is to be "
            "repaired, not learned.",
            names=listed([s.name for s in changed]),
        ),
        due=drift.as_of + timedelta(days=7),
        weight=4.5,
    )


def describe_scores(drift: Drift) -> Finding:
    """Whether the scores themselves moved."""
    scores = [s for s in drift.shifts if s.kind == "score"]
    moved = [s for s in scores if s.has_moved]
    n = drift.n_current
    return Finding(
        id="monitoring.scores",
        rows=("C4.4", "M5.2"),
        statement=Prose(
            "Scores have moved: {names}{change}.",
            names=listed([s.name for s in moved]),
            change=_medians(moved[0], n, drift.as_of),
        )
        if moved
        else Prose("Scores are spread as they were when the models were made."),
        verdict=Verdict.MATTERS if moved else Verdict.DOES_NOT_MATTER,
        owner="crm-lead",
        evidence=_EVIDENCE,
        value=counted(len(moved), n, drift.as_of),
        good="down",
        so_what=Prose(
            "{advice}",
            advice="Lists cut at a fixed score now hold other numbers of customers; check their "
            "size before the next campaign."
            if moved
            else "Lists cut at a fixed score keep their size.",
        ),
        weight=2,
    )


def describe_performance(
    result: Performance,
    *,
    target: Target,
    smallest_auc: float,
    largest_gap: float,
    is_live: bool = True,
) -> Finding:
    """How well the model ranks customers, on the latest labels, and whether its level holds.

    Args:
        is_live: Whether the model is in use; of a stand-in nothing is to be kept or stopped.
    """
    accepted = Measured(value=smallest_auc, unit="share", n=result.auc.n, as_of=result.auc.as_of)
    auc = _as_share(result.auc)
    if auc.lower >= smallest_auc:
        is_off = result.gap.lower > largest_gap or result.gap.upper < -largest_gap
        verdict, words = (Verdict.REVIEW if is_off else Verdict.PASS), "still tells"
        advice = "Rank by it, but do not plan by its numbers." if is_off else "Keep using it."
    elif auc.upper < smallest_auc:
        verdict, words = Verdict.FAIL, "no longer tells well"
        advice = "Do not act on its scores until it is retrained."
    else:
        verdict, words = Verdict.CANNOT_TELL, "may still tell"
        advice = "Use it with care, and look again when more labels have come."
    if auc.upper < _COIN:
        words, advice = "tells the wrong way round", "Stop using it today."
    if not is_live:
        is_sure = verdict in (Verdict.PASS, Verdict.REVIEW)
        verdict = Verdict.DOES_NOT_MATTER if is_sure else Verdict.CANNOT_TELL
        words, advice = "that stands in tells", "No model is in use, so nothing rests on it."
    return Finding(
        id=f"monitoring.performance.{target.id}",
        rows=("M5.2",),
        statement=Prose(
            "The model {words} who will {title}: right in {auc} of pairs.",
            words=words,
            title=target.title,
            auc=auc,
        ),
        verdict=verdict,
        owner="insight-lead",
        evidence=_EVIDENCE,
        value=auc,
        target=accepted,
        good="up",
        so_what=Prose(
            "{advice} Likely {auc:range}; accepted is {accepted}, a coin is right in half. {level}",
            advice=advice,
            auc=auc,
            accepted=accepted,
            level=_gap_words(result),
        ),
        weight=5,
    )


def _as_share(auc: Estimate) -> Estimate:
    return Estimate(
        value=auc.value,
        lower=auc.lower,
        upper=auc.upper,
        unit="share",
        n=auc.n,
        as_of=auc.as_of,
        level=auc.level,
        method=auc.method,
    )


def _gap_words(result: Performance) -> Prose:
    gap = in_points(result.gap)
    if not gap.excludes(0):
        return Prose("The scores have the right level.")
    return Prose(
        "It happens {word} often than the scores say, by {gap:size}.",
        word="more" if gap.value > 0 else "less",
        gap=gap,
    )


def describe_amounts(result: AmountPerformance, *, target: Target, largest_gap: float) -> Finding:
    """Whether predicted amounts add up to what was spent."""
    ratio = result.ratio
    is_off = ratio.lower > 1 + largest_gap or ratio.upper < 1 - largest_gap
    is_on = ratio.lower > 1 - largest_gap and ratio.upper < 1 + largest_gap
    return Finding(
        id=f"monitoring.performance.{target.id}",
        rows=("M5.2",),
        statement=Prose(
            "Customers spent {ratio:full} times what the model said.",
            ratio=ratio,
        ),
        verdict=Verdict.FAIL if is_off else Verdict.PASS if is_on else Verdict.CANNOT_TELL,
        owner="insight-lead",
        evidence=("transactions",),
        value=ratio,
        so_what=Prose(
            "{advice} Per customer it is off by {error} on average.",
            advice="Do not plan by its total until it is retrained."
            if is_off
            else "Its total may be planned by."
            if is_on
            else "Plan by its range, not by its total.",
            error=result.error,
        ),
        weight=3,
    )


def describe_expected(
    expected: ExpectedPerformance,
    *,
    target: Target,
    has_drifted: bool,
    was_surprised: bool,
) -> Check:
    """What the scores of today lead to expect, and whether that may be trusted."""
    doubts = []
    if was_surprised:
        doubts.append("the last labels did not come as the scores had said")
    if expected.outside_share > _LARGEST_OUTSIDE_SHARE:
        doubts.append("many scores lie outside what the reference knew")
    if has_drifted:
        doubts.append("customers look different")
    return Check(
        id=f"monitoring.expected.{target.id}",
        rows=("M5.2",),
        statement=Prose(
            "Before labels come: about {share} will {title}, and {auc} of pairs are right.",
            share=expected.share,
            title=target.title,
            auc=_as_share(expected.auc),
        ),
        verdict=Verdict.FAIL if was_surprised else Verdict.REVIEW if doubts else Verdict.PASS,
        owner="analyst",
        evidence=_EVIDENCE,
        value=_as_share(expected.auc),
        so_what=Prose(
            "Likely {share:range}, and {auc:range} of pairs. {trust} It holds only if customers "
            "alike still behave alike: a change of behaviour does not show here before the "
            "labels come.",
            share=expected.share,
            auc=_as_share(expected.auc),
            trust=f"Do not trust this estimate: {' and '.join(doubts)}."
            if was_surprised
            else f"Take it with care: {' and '.join(doubts)}."
            if doubts
            else "Nothing speaks against this estimate.",
        ),
    )


def describe_surprise(result: Surprise, *, target: Target) -> Check:
    """Realised against expected, once labels have come."""
    words = {"auc": "the ranking", "brier": "the size of errors", "share": "how many did it"}
    missed = result.missed
    return Check(
        id=f"monitoring.surprise.{target.id}",
        rows=("M5.2",),
        statement=Prose(
            "The labels surprised the model: {what} lay outside what its scores had said.",
            what=listed([words[m] for m in missed]),
        )
        if missed
        else Prose(
            "The labels came as the scores had said: {realised} against {expected:range} "
            "expected to {title}.",
            realised=Measured(
                value=result.realised.realised,
                unit="share",
                n=result.realised.auc.n,
                as_of=result.realised.auc.as_of,
            ),
            expected=result.expected.share,
            title=target.title,
        ),
        verdict=Verdict.FAIL if missed else Verdict.PASS,
        owner="insight-lead",
        evidence=_EVIDENCE,
        value=_as_share(result.realised.auc),
        so_what=Prose(
            "{advice}",
            advice="Warning: customers alike behave differently than before, so estimates made "
            "without labels are wrong until the model is made anew."
            if missed
            else "Estimates made without labels may be used until the next labels come.",
        ),
    )


def describe_triggers(
    triggers: Sequence[Trigger], *, target: Target, as_of: date, stands_in_since: date | None = None
) -> Finding:
    """Whether the model is due for retraining, and why.

    Args:
        stands_in_since: Day since which a stand-in is watched, where no model is in use yet.
    """
    fired = [t for t in triggers if t.has_fired]
    unknown = [t for t in triggers if t.has_fired is None]
    if stands_in_since is not None:
        statement = Prose(
            "Left alone since {since}, a model of who will {title} {would}.",
            since=stands_in_since,
            title=target.title,
            would=f"would be due: {listed([_TRIGGER_WORDS[t.name] for t in fired])}"
            if fired
            else "would still do",
        )
        verdict = Verdict.DOES_NOT_MATTER
    elif fired:
        statement = Prose(
            "Retrain the model of who will {title}: {why}.",
            title=target.title,
            why=listed([_TRIGGER_WORDS[t.name] for t in fired]),
        )
        verdict = Verdict.MATTERS
    else:
        statement = Prose(
            "No reason to retrain the model of who will {title}{but}.",
            title=target.title,
            but=", as far as can be seen" if unknown else "",
        )
        verdict = Verdict.CANNOT_TELL if unknown else Verdict.DOES_NOT_MATTER
    driven = [name for t in fired if t.name == "drift" for name in t.names]
    return Finding(
        id=f"monitoring.retrain.{target.id}",
        rows=("M5.7",),
        statement=statement,
        verdict=verdict,
        owner="insight-lead",
        evidence=_EVIDENCE,
        value=counted(len(fired), len(triggers), as_of),
        good="down",
        so_what=Prose(
            "{advice}{driven}",
            advice="That is how soon to look again once a model is in use."
            if stands_in_since
            else "Retrain and compare with the model in use before it is promoted."
            if fired
            else "Leave it as it is until the next run.",
            driven=f" Changed most: {listed(driven)}." if driven else "",
        ),
        due=as_of + timedelta(days=14) if fired and not stands_in_since else None,
        weight=1 if stands_in_since else 6,
    )
