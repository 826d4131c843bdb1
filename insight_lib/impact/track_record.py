"""What past forecasts were worth: how far each target's lay off, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from insight_lib.charts import Caption, Chart, Mark, plot_dots
from insight_lib.findings import Estimate, Measured, TooFew, Verdict, judge
from insight_lib.impact.forecasts import (
    EVERYONE,
    Bias,
    ForecastRecord,
    WhyNot,
    reconcile_forecasts,
)
from insight_lib.impact.inputs import slug, target_name
from insight_lib.prose import Name

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from insight_lib.market_view import MarketView
    from insight_lib.parameter_model import LearningParameters
    from insight_lib.run import Run

# What is to be done with the forecasts of a target.
Ending = Literal[
    "broke",
    "swings",
    "too small",
    "set",
    "keep",
    "perhaps set",
    "refit",
    "perhaps refit",
    "not sure",
]
_TWO_YEARS_DAYS = 700
_SAME_FACTOR = 0.01
_LARGEST_SLOPE_GAP = 0.5


@dataclass(frozen=True, kw_only=True)
class BiasRow:
    """How far the forecasts of one target lay off for one group.

    Attributes:
        error: Typical miss per customer over the mean that came.
    """

    target: Name
    group: Name
    customers: int
    off: Estimate
    error: Measured
    stands: bool


@dataclass(frozen=True, kw_only=True)
class Forecasts:
    """Every target's forecasts, judged together.

    Attributes:
        leaning, every: Forecasts that lean beyond chance, and all that were judged.
    """

    records: tuple[ForecastRecord, ...]

    @property
    def biases(self) -> tuple[Bias, ...]:
        return tuple(b for r in self.records for b in (r.total, *r.by_group))

    @property
    def shown(self) -> tuple[Bias, ...]:
        """All customers of each target, and the groups that lean."""
        return tuple(b for b in self.biases if b.group == EVERYONE or b.stands)

    @property
    def leaning(self) -> int:
        return sum(b.stands for b in self.shown)

    @property
    def every(self) -> int:
        return len(self.biases)

    @property
    def n(self) -> int:
        return self.biases[0].bias.n

    @property
    def table(self) -> tuple[BiasRow, ...]:
        return tuple(
            BiasRow(
                target=Name(b.target),
                group=Name(b.group),
                customers=b.bias.n,
                off=b.bias,
                error=Measured(value=b.error, unit="return", n=b.bias.n, as_of=b.bias.as_of),
                stands=b.stands,
            )
            for b in self.biases
        )

    def draw(self, caption: Caption) -> Chart:
        """How far forecasts lay off, by target, and for the groups where they surely did."""
        rows = [(_label(b), b.bias.value, b.bias.lower, b.bias.upper, b.bias.n) for b in self.shown]
        return plot_dots(
            pd.DataFrame(rows, columns=["name", "off", "lower", "upper", "customers"]),
            caption=caption, label="name", value="off", lower="lower", upper="upper",
            unit="share", n="customers", highlight=[_label(b) for b in self.shown if b.stands],
            reference=Mark(at=0.0, text=caption.reference),
        )  # fmt: skip


def _label(bias: Bias) -> str:
    name = target_name(bias.target)
    return name if bias.group == EVERYONE else f"{name}, {bias.group}"


def forecasts(
    run: Run[LearningParameters],
    past_scores: ir.Table | None = None,
    customers: ir.Table | None = None,
) -> Forecasts:
    """Past forecasts against what came.

    Only what was known on the cut may group customers; today's segments know what came.

    Raises:
        TooFew: As `reconcile_forecasts`, or none is published.
    """
    if past_scores is None:
        raise TooFew("stage prediction has published no forecasts with what came of them")
    past = past_scores.to_pandas()
    column = run.parameters.forecast_group_column
    if customers is not None and column in customers.columns:
        people = customers.select("customer_id", column).to_pandas().set_index("customer_id")
        past["group"] = past["customer_id"].map(people[column])
    return Forecasts(
        records=reconcile_forecasts(past, minimum_cell_size=run.smallest_cell, **run.range)
    )


def corrections(market: MarketView) -> Mapping[str, float]:
    """By target, what the parameters multiply forecasts by already."""
    return market.parameters.prediction.corrections


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """One target's forecasts: whether they lean, and what the next ones are multiplied by.

    Attributes:
        off: The bias without its sign.
        lean: Which way it goes, as far as that is sure.
        last, first, before, after: Of a break in the bias.
        lowest, highest: Of the days' biases.
        has_two_years: Whether a season could show in the days.
        parameter, tried_on, miss_before, miss_after: Of the correction.
    """

    key: str
    case: Ending
    target: Name
    bias: Estimate
    off: Estimate
    lean: Literal["high", "low", "perhaps", "neither"]
    swings: bool
    has_two_years: bool
    why_not: WhyNot | None
    last: date | None = None
    first: date | None = None
    before: Estimate | None = None
    after: Estimate | None = None
    lowest: Estimate | None = None
    highest: Estimate | None = None
    parameter: Name | None = None
    tried_on: date | None = None
    miss_before: Measured | None = None
    miss_after: Measured | None = None


def forecast(
    forecasts: Forecasts, corrections: Mapping[str, float], run: Run[LearningParameters]
) -> tuple[Forecast, ...]:
    """Each target on its own."""
    smallest = run.parameters.smallest_forecast_bias_that_matters
    return tuple(
        forecast_of(record, smallest=smallest, applied=corrections.get(record.target))
        for record in forecasts.records
    )


def forecast_of(
    record: ForecastRecord, *, smallest: float, applied: float | None = None
) -> Forecast:
    """One target's record as a reader is told of it.

    Args:
        smallest: Smallest bias that would change a decision, as a share.
        applied: Correction that the parameters hold already, if any.
    """
    bias, broke, correction = record.total.bias, record.broke, record.correction
    days = sorted((b for _, b in record.by_cut), key=lambda b: b.value)
    span = (record.by_cut[-1][0] - record.by_cut[0][0]).days if record.by_cut else 0

    def miss(value: float) -> Measured:
        return Measured(value=value, unit="share", n=bias.n, as_of=bias.as_of)

    return Forecast(
        key=slug(record.target),
        case=_case(record, smallest=smallest, applied=applied),
        target=target_name(record.target),
        bias=bias,
        off=_unsigned(bias),
        lean=_lean(record),
        swings=record.swings,
        has_two_years=span >= _TWO_YEARS_DAYS,
        why_not=record.why_not,
        last=broke.last if broke else None,
        first=broke.first if broke else None,
        before=broke.before if broke else None,
        after=broke.after if broke else None,
        lowest=days[0] if days else None,
        highest=days[-1] if days else None,
        parameter=Name(correction.parameter) if correction else None,
        tried_on=correction.tried_on if correction else None,
        miss_before=miss(correction.miss_before) if correction else None,
        miss_after=miss(correction.miss_after) if correction else None,
    )


def _case(record: ForecastRecord, *, smallest: float, applied: float | None) -> Ending:
    if record.broke is not None:
        return "broke"
    if record.swings:
        return "swings"
    verdict, correction = _verdict(record.total, smallest), record.correction
    is_sure = verdict is Verdict.MATTERS
    if verdict is Verdict.DOES_NOT_MATTER:
        return "too small"
    if correction is not None:
        is_kept = applied is not None and abs(applied - correction.factor) < _SAME_FACTOR
        if is_sure:
            return "keep" if is_kept else "set"
        return "perhaps set"
    if record.is_biased:
        return "refit" if is_sure else "perhaps refit"
    return "not sure"


def _verdict(bias: Bias, smallest: float) -> Verdict:
    verdict = judge(bias.bias, smallest)
    return Verdict.CANNOT_TELL if verdict is Verdict.MATTERS and not bias.stands else verdict


def _lean(record: ForecastRecord) -> Literal["high", "low", "perhaps", "neither"]:
    bias = record.total.bias
    if record.is_biased:
        return "high" if bias.value >= 0 else "low"
    return "perhaps" if bias.excludes(0) else "neither"


def _unsigned(bias: Estimate) -> Estimate:
    if bias.value >= 0:
        return bias
    return replace(bias, value=-bias.value, lower=-bias.upper, upper=-bias.lower)


@dataclass(frozen=True, kw_only=True)
class GroupForecast:
    """The group whose forecasts of one target leaned most; `off` is the bias without its sign."""

    key: str
    case: Literal["matters", "does not matter", "cannot tell yet"]
    target: Name
    group: Name
    bias: Estimate
    off: Estimate
    lean: Literal["high", "low"]


def forecast_groups(
    forecasts: Forecasts, run: Run[LearningParameters]
) -> tuple[GroupForecast, ...]:
    """Of each target, the group that leans most beyond chance."""
    smallest = run.parameters.smallest_forecast_bias_that_matters
    found = (group_forecast(record, smallest=smallest) for record in forecasts.records)
    return tuple(group for group in found if group is not None)


def group_forecast(record: ForecastRecord, *, smallest: float) -> GroupForecast | None:
    """The group whose forecasts leaned most; None where no lean stands."""
    standing = [b for b in record.by_group if b.stands]
    if not standing:
        return None
    worst = max(standing, key=lambda b: (abs(b.bias.value), b.group))
    cases: Mapping[Verdict, Literal["matters", "does not matter"]] = {
        Verdict.MATTERS: "matters",
        Verdict.DOES_NOT_MATTER: "does not matter",
    }
    return GroupForecast(
        key=slug(record.target),
        case=cases.get(_verdict(worst, smallest), "cannot tell yet"),
        target=target_name(record.target),
        group=Name(worst.group),
        bias=worst.bias,
        off=_unsigned(worst.bias),
        lean="high" if worst.bias.value >= 0 else "low",
    )


@dataclass(frozen=True, kw_only=True)
class Slope:
    """Whether forecasts of one target are as far apart as what came."""

    key: str
    case: Literal["all alike", "holds nothing", "too little", "too far", "too near", "holds"]
    target: Name
    slope: Estimate | None


def slope(forecasts: Forecasts) -> tuple[Slope, ...]:
    """Each target's rise of what came per rise of the forecast."""
    return tuple(slope_of(record) for record in forecasts.records)


