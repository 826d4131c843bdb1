"""Strategy reviews: when the next one is, and an agenda made from what changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

from insight_lib.findings import TooFew
from insight_lib.impact.inputs import slug
from insight_lib.prose import Name
from insight_lib.registers import Review

if TYPE_CHECKING:
    from insight_lib.market_view import MarketView
    from insight_lib.parameter_model import LearningParameters
    from insight_lib.run import Run

Json = Mapping[str, Any]


class Change(StrEnum):
    """Why something stands on an agenda."""

    GATE_CLOSED = "gate closed"
    GATE_OPENED = "gate opened"
    VERDICT = "verdict changed"
    VALUE = "value moved"
    NEW = "new"
    GONE = "gone"
    STAGE_NEW = "stage now reports"
    STAGE_GONE = "stage did not report"
    OPEN_GATE = "open gate"
    FAILED_CHECK = "failed check"
    DUE = "due"


@dataclass(frozen=True, kw_only=True)
class Item:
    """One item: what changed, from what to what.

    Attributes:
        statement: What the finding says now, or said last.
        before: Verdict or value before; empty where there was none.
        after: Verdict or value now; empty where there is none.
    """

    change: Change
    stage: str
    finding_id: str
    statement: str
    owner: str
    before: str = ""
    after: str = ""


@dataclass(frozen=True, kw_only=True)
class Meeting:
    """The next date of a review, and its agenda.

    Attributes:
        due: Last held plus the interval; the data date if it was never held.
        is_overdue: The day has passed; never held counts as overdue.
    """

    topic: str
    owner: str
    due: date
    is_overdue: bool
    was_held: bool
    items: tuple[Item, ...]


@dataclass(frozen=True, kw_only=True)
class Agenda:
    """All reviews, soonest first.

    Attributes:
        compared_with: Day of the earlier findings; None if there are none, and then only open
            gates, failed checks and what is due are listed.
        uncovered: Items of stages that no review covers.
    """

    meetings: tuple[Meeting, ...]
    uncovered: tuple[Item, ...]
    compared_with: date | None
    as_of: date


def plan_reviews(
    reviews: Sequence[Review], now: Sequence[Json], before: Sequence[Json], *, as_of: date
) -> Agenda:
    """Dates and agendas of reviews.

    Args:
        now: Findings for `as_of`, as in `findings.json`, each with its `stage`.
        before: Those of the latest earlier day, each with its `as_of`; empty if there is none.
    """
    items = list_changes(now, before) if before else list_standing(now, as_of=as_of)
    meetings = []
    for review in reviews:
        held = review.last_held
        due = held + timedelta(days=review.every_days) if held else as_of
        meetings.append(
            Meeting(
                topic=review.topic,
                owner=review.owner,
                due=due,
                is_overdue=due < as_of or held is None,
                was_held=held is not None,
                items=tuple(item for item in items if item.stage in review.stages),
            )
        )
    covered = {stage for review in reviews for stage in review.stages}
    return Agenda(
        meetings=tuple(sorted(meetings, key=lambda m: (m.due, m.topic))),
        uncovered=tuple(item for item in items if item.stage not in covered),
        compared_with=date.fromisoformat(str(before[0]["as_of"])) if before else None,
        as_of=as_of,
    )


def list_changes(now: Sequence[Json], before: Sequence[Json]) -> tuple[Item, ...]:
    """What changed between two days, gates first, in the order of the pages.

    A verdict that changed; a value whose two ranges do not overlap (of what is counted
    without a range only the verdict can change, for counts move every day); what is new or
    gone; a gate that opened or closed. A stage that reports on one day only is one item.
    """
    today, earlier = _by_key(now), _by_key(before)
    stages, stages_before = _stages(now), _stages(before)
    found = [_stage_item(Change.STAGE_NEW, stage) for stage in stages if stage not in stages_before]
    found += [
        _stage_item(Change.STAGE_GONE, stage) for stage in stages_before if stage not in stages
    ]
    for key, finding in today.items():
        if key[0] not in stages_before:
            continue
        was = earlier.get(key)
        if was is None:
            found.append(_item(Change.NEW, finding, after=finding["verdict"]))
        elif was["verdict"] != finding["verdict"]:
            change = Change.VERDICT
            if finding["kind"] == "gate":
                is_open = finding["verdict"] == "pass"
                change = Change.GATE_OPENED if is_open else Change.GATE_CLOSED
            found.append(_item(change, finding, before=was["verdict"], after=finding["verdict"]))
        elif _has_moved(finding["value"], was["value"]):
            found.append(
                _item(
                    Change.VALUE,
                    finding,
                    before=was["statement"]["text"],
                    after=finding["statement"]["text"],
                )
            )
    found += [
        _item(Change.GONE, finding, before=finding["verdict"])
        for key, finding in earlier.items()
        if key not in today and key[0] in stages
    ]
    return _ranked(found)


def list_standing(now: Sequence[Json], *, as_of: date) -> tuple[Item, ...]:
    """Without an earlier day: gates that stop something, failed checks, and what is due."""
    found = []
    for finding in now:
        due = finding["due"]
        if finding["kind"] == "gate" and finding["verdict"] == "fail":
            found.append(_item(Change.OPEN_GATE, finding, after="fail"))
        elif finding["kind"] == "check" and finding["verdict"] == "fail":
            found.append(_item(Change.FAILED_CHECK, finding, after="fail"))
        elif due and date.fromisoformat(due) <= as_of:
            found.append(_item(Change.DUE, finding, after=due))
    return _ranked(found)


def _by_key(findings: Sequence[Json]) -> dict[tuple[str, str], Json]:
    return {(str(f["stage"]), str(f["id"])): f for f in findings}


def _stages(findings: Sequence[Json]) -> list[str]:
    return list(dict.fromkeys(str(f["stage"]) for f in findings))


def _has_moved(now: Json | None, before: Json | None) -> bool:
    """Whether both values have ranges and these do not overlap."""
    if not now or not before or now["unit"] != before["unit"]:
        return False
    if any(value.get(end) is None for value in (now, before) for end in ("lower", "upper")):
        return False
    return bool(now["lower"] > before["upper"] or now["upper"] < before["lower"])


def _item(change: Change, finding: Json, *, before: str = "", after: str = "") -> Item:
    return Item(
        change=change,
        stage=str(finding["stage"]),
        finding_id=str(finding["id"]),
        statement=str(finding["statement"]["text"]),
        owner=str(finding["owner"]),
        before=before,
        after=after,
    )


def _stage_item(change: Change, stage: str) -> Item:
    return Item(change=change, stage=stage, finding_id="", statement="", owner="insight-lead")


def _ranked(items: Sequence[Item]) -> tuple[Item, ...]:
    order = list(Change)
    return tuple(sorted(items, key=lambda item: order.index(item.change)))


@dataclass(frozen=True, kw_only=True)
class Pages:
    """Findings of the other stages, as in `findings.json`: of the day, and of the one before."""

    now: tuple[Json, ...]
    before: tuple[Json, ...]


def pages(market: MarketView) -> Pages:
    """What the other stages said, each finding with its `stage` and `as_of`."""
    return Pages(now=tuple(market.findings()), before=tuple(market.findings(before=True)))


def agenda(reviews: tuple[Review, ...], pages: Pages, run: Run[LearningParameters]) -> Agenda:
    """The reviews of this market."""
    mine = [review for review in reviews if {"all", run.market} & set(review.markets)]
    return plan_reviews(mine, pages.now, pages.before, as_of=run.as_of)


@dataclass(frozen=True, kw_only=True)
class AgendaRow:
    """One item of an agenda; what is gone, and what was not there before, is missing."""

    change: Change
    stage: Name
    finding: Name
    before: Name
    after: Name
    owner: Name


def _rows(items: Sequence[Item]) -> tuple[AgendaRow, ...]:
    return tuple(
        AgendaRow(
            change=item.change,
            stage=Name(item.stage),
            finding=Name(_called(item)),
            before=Name(item.before or "–"),
            after=Name(item.after or "–"),
            owner=Name(item.owner),
        )
        for item in items
    )


def _called(item: Item) -> str:
    """A finding by its sentence, or by its id where the sentences stand beside it."""
    if item.change is Change.VALUE:
        return item.finding_id.split(".", 1)[-1]
    return item.statement or item.stage


@dataclass(frozen=True, kw_only=True)
class ReviewDue:
    """One review: when it is due, and its agenda.

    Attributes:
        on_agenda: What the agenda holds: what changed since an earlier day, or what stands open.
        due_days: Days from the data's day to the review; below zero where it is late.
        since: Day of the earlier findings.
    """

    key: str
    case: Literal["never held", "late", "due"]
    on_agenda: Literal["open", "changed", "nothing"]
    topic: Name
    owner: Name
    due: date
    due_days: int
    items: int
    since: date | None
    table: tuple[AgendaRow, ...]


def review(agenda: Agenda) -> tuple[ReviewDue, ...]:
    """Every review with its agenda, soonest first.

    Raises:
        TooFew: No review is in the register.
    """
    if not agenda.meetings:
        raise TooFew("no review is in the register")
    return tuple(_review_due(meeting, agenda) for meeting in agenda.meetings)


def _review_due(meeting: Meeting, agenda: Agenda) -> ReviewDue:
    changed: Literal["changed", "nothing"] = "changed" if meeting.items else "nothing"
    late: Literal["late", "due"] = "late" if meeting.is_overdue else "due"
    return ReviewDue(
        key=slug(meeting.topic),
        case=late if meeting.was_held else "never held",
        on_agenda="open" if agenda.compared_with is None else changed,
        topic=Name(meeting.topic),
        owner=Name(meeting.owner),
        due=meeting.due,
        due_days=(meeting.due - agenda.as_of).days,
        items=len(meeting.items),
        since=agenda.compared_with,
        table=_rows(meeting.items),
    )


@dataclass(frozen=True, kw_only=True)
class Uncovered:
    """Items of stages that no review covers."""

    table: tuple[AgendaRow, ...]


def uncovered(agenda: Agenda) -> Uncovered:
    """What would be talked about, and no review is there for it."""
    return Uncovered(table=_rows(agenda.uncovered))
