"""Sentences and figures follow from the results, and hold no customer."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pandas as pd
import pytest

from insight_lib import prediction
from insight_lib.findings import Estimate, Finding, Verdict
from insight_lib.market_model import Residency
from insight_lib.prediction.chain import Rung, Scored, WhyAnswer
from insight_lib.prediction.deployment import advise_deployment
from insight_lib.prediction.promotion import Standing
from insight_lib.prediction.registry import Decided, Event, LiveModel
from insight_lib.prediction.released import agreed, review_of, stakes_of
from insight_lib.prediction.review import Agreement, Split, Stakes, add_stakes, split_released
from insight_lib.prediction.scoring import Rungs, log_held, rungs_of
from insight_lib.prediction.standing import history_of, live_of, where
from insight_lib.prose import Name
from insight_lib.registers import Site
from tests.cards import drawn, run_of, tabled, told

AS_OF = date(2024, 12, 31)
TITLES = {"lapse": "stop ordering", "value": "spend"}
DOCUMENT: dict[str, Any] = {"inputs": [], "target": "lapse"}


def scored(target: str, *, local: int, pooled: int = 0, rule: int = 0) -> Scored:
    n = local + pooled + rule
    log = pd.DataFrame(
        {
            "customer_id": [f"c{i}" for i in range(n)],
            "target": target,
            "score": 0.3,
            "version": "1" * 16,
            "reason": "because",
        }
    )
    own = Rung(name="local", reason="local model", document=DOCUMENT)
    none = Rung(name="local", reason="no local model is live")
    return Scored(
        target=target,
        log=log,
        rungs=(own if local else none, Rung(name="rule", reason="rule", document=DOCUMENT)),
        counts={"local": local, "pooled": pooled, "rule": rule},
    )


def split(n_waiting: int, n_free: int = 60) -> Split:
    n = n_waiting + n_free
    frame = pd.DataFrame(
        {
            "customer_id": [f"c{i}" for i in range(n)],
            "target": "lapse",
            "version": "1" * 16,
            "score": 0.5,
        }
    )
    value = pd.Series([1000.0] * n_waiting + [10.0] * n_free, index=frame["customer_id"])
    stakes = Stakes(smallest_amount=100.0)
    frame = add_stakes(frame, value, stakes=stakes, amount_targets=())
    return split_released(frame, [], stakes=stakes)


def chain(*scored: Scored) -> Rungs:
    return rungs_of(scored, TITLES, run_of("prediction"))


@pytest.mark.row("M5.5")
def test_a_lower_rung_is_said_with_its_reason() -> None:
    fine = told(prediction, "rungs", chain(scored("lapse", local=100)))
    assert fine.verdict is Verdict.PASS
    assert str(fine.statement) == "100% of scores come from the market's own models."
    lower = chain(scored("lapse", local=100), scored("value", local=0, rule=300))
    worse = told(prediction, "rungs", lower)
    assert worse.verdict is Verdict.REVIEW
    assert str(worse.statement).startswith("25%")
    assert str(worse.so_what).startswith("Spend: no local model is live.")
    table = tabled(prediction, "rungs", lower)
    assert table is not None
    assert table.rows[1] == ("spend", "0", "0", "300", "no local model is live; rule")
    few = tabled(prediction, "rungs", chain(scored("lapse", local=93, rule=7)))
    assert few is not None
    assert few.rows[0][1:4] == ("93", "0", "under 10")


def answer(*faults: str) -> WhyAnswer:
    return WhyAnswer(
        target="lapse",
        as_of="2024-12-31",
        logged=0.3,
        reproduced=0.3,
        version="1" * 16,
        rung="local",
        reason="local model",
        contributions=(),
        faults=faults,
    )


@pytest.mark.row("M5.8")
def test_a_score_that_cannot_be_made_again_fails_the_log() -> None:
    log = scored("lapse", local=100).log

    def held(log: pd.DataFrame, *answers: WhyAnswer) -> Finding:
        return told(prediction, "made_again", log_held(log, answers))

    assert held(log, answer()).verdict is Verdict.PASS
    failed = held(log, answer(), answer("it was changed"))
    assert failed.verdict is Verdict.FAIL
    assert str(failed.statement) == "1 of 2 logged scores cannot be made again."
    assert "it was changed" in str(failed.so_what)
    silent = held(log.assign(reason=" "), answer())
    assert silent.verdict is Verdict.FAIL
    assert str(silent.statement) == "100 of 100 scores are logged without a reason."


@pytest.mark.row("M5.6")
def test_the_queue_is_said_without_names() -> None:
    def said(n: int, least: float | None = 100.0) -> Finding:
        limits = Stakes(smallest_amount=least)
        result = review_of(split(n), limits, currency="EUR", as_of=AS_OF)
        return told(prediction, "review", result)

    found, none = said(20), said(0)
    assert str(found.statement) == "20 scores wait for a person; €10,000 is at stake in them."
    assert found.verdict is Verdict.MATTERS
    assert "from €100 at stake" in str(found.so_what)
    assert "until then every score waits" in str(said(20, None).so_what)
    assert none.verdict is Verdict.DOES_NOT_MATTER
    shares = prediction.shares(split(20), run_of("prediction"))
    assert [s.value.value for s in shares] == [0.75, 0.25, 0.0]
    assert shares[0].value.n == 80
    at_stake = stakes_of(split(20), smallest=10, currency="EUR", as_of=AS_OF)
    chart = drawn(prediction, "at_stake", at_stake)
    assert chart is not None
    # 20 scores of 500 against 60 of 5.
    assert str(chart.title).startswith("97.1%")
    for item in (found, none):
        assert '"c1"' not in json.dumps(item.to_json())
    assert stakes_of(split(9), smallest=10, currency="EUR", as_of=AS_OF) is None


def test_the_chart_of_rungs_is_drawn_where_rungs_differ() -> None:
    assert drawn(prediction, "rungs", chain(scored("lapse", local=100))) is None
    chart = drawn(prediction, "rungs", chain(scored("lapse", local=75, rule=25)))
    assert chart is not None
    assert str(chart.title) == "75% of scores come from the market's own models"
    assert drawn(prediction, "rungs", chain(scored("lapse", local=0, rule=25))) is not None


def kappa(lower: float, upper: float) -> Agreement:
    estimate = Estimate(
        value=(lower + upper) / 2, lower=lower, upper=upper, unit="index", n=80, as_of=AS_OF,
        method="test",
    )  # fmt: skip
    return Agreement(agreed=estimate, kappa=estimate)


@pytest.mark.row("M5.6")
@pytest.mark.parametrize(
    ("lower", "upper", "verdict"),
    [(0.6, 0.8, Verdict.PASS), (0.2, 0.5, Verdict.REVIEW), (0.0, 0.3, Verdict.FAIL)],
)
def test_agreement_has_three_endings(lower: float, upper: float, verdict: Verdict) -> None:
    result = agreed(kappa(lower, upper), smallest_kappa=0.4)
    assert told(prediction, "agreement", result).verdict is verdict


@pytest.mark.row("C4.5")
def test_promotions_are_said() -> None:
    old = LiveModel(
        target="lapse", version="a" * 16, since=date(2024, 11, 1), why="", by="run", document={},
        card={},
    )  # fmt: skip

    def said(decided: Decided, champion: LiveModel | None) -> tuple[str, str]:
        made = Standing(document={}, decided=decided, champion=champion, why_not="", n=100)
        check = told(prediction, "live", live_of(made, "lapse", Name("stop ordering")))
        assert check.id == f"prediction.live_{decided.target.replace('@', '_')}"
        return str(check.statement), str(check.so_what)

    new = Decided(target="lapse", version="b" * 16, live_version="b" * 16, is_done=True)
    assert said(new, old)[0] == "Model bbbbbb now scores customers who stop ordering."
    assert "was live since" in said(new, old)[1]
    refused = Decided(
        target="lapse", version="b" * 16, live_version="a" * 16, is_done=False,
        reasons=("gate leakage failed",),
    )  # fmt: skip
    statement, advice = said(refused, old)
    assert statement == "Model aaaaaa still scores customers who stop ordering."
    assert "gate leakage failed" in advice
    first = Decided(
        target="lapse@s1", version="b" * 16, live_version=None, is_done=False, reasons=("no",)
    )
    assert said(first, None)[0] == "No own model scores customers who stop ordering."


@pytest.mark.row("M5.1")
def test_the_advice_on_where_to_run_is_said() -> None:
    sites = {
        name: Site(
            title=name.title(),
            kind="cloud",
            countries=(country,),
            memory_gib=8,
            monthly_cost_amount=cost,
            currency="EUR",
            markets=("de-test",),
        )
        for name, country, cost in (("near", "DE", 150.0), ("afar", "US", 20.0))
    }
    residency = Residency(rule="in_country", clause="s. 50")
    options = {"residency": residency, "country": "DE", "memory_gib": 1}
    found = where(advise_deployment(sites, **options), currency="EUR", n=100, as_of=AS_OF)
    said = told(prediction, "deployment", found)
    assert str(said.statement) == "Run the model at Near: €150 a month."
    table = tabled(prediction, "deployment", found)
    assert table is not None
    assert [row[2] for row in table.rows] == ["advised", "forbidden"]
    assert "(s. 50)" in table.rows[1][4]
    none = advise_deployment({"afar": sites["afar"]}, **options)
    said = told(prediction, "deployment", where(none, currency="EUR", n=100, as_of=AS_OF))
    assert str(said.so_what) == "It takes a site in DE with 1.0 GiB of memory."


def test_the_history_is_a_table_newest_first() -> None:
    events = [
        Event(
            day=date(2024, m, 1), target="lapse", action=action, version="a" * 16, by="run", why=""
        )
        for m, action in ((5, "promote"), (6, "roll_back"))
    ]
    table = tabled(prediction, "history", history_of(events))
    assert table is not None
    assert [row[:3] for row in table.rows] == [
        ("1 June 2024", "lapse", "rolled back"),
        ("1 May 2024", "lapse", "promoted"),
    ]
