"""The crucible finds a defect of each kind: each is planted here, seen, and gone without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest

from insight_lib import data_checks
from insight_lib.features import value
from insight_lib.findings import Prose
from insight_lib.impact import inputs
from insight_lib.impact.experiment import Integrity
from insight_lib.orders import Coverage
from tests.crucible.desk import put_through
from tests.crucible.judge import judge
from tests.crucible.known import WORLDS, Claim
from tests.crucible.relations import RELATIONS, compare, ids_renamed
from tests.crucible.results import StageResult, fingerprints, reduced
from tests.crucible.shops import Plant, make_shop
from tests.crucible.shrink import CASES, case_faults, keep_case, shrink

pytestmark = pytest.mark.slow


def findings_of(
    root: Path, name: str, seed: int, *stages: str
) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    known = WORLDS[name]
    outcome = put_through(root, [known.make(seed, known.plant)], stages=stages)
    return {
        stage: [reduced(f) for f in found] for stage, found in outcome.findings("de-known").items()
    }


def made(found: Mapping[str, Sequence[Mapping[str, Any]]], claims: Mapping[str, Claim]) -> set[str]:
    return {name for name, claim in claims.items() if claim.made(found.get(claim.stage, ()))}


def test_a_window_that_is_not_covered_is_found(tmp_path: Path) -> None:
    """Planted: nothing asks whether the data hold both windows of a comparison."""
    claims = WORLDS["short_history"].false
    assert made(findings_of(tmp_path / "right", "short_history", 1, "features"), claims) == set()
    with (
        mock.patch.object(Coverage, "require", return_value=None),
        mock.patch.object(Coverage, "is_full", return_value=True),
    ):
        found = findings_of(tmp_path / "wrong", "short_history", 1, "features")
    assert r"features\.revenue" in made(found, claims)


def test_a_failed_check_that_is_ignored_is_found(tmp_path: Path) -> None:
    """Planted: a lottery that failed silences nothing."""
    claims = WORLDS["a_broken_lottery"].false
    assert made(findings_of(tmp_path / "right", "a_broken_lottery", 1, "impact"), claims) == set()
    with mock.patch.object(Integrity, "faults", property(lambda _: ())):
        found = findings_of(tmp_path / "wrong", "a_broken_lottery", 1, "impact")
    assert made(found, claims)


def test_a_join_that_loses_keys_is_found(tmp_path: Path) -> None:
    """Planted: orders of customers whose key ends in an odd digit find no customer."""
    world = make_shop(1, Plant())
    other = ids_renamed(world, np.random.default_rng(1))
    load = inputs.load_orders

    def lossy(*args: Any, **kwargs: Any) -> pd.DataFrame:
        orders = load(*args, **kwargs)
        return orders[orders["customer_id"].str[-1].isin(list("02468"))]

    def both(folder: str) -> dict[str, list[str]]:
        one, two = (
            {
                stage: [reduced(f) for f in found]
                for stage, found in put_through(tmp_path / folder / name, [w], stages=["impact"])
                .findings("de-known")
                .items()
            }
            for name, w in (("one", world), ("two", other))
        )
        return compare(one, two, RELATIONS["ids_renamed"])[0]

    assert both("right") == {}
    with (
        mock.patch.object(inputs, "load_orders", lossy),
        mock.patch("insight_lib.impact.market_tests.load_orders", lossy),
    ):
        assert both("wrong") != {}


def test_an_error_of_units_is_found(tmp_path: Path) -> None:
    """Planted: every line of an order counts as a customer of its own, so ranges are too narrow."""
    known, n_seeds = WORLDS["flat_shop"], 8
    truth = known.numbers[r"features\.order_amount"]

    def held(folder: str) -> int:
        count = 0
        for seed in range(1, n_seeds + 1):
            found = findings_of(tmp_path / folder / str(seed), "flat_shop", seed, "features")
            (amount,) = [f for f in found["features"] if f["id"] == "features.order_amount"]
            count += amount["lower"] <= truth <= amount["upper"]
        return count

    estimate = value.estimate_ratio

    def narrow(numerator: Any, denominator: Any, **more: Any) -> Any:
        right = estimate(numerator, denominator, **more)
        lines = (1 + 1 + 2 + 3) / 4 * 12  # of a customer
        low, high = (right.value - e for e in (right.lower, right.upper))
        return replace(
            right, lower=right.value - low / lines**0.5, upper=right.value - high / lines**0.5
        )

    assert held("right") >= n_seeds - 1
    with mock.patch.object(value, "estimate_ratio", narrow):
        assert held("wrong") <= n_seeds - 3


def test_a_number_that_is_undefined_is_found_shrunk_and_kept(tmp_path: Path) -> None:
    """Planted: a sentence passes on what is not a number where orders were taken back."""
    describe = data_checks.describe_data

    def careless(m: Any, *args: Any, **kwargs: Any) -> Any:
        checks = describe(m, *args, **kwargs)
        lines = m.table("transactions").to_pandas()
        share = float("nan") if (lines["amount"] < 0).any() else 0.0
        told = Prose("Taken back: {share}.", share=f"{share:.1f} %")
        return [replace(check, statement=told) for check in checks]

    world = make_shop(3, Plant(n_customers=40, days=60))
    lines = world.tables["transactions"].copy()
    lines.loc[lines.index[5], "amount"] *= -1
    lines.loc[lines.index[6], "amount"] = None  # a row that cannot be loaded is told of
    world = replace(world, tables={**world.tables, "transactions": lines})
    count = iter(range(1000))

    def faults_of(tried: Any) -> set[str]:
        outcome = put_through(tmp_path / str(next(count)), [tried], stages=["value"])
        stages: Mapping[str, StageResult] = judge(outcome, tried, fingerprints("draws.py"))
        faults = [fault for stage in stages.values() for fault in stage.faults]
        return {"nan" for fault in faults if "'nan'" in fault}

    assert faults_of(world) == set()
    with mock.patch.object(data_checks, "describe_data", careless):
        smaller = shrink(world, faults_of, most_tries=30)
        assert faults_of(smaller) == {"nan"}
    n_lines = len(smaller.tables["transactions"])
    assert n_lines < len(lines) / 4
    assert len(smaller.tables) < len(world.tables)
    place = keep_case(smaller, tmp_path / "cases")
    assert case_faults(place, tmp_path / "mended") == []
    with mock.patch.object(data_checks, "describe_data", careless):
        assert "'nan'" in " ".join(case_faults(place, tmp_path / "again"))


@pytest.mark.parametrize("case", sorted(path.name for path in CASES.iterdir()))
def test_no_kept_market_has_a_fault_again(case: str, tmp_path: Path) -> None:
    assert case_faults(CASES / case, tmp_path / "project") == []


def test_cells_in_this_process_say_what_kernels_say(tmp_path: Path) -> None:
    """A sample goes the whole way, a kernel for each notebook."""
    world = make_shop(5, Plant(n_customers=200, days=400))
    here = put_through(tmp_path / "here", [world], stages=["features", "impact"])
    there = put_through(
        tmp_path / "there", [world], stages=["features", "impact"], with_kernels=True
    )
    assert here.findings("de-known") == there.findings("de-known")
    assert here.findings("de-known")["impact"]
