"""Exchange rates of days, filled from both directions, with all their digits."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Literal

import pandas as pd

from insight_lib.findings import TooFew

Conversion = Literal["market", "purchasing_power"]
NO_RATES = pd.DataFrame(
    columns=["rate_date", "base_currency", "quote_currency", "rate", "purchasing_power_rate"]
)
RATE_DIGITS = 20  # of a rate, before and after the point; a product has 38 in the engine
_LARGEST_CONTRADICTION = 0.01
_LONGEST_GAP_DAYS = 7


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
    places = RATE_DIGITS - max(1, max(rate.adjusted() for rate in known) + 1)
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
