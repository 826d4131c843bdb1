"""The models as figures."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from insight_lib.charts import Caption, Chart, Mark, plot_bars, plot_dots, plot_tracking
from insight_lib.findings import Prose
from insight_lib.prediction.board import Board
from insight_lib.prediction.explain import Driver
from insight_lib.prediction.model_story import ESTIMATOR_WORDS

_MOST_DRIVERS = 8


def chart_board(board: Board, *, market: str, source: str) -> Chart:
    """How well each model ranks customers on later days."""
    mark = board.contender(board.chosen)
    is_amount = board.target.kind == "amount"
    frame = pd.DataFrame(
        {
            "model": [ESTIMATOR_WORDS[c.estimator].capitalize() for c in board.contenders],
            "ranking": [c.ranking.value for c in board.contenders],
            "lower": [c.ranking.lower for c in board.contenders],
            "upper": [c.ranking.upper for c in board.contenders],
            "customers": [c.ranking.n for c in board.contenders],
        }
    )
    name = ESTIMATOR_WORDS[board.chosen]
    return plot_dots(
        frame,
        caption=Caption(
            id=f"board_{board.target.id}",
            title=Prose(
                "{name}: {ranking} of the way from guess to certainty"
                if is_amount
                else "{name}: {ranking} of pairs ranked right",
                name=name.capitalize(),
                ranking=mark.ranking,
            ),
            subtitle=f"Customers who {board.target.title}, models from simple to complex, {market}",
            source=source,
            reading=Prose(
                "Each model learned from days before those it was tried on. The simplest that is "
                "as good as the best within chance is taken."
            ),
        ),
        label="model",
        value="ranking",
        lower="lower",
        upper="upper",
        unit="share",
        n="customers",
        highlight=[name.capitalize()],
        is_sorted=False,
        reference=Mark(at=0.0 if is_amount else 0.5, text="guessing"),
    )


def chart_calibration(
    board: Board, *, minimum_cell_size: int, market: str, source: str
) -> Chart | None:
    """Expected against observed by tenth of the scores; nothing if the tenths are too small."""
    curve = board.curve[board.curve["n"] >= minimum_cell_size].reset_index(drop=True)
    if len(curve) < 3:
        return None
    frame = curve.assign(group=range(1, len(curve) + 1))
    return plot_tracking(
        frame,
        caption=Caption(
            id=f"calibration_{board.target.id}",
            title=Prose(
                "Expected and observed are {error} apart on average",
                error=board.calibration_error,
            ),
            subtitle=f"Customers who {board.target.title}, by score, {market}",
            source=source,
            reading=Prose(
                "Customers in groups of equal size from the lowest to the highest score; where "
                "the lines meet, the score means what it says."
            ),
        ),
        x="group",
        actual="observed",
        expected="expected",
        lower="lower",
        upper="upper",
        unit=board.target.unit,
        x_title="Group of customers, lowest scores first",
    )


def chart_drivers(
    board: Board, drivers: Sequence[Driver], *, market: str, source: str
) -> Chart | None:
    """The inputs that move the scores most; nothing for a model with one input."""
    shown = [d for d in drivers if d.share.value > 0][:_MOST_DRIVERS]
    if len(shown) < 2:
        return None
    frame = pd.DataFrame(
        {
            "feature": [d.words.capitalize() for d in shown],
            "share": [d.share.value for d in shown],
            "lower": [d.share.lower for d in shown],
            "upper": [d.share.upper for d in shown],
            "customers": [d.share.n for d in shown],
        }
    )
    return plot_bars(
        frame,
        caption=Caption(
            id=f"drivers_{board.target.id}",
            title=Prose(
                "{share} of what moves the score is {feature}",
                share=shown[0].share,
                feature=shown[0].words,
            ),
            subtitle=f"Share of what moves the score, customers who {board.target.title}, {market}",
            source=source,
            reading=Prose("What tells customers apart need not be what would change them."),
        ),
        label="feature",
        value="share",
        lower="lower",
        upper="upper",
        unit="share",
        n="customers",
        highlight=[shown[0].words.capitalize()],
    )
