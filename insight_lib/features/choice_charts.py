"""Who is left out, and what was borrowed, as figures."""

from __future__ import annotations

from insight_lib.charts import Caption, Chart, Mark, plot_dots
from insight_lib.features.exclusion import Exclusions, exclusion_frame
from insight_lib.features.pooling import Pooled
from insight_lib.findings import Prose, TooFew


def chart_exclusions(result: Exclusions, *, market: str, source: str) -> Chart:
    """Share left out by group, for the rule and trait that stand out most."""
    worst = result.groups[0]
    frame = exclusion_frame(result)
    frame = frame[(frame["rule"] == worst.rule) & (frame["trait"] == worst.trait)]
    trait = worst.trait.replace("_", " ")
    title = (
        Prose(
            "“{rule}” leaves out {rate} of “{group}”",
            rule=worst.rule,
            rate=worst.rate,
            group=worst.group,
        )
        if worst.is_flagged
        else Prose("“{rule}” treats the groups alike", rule=worst.rule)
    )
    return plot_dots(
        frame.sort_values("group"),
        caption=Caption(
            id="excluded-groups",
            title=title,
            subtitle=f"Share of customers left out by {trait}, {market}",
            source=source,
            reading=Prose(
                "The dashed line is the share over all customers. A group clearly to its right "
                "would be missing from whatever is built on this choice."
            ),
        ),
        label="group",
        value="rate",
        lower="lower",
        upper="upper",
        unit="share",
        n="n",
        highlight=[
            g.group for g in result.flagged if (g.rule, g.trait) == (worst.rule, worst.trait)
        ],
        reference=Mark(at=result.overall[worst.rule].value, text="all customers"),
    )


def chart_pooled(
    result: Pooled, *, what: str, market: str, source: str, minimum_cell_size: int
) -> Chart:
    """Group means in use with their ranges; groups under the minimum size are not shown.

    Raises:
        TooFew: No group is large enough to show.
    """
    frame = result.groups[result.groups["n"] >= minimum_cell_size]
    if frame.empty:
        raise TooFew(f"no group holds {minimum_cell_size} customers")
    title = (
        Prose("The {what} is drawn towards the mature pattern", what=what)
        if result.is_borrowed
        else Prose("The {what} rests on this market's own data", what=what)
    )
    return plot_dots(
        frame,
        caption=Caption(
            id=f"borrowed-{'-'.join(what.lower().split())}",
            title=title,
            subtitle=f"{what.capitalize()}, {market}",
            source=source,
            reading=Prose(
                "The line through each point is where the figure very likely lies. Groups with "
                "few customers lean more on the mature markets, groups with many on their own."
            ),
        ),
        label="group",
        value="mean",
        lower="lower",
        upper="upper",
        unit=result.unit,
        n="n",
    )
