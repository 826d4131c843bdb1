"""Why a model predicts worse than before: a chain of counterfactual customers.

The rise of the loss from the reference to today is walked in steps, each of which changes one
thing (in the manner of Cai, Namkoong and Yadlowsky, 2023, arXiv 2303.02011), so that the
steps add up to the whole rise:

1. missingness: today's newly missing inputs are blanked in the reference and scored again;
2. base rate: the reference is reweighted to today's odds of the outcome at equal inputs
   (prior correction; Saerens, Latinne and Decaestecker, 2002);
3. mix: it is then carried to today's customers, by a classifier of then against now
   (Shimodaira, 2000; Bickel, Bruckner and Scheffer, 2009) and the relation seen before;
4. changed behaviour: what is left, with the same inputs missing, base rate and mix.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit, logit

from insight_lib.findings import Estimate, TooFew
from insight_lib.prediction.performance import area_under_curve

Floats = NDArray[np.float64]
Score = Callable[[pd.DataFrame], Floats]
CauseName = Literal["missingness", "base rate", "mix", "behaviour"]

CAUSES: tuple[CauseName, ...] = ("missingness", "base rate", "mix", "behaviour")
_FEWEST = 200
_FEWEST_OF_EACH = 20
_MOST_LEVELS = 8
_RIDGE = 5.0
# Truncated weights (Ionides, 2008); the relation seen before carries the rest.
_LARGEST_LOG_WEIGHT = 1.0


@dataclass(frozen=True, kw_only=True)
class Cause:
    """What one cause adds to the loss.

    Attributes:
        rise: In the metric's unit, positive is worse; ranges of all four hold together.
        share: Of all that made it worse; zero if this cause made it better.
        is_clear: Worse beyond chance, and by at least the smallest rise that matters.
        names: For missingness, the inputs that are newly missing, the most missing first.
    """

    name: CauseName
    rise: Estimate
    share: float
    is_clear: bool
    names: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SliceRise:
    """How much more the loss rose for some customers than for the others."""

    column: str
    value: str
    rise: Estimate
    extra: Estimate
    share: float
    p_value: float
    is_clear: bool


@dataclass(frozen=True, kw_only=True)
class RootCause:
    """Causes, the largest rise first, and slices, the clearest first."""

    metric: Literal["loss", "auc"]
    before: float
    now: float
    rise: Estimate
    causes: tuple[Cause, ...]
    slices: tuple[SliceRise, ...]

    @property
    def leading(self) -> Cause | None:
        """The clear cause with the largest rise, if any is clear."""
        clear = [c for c in self.causes if c.is_clear]
        return clear[0] if clear else None


@dataclass(frozen=True, kw_only=True)
class _Side:
    scores: Floats
    labels: Floats
    design: Floats
    codes: NDArray[np.int64]


def estimate_root_cause(
    reference: pd.DataFrame,
    reference_labels: pd.Series,
    current: pd.DataFrame,
    current_labels: pd.Series,
    *,
    score: Score,
    as_of: date,
    slice_columns: Sequence[str] = (),
    minimum_cell_size: int = 50,
    smallest_rise_share: float = 0.02,
    metric: Literal["loss", "auc"] = "loss",
    n_resamples: int = 100,
    seed: int = 0,
    level: float = 0.95,
) -> RootCause:
    """Split the rise of the loss (Brier score) into four causes, and look for slices.

    Args:
        reference: Index customer_id, the model's inputs, for customers that it did not learn
            from.
        reference_labels: 0 or 1 on the same rows; missing rows are left out.
        current: The same inputs today.
        score: Probability per row of a frame like `reference`.
        slice_columns: Columns whose levels (of numbers: thirds of the reference) are slices.
        smallest_rise_share: Smallest rise that matters, as a share of the loss before (for
            `auc`: of its distance to one).
        metric: `loss`, or `auc` for the share of pairs in the wrong order.

    Raises:
        TooFew: Fewer than 200 rows on either side, or 20 of either outcome.
    """
    kept = [
        (f[y.notna().to_numpy()], y.dropna().to_numpy(dtype=float))
        for f, y in ((reference, reference_labels), (current, current_labels))
    ]
    for frame, labels in kept:
        fewest = int(min(labels.sum(), (1 - labels).sum()))
        if len(frame) < _FEWEST or fewest < _FEWEST_OF_EACH:
            raise TooFew(
                f"{len(frame)} customers, {fewest} of them of the rarer outcome; it takes "
                f"{_FEWEST} and {_FEWEST_OF_EACH}"
            )
    (before, y_before), (now, y_now) = kept
    codes, _ = pd.factorize(np.concatenate([before.index, now.index]))
    groups = (codes[: len(before)], codes[len(before) :])
    blanked, names = _blank(before, now, seed=seed)
    plain = score(before)
    filled = score(blanked) if names else plain
    today = score(now)
    columns = _design_columns(blanked, now)
    sides = (
        _Side(
            scores=filled,
            labels=y_before,
            design=_design(blanked, filled, blanked, columns),
            codes=groups[0],
        ),
        _Side(
            scores=today,
            labels=y_now,
            design=_design(now, today, blanked, columns),
            codes=groups[1],
        ),
    )
    worse = _loss if metric == "loss" else _wrong_order
    flat = (np.ones(len(before)), np.ones(len(now)))
    steps, fits = _walk(plain, sides, flat, worse, None)
    rng = np.random.default_rng(seed + 1)
    n_customers = int(codes.max()) + 1
    draws = []
    for _ in range(n_resamples):
        # One weight per customer, so both sides of a returning customer are drawn together.
        weight = rng.exponential(size=n_customers)
        draws.append(_walk(plain, sides, (weight[groups[0]], weight[groups[1]]), worse, fits)[0])
    error = np.array(draws).std(axis=0, ddof=1)
    whole_error = float(np.array(draws).sum(axis=1).std(ddof=1))
    first = worse(plain, y_before, flat[0])
    smallest = smallest_rise_share * first
    family = 1 - (1 - level) / len(CAUSES)

    def made(value: float, spread: float, at: float) -> Estimate:
        half = float(stats.norm.ppf(0.5 + at / 2)) * spread
        return Estimate(
            value=value,
            lower=value - half,
            upper=value + half,
            unit="score",
            n=n_customers,
            as_of=as_of,
            level=at,
            method="stepwise reweighting (Cai et al., 2023), bootstrap by customer (Rubin, 1981)",
        )

    total_worse = float(np.clip(steps, 0, None).sum())
    causes = []
    for name, step, spread in zip(CAUSES, steps, error, strict=True):
        rise = made(float(step), float(spread), family)
        causes.append(
            Cause(
                name=name,
                rise=rise,
                share=max(0.0, float(step)) / total_worse if total_worse > 0 else 0.0,
                is_clear=rise.lower > 0 and rise.value >= smallest,
                names=names if name == "missingness" else (),
            )
        )
    return RootCause(
        metric=metric,
        before=first,
        now=first + float(steps.sum()),
        rise=made(float(steps.sum()), whole_error, level),
        causes=tuple(sorted(causes, key=lambda c: (-c.rise.value, c.name))),
        slices=_slices(
            (before, now),
            (np.square(plain - y_before), np.square(today - y_now)),
            groups,
            slice_columns,
            minimum=minimum_cell_size,
            smallest=smallest_rise_share * float(np.square(plain - y_before).mean()),
            as_of=as_of,
            level=level,
        ),
    )


def _loss(scores: Floats, labels: Floats, weights: Floats) -> float:
    """Brier score; a label between 0 and 1 is a probability."""
    each = labels * np.square(1 - scores) + (1 - labels) * np.square(scores)
    return float(np.average(each, weights=weights))


def _wrong_order(scores: Floats, labels: Floats, weights: Floats) -> float:
    return 1 - area_under_curve(scores, labels, weights)


@dataclass(frozen=True, kw_only=True)
class _Fits:
    outcome: Floats
    odds: float
    domain: Floats


def _walk(
    plain: Floats,
    sides: tuple[_Side, _Side],
    weights: tuple[Floats, Floats],
    worse: Callable[[Floats, Floats, Floats], float],
    start: _Fits | None,
) -> tuple[Floats, _Fits]:
    """The four rises for one weighting of customers, and the fits to start the next from."""
    (before, now), (w, v) = sides, weights
    n_steps = 30 if start is None else 2
    outcome = _logistic(before.design, before.labels, w, n_steps, start.outcome if start else None)
    known, offset = before.design @ outcome, now.design @ outcome
    odds = start.odds if start else 0.0
    for _ in range(20):
        p = expit(offset + odds)
        odds += float(np.clip((v * (now.labels - p)).sum() / (v * p * (1 - p)).sum(), -2, 2))
    to_rate = w * np.where(before.labels == 1, np.exp(odds), 1.0)
    design = np.vstack([before.design, now.design])
    is_now = np.concatenate([np.zeros(len(before.labels)), np.ones(len(now.labels))])
    size = len(now.labels)
    balance = np.concatenate([to_rate * (size / to_rate.sum()), v * (size / v.sum())])
    domain = _logistic(design, is_now, balance, n_steps, start.domain if start else None)
    tilt = np.clip(before.design @ domain, -_LARGEST_LOG_WEIGHT, _LARGEST_LOG_WEIGHT)
    # Today's customers by the reference's relation; the reweighted reference takes out what
    # that relation misses (doubly robust; Robins, Rotnitzky and Zhao, 1994).
    soft = w * (1 + expit(known) * np.expm1(odds)) * np.exp(tilt)
    mixed = (
        worse(now.scores, expit(offset + odds), v)
        + worse(before.scores, before.labels, to_rate * np.exp(tilt))
        - worse(before.scores, expit(known + odds), soft)
    )
    levels = [
        worse(plain, before.labels, w),
        worse(before.scores, before.labels, w),
        worse(before.scores, before.labels, to_rate),
        mixed,
        worse(now.scores, now.labels, v),
    ]
    return np.diff(levels), _Fits(outcome=outcome, odds=odds, domain=domain)


def _logistic(
    design: Floats, labels: Floats, weights: Floats, n_steps: int, start: Floats | None
) -> Floats:
    """Ridge logistic regression by Newton's steps; the first column is not shrunk."""
    beta = np.zeros(design.shape[1]) if start is None else start
    ridge = np.full(design.shape[1], _RIDGE)
    ridge[0] = 1e-9
    for _ in range(n_steps):
        p = expit(design @ beta)
        slope = design.T @ (weights * (labels - p)) - ridge * beta
        curve = (design * (weights * p * (1 - p))[:, None]).T @ design + np.diag(ridge)
        step = np.linalg.solve(curve, slope)
        beta = beta + np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-6:
            break
    return beta


