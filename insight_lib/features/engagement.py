"""One engagement score from many touchpoints, comparable between age bands (or any cohort).

score = 100 x raw / mean raw of the band, raw = sum over touchpoints of weight x log(1 + events).
The logarithm lets the tenth contact count less than the first; it looks at nobody else's data,
so a score can be checked by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import ibis
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from insight_lib.findings import Estimate, Measured, TooFew
from insight_lib.statistics import estimate_share, estimate_top_share

if TYPE_CHECKING:
    import ibis.expr.types as ir

EVERY_BAND = "all"
UNKNOWN_BAND = "unknown"
_TOP = 0.2
_SAMPLE = 20_000  # customers on whom weights are tried; rank correlations are sure to 0.01

Floats = NDArray[np.float64]


def touchpoint_counts(
    interactions: ir.Table, customers: ir.Table, *, as_of: date, window_days: int, cohort: str
) -> pd.DataFrame:
    """Events per customer and touchpoint in the window; customers without events have zeros.

    Events are counted once, on the market's own clock where it is known; late ones count on the
    day they happened.

    Args:
        interactions: As in `schema.TABLES`; events without a customer are left out.
        customers: One row per customer.
        cohort: Column of `customers` that names the band; all are one band if it is not there.

    Returns:
        customer_id, band ("unknown" if missing), one column of counts per touchpoint seen;
        ordered by customer_id.
    """
    moment = (
        interactions.occurred_local.coalesce(interactions.occurred_at.cast("timestamp"))
        if "occurred_local" in interactions.columns
        else interactions.occurred_at
    )
    first, last = as_of - timedelta(days=window_days - 1), as_of
    inside = interactions.filter(
        interactions.customer_id.notnull(),
        moment.date().between(ibis.date(first.isoformat()), ibis.date(last.isoformat())),
    )
    counts = (
        inside.group_by(["customer_id", "touchpoint"])
        .agg(n_events=inside.event_id.nunique())
        .to_pandas()
    )
    wide = counts.pivot_table(
        index="customer_id", columns="touchpoint", values="n_events", fill_value=0
    )
    people = (
        customers.select(
            "customer_id",
            band=customers[cohort].coalesce(UNKNOWN_BAND)
            if cohort in customers.columns
            else ibis.literal(EVERY_BAND),
        )
        .order_by("customer_id")
        .to_pandas()
    )
    touchpoints = sorted(str(name) for name in wide.columns)
    events = wide.reindex(people["customer_id"], fill_value=0)[touchpoints]
    return people.assign(**{name: events[name].to_numpy(dtype=np.int64) for name in touchpoints})


@dataclass(frozen=True, kw_only=True)
class Engagement:
    """Scores, how they fall on the bands, and whether other weights would rank alike.

    Attributes:
        scores: customer_id, band, raw_score, engagement_score (the mean of a band is 100;
            missing in a band without any event).
        bands: band, customers, silent_share (no event in the window), lower, upper,
            mean_raw_score.
        silent: Customers without any event.
        top_share: Share of all engagement that the most engaged fifth has.
        rank_correlation: Lowest of the rank correlations with the score under changed weights.
        kept_share: Of the most engaged fifth, those still in it - in the worst of the changes.
        sensitive_to: The weight that moves ranks most when changed alone.
        weight_change: How far weights were changed, e.g. 0.2 for 20 % up and down.
        is_ranked: Whether scores differ at all; equals have no ranking to speak of.
        unweighted: Touchpoints in the data that have no weight and so do not count.
    """

    scores: pd.DataFrame
    bands: pd.DataFrame
    silent: Estimate
    top_share: Estimate
    rank_correlation: Measured
    kept_share: Measured
    sensitive_to: str
    weight_change: float
    window_days: int
    is_ranked: bool
    unweighted: tuple[str, ...]


def estimate_engagement(
    counts: pd.DataFrame,
    *,
    weights: Mapping[str, Mapping[str, float]],
    as_of: date,
    window_days: int,
    minimum_cell_size: int,
    seed: int,
    weight_change: float = 0.2,
    n_changes: int = 100,
    level: float = 0.95,
) -> Engagement:
    """Score customers with the weights of their band and try other weights.

    Args:
        counts: As from `touchpoint_counts`.
        weights: Weight by touchpoint under "all", and under the name of a band what is
            different there.
        minimum_cell_size: Bands with fewer customers are scored but not listed.
        seed: Of the weights tried.
        weight_change: Every weight is drawn between 1 - this and 1 + this times its value.

    Raises:
        ValueError: A weight is negative or not a number, or no weight is positive; names all.
        TooFew: No customer has an event on a touchpoint with a weight.
    """
    touchpoints = [c for c in counts.columns if c not in ("customer_id", "band")]
    _check_weights(weights)
    used = [name for name in touchpoints if any(name in band for band in weights.values())]
    bands, band = np.unique(counts["band"].to_numpy(dtype=str), return_inverse=True)
    by_band = np.array(
        [[_weight(weights, str(name), touchpoint) for touchpoint in used] for name in bands]
    ).reshape(len(bands), len(used))
    activity = np.log1p(counts[used].to_numpy(dtype=float))
    raw = (activity * by_band[band]).sum(axis=1)
    if not (raw > 0).any():
        raise TooFew("no customer has an event on a touchpoint that has a weight")
    score = _normalised(raw, band, len(bands))
    is_silent = counts[touchpoints].to_numpy().sum(axis=1) == 0
    n = len(counts)
    kept, correlation, sensitive = _sensitivity(
        activity, band, by_band, used, seed=seed, change=weight_change, n_changes=n_changes
    )
    rows = []
    for number, name in enumerate(bands):
        mine = band == number
        if (size := int(mine.sum())) >= minimum_cell_size:
            silent = estimate_share(int(is_silent[mine].sum()), size, as_of=as_of, level=level)
            rows.append(
                (str(name), size, silent.value, silent.lower, silent.upper, raw[mine].mean())
            )
    return Engagement(
        scores=counts[["customer_id", "band"]].assign(raw_score=raw, engagement_score=score),
        bands=pd.DataFrame(
            rows,
            columns=["band", "customers", "silent_share", "lower", "upper", "mean_raw_score"],
        ),
        silent=estimate_share(int(is_silent.sum()), n, as_of=as_of, level=level),
        top_share=estimate_top_share(np.nan_to_num(score), top=_TOP, as_of=as_of, level=level),
        rank_correlation=Measured(value=correlation, unit="ratio", n=n, as_of=as_of),
        kept_share=Measured(value=kept, unit="share", n=n, as_of=as_of),
        sensitive_to=sensitive,
        weight_change=weight_change,
        window_days=window_days,
        is_ranked=bool(np.nanmax(score) - np.nanmin(score) > 0),
        unweighted=tuple(name for name in touchpoints if name not in used),
    )


def _check_weights(weights: Mapping[str, Mapping[str, float]]) -> None:
    faults = [
        f"weight of {touchpoint} in band {band} is {value}; write a number of at least 0"
        for band, entries in weights.items()
        for touchpoint, value in entries.items()
        if not (np.isfinite(value) and value >= 0)
    ]
    if not any(value > 0 for value in weights.get(EVERY_BAND, {}).values()):
        faults.append(f"no touchpoint has a positive weight under {EVERY_BAND!r}; add one")
    if faults:
        raise ValueError("\n".join(faults))


def _weight(weights: Mapping[str, Mapping[str, float]], band: str, touchpoint: str) -> float:
    own = weights.get(band, {})
    return float(own.get(touchpoint, weights[EVERY_BAND].get(touchpoint, 0.0)))


def _normalised(raw: Floats, band: NDArray[np.int64], n_bands: int) -> Floats:
    size = np.bincount(band, minlength=n_bands)
    mean = np.bincount(band, weights=raw, minlength=n_bands) / np.maximum(size, 1)
    found: Floats = np.divide(
        100 * raw, mean[band], out=np.full_like(raw, np.nan), where=mean[band] > 0
    )
    return np.round(found, 9)  # sums in another order are no difference between customers


def _sensitivity(
    activity: Floats,
    band: NDArray[np.int64],
    by_band: Floats,
    used: list[str],
    *,
    seed: int,
    change: float,
    n_changes: int,
) -> tuple[float, float, str]:
    """Worst share kept and rank correlation over changed weights, and the weight that moves most.

    Tried are random changes of all weights together, and each touchpoint alone up and down.
    """
    rng = np.random.default_rng(seed)
    if len(band) > _SAMPLE:
        chosen = np.sort(rng.choice(len(band), _SAMPLE, replace=False))
        activity, band = activity[chosen], band[chosen]
    n_bands = len(by_band)
    base = np.nan_to_num(_normalised((activity * by_band[band]).sum(axis=1), band, n_bands))
    rank = stats.rankdata(base)
    size = max(round(_TOP * len(base)), 1)
    top = np.argsort(-base, kind="stable")[:size]
    alone = np.ones((2 * len(used), 1, len(used)))
    for i in range(len(used)):
        alone[2 * i, 0, i], alone[2 * i + 1, 0, i] = 1 - change, 1 + change
    together = rng.uniform(1 - change, 1 + change, (n_changes, n_bands, len(used)))
    kept, correlations = [], []
    for factor in [*alone, *together]:
        raw = (activity * (by_band * factor)[band]).sum(axis=1)
        score = np.nan_to_num(_normalised(raw, band, n_bands))
        correlations.append(_correlation(rank, stats.rankdata(score)))
        threshold = np.partition(score, len(score) - size)[len(score) - size]
        kept.append(float((score[top] >= threshold).mean()))
    by_touchpoint = np.minimum(
        correlations[0 : 2 * len(used) : 2], correlations[1 : 2 * len(used) : 2]
    )
    return min(kept), min(correlations), used[int(np.argmin(by_touchpoint))]


def _correlation(first: Floats, second: Floats) -> float:
    """Of two rankings; one that ties everyone agrees with itself."""
    first, second = first - first.mean(), second - second.mean()
    scale = float(np.sqrt(np.square(first).sum() * np.square(second).sum()))
    return float(first @ second) / scale if scale > 0 else 1.0
