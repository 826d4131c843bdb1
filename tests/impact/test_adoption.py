"""Counts of use equal the log; who opens and never acts is named."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from insight_demo import WORLDS, simulate_market
from insight_demo.signals import ADOPTION
from insight_lib.findings import TooFew
from insight_lib.impact.adoption import Adoption, collect_events, estimate_adoption
from tests.truth.helpers import assert_coverage, over_seeds

DAY = date(2025, 12, 31)


def local(
    n: int,
    action: str,
    *,
    unit: str | None = "sales",
    role: str = "sales",
    finding: str | None = None,
    day: date = DAY,
) -> list[dict[str, object]]:
    row = {
        "day": day.isoformat(),
        "role": role,
        "business_unit": unit,
        "stage": "impact",
        "finding_id": finding,
        "action": action,
    }
    return [dict(row) for _ in range(n)]


def judge(rows: list[dict[str, object]], minimum: int = 10) -> Adoption:
    events = collect_events(None, rows, zone="UTC")
    return estimate_adoption(events, as_of=DAY, quarter_days=91, minimum_cell_size=minimum)


@pytest.mark.row("C8.5")
def test_counts_equal_the_planted_log() -> None:
    rng = np.random.default_rng(4)
    units, actions = ["a", "b", "c"], ["opened", "acted", "overridden"]
    rows = []
    for _ in range(900):
        action = actions[rng.choice(3, p=[0.7, 0.2, 0.1])]
        day = DAY - timedelta(days=int(rng.integers(0, 91)))
        rows += local(1, action, unit=units[rng.integers(0, 3)], day=day)
    rows += local(500, "opened", unit="a", day=DAY - timedelta(days=91))  # the quarter before
    rows += local(50, "printed", unit="a")  # no such action
    found = judge(rows)
    frame = pd.DataFrame([r for r in rows if r["day"] > (DAY - timedelta(days=91)).isoformat()])
    for use in found.units:
        mine = frame[frame["business_unit"] == use.unit]["action"].value_counts()
        assert (use.opened, use.acted, use.overridden) == tuple(mine[actions])
    assert found.events == 900
    a = next(u for u in found.units if u.unit == "a")
    assert a.opened_change is not None
    assert a.opened_change.value == pytest.approx(a.opened / 500 - 1)
    assert a.opened_change.upper < 0
    assert all(u.opened_change is None for u in found.units if u.unit != "a")


@pytest.mark.row("C8.5")
def test_the_simulated_log_is_counted_and_the_silent_unit_named() -> None:
    made = simulate_market(WORLDS["de-fashion"], seed=1, n_customers=300)
    table = made.tables["adoption"].to_pandas()
    twice = pd.concat([table, table])  # a delivery repeated counts once
    events = collect_events(twice, [], zone="Europe/Berlin")
    assert len(events) == len(table)
    found = estimate_adoption(events, as_of=DAY, quarter_days=200, minimum_cell_size=10)
    silent = [u for u in found.units if u.never_acts]
    assert [u.unit for u in silent] == [made.scalars["unit_without_actions"]]
    assert found.units[0] is silent[0]
    chance = silent[0].chance_of_silence
    assert chance is not None
    assert chance < 0.001
    assert silent[0].acted_share.upper < 0.05
    for use in found.units:
        mine = table[table["business_unit"] == use.unit]["action"].value_counts()
        assert use.opened == mine["opened"]
        assert use.acted == mine.get("acted", 0)
    shares = {unit: share for unit, _, _, share in ADOPTION}
    assert all(u.acted_share.lower <= shares[u.unit] <= u.acted_share.upper for u in found.units)


@pytest.mark.row("C8.5")
def test_few_openings_without_an_act_may_be_chance() -> None:
    found = judge([*local(12, "opened", unit="new"), *local(90, "opened"), *local(10, "acted")])
    new = found.units[0]
    assert new.unit == "new"
    assert new.chance_of_silence == pytest.approx((1 - 10 / 90) ** 12)
    assert found.units[1].chance_of_silence is None


@pytest.mark.row("C8.5")
def test_resistance_is_ranked_and_small_groups_are_hidden() -> None:
    rows = local(40, "opened") + local(9, "opened", unit="tiny")
    rows += local(12, "overridden", finding="impact.revenue")
    rows += local(3, "acted", finding="impact.revenue")
    rows += local(2, "overridden", finding="impact.split") + local(
        18, "acted", finding="impact.split"
    )
    rows += local(9, "overridden", finding="impact.rare")
    found = judge(rows)
    assert [u.unit for u in found.units] == ["sales"]
    assert found.hidden_groups == 1
    assert [(r.finding_id, r.overridden, r.decided) for r in found.resistance] == [
        ("impact.revenue", 12, 15),
        ("impact.split", 2, 20),
    ]
    assert found.units[0].acted_share.n == 44  # 44 decisions prove 44 readings
    with pytest.raises(TooFew, match="9 readings"):
        judge(local(9, "opened"))


def test_a_reader_without_a_unit_is_counted_as_such() -> None:
    found = judge(local(20, "opened", unit=None))
    assert found.units[0].unit == "unit not given"


@pytest.mark.slow
@pytest.mark.row("C8.5")
def test_the_range_of_a_change_in_openings_holds_the_truth() -> None:
    def run(seed: int) -> tuple[float, float]:
        now, before = np.random.default_rng(seed).poisson([120, 100])
        rows = local(int(now), "opened")
        rows += local(int(before), "opened", day=DAY - timedelta(days=100))
        change = judge(rows).units[0].opened_change
        assert change is not None
        return change.lower, change.upper

    assert_coverage(over_seeds(run, 400), 0.2, 0.95)
