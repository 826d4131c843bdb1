"""Amounts that people wrote down, in the currency of a market."""

from __future__ import annotations

from datetime import date
from typing import Protocol

import pandas as pd

from insight_lib.findings import TooFew


class Money(Protocol):
    """An amount with its currency, as parameters and registers hold it."""

    @property
    def amount(self) -> float: ...
    @property
    def currency(self) -> str: ...


def in_currency(money: Money, *, to: str, fx_rates: pd.DataFrame | None, as_of: date) -> float:
    """The amount in another currency, at the rate of the day.

    Args:
        fx_rates: The market's `fx_rates`; missing if it has none.

    Raises:
        TooFew: There is no rate between the two; the amount then says nothing here.
    """
    from insight_lib.rates import daily_rates

    if money.currency == to:
        return money.amount
    if fx_rates is None:
        raise TooFew(f"amounts are declared in {money.currency}, and there is no rate to {to}")
    rates = daily_rates(
        fx_rates,
        local_currency=money.currency,
        reporting_currency=to,
        first_day=as_of,
        last_day=as_of,
    )
    return money.amount * float(rates["rate"].iloc[-1])
