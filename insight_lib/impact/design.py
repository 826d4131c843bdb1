"""Before the test: how many customers, how long, and what it can show; and whether it ran fair."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from insight_lib.findings import UNIT_BOUNDS, Measured, TooFew
from insight_lib.statistics import (
    benjamini_hochberg,
    customers_needed,
    minimum_detectable_effect,
)

Floats = NDArray[np.float64]
# Below this a mismatch is a fault of the lottery or of the log, not chance: usual practice
# (Fabijan et al., 2019, KDD) is stricter; ours also warns.
_SURE_MISMATCH = 0.001
_WARN_MISMATCH = 0.01


@dataclass(frozen=True, kw_only=True)
class Design:
    """What a test of this size can show, and what a test of the smallest effect takes.

    Attributes:
        detectable: Smallest effect that a test of `n_customers` shows at `power`.
        n_needed: Customers, all arms together, that show the smallest effect that matters.
        weeks_needed: Weeks to gather them at the pace of new customers a week; whole weeks,
            so that every weekday counts alike. None where the pace is unknown.
    """

    n_customers: int
    detectable: Measured
    n_needed: int
    weeks_needed: int | None
    smallest_effect_that_matters: float
    power: float
    is_enough: bool


def plan_test(
    *,
    standard_deviation: float,
    n_customers: int,
    smallest_effect_that_matters: float,
    unit: str,
    as_of: date,
    treated_share: float = 0.5,
    customers_per_week: float | None = None,
    level: float = 0.95,
    power: float = 0.8,
) -> Design:
    """Size a two-armed test (Cohen, 1988; two-sided, normal).

    Args:
        standard_deviation: Of the metric between customers; sqrt(p (1 - p)) for a share.

    Raises:
        TooFew: No customers, an arm without any, so few that no change there can be would show,
            or a metric that does not differ between customers, so that nothing says how much
            chance moves it.
    """
    if not standard_deviation > 0:
        raise TooFew("customers do not differ in it, so that nothing says what chance can do")
    size = {
        "standard_deviation": standard_deviation,
        "treated_share": treated_share,
        "level": level,
        "power": power,
    }
    detectable = minimum_detectable_effect(n_customers, **size)
    if detectable > UNIT_BOUNDS.get(unit, (-math.inf, math.inf))[1]:
        raise TooFew(f"{n_customers} customers would not even show that all of them change")
    needed = customers_needed(smallest_effect_that_matters, **size)
    return Design(
        n_customers=n_customers,
        detectable=Measured(value=detectable, unit=unit, n=n_customers, as_of=as_of),
        n_needed=needed,
        weeks_needed=math.ceil(needed / customers_per_week) if customers_per_week else None,
        smallest_effect_that_matters=smallest_effect_that_matters,
        power=power,
        is_enough=detectable <= smallest_effect_that_matters,
    )


def pooled_deviation(ordered: Floats, *, level: float = 0.95) -> float:
    """Standard deviation of a share between customers, both arms taken together.

    Where nobody or everybody did it, from the Wilson bound (1927) nearest to one half: a share
    that was not seen to differ from nothing may still not be nothing.
    """
    n, share = len(ordered), float(np.mean(ordered)) if len(ordered) else 0.0
    if n and share in (0.0, 1.0):
        z2 = float(stats.norm.ppf(0.5 + level / 2)) ** 2
        share = z2 / (n + z2)
    return math.sqrt(share * (1 - share))


@dataclass(frozen=True, kw_only=True)
class NextTest:
    """What the next test takes in this market, for one metric.

    Attributes:
        metric_name: In words, as it stands in a sentence.
        design: Its size; `detectable` is what a test of `n_in_time` customers shows.
        n_available: Customers who could be drawn today.
        customers_per_week: New ones a week.
        n_in_time: Customers who enter early enough for the longest test allowed.
        weeks: To gather the customers and then let the window pass; None if longer than allowed.
        longest_weeks: Allowed.
    """

    metric_name: str
    design: Design
    n_available: int
    customers_per_week: float
    n_in_time: int
    weeks: int | None
    longest_weeks: int


def remaining_deviation(values: Floats, before: Floats) -> float:
    """Standard deviation between customers once the pre-period is taken out (CUPED)."""
    spread = float(values.std(ddof=1))
    if spread == 0 or before.std() == 0:
        return spread
    return spread * math.sqrt(max(0.0, 1 - float(np.corrcoef(values, before)[0, 1]) ** 2))


def plan_next_test(
    *,
    metric_name: str,
    standard_deviation: float,
    smallest_effect_that_matters: float,
    unit: str,
    as_of: date,
    n_available: int,
    customers_per_week: float,
    window_days: int,
    longest_weeks: int,
    level: float = 0.95,
    power: float = 0.8,
) -> NextTest:
    """Size the next test from the customers there are and those who come.

    Args:
        standard_deviation: Of the metric between customers, with what the pre-period foretells
            taken out.
        window_days: In which outcomes are counted, from each customer's entry.

    Raises:
        TooFew: Fewer than two customers can have entered in time.
    """
    window_weeks = math.ceil(window_days / 7)
    entering_weeks = max(0, longest_weeks - window_weeks)
    n_in_time = n_available + math.floor(customers_per_week * entering_weeks)
    design = plan_test(
        standard_deviation=standard_deviation,
        n_customers=n_in_time,
        smallest_effect_that_matters=smallest_effect_that_matters,
        unit=unit,
        as_of=as_of,
        level=level,
        power=power,
    )
    missing = max(0, design.n_needed - n_available)
    weeks = None
    if missing == 0:
        weeks = window_weeks
    elif customers_per_week > 0:
        weeks = math.ceil(missing / customers_per_week) + window_weeks
    return NextTest(
        metric_name=metric_name,
        design=design,
        n_available=n_available,
        customers_per_week=customers_per_week,
        n_in_time=n_in_time,
        weeks=weeks if weeks is not None and weeks <= longest_weeks else None,
        longest_weeks=longest_weeks,
    )


@dataclass(frozen=True, kw_only=True)
class SampleRatio:
    """Customers per arm against the plan.

    Attributes:
        p_value: Of a chi-square test that chance alone made the arms this unequal.
    """

    counts: Mapping[str, int]
    planned: Mapping[str, float]
    p_value: float

    @property
    def is_warning(self) -> bool:
        return self.p_value < _WARN_MISMATCH

    @property
    def is_broken(self) -> bool:
        return self.p_value < _SURE_MISMATCH


def check_sample_ratio(
    counts: Mapping[str, int], planned: Mapping[str, float] | None = None
) -> SampleRatio:
    """Are the arms as large as they were meant to be (chi-square; Fabijan et al., 2019).

    Args:
        counts: Customers seen per arm.
        planned: Share per arm, adding up to one; equal if not given.

    Raises:
        ValueError: Planned arms and seen arms differ, or the shares do not add up to one.
        TooFew: Fewer than five customers expected in an arm.
    """
    shares = dict(planned) if planned else dict.fromkeys(counts, 1 / len(counts))
    if set(shares) != set(counts) or not math.isclose(sum(shares.values()), 1.0):
        raise ValueError(f"planned shares {shares} do not fit the arms {sorted(counts)}")
    names = sorted(counts)
    seen = np.array([counts[name] for name in names], dtype=float)
    expected = seen.sum() * np.array([shares[name] for name in names])
    if expected.min() < 5:
        raise TooFew(f"{int(seen.sum())} customers over {len(names)} arms")
    p = float(stats.chisquare(seen, expected).pvalue)
    return SampleRatio(counts=dict(counts), planned=shares, p_value=p)


@dataclass(frozen=True, kw_only=True)
class Balance:
    """What the arms looked like before anything was done.

    Attributes:
        table: column, arm, gap (standardised mean difference), p_value, is_clear.
    """

    table: pd.DataFrame

    @property
    def unbalanced(self) -> tuple[str, ...]:
        return tuple(sorted(set(self.table.loc[self.table["is_clear"], "column"])))


def check_balance(frame: pd.DataFrame, columns: Sequence[str], *, level: float = 0.95) -> Balance:
    """Compare arms on what was known before, all columns judged together.

    Args:
        frame: One row per customer: `arm` and `columns`, known before the assignment.
    """
    rows = []
    control = frame[frame["arm"] == "control"]
    for arm in sorted(set(frame["arm"]) - {"control"}):
        for column in columns:
            a = frame.loc[frame["arm"] == arm, column].to_numpy(dtype=float)
            b = control[column].to_numpy(dtype=float)
            spread = math.sqrt((a.var() + b.var()) / 2)
            gap = float(a.mean() - b.mean()) / spread if spread else 0.0
            p = float(stats.ttest_ind(a, b, equal_var=False).pvalue) if spread else 1.0
            rows.append((column, arm, gap, p))
    table = pd.DataFrame(rows, columns=["column", "arm", "gap", "p_value"])
    table["is_clear"] = benjamini_hochberg(list(table["p_value"]), rate=1 - level)
    return Balance(table=table)


@dataclass(frozen=True, kw_only=True)
class Attrition:
    """Share of each arm that cannot be followed to the end; unequal shares bias the test."""

    shares: Mapping[str, float]
    p_value: float

    @property
    def is_warning(self) -> bool:
        return self.p_value < _WARN_MISMATCH


def check_attrition(frame: pd.DataFrame) -> Attrition:
    """Did as many go missing in every arm (chi-square test of independence).

    Args:
        frame: One row per customer assigned: `arm` and `is_followed`.
    """
    table = pd.crosstab(frame["arm"], frame["is_followed"].astype(bool))
    p = 1.0 if table.shape[1] < 2 else float(stats.chi2_contingency(table, correction=False)[1])
    shares = 1 - frame.groupby("arm")["is_followed"].mean()
    return Attrition(shares={str(k): float(v) for k, v in shares.items()}, p_value=p)
