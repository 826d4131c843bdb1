"""Past forecasts against what came: bias by group, calibration, and the correction worth making."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from insight_lib.findings import Estimate, TooFew
from insight_lib.statistics import benjamini_hochberg, estimate_ratio, p_value

_FEWEST_CUSTOMERS = 50
_FEWEST_CUTS = 2
_BINS = 5
EVERYONE = "everyone"
WhyNot = Literal[
    "it swings",
    "it broke",
    "no bias",
    "one day of forecasts",
    "too little came before",
    "nothing came",
    "it did not lower the miss",
]


@dataclass(frozen=True, kw_only=True)
class Bias:
    """One group's forecasts of one target, over all cuts.

    Attributes:
        group: A group of customers known on the cut, or `everyone`.
        bias: Forecast over actual less one, as a share: positive where it was too high.
        error: Root of the mean squared miss per customer, as a share of the mean that came.
        stands: The bias stands when all groups and targets are judged together.
    """

    target: str
    group: str
    bias: Estimate
    error: float
    stands: bool = False


@dataclass(frozen=True, kw_only=True)
class Correction:
    """What the next forecasts of a target are to be multiplied by, and the trial behind it.

    Attributes:
        factor: From all cuts, drawn towards one by its own uncertainty.
        trial_factor: The same from the cuts before the latest.
        tried_on: The latest cut, which the trial factor has not seen.
        miss_before: Distance of forecast and actual total on that cut, as a share of the actual.
        miss_after: The same with the trial factor.
    """

    target: str
    factor: float
    trial_factor: float
    tried_on: date
    miss_before: float
    miss_after: float

    @property
    def parameter(self) -> str:
        """The entry of the market's parameters that the next fit applies."""
        return f"prediction.corrections: {{{self.target}: {self.factor:.3f}}}"


@dataclass(frozen=True, kw_only=True)
class Break:
    """One step in the bias: what it was up to a day, and what it is since the next.

    Attributes:
        last, first: Last day of forecasts before the step, and first one after it.
    """

    last: date
    first: date
    before: Estimate
    after: Estimate


@dataclass(frozen=True, kw_only=True)
class ForecastRecord:
    """One target's forecasts, judged.

    Attributes:
        total: Bias over everyone.
        by_group: Bias of the groups that are large enough to show.
        slope: Rise of what came per rise of the forecast: one is right, below one the
            forecasts are too far apart (Mincer and Zarnowitz, 1969). None where all forecasts
            of a day are the same.
        reliability: forecast, actual (means) and customers, by fifth of the forecast.
        by_cut: Day on which forecasts were made, and their bias, oldest first.
        swings: The bias changes its sign from day to day beyond chance, as a season does that
            the forecast does not know; its mean is then no guide to the next one.
        broke: The bias changed once, beyond chance, and holds on either side of that: a break.
        correction: Only where the bias stands, did not break, and the trial lowered the miss.
        why_not: Why there is none; None where there is one.
    """

    target: str
    kind: Literal["binary", "amount"]
    total: Bias
    by_group: tuple[Bias, ...]
    slope: Estimate | None
    reliability: pd.DataFrame
    by_cut: tuple[tuple[date, Estimate], ...]
    swings: bool
    correction: Correction | None
    why_not: WhyNot | None
    broke: Break | None = None

    @property
    def is_biased(self) -> bool:
        """The forecasts lean one way, beyond chance, on the whole."""
        return self.total.stands and not self.swings


