"""Small tables of aggregates, the only thing that crosses a market's border."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from insight_lib.lake.store import write_atomically

if TYPE_CHECKING:
    import pandas as pd


def write_aggregate(lake: Path, name: str, market: str, as_of: date, frame: pd.DataFrame) -> None:
    """Keep what a market gives on a day; once more on the same day replaces it."""
    content = {
        "market": market,
        "as_of": as_of.isoformat(),
        "rows": json.loads(frame.to_json(orient="records", double_precision=12)),
    }
    folder = lake / "_aggregates" / name / market
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / f"{as_of.isoformat()}.json", json.dumps(content, indent=1))


def read_aggregates(
    lake: Path, name: str, markets: Collection[str], *, until: date
) -> pd.DataFrame:
    """What each of `markets` gave last, by a day: market, as_of, and its columns."""
    import pandas as pd

    rows = []
    for folder in sorted((lake / "_aggregates" / name).glob("*")):
        days = [p for p in sorted(folder.glob("*.json")) if p.stem <= until.isoformat()]
        if folder.name in markets and days:
            content = json.loads(days[-1].read_text())
            head = {"market": content["market"], "as_of": content["as_of"]}
            rows += [head | row for row in content["rows"]]
    return pd.DataFrame(rows)
