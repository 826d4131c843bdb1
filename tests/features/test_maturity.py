"""Which description the data are ripe for: every threshold, exactly at it and a hair below."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import ibis
import pandas as pd
import pytest

from insight_lib import features
from insight_lib.features.maturity import (
    Approach,
    MaturityFacts,
    MaturityThresholds,
    choose_approach,
    measure_maturity,
    ripe_for,
)
from insight_lib.findings import TooFew, Verdict
from tests.cards import tabled, told

AS_OF = date(2025, 12, 31)
T = MaturityThresholds(
    value_history_days=365,
    value_repeat_rate=0.25,
    value_repeaters=300,
    behaviour_events=3.0,
    behaviour_customers=100,
    rfm_history_days=90,
    rfm_customers=100,
)
# Exactly at every threshold of customer value: 300 of 1,200 is the rate of a quarter.
RIPE = MaturityFacts(
    history_days=365,
    customers=1200,
    repeaters=300,
    events=3.0,
    customers_with_events=100,
    as_of=AS_OF,
)
POOR = replace(RIPE, repeaters=299)
BARE = replace(POOR, events=0.0, customers_with_events=0, history_days=90, customers=100)


def approach(facts: MaturityFacts) -> Approach:
    return choose_approach(facts, thresholds=T).approach


@pytest.mark.row("M3.1")
@pytest.mark.parametrize(
    ("facts", "chosen"),
    [
        (RIPE, Approach.CUSTOMER_VALUE),
        (replace(RIPE, history_days=364), Approach.BEHAVIOUR),
        (replace(RIPE, repeaters=299), Approach.BEHAVIOUR),
        (replace(RIPE, customers=1201), Approach.BEHAVIOUR),  # the rate falls below a quarter
        (replace(RIPE, customers=1196, repeaters=299), Approach.BEHAVIOUR),  # rate met, too few
        (replace(POOR, events=2.999), Approach.RFM),
        (replace(POOR, customers_with_events=99), Approach.RFM),
        (BARE, Approach.RFM),
        (replace(BARE, history_days=89), Approach.NONE),
        (replace(BARE, customers=99, repeaters=50), Approach.NONE),
    ],
)
def test_each_threshold_decides_exactly(facts: MaturityFacts, chosen: Approach) -> None:
    facts = replace(facts, repeaters=min(facts.repeaters, facts.customers))
    assert approach(facts) is chosen


def test_thresholds_are_arguments() -> None:
    easier = replace(T, value_repeaters=299, value_repeat_rate=0.2)
    assert choose_approach(POOR, thresholds=easier).approach is Approach.CUSTOMER_VALUE


def test_the_rule_that_fired_and_what_is_missing_are_said() -> None:
    result = choose_approach(POOR, thresholds=T)
    assert [f.name for f in result.missing] == ["customers who bought again", "repeat customers"]
    finding = told(features, "maturity", ripe_for(result, True))
    assert "enough events" in str(finding.statement)
    assert "24.9%" in str(finding.so_what)
    assert finding.verdict is Verdict.CANNOT_TELL  # the rate lies on both sides of its threshold
    sure = choose_approach(replace(RIPE, repeaters=900), thresholds=T)
    assert told(features, "maturity", ripe_for(sure, True)).verdict is Verdict.MATTERS
    assert not sure.missing
    table = tabled(features, "maturity", ripe_for(sure, True))
    assert table is not None
    assert len(table.rows) == 7
    nothing = choose_approach(replace(BARE, history_days=10, repeaters=0), thresholds=T)
    assert "totals" in str(told(features, "maturity", ripe_for(nothing, True)).statement)


def test_no_customer_is_too_few() -> None:
    with pytest.raises(TooFew):
        choose_approach(replace(RIPE, customers=0, repeaters=0), thresholds=T)


def test_facts_by_hand() -> None:
    connection = ibis.duckdb.connect()
    summary = connection.create_table(
        "summary",
        pd.DataFrame(
            {"customer_id": ["a", "b", "c"], "frequency": [0, 2, 1], "age": [1.0, 13.0, 2.0]}
        ),
    )
    events = connection.create_table(
        "events",
        pd.DataFrame(
            {
                "customer_id": ["a", "a", "b", None, "c"],
                "occurred_at": pd.to_datetime(
                    ["2025-12-31", "2025-10-03", "2025-12-01", "2025-12-01", "2025-10-02"]
                ),
            }
        ),
    )
    facts = measure_maturity(summary, events, as_of=AS_OF)
    assert (facts.history_days, facts.customers, facts.repeaters) == (92, 3, 2)
    # The last ninety days begin on 3 October; the event without a customer counts for nobody.
    assert facts.events == pytest.approx(3 / 3)
    assert facts.customers_with_events == 2
    assert measure_maturity(summary, None, as_of=AS_OF).events == 0


@pytest.mark.case("4")
@pytest.mark.parametrize("carries_budgets", [False, None])
def test_no_budget_is_advised_that_the_forecast_does_not_carry(
    carries_budgets: bool | None,
) -> None:
    ripe = choose_approach(replace(RIPE, repeaters=900), thresholds=T)
    backed, other = (
        told(features, "maturity", ripe_for(ripe, backs)) for backs in (True, carries_budgets)
    )
    assert "budget customers" in str(backed.so_what)
    assert "budget customers" not in str(other.so_what)