def reconcile_forecasts(
    past: pd.DataFrame,
    *,
    as_of: date,
    minimum_cell_size: int,
    level: float = 0.95,
) -> tuple[ForecastRecord, ...]:
    """Judge past forecasts by target and group; correct only a bias that stands.

    Customers are the independent units: what several cuts say of one customer is added up
    first. The luck of those that a forecast was learned from is part of every range. Groups are
    judged together (Benjamini and Hochberg, 1995).

    Args:
        past: One row per customer, target and cut: customer_id, target, kind (binary or
            amount), cut, forecast, actual; forecasts as made before any correction. A column
            group, if there is one, says what was known on the cut: groups drawn later, from
            what came, would show a bias that no forecast had.
        minimum_cell_size: Smallest group to show.

    Raises:
        TooFew: No target has fifty customers of whom something came.
    """
    fewest = max(minimum_cell_size, _FEWEST_CUSTOMERS)
    frames = {str(name): rows for name, rows in past.groupby("target", sort=True)}
    found: dict[str, list[Bias]] = {}
    for name, rows in frames.items():
        groups = [(EVERYONE, rows)]
        if "group" in rows:
            groups += [(str(group), part) for group, part in rows.groupby("group", sort=True)]
        biases = []
        for group, part in groups:
            if part["customer_id"].nunique() < fewest:
                continue
            try:
                bias = _bias(part, as_of=as_of, level=level)
            except TooFew:  # nothing came, or too little for a range
                continue
            biases.append(Bias(target=name, group=group, bias=bias, error=_error(part)))
        if biases and biases[0].group == EVERYONE:
            found[name] = biases
    if not found:
        raise TooFew(f"no forecast has {fewest} customers of whom something came")
    every = [b for biases in found.values() for b in biases]
    stands = benjamini_hochberg(
        [p_value(_came_per_forecast(b.bias)) for b in every], rate=1 - level
    )
    judged = [replace(b, stands=s) for b, s in zip(every, stands, strict=True)]
    records = []
    for name in found:
        rows = frames[name]
        total, *by_group = [b for b in judged if b.target == name]
        by_cut = _by_cut(rows, as_of=as_of, level=level)
        # A break and a swing are looked for in every target: they share the chance of an error.
        chance = (1 - level) / 2 / len(found)
        broke = _break(rows, by_cut, as_of=as_of, level=level, chance=chance)
        swings = _swings([bias for _, bias in by_cut], chance=chance)
        correction: Correction | None
        why_not: WhyNot | None
        if swings:
            correction, why_not = None, "it swings"
        else:
            correction, why_not = _correction(rows, total, as_of=as_of, level=level)
        if broke is not None and correction is not None:
            correction, why_not = None, "it broke"
        records.append(
            ForecastRecord(
                target=name,
                kind="binary" if rows["kind"].iloc[0] == "binary" else "amount",
                total=total,
                by_group=tuple(by_group),
                slope=_slope(rows, as_of=as_of, level=level),
                reliability=_reliability(rows, minimum_cell_size),
                by_cut=by_cut,
                swings=swings,
                correction=correction,
                why_not=why_not,
                broke=broke,
            )
        )
    return tuple(records)


def _factor(rows: pd.DataFrame, *, as_of: date, level: float) -> Estimate:
    """What came per unit forecast, customers as units, with the forecasts' own error."""

    def of(part: pd.DataFrame) -> Estimate:
        sums = part.groupby("customer_id", sort=True)[["actual", "forecast"]].sum()
        return estimate_ratio(
            sums["actual"], sums["forecast"], unit="ratio", as_of=as_of, level=level
        )

    return _with_error_of_model(of(rows), [of(part) for _, part in rows.groupby("cut")])


def _with_error_of_model(pooled: Estimate, by_cut: Sequence[Estimate]) -> Estimate:
    """Widen a range by what the forecasts themselves owe to the customers they were learned from.

    A forecast was learned from about as many customers of one day as it is held against, so its
    own luck is as large as that of one day's customers, and the two add up. Forecasts of several
    days were learned from much the same customers: it does not average out.
    """
    below = math.sqrt(float(np.mean([(e.value - e.lower) ** 2 for e in by_cut])))
    above = math.sqrt(float(np.mean([(e.upper - e.value) ** 2 for e in by_cut])))
    return replace(
        pooled,
        lower=pooled.value - math.hypot(pooled.value - pooled.lower, below),
        upper=pooled.value + math.hypot(pooled.upper - pooled.value, above),
    )


