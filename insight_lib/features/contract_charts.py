"""Engagement as a figure."""

from __future__ import annotations

from insight_lib.charts import Caption, Chart, Mark, plot_dots
from insight_lib.features.engagement import Engagement
from insight_lib.findings import Prose


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
