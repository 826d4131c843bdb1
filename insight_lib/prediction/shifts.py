"""Whether customers, their gaps and their scores moved: what the tests for drift come to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from insight_lib.charts import Caption, Chart, Mark, plot_bars
from insight_lib.findings import Estimate, Measured, counted
from insight_lib.prediction.drift import Drift, Shift, estimate_drift
from insight_lib.prediction.explain import Named, in_words, named
from insight_lib.prediction.scorer import score
from insight_lib.prose import Name
from insight_lib.statistics import in_points

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from insight_lib.parameter_model import PredictionParameters
    from insight_lib.prediction.snapshots import Plan
    from insight_lib.prediction.watch import Watch, Watched
    from insight_lib.run import Run

_MOST_DRAWN = 10
_MOST_ROWS = 12


@dataclass(frozen=True, kw_only=True)
class Shifts:
    """Drift of what the models read, and of what they say."""

    inputs: Drift
    scores: Drift

    @property
    def has_moved(self) -> bool:
        return any(s.has_moved for s in self.inputs.shifts)


def shifted(
    watched: tuple[Watched, ...],
    plan: Plan,
    sources: dict[str, ir.Table],
    run: Run[PredictionParameters],
    watch: Watch | None = None,
) -> Shifts | None:
    """Customers of today against those that the first model learned from; nothing without one.

    Scores are compared with those of the first month that the model did not learn from.

    Raises:
        TooFew: Fewer customers than `general.minimum_customers`, or as `estimate_drift`.
    """
    if watch is None or not watched:
        return None
    p, now, first = run.parameters, watch.now, watched[0]
    run.require_customers(len(now.features))
    days = [date.fromisoformat(cut) for cut in first.document["trained"]["cuts"]]
    learned = plan.at(sources, days, (), as_of=run.as_of)
    before = pd.concat([s.features for s in learned])
    names = sorted({i["name"] for one in watched for i in one.document["inputs"]})
    inputs = [c for c in names if c in before and c in now.features]
    fresh = next((s for s in watch.labelled if s.cut in first.seen), learned[-1])
    binary = {f"who will {one.title}": one.document for one in watched if one.is_binary}
    then, today = (
        pd.DataFrame({name: score(d, s.features) for name, d in binary.items()}, s.features.index)
        for s in (fresh, now)
    )

    def compared(then: pd.DataFrame, today: pd.DataFrame, scores: list[str]) -> Drift:
        return estimate_drift(
            then,
            today,
            scores=scores,
            false_alarm_rate=p.false_alarm_rate / 2,
            smallest_psi=p.smallest_psi,
            smallest_missing_change=p.smallest_missing_change,
            **run.range,
        )

    return Shifts(
        inputs=compared(before[inputs], now.features[inputs], []),
        scores=compared(then, today, list(binary)),
    )


@dataclass(frozen=True, kw_only=True)
class Medians:
    """The middle value of an input or a score before and now, where it moved."""

    before: Measured | None
    now: Measured | None

    @property
    def has_medians(self) -> bool:
        return self.before is not None


def _medians(shift: Shift | None, drift: Drift) -> dict[str, Any]:
    values = (shift.median_before, shift.median_now) if shift else (0.0, 0.0)
    is_text = shift is not None and shift.kind == "text"
    if is_text or values[0] == values[1] or not np.isfinite(values).all():
        return {"before": None, "now": None}
    n, as_of = drift.n_current, drift.as_of
    before, now = (Measured(value=v, unit="score", n=n, as_of=as_of) for v in values)
    return {"before": before, "now": now}


@dataclass(frozen=True, kw_only=True)
class ShiftRow:
    """How much one input or score moved."""

    name: Name
    psi: Measured
    distance: Measured
    missing: Measured
    word: Literal["moved", "missing", "calendar", "too little", "steady", "not seen"]


@dataclass(frozen=True, kw_only=True)
class Moved(Named, Medians):
    """Which inputs moved.

    Attributes:
        first: The clearest of them.
        largest: What shifted most, whether or not it matters.
        share: Of runs that raise an alarm without any drift.
        n: Customers of today.
    """

    case: Literal["moved", "same", "cannot tell"]
    headline: Literal["moved", "nothing"]
    first: Name | None
    largest: Name | None
    value: Measured
    share: Measured
    n_inputs: int
    table: tuple[ShiftRow, ...]
    drift: Drift

    @property
    def n(self) -> int:
        return self.drift.n_current

    @property
    def n_then(self) -> int:
        return self.drift.n_reference

    @property
    def n_both(self) -> int:
        return self.drift.n_both

    @property
    def smallest(self) -> Measured:
        """From where on a shift matters."""
        d = self.drift
        return Measured(value=d.smallest_psi, unit="score", n=d.n_current, as_of=d.as_of)

    def draw(self, caption: Caption) -> Chart | None:
        """The largest shifts; nothing if nothing shifted at all."""
        drawn = _largest(self.drift)
        if not drawn:
            return None
        frame = pd.DataFrame(
            [{"label": in_words(s.name), "psi": s.psi, "n": self.n} for s in drawn]
        )
        return plot_bars(
            frame, caption=caption, label="label", value="psi", unit="index", n="n",
            highlight=[in_words(s.name) for s in drawn if s.has_moved],
            reference=Mark(at=self.drift.smallest_psi, text=caption.reference),
        )  # fmt: skip


def _largest(drift: Drift) -> list[Shift]:
    drawn = sorted(drift.shifts, key=lambda s: (-s.psi, s.name))
    return [s for s in drawn if s.psi > 0][:_MOST_DRAWN]


def drift(shifted: Shifts | None) -> Moved | None:
    """Whether customers look different from those the model learned from."""
    return inputs_moved(shifted.inputs) if shifted else None


def inputs_moved(drift: Drift) -> Moved:
    """What a comparison of inputs comes to."""
    inputs = [s for s in drift.shifts if s.kind != "score"]
    moved = [s for s in inputs if s.has_moved]
    seen = all(s.detectable_psi <= drift.smallest_psi for s in inputs)
    largest = _largest(drift)
    return Moved(
        **named([s.name for s in moved]),
        **_medians(moved[0] if moved else None, drift),
        case="moved" if moved else "same" if seen else "cannot tell",
        headline="moved" if any(s.has_moved for s in largest) else "nothing",
        first=Name(in_words(moved[0].name)) if moved else None,
        largest=Name(in_words(largest[0].name)) if largest else None,
        value=counted(len(moved), drift.n_current, drift.as_of),
        share=_measured(drift.false_alarm_rate, "share", drift),
        n_inputs=len(inputs),
        table=tuple(_row(s, drift) for s in drift.shifts[:_MOST_ROWS]),
        drift=drift,
    )


def _measured(value: float, unit: str, drift: Drift) -> Measured:
    return Measured(value=value, unit=unit, n=drift.n_current, as_of=drift.as_of)


def _row(shift: Shift, drift: Drift) -> ShiftRow:
    return ShiftRow(
        name=Name(in_words(shift.name)),
        psi=_measured(shift.psi, "score", drift),
        distance=_measured(shift.distance, "share", drift),
        missing=_measured(shift.missing_change.value * 100, "points", drift),
        word=_word(shift, drift),
    )


def _word(
    shift: Shift, drift: Drift
) -> Literal["moved", "missing", "calendar", "too little", "steady", "not seen"]:
    if shift.has_moved:
        return "moved"
    if shift.has_more_missing:
        return "missing"
    if shift.is_calendar:
        return "calendar"
    if shift.p_value <= drift.false_alarm_rate:
        return "too little"
    return "steady" if shift.detectable_psi <= drift.smallest_psi else "not seen"


@dataclass(frozen=True, kw_only=True)
class MoreMissing(Named):
    """Inputs that are missing more often, the one whose gaps grew most first."""

    first: Name
    change: Estimate


def gone_missing(shifted: Shifts | None) -> MoreMissing | None:
    """Inputs that are missing more often than before; nothing if none is."""
    return inputs_missing(shifted.inputs) if shifted else None


def inputs_missing(drift: Drift) -> MoreMissing | None:
    """The same, of one comparison."""
    changed = sorted(
        (s for s in drift.shifts if s.has_more_missing and s.missing_change.value > 0),
        key=lambda s: (-s.missing_change.value, s.name),
    )
    if not changed:
        return None
    return MoreMissing(
        **named([s.name for s in changed]),
        first=Name(in_words(changed[0].name)),
        change=in_points(changed[0].missing_change),
    )


@dataclass(frozen=True, kw_only=True)
class ScoresMoved(Named, Medians):
    """Which scores moved, and how many."""

    case: Literal["moved", "same"]
    value: Measured


def score_shift(shifted: Shifts | None) -> ScoresMoved | None:
    """Whether the scores themselves moved."""
    return scores_moved(shifted.scores) if shifted else None


def scores_moved(drift: Drift) -> ScoresMoved:
    """What a comparison of scores comes to."""
    moved = [s for s in drift.shifts if s.kind == "score" and s.has_moved]
    return ScoresMoved(
        **named([s.name for s in moved]),
        **_medians(moved[0] if moved else None, drift),
        case="moved" if moved else "same",
        value=counted(len(moved), drift.n_current, drift.as_of),
    )
