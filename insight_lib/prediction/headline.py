"""The first sentence on a prediction: what may be done with the model, or why nothing may.

It speaks of the model that was tried and of nothing else: a model that is kept out of use
is headlined by why, however well it ranked.
"""

from __future__ import annotations

from insight_lib.findings import Finding, Measured, Prose, Tile, Verdict
from insight_lib.prediction.board import Board
from insight_lib.prediction.model_story import (
    ESTIMATOR_WORDS,
    EVIDENCE,
    as_share,
    guess_of,
    is_better_than_guessing,
    is_good_enough,
    ranking_words,
    titled,
)


def _beats_a_lottery(board: Board) -> bool:
    """Whether the customers that capacity reaches surely hold more than as many by lot."""
    return board.contender(board.chosen).captured.lower > board.capacity_share


def describe_prediction(board: Board, *, smallest_auc: float, why_not: str = "") -> Finding:
    """How well it can be told who will do it, and what that is worth.

    Args:
        why_not: Why this model is not in use, in words; empty if it is.
    """
    target, mark = board.target, board.contender(board.chosen)
    if is_good_enough(board, smallest_auc=smallest_auc) and why_not:
        statement, so_what = _kept_out(board, why_not)
        verdict = Verdict.CANNOT_TELL
    elif is_good_enough(board, smallest_auc=smallest_auc):
        statement, so_what = _told(board), _advised(board)
        verdict = Verdict.MATTERS
    elif is_better_than_guessing(board):
        statement = Prose(
            "We can hardly tell who will {title}: {ranking:in_hundred} pairs ranked right, "
            "{latest:in_hundred} lately.",
            title=target.title,
            ranking=mark.ranking,
            latest=board.latest,
        )
        so_what = Prose(
            "Do not pick customers by this score: a model takes {smallest:in_hundred}, so none "
            "goes live.",
            smallest=as_share(smallest_auc, mark.ranking.n, mark.ranking.as_of),
        )
        verdict = Verdict.DOES_NOT_MATTER
    else:
        is_lately = mark.ranking.lower > guess_of(board)
        faded = is_lately and board.latest.upper < mark.ranking.value
        shown = board.latest if is_lately else mark.ranking
        statement = (
            Prose("We can no longer tell who will {title}.", title=titled(target))
            if faded
            else Prose("We cannot yet tell who will {title}.", title=titled(target))
        )
        so_what = Prose(
            "Do not pick customers by this score: {when}likely {ranking:range} {unit}, and "
            "guessing is within that range.",
            when="in the latest period " if is_lately else "",
            ranking=shown,
            unit=ranking_words(target),
        )
        verdict = Verdict.CANNOT_TELL
    return Finding(
        id=f"prediction.{target.id}",
        rows=("C4.1", "C4.3"),
        statement=statement,
        verdict=verdict,
        owner="crm-lead",
        evidence=EVIDENCE,
        value=mark.ranking,
        good="up",
        so_what=so_what,
        weight=5,
    )


def _kept_out(board: Board, why_not: str) -> tuple[Prose, Prose]:
    target, mark = board.target, board.contender(board.chosen)
    return Prose(
        "No new model of who will {title} is put to use: {why}.",
        title=titled(target),
        why=why_not,
    ), Prose(
        "Do not pick customers by its scores. Tried on past days it reached {ranking} {unit} "
        "(likely {ranking:range}), {latest} (likely {latest:range}) in the latest period.",
        ranking=mark.ranking,
        latest=board.latest,
        unit=ranking_words(target),
    )


def _told(board: Board) -> Prose:
    target, mark = board.target, board.contender(board.chosen)
    if target.kind == "binary":
        return Prose(
            "We can tell who will {title}: {ranking:in_hundred} pairs ranked right.",
            title=target.title,
            ranking=mark.ranking,
        )
    return Prose(
        "We can tell who will {title}: {ranking} of the way from guess to certainty.",
        title=titled(target),
        ranking=mark.ranking,
    )


def _advised(board: Board) -> Prose:
    target, mark = board.target, board.contender(board.chosen)
    n, as_of = mark.ranking.n, mark.ranking.as_of
    words: dict[str, Measured | str] = {
        "reach": as_share(board.capacity_share, n, as_of),
        "captured": mark.captured,
        "what": "the spend" if target.kind == "amount" else f"all who {target.title}",
        "days": Measured(value=target.horizon_days, unit="days", n=n, as_of=as_of),
    }
    if not _beats_a_lottery(board):
        return Prose(
            "Do not start with the highest scores alone: the {reach} at the top hold {captured} "
            "(likely {captured:range}) of {what} in the next {days}, and as many drawn by lot hold "
            "as much.",
            **words,
        )
    return Prose(
        "Start with the {reach} of customers with the highest scores: they hold {captured} "
        "(likely {captured:range}) of {what} in the next {days}.",
        **words,
    )


def prediction_tile(board: Board) -> Tile:
    """One target in one number."""
    mark = board.contender(board.chosen)
    return Tile(
        label=f"Who will {titled(board.target)}",
        value=mark.ranking,
        note=Prose(
            "{unit}; {model}",
            unit=ranking_words(board.target),
            model=ESTIMATOR_WORDS[board.chosen],
        ),
        good="up",
    )