def _bias(rows: pd.DataFrame, *, as_of: date, level: float) -> Estimate:
    factor = _factor(rows, as_of=as_of, level=level)
    if factor.lower <= 0:
        raise TooFew("so little came that the forecast could be any multiple of it")
    return replace(
        factor,
        value=1 / factor.value - 1,
        lower=1 / factor.upper - 1,
        upper=1 / factor.lower - 1,
        unit="change",
    )


def _came_per_forecast(bias: Estimate) -> Estimate:
    """What came over the forecast less one: the scale on which the range is symmetric."""
    lower, value, upper = (1 / (1 + b) - 1 for b in (bias.upper, bias.value, bias.lower))
    return replace(bias, value=value, lower=lower, upper=upper)


def _by_cut(rows: pd.DataFrame, *, as_of: date, level: float) -> tuple[tuple[date, Estimate], ...]:
    found = []
    for cut, part in rows.groupby("cut", sort=True):
        try:
            bias = _bias(part, as_of=as_of, level=level)
        except TooFew:
            continue
        found.append((pd.Timestamp(str(cut)).date(), bias))
    return tuple(found)


def _swings(biases: Sequence[Estimate], *, chance: float) -> bool:
    """Whether biases of several days differ beyond chance (Cochran, 1954) and in their sign."""
    if (
        len(biases) < _FEWEST_CUTS
        or min(b.value for b in biases) * max(b.value for b in biases) >= 0
    ):
        return False
    spread = _spread(biases)
    return bool(stats.chi2.sf(spread, len(biases) - 1) < chance)


def _spread(biases: Sequence[Estimate]) -> float:
    """Cochran's Q of several days' biases, on the scale on which their ranges are symmetric."""
    scaled = [_came_per_forecast(b) for b in biases]
    values = np.array([b.value for b in scaled])
    quantile = float(stats.norm.ppf(0.5 + biases[0].level / 2))
    widths = np.maximum([b.upper - b.lower for b in scaled], 1e-12)
    weights = np.square(2 * quantile / widths)
    return float(weights @ np.square(values - np.average(values, weights=weights)))


def _break(
    rows: pd.DataFrame,
    by_cut: Sequence[tuple[date, Estimate]],
    *,
    as_of: date,
    level: float,
    chance: float,
) -> Break | None:
    """One step that explains all the days' differences, if they differ beyond chance.

    The split that explains most is taken, its chance widened for the number of splits
    (Bonferroni); within either side the days may not differ any more (Cochran, 1954). A season
    comes back, and so does not pass for a step once both its sides were seen again.
    """
    n = len(by_cut)
    if n < _FEWEST_CUTS:
        return None
    biases = [bias for _, bias in by_cut]
    total = _spread(biases)

    def within(place: int) -> tuple[float, float]:
        return _spread(biases[:place]), _spread(biases[place:])

    place = min(range(1, n), key=lambda k: sum(within(k)))
    left, right = within(place)
    if stats.chi2.sf(total - left - right, 1) * (n - 1) >= chance:
        return None
    for part, size in ((left, place), (right, n - place)):
        if size > 1 and stats.chi2.sf(part, size - 1) < 1 - level:
            return None
    first = by_cut[place][0]
    is_after = pd.to_datetime(rows["cut"]) >= pd.Timestamp(first)
    try:
        before, after = (
            _bias(rows[mask], as_of=as_of, level=level) for mask in (~is_after, is_after)
        )
    except TooFew:
        return None
    return Break(last=by_cut[place - 1][0], first=first, before=before, after=after)


