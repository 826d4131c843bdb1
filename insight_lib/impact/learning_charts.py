"""What the company learns, as figures."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from insight_lib.charts import Caption, Chart, Mark, plot_bars, plot_dots
from insight_lib.findings import Measured, Prose
from insight_lib.impact.adoption import Adoption
from insight_lib.impact.forecasts import EVERYONE, ForecastRecord
from insight_lib.impact.learning_story import target_words


def chart_forecasts(records: Sequence[ForecastRecord], *, market: str, source: str) -> Chart:
    """How far forecasts lay off, by target, and for the groups where they surely did."""
    biases = [b for r in records for b in (r.total, *r.by_group)]
    shown = [b for b in biases if b.group == EVERYONE or b.stands]
    names = [
        target_words(b.target) if b.group == EVERYONE else f"{target_words(b.target)}, {b.group}"
        for b in shown
    ]
    frame = pd.DataFrame(
        {
            "name": names,
            "off": [b.bias.value for b in shown],
            "lower": [b.bias.lower for b in shown],
            "upper": [b.bias.upper for b in shown],
            "customers": [b.bias.n for b in shown],
        }
    )
    first = biases[0].bias
    leaning = [name for name, b in zip(names, shown, strict=True) if b.stands]
    count, every = (
        Measured(value=len(x), unit="count", n=first.n, as_of=first.as_of)
        for x in (leaning, biases)
    )
    return plot_dots(
        frame,
        caption=Caption(
            id="forecasts",
            title=Prose(
                "{count} of {every} forecasts lean beyond chance", count=count, every=every
            ),
            subtitle=f"How far the forecast lay off, all customers and groups that lean, {market}",
            source=source,
            reading=Prose(
                "To the right of the middle the forecast was too high, to the left too low. The "
                "line is where the true lean very likely lies."
            ),
        ),
        label="name",
        value="off",
        lower="lower",
        upper="upper",
        unit="share",
        n="customers",
        highlight=leaning,
        reference=Mark(at=0.0, text="as it came"),
    )


def chart_adoption(adoption: Adoption, *, market: str, source: str) -> Chart | None:
    """What share of its readings each business unit acts on; None where none may be shown."""
    if not adoption.units:
        return None
    names = [u.unit if u.unit == u.role else f"{u.unit} ({u.role})" for u in adoption.units]
    frame = pd.DataFrame(
        {
            "unit": names,
            "acted": [u.acted_share.value for u in adoption.units],
            "lower": [u.acted_share.lower for u in adoption.units],
            "upper": [u.acted_share.upper for u in adoption.units],
            "readings": [u.acted_share.n for u in adoption.units],
        }
    )
    silent = [name for name, u in zip(names, adoption.units, strict=True) if u.never_acts]
    title = (
        Prose("{who} opens reports and never acts", who=silent[0].capitalize())
        if silent
        else Prose("Every business unit acts on some of what it reads")
    )
    return plot_bars(
        frame,
        caption=Caption(
            id="adoption",
            title=title,
            subtitle=f"Share of readings acted on, last {adoption.quarter_days} days, {market}",
            source=source,
            reading=Prose(
                "A reading is an opened report. The line at the end of a bar is where the true "
                "share very likely lies."
            ),
        ),
        label="unit",
        value="acted",
        lower="lower",
        upper="upper",
        unit="share",
        n="readings",
        highlight=silent,
    )
