"""Segments keep their identity: matched across refreshes, and remade when they wear out."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from insight_lib.charts import Caption, Chart, plot_heatmap
from insight_lib.findings import Estimate, Measured, TooFew
from insight_lib.statistics import estimate_share

if TYPE_CHECKING:
    from insight_lib.prose import Name
    from insight_lib.run import Run
    from insight_lib.segments.find import Wear
    from insight_lib.segments.groups import Groups

Driver = Literal["customers", "products"]
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Refresh:
    """Two states of a segmentation, on the customers in both.

    Attributes:
        ids: Stable id of each new segment: the old one's that it continues, or a fresh one.
        retired: Old ids that nothing continues.
        migration: Old ids (index) by stable new ids (columns), customers.
        moved: Share of customers in another segment than before.
        agreement: Jaccard overlap of each continued id.
    """

    ids: Mapping[str, str]
    retired: tuple[str, ...]
    migration: pd.DataFrame
    moved: Estimate
    agreement: Mapping[str, float]


def match_segments(
    old: pd.DataFrame,
    new: pd.DataFrame,
    *,
    as_of: date,
    smallest_overlap: float = 0.3,
    used_ids: Collection[str] = (),
    level: float = 0.95,
) -> Refresh:
    """Give new segments the ids of the old ones that they continue (Kuhn, 1955).

    Args:
        old, new: customer_id, segment.
        smallest_overlap: Jaccard overlap below which a segment is a new one.
        used_ids: Ids of earlier times; none of them is given again.

    Raises:
        TooFew: The two have no customer in common.
    """
    both = old[["customer_id", "segment"]].merge(
        new[["customer_id", "segment"]], on="customer_id", suffixes=("_old", "_new")
    )
    if both.empty:
        raise TooFew("no customer is in both states of the segmentation")
    table = pd.crosstab(both["segment_old"], both["segment_new"]).sort_index()
    table = table[sorted(table.columns)]
    counts = table.to_numpy(dtype=float)
    union = counts.sum(axis=1)[:, None] + counts.sum(axis=0)[None, :] - counts
    jaccard = counts / union
    rows, columns = linear_sum_assignment(-jaccard)
    ids: dict[str, str] = {}
    agreement: dict[str, float] = {}
    for i, j in zip(rows, columns, strict=True):
        if jaccard[i, j] >= smallest_overlap:
            ids[str(table.columns[j])] = str(table.index[i])
            agreement[str(table.index[i])] = float(jaccard[i, j])
    taken = {str(s) for s in old["segment"].unique()} | set(used_ids)
    for name in sorted(map(str, new["segment"].unique())):
        if name not in ids:
            ids[name] = fresh_id(taken)
            taken.add(ids[name])
    migration = table.rename(columns=ids)
    migration = migration[sorted(migration.columns)]
    migration.index.name, migration.columns.name = "before", "after"
    stayed = int(
        (both["segment_old"].astype(str) == both["segment_new"].astype(str).map(ids)).sum()
    )
    return Refresh(
        ids=ids,
        retired=tuple(sorted({str(s) for s in old["segment"].unique()} - set(ids.values()))),
        migration=migration,
        moved=estimate_share(len(both) - stayed, len(both), as_of=as_of, level=level),
        agreement=agreement,
    )


def fresh_id(taken: Collection[str]) -> str:
    """The first of `s1`, `s2`, … that was never used, counting on from the last one."""
    numbers = [int(name[1:]) for name in taken if name[:1] == "s" and name[1:].isdigit()]
    return f"s{max(numbers, default=0) + 1}"


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Where a confirmed segment stood: means of the scaled columns; no customer in it."""

    segment: str
    name: str
    means: Mapping[str, float]


def match_profiles(
    means: pd.DataFrame, confirmed: Sequence[Profile], *, largest_distance: float = 0.7
) -> dict[str, Profile]:
    """Which confirmed segment each of today's segments is, by profile.

    Args:
        means: Today's segments (index) by scaled columns.
        confirmed: Profiles from the register.
        largest_distance: Distance of two profiles as a share of the typical distance
            between today's segments; further apart, they are different segments.

    Returns:
        Today's segment to its confirmed profile, each used once.
    """
    if not confirmed or means.empty:
        return {}
    stored = pd.DataFrame([dict(p.means) for p in confirmed])
    columns = means.columns.union(stored.columns).sort_values()
    today = means.reindex(columns=columns).fillna(0.0).to_numpy(dtype=float)
    before = stored.reindex(columns=columns).fillna(0.0).to_numpy(dtype=float)
    distance = np.linalg.norm(today[:, None, :] - before[None, :, :], axis=2)
    between = np.linalg.norm(today[:, None, :] - today[None, :, :], axis=2)
    limit = (
        largest_distance * float(np.median(between[between > 0])) if len(today) > 1 else math.inf
    )
    rows, found = linear_sum_assignment(distance)
    return {
        str(means.index[i]): confirmed[j]
        for i, j in zip(rows, found, strict=True)
        if distance[i, j] <= limit
    }


