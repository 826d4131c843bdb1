"""Inputs: counts by hand, scales, and what is done to outliers, returns and missing values."""

from __future__ import annotations

import ibis
import numpy as np
import pandas as pd
import pytest

from insight_lib.findings import TooFew
from insight_lib.segments.inputs import (
    amounts_block,
    combine_blocks,
    mix_block,
    piece_counts,
)

PRODUCTS = pd.DataFrame({"product_id": ["p1", "p2"], "department": ["Shoes", "Shirts"]})


def lines(rows: list[tuple[str | None, str, float]]) -> ibis.Table:
    return ibis.memtable(pd.DataFrame(rows, columns=["customer_id", "product_id", "quantity"]))


def test_returns_and_lines_without_a_customer_do_not_count() -> None:
    table = lines(
        [("a", "p1", 1), ("a", "p1", 2), ("a", "p2", -1), ("b", "p2", 1), ("b", "p9", 1),
         (None, "p1", 1)]
    )  # fmt: skip
    counts = piece_counts(table, "department", ibis.memtable(PRODUCTS))
    assert counts.to_dict("index") == {
        "a": {"Shirts": 0.0, "Shoes": 2.0, "unknown": 0.0},
        "b": {"Shirts": 1.0, "Shoes": 0.0, "unknown": 1.0},
    }


def test_amounts_are_scaled_and_outliers_counted() -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"amount": np.exp(rng.normal(3, 0.5, 200)), "constant": 1.0})
    frame.loc[0, "amount"] = 1e9
    frame.loc[1, "amount"] = -1e9
    frame.loc[2, "amount"] = np.nan
    block = amounts_block(frame, ["amount", "constant"])
    assert list(block.values.columns) == ["amount"]
    assert (block.n_outliers, block.n_missing) == (2, 1)
    assert block.values["amount"].var(ddof=0) == pytest.approx(1)
    # A billion lies no further out than any other value at the limit.
    assert block.values["amount"].max() == pytest.approx(block.values["amount"][0])
    assert block.values["amount"].max() < 5
    cents = amounts_block(frame * 100, ["amount", "constant"])
    np.testing.assert_allclose(cents.values, block.values)


def test_one_purchase_makes_nobody_a_specialist() -> None:
    counts = pd.DataFrame(
        {"Shoes": [1.0, 50.0, 0.0, 25.0], "Shirts": [0.0, 0.0, 50.0, 25.0]},
        index=["once", "shoes", "shirts", "both"],
    )
    values = mix_block(counts, counts.index, name="department").values["Shoes"]
    assert values["once"] < (values["shoes"] + values["both"]) / 2
    assert values["shirts"] < values["both"] < values["once"] < values["shoes"]


def test_rare_levels_stand_together() -> None:
    counts = pd.DataFrame({"a": [500.0, 400.0], "b": [400.0, 500.0], "c": [1.0, 0], "d": [0, 1.0]})
    assert list(mix_block(counts, counts.index, name="x").values.columns) == ["a", "b", "other"]


def test_every_block_weighs_the_same() -> None:
    index = pd.Index([f"c{i}" for i in range(60)], name="customer_id")
    rng = np.random.default_rng(2)
    frame = pd.DataFrame(
        {
            "n_orders": rng.poisson(5, 60),
        },
        index=index,
    )
    counts = pd.DataFrame(rng.poisson(3, (60, 4)), index=index, columns=list("abcd"), dtype=float)
    inputs = combine_blocks(
        [
            amounts_block(frame, ["n_orders"]),
            mix_block(counts, index, name="department"),
        ],
        weights={"department": 2.0},
    )
    variance = inputs.values.var(ddof=0).groupby(list(inputs.block_of)).sum()
    assert variance.to_dict() == pytest.approx({"how much": 1.0, "department": 2.0})


def test_customers_all_alike_are_too_few_differences() -> None:
    frame = pd.DataFrame({"n_orders": [1, 1, 1]})
    with pytest.raises(TooFew, match="nothing differs"):
        combine_blocks([amounts_block(frame, ["n_orders"])])