def _shrunk(factor: Estimate) -> float:
    """Drawn towards one by its uncertainty (positive part; James and Stein, 1961)."""
    distance = factor.value - 1
    if distance == 0:
        return 1.0
    error = (factor.upper - factor.lower) / 2 / float(stats.norm.ppf(0.5 + factor.level / 2))
    return 1 + max(0.0, 1 - (error / distance) ** 2) * distance


def _error(rows: pd.DataFrame) -> float:
    miss = math.sqrt(float(np.square(rows["forecast"] - rows["actual"]).mean()))
    mean = float(rows["actual"].mean())
    return miss / mean if mean else math.inf


def _correction(
    rows: pd.DataFrame, total: Bias, *, as_of: date, level: float
) -> tuple[Correction | None, WhyNot | None]:
    if not total.stands:
        return None, "no bias"
    cuts = sorted(rows["cut"].unique())
    if len(cuts) < _FEWEST_CUTS:
        return None, "one day of forecasts"
    latest = rows[rows["cut"] == cuts[-1]]
    earlier = rows[rows["cut"] != cuts[-1]]
    try:
        trial = _shrunk(_factor(earlier, as_of=as_of, level=level))
    except TooFew:
        return None, "too little came before"
    came, forecast = float(latest["actual"].sum()), float(latest["forecast"].sum())
    if came <= 0:
        return None, "nothing came"
    correction = Correction(
        target=total.target,
        factor=_shrunk(_factor(rows, as_of=as_of, level=level)),
        trial_factor=trial,
        tried_on=pd.Timestamp(cuts[-1]).date(),
        miss_before=abs(forecast / came - 1),
        miss_after=abs(trial * forecast / came - 1),
    )
    after = latest.assign(forecast=latest["forecast"] * trial)
    is_better = correction.miss_after < correction.miss_before and _error(after) < _error(latest)
    if not is_better or trial == 1.0:
        return None, "it did not lower the miss"
    return correction, None


def _slope(rows: pd.DataFrame, *, as_of: date, level: float) -> Estimate | None:
    """Regression of what came on the forecast, with the forecasts' own error.

    None where all forecasts of a day are the same: then nothing says what a higher one means.
    """
    pooled = _slope_of(rows, as_of=as_of, level=level)
    if pooled is None:
        return None
    by_cut = [_slope_of(part, as_of=as_of, level=level) for _, part in rows.groupby("cut")]
    return _with_error_of_model(pooled, [slope for slope in by_cut if slope is not None])


def _slope_of(rows: pd.DataFrame, *, as_of: date, level: float) -> Estimate | None:
    """Regression of what came on the forecast, errors clustered by customer."""
    values = rows[["forecast", "actual"]].astype(float)
    # Levels of the days are the bias's matter.
    centred = values - values.groupby(rows["cut"]).transform("mean")
    x, y = centred["forecast"].to_numpy(), centred["actual"].to_numpy()
    spread = float(x @ x)
    customer, _ = pd.factorize(rows["customer_id"])
    n = int(customer.max()) + 1
    if spread == 0 or n < 2:
        return None
    slope = float(x @ y) / spread
    scores = np.bincount(customer, x * (y - slope * x)) / spread
    half = float(stats.t.ppf(0.5 + level / 2, n - 1))
    half *= math.sqrt(n / (n - 1) * float(scores @ scores))
    return Estimate(
        value=slope,
        lower=slope - half,
        upper=slope + half,
        unit="ratio",
        n=n,
        as_of=as_of,
        level=level,
        method="regression of actual on forecast (Mincer and Zarnowitz, 1969), customers as units",
    )


def _reliability(rows: pd.DataFrame, minimum_cell_size: int) -> pd.DataFrame:
    fifth = pd.qcut(rows["forecast"].rank(method="first"), _BINS, labels=False)
    means = rows.groupby(fifth).agg(
        forecast=("forecast", "mean"),
        actual=("actual", "mean"),
        customers=("customer_id", "nunique"),
    )
    return means[means["customers"] >= minimum_cell_size].reset_index(drop=True)
