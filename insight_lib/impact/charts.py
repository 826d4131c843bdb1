"""Results as figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

import pandas as pd

from insight_lib.charts import Caption, Chart, Mark, plot_dots, plot_line, plot_tracking
from insight_lib.findings import Measured, Prose, Verdict
from insight_lib.impact.counterfactual import SideBySide
from insight_lib.impact.effects import Effect
from insight_lib.impact.guard_rails import GuardResult
from insight_lib.impact.panel import Panel
from insight_lib.impact.returns import Advice, Return
from insight_lib.impact.sequential import Monitoring
from insight_lib.impact.targeted import Targeted
from insight_lib.impact.uplift import Uplift
from insight_lib.statistics import in_points


def chart_effects(
    effects: Mapping[str, Effect], *, what: str, market: str, source: str, name: str = "effects"
) -> Chart:
    """The change of one metric, by campaign, arm or group of customers."""
    changes = {name: in_points(e.change) for name, e in effects.items()}
    clear = [name for name, e in effects.items() if e.stands]
    first = next(iter(changes.values()))
    frame = pd.DataFrame(
        [(n, c.value, c.lower, c.upper, c.n) for n, c in changes.items()],
        columns=["name", "change", "lower", "upper", "customers"],
    )
    count = Measured(value=len(clear), unit="count", n=first.n, as_of=first.as_of)
    every = Measured(value=len(changes), unit="count", n=first.n, as_of=first.as_of)
    return plot_dots(
        frame,
        caption=Caption(
            id=name,
            title=Prose(
                "{count} of {every} comparisons show a change beyond chance",
                count=count,
                every=every,
            ),
            subtitle=f"Change of {what} against customers left alone, {market}",
            source=source,
            reading=Prose(
                "Each point is the difference between contacted customers and those left alone "
                "by lot; its line is where the true difference very likely lies. A line that "
                "crosses the middle may be no change at all."
            ),
        ),
        label="name",
        value="change",
        lower="lower",
        upper="upper",
        unit=first.unit,
        n="customers",
        highlight=clear,
        reference=Mark(at=0.0, text="no change"),
    )


def chart_monitoring(result: Monitoring, *, what: str, market: str, source: str) -> Chart:
    """The effect so far, day by day, with ranges that may be read every day."""
    changes = [in_points(look.change) for look in result.looks]
    frame = pd.DataFrame(
        {
            "day": [pd.Timestamp(look.looked_on) for look in result.looks],
            "change": [c.value for c in changes],
            "lower": [c.lower for c in changes],
            "upper": [c.upper for c in changes],
        }
    )
    return plot_line(
        frame,
        caption=Caption(
            id="monitoring",
            title=(
                Prose("The answer was sure on {day}", day=result.stop.looked_on)
                if result.stop
                else Prose("No day gave a sure answer")
            ),
            subtitle=f"Change of {what} so far, {market}",
            source=source,
            reading=Prose(
                "The band is made for looking every day: stopping on the first day on which it "
                "leaves zero is right as often as stated. A plain test stopped so would not be."
            ),
        ),
        x="day",
        y="change",
        unit=changes[0].unit,
        lower="lower",
        upper="upper",
        reference=Mark(at=0.0, text="no change"),
        is_zero_based=False,
    )


def chart_uplift(result: Uplift, *, what: str, market: str, source: str) -> Chart:
    """Gain by share contacted, against contacting at random."""
    curve = result.curve
    best = curve.assign(series="Best first", value=curve["gain"])
    chance = curve.assign(series="At random", value=curve["random"], lower=None, upper=None)
    frame = pd.concat([best, chance.astype({"lower": float, "upper": float})])
    is_share = result.better_than_random.unit == "difference"
    if is_share:
        frame[["value", "lower", "upper"]] *= 100
    return plot_line(
        frame.assign(percent=frame["share"] * 100),
        caption=Caption(
            id="uplift",
            title=(
                Prose("Choosing whom to contact beats chance")
                if result.is_better
                else Prose("Choosing whom to contact is no better than chance")
            ),
            subtitle=f"Extra {what} per customer by share contacted, {market}",
            source=source,
            reading=Prose(
                "From left to right ever more customers are contacted, those expected to answer "
                "most first. Each was scored without having been seen. The higher the line runs "
                "above the straight one, the more choosing is worth."
            ),
        ),
        x="percent",
        y="value",
        unit="points" if is_share else result.better_than_random.unit,
        series="series",
        lower="lower",
        upper="upper",
        highlight="Best first",
        x_title="Share of customers contacted, percent",
    )


def chart_targeted(result: Targeted, *, market: str, source: str) -> Chart:
    """Plain difference, difference before, adjusted, and the placebo."""
    rows = [
        ("Plain difference", result.naive),
        ("Difference before anything was sent", result.selection),
        ("With the choice taken out", result.adjusted),
        ("The same in an older window", result.placebo),
    ]
    frame = pd.DataFrame(
        [(name, e.value, e.lower, e.upper, e.n) for name, e in rows],
        columns=["name", "change", "lower", "upper", "customers"],
    )
    return plot_dots(
        frame,
        caption=Caption(
            id="targeted",
            title=Prose("Chosen customers spent {gap} more before", gap=result.selection),
            subtitle=f"Spend of chosen against other customers in equal windows, {market}",
            source=source,
            reading=Prose(
                "The first row is what a plain comparison shows. The second is how far apart the "
                "groups were already. The third compares customers who could have been chosen or "
                "not. The last does so where there is nothing to find; it should lie on zero."
            ),
        ),
        label="name",
        value="change",
        lower="lower",
        upper="upper",
        unit=result.naive.unit,
        n="customers",
        highlight=["With the choice taken out"],
        is_sorted=False,
        reference=Mark(at=0.0, text="no difference"),
    )


def chart_counterfactual(
    result: SideBySide, panel: Panel, *, start: date, currency: str, market: str, source: str
) -> Chart:
    """Actual against what would have come, by the method that followed best before."""
    answer = min(result.trusted or result.answers, key=lambda a: (a.fit_error, a.method))
    days = [pd.Timestamp(start + timedelta(weeks=int(w))) for w in panel.outcome.index]
    frame = pd.DataFrame(
        {
            "day": days,
            "actual": panel.series(panel.treated),
            "expected": answer.expected.to_numpy(),
        }
    )
    return plot_tracking(
        frame,
        caption=Caption(
            id="counterfactual",
            title=Prose("Against what would have come: {change:signed}", change=answer.relative),
            subtitle=f"Revenue per week in {', '.join(panel.treated)}, {market}",
            source=source,
            reading=Prose(
                "One line is what came; the other is what the other places say would have come. "
                "Before the start they should run together."
            ),
        ),
        x="day",
        actual="actual",
        expected="expected",
        unit=currency,
        events=[Mark(at=pd.Timestamp(start), text="start")],
    )


def chart_returns(
    returns: Sequence[Return],
    *,
    market: str,
    source: str,
    name: str = "returns",
    what: str = "lines of spending",
) -> Chart:
    """Return on each line of spending with its range."""
    sure = [r.line for r in returns if r.advice is not Advice.HOLD]
    roi = returns[0].roi
    frame = pd.DataFrame(
        [(r.line, r.roi.value, r.roi.lower, r.roi.upper, r.roi.n) for r in returns],
        columns=["line", "roi", "lower", "upper", "customers"],
    )
    return plot_dots(
        frame,
        caption=Caption(
            id=name,
            title=Prose(
                "{count} of {every} {what} have a sure return",
                what=what,
                count=Measured(value=len(sure), unit="count", n=roi.n, as_of=roi.as_of),
                every=Measured(value=len(returns), unit="count", n=roi.n, as_of=roi.as_of),
            ),
            subtitle=f"Extra margin less cost, as a share of cost, {market}",
            source=source,
            reading=Prose(
                "At the middle line a contact has just paid for itself. A line of spending whose "
                "whole range lies to the right pays; one whose range crosses may do either."
            ),
        ),
        label="line",
        value="roi",
        lower="lower",
        upper="upper",
        unit="share",
        n="customers",
        highlight=sure,
        reference=Mark(at=0.0, text="pays for itself"),
    )


def chart_guard_rails(guards: Sequence[GuardResult], *, market: str, source: str) -> Chart:
    """Harm on each guard-rail as a multiple of what is accepted."""
    rows = [
        (g.rail.metric.name, *(end / g.rail.margin for end in (g.harm.value, g.harm.lower,
         g.harm.upper)), g.harm.n) for g in guards
    ]  # fmt: skip
    failed = [g.rail.metric.name for g in guards if g.verdict is Verdict.FAIL]
    safe = [g.rail.metric.name for g in guards if g.verdict is Verdict.PASS]
    first = guards[0].harm
    return plot_dots(
        pd.DataFrame(rows, columns=["name", "harm", "lower", "upper", "customers"]),
        caption=Caption(
            id="guard_rails",
            title=Prose(
                "{count} of {every} guard-rails are surely kept",
                count=Measured(value=len(safe), unit="count", n=first.n, as_of=first.as_of),
                every=Measured(value=len(guards), unit="count", n=first.n, as_of=first.as_of),
            ),
            subtitle=f"Harm as a multiple of the most that is accepted, {market}",
            source=source,
            reading=Prose(
                "To the right is worse. A line that ends before the mark is surely within what "
                "is accepted; one that begins behind it is surely beyond; one that crosses it "
                "leaves the question open."
            ),
        ),
        label="name",
        value="harm",
        lower="lower",
        upper="upper",
        unit="ratio",
        n="customers",
        highlight=failed,
        is_sorted=False,
        reference=Mark(at=1.0, text="most accepted"),
    )
