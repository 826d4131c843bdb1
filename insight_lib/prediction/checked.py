"""Whether a model knows the future, whom it names, what drives it, and what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from insight_lib.analyses import Missing, attempted
from insight_lib.charts import Caption, Chart, plot_bars
from insight_lib.findings import Estimate, Measured, TooFew, counted
from insight_lib.prediction.board import Board
from insight_lib.prediction.boards import Allowed, TargetKind, made
from insight_lib.prediction.explain import Driver, estimate_drivers, in_words
from insight_lib.prediction.identifiers import Refused
from insight_lib.prediction.leakage import (
    Kind,
    Leak,
    check_features,
    check_known_from,
    check_model,
    check_truncation,
    end_tables,
)
from insight_lib.prediction.missing import (
    Mechanism,
    Routes,
    Shift,
    compare_routes,
    describe_missingness,
    estimate_sensitivity,
)
from insight_lib.prediction.snapshots import Plan, Target, undated_traits
from insight_lib.prose import Name
from insight_lib.schema import TABLES

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from insight_lib.parameter_model import PredictionParameters
    from insight_lib.run import Run

_MOST_DRIVERS = 8


@dataclass(frozen=True, kw_only=True)
class Leaks:
    """What lets the future in, or deserves a look.

    Attributes:
        of_features: In any target, by the day that a feature is known from.
        by_target: In one target, by its title.
        n_models, n_features: Tested.
        undated: Features without a day on which they were known, such as traits that a customer
            table holds as they are now; no test on earlier days can speak of them.
    """

    of_features: tuple[Leak, ...]
    by_target: Mapping[str, tuple[Leak, ...]]
    n_models: int
    n_features: int
    undated: tuple[str, ...]

    def speak_against(self, target: Target) -> bool:
        """Whether a model of this target may not go live."""
        return bool(self.of_features or self.by_target[target.title])

    @property
    def every(self) -> list[tuple[str | None, Leak]]:
        """Every leak with the target's title where it is of one."""
        found: list[tuple[str | None, Leak]] = [(None, leak) for leak in self.of_features]
        return found + [(t, leak) for t, leaks in self.by_target.items() for leak in leaks]


def leaks(
    boards: tuple[Board | Missing, ...],
    allowed: Allowed,
    plan: Plan,
    sources: dict[str, ir.Table],
    run: Run[PredictionParameters],
) -> Leaks:
    """Every test for knowledge of the future, on features and on models.

    Raises:
        TooFew: There is no model.
    """
    found, p = made(boards), run.parameters
    if not found:
        raise TooFew("there is no model to look at", takes="a model that passes the gates below")
    n_models = sum(len(board.documents) for board in found)
    by_target = {}
    for board in found:
        of_board = check_features(
            board.trained,
            board.tested,
            target=board.target,
            suspicious_ranking=p.suspicious_ranking,
            largest_auc_gap=p.largest_auc_gap,
            seed=run.seed,
            n_tests=len(found),
        )
        for document in board.documents.values():
            of_board += check_model(
                document,
                board.trained,
                board.tested,
                target=board.target,
                seed=run.seed,
                n_tests=n_models,
            )
        by_target[board.target.title] = tuple(of_board)
    return Leaks(
        of_features=_of_features(allowed, plan, sources, p.known_from),
        by_target=by_target,
        n_models=n_models,
        n_features=len(allowed.columns),
        undated=tuple(sorted(undated_traits(allowed.columns))),
    )


def _of_features(
    allowed: Allowed, plan: Plan, sources: dict[str, ir.Table], declared: Mapping[str, str]
) -> tuple[Leak, ...]:
    """Features that change without the days after a cut, or that are declared as known later."""
    cut = allowed.snapshots[-2].cut
    whole = plan.at(sources, [cut], (), as_of=cut)[0].features
    ended = plan.at(end_tables(sources, cut), [cut], (), as_of=cut)[0].features
    used = [c for c in allowed.columns if c in whole]
    columns = [c for table in TABLES.values() for c in table.columns]
    known_from = {c.name: c.known_from for c in columns if c.known_from} | dict(declared)
    changed = check_truncation(whole[used], ended[[c for c in used if c in ended]])
    return (*changed, *check_known_from(used, known_from))


@dataclass(frozen=True, kw_only=True)
class LeakRow:
    """One way in which the future gets in, or tells less than it did.

    Attributes:
        where: The feature, or the estimator whose learning leaks.
        target: Of which target; missing where it is of all.
    """

    where: Name
    kind: Kind
    target: Name | None


