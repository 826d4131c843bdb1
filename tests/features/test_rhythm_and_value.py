"""Gaps, repeat rate, week, drivers and moves: by hand, as identities, and over many seeds."""

from __future__ import annotations

from datetime import date, timedelta

import ibis
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from insight_lib.features.customers import choose_comparison, window_totals
from insight_lib.features.rhythm import (
    estimate_order_gaps,
    estimate_repeat_rate,
    estimate_week_rhythm,
)
from insight_lib.features.story import (
    describe_category_moves,
    describe_gaps,
    describe_repeat,
    describe_revenue,
)
from insight_lib.features.value import (
    describe_rfm,
    estimate_category_moves,
    estimate_concentration,
    estimate_revenue_change,
)
from insight_lib.findings import TooFew, Verdict

AS_OF = date(2024, 12, 31)
BEFORE = choose_comparison(AS_OF, days=90, first_day=date(2024, 6, 1))
MONTH = choose_comparison(AS_OF, days=30, first_day=date(2024, 6, 1))


def by_order(rows: list[tuple[str, str, float]]) -> ibis.Table:
    frame = pd.DataFrame(rows, columns=["customer_id", "order_date", "amount"])
    frame["order_date"] = pd.to_datetime(frame["order_date"]).dt.date
    raw = ibis.memtable(frame)
    return raw.mutate(
        order_date=raw.order_date.cast("date"),
        amount=raw.amount.cast("decimal(18, 4)"),
        is_return=ibis.literal(False),
    )


def days_before(*days: int) -> list[str]:
    return [(AS_OF - timedelta(days=d)).isoformat() for d in days]


def features(**columns: list) -> pd.DataFrame:
    n = len(next(iter(columns.values())))
    return pd.DataFrame({"customer_id": [f"c{i}" for i in range(n)], **columns})


def test_gaps_by_hand() -> None:
    # Gaps of a: 7, 7, 7, 7; b: 30. Two orders of a on one day are one order day.
    dates = days_before(128, 121, 114, 107, 100, 100)
    rows = [("a", d, 10.0) for d in dates] + [("b", d, 5.0) for d in days_before(40, 10)]
    frame = features(
        n_order_days=[5, 2],
        days_since_last_order=[100, 10],
        mean_gap_days=[7.0, 30.0],
        revenue_amount=[60.0, 10.0],
    )
    gaps = estimate_order_gaps(by_order(rows), frame, as_of=AS_OF, history_days=365, currency="EUR")
    assert dict(zip(gaps.counts["gap_days"], gaps.counts["n_gaps"], strict=True)) == {7: 4, 30: 1}
    assert (gaps.median_days.value, gaps.most_days.value) == (7, 30)
    assert (gaps.n_regular, gaps.n_late.value, gaps.late_revenue.value) == (1, 1, 60.0)
    assert "1 regular customers are late" in str(describe_gaps(gaps).statement)


def test_nobody_with_two_days_is_too_few() -> None:
    frame = features(
        n_order_days=[1], days_since_last_order=[1], mean_gap_days=[np.nan], revenue_amount=[5.0]
    )
    with pytest.raises(TooFew):
        estimate_order_gaps(
            by_order([("a", "2024-12-30", 5.0)]),
            frame,
            as_of=AS_OF,
            history_days=365,
            currency="EUR",
        )


def test_repeat_rate_by_hand() -> None:
    # Entry window of 30 days: 59 to 30 days before. a returns on day 20 of 30; b too late; c the
    # same day only; d never; e entered after the window closed and does not count.
    rows = [
        (c, d, 1.0)
        for c, ds in {
            "a": days_before(50, 30),
            "b": days_before(59, 28),
            "c": days_before(40, 40),
            "d": days_before(45),
            "e": days_before(29, 2),
        }.items()
        for d in ds
    ]
    # One window earlier (89 to 60 days before) f and g entered, and f returned.
    rows += [("f", d, 1.0) for d in days_before(80, 70)] + [("g", days_before(75)[0], 1.0)]
    result = estimate_repeat_rate(by_order(rows), as_of=AS_OF, window_days=30)
    assert result.rate.value == pytest.approx(1 / 4)
    assert result.before.value == pytest.approx(1 / 2)
    assert result.change.value == pytest.approx(-1 / 4)


