"""An agenda lists what changed and nothing that did not."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_lib.impact.agenda import Change, list_changes, list_standing, plan_reviews

DAY = date(2025, 6, 30)


@dataclass(frozen=True)
class Held:
    topic: str = "Customer value"
    stages: tuple[str, ...] = ("value",)
    owner: str = "crm-lead"
    every_days: int = 91
    last_held: date | None = date(2025, 4, 30)


def finding(
    name: str,
    *,
    stage: str = "value",
    verdict: str = "matters",
    kind: str = "finding",
    value: tuple[float, float, float] | None = (0.3, 0.28, 0.32),
    due: str | None = None,
) -> dict[str, Any]:
    number: dict[str, Any] | None = None
    if value:
        number = {"value": value[0], "lower": value[1], "upper": value[2], "unit": "share"}
    return {
        "stage": stage,
        "as_of": "2025-03-31",
        "id": f"{stage}.{name}",
        "kind": kind,
        "verdict": verdict,
        "statement": {"text": f"{name}: {value}"},
        "value": number,
        "owner": "crm-lead",
        "due": due,
    }


def day() -> list[dict[str, Any]]:
    return [
        finding("repeat"),
        finding("spend"),
        finding("counted", value=None, verdict="does not matter"),
        finding("gate", kind="gate", verdict="pass", value=None),
        finding("check", kind="check", verdict="fail", value=None),
        finding("names", stage="segments"),
    ]


@pytest.mark.row("M7.8")
def test_what_changed_is_listed_and_nothing_else() -> None:
    before = day()
    now = copy.deepcopy(before)
    now[0]["verdict"] = "cannot tell yet"
    now[1] = finding("spend", value=(0.36, 0.33, 0.39))
    now[3]["verdict"] = "fail"
    now[5] = finding("other", stage="segments")
    found = {(item.change, item.finding_id) for item in list_changes(now, before)}
    assert found == {
        (Change.VERDICT, "value.repeat"),
        (Change.VALUE, "value.spend"),
        (Change.GATE_CLOSED, "value.gate"),
        (Change.NEW, "segments.other"),
        (Change.GONE, "segments.names"),
    }
    assert list_changes(now, before)[0].change is Change.GATE_CLOSED  # gates go first
    back = {item.finding_id: item.change for item in list_changes(before, now)}
    assert back["value.gate"] is Change.GATE_OPENED


@pytest.mark.row("M7.8")
@pytest.mark.parametrize(
    ("value", "is_listed"),
    [
        ((0.33, 0.31, 0.35), False),  # ranges overlap
        ((0.34, 0.32, 0.36), False),  # they touch
        ((0.35, 0.33, 0.37), True),
        ((0.25, 0.23, 0.27), True),
    ],
)
def test_a_value_has_moved_when_the_ranges_lie_apart(
    value: tuple[float, float, float], is_listed: bool
) -> None:
    before, now = [finding("repeat")], [finding("repeat", value=value)]
    assert bool(list_changes(now, before)) is is_listed
    now[0]["value"]["unit"] = "points"
    assert not list_changes(now, before)


verdicts = st.sampled_from(["matters", "does not matter", "cannot tell yet"])
days = st.lists(
    st.builds(
        lambda name, stage, verdict, middle: finding(
            name, stage=stage, verdict=verdict, value=(middle, middle - 0.02, middle + 0.02)
        ),
        st.sampled_from("abcdef"),
        st.sampled_from(["value", "segments"]),
        verdicts,
        st.floats(0, 1),
    ),
    unique_by=lambda f: f["id"],
    min_size=1,
)


@pytest.mark.row("M7.8")
@given(days)
def test_identical_days_make_an_empty_agenda(rows: list[dict[str, Any]]) -> None:
    agenda = plan_reviews([Held()], copy.deepcopy(rows), rows, as_of=DAY)
    assert agenda.meetings[0].items == agenda.uncovered == ()


@pytest.mark.row("M7.8")
@given(days, st.data())
def test_one_verdict_that_changed_is_the_whole_agenda(
    rows: list[dict[str, Any]], data: st.DataObject
) -> None:
    which = data.draw(st.integers(0, len(rows) - 1))
    now = copy.deepcopy(rows)
    now[which]["verdict"] = "review"
    (item,) = list_changes(now, rows)
    assert (item.change, item.finding_id) == (Change.VERDICT, rows[which]["id"])


@pytest.mark.row("M7.8")
def test_dates_of_reviews_and_the_overdue_one() -> None:
    reviews = [
        Held(),
        Held(topic="Segments", stages=("segments",), last_held=date(2025, 1, 1)),
        Held(topic="New", last_held=None),
    ]
    before = day()
    now = copy.deepcopy(before)
    now[5]["verdict"] = "cannot tell yet"
    agenda = plan_reviews(reviews, now, before, as_of=DAY)
    assert [(m.topic, m.due, m.is_overdue) for m in agenda.meetings] == [
        ("Segments", date(2025, 4, 2), True),
        ("New", DAY, True),
        ("Customer value", date(2025, 7, 30), False),
    ]
    assert [len(m.items) for m in agenda.meetings] == [1, 0, 0]
    assert agenda.compared_with == date(2025, 3, 31)
    due_today = plan_reviews([Held(last_held=date(2025, 3, 31))], now, before, as_of=DAY)
    assert not due_today.meetings[0].is_overdue
    assert [i.finding_id for i in due_today.uncovered] == ["segments.names"]


@pytest.mark.row("M7.8")
def test_without_an_earlier_day_only_what_stands_open_is_listed() -> None:
    now = [
        *day(),
        finding("shut", kind="gate", verdict="fail", value=None),
        finding("late", due="2025-06-30"),
        finding("later", due="2025-07-01"),
    ]
    agenda = plan_reviews([Held()], now, [], as_of=DAY)
    assert agenda.compared_with is None
    assert [(i.change, i.finding_id) for i in list_standing(now, as_of=DAY)] == [
        (Change.OPEN_GATE, "value.shut"),
        (Change.FAILED_CHECK, "value.check"),
        (Change.DUE, "value.late"),
    ]
    assert len(agenda.meetings[0].items) == 3


def test_a_stage_that_did_not_report_is_one_item() -> None:
    before = day()
    now = [f for f in before if f["stage"] == "value"]
    (item,) = list_changes(now, before)
    assert (item.change, item.stage) == (Change.STAGE_GONE, "segments")
    (item,) = list_changes(before, now)
    assert (item.change, item.stage) == (Change.STAGE_NEW, "segments")
