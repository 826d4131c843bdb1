"""What a treatment changed, from arms drawn by lot: shares, means, ratios, heavy tails."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from insight_lib.findings import Estimate, TooFew, unit_of_difference
from insight_lib.statistics import benjamini_hochberg, estimate_ratio, estimate_share, p_value

Floats = NDArray[np.float64]
Kind = Literal["share", "mean", "ratio", "heavy"]
FEWEST_PER_ARM = 30


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What is compared between arms.

    Attributes:
        column: One number per customer; 0 or 1 for a share.
        name: What it is, in words, as it stands in a sentence.
        kind: `share`, `mean`, `ratio` (of `column` to `per`), or `heavy`: a mean that a few
            customers carry.
        unit: Unit of the metric's level.
        per: Denominator of a ratio, one number per customer.
        before: The same number before the assignment, if known.
        smallest_change_that_matters: In the metric's unit.
    """

    column: str
    name: str
    kind: Kind
    unit: str
    smallest_change_that_matters: float
    per: str | None = None
    before: str | None = None


@dataclass(frozen=True, kw_only=True)
class Effect:
    """Treated against control on one metric.

    Attributes:
        change: Treated less control; with the pre-period taken out where that is known.
        raw_change: The same without the pre-period.
        variance_removed: Share of the variance that the pre-period took away (0 if unknown).
        stands: Whether it stands when everything of the test is judged together.
    """

    metric: Metric
    arm: str
    treated: Estimate
    control: Estimate
    change: Estimate
    raw_change: Estimate
    p_value: float
    variance_removed: float = 0.0
    stands: bool = False


def difference(treated: Estimate, control: Estimate) -> Estimate:
    """Difference of two independent estimates, from their own intervals.

    Method of variance estimates recovery (Zou and Donner, 2008, Statistics in Medicine);
    with Wilson intervals it is Newcombe's interval (1998) for two shares.
    """
    value = treated.value - control.value
    below = math.hypot(treated.value - treated.lower, control.upper - control.value)
    above = math.hypot(treated.upper - treated.value, control.value - control.lower)
    return replace(
        treated,
        value=value,
        lower=value - below,
        upper=value + above,
        unit=unit_of_difference(treated.unit),
        n=treated.n + control.n,
        method=f"difference of two arms (Zou and Donner, 2008); {treated.method}",
    )


def standard_error(estimate: Estimate) -> float:
    """Read off a normal interval."""
    quantile = float(stats.norm.ppf(0.5 + estimate.level / 2))
    return (estimate.upper - estimate.lower) / 2 / quantile


def estimate_level(
    frame: pd.DataFrame, metric: Metric, *, as_of: date, level: float, is_plain: bool = False
) -> Estimate:
    """The metric in one arm: Wilson for a share, delta method over customers for the rest.

    Args:
        is_plain: Not on the scale of logarithms, for the difference of two means (Welch, 1947).

    Raises:
        TooFew: Fewer than thirty customers.
    """
    if len(frame) < FEWEST_PER_ARM:
        raise TooFew(f"{len(frame)} customers in an arm, and it takes {FEWEST_PER_ARM}")
    values = frame[metric.column].to_numpy(dtype=float)
    if metric.kind == "share":
        return estimate_share(int(values.sum()), len(values), as_of=as_of, level=level)
    per = frame[metric.per].to_numpy(dtype=float) if metric.per else np.ones(len(values))
    return estimate_ratio(
        values, per, unit=metric.unit, as_of=as_of, level=level, is_plain=is_plain
    )


def pooled_p_value(treated: Estimate, control: Estimate) -> float:
    """Two-sided p-value of equal shares, with the share pooled under no difference."""
    pooled = (treated.value * treated.n + control.value * control.n) / (treated.n + control.n)
    error = math.sqrt(pooled * (1 - pooled) * (1 / treated.n + 1 / control.n))
    if error == 0:
        return 1.0
    return float(2 * stats.norm.sf(abs(treated.value - control.value) / error))


def adjust_for_before(
    values: Floats, before: Floats, is_treated: NDArray[np.bool_]
) -> tuple[Floats, float]:
    """Take out of each customer's value what the pre-period foretold (CUPED).

    Deng, Xu, Kohavi and Walker (2013, WSDM). The slope is that within arms, so that the
    effect itself cannot bend it; the pre-period is centred on all, so levels stay readable.

    Returns:
        Adjusted values, and the share of the variance within arms that went.
    """
    centred_values, centred_before = values.copy(), before.astype(float)
    for arm in (is_treated, ~is_treated):
        centred_values[arm] -= values[arm].mean()
        centred_before[arm] -= before[arm].mean()
    spread = float(np.square(centred_before).sum())
    if spread == 0:
        return values, 0.0
    slope = float(centred_before @ centred_values) / spread
    total = float(np.square(centred_values).sum())
    removed = slope**2 * spread / total if total else 0.0
    return values - slope * (before - before.mean()), removed