@pytest.mark.slow
def test_repeat_rate_covers_the_truth_and_stays_calm_when_nothing_changes() -> None:
    runs, hits, alarms, small = 300, 0, 0, 0.05
    truth = 0.6
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        rows = []
        for i in range(400):
            for start in (134, 75):  # once in each entry window, and too far apart to count
                entry = start - int(rng.integers(0, 10))
                rows.append((f"c{i}", AS_OF - timedelta(days=entry), 1.0))
                if rng.random() < truth:
                    back = entry - int(rng.integers(1, 15))
                    rows.append((f"c{i}", AS_OF - timedelta(days=back), 1.0))
        frame = by_order([(c, d.isoformat(), a) for c, d, a in rows])
        result = estimate_repeat_rate(frame, as_of=AS_OF, window_days=45)
        finding = describe_repeat(result, smallest_change_that_matters=small)
        hits += not result.change.excludes(0) and not result.rate.excludes(truth)
        alarms += finding.verdict is Verdict.MATTERS
    # Both intervals hold at once in about nine of ten runs.
    assert hits >= stats.binom.ppf(0.001, runs, 0.95**2)
    assert alarms <= stats.binom.ppf(0.999, runs, 0.05)


def revenue_frame(before: list[float], after: list[float], n_before: list[int], n_after: list[int]):
    return features(
        revenue_before_amount=before,
        revenue_after_amount=after,
        n_orders_before=n_before,
        n_orders_after=n_after,
    )


def test_drivers_add_up_to_the_change() -> None:
    rng = np.random.default_rng(3)
    n_before, n_after = rng.poisson(3, 500), rng.poisson(2, 500)
    frame = revenue_frame(
        (n_before * rng.gamma(3, 9, 500)).tolist(),
        (n_after * rng.gamma(3, 11, 500)).tolist(),
        n_before.tolist(),
        n_after.tolist(),
    )
    result = estimate_revenue_change(frame, BEFORE, as_of=AS_OF, currency="EUR")
    total = sum(effect for _, effect in result.drivers)
    assert total == pytest.approx(result.revenue.value - result.revenue_before.value)
    finding = describe_revenue(result, smallest_change_that_matters=0.03)
    assert "season and trend cannot be told apart" in str(finding.so_what)


def test_only_the_driver_that_moved_is_named() -> None:
    # Same customers, same orders, a quarter more per order.
    frame = revenue_frame([40.0] * 50, [50.0] * 50, [2] * 50, [2] * 50)
    result = estimate_revenue_change(frame, BEFORE, as_of=AS_OF, currency="EUR")
    effects = dict(result.drivers)
    assert effects["Active customers"] == 0
    assert effects["Orders per customer"] == 0
    assert effects["Spend per order"] == pytest.approx(500)
    assert result.order_amount_change.value == pytest.approx(0.25)
    finding = describe_revenue(result, smallest_change_that_matters=0.03)
    assert finding.verdict is Verdict.MATTERS
    assert "up 25%" in str(finding.statement)
    assert str(finding.so_what).startswith("Spend per order moved it most (+€500)")


def test_sentences_follow_the_data() -> None:
    def words(after: float) -> str:
        frame = revenue_frame([40.0] * 50, [after] * 50, [2] * 50, [2] * 50)
        result = estimate_revenue_change(frame, BEFORE, as_of=AS_OF, currency="EUR")
        return str(describe_revenue(result, smallest_change_that_matters=0.03).statement)

    assert "up 25%" in words(50.0)
    assert "down 25%" in words(30.0)
    assert "too small to act on" in words(40.0)


def test_week_by_hand() -> None:
    # Fourteen whole weeks: 20 on Saturdays, 10 on every other day.
    start = date(2024, 9, 23)  # a Monday
    rows = []
    for i in range(14 * 7):
        day = start + timedelta(days=i)
        rows.append(("a", day.isoformat(), 20.0 if day.weekday() == 5 else 10.0))
    result = estimate_week_rhythm(
        by_order(rows), as_of=start + timedelta(days=97), history_days=365, n=1
    )
    assert result.busiest == "Saturday"
    assert result.busiest_index.value == pytest.approx(20 / (80 / 7))
    assert result.by_day["index"].sum() == pytest.approx(7)
    assert result.is_clear
    with pytest.raises(TooFew):
        estimate_week_rhythm(
            by_order(rows[:40]), as_of=start + timedelta(days=39), history_days=365, n=1
        )


