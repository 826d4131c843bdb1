"""The scorer against the libraries that fitted the model, and against sums by hand."""

from __future__ import annotations

import ast
import json
import tracemalloc
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from interpret.glassbox import ExplainableBoostingClassifier, ExplainableBoostingRegressor
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression, PoissonRegressor

from insight_lib.prediction import scorer
from insight_lib.prediction.document import ESTIMATORS, canonical_bytes, count_terms, digest
from insight_lib.prediction.explain import estimate_drivers, explain_rows
from insight_lib.prediction.fit import (
    Training,
    broken_constraints,
    calibration,
    fit,
    sample_customers,
)
from insight_lib.prediction.scorer import explain, score
from insight_lib.prediction.snapshots import Target

DAY = date(2024, 6, 30)
LEARNERS = {
    ("logistic", "binary"): LogisticRegression,
    ("logistic", "amount"): PoissonRegressor,
    ("additive", "binary"): ExplainableBoostingClassifier,
    ("additive", "amount"): ExplainableBoostingRegressor,
    ("boosting", "binary"): HistGradientBoostingClassifier,
    ("boosting", "amount"): HistGradientBoostingRegressor,
    ("forest", "binary"): RandomForestClassifier,
    ("forest", "amount"): RandomForestRegressor,
}


def target(kind):
    return Target(
        id="lapse" if kind == "binary" else "value",
        title="stop ordering",
        kind=kind,
        purpose="retention",
        horizon_days=28,
        unit="share",
    )