def bootstrap_difference(
    treated: Floats, control: Floats, *, level: float, seed: int, n_draws: int = 2000
) -> tuple[float, float]:
    """Bounds of a difference of means that a few customers carry.

    Symmetric bootstrap-t (Hall, 1988, JRSS B): each draw is divided by its own error, and the
    larger of both sides counts. Bounds that lean to the long tail (equal-tailed) hold the
    truth in 90 to 93 of 100 tests where spend has a Pareto tail of 2.2; these in 92 to 95.
    Equal values are drawn together, as counts.
    """
    rng = np.random.default_rng(seed)

    def draw(values: Floats) -> tuple[Floats, Floats]:
        distinct, counts = np.unique(values, return_counts=True)
        n = len(values)
        drawn = rng.multinomial(n, counts / n, size=n_draws) / n
        mean = drawn @ distinct
        return mean, (drawn @ np.square(distinct) - np.square(mean)) / n

    mean_treated, variance_treated = draw(treated)
    mean_control, variance_control = draw(control)
    gap = float(treated.mean() - control.mean())
    error = math.sqrt(treated.var() / len(treated) + control.var() / len(control))
    if error == 0:
        return gap, gap
    drawn_error = np.sqrt(np.maximum(variance_treated + variance_control, 1e-300))
    t = (mean_treated - mean_control - gap) / drawn_error
    half = float(np.quantile(np.abs(t), level)) * error
    return gap - half, gap + half


def estimate_effect(
    frame: pd.DataFrame,
    metric: Metric,
    *,
    arm: str,
    as_of: date,
    seed: int,
    level: float = 0.95,
) -> Effect:
    """Treated against control on one metric.

    Shares are compared as they are, by Newcombe's interval (1998, method 10): it holds for
    shares of nothing and of all, where one with the pre-period taken out has no width.

    Args:
        frame: One row per customer: `is_treated` and the metric's columns.
        seed: Start of the draws of a heavy-tailed metric.

    Raises:
        TooFew: An arm has fewer than thirty customers, or all customers have the same amount.
    """
    is_treated = frame["is_treated"].to_numpy(dtype=bool)
    arms = [frame[is_treated], frame[~is_treated]]
    if metric.kind != "share" and len(frame) and frame[metric.column].nunique() < 2:
        raise TooFew(f"{metric.name} is the same for every customer of both arms")
    treated, control = (estimate_level(f, metric, as_of=as_of, level=level) for f in arms)
    raw = difference(
        *(estimate_level(f, metric, as_of=as_of, level=level, is_plain=True) for f in arms)
    )
    change, removed = raw, 0.0
    p = pooled_p_value(treated, control) if metric.kind == "share" else p_value(raw)
    if metric.kind in ("mean", "heavy"):
        values = frame[metric.column].to_numpy(dtype=float)
        if metric.before:
            before = frame[metric.before].to_numpy(dtype=float)
            values, removed = adjust_for_before(values, before, is_treated)
        if removed > 0:
            adjusted = [
                estimate_ratio(
                    part,
                    np.ones(len(part)),
                    unit=raw.unit,
                    as_of=as_of,
                    level=level,
                    is_plain=True,
                )
                for part in (values[is_treated], values[~is_treated])
            ]
            change = difference(*adjusted)
            change = replace(change, method=f"{change.method}; pre-period taken out (CUPED, 2013)")
            p = p_value(change)
        if metric.kind == "heavy":
            low, high = bootstrap_difference(
                values[is_treated], values[~is_treated], level=level, seed=seed
            )
            change = replace(
                change,
                lower=min(low, change.value),
                upper=max(high, change.value),
                method="symmetric bootstrap-t difference of means (Hall, 1988)",
            )
    return Effect(
        metric=metric,
        arm=arm,
        treated=treated,
        control=control,
        change=change,
        raw_change=raw,
        p_value=p,
        variance_removed=removed,
    )


def estimate_capped_effect(
    frame: pd.DataFrame,
    metric: Metric,
    *,
    arm: str,
    as_of: date,
    seed: int,
    top: float = 0.01,
    level: float = 0.95,
) -> Effect:
    """The same effect with the largest values cut to a common cap (winsorised; Dixon, 1960).

    Beside the plain effect it says whether a few customers carry the result. It estimates the
    change of the capped value, which is smaller than that of the value itself.

    Args:
        top: Share of customers, both arms together, whose value is cut.

    Raises:
        TooFew: An arm has fewer than thirty customers.
    """
    capped = frame.copy()
    for column in (metric.column, metric.before):
        if column:
            capped[column] = frame[column].clip(upper=float(frame[column].quantile(1 - top)))
    return estimate_effect(capped, metric, arm=arm, as_of=as_of, seed=seed, level=level)


