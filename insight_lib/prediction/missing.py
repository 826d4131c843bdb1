"""Values that are not there: why, what dropping them would do, and how much hangs on a guess.

Fills and indicators are part of the model document and come from training rows alone, so each
fold of the board makes its own.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from insight_lib.findings import Estimate, Measured, TooFew, unit_of_difference
from insight_lib.prediction.board import estimate_ranking, rank_right
from insight_lib.prediction.explain import estimate_drivers
from insight_lib.prediction.fit import Training, fit
from insight_lib.prediction.scorer import score
from insight_lib.prediction.snapshots import Target
from insight_lib.statistics import Floats

_SMALLEST_SHARE = 0.01
_SHIFTS = (-1.0, -0.5, 0.0, 0.5, 1.0)


@dataclass(frozen=True, kw_only=True)
class Mechanism:
    """Why a column has gaps, as far as the other columns tell (Rubin, 1976).

    Attributes:
        foretold: Of a customer with a gap and one without, how often the other columns tell
            which is which; a half is chance.
        kind: `chance` (no sign that gaps depend on anything seen), `explained` (they depend on
            other columns, so filling must look at these or mark the gap).
        because: The column that tells most, for `explained`.
        label_gap: Label of customers with a gap, less that of those without.
    """

    column: str
    missing_share: Measured
    foretold: Estimate
    kind: Literal["chance", "explained"]
    because: str | None
    label_gap: Estimate


@dataclass(frozen=True, kw_only=True)
class Routes:
    """What the model expects of all customers, against what they did, by two routes.

    Attributes:
        complete_share: Customers without any gap.
        observed: Mean of what all customers did.
        dropped: Error of the mean when customers with a gap are dropped, in training and after.
        kept: The same with fills and indicators.
    """

    complete_share: Measured
    observed: Measured
    dropped: Estimate
    kept: Estimate


@dataclass(frozen=True, kw_only=True)
class Shift:
    """The answer if what is missing were higher or lower than what is known.

    Attributes:
        spreads: Standard deviations added to the fill.
        same_list_share: Of the customers that capacity reaches, those also reached at no shift.
    """

    spreads: float
    mean_score: float
    ranking: float
    same_list_share: float


def describe_missingness(
    training: Training, *, target: Target, as_of: date, seed: int, level: float = 0.95
) -> list[Mechanism]:
    """One mechanism per column with gaps worth speaking of, most gaps first.

    A model learns from half of the customers to tell a gap in a column from all other columns,
    and is tried on the other half. Tests of several columns share one error rate (Bonferroni).
    """
    gaps = training.features.isna()
    names = [
        c
        for c in training.features.columns
        if _SMALLEST_SHARE <= gaps[c].mean() <= 1 - _SMALLEST_SHARE
    ]
    is_half = np.array([zlib.crc32(str(c).encode()) % 2 == 0 for c in training.customer_id])
    found = []
    for name in names:
        is_gap = gaps[name].to_numpy(dtype=float)
        # A gap of the same rows is the same gap, and would tell itself.
        twins = [c for c in names if c != name and bool((gaps[c] == gaps[name]).all())]
        others = training.features.drop(columns=[name, *twins])
        known = replace(training, features=others, label=is_gap)
        try:
            foretold, because = _foretell(
                known,
                is_half,
                target=replace(target, id="missing", kind="binary"),
                as_of=as_of,
                seed=seed,
                level=1 - (1 - level) / len(names),
            )
        except TooFew:
            continue
        found.append(
            Mechanism(
                column=str(name),
                missing_share=Measured(
                    value=float(is_gap.mean()), unit="share", n=len(is_gap), as_of=as_of
                ),
                foretold=foretold,
                kind="explained" if foretold.lower > 0.5 else "chance",
                because=because if foretold.lower > 0.5 else None,
                label_gap=_difference(
                    training.label, is_gap > 0, unit=target.unit, as_of=as_of, level=level
                ),
            )
        )
    return sorted(found, key=lambda m: (-m.missing_share.value, m.column))


def compare_routes(
    train: Training,
    test: Training,
    *,
    estimator: str,
    target: Target,
    as_of: date,
    seed: int,
    level: float = 0.95,
) -> Routes:
    """Dropping customers with gaps, against filling and marking the gaps.

    Raises:
        TooFew: Too few customers without gaps, or none with.
    """
    is_complete, was_complete = (~p.features.isna().any(axis=1).to_numpy() for p in (test, train))
    if is_complete.all() or is_complete.sum() < 2:
        raise TooFew(f"{int(is_complete.sum()):,} of {len(test):,} customers have no gap")
    options = {"target": target, "as_of": as_of, "seed": seed}
    with_gaps = fit(estimator, train, **options)  # type: ignore[arg-type]
    without = fit(estimator, train.take(was_complete), **options)  # type: ignore[arg-type]
    everyone = score(with_gaps, test.features)
    share = float(is_complete.mean())
    few = np.zeros(len(test))
    few[is_complete] = score(without, test.features[is_complete])
    mean_of_few = float(few[is_complete].mean())
    # Linearised: the mean over a part, less the mean over all.
    residual = is_complete * (few - mean_of_few) / share - (test.label - test.label.mean())
    return Routes(
        complete_share=Measured(value=share, unit="share", n=len(test), as_of=as_of),
        observed=Measured(
            value=float(test.label.mean()), unit=target.unit, n=len(test), as_of=as_of
        ),
        dropped=_mean_estimate(
            mean_of_few - float(test.label.mean()), residual, target.unit, as_of, level
        ),
        kept=_mean_estimate(
            float((everyone - test.label).mean()), everyone - test.label, target.unit, as_of, level
        ),
    )


def estimate_sensitivity(
    train: Training,
    test: Training,
    *,
    estimator: str,
    target: Target,
    as_of: date,
    seed: int,
    capacity_share: float,
    shifts: Sequence[float] = _SHIFTS,
) -> list[Shift]:
    """Fill every gap of a number lower or higher, learn anew, and see what moves.

    Delta adjustment (van Buuren, 2018, section on sensitivity): if customers with a gap differ
    from those without in a way nothing shows, the fill is off by some amount; here by `shifts`
    standard deviations.

    Raises:
        TooFew: No number has a gap.
    """
    numbers = [c for c in train.features if pd.api.types.is_numeric_dtype(train.features[c])]
    gappy = [c for c in numbers if train.features[c].isna().any() and train.features[c].count()]
    if not gappy:
        raise TooFew("no number has a gap")
    middle = train.features[gappy].median()
    spread = train.features[gappy].std().fillna(0.0)

    def answer(shift: float) -> Floats:
        filled = [
            replace(p, features=p.features.fillna((middle + shift * spread).to_dict()))
            for p in (train, test)
        ]
        document = fit(estimator, filled[0], target=target, as_of=as_of, seed=seed, calibrate=False)
        return score(document, filled[1].features)

    n_reached = max(1, round(capacity_share * len(test)))

    def reached(scores: Floats) -> set[int]:
        return set(np.argsort(-scores, kind="stable")[:n_reached].tolist())

    unmoved = reached(answer(0.0))
    found = []
    for shift in shifts:
        scores = answer(shift)
        found.append(
            Shift(
                spreads=shift,
                mean_score=float(scores.mean()),
                ranking=rank_right(scores, test.label, kind=target.kind),
                same_list_share=len(unmoved & reached(scores)) / n_reached,
            )
        )
    return found


def _foretell(
    known: Training,
    is_half: NDArray[np.bool_],
    *,
    target: Target,
    as_of: date,
    seed: int,
    level: float,
) -> tuple[Estimate, str]:
    early, late = known.take(is_half), known.take(~is_half)
    document = fit("logistic", early, target=target, as_of=as_of, seed=seed, calibrate=False)
    scores = score(document, late.features)
    foretold = estimate_ranking(scores, late.label, as_of=as_of, level=level)
    drivers = estimate_drivers(document, late.features, as_of=as_of)
    return foretold, drivers[0].words


def _difference(
    label: Floats, is_gap: NDArray[np.bool_], *, unit: str, as_of: date, level: float
) -> Estimate:
    groups = label[is_gap], label[~is_gap]
    value = float(groups[0].mean() - groups[1].mean())
    variance = sum(g.var(ddof=1) / len(g) for g in groups if len(g) > 1)
    half = float(stats.norm.ppf(0.5 + level / 2) * np.sqrt(variance))
    return Estimate(
        value=value,
        lower=value - half,
        upper=value + half,
        unit=unit_of_difference(unit),
        n=len(label),
        as_of=as_of,
        level=level,
        method="difference of means (Welch, 1947)",
    )


def _mean_estimate(
    value: float, residual: Floats, unit: str, as_of: date, level: float
) -> Estimate:
    half = float(stats.norm.ppf(0.5 + level / 2) * residual.std(ddof=1) / np.sqrt(len(residual)))
    return Estimate(
        value=value,
        lower=value - half,
        upper=value + half,
        unit=unit_of_difference(unit),
        n=len(residual),
        as_of=as_of,
        level=level,
        method="mean of one residual per customer",
    )