@dataclass(frozen=True, kw_only=True)
class Leaky:
    """Features and models of one kind of fault.

    Attributes:
        value: Faults; `n_where` are the features or models that they are in.
        n_tested: Features that are the same without later days.
        undated: Features that no test can speak of.
    """

    case: Literal["found", "none"]
    is_one: bool
    value: Measured
    n_where: int
    n_models: int
    n_tested: int
    names: tuple[Name, ...]
    undated: tuple[Name, ...]
    table: tuple[LeakRow, ...]

    @property
    def has_undated(self) -> bool:
        return bool(self.undated)


def _leaky(leaks: Leaks, found: Sequence[tuple[str | None, Leak]], *, as_of: date) -> Leaky:
    where = tuple(dict.fromkeys(Name(leak.where) for _, leak in found))
    return Leaky(
        case="found" if found else "none",
        is_one=len(found) == 1,
        value=counted(len(found), leaks.n_models, as_of),
        n_where=len(where),
        n_models=leaks.n_models,
        n_tested=leaks.n_features - len(leaks.undated),
        names=where,
        undated=tuple(Name(in_words(name)) for name in leaks.undated),
        table=tuple(
            LeakRow(where=Name(leak.where), kind=leak.kind, target=Name(of) if of else None)
            for of, leak in found
        ),
    )


def leakage(leaks: Leaks, run: Run[PredictionParameters]) -> Leaky:
    """What proves that a model knows the future; one is enough to stop all scores."""
    found = [(of, leak) for of, leak in leaks.every if leak.is_proof]
    return _leaky(leaks, found, as_of=run.as_of)


def faded(leaks: Leaks, run: Run[PredictionParameters]) -> Leaky | None:
    """Features that tell far less lately than before; nothing if none does."""
    found = [(of, leak) for of, leak in leaks.every if leak.kind == "fades"]
    return _leaky(leaks, found, as_of=run.as_of) if found else None


def strong_feature(leaks: Leaks, run: Run[PredictionParameters]) -> Leaky | None:
    """Features that deserve a look at the day they are known; nothing if none does."""
    found = [(of, leak) for of, leak in leaks.every if not leak.is_proof and leak.kind != "fades"]
    return _leaky(leaks, found, as_of=run.as_of) if found else None


@dataclass(frozen=True, kw_only=True)
class Identifiers:
    """Which columns were kept from the models because they name somebody.

    Attributes:
        names: Each column with the reason.
        n: Features looked at.
    """

    case: Literal["refused", "none"]
    names: tuple[Name, ...]
    n_refused: int
    n: int


def identifiers(allowed: Allowed) -> Identifiers:
    """Whether a feature names somebody."""
    n = len(allowed.columns) + len(allowed.refused)
    return identifiers_of(allowed.refused, n_features=n)


def identifiers_of(refused: Sequence[Refused], *, n_features: int) -> Identifiers:
    """The same, of the columns that were refused."""
    return Identifiers(
        case="refused" if refused else "none",
        names=tuple(Name(f"{r.column}: {r.words}") for r in refused),
        n_refused=len(refused),
        n=n_features,
    )


@dataclass(frozen=True, kw_only=True)
class Moves:
    """What moves the scores of one target most.

    Attributes:
        others: The inputs that come next.
        bars: feature, share, lower, upper, customers; of inputs that move anything.
    """

    key: str
    case: Literal["more", "less", "depends"]
    title: Name
    feature: Name
    share: Estimate
    others: tuple[Name, ...]
    bars: pd.DataFrame

    @property
    def has_others(self) -> bool:
        return bool(self.others)

    def draw(self, caption: Caption) -> Chart | None:
        """The inputs that move the scores most; nothing for a model with one input."""
        if len(self.bars) < 2:
            return None
        return plot_bars(
            self.bars, caption=caption, label="feature", value="share", lower="lower",
            upper="upper", unit="share", n="customers", highlight=[self.bars["feature"].iloc[0]],
        )  # fmt: skip


def driver(used: tuple[Board, ...], run: Run[PredictionParameters]) -> tuple[Moves | Missing, ...]:
    """For each model in use what moves its scores, of customers whom it did not learn from.

    Raises:
        TooFew: For a model: as `estimate_drivers`.
    """

    def moved(board: Board) -> Moves:
        document = board.documents[board.chosen]
        return moves(board, estimate_drivers(document, board.tested.features, **run.range))

    return tuple(attempted(partial(moved, board), board.key) for board in used)


