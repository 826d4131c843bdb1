"""`open_market`: the one handle a notebook holds; rows reach it through the door alone."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from insight_lib.door import Door
from insight_lib.door import Refused as Refused
from insight_lib.door import Unavailable as Unavailable
from insight_lib.door.as_of import as_known, has_come
from insight_lib.door.consent import agreeing
from insight_lib.door.licence import check as check_licence
from insight_lib.door.licence import sources_of
from insight_lib.door.rows import in_segment
from insight_lib.door.small_cell import for_others, refuse_nameless
from insight_lib.door.snapshot import folder_of
from insight_lib.door.snapshot import read as read_snapshot
from insight_lib.lake.aggregates import read_aggregates, write_aggregate
from insight_lib.lake.decisions import append_decisions, read_decisions
from insight_lib.lake.links import why_absent
from insight_lib.lake.store import (
    LakeError,
    Manifest,
    read_commit,
    write_atomically,
    write_table,
)
from insight_lib.lifecycle_model import Stage
from insight_lib.market_model import Jurisdiction, MarketConfig
from insight_lib.market_request import Request, interactive_request, run_request
from insight_lib.pages import Pages
from insight_lib.parameter_model import Parameters
from insight_lib.parameters import Project, append_to_register, find_root, load_project
from insight_lib.registers import Purpose, Registers
from insight_lib.schema import TABLES

if TYPE_CHECKING:
    import ibis.expr.types as ir
    import pandas as pd
    import pyarrow as pa


@dataclass
class Market(Pages):
    """One market as one stage may see it."""

    project: Project
    stage: Stage
    request: Request
    _used: dict[str, Any] = field(default_factory=lambda: {"tables": {}, "published": {}})

    @cached_property
    def _door(self) -> Door:
        return Door(self.project, self.stage, self.request, self._note_use)

    def __repr__(self) -> str:
        return f"{self.title}, data to {self.as_of}, {self.stage.purpose} ({self.request.role})"

    @property
    def id(self) -> str:
        return self.request.market

    @property
    def config(self) -> MarketConfig:
        return self.project.market(self.id)

    @property
    def registers(self) -> Registers:
        return self.project.registers

    @property
    def jurisdiction(self) -> Jurisdiction:
        return self._door.jurisdiction

    @cached_property
    def parameters(self) -> Parameters:
        return self.project.resolve(self.id, self.request.overrides)

    @property
    def root(self) -> Path:
        """Where the market's tables stand, in its region."""
        return self._door.root

    @property
    def title(self) -> str:
        return self.config.title

    @property
    def currency(self) -> str:
        return self.config.currency

    @property
    def zone(self) -> str:
        return self.config.zone

    @property
    def as_of(self) -> date:
        """The last complete day that this run knows of."""
        return self.request.as_of

    @property
    def segment(self) -> str | None:
        return self.request.segment

    @property
    def versions(self) -> Mapping[str, int]:
        """Snapshot of each table that this run reads."""
        return self.request.versions

    def has(self, table: str) -> bool:
        """Whether the market has this table at this snapshot."""
        return table in self.request.versions

    def table(self, name: str) -> ir.Table:
        """A canonical or published table, restricted to what this run may read.

        Raises:
            Unavailable: The market has no such table; says what it would take.
            Refused: Role, licence or consent law forbids it.
        """
        return self._door.open(name)

    def rows(self, name: str) -> ir.Table:
        """A canonical table as `table` gives it, or one without rows where the market has none.

        Raises:
            Refused: Role, licence or consent law forbids it.
        """
        if self.has(name):
            return self.table(name)
        columns = (f'CAST(NULL AS {c.type.value}) AS "{c.name}"' for c in TABLES[name].columns)
        return self._door.engine.sql(f"SELECT {', '.join(columns)} WHERE false")

    def publish_table(self, name: str, frame: pd.DataFrame | pa.Table | ir.Table) -> int:
        """Write a derived table in one commit, with its lineage, and return its version.

        Args:
            name: One of the tables that the stage declares in `lifecycle.yaml`.

        Raises:
            Refused: The stage does not declare this table.
        """
        import pandas as pd
        import pyarrow as pa

        if name not in self.stage.publishes + self.stage.may_publish:
            raise Refused(
                f"stage {self.stage.id} does not publish {name!r}; "
                "declare it under `publishes` in parameters/lifecycle.yaml"
            )
        if isinstance(frame, pa.Table):
            data = frame
        elif isinstance(frame, pd.DataFrame):
            data = pa.Table.from_pandas(frame, preserve_index=False)
        else:
            data = frame.to_pyarrow()
        stored = f"{name}@{self.segment}" if self.segment else name
        refuse_nameless(name, data.column_names)
        sources = {table for used in self._used["tables"] for table in sources_of(self._door, used)}
        lineage = {n: used["version"] for n, used in self._used["tables"].items()}
        version = write_table(
            self.root / stored,
            data,
            {
                "stage": self.stage.id,
                "as_of": self.as_of.isoformat(),
                "inputs": json.dumps(lineage, sort_keys=True),
                "sources": json.dumps(sorted(sources)),
                "is_usual": json.dumps(not self.request.has_overrides),
            },
        )
        self._used["published"][name] = {"version": version, "rows": data.num_rows}
        self._record()
        return version

    def publish_aggregate(self, name: str, frame: pd.DataFrame) -> None:
        """Give a small table of aggregates to other markets; only these cross borders.

        Args:
            name: One of the stage's `publishes_aggregates`.
            frame: Text and numbers, with a column `n` of the customers behind each row; rows
                with fewer than the minimum cell size are left out.

        Raises:
            Refused: The stage does not declare it, it has no `n`, it holds a column that
                names or describes one person, or it is larger than an aggregate is.
        """
        if name not in self.stage.publishes_aggregates:
            raise Refused(
                f"stage {self.stage.id} does not give {name!r} to other markets; "
                "declare it under `publishes_aggregates` in parameters/lifecycle.yaml"
            )
        kept = for_others(name, frame, minimum_cell_size=self.parameters.general.minimum_cell_size)
        if not self.request.has_overrides:  # a trial of one market is not what others go by
            write_aggregate(self.project.lake_dir, name, self.id, self.as_of, kept)

    def aggregates(self, name: str) -> pd.DataFrame:
        """What the other declared markets gave last, up to `as_of`: market, as_of, their columns.

        Raises:
            Refused: The stage does not declare that it reads it.
        """
        if name not in self.stage.reads_aggregates:
            raise Refused(
                f"stage {self.stage.id} does not read {name!r}; "
                "declare it under `reads_aggregates` in parameters/lifecycle.yaml"
            )
        markets = {p.stem for p in (self.project.parameters_dir / "markets").glob("*.yaml")}
        return read_aggregates(self.project.lake_dir, name, markets - {self.id}, until=self.as_of)

    def _note_use(self, name: str, table: ir.Table) -> None:
        """Keep what this run has read, with where it comes from."""
        self._used["tables"][name] = {
            "version": self.request.versions[name],
            "rows": int(table.count().execute()),
            "columns": list(table.columns),
            **self._made_from(name),
        }
        self._record()

    def _made_from(self, name: str) -> dict[str, Any]:
        """Files of a canonical table by hash; stage and inputs of a published one."""
        version = self.request.versions[name]
        if name not in self.config.sources:
            commit = read_commit(folder_of(self._door, name), version)
            inputs = json.loads(commit.get("inputs", "{}"))
            return {"made_by": commit.get("stage", ""), "inputs": inputs}
        manifest = self.manifest()
        entry = manifest.tables.get(name) if manifest else None
        files = entry.files if entry and entry.version == version else ()
        return {"files": [{"name": f["name"], "sha256": f["sha256"]} for f in files]}

    def consenting(self, table: ir.Table, purpose: Purpose) -> ir.Table:
        """The rows of a table whose customers agree to a further purpose, e.g. `activation`.

        Raises:
            Refused: A licence behind what this run has read does not grant the purpose, or
                the law asks for consent and there are no consents.
        """
        for name in self._used["tables"]:
            check_licence(self._door, name, purpose)
        return agreeing(self._door, table, "customer_id", purpose)

    def kept(self, name: str) -> Path:
        """A folder of the market's own, in its region, that outlives runs.

        Raises:
            Refused: The stage does not declare it under `keeps`.
        """
        if name not in self.stage.keeps:
            raise Refused(
                f"stage {self.stage.id} does not keep {name!r}; "
                "declare it under `keeps` in parameters/lifecycle.yaml"
            )
        folder = self.root / f"_{name}"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    def decisions(self, subject: str) -> list[dict[str, Any]]:
        """What people decided by the end of `as_of` on a subject, e.g. `reviews`, oldest first.

        Raises:
            Refused: The stage does not declare it under `reads_decisions`.
        """
        self._check_subject(subject)
        rows = read_decisions(self.root, subject)
        return [row for row in rows if row["day"] <= self.as_of.isoformat()]

    def _check_subject(self, subject: str) -> None:
        if subject not in self.stage.reads_decisions:
            raise Refused(
                f"stage {self.stage.id} does not read decisions on {subject!r}; "
                "declare it under `reads_decisions` in parameters/lifecycle.yaml"
            )

    def add_decision(self, subject: str, row: Mapping[str, Any]) -> None:
        """Keep what a person decided at the notebook on a subject, e.g. `reviews`.

        Raises:
            Refused: The stage does not declare it under `reads_decisions`.
            LakeError: Another process holds the market for too long.
        """
        self._check_subject(subject)
        append_decisions(self.root, subject, [row])

    def findings(self, *, before: bool = False) -> list[dict[str, Any]]:
        """Findings of this market's other stages, as published for `as_of`.

        Args:
            before: Those of the latest earlier day that has any, instead.

        Returns:
            As in findings.json, each with its `stage` and `as_of`; of the stages that this one
            declares under `after`, in that order.
        """
        folder = self.project.reports_dir / self.id
        today = self.as_of.isoformat()
        days = sorted(p.name for p in folder.glob("????-??-??") if p.name < today)
        for day in reversed(days) if before else [today]:
            found = []
            for stage in self.stage.after:
                path = folder / day / stage / "findings.json"
                if path.is_file():
                    head = {"stage": stage, "as_of": day}
                    found += [head | f for f in json.loads(path.read_text())["findings"]]
            if found:
                return found
        return []

    def add_to_register(self, register: str, entry: str) -> None:
        """Add an entry that a person confirmed to a register, e.g. `segment_names`.

        Args:
            entry: YAML, a list of one.

        Raises:
            ParameterFaults: The register would not be valid with it; nothing is written.
        """
        append_to_register(self.project.root, register, entry)

    def manifest(self) -> Manifest | None:
        """What the last ingest saw, kept and refused."""
        return self._door.manifest()

    def unread(self, name: str) -> tuple[int, int]:
        """Rows of a table's deliveries that are in no total, and all rows in scope."""
        manifest = self.manifest()
        entry = manifest.tables.get(name) if manifest else None
        if entry is None:
            return 0, 0
        return entry.lost, entry.in_scope

    def lacking(self, name: str, otherwise: str) -> str:
        """Why a table that was delivered may not be read; `otherwise` where it never came."""
        return why_absent(self.manifest(), name) or otherwise

    def coverage(self, name: str) -> tuple[int, int]:
        """How many customers of a table this run may read, and how many there are.

        Only the two counts leave the door.
        """
        if not self.has(name):
            return 0, 0
        schema = TABLES[name]
        customer = str(schema.customer)
        raw = read_snapshot(self._door, name)
        known = as_known(schema, raw, lambda moment: has_come(self._door, moment))
        if customer not in known.columns:
            return 0, 0
        everyone = in_segment(self._door, known, customer)
        allowed = self.table(name)
        return (
            int(allowed[customer].nunique().execute()),
            int(everyone[customer].nunique().execute()),
        )

    def _record(self) -> None:
        """Keep `used.json` beside the run's request true at every moment."""
        if self.request.record:
            content = {**self._used, "parameters": self.parameters.model_dump(mode="json")}
            write_atomically(self.request.record, json.dumps(content, indent=1, sort_keys=True))


