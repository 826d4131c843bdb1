"""What must be true of every page, whatever the market: nothing crashes, nothing is undefined."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tests.crucible.desk import Outcome
from tests.crucible.results import StageResult, reduced
from tests.crucible.world import World

UNDEFINED = re.compile(r"(?<![\w'-])(nan|NaN|NaT|None(?! of)|inf|Infinity|<NA>)(?![\w'-])")
IDENTIFIER = re.compile(r"\b(QX\d{5}|O\d{6}|K\d{5})\b")
MARKUP = "<b>'x'</b>"


def judge(outcome: Outcome, world: World, prints: Mapping[str, str]) -> dict[str, StageResult]:
    """Each stage's findings, and what is wrong with them."""
    shown = outcome.findings(world.id)
    results = {}
    for row in outcome.rows:
        if row.cell.market != world.id:
            continue
        stage = row.cell.stage
        findings = shown.get(stage, [])
        faults = [f"{stage}: {fault}" for fault in _state_faults(row)]
        faults += [f"{stage}: {fault}" for f in findings for fault in _finding_faults(f)]
        if row.link is not None and row.state.is_published:
            page = row.link.read_text(encoding="utf-8")
            faults += [f"{stage}: {fault}" for fault in _page_faults(page)]
        results[stage] = StageResult(
            fingerprint=prints[stage],
            state=row.state.value,
            error=row.error,
            seconds=round(row.seconds, 2),
            findings=[reduced(finding) for finding in findings],
            faults=faults,
        )
    return results


def _state_faults(row: Any) -> list[str]:
    """A run that was started must end in a page; one that was not started must say why."""
    state, error = row.state.value, row.error or ""
    if state in ("published", "gate"):
        return []
    if row.was_run:
        return [f"{state} in cell {row.cell_number}: {error}"]
    if state == "blocked":  # what blocks it has its own row
        return [] if re.search(r"is (failed|blocked)|gate \S+ failed", error) else [error]
    is_told = re.search(r"deliver|declare|insight ingest", error)
    return [] if is_told else [f"{state} without a reason: {error}"]


def _finding_faults(finding: Mapping[str, Any]) -> list[str]:
    faults = []
    name = finding["id"]
    for part in ("statement", "so_what"):
        text = (finding.get(part) or {}).get("text", "")
        if found := UNDEFINED.search(text):
            faults.append(f"{name} says {found[0]!r}: {text}")
        if found := IDENTIFIER.search(text):
            faults.append(f"{name} names {found[0]!r}")
    value = finding.get("value") or {}
    low, number, high = (value.get(key) for key in ("lower", "value", "upper"))
    if number is not None and low is not None and not low <= number <= high:
        faults.append(f"{name}: {number} is not between {low} and {high}")
    return faults


def _page_faults(page: str) -> list[str]:
    faults = []
    if found := IDENTIFIER.search(re.sub(r"<script.*?</script>", "", page, flags=re.S)):
        faults.append(f"the page names {found[0]!r}")
    if MARKUP in page:
        faults.append("the page passes markup of the data through")
    return faults
