"""Columns that the market or the role does not show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from insight_lib.door.role import role_of
from insight_lib.door.rule import Rule
from insight_lib.schema import TABLES, Tag

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from insight_lib.door.door import Door


class Masked(Rule):
    """Without the market's removed columns, and those that the role may not see."""

    def restrict(self, door: Door, name: str, table: ir.Table) -> ir.Table:
        role, schema = role_of(door), TABLES.get(name)
        hidden = set(door.config.removed_columns.get(name, ()))
        hidden |= set(role.hidden_columns.get(name, ()))
        # A derived table carries columns of its inputs; a tag follows the column's name.
        tags = {Tag(tag) for tag in role.hidden_tags}
        tagged = (schema,) if schema else TABLES.values()
        hidden |= {c.name for known in tagged for c in known.columns if c.tags & tags}
        dropped = hidden & set(table.columns)
        return table.drop(*dropped) if dropped else table
