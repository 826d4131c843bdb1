"""What may leave, what waits for a person, and what is at stake in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from insight_lib.charts import Caption, Chart, plot_bars
from insight_lib.findings import Estimate, Measured, TooFew, counted
from insight_lib.market_view import optional
from insight_lib.prediction.currency import in_currency
from insight_lib.prediction.loaded import Keeper
from insight_lib.prediction.review import (
    Agreement,
    Split,
    Stakes,
    add_stakes,
    estimate_agreement,
    judged_pairs,
    review_form,
    split_released,
)
from insight_lib.prediction.scoring import Scoring
from insight_lib.prediction.stakes import SpendIfKept, estimate_spend_if_kept

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from insight_lib.parameter_model import PredictionParameters
    from insight_lib.run import Run

_DAYS_PER_MONTH = 365.25 / 12
_REVIEWS = "reviews"
_REVIEWER = "crm-lead"

State = Literal["released", "waiting", "rejected"]


def reviews(market: Keeper) -> list[dict[str, Any]]:
    """What people decided on scores, oldest first."""
    return market.decisions(_REVIEWS)


def limits(run: Run[PredictionParameters], fx_rates: ir.Table | None = None) -> Stakes:
    """From where on a score waits for a person, in the market's currency; unknown waits."""
    p = run.parameters
    rates = None if fx_rates is None else fx_rates.to_pandas()
    try:
        smallest = in_currency(
            p.review_stakes_amount, to=run.currency, fx_rates=rates, as_of=run.as_of
        )
    except TooFew:
        smallest = None
    return Stakes(
        smallest_amount=smallest,
        high_stakes_targets=p.high_stakes_targets,
        n_reviewers=p.reviewers,
        tolerance_share=p.decision_tolerance_share,
        holds_days=p.decision_holds_days,
    )


def contract_value(
    run: Run[PredictionParameters], contracts: ir.Table | None = None
) -> pd.Series[float]:
    """What the contracts in force bring over the horizon, by customer; empty without contracts.

    It is at stake, and no model reads it; unknown stakes wait for a person.
    """
    if contracts is None:
        return pd.Series(dtype=float)
    held = contracts.filter(optional(contracts, "end_date", "date").isnull()).to_pandas()
    monthly = held.groupby("customer_id")["monthly_amount"].sum().astype(float)
    return monthly * run.parameters.horizon_days / _DAYS_PER_MONTH


def spend_if_kept(scoring: Scoring, run: Run[PredictionParameters]) -> SpendIfKept:
    """What customers spend who stay; contracts bring their fee as long as they run.

    Raises:
        TooFew: The market has no forecast of spend, or as `estimate_spend_if_kept`.
    """
    if scoring.leaving == "churn" or "value" not in scoring.targets:
        raise TooFew("the market has no forecast of spend")
    return estimate_spend_if_kept(
        scoring.known,
        scoring.today,
        scoring.targets["value"],
        leaving=scoring.leaving,
        seed=run.seed,
        **run.range,
    )


@dataclass(frozen=True, kw_only=True)
class Worth:
    """What is at stake by customer: in one who may leave, and in any other question."""

    leaving: pd.Series[float]
    other: pd.Series[float]


def worth(
    scoring: Scoring, contract_value: pd.Series[float], spend_if_kept: SpendIfKept | None = None
) -> Worth:
    """Spend of those who stay, else the forecast of spend, else the contracts in force."""
    other = scoring.by_target.get("value", contract_value)
    return Worth(leaving=spend_if_kept.amount if spend_if_kept else other, other=other)


def split(
    scoring: Scoring,
    worth: Worth,
    limits: Stakes,
    reviews: list[dict[str, Any]],
    run: Run[PredictionParameters],
) -> Split:
    """Scores that may leave, that wait for a person, and that were rejected."""
    log = scoring.log
    is_leaving = log["target"] == scoring.leaving
    amounts = [name for name, target in scoring.targets.items() if target.kind == "amount"]
    weighed = pd.concat(
        [
            add_stakes(part, amount, stakes=limits, amount_targets=amounts)
            for part, amount in ((log[is_leaving], worth.leaving), (log[~is_leaving], worth.other))
        ]
    ).sort_index()
    return split_released(weighed, reviews, stakes=limits, as_of=run.as_of)


@dataclass(frozen=True, kw_only=True)
class Review:
    """What waits for a person, and that nothing of it has left.

    Attributes:
        value: Scores that wait.
        n: All scores.
        amount, limit: At stake in those that wait, and from where on a score waits.
    """

    case: Literal["none waits", "waits", "all wait"]
    value: Measured
    amount: Measured
    limit: Measured | None
    n_released: int
    n_reviewed: int
    n_rejected: int
    n: int


def review(split: Split, limits: Stakes, run: Run[PredictionParameters]) -> Review:
    """How many scores wait for a person, and what is at stake in them."""
    return review_of(split, limits, currency=run.currency, as_of=run.as_of)


