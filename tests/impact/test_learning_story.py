"""Sentences of the learning page say what the results say."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import ibis
import pandas as pd
import pytest

from insight_lib import impact
from insight_lib.findings import Estimate, Finding, Measured, TooFew, Verdict
from insight_lib.impact.adoption import Adoption, Resistance, SetAside, Use, resistance
from insight_lib.impact.agenda import (
    Agenda,
    Change,
    Item,
    Meeting,
    Pages,
    agenda,
    review,
    uncovered,
)
from insight_lib.impact.calendar import Update, updates, updates_of
from insight_lib.impact.forecasts import EVERYONE, Bias, Break, Correction, ForecastRecord
from insight_lib.impact.gaps import Blocked, Gap, gaps, gaps_of
from insight_lib.impact.inputs import Campaign
from insight_lib.impact.plans import JudgedPlans, planned, plans_met, post_mortem
from insight_lib.impact.postmortem import (
    Cause,
    Evidence,
    PlanEnding,
    PostMortem,
    Tested,
    plan_ending,
)
from insight_lib.impact.track_record import (
    Forecasts,
    forecast_of,
    forecasts,
    group_forecast,
    reliability_of,
    slope_of,
)
from insight_lib.prose import Name
from insight_lib.registers import Review
from insight_lib.words import read_words
from tests.cards import drawn, run_of, tabled

DAY = date(2025, 6, 30)
CUTS = (date(2025, 3, 31), date(2024, 12, 31))


def told(name: str, result: Any) -> Finding:
    """The finding of one result on the learning page."""
    return read_words(impact).finding(name, result, run_of("learning", DAY), ())


def forecast_told(
    record: ForecastRecord, *, smallest: float = 0.03, applied: float | None = None
) -> Finding:
    return told("forecast", forecast_of(record, smallest=smallest, applied=applied))


def estimate(value: float, half: float, unit: str = "change", n: int = 900) -> Estimate:
    return Estimate(
        value=value,
        lower=value - half,
        upper=value + half,
        unit=unit,
        n=n,
        as_of=DAY,
        method="given",
    )


def record(bias: float = 0.10, *, stands: bool = True, correct: bool = True) -> ForecastRecord:
    total = Bias(
        target="value", group=EVERYONE, bias=estimate(bias, 0.02), error=1.5, stands=stands
    )
    correction = Correction(
        target="value",
        factor=0.91,
        trial_factor=0.92,
        tried_on=CUTS[0],
        miss_before=0.10,
        miss_after=0.01,
    )
    return ForecastRecord(
        target="value",
        kind="amount",
        total=total,
        by_group=(
            replace(total, group="search", bias=estimate(-0.3, 0.05)),
            replace(total, group="store", bias=estimate(0.01, 0.05), stands=False),
        ),
        slope=estimate(0.8, 0.1, "ratio"),
        reliability=pd.DataFrame({"forecast": [10.0], "actual": [9.0], "customers": [300]}),
        by_cut=((CUTS[1], estimate(bias, 0.03)), (CUTS[0], estimate(-bias, 0.03))),
        swings=False,
        correction=correction if correct else None,
        why_not=None if correct else "no bias",
    )


def test_a_forecast_that_leans_names_the_entry_to_set() -> None:
    found = forecast_told(record())
    assert str(found.statement) == ("Forecasts of spend were 10% too high (likely 8% to 12%).")
    assert found.verdict is Verdict.MATTERS
    assert str(found.so_what) == (
        "Set prediction.corrections: {value: 0.910}. Tried on 31 March 2025, it cut the miss of "
        "the total from 10% to 1%."
    )
    kept = forecast_told(record(), applied=0.912)
    assert str(kept.so_what).startswith("Keep prediction.corrections")
    low = forecast_told(record(-0.10))
    assert str(low.statement) == "Forecasts of spend were 10% too low (likely 8% to 12%)."


def test_a_forecast_that_does_not_lean_or_swings_is_left_alone() -> None:
    still = record(0.01, stands=False, correct=False)
    found = forecast_told(still)
    assert str(found.statement).startswith("Forecasts of spend leaned neither way for sure")
    assert str(found.so_what) == "Correct nothing: no bias beyond chance."
    assert found.verdict is Verdict.CANNOT_TELL
    wide = record(0.2, stands=False, correct=False)  # far off, but not when all are judged
    found = forecast_told(wide)
    assert found.verdict is Verdict.CANNOT_TELL
    assert str(found.statement).endswith("among so many it may be chance.")
    small = forecast_told(record(), smallest=0.5)
    assert small.verdict is Verdict.DOES_NOT_MATTER
    assert str(small.so_what) == "Correct nothing: too small to change a plan."
    unsure = forecast_told(record(), smallest=0.1)
    assert unsure.verdict is Verdict.CANNOT_TELL
    assert str(unsure.so_what).startswith("It may be worth setting prediction.corrections")
    swings = replace(record(correct=False), swings=True)
    found = forecast_told(swings)
    assert str(found.statement) == "Forecasts of spend swung between −10% and +10% off."
    assert found.verdict is Verdict.REVIEW


def test_the_group_that_leans_most_is_named() -> None:
    group = group_forecast(record(), smallest=0.03)
    assert group is not None
    found = told("forecast_groups", group)
    assert "of spend for search were 30% too low (likely 25% to 35%)" in str(found.statement)
    none = replace(record(), by_group=record().by_group[1:])
    assert group_forecast(none, smallest=0.03) is None
    judged = Forecasts(records=(record(),))
    table = tabled(impact, "forecasts", judged)
    assert table is not None
    rows = table.rows
    assert [row[1] for row in rows] == ["everyone", "search", "store"]
    assert rows[1][-1] == "yes"
    fifths = tabled(impact, "reliability", reliability_of(record()))
    assert fifths is not None
    assert fifths.rows == (("1", "300", "10", "9"),)
    result = forecast_of(record(), smallest=0.03)
    tile = read_words(impact).tile("forecast", result, run_of("learning", DAY))
    assert tile.to_json()["value"] == "10%"
    chart = drawn(impact, "forecasts", judged)
    assert chart is not None
    assert "2 of 3 forecasts lean beyond chance" in str(chart._repr_mimebundle_())


@pytest.mark.parametrize(
    ("slope", "verdict"), [(0.8, Verdict.REVIEW), (0.95, Verdict.PASS), (1.3, Verdict.REVIEW)]
)
def test_forecasts_too_far_apart_are_to_be_reviewed(slope: float, verdict: Verdict) -> None:
    found = told("slope", slope_of(replace(record(), slope=estimate(slope, 0.1, "ratio"))))
    assert found.verdict is verdict


def fell_short(cause: Cause) -> PostMortem:
    area = "data" if cause is Cause.DATA else "execution"
    name: Tested = "start after the planned day"
    if cause is Cause.DATA:
        name = "failed checks of the sources"
    bad = cause in (Cause.DATA, Cause.EXECUTION)
    limit = Measured(value=0.9, unit="share", n=900, as_of=DAY)
    evidence = Evidence(
        area=area,
        name=name,
        seen=estimate(0.4, 0.1),
        limit=limit,
        is_bad=bad,
    )
    return PostMortem(
        campaign=Campaign(
            id="spring-2025",
            kind="offer",
            start=DAY - timedelta(days=30),
            end=DAY,
            cost_amount=None,
            is_randomised=True,
            n_assigned=900,
        ),
        metric="has_ordered",
        plan=Measured(value=0.06, unit="share", n=900, as_of=DAY),
        effect=estimate(0.02, 0.01),
        cause=cause,
        evidence=(evidence,),
        if_executed=estimate(0.05, 0.02) if cause is Cause.EXECUTION else None,
    )


@pytest.mark.parametrize(
    ("cause", "words", "verdict", "owner"),
    [
        (
            Cause.DATA,
            "Data flaw: failed checks of the sources.",
            Verdict.MATTERS,
            "data-engineer",
        ),
        (
            Cause.EXECUTION,
            "Execution gap: start after the planned day.",
            Verdict.MATTERS,
            "crm-lead",
        ),
        (Cause.STRATEGY, "though data and execution were sound.", Verdict.MATTERS, "crm-lead"),
        (Cause.CHANCE, "that may be chance.", Verdict.CANNOT_TELL, "crm-lead"),
        (Cause.UNRECORDED, "wrote down who was contacted.", Verdict.CANNOT_TELL, "crm-lead"),
    ],
)
def test_a_post_mortem_says_its_cause(
    cause: Cause, words: str, verdict: Verdict, owner: str
) -> None:
    result = fell_short(cause)
    found = told("post_mortem", result)
    assert str(found.statement).startswith("spring-2025 brought 2% (likely 1% to 3%), planned 6%")
    assert str(found.statement).endswith(words)
    assert (found.verdict, found.owner) == (verdict, owner)
    assert ("3% to 7%" in str(found.so_what)) is (cause is Cause.EXECUTION)
    table = tabled(impact, "post_mortem", result)
    assert table is not None
    assert table.rows[0][1:3] == (result.evidence[0].name, "40% (likely 30% to 50%)")


def judged(unjudged: tuple[tuple[str, str], ...] = (), **endings: tuple[str, ...]) -> JudgedPlans:
    return JudgedPlans(
        endings={PlanEnding[name]: names for name, names in endings.items()},
        post_mortems=(),
        unjudged=unjudged,
        n_customers=10,
    )


def test_plans_that_were_met_are_counted() -> None:
    found = told("plans_met", plans_met(judged(MET=("a",), UNSURE=("b", "c"), MISSED=("d",))))
    assert str(found.statement) == (
        "Of 4 campaign plans, 1 surely reached, 2 cannot be told yet and 1 surely not reached."
    )
    assert str(found.so_what) == "Reached: a. Not reached: d. Open: b and c."
    assert found.verdict is Verdict.REVIEW
    only = told("plans_met", plans_met(judged(UNSURE=("b",))))
    assert str(only.statement) == "Of 1 campaign plan, 1 cannot be told yet."
    assert only.verdict is Verdict.CANNOT_TELL
    assert told("plans_met", plans_met(judged(MET=("a",)))).verdict is Verdict.PASS
    assert plans_met(judged(MET=())) is None
    assert plan_ending(estimate(0.05, 0.01, "difference"), 0.03) is PlanEnding.MET
    assert plan_ending(estimate(0.05, 0.03, "difference"), 0.03) is PlanEnding.UNSURE
    assert plan_ending(estimate(0.01, 0.01, "difference"), 0.03) is PlanEnding.MISSED
    why = "the data begin less than 84 days before spring"
    (none,) = post_mortem(judged(unjudged=(("spring", why),)))
    one = read_words(impact).missing("post_mortem", none, run_of("learning", DAY), ())
    assert one.id == "learning.post_mortem.spring"
    assert one.verdict is Verdict.NOT_MEASURABLE
    assert "84 days before" in str(one.statement)


@pytest.mark.case("130h")
def test_a_shortfall_that_may_be_none_is_no_finding_that_matters() -> None:
    unsure = replace(fell_short(Cause.EXECUTION), effect=estimate(0.05, 0.03))
    found = told("post_mortem", unsure)
    assert found.verdict is Verdict.CANNOT_TELL
    assert "Whether it fell short is not sure." in str(found.statement)


@pytest.mark.case("130c")
def test_a_break_is_named_as_one() -> None:
    broke = Break(
        last=date(2025, 1, 31),
        first=date(2025, 2, 28),
        before=estimate(-0.02, 0.02, "change"),
        after=estimate(0.4, 0.05, "change"),
    )
    found = forecast_told(replace(record(correct=False), broke=broke))
    assert "broke between 31 January 2025 and 28 February 2025" in str(found.statement)
    assert "find out what changed" in str(found.so_what)
    assert "Teach" not in str(found.so_what)


@pytest.mark.case("126", "130i")
def test_slopes_and_gaps_say_no_more_than_there_is() -> None:
    wide = told("slope", slope_of(replace(record(), slope=estimate(1.24, 1.28, "ratio"))))
    assert wide.verdict is Verdict.REVIEW
    assert "cannot be told" in str(wide.so_what)
    alike = told("slope", slope_of(replace(record(), slope=None)))
    assert alike.verdict is Verdict.REVIEW
    blocked = Blocked(
        stage="impact", id="impact.a", rows=(), statement="No.", takes="A table.", weight=1.0
    )
    gap = Gap(table="campaigns", columns=(), minimum_rows=None, blocks=(blocked,), alone=0)
    assert "0 of them" not in str(told("gaps", gaps_of([gap], present=(), n=9)).so_what)
    only = Resistance(
        stage=Name("impact"), finding_id=Name("a"), overridden=8, decided=10,
        share=estimate(0.8, 0.1, "share", n=10),
    )  # fmt: skip
    assert "most" not in str(told("resistance", set_aside(only)).statement)


def test_a_late_model_is_named() -> None:
    late = Update(
        target=Name("value"),
        version="a",
        trained_as_of=date(2025, 1, 1),
        due=date(2025, 4, 2),
        because="schedule",
        reason=Name(""),
        is_overdue=True,
    )
    found = told("updates", updates_of([late], as_of=DAY))
    assert str(found.statement) == (
        "1 of 1 models are late for their update, spend since 2 April 2025."
    )
    assert found.verdict is Verdict.REVIEW
    moved = replace(late, is_overdue=False, because="launch", reason=Name("autumn line"))
    found = told("updates", updates_of([moved], as_of=DAY))
    assert found.verdict is Verdict.PASS
    assert "The launch of autumn line moved the day." in str(found.so_what)
    table = tabled(impact, "updates", updates_of([moved], as_of=DAY))
    assert table is not None
    assert table.rows[0][3:] == ("launch: autumn line", "on time")


def test_a_review_says_when_it_is_due_and_what_it_is_about() -> None:
    item = Item(
        change=Change.VERDICT,
        stage="value",
        finding_id="value.churn",
        statement="Churn rose.",
        owner="crm-lead",
        before="pass",
        after="matters",
    )
    meeting = Meeting(
        topic="Value & churn",
        owner="crm-lead",
        due=DAY - timedelta(days=1),
        is_overdue=True,
        was_held=True,
        items=(item,),
    )
    items = Agenda(meetings=(meeting,), uncovered=(), compared_with=CUTS[0], as_of=DAY)
    (due,) = review(items)
    found = told("review", due)
    assert found.owner == "crm-lead"
    assert found.due == meeting.due
    assert found.id == "learning.review.value_churn"
    assert str(found.statement) == "Review “Value & churn” is late; it was due on 29 June 2025."
    assert str(found.so_what) == "The agenda is what changed since 31 March 2025: 1 in all."
    assert found.verdict is Verdict.REVIEW
    empty = replace(meeting, items=(), is_overdue=False)
    (short,) = review(replace(items, meetings=(empty,)))
    assert "Nothing changed" in str(told("review", short).so_what)
    (first,) = review(replace(items, compared_with=None))
    assert "Nothing earlier to compare with" in str(told("review", first).so_what)
    with pytest.raises(TooFew, match="no review is in the register"):
        review(replace(items, meetings=()))
    table = tabled(impact, "review", due)
    assert table is not None
    assert table.rows == (
        ("Verdict changed", "value", "Churn rose.", "pass", "matters", "crm-lead"),
    )
    assert tabled(impact, "review", short) is None
    assert tabled(impact, "uncovered", uncovered(items)) is None


def use(acted: int, chance: float | None) -> Use:
    return Use(
        unit=Name("sales"),
        role=Name("field"),
        opened=40,
        acted=acted,
        overridden=0,
        acted_share=estimate(acted / 40, 0.0, "share", n=40),
        overridden_share=estimate(0.0, 0.0, "share", n=40),
        opened_change=None,
        acted_change=estimate(-0.2, 0.1) if acted else None,
        chance_of_silence=chance,
    )


def test_who_never_acts_is_named_and_chance_is_weighed() -> None:
    adoption = Adoption(
        units=(use(0, 0.001),),
        hidden_groups=2,
        resistance=(),
        events=80,
        as_of=DAY,
        quarter_days=91,
    )
    found = told("use", use(0, 0.001))
    assert found.id == "learning.adoption.sales.field"
    assert str(found.statement) == "Sales opened 40 reports and never acted."
    assert found.verdict is Verdict.MATTERS
    assert told("use", use(0, 0.2)).verdict is Verdict.CANNOT_TELL
    assert told("use", use(0, None)).verdict is Verdict.CANNOT_TELL
    acting = told("use", use(20, None))
    assert "acts on 50 in 100 reports" in str(acting.statement)
    assert "less often than the quarter before" in str(acting.so_what)
    table = tabled(impact, "units", adoption)
    assert table is not None
    assert table.rows[0][:5] == ("sales", "field", "40", "0", "0")
    assert "2" in table.note
    chart = drawn(impact, "units", adoption)
    assert chart is not None
    assert "Sales (field) opens reports and never acts" in str(chart._repr_mimebundle_())
    assert drawn(impact, "units", replace(adoption, units=())) is None


def set_aside(*found: Resistance) -> SetAside:
    adoption = Adoption(
        units=(), hidden_groups=0, resistance=found, events=80, as_of=DAY, quarter_days=91
    )
    return resistance(adoption)


def test_advice_that_is_set_aside_is_named() -> None:
    worst = Resistance(
        stage=Name("impact"),
        finding_id=Name("impact.split"),
        overridden=8,
        decided=10,
        share=estimate(0.8, 0.1, "share", n=10),
    )
    assert "“impact.split” is set aside most: 80 in 100" in str(
        told("resistance", set_aside(worst, worst)).statement
    )
    assert told("resistance", set_aside()).verdict is Verdict.CANNOT_TELL
    table = tabled(impact, "resistance", set_aside(worst))
    assert table is not None
    assert table.rows[0][:4] == ("impact.split", "impact", "10", "8")
    assert tabled(impact, "resistance", set_aside()) is None


def test_the_gap_that_blocks_most_is_named() -> None:
    blocked = Blocked(
        stage="impact", id="impact.a", rows=(), statement="No.", takes="A table.", weight=1.0
    )
    gap = Gap(table="campaigns", columns=(), minimum_rows=None, blocks=(blocked,), alone=1)
    found = told("gaps", gaps_of([gap], present=(), n=9))
    assert str(found.statement) == "1 question waits for data; campaigns would help with 1."
    more = told("gaps", gaps_of([gap], present=("campaigns",), n=9))
    assert "more of campaigns" in str(more.statement)
    table = tabled(impact, "gaps", gaps_of([gap], present=(), n=9))
    assert table is not None
    assert table.rows[0][:2] == ("campaigns", "missing")
    assert told("gaps", gaps_of([], present=(), n=9)).verdict is Verdict.PASS
    assert tabled(impact, "gaps", gaps_of([], present=(), n=9)) is None


class Empty:
    """A market without tables, whose other stages have not run."""

    def has(self, table: str) -> bool:
        return False


def test_what_a_market_lacks_is_given_as_the_reason() -> None:
    run, nothing = run_of("learning", DAY), Pages(now=(), before=())
    with pytest.raises(TooFew, match="stage prediction has published no forecasts"):
        forecasts(run)
    with pytest.raises(TooFew, match="stage monitoring has published no states"):
        updates((), run)
    with pytest.raises(TooFew, match="no campaign has a plan"):
        planned(())
    with pytest.raises(TooFew, match="no other stage has run"):
        gaps(nothing, Empty())


def test_a_review_is_of_the_markets_that_it_names() -> None:
    asked = Review(
        topic="Value", markets=("all",), stages=("value",), owner="crm-lead", every_days=91
    )
    elsewhere = asked.model_copy(update={"markets": ("elsewhere",)})
    found = agenda((asked, elsewhere), Pages(now=(), before=()), run_of("learning", DAY))
    assert [meeting.topic for meeting in found.meetings] == ["Value"]


def test_customers_are_grouped_by_what_was_known_of_them() -> None:
    customers = [f"c{i:03}" for i in range(400)]
    past = pd.DataFrame(
        {
            "customer_id": customers,
            "target": "lapse",
            "kind": "binary",
            "cut": pd.Timestamp(CUTS[0]),
            "forecast": [0.2 + i / 2000 for i in range(400)],
            "actual": [float(i % 3 == 0) for i in range(400)],
        }
    )
    channels = ["search" if i % 2 else "store" for i in range(400)]
    column = run_of("learning", DAY).parameters.forecast_group_column
    people = ibis.memtable(pd.DataFrame({"customer_id": customers, column: channels}))
    judged = forecasts(run_of("learning", DAY), ibis.memtable(past), people)
    assert {b.group for b in judged.biases} == {EVERYONE, "search", "store"}
    assert {b.group for b in forecasts(run_of("learning", DAY), ibis.memtable(past)).biases} == {
        EVERYONE
    }
