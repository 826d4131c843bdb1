"""Which model is good enough, tried on days later than those it learned from.

Rolling origin (Tashman, 2000): a training row's horizon has ended by the cut that the model is
tested at, so nothing that a model learns from lies after the day it predicts from. The simplest
estimator within one standard error of the best is taken (Breiman et al., 1984).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize, stats

from insight_lib.findings import Estimate, Measured, TooFew
from insight_lib.prediction.document import ESTIMATORS, Document, canonical_bytes, count_terms
from insight_lib.prediction.fit import Training, calibration, fit, sample_customers, stack
from insight_lib.prediction.scorer import score
from insight_lib.prediction.snapshots import Snapshot, Target
from insight_lib.statistics import Floats, estimate_share

_RESAMPLES = 200
_BINS = 10
_CHAMPION_DRAWS = 200
_METHOD = "rolling origin, customers and folds drawn again (Tashman, 2000; Owen, 2007)"


@dataclass(frozen=True, kw_only=True)
class Fold:
    """One trial: learned at some cuts, tested at a later one."""

    train_cuts: tuple[str, ...]
    test_cut: str
    n_train: int
    n_test: int


@dataclass(frozen=True, kw_only=True)
class Contender:
    """An estimator's marks over all folds.

    Attributes:
        ranking: Share of pairs ranked right (area under the curve) for a yes or no; for an
            amount, how far from guessing to knowing the order it gets (normalised Gini).
        captured: Share of the label held by the customers that capacity reaches, best first.
        calibration_error: Mean gap between expected and observed: as a share for a yes or no,
            relative to the mean for an amount.
        calibration_slope: One where scores spread as outcomes do.
        calibration_intercept: Zero where their level is right.
        total_ratio: Expected total over observed total.
        squared_error: Mean squared error (Brier score for a yes or no).
        spread: Standard deviation of `ranking` over folds; NaN for a single fold.
        agreement: Rank correlation of the last two fits on the same customers.
        behind: How far behind the best it is; None for the best.
    """

    estimator: str
    ranking: Estimate
    captured: Estimate
    calibration_error: float
    calibration_slope: float
    calibration_intercept: float
    total_ratio: float
    squared_error: float
    spread: float
    agreement: float
    n_terms: int
    n_bytes: int
    behind: Estimate | None
    is_within_error: bool


@dataclass(frozen=True, kw_only=True)
class Board:
    """All contenders for one target, simplest first, and the choice.

    Attributes:
        why: `best` (nothing simpler comes near), `simplest` (as good within one standard
            error) or `override` (taken because someone said so).
        tested: The last fold's customers, with features, for whoever explains the model.
        documents: Per estimator, the model of the last fold.
        scores: Per estimator, scores of `tested`.
        curve: Expected and observed by tenth of the chosen model's scores over all folds:
            expected, observed, lower, upper, n.
        past: What the chosen model said of later days, and what came: customer_id, cut,
            forecast, actual.
        latest: How well the chosen model ranks on the last fold alone; an older one says
            nothing of a world that has changed since.
    """

    target: Target
    folds: tuple[Fold, ...]
    contenders: tuple[Contender, ...]
    best: str
    chosen: str
    why: Literal["best", "simplest", "override"]
    capacity_share: float
    trained: Training
    tested: Training
    documents: Mapping[str, Document]
    scores: Mapping[str, Floats]
    curve: pd.DataFrame
    past: pd.DataFrame
    latest: Estimate

    @property
    def key(self) -> str:
        return self.target.id

    @property
    def calibration_error(self) -> Measured:
        """Mean gap of the model in question; of amounts against their mean."""
        mark = self.contender(self.chosen)
        unit = "change" if self.target.kind == "amount" else "share"
        n, as_of = mark.ranking.n, mark.ranking.as_of
        return Measured(value=mark.calibration_error, unit=unit, n=n, as_of=as_of)

    def contender(self, estimator: str) -> Contender:
        """The marks of one estimator."""
        return next(c for c in self.contenders if c.estimator == estimator)


@dataclass(frozen=True, kw_only=True)
class _Trial:
    fold: Fold
    train: Training
    test: Training
    documents: Mapping[str, Document]
    scores: Mapping[str, Floats]


def split_in_time(
    snapshots: Sequence[Snapshot], target: Target, *, most_folds: int
) -> list[tuple[list[Snapshot], Snapshot]]:
    """Earlier and later snapshots whose label windows do not overlap.

    Raises:
        TooFew: No cut has another that ended before it.
    """
    labelled = sorted((s for s in snapshots if target.id in s.labels.columns), key=lambda s: s.cut)
    horizon = timedelta(days=target.horizon_days)
    folds = []
    for test in labelled:
        earlier = [s for s in labelled if s.cut + horizon <= test.cut]
        if earlier:
            folds.append((earlier, test))
    if not folds:
        raise TooFew(
            f"{len(labelled)} past days with outcomes, and it takes two a horizon apart",
            takes="more days of data",
        )
    return folds[-most_folds:]


def compare_estimators(
    snapshots: Sequence[Snapshot],
    target: Target,
    *,
    as_of: date,
    seed: int,
    capacity_share: float,
    most_folds: int = 3,
    most_rows: int = 20_000,
    estimators: Sequence[str] = ESTIMATORS,
    override: str | None = None,
    monotone: Mapping[str, int] | None = None,
    level: float = 0.95,
) -> Board:
    """Try every estimator on every fold and choose one.

    Args:
        capacity_share: Customers that can be contacted, as a share.
        override: Estimator to take whatever the board says.

    Raises:
        TooFew: Too few cuts, customers, or customers who did it.
        ValueError: `override` is not among the estimators.
    """
    order = [e for e in ESTIMATORS if e in estimators]
    if override is not None and override not in order:
        raise ValueError(f"override {override!r}: use one of {', '.join(order)}")
    options = {"target": target, "seed": seed, "most_rows": most_rows, "monotone": monotone}
    trials: list[_Trial] = []
    why_not: TooFew | None = None
    for train, test in split_in_time(snapshots, target, most_folds=most_folds):
        try:
            trials.append(
                _try(order, stack(train, target), stack([test], target), most_rows, options)
            )
        except TooFew as error:  # a period without cases does not judge
            why_not = error
    if not trials:
        raise why_not or TooFew("no period to try a model on")
    weights = _resampled(trials, seed)
    values: dict[str, tuple[float, Floats]] = {}
    captured: dict[str, tuple[float, Floats]] = {}
    by_fold: dict[str, Floats] = {}
    last_fold: dict[str, tuple[float, Floats]] = {}
    for name in order:
        marks = [_marks(t, name, target.kind, capacity_share, w) for t, w in weights]
        fold_weight = _fold_weights(len(trials), seed)
        by_fold[name] = np.array([ranking[0] for ranking, _ in marks])
        last_fold[name] = (float(marks[-1][0][0]), marks[-1][0][1:])
        for kept, position in ((values, 0), (captured, 1)):
            drawn = np.stack([m[position][1:] for m in marks], axis=1)
            point = float(np.mean([m[position][0] for m in marks]))
            kept[name] = (point, (drawn * fold_weight).sum(axis=1))
    best = max(order, key=lambda e: (values[e][0], -order.index(e)))
    n = len(np.unique(np.concatenate([t.test.customer_id.astype(str) for t in trials])))

    def estimate(value: float, drawn: Floats, low: float) -> Estimate:
        half = float(stats.norm.ppf(0.5 + level / 2)) * float(drawn.std(ddof=1))
        return Estimate(
            value=value,
            lower=min(max(value - half, low), value),
            upper=max(min(value + half, 1.0), value),
            unit="share" if low >= 0 else "change",
            n=n,
            as_of=as_of,
            level=level,
            method=_METHOD,
        )

    contenders = []
    for name in order:
        gap, gap_drawn = values[best][0] - values[name][0], values[best][1] - values[name][1]
        last = trials[-1].documents[name]
        scores = np.concatenate([t.scores[name] for t in trials])
        label = np.concatenate([t.test.label for t in trials])
        line = calibration(target.kind, scores, label, is_bounded=False)
        contenders.append(
            Contender(
                estimator=name,
                ranking=estimate(*values[name], -1.0 if target.kind == "amount" else 0.0),
                captured=estimate(*captured[name], 0.0),
                calibration_error=_calibration_error(scores, label, target.kind),
                calibration_slope=line["slope"],
                calibration_intercept=line["intercept"],
                total_ratio=float(scores.sum() / label.sum()) if label.sum() else float("nan"),
                squared_error=float(np.mean((scores - label) ** 2)),
                spread=float(by_fold[name].std(ddof=1)) if len(trials) > 1 else float("nan"),
                agreement=_agreement(trials, name),
                n_terms=count_terms(last),
                n_bytes=len(canonical_bytes(last)),
                behind=None if name == best else estimate(gap, gap_drawn, -1.0),
                is_within_error=gap <= float(gap_drawn.std(ddof=1)),
            )
        )
    simplest = next(c.estimator for c in contenders if c.is_within_error)
    chosen = override or simplest
    return Board(
        target=target,
        latest=estimate(*last_fold[chosen], -1.0 if target.kind == "amount" else 0.0),
        folds=tuple(t.fold for t in trials),
        contenders=tuple(contenders),
        best=best,
        chosen=chosen,
        why="override" if chosen != simplest else ("best" if chosen == best else "simplest"),
        capacity_share=capacity_share,
        trained=trials[-1].train,
        tested=trials[-1].test,
        documents=trials[-1].documents,
        scores=trials[-1].scores,
        curve=reliability(
            np.concatenate([t.scores[chosen] for t in trials]),
            np.concatenate([t.test.label for t in trials]),
            kind=target.kind,
            as_of=as_of,
            level=level,
        ),
        past=pd.DataFrame(
            {
                "customer_id": np.concatenate([t.test.customer_id.astype(str) for t in trials]),
                "cut": pd.to_datetime(np.concatenate([t.test.cut for t in trials])).date,
                "forecast": np.concatenate([t.scores[chosen] for t in trials]),
                "actual": np.concatenate([t.test.label for t in trials]),
            }
        ),
    )


def holds_against(board: Board, document: Mapping[str, Any], *, seed: int) -> bool:
    """Whether the chosen model is as good as one in use, within one standard error.

    Both are tried on the last fold's customers, who are drawn again for the error. The model
    in use may have learned from them; that it is then hard to beat errs on the side of what works.
    """
    test, kind = board.tested, board.target.kind
    own, other = board.scores[board.chosen], score(document, test.features)
    rng = np.random.default_rng(seed)
    gaps = []
    for _ in range(_CHAMPION_DRAWS):
        rows = rng.integers(0, len(test), len(test))
        ranks = [rank_right(s[rows], test.label[rows], kind=kind) for s in (own, other)]
        gaps.append(ranks[0] - ranks[1])
    gap = rank_right(own, test.label, kind=kind) - rank_right(other, test.label, kind=kind)
    return bool(gap >= -float(np.nanstd(gaps, ddof=1)))


def fit_chosen(
    board: Board,
    snapshots: Sequence[Snapshot],
    *,
    as_of: date,
    seed: int,
    most_rows: int = 20_000,
    monotone: Mapping[str, int] | None = None,
    correction: float = 1.0,
) -> Document:
    """The chosen estimator, learned anew from every snapshot whose horizon has ended.

    Args:
        correction: Factor on the total of the scores, from past forecasts held against what
            came; who ranks above whom stays.
    """
    training = stack(snapshots, board.target)
    document = fit(
        board.chosen,
        training,
        target=board.target,
        as_of=as_of,
        seed=seed,
        most_rows=most_rows,
        monotone=monotone,
    )
    return _corrected(document, training, correction) if correction != 1.0 else document


def _corrected(document: Document, training: Training, factor: float) -> Document:
    """The document with its level moved so that the scores' total is `factor` times as large."""
    level = document["calibration"]["intercept"]
    if document["kind"] == "amount":
        return _at_level(document, level + math.log(factor))
    wanted = float(score(document, training.features).mean()) * factor

    def excess(shift: float) -> float:
        moved = _at_level(document, level + shift)
        return float(score(moved, training.features).mean()) - wanted

    return _at_level(document, level + float(optimize.brentq(excess, -10.0, 10.0)))


