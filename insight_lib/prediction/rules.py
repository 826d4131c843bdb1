"""The business rule that every model must beat: one thing known of a customer, in bins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from insight_lib.findings import TooFew
from insight_lib.statistics import Floats

# What a buyer's own rule of thumb looks at, the most telling first.
_DRIVERS = {
    "lapse": ("gap_ratio", "days_since_last_order"),
    "churn": ("days_to_renewal", "n_unpaid", "tenure_days"),
    "repeat": ("days_since_last_order", "revenue_amount"),
    "category": ("n_categories", "n_orders_recent"),
    "value": ("revenue_recent_amount", "revenue_amount"),
}
_BINS = 6
_PRIOR_ROWS = 10  # weight of the overall rate in the rate of a bin


def choose_driver(features: pd.DataFrame, label: Floats, *, target: str) -> str:
    """The number that the rule looks at.

    Returns:
        The first declared one that there is, else the one that ranks the label best.

    Raises:
        TooFew: There is no number at all.
    """
    numbers = [c for c in features.columns if pd.api.types.is_numeric_dtype(features[c])]
    for name in _DRIVERS.get(target, ()):
        if name in numbers and features[name].nunique() > 1:
            return name
    if not numbers:
        raise TooFew("no column of numbers for a rule to look at")
    ranks = rankdata(label)

    def strength(name: str) -> float:
        column = features[name].fillna(features[name].median()).to_numpy()
        if not np.ptp(column) or not np.ptp(ranks):
            return 0.0
        return abs(float(np.corrcoef(rankdata(column), ranks)[0, 1]))

    return max(sorted(numbers), key=strength)


def fit_rule(
    features: pd.DataFrame,
    label: Floats,
    *,
    kind: Literal["binary", "amount"],
    driver: str,
    monotone: int = 0,
) -> dict[str, Any]:
    """The rule as the `model` of a document.

    A share is the rate of the driver's bin. An amount is recent revenue times the ratio of
    totals, so that the rule's total is the total it was made from.

    Args:
        monotone: +1 or -1: rates of neighbouring bins that break the order are pooled
            (isotonic regression; Ayer et al., 1955); an amount then goes by bins as well.
    """
    x = features[driver].to_numpy(dtype=float)
    average = float(label.mean())
    missing = _shrunk(label[np.isnan(x)], average)
    if kind == "amount" and not monotone:
        is_positive = x > 0
        total = float(x[is_positive].sum())
        return {
            "driver": driver,
            "scale": float(label[is_positive].sum()) / total if total else 0.0,
            "otherwise": _shrunk(label[~is_positive & ~np.isnan(x)], average),
            "missing": missing,
            "average": average,
        }
    known = x[~np.isnan(x)]
    inner = np.quantile(known, np.arange(1, _BINS) / _BINS) if len(known) else np.array([])
    edges = np.unique(inner)
    bins = np.searchsorted(edges, x, side="right")
    groups = [label[(bins == b) & ~np.isnan(x)] for b in range(len(edges) + 1)]
    values = [_shrunk(group, average) for group in groups]
    if monotone:
        from sklearn.isotonic import isotonic_regression

        sizes = [len(g) + _PRIOR_ROWS for g in groups]
        fitted = isotonic_regression(values, sample_weight=sizes, increasing=monotone > 0)
        values = [float(v) for v in fitted]
    return {
        "driver": driver,
        "edges": [float(e) for e in edges],
        "values": values,
        "missing": missing,
        "average": average,
    }


def _shrunk(values: Floats | Sequence[float], average: float) -> float:
    return float((np.sum(values) + _PRIOR_ROWS * average) / (len(values) + _PRIOR_ROWS))
