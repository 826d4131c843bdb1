"""Whether revenue moved, by which driver, and in which category."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Literal

import pandas as pd

from insight_lib.charts import Caption, Chart, Mark, plot_dots, plot_waterfall
from insight_lib.features.customers import (
    Comparison,
    category_level,
    choose_comparison,
    window_totals,
)
from insight_lib.features.moves import Judged, Move, enough, judged, move_of
from insight_lib.features.record import Record
from insight_lib.features.value import (
    CategoryMoves,
    Driver,
    RevenueChange,
    estimate_category_moves,
    estimate_revenue_change,
)
from insight_lib.findings import Estimate, Measured, TooFew
from insight_lib.orders import orders
from insight_lib.prose import Name

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from insight_lib.parameter_model import FeatureParameters
    from insight_lib.run import Run


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What stands against what: the recent window, and the one that it is compared with."""

    comparison: Comparison

    @property
    def last(self) -> date:
        """Last day of the recent window."""
        return self.comparison.after[1]

    @property
    def days(self) -> Measured:
        """Length of each window."""
        return self._days(self.comparison.days)

    @property
    def settling(self) -> Measured:
        """How many of the latest days are left out."""
        return self._days(self.comparison.settling_days)

    @property
    def is_settled(self) -> bool:
        return self.comparison.settling_days > 0

    @property
    def settled_note(self) -> bool:
        return self.is_settled

    @property
    def is_year_before(self) -> bool:
        return self.comparison.is_year_before

    @property
    def before(self) -> Literal["year", "window"]:
        return "year" if self.is_year_before else "window"

    def _days(self, days: int) -> Measured:
        as_of = self.last + timedelta(days=self.comparison.settling_days)
        return Measured(value=days, unit="days", n=1, as_of=as_of)


def compared(
    buyers: pd.DataFrame, record: Record, settled_after: int, run: Run[FeatureParameters]
) -> Comparison:
    """The recent window, and the same a year before or the one before it."""
    del buyers  # of too few nothing is compared
    days = run.parameters.recent_window_days
    return choose_comparison(run.as_of, days=days, held=record.held, settling_days=settled_after)


def revenue_change(
    lines: ir.Table, compared: Comparison, run: Run[FeatureParameters]
) -> RevenueChange:
    """Revenue and orders of both windows, of one age.

    Raises:
        TooFew: One of the windows holds no orders.
    """
    aged = orders(
        lines,
        free_orders_count=run.general.free_orders_count,
        returned_within_days=compared.settling_days or None,
    )
    totals = window_totals(aged, compared)
    return estimate_revenue_change(totals, compared, currency=run.currency, **run.range)


@dataclass(frozen=True, kw_only=True)
class Revenue(Compared):
    """Whether revenue moved, and which driver moved it most.

    Attributes:
        smallest, enough: The smallest change that matters, in the unit in which it is said.
        advice: What the move allows to be said.
        driver, moved: The one that moved it most, and by how much.
        is_whole: Whether nearly all order lines could be read; else it is no revenue.
        unread: Share of the order lines that is not in it.
    """

    case: Judged
    revenue: Measured
    revenue_before: Measured
    change: Estimate
    move: Move
    smallest: float
    enough: Measured | None
    advice: Literal["same", "no cause yet", "taken back", "driver"]
    drivers: tuple[tuple[Driver, float], ...]
    driver: Driver | None
    moved: Measured | None
    is_whole: bool
    unread: Measured | None

    @property
    def is_driver_clear(self) -> bool:
        """Whether revenue surely moved, and there is a driver to name."""
        return self.driver is not None and self.change.excludes(0)

    @property
    def has_unread(self) -> bool:
        return self.unread is not None

    def draw(self, caption: Caption) -> Chart | None:
        """Revenue before to revenue after, by driver; none where the split is not defined."""
        if not self.drivers:
            return None
        return plot_waterfall(
            list(self.drivers), caption=caption, start=("Before", self.revenue_before.value),
            end="Now", unit=self.revenue.unit,
        )  # fmt: skip


def revenue(revenue_change: RevenueChange, record: Record, run: Run[FeatureParameters]) -> Revenue:
    """Revenue of the recent window against the other; lines that nobody read decide nothing."""
    return revenue_of(
        revenue_change, record, run.parameters.smallest_order_value_change_that_matters
    )


