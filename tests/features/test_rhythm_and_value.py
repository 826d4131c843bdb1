"""Gaps, repeat rate, week, drivers and moves: by hand, as identities, and over many seeds."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import ibis
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from insight_lib import features as package
from insight_lib.charts import Caption, Mark, plot_histogram
from insight_lib.features.customers import choose_comparison, window_totals
from insight_lib.features.habits import returning
from insight_lib.features.record import Record
from insight_lib.features.revenue import Revenue, category_moves, order_amount, revenue_of
from insight_lib.features.rhythm import (
    OrderGaps,
    estimate_order_gaps,
    estimate_repeat_rate,
    estimate_week_rhythm,
)
from insight_lib.features.value import (
    RevenueChange,
    best_fifth,
    describe_rfm,
    estimate_category_moves,
    estimate_concentration,
    estimate_revenue_change,
)
from insight_lib.findings import Estimate, Finding, Prose, Tile, TooFew, Verdict, show
from insight_lib.orders import Coverage
from insight_lib.statistics import estimate_ratio, estimate_ratio_change
from insight_lib.words import read_words
from tests.cards import drawn, run_of, told
from tests.truth.helpers import assert_false_alarm_rate

AS_OF = date(2024, 12, 31)


def held_from(first_day: date) -> Coverage:
    return Coverage(first_day=first_day, last_day=AS_OF)


WHOLE = Record(held=held_from(date(2023, 1, 1)), unread=None, as_of=AS_OF)
BEFORE = choose_comparison(AS_OF, days=90, held=held_from(date(2024, 6, 1)))
MONTH = choose_comparison(AS_OF, days=30, held=held_from(date(2024, 6, 1)))


def late(result: OrderGaps) -> Finding:
    return told(package, "late_customers", result)


def revenue(result: RevenueChange, smallest: float = 0.03) -> Revenue:
    return revenue_of(result, WHOLE, smallest)


def by_order(rows: list[tuple[str, str, float]]) -> ibis.Table:
    frame = pd.DataFrame(rows, columns=["customer_id", "order_date", "amount"])
    frame["order_date"] = pd.to_datetime(frame["order_date"]).dt.date
    raw = ibis.memtable(frame)
    return raw.mutate(
        order_date=raw.order_date.cast("date"),
        amount=raw.amount.cast("decimal(18, 4)"),
        is_purchase=ibis.literal(True),
    )


def days_before(*days: int) -> list[str]:
    return [(AS_OF - timedelta(days=d)).isoformat() for d in days]


def features(**columns: list) -> pd.DataFrame:
    n = len(next(iter(columns.values())))
    return pd.DataFrame({"customer_id": [f"c{i}" for i in range(n)], **columns})


def order_gaps(
    rows: list[tuple[str, str, float]], frame: pd.DataFrame, *, minimum: int
) -> OrderGaps:
    return estimate_order_gaps(
        by_order(rows),
        frame,
        as_of=AS_OF,
        history_days=365,
        currency="EUR",
        minimum_cell_size=minimum,
    )


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
    gaps = order_gaps(rows, frame, minimum=1)
    assert dict(zip(gaps.counts["gap_days"], gaps.counts["n_gaps"], strict=True)) == {7: 4, 30: 1}
    assert (gaps.median_days.value, gaps.most_days.value) == (7, 30)
    assert gaps.n_late is not None
    assert gaps.late_revenue is not None
    assert (gaps.n_regular, gaps.n_late.value, gaps.late_revenue.value) == (1, 1, 60.0)
    # Five order days, four gaps: (1 + 3 / 4) ** -4.
    assert gaps.n_late_by_chance.value == pytest.approx(0.1066, abs=1e-4)
    assert "1 regular customers are late" in str(late(gaps).statement)
    few = late(order_gaps(rows, frame, minimum=10))
    assert str(few.statement).startswith("Fewer than 10 regular customers are late")
    assert few.value is None
    assert "60" not in f"{few.so_what}"


def silent_customers(*, n_late: int, n_on_time: int) -> OrderGaps:
    """Six order days, one each five days: a chance of (1 + 3 / 5) ** -5, or 9.5 %, to be late."""
    late = [True] * n_late + [False] * n_on_time
    frame = features(
        n_order_days=[6] * len(late),
        days_since_last_order=[16 if is_late else 15 for is_late in late],
        mean_gap_days=[5.0] * len(late),
        revenue_amount=[10.0] * len(late),
    )
    return order_gaps([("a", d, 1.0) for d in days_before(9, 2)], frame, minimum=10)


def test_late_customers_matter_beyond_those_that_chance_makes_late() -> None:
    # Of 1,000, chance makes 95.4 late, give or take 1.96 * 9.29 = 18.2.
    usual = late(silent_customers(n_late=113, n_on_time=887))
    assert usual.verdict is Verdict.DOES_NOT_MATTER
    assert "95 would be by chance" in str(usual.statement)
    assert "no campaign" in str(usual.so_what)
    many = late(silent_customers(n_late=114, n_on_time=886))
    assert many.verdict is Verdict.MATTERS
    assert "19 of them are more than chance gives" in str(many.so_what)


def late_verdict(seed: int, *, share_leaving: float) -> Verdict:
    """Buyers at random moments of a year; some stop after half of it."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(800):
        until = 182 if rng.random() < share_leaving else 365
        moments = rng.uniform(0, 365, rng.poisson(rng.gamma(4, 3)))
        rows += [(f"c{i}", int(day)) for day in set(moments[moments < until].astype(int))]
    days = pd.DataFrame(rows, columns=["customer_id", "day"]).groupby("customer_id")["day"]
    frame = days.agg(n_order_days="size", first="min", last="max").reset_index()
    frame["days_since_last_order"] = 364 - frame["last"]
    frame["mean_gap_days"] = (frame["last"] - frame["first"]) / (frame["n_order_days"] - 1)
    frame["revenue_amount"] = 10.0
    two_days = [("a", d, 1.0) for d in days_before(9, 2)]
    return late(order_gaps(two_days, frame, minimum=10)).verdict


