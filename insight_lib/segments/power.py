"""How small an effect a segment can show, and which segments are too small to stand alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from insight_lib.findings import Measured, TooFew
from insight_lib.prose import Name
from insight_lib.statistics import in_points, minimum_detectable_effect

if TYPE_CHECKING:
    import pandas as pd

    from insight_lib.parameter_model import SegmentParameters
    from insight_lib.run import Run
    from insight_lib.segments.groups import Groups
    from insight_lib.segments.responsiveness import Answers


@dataclass(frozen=True, kw_only=True)
class SegmentPower:
    """What one segment can show: its customers and the smallest effect on the response rate."""

    segment: str
    n_customers: int
    detectable: Measured
    is_enough: bool


@dataclass(frozen=True, kw_only=True)
class Merge:
    """A segment that cannot stand alone, and the one that it goes to."""

    segment: str
    into: str
    n_customers: int


@dataclass(frozen=True, kw_only=True)
class PowerPlan:
    """Every segment's power, and the merges after which every segment has enough.

    Attributes:
        merged: Final name of each segment.
        after: Power of what is left.
    """

    before: tuple[SegmentPower, ...]
    merges: tuple[Merge, ...]
    merged: Mapping[str, str]
    after: tuple[SegmentPower, ...]
    smallest_effect_that_matters: float


def plan_by_power(
    sizes: Mapping[str, int],
    centres: Mapping[str, NDArray[np.float64]],
    *,
    base_rate: float,
    smallest_effect_that_matters: float,
    as_of: date,
    treated_share: float = 0.5,
    level: float = 0.95,
    power: float = 0.8,
) -> PowerPlan:
    """Merge segments until each can show the smallest effect that matters.

    The smallest segment without enough power goes to the nearest by centre; ties by name.

    Args:
        sizes: Customers per segment.
        centres: Place of each segment, for "nearest"; a merged one stands at the mean.
        base_rate: Response rate without a campaign, 0-1.
        smallest_effect_that_matters: As a difference of rates, 0-1.
    """

    def measure(name: str, n: int) -> SegmentPower:
        spread = math.sqrt(base_rate * (1 - base_rate))
        try:
            effect = minimum_detectable_effect(
                n,
                standard_deviation=spread,
                treated_share=treated_share,
                level=level,
                power=power,
            )
        except TooFew:
            effect = math.inf
        return SegmentPower(
            segment=name,
            n_customers=n,
            detectable=Measured(value=min(effect, 1.0), unit="difference", n=n, as_of=as_of),
            is_enough=effect <= smallest_effect_that_matters,
        )

    left = dict(sizes)
    place = {name: np.asarray(centre, dtype=float) for name, centre in centres.items()}
    final = {name: name for name in sizes}
    merges: list[Merge] = []
    while len(left) > 1:
        weak = [n for n, size in left.items() if not measure(n, size).is_enough]
        if not weak:
            break
        name = min(weak, key=lambda n: (left[n], n))
        into = min(
            (n for n in left if n != name),
            key=lambda n: (float(np.linalg.norm(place[n] - place[name])), n),
        )
        merges.append(Merge(segment=name, into=into, n_customers=left[name]))
        total = left[into] + left[name]
        place[into] = (place[into] * left[into] + place[name] * left[name]) / total
        left[into] = total
        del left[name]
        final = {original: into if now == name else now for original, now in final.items()}
    return PowerPlan(
        before=tuple(measure(name, sizes[name]) for name in sorted(sizes)),
        merges=tuple(merges),
        merged=final,
        after=tuple(measure(name, left[name]) for name in sorted(left)),
        smallest_effect_that_matters=smallest_effect_that_matters,
    )


@dataclass(frozen=True, kw_only=True)
class Power:
    """Which groups can carry a test of their own.

    Attributes:
        weak: Groups that cannot.
        pairs: Groups that can only together.
        detectable: What the weakest group can show.
    """

    case: Literal["enough", "together", "too few"]
    weak: tuple[Name, ...]
    pairs: tuple[Name, ...]
    smallest_effect: Measured
    detectable: Measured
    value: Measured


def power(
    groups: Groups,
    described: pd.DataFrame,
    run: Run[SegmentParameters],
    responsiveness: Answers | None = None,
) -> Power:
    """Whether each group shows the smallest effect that matters in a test of its own.

    The base rate is that of the control group of the last campaign, else the share of customers
    who ordered lately.
    """
    base = (
        responsiveness.result.base_rate
        if responsiveness is not None
        else float((described["n_orders_recent"] > 0).mean())
    )
    plan = plan_by_power(
        {s: groups.sizes[s] for s in groups.names},
        {s: groups.means.loc[s].to_numpy() for s in groups.names},
        base_rate=base,
        smallest_effect_that_matters=run.parameters.smallest_effect_that_matters,
        power=run.parameters.test_power,
        **run.range,
    )
    return power_by_name(plan, groups.names, as_of=run.as_of)


def power_by_name(plan: PowerPlan, names: Mapping[str, Name], *, as_of: date) -> Power:
    """What a plan by power comes to."""
    weak = [p for p in plan.before if not p.is_enough]
    worst = max(plan.before, key=lambda p: (p.detectable.value, p.segment))
    is_mended = all(p.is_enough for p in plan.after)
    smallest = Measured(
        value=plan.smallest_effect_that_matters,
        unit="share",
        n=sum(p.n_customers for p in plan.before),
        as_of=as_of,
    )
    return Power(
        case="enough" if not weak else "together" if is_mended else "too few",
        weak=tuple(names[p.segment] for p in weak),
        pairs=tuple(Name(f"{names[m.segment]} + {names[m.into]}") for m in plan.merges),
        smallest_effect=in_points(smallest),
        detectable=in_points(worst.detectable),
        value=worst.detectable,
    )
