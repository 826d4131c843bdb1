"""How engaged customers are, and whether the ranking holds under other weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pandas as pd

from insight_lib.charts import Caption, Chart, Mark, plot_dots
from insight_lib.features.engagement import Engagement, estimate_engagement, touchpoint_counts
from insight_lib.findings import Estimate, Measured, TooFew
from insight_lib.prose import Name

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from insight_lib.parameter_model import FeatureParameters
    from insight_lib.run import Run

_STABLE = 0.95
_MOST_STAY = 0.8
_SILENT = 0.05


def engaged(interactions: ir.Table, people: ir.Table, run: Run[FeatureParameters]) -> Engagement:
    """Scores of all customers, with the weights of their band.

    Raises:
        TooFew: As `estimate_engagement`.
    """
    p = run.parameters
    counts = touchpoint_counts(
        interactions,
        people,
        as_of=run.as_of,
        window_days=p.engagement_window_days,
        cohort=p.engagement_cohort,
    )
    run.require_customers(len(counts))
    return estimate_engagement(
        counts,
        weights=p.engagement_weights,
        window_days=p.engagement_window_days,
        minimum_cell_size=run.smallest_cell,
        seed=run.seed,
        **run.range,
    )


@dataclass(frozen=True, kw_only=True)
class Contact:
    """Who is silent, and how engagement is spread.

    Attributes:
        band: With the most silent customers; None where bands do not differ clearly.
        top: Share of all engagement that the most engaged fifth holds.
        is_ranked: Whether scores differ at all.
        bands: As in `Engagement`.
    """

    case: Literal["matters", "does not matter"]
    silent: Estimate
    days: Measured
    band: Name | None
    top: Estimate
    is_ranked: bool
    bands: pd.DataFrame

    @property
    def has_band(self) -> bool:
        return self.band is not None

    def draw(self, caption: Caption) -> Chart:
        """Customers without contact, by band."""
        return plot_dots(
            self.bands, caption=caption, label="band", value="silent_share", lower="lower",
            upper="upper", unit="share", n="customers", is_sorted=False,
            reference=Mark(at=self.silent.value, text=caption.reference),
        )  # fmt: skip


def engagement(engaged: Engagement) -> Contact:
    """Customers without any contact."""
    silent = engaged.silent
    bands = engaged.bands.sort_values(["silent_share", "band"], ascending=[False, True])
    is_clear = len(bands) > 1 and bands["lower"].iloc[0] > bands["upper"].iloc[-1]
    return Contact(
        case="matters" if silent.lower > _SILENT else "does not matter",
        silent=silent,
        days=Measured(value=engaged.window_days, unit="days", n=silent.n, as_of=silent.as_of),
        band=Name(str(bands["band"].iloc[0])) if is_clear else None,
        top=engaged.top_share,
        is_ranked=engaged.is_ranked,
        bands=engaged.bands,
    )


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Whether ranks hold under other weights.

    Attributes:
        change: How far weights were changed.
        kept: Of the most engaged fifth, those still in it.
        name: The touchpoint whose weight moves ranks most.
        ignored: Touchpoints without weight, so not counted.
    """

    case: Literal["pass", "review"]
    change: Measured
    kept: Measured
    correlation: Measured
    name: Name
    ignored: tuple[Name, ...]

    @property
    def has_ignored(self) -> bool:
        return bool(self.ignored)


def engagement_weights(engaged: Engagement | None = None) -> Weights | None:
    """How far the ranking hangs on the weights; None where there are no scores.

    Raises:
        TooFew: All have the same score, so there is no ranking.
    """
    if engaged is None:
        return None
    if not engaged.is_ranked:
        raise TooFew("all customers have the same score, so there is no ranking to test")
    silent = engaged.silent
    is_stable = engaged.rank_correlation.value >= _STABLE and engaged.kept_share.value >= _MOST_STAY
    return Weights(
        case="pass" if is_stable else "review",
        change=Measured(value=engaged.weight_change, unit="share", n=silent.n, as_of=silent.as_of),
        kept=engaged.kept_share,
        correlation=engaged.rank_correlation,
        name=Name(engaged.sensitive_to),
        ignored=tuple(map(Name, engaged.unweighted)),
    )
