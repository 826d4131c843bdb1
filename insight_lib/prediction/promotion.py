"""From the board to the model in use: what is asked of a model before it may score anybody.

Decided before the page says its first sentence, so that the sentence speaks of what is in use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from insight_lib.prediction.board import Board, fit_chosen, holds_against
from insight_lib.prediction.chain import Conditions, lacking_inputs, too_little
from insight_lib.prediction.document import Document
from insight_lib.prediction.fit import Training, stack
from insight_lib.prediction.registry import Decided, LiveModel, ModelRefused, Registry
from insight_lib.prediction.snapshots import Snapshot

_WHY_NOT = {
    "better than guessing, lately too": "it is not surely better than guessing",
    "good enough": "it ranks too few customers right",
    "no leak, nothing that faded": "a feature in it knows the future, or tells less than it did",
    "usual parameters": "this is a trial with other parameters",
    "as good as the model in use": "the model in use ranks customers better",
}
_ENOUGH = "enough customers to score anybody"


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What became of the model that a board chose.

    Attributes:
        document: The model, learned from every past day with outcomes.
        champion: What was in use before.
        why_not: Why it is not in use, in words; empty if it is.
        n: Customer records that it learned from.
    """

    document: Document
    decided: Decided
    champion: LiveModel | None
    why_not: str
    n: int

    @property
    def is_used(self) -> bool:
        """Whether this very model scores customers from now on."""
        return self.decided.is_done and self.decided.live_version == self.decided.version


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


def decide_promotion(
    registry: Registry,
    board: Board,
    known: Sequence[Snapshot],
    *,
    name: str,
    market: str,
    as_of: date,
    conditions: Conditions,
    smallest_auc: float,
    has_leaks: bool,
    has_overrides: bool,
    seed: int,
    most_rows: int,
    monotone: Mapping[str, int] | None = None,
    correction: float = 1.0,
) -> Standing:
    """Learn the chosen model anew, register it, and let it score if every gate lets it.

    Args:
        known: Past days with outcomes.
        name: The target, `target@segment` for a segment's own model.
        has_leaks: Whether a test for knowledge of the future, or of what faded, found something.
        has_overrides: Whether this is a trial with other parameters.
        correction: Factor on the total of the scores, see `fit_chosen`.

    Raises:
        TooFew: Too few to learn from.
    """
    training = stack(known, board.target)
    document = fit_chosen(
        board,
        known,
        as_of=as_of,
        seed=seed,
        most_rows=most_rows,
        monotone=monotone,
        correction=correction,
    )
    card = _card(board, training) | {"market": market, "target": name}
    gates = {
        "better than guessing, lately too": is_better_than_guessing(board),
        "good enough": is_good_enough(board, smallest_auc=smallest_auc),
        "no leak, nothing that faded": not has_leaks,
        "usual parameters": not has_overrides,
        _ENOUGH: not too_little(card, conditions),
    }
    champion = _champion(registry, name, as_of)
    if champion and not lacking_inputs(champion.document, list(board.tested.features.columns)):
        gates["as good as the model in use"] = holds_against(board, champion.document, seed=seed)
    version = registry.register(document, card | {"gates": gates})
    decided = registry.promote(
        name, version, day=as_of, why=f"{board.chosen}, {board.why} on the board", gates=gates
    )
    words = {_ENOUGH: f"there are {too_little(card, conditions)}"} | _WHY_NOT
    failed = [words[gate] for gate, passed in gates.items() if not passed]
    others = [reason for reason in decided.reasons if not reason.startswith("gate ")]
    return Standing(
        document=document,
        decided=decided,
        champion=champion,
        why_not="; ".join((*failed, *others)),
        n=len(training),
    )


def _card(board: Board, training: Training) -> dict[str, Any]:
    """Customers that it learned from, and of the rarer outcome (of an amount: who spent)."""
    is_in = training.label > 0
    who = [len(set(training.customer_id[rows])) for rows in (is_in, ~is_in)]
    return {
        "n_customers": len(set(training.customer_id)),
        "n_positives": min(who) if board.target.kind == "binary" else who[0],
    }


def _champion(registry: Registry, name: str, as_of: date) -> LiveModel | None:
    try:
        return registry.champion(name, as_of=as_of)
    except ModelRefused:
        return None  # its file does not verify, so there is nothing to beat
