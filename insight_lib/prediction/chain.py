"""Which model scores whom, and why: local model, else pooled, else rule; all of it logged.

Every score carries the rung that gave it and the reason. The log, the logged inputs and the
registered document together answer "why this score on that day".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import numpy as np
import pandas as pd

from insight_lib.findings import TooFew
from insight_lib.prediction.document import digest
from insight_lib.prediction.explain import explain_rows
from insight_lib.prediction.registry import LiveModel, ModelRefused, Registry
from insight_lib.prediction.rules import choose_driver, fit_rule
from insight_lib.prediction.scorer import FORMAT, score
from insight_lib.prediction.snapshots import Target

LOG_COLUMNS = ("customer_id", "target", "score", "version", "rung", "reason", "as_of")
LARGEST_DIFFERENCE = 1e-6
RungName = Literal["local", "pooled", "rule"]


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What the local model must have learnt from before it scores anybody.

    Attributes:
        smallest_training_customers: Customers behind it.
        smallest_positives: Of them, with the rarer outcome (binary) or any amount.
    """

    smallest_training_customers: int
    smallest_positives: int


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One step of the chain: a document that may score, or the reason why none may."""

    name: RungName
    reason: str
    document: Mapping[str, Any] | None = None

    @property
    def version(self) -> str:
        return digest(self.document)[:16] if self.document is not None else ""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Scores of one target.

    Attributes:
        log: `LOG_COLUMNS`, one row per customer, sorted.
        rungs: The chain as it was tried, local first.
        counts: Customers by rung; 0 for one that scored nobody.
    """

    target: str
    log: pd.DataFrame
    rungs: tuple[Rung, ...]
    counts: Mapping[str, int]

    @property
    def first_rung(self) -> Rung:
        """The highest rung that could score."""
        return next(r for r in self.rungs if r.document is not None)


def local_rung(
    find: Callable[[], LiveModel | None], *, columns: Sequence[str], conditions: Conditions
) -> Rung:
    """The market's own model, if one is live, whole, fed and learnt from enough customers.

    Args:
        find: Looks the live model up, e.g. `lambda: registry.live(target, on=as_of)`; its card
            says `n_customers` and `n_positives`.
        columns: Columns there are.
    """

    def without(reason: str) -> Rung:
        return Rung(name="local", reason=reason)

    try:
        live = find()
    except ModelRefused:
        return without("the live model's file does not verify")
    if live is None:
        return without("no local model is live")
    if why := too_little(live.card, conditions):
        return without(why)
    if lacking := lacking_inputs(live.document, columns):
        return without(f"the local model needs {lacking}, which the market no longer has")
    return Rung(
        name="local",
        reason=f"local model, live since {live.since.isoformat()}",
        document=live.document,
    )


def too_little(card: Mapping[str, Any], conditions: Conditions) -> str:
    """What a model learned too little from to score anybody, in words; empty if enough.

    One that may not score must not go live either.
    """
    for field, minimum, what in (
        ("n_customers", conditions.smallest_training_customers, "customers to learn from"),
        ("n_positives", conditions.smallest_positives, "customers of the rarer outcome"),
    ):
        n = int(card.get(field, 0))
        if n < minimum:
            return f"{n:,} {what}, and it takes {minimum:,}"
    return ""


def pooled_rung(make: Callable[[], Mapping[str, Any]], *, columns: Sequence[str]) -> Rung:
    """The other markets' model, if there is one for this target.

    Args:
        make: Makes the document, or raises `TooFew` with the reason.
    """
    try:
        document = make()
    except TooFew as error:
        return Rung(name="pooled", reason=str(error))
    if lacking := lacking_inputs(document, columns):
        return Rung(name="pooled", reason=f"the pooled model needs {lacking}")
    n = len(document["trained"].get("markets", ()))
    return Rung(name="pooled", reason=f"pooled model of {n} other markets", document=document)


def rule_rung(document: Mapping[str, Any]) -> Rung:
    """The rule of thumb, which always scores."""
    if document["estimator"] != "rule":
        raise ValueError(f"the last rung is a rule, not {document['estimator']!r}")
    return Rung(name="rule", reason="rule of thumb", document=document)


