"""Money in one currency beside the untouched local one: exact, and reconciled both ways."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING, Literal

import ibis
import pandas as pd
import pyarrow as pa

from insight_lib.findings import TooFew

if TYPE_CHECKING:
    import ibis.expr.types as ir

Conversion = Literal["market", "purchasing_power"]
NO_RATES = pd.DataFrame(
    columns=["rate_date", "base_currency", "quote_currency", "rate", "purchasing_power_rate"]
)
_RATE_DIGITS = 20  # of a rate, before and after the point; a product has 38 in the engine
_LARGEST_CONTRADICTION = 0.01
_LONGEST_GAP_DAYS = 7


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


def daily_rates(
    fx_rates: pd.DataFrame,
    *,
    local_currency: str,
    reporting_currency: str,
    first_day: date,
    last_day: date,
    conversion: Conversion = "market",
) -> pd.DataFrame:
    """One rate per day, in reporting units per local unit.

    A missing day takes the last rate before it, for a week at most: a rate is used as of the
    order's date and never from its future.

    Args:
        fx_rates: `fx_rates`; either direction of the pair will do, and where a day has only one
            of them, that one is used.

    Returns:
        rate_date, rate (Decimal, as many digits as the engine can multiply), is_stale,
        is_doubted (both directions are quoted and differ by more than a hundredth).

    Raises:
        TooFew: The pair is not quoted, or a day has no rate within a week before it.
    """
    column = "rate" if conversion == "market" else "purchasing_power_rate"
    if local_currency == reporting_currency:
        dates = pd.date_range(first_day, last_day).date
        return pd.DataFrame(
            {"rate_date": dates, "rate": Decimal(1), "is_stale": False, "is_doubted": False}
        )
    direct = fx_rates[
        (fx_rates["base_currency"] == local_currency)
        & (fx_rates["quote_currency"] == reporting_currency)
    ]
    inverse = fx_rates[
        (fx_rates["base_currency"] == reporting_currency)
        & (fx_rates["quote_currency"] == local_currency)
    ]
    if direct.empty and inverse.empty:
        raise TooFew(f"no rate between {local_currency} and {reporting_currency}")
    straight, turned = (_quotes(part, column) for part in (direct, inverse))
    turned = {day: 1 / rate for day, rate in turned.items()}
    quoted = pd.Series(turned | straight, dtype=object).sort_index()
    if quoted.empty:
        raise TooFew(f"no rate between {local_currency} and {reporting_currency} is above zero")
    doubted = [
        day
        for day in straight.keys() & turned.keys()
        if abs(turned[day] / straight[day] - 1) > _LARGEST_CONTRADICTION
    ]
    days = pd.date_range(first_day, last_day)
    known = quoted.reindex(quoted.index.union(days)).ffill(limit=_LONGEST_GAP_DAYS).reindex(days)
    if known.isna().any():
        missing = known.index[known.isna()][0].date()
        raise TooFew(f"no rate for {missing} and the week before it")
    places = _RATE_DIGITS - max(1, max(rate.adjusted() for rate in known) + 1)
    return pd.DataFrame(
        {
            "rate_date": days.date,
            "rate": [rate.quantize(Decimal(1).scaleb(-places)) for rate in known],
            "is_stale": ~days.isin(quoted.index),
            "is_doubted": days.isin(doubted),
        }
    )


def _quotes(rows: pd.DataFrame, column: str) -> dict[pd.Timestamp, Decimal]:
    """Rate by day, as written; what is not above zero is no rate."""
    found = zip(pd.to_datetime(rows["rate_date"]), rows[column].astype(float), strict=True)
    return {day: Decimal(repr(float(rate))) for day, rate in found if 0 < rate < float("inf")}


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
                "rate": pa.array(rates["rate"], pa.decimal128(_RATE_DIGITS, places)),
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