def _at_level(document: Document, intercept: float) -> Document:
    return document | {"calibration": document["calibration"] | {"intercept": intercept}}


def rank_right(scores: Floats, label: Floats, *, kind: str = "binary") -> float:
    """Area under the curve for a yes or no; normalised Gini for an amount. Ties count half."""
    return float(_ranking(_grouped(scores, label, np.ones((1, len(label)))), label, kind)[0])


def estimate_ranking(
    scores: Floats, label: Floats, *, as_of: date, level: float = 0.95
) -> Estimate:
    """Area under the curve with its interval (DeLong, DeLong and Clarke-Pearson, 1988).

    Raises:
        TooFew: Fewer than two of either kind.
    """
    is_positive = label > 0
    n_positive, n_negative = int(is_positive.sum()), int((~is_positive).sum())
    if min(n_positive, n_negative) < 2:
        raise TooFew(f"{n_positive} that did it and {n_negative} that did not")
    ranks = stats.rankdata(scores)
    among = np.empty(len(scores))
    among[is_positive] = stats.rankdata(scores[is_positive])
    among[~is_positive] = stats.rankdata(scores[~is_positive])
    placed = ranks - among
    over_negative = placed[is_positive] / n_negative
    under_positive = 1 - placed[~is_positive] / n_positive
    value = float(over_negative.mean())
    variance = over_negative.var(ddof=1) / n_positive + under_positive.var(ddof=1) / n_negative
    half = float(stats.norm.ppf(0.5 + level / 2)) * float(np.sqrt(variance))
    return Estimate(
        value=value,
        lower=max(0.0, value - half),
        upper=min(1.0, value + half),
        unit="share",
        n=len(label),
        as_of=as_of,
        level=level,
        method="area under the curve (DeLong, DeLong and Clarke-Pearson, 1988)",
    )