def revenue_of(result: RevenueChange, record: Record, share: float) -> Revenue:
    """The same, judged by the smallest change that matters as a share of revenue."""
    change, amount = result.change, result.revenue
    largest = max(abs(amount.value), abs(result.revenue_before.value))
    smallest = share if result.drivers else share * largest
    verdict = judged(change, smallest)
    driver, effect = max(
        result.drivers, key=lambda pair: (abs(pair[1]), pair[0]), default=(None, 0.0)
    )
    return Revenue(
        case=verdict if record.is_whole else "cannot tell yet",
        comparison=result.comparison,
        revenue=amount,
        revenue_before=result.revenue_before,
        change=change,
        move=move_of(change, smallest),
        smallest=smallest,
        enough=enough(change, smallest),
        advice="same"
        if verdict == "does not matter"
        else "no cause yet"
        if not change.excludes(0)
        else "driver"
        if result.drivers
        else "taken back",
        drivers=result.drivers,
        driver=driver,
        moved=Measured(value=effect, unit=amount.unit, n=amount.n, as_of=amount.as_of),
        is_whole=record.is_whole,
        unread=record.unread,
    )


@dataclass(frozen=True, kw_only=True)
class OrderAmount(Compared):
    """Whether spend per order moved.

    Attributes:
        change: None where it is not defined.
        smallest, enough: The smallest change that matters.
    """

    case: Literal["matters", "does not matter", "cannot tell yet", "not defined"]
    amount: Estimate
    change: Estimate | None
    move: Move
    smallest: float
    enough: Measured | None

    @property
    def has_change(self) -> bool:
        return self.change is not None


def order_amount(revenue_change: RevenueChange, run: Run[FeatureParameters]) -> OrderAmount:
    """Spend per order of the recent window against the other."""
    smallest = run.parameters.smallest_order_value_change_that_matters
    change = revenue_change.order_amount_change
    return OrderAmount(
        case="not defined" if change is None else judged(change, smallest),
        comparison=revenue_change.comparison,
        amount=revenue_change.order_amount,
        change=change,
        move=move_of(change, smallest),
        smallest=smallest,
        enough=enough(change, smallest),
    )


def category_change(
    products: ir.Table, lines: ir.Table, compared: Comparison, run: Run[FeatureParameters]
) -> CategoryMoves:
    """How categories' shares of revenue moved between the two windows.

    Raises:
        TooFew: Products have no category, or too few categories can be compared.
    """
    level = category_level(products)
    if level is None:
        raise TooFew(
            "the market's products have no category",
            takes="a source for products with a category",
        )
    return estimate_category_moves(
        lines,
        products,
        compared,
        level_column=level,
        minimum_customers=max(run.smallest_cell, run.parameters.smallest_category_customers),
        **run.range,
    )


def readable(name: str) -> Name:
    """A category name as it stands in a sentence."""
    return Name(name.capitalize() if name.isupper() else name)


@dataclass(frozen=True, kw_only=True)
class Categories(Compared):
    """Which category moved beyond chance.

    Attributes:
        name, value: The clear move that is largest, in points.
        n_clear, n_all: Categories that moved clearly, and all that were tested together.
        moves: As in `CategoryMoves`, with names as they stand in a sentence.
    """

    case: Literal["moved", "none moved"]
    name: Name | None
    value: Estimate | None
    n_clear: int
    n_all: int
    moves: pd.DataFrame

    @property
    def direction(self) -> Literal["gained", "lost"] | None:
        if self.value is None:
            return None
        return "gained" if self.value.value > 0 else "lost"

    @property
    def is_clear(self) -> bool:
        return self.value is not None

    def draw(self, caption: Caption) -> Chart:
        """Moves of revenue share, largest first."""
        return plot_dots(
            self.moves, caption=caption, label="category", value="change_points", lower="lower",
            upper="upper", unit="points", n="customers",
            highlight=() if self.name is None else [self.name],
            reference=Mark(at=0.0, text=caption.reference),
        )  # fmt: skip


def category_moves(category_change: CategoryMoves) -> Categories:
    """The category that moved most, if one did beyond chance."""
    result, strongest = category_change, category_change.strongest
    return Categories(
        case="none moved" if strongest is None else "moved",
        comparison=result.comparison,
        name=None if strongest is None else readable(strongest[0]),
        value=None if strongest is None else strongest[1],
        n_clear=int(result.moves["is_clear"].sum()),
        n_all=len(result.moves),
        moves=result.moves.assign(category=result.moves["category"].map(readable)),
    )
