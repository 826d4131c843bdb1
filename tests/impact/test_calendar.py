"""A launch or a trigger moves the day on which a model is due; nothing else does."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import pandas as pd
import pytest

from insight_lib.impact.calendar import Update, plan_updates, render_ics

TRAINED = date(2025, 1, 10)
AS_OF = date(2025, 3, 1)


@dataclass(frozen=True)
class Launched:
    name: str
    day: date
    settling_days: int = 28


def states(triggers: str = "", trained: date = TRAINED) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "target": ["repeat", "repeat"],
            "version": ["new", "old"],
            "trained_as_of": [pd.Timestamp(trained), pd.Timestamp(2024, 1, 1)],
            "n_trained": 900,
            "triggers": [triggers, "age"],
            "is_live": [True, False],
        }
    )


def due(
    *launches: Launched, triggers: str = "", trained: date = TRAINED, as_of: date = AS_OF
) -> Update:
    found = plan_updates(states(triggers, trained), launches, as_of=as_of, every_days=91)
    assert len(found) == 1  # models that are not live are due for nothing
    return found[0]


@pytest.mark.row("C8.4")
def test_nothing_changed_means_quarterly() -> None:
    found = due()
    assert (found.due, found.because, found.is_overdue) == (date(2025, 4, 11), "schedule", False)
    assert due(as_of=date(2025, 4, 11)).is_overdue is False
    assert due(as_of=date(2025, 4, 12)).is_overdue is True


@pytest.mark.row("C8.4")
def test_a_launch_moves_the_day_to_when_it_has_settled() -> None:
    found = due(Launched("summer line", date(2025, 2, 20)))
    assert (found.due, found.because, found.reason) == (
        date(2025, 3, 20),
        "launch",
        "summer line",
    )
    assert due(Launched("spring", date(2025, 1, 2))).due == date(2025, 1, 30)  # not yet settled
    assert due(Launched("spring", date(2024, 12, 1))).because == "schedule"  # learned already
    assert due(Launched("far ahead", date(2025, 4, 1))).because == "schedule"
    both = due(Launched("b", date(2025, 2, 25)), Launched("a", date(2025, 2, 20)))
    assert both.reason == "a"


@pytest.mark.row("C8.4")
def test_a_trigger_makes_it_due_today_and_hides_nothing_that_was_due_before() -> None:
    found = due(triggers="volume,drift")
    assert (found.due, found.because, found.reason) == (AS_OF, "trigger", "drift, volume")
    assert not found.is_overdue
    late = due(triggers="drift", trained=date(2024, 10, 1))
    assert (late.due, late.because, late.is_overdue) == (date(2024, 12, 31), "schedule", True)


def test_calendar_entries_follow_the_standard() -> None:
    title = "Update of the model “repeat”, " + "ü" * 60 + "; quarterly"
    text = render_ics([("repeat@de-fashion", date(2025, 4, 11), title)], as_of=AS_OF)
    assert text.startswith("BEGIN:VCALENDAR\r\nVERSION:2.0\r\n")
    assert text.endswith("END:VCALENDAR\r\n")
    assert "DTSTART;VALUE=DATE:20250411\r\n" in text
    lines = text.split("\r\n")
    assert all(len(line.encode()) <= 75 for line in lines)
    unfolded = text.replace("\r\n ", "")
    assert title.replace(",", "\\,").replace(";", "\\;") in unfolded
