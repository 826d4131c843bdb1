"""Sales cycle: by hand, as identities, and against what the simulated firm knows."""

from __future__ import annotations

from datetime import date
from functools import cache

import ibis
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from insight_demo import WORLDS, SimulatedMarket, simulate_market
from insight_demo.business import draw_pipeline, expected_months
from insight_demo.people import draw_people
from insight_lib import features
from insight_lib.features.competing_risks import contract_spells
from insight_lib.features.pipeline import (
    deal_value,
    pipeline_stages,
    pipeline_unresolved,
    pipeline_value,
)
from insight_lib.features.pipeline_paths import LOST, WON, Deals, stage_spells
from insight_lib.features.sales_cycle import SalesCycle, estimate_sales_cycle
from insight_lib.findings import TooFew, Verdict
from tests.cards import drawn, told
from tests.truth.helpers import assert_coverage, assert_unbiased

WORLD = WORLDS["us-saas"]
AS_OF = date(2025, 12, 31)
HORIZON, RATE = 24, 0.1
DAILY = (1 + RATE) ** (-1 / 365.25)


def frames(
    market: SimulatedMarket, *, group: str | None = "size_band", as_of: date | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    tables = {
        name: ibis.memtable(market.tables[name])
        for name in ("contracts", "opportunities", "customers")
    }
    common = {"as_of": as_of or market.world.end, "customers": tables["customers"], "group": group}
    return stage_spells(tables["opportunities"], **common).spells, contract_spells(
        tables["contracts"], **common
    )


def estimate(
    deals: pd.DataFrame,
    spells: pd.DataFrame,
    *,
    horizon: int = HORIZON,
    rate: float = RATE,
    seed: int = 1,
    **changed: int,
) -> SalesCycle:
    settings = {"minimum_deals": 5, "minimum_cell_size": 10, "n_replicates": 120} | changed
    return estimate_sales_cycle(
        deals,
        spells,
        as_of=AS_OF,
        currency="USD",
        horizon_months=horizon,
        annual_discount_rate=rate,
        seed=seed,
        **settings,
    )


def deal(name: str, *stages: tuple[int, int]) -> list[tuple[object, ...]]:
    """Days and outcome (1 advanced, 0 lost, -1 open) in each stage."""
    return [
        (
            name,
            f"a{name}",
            "all",
            f"s{i + 1}",
            i + 1,
            days,
            {1: WON if i == 1 else f"s{i + 2}", 0: LOST, -1: None}[outcome],
            1200.0,
        )
        for i, (days, outcome) in enumerate(stages)
    ]


def table(*deals: list[tuple[object, ...]]) -> pd.DataFrame:
    columns = ["opportunity_id", "customer_id", "group", "stage", "stage_number", "days"]
    rows = [row for one in deals for row in one]
    return pd.DataFrame(rows, columns=[*columns, "leads_to", "annual_amount"]).assign(
        currency="USD"
    )


def in_force(n: int, days: int = 800) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "customer_id": [f"b{i}" for i in range(n)],
            "opportunity_id": None,
            "group": "all",
            "entry_days": 0,
            "exit_days": days,
            "cause": None,
            "monthly_amount": 100.0,
        }
    )


@pytest.mark.row("M3.4")
def test_open_deals_by_hand() -> None:
    deals = table(
        deal("1", (10, 1), (20, 1)),
        deal("2", (10, 0)),
        deal("3", (15, -1)),
        deal("4", (20, 1), (20, 0)),
    )
    result = estimate(deals, in_force(10), rate=0.0, minimum_deals=1, minimum_cell_size=1)
    # First stage: on day 10 one of four advances, one is lost; the open one leaves after 15;
    # on day 20 the last advances: 1/4 + 1/2. Second stage: one of two is won.
    assert result.stages["win_share"].tolist() == pytest.approx([3 / 4 * 1 / 2, 1 / 2])
    # Mean days of those who advance: (10 x 1/4 + 20 x 1/2) / (3/4), then 20.
    assert result.days_to_win.value == pytest.approx(50 / 3 + 20)
    # Nobody leaves within the horizon: 24 months at 100 each.
    assert result.months.value == pytest.approx(24, abs=0.02)
    assert result.deal_value.value == pytest.approx(3 / 8 * 2400, rel=1e-3)
    # The open deal is 15 days old: whoever got so far has always advanced.
    assert result.pipeline["win_share"].tolist() == pytest.approx([1 / 2])
    assert result.pipeline_value.value == pytest.approx(1 / 2 * 2400, rel=1e-3)
    assert result.naive_win_share.value == pytest.approx(1 / 3)


