"""What today's customers are worth: the forecast, its own test, and how far to trust it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Literal

import pandas as pd

from insight_lib.charts import Caption, Chart, plot_tracking
from insight_lib.features.clv import (
    CustomerValue,
    FitQuality,
    ModelChoice,
    estimate_customer_value,
    estimate_fit_quality,
)
from insight_lib.features.clv_holdout import (
    Holdout,
    estimate_holdout,
    reaches_the_horizon,
    widened,
)
from insight_lib.features.gamma_gamma import SpendFit
from insight_lib.features.maturity import Maturity, why_unripe
from insight_lib.features.purchases import purchase_counts
from insight_lib.features.record import Record
from insight_lib.findings import Estimate, Measured, TooFew
from insight_lib.prose import Name

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from insight_lib.parameter_model import ValueParameters
    from insight_lib.run import Run

_REGULAR = 1.2  # Erlang shape from which gaps are too regular for the models
_BURSTS = 0.8
_MODELS_AGREE = 0.1  # in the share of active customers; further apart, only a range is said
_NEARLY_ALL = 0.95
_MISPLACED = 0.05  # share of customers in the wrong group from which the fit is looked at
_LARGEST_CORRELATION = 0.2  # of spend per purchase with how often one buys


def histories(
    transactions: ir.Table,
    record: Record,
    summary: ir.Table,
    ripeness: Maturity | None,
    contracts: ir.Table | None = None,
) -> ir.Table:
    """Purchase histories that may be forecast one by one.

    Raises:
        TooFew: Contracts decide, the data have holes, or they are not ripe for it.
    """
    del transactions  # without orders there is nothing to forecast
    if contracts is not None:
        raise TooFew(
            "its customers hold contracts, whose value comes from the pipeline below",
            takes="orders without a contract behind them",
        )
    if record.hole:
        raise TooFew(
            record.hole, takes="order lines that can be read, for every day of the last year"
        )
    if ripeness is not None and (why := why_unripe(ripeness)):
        raise TooFew(why, takes="the history and the customers named here")
    return summary


def projection(histories: ir.Table, run: Run[ValueParameters]) -> CustomerValue:
    """What customers will spend, not discounted, so that it can be held against what came."""
    return estimate_customer_value(
        histories,
        horizon_months=run.parameters.horizon_months,
        annual_discount_rate=0.0,
        currency=run.currency,
        seed=run.seed,
        **run.range,
    )


def held_out(
    projection: CustomerValue, by_order: ir.Table, record: Record, run: Run[ValueParameters]
) -> Holdout:
    """A forecast by the model in use made some time ago, against what came."""
    first = record.held.first_day
    history_days = (run.as_of - first).days if first else 0
    return estimate_holdout(
        by_order,
        holdout_days=min(run.parameters.holdout_days, history_days // 2),
        minimum_cell_size=run.smallest_cell,
        models=(projection.choice.best.model,),
        seed=run.seed,
        **run.range,
    )


def forecast(projection: CustomerValue, held_out: Holdout | None = None) -> CustomerValue:
    """The forecast with the error that its own test has shown."""
    return projection if held_out is None else widened(projection, held_out)


def customer_value(forecast: CustomerValue) -> pd.DataFrame:
    """Each customer's expected purchases and spend, as in `CustomerValue.customers`."""
    return forecast.customers


def judge_bias(holdout: Holdout, largest_bias: float) -> Literal["pass", "review", "fail"]:
    """Pass if the forecast missed by less than allowed, fail if surely by more."""
    bias = holdout.bias
    if bias.lower > largest_bias or bias.upper < -largest_bias:
        return "fail"
    return "pass" if abs(bias.value) <= largest_bias else "review"


@dataclass(frozen=True, kw_only=True)
class Miss:
    """How far the test forecast was off: size and side, and its range.

    Attributes:
        bias: As in `Holdout`; None without a test.
    """

    bias: Estimate | None

    @property
    def side(self) -> Literal["high", "low"] | None:
        if self.bias is None:
            return None
        return "high" if self.bias.value > 0 else "low"

    @property
    def miss(self) -> Measured | None:
        return self._relative("value", signed=False)

    @property
    def low(self) -> Measured | None:
        return self._relative("lower")

    @property
    def high(self) -> Measured | None:
        return self._relative("upper")

    def _relative(self, name: str, *, signed: bool = True) -> Measured | None:
        if (bias := self.bias) is None:
            return None
        value = round(getattr(bias, name), 3)
        value = value if signed else abs(value)
        return Measured(value=value, unit="change", n=bias.n, as_of=bias.as_of)


