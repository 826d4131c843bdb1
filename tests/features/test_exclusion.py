"""Whom a choice of variables leaves out: by hand, and against planted and absent differences."""

from __future__ import annotations

from datetime import date, timedelta

import duckdb
import ibis
import pandas as pd
import pytest

from insight_demo import WORLDS, World, quiet, simulate_market
from insight_lib import features
from insight_lib.features.exclusion import (
    UNKNOWN,
    Exclusions,
    estimate_exclusions,
    exclusion_rules,
)
from insight_lib.features.left_out import excluded_groups, exclusion_rates
from insight_lib.findings import TooFew, Verdict
from insight_lib.orders import orders
from tests.cards import drawn, tabled, told
from tests.truth.helpers import assert_detection_rate, assert_false_alarm_rate, over_seeds

AS_OF = date(2025, 12, 31)


def by_hand() -> ibis.Table:
    connection = ibis.duckdb.connect()
    people = pd.DataFrame(
        {
            "customer_id": ["a", "b", "c", "d"],
            "age_band": ["old", "young", None, "old"],
        }
    )
    buys = pd.DataFrame(
        [
            ("a", "o1", "2025-12-01", 5.0),
            ("a", "o2", "2025-06-01", 5.0),
            ("b", "o3", "2025-12-02", 5.0),
            ("c", "o4", "2025-12-31", -5.0),  # a return is no order
            ("d", "o5", "2025-12-02", 1.0),
            ("d", "o6", "2026-01-05", 1.0),  # after the data date
        ],
        columns=["customer_id", "order_id", "order_date", "amount"],
    )
    raw = connection.create_table("buys", buys)
    return exclusion_rules(
        connection.create_table("people", people),
        raw.mutate(order_date=raw.order_date.cast("date"), is_purchase=raw.amount > 0),
        as_of=AS_OF,
        recency_days=(31, 30),
        minimum_orders=(2,),
        required_columns=("age_band",),
    )


def test_rules_by_hand() -> None:
    frame = by_hand().to_pandas().set_index("customer_id").sort_index()
    assert frame["excluded_by_recency_31"].tolist() == [False, False, True, False]
    assert frame["excluded_by_recency_30"].tolist() == [True, False, True, False]
    assert frame["excluded_by_orders_2"].tolist() == [False, True, True, True]
    assert frame["excluded_by_missing_age_band"].tolist() == [False, False, True, False]


def test_rates_by_hand_and_small_groups_are_hidden() -> None:
    result = estimate_exclusions(by_hand(), traits=["age_band"], as_of=AS_OF, minimum_cell_size=1)
    rates = {(g.rule, g.group): g.rate.value for g in result.groups}
    assert rates["fewer_orders_2", "old"] == 0.5
    assert rates["fewer_orders_2", UNKNOWN] == 1
    assert ("age_band_missing", "old") not in rates
    assert result.overall["no_order_30"].value == 0.5
    hidden = estimate_exclusions(by_hand(), traits=["age_band"], as_of=AS_OF, minimum_cell_size=2)
    assert {g.group for g in hidden.groups} == {"old"}
    assert hidden.n_hidden == 2
    with pytest.raises(TooFew):
        estimate_exclusions(by_hand(), traits=["age_band"], as_of=AS_OF, minimum_cell_size=3)


def exclusions_of(world: World, seed: int, *, n: int = 1500, silent_band: str = "") -> Exclusions:
    """Of a simulated market; a third of `silent_band` loses its orders of the last year."""
    tables = simulate_market(world, seed=seed, n_customers=n).tables
    connection = ibis.duckdb.from_connection(duckdb.connect())
    lines = connection.create_table("lines", tables["transactions"])
    customers = connection.create_table("people", tables["customers"])
    silent = customers.filter(
        (customers.age_band == silent_band)
        & customers.customer_id.substr(7, 1).isin(["1", "4", "7"])
    )
    by_order = orders(lines)
    late = by_order.order_date > ibis.date((world.end - timedelta(days=365)).isoformat())
    kept = by_order.filter(~(late & by_order.customer_id.isin(silent.customer_id)))
    rules = exclusion_rules(
        customers,
        kept,
        as_of=world.end,
        recency_days=(365, 180),
        minimum_orders=(2, 3),
        required_columns=("household_size",),
    )
    return estimate_exclusions(
        rules,
        traits=["age_band", "acquisition_channel", "subregion"],
        as_of=world.end,
        minimum_cell_size=10,
    )


@pytest.mark.slow
@pytest.mark.row("C3.6")
def test_the_planted_group_is_flagged_and_nothing_is_without_a_cause() -> None:
    world = WORLDS["de-fashion"]
    truth = simulate_market(world, seed=1, n_customers=10).truth["excluded_groups"].to_pandas()
    planted = truth.sort_values("no_order_in_year_share")["age_band"].iloc[-1]

    def flagged(world: World, seed: int, rule: str, band: str, silent_band: str = "") -> bool:
        found = exclusions_of(world, seed, silent_band=silent_band).flagged
        return any((g.rule, g.trait, g.group) == (rule, "age_band", band) for g in found)

    # The oldest band buys a few times a year: a rule on frequency leaves it out. A rule on
    # recency does not, because who buys seldom also leaves late; so that is planted apart.
    seldom = over_seeds(lambda s: flagged(world, s, "fewer_orders_3", str(planted)), 12)
    calm = quiet(world)
    rule = "no_order_365"
    silent = over_seeds(lambda s: flagged(calm, s, rule, "25-34", silent_band="25-34"), 12)

    def is_alarm(seed: int) -> bool:
        return bool(exclusions_of(calm, seed).flagged)

    assert_detection_rate(seldom, 0.8)
    assert_detection_rate(silent, 0.8)
    assert_false_alarm_rate(over_seeds(is_alarm, 30), 0.05)


def test_sentences_and_chart() -> None:
    found = exclusions_of(WORLDS["de-fashion"], 3)
    finding = told(features, "excluded_groups", excluded_groups(found))
    assert finding.verdict is Verdict.REVIEW
    assert found.flagged[0].group in str(finding.statement)
    table = tabled(features, "exclusion_rates", exclusion_rates(found))
    assert table is not None
    assert len(table.rows) >= len(found.flagged)
    chart = drawn(features, "exclusion_rates", exclusion_rates(found))
    assert chart is not None
    assert "leaves out" in str(chart.title)
    alike = exclusions_of(quiet(WORLDS["de-fashion"]), 3)
    finding = told(features, "excluded_groups", excluded_groups(alike))
    assert finding.verdict is Verdict.PASS
    chart = drawn(features, "exclusion_rates", exclusion_rates(alike))
    assert chart is not None
    assert "treats the groups alike" in str(chart.title)
