"""Results as figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import pandas as pd

from insight_lib.charts import Caption, Chart, Mark, plot_bars, plot_dots, plot_heatmap
from insight_lib.findings import Measured, Prose
from insight_lib.segments.identity import Refresh
from insight_lib.segments.naming import NEARLY_ALONE, Lift
from insight_lib.segments.responsiveness import Responsiveness
from insight_lib.statistics import in_points

_MOST_LIFTS = 3


def chart_sizes(revenue: pd.DataFrame, *, as_of: date, market: str, source: str) -> Chart:
    """Share of revenue by segment.

    Args:
        revenue: name, customers, customer_share, revenue_share.
    """
    top = revenue.sort_values(["revenue_share", "name"]).iloc[-1]
    n = int(top["customers"])
    return plot_bars(
        revenue,
        caption=Caption(
            id="sizes",
            title=Prose(
                "{name}: {customers} of customers, {share} of revenue",
                name=str(top["name"]),
                customers=Measured(
                    value=float(top["customer_share"]), unit="share", n=n, as_of=as_of
                ),
                share=Measured(value=float(top["revenue_share"]), unit="share", n=n, as_of=as_of),
            ),
            subtitle=f"Share of revenue by segment, {market}",
            source=source,
            reading=Prose(
                "Every customer is in one group; those with few orders stand apart by rule."
            ),
        ),
        label="name",
        value="revenue_share",
        unit="share",
        n="customers",
        highlight=[str(top["name"])],
    )


def chart_lifts(
    lifts: Sequence[Lift], names: Mapping[str, str], *, market: str, source: str
) -> Chart | None:
    """The clearest lifts of each segment; nothing if none is clear."""
    rows = []
    drawn = [f for f in lifts if f.is_clear and f.ratio.value <= NEARLY_ALONE]
    for segment in sorted({f.segment for f in drawn}):
        mine = [f for f in drawn if f.segment == segment][:_MOST_LIFTS]
        rows += [
            {
                "label": f"{names[segment]}: {f.words}",
                "lift": f.ratio.value,
                "lower": f.ratio.lower,
                "upper": f.ratio.upper,
                "customers": f.ratio.n,
            }
            for f in mine
        ]
    if not rows:
        return None
    frame = pd.DataFrame(rows).drop_duplicates("label")
    top = frame.sort_values(["lower", "label"]).iloc[-1]
    clearest = max(drawn, key=lambda f: (f.ratio.lower, f.feature))
    return plot_dots(
        frame,
        caption=Caption(
            id="lifts",
            title=Prose(
                "{feature} sets {name} apart: {lift} times other customers",
                feature=clearest.words.capitalize(),
                name=names[clearest.segment],
                lift=clearest.ratio,
            ),
            subtitle=f"Share of what is bought, times that of other customers, {market}",
            source=source,
            reading=Prose(
                "The line is what all other customers do. Ranges hold for all features together."
            ),
        ),
        label="label",
        value="lift",
        lower="lower",
        upper="upper",
        unit="ratio",
        n="customers",
        highlight=[str(top["label"])],
        reference=Mark(at=1.0, text="other customers"),
    )


def chart_migration(
    refresh: Refresh,
    names: Mapping[str, str],
    *,
    minimum_cell_size: int,
    market: str,
    source: str,
) -> Chart:
    """Where customers of each segment stand after a refresh."""
    counts = refresh.migration
    shares = counts.div(counts.sum(axis=1), axis=0).where(counts >= minimum_cell_size)
    shares.index = pd.Index([names.get(str(s), str(s)) for s in shares.index], name="before")
    shares.columns = pd.Index([names.get(str(s), str(s)) for s in shares.columns], name="after")
    return plot_heatmap(
        shares,
        caption=Caption(
            id="migration",
            title=Prose("{moved} of customers moved to another group", moved=refresh.moved),
            subtitle=f"Group before (rows) and after a refresh (columns), {market}",
            source=source,
            reading=Prose("Rows add up to the whole; cells of few customers are left empty."),
        ),
        unit="share",
        decimals=0,
    )


def chart_responses(
    result: Responsiveness, names: Mapping[str, str], *, market: str, source: str
) -> Chart:
    """Effect of a campaign by segment."""
    effects = [in_points(r.effect) for r in result.responses]
    frame = pd.DataFrame(
        {
            "segment": [names.get(r.segment, r.segment) for r in result.responses],
            "effect": [e.value for e in effects],
            "lower": [e.lower for e in effects],
            "upper": [e.upper for e in effects],
            "customers": [e.n for e in effects],
        }
    )
    best = max(result.responses, key=lambda r: (r.effect.value, r.segment))
    return plot_dots(
        frame,
        caption=Caption(
            id="responses",
            title=Prose(
                "{name} answers most: {effect:signed}",
                name=names.get(best.segment, best.segment),
                effect=in_points(best.effect),
            ),
            subtitle=f"Extra {result.outcome} by {result.campaign_id}, drawn by lot, {market}",
            source=source,
            reading=Prose("Where the range crosses the line, the answer may be chance."),
        ),
        label="segment",
        value="effect",
        lower="lower",
        upper="upper",
        unit=effects[0].unit,
        n="customers",
        highlight=[names.get(best.segment, best.segment)],
        reference=Mark(at=0.0, text="no effect"),
    )
