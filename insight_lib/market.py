"""`open_market`: the one handle a notebook holds, and the only door to rows.

What comes through is decided here, in the query itself: the region's root, the pinned
snapshot, `as_of`, purpose and effective consent, licence, role, removed columns, segment.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from insight_lib.lake.access import as_known, refusal, with_consent
from insight_lib.lake.aggregates import read_aggregates, write_aggregate
from insight_lib.lake.decisions import append_decisions, read_decisions
from insight_lib.lake.links import why_absent
from insight_lib.lake.store import (
    LakeError,
    Manifest,
    empty_table,
    market_root,
    read_manifest,
    read_sources,
    table_files,
    write_atomically,
    write_table,
)
from insight_lib.market_model import Jurisdiction, MarketConfig
from insight_lib.market_request import Refused, Request, interactive_request, run_request
from insight_lib.pages import Pages
from insight_lib.parameter_model import Parameters, Stage
from insight_lib.parameters import Project, append_to_register, find_root, load_project
from insight_lib.registers import Purpose, Registers, Role
from insight_lib.schema import TABLES, Tag

if TYPE_CHECKING:
    import ibis.expr.types as ir
    import pandas as pd
    import pyarrow as pa

_ENGINE_MEMORY = "2GB"
_LARGEST_AGGREGATE = 1_000


class Unavailable(LookupError):
    """The market does not have this table (yet); says what it would take."""


@dataclass
class Market(Pages):
    """One market as one stage may see it."""

    project: Project
    stage: Stage
    request: Request
    _used: dict[str, Any] = field(default_factory=lambda: {"tables": {}, "published": {}})
    _connection: Any = None
    _expressions: dict[str, Any] = field(default_factory=dict)

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
        return self.project.jurisdictions[self.config.jurisdiction]

    @cached_property
    def parameters(self) -> Parameters:
        return self.project.resolve(self.id, self.request.overrides)

    @property
    def root(self) -> Path:
        """Where the market's tables stand, in its region."""
        return market_root(self.project.lake_dir, self.config.region, self.id)

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
        if name not in self._expressions:
            self._expressions[name] = self._open(name)
        return self._expressions[name]

    def rows(self, name: str) -> ir.Table:
        """A canonical table as `table` gives it, or one without rows where the market has none.

        Raises:
            Refused: Role, licence or consent law forbids it.
        """
        if self.has(name):
            return self.table(name)
        columns = (f'CAST(NULL AS {c.type.value}) AS "{c.name}"' for c in TABLES[name].columns)
        return self._connect().sql(f"SELECT {', '.join(columns)} WHERE false")

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
        persons = {
            column.name
            for schema in TABLES.values()
            for column in schema.columns
            if {Tag.IDENTIFIER, Tag.PERSONAL} <= column.tags
        }
        if "customer_id" not in data.column_names and persons & set(data.column_names):
            raise Refused(
                f"{name!r} names persons without customer_id, so consent could not follow it; "
                "add customer_id or drop the column"
            )
        sources = {table for used in self._used["tables"] for table in self._sources_of(used)}
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
        personal = {
            column.name
            for schema in TABLES.values()
            for column in schema.columns
            if column.tags & {Tag.IDENTIFIER, Tag.PERSONAL, Tag.SENSITIVE}
        }
        if "n" not in frame or (bad := sorted(personal & set(frame.columns))):
            what = "has no column n" if "n" not in frame else f"holds {', '.join(bad)}"
            raise Refused(f"aggregate {name!r} {what}; only aggregates cross borders")
        kept = frame[frame["n"] >= self.parameters.general.minimum_cell_size]
        if len(kept) > _LARGEST_AGGREGATE:
            raise Refused(f"aggregate {name!r} has {len(kept):,} rows; that is not an aggregate")
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

    def _open(self, name: str) -> ir.Table:
        role = self._role()
        owner = self.project.publisher(name)
        if owner and name in owner.own_tables and owner.id != self.stage.id:
            raise Refused(
                f"{name!r} holds scores that nobody has released yet; only stage {owner.id} "
                "reads it (parameters/lifecycle.yaml, `own_tables`). "
                "Read `scores` for what is released"
            )
        if name not in self.request.versions:
            where = self.lacking(
                name, f"declare a source for it in parameters/markets/{self.id}.yaml"
            )
            if name not in TABLES:
                where = f"run the stage that publishes {name}"
            raise Unavailable(f"{self.id} has no table {name!r}; {where}")
        self._check_licence(name, self.stage.purpose)
        table = self._raw(name)
        table = self._restrict(name, table, role)
        self._used["tables"][name] = {
            "version": self.request.versions[name],
            "rows": int(table.count().execute()),
            "columns": list(table.columns),
        }
        self._record()
        return table

    def _folder(self, name: str) -> Path:
        """Where a table stands; a segment's run reads what the same segment's run published."""
        owner = self.project.publisher(name)
        # `segments` says who is in a segment, so it is of the whole market.
        if self.segment and owner and owner.per_segment and name != "segments":
            return self.root / f"{name}@{self.segment}"
        return self.root / name

    def _raw(self, name: str) -> ir.Table:
        """The pinned snapshot of a table, before any rule."""
        version, folder = self.request.versions[name], self._folder(name)
        files, _ = table_files(folder, version)
        connection, view = self._connect(), f"{name}_{version}"
        if files:
            return connection.read_parquet(files, table_name=view)
        # No rows, so no file.
        return connection.create_table(
            view, empty_table(folder, version), temp=True, overwrite=True
        )

    def _role(self) -> Role:
        role = self.registers.roles.get(self.request.role)
        known = "parameters/registers/roles.yaml"
        if role is None:
            raise Refused(f"role {self.request.role!r} is not in {known}; add it or choose another")
        if "all" not in role.markets and self.id not in role.markets:
            raise Refused(f"role {self.request.role!r} may not read {self.id}: {known}, `markets`")
        if self.stage.purpose not in role.purposes:
            what = f"role {self.request.role!r} may not work for {self.stage.purpose}"
            raise Refused(f"{what}: {known}, `purposes`")
        if role.expires and self.as_of > role.expires:
            raise Refused(
                f"role {self.request.role!r} expired on {role.expires}: {known}, `expires`"
            )
        return role

    def _sources_of(self, name: str) -> list[str]:
        """The canonical tables that a table was made from, through others too."""
        if name in self.config.sources:
            return [name]
        sources = read_sources(self._folder(name), self.request.versions[name])
        return [table for table in sources if table in self.config.sources]

    def _check_licence(self, name: str, purpose: Purpose) -> None:
        source = self.config.sources.get(name)
        if source is None:  # derived: the licences of what it was made from go with it
            for made_from in self._sources_of(name):
                self._check_licence(made_from, purpose)
            return
        if reason := refusal(
            self.registers.licences[source.licence],
            purpose=purpose,
            country=self.config.country,
            today=self.project.today,
        ):
            where = f"parameters/registers/licences.yaml, {source.licence}"
            raise Refused(f"{self.id}.{name}: {reason} ({where})")

    def _restrict(self, name: str, table: ir.Table, role: Role) -> ir.Table:
        import ibis

        schema = TABLES.get(name)
        if schema:
            table = as_known(schema, table, self._has_come)
            if schema.customer and schema.customer not in table.columns:
                table = table.mutate(**{schema.customer: ibis.null("string")})  # nobody is known
        customer = schema.customer if schema else "customer_id"
        if customer and customer in table.columns:
            if name != "consents":
                table = self._with_consent(table, customer, self.stage.purpose)
                owner = self.project.publisher(name)
                if owner and name in owner.used_for:  # made to be used so, whoever reads it
                    table = self._with_consent(table, customer, owner.used_for[name])
            if name not in ("segments", "consents"):
                table = self._in_segment(table, customer)
        hidden = set(self.config.removed_columns.get(name, ()))
        hidden |= set(role.hidden_columns.get(name, ()))
        # A derived table carries columns of its inputs; a tag follows the column's name.
        tags = {Tag(tag) for tag in role.hidden_tags}
        tagged = (schema,) if schema else TABLES.values()
        hidden |= {c.name for known in tagged for c in known.columns if c.tags & tags}
        if dropped := hidden & set(table.columns):
            table = table.drop(*dropped)
        return table

    def _in_segment(self, table: ir.Table, customer: str) -> ir.Table:
        """Only the customers of this run's segment, if it is for one."""
        if self.segment is None:
            return table
        members = self.table("segments")
        members = members.filter(members.segment == self.segment)
        return table.semi_join(members, table[customer] == members.customer_id)

    def consenting(self, table: ir.Table, purpose: Purpose) -> ir.Table:
        """The rows of a table whose customers agree to a further purpose, e.g. `activation`.

        Raises:
            Refused: A licence behind what this run has read does not grant the purpose, or
                the law asks for consent and there are no consents.
        """
        for name in self._used["tables"]:
            for source in self._sources_of(name):
                self._check_licence(source, purpose)
        return self._with_consent(table, "customer_id", purpose)

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

    def _with_consent(self, table: ir.Table, customer: str, purpose: Purpose) -> ir.Table:
        rule = self.jurisdiction.consent[purpose]
        if not self.has("consents"):
            if rule == "opt_in":
                raise Refused(
                    f"{self.id}: {self.config.jurisdiction} asks for consent to {purpose} "
                    "and there is no consents table; declare a source for it"
                )
            return table  # opt-out, and nobody has opted out
        consents = self.table("consents")
        consents = consents.filter(consents.purpose == purpose)
        then = consents.filter(self._has_come(consents.decided_at))
        return with_consent(table, customer, then, consents, rule=rule)

    def manifest(self) -> Manifest | None:
        """What the last ingest saw, kept and refused."""
        return read_manifest(self.project.lake_dir, self.config.region, self.id)

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
        known = as_known(schema, self._raw(name), self._has_come)
        if customer not in known.columns:
            return 0, 0
        everyone = self._in_segment(known, customer)
        allowed = self.table(name)
        return (
            int(allowed[customer].nunique().execute()),
            int(everyone[customer].nunique().execute()),
        )

    def _has_come(self, moment: ir.Value) -> ir.BooleanValue:
        """Whether a day or an instant is not after `as_of` on the market's clock."""
        import ibis

        if moment.type().is_timestamp():
            return moment < ibis.literal(self._end_of_as_of(), type="timestamp('UTC')")
        return moment <= ibis.date(self.as_of.isoformat())

    def _end_of_as_of(self) -> datetime:
        """The first instant after `as_of` on the market's clock, in UTC."""
        midnight = datetime.combine(self.as_of + timedelta(days=1), time(), ZoneInfo(self.zone))
        return midnight.astimezone(ZoneInfo("UTC"))

    def _connect(self) -> Any:
        """An engine that can read below this market's root and nowhere else, for good."""
        if self._connection is None:
            import duckdb
            import ibis

            raw = duckdb.connect(config={"memory_limit": _ENGINE_MEMORY})
            raw.execute("SET TimeZone='UTC'")
            # Sums of doubles depend on the order of the parts; one order, one result.
            raw.execute("SET preserve_insertion_order=true")
            connection = ibis.duckdb.from_connection(raw)
            raw.execute(f"SET allowed_directories=['{str(self.root).replace(chr(39), '')}/']")
            raw.execute("SET enable_external_access=false")
            raw.execute("SET lock_configuration=true")
            self._connection = connection
        return self._connection

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
