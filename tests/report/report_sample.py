"""A notebook as the runner hands it over, made from generated data and real results."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import cache
from typing import Any

import nbformat
import numpy as np
import pandas as pd

from insight_lib.charts import (
    Caption,
    Chart,
    Mark,
    plot_bars,
    plot_heatmap,
    plot_histogram,
    plot_line,
)
from insight_lib.findings import (
    FINDING_MIME,
    Check,
    Estimate,
    Finding,
    Gate,
    Measured,
    Need,
    Prose,
    Table,
    Tile,
    Tiles,
    Verdict,
)

AS_OF = date(2017, 12, 31)
N_HOUSEHOLDS = 2469

Report = tuple[nbformat.NotebookNode, dict[str, Any], list[dict[str, Any]]]


def share(value: float, lower: float, upper: float, n: int = N_HOUSEHOLDS) -> Estimate:
    return Estimate(
        value=value, lower=lower, upper=upper, unit="share", n=n, as_of=AS_OF,
        method="Wilson (1927)",
    )  # fmt: skip


def counted(value: float, unit: str = "count", n: int = N_HOUSEHOLDS) -> Measured:
    return Measured(value=value, unit=unit, n=n, as_of=AS_OF)


def cell(source: str, *shown: Any) -> nbformat.NotebookNode:
    """A code cell that displayed `shown`: objects with a MIME bundle, or ready bundles."""
    bundles = [item if isinstance(item, Mapping) else item._repr_mimebundle_() for item in shown]
    outputs = [nbformat.v4.new_output("display_data", data=bundle) for bundle in bundles]
    return nbformat.v4.new_code_cell(source, outputs=outputs)


def text(source: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_markdown_cell(source)


def join(cells: list[nbformat.NotebookNode]) -> nbformat.NotebookNode:
    """A notebook whose cell ids do not change from run to run."""
    for i, each in enumerate(cells):
        each["id"] = f"cell-{i}"
    return nbformat.v4.new_notebook(cells=cells)


def harvest(notebook: nbformat.NotebookNode) -> list[dict[str, Any]]:
    """The findings of a notebook, in order, as the runner collects them."""
    return [
        output.data[FINDING_MIME]
        for each in notebook.cells
        if each.cell_type == "code"
        for output in each.outputs
        if FINDING_MIME in output.get("data", {})
    ]


def run_record(**market: Any) -> dict[str, Any]:
    """A run record as the runner writes it."""
    return {
        "run_id": "20180101T061200-us-grocery-features-4f1c",
        "market": {
            "id": "us-grocery", "title": "United States · grocery", "kind": "real",
            "region": "us", "jurisdiction": "ccpa", "currency": "USD",
            "zone": "America/New_York", "country": "US", "language": "en-US",
            "note": "The Complete Journey: a year of purchases of households of one retailer.",
        } | market,
        "stage": {
            "id": "features", "number": 3, "title": "Features",
            "question": "What do households do that sets the valuable ones apart?",
        },
        "segment": None, "as_of": "2017-12-31", "overrides": {}, "fingerprint": "9d2f6c01",
        "state": "published", "started_at": "2018-01-01T11:12:00Z",
        "ended_at": "2018-01-01T11:12:03Z", "seconds": 3.2,
        "tables": {
            "customers": {"version": 0, "rows": N_HOUSEHOLDS},
            "transactions": {"version": 4, "rows": 1469307},
        },
        "published": {"customer_features": {"version": 3, "rows": N_HOUSEHOLDS}},
        "parameters": {
            "smallest_change_that_matters": 0.02,
            "features": {"window_days": 90, "excluded": ["COUPON/MISC ITEMS"]},
            "week_start": "monday",
        },
        "code_revision": "3f2c9ab", "packages": {"pandas": "3.1.1", "duckdb": "1.5.6"},
        "files": {},
    }  # fmt: skip


def caption(chart_id: str, title: Prose, subtitle: str, reading: str) -> Caption:
    return Caption(
        id=chart_id,
        title=title,
        subtitle=f"{subtitle}, United States grocery, 12 months to December 2017",
        source="transactions, snapshot 4; consent in force",
        reading=Prose(reading),
    )


@cache
def sample_charts() -> list[Chart]:
    rng = np.random.default_rng(7)
    spend = pd.DataFrame({
        "household_group": ["Weekly stock-up", "Top-up shoppers", "Monthly", "Occasional"],
        "spend_amount": [4120.0, 2214.0, 1105.0, 342.0],
        "low": [3890.0, 2105.0, 1042.0, 318.0],
        "high": [4371.0, 2330.0, 1171.0, 367.0],
        "households": [421, 702, 655, 691],
    })  # fmt: skip
    ratio = counted(4120 / 2214, "ratio")
    bars = plot_bars(
        spend,
        caption=caption(
            "spend",
            Prose("Weekly stock-up households spend {ratio} times as much as top-ups", ratio=ratio),
            "Spend per household with likely range",
            "The line at the end of each bar is the range the true figure very likely lies in. "
            "Ranges that do not overlap are safe to call different. This does not say why.",
        ),
        label="household_group", value="spend_amount", lower="low", upper="high",
        n="households", unit="USD", highlight=["Weekly stock-up"],
    )  # fmt: skip
    counts, edges = np.histogram(rng.gamma(1.8, 5.5, 52000), bins=np.arange(0, 61, 2))
    gaps = plot_histogram(
        counts, edges,
        caption=caption(
            "gaps",
            Prose("Half of all baskets come within {days} of the last", days=counted(8, "days")),
            "Days between baskets of the same household",
            "Each bar is two days wide; blue bars lie before the middle of all gaps.",
        ),
        unit="days", x_title="days between baskets", count_title="Baskets",
        marks=[Mark(at=8, text="half within 8 days")], highlight=(0, 8),
    )  # fmt: skip
    weeks = pd.date_range("2017-01-02", "2017-12-25", freq="W-MON")
    level = {"Grocery": 0.49, "Drug and personal care": 0.14, "Produce": 0.08, "Meat": 0.11}
    mix = pd.concat([
        pd.DataFrame({"week": weeks, "department": name,
                      "share": base + rng.normal(0, 0.006, len(weeks)).cumsum() / 4})
        for name, base in level.items()
    ])  # fmt: skip
    lines = plot_line(
        mix,
        caption=caption(
            "mix", Prose("Meat overtook produce and kept its lead"), "Share of weekly spend",
            "Each line is one department's share of all spend in the week.",
        ),
        x="week", y="share", unit="share", series="department", highlight="Meat",
        events=[Mark(at=date(2017, 7, 4), text="Independence Day"),
                Mark(at=date(2017, 11, 23), text="Thanksgiving")],
    )  # fmt: skip
    months = pd.date_range("2017-01-01", periods=12, freq="MS").strftime("%b")
    kept = [[0.93 - 0.05 * j - 0.004 * i if i + j < 12 else np.nan for j in range(12)]
            for i in range(12)]  # fmt: skip
    heat = plot_heatmap(
        pd.DataFrame(kept, index=pd.Index(months, name="first_month"),
                     columns=[f"+{j}" for j in range(12)]),
        caption=caption(
            "cohorts", Prose("Households that joined later leave sooner"),
            "Share of each month's new households that bought again, by month since joining",
            "Darker means more households came back; empty cells have not happened yet.",
        ),
        unit="share", decimals=0,
    )  # fmt: skip
    return [bars, gaps, lines, heat]


def sample_findings() -> list[Finding]:
    top = share(0.382, 0.361, 0.404)
    money = Estimate(value=48000, lower=21000, upper=77000, unit="USD", n=410, as_of=AS_OF,
                     method="bootstrap (Efron, 1979)")  # fmt: skip
    change = Estimate(value=-1.4, lower=-4.2, upper=1.1, unit="points", n=6120, as_of=AS_OF,
                      method="Newcombe (1998)")  # fmt: skip
    base: dict[str, Any] = {"rows": ("M3.1",), "evidence": ("transactions", "customers")}
    return [
        Finding(
            id="features.stock_up_share", weight=9, owner="Category manager", value=top, good="up",
            statement=Prose("One household in six brings {share} of revenue.", share=top),
            verdict=Verdict.MATTERS, due=date(2018, 1, 31), target=share(0.35, 0.35, 0.35),
            so_what=Prose("Protect the weekly stock-up range first; it is worth {money} a quarter.",
                          money=money),
            **base,
        ),
        Finding(
            id="features.gap", weight=7, owner="CRM lead", verdict=Verdict.MATTERS,
            value=counted(8, "days"),
            statement=Prose("Half of all baskets come within {gap} of the last, so a household "
                            "that stays away for {late} is late.",
                            gap=counted(8, "days"), late=counted(21, "days")),
            so_what=Prose("Write to late households, not to all of them."), **base,
        ),
        Finding(
            id="features.fee", weight=6, owner="Pricing", verdict=Verdict.CANNOT_TELL, value=change,
            statement=Prose("Small baskets may have become fewer: {change:range}.", change=change),
            so_what=Prose("Keep watching until {day}.", day=date(2018, 3, 31)), **base,
        ),
        Finding(
            id="features.weekend", weight=5, owner="Store operations",
            verdict=Verdict.DOES_NOT_MATTER, value=share(0.31, 0.308, 0.312),
            statement=Prose("Weekend share did not change."), **base,
        ),
        Finding(
            id="features.meat", weight=4, owner="Category manager", verdict=Verdict.MATTERS,
            statement=Prose("Meat overtook produce in spring and kept its lead."), **base,
        ),
        Finding(
            id="features.private_label", weight=2, owner="Category manager",
            verdict=Verdict.CANNOT_TELL, value=share(0.272, 0.24, 0.305),
            statement=Prose("About {share:in_hundred} baskets hold a private label product.",
                            share=share(0.272, 0.24, 0.305)), **base,
        ),
        Finding(
            id="features.margin", weight=1, owner="Finance", verdict=Verdict.NOT_MEASURABLE,
            statement=Prose("Margin per household cannot be computed: costs are not delivered."),
            needs=(Need(table="prices", columns=("unit_cost_amount",), minimum_rows=1000),),
            so_what=Prose("Ask for a monthly cost file."), **base,
        ),
        Gate(
            id="features.history", owner="Data owner", verdict=Verdict.PASS, blocks=("segments",),
            statement=Prose("History covers {days}.", days=counted(365, "days")), **base,
        ),
        Gate(
            id="features.identity", owner="Data owner", verdict=Verdict.FAIL,
            blocks=("prediction",),
            statement=Prose("Too many households share a loyalty card: {share}.",
                            share=counted(0.071, "share")),
            so_what=Prose("Split shared cards before scores are used."), **base,
        ),
        Check(
            id="features.outliers", owner="Analyst", verdict=Verdict.REVIEW,
            statement=Prose("{n} baskets are above the largest plausible amount.", n=counted(14)),
            so_what=Prose("Look at them before sharing averages."), **base,
        ),
    ]  # fmt: skip


def sample_notebook() -> nbformat.NotebookNode:
    bars, gaps, lines, heat = sample_charts()
    found = sample_findings()
    repeat = share(0.312, 0.294, 0.330, 6120)
    tiles = Tiles((
        Tile(label="Repeat within 90 days", value=repeat, good="up",
             note=Prose("below spring"),
             change=Estimate(value=-2.1, lower=-3.4, upper=-0.8, unit="points", n=6120,
                             as_of=AS_OF, method="Newcombe (1998)")),
        Tile(label="Churn a quarter", value=share(0.058, 0.051, 0.065), good="down",
             note=Prose("better than last year"), change=counted(-0.9, "points")),
        Tile(label="Spend per household", value=counted(1862.4, "USD"), good="up"),
        Tile(label="Smallest change we can see", value=counted(2.4, "points"),
             note=Prose("as planned")),
    ))  # fmt: skip
    table = Table(
        title="Largest departments",
        columns=("Department", "Spend", "Baskets", "Share"),
        rows=(("Grocery", "$2.32 M", "612,004", "49.1%"), ("Meat", "$0.51 M", "101,222", "10.9%")),
        note="Departments under 1% of spend are left out.",
    )
    frame = pd.DataFrame({"department": ["Grocery", "Meat & fish"], "baskets": [612004, 101222]})
    return join([
        text("# Features\n\nWhat households do, for those who plan the range and write to them."),
        nbformat.v4.new_code_cell('market = "us-grocery"\nas_of = None  # last complete day',
                                  metadata={"tags": ["parameters"]}),
        cell("show(describe(result), tiles(result))", *found[:5], tiles),
        text("## Who brings the revenue\n\nGroups are made by **recency, frequency and money**."),
        cell("show(plot_spend(result), departments(result))", bars, table),
        text("## How often they come"),
        cell("show(plot_gaps(result), found[5])", gaps, found[5]),
        text("### By month of the first basket"),
        cell("show(plot_cohorts(result))", heat),
        cell("frame", {"text/html": frame.to_html(), "text/plain": frame.to_string()}),
        text("## What fills the basket"),
        cell("show(plot_mix(result))", lines),
        text("## Can we rely on it"),
        cell("show(checks(result))", *found[6:]),
        text("## Method\n\nCounts are exact. Ranges of shares follow *Wilson (1927)*.\n\n"
             "- one row per household\n- coupons are not products"),
    ])  # fmt: skip