def moves(board: Board, drivers: Sequence[Driver]) -> Moves:
    """What the drivers of one model come to, the largest first."""
    cases: dict[int, Literal["more", "less", "depends"]] = {1: "more", -1: "less", 0: "depends"}
    top, moving = drivers[0], [d for d in drivers if d.share.value > 0]
    rows = [
        (d.words.capitalize(), d.share.value, d.share.lower, d.share.upper, d.share.n)
        for d in moving[:_MOST_DRIVERS]
    ]
    return Moves(
        key=board.key,
        case=cases[top.direction],
        title=Name(board.target.title),
        feature=Name(top.words),
        share=top.share,
        others=tuple(Name(d.words) for d in drivers[1:3] if d.share.value > 0),
        bars=pd.DataFrame(rows, columns=["feature", "share", "lower", "upper", "customers"]),
    )


@dataclass(frozen=True, kw_only=True)
class ShiftRow:
    """The answer under one guess about what is missing."""

    spreads: Measured
    mean_score: Measured
    ranking: Measured
    same_list: Measured


@dataclass(frozen=True, kw_only=True)
class Gaps:
    """What missing values would do to the answer if they were dropped or guessed wrongly.

    Attributes:
        dropped, kept: Error of the mean when customers with a gap are dropped, and when gaps are
            filled and marked.
        column, share: With most gaps.
        because: What those gaps go with; missing where they look like chance.
        same_list: Of the first customers, those that stay if what is missing was far off.
    """

    key: str
    case: Literal["bent", "harmless", "unsure"]
    title: Name
    kind: TargetKind
    is_over: bool
    dropped: Estimate
    kept: Estimate
    column: Name | None
    share: Measured | None
    because: Name | None
    same_list: Measured | None
    table: tuple[ShiftRow, ...]

    @property
    def how_many(self) -> TargetKind:
        return self.kind

    @property
    def who(self) -> TargetKind:
        return self.kind

    @property
    def most_gaps(self) -> Literal["none", "explained", "chance"]:
        return "none" if self.column is None else "explained" if self.because else "chance"

    @property
    def has_shifts(self) -> bool:
        return self.same_list is not None


def gaps(used: tuple[Board, ...], run: Run[PredictionParameters]) -> tuple[Gaps | Missing, ...]:
    """For each model in use what missing values change.

    Raises:
        TooFew: For a model: as `compare_routes`.
    """
    p = run.parameters

    def studied(board: Board) -> Gaps:
        options: dict[str, Any] = {"target": board.target, "as_of": run.as_of, "seed": run.seed}
        why = describe_missingness(board.tested, level=run.level, **options)
        routes = compare_routes(
            board.trained, board.tested, estimator=board.chosen, level=run.level, **options
        )
        try:
            shifts = estimate_sensitivity(
                board.trained,
                board.tested,
                estimator=board.chosen,
                capacity_share=p.capacity_share,
                **options,
            )
        except TooFew:
            shifts = []
        limit = p.largest_calibration_error_share
        return gaps_of(board.target, why, routes, shifts, largest_error_share=limit)

    return tuple(attempted(partial(studied, board), board.key) for board in used)


def gaps_of(
    target: Target,
    mechanisms: Sequence[Mechanism],
    routes: Routes,
    shifts: Sequence[Shift],
    *,
    largest_error_share: float,
) -> Gaps:
    """What a study of gaps comes to.

    Args:
        largest_error_share: Error that may be passed over: in share, or relative to the mean.
    """
    dropped, n, as_of = routes.dropped, routes.kept.n, routes.kept.as_of
    tolerated = largest_error_share * (1.0 if target.kind == "binary" else routes.observed.value)
    sizes = sorted((abs(dropped.lower), abs(dropped.upper)))
    is_bent = dropped.excludes(0) and sizes[0] > abs(routes.kept.value)
    worst = mechanisms[0] if mechanisms else None

    def measured(value: float, unit: str) -> Measured:
        return Measured(value=value, unit=unit, n=n, as_of=as_of)

    return Gaps(
        key=target.id,
        case="bent" if is_bent else "harmless" if sizes[1] <= tolerated else "unsure",
        title=Name(target.title),
        kind=target.kind,
        is_over=dropped.value > 0,
        dropped=dropped,
        kept=routes.kept,
        column=Name(in_words(worst.column)) if worst else None,
        share=worst.missing_share if worst else None,
        because=Name(worst.because) if worst and worst.because else None,
        same_list=measured(min(s.same_list_share for s in shifts), "share") if shifts else None,
        table=tuple(
            ShiftRow(
                spreads=measured(s.spreads, "ratio"),
                mean_score=measured(s.mean_score, target.unit),
                ranking=measured(s.ranking, "share"),
                same_list=measured(s.same_list_share, "share"),
            )
            for s in shifts
        ),
    )