def test_waiting_and_later_months_are_discounted() -> None:
    deals = table(*[deal(str(i), (365, 1), (0, 1)) for i in range(6)])
    result = estimate(deals, in_force(10), rate=0.25, horizon=12)
    within = np.mean(1.25 ** (-(np.arange(365) + 0.5) / 365.25)) * 12
    assert result.deal_value.value == pytest.approx(
        100 * within * 1.25 ** (-365 / 365.25), rel=2e-3
    )


def test_an_open_deal_waits_only_for_what_is_left() -> None:
    deals = table(*[deal(str(i), (365, 1), (0, 1)) for i in range(6)], deal("o", (300, -1)))
    result = estimate(deals, in_force(10), rate=0.25, horizon=12, minimum_cell_size=1)
    within = np.mean(1.25 ** (-(np.arange(365) + 0.5) / 365.25)) * 12
    left = 1.25 ** (-65 / 365.25)
    assert result.pipeline_value.value == pytest.approx(100 * within * left, rel=2e-3)


def test_what_is_signed_below_the_quote_counts_below() -> None:
    deals = table(*[deal(str(i), (5, 1), (5, 1)) for i in range(6)])
    spells = in_force(6).assign(
        customer_id=[f"a{i}" for i in range(6)],
        opportunity_id=[str(i) for i in range(6)],
        monthly_amount=80.0,
    )
    full = estimate(deals, spells.assign(monthly_amount=100.0)).deal_value.value
    assert estimate(deals, spells).deal_value.value == pytest.approx(0.8 * full)


@cache
def mean_monthly_amounts() -> tuple[np.ndarray, np.ndarray]:
    """Share of first stages, and mean monthly charge, by segment: 200,000 simulated accounts."""
    people = draw_people(WORLD, 999, block=0, first=0, count=200_000)
    pipeline = draw_pipeline(WORLD, 999, people)
    segment = people.segment[pipeline.customer[pipeline.start_day < WORLD.days]]
    amount = (pipeline.seats * pipeline.seat_minor / 100)[pipeline.start_day < WORLD.days]
    counts = np.bincount(segment)
    return counts / counts.sum(), np.bincount(segment, weights=amount) / counts


