"""What stands behind the answer whether there are groups: yardsticks, and what went in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from insight_lib.findings import Estimate, Measured
from insight_lib.prose import Name
from insight_lib.segments.find import Found
from insight_lib.segments.solution import Candidate, Fault

if TYPE_CHECKING:
    import pandas as pd

    from insight_lib.parameter_model import SegmentParameters
    from insight_lib.run import Run


@dataclass(frozen=True, kw_only=True)
class Tried:
    """One grouping under the yardsticks, as `solution.Candidate` has them."""

    grouping: Name
    silhouette: Measured
    chance_silhouette: Measured
    valley: Measured | None
    overlap: Measured | None
    kept: Estimate | None
    result: Literal["chosen", "could be", "no"]
    fault: Fault | None


@dataclass(frozen=True, kw_only=True)
class Stability:
    """The yardsticks of every grouping that was tried, and of the one published.

    Attributes:
        weakest: Smallest overlap of a published group with its resampled self.
        kept: Part of a plan's gain by group that is left in the half year after.
        faults: Why the others are not published.
    """

    case: Literal["passes", "none passes", "nothing tried"]
    table: tuple[Tried, ...]
    weakest: Measured | None
    kept: Estimate | None
    smallest_weakest: Measured
    smallest_kept: Measured
    faults: tuple[Fault, ...]


def stability(found: Found) -> Stability:
    """Whether the published groups come back, and whether a plan by them lasts."""
    solution, chosen = found.solution, found.solution.chosen
    limits = solution.thresholds

    def measured(value: float, unit: str = "ratio") -> Measured:
        return Measured(value=value, unit=unit, n=solution.n_fitted, as_of=found.as_of)

    def tried(candidate: Candidate) -> Tried:
        c = candidate
        return Tried(
            grouping=Name(f"{c.k} · {c.method}"),
            silhouette=measured(c.silhouette, "index"),
            chance_silhouette=measured(c.chance_silhouette, "index"),
            valley=None if c.valley is None else measured(c.valley, "index"),
            overlap=measured(min(c.jaccard), "index") if c.jaccard else None,
            kept=c.kept,
            result="chosen" if c is chosen else "no" if c.fault else "could be",
            fault=c.fault,
        )

    faults = tuple(sorted({c.fault for c in solution.candidates if c.fault}))
    passes = chosen is not None and chosen.kept is not None
    return Stability(
        case="passes" if passes else "none passes" if faults else "nothing tried",
        table=tuple(map(tried, solution.candidates)),
        weakest=measured(min(chosen.jaccard)) if chosen is not None else None,
        kept=chosen.kept if chosen is not None else None,
        smallest_weakest=measured(limits.smallest_jaccard),
        smallest_kept=measured(limits.smallest_kept),
        faults=faults,
    )


@dataclass(frozen=True, kw_only=True)
class GroupingInputs:
    """Who could be grouped, and what was done to what they bought.

    Attributes:
        renamed: Taken for one under two names.
        pooled: Sold in a part of the time and put with the others.
        silent: Tells nothing of customers and weighs nothing.
    """

    case: Literal["pass", "review"]
    n_grouped: int
    n: int
    days: Measured
    renamed: tuple[Name, ...]
    pooled: tuple[Name, ...]
    silent: tuple[Name, ...]

    @property
    def has_renamed(self) -> bool:
        return bool(self.renamed)

    @property
    def has_pooled(self) -> bool:
        return bool(self.pooled)

    @property
    def has_silent(self) -> bool:
        return bool(self.silent)


def inputs(found: Found, described: pd.DataFrame, run: Run[SegmentParameters]) -> GroupingInputs:
    """How many customers ordered often enough, and what was pooled or left out."""
    n, n_grouped = len(described), len(found.values)
    renamed = tuple(map(Name, found.purchases.renamed))
    return GroupingInputs(
        case="review" if n_grouped < n / 2 or renamed else "pass",
        n_grouped=n_grouped,
        n=n,
        days=Measured(value=found.days, unit="days", n=n_grouped, as_of=run.as_of),
        renamed=renamed,
        pooled=tuple(map(Name, found.purchases.pooled)),
        silent=tuple(map(Name, found.recipe.silent)),
    )
