"""A market as an analysis may see it: what `market.Market` gives, without the door behind it."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import ibis.expr.types as ir
    import pandas as pd

    from insight_lib.market_model import MarketConfig
    from insight_lib.parameter_model import Parameters
    from insight_lib.registers import Registers


def optional(table: ir.Table, name: str, dtype: str) -> ir.Value:
    """A column that a market may not have: missing values where it is not there."""
    import ibis

    return table[name].cast(dtype) if name in table.columns else ibis.null(dtype)


class MarketView(Protocol):
    """Read only; rows come restricted to what the run may see."""

    parameters: Parameters
    registers: Registers

    @property
    def id(self) -> str: ...
    @property
    def config(self) -> MarketConfig: ...
    @property
    def currency(self) -> str: ...
    @property
    def zone(self) -> str: ...
    @property
    def as_of(self) -> date: ...
    def has(self, table: str) -> bool:
        """Whether the market has this table."""

    def lacking(self, name: str, otherwise: str) -> str:
        """Why a table that was delivered may not be read; `otherwise` where it never came."""

    def table(self, name: str) -> ir.Table:
        """A table, restricted to what this run may read."""

    def findings(self, *, before: bool = False) -> list[dict[str, Any]]:
        """Findings of the market's other stages for the day, or of the latest earlier day."""

    def decisions(self, subject: str) -> list[dict[str, Any]]:
        """What people decided on a subject by the end of the day, oldest first."""

    def rows(self, name: str) -> ir.Table:
        """The same, without rows where the market has no such table."""

    def aggregates(self, name: str) -> pd.DataFrame:
        """What the other declared markets gave last: market, as_of, their columns."""

    def unread(self, name: str) -> tuple[int, int]:
        """Rows of a table's deliveries that are in no total, and all rows in scope."""

    def coverage(self, name: str) -> tuple[int, int]:
        """How many customers of a table this run may read, and how many there are."""
