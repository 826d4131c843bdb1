"""Files that nobody tuned to, the way a user brings them: YAML, files, run, findings."""

from __future__ import annotations

import json
import shutil
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.conftest import ROOT, ProjectFolder
from tests.test_end_to_end import insight

MARKET = """\
title: Testland {name}
kind: real
region: eu
jurisdiction: ccpa
country: DE
language: de-DE
zone: Europe/Berlin
currency: EUR
sources:
  transactions:
    location: raw/{name}.csv
    format: csv
    licence: own-data
    columns:
      order_id: order
      line_id: line
      customer_id: customer
      ordered_at: {{from: at, format: "%Y-%m-%d %H:%M"}}
      product_id: product
      quantity: pieces
      amount: paid
      currency: {{constant: EUR}}
{products}"""
PRODUCTS = """\
  products:
    location: raw/products.csv
    format: csv
    licence: own-data
    columns: {product_id: product, category: kind}
"""
COLUMNS = ["order", "line", "customer", "at", "product", "pieces", "paid"]
FIRST = date(2024, 1, 1)


def flat(days: int, *, seed: int = 1, customers: int = 150) -> list[tuple]:
    rng = np.random.default_rng(seed)
    rates = rng.gamma(1.2, 0.06, customers)
    rows = []
    for day, who in zip(*np.nonzero(rng.random((days, customers)) < rates), strict=True):
        at = f"{FIRST + timedelta(days=int(day))} {rng.integers(8, 20):02d}:15"
        product = f"p{rng.integers(0, 24):02d}"
        paid = round(float(rng.gamma(4, 5)) + 1, 2)
        rows.append((f"o{len(rows)}", "1", f"c{who:03d}", at, product, 1, paid))
    return rows


def sent_back(rows: list[tuple], *, own_number: bool) -> list[tuple]:
    """Two in five orders come back 28 days later."""
    rng = np.random.default_rng(3)
    last, found = max(row[3] for row in rows), list(rows)
    for i, (order, _, who, at, product, _, paid) in enumerate(rows):
        back = f"{date.fromisoformat(at[:10]) + timedelta(days=28)} 21:00"
        if rng.random() < 0.4 and back <= last:
            found.append((f"r{i}" if own_number else order, "2", who, back, product, -1, -paid))
    return found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, dict[str, Any]]]:
    root = tmp_path_factory.mktemp("own")
    folder = ProjectFolder(root)
    (root / "parameters/markets/de-test.yaml").unlink()
    shutil.copytree(ROOT / "notebooks", root / "notebooks")
    plain = flat(480)
    at = plain[-60][3]  # on a complete day
    worlds = {
        "half": flat(122),
        "plain": plain,
        "gifts": [
            *plain,
            *((f"g{i}", "1", f"c{i:03d}", at, "gift", 1, 0.0) for i in range(150)),
        ],
        "back-own": sent_back(plain, own_number=True),
        "back-same": sent_back(plain, own_number=False),
        "below": [
            *plain,
            *((f"x{i}", "1", f"c{i:03d}", at, "x", -1, -9e3) for i in range(60)),
        ],
    }
    products = pd.DataFrame({"product": [f"p{i:02d}" for i in range(24)]})
    products.assign(kind="k" + products["product"].str[-1]).to_csv(
        root / "raw/products.csv", index=False
    )
    for name, rows in worlds.items():
        pd.DataFrame(rows, columns=COLUMNS).to_csv(root / f"raw/{name}.csv", index=False)
        with_products = PRODUCTS if name in ("plain", "gifts") else ""
        text = MARKET.format(name=name, products=with_products)
        folder.write(f"parameters/markets/de-{name}.yaml", text)
    done = insight(root, "run", "--stage", "features", "--stage", "value")
    assert done.returncode == 0, done.stdout + done.stderr
    return {name: _read(root, f"de-{name}") for name in worlds}


def _read(root: Path, market: str) -> dict[str, dict[str, Any]]:
    found = {}
    for path in (root / "reports" / market).glob("*/*/findings.json"):
        for finding in json.loads(path.read_text())["findings"]:
            found[finding["id"].removeprefix("features.")] = finding
    return found


def said(page: dict[str, dict[str, Any]], name: str) -> str:
    return str(page[name]["statement"]["text"])


@pytest.mark.slow
@pytest.mark.case("1", "4")
def test_half_a_window_is_not_compared(pages: dict[str, Any]) -> None:
    assert "31 of 90 days are covered" in said(pages["half"], "revenue")
    assert pages["half"]["customer_value"]["verdict"] == "not measurable"
    assert "history: 121 days" in said(pages["half"], "customer_value")


@pytest.mark.slow
@pytest.mark.case("10", "11", "31", "32")
def test_gifts_change_nothing(pages: dict[str, Any]) -> None:
    for name in ("revenue", "order_amount", "repeat_rate", "late_customers", "customer_value"):
        assert said(pages["gifts"], name) == said(pages["plain"], name)
        assert pages["plain"][name]["verdict"] != "matters" or name == "customer_value"


@pytest.mark.slow
@pytest.mark.case("13", "26")
def test_returns_count_alike_whatever_their_number_and_age(pages: dict[str, Any]) -> None:
    own, same, gross = pages["back-own"], pages["back-same"], pages["plain"]
    for name in ("revenue", "order_amount", "customer_value"):
        assert said(own, name) == said(same, name)
    assert own["order_amount"]["verdict"] != "matters"
    assert "up to 28 days" in own["order_amount"]["so_what"]["text"]
    kept = own["customer_value"]["value"]["value"] / gross["customer_value"]["value"]["value"]
    assert kept == pytest.approx(0.6, abs=0.04)


@pytest.mark.slow
@pytest.mark.case("33")
def test_more_taken_back_than_came_in_is_a_fall_that_can_be_said(pages: dict[str, Any]) -> None:
    below = pages["below"]
    assert "Revenue was −€5" in said(below, "revenue")
    assert "down €5" in said(below, "revenue")
    assert below["revenue"]["verdict"] == "matters"
