"""Comparing like with like: effects and balance within strata that were known before."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from insight_lib.findings import Estimate, TooFew, unit_of_difference
from insight_lib.impact.effects import Effect, Metric, adjust_for_before, standard_error
from insight_lib.statistics import benjamini_hochberg

Floats = NDArray[np.float64]
_FEWEST_PER_CELL = 10
_CLEAR = 0.05
_BANDS = ("low spend", "middle spend", "high spend")


def value_bands(spend_before: ArrayLike) -> NDArray[np.str_]:
    """Customers by what they spent before: none, and three bands of equal size; ties by place.

    Known before the test, unlike segments of today: a customer whom the test made buy is not
    in the segment of those who do not, and reading a test by what it moved misleads
    (Montgomery, Nyhan and Torres, 2018, American Journal of Political Science).
    """
    spend = np.asarray(spend_before, dtype=float)
    band = np.full(len(spend), "no spend", dtype=object)
    spent = np.flatnonzero(spend > 0)
    rank = spent[np.argsort(spend[spent], kind="stable")]
    for name, members in zip(_BANDS, np.array_split(rank, len(_BANDS)), strict=True):
        band[members] = name
    return band.astype(str)


@dataclass(frozen=True, kw_only=True)
class Stratified:
    """The effect with customers compared within strata only.

    Attributes:
        change: Strata's effects weighted by their share of all customers.
        width_ratio: Width of its range over that of the same comparison without strata.
        table: stratum, customers, share_treated, change.
    """

    metric: Metric
    change: Estimate
    width_ratio: float
    table: pd.DataFrame


def estimate_stratified(
    frame: pd.DataFrame, metric: Metric, *, stratum: str, as_of: date, level: float = 0.95
) -> Stratified:
    """Post-stratified difference of means (Miratrix, Sekhon and Yu, 2013, JRSS B).

    `sum over k of n_k / n * (mean treated_k - mean control_k)`; unbiased given that every
    stratum holds both arms. The pre-period, where known, is taken out first (CUPED). Strata
    too small for both arms are put together, and with the largest if still too small.

    Args:
        frame: One row per customer: `is_treated`, the metric's columns, and `stratum`, known
            before the assignment.

    Raises:
        TooFew: Fewer than two strata are left.
        ValueError: The metric is a ratio.
    """
    if metric.kind == "ratio":
        raise ValueError(f"{metric.name}: a ratio of totals has no mean within strata")
    is_treated = frame["is_treated"].to_numpy(dtype=bool)
    values = frame[metric.column].to_numpy(dtype=float)
    if metric.before:
        before = frame[metric.before].to_numpy(dtype=float)
        values, _ = adjust_for_before(values, before, is_treated)
    names = _large_enough(frame[stratum], is_treated)
    rows, parts = [], []
    for name in sorted(set(names)):
        inside = names == name
        change, error, freedom = _gap(values[inside], is_treated[inside])
        weight = float(inside.mean())
        parts.append((weight * change, weight * error, freedom))
        rows.append((name, int(inside.sum()), float(is_treated[inside].mean()), change))
    if len(rows) < 2:
        raise TooFew("fewer than two groups of customers have enough in both arms")
    half = _half([(error, freedom) for _, error, freedom in parts], level)
    _, plain_error, plain_freedom = _gap(values, is_treated)
    plain = _half([(plain_error, plain_freedom)], level)
    value = sum(part for part, *_ in parts)
    return Stratified(
        metric=metric,
        change=Estimate(
            value=value,
            lower=value - half,
            upper=value + half,
            unit=unit_of_difference(metric.unit),
            n=len(frame),
            as_of=as_of,
            level=level,
            method="post-stratified difference of means (Miratrix, Sekhon and Yu, 2013)",
        ),
        width_ratio=half / plain if plain else 1.0,
        table=pd.DataFrame(rows, columns=["stratum", "customers", "share_treated", "change"]),
    )


def _large_enough(strata: pd.Series, is_treated: NDArray[np.bool_]) -> NDArray[np.object_]:
    names = strata.astype("object").fillna("unknown").astype(str).to_numpy(dtype=object)
    for stand_in in ("other", None):
        cells = pd.crosstab(names, is_treated).reindex(columns=[True, False], fill_value=0)
        small = cells.index[cells.min(axis=1) < _FEWEST_PER_CELL]
        if len(small):
            target = stand_in or str(cells.sum(axis=1).idxmax())
            names = np.where(np.isin(names, list(small)), target, names)
    return names


def _gap(values: Floats, is_treated: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Difference of means, its standard error, and its degrees of freedom (Welch, 1947)."""
    treated, control = values[is_treated], values[~is_treated]
    if min(len(treated), len(control)) < 2:
        raise TooFew(f"{len(treated)} customers contacted and {len(control)} left alone")
    parts = [float(v.var(ddof=1)) / len(v) for v in (treated, control)]
    spread = sum(p**2 / (len(v) - 1) for p, v in zip(parts, (treated, control), strict=True))
    freedom = sum(parts) ** 2 / spread if spread else float(len(values) - 2)
    return float(treated.mean() - control.mean()), math.sqrt(sum(parts)), freedom


