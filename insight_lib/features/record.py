"""What the data hold of a market's orders, and what of them could not be read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Literal

from insight_lib.findings import Measured, format_value
from insight_lib.orders import Coverage, coverage

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from insight_lib.market_view import MarketView
    from insight_lib.run import Run

MOST_UNREAD = 0.02  # of the order lines; beyond it, no total is called whole
_LATE_DAYS = 90


@dataclass(frozen=True, kw_only=True)
class Record:
    """Which days the data hold, and which share of the order lines could not be read.

    Attributes:
        unread: None where all could.
    """

    held: Coverage
    unread: Measured | None
    as_of: date

    @property
    def is_whole(self) -> bool:
        """Whether so few order lines could not be read that totals may be called so."""
        return self.unread is None or self.unread.value <= MOST_UNREAD

    @property
    def hole(self) -> str | None:
        """Why nobody can be forecast from data with holes; None where their last year is whole.

        A silence in the data passes for customers who left, and so do lines that nobody could
        read.
        """
        if self.unread is not None and not self.is_whole:
            return f"{format_value(self.unread)} of the order lines could not be read"
        if self.held.first_day is None:
            return "the market holds no complete day yet"
        days = max(self.held.first_day, self.as_of - timedelta(days=364)), self.as_of
        if self.held.is_full(days):
            return None
        n = (days[1] - days[0]).days + 1
        return f"{self.held.covered(days)} of the last {n} days are covered by the data"


def unread_share(n_unread: int, n: int, *, as_of: date) -> Measured | None:
    """Share of the order lines that could not be read; None where all could."""
    if not n_unread:
        return None
    return Measured(value=n_unread / n, unit="share", n=n, as_of=as_of)


def record(lines: ir.Table, market: MarketView, run: Run[Any]) -> Record:
    """The days that the data hold, from their rows and the declared period."""
    period = market.config.period
    days = (period.first_day, period.last_day) if period else None
    return Record(
        held=coverage(lines, as_of=run.as_of, period=days),
        unread=unread_share(*market.unread("transactions"), as_of=run.as_of),
        as_of=run.as_of,
    )


@dataclass(frozen=True, kw_only=True)
class UnreadLines:
    """How many order lines are in no figure of the page."""

    case: Literal["review", "fail"]
    share: Measured
    unread: int
    lines: int


def unread_lines(record: Record) -> UnreadLines | None:
    """The lines that could not be read; None where all could."""
    if (share := record.unread) is None:
        return None
    return UnreadLines(
        case="review" if record.is_whole else "fail",
        share=share,
        unread=round(share.value * share.n),
        lines=share.n,
    )


@dataclass(frozen=True, kw_only=True)
class DataGaps:
    """Silences that are not the shop's rhythm.

    Attributes:
        lost, of: Days without an order so, and all days.
        begin, end: Of the latest such silence.
    """

    case: Literal["late", "long ago"]
    lost: int
    of: int
    begin: date
    end: date


def data_gaps(record: Record) -> DataGaps | None:
    """Days that the data do not hold; None where there is none."""
    held, as_of = record.held, record.as_of
    if not held.gaps or held.first_day is None:
        return None
    begin, end = held.gaps[-1]
    n = (as_of - held.first_day).days + 1
    return DataGaps(
        case="late" if end >= as_of - timedelta(days=_LATE_DAYS) else "long ago",
        lost=n - held.covered((held.first_day, as_of)),
        of=n,
        begin=begin,
        end=end,
    )


@dataclass(frozen=True, kw_only=True)
class Consent:
    """Of how many customers the figures speak, where some have not agreed to be in them."""

    allowed: int
    n: int
    missing: Measured


def consent_coverage(
    transactions: ir.Table, market: MarketView, run: Run[Any], consents: ir.Table | None = None
) -> Consent | None:
    """Customers who may be counted; None where all may."""
    del transactions, consents  # what the two counts rest on
    allowed, n = market.coverage("transactions")
    if allowed >= n:
        return None
    missing = Measured(value=1 - allowed / n, unit="share", n=n, as_of=run.as_of)
    return Consent(allowed=allowed, n=n, missing=missing)
