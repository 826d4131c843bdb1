"""Today's scores: who is scored, by which model, and whether the log can answer for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from insight_lib.charts import Caption, Chart, plot_bars
from insight_lib.findings import Measured, TooFew
from insight_lib.prediction.chain import (
    Conditions,
    Rung,
    RungName,
    Scored,
    WhyAnswer,
    local_rung,
    logged_inputs,
    pooled_rung,
    rule_document,
    rule_rung,
    score_frame,
    why,
)
from insight_lib.prediction.loaded import Keeper
from insight_lib.prediction.pooled import pooled_document
from insight_lib.prediction.registry import Registry
from insight_lib.prediction.snapshots import Snapshot, Target
from insight_lib.prose import Name

if TYPE_CHECKING:
    from insight_lib.parameter_model import PredictionParameters
    from insight_lib.run import Run

_RUNGS: tuple[RungName, ...] = ("local", "pooled", "rule")


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """Today's scores, by target in the order of the targets.

    Attributes:
        targets: By id, those that nobody is scored on too.
        known: Snapshots with labels, oldest first.
    """

    scored: tuple[Scored, ...]
    targets: Mapping[str, Target]
    known: tuple[Snapshot, ...]
    today: Snapshot

    @property
    def log(self) -> pd.DataFrame:
        """Every score, as `chain.LOG_COLUMNS`."""
        return pd.concat([one.log for one in self.scored], ignore_index=True)

    @property
    def by_target(self) -> dict[str, pd.Series]:
        """Scores by customer (index)."""
        return {one.target: one.log.set_index("customer_id")["score"] for one in self.scored}

    @property
    def leaving(self) -> str:
        """Id of the target that says who leaves."""
        return "churn" if "churn" in self.by_target else "lapse"


def of_others(market: Keeper) -> pd.DataFrame:
    """Coefficients that the other markets gave, as `pooled.pooled_rows` makes them."""
    return market.aggregates("pooled_models")


def scoring(
    snapshots: list[Snapshot],
    targets: tuple[Target, ...],
    of_others: pd.DataFrame,
    registry: Registry,
    market: Keeper,
    run: Run[PredictionParameters],
) -> Scoring:
    """Score today's customers, and register what scored them: it can be asked why.

    Raises:
        TooFew: A question applies to hardly anybody, or no outcome is known.
    """
    *known, today = snapshots
    scored = []
    for target in targets:
        if today.applies[target.id].sum() >= run.smallest_cell:
            name = f"{target.id}@{market.segment}" if market.segment else target.id
            try:
                found = _score(target, name, (known, today), of_others, registry, run)
            except TooFew:  # no outcome is known, so not even a rule can be made
                continue
            for rung in found.rungs:
                if rung.document is not None and found.counts[rung.name]:
                    card = {"rung": rung.name, "as_of": run.as_of.isoformat()}
                    registry.register(rung.document, card)
            scored.append(found)
    if not scored:
        raise TooFew("no customer to whom a question applies")
    return Scoring(
        scored=tuple(scored),
        targets={t.id: t for t in targets},
        known=tuple(known),
        today=today,
    )


def _score(
    target: Target,
    name: str,
    days: tuple[Sequence[Snapshot], Snapshot],
    of_others: pd.DataFrame,
    registry: Registry,
    run: Run[PredictionParameters],
) -> Scored:
    """One target's scores, by the first rung that can."""
    (known, today), p = days, run.parameters
    here = today.features[today.applies[target.id]]
    outcome = pd.concat([s.labels[target.id] for s in known])
    features = pd.concat([s.features for s in known])
    columns = list(here.columns)

    def from_other_markets() -> Mapping[str, Any]:
        if target.kind != "binary":
            raise TooFew("amounts are not pooled over markets")
        return pooled_document(
            of_others,
            here,
            outcome,
            target=target.id,
            horizon_days=target.horizon_days,
            as_of=run.as_of,
            smallest_markets=p.smallest_pooled_markets,
        )

    conditions = Conditions(
        smallest_training_customers=p.smallest_training_customers,
        smallest_positives=p.smallest_positives,
    )
    rungs = [
        local_rung(
            lambda: registry.live(name, on=run.as_of), columns=columns, conditions=conditions
        ),
        pooled_rung(from_other_markets, columns=columns),
        rule_rung(rule_document(features, outcome, target=target, as_of=run.as_of)),
    ]
    return score_frame(target.id, rungs, here, as_of=run.as_of)


@dataclass(frozen=True, kw_only=True)
class RungRow:
    """Customers of one question by what scores them; small counts are not shown.

    Attributes:
        smallest: Fewest customers behind a number.
        why: Reasons down to the first rung that scores.
    """

    title: Name
    local: int
    pooled: int
    rule: int
    smallest: int
    why: Name

    @property
    def local_shown(self) -> Literal["shown", "few"]:
        return self._shown(self.local)

    @property
    def pooled_shown(self) -> Literal["shown", "few"]:
        return self._shown(self.pooled)

    @property
    def rule_shown(self) -> Literal["shown", "few"]:
        return self._shown(self.rule)

    def _shown(self, count: int) -> Literal["shown", "few"]:
        return "few" if 0 < count < self.smallest else "shown"


