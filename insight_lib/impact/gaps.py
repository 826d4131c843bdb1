"""What could not be measured in any stage, and which table would unlock most of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from insight_lib.findings import TooFew
from insight_lib.impact.agenda import Pages
from insight_lib.prose import Name

if TYPE_CHECKING:
    from insight_lib.market_view import MarketView


@dataclass(frozen=True, kw_only=True)
class Blocked:
    """A finding that could not be measured: what it says, and what it would take."""

    stage: str
    id: str
    rows: tuple[str, ...]
    statement: str
    takes: str
    weight: float


@dataclass(frozen=True, kw_only=True)
class Gap:
    """One table that findings wait for.

    Attributes:
        columns: Of the table, those that some finding names; empty where none does.
        minimum_rows: The most that any finding asks for; None where none says.
        blocks: Findings that wait for it, heaviest first.
        alone: How many of them wait for nothing else.
    """

    table: str
    columns: tuple[str, ...]
    minimum_rows: int | None
    blocks: tuple[Blocked, ...]
    alone: int


def collect_gaps(findings: Sequence[Mapping[str, Any]]) -> tuple[Gap, ...]:
    """Findings that are not measurable, by the table that they wait for.

    The table that most findings wait for comes first, then the one that unlocks most by
    itself, then by weight; ties by name.

    Args:
        findings: As in `findings.json`, each with its `stage`.
    """
    columns: dict[str, set[str]] = {}
    rows: dict[str, list[int]] = {}
    blocks: dict[str, dict[tuple[str, str], Blocked]] = {}
    alone: dict[str, set[tuple[str, str]]] = {}
    for finding in findings:
        if finding["verdict"] != "not measurable":
            continue
        key = (str(finding["stage"]), str(finding["id"]))
        so_what = finding.get("so_what")
        blocked = Blocked(
            stage=key[0],
            id=key[1],
            rows=tuple(finding["rows"]),
            statement=str(finding["statement"]["text"]),
            takes=str(so_what["text"]) if so_what else "",
            weight=float(finding["weight"] or 0.0),
        )
        tables = {str(need["table"]) for need in finding["needs"]}
        for need in finding["needs"]:
            table = str(need["table"])
            columns.setdefault(table, set()).update(need["columns"])
            if need["minimum_rows"] is not None:
                rows.setdefault(table, []).append(int(need["minimum_rows"]))
            blocks.setdefault(table, {})[key] = blocked
            if len(tables) == 1:
                alone.setdefault(table, set()).add(key)
    gaps = [
        Gap(
            table=table,
            columns=tuple(sorted(columns[table])),
            minimum_rows=max(rows.get(table, []), default=None),
            blocks=tuple(sorted(found.values(), key=lambda b: (-b.weight, b.stage, b.id))),
            alone=len(alone.get(table, ())),
        )
        for table, found in blocks.items()
    ]
    return tuple(
        sorted(
            gaps,
            key=lambda g: (-len(g.blocks), -g.alone, -sum(b.weight for b in g.blocks), g.table),
        )
    )


@dataclass(frozen=True, kw_only=True)
class GapRow:
    """One table that findings wait for; columns and rows are missing where no finding names any.

    Attributes:
        is_present: The market has the table, and too little in it.
        alone: Questions that wait for this table alone.
    """

    name: Name
    is_present: bool
    columns: Name | None
    minimum_rows: int | None
    questions: int
    alone: int
    findings: Name


@dataclass(frozen=True, kw_only=True)
class Gaps:
    """What cannot be measured, and which table would help most.

    Attributes:
        blocked, is_one: Questions that wait, and whether it is a single one.
        first, is_more: The table that most of them wait for, and whether some of it is there.
        most, alone, is_alone_one: Questions that wait for that one, and for nothing else.
        n: Findings that were looked at.
    """

    case: Literal["nothing", "some alone", "none alone"]
    blocked: int
    is_one: bool
    first: Name | None
    is_more: bool
    most: int
    alone: int
    is_alone_one: bool
    n: int
    table: tuple[GapRow, ...]


def gaps(pages: Pages, market: MarketView) -> Gaps:
    """What waits for data on the pages of the other stages.

    Raises:
        TooFew: No other stage has run.
    """
    if not pages.now:
        raise TooFew("no other stage has run for this day")
    found = collect_gaps(pages.now)
    present = frozenset(gap.table for gap in found if market.has(gap.table))
    return gaps_of(found, present=present, n=len(pages.now))


def gaps_of(found: Sequence[Gap], *, present: Collection[str], n: int) -> Gaps:
    """Gaps as a reader is told of them.

    Args:
        present: Tables that the market has: of these it takes more rows or columns.
        n: Findings that were looked at.
    """
    first = found[0] if found else None
    alone = first.alone if first else 0
    blocked = len({(b.stage, b.id) for gap in found for b in gap.blocks})
    waiting: Literal["some alone", "none alone"] = "some alone" if alone else "none alone"
    return Gaps(
        case=waiting if found else "nothing",
        blocked=blocked,
        is_one=blocked == 1,
        first=Name(first.table) if first else None,
        is_more=first is not None and first.table in present,
        most=len(first.blocks) if first else 0,
        alone=alone,
        is_alone_one=alone == 1,
        n=n,
        table=tuple(_row(gap, is_present=gap.table in present) for gap in found),
    )


def _row(gap: Gap, *, is_present: bool) -> GapRow:
    return GapRow(
        name=Name(gap.table),
        is_present=is_present,
        columns=Name(", ".join(gap.columns)) if gap.columns else None,
        minimum_rows=gap.minimum_rows,
        questions=len(gap.blocks),
        alone=gap.alone,
        findings=Name(", ".join(sorted({b.id for b in gap.blocks}))),
    )
