"""The only door to rows: every rule, in one order, for every table.

A new rule is a file beside these and an entry in `RULES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from insight_lib.door import snapshot
from insight_lib.door.as_of import KnownByThen
from insight_lib.door.consent import Consenting
from insight_lib.door.licence import Licensed
from insight_lib.door.mask import Masked
from insight_lib.door.own import OwnTables
from insight_lib.door.region import engine_below
from insight_lib.door.role import MayRead
from insight_lib.door.rows import InSegment
from insight_lib.door.rule import Rule
from insight_lib.door.snapshot import Pinned
from insight_lib.lake.store import Manifest, market_root, read_manifest
from insight_lib.market_model import Jurisdiction, MarketConfig

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from insight_lib.lifecycle_model import Stage
    from insight_lib.market_request import Request
    from insight_lib.parameters import Project

RULES: tuple[Rule, ...] = (
    MayRead(),
    OwnTables(),
    Pinned(),
    Licensed(),
    KnownByThen(),
    Consenting(),
    InSegment(),
    Masked(),
)


@dataclass
class Door:
    """One market's rows, as one stage may see them; each table that is opened is noted."""

    project: Project
    stage: Stage
    request: Request
    note_use: Callable[[str, ir.Table], None]
    _opened: dict[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> MarketConfig:
        return self.project.market(self.request.market)

    @property
    def jurisdiction(self) -> Jurisdiction:
        return self.project.jurisdictions[self.config.jurisdiction]

    @property
    def root(self) -> Path:
        """Where the market's tables stand, in its region."""
        return market_root(self.project.lake_dir, self.config.region, self.config.id)

    def manifest(self) -> Manifest | None:
        """What the last ingest saw, kept and refused."""
        return read_manifest(self.project.lake_dir, self.config.region, self.config.id)

    @cached_property
    def engine(self) -> Any:
        return engine_below(self.root)

    def open(self, name: str) -> ir.Table:
        """A table as the rules let it through.

        Raises:
            Unavailable: The market has no such table; says what it would take.
            Refused: A rule forbids it.
        """
        if name not in self._opened:
            for rule in RULES:
                rule.refuse(self, name)
            table = snapshot.read(self, name)
            for rule in RULES:
                table = rule.restrict(self, name, table)
            self._opened[name] = table
            self.note_use(name, table)
        return self._opened[name]
