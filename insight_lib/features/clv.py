"""What today's customers will be worth: model choice, goodness of fit, total with its range."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import stats

from insight_lib.charts import Caption, Chart, Mark, plot_dots
from insight_lib.features.clv_models import (
    Counts,
    Floats,
    PurchaseFit,
    PurchaseModel,
    alive_share,
    draw_purchases,
    expected_if_alive,
    fit_purchases,
    frequency_shares,
    merge_histories,
)
from insight_lib.features.clv_totals import (
    DRAWN_CUSTOMERS,
    TOTAL_METHOD,
    range_label,
    slopes,
    total_estimate,
)
from insight_lib.features.gamma_gamma import SpendFit, draw_amount, expected_amount, fit_spend
from insight_lib.features.purchases import purchase_counts
from insight_lib.findings import Estimate, Measured, TooFew
from insight_lib.statistics import estimate_ratio

if TYPE_CHECKING:
    import ibis.expr.types as ir

_DAYS_PER_MONTH = 365.25 / 12
_Z = 1.96  # of what chance allows in nineteen of twenty
_EVEN_AIC = 2.0  # closer than this, the data do not tell two models apart


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """The purchase models tried, the one in use first.

    Attributes:
        fits: First the one in use, then by Akaike's information criterion (AIC).
        lead: AIC of the next less that of the one in use; zero if only one was tried.
        is_clear: Whether the lead is more than two.
    """

    fits: tuple[PurchaseFit, ...]
    lead: float
    is_clear: bool

    @property
    def best(self) -> PurchaseFit:
        """The fit that is used."""
        return self.fits[0]


def choose_model(
    counts: pd.DataFrame, *, models: Sequence[PurchaseModel] = tuple(PurchaseModel)
) -> ModelChoice:
    """Fit the models and take the first whose AIC is within two of the smallest.

    Args:
        counts: As from `purchases.purchase_counts`.
        models: The better known first: they are taken where the data do not tell them apart.

    Raises:
        TooFew: No customer has bought again.
    """
    merged = merge_histories(counts)
    fits = [fit_purchases(merged, model=model) for model in models]
    smallest = min(fit.aic for fit in fits)
    best = next(fit for fit in fits if fit.aic <= smallest + _EVEN_AIC)
    rest = sorted((fit for fit in fits if fit is not best), key=lambda fit: fit.aic)
    lead = rest[0].aic - best.aic if rest else 0.0
    return ModelChoice(fits=(best, *rest), lead=lead, is_clear=lead > _EVEN_AIC)


@dataclass(frozen=True, kw_only=True)
class FitQuality:
    """How well the model gives back the spread of purchases that it was fitted on.

    Attributes:
        histogram: repeats (label), observed, expected (customers); every bin expects at
            least the minimum cell size.
        misplaced: Share of customers whom the model puts in another bin.
        p_value: Pearson's chi-squared, four fitted parameters deducted.
    """

    histogram: pd.DataFrame
    misplaced: Measured
    p_value: float

    def draw(self, caption: Caption) -> Chart:
        """Customers by number of repeat purchases, observed against expected."""
        frame = self.histogram
        chance = _Z * np.sqrt(frame["expected"])
        labels = {repeats: f"{repeats} repeats" for repeats in frame["repeats"]}
        ratios = pd.DataFrame(
            {
                "group": frame["repeats"].map(labels | {"1": "1 repeat"}),
                "ratio": frame["observed"] / frame["expected"],
                "lower": (frame["observed"] - chance) / frame["expected"],
                "upper": (frame["observed"] + chance) / frame["expected"],
                "customers": frame["observed"].astype(int),
            }
        )
        return plot_dots(
            ratios, caption=caption, label="group", value="ratio", lower="lower", upper="upper",
            unit="ratio", n="customers", is_sorted=False,
            reference=Mark(at=1.0, text=caption.reference),
        )  # fmt: skip


def estimate_fit_quality(
    counts: pd.DataFrame, fit: PurchaseFit, *, as_of: date, minimum_cell_size: int, bins: int = 8
) -> FitQuality:
    """Compare customers by repeat purchases with what the fitted model expects of their ages.

    Raises:
        TooFew: Fewer than six bins can be filled, so that nothing is left to test.
    """
    frequency = counts["frequency"].to_numpy(dtype=np.int64)
    weight = counts["customers"].to_numpy(dtype=float)
    most = int(np.clip(frequency.max(), 12, 60))
    observed = np.zeros(most + 2)
    np.add.at(observed, np.minimum(frequency, most + 1), weight)
    ages = counts.groupby("age", as_index=False)["customers"].sum()
    parameters = np.asarray(fit.parameters)
    expected = np.zeros(most + 2)
    for age, customers in zip(ages["age"], ages["customers"], strict=True):
        shares = frequency_shares(fit.model, parameters, age=float(age), most=most)
        expected += float(customers) * np.append(shares, max(0.0, 1 - float(shares.sum())))
    edges = _bin_edges(observed, expected, minimum_cell_size, bins)
    if len(edges) < 6:
        raise TooFew(f"{weight.sum():,.0f} customers fill {len(edges)} bins, and it takes six")
    seen = np.add.reduceat(observed, edges)
    meant = np.add.reduceat(expected, edges)
    statistic = float((np.square(seen - meant) / meant).sum())
    n = int(weight.sum())
    ends = [*(edge - 1 for edge in edges[1:]), None]
    labels = [range_label(first, last) for first, last in zip(edges, ends, strict=True)]
    return FitQuality(
        histogram=pd.DataFrame({"repeats": labels, "observed": seen, "expected": meant}),
        misplaced=Measured(
            value=float(np.abs(seen - meant).sum() / 2 / n), unit="share", n=n, as_of=as_of
        ),
        p_value=float(stats.chi2.sf(statistic, len(edges) - 5)),
    )


def _bin_edges(observed: Floats, expected: Floats, smallest: int, bins: int) -> list[int]:
    """Starts of bins that all hold and expect at least `smallest`, and five, customers."""
    need = max(5, smallest)
    edges, start = [0], 0
    for at in range(1, len(observed)):
        inside = min(observed[start:at].sum(), expected[start:at].sum())
        beyond = min(observed[at:].sum(), expected[at:].sum())
        width = 1 if len(edges) < bins // 2 + 1 else 2 ** (len(edges) - bins // 2)
        if inside >= need and beyond >= need and at - start >= width and len(edges) < bins:
            edges.append(at)
            start = at
    return edges


@dataclass(frozen=True, kw_only=True)
class CustomerValue:
    """What the customers known today will buy and spend over the horizon.

    Attributes:
        choice: Purchase models, best first.
        spend: The spend model.
        purchases: Total purchase days over the horizon.
        value: Total spend, discounted by month.
        mean_value: The same per customer.
        active: Share of customers who are still customers, by the model in use.
        active_range: Its lowest and highest value over all models tried: leaving is never seen,
            so it hangs on the model.
        kept: Share of what is bought that is not taken back; in the value.
        top_share: Share of the value that the best fifth will bring.
        customers: One row per customer: customer_id, alive_share, expected_purchases,
            expected_value_amount. For publishing, never for showing.
    """

    choice: ModelChoice
    spend: SpendFit
    purchases: Estimate
    value: Estimate
    mean_value: Estimate
    active: Measured
    active_range: tuple[Measured, Measured]
    kept: Estimate
    top_share: Measured
    customers: pd.DataFrame
    horizon_months: int


def estimate_customer_value(
    summary: ir.Table,
    *,
    as_of: date,
    horizon_months: int,
    annual_discount_rate: float,
    currency: str,
    unit_days: int = 7,
    models: Sequence[PurchaseModel] = tuple(PurchaseModel),
    level: float = 0.95,
    seed: int = 1,
) -> CustomerValue:
    """Expected purchases and discounted spend of today's customers over the horizon.

    The range of the total holds what the parameters may be (observed information, delta
    method) and what single customers may do (drawn from their own predictive distributions).
    Spend counts at the end of its month, less the share that is taken back as a rule; it is
    revenue, not margin, and customers who have not yet come are not in it.

    Args:
        summary: As from `purchases.purchase_summary`, with the same `unit_days`.
        annual_discount_rate: E.g. 0.1.
        seed: Of the drawn purchases.

    Raises:
        TooFew: Too few repeat purchases or repeat spend for the models.
    """
    counts = purchase_counts(summary)
    choice = choose_model(counts, models=models)
    rows = summary.order_by("customer_id").to_pandas()
    spend = fit_spend(rows)
    model, parameters = choice.best.model, np.asarray(choice.best.parameters)
    frequency = rows["frequency"].to_numpy(dtype=np.int64)
    recency = rows["recency"].to_numpy(dtype=float)
    age = rows["age"].to_numpy(dtype=float)
    amount = rows["repeat_amount"].to_numpy(dtype=float)
    month = _DAYS_PER_MONTH / unit_days
    discounts = (1 + annual_discount_rate) ** (-np.arange(1, horizon_months + 1) / 12)

    def by_month(point: Floats, x: Floats, t: Floats) -> tuple[Floats, Floats]:
        """Purchases and discounted purchases of customers still here."""
        pairs = pd.DataFrame({"x": x, "t": t})
        which = pairs.groupby(["x", "t"], sort=True).ngroup().to_numpy()
        unique = pairs.drop_duplicates().sort_values(["x", "t"])
        x_of = unique["x"].to_numpy(dtype=np.int64)
        t_of = unique["t"].to_numpy(dtype=float)
        before, discounted = np.zeros(len(unique)), np.zeros(len(unique))
        for number, discount in enumerate(discounts, start=1):
            total = expected_if_alive(model, point, x_of, t_of, number * month)
            discounted += discount * (total - before)
            before = total
        return before[which], discounted[which]

    alive = alive_share(model, parameters, frequency, recency, age)
    plain, discounted = by_month(parameters, frequency, age)
    mean_amount = expected_amount(np.asarray(spend.parameters), frequency, amount)
    kept = _kept_share(rows, as_of=as_of, level=level)
    value = alive * discounted * mean_amount * kept.value

    cells = merge_histories(
        rows.assign(customers=1.0, amount=mean_amount)
        .groupby(["frequency", "recency", "age"], as_index=False)
        .agg(customers=("customers", "sum"), amount=("amount", "sum"))
    )
    x, tx, t = (cells[name].to_numpy() for name in ("frequency", "recency", "age"))

    def purchases_at(point: Floats) -> Floats:
        here = alive_share(model, point, x, tx, t)
        counted, later = by_month(point, x, t)
        return np.array(
            [
                float((cells["customers"] * here * counted).sum()),
                kept.value * float((cells["amount"] * here * later).sum()),
            ]
        )

    def spend_at(point: Floats) -> Floats:
        amounts = expected_amount(point, frequency, amount)
        return np.array([kept.value * float((alive * discounted) @ amounts)])

    slope = slopes(purchases_at, parameters)
    spend_slope = slopes(spend_at, np.asarray(spend.parameters))[0]
    of_counts = float(slope[0] @ choice.best.covariance @ slope[0])
    of_value = float(slope[1] @ choice.best.covariance @ slope[1]) + float(
        spend_slope @ spend.covariance @ spend_slope
    )
    z = float(stats.norm.ppf(0.5 + level / 2))
    of_value += (float(value.sum()) * (kept.upper - kept.lower) / (2 * z * kept.value)) ** 2
    noise_counts, noise_value = _noise(
        choice.best, spend, rows, alive * plain, value, horizon_months * month, seed
    )
    n = len(rows)
    purchases = total_estimate(
        float((alive * plain).sum()),
        of_counts + noise_counts,
        unit="count",
        n=n,
        as_of=as_of,
        level=level,
    )
    total = total_estimate(
        float(value.sum()), of_value + noise_value, unit=currency, n=n, as_of=as_of, level=level
    )
    best = np.sort(value)[::-1][: max(1, round(n / 5))]
    return CustomerValue(
        choice=choice,
        spend=spend,
        purchases=purchases,
        value=total,
        mean_value=Estimate(
            value=total.value / n,
            lower=total.lower / n,
            upper=total.upper / n,
            unit=currency,
            n=n,
            as_of=as_of,
            level=level,
            method=TOTAL_METHOD,
        ),
        active=Measured(value=float(alive.mean()), unit="share", n=n, as_of=as_of),
        active_range=_active_range(choice, frequency, recency, age, as_of=as_of),
        kept=kept,
        top_share=Measured(value=float(best.sum() / value.sum()), unit="share", n=n, as_of=as_of),
        customers=pd.DataFrame(
            {
                "customer_id": rows["customer_id"],
                "alive_share": alive,
                "expected_purchases": alive * plain,
                "expected_value_amount": value,
            }
        ),
        horizon_months=horizon_months,
    )


def _active_range(
    choice: ModelChoice, frequency: Counts, recency: Floats, age: Floats, *, as_of: date
) -> tuple[Measured, Measured]:
    shares = [
        float(alive_share(f.model, np.asarray(f.parameters), frequency, recency, age).mean())
        for f in choice.fits
    ]
    low, high = (
        Measured(value=share, unit="share", n=len(age), as_of=as_of)
        for share in (min(shares), max(shares))
    )
    return low, high


def _kept_share(rows: pd.DataFrame, *, as_of: date, level: float) -> Estimate:
    """Share of money paid in settled orders that was not taken back, customers as units.

    Raises:
        TooFew: As much was taken back as came in.
    """
    paid, back = rows["settled_amount"], rows["settled_back_amount"]
    if paid.sum() <= back.sum():
        raise TooFew("as much money was taken back as came in")
    kept = estimate_ratio(paid - back, paid, unit="share", as_of=as_of, level=level)
    return replace(kept, lower=max(kept.lower, 0.0), upper=min(kept.upper, 1.0))


def _noise(
    fit: PurchaseFit,
    spend: SpendFit,
    rows: pd.DataFrame,
    purchases: Floats,
    value: Floats,
    horizon: float,
    seed: int,
) -> tuple[float, float]:
    """Variance of the totals from what single customers do, as squared errors of drawn futures."""
    rng = np.random.default_rng(seed)
    n = len(rows)
    drawn = rng.integers(0, n, DRAWN_CUSTOMERS) if n < DRAWN_CUSTOMERS else np.arange(n)
    chosen = rows.iloc[drawn]
    frequency = chosen["frequency"].to_numpy(dtype=np.int64)
    parameters = np.asarray(fit.parameters)
    counts = draw_purchases(
        fit.model,
        parameters,
        frequency,
        chosen["recency"].to_numpy(dtype=float),
        chosen["age"].to_numpy(dtype=float),
        horizon,
        rng,
    )
    amount = draw_amount(
        np.asarray(spend.parameters),
        frequency,
        chosen["repeat_amount"].to_numpy(dtype=float),
        counts,
        rng,
    )
    undiscounted = expected_amount(
        np.asarray(spend.parameters),
        rows["frequency"].to_numpy(dtype=np.int64),
        rows["repeat_amount"].to_numpy(dtype=float),
    )
    share = float(value.sum() / (purchases @ undiscounted))
    return (
        n * float(np.square(counts - purchases[drawn]).mean()),
        n * float(np.square(amount * share - value[drawn]).mean()),
    )
