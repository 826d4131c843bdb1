"""The models in words."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from datetime import date

from insight_lib.findings import (
    Check,
    Finding,
    Gate,
    Measured,
    Prose,
    Table,
    Verdict,
    counted,
    format_number,
    format_range,
)
from insight_lib.prediction.board import Board, Contender
from insight_lib.prediction.explain import Driver, in_words
from insight_lib.prediction.identifiers import Refused
from insight_lib.prediction.leakage import Leak
from insight_lib.prediction.missing import Mechanism, Routes, Shift
from insight_lib.prediction.snapshots import Target

ESTIMATOR_WORDS = {
    "rule": "rule of thumb",
    "logistic": "weighted score",
    "additive": "score with curves",
    "boosting": "boosted trees",
    "forest": "forest of trees",
}
_EXPLAINED_BY = {
    "rule": "one look-up",
    "logistic": "one weight per feature",
    "additive": "one curve per feature",
    "boosting": "reasons per customer only",
    "forest": "reasons per customer only",
}
_LEAK_WORDS = {
    "permuted": "ranks shuffled answers",
    "truncated": "changes when later days are taken away",
    "declared": "is known only later",
    "too good": "nearly gives the answer away by itself",
    "fades": "tells far less later than in training",
    "alone": "tells far more than all others together",
}
EVIDENCE = ("transactions", "customer_features")


def is_better_than_guessing(board: Board) -> bool:
    """Whether the chosen model surely ranks customers better than chance, lately as well."""
    guess = guess_of(board)
    return board.contender(board.chosen).ranking.lower > guess and board.latest.lower > guess


def is_good_enough(board: Board, *, smallest_auc: float) -> bool:
    """Whether the chosen model may be used: better than guessing, and by enough.

    The latest period has to reach it on its own: a mean over older ones speaks of a world
    that may be gone.

    Args:
        smallest_auc: Of a yes or no; an amount needs to be better than guessing.
    """
    if not is_better_than_guessing(board):
        return False
    if board.target.kind != "binary":
        return True
    mark = board.contender(board.chosen).ranking
    return min(mark.value, board.latest.value) >= smallest_auc


def guess_of(board: Board) -> float:
    """What ranking at random comes to, in the unit of the board's ranking."""
    return 0.5 if board.target.kind == "binary" else 0.0


def describe_choice(board: Board, *, is_used: bool = True) -> Check:
    """Which model is taken, and why: the reason follows from the board."""
    mark, best = board.contender(board.chosen), board.contender(board.best)
    chosen, words = ESTIMATOR_WORDS[board.chosen], ESTIMATOR_WORDS[board.best]
    gap = mark.behind
    if board.why == "override" and gap is not None:
        reason = Prose(
            "It was asked for; it gives up {gap} against the {best}.", best=words, gap=gap
        )
    elif board.why == "override":
        reason = Prose("It was asked for, and nothing ranks better.")
    elif gap is not None:
        reason = Prose(
            "It gives up {gap} against the {best}, which is within chance (likely {gap:range}), "
            "and is easier to explain and to run.",
            best=words,
            gap=gap,
        )
    elif board.chosen == board.contenders[0].estimator:
        reason = Prose("It is the simplest, and nothing beats it on later days.")
    else:
        simpler = [
            c.behind
            for c in board.contenders
            if c.behind is not None and _place(board, c) < _place(board, best)
        ]
        reason = Prose(
            "It is the best on later days, and the nearest simpler one gives up {gap}.",
            gap=min(simpler, key=lambda e: e.value),
        )
    return Check(
        id=f"prediction.{board.target.id}.choice",
        rows=("C4.1",),
        statement=Prose(
            "For customers who {title} we {take} the {chosen}.",
            title=board.target.title,
            take="take" if is_used else "would take",
            chosen=chosen,
        ),
        verdict=Verdict.REVIEW if board.why == "override" else Verdict.PASS,
        owner="analyst",
        evidence=EVIDENCE,
        value=mark.ranking,
        so_what=reason,
        weight=1.5,
    )


