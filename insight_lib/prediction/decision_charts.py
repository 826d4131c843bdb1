"""Who is scored by what, and what waits: in figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import pandas as pd

from insight_lib.charts import Caption, Chart, plot_bars
from insight_lib.findings import Measured, Prose
from insight_lib.prediction.chain import Scored
from insight_lib.prediction.review import Split

_STATES = {"released": "may leave", "queue": "wait for a person", "rejected": "rejected"}
_RUNGS = {"local": "own model", "pooled": "other markets", "rule": "rule of thumb"}


def chart_rungs(
    scored: Sequence[Scored],
    titles: Mapping[str, str],
    *,
    minimum_cell_size: int,
    market: str,
    source: str,
    as_of: date,
) -> Chart | None:
    """Share of customers by question and rung; nothing if every customer has the same rung."""
    rows = [
        {
            "label": f"{titles[one.target]}: {_RUNGS[rung]}",
            "share": count / len(one.log),
            "customers": count,
            "is_local": rung == "local",
        }
        for one in scored
        for rung, count in one.counts.items()
        if count >= minimum_cell_size
    ]
    frame = pd.DataFrame(rows, columns=["label", "share", "customers", "is_local"])
    if frame.empty or frame["is_local"].all():
        return None
    n = sum(len(one.log) for one in scored)
    local = sum(one.counts.get("local", 0) for one in scored)
    return plot_bars(
        frame,
        caption=Caption(
            id="rungs",
            title=Prose(
                "{share} of scores come from the market's own models",
                share=Measured(value=local / n, unit="share", n=n, as_of=as_of),
            ),
            subtitle=f"Share of customers by question and by what scores them, {market}",
            source=source,
            reading=Prose("The own model scores first; the others score whom it cannot."),
        ),
        label="label",
        value="share",
        unit="share",
        n="customers",
        highlight=frame.loc[frame["is_local"], "label"].tolist() or ["none"],
        is_sorted=False,
    )


def chart_stakes(
    split: Split, *, minimum_cell_size: int, currency: str, market: str, source: str, as_of: date
) -> Chart | None:
    """Expected amount at stake by what happens to the scores; nothing if none waits."""
    rows = []
    for name, label in _STATES.items():
        frame: pd.DataFrame = getattr(split, name)
        amounts = frame["stakes_amount"].abs().dropna()
        if len(amounts) >= minimum_cell_size:
            rows.append({"label": label, "amount": float(amounts.sum()), "scores": len(amounts)})
    table = pd.DataFrame(rows, columns=["label", "amount", "scores"])
    waiting = table[table["label"] == _STATES["queue"]]
    if waiting.empty:
        return None
    n = int(table["scores"].sum())
    share = float(waiting["amount"].iloc[0] / table["amount"].sum())
    return plot_bars(
        table,
        caption=Caption(
            id="stakes",
            title=Prose(
                "{share} of what is at stake waits for a person",
                share=Measured(value=share, unit="share", n=n, as_of=as_of),
            ),
            subtitle=f"Expected amount behind the scores, {market}",
            source=source,
            reading=Prose("Few scores can hold much of the amount: those a person looks at."),
        ),
        label="label",
        value="amount",
        unit=currency,
        n="scores",
        highlight=[_STATES["queue"]],
    )
