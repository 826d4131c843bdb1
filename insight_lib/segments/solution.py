"""Groups that are really there: more distinct than chance, and found again.

Chance is made from the same customers: points spread evenly over their principal axes
(Tibshirani, Walther and Hastie, 2001), and the same columns each shuffled on its own. A
solution is published only if it is more distinct than both, if fewer customers stand between
its groups than one cloud would have there (`cloud`), if every group comes back in resamples
(Jaccard; Hennig, 2007), and if a plan made by group in one half year still beats one plan for
all in the next. A test that was not made supports nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

from insight_lib.findings import Estimate, TooFew
from insight_lib.segments.cloud import valley, would_show_kinds
from insight_lib.statistics import estimate_ratio

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

METHODS = ("k-means", "mixture")
_VALLEY_ERROR = 0.01
_N_CLOUDS = 19
_CLOUD_MARGIN = 1.2  # for what drawn customers miss of the real ones


class Fault(StrEnum):
    """Why a solution is not published."""

    CHANCE = "chance"
    ONE_CLOUD = "one cloud"
    SMALL_GROUP = "small group"
    DOES_NOT_COME_BACK = "does not come back"
    ONE_PERIOD = "one period"
    DOES_NOT_LAST = "does not last"
    MAY_NOT_LAST = "may not last"


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """What a solution has to reach to be published.

    Attributes:
        chance_share: Largest share of chance data sets that may look as distinct.
        smallest_jaccard: For every group, mean over resamples.
        smallest_kept: Part of the gain of a plan by group that is left in the half year after;
            at one half the misplaced customers cost as much as the others bring.
        smallest_customers: In every group, among those the groups were made from.
    """

    chance_share: float = 0.05
    smallest_jaccard: float = 0.75
    smallest_kept: float = 0.5
    smallest_customers: int = 50


@dataclass(frozen=True, kw_only=True)
class Model:
    """Centres (groups by columns), and variances and shares for a mixture."""

    method: str
    centres: Floats
    variances: Floats | None = None
    shares: Floats | None = None

    def assign(self, matrix: Floats) -> Labels:
        """The group of each row: nearest centre, or likeliest component; ties to the first."""
        # (x - c)^2 = x^2 - 2xc + c^2, so a million customers need no cube of differences.
        weight = 1.0 / self.variances if self.variances is not None else np.ones_like(self.centres)
        distance = (
            np.square(matrix) @ weight.T
            - 2 * matrix @ (weight * self.centres).T
            + (weight * np.square(self.centres)).sum(axis=1)
        )
        if self.variances is not None and self.shares is not None:
            distance += np.log(self.variances).sum(axis=1) - 2 * np.log(self.shares)
        found: Labels = distance.argmin(axis=1).astype(np.int64)
        return found


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One solution under the yardsticks.

    Attributes:
        silhouette, chance_silhouette: Observed, and the mean that chance reaches.
        is_distinct: Above what chance reaches at this number of groups.
        jaccard: Per group, largest group first.
        valley: How much deeper the shallowest valley between two groups is than the deepest
            that one cloud has; missing where it was not looked at.
        kept: Part of the gain of a plan by group left in the half year after; missing if there
            are no two periods.
        fault: Why it is not published; none if it may be.
    """

    method: str
    k: int
    silhouette: float
    chance_silhouette: float
    is_distinct: bool
    jaccard: tuple[float, ...]
    valley: float | None
    kept: Estimate | None
    smallest_customers: int
    fault: Fault | None

    @property
    def excess(self) -> float:
        return self.silhouette - self.chance_silhouette


@dataclass(frozen=True, kw_only=True)
class Solution:
    """The answer: groups, or that there are none.

    Attributes:
        model: Missing if no solution may be published.
        labels: Group of each customer, 0 is the largest; empty without a model.
        probability: Share of resamples that put the customer into the same group.
        chance_share: Share of chance data sets as distinct as the data.
        n_fitted: Customers that the groups were made from.
        power: How often kinds of customers would show, were all differences of kind; missing
            where it is not known how much of a difference is chance of few purchases.
    """

    customer_id: tuple[str, ...]
    model: Model | None
    labels: Labels
    probability: Floats
    chosen: Candidate | None
    candidates: tuple[Candidate, ...]
    chance_share: float
    n_fitted: int
    thresholds: Thresholds
    power: float | None = None

    @property
    def k(self) -> int:
        return self.chosen.k if self.chosen else 0

    def table(self) -> pd.DataFrame:
        """customer_id, segment (`s1` is the largest), probability."""
        return pd.DataFrame(
            {
                "customer_id": list(self.customer_id) if self.model else [],
                "segment": [f"s{label + 1}" for label in self.labels],
                "probability": self.probability,
            }
        )


