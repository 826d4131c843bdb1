"""Which segments answer a campaign, from campaigns drawn by lot, and whether to roll out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from scipy import stats

from insight_lib.charts import Caption, Chart, Mark, plot_dots
from insight_lib.findings import Estimate, TooFew, unit_of_difference
from insight_lib.prose import Name
from insight_lib.statistics import benjamini_hochberg, in_points, minimum_detectable_effect

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from insight_lib.parameter_model import SegmentParameters
    from insight_lib.run import Run
    from insight_lib.segments.groups import Groups

CONTROL = "control"
_MOST_ARMS = 6
_FEWEST_PER_ARM = 30


class Decision(StrEnum):
    """What to do with a campaign in one segment."""

    GO = "go"
    NO_GO = "no-go"
    KEEP_TESTING = "keep testing"


@dataclass(frozen=True, kw_only=True)
class Response:
    """One segment's answer.

    Attributes:
        effect: Treated less control, in the outcome's unit.
        detectable: Smallest effect that this test would have shown.
        n_needed: Customers that would show the smallest effect that matters.
        is_clear: Stands when all segments are tested together.
    """

    segment: str
    effect: Estimate
    control_mean: float
    detectable: float
    n_needed: int
    p_value: float
    is_clear: bool
    decision: Decision


@dataclass(frozen=True, kw_only=True)
class Responsiveness:
    """Every segment's answer to one campaign."""

    campaign_id: str
    responses: tuple[Response, ...]
    left_out: tuple[str, ...]
    smallest_effect_that_matters: float

    def decided(self, decision: Decision) -> tuple[str, ...]:
        """Segments with this decision."""
        return tuple(r.segment for r in self.responses if r.decision is decision)

    @property
    def best(self) -> Response:
        return max(self.responses, key=lambda r: (r.effect.value, r.segment))

    @property
    def base_rate(self) -> float:
        """Mean outcome of those left alone, over the segments."""
        return float(np.mean([r.control_mean for r in self.responses]))


def estimate_responsiveness(
    frame: pd.DataFrame,
    *,
    campaign_id: str,
    unit: str,
    smallest_effect_that_matters: float,
    as_of: date,
    level: float = 0.95,
    power: float = 0.8,
) -> Responsiveness:
    """Effect per segment: difference of means with Welch's interval (Welch, 1947).

    All segments are tested together, holding the false discovery rate (Benjamini and
    Hochberg, 1995). Go: the effect stands and is not surely too small. No-go: surely
    smaller than what matters. Else keep testing.

    Args:
        frame: One row per customer assigned: segment, is_treated, value.
        smallest_effect_that_matters: In the unit of `value`, positive.

    Raises:
        TooFew: No segment has enough customers in both arms.
    """
    rows, left_out = [], []
    for name, members in sorted(frame.groupby("segment")):
        treated = members.loc[members["is_treated"].astype(bool), "value"].to_numpy(dtype=float)
        control = members.loc[~members["is_treated"].astype(bool), "value"].to_numpy(dtype=float)
        if min(len(treated), len(control)) < _FEWEST_PER_ARM:
            left_out.append(str(name))
            continue
        rows.append((str(name), treated, control))
    if not rows:
        raise TooFew(f"no segment has {_FEWEST_PER_ARM} customers in both arms of {campaign_id}")
    measured = [_welch(treated, control, level=level) for _, treated, control in rows]
    clear = benjamini_hochberg([p for *_, p in measured], rate=1 - level)
    responses = []
    for (name, treated, control), (effect, half, p), stands in zip(
        rows, measured, clear, strict=True
    ):
        n = len(treated) + len(control)
        spread = math.sqrt((treated.var(ddof=1) + control.var(ddof=1)) / 2)
        share = len(treated) / n
        detectable = minimum_detectable_effect(
            n, standard_deviation=spread, treated_share=share, level=level, power=power
        )
        responses.append(
            Response(
                segment=name,
                effect=Estimate(
                    value=effect,
                    lower=effect - half,
                    upper=effect + half,
                    unit=unit_of_difference(unit),
                    n=n,
                    as_of=as_of,
                    level=level,
                    method="difference of means (Welch, 1947)",
                ),
                control_mean=float(control.mean()),
                detectable=detectable,
                n_needed=math.ceil(n * (detectable / smallest_effect_that_matters) ** 2),
                p_value=p,
                is_clear=stands,
                decision=_decide(effect, half, stands, smallest_effect_that_matters),
            )
        )
    return Responsiveness(
        campaign_id=campaign_id,
        responses=tuple(responses),
        left_out=tuple(left_out),
        smallest_effect_that_matters=smallest_effect_that_matters,
    )


def _welch(
    treated: Sequence[float] | np.ndarray[tuple[int], np.dtype[np.float64]],
    control: Sequence[float] | np.ndarray[tuple[int], np.dtype[np.float64]],
    *,
    level: float,
) -> tuple[float, float, float]:
    """Difference, half width and two-sided p-value."""
    a, b = np.asarray(treated, dtype=float), np.asarray(control, dtype=float)
    va, vb = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    difference, variance = float(a.mean() - b.mean()), float(va + vb)
    if variance == 0:
        return difference, 0.0, 0.0 if difference else 1.0
    freedom = variance**2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    error = math.sqrt(variance)
    half = float(stats.t.ppf(0.5 + level / 2, freedom)) * error
    return difference, half, float(2 * stats.t.sf(abs(difference) / error, freedom))