def stage_days(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Days in a stage and their chances: gamma, rounded, at least one."""
    stage = WORLD.business.stages[number]
    days = np.arange(1, 400)
    scale = stage.mean_days / stage.shape
    chance = np.diff(stats.gamma.cdf(np.r_[0, days + 0.5], stage.shape, scale=scale))
    return days, chance


def true_months(segment: int) -> float:
    return expected_months(WORLD, segment, horizon_months=HORIZON, annual_discount_rate=RATE)


def true_factors() -> np.ndarray:
    """Chance to advance in each stage, discounted by the wait."""
    conversions = [stage.conversion for stage in WORLD.business.stages]
    waits = [float(chance @ DAILY**days) for days, chance in map(stage_days, range(4))]
    return np.array(conversions) * np.array(waits)


def true_open_value(opened: pd.DataFrame) -> float:
    """Expected value of open deals from the world alone, given stage, age and amount."""
    factors, total = true_factors(), 0.0
    names = [segment.name for segment in WORLD.segments]
    months = {name: true_months(i) for i, name in enumerate(names)}
    for row in opened.itertuples():
        number = row.stage_number - 1
        days, chance = stage_days(number)
        later = days > row.days
        wait = chance[later] @ DAILY ** (days[later] - row.days) / chance[later].sum()
        win = WORLD.business.stages[number].conversion * wait * factors[number + 1 :].prod()
        total += row.annual_amount / 12 * win * months[row.group]
    return total


@cache
def studied(seed: int) -> tuple[SalesCycle, float]:
    deals, spells = frames(simulate_market(WORLD, seed=seed, n_customers=3000))
    return estimate(deals, spells, seed=seed), true_open_value(deals[deals["leads_to"].isna()])


@pytest.mark.slow
@pytest.mark.row("M3.4")
def test_the_truth_is_covered_over_seeds() -> None:
    results = [studied(seed) for seed in range(1, 121)]
    share, amount = mean_monthly_amounts()
    win = float(np.prod([stage.conversion for stage in WORLD.business.stages]))
    months = np.array([true_months(i) for i in range(3)])
    value = float((share * amount * months).sum() * true_factors().prod())
    truths = {
        "win_share": win,
        "months": float(share @ months),
        "days_to_win": sum(float(c @ d) for d, c in map(stage_days, range(4))),
        "deal_value": value,
    }
    for name, known in truths.items():
        found = [getattr(result, name) for result, _ in results]
        assert_coverage([(e.lower, e.upper) for e in found], known, 0.95)
        assert_unbiased([e.value / known for e in found], 1.0, detectable=0.04, tolerance=0.01)
    opened = [(result.pipeline_value, known) for result, known in results]
    assert_coverage([(e.lower, e.upper) for e, _ in opened], [k for _, k in opened], 0.95)
    assert_unbiased([e.value / k for e, k in opened], 1.0, detectable=0.03, tolerance=0.01)


@pytest.mark.slow
@pytest.mark.row("M3.4")
def test_leaving_open_deals_out_is_biased_in_a_young_pipeline() -> None:
    win = float(np.prod([stage.conversion for stage in WORLD.business.stages]))
    days = sum(float(c @ d) for d, c in map(stage_days, range(4)))
    naive, right, naive_days, right_days = [], [], [], []
    for seed in range(1, 41):
        market = simulate_market(WORLD, seed=seed, n_customers=4000)
        deals, spells = frames(market, group=None)
        # Deals of the last 120 days only: as if the firm had begun then.
        entered = deals.groupby("opportunity_id")["days"].transform("sum")
        tables = ibis.memtable(market.tables["opportunities"])
        first = tables.filter(tables.stage_number == 1).select("opportunity_id", "entered_date")
        begun = first.to_pandas().set_index("opportunity_id")["entered_date"]
        age = (pd.Timestamp(AS_OF) - pd.to_datetime(begun)).dt.days
        young = deals[deals["opportunity_id"].map(age) <= 120]
        result = estimate(young, spells, n_replicates=2)
        closed = young[young["leads_to"] == WON]["opportunity_id"]
        naive.append(result.naive_win_share.value)
        right.append(result.win_share.value)
        naive_days.append(float(entered[young.index][young["leads_to"] == WON].mean()))
        right_days.append(result.days_to_win.value)
        assert len(closed)
    assert_unbiased(right, win, detectable=0.03, tolerance=0.01)
    assert_unbiased(right_days, days, detectable=4, tolerance=3)
    with pytest.raises(AssertionError, match="mean error -"):
        assert_unbiased(naive, win, detectable=0.03, tolerance=0.04)
    with pytest.raises(AssertionError, match="mean error -"):
        assert_unbiased(naive_days, days, detectable=4, tolerance=8)


@pytest.mark.slow
def test_groups_matter_where_large_accounts_stay_longer() -> None:
    share, amount = mean_monthly_amounts()
    months = np.array([true_months(i) for i in range(3)])
    value = float((share * amount * months).sum() * true_factors().prod())
    pooled = [
        estimate(
            *frames(simulate_market(WORLD, seed=seed, n_customers=3000), group=None),
            n_replicates=2,
        ).deal_value.value
        for seed in range(1, 31)
    ]
    assert np.mean(pooled) < 0.92 * value


def test_same_seed_same_numbers_and_parts_add_up() -> None:
    deals, spells = frames(simulate_market(WORLD, seed=3, n_customers=2500))
    one, two = (estimate(deals, spells) for _ in range(2))
    assert one.pipeline_value == two.pipeline_value
    assert one.deal_value == two.deal_value
    assert one.pipeline["value"].sum() == pytest.approx(one.pipeline_value.value)
    assert int(one.pipeline["n_open"].sum()) == one.pipeline_value.n
    few = estimate(deals, spells, minimum_cell_size=40)
    assert (few.pipeline["n_open"] >= 40).all()
    assert few.pipeline["value"].sum() == pytest.approx(one.pipeline_value.value)


def test_stories_and_charts_speak_of_the_same_numbers() -> None:
    deals, spells = frames(simulate_market(WORLD, seed=3, n_customers=2500))
    result = estimate(deals, spells)
    pipeline = told(features, "pipeline_value", pipeline_value(result))
    new = told(features, "deal_value", deal_value(result))
    assert pipeline.value == result.pipeline_value
    assert "deals are worth about $" in str(pipeline.statement)
    assert new.value == result.deal_value
    unresolved = told(features, "pipeline_unresolved", pipeline_unresolved(result))
    assert unresolved.verdict is Verdict.PASS
    for chart in (
        drawn(features, "pipeline_value", pipeline_value(result)),
        drawn(features, "pipeline_stages", pipeline_stages(result)),
    ):
        assert chart is not None
        assert chart.table is not None
        assert chart.table.rows


def test_dead_deals_left_open_are_flagged() -> None:
    deals = table(
        *[deal(str(i), (5, 1), (5, 1)) for i in range(20)],
        *[deal(f"x{i}", (900, -1)) for i in range(20)],
    )
    # Half of them: what they are worth would be a guess.
    with pytest.raises(TooFew, match="surely won are 20 of 40, at most 40"):
        estimate(deals, in_force(10))
    result = estimate(deals.iloc[:42], in_force(10))
    assert result.unresolved_share == pytest.approx(2 / 22)
    unresolved = told(features, "pipeline_unresolved", pipeline_unresolved(result))
    assert unresolved.verdict is Verdict.REVIEW


def test_deals_without_amount_count_with_the_mean_and_are_counted() -> None:
    deals = table(*[deal(str(i), (5, 1), (5, 1)) for i in range(10)])
    deals.loc[deals["opportunity_id"] == "3", "annual_amount"] = np.nan
    result = estimate(deals, in_force(10))
    assert result.n_without_amount == 1
    pipeline = told(features, "pipeline_value", pipeline_value(result))
    assert "1 deals state no amount" in str(pipeline.so_what)
    with pytest.raises(TooFew, match="amount"):
        estimate(deals.assign(annual_amount=np.nan), in_force(10))


def test_too_few_and_wrong_currency_are_said() -> None:
    deals = table(*[deal(str(i), (5, 1), (5, 1)) for i in range(4)])
    with pytest.raises(TooFew, match="stage s1"):
        estimate(deals, in_force(10))
    with pytest.raises(TooFew, match="shorten the horizon"):
        estimate(deals, in_force(10, days=300), minimum_deals=1)
    with pytest.raises(ValueError, match=r"opportunities.currency: \['EUR'\], not USD"):
        estimate(deals.assign(currency="EUR"), in_force(10))


def ways(rows: list[tuple[object, ...]], contracts: list[tuple[str, date]] | None = None) -> Deals:
    columns = ["opportunity_id", "pipeline_stage", "stage_number", "entered_date", "left_date"]
    frame = pd.DataFrame(rows, columns=[*columns, "outcome"]).assign(
        customer_id=None, annual_amount=1200.0, currency="USD"
    )
    raw = ibis.memtable(frame).mutate(
        left_date=ibis._.left_date.cast("date"),
        outcome=ibis._.outcome.cast("string"),
        customer_id=ibis._.customer_id.cast("string"),
    )
    signed = pd.DataFrame(contracts or [], columns=["opportunity_id", "start_date"])
    return stage_spells(
        raw, as_of=AS_OF, contracts=ibis.memtable(signed) if contracts is not None else None
    )


@pytest.mark.case("36", "37", "113")
def test_one_odd_deal_is_set_aside_and_the_others_stand() -> None:
    found = ways(
        [
            ("o1", "s", 1, date(2025, 2, 1), date(2025, 1, 1), "lost"),  # left before it came
            ("o2", "s", 1, date(2025, 2, 1), date(2025, 3, 1), None),  # closed without a word
            ("o3", "s", 1, date(2025, 2, 1), date(2026, 3, 1), None),  # left after the data: open
            ("o4", "s", 1, date(2025, 2, 1), date(2025, 2, 11), "lost"),
            ("o5", "s", 1, date(2025, 3, 1), None, "lost"),  # lost on an unknown day
        ]
    )
    assert (found.n_set_aside, found.n_day_unknown) == (2, 1)
    spells = found.spells.set_index("opportunity_id")
    assert spells["leads_to"].fillna("open").to_dict() == {"o3": "open", "o4": LOST, "o5": LOST}
    assert spells["days"].to_dict() == {"o3": 333, "o4": 10, "o5": 10}
    assert spells.loc["o4", "customer_id"] == "o4"  # nobody's yet, so an account of its own


@pytest.mark.case("114", "114b")
def test_the_way_of_a_deal_is_what_it_is() -> None:
    day = date(2025, 2, 1)
    found = ways(
        [
            ("early", "lead", 1, day, date(2025, 2, 11), "won"),
            ("skip", "lead", 1, day, date(2025, 2, 6), "advanced"),
            ("skip", "offer", 3, date(2025, 2, 6), date(2025, 2, 16), "won"),
            ("back", "lead", 1, day, date(2025, 2, 3), "lost"),
            ("back", "talk", 2, date(2025, 4, 1), None, None),
            ("signed", "lead", 1, day, date(2025, 2, 3), "advanced"),
            ("signed", "closed won", 4, date(2025, 2, 3), None, None),
        ],
        contracts=[("signed", date(2025, 2, 8))],
    ).spells
    way = found.groupby("opportunity_id")["leads_to"].agg(lambda s: [x or "" for x in s])
    assert way["early"] == [WON]
    assert way["skip"] == ["offer", WON]
    assert way["back"][0] == "talk"
    assert way["signed"] == ["closed won", WON]
    assert found.set_index("opportunity_id").loc["back", "days"].tolist() == [59, 274]


def deals_of(seed: int, kind: str, n: int = 3_000) -> tuple[pd.DataFrame, float]:
    """Leads of two years: two stages with 60 and 50 per cent, and what a salesman does."""
    rng = np.random.default_rng(seed)
    rows, truth = [], {"plain": 0.3, "early": 0.15 + 0.85 * 0.3, "skip": 0.6 * 0.2 + 0.3 * 0.8}
    for i in range(n):
        day = AS_OF - pd.Timedelta(days=int(rng.integers(0, 730)))
        wait = [int(1 + rng.gamma(2, 15)) for _ in range(2)]
        lucky = rng.random()
        if kind == "early" and lucky < 0.15:
            steps = [("lead", 1, wait[0], "won")]
        elif kind == "skip" and lucky < 0.2:  # straight to an offer that is taken in six of ten
            steps = [("offer", 2, wait[0], "won" if rng.random() < 0.6 else "lost")]
        elif rng.random() < 0.6:
            steps = [
                ("lead", 1, wait[0], "advanced"),
                ("offer", 2, wait[1], "won" if rng.random() < 0.5 else "lost"),
            ]
        else:
            steps = [("lead", 1, wait[0], "lost")]
        for stage, number, length, outcome in steps:
            if day > AS_OF:
                break
            rows.append((f"o{i}", stage, number, day, day + pd.Timedelta(days=length), outcome))
            day = day + pd.Timedelta(days=length)
    return ways(rows).spells, truth[kind]


@pytest.mark.slow
@pytest.mark.case("114")
@pytest.mark.parametrize("kind", ["plain", "early"])
def test_the_chance_to_win_holds_for_every_way(kind: str) -> None:
    bounds, truth = [], 0.0
    for seed in range(8):
        deals, truth = deals_of(seed, kind)
        result = estimate(deals, in_force(10), n_replicates=60)
        bounds.append((result.win_share.lower, result.win_share.upper))
        assert result.old_win_share is not None
        assert not result.old_win_share.excludes(result.win_share.value)
    assert_coverage(bounds, truth, 0.95)


@pytest.mark.case("28")
def test_a_pipeline_in_which_no_loss_is_recorded_is_worth_nothing_sayable() -> None:
    rng = np.random.default_rng(1)
    deals = table(
        *[
            deal(str(i), (int(rng.integers(1, 300)), 1), (0, 1))
            if rng.random() < 0.105
            else deal(str(i), (int(rng.integers(1, 300)), -1))
            for i in range(800)
        ]
    )
    with pytest.raises(TooFew, match="stay open past the end of the data"):
        estimate(deals, in_force(10))
    never = deals.assign(leads_to=None)
    with pytest.raises(TooFew, match="no deal is marked as won"):
        estimate(never, in_force(10))


@pytest.mark.case("119j")
def test_a_small_group_is_pooled_by_name() -> None:
    deals = table(*[deal(str(i), (5 + i % 9, 1), (5, int(i % 2))) for i in range(120)])
    few = table(*[deal(f"x{i}", (5, 1), (5, 1)) for i in range(4)]).assign(group="tiny")
    spells = pd.concat([in_force(60), in_force(3).assign(group="tiny")], ignore_index=True)
    other = table(*[deal(f"y{i}", (5, 1), (5, int(i % 2))) for i in range(40)])
    spells = pd.concat([spells, in_force(20).assign(group="mid")], ignore_index=True)
    result = estimate(pd.concat([deals, few, other.assign(group="mid")]), spells, minimum_deals=10)
    assert result.pooled_groups == ("mid", "tiny")
    assert result.win_share.n == 164
