"""Nothing that came to be known after the last day of the run."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from insight_lib.door.rule import Rule
from insight_lib.schema import TABLES, TableSchema

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from insight_lib.door.door import Door


def has_come(door: Door, moment: ir.Value) -> ir.BooleanValue:
    """Whether a day or an instant is not after `as_of` on the market's clock."""
    import ibis

    if moment.type().is_timestamp():
        return moment < ibis.literal(end_of_as_of(door), type="timestamp('UTC')")
    return moment <= ibis.date(door.request.as_of.isoformat())


def end_of_as_of(door: Door) -> datetime:
    """The first instant after `as_of` on the market's clock, in UTC."""
    day = door.request.as_of + timedelta(days=1)
    midnight = datetime.combine(day, time(), ZoneInfo(door.config.zone))
    return midnight.astimezone(ZoneInfo("UTC"))


def as_known(
    schema: TableSchema, table: ir.Table, has_come: Callable[[ir.Value], ir.BooleanValue]
) -> ir.Table:
    """The rows of a canonical table, and of them the values, that were known at a day's end.

    Consents are not cut: what a person decides counts from then on, for every day.

    Args:
        has_come: Whether a day or an instant is not after that day, on the market's clock.
    """
    import ibis

    if schema.name == "consents":
        return table

    def is_known(known_from: str) -> ir.BooleanValue:
        # A value whose day was not written down is known from the row's own day: hiding it
        # would turn an end without a date, or a failed payment, into none.
        return has_come(table[known_from]) | table[known_from].isnull()

    later = {
        column.name: ibis.ifelse(is_known(column.known_from), table[column.name], None)
        for column in schema.columns
        if column.known_from and column.known_from in table.columns and column.name in table.columns
    }
    if schema.time and schema.time in table.columns:
        moment = table[schema.time]
        table = table.filter(has_come(moment) | moment.isnull())
    return table.mutate(**later) if later else table


class KnownByThen(Rule):
    """Rows and values of canonical tables as they were known at the end of `as_of`."""

    def restrict(self, door: Door, name: str, table: ir.Table) -> ir.Table:
        import ibis

        schema = TABLES.get(name)
        if schema is None:
            return table
        table = as_known(schema, table, lambda moment: has_come(door, moment))
        if schema.customer and schema.customer not in table.columns:
            table = table.mutate(**{schema.customer: ibis.null("string")})  # nobody is known
        return table
