"""Results in words: the only place of this stage with sentences."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

from insight_lib.features.customers import Comparison, Reconciliation
from insight_lib.features.rhythm import OrderGaps, RepeatRate, WeekRhythm
from insight_lib.features.value import CategoryMoves, Concentration, RevenueChange, RfmGroups
from insight_lib.findings import (
    Check,
    Estimate,
    Finding,
    Measured,
    Prose,
    Tile,
    Tiles,
    Verdict,
    change_phrase,
    judge,
)
from insight_lib.statistics import in_points

_LINES = ("transactions",)
WINDOWS_TAKE = (
    "a history that holds every day of both windows, or a shorter window (recent_window_days, "
    "repeat_window_days)"
)


def _days(days: int, as_of: date) -> Measured:
    return Measured(value=days, unit="days", n=1, as_of=as_of)


def against(comparison: Comparison, as_of: date) -> Prose:
    """What the recent window is compared with, in words."""
    days = _days(comparison.days, as_of)
    if comparison.is_year_before:
        return Prose("the same {days} a year before", days=days)
    return Prose("the {days} before", days=days)


def _season_note(comparison: Comparison) -> str:
    if comparison.is_year_before:
        return ""
    return " The data hold no full year before, so season and trend cannot be told apart."


def _recent(comparison: Comparison, as_of: date) -> Prose:
    days = _days(comparison.days, as_of)
    if comparison.settling_days == 0:
        return Prose("in the last {days}", days=days)
    return Prose("in the {days} to {last}", days=days, last=comparison.after[1])


def _settling_note(comparison: Comparison, as_of: date) -> Prose:
    if comparison.settling_days == 0:
        return Prose("")
    return Prose(
        " Younger orders are left out: what is sent back takes up to {days} to come.",
        days=_days(comparison.settling_days, as_of),
    )


def smallest_change(result: RevenueChange, share: float) -> float:
    """The smallest change of revenue that matters, in the unit in which it is said."""
    if result.drivers:
        return share
    return share * max(abs(result.revenue.value), abs(result.revenue_before.value))


def describe_revenue(
    result: RevenueChange, *, smallest_change_that_matters: float, is_whole: bool = True
) -> Finding:
    """Did revenue move, by how much, and which driver moved it most.

    Args:
        is_whole: Whether nearly all order lines could be read; else it is no revenue.
    """
    smallest, as_of = smallest_change(result, smallest_change_that_matters), result.revenue.as_of
    verdict = judge(result.change, smallest)
    statement = Prose(
        "Revenue was {revenue} {recent}, against {before}: {move}."
        if is_whole
        else "The order lines that could be read add up to {revenue} {recent}, against {before}: "
        "{move}.",
        before=against(result.comparison, as_of),
        recent=_recent(result.comparison, as_of),
        revenue=result.revenue,
        move=change_phrase(result.change, smallest),
    )
    note = _season_note(result.comparison)
    if verdict is Verdict.DOES_NOT_MATTER:
        advice = Prose("Plan with the same revenue." + note)
    elif not result.change.excludes(0):
        advice = Prose("Look for no cause until it is clear that revenue moved." + note)
    elif not result.drivers:
        advice = Prose(
            "More money was taken back than came in, in one of the two periods: look at what was "
            "taken back first. Revenue cannot be split into drivers then." + note
        )
    else:
        driver, effect = max(result.drivers, key=lambda pair: (abs(pair[1]), pair[0]))
        advice = Prose(
            "{driver} moved it most ({moved:signed}); look there first." + note,
            driver=driver,
            moved=Measured(value=effect, unit=result.revenue.unit, n=1, as_of=as_of),
        )
    return Finding(
        id="features.revenue",
        rows=("M3.3",),
        statement=statement,
        verdict=verdict,
        owner="category-manager",
        evidence=_LINES,
        value=result.revenue,
        good="up",
        so_what=Prose("{a}{b}", a=advice, b=_settling_note(result.comparison, as_of)),
        due=as_of + timedelta(days=30),
        weight=5 + (abs(result.change.value) if result.drivers else 1.0),
    )


def describe_order_amount(result: RevenueChange, *, smallest_change_that_matters: float) -> Finding:
    """Did spend per order move."""
    change, as_of = result.order_amount_change, result.order_amount.as_of
    if change is None:
        verdict, move = Verdict.CANNOT_TELL, Prose("a change is not defined")
    else:
        verdict = judge(change, smallest_change_that_matters)
        move = change_phrase(change, smallest_change_that_matters)
    statement = Prose(
        "An order is worth {amount:full}; against {before}: {move}.",
        amount=result.order_amount,
        before=against(result.comparison, as_of),
        move=move,
    )
    advice = {
        Verdict.MATTERS: "Find out whether price or number of items moved before planning on it.",
        Verdict.DOES_NOT_MATTER: "Plan with the same order value.",
        Verdict.CANNOT_TELL: "Plan with the range, not with the middle.",
    }[verdict]
    if change is None:
        advice = "In one of the two periods more money was taken back than came in."
    return Finding(
        id="features.order_amount",
        rows=("M3.3",),
        statement=statement,
        verdict=verdict,
        owner="category-manager",
        evidence=_LINES,
        value=result.order_amount,
        good="up",
        so_what=Prose("{a}{b}", a=advice, b=_settling_note(result.comparison, as_of)),
        weight=3 + (abs(change.value) if change is not None else 0.0),
    )


# A rate whose whole range lies above or below leaves a reminder too few to win, or too many lost.
_NEARLY_ALL, _NEARLY_NONE = 0.75, 0.1


def _repeat_advice(result: RepeatRate, verdict: Verdict) -> str:
    """What the rate allows to be said; what a reminder would bring only a test can tell."""
    rate = result.rate
    if verdict is Verdict.MATTERS:
        word = "rose" if result.change.value > 0 else "fell"
        return f"Find out what changed before acting: the rate surely {word}."
    if rate.lower > _NEARLY_ALL:
        return "Most come back by themselves: look for revenue in how often and how much they buy."
    if rate.upper < _NEARLY_NONE:
        return "Hardly anyone comes back in time: ask first whether what is sold is bought again."
    return (
        "What a reminder would bring cannot be read off this rate: only a test with a control "
        "group can tell."
    )


def describe_repeat(result: RepeatRate, *, smallest_change_that_matters: float) -> Finding:
    """How many come back in time, and is that a change."""
    verdict = judge(result.change, smallest_change_that_matters)
    days = _days(result.window_days, result.rate.as_of)
    points = 100 * smallest_change_that_matters
    return Finding(
        id="features.repeat_rate",
        rows=("M3.1",),
        statement=Prose(
            "About {rate:in_hundred} active customers ordered again within {days} "
            "(likely {rate:range}); against one window earlier: {move}.",
            rate=result.rate,
            days=days,
            move=change_phrase(in_points(result.change), points),
        ),
        verdict=verdict,
        owner="crm-lead",
        evidence=_LINES,
        value=result.rate,
        good="up",
        so_what=Prose(
            "{advice}",
            advice=_repeat_advice(result, verdict),
        ),
        weight=2 + abs(result.change.value),
    )


def describe_gaps(result: OrderGaps) -> Finding:
    """What is a normal gap, and are more customers late by it than chance alone gives."""
    as_of = result.median_days.as_of
    factor = Measured(value=result.late_factor, unit="ratio", n=1, as_of=as_of)
    late, chance = result.n_late, result.n_late_by_chance
    matters = late is not None and late.value > chance.upper
    if late is None:
        statement = Prose(
            "Fewer than {minimum} regular customers are late by their own rhythm: silent for more "
            "than {factor} times their usual gap.",
            minimum=result.minimum,
            factor=factor,
        )
    else:
        statement = Prose(
            "{late} regular customers are late by their own rhythm, silent for more than {factor} "
            "times their usual gap; {chance} would be by chance.",
            late=late,
            factor=factor,
            chance=chance,
        )
    usual = Prose(
        "Half of all customers' gaps are at most {median}, nine in ten at most {most}",
        median=result.median_days,
        most=result.most_days,
    )
    if late is not None and result.late_revenue is not None and matters:
        so_what = Prose(
            "{spent}{excess} of them are more than chance gives. {usual}: contact them before "
            "the silence becomes a habit.",
            spent=Prose("The late ones spent {r} in the period, and ", r=result.late_revenue)
            if result.late_revenue.value > 0
            else "",
            excess=replace(late, value=late.value - chance.value),
            usual=usual,
        )
    else:
        so_what = Prose("{usual}: no campaign for the late ones is needed.", usual=usual)
    return Finding(
        id="features.late_customers",
        rows=("M3.1",),
        statement=statement,
        verdict=Verdict.MATTERS if matters else Verdict.DOES_NOT_MATTER,
        owner="crm-lead",
        evidence=_LINES,
        value=late,
        good="down",
        so_what=so_what,
        due=as_of + timedelta(days=14) if matters else None,
        weight=4 + late.value / result.n_regular if late is not None and matters else 2,
    )


def describe_concentration(result: Concentration) -> Finding:
    """How much rests on the best customers."""
    share, top = result.share, result.top
    even = share.lower <= 2 * top.value
    return Finding(
        id="features.concentration",
        rows=("M3.1",),
        statement=Prose(
            "The best {top} of customers bring {share} of revenue (likely {share:range}).",
            top=top,
            share=share,
        ),
        verdict=Verdict.DOES_NOT_MATTER if even else Verdict.MATTERS,
        owner="category-manager",
        evidence=_LINES,
        value=share,
        so_what=Prose(
            "{advice}",
            advice=(
                "Spread the effort: no small group carries the market."
                if even
                else "Protect these customers first; a lost one costs several average ones."
            ),
        ),
        weight=2.5,
    )


def describe_rfm_groups(result: RfmGroups) -> Finding:
    """Good customers who have become less recent."""
    if result.slipping is None or result.slipping_revenue is None:
        statement = Prose(
            "Fewer than {minimum} good customers are among the least recent.",
            minimum=result.minimum,
        )
        advice, verdict = "Too few to act on as a group; keep watching.", Verdict.DOES_NOT_MATTER
    else:
        statement = Prose(
            "{slipping} good customers are among the least recent; they brought {revenue}.",
            slipping=result.slipping,
            revenue=result.slipping_revenue,
        )
        advice = (
            "A group by rank, so somebody is always in it: write first to those of them who are "
            "late by their own rhythm."
        )
        verdict = Verdict.CANNOT_TELL
    return Finding(
        id="features.slipping",
        rows=("M3.1",),
        statement=statement,
        verdict=verdict,
        owner="crm-lead",
        evidence=_LINES,
        value=result.slipping_revenue,
        good="down",
        so_what=Prose(advice),
        weight=2.2,
    )


def describe_category_moves(
    result: CategoryMoves, comparison: Comparison, *, as_of: date
) -> Finding:
    """Which category moved beyond chance."""
    before = against(comparison, as_of)
    note = _season_note(comparison)
    if result.strongest is None:
        statement = Prose(
            "No category's share of revenue moved beyond chance against {before}.",
            before=before,
        )
        verdict, value = Verdict.CANNOT_TELL, None
        so_what = Prose("Keep the ranges as planned." + note)
    else:
        name, value = result.strongest
        statement = Prose(
            "{name} {word} {value:size} of revenue share against {before} (likely {value:range}).",
            name=readable(name),
            word="gained" if value.value > 0 else "lost",
            value=value,
            before=before,
        )
        verdict = Verdict.MATTERS
        clear = Measured(
            value=float(result.moves["is_clear"].sum()), unit="count", n=value.n, as_of=as_of
        )
        so_what = Prose(
            "{clear} of {all} categories moved beyond chance, tested together; check price, range "
            "and season of this one first." + note,
            clear=clear,
            all=Measured(value=len(result.moves), unit="count", n=value.n, as_of=as_of),
        )
    return Finding(
        id="features.category_moves",
        rows=("M3.3",),
        statement=statement,
        verdict=verdict,
        owner="category-manager",
        evidence=("transactions", "products"),
        value=value,
        so_what=so_what,
        weight=3.5,
    )


def readable(name: str) -> str:
    """A category name as it stands in a sentence."""
    return name.capitalize() if name.isupper() else name


def describe_week(result: WeekRhythm) -> Finding:
    """The strongest and weakest day of the week."""
    if result.is_clear:
        statement = Prose(
            "{busiest} sells {high:signed} against an average day, {quietest} {low:signed}.",
            busiest=result.busiest,
            quietest=result.quietest,
            high=_against_average(result.busiest_index),
            low=_against_average(result.quietest_index),
        )
    else:
        statement = Prose("No day of the week stands out beyond chance.")
    return Finding(
        id="features.week_rhythm",
        rows=("M3.2",),
        statement=statement,
        verdict=Verdict.MATTERS if result.is_clear else Verdict.CANNOT_TELL,
        owner="category-manager",
        evidence=_LINES,
        value=result.busiest_index,
        so_what=Prose(
            "{advice}",
            advice=(
                f"Staff and fill shelves for {result.busiest}; "
                f"run what needs attention on {result.quietest}."
                if result.is_clear
                else "Plan the days alike."
            ),
        ),
        weight=1.5,
    )


def _against_average(index: Estimate) -> Estimate:
    return replace(
        index,
        value=index.value - 1,
        lower=index.lower - 1,
        upper=index.upper - 1,
        unit="change",
    )


def describe_reconciliation(result: Reconciliation, *, as_of: date) -> Check:
    """Do the features add up to the order lines, to the smallest unit of money."""
    difference = result.features_amount - result.lines_amount
    n = result.n_customers
    return Check(
        id="features.reconciliation",
        rows=("M3.3",),
        statement=Prose(
            "Features {word} the order lines of known customers; {anonymous} lines carry no "
            "customer.",
            word="add up to" if difference == 0 else "do not add up to",
            anonymous=Measured(value=result.n_anonymous_lines, unit="count", n=n, as_of=as_of),
        ),
        verdict=Verdict.PASS if difference == 0 else Verdict.FAIL,
        owner="data-engineer",
        evidence=_LINES,
        value=Measured(value=float(difference), unit="count", n=n, as_of=as_of),
        so_what=Prose(
            "{advice}",
            advice="No action." if difference == 0 else "Compare by day and find the first gap.",
        ),
    )


def headline_tiles(
    revenue: RevenueChange,
    repeat: RepeatRate,
    gaps: OrderGaps,
    concentration: Concentration,
    *,
    smallest_change_that_matters: float,
    smallest_repeat_change_that_matters: float,
) -> Tiles:
    """The numbers a category manager looks for first; their colours follow the findings.

    Args:
        smallest_change_that_matters: Of revenue and of spend per order, as a share.
        smallest_repeat_change_that_matters: Of the repeat rate, as a share.
    """
    late: Measured | Prose = gaps.n_late or Prose("fewer than {minimum}", minimum=gaps.minimum)
    return Tiles(
        (
            Tile(
                label="Revenue, recent window",
                value=revenue.revenue,
                change=revenue.change,
                smallest_change_that_matters=smallest_change(revenue, smallest_change_that_matters),
                good="up",
                note=Prose("{change:signed}", change=revenue.change),
            ),
            Tile(
                label="Spend per order",
                value=revenue.order_amount,
                change=revenue.order_amount_change,
                smallest_change_that_matters=smallest_change_that_matters,
                good="up",
                note=Prose("{change:signed}", change=revenue.order_amount_change)
                if revenue.order_amount_change is not None
                else None,
            ),
            Tile(
                label="Order again in time",
                value=repeat.rate,
                change=repeat.change,
                smallest_change_that_matters=smallest_repeat_change_that_matters,
                good="up",
                note=Prose("{change:signed}", change=in_points(repeat.change)),
            ),
            Tile(
                label="Revenue from the best fifth",
                value=concentration.share,
                note=Prose("{late} regulars are late", late=late),
            ),
        )
    )