def review_of(split: Split, limits: Stakes, *, currency: str, as_of: date) -> Review:
    """The same, in one currency."""
    n, waiting = len(split.released) + len(split.queue) + len(split.rejected), len(split.queue)
    least = limits.smallest_amount

    def money(value: float, n: int) -> Measured:
        return Measured(value=value, unit=currency, n=n, as_of=as_of)

    return Review(
        case="none waits" if not waiting else "all wait" if least is None else "waits",
        value=counted(waiting, n, as_of),
        amount=money(float(split.queue["stakes_amount"].abs().sum()), waiting),
        limit=None if least is None else money(least, n),
        n_released=len(split.released),
        n_reviewed=split.n_reviewed,
        n_rejected=len(split.rejected),
        n=n,
    )


@dataclass(frozen=True, kw_only=True)
class Share:
    """Share of customers by what happens to their scores."""

    state: State
    value: Measured


def shares(split: Split, run: Run[PredictionParameters]) -> tuple[Share, ...]:
    """Customers all of whose scores may leave, of whom one waits, and of whom one is rejected."""
    waiting, rejected = set(split.queue["customer_id"]), set(split.rejected["customer_id"])
    n = len({*split.released["customer_id"], *waiting, *rejected})
    parts: dict[State, int] = {
        "released": n - len(waiting | rejected),
        "waiting": len(waiting),
        "rejected": len(rejected),
    }
    return tuple(
        Share(
            state=state,
            value=Measured(value=k / n if n else 0.0, unit="share", n=n, as_of=run.as_of),
        )
        for state, k in parts.items()
    )


@dataclass(frozen=True, kw_only=True)
class AtStake:
    """Expected amount behind the scores, by what happens to them.

    Attributes:
        share: Of it, what waits.
        bars: state, amount, scores; of states with enough scores to be shown.
    """

    share: Measured
    currency: str
    bars: pd.DataFrame

    def draw(self, caption: Caption) -> Chart:
        """Amount by state."""
        return plot_bars(
            self.bars.assign(label=self.bars["state"].map(dict(caption.labels))),
            caption=caption, label="label", value="amount", unit=self.currency, n="scores",
            highlight=[caption.labels["waiting"]],
        )  # fmt: skip


def at_stake(split: Split, run: Run[PredictionParameters]) -> AtStake | None:
    """How much of what is at stake waits for a person; nothing if hardly anything waits."""
    return stakes_of(split, smallest=run.smallest_cell, currency=run.currency, as_of=run.as_of)


def stakes_of(split: Split, *, smallest: int, currency: str, as_of: date) -> AtStake | None:
    """The same, in one currency."""
    frames = {"released": split.released, "waiting": split.queue, "rejected": split.rejected}
    amounts = {state: f["stakes_amount"].abs().dropna() for state, f in frames.items()}
    rows = [(state, float(a.sum()), len(a)) for state, a in amounts.items() if len(a) >= smallest]
    bars = pd.DataFrame(rows, columns=["state", "amount", "scores"])
    waiting = bars[bars["state"] == "waiting"]
    if waiting.empty:
        return None
    share = float(waiting["amount"].iloc[0] / bars["amount"].sum())
    return AtStake(
        share=Measured(value=share, unit="share", n=int(bars["scores"].sum()), as_of=as_of),
        currency=currency,
        bars=bars,
    )


@dataclass(frozen=True, kw_only=True)
class Agreed:
    """How people and the model get on."""

    case: Literal["agree", "differ", "cannot tell"]
    agreed: Estimate
    kappa: Estimate
    smallest: Measured


def agreement(
    scoring: Scoring, reviews: list[dict[str, Any]], run: Run[PredictionParameters]
) -> Agreed:
    """On how many reviewed scores people and the model agree, beyond chance.

    Raises:
        TooFew: As `judged_pairs` and `estimate_agreement`.
    """
    people, model = judged_pairs(reviews, scoring.log)
    found = estimate_agreement(people, model, **run.range)
    return agreed(found, smallest_kappa=run.parameters.smallest_kappa)


def agreed(found: Agreement, *, smallest_kappa: float) -> Agreed:
    """What an agreement comes to."""
    kappa = found.kappa
    fell = kappa.upper < smallest_kappa
    return Agreed(
        case="agree" if kappa.lower >= smallest_kappa else "differ" if fell else "cannot tell",
        agreed=found.agreed,
        kappa=kappa,
        smallest=Measured(value=smallest_kappa, unit="index", n=kappa.n, as_of=kappa.as_of),
    )


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """The scores that wait for the person at the notebook."""

    queue: pd.DataFrame
    record: Callable[[dict[str, str]], None]
    day: date

    def form(self, _: Any) -> Any:
        """Scores with most at stake, each with its buttons."""
        return review_form(self.queue, self.record, by=_REVIEWER, day=self.day)


def waiting(split: Split, market: Keeper, run: Run[PredictionParameters]) -> Waiting:
    """The queue, and where a decision on it is kept."""

    def record(row: dict[str, str]) -> None:
        market.add_decision(_REVIEWS, row)

    return Waiting(queue=split.queue, record=record, day=run.as_of)


def scores(split: Split, score_log: pd.DataFrame) -> pd.DataFrame:
    """The scores that may leave, as `chain.LOG_COLUMNS`."""
    return split.released[list(score_log.columns)]


def review_queue(split: Split) -> pd.DataFrame:
    """The scores that wait for a person, with what is at stake in each and why it waits."""
    return split.queue
