"""Targeting: the exhaustive optimum, the rules by hand, hours' worth, and honest comparisons."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from insight_lib import prediction
from insight_lib.findings import TooFew
from insight_lib.prediction.contacting import rules_of
from insight_lib.prediction.performance import Recalibration
from insight_lib.prediction.targeting import (
    Channel,
    ContactRules,
    Targeting,
    apply_contact_rules,
    choose_contacts,
    estimate_targeting,
)
from tests.cards import tabled, told
from tests.truth.helpers import assert_coverage, over_seeds

AS_OF = date(2024, 12, 31)
PHONE = Channel(id="phone", title="Phone", hours=1, minutes_per_contact=20, cost_amount=4)
POST = Channel(id="post", title="Letter", hours=0.5, minutes_per_contact=15, cost_amount=1)
MAIL = Channel(id="mail", title="E-mail", hours=None, minutes_per_contact=1, cost_amount=0.1)


def worth(net: NDArray[np.float64], chosen: NDArray[np.int64]) -> float:
    return float(sum(net[i, k] for i, k in enumerate(chosen) if k >= 0))


def exhaustive(net: NDArray[np.float64], capacity: NDArray[np.int64]) -> float:
    plans = product(range(-1, net.shape[1]), repeat=len(net))
    return max(
        worth(net, np.array(plan))
        for plan in plans
        if all(plan.count(k) <= c for k, c in enumerate(capacity))
    )


@pytest.mark.row("C4.7")
@settings(max_examples=150, deadline=None)
@given(st.data())
def test_the_plan_is_the_exhaustive_optimum(data: st.DataObject) -> None:
    n, n_channels = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 3))
    cells = st.integers(-3, 6).map(float)  # many ties
    rows = st.lists(cells, min_size=n_channels, max_size=n_channels)
    net = np.array(data.draw(st.lists(rows, min_size=n, max_size=n)))
    limits = st.lists(st.integers(0, n + 1), min_size=n_channels, max_size=n_channels)
    capacity = np.array(data.draw(limits))
    chosen = choose_contacts(net, capacity)
    assert worth(net, chosen) == exhaustive(net, capacity)
    assert all((chosen == k).sum() <= c for k, c in enumerate(capacity))
    assert all(net[i, k] > 0 for i, k in enumerate(chosen) if k >= 0)


def market(n: int = 40, seed: int = 1) -> tuple[pd.Series, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    ids = pd.Index([f"c{i:07}" for i in range(n)], name="customer_id")
    gains = {"phone": rng.gamma(2, 20, n), "post": rng.gamma(2, 8, n), "mail": rng.gamma(2, 2, n)}
    return pd.Series(rng.beta(1, 4, n), index=ids), pd.DataFrame(gains, index=ids)


def planned(*channels: Channel, n: int = 40, **options: object) -> Targeting:
    probability, gains = market(n)
    return estimate_targeting(
        probability,
        gains,
        channels,
        eligible=list(probability.index),
        currency="EUR",
        as_of=AS_OF,
        **options,  # type: ignore[arg-type]
    )


@pytest.mark.row("C4.7")
def test_hours_and_minutes_make_whole_contacts() -> None:
    # One hour of twenty-minute calls: three; half an hour of quarters: two.
    assert [p.n_contacts for p in planned(PHONE, POST).channels] == [3, 2]
    tenth = Channel(id="x", title="X", hours=0.1, minutes_per_contact=3, cost_amount=0)
    assert tenth.contacts(100) == 2


def test_the_plan_does_not_depend_on_the_order_of_rows_or_channels() -> None:
    probability, gains = market()
    turned = estimate_targeting(
        probability[::-1],
        gains.sample(frac=1, random_state=1),
        [POST, PHONE],
        eligible=list(probability.index)[::-1],
        currency="EUR",
        as_of=AS_OF,
    )
    pd.testing.assert_frame_equal(turned.contacts, planned(PHONE, POST).contacts)


def test_an_hour_is_worth_what_the_customers_waiting_bring() -> None:
    plan = planned(PHONE)
    (phone,) = plan.channels
    probability, gains = market()
    net = probability * gains["phone"] - 4
    assert phone.hour_worth is not None
    assert list(phone.waiting) == list(net.nlargest(6).index[3:])
    assert phone.hour_worth.value == pytest.approx(net.nlargest(6).iloc[3:].sum())
    assert list(plan.contacts["customer_id"]) == list(net.nlargest(3).index)


def test_comparisons_by_hand() -> None:
    probability, gains = market()
    days = pd.Series(np.arange(40.0), index=probability.index)
    plan = planned(PHONE, days_since_last_order=days)
    net = probability * gains["phone"] - 4
    assert plan.at_random.value == pytest.approx(3 * net.mean())
    assert plan.by_recency is not None
    assert plan.by_recency.value == pytest.approx(net.iloc[:3].sum())


@pytest.mark.case("124")
def test_nobody_is_contacted_at_a_loss() -> None:
    """At a margin of .4 fewer contacts pay than at revenue, and no other is made."""
    probability, revenue = market()
    free = replace(PHONE, hours=None)
    margin = revenue * 0.4
    plan = estimate_targeting(
        probability, margin, [free], eligible=list(probability.index), currency="EUR", as_of=AS_OF
    )
    net = probability * margin["phone"] - 4
    assert set(plan.contacts["customer_id"]) == set(net.index[net > 0])
    assert plan.value.value == pytest.approx(net[net > 0].sum())
    at_revenue = probability * revenue["phone"] - 4
    assert 0 < (net > 0).sum() < (at_revenue > 0).sum()


def test_a_channel_without_hours_limit_takes_the_rest() -> None:
    plan = planned(PHONE, MAIL)
    probability, gains = market()
    assert set(plan.contacts["channel"]) == {"phone", "mail"}
    assert len(plan.contacts) == 3 + int(
        (
            (probability * gains["mail"] - 0.1 > 0)
            & ~probability.index.isin(
                plan.contacts.loc[plan.contacts["channel"] == "phone", "customer_id"]
            )
        ).sum()
    )


@pytest.mark.case("152")
def test_what_is_not_recorded_is_not_nought() -> None:
    customers = pd.DataFrame({"has_consent": [True, False]}, index=list("ab"))
    found = apply_contact_rules(customers, ContactRules(rest_days=14, most_contacts=4), as_of=AS_OF)
    assert found.customers == ("a",)
    assert found.not_recorded == ("contacted lately", "contacted often enough", "open complaint")
    rules = rules_of(found, smallest=10, as_of=AS_OF)
    advice = str(told(prediction, "rules", rules).so_what)
    assert "rest between two contacts cannot bite" in advice
    assert "Complaints are not recorded" in advice
    table = tabled(prediction, "rules", rules)
    assert table is not None
    rows = {row[0]: row[1] for row in table.rows}
    assert rows["Was contacted a short time ago"] == "not recorded"


@pytest.mark.row("C4.7")
def test_each_rule_counts_whom_it_removes() -> None:
    customers = pd.DataFrame(
        {
            "has_consent": [True, False, True, None, True, True],
            "days_since_contact": [90, 3, 3, None, None, 90],
            "n_contacts": [0, 1, 1, 0, 9, 0],
            "has_open_complaint": [False, False, False, False, False, None],
        },
        index=list("abcdef"),
    )
    found = apply_contact_rules(customers, ContactRules(rest_days=14, most_contacts=4), as_of=AS_OF)
    assert found.customers == ("a",)
    assert {r.rule: (r.removed.value, r.removed_alone.value) for r in found.rules} == {
        "no consent": (2, 1),
        "contacted lately": (2, 1),
        "contacted often enough": (1, 1),
        "open complaint": (1, 1),
    }
    with pytest.raises(KeyError, match="has_consent"):
        apply_contact_rules(
            customers[["days_since_contact", "has_open_complaint"]],
            ContactRules(rest_days=14, most_contacts=4),
            as_of=AS_OF,
        )


@pytest.mark.row("C4.7")
def test_the_value_lies_in_its_range() -> None:
    # The true calibration is off the stated one by what its covariance allows.
    spread = ((0.04, 0.0), (0.0, 0.01))
    stated = Recalibration(intercept=0, slope=1, covariance=spread, usual_range=(0, 1), n=1)
    long = replace(PHONE, hours=80)
    plan = planned(long, POST, n=400, recalibration=stated)
    probability, gains = market(400)
    ids = list(plan.contacts["customer_id"])
    gain = np.array([gains.at[i, k] for i, k in plan.contacts[["customer_id", "channel"]].values])
    cost = plan.contacts["channel"].map({"phone": 4, "post": 1}).sum()

    def realised(seed: int) -> float:
        rng = np.random.default_rng(seed)
        true = stated.drawn(rng).share(probability.loc[ids])
        return float((gain * (rng.random(len(ids)) < true)).sum() - cost)

    totals = over_seeds(realised, 300)
    assert_coverage([(plan.value.lower, plan.value.upper)] * 300, totals, 0.95, may_be_wide=True)
    assert np.mean(totals) == pytest.approx(plan.value.value, abs=4 * np.std(totals) / 300**0.5)


def test_a_million_customers_are_planned() -> None:
    phone = Channel(id="phone", title="P", hours=500, minutes_per_contact=10, cost_amount=4)
    post = Channel(id="post", title="L", hours=50, minutes_per_contact=1, cost_amount=1)
    plan = planned(phone, post, MAIL, n=1_000_000, n_draws=5)
    assert [p.n_contacts for p in plan.channels][1:] == [3000, 3000]


def test_faults_are_named_together() -> None:
    probability, gains = market()
    probability.iloc[0] = 1.2
    with pytest.raises(ValueError, match="lacks the channels phone; 1 probabilities"):
        estimate_targeting(
            probability,
            gains.drop(columns="phone"),
            [PHONE],
            eligible=["c0000001"],
            currency="EUR",
            as_of=AS_OF,
        )
    with pytest.raises(ValueError, match="channel 'x'"):
        Channel(id="x", title="X", hours=-1, minutes_per_contact=1, cost_amount=0)
    with pytest.raises(TooFew, match="no customer"):
        planned_none()


def planned_none() -> Targeting:
    probability, gains = market()
    return estimate_targeting(probability, gains, [PHONE], eligible=[], currency="EUR", as_of=AS_OF)
