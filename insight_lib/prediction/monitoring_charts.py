"""Monitoring as figures and tables."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from insight_lib.charts import Caption, Chart, Mark, plot_bars, plot_deviations, plot_line
from insight_lib.findings import (
    Estimate,
    Measured,
    Prose,
    Table,
    format_number,
    format_range,
)
from insight_lib.prediction.cause_story import CAUSE_WORDS
from insight_lib.prediction.drift import Drift, Shift
from insight_lib.prediction.explain import in_words
from insight_lib.prediction.performance import Performance
from insight_lib.prediction.root_cause import RootCause
from insight_lib.prediction.snapshots import Target
from insight_lib.prediction.triggers import Limits, Trigger, TriggerName

_MOST_SHIFTS = 10


def chart_drift(drift: Drift, *, market: str, source: str) -> Chart | None:
    """The largest shifts of inputs and scores; nothing if nothing shifted at all."""
    drawn = [s for s in sorted(drift.shifts, key=lambda s: (-s.psi, s.name)) if s.psi > 0]
    if not drawn:
        return None
    frame = pd.DataFrame(
        [
            {"label": in_words(s.name), "psi": s.psi, "n": drift.n_current}
            for s in drawn[:_MOST_SHIFTS]
        ]
    )
    moved = [in_words(s.name) for s in drawn[:_MOST_SHIFTS] if s.has_moved]
    return plot_bars(
        frame,
        caption=Caption(
            id="drift",
            title=Prose("{name} moved most", name=in_words(drawn[0].name).capitalize())
            if moved
            else Prose("Nothing moved enough to matter"),
            subtitle=f"Shift of inputs and scores since the model learned, {market}",
            source=source,
            reading=Prose(
                "Zero is no shift beyond chance. From the line on, a shift matters, if it is "
                "also sure; what grows with the calendar is no alarm."
            ),
        ),
        label="label",
        value="psi",
        unit="index",
        n="n",
        highlight=moved,
        reference=Mark(at=drift.smallest_psi, text="matters"),
    )


def chart_performance(
    results: Sequence[Performance],
    *,
    target: Target,
    smallest_auc: float,
    market: str,
    source: str,
) -> Chart:
    """Share of pairs ranked right, snapshot by snapshot, oldest first."""
    frame = pd.DataFrame(
        [
            {
                "as_of": pd.Timestamp(r.auc.as_of),
                "auc": r.auc.value,
                "lower": r.auc.lower,
                "upper": r.auc.upper,
            }
            for r in results
        ]
    )
    last = results[-1].auc
    return plot_line(
        frame,
        caption=Caption(
            id=f"performance-{target.id}",
            title=Prose(
                "{auc} of pairs are ranked right in the latest month",
                auc=Measured(value=last.value, unit="share", n=last.n, as_of=last.as_of),
            ),
            subtitle=f"Pairs ranked right, who will {target.title}, {market}",
            source=source,
            reading=Prose(
                "Each point is a day on which customers were scored; the band is the likely "
                "range. A coin is right in half."
            ),
        ),
        x="as_of",
        y="auc",
        lower="lower",
        upper="upper",
        unit="share",
        reference=Mark(at=smallest_auc, text="accepted"),
        is_zero_based=False,
    )


def chart_causes(result: RootCause, *, target: Target, market: str, source: str) -> Chart:
    """What each cause adds to the errors."""
    frame = pd.DataFrame(
        [
            {
                "label": CAUSE_WORDS[c.name].capitalize(),
                "rise": c.rise.value / result.before,
                "lower": c.rise.lower / result.before,
                "upper": c.rise.upper / result.before,
                "n": c.rise.n,
            }
            for c in result.causes
        ]
    )
    leading = result.leading
    return plot_deviations(
        frame,
        caption=Caption(
            id=f"causes-{target.id}",
            title=Prose("{cause} leads", cause=CAUSE_WORDS[leading.name].capitalize())
            if leading
            else Prose("No cause stands out"),
            subtitle=f"What each cause adds to errors, who will {target.title}, {market}",
            source=source,
            reading=Prose(
                "The parts add up to the whole change of errors. Grey: the range includes none. "
                "Ranges hold for all four together."
            ),
        ),
        label="label",
        value="rise",
        lower="lower",
        upper="upper",
        unit="share",
        n="n",
        target="as before",
        good="down",
    )


def drift_table(drift: Drift, *, most: int = 12) -> Table:
    """The inputs and scores that moved most."""
    return Table(
        title="How much inputs and scores moved",
        columns=("Input or score", "Shift index", "Largest gap", "Missing now less before", "Word"),
        rows=tuple(
            (
                in_words(s.name),
                format_number(s.psi, "score"),
                format_number(s.distance, "share"),
                format_number(s.missing_change.value * 100, "points"),
                _word(s, drift),
            )
            for s in drift.shifts[:most]
        ),
        note=f"Customers then {drift.n_reference:,}, now {drift.n_current:,}, in both "
        f"{drift.n_both:,}. From {format_number(drift.smallest_psi, 'score')} on a shift matters.",
    )


def _word(shift: Shift, drift: Drift) -> str:
    if shift.has_moved:
        return "moved"
    if shift.has_more_missing:
        return "missing changed"
    if shift.is_calendar:
        return "grows with the calendar"
    if shift.p_value <= drift.false_alarm_rate:
        return "moved, too little to matter"
    return "steady" if shift.detectable_psi <= drift.smallest_psi else "no shift seen"


def triggers_table(triggers: Sequence[Trigger], limits: Limits, *, target: Target) -> Table:
    """Every trigger with what it saw and where its limit lies."""
    labels: dict[TriggerName, str] = {
        "performance": "Predicts worse than accepted",
        "drift": "Customers changed",
        "volume": "New customers to learn from",
        "age": "Age of the model",
    }
    return Table(
        title=f"Reasons to retrain: who will {target.title}",
        columns=("Reason", "Seen", "Limit", "Retrain"),
        rows=tuple(
            (
                labels[t.name],
                _seen(t.value),
                format_number(t.limit.value, t.limit.unit),
                {True: "yes", False: "no", None: "not known"}[t.has_fired],
            )
            for t in triggers
        ),
        note="New records count once they are "
        f"{format_number(limits.new_labelled_share, 'share')} of those learned from.",
    )


def _seen(value: Measured | None) -> str:
    if value is None:
        return "no labels"
    number = format_number(value.value, value.unit)
    return f"{number} ({format_range(value)})" if isinstance(value, Estimate) else number
