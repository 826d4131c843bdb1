"""What money brought, line by line, and how to divide the next budget."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum

import numpy as np
import pandas as pd

from insight_lib.findings import Estimate, TooFew
from insight_lib.impact.effects import FEWEST_PER_ARM, Metric, estimate_effect, standard_error


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
        unit="return",
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
            found.append(
                return_of_change(
                    effect.change, line=test, cost_amount=costs[test], margin_share=margin_share
                )
            )
    if not found:
        raise TooFew("no test says what a contact costs")
    return tuple(found)


def return_of_change(
    change: Estimate, *, line: str, cost_amount: float, margin_share: float
) -> Return:
    """The return of one contact, from the change of spend that it brought.

    Args:
        change: Of spend per customer, contacted less left alone.
        cost_amount: Of one contact.

    Raises:
        TooFew: It cost nothing.
    """
    brought = replace(
        change,
        value=change.value * margin_share,
        lower=change.lower * margin_share,
        upper=change.upper * margin_share,
    )
    return estimate_return(brought, line=line, cost_amount=cost_amount)


def return_of_model(
    gain_per_customer: Estimate, *, line: str, n_customers: int, cost_amount: float
) -> Return:
    """The return of a model that chooses whom to contact.

    Args:
        gain_per_customer: Value of its rule less that of contacting everyone, per customer of
            the market, contact costs counted (`uplift.TargetingRule.against_all`).
        n_customers: Customers it is used on.
        cost_amount: Of building and running it, over that use.

    Raises:
        TooFew: It cost nothing.
    """
    gain = replace(
        gain_per_customer,
        value=gain_per_customer.value * n_customers,
        lower=gain_per_customer.lower * n_customers,
        upper=gain_per_customer.upper * n_customers,
    )
    return estimate_return(gain, line=line, cost_amount=cost_amount)


def returns_by_group(
    frame: pd.DataFrame,
    metric: Metric,
    *,
    group: str,
    cost_amount: float,
    margin_share: float,
    as_of: date,
    seed: int,
    level: float = 0.95,
) -> tuple[Return, ...]:
    """The return of one test in each group of customers, all groups judged together.

    Ranges are widened for the number of groups (Bonferroni), so that the best of many groups
    is not funded by luck. Groups with fewer than thirty customers in an arm are left out.

    Args:
        frame: One row per customer of the test, `group` known before it.
        cost_amount: Of one contact.

    Raises:
        TooFew: No group is large enough, or a contact costs nothing.
    """
    sizes = frame.groupby([group, "is_treated"]).size().unstack(fill_value=0)
    names = [str(name) for name in sizes.index[sizes.min(axis=1) >= FEWEST_PER_ARM]]
    if not names or sizes.shape[1] < 2:
        raise TooFew(f"no group has {FEWEST_PER_ARM} customers in both arms")
    parts = {name: frame[frame[group].astype(str) == name] for name in sorted(names)}
    return returns_of_tests(
        parts,
        dict.fromkeys(parts, cost_amount),
        metric,
        margin_share=margin_share,
        as_of=as_of,
        seed=seed,
        level=1 - (1 - level) / len(parts),
    )


class Use(StrEnum):
    """What a line's part of the budget is for."""

    KEEP = "keep"
    TEST = "test"
    NOTHING = "nothing"


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """One line's part of the next budget.

    Attributes:
        share: Of the budget: the chance that it is the best use, spending nothing among them;
            0 for a dominated line.
        use: Kept where it won and surely pays; else its part goes into the next test of it.
    """

    line: str
    share: float
    amount: float
    use: Use


@dataclass(frozen=True, kw_only=True)
class Split:
    """A budget divided; the lines' shares and `nothing_share` add up to one."""

    parts: tuple[Allocation, ...]
    nothing_share: float
    n: int


def split_budget(
    returns: Sequence[Return],
    *,
    budget_amount: float,
    seed: int,
    released: Collection[str] = (),
    n_draws: int = 20_000,
) -> Split:
    """Divide a budget by each line's chance of being its best use (Thompson, 1933).

    Spending nothing is a line too, with a return of nothing for sure. Lines that may be rolled
    out and surely pay are kept; the part of any other line is paid to learn, in its next test,
    the larger the less is known. A line that another use beats without doubt (its upper end
    below the other's lower end), or that is to be stopped, gets nothing.

    Args:
        released: Lines whose test may be rolled out.

    Raises:
        TooFew: There is no line.
    """
    if not returns:
        raise TooFew("there is no line of spending")
    best_lower = max(0.0, *(r.roi.lower for r in returns))
    open_lines = [r for r in returns if r.advice is not Advice.STOP and r.roi.upper >= best_lower]
    rng = np.random.default_rng(seed)
    middle = np.array([0.0, *(r.roi.value for r in open_lines)])
    spread = np.array([0.0, *(standard_error(r.roi) for r in open_lines)])
    drawn = middle + spread * rng.standard_normal((n_draws, len(middle)))
    chances = np.bincount(drawn.argmax(axis=1), minlength=len(middle)) / n_draws
    chance = dict(zip([r.line for r in open_lines], chances[1:], strict=True))

    def part(r: Return) -> Allocation:
        share = float(chance.get(r.line, 0.0))
        use = Use.NOTHING
        if share > 0:
            is_kept = r.advice is Advice.INVEST and r.line in released
            use = Use.KEEP if is_kept else Use.TEST
        return Allocation(line=r.line, share=share, amount=share * budget_amount, use=use)

    return Split(
        parts=tuple(part(r) for r in returns),
        nothing_share=float(chances[0]),
        n=returns[0].roi.n,
    )
