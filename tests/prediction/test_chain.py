"""Who is scored by what: every rung is reached in order, logged, and can be explained."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from insight_lib.findings import TooFew
from insight_lib.prediction.chain import (
    Conditions,
    Rung,
    Scored,
    local_rung,
    logged_inputs,
    pooled_rung,
    rule_document,
    rule_rung,
    score_frame,
    why,
)
from insight_lib.prediction.pooled import (
    BASE_RATE,
    PooledCoefficient,
    _local_rate,
    pool_coefficients,
    pooled_document,
    pooled_rows,
)
from insight_lib.prediction.registry import Registry
from insight_lib.prediction.scorer import score
from insight_lib.prediction.snapshots import Target

AS_OF = date(2024, 12, 31)
LAPSE = Target(
    id="lapse", title="stop ordering", kind="binary", purpose="retention", horizon_days=28,
    unit="share",
)  # fmt: skip
CONDITIONS = Conditions(smallest_training_customers=500, smallest_positives=50)
INPUTS = ("days_since_last_order", "n_orders")


def customers(n: int, seed: int, *, scale: float = 1.0, effect: float = 1.0) -> pd.DataFrame:
    """Customers whose lapse depends on the logarithm of days since the last order."""
    rng = np.random.default_rng(seed)
    days = scale * rng.lognormal(3, 0.8, n)
    orders = rng.poisson(4, n) + 1.0
    z = (np.log1p(days) - np.log1p(scale * np.exp(3))) / 0.8
    p = 1 / (1 + np.exp(-(-1 + effect * z)))
    return pd.DataFrame(
        {"days_since_last_order": days, "n_orders": orders, "lapse": (rng.random(n) < p) * 1.0},
        index=pd.Index([f"c{i:05}" for i in range(n)], name="customer_id"),
    )


def local_document() -> dict[str, Any]:
    term = {"transform": "signed_log", "lower": 0.0, "upper": 900.0, "centre": 3.0}
    return {
        "format": 1,
        "target": "lapse",
        "kind": "binary",
        "horizon_days": 28,
        "estimator": "logistic",
        "inputs": [
            {"name": "days_since_last_order", "type": "number", "fill": 20, "has_indicator": False},
            {"name": "n_orders", "type": "number", "fill": 4, "has_indicator": False},
        ],
        "model": {
            "intercept": -1.0,
            "terms": [term | {"coefficient": 1.1}, term | {"coefficient": -0.2, "centre": 1.6}],
        },
        "calibration": {"intercept": 0.0, "slope": 1.0},
        "trained": {"cuts": ["2024-11-01"], "n": 900, "as_of": "2024-12-01"},
    }


@pytest.fixture(scope="module")
def aggregates() -> pd.DataFrame:
    """What three other markets gave."""
    frames = []
    for seed, market in enumerate(["de-a", "fr-b", "us-c"]):
        frame = customers(1500, seed, scale=1.0 + seed)
        rows = pooled_rows(
            frame[list(INPUTS)],
            frame["lapse"],
            target="lapse",
            horizon_days=28,
            smallest_positives=50,
        )
        frames.append(rows.assign(market=market, as_of="2024-12-31"))
    return pd.concat(frames, ignore_index=True)


class Starved:
    """A market that loses one thing after the other."""

    def __init__(self, folder: Path, aggregates: pd.DataFrame) -> None:
        self.registry = Registry(folder / "models", bytes(32))
        self.features = customers(400, 9)[list(INPUTS)]
        self.label = customers(400, 9)["lapse"]
        self.aggregates = aggregates

    def promote(self, *, n_customers: int, n_positives: int) -> str:
        document = local_document() | {"trained": {"n": n_customers, "p": n_positives}}
        card = {"n_customers": n_customers, "n_positives": n_positives}
        version = self.registry.register(document, card)
        self.registry.promote(
            "lapse", version, day=AS_OF - timedelta(days=28), why="better", gates={"leakage": True}
        )
        return version

    def score(self) -> Scored:
        columns = list(self.features.columns)

        def pool() -> dict[str, Any]:
            return pooled_document(
                self.aggregates,
                self.features,
                self.label,
                target="lapse",
                horizon_days=28,
                as_of=AS_OF,
                smallest_markets=2,
            )

        rungs = [
            local_rung(
                lambda: self.registry.live("lapse", on=AS_OF),
                columns=columns,
                conditions=CONDITIONS,
            ),
            pooled_rung(pool, columns=columns),
            rule_rung(rule_document(self.features, self.label, target=LAPSE, as_of=AS_OF)),
        ]
        return score_frame("lapse", rungs, self.features, as_of=AS_OF)


def only(scored: Scored) -> tuple[str, str]:
    """The one rung and the one reason that all customers have."""
    log = scored.log
    assert len(log) == 400
    assert log["reason"].str.len().gt(0).all()
    assert log["score"].between(0, 1).all()
    assert log["version"].str.fullmatch("[0-9a-f]{16}").all()
    (found,) = set(zip(log["rung"], log["reason"], strict=True))
    return found


@pytest.mark.row("M5.5")
def test_a_starved_market_reaches_each_rung_in_order(
    tmp_path: Path, aggregates: pd.DataFrame
) -> None:
    market = Starved(tmp_path, aggregates)
    version = market.promote(n_customers=900, n_positives=200)
    assert only(market.score()) == ("local", "local model, live since 2024-12-03")

    poor = Starved(tmp_path / "few", aggregates)
    poor.promote(n_customers=499, n_positives=200)
    reason = "pooled model of 3 other markets"
    assert only(poor.score()) == (
        "pooled",
        f"{reason}; 499 customers to learn from, and it takes 500",
    )
    rare = Starved(tmp_path / "rare", aggregates)
    rare.promote(n_customers=900, n_positives=49)
    assert only(rare.score())[1] == (
        f"{reason}; 49 customers of the rarer outcome, and it takes 50"
    )
    young = Starved(tmp_path / "young", aggregates)
    assert only(young.score())[1] == f"{reason}; no local model is live"

    path = tmp_path / "models" / f"{version}.model"
    content = path.read_bytes()
    path.write_bytes(content.replace(b"1.1", b"9.1"))
    assert only(market.score()) == (
        "pooled",
        f"{reason}; the live model's file does not verify",
    )
    path.write_bytes(content)
    assert only(market.score())[0] == "local"

    market.features = market.features.drop(columns="n_orders")
    assert only(market.score()) == (
        "pooled",
        f"{reason}; the local model needs n_orders, which the market no longer has",
    )
    market.aggregates = aggregates[aggregates["market"] == "de-a"]
    assert only(market.score()) == (
        "rule",
        (
            "rule of thumb; the local model needs n_orders, which the market no longer has; "
            "other markets that gave coefficients: 1, and it takes 2"
        ),
    )
    market.aggregates = aggregates.head(0)
    assert only(market.score())[1].endswith("no other market gave coefficients")


@pytest.mark.row("M5.5")
def test_a_customer_of_whom_nothing_is_known_gets_the_rule(
    tmp_path: Path, aggregates: pd.DataFrame
) -> None:
    market = Starved(tmp_path, aggregates)
    market.promote(n_customers=900, n_positives=200)
    market.features.iloc[[3, 7]] = np.nan
    market.features.iloc[5, 0] = np.nan  # one input is still known
    log = market.score().log.set_index("customer_id")
    silent = log.loc[["c00003", "c00007"]]
    assert (silent["rung"] == "rule").all()
    assert set(silent["reason"]) == {
        "rule of thumb; no input of the local model is known; no input of the pooled model is known"
    }
    assert (log.drop(silent.index)["rung"] == "local").all()
    assert market.score().counts == {"local": 398, "pooled": 0, "rule": 2}


@pytest.mark.row("M5.5")
def test_a_model_that_gives_no_number_is_passed_over() -> None:
    features = customers(50, 1)[list(INPUTS)]
    broken = local_document()
    # Plus and minus infinity, once scored: their sum is no number.
    for term, coefficient in zip(broken["model"]["terms"], (1e308, -1e308), strict=True):
        term |= {"coefficient": coefficient, "centre": -100.0}
    rule = rule_document(features, customers(50, 1)["lapse"], target=LAPSE, as_of=AS_OF)
    rungs = [Rung(name="local", reason="live", document=broken), rule_rung(rule)]
    log = score_frame("lapse", rungs, features, as_of=AS_OF).log
    assert set(log["rung"]) == {"rule"}
    assert set(log["reason"]) == {"rule of thumb; the local model gives no valid number"}
    with pytest.raises(ValueError, match="ends without a rule"):
        score_frame("lapse", rungs[:0], features, as_of=AS_OF)
    with pytest.raises(ValueError, match="customers have no valid score"):
        score_frame("lapse", rungs[:1], features, as_of=AS_OF)
    with pytest.raises(ValueError, match="the last rung is a rule"):
        rule_rung(local_document())


def test_a_rule_needs_one_known_outcome() -> None:
    frame = customers(5, 1)
    label = frame["lapse"] * np.nan
    with pytest.raises(TooFew):
        rule_document(frame[list(INPUTS)], label, target=LAPSE, as_of=AS_OF)


@pytest.mark.row("M5.8")
def test_why_reproduces_the_logged_score(tmp_path: Path, aggregates: pd.DataFrame) -> None:
    market = Starved(tmp_path, aggregates)
    version = market.promote(n_customers=900, n_positives=200)
    market.features.iloc[2, 1] = np.nan
    scored = market.score()
    inputs = logged_inputs([scored], market.features)
    assert list(inputs.columns) == ["customer_id", *INPUTS]
    # What is stored is read back from files, so the answer may rest on files alone.
    scored.log.to_parquet(tmp_path / "log.parquet")
    inputs.to_parquet(tmp_path / "inputs.parquet")
    log, inputs = (pd.read_parquet(tmp_path / f"{n}.parquet") for n in ("log", "inputs"))
    for customer in ("c00000", "c00002", "c00399"):
        (answer,) = why(log, inputs, market.registry, customer_id=customer, on=AS_OF)
        expected = log.set_index("customer_id").loc[customer, "score"]
        assert answer.faults == ()
        assert answer.reproduced == pytest.approx(expected, abs=1e-6)
        assert (answer.version, answer.rung) == (version, "local")
        assert answer.sentences[-1].endswith("gives the same score")
    row = market.features.loc["c00000"]
    (answer,) = why(log, inputs, market.registry, customer_id="c00000", on=AS_OF)
    by_hand = {
        "days_since_last_order": 1.1 * (np.log1p(row.iloc[0]) - 3.0),
        "n_orders": -0.2 * (np.log1p(row.iloc[1]) - 1.6),
    }
    strongest = max(by_hand, key=lambda name: abs(by_hand[name]))
    assert answer.contributions[0].input == strongest
    assert answer.contributions[0].moved == pytest.approx(by_hand[strongest])
    direction = "raises" if by_hand[strongest] > 0 else "lowers"
    assert direction in answer.sentences[1]


@pytest.mark.row("M5.8")
def test_why_says_what_does_not_match(tmp_path: Path, aggregates: pd.DataFrame) -> None:
    market = Starved(tmp_path, aggregates)
    version = market.promote(n_customers=900, n_positives=200)
    scored = market.score()
    log, inputs = scored.log, logged_inputs([scored], market.features)

    def ask(log: pd.DataFrame = log, inputs: pd.DataFrame = inputs, **more: Any) -> Any:
        question = {"customer_id": "c00001", "on": AS_OF} | more
        return why(log, inputs, market.registry, **question)[0]

    changed = inputs.copy()
    changed.loc[1, "days_since_last_order"] += 1
    assert "one of them was changed" in ask(inputs=changed).faults[0]
    moved = log.copy()
    moved.loc[1, "score"] += 2e-6
    assert "one of them was changed" in ask(log=moved).faults[0]
    assert ask(inputs=inputs.drop(index=1)).faults[0].startswith("0 rows of inputs")
    assert "needs" in ask(inputs=inputs.drop(columns="n_orders")).faults[0]
    with pytest.raises(LookupError, match=r"no score for 'churn' by 2024-12-31; logged for no day"):
        ask(target="churn")
    with pytest.raises(LookupError, match=r"by 2024-12-30; logged for 2024-12-31"):
        ask(on=AS_OF - timedelta(days=1))
    (tmp_path / "models" / f"{version}.model").write_bytes(b"x")
    answer = ask()
    assert answer.reproduced is None
    assert "not a file that the registry wrote" in answer.faults[0]


def test_pooled_coefficients_by_hand() -> None:
    rows = pd.DataFrame(
        {
            "market": ["a", "b", "c", "a"],
            "input": ["x", "x", "x", "y"],
            "coefficient": [1.0, 2.0, 3.0, 5.0],
            "standard_error": [0.5, 0.5, 0.5, 0.5],
            "n": [100, 100, 100, 100],
        }
    )
    (x,) = pool_coefficients(rows, smallest_markets=2)
    # Equal weights of 4: mean 2, Q = 4 (1 + 0 + 1) = 8, room = 12 - 48 / 12 = 8.
    assert (x.input, x.mean, x.n_markets, x.n) == ("x", 2.0, 3, 300)
    assert x.between == pytest.approx((8 - 2) / 8)
    assert x.standard_error == pytest.approx(((0.25 + 0.75) / 3) ** 0.5)


def test_pooling_agrees_with_an_outside_reference() -> None:
    combine_effects = pytest.importorskip("statsmodels.stats.meta_analysis").combine_effects
    rng = np.random.default_rng(3)
    rows = pd.DataFrame(
        {
            "market": [f"m{i}" for i in range(7)],
            "input": "x",
            "coefficient": rng.normal(0.5, 0.4, 7),
            "standard_error": rng.uniform(0.05, 0.3, 7),
            "n": 100,
        }
    )
    (x,) = pool_coefficients(rows, smallest_markets=2)
    outside = combine_effects(
        rows["coefficient"].to_numpy(), rows["standard_error"].to_numpy() ** 2, method_re="chi2"
    )
    assert x.between == pytest.approx(outside.tau2)
    assert x.mean == pytest.approx(outside.mean_effect_re)
    assert x.standard_error == pytest.approx(outside.sd_eff_w_re)


def test_what_a_market_gives_agrees_with_an_outside_reference() -> None:
    sm = pytest.importorskip("statsmodels.api")
    frame = customers(2000, 5)
    rows = pooled_rows(
        frame[list(INPUTS)], frame["lapse"], target="lapse", horizon_days=28, smallest_positives=50
    ).set_index("input")
    z = []
    for name in INPUTS:
        x = frame[name].clip(*frame[name].quantile([0.01, 0.99]))
        z.append((np.log1p(x) - np.log1p(x).mean()) / np.log1p(x).std(ddof=0))
    fitted = sm.GLM(
        frame["lapse"], sm.add_constant(np.column_stack(z)), family=sm.families.Binomial()
    ).fit(cov_type="HC0")
    # The ridge of one is small beside 2,000 customers.
    assert rows["coefficient"].iloc[1:].to_numpy() == pytest.approx(fitted.params[1:], abs=0.01)
    assert rows["standard_error"].iloc[1:].to_numpy() == pytest.approx(fitted.bse[1:], rel=0.02)
    rate = frame["lapse"].mean()
    assert rows.loc[BASE_RATE, "coefficient"] == pytest.approx(np.log(rate / (1 - rate)))
    assert rows["n"].unique().tolist() == [2000]


def test_repeated_snapshots_of_a_customer_are_not_more_customers() -> None:
    frame = customers(1000, 5)
    once = pooled_rows(
        frame[list(INPUTS)], frame["lapse"], target="lapse", horizon_days=28, smallest_positives=50
    )
    twice = pd.concat([frame, frame])
    again = pooled_rows(
        twice[list(INPUTS)], twice["lapse"], target="lapse", horizon_days=28, smallest_positives=50
    )
    assert again["n"].unique().tolist() == [1000]
    np.testing.assert_allclose(again["standard_error"], once["standard_error"], rtol=0.02)
    with pytest.raises(TooFew, match="rarer outcome"):
        pooled_rows(
            frame[list(INPUTS)], frame["lapse"] * 0, target="lapse", horizon_days=28,
            smallest_positives=50,
        )  # fmt: skip


def test_the_pooled_model_ranks_customers_of_a_market_that_has_no_labels(
    aggregates: pd.DataFrame,
) -> None:
    young = customers(3000, 77, scale=12.0)  # in other units, so only standardising helps
    arguments = {"target": "lapse", "horizon_days": 28, "as_of": AS_OF, "smallest_markets": 2}
    document = pooled_document(aggregates, young[list(INPUTS)], **arguments)
    scores = score(document, young)
    ranks = pd.Series(scores, index=young.index).rank()
    n_yes = young["lapse"].sum()
    auc = (ranks[young["lapse"] == 1].sum() - n_yes * (n_yes + 1) / 2) / (
        n_yes * (len(young) - n_yes)
    )
    assert auc > 0.72  # the truth itself ranks at about 0.75
    assert scores.mean() == pytest.approx(0.30, abs=0.03)
    # Own labels move the level, in proportion to how many there are.
    rare = young["lapse"].where(np.arange(3000) < 2000) * 0
    with_own = pooled_document(aggregates, young[list(INPUTS)], rare, **arguments)
    assert score(with_own, young).mean() < scores.mean()


@pytest.mark.case("130e")
@pytest.mark.parametrize("n_markets", [2, 5])
def test_few_alike_markets_do_not_drown_own_outcomes(n_markets: int) -> None:
    """Two markets at 30%, and 81 loyal customers of whom about one stops."""
    rates = PooledCoefficient(
        input="(base rate)", mean=float(np.log(0.3 / 0.7)), standard_error=0.05, between=0.0,
        n_markets=n_markets, n=4000,
    )  # fmt: skip
    loyal = pd.Series([1.0] + [0.0] * 80)
    assert _local_rate(rates, loyal) < 0.05
    alike = pd.Series([1.0] * 25 + [0.0] * 56)
    assert 0.25 < _local_rate(rates, alike) < 0.36
    assert _local_rate(rates, None) == pytest.approx(0.3)
