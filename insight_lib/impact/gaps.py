"""What could not be measured in any stage, and which table would unlock most of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


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
