"""Groups of order lines: kinds are found, degrees are not, and nobody moves who did not."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest

from insight_lib import segments
from insight_lib.findings import TooFew, Verdict
from insight_lib.segments.checks import inputs
from insight_lib.segments.find import (
    Found,
    Plan,
    earlier_window,
    estimate_moves,
    find_segments,
    kept_apart,
)
from insight_lib.segments.naming import estimate_lifts
from insight_lib.segments.purchases import learn_recipe, read_purchases
from insight_lib.segments.solution import Fault, Thresholds
from tests.cards import run_of, told
from tests.segments.worlds import order_lines, tastes
from tests.truth.helpers import assert_coverage, assert_false_alarm_rate, over_seeds

AS_OF = date(2025, 12, 31)
PLAN = Plan(
    history_days=365,
    minimum_order_days=4,
    most_segments=4,
    thresholds=Thresholds(smallest_customers=40),
    n_chance=19,
    n_resamples=10,
    seed=1,
)
GRADIENTS = ("one taste", "two tastes", "between two mixes")


def found_in(shares: Any, seed: int, **options: Any) -> Found:
    return find_segments(order_lines(shares, seed, **options), None, plan=PLAN, as_of=AS_OF)


def noise(seed: int, n: int = 500) -> np.ndarray:
    return np.repeat(np.random.default_rng(seed).dirichlet([5.0, 5.0], 1), n, axis=0)


@pytest.mark.case("117", "118")
@pytest.mark.parametrize("kind", GRADIENTS)
def test_customers_who_differ_by_degree_are_no_groups(kind: str) -> None:
    found = found_in({"channel": tastes(kind, 3)}, 3)
    assert found.solution.k == 0
    assert Fault.ONE_CLOUD in {c.fault for c in found.solution.candidates}
    said = told(segments, "found", found)
    assert "real" not in str(said.statement)


@pytest.mark.slow
@pytest.mark.case("117", "118")
@pytest.mark.parametrize("kind", [*GRADIENTS, "alike"])
def test_no_gradient_is_called_groups_over_seeds(kind: str) -> None:
    def alarm(seed: int) -> bool:
        return found_in({"channel": tastes(kind, seed, n=300)}, seed).solution.k > 0

    assert_false_alarm_rate(over_seeds(alarm, 12), 0.05)


@pytest.mark.case("119g")
def test_a_column_that_tells_nothing_hides_no_groups() -> None:
    kinds = tastes("three kinds", 4)
    alone = found_in({"channel": kinds}, 4)
    with_noise = found_in({"channel": kinds, "price_tier": noise(4)}, 4)
    assert alone.solution.k == with_noise.solution.k == 3
    assert with_noise.recipe.silent == ("price_tier",)
    assert min(with_noise.solution.chosen.jaccard) > 0.95


@pytest.mark.case("119b")
def test_kinds_that_few_purchases_hide_are_not_called_degrees() -> None:
    found = found_in({"channel": tastes("three kinds, hardly apart", 5)}, 5)
    said = told(segments, "found", found)
    assert found.solution.k == 0
    assert said.verdict is Verdict.CANNOT_TELL
    assert "by degree" not in str(said.statement)


@pytest.mark.case("117")
def test_degrees_are_said_where_kinds_would_have_shown() -> None:
    shares = {"channel": tastes("one taste", 3)}
    found = found_in(shares, 3, orders=40.0, pieces=6.0)
    said = told(segments, "found", found)
    assert found.solution.power > 0.8
    assert (said.verdict, "by degree" in str(said.statement)) == (Verdict.DOES_NOT_MATTER, True)


@pytest.mark.case("119f")
def test_a_rename_makes_no_groups() -> None:
    shares = {"channel": tastes("alike", 6)}
    found = found_in(shares, 6, renamed_after=180)
    assert found.solution.k == 0
    assert "a → a new" in found.purchases.renamed
    everyone = pd.DataFrame(index=range(500))
    said = told(segments, "inputs", inputs(found, everyone, run_of("segments")))
    assert "Taken for one under two names" in str(said.so_what)


@pytest.mark.case("119f")
def test_a_rename_hides_no_groups() -> None:
    found = found_in({"channel": tastes("three kinds", 6)}, 6, renamed_after=180)
    assert found.solution.k == 3
    assert len(found.purchases.renamed) == 6


@pytest.mark.case("7")
def test_halves_follow_the_data_and_a_test_not_made_supports_nothing() -> None:
    shares = {"channel": tastes("three kinds", 7)}
    short = found_in(shares, 7, n_days=92, orders=8.0)
    assert short.days == 92
    assert short.n_in_both > 80
    assert short.solution.chosen.kept is not None
    hardly = found_in(shares, 7, n_days=40, orders=8.0)  # halves of twenty days are none
    assert hardly.solution.k == 0
    said = told(segments, "found", hardly)
    assert said.verdict is Verdict.CANNOT_TELL
    assert "no two periods" in str(said.so_what)


@pytest.mark.case("7")
def test_groups_that_are_remade_by_lot_each_half_year_support_no_plan() -> None:
    kinds = tastes("three kinds", 8)
    first, second = (
        order_lines({"channel": part}, seed, n_days=182, last_day=last).execute()
        for part, seed, last in (
            (kinds, 8, "2025-07-02"),
            (kinds[np.random.default_rng(1).permutation(len(kinds))], 9, "2025-12-31"),
        )
    )
    second["order_id"] = "x" + second["order_id"]
    import ibis

    lines = ibis.memtable(pd.concat([first, second], ignore_index=True))
    found = find_segments(lines, None, plan=PLAN, as_of=AS_OF)
    assert found.solution.k == 0


def ids(found: Found) -> dict[str, str]:
    return {f"s{g + 1}": f"s{g + 1}" for g in range(found.solution.k)}


def moves(found: Found, lines: Any) -> Any:
    return estimate_moves(
        lines, None, found, ids=ids(found), refresh_days=91, minimum_order_days=4, as_of=AS_OF,
        level=0.95,
    )  # fmt: skip


@pytest.mark.case("117b")
def test_nobody_moves_who_buys_as_before() -> None:
    kinds = tastes("three kinds", 10)
    kinds = 0.55 * kinds + 0.45 * kinds.mean(axis=0)  # near enough for chance to misplace some
    lines = order_lines({"channel": kinds}, 10, n_days=456, orders=15.0)
    found = find_segments(lines, None, plan=PLAN, as_of=AS_OF)
    moved = moves(found, lines)
    assert moved.seemed > 0.01  # what the page used to say
    assert moved.moved.lower == 0
    assert moved.moved.upper < 0.03


@pytest.mark.case("117b")
def test_customers_who_change_are_counted() -> None:
    kinds = tastes("three kinds", 11)
    changed = kinds.copy()
    changed[:100] = kinds[np.random.default_rng(2).permutation(500)[:100]]
    before = order_lines({"channel": kinds}, 11, n_days=91, orders=8.0, last_day="2024-12-31")
    after = order_lines({"channel": changed}, 12, n_days=365, orders=16.0).execute()
    before = before.execute().assign(order_id=lambda f: "b" + f["order_id"])
    import ibis

    lines = ibis.memtable(pd.concat([before, after], ignore_index=True))
    found = find_segments(lines, None, plan=PLAN, as_of=AS_OF)
    assert earlier_window(found, refresh_days=91, as_of=AS_OF)[0] == date(2024, 10, 2)
    assert moves(found, lines).moved.upper >= 0  # a quarter of the year moves few


@pytest.mark.case("8")
def test_a_history_that_is_too_short_says_so() -> None:
    lines = order_lines({"channel": tastes("three kinds", 7)}, 7, n_days=364)
    found = find_segments(lines, None, plan=PLAN, as_of=AS_OF)
    with pytest.raises(TooFew, match="reach back 364 days, and it takes 455"):
        moves(found, lines)


@pytest.mark.case("6")
def test_lifts_hold_on_purchases_to_come() -> None:
    """Groups of one year hold, within their ranges, what the same people buy in the next."""

    def misses(seed: int) -> list[tuple[tuple[float, float], float]]:
        kinds = tastes("three kinds", seed, n=400)
        found = found_in({"channel": kinds}, seed, orders=10.0)
        if not found.solution.k:
            return []
        lifts = estimate_lifts(kept_apart(found, ids(found)), as_of=AS_OF, minimum_cell_size=20)
        later = read_purchases(order_lines({"channel": kinds}, seed + 500, orders=60.0), None)
        counts = later.counts()["channel"]
        member = pd.Series([f"s{g + 1}" for g in found.solution.labels], index=found.customers)
        pairs = []
        for lift in lifts:
            own = (member.reindex(counts.index) == lift.segment).to_numpy()
            inside, outside = (
                counts[mask].sum() / counts[mask].sum().sum() for mask in (own, ~own)
            )
            truth = float(inside[lift.feature] / outside[lift.feature])
            pairs.append(((lift.ratio.lower, lift.ratio.upper), truth))
        return pairs

    pairs = [pair for found in over_seeds(misses, 3) for pair in found]
    assert len(pairs) >= 40
    assert_coverage([p for p, _ in pairs], [t for _, t in pairs], 0.95, may_be_wide=True)


@pytest.mark.case("6")
def test_others_are_all_other_customers() -> None:
    counts = pd.DataFrame({"a": [8.0, 1.0, 1.0], "b": [2.0, 9.0, 9.0]}, index=["x", "y", "z"])
    segment = pd.Series(["s1"] * 1, index=["x"])
    lift = estimate_lifts([({"k": counts}, segment)], as_of=AS_OF, minimum_cell_size=1)[0]
    assert lift.ratio.value == pytest.approx(0.8 / 0.1)


def test_nothing_that_differs_is_no_grouping() -> None:
    purchases = read_purchases(order_lines({"channel": tastes("alike", 1)}, 1), None)
    customers = purchases.parts["channel"].index
    recipe, reliability = learn_recipe(purchases, customers)
    assert (recipe.silent, reliability) == (("channel",), 0.0)
