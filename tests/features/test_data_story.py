"""What the data lack is said, stands beside every total, and decides what may be said."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pandas as pd
import pytest

from insight_lib import features
from insight_lib.features.customers import choose_comparison
from insight_lib.features.record import Record, data_gaps, unread_lines, unread_share
from insight_lib.features.revenue import revenue_of
from insight_lib.features.value import estimate_revenue_change
from insight_lib.findings import Finding, Measured, Verdict
from insight_lib.orders import Coverage
from tests.cards import told

AS_OF = date(2024, 12, 31)


WHOLE = Coverage(first_day=date(2023, 1, 1), last_day=AS_OF)


def record(held: Coverage, unread: Measured | None) -> Record:
    return Record(held=held, unread=unread, as_of=AS_OF)


def total(unread: Measured | None, after: float = 50.0) -> Finding:
    """What is said of a revenue that rose by a quarter, or not at all."""
    comparison = choose_comparison(AS_OF, days=90, held=WHOLE)
    totals = pd.DataFrame(
        {
            "revenue_before_amount": [40.0] * 50,
            "revenue_after_amount": [after] * 50,
            "n_orders_before": [2] * 50,
            "n_orders_after": [2] * 50,
        }
    )
    change = estimate_revenue_change(totals, comparison, as_of=AS_OF, currency="EUR")
    return told(features, "revenue", revenue_of(change, record(WHOLE, unread), 0.03))


@pytest.mark.case("18")
def test_lines_that_nobody_could_read_stand_beside_every_total() -> None:
    assert unread_share(0, 100, as_of=AS_OF) is None
    assert "Not in it" not in str(total(None).statement)
    few, many = (unread_share(n, 2_084, as_of=AS_OF) for n in (10, 203))
    assert record(WHOLE, few).is_whole
    assert not record(WHOLE, many).is_whole
    said = total(few)
    assert said.verdict is Verdict.MATTERS
    assert "0.5% of the order lines" in str(said.statement)
    assert total(many).verdict is Verdict.CANNOT_TELL
    assert str(total(many).statement).startswith("The order lines that could be read add up to")
    assert total(few, after=40.0).verdict is Verdict.DOES_NOT_MATTER
    assert total(many, after=40.0).verdict is Verdict.CANNOT_TELL
    check = told(features, "unread_lines", unread_lines(record(WHOLE, many)))
    assert check.verdict is Verdict.FAIL
    assert "203 of 2,084" in str(check.statement)
    assert unread_lines(record(WHOLE, None)) is None
    assert record(WHOLE, many).hole == "9.7% of the order lines could not be read"
    assert record(WHOLE, few).hole is None


@pytest.mark.case("14")
def test_a_silence_is_asked_about_and_nobody_is_forecast_over_it() -> None:
    gap = (date(2024, 11, 1), date(2024, 11, 20))
    torn = record(replace(WHOLE, gaps=(gap,)), None)
    check = told(features, "data_gaps", data_gaps(torn))
    assert "on 20 of 731 days" in str(check.statement)
    assert "1 November 2024 to 20 November 2024" in str(check.statement)
    assert torn.hole == "345 of the last 365 days are covered by the data"
    assert data_gaps(record(WHOLE, None)) is None
