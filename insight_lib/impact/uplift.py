"""Who answers because of the contact: scores, the Qini curve, and value against cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from insight_lib.findings import Estimate, TooFew, unit_of_difference
from insight_lib.statistics import estimate_ratio

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
_FEWEST_PER_ARM = 200


def _forest(seed: int) -> HistGradientBoostingRegressor:
    """Small trees and slow steps: effects are faint, and a wild model ranks by noise."""
    return HistGradientBoostingRegressor(
        max_leaf_nodes=8,
        min_samples_leaf=100,
        learning_rate=0.05,
        max_iter=50,
        l2_regularization=10.0,
        early_stopping=False,
        random_state=seed,
    )


def two_models(x: Floats, y: Floats, is_treated: Flags, new: Floats, *, seed: int) -> Floats:
    """T-learner: one model per arm, and the difference of what they foretell."""
    treated = _forest(seed).fit(x[is_treated], y[is_treated])
    control = _forest(seed).fit(x[~is_treated], y[~is_treated])
    return np.asarray(treated.predict(new) - control.predict(new), dtype=float)


def crossed_models(x: Floats, y: Floats, is_treated: Flags, new: Floats, *, seed: int) -> Floats:
    """X-learner (Künzel, Sekhon, Bickel and Yu, 2019, PNAS): models of the effects themselves.

    Each customer's own effect is what came less what the other arm's model foretells; the
    two models of these are weighted by the share treated.
    """
    treated = _forest(seed).fit(x[is_treated], y[is_treated])
    control = _forest(seed).fit(x[~is_treated], y[~is_treated])
    gained = y[is_treated] - control.predict(x[is_treated])
    missed = treated.predict(x[~is_treated]) - y[~is_treated]
    share = float(is_treated.mean())
    from_treated = _forest(seed).fit(x[is_treated], gained).predict(new)
    from_control = _forest(seed).fit(x[~is_treated], missed).predict(new)
    return np.asarray(share * from_control + (1 - share) * from_treated, dtype=float)


_FOLD_REPEATS = 3
Learner = Callable[..., Floats]
LEARNERS: Mapping[str, Learner] = {"two models": two_models, "crossed models": crossed_models}


def out_of_fold_scores(
    x: Floats,
    y: Floats,
    is_treated: Flags,
    *,
    learner: Learner,
    seed: int,
    n_folds: int = 5,
) -> tuple[Floats, Floats]:
    """Score every customer by models that never saw that customer; folds keep the arms' share.

    Several ways to cut the folds, so that little hangs on how they fell.

    Returns:
        The mean score of each customer; and for each way (rows) each customer's rank among
        those whom the same model scored, 0 the best to 1. Ranks across folds would hold a
        customer's own outcome: it moved the models of all others, and not the own one, so that
        noise would read as choosing worse than by lot.
    """
    rng = np.random.default_rng(seed)
    fold = np.empty(len(y), dtype=int)
    scores, ranks = np.zeros((2, _FOLD_REPEATS, len(y)))
    # Small trees lose more time to waiting for each other's cores than they win.
    with threadpool_limits(1):
        for way in range(_FOLD_REPEATS):
            for arm in (True, False):
                at = np.flatnonzero(is_treated == arm)
                fold[rng.permutation(at)] = np.arange(len(at)) % n_folds
            for k in range(n_folds):
                out = fold == k
                rest = ~out
                given = learner(x[rest], y[rest], is_treated[rest], x[out], seed=seed)
                scores[way, out] = given
                # Ties in the score are put in random order: they say nothing about each other.
                order = np.lexsort((rng.random(len(given)), -given))
                ranks[way, np.flatnonzero(out)[order]] = (np.arange(len(given)) + 0.5) / len(given)
    return scores.mean(axis=0), ranks


@dataclass(frozen=True, kw_only=True)
class Uplift:
    """How well one learner finds those who answer because of the contact.

    Attributes:
        curve: share (contacted, best first), gain, lower, upper, random: extra outcome per
            customer of the market when that share is contacted.
        better_than_random: Mean height of the curve above contacting as many at random.
        is_better: The whole interval lies above zero, for all learners judged together.
    """

    learner: str
    curve: pd.DataFrame
    better_than_random: Estimate
    is_better: bool
    scores: Floats


def estimate_uplift(
    frame: pd.DataFrame,
    features: list[str],
    *,
    outcome: str,
    unit: str,
    as_of: date,
    seed: int,
    level: float = 0.95,
    n_draws: int = 300,
) -> tuple[Uplift, ...]:
    """The Qini curve of each learner (Radcliffe, 2007), best first.

    Gain at a share is that share times the difference of means among the customers chosen,
    the best of each fold; the mean over the ways to cut the folds.
    Intervals draw customers anew (bootstrap) with scores held, and are widened for the
    number of learners (Bonferroni), so that choosing the best one claims nothing by luck.

    Args:
        frame: One row per customer of a test drawn by lot: `is_treated`, features, outcome.

    Raises:
        TooFew: An arm has fewer than two hundred customers, or all of them did the same.
    """
    is_treated = frame["is_treated"].to_numpy(dtype=bool)
    smallest = min(int(is_treated.sum()), int((~is_treated).sum()))
    if smallest < _FEWEST_PER_ARM:
        raise TooFew(f"{smallest} customers in an arm; ranking takes {_FEWEST_PER_ARM}")
    x = frame[features].to_numpy(dtype=float)
    y = frame[outcome].to_numpy(dtype=float)
    if len(np.unique(y)) < 2:
        raise TooFew(
            "every customer of the test did the same",
            takes="a test in which some did it and some did not",
        )
    strict = 1 - (1 - level) / len(LEARNERS)
    results = []
    for name, learner in LEARNERS.items():
        scores, ranks = out_of_fold_scores(x, y, is_treated, learner=learner, seed=seed)
        results.append(
            _judge(
                name, scores, ranks, y, is_treated, unit=unit, as_of=as_of, seed=seed,
                level=strict, n_draws=n_draws,
            )
        )  # fmt: skip
    return tuple(sorted(results, key=lambda r: (-r.better_than_random.value, r.learner)))


def _judge(
    name: str,
    scores: Floats,
    ranks: Floats,
    y: Floats,
    is_treated: Flags,
    *,
    unit: str,
    as_of: date,
    seed: int,
    level: float,
    n_draws: int,
) -> Uplift:
    rng = np.random.default_rng(seed)
    n = len(y)
    orders = [np.argsort(rank, kind="stable") for rank in ranks]
    shares = np.linspace(0, 1, 21)
    cuts = np.round(shares * n).astype(int)

    def gains(weights: Floats) -> Floats:
        each = [_gains(weights[:, at], y[at], is_treated[at], cuts) for at in orders]
        return np.asarray(np.mean(each, axis=0), dtype=float)

    gain = gains(np.ones((1, n)))[0]
    drawn = np.concatenate(
        [gains(rng.poisson(1.0, (size, n)).astype(float)) for size in _chunks(n_draws, n)]
    )
    tails = [(1 - level) / 2, (1 + level) / 2]
    above = _above_random(gain[None, :], shares)[0]
    # Each pair of customers speaks twice, the one in the other's model and the other in the one's:
    # where nothing is to be found, twice the variance that drawing customers anew can see.
    error = float(_above_random(drawn, shares).std(ddof=1)) * float(np.sqrt(2))
    low, high = np.quantile(drawn, tails, axis=0)
    half = float(stats.norm.ppf(tails[1])) * error
    curve = pd.DataFrame(
        {
            "share": shares,
            "gain": gain,
            "lower": np.minimum(low, gain),
            "upper": np.maximum(high, gain),
            "random": shares * gain[-1],
        }
    )
    return Uplift(
        learner=name,
        curve=curve,
        better_than_random=Estimate(
            value=above,
            lower=above - half,
            upper=above + half,
            unit=unit_of_difference(unit),
            n=n,
            as_of=as_of,
            level=level,
            method="area between Qini curve and chance (Radcliffe, 2007), bootstrap",
        ),
        is_better=above - half > 0,
        scores=scores,
    )


def _chunks(n_draws: int, n: int) -> list[int]:
    """Draws in portions of at most about ten million numbers."""
    size = max(1, min(n_draws, 10_000_000 // n))
    return [min(size, n_draws - at) for at in range(0, n_draws, size)]


def _gains(weights: Floats, y: Floats, is_treated: Flags, cuts: NDArray[np.int_]) -> Floats:
    """Gain per customer at each cut, one row per row of weights."""

    def upto(values: Floats) -> Floats:
        total = np.cumsum(weights * values, axis=1)
        total = np.concatenate([np.zeros((len(weights), 1)), total], axis=1)
        return np.asarray(total[:, cuts], dtype=float)

    n_t, n_c = upto(is_treated.astype(float)), upto((~is_treated).astype(float))
    sum_t, sum_c = upto(y * is_treated), upto(y * ~is_treated)
    effect = sum_t / np.maximum(n_t, 1) - sum_c / np.maximum(n_c, 1)
    n = n_t + n_c
    return np.asarray(effect * n / n[:, -1:], dtype=float)


def _above_random(gains: Floats, shares: Floats) -> Floats:
    return np.asarray(np.mean(gains - gains[:, -1:] * shares, axis=1), dtype=float)


@dataclass(frozen=True, kw_only=True)
class ContactValue:
    """What one contact brings, after its cost.

    Attributes:
        per_contact: Margin of the extra revenue per contact, less the cost of the contact.
        lift: Extra revenue per contact.
        total: `per_contact` times the customers contacted.
    """

    arm: str
    lift: Estimate
    per_contact: Estimate
    total: Estimate
    cost_amount: float
    margin_share: float


def value_per_contact(
    lift: Estimate, *, arm: str, n_contacts: int, cost_amount: float, margin_share: float
) -> ContactValue:
    """Turn extra revenue per contact into what is left after margin and cost.

    Args:
        lift: Extra revenue per contacted customer against control, with its interval.
        margin_share: Share of revenue left after the cost of goods, 0-1.
    """

    def scaled(factor: float, shift: float) -> Estimate:
        ends = sorted((lift.lower * factor - shift, lift.upper * factor - shift))
        return Estimate(
            value=lift.value * factor - shift,
            lower=ends[0],
            upper=ends[1],
            unit=lift.unit,
            n=lift.n,
            as_of=lift.as_of,
            level=lift.level,
            method=lift.method,
        )

    return ContactValue(
        arm=arm,
        lift=lift,
        per_contact=scaled(margin_share, cost_amount),
        total=scaled(margin_share * n_contacts, cost_amount * n_contacts),
        cost_amount=cost_amount,
        margin_share=margin_share,
    )


@dataclass(frozen=True, kw_only=True)
class TargetingRule:
    """Contact only those whose expected extra margin pays the contact, against all and none.

    Attributes:
        share: Share of customers that the rule contacts.
        value: Net value per customer of the market under the rule.
        against_all: The rule less contacting everyone.
        against_none: The rule less contacting no one; the same as `value`.
    """

    share: float
    value: Estimate
    against_all: Estimate

    @property
    def pays(self) -> bool:
        return self.value.lower > 0

    @property
    def beats_all(self) -> bool:
        return self.against_all.lower > 0


def evaluate_targeting(
    frame: pd.DataFrame,
    scores: Floats,
    *,
    revenue: str,
    cost_amount: float,
    margin_share: float,
    unit: str,
    as_of: date,
    level: float = 0.95,
) -> TargetingRule:
    """Value of the rule "contact if expected extra margin exceeds the cost", from the test itself.

    Inverse-probability value of a policy (Horvitz and Thompson, 1952; Hájek weights): scores
    are out of fold and the cut is the cost, not the best of many, so the value is honest.

    Args:
        frame: `is_treated` and revenue, one row per customer.
        scores: Expected extra revenue of a contact, out of fold.
    """
    is_treated = frame["is_treated"].to_numpy(dtype=bool)
    margin = frame[revenue].to_numpy(dtype=float) * margin_share
    chosen = scores * margin_share > cost_amount
    share = is_treated.mean()
    sign = np.where(is_treated, 1 / share, -1 / (1 - share))
    # Centring each arm takes the level out of the noise and leaves the difference.
    level_margin = (1 - share) * margin[is_treated].mean() + share * margin[~is_treated].mean()
    per_customer = (margin - level_margin) * sign - cost_amount
    ones = np.ones(len(frame))
    value = estimate_ratio(per_customer * chosen, ones, unit=unit, as_of=as_of, level=level)
    against = estimate_ratio(-per_customer * ~chosen, ones, unit=unit, as_of=as_of, level=level)
    return TargetingRule(share=float(chosen.mean()), value=value, against_all=against)
