"""How each estimator learns, and how it is written down as the `model` of a document.

Amounts are fitted by Poisson quasi-likelihood with a log link: it needs only the mean to be
right (Gourieroux, Monfort and Trognon, 1984), takes customers who spend nothing, and adds up
to the total, where a regression on log amounts needs a correction for every spread
(Duan, 1983). The forest averages amounts, which adds up by itself.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from insight_lib.prediction.scorer import MISSING, signed_log
from insight_lib.statistics import Floats

Kind = Literal["binary", "amount"]

_MOST_LEVELS = 20
_FEWEST_PER_LEVEL = 20
_SKEW = 2.0  # beyond it, a linear model sees the logarithm
_SMALL_QUANTILE = 0.05  # of its sizes: the unit in which it is put on the log scale
_PENALTY = 0.003  # L2 on scaled inputs, against the mean loss
_BOOSTING: dict[str, Any] = {
    "max_iter": 80,
    "learning_rate": 0.07,
    "max_leaf_nodes": 8,
    "min_samples_leaf": 30,
}
_FOREST: dict[str, Any] = {"n_estimators": 30, "max_leaf_nodes": 64, "min_samples_leaf": 10}
_ADDITIVE: dict[str, Any] = {
    "outer_bags": 2,
    "max_bins": 32,
    "max_interaction_bins": 12,
    "interactions": 3,
}
_ADDITIVE |= {"max_rounds": 300, "learning_rate": 0.05, "n_jobs": 1}


def describe_inputs(features: pd.DataFrame) -> list[dict[str, Any]]:
    """What the model reads: the fill of each number, the levels of each text.

    Columns that are empty or constant are left out; rare levels are not told apart.
    """
    inputs: list[dict[str, Any]] = []
    for name, column in features.items():
        if pd.api.types.is_numeric_dtype(column):
            values = column.to_numpy(dtype=float)
            known = values[np.isfinite(values)]
            has_missing = len(known) < len(values)
            if len(known) and (np.ptp(known) > 0 or has_missing):
                inputs.append(
                    {
                        "name": str(name),
                        "type": "number",
                        "fill": float(np.median(known)),
                        "has_indicator": has_missing,
                    }
                )
            continue
        counts = column.where(column.notna(), MISSING).astype(str).value_counts()
        counts = counts[counts >= _FEWEST_PER_LEVEL]
        ordered = sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))
        levels = sorted(str(level) for level, _ in ordered[:_MOST_LEVELS])
        if len(levels) > 1 or (levels and counts.sum() < len(column)):
            inputs.append({"name": str(name), "type": "text", "levels": levels})
    return inputs


def _codes(entry: Mapping[str, Any], column: pd.Series) -> NDArray[np.int64]:
    index = {level: code for code, level in enumerate(entry["levels"])}
    texts = column.where(column.notna(), MISSING)
    return np.array([index.get(v, -1) for v in texts], dtype=np.int64)


def _one_hot(entry: Mapping[str, Any], column: pd.Series) -> Floats:
    return (_codes(entry, column)[:, None] == np.arange(len(entry["levels"]))).astype(float)


def _linear(
    inputs: Sequence[Mapping[str, Any]],
    features: pd.DataFrame,
    label: Floats,
    *,
    kind: Kind,
    seed: int,
    monotone: Mapping[str, int],
) -> dict[str, Any]:
    """Scaled inputs with an L2 penalty; skewed ones as logarithms, none beyond what was seen."""
    from sklearn.linear_model import LogisticRegression, PoissonRegressor

    blocks: list[Floats] = []
    terms: list[dict[str, Any]] = []
    directions: list[int] = []
    for entry in inputs:
        column = features[entry["name"]]
        if entry["type"] == "text":
            blocks.append(_one_hot(entry, column))
            terms.append({})
            directions += [0] * len(entry["levels"])
            continue
        values = column.to_numpy(dtype=float)
        is_missing = ~np.isfinite(values)
        filled = np.where(is_missing, entry["fill"], values)
        known = values[~is_missing]
        is_skewed = abs(float(stats.skew(known))) > _SKEW if len(known) > 2 else False
        transform = "signed_log" if is_skewed else "none"
        terms.append(
            {"transform": transform, "lower": float(known.min()), "upper": float(known.max())}
        )
        if is_skewed:
            # In units of its own small values: euros and cents give the same model.
            terms[-1]["unit"] = float(np.quantile(np.abs(known[known != 0]), _SMALL_QUANTILE))
            filled = signed_log(filled, terms[-1]["unit"])
        columns = [filled, is_missing.astype(float)] if entry["has_indicator"] else [filled]
        blocks.append(np.column_stack(columns))
        directions += [monotone.get(entry["name"], 0), 0][: len(columns)]
    design = np.hstack(blocks)
    centre, spread = design.mean(axis=0), design.std(axis=0)
    spread[spread == 0] = 1.0
    scaled = (design - centre) / spread
    unit = 1.0 if kind == "binary" else float(label.mean())
    free = np.ones(scaled.shape[1], dtype=bool)
    while True:
        if kind == "binary":
            strength = 1 / (_PENALTY * len(label))
            fitted = LogisticRegression(C=strength, max_iter=300, random_state=seed).fit(
                scaled[:, free], label
            )
            found, intercept = fitted.coef_[0], float(fitted.intercept_[0])
        else:
            fitted = PoissonRegressor(alpha=_PENALTY, max_iter=300).fit(
                scaled[:, free], label / unit
            )
            found, intercept = fitted.coef_, float(fitted.intercept_) + float(np.log(unit))
        coefficient = np.zeros(len(free))
        coefficient[free] = found
        wrong = free & (np.array(directions) * coefficient < 0)
        if not wrong.any():
            break
        free &= ~wrong  # no effect is both rising and falling
    coefficient /= spread
    start = 0
    for entry, term, block in zip(inputs, terms, blocks, strict=True):
        b = coefficient[start : start + block.shape[1]]
        mean = centre[start : start + block.shape[1]]
        start += block.shape[1]
        if entry["type"] == "text":
            offset = float(b @ mean)
            term |= {"coefficients": [float(v) - offset for v in b], "unknown": -offset}
        else:
            term |= {"centre": float(mean[0]), "coefficient": float(b[0])}
            if entry["has_indicator"]:
                term |= {"missing_centre": float(mean[1]), "missing_coefficient": float(b[1])}
    return {"intercept": intercept, "terms": terms}


def _additive(
    inputs: Sequence[Mapping[str, Any]],
    features: pd.DataFrame,
    label: Floats,
    *,
    kind: Kind,
    seed: int,
    monotone: Mapping[str, int],
) -> dict[str, Any]:
    """Explainable boosting (Lou et al., 2013; Nori et al., 2019), exported as lookup tables."""
    from interpret.glassbox import ExplainableBoostingClassifier, ExplainableBoostingRegressor

    columns: dict[str, Any] = {}
    for entry in inputs:
        if entry["type"] == "text":
            columns[entry["name"]] = [f"L{code}" for code in _codes(entry, features[entry["name"]])]
        else:
            values = features[entry["name"]].to_numpy(dtype=float)
            columns[entry["name"]] = np.where(np.isfinite(values), values, np.nan)
    names = list(columns)
    options = _ADDITIVE | {
        "feature_names": names,
        "feature_types": ["nominal" if e["type"] == "text" else "continuous" for e in inputs],
        "monotone_constraints": [monotone.get(name, 0) for name in names],
        "random_state": seed,
    }
    frame = pd.DataFrame(columns)
    unit = 1.0
    if kind == "binary":
        fitted = ExplainableBoostingClassifier(**options).fit(frame, label.astype(int))
        intercept = float(fitted.intercept_[0])
    else:
        unit = float(label.mean())
        options["objective"] = "poisson_deviance"
        fitted = ExplainableBoostingRegressor(**options).fit(frame, label / unit)
        intercept = float(np.ravel(fitted.intercept_)[0]) + float(np.log(unit))
    terms = []
    for members, scores in zip(fitted.term_features_, fitted.term_scores_, strict=True):
        axes: list[dict[str, Any]] = []
        for member in members:
            by_order = fitted.bins_[member]
            bins = by_order[min(len(members), len(by_order)) - 1]
            if inputs[member]["type"] == "text":
                n_levels = len(inputs[member]["levels"])
                unseen = scores.shape[len(axes)] - 1
                axes.append(
                    {
                        "input": names[member],
                        "levels": [int(bins.get(f"L{code}", unseen)) for code in range(n_levels)],
                        "unknown": int(bins.get("L-1", unseen)),
                    }
                )
            else:
                axes.append({"input": names[member], "cuts": [float(c) for c in bins]})
        terms.append({"axes": axes, "scores": np.asarray(scores, dtype=float).tolist()})
    return {"intercept": intercept, "terms": terms}


def _trees(
    inputs: Sequence[Mapping[str, Any]],
    features: pd.DataFrame,
    label: Floats,
    *,
    kind: Kind,
    seed: int,
    monotone: Mapping[str, int],
    is_forest: bool = False,
) -> dict[str, Any]:
    """Boosted trees on inputs as they are, or a forest on filled ones with indicators."""
    from sklearn.ensemble import (
        HistGradientBoostingClassifier,
        HistGradientBoostingRegressor,
        RandomForestClassifier,
        RandomForestRegressor,
    )

    columns: list[dict[str, Any]] = []
    blocks: list[Floats] = []
    for entry in inputs:
        column = features[entry["name"]]
        if entry["type"] == "text":
            blocks.append(_one_hot(entry, column))
            levels = range(len(entry["levels"]))
            columns += [{"input": entry["name"], "part": "level", "code": c} for c in levels]
            continue
        values = column.to_numpy(dtype=float)
        is_missing = ~np.isfinite(values)
        blocks.append(np.where(is_missing, entry["fill"] if is_forest else np.nan, values)[:, None])
        columns.append({"input": entry["name"], "part": "value"})
        if is_forest and entry["has_indicator"]:
            blocks.append(is_missing.astype(float)[:, None])
            columns.append({"input": entry["name"], "part": "missing"})
    design = np.hstack(blocks)
    constraints = [monotone.get(c["input"], 0) if c["part"] == "value" else 0 for c in columns]
    options: dict[str, Any] = {"random_state": seed, "monotonic_cst": constraints}
    model: dict[str, Any] = {
        "columns": columns,
        "is_filled": is_forest,
        "is_mean": is_forest,
        "is_single_precision": is_forest,
        "baseline": 0.0,
    }
    if is_forest:
        maker = RandomForestClassifier if kind == "binary" else RandomForestRegressor
        forest = maker(**_FOREST, **options, max_features="sqrt", n_jobs=1).fit(design, label)
        model["trees"] = [
            _forest_tree(tree.tree_, kind, len(forest.estimators_)) for tree in forest.estimators_
        ]
        return model
    if kind == "binary":
        boosted = HistGradientBoostingClassifier(**_BOOSTING, **options, early_stopping=False)
        boosted.fit(design, label.astype(int))
        shift = 0.0
    else:
        unit = float(label.mean())
        boosted = HistGradientBoostingRegressor(
            **_BOOSTING, **options, early_stopping=False, loss="poisson"
        )
        boosted.fit(design, label / unit)
        shift = float(np.log(unit))
    model["baseline"] = float(np.ravel(boosted._baseline_prediction)[0]) + shift
    model["trees"] = [_boosted_tree(step[0].nodes) for step in boosted._predictors]
    return model


def _boosted_tree(nodes: Any) -> dict[str, Any]:
    """Arrays of a tree; an inner node's value is what its customers get on average."""
    is_leaf = nodes["is_leaf"].astype(bool)
    value = nodes["value"].astype(float)
    count = nodes["count"].astype(float)
    for node in range(len(nodes) - 1, -1, -1):
        if not is_leaf[node]:
            left, right = int(nodes["left"][node]), int(nodes["right"][node])
            value[node] = (count[left] * value[left] + count[right] * value[right]) / count[node]
    thresholds = nodes["num_threshold"].astype(float)
    return {
        "feature": [
            -1 if leaf else int(f) for leaf, f in zip(is_leaf, nodes["feature_idx"], strict=True)
        ],
        # An endless threshold parts the missing from all others.
        "threshold": [float(t) if np.isfinite(t) else None for t in thresholds],
        "missing_left": [int(v) for v in nodes["missing_go_to_left"]],
        "left": [int(v) for v in nodes["left"]],
        "right": [int(v) for v in nodes["right"]],
        "value": [float(v) for v in value],
    }


def _forest_tree(tree: Any, kind: str, n_trees: int) -> dict[str, Any]:
    value = tree.value[:, 0, 1] if kind == "binary" else tree.value[:, 0, 0]
    return {
        "feature": [max(int(f), -1) for f in tree.feature],
        "threshold": [float(t) for t in tree.threshold],
        "missing_left": [0] * tree.node_count,
        "left": [int(v) for v in tree.children_left],
        "right": [int(v) for v in tree.children_right],
        "value": [float(v) / n_trees for v in value],
    }


FITTERS: dict[str, Callable[..., dict[str, Any]]] = {
    "logistic": _linear,
    "additive": _additive,
    "boosting": _trees,
    "forest": functools.partial(_trees, is_forest=True),
}