def _blank(
    before: pd.DataFrame, now: pd.DataFrame, *, seed: int
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The reference with today's newly missing inputs blanked, whole patterns at a time."""
    was, is_ = before.isna().to_numpy(), now.isna().to_numpy()
    share_before, share_now = was.mean(axis=0), is_.mean(axis=0)
    spread = np.sqrt(
        share_before * (1 - share_before) / len(before) + share_now * (1 - share_now) / len(now)
    )
    rise = share_now - share_before
    # Chance wobbles of the share are left alone: three standard errors, and one customer in 100.
    newly = np.flatnonzero((rise > 3 * spread) & (rise > 0.01))
    if not len(newly):
        return before, ()
    rng = np.random.default_rng(seed)
    pattern = is_[rng.integers(0, len(now), len(before))]
    chance = rng.random(len(before))
    blanked = before.copy()
    for k in newly:
        held = share_now[k] * (1 - share_before[k])
        is_lost = pattern[:, k] & (chance < rise[k] / held)
        name = before.columns[int(k)]
        empty = np.nan if pd.api.types.is_numeric_dtype(before[name]) else None
        blanked.loc[is_lost, name] = empty
    ranked = newly[np.argsort(-rise[newly], kind="stable")]
    return blanked, tuple(str(before.columns[int(k)]) for k in ranked)


def _design_columns(before: pd.DataFrame, now: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """Per column: nothing for numbers, the frequent levels for text."""
    columns: dict[str, tuple[str, ...]] = {}
    for name in before.columns:
        if pd.api.types.is_numeric_dtype(before[name]):
            columns[str(name)] = ()
            continue
        counts = pd.concat([before[name], now[name]]).dropna().astype(str).value_counts()
        ranked = sorted(counts.index, key=lambda level: (-counts[level], level))
        columns[str(name)] = tuple(ranked[:_MOST_LEVELS])
    return columns


def _design(
    frame: pd.DataFrame,
    scores: Floats,
    reference: pd.DataFrame,
    columns: dict[str, tuple[str, ...]],
) -> Floats:
    """Intercept, score, numbers as normal ranks within the reference, levels, missing values."""
    parts = [np.ones(len(frame)), logit(np.clip(scores, 1e-4, 1 - 1e-4))]
    for name, levels in columns.items():
        is_missing = frame[name].isna().to_numpy()
        if levels:
            texts = frame[name].astype(str).to_numpy()
            parts += [((texts == value) & ~is_missing).astype(float) for value in levels]
        else:
            known = np.sort(reference[name].dropna().to_numpy(dtype=float))
            if len(known):
                values = frame[name].to_numpy(dtype=float)
                low, high = (np.searchsorted(known, values, side=s) for s in ("left", "right"))
                rank = stats.norm.ppf(((low + high) / 2 + 0.5) / (len(known) + 1))
                parts.append(np.where(is_missing, 0.0, rank))
        if reference[name].isna().any():
            parts.append(is_missing.astype(float))
    return np.column_stack(parts)


def _slices(
    frames: tuple[pd.DataFrame, pd.DataFrame],
    losses: tuple[Floats, Floats],
    groups: tuple[NDArray[np.int64], NDArray[np.int64]],
    columns: Sequence[str],
    *,
    minimum: int,
    smallest: float,
    as_of: date,
    level: float,
) -> tuple[SliceRise, ...]:
    """Rise inside a slice against the rise outside; all slices tested together (Holm, 1979)."""
    n_customers = int(max(groups[0].max(), groups[1].max())) + 1
    whole = float(losses[1].mean() - losses[0].mean())
    found: list[tuple[str, str, Estimate, Estimate, float, float]] = []
    for column in columns:
        for value, masks in _members(*(f[column] for f in frames)):
            sizes = [int(m.sum()) for m in masks] + [int((~m).sum()) for m in masks]
            if min(sizes) < minimum:
                continue
            inside = _mean_rise(losses, masks, groups, n_customers)
            outside = _mean_rise(losses, (~masks[0], ~masks[1]), groups, n_customers)
            extra = (inside[0] - outside[0], inside[1] - outside[1])
            part = float(masks[1].mean()) * inside[0]
            made = [
                _estimate(v, each, sizes[1], as_of=as_of, level=level)
                for v, each in (inside, extra)
            ]
            error = float(np.sqrt(np.square(extra[1]).sum()))
            p = float(2 * stats.norm.sf(abs(extra[0]) / error)) if error else 1.0
            of_whole = part / whole if whole > 0 else 0.0
            found.append((column, value, made[0], made[1], of_whole, p))
    order = sorted(range(len(found)), key=lambda k: (found[k][5], found[k][:2]))
    slices, largest = [], 0.0
    for position, k in enumerate(order):
        column, value, rise, extra_rise, share, p = found[k]
        largest = max(largest, min(1.0, p * (len(order) - position)))
        slices.append(
            SliceRise(
                column=column,
                value=value,
                rise=rise,
                extra=extra_rise,
                share=share,
                p_value=largest,
                is_clear=largest <= 1 - level and extra_rise.value > 0 and rise.value >= smallest,
            )
        )
    return tuple(slices)


def _members(
    before: pd.Series, now: pd.Series
) -> list[tuple[str, tuple[NDArray[np.bool_], NDArray[np.bool_]]]]:
    """Levels of a text, or the low, middle and high third of a number."""
    if not pd.api.types.is_numeric_dtype(before):
        texts = (before.astype(object), now.astype(object))
        levels = sorted(set(before.dropna().astype(str)) & set(now.dropna().astype(str)))
        return [
            (value, ((texts[0] == value).to_numpy(), (texts[1] == value).to_numpy()))
            for value in levels
        ]
    low, high = before.quantile([1 / 3, 2 / 3], interpolation="higher")
    thirds = {
        "low": [(s <= low).to_numpy() for s in (before, now)],
        "middle": [((s > low) & (s <= high)).to_numpy() for s in (before, now)],
        "high": [(s > high).to_numpy() for s in (before, now)],
    }
    return [(name, (masks[0], masks[1])) for name, masks in thirds.items()]


def _mean_rise(
    losses: tuple[Floats, Floats],
    masks: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    groups: tuple[NDArray[np.int64], NDArray[np.int64]],
    n_customers: int,
) -> tuple[float, Floats]:
    """Mean loss now less before among the masked, and each customer's part in its error."""
    means, each = [], np.zeros(n_customers)
    for sign, loss, mask, codes in zip((-1, 1), losses, masks, groups, strict=True):
        mean = float(loss[mask].mean())
        means.append(mean)
        each += sign * np.bincount(
            codes[mask], weights=(loss[mask] - mean) / mask.sum(), minlength=n_customers
        )
    return means[1] - means[0], each


def _estimate(value: float, each: Floats, n: int, *, as_of: date, level: float) -> Estimate:
    half = float(stats.norm.ppf(0.5 + level / 2) * np.sqrt(np.square(each).sum()))
    return Estimate(
        value=value,
        lower=value - half,
        upper=value + half,
        unit="score",
        n=n,
        as_of=as_of,
        level=level,
        method="difference of means over customers",
    )
