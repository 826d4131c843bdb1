"""Customer value as figures."""

from __future__ import annotations

import numpy as np
import pandas as pd

from insight_lib.charts import Caption, Chart, Mark, plot_dots, plot_tracking
from insight_lib.features.clv import CustomerValue, FitQuality
from insight_lib.features.clv_holdout import Holdout
from insight_lib.findings import Measured, Prose, Table, format_number

_Z = 1.96  # of what chance allows in nineteen of twenty


def chart_holdout(result: Holdout, *, market: str, source: str) -> Chart:
    """Cumulative purchases after the cut against the forecast made at the cut."""
    return plot_tracking(
        result.tracking,
        caption=Caption(
            id="value-holdout",
            title=Prose(
                "The test forecast expected {expected} purchases; {actual} came",
                expected=Measured(
                    value=round(result.expected.value),
                    unit="count",
                    n=result.expected.n,
                    as_of=result.expected.as_of,
                ),
                actual=result.actual,
            ),
            subtitle=f"Purchases since the cut, added up, customers known at the cut, {market}",
            source=source,
            reading=Prose(
                "The model saw nothing after {cut}. The band is where the total very likely lies "
                "if the model holds; customers who came later are not in it.",
                cut=result.cut,
            ),
        ),
        x="date",
        actual="actual",
        expected="expected",
        lower="lower",
        upper="upper",
        unit="count",
    )


def chart_fit(result: FitQuality, *, market: str, source: str) -> Chart:
    """Customers by number of repeat purchases, observed against expected."""
    frame = result.histogram
    chance = _Z * np.sqrt(frame["expected"])
    ratios = pd.DataFrame(
        {
            "group": [
                f"{repeats} repeat" if repeats == "1" else f"{repeats} repeats"
                for repeats in frame["repeats"]
            ],
            "ratio": frame["observed"] / frame["expected"],
            "lower": (frame["observed"] - chance) / frame["expected"],
            "upper": (frame["observed"] + chance) / frame["expected"],
            "customers": frame["observed"].astype(int),
        }
    )
    return plot_dots(
        ratios,
        caption=Caption(
            id="value-fit",
            title=Prose(
                "The model puts {misplaced} of customers in another group",
                misplaced=result.misplaced,
            ),
            subtitle=f"Customers by repeat purchases, seen against expected, {market}",
            source=source,
            reading=Prose(
                "On the middle line there are as many such customers as the model expects; to "
                "the right there are more. The line through each point is what chance allows."
            ),
        ),
        label="group",
        value="ratio",
        lower="lower",
        upper="upper",
        unit="ratio",
        n="customers",
        is_sorted=False,
        reference=Mark(at=1.0, text="as expected"),
    )


def table_by_frequency(result: Holdout) -> Table:
    """Mean purchases after the cut, actual and expected, by repeat purchases before it."""
    frame = result.by_frequency
    return Table(
        title="Purchases per customer after the cut, by repeat purchases before it",
        columns=("Repeat purchases before", "Customers", "Actual", "Expected"),
        rows=tuple(
            (
                str(repeats),
                format_number(customers, "count"),
                format_number(actual, "score", 2),
                format_number(expected, "score", 2),
            )
            for repeats, customers, actual, expected in zip(
                frame["repeats"],
                frame["customers"],
                frame["actual"],
                frame["expected"],
                strict=True,
            )
        ),
    )


def table_models(result: CustomerValue) -> Table:
    """Parameters and likelihood of the models tried, the one in use first."""
    return Table(
        title="Purchase models, the one in use first",
        columns=("Model", "Parameters", "Log-likelihood", "AIC"),
        rows=tuple(
            (
                fit.model.value,
                ", ".join(
                    f"{name} {value:.3f}"
                    for name, value in zip(fit.model.names, fit.parameters, strict=True)
                ),
                f"{fit.log_likelihood:,.1f}".replace("-", "−"),
                f"{fit.aic:,.1f}",
            )
            for fit in result.choice.fits
        ),
    )
