"""What the cards of features say where there is little, nothing, or less than nothing to say."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import ibis
import pandas as pd
import pytest

from insight_lib import features
from insight_lib.features.buyers import buyers, buyers_now, customer_features, people
from insight_lib.features.competing_risks import ChurnCauses
from insight_lib.features.contract_life import contract_survival, leading_cause
from insight_lib.features.customers import choose_comparison
from insight_lib.features.exclusion import Exclusions, GroupExclusion
from insight_lib.features.left_out import excluded_groups, exclusion_rates
from insight_lib.features.moves import move_of
from insight_lib.features.record import Record
from insight_lib.features.revenue import category_change, order_amount, revenue_of
from insight_lib.features.season import local_days
from insight_lib.features.seasonality import YearRhythm
from insight_lib.features.value import (
    Concentration,
    RevenueChange,
    best_fifth,
    estimate_revenue_change,
)
from insight_lib.findings import Estimate, Measured, TooFew, Verdict
from insight_lib.orders import Coverage
from insight_lib.statistics import estimate_share
from insight_lib.words import read_words
from tests.cards import AS_OF, drawn, run_of, tabled, told

HELD = Coverage(first_day=date(2023, 1, 1), last_day=AS_OF)
WHOLE = Record(held=HELD, unread=None, as_of=AS_OF)


def change_from(before: float, after: float, *, settling_days: int = 0) -> RevenueChange:
    """Fifty customers with two orders each in both windows."""
    comparison = choose_comparison(AS_OF, days=90, held=HELD, settling_days=settling_days)
    totals = pd.DataFrame(
        {
            "revenue_before_amount": [before] * 50,
            "revenue_after_amount": [after] * 50,
            "n_orders_before": [2] * 50,
            "n_orders_after": [2] * 50,
        }
    )
    return estimate_revenue_change(totals, comparison, as_of=AS_OF, currency="EUR")


def test_more_taken_back_than_came_in_has_no_driver_and_no_chart() -> None:
    result = revenue_of(change_from(40.0, -10.0), WHOLE, 0.03)
    finding = told(features, "revenue", result)
    assert "More money was taken back than came in" in str(finding.so_what)
    assert drawn(features, "revenue", result) is None
    amount = order_amount(change_from(40.0, -10.0), run_of("features"))
    finding = told(features, "order_amount", amount)
    assert finding.verdict is Verdict.CANNOT_TELL
    assert "a change is not defined" in str(finding.statement)
    tile = read_words(features).tile("order_amount", amount, run_of("features"))
    assert not tile.to_json()["note"]
    assert tile.to_json()["direction"] == "neutral"


def test_windows_that_end_earlier_say_so() -> None:
    finding = told(features, "revenue", revenue_of(change_from(40, 50, settling_days=28), WHOLE, 1))
    assert "in the 90 days to 3 December 2024, against the same 90 days" in str(finding.statement)
    assert "what is sent back takes up to 28 days to come" in str(finding.so_what)


@pytest.mark.parametrize(
    ("lower", "upper", "move"),
    [
        (0.04, 0.06, "up"),
        (-0.06, -0.04, "down"),
        (-0.01, 0.01, "too small"),
        (0.01, 0.06, "surely up"),
        (-0.06, -0.01, "surely down"),
        (-0.06, 0.06, "not known"),
    ],
)
def test_a_change_is_called_what_it_is(lower: float, upper: float, move: str) -> None:
    middle = (lower + upper) / 2
    change = Estimate(
        value=middle, lower=lower, upper=upper, unit="change", n=9, as_of=AS_OF, method="by hand"
    )
    assert move_of(change, 0.03) == move
    assert move_of(None, 0.03) == "not defined"


def test_nothing_is_said_of_nobody_and_of_days_that_are_missing() -> None:
    run, many = run_of("features"), pd.DataFrame({"customer_id": range(500)})
    lines = ibis.memtable(many)
    never = replace(WHOLE, held=Coverage(first_day=None, last_day=None))
    with pytest.raises(TooFew, match="no complete day of orders yet"):
        buyers(lines, never, many, run)
    with pytest.raises(TooFew, match="3 customers"):
        buyers(lines, WHOLE, many.head(3), run)
    assert buyers_now(buyers(lines, WHOLE, many, run), WHOLE, run) is many
    torn = replace(WHOLE, held=replace(HELD, gaps=((date(2024, 12, 1), date(2024, 12, 9)),)))
    with pytest.raises(TooFew, match="81 of 90 days"):
        buyers_now(many, torn, run)


def test_accounts_that_never_signed_are_no_silent_customers() -> None:
    customers = ibis.memtable(pd.DataFrame({"customer_id": ["a", "b"]}))
    contracts = ibis.memtable(pd.DataFrame({"customer_id": ["b", "b"]}))
    assert people(customers).count().execute() == 2
    assert people(customers, contracts).to_pandas()["customer_id"].tolist() == ["b"]


def test_a_market_without_a_customer_publishes_the_columns_alone() -> None:
    some = ibis.memtable(pd.DataFrame({"customer_id": ["b", "a"], "n_orders": [1, 2]}))
    frame = customer_features(some, None)
    assert isinstance(frame, pd.DataFrame)
    assert frame["customer_id"].tolist() == ["a", "b"]
    top = ibis.memtable(pd.DataFrame({"customer_id": ["a"], "top_category": ["Milk"]}))
    joined = customer_features(some, top)
    assert isinstance(joined, pd.DataFrame)
    assert joined["top_category"].fillna("").tolist() == ["Milk", ""]
    nobody = customer_features(some.filter(some.n_orders > 9), top)
    assert not isinstance(nobody, pd.DataFrame)
    assert nobody.columns == ("customer_id", "n_orders", "top_category")


def test_products_without_a_category_are_named_as_the_reason() -> None:
    products = ibis.memtable(pd.DataFrame({"product_id": ["p"]}))
    comparison = choose_comparison(AS_OF, days=90, held=HELD)
    with pytest.raises(TooFew, match="products have no category"):
        category_change(products, products, comparison, run_of("features"))


@pytest.mark.parametrize(
    ("lower", "said"),
    [(0.1, "Holiday days sell 30% more than like days without"), (-0.1, "No kind of local day")],
)
def test_local_days_are_named_beyond_chance_alone(lower: float, said: str) -> None:
    day = Estimate(value=5, lower=1, upper=9, unit="days", n=90, as_of=AS_OF, method="by hand")
    swing = replace(day, unit="change", value=0.3, lower=0.2, upper=0.4)
    kinds = {"event_type": ["holiday"], "days": [9], "effect": [0.3]}
    year = YearRhythm(
        curve=pd.DataFrame(),
        peak_day=day,
        swing=swing,
        strength=0.5,
        events=pd.DataFrame(kinds | {"lower": [lower], "upper": [0.5]}),
        features=pd.DataFrame(),
    )
    assert str(told(features, "local_days", local_days(year)).statement).startswith(said)


def test_the_best_fifth_has_a_tile_without_knowing_who_is_late() -> None:
    share = estimate_share(60, 100, as_of=AS_OF)
    top = Measured(value=0.2, unit="share", n=100, as_of=AS_OF)
    best = best_fifth(Concentration(share=share, top=top, curve=pd.DataFrame()))
    tile = read_words(features).tile("best_fifth", best, run_of("features"))
    assert tile.label == "Revenue from the best fifth"
    assert not tile.to_json()["note"]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("no_order_365", "no order within 365 days"),
        ("fewer_orders_3", "fewer than 3 orders"),
        ("age_band_missing", "age band missing"),
    ],
)
def test_rules_are_put_into_words(rule: str, words: str) -> None:
    share = estimate_share(30, 100, as_of=AS_OF)
    group = GroupExclusion(
        rule=rule,
        trait="size_band",
        group="small",
        rate=share,
        rest_rate=Measured(value=0.1, unit="share", n=900, as_of=AS_OF),
        ratio=replace(share, value=3, lower=2, upper=4, unit="ratio"),
        excess_points=20,
        is_flagged=True,
    )
    found = Exclusions(overall={rule: share}, groups=(group,), n_hidden=0, n_tests=1)
    finding = told(features, "excluded_groups", excluded_groups(found))
    assert str(finding.statement).startswith(f"“{words}” leaves out 30% of size band “small”")
    table = tabled(features, "exclusion_rates", exclusion_rates(found))
    assert table is not None
    assert table.rows[0][:4] == (words, "size band", "small", "30%")
    calm = replace(found, groups=(replace(group, is_flagged=False),))
    assert f"“{words}”: 30%" in str(
        told(features, "excluded_groups", excluded_groups(calm)).statement
    )


def test_contracts_that_end_for_one_reason_have_no_second() -> None:
    share = estimate_share(30, 100, as_of=AS_OF)
    churn = ChurnCauses(
        curve=pd.DataFrame({"month": [1], "cause": ["payment"], "share": [0.3]}),
        hazards=pd.DataFrame(),
        incidence=(("payment", share),),
        in_force=estimate_share(70, 100, as_of=AS_OF),
        lead=None,
        horizon_months=24,
        asked_months=24,
        n_contracts=100,
        n_ended=30,
    )
    finding = told(features, "churn_cause", leading_cause(churn, 0.02))
    assert str(finding.statement) == "All contracts that ended share one reason on record."
    assert finding.verdict is Verdict.MATTERS
    staying = told(features, "contract_survival", contract_survival(churn))
    assert str(staying.so_what) == "The others end: 30% by failed payment."
