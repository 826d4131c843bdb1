"""What a test may not cost: guard-rails that must stay within a declared margin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Literal

import numpy as np
import pandas as pd

from insight_lib.findings import Estimate, TooFew, Verdict
from insight_lib.impact.effects import Effect, Metric, estimate_effect
from insight_lib.impact.stratification import estimate_stratified

RETURNED, TAKEN_OFF = "share of sales returned", "share taken off the list price"
ORDERS, REFUSED = "orders per customer", "share who refuse contact"
USUAL = (RETURNED, TAKEN_OFF, ORDERS, REFUSED)


@dataclass(frozen=True, kw_only=True)
class GuardRail:
    """One metric that a test may not harm.

    Attributes:
        metric: What is guarded; its `smallest_change_that_matters` is the margin, the largest
            harm that the company accepts, in the metric's unit.
        worse: The direction that does harm.
    """

    metric: Metric
    worse: Literal["up", "down"]

    @property
    def margin(self) -> float:
        return self.metric.smallest_change_that_matters


@dataclass(frozen=True, kw_only=True)
class GuardResult:
    """One guard-rail judged.

    Attributes:
        harm: Change in the direction that does harm; each end of its interval is a one-sided
            bound that holds at `level`.
        verdict: `PASS` if surely less harm than the margin, `FAIL` if surely more, else
            `CANNOT_TELL`.
    """

    rail: GuardRail
    effect: Effect
    harm: Estimate
    level: float
    verdict: Verdict


def check_guard_rail(
    frame: pd.DataFrame,
    rail: GuardRail,
    *,
    as_of: date,
    seed: int,
    level: float = 0.95,
    stratum: str | None = None,
) -> GuardResult:
    """Test that harm is less than the margin: non-inferiority (ICH E9, 1998; Wellek, 2010).

    Args:
        frame: One row per customer: `is_treated` and the metric's columns.
        level: Of each one-sided bound.
        stratum: Column within which arms are compared, where the lottery had shares of its own
            there.

    Raises:
        TooFew: An arm has fewer than thirty customers, or a ratio is to be compared by stratum.
    """
    effect = estimate_effect(
        frame, rail.metric, arm="contacted", as_of=as_of, seed=seed, level=2 * level - 1
    )
    if stratum is not None:
        if rail.metric.kind == "ratio":
            raise TooFew(f"{rail.metric.name} is a ratio of totals and has no mean by stratum")
        within = estimate_stratified(
            frame, rail.metric, stratum=stratum, as_of=as_of, level=2 * level - 1
        )
        effect = replace(effect, change=within.change)
    harm = effect.change if rail.worse == "up" else _turned(effect.change)
    verdict = Verdict.CANNOT_TELL
    if harm.upper < rail.margin:
        verdict = Verdict.PASS
    elif harm.lower > rail.margin:
        verdict = Verdict.FAIL
    return GuardResult(rail=rail, effect=effect, harm=harm, level=level, verdict=verdict)


def _turned(change: Estimate) -> Estimate:
    """The same change seen from the other side: a fall as a rise."""
    return replace(change, value=-change.value, lower=-change.upper, upper=-change.lower)


def check_guard_rails(
    frame: pd.DataFrame,
    rails: Sequence[GuardRail],
    *,
    as_of: date,
    seed: int,
    level: float = 0.95,
    stratum: str | None = None,
) -> tuple[GuardResult, ...]:
    """Every guard-rail that the data allow to judge, in the order given.

    Raises:
        TooFew: None can be judged.
    """
    found, reasons = [], []
    for rail in rails:
        try:
            found.append(
                check_guard_rail(frame, rail, as_of=as_of, seed=seed, level=level, stratum=stratum)
            )
        except TooFew as error:
            reasons.append(f"{rail.metric.name}: {error}")
    if not found:
        raise TooFew("; ".join(reasons) or "no guard-rail is declared")
    return tuple(found)


def judge_release(is_won: bool, guards: Sequence[GuardResult]) -> Verdict:
    """Whether to roll out: `PASS` only for a test that won and passes every guard-rail.

    Intersection-union (Berger, 1982): if one rail is truly beyond its margin, all can pass
    only where that one wrongly does, so the chance of a wrong release is at most that of a
    single rail, however many there are. The price is paid on the other side: more rails make
    a wrong "not yet" likelier.
    """
    endings = {guard.verdict for guard in guards}
    if Verdict.FAIL in endings:
        return Verdict.FAIL
    return Verdict.PASS if is_won and endings == {Verdict.PASS} else Verdict.CANNOT_TELL


def add_guard_columns(frame: pd.DataFrame, sums: pd.DataFrame) -> pd.DataFrame:
    """Add what is returned, sold and taken off per customer; nothing where none is known.

    Args:
        frame: One row per customer of the test.
        sums: As from `inputs.guard_sums`, over the test's window.
    """
    sums = sums.set_index("customer_id").reindex(frame["customer_id"]).fillna(0.0)
    columns = ("returned_amount", "sold_amount", "discount_amount", "list_amount")
    # More cannot come back than was sold in the window: the rest belongs to earlier sales.
    sums["returned_amount"] = sums["returned_amount"].clip(upper=sums["sold_amount"])
    return frame.assign(**{c: sums[c].to_numpy(dtype=float) for c in columns})


def usual_guard_rails(
    frame: pd.DataFrame,
    *,
    most_returns_rise: float,
    most_discount_rise: float,
    most_orders_fall: float,
    most_refusals_rise: float,
) -> tuple[GuardRail, ...]:
    """Returns, discounts, orders, and refusals of contact, as far as the frame holds them.

    Args:
        frame: As from `inputs.campaign_frame` and `add_guard_columns`.
        most_orders_fall: As a share of what control ordered, or all where control ordered
            nothing; the others are shares themselves.
    """
    control = frame[~frame["is_treated"].astype(bool)]
    rails: list[GuardRail] = []
    for column, per, name, margin in (
        ("returned_amount", "sold_amount", RETURNED, most_returns_rise),
        ("discount_amount", "list_amount", TAKEN_OFF, most_discount_rise),
    ):
        if column in frame and frame[column].gt(0).any():  # else it is not recorded here
            metric = Metric(
                column=column,
                name=name,
                kind="ratio",
                unit="share",
                per=per,
                smallest_change_that_matters=margin,
            )
            rails.append(GuardRail(metric=metric, worse="up"))
    ordered = float(np.mean(control["orders"])) if len(control) else 0.0
    if not ordered > 0 and len(frame):  # nobody left alone ordered: of what all ordered
        ordered = float(np.mean(frame["orders"]))
    if ordered > 0:
        orders = Metric(
            column="orders",
            name=ORDERS,
            kind="mean",
            unit="ratio",
            before="orders_before",
            smallest_change_that_matters=most_orders_fall * ordered,
        )
        rails.append(GuardRail(metric=orders, worse="down"))
    if "has_refused" in frame:
        refused = Metric(
            column="has_refused",
            name=REFUSED,
            kind="share",
            unit="share",
            smallest_change_that_matters=most_refusals_rise,
        )
        rails.append(GuardRail(metric=refused, worse="up"))
    return tuple(rails)