def open_market(
    market: str,
    *,
    stage: str,
    as_of: str | date | None = None,
    segment: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    role: str = "analyst",
    root: Path | None = None,
) -> Market:
    """Open one market for one stage.

    Args:
        market: Market id, a file name below `parameters/markets`.
        stage: Stage id of `lifecycle.yaml`; its purpose decides on consent and licence.
        as_of: Last complete day to use; by default the last one in the data.
        segment: Only customers of this published segment.
        overrides: Parameters for this run only, `{"features.repeat_window_days": 60}`.
        role: Role of `registers/roles.yaml` that reads.
        root: Project folder; by default found from the working directory.

    Raises:
        ParameterFaults: The market or an override is unknown, or its file has faults.
        LakeError: The market has not been ingested, or `as_of` is after its data.
    """
    root = root or _root_from_environment()
    project = load_project(root)
    config = project.market(market)
    if stage not in project.stages:
        raise LookupError(f"no stage {stage!r}; lifecycle.yaml has {', '.join(project.stages)}")
    asked = date.fromisoformat(as_of) if isinstance(as_of, str) else as_of
    request = run_request(market, stage)
    if request is None:
        request = interactive_request(project, config, stage, role, segment, asked)
    if asked is not None and asked > request.as_of:
        raise LakeError(
            f"market {market!r}: as_of {asked} is after the last complete day in the data "
            f"({request.as_of}); choose an earlier day or ingest newer data"
        )
    request = replace(
        request, as_of=asked or request.as_of, segment=segment, overrides=dict(overrides or {})
    )
    opened = Market(project=project, stage=project.stages[stage], request=request)
    assert opened.parameters  # unknown overrides are refused here, before any work
    opened._record()
    return opened


def _root_from_environment() -> Path:
    given = os.environ.get("INSIGHT_ROOT")
    return Path(given) if given else find_root()
