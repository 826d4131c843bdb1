"""When customers come back: gaps between orders, repeat rate, and the week's rhythm."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Literal, get_args

import ibis
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from insight_lib.charts import Caption, Chart, Mark, plot_dots, plot_histogram
from insight_lib.findings import Estimate, Measured, Table, TooFew, format_number, format_value
from insight_lib.orders import Coverage, window, within
from insight_lib.statistics import estimate_ratio, estimate_share

if TYPE_CHECKING:
    import ibis.expr.types as ir

Weekday = Literal["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_WEEKDAYS: tuple[Weekday, ...] = get_args(Weekday)
_MOST_LEFT_OUT = 0.1  # of the gaps, by bins too small to show
_LATE_FACTOR = 3
_LATE_MINIMUM_ORDER_DAYS = 5
GAP_BIN_DAYS = (1, 2, 7, 14, 30)


@dataclass(frozen=True, kw_only=True)
class OrderGaps:
    """How long customers take to the next order day, and who is late by their own rhythm.

    Attributes:
        counts: Gaps by length, columns gap_days, n_gaps and n_customers (distinct).
        bins: The same in bins of each width of `GAP_BIN_DAYS`: width_days, first_day, n_gaps,
            n_customers. Customers are distinct in their bin, so days do not add up to bins.
        median_days, most_days: Half, and nine in ten, of the gaps are at most this long.
        n_regular: Customers with at least five order days, so with a rhythm of their own.
        n_late: Of them, silent for more than three times their own mean gap; None below
            `minimum`, and so is `late_revenue`.
        n_late_by_chance: How many would be if nobody had changed, with its range.
        late_revenue: What the late ones spent in the history window.
        minimum: Fewest customers that may be told of.
    """

    counts: pd.DataFrame
    bins: pd.DataFrame
    median_days: Measured
    most_days: Measured
    n_regular: int
    n_late: Measured | None
    n_late_by_chance: Estimate
    late_revenue: Measured | None
    minimum: Measured
    late_factor: int = _LATE_FACTOR

    @property
    def case(self) -> Literal["few", "by chance", "beyond chance"]:
        """Whether more are late than chance alone gives."""
        if self.n_late is None:
            return "few"
        return "beyond chance" if self.n_late.value > self.n_late_by_chance.upper else "by chance"

    @property
    def factor(self) -> Measured:
        """How many usual gaps of silence are late."""
        as_of = self.median_days.as_of
        return Measured(value=self.late_factor, unit="ratio", n=1, as_of=as_of)

    @property
    def excess(self) -> Measured | None:
        """Late ones beyond chance."""
        if self.n_late is None:
            return None
        return replace(self.n_late, value=self.n_late.value - self.n_late_by_chance.value)

    @property
    def has_spent(self) -> bool:
        return self.late_revenue is not None and self.late_revenue.value > 0

    @property
    def left_out(self) -> Measured:
        """Share of the gaps in bins of too few customers to show."""
        return replace(self.median_days, value=self._shown()[2], unit="share")

    def _shown(self) -> tuple[int, pd.DataFrame, float]:
        """The narrowest bins that leave out a tenth of the gaps at most: width, bins, share."""
        for width in GAP_BIN_DAYS:
            bins = self.bins[self.bins["width_days"] == width]
            is_shown = bins["n_customers"] >= self.minimum.value
            left_out = 1 - float(bins["n_gaps"][is_shown].sum() / bins["n_gaps"].sum())
            if left_out <= _MOST_LEFT_OUT:
                break
        return width, bins[is_shown], left_out

    def draw(self, caption: Caption) -> Chart | None:
        """Histogram of gaps between order days; None if no bin is left.

        A bin with fewer customers than the minimum cell size is left blank.
        """
        width, shown, _ = self._shown()
        if shown.empty:
            return None
        end = int(shown["first_day"].max()) + width
        first_days = np.arange(1, end, width)
        counts = shown.set_index("first_day")["n_gaps"].reindex(first_days, fill_value=0)
        marks = ((self.median_days.value, "half"), (self.most_days.value, "nine in ten"))
        chart = plot_histogram(
            [float(count) for count in counts],
            [float(day) - 0.5 for day in (*first_days, end)],
            caption=caption,
            unit="days",
            x_title="Days to the next order day",
            count_title="Gaps",
            marks=[Mark(at=at, text=text) for at, text in marks if at < end],
        )
        blank = f"fewer than {format_value(self.minimum)} customers"
        rows = tuple(
            (_days_in_words(day, width), format_number(count, "count") if count else blank)
            for day, count in zip(first_days.tolist(), counts.tolist(), strict=True)
        )
        columns = ("Days to the next order day", "Gaps")
        return replace(chart, table=Table(title=str(chart.title), columns=columns, rows=rows))


def _days_in_words(first_day: int, width: int) -> str:
    last_day = format_number(first_day + width - 1, "days")
    return last_day if width == 1 else f"{first_day} to {last_day}"


def estimate_order_gaps(
    by_order: ir.Table,
    features: pd.DataFrame,
    *,
    as_of: date,
    history_days: int,
    currency: str,
    minimum_cell_size: int,
    level: float = 0.95,
) -> OrderGaps:
    """Describe gaps between order days; several orders on one day count once.

    Some are late by chance alone: of a buyer at random moments (Poisson) with n order days,
    the silence after the last one exceeds c mean gaps with probability
    (1 + c / (n - 1)) ** -(n - 1), an exponential against the mean of n - 1 others. Buyers
    who are more regular than that are late less often, so the comparison is cautious.

    Args:
        by_order: As from `customers.orders`.
        features: As from `customers.customer_features`.
        minimum_cell_size: Fewest customers that may be told of.

    Raises:
        TooFew: No customer has ordered on two days.
    """
    history = by_order.filter(within(by_order.order_date, window(as_of, history_days)))
    days = history.select("customer_id", "order_date").distinct()
    previous = days.order_date.lag().over(
        ibis.window(group_by="customer_id", order_by="order_date")
    )
    gaps = days.mutate(gap_days=days.order_date.delta(previous, unit="day"))
    widths = ibis.memtable(pd.DataFrame({"width_days": GAP_BIN_DAYS}))
    binned = gaps.filter(gaps.gap_days.notnull()).cross_join(widths)
    first_day = (binned.gap_days - 1) // binned.width_days * binned.width_days + 1
    bins = (
        binned.group_by(binned.width_days, first_day=first_day)
        .agg(n_gaps=binned.count(), n_customers=binned.customer_id.nunique())
        .order_by("width_days", "first_day")
        .to_pandas()
    )
    if bins.empty:
        raise TooFew("no customer has ordered on two days")
    counts = bins[bins["width_days"] == 1].rename(columns={"first_day": "gap_days"})
    counts = counts.drop(columns="width_days").reset_index(drop=True)
    cumulated = counts["n_gaps"].cumsum() / counts["n_gaps"].sum()
    regular = features[features["n_order_days"] >= _LATE_MINIMUM_ORDER_DAYS]
    late = regular[regular["days_since_last_order"] > _LATE_FACTOR * regular["mean_gap_days"]]
    n = len(features)
    enough = len(late) >= minimum_cell_size

    def quantile(share: float) -> Measured:
        gap = counts["gap_days"][np.searchsorted(cumulated, share)]
        return Measured(value=float(gap), unit="days", n=n, as_of=as_of)

    return OrderGaps(
        counts=counts,
        bins=bins,
        median_days=quantile(0.5),
        most_days=quantile(0.9),
        n_regular=len(regular),
        n_late=Measured(value=len(late), unit="count", n=len(regular), as_of=as_of)
        if enough
        else None,
        n_late_by_chance=_late_by_chance(
            regular["n_order_days"].to_numpy(dtype=float), as_of=as_of, level=level
        ),
        late_revenue=Measured(
            value=float(late["revenue_amount"].sum()), unit=currency, n=len(late), as_of=as_of
        )
        if enough
        else None,
        minimum=Measured(value=minimum_cell_size, unit="count", n=n, as_of=as_of),
    )


def _late_by_chance(n_order_days: np.ndarray, *, as_of: date, level: float) -> Estimate:
    n_gaps = n_order_days - 1
    share = (1 + _LATE_FACTOR / n_gaps) ** -n_gaps
    expected = float(share.sum())
    z = float(stats.norm.ppf(0.5 + level / 2))
    half = z * float(np.sqrt((share * (1 - share)).sum()))
    return Estimate(
        value=expected,
        lower=max(0.0, expected - half),
        upper=expected + half,
        unit="count",
        n=len(share),
        as_of=as_of,
        level=level,
        method="silence of random buyers (Poisson), normal range of the number of late ones",
    )


@dataclass(frozen=True, kw_only=True)
class RepeatRate:
    """Share of active customers who order again in time, and how it changed.

    Attributes:
        rate: Of customers with an order in the entry window, those with a further order
            day within the window after their first one there.
        before: The same, one window earlier.
        change: `rate` less `before`, in shares, over the same customers.
    """

    rate: Estimate
    before: Estimate
    change: Estimate
    window_days: int


def estimate_repeat_rate(
    by_order: ir.Table,
    *,
    as_of: date,
    window_days: int,
    held: Coverage | None = None,
    level: float = 0.95,
) -> RepeatRate:
    """Estimate the repeat rate from customers whose window has closed by `as_of`.

    The entry window ends `window_days` before `as_of`, so everyone in it had the full
    time to return and late entrants do not look worse than they are.

    Args:
        by_order: As from `orders.purchases`.
        window_days: Length of the entry window and of the time to return.
        held: Which days the data hold; three windows have to be held in full.

    Raises:
        TooFew: Nobody ordered in one of the two entry windows, or the data do not hold them.
    """
    if held is not None:
        held.require(window(as_of, 3 * window_days))
    days = by_order.select("customer_id", "order_date").distinct()
    now = _entered_and_returned(days, window(as_of, window_days, ago=window_days), window_days)
    then = _entered_and_returned(days, window(as_of, window_days, ago=2 * window_days), window_days)
    rate, before = (
        estimate_share(int(part["has_returned"].sum()), len(part), as_of=as_of, level=level)
        for part in (now, then)
    )
    both = now.merge(then, on="customer_id", how="inner", suffixes=("", "_before"))
    after, earlier = (
        both[name].to_numpy(dtype=float) for name in ("has_returned", "has_returned_before")
    )
    together = float((after - rate.value) @ (earlier - before.value))
    return RepeatRate(
        rate=rate,
        before=before,
        change=_change(rate, before, together, n=len(now) + len(then) - len(both)),
        window_days=window_days,
    )


def _change(now: Estimate, then: Estimate, together: float, *, n: int) -> Estimate:
    """Difference of two shares in part of the same customers.

    Both Wilson intervals are combined with the correlation that the customers in both give
    (MOVER: Newcombe, 1998; Zou and Donner, 2008), so a rate of nothing or of all has a range.

    Args:
        together: Sum of products of residuals over the customers in both.
    """
    spread = np.sqrt(now.value * (1 - now.value) * then.value * (1 - then.value) * now.n * then.n)
    correlation = float(np.clip(together / spread, -1, 1)) if spread > 0 else 0.0

    def reach(a: float, b: float) -> float:
        return float(np.sqrt(max(a * a + b * b - 2 * correlation * a * b, 0.0)))

    change = now.value - then.value
    return Estimate(
        value=change,
        lower=max(-1.0, change - reach(now.value - now.lower, then.upper - then.value)),
        upper=min(1.0, change + reach(now.upper - now.value, then.value - then.lower)),
        unit="difference",
        n=n,
        as_of=now.as_of,
        level=now.level,
        method="Wilson intervals combined (Newcombe, 1998; Zou and Donner, 2008)",
    )


def _entered_and_returned(
    days: ir.Table, entry: tuple[date, date], window_days: int
) -> pd.DataFrame:
    entered = (
        days.filter(within(days.order_date, entry))
        .group_by("customer_id")
        .agg(entry_date=ibis._.order_date.min())
    )
    joined = entered.left_join(days, "customer_id")
    gap_days = joined.order_date.delta(joined.entry_date, unit="day")
    returned = joined.group_by("customer_id").agg(
        has_returned=gap_days.between(1, window_days).max().cast("int64")
    )
    return returned.order_by("customer_id").to_pandas().assign(has_entered=1)


@dataclass(frozen=True, kw_only=True)
class WeekRhythm:
    """How revenue falls on the days of the week, against an even seventh.

    Attributes:
        by_day: weekday, index (1 is the average day), lower, upper, n_weeks.
        busiest, quietest: Name of the day.
        busiest_index, quietest_index: Against the average day.
        is_clear: Whether busiest and quietest differ beyond chance.
    """

    by_day: pd.DataFrame
    busiest: Weekday
    quietest: Weekday
    busiest_index: Estimate
    quietest_index: Estimate
    is_clear: bool

    @property
    def case(self) -> Literal["clear", "alike"]:
        return "clear" if self.is_clear else "alike"

    @property
    def high(self) -> Estimate:
        """The busiest day against an average one."""
        return _against_average(self.busiest_index)

    @property
    def low(self) -> Estimate:
        """The quietest."""
        return _against_average(self.quietest_index)

    def draw(self, caption: Caption) -> Chart:
        """Index by day of the week."""
        return plot_dots(
            self.by_day, caption=caption, label="weekday", value="index", lower="lower",
            upper="upper", unit="index", n="n_weeks", is_sorted=False,
            highlight=[self.busiest] if self.is_clear else [],
            reference=Mark(at=1.0, text=caption.reference),
        )  # fmt: skip


def _against_average(index: Estimate) -> Estimate:
    ends = (index.value - 1, index.lower - 1, index.upper - 1)
    return replace(index, value=ends[0], lower=ends[1], upper=ends[2], unit="change")


_FEWEST_WEEKS = 12


def estimate_week_rhythm(
    by_order: ir.Table,
    *,
    as_of: date,
    history_days: int,
    n: int,
    held: Coverage | None = None,
    level: float = 0.95,
) -> WeekRhythm:
    """Index of each weekday's revenue; whole weeks are the independent units.

    Seven days are looked at and the outermost are named, so each range is wide enough for all
    seven, and busiest and quietest differ only if they do among all 21 pairs (Bonferroni).

    Args:
        by_order: As from `customers.orders`.
        n: Customers behind the figures.
        held: Which days the data hold; weeks that they do not hold in full are left out.

    Raises:
        TooFew: Fewer than twelve whole weeks, or a week without revenue above zero on average.
    """
    history = by_order.filter(within(by_order.order_date, window(as_of, history_days)))
    daily = history.group_by("order_date").agg(amount=history.amount.sum()).to_pandas()
    series = pd.Series(
        daily["amount"].astype(float).to_numpy(), index=pd.to_datetime(daily["order_date"])
    ).sort_index()
    if series.empty:
        raise TooFew("no orders in the history window")
    series = series.reindex(pd.date_range(series.index[0], pd.Timestamp(as_of)), fill_value=0.0)
    days = pd.DatetimeIndex(series.index)
    monday = days - pd.to_timedelta(np.asarray(days.day_of_week), unit="D")
    weeks = series.groupby([monday, days.day_of_week]).sum().unstack()
    weeks = weeks.dropna()
    if held is not None:
        starts = [day.date() for day in pd.DatetimeIndex(weeks.index)]
        weeks = weeks[[held.is_full((day, day + timedelta(days=6))) for day in starts]]
    if len(weeks) < _FEWEST_WEEKS:
        raise TooFew(f"{len(weeks)} whole weeks; a week's rhythm needs {_FEWEST_WEEKS}")
    per_week = weeks.to_numpy().sum(axis=1) / 7
    if per_week.sum() <= 0:
        raise TooFew("more money was taken back than came in")
    estimates = [
        estimate_ratio(
            weeks[d].to_numpy(), per_week, unit="index", as_of=as_of, level=1 - (1 - level) / 7
        )
        for d in range(7)
    ]
    by_day = pd.DataFrame(
        {
            "weekday": _WEEKDAYS,
            "index": [e.value for e in estimates],
            "lower": [e.lower for e in estimates],
            "upper": [e.upper for e in estimates],
            "n_weeks": len(weeks),
        }
    )
    high, low = int(by_day["index"].argmax()), int(by_day["index"].argmin())
    return WeekRhythm(
        by_day=by_day,
        busiest=_WEEKDAYS[high],
        quietest=_WEEKDAYS[low],
        busiest_index=replace(estimates[high], n=n, level=level),
        quietest_index=replace(estimates[low], n=n, level=level),
        is_clear=_is_apart(weeks[high].to_numpy(), weeks[low].to_numpy(), level=level),
    )


def _is_apart(high: NDArray[np.float64], low: NDArray[np.float64], *, level: float) -> bool:
    """Whether two weekdays differ, week by week, as the outermost of seven."""
    gap = high - low
    error = float(gap.std(ddof=1)) / math.sqrt(len(gap))
    limit = float(stats.t.ppf(1 - (1 - level) / 2 / 21, len(gap) - 1))
    return float(gap.mean()) > limit * error
