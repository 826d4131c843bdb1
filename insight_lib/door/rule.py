"""One rule of the door: it refuses a table, or narrows it, or does neither."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from insight_lib.door.door import Door


class Refused(PermissionError):
    """A rule does not let this read happen; names the rule and where it is written."""


class Unavailable(LookupError):
    """The market does not have this table (yet); says what it would take."""


class Rule:
    """What every rule can do; a rule says which of the two it does."""

    def refuse(self, door: Door, name: str) -> None:
        """Let a table be opened, or not.

        Raises:
            Refused, Unavailable: It may not be, and why.
        """

    def restrict(self, door: Door, name: str, table: ir.Table) -> ir.Table:
        """The part of a table that may come through."""
        del door, name
        return table
