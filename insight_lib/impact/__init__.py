"""Stage 09: did it work, how sure are we, and what do we learn?"""

from insight_lib.impact.adoption import readings, resistance, units, use, used
from insight_lib.impact.agenda import agenda, pages, review, uncovered
from insight_lib.impact.calendar import updates
from insight_lib.impact.gaps import gaps
from insight_lib.impact.plans import judged_plans, plan_data, planned, plans_met, post_mortem
from insight_lib.impact.track_record import (
    corrections,
    forecast,
    forecast_groups,
    forecasts,
    reliability,
    slope,
)

__all__ = [
    "agenda",
    "corrections",
    "forecast",
    "forecast_groups",
    "forecasts",
    "gaps",
    "judged_plans",
    "pages",
    "plan_data",
    "planned",
    "plans_met",
    "post_mortem",
    "readings",
    "reliability",
    "resistance",
    "review",
    "slope",
    "uncovered",
    "units",
    "updates",
    "use",
    "used",
]