def rule_document(
    features: pd.DataFrame, label: pd.Series, *, target: Target, as_of: date
) -> dict[str, Any]:
    """The rule of thumb of a target from however few customers; it asks for one known outcome.

    Args:
        features: Customers of labelled snapshots.
        label: Outcomes in the same order; missing where the target does not apply.

    Raises:
        TooFew: No outcome is known, or there is no number for a rule to look at.
    """
    applies = label.notna().to_numpy()
    if not applies.any():
        raise TooFew(f"no customer whose outcome is known for {target.id!r}")
    known, outcome = features[applies], np.maximum(label.to_numpy(dtype=float)[applies], 0.0)
    driver = choose_driver(known, outcome, target=target.id)
    return {
        "format": FORMAT,
        "target": target.id,
        "kind": target.kind,
        "horizon_days": target.horizon_days,
        "estimator": "rule",
        "inputs": [{"name": driver, "type": "number", "fill": 0.0, "has_indicator": False}],
        "model": fit_rule(known, outcome, kind=target.kind, driver=driver),
        "calibration": {"intercept": 0.0, "slope": 1.0},
        "trained": {"cuts": [], "n": int(applies.sum()), "as_of": as_of.isoformat()},
    }


def score_frame(
    target: str, rungs: Sequence[Rung], features: pd.DataFrame, *, as_of: date
) -> Scored:
    """Score every customer by the first rung that can, and say which and why.

    A customer of whom a model knows no input at all, or whom it gives no number, is scored by
    a rung below it.

    Args:
        rungs: Local, pooled, rule; the rule has a document.
        features: Customers (index) by inputs.

    Raises:
        ValueError: The last rung has no document, or gives a score that is not a number.
    """
    if not rungs or rungs[-1].document is None:
        raise ValueError(f"{target}: the chain ends without a rule; fit one")
    n = len(features)
    scores = np.full(n, np.nan)
    chosen = np.full(n, "", dtype=object)
    version = np.full(n, "", dtype=object)
    reason = np.full(n, "", dtype=object)
    passed_over = np.full(n, "", dtype=object)
    for rung in rungs:
        is_open = chosen == ""
        if rung.document is None:
            passed_over[is_open] = _joined(passed_over[is_open], rung.reason)
            continue
        is_last = rung is rungs[-1]
        is_known = np.ones(n, bool) if is_last else _knows_something(rung.document, features)
        rows = np.flatnonzero(is_open & is_known)
        values = np.full(n, np.nan)
        values[rows] = score(rung.document, _columns(rung.document, features.iloc[rows]))
        is_number = _is_valid(rung.document, values)
        done = is_open & is_known & is_number
        scores[done], chosen[done], version[done] = values[done], rung.name, rung.version
        reason[done] = [
            f"{rung.reason}; {why}" if why else rung.reason for why in passed_over[done]
        ]
        for left, why in (
            (is_open & ~is_known, f"no input of the {rung.name} model is known"),
            (is_open & is_known & ~is_number, f"the {rung.name} model gives no valid number"),
        ):
            passed_over[left] = _joined(passed_over[left], why)
    if (chosen == "").any():
        raise ValueError(f"{target}: {int((chosen == '').sum())} customers have no valid score")
    log = pd.DataFrame(
        {
            "customer_id": features.index.astype(str),
            "target": target,
            "score": scores,
            "version": version.astype(str),
            "rung": chosen.astype(str),
            "reason": reason.astype(str),
            "as_of": as_of.isoformat(),
        }
    )
    counts: dict[str, int] = {r.name: int((chosen == r.name).sum()) for r in rungs}
    log = log.sort_values("customer_id", ignore_index=True)
    return Scored(target=target, log=log, rungs=tuple(rungs), counts=counts)


def logged_inputs(scored: Sequence[Scored], features: pd.DataFrame) -> pd.DataFrame:
    """The inputs behind the scores: customer_id and every column that a rung read."""
    names = sorted(
        {
            entry["name"]
            for one in scored
            for rung in one.rungs
            if rung.document is not None and one.counts[rung.name]
            for entry in rung.document["inputs"]
        }
    )
    kept = features[names].reset_index(drop=True)
    kept.insert(0, "customer_id", features.index.astype(str))
    return kept.sort_values("customer_id", ignore_index=True)


@dataclass(frozen=True, kw_only=True)
class Contribution:
    """What one input did to a score: how far it moved it, and in words."""

    input: str
    moved: float
    words: str


