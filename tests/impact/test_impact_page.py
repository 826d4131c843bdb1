"""Files, a market's YAML, `insight run`, and what the impact page then says."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.conftest import ROOT, ProjectFolder
from tests.impact.worlds import AS_OF, START, assign, shop_orders

MARKET = """\
title: Testland
kind: real
region: us
jurisdiction: ccpa
country: US
language: en-US
zone: America/New_York
currency: USD
period: {first_day: 2025-03-03, last_day: 2025-07-31}
parameters:
  general: {reporting_currency: USD}
sources:
  transactions:
    location: raw/transactions.csv
    format: csv
    licence: own-data
    columns:
      order_id: order
      line_id: {constant: "1"}
      customer_id: customer
      ordered_at: {from: at, format: "%Y-%m-%d %H:%M"}
      product_id: {constant: p}
      quantity: {constant: "1"}
      amount: paid
      currency: {constant: USD}
  customers:
    location: raw/customers.csv
    format: csv
    licence: own-data
    columns: {customer_id: customer, subregion: region}
  assignments:
    location: raw/assignments.csv
    format: csv
    licence: own-data
    columns:
      campaign_id: campaign_id
      customer_id: customer_id
      arm: arm
      is_randomised: {constant: "true"}
      planned_share: planned
  campaigns:
    location: raw/campaigns.csv
    format: csv
    licence: own-data
    columns:
      campaign_id: id
      campaign_type: {constant: mail}
      start_date: first
      end_date: last
      cost_per_contact_amount: {constant: "0.5"}
      currency: {constant: USD}
"""


PLAN = """\
- market: us-shop
  campaign: {name}
  metric: has_ordered
  expected_lift: {lift}
  planned_contacts: 4000
  planned_start: 2025-06-02
  planned_control_share: 0.3333
