"""Why a campaign fell short of its plan: flawed data, poor execution, or the idea itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
from scipy import stats

from insight_lib.findings import Estimate, Measured
from insight_lib.impact.design import check_sample_ratio
from insight_lib.impact.effects import difference
from insight_lib.impact.inputs import Campaign, local_days, slug, with_arm
from insight_lib.prose import Name
from insight_lib.registers import Plan
from insight_lib.statistics import estimate_share

if TYPE_CHECKING:
    import ibis.expr.types as ir

_SURE = 0.001  # of the tests that need no limit, as for the sample ratio
_EXPECTED_PER_DAY = -math.log(_SURE)  # a day without any record is then rarer than that
_FEWEST = 30
_NEIGHBOURING_DAYS = 28


# What is tested, as the post-mortem calls it.
Tested = Literal[
    "share of customers left alone",
    "customers lost from the data, contacted less left alone",
    "days without any response",
    "interactions: records that came late",
    "providers: records that came late",
    "failed checks of the sources",
    "customers to contact who were reached",
    "customers to leave alone who were contacted",
    "contacted, as a share of the plan",
    "first contacts outside the campaign's days",
    "start after the planned day",
]
Feed = Literal["interactions", "providers"]
_LATE: Mapping[Feed, Tested] = {
    "interactions": "interactions: records that came late",
    "providers": "providers: records that came late",
}


class Cause(StrEnum):
    """What a shortfall is put down to."""

    DATA = "data flaw"
    EXECUTION = "execution gap"
    STRATEGY = "strategy error"
    CHANCE = "may be chance"
    UNRECORDED = "not recorded"


class PlanEnding(StrEnum):
    """Whether a campaign brought what was planned: the whole range of its effect decides."""

    MET = "surely reached"
    UNSURE = "cannot be told yet"
    MISSED = "surely not reached"


def plan_ending(effect: Estimate, expected_lift: float) -> PlanEnding:
    """Hold the range of an effect against the plan; its middle alone says nothing."""
    if effect.lower >= expected_lift:
        return PlanEnding.MET
    return PlanEnding.MISSED if effect.upper < expected_lift else PlanEnding.UNSURE


@dataclass(frozen=True, kw_only=True)
class Limits:
    """From where on something counts as gone wrong; the whole range has to lie beyond."""

    smallest_reached_share: float
    largest_contaminated_share: float
    largest_outside_share: float
    largest_start_delay_days: int
    largest_late_share: float
    late_after_days: int
    largest_silent_share: float


@dataclass(frozen=True, kw_only=True)
class Records:
    """What is on record of a campaign.

    Attributes:
        arms: One row per customer assigned: customer_id, is_treated, is_followed (whether the
            data hold the customer afterwards).
        responses: Days on which a response came, one entry each; None without responses.
        lags_days: By feed, days from event to receipt of what fell into the window.
        contacts: One row per contact: customer_id, day; None where nobody wrote them down.
        failed_checks: Checks of the data that failed.
        n_in_other_arms: Customers contacted in arms that the plan is not about; the planned share
            of those left alone is that of the whole campaign.
    """

    arms: pd.DataFrame
    responses: pd.Series | None
    lags_days: Mapping[Feed, pd.Series]
    contacts: pd.DataFrame | None
    failed_checks: tuple[str, ...] = ()
    n_in_other_arms: int = 0


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One test: what was seen, from where on it counts, and whether it does."""

    area: Literal["data", "execution"]
    name: Tested
    seen: Measured
    limit: Measured
    is_bad: bool

    @property
    def test(self) -> Tested:
        """The name, as the table of the post-mortem heads it."""
        return self.name