def describe_calibration(
    board: Board,
    *,
    largest_error_share: float,
    largest_total_gap_share: float,
    is_used: bool = True,
) -> Check:
    """Whether scores mean what they say.

    Args:
        is_used: Whether the model scores anybody; of one that does not, nothing is to be used.
        largest_error_share: Mean gap that passes: in share, or relative to the mean amount.
        largest_total_gap_share: How far the expected total may be from the observed one.
    """
    mark = board.contender(board.chosen)
    n, as_of = mark.ranking.n, mark.ranking.as_of
    error = board.calibration_error
    passes = (
        mark.calibration_error <= largest_error_share
        and abs(mark.total_ratio - 1) <= largest_total_gap_share
    )
    return Check(
        id=f"prediction.{board.target.id}.calibration",
        rows=("C4.1",),
        statement=Prose(
            "Scores for customers who {title} are {error} off on average; their total is "
            "{total} times what came.",
            title=board.target.title,
            error=error,
            total=Measured(value=mark.total_ratio, unit="ratio", n=n, as_of=as_of),
        ),
        verdict=Verdict.PASS if passes else Verdict.REVIEW,
        owner="analyst",
        evidence=EVIDENCE,
        value=error,
        so_what=Prose(
            "{advice} (limits {limit} and {total} of the total).",
            advice="The model is not in use, so no budget rests on it"
            if not is_used
            else "Budgets may use the scores as they are"
            if passes
            else "Use the order of customers, not the size of their scores",
            limit=as_share(largest_error_share, n, as_of),
            total=as_share(largest_total_gap_share, n, as_of),
        ),
    )


def describe_driver(board: Board, drivers: Sequence[Driver]) -> Finding:
    """What moves the scores most."""
    top = drivers[0]
    way = {1: "more of it, higher score", -1: "more of it, lower score", 0: "it depends"}
    others = [d.words for d in drivers[1:3] if d.share.value > 0]
    return Finding(
        id=f"prediction.{board.target.id}.driver",
        rows=("C4.1",),
        statement=Prose(
            "{share} of what moves the score is {feature}.", share=top.share, feature=top.words
        ),
        verdict=Verdict.MATTERS,
        owner="crm-lead",
        evidence=EVIDENCE,
        value=top.share,
        so_what=Prose(
            "{way}.{next} It tells who will {title}, not what would change it.",
            way=way[top.direction].capitalize(),
            next=f" Next: {' and '.join(others)}." if others else "",
            title=board.target.title,
        ),
        weight=2,
    )


