"""Does a model know something that nobody can know on the day it predicts?

Four tests, each for a way in which the future gets in (Kaufman et al., 2012):
the learning itself has seen the answers; a feature changes when the days after the cut are
taken away; a feature is declared as known later only; a feature tells far more in training
than later, or more than all others together (like the length of a sales call).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Literal

import ibis
import numpy as np
import pandas as pd
from scipy import stats

from insight_lib.findings import TooFew
from insight_lib.prediction.board import estimate_ranking, rank_right
from insight_lib.prediction.document import Document
from insight_lib.prediction.fit import Training, fit, sample_customers
from insight_lib.prediction.scorer import score
from insight_lib.prediction.snapshots import Target
from insight_lib.statistics import Floats

if TYPE_CHECKING:
    import ibis.expr.types as ir

# Of all tests of one kind on a page together; a page so alarms wrongly in at most four of 100.
_ERROR = 0.01
_CONFIRMING_ERROR = 0.05
_PERMUTATION_ROWS = 5_000

Kind = Literal["permuted", "truncated", "declared", "too good", "fades", "alone"]
Learner = Callable[[Training, Training], Floats]
"""From training rows and test rows to the scores of the test rows."""


@dataclass(frozen=True, kw_only=True)
class Leak:
    """One way in which the future gets in.

    Attributes:
        where: The feature, or the estimator whose learning leaks.
        kind: `permuted` (scores well on shuffled answers), `truncated` (changes without the
            later days), `declared` (known later only), `too good` (one feature nearly tells
            the answer), `fades` (tells far less later than in training), `alone` (tells far
            more than all other features together).
        size: Share of pairs ranked right, its excess, or rows changed, by kind.
        is_proof: Blocks; what is not proof asks someone to look.
    """

    where: str
    kind: Kind
    size: float
    is_proof: bool


def check_truncation(
    from_all: pd.DataFrame, from_truncated: pd.DataFrame, *, tolerance: float = 1e-9
) -> list[Leak]:
    """Features of a cut, computed from all data and from data that end at the cut, are equal.

    Args:
        from_all: Customers (index) by features.
        from_truncated: The same from tables without the days after the cut.

    Returns:
        One leak per feature that differs; `size` is the share of customers concerned.
        A customer or feature on one side alone is a difference.
    """
    customers = from_all.index.union(from_truncated.index)
    leaks = []
    for name in sorted(set(from_all.columns) | set(from_truncated.columns)):
        if name not in from_all or name not in from_truncated:
            share = 1.0
        else:
            a, b = (f[name].reindex(customers) for f in (from_all, from_truncated))
            is_alike = a.isna() & b.isna()
            if pd.api.types.is_numeric_dtype(a) and pd.api.types.is_numeric_dtype(b):
                x, y = a.to_numpy(dtype=float), b.to_numpy(dtype=float)
                is_alike |= np.isclose(x, y, rtol=tolerance, atol=tolerance)
            else:
                is_alike |= a.astype(object) == b.astype(object)
            absent = customers.difference(from_all.index.intersection(from_truncated.index))
            is_alike.loc[absent] = False
            share = float(1 - is_alike.mean()) if len(customers) else 0.0
        if share:
            leaks.append(Leak(where=name, kind="truncated", size=share, is_proof=True))
    return leaks


def end_tables(tables: Mapping[str, ir.Table], cut: date) -> dict[str, ir.Table]:
    """The tables as they would be if the data ended with `cut`.

    Orders and events of later days are gone; ends and payments that lie ahead are open.
    """
    ended = dict(tables)
    for name, day, later in (
        ("transactions", "ordered_local", ()),
        ("interactions", "occurred_local", ()),
        ("contracts", "start_date", ("end_date",)),
        ("payments", "due_date", ("paid_date",)),
    ):
        if name not in tables:
            continue
        table = tables[name].filter(tables[name][day].cast("date") <= cut)
        ended[name] = table.mutate(
            **{c: ibis.ifelse(table[c] <= cut, table[c], None) for c in later if c in table.columns}
        )
    return ended


def check_known_from(
    features: Sequence[str], known_from: Mapping[str, str], *, allowed: Sequence[str] = ()
) -> list[Leak]:
    """Features that are declared as known only after something that comes after the cut.

    Args:
        known_from: Feature to the day or event from which it is known.
        allowed: Days or events that the snapshot respects.
    """
    return [
        Leak(where=name, kind="declared", size=1.0, is_proof=True)
        for name in sorted(features)
        if name in known_from and known_from[name] not in allowed
    ]


def check_permuted(
    learner: Learner,
    train: Training,
    test: Training,
    *,
    name: str,
    kind: str,
    seed: int,
    n_tests: int = 1,
) -> list[Leak]:
    """Learning on answers shuffled within each cut must not rank the shuffled answers.

    What ranks them has seen the answers of the test.

    Args:
        n_tests: Learners tested on the page; they share one rate of false alarms.
    """
    rng = np.random.default_rng(seed)
    train, test = (sample_customers(part, most_rows=_PERMUTATION_ROWS) for part in (train, test))
    value = 0.0
    # A leak shows in every shuffle; what shows in the first alone is chance.
    for level in (_ERROR / n_tests, _CONFIRMING_ERROR):
        early, late = _shuffled(train, rng), _shuffled(test, rng)
        scores = learner(early, late)
        if not np.ptp(scores):
            return []
        if kind == "binary":
            did = late.label > 0
            # Shuffled answers know nothing of the scores, so the test by ranks keeps its level.
            test_of_rank = stats.mannwhitneyu(scores[did], scores[~did], alternative="greater")
            value = rank_right(scores, late.label)
        else:
            test_of_rank = stats.spearmanr(scores, late.label, alternative="greater")
            value = float(test_of_rank.statistic)
        if test_of_rank.pvalue >= level:
            return []
    return [Leak(where=name, kind="permuted", size=value, is_proof=True)]


def check_features(
    train: Training,
    test: Training,
    *,
    target: Target,
    suspicious_ranking: float,
    largest_auc_gap: float,
    seed: int,
    n_tests: int = 1,
) -> list[Leak]:
    """Features that tell too much for their own good.

    Args:
        suspicious_ranking: One feature that surely ranks more pairs right than this is a leak.
        largest_auc_gap: Excess that is one: of training over the later cut, or of one feature
            over all others together.
        n_tests: Targets tested on the page; they share one rate of false alarms.

    Returns:
        Leaks, proofs first. `alone` and `fades` are no proof: one cause may really outweigh
        all others, and what fades may have been true until the world changed. What reads
        later days is found by `check_truncation`.
    """
    leaks: list[Leak] = []
    is_binary = target.kind == "binary"
    train_label, test_label = (
        p.label if is_binary else (p.label > np.median(p.label)).astype(float)
        for p in (train, test)
    )
    strength: dict[str, float] = {}
    level = 1 - 2 * _ERROR / n_tests / max(len(train.features.columns), 1)
    for name in train.features.columns:
        numbers = _as_numbers(name, train, test, train_label)
        try:
            before, after = (
                estimate_ranking(x, y, as_of=date.min, level=level)
                for x, y in zip(numbers, (train_label, test_label), strict=True)
            )
        except TooFew:
            continue
        # A feature that ranks the wrong way round tells just as much.
        is_reversed = before.value < 0.5
        early = 1 - before.value if is_reversed else before.value
        late = 1 - after.value if is_reversed else after.value
        sureness = (early - (1 - before.upper if is_reversed else before.lower)) ** 2
        sureness += (late - (1 - after.upper if is_reversed else after.lower)) ** 2
        strength[name] = late
        if early - float(np.sqrt(sureness)) > suspicious_ranking:
            leaks.append(Leak(where=name, kind="too good", size=early, is_proof=True))
        elif early - late - float(np.sqrt(sureness)) > largest_auc_gap:
            # The world may have changed as well: it asks someone to look, and is no proof.
            leaks.append(Leak(where=name, kind="fades", size=early - late, is_proof=False))
    if is_binary and len(strength) > 1 and not leaks:
        leaks += _alone(strength, train, test, target, largest_auc_gap, seed, n_tests)
    return sorted(leaks, key=lambda leak: (not leak.is_proof, leak.kind, leak.where))


def check_model(
    document: Document,
    train: Training,
    test: Training,
    *,
    target: Target,
    seed: int,
    n_tests: int = 1,
) -> list[Leak]:
    """The permutation test of one estimator's own learning; see `check_permuted`."""
    estimator = str(document["estimator"])
    monotone = document["monotone"]
    cut = date.fromisoformat(str(test.cut[0]))

    def learn(early: Training, late: Training) -> Floats:
        fitted = fit(
            estimator,
            early,
            target=target,
            as_of=cut,
            seed=seed,
            monotone=monotone,
            calibrate=False,
        )
        return score(fitted, late.features)

    return check_permuted(
        learn, train, test, name=estimator, kind=target.kind, seed=seed, n_tests=n_tests
    )


