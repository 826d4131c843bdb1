"""Tests of somebody else's: three arms with returns, and a campaign in which nobody ordered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.crucible.desk import put_through
from tests.crucible.shops import CAMPAIGN_DAYS, Plant, make_shop
from tests.crucible.world import World

pytestmark = pytest.mark.slow


def impact_page(root: Path, world: World) -> Mapping[str, Mapping[str, Any]]:
    found = put_through(root, [world], stages=["impact"]).findings(world.id)["impact"]
    return {finding["id"]: finding for finding in found}


def with_three_arms() -> World:
    """Letters double the orders of their days, and all of that comes back three weeks later."""
    world = make_shop(12, Plant(n_customers=1500, days=600))
    people = world.tables["assignments"]
    arm = np.random.default_rng(5).choice(["control", "letter", "email"], len(people))
    people = people.assign(arm=arm, planned_share=1 / 3)
    lines, start = world.tables["transactions"], people["assigned_at"].iloc[0]
    is_inside = (lines["ordered_at"] - start).dt.days.between(0, CAMPAIGN_DAYS - 1)
    by_letter = set(people.loc[people["arm"] == "letter", "customer_id"])
    extra = lines[is_inside & lines["customer_id"].isin(by_letter)]
    bought = extra.assign(order_id="X" + extra["order_id"], line_id="x" + extra["line_id"])
    back = extra.assign(
        order_id="R" + extra["order_id"],
        line_id="r" + extra["line_id"],
        amount=-extra["amount"],
        quantity=-extra["quantity"],
        ordered_at=extra["ordered_at"] + pd.Timedelta(days=21),
    )
    lines = pd.concat([lines, bought, back], ignore_index=True)
    return replace(world, tables={**world.tables, "transactions": lines, "assignments": people})


@pytest.mark.row("C8.1")
@pytest.mark.case("81")
def test_each_arm_has_its_own_answer_and_one_range(tmp_path: Path) -> None:
    page = impact_page(tmp_path, with_three_arms())
    assert page["impact.release.spring.letter"]["statement"]["text"].startswith("Do not roll out")
    for arm in ("email", "letter"):
        spend = page[f"impact.revenue.spring.{arm}"]
        assert spend["verdict"] == "cannot tell yet"
        (said,) = re.findall(r"likely (.*?)\)", spend["statement"]["text"])
        # With the largest spenders cut, and as it stands: the second is the range above.
        capped = page[f"impact.capped.spring.{arm}"]["so_what"]["text"]
        assert re.findall(r"likely (.*?)\)", capped)[1] == said


@pytest.mark.case("35")
def test_where_nobody_ordered_nobody_is_ranked(tmp_path: Path) -> None:
    world = make_shop(13, Plant(n_customers=600, days=600))
    lines, start = world.tables["transactions"], world.tables["assignments"]["assigned_at"].iloc[0]
    is_inside = (lines["ordered_at"] - start).dt.days.between(0, CAMPAIGN_DAYS - 1)
    # One order of somebody unknown keeps the days of the campaign covered.
    others = lines[is_inside].assign(customer_id=None)
    lines = pd.concat([lines[~is_inside], others], ignore_index=True)
    page = impact_page(tmp_path, replace(world, tables={**world.tables, "transactions": lines}))
    assert page["impact.has_ordered.spring"]["verdict"] == "cannot tell yet"
    (ranked,) = [f for name, f in page.items() if name.startswith("impact.uplift")]
    assert ranked["verdict"] == "not measurable"
    assert "did the same" in ranked["statement"]["text"]
    assert "spent something" in page["impact.returns"]["so_what"]["text"]
