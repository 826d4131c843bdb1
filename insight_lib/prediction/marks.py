"""How the watched models did on days whose outcomes came, and what to expect of today."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeVar

import pandas as pd

from insight_lib.analyses import Missing, attempted
from insight_lib.charts import Caption, Chart, Mark, plot_line
from insight_lib.findings import Estimate, Measured
from insight_lib.prediction.performance import (
    AmountPerformance,
    ExpectedPerformance,
    Figure,
    Performance,
    Surprise,
    compare_performance,
    estimate_amount_performance,
    estimate_expected_performance,
    estimate_performance,
    estimate_recalibration,
)
from insight_lib.prose import Name
from insight_lib.statistics import in_points

if TYPE_CHECKING:
    from insight_lib.parameter_model import PredictionParameters
    from insight_lib.prediction.shifts import Shifts
    from insight_lib.prediction.watch import Watch, Watched
    from insight_lib.run import Run

_LARGEST_OUTSIDE_SHARE = 0.05
_COIN = 0.5

T = TypeVar("T")
Doubt = Literal["surprised", "outside", "drifted"]


def as_share(auc: Estimate) -> Estimate:
    """A chance to rank a pair right, as a share of pairs."""
    return replace(auc, unit="share")


@dataclass(frozen=True, kw_only=True)
class Held:
    """How well a model ranks customers on the latest labels, and whether its level holds.

    Attributes:
        title: Fits "who will …".
        auc: Share of pairs ranked right; `accepted` is the least that is.
        level: How often it happens, against the scores.
        days: Every day with outcomes, oldest first; the last is `latest`.
    """

    key: str
    title: Name
    case: Literal[
        "holds", "holds, wrong level", "may hold", "fell", "wrong way", "stands in", "may stand in"
    ]
    auc: Estimate
    accepted: Measured
    level: Literal["right", "more", "less"]
    gap: Estimate
    days: tuple[Performance, ...]

    @property
    def latest(self) -> Performance:
        return self.days[-1]

    @property
    def pairs(self) -> Measured:
        """The same share, without its range."""
        auc = self.auc
        return Measured(value=auc.value, unit="share", n=auc.n, as_of=auc.as_of)

    def draw(self, caption: Caption) -> Chart | None:
        """Share of pairs ranked right, day by day; nothing of one day."""
        if len(self.days) < 2:
            return None
        frame = pd.DataFrame(
            [
                {
                    "as_of": pd.Timestamp(r.auc.as_of),
                    "auc": r.auc.value,
                    "lower": r.auc.lower,
                    "upper": r.auc.upper,
                }
                for r in self.days
            ]
        )
        return plot_line(
            frame, caption=caption, x="as_of", y="auc", lower="lower", upper="upper", unit="share",
            reference=Mark(at=self.accepted.value, text=caption.reference), is_zero_based=False,
        )  # fmt: skip


def performance(
    watched: tuple[Watched, ...], run: Run[PredictionParameters]
) -> tuple[Held | Missing, ...]:
    """Whether each model that ranks still does, on every day that it did not learn from.

    Raises:
        TooFew: For a model: fewer customers than `general.minimum_customers`, or as
            `estimate_performance`.
    """
    p = run.parameters

    def marked(one: Watched) -> Held:
        run.require_customers(len(one.latest))
        days = tuple(
            estimate_performance(
                rows["score"],
                rows["label"],
                rows.index,
                as_of=cut + timedelta(days=p.horizon_days),
                level=run.level,
            )
            for cut, rows in one.seen.items()
        )
        return held(
            one.key,
            one.title,
            days,
            smallest_auc=p.smallest_auc,
            largest_gap=p.largest_gap_share,
            is_live=one.version is not None,
        )

    return for_each([one for one in watched if one.is_binary], marked)


def held(
    key: str,
    title: Name,
    days: tuple[Performance, ...],
    *,
    smallest_auc: float,
    largest_gap: float,
    is_live: bool = True,
) -> Held:
    """What a model's marks come to.

    Args:
        is_live: Whether the model is in use; of a stand-in nothing is to be kept or stopped.
    """
    latest = days[-1]
    auc, gap = as_share(latest.auc), in_points(latest.gap)
    return Held(
        key=key,
        title=title,
        case=_case(latest, smallest_auc, largest_gap, is_live=is_live),
        auc=auc,
        accepted=Measured(value=smallest_auc, unit="share", n=auc.n, as_of=auc.as_of),
        level="right" if not gap.excludes(0) else "more" if gap.value > 0 else "less",
        gap=gap,
        days=days,
    )


def _case(
    latest: Performance, smallest_auc: float, largest_gap: float, *, is_live: bool
) -> Literal[
    "holds", "holds, wrong level", "may hold", "fell", "wrong way", "stands in", "may stand in"
]:
    auc, gap = latest.auc, latest.gap
    if not is_live:
        return "stands in" if auc.lower >= smallest_auc else "may stand in"
    if auc.lower >= smallest_auc:
        is_off = gap.lower > largest_gap or gap.upper < -largest_gap
        return "holds, wrong level" if is_off else "holds"
    if auc.upper < smallest_auc:
        return "wrong way" if auc.upper < _COIN else "fell"
    return "may hold"


@dataclass(frozen=True, kw_only=True)
class Total:
    """Whether predicted amounts add up to what was spent."""

    key: str
    case: Literal["off", "on", "cannot tell"]
    ratio: Estimate
    error: Estimate


def amounts(
    watched: tuple[Watched, ...], run: Run[PredictionParameters]
) -> tuple[Total | Missing, ...]:
    """Whether each model of amounts adds up on the latest labels.

    Raises:
        TooFew: For a model: fewer customers than `general.minimum_customers`, or as
            `estimate_amount_performance`.
    """

    def marked(one: Watched) -> Total:
        rows = one.latest
        run.require_customers(len(rows))
        found = estimate_amount_performance(
            rows["score"], rows["label"], rows.index, unit=run.currency, **run.range
        )
        return total(one.key, found, largest_gap=run.parameters.largest_amount_gap_share)

    return for_each([one for one in watched if not one.is_binary], marked)


def total(key: str, found: AmountPerformance, *, largest_gap: float) -> Total:
    """What predicted amounts come to."""
    ratio = found.ratio
    is_off = ratio.lower > 1 + largest_gap or ratio.upper < 1 - largest_gap
    is_on = ratio.lower > 1 - largest_gap and ratio.upper < 1 + largest_gap
    return Total(
        key=key,
        case="off" if is_off else "on" if is_on else "cannot tell",
        ratio=ratio,
        error=found.error,
    )


@dataclass(frozen=True, kw_only=True)
class Surprised:
    """Realised against expected, once labels have come."""

    key: str
    title: Name
    found: Surprise

    @property
    def case(self) -> Literal["surprised", "as expected"]:
        return "surprised" if self.found.missed else "as expected"

    @property
    def missed(self) -> tuple[Figure, ...]:
        return self.found.missed

    @property
    def realised(self) -> Measured:
        done = self.found.realised
        return Measured(value=done.realised, unit="share", n=done.auc.n, as_of=done.auc.as_of)

    @property
    def expected(self) -> Estimate:
        return self.found.expected.share

    @property
    def auc(self) -> Estimate:
        return as_share(self.found.realised.auc)


def surprise(
    watched: tuple[Watched, ...],
    performance: tuple[Held | Missing, ...],
    run: Run[PredictionParameters],
) -> tuple[Surprised | Missing, ...]:
    """Whether the latest labels came as the scores of the first month had said.

    Raises:
        TooFew: For a model: one month of labels, or as `compare_performance`.
    """

    def compared(one: Watched) -> Surprised:
        first, last = (one.seen[cut] for cut in one.first_and_last())
        meant = estimate_recalibration(first["score"], first["label"], first.index)
        found = compare_performance(
            last["score"],
            last["label"],
            last.index,
            recalibration=meant,
            seed=run.seed,
            **run.range,
        )
        return Surprised(key=one.key, title=one.title, found=found)

    return for_each(with_marks(watched, performance), compared)


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What the scores of today lead to expect, and what speaks against trusting that."""

    key: str
    title: Name
    doubts: tuple[Doubt, ...]
    share: Estimate
    auc: Estimate

    @property
    def case(self) -> Literal["surprised", "doubted", "sound"]:
        return "surprised" if "surprised" in self.doubts else "doubted" if self.doubts else "sound"


