"""Past forecasts against what came: the bias, its correction, and whether ranges held."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd
from scipy import stats

from insight_lib.findings import Estimate, TooFew
from insight_lib.statistics import benjamini_hochberg, estimate_ratio, estimate_share, p_value

_FEWEST_PERIODS = 8


@dataclass(frozen=True, kw_only=True)
class ForecastRecord:
    """One group's forecasts, judged.

    Attributes:
        bias: Forecast over actual less one, as a share: positive where it was too high.
        error: Mean absolute error as a share of what came.
        held: Share of ranges that held what came; None without ranges.
        is_biased: The bias stands when all groups are judged together.
        factor: What the next forecast is to be multiplied by; 1 where no bias stands.
    """

    group: str
    bias: Estimate
    error: float
    held: Estimate | None
    is_biased: bool
    factor: float


def reconcile_forecasts(
    frame: pd.DataFrame, *, as_of: date, level: float = 0.95
) -> Mapping[str, ForecastRecord]:
    """Judge past forecasts by group; correct only a bias that stands.

    The correction is drawn towards none by its own uncertainty (positive-part shrinkage,
    James and Stein, 1961), so that a faint bias is corrected faintly. Groups are judged
    together (Benjamini and Hochberg, 1995). Groups with fewer than eight periods are left out.

    Args:
        frame: One row per group and period: group, forecast, actual, and lower and upper
            where the forecast had a range.

    Raises:
        TooFew: No group has eight periods.
    """
    found: dict[str, tuple[Estimate, pd.DataFrame]] = {}
    for name, rows in frame.groupby("group", sort=True):
        if len(rows) >= _FEWEST_PERIODS:
            ratio = estimate_ratio(
                rows["forecast"], rows["actual"], unit="share", as_of=as_of, level=level
            )
            bias = Estimate(
                value=ratio.value - 1,
                lower=ratio.lower - 1,
                upper=ratio.upper - 1,
                unit="share",
                n=ratio.n,
                as_of=as_of,
                level=level,
                method=f"{ratio.method}, periods as units",
            )
            found[str(name)] = (bias, rows)
    if not found:
        raise TooFew(f"no group has {_FEWEST_PERIODS} periods of forecast and actual")
    stands = benjamini_hochberg([p_value(b) for b, _ in found.values()], rate=1 - level)
    records = {}
    for (name, (bias, rows)), is_biased in zip(found.items(), stands, strict=True):
        miss = (rows["forecast"] - rows["actual"]).abs().sum()
        held = None
        if {"lower", "upper"} <= set(rows.columns):
            inside = rows["actual"].between(rows["lower"], rows["upper"])
            held = estimate_share(int(inside.sum()), len(rows), as_of=as_of, level=level)
        records[name] = ForecastRecord(
            group=name,
            bias=bias,
            error=float(miss / rows["actual"].sum()),
            held=held,
            is_biased=is_biased,
            factor=_factor(bias) if is_biased else 1.0,
        )
    return records


def _factor(bias: Estimate) -> float:
    quantile = float(stats.norm.ppf(0.5 + bias.level / 2))
    error = (bias.upper - bias.lower) / 2 / quantile
    kept = max(0.0, 1 - (error / bias.value) ** 2)
    return 1 / (1 + kept * bias.value)


def corrected(frame: pd.DataFrame, records: Mapping[str, ForecastRecord]) -> pd.Series:
    """The next forecasts, multiplied by their group's factor; unknown groups as they are."""
    factors = {name: record.factor for name, record in records.items()}
    factor = frame["group"].astype(str).map(factors).fillna(1.0)
    return pd.Series(np.asarray(frame["forecast"] * factor), index=frame.index, name="forecast")
