"""What is tried on each target, and what is said of it: headline, choice, calibration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Literal, cast

import pandas as pd

from insight_lib.analyses import Missing, attempted
from insight_lib.charts import Caption, Chart, Mark, plot_dots, plot_tracking
from insight_lib.findings import Estimate, Measured
from insight_lib.prediction.board import Board, Contender, compare_estimators
from insight_lib.prediction.identifiers import Refused, check_identifiers
from insight_lib.prediction.promotion import guess_of, is_better_than_guessing, is_good_enough
from insight_lib.prediction.snapshots import Snapshot, Target
from insight_lib.prose import Name
from insight_lib.schema import TABLES

if TYPE_CHECKING:
    from insight_lib.parameter_model import PredictionParameters
    from insight_lib.prediction.standing import Registered
    from insight_lib.run import Run

EstimatorName = Literal["rule", "logistic", "additive", "boosting", "forest"]
TargetKind = Literal["binary", "amount"]
_FEWEST_GROUPS = 3


@dataclass(frozen=True, kw_only=True)
class Allowed:
    """Snapshots without the columns that name somebody.

    Attributes:
        snapshots: Oldest first; the last has no labels.
        refused: The columns that were left out.
    """

    snapshots: tuple[Snapshot, ...]
    refused: tuple[Refused, ...]

    @property
    def today(self) -> Snapshot:
        return self.snapshots[-1]

    @property
    def known(self) -> list[Snapshot]:
        """Those with outcomes."""
        return [s for s in self.snapshots if s.has_labels]

    @property
    def columns(self) -> list[str]:
        return list(self.today.features.columns)


def allowed(snapshots: list[Snapshot]) -> Allowed:
    """What models may read: no column that names somebody."""
    declared = {c.name: c.tags for table in TABLES.values() for c in table.columns}
    refused = check_identifiers(snapshots[-1].features, declared)
    names = [r.column for r in refused]
    kept = tuple(replace(s, features=s.features.drop(columns=names)) for s in snapshots)
    return Allowed(snapshots=kept, refused=tuple(refused))


def boards(
    allowed: Allowed, targets: tuple[Target, ...], run: Run[PredictionParameters]
) -> tuple[Board | Missing, ...]:
    """Every estimator tried on each target, on days later than those it learned from.

    Raises:
        TooFew: For a target: fewer customers than `general.minimum_customers`, or as
            `compare_estimators`.
    """
    p = run.parameters

    def compared(target: Target) -> Board:
        run.require_customers(len(allowed.today.features))
        return compare_estimators(
            allowed.snapshots,
            target,
            seed=run.seed,
            capacity_share=p.capacity_share,
            most_folds=p.board_folds,
            most_rows=p.most_training_rows,
            override=p.override_estimator.get(target.id),
            monotone=p.monotone.get(target.id),
            **run.range,
        )

    return tuple(
        attempted(partial(compared, target), target.id, title=Name(target.title))
        for target in targets
    )


def made(boards: Sequence[Board | Missing]) -> list[Board]:
    """The boards that there are."""
    return [board for board in boards if isinstance(board, Board)]


@dataclass(frozen=True, kw_only=True)
class Headline:
    """What may be done with the model of one target, or why nothing may.

    It speaks of the model that was tried and of nothing else: a model that is kept out of use is
    headlined by why, however well it ranked.

    Attributes:
        title: Fits "who will …".
        ranking, latest: Over all later days, and on the last of them alone.
        shown: The one of the two that no model should be picked by.
        captured: What the first customers hold; `reach` is their share.
        why_not: Why the model is not in use.
    """

    key: str
    case: Literal["told", "kept out", "hardly", "faded", "not yet"]
    title: Name
    kind: TargetKind
    chosen: EstimatorName
    ranking: Estimate
    latest: Estimate
    shown: Estimate
    is_lately: bool
    captured: Estimate
    reach: Measured
    smallest: Measured
    days: Measured
    why_not: Name | None

    @property
    def beats_a_lottery(self) -> bool:
        """Whether the first customers surely hold more than as many by lot."""
        return self.captured.lower > self.reach.value

    @property
    def most(self) -> TargetKind:
        return self.kind

    @property
    def held(self) -> TargetKind:
        return self.kind

    @property
    def unit(self) -> TargetKind:
        return self.kind


def headline(
    run: Run[PredictionParameters],
    boards: tuple[Board | Missing, ...] | None = None,
    registered: tuple[Registered | Missing, ...] | None = None,
) -> tuple[Headline | Missing, ...]:
    """How well it can be told who will do it, and what that is worth; what is absent comes last."""
    found = registered or ()
    why = {one.key: one.why_not for one in found if not isinstance(one, Missing)}
    told = [
        headline_of(
            board,
            smallest_auc=run.parameters.smallest_auc,
            why_not=why.get(board.key, "there is too little to learn it from"),
        )
        for board in made(boards or ())
    ]
    return *told, *(board for board in boards or () if isinstance(board, Missing))


def headline_of(board: Board, *, smallest_auc: float, why_not: str = "") -> Headline:
    """The same, of one board.

    Args:
        why_not: Why this model is not in use, in words; empty if it is.
    """
    target, mark = board.target, board.contender(board.chosen)
    n, as_of = mark.ranking.n, mark.ranking.as_of
    is_lately = mark.ranking.lower > guess_of(board)
    faded = is_lately and board.latest.upper < mark.ranking.value
    case: Literal["told", "kept out", "hardly", "faded", "not yet"]
    if is_good_enough(board, smallest_auc=smallest_auc):
        case = "kept out" if why_not else "told"
    elif is_better_than_guessing(board):
        case = "hardly"
    else:
        case = "faded" if faded else "not yet"

    def share(value: float) -> Measured:
        return Measured(value=value, unit="share", n=n, as_of=as_of)

    return Headline(
        key=board.key,
        case=case,
        title=Name(target.title),
        kind=target.kind,
        chosen=named_estimator(board.chosen),
        ranking=mark.ranking,
        latest=board.latest,
        shown=board.latest if is_lately else mark.ranking,
        is_lately=is_lately,
        captured=mark.captured,
        reach=share(board.capacity_share),
        smallest=share(smallest_auc),
        days=Measured(value=target.horizon_days, unit="days", n=n, as_of=as_of),
        why_not=Name(why_not) if why_not else None,
    )


def named_estimator(name: str) -> EstimatorName:
    """One of `document.ESTIMATORS`, for a card."""
    return cast("EstimatorName", name)


def ranking(
    headline: tuple[Headline | Missing, ...], used: tuple[Board, ...]
) -> tuple[Headline, ...]:
    """The targets whose model is in use."""
    live = {board.key for board in used}
    told = [one for one in headline if isinstance(one, Headline)]
    return tuple(one for one in told if one.key in live)


@dataclass(frozen=True, kw_only=True)
class ContenderRow:
    """The marks of one estimator; `pairs` of a yes or no, `way` of an amount.

    Attributes:
        spread, agreement: Standard deviation of the ranking over periods, and rank correlation of
            the last two fits; missing for one period.
        kilobytes: Size of its document.
    """

    model: EstimatorName
    pairs: Estimate | None
    way: Estimate | None
    ranking: Estimate
    captured: Estimate
    error: Measured
    slope: Measured | None
    total: Measured | None
    spread: Measured | None
    agreement: Measured | None
    n_terms: int
    kilobytes: Measured

    @property
    def periods(self) -> Literal["one", "several"]:
        return "one" if self.spread is None else "several"

    @property
    def same_order(self) -> Literal["unknown", "known"]:
        return "unknown" if self.agreement is None else "known"

    @property
    def explained(self) -> EstimatorName:
        return self.model


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which model is taken, and why: the reason follows from the board.

    Attributes:
        gap: What it gives up against the best; missing for the best itself.
        nearest: What the nearest simpler one gives up against it.
        first, last: Of the later days that models were tried on.
    """

    key: str
    case: Literal["asked", "asked and best", "within chance", "simplest", "best"]
    title: Name
    kind: TargetKind
    is_used: bool
    chosen: EstimatorName
    best: EstimatorName
    ranking: Estimate
    gap: Estimate | None
    nearest: Estimate | None
    n_days: int
    first: date
    last: date
    table: tuple[ContenderRow, ...]
    contenders: tuple[Contender, ...]

    def draw(self, caption: Caption) -> Chart:
        """How well each model ranks customers on later days."""
        words, rankings = caption.labels, [c.ranking for c in self.contenders]
        frame = pd.DataFrame(
            {
                "model": [words[c.estimator] for c in self.contenders],
                "ranking": [r.value for r in rankings],
                "lower": [r.lower for r in rankings],
                "upper": [r.upper for r in rankings],
                "customers": [r.n for r in rankings],
            }
        )
        return plot_dots(
            frame, caption=caption, label="model", value="ranking", lower="lower", upper="upper",
            unit="share", n="customers", highlight=[words[self.chosen]], is_sorted=False,
            reference=Mark(at=0.0 if self.kind == "amount" else 0.5, text=caption.reference),
        )  # fmt: skip


