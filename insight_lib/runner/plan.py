"""What is to run: stages, markets and segments as a graph, and what of it is up to date."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from insight_lib.runner.fingerprint import CodeIndex, fingerprint
from insight_lib.runner.harvest import FailedGate
from insight_lib.runner.ledger import Cell, RunState
from insight_lib.runner.publish import read_record

if TYPE_CHECKING:
    from insight_lib.lake.store import Manifest
    from insight_lib.lifecycle_model import Stage
    from insight_lib.parameters import Project

Overridden = Callable[[str], Mapping[str, str]]


class SelectionFault(ValueError):
    """A market or stage that was asked for does not exist."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What was asked for; empty means all.

    Attributes:
        segments: Run the per-segment stages for these instead of for all customers.
        overrides: Parameters to change for this run, as `Project.resolve` takes them.
    """

    markets: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    segments: tuple[str, ...] = ()
    overrides: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Node:
    """One run that may be needed.

    Attributes:
        needs: Cells that must be published before.
        after: Cells that it reads where they are, of other stages or, for aggregates, of other
            markets: it waits until they have ended, and goes on without those that failed.
        fault: Why it cannot run at all, or None.
        record: `run.json` of what is published in its place, if that is whole.
    """

    cell: Cell
    stage: Stage
    notebook: Path
    folder: Path
    needs: tuple[Cell, ...]
    fingerprint: str
    versions: Mapping[str, int]
    fault: str | None
    record: Mapping[str, Any] | None
    after: tuple[Cell, ...] = ()

    @property
    def is_up_to_date(self) -> bool:
        """Whether what is published came from the same notebook, code, data and settings."""
        return self.record is not None and self.record.get("fingerprint") == self.fingerprint


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Nodes in an order in which each comes after those that it needs."""

    nodes: tuple[Node, ...]

    @cached_property
    def by_cell(self) -> Mapping[Cell, Node]:
        return {node.cell: node for node in self.nodes}

    def upstream(self, node: Node) -> list[Cell]:
        """Everything that `node` rests on, directly or through others."""
        found: dict[Cell, None] = {}
        waiting = list(node.needs)
        while waiting:
            cell = waiting.pop()
            if cell not in found:
                found[cell] = None
                waiting += self.by_cell[cell].needs
        return list(found)

    def closed_gate(
        self, node: Node, records: Mapping[Cell, Mapping[str, Any]], overridden: Mapping[str, str]
    ) -> str | None:
        """The id of a failed gate upstream that stops `node` and that nobody overrode."""
        for cell in self.upstream(node):
            for gate in record_gates(records.get(cell, {})):
                if node.cell.stage in gate.blocks and gate.id not in overridden:
                    return gate.id
        return None


def code_path(project: Project) -> Path:
    """Where digests of code are kept from one command to the next."""
    return project.reports_dir / ".insight" / "code.json"


def output_folder(project: Project, cell: Cell) -> Path:
    """Where the run of `cell` is published."""
    name = f"{cell.stage}@{cell.segment}" if cell.segment else cell.stage
    return project.reports_dir / cell.market / cell.as_of / name


def record_gates(record: Mapping[str, Any]) -> list[FailedGate]:
    """Gates that had failed when `record` was written."""
    return [
        FailedGate(gate["id"], tuple(gate["blocks"])) for gate in record.get("failed_gates", ())
    ]


def published_state(record: Mapping[str, Any], overridden: Mapping[str, str]) -> RunState:
    """`gate` if a failed gate has no override in force now, else `published`."""
    is_open = any(gate.id not in overridden for gate in record_gates(record))
    return RunState.GATE if is_open else RunState.PUBLISHED


def make_plan(
    project: Project,
    selection: Selection,
    *,
    as_of: date | None = None,
    code: CodeIndex | None = None,
) -> Plan:
    """Plan the selected stages, with everything that they need, for the selected markets.

    A stage whose notebook does not exist yet is passed over; what needs it depends on
    what it needs. Without `as_of`, a market runs for the last complete day of its data.

    Raises:
        SelectionFault: Unknown market or stage.
    """
    _check(project, selection)
    code = code or CodeIndex()
    order = _order(project)
    wanted = _with_needs(project, selection.stages or tuple(project.stages))
    if selection.segments:  # who is in a segment has to be known first
        wanted |= _with_needs(project, _segment_givers(project))
    nodes: list[Node] = []
    for market in selection.markets or tuple(sorted(project.markets)):
        nodes += _plan_market(
            project, market, [s for s in order if s in wanted], selection, as_of, code
        )
    return Plan(nodes=_beside(project, nodes, as_of, code))


