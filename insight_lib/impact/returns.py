"""What money brought, line by line, and how to divide the next budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum

import numpy as np
import pandas as pd
from scipy import stats

from insight_lib.findings import Estimate, TooFew
from insight_lib.impact.effects import Metric, estimate_effect


class Advice(StrEnum):
    """What to do with a line of spending."""

    INVEST = "invest"
    HOLD = "hold"
    STOP = "stop"


@dataclass(frozen=True, kw_only=True)
class Return:
    """One line's return.

    Attributes:
        roi: Value less cost over cost, as a share: 0 means that it paid itself back.
    """

    line: str
    roi: Estimate
    cost_amount: float
    advice: Advice


def estimate_return(
    value: Estimate, *, line: str, cost_amount: float, required: float = 0.0
) -> Return:
    """Return on one model, campaign or segment: invest, hold or stop.

    Invest if the whole range clears what is required, stop if the whole range falls short,
    else hold: a wide range is no reason to spend more.

    Args:
        value: Margin that it brought, before its cost, with its interval.
        cost_amount: What it cost, in the same currency.
        required: Return that the company asks for, as a share.

    Raises:
        TooFew: It cost nothing, so that there is no return on it.
    """
    if cost_amount <= 0:
        raise TooFew(f"{line} has no cost to compare its value with")
    roi = Estimate(
        value=value.value / cost_amount - 1,
        lower=value.lower / cost_amount - 1,
        upper=value.upper / cost_amount - 1,
        unit="share",
        n=value.n,
        as_of=value.as_of,
        level=value.level,
        method=value.method,
    )
    advice = Advice.HOLD
    if roi.lower > required:
        advice = Advice.INVEST
    elif roi.upper < required:
        advice = Advice.STOP
    return Return(line=line, roi=roi, cost_amount=cost_amount, advice=advice)


def returns_of_tests(
    frames: Mapping[str, pd.DataFrame],
    costs: Mapping[str, float],
    metric: Metric,
    *,
    margin_share: float,
    as_of: date,
    seed: int,
    level: float = 0.95,
) -> tuple[Return, ...]:
    """The return of each test drawn by lot, from what it added to spend.

    Args:
        frames: Test by name, as from `inputs.campaign_frame`.
        costs: Cost of one contact, by test; tests without one are left out.
        metric: Spend per customer.

    Raises:
        TooFew: No test has a cost.
    """
    found = []
    for test, frame in frames.items():
        if costs.get(test, 0.0) > 0:
            effect = estimate_effect(
                frame, metric, arm="contacted", as_of=as_of, seed=seed, level=level
            )
            brought = replace(
                effect.change,
                value=effect.change.value * margin_share,
                lower=effect.change.lower * margin_share,
                upper=effect.change.upper * margin_share,
            )
            found.append(estimate_return(brought, line=test, cost_amount=costs[test]))
    if not found:
        raise TooFew("no test says what a contact costs")
    return tuple(found)


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """One line's part of the next budget.

    Attributes:
        share: Of the budget, and its chance of being the best line; 0 for a dominated one.
        is_exploring: It is not the best by its middle; its part is paid to learn.
    """

    line: str
    share: float
    amount: float
    is_exploring: bool


def split_budget(
    returns: Sequence[Return], *, budget_amount: float, seed: int, n_draws: int = 20_000
) -> tuple[Allocation, ...]:
    """Divide a budget by each line's chance of being the best (Thompson, 1933).

    Lines that are known well and pay are sustained; lines that may be the best but are known
    badly get a part for learning, the larger the less is known. A line that another beats
    without doubt (its upper end below the other's lower end), or that is to be stopped, gets
    nothing.

    Raises:
        TooFew: There is no line, or all are to be stopped.
    """
    best_lower = max((r.roi.lower for r in returns), default=-np.inf)
    open_lines = [r for r in returns if r.advice is not Advice.STOP and r.roi.upper >= best_lower]
    if not open_lines:
        raise TooFew("no line of spending is worth going on with")
    rng = np.random.default_rng(seed)
    middle = np.array([r.roi.value for r in open_lines])
    spread = np.array([_standard_error(r.roi) for r in open_lines])
    drawn = middle + spread * rng.standard_normal((n_draws, len(open_lines)))
    chances = np.bincount(drawn.argmax(axis=1), minlength=len(open_lines)) / n_draws
    chance = dict(zip([r.line for r in open_lines], chances, strict=True))
    leader = max(open_lines, key=lambda r: (r.roi.value, r.line)).line
    return tuple(
        Allocation(
            line=r.line,
            share=float(chance.get(r.line, 0.0)),
            amount=float(chance.get(r.line, 0.0)) * budget_amount,
            is_exploring=r.line != leader and chance.get(r.line, 0.0) > 0,
        )
        for r in returns
    )


def _standard_error(estimate: Estimate) -> float:
    quantile = float(stats.norm.ppf(0.5 + estimate.level / 2))
    return (estimate.upper - estimate.lower) / 2 / quantile