def reliability(
    scores: Floats, label: Floats, *, kind: str, as_of: date, level: float = 0.95
) -> pd.DataFrame:
    """Expected against observed by tenth of the scores.

    Returns:
        expected, observed, lower, upper, n; tenths that tie are one row.
    """
    rows = []
    for members in _tenths(scores):
        n = int(members.sum())
        observed = float(label[members].mean())
        if kind == "binary":
            share = estimate_share(int(label[members].sum()), n, as_of=as_of, level=level)
            low, high = share.lower, share.upper
        else:
            z = float(stats.norm.ppf(0.5 + level / 2))
            half = z * float(label[members].std(ddof=1)) / np.sqrt(n) if n > 1 else 0.0
            low, high = max(0.0, observed - half), observed + half
        rows.append(
            {
                "expected": float(scores[members].mean()),
                "observed": observed,
                "lower": low,
                "upper": high,
                "n": n,
            }
        )
    return pd.DataFrame(rows)


def _try(
    order: Sequence[str],
    train: Training,
    test: Training,
    most_rows: int,
    options: Mapping[str, Any],
) -> _Trial:
    test = sample_customers(test, most_rows=most_rows)
    n_positive = int((test.label > 0).sum())
    n_other = len(test) - n_positive if options["target"].kind == "binary" else _BINS
    if min(n_positive, n_other) < _BINS:
        raise TooFew(
            f"{n_positive:,} of {len(test):,} customers did it in one period, and it takes "
            f"{_BINS} who did and who did not",
            takes="more customers whom the question is about",
        )
    cut = date.fromisoformat(str(test.cut[0]))
    documents = {e: fit(e, train, as_of=cut, **options) for e in order}
    return _Trial(
        fold=Fold(
            train_cuts=tuple(train.cuts),
            test_cut=cut.isoformat(),
            n_train=len(train),
            n_test=len(test),
        ),
        train=train,
        test=test,
        documents=documents,
        scores={e: score(d, test.features) for e, d in documents.items()},
    )


