"""Places over time: what came after a day, in places that were treated and places that were not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from insight_lib.findings import TooFew

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Panel:
    """Outcomes of places by period.

    Attributes:
        outcome: One row per period in order, one column per place, no gaps.
        treated: Columns that were treated.
        start: First treated period.
    """

    outcome: pd.DataFrame
    treated: tuple[str, ...]
    start: Any

    @property
    def controls(self) -> tuple[str, ...]:
        return tuple(c for c in self.outcome.columns if c not in self.treated)

    @property
    def n_before(self) -> int:
        return int((self.outcome.index < self.start).sum())

    @property
    def n_after(self) -> int:
        return len(self.outcome) - self.n_before

    def series(self, places: tuple[str, ...]) -> Floats:
        """Mean over `places`, per period."""
        return self.outcome[list(places)].to_numpy(dtype=float).mean(axis=1)

    def without(self, place: str) -> Panel:
        """The same panel without one control."""
        return Panel(self.outcome.drop(columns=place), self.treated, self.start)

    def pretend(self, places: tuple[str, ...]) -> Panel:
        """Pretend that `places` were treated; the places really treated leave the panel."""
        return Panel(self.outcome.drop(columns=list(self.treated)), places, self.start)

    def whole(self) -> Panel:
        """Pretend that nothing has begun yet: every period is one before."""
        outcome = self.outcome.reset_index(drop=True)
        return Panel(outcome, self.treated, len(outcome))

    def earlier(self, n_periods: int) -> Panel:
        """Pretend that it began `n_periods` sooner, with nothing seen since the true start."""
        before = self.outcome[self.outcome.index < self.start]
        return Panel(before, self.treated, before.index[len(before) - n_periods])


def make_panel(
    frame: pd.DataFrame,
    *,
    place: str,
    period: str,
    outcome: str,
    treated: tuple[str, ...],
    start: Any,
    fewest_before: int = 8,
    fewest_controls: int = 2,
) -> Panel:
    """Lay places side by side.

    Args:
        frame: One row per place and period.

    Raises:
        TooFew: A treated place is missing, too few controls, periods before, or none after.
        ValueError: A place lacks a period, or has one twice; names the first.
    """
    wide = frame.pivot(index=period, columns=place, values=outcome).sort_index()
    wide.columns = [str(c) for c in wide.columns]
    if missing := sorted(set(treated) - set(wide.columns)):
        raise TooFew(f"no data for {', '.join(missing)}")
    if wide.isna().any(axis=None):
        row, column = np.argwhere(wide.isna().to_numpy())[0]
        when, where = wide.index[row], wide.columns[column]
        raise ValueError(f"{where} has no {outcome} in {when}; fill the gap or drop the place")
    panel = Panel(wide.astype(float), tuple(sorted(treated)), start)
    if len(panel.controls) < fewest_controls:
        raise TooFew(f"{len(panel.controls)} places to compare with; it takes {fewest_controls}")
    if panel.n_before < fewest_before:
        raise TooFew(f"{panel.n_before} periods before the start; it takes {fewest_before}")
    if panel.n_after < 1:
        raise TooFew("no period after the start yet")
    return panel


def placebo_groups(panel: Panel, *, seed: int, most: int = 200) -> list[tuple[str, ...]]:
    """Groups of controls as many as were treated: every one, or `most` of them by lot."""
    from itertools import combinations
    from math import comb

    size = len(panel.treated)
    if comb(len(panel.controls), size) <= most:
        return list(combinations(panel.controls, size))
    rng = np.random.default_rng(seed)
    drawn = {
        tuple(sorted(rng.choice(panel.controls, size, replace=False).tolist())) for _ in range(most)
    }
    return sorted(drawn)
