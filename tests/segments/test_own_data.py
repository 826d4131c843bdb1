"""Orders alone, in another currency: from a market's YAML and files to its findings."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from tests.conftest import ROOT, ProjectFolder

SHOP = """\
title: Taiwan · shop
kind: real
region: apac
jurisdiction: ccpa
country: TW
language: zh-TW
zone: Asia/Taipei
currency: TWD
sources:
  transactions:
    location: raw/orders.csv
    format: csv
    licence: own-data
    columns:
      order_id: order
      line_id: line
      customer_id: customer
      ordered_at: {from: at, format: "%Y-%m-%d %H:%M"}
      product_id: product
      quantity: pieces
      amount: paid
      currency: {constant: TWD}
  products:
    location: raw/products.csv
    format: csv
    licence: own-data
    columns: {product_id: product, department: department}
"""


def flat_shop(seed: int, *, n_customers: int = 160, n_days: int = 640) -> tuple[str, str]:
    """Order lines of customers who are all alike, and the products."""
    rng = np.random.default_rng(seed)
    rows = []
    for customer in range(n_customers):
        days = np.flatnonzero(rng.random(n_days) < 1 / 25)
        for number, day in enumerate(days):
            at = pd.Timestamp("2024-01-01") + pd.Timedelta(days=int(day), hours=12)
            rows += [
                {
                    "order": f"o{customer:03}-{number}",
                    "line": line,
                    "customer": f"c{customer:03}",
                    "at": f"{at:%Y-%m-%d %H:%M}",
                    "product": f"p{rng.integers(0, 30):02}",
                    "pieces": 1,
                    "paid": f"{rng.uniform(100, 900):.2f}",
                }
                for line in range(int(rng.integers(1, 4)))
            ]
    products = pd.DataFrame(
        {"product": [f"p{i:02}" for i in range(30)], "department": list("abcdef") * 5}
    )
    return pd.DataFrame(rows).to_csv(index=False), products.to_csv(index=False)


@pytest.mark.slow
@pytest.mark.case("8", "32", "118", "119h")
def test_orders_alone_have_a_page_and_no_groups_of_people_alike(folder: ProjectFolder) -> None:
    (folder.root / "parameters/markets/de-test.yaml").unlink()
    shutil.copytree(ROOT / "notebooks", folder.root / "notebooks")
    orders, products = flat_shop(3)
    folder.write("parameters/markets/tw-shop.yaml", SHOP)
    folder.write("raw/orders.csv", orders)
    folder.write("raw/products.csv", products)
    command = [sys.executable, "-m", "insight_lib.cli", "run", "--stage", "segments"]
    done = subprocess.run(
        [*command, "--root", str(folder.root)], capture_output=True, text=True, timeout=300,
        cwd=folder.root,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.root.glob("reports/tw-shop/*/segments/findings.json")
    found = {f["id"]: f for f in json.loads(path.read_text())["findings"]}
    told = {name: json.dumps(f, ensure_ascii=False) for name, f in found.items()}
    assert found["segments.found"]["verdict"] == "cannot tell yet"
    assert "real groups" not in told["segments.found"]
    assert "Serve" not in told["segments.uses"]
    assert found["segments.responsiveness"]["verdict"] == "not measurable"
    assert not any("more rows" in text for text in told.values())