def _beside(
    project: Project, nodes: list[Node], as_of: date | None, code: CodeIndex
) -> tuple[Node, ...]:
    """Let nodes come after the other stages and markets that they read, and depend on them.

    What is read and not planned counts as it was published, stale or not.
    """
    planned = {node.cell for node in nodes}
    givers = _givers(project, nodes, as_of, code)
    result: dict[Cell, Node] = {}
    for node in nodes:
        read = set(node.stage.reads_aggregates)
        sources = [
            giver
            for cell, giver in sorted(givers.items())
            if cell.market != node.cell.market and read & set(giver.stage.publishes_aggregates)
        ]
        upstream = [
            giver.fingerprint
            if giver.cell in planned or giver.is_up_to_date
            else str((giver.record or {}).get("fingerprint"))
            for giver in sources
        ]
        own = [
            replace(node.cell, stage=name, segment="")
            for name in node.stage.after
            if _exists(project, name)
        ]
        upstream += [
            result[cell].fingerprint
            if cell in planned
            else str((read_record(output_folder(project, cell)) or {}).get("fingerprint"))
            for cell in own
        ]
        if own:
            upstream.append(_earlier_findings(project, node))
        if upstream:
            after = [cell for cell in (*own, *(g.cell for g in sources)) if cell in planned]
            digest = hashlib.sha256("\n".join([node.fingerprint, *upstream]).encode())
            node = replace(node, after=tuple(after), fingerprint=digest.hexdigest())
        result[node.cell] = node
    return tuple(result.values())


def _earlier_findings(project: Project, node: Node) -> str:
    """Hash of what the stages that it comes after found on the latest earlier day, if any."""
    folder = project.reports_dir / node.cell.market
    days = sorted(p for p in folder.glob("????-??-??") if p.name < node.cell.as_of)
    for day in reversed(days):
        paths = [day / stage / "findings.json" for stage in node.stage.after]
        if found := [path for path in paths if path.is_file()]:
            parts = [f"{path.parent.name} ".encode() + path.read_bytes() for path in found]
            return hashlib.sha256(b"\n".join([day.name.encode(), *parts])).hexdigest()
    return ""


def _givers(
    project: Project, nodes: list[Node], as_of: date | None, code: CodeIndex
) -> dict[Cell, Node]:
    """Nodes that give aggregates, of all markets, if any planned one reads them."""
    if not any(node.stage.reads_aggregates for node in nodes):
        return {}
    givers = {n.cell: n for n in nodes if n.stage.publishes_aggregates and not n.cell.segment}
    stages = [s for s in _order(project) if project.stages[s].publishes_aggregates]
    wanted = _with_needs(project, stages)
    for market in sorted(set(project.markets) - {node.cell.market for node in nodes}):
        others = [s for s in _order(project) if s in wanted]
        for node in _plan_market(project, market, others, Selection(), as_of, code):
            if node.stage.publishes_aggregates:
                givers[node.cell] = node
    return givers


def _check(project: Project, selection: Selection) -> None:
    for kind, asked, known in (
        ("market", selection.markets, project.markets),
        ("stage", selection.stages, project.stages),
    ):
        for name in asked:
            if name not in known:
                raise SelectionFault(f"no {kind} {name!r}; there are: {', '.join(sorted(known))}")
    for name in selection.stages:
        path = project.root / project.stages[name].notebook
        if not path.is_file():
            raise SelectionFault(f"stage {name!r} has no notebook yet ({path} does not exist)")
    for segment in selection.segments:
        if not segment or "/" in segment or "@" in segment or segment.startswith("."):
            raise SelectionFault(f"segment {segment!r} is not a plain name")


def _exists(project: Project, stage: str) -> bool:
    return (project.root / project.stages[stage].notebook).is_file()


def _needs(project: Project, stage: str) -> list[str]:
    """Stages with a notebook that `stage` needs, looking through those without."""
    found: dict[str, None] = {}
    for need in project.stages[stage].needs:
        for name in [need] if _exists(project, need) else _needs(project, need):
            found[name] = None
    return list(found)


def _order(project: Project) -> list[str]:
    """Stages that have a notebook, each after those that it needs.

    Raises:
        SelectionFault: The needs go in a circle.
    """
    done: dict[str, None] = {}
    visiting: set[str] = set()

    def visit(name: str) -> None:
        if name in done:
            return
        if name in visiting:
            raise SelectionFault(f"lifecycle.yaml: stage {name!r} needs itself through others")
        visiting.add(name)
        for need in (*project.stages[name].needs, *project.stages[name].after):
            visit(need)
        done[name] = None

    for name in project.stages:
        visit(name)
    return [name for name in done if _exists(project, name)]