@dataclass(frozen=True, kw_only=True)
class Worth(Miss):
    """What today's customers will spend, and whether a test forecast backs it.

    Attributes:
        months: The horizon.
        days: Length of the test.
        top_share: Share of the value that the best fifth will bring.
        back: Share of what is bought that is sent back; None where nothing is.
        unread: Share of the order lines that is not in it.
    """

    case: Literal["not tested", "tested too short", "backed", "backed, not whole", "missed"]
    value: Estimate
    months: Measured
    days: Measured | None
    top_share: Measured
    back: Measured | None
    unread: Measured | None

    @property
    def carries_budgets(self) -> bool:
        return self.case == "backed"

    @property
    def has_back(self) -> bool:
        return self.back is not None

    @property
    def has_unread(self) -> bool:
        return self.unread is not None


def worth(
    forecast: CustomerValue,
    record: Record,
    run: Run[ValueParameters],
    held_out: Holdout | None = None,
) -> Worth:
    """What today's customers will spend over the horizon."""
    as_of, kept = forecast.value.as_of, forecast.kept
    back = Measured(value=1 - kept.value, unit="share", n=kept.n, as_of=as_of)
    return Worth(
        case=_backed(forecast, record, run.parameters.largest_forecast_bias, held_out),
        value=forecast.value,
        months=Measured(value=forecast.horizon_months, unit="months", n=1, as_of=as_of),
        days=None
        if held_out is None
        else Measured(value=held_out.days, unit="days", n=1, as_of=as_of),
        top_share=forecast.top_share,
        back=back if kept.value != 1 else None,
        unread=record.unread,
        bias=None if held_out is None else held_out.bias,
    )


def _backed(
    forecast: CustomerValue, record: Record, largest_bias: float, held_out: Holdout | None
) -> Literal["not tested", "tested too short", "backed", "backed, not whole", "missed"]:
    if held_out is None:
        return "not tested"
    if not reaches_the_horizon(held_out, horizon_months=forecast.horizon_months):
        return "tested too short"
    if judge_bias(held_out, largest_bias) != "pass":
        return "missed"
    return "backed" if record.is_whole else "backed, not whole"


@dataclass(frozen=True, kw_only=True)
class Active:
    """How many customers are still customers, and what one will spend on average.

    Attributes:
        low, high: Lowest and highest share over the models of leaving.
    """

    case: Literal["nearly all", "some", "hangs on the model"]
    active: Measured
    low: Measured
    high: Measured
    mean_value: Estimate


def active_customers(forecast: CustomerValue) -> Active:
    """The share still active, or its range where the models of leaving differ."""
    low, high = forecast.active_range
    is_sure = high.value - low.value <= _MODELS_AGREE
    some: Literal["nearly all", "some"] = "nearly all" if low.value >= _NEARLY_ALL else "some"
    return Active(
        case=some if is_sure else "hangs on the model",
        active=forecast.active,
        low=low,
        high=high,
        mean_value=forecast.mean_value,
    )


@dataclass(frozen=True, kw_only=True)
class AfterTheCut:
    """Mean purchases after the cut of customers with so many repeat purchases before it."""

    repeats: Name
    customers: int
    actual: Measured
    expected: Measured


@dataclass(frozen=True, kw_only=True)
class ForecastTest(Miss):
    """Did a forecast made at the cut come true, and for whom does it not speak.

    Attributes:
        expected, actual: Purchases from the cut on of customers known then.
        new_customers, new_share: Who came later, and their share of all purchases.
        rhythm: How gaps between purchases compare with what the model assumes.
        shape, one: Erlang shape of the gaps, and that of random buying.
        tracking: As in `Holdout`.
    """

    case: Literal["pass", "review", "fail"]
    model: Name
    cut: date
    days: Measured
    expected: Measured
    actual: Measured
    new_customers: Measured
    new_share: Measured
    rhythm: Literal["regular", "bursts", "as assumed"]
    shape: Estimate | None
    one: Measured
    table: tuple[AfterTheCut, ...]
    tracking: pd.DataFrame

    @property
    def has_newcomers(self) -> bool:
        return bool(self.new_customers.value)

    def draw(self, caption: Caption) -> Chart:
        """Cumulative purchases after the cut against the forecast made at the cut."""
        return plot_tracking(
            self.tracking, caption=caption, x="date", actual="actual", expected="expected",
            lower="lower", upper="upper", unit="count",
        )  # fmt: skip


