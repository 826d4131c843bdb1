"""Contacts and offers in words and figures; what a plan leaves out is left out."""

from __future__ import annotations

from datetime import date
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from insight_lib import prediction
from insight_lib.findings import Finding, TooFew, Verdict
from insight_lib.prediction.contacting import may_be_contacted, rules_of
from insight_lib.prediction.offering import hits_of, offers_of
from insight_lib.prediction.review import Split
from insight_lib.prediction.targeting import ContactRules, Targeting, apply_contact_rules
from tests.cards import drawn, run_of, tabled, told
from tests.prediction import test_recommend as offers
from tests.prediction.test_targeting import MAIL, PHONE, planned

AS_OF = date(2024, 12, 31)


def said(finding: Finding) -> str:
    assert len(str(finding.statement)) <= 120
    return f"{finding.statement} {finding.so_what}"


def test_a_plan_is_told_with_its_comparisons() -> None:
    plan: Targeting = planned(PHONE, MAIL, days_since_last_order=pd.Series(dtype=float))
    contacts = prediction.targeting(plan, 0.4)
    assert "by lot" in said(told(prediction, "targeting", contacts))
    assert "a margin of 40%" in said(told(prediction, "targeting", contacts))
    hours = prediction.hours(plan)
    assert "One more hour of Phone" in said(told(prediction, "hours", hours))
    assert prediction.hours(planned(MAIL)) is None
    table = tabled(prediction, "targeting", contacts)
    assert table is not None
    assert [row[2] for row in table.rows] == ["all", "3"]
    chart = drawn(prediction, "targeting", contacts)
    assert chart is not None
    assert "The best plan brings" in str(chart.title)


def test_the_contact_rules_are_told_and_small_counts_are_not() -> None:
    customers = pd.DataFrame(
        {
            "has_consent": [True, False, True],
            "days_since_contact": [None, None, None],
            "n_contacts": [0, 0, 0],
        },
        index=list("abc"),
    )
    found = apply_contact_rules(customers, ContactRules(rest_days=7, most_contacts=2), as_of=AS_OF)
    rules = rules_of(found, smallest=10, as_of=AS_OF)
    told_rules = said(told(prediction, "rules", rules))
    assert "2 of 3 customers may be contacted" in told_rules
    assert "who has not agreed to be contacted: 1 customers" in told_rules
    assert told_rules.endswith("Complaints are not recorded, so nobody is spared for one.")
    table = tabled(prediction, "rules", rules)
    assert table is not None
    assert table.rows[0][1] == "under 10"
    assert table.rows[1][1] == "0"
    assert table.rows[-1][1:] == ("not recorded", "–")


def test_offers_are_told_with_stock_tiers_and_hits() -> None:
    result = offers_of(offers.made(1), {"p00": "Scarf"}, smallest=10, as_of=AS_OF)
    assert "in stock on" in said(told(prediction, "offers", result))
    tiers = prediction.tiers(result)
    assert told(prediction, "tiers", tiers).verdict is Verdict.PASS
    beyond = offers_of(offers.made(1, 0.1), {}, smallest=10, as_of=AS_OF)
    assert prediction.tiers(beyond) is not None
    table = tabled(prediction, "offers", result)
    assert table is not None
    assert all(int(row[1]) >= 10 for row in table.rows)
    before, after = offers.purchases(1, n=300), offers.purchases(2, n=300)
    items = before[["customer_id", "product_id"]]
    same = offers.estimate_hit_rate(items, items, after, as_of=AS_OF)
    assert told(prediction, "hits", hits_of(same)).verdict is Verdict.CANNOT_TELL
    assert prediction.hits(run_of("prediction")) is None


def test_nobody_is_contacted_of_whom_a_score_waits_or_was_rejected() -> None:
    def rows(*customers: str, target: str = "lapse") -> pd.DataFrame:
        return pd.DataFrame({"customer_id": customers, "target": target, "score": 0.5})

    split = Split(
        released=pd.concat([rows(*"abcd"), rows("e", target="value")]),
        queue=rows("b", target="value"),
        rejected=rows("c"),
        n_reviewed=0,
    )
    assert list(prediction.free("lapse", split).index) == ["a", "d"]


def test_who_may_not_be_contacted_is_a_reason_and_an_old_list_goes() -> None:
    def refuse(*_: Any) -> Any:
        raise PermissionError("the licence does not grant it")

    market: Any = SimpleNamespace(consenting=refuse)
    with pytest.raises(TooFew, match="may not be contacted: the licence"):
        may_be_contacted(market, pd.Index(["a"]))
    scoring: Any = None
    assert prediction.contacts(scoring).empty
    with pytest.raises(TooFew, match="contracts, not a range"):
        prediction.ordering({"contracts": scoring})
