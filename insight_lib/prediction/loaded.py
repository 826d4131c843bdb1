"""What every page of stage 05 begins with: the market's tables, targets, snapshots, models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from insight_lib.market_view import MarketView
from insight_lib.prediction.registry import Registry
from insight_lib.prediction.signing import read_key
from insight_lib.prediction.snapshots import Plan, Snapshot, Target

if TYPE_CHECKING:
    from pathlib import Path

    import ibis.expr.types as ir
    import pandas as pd

    from insight_lib.market_model import Jurisdiction, MarketConfig
    from insight_lib.parameter_model import PredictionParameters
    from insight_lib.registers import Purpose
    from insight_lib.run import Run


class Keeper(MarketView, Protocol):
    """A market that keeps models, and what people decided on them."""

    project: Any
    request: Any

    @property
    def config(self) -> MarketConfig: ...
    @property
    def jurisdiction(self) -> Jurisdiction: ...

    def kept(self, name: str) -> Path:
        """A folder of the market's own that outlives runs."""

    @property
    def segment(self) -> str | None: ...

    def aggregates(self, name: str) -> pd.DataFrame:
        """What other markets gave last."""

    def consenting(self, table: ir.Table, purpose: Purpose) -> ir.Table:
        """The rows of a table whose customers agree to a purpose."""

    def add_decision(self, subject: str, row: Mapping[str, Any]) -> None:
        """Keep what a person decided on a subject."""

    def decisions(self, subject: str) -> list[dict[str, Any]]:
        """What people decided by the end of `as_of` on a subject."""


def registry(market: Keeper) -> Registry:
    """The market's models, signed with the project's key."""
    key = read_key(market.project.root / ".insight" / "signing.key")
    return Registry(market.kept("models"), key, market.decisions("models"))


def plan(market: MarketView) -> Plan:
    """Which snapshots the market takes."""
    return Plan.of(market.parameters)


def trade(
    market: MarketView, transactions: ir.Table | None = None, contracts: ir.Table | None = None
) -> dict[str, ir.Table]:
    """Orders, contracts or both, by name; where there is neither, orders without a row."""
    found = {"transactions": transactions, "contracts": contracts}
    held = {name: table for name, table in found.items() if table is not None}
    return held or {"transactions": market.rows("transactions")}


def sources(
    trade: dict[str, ir.Table],
    products: ir.Table | None = None,
    customers: ir.Table | None = None,
    interactions: ir.Table | None = None,
    payments: ir.Table | None = None,
) -> dict[str, ir.Table]:
    """The tables that snapshots are taken from, by name."""
    found = {
        "products": products,
        "customers": customers,
        "interactions": interactions,
        "payments": payments,
    }
    return trade | {name: table for name, table in found.items() if table is not None}


def targets(
    plan: Plan, sources: dict[str, ir.Table], run: Run[PredictionParameters]
) -> tuple[Target, ...]:
    """What can be predicted here."""
    return plan.targets(sources, as_of=run.as_of, currency=run.currency)


def snapshots(
    plan: Plan,
    sources: dict[str, ir.Table],
    targets: tuple[Target, ...],
    run: Run[PredictionParameters],
) -> list[Snapshot]:
    """Customers on several days up to today, oldest first; the last has no labels.

    Raises:
        TooFew: The data do not reach back far enough.
    """
    return plan.take(sources, targets, as_of=run.as_of)
