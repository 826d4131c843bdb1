"""Sparse markets borrow strength from mature ones, through published aggregates only.

A mature market publishes mean, variance and count per group; no row of it is read here. The
sparse market's own group means are drawn towards the mature pattern as far as the markets
agree among themselves and with it (empirical Bayes: Efron and Morris, 1975), and only if that
predicts its own customers better.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize, stats

from insight_lib.charts import Caption, Chart, plot_dots
from insight_lib.findings import Estimate, Measured, TooFew
from insight_lib.prose import Name

if TYPE_CHECKING:
    import ibis.expr.types as ir

Floats = NDArray[np.float64]

_FOLDS = 10
_UNLIKE = 0.01  # p-value under which this market is not one of the mature ones' kind


def group_aggregates(
    rows: ir.Table, *, group: str, value: str, minimum_cell_size: int
) -> pd.DataFrame:
    """What a mature market may publish: mean, variance and customers per group.

    Args:
        rows: One row per customer.
        group: Column of groups that markets share, e.g. acquisition channel.
        value: Column with the rate or amount of each customer.
        minimum_cell_size: Smaller groups are left out.

    Returns:
        group, mean, variance, n; sorted by group.
    """
    known = rows.filter(rows[group].notnull() & rows[value].notnull())
    number = known[value].cast("float64")
    counted = known.group_by(group=known[group].cast("string")).agg(
        mean=number.mean(), variance=number.var(how="sample"), n=known.count()
    )
    large = counted.filter(counted.n >= max(minimum_cell_size, 2))
    return large.order_by("group").to_pandas()


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """Group means of a sparse market, with or without borrowed strength.

    Attributes:
        groups: group, n, local_mean, mature_mean (at this market's level; missing where no
            mature market has the group), mean, lower, upper, weight (of the market's own
            data in `mean`, 0-1).
        is_borrowed: Whether the mature pattern is used.
        is_alike: Whether its groups differ from the mature pattern no more than mature markets do.
        group: What customers are grouped by.
        gain: Predictive loss of the local means less that of the pooled ones, per customer
            and as a share of the loss of the local means; cross-validated, above zero the
            borrowed strength helps.
        gain_against_mature: The same against the mature pattern alone.
        precision_gain: How many times as many customers the groups would need for the same
            certainty without borrowing (median over groups).
        spread: Relative variation of groups between markets that is not chance.
        n_markets: Mature markets that share groups with this one.
        left_out: Mature markets that share too few groups with it.
        unit: Of the means.
    """

    groups: pd.DataFrame
    is_borrowed: bool
    is_alike: bool
    group: Name
    gain: Estimate
    gain_against_mature: Estimate
    precision_gain: float
    spread: float
    n_markets: int
    unit: str
    left_out: tuple[Name, ...] = ()

    @property
    def case(
        self,
    ) -> Literal["helps", "leans", "unlike and sure", "unlike", "misleads", "does not help"]:
        """What borrowing brought, or why nothing was borrowed."""
        if self.is_borrowed:
            return "helps" if self.gain.lower > 0 else "leans"
        if not self.is_alike:
            return "unlike and sure" if self.gain.excludes(0) else "unlike"
        return "misleads" if self.gain.upper < 0 else "does not help"

    @property
    def times(self) -> Measured:
        """As if there were so many times as many customers."""
        gain, times = self.gain, round(self.precision_gain, 1)
        return Measured(value=times, unit="ratio", n=gain.n, as_of=gain.as_of)

    @property
    def has_left_out(self) -> bool:
        return bool(self.left_out)

    def draw(self, caption: Caption) -> Chart | None:
        """Group means in use with their ranges; none where no group may be shown."""
        if self.groups.empty:
            return None
        return plot_dots(
            self.groups, caption=caption, label="group", value="mean", lower="lower",
            upper="upper", unit=self.unit, n="n",
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Pattern:
    """The mature pattern at level one: means, their variances, spread between markets."""

    mean: pd.Series
    variance: pd.Series
    spread: float
    n_markets: int


_FEWEST_SHARED = 3


def comparable_markets(
    given: pd.DataFrame, own_groups: Iterable[str]
) -> tuple[list[pd.DataFrame], tuple[str, ...]]:
    """The markets that share groups with this one and with each other, and those that do not.

    One market of another kind would otherwise leave no group that all of them have.

    Args:
        given: market, group, mean, variance, n.
        own_groups: Of this market.

    Returns:
        group, mean, variance, n of each market kept, and the names of those left out.
    """
    own = set(own_groups)
    frames = {str(name): frame for name, frame in given.groupby("market")} if len(given) else {}
    groups = {name: set(frame["group"]) & own for name, frame in frames.items()}
    kept = {name for name, shared in groups.items() if len(shared) >= _FEWEST_SHARED}

    def common(names: set[str]) -> int:
        return len(set.intersection(*(groups[name] for name in names)))

    while len(kept) > 2 and common(kept) < _FEWEST_SHARED:
        # Without which one do the others have most in common?
        kept.remove(max(sorted(kept), key=lambda name: common(kept - {name})))
    columns = ["group", "mean", "variance", "n"]
    return [frames[n][columns] for n in sorted(kept)], tuple(sorted(set(frames) - kept))


def mature_pattern(aggregates: Sequence[pd.DataFrame]) -> _Pattern:
    """Relative group means over mature markets, and how far markets differ.

    Every market's means are divided by their own level, so money in any currency will do.
    The variance between markets is the one that makes the weighted squares equal to their
    degrees of freedom (Paule and Mandel, 1982), over all groups together.

    Args:
        aggregates: One per mature market, as from `group_aggregates`.

    Raises:
        TooFew: Fewer than two markets: how far markets differ cannot be seen.
    """
    if len(aggregates) < 2:
        raise TooFew(
            f"{len(aggregates)} mature markets, and it takes two to see how far they differ"
        )
    shared = sorted(set.intersection(*(set(a["group"]) for a in aggregates)))
    if len(shared) < _FEWEST_SHARED:
        raise TooFew(f"{len(shared)} groups in all mature markets, and it takes three")
    means, variances = [], []
    for frame in aggregates:
        chosen = frame.set_index("group").loc[shared]
        level = float(chosen["mean"].mean())
        if level <= 0:
            raise TooFew("a mature market's mean is not above zero")
        means.append((chosen["mean"] / level).to_numpy(dtype=float))
        variances.append((chosen["variance"] / chosen["n"] / level**2).to_numpy(dtype=float))
    y, v = np.array(means), np.maximum(np.array(variances), 1e-12)
    freedom = (len(y) - 1) * (len(shared) - 1)

    def excess(between: float) -> float:
        weight = 1 / (v + between)
        centre = (weight * y).sum(axis=0) / weight.sum(axis=0)
        return float((weight * np.square(y - centre)).sum()) - freedom

    between = _root(excess)
    weight = 1 / (v + between)
    return _Pattern(
        mean=pd.Series((weight * y).sum(axis=0) / weight.sum(axis=0), index=shared),
        variance=pd.Series(1 / weight.sum(axis=0), index=shared),
        spread=between,
        n_markets=len(y),
    )


def _root(excess: Callable[[float], float]) -> float:
    """Where a falling function crosses zero, or zero if it starts below."""
    if excess(0.0) <= 0:
        return 0.0
    high = 1.0
    while excess(high) > 0:
        high *= 4
    return float(optimize.brentq(excess, 0.0, high, xtol=1e-12))


@dataclass(frozen=True)
class _Local:
    mean: Floats
    n: Floats
    variance: float  # within a group, over all groups


def _summarise(codes: NDArray[np.int64], values: Floats, n_groups: int) -> _Local:
    n = np.bincount(codes, minlength=n_groups).astype(float)
    total = np.bincount(codes, weights=values, minlength=n_groups)
    mean = np.divide(total, n, out=np.full(n_groups, np.nan), where=n > 0)
    residual = values - mean[codes]
    freedom = max(len(values) - int((n > 0).sum()), 1)
    return _Local(mean, n, max(float(residual @ residual) / freedom, 1e-12))


@dataclass(frozen=True)
class _Blend:
    """Mature means at the local level, pooled means, their variances, weights, and the fit.

    `p_value`: of the local means lying as close to the mature pattern as mature markets do.
    """

    prior: Floats
    mean: Floats
    variance: Floats
    weight: Floats
    p_value: float


def _pool(local: _Local, pattern: Floats, known: Floats, spread: float) -> _Blend:
    has = local.n > 0
    precision = np.where(has, local.n, 0.0)
    fits = np.isfinite(pattern) & has
    level = float(precision[fits] @ local.mean[fits]) / float(precision[fits] @ pattern[fits])
    prior = level * pattern
    own = local.variance / np.maximum(local.n, 1e-9)
    base = np.square(level) * known + own
    distance = np.square(local.mean - prior)

    def excess(between: float) -> float:
        weight = 1 / (base + np.square(prior) * between)
        return float((weight * distance)[fits].sum()) - (int(fits.sum()) - 1)

    distance_beyond = excess(spread) + int(fits.sum()) - 1
    # How far this market differs may show in its own data more than in the mature ones.
    between = max(spread, _root(excess))
    prior_variance = np.square(level) * known + np.square(prior) * between
    weight = np.where(has, prior_variance / (prior_variance + own), 0.0)
    pooled = np.where(has, weight * np.nan_to_num(local.mean) + (1 - weight) * prior, prior)
    # The level is this market's own and uncertain too; it moves what leans on the pattern.
    of_level = local.variance * precision[fits].sum() / float(precision[fits] @ pattern[fits]) ** 2
    leaning = np.square((1 - weight) * pattern) * of_level
    variance = np.where(has, weight * own, prior_variance) + leaning
    alone = ~np.isfinite(pattern)
    return _Blend(
        prior=prior,
        mean=np.where(alone, local.mean, pooled),
        variance=np.where(alone, own, variance),
        weight=np.where(alone, 1.0, weight),
        p_value=float(stats.chi2.sf(distance_beyond, int(fits.sum()) - 1)),
    )


def estimate_pooled(
    rows: pd.DataFrame,
    aggregates: Sequence[pd.DataFrame],
    *,
    group: str,
    value: str,
    unit: str,
    as_of: date,
    level: float = 0.95,
    seed: int = 1,
) -> Pooled:
    """Draw a sparse market's group means towards the mature pattern, if that predicts better.

    Ten-fold cross-validation within the market compares squared errors customer by customer:
    local means alone, the mature pattern at the local level alone, and both pooled. Where
    pooling does not lower the loss, or the market's groups lie further from the pattern than
    mature markets do (Cochran's Q, one in a hundred), the local means stand: no negative
    transfer.

    Args:
        rows: The sparse market, one row per customer.
        aggregates: One per mature market, as from `group_aggregates`.
        group, value: Columns of `rows`.
        unit: Of `value`, see `findings.Measured`.
        seed: Of the folds.

    Raises:
        TooFew: Too few customers, groups or mature markets to compare.
    """
    pattern = mature_pattern(aggregates)
    chosen = rows[[group, value]].dropna()
    names = sorted(set(chosen[group].astype(str)) | set(pattern.mean.index))
    codes = pd.Categorical(chosen[group].astype(str), categories=names).codes.astype(np.int64)
    values = chosen[value].to_numpy(dtype=float)
    shared = len(set(chosen[group].astype(str)) & set(pattern.mean.index))
    if shared < 3 or len(values) < 3 * _FOLDS:
        raise TooFew(f"{len(values)} customers in {shared} shared groups; it takes thirty in three")
    means = pattern.mean.reindex(names).to_numpy(dtype=float)
    known = pattern.variance.reindex(names).to_numpy(dtype=float)
    folds = np.random.default_rng(seed).permutation(len(values)) % _FOLDS
    loss = np.zeros((3, len(values)))
    for fold in range(_FOLDS):
        out = folds == fold
        local = _summarise(codes[~out], values[~out], len(names))
        overall = float(values[~out].mean())
        blend = _pool(local, means, known, pattern.spread)
        for row, prediction in enumerate((local.mean, blend.prior, blend.mean)):
            usable = np.where(np.isfinite(prediction), prediction, overall)
            loss[row, out] = np.square(values[out] - usable[codes[out]])
    gain = _gain(loss[0] - loss[2], loss[0], as_of=as_of, level=level)
    against_mature = _gain(loss[1] - loss[2], loss[1], as_of=as_of, level=level)
    local = _summarise(codes, values, len(names))
    blend = _pool(local, means, known, pattern.spread)
    is_alike = blend.p_value >= _UNLIKE
    is_borrowed = gain.value > 0 and is_alike
    own = local.variance / np.maximum(local.n, 1e-9)
    z = float(stats.norm.ppf(0.5 + level / 2))
    mean = blend.mean if is_borrowed else local.mean
    error = np.sqrt(blend.variance if is_borrowed else own)
    has = local.n > 0
    return Pooled(
        groups=pd.DataFrame(
            {
                "group": names,
                "n": local.n.astype(int),
                "local_mean": local.mean,
                "mature_mean": blend.prior,
                "mean": mean,
                "lower": mean - z * error,
                "upper": mean + z * error,
                "weight": blend.weight if is_borrowed else np.where(has, 1.0, np.nan),
            }
        ),
        is_borrowed=is_borrowed,
        is_alike=is_alike,
        group=Name(group.replace("_", " ")),
        gain=gain,
        gain_against_mature=against_mature,
        precision_gain=float(np.median((own / blend.variance)[has])) if is_borrowed else 1.0,
        spread=float(np.sqrt(pattern.spread)),
        n_markets=pattern.n_markets,
        unit=unit,
    )


def _gain(difference: Floats, loss: Floats, *, as_of: date, level: float) -> Estimate:
    """Mean difference of paired losses as a share of the mean loss, with its standard error."""
    n, scale = len(difference), max(float(loss.mean()), 1e-12)
    half = float(stats.t.ppf(0.5 + level / 2, n - 1)) * float(difference.std(ddof=1)) / np.sqrt(n)
    value = float(difference.mean())
    return Estimate(
        value=max(value / scale, -1.0),
        lower=max(float((value - half) / scale), -1.0),
        upper=float((value + half) / scale),
        unit="change",
        n=n,
        as_of=as_of,
        level=level,
        method="paired ten-fold cross-validation",
    )