@pytest.mark.slow
def test_random_buyers_who_stay_are_rarely_called_late_and_leavers_are() -> None:
    runs = 60
    stayed = [late_verdict(seed, share_leaving=0.0) is Verdict.MATTERS for seed in range(runs)]
    left = [late_verdict(seed, share_leaving=0.15) is Verdict.MATTERS for seed in range(runs)]
    assert_false_alarm_rate(stayed, 0.05)
    assert sum(left) >= 0.9 * runs


@pytest.mark.parametrize("days", [(1, 90), (1, 5, 90)])
def test_gaps_of_too_few_customers_make_no_chart_and_no_crash(days: tuple[int, ...]) -> None:
    rows = [("a", d, 1.0) for d in days_before(*np.cumsum([0, *days]).tolist())]
    frame = features(
        n_order_days=[3], days_since_last_order=[0], mean_gap_days=[45.0], revenue_amount=[3.0]
    )
    assert drawn(package, "late_customers", order_gaps(rows, frame, minimum=2)) is None
    show(None)
    assert drawn(package, "late_customers", order_gaps(rows, frame, minimum=1)) is not None


def test_a_mark_outside_the_picture_is_no_crash() -> None:
    caption = Caption(id="x", title=Prose("x"), subtitle="", source="", reading=Prose("x"))
    chart = plot_histogram(
        [5.0],
        [0.5, 1.5],
        caption=caption,
        unit="days",
        x_title="days",
        marks=[Mark(at=90, text="far")],
    )
    assert "<svg" in chart.svg


