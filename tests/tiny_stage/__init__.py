"""A tiny stage: how large a basket is. Made by docs/how-to/add-a-stage.md, step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from insight_lib.charts import Caption, Chart, plot_bars
from insight_lib.findings import Measured, TooFew

if TYPE_CHECKING:
    import ibis.expr.types as ir
    import pandas as pd

    from insight_lib.run import Run

__all__ = ["basket", "departments", "lines"]


def lines(transactions: ir.Table) -> pd.DataFrame:
    """Pieces of each order: order_id, n_pieces."""
    by_order = transactions.group_by("order_id").agg(n_pieces=transactions.quantity.sum())
    return by_order.order_by("order_id").to_pandas()


@dataclass(frozen=True, kw_only=True)
class Basket:
    """How many pieces an order holds."""

    case: Literal["large", "small"]
    pieces: Measured
    frame: pd.DataFrame

    def draw(self, caption: Caption) -> Chart:
        return plot_bars(
            self.frame, caption=caption, label="pieces", value="orders", unit="count", n="orders"
        )


def basket(lines: pd.DataFrame, run: Run[Any], enough: float = 3.0) -> Basket:
    """Mean pieces of an order, and orders by pieces."""
    if len(lines) < run.smallest_cell:
        raise TooFew(f"{len(lines)} orders, and it takes {run.smallest_cell}")
    mean = float(lines["n_pieces"].mean())
    counts = lines["n_pieces"].astype(int).value_counts().sort_index()
    return Basket(
        case="large" if mean >= enough else "small",
        pieces=Measured(value=mean, unit="ratio", n=len(lines), as_of=run.as_of),
        frame=counts.rename_axis("pieces").rename("orders").reset_index().astype({"pieces": str}),
    )


@dataclass(frozen=True, kw_only=True)
class Departments:
    """How many departments the range has."""

    n: int


def departments(products: ir.Table) -> Departments:
    """Departments of the range."""
    return Departments(n=int(products.department.nunique().execute()))
