"""Stage 04: groups of customers that are real, stable, worth having and can be acted on."""

from insight_lib.segments.attitudes import answered, earlier_behaviour, survey_scale, uses
from insight_lib.segments.audit import feedback
from insight_lib.segments.checks import inputs, stability
from insight_lib.segments.crosswalk import redefinition, restated_totals
from insight_lib.segments.find import moves
from insight_lib.segments.granularity import granularity
from insight_lib.segments.groups import (
    bought,
    described,
    found,
    groups,
    largest,
    people,
    segments,
    sizes,
)
from insight_lib.segments.identity import migration
from insight_lib.segments.naming import difference, interviews, names, typical
from insight_lib.segments.power import power
from insight_lib.segments.responsiveness import responsiveness

__all__ = [
    "answered",
    "bought",
    "described",
    "difference",
    "earlier_behaviour",
    "feedback",
    "found",
    "granularity",
    "groups",
    "inputs",
    "interviews",
    "largest",
    "migration",
    "moves",
    "names",
    "people",
    "power",
    "redefinition",
    "responsiveness",
    "restated_totals",
    "segments",
    "sizes",
    "stability",
    "survey_scale",
    "typical",
    "uses",
]
