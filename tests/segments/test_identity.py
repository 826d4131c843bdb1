"""Identity: matching by hand, ids that stay, names that survive a re-fit, and wear."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_lib.findings import TooFew
from insight_lib.segments.identity import (
    Profile,
    estimate_interval,
    match_profiles,
    match_segments,
    profile_means,
)
from insight_lib.segments.solution import fit_model
from tests.segments.worlds import planted

AS_OF = date(2024, 12, 31)


def state(text: str, *, first: int = 0) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "customer_id": [f"c{i + first:03}" for i in range(len(text))],
            "segment": [f"s{c}" for c in text],
        }
    )


@pytest.mark.row("C3.5")
def test_ids_follow_the_customers_not_the_order() -> None:
    refresh = match_segments(state("1111222333"), state("2223111133"[:10]), as_of=AS_OF)
    # Old s1 (4) is new s2 (3 of them) ... new s1 holds old s2 and one of s3.
    assert refresh.ids["s2"] == "s1"
    assert refresh.retired == ()
    assert refresh.migration.to_numpy().sum() == 10
    assert refresh.moved.n == 10


@pytest.mark.row("C3.5")
def test_migration_by_hand() -> None:
    refresh = match_segments(state("1111112222"), state("1111122222"), as_of=AS_OF)
    assert refresh.ids == {"s1": "s1", "s2": "s2"}
    assert refresh.migration.to_numpy().tolist() == [[5, 1], [0, 4]]
    assert refresh.moved.value == pytest.approx(0.1)
    assert refresh.agreement == pytest.approx({"s1": 5 / 6, "s2": 4 / 5})


@pytest.mark.row("C3.5")
def test_a_new_segment_never_takes_a_used_id() -> None:
    refresh = match_segments(
        state("1111111122222222"), state("1111333322222222"), as_of=AS_OF, used_ids=["s7"]
    )
    assert refresh.ids["s3"] == "s8"
    # Old s2 went almost whole into s1; the one customer in the new s2 does not continue it.
    swallowed = match_segments(state("11112222"), state("11111112"), as_of=AS_OF)
    assert swallowed.ids == {"s1": "s1", "s2": "s3"}
    assert swallowed.retired == ("s2",)
    gone = match_segments(state("1122233344"), state("1111111111"), as_of=AS_OF)
    assert set(gone.retired) | set(gone.ids.values()) >= {"s1", "s2", "s3", "s4"}


def test_nobody_in_common() -> None:
    with pytest.raises(TooFew):
        match_segments(state("11"), state("11", first=50), as_of=AS_OF)


def commonest(truth: np.ndarray, labels: list[str], segment: str) -> int:
    return int(np.bincount(truth[np.array(labels) == segment]).argmax())


@pytest.mark.row("C3.4")
@pytest.mark.parametrize("seed", range(1, 9))
def test_a_confirmed_name_survives_a_refit(seed: int) -> None:
    points, truth, ids = planted(seed, k=4, n=600)
    frame = pd.DataFrame(points, index=ids, columns=list("abcd"))
    labels = [f"s{g + 1}" for g in fit_model(points, 4).assign(points)]
    means = profile_means(frame, labels)
    names = {s: f"name of group {commonest(truth, labels, s)}" for s in means.index}
    confirmed = [
        Profile(segment=s, name=names[s], means=means.loc[s].to_dict()) for s in means.index
    ]
    # A year later other customers, of other numbers, come in another order.
    later, later_truth, _ = planted(seed, k=4, n=400)
    keep = np.flatnonzero((later_truth != 0) | (np.arange(400) % 3 == 0))
    later, later_truth = later[keep], later_truth[keep]
    again = [f"s{g + 1}" for g in fit_model(later, 4, seed=9).assign(later)]
    new_means = profile_means(pd.DataFrame(later, columns=list("abcd")), again)
    found = match_profiles(new_means, confirmed)
    assert len(found) == 4
    for segment, profile in found.items():
        assert profile.name == f"name of group {commonest(later_truth, again, segment)}"


@pytest.mark.row("C3.4")
def test_a_segment_unlike_any_confirmed_one_gets_no_name() -> None:
    means = pd.DataFrame({"a": [0.0, 10.0], "b": [0.0, 0.0]}, index=["s1", "s2"])
    confirmed = [
        Profile(segment="s1", name="one", means={"a": 0.5}),
        Profile(segment="s2", name="two", means={"a": 0.0, "b": 50.0}),
    ]
    assert {s: p.name for s, p in match_profiles(means, confirmed).items()} == {"s1": "one"}


@pytest.mark.row("C3.5")
@given(
    st.lists(st.floats(0, 0.9), min_size=1, max_size=5), st.floats(0, 0.09), st.floats(0.01, 0.5)
)
def test_faster_churn_never_gives_a_longer_interval(
    moved: list[float], more: float, tolerated: float
) -> None:
    def days(shares: list[float]) -> float:
        return estimate_interval(
            shares, days_between=90, tolerated_share=tolerated, as_of=AS_OF, n=100
        ).days.value

    # The same extra hazard at every refresh: a higher mean, the same ups and downs.
    faster = [1 - (1 - share) * (1 - more) for share in moved]
    assert days(faster) <= days(moved)


@pytest.mark.row("C3.5")
def test_interval_by_hand_and_its_driver() -> None:
    def interval(*moved: float, turnover: float | None = None) -> tuple[float, str]:
        found = estimate_interval(
            moved,
            days_between=90,
            tolerated_share=0.2,
            as_of=AS_OF,
            n=100,
            range_turnover_share=turnover,
        )
        return found.days.value, found.driver

    assert interval(0.1) == (round(np.log(0.8) / np.log(0.9) * 90), "customers")
    assert interval(0.05) > interval(0.1) > interval(0.3)
    # As many moves on the whole, but now few and now many: remade sooner.
    calm, wild = (1 - np.exp(-np.array(hazards)) for hazards in ([0.1, 0.1], [0.02, 0.18]))
    assert interval(*wild) < interval(*calm)
    assert interval(0.1, turnover=0.3)[1] == "products"
    assert interval(0.1, turnover=0.3)[0] < interval(0.1)[0]
    with pytest.raises(TooFew):
        interval()