@dataclass(frozen=True, kw_only=True)
class Interval:
    """How long a segmentation holds, and what wears it out first.

    Attributes:
        wear_per_year: Rate at which customers (or the range) turn over, per year.
    """

    days: Measured
    driver: Driver
    wear_per_year: Mapping[str, float]


def estimate_interval(
    moved_shares: Sequence[float],
    *,
    days_between: int,
    tolerated_share: float,
    as_of: date,
    n: int,
    range_turnover_share: float | None = None,
    shortest_days: int = 28,
    longest_days: int = 730,
) -> Interval:
    """Days until more than the tolerated share of customers stand in the wrong segment.

    Moves are taken as a constant hazard, -log(1 - moved) per refresh; its own ups and downs
    (one standard deviation) count as wear, so a volatile market is remade sooner. The range
    counts too: products that left since the last refresh took their buyers' habits along.

    Args:
        moved_shares: Share that moved at each refresh, `days_between` days apart.
        range_turnover_share: Share of sales from products that were not sold one such
            period before; missing if there is no product table.

    Raises:
        TooFew: No refresh to learn from.
    """
    if not len(moved_shares):
        raise TooFew("no earlier state of the segments to compare with")
    hazards = -np.log1p(-np.clip(np.asarray(moved_shares, dtype=float), 0.0, 0.999))
    spread = float(hazards.std(ddof=1)) if len(hazards) > 1 else 0.0
    wear: dict[Driver, float] = {"customers": float(hazards.mean()) + spread}
    if range_turnover_share is not None:
        wear["products"] = -math.log1p(-min(range_turnover_share, 0.999))
    driver = max(sorted(wear), key=lambda name: wear[name])
    budget = -math.log1p(-tolerated_share)
    days = longest_days if wear[driver] <= 0 else budget / wear[driver] * days_between
    return Interval(
        days=Measured(
            value=float(round(min(max(days, shortest_days), longest_days))),
            unit="days",
            n=n,
            as_of=as_of,
        ),
        driver=driver,
        wear_per_year={name: rate * 365 / days_between for name, rate in wear.items()},
    )


def profile_means(values: pd.DataFrame, segment: Sequence[Any]) -> pd.DataFrame:
    """Means of the scaled columns per segment, rounded as the register stores them."""
    return values.groupby(list(segment)).mean().sort_index().round(4)


def stable_ids(
    today: Sequence[str], known: Mapping[str, Profile], confirmed: Sequence[Profile]
) -> dict[str, str]:
    """Today's segment to the id it is published under: the confirmed one, or an unused one."""
    taken = {p.segment for p in confirmed}
    ids = {name: profile.segment for name, profile in known.items()}
    for name in today:
        if name not in ids:
            ids[name] = name if name not in taken else fresh_id(taken | set(today))
            taken.add(ids[name])
    return ids


@dataclass(frozen=True, kw_only=True)
class Migration:
    """Where customers of each group stand after a refresh.

    Attributes:
        shares: Groups before (index) by groups after, by name; cells of few customers are empty.
    """

    moved: Estimate
    shares: pd.DataFrame

    def draw(self, caption: Caption) -> Chart:
        return plot_heatmap(self.shares, caption=caption, unit="share", decimals=0)


def migration(moves: Wear, groups: Groups, run: Run[Any]) -> Migration:
    """Groups one refresh ago by groups today, of the customers in both."""
    refresh = match_segments(moves.moves.old, groups.table(), **run.range)
    return migration_by_name(refresh, groups.shown, minimum_cell_size=run.smallest_cell)


def migration_by_name(
    refresh: Refresh, names: Mapping[str, Name], *, minimum_cell_size: int
) -> Migration:
    """Migration as shares of where customers come from."""
    counts = refresh.migration
    shares = counts.div(counts.sum(axis=1), axis=0).where(counts >= minimum_cell_size)
    shares.index = pd.Index([names.get(str(s), str(s)) for s in shares.index], name="before")
    shares.columns = pd.Index([names.get(str(s), str(s)) for s in shares.columns], name="after")
    return Migration(moved=refresh.moved, shares=shares)
