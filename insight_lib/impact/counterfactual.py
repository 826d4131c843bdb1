"""What would have come without it: three ways, each tried where nothing was done."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize, stats

from insight_lib.findings import UNIT_BOUNDS, Estimate, TooFew
from insight_lib.impact.panel import Panel, placebo_groups
from insight_lib.impact.structural import run_on

Floats = NDArray[np.float64]
Expect = Callable[[Panel], Floats]
_FEWEST_PLACEBOS = 5


@dataclass(frozen=True, kw_only=True)
class Counterfactual:
    """One method's answer.

    Attributes:
        expected: What the treated places would have had, per period.
        effect: Mean of actual less expected over the periods after, per place and period.
        relative: The same as a share of what was expected.
        fit_error: Root mean squared gap before the start.
        placebo_p: Share of pretended treatments, the true one among them, whose gap after
            against the gap before is as large. None where there are too few places.
        smallest_p: The smallest p-value that so many places can give.
        time_p: How rare the gap after the start is among stretches of equal length anywhere in
            time (Chernozhukov, Wüthrich and Zhu, 2021).
        earlier: The effect of a start pretended earlier, when nothing had happened yet, with
            the same interval width; its interval should hold zero.
        leave_one_out: Lowest and highest effect when any one control is left out.
        weights: Share of each control, where the method has them.
    """

    method: str
    expected: pd.Series
    effect: Estimate
    relative: Estimate
    fit_error: float
    placebo_p: float | None
    smallest_p: float
    time_p: float
    earlier: Estimate
    leave_one_out: tuple[float, float]
    weights: pd.Series | None = None

    @property
    def passes_placebo(self) -> bool:
        """Whether nothing was found where nothing was done, earlier in the same places."""
        return not self.earlier.excludes(0)


def expect_parallel(panel: Panel) -> Floats:
    """Difference-in-differences: the controls' mean, moved to the treated's level before."""
    control, treated = panel.series(panel.controls), panel.series(panel.treated)
    before = slice(0, panel.n_before)
    return control + (treated[before].mean() - control[before].mean())


def solve_weights(target: Floats, controls: Floats) -> Floats:
    """Weights, none negative and adding up to one, that follow the target closest.

    Args:
        target: One number per period.
        controls: One column per control.
    """
    scale = max(float(np.abs(target).max()), float(np.abs(controls).max()), 1e-12)
    n = controls.shape[1]
    # The sum is one heavy row of a least squares without negatives (Haskell, Hanson, 1981).
    heavy = 1e4 * math.sqrt(len(target))
    a = np.vstack([controls / scale, np.full((1, n), heavy)])
    b = np.append(target / scale, heavy)
    weights, _ = optimize.nnls(a, b, maxiter=100 * n)
    return np.asarray(weights / weights.sum(), dtype=float)


def synthetic_weights(panel: Panel, *, is_centred: bool) -> Floats:
    """Synthetic control on the outcomes before (Abadie, Diamond and Hainmueller, 2010).

    Args:
        is_centred: Follow movements and not levels, for treated places that no mix of
            controls can reach (Doudchenko and Imbens, 2016; Ferman and Pinto, 2021).
    """
    before = slice(0, panel.n_before)
    controls = panel.outcome[list(panel.controls)].to_numpy(dtype=float)[before]
    target = panel.series(panel.treated)[before]
    if is_centred:
        controls, target = controls - controls.mean(axis=0), target - target.mean()
    return solve_weights(target, controls)


def expect_synthetic(panel: Panel, *, is_centred: bool) -> Floats:
    """The weighted controls, moved to the treated's level if centred."""
    weights = synthetic_weights(panel, is_centred=is_centred)
    mixed = panel.outcome[list(panel.controls)].to_numpy(dtype=float) @ weights
    if not is_centred:
        return np.asarray(mixed, dtype=float)
    before = slice(0, panel.n_before)
    shift = panel.series(panel.treated)[before].mean() - mixed[before].mean()
    return np.asarray(mixed + shift, dtype=float)


