"""Value of splitting: identities, properties, and the limit on channels."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insight_lib.findings import TooFew
from insight_lib.segments.granularity import Granularity, estimate_granularity, explained_share

AS_OF = date(2024, 12, 31)
SEVEN = np.repeat([10.0, 20, 40, 70, 110, 160, 220], 100)


def solutions(value: np.ndarray, largest: int = 7) -> dict[int, np.ndarray]:
    rank = value.argsort(kind="stable").argsort(kind="stable")
    return {k: (rank * k // len(value)).astype(np.int64) for k in range(2, largest + 1)}


def choose(value: np.ndarray, *, cost: float = 100.0, capacity: int = 10) -> Granularity:
    return estimate_granularity(
        value,
        solutions(value),
        activation_cost_amount=cost,
        channel_capacity=capacity,
        captured_share=0.1,
        currency="EUR",
        found=4,
        period_days=91,
        as_of=AS_OF,
    )


def test_explained_share_by_hand() -> None:
    # Two groups (1, 3) and (5, 7): within 2 per degree of freedom, total 20, so
    # (20 - 2 * 3) / (20 + 2) = 14 / 22.
    value, labels = np.array([1.0, 3, 5, 7]), np.array([0, 0, 1, 1])
    assert explained_share(value, labels) == pytest.approx(14 / 22)


def test_a_split_by_chance_explains_nothing_on_average() -> None:
    rng = np.random.default_rng(1)
    shares = [explained_share(rng.normal(size=300), rng.integers(0, 6, 300)) for _ in range(200)]
    assert np.mean(shares) < 0.01


@pytest.mark.row("C3.3")
@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0, 1e4), min_size=20, max_size=80),
    st.floats(0, 1e4),
    st.floats(0, 1e4),
    st.integers(1, 8),
)
def test_a_higher_cost_never_raises_the_number(
    values: list[float], cost: float, more: float, capacity: int
) -> None:
    value = np.array(values)
    before = choose(value, cost=cost, capacity=capacity)
    after = choose(value, cost=cost + more, capacity=capacity)
    assert after.chosen.k <= before.chosen.k
    assert before.chosen.k <= capacity
    assert before.lost.value >= 0


@pytest.mark.row("C3.3")
def test_three_channels_serve_three_segments_and_the_loss_is_stated() -> None:
    free, limited = choose(SEVEN, capacity=10), choose(SEVEN, capacity=3)
    assert free.chosen.k > 3
    assert limited.chosen.k <= 3
    assert limited.is_limited
    assert limited.lost.value == pytest.approx(free.chosen.net_amount - limited.chosen.net_amount)
    assert limited.lost.value > 0
    assert free.lost.value == 0


def test_segments_that_cost_more_than_they_bring_are_not_run() -> None:
    assert choose(SEVEN, cost=1e9).chosen.k == 1


def test_nobody() -> None:
    with pytest.raises(TooFew):
        choose(np.array([]))
