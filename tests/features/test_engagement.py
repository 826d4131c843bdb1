"""Engagement score: by hand, as properties, and under other weights."""

from __future__ import annotations

from datetime import date

import ibis
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insight_demo import WORLDS, simulate_market
from insight_lib import features
from insight_lib.door.as_of import as_known
from insight_lib.features.contact import engagement, engagement_weights
from insight_lib.features.engagement import Engagement, estimate_engagement, touchpoint_counts
from insight_lib.findings import Finding, TooFew, Verdict
from insight_lib.schema import TABLES
from tests.cards import drawn, told

AS_OF = date(2025, 12, 31)
WEIGHTS = {"all": {"app": 1.0, "store": 2.0}, "old": {"app": 3.0}}


def score(
    counts: pd.DataFrame, weights: dict[str, dict[str, float]] | None = None, cell: int = 1
) -> Engagement:
    return estimate_engagement(
        counts,
        weights=weights or WEIGHTS,
        as_of=AS_OF,
        window_days=90,
        minimum_cell_size=cell,
        seed=1,
        n_changes=20,
    )


def people(rows: list[tuple[str, int, int]]) -> pd.DataFrame:
    """band, app, store; silent people of a third band beside them, so that a top fifth exists."""
    frame = pd.DataFrame([*rows, *[("mid", 1, 0)] * 60], columns=["band", "app", "store"])
    return frame.assign(customer_id=[f"c{i:03d}" for i in range(len(frame))])


@pytest.mark.row("M3.6")
def test_same_behaviour_in_two_bands_gives_the_weighted_difference() -> None:
    found = score(people([("young", 3, 1), ("old", 3, 1)])).scores
    young, old = found["raw_score"][:2]
    # log(1 + 3) and log(1 + 1): app weighs 1 for the young, 3 for the old; store 2 for both.
    assert young == pytest.approx(1 * np.log(4) + 2 * np.log(2))
    assert old - young == pytest.approx((3 - 1) * np.log(4))


@pytest.mark.row("M3.6")
@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["young", "old"]), st.integers(0, 30), st.integers(0, 30)),
        min_size=2,
        max_size=30,
    ),
    st.integers(0, 29),
    st.integers(1, 20),
)
def test_an_app_event_more_never_lowers_the_score(
    rows: list[tuple[str, int, int]], place: int, more: int
) -> None:
    who = place % len(rows)
    frame = people(rows)
    raised = frame.assign(app=frame["app"].where(frame.index != who, frame["app"] + more))
    before, after = (score(f).scores.loc[who] for f in (frame, raised))
    assert after["raw_score"] > before["raw_score"]
    # A band without any event has no score to fall from.
    if not np.isnan(before["engagement_score"]):
        assert after["engagement_score"] >= before["engagement_score"] - 1e-9


@pytest.mark.row("M3.6")
@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["young", "old"]), st.integers(0, 30), st.integers(0, 30)),
        min_size=1,
        max_size=30,
    )
)
def test_bands_have_the_same_mean(rows: list[tuple[str, int, int]]) -> None:
    found = score(people(rows)).scores.dropna()
    means = found.groupby("band")["engagement_score"].mean()
    assert means.to_numpy() == pytest.approx(np.full(len(means), 100.0))


@pytest.mark.row("M3.6")
def weights_said(result: Engagement) -> Finding:
    return told(features, "engagement_weights", engagement_weights(result))


def test_ranks_that_hang_on_the_weights_are_reviewed() -> None:
    rng = np.random.default_rng(1)
    # App and store exclude each other and nearly tie: any change of weights swaps the halves.
    is_app = rng.random(400) < 0.5
    events = rng.integers(9, 12, 400)
    tie = pd.DataFrame(
        {
            "customer_id": [f"c{i:03d}" for i in range(400)],
            "band": "all",
            "app": np.where(is_app, events, 0),
            "store": np.where(is_app, 0, events),
        }
    )
    weights = {"all": {"app": 1.0, "store": 1.0}}
    fragile = score(tie, weights)
    assert fragile.rank_correlation.value < 0.5
    assert weights_said(fragile).verdict is Verdict.REVIEW
    both = tie.assign(app=rng.poisson(8, 400))
    both["store"] = both["app"]
    stable = score(both, weights)
    assert stable.rank_correlation.value == pytest.approx(1)
    assert weights_said(stable).verdict is Verdict.PASS
    assert score(tie, weights).rank_correlation == fragile.rank_correlation


def test_the_weight_that_moves_ranks_most_is_named() -> None:
    rng = np.random.default_rng(2)
    frame = pd.DataFrame(
        {
            "customer_id": [f"c{i:03d}" for i in range(500)],
            "band": "all",
            "app": rng.poisson(20, 500),
            "call": rng.poisson(0.02, 500),
            "store": rng.poisson(3, 500),
            "voice": 5,
        }
    )
    result = score(frame, {"all": {"app": 1.0, "call": 0.1, "store": 0.5}})
    assert result.sensitive_to in ("app", "store")
    assert result.unweighted == ("voice",)
    assert "voice" in str(weights_said(result).so_what)


def test_all_bad_weights_are_named_at_once() -> None:
    frame = people([("young", 1, 1)])
    with pytest.raises(ValueError, match=r"(?s)app in band old is -1.*store in band all is nan"):
        score(frame, {"old": {"app": -1.0}, "all": {"store": np.nan, "app": 1.0}})
    with pytest.raises(ValueError, match="positive weight under 'all'"):
        score(frame, {"young": {"app": 1.0}})
    with pytest.raises(TooFew):
        score(frame, {"all": {"call": 1.0}})


