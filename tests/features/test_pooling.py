"""Borrowed strength: by hand, clearly better when sparse, harmless when the markets differ."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from types import SimpleNamespace

import duckdb
import ibis
import numpy as np
import pandas as pd
import pytest

from insight_demo import WORLDS, World, simulate_market
from insight_lib import features
from insight_lib.features.borrowing import (
    borrowed,
    mature_rates,
    repeat_rates,
    transfer_test,
)
from insight_lib.features.pooling import (
    Pooled,
    comparable_markets,
    estimate_pooled,
    group_aggregates,
    mature_pattern,
)
from insight_lib.features.purchases import purchase_summary
from insight_lib.findings import TooFew, Verdict
from insight_lib.orders import orders
from tests.cards import drawn, run_of, told
from tests.truth.helpers import (
    assert_coverage,
    assert_detection_rate,
    assert_false_alarm_rate,
    over_seeds,
)

AS_OF = date(2025, 12, 31)
GROUPS = [f"g{i:02}" for i in range(12)]


def test_aggregates_by_hand_hold_no_row_and_no_small_group() -> None:
    rows = ibis.memtable(
        pd.DataFrame({"channel": [*"aaabbc", None], "spend": [1.0, 2, 3, 5, 7, 9, 100]})
    )
    found = group_aggregates(rows, group="channel", value="spend", minimum_cell_size=2)
    assert found.to_dict("list") == {
        "group": ["a", "b"],
        "mean": [2.0, 6.0],
        "variance": [1.0, 2.0],
        "n": [3, 2],
    }


def aggregate(means: list[float], n: int = 10_000) -> pd.DataFrame:
    names = GROUPS[: len(means)]
    return pd.DataFrame({"group": names, "mean": means, "variance": 1e-9, "n": n})


def test_the_pattern_is_relative_so_currencies_do_not_matter() -> None:
    euro, yen = aggregate([1.0, 2.0, 3.0]), aggregate([160.0, 320.0, 480.0])
    pattern = mature_pattern([euro, yen])
    assert pattern.mean.tolist() == pytest.approx([0.5, 1.0, 1.5])
    assert pattern.spread == pytest.approx(0, abs=1e-9)
    # Two markets that differ by twice 0.1 around 0.5 and 1.5: mean square 0.02 over two degrees.
    apart = mature_pattern([aggregate([0.4, 1.0, 1.6]), aggregate([0.6, 1.0, 1.4])])
    assert apart.spread == pytest.approx(0.02, rel=1e-3)
    with pytest.raises(TooFew, match="two"):
        mature_pattern([euro])


def world(seed: int, *, spread: float, n: int, is_reversed: bool = False) -> tuple:
    """Markets that share a pattern up to `spread`; the last is the sparse one."""
    rng = np.random.default_rng(seed)
    pattern = rng.uniform(0.5, 1.5, len(GROUPS))
    own = 2 - pattern if is_reversed else pattern
    truth = 40 * own * np.maximum(1 + spread * rng.normal(size=len(GROUPS)), 0.1)
    aggregates = []
    for level in (1.0, 130.0, 5.0):
        means = level * pattern * np.maximum(1 + spread * rng.normal(size=len(GROUPS)), 0.1)
        sizes = rng.integers(200, 900, len(GROUPS))
        seen = [rng.gamma(1.5, m / 1.5, k) for m, k in zip(means, sizes, strict=True)]
        aggregates.append(
            pd.DataFrame(
                {
                    "group": GROUPS,
                    "mean": [s.mean() for s in seen],
                    "variance": [s.var(ddof=1) for s in seen],
                    "n": sizes,
                }
            )
        )
    code = rng.integers(0, len(GROUPS), n)
    rows = pd.DataFrame(
        {"group": np.array(GROUPS)[code], "spend": rng.gamma(1.5, truth[code] / 1.5)}
    )
    return rows, aggregates, pd.Series(truth, index=GROUPS)


def pooled(rows: pd.DataFrame, aggregates: list[pd.DataFrame]) -> Pooled:
    return estimate_pooled(rows, aggregates, group="group", value="spend", unit="KES", as_of=AS_OF)


def losses(seed: int, **of_world: object) -> tuple[float, float, bool]:
    rows, aggregates, truth = world(seed, **of_world)  # type: ignore[arg-type]
    frame = pooled(rows, aggregates).groups.set_index("group").loc[truth.index]
    local = frame["local_mean"].fillna(rows["spend"].mean())
    mean = frame["mean"].fillna(rows["spend"].mean())
    is_same = bool((frame["mean"].dropna() == frame["local_mean"].dropna()).all())
    return float(((local - truth) ** 2).mean()), float(((mean - truth) ** 2).mean()), is_same


@pytest.mark.slow
@pytest.mark.row("M3.7")
def test_clearly_better_in_the_nascent_market() -> None:
    found = np.array(over_seeds(lambda s: losses(s, spread=0.1, n=150)[:2], 100))
    gain = found[:, 0] - found[:, 1]
    assert gain.mean() > 4 * gain.std(ddof=1) / 10
    assert found[:, 1].mean() < 0.6 * found[:, 0].mean()


@pytest.mark.slow
@pytest.mark.row("M3.7")
@pytest.mark.parametrize(
    ("spread", "n", "is_reversed"),
    [(0.1, 150, True), (0.1, 1500, True), (0.8, 150, False), (0.1, 5000, False)],
)
def test_never_worse_than_local_beyond_noise(spread: float, n: int, is_reversed: bool) -> None:
    found = np.array(
        over_seeds(lambda s: losses(s, spread=spread, n=n, is_reversed=is_reversed)[:2], 60)
    )
    worse = found[:, 1] - found[:, 0]
    assert worse.mean() <= 2.5 * worse.std(ddof=1) / np.sqrt(60)


@pytest.mark.slow
@pytest.mark.parametrize(("spread", "n"), [(0.1, 600), (0.0, 150), (0.1, 150)])
def test_pooled_ranges_hold_the_truth(spread: float, n: int) -> None:
    def bounds(seed: int) -> list[tuple[float, float, float]]:
        rows, aggregates, truth = world(seed, spread=spread, n=n)
        frame = pooled(rows, aggregates).groups.set_index("group").loc[truth.index]
        return list(zip(frame["lower"], frame["upper"], truth, strict=True))

    # Groups of one seed share their level, so one group of each seed is judged, in turn.
    found = [rows[i % len(rows)] for i, rows in enumerate(over_seeds(bounds, 150))]
    assert_coverage([b[:2] for b in found], [b[2] for b in found], 0.95, may_be_wide=True)


@pytest.mark.row("M3.7")
def test_a_reversed_pattern_is_refused_with_the_reason() -> None:
    rows, aggregates, _ = world(5, spread=0.05, n=1500, is_reversed=True)
    result = pooled(rows, aggregates)
    assert not result.is_borrowed
    pd.testing.assert_series_equal(
        result.groups["mean"], result.groups["local_mean"], check_names=False
    )
    assert "differ" in str(told(features, "borrowed", result).statement)
    assert told(features, "transfer_test", transfer_test(result)).verdict is Verdict.REVIEW


@pytest.mark.slow
@pytest.mark.row("M3.7")
def test_markets_of_another_kind_are_refused_and_those_of_the_same_rarely() -> None:
    def is_refused(seed: int, *, is_reversed: bool) -> bool:
        rows, aggregates, _ = world(seed, spread=0.05, n=600, is_reversed=is_reversed)
        return pooled(rows, aggregates).case in ("unlike", "unlike and sure")

    assert_detection_rate(over_seeds(lambda s: is_refused(s, is_reversed=True), 60), 0.9)
    assert_false_alarm_rate(over_seeds(lambda s: is_refused(s, is_reversed=False), 60), 0.03)


def test_ends_of_pooling_and_words() -> None:
    rows, aggregates, _ = world(2, spread=0.05, n=150)
    result = pooled(rows, aggregates)
    assert result.is_borrowed
    frame = result.groups.dropna()
    low = frame[["local_mean", "mature_mean"]].min(axis=1)
    high = frame[["local_mean", "mature_mean"]].max(axis=1)
    assert ((low - 1e-9 <= frame["mean"]) & (frame["mean"] <= high + 1e-9)).all()
    assert result.precision_gain > 1
    finding = told(features, "borrowed", result)
    assert "3 mature markets help to know" in str(finding.statement)
    unsure = replace(result, gain=replace(result.gain, lower=-0.01))
    finding = told(features, "borrowed", unsure)
    assert "leans on 3 mature markets" in str(finding.statement)
    assert "cannot be told yet" in str(finding.statement)
    assert told(features, "transfer_test", transfer_test(result)).verdict is Verdict.PASS
    chart = drawn(features, "borrowed", result)
    assert chart is not None
    assert "drawn towards the mature pattern" in str(chart.title)
    with pytest.raises(TooFew):
        pooled(rows.head(5), aggregates)


def channel_rows(world: World, seed: int, n: int) -> ibis.Table:
    tables = simulate_market(world, seed=seed, n_customers=n).tables
    connection = ibis.duckdb.from_connection(duckdb.connect())
    by_order = orders(connection.create_table("lines", tables["transactions"]))
    summary = purchase_summary(by_order, as_of=world.end)
    customers = connection.create_table("people", tables["customers"])
    joined = summary.inner_join(customers, "customer_id")
    return joined.select(
        group=joined.acquisition_channel + ", " + joined.age_band,
        spend=(joined.frequency > 0).cast("float64"),
    )


@pytest.mark.slow
@pytest.mark.row("M3.7")
def test_the_simulated_nascent_market_gains_from_the_mature_ones() -> None:
    nascent = WORLDS["ke-fashion"]
    aggregates = [
        group_aggregates(
            channel_rows(WORLDS[name], 1, 5000), group="group", value="spend", minimum_cell_size=10
        )
        for name in ("de-fashion", "br-fashion", "jp-fashion")
    ]
    many = channel_rows(nascent, 99, 20_000).to_pandas()
    truth = many.groupby("group")["spend"].mean()

    def of_seed(seed: int) -> tuple[float, float]:
        rows = channel_rows(nascent, seed, nascent.n_customers).to_pandas()
        frame = pooled(rows, aggregates).groups.set_index("group")
        frame = frame[frame["n"] > 0]
        target = truth.loc[frame.index]
        return (
            float(((frame["local_mean"] - target) ** 2).mean()),
            float(((frame["mean"] - target) ** 2).mean()),
        )

    found = np.array(over_seeds(of_seed, 25))
    gain = found[:, 0] - found[:, 1]
    assert gain.mean() > 4 * gain.std(ddof=1) / 5
    assert found[:, 1].mean() < 0.6 * found[:, 0].mean()


@pytest.mark.slow
def test_a_market_somewhat_less_alike_leans_less_on_the_pattern() -> None:
    # Its groups vary four times as much as mature markets do: the own data must show it.
    def of_seed(seed: int) -> tuple[float, float, float]:
        rows, aggregates, truth = world(seed, spread=0.05, n=300)
        factor = np.maximum(
            1 + 0.2 * np.random.default_rng(seed + 999).normal(size=len(GROUPS)), 0.1
        )
        own = pd.Series(factor, index=GROUPS)
        rows = rows.assign(spend=rows["spend"] * rows["group"].map(own))
        target = truth * own
        frame = pooled(rows, aggregates).groups.set_index("group").loc[GROUPS]
        return (
            float(((frame["local_mean"] - target) ** 2).mean()),
            float(((frame["mean"] - target) ** 2).mean()),
            float(((frame["lower"] <= target) & (target <= frame["upper"])).mean()),
        )

    local, pooled_loss, coverage = np.array(over_seeds(of_seed, 80)).mean(axis=0)
    assert pooled_loss < 0.93 * local
    assert coverage > 0.84  # short of the promised 0.95: the method's page says so


@pytest.mark.case("119e")
def test_a_market_of_another_kind_is_left_out_by_name() -> None:
    def given(market: str, groups: str) -> pd.DataFrame:
        return pd.DataFrame(
            {"market": market, "group": list(groups), "mean": 0.3, "variance": 0.2, "n": 500}
        )

    all_given = pd.concat(
        [given("de", "abcd"), given("fr", "abce"), given("us-saas", "xyz"), given("jp", "bcd")]
    )
    kept, left_out = comparable_markets(all_given, "abcd")
    assert left_out == ("fr", "us-saas")
    assert mature_pattern(kept).n_markets == 2
    assert comparable_markets(pd.DataFrame(), "abcd") == ([], ())


def test_a_market_is_held_against_those_that_are_large_enough_and_alike() -> None:
    def given(market: str, groups: str, n: int, trait: str = "acquisition_channel") -> pd.DataFrame:
        means = [0.2 + 0.1 * i for i in range(len(groups))]
        return pd.DataFrame(
            {"market": market, "group": list(groups), "mean": means, "trait": trait}
            | {"variance": 0.2, "n": n}
        )

    everything = pd.concat(
        [
            given("de", "abcd", 5_000),
            given("jp", "abcd", 4_000),
            given("us", "xyz", 900),
            given("ke", "abcd", 20),
            given("br", "abcd", 5_000, "age_band"),
        ]
    )
    run = run_of("transfer")
    market = SimpleNamespace(aggregates=lambda name: everything if name == "repeat_rates" else None)
    mature = mature_rates(market, run)
    assert sorted(mature["market"].unique()) == ["de", "jp", "us"]
    people = pd.DataFrame({"customer_id": [f"c{i:03}" for i in range(400)]})
    channel = [*"abcd"] * 100
    customers = ibis.memtable(people.assign(acquisition_channel=channel))
    # Of a, b, c and d every fifth, three in ten, two in five and every second came back.
    frequency = [int((i // 4) % 10 < 2 + i % 4) for i in range(400)]
    summary = ibis.memtable(people.assign(frequency=frequency))
    result = borrowed(summary, mature, run, customers)
    assert result.groups["local_mean"].tolist() == pytest.approx([0.2, 0.3, 0.4, 0.5])
    assert (result.left_out, result.n_markets) == (("us",), 2)
    found = told(features, "borrowed", result)
    assert found.id == "features.borrowed_strength"
    assert str(found.so_what).endswith("Left out, as they share too few groups: us.")
    with pytest.raises(TooFew, match="no customer table with acquisition_channel"):
        borrowed(summary, mature, run, None)
    with pytest.raises(TooFew, match="left out, as they share too few groups: us"):
        borrowed(summary, mature[mature["market"] != "jp"], run, customers)
    shown = repeat_rates(
        summary,
        SimpleNamespace(parameters=SimpleNamespace(transfer=run.parameters)),
        run,
        customers,
    )
    assert shown["trait"].unique().tolist() == ["acquisition_channel"]
    assert shown["n"].tolist() == [100] * 4
