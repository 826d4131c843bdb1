from __future__ import annotations

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from insight_demo.columns import (
    blank,
    canonical,
    money,
    numbered,
    pick,
    scrambled,
    stream,
    take,
)


def test_money_is_exact_in_every_currency() -> None:
    assert money(np.array([1999, -5, 0]), 2).to_pylist() == [
        Decimal("19.9900"),
        Decimal("-0.0500"),
        Decimal("0.0000"),
    ]
    assert money(np.array([4290]), 0).to_pylist() == [Decimal("4290.0000")]


def test_streams_differ_by_name_and_repeat() -> None:
    first = stream(1, "de", "orders", 0).random(3)
    assert (stream(1, "de", "orders", 0).random(3) == first).all()
    for other in (stream(2, "de", "orders", 0), stream(1, "de", "orders", 1), stream(1, "de", "x")):
        assert (other.random(3) != first).all()


def test_pick_follows_the_row_of_shares() -> None:
    rows = np.repeat([0, 1], 20_000)
    chosen = pick(stream(1, "pick"), [[1, 0, 3], [0, 5, 0]], rows)
    assert set(chosen[rows == 1]) == {1}
    assert set(chosen[rows == 0]) == {0, 2}
    assert (chosen[rows == 0] == 2).mean() == pytest.approx(0.75, abs=0.015)


def test_scrambled_is_one_to_one() -> None:
    numbers = scrambled(np.arange(200_000))
    assert len(np.unique(numbers)) == 200_000
    assert (numbers >= 0).all()
    assert (numbers < 2**40).all()


def test_text_columns() -> None:
    assert take(("a", "b"), np.array([1, -1, 0])).to_pylist() == ["b", None, "a"]
    assert numbered("C", np.array([7, 123]), 3).to_pylist() == ["C007", "C123"]
    assert blank(pa.array(["x", "y"]), np.array([False, True])).to_pylist() == ["x", None]


def test_an_unknown_column_is_refused() -> None:
    with pytest.raises(KeyError, match="colour"):
        canonical("customers", {"colour": ["red"]})