def choice(
    boards: tuple[Board | Missing, ...], used: tuple[Board, ...] | None = None
) -> tuple[Choice, ...]:
    """For each target the model that is taken, and all that were tried."""
    live = {board.key for board in used or ()}
    return tuple(choice_of(board, is_used=board.key in live) for board in made(boards))


def choice_of(board: Board, *, is_used: bool = True) -> Choice:
    """The same, of one board."""
    mark, names = board.contender(board.chosen), [c.estimator for c in board.contenders]
    gap = mark.behind
    case: Literal["asked", "asked and best", "within chance", "simplest", "best"]
    if board.why == "override":
        case = "asked and best" if gap is None else "asked"
    elif gap is not None:
        case = "within chance"
    else:
        case = "simplest" if board.chosen == names[0] else "best"
    simpler = [c.behind for c in board.contenders[: names.index(board.best)] if c.behind]
    days = [date.fromisoformat(fold.test_cut) for fold in board.folds]
    return Choice(
        key=board.key,
        case=case,
        title=Name(board.target.title),
        kind=board.target.kind,
        is_used=is_used,
        chosen=named_estimator(board.chosen),
        best=named_estimator(board.best),
        ranking=mark.ranking,
        gap=gap,
        nearest=min(simpler, key=lambda e: e.value) if simpler else None,
        n_days=len(days),
        first=days[0],
        last=days[-1],
        table=tuple(_row(c, board.target.kind) for c in board.contenders),
        contenders=board.contenders,
    )


