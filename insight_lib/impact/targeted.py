"""Chosen, not drawn: what a campaign did to the customers someone picked for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from insight_lib.findings import Estimate, TooFew
from insight_lib.impact.effects import difference
from insight_lib.statistics import estimate_ratio

Floats = NDArray[np.float64]
_FEWEST = 50


@dataclass(frozen=True, kw_only=True)
class Targeted:
    """Chosen against not chosen, before and after the choice is taken into account.

    Attributes:
        naive: Plain difference of outcomes; holds the choice as well as the effect.
        selection: How much more the chosen had already spent in the window before.
        adjusted: Difference where both could have been chosen, pre-period taken out.
        placebo: The same method, with the same windows taken out, on an older window, when
            nothing had been sent; its interval should hold zero. Whatever lasting trait the
            choice went by and the windows do not show, it shows on both sides of them.
        overlap_share: Share of the chosen who have alike among those not chosen.
        n_chosen, n_other: Customers.
    """

    naive: Estimate
    selection: Estimate
    adjusted: Estimate
    placebo: Estimate
    overlap_share: float
    n_chosen: int
    n_other: int

    @property
    def is_explained(self) -> bool:
        """Whether the method finds nothing where nothing was sent."""
        return not self.placebo.excludes(0)


def overlap_weights(x: Floats, chosen: Floats) -> tuple[Floats, Floats]:
    """Chance to be chosen, and the chance of the other group as weight.

    Weighted means of every column of `x` are then alike in both groups (Li et al., 2018).

    Args:
        x: One row per customer, columns of like scale.
        chosen: 1 or 0.
    """
    model = LogisticRegression(C=100.0, solver="newton-cholesky").fit(x, chosen)
    score = np.asarray(model.predict_proba(x)[:, 1], dtype=float)
    return score, np.where(chosen == 1, 1 - score, score)


def _adjusted(
    frame: pd.DataFrame, outcome: str, history: Sequence[str], **common: Any
) -> tuple[Estimate, Floats]:
    """Overlap weights on a logistic score, then a weighted regression on the history.

    Overlap weights (Li, Morgan and Zaslavsky, 2018, JASA) make both groups alike on the
    history exactly and give most weight to those who could have gone either way. The
    regression on the same history makes it safe if either of the two is right.
    """
    chosen = frame["is_chosen"].to_numpy(dtype=float)
    levels = frame[list(history)].to_numpy(dtype=float)
    x = np.column_stack([np.log1p(np.clip(levels, 0, None)), levels])
    spread = x.std(axis=0)
    x = (x - x.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    score, weights = overlap_weights(x, chosen)
    design = np.column_stack([np.ones(len(x)), chosen, x])
    root = np.sqrt(weights)[:, None]
    y = frame[outcome].to_numpy(dtype=float)
    bread = np.linalg.pinv((design * root).T @ (design * root))
    slopes = bread @ (design.T @ (weights * y))
    residual = y - design @ slopes
    # Robust to unequal noise (White, 1980), as one influence per customer.
    influence = (design @ bread[1]) * weights * residual * len(y)
    estimate = estimate_ratio(influence + slopes[1], np.ones(len(y)), **common)
    return estimate, score


def estimate_targeted(
    frame: pd.DataFrame,
    *,
    history: Sequence[str],
    unit: str,
    as_of: date,
    level: float = 0.95,
) -> Targeted:
    """Compare chosen and not chosen customers, with the choice named and taken out.

    Args:
        frame: One row per customer: `is_chosen`, `after` (outcome in the window), `before`
            (the window just before), and `history`: windows before that, latest first.
        history: At least one column; the oldest is the placebo's outcome.

    Raises:
        TooFew: Fewer than fifty customers chosen or not chosen.
    """
    chosen = frame["is_chosen"].to_numpy(dtype=bool)
    n_chosen, n_other = int(chosen.sum()), int((~chosen).sum())
    if min(n_chosen, n_other) < _FEWEST:
        raise TooFew(
            f"{n_chosen:,} customers chosen and {n_other:,} not; it takes {_FEWEST} of each"
        )
    common: dict[str, Any] = {"unit": unit, "as_of": as_of, "level": level}
    # Estimate and placebo take out the same windows: one looks ahead, the other back.
    recent = ["before", *history[:-1]]
    adjusted, score = _adjusted(frame, "after", recent, **common)
    placebo, _ = _adjusted(frame, history[-1], recent, **common)
    low, high = np.quantile(score[~chosen], [0.01, 0.99])
    return Targeted(
        naive=_plain(frame, "after", **common),
        selection=_plain(frame, "before", **common),
        adjusted=adjusted,
        placebo=placebo,
        overlap_share=float(((score[chosen] >= low) & (score[chosen] <= high)).mean()),
        n_chosen=n_chosen,
        n_other=n_other,
    )


def _plain(frame: pd.DataFrame, column: str, **common: Any) -> Estimate:
    chosen = frame["is_chosen"].astype(bool)
    levels = [
        estimate_ratio(part[column].to_numpy(dtype=float), np.ones(len(part)), **common)
        for part in (frame[chosen], frame[~chosen])
    ]
    return difference(*levels)
