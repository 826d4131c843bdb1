"""Who is left out, as figures."""

from __future__ import annotations

from insight_lib.charts import Caption, Chart, Mark, plot_dots
from insight_lib.features.exclusion import Exclusions, exclusion_frame
from insight_lib.findings import Prose


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