def _shuffled(part: Training, rng: np.random.Generator) -> Training:
    label = part.label.copy()
    for cut in part.cuts:
        rows = np.flatnonzero(part.cut == cut)
        label[rows] = label[rng.permutation(rows)]
    return Training(features=part.features, label=label, customer_id=part.customer_id, cut=part.cut)


def _as_numbers(name: str, train: Training, test: Training, label: Floats) -> tuple[Floats, Floats]:
    """A feature as numbers that can be ranked; a text's level as its rate in training."""
    early, late = train.features[name], test.features[name]
    if pd.api.types.is_numeric_dtype(early):
        middle = float(early.median()) if early.notna().any() else 0.0
        return early.fillna(middle).to_numpy(dtype=float), late.fillna(middle).to_numpy(dtype=float)
    texts, later = (column.where(column.notna(), "").astype(str) for column in (early, late))
    # A level's rate is learned from one half of the customers for the other half: with many
    # levels each row would otherwise be told its own answer, and a column of names would look
    # like a leak. Rates count from the mean of the half that they come from.
    is_second = np.array([zlib.crc32(f"{c}/".encode()) % 2 == 1 for c in train.customer_id])
    before = np.zeros(len(texts))
    for side in (is_second, ~is_second):
        before[side] = _rates(texts[side], texts[~side], label[~side])
    return before, _rates(later, texts, label)


