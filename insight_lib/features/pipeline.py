"""What open deals and a new one are worth, and how far their records can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pandas as pd

from insight_lib.charts import Caption, Chart, plot_bars, plot_dots
from insight_lib.features.contract_records import Contracts
from insight_lib.features.pipeline_paths import Deals, stage_spells
from insight_lib.features.sales_cycle import SalesCycle, estimate_sales_cycle
from insight_lib.findings import Estimate, Measured
from insight_lib.prose import Name

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from insight_lib.parameter_model import ValueParameters
    from insight_lib.run import Run

_MOST_UNRESOLVED = 0.05  # of a stage's deals; beyond it, what they are worth is not sure


def deals(
    opportunities: ir.Table,
    contracts: ir.Table,
    run: Run[ValueParameters],
    customers: ir.Table | None = None,
) -> Deals:
    """Each deal's way through the stages, up to the contract that follows."""
    return stage_spells(
        opportunities,
        as_of=run.as_of,
        contracts=contracts,
        customers=customers,
        group=run.parameters.account_group,
    )


@dataclass(frozen=True, kw_only=True)
class DealRecords:
    """Deals whose days on record cannot be, or lack."""

    aside: int
    n: int
    unknown: int


def pipeline_records(deals: Deals) -> DealRecords | None:
    """Deals left out and deals without a day; None where all are whole."""
    if not deals.n_set_aside and not deals.n_day_unknown:
        return None
    return DealRecords(
        aside=deals.n_set_aside,
        n=int(deals.spells["opportunity_id"].nunique()) + deals.n_set_aside,
        unknown=deals.n_day_unknown,
    )


def cycle(deals: Deals, signed: Contracts, run: Run[ValueParameters]) -> SalesCycle:
    """What deals bring, from stage conversion, time and contract survival.

    Raises:
        TooFew: As `estimate_sales_cycle`.
    """
    run.require_customers(deals.spells["opportunity_id"].nunique())
    p = run.parameters
    return estimate_sales_cycle(
        deals.spells,
        signed.spells,
        currency=run.currency,
        horizon_months=p.churn_horizon_months,
        annual_discount_rate=p.annual_discount_rate,
        minimum_deals=p.minimum_deals_per_stage,
        minimum_cell_size=run.smallest_cell,
        seed=run.seed,
        **run.range,
    )


@dataclass(frozen=True, kw_only=True)
class PipelineValue:
    """What the open deals are worth.

    Attributes:
        n: Open deals.
        months: Of each contract that count.
        missing: Deals that state no amount.
        pooled: Groups too small to stand alone.
        rows: As `SalesCycle.pipeline`.
    """

    case: Literal["none open", "sure", "not sure"]
    n: int
    value: Estimate
    months: Measured
    missing: int
    pooled: tuple[Name, ...]
    rows: pd.DataFrame

    @property
    def has_missing(self) -> bool:
        return self.missing > 0

    @property
    def has_pooled(self) -> bool:
        return bool(self.pooled)

    def draw(self, caption: Caption) -> Chart:
        """Value of the open deals by stage."""
        return plot_bars(
            self.rows, caption=caption, label="stage", value="value", lower="lower",
            upper="upper", unit=self.value.unit, n="n_open", is_sorted=False,
        )  # fmt: skip


def pipeline_value(cycle: SalesCycle) -> PipelineValue:
    """The value of all open deals, given their stage, age and amount."""
    value, sure = cycle.pipeline_value, is_sure(cycle)
    return PipelineValue(
        case="none open" if not value.n else "sure" if sure else "not sure",
        n=value.n,
        value=value,
        months=Measured(value=cycle.horizon_months, unit="months", n=value.n, as_of=value.as_of),
        missing=cycle.n_without_amount,
        pooled=tuple(map(Name, cycle.pooled_groups)),
        rows=cycle.pipeline,
    )


def disagrees(cycle: SalesCycle) -> bool:
    """Whether the modelled chance to win is surely not that of old deals."""
    old, win = cycle.old_win_share, cycle.win_share
    return old is not None and (old.lower > win.upper or old.upper < win.lower)


def is_sure(cycle: SalesCycle) -> bool:
    """Whether what deals are worth can be planned with."""
    return not disagrees(cycle) and cycle.unresolved_share <= _MOST_UNRESOLVED


@dataclass(frozen=True, kw_only=True)
class DealValue:
    """What a new deal is worth, how often it is won, and how that compares with a plain count.

    Attributes:
        held_against: The count of old deals, which no model is in; of closed ones where too
            few are old.
    """

    case: Literal["sure", "not sure"]
    value: Estimate
    win: Estimate
    days: Estimate
    held_against: Literal["closed", "old, unlike", "old, alike"]
    naive: Measured
    old: Estimate | None


def deal_value(cycle: SalesCycle) -> DealValue:
    """The value of a new deal and the chance to win it."""
    old = cycle.old_win_share
    alike: Literal["old, unlike", "old, alike"] = (
        "old, unlike" if disagrees(cycle) else "old, alike"
    )
    return DealValue(
        case="sure" if is_sure(cycle) else "not sure",
        value=cycle.deal_value,
        win=cycle.win_share,
        days=cycle.days_to_win,
        held_against="closed" if old is None else alike,
        naive=cycle.naive_win_share,
        old=old,
    )


@dataclass(frozen=True, kw_only=True)
class TimeToWin:
    """Days from entry to signature, of those won."""

    days: Estimate


def time_to_win(cycle: SalesCycle) -> TimeToWin:
    """How long it takes to win a deal."""
    return TimeToWin(days=cycle.days_to_win)


@dataclass(frozen=True, kw_only=True)
class Stages:
    """Chance to win from each stage.

    Attributes:
        rows: As `SalesCycle.stages`.
    """

    win: Estimate
    rows: pd.DataFrame

    def draw(self, caption: Caption) -> Chart:
        """Chance to win from each stage."""
        return plot_dots(
            self.rows, caption=caption, label="stage", value="win_share", lower="lower",
            upper="upper", unit="share", n="n_entered", is_sorted=False,
        )  # fmt: skip


def pipeline_stages(cycle: SalesCycle) -> Stages:
    """The chance to win by the stage that a deal enters."""
    return Stages(win=cycle.win_share, rows=cycle.stages)


@dataclass(frozen=True, kw_only=True)
class Unresolved:
    """Whether deals stay open beyond what the data can resolve."""

    case: Literal["pass", "review"]
    share: Measured


def pipeline_unresolved(cycle: SalesCycle) -> Unresolved:
    """The largest share of a stage's deals that never closes."""
    win, share = cycle.win_share, cycle.unresolved_share
    return Unresolved(
        case="pass" if share <= _MOST_UNRESOLVED else "review",
        share=Measured(value=share, unit="share", n=win.n, as_of=win.as_of),
    )