def test_a_bar_needs_customers_and_not_gaps_and_a_small_one_is_blank() -> None:
    # Twelve customers with gaps of 1 and 3 days; one with thirty gaps of 2 days; one with 40.
    rows = [(f"c{i:02}", d, 1.0) for i in range(12) for d in days_before(4, 3, 0)]
    rows += [("often", d, 1.0) for d in days_before(*range(0, 62, 2))]
    rows += [("once", d, 1.0) for d in days_before(41, 1)]
    frame = features(
        n_order_days=[3], days_since_last_order=[0], mean_gap_days=[2.0], revenue_amount=[3.0]
    )
    gaps = order_gaps(rows, frame, minimum=10)
    assert gaps.counts.set_index("gap_days").loc[2].to_dict() == {"n_gaps": 30, "n_customers": 1}
    chart = drawn(package, "late_customers", gaps)
    assert chart is not None
    assert chart.table is not None
    # Days 1 to 2 hold thirteen customers; day 40 is one customer's.
    assert chart.table.rows == (("1 to 2 days", "42"), ("3 to 4 days", "12"))
    # A small bin between large ones is blank, and does not end the picture.
    middle = [(f"d{i:02}", d, 1.0) for i in range(12) for d in days_before(50, 49, 0)]
    chart = drawn(package, "late_customers", order_gaps(rows + middle, frame, minimum=10))
    assert chart is not None
    assert chart.table is not None
    assert chart.table.rows[0][1] != "fewer than 10 customers"
    assert "fewer than 10 customers" in dict(chart.table.rows).values()
    assert chart.table.rows[-1][1] == "12"


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
            minimum_cell_size=10,
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
        finding = told(package, "repeat_rate", returning(result, small))
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
    finding = told(package, "revenue", revenue(result))
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
    finding = told(package, "revenue", revenue(result))
    assert finding.verdict is Verdict.MATTERS
    assert "up 25%" in str(finding.statement)
    assert str(finding.so_what).startswith("Spend per order moved it most (+€500)")


def test_sentences_follow_the_data() -> None:
    def words(after: float) -> str:
        frame = revenue_frame([40.0] * 50, [after] * 50, [2] * 50, [2] * 50)
        result = estimate_revenue_change(frame, BEFORE, as_of=AS_OF, currency="EUR")
        return str(told(package, "revenue", revenue(result)).statement)

    assert "up 25%" in words(50.0)
    assert "down 25%" in words(30.0)
    assert "too small to act on" in words(40.0)


def test_nobody_is_sent_after_a_driver_of_what_may_be_chance() -> None:
    spend = np.random.default_rng(0).gamma(1, 40, (2, 60))
    result = estimate_revenue_change(
        revenue_frame(spend[0].tolist(), spend[1].tolist(), [2] * 60, [2] * 60),
        BEFORE,
        as_of=AS_OF,
        currency="EUR",
    )
    assert not result.change.excludes(0)
    finding = told(package, "revenue", revenue(result))
    assert finding.verdict is Verdict.CANNOT_TELL
    assert "look there first" not in str(finding.so_what)
    chart = drawn(package, "revenue", revenue(result))
    assert chart is not None
    assert "moved revenue most" not in str(chart.title)
    sure = estimate_revenue_change(
        revenue_frame([40.0] * 50, [50.0] * 50, [2] * 50, [2] * 50),
        BEFORE,
        as_of=AS_OF,
        currency="EUR",
    )
    finding = told(package, "revenue", revenue(sure))
    assert "Spend per order moved it most" in str(finding.so_what)
    chart = drawn(package, "revenue", revenue(sure))
    assert chart is not None
    assert "Spend per order moved" in str(chart.title)


def test_a_figure_counts_the_customers_behind_it() -> None:
    # Three of five customers have orders now; the fourth had some before, the fifth never.
    orders, before = [1, 2, 1, 0, 0], [1, 1, 0, 3, 0]
    spend, spend_before = [10.0, 30.0, 5.0, 0.0, 0.0], [9.0, 8.0, 0.0, 20.0, 0.0]
    assert estimate_ratio(spend, orders, unit="EUR", as_of=AS_OF).n == 3
    change = estimate_ratio_change(
        (spend_before, before), (spend, orders), as_of=AS_OF, relative=True
    )
    assert change.n == 4