@dataclass(frozen=True, kw_only=True)
class Rungs:
    """Which rung scores customers, over all targets.

    Attributes:
        title, reason: Of the first target that the own model does not score, and why not.
        bars: title, rung, share, customers; of bars large enough to be shown.
    """

    case: Literal["own", "lower"]
    share: Measured
    title: Name | None
    reason: Name | None
    table: tuple[RungRow, ...]
    bars: pd.DataFrame

    def draw(self, caption: Caption) -> Chart | None:
        """Share of customers by question and rung; nothing if the own model scores them all."""
        frame, is_local = self.bars, self.bars["rung"] == "local"
        if is_local.all():
            return None
        label = frame["title"] + ": " + frame["rung"].map(dict(caption.labels))
        return plot_bars(
            frame.assign(label=label), caption=caption, label="label", value="share", unit="share",
            n="customers", highlight=label[is_local].tolist() or ["none"], is_sorted=False,
        )  # fmt: skip


def rungs(scoring: Scoring, run: Run[PredictionParameters]) -> Rungs:
    """By which rung of the chain today's customers are scored."""
    titles = {name: target.title for name, target in scoring.targets.items()}
    return rungs_of(scoring.scored, titles, run)


def rungs_of(scored: Sequence[Scored], titles: Mapping[str, str], run: Run[Any]) -> Rungs:
    """The same, by target titles that fit "customers who …"."""
    n = sum(len(one.log) for one in scored)
    local = sum(one.counts.get("local", 0) for one in scored)
    lower = [one for one in scored if one.first_rung.name != "local"]
    return Rungs(
        case="lower" if lower else "own",
        share=Measured(value=local / n if n else 0.0, unit="share", n=n, as_of=run.as_of),
        title=Name(titles[lower[0].target]) if lower else None,
        reason=Name(lower[0].rungs[0].reason) if lower else None,
        table=tuple(_row(one, titles, run.smallest_cell) for one in scored),
        bars=_bars(scored, titles, run.smallest_cell),
    )


def _bars(scored: Sequence[Scored], titles: Mapping[str, str], smallest: int) -> pd.DataFrame:
    rows = [
        (titles[one.target], rung, count / len(one.log), count)
        for one in scored
        for rung, count in one.counts.items()
        if count >= smallest
    ]
    return pd.DataFrame(rows, columns=["title", "rung", "share", "customers"])


def _row(one: Scored, titles: Mapping[str, str], smallest: int) -> RungRow:
    local, pooled, rule = (one.counts.get(rung, 0) for rung in _RUNGS)
    return RungRow(
        title=Name(titles[one.target]),
        local=local,
        pooled=pooled,
        rule=rule,
        smallest=smallest,
        why=Name("; ".join(dict.fromkeys(r.reason for r in _tried(one)))),
    )


def _tried(one: Scored) -> list[Rung]:
    """The rungs down to the first that scores."""
    stop = one.rungs.index(one.first_rung)
    return list(one.rungs[: stop + 1])


def score_log(scoring: Scoring) -> pd.DataFrame:
    """Every score with its reason, as `chain.LOG_COLUMNS`."""
    return scoring.log


def score_inputs(scoring: Scoring) -> pd.DataFrame:
    """What the scores were made from, by customer."""
    return logged_inputs(scoring.scored, scoring.today.features)


@dataclass(frozen=True, kw_only=True)
class MadeAgain:
    """Whether every score is logged with its reason, and can be made again from the log.

    Attributes:
        n, n_silent: Scores, and those without a reason.
        n_tried, n_wrong: Scores that were made again, and those that did not match.
        fault: What does not match in the first of them.
    """

    case: Literal["wrong", "silent", "same"]
    n: int
    n_silent: int
    n_tried: int
    n_wrong: int
    fault: Name | None


def made_again(
    score_log: pd.DataFrame,
    score_inputs: pd.DataFrame,
    registry: Registry,
    run: Run[PredictionParameters],
) -> MadeAgain:
    """Make some of the scores again from the log, evenly over it."""
    step = max(len(score_log) // run.parameters.scores_made_again, 1)
    answers = [
        why(
            score_log,
            score_inputs,
            registry,
            customer_id=row["customer_id"],
            on=run.as_of,
            target=row["target"],
        )[0]
        for row in score_log.iloc[::step].to_dict("records")
    ]
    return log_held(score_log, answers)


def log_held(log: pd.DataFrame, answers: Sequence[WhyAnswer]) -> MadeAgain:
    """What the log and some scores made again come to."""
    silent = int((log["reason"].str.strip() == "").sum())
    wrong = [answer for answer in answers if answer.faults]
    return MadeAgain(
        case="wrong" if wrong else "silent" if silent else "same",
        n=len(log),
        n_silent=silent,
        n_tried=len(answers),
        n_wrong=len(wrong),
        fault=Name(wrong[0].faults[0]) if wrong else None,
    )
