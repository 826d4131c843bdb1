"""Redefinition: totals are equal to the cent, and a break is a break."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_lib.findings import TooFew
from insight_lib.segments.crosswalk import NOT_PLACED, estimate_crosswalk

AS_OF = date(2024, 12, 31)
AMOUNTS = st.decimals(0, 10_000, places=4, allow_nan=False)


@pytest.mark.row("M7.5")
@given(st.lists(st.tuples(AMOUNTS, st.sampled_from("abc-"), st.sampled_from("xy-")), min_size=2))
def test_restated_totals_are_equal(rows: list[tuple[Decimal, str, str]]) -> None:
    rows = [(Decimal("0.01"), "a", "x"), *rows]
    figure = pd.Series([r[0] for r in rows], index=[f"c{i}" for i in range(len(rows))])
    old = {f"c{i}": r[1] for i, r in enumerate(rows) if r[1] != "-"}
    new = {f"c{i}": r[2] for i, r in enumerate(rows) if r[2] != "-"}
    walk = estimate_crosswalk(figure, old, new, as_of=AS_OF)
    assert walk.adds_up
    assert walk.totals["old"] == sum(r[0] for r in rows)
    assert walk.customers.to_numpy().sum() == len(rows)


@pytest.mark.row("M7.5")
def test_a_merger_by_hand() -> None:
    figure = pd.Series([Decimal(10), Decimal(20), Decimal(30), Decimal(40)], index=list("pqrs"))
    old = {"p": "s1", "q": "s2", "r": "s3", "s": "s3"}
    new = {"p": "s1", "q": "s1", "r": "s2"}
    walk = estimate_crosswalk(figure, old, new, as_of=AS_OF)
    assert walk.successor == {"s1": "s1", "s2": "s1", "s3": NOT_PLACED}
    assert walk.kept.value == pytest.approx(0.7)  # all but the 30 of r
    amounts = walk.restated.set_index(["definition", "segment"])["amount"]
    assert amounts["new", "s1"] == 30
    assert amounts["new", NOT_PLACED] == 40
    assert not walk.is_continuous(0.8)


@pytest.mark.row("M7.5")
def test_the_same_definition_is_continuous() -> None:
    figure = pd.Series([Decimal(i) for i in range(1, 41)], index=[f"c{i}" for i in range(40)])
    same = {c: f"s{i % 3}" for i, c in enumerate(figure.index)}
    renamed = {c: f"t{i % 3}" for i, c in enumerate(figure.index)}
    walk = estimate_crosswalk(figure, same, renamed, as_of=AS_OF)
    assert walk.kept.value == 1
    assert walk.is_continuous(0.8)


def test_nobody() -> None:
    with pytest.raises(TooFew):
        estimate_crosswalk(pd.Series(dtype=float), {}, {}, as_of=AS_OF)