def _resampled(trials: Sequence[_Trial], seed: int) -> list[tuple[_Trial, Floats]]:
    """How often each test row is drawn; a customer is drawn in all folds alike.

    Row 0 is the data as they are.
    """
    customers = np.unique(np.concatenate([t.test.customer_id.astype(str) for t in trials]))
    rng = np.random.default_rng(seed)
    drawn = rng.poisson(1.0, size=(_RESAMPLES, len(customers)))
    drawn = np.vstack([np.ones(len(customers), dtype=drawn.dtype), drawn])
    return [
        (t, drawn[:, np.searchsorted(customers, t.test.customer_id.astype(str))].astype(float))
        for t in trials
    ]


def _fold_weights(n: int, seed: int) -> Floats:
    rng = np.random.default_rng(seed + 1)
    return rng.multinomial(n, np.full(n, 1 / n), size=_RESAMPLES) / n


def _marks(
    trial: _Trial, estimator: str, kind: str, capacity_share: float, weights: Floats
) -> tuple[Floats, Floats]:
    grouped = _grouped(trial.scores[estimator], trial.test.label, weights)
    return (
        _ranking(grouped, trial.test.label, kind, weights),
        _captured(grouped, capacity_share),
    )


def _grouped(scores: Floats, label: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Weight and weighted label by distinct score, ascending; shape (draws, scores)."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])
    w = weights[:, order]
    return np.add.reduceat(w, starts, axis=1), np.add.reduceat(w * label[order], starts, axis=1)


def _ranking(
    grouped: tuple[Floats, Floats], label: Floats, kind: str, weights: Floats | None = None
) -> Floats:
    weight, held = grouped
    if kind == "binary":
        others = weight - held
        below = np.cumsum(others, axis=1) - others / 2
        return np.asarray(
            (held * below).sum(axis=1) / np.maximum(held.sum(axis=1) * others.sum(axis=1), 1e-12)
        )
    if weights is None:
        weights = np.ones((1, len(label)))
    perfect = _gini(*_grouped(label, label, weights))
    return np.asarray(_gini(weight, held) / np.where(perfect > 0, perfect, np.nan))


def _gini(weight: Floats, held: Floats) -> Floats:
    share = weight / weight.sum(axis=1, keepdims=True)
    lorenz = np.cumsum(held, axis=1) / np.maximum(held.sum(axis=1, keepdims=True), 1e-12)
    before = np.hstack([np.zeros((len(lorenz), 1)), lorenz[:, :-1]])
    return np.asarray(1 - (share * (lorenz + before)).sum(axis=1))


def _captured(grouped: tuple[Floats, Floats], capacity_share: float) -> Floats:
    """Customers with the same score are taken by lot, so as a fraction."""
    weight, held = (a[:, ::-1] for a in grouped)
    capacity = capacity_share * weight.sum(axis=1, keepdims=True)
    before = np.cumsum(weight, axis=1) - weight
    taken = np.clip(capacity - before, 0.0, weight) / np.where(weight > 0, weight, 1.0)
    return np.asarray((held * taken).sum(axis=1) / np.maximum(held.sum(axis=1), 1e-12))


def _tenths(scores: Floats) -> list[NDArray[np.bool_]]:
    edges = np.unique(np.quantile(scores, np.arange(1, _BINS) / _BINS))
    bins = np.searchsorted(edges, scores, side="left")
    return [bins == b for b in range(len(edges) + 1) if (bins == b).any()]


def _calibration_error(scores: Floats, label: Floats, kind: str) -> float:
    gaps = [
        members.mean() * abs(scores[members].mean() - label[members].mean())
        for members in _tenths(scores)
    ]
    unit = 1.0 if kind == "binary" else float(label.mean())
    return float(sum(gaps)) / unit


def _agreement(trials: Sequence[_Trial], estimator: str) -> float:
    """The last fit and the one before it, on the customers of the last test."""
    if len(trials) < 2:
        return float("nan")
    test = trials[-1].test
    last, before = (
        trials[-1].scores[estimator],
        score(trials[-2].documents[estimator], test.features),
    )
    if not np.ptp(last) or not np.ptp(before):
        return float("nan")
    return float(stats.spearmanr(last, before).statistic)