def _decide(effect: float, half: float, is_clear: bool, smallest: float) -> Decision:
    if effect + half < smallest:
        return Decision.NO_GO
    if is_clear and effect >= smallest:
        return Decision.GO
    return Decision.KEEP_TESTING


def campaign_frame(
    assignments: pd.DataFrame,
    responses: pd.DataFrame,
    segments: pd.DataFrame,
    *,
    campaign_id: str,
    response_type: str,
) -> pd.DataFrame:
    """Customers of one campaign drawn by lot: segment, is_treated, value (responded or not).

    Args:
        assignments, responses: As in `schema.TABLES`.
        segments: customer_id, segment.

    Raises:
        TooFew: The campaign was not drawn by lot, or kept no control group.
    """
    mine = assignments[assignments["campaign_id"] == campaign_id]
    if mine.empty or not mine["is_randomised"].astype(bool).all():
        raise TooFew(f"{campaign_id} was not drawn by lot")
    is_treated = mine["arm"] != CONTROL
    if is_treated.all() or not is_treated.any():
        raise _no_control(f"{campaign_id} has", mine)
    answered = responses[
        (responses["campaign_id"] == campaign_id) & (responses["response_type"] == response_type)
    ]["customer_id"]
    frame = mine[["customer_id"]].assign(
        is_treated=is_treated, value=mine["customer_id"].isin(set(answered)).astype(float)
    )
    return frame.merge(segments[["customer_id", "segment"]], on="customer_id")


def choose_campaign(assignments: pd.DataFrame) -> str:
    """The campaign drawn by lot, with a control group, that reached most; ties by name.

    Raises:
        TooFew: There is none.
    """
    drawn = assignments[assignments["is_randomised"].astype(bool)]
    n_all = drawn["campaign_id"].value_counts().to_dict()
    control = drawn.loc[drawn["arm"] == CONTROL, "campaign_id"].value_counts().to_dict()
    usable = [c for c in n_all if 0 < control.get(c, 0) < n_all[c]]
    if drawn.empty:
        raise TooFew("no campaign was drawn by lot", takes="a campaign drawn by lot")
    if not usable:
        raise _no_control("campaigns drawn by lot have", drawn)
    return str(min(usable, key=lambda c: (-n_all[c], str(c))))


def _no_control(who: str, drawn: pd.DataFrame) -> TooFew:
    """Nobody guesses which of several arms was left alone: it is asked for by name."""
    arms = sorted({str(arm) for arm in drawn["arm"]})
    shown = ", ".join(arms[:_MOST_ARMS]) + (", …" if len(arms) > _MOST_ARMS else "")
    return TooFew(
        f"{who} no customers apart in an arm called {CONTROL} (arms: {shown})",
        takes=f"the arm that was left alone to be called {CONTROL}",
    )


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Where to roll a campaign out, where not, and where to go on testing, by the groups' names.

    Attributes:
        name, effect: Of the group that answers most.
        frame: segment, effect, lower, upper, customers.
    """

    case: Literal["works", "not proven", "works for nobody"]
    advice: Literal["test and skip", "test", "skip", "every group answers"]
    campaign: Name
    go: tuple[Name, ...]
    keep: tuple[Name, ...]
    no: tuple[Name, ...]
    name: Name
    effect: Estimate
    value: Estimate
    frame: pd.DataFrame
    result: Responsiveness

    def draw(self, caption: Caption) -> Chart:
        """Effect of the campaign by group."""
        return plot_dots(
            self.frame, caption=caption, label="segment", value="effect", lower="lower",
            upper="upper", unit=self.effect.unit, n="customers", highlight=[self.name],
            reference=Mark(at=0.0, text=caption.reference),
        )  # fmt: skip


def responsiveness(
    groups: Groups, assignments: ir.Table, responses: ir.Table, run: Run[SegmentParameters]
) -> Answers:
    """Visits beyond those of the control group, in the campaign drawn by lot that reached most.

    Raises:
        TooFew: No campaign was drawn by lot with a control group, or its groups are too small.
    """
    sent = assignments.to_pandas()
    campaign_id = choose_campaign(sent)
    placed = groups.placed.rename("segment").rename_axis("customer_id").reset_index()
    frame = campaign_frame(
        sent, responses.to_pandas(), placed, campaign_id=campaign_id, response_type="visit"
    )
    result = estimate_responsiveness(
        frame,
        campaign_id=campaign_id,
        unit="share",
        smallest_effect_that_matters=run.parameters.smallest_effect_that_matters,
        power=run.parameters.test_power,
        **run.range,
    )
    return answers_by_name(result, groups.shown)


def answers_by_name(result: Responsiveness, names: Mapping[str, Name]) -> Answers:
    """What a campaign's effects by group come to."""
    go, no, keep = (
        tuple(names[s] for s in result.decided(d))
        for d in (Decision.GO, Decision.NO_GO, Decision.KEEP_TESTING)
    )
    effects = [in_points(r.effect) for r in result.responses]
    return Answers(
        case="works" if go else "not proven" if keep else "works for nobody",
        advice="test and skip"
        if keep and no
        else "test"
        if keep
        else "skip"
        if no
        else "every group answers",
        campaign=Name(result.campaign_id),
        go=go,
        keep=keep,
        no=no,
        name=names[result.best.segment],
        effect=in_points(result.best.effect),
        value=result.best.effect,
        frame=pd.DataFrame(
            {
                "segment": [names[r.segment] for r in result.responses],
                "effect": [e.value for e in effects],
                "lower": [e.lower for e in effects],
                "upper": [e.upper for e in effects],
                "customers": [e.n for e in effects],
            }
        ),
        result=result,
    )