def _row(c: Contender, kind: TargetKind) -> ContenderRow:
    n, as_of = c.ranking.n, c.ranking.as_of

    def measured(value: float, unit: str) -> Measured:
        return Measured(value=value, unit=unit, n=n, as_of=as_of)

    def known(value: float, unit: str) -> Measured | None:
        return measured(value, unit) if math.isfinite(value) else None

    return ContenderRow(
        model=named_estimator(c.estimator),
        pairs=c.ranking if kind == "binary" else None,
        way=c.ranking if kind == "amount" else None,
        ranking=c.ranking,
        captured=c.captured,
        error=measured(c.calibration_error, "change"),
        slope=known(c.calibration_slope, "ratio"),
        total=known(c.total_ratio, "ratio"),
        spread=known(c.spread, "share"),
        agreement=known(c.agreement, "change"),
        n_terms=c.n_terms,
        kilobytes=measured(c.n_bytes / 1000, "count"),
    )


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Whether scores mean what they say.

    Attributes:
        advice: Of a model that scores nobody, nothing is to be used.
        error: Mean gap: in share, or of amounts relative to their mean.
        total: Expected over observed.
        largest_error, largest_gap: Limits of the two.
        curve: Expected and observed by group of scores, lowest first; none where the model is no
            better than guessing.
    """

    key: str
    case: Literal["passes", "off"]
    advice: Literal["not used", "passes", "off"]
    title: Name
    error: Measured
    total: Measured
    largest_error: Measured
    largest_gap: Measured
    unit: str
    curve: pd.DataFrame

    def draw(self, caption: Caption) -> Chart | None:
        """Expected against observed; nothing if the groups are too small."""
        if len(self.curve) < _FEWEST_GROUPS:
            return None
        return plot_tracking(
            self.curve.assign(group=range(1, len(self.curve) + 1)), caption=caption, x="group",
            actual="observed", expected="expected", lower="lower", upper="upper", unit=self.unit,
            x_title=caption.reference,
        )  # fmt: skip


def calibration(
    boards: tuple[Board | Missing, ...],
    run: Run[PredictionParameters],
    used: tuple[Board, ...] | None = None,
) -> tuple[Calibration, ...]:
    """For each target whether the scores of the model that is taken mean what they say."""
    live, p = {board.key for board in used or ()}, run.parameters
    return tuple(
        calibration_of(
            board,
            largest_error_share=p.largest_calibration_error_share,
            largest_total_gap_share=p.largest_total_gap_share,
            smallest=run.smallest_cell,
            is_used=board.key in live,
        )
        for board in made(boards)
    )


def calibration_of(
    board: Board,
    *,
    largest_error_share: float,
    largest_total_gap_share: float,
    smallest: int = 1,
    is_used: bool = True,
) -> Calibration:
    """The same, of one board.

    Args:
        largest_error_share: Mean gap that passes: in share, or relative to the mean amount.
        largest_total_gap_share: How far the expected total may be from the observed one.
        smallest: Fewest customers of a group that is drawn.
        is_used: Whether the model scores anybody.
    """
    mark = board.contender(board.chosen)
    passes = (
        mark.calibration_error <= largest_error_share
        and abs(mark.total_ratio - 1) <= largest_total_gap_share
    )
    case: Literal["passes", "off"] = "passes" if passes else "off"
    is_drawn = (board.curve["n"] >= smallest) & is_better_than_guessing(board)

    def measured(value: float, unit: str) -> Measured:
        return Measured(value=value, unit=unit, n=mark.ranking.n, as_of=mark.ranking.as_of)

    return Calibration(
        key=board.key,
        case=case,
        advice=case if is_used else "not used",
        title=Name(board.target.title),
        error=board.calibration_error,
        total=measured(mark.total_ratio, "ratio"),
        largest_error=measured(largest_error_share, "share"),
        largest_gap=measured(largest_total_gap_share, "share"),
        unit=board.target.unit,
        curve=board.curve[is_drawn].reset_index(drop=True),
    )