"""
PLANS = "".join(
    PLAN.format(name=name, lift=lift) + (f"  arm: {arm}\n" if arm else "")
    for name, arm, lift in (
        ("early", "", 0.1),
        ("spring", "", 0.1),
        ("spring", "bad", 0.1),
        ("spring", "good", 0.01),
        ("spring", "best", 0.1),
        ("runs", "", 0.1),
    )
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """One shop with three arms, a broken lottery, a running test and one that is turned round."""
    folder = ProjectFolder(tmp_path_factory.mktemp("impact"))
    (folder.root / "parameters/markets/de-test.yaml").unlink()
    shutil.copytree(ROOT / "notebooks", folder.root / "notebooks")
    for notebook in (folder.root / "notebooks").glob("*.ipynb"):
        if notebook.stem not in ("09_impact", "09_learning"):
            notebook.unlink()
    folder.write("parameters/markets/us-shop.yaml", MARKET)
    spring = assign(1_800, arms=("control", "good", "bad"))
    orders = shop_orders(spring, lift={"good": 1.9, "bad": 0.3})
    lost = assign(700, seed=2).assign(campaign_id="broken")
    dropped = lost.index[lost["arm"] == "control"][:120]
    lost = lost.drop(dropped).assign(planned=0.5)
    runs = assign(400, seed=3).assign(campaign_id="runs", planned=0.5)
    early = assign(400, seed=5).assign(campaign_id="early", planned=0.5)
    turned = assign(400, seed=4).assign(campaign_id="turned", planned=0.5)
    rows = pd.concat([spring.assign(planned=np.nan), lost, runs, turned, early])
    save(rows, folder.root / "raw/assignments.csv")
    campaigns = pd.DataFrame(
        [
            ("spring", START, "2025-06-29"),
            ("broken", START, "2025-06-29"),
            ("runs", "2025-07-01", "2025-09-14"),
            ("turned", "2025-06-29", "2025-06-02"),
            ("early", "2025-03-10", "2025-03-23"),
        ],
        columns=["id", "first", "last"],
    )
    save(campaigns, folder.root / "raw/campaigns.csv")
    folder.write("parameters/registers/plans.yaml", PLANS)
    people = spring[["customer_id"]].rename(columns={"customer_id": "customer"})
    region = np.random.default_rng(1).choice(["North", "South"], len(people))
    save(people.assign(region=region), folder.root / "raw/customers.csv")
    lines = pd.DataFrame(
        {
            "order": [f"o{i}" for i in range(len(orders))],
            "customer": orders["customer_id"],
            "at": orders["moment"].dt.strftime("%Y-%m-%d %H:%M"),
            "paid": orders["revenue"].round(2).clip(lower=0.01),
        }
    )
    save(lines, folder.root / "raw/transactions.csv")
    done = subprocess.run(
        [sys.executable, "-m", "insight_lib.cli", "run", "--root", str(folder.root)],
        capture_output=True, text=True, timeout=300, cwd=folder.root,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {}
    for path in folder.root.glob("reports/us-shop/*/*/findings.json"):
        assert path.parts[-3] == AS_OF.isoformat()
        found = json.loads(path.read_text())
        found = found["findings"] if isinstance(found, dict) else found
        pages |= {finding["id"]: finding for finding in found}
    return pages


def save(frame: pd.DataFrame, path: Path) -> None:
    frame.to_csv(path, index=False)


def says(finding: dict[str, Any]) -> str:
    return f"{finding['statement']['text']} {finding['so_what']['text']}"


@pytest.mark.case("84", "92")
def test_each_arm_and_each_test_has_its_own_sentences(page: dict[str, dict[str, Any]]) -> None:
    assert "up" in says(page["impact.has_ordered.spring.good"])
    assert page["impact.has_ordered.spring.good"]["verdict"] == "matters"
    assert "Stop spring (bad)" in says(page["impact.release.spring.bad"])
    assert "Customers of spring were in another test" in says(page["impact.overlap.spring"])


@pytest.mark.case("27")
def test_a_broken_lottery_gives_no_result_at_all(page: dict[str, dict[str, Any]]) -> None:
    assert "is withheld: its arms are not as large as planned" in says(
        page["impact.withheld.broken"]
    )
    assert page["impact.sample_ratio.broken"]["verdict"] == "fail"
    results = {"has_ordered", "revenue", "release", "value_per_contact"}
    assert not [k for k in page if "broken" in k and k.split(".")[1] in results]
    for name in ("impact.returns", "impact.split"):
        assert "broken" not in says(page[name])
    assert page["impact.sample_ratio.spring"]["verdict"] == "pass"  # by the plan on record


@pytest.mark.case("35", "93")
def test_a_running_and_an_impossible_test_are_said(page: dict[str, dict[str, Any]]) -> None:
    assert "runs runs until 14 September 2025; 31 of 76 days seen." in says(
        page["impact.running.runs"]
    )
    # Its row is in quarantine, as it ends before it starts; its customers are not forgotten.
    assert "cannot be measured here" in says(page["impact.unread.turned"])
    assert "84 days before early" in says(page["impact.unread.early"])


@pytest.mark.case("86", "119h")
def test_no_two_sentences_disagree(page: dict[str, dict[str, Any]]) -> None:
    release = page["impact.release.spring.good"]
    split = says(page["impact.split"])
    if release["verdict"] == "matters" and "Roll out" in says(release):
        assert "for spring (good)" in split
    else:
        assert "for spring (good)" not in split
    assert "spring (bad)" not in split.split("Nothing for")[0]


def test_no_customer_is_named(page: dict[str, dict[str, Any]]) -> None:
    assert "c0000" not in json.dumps(page)


@pytest.mark.case("129", "130h")
def test_a_plan_that_cannot_be_judged_silences_no_other(page: dict[str, dict[str, Any]]) -> None:
    early = page["learning.post_mortem.early"]
    assert early["verdict"] == "not measurable"
    assert "begin less than 84 days before early" in says(early)
    assert "it runs until 2025-09-14" in says(page["learning.post_mortem.runs"])
    assert "has bad, good" in says(page["learning.post_mortem.spring_best"])
    plans = page["learning.plans"]
    assert plans["statement"]["text"] == (
        "Of 2 campaign plans, 1 surely reached and 1 surely not reached."
    )
    # Fewer contacts than planned explain no lift per customer.
    assert "Execution gap" not in says(page["learning.post_mortem.spring_bad"])


@pytest.mark.case("84")
def test_a_plan_is_about_one_arm(page: dict[str, dict[str, Any]]) -> None:
    """Both arms together (one ×1.9, one ×.3) would be an average that neither of them had."""
    assert "it has the arms bad, good, and its plan names none" in says(
        page["learning.post_mortem.spring"]
    )
    assert "Reached: spring (good)." in says(page["learning.plans"])
    assert "Not reached: spring (bad)." in says(page["learning.plans"])
    bad = page["learning.post_mortem.spring_bad"]
    assert bad["value"]["upper"] < 0
    # A third of the campaign is left alone as planned, though half of this arm's comparison is.
    assert "nobody wrote down who was contacted" in says(bad)


@pytest.mark.case("154")
def test_the_true_reason_is_given(page: dict[str, dict[str, Any]]) -> None:
    updates = says(page["learning.updates"])
    assert "stage monitoring has published no states of models" in updates
    assert all(need["minimum_rows"] is None for need in page["learning.updates"]["needs"])
