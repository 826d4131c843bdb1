"""Why a watched model predicts worse, and for whom: what the chain of causes comes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from insight_lib.analyses import Missing
from insight_lib.charts import Caption, Chart, plot_deviations
from insight_lib.findings import Estimate, Measured
from insight_lib.prediction.explain import Named, in_words, named
from insight_lib.prediction.marks import Held, for_each, with_marks
from insight_lib.prediction.root_cause import CauseName, RootCause, estimate_root_cause
from insight_lib.prediction.scorer import score
from insight_lib.prose import Name

if TYPE_CHECKING:
    from insight_lib.parameter_model import PredictionParameters
    from insight_lib.prediction.watch import Watch, Watched
    from insight_lib.run import Run


@dataclass(frozen=True, kw_only=True)
class Why(Named):
    """Why a model predicts worse, if it does.

    Attributes:
        cause: The leading one; `names` are its inputs.
        is_worse: Whether errors grew, by the estimate.
        share: What the cause brings of all that made errors larger.
        change: Of errors, against those before; missing where there were none.
    """

    key: str
    title: Name
    case: Literal["feed", "cause", "unclear", "not worse"]
    cause: CauseName | None
    is_worse: bool
    value: Estimate
    share: Measured | None
    change: Measured | None
    found: RootCause

    @property
    def has_names(self) -> bool:
        return bool(self.names)

    @property
    def cause_advice(self) -> CauseName | None:
        return self.cause

    @property
    def has_before(self) -> bool:
        return self.change is not None

    def draw(self, caption: Caption) -> Chart | None:
        """What each cause adds to the errors; nothing where none leads."""
        found = self.found
        if self.cause is None or not found.before > 0:
            return None
        frame = pd.DataFrame(
            [
                {
                    "label": caption.labels[c.name],
                    "rise": c.rise.value / found.before,
                    "lower": c.rise.lower / found.before,
                    "upper": c.rise.upper / found.before,
                    "n": c.rise.n,
                }
                for c in found.causes
            ]
        )
        return plot_deviations(
            frame, caption=caption, label="label", value="rise", lower="lower", upper="upper",
            unit="share", n="n", target=caption.reference, good="down",
        )  # fmt: skip


def cause(
    watched: tuple[Watched, ...],
    performance: tuple[Held | Missing, ...],
    watch: Watch,
    run: Run[PredictionParameters],
) -> tuple[Why | Missing, ...]:
    """Why each model predicts as it does on the latest labels, against the first ones.

    Raises:
        TooFew: For a model: one month of labels, or as `estimate_root_cause`.
    """
    by_cut = {s.cut: s for s in watch.labelled}

    def walked(one: Watched) -> Why:
        names = [i["name"] for i in one.document["inputs"]]
        sides: list[Any] = []
        for cut in one.first_and_last():
            label = by_cut[cut].labels[one.key].dropna()
            sides += [by_cut[cut].features.loc[label.index, names], label]
        found = estimate_root_cause(
            *sides,
            score=lambda rows: score(one.document, rows),
            slice_columns=[c for c in names if not pd.api.types.is_numeric_dtype(sides[0][c])],
            minimum_cell_size=run.general.minimum_customers,
            smallest_rise_share=run.parameters.smallest_rise_share,
            seed=run.seed,
            **run.range,
        )
        return why(one.key, one.title, found)

    return for_each(with_marks(watched, performance), walked)


def why(key: str, title: Name, found: RootCause) -> Why:
    """What a chain of causes comes to."""
    leading, rise = found.leading, found.rise
    if leading:
        case: Literal["feed", "cause", "unclear", "not worse"] = (
            "feed" if leading.name == "missingness" else "cause"
        )
    else:
        case = "unclear" if rise.lower > 0 else "not worse"

    def measured(value: float, unit: str) -> Measured:
        return Measured(value=value, unit=unit, n=rise.n, as_of=rise.as_of)

    before = found.before
    return Why(
        **named(leading.names if leading else ()),
        key=key,
        title=title,
        case=case,
        cause=leading.name if leading else None,
        is_worse=rise.value > 0,
        value=leading.rise if leading else rise,
        share=measured(leading.share, "share") if leading else None,
        change=measured(max(rise.value / before, -1.0), "change") if before > 0 else None,
        found=found,
    )


@dataclass(frozen=True, kw_only=True)
class Slice:
    """The customers for whom it got worse most.

    Attributes:
        of: The level of `column` that they share.
        is_most: Whether others stand out, too.
        n, n_clear, n_all: Customers, groups that stand out, and groups compared.
    """

    key: str
    column: Name
    of: Name
    is_most: bool
    value: Estimate
    n: int
    n_clear: int
    n_all: int


def slices(cause: tuple[Why | Missing, ...]) -> tuple[Slice, ...]:
    """For each model the customers for whom errors grew most; nothing if none stand out."""
    found = [worst(one.key, one.found) for one in cause if isinstance(one, Why)]
    return tuple(one for one in found if one is not None)


def worst(key: str, found: RootCause) -> Slice | None:
    """The slice where errors grew most, of those that stand out."""
    clear = [s for s in found.slices if s.is_clear]
    if not clear:
        return None
    top = max(clear, key=lambda s: (s.rise.value * s.rise.n, s.column, s.value))
    return Slice(
        key=key,
        column=Name(in_words(top.column)),
        of=Name(top.value),
        is_most=len(clear) > 1,
        value=top.extra,
        n=top.rise.n,
        n_clear=len(clear),
        n_all=len(found.slices),
    )