def expected(
    watched: tuple[Watched, ...],
    performance: tuple[Held | Missing, ...],
    surprise: tuple[Surprised | Missing, ...],
    watch: Watch,
    run: Run[PredictionParameters],
    shifted: Shifts | None = None,
) -> tuple[Expected | Missing, ...]:
    """What today's scores lead to expect before labels come.

    Raises:
        TooFew: For a model: as `estimate_expected_performance`.
    """
    from insight_lib.prediction.watch import scored

    surprised = {one.key for one in surprise if isinstance(one, Surprised) and one.missed}

    def made(one: Watched) -> Expected:
        known = pd.concat(list(one.seen.values()))
        meant = estimate_recalibration(known["score"], known["label"], known.index)
        rows = scored(one.document, watch.now, one.target)
        found = estimate_expected_performance(
            rows["score"], recalibration=meant, seed=run.seed, **run.range
        )
        return trusted(
            one.key,
            one.title,
            found,
            has_drifted=shifted is not None and shifted.has_moved,
            was_surprised=one.key in surprised,
        )

    return for_each(with_marks(watched, performance), made)


def trusted(
    key: str, title: Name, found: ExpectedPerformance, *, has_drifted: bool, was_surprised: bool
) -> Expected:
    """What is expected, with all that speaks against it."""
    doubts: Mapping[Doubt, bool] = {
        "surprised": was_surprised,
        "outside": found.outside_share > _LARGEST_OUTSIDE_SHARE,
        "drifted": has_drifted,
    }
    return Expected(
        key=key,
        title=title,
        doubts=tuple(doubt for doubt, is_there in doubts.items() if is_there),
        share=found.share,
        auc=as_share(found.auc),
    )


def with_marks(
    watched: tuple[Watched, ...], performance: tuple[Held | Missing, ...]
) -> list[Watched]:
    """The models whose performance could be measured."""
    marked = {one.key for one in performance if isinstance(one, Held)}
    return [one for one in watched if one.key in marked]


def for_each(watched: Sequence[Watched], make: Callable[[Watched], T]) -> tuple[T | Missing, ...]:
    """What is made of each model, or why nothing is."""
    return tuple(attempted(partial(make, one), one.key) for one in watched)
