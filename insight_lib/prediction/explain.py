"""What drives a model, and what drove one customer's score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from insight_lib.findings import Estimate, TooFew
from insight_lib.prediction.scorer import explain
from insight_lib.prose import Name
from insight_lib.statistics import estimate_ratio

_MOST_NAMES = 3
_WORDS = {
    "days_since_last_order": "days since the last order",
    "n_orders": "number of orders",
    "n_order_days": "days with an order",
    "mean_gap_days": "usual days between orders",
    "gap_ratio": "lateness against their own rhythm",
    "revenue_amount": "spend",
    "mean_order_amount": "spend per order",
    "n_orders_recent": "orders in the last weeks",
    "n_orders_before": "orders in the weeks before",
    "revenue_recent_amount": "spend in the last weeks",
    "revenue_before_amount": "spend in the weeks before",
    "discount_share": "share bought at a discount",
    "coupon_share": "share paid with coupons",
    "returned_share": "share sent back",
    "n_categories": "number of departments bought",
    "top_category": "main department",
    "top_category_share": "share of the main department",
    "weekend_share": "share ordered at weekends",
    "tenure_days": "days as a customer",
    "is_new": "being new",
    "n_events_recent": "visits and clicks in the last weeks",
    "n_events_before": "visits and clicks in the weeks before",
    "days_to_renewal": "days until the yearly renewal",
    "monthly_amount": "monthly fee",
    "seat_amount": "fee per seat",
    "n_paid_late": "payments made late",
    "n_unpaid": "unpaid bills",
}


@dataclass(frozen=True, kw_only=True)
class Driver:
    """One input of a model and its share of what moves the scores.

    Attributes:
        direction: +1 where more of it goes with a higher score, -1 lower, 0 neither or a text.
    """

    name: str
    words: str
    share: Estimate
    direction: int


def in_words(name: str) -> str:
    """A feature as a reader calls it."""
    return _WORDS.get(name, name.removeprefix("n_").replace("_", " "))


@dataclass(frozen=True, kw_only=True)
class Named:
    """Names as they stand in a sentence; after a few, how many more."""

    names: tuple[Name, ...]
    more: int

    @property
    def has_more(self) -> bool:
        return self.more > 0


def named(names: Sequence[str]) -> dict[str, Any]:
    """The fields of `Named`, of features by their names in the data."""
    shown = tuple(Name(in_words(name)) for name in names[:_MOST_NAMES])
    return {"names": shown, "more": len(names) - len(shown)}


def estimate_drivers(
    document: Mapping[str, Any], features: pd.DataFrame, *, as_of: date, level: float = 0.95
) -> list[Driver]:
    """Share of each input in the mean size of all contributions, the largest first.

    Args:
        features: Customers whom the model has not seen in training.

    Raises:
        TooFew: Fewer than two customers, or a model that gives all the same score.
    """
    names, contribution = explain(document, features)
    size = np.abs(contribution)
    if len(size) < 2 or not size.sum():
        raise TooFew("the model gives every customer the same score")
    drivers = []
    for column, name in enumerate(names):
        drivers.append(
            Driver(
                name=name,
                words=in_words(name),
                share=estimate_ratio(
                    size[:, column], size.sum(axis=1), unit="share", as_of=as_of, level=level
                ),
                direction=_direction(features[name], contribution[:, column]),
            )
        )
    return sorted(drivers, key=lambda d: (-d.share.value, d.name))


def explain_rows(
    document: Mapping[str, Any], features: pd.DataFrame, *, top: int = 3
) -> list[list[tuple[str, float, str]]]:
    """Per customer, the inputs that moved the score most.

    Returns:
        For each row of `features` up to `top` of (name, contribution, words), the largest
        contribution first; inputs that moved nothing are left out. The scale is that of
        `scorer.explain`.
    """
    names, contribution = explain(document, features)
    values = {name: features[name].to_numpy(dtype=object) for name in names}
    order = np.argsort(-np.abs(contribution), axis=1, kind="stable")[:, :top]
    return [
        [
            (
                names[column],
                float(contribution[row, column]),
                _phrase(names[column], values[names[column]][row], contribution[row, column]),
            )
            for column in columns
            if contribution[row, column] != 0
        ]
        for row, columns in enumerate(order)
    ]


def _phrase(name: str, value: Any, contribution: float) -> str:
    effect = "raises the score" if contribution > 0 else "lowers the score"
    if isinstance(value, str):
        return f"{in_words(name)} is {value}: {effect}"
    if value is None or not np.isfinite(value):
        return f"{in_words(name)} not known: {effect}"
    return f"{in_words(name)} is {_short(name, float(value))}: {effect}"


def _short(name: str, value: float) -> str:
    if name.endswith("_share"):
        return f"{value * 100:.0f}%"
    return f"{value:,.0f}" if abs(value) >= 10 or value.is_integer() else f"{value:.1f}"


def _direction(column: pd.Series, contribution: Sequence[float] | Any) -> int:
    if not pd.api.types.is_numeric_dtype(column):
        return 0
    x, c = column.to_numpy(dtype=float), np.asarray(contribution)
    is_known = np.isfinite(x)
    if is_known.sum() < 3 or not np.ptp(x[is_known]) or not np.ptp(c[is_known]):
        return 0
    ranks = [pd.Series(v[is_known]).rank().to_numpy() for v in (x, c)]
    r = float(np.corrcoef(ranks[0], ranks[1])[0, 1])
    return 0 if abs(r) < 0.3 else (1 if r > 0 else -1)
