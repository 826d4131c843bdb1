"""Whether a few customers carry a result, or bring its noise."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

import numpy as np
import pandas as pd

from insight_lib.impact.effects import Effect, Metric, estimate_capped_effect, estimate_effect

_HALF = 0.5


class Hold(StrEnum):
    """What the largest spenders do to a result."""

    CARRIED = "carried by a few"
    NOISE = "a few bring the noise"
    STEADY = "no few carry it"


@dataclass(frozen=True, kw_only=True)
class Influence:
    """The change as it stands, and with the largest values cut to a cap.

    Attributes:
        few_share: Part of the change that lies above the cap; above 1 if the rest falls.
        n_cut: Customers whose value was cut.
    """

    plain: Effect
    capped: Effect
    few_share: float
    n_cut: int

    @property
    def hold(self) -> Hold:
        """Sizes and ranges are compared, and not signs.

        A few carry the result where more than half of the change lies above the cap and the
        change is either sure or too large for the range without them. Where the change is not
        sure with them and sure without, they bring the noise.
        """
        plain, capped = self.plain.change, self.capped.change
        if carries_all(self):
            return Hold.CARRIED
        is_most = self.few_share > _HALF
        if is_most and (plain.excludes(0) or capped.excludes(plain.value)):
            return Hold.CARRIED
        if not plain.excludes(0) and capped.excludes(0):
            return Hold.NOISE
        return Hold.STEADY


def measure_influence(
    frame: pd.DataFrame,
    metric: Metric,
    *,
    arm: str,
    as_of: date,
    seed: int,
    top: float = 0.01,
    level: float = 0.95,
) -> Influence:
    """Set the effect beside the one with the largest `top` share of values cut (Dixon, 1960).

    Whether dropping a handful of rows overturns a result is asked after Broderick, Giordano
    and Meager (2020, "An automatic finite-sample robustness metric"), in its simplest form.

    Raises:
        TooFew: An arm has fewer than thirty customers, or nobody spent anything.
    """
    plain = estimate_effect(frame, metric, arm=arm, as_of=as_of, seed=seed, level=level)
    values = frame[metric.column].to_numpy(dtype=float)
    cap = float(np.quantile(values, 1 - top))
    n_cut = int((values > cap).sum())
    if np.unique(np.minimum(values, cap)).size < 2:
        # Fewer customers than the cap cuts are all there is.
        return Influence(plain=plain, capped=plain, few_share=1.0, n_cut=n_cut)
    capped = estimate_capped_effect(
        frame, metric, arm=arm, as_of=as_of, seed=seed, top=top, level=level
    )
    change = plain.change.value
    few = (change - capped.change.value) / change if change else 0.0
    return Influence(plain=plain, capped=capped, few_share=few, n_cut=n_cut)


def carries_all(influence: Influence) -> bool:
    """Whether nothing at all is left without the few."""
    return influence.capped is influence.plain