@dataclass(frozen=True, kw_only=True)
class WhyAnswer:
    """Why a customer got a score, reproduced from what was logged.

    Attributes:
        logged: The score as it was logged.
        reproduced: The score of the registered document on the logged inputs; None if the
            document cannot be read.
        contributions: Strongest first.
        faults: What does not match; empty if the answer reproduces the score.
    """

    target: str
    as_of: str
    logged: float
    reproduced: float | None
    version: str
    rung: str
    reason: str
    contributions: tuple[Contribution, ...]
    faults: tuple[str, ...]

    @property
    def sentences(self) -> tuple[str, ...]:
        """The answer in words, one thought a line."""
        head = f"{self.target} on {self.as_of}: {self.logged:.4g}, by {self.reason}"
        tail = self.faults or (f"the registered model {self.version} gives the same score",)
        return (head, *(c.words for c in self.contributions), *tail)


def why(
    log: pd.DataFrame,
    inputs: pd.DataFrame,
    registry: Registry,
    *,
    customer_id: str,
    on: date,
    target: str | None = None,
    top: int = 3,
) -> list[WhyAnswer]:
    """Why did this customer get this score on that day.

    Args:
        log: Score log as it stood on the day.
        inputs: Score inputs of the same run.
        target: One target; by default all.
        top: Contributions to give.

    Raises:
        LookupError: Nothing was logged for this customer by that day; says for which days
            something was.
    """
    mine = log[log["customer_id"] == customer_id]
    if target is not None:
        mine = mine[mine["target"] == target]
    until = mine[mine["as_of"] <= on.isoformat()]
    if until.empty:
        days = ", ".join(sorted(mine["as_of"].unique())) or "no day"
        raise LookupError(
            f"no score{f' for {target!r}' if target else ''} by {on}; logged for {days}"
        )
    until = until[until["as_of"] == until["as_of"].max()]
    row = inputs[inputs["customer_id"] == customer_id]
    return [
        _answer(record, row, registry, top=top)
        for record in until.sort_values("target").to_dict("records")
    ]


def _answer(
    record: Mapping[str, Any], row: pd.DataFrame, registry: Registry, *, top: int
) -> WhyAnswer:
    faults: list[str] = []
    reproduced: float | None = None
    contributions: tuple[Contribution, ...] = ()
    if len(row) != 1:
        faults.append(f"{len(row)} rows of inputs are logged for this customer, and it takes one")
    else:
        try:
            document, _ = registry.load(record["version"])
            if lacking := lacking_inputs(document, list(row.columns)):
                raise ModelRefused(f"the model needs {lacking}, and no such input is logged")
            reproduced = float(score(document, _columns(document, row))[0])
            contributions = tuple(
                Contribution(input=name, moved=moved, words=words)
                for name, moved, words in explain_rows(document, row, top=top)[0]
            )
        except ModelRefused as error:
            faults.append(str(error))
    logged = float(record["score"])
    if reproduced is not None and not abs(reproduced - logged) <= LARGEST_DIFFERENCE:
        faults.append(
            f"logged {logged:.8g}, but the registered model gives {reproduced:.8g} on the logged "
            "inputs: one of them was changed"
        )
    return WhyAnswer(
        target=record["target"],
        as_of=record["as_of"],
        logged=logged,
        reproduced=reproduced,
        version=record["version"],
        rung=record["rung"],
        reason=record["reason"],
        contributions=contributions,
        faults=tuple(faults),
    )


def _columns(document: Mapping[str, Any], features: pd.DataFrame) -> dict[str, Any]:
    return {e["name"]: features[e["name"]].to_numpy() for e in document["inputs"]}


def lacking_inputs(document: Mapping[str, Any], columns: Sequence[str]) -> str:
    """Inputs of a document that are not among the columns, as they stand in a sentence."""
    known = set(columns)
    return ", ".join(e["name"] for e in document["inputs"] if e["name"] not in known)


def _knows_something(document: Mapping[str, Any], features: pd.DataFrame) -> np.ndarray:
    names = [entry["name"] for entry in document["inputs"]]
    return np.asarray(features[names].notna().any(axis=1), dtype=bool)


def _is_valid(document: Mapping[str, Any], values: np.ndarray) -> np.ndarray:
    is_number = np.isfinite(values)
    if document["kind"] == "binary":
        is_number &= (values >= 0) & (values <= 1)
    return np.asarray(is_number, dtype=bool)


def _joined(before: np.ndarray, reason: str) -> list[str]:
    return [f"{earlier}; {reason}" if earlier else reason for earlier in before]