def value_holdout(held_out: Holdout, run: Run[ValueParameters]) -> ForecastTest:
    """The test forecast, judged by the largest miss that is still usable."""
    actual, regularity = held_out.actual, held_out.regularity
    shape = None if regularity is None else regularity.shape

    def measured(value: float, unit: str, n: int = held_out.actual.n) -> Measured:
        return Measured(value=value, unit=unit, n=n, as_of=actual.as_of)

    return ForecastTest(
        case=judge_bias(held_out, run.parameters.largest_forecast_bias),
        bias=held_out.bias,
        model=Name(held_out.choice.best.model.value),
        cut=held_out.cut,
        days=measured(held_out.days, "days", 1),
        expected=measured(round(held_out.expected.value), "count"),
        actual=actual,
        new_customers=held_out.new_customers,
        new_share=held_out.new_share,
        rhythm=_rhythm(shape),
        shape=shape,
        one=measured(1, "ratio"),
        table=tuple(
            AfterTheCut(
                repeats=Name(row["repeats"]),
                customers=int(row["customers"]),
                actual=measured(float(row["actual"]), "score"),
                expected=measured(float(row["expected"]), "score"),
            )
            for row in held_out.by_frequency.to_dict("records")
        ),
        tracking=held_out.tracking,
    )


def _rhythm(shape: Estimate | None) -> Literal["regular", "bursts", "as assumed"]:
    if shape is not None and shape.lower > _REGULAR:
        return "regular"
    return "bursts" if shape is not None and shape.upper < _BURSTS else "as assumed"


def value_fit(
    summary: ir.Table, run: Run[ValueParameters], forecast: CustomerValue | None = None
) -> FitQuality | None:
    """How well the model in use gives back the purchases that it was fitted on."""
    if forecast is None:
        return None
    best, cell = forecast.choice.best, run.smallest_cell
    counts = purchase_counts(summary)
    return estimate_fit_quality(counts, best, as_of=run.as_of, minimum_cell_size=cell)


@dataclass(frozen=True, kw_only=True)
class ModelInUse:
    """Which purchase model is in use, why, and how well it fits.

    Attributes:
        why: Which model is likelier is one question, whether its numbers are known well another:
            said in one breath, so that the page has one word on how far to trust it.
        misplaced: Share of customers in the wrong group by number of purchases.
    """

    case: Literal["pass", "not known well", "look at the fit"]
    model: Name
    why: Literal["favoured", "not known well", "best known", "set"]
    misplaced: Measured | None

    @property
    def is_fit_known(self) -> bool:
        return self.misplaced is not None


def value_model(forecast: CustomerValue, value_fit: FitQuality | None = None) -> ModelInUse:
    """The model in use, with the fit that backs it."""
    return model_in_use(forecast.choice, value_fit)


def model_in_use(choice: ModelChoice, quality: FitQuality | None) -> ModelInUse:
    """How far the model that was chosen is to be trusted."""
    is_known = choice.best.is_identified
    misplaced = None if quality is None else quality.misplaced
    fits = misplaced is not None and misplaced.value <= _MISPLACED
    clear: Literal["favoured", "not known well"] = "favoured" if is_known else "not known well"
    return ModelInUse(
        case="not known well" if not is_known else "pass" if fits else "look at the fit",
        model=Name(choice.best.model.value),
        why=clear if choice.is_clear else "best known" if len(choice.fits) > 1 else "set",
        misplaced=misplaced,
    )


@dataclass(frozen=True, kw_only=True)
class SpendLink:
    """Whether spend per purchase is unrelated to how often one buys, as the model takes it."""

    case: Literal["unrelated", "not known well", "related"]
    spend: Literal["just as much", "about as much", "more", "less"]


def value_spend(forecast: CustomerValue) -> SpendLink:
    """The link between how often and how much per purchase."""
    return spend_link(forecast.spend)


def spend_link(spend: SpendFit) -> SpendLink:
    """The same, of a fitted spend model."""
    link = spend.correlation
    if link is None:
        return SpendLink(case="unrelated", spend="just as much")
    if abs(link) > _LARGEST_CORRELATION:
        return SpendLink(case="related", spend="more" if link > 0 else "less")
    case: Literal["unrelated", "not known well"] = (
        "unrelated" if spend.is_identified else "not known well"
    )
    return SpendLink(case=case, spend="about as much")


@dataclass(frozen=True, kw_only=True)
class ModelTried:
    """A purchase model with its parameters and its likelihood."""

    model: Name
    parameters: Name
    log_likelihood: Measured
    aic: Measured


@dataclass(frozen=True, kw_only=True)
class ModelsTried:
    """The purchase models that were tried, the one in use first."""

    table: tuple[ModelTried, ...]


def purchase_models(forecast: CustomerValue) -> ModelsTried:
    """Parameters and likelihood of each model."""
    as_of = forecast.value.as_of

    def score(value: float, n: int) -> Measured:
        return Measured(value=value, unit="score", n=n, as_of=as_of)

    return ModelsTried(
        table=tuple(
            ModelTried(
                model=Name(fit.model.value),
                parameters=Name(
                    ", ".join(
                        f"{name} {value:.3f}"
                        for name, value in zip(fit.model.names, fit.parameters, strict=True)
                    )
                ),
                log_likelihood=score(fit.log_likelihood, fit.n_customers),
                aic=score(fit.aic, fit.n_customers),
            )
            for fit in forecast.choice.fits
        )
    )