def estimate_effects(
    frame: pd.DataFrame,
    metrics: Sequence[Metric],
    *,
    as_of: date,
    seed: int,
    level: float = 0.95,
) -> tuple[Effect, ...]:
    """Every arm against control on every metric, judged together.

    Holds the false discovery rate at one less `level` (Benjamini and Hochberg, 1995). Ranges of
    several arms are widened for their number (Bonferroni).

    Args:
        frame: One row per customer: `arm` ("control" or a treatment) and metric columns.

    Raises:
        TooFew: An arm has fewer than thirty customers, or there is no control.
    """
    is_control = frame["arm"] == "control"
    names = sorted(set(frame.loc[~is_control, "arm"]))
    if not names or not is_control.any():
        raise TooFew("a test takes a control group and at least one treated arm")
    effects: list[Effect] = []
    reasons: list[str] = []
    strict = 1 - (1 - level) / len(names)
    for name in names:
        pair = frame[is_control | (frame["arm"] == name)]
        pair = pair.assign(is_treated=pair["arm"] == name)
        for metric in metrics:
            try:
                effects.append(
                    estimate_effect(pair, metric, arm=name, as_of=as_of, seed=seed, level=strict)
                )
            except TooFew as error:  # one that cannot be told does not take the others
                reasons.append(f"{metric.name}: {error}")
    if not effects:
        raise TooFew("; ".join(dict.fromkeys(reasons)))
    kept = benjamini_hochberg([e.p_value for e in effects], rate=1 - level)
    return tuple(replace(e, stands=s) for e, s in zip(effects, kept, strict=True))


def estimate_by_group(
    frame: pd.DataFrame,
    metric: Metric,
    *,
    group: str,
    as_of: date,
    seed: int,
    level: float = 0.95,
) -> Mapping[str, Effect]:
    """The effect in each group of customers, all groups judged together.

    Groups with fewer than thirty customers in an arm are left out.
    """
    found = {}
    for name, members in frame.groupby(group, sort=True):
        sizes = members["is_treated"].astype(bool).value_counts()
        if len(sizes) == 2 and sizes.min() >= FEWEST_PER_ARM:
            try:
                found[str(name)] = estimate_effect(
                    members, metric, arm="treated", as_of=as_of, seed=seed, level=level
                )
            except TooFew:  # nobody in this group did anything: nothing to tell it by
                continue
    kept = benjamini_hochberg([e.p_value for e in found.values()], rate=1 - level)
    return {k: replace(e, stands=s) for (k, e), s in zip(found.items(), kept, strict=True)}


def usual_metrics(
    frame: pd.DataFrame,
    *,
    currency: str,
    smallest_share_change: float,
    smallest_relative_change: float,
) -> list[Metric]:
    """Visits where they are known, the share who ordered, and spend per customer.

    Args:
        frame: As from `inputs.campaign_frame`.
        smallest_relative_change: Of spend, as a share of what control spent; of what all spent
            where control spent nothing.
    """
    spend = float(frame.loc[~frame["is_treated"], "revenue"].mean())
    if not spend > 0:
        spend = float(frame["revenue"].mean())
    metrics = [
        Metric(
            column="has_ordered",
            name="share who ordered",
            kind="share",
            unit="share",
            before="has_ordered_before",
            smallest_change_that_matters=smallest_share_change,
        ),
        Metric(
            column="revenue",
            name="spend per customer",
            kind="heavy",
            unit=currency,
            before="revenue_before",
            smallest_change_that_matters=max(smallest_relative_change * spend, 1e-9),
        ),
    ]
    if "has_visited" in frame:
        visits = replace(metrics[0], column="has_visited", name="share who visited", before=None)
        metrics.insert(0, visits)
    return metrics


def estimate_arms(
    frames: Mapping[str, pd.DataFrame],
    metric: Metric,
    *,
    as_of: date,
    seed: int,
    level: float = 0.95,
) -> Mapping[str, Effect]:
    """One metric in every arm of several tests, all judged together.

    Args:
        frames: Test by name, as from `inputs.campaign_frame`; arms too small are left out.
    """
    found = {}
    for test, frame in frames.items():
        control = frame[~frame["is_treated"]]
        for arm, members in frame[frame["is_treated"]].groupby("arm", sort=True):
            if min(len(members), len(control)) >= FEWEST_PER_ARM and metric.column in frame:
                name = f"{test}, {str(arm).replace('_', ' ')}"
                found[name] = estimate_effect(
                    pd.concat([control, members]),
                    metric,
                    arm=str(arm),
                    as_of=as_of,
                    seed=seed,
                    level=level,
                )
    kept = benjamini_hochberg([e.p_value for e in found.values()], rate=1 - level)
    return {k: replace(e, stands=s) for (k, e), s in zip(found.items(), kept, strict=True)}
