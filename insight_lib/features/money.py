"""Money in one currency beside the untouched local one: exact, and reconciled both ways."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING

import ibis
import pandas as pd
import pyarrow as pa

from insight_lib.rates import NO_RATES as NO_RATES
from insight_lib.rates import RATE_DIGITS, Conversion
from insight_lib.rates import daily_rates as daily_rates

if TYPE_CHECKING:
    import ibis.expr.types as ir


@dataclass(frozen=True, kw_only=True)
class ReportingMoney:
    """Revenue in the reporting currency.

    Attributes:
        by_customer: customer_id, revenue_amount (local, untouched) and
            revenue_reporting_amount, whole minor units that add up to `total` exactly.
        total: Of all days, rounded once to the minor unit.
        local_total: Of all orders in the local currency, priced or not.
        exact_total: Day by day, before rounding; `total` differs by half a minor unit at most.
        n_doubted_days: Days whose two quotes, one in each direction, contradict each other; the
            one into the reporting currency is used.
        n_stale_days: Days priced at the rate of an earlier day, because theirs is missing.
        digits: Decimals of the reporting currency.
    """

    by_customer: pd.DataFrame
    total: Decimal
    local_total: Decimal
    exact_total: Decimal
    n_doubted_days: int
    n_stale_days: int
    currency: str
    local_currency: str
    conversion: Conversion
    digits: int


def convert_revenue(
    by_order: ir.Table,
    rates: pd.DataFrame,
    *,
    local_currency: str,
    reporting_currency: str,
    conversion: Conversion = "market",
) -> ReportingMoney:
    """Convert each order at the rate of its local date, in exact decimals.

    Rounding happens once, at the end: whole minor units by largest remainder (Hamilton),
    ties by customer, so that customers add up to the total to the cent. The totals are added
    up by day and not from the customers, so that a lost or doubled order shows.

    Args:
        by_order: As from `customers.orders`.
        rates: As from `daily_rates`, covering every order date.
    """
    from babel.numbers import get_currency_precision

    places = max(4, *(-int(rate.as_tuple().exponent) for rate in rates["rate"]))
    table = ibis.memtable(
        pa.table(
            {
                "rate_date": pa.array(rates["rate_date"], pa.date32()),
                "rate": pa.array(rates["rate"], pa.decimal128(RATE_DIGITS, places)),
            }
        )
    )
    joined = by_order.inner_join(table, by_order.order_date == table.rate_date)
    product = joined.amount.cast("decimal(18, 4)") * joined.rate
    frame = (
        joined.group_by("customer_id")
        .agg(revenue_amount=joined.amount.sum(), exact=product.sum())
        .order_by("customer_id")
        .to_pandas()
    )
    digits = get_currency_precision(reporting_currency)
    unit = Decimal(1).scaleb(-digits)
    by_day = by_order.group_by("order_date").agg(amount=by_order.amount.sum()).to_pandas()
    amounts = dict(zip(pd.to_datetime(by_day["order_date"]), by_day["amount"], strict=True))
    prices = dict(zip(pd.to_datetime(rates["rate_date"]), rates["rate"], strict=True))
    exact_total = sum(
        (amount * prices[day] for day, amount in amounts.items() if day in prices), Decimal(0)
    )
    total = exact_total.quantize(unit)
    frame["revenue_reporting_amount"] = _apportion(list(frame["exact"]), total, unit)
    stale, doubted = (
        pd.to_datetime(rates.loc[rates[name], "rate_date"]) for name in ("is_stale", "is_doubted")
    )
    return ReportingMoney(
        by_customer=frame.drop(columns="exact"),
        total=total,
        local_total=sum(amounts.values(), Decimal(0)),
        exact_total=exact_total,
        n_doubted_days=len(amounts.keys() & set(doubted)),
        n_stale_days=len(amounts.keys() & set(stale)),
        currency=reporting_currency,
        local_currency=local_currency,
        conversion=conversion,
        digits=digits,
    )


def _apportion(exact: list[Decimal], total: Decimal, unit: Decimal) -> list[Decimal]:
    """Round each to whole units so that they add up to `total`; largest remainders go up."""
    floors = [(value / unit).to_integral_value(ROUND_FLOOR) for value in exact]
    left = int(total / unit - sum(floors, Decimal(0)))
    remainders = [value / unit - floor for value, floor in zip(exact, floors, strict=True)]
    ranked = sorted(range(len(exact)), key=lambda i: (-remainders[i], i))
    for i in ranked[:left]:
        floors[i] += 1
    return [floor * unit for floor in floors]
