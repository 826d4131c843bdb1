"""Which state of a table: the version that the run pinned, below the market's root."""

from __future__ import annotations

from typing import TYPE_CHECKING

from insight_lib.door.rule import Rule, Unavailable
from insight_lib.lake.links import why_absent
from insight_lib.lake.store import empty_table, table_files
from insight_lib.schema import TABLES

if TYPE_CHECKING:
    from pathlib import Path

    import ibis.expr.types as ir

    from insight_lib.door.door import Door


def folder_of(door: Door, name: str) -> Path:
    """Where a table stands; a segment's run reads what the same segment's run published."""
    owner = door.project.publisher(name)
    # `segments` says who is in a segment, so it is of the whole market.
    if door.request.segment and owner and owner.per_segment and name != "segments":
        return door.root / f"{name}@{door.request.segment}"
    return door.root / name


def read(door: Door, name: str) -> ir.Table:
    """The pinned snapshot of a table, before any other rule."""
    version, folder = door.request.versions[name], folder_of(door, name)
    files, _ = table_files(folder, version)
    view = f"{name}_{version}"
    if files:
        return door.engine.read_parquet(files, table_name=view)
    # No rows, so no file.
    return door.engine.create_table(view, empty_table(folder, version), temp=True, overwrite=True)


class Pinned(Rule):
    """The run knows a version of the table."""

    def refuse(self, door: Door, name: str) -> None:
        if name in door.request.versions:
            return
        market = door.config.id
        where = why_absent(door.manifest(), name) or (
            f"declare a source for it in parameters/markets/{market}.yaml"
            if name in TABLES
            else f"run the stage that publishes {name}"
        )
        raise Unavailable(f"{market} has no table {name!r}; {where}")
