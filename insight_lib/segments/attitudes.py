"""Behavioural, attitudinal and hybrid groups side by side, and which one serves which use.

Acquisition looks for people who have not bought yet, so its groups must be told from traits
that are known beforehand. Retention acts on customers, so its groups must tell what they will
do. Both are measured on customers that the group was not learned from. Survey answers count
with their design weights (Horvitz and Thompson, 1952), raked to all customers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_samples
from sklearn.model_selection import KFold

from insight_lib.findings import Estimate, Measured, TooFew
from insight_lib.segments.find import Found, earlier_window
from insight_lib.segments.granularity import next_period
from insight_lib.segments.inputs import (
    account_amounts,
    behaviour,
    enough_orders,
    lines_between,
    order_amounts,
)
from insight_lib.statistics import rake

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from insight_lib.parameter_model import SegmentParameters
    from insight_lib.run import Run
    from insight_lib.segments.groups import Groups

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

Use = Literal["acquisition", "retention"]
Service = Literal[
    "acquisition behavioural",
    "acquisition attitudinal",
    "acquisition hybrid",
    "retention behavioural",
    "retention attitudinal",
    "retention hybrid",
]
USES: tuple[Use, ...] = ("acquisition", "retention")
_KNOWN_BEFORE = (
    "acquisition_channel",
    "age_band",
    "subregion",
    "household_type",
    "income_band",
    "industry",
)
_FEWEST = 100
_RESAMPLES = 200


@dataclass(frozen=True, kw_only=True)
class Criteria:
    """One solution under both uses.

    Attributes:
        targetable: Share of what customers have in common with their group, beyond chance,
            that traits known beforehand tell: accuracy over the commonest group, 0-1.
        predictive: Share of the variance of what customers do next that the group tells.
    """

    solution: str
    k: int
    silhouette: float
    targetable: Estimate
    predictive: Estimate

    def score(self, use: str) -> Estimate:
        """The criterion of a use."""
        return self.targetable if use == "acquisition" else self.predictive


@dataclass(frozen=True, kw_only=True)
class SideBySide:
    """The criteria table, the winner per use, and the uses that nobody serves.

    Attributes:
        winner: Solution per use, the one with the least data among those that are not clearly
            worse than the best; missing where none is better than nothing.
        is_clear: Whether the winner beats every other beyond chance.
    """

    criteria: tuple[Criteria, ...]
    winner: Mapping[Use, str]
    is_clear: Mapping[Use, bool]
    unserved: tuple[Use, ...]
    n_respondents: int


_MISSING_CODES = (-1.0, 8.0, 9.0, 88.0, 97.0, 98.0, 99.0, 997.0, 998.0, 999.0)
_CODE_FACTOR = 3.0


def within_scale(
    surveys: pd.DataFrame, scale: tuple[float, float] | None
) -> tuple[pd.DataFrame, int]:
    """Answers on the scale, and how many lie off it.

    Args:
        scale: Lowest and highest answer, if they are declared. Otherwise a usual code of no
            answer (99 and the like) counts as off the scale of a question where it stands
            apart: three times as high as every other answer, or the only one below zero.
    """
    no_answer = pd.Series(np.nan, index=surveys.index)
    answer = surveys.get("answer", no_answer).astype(float)
    if scale is not None:
        is_off = answer.notna() & ~answer.between(*scale)
    else:
        is_off = pd.Series(False, index=surveys.index)
        for _, mine in answer.groupby(surveys["question"]):
            values = sorted(mine.dropna().unique())
            codes = [v for v in values if v in _MISSING_CODES]
            others = [v for v in values if v not in _MISSING_CODES]
            if not others:
                continue
            apart = [v for v in codes if v > _CODE_FACTOR * max(others) or v < min(0.0, *others)]
            is_off.loc[mine.index] = mine.isin(apart)
    return surveys.assign(answer=answer.mask(is_off)), int(is_off.sum())


def survey_answers(surveys: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series[float]]:
    """Latest complete answers per customer, and their design weights; one where there are none.

    Returns:
        Customers (index) by questions, and one weight per customer.
    """
    given = surveys.dropna(subset=["customer_id", "answer"]).sort_values("asked_at", kind="stable")
    latest = given.groupby(["customer_id", "question"]).tail(1)
    wide = latest.pivot(index="customer_id", columns="question", values="answer")
    answers = wide[_asked_together(wide)].dropna()
    if "design_weight" not in latest.columns:
        return answers.astype(float), pd.Series(1.0, index=answers.index)
    weights = latest.groupby("customer_id")["design_weight"].last().reindex(answers.index)
    return answers.astype(float), weights.fillna(1.0).astype(float)


def _asked_together(wide: pd.DataFrame) -> list[str]:
    """The questions that the most people answered all of; waves may ask different ones.

    Of the sets of questions that somebody answered, the one with most answers given by people
    who answered all of it; ties by name.
    """
    is_given = wide.notna()
    sets = sorted({tuple(q for q in wide.columns if row[q]) for row in is_given.to_dict("records")})
    whole = {s: int(is_given[list(s)].all(axis=1).sum()) * len(s) for s in sets if s}
    best = min(whole, key=lambda s: (-whole[s], -len(s), s), default=tuple(wide.columns))
    return list(best)


def raked_to_customers(weights: pd.Series[float], people: pd.DataFrame) -> pd.Series[float]:
    """Design weights fitted to all customers by age and place, for those who did not answer.

    Args:
        weights: Per customer who answered, as from `survey_answers`.
        people: All customers (index); of `age_band`, `subregion` and `size_band`, those that
            they have.
    """
    known = [c for c in ("age_band", "subregion", "size_band") if c in people]
    known = [c for c in known if people[c].notna().any()]
    margins = {c: people[c].value_counts().sort_index().to_dict() for c in known}
    answered = people.reindex(weights.index)
    return pd.Series(rake(answered, margins, weights), index=weights.index)


def compare_solutions(
    behaviour: pd.DataFrame,
    answers: pd.DataFrame | None,
    *,
    traits: pd.DataFrame,
    next_orders: pd.Series[float],
    weights: pd.Series[float] | None,
    as_of: date,
    seed: int = 0,
    level: float = 0.95,
) -> SideBySide:
    """Build the three solutions on the same customers and weigh them for both uses.

    Args:
        behaviour: Customers (index) by scaled columns of an earlier period.
        answers: Customers (index) by questions; missing if there is no survey.
        traits: Customers (index) by columns known before the first order, categorical.
        next_orders: What the customers did after that period.
        weights: Design weight per customer of `answers`.

    Raises:
        TooFew: Too few customers with everything that the comparison needs.
    """
    customers = behaviour.index.intersection(next_orders.index).sort_values()
    if answers is not None:
        customers = customers.intersection(answers.index).sort_values()
    if len(customers) < _FEWEST:
        raise TooFew(
            f"{len(customers)} customers with behaviour and answers, and it takes {_FEWEST}"
        )
    weight = (
        np.ones(len(customers))
        if answers is None or weights is None
        else weights.reindex(customers).to_numpy(dtype=float)
    )
    weight = weight / weight.mean()
    spaces = {"behavioural": _scaled(behaviour.reindex(customers), weight)}
    if answers is not None:
        spaces["attitudinal"] = _scaled(answers.reindex(customers), weight)
        spaces["hybrid"] = np.hstack(list(spaces.values()))
    told = traits.reindex(customers).astype("object").fillna("not stated")
    known = pd.get_dummies(told) if len(told.columns) else told
    outcome = np.log1p(next_orders.reindex(customers).to_numpy(dtype=float))
    rng = np.random.default_rng(seed)
    parts = {
        name: _weigh(space, known.to_numpy(dtype=float), outcome, weight, seed=seed)
        for name, space in spaces.items()
    }
    draws = [
        np.bincount(rng.integers(0, len(customers), len(customers)), minlength=len(customers))
        for _ in range(_RESAMPLES)
    ]
    criteria, resampled = [], {}
    for name, (k, silhouette, hit, base, explained, total) in parts.items():
        scores = {
            "acquisition": lambda w, h=hit, b=base: _gain(w, h, b),
            "retention": lambda w, e=explained, t=total: float((w * e).sum() / (w * t).sum()),
        }
        estimates = {}
        for use, score in scores.items():
            around = np.array([score(weight * d) for d in draws])
            resampled[name, use] = around
            value = score(weight)
            low, high = np.quantile(around, [(1 - level) / 2, (1 + level) / 2])
            estimates[use] = Estimate(
                value=value,
                lower=min(float(low), value),
                upper=max(float(high), value),
                unit="change",
                n=len(customers),
                as_of=as_of,
                level=level,
                method="cross-validated, resampled customers (Efron, 1979)",
            )
        criteria.append(
            Criteria(
                solution=name,
                k=k,
                silhouette=silhouette,
                targetable=estimates["acquisition"],
                predictive=estimates["retention"],
            )
        )
    winner: dict[Use, str] = {}
    is_clear: dict[Use, bool] = {}
    for use in USES:
        useful = [c for c in criteria if c.score(use).lower > 0]
        if not useful:
            continue
        top = max(useful, key=lambda c: (c.score(use).value, c.solution))

        def beats(one: Criteria, other: Criteria, use: Use = use) -> bool:
            gap = resampled[one.solution, use] - resampled[other.solution, use]
            return float(np.quantile(gap, (1 - level) / 2)) > 0

        # The first that the best does not clearly beat: behaviour costs least, both cost most.
        best = next(c for c in useful if c is top or not beats(top, c))
        winner[use] = best.solution
        is_clear[use] = all(beats(best, c) for c in criteria if c is not best)
    unserved = [use for use in USES if use not in winner]
    if answers is None and "acquisition" not in unserved:
        unserved.insert(0, "acquisition")
    return SideBySide(
        criteria=tuple(criteria),
        winner={u: w for u, w in winner.items() if u not in unserved},
        is_clear=is_clear,
        unserved=tuple(unserved),
        n_respondents=len(customers),
    )


def _scaled(frame: pd.DataFrame, weight: Floats) -> Floats:
    """Centred; all columns together have a variance of one, so no space outweighs another."""
    x = frame.to_numpy(dtype=float)
    x = x - np.average(x, axis=0, weights=weight)
    total = float(np.average(np.square(x).sum(axis=1), weights=weight))
    scaled: Floats = x / np.sqrt(total) if total > 0 else x
    return scaled


def _weigh(
    space: Floats, known: Floats, outcome: Floats, weight: Floats, *, seed: int
) -> tuple[int, float, Floats, Floats, Floats, Floats]:
    best = (-2.0, 2, np.zeros(len(space), dtype=np.int64))
    for k in range(2, 6):
        labels = KMeans(k, n_init=10, random_state=seed).fit_predict(space, sample_weight=weight)
        score = float(np.average(silhouette_samples(space, labels), weights=weight))
        if score > best[0] + 1e-9:
            best = (score, k, labels.astype(np.int64))
    silhouette, k, labels = best
    hit, base = np.zeros(len(space)), np.zeros(len(space))
    explained, total = np.zeros(len(space)), np.zeros(len(space))
    for train, test in KFold(5, shuffle=True, random_state=seed).split(space):
        share = np.bincount(labels[train], weight[train], minlength=k)
        # Naive Bayes on the indicators: no tuning, and fine for a dozen traits.
        prior = np.log(np.maximum(share, 1e-9))
        rates = np.array(
            [
                (weight[train] * (labels[train] == g)) @ known[train] + known[train].mean(axis=0)
                for g in range(k)
            ]
        )
        rates = rates / (share[:, None] + 1.0)
        guess = (known[test] @ np.log(np.maximum(rates, 1e-9)).T + prior).argmax(axis=1)
        hit[test] = guess == labels[test]
        base[test] = labels[test] == share.argmax()
        means = np.bincount(labels[train], weight[train] * outcome[train], minlength=k) / share
        overall = float(np.average(outcome[train], weights=weight[train]))
        total[test] = np.square(outcome[test] - overall)
        explained[test] = total[test] - np.square(outcome[test] - means[labels[test]])
    return k, silhouette, hit, base, explained, total


def _gain(weight: Floats, hit: Floats, base: Floats) -> float:
    """Accuracy beyond always guessing the commonest group, as a share of what is left."""
    accuracy, chance = (float(np.average(v, weights=weight)) for v in (hit, base))
    return (accuracy - chance) / max(1 - chance, 1e-9)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Survey answers that lie on their scale, and how many do not."""

    surveys: pd.DataFrame
    n_off: int

    @property
    def n(self) -> int:
        return len(self.surveys)