@pytest.mark.parametrize(
    ("lower", "upper", "direction"),
    [
        (0.03, 0.05, "good"),
        (-0.05, -0.03, "bad"),
        (0.01, 0.03, "unsure"),  # surely up, not surely enough
        (-0.01, 0.03, "unsure"),
        (0.005, 0.015, "neutral"),  # surely up, surely too little
    ],
)
def test_the_colour_of_a_tile_is_the_verdict_of_its_change(
    lower: float, upper: float, direction: str
) -> None:
    change = Estimate(
        value=(lower + upper) / 2,
        lower=lower,
        upper=upper,
        unit="change",
        n=100,
        as_of=AS_OF,
        method="by hand",
    )
    tile = Tile(
        label="x", value=change, change=change, good="up", smallest_change_that_matters=0.02
    )
    assert tile.to_json()["direction"] == direction


def test_headline_tiles_judge_by_the_thresholds() -> None:
    spend = np.linspace(20, 60, 100)
    change = estimate_revenue_change(
        revenue_frame(spend.tolist(), (1.25 * spend).tolist(), [2] * 100, [2] * 100),
        BEFORE,
        as_of=AS_OF,
        currency="EUR",
    )
    rows = [(f"c{i}", d, 1.0) for i in range(30) for d in days_before(80, 70, 40, 20)]
    repeat = estimate_repeat_rate(by_order(rows), as_of=AS_OF, window_days=30)
    best = estimate_concentration(features(revenue_amount=spend.tolist()), as_of=AS_OF)
    gaps = silent_customers(n_late=3, n_on_time=100)

    def directions(smallest: float) -> list[str]:
        run = run_of("features").changed({"smallest_order_value_change_that_matters": smallest})
        results = {
            "revenue": revenue(change, smallest),
            "order_amount": order_amount(change, run),
            "repeat_rate": returning(repeat, 0.02),
            "best_fifth": best_fifth(best, gaps),
        }
        words = read_words(package)
        tiles = [words.tile(name, result, run) for name, result in results.items()]
        assert str(tiles[3].note) == "fewer than 10 regulars are late"
        return [str(tile.to_json()["direction"]) for tile in tiles]

    # All of thirty come back in both windows: a rate of all has a range, so nothing is sure.
    assert directions(0.03) == ["good", "good", "unsure", "neutral"]
    assert directions(0.5) == ["neutral", "neutral", "unsure", "neutral"]


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
    chart = drawn(package, "week_rhythm", result)
    assert chart is not None
    assert "strongest" in str(chart.title)
    even = estimate_week_rhythm(
        by_order([(c, day, 10.0) for c, day, _ in rows]),
        as_of=start + timedelta(days=97),
        history_days=365,
        n=1,
    )
    assert "No day of the week stands out" in str(told(package, "week_rhythm", even).statement)
    chart = drawn(package, "week_rhythm", even)
    assert chart is not None
    assert str(chart.title) == "No day of the week stands out"
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
    with pytest.raises(TooFew, match="no two groups have 10000"):
        describe_rfm(frame, as_of=AS_OF, rfm_groups=5, currency="EUR", minimum_cell_size=10_000)


_SCORES = {"champions": (5, 5, 5), "slipping": (1, 5, 5), "steady": (3, 3, 3), "asleep": (1, 1, 1)}