def training(kind="binary", n=1200, seed=0, n_cuts=2):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "gap_ratio": rng.exponential(size=n),
            "days": rng.normal(20, 5, n),
            "spend": np.exp(2 * rng.normal(size=n)),
            "plan": pd.Series(rng.choice(["basic", "gold", "trial"], n), dtype=object),
        }
    )
    frame.loc[rng.random(n) < 0.15, "days"] = np.nan
    frame.loc[rng.random(n) < 0.1, "plan"] = None
    eta = frame["gap_ratio"] - 1.5 + 0.8 * (frame["plan"] == "trial") + 0.5 * frame["days"].isna()
    if kind == "binary":
        label = (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(float)
    else:
        label = np.exp(0.4 * eta + 0.5 * rng.normal(size=n)).to_numpy() * 30 * (rng.random(n) < 0.7)
    ids = np.tile([f"c{i:05d}" for i in range(n // n_cuts)], n_cuts).astype(object)
    cuts = np.repeat([f"2024-0{k + 1}-28" for k in range(n_cuts)], n // n_cuts)
    return Training(features=frame, label=np.asarray(label), customer_id=ids, cut=cuts)


@pytest.fixture(scope="module")
def fitted():
    """Every estimator without calibration, beside the library's own fitted object."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        for (estimator, kind), learner in LEARNERS.items():
            seen = []
            original = learner.fit

            def spy(self, *args, original=original, seen=seen, **kw):
                seen.append(self)
                return original(self, *args, **kw)

            patch.setattr(learner, "fit", spy)
            document = fit(
                estimator,
                training(kind),
                target=target(kind),
                as_of=DAY,
                seed=3,
                calibrate=False,
            )
            patch.undo()
            # Through JSON, as it is kept.
            found[estimator, kind] = (json.loads(canonical_bytes(document)), seen[-1])
    return found


def by_the_library(learner, document, frame, kind):
    """Prediction of the fitted object, with the design written down anew."""
    inputs = {e["name"]: e for e in document["inputs"]}
    assert inputs["plan"]["levels"] == ["(missing)", "basic", "gold", "trial"]
    plan = frame["plan"].where(frame["plan"].notna(), "(missing)")
    one_hot = {f"plan={v}": (plan == v).astype(float) for v in inputs["plan"]["levels"]}
    estimator = document["estimator"]
    unit = training("amount").label.mean() if kind == "amount" and estimator != "forest" else 1.0
    if estimator == "boosting":
        design = pd.DataFrame({c: frame[c] for c in ("gap_ratio", "days", "spend")} | one_hot)
    elif estimator == "additive":
        code = {v: f"L{i}" for i, v in enumerate(inputs["plan"]["levels"])}
        design = frame.assign(plan=[code.get(v, "never seen") for v in plan])
        if kind == "binary":
            return learner.predict_proba(design)[:, 1]
        return learner.predict(design) * unit
    else:
        days = frame["days"].fillna(inputs["days"]["fill"])
        terms = {"gap_ratio": frame["gap_ratio"], "days": days}
        terms |= {"no_days": frame["days"].isna().astype(float), "spend": frame["spend"]}
        design = pd.DataFrame(terms | one_hot)
        if estimator == "logistic":
            seen = training(kind).features
            for name in ("gap_ratio", "days", "spend"):
                design[name] = design[name].clip(seen[name].min(), seen[name].max())
            small = seen["spend"].quantile(0.05)
            design["spend"] = np.log1p(design["spend"] / small)
            base = pd.DataFrame(
                {
                    "gap_ratio": seen["gap_ratio"],
                    "days": seen["days"].fillna(inputs["days"]["fill"]),
                    "no_days": seen["days"].isna().astype(float),
                    "spend": np.log1p(seen["spend"] / small),
                }
                | {
                    f"plan={v}": (
                        seen["plan"].where(seen["plan"].notna(), "(missing)") == v
                    ).astype(float)
                    for v in inputs["plan"]["levels"]
                }
            )
            gap = next(t for t in document["model"]["terms"] if t.get("upper") is not None)
            if gap["transform"] == "signed_log":
                design["gap_ratio"] = np.log1p(design["gap_ratio"] / gap["unit"])
                base["gap_ratio"] = np.log1p(base["gap_ratio"] / gap["unit"])
            design = (design - base.mean()) / base.std(ddof=0)
    if kind == "binary":
        return learner.predict_proba(design.to_numpy())[:, 1]
    return learner.predict(design.to_numpy()) * unit


rows = st.lists(
    st.tuples(
        st.floats(0, 1e6),
        st.one_of(st.none(), st.floats(-1e6, 1e6)),
        st.floats(0, 1e9),
        st.sampled_from(["basic", "gold", "trial", "never seen", None]),
    ),
    min_size=1,
    max_size=40,
)


@pytest.mark.row("M5.1")
@pytest.mark.parametrize(("estimator", "kind"), sorted(LEARNERS))
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=rows)
def test_the_document_scores_as_the_library_does(fitted, estimator, kind, rows):
    document, learner = fitted[estimator, kind]
    frame = pd.DataFrame(rows, columns=["gap_ratio", "days", "spend", "plan"])
    frame["days"] = frame["days"].astype(float)
    expected = by_the_library(learner, document, frame, kind)
    expected = np.minimum(expected, training(kind).label.max())  # not beyond what was seen
    np.testing.assert_allclose(score(document, frame), expected, rtol=1e-6, atol=1e-6)


def test_a_rule_is_the_rate_of_the_bin():
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"gap_ratio": np.repeat([0.5, 1.5, 2.5, 3.5, 4.5, 5.5], 50)})
    label = (rng.random(300) < np.repeat([0.1, 0.1, 0.3, 0.5, 0.7, 0.9], 50)).astype(float)
    ids = np.array([f"c{i}" for i in range(300)], dtype=object)
    data = Training(features=frame, label=label, customer_id=ids, cut=np.repeat("2024-01-01", 300))
    document = fit("rule", data, target=target("binary"), as_of=DAY, seed=0, calibrate=False)
    by_hand = (label[:50].sum() + 10 * label.mean()) / 60
    assert score(document, {"gap_ratio": [0.4]})[0] == pytest.approx(by_hand)
    assert score(document, {"gap_ratio": [None]})[0] == pytest.approx(label.mean())
    assert document["model"]["driver"] == "gap_ratio"


def test_a_logistic_score_adds_up_by_hand():
    document = {
        "format": 1,
        "kind": "binary",
        "estimator": "logistic",
        "inputs": [
            {"name": "days", "type": "number", "fill": 4.0, "has_indicator": True},
            {"name": "plan", "type": "text", "levels": ["gold"]},
        ],
        "model": {
            "intercept": -1.0,
            "terms": [
                {
                    "transform": "none",
                    "lower": 0.0,
                    "upper": 10.0,
                    "centre": 2.0,
                    "coefficient": 0.5,
                    "missing_centre": 0.0,
                    "missing_coefficient": 3.0,
                },
                {"coefficients": [0.25], "unknown": -0.75},
            ],
        },
        "calibration": {"intercept": 0.1, "slope": 2.0},
    }
    # Known and gold; missing and unknown; beyond what was seen (taken as 10).
    links = np.array([-1 + 0.5 * 4 + 0.25, -1 + 0.5 * 2 + 3 - 0.75, -1 + 0.5 * 8 + 0.25])
    columns = {"days": [6.0, None, 99.0], "plan": ["gold", "silver", "gold"]}
    np.testing.assert_allclose(score(document, columns), 1 / (1 + np.exp(-0.1 - 2 * links)))
    names, moved = explain(document, columns)
    assert names == ["days", "plan"]
    np.testing.assert_allclose(moved, [[2, 0.25], [4, -0.75], [4, 0.25]])


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("kind", ["binary", "amount"])
def test_contributions_add_up_to_the_score(estimator, kind):
    data = training(kind)
    document = fit(estimator, data, target=target(kind), as_of=DAY, seed=1, calibrate=False)
    scores = score(document, data.features)
    _, moved = explain(document, data.features)
    is_share_scale = estimator == "forest"
    if is_share_scale:
        on_scale = scores
    else:
        on_scale = np.log(scores / (1 - scores)) if kind == "binary" else np.log(scores)
    rest = (on_scale - moved.sum(axis=1))[scores < document.get("largest", np.inf)]
    assert np.ptp(rest) < 1e-6  # the average customer, one number for all


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_same_fit_gives_the_same_bytes(estimator):
    first, second = (
        fit(estimator, training(), target=target("binary"), as_of=DAY, seed=5) for _ in range(2)
    )
    assert digest(first) == digest(second)
    assert canonical_bytes(first) == canonical_bytes(json.loads(canonical_bytes(first)))
    assert len(canonical_bytes(first)) < 2e6
    assert count_terms(first) >= 2


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_totals_of_amounts_are_unbiased(estimator):
    document = fit(
        estimator, training("amount", n=6000), target=target("amount"), as_of=DAY, seed=1
    )
    fresh = training("amount", n=20_000, seed=9)
    ratio = score(document, fresh.features).sum() / fresh.label.sum()
    assert ratio == pytest.approx(1, abs=0.12)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("kind", ["binary", "amount"])
def test_declared_directions_are_kept(estimator, kind):
    data = training(kind, n=1500, seed=4)
    against_the_data = {"gap_ratio": -1, "days": 1}
    options = {"target": target(kind), "as_of": DAY, "seed": 0}
    kept = fit(estimator, data, monotone=against_the_data, **options)
    assert broken_constraints(kept, data.features, against_the_data) == []
    free = fit(estimator, data, **options)
    assert "gap_ratio" in broken_constraints(free, data.features, against_the_data)


def test_constraints_on_nothing_are_refused():
    options = {"target": target("binary"), "as_of": DAY, "seed": 0}
    with pytest.raises(ValueError, match="no such column of numbers"):
        fit("boosting", training(), monotone={"plan": 1}, **options)
    with pytest.raises(ValueError, match="1 or -1"):
        fit("boosting", training(), monotone={"days": 2}, **options)


def test_calibration_recovers_a_known_distortion():
    rng = np.random.default_rng(3)
    truth = rng.normal(size=60_000)
    label = (rng.random(60_000) < 1 / (1 + np.exp(-(0.4 + 0.5 * truth)))).astype(float)
    found = calibration("binary", 1 / (1 + np.exp(-truth)), label)
    assert found["intercept"] == pytest.approx(0.4, abs=0.04)
    assert found["slope"] == pytest.approx(0.5, abs=0.04)
    amounts = np.exp(0.3 + 0.7 * truth) * rng.exponential(size=60_000)
    found = calibration("amount", np.exp(truth), amounts)
    assert found["intercept"] == pytest.approx(0.3, abs=0.05)
    assert found["slope"] == pytest.approx(0.7, abs=0.05)


def test_scores_that_rank_the_wrong_way_become_nearly_one_score():
    label = np.repeat([0.0, 1.0], 50)
    found = calibration("binary", np.linspace(0.9, 0.1, 100), label)
    assert found["slope"] == 0.05


def test_the_scorer_stands_alone():
    tree = ast.parse(Path(scorer.__file__).read_text())
    modules = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert modules <= {"__future__", "collections", "math", "typing", "numpy"}


def test_what_the_scorer_cannot_read_is_named():
    document = fit("logistic", training(), target=target("binary"), as_of=DAY, seed=0)
    with pytest.raises(KeyError, match="days, plan"):
        score(document, {"gap_ratio": [1.0], "spend": [2.0]})
    with pytest.raises(ValueError, match="format 7"):
        score(document | {"format": 7}, {})
    with pytest.raises(ValueError, match="estimator 'pickle'"):
        score(document | {"estimator": "pickle"}, {})
    with pytest.raises(ValueError, match="unequal length"):
        score(document, {"gap_ratio": [1.0], "spend": [2.0], "days": [1.0, 2.0], "plan": ["gold"]})


def test_chunks_do_not_show():
    data = training(n=1200)
    document = fit("boosting", data, target=target("binary"), as_of=DAY, seed=0)
    many = pd.concat([data.features] * 60, ignore_index=True)  # more than one chunk
    np.testing.assert_array_equal(
        score(document, many), np.tile(score(document, data.features), 60)
    )


@pytest.mark.parametrize("estimator", ["logistic", "additive", "boosting"])
def test_memory_does_not_grow_with_the_customers(estimator):
    data = training(n=1200)
    document = fit(estimator, data, target=target("binary"), as_of=DAY, seed=0)
    many = {c: np.tile(v.to_numpy(), 500) for c, v in data.features.items()}  # 600,000 customers
    tracemalloc.start()
    found = score(document, many)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == 600_000
    assert peak < found.nbytes + 40e6


def test_a_sample_keeps_whole_customers_and_is_the_same_each_time():
    data = training(n=2000, n_cuts=2)
    small = sample_customers(data, most_rows=500)
    assert 400 < len(small) <= 500
    assert (pd.Series(small.customer_id).value_counts() == 2).all()
    again = sample_customers(data, most_rows=500)
    assert (again.customer_id == small.customer_id).all()


def test_reasons_name_what_moved_the_score():
    data = training(n=3000)
    document = fit("logistic", data, target=target("binary"), as_of=DAY, seed=0)
    late = data.features.head(2).assign(gap_ratio=[6.0, 0.0], days=20.0, spend=1.0, plan="gold")
    first, second = explain_rows(document, late, top=2)
    assert first[0][0] == "gap_ratio"
    assert first[0][1] > 0 > second[0][1]
    assert first[0][2] == "lateness against their own rhythm is 6: raises the score"
    drivers = estimate_drivers(document, data.features, as_of=DAY)
    assert drivers[0].name == "gap_ratio"
    assert drivers[0].direction == 1
    assert sum(d.share.value for d in drivers) == pytest.approx(1)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_an_interaction_does_not_turn_a_declared_direction_round(estimator):
    rng = np.random.default_rng(8)
    frame = pd.DataFrame(rng.normal(size=(2000, 3)), columns=["gap_ratio", "other", "third"])
    eta = 2.5 * frame["gap_ratio"] * frame["other"]  # falls for half of the customers
    data = Training(
        features=frame,
        label=(rng.random(2000) < 1 / (1 + np.exp(-eta))).to_numpy(dtype=float),
        customer_id=np.array([f"c{i}" for i in range(2000)], dtype=object),
        cut=np.repeat("2024-01-01", 2000),
    )
    options = {"target": target("binary"), "as_of": DAY, "seed": 0}
    kept = fit(estimator, data, monotone={"gap_ratio": 1}, **options)
    assert broken_constraints(kept, frame, {"gap_ratio": 1}) == []
