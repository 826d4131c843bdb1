"""Parameters of segments."""

from __future__ import annotations

from insight_lib.parameter_model.declared import declared
from insight_lib.registers import Model


class SegmentParameters(Model):
    """Stage 04."""

    history_days: int = declared(
        365, "days", "How far back behaviour is looked at when groups are made.", ge=56, le=3660
    )
    minimum_order_days: int = declared(
        4,
        "days",
        "Days with an order that a customer needs to be grouped by behaviour.",
        ge=1,
        le=50,
    )
    most_segments: int = declared(8, "segments", "Most groups that are tried.", ge=2, le=20)
    largest_chance_share: float = declared(
        0.05,
        "share",
        "Share of chance data sets that may look as distinct as the customers do.",
        gt=0,
        le=0.2,
    )
    smallest_jaccard: float = declared(
        0.75,
        "ratio",
        "Overlap with its resampled self that every group needs (Hennig, 2007).",
        ge=0.5,
        le=1,
    )
    answer_scale: tuple[float, float] | None = declared(
        None,
        "lowest and highest answer",
        "Scale of survey answers; those off it are left out and asked about.",
    )
    smallest_kept_gain: float = declared(
        0.5,
        "share",
        "Part of a plan's gain by group that must surely be left in the next half year; at one "
        "half, misplaced customers cost what the others bring.",
        ge=0,
        le=1,
    )
    smallest_segment_customers: int = declared(
        50, "customers", "Fewer customers than this are no segment.", ge=10
    )
    chance_data_sets: int = declared(
        39,
        "data sets",
        "Data sets of each kind of chance that the groups are compared with.",
        ge=19,
        le=999,
    )
    resamples: int = declared(
        30, "resamples", "Resamples in which every group has to come back.", ge=10, le=1000
    )
    refresh_days: int = declared(
        91, "days", "Time between two refreshes of the segments.", ge=28, le=365
    )
    tolerated_moved_share: float = declared(
        0.2,
        "share",
        "Share of customers in a wrong segment at which the segments are remade.",
        gt=0,
        lt=1,
    )
    smallest_effect_that_matters: float = declared(
        0.03, "share", "Smallest rise of a response rate that would change a campaign.", gt=0, lt=1
    )
    test_power: float = declared(
        0.8,
        "share",
        "Chance that a test shows an effect of the smallest size that matters.",
        ge=0.5,
        lt=1,
    )
    activation_cost_revenue_share: float = declared(
        0.002, "share", "Cost of running one more segment, as a share of revenue.", ge=0, lt=1
    )
    captured_share: float = declared(
        0.05,
        "share",
        "Part of the difference in value between segments that campaigns capture.",
        gt=0,
        le=1,
    )
    channel_capacity: int = declared(
        6, "segments", "Segments that can be served at once.", ge=1, le=50
    )
    smallest_kept_share: float = declared(
        0.8,
        "share",
        "Revenue that has to stay with its segment for a series to go on without a break.",
        gt=0,
        le=1,
    )