def slope_of(record: ForecastRecord) -> Slope:
    """One target's slope, and what it says."""
    slope = record.slope
    case: Literal["all alike", "holds nothing", "too little", "too far", "too near", "holds"]
    if slope is None:
        case = "all alike"
    elif not slope.excludes(0.0):
        case = "holds nothing"
    elif slope.excludes(1.0):
        case = "too far" if slope.value < 1 else "too near"
    else:
        is_wide = max(1 - slope.lower, slope.upper - 1) > _LARGEST_SLOPE_GAP
        case = "too little" if is_wide else "holds"
    return Slope(key=slug(record.target), case=case, target=target_name(record.target), slope=slope)


@dataclass(frozen=True, kw_only=True)
class FifthRow:
    """Mean forecast and what came, of one fifth of the customers by forecast."""

    fifth: int
    customers: int
    forecast: Measured
    came: Measured


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """Forecast and outcome of one target, by fifth of the forecast."""

    key: str
    target: Name
    table: tuple[FifthRow, ...]


def reliability(forecasts: Forecasts) -> tuple[Reliability, ...]:
    """Each target by fifth of its forecast."""
    return tuple(reliability_of(record) for record in forecasts.records)


def reliability_of(record: ForecastRecord) -> Reliability:
    """One target by fifth of its forecast; amounts are bare numbers, for no unit is recorded."""
    as_of, unit = record.total.bias.as_of, "share" if record.kind == "binary" else "ratio"
    rows = record.reliability.to_dict("records")

    def mean(row: Mapping[Any, Any], column: str) -> Measured:
        n = int(row["customers"])
        return Measured(value=float(row[column]), unit=unit, n=n, as_of=as_of)

    return Reliability(
        key=slug(record.target),
        target=Name(record.target),
        table=tuple(
            FifthRow(
                fifth=number,
                customers=int(row["customers"]),
                forecast=mean(row, "forecast"),
                came=mean(row, "actual"),
            )
            for number, row in enumerate(rows, start=1)
        ),
    )
