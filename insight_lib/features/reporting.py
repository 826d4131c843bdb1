"""Revenue in the reporting currency, and whether it adds up."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

import pandas as pd

from insight_lib.features.money import NO_RATES, ReportingMoney, convert_revenue, daily_rates
from insight_lib.features.record import Record
from insight_lib.findings import Measured
from insight_lib.rates import Conversion

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from insight_lib.parameter_model import FeatureParameters
    from insight_lib.run import Run


def reported(
    buyers: pd.DataFrame,
    by_order: ir.Table,
    record: Record,
    run: Run[FeatureParameters],
    fx_rates: ir.Table | None = None,
) -> ReportingMoney:
    """Each order at the rate of its own day.

    Raises:
        TooFew: As `rates.daily_rates`.
    """
    del buyers  # of too few nothing is said
    pair: dict[str, str] = {
        "local_currency": run.currency,
        "reporting_currency": run.general.reporting_currency,
    }
    conversion = run.general.conversion
    rates = daily_rates(
        NO_RATES if fx_rates is None else fx_rates.to_pandas(),
        first_day=record.held.first_day or run.as_of,
        last_day=run.as_of,
        conversion=conversion,
        **pair,
    )
    return convert_revenue(by_order, rates, conversion=conversion, **pair)


@dataclass(frozen=True, kw_only=True)
class Reported:
    """Revenue in the reporting currency beside the local one.

    Attributes:
        is_whole: Whether nearly all order lines could be read; else it is no revenue.
        unread: Share of the order lines that is not in it.
    """

    case: Literal["pass", "review"]
    is_one_currency: bool
    local: Measured
    reporting: Measured
    conversion: Conversion
    is_whole: bool
    unread: Measured | None

    @property
    def has_unread(self) -> bool:
        return self.unread is not None


def reporting_revenue(
    reported: ReportingMoney, record: Record, run: Run[FeatureParameters]
) -> Reported:
    """Revenue of the whole period, in both currencies."""
    n = len(reported.by_customer)

    def amount(total: Decimal, currency: str) -> Measured:
        return Measured(value=float(total), unit=currency, n=n, as_of=run.as_of)

    return Reported(
        case="pass" if record.is_whole else "review",
        is_one_currency=reported.currency == reported.local_currency,
        local=amount(reported.local_total, reported.local_currency),
        reporting=amount(reported.total, reported.currency),
        conversion=reported.conversion,
        is_whole=record.is_whole,
        unread=record.unread,
    )


@dataclass(frozen=True, kw_only=True)
class MoneyAddedUp:
    """Whether customers add up to the total in both currencies, to the smallest unit.

    Attributes:
        stale: Days at the rate of a day before.
        doubted: Days whose quotes of both directions contradict each other.
    """

    case: Literal["exact", "doubted", "not exact"]
    is_one_currency: bool
    stale: int
    doubted: int

    @property
    def is_exact(self) -> bool:
        return self.case != "not exact"

    @property
    def has_doubted(self) -> bool:
        return self.doubted > 0


def money_reconciliation(reported: ReportingMoney) -> MoneyAddedUp:
    """The totals are added up by day; customers miss them if an order found no rate or two."""
    columns = reported.by_customer
    exact = (
        sum(columns["revenue_amount"], Decimal(0)) == reported.local_total
        and sum(columns["revenue_reporting_amount"], Decimal(0)) == reported.total
    )
    return MoneyAddedUp(
        case="not exact" if not exact else "doubted" if reported.n_doubted_days else "exact",
        is_one_currency=reported.currency == reported.local_currency,
        stale=reported.n_stale_days,
        doubted=reported.n_doubted_days,
    )