def describe_leakage(
    leaks: Mapping[str, Sequence[Leak]],
    *,
    n_models: int,
    n_features: int,
    as_of: date,
    undated: Collection[str] = (),
) -> list[Gate | Check]:
    """The gate that stops models which know the future, and what deserves a look.

    Args:
        leaks: By what was tested (a target's title, or the features).
        n_models: Models tested, over all targets.
        undated: Features without a day on which they were known, such as traits that a
            customer table holds as they are now; no test on earlier days can speak of them.
    """
    every = [(where, leak) for where, found in leaks.items() for leak in found]
    proofs = [(where, leak) for where, leak in every if leak.is_proof]
    faded = [(where, leak) for where, leak in every if leak.kind == "fades"]
    others = [(w, leak) for w, leak in every if not leak.is_proof and leak.kind != "fades"]
    undated = sorted(undated)
    models = counted(n_models, n_models, as_of)
    gate = Gate(
        id="prediction.leakage",
        rows=("C4.3",),
        statement=Prose(
            "{n} {word} the future in; no score may leave.",
            n=counted(len({leak.where for _, leak in proofs}), n_models, as_of),
            word="feature or model lets" if len(proofs) == 1 else "features or models let",
        )
        if proofs
        else Prose("No model knows the future: {n} tested on shuffled answers.", n=models),
        verdict=Verdict.FAIL if proofs else Verdict.PASS,
        owner="analyst",
        evidence=EVIDENCE,
        value=counted(len(proofs), n_models, as_of),
        good="down",
        so_what=Prose("Take out or date: {listed}.", listed=_listed(proofs))
        if proofs
        else Prose(
            "{n} features are the same when the days after the cut are taken away, and none nearly "
            "gives the answer away.{untested}",
            n=counted(n_features - len(undated), n_models, as_of),
            untested=f" Not tested, because they show the state of the extract and not of the "
            f"day: {', '.join(in_words(name) for name in undated)}."
            if undated
            else "",
        ),
        blocks=("monitoring", "decisions"),
        weight=8 if proofs else 1,
    )
    found: list[Gate | Check] = [gate]
    if faded:
        found.append(
            Check(
                id="prediction.leakage.drift",
                rows=("C4.3", "C4.4"),
                statement=Prose(
                    "{n} {word} far less of customers lately than before.",
                    n=counted(len(faded), n_models, as_of),
                    word="feature tells" if len(faded) == 1 else "features tell",
                ),
                verdict=Verdict.REVIEW,
                owner="analyst",
                evidence=EVIDENCE,
                so_what=Prose(
                    "Customers behave differently, or the feature is recorded differently: no new "
                    "model goes live on it before someone has looked. {listed}.",
                    listed=_listed(faded).capitalize(),
                ),
            )
        )
    if others:
        found.append(
            Check(
                id="prediction.leakage.strong_feature",
                rows=("C4.3",),
                statement=Prose(
                    "{n} {word} more than all others together.",
                    n=counted(len(others), n_models, as_of),
                    word="feature tells" if len(others) == 1 else "features tell",
                ),
                verdict=Verdict.REVIEW,
                owner="analyst",
                evidence=EVIDENCE,
                so_what=Prose(
                    "Make sure of the day it is known: {listed}.", listed=_listed(others)
                ),
            )
        )
    return found


def describe_gaps(
    target: Target,
    mechanisms: Sequence[Mechanism],
    routes: Routes,
    shifts: Sequence[Shift] | None,
    *,
    largest_error_share: float,
) -> Finding:
    """What missing values would do to the answer if they were dropped or guessed wrongly.

    Args:
        largest_error_share: Error that may be passed over: in share, or relative to the mean.
    """
    unit = 1.0 if target.kind == "binary" else routes.observed.value
    tolerated = largest_error_share * unit
    worst = mechanisms[0] if mechanisms else None
    surely = min(abs(routes.dropped.lower), abs(routes.dropped.upper))
    is_bent = routes.dropped.excludes(0) and surely > abs(routes.kept.value)
    n, as_of = routes.kept.n, routes.kept.as_of
    what = "spend" if target.kind == "amount" else f"who will {target.title}"
    if is_bent:
        statement = Prose(
            "Dropping customers with gaps would {word} {what} by {size:size}.",
            word="overstate" if routes.dropped.value > 0 else "understate",
            what="spend" if target.kind == "amount" else f"how many {target.title}",
            size=routes.dropped,
        )
    elif max(abs(routes.dropped.lower), abs(routes.dropped.upper)) <= tolerated:
        statement = Prose("Missing values do not bend our view of {what}.", what=what)
    else:
        statement = Prose(
            "We cannot tell yet if missing values bend our view of {what}.", what=what
        )
    because = (
        Prose(
            "Most gaps are in {column} ({share}), and they {why}. ",
            column=in_words(worst.column),
            share=worst.missing_share,
            why=f"go with {worst.because}" if worst.because else "look like chance",
        )
        if worst
        else Prose("No column has many gaps. ")
    )
    moved = (
        Prose(
            " If the missing numbers were far off, {same} of the first customers would stay.",
            same=as_share(min(s.same_list_share for s in shifts), n, as_of),
        )
        if shifts
        else Prose(" No number has gaps, so no guess moves the list.")
    )
    return Finding(
        id=f"prediction.{target.id}.gaps",
        rows=("C4.2",),
        statement=statement,
        verdict=Verdict.MATTERS
        if is_bent
        else Verdict.DOES_NOT_MATTER
        if max(abs(routes.dropped.lower), abs(routes.dropped.upper)) <= tolerated
        else Verdict.CANNOT_TELL,
        owner="data-engineer",
        evidence=EVIDENCE,
        value=routes.dropped,
        so_what=Prose(
            "{because}We fill and mark gaps, which is {kept:signed} off (likely {kept:range})."
            "{moved}",
            because=because,
            kept=routes.kept,
            moved=moved,
        ),
        weight=1.2,
    )


