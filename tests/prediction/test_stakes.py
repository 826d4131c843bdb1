"""What is at stake: spend if they stay, in the market's currency, and no list by lottery."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest

from insight_lib import prediction
from insight_lib.findings import TooFew, Verdict
from insight_lib.parameter_model import Amount
from insight_lib.prediction.chain import Rung, Scored, rule_document
from insight_lib.prediction.contacting import tried
from insight_lib.prediction.currency import in_currency
from insight_lib.prediction.deployment import sites_of
from insight_lib.prediction.review import (
    RELEASE,
    Stakes,
    add_stakes,
    decision_row,
    estimate_agreement,
    split_released,
)
from insight_lib.prediction.snapshots import Snapshot, Target
from insight_lib.prediction.stakes import (
    estimate_spend_if_kept,
    refuse_guessing,
)
from insight_lib.registers import Site
from tests.cards import told

AS_OF = date(2025, 12, 31)
VALUE = Target(
    id="value", title="spend", kind="amount", purpose="growth", horizon_days=91, unit="EUR"
)
LAPSE = Target(
    id="lapse", title="stop ordering", kind="binary", purpose="retention", horizon_days=91,
    unit="share",
)  # fmt: skip


def snapshot(seed: int, cut: date, n: int = 800, *, tells: float = 2.0) -> Snapshot:
    """Spend per period is 100 x trait for who stays; who leaves spends nothing."""
    rng = np.random.default_rng(seed)
    trait, late = rng.uniform(0.2, 3.0, n), rng.normal(size=n)
    leaves = rng.random(n) < 1 / (1 + np.exp(-tells * late))
    amount = np.where(leaves, 0.0, 100 * trait * rng.gamma(4, 0.25, n))
    index = pd.Index([f"c{i:04}" for i in range(n)], name="customer_id")
    features = pd.DataFrame({"revenue_amount": 400 * trait, "gap_ratio": late + 5}, index=index)
    labels = pd.DataFrame({"lapse": leaves.astype(float), "value": amount}, index=index)
    applies = pd.DataFrame({"lapse": True, "value": True}, index=index)
    return Snapshot(cut=cut, features=features, applies=applies, labels=labels)


KNOWN = [snapshot(1, date(2025, 4, 1)), snapshot(2, date(2025, 7, 1))]
TODAY = snapshot(3, date(2025, 12, 31))


@pytest.mark.case("123")
def test_leaving_is_counted_once() -> None:
    """By tenths of the chance to leave, what is at stake is what they spend who stay."""
    kept = estimate_spend_if_kept(KNOWN, TODAY, VALUE, leaving="lapse", as_of=AS_OF, seed=1)
    truth = TODAY.features["revenue_amount"] / 4
    late = TODAY.features["gap_ratio"]
    for tenth in np.array_split(late.sort_values().index, 10):
        assert kept.amount[tenth].sum() == pytest.approx(truth[tenth].sum(), rel=0.15)
    assert kept.ratio.lower < 1 < kept.ratio.upper
    result = tried(kept, largest_gap=0.15, as_of=AS_OF)
    assert told(prediction, "stakes", result).verdict is Verdict.PASS


@pytest.mark.case("123")
def test_amounts_that_were_never_tried_are_not_planned_by() -> None:
    kept = estimate_spend_if_kept(KNOWN[:1], TODAY, VALUE, leaving="lapse", as_of=AS_OF, seed=1)
    assert kept.ratio is None
    result = tried(kept, largest_gap=0.1, as_of=AS_OF)
    assert told(prediction, "stakes", result).verdict is Verdict.REVIEW


@pytest.mark.case("24")
def test_amounts_are_converted_or_claim_nothing() -> None:
    call = Amount(amount=2.0, currency="EUR")
    rates = pd.DataFrame(
        {
            "rate_date": [date(2025, 12, 30)],
            "base_currency": ["EUR"],
            "quote_currency": ["TWD"],
            "rate": [35.0],
        }
    )
    assert in_currency(call, to="EUR", fx_rates=None, as_of=AS_OF) == 2.0
    assert in_currency(call, to="TWD", fx_rates=rates, as_of=AS_OF) == pytest.approx(70.0)
    with pytest.raises(TooFew, match="declared in EUR, and there is no rate to TWD"):
        in_currency(call, to="TWD", fx_rates=None, as_of=AS_OF)


@pytest.mark.case("24")
def test_an_unknown_limit_lets_no_score_pass() -> None:
    scores = pd.DataFrame(
        {"customer_id": ["a"], "target": ["lapse"], "version": ["v"], "score": [0.1]}
    )
    held = add_stakes(
        scores, pd.Series({"a": 1.0}), stakes=Stakes(smallest_amount=None), amount_targets=()
    )
    assert "another currency" in held["held_because"].iloc[0]


@pytest.mark.case("24")
def test_example_sites_speak_of_no_market_they_do_not_name() -> None:
    site = Site(
        title="Virginia", kind="cloud", countries=("US",), memory_gib=64.0,
        monthly_cost_amount=120.0, currency="EUR", markets=("us-saas",),
    )  # fmt: skip
    assert sites_of("us-saas", {"virginia": site}) == ({"virginia": site}, "EUR")
    with pytest.raises(TooFew, match="names this market"):
        sites_of("tw-shop", {"virginia": site})


def scored_by_rule() -> Scored:
    features, labels = KNOWN[0].features, KNOWN[0].labels["lapse"]
    document = rule_document(features, labels, target=LAPSE, as_of=AS_OF)
    rung = Rung(name="rule", reason="rule of thumb", document=document)
    return Scored(target="lapse", log=pd.DataFrame(), rungs=(rung,), counts={"rule": 1})


@pytest.mark.case("130a")
def test_no_list_from_scores_that_rank_like_a_lottery() -> None:
    options = {"smallest_auc": 0.6, "as_of": AS_OF}
    refuse_guessing(scored_by_rule(), KNOWN, LAPSE, None, **options)
    broken = [*KNOWN, snapshot(4, date(2025, 9, 30), tells=0.0)]
    with pytest.raises(TooFew, match="in the latest period"):
        refuse_guessing(scored_by_rule(), broken, LAPSE, None, **options)


@pytest.mark.case("127")
def test_agreement_with_a_side_that_says_one_thing_is_not_measured() -> None:
    with pytest.raises(TooFew, match="the model said release on all 4"):
        estimate_agreement(["release", "reject"] * 2, ["release"] * 4, as_of=AS_OF)


@pytest.mark.case("130g")
def test_two_spellings_are_one_person() -> None:
    scores = pd.DataFrame(
        {"customer_id": ["a"], "target": ["lapse"], "version": ["v"], "score": [0.5]}
    )
    stakes = Stakes(smallest_amount=0.0, n_reviewers=2)
    held = add_stakes(scores, pd.Series({"a": 9.0}), stakes=stakes, amount_targets=())
    item = held.iloc[0].to_dict()

    def released(*names: str) -> int:
        rows = [decision_row(item, verdict=RELEASE, by=n, why="known", day=AS_OF) for n in names]
        return len(split_released(held, rows, stakes=stakes).released)

    assert released("Anna", "anna ", "ANNA") == 0
    assert released("Anna", "Bert") == 1


@pytest.mark.case("139")
def test_a_decision_holds_for_a_score_that_hardly_moved() -> None:
    """The score moves in its fourth digit overnight; what was decided is not asked again."""
    stakes = Stakes(smallest_amount=0.0, tolerance_share=0.1, holds_days=28)

    def day(score: float, version: str) -> pd.DataFrame:
        rows = {"customer_id": ["a", "b"], "target": "lapse", "version": version, "score": score}
        value = pd.Series({"a": 9.0, "b": 9.0})
        return add_stakes(pd.DataFrame(rows), value, stakes=stakes, amount_targets=())

    first = day(0.5, "v1")
    decided = [
        decision_row(row, verdict=verdict, by="crm-lead", why="known", day=AS_OF)
        for row, verdict in zip(first.to_dict("records"), ("release", "reject"), strict=True)
    ]

    def left(scores: pd.DataFrame, as_of: date) -> tuple[list[str], list[str]]:
        split = split_released(scores, decided, stakes=stakes, as_of=as_of)
        return list(split.released["customer_id"]), list(split.rejected["customer_id"])

    assert left(day(0.5004, "v2"), date(2026, 1, 1)) == (["a"], ["b"])
    assert left(day(0.7, "v2"), date(2026, 1, 1)) == ([], ["b"])  # another score, another decision
    assert left(day(0.5004, "v2"), date(2026, 3, 1)) == ([], [])  # and not for ever