def answered(surveys: ir.Table, run: Run[SegmentParameters]) -> Scale:
    """Survey answers on the declared scale, or without the usual codes of no answer."""
    kept, n_off = within_scale(surveys.to_pandas(), run.parameters.answer_scale)
    return Scale(surveys=kept, n_off=n_off)


def survey_scale(answered: Scale) -> Scale | None:
    """How many answers were left out; none to speak of if all are on the scale."""
    return answered if answered.n_off else None


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One kind of grouping under both uses, as `Criteria` has it."""

    solution: Literal["behavioural", "attitudinal", "hybrid"]
    k: int
    silhouette: Measured
    targetable: Estimate
    predictive: Estimate


@dataclass(frozen=True, kw_only=True)
class Uses:
    """Which kind of grouping serves which use.

    Attributes:
        served: By groups that are published.
        absent: By groups that are not, so nothing serves yet.
        unserved: Uses that no kind of grouping serves.
        unsure: Uses whose winner leads by chance.
        n: Customers compared.
    """

    table: tuple[Compared, ...]
    served: tuple[Service, ...]
    absent: tuple[Service, ...]
    unserved: tuple[Use, ...]
    unsure: tuple[Use, ...]
    n: int

    @property
    def case(self) -> Literal["served", "not published", "not proven"]:
        return "served" if self.served else "not published" if self.absent else "not proven"

    @property
    def advice(self) -> Literal["unsure", "use", "by value"]:
        return "unsure" if self.unsure else "use" if self.served else "by value"

    @property
    def has_unserved(self) -> bool:
        return bool(self.unserved)

    @property
    def has_absent_beside(self) -> bool:
        return bool(self.served and self.absent)


def earlier_behaviour(
    found: Found,
    bought: ir.Table,
    run: Run[SegmentParameters],
    products: ir.Table | None = None,
    contracts: ir.Table | None = None,
) -> pd.DataFrame:
    """Customers (index) by scaled columns of what they did up to one refresh ago.

    Raises:
        TooFew: The data do not reach back so far, or nothing differs between customers.
    """
    p = run.parameters
    days = earlier_window(found, refresh_days=p.refresh_days, as_of=run.as_of)
    chosen = lines_between(bought, days)
    before, _ = behaviour(
        chosen,
        products,
        customers=enough_orders(chosen, p.minimum_order_days),
        accounts=None if contracts is None else account_amounts(chosen, contracts.to_pandas()),
        amounts=order_amounts(chosen),
    )
    return before.values


def uses(
    earlier_behaviour: pd.DataFrame,
    transactions: ir.Table,
    people: pd.DataFrame,
    run: Run[SegmentParameters],
    answered: Scale | None = None,
    groups: Groups | None = None,
) -> Uses:
    """Behavioural, attitudinal and hybrid groups side by side, for acquisition and retention.

    Raises:
        TooFew: As `compare_solutions`.
    """
    answers, weights = survey_answers(answered.surveys) if answered is not None else (None, None)
    if weights is not None:
        weights = raked_to_customers(weights, people)
    orders = next_period(transactions, run, "orders")
    result = compare_solutions(
        earlier_behaviour,
        answers,
        traits=people[[c for c in _KNOWN_BEFORE if c in people and people[c].notna().any()]],
        next_orders=orders.reindex(earlier_behaviour.index).fillna(0.0),
        weights=weights,
        seed=run.seed,
        **run.range,
    )
    published = () if groups is None else ("behavioural",)
    return weigh_uses(result, published=published, as_of=run.as_of)


def weigh_uses(result: SideBySide, *, published: Collection[str], as_of: date) -> Uses:
    """What a comparison comes to, given the kinds of groups that are published."""
    wins = [(cast("Service", f"{use} {kind}"), use, kind in published)
            for use, kind in sorted(result.winner.items())]  # fmt: skip
    n = result.n_respondents
    return Uses(
        table=tuple(
            Compared(
                solution=cast("Literal['behavioural', 'attitudinal', 'hybrid']", c.solution),
                k=c.k,
                silhouette=Measured(value=c.silhouette, unit="index", n=n, as_of=as_of),
                targetable=c.targetable,
                predictive=c.predictive,
            )
            for c in result.criteria
        ),
        served=tuple(service for service, _, is_published in wins if is_published),
        absent=tuple(service for service, _, is_published in wins if not is_published),
        unserved=result.unserved,
        unsure=tuple(use for _, use, is_in in wins if is_in and not result.is_clear[use]),
        n=n,
    )