def describe_identifiers(refused: Sequence[Refused], *, n_features: int, as_of: date) -> Check:
    """Which columns were kept from the models because they name somebody."""
    n = counted(n_features, n_features, as_of)
    return Check(
        id="prediction.identifiers",
        rows=("C4.6",),
        statement=Prose(
            "{n} columns name somebody and were left out.",
            n=counted(len(refused), n_features, as_of),
        )
        if refused
        else Prose("None of {n} features names a person.", n=n),
        verdict=Verdict.REVIEW if refused else Verdict.PASS,
        owner="data-engineer",
        evidence=("customers", *EVIDENCE),
        so_what=Prose(
            "Take them out of the features: {listed}.",
            listed="; ".join(f"{r.column}: {r.words}" for r in refused),
        )
        if refused
        else Prose("Names, declared classes and values of all features were looked at."),
        value=n,
    )


def board_table(board: Board) -> Table:
    """All marks of all contenders, simplest first."""
    is_amount = board.target.kind == "amount"
    return Table(
        title=f"Models for customers who {board.target.title}, simplest first",
        columns=(
            "Model",
            "From guess to certainty" if is_amount else "Pairs ranked right",
            "Likely",
            "Held by the first to contact",
            "Off on average",
            "Spread of scores (one is right)",
            "Total against what came",
            "Between periods",
            "Same order when learned anew",
            "How it is explained",
            "Numbers in it",
            "Size in kB",
        ),
        rows=tuple(_row(c) for c in board.contenders),
        note=f"Tested on {len(board.folds)} later days, {board.folds[0].test_cut} to "
        f"{board.folds[-1].test_cut}; taken: {ESTIMATOR_WORDS[board.chosen]}.",
    )


def sensitivity_table(shifts: Sequence[Shift], target: Target) -> Table:
    """The answer under each guess about what is missing."""
    return Table(
        title="If what is missing were lower or higher than what is known",
        columns=("Shift in spreads", "Mean score", "Ranked right", "First customers that stay"),
        rows=tuple(
            (
                format_number(s.spreads, "ratio", 1),
                format_number(s.mean_score, target.unit),
                format_number(s.ranking, "share"),
                format_number(s.same_list_share, "share"),
            )
            for s in shifts
        ),
    )


def _row(c: Contender) -> tuple[str, ...]:
    return (
        ESTIMATOR_WORDS[c.estimator].capitalize(),
        format_number(c.ranking.value, "share"),
        format_range(c.ranking),
        format_number(c.captured.value, "share"),
        format_number(c.calibration_error, "share"),
        format_number(c.calibration_slope, "ratio"),
        format_number(c.total_ratio, "ratio"),
        "one day only" if math.isnan(c.spread) else f"± {format_number(c.spread, 'share')}",
        format_number(c.agreement, "share"),
        _EXPLAINED_BY[c.estimator],
        format_number(c.n_terms, "count"),
        format_number(c.n_bytes / 1000, "count"),
    )


def _place(board: Board, contender: Contender) -> int:
    return board.contenders.index(contender)


def _listed(leaks: Sequence[tuple[str, Leak]]) -> str:
    return "; ".join(f"{leak.where} {_LEAK_WORDS[leak.kind]} ({where})" for where, leak in leaks)


def titled(target: Target) -> str:
    """What customers will do, after "who will"."""
    return f"{target.title} most" if target.kind == "amount" else target.title


def ranking_words(target: Target) -> str:
    """What a ranking counts, after its number."""
    if target.kind == "amount":
        return "of the way from guessing to certainty"
    return "of pairs of customers ranked right"


def as_share(value: float, n: int, as_of: date) -> Measured:
    """A share without a range."""
    return Measured(value=value, unit="share", n=n, as_of=as_of)
