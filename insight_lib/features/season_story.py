"""The year's rhythm and money in one currency, in words."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

from insight_lib.features.money import ReportingMoney
from insight_lib.features.seasonality import YearRhythm
from insight_lib.findings import Check, Estimate, Finding, Measured, Prose, Verdict, judge

_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_LINES = ("transactions",)
_PREPARE_DAYS = 60


def describe_year_rhythm(result: YearRhythm, *, smallest_swing_that_matters: float) -> Finding:
    """When the season peaks, and whether it is strong enough to plan by."""
    swing = result.swing
    verdict = judge(swing, smallest_swing_that_matters)
    matters = verdict is Verdict.MATTERS
    month = _MONTHS[result.peak_date.month - 1]
    if matters:
        statement = Prose(
            "Demand peaks in {month}: {swing} above the low season (likely {swing:range}).",
            month=month,
            swing=swing,
        )
    elif verdict is Verdict.DOES_NOT_MATTER:
        statement = Prose("The year has no season worth planning by: {swing:range}.", swing=swing)
    else:
        statement = Prose(
            "A yearly season is likely, its size is not known well yet ({swing:range})."
            if swing.lower > 0
            else "Whether the year has a season we cannot tell yet ({swing:range}).",
            swing=swing,
        )
    peak = _next_peak(result, swing.as_of)
    return Finding(
        id="features.yearly_season",
        rows=("M3.2",),
        statement=statement,
        verdict=verdict,
        owner="category-manager",
        evidence=_LINES,
        value=swing,
        so_what=Prose(
            "Compare a month with the same month of the year before; have stock and staff ready "
            "by {ready}.",
            ready=peak - timedelta(days=_PREPARE_DAYS),
        )
        if matters
        else Prose("Compare months with their neighbours."),
        weight=1.8,
    )


def _next_peak(result: YearRhythm, as_of: date) -> date:
    """The first peak that leaves time to prepare."""
    peak = date(as_of.year, 1, 1) + timedelta(days=round(result.peak_day.value) - 1)
    while peak - timedelta(days=_PREPARE_DAYS) <= as_of:
        peak = date(peak.year + 1, 1, 1) + timedelta(days=round(result.peak_day.value) - 1)
    return peak


def describe_events(result: YearRhythm) -> Finding:
    """Which kind of local day moves sales most, with the week and the season set apart."""
    clear = result.events[(result.events["lower"] > 0) | (result.events["upper"] < 0)]
    n, as_of = result.swing.n, result.swing.as_of
    if clear.empty:
        return Finding(
            id="features.local_days",
            rows=("M3.2",),
            statement=Prose("No kind of local day moves sales beyond chance."),
            verdict=Verdict.CANNOT_TELL,
            owner="category-manager",
            evidence=_LINES,
            so_what=Prose("Plan local days like the days around them."),
            weight=0.8,
        )
    strongest = max(clear.to_dict("records"), key=lambda row: abs(row["effect"]))
    effect = Estimate(
        value=float(strongest["effect"]),
        lower=float(strongest["lower"]),
        upper=float(strongest["upper"]),
        unit="change",
        n=n,
        as_of=as_of,
        level=result.swing.level,
        method=result.swing.method,
    )
    name = str(strongest["event_type"])
    return Finding(
        id="features.local_days",
        rows=("M3.2",),
        statement=Prose(
            "{name} days sell {effect:size} {word} than like days without (likely {effect:range}).",
            name=name.capitalize(),
            effect=effect,
            word="more" if effect.value > 0 else "less",
        ),
        verdict=Verdict.MATTERS,
        owner="category-manager",
        evidence=_LINES,
        value=effect,
        so_what=Prose(
            "{clear} of {all} kinds of day move sales beyond chance; put them into the plan.",
            clear=Measured(value=len(clear), unit="count", n=n, as_of=as_of),
            all=Measured(value=len(result.events), unit="count", n=n, as_of=as_of),
        ),
        weight=1.4,
    )


def describe_money(result: ReportingMoney, *, as_of: date, is_whole: bool = True) -> Finding:
    """Revenue in the reporting currency beside the local one.

    Args:
        is_whole: Whether nearly all order lines could be read; else it is no revenue.
    """
    what = (
        "Revenue of the whole period was"
        if is_whole
        else "The order lines that could be read add up to"
    )
    n = len(result.by_customer)
    local = Measured(value=float(result.local_total), unit=result.local_currency, n=n, as_of=as_of)
    reporting = Measured(value=float(result.total), unit=result.currency, n=n, as_of=as_of)
    rate = (
        "at each order's rate of the day"
        if result.conversion == "market"
        else "at purchasing power, so that baskets compare"
    )
    same = result.currency == result.local_currency
    return Finding(
        id="features.reporting_revenue",
        rows=("M3.3",),
        statement=Prose("{what} {local}.", what=what, local=local)
        if same
        else Prose(
            "{what} {local}, which is {reporting} {rate}.",
            what=what,
            local=local,
            reporting=reporting,
            rate=rate,
        ),
        verdict=Verdict.PASS,
        owner="insight-lead",
        evidence=_LINES if same else ("transactions", "fx_rates"),
        value=reporting,
        so_what=Prose("Compare markets in the reporting currency, decide in the local one."),
        weight=0.6,
    )


def describe_money_reconciliation(result: ReportingMoney, *, as_of: date) -> Check:
    """Do customers add up to the total in both currencies, to the smallest unit.

    The totals are added up by day; customers miss them if an order found no rate or two.
    """
    n = len(result.by_customer)
    columns = result.by_customer
    exact = (
        sum(columns["revenue_amount"], Decimal(0)) == result.local_total
        and sum(columns["revenue_reporting_amount"], Decimal(0)) == result.total
    )
    same = result.currency == result.local_currency
    word = "add up to" if exact else "do not add up to"
    return Check(
        id="features.money_reconciliation",
        rows=("M3.3",),
        statement=Prose("Customers {word} the total, to the smallest unit.", word=word)
        if same
        else Prose(
            "Customers {word} the total in both currencies, to the smallest unit; {stale} days "
            "used the rate of a day before{doubted}.",
            doubted=Prose(
                ", and on {n} days the quotes of both directions contradict each other",
                n=Measured(value=result.n_doubted_days, unit="count", n=n, as_of=as_of),
            )
            if result.n_doubted_days
            else "",
            word=word,
            stale=Measured(value=result.n_stale_days, unit="count", n=n, as_of=as_of),
        ),
        verdict=Verdict.FAIL
        if not exact
        else Verdict.REVIEW
        if result.n_doubted_days
        else Verdict.PASS,
        owner="data-engineer",
        evidence=_LINES if same else ("transactions", "fx_rates"),
        so_what=Prose(
            "{advice}",
            advice="Do not publish this total."
            if not exact
            else "Find out which of the two quotes is right: the one into the reporting currency "
            "was used."
            if result.n_doubted_days
            else "No action.",
        ),
    )
