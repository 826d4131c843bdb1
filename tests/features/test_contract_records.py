"""Contracts as they were lived: renewals, upgrades, ends without a day, records that began late."""

from __future__ import annotations

from datetime import date, timedelta

import ibis
import numpy as np
import pandas as pd
import pytest

from insight_lib import features
from insight_lib.features.competing_risks import ChurnCauses, estimate_churn_causes
from insight_lib.features.contract_life import contract_survival, recorded_contracts
from insight_lib.features.contract_records import Contracts, contract_records
from insight_lib.findings import Verdict
from tests.cards import told

AS_OF = date(2025, 12, 31)
COLUMNS = ["contract_id", "customer_id", "start_date", "term_end_date", "end_date", "end_reason"]


def read(rows: list[tuple], **options) -> Contracts:
    raw = ibis.memtable(pd.DataFrame(rows, columns=COLUMNS).assign(monthly_amount=100.0))
    dates = {n: raw[n].cast("date") for n in ("start_date", "term_end_date", "end_date")}
    table = raw.mutate(**dates, end_reason=raw.end_reason.cast("string"))
    return contract_records(table, as_of=AS_OF, **options)


def churn(found: Contracts, months: int = 24) -> ChurnCauses:
    return estimate_churn_causes(
        found.spells, as_of=AS_OF, horizon_months=months, minimum_at_risk=20
    )


def day(ago: int) -> str:
    return (AS_OF - timedelta(days=ago)).isoformat()


@pytest.mark.case("112", "113")
def test_records_by_hand() -> None:
    found = read(
        [
            # Renewed on the next day, then upgraded; still in force.
            ("k1", "a", "2023-01-01", "2023-12-31", "2023-12-31", None),
            ("k2", "a", "2024-01-01", "2024-12-31", "2024-07-01", "voluntary"),
            ("k3", "a", "2024-07-02", "2025-07-01", None, None),
            # Left, and came back half a year later.
            ("k4", "b", "2023-01-01", "2023-12-31", "2023-12-31", "voluntary"),
            ("k5", "b", "2024-07-01", "2025-06-30", None, None),
            # A second one beside the first.
            ("k6", "c", "2023-01-01", "2026-12-31", None, None),
            ("k7", "c", "2024-03-01", "2026-02-28", None, None),
            # A reason without a day, after its term; and one whose term is still ahead.
            ("k8", "d", "2024-01-01", "2024-12-31", None, "payment"),
            ("k9", "e", "2025-11-01", "2026-10-31", None, "payment"),
            # No end on record, and a new row at the term.
            ("l1", "f", "2024-01-01", "2024-12-31", None, None),
            ("l2", "f", "2025-01-01", "2025-12-31", None, None),
            ("l3", "g", "2025-02-01", "2025-12-31", "2025-01-01", "payment"),
        ]
    )
    spells = found.spells.set_index("contract_id")
    assert spells.index.tolist() == ["k1", "k4", "k5", "k6", "k7", "k8", "k9", "l1"]
    assert spells["exit_days"].tolist() == [1095, 364, 548, 1095, 670, 365, 30, 730]
    assert spells["cause"].fillna("").tolist() == [
        *("", "voluntary", "", "", "", "payment", "payment", "")
    ]
    assert (found.n_joined, found.n_day_unknown, found.n_set_aside) == (3, 2, 1)
    check = told(features, "recorded_contracts", recorded_contracts(found))
    assert check.verdict is Verdict.REVIEW
    assert "3 contracts go on with an earlier one" in str(check.statement)
    assert "and 1 end before they start" in str(check.statement)


def yearly(seed: int, *, n: int = 600, renews: float = 0.8) -> tuple[list[tuple], list[tuple]]:
    """Contracts of one year; each renewal is a new row, or all of them are one."""
    rng = np.random.default_rng(seed)
    rows, whole = [], []
    for i in range(n):
        first = start = int(rng.integers(400, 1_400))
        years, gone = 0, False
        while start > 0 and not gone:
            end = start - 365
            gone = end >= 0 and rng.random() >= renews
            past = end >= 0
            reason = "non_renewal" if gone else None
            rows.append(
                (f"k{i}-{years}", f"a{i}", day(start), day(end), day(end) if past else None, reason)
            )
            start, years = end, years + 1
        last = day(start) if gone else None
        whole.append((f"k{i}-0", f"a{i}", day(first), day(start), last, reason))
    return rows, whole


@pytest.mark.case("112")
def test_renewals_as_new_rows_are_one_spell() -> None:
    rows, whole = yearly(1)
    split, joined = churn(read(rows)), churn(read(whole))
    assert split.in_force == joined.in_force
    assert not split.in_force.excludes(0.64)
    assert split.horizon_months == 24


@pytest.mark.case("112")
def test_a_horizon_that_was_cut_says_so() -> None:
    rng = np.random.default_rng(0)
    rows = [
        (f"k{i}", f"a{i}", day(400), day(35), day(int(rng.integers(60, 390))), "voluntary")
        if i < 10
        else (f"k{i}", f"a{i}", day(400), day(35), None, None)
        for i in range(200)
    ]
    result = churn(read(rows))
    assert result.horizon_months < result.asked_months == 24
    staying = told(features, "contract_survival", contract_survival(result))
    assert "up to 24 months cannot be said" in str(staying.statement)
    assert staying.verdict is not Verdict.DOES_NOT_MATTER


def late_records(seed: int, *, recorded_from: int | None) -> list[tuple]:
    """Constant hazard, half ended after 21 months; only ends in the last days are on record."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(1_500):
        start, life = int(rng.integers(1, 2_500)), int(rng.exponential(940))
        end = start - life
        if recorded_from is not None and end > recorded_from:
            continue  # ended before the records began: not in the file
        rows.append(
            (
                f"k{i}",
                f"a{i}",
                day(start),
                day(start - 365),
                day(end) if end >= 0 else None,
                "voluntary" if end >= 0 else None,
            )
        )
    return rows


@pytest.mark.case("111")
def test_records_that_began_late_are_entered_late() -> None:
    truth = float(np.exp(-730.5 / 940))
    found = read(late_records(1, recorded_from=900))
    assert found.observed_from is not None
    assert abs((AS_OF - found.observed_from).days - 900) < 30
    assert not churn(found).in_force.excludes(truth)
    # As it was: everybody watched from the start.
    spells = found.spells.assign(entry_days=0)
    flattering = estimate_churn_causes(spells, as_of=AS_OF, horizon_months=24, minimum_at_risk=20)
    assert flattering.in_force.lower > truth
    whole = read(late_records(1, recorded_from=None))
    assert whole.observed_from is None
    declared = read(late_records(1, recorded_from=None), observed_from=date(2023, 7, 1))
    assert declared.observed_from == date(2023, 7, 1)
    assert not churn(declared).in_force.excludes(truth)


@pytest.mark.case("111")
def test_terms_of_a_year_are_no_late_records() -> None:
    _, whole = yearly(2)
    assert read(whole).observed_from is None
