"""After a redefinition: old by new, figures restated under both, and where continuity breaks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from insight_lib.findings import Estimate, Measured, TooFew
from insight_lib.prose import Name
from insight_lib.statistics import estimate_ratio

if TYPE_CHECKING:
    from insight_lib.parameter_model import SegmentParameters
    from insight_lib.run import Run
    from insight_lib.segments.find import Wear
    from insight_lib.segments.groups import Groups

NOT_PLACED = "not placed"


@dataclass(frozen=True, kw_only=True)
class Crosswalk:
    """Old and new segments over the same customers.

    Attributes:
        customers: Old (index) by new (columns).
        restated: One row per definition and segment: definition, segment, n_customers, amount.
        totals: Total of the figure per definition; equal by construction of the rows.
        successor: New segment that takes most of each old one's figure.
        kept: Share of the figure that stays with its successor.
    """

    customers: pd.DataFrame
    restated: pd.DataFrame
    totals: Mapping[str, Any]
    successor: Mapping[str, str]
    kept: Estimate

    @property
    def adds_up(self) -> bool:
        return self.totals["old"] == self.totals["new"]

    def is_continuous(self, smallest_kept_share: float) -> bool:
        """Whether a series may be carried over the redefinition without a break."""
        return self.kept.lower >= smallest_kept_share


def estimate_crosswalk(
    figure: pd.Series[Any],
    old: Mapping[Any, str],
    new: Mapping[Any, str],
    *,
    as_of: date,
    level: float = 0.95,
) -> Crosswalk:
    """Restate a figure under both definitions.

    Args:
        figure: A non-negative amount per customer (index); decimals stay exact.
        old, new: Segment per customer; who has none is "not placed" and still counted.

    Raises:
        TooFew: No customers, or a figure of zero.
    """
    if figure.empty:
        raise TooFew("no customers to restate a figure for")
    frame = pd.DataFrame(
        {
            "old": [old.get(str(c), NOT_PLACED) for c in figure.index],
            "new": [new.get(str(c), NOT_PLACED) for c in figure.index],
            "amount": figure.to_numpy(),
        }
    )
    rows = []
    for definition in ("old", "new"):
        for name, members in frame.groupby(definition):
            rows.append((definition, str(name), len(members), sum(members["amount"])))
    restated = pd.DataFrame(rows, columns=["definition", "segment", "n_customers", "amount"])
    numbers = frame["amount"].astype(float)
    by_pair = numbers.groupby([frame["old"], frame["new"]]).sum().unstack(fill_value=0)
    successor = {str(name): str(by_pair.columns[int(np.argmax(row))]) for name, row in
                 zip(by_pair.index, by_pair.to_numpy(), strict=True)}  # fmt: skip
    stays = frame["new"] == frame["old"].map(successor)
    return Crosswalk(
        customers=pd.crosstab(frame["old"], frame["new"]),
        restated=restated,
        totals={
            d: sum(restated.loc[restated["definition"] == d, "amount"]) for d in ("old", "new")
        },
        successor=successor,
        kept=estimate_ratio(
            np.where(stays, numbers, 0.0), numbers, unit="share", as_of=as_of, level=level
        ),
    )


@dataclass(frozen=True, kw_only=True)
class Restated:
    """Revenue of one group under one definition."""

    group: Name
    n_customers: int
    amount: Measured


@dataclass(frozen=True, kw_only=True)
class Redefinition:
    """Whether figures may be carried over from the groups of the last refresh."""

    case: Literal["goes on", "breaks"]
    kept: Estimate
    table: tuple[Restated, ...]
    crosswalk: Crosswalk


def redefinition(moves: Wear, groups: Groups, run: Run[SegmentParameters]) -> Redefinition:
    """Revenue restated under the groups of the last refresh and of today."""
    walk = estimate_crosswalk(
        groups.amount.reindex(groups.member.index),
        moves.moves.old.set_index("customer_id")["segment"].to_dict(),
        groups.member.to_dict(),
        **run.range,
    )
    return redefine(
        walk,
        groups.shown,
        smallest_kept_share=run.parameters.smallest_kept_share,
        currency=run.currency,
    )


def redefine(
    walk: Crosswalk, names: Mapping[str, Name], *, smallest_kept_share: float, currency: str
) -> Redefinition:
    """What a crosswalk comes to."""
    as_of = walk.kept.as_of
    return Redefinition(
        case="goes on" if walk.is_continuous(smallest_kept_share) else "breaks",
        kept=walk.kept,
        table=tuple(
            Restated(
                group=Name(f"{row['definition']}: {names.get(row['segment'], row['segment'])}"),
                n_customers=int(row["n_customers"]),
                amount=Measured(
                    value=float(row["amount"]),
                    unit=currency,
                    n=int(row["n_customers"]),
                    as_of=as_of,
                ),
            )
            for row in walk.restated.to_dict("records")
        ),
        crosswalk=walk,
    )


@dataclass(frozen=True, kw_only=True)
class RestatedTotals:
    """Whether both definitions add up to the same revenue."""

    case: Literal["equal", "differ"]
    n: int


def restated_totals(redefinition: Redefinition) -> RestatedTotals:
    """Both definitions cover the same customers, so their totals have to be equal."""
    walk = redefinition.crosswalk
    n = int(walk.customers.to_numpy().sum())
    return RestatedTotals(case="equal" if walk.adds_up else "differ", n=n)