def estimate_counterfactual(
    panel: Panel,
    expect: Expect,
    *,
    method: str,
    unit: str,
    as_of: date,
    seed: int,
    level: float = 0.95,
) -> Counterfactual:
    """One method with its placebos in space and time, and each control left out once.

    The interval takes its width from the controls: the method is run on each (or each group
    as large as the treated one) as if it had been treated, and what it finds there is error
    (Arkhangelsky et al., 2021, algorithm 4), with a t distribution for their number. Places
    move in proportion to their level, so the range is built for the logarithm of what came over
    what was expected; as a sum where one of them is not above zero.

    Raises:
        TooFew: Fewer than three controls, so that none can be held against the others.
    """
    if len(panel.controls) < len(panel.treated) + 2:
        raise TooFew(
            f"{len(panel.controls)} places to compare with; "
            f"it takes {len(panel.treated) + 2} to know the error"
        )
    actual = panel.series(panel.treated)
    expected = expect(panel)
    groups = placebo_groups(panel, seed=seed)
    pretended = [panel.pretend(group) for group in groups]
    gaps = [p.series(p.treated) - expect(p) for p in pretended]
    n = panel.n_before
    error = math.sqrt(float(np.mean([np.square(g[n:].mean()) for g in gaps])))
    freedom = min(len(groups), len(panel.controls) - 1)
    half = float(stats.t.ppf(0.5 + level / 2, freedom)) * error
    value = float((actual - expected)[n:].mean())
    after = float(expected[n:].mean())

    def measured(value: float, half: float, unit: str, per: float = after) -> Estimate:
        lowest = UNIT_BOUNDS.get(unit, (-math.inf, math.inf))[0]
        if value < lowest:
            raise TooFew("less is left than nothing, so there is no relative change")
        grown = 1 + value / per if per else 0.0
        if grown > 0 and per > 0:
            # What moves a place moves it in proportion: as much as was added moves along.
            lower, upper = (per * (grown * math.exp(d / per) - 1) for d in (-half, half))
        else:
            lower, upper = value - half, value + half
        return Estimate(
            value=value,
            lower=max(lower, lowest),
            upper=upper,
            unit=unit,
            n=len(panel.outcome.columns),
            as_of=as_of,
            level=level,
            method=f"{method}; width from untreated places (Arkhangelsky et al., 2021)",
        )

    early = panel.earlier(min(panel.n_after, n // 3))
    early_expected = expect(early)
    early_gap = early.series(early.treated) - early_expected
    early_pretended = [early.pretend(group) for group in groups]
    early_errors = [
        (p.series(p.treated) - expect(p))[early.n_before :].mean() for p in early_pretended
    ]
    early_half = float(stats.t.ppf(0.5 + level / 2, freedom)) * math.sqrt(
        float(np.mean(np.square(early_errors)))
    )
    ratios = [_after_against_before(g, n) for g in gaps]
    own = _after_against_before(actual - expected, n)
    left_out = []
    for place in panel.controls:
        rest = panel.without(place)
        left_out.append(float((actual - expect(rest))[n:].mean()))
    return Counterfactual(
        method=method,
        expected=pd.Series(expected, index=panel.outcome.index, name="expected"),
        effect=measured(value, half, unit),
        relative=measured(value / after, half / abs(after), "change", per=1.0),
        fit_error=math.sqrt(float(np.square((actual - expected)[:n]).mean())),
        placebo_p=(
            (1 + sum(r >= own for r in ratios)) / (1 + len(ratios))
            if len(ratios) >= _FEWEST_PLACEBOS
            else None
        ),
        smallest_p=1 / (1 + len(ratios)),
        time_p=_time_p(panel, expect),
        earlier=measured(
            float(early_gap[early.n_before :].mean()),
            early_half,
            unit,
            per=float(early_expected[early.n_before :].mean()),
        ),
        leave_one_out=(min(left_out), max(left_out)),
    )


def _time_p(panel: Panel, expect: Expect) -> float:
    """Conformal p-value of no effect: fit on all periods, shift the gaps in time as a block."""
    whole = panel.whole()
    gap = np.abs(whole.series(whole.treated) - expect(whole))
    n_after = panel.n_after
    stretches = [np.roll(gap, shift)[-n_after:].mean() for shift in range(len(gap))]
    return float(np.mean([s >= stretches[0] - 1e-12 for s in stretches]))


def _after_against_before(gap: Floats, n_before: int) -> float:
    """Ratio of root mean squared gaps, after to before (Abadie et al., 2010)."""
    before = float(np.square(gap[:n_before]).mean())
    return math.sqrt(float(np.square(gap[n_before:]).mean()) / max(before, 1e-12))


@dataclass(frozen=True, kw_only=True)
class EventStudy:
    """Gap between treated and controls in each period, against the last one before the start.

    Attributes:
        table: period, gap, lower, upper, is_before.
        trend_p: How rare the slope of the gap before the start is among untreated places.
    """

    table: pd.DataFrame
    slope: float
    trend_p: float

    @property
    def is_parallel(self) -> bool:
        return self.trend_p >= 0.1


def estimate_event_study(panel: Panel, *, seed: int, level: float = 0.95) -> EventStudy:
    """Did treated and controls move alike before, and since when do they not?

    The band and the test of the slope before come from untreated places in turn, as lone
    treated places give no error of their own.
    """

    def gap(p: Panel) -> Floats:
        difference = p.series(p.treated) - p.series(p.controls)
        return np.asarray(difference - difference[: p.n_before].mean(), dtype=float)

    own = gap(panel)
    others = np.array([gap(panel.pretend(g)) for g in placebo_groups(panel, seed=seed)])
    n = panel.n_before
    time = np.arange(n) - (n - 1) / 2

    def slope(series: Floats) -> float:
        return float(time @ series[:n] / (time @ time))

    freedom = min(len(others), len(panel.controls) - 1)
    error = np.sqrt(np.square(others).mean(axis=0))
    half = float(stats.t.ppf(0.5 + level / 2, freedom)) * error
    slopes = [slope(o) for o in others]
    spread = math.sqrt(float(np.mean(np.square(slopes))))
    trend_p = float(2 * stats.t.sf(abs(slope(own)) / spread, freedom)) if spread else 1.0
    table = pd.DataFrame(
        {
            "period": panel.outcome.index,
            "gap": own,
            "lower": own - half,
            "upper": own + half,
            "is_before": np.arange(len(own)) < n,
        }
    )
    return EventStudy(table=table, slope=slope(own), trend_p=trend_p)


def expect_structural(panel: Panel) -> Floats:
    """A level that walks, led by the controls' mean and their synthetic mix.

    After Brodersen et al. (2015, Annals of Applied Statistics), with maximum likelihood.
    """
    n = panel.n_before
    leads = np.column_stack(
        [panel.series(panel.controls), expect_synthetic(panel, is_centred=True)]
    )
    return run_on(panel.series(panel.treated)[:n], leads)


def estimate_structural(
    panel: Panel, *, unit: str, as_of: date, seed: int, level: float = 0.95
) -> Counterfactual:
    """A structural time series of the treated places, fitted before the start and run on.

    Its own model would give a range too narrow: it takes for granted that the leads keep their
    worth after the start, and one lead was mixed to follow these very periods. So the width
    comes from untreated places here too, where that is put to the test.

    Raises:
        TooFew: Fewer than twelve periods before the start, or too few controls.
    """
    if panel.n_before < 12:
        raise TooFew(f"{panel.n_before} periods before the start; a series takes twelve")
    return estimate_counterfactual(
        panel,
        expect_structural,
        method="structural time series",
        unit=unit,
        as_of=as_of,
        seed=seed,
        level=level,
    )


@dataclass(frozen=True, kw_only=True)
class SideBySide:
    """The methods' answers, and whether they tell the same story.

    Attributes:
        agree: Every method's middle lies in every other's interval.
        trusted: Methods that found nothing where nothing was done.
    """

    answers: tuple[Counterfactual, ...]
    agree: bool

    @property
    def trusted(self) -> tuple[Counterfactual, ...]:
        return tuple(a for a in self.answers if a.passes_placebo)


def compare(*answers: Counterfactual) -> SideBySide:
    """Set methods side by side; they agree where none excludes another's middle."""
    agree = all(not a.effect.excludes(b.effect.value) for a in answers for b in answers)
    return SideBySide(answers=answers, agree=agree)


def estimate_all(
    panel: Panel, *, unit: str, as_of: date, seed: int, level: float = 0.95, is_centred: bool = True
) -> SideBySide:
    """Difference-in-differences, synthetic control and structural series on the same places."""
    from dataclasses import replace

    common: dict[str, Any] = {"unit": unit, "as_of": as_of, "seed": seed, "level": level}
    mixed = estimate_counterfactual(
        panel,
        lambda p: expect_synthetic(p, is_centred=is_centred),
        method="synthetic control",
        **common,
    )
    weights = pd.Series(
        synthetic_weights(panel, is_centred=is_centred), index=list(panel.controls), name="weight"
    )
    return compare(
        estimate_counterfactual(
            panel, expect_parallel, method="difference-in-differences", **common
        ),
        replace(mixed, weights=weights.sort_values(ascending=False, kind="stable")),
        estimate_structural(panel, **common),
    )