def estimate_segments(
    matrix: Floats,
    customer_id: Sequence[str],
    *,
    other_periods: tuple[Floats, Floats] | None = None,
    one_cloud: Callable[[np.random.Generator], Floats] | None = None,
    reliability: float | None = None,
    as_of: date = date.min,
    k_range: tuple[int, int] = (2, 8),
    thresholds: Thresholds | None = None,
    n_chance: int = 39,
    n_resamples: int = 30,
    n_fit: int = 5000,
    n_reference: int = 1000,
    seed: int = 0,
) -> Solution:
    """Find the groups that are really there, or say that there are none.

    Args:
        matrix: Customers by scaled columns.
        customer_id: One per row; rows are put in this order, so their order in the input
            does not matter.
        other_periods: The same customers described from two periods apart, the earlier first.
        one_cloud: Draws coordinates of customers who differ by degree only; by default even
            spreads over the principal axes.
        reliability: Share of the differences that is not chance of few purchases.
        k_range: Fewest and most groups tried.
        n_chance: Chance data sets of each of the two kinds.
        n_fit: More customers than this are sampled, and the rest assigned.
        n_reference: Customers in the silhouettes and the chance data sets.

    Raises:
        TooFew: Too few customers for two groups of the smallest size.
    """
    limits = thresholds or Thresholds()
    order = np.argsort(np.asarray(customer_id, dtype=str), kind="stable")
    ids = tuple(str(customer_id[i]) for i in order)
    x = np.ascontiguousarray(np.asarray(matrix, dtype=float)[order])
    if len(x) < 2 * limits.smallest_customers:
        raise TooFew(f"{len(x):,} customers, and two groups take {2 * limits.smallest_customers:,}")
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(x))[:n_fit])
    fitted = x[rows]
    reference = np.sort(rng.permutation(len(fitted))[:n_reference])
    top = min(k_range[1], len(fitted) // limits.smallest_customers)
    ks = list(range(k_range[0], max(top, k_range[0]) + 1))
    with threadpool_limits(limits=1):  # sums in one order, so the same input gives the same groups
        models = {(m, k): fit_model(fitted, k, method=m, seed=seed) for m in METHODS for k in ks}
        observed = {
            key: _silhouette(fitted[reference], model.assign(fitted[reference]))
            for key, model in models.items()
        }
        chance = _chance_silhouettes(fitted[reference], ks, n_chance=n_chance, rng=rng)
        share = _chance_share(np.array([observed["k-means", k] for k in ks]), chance)
        periods = _ordered(other_periods, order)
        clouds = _Clouds(fitted[reference], one_cloud, seed=seed)
        candidates: list[Candidate] = []
        refits: dict[tuple[str, int], list[Model]] = {}
        for number, ((method, k), model) in enumerate(models.items()):
            column = chance[:, :, ks.index(k)]
            bar = float(np.quantile(column, 1 - limits.chance_share, axis=1).max())
            sizes = np.bincount(model.assign(fitted), minlength=k)
            candidate = Candidate(
                method=method,
                k=k,
                silhouette=observed[method, k],
                chance_silhouette=float(column.mean(axis=1).max()),
                is_distinct=observed[method, k] > bar,
                jaccard=(),
                valley=None,
                kept=None,
                smallest_customers=int(sizes.min()),
                fault=None,
            )
            if candidate.is_distinct and share <= limits.chance_share:
                candidate = replace(candidate, valley=clouds.valley(k))
            if candidate.valley is not None and candidate.valley > 1:
                again = [
                    _refit(fitted, model, seed=seed + 1000 * number + r) for r in range(n_resamples)
                ]
                refits[method, k] = [new for new, _ in again]
                candidate = replace(
                    candidate,
                    jaccard=tuple(np.mean([shares for _, shares in again], axis=0).tolist()),
                    kept=_kept(periods, k, method=method, seed=seed, as_of=as_of),
                )
            candidates.append(replace(candidate, fault=_fault(candidate, share, limits)))
        chosen = _choose(candidates)
        power = (
            would_show_kinds(len(reference), reliability=reliability, seed=seed)
            if reliability is not None and chosen is None
            else None
        )
        if chosen is None:
            return Solution(
                customer_id=ids,
                model=None,
                labels=np.zeros(0, dtype=np.int64),
                probability=np.zeros(0),
                chosen=None,
                candidates=tuple(candidates),
                chance_share=share,
                n_fitted=len(fitted),
                thresholds=limits,
                power=power,
            )
        model = models[chosen.method, chosen.k]
        labels = model.assign(x)
        same = np.mean([new.assign(x) == labels for new in refits[chosen.method, chosen.k]], axis=0)
    return Solution(
        customer_id=ids,
        model=model,
        labels=labels,
        probability=same,
        chosen=chosen,
        candidates=tuple(candidates),
        chance_share=share,
        n_fitted=len(fitted),
        thresholds=limits,
    )


def nobody_differs(customer_id: Sequence[str], *, thresholds: Thresholds) -> Solution:
    """No groups, because customers differ no more than one customer's own orders do."""
    return Solution(
        customer_id=tuple(sorted(customer_id)),
        model=None,
        labels=np.zeros(0, dtype=np.int64),
        probability=np.zeros(0),
        chosen=None,
        candidates=(),
        chance_share=1.0,
        n_fitted=len(customer_id),
        thresholds=thresholds,
    )


def fit_model(matrix: Floats, k: int, *, method: str = "k-means", seed: int = 0) -> Model:
    """Fit k groups; the largest first, ties by the centre's coordinates."""
    means = KMeans(k, n_init=10, random_state=seed).fit(matrix)
    model = Model(method="k-means", centres=means.cluster_centers_)
    if method == "mixture":
        mixture = GaussianMixture(
            k,
            covariance_type="diag",
            reg_covar=1e-3,
            means_init=means.cluster_centers_,
            random_state=seed,
        ).fit(matrix)
        model = Model(
            method="mixture",
            centres=mixture.means_,
            variances=mixture.covariances_,
            shares=np.maximum(mixture.weights_, 1e-12),
        )
    sizes = np.bincount(model.assign(matrix), minlength=k)
    order = sorted(range(k), key=lambda g: (-int(sizes[g]), *model.centres[g].round(9).tolist()))
    return _reordered(model, np.array(order))


def _reordered(model: Model, order: Labels) -> Model:
    return replace(
        model,
        centres=model.centres[order],
        variances=None if model.variances is None else model.variances[order],
        shares=None if model.shares is None else model.shares[order],
    )


def _silhouette(matrix: Floats, labels: Labels) -> float:
    if len(np.unique(labels)) < 2:
        return -1.0
    return float(silhouette_score(matrix, labels))


def _chance_silhouettes(
    matrix: Floats, ks: Sequence[int], *, n_chance: int, rng: np.random.Generator
) -> Floats:
    """Silhouettes that chance reaches: two kinds of chance, by data sets, by numbers of groups."""
    found = np.zeros((2, n_chance, len(ks)))
    for number in range(n_chance):
        for kind, data in enumerate((_evenly_spread(matrix, rng), _shuffled(matrix, rng))):
            for j, k in enumerate(ks):
                start = int(rng.integers(2**31))
                labels = KMeans(k, n_init=3, random_state=start).fit_predict(data)
                found[kind, number, j] = _silhouette(data, labels)
    return found


def _evenly_spread(matrix: Floats, rng: np.random.Generator) -> Floats:
    centre = matrix.mean(axis=0)
    _, _, axes = np.linalg.svd(matrix - centre, full_matrices=False)
    scores = (matrix - centre) @ axes.T
    drawn = rng.uniform(scores.min(axis=0), scores.max(axis=0), size=scores.shape)
    spread: Floats = drawn @ axes + centre
    return spread


def _shuffled(matrix: Floats, rng: np.random.Generator) -> Floats:
    return np.column_stack([rng.permutation(column) for column in matrix.T])


def _chance_share(observed: Floats, chance: Floats) -> float:
    """Share of chance data sets whose best number of groups stands out as far, worse kind."""
    shares = []
    for kind in chance:
        middle, spread = kind.mean(axis=0), np.maximum(kind.std(axis=0, ddof=1), 1e-12)
        top = ((kind - middle) / spread).max(axis=1)
        ours = float(((observed - middle) / spread).max())
        shares.append((1 + int((top >= ours).sum())) / (1 + len(top)))
    return max(shares)


def _refit(matrix: Floats, model: Model, *, seed: int) -> tuple[Model, Floats]:
    """Groups of a resample in the order of the first ones, and their Jaccard to them."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, len(matrix), len(matrix))
    k = len(model.centres)
    new = fit_model(matrix[rows], k, method=model.method, seed=seed)
    drawn = np.unique(rows)
    table = _overlap(model.assign(matrix[drawn]), new.assign(matrix[drawn]), k)
    union = table.sum(axis=1)[:, None] + table.sum(axis=0)[None, :] - table
    jaccard = table / np.maximum(union, 1)
    _, match = linear_sum_assignment(-jaccard)
    # Hennig (2007) takes each group's best partner; a partner serves one group only in the
    # order that customers are assigned by.
    return _reordered(new, match.astype(np.int64)), jaccard.max(axis=1)


def _overlap(left: Labels, right: Labels, k: int) -> Floats:
    table: Floats = np.bincount(left * k + right, minlength=k * k).reshape(k, k).astype(float)
    return table


def _ordered(
    periods: tuple[Floats, Floats] | None, order: NDArray[Any]
) -> tuple[Floats, Floats] | None:
    if periods is None:
        return None
    first, second = (np.asarray(p, dtype=float) for p in periods)
    if len(first) != len(second):
        raise ValueError("the two periods describe different customers")
    if len(first) == len(order):
        first, second = first[order], second[order]
    return first, second


def _kept(
    periods: tuple[Floats, Floats] | None, k: int, *, method: str, seed: int, as_of: date
) -> Estimate | None:
    """What is left in the later period of the gain of a plan by the earlier one's groups.

    Every customer is planned for by the mean of the own group. Against one plan for all, that
    takes `2 x kept - 1` times the spread of the plans off the squared error, so that plans by
    group win from one half on: there the customers who stand in the wrong group by then cost
    what the others bring. Groups drawn by lot keep nothing.
    """
    if periods is None:
        return None
    first, second = periods
    labels = fit_model(first, k, method=method, seed=seed).assign(first)
    middle = first.mean(axis=0)
    plans = np.array([first[labels == g].mean(axis=0) if (labels == g).any() else middle
                      for g in range(k)]) - middle  # fmt: skip
    came = ((second - second.mean(axis=0)) * plans[labels]).sum(axis=1)
    planned = np.square(plans[labels]).sum(axis=1)
    if planned.sum() <= 0:
        return None
    return estimate_ratio(came, planned, unit="ratio", as_of=as_of)


def _fault(candidate: Candidate, chance_share: float, limits: Thresholds) -> Fault | None:
    kept = candidate.kept
    tests = {
        Fault.CHANCE: chance_share > limits.chance_share or not candidate.is_distinct,
        Fault.ONE_CLOUD: candidate.valley is None or candidate.valley <= 1,
        Fault.SMALL_GROUP: candidate.smallest_customers < limits.smallest_customers,
        Fault.DOES_NOT_COME_BACK: min(candidate.jaccard, default=0.0) < limits.smallest_jaccard,
        Fault.ONE_PERIOD: kept is None,
        Fault.DOES_NOT_LAST: kept is not None and kept.upper < limits.smallest_kept,
        Fault.MAY_NOT_LAST: kept is not None and kept.lower < limits.smallest_kept,
    }
    return next((fault for fault, is_so in tests.items() if is_so), None)


class _Clouds:
    """Valleys by number of groups, measured by the deepest that one cloud has; made once."""

    def __init__(
        self,
        matrix: Floats,
        one_cloud: Callable[[np.random.Generator], Floats] | None,
        *,
        seed: int,
    ) -> None:
        self._matrix, self._seed = matrix, seed
        self._draw = one_cloud or (lambda rng: _evenly_spread(matrix, rng))
        self._found: dict[int, float] = {}

    def valley(self, k: int) -> float:
        if k not in self._found:
            self._found[k] = self._measure(k)
        return self._found[k]

    def _measure(self, k: int) -> float:
        def fit(rows: Floats) -> Model:
            return Model(
                method="k-means",
                centres=KMeans(k, n_init=3, random_state=self._seed).fit(rows).cluster_centers_,
            )

        scaled, p_value = valley(self._matrix, fit, seed=self._seed)
        if p_value > _VALLEY_ERROR:
            return 0.0
        rng = np.random.default_rng(self._seed)
        deepest = 0.0
        for _ in range(_N_CLOUDS):
            drawn = self._draw(rng)
            rows = rng.permutation(len(drawn))[: len(self._matrix)]
            deepest = max(deepest, valley(drawn[rows], fit, seed=self._seed)[0])
        return scaled / (_CLOUD_MARGIN * deepest)


def _choose(candidates: Sequence[Candidate]) -> Candidate | None:
    """The most distinct beyond chance; ties to fewer groups, then to the simpler method."""
    good = [c for c in candidates if not c.fault]
    return min(
        good, key=lambda c: (-round(c.excess, 9), c.k, METHODS.index(c.method)), default=None
    )
