"""What a young market borrows from mature ones, and what a market gives to the others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import ibis
import pandas as pd

from insight_lib.features.pooling import (
    Pooled,
    comparable_markets,
    estimate_pooled,
    group_aggregates,
)
from insight_lib.findings import Estimate, TooFew
from insight_lib.prose import Name

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from insight_lib.market_view import MarketView
    from insight_lib.parameter_model import TransferParameters
    from insight_lib.run import Run


def mature_rates(market: MarketView, run: Run[TransferParameters]) -> pd.DataFrame:
    """Repeat rates of mature markets by the shared group: market, group, mean, variance, n."""
    given = market.aggregates("repeat_rates")
    if given.empty:
        return given
    given = given[given["trait"] == run.parameters.group]
    sizes = given.groupby("market")["n"].transform("sum")
    return given[sizes >= run.parameters.smallest_mature_customers]


def repeaters(summary: ir.Table, customers: ir.Table | None, group: str) -> ir.Table:
    """Customers with their group and whether they bought again: the group's column, is_repeat.

    Raises:
        TooFew: The group is not known of any customer.
    """
    if customers is None or group not in customers.columns:
        raise TooFew(f"no customer table with {group}")
    known = summary.inner_join(customers.select("customer_id", group), "customer_id")
    return known.mutate(is_repeat=(ibis._.frequency > 0).cast("float64"))


def borrowed(
    summary: ir.Table,
    mature_rates: pd.DataFrame,
    run: Run[TransferParameters],
    customers: ir.Table | None = None,
) -> Pooled:
    """The repeat rate by group, drawn towards the mature markets where that predicts better.

    Raises:
        TooFew: Too few customers, groups or mature markets; names the markets left out.
    """
    group = run.parameters.group
    rows = repeaters(summary, customers, group).order_by("customer_id")
    frame = rows.select(group, "is_repeat").to_pandas()
    mature, left_out = comparable_markets(mature_rates, frame[group].dropna().astype(str).unique())
    try:
        run.require_customers(len(frame))
        pooled = estimate_pooled(
            frame, mature, group=group, value="is_repeat", unit="share", seed=run.seed, **run.range
        )
    except TooFew as error:
        names = ", ".join(left_out)
        others = f"; left out, as they share too few groups: {names}" if names else ""
        raise TooFew(f"{error}{others}", takes=error.takes) from error
    shown = pooled.groups[pooled.groups["n"] >= run.smallest_cell]
    return replace(pooled, groups=shown, left_out=tuple(map(Name, left_out)))


@dataclass(frozen=True, kw_only=True)
class TransferTest:
    """The test behind borrowing: errors on customers that the estimate had not seen.

    Attributes:
        gain, gain_against_mature: As in `Pooled`.
    """

    case: Literal["pass", "review"]
    group: Name
    gain: Estimate
    gain_against_mature: Estimate


def transfer_test(borrowed: Pooled) -> TransferTest:
    """How much better customers held out are predicted with the mature markets."""
    return TransferTest(
        case="pass" if borrowed.is_borrowed else "review",
        group=borrowed.group,
        gain=borrowed.gain,
        gain_against_mature=borrowed.gain_against_mature,
    )


def repeat_rates(
    summary: ir.Table, market: MarketView, run: Run[Any], customers: ir.Table | None = None
) -> pd.DataFrame:
    """What this market gives to others: group, mean, variance, n, trait.

    Raises:
        TooFew: The group that markets share is not known of its customers.
    """
    group = market.parameters.transfer.group
    rates = group_aggregates(
        repeaters(summary, customers, group),
        group=group,
        value="is_repeat",
        minimum_cell_size=run.smallest_cell,
    )
    return rates.assign(trait=group)