def test_concentration_and_groups_cover_everyone_once() -> None:
    rng = np.random.default_rng(0)
    n = 1000
    frame = features(
        revenue_amount=rng.gamma(0.5, 100, n).tolist(),
        days_since_last_order=rng.integers(0, 300, n).tolist(),
    )
    for score, column, sign in (
        ("recency_score", "days_since_last_order", -1),
        ("frequency_score", "revenue_amount", 1),
        ("spend_score", "revenue_amount", 1),
    ):
        frame[score] = (sign * frame[column]).rank(method="first").sub(1) * 5 // n + 1
    curve = estimate_concentration(frame, as_of=AS_OF).curve
    assert curve["revenue_share"].sum() == pytest.approx(1)
    assert curve["customers"].sum() == n
    assert (curve["revenue_share"].diff().dropna() <= 0).all()
    groups = describe_rfm(frame, as_of=AS_OF, rfm_groups=5, currency="EUR", minimum_cell_size=10)
    assert groups.groups["customers"].sum() == n
    assert groups.groups["revenue_share"].sum() == pytest.approx(1)
    shown = describe_rfm(frame, as_of=AS_OF, rfm_groups=5, currency="EUR", minimum_cell_size=10_000)
    assert shown.groups.empty


def moves(shift: float, seed: int = 0, customers: int = 400):
    """Two windows of one order each; the share of wine moves by `shift`."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(customers):
        for ago, wine in ((45, 0.3), (15, 0.3 + shift)):
            moment = pd.Timestamp(AS_OF - timedelta(days=ago))
            taste = rng.normal(0, 0.05)
            rows += [
                (f"c{i}", "wine", moment, 100 * max(wine + taste, 0.0)),
                (f"c{i}", "milk", moment, 100 * (1 - wine - taste)),
                (f"c{i}", "bread", moment, 40 + rng.normal(0, 5)),
            ]
    frame = pd.DataFrame(rows, columns=["customer_id", "product_id", "ordered_local", "amount"])
    raw = ibis.memtable(frame)
    lines = raw.mutate(amount=raw.amount.cast("decimal(18, 4)"))
    products = ibis.memtable(
        pd.DataFrame(
            {"product_id": ["wine", "milk", "bread"], "department": ["Wine", "Milk", "Bread"]}
        )
    )
    return estimate_category_moves(
        lines,
        products,
        MONTH,
        level_column="department",
        as_of=AS_OF,
        minimum_customers=50,
    )


def test_a_planted_move_is_found_and_moves_add_up_to_nothing() -> None:
    result = moves(0.1)
    assert result.strongest
    name, change = result.strongest
    assert name in ("Wine", "Milk")
    assert change.excludes(0)
    wine = result.moves.set_index("category").loc["Wine"]
    assert wine["lower"] <= 100 * 0.1 * 100 / 140 <= wine["upper"]
    assert result.moves["change_points"].sum() == pytest.approx(0, abs=1e-9)
    finding = describe_category_moves(result, MONTH, as_of=AS_OF)
    assert finding.verdict is Verdict.MATTERS


@pytest.mark.slow
def test_nothing_planted_is_rarely_called_a_move() -> None:
    runs = 120
    alarms = sum(moves(0.0, seed=seed, customers=150).strongest is not None for seed in range(runs))
    assert alarms <= stats.binom.ppf(0.999, runs, 0.05)


def test_a_year_before_is_compared_where_there_is_one() -> None:
    with_year = choose_comparison(AS_OF, days=90, first_day=date(2023, 9, 1))
    assert with_year.is_year_before
    assert (with_year.after[0] - with_year.before[0]).days == 364
    assert with_year.after[0].weekday() == with_year.before[0].weekday()
    # The window begins on 5 October 2023; four weeks of the data have to lie before it.
    assert with_year.before[0] == date(2023, 10, 5)
    assert choose_comparison(AS_OF, days=90, first_day=date(2023, 9, 7)).is_year_before
    assert not choose_comparison(AS_OF, days=90, first_day=date(2023, 9, 8)).is_year_before
    rows = [("a", "2023-10-05", 5.0), ("a", "2024-12-31", 7.0), ("b", "2024-06-01", 9.0)]
    totals = window_totals(by_order(rows), with_year)
    assert totals["customer_id"].tolist() == ["a"]
    assert float(totals["revenue_after_amount"][0]) == 7
    assert float(totals["revenue_before_amount"][0]) == 5
