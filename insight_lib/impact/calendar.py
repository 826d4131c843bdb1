"""When each model is due for an update: quarterly, sooner after a launch or a trigger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Literal

import pandas as pd

from insight_lib.findings import TooFew
from insight_lib.impact.inputs import target_name
from insight_lib.prose import Name
from insight_lib.registers import Launch

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from insight_lib.parameter_model import LearningParameters
    from insight_lib.run import Run


@dataclass(frozen=True, kw_only=True)
class Update:
    """One model's next update.

    Attributes:
        because: `schedule`, `launch` or `trigger`: what set the day.
        reason: The launch's name, or the triggers that fired; empty for the schedule.
    """

    target: Name
    version: str
    trained_as_of: date
    due: date
    because: Literal["schedule", "launch", "trigger"]
    reason: Name
    is_overdue: bool


def plan_updates(
    states: pd.DataFrame, launches: Sequence[Launch], *, as_of: date, every_days: int
) -> tuple[Update, ...]:
    """The day on which each live model is due, soonest first.

    The earliest of three days counts: the last one it learned from plus `every_days`; the day
    on which a launch has settled, if the model has not learned from that day yet; today, if a
    trigger has fired. Launches to come count as they are planned.

    Args:
        states: One row per model: target, version, trained_as_of, triggers (names that fired,
            comma-separated), is_live.
    """
    found = []
    for row in states[states["is_live"].astype(bool)].to_dict("records"):
        trained = pd.Timestamp(row["trained_as_of"]).date()
        due, reason = trained + timedelta(days=every_days), ""
        because: Literal["schedule", "launch", "trigger"] = "schedule"
        for launch in sorted(launches, key=lambda x: (x.day, x.name)):
            settled = launch.day + timedelta(days=launch.settling_days)
            if trained < settled < due:
                due, because, reason = settled, "launch", launch.name
        fired = sorted(name for t in str(row["triggers"] or "").split(",") if (name := t.strip()))
        if fired and as_of < due:
            due, because, reason = as_of, "trigger", ", ".join(fired)
        found.append(
            Update(
                target=Name(str(row["target"])),
                version=str(row["version"]),
                trained_as_of=trained,
                due=due,
                because=because,
                reason=Name(reason),
                is_overdue=due < as_of,
            )
        )
    return tuple(sorted(found, key=lambda u: (u.due, u.target, u.version)))


@dataclass(frozen=True, kw_only=True)
class Updates:
    """When each live model is due, soonest first.

    Attributes:
        target, due, why, reason: Of the model that is due next, or has been due longest.
        due_days: Days from the data's day to that; below zero where it is late.
        late, n: Models that are late, and all that are live.
    """

    case: Literal["late", "trigger", "in time"]
    target: Name
    due: date
    due_days: int
    why: Literal["schedule", "launch", "trigger"]
    reason: Name
    late: int
    n: int
    table: tuple[Update, ...]


def updates(
    launches: tuple[Launch, ...],
    run: Run[LearningParameters],
    model_states: ir.Table | None = None,
) -> Updates:
    """When models are due.

    Raises:
        TooFew: No states of models are published, or no model is live.
    """
    if model_states is None:
        raise TooFew("stage monitoring has published no states of models for this day")
    planned = plan_updates(
        model_states.to_pandas(),
        launches,
        as_of=run.as_of,
        every_days=run.parameters.update_every_days,
    )
    if not planned:
        raise TooFew("no model is live")
    return updates_of(planned, as_of=run.as_of)


def updates_of(planned: Sequence[Update], *, as_of: date) -> Updates:
    """Updates that are planned, with the first of them picked out."""
    first, late = planned[0], sum(update.is_overdue for update in planned)
    due: Literal["trigger", "in time"] = "trigger" if first.because == "trigger" else "in time"
    return Updates(
        case="late" if late else due,
        target=target_name(first.target),
        due=first.due,
        due_days=(first.due - as_of).days,
        why=first.because,
        reason=first.reason,
        late=late,
        n=len(planned),
        table=tuple(planned),
    )


def render_ics(days: Sequence[tuple[str, date, str]], *, as_of: date) -> str:
    """Days with a title as an iCalendar file (RFC 5545), one whole-day entry each.

    Args:
        days: Name that stays the same from export to export, day, title.
    """
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//insight//updates and reviews//EN"]
    for name, day, title in days:
        lines += [
            "BEGIN:VEVENT",
            f"UID:{_escaped(name)}",
            f"DTSTAMP:{as_of:%Y%m%d}T000000Z",
            f"DTSTART;VALUE=DATE:{day:%Y%m%d}",
            f"SUMMARY:{_escaped(title)}",
            "END:VEVENT",
        ]
    return "".join(_folded(line) + "\r\n" for line in (*lines, "END:VCALENDAR"))


def _escaped(text: str) -> str:
    for character in ("\\", ";", ","):
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())


def _folded(line: str) -> str:
    """No line longer than 75 octets; what follows is led by a space."""
    parts, size = [""], 0
    for character in line:
        octets = len(character.encode())
        if size + octets > 75:
            parts.append(" ")
            size = 1
        parts[-1] += character
        size += octets
    return "\r\n".join(parts)