def _rates(wanted: pd.Series, levels: pd.Series, label: Floats) -> Floats:
    """Rate of each level, shrunk, less the mean; unknown levels stand at the mean."""
    if not len(label):
        return np.zeros(len(wanted))
    average = float(label.mean())
    groups = pd.Series(label).groupby(levels.to_numpy())
    rates = (groups.sum() + 20 * average) / (groups.count() + 20) - average
    return np.asarray(wanted.map(rates).fillna(0.0), dtype=float)


def _alone(
    strength: Mapping[str, float],
    train: Training,
    test: Training,
    target: Target,
    largest_auc_gap: float,
    seed: int,
    n_tests: int,
) -> list[Leak]:
    name = max(sorted(strength), key=lambda n: strength[n])
    others = [c for c in train.features.columns if c != name]
    without = (
        Training(
            features=part.features[others],
            label=part.label,
            customer_id=part.customer_id,
            cut=part.cut,
        )
        for part in (sample_customers(train, most_rows=_PERMUTATION_ROWS), test)
    )
    early, late = without
    try:
        document = fit(
            "logistic",
            early,
            target=target,
            as_of=date.fromisoformat(str(test.cut[0])),
            seed=seed,
            calibrate=False,
        )
    except TooFew:
        return []
    rest = estimate_ranking(
        score(document, late.features),
        late.label,
        as_of=date.min,
        level=1 - 2 * _ERROR / n_tests,
    )
    gap = strength[name] - rest.value
    # Two rankings of the same customers: as if apart, so on the safe side.
    if gap - float(np.sqrt(2)) * (rest.upper - rest.value) <= largest_auc_gap:
        return []
    return [Leak(where=name, kind="alone", size=gap, is_proof=False)]
