"""Does what drives leaving drive it equally early and late? Tested in a Cox model."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from insight_lib.features.assumptions import AssumptionTest, check_enough, standardised
from insight_lib.findings import Estimate

_STEPS = 50
_METHOD = "score test in a Cox model (Grambsch and Therneau, 1994)"

Floats = NDArray[np.float64]


def check_proportional_hazards(
    entry_days: Floats,
    exit_days: Floats,
    has_event: NDArray[np.bool_],
    covariates: pd.DataFrame,
    *,
    as_of: date,
    tolerance: float = 0.25,
    level: float = 0.95,
) -> tuple[AssumptionTest, ...]:
    """Does each covariate act on the hazard equally early and late?

    Score test for a coefficient that changes with time, in a Cox model (Grambsch and Therneau,
    1994; the exact form of Therneau, 2017). Time is ranked by the share of events before, so
    no single late event decides. The departure is the change of the log hazard ratio, per
    standard deviation of the covariate, from the first event to the last.

    Args:
        entry_days: Day of life from which each subject is watched.
        exit_days: Last day watched; at least `entry_days`.
        has_event: Whether the event came on that day; other causes count as watched until then.
        covariates: One row per subject, numbers without missing values.

    Raises:
        TooFew: Fewer than ten events per covariate.
    """
    x = standardised(covariates)
    names = [str(name) for name in x.columns]
    check_enough(int(has_event.sum()), 2 * len(names), "proportional hazards")
    entry, leave = np.asarray(entry_days, dtype=int), np.asarray(exit_days, dtype=int)
    days, n_events = np.unique(leave[has_event], return_counts=True)
    # Mid-rank of the event days: the time on which the coefficient may change.
    clock = (np.cumsum(n_events) - n_events / 2) / n_events.sum()
    matrix = x.to_numpy()
    beta = np.zeros(len(names))
    residual, spread = _schoenfeld(matrix, entry, leave, has_event, days, n_events, beta)
    for _ in range(_STEPS):
        step = np.linalg.solve(spread.sum(axis=0), residual.sum(axis=0))
        beta = beta + step
        residual, spread = _schoenfeld(matrix, entry, leave, has_event, days, n_events, beta)
        if np.abs(step).max() < 1e-8:
            break
    score = clock @ residual
    total = spread.sum(axis=0)
    mixed = np.einsum("d,dij->ij", clock, spread)
    square = np.einsum("d,dij->ij", clock**2, spread)
    # What is known of the change once the constant coefficients are known: one freedom each.
    known = np.diag(square - mixed @ np.linalg.solve(total, mixed))
    span = float(clock[-1] - clock[0])
    z = float(stats.norm.ppf(0.5 + level / 2))
    found = []
    for i, name in enumerate(names):
        change, error = float(score[i] / known[i]) * span, span / float(np.sqrt(known[i]))
        found.append(
            AssumptionTest(
                assumption="proportional_hazards",
                subject=name,
                p_value=float(stats.chi2.sf(score[i] ** 2 / known[i], 1)),
                departure=Estimate(
                    value=change,
                    lower=change - z * error,
                    upper=change + z * error,
                    unit="ratio",
                    n=len(x),
                    as_of=as_of,
                    level=level,
                    method=_METHOD,
                ),
                scale="hazard ratio",
                tolerance=tolerance,
            )
        )
    return tuple(found)


def _schoenfeld(
    x: Floats,
    entry: NDArray[np.int_],
    leave: NDArray[np.int_],
    has_event: NDArray[np.bool_],
    days: NDArray[np.int_],
    n_events: NDArray[np.int_],
    beta: Floats,
) -> tuple[Floats, Floats]:
    """Schoenfeld residuals and covariances at risk, added up per event day (Breslow ties)."""
    risk = np.exp(x @ beta)
    first = np.searchsorted(days, entry, side="left")  # at risk from this event day on
    stop = np.searchsorted(days, leave, side="right")  # and no longer from this one on
    k = x.shape[1]
    columns = np.concatenate(
        [
            risk[:, None],
            risk[:, None] * x,
            (risk[:, None, None] * x[:, :, None] * x[:, None, :]).reshape(len(x), -1),
        ],
        axis=1,
    )
    change = np.zeros((len(days) + 1, columns.shape[1]))
    np.add.at(change, first, columns)
    np.subtract.at(change, stop, columns)
    sums = np.cumsum(change, axis=0)[:-1]
    mean = sums[:, 1 : k + 1] / sums[:, :1]
    covariance = sums[:, k + 1 :].reshape(-1, k, k) / sums[:, :1, None]
    covariance -= mean[:, :, None] * mean[:, None, :]
    seen = np.zeros((len(days), k))
    np.add.at(seen, np.searchsorted(days, leave[has_event]), x[has_event])
    return seen - n_events[:, None] * mean, n_events[:, None, None] * covariance
