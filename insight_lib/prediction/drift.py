"""Do customers look different from those the model learned from: per input and per score.

The two groups share customers, and the same customer may stand in the reference several
times. Every test therefore counts customers, not rows: the difference of the shares per bin
is judged against the spread of one contribution per customer (cluster-robust score test,
Rao and Scott, 1981). For separate samples this is the chi-square reference of the population
stability index, PSI ~ (1/n + 1/m) chi2 (Yurdakul and Naranjo, 2020).

All inputs, scores and shares of missing values are one family (Holm, 1979): without any
drift, at most `false_alarm_rate` of runs raise any alarm. An alarm also takes a shift that
matters, so that a large market does not cry wolf.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize, stats

from insight_lib.findings import Estimate, TooFew

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

_MOST_BINS = 10
_FEWEST_PER_BIN = 10
_FEWEST = 30
_SAME_STEP_SHARE = 0.95


@dataclass(frozen=True, kw_only=True)
class Shift:
    """How one input or score differs between the two groups.

    Attributes:
        kind: `number` or `text` input, or `score`.
        psi: Population stability index (0 = none), less what chance alone gives.
        distance: Largest gap of the two distribution curves (Kolmogorov-Smirnov) for numbers,
            Jensen-Shannon distance for text; 0-1.
        detectable_psi: Smallest index that would be found in four of five runs.
        missing_change: Share of missing values now less before, with its interval.
        p_value, missing_p_value: For the whole family (Holm).
        has_moved: Beyond chance, and by at least the smallest shift that matters.
        has_more_missing: The same of missing values, upwards or downwards.
        is_calendar: Days that went on by one and the same step for nearly every returning
            customer, as an age does; no alarm of its own.
        median_before, median_now: Of numbers and scores; missing for text.
    """

    name: str
    kind: Literal["number", "text", "score"]
    psi: float
    distance: float
    detectable_psi: float
    missing_change: Estimate
    p_value: float
    missing_p_value: float
    has_moved: bool
    has_more_missing: bool
    is_calendar: bool
    median_before: float
    median_now: float


@dataclass(frozen=True, kw_only=True)
class Drift:
    """All shifts, the clearest first, and what a false alarm means here."""

    shifts: tuple[Shift, ...]
    n_reference: int
    n_current: int
    n_both: int
    false_alarm_rate: float
    smallest_psi: float
    smallest_missing_change: float
    as_of: date

    @property
    def alarms(self) -> tuple[Shift, ...]:
        """Shifts that matter, of values or of missing ones."""
        return tuple(s for s in self.shifts if s.has_moved or s.has_more_missing)


@dataclass(frozen=True, kw_only=True)
class _Tested:
    shift: Shift
    p: float
    missing_p: float


def estimate_drift(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    *,
    as_of: date,
    scores: Sequence[str] = (),
    false_alarm_rate: float = 0.05,
    smallest_psi: float = 0.1,
    smallest_missing_change: float = 0.05,
    level: float = 0.95,
) -> Drift:
    """Compare each column of two groups of customers.

    Args:
        reference: Index customer_id, rows the model learned from (a customer may stand there
            several times); number and text columns, missing allowed.
        current: The customers of today, same columns.
        scores: Columns that hold scores.
        false_alarm_rate: Share of runs without any drift that may raise any alarm.
        smallest_psi: Smallest population stability index that matters.
        smallest_missing_change: Smallest change of the share of missing values that matters.

    Raises:
        TooFew: Fewer than thirty customers in either group.
        KeyError: `current` lacks a column.
    """
    n_before, n_now = reference.index.nunique(), current.index.nunique()
    if min(n_before, n_now) < _FEWEST:
        raise TooFew(f"{min(n_before, n_now)} customers, and it takes {_FEWEST}")
    if absent := [c for c in reference.columns if c not in current.columns]:
        raise KeyError(f"current rows lack the columns {', '.join(absent)}")
    codes, _ = pd.factorize(np.concatenate([reference.index, current.index]))
    groups = (codes[: len(reference)], codes[len(reference) :])
    tested = [
        _test_column(
            str(name),
            reference[name],
            current[name],
            groups,
            is_score=name in scores,
            family=2 * len(reference.columns),
            false_alarm_rate=false_alarm_rate,
            as_of=as_of,
            level=level,
        )
        for name in reference.columns
    ]
    adjusted = _holm([t.p for t in tested] + [t.missing_p for t in tested])
    shifts = []
    for position, test in enumerate(tested):
        p, missing_p = adjusted[position], adjusted[len(tested) + position]
        shift = test.shift
        size = abs(shift.missing_change.value)
        shifts.append(
            replace(
                shift,
                p_value=p,
                missing_p_value=missing_p,
                has_moved=p <= false_alarm_rate
                and shift.psi >= smallest_psi
                and not shift.is_calendar,
                has_more_missing=missing_p <= false_alarm_rate and size >= smallest_missing_change,
            )
        )
    return Drift(
        shifts=tuple(
            sorted(shifts, key=lambda s: (not (s.has_moved or s.has_more_missing), -s.psi, s.name))
        ),
        n_reference=n_before,
        n_current=n_now,
        n_both=len(set(reference.index) & set(current.index)),
        false_alarm_rate=false_alarm_rate,
        smallest_psi=smallest_psi,
        smallest_missing_change=smallest_missing_change,
        as_of=as_of,
    )


def _test_column(
    name: str,
    before: pd.Series,
    now: pd.Series,
    groups: tuple[Codes, Codes],
    *,
    is_score: bool,
    family: int,
    false_alarm_rate: float,
    as_of: date,
    level: float,
) -> _Tested:
    is_number = pd.api.types.is_numeric_dtype(before) and pd.api.types.is_numeric_dtype(now)
    missing = (before.isna().to_numpy(), now.isna().to_numpy())
    change, missing_p = _missing_change(missing, groups, as_of=as_of, level=level)
    kept = (groups[0][~missing[0]], groups[1][~missing[1]])
    values = (before[~missing[0]], now[~missing[1]])
    psi, distance, p, detectable = 0.0, 0.0, 1.0, float("inf")
    medians = (float("nan"), float("nan"))
    if min(map(len, values)) >= _FEWEST:
        bins = _number_bins(*values) if is_number else _text_bins(*values)
        psi, p, detectable = _stability(
            *bins, *kept, false_alarm_rate=false_alarm_rate, family=family
        )
        if is_number:
            distance = _kolmogorov_smirnov(*(v.to_numpy(dtype=float) for v in values))
            medians = (float(values[0].median()), float(values[1].median()))
        else:
            distance = _jensen_shannon(*bins)
    return _Tested(
        shift=Shift(
            name=name,
            kind="score" if is_score else "number" if is_number else "text",
            psi=psi,
            distance=distance,
            detectable_psi=detectable,
            missing_change=change,
            p_value=1.0,
            missing_p_value=1.0,
            has_moved=False,
            has_more_missing=False,
            is_calendar=is_number and "days" in name and _moves_with_calendar(*values),
            median_before=medians[0],
            median_now=medians[1],
        ),
        p=p,
        missing_p=missing_p,
    )


def _number_bins(before: pd.Series, now: pd.Series) -> tuple[Codes, Codes]:
    """Quantile bins of the reference; equal values share a bin, thin bins join the next."""
    x, y = before.to_numpy(dtype=float), now.to_numpy(dtype=float)
    n_bins = int(np.clip(min(len(x), len(y)) // (2 * _FEWEST_PER_BIN), 2, _MOST_BINS))
    edges = np.unique(np.quantile(x, np.arange(1, n_bins) / n_bins, method="higher"))
    codes = (np.searchsorted(edges, x, side="left"), np.searchsorted(edges, y, side="left"))
    return _joined(*codes, len(edges) + 1)


def _joined(x: Codes, y: Codes, n_bins: int) -> tuple[Codes, Codes]:
    total = np.bincount(x, minlength=n_bins) + np.bincount(y, minlength=n_bins)
    target, current, held = np.zeros(n_bins, dtype=np.int64), 0, 0
    for code in range(n_bins):
        target[code] = current
        held += total[code]
        if held >= _FEWEST_PER_BIN:
            current, held = current + 1, 0
    if held and current:
        target[target == current] = current - 1
    return target[x], target[y]


def _text_bins(before: pd.Series, now: pd.Series) -> tuple[Codes, Codes]:
    """Levels, the most frequent ones first; the rare ones together."""
    texts = pd.concat([before, now]).astype(str)
    counts = texts.value_counts()
    ranked = sorted(counts.index, key=lambda level: (-counts[level], level))
    position = {level: rank for rank, level in enumerate(ranked[: 2 * _MOST_BINS])}
    last = len(position)
    codes = texts.map(position).fillna(last).to_numpy(dtype=np.int64)
    return _joined(codes[: len(before)], codes[len(before) :], last + 1)


def _contributions(
    x: Codes, y: Codes, customers: tuple[Codes, Codes], n_bins: int
) -> tuple[Floats, Floats, Floats]:
    """Shares now less before, what each customer adds to them if nothing moved, pooled shares."""
    n, m = len(x), len(y)
    n_groups = int(max(customers[0].max(initial=0), customers[1].max(initial=0))) + 1
    size = n_groups * n_bins
    before = np.bincount(customers[0] * n_bins + x, minlength=size).reshape(n_groups, n_bins)
    now = np.bincount(customers[1] * n_bins + y, minlength=size).reshape(n_groups, n_bins)
    pooled = (before.sum(axis=0) + now.sum(axis=0)) / (n + m)
    weight = now.sum(axis=1) / m - before.sum(axis=1) / n
    each = now / m - before / n - np.outer(weight, pooled)
    return each.sum(axis=0), each, pooled


def _stability(
    x: Codes, y: Codes, in_x: Codes, in_y: Codes, *, false_alarm_rate: float, family: int
) -> tuple[float, float, float]:
    """Index above chance, p-value, and the index that would be found in four of five runs."""
    n_bins = int(max(x.max(), y.max())) + 1
    if n_bins < 2:
        return 0.0, 1.0, float("inf")
    difference, each, pooled = _contributions(x, y, (in_x, in_y), n_bins)
    covariance = each.T @ each
    kept = np.arange(n_bins - 1)
    inner = covariance[np.ix_(kept, kept)]
    rank = int(np.linalg.matrix_rank(inner, hermitian=True))
    statistic = float(difference[kept] @ np.linalg.pinv(inner, hermitian=True) @ difference[kept])
    p = float(stats.chi2.sf(statistic, rank)) if rank else 1.0
    shares = [
        (np.bincount(codes, minlength=n_bins) + 0.5) / (len(codes) + 0.5 * n_bins)
        for codes in (x, y)
    ]
    index = float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())
    # What chance alone gives: the spread of each share, in units of the share.
    centred = covariance - np.outer(difference, difference) / len(np.unique([*in_x, *in_y]))
    chance = float((np.diag(centred) / pooled).sum())
    needed = _noncentrality(n_bins - 1, false_alarm_rate / family)
    return max(0.0, index - chance), p, needed * chance / (n_bins - 1)


@lru_cache(maxsize=256)
def _noncentrality(degrees: int, alpha: float, power: float = 0.8) -> float:
    limit = float(stats.chi2.isf(alpha, degrees))
    return float(
        optimize.brentq(lambda c: float(stats.ncx2.sf(limit, degrees, c)) - power, 1e-6, 1e4)
    )


def _kolmogorov_smirnov(x: Floats, y: Floats) -> float:
    x, y = np.sort(x), np.sort(y)
    both = np.concatenate([x, y])
    curves = [np.searchsorted(v, both, side="right") / len(v) for v in (x, y)]
    return float(np.abs(curves[0] - curves[1]).max())


def _jensen_shannon(x: Codes, y: Codes) -> float:
    n_bins = int(max(x.max(), y.max())) + 1
    p, q = (np.bincount(codes, minlength=n_bins) / len(codes) for codes in (x, y))
    middle = (p + q) / 2
    total = 0.0
    for shares in (p, q):
        some = shares > 0
        total += float((shares[some] * np.log2(shares[some] / middle[some])).sum()) / 2
    return float(np.sqrt(max(0.0, total)))


def _missing_change(
    missing: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    groups: tuple[Codes, Codes],
    *,
    as_of: date,
    level: float,
) -> tuple[Estimate, float]:
    """Change of the share of missing values over customers, and its p-value."""
    before, now = (m.astype(np.int64) for m in missing)
    difference, each, _ = _contributions(before, now, groups, 2)
    n, m = len(before), len(now)
    # One more of each kind per group keeps rare gaps honest (Agresti and Caffo, 2000).
    floor = sum(
        ((k + 1) / (size + 2)) * (1 - (k + 1) / (size + 2)) / (size + 2)
        for k, size in ((before.sum(), n), (now.sum(), m))
    )
    is_rare = min(before.sum() + now.sum(), n + m - before.sum() - now.sum()) < _FEWEST_PER_BIN
    variance = float(np.square(each[:, 1]).sum())
    error = float(np.sqrt(max(variance, float(floor)) if is_rare else variance))
    change = float(difference[1])
    half = float(stats.norm.ppf(0.5 + level / 2)) * error
    estimate = Estimate(
        value=change,
        lower=max(-1.0, change - half),
        upper=min(1.0, change + half),
        unit="difference",
        n=len(np.unique(groups[1])),
        as_of=as_of,
        level=level,
        method="difference of shares over customers (Rao and Scott, 1981)",
    )
    return estimate, float(2 * stats.norm.sf(abs(change) / error)) if error else 1.0


def _moves_with_calendar(before: pd.Series, now: pd.Series) -> bool:
    """Whether nearly all returning customers moved by one and the same number of days."""
    was = before[~before.index.duplicated(keep="last")]
    step = (now[~now.index.duplicated(keep="last")] - was).dropna()
    if len(step) < _FEWEST:
        return False
    usual = step.mode().min()
    is_days = usual != 0 and usual == round(usual)
    return bool(is_days and (step == usual).mean() >= _SAME_STEP_SHARE)


def _holm(p_values: Sequence[float]) -> list[float]:
    """Family-wise adjusted p-values (Holm, 1979)."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    steps = p[order] * (len(p) - np.arange(len(p)))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return [float(a) for a in adjusted]