def scored(**groups: int) -> pd.DataFrame:
    """Customers by group: recency, frequency and spend scores of five."""
    rows = [_SCORES[name] for name, n in groups.items() for _ in range(n)]
    columns = ["recency_score", "frequency_score", "spend_score"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.assign(revenue_amount=10.0, days_since_last_order=5)


@pytest.mark.parametrize(
    ("groups", "shown"),
    [
        (
            {"champions": 30, "slipping": 4, "steady": 20},
            {"Best, and here": 30, "Steady middle": 24},
        ),
        (
            {"champions": 30, "slipping": 4, "asleep": 20},
            {"Best, and here": 30, "Steady middle": 24},
        ),
        (
            {"champions": 30, "slipping": 12, "steady": 2, "asleep": 20},
            {"Best, and here": 30, "Good, but slipping": 12, "Steady middle": 22},
        ),
    ],
)
def test_small_groups_join_the_middle_and_nobody_is_lost(
    groups: dict[str, int], shown: dict[str, int]
) -> None:
    result = describe_rfm(
        scored(**groups), as_of=AS_OF, rfm_groups=5, currency="EUR", minimum_cell_size=10
    )
    assert dict(zip(result.groups["group"], result.groups["customers"], strict=True)) == shown
    assert result.groups["revenue_share"].sum() == pytest.approx(1)
    chart = drawn(package, "slipping", result)
    assert chart is not None
    assert str(chart.title).startswith("Best, and here: 30")
    finding = told(package, "slipping", result)
    if groups["slipping"] < 10:
        assert str(finding.statement).startswith("Fewer than 10 good customers")
        assert finding.value is None
        assert "€" not in str(finding.to_json())
    else:
        assert str(finding.statement).startswith("12 good customers")


def test_customers_who_are_all_alike_are_no_groups() -> None:
    with pytest.raises(TooFew, match="too alike"):
        describe_rfm(
            scored(asleep=50), as_of=AS_OF, rfm_groups=5, currency="EUR", minimum_cell_size=10
        )


def moves(
    shift: float,
    seed: int = 0,
    customers: int = 400,
    departments: tuple[str, ...] = ("Wine", "Milk", "Bread"),
):
    """Two windows of one order each; the share of wine moves by `shift`."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(customers):
        for ago, wine in ((45, 0.3), (15, 0.3 + shift)):
            moment = pd.Timestamp(AS_OF - timedelta(days=ago))
            taste = rng.normal(0, 0.05)
            rows += [
                (f"o{i}-{ago}", f"c{i}", "wine", moment, 100 * max(wine + taste, 0.0)),
                (f"o{i}-{ago}", f"c{i}", "milk", moment, 100 * (1 - wine - taste)),
                (f"o{i}-{ago}", f"c{i}", "bread", moment, 40 + rng.normal(0, 5)),
            ]
    columns = ["order_id", "customer_id", "product_id", "ordered_local", "amount"]
    frame = pd.DataFrame(rows, columns=columns)
    raw = ibis.memtable(frame)
    lines = raw.mutate(amount=raw.amount.cast("decimal(18, 4)"))
    products = ibis.memtable(
        pd.DataFrame({"product_id": ["wine", "milk", "bread"], "department": departments})
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
    finding = told(package, "category_moves", category_moves(result))
    assert finding.verdict is Verdict.MATTERS
    assert "season and trend cannot be told apart" in str(finding.so_what)
    year = choose_comparison(AS_OF, days=30, held=held_from(date(2023, 1, 1)))
    finding = told(package, "category_moves", category_moves(replace(result, comparison=year)))
    assert "cannot be told apart" not in str(finding.so_what)


def test_one_category_is_nothing_to_compare() -> None:
    with pytest.raises(TooFew, match="no category has 50 customers"):
        moves(0.0, customers=40)
    with pytest.raises(TooFew, match="only one category has 50"):
        moves(0.0, customers=60, departments=("Food", "Food", "Food"))


@pytest.mark.slow
def test_nothing_planted_is_rarely_called_a_move() -> None:
    runs = 120
    alarms = sum(moves(0.0, seed=seed, customers=150).strongest is not None for seed in range(runs))
    assert alarms <= stats.binom.ppf(0.999, runs, 0.05)


def test_a_year_before_is_compared_where_there_is_one() -> None:
    with_year = choose_comparison(AS_OF, days=90, held=held_from(date(2023, 9, 1)))
    assert with_year.is_year_before
    assert (with_year.after[0] - with_year.before[0]).days == 364
    assert with_year.after[0].weekday() == with_year.before[0].weekday()
    # The window begins on 5 October 2023; four weeks of the data have to lie before it.
    assert with_year.before[0] == date(2023, 10, 5)
    assert choose_comparison(AS_OF, days=90, held=held_from(date(2023, 9, 7))).is_year_before
    assert not choose_comparison(AS_OF, days=90, held=held_from(date(2023, 9, 8))).is_year_before
    rows = [("a", "2023-10-05", 5.0), ("a", "2024-12-31", 7.0), ("b", "2024-06-01", 9.0)]
    totals = window_totals(by_order(rows), with_year)
    assert totals["customer_id"].tolist() == ["a"]
    assert float(totals["revenue_after_amount"][0]) == 7
    assert float(totals["revenue_before_amount"][0]) == 5