def _with_needs(project: Project, stages: Sequence[str]) -> set[str]:
    found: set[str] = set()
    waiting = [name for name in stages if _exists(project, name)]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _needs(project, name)
    return found


def _plan_market(
    project: Project,
    market: str,
    stages: Sequence[str],
    selection: Selection,
    as_of: date | None,
    code: CodeIndex,
) -> list[Node]:
    from insight_lib.lake.decisions import decisions_digest
    from insight_lib.lake.links import set_aside
    from insight_lib.lake.store import market_root

    manifest, fault = _read_data(project, market)
    last_day = manifest.as_of if manifest else None
    chosen = as_of or last_day
    day = chosen.isoformat() if chosen else "no-data"
    if as_of and last_day and as_of > last_day:
        fault = f"as_of {as_of} is after the last complete day in the data ({last_day})"
    try:
        configuration = project.digest(market, selection.overrides)
    except Exception as error:  # overrides that do not fit: all of this market's runs fail
        configuration, fault = "", fault or str(error)
    derived = {
        name for stage in project.stages.values() for name in (*stage.publishes, *stage.may_publish)
    }
    tables = manifest.versions if manifest else {}
    apart = derived | (set_aside(manifest) if manifest else set())
    versions = {name: tables[name] for name in sorted(tables) if name not in apart}
    states = dict(manifest.states) if manifest else {}
    root = market_root(project.lake_dir, project.markets[market].region, market)
    nodes: dict[Cell, Node] = {}
    # The whole market first: its segments rest on it.
    cells = sorted(
        (
            (name, segment)
            for name in stages
            for segment in _segments(project, name, stages, selection)
        ),
        key=lambda pair: bool(pair[1]),
    )
    for name, segment in cells:
        stage = project.stages[name]
        cell = Cell(market, name, segment, day)
        needs = tuple(
            Cell(market, need, segment if project.stages[need].per_segment else "", day)
            for need in _needs(project, name)
        )
        if segment:
            needs += tuple(Cell(market, giver, "", day) for giver in _segment_givers(project))
        path = project.root / stage.notebook
        own_fault = fault
        try:
            digest = code.notebook_digest(path)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            digest, own_fault = "", fault or f"{path}: not a notebook ({error!r})"
        folder = output_folder(project, cell)
        nodes[cell] = Node(
            cell=cell,
            stage=stage,
            notebook=path,
            folder=folder,
            needs=needs,
            fingerprint=fingerprint(
                notebook=digest,
                configuration=configuration,
                as_of=day,
                segment=segment,
                versions={name: states[name] for name in versions}
                | {"decisions": decisions_digest(root, stage.reads_decisions)},
                upstream=[nodes[need].fingerprint for need in needs],
            ),
            versions=versions,
            fault=own_fault,
            record=read_record(folder),
        )
    return list(nodes.values())


def _segment_givers(project: Project) -> list[str]:
    """Stages that say who is in which segment."""
    return [
        name
        for name, stage in project.stages.items()
        if "segments" in (*stage.publishes, *stage.may_publish) and _exists(project, name)
    ]


def _segments(
    project: Project, name: str, stages: Sequence[str], selection: Selection
) -> tuple[str, ...]:
    """The segments to run a stage for; the empty one is all customers."""
    if not (selection.segments and project.stages[name].per_segment):
        return ("",)
    serves_whole = any(
        name in _with_needs(project, [other]) and not project.stages[other].per_segment
        for other in stages
    )
    return ("", *selection.segments) if serves_whole else selection.segments


def _read_data(project: Project, market: str) -> tuple[Manifest | None, str | None]:
    """The market's manifest, or why there is none to run on."""
    from insight_lib.lake.store import LakeError, read_manifest

    try:
        manifest = read_manifest(project.lake_dir, project.markets[market].region, market)
    except LakeError as error:
        return None, str(error)
    if manifest is not None and manifest.tables and manifest.as_of is None:
        asked = "; ".join(manifest.questions) or f"{market}: holds no complete day yet"
        return manifest, f"{asked}; deliver more days, or declare `period` in the market's YAML"
    if manifest is None or manifest.as_of is None:
        return manifest, f"no data yet; run `insight ingest --market {market}`"
    return manifest, None