def test_small_bands_are_scored_but_not_listed() -> None:
    result = score(people([("young", 2, 0)] * 3 + [("old", 1, 1)] * 20), cell=10)
    assert set(result.bands["band"]) == {"mid", "old"}
    assert result.scores.loc[0, "engagement_score"] == pytest.approx(100)


def test_counts_by_hand() -> None:
    events = pd.DataFrame(
        [
            ("e1", "a", "2025-12-31 23:59", "app"),
            ("e1", "a", "2025-12-31 23:59", "app"),  # delivered twice
            ("e2", "a", "2025-12-30 10:00", "store"),
            ("e3", "a", "2025-12-29 23:59", "app"),  # before the window of two days
            ("e4", None, "2025-12-31 10:00", "app"),
            ("e5", "z", "2025-12-31 10:00", "app"),  # not a customer
        ],
        columns=["event_id", "customer_id", "occurred_at", "touchpoint"],
    )
    events["occurred_at"] = pd.to_datetime(events["occurred_at"])
    customers = ibis.memtable(
        pd.DataFrame({"customer_id": ["b", "a"], "age_band": pd.Series([None, "old"], dtype=str)})
    )
    found = touchpoint_counts(
        ibis.memtable(events), customers, as_of=AS_OF, window_days=2, cohort="age_band"
    )
    assert found.to_dict("list") == {
        "customer_id": ["a", "b"],
        "band": ["old", "unknown"],
        "app": [1, 0],
        "store": [1, 0],
    }


@pytest.mark.case("9b")
def test_who_was_not_there_yet_is_not_silent() -> None:
    """Of three customers one was first seen the day after the data date."""
    events = pd.DataFrame({"event_id": ["e1"], "customer_id": ["a"], "touchpoint": ["app"]})
    events["occurred_at"] = pd.Timestamp("2025-12-31 10:00")
    seen = [date(2020, 1, 1), date(2025, 12, 31), date(2026, 1, 1)]
    everyone = pd.DataFrame({"customer_id": ["a", "b", "c"], "first_seen_date": seen})
    known = as_known(TABLES["customers"], ibis.memtable(everyone), lambda day: day <= AS_OF)
    counts = touchpoint_counts(
        ibis.memtable(events), known, as_of=AS_OF, window_days=90, cohort="age_band"
    )
    assert list(counts["customer_id"]) == ["a", "b"]
    assert (counts["app"] == 0).mean() == 0.5


def test_without_the_cohort_all_are_one_band() -> None:
    events = pd.DataFrame(
        {
            "event_id": ["e1"],
            "customer_id": ["a"],
            "occurred_at": [pd.Timestamp("2025-12-31")],
            "touchpoint": ["app"],
        }
    )
    customers = ibis.memtable(pd.DataFrame({"customer_id": ["a", "b"]}))
    found = touchpoint_counts(
        ibis.memtable(events), customers, as_of=AS_OF, window_days=2, cohort="age_band"
    )
    assert found["band"].tolist() == ["all", "all"]
    nobody = touchpoint_counts(
        ibis.memtable(events), customers, as_of=date(2024, 1, 1), window_days=2, cohort="age_band"
    )
    with pytest.raises(TooFew):
        score(nobody)


def test_the_simulated_shop_ranks_older_bands_as_more_silent() -> None:
    market = simulate_market(WORLDS["de-fashion"], seed=1, n_customers=4000)
    counts = touchpoint_counts(
        ibis.memtable(market.tables["interactions"]),
        ibis.memtable(market.tables["customers"]),
        as_of=market.world.end,
        window_days=90,
        cohort="age_band",
    )
    result = score(counts, {"all": {"app": 1.0, "web": 1.0, "email": 0.5, "store": 2.0}}, cell=10)
    bands = result.bands.set_index("band")
    assert bands.loc["60+", "mean_raw_score"] < bands.loc["18-24", "mean_raw_score"]
    finding = told(features, "engagement", engagement(result))
    assert weights_said(result).verdict is Verdict.PASS
    assert finding.value == result.silent
    chart = drawn(features, "engagement", engagement(result))
    assert chart is not None
    assert chart.table is not None
    assert len(chart.table.rows) == len(bands)


@pytest.mark.case("119d")
def test_equals_have_no_ranking() -> None:
    counts = pd.DataFrame(
        {
            "customer_id": [f"c{i:03}" for i in range(300)],
            "band": ["18-24", "25-34", "60+"] * 100,
            "app": 5,
            "web": 5,
        }
    )
    alike = estimate_engagement(
        counts,
        weights={"all": {"app": 1.0, "web": 0.7}, "18-24": {"app": 1.3}},
        as_of=date(2024, 12, 31),
        window_days=90,
        minimum_cell_size=10,
        seed=1,
    )
    contact = told(features, "engagement", engagement(alike))
    assert "most engaged" not in str(contact.so_what)
    with pytest.raises(TooFew, match="there is no ranking to test"):
        engagement_weights(alike)
    counts.loc[0, "app"] = 6
    other = estimate_engagement(
        counts,
        weights={"all": {"app": 1.0}},
        as_of=date(2024, 12, 31),
        window_days=90,
        minimum_cell_size=10,
        seed=1,
    )
    assert other.is_ranked