@dataclass(frozen=True, kw_only=True)
class PostMortem:
    """One campaign that fell short, or one arm of it.

    Attributes:
        arm: Named by the plan, where it is about one of several.
        effect: Of assigning a contact, whether or not it arrived.
        if_executed: The effect had everyone been reached and no one else (Bloom, 1984).
    """

    campaign: Campaign
    arm: str | None = None
    metric: str
    plan: Measured
    effect: Estimate
    cause: Cause
    evidence: tuple[Evidence, ...]
    if_executed: Estimate | None

    @property
    def key(self) -> str:
        return slug(with_arm(self.campaign.id, self.arm))

    @property
    def name(self) -> Name:
        """As it stands in a sentence."""
        return Name(with_arm(self.campaign.name, self.arm))

    @property
    def case(
        self,
    ) -> Literal[
        "data flaw",
        "data flaw, if it fell short",
        "execution gap",
        "execution gap, if it fell short",
        "strategy error",
        "may be chance",
        "not recorded",
    ]:
        """The cause, and for a fault whether the plan may have been met all the same."""
        is_unsure = self.effect.upper >= self.plan.value
        match self.cause:
            case Cause.DATA:
                return "data flaw, if it fell short" if is_unsure else "data flaw"
            case Cause.EXECUTION:
                return "execution gap, if it fell short" if is_unsure else "execution gap"
            case Cause.STRATEGY:
                return "strategy error"
            case Cause.CHANCE:
                return "may be chance"
        return "not recorded"

    @property
    def has_reached(self) -> bool:
        """Whether it is known what the campaign would have brought, had everyone been reached."""
        return self.if_executed is not None

    @property
    def wrong(self) -> tuple[Tested, ...]:
        return tuple(fault.name for fault in self.faults)

    @property
    def table(self) -> tuple[Evidence, ...]:
        return self.evidence

    @property
    def faults(self) -> tuple[Evidence, ...]:
        """What went wrong in the area that the shortfall is put down to."""
        areas = {Cause.DATA: "data", Cause.EXECUTION: "execution"}
        return tuple(e for e in self.evidence if e.is_bad and e.area == areas.get(self.cause))


def hold_post_mortem(
    plan: Plan, campaign: Campaign, effect: Estimate, records: Records, *, limits: Limits
) -> PostMortem | None:
    """Name the cause of a shortfall from what is on record; None if the plan was met.

    Data come first, for flawed data cannot tell of the rest; then execution. Only where both
    are sound and the whole range of the effect lies below the plan is it the idea.

    Where nothing was wrong and the plan was right, a cause is named in at most one campaign
    of twenty: the range of the effect misses the plan from below in one of forty, and each
    test without a limit errs once in a thousand.

    Args:
        effect: Of the plan's metric, contacted less left alone, in the plan's unit.
    """
    if effect.value >= plan.expected_lift:
        return None
    evidence = _data_evidence(plan, campaign, records, limits, effect)
    executed: tuple[Evidence, ...] = ()
    if_executed = None
    if records.contacts is not None:
        executed, if_executed = _execution_evidence(plan, campaign, records, limits, effect)
    if any(e.is_bad for e in evidence):
        cause = Cause.DATA
    elif any(e.is_bad for e in executed):
        cause = Cause.EXECUTION
    elif effect.upper >= plan.expected_lift:
        cause = Cause.CHANCE
    else:
        cause = Cause.UNRECORDED if records.contacts is None else Cause.STRATEGY
    return PostMortem(
        campaign=campaign,
        arm=plan.arm,
        metric=plan.metric,
        plan=_measured(plan.expected_lift, effect.unit, effect),
        effect=effect,
        cause=cause,
        evidence=(*evidence, *executed),
        if_executed=if_executed,
    )


def contacts_on_record(
    campaign: Campaign,
    responses: pd.DataFrame | None,
    interactions: pd.DataFrame | None,
    *,
    channel: str | None,
    event_types: Sequence[str],
    zone: str,
) -> pd.DataFrame | None:
    """Outbound contacts of a campaign: customer_id, day; None where there is no such record.

    Responses name their campaign and go first. Interactions do not: those of the channel
    count, from four weeks before the start to four weeks after the end.
    """
    if responses is not None:
        mine = responses["campaign_id"].eq(campaign.id) & responses["response_type"].isin(
            list(event_types)
        )
        if mine.any():
            rows = responses[mine]
            return _contacts(rows["customer_id"], rows["responded_at"], zone)
    if interactions is not None and channel is not None:
        mine = interactions["touchpoint"].eq(channel) & interactions["event_type"].isin(
            list(event_types)
        )
        rows = interactions[mine].dropna(subset=["customer_id"])
        found = _contacts(rows["customer_id"], rows["occurred_at"], zone)
        around = timedelta(days=_NEIGHBOURING_DAYS)
        near = found["day"].between(
            pd.Timestamp(campaign.start - around), pd.Timestamp(campaign.end + around)
        )
        if near.any():
            return found[near].reset_index(drop=True)
    return None


