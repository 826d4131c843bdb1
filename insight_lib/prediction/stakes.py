"""What is at stake in a customer who may leave: margin on the spend there is if they stay.

Expected spend over the horizon already contains leaving. Multiplied by the chance to leave it
counts leaving twice: the surest leavers seem to be worth least. So spend is learned from those
who stayed, for everybody, and tried by tenths on a later period.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd

from insight_lib.findings import Estimate, TooFew
from insight_lib.prediction.board import estimate_ranking, reliability
from insight_lib.prediction.chain import Scored, rule_document
from insight_lib.prediction.document import Document
from insight_lib.prediction.fit import fit, stack
from insight_lib.prediction.scorer import score
from insight_lib.prediction.snapshots import Snapshot, Target
from insight_lib.statistics import estimate_ratio

_FEWEST_TESTED = 50
_WHO = {
    "local": "the model in use",
    "pooled": "what other markets know, for no own model is in use,",
    "rule": "a rule of thumb, for no own model is in use,",
}


@dataclass(frozen=True, kw_only=True)
class SpendIfKept:
    """Spend over the horizon of each customer, if they stay.

    Attributes:
        amount: By customer of the latest snapshot.
        ratio: What those who stayed spent in the last period, over what was said of them by a
            model of the periods before; missing where there is only one.
        tenths: Expected and observed by tenth of what was said, as from `board.reliability`.
    """

    amount: pd.Series
    ratio: Estimate | None
    tenths: pd.DataFrame


def estimate_spend_if_kept(
    known: Sequence[Snapshot],
    today: Snapshot,
    value: Target,
    *,
    leaving: str,
    as_of: date,
    seed: int,
    level: float = 0.95,
) -> SpendIfKept:
    """Learn spend from those who stayed, and say it of everybody.

    Args:
        known: Snapshots with labels, oldest first; of `value` and of `leaving`.
        value: The target that says spend over the horizon.
        leaving: Id of the target that says who leaves (1) and who stays (0).

    Raises:
        TooFew: Too few stayed to learn from.
    """
    stayed = [s for s in (_stayed(s, value, leaving) for s in known) if len(s.features)]
    if not stayed:
        raise TooFew("no past day tells who left and what the others spent")
    document = _learned(stayed, value, as_of=as_of, seed=seed)
    amount = pd.Series(score(document, today.features), index=today.features.index)
    ratio, tenths = None, pd.DataFrame()
    if len(stayed) > 1 and len(stayed[-1].features) >= _FEWEST_TESTED:
        last = stayed[-1]
        before = _learned(stayed[:-1], value, as_of=last.cut, seed=seed)
        said = score(before, last.features)
        came = np.maximum(last.labels[value.id].to_numpy(dtype=float), 0.0)
        ratio = estimate_ratio(came, said, unit="ratio", as_of=as_of, level=level)
        tenths = reliability(said, came, kind="amount", as_of=as_of, level=level)
    return SpendIfKept(amount=amount, ratio=ratio, tenths=tenths)


def _stayed(snapshot: Snapshot, value: Target, leaving: str) -> Snapshot:
    rows = (snapshot.labels[leaving] == 0) & snapshot.labels[value.id].notna()
    return Snapshot(
        cut=snapshot.cut,
        features=snapshot.features[rows],
        applies=snapshot.applies[rows],
        labels=snapshot.labels[rows],
    )


def _learned(stayed: Sequence[Snapshot], value: Target, *, as_of: date, seed: int) -> Document:
    try:
        return fit("logistic", stack(stayed, value), target=value, as_of=as_of, seed=seed)
    except TooFew:
        features = pd.concat([s.features for s in stayed])
        labels = pd.concat([s.labels[value.id] for s in stayed])
        return rule_document(features, labels, target=value, as_of=as_of)


def refuse_guessing(
    scored: Scored,
    known: Sequence[Snapshot],
    target: Target,
    past: pd.DataFrame | None,
    *,
    smallest_auc: float,
    as_of: date,
) -> None:
    """No list is made from scores that ranked like a lottery in the latest period.

    Args:
        scored: Says which rung scores.
        past: Forecasts of own models for later days and what came, as published by the stage
            prediction: target, cut, forecast, actual; missing if there are none.

    Raises:
        TooFew: The scores did not rank customers in the latest period, or it cannot be said.
    """
    rung = scored.first_rung
    mine = past[past["target"] == target.id] if past is not None else pd.DataFrame()
    if rung.name == "local" and len(mine):
        last = mine[mine["cut"] == mine["cut"].max()]
        said, came = (last[c].to_numpy(dtype=float) for c in ("forecast", "actual"))
    elif known and rung.document is not None:
        last = known[-1]
        label = last.labels[target.id].dropna()
        document = rung.document
        if rung.name == "rule" and len(known) > 1:  # one that did not see the answers
            document = rule_document(
                pd.concat([s.features for s in known[:-1]]),
                pd.concat([s.labels[target.id] for s in known[:-1]]),
                target=target,
                as_of=last.cut,
            )
        said, came = score(document, last.features.loc[label.index]), label.to_numpy(dtype=float)
    else:
        raise TooFew("no outcome is known yet to try the scores on")
    ranking = estimate_ranking(said, came, as_of=as_of)
    if ranking.lower <= 0.5 or (rung.name == "local" and ranking.value < smallest_auc):
        raise TooFew(
            f"in the latest period {_WHO[rung.name]} ranked {ranking.value * 100:.0f} in 100 pairs "
            "of customers right, and a lottery ranks half of them right"
        )
