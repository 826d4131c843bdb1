"""A programme in some places of a market, from its tables to every comparison that can be made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from insight_lib.findings import TooFew
from insight_lib.impact.counterfactual import (
    EventStudy,
    SideBySide,
    estimate_all,
    estimate_event_study,
)
from insight_lib.impact.market_tests import orders_of
from insight_lib.impact.panel import Panel, make_panel
from insight_lib.impact.places import PlaceChange, PlaceWeeks, estimate_place_change, place_weeks

if TYPE_CHECKING:
    from insight_lib.market_view import MarketView


@dataclass(frozen=True, kw_only=True)
class Programme:
    """All that can be told of a programme; parts that cannot be made are None.

    Attributes:
        change: Places against places; what the page claims rests on it.
        weeks: Revenue by place and week, with what was left out of it.
    """

    change: PlaceChange
    weeks: PlaceWeeks
    panel: Panel | None
    ways: SideBySide | None
    study: EventStudy | None

    @property
    def is_parallel(self) -> bool:
        """Whether the places are not seen to move apart before the start."""
        return self.study is None or self.study.is_parallel


def read_programme(m: MarketView, orders: pd.DataFrame | None) -> Programme:
    """Compare the places of a market's programme with the others.

    Args:
        orders: As from `inputs.load_orders`, if they are loaded already.

    Raises:
        TooFew: No programme is declared, or places cannot be compared.
    """
    p, general = m.parameters.impact, m.parameters.general
    if p.programme_start is None or not p.programme_places:
        raise TooFew("no programme is declared")
    if not (m.has("customers") and m.has("transactions")):
        raise TooFew("there are no customers with places and orders")
    customers = m.table("customers")
    if p.programme_place_column not in customers.columns:
        raise TooFew(f"customers have no column {p.programme_place_column}")
    people = customers.select("customer_id", p.programme_place_column).to_pandas()
    places = people.set_index("customer_id")[p.programme_place_column]
    revenue = orders_of(m) if orders is None else orders
    window = {"start": p.programme_start, "as_of": m.as_of}
    weeks = place_weeks(revenue, places, treated=p.programme_places, **window)
    change = estimate_place_change(
        revenue,
        places,
        treated=p.programme_places,
        skip_weeks=weeks.dropped_weeks,
        leave_out=(*weeks.dropped_places, *weeks.closed_places),
        level=general.interval_level,
        **window,
    )
    panel = ways = study = None
    try:
        panel = make_panel(
            weeks.table,
            place="place",
            period="week",
            outcome="revenue",
            treated=p.programme_places,
            start=0,
        )
        study = estimate_event_study(panel, seed=general.seed, level=general.interval_level)
        ways = estimate_all(
            panel, unit=m.currency, as_of=m.as_of, seed=general.seed, level=general.interval_level
        )
    except TooFew:
        # Fewer weeks or places than these methods take; the comparison of places stands alone.
        pass
    return Programme(change=change, weeks=weeks, panel=panel, ways=ways, study=study)
