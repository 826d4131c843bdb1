"""When customers buy: who comes back, who is late, and the rhythm of the week."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pandas as pd

from insight_lib.features.moves import Judged, Move, enough, judged, move_of
from insight_lib.features.record import Record
from insight_lib.features.rhythm import (
    OrderGaps,
    RepeatRate,
    WeekRhythm,
    estimate_order_gaps,
    estimate_repeat_rate,
    estimate_week_rhythm,
)
from insight_lib.findings import Estimate, Measured
from insight_lib.orders import purchases
from insight_lib.statistics import in_points

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from insight_lib.parameter_model import FeatureParameters
    from insight_lib.run import Run

# A rate whose whole range lies above or below leaves a reminder too few to win, or too many lost.
_NEARLY_ALL, _NEARLY_NONE = 0.75, 0.1


@dataclass(frozen=True, kw_only=True)
class Returning:
    """How many come back in time, and whether that is a change.

    Attributes:
        change: Against one window earlier, in points.
        difference, smallest: The same as shares, and the smallest that matters.
        advice: What the rate allows to be said; what a reminder would bring only a test can tell.
    """

    case: Judged
    rate: Estimate
    days: Measured
    change: Estimate
    difference: Estimate
    smallest: float
    enough: Measured | None
    move: Move
    advice: Literal["rose", "fell", "by themselves", "hardly anyone", "test"]


def repeat_rate(
    buyers: pd.DataFrame, by_order: ir.Table, record: Record, run: Run[FeatureParameters]
) -> Returning:
    """The share of active customers who order again in time.

    Raises:
        TooFew: As `estimate_repeat_rate`.
    """
    del buyers  # of too few nothing is said
    p = run.parameters
    rate = estimate_repeat_rate(
        purchases(by_order), window_days=p.repeat_window_days, held=record.held, **run.range
    )
    return returning(rate, p.smallest_repeat_change_that_matters)


def returning(result: RepeatRate, smallest: float) -> Returning:
    """The same, judged by the smallest change that matters, as a share."""
    rate, change = result.rate, in_points(result.change)
    verdict = judged(result.change, smallest)
    return Returning(
        case=verdict,
        rate=rate,
        days=Measured(value=result.window_days, unit="days", n=1, as_of=rate.as_of),
        change=change,
        difference=result.change,
        smallest=smallest,
        enough=enough(change, 100 * smallest),
        move=move_of(change, 100 * smallest),
        advice=_advice(result, verdict),
    )


def _advice(
    result: RepeatRate, verdict: Judged
) -> Literal["rose", "fell", "by themselves", "hardly anyone", "test"]:
    if verdict == "matters":
        return "rose" if result.change.value > 0 else "fell"
    if result.rate.lower > _NEARLY_ALL:
        return "by themselves"
    return "hardly anyone" if result.rate.upper < _NEARLY_NONE else "test"


def late_customers(
    buyers_now: pd.DataFrame, by_order: ir.Table, run: Run[FeatureParameters]
) -> OrderGaps:
    """Gaps between order days, and who is late by the own rhythm.

    Raises:
        TooFew: No customer has ordered on two days.
    """
    return estimate_order_gaps(
        purchases(by_order),
        buyers_now,
        history_days=run.parameters.history_days,
        currency=run.currency,
        minimum_cell_size=run.smallest_cell,
        **run.range,
    )


def week_rhythm(
    buyers: pd.DataFrame, by_order: ir.Table, record: Record, run: Run[FeatureParameters]
) -> WeekRhythm:
    """How revenue falls on the days of the week.

    Raises:
        TooFew: As `estimate_week_rhythm`.
    """
    return estimate_week_rhythm(
        by_order,
        history_days=run.parameters.history_days,
        n=len(buyers),
        held=record.held,
        **run.range,
    )
