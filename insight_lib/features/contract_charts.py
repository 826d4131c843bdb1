"""Contracts, pipeline, engagement and assumptions as figures."""

from __future__ import annotations

from insight_lib.charts import Caption, Chart, Mark, plot_bars, plot_dots, plot_line
from insight_lib.features.competing_risks import ChurnCauses
from insight_lib.features.contract_assumptions import ContractAssumptions
from insight_lib.features.contract_story import CAUSE_NAMES
from insight_lib.features.engagement import Engagement
from insight_lib.features.sales_cycle import SalesCycle
from insight_lib.findings import Measured, Prose


def chart_churn_causes(result: ChurnCauses, *, market: str, source: str) -> Chart:
    """Contracts ended by each cause, by month of life."""
    cause, share = result.incidence[0]
    name = CAUSE_NAMES.get(cause, cause)
    months = Measured(value=result.horizon_months, unit="months", n=share.n, as_of=share.as_of)
    return plot_line(
        result.curve.assign(cause=result.curve["cause"].map(lambda c: CAUSE_NAMES.get(c, c))),
        caption=Caption(
            id="churn-causes",
            title=Prose(
                "{name}: {share} of contracts within {months}",
                name=name,
                share=share,
                months=months,
            ),
            subtitle=f"Share of contracts ended by each cause, by months since the start, {market}",
            source=source,
            reading=Prose(
                "Each line counts the contracts that one cause has ended; the lines add up to all "
                "that ended. Contracts still in force count for as long as they were watched. "
                "The band is the range the true share very likely lies in."
            ),
        ),
        x="month",
        y="share",
        unit="share",
        series="cause",
        lower="lower",
        upper="upper",
        highlight=name,
        x_title="Months since the start of the contract",
    )


def chart_hazards(result: ChurnCauses, *, market: str, source: str) -> Chart:
    """Ends per month in force, by year of life and cause."""
    named = result.hazards["cause"].map(lambda c: CAUSE_NAMES.get(c, c))
    rows = result.hazards.assign(label=result.hazards["tenure"] + " · " + named)
    top = rows.sort_values(["hazard_per_month", "label"]).iloc[-1]
    rate = Measured(
        value=float(top["hazard_per_month"]),
        unit="share",
        n=result.n_contracts,
        as_of=result.in_force.as_of,
    )
    return plot_dots(
        rows,
        caption=Caption(
            id="churn-hazards",
            title=Prose("{label}: {rate} of contracts a month", label=top["label"], rate=rate),
            subtitle=f"Contracts ended per month in force, {market}",
            source=source,
            reading=Prose(
                "Ends over months in force, for each cause and year of the contract. The line "
                "through each point is the range the true rate very likely lies in. Not renewing "
                "happens at the end of a term only; here it is spread over the year."
            ),
        ),
        label="label",
        value="hazard_per_month",
        lower="lower",
        upper="upper",
        unit="share",
        n="n_contracts",
        highlight=[top["label"]],
        is_sorted=False,
    )


def chart_pipeline(result: SalesCycle, *, market: str, source: str) -> Chart:
    """Value of the open deals by stage."""
    total = result.pipeline_value
    return plot_bars(
        result.pipeline,
        caption=Caption(
            id="pipeline",
            title=Prose("Open deals are worth {value} (likely {value:range})", value=total),
            subtitle=f"Expected value of open deals by stage, {market}",
            source=source,
            reading=Prose(
                "Chance to win, given the stage and how long the deal has been there, times the "
                "value of the contract, less what waiting costs. The line at the end of a bar is "
                "the range the true expectation very likely lies in; single deals differ far more."
            ),
        ),
        label="stage",
        value="value",
        lower="lower",
        upper="upper",
        unit=total.unit,
        n="n_open",
        is_sorted=False,
    )


def chart_stages(result: SalesCycle, *, market: str, source: str) -> Chart:
    """Chance to win from each stage."""
    return plot_dots(
        result.stages,
        caption=Caption(
            id="stages",
            title=Prose("{win} of new deals are won", win=result.win_share),
            subtitle=f"Chance to win for a deal that enters the stage, {market}",
            source=source,
            reading=Prose(
                "Open deals count for as long as they have been watched, so recent ones do not "
                "look like losers. The line through each point is the likely range."
            ),
        ),
        label="stage",
        value="win_share",
        lower="lower",
        upper="upper",
        unit="share",
        n="n_entered",
        is_sorted=False,
    )


def chart_engagement(result: Engagement, *, market: str, source: str) -> Chart:
    """Customers without contact, by band."""
    return plot_dots(
        result.bands,
        caption=Caption(
            id="engagement",
            title=Prose("{silent} of customers had no contact", silent=result.silent),
            subtitle=f"Share of customers without any contact in {result.window_days} days, "
            f"by band, {market}",
            source=source,
            reading=Prose(
                "Contacts on every touchpoint count. The line through each point is the range "
                "the true share very likely lies in; where ranges overlap, bands may be alike."
            ),
        ),
        label="band",
        value="silent_share",
        lower="lower",
        upper="upper",
        unit="share",
        n="customers",
        is_sorted=False,
        reference=Mark(at=result.silent.value, text="all customers"),
    )


def chart_calibration(result: ContractAssumptions, *, market: str, source: str) -> Chart:
    """Seen less said, by group of predicted chance.

    Raises:
        ValueError: Calibration could not be tested.
    """
    if result.calibration is None:
        raise ValueError("calibration could not be tested; show its check instead")
    table = result.calibration
    said = table["predicted_share"]
    off = table.assign(
        difference=100 * (table["observed_share"] - said),
        lower=100 * (table["lower"] - said),
        upper=100 * (table["upper"] - said),
    )
    n_off = int(((off["lower"] > 0) | (off["upper"] < 0)).sum())
    return plot_dots(
        off,
        caption=Caption(
            id="calibration",
            title=Prose(
                "Predicted chances miss in {off} of {all} groups",
                off=Measured(value=n_off, unit="count", n=result.n_contracts, as_of=result.as_of),
                all=Measured(
                    value=len(off), unit="count", n=result.n_contracts, as_of=result.as_of
                ),
            ),
            subtitle=f"Share of contracts ended less share predicted to end, {market}",
            source=source,
            reading=Prose(
                "Groups of equal size, from the lowest to the highest predicted chance. On the "
                "line, as many ended as was said before. One group in twenty may miss by chance."
            ),
        ),
        label="group",
        value="difference",
        lower="lower",
        upper="upper",
        unit="points",
        n="customers",
        is_sorted=False,
        reference=Mark(at=0.0, text="as predicted"),
    )