def feed_lags(
    feed: ir.Table, campaign: Campaign, *, occurred: str, received: str, zone: str
) -> pd.Series:
    """Days from event to receipt of what a feed holds of a campaign's days in the market.

    Args:
        occurred: Column of the event's instant.
        received: Column of the instant at which it came.
        zone: The market's clock.
    """
    day = timedelta(days=1)
    near = feed.filter(
        feed[occurred].date().between(campaign.start - day, campaign.end + day)
        & feed[received].notnull()
    )
    rows = near.select(occurred, received).to_pandas()
    local = local_days(rows[occurred], zone)
    rows = rows[local.between(pd.Timestamp(campaign.start), pd.Timestamp(campaign.end))]
    return (rows[received] - rows[occurred]).dt.total_seconds() / 86_400


def failed_data_checks(findings: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Gates and checks of stage sources that failed, as in `findings.json`."""
    return tuple(
        sorted(
            str(f["id"])
            for f in findings
            if f["kind"] in ("check", "gate")
            and f["verdict"] == "fail"
            and any(row.startswith(("C2.", "M2.")) for row in f["rows"])
        )
    )


def _contacts(customers: pd.Series, moments: pd.Series, zone: str) -> pd.DataFrame:
    days = local_days(moments, zone)
    return pd.DataFrame({"customer_id": customers.to_numpy(), "day": days.to_numpy()})


def _measured(value: float, unit: str, effect: Estimate, n: int | None = None) -> Measured:
    return Measured(value=value, unit=unit, n=effect.n if n is None else n, as_of=effect.as_of)


def _data_evidence(
    plan: Plan, campaign: Campaign, records: Records, limits: Limits, effect: Estimate
) -> tuple[Evidence, ...]:
    treated = records.arms["is_treated"].astype(bool)
    planned = {"control": plan.planned_control_share, "treated": 1 - plan.planned_control_share}
    n_treated = int(treated.sum()) + records.n_in_other_arms
    counts = {"control": int((~treated).sum()), "treated": n_treated}
    found = [
        Evidence(
            area="data",
            name="share of customers left alone",
            seen=estimate_share(
                counts["control"], sum(counts.values()), as_of=effect.as_of, level=effect.level
            ),
            limit=_measured(plan.planned_control_share, "share", effect),
            is_bad=check_sample_ratio(counts, planned).p_value < _SURE,
        )
    ]
    is_lost = ~records.arms["is_followed"].astype(bool)
    lost = [
        estimate_share(
            int(is_lost[arm].sum()), int(arm.sum()), as_of=effect.as_of, level=effect.level
        )
        for arm in (treated, ~treated)
    ]
    table = pd.crosstab(treated, is_lost)
    p = 1.0
    if table.shape == (2, 2):
        p = float(stats.chi2_contingency(table, correction=False)[1])
    found.append(
        Evidence(
            area="data",
            name="customers lost from the data, contacted less left alone",
            seen=difference(*lost),
            limit=_measured(0.0, "share", effect),
            is_bad=p < _SURE,
        )
    )
    if records.responses is not None:
        days = pd.to_datetime(records.responses)
        inside = days[days.between(pd.Timestamp(campaign.start), pd.Timestamp(campaign.end))]
        seen_days = int(inside.nunique())
        if seen_days and len(inside) / seen_days >= _EXPECTED_PER_DAY:
            silent = 1 - seen_days / campaign.days
            found.append(
                Evidence(
                    area="data",
                    name="days without any response",
                    seen=_measured(silent, "share", effect, campaign.days),
                    limit=_measured(limits.largest_silent_share, "share", effect),
                    is_bad=silent > limits.largest_silent_share,
                )
            )
    for feed, lags in sorted(records.lags_days.items()):
        if len(lags) >= _FEWEST:
            late = estimate_share(
                int((lags > limits.late_after_days).sum()),
                len(lags),
                as_of=effect.as_of,
                level=effect.level,
            )
            found.append(
                Evidence(
                    area="data",
                    name=_LATE[feed],
                    seen=late,
                    limit=_measured(limits.largest_late_share, "share", effect),
                    is_bad=late.lower > limits.largest_late_share,
                )
            )
    failed = len(records.failed_checks)
    found.append(
        Evidence(
            area="data",
            name="failed checks of the sources",
            seen=_measured(failed, "count", effect),
            limit=_measured(0, "count", effect),
            is_bad=failed > 0,
        )
    )
    return tuple(found)


def _execution_evidence(
    plan: Plan, campaign: Campaign, records: Records, limits: Limits, effect: Estimate
) -> tuple[tuple[Evidence, ...], Estimate | None]:
    assert records.contacts is not None
    arms = records.arms.set_index("customer_id")["is_treated"].astype(bool)
    first = records.contacts.groupby("customer_id")["day"].min().reindex(arms.index)
    contacted = first.notna()
    treated, control = int(arms.sum()), int((~arms).sum())
    mine = first[arms & contacted]
    inside = mine.between(pd.Timestamp(campaign.start), pd.Timestamp(campaign.end))
    n_reached = int((arms & contacted).sum())
    reached = estimate_share(n_reached, treated, as_of=effect.as_of, level=effect.level)
    contaminated = estimate_share(
        int((~arms & contacted).sum()), control, as_of=effect.as_of, level=effect.level
    )
    achieved = n_reached / plan.planned_contacts
    smallest = limits.smallest_reached_share
    found = [
        Evidence(
            area="execution",
            name="customers to contact who were reached",
            seen=reached,
            limit=_measured(smallest, "share", effect),
            is_bad=reached.upper < smallest,
        ),
        Evidence(
            area="execution",
            name="customers to leave alone who were contacted",
            seen=contaminated,
            limit=_measured(limits.largest_contaminated_share, "share", effect),
            is_bad=contaminated.lower > limits.largest_contaminated_share,
        ),
        Evidence(
            area="execution",
            name="contacted, as a share of the plan",
            seen=_measured(min(achieved, 1.0), "share", effect, n_reached),
            limit=_measured(smallest, "share", effect),
            # Fewer contacts bring less in total; a lift per customer they do not explain.
            is_bad=False,
        ),
    ]
    if len(mine):
        outside = estimate_share(
            int((~inside).sum()), len(mine), as_of=effect.as_of, level=effect.level
        )
        # The day by which a tenth was contacted: one stray contact is no start.
        began = pd.Timestamp(mine.sort_values().iloc[len(mine) // 10]).date()
        delay = (began - plan.planned_start).days
        found += [
            Evidence(
                area="execution",
                name="first contacts outside the campaign's days",
                seen=outside,
                limit=_measured(limits.largest_outside_share, "share", effect),
                is_bad=outside.lower > limits.largest_outside_share,
            ),
            Evidence(
                area="execution",
                name="start after the planned day",
                seen=_measured(delay, "days", effect, len(mine)),
                limit=_measured(limits.largest_start_delay_days, "days", effect),
                is_bad=delay > limits.largest_start_delay_days,
            ),
        ]
    gap = reached.value - contaminated.value
    if_executed = None
    if gap > 0.2:  # below that the range would say nothing
        if_executed = replace(
            effect,
            value=effect.value / gap,
            lower=effect.lower / gap,
            upper=effect.upper / gap,
            method=f"{effect.method}; divided by the gap in contacts (Bloom, 1984)",
        )
    return tuple(found), if_executed