def _half(parts: Sequence[tuple[float, float]], level: float) -> float:
    """Half-width of a sum of independent parts: (standard error, degrees of freedom) each."""
    variance = sum(error**2 for error, _ in parts)
    spread = sum(error**4 / freedom for error, freedom in parts)
    freedom = variance**2 / spread if spread else 1e6
    return float(stats.t.ppf(0.5 + level / 2, freedom)) * math.sqrt(variance)


@dataclass(frozen=True, kw_only=True)
class StratumBalance:
    """Whether the lottery was as fair within every stratum as overall.

    Attributes:
        table: stratum, column ("customers" for the arms' sizes), gap, p_value, is_clear.
    """

    table: pd.DataFrame

    @property
    def unbalanced(self) -> tuple[str, ...]:
        return tuple(sorted(set(self.table.loc[self.table["is_clear"], "stratum"])))


def check_stratum_balance(
    frame: pd.DataFrame, columns: Sequence[str], *, stratum: str, level: float = 0.95
) -> StratumBalance:
    """Sizes of the arms and habits before, within each stratum, all judged together.

    Args:
        frame: One row per customer: `is_treated`, `stratum`, and `columns` known before.
    """
    is_treated = frame["is_treated"].to_numpy(dtype=bool)
    names = _large_enough(frame[stratum], is_treated)
    share = float(is_treated.mean())
    rows = []
    for name in sorted(set(names)):
        inside = names == name
        n, n_treated = int(inside.sum()), int(is_treated[inside].sum())
        p = float(stats.binomtest(n_treated, n, share).pvalue)
        rows.append((name, "customers", n_treated / n - share, p))
        for column in columns:
            values = frame.loc[inside, column].to_numpy(dtype=float)
            gap, error, freedom = _gap(values, is_treated[inside])
            p = float(2 * stats.t.sf(abs(gap) / error, freedom)) if error else 1.0
            rows.append((name, column, gap / float(values.std()) if error else 0.0, p))
    table = pd.DataFrame(rows, columns=["stratum", "column", "gap", "p_value"])
    table["is_clear"] = benjamini_hochberg(list(table["p_value"]), rate=1 - level)
    return StratumBalance(table=table)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Whether groups of customers answer differently.

    Attributes:
        p_value: Of Cochran's Q (1954): how rare such differences are if all answer alike.
    """

    p_value: float

    @property
    def is_clear(self) -> bool:
        return self.p_value < _CLEAR


def check_groups_differ(effects: Mapping[str, Effect]) -> Difference:
    """Do the groups' effects differ by more than chance.

    One group standing and another not is no difference yet (Gelman and Stern, 2006).

    Raises:
        TooFew: Fewer than two groups.
    """
    changes = [effect.change for effect in effects.values()]
    errors = np.array([standard_error(change) for change in changes])
    if len(changes) < 2 or (errors <= 0).any():
        raise TooFew(f"{len(changes)} groups of customers; it takes two to differ")
    values = np.array([change.value for change in changes])
    weights = 1 / np.square(errors)
    q = float(weights @ np.square(values - np.average(values, weights=weights)))
    return Difference(p_value=float(stats.chi2.sf(q, len(changes) - 1)))
