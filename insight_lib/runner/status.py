"""Where every report stands, for `insight status`, `insight open` and the site's index."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from insight_lib.runner.fingerprint import CodeIndex
from insight_lib.runner.ledger import Cell, Ledger, LedgerRow, RunState
from insight_lib.runner.plan import (
    Node,
    Overridden,
    Plan,
    Selection,
    code_path,
    make_plan,
    output_folder,
    published_state,
)
from insight_lib.runner.publish import read_record, replace_file

if TYPE_CHECKING:
    from insight_lib.parameters import Project
    from insight_lib.report.site import SiteCell

State = Literal["published", "stale", "gate", "failed", "blocked", "running", "absent"]

_FAILED = (RunState.FAILED, RunState.TIMED_OUT, RunState.KILLED, RunState.OUT_OF_MEMORY)
_OPEN = (RunState.RUNNING, RunState.SUCCEEDED)


class NoReport(LookupError):
    """There is no published report as asked for."""


@dataclass(frozen=True, kw_only=True)
class StatusRow:
    """One report of the matrix.

    Attributes:
        state: `stale` if data, code, notebook or settings have changed since it was made.
        folder: Published folder, possibly of an earlier day; None if there is none.
        record: Its `run.json`.
        last_run: The newest entry of the ledger.
    """

    cell: Cell
    state: State
    folder: Path | None
    record: Mapping[str, Any] | None
    last_run: LedgerRow | None
    error: str | None


def ledger_path(project: Project) -> Path:
    """Where the run ledger stands."""
    return project.reports_dir / ".insight" / "ledger.sqlite"


def load_status(
    project: Project,
    *,
    overridden: Overridden | None = None,
    ledger: Ledger | None = None,
    code: CodeIndex | None = None,
) -> list[StatusRow]:
    """The state of every market, stage and segment, in the order of the lifecycle.

    Args:
        overridden: Market id to its overridden gates; the register's by default.
    """
    code = code or CodeIndex(kept=code_path(project))
    overridden = overridden or (
        lambda market: project.registers.overridden(market, as_of=project.today)
    )
    with ExitStack() as stack:
        if ledger is None and ledger_path(project).exists():
            ledger = stack.enter_context(Ledger(ledger_path(project)))
        latest = ledger.latest() if ledger else {}
    published = _published_days(project)
    plan = make_plan(project, Selection(), code=code)
    refused = {market: why for market in project.markets if (why := _refused(project, market))}
    rows = _rows(project, plan, latest, published, overridden)
    segments = tuple(sorted({segment for _, _, segment in published if segment}))
    if segments:
        by_segment = make_plan(project, Selection(segments=segments), code=code)
        known = {row.cell for row in rows}
        rows += [
            row
            for row in _rows(project, by_segment, latest, published, overridden)
            if row.cell not in known and row.state != "absent"
        ]
    code.keep()
    return [_with_refusal(row, refused.get(row.cell.market)) for row in rows]


def _refused(project: Project, market: str) -> str | None:
    """Why the latest delivery of a market was refused, if it was."""
    from insight_lib.lake.store import LakeError, read_manifest

    try:
        manifest = read_manifest(project.lake_dir, project.markets[market].region, market)
    except LakeError:
        return None  # the plan says so already
    if manifest is None or not manifest.refused:
        return None
    table, why = next(iter(sorted(manifest.refused.items())))
    since = f"stale since {manifest.as_of}, " if manifest.as_of else ""
    return f"{since}delivery of {table} refused: {why.splitlines()[0]}"


def _with_refusal(row: StatusRow, refused: str | None) -> StatusRow:
    """A page that stands on an older delivery than the last one is not up to date."""
    if refused is None or row.state not in ("published", "gate", "stale"):
        return row
    return replace(row, state="stale", error=refused)


def _published_days(project: Project) -> dict[tuple[str, str, str], list[str]]:
    """Days for which there is a folder, by market, stage and segment, in order."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for market in project.markets:
        for folder in sorted((project.reports_dir / market).glob("*/*")):
            stage, _, segment = folder.name.partition("@")
            if stage in project.stages:
                found.setdefault((market, stage, segment), []).append(folder.parent.name)
    return found


def _rows(
    project: Project,
    plan: Plan,
    latest: Mapping[Cell, LedgerRow],
    published: Mapping[tuple[str, str, str], list[str]],
    overridden: Overridden,
) -> list[StatusRow]:
    records = {node.cell: node.record for node in plan.nodes if node.record is not None}
    rows = []
    for node in plan.nodes:
        cell, run = node.cell, latest.get(node.cell)
        folder, record = node.folder, node.record
        for day in reversed(published.get((cell.market, cell.stage, cell.segment), [])):
            if record is None:
                folder = output_folder(project, Cell(cell.market, cell.stage, cell.segment, day))
                record = read_record(folder)
        gates = overridden(cell.market)
        closed = plan.closed_gate(node, records, gates)
        state, error = _state(node, run, record, closed, gates)
        rows.append(
            StatusRow(
                cell=cell,
                state=state,
                folder=folder if record is not None else None,
                record=record,
                last_run=run,
                error=error,
            )
        )
    return rows


