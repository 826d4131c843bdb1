"""The landing page: markets × stages, what needs attention, and a search over all findings."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from markupsafe import Markup

from insight_lib.findings import Estimate, Verdict, format_number, format_range, format_value
from insight_lib.report.content import format_role, read_measured
from insight_lib.report.page import render_template

State = Literal["published", "stale", "gate", "failed", "blocked", "running", "absent"]

MAX_SEARCHED = 4000  # findings in the search; the strongest of each page come first
_LISTED = 4


@dataclass(frozen=True, kw_only=True)
class StageHead:
    """A column of the matrix."""

    id: str
    number: int
    title: str


@dataclass(frozen=True, kw_only=True)
class SiteCell:
    """One page of the site: a stage of a market, or of one of its segments.

    Attributes:
        kind: `real` or `simulated`.
        as_of: Last complete day in the data of the page; none if it never ran.
        href: Path of the page from the index, as a plain path (not URL-encoded).
        findings: The page's findings as JSON.
        error: Why the last run failed.
        seconds: How long the last run took.
    """

    market_id: str
    market_title: str
    kind: str
    region: str
    stage_id: str
    segment: str | None
    as_of: date | str | None
    state: State
    href: str | None
    findings: Sequence[Mapping[str, Any]] = field(default_factory=list)
    error: str | None = None
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class _Item:
    """A line of what needs attention."""

    text: str
    detail: str
    href: str


@dataclass(frozen=True, kw_only=True)
class _Row:
    title: str
    market_id: str
    region: str
    segment: str | None
    is_simulated: bool
    as_of: str
    revenue: str
    revenue_range: str
    cells: Sequence[SiteCell | None]


def render_site(cells: Sequence[SiteCell], stages: Sequence[StageHead]) -> str:
    """Render the index of all markets as one self-contained HTML file.

    Args:
        cells: Every page that exists or should; at most one per market, segment and stage.
        stages: The columns, in order.
    """
    stages = sorted(stages, key=lambda stage: stage.number)
    rows = _rows(cells, stages)
    script = _script()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    searched = _searched(rows)
    data = json.dumps(searched[:MAX_SEARCHED], ensure_ascii=False, separators=(",", ":"))
    # No "<" stands in the data, so no name in it can close the script element.
    data = data.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")
    return render_template(
        "site.html.j2",
        rows=rows,
        stages=stages,
        headline=_headline(cells),
        lede=_lede(cells),
        failed=[_failure(cell, stages) for cell in _broken(cells)],
        gates=[
            _item(cell, finding, stages)
            for cell in cells
            if cell.state == "gate"  # an override in force leaves the page published
            for finding in cell.findings
            if finding.get("kind") == "gate" and finding.get("verdict") == Verdict.FAIL
        ],
        strongest=[_item(cell, finding, stages) for cell, finding in _strongest(cells)],
        listed=_LISTED,
        has_revenue=any(row.revenue for row in rows),
        n_left_out=max(len(searched) - MAX_SEARCHED, 0),
        href=_href,
        n_findings=_n_findings,
        script=Markup(script),  # noqa: S704  (our own file)
        script_digest=digest,
        data=Markup(data),  # noqa: S704  (escaped above)
    )


@lru_cache(maxsize=1)
def _script() -> str:
    path = Path(__file__).parent / "templates" / "insight" / "site.js"
    lines = path.read_text(encoding="utf-8").splitlines()
    return "\n".join(line.strip() for line in lines if not line.strip().startswith("//"))


def _href(cell: SiteCell) -> str:
    return quote((cell.href or "").lstrip("/"), safe="/@")


def _n_findings(cell: SiteCell) -> int:
    return sum(finding.get("kind") == "finding" for finding in cell.findings)


def _rows(cells: Sequence[SiteCell], stages: Sequence[StageHead]) -> list[_Row]:
    grouped: dict[tuple[str, str, str | None], list[SiteCell]] = {}
    for cell in cells:
        grouped.setdefault((cell.market_title, cell.market_id, cell.segment), []).append(cell)
    rows = []
    order = sorted(grouped.items(), key=lambda item: (*item[0][:2], item[0][2] or ""))
    for (title, market_id, segment), group in order:
        by_stage = {cell.stage_id: cell for cell in group}
        dates = [str(cell.as_of) for cell in group if cell.as_of]
        revenue, revenue_range = _revenue(group)
        rows.append(
            _Row(
                title=title,
                market_id=market_id,
                region=group[0].region,
                segment=segment,
                is_simulated=group[0].kind == "simulated",
                as_of=max(dates, default=""),
                revenue=revenue,
                revenue_range=revenue_range,
                cells=[by_stage.get(stage.id) for stage in stages],
            )
        )
    return rows


def _revenue(group: Sequence[SiteCell]) -> tuple[str, str]:
    for cell in group:
        for finding in cell.findings:
            value = read_measured(finding.get("value"))
            if value is not None and str(finding.get("id", "")).endswith(".revenue"):
                likely = f"likely {format_range(value)}" if isinstance(value, Estimate) else ""
                return format_number(value.value, value.unit), likely
    return "", ""


def _headline(cells: Sequence[SiteCell]) -> str:
    markets = {cell.market_id for cell in cells}
    open_markets = {cell.market_id for cell in cells if cell.state in ("failed", "gate")}
    old_markets = {cell.market_id for cell in cells if cell.state in ("stale", "blocked")}
    if not markets:
        return "No market has been run yet"
    total = "the only market" if len(markets) == 1 else f"{len(markets)} markets"
    if open_markets:
        verb = "needs" if len(open_markets) == 1 else "need"
        who = "The only market" if len(markets) == 1 else f"{len(open_markets)} of {total}"
        return f"{who} {verb} a decision"
    if old_markets:
        return f"{len(old_markets)} of {total} wait for a new run"
    return "The only market is up to date" if len(markets) == 1 else f"All {total} are up to date"


def _lede(cells: Sequence[SiteCell]) -> str:
    pages = [cell for cell in cells if cell.href]
    dates = [str(cell.as_of) for cell in pages if cell.as_of]
    n_findings = sum(map(_n_findings, pages))
    data_to = f", data to {format_value(date.fromisoformat(max(dates)))}" if dates else ""
    return (
        f"{len(pages):,} {'page' if len(pages) == 1 else 'pages'} with {n_findings:,} "
        f"{'finding' if n_findings == 1 else 'findings'}{data_to}. "
        "Aggregates only; every cell opens that market's own page."
    )


def _place(cell: SiteCell, stages: Sequence[StageHead]) -> str:
    title = next((stage.title for stage in stages if stage.id == cell.stage_id), cell.stage_id)
    return " · ".join(filter(None, (cell.market_title, cell.segment, title)))


def _broken(cells: Sequence[SiteCell]) -> list[SiteCell]:
    """What failed, and what stands on an older delivery; one reason of a market once."""
    found: dict[tuple[str, str | None], SiteCell] = {}
    for cell in cells:
        if cell.state == "failed" or (cell.state == "stale" and cell.error):
            is_run = cell.state == "failed" and not (cell.error or "").endswith("`insight check`")
            reason = f"{cell.stage_id} {cell.segment} {cell.error}" if is_run else cell.error
            found.setdefault((cell.market_id, reason), cell)
    return list(found.values())


def _failure(cell: SiteCell, stages: Sequence[StageHead]) -> _Item:
    reason = (cell.error or "no reason on record").strip().splitlines()[0]
    return _Item(text=_place(cell, stages), detail=reason[:240], href=_href(cell))


def _item(cell: SiteCell, finding: Mapping[str, Any], stages: Sequence[StageHead]) -> _Item:
    due = f", by {format_value(date.fromisoformat(finding['due']))}" if finding.get("due") else ""
    detail = f"{_place(cell, stages)}. Owner: {format_role(str(finding.get('owner') or ''))}{due}"
    return _Item(text=_statement(finding), detail=detail, href=_href(cell))


def _statement(finding: Mapping[str, Any]) -> str:
    return str((finding.get("statement") or {}).get("text", ""))


def _by_weight(findings: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(findings, key=lambda finding: -(finding.get("weight") or 0.0))


def _strongest(cells: Sequence[SiteCell]) -> list[tuple[SiteCell, Mapping[str, Any]]]:
    """The first finding that matters of each market; those due soonest first.

    Weights rank within one page only, so markets are not compared by them.
    """
    leads: dict[str, tuple[SiteCell, Mapping[str, Any]]] = {}
    for cell in cells:
        for finding in _by_weight(cell.findings):
            if finding.get("kind") == "finding" and finding.get("verdict") == Verdict.MATTERS:
                held = leads.get(cell.market_id)
                if held is None or _due(finding) < _due(held[1]):
                    leads[cell.market_id] = (cell, finding)
                break
    return sorted(leads.values(), key=lambda lead: (_due(lead[1]), lead[0].market_id))


def _due(finding: Mapping[str, Any]) -> str:
    return str(finding.get("due") or "9999")


def _searched(rows: Sequence[_Row]) -> list[tuple[int, int, str, str, str, str]]:
    """Row, column, statement, owner, verdict and id of each finding, strongest of a page first."""

    def ranked() -> Iterator[tuple[int, tuple[int, int, str, str, str, str]]]:
        for i, row in enumerate(rows):
            for j, cell in enumerate(row.cells):
                for rank, finding in enumerate(_by_weight(cell.findings) if cell else ()):
                    words = (str(finding.get(key, "")) for key in ("owner", "verdict", "id"))
                    yield rank, (i, j, _statement(finding), *words)  # type: ignore[misc]

    return [entry for _, entry in sorted(ranked(), key=lambda pair: pair[0])]
