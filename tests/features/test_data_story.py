"""What the data lack is said, stands beside every total, and decides what may be said."""

from __future__ import annotations

from datetime import date

import pytest

from insight_lib.features.data_story import (
    describe_coverage,
    describe_unread,
    is_whole,
    with_unread,
)
from insight_lib.features.record import Record, unread_share
from insight_lib.findings import Finding, Measured, Prose, Verdict
from insight_lib.orders import Coverage

AS_OF = date(2024, 12, 31)


def hole(held: Coverage, unread: Measured | None) -> str | None:
    return Record(held=held, unread=unread, as_of=AS_OF).hole


def total(verdict: Verdict) -> Finding:
    return Finding(
        id="features.x",
        rows=("M3.3",),
        statement=Prose("Revenue rose."),
        verdict=verdict,
        owner="crm-lead",
        evidence=("transactions",),
    )


@pytest.mark.case("18")
def test_lines_that_nobody_could_read_stand_beside_every_total() -> None:
    assert unread_share(0, 100, as_of=AS_OF) is None
    assert with_unread(total(Verdict.MATTERS), None) == total(Verdict.MATTERS)
    few, many = (unread_share(n, 2_084, as_of=AS_OF) for n in (10, 203))
    assert is_whole(few)
    assert not is_whole(many)
    said = with_unread(total(Verdict.MATTERS), few)
    assert said.verdict is Verdict.MATTERS
    assert "0.5% of the order lines" in str(said.statement)
    assert with_unread(total(Verdict.MATTERS), many).verdict is Verdict.CANNOT_TELL
    assert with_unread(total(Verdict.PASS), many).verdict is Verdict.REVIEW
    check = describe_unread(many)
    assert check is not None
    assert check.verdict is Verdict.FAIL
    assert "203 of 2,084" in str(check.statement)
    whole = Coverage(first_day=date(2023, 1, 1), last_day=AS_OF)
    assert hole(whole, many) == "9.7% of the order lines could not be read"
    assert hole(whole, few) is None


@pytest.mark.case("14")
def test_a_silence_is_asked_about_and_nobody_is_forecast_over_it() -> None:
    gap = (date(2024, 11, 1), date(2024, 11, 20))
    held = Coverage(first_day=date(2023, 1, 1), last_day=AS_OF, gaps=(gap,))
    check = describe_coverage(held, as_of=AS_OF)
    assert check is not None
    assert "on 20 of 731 days" in str(check.statement)
    assert "1 November 2024 to 20 November 2024" in str(check.statement)
    assert hole(held, None) == "345 of the last 365 days are covered by the data"
    whole = Coverage(first_day=date(2023, 1, 1), last_day=AS_OF)
    assert describe_coverage(whole, as_of=AS_OF) is None