def _state(
    node: Node,
    run: LedgerRow | None,
    record: Mapping[str, Any] | None,
    closed_gate: str | None,
    overridden: Mapping[str, str],
) -> tuple[State, str | None]:
    if run is not None and run.state in _OPEN and run.process.is_alive:
        return "running", None
    if closed_gate is not None:
        return "blocked", f"gate {closed_gate} failed"
    if node.is_up_to_date and record is not None:
        is_gate = published_state(record, overridden) is RunState.GATE
        return ("gate" if is_gate else "published"), None
    if run is not None and run.state in _FAILED:
        place = f" (cell {run.cell_number})" if run.cell_number else ""
        return "failed", f"{run.error}{place}"
    if run is not None and run.state is RunState.BLOCKED:
        return "blocked", run.error
    return ("absent", node.fault) if record is None else ("stale", None)


def report_path(
    project: Project,
    market: str,
    *,
    stage: str | None = None,
    segment: str = "",
    as_of: date | None = None,
) -> Path:
    """The page to open: a report, the newest unless `as_of` is given, or the site's index.

    Raises:
        NoReport: It is not there; the message says how to make it.
    """
    if stage is None:
        path = project.reports_dir / "index.html"
        if not path.is_file():
            raise NoReport("there is no index yet; run `insight run`")
        return path
    days = _published_days(project).get((market, stage, segment), [])
    for day in reversed(days):
        if as_of is None or day == as_of.isoformat():
            folder = output_folder(project, Cell(market, stage, segment, day))
            if read_record(folder) is not None:
                return folder / "index.html"
    when = f" for {as_of}" if as_of else ""
    known = f" (there is: {', '.join(days)})" if days else ""
    raise NoReport(
        f"no report {market} {stage}{when}{known}; "
        f"run `insight run --market {market} --stage {stage}`"
    )


def write_site(
    project: Project, ledger: Ledger, overridden: Overridden, *, code: CodeIndex
) -> Path:
    """Write `reports/index.html` unless nothing that it shows has changed."""
    rows = load_status(project, overridden=overridden, ledger=ledger, code=code)
    shown = [
        [str(row.cell), row.cell.as_of, row.state, row.error, (row.record or {}).get("run_id")]
        for row in rows
    ]
    faults = {market: [str(f) for f in found] for market, found in project.faults.items()}
    content = json.dumps([shown, faults, code.module_digest("insight_lib.report.site")])
    signature = hashlib.sha256(content.encode()).hexdigest()
    index = project.reports_dir / "index.html"
    if index.exists() and ledger.note("site") == signature:
        return index
    from insight_lib.report.site import StageHead, render_site

    stages = [StageHead(id=s.id, number=s.number, title=s.title) for s in project.stages.values()]
    cells = [_site_cell(project, row) for row in rows]
    page = render_site([*cells, *_faulty_cells(project)], stages)
    replace_file(index, page.encode("utf-8"))
    ledger.set_note("site", signature)
    return index


def _faulty_cells(project: Project) -> list[SiteCell]:
    """Markets whose YAML has faults: they stand there as such, with their last pages."""
    from insight_lib.report.site import SiteCell

    cells = []
    for market, faults in sorted(project.faults.items()):
        error = f"{len(faults)} faults in parameters/markets/{market}.yaml; run `insight check`"
        pages: dict[str, tuple[Path | None, Mapping[str, Any]]] = {}
        for folder in sorted((project.reports_dir / market).glob("*/*")):
            if folder.name in project.stages and (record := read_record(folder)) is not None:
                pages[folder.name] = (folder, record)
        for stage, (page, found) in (pages or {next(iter(project.stages)): (None, {})}).items():
            head = found.get("market", {})
            link = page / "index.html" if page else None
            cells.append(
                SiteCell(
                    market_id=market,
                    market_title=str(head.get("title", market)),
                    kind=str(head.get("kind", "real")),
                    region=str(head.get("region", "-")),
                    stage_id=stage,
                    segment=None,
                    as_of=page.parent.name if page else None,
                    state="failed",
                    href=link.relative_to(project.reports_dir).as_posix() if link else None,
                    error=error,
                )
            )
    return cells


def _public_error(error: str | None) -> str | None:
    """An error as the landing page may show it: an exception's own words may hold data."""
    if error is None:
        return None
    kind = re.match(r"([A-Za-z_.]+(?:Error|Exception|Interrupt|Exit|Warning|TooFew))\b", error)
    place = re.search(r"\(cell \d+\)$", error)
    if kind is None:
        return error
    return f"{kind[1]} {place[0] if place else ''}".strip() + "; see `insight status`"


def _site_cell(project: Project, row: StatusRow) -> SiteCell:
    from insight_lib.report.site import SiteCell

    market = project.markets[row.cell.market]
    href, findings, as_of = None, [], row.cell.as_of
    if row.folder is not None:
        href = (row.folder / "index.html").relative_to(project.reports_dir).as_posix()
        findings = json.loads((row.folder / "findings.json").read_bytes())["findings"]
        as_of = row.folder.parent.name
    return SiteCell(
        market_id=market.id,
        market_title=market.title,
        kind=market.kind,
        region=market.region,
        stage_id=row.cell.stage,
        segment=row.cell.segment or None,
        as_of=as_of if as_of != "no-data" else None,
        state=row.state,
        href=href,
        findings=findings,
        error=_public_error(row.error),
        seconds=(row.record or {}).get("seconds"),
    )
