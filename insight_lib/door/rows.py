"""Only the customers of the run's segment, if it is for one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from insight_lib.door.consent import customer_column
from insight_lib.door.rule import Rule

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from insight_lib.door.door import Door


def in_segment(door: Door, table: ir.Table, customer: str) -> ir.Table:
    """The rows of the segment's customers; all rows where the run is for no segment."""
    if door.request.segment is None:
        return table
    members = door.open("segments")
    members = members.filter(members.segment == door.request.segment)
    return table.semi_join(members, table[customer] == members.customer_id)


class InSegment(Rule):
    """Tables of customers are cut to the segment; who is in one, and consents, are not."""

    def restrict(self, door: Door, name: str, table: ir.Table) -> ir.Table:
        customer = customer_column(name, table)
        if customer is None or name in ("segments", "consents"):
            return table
        return in_segment(door, table, customer)
